#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A TPM that stops answering in the middle of a command: before the response, and after half of it. unseald ends at its deadline and
# says why, status.json says meanwhile what is awaited, and a stop ends unseald within TimeoutStopSec=. A TPM that answers again in
# time does no harm. unseald-attest, unsealctl attest and unsealctl doctor end when they are told to.
. "$(dirname "$0")/direct.sh"
direct_start
declare_secret db-password "$key" "$scratch/sealed"
tpm_before=$(tpm_contents)

proxy=$scratch/proxy
"$top/tests/platform/tpm-proxy.py" "$PLATFORM_TPM_SOCKET" "$proxy" >"$scratch/proxy.out" 2>&1 &
proxy_pid=$!
at_exit end_process "$proxy_pid"
until grep -q ready "$scratch/proxy.out"; do
    kill -0 "$proxy_pid" || die "no proxy: $(cat "$scratch/proxy.out")"
    sleep 0.05
done
through_proxy() { PLATFORM_TCTI=swtpm:path=$proxy configure "$@"; }

hang() { echo "$1" >"$proxy.fault"; } # "CODE before" or "CODE half"
go_on() { rm -f "$proxy.fault" && until [ ! -e "$proxy.held" ]; do sleep 0.05; done; }
# wait_for WHAT COMMAND...: waits until the command succeeds. The limit is for a program that never gets there.
wait_for() {
    local what=$1 i
    shift
    for ((i = 0; i < 6000; i++)); do
        "$@" && return 0
        sleep 0.05
    done
    die "$what: not within five minutes"
}
held() { [ -e "$proxy.held" ]; }
# ends PID: waits until the process has ended. Sets $status.
ends() {
    status=0
    wait "$1" || status=$?
}

# TPM2_CC_CreatePrimary and the NSM request (TPM 2.0 part 2, 6.5.2; the vendor's command of NitroTPM).
create=131 nsm=20000001

say "until the deadline"
for fault in "$create before" "$nsm before" "$nsm half"; do
    for deadline in "${deadlines[@]}"; do
        through_proxy "DeadlineSec=${deadline}s"
        hang "$fault"
        unseald_start
        seen=''
        # The status while unseald waits. On a slow machine the deadline may come before the command.
        until [ -n "$seen" ] || ! kill -0 "$unseald_pid" 2>/dev/null; do
            ! held || seen=$(jq -r 'select(.state == "unsealing") | .waiting.for // empty' "$status_file" 2>/dev/null | grep TPM) || true
            sleep 0.02
        done
        unseald_finish
        [ -z "$seen" ] || break
    done
    assert_equal "$fault: exit status, was it ready" "$unseald_status $unseald_ready" '20 '
    assert_line "$fault: why" "$log" "Not within DeadlineSec=${deadline}s: no answer yet from (TPM|attestation document)"
    assert_match "$fault: the status while it waits" "$seen" "the TPM$"
    assert_equal "$fault: the status at the end" "$(jq -r '.state + " " + .failure' "$status_file")" 'failed tpm'
    go_on
    through_proxy
    unseald_start && unseald_finish
    assert_equal "$fault: the next start" "$unseald_status $unseald_ready" '0 yes'
    assert_equal "$fault: the TPM" "$(tpm_contents)" "$tpm_before"
done

say "a hang that ends in time"
through_proxy
for fault in "$create before" "$nsm half"; do
    hang "$fault"
    unseald_start
    wait_for "$fault: the hang" held
    go_on
    unseald_finish
    assert_equal "$fault: exit status, was it ready" "$unseald_status $unseald_ready" '0 yes'
    assert_equal "$fault: the TPM" "$(tpm_contents)" "$tpm_before"
done

say "a stop"
for fault in "$create before" "$nsm half"; do
    hang "$fault"
    unseald_start
    wait_for "$fault: the hang" held
    kill -TERM "$unseald_pid"
    UNSEALD_LIMIT=60 unseald_finish
    held || die "$fault: unseald has waited for the TPM"
    assert_equal "$fault: exit status of a stopped unseald" "$unseald_status" 0
    assert_equal "$fault: the store" "$(ls -A "$store")" ''
    go_on
    unseald_start && unseald_finish
    assert_equal "$fault: the start after it" "$unseald_status $unseald_ready" '0 yes'
    assert_equal "$fault: the TPM" "$(tpm_contents)" "$tpm_before"
done

say "a stop by systemd"
layer_new
layer_secret db-password "$key" "$scratch/sealed"
echo 0 >"$layer/usr/lib/machine/limit"
cat >"$layer/usr/lib/machine/extra" <<'SH'
#!/bin/sh
until [ -e /out/held ]; do sleep 0.05; done
systemctl stop unseald.service
systemctl show -P Result -P ActiveState unseald.service | xargs >/out/stopped
SH
chmod +x "$layer/usr/lib/machine/extra"
mkdir "$scratch/out"
hang "$nsm before"
{ wait_for "in the machine: the hang" held && touch "$scratch/out/held"; } &
watcher=$!
PLATFORM_TPM_SOCKET=$proxy PLATFORM_TPM_CONTROL=$proxy.ctrl machine_boot "$scratch/out"
wait "$watcher"
held || die "in the machine: unseald has waited for the TPM"
assert_equal "a stop by systemd" "$(cat "$scratch/out/stopped")" 'success inactive'
go_on

say "unseald-attest"
hang "$nsm before"
systemd-socket-activate -l "$scratch/attest.sock" "$build/daemon/unseald-attest" --vendor-configuration="$config" --configuration=/nonexistent \
    >"$scratch/attest.log" 2>&1 &
attest=$!
at_exit end_process "$attest" KILL
wait_for "the socket" test -S "$scratch/attest.sock"
curl -sS --unix-socket "$scratch/attest.sock" 'http://localhost/attestation?nonce=00112233445566778899aabbccddeeff' >"$scratch/answer" 2>&1 &
client=$!
wait_for "unseald-attest: the hang" held
kill -TERM "$attest"
ends "$attest"
held || die "unseald-attest has waited for the TPM"
assert_equal "exit status of a stopped unseald-attest" "$status" 0
assert_line "what it says" "$scratch/attest.log" 'The TPM has not answered a command within 5 seconds'
wait "$client" || true
go_on

say "the tool"
for verb in "attest --device=swtpm:path=$proxy" "doctor --vendor-configuration=$config --configuration=/nonexistent"; do
    for signal in INT TERM; do
        hang "$nsm before"
        # In the background, a shell makes its programs ignore SIGINT.
        # shellcheck disable=SC2086 # the words are options
        "$top/tests/platform/platform" exec --as instance -- env --default-signal=INT "$build/daemon/unsealctl" $verb >"$scratch/tool" 2>&1 &
        tool=$!
        wait_for "$verb: the hang" held
        kill -s "$signal" "$tool"
        ends "$tool"
        held || die "$verb: SIG$signal has waited for the TPM"
        assert_equal "$verb: exit status after SIG$signal" "$status" $((128 + $(kill -l "$signal")))
        go_on
    done
done
# A tool that a signal ends leaves a session and an index in the TPM. The next user removes them.
unseald_start && unseald_finish
assert_equal "the next start" "$unseald_status $unseald_ready" '0 yes'
assert_equal "the TPM at the end" "$(tpm_contents)" "$tpm_before"
