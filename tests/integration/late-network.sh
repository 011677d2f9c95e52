#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The network comes up in the middle of a long backoff. By then everything is done that needs no network. unseald then sends its first
# packet at once: netlink reports the network, and unseald does not wait for the end of the backoff.
. "$(dirname "$0")/lib.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf late | vendor_seal "$key" db-password "$scratch/sealed"
MACHINE_LIMIT=240 layer_new DeadlineSec=5min
layer_secret db-password "$key" "$scratch/sealed"
# Until the document is made and five seconds or more of the backoff are left. The status says when the next attempt is.
cat >"$layer/usr/lib/machine/watcher" <<'END'
#!/bin/sh
until journalctl -q -u unseald.service -o cat | grep -q '^attestation document: done' &&
    jq -e --arg now "$(cut -d' ' -f1 /proc/uptime)" '.waiting | select(.step == "credentials") | .next_monotonic_usec > ($now | tonumber + 5) * 1000000' \
        /run/unseald/status.json >/dev/null 2>&1; do sleep 0.2; done
cp /run/unseald/status.json /out/waiting.json
touch /out/seen
END
chmod +x "$layer/usr/lib/machine/watcher"
printf '%s\n' '[Service]' ExecStart=/usr/lib/machine/watcher >"$layer/usr/lib/systemd/system/watcher.service"
sed -i 's/^Wants=.*/& watcher.service/' "$layer/usr/lib/systemd/system/machine.target"

platform machine-netns create
out=$scratch/out
(
    until [ -e "$out/seen" ] || [ -e "$out/done" ]; do sleep 0.1; done
    cut -d' ' -f1 /proc/uptime >"$scratch/up"
    platform machine-netns up
) &
at_exit end_process $!
MACHINE_NETNS=$PLATFORM_MACHINE_NETNS machine_boot "$out"
wait
[ -e "$out/seen" ] || die "no long backoff came: $(tail -n 20 "$out/journal-plain")"
journal=$out/journal-unseald
cat "$journal"

assert_equal "unseald" "$(machine_show "$out" unseald.service ActiveState)" active
assert_equal "the application" "$(machine_show "$out" billing.service ActiveState)" active
assert_line "waiting is said" "$journal" 'credentials: attempt 1 failed'

# By the journal's clock, the document came before the network, and the answer of IMDS came after the network and before the end of the
# backoff. How much later READY=1 comes depends on the machine.
at() { sed -nE "s/^\[ *([0-9.]+)\] unseald\[[0-9]+\]: $1.*/\1/p" "$journal" | awk 'NR == 1'; }
up=$(cat "$scratch/up") document=$(at 'attestation document: done') answer=$(at 'credentials: done') ready=$(at Ready)
backoff=$(jq '.waiting.next_monotonic_usec / 1000000' "$out/waiting.json")
awk -v up="$up" -v document="$document" 'BEGIN { exit !(document < up) }' ||
    die "the document was made at $document, the network came at $up"
awk -v up="$up" -v answer="$answer" -v ready="$ready" -v backoff="$backoff" 'BEGIN {
    printf "from the network to the answer of IMDS: %.0f ms, to READY=1: %.0f ms\n", (answer - up) * 1000, (ready - up) * 1000
    exit !(answer > up && answer < backoff && ready > up) }' ||
    die "the network came at $up, the answer of IMDS at $answer, READY=1 at $ready; the backoff would have lasted until $backoff"
assert_equal "starts of unseald" "$(machine_show "$out" unseald.service NRestarts)" 0
