#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Many instances boot at the same moment and share one KMS quota. 40 daemons, each with its own TPM and store, wait only for the
# network, which comes for all at once. KMS answers 4 requests a second and throttles the others. All daemons unseal. The test
# prints the requests of each daemon and the longest wait. UNSEALD_TEST_LOAD="200 20" takes 200 daemons and 20 requests a second.
. "$(dirname "$0")/direct.sh"
read -r daemons rate <<<"${UNSEALD_TEST_LOAD:-40 4}"
direct_start
library=$build/tests/platform/nitrotpm pids=()
end_daemons() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
    wait
}
at_exit end_daemons

# All TPMs are copies of one set-up, which takes longer than everything else.
mkdir "$scratch/made" "$scratch/d"
LD_LIBRARY_PATH=$library swtpm_setup --tpm2 --tpmstate "$scratch/made" --pcr-banks sha384 --config /dev/null >/dev/null
for ((i = 1; i <= daemons; i++)); do
    mkdir -p "$scratch/d/$i/secrets.d" "$store/$i"
    chmod 0711 "$store/$i"
    cp -r "$scratch/made" "$scratch/d/$i/state"
    LD_LIBRARY_PATH=$library NITROTPM_NSM_SOCKET=$PLATFORM_STATE/nsm.socket swtpm socket --tpm2 --tpmstate "dir=$scratch/d/$i/state" \
        --server "type=unixio,path=$scratch/d/$i/tpm" --ctrl "type=unixio,path=$scratch/d/$i/tpm.ctrl" \
        --flags not-need-init,startup-clear 2>/dev/null &
    pids+=($!)
    configure DeadlineSec=25min
    sed "s|^TpmDevice=.*|TpmDevice=swtpm:path=$scratch/d/$i/tpm|" "$config/unseald.conf" >"$scratch/d/$i/unseald.conf"
    printf '%s\n' '[Secret]' "Source=file:$scratch/sealed" "KeyId=$key" >"$scratch/d/$i/secrets.d/db-password.secret"
done

platform machine-netns create
# One shell starts all daemons and prints their PIDs.
cat >"$scratch/start" <<'END'
for ((i = 1; i <= $1; i++)); do
    "$2/daemon/unseald" --vendor-configuration="$3/d/$i" --configuration=/nonexistent --store="$3/store/$i" \
        --status="$3/d/$i/status" >"$3/d/$i/log" 2>&1 &
    echo $!
done
END
mapfile -t unsealds < <(platform exec --netns "$PLATFORM_MACHINE_NETNS" -- bash "$scratch/start" "$daemons" "$build" "$scratch")
pids+=("${unsealds[@]}")
# wait_for SECONDS COMMAND...: waits until the command prints at least the number of daemons
wait_for() {
    local limit=$((SECONDS + $1))
    shift
    while [ "$("$@")" -lt "$daemons" ]; do
        [ $SECONDS -lt $limit ] || die "$*: $("$@") of $daemons"
        sleep 0.2
    done
}
documents() { cat "$scratch"/d/*/log | grep -c '^attestation document: done' || true; }
ended() { cat "$scratch"/d/*/status | jq -r .state | grep -cE '^(unsealed|failed)$' || true; }
wait_for 600 documents
platform rate "$rate"
came_at=$EPOCHREALTIME
platform machine-netns up
wait_for 600 ended
platform rate 0

# From the network to READY=1.
cat "$scratch"/d/*/status | jq -r '[.state, .secrets[0].attempts, .since_usec] | @tsv' |
    awk -v begun="${came_at/./}" '{ print $1, $2, ($3 - begun) / 1e6 }' >"$scratch/outcomes"
spread() { # COLUMN: prints minimum, median and maximum
    awk -v column="$1" '{ print $column }' "$scratch/outcomes" | sort -n |
        awk '{ v[NR] = $1 } END { printf "%.4g %.4g %.4g\n", v[1], v[int((NR + 1) / 2)], v[NR] }'
}
requests=$(platform log | jq -r 'select(.eventName == "Decrypt") | .errorCode // "answered"' | sort | uniq -c | xargs)
read -r least median most < <(spread 2)
say "$daemons daemons at once, $rate requests a second"
say "requests of each: $least to $most, median $median; KMS's log: $requests"
read -r least median most < <(spread 3)
say "from the network to READY=1: $least to $most s, median $median s"
assert_equal "all unsealed" "$(awk '{ print $1 }' "$scratch/outcomes" | sort | uniq -c | xargs)" "$daemons unsealed"
assert_equal "all have the secret" "$(cat "$store"/*/db-password | sha256sum)" \
    "$(for ((i = 0; i < daemons; i++)); do cat "$secret"; done | sha256sum)"
assert_match "KMS has throttled" "$requests" 'ThrottlingException'
