#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The appliance opens its root with measured parameters only. The test shortens a root whose root hash stays the same, and opens it in
# a kernel of its own (user-mode Linux, since many test machines have no dm-verity): as the appliance does, and as a control with the
# superblock's parameters, as KIWI does.
. "$(dirname "$0")/lib.sh"

modules=$(echo /usr/lib/uml/modules/*)
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

mkdir -p "$scratch/lib/modules"
cp -a "$modules" "$scratch/lib/modules/"
depmod -b "$scratch" "${modules##*/}"
cat >"$scratch/init" <<END
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec 2>&1
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /mnt
for module in sha256_generic dm-mod dm-verity erofs; do modprobe -d "$scratch" \$module; done
mount -t tmpfs tmpfs /dev && mkdir -p /dev/disk/by-uuid /dev/mapper
for device in /sys/block/ubd*; do mknod "/dev/\${device##*/}" b \$(tr : ' ' <"\$device/dev"); done
mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && mknod /dev/random c 1 8
mknod /dev/mapper/control c \$(awk '\$2 == "device-mapper" { print 10, \$1 }' /proc/misc)
ln -s /dev/ubda /dev/disk/by-uuid/ROOT
mount -t tmpfs tmpfs /etc
echo "verityroot UUID=ROOT UUID=ROOT $root_hash hash-offset=$size,hash-block-size=4096," >/etc/veritytab
export DM_DISABLE_UDEV=1
case \$1 in
appliance) . "$top/kiwi/root/usr/lib/appliance/verity-root.sh" ;;
superblock) veritysetup open /dev/ubda verityroot /dev/ubda $root_hash --hash-offset=$size --hash-block-size=4096 --panic-on-corruption ;;
esac
echo "RESULT blocks \$((\$(dmsetup table verityroot | cut -d ' ' -f 2) / 8))"
mount -t erofs -o ro /dev/mapper/verityroot /mnt && echo "RESULT mounted" && sha256sum </mnt/filler | sed 's/^/RESULT filler /'
echo RESULT end
halt -f
END
chmod +x "$scratch/init"

# boot DISK HOW: boots the kernel, whose output is then in $scratch/said
boot() {
    # The shell reports the SIGABRT with which a kernel that panicked ends.
    { timeout 300 linux.uml ubd0r="$1" rootfstype=hostfs rootflags=/ ro root=none mem=256M quiet panic=0 init="$scratch/init" \
        con=null con0=null,fd:1 -- "$2" </dev/null 2>&1 || true; } 2>/dev/null | tr -d '\r' >"$scratch/said"
    grep -a '^RESULT\|panic -' "$scratch/said" | sed "s|^|$2 of ${1##*/}: |"
}
filler="^RESULT filler $(sha256sum <"$scratch/tree/filler")"

boot "$root" appliance
assert_line "the root" "$scratch/said" "^RESULT blocks $blocks$"
assert_line "the root" "$scratch/said" "$filler"
assert_no_line "the root" "$scratch/said" 'Kernel panic'

# The control. The root hash is the same, and the kernel takes the shortened root for whole: the file is gone, and the machine goes on.
boot "$shortened" superblock
assert_line "control: the shortened root" "$scratch/said" "^RESULT blocks $kept$"
assert_line "control: the shortened root" "$scratch/said" '^RESULT mounted'
assert_line "control: the shortened root" "$scratch/said" '^RESULT end'
assert_no_line "control: the shortened root" "$scratch/said" 'Kernel panic|^RESULT filler'

# With measured parameters the root has its size. The block behind the new end does not match the tree.
boot "$shortened" appliance
assert_no_line "the shortened root" "$scratch/said" "^RESULT (blocks $kept|filler|end)"
assert_line "the shortened root" "$scratch/said" 'Kernel panic - not syncing: dm-verity device corrupted'

# A superblock that is destroyed changes nothing, because nothing reads it.
dd if=/dev/urandom of="$root" bs=4096 seek="$blocks" count=1 conv=notrunc status=none
boot "$root" appliance
assert_line "a root without superblock" "$scratch/said" "^RESULT blocks $blocks$"
assert_line "a root without superblock" "$scratch/said" "$filler"
