#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# "unsealctl report", which unseald-report.service prints on the console of a machine to which nobody logs in: six broken set-ups.
# Each report has at most 60 lines of 110 columns, names cause and cure, and has no secret.
. "$(dirname "$0")/direct.sh"
direct_start
unset MONITOR_EXIT_STATUS TRIGGER_UNIT RUNTIME_DIRECTORY
canary=canary-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
printf %s "$canary" >"$secret"
seal() { vendor_seal "$key" db-password "$scratch/sealed" <"$secret"; }
seal
platform extend 4 'the image' >/dev/null
measure() { jq -n --arg pcr4 "$(pcr 4)" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4}}'; }
measure >"$scratch/measurements"
right() {
    platform fault clear
    configure DeadlineSec=5min "ExpectedMeasurements=$scratch/measurements" "$@"
    declare_secret db-password "$key" "$scratch/sealed"
    rm -f "$status_file"
}
allow() {
    "$build/daemon/unsealctl" policy --admin="arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin" \
        --principal="${1:-$PLATFORM_INSTANCE_ROLE_ARN}" --measurements="$scratch/measurements" >"$scratch/policy"
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}

# report LABEL REGEX...: makes the report and finds each regex in it, in its lines joined
report() {
    local label=$1 regex
    shift
    platform exec --as instance "${unseald_netns[@]}" -- "${wrapper[@]}" "$build/daemon/unsealctl" report --quiet --timeout=20s \
        --vendor-configuration="$config" --configuration=/nonexistent --store="$store" --status="$status_file" "${options[@]}" >"$scratch/out" 2>&1 ||
        die "$label: report: exit status $?: $(cat "$scratch/out")"
    keep_status "$status_file"
    say "== $label: $(wc -l <"$scratch/out") lines"
    cat "$scratch/out"
    [ -s "$scratch/out" ] && [ "$(wc -l <"$scratch/out")" -le 60 ] || die "$label: $(wc -l <"$scratch/out") lines"
    [ "$(wc -L <"$scratch/out")" -le 110 ] || die "$label: a line has $(wc -L <"$scratch/out") columns"
    tr -s '\n ' ' ' <"$scratch/out" >"$scratch/joined"
    for regex; do assert_line "$label" "$scratch/joined" "$regex"; done
    # Nobody can log in to run a command. What is said twice takes the place of something else.
    assert_no_line "$label" "$scratch/joined" 'journal|systemctl|resolvectl|fuser|unsealctl (status|doctor|reload|report)|/etc/resolv|UNSEALD_|user-data::'
    assert_equal "$label: lines that are there twice" "$(grep -vE '^ *$|^ +(measured|expected) ' "$scratch/out" | sort | uniq -d)" ''
    assert_absent "$label: the secret" "$canary" "$scratch/out" "$status_file"
}
options=()
# waiting LABEL JQ-CONDITION REGEX...: reports while unseald waits
waiting() {
    local label=$1 condition=$2
    shift 2
    unseald_start
    until jq -e "$condition" "$status_file" >/dev/null 2>&1; do
        kill -0 "$unseald_pid" 2>/dev/null || die "$label: unseald ended: $(cat "$status_file")"
        sleep 0.05
    done
    report "$label" "$@"
    kill -TERM "$unseald_pid"
    unseald_finish
}
# failed LABEL REGEX...: reports a failure for good
failed() {
    unseald_start
    unseald_finish
    assert_equal "$1: the state" "$(jq -r .state "$status_file")" failed
    report "$@"
}

allow
right
unseald_start
unseald_finish
assert_equal "all is well ($(tail -n 3 "$log"))" "$unseald_ready" yes
platform exec --as instance -- "$build/daemon/unsealctl" report --quiet --status="$status_file" >"$scratch/out" 2>&1
assert_equal 'nothing is said where nothing failed' "$(cat "$scratch/out")" ''

right
platform machine-netns create
unseald_netns=(--netns "$PLATFORM_MACHINE_NETNS")
waiting 'no network' '.waiting.failure == "network" or .waiting.failure == "imds"' \
    'unseald waits for .* since ' 'Network: does the instance have an address, a route' 'Kind of failure: imds' 'failure imds: As above\.'
# The cause is known, so the causes of other failures only take lines.
assert_no_line 'no network' "$scratch/joined" ' - (TPM|Clock): '
unseald_netns=()

right
platform fault set tpm '*' busy
waiting 'the TPM is held' '.waiting.failure == "tpm"' 'unseald waits for the TPM since .*busy' 'Does another program have it open' 'failure (tpm|nitrotpm)'
assert_no_line 'the TPM is held' "$scratch/joined" ' - (Network|Role|Clock): '

right
allow arn:aws:iam::222222222222:role/somebody-else
failed 'a wrong role' 'unseald has FAILED for good' 'access-denied \(AccessDeniedException\), request [0-9a-f-]{36}' "$PLATFORM_INSTANCE_ROLE" \
    'does not allow the role that asked' 'PCR4' 'No PCR differs\. Compare'

right
allow
platform extend 4 'another image' >/dev/null
failed 'another PCR4' 'access-denied' 'PCR4.*(DIFFERS|differs)' 'measured [0-9a-f]{96}' 'expected [0-9a-f]{96}' 'put its new values into the key'
platform tpm-reset
platform extend 4 'the image' >/dev/null

right
platform extend 2 'a driver' >/dev/null
failed 'another PCR2' 'access-denied' 'PCR2.*[0-9a-f]{96}' 'firmware loaded drivers that are not its own'
platform tpm-reset
platform extend 4 'the image' >/dev/null

right
make_clock 86400
wrapper=(env "LD_PRELOAD=$scratch/clock.so" "ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0")
platform fault set kms connect tls-expired
waiting 'a clock that is a day fast' '.waiting.failure == "clock"' 'clock' 'failure clock IMDS: This machine is 1d ahead'
wrapper=()

# Nobody logs in to see it elsewhere. It comes after the explanation.
right
allow arn:aws:iam::222222222222:role/somebody-else
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
printf '%s\n' '[Service]' 'LoadCredential=x:/run/unseald/credentials/undeclared' 'ExecStart=true' >/run/systemd/system/report.service
failed 'a unit with a mistake' 'access-denied .*KMS denies access to the key.*failure consumers report.service: .*undeclared'
umount /run/systemd

say "JSON"
right
platform fault set kms Decrypt error AccessDeniedException
unseald_start
unseald_finish
platform fault clear
"$build/daemon/unsealctl" report --json --status="$status_file" >"$scratch/out"
jq -e '.state == "failed" and .failure == "access-denied" and .final and (.explanation | test("PCR4")) and
    (.catalog.subject == "KMS denies access to the key") and (.catalog.text | test("CloudTrail")) and .secrets[0].name == "db-password"
    and (.secrets[0] | has("source") or has("key_id") | not)' "$scratch/out" >/dev/null || die "JSON: $(cat "$scratch/out")"

say "without a status file that says why"
# told LABEL STATUS REGEX OPTION...: finds what the report says, and its exit status, without doctor
told() {
    local label=$1 wanted=$2 regex=$3 status=0
    shift 3
    "$build/daemon/unsealctl" report --no-doctor --status="$status_file" "$@" >"$scratch/out" 2>&1 || status=$?
    assert_equal "$label: exit status ($(cat "$scratch/out"))" "$status" "$wanted"
    assert_line "$label" "$scratch/out" "$regex"
}
cp "$status_file" "$scratch/for-good"
jq '.state = "unsealing" | .waiting = {for: "KMS"} | del(.failure)' "$status_file" >"$scratch/older"
jq '.callers = [{unit: "billing.service", credential: "db-password"}]' "$scratch/older" >"$status_file"
told 'a unit that waits' 0 'billing.service waits for db-password since '
rm "$status_file"
MONITOR_EXIT_STATUS=60 told 'what the service manager knows' 0 'unseald.service has FAILED with status 60 \(access-denied\)\. There is no status file' --quiet
MONITOR_EXIT_STATUS=203 told 'a status of the service manager' 0 'unseald.service has FAILED with status 203\. ' --quiet
MONITOR_EXIT_STATUS=KILL told 'a signal' 0 'unseald.service has FAILED: the signal KILL ended it' --quiet
told 'nothing is known' 1 'unseald has not run in this boot, or cannot write its status: there is no .*Run "unsealctl status"'
echo '{' >"$status_file"
told 'no status file' 1 "$status_file is not a status file of unseald" --quiet
MONITOR_EXIT_STATUS=60 told 'a failure, and no status file' 1 'unseald.service has FAILED with status 60' --quiet
assert_line 'what is wrong with the file' "$scratch/out" 'is not a status file of unseald'
rm "$status_file"
mkdir "$status_file"
told 'a file that cannot be read' 1 "Cannot read $status_file: " --quiet
rmdir "$status_file"

say "a late secret that has failed, of which unseald-late.service tells"
jq '.state = "unsealed" | del(.failure, .error, .final, .message_id) | .secrets = [.secrets[0] + {name: "model", state: "failed", late: true,
    failure: "ciphertext", error: "It was cut or changed."}]' "$scratch/for-good" >"$status_file"
MONITOR_UNIT=unseald-late.service MONITOR_EXIT_STATUS=3 told 'a late secret' 0 '^The late secret model has FAILED' --quiet
assert_line 'why' "$scratch/out" '^  It was cut or changed'
assert_no_line 'unseald itself has not failed' "$scratch/out" 'unseald.service has FAILED'

say "the timer: a failure for good is told once, and one after which unseald is started again has no other report"
export RUNTIME_DIRECTORY=$scratch/report
mkdir "$RUNTIME_DIRECTORY"
silent() {
    "$build/daemon/unsealctl" report --no-doctor --quiet --status="$status_file" >"$scratch/out" 2>&1 || die "$1: exit status $?"
    assert_equal "$1" "$(cat "$scratch/out")" ''
}
# by_timer COMMAND...: as the service manager runs it when the timer has elapsed; on_failure, for OnFailure=
by_timer() { TRIGGER_UNIT=unseald-report.timer "$@"; }
on_failure() { MONITOR_EXIT_STATUS=60 "$@"; }
cp "$scratch/for-good" "$status_file"
by_timer told 'beside the report of the timer the service manager starts no other one' 0 '^unseald has FAILED for good' --quiet
on_failure silent 'the timer has told of the failure'
on_failure told 'a process after it has failed, and has written no status' 0 '^unseald has FAILED for good' --quiet
told 'an administrator asks again' 0 '^unseald has FAILED for good' --quiet
jq '.since_usec += 1' "$scratch/for-good" >"$status_file"
on_failure told 'a failure after it' 0 '^unseald has FAILED for good' --quiet
by_timer silent 'OnFailure= has told of it'
on_failure told 'so has a process after that one' 0 '^unseald has FAILED for good' --quiet
export TRIGGER_UNIT=unseald-report.timer
jq '.failure = "tpm" | .final = false' "$scratch/for-good" >"$status_file"
told 'unseald is started again' 0 'unseald has FAILED, and is started again' --quiet

say "a failure for good while the timer's report examines the machine"
cc -shared -fPIC -o "$scratch/fails.so" -x c - -ldl <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

/* The first one is that of the report, which starts doctor. */
pid_t fork(void) {
        pid_t (*real)(void) = dlsym(RTLD_NEXT, "fork");
        static bool done;

        if (!done && rename(getenv("NEXT_STATUS"), getenv("STATUS")) < 0)
                abort();
        done = true;
        return real();
}
END
# failing LABEL STATUS-FILE: the report of a wait, during which the status file becomes this one
failing() {
    cp "$scratch/older" "$status_file"
    cp "$2" "$scratch/next"
    env "LD_PRELOAD=$scratch/fails.so" "ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0" "NEXT_STATUS=$scratch/next" \
        "STATUS=$status_file" "$build/daemon/unsealctl" report --quiet --timeout=1s --vendor-configuration="$config" \
        --configuration=/nonexistent --store="$store" --status="$status_file" >"$scratch/out" 2>&1 || die "$1: $(cat "$scratch/out")"
    [ ! -e "$scratch/next" ] || die "$1: the report has not started doctor"
    assert_line "$1" "$scratch/out" '^unseald waits for KMS'
}
rm "$RUNTIME_DIRECTORY/told"
failing 'a failure for good' "$scratch/for-good"
assert_line 'its report follows' "$scratch/out" '^unseald has FAILED for good'
assert_line 'with the explanation' "$scratch/out" '^KMS denies access to the key:'
failing 'the control' "$scratch/older"
assert_no_line 'nothing has failed' "$scratch/out" 'FAILED'
unset TRIGGER_UNIT
rm "$RUNTIME_DIRECTORY/told"
failing 'not the timer' "$scratch/for-good"
assert_no_line 'the service manager starts another report' "$scratch/out" 'FAILED'
rm "$status_file"

say "a status file that is older than the failure"
mv "$scratch/older" "$status_file"
MONITOR_EXIT_STATUS=KILL told 'an older file' 0 'unseald.service has FAILED: the signal KILL ended it\. The status file is older' --quiet
assert_no_line 'it does not wait any more' "$scratch/out" 'unseald waits for'
told 'the control' 0 'unseald waits for KMS' --quiet
told 'a time that is none' 2 '--timeout= needs a time' --timeout=soon
