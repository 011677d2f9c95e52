#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Events in an unusual order: several secrets at the same time, and a network that comes up during an attempt.
. "$(dirname "$0")/direct.sh"
direct_start

# declare_sealed NAME [LINE...]
declare_sealed() {
    vendor_seal "$key" "$1" "$scratch/sealed-$1" <"$secret"
    declare_secret "$1" "$key" "$scratch/sealed-$1" "${@:2}"
}

say "a store that takes the first secret and not the second is left empty"
configure
declare_sealed first
declare_sealed second
printf '%s\n' '[Deliver]' User=nobody >>"$config/secrets.d/second.secret"
wrapper+=(setpriv --bounding-set=-chown --inh-caps=-chown)
unseald_start
unseald_finish
wrapper=("${wrapper[@]::${#wrapper[@]}-3}")
assert_equal "exit status" "$unseald_status" 11
assert_line "the reason" "$log" '^second cannot be written to the store'
assert_equal "the store" "$(ls -A "$store")" ''
assert_no_line "nothing is said to be published" "$log" 'published'

say "the answer to an old document that comes after the new one is made"
rm "$config"/secrets.d/*
declare_sealed first
declare_sealed second
configure DeadlineSec=5min
decrypted() { platform log | jq -s 'map(select(.eventName == "Decrypt" and .errorCode == null)) | length'; }
before=$(decrypted)
# As long as the HTTP time-out allows: the other secret gets its new document and is decrypted in the meantime.
platform fault set kms Decrypt delay 13000 --times 1
platform fault set kms Decrypt error ValidationException "the attestation document is stale" --times 1
unseald_start
until [ "$(decrypted)" -gt "$before" ]; do
    kill -0 "$unseald_pid" 2>/dev/null || die "unseald ended before KMS decrypted a secret"
    sleep 0.1
done
platform fault set kms Decrypt error ValidationException "the attestation document is stale" --times 1
unseald_finish
platform fault clear
assert_equal "ready ($(tail -n 1 "$log"))" "$unseald_ready" yes
assert_equal "documents made" "$(grep -c 'attestation document: done' "$log")" 2

say "an optional secret alone is not given up because the network is not there yet"
rm "$config"/secrets.d/*
declare_sealed first Optional=yes
platform fault set kms connect tls-expired --times 2
unseald_start
unseald_finish
platform fault clear
assert_equal "ready ($(tail -n 1 "$log"))" "$unseald_ready" yes
assert_line "it was tried again" "$log" '^first: published'

say "and left at the deadline, for a reason that is said"
configure DeadlineSec=3s
platform fault set kms Decrypt drop
until_deadline '^The optional secret first stays sealed: Not within DeadlineSec=[0-9a-z]+: no answer yet from decryption'
platform fault clear
assert_equal "ready ($(tail -n 1 "$log"))" "$unseald_ready" yes

say "what is left of an optional secret after a crash goes where the next start does not get it"
configure
on_ready() {
    assert_equal "the store before the crash" "$(ls -A "$store")" first
    kill -KILL "$unseald_pid"
}
unseald_start
unseald_finish
on_ready() { ls -A "$store" >"$scratch/ready"; }
assert_equal "the store after the crash" "$(ls -A "$store")" first
platform fault set kms Decrypt error DisabledException "the key is disabled"
unseald_start
unseald_finish
platform fault clear
assert_equal "ready ($(tail -n 1 "$log"))" "$unseald_ready" yes
assert_equal "the store at READY=1" "$(cat "$scratch/ready")" ''
on_ready() { :; }

say "a service that is silent at the deadline has an exit status of its own"
rm "$config"/secrets.d/*
declare_sealed first
# A request to IMDS times out after two seconds. On a slow machine the first one has, before the key pair is made.
deadlines=({1..20})
configure DeadlineSec=1s
platform fault set imds token delay 60000
until_deadline 'no answer yet from credentials|attempt\(s\) at credentials: IMDS'
platform fault clear
assert_equal "exit status" "$unseald_status" 40
# A handshake takes longer than a connection may take.
deadlines=({3..30..3})
configure DeadlineSec=3s
platform delay 3000 # one way
unseald_netns=(--delayed)
until_deadline 'no answer yet from connection to KMS|attempt\(s\) at connection to KMS: '
unseald_netns=()
platform delay 10
assert_equal "exit status" "$unseald_status" 50

say "the network comes in the middle of an attempt"
rm "$config"/secrets.d/*
declare_sealed first
configure DeadlineSec=5min
platform machine-netns create
in_machine() { ip -n "$PLATFORM_MACHINE_NETNS" "$@"; }
in_machine address add 10.0.0.10/24 dev eth0
in_machine link set eth0 up
connecting() { [ -n "$(ip netns exec "$PLATFORM_MACHINE_NETNS" ss -Htn state syn-sent dst 169.254.169.254)" ]; }
# network_comes: starts unseald, and lets the network come while it connects to IMDS. Returns 1 if the attempt has ended by then, as it may
# on a busy machine.
network_comes() {
    in_machine route replace default via 10.0.0.99 # no host has this address
    exec {unseald_fd}< <(exec "$top/tests/platform/platform" exec --netns "$PLATFORM_MACHINE_NETNS" -- "${wrapper[@]}" \
        "$build/daemon/unseald" --debug --vendor-configuration="$config" --configuration=/nonexistent --store="$store" \
        --status="$status_file" > >(tee "$scratch/lines") 2>&1)
    unseald_pid=$! started_at=$EPOCHREALTIME
    # By then the backoff has grown to several seconds.
    sleep 12
    # An attempt lasts a second. Wait for the beginning of one.
    while connecting; do sleep 0.05; done
    until connecting; do
        kill -0 "$unseald_pid" 2>/dev/null || die "unseald ended before the network came: $(tail -n 5 "$scratch/lines")"
        sleep 0.05
    done
    came_at=$EPOCHREALTIME failed_before=$(grep -c 'credentials: attempt' "$scratch/lines")
    in_machine route replace default via 10.0.0.1
    connecting && in_time=yes || in_time=
    unseald_finish
    assert_equal "ready ($(tail -n 1 "$log"))" "$unseald_ready" yes
    say "from the network to READY=1, with what it takes TCP to try again: $(seconds_since "$came_at") s"
    [ -n "$in_time" ]
}
tries=1
until network_comes; do
    [ $((tries++)) -lt 5 ] || { say "SKIP: this machine is too busy: five times the attempt ended before the network came" && exit; }
done
# TCP asks again after a second, when the attempt ends, too: either succeeds first.
[ "$failed_before" -gt 0 ] || die "no attempt failed before the network came"
grep 'credentials: attempt' "$log" | tail -n "+$((failed_before + 1))" >"$scratch/failed-later"
assert_no_line "failures after the network came" "$scratch/failed-later" 'failed, next in ([1-9]|0us[^:])'
