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
    if [ $# = 2 ]; then cp "/run/$2" "/run/$1"; else truncate -s "$size" "/run/$1"; fi || echo "RESULT no room for $1" >&2
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
# cut_format WHAT PART [LINE...]
cut_format() {
    cut=$(disk cut); declare_volume "$cut" Initialize=blank "${@:3}"
    cp "$scratch/key" /run/keys/state; rm -f /run/progress; mkfifo /run/progress
    CREDENTIALS_DIRECTORY=/run/keys $volume attach state 2>/run/progress &
    for _ in $(seq "$2"); do read -r line; done </run/progress; kill -9 $! 2>/dev/null; wait $! 2>/dev/null
    for name in unseald-state unseald_crypt-state unseald_tags-state unseald_part-state; do
        until ! dmsetup info "$name" >/dev/null 2>&1 || dmsetup remove "$name" 2>/dev/null; do :; done
    done
    attach "$1 $2"; look "$1 $2" 2>/dev/null; detach "$1 $2"; drop "$cut" cut
}
for part in 1 3 8; do cut_format "format cut after part" $part; done
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
# The images are in memory.
drop "$old" last-week; drop "$long" long; drop "$used" used; rm /run/old

# Integrity=no: the same life, by dm-crypt alone.
bare=$(disk bare); declare_volume "$bare" Initialize=blank Integrity=no
attach "bare, new"; counter "bare, new"
dmsetup table | grep -c '^unseald-state: 0 32768 crypt aes-xts-plain64 :64:logon:unseald-volume:state 0 [0-9:]* 2048 1 sector_size:4096$' | sed 's/^/RESULT tables without tags: /'
grep -c unseald /proc/keys | sed 's/^/RESULT bare: keys left in keyrings: /'
# What systemd-makefs looks at is zeros, and not what the blank device decrypts to.
echo "RESULT bare: $(tail -c 2M /dev/mapper/unseald-state | tr -d '\0' | wc -c) bytes at the end"
[ "$(tr -d '\0' </run/bare | wc -c)" -gt $((12 << 20)) ] || echo "RESULT bare: the format did not write the whole device"
mount -t ext4 /dev/mapper/unseald-state /mnt/at && echo hello >/mnt/at/said && sync
detach "bare, in use"; attach "bare, in use"; umount /mnt/at; detach "bare, new"
attach "bare, again"; counter "bare, again"; look "bare, again"; detach "bare, again"
declare_volume "$bare" Integrity=no; attach "bare, never"; look "bare, never"; detach "bare, never"
attach "bare, another key" key-of-another
cut_format "bare, format cut after part" 1 Integrity=no; cut_format "bare, format cut after part" 3 Integrity=no
cp /run/bare /run/bare-grown; long=$(disk long bare-grown); truncate -s $((size + 1048576)) /run/long; losetup -c "$long"
declare_volume "$long" Integrity=no; attach "bare, grown"; look "bare, grown"; detach "bare, grown"
truncate -s $((size - 4096)) /run/long; losetup -c "$long"; attach "bare, truncated"; drop "$long" long; rm /run/bare-grown

# What was made with one kind opens with that alone, also if nothing is stored yet, and nothing is written.
# other_kind WHAT DEVICE FILE [LINE...]
other_kind() {
    declare_volume "$2" Initialize=blank "${@:4}"; before=$(sum "$3"); attach "$1"
    [ "$(sum "$3")" = "$before" ] || echo "RESULT $1: the device was changed"
}
other_kind "made without, declared with" "$bare" /run/bare
other_kind "made with, declared without" "$d" /run/d Integrity=no
declare_volume "$bare" Integrity=no; attach "made with and without"; other_kind "open without, declared with" "$bare" /run/bare; detach "open without"
declare_volume "$d"; attach "made with and without"; other_kind "open with, declared without" "$d" /run/d Integrity=no; detach "open with"
for kind in yes no; do
    half=$(disk half); declare_volume "$half" Initialize=blank Integrity=$kind
    mount --bind /bin/false /usr/lib/systemd/systemd-makefs; attach "formatting with $kind"; umount /usr/lib/systemd/systemd-makefs
    other_kind "formatting with $kind, the other" "$half" /run/half Integrity=$([ $kind = no ] && echo yes || echo no)
    declare_volume "$half" Initialize=blank Integrity=$kind; attach "formatting with $kind, the same"; detach "formatting with $kind, the same"; drop "$half" half
done

# What the tags are for: without them changed data are served. With them the same changes are errors, see above.
write_lines() { yes "$1" | head -c 4096 | dd of=/dev/mapper/unseald-state bs=4096 iflag=fullblock seek="$2" oflag=direct status=none; }
read_lines() { dd if=/dev/mapper/unseald-state of=/run/lines bs=4096 skip="$2" count=1 iflag=direct status=none && echo "RESULT $1: $(grep -acx NEW /run/lines) NEW, $(grep -acx OLD /run/lines) OLD"; }
bare_copy() { dd if="$1" of=/run/bare bs=16 skip=$((65536 + 256 * $2 + $4)) seek=$((65536 + 256 * $3 + $4)) count="$5" conv=notrunc status=none; }
declare_volume "$bare" Integrity=no
attach lines; for i in 1000 1001 1002 1003; do write_lines OLD $i; done; detach lines
cp /run/bare /run/bare-old
attach lines; for i in 1000 1001 1002 1003; do write_lines NEW $i; done; detach lines
flip /run/bare $((1048576 + 4096 * 1000 + 100)); bare_copy /run/bare-old 1001 1001 100 1; bare_copy /run/bare 1003 1002 0 256
attach lines
read_lines "bare, as written" 1003; read_lines "bare, 16 bytes of last week" 1001; read_lines "bare, another block in its place" 1002
read_lines "bare, a bit of data" 1000 | sed 's/: .*/: is served/'
python3 - <<'END'
read, wrote = open("/run/lines", "rb").read(), b"NEW\n" * 1024
other = [i for i in range(4096) if read[i] != wrote[i]]
print("RESULT bare, a bit of data: changes", "some" if other else "none", "of its 16 bytes, and", sum(i // 16 != 6 for i in other), "more")
END
detach lines
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
bare, new: attach 0, mappings 1
bare, new: UNSEALD_VOLUME_COUNTER=2
tables without tags: 1
bare: keys left in keyrings: 0
bare: 0 bytes at the end
bare: the format did not write the whole device
bare, in use: detach 1
bare, in use: attach 0, mappings 1
bare, new: detach 0
bare, again: attach 0, mappings 1
bare, again: UNSEALD_VOLUME_COUNTER=3
bare, again: hello
bare, again: detach 0
bare, never: attach 0, mappings 1
bare, never: hello
bare, never: detach 0
bare, another key: attach 30, mappings 0
bare, format cut after part 1: attach 0, mappings 1
bare, format cut after part 1: cat: /mnt/at/said: No such file or directory
bare, format cut after part 1: detach 0
bare, format cut after part 3: attach 0, mappings 1
bare, format cut after part 3: cat: /mnt/at/said: No such file or directory
bare, format cut after part 3: detach 0
bare, grown: attach 0, mappings 1
bare, grown: hello
bare, grown: detach 0
bare, truncated: attach 30, mappings 0
made without, declared with: attach 30, mappings 0
made with, declared without: attach 30, mappings 0
made with and without: attach 0, mappings 1
open without, declared with: attach 30, mappings 1
open without: detach 0
made with and without: attach 0, mappings 3
open with, declared without: attach 30, mappings 3
open with: detach 0
formatting with yes: attach 1, mappings 0
formatting with yes, the other: attach 30, mappings 0
formatting with yes, the same: attach 0, mappings 3
formatting with yes, the same: detach 0
formatting with no: attach 1, mappings 0
formatting with no, the other: attach 30, mappings 0
formatting with no, the same: attach 0, mappings 1
formatting with no, the same: detach 0
lines: attach 0, mappings 1
lines: detach 0
lines: attach 0, mappings 1
lines: detach 0
lines: attach 0, mappings 1
bare, as written: 1024 NEW, 0 OLD
bare, 16 bytes of last week: 1020 NEW, 4 OLD
bare, another block in its place: 0 NEW, 0 OLD
bare, a bit of data: is served
bare, a bit of data: changes some of its 16 bytes, and 0 more
lines: detach 0
WANTED
differs=$(diff <(cat "$scratch/wanted" && echo end) "$scratch/seen") || cat "$scratch/said"
assert_equal "what differs from what is wanted" "$differs" ''

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
    'its label says Integrity=no, and the declaration says Integrity=yes' \
    'its label says Integrity=yes, and the declaration says Integrity=no' \
    'The volume state has Integrity=no: it is encrypted and not verified' \
    'The secret state cannot be the key of the volume state: it must have 32 to 4095 bytes\.' \
    'exists and is not this volume: its table is not what the device /dev/loop[0-9]* demands'; do
    assert_line "a message" "$scratch/said" "$text"
done

# Neither the kernel's log nor the program's messages have the key.
assert_no_line "the key in a log" "$scratch/said" "$(xxd -p -c 64 "$scratch/key")|$(base64 -w 0 "$scratch/key" | cut -c 1-40 | sed 's/[+]/[+]/g')"
