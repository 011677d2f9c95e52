#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl policy audit: for each change that opens a key, or may open it, the test makes the change in the platform's KMS, shows
# by a request that it works where it does, and expects the audit to name it. Each is preceded by the key as it should be.
. "$(dirname "$0")/direct.sh"

unsealctl=$build/daemon/unsealctl
platform_start
platform extend 4 "the first image"
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
role=$PLATFORM_INSTANCE_ROLE_ARN
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements.json"
judged=(--measurements="$scratch/measurements.json" --admin="$admin" --sealer="$admin")
wanted=("${judged[@]}" --principal="$role")

# put_policy KEY [JQ] < POLICY: puts it, changed by the filter
put_policy() {
    jq -c "${2:-.}" >"$scratch/current.json"
    put "$1" <"$scratch/current.json"
}
put() { kms PutKeyPolicy "$(jq -c --arg key "$1" '{KeyId: $key, PolicyName: "default", Policy: tojson}')" >/dev/null; }
# audit STATUS [OPTION...]: as the vendor's administrator; leaves the output in $scratch/audit
audit() {
    local want=$1 saw=0
    shift
    platform exec -- "$unsealctl" policy audit --key="$key" "$@" >"$scratch/audit" 2>"$scratch/said" || saw=$?
    [ "$saw" = "$want" ] || die "audit $*: saw exit status $saw, wanted $want: $(cat "$scratch/audit" "$scratch/said")"
}
# grant JSON-MEMBERS...: makes grants, and prints their IDs. The policy of unsealctl policy lets nobody do so, so there is another one
# in the meantime.
grant() {
    local members
    jq -n --arg admin "$admin" '{Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: $admin}, Action: "kms:*", Resource: "*"}]}' |
        put "$key"
    for members; do kms CreateGrant "$(jq -nc --arg key "$key" "{KeyId: \$key, $members}")" | jq -r .GrantId; done
    put "$key" <"$scratch/current.json"
}
revoke() { kms RevokeGrant "$(jq -nc --arg key "$key" --arg id "$1" '{KeyId: $key, GrantId: $id}')" >/dev/null; }
# codes SEVERITY: the checks of the findings of the last --json with that severity
codes() { jq -rc --arg severity "$1" '[.findings[] | select(.severity == $severity) | .code // .check] | unique' "$scratch/audit"; }

key=$(vendor_create_key)
"$unsealctl" policy "${wanted[@]}" >"$scratch/policy.json"
# GetKeyPolicy and the like are not in the administrator's list of unsealctl policy if they are missing here.
put_policy "$key" <"$scratch/policy.json"

say "== the key as it should be"
audit 0 "${wanted[@]}"
assert_line "the summary" "$scratch/audit" '^0 errors, 0 not proven, 0 warnings, [0-9]+ notes$'
audit 0 "${wanted[@]}" --json
assert_equal "its notes" "$(codes note)" '["last-use","rotation"]'
audit 0 "${judged[@]}"
assert_no_line "no comparison without a principal" "$scratch/audit" '^[a-z]*: difference'

say "== grants"
base='GranteePrincipal: "'$role'"'
stranger=arn:aws:iam::333333333333:role/stranger
id=$(grant "$base, Operations: [\"DescribeKey\", \"RetireGrant\"]")
audit 0 "${judged[@]}"
assert_line "a harmless grant" "$scratch/audit" "^note: grant: $id to $role: The grant allows DescribeKey, RetireGrant, which gives nothing away"
revoke "$id"
id=$(grant "GranteePrincipal: \"$stranger\", Operations: [\"Decrypt\", \"GenerateDataKey\", \"ReEncryptFrom\"], Name: \"oops\"")
audit 3 "${judged[@]}"
assert_line "a grant that the Deny statements hold back" "$scratch/audit" "^warning: grant: $id oops to $stranger: .* Only the policy's Deny statements hold it back"
# Without these Deny statements the grant opens the key.
put_policy "$key" 'del(.Statement[] | select(.Effect == "Deny"))' <"$scratch/policy.json"
audit 4 "${judged[@]}"
assert_line "the same without them" "$scratch/audit" "^error: grant: $id oops to $stranger: The grant allows Decrypt, GenerateDataKey, ReEncryptFrom, and no Deny of the policy prevents it"
revoke "$id"
printf 'Hello World' >"$secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$secret"
request=$(jq -nc --rawfile blob "$scratch/sealed" '{CiphertextBlob: ($blob | rtrimstr("\n")), EncryptionContext: {"unseald:secret": "db-password"}}')
role_credentials() {
    platform exec --as instance -- curl -sS -H "X-aws-ec2-metadata-token: $(platform exec --as instance -- curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' http://169.254.169.254/latest/api/token)" \
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/$PLATFORM_INSTANCE_ROLE"
}
as_role() { # OPERATION JSON
    local credentials
    credentials=$(role_credentials)
    platform exec -- curl -sS --aws-sigv4 "aws:amz:$region:kms" --user "$(jq -r '"\(.AccessKeyId):\(.SecretAccessKey)"' <<<"$credentials")" \
        -H "X-Amz-Security-Token: $(jq -r .Token <<<"$credentials")" -H 'Content-Type: application/x-amz-json-1.1' \
        -H "X-Amz-Target: TrentService.$1" --cacert "$PLATFORM_CA_FILE" --data-binary "$2" "$PLATFORM_KMS_ENDPOINT/"
}
assert_match "the role without a grant" "$(as_role Decrypt "$request" | jq -r .__type)" 'AccessDeniedException$'
id=$(grant "$base, Operations: [\"Decrypt\"], Constraints: {EncryptionContextSubset: {\"unseald:secret\": \"db-password\"}}")
assert_equal "the role with one" "$(as_role Decrypt "$request" | jq -r .Plaintext | base64 -d)" "Hello World"
audit 4 "${judged[@]}"
assert_line "a constraint does not help" "$scratch/audit" "^error: grant: $id to $role: .* Its constraints do not count: the caller chooses the encryption context"
audit 4 "${judged[@]}" --json
assert_equal "its errors" "$(codes error)" '["grant"]'
put_policy "$key" <"$scratch/policy.json"
assert_match "the role where Deny statements hold it back" "$(as_role Decrypt "$request" | jq -r .__type)" 'AccessDeniedException$'
audit 3 "${judged[@]}"
revoke "$id"
id=$(grant "$base, Operations: [\"Encrypt\"]")
audit 3 "${judged[@]}"
put_policy "$key" 'del(.Statement[] | select(.Sid == "DenySealing"))' <"$scratch/policy.json"
audit 4 "${judged[@]}"
assert_line "a grant that makes ciphertext" "$scratch/audit" "^error: grant: $id to $role: The grant allows Encrypt, .*can choose what the instance takes"
assert_equal "and it does" "$(as_role Encrypt "$(jq -nc --arg key "$key" '{KeyId: $key, Plaintext: "QQ=="}')" | jq -r .KeyId)" "$key"
revoke "$id"
put_policy "$key" <"$scratch/policy.json"

say "== grants in pages: the last of 45 is found"
mapfile -t many < <(for i in $(seq 44); do echo "$base, Operations: [\"DescribeKey\"], Name: \"g$i\""; done)
grant "${many[@]}" "GranteePrincipal: \"$stranger\", Operations: [\"Decrypt\"], Name: \"last\"" >/dev/null
audit 3 "${judged[@]}"
assert_line "the last one" "$scratch/audit" '^warning: grant: [0-9a-f]* last to '
assert_equal "all of them" "$(grep -c ': grant: ' "$scratch/audit")" 45
# A grant on another page gives the same principal what the first one does not. Each one by itself is a warning.
grant "GranteePrincipal: \"$stranger\", Operations: [\"Encrypt\"], Name: \"more\"" >/dev/null
audit 4 "${judged[@]}"
assert_line "two grants together" "$scratch/audit" "^error: grant: $stranger: Each grant keeps the promises, but the grants together do not: "
assert_line "the one that makes ciphertext" "$scratch/audit" "^warning: grant: [0-9a-f]* more to $stranger: .*can choose the secrets\. If this is intended, audit with --sealer="
assert_no_line "neither by itself" "$scratch/audit" '^error: grant: [0-9a-f]* '
for id in $(kms ListGrants "$(jq -nc --arg key "$key" '{KeyId: $key, Limit: 100}')" | jq -r '.Grants[].GrantId'); do revoke "$id"; done
audit 0 "${judged[@]}"

say "== what KMS does not say is not proven"
for operation in DescribeKey ListGrants GetKeyPolicy; do
    platform fault set kms "$operation" error AccessDeniedException "not for you"
    audit 5 "${judged[@]}"
    assert_line "$operation is denied" "$scratch/audit" "^not proven: answer: $operation: KMS did not answer: "
    platform fault clear
done
for operation in ListAliases GetKeyRotationStatus GetKeyLastUsage; do
    platform fault set kms "$operation" error AccessDeniedException "not for you"
    audit 0 "${judged[@]}"
    assert_line "$operation is denied" "$scratch/audit" "^note: answer: $operation: KMS did not answer: "
    platform fault clear
done
put_policy "$key" '(.Statement[].Action | arrays) |= map(select(. != "kms:ListGrants"))' <"$scratch/policy.json"
audit 5 "${judged[@]}"
assert_line "the policy denies ListGrants" "$scratch/audit" '^not proven: answer: ListGrants: '
put_policy "$key" <"$scratch/policy.json"
platform fault set kms ListGrants garbage --times 1
audit 5 "${judged[@]}"
platform fault clear
platform fault set kms '*' error AccessDeniedException "not for you"
audit 60 "${judged[@]}"
platform fault clear
platform fault set kms '*' error AccessDeniedException "User: arn:aws:sts::111122223333:assumed-role/ci/run-7 is not authorized to perform: kms:DescribeKey"
audit 60 "${judged[@]}"
assert_line "who may audit" "$scratch/said" 'unsealctl policy --admin=arn:aws:iam::111122223333:role/ci"'
assert_line "what KMS does not say" "$scratch/said" '^unsealctl: KMS does not name the path of a role\.'
platform fault clear
platform fault set kms '*' error AccessDeniedException "User: arn:aws:iam::111122223333:user/team/eve is not authorized to perform: kms:DescribeKey"
audit 60 "${judged[@]}"
assert_line "a user" "$scratch/said" 'unsealctl policy --admin=arn:aws:iam::111122223333:user/team/eve"'
assert_no_line "its path is known" "$scratch/said" 'does not name the path'
platform fault clear

say "== the live policy"
put_policy "$key" '.Statement += [{Sid: "Debug", Effect: "Allow", Principal: {AWS: "'"$role"'"}, Action: "kms:PutKeyPolicy", Resource: "*"}] | del(.Statement[] | select(.Sid == "DenyAdministration"))' <"$scratch/policy.json"
audit 4 "${wanted[@]}"
assert_line "lint's finding" "$scratch/audit" '^error: put-key-policy: statement [0-9]*: '
assert_line "a statement too many" "$scratch/audit" '^warning: difference: statement [0-9]*: Debug: unsealctl policy would not write this statement'
assert_line "a statement too few" "$scratch/audit" '^warning: difference: DenyAdministration: The policy lacks a statement'
put_policy "$key" '(.Statement[] | select(.Sid == "Unseal") | .Principal.AWS) = ["'"$role"'", "arn:aws:iam::222222222222:role/more"]' <"$scratch/policy.json"
audit 3 "${wanted[@]}"
assert_line "a principal too many" "$scratch/audit" '^warning: difference: statement [0-9]*: Unseal: The statement differs from the one that unsealctl policy writes. It also has: Principal AWS arn:aws:iam::222222222222:role/more\.'
put_policy "$key" '.Statement |= reverse | .Id = "x" | .Statement[].Sid |= "S" + .' <"$scratch/policy.json"
audit 0 "${wanted[@]}"
audit 3 "${wanted[@]}" --lock-pcr=15
assert_line "another lock" "$scratch/audit" '^warning: difference: '
audit 4 --admin="$admin" --sealer="$admin" --measurements=<(jq '.Measurements.PCR4 = ("a1" * 48)' "$scratch/measurements.json")
assert_line "other measurements" "$scratch/audit" '^error: foreign-measurement: '
put_policy "$key" <"$scratch/policy.json"

say "== aliases, rotation and the last use"
kms CreateAlias "$(jq -nc --arg key "$key" '{TargetKeyId: $key, AliasName: "alias/billing"}')" >/dev/null
kms EnableKeyRotation "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
audit 0 "${judged[@]}"
assert_line "the alias" "$scratch/audit" '^note: alias: alias/billing: '
assert_line "the rotation" "$scratch/audit" '^note: rotation: KMS rotates the key material, next at 20[0-9-]* [0-9:]* UTC\.'
assert_line "the last use" "$scratch/audit" '^note: last-use: Encrypt: The key was last used at 20'

say "== states and origins"
kms DisableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
audit 3 "${judged[@]}"
assert_line "disabled" "$scratch/audit" '^warning: state: Disabled: '
kms ScheduleKeyDeletion "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
audit 3 "${judged[@]}"
assert_line "pending deletion" "$scratch/audit" '^warning: state: PendingDeletion: .* deletes it at 20'
key=$(kms CreateKey '{"Origin": "EXTERNAL"}' | jq -r .KeyMetadata.Arn)
put_policy "$key" <"$scratch/policy.json"
audit 5 "${judged[@]}"
assert_line "imported material" "$scratch/audit" '^not proven: origin: EXTERNAL: .*Whoever has a copy opens every ciphertext without KMS'

say "== replicas"
key=$(kms CreateKey '{"MultiRegion": true}' | jq -r .KeyMetadata.Arn)
put_policy "$key" <"$scratch/policy.json"
audit 0 "${judged[@]}"
kms ReplicateKey "$(jq -nc --arg key "$key" --arg to "$PLATFORM_OTHER_REGION" --rawfile policy "$scratch/policy.json" '{KeyId: $key, ReplicaRegion: $to, Policy: $policy}')" >/dev/null
replica=${key/$region/$PLATFORM_OTHER_REGION}
audit 0 "${judged[@]}"
assert_line "a replica with the same policy" "$scratch/audit" "^note: replica: $key: $replica: "
assert_line "it was asked" "$scratch/audit" "^note: rotation: $replica: "
# kms_far OPERATION JSON: at the replica's endpoint
kms_far() {
    region=$PLATFORM_OTHER_REGION PLATFORM_KMS_ENDPOINT=https://kms.$PLATFORM_OTHER_REGION.amazonaws.com kms "$@"
}
kms_far PutKeyPolicy "$(jq -c --arg key "$replica" '{KeyId: $key, PolicyName: "default", Policy: (.Statement |= map(select(.Effect == "Allow") | del(.Condition)) | tojson)}' "$scratch/policy.json")" >/dev/null
audit 4 "${judged[@]}"
assert_line "the replica's policy" "$scratch/audit" "^error: ungated-decrypt: $replica: statement"
assert_no_line "not the primary's" "$scratch/audit" "^error: [a-z-]*: $key"
main=$key key=$replica
audit 4 "${judged[@]}"
assert_line "asked from the replica, too" "$scratch/audit" "^note: rotation: $main: "
key=$main
kms_far PutKeyPolicy "$(jq -c --arg key "$replica" '{KeyId: $key, PolicyName: "default", Policy: tojson}' "$scratch/policy.json")" >/dev/null
audit 0 "${judged[@]}"
grant_far() {
    local region=$PLATFORM_OTHER_REGION PLATFORM_KMS_ENDPOINT=https://kms.$PLATFORM_OTHER_REGION.amazonaws.com key=$replica
    grant "$@"
}
grant_far "GranteePrincipal: \"$stranger\", Operations: [\"Decrypt\"]" >/dev/null
audit 3 "${judged[@]}"
assert_line "a grant on the replica" "$scratch/audit" "^warning: grant: $replica: "
# The other Region's endpoint is out of reach.
sed -i "/kms\.$PLATFORM_OTHER_REGION\./d" "$PLATFORM_HOSTS"
audit 5 "${judged[@]}"
assert_line "a replica that nobody can look at" "$scratch/audit" "^not proven: answer: $replica: GetKeyPolicy: "

say "== usage"
for options in "" "--key=alias/billing" "--key=$key --key=$key" "--key=$key extra" "--key=$key --conquer" "--key=$key --lock-pcr=x" \
    "--key=$key --principal=$role --measurements=$scratch/measurements.json --sealer=$role"; do
    status=0
    # shellcheck disable=SC2086
    platform exec -- "$unsealctl" policy audit $options >"$scratch/audit" 2>&1 || status=$?
    assert_equal "exit status of policy audit $options" "$status" 2
done
status=0
AWS_EC2_METADATA_DISABLED=true HOME=/nonexistent "$unsealctl" policy audit --key="$key" >"$scratch/audit" 2>&1 || status=$?
assert_equal "exit status without credentials" "$status" 41
