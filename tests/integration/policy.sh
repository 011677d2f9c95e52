#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts key policies of unsealctl policy into KMS. Shows which requests get the secret, which do not, and what lint says.
. "$(dirname "$0")/direct.sh"

unsealctl=$build/daemon/unsealctl
platform_start
platform extend 4 "the first image"
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
role=$PLATFORM_INSTANCE_ROLE_ARN
key=$(vendor_create_key)
printf 'Hello World' >"$secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$secret"
configure
declare_secret db-password "$key" "$scratch/sealed"

# measure FILE: writes the PCRs that the TPM has now
measure() {
    jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
        '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$1"
}
# make_policy OPTION...
make_policy() { "$unsealctl" policy --admin="$admin" --sealer="$admin" "$@"; }
# put_policy < POLICY
put_policy() {
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$(cat)" '{KeyId: $key, PolicyName: "default", Policy: $policy}')"
}
# unseal WHAT STATUS: runs unseald without a service manager
unseal() {
    unseald_start
    unseald_finish
    [ "$unseald_ready" = "$([ "$2" = 0 ] && echo yes)" ] && [ "$unseald_status" = "$2" ] ||
        die "$1: saw status $unseald_status (ready: $unseald_ready), wanted $2: $(tail -n 20 "$log")"
    if [ "$2" = 0 ]; then say "  $1: unsealed"; else say "  $1: denied"; fi
}
# lint STATUS ARGUMENT...: leaves the output in $scratch/lint
lint() {
    local want=$1 saw=0
    shift
    "$unsealctl" policy lint "$@" >"$scratch/lint" 2>&1 || saw=$?
    [ "$saw" = "$want" ] || die "policy lint $*: saw exit status $saw, wanted $want: $(cat "$scratch/lint")"
}

# denied COMMAND OPERATION JSON: KMS denies the request that the command (kms, role_kms) sends
denied() {
    ! "$1" "$2" "$3" >"$scratch/reply" 2>/dev/null || die "$1 $2 is allowed: $(cat "$scratch/reply")"
    assert_match "$1 $2" "$(jq -r .__type "$scratch/reply")" 'AccessDeniedException$'
    say "  $1 $2: denied"
}
decrypt_request() {
    jq -nc --arg key "$key" --rawfile blob "$scratch/sealed" \
        '{KeyId: $key, CiphertextBlob: ($blob | rtrimstr("\n")), EncryptionContext: {"unseald:secret": "db-password"}}'
}

say "one image"
measure "$scratch/first.json"
make_policy --principal="$role" --measurements="$scratch/first.json" >"$scratch/policy.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" - <"$scratch/policy.json"
assert_equal "what lint says" "$(cat "$scratch/lint")" "0 errors, 0 warnings, 0 notes"
put_policy <"$scratch/policy.json"
unseal "the image" 0

say "a policy and measurements as PowerShell writes them"
iconv -f UTF-8 -t UTF-16 "$scratch/policy.json" >"$scratch/utf16"
lint 4 "$scratch/utf16"
assert_line "the policy" "$scratch/lint" '^error: malformed: the policy: This is text in UTF-16, not JSON\. Convert it with "iconv '
(printf '\357\273\277' && cat "$scratch/policy.json") >"$scratch/marked"
lint 4 "$scratch/marked"
assert_line "the policy" "$scratch/lint" '^error: malformed: the policy: This is UTF-8 text behind a byte order mark, not JSON\. Remove .* utf8NoBOM\)\.'
jq '{Resources: {Key: {Type: "AWS::KMS::Key", Properties: {KeyPolicy: .}}}}' "$scratch/policy.json" >"$scratch/template"
lint 4 "$scratch/template"
assert_line "a template" "$scratch/lint" '^error: malformed: the policy: This is a template of CloudFormation\. Give the KeyPolicy'
iconv -f UTF-8 -t UTF-16 "$scratch/first.json" >"$scratch/utf16"
lint 1 --measurements="$scratch/utf16" "$scratch/policy.json"
assert_line "the measurements" "$scratch/lint" 'utf16: The expected measurements are text in UTF-16, not JSON\. Convert it with "iconv '

say "--output="
for format in '' --terraform --cloudformation; do
    echo old >"$scratch/written"
    make_policy --principal="$role" --measurements="$scratch/first.json" $format >"$scratch/printed"
    make_policy --principal="$role" --measurements="$scratch/first.json" $format --output="$scratch/written" >"$scratch/said"
    cmp "$scratch/written" "$scratch/printed" || die "--output= $format writes another policy"
    [ ! -s "$scratch/said" ] || die "--output= $format also prints: $(head -n 3 "$scratch/said")"
done
make_policy --principal="$role" --measurements="$scratch/first.json" -o - | cmp - "$scratch/policy.json" || die "-o - writes another policy"
make_policy --principal=nobody --measurements="$scratch/first.json" -o "$scratch/written" 2>"$scratch/said" && die "nobody is a principal"
assert_line "what is expected" "$scratch/said" 'nobody is not the ARN .*Expected one such as arn:aws:iam::'
for text in 'arn:aws:sts::222222222222:assumed-role/app/i-0123 is .*a session of a role\. Give the role' \
    'arn:aws:iam::222222222222:instance-profile/app is .*an instance profile\. Give the role in it' \
    'arn:aws:iam::222222222222:group/app is .*no group'; do
    ! make_policy --principal="${text%% *}" --measurements="$scratch/first.json" >"$scratch/out" 2>"$scratch/said" ||
        die "${text%% *} is a principal"
    assert_line "what else" "$scratch/said" "$text"
done
cmp "$scratch/written" "$scratch/printed" || die "a failure touched the existing output"
! make_policy --principal="$role" --measurements="$scratch/first.json" -o "$scratch/none/policy" 2>"$scratch/said" ||
    die "written into a directory that is not there"
assert_line "a directory that is not there" "$scratch/said" 'Cannot write .*/none/policy: No such file or directory'

say "the role without a document"
reencrypt=$(decrypt_request | jq -c '{CiphertextBlob, SourceKeyId: .KeyId, SourceEncryptionContext: .EncryptionContext, DestinationKeyId: .KeyId}')
grant=$(jq -nc --arg key "$key" --arg role "$role" '{KeyId: $key, GranteePrincipal: $role, Operations: ["Decrypt"]}')
denied role_kms Decrypt "$(decrypt_request)"
denied role_kms ReEncrypt "$reencrypt"
denied role_kms CreateGrant "$grant"
denied role_kms GenerateDataKey "$(jq -nc --arg key "$key" '{KeyId: $key, KeySpec: "AES_256"}')"
denied role_kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')"

denied role_kms Encrypt "$(jq -nc --arg key "$key" '{KeyId: $key, Plaintext: "QQ==", EncryptionContext: {"unseald:secret": "db-password"}}')"
denied role_kms GenerateDataKeyWithoutPlaintext "$(jq -nc --arg key "$key" '{KeyId: $key, KeySpec: "AES_256"}')"

say "the administrator, whose identity policy allows everything"
denied kms Decrypt "$(decrypt_request)"
denied kms ReEncrypt "$reencrypt"
denied kms CreateGrant "$grant"
put_policy <"$scratch/policy.json"

say "another kernel command line"
platform extend 12 "init=/bin/sh"
unseal "the image with PCR12 extended" 60
measure "$scratch/second.json"

say "a third-party driver"
platform tpm-reset
platform extend 4 "the first image"
platform extend 2 "a driver"
unseal "the image with PCR2 extended" 60
assert_line "PCR2 is told of" "$log" 'PCR2 .* SHOWS third-party drivers in the firmware'
make_policy --principal="$role" --measurements="$scratch/first.json" --allow-drivers >"$scratch/drivers.json"
lint 3 --admin="$admin" --measurements="$scratch/first.json" "$scratch/drivers.json"
assert_line "lint says so" "$scratch/lint" '^warning: pcr2-missing: statement 3 "Unseal", '
put_policy <"$scratch/drivers.json"
unseal "the same where drivers are allowed" 0
lint 0 --admin="$admin" --measurements="$scratch/first.json" --allow-drivers "$scratch/drivers.json"
jq --arg pcr2 "$(pcr 2)" '.Measurements.PCR2 = $pcr2' "$scratch/first.json" >"$scratch/driven.json"
make_policy --principal="$role" --measurements="$scratch/driven.json" >"$scratch/driven-policy.json"
lint 0 --admin="$admin" --measurements="$scratch/driven.json" "$scratch/driven-policy.json"
put_policy <"$scratch/driven-policy.json"
unseal "the same where its PCR2 is among the measurements" 0
platform tpm-reset
platform extend 4 "the first image"
unseal "and without the driver" 60
lint 4 --admin="$admin" --measurements="$scratch/first.json" "$scratch/driven-policy.json"
assert_line "the driver's PCR2 is foreign to the image" "$scratch/lint" '^error: foreign-measurement: '
put_policy <"$scratch/policy.json"

say "a system extension from outside the image"
platform extend 13 "an extension"
unseal "the image with PCR13 extended" 60
make_policy --principal="$role" --measurements="$scratch/first.json" --no-pcr13 >"$scratch/extensions.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" "$scratch/extensions.json"
assert_line "lint says so" "$scratch/lint" '^note: pcr13-missing: statement 3 "Unseal", '
put_policy <"$scratch/extensions.json"
unseal "the same where extensions are allowed" 0
platform tpm-reset
platform extend 4 "the first image"
put_policy <"$scratch/policy.json"

say "a rolling update: the second image differs in PCR4 and in PCR12"
platform tpm-reset
platform extend 4 "the second image"
unseal "the second image before it" 60
platform extend 12 "a command line of its own"
measure "$scratch/second.json"
make_policy --principal="$role" --measurements="$scratch/first.json" --measurements="$scratch/second.json" >"$scratch/both.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" --measurements="$scratch/second.json" "$scratch/both.json"
lint 4 --admin="$admin" --measurements="$scratch/first.json" "$scratch/both.json"
assert_line "the second is foreign to the first" "$scratch/lint" '^error: foreign-measurement: statement 4 "UnsealImage2"'
put_policy <"$scratch/both.json"
unseal "the second image" 0
platform tpm-reset
platform extend 4 "the second image"
unseal "the second image with the first's PCR12" 60
platform tpm-reset
platform extend 4 "the first image"
unseal "the first image" 0

say "a whole account, and nothing after the lock"
make_policy --account="$PLATFORM_CUSTOMER_ACCOUNT" --measurements="$scratch/first.json" --lock-pcr=15 >"$scratch/account.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" "$scratch/account.json"
put_policy <"$scratch/account.json"
unseal "a role of the account" 0
platform extend 15 "the lock"
unseal "the same after the lock" 60

say "secrets bound to accounts: this one is not"
platform tpm-reset
platform extend 4 "the first image"
make_policy --principal="$role" --measurements="$scratch/first.json" --bind-account >"$scratch/bound.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" "$scratch/bound.json"
put_policy <"$scratch/bound.json"
unseal "a secret that is not bound" 60

say "recovery"
make_policy --principal="$role" --measurements="$scratch/first.json" --recovery-principal="$admin" >"$scratch/recovery.json"
lint 4 --admin="$admin" "$scratch/recovery.json"
assert_line "recovery is named" "$scratch/lint" '^error: ungated-decrypt: .*RecoverWithoutAttestation'
lint 0 --admin="$admin" --recovery-principal="$admin" "$scratch/recovery.json"
assert_line "recovery is noted" "$scratch/lint" '^note: recovery-principal: '
put_policy <"$scratch/recovery.json"
assert_equal "what is recovered" \
    "$(kms Decrypt "$(decrypt_request)" | jq -r .Plaintext | base64 -d)" "Hello World"
denied role_kms Decrypt "$(decrypt_request)"

say "other forms"
make_policy --principal="$role" --measurements="$scratch/first.json" --bind-account --cloudformation | 
    jq .Resources.UnsealdKey.Properties.KeyPolicy >"$scratch/embedded.json"
diff <(jq -S . "$scratch/bound.json") <(jq -S . "$scratch/embedded.json")
make_policy --account="$PLATFORM_CUSTOMER_ACCOUNT" --measurements="$scratch/first.json" --bind-account --terraform >"$scratch/key.tf"
assert_line "a variable of the policy is none of Terraform's" "$scratch/key.tf" '"\$\${aws:PrincipalAccount}"'
"$unsealctl" policy --role-policy --key="$key" >"$scratch/role.json"
assert_equal "the key of the role's policy" "$(jq -r '.Statement[0].Resource' "$scratch/role.json")" "$key"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/role.json"
put_policy <"$scratch/policy.json"
unseal "with the role's policy" 0

say "KMS's default policy, as lint sees it"
jq -nc --arg root "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:root" \
    '{Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: $root}, Action: "kms:*", Resource: "*"}]}' >"$scratch/default.json"
lint 4 --json "$scratch/default.json"
assert_equal "its errors" "$(jq -rc '[.findings[] | select(.severity == "error") | .code]' "$scratch/lint")" \
    '["root-delegation","re-encrypt","put-key-policy","create-grant","replicate-key","import-key-material","encrypt","generate-data-key"]'

say "what aws kms get-key-policy prints"
jq -n --rawfile policy "$scratch/policy.json" '{Policy: $policy, PolicyName: "default"}' >"$scratch/answer.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" "$scratch/answer.json"
jq -n --rawfile policy "$scratch/default.json" '{Policy: $policy, PolicyName: "default"}' >"$scratch/answer.json"
lint 4 "$scratch/answer.json"

say "a principal that makes ciphertext chooses the secrets"
jq --arg role "$role" '.Statement += [{Effect: "Allow", Principal: {AWS: ($role | sub("role/.*"; "root"))}, Action: "kms:Encrypt", Resource: "*"}] |
    del(.Statement[] | select(.Sid == "DenySealing"))' "$scratch/policy.json" >"$scratch/encrypts.json"
lint 4 --admin="$admin" --measurements="$scratch/first.json" "$scratch/encrypts.json"
assert_line "the account that unseals" "$scratch/lint" '^error: encrypt: '
sealer="arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:role/ci"
"$unsealctl" policy --admin="$admin" --sealer="$sealer" --principal="$role" --measurements="$scratch/first.json" >"$scratch/sealer.json"
lint 0 --admin="$admin" --measurements="$scratch/first.json" "$scratch/sealer.json"
assert_line "the sealer is named" "$scratch/lint" '^note: sealer: .*role/ci'
lint 0 --admin="$admin" --sealer="$sealer" --measurements="$scratch/first.json" "$scratch/sealer.json"
assert_equal "the sealer is declared" "$(cat "$scratch/lint")" "0 errors, 0 warnings, 0 notes"
assert_equal "the sealer makes data keys" \
    "$(jq -c '.Statement[] | select(.Sid == "Seal") | .Action' "$scratch/sealer.json")" \
    '["kms:Encrypt","kms:GenerateDataKey","kms:GenerateDataKeyWithoutPlaintext"]'
status=0
"$unsealctl" policy --admin="$admin" --sealer="$role" --principal="$role" --measurements="$scratch/first.json" >"$scratch/out" 2>&1 || status=$?
assert_equal "exit status for a sealer that unseals" "$status" 2

say "usage"
lint 2
lint 2 --conquer "$scratch/policy.json"
lint 1 "$scratch/none"
lint 3 --admin="$admin" - <<<"$(jq 'del(.Statement[] | select(.Effect == "Deny"))' "$scratch/policy.json")"
assert_line "no Deny" "$scratch/lint" '^warning: no-deny: the policy'
for options in "" "--principal=$role" "--measurements=$scratch/first.json" "--principal=* --measurements=$scratch/first.json" \
    "--principal=$role --measurements=$scratch/first.json --secure-boot" "--account=12 --measurements=$scratch/first.json" \
    "--principal=$role --measurements=$scratch/first.json --lock-pcr=x" "--role-policy --key=alias/a" "extra"; do
    status=0
    # shellcheck disable=SC2086
    make_policy $options >"$scratch/out" 2>&1 || status=$?
    assert_equal "exit status of policy $options" "$status" 2
done
status=0
"$unsealctl" policy --principal="$role" --measurements="$scratch/first.json" >"$scratch/out" 2>"$scratch/err" || status=$?
assert_equal "exit status without an administrator" "$status" 0
assert_line "that is said" "$scratch/err" 'BypassPolicyLockoutSafetyCheck'
