#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The operator's walk: five machines with a real systemd, each with a different fault. The operator looks at
# "systemctl status unseald", "journalctl -xu unseald" and "unsealctl status", and at nothing else. Each of the three must show
# the cause and the remedy.
. "$(dirname "$0")/lib.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'Hello World' | vendor_seal "$key" db-password "$scratch/sealed"
pcr4=$(pcr 4)
screens=(systemctl-status journalctl unsealctl-status)
quotes=$scratch/quotes

# prepare [LINE...]: a correct image, with these lines added to unseald.conf
prepare() {
    layer_new DeadlineSec=15s "$@"
    layer_secret db-password "$key" "$scratch/sealed"
    cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
export COLUMNS=200
# Until unseald has failed for the first time; systemd starts it again, after which it has not failed for a while.
until [ "$(systemctl show -P Result unseald.service)" != success ]; do sleep 0.1; done
journalctl --sync
systemctl status unseald --no-pager >/out/systemctl-status 2>&1
journalctl -xu unseald --no-pager >/out/journalctl 2>&1
unsealctl status >/out/unsealctl-status 2>&1
END
    chmod +x "$layer/usr/lib/machine/extra"
}

# walk LABEL CAUSE CURE: regular expressions that each of the three screens must match
walk() {
    local screen out=$scratch/out
    rm -rf "$out"
    MACHINE_LIMIT=10 machine_boot "$out"
    assert_match "$1: the application" "$(machine_show "$out" billing.service ActiveState)" '^(failed|inactive)$'
    for screen in "${screens[@]}"; do
        printf '\n== %s: %s\n' "$1" "$screen"
        # From the journal, the last entry of unseald and what follows it.
        awk -v from="$([ "$screen" != journalctl ] || printf '%s' ' unseald\\[')" \
            'from != "" && $0 ~ from { text = "" } { text = text $0 "\n" } END { printf "%s", text }' "$out/$screen"
    done | tee -a "$quotes"
    for screen in "${screens[@]}"; do
        tr '\n' ' ' <"$out/$screen" | sed 's/  */ /g' >"$scratch/screen"
        assert_line "$1: the cause in $screen" "$scratch/screen" "$2"
        assert_line "$1: the cure in $screen" "$scratch/screen" "$3"
    done
}

prepare
platform machine-netns create
MACHINE_NETNS=$PLATFORM_MACHINE_NETNS walk 'no network' 'cannot be reached' 'route'

prepare
platform role other-instance
walk 'wrong role' 'KMS denies access.*other-instance' "key's policy must allow"
platform role "$PLATFORM_INSTANCE_ROLE"

jq -n --arg pcr4 "$pcr4" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4}}' >"$scratch/expected"
prepare ExpectedMeasurements=/usr/lib/unseald/pcr_measurements.json
cp "$scratch/expected" "$layer/usr/lib/unseald/pcr_measurements.json"
platform extend 4 'another image' >/dev/null
walk 'wrong PCR' 'PCR4 [^)]*[)] DIFFERS' "key's policy"
platform tpm-reset >/dev/null

other=$(vendor_create_key)
vendor_put_policy "$other" "$pcr4" "$(pcr 12)"
prepare
layer_secret db-password "$other" "$scratch/sealed"
walk 'wrong key' 'sealed with another key' 'first KeyId= of the secret must be'

prepare TpmDevice=device:/dev/tpm0
walk 'no TPM' 'There is no TPM' 'the AMI was registered with'

[ -z "${UNSEALD_TEST_RESULTS:-}" ] || cp "$quotes" "$UNSEALD_TEST_RESULTS/operator.txt"
