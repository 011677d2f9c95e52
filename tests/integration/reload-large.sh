#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A reload with a large message is killed in the middle of the message, and at each of its calls that others can see (preload/steps.c).
# After each kill no part of a message has a name or a mode. After the start that follows, the message and the small secret are both of the
# old set, or both of the new one, and the start has asked KMS for nothing. A commit in pieces shows that the test would notice.
. "$(dirname "$0")/direct.sh"
direct_start
mount_own /run/unseald # the control socket
mount_own /run/steps
unsealctl=$build/daemon/unsealctl
configure StoreSizeMax=64M
declare_secret small "$key" "$scratch/small"
printf '%s\n' '[Secret]' Source=s3://models/message "KeyId=$key" Format=message >"$config/secrets.d/model.secret"

mkdir "$scratch"/{0,1}
for set in 0 1; do
    printf 'set %s' "$set" >"$scratch/$set/small"
    # Longer than what the first request brings, so that S3 can stop in the middle of it
    head -c $((4000000 + set)) /dev/urandom >"$scratch/$set/model"
    vendor_seal "$key" small "$scratch/$set/sealed" <"$scratch/$set/small"
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=model \
        -o "$scratch/$set/message" "$scratch/$set/model"
done
put() { # SET
    cp "$scratch/$1/sealed" "$scratch/small"
    platform object put models message "$scratch/$1/message" >/dev/null
}
# set_of NAME: prints which set this file of the store is of
set_of() {
    local set
    for set in 0 1; do
        ! cmp -s "$store/$1" "$scratch/$set/$1" || { echo "$set" && return; }
    done
    echo neither
}
# is_whole WHAT: each secret is published, and nothing that has a name or a mode is a part
is_whole() {
    local file name
    assert_equal "$1: what is published" "$(find "$store" -mindepth 1 ! -name '.*' -printf '%P\n' | sort | xargs)" 'model small'
    find "$store" -mindepth 1 -perm /777 -printf '%P\n' >"$scratch/readable" # a whole file may wait for its name
    while IFS= read -r file; do
        name=${file#.} && name=${name%%.*}
        cmp -s "$store/$file" "$scratch/0/$name" || cmp -s "$store/$file" "$scratch/1/$name" || die "$1: $file is a part"
    done <"$scratch/readable"
}
# agrees WHAT: the same, with both of one set: $seen
agrees() {
    is_whole "$1"
    seen=$(set_of small)
    assert_equal "$1: the sets of the small secret and of the message" "$seen $(set_of model)" "$seen $seen"
}
# starts WHAT [WORD...]: a start with nothing but what is kept; nothing hidden is left
starts() {
    local what="$1: a start" asked
    shift
    asked=$(requests Decrypt)
    manager start "$@"
    assert_equal "$what" "$answer" ready
    agrees "$what"
    assert_equal "$what: requests to KMS" "$(($(requests Decrypt) - asked))" 0
    assert_equal "$what: the store" "$(find "$store" -mindepth 1 -printf '%P\n' | sort | xargs)" 'model small'
}
steps=(env "LD_PRELOAD=$build/tests/integration/preload/libsteps.so")
# disturbed MODE N [PATTERN]: reloads to the other set, and sets $call to the call that was disturbed
disturbed() {
    new=$((1 - seen))
    put "$new"
    : >/run/steps/log
    chmod 666 /run/steps/log
    echo "$*" >/run/steps/order
    manager run "$unsealctl" reload
    rm /run/steps/order
    call=$(sed -n "s/^$(sed -n 's/^disturbed //p' /run/steps/log) //p" /run/steps/log)
}

put 0
manager_start
manager start
assert_equal 'a start' "$answer" ready
agrees 'a start'

say "S3 stops in the middle of the message"
for how in kill stop; do
    rm -f "$scratch/outcome"
    put 1
    platform fault set s3 GetObject throttle --after 1 # its beginning comes, which has two frames
    # The manager takes the messages of unseald, until plaintext is in the hidden file.
    # shellcheck disable=SC2016
    manager run sh -c '{ "$0" reload; echo "$?" >"$1/outcome"; } & until [ -n "$(find "$2" -name ".model.*" -size +0)" ]; do sleep 0.1; done' \
        "$unsealctl" "$scratch" "$store"
    agrees "in the middle, before $how"
    manager "$how"
    until [ -s "$scratch/outcome" ]; do sleep 0.1; done
    assert_no_line "in the middle, after $how: the status of the reload" "$scratch/outcome" '^0$'
    agrees "in the middle, after $how"
    starts "in the middle, after $how"
    assert_equal "in the middle, after $how: the set" "$seen" 0
    platform fault clear
done

say "killed at each call"
manager stop
starts 'with the calls counted' "${steps[@]}"
committed=0
for ((number = 1; ; number++)); do
    disturbed kill "$number"
    [ -n "$call" ] || break
    [ "$answer" != 'exited 0' ] || die "$call: the reload has success, and no answer"
    manager wait
    assert_equal "$call: unseald" "$answer" 'killed 9'
    is_whole "$call"
    starts "$call" "${steps[@]}"
    # From one call on it is the new set.
    [ "$seen" != "$new" ] || committed=1
    [ "$committed" = 0 ] || assert_equal "$call: the set" "$seen" "$new"
    printf '%3s %-50.50s %s\n' "$number" "$call" "$([ "$seen" = "$new" ] && echo new || echo old)"
    echo "$call" >>"$scratch/calls"
done
assert_equal 'a reload without a disturbance' "$answer" 'exited 0'
agrees 'a reload without a disturbance'
assert_equal 'a reload without a disturbance: the set' "$seen" "$new"
for call in 'create [.]model' 'fchmod a file of the store' 'notify FDSTORE=1 .*-model' 'notify BARRIER=1' 'rename to model' 'notify READY=1' 'answer done'; do
    assert_line 'the calls' "$scratch/calls" "^$call"
done

say "the control: a reload that leaves out one name, and then removes the old file"
disturbed skip 0 'rename to model'
assert_equal 'the call that was left out' "$call" 'rename to model'
assert_equal 'the sets of the small secret and of the message' "$(set_of small) $(set_of model)" "$new neither"
manager stop
manager_end
