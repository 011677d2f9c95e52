#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What somebody who writes the disk can do to a read-write volume, and to LUKS2 with the same cipher and integrity: the control. A volume
# with Integrity=no ("bare") is another control: what the tags keep out works there. Each attack has a row: what opening said, what the
# application found, and whether the kernel lived. A row that ends the kernel is noted, and the next row begins in a new kernel (user-mode
# Linux).
#
# The table goes to $UNSEALD_TEST_RESULTS/state.txt, too, if that is set.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

head -c 32 /dev/urandom >"$scratch/key"
head -c 32 /dev/urandom >"$scratch/key-of-another"
truncate -s 1M "$scratch/none"
mkdir "$scratch/images"

# Both volumes have 17 MiB, and dm-integrity's superblock at 1 MiB: then one list of attacks fits both.
cat >"$scratch/common" <<END
volume=$install_root/usr/lib/unseald/unseald-volume
scratch=$scratch
END
cat >>"$scratch/common" <<'COMMON'
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /run/keys /mnt/at /mnt/images
mount -t hostfs -o "$scratch/images" none /mnt/images
cp "$scratch/key" /run/keys/state
start=1048576
# flip OFFSET [BITS]: changes bits of a byte of /run/disk
flip() {
    local byte
    byte=$(od -An -tu1 -j "$1" -N 1 /run/disk)
    printf "\\x$(printf %x $((byte ^ ${2:-1})))" | dd of=/run/disk bs=1 seek="$1" conv=notrunc status=none
}
# put OFFSET VALUE: sets a byte
put() { printf "\\x$(printf %x "$2")" | dd of=/run/disk bs=1 seek="$1" conv=notrunc status=none; }
# $traced is a program that traces the one that opens
attach() {
    case $1 in
        luks) "${traced[@]}" cryptsetup open --type luks --key-file "$scratch/key" "$device" luks ;;
        state | bare)
            printf '%s\n' '[Volume]' "Device=$device" DeviceTimeoutSec=0 Mode=state Integrity="$([ "$1" = state ] && echo yes || echo no)" "${@:2}" \
                >/etc/unseald/volumes.d/state.volume
            CREDENTIALS_DIRECTORY=/run/keys "${traced[@]}" $volume attach state
            ;;
    esac
}
traced=()
node() { if [ "$1" = luks ]; then echo /dev/mapper/luks; else echo /dev/mapper/unseald-state; fi; }
detach() { if [ "$1" = luks ]; then cryptsetup close luks 2>/dev/null; else $volume detach state; fi; }
# take IMAGE: a copy that can be changed, as /run/disk and $device
take() { cp "/mnt/images/$1" /run/disk && device=$(losetup -f --show /run/disk); }
drop() { losetup -d "$device"; rm /run/disk; }
# application KIND: mounts the volume, says what it finds, and stores something that nobody may see
application() {
    local found
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 "$(node "$1")" /mnt/at 2>/dev/null || { echo "finds no file system"; return; }
    if [ ! -e /mnt/at/state ]; then
        found="an empty volume"
    elif ! cat /mnt/at/state >/run/found 2>/dev/null; then
        found="an error of input"
    else
        found=$(head -n 1 /run/found | tr -cd '[:print:]')
        yes "$found" 2>/dev/null | head -c 4096 | cmp -s - /run/found || found="changed data"
    fi
    yes password-of-today 2>/dev/null | head -n 8 >/mnt/at/log && sync
    umount /mnt/at
    echo "finds $found"
}
COMMON

# The first start makes both volumes. state.old is the disk of last week, state.live the disk of a machine that lost power.
{
    cat "$scratch/common"
    cat <<'MAKE'
format_luks() {
    cryptsetup -q luksFormat --type luks2 --cipher aes-xts-plain64 --key-size 512 --integrity hmac-sha256 --sector-size 4096 --offset 2048 \
        --luks2-metadata-size 16k --luks2-keyslots-size 512k --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$device" "$1"
}
for kind in luks state bare; do
    truncate -s 17M /run/disk; device=$(losetup -f --show /run/disk)
    if [ $kind = luks ]; then
        format_luks "$scratch/key"
        attach luks && mkfs.ext4 -q -b 4096 /dev/mapper/luks
    else
        attach $kind Initialize=blank
    fi
    mount -t ext4 "$(node $kind)" /mnt/at
    yes 'the state of last week' | head -c 4096 >/mnt/at/state; sync
    umount /mnt/at; detach $kind; cp /run/disk /mnt/images/$kind.old
    attach $kind; mount -t ext4 "$(node $kind)" /mnt/at
    yes 'the state of today' | head -c 4096 | dd of=/mnt/at/state conv=notrunc,fsync status=none
    cp /run/disk /mnt/images/$kind.live
    filefrag -v /mnt/at/state | sed -n 's/^ *0: .*: *\([0-9]*\)\.\. .*/\1/p' >/mnt/images/$kind.block
    umount /mnt/at; detach $kind
    # A journal that is written back as the volume opens would cover the changes: it is empty after this.
    attach $kind; echo "$kind: $(application $kind)"; detach $kind
    cp /run/disk /mnt/images/$kind; drop
    echo "RESULT $kind: block $(wc -w <"/mnt/images/$kind.block")"
    [ $kind != bare ] || continue
    # Volumes of the same size: with the key of another customer, and with the same key, but another volume of it.
    for whose in foreign other; do
        key=$scratch/key; [ $whose = other ] || key=$scratch/key-of-another
        truncate -s 17M /run/disk; device=$(losetup -f --show /run/disk)
        if [ $kind = luks ]; then
            format_luks "$key"; cryptsetup open --key-file "$key" "$device" luks && mkfs.ext4 -q -b 4096 /dev/mapper/luks
            mapped=/dev/mapper/luks
        else
            cp "$key" /run/keys/other
            printf '%s\n' '[Volume]' "Device=$device" DeviceTimeoutSec=0 Mode=state Initialize=blank >/etc/unseald/volumes.d/other.volume
            CREDENTIALS_DIRECTORY=/run/keys $volume attach other; mapped=/dev/mapper/unseald-other
        fi
        mount -t ext4 $mapped /mnt/at && yes 'the state of another volume' | head -c 4096 >/mnt/at/state; umount /mnt/at
        if [ $kind = luks ]; then detach luks; else $volume detach other; fi
        cp /run/disk /mnt/images/$kind.$whose; drop
    done
    cp /mnt/images/$kind /run/disk; flip $((start + 9)); mv /run/disk /mnt/images/$kind.bad
done
MAKE
} >"$scratch/make"

# One row: ATTACK KIND IMAGE. The layout is dm-integrity's for blocks of 4096 bytes and tags of 32: a section of the journal has 264 sectors,
# and the tags of the first 4096 blocks lie before them, in 256.
{
    cat "$scratch/common"
    cat <<'ROWS'
attack_none() { :; }
attack_superblock() { flip $((start + $1)) "${2:-1}"; }
# The label of a read-write volume, with a digest that is right: that needs no key. LUKS2 has nothing of the kind.
attack_label() { [ "$kind" = luks ] || python3 "$scratch/label.py" /run/disk "$1"; }
attack_both() { attack_superblock 24 4; attack_label superblock; }
# Whoever clears FIXED_HMAC and sets DIRTY_BITMAP asks the kernel for new tags, and no key is needed (flags are at 24).
attack_bitmap() { put $((start + 24)) $(($(od -An -tu1 -j $((start + 24)) -N 1 /run/disk) & ~16 | 4)); put $((start + 8)) 3; put $((start + 29)) 11; }
attack_erased() { dd if=/dev/zero of=/run/disk bs=4096 seek=$((start / 4096)) count=1 conv=notrunc status=none; }
attack_data() { flip $(((data + 8 * block) * 512 + 100)); }
attack_tag() { flip $((tags * 512 + 32 * block)); }
# An authentic block of the volume, with its tag, in the place of the application's.
attack_moved() {
    dd if=/run/disk of=/run/disk bs=512 skip=$((data + 8 * (block + 1))) seek=$((data + 8 * block)) count=8 conv=notrunc status=none
    [ "$kind" = bare ] || dd if=/run/disk of=/run/disk bs=32 skip=$((tags * 16 + block + 1)) seek=$((tags * 16 + block)) count=1 conv=notrunc status=none
}
# The block of last week with its tag, in the disk of today.
attack_replayed() {
    dd if=/mnt/images/$kind.old of=/run/disk bs=512 skip=$((data + 8 * block)) seek=$((data + 8 * block)) count=8 conv=notrunc status=none
    [ "$kind" = bare ] || dd if=/mnt/images/$kind.old of=/run/disk bs=32 skip=$((tags * 16 + block)) seek=$((tags * 16 + block)) count=1 conv=notrunc status=none
}
# Of the block of last week 16 bytes, which AES-XTS encrypts by themselves.
attack_piece() { dd if=/mnt/images/$kind.old of=/run/disk bs=16 skip=$((32 * data + 256 * block + 6)) seek=$((32 * data + 256 * block + 6)) count=1 conv=notrunc status=none; }
# A bit in each block that the journal holds; the entries, which come first in a section, stay.
attack_journal() {
    python3 - $((start + 4096)) "$sections" <<'END'
import sys

start, sections = int(sys.argv[1]), int(sys.argv[2])
with open("/run/disk", "r+b") as disk:
    for at in (start + (section * 264 + 8 + 8 * i) * 512 + 100 for section in range(sections) for i in range(32)):
        disk.seek(at)
        byte = disk.read(1)[0]
        disk.seek(at)
        disk.write(bytes([byte ^ 1]))
END
}
attack_entry() { flip $((start + 4096 + $1)) 255; }
# A header that says "no encryption", over a file system of the attacker. Its checksum needs no key.
attack_null() {
    mkdir -p /run/tree; yes "the state of the attacker" | head -c 4096 >/run/tree/state
    rm -f /run/fs; truncate -s 16M /run/fs; mkfs.ext4 -q -b 4096 -d /run/tree /run/fs
    dd if=/run/fs of=/run/disk bs=1M seek=1 conv=notrunc status=none
    [ $kind = luks ] || dd if=/mnt/images/luks of=/run/disk bs=1M count=1 conv=notrunc status=none
    python3 "$scratch/luks-header.py" /run/disk null
}
# Sizes of 2^64 - 1: of data in the superblock, of device and data in the label, of the segment in the header of LUKS2.
attack_superblock_size() { for at in 16 17 18 19 20 21 22 23; do put $((start + at)) 255; done; }
attack_sizes() { if [ $kind = luks ]; then python3 "$scratch/luks-header.py" /run/disk size; else attack_label sizes; fi; }
zero() { dd if=/dev/zero of=/run/disk bs=1M seek="$1" count=1 conv=notrunc status=none; }
attack_hidden() { zero 0; }
attack_blank() { zero 0; zero 16; }
try() { # WHAT KIND IMAGE ATTACK...
    local what=$1 kind=$2 status said sections tags data block
    take "$2$3"
    sections=$(od -An -tu4 -j $((start + 12)) -N 4 /run/disk) block=$(cat "/mnt/images/$kind.block")
    sections=$((sections)) tags=$((2048 + 8 + 264 * sections)) data=$((2048 + 8 + 264 * sections + 256))
    # Without tags the data follow the label.
    [ "$kind" != bare ] || data=2048
    "attack_$4" "${@:5}"
    echo "ROW $kind|$what"
    attach $kind Initialize=blank >/run/said 2>&1; status=$?
    said="does not start"
    [ $status != 0 ] || said=$(application $kind)
    # What dm-integrity does behind an open volume is done before it is closed.
    detach $kind
    ! grep -q password-of-today /run/disk || said="$said, and stores its password in the clear"
    cat /run/said
    echo "SEEN $kind|$what|$([ $status = 0 ] && echo opens || echo "is refused")|$said"
    drop
}
# moment KIND IMAGE CALL NUMBER: opens the volume, and has another disk in its place after the CALL that is the NUMBERth of its kind. CALL "none"
# is after the opening. Returns 1 if there was no such call.
moment() {
    local pid status said=refused stopped=
    cp /run/first /run/disk; cp /run/second /run/another
    before=$(losetup -f --show /run/disk) after=$(losetup -f --show /run/another)
    dmsetup create under --table "0 $((17 * 2048)) linear $before 0"; device=/dev/mapper/under
    dmsetup reload under --table "0 $((17 * 2048)) linear $after 0"
    : >/run/trace
    [ "$3" = none ] || traced=(strace -qq -o /run/trace -P /dev/mapper/under -P /dev/mapper/control -e "inject=$3:signal=STOP:when=$4")
    attach "$1" Initialize=blank >/run/said 2>&1 & pid=$!
    traced=()
    until [ "$3" = none ] || grep -q 'stopped by SIGSTOP' /run/trace || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
    [ "$3" != none ] || { wait $pid; status=$?; }
    ! grep -q 'stopped by SIGSTOP' /run/trace || stopped=yes
    dmsetup suspend --nolockfs under && dmsetup resume under
    [ -z "$stopped" ] || kill -CONT "$(pgrep -x 'cryptsetup|unseald-volume')"
    [ "$3" = none ] || { wait $pid; status=$?; }
    [ $status != 0 ] || said=$(application "$1")
    [ "$3$stopped" = "$3" ] && [ "$3" != none ] || { echo "$said" >>/run/outcomes; echo "SWITCHED $1 $2 $3 $4: $said: $(tail -n 1 /run/said)"; }
    detach "$1"; dmsetup remove under; losetup -d "$before"; losetup -d "$after"
    [ -n "$stopped" ]
}
switched() { # WHAT KIND IMAGE
    local call number step
    echo "ROW $2|$1"
    : >/run/outcomes
    cp "/mnt/images/$2" /run/first; cp "/mnt/images/$2.$3" /run/second
    # One moment shows that this reaches the control.
    [ "$2" = state ] || moment luks "$3" read 1
    for call in pread64 ioctl; do
        # At least three calls make a mapping.
        step=1; [ $call != ioctl ] || step=3
        for ((number = 1; ; number += step)); do [ "$2" = state ] && moment state "$3" $call $number || break; done
    done
    moment "$2" "$3" none 0 || true
    rm /run/first /run/second /run/disk /run/another
    echo "SEEN $2|$1|at $(wc -l </run/outcomes) moments|$(sort -u /run/outcomes | paste -s -d ';')"
}
ROWS
} >"$scratch/rows"

cat >"$scratch/luks-header.py" <<'END'
import hashlib, json, struct, sys

with open(sys.argv[1], "r+b") as disk:
    for at in (0, 16384):
        disk.seek(at)
        area = bytearray(disk.read(16384))
        text = json.loads(area[4096:].split(b"\0")[0])
        segment = text["segments"]["0"]
        match sys.argv[2]:
            case "null":
                segment.pop("integrity", None)
                segment["encryption"] = "cipher_null-ecb"
                text["config"].pop("requirements", None)
            case "size":
                segment["size"] = str((1 << 64) - 1)
        area[4096:] = json.dumps(text).encode().ljust(16384 - 4096, b"\0")
        area[448:512] = bytes(64)
        area[448:480] = hashlib.sha256(area).digest()
        disk.seek(at)
        disk.write(area)
END

cat >"$scratch/label.py" <<'END'
import hashlib, sys

with open(sys.argv[1], "r+b") as disk:
    disk.seek(1048576)
    superblock = disk.read(64)
    for at in (0, 524288):
        disk.seek(at)
        label = bytearray(disk.read(4096))
        match sys.argv[2]:
            case "superblock":
                label[112:176] = superblock
            case "formatting":
                label[24:28], label[104:176] = (1).to_bytes(4, "big"), bytes(72)
            case "sizes":
                label[96:112] = bytes([255]) * 16
            case "without":
                label[104:112] = (16 << 20).to_bytes(8, "big")
                label[112:176], label[208:212] = bytes(64), (1).to_bytes(4, "big")
            case "with":
                label[104:112] = (8 << 20).to_bytes(8, "big")
                label[112:176], label[208:212] = bytes([1]) * 64, bytes(4)
            case "counter":
                label[16:24] = (1 << 62).to_bytes(8, "big")
        label[4032:4064] = hashlib.sha256(label[:4032]).digest()
        disk.seek(at)
        disk.write(label)
END

# WHAT|IMAGE|ATTACK. The last one ends the kernel of the control. volume-state.sh changes each field of the superblock and of the label.
cat >"$scratch/attacks" <<'END'
no attack||none
the superblock says another interleave||superblock 9
the superblock says another size of a tag||superblock 10
the superblock says that there is a bitmap||superblock 24 4
the superblock says that there is a bitmap, and so does the label||both
the label says that the first format has not ended||label formatting
the label has another counter||label counter
the label says that there are no tags||label without
the superblock is zeros||erased
a bit of data||data
a bit of a tag||tag
16 bytes of last week in their block||piece
another block in its place||moved
the block of last week in its place||replayed
the disk of last week|.old|none
power lost|.live|none
power lost, and bits of data in the journal|.live|journal
power lost, and the sector of an entry of the journal|.live|entry 6
power lost, and the tag of an entry of the journal|.live|entry 80
the volume of another customer|.foreign|none
another volume of the same key|.other|none
the superblock has a size of 2^64||superblock_size
the label, or the header, has sizes of 2^64||sizes
the label, or the header, is zeros||hidden
the first and the last MiB are zeros||blank
another volume takes its place|other|switched
the superblock changes|bad|switched
a header without encryption||null
the superblock asks for new tags||bitmap
END

# What the tags are for.
cat >"$scratch/bare-attacks" <<'END'
no attack||none
the label says that there are tags||label with
a bit of data||data
16 bytes of last week in their block||piece
another block in its place||moved
the block of last week in its place||replayed
END
all_rows() {
    sed 's/^/bare|/' "$scratch/bare-attacks"
    sed 's/^/luks|/; p; s/^luks/state/' "$scratch/attacks"
}

uml_prepare cbc ecb crypto_null aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-integrity
uml_boot make "$scratch/none" <"$scratch/make"
assert_equal "the volumes" "$(sed -n 's/^RESULT //p' "$scratch/said")" $'luks: block 1\nstate: block 1\nbare: block 1\nend'
cp "$scratch/said" "$scratch/all-said"

# In one start, as far as the kernel lives.
: >"$scratch/table"
all_rows >"$scratch/left"
starts=0
while [ -s "$scratch/left" ]; do
    [ $((++starts)) -le 4 ] || die "the kernel has panicked too often"
    {
        cat "$scratch/rows"
        while IFS='|' read -r kind what image attack; do
            if [ "$attack" = switched ]; then printf 'switched %q %s %s\n' "$what" "$kind" "$image"
            else printf 'try %q %s "%s" %s\n' "$what" "$kind" "$image" "$attack"; fi
        done <"$scratch/left"
    } >"$scratch/program-rows"
    UML_MEMORY=384M uml_boot "start $starts" "$scratch/none" <"$scratch/program-rows" >/dev/null
    cat "$scratch/said" >>"$scratch/all-said"
    sed -n 's/^SEEN //p' "$scratch/said" >>"$scratch/table"
    grep -qx 'RESULT end' "$scratch/said" && break
    row=$(sed -n 's/^ROW //p' "$scratch/said" | tail -n 1)
    [ -n "$row" ] || die "the kernel ends before an attack: $(tail -n 30 "$scratch/said")"
    say "$row: $(grep -a -m 1 -oE 'panic - .*|BUG.*' "$scratch/said" || tail -n 1 "$scratch/said")"
    echo "$row|ends the kernel|does not start" >>"$scratch/table"
    rows=$(wc -l <"$scratch/table")
    all_rows | tail -n +$((rows + 1)) >"$scratch/left"
done
grep -a '^SWITCHED' "$scratch/all-said" || true
printf 'read-write volumes: %s\n' 'volume, attack, opening, application' >"$scratch/report"
awk -F '|' '{ printf "%-5s  %-66s  %-16s  %s\n", $1, $2, $3, $4 }' "$scratch/table" | tee -a "$scratch/report"
if [ -n "${UNSEALD_TEST_RESULTS:-}" ]; then
    mkdir -p "$UNSEALD_TEST_RESULTS"
    cp "$scratch/report" "$UNSEALD_TEST_RESULTS/state.txt"
fi

cat >"$scratch/wanted" <<'END'
bare|no attack|opens|finds the state of today
bare|the label says that there are tags|is refused|does not start
bare|a bit of data|opens|finds changed data
bare|16 bytes of last week in their block|opens|finds changed data
bare|another block in its place|opens|finds changed data
bare|the block of last week in its place|opens|finds the state of last week
luks|no attack|opens|finds the state of today
state|no attack|opens|finds the state of today
luks|the superblock says another interleave|opens|finds no file system
state|the superblock says another interleave|is refused|does not start
luks|the superblock says another size of a tag|is refused|does not start
state|the superblock says another size of a tag|is refused|does not start
luks|the superblock says that there is a bitmap|opens|finds the state of today
state|the superblock says that there is a bitmap|is refused|does not start
luks|the superblock says that there is a bitmap, and so does the label|opens|finds the state of today
state|the superblock says that there is a bitmap, and so does the label|is refused|does not start
luks|the label says that the first format has not ended|opens|finds the state of today
state|the label says that the first format has not ended|is refused|does not start
luks|the label has another counter|opens|finds the state of today
state|the label has another counter|is refused|does not start
luks|the label says that there are no tags|opens|finds the state of today
state|the label says that there are no tags|is refused|does not start
luks|the superblock is zeros|is refused|does not start
state|the superblock is zeros|is refused|does not start
luks|a bit of data|opens|finds an error of input
state|a bit of data|opens|finds an error of input
luks|a bit of a tag|opens|finds an error of input
state|a bit of a tag|opens|finds an error of input
luks|16 bytes of last week in their block|opens|finds an error of input
state|16 bytes of last week in their block|opens|finds an error of input
luks|another block in its place|opens|finds an error of input
state|another block in its place|opens|finds an error of input
luks|the block of last week in its place|opens|finds the state of last week
state|the block of last week in its place|opens|finds the state of last week
luks|the disk of last week|opens|finds the state of last week
state|the disk of last week|opens|finds the state of last week
luks|power lost|opens|finds the state of today
state|power lost|opens|finds the state of today
luks|power lost, and bits of data in the journal|finds nothing that others have written
state|power lost, and bits of data in the journal|finds nothing that others have written
luks|power lost, and the sector of an entry of the journal|finds nothing that others have written
state|power lost, and the sector of an entry of the journal|finds nothing that others have written
luks|power lost, and the tag of an entry of the journal|finds nothing that others have written
state|power lost, and the tag of an entry of the journal|finds nothing that others have written
luks|the volume of another customer|is refused|does not start
state|the volume of another customer|is refused|does not start
luks|another volume of the same key|opens|finds the state of another volume
state|another volume of the same key|is refused|does not start
luks|the superblock has a size of 2^64|is refused|does not start
state|the superblock has a size of 2^64|is refused|does not start
luks|the label, or the header, has sizes of 2^64|is refused|does not start
state|the label, or the header, has sizes of 2^64|is refused|does not start
luks|the label, or the header, is zeros|is refused|does not start
state|the label, or the header, is zeros|is refused|does not start
luks|the first and the last MiB are zeros|is refused|does not start
state|the first and the last MiB are zeros|opens|finds an empty volume
luks|another volume takes its place|at 2 moments|finds no file system;finds the state of another volume
state|another volume takes its place|at all moments|finds nothing that others have written
luks|the superblock changes|at 2 moments|finds no file system;finds the state of today
state|the superblock changes|at all moments|finds nothing that others have written
luks|a header without encryption|opens|finds the state of the attacker, and stores its password in the clear
state|a header without encryption|is refused|does not start
luks|the superblock asks for new tags|ends the kernel|does not start
state|the superblock asks for new tags|is refused|does not start
END

# Which blocks a journal holds when the power goes is not the same each time, so neither is what becomes unreadable. What the kernel has read
# before another disk takes the place of the first is not the same, either. The number of moments follows from the calls; it is 8 or more.
ours='(refused|finds (no file system|an error of input|the state of today))'
sed -E "/^state.*\|at [0-9]* moments/s/at ([89]|[0-9]{2,}) moments\|$ours(;$ours)*$/at all moments|finds nothing that others have written/" "$scratch/table" |
    sed -E '/journal\|/s/\|(is refused\|does not start|opens\|finds (no file system|an error of input|the state of (today|last week)))$/|finds nothing that others have written/' \
        >"$scratch/seen"
assert_equal "what differs from what is wanted" "$(diff "$scratch/wanted" "$scratch/seen" || true)" ''
