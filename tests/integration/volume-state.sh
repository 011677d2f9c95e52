#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A read-write volume in a kernel of its own (user-mode Linux): its first format, also when it is interrupted, its later openings, and what
# attacks it. The controls show that an attack reaches what it is aimed at.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

head -c 32 /dev/urandom >"$scratch/key"
head -c 32 /dev/urandom >"$scratch/key-of-another"
head -c 31 "$scratch/key" >"$scratch/key-short"
head -c 4096 /dev/urandom >"$scratch/key-long"
truncate -s 1M "$scratch/none"

cat >"$scratch/cases" <<END
volume=$install_root/usr/lib/unseald/unseald-volume
scratch=$scratch
END
cat >>"$scratch/cases" <<'CASES'
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /mnt/at /run/keys
size=$((17 * 1024 * 1024))
declare_volume() { # DEVICE [LINE...]
    printf '%s\n' '[Volume]' "Device=$1" DeviceTimeoutSec=0 Mode=state "${@:2}" >/etc/unseald/volumes.d/state.volume
}
# attach WHAT [KEYFILE]
attach() {
    cp "$scratch/${2:-key}" /run/keys/state
    CREDENTIALS_DIRECTORY=/run/keys $volume attach state
    echo "RESULT $1: attach $?, mappings $(dmsetup info -c --noheadings -o name 2>/dev/null | grep -c unseald)"
}
detach() { $volume detach state; echo "RESULT $1: detach $?"; }
counter() { echo "RESULT $1: $(cat /run/unseald-volume/state.env)"; }
look() {
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 /dev/mapper/unseald-state /mnt/at || { echo "RESULT $1: not mounted"; return; }
    echo "RESULT $1: $(cat /mnt/at/said 2>&1)"
    umount /mnt/at
}
# disk NAME [IMAGE]: prints the path of a block device, blank or a copy
disk() {
    if [ $# = 2 ]; then cp "/run/$2" "/run/$1"; else truncate -s "$size" "/run/$1"; fi
    losetup -f --show "/run/$1"
}
drop() { losetup -d "$1"; rm "/run/$2"; }
# flip FILE OFFSET: changes one bit
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
sum() { sha256sum <"$1" | cut -c 1-16; }

# From a blank device to a file that is there again.
d=$(disk d); declare_volume "$d" Initialize=blank
attach new; counter new
dmsetup table --showkeys >/run/table; cat /run/table
grep -c 'capi:authenc(hmac(sha256),xts(aes))-plain64 :96:logon:unseald-volume:state 0 .* integrity:32:aead sector_size:4096$' /run/table | sed 's/^/RESULT authenticated tables: /'
grep -c ' 2048 32 J .*block_size:4096 ' /run/table | sed 's/^/RESULT tables of tags with a journal: /'
grep -c unseald /proc/keys | sed 's/^/RESULT keys left in keyrings: /'
setpriv --reuid=65534 --regid=65534 --clear-groups head -c 1 /dev/mapper/unseald-state >/dev/null 2>&1; echo "RESULT nobody reads the volume: $?"
mount -t ext4 /dev/mapper/unseald-state /mnt/at && echo hello >/mnt/at/said && sync
detach "in use"; attach "in use"; counter "in use"
umount /mnt/at; detach new; detach twice
attach again; counter again; look again
declare_volume "$d"; attach "still open"; detach again
attach "never, with state"; counter never; look never; detach never
cp /run/d /run/good
attach "once more" # a newer label, which the last copy lacks
detach "once more"; mv /run/d /run/newer; d=$(disk d newer)

# Other keys, and other devices.
attach "another key" key-of-another; attach "a short key" key-short; attach "a long key" key-long
sed 's/^RESULT/RESULT 0/' /etc/unseald/volumes.d/state.volume >/etc/unseald/volumes.d/stats.volume
cp "$scratch/key" /run/keys/stats
CREDENTIALS_DIRECTORY=/run/keys $volume attach stats; echo "RESULT the volume of another name: $?"
rm /etc/unseald/volumes.d/stats.volume
blank=$(disk blank); declare_volume "$blank"; attach "blank, with never"; echo "RESULT blank, with never: $(tr -d '\0' </run/blank | wc -c) bytes written"
for at in 510 524288 $((size - 1)); do
    used=$(disk used); printf U | dd of=/run/used bs=1 seek="$at" conv=notrunc status=none; before=$(sum /run/used)
    declare_volume "$used" Initialize=blank; attach "a byte at $at"; [ "$(sum /run/used)" = "$before" ] || echo "RESULT a byte at $at: the device was changed"
    drop "$used" used
done
small=$(disk small); truncate -s $((15 << 20)) /run/small; losetup -c "$small"; declare_volume "$small" Initialize=blank; attach "too small"
dmsetup create unseald-state --table "0 8 linear $blank 0"; declare_volume "$d"; attach "somebody's mapping"; dmsetup remove unseald-state
dmsetup create unseald_tags-state --table "0 8 error"; attach "half a mapping"; detach "half a mapping"

# A format that a power cut interrupts: after some lines of its report, before there is a file system, and at a torn label.
for part in 1 3 8; do
    cut=$(disk cut); declare_volume "$cut" Initialize=blank
    cp "$scratch/key" /run/keys/state; rm -f /run/progress; mkfifo /run/progress
    CREDENTIALS_DIRECTORY=/run/keys $volume attach state 2>/run/progress &
    for _ in $(seq "$part"); do read -r line; done </run/progress; kill -9 $! 2>/dev/null; wait $! 2>/dev/null
    for name in unseald-state unseald_crypt-state unseald_tags-state unseald_part-state; do
        until ! dmsetup info "$name" >/dev/null 2>&1 || dmsetup remove "$name" 2>/dev/null; do :; done
    done
    attach "format cut after part $part"; look "format cut after part $part" 2>/dev/null; detach "format cut after part $part"; drop "$cut" cut
done
cut=$(disk cut); declare_volume "$cut" Initialize=blank
mount --bind /bin/false /usr/lib/systemd/systemd-makefs; attach "without systemd-makefs"; umount /usr/lib/systemd/systemd-makefs
declare_volume "$cut"; attach "formatting, with never"
declare_volume "$cut" Initialize=blank; attach "formatting, another key" key-of-another
attach "formatting, with all"; counter "formatting, with all"; detach "formatting, with all"; drop "$cut" cut
torn=$(disk torn); dd if=/run/good of=/run/torn bs=512 count=1 conv=notrunc status=none
declare_volume "$torn" Initialize=blank; attach "a torn label"; detach "a torn label"; drop "$torn" torn

# The superblock of dm-integrity: a bit in each of its fields, and of the last byte that the kernel reads.
bad=$(disk bad good); declare_volume "$bad"
for at in 0 8 9 10 12 16 24 29 48 4095; do
    flip /run/bad $((1048576 + at)); attach superblock; flip /run/bad $((1048576 + at))
done | grep RESULT | sort | uniq -c | sed 's/^ *\([0-9]*\) RESULT/RESULT \1 x/'
attach "control: the bits put back"; detach "control: the bits put back"; drop "$bad" bad
bad=$(disk bad good); flip /run/bad $((1048576 + 9)); sed -n "s|integrity [0-9]*:[0-9]* |integrity $bad |p" /run/table | sed 's/^[^:]*: //; s/ J .*/ J 2 block_size:4096 fix_padding/; s/^0 [0-9]*/0 8/' >/run/patched
dmsetup create patched <"/run/patched" && echo "RESULT control: the kernel takes a superblock with another interleave"
dmsetup remove patched; drop "$bad" bad

# The label: the newest copy, then both; a copy of another key; a LUKS header.
newest=0; [ "$(od -An -tu1 -j 23 -N 1 /run/newer)" -gt "$(od -An -tu1 -j $((524288 + 23)) -N 1 /run/newer)" ] || newest=524288
for at in 23 40 130 180 4095; do
    bad=$(disk bad newer); declare_volume "$bad"
    flip /run/bad $((newest + at)); flip /run/bad $((524288 - newest + at)); attach "label, both copies"
    flip /run/bad $((524288 - newest + at)); attach "label, the newest copy"; counter "label, the newest copy"; detach "label, the newest copy"
    drop "$bad" bad
done | grep RESULT | sort | uniq -c | sed 's/^ *\([0-9]*\) RESULT/RESULT \1 x/'
bad=$(disk bad good); head -c 64 /dev/zero | cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /run/bad --key-file - 2>/dev/null
declare_volume "$bad" Initialize=blank; attach "a LUKS header"; blkid -p -o value -s TYPE "$bad" | sed 's/^/RESULT control: blkid finds /'; drop "$bad" bad

# A process that is killed as soon as the mapping is there: the next start takes it over, and an application needs the counter.
killed=$(disk killed good); declare_volume "$killed"; cp "$scratch/key" /run/keys/state; rm /run/unseald-volume/state.env
CREDENTIALS_DIRECTORY=/run/keys strace -qq -o /run/trace -e trace=symlink,symlinkat -e inject=symlink,symlinkat:signal=KILL $volume attach state
echo "RESULT killed when open: $?"; attach "killed when open"; counter "killed when open"; detach "killed when open"; drop "$killed" killed

# Blocks and tags. With this geometry block I is at sector 2576 + 8 I, and its tag at sector 2320, byte 32 I.
block() { dd if="$1" of="$2" bs=512 skip=$((2576 + 8 * $3)) seek=$((2576 + 8 * $4)) count=8 conv=notrunc status=none; }
tag() { dd if="$1" of="$2" bs=32 skip=$((37120 + $3)) seek=$((37120 + $4)) count=1 conv=notrunc status=none; }
read_block() { dd if=/dev/mapper/unseald-state bs=4096 skip="$2" count=1 iflag=direct 2>&1 | grep -aoE 'Input/output error|Invalid or incomplete|NEW|OLD' | head -n 1 | sed "s/^/RESULT $1: /"; }
write_block() { printf '%-4096s' "$1" | dd of=/dev/mapper/unseald-state bs=4096 seek="$2" oflag=direct status=none; }
used=$(disk used good); declare_volume "$used"
attach blocks; for i in 1000 1001 1002 1003; do write_block OLD $i; done; detach blocks
cp /run/used /run/old
attach blocks; for i in 1000 1001 1002 1003; do write_block NEW $i; done; detach blocks
# A journal that is written back as it is opened would cover the changes, so it is empty by now.
attach blocks; read_block "as written" 1000; detach blocks
flip /run/used $(((2576 + 8 * 1000) * 512 + 100)); flip /run/used $((2320 * 512 + 32 * 1001))
block /run/used /run/used 1003 1002; tag /run/used /run/used 1003 1002
block /run/old /run/used 1003 1003; tag /run/old /run/used 1003 1003
attach changed
read_block "a bit of data" 1000; read_block "a bit of a tag" 1001; read_block "another block in its place, with its tag" 1002
read_block "control: the block of last week, with its tag" 1003
detach changed; attach "after changes"; detach "after changes"
long=$(disk long good); truncate -s $((size + 1048576)) /run/long; losetup -c "$long"; declare_volume "$long"; attach grown; look grown; detach grown
truncate -s $((size - 4096)) /run/long; losetup -c "$long"; attach truncated
# The whole disk of last week: it opens, and the counter shows it.
old=$(disk last-week good); declare_volume "$old"; attach "last week"; counter "last week"; detach "last week"
CASES

uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-integrity
uml_boot state "$scratch/none" <"$scratch/cases"

sed -n 's/^RESULT //p' "$scratch/said" >"$scratch/seen"
cat >"$scratch/wanted" <<'WANTED'
new: attach 0, mappings 3
new: UNSEALD_VOLUME_COUNTER=2
authenticated tables: 1
tables of tags with a journal: 1
keys left in keyrings: 0
nobody reads the volume: 1
in use: detach 1
in use: attach 0, mappings 3
in use: UNSEALD_VOLUME_COUNTER=2
new: detach 0
twice: detach 0
again: attach 0, mappings 3
again: UNSEALD_VOLUME_COUNTER=3
again: hello
still open: attach 0, mappings 3
again: detach 0
never, with state: attach 0, mappings 3
never: UNSEALD_VOLUME_COUNTER=4
never: hello
never: detach 0
once more: attach 0, mappings 3
once more: detach 0
another key: attach 30, mappings 0
a short key: attach 62, mappings 0
a long key: attach 62, mappings 0
the volume of another name: 30
blank, with never: attach 30, mappings 0
blank, with never: 0 bytes written
a byte at 510: attach 30, mappings 0
a byte at 524288: attach 30, mappings 0
a byte at 17825791: attach 30, mappings 0
too small: attach 30, mappings 0
somebody's mapping: attach 30, mappings 1
half a mapping: attach 0, mappings 3
half a mapping: detach 0
format cut after part 1: attach 0, mappings 3
format cut after part 1: cat: /mnt/at/said: No such file or directory
format cut after part 1: detach 0
format cut after part 3: attach 0, mappings 3
format cut after part 3: cat: /mnt/at/said: No such file or directory
format cut after part 3: detach 0
format cut after part 8: attach 0, mappings 3
format cut after part 8: cat: /mnt/at/said: No such file or directory
format cut after part 8: detach 0
without systemd-makefs: attach 1, mappings 0
formatting, with never: attach 30, mappings 0
formatting, another key: attach 30, mappings 0
formatting, with all: attach 0, mappings 3
formatting, with all: UNSEALD_VOLUME_COUNTER=3
formatting, with all: detach 0
a torn label: attach 0, mappings 3
a torn label: detach 0
10 x superblock: attach 30, mappings 0
control: the bits put back: attach 0, mappings 3
control: the bits put back: detach 0
control: the kernel takes a superblock with another interleave
5 x label, both copies: attach 30, mappings 0
5 x label, the newest copy: UNSEALD_VOLUME_COUNTER=5
5 x label, the newest copy: attach 0, mappings 3
5 x label, the newest copy: detach 0
a LUKS header: attach 30, mappings 0
control: blkid finds crypto_LUKS
killed when open: 137
killed when open: attach 0, mappings 3
killed when open: UNSEALD_VOLUME_COUNTER=5
killed when open: detach 0
blocks: attach 0, mappings 3
blocks: detach 0
blocks: attach 0, mappings 3
blocks: detach 0
blocks: attach 0, mappings 3
as written: NEW
blocks: detach 0
changed: attach 0, mappings 3
a bit of data: Invalid or incomplete
a bit of a tag: Invalid or incomplete
another block in its place, with its tag: Invalid or incomplete
control: the block of last week, with its tag: OLD
changed: detach 0
after changes: attach 0, mappings 3
after changes: detach 0
grown: attach 0, mappings 3
grown: hello
grown: detach 0
truncated: attach 30, mappings 0
last week: attach 0, mappings 3
last week: UNSEALD_VOLUME_COUNTER=5
last week: detach 0
WANTED
assert_equal "what differs from what is wanted" "$(diff <(cat "$scratch/wanted" && echo end) "$scratch/seen" || true)" ''

# The messages say what happened and to what.
for text in 'The volume state is formatted on the device /dev/loop0: it is new, or a first format was interrupted\.' \
    'The volume state is formatted: 100 % of 15 MiB after' \
    'The volume state is open as /dev/mapper/unseald-state, from the device /dev/loop0\. The counter of its label is 2\.' \
    'The volume state is still open as /dev/mapper/unseald-state; its table is what the device /dev/loop0 demands' \
    'it has no label that the key of the volume has made, and is not blank' \
    'it is blank, and Initialize=never' \
    'its first MiB is zeros, but not its last one' \
    'gets no file system: /usr/lib/systemd/systemd-makefs ext4 has failed' \
    'its first format has not ended, and Initialize=never' \
    'the superblock of dm-integrity is not the one in its label' \
    'it is shorter than when it was formatted' \
    'The secret state cannot be the key of the volume state: it must have 32 to 4095 bytes\.' \
    'exists and is not this volume: its table is not what the device /dev/loop[0-9]* demands'; do
    assert_line "a message" "$scratch/said" "$text"
done

# Neither the kernel's log nor the program's messages have the key.
assert_no_line "the key in a log" "$scratch/said" "$(xxd -p -c 64 "$scratch/key")|$(base64 -w 0 "$scratch/key" | cut -c 1-40 | sed 's/[+]/[+]/g')"
