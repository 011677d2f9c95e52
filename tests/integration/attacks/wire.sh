#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rules 1 to 4 of unseald-threat-model(7): an attacker answers in KMS's place, or the account's owner asks KMS itself.
. "$(dirname "$0")/direct.sh"
direct_start
table_begin 'on the way to KMS'
declare_secret db-password "$key" "$scratch/sealed"
kms_host=kms.$region.amazonaws.com
cp "$PLATFORM_HOSTS" "$scratch/hosts"
dns() { sed "s/^$PLATFORM_KMS_ADDRESS /$1 /" "$scratch/hosts" >"$PLATFORM_HOSTS"; } # ADDRESS: of all of KMS's names
printf 'a password of the attacker' >"$scratch/forged"

# 1. Key substitution.
configure
own=$(customer_kms CreateKey '{}' | jq -r .KeyMetadata.Arn)
customer_kms PutKeyPolicy "$(jq -nc --arg key "$own" '{KeyId: $key, PolicyName: "default", Policy: ({Statement: [
    {Effect: "Allow", Principal: "*", Action: "kms:*", Resource: "*"}]} | tojson)}')" >/dev/null
customer_kms Encrypt "$(jq -nc --arg key "$own" --arg text "$(base64 -w0 "$scratch/forged")" \
    '{KeyId: $key, Plaintext: $text, EncryptionContext: {"unseald:secret": "db-password"}}')" | jq -r .CiphertextBlob >"$scratch/own"
declare_secret db-password "$own" "$scratch/own"
attack - "(what the attacker's key gives to whoever pins it)" "the attacker's secret" 'published'
declare_secret db-password "$key" "$scratch/own"
attack 1 "ciphertext of the account owner's own key, in the secret's place" 'ends 62' 'another key'
declare_secret db-password "$key" "$scratch/sealed"
platform fault set kms Decrypt wrong-keyid
attack 1 'KMS answers with another KeyId' 'ends 65' "not in the secret.s KeyId="

# 2. Exchanged secrets.
printf 'a license, no password' | vendor_seal "$key" license "$scratch/license"
declare_secret db-password "$key" "$scratch/license"
attack 2 "the ciphertext of another secret under the same key" 'ends 62' 'encryption context'
printf "another customer's password" | vendor_seal "$key" db-password "$scratch/license" 999988887777
declare_secret db-password "$key" "$scratch/license" BindAccount=yes
attack 2 "the ciphertext of another customer, with BindAccount=" 'ends 62' 'BindAccount='
declare_secret db-password "$key" "$scratch/sealed"

# 3. Forged answers. The attacker needs only the public key, and the request shows it.
make_authority attacker
make_certificate attacker front "$kms_host"
cat "$PLATFORM_CA_FILE" "$scratch/attacker.pem" >"$scratch/both.pem"
front=(--certificate "$scratch/front.pem" --private-key "$scratch/front.key" --key-id "$key")

dns 127.0.0.2
attacker_start kms 127.0.0.2:443 "${front[@]}" --forge "$scratch/forged"
configure "TrustedCertificates=$scratch/both.pem"
attack - '(forged envelope from who has a certificate under the measured roots)' "the attacker's secret" 'published'
configure
attack 3 'DNS leads to a server that forges the envelope; CA not measured' 'ends 51' 'not trusted'
expect 'requests that it got to see' "$(attacker_saw '^request')" 1 # the request of the row before
attacker_stop

make_certificate attacker elsewhere kms.us-east-1.amazonaws.com
attacker_start kms 127.0.0.2:443 --certificate "$scratch/elsewhere.pem" --private-key "$scratch/elsewhere.key" --key-id "$key" \
    --forge "$scratch/forged"
configure "TrustedCertificates=$scratch/both.pem"
attack 3 "DNS leads to a server with a trusted certificate for another name" 'ends 51' 'certificate is not one of'
expect 'requests that it got to see' "$(attacker_saw '^request')" 0
attacker_stop

attacker_start kms 127.0.0.2:443 --forge "$scratch/forged" --key-id "$key"
configure DeadlineSec=3s
attack 3 'DNS leads to a server without TLS, at the same port' 'ends 50' 'Not within DeadlineSec='
expect 'requests that it got to see' "$(attacker_saw '^request')" 0
attacker_stop
dns "$PLATFORM_KMS_ADDRESS"

attacker_start kms 127.0.0.3:3128 "${front[@]}" --forge "$scratch/forged" --connect
configure Proxy=http://127.0.0.3:3128
attack 3 'a proxy that ends TLS and forges the envelope' 'ends 51' 'not trusted'
expect 'tunnels that it was asked for' "$(attacker_saw "^CONNECT $kms_host:443")" 1
expect 'requests that it got to see' "$(attacker_saw '^request')" 0
attacker_stop
attacker_start kms 127.0.0.3:3128 --forge "$scratch/forged" --key-id "$key" --connect
configure Proxy=http://127.0.0.3:3128 DeadlineSec=3s
attack 3 'a proxy that answers in the clear after CONNECT' 'ends 50' 'Not within DeadlineSec='
expect 'requests that it got to see' "$(attacker_saw '^request')" 0
attacker_stop

configure "KmsEndpoint=http://$kms_host"
attack 3 'KmsEndpoint= with http' 'ends 78' 'https://'
dns 127.0.0.2
attacker_start kms 127.0.0.2:443 "${front[@]}" --redirect "http://$kms_host/"
configure "TrustedCertificates=$scratch/both.pem"
attack 3 'a trusted server redirects to http' 'ends 64' 'HTTP status 307'
attacker_stop
configure
platform fault set kms Decrypt plaintext
dns "$PLATFORM_KMS_ADDRESS"
attack 3 'the secret in the clear in an attested answer' 'ends 65' 'contains a plaintext'

# 4. Replay. The attacker has a certificate under the measured roots, and so can read the request and the answer.
dns 127.0.0.2
configure "TrustedCertificates=$scratch/both.pem"
attacker_start kms 127.0.0.2:443 "${front[@]}" --record "$scratch/recorded" --upstream "$PLATFORM_KMS_ADDRESS"
attack - '(one that reads along learns nothing: the envelope is to the key pair)' unharmed 'published'
attacker_stop
assert_absent 'the secret in what was recorded' "$(<"$secret")" "$scratch/recorded" "$scratch/recorded.request"
attacker_start kms 127.0.0.2:443 "${front[@]}" --replay "$scratch/recorded"
attack 4 "the answer of an earlier boot, replayed" 'ends 65' 'encrypted for another key pair than that of this boot'
attacker_stop
dns "$PLATFORM_KMS_ADDRESS"

# ask LABEL RULE WANTED-CODE CALL...: the account's owner asks KMS. The row shows the code of KMS's error, or the answer.
ask() {
    local label=$1 rule=$2 wanted=$3 answer begun=$EPOCHREALTIME code
    shift 3
    answer=$("$@") || true
    code=$(jq -r 'if .__type then .__type | split("#")[-1] elif .Plaintext then "plaintext" else "an envelope" end' <<<"$answer")
    row "$rule" "$label" "$code" "$wanted" "$(jq -r '.message // .Message // "-"' <<<"$answer")" . "$(seconds_since "$begun")"
}
recorded=$(jq -c '{CiphertextBlob, KeyId, EncryptionContext, Recipient}' "$scratch/recorded.request")
without=$(jq -c 'del(.Recipient)' <<<"$recorded")
ask "the role asks KMS without a document" 6 AccessDeniedException role_kms Decrypt "$without"
ask "the account's administrator asks KMS without a document" 6 AccessDeniedException customer_kms Decrypt "$without"
ask "the role re-encrypts to a key of the account owner" 6 AccessDeniedException role_kms ReEncrypt \
    "$(jq -c --arg own "$own" '{CiphertextBlob, SourceKeyId: .KeyId, SourceEncryptionContext: .EncryptionContext, DestinationKeyId: $own}' <<<"$recorded")"
ask "the role makes itself a grant" 6 AccessDeniedException role_kms CreateGrant \
    "$(jq -c --arg role "$PLATFORM_INSTANCE_ROLE_ARN" '{KeyId, GranteePrincipal: $role, Operations: ["Decrypt"]}' <<<"$recorded")"
ask "a captured document, with the role's credentials, within five minutes" 4 'an envelope' role_kms Decrypt "$recorded"
openssl genrsa -out "$scratch/other.key" 2048 2>/dev/null
role_kms Decrypt "$recorded" | jq -r .CiphertextForRecipient | base64 -d >"$scratch/envelope"
begun=$EPOCHREALTIME
opened=$(openssl cms -decrypt -inform DER -in "$scratch/envelope" -inkey "$scratch/other.key" 2>&1 | tr -d '\0') || true
case $opened in *"$(<"$secret")"*) saw='the secret' ;; *) saw='does not open' ;; esac
row 4 '… whose envelope the attacker opens with a key of his own' "$saw" 'does not open' - . "$(seconds_since "$begun")"
platform fault set kms Decrypt clock 600
make_clock 600
LD_PRELOAD=$scratch/clock.so ask "… after ten minutes" 4 ValidationException role_kms Decrypt "$recorded"
platform fault clear
forged_document=$(jq -r .Recipient.AttestationDocument <<<"$recorded" | base64 -d | xxd -p | tr -d '\n')
at=$((${#forged_document} / 2 / 2 * 2))
forged_document=${forged_document:0:at}$([ "${forged_document:at:2}" = 00 ] && echo 01 || echo 00)${forged_document:at+2}
ask "… with a byte of it changed" 4 ValidationException role_kms Decrypt \
    "$(jq -c --arg document "$(xxd -r -p <<<"$forged_document" | base64 -w0)" '.Recipient.AttestationDocument = $document' <<<"$recorded")"
configure
platform fault set tpm NSM_Request clock -400
attack 4 'a TPM that hands out documents of yesterday' 'ends 63' 'attestation document'

# Another image. The measurements tell it from the vendor's.
platform extend 12 'init=/bin/sh' >/dev/null
attack 6 'the same image with a kernel command line of the owner (PCR12)' 'ends 60' 'denies access'
platform tpm-reset >/dev/null
platform extend 4 'an image of the owner' >/dev/null
attack 6 'another image (PCR4)' 'ends 60' 'denies access'
platform tpm-reset >/dev/null
attack - '(the right image again)' unharmed published

table_end
