#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The local platform's KMS, in what shows how a key lives: lists in pages, aliases, rotation, the last use, replicas, states and dry
# runs. curl signs the requests. Each operation is also refused where AWS refuses it.
. "$(dirname "$0")/direct.sh"
platform_start

# ask OPERATION JSON [REGION [vendor|customer|role]]: leaves the answer in $scratch/answer. $said is the error's code, or "ok".
ask() {
    local where=${3:-$region} id=$PLATFORM_VENDOR_ACCESS_KEY_ID secret_key=$PLATFORM_VENDOR_SECRET_ACCESS_KEY
    local token=() role
    case ${4:-vendor} in
    customer) id=$PLATFORM_CUSTOMER_ACCESS_KEY_ID secret_key=$PLATFORM_CUSTOMER_SECRET_ACCESS_KEY ;;
    role)
        role=$(imds "security-credentials/$PLATFORM_INSTANCE_ROLE")
        id=$(jq -r .AccessKeyId <<<"$role") secret_key=$(jq -r .SecretAccessKey <<<"$role")
        token=(-H "X-Amz-Security-Token: $(jq -r .Token <<<"$role")")
        ;;
    esac
    platform exec -- curl -sS --aws-sigv4 "aws:amz:$where:kms" --user "$id:$secret_key" "${token[@]}" -H 'Content-Type: application/x-amz-json-1.1' \
        -H "X-Amz-Target: TrentService.$1" --cacert "$PLATFORM_CA_FILE" --data-binary "$2" "https://kms.$where.amazonaws.com/" >"$scratch/answer"
    said=$(jq -r 'if .__type then .__type | split("#")[-1] else "ok" end' <"$scratch/answer")
    said=${said:-ok}
}
# imds WORD: what IMDS says under iam/
imds() {
    local token
    token=$(platform exec --as instance -- curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' http://169.254.169.254/latest/api/token)
    platform exec --as instance -- curl -sS -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/iam/$1"
}
# may ACTION...: the identity policy of the instance's role
may() {
    jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: $ARGS.positional, Resource: "*"}]}' --args "$@" >"$scratch/identity"
    platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/identity"
}
# wants CODE OPERATION JSON [REGION [WHO]]
wants() {
    ask "${@:2}"
    [ "$said" = "$1" ] || die "$2 $3: saw $said, wanted $1: $(<"$scratch/answer")"
}
# is JQ VALUE: about the last answer
is() { assert_equal "$1" "$(jq -rc "$1" <"$scratch/answer")" "$2"; }
# of [MEMBERS]: a request about the key
of() { jq -nc --arg key "$key" "{KeyId: \$key, ${1:-}}"; }

key=$(vendor_create_key)
alias_request=$(jq -nc --arg key "$key" '{TargetKeyId: $key, AliasName: "alias/billing"}')

say "== grants, in pages"
for i in 1 2 3 4 5; do
    wants ok CreateGrant "$(of "GranteePrincipal: \"arn:aws:iam::222222222222:role/r$i\", Operations: [\"Decrypt\"], Name: \"g$i\"")"
done
wants DryRunOperationException CreateGrant "$(of 'GranteePrincipal: "arn:aws:iam::222222222222:role/r9", Operations: ["Decrypt"], DryRun: true')"
wants ValidationException CreateGrant "$(of 'GranteePrincipal: "arn:aws:iam::222222222222:role/r9", Operations: ["Fly"]')"
wants ok ListGrants "$(of)"
is '[.Grants[].Name]' '["g1","g2","g3","g4","g5"]'
is '.Truncated' false
is 'has("NextMarker")' false
id=$(jq -r '.Grants[1].GrantId' <"$scratch/answer")
seen='' marker=''
for _ in 1 2 3; do
    wants ok ListGrants "$(of "Limit: 2${marker:+, Marker: \"$marker\"}")"
    seen+=$(jq -r '[.Grants[].Name] | join("")' <"$scratch/answer")
    marker=$(jq -r '.NextMarker // ""' <"$scratch/answer")
done
assert_equal "all pages" "$seen$marker" g1g2g3g4g5
wants InvalidMarkerException ListGrants "$(of 'Marker: "made-up"')"
wants ValidationException ListGrants "$(of 'Limit: 0')"
wants ok ListGrants "$(of 'Limit: 100')"
wants ValidationException ListGrants "$(of 'Limit: 101')"
wants ValidationException ListAliases "$(of 'Limit: 101')"
wants ok ListGrants "$(of "GrantId: \"$id\"")"
is '[.Grants[].Name]' '["g2"]'
wants ok ListGrants "$(of 'GranteePrincipal: "arn:aws:iam::222222222222:role/r3"')"
is '[.Grants[].Name]' '["g3"]'
wants AccessDeniedException ListGrants "$(of)" "$region" customer
wants ok RevokeGrant "$(of "GrantId: \"$id\"")"
wants NotFoundException RevokeGrant "$(of "GrantId: \"$id\"")"
wants ok ListGrants "$(of)"
is '[.Grants[].Name] | sort' '["g1","g3","g4","g5"]'

say "== aliases"
wants ok ListAliases "$(of)"
is .Aliases '[]'
wants ok CreateAlias "$alias_request"
wants ok ListAliases "$(of)"
is '[.Aliases[] | [.AliasName, .AliasArn, .TargetKeyId]]' "[[\"alias/billing\",\"arn:aws:kms:$region:$PLATFORM_VENDOR_ACCOUNT:alias/billing\",\"${key##*/}\"]]"
other=$(vendor_create_key)
wants ok ListAliases "$(jq -nc --arg key "$other" '{KeyId: $key}')"
is .Aliases '[]'
wants ok ListAliases '{}' "$region" customer
is .Aliases '[]'
wants AccessDeniedException ListAliases "$(of)" "$region" customer

say "== rotation"
wants ok GetKeyRotationStatus "$(of)"
is '[.KeyId, .KeyRotationEnabled, has("NextRotationDate")]' "[\"$key\",false,false]"
wants ValidationException EnableKeyRotation "$(of 'RotationPeriodInDays: 30')"
wants ok EnableKeyRotation "$(of)"
wants ok GetKeyRotationStatus "$(of)"
is '[.KeyRotationEnabled, .RotationPeriodInDays]' '[true,365]'
wants ok DisableKeyRotation "$(of)"
wants ok GetKeyRotationStatus "$(of)"
is .KeyRotationEnabled false
wants NotFoundException GetKeyRotationStatus '{"KeyId": "alias/billing"}'
wants AccessDeniedException GetKeyRotationStatus "$(of)" "$region" customer

say "== the last use, which is no dry run and no refusal"
wants ok GetKeyLastUsage "$(of)"
is '[.KeyId, has("KeyLastUsage"), .KeyCreationDate > 0, .TrackingStartDate > 0]' "[\"$key\",false,true,true]"
wants DryRunOperationException Encrypt "$(of 'Plaintext: "QQ==", DryRun: true')"
wants DryRunOperationException GenerateDataKey "$(of 'KeySpec: "AES_256", DryRun: true')"
wants AccessDeniedException Encrypt "$(of 'Plaintext: "QQ=="')" "$region" customer
wants ok GetKeyLastUsage "$(of)"
is 'has("KeyLastUsage")' false
wants ok Encrypt "$(of 'Plaintext: "QQ=="')"
blob=$(jq -r .CiphertextBlob <"$scratch/answer")
wants ok GetKeyLastUsage "$(of)"
is .KeyLastUsage.Operation Encrypt
is .KeyLastUsage.CloudTrailEventId "$(platform log | jq -r 'select(.eventName == "Encrypt" and .errorCode == null) | .eventID')"
wants NotFoundException GetKeyLastUsage '{"KeyId": "alias/billing"}'

say "== dry runs without a ciphertext"
wants DryRunOperationException Decrypt "$(of "CiphertextBlob: \"$blob\", DryRun: true")"
wants DryRunOperationException Decrypt "$(of 'DryRun: true, DryRunModifiers: ["IGNORE_CIPHERTEXT"]')"
wants ValidationException Decrypt "$(of 'DryRun: true')"
wants ValidationException Decrypt "$(of 'DryRunModifiers: ["IGNORE_CIPHERTEXT"]')"
wants ValidationException Decrypt "$(of 'DryRun: false, DryRunModifiers: ["IGNORE_CIPHERTEXT"]')"
wants ValidationException Decrypt "$(of 'DryRun: true, DryRunModifiers: ["IGNORE_ME"]')"
wants ValidationException Decrypt '{"DryRun": true, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}'
wants AccessDeniedException Decrypt "$(of 'DryRun: true, DryRunModifiers: ["IGNORE_CIPHERTEXT"]')" "$region" customer
# ReEncrypt needs both keys; each half is denied by itself.
two() { jq -nc --arg from "$key" --arg to "$other" "{SourceKeyId: \$from, DestinationKeyId: \$to, $1}"; }
wants DryRunOperationException ReEncrypt "$(two 'DryRun: true, DryRunModifiers: ["IGNORE_CIPHERTEXT"]')"
wants ValidationException ReEncrypt "$(two 'DryRun: true')"
wants AccessDeniedException ReEncrypt "$(two 'DryRun: true, DryRunModifiers: ["IGNORE_CIPHERTEXT"]')" "$region" customer
wants DryRunOperationException RetireGrant "$(of 'GrantId: "'"$(kms ListGrants "$(of)" | jq -r '.Grants[0].GrantId')"'", DryRun: true')"

say "== pairs of data keys"
wants DryRunOperationException GenerateDataKeyPair "$(of 'KeyPairSpec: "ECC_NIST_P256", DryRun: true')"
wants DryRunOperationException GenerateDataKeyPairWithoutPlaintext "$(of 'KeyPairSpec: "RSA_2048", DryRun: true')"
wants ValidationException GenerateDataKeyPair "$(of 'KeyPairSpec: "AES_256"')"
wants ValidationException GenerateDataKeyPair "$(of)"
wants AccessDeniedException GenerateDataKeyPair "$(of 'KeyPairSpec: "ECC_NIST_P256"')" "$region" customer
wants ok GenerateDataKeyPair "$(of 'KeyPairSpec: "ECC_NIST_P384", EncryptionContext: {a: "b"}')"
is '[.KeyId, .KeyPairSpec]' "[\"$key\",\"ECC_NIST_P384\"]"
private=$(jq -r .PrivateKeyPlaintext <"$scratch/answer")
assert_equal "the public key" "$(base64 -d <<<"$private" | openssl pkey -inform DER -pubout -outform DER | base64 -w0)" "$(jq -r .PublicKey <"$scratch/answer")"
wants ok Decrypt "$(jq -c '{CiphertextBlob: .PrivateKeyCiphertextBlob, EncryptionContext: {a: "b"}}' <"$scratch/answer")"
is .Plaintext "$private"
wants ok GenerateDataKeyPairWithoutPlaintext "$(of 'KeyPairSpec: "ECC_NIST_P256"')"
is '[has("PrivateKeyPlaintext"), has("PrivateKeyCiphertextBlob"), has("PublicKey")]' '[false,true,true]'

say "== states and origins"
wants ok DescribeKey "$(of)"
is '.KeyMetadata | [.KeyState, .Origin, .KeyManager, .MultiRegion, has("MultiRegionConfiguration"), has("DeletionDate")]' '["Enabled","AWS_KMS","CUSTOMER",false,false,false]'
wants ok EnableKeyRotation "$(of)"
wants ok ScheduleKeyDeletion "$(of 'PendingWindowInDays: 7')"
wants ok GetKeyRotationStatus "$(of)"
is '[.KeyRotationEnabled, has("NextRotationDate")]' '[false,false]'
wants ok DescribeKey "$(of)"
is '.KeyMetadata | [.KeyState, .Enabled, .DeletionDate > now]' '["PendingDeletion",false,true]'
wants KMSInvalidStateException Decrypt "$(of "CiphertextBlob: \"$blob\"")"
wants KMSInvalidStateException EnableKeyRotation "$(of)"
wants ok CancelKeyDeletion "$(of)"
wants ok GetKeyRotationStatus "$(of)"
is .KeyRotationEnabled true
wants DisabledException Decrypt "$(of "CiphertextBlob: \"$blob\"")"
wants ok CreateKey '{"Origin": "EXTERNAL"}'
is '.KeyMetadata | [.KeyState, .Origin]' '["PendingImport","EXTERNAL"]'
key=$(jq -r .KeyMetadata.Arn <"$scratch/answer")
wants KMSInvalidStateException Encrypt "$(of 'Plaintext: "QQ=="')"
wants KMSInvalidStateException EnableKey "$(of)"
wants UnsupportedOperationException CreateKey '{"Origin": "AWS_CLOUDHSM"}'

say "== imported key material"
parameters='WrappingAlgorithm: "RSAES_OAEP_SHA_256", WrappingKeySpec: "RSA_2048"'
before_import=$key key=$other
wants UnsupportedOperationException GetParametersForImport "$(of "$parameters")"
wants UnsupportedOperationException DeleteImportedKeyMaterial "$(of)"
wants ok CreateKey '{"Origin": "EXTERNAL"}'
key=$(jq -r .KeyMetadata.Arn <"$scratch/answer")
wants KMSInvalidStateException Encrypt "$(of 'Plaintext: "QQ=="')"
wants ValidationException GetParametersForImport "$(of 'WrappingAlgorithm: "NONE", WrappingKeySpec: "RSA_2048"')"
wants AccessDeniedException GetParametersForImport "$(of "$parameters")" "$region" customer
# wrap FILE: asks for the parameters, and prints the members of ImportKeyMaterial for the material in the file
wrap() {
    ask GetParametersForImport "$(of "$parameters")"
    jq -r .PublicKey <"$scratch/answer" | base64 -d >"$scratch/wrapping.der"
    openssl pkeyutl -encrypt -pubin -keyform DER -inkey "$scratch/wrapping.der" -in "$1" -out "$scratch/wrapped" \
        -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256
    jq -r '"ImportToken: \"\(.ImportToken)\""' <"$scratch/answer"
    echo ", EncryptedKeyMaterial: \"$(base64 -w0 "$scratch/wrapped")\""
}
head -c 32 /dev/urandom >"$scratch/material"
head -c 32 /dev/urandom >"$scratch/other-material"
head -c 16 /dev/urandom >"$scratch/short-material"
forever='ExpirationModel: "KEY_MATERIAL_DOES_NOT_EXPIRE"'
wants InvalidImportTokenException ImportKeyMaterial "$(of "ImportToken: \"QQ==\", EncryptedKeyMaterial: \"QQ==\", $forever")"
wants InvalidCiphertextException ImportKeyMaterial "$(of "$(wrap "$scratch/short-material"), $forever")"
wrapped=$(wrap "$scratch/material")
wants ValidationException ImportKeyMaterial "$(of "$wrapped")"
wants ValidationException ImportKeyMaterial "$(of "$wrapped, $forever, ValidTo: $(($(date +%s) + 60))")"
wants AccessDeniedException ImportKeyMaterial "$(of "$wrapped, $forever")" "$region" customer
wants ok ImportKeyMaterial "$(of "$wrapped, $forever")"
platform fault clear
wants ok DescribeKey "$(of)"
is '.KeyMetadata | [.KeyState, .Origin, .ExpirationModel]' '["Enabled","EXTERNAL","KEY_MATERIAL_DOES_NOT_EXPIRE"]'
wants ok Encrypt "$(of 'Plaintext: "QQ=="')"
imported=$(jq -r .CiphertextBlob <"$scratch/answer")
wants UnsupportedOperationException EnableKeyRotation "$(of)"
wants AccessDeniedException DeleteImportedKeyMaterial "$(of)" "$region" customer
wants ok DeleteImportedKeyMaterial "$(of)"
wants ok DeleteImportedKeyMaterial "$(of)"
wants KMSInvalidStateException Decrypt "{\"CiphertextBlob\": \"$imported\"}"
wants IncorrectKeyMaterialException ImportKeyMaterial "$(of "$(wrap "$scratch/other-material"), $forever")"
# The same material opens what was sealed before, until it expires. KMS's clock is moved, so nobody waits.
wants ok ImportKeyMaterial "$(of "$(wrap "$scratch/material"), ValidTo: $(($(date +%s) + 200))")"
wants ok Decrypt "{\"CiphertextBlob\": \"$imported\"}"
is .Plaintext QQ==
platform fault set kms Decrypt clock 250
wants KMSInvalidStateException Decrypt "{\"CiphertextBlob\": \"$imported\"}"
platform fault clear
wants ok DescribeKey "$(of)"
is .KeyMetadata.KeyState PendingImport
key=$before_import

say "== keys that sign"
wants ok CreateKey '{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}'
key=$(jq -r .KeyMetadata.Arn <"$scratch/answer")
sign='Message: "QQ==", SigningAlgorithm: "ECDSA_SHA_256"'
wants DryRunOperationException Sign "$(of "$sign, DryRun: true")"
wants ok GetKeyLastUsage "$(of)"
is 'has("KeyLastUsage")' false
wants ok Sign "$(of "$sign")"
wants ok GetKeyLastUsage "$(of)"
is .KeyLastUsage.Operation Sign
wants InvalidKeyUsageException Encrypt "$(of 'Plaintext: "QQ=="')"
wants InvalidKeyUsageException GenerateDataKey "$(of 'KeySpec: "AES_256"')"
wants InvalidKeyUsageException Sign "$(of 'Message: "QQ==", SigningAlgorithm: "ECDSA_SHA_384"')"
wants InvalidKeyUsageException Sign "$(jq -nc --arg key "$other" "{KeyId: \$key, $sign}")"
wants UnsupportedOperationException GetPublicKey "$(jq -nc --arg key "$other" '{KeyId: $key}')"
wants AccessDeniedException Sign "$(of "$sign")" "$region" customer
wants AccessDeniedException GetPublicKey "$(of)" "$region" customer
wants UnsupportedOperationException EnableKeyRotation "$(of)"
wants ok GetKeyRotationStatus "$(of)"
is .KeyRotationEnabled false
wants ValidationException CreateGrant "$(of 'GranteePrincipal: "arn:aws:iam::222222222222:role/r1", Operations: ["DescribeKey", "Decrypt"]')"
wants ok CreateGrant "$(of 'GranteePrincipal: "arn:aws:iam::222222222222:role/r1", Operations: ["DescribeKey"]')"
wants ok DisableKey "$(of)"
wants DisabledException Sign "$(of "$sign")"

# The signature is that of openssl, over the message and over its digest.
wants UnsupportedOperationException CreateKey '{"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}'
wants ok CreateKey '{"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}'
key=$(jq -r .KeyMetadata.Arn <"$scratch/answer")
wants ok GetPublicKey "$(of)"
jq -r .PublicKey <"$scratch/answer" | base64 -d >"$scratch/public.der"
printf A >"$scratch/message"
digest=$(openssl dgst -sha256 -binary "$scratch/message" | base64)
for message in 'Message: "QQ=="' "MessageType: \"DIGEST\", Message: \"$digest\""; do
    wants ok Sign "$(of "$message, SigningAlgorithm: \"RSASSA_PKCS1_V1_5_SHA_256\"")"
    signature=$(jq -r .Signature <"$scratch/answer")
    base64 -d <<<"$signature" >"$scratch/signature"
    assert_equal "openssl" "$(openssl dgst -sha256 -verify "$scratch/public.der" -keyform DER -signature "$scratch/signature" "$scratch/message")" \
        'Verified OK'
    wants ok Verify "$(of "$message, Signature: \"$signature\", SigningAlgorithm: \"RSASSA_PKCS1_V1_5_SHA_256\"")"
done
wants KMSInvalidSignatureException Verify "$(of "Message: \"Qg==\", Signature: \"$signature\", SigningAlgorithm: \"RSASSA_PKCS1_V1_5_SHA_256\"")"
wants ValidationException Sign "$(of 'MessageType: "DIGEST", Message: "QQ==", SigningAlgorithm: "RSASSA_PKCS1_V1_5_SHA_256"')"

say "== replicas"
away=$PLATFORM_OTHER_REGION
wants UnsupportedOperationException ReplicateKey "$(jq -nc --arg key "$other" --arg region "$away" '{KeyId: $key, ReplicaRegion: $region}')"
wants ok CreateKey '{"MultiRegion": true}'
key=$(jq -r .KeyMetadata.Arn <"$scratch/answer")
assert_match "its ID" "${key##*/}" '^mrk-[0-9a-f]{32}$'
is '.KeyMetadata.MultiRegionConfiguration | [.MultiRegionKeyType, .PrimaryKey.Region, .ReplicaKeys]' "[\"PRIMARY\",\"$region\",[]]"
replica=${key/$region/$away}
wants NotFoundException DescribeKey "$(jq -nc --arg key "$replica" '{KeyId: $key}')" "$away"
wants ValidationException ReplicateKey "$(of "ReplicaRegion: \"$region\"")"
wants AccessDeniedException ReplicateKey "$(of "ReplicaRegion: \"$away\"")" "$region" customer
wants ok ReplicateKey "$(of "ReplicaRegion: \"$away\"")"
is .ReplicaKeyMetadata.Arn "$replica"
wants AlreadyExistsException ReplicateKey "$(of "ReplicaRegion: \"$away\"")"
wants ok DescribeKey "$(of)"
is '[.KeyMetadata.MultiRegionConfiguration.ReplicaKeys[].Arn]' "[\"$replica\"]"
wants ok Encrypt "$(of 'Plaintext: "QQ=="')"
blob=$(jq -r .CiphertextBlob <"$scratch/answer")
# A key of one Region is not found at the endpoint of another, and a signature is for one Region.
wants NotFoundException DescribeKey "$(of)" "$away"
primary=$key key=$replica
wants ok DescribeKey "$(of)" "$away"
is '.KeyMetadata.MultiRegionConfiguration | [.MultiRegionKeyType, .PrimaryKey.Arn]' "[\"REPLICA\",\"$primary\"]"
wants ok Decrypt "$(of "CiphertextBlob: \"$blob\"")" "$away"
is .Plaintext 'QQ=='
wants UnsupportedOperationException EnableKeyRotation "$(of)" "$away"
key=$primary
wants ok ScheduleKeyDeletion "$(of)"
is '[.KeyState, has("DeletionDate")]' '["PendingReplicaDeletion",false]'
wants ok DescribeKey "$(of)"
is '.KeyMetadata | [.KeyState, .PendingDeletionWindowInDays]' '["PendingReplicaDeletion",30]'

say "== a replica needs kms:CreateKey in its Region, too"
wants ok CreateKey '{"MultiRegion": true}' "$region" customer
key=$(jq -r .KeyMetadata.Arn <"$scratch/answer")
may kms:ReplicateKey
wants AccessDeniedException ReplicateKey "$(of "ReplicaRegion: \"$away\", BypassPolicyLockoutSafetyCheck: true")" "$region" role
assert_line "the action that is missing" "$scratch/answer" 'not authorized to perform: kms:CreateKey'
may kms:ReplicateKey kms:CreateKey
wants ok ReplicateKey "$(of "ReplicaRegion: \"$away\", BypassPolicyLockoutSafetyCheck: true")" "$region" role
