#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# VerifyPolicy=: would KMS decrypt a secret for the role alone, without attestation? The test shows, for denied, allowed and
# unknown, what unseald publishes, what it says and its exit status.
. "$(dirname "$0")/direct.sh"
direct_start
pcr4=$(pcr 4) pcr12=$(pcr 12)

# put_open_policy KEY: the most common mistake: one Allow requires PCRs, and a second Allow gives the role access without them.
put_open_policy() {
    kms PutKeyPolicy "$(jq -nc --arg key "$1" --arg admin "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin" --arg role "$PLATFORM_INSTANCE_ROLE_ARN" \
        '{KeyId: $key, PolicyName: "default", Policy: ({Version: "2012-10-17", Statement: [
            {Effect: "Allow", Principal: {AWS: $admin}, Action: "kms:*", Resource: "*"},
            {Effect: "Allow", Principal: {AWS: $role}, Action: "kms:Decrypt", Resource: "*"}]} | tojson)}')" >/dev/null
}
open_key=$(vendor_create_key)
put_open_policy "$open_key"
vendor_seal "$open_key" db-password "$scratch/open" <"$secret"
printf 'of another' | vendor_seal "$key" api-token "$scratch/other"

# run WHAT STATUS [PUBLISHED...]: the status that unseald ends with, and what is in the store when it is ready. If
# $last_words is set, unseald shall run until its deadline and say a line that matches; see longer_deadline in direct.sh.
run() {
    local what=$1 status=$2
    shift 2
    : >"$scratch/published"
    on_ready() {
        ls "$store" >"$scratch/published"
        cp "$status_file" "$scratch/status"
    }
    unseald_start
    unseald_finish
    while [ -n "${last_words:-}" ] && ! grep -Eq -- "$last_words" "$log" && longer_deadline; do
        unseald_start
        unseald_finish
    done
    last_words=''
    [ "$unseald_status" = "$status" ] || die "$what: exit status $unseald_status, wanted $status: $(tail -n 20 "$log")"
    assert_equal "$what: what is published" "$(xargs <"$scratch/published")" "$*"
    [ -n "$unseald_ready" ] || cp "$status_file" "$scratch/status"
    assert_no_line "$what: a secret in the log" "$log" "$(<"$secret")"
    say "$what: status $status after $took s"
}
# policy_of NAME: the verdict in the status file on the key of the secret
policy_of() { jq -r --arg name "$1" '.secrets[] | select(.name == $name) | .policy' "$scratch/status"; }
# asked: the number of Decrypt requests that KMS has got, probes included
asked() { platform log | jq -s 'map(select(.eventName == "Decrypt")) | length'; }

say "== not asked for"
configure
declare_secret db-password "$open_key" "$scratch/open"
before=$(asked)
run "no" 0 db-password
assert_equal "requests" $(($(asked) - before)) 1
assert_equal "policy in the status" "$(policy_of db-password)" null

say "== denied"
declare_secret db-password "$key" "$scratch/sealed"
for verify in warn yes; do
    configure VerifyPolicy=$verify
    before=$(asked)
    run "$verify" 0 db-password
    assert_equal "requests" $(($(asked) - before)) 2
    assert_equal "the last one, in CloudTrail" "$(platform log | jq -s 'map(select(.eventName == "Decrypt")) | last | .errorCode + " " + (.additionalEventData | tostring)' -r)" \
        'AccessDenied null'
    assert_equal "policy in the status" "$(policy_of db-password)" gates
    assert_no_line "a warning" "$log" 'gated|not known'
done

say "== allowed"
declare_secret db-password "$open_key" "$scratch/open"
declare_secret api-token "$key" "$scratch/other"
configure VerifyPolicy=warn
run warn 0 api-token db-password
assert_line "what is said" "$log" "^db-password: The key $open_key is not gated: .* the role $PLATFORM_INSTANCE_ROLE, whatever booted"
assert_equal "policies in the status" "$(policy_of db-password) $(policy_of api-token)" 'open gates'
configure VerifyPolicy=yes
run yes 66
assert_line "what is said" "$log" "^db-password: The key $open_key is not gated: .*the secret is not published"
assert_equal "the failure in the status" "$(jq -r .failure "$scratch/status")" policy
assert_equal "policy in the status" "$(policy_of db-password)" open
declare_secret db-password "$open_key" "$scratch/open" Optional=yes
run "yes, of an optional one" 0 api-token
assert_line "what is said" "$log" '^The optional secret db-password stays sealed: The key .* is not gated'
# A grant is not part of the policy and gives the same access.
rm "$config/secrets.d/db-password.secret"
declare_secret api-token "$key" "$scratch/other"
vendor_put_policy "$key" "$pcr4" "$pcr12"
policy=$(kms GetKeyPolicy "$(jq -nc --arg key "$key" '{KeyId: $key, PolicyName: "default"}')" | jq -c '.Policy | fromjson | .Statement |= map(select(.Effect == "Allow"))')
kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
run "yes, PCRs in an Allow alone" 0 api-token
grant=$(kms CreateGrant "$(jq -nc --arg key "$key" --arg role "$PLATFORM_INSTANCE_ROLE_ARN" '{KeyId: $key, GranteePrincipal: $role, Operations: ["Decrypt"]}')" | jq -r .GrantId)
run "yes, and a grant beside it" 66
kms RevokeGrant "$(jq -nc --arg key "$key" --arg grant "$grant" '{KeyId: $key, GrantId: $grant}')" >/dev/null
vendor_put_policy "$key" "$pcr4" "$pcr12"

say "== not known"
rm "$config"/secrets.d/*
declare_secret db-password "$key" "$scratch/sealed"
configure VerifyPolicy=warn
platform fault set kms DryRun throttle
run "warn, throttled" 0 db-password
assert_line "what is said" "$log" '^db-password: Whether KMS would give the secret without attestation is not known. KMS throttles'
assert_equal "policy in the status" "$(policy_of db-password)" unknown
assert_equal "tries" "$(platform fault list | cut -f5)" 3
configure VerifyPolicy=yes DeadlineSec=3s
last_words='Not within DeadlineSec=[0-9a-z]+, .* policy probe: Whether KMS .* is not known'
silence=$last_words
run "yes, throttled" 53
assert_line "what is said" "$log" "$silence"
platform fault clear
platform fault set kms DryRun throttle --times 2
configure VerifyPolicy=yes
run "yes, throttled twice" 0 db-password
assert_equal "policy in the status" "$(policy_of db-password)" gates
platform fault clear
# If the time runs out, unseald raises no alarm and publishes the secret.
platform fault set kms DryRun drop
configure VerifyPolicy=warn DeadlineSec=3s
last_words='is not known. No answer yet'
run "warn, silence" 0 db-password
assert_line "what is said" "$log" 'is not known. No answer yet'
platform fault clear

say "== many at once"
rm "$config"/secrets.d/*
for i in $(seq 20); do
    printf 'secret %s' "$i" | vendor_seal "$key" "many-$i" "$scratch/many-$i"
    declare_secret "many-$i" "$key" "$scratch/many-$i"
done
configure VerifyPolicy=yes
before=$(asked)
mapfile -t many < <(printf 'many-%s\n' {1..20} | sort)
run "yes, twenty secrets" 0 "${many[@]}"
assert_equal "requests" $(($(asked) - before)) 40
