#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The appliance opens its root with measured parameters only. The test shortens a root whose root hash stays the same, and opens it in
# a kernel of its own (user-mode Linux, since many test machines have no dm-verity): as the appliance does, and as a control with the
# superblock's parameters, as KIWI does.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

root=$scratch/root.raw shortened=$scratch/shortened.raw

# A root with a file in the first blocks and one behind them, formatted as the builder of the appliance does.
mkdir -p "$scratch/tree"
echo first >"$scratch/tree/a"
head -c 1M /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null >"$scratch/tree/filler"
mkfs.erofs --quiet "$root" "$scratch/tree" >/dev/null
size=$(stat -c %s "$root")
FIXED_UUID_VERITY=$(</proc/sys/kernel/random/uuid) PATH=$top/kiwi/builder/fixed:$PATH \
    veritysetup format "$root" "$root" --hash-offset="$size" --hash-block-size=4096 >"$scratch/format"
root_hash=$(awk '/^Root hash:/ { print $3 }' "$scratch/format")
assert_match "the root hash" "$root_hash" '^[0-9a-f]{64}$'
cp "$root" "$shortened"
read -r kept blocks < <("$top/tests/boot/shorten-root.py" "$shortened" 0)
assert_equal "blocks before" $((blocks * 4096)) "$size"
say "$kept of $blocks blocks are kept"

uml_prepare sha256_generic dm-mod dm-verity erofs
boot() { # WHAT DISK HOW
    uml_boot "$@" <<END
mkdir -p /dev/disk/by-uuid && ln -s /dev/ubda /dev/disk/by-uuid/ROOT
echo "verityroot UUID=ROOT UUID=ROOT $root_hash hash-offset=$size,hash-block-size=4096," >/etc/veritytab
case \$1 in
appliance) . "$top/kiwi/root/usr/lib/appliance/verity-root.sh" ;;
superblock) veritysetup open /dev/ubda verityroot /dev/ubda $root_hash --hash-offset=$size --hash-block-size=4096 --panic-on-corruption ;;
esac
echo "RESULT blocks \$((\$(dmsetup table verityroot | cut -d ' ' -f 2) / 8))"
mount -t erofs -o ro /dev/mapper/verityroot /mnt && echo "RESULT mounted" && sha256sum </mnt/filler | sed 's/^/RESULT filler /'
END
}
filler="^RESULT filler $(sha256sum <"$scratch/tree/filler")"

boot "the root" "$root" appliance
assert_line "the root" "$scratch/said" "^RESULT blocks $blocks$"
assert_line "the root" "$scratch/said" "$filler"
assert_no_line "the root" "$scratch/said" 'Kernel panic'

# The control. The root hash is the same, and the kernel takes the shortened root for whole: the file is gone, and the machine goes on.
boot "control: the shortened root" "$shortened" superblock
assert_line "control: the shortened root" "$scratch/said" "^RESULT blocks $kept$"
assert_line "control: the shortened root" "$scratch/said" '^RESULT mounted'
assert_line "control: the shortened root" "$scratch/said" '^RESULT end'
assert_no_line "control: the shortened root" "$scratch/said" 'Kernel panic|^RESULT filler'

# With measured parameters the root has its size. The block behind the new end does not match the tree.
boot "the shortened root" "$shortened" appliance
assert_no_line "the shortened root" "$scratch/said" "^RESULT (blocks $kept|filler|end)"
assert_line "the shortened root" "$scratch/said" 'Kernel panic - not syncing: dm-verity device corrupted'

# A superblock that is destroyed changes nothing, because nothing reads it.
dd if=/dev/urandom of="$root" bs=4096 seek="$blocks" count=1 conv=notrunc status=none
boot "a root without superblock" "$root" appliance
assert_line "a root without superblock" "$scratch/said" "^RESULT blocks $blocks$"
assert_line "a root without superblock" "$scratch/said" "$filler"
