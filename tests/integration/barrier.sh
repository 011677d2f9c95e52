#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A reload whose service manager does not answer the barrier (sd_notify_barrier(3)): the credential socket gives the old secrets
# meanwhile, and the new ones once the manager has answered. If it never answers, the reload fails and changes nothing.
. "$(dirname "$0")/direct.sh"
mount_own /run/unseald # the control and the credential socket
direct_start
configure
for i in 1 2 3; do printf 'version %s' "$i" | vendor_seal "$key" db-password "$scratch/version-$i"; done
cp "$scratch/version-1" "$scratch/sealed"
declare_secret db-password "$key" "$scratch/sealed"
hash_of() { printf 'version %s' "$1" | sha256sum | cut -d' ' -f1; }
# assert_version WHEN N: socket and store give version N
assert_version() {
    assert_equal "$1: the socket" "$(timeout 60 "$top/tests/integration/socket/ask.py" --requests 1 --wanted "$(hash_of "$2")" db-password)" 'right 1'
    assert_equal "$1: the store" "$(cat "$store/db-password")" "version $2"
}

manager_start --listen /run/unseald/credentials.sock
manager start
assert_equal 'the start' "$answer" ready
assert_version 'at first' 1

say 'a manager that answers late'
cp "$scratch/version-2" "$scratch/sealed"
"$build/daemon/unsealctl" reload 2>"$scratch/words" &
reload=$!
manager serve 'BARRIER=1'
assert_version 'before the answer' 1
assert_equal 'status.json before the answer' "$(jq -r '.state + " " + .secrets[0].state' "$status_file")" 'unsealed published'
kill -0 "$reload" || die "the reload ended before the answer: $(cat "$scratch/words")"
manager release
manager serve 'READY=1'
wait "$reload" || die "the reload failed: $(cat "$scratch/words")"
assert_version 'after the answer' 2

say 'a manager that never answers'
cp "$scratch/version-3" "$scratch/sealed"
"$build/daemon/unsealctl" reload 2>"$scratch/words" &
reload=$!
manager serve 'BARRIER=1'
assert_version 'without an answer' 2
manager serve 'READY=1'
status=0
wait "$reload" || status=$?
assert_equal 'the exit status of the reload' "$status" 1
assert_line 'what it says' "$scratch/words" 'everything is as it was before: .*the service manager has not answered'
assert_version 'after the failure' 2
manager release
assert_version 'after the late answer' 2
manager stop
manager start
assert_equal 'a restart' "$answer" ready
assert_version 'after a restart' 2
manager_end
