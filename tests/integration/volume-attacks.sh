#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unseald-volume opens what the key stands for, and nothing else, in a kernel of its own (user-mode Linux). The images are made by
# mkfs.erofs, veritysetup and Python, so this also shows that a volume made without the product opens. What attacks the volume is run
# against plain dm-crypt, too, where it works: a control.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

tree=$scratch/tree
mkdir -p "$tree/sub"
head -c 900K /dev/urandom >"$tree/model"
echo 'a second file' >"$tree/sub/other"
(cd "$tree" && find . -type f -exec sha256sum {} +) >"$scratch/sums"
make_volume() { "$top/tests/integration/volume_image.py" "$@"; } # TREE NAME IMAGE KEY
key=$(make_volume "$tree" weights "$scratch/image" "$scratch/key")
make_volume "$tree" weights "$scratch/image-of-another" "$scratch/key-of-another" >/dev/null # the same content and size
make_volume "$tree" other "$scratch/image-other" "$scratch/key-other" >/dev/null
# An older build: the same key and size, and another model.
cp -r "$tree" "$scratch/older"
head -c 900K /dev/urandom >"$scratch/older/model"
make_volume "$scratch/older" weights "$scratch/image-older" "$scratch/key-older" "$key" >/dev/null
size=$(stat -c %s "$scratch/image")
assert_equal "the size of the older build" "$(stat -c %s "$scratch/image-older")" "$size"
blocks=$(jq .data_blocks "$scratch/key")
jq -r .key "$scratch/key" >"$scratch/key-base64"

cat >"$scratch/cases" <<END
volume=$install_root/usr/lib/unseald/unseald-volume generator=$install_root/usr/lib/systemd/system-generators/unseald-generator
scratch=$scratch key=$key size=$size blocks=$blocks
END
cat >>"$scratch/cases" <<'CASES'
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /mnt/at /run/keys
base64 -d <"$scratch/key-base64" >/run/plain-key
# disk NAME IMAGE: a copy of the image that can be changed, as /run/NAME and a block device, whose path it prints
disk() { cp "$scratch/$2" "/run/$1" && losetup -f --show "/run/$1"; }
# flip FILE OFFSET: changes one bit
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
declare_volume() { # DEVICE [LINE...]
    printf '%s\n' '[Volume]' "Device=$1" DeviceTimeoutSec=0 "${@:2}" >/etc/unseald/volumes.d/weights.volume
}
# attach WHAT [KEYFILE]: prints the status as "RESULT WHAT attach N"
attach() {
    cp "$scratch/${2:-key}" /run/keys/weights
    CREDENTIALS_DIRECTORY=/run/keys $volume attach weights
    echo "RESULT $1: attach $?, mappings $(dmsetup info -c --noheadings -o name 2>/dev/null | grep -c unseald)"
}
detach() { $volume detach weights; echo "RESULT $1: detach $?"; }
# look WHAT [NODE]: mounts the volume and compares every file
look() {
    echo 3 >/proc/sys/vm/drop_caches
    mount -t erofs -o ro,nodev,nosuid "${2:-/dev/mapper/unseald-weights}" /mnt/at || { echo "RESULT $1: not mounted"; return; }
    (cd /mnt/at && sha256sum -c "$scratch/sums" 2>&1) | sed "s|^|RESULT $1: |"
    umount /mnt/at
}
# plain WHAT DEVICE: the control, dm-crypt alone
plain() {
    cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --sector-size 4096 --key-file /run/plain-key --readonly "$2" plain
    look "control: $1" /dev/mapper/plain
    cryptsetup close plain
}

right=$(disk right image)
declare_volume "$right"
attach right; look right
dmsetup table --showkeys >/run/table
grep -c 'crypt aes-xts-plain64 :64:logon:unseald-volume:weights ' /run/table | sed 's/^/RESULT tables with a name in place of the key: /'
grep -c "$key" /run/table | sed 's/^/RESULT tables with the key: /'
grep -c unseald /proc/keys | sed 's/^/RESULT keys left in keyrings: /'
echo "RESULT read-only: $(blockdev --getro "$right") $(blockdev --getro /dev/mapper/unseald-weights)"
setpriv --reuid=65534 --regid=65534 --clear-groups head -c 1 /dev/mapper/unseald-weights >/dev/null 2>&1; echo "RESULT nobody reads the volume: $?"
setpriv --reuid=65534 --regid=65534 --clear-groups dmsetup table >/dev/null 2>&1; echo "RESULT nobody reads the tables: $?"
attach "again"; look again
mount -t erofs -o ro /dev/mapper/unseald-weights /mnt/at
detach "in use"; cat /mnt/at/sub/other >/dev/null && echo "RESULT in use: still open"
attach "in use"
umount /mnt/at

# The name is taken: by the volume of another key, and by somebody's own mapping.
another=$(disk another image-of-another)
declare_volume "$another"; attach "another key for an open volume" key-of-another
declare_volume "$right"; look "another key for an open volume"
detach right; detach twice
dmsetup create unseald-weights --table "0 $((size / 512)) linear $another 0"
attach "somebody's mapping of the name"
dmsetup remove unseald-weights
# What a process has left that was killed between the two mappings.
dmsetup create unseald_crypt-weights --table "0 8 error"
attach "half a mapping"; detach "half a mapping"
dmsetup create unseald-weights --notable --uuid UNSEALD-VERITY-weights
attach "a mapping without a table"; detach "a mapping without a table"
dmsetup create unseald-weights --notable
attach "somebody's mapping without a table"; dmsetup remove unseald-weights
cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --sector-size 4096 --key-file /run/plain-key --readonly --disable-keyring "$right" plain
echo "RESULT control: tables with the key: $(dmsetup table --showkeys plain | grep -c "$key")"
cryptsetup close plain

# A mount that another generator has written takes away the units of its volume alone.
printf '[Volume]\nDevice=sdg\nWhere=/srv/a\n' >/etc/unseald/volumes.d/a.volume
mkdir /run/units && touch /run/units/srv-a.mount
"$generator" /run/units; echo "RESULT generator: $?, $(ls /run/units/unsealed.target.wants)"
rm /etc/unseald/volumes.d/a.volume

# Other content in place of the volume: the same size, another key; the right size, another kind.
declare_volume "$another"; attach "another volume of the same size"
older=$(disk older image-older)
declare_volume "$older"; attach "an older build under the same key"; plain "an older build" "$older"
luks=$(disk luks image)
head -c 64 /dev/zero | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 /run/luks --key-file -
declare_volume "$luks"; attach "a LUKS device"
blkid -p -o value -s TYPE "$luks" | sed 's/^/RESULT control: blkid finds /'
erofs=$(disk erofs image)
mkfs.erofs --quiet /run/erofs /etc >/dev/null 2>&1; truncate -s "$size" /run/erofs; losetup -c "$erofs"
declare_volume "$erofs"; attach "a file system in the clear"
mount -t erofs -o ro "$erofs" /mnt/at && umount /mnt/at && echo "RESULT control: a file system in the clear: mounted"

# One bit. Data, the tree, and the last block of each.
for at in data:$((blocks / 2 * 4096 + 5)) tree:$((blocks * 4096 + 4096 + 7)) last-block:$((size - 4096)) first:100; do
    changed=$(disk changed image); flip /run/changed "${at#*:}"
    declare_volume "$changed"; attach "one bit: ${at%:*}"
    [ "${at%:*}" = first ] || { look "one bit: ${at%:*}"; detach "one bit: ${at%:*}"; }
    [ "${at%:*}" != data ] || plain "one bit" "$changed"
    losetup -d "$changed"
done

# Other sizes. What lies behind the volume is never read: here a partition table's copy and more.
short=$(disk short image); truncate -s -4096 /run/short; losetup -c "$short"
declare_volume "$short"; attach truncated
long=$(disk long image); head -c 1M /dev/urandom >>/run/long; printf 'label: gpt\n' >/run/gpt; losetup -c "$long"
declare_volume "$long"; attach grown; look grown; detach grown

# A device that answers differently the second time.
tampered=$(disk tampered image); flip /run/tampered $((blocks / 2 * 4096 + 5))
dmsetup create switch --table "0 $((size / 512)) linear $right 0"
turn() { dmsetup suspend switch && dmsetup load switch --table "0 $((size / 512)) $1" && dmsetup resume switch; }
declare_volume /dev/mapper/switch
attach switched; look "before the switch"
turn "linear $tampered 0"; look "after the switch"
turn error; look vanished
detach vanished
turn "linear $right 0"; attach returned; look returned; detach returned
turn "linear $tampered 0"; plain "after the switch" /dev/mapper/switch
dmsetup remove switch

# A device that answers slowly is waited for.
dmsetup create slow --table "0 $((size / 512)) delay $right 0 200"
declare_volume /dev/mapper/slow; attach slow; detach slow
dmsetup remove slow

# Keys that are not the volume's.
declare_volume "$right"
attach "the key of another name" key-other
head -c 200 "$scratch/key" >/run/keys/weights; CREDENTIALS_DIRECTORY=/run/keys $volume attach weights; echo "RESULT half a key: $?"
rm /run/keys/weights; CREDENTIALS_DIRECTORY=/run/keys $volume attach weights; echo "RESULT no key: $?"
cp "$scratch/key" /run/keys/weights
CREDENTIALS_DIRECTORY=/run/keys $volume attach undeclared; echo "RESULT undeclared: $?"

# Devices that are none, that are used, and that come late.
declare_volume /dev/null; attach "no block device"
declare_volume /dev/nothing; attach "no device"
declare_volume sdf; attach "nothing attached"
mkfs.erofs --quiet /run/mounted /etc >/dev/null 2>&1; truncate -s 2M /run/mounted; mounted=$(losetup -f --show /run/mounted)
mount -t erofs -o ro "$mounted" /mnt/at; declare_volume "$mounted"; attach "a mounted device"; umount /mnt/at
declare_volume /dev/late DeviceTimeoutSec=1min
(attach late >/run/late 2>&1) &
until grep -q 'waits for its device' /run/late; do sleep 0.1; done
cp -a "$right" /dev/late
wait; cat /run/late; look late; detach late
CASES

uml_prepare cbc aes_generic xts sha256_generic loop dm-mod dm-delay dm-crypt dm-verity erofs
uml_boot volumes "$scratch/image" <<<". $scratch/cases"

cat >"$scratch/wanted" <<'WANTED'
right: attach 0, mappings 2
right: ./model: OK
right: ./sub/other: OK
tables with a name in place of the key: 1
tables with the key: 0
keys left in keyrings: 0
read-only: 1 1
nobody reads the volume: 1
nobody reads the tables: 1
again: attach 0, mappings 2
again: ./model: OK
again: ./sub/other: OK
in use: detach 1
in use: still open
in use: attach 0, mappings 2
another key for an open volume: attach 30, mappings 2
another key for an open volume: ./model: OK
another key for an open volume: ./sub/other: OK
right: detach 0
twice: detach 0
somebody's mapping of the name: attach 30, mappings 1
half a mapping: attach 0, mappings 2
half a mapping: detach 0
a mapping without a table: attach 0, mappings 2
a mapping without a table: detach 0
somebody's mapping without a table: attach 30, mappings 1
control: tables with the key: 1
generator: 1, unseald-volume@weights.service
another volume of the same size: attach 30, mappings 0
an older build under the same key: attach 30, mappings 0
control: an older build: ./model: FAILED
control: an older build: ./sub/other: OK
control: an older build: sha256sum: WARNING: 1 computed checksum did NOT match
a LUKS device: attach 30, mappings 0
control: blkid finds crypto_LUKS
a file system in the clear: attach 30, mappings 0
control: a file system in the clear: mounted
one bit: data: attach 0, mappings 2
one bit: data: sha256sum: ./model: Input/output error
one bit: data: ./model: FAILED open or read
one bit: data: ./sub/other: OK
one bit: data: sha256sum: WARNING: 1 listed file could not be read
one bit: data: detach 0
control: one bit: ./model: FAILED
control: one bit: ./sub/other: OK
control: one bit: sha256sum: WARNING: 1 computed checksum did NOT match
one bit: tree: attach 30, mappings 0
one bit: tree: not mounted
one bit: tree: detach 0
one bit: last-block: attach 0, mappings 2
one bit: last-block: sha256sum: ./model: Input/output error
one bit: last-block: ./model: FAILED open or read
one bit: last-block: ./sub/other: OK
one bit: last-block: sha256sum: WARNING: 1 listed file could not be read
one bit: last-block: detach 0
one bit: first: attach 30, mappings 0
truncated: attach 30, mappings 0
grown: attach 0, mappings 2
grown: ./model: OK
grown: ./sub/other: OK
grown: detach 0
switched: attach 0, mappings 2
before the switch: ./model: OK
before the switch: ./sub/other: OK
after the switch: sha256sum: ./model: Input/output error
after the switch: ./model: FAILED open or read
after the switch: ./sub/other: OK
after the switch: sha256sum: WARNING: 1 listed file could not be read
vanished: not mounted
vanished: detach 0
returned: attach 0, mappings 2
returned: ./model: OK
returned: ./sub/other: OK
returned: detach 0
control: after the switch: ./model: FAILED
control: after the switch: ./sub/other: OK
control: after the switch: sha256sum: WARNING: 1 computed checksum did NOT match
slow: attach 0, mappings 2
slow: detach 0
the key of another name: attach 62, mappings 0
half a key: 62
no key: 78
undeclared: 78
no block device: attach 30, mappings 0
no device: attach 30, mappings 0
nothing attached: attach 30, mappings 0
a mounted device: attach 30, mappings 0
late: attach 0, mappings 2
late: ./model: OK
late: ./sub/other: OK
late: detach 0
WANTED
sed -n 's/^RESULT //p' "$scratch/said" >"$scratch/seen"
assert_equal "what differs from what is wanted" "$(diff <(cat "$scratch/wanted" && echo end) "$scratch/seen" || true)" ''

# The messages say what happened and to what.
for text in 'The volume weights is open as /dev/mapper/unseald-weights, from the device /dev/loop0\.' \
    'The volume weights stays open, because it is in use' \
    'exists and is not this volume: its table is not what the key and the device /dev/loop1 demand' \
    'does not hold the volume weights: its first block does not match the root hash' \
    "is too short for the volume weights: it has $((size - 4096)) bytes, and the volume needs $size\." \
    'The secret weights is the key of another volume, other\.' \
    '/dev/null, which Device= names, is no block device' \
    'No EBS volume is attached that Device=sdf selects\. Attached are: none\.' \
    'The device /dev/loop[0-9]* cannot be had for the volume alone' \
    'A block of the volume weights is not what its key demands'; do
    assert_line "a message" "$scratch/said" "$text"
done

# Neither the kernel's log nor the program's messages have the key.
assert_no_line "the key in a log" "$scratch/said" "$key|$(cut -c 1-40 "$scratch/key-base64" | sed 's/[+]/[+]/g')"
