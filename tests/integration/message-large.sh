#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Messages that are too large to be read as a whole: unseald decrypts them piece by piece into the store. Whole ones are delivered and
# kept over a restart; of any other nothing is left.
. "$(dirname "$0")/direct.sh"
direct_start
mount_own /run/unseald # the control socket
configure StoreSizeMax=512M
unsealctl=$build/daemon/unsealctl
message=$scratch/db.message

seal() { platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password "$@"; }
# delivers WHAT [LINE...]: unseald publishes the plaintext of $message
delivers() {
    local what=$1
    shift
    rm -f "$scratch/seen"
    declare_secret db-password "$key" "$message" Format=message "$@"
    on_ready() { cmp "$store/db-password" "$secret" && find "$store" -mindepth 1 -printf '%P %m %U\n' >"$scratch/seen"; }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$what: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    assert_equal "$what: all files, with mode and owner" "$(cat "$scratch/seen")" "db-password 400 0"
    say "  $what: delivered"
}
# refuses STATUS WHAT TEXT [LINE...]: unseald ends with this status and this text, and the store is empty
refuses() {
    local status=$1 what=$2 text=$3
    shift 3
    declare_secret db-password "$key" "$message" Format=message "$@"
    on_ready() { :; }
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] && [ "$unseald_status" = "$status" ] || die "$what: ended with $unseald_status: $(tail -n 5 "$log")"
    assert_line "$what" "$log" "$text"
    assert_equal "$what: the store" "$(ls -A "$store")" ''
    say "  $what: status $status"
}

say "64 MiB and 300 MiB"
head -c 314572807 /dev/urandom >"$secret"
seal -o "$message" "$secret"
delivers "300 MiB and 7 bytes" SizeMax=301M
# by_hand STATUS TEXT FILE [OPTION...]: reads the message without a declaration, so there is no SizeMax= to raise
by_hand() {
    local saw=0
    platform exec --as instance -- "$unsealctl" unseal --vendor-configuration="$config" --key="$key" --name=db-password --reveal "${@:3}" \
        <"$message" >"$scratch/revealed" 2>"$scratch/said" || saw=$?
    assert_equal "by hand, ${*:3}: exit status: $(cat "$scratch/said")" "$saw" "$1"
    assert_line "by hand, ${*:3}" "$scratch/said" "$2"
    assert_equal "by hand, ${*:3}: the output" "$(stat -c %s "$scratch/revealed")" 0
}
by_hand 30 'With --key= a message may have 64 MiB of plaintext, and there is no SizeMax= to raise[.] .* declare the secret' "$message"
by_hand 1 'With --key= a message may have 64 MiB of plaintext, and there is no SizeMax= to raise[.] .* declare the secret' -
head -c 67108865 /dev/zero >"$secret"
seal -o "$message" "$secret"
by_hand 62 'With --key= a message may have 64 MiB of plaintext, and there is no SizeMax= to raise[.] .* declare the secret' "$message"
head -c 67108864 /dev/urandom >"$secret"
seal -o "$message" "$secret"
delivers "64 MiB, the default of SizeMax="

say "no plaintext is in the memory of unseald once it is ready"
# 64 MiB of one text of 32 bytes, so that every page of the plaintext has it.
token=$(od -An -vtx1 -N16 /dev/urandom | tr -d ' \n')
python3 -c 'import sys; sys.stdout.write(sys.argv[1] * 2097152)' "$token" >"$secret"
seal -o "$message" "$secret"
# occurrences PID TEXT: prints how often the text is in the writable memory of the process
occurrences() {
    python3 - "$1" "$2" <<'END'
import sys
found = 0
with open(f"/proc/{sys.argv[1]}/maps") as maps, open(f"/proc/{sys.argv[1]}/mem", "rb", buffering=0) as memory:
    for line in maps:
        place, access = line.split()[:2]
        begin, end = (int(part, 16) for part in place.split("-"))
        if access.startswith("rw"):
            memory.seek(begin)
            try:
                found += memory.read(end - begin).count(sys.argv[2].encode())
            except OSError:
                pass
print(found)
END
}
declare_secret db-password "$key" "$message" Format=message
on_ready() {
    occurrences "$unseald_pid" "$token" >"$scratch/plaintext"
    occurrences "$unseald_pid" "file:$message" >"$scratch/control"
}
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || die "unseald ended with $unseald_status: $(tail -n 5 "$log")"
assert_equal 'the plaintext in memory' "$(cat "$scratch/plaintext")" 0
[ "$(cat "$scratch/control")" -gt 0 ] || die 'the search does not find the name of the source, which is in memory'

say "what does not fit is refused before a byte of it is decrypted"
configure StoreSizeMax=63M
refuses 11 "a smaller StoreSizeMax=" 'does not fit into the store .*: all secrets together may have 66060288 bytes[.] Raise StoreSizeMax='
"$unsealctl" check --vendor-configuration="$config" --configuration=/nonexistent >"$scratch/said" || true
assert_line "check says so before" "$scratch/said" '^Mistake: .*db-password.secret:2: .*the secrets in the image have at least 67108864 bytes, and all together may have 66060288[.] Raise StoreSizeMax='
refuses 78 "a SizeMax= that never fits" 'SizeMax= is more than all secrets together may have' SizeMax=64M
configure StoreSizeMax=512M
refuses 62 "a smaller SizeMax=" 'Raise SizeMax=' SizeMax=67108863
# 90 MiB less the 32 that stay are not 64.
printf 'MemTotal: 999999 kB\nMemAvailable: %s kB\n' $((90 * 1024)) >"$scratch/meminfo"
mount --bind "$scratch/meminfo" /proc/meminfo
refuses 11 "too little memory" 'bytes of memory are missing[.] It needs 671[0-9]* and 33554432 for the rest of the machine, and 94371840 are available'
printf 'MemAvailable: %s kB\n' $((97 * 1024)) >"$scratch/meminfo"
delivers "enough memory"
umount /proc/meminfo

say "of a message that is not whole and authentic nothing is left"
# frame N: the byte at which frame N begins
size=$(stat -c %s "$message")
frames=$("$unsealctl" cat-message --json "$message" | jq .frames)
header_size=$((size - (frames - 1) * (1048576 + 32) - 40 - (67108864 - (frames - 1) * 1048576)))
frame() { echo $((header_size + ($1 - 1) * (1048576 + 32))); }
cp "$message" "$scratch/whole"
# change OFFSET COUNT FROM: writes these bytes of the whole message at another place
change() { dd if="$scratch/whole" of="$message" bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none seek="$1" count="$2" skip="$3"; }
restore() { cp "$scratch/whole" "$message"; }

change "$(frame 7)" $((1048576 + 32)) "$(frame 40)"
refuses 62 "a repeated frame" 'Frame 7 of the message, at byte [0-9]*, is malformed: it has another number'
change "$(frame 40)" $((1048576 + 32)) "$(frame 7)"
refuses 62 "two frames that have changed places" 'Frame (7|40) of the message, at byte [0-9]*, is malformed: it has another number'
change "$(frame 7)" 4 "$(frame 7)"
change "$(frame 40)" 4 "$(frame 40)"
refuses 62 "two frames with each other's number" 'Frame (7|40) of the message, at byte [0-9]*, is not authentic'
restore
change "$(frame 20)" $((size - $(frame 21))) "$(frame 21)"
truncate -s $((size - 1048576 - 32)) "$message"
refuses 62 "a frame that is missing" 'of the message, at byte [0-9]*, is malformed: it has another number'
restore
truncate -s $((size - 1)) "$message"
refuses 62 "the last byte is missing" 'It was cut or changed'
truncate -s "$(frame "$frames")" "$message"
refuses 62 "the final frame is missing" 'It was cut or changed'
restore
printf x >>"$message"
refuses 62 "a byte more" 'bytes follow its end'
restore
seal -o "$scratch/other" "$secret"
dd if="$scratch/other" of="$message" bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
    seek="$(frame 30)" count=$((1048576 + 32)) skip="$(frame 30)"
refuses 62 "a frame of another message" 'Frame 30 of the message, at byte [0-9]*, is not authentic'
restore
delivers "the whole one, as a control"

say "kept over a restart, without being read again"
manager_start
manager start
assert_equal 'the first start' "$answer" ready
manager list
assert_equal 'what is kept' "$answer" 'kept-1 kept-1-db-password'
asked=$(requests Decrypt)
inode=$(stat -c %i "$store/db-password")
for how in stop kill; do
    manager "$how"
    manager start
    assert_equal "a start after $how" "$answer" ready
    assert_equal "after $how: how often KMS was asked" $(($(requests Decrypt) - asked)) 0
    assert_equal "after $how: the very same file" "$(stat -c %i "$store/db-password")" "$inode"
    cmp "$store/db-password" "$secret"
done
# A byte less, and it does not count.
manager stop
truncate -s -1 "$store/db-password"
manager start
assert_line 'a file of another size' "$said" 'Dropped the kept secret db-password: its file has another size'
assert_equal 'a file of another size: how often KMS was asked' $(($(requests Decrypt) - asked)) 1
cmp "$store/db-password" "$secret"

say "reloaded"
exec {old}<"$store/db-password"
cp "$secret" "$scratch/old"
head -c 40000000 /dev/urandom >"$secret"
# reload STATUS: the reload ends so, and nothing hidden is left
reload() {
    manager run "$unsealctl" reload
    assert_equal "the reload" "$answer" "exited $1"
    assert_equal "the reload: the store" "$(ls -A "$store")" db-password
}
seal -o "$message" "$secret"
printf x >>"$message"
inode=$(stat -c %i "$store/db-password")
reload 62
assert_line "a reload of a message with a byte more" "$said" 'bytes follow its end'
assert_equal "after a reload that failed: the very same file" "$(stat -c %i "$store/db-password")" "$inode"
truncate -s -1 "$message"
asked=$(requests Decrypt)
reload 0
cmp "$store/db-password" "$secret"
assert_equal 'a reload: how often KMS was asked' $(($(requests Decrypt) - asked)) 1
# Who has the old file open still reads the whole old plaintext.
cmp "/proc/self/fd/$old" "$scratch/old"
exec {old}<&-
manager list
assert_match 'what is kept' "$answer" '^(kept-[0-9]+) \1-db-password$'
for how in kill stop; do
    manager "$how"
    manager start
    cmp "$store/db-password" "$secret"
done
assert_equal 'restarts after a reload: how often KMS was asked' $(($(requests Decrypt) - asked)) 1

say "its file was removed by somebody: it is written again from what is kept"
manager stop
rm "$store/db-password"
asked=$(requests Decrypt)
manager start
assert_equal 'a start without the file' "$answer" ready
assert_equal 'a start without the file: how often KMS was asked' $(($(requests Decrypt) - asked)) 0
cmp "$store/db-password" "$secret"
manager stop
manager drop .

say "killed or stopped in the middle: nothing is left, and the next start has it whole"
rm -f "$store"/* "$scratch/whole" "$scratch/other"
head -c 300000000 /dev/urandom >"$secret"
seal -o "$message" "$secret"
declare_secret db-password "$key" "$message" Format=message SizeMax=300M
# A busy machine may send the signal late. What has a mode, or its name, is then complete, and unseald may be ready.
on_ready() { :; }
# is_whole WHAT: every file of the store that somebody may read has the whole plaintext
is_whole() {
    find "$store" -type f -perm /777 >"$scratch/readable"
    while IFS= read -r file; do
        cmp "$file" "$secret" || die "$1: $file is not whole, and somebody may read it"
    done <"$scratch/readable"
}
# cut SIGNAL: sends the signal when the plaintext begins, until it comes before unseald is ready
cut() {
    local tries=0
    while [ "$((tries += 1))" -le 20 ]; do
        rm -f "$store"/* "$store"/.db-password.*
        unseald_start
        until [ -n "$(ls -A "$store")" ] || ! kill -0 "$unseald_pid"; do :; done
        kill "-$1" "$unseald_pid" || true
        unseald_finish
        [ -n "$unseald_ready" ] || return 0
    done
    die "$1: unseald was ready before each of $tries signals"
}
for signal in TERM KILL; do
    cut "$signal"
    if [ "$signal" = TERM ]; then
        assert_equal "TERM: the store" "$(ls -A "$store")" ''
    else
        is_whole "KILL"
    fi
    say "  $signal: ended with $unseald_status"
    delivers "the next start" SizeMax=300M
    on_ready() { :; }
done

say "several large ones side by side take the memory of one"
# A message that waits for its turn is not read meanwhile. Without turns, each of them has buffers of 8 MiB on two processors, and of
# up to 22 MiB on eight.
all='one two three four five six'
rm -f "$config"/secrets.d/* "$store"/*
head -c 25165824 /dev/urandom >"$secret"
for name in $all; do
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name="$name" -o "$scratch/$name.message" "$secret"
    declare_secret "$name" "$key" "$scratch/$name.message" Format=message "Optional=$([ "$name" = one ] && echo yes || echo no)"
done
on_ready() {
    awk '/^VmHWM:/ { print $2 }' "/proc/$unseald_pid/status" >"$scratch/peak"
    for name in $all; do cmp "$store/$name" "$secret" && echo "$name"; done >"$scratch/seen"
}
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || die "unseald ended with $unseald_status: $(tail -n 5 "$log")"
assert_equal "all are delivered" "$(tr '\n' ' ' <"$scratch/seen")" "$all "
say "  $(grep -c 'The message waits until other large messages are decrypted' "$log") of them waited; the peak of its memory: $(cat "$scratch/peak") KiB"
# unseald itself takes 16 MiB.
[ "$(cat "$scratch/peak")" -lt $(((16 + 24) * 1024)) ] || die "the peak is $(cat "$scratch/peak") KiB"
