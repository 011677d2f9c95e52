#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# "unsealctl status" and status.json in each state: while unseald waits, after it has ended, and with a /run that is full.
. "$(dirname "$0")/direct.sh"
direct_start
unsealctl=$build/daemon/unsealctl

# status WANTED [OPTION...]: runs "unsealctl status" over $status_file; its output is $scratch/out
status() {
    local wanted=$1 got=0
    shift
    "$unsealctl" status --file="$status_file" "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
    assert_equal "exit status of 'status $*' ($(cat "$scratch/out" "$scratch/err"))" "$got" "$wanted"
}
# waits_for JQ-CONDITION: waits until status.json meets it
waits_for() {
    until jq -e "$1" "$status_file" >/dev/null 2>&1; do
        kill -0 "$unseald_pid" 2>/dev/null || die "unseald ended before status.json met '$1': $(cat "$status_file")"
        sleep 0.05
    done
    keep_status "$status_file"
}
sealed() { vendor_seal "$key" "$1" "$scratch/sealed-$1" <"$secret" && declare_secret "$1" "$key" "$scratch/sealed-$1" "${@:2}"; }

say "never run"
status 1
assert_line "no file" "$scratch/err" 'there is no such file'
status 6 --wait --timeout=0

say "KMS throttles"
configure DeadlineSec=5min
sealed db-password
printf '%s\n' '[Deliver]' Units=billing.service >>"$config/secrets.d/db-password.secret"
platform fault set kms Decrypt error ThrottlingException "Rate exceeded"
unseald_start
waits_for '.waiting.attempts >= 2 and .waiting.next_usec'
status 4
assert_line "what is awaited" "$scratch/out" \
    "^  Waiting for KMS in $region since [0-9.a-z ]+ \(attempt [0-9]+\)(, next try (in [0-9.a-z ]+|now))?: KMS throttles requests: "
assert_line "the request" "$scratch/out" '^  unavailable, ThrottlingException, request [0-9a-f-]{36}$'
request=$(jq -r .waiting.request_id "$status_file") # before the log is read, because unseald goes on asking
assert_equal "the request of status.json is one of KMS" "$(platform log | jq -r .requestID | grep -cxF "$request")" 1
jq -e '.written_monotonic_usec >= .waiting.since_monotonic_usec and .waiting.step == "decryption" and .waiting.secret == "db-password"
    and .state == "unsealing" and .secrets[0].waiting.attempts == .waiting.attempts and .secrets[0].units == ["billing.service"]' \
    "$status_file" >/dev/null || die "status.json: $(cat "$status_file")"
# The clock of the wall and the monotonic one tell the same time.
jq -e '(.written_usec - .waiting.since_usec) == (.written_monotonic_usec - .waiting.since_monotonic_usec)' "$status_file" >/dev/null ||
    die "two clocks differ: $(cat "$status_file")"
status 4 --wait --timeout=100ms
status 4 --wait=db-password --timeout=100ms
status 1 --wait=typo
assert_line "an undeclared secret" "$scratch/err" 'No secret typo is declared'
status 2 --wait=
platform fault clear
status 0 --wait
assert_line "published" "$scratch/out" '^unsealed since .*: All required secrets are published\.$'
assert_no_line "nothing is awaited" "$scratch/out" Waiting
status 0 --wait=db-password
unseald_finish
status 5
assert_line "stopped" "$scratch/out" '^stopped since '
status 5 --wait --timeout=1min

say "status.json is written at most twice a second"
configure DeadlineSec=5min
platform fault set kms Decrypt error ThrottlingException "Rate exceeded"
unseald_start
waits_for .waiting.failure
written=()
last=$(jq .written_monotonic_usec "$status_file")
while [ "${#written[@]}" -lt 3 ]; do
    now=$(jq .written_monotonic_usec "$status_file")
    [ "$now" = "$last" ] || written+=($((now - last)))
    last=$now
done
for between in "${written[@]}"; do [ "$between" -ge 500000 ] || die "written again after $between us"; done
platform fault clear
unseald_finish

say "the role's credentials are awaited"
platform fault set imds role http 404
unseald_start
waits_for '.waiting.failure == "role"'
status 4
assert_line "what is awaited" "$scratch/out" "^  Waiting for credentials of the instance's role from IMDS since .* \(attempt [0-9]+\)"
platform fault clear
unseald_finish

say "a stop while it waits"
platform fault set kms Decrypt error ThrottlingException "Rate exceeded"
unseald_start
waits_for .waiting.failure
kill -TERM "$unseald_pid"
unseald_finish
status 5
platform fault clear

say "failed for good, and failed until the next start"
vendor_put_policy "$key" "$(pcr 4 | tr 0-9a-f 1-9a-f0)" "$(pcr 12)"
unseald_start
unseald_finish
status 3
assert_line "the cause" "$scratch/out" '^  access-denied, AccessDeniedException, request '
assert_no_line "no new start" "$scratch/out" 'starts unseald again'
assert_equal "the entry of the journal" "$(jq -r '.message_id, .final' "$status_file")" $'a0a5e1c3b4f14d3c8f7f0d0e6b1c5a07\ntrue'
status 3 --wait
status 3 --wait=db-password
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
configure DeadlineSec=3s
platform fault set kms Decrypt error ThrottlingException "Rate exceeded"
until_deadline 'Not within DeadlineSec='
assert_equal "the failure" "$(jq -r '.failure, .final' "$status_file")" $'unavailable\nfalse'
status 4
assert_line "a new start" "$scratch/out" 'The service manager starts unseald again'
status 4 --wait --timeout=100ms
platform fault clear

say "an optional secret that has failed"
configure
sealed optional Optional=yes
cp "$scratch/sealed-db-password" "$scratch/sealed-optional"
on_ready() {
    status 0
    status 0 --wait
    status 3 --wait=optional
    status 0 --wait=db-password
}
unseald_start
unseald_finish
on_ready() { :; }
assert_equal "ready" "$unseald_ready" yes

say "a full file system"
mkdir "$scratch/small"
mount -t tmpfs -o size=64k tmpfs "$scratch/small"
at_exit umount --lazy "$scratch/small"
rm "$config/secrets.d/optional.secret"
status_file=$scratch/small/status.json
platform fault set kms Decrypt error ThrottlingException "Rate exceeded"
configure DeadlineSec=5min
unseald_start
waits_for .waiting.failure
dd if=/dev/zero of="$scratch/small/fill" bs=4k 2>/dev/null || true
[ -s "$status_file" ] || die "the file system filled up too early"
platform fault clear
# The old file is no longer true, so it makes room for the new one.
unseald_finish
assert_equal "ready" "$unseald_ready" yes
status 5
# Where not even that is enough, no file is left that is untrue.
rm -f "$scratch/small/fill" "$status_file"
jq -n '{version: 1, state: "unsealed", since_usec: 1, status: "old", secrets: [], steps: []}' >"$status_file"
ln "$status_file" "$scratch/small/held" # its pages stay after its removal
dd if=/dev/zero of="$scratch/small/fill" bs=4k 2>/dev/null || true
on_ready() { [ ! -e "$status_file" ] || die "an untrue file is left: $(cat "$status_file")"; }
unseald_start
unseald_finish
assert_equal "ready" "$unseald_ready" yes
assert_line "a warning" "$log" "Cannot write $status_file: No space left on device\. The file is removed"
assert_equal "warnings" "$(grep -c 'Cannot write .*status.json' "$log")" 1
