#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl policy test: under a good policy, under policies that are open, as another machine, and where KMS does not answer.
. "$(dirname "$0")/direct.sh"

unsealctl=$build/daemon/unsealctl
platform_start
platform extend 4 "the image"
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
role=$PLATFORM_INSTANCE_ROLE_ARN
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements.json"
key=$(vendor_create_key)
"$unsealctl" policy --measurements="$scratch/measurements.json" --admin="$admin" --sealer="$admin" --principal="$role" >"$scratch/policy.json"
# put [JQ]: the policy of unsealctl policy, changed by the filter
put() {
    kms PutKeyPolicy "$(jq -c --arg key "$key" "${1:-.}"' | {KeyId: $key, PolicyName: "default", Policy: tojson}' "$scratch/policy.json")" >/dev/null
}
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "kms:*", Resource: "*"}]}' >"$scratch/identity"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/identity"

# try STATUS WHO [OPTION...]: as instance or vendor; leaves the output in $scratch/out
try() {
    local want=$1 who=$2 saw=0
    shift 2
    platform exec --as "$who" -- "$unsealctl" policy test --key="$key" --trusted-certificates="$PLATFORM_CA_FILE" "$@" >"$scratch/out" 2>&1 || saw=$?
    [ "$saw" = "$want" ] || die "policy test $*: saw exit status $saw, wanted $want: $(cat "$scratch/out")"
}
own=(--device="$PLATFORM_TCTI" --name=db-password)
# answers: those of the last --json
answers() { jq -rc '[.questions[].answer]' "$scratch/out"; }

say "== a good policy"
put
try 0 instance "${own[@]}"
assert_line "the summary" "$scratch/out" '^As it should be, for these credentials\.$'
assert_line "own document" "$scratch/out" "^Decrypt  *this machine's document  *allow  *allowed$"
assert_line "no document" "$scratch/out" '^Decrypt  *no document  *deny  *denied$'
try 0 instance "${own[@]}" --json
assert_equal "answers" "$(answers)" '["allowed","denied","notAsked","denied","denied"]'
assert_equal "decrypted" "$(platform log | jq -s 'map(select(.eventName == "Decrypt" and .requestParameters.dryRun != true)) | length')" 0

say "== another machine: its document is denied, and is the proof that PCRs count"
openssl genrsa -out "$scratch/key.pem" 2048 2>/dev/null
openssl pkey -in "$scratch/key.pem" -pubout -outform DER -out "$scratch/public.der"
platform extend 8 "something that no policy pins"
platform exec --as instance -- "$unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/public.der" --output="$scratch/same"
platform tpm-reset
platform extend 4 "another image"
platform exec --as instance -- "$unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/public.der" --output="$scratch/other"
try 60 instance "${own[@]}" --json
assert_equal "answers to another machine" "$(answers)" '["denied","denied","notAsked","notAsked","notAsked"]'
try 60 instance "${own[@]}"
assert_line "it is told" "$scratch/out" '^KMS denies this machine\.'
assert_line "why the rest was left out" "$scratch/out" '^Encrypt .* not asked, KMS did not allow the first request$'
platform tpm-reset
platform extend 4 "the image"
try 0 instance "${own[@]}" --other-document="$scratch/other" --json
assert_equal "answers with another's document" "$(answers)" '["allowed","denied","denied","denied","denied"]'
try 66 instance "${own[@]}" --other-document="$scratch/same"
assert_line "a document that the policy accepts is no other machine's" "$scratch/out" '^Decrypt  *the other document  *deny  *WRONG: allowed$'
head -c 100 "$scratch/other" >"$scratch/broken"
try 5 instance "${own[@]}" --other-document="$scratch/broken"
assert_line "a document that is none proves nothing" "$scratch/out" '^Decrypt  *the other document  *deny  *not known: '

say "== open policies"
put '.Statement |= map(select(.Effect == "Allow")) | (.Statement[] | select(.Sid == "Unseal")) |= del(.Condition)'
try 66 instance "${own[@]}"
assert_line "it is told" "$scratch/out" '^Decrypt  *no document  *deny  *WRONG: allowed$'
assert_line "and summed up" "$scratch/out" '^The key is open'
try 66 instance --device="$PLATFORM_TCTI" --other-document="$scratch/other" --json
assert_equal "answers" "$(answers)" '["allowed","allowed","allowed","denied","denied"]'
put '(.Statement[] | select(.Sid == "Unseal") | .Action) |= ["kms:Decrypt", "kms:GenerateDataKey"] | .Statement |= map(select(.Effect == "Allow")) | .Statement += [{Effect: "Allow", Principal: {AWS: "'"$role"'"}, Action: "kms:GenerateDataKey", Resource: "*"}]'
try 66 instance "${own[@]}" --json
assert_equal "a data key" "$(answers)" '["allowed","denied","notAsked","allowed","denied"]'
put '.Statement |= map(select(.Sid != "DenySealing")) | .Statement += [{Effect: "Allow", Principal: {AWS: "'"$role"'"}, Action: "kms:Encrypt", Resource: "*"}]'
try 66 instance "${own[@]}" --json
assert_equal "ciphertext" "$(answers)" '["allowed","denied","notAsked","denied","allowed"]'

say "== the vendor, who has no NitroTPM"
put
try 0 vendor --name=db-password --json
[ -e /dev/tpm0 ] || assert_equal "answers" "$(answers)" '["notAsked","denied","notAsked","notAsked","notAsked"]'
try 0 vendor --name=db-password
[ -e /dev/tpm0 ] || assert_line "the summary says what was not asked" "$scratch/out" '^KMS denies what it should deny, .* was not asked\.$'
[ -e /dev/tpm0 ] || assert_no_line "the summary promises nothing more" "$scratch/out" '^As it should be'
put '.Statement += [{Effect: "Allow", Principal: {AWS: "'"$admin"'"}, Action: "kms:Decrypt", Resource: "*"}] | .Statement |= map(select(.Effect == "Allow"))'
try 66 vendor
put '(.Statement[] | select(.Sid == "Unseal") | .Condition) += {StringEquals: {"kms:EncryptionContext:unseald:secret": "db-password"}}'
try 0 instance "${own[@]}"
try 60 instance --device="$PLATFORM_TCTI" --name=api-token

say "== no answer"
put
platform fault set kms DryRun throttle
try 5 instance "${own[@]}"
assert_line "it is told" "$scratch/out" '^Not proven: '
platform fault clear
kms DisableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
try 5 instance "${own[@]}"
assert_line "a disabled key" "$scratch/out" '^Decrypt  *this machine.s document  *allow  *not known: '
kms EnableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
try 20 instance --device="swtpm:path=$scratch/none"

say "== usage"
for options in "" "--key=alias/billing" "--key=$key extra" "--key=$key --context=x" "--key=$key --name=a --name=b" "--key=$key --conquer"; do
    status=0
    # shellcheck disable=SC2086
    "$unsealctl" policy test $options >"$scratch/out" 2>&1 || status=$?
    assert_equal "exit status of policy test $options" "$status" 2
done
