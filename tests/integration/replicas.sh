#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A key with a replica in another Region. If KMS does not answer in the first one, unseald asks in the other, over IPv6 alone, too. An answer,
# and a denial is one, counts where it was given.
. "$(dirname "$0")/direct.sh"
mount_own /run/unseald
platform_start --ipv6
platform extend 4 'the image'
near=$(kms CreateKey '{"MultiRegion": true}' | jq -r .KeyMetadata.Arn)
far=${near/$region/$PLATFORM_OTHER_REGION}
vendor_put_policy "$near" "$(pcr 4)" "$(pcr 12)"
kms GetKeyPolicy "$(jq -nc --arg key "$near" '{KeyId: $key, PolicyName: "default"}')" | jq -r .Policy >"$scratch/policy"
kms ReplicateKey "$(jq -nc --arg key "$near" --arg to "$PLATFORM_OTHER_REGION" --rawfile policy "$scratch/policy" \
    '{KeyId: $key, ReplicaRegion: $to, Policy: $policy}')" >/dev/null
printf 'Hello World' >"$secret"
vendor_seal "$near" db-password "$scratch/sealed" <"$secret"
platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$near" --name=prompt \
    --format=message -o "$scratch/prompt.message" "$secret" 2>/dev/null
cp "$PLATFORM_HOSTS" "$scratch/hosts"

# first_region ADDRESS: the name of KMS in the first Region has this address from now on; "": its own
first_region() { sed "s/^[^ ]* \(kms\.$region\.\)/${1:-$PLATFORM_KMS_ADDRESS} \1/" "$scratch/hosts" >"$PLATFORM_HOSTS"; }
ip -n "$PLATFORM_NETNS" address add 198.51.100.50/32 dev lo
nobody=198.51.100.50 # nothing listens there

# both [LINE...]: declares a ciphertext and a message, with the two keys and these lines
both() {
    rm -f "$config"/secrets.d/*
    declare_secret db-password "$near" "$scratch/sealed" "KeyId=$far" "$@"
    declare_secret prompt "$near" "$scratch/prompt.message" "KeyId=$far" Format=message "$@"
}
# comes WHAT REGION: unseald publishes what is declared, and every answer came from this Region
note_what_came() {
    (cd "$store" && tail -n +1 -- *) >"$scratch/seen"
    cp "$status_file" "$scratch/status"
}
on_ready() { note_what_came; }
comes() {
    local before
    before=$(platform log | wc -l)
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$1: unseald ended with $unseald_status: $(tail -n 20 "$log")"
    assert_equal "$1: what is published" "$(grep -o 'Hello World$' "$scratch/seen" | wc -l)" "$(find "$config/secrets.d" -type f | wc -l)"
    platform log | tail -n +"$((before + 1))" | jq -r 'select(.eventName == "Decrypt" and .errorCode == null and .platformFault == null) | .awsRegion' |
        sort -u >"$scratch/answered"
    assert_equal "$1: where KMS answered" "$(cat "$scratch/answered")" "$2"
    assert_equal "$1: the Region in status.json" "$(jq -r '[.secrets[].kms_region] | unique | join(" ")' "$scratch/status")" "$2"
    say "$1: KMS in $2, there after $took s"
}
# asked_far: prints how many requests came to the far Region since the start
asked_far() { platform log | jq -r --arg far "$PLATFORM_OTHER_REGION" 'select(.eventName == "Decrypt" and .awsRegion == $far) | .eventName' | wc -l; }

say "== both Regions answer: the first is asked"
configure
both
comes "all is well" "$region"
assert_equal "requests to the other Region" "$(asked_far)" 0

say "== doctor tries the other Region, too"
doctor() {
    local status=0
    platform exec --as instance -- "${wrapper[@]}" "$build/daemon/unsealctl" doctor --vendor-configuration="$config" \
        --configuration=/nonexistent --store="$store" --status="$status_file" >"$scratch/doctor" 2>&1 || status=$?
    assert_equal "doctor's exit status ($(tail -n 5 "$scratch/doctor"))" "$status" "$1"
}
doctor 4 # without a service manager
assert_line doctor "$scratch/doctor" "^ok replica kms\.$PLATFORM_OTHER_REGION\.amazonaws\.com: Trusted"
sed "s/^[^ ]* \(kms\.$PLATFORM_OTHER_REGION\.\)/$nobody \1/" "$scratch/hosts" >"$PLATFORM_HOSTS"
doctor 3
assert_line doctor "$scratch/doctor" "^warning replica kms\.$PLATFORM_OTHER_REGION\.amazonaws\.com: If the first Region does not answer"

say "== the first Region is out of reach"
first_region "$nobody"
comes "the connection is refused" "$PLATFORM_OTHER_REGION"
assert_line "the log" "$log" "db-password: KMS in $region does not answer\. KMS in $PLATFORM_OTHER_REGION is asked next, for the key $far"
first_region "$PLATFORM_KMS_DELAYED_ADDRESS"
platform delay 60000
configure DeadlineSec=10min
comes "the handshake has no end" "$PLATFORM_OTHER_REGION"
platform delay 10
configure
first_region ''
rm "$config/secrets.d/prompt.secret"
platform fault set kms Decrypt http 503 # in the first Region
comes "an outage: 503" "$PLATFORM_OTHER_REGION"
platform fault clear
both

say "== what KMS answers counts"
before=$(asked_far)
platform fault set kms Decrypt throttle --times 4
comes "throttled" "$region"
platform fault clear
platform fault set kms Decrypt http 429 --times 4
comes "throttled by what lies before KMS" "$region"
platform fault clear
vendor_put_policy "$near" "$(printf '%096d' 1)" "$(pcr 12)"
on_ready() { :; }
unseald_start
unseald_finish
assert_equal "denied in the first Region: exit status" "$unseald_status" 60
assert_equal "requests to the other Region" "$(asked_far)" "$before"
# The control: there the policy is still the right one.
first_region "$nobody"
on_ready() { note_what_came; }
comes "the policy in the other Region" "$PLATFORM_OTHER_REGION"
before=$(asked_far)

say "== without a replica, and with KmsEndpoint=, no other Region is asked"
on_ready() { :; }
configure DeadlineSec=3s "KmsEndpoint=https://kms.$region.amazonaws.com"
until_deadline "attempt\(s\) at connection to KMS: kms\.$region\.amazonaws\.com"
assert_equal "with KmsEndpoint=: exit status" "$unseald_status" 50
configure DeadlineSec=3s
rm "$config"/secrets.d/*
declare_secret db-password "$near" "$scratch/sealed"
until_deadline "attempt\(s\) at connection to KMS: kms\.$region\.amazonaws\.com"
assert_equal "one key: exit status" "$unseald_status" 50
assert_equal "requests to the other Region" "$(asked_far)" "$before"

say "== over IPv6 alone"
platform machine-netns create
platform machine-netns up-ipv6
unseald_netns=(--ipv6 --netns "$PLATFORM_MACHINE_NETNS")
assert_equal "IPv4 routes of the machine" "$(ip -n "$PLATFORM_MACHINE_NETNS" -4 route show)" ''
first_region ''
vendor_put_policy "$near" "$(pcr 4)" "$(pcr 12)" # the right one again
cp "$PLATFORM_HOSTS_IPV6" "$scratch/hosts-ipv6"
first_region_ipv6() { sed "s/^[^ ]* \(kms\.$region\.api\.aws\)/$1 \1/" "$scratch/hosts-ipv6" >"$PLATFORM_HOSTS_IPV6"; } # ADDRESS
ip -n "$PLATFORM_NETNS" address add 2001:db8:0:1::50/128 dev lo # nothing listens there
on_ready() { note_what_came; }
configure DualStack=yes DeadlineSec=5min
both
comes "all is well" "$region"
assert_equal "requests to the other Region" "$(asked_far)" "$before"
first_region_ipv6 2001:db8:0:1::50
comes "the connection is refused" "$PLATFORM_OTHER_REGION"
assert_line "the log" "$log" "db-password: KMS in $region does not answer\. KMS in $PLATFORM_OTHER_REGION is asked next, for the key $far"
ip -n "$PLATFORM_MACHINE_NETNS" route add unreachable 2001:db8:0:1::51/128
first_region_ipv6 2001:db8:0:1::51
comes "there is no route" "$PLATFORM_OTHER_REGION"
first_region_ipv6 2001:db8:0:2::99 # a neighbour that is not there
comes "nobody answers" "$PLATFORM_OTHER_REGION"
assert_equal "where the last answer went" "$(platform log | jq -r 'select(.eventName == "Decrypt" and .errorCode == null) | .sourceIPAddress' | tail -n 1)" \
    2001:db8:0:2::10
