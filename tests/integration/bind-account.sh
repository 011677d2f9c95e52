#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# BindAccount=: a ciphertext that was sealed for one customer opens in that customer's account and in no other. This also holds
# when the metadata service, which the customer controls, names another account.
. "$(dirname "$0")/direct.sh"
direct_start
platform extend 4 "the image"

own=$PLATFORM_CUSTOMER_ACCOUNT other=999988887777
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
key=$(vendor_create_key)
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
make_policy() { "$build/daemon/unsealctl" policy --admin="$admin" --sealer="$admin" --account="$own" --account="$other" --measurements="$scratch/measurements" "$@"; }
put_policy() { kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$(cat)" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null; }
make_policy --bind-account | put_policy
vendor_seal "$key" db-password "$scratch/own" "$own" <"$secret"
vendor_seal "$key" db-password "$scratch/other" "$other" <"$secret"
vendor_seal "$key" db-password "$scratch/unbound" <"$secret"
configure

# try WHAT STATUS TEXT SEALED [LINE...]: runs unseald with this secret and asserts exit status and message
try() {
    local what=$1 status=$2 text=$3 sealed=$4
    shift 4
    declare_secret db-password "$key" "$sealed" "$@"
    unseald_start
    unseald_finish
    assert_equal "$what: exit status" "$unseald_status" "$status"
    assert_line "$what: what is said" "$log" "$text"
    say "$what: $status, '$text'"
}
on_ready() { cmp "$store/db-password" "$secret" || die "it is not the secret"; }

try "one's own" 0 '^Ready' "$scratch/own" BindAccount=yes
try "another customer's" 62 'InvalidCiphertextException.*BindAccount=' "$scratch/other" BindAccount=yes
try "nobody's, under BindAccount=" 62 'InvalidCiphertextException' "$scratch/unbound" BindAccount=yes
try "one's own without BindAccount=" 60 'denies access' "$scratch/own"
try "nobody's without BindAccount=, under a policy that wants it" 60 'denies access' "$scratch/unbound"
asked() { platform log | jq -s 'map(select(.eventName == "identity")) | length'; }
assert_equal "requests for the account, only where it is wanted" "$(asked)" 3

platform account "$other"
try "another customer's, by an IMDS that names it" 60 'denies access' "$scratch/other" BindAccount=yes
# The key's policy makes the difference. If it does not compare the account, it is enough to name another account.
make_policy | put_policy
try "the same under a policy that forgets to compare" 0 '^Ready' "$scratch/other" BindAccount=yes
platform account own
