#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The AWS CLI as vendor and as customer: key, policy, Encrypt, Decrypt with and without a document, wrong PCR, wrong secret.
. "$(dirname "$0")/lib.sh"
install_aws
start_platform

new_recipient recipient
TPM2TOOLS_TCTI=$PLATFORM_TCTI "$platform" extend 4 "the boot code"
attest "$work/recipient.der" "$work/document"
make_key "$(pcr 4)" "$(pcr 12)"
vendor "$aws" kms create-alias --alias-name alias/billing --target-key-id "$key"
vendor "$aws" kms get-key-policy --key-id alias/billing --query Policy --output text >"$work/policy-read.json"
[[ $(<"$work/policy-read.json") == "$(<"$work/policy.json")" ]] || fail "the policy comes back changed"
[[ $(vendor "$aws" kms describe-key --key-id alias/billing --query KeyMetadata.Arn --output text) == "$key" ]]

printf 'Hello World' >"$work/plaintext"
vendor "$aws" kms encrypt --key-id alias/billing --plaintext "fileb://$work/plaintext" \
    --encryption-context unseald:secret=greeting --query CiphertextBlob --output text | base64 -d >"$work/ciphertext"

decrypt() { # OPTIONS...
    instance "$aws" kms decrypt --key-id "$key" --ciphertext-blob "fileb://$work/ciphertext" \
        --encryption-context unseald:secret=greeting "$@"
}
recipient() { # DOCUMENT
    echo "KeyEncryptionAlgorithm=RSAES_OAEP_SHA_256,AttestationDocument@=fileb://$1"
}

decrypt --recipient "$(recipient "$work/document")" >"$work/reply.json"
jq -e --arg key "$key" '.KeyId == $key and (has("Plaintext") | not)' "$work/reply.json" >/dev/null ||
    fail "the reply: $(cat "$work/reply.json")"
jq -r .CiphertextForRecipient "$work/reply.json" | base64 -d >"$work/cms"
openssl cms -decrypt -inform DER -in "$work/cms" -inkey "$work/recipient.pem" -out "$work/opened"
cmp "$work/opened" "$work/plaintext" || fail "another plaintext came out"
echo "decrypted for the recipient, opened by openssl cms"

expect_error AccessDeniedException decrypt
expect_error DryRunOperationException decrypt --dry-run --recipient "$(recipient "$work/document")"
expect_error AccessDeniedException decrypt --dry-run
expect_error AccessDeniedException vendor "$aws" kms decrypt --key-id "$key" --ciphertext-blob "fileb://$work/ciphertext" \
    --encryption-context unseald:secret=greeting
expect_error InvalidCiphertextException instance "$aws" kms decrypt --key-id "$key" \
    --ciphertext-blob "fileb://$work/ciphertext" --encryption-context unseald:secret=another \
    --recipient "$(recipient "$work/document")"
printf 'no document' >"$work/forged"
expect_error ValidationException decrypt --recipient "$(recipient "$work/forged")"

"$platform" extend 4 "one more"
attest "$work/recipient.der" "$work/other-document"
expect_error AccessDeniedException decrypt --recipient "$(recipient "$work/other-document")"

expect_error NotFoundException vendor "$aws" kms describe-key --key-id alias/nobody
expect_error InvalidSignatureException vendor env AWS_SECRET_ACCESS_KEY=wrong "$aws" kms describe-key --key-id "$key"
expect_error UnrecognizedClientException vendor env AWS_ACCESS_KEY_ID=AKIAAAAAAAAAAAAAAAAA "$aws" kms describe-key --key-id "$key"
lock_out=$(jq '.Statement |= .[1:]' "$work/policy.json")
expect_error MalformedPolicyDocumentException vendor "$aws" kms put-key-policy --key-id "$key" --policy "$lock_out"

vendor "$aws" kms disable-key --key-id "$key"
expect_error DisabledException decrypt --recipient "$(recipient "$work/document")"
vendor "$aws" kms enable-key --key-id "$key"
vendor "$aws" kms schedule-key-deletion --key-id "$key" --pending-window-in-days 7 >/dev/null
expect_error KMSInvalidStateException decrypt --recipient "$(recipient "$work/document")"

jq -se --arg pcr "$(jq -r '.Statement[1].Condition.StringEqualsIgnoreCase["kms:RecipientAttestation:NitroTPMPCR4"]' "$work/policy.json")" '
    map(select(.eventName == "Decrypt" and .errorCode == null)) | length == 1 and
    .[0].additionalEventData.recipient.attestationDocumentNitroTPMPCR4 == $pcr and
    .[0].userIdentity.type == "AssumedRole"' "$PLATFORM_TRAIL" >/dev/null || fail "the trail has not exactly one Decrypt that went well"
! grep -qF -e "Hello World" -e "$(base64 <"$work/plaintext")" -e "$PLATFORM_VENDOR_SECRET_ACCESS_KEY" "$PLATFORM_TRAIL" ||
    fail "the trail has a secret in it"
