#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rule 6 of unseald-threat-model(7): key policies that allow too much. For each policy the test puts it, takes what it gives
# away, and expects "unsealctl policy lint" to name the mistake.
. "$(dirname "$0")/direct.sh"
direct_start
table_begin 'by key policies that let too much in'
configure
declare_secret db-password "$key" "$scratch/sealed"
boot() { # boots the vendor's image: PCR4 has its value
    platform tpm-reset >/dev/null
    platform extend 4 'the image' >/dev/null
}
boot
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
request=$(jq -nc --arg blob "$(<"$scratch/sealed")" '{CiphertextBlob: $blob, EncryptionContext: {"unseald:secret": "db-password"}}')

# policy JQ [OPTION...]: has unsealctl policy write a policy, also with these options, spoils it by the filter, and puts it
policy() {
    "$build/daemon/unsealctl" policy --admin="$admin" --sealer="$admin" --account="$PLATFORM_CUSTOMER_ACCOUNT" \
        --account=999988887777 --measurements="$scratch/measurements" "${@:2}" | jq -c --arg root "arn:aws:iam::$PLATFORM_CUSTOMER_ACCOUNT:root" '
        def without(sids): .Statement |= map(select(.Sid | test(sids) | not));
        def statement(sid; change): .Statement |= map(if .Sid == sid then change else . end);
        '"$1" >"$scratch/policy"
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}

# lint STATUS REGEX: adds a row with what unsealctl policy lint says of the policy that was put last
lint() {
    local begun=$EPOCHREALTIME status=0 words
    words=$("$build/daemon/unsealctl" policy lint --measurements="$scratch/measurements" --admin="$admin" "$scratch/policy" 2>&1) || status=$?
    row 6 '  … and unsealctl policy lint' "status $status" "status $1" "$(grep -m 1 -E -- "$2" <<<"$words" || tail -n 1 <<<"$words")" "$2" \
        "$(seconds_since "$begun")"
}

# take LABEL WANTED OPERATION REQUEST: calls KMS with the role's credentials and without a document
take() {
    local begun=$EPOCHREALTIME answer saw
    answer=$(role_kms "$3" "$4" 2>/dev/null) || true
    saw=$(jq -r 'if .__type then .__type | split("#")[-1] elif .Plaintext then "the secret" elif .CiphertextForRecipient then "an envelope"
        else "done" end' <<<"$answer")
    [ "$saw" != 'the secret' ] || [ "$(jq -r .Plaintext <<<"$answer" | base64 -d)" = "$(<"$secret")" ] || saw='another secret'
    row "${rule:-6}" "$1" "$saw" "$2" "$(jq -r '.message // .Message // "-"' <<<"$answer")" . "$(seconds_since "$begun")"
}

# The owner of the account allows the role everything that the key's policy allows.
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "kms:*", Resource: "*"}]}' >"$scratch/identity"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/identity"

policy .
take '(the policy of unsealctl policy: the role asks without a document)' AccessDeniedException Decrypt "$request"
attack 6 '(the policy of unsealctl policy: the right image asks)' unharmed published
lint 0 '^0 errors'
right='the secret'

policy 'without("^Deny") | statement("Unseal"; del(.Condition))'
take 'a policy that just allows: the role asks without a document' 'the secret' Decrypt "$request"
configure VerifyPolicy=yes
attack 6 '  … and with VerifyPolicy=yes' 'ends 66' '.'
configure
lint 4 '^error: (ungated-decrypt|root-delegation)'

policy 'without("^Deny") | .Statement += [{Sid: "Account", Effect: "Allow", Principal: {AWS: $root}, Action: "kms:*", Resource: "*"}]'
take 'another statement lets the whole account in: without a document' 'the secret' Decrypt "$request"
lint 4 '^error: (ungated-decrypt|root-delegation)'

policy 'without("PCR12$") | statement("Unseal"; del(.Condition.StringEqualsIgnoreCase["kms:RecipientAttestation:NitroTPMPCR12"]))'
platform extend 12 'init=/bin/sh' >/dev/null
attack 6 "a policy without PCR12: the image with a command line of the owner" 'the secret' published
boot
lint 4 '^error: pcr12-missing'

policy . --allow-drivers
platform extend 2 'a driver of the owner' >/dev/null
attack 6 'a policy without PCR2: the image, with a driver of the owner before it' 'the secret' published
lint 3 '^warning: pcr2-missing'
policy .
right=unharmed
attack 6 '(the same by the policy of unsealctl policy)' 'ends 60' 'denies access'
right='the secret'
boot

policy 'without("PCR") | statement("Unseal"; .Condition.StringEqualsIgnoreCase = {"kms:RecipientAttestation:NitroTPMPCR0": ("0" * 96)})'
platform extend 4 'an image of the owner' >/dev/null
attack 6 'a policy for PCR0, which is the same for all: another image' 'the secret' published
boot
lint 4 '^error: constant-pcrs'

policy 'without("^DenyOtherWays$") | .Statement += [{Sid: "Move", Effect: "Allow", Principal: {AWS: $root}, Action: "kms:ReEncrypt*", Resource: "*"}]'
own=$(customer_kms CreateKey '{}' | jq -r .KeyMetadata.Arn)
moved=$(role_kms ReEncrypt "$(jq -c --arg own "$own" \
    '{CiphertextBlob, SourceEncryptionContext: .EncryptionContext, DestinationKeyId: $own}' <<<"$request")" | jq -r .CiphertextBlob)
take 'a policy that forgets ReEncrypt: re-encrypted to a key of the owner' 'the secret' Decrypt "$(jq -nc --arg blob "$moved" '{CiphertextBlob: $blob}')"
lint 4 '^error: re-encrypt'

policy 'without("^DenyOther") | .Statement += [{Sid: "Delegate", Effect: "Allow", Principal: {AWS: $root}, Action: "kms:CreateGrant", Resource: "*"}]'
role_kms CreateGrant "$(jq -nc --arg key "$key" --arg role "$PLATFORM_INSTANCE_ROLE_ARN" \
    '{KeyId: $key, GranteePrincipal: $role, Operations: ["Decrypt"]}')" >/dev/null
take 'a policy that forgets CreateGrant: the role makes itself a grant' 'the secret' Decrypt "$request"
lint 4 '^error: create-grant'

# A customer opens another customer's ciphertext with a metadata service that names the other account.
vendor_seal "$key" db-password "$scratch/other" 999988887777 <"$secret"
declare_secret db-password "$key" "$scratch/other" BindAccount=yes
platform account 999988887777
policy . --bind-account
attack 2 "another customer's ciphertext, and IMDS names their account" 'ends 60' 'denies access'
policy .
attack 2 '(the same under a policy that does not compare the account)' 'the secret' published

# 5. Late theft: after the delivery, the attacker uses a document over its own key pair, and the role's credentials.
platform account own
declare_secret db-password "$key" "$scratch/sealed"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null | openssl pkey -pubout -outform DER -out "$scratch/thief.pub"
steal() { # LABEL WANTED
    "$build/daemon/unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/thief.pub" --output="$scratch/document"
    take "$1" "$2" Decrypt "$(jq -c --arg document "$(base64 -w0 "$scratch/document")" \
        '. + {Recipient: {KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256", AttestationDocument: $document}}' <<<"$request")"
}
policy . --lock-pcr=15
rule=5
right=unharmed
on_ready() {
    steal '(late theft without LockPcr=: a document of the thief, after delivery)' 'an envelope'
    cp "$store/db-password" "$scratch/unsealed"
}
attack 5 '(… of what unseald delivered without LockPcr=)' unharmed published
configure LockPcr=15
on_ready() {
    steal 'late theft with LockPcr=15: a document of the thief, after delivery' AccessDeniedException
    cp "$store/db-password" "$scratch/unsealed"
}
attack 5 '… of what unseald delivered with LockPcr=15' unharmed published
table_end
