#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The network comes up ten seconds after unseald started. By then everything is done that needs no network. unseald then sends
# its first packet at once: netlink reports the network, and unseald does not wait for the end of the backoff.
. "$(dirname "$0")/lib.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf late | vendor_seal "$key" db-password "$scratch/sealed"
layer_new
layer_secret db-password "$key" "$scratch/sealed"

platform machine-netns create
(
    # By then the backoff is long, and the document is made.
    sleep 10

    cut -d' ' -f1 /proc/uptime >"$scratch/up"
    platform machine-netns up
) &
MACHINE_NETNS=$PLATFORM_MACHINE_NETNS machine_boot "$scratch/out"
wait
out=$scratch/out
journal=$out/journal-unseald
cat "$journal"

assert_equal "unseald" "$(machine_show "$out" unseald.service ActiveState)" active
assert_equal "the application" "$(machine_show "$out" billing.service ActiveState)" active
assert_line "waiting is said" "$journal" 'credentials: attempt 1 failed'

# By the journal's clock, the document came before the network, and READY=1 came after the network and before the end of the
# backoff, which had grown to ten seconds.
at() { sed -nE "s/^\[ *([0-9.]+)\] unseald\[[0-9]+\]: $1.*/\1/p" "$journal" | awk 'NR == 1'; }
up=$(cat "$scratch/up") document=$(at 'attestation document: done') ready=$(at Ready)
awk -v up="$up" -v document="$document" 'BEGIN { exit !(document < up) }' ||
    die "the document was made at $document, the network came at $up"
awk -v up="$up" -v ready="$ready" 'BEGIN { printf "from the network to READY=1: %.0f ms\n", (ready - up) * 1000; exit !(ready > up && ready < up + 5) }' ||
    die "the network came at $up, READY=1 at $ready"
assert_equal "starts of unseald" "$(machine_show "$out" unseald.service NRestarts)" 0
