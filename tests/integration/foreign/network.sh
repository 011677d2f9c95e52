#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The platform's network, as curl sees it: a request to the far KMS takes the expected round trips, a machine's link can go down
# and up again, two platforms do not reach each other, and nothing stays behind.
. "$(dirname "$0")/lib.sh"
start_platform

milliseconds() { # OPTIONS OF EXEC -- curl URL...
    "$platform" exec "$@" --silent --show-error --output /dev/null --output /dev/null --write-out '%{time_total}\n' |
        awk '{ printf "%d\n", $1 * 1000 }'
}

# TCP, TLS 1.3 and the request take a round trip each. The second request on the connection takes one. They never take less, and on a busy
# machine sometimes more.
for _ in {1..20}; do
    mapfile -t times < <(milliseconds --delayed -- curl "$PLATFORM_KMS_ENDPOINT/ping" "$PLATFORM_KMS_ENDPOINT/ping")
    ((times[0] >= 60 && times[1] >= 20)) || fail "far KMS: ${times[*]} ms, not 60 and 20"
    ((times[1] >= times[0])) || break
done
((times[1] < times[0])) || fail "far KMS: ${times[*]} ms, 20 times"
"$platform" delay 50
mapfile -t times < <(milliseconds --delayed -- curl "$PLATFORM_KMS_ENDPOINT/ping")
((times[0] >= 300)) || fail "far KMS with 50 ms each way: ${times[0]} ms, not 300"
for _ in {1..20}; do
    near=$(milliseconds -- curl "$PLATFORM_KMS_ENDPOINT/ping")
    ((near >= 250)) || break
done
((near < 250)) || fail "near KMS: $near ms, 20 times"
echo "far KMS: ${times[0]} ms for a first request with 50 ms each way; near: $near ms"

machine() { "$platform" exec --as instance --netns "$PLATFORM_MACHINE_NETNS" -- curl --silent --max-time 5 "$@"; }
expect_unreachable() {
    local status=0
    machine "$PLATFORM_KMS_ENDPOINT/ping" || status=$?
    ((status == 7)) || fail "KMS without a network: exit status $status, not 7"
}
"$platform" machine-netns create
expect_unreachable
for _ in 1 2; do
    "$platform" machine-netns up
    [[ $(machine "$PLATFORM_KMS_ENDPOINT/ping") == healthy ]] || fail "the machine does not reach KMS"
    [[ $(machine --write-out '%{http_code}' --output /dev/null http://169.254.169.254/latest/user-data) == 401 ]] ||
        fail "the machine does not reach IMDS"
    "$platform" machine-netns down
    expect_unreachable
done

first=$PLATFORM_STATE first_netns=$PLATFORM_NETNS first_control=$PLATFORM_CONTROL
start_platform
"$platform" fault set kms '*' drop
[[ -z $("$platform" fault --state "$first" list) ]] || fail "a fault of the second platform is the first's too"
"$platform" stop
[[ ! -e $PLATFORM_STATE && ! -e /run/netns/$PLATFORM_NETNS ]] || fail "the second platform left something behind"
PLATFORM_STATE=$first
# shellcheck disable=SC2016 # The inner shell expands.
"$platform" exec -- sh -c 'echo >"$0" && exec sleep 300' "$work/runs" &
until [[ -e $work/runs ]]; do sleep 0.05; done
"$platform" stop
[[ ! -e $first && ! -e /run/netns/$first_netns && ! -e /run/netns/$first_netns-m && ! -e $first_control ]] || fail "files or namespaces are left"
! pgrep -f -- "$first" >/dev/null || fail "processes are left: $(pgrep -af -- "$first")"
! wait $! 2>/dev/null || fail "what ran in the namespace ran to its end"
PLATFORM_STATE=
