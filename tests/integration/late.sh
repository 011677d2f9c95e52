#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Late secrets (Late=): READY=1 comes without their messages, and nothing of a message is visible before its last byte was verified. A
# restart at any point completes them, and asks neither the TPM nor KMS. Every order here is one of events, never of time: while S3
# gives only errors, the message does not come.
. "$(dirname "$0")/direct.sh"
direct_start
mount_own /run/unseald # the control socket
unsealctl=$build/daemon/unsealctl
message=$scratch/model.message
declare_small() { declare_secret small "$key" "$scratch/small"; }

seal() { platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=model -o "$@"; }
put() { platform object put models message "$1" >/dev/null; }
# declare_model [LINE...]
declare_model() { printf '%s\n' '[Secret]' Source=s3://models/message "KeyId=$key" Format=message Late=yes "$@" >"$config/secrets.d/model.secret"; }
# hold [N]: S3 gives the beginning of an object, and N parts, and then only errors. let_come: it gives everything.
hold() { platform fault set s3 GetObject throttle --after "$((${1:-0} + 1))"; }
let_come() { platform fault clear; }
state() { jq -r --arg name "$1" '.secrets[] | select(.name == $name) | .state' "$status_file"; }
# outcome: the exit status of unsealctl status --wait --late, without waiting
outcome() {
    local status=0
    "$unsealctl" status --file="$status_file" --wait --late --timeout=0 >"$scratch/shown" || status=$?
    echo "$status"
}
# wait_late STATUS WHAT: unsealctl status --wait --late ends with this status
wait_late() {
    manager run sh -c "exec $unsealctl status --file=$status_file --wait --late >$scratch/shown"
    assert_equal "$2: the end of the wait for late secrets" "$answer" "exited $1"
}
# arrives WHAT: all late secrets are published
arrives() {
    wait_late 0 "$1"
    cmp "$store/model" "$secret"
    assert_equal "$1: its mode and owner" "$(stat -c '%a %U' "$store/model")" '400 root'
}
asked=0
# started WHAT REQUESTS: small is published after so many requests to KMS since the last call
started() {
    assert_equal "$1" "$answer" ready
    assert_equal "$1: requests to KMS" "$(($(requests Decrypt) - asked))" "$2"
    asked=$(requests Decrypt)
    assert_equal "$1: small" "$(cat "$store/small")" small
}
# kept: the names of the kept descriptors, without their generations
kept() {
    manager list
    tr ' ' '\n' <<<"$answer" | sed -E 's/^kept-[0-9]+/kept/' | sort | paste -sd ' '
}
# hidden WHAT: nobody can read anything of the message, and it is not there
hidden() {
    assert_equal "$1: all files that anybody may read" "$(find "$store" -mindepth 1 -perm /777 -printf '%P\n')" small
    assert_equal "$1: unsealctl status --wait --late" "$(outcome)" 4
}
# afresh [LINE...]: the next start finds nothing kept, and this configuration
afresh() {
    manager stop
    manager drop .
    rm -f "$store"/* "$store"/.[!.]*
    asked=$(requests Decrypt)
    configure StoreSizeMax=200M "$@"
}
reload() { # STATUS
    manager run "$unsealctl" reload
    assert_equal 'the reload' "$answer" "exited $1"
}

head -c 20000007 /dev/urandom >"$secret"
seal "$message" "$secret"
put "$message"
printf small | vendor_seal "$key" small "$scratch/small"
declare_small
configure StoreSizeMax=200M
declare_model
tpm_before=$(tpm_contents)
manager_start

say "READY=1 comes without the message, which comes when it can"
hold 2
manager start
started 'the first start' 2
hidden 'the first start'
assert_equal 'the states' "$(state small) $(state model)" 'published late'
assert_equal 'what is kept' "$(kept)" 'kept kept-model+key kept-small'
# Two of the parts have come.
manager serve 'STATUS=.*: model [1-9][0-9]* %'
let_come
arrives 'the first start'
assert_equal 'what is kept in the end' "$(kept)" 'kept kept-model kept-small'
assert_equal 'requests to KMS in the end' "$(($(requests Decrypt) - asked))" 0
assert_line 'progress' "$log" '^model: [1-9]0 % of the message are decrypted'
manager stop
manager start
started 'a restart' 0
arrives 'a restart'

say "killed or stopped at any point, a restart completes it, and asks neither the TPM nor KMS"
afresh
hold
manager start-kill READY=1
asked=$(requests Decrypt)
for how in kill stop; do
    manager start
    started "a start before $how" 0
    hidden "a start before $how"
    assert_no_line "a start before $how" "$said" '^(TPM|key pair|attestation document|connection).*: done'
    manager "$how"
done
let_come
for at in '' 'FDNAME=kept-[0-9]*-model$' BARRIER=1 'FDNAME=kept-[0-9]*-model[+]key'; do
    if [ -n "$at" ]; then
        afresh
        manager start
        started "a start before a kill at $at" 2
        case $at in *key) manager serve BARRIER=1 && manager release ;; esac
        manager serve "$at"
        manager kill
    fi
    manager start
    started "a start after a kill at $at" 0
    arrives "a start after a kill at $at"
    assert_equal "after a kill at $at: what is kept" "$(kept)" 'kept kept-model kept-small'
done
assert_equal 'what is in the TPM' "$(tpm_contents)" "$tpm_before"

say "a reload while the message comes is refused; a later one does not fetch the same message again"
afresh
hold
manager start
started 'a new start' 2
reload 70
assert_line 'why' "$said" 'Not reloaded, because late secrets [(]Late=[)] are still to come'
hidden 'after the reload that was refused'
let_come
arrives 'after the reload that was refused'
inode=$(stat -c %i "$store/model")
reload 0
assert_equal 'a reload: requests to KMS' "$(($(requests Decrypt) - asked))" 1
assert_equal 'a reload: the file' "$(stat -c %i "$store/model")" "$inode"
cp "$secret" "$scratch/secret.old"
head -c 20000001 /dev/urandom >"$secret"
seal "$message" "$secret"
put "$message"
hold
reload 0
assert_equal 'a reload with another message: the old one stays' "$(outcome)$(cmp "$store/model" "$scratch/secret.old")" 4
manager kill
asked=$(requests Decrypt)
manager start
started 'a restart with both' 0
assert_equal 'a restart with both: the old one stays' "$(outcome)$(cmp "$store/model" "$scratch/secret.old")" 4
let_come
arrives 'another message'

say "another message in its place, after the data key was opened, is refused"
afresh
hold
manager start
started 'a new start' 2
manager stop
seal "$scratch/other" "$scratch/secret.old"
put "$scratch/other"
let_come
manager start
started 'with another message' 0
wait_late 3 'with another message'
assert_line 'why' "$log" '^The late secret model is not delivered: .*is not the one whose data key KMS has decrypted'
assert_equal 'the store' "$(ls -A "$store")" small
assert_equal 'the data key is dropped' "$(kept)" 'kept kept-small'
reload 0
cp "$secret" "$scratch/secret.new"
cp "$scratch/secret.old" "$secret"
arrives 'a reload'

say "a message that is changed behind its beginning fails alone"
change_byte "$scratch/other" 15000000
put "$scratch/other"
afresh
manager start
started 'a changed message' 2
wait_late 3 'a changed message'
assert_equal 'a changed message: the store' "$(ls -A "$store")" small
assert_equal 'a changed message: the data key is dropped' "$(kept)" 'kept kept-small'
put "$message"
cp "$scratch/secret.new" "$secret"
afresh LateDeadlineSec=1s
hold
manager start
started 'LateDeadlineSec=' 2
wait_late 3 'LateDeadlineSec='
assert_line 'LateDeadlineSec=' "$log" '^The late secret model is not delivered: Not within LateDeadlineSec=1s: '
assert_equal 'LateDeadlineSec=: the store' "$(ls -A "$store")" small
let_come

say "the lock waits for the data key of a required one, and for no body"
afresh LockPcr=15
hold
manager start
started 'LockPcr=' 2
assert_match 'the PCR is locked before the message is there' "$(tpm2_pcrread -T "$PLATFORM_TCTI" sha384:15)" '0x[0-9A-F]*[1-9A-F]'
hidden 'LockPcr='
manager kill
manager start
started 'LockPcr=, a restart' 0
let_come
arrives 'LockPcr='
reload 67
afresh LockPcr=14
printf '%s\n' '[Secret]' Source=s3://models/message "KeyId=$key" Format=message Late=yes Optional=yes >"$config/secrets.d/another.secret"
manager start
assert_equal 'an optional one without a data key' "$answer" ready
assert_line 'an optional one without a data key' "$said" '^The optional secret another stays sealed for this boot [(]LockPcr=[)]: .*lacks the pair unseald:secret=another'
arrives 'beside an optional one that has failed'
manager stop
manager start
assert_equal 'a restart without the optional one' "$answer" ready
wait_late 0 'a restart without the optional one'
assert_equal 'its state' "$(state another)" failed
manager stop

manager_end
