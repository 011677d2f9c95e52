#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SignedBy=, Signature= and MinVersion=: only what the vendor has signed for this name, in a version that is new enough, comes to
# KMS. Each order of old, new, exchanged and missing files, at a start, a reload and a restart. The signatures are made by the
# lines of unseald.secret(5), which the test takes out of the page, and by unsealctl seal.
. "$(dirname "$0")/direct.sh"
direct_start
configure
unsealctl=$build/daemon/unsealctl
page=$top/man/unseald.secret.5.rst
sealed=$scratch/db.sealed
mount_own /run/unseald # the control socket

# The owner of the account may encrypt: the mistake that a signature makes harmless.
policy=$(kms GetKeyPolicy "$(jq -nc --arg key "$key" '{KeyId: $key}')" | jq -r .Policy |
    jq -c --arg role "$PLATFORM_INSTANCE_ROLE_ARN" '.Statement += [{Effect: "Allow", Principal: {AWS: $role}, Action: "kms:Encrypt", Resource: "*"}]')
kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "*", Resource: "*"}]}' >"$scratch/identity"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/identity"

say "== the lines of the page"
sed -n '/^SIGNED SECRETS/,/^ROLLBACK/s/^    //p' "$page" >"$scratch/lines"
lines_of() { sed -n "$1" "$scratch/lines" | grep . || die "the page has no lines $1"; } # SED
lines_of '/^name=/,/>message$/p' | sed 's/^name=.*//' >"$scratch/make-message"
lines_of '/^openssl pkeyutl -sign -rawin -inkey/p' >"$scratch/sign-ed25519"
lines_of '/^openssl pkeyutl -sign -rawin -digest sha256/p' >"$scratch/sign-p256"
sed s/sha256/sha384/ "$scratch/sign-p256" >"$scratch/sign-p384"
lines_of '/^aws kms sign/,/>signature$/p' >"$scratch/sign-kms"
lines_of '/^printf.*\.sig$/p' >"$scratch/write"
lines_of '/^openssl pkey -in vendor.key/p' >"$scratch/write-key"
lines_of '/^aws kms get-public-key/,/vendor.pub$/p' | sed 's/^ *|$//' >"$scratch/write-kms-key"

# The AWS CLI's part of the lines, by curl. foreign/seal.sh runs them with the AWS CLI itself.
cat >"$scratch/aws" <<'END'
#!/bin/bash
. "$AWS_SHIM"
case $2 in
sign) kms Sign "$(jq -nc --arg key "$4" --arg message "$(base64 -w0 "${6#fileb://}")" --arg algorithm "${10}" '{KeyId: $key, Message: $message, MessageType: "RAW", SigningAlgorithm: $algorithm}')" | jq -r .Signature ;;
get-public-key) kms GetPublicKey "$(jq -nc --arg key "$4" '{KeyId: $key}')" | jq -r .PublicKey ;;
esac
END
chmod +x "$scratch/aws"
{
    declare -p top region PLATFORM_VENDOR_ACCESS_KEY_ID PLATFORM_VENDOR_SECRET_ACCESS_KEY PLATFORM_CA_FILE PLATFORM_KMS_ENDPOINT
    declare -f kms platform
} >"$scratch/shim"
export AWS_SHIM=$scratch/shim

# by_page DIRECTORY SIGNER NAME VERSION FILE: signs FILE by the lines of the page, with DIRECTORY/vendor.key or the key $kms_key
by_page() {
    local directory=$1 signer=$2
    cp "$5" "$directory/db-password.sealed"
    # shellcheck disable=SC2154 # kms_key is for the lines of KMS
    (cd "$directory" && name=$3 version=$4 key=${kms_key:-} PATH=$scratch:$PATH bash -euo pipefail -c "
        $(cat "$scratch/make-message")
        $(cat "$scratch/sign-$signer")
        $(cat "$scratch/write")")
    cp "$directory/db-password.sealed.sig" "$5.sig"
}
new_key() { # DIRECTORY OPTION...: makes vendor.key and vendor.pub
    mkdir -p "$1"
    openssl genpkey -quiet "${@:2}" -out "$1/vendor.key" 2>/dev/null || openssl genpkey "${@:2}" -out "$1/vendor.key" 2>/dev/null
    (cd "$1" && bash -euc "$(cat "$scratch/write-key")")
}
ed=$scratch/ed p256=$scratch/p256 p384=$scratch/p384 kms256=$scratch/kms256
new_key "$ed" -algorithm ed25519
new_key "$p256" -algorithm EC -pkeyopt ec_paramgen_curve:P-256
new_key "$p384" -algorithm EC -pkeyopt ec_paramgen_curve:P-384
new_key "$scratch/rsa" -algorithm RSA
new_key "$scratch/stranger" -algorithm ed25519

# starts WHAT VALUE VERSION; refused STATUS REGEX WHAT: neither KMS nor the store sees a refused ciphertext
starts() {
    rm -f "$scratch/seen"
    on_ready() {
        cp "$store/db-password" "$scratch/seen"
        cp "$status_file" "$scratch/status"
    }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$1: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    assert_equal "$1" "$(cat "$scratch/seen")" "$2"
    # jq rounds numbers of 64 bits.
    assert_equal "$1: the version in status.json" \
        "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["secrets"][0].get("version"))' <"$scratch/status")" "$3"
    say "  $1: '$2'"
}
refused() {
    local before
    before=$(requests Decrypt)
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] || die "$3: unseald is ready"
    assert_equal "$3: exit status" "$unseald_status" "$1"
    assert_line "$3: what is said" "$log" "$2"
    assert_equal "$3: the store" "$(ls -A "$store")" ''
    assert_equal "$3: requests to KMS" "$(requests Decrypt)" "$before"
    say "  $3: status $1"
}
declared() { declare_secret db-password "$key" "$sealed" "$@"; }
place() { # FILE: puts ciphertext and signature in place
    cp "$1" "$sealed"
    if [ -e "$1.sig" ]; then cp "$1.sig" "$sealed.sig"; else rm -f "$sealed.sig"; fi
}

for i in 1 2; do printf 'value %s' "$i" | vendor_seal "$key" db-password "$scratch/v$i"; done
role_kms Encrypt "$(jq -nc --arg key "$key" --arg text "$(printf "the owner's value" | base64)" \
    '{KeyId: $key, Plaintext: $text, EncryptionContext: {"unseald:secret": "db-password"}}')" | jq -r .CiphertextBlob >"$scratch/owner"

say "== each kind of key, by the lines of the page"
for signer in ed25519 p256 p384; do
    directory=${signer/ed25519/ed}
    by_page "$scratch/$directory" "$signer" db-password 7 "$scratch/v1"
    place "$scratch/v1"
    declared "SignedBy=$scratch/$directory/vendor.pub" MinVersion=7
    starts "$signer" 'value 1' 7
    assert_line "$signer: the journal" "$log" '^db-password: version 7, signed by the key /.*/vendor.pub'
done
mkdir "$kms256"
for pair in ECC_NIST_P256:ECDSA_SHA_256 ECC_NIST_P384:ECDSA_SHA_384 ECC_NIST_EDWARDS25519:ED25519_SHA_512; do
    kms_key=$(kms CreateKey "$(jq -nc --arg spec "${pair%:*}" '{KeySpec: $spec, KeyUsage: "SIGN_VERIFY"}')" | jq -r .KeyMetadata.Arn)
    (cd "$kms256" && key=$kms_key PATH=$scratch:$PATH bash -euo pipefail -c "$(cat "$scratch/write-kms-key")")
    sed -i "s/--signing-algorithm [A-Z0-9_]*/--signing-algorithm ${pair#*:}/" "$scratch/sign-kms"
    by_page "$kms256" kms db-password 8 "$scratch/v1"
    place "$scratch/v1"
    declared "SignedBy=$kms256/vendor.pub" MinVersion=8
    starts "a key of KMS, ${pair%:*}" 'value 1' 8
done

say "== unsealctl seal"
seal() { platform exec --as vendor -- setsid -w "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password "$@"; }
printf 'sealed and signed' >"$secret"
for directory in "$ed" "$p256" "$p384"; do
    seal --sign="$directory/vendor.key" --secret-version=18446744073709551615 -o "$sealed" "$secret"
    declared "SignedBy=$directory/vendor.pub" MinVersion=18446744073709551615
    starts "--sign=, ${directory##*/}" 'sealed and signed' 18446744073709551615
done
(
    cd "$p256"
    cp "$scratch/v1" db-password.sealed
    seal --sign=vendor.key --secret-version=9 -o db-password.sealed "$secret"
    name=db-password version=9 bash -euo pipefail -c "$(cat "$scratch/make-message")"
    jq -r .signature db-password.sealed.sig | base64 -d >signature
    openssl dgst -sha256 -verify vendor.pub -signature signature message
)
for spec in ECC_NIST_P256 ECC_NIST_P384 ECC_NIST_EDWARDS25519; do
    kms_key=$(kms CreateKey "$(jq -nc --arg spec "$spec" '{KeySpec: $spec, KeyUsage: "SIGN_VERIFY"}')" | jq -r .KeyMetadata.Arn)
    seal --sign-key="$kms_key" --secret-version=10 -o "$sealed" --print-secret-file "$secret" >"$scratch/printed"
    (cd "$kms256" && key=$kms_key PATH=$scratch:$PATH bash -euo pipefail -c "$(cat "$scratch/write-kms-key")")
    declared "SignedBy=$kms256/vendor.pub" MinVersion=10
    starts "--sign-key=, $spec" 'sealed and signed' 10
done
assert_line "the declaration" "$scratch/printed" '^SignedBy=/usr/lib/unseald/vendor.pub'
assert_line "the declaration" "$scratch/printed" '^MinVersion=10'

# ends STATUS REGEX WHAT OPTION...: seal fails, and has neither encrypted nor written anything
ends() {
    local saw=0 before
    before=$(requests Encrypt)
    rm -f "$scratch/out" "$scratch/out.sig"
    seal "${@:4}" -o "$scratch/out" "$secret" 2>"$scratch/err" || saw=$?
    assert_equal "$3" "$saw" "$1"
    assert_line "$3" "$scratch/err" "$2"
    assert_equal "$3: requests" "$(requests Encrypt)" "$before"
    [ ! -e "$scratch/out" ] && [ ! -e "$scratch/out.sig" ] || die "$3: a file was written"
    say "  $3: status $1, $(head -n 1 "$scratch/err" | cut -c 1-140)"
}
openssl pkey -in "$p256/vendor.key" -aes256 -passout pass:secret -out "$scratch/encrypted.key"
ends 2 'Two --context= have the same key' 'two contexts of one key, before the passphrase' --sign="$scratch/encrypted.key" --secret-version=1 --context=a=1 --context=b=1 --context=a=2
ends 1 'encrypted, and there is no terminal to ask for its passphrase' 'an encrypted key without a terminal' --sign="$scratch/encrypted.key" --secret-version=1
ends 1 'is a public key\. --sign= takes the private key' 'a public key' --sign="$p256/vendor.pub" --secret-version=1
ends 1 'of a kind that unseald does not verify' 'an RSA key' --sign="$scratch/rsa/vendor.key" --secret-version=1
ends 1 'cannot be read: No such file' 'no key' --sign=/nonexistent --secret-version=1
ends 1 'expected a private key in PEM' 'no PEM' --sign="$secret" --secret-version=1
ends 2 'A signature needs --secret-version=N' 'no version' --sign="$p256/vendor.key"
ends 2 'takes a whole number' 'a version that is too large' --sign="$p256/vendor.key" --secret-version=18446744073709551616
ends 2 'only a signature has a version' 'a version alone' --secret-version=1
ends 2 'exclude each other' 'two keys' --sign="$p256/vendor.key" --sign-key="$kms_key" --secret-version=1
ends 2 'An alias can be moved' 'an alias' --sign-key=alias/sign --secret-version=1
ends 60 'kms:GetPublicKey with the key of --sign-key=' 'a key of another account' --sign-key="${kms_key/$PLATFORM_VENDOR_ACCOUNT/222222222222}" --secret-version=1
ends 64 'kms:GetPublicKey with the key of --sign-key=' 'a key that encrypts' --sign-key="$key" --secret-version=1
large=$(kms CreateKey '{"KeySpec": "ECC_NIST_P521", "KeyUsage": "SIGN_VERIFY"}' | jq -r .KeyMetadata.Arn)
ends 1 'Expected KeySpec ECC_NIST_P256' 'a key on P-521' --sign-key="$large" --secret-version=1
saw=0
seal --sign="$p256/vendor.key" --secret-version=1 "$secret" >"$scratch/out" 2>"$scratch/err" || saw=$?
assert_equal "to standard output" "$saw $(cat "$scratch/out")" '2 '
# stays REGEX WHAT FILE OPTION...: seal refuses to write over a file that it reads
stays() {
    local saw=0 before
    before=$(cat "$3")
    seal --sign="$scratch/own.key" --secret-version=1 "${@:4}" 2>"$scratch/err" || saw=$?
    assert_equal "$2" "$saw" 2
    assert_line "$2" "$scratch/err" "$1"
    assert_equal "$2: the file" "$(cat "$3")" "$before"
}
cp "$p256/vendor.key" "$scratch/own.key"
cp "$secret" "$scratch/own.sig"
ln "$scratch/own.key" "$scratch/link.sig"
stays 'is the file of the private key\. The ciphertext would replace' 'the private key as output' "$scratch/own.key" -o "$scratch/own.key" "$secret"
stays 'own\.sig, which is the file of the secret\.' 'the secret where the signature goes' "$scratch/own.sig" -o "$scratch/own" "$scratch/own.sig"
stays 'link\.sig, which is the file of the private key\.' 'the private key where the signature goes' "$scratch/own.key" -o "$scratch/link" "$secret"
seal -o "$scratch/own" "$scratch/own.sig" # the control: no signature is written
assert_equal "the control" "$(cat "$scratch/own.sig")" "$(cat "$secret")"
# With a terminal, the passphrase is asked for there. Standard input may be the secret.
printf 'secret\n' | script -qec "$top/tests/platform/platform exec --as vendor -- sh -c 'cat $secret | $unsealctl seal --trusted-certificates=$PLATFORM_CA_FILE --key=$key --name=db-password --sign=$scratch/encrypted.key --secret-version=3 -o $sealed'" /dev/null >"$scratch/typescript"
assert_line "the prompt" "$scratch/typescript" 'Passphrase of .*encrypted.key:'
declared "SignedBy=$p256/vendor.pub" MinVersion=3
starts 'an encrypted key with a terminal' 'sealed and signed' 3

say "== the platform's Sign refuses what AWS refuses"
refuses() { # CODE OPERATION JSON
    local answer
    answer=$(kms "$2" "$3" 2>/dev/null) && die "$2 $3: $answer"
    assert_match "$3" "$answer" "\"$1\""
}
sign_request() { jq -nc --arg key "$1" --arg algorithm "$2" --arg message "$3" --arg type "${4:-RAW}" '{KeyId: $key, SigningAlgorithm: $algorithm, Message: $message, MessageType: $type}'; }
kms_key=$(kms CreateKey '{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}' | jq -r .KeyMetadata.Arn)
refuses InvalidKeyUsageException Sign "$(sign_request "$kms_key" ECDSA_SHA_384 AAAA)"
refuses InvalidKeyUsageException Sign "$(sign_request "$key" ECDSA_SHA_256 AAAA)"
refuses InvalidKeyUsageException Encrypt "$(jq -nc --arg key "$kms_key" '{KeyId: $key, Plaintext: "AAAA"}')"
head -c 4097 /dev/zero | base64 -w0 >"$scratch/long"
refuses ValidationException Sign "$(sign_request "$kms_key" ECDSA_SHA_256 "$(cat "$scratch/long")")"
refuses ValidationException Sign "$(sign_request "$kms_key" ECDSA_SHA_256 AAAA DIGEST)"
refuses ValidationException Sign "$(sign_request "$kms_key" ECDSA_SHA_256 AAAA OTHER)"
refuses ValidationException CreateKey '{"KeySpec": "ECC_NIST_P256"}'
answer=$(role_kms Sign "$(sign_request "$kms_key" ECDSA_SHA_256 AAAA)" 2>/dev/null) && die "the role may sign: $answer"
assert_match "without kms:Sign" "$answer" AccessDeniedException

say "== the owner's own ciphertext"
place "$scratch/owner"
declared
starts 'the control: without SignedBy= it is published' "the owner's value" None
declared "SignedBy=$ed/vendor.pub"
refused 30 'db.sealed.sig: The signature cannot be read: No such file' 'with SignedBy=, without a signature'
by_page "$ed" ed25519 db-password 7 "$scratch/v1"
by_page "$ed" ed25519 db-password 8 "$scratch/v2"
cp "$scratch/v2.sig" "$sealed.sig"
refused 68 'The key /.*/vendor.pub has not signed this ciphertext as version 8 of secret db-password' "with the signature of the vendor's"
by_page "$scratch/stranger" ed25519 db-password 9 "$scratch/owner"
place "$scratch/owner"
refused 68 'has not signed this ciphertext as version 9' "with a signature of the owner's"

say "== old, new, exchanged, wrong"
declared "SignedBy=$ed/vendor.pub" MinVersion=8
place "$scratch/v2"
starts 'the new pair' 'value 2' 8
place "$scratch/v1"
refused 68 'has version 7, and this image takes no version below 8' 'the old pair'
cp "$scratch/v2.sig" "$sealed.sig"
refused 68 'has not signed' 'the old ciphertext with the new signature'
assert_line 'it was fetched again' "$log" '^fetching of db-password: attempt 4 failed'
cp "$scratch/v2" "$sealed"
cp "$scratch/v1.sig" "$sealed.sig"
refused 68 'has not signed' 'the new ciphertext with the old signature'
sed 's/7/8/' "$scratch/v1.sig" >"$sealed.sig"
cp "$scratch/v1" "$sealed"
refused 68 'has not signed' 'the old pair with its version raised'
by_page "$ed" ed25519 db-passwore 8 "$scratch/v2"
place "$scratch/v2"
refused 68 'has not signed' 'a signature for another name'
echo '{"version": 8}' >"$sealed.sig"
refused 68 'The content is not a signature' 'half a signature'
by_page "$ed" ed25519 db-password 8 "$scratch/v2"
place "$scratch/v2"
declared "SignedBy=$p256/vendor.pub"
refused 68 'has not signed' 'an Ed25519 signature under a key on P-256'
declared "SignedBy=$scratch/rsa/vendor.pub"
refused 78 'db-password.secret:4: SignedBy=: .* It is an RSA key' 'an RSA key'
declared SignedBy=/nonexistent
refused 78 'db-password.secret:4: SignedBy=: The public key /nonexistent cannot be read' 'no key'
declared MinVersion=1
refused 78 'db-password.secret:4: MinVersion=: The setting needs SignedBy=' 'MinVersion= alone'

say "== check, doctor and status"
declared "SignedBy=$ed/vendor.pub" MinVersion=8
starts 'the new pair again' 'value 2' 8
"$unsealctl" status --file="$scratch/status" >"$scratch/out"
assert_line "status" "$scratch/out" '^  version 8, signed$'
# checked STATUS REGEX WHAT [LINE...]: what unsealctl check says of an image with this declaration
image=$scratch/image
checked() {
    local saw=0
    mkdir -p "$image"/etc "$image"/usr/lib/unseald/secrets.d
    printf '%s\n' '[Secret]' Source=file:/usr/sealed "KeyId=$key" "${@:4}" >"$image/usr/lib/unseald/secrets.d/db-password.secret"
    "$unsealctl" check --root="$image" >"$scratch/out" 2>&1 || saw=$?
    assert_equal "$3" "$saw" "$1"
    [ -z "$2" ] || assert_line "$3" "$scratch/out" "$2"
    say "  check, $3: status $1"
}
mkdir -p "$image/usr" "$image/var"
cp "$scratch/v2" "$image/usr/sealed"
cp "$scratch/v2.sig" "$image/usr/sealed.sig"
cp "$ed/vendor.pub" "$image/usr/vendor.pub"
cp "$ed/vendor.pub" "$image/var/vendor.pub"
cp "$scratch/rsa/vendor.pub" "$image/usr/rsa.pub"
checked 0 '' 'a signed secret' SignedBy=/usr/vendor.pub MinVersion=8
checked 78 'db-password.secret:5: MinVersion=: .* has version 8, and this image takes no version below 9' 'a higher MinVersion=' SignedBy=/usr/vendor.pub MinVersion=9
checked 78 'SignedBy=: Expected a file in the measured part of the image' 'a key below /var' SignedBy=/var/vendor.pub
checked 78 'SignedBy=: The public key /usr/none cannot be read' 'no key' SignedBy=/usr/none
checked 78 'SignedBy=: .*It is an RSA key' 'an RSA key' SignedBy=/usr/rsa.pub
cp "$scratch/owner" "$image/usr/sealed"
checked 78 'SignedBy=: .*has not signed this ciphertext' "the owner's ciphertext" SignedBy=/usr/vendor.pub
checked 0 '' 'the control: without SignedBy='
rm "$image/usr/sealed.sig"
checked 78 'SignedBy=: .*sealed.sig: The signature cannot be read' 'no signature' SignedBy=/usr/vendor.pub

# examined REGEX WHAT: a line of doctor
examined() {
    platform exec --as instance -- "$unsealctl" doctor --json --vendor-configuration="$config" --configuration=/nonexistent --store="$store" \
        --status="$status_file" 2>"$scratch/err" | jq -r '.findings[] | "\(.verdict) \(.check) \(.subject): \(.text)"' >"$scratch/out" || true
    assert_line "doctor, $2" "$scratch/out" "$1"
    say "  doctor, $2: $(grep -m 1 -E "$1" "$scratch/out" | cut -c 1-100)"
}
examined '^warning signature db-password: Version 8 is signed, but the public key .* can be written' 'a key that can be written'
mkdir "$scratch/measured"
mount -t tmpfs tmpfs "$scratch/measured"
at_exit umount --lazy "$scratch/measured"
cp "$ed/vendor.pub" "$scratch/measured/"
mount -o remount,ro "$scratch/measured"
declared "SignedBy=$scratch/measured/vendor.pub" MinVersion=8
examined '^ok signature db-password: Version 8, signed by the key' 'a key on a read-only file system'
place "$scratch/v1"
examined '^failure signature db-password: .*no version below 8' 'the old pair'
place "$scratch/v2"

say "== from elsewhere"
platform file put db.sealed "$scratch/v2" >/dev/null
platform file put db.sealed.sig "$scratch/v2.sig" >/dev/null
declare_source https://downloads.example.com/db.sealed "SignedBy=$ed/vendor.pub"
starts 'https' 'value 2' 8
platform file put other "$scratch/v2.sig" >/dev/null
declare_source "https://downloads.example.com/db.sealed?token=1" "SignedBy=$ed/vendor.pub" Signature=https://downloads.example.com/other
starts 'https, with Signature=' 'value 2' 8
declare_source https://downloads.example.com/other "SignedBy=$ed/vendor.pub" "Signature=file:$scratch/v2.sig"
refused 30 'is JSON, not ciphertext' 'the signature in place of the ciphertext'
jq -n --rawfile sealed "$scratch/v2" --rawfile sig "$scratch/v2.sig" '{db: $sealed, "db.sig": $sig}' >"$scratch/user-data"
platform user-data "$scratch/user-data"
declare_source user-data:/db "SignedBy=$ed/vendor.pub"
starts 'user data' 'value 2' 8
jq -n --rawfile sealed "$scratch/owner" --rawfile sig "$scratch/v2.sig" '{db: $sealed, "db.sig": $sig}' >"$scratch/user-data"
platform user-data "$scratch/user-data"
refused 68 'has not signed' "user data with the owner's ciphertext"
assert_no_line 'user data is the same at each attempt' "$log" '^fetching of db-password: attempt 1 failed'

say "== reload and restart"
manager_start
place "$scratch/v1"
declared "SignedBy=$ed/vendor.pub"
manager start
assert_equal 'a start' "$answer $(cat "$store/db-password")" 'ready value 1'
# reloads STATUS VALUE WHAT
reloads() {
    manager run sh -c "exec '$unsealctl' reload >&2"
    assert_equal "$3" "$answer $(cat "$store/db-password")" "exited $1 $2"
    say "  $3: status $1, '$2' is published"
}
reloads 0 'value 1' 'a reload of the same pair'
cp "$scratch/v2" "$sealed"
reloads 68 'value 1' 'a reload with the ciphertext exchanged and the signature not'
cp "$scratch/v2.sig" "$sealed.sig"
reloads 0 'value 2' 'a reload of the new pair'
cp "$scratch/owner" "$sealed"
reloads 68 'value 2' "a reload of the owner's ciphertext"
rm "$sealed.sig"
reloads 30 'value 2' 'a reload without a signature'
place "$scratch/v1"
declared "SignedBy=$ed/vendor.pub" MinVersion=8
reloads 68 'value 2' 'a reload of the old pair under a higher MinVersion='
declared "SignedBy=$ed/vendor.pub"
reloads 0 'value 1' 'the control: the old pair without MinVersion='

before=$(requests Decrypt)
manager stop
manager start
assert_equal 'a restart with the same rule' "$answer $(cat "$store/db-password") $(requests Decrypt)" "ready value 1 $before"
assert_equal 'the version after a restart' "$(jq '.secrets[0].version' "$status_file")" 7
manager stop
declared "SignedBy=$ed/vendor.pub" MinVersion=8
manager start
assert_equal 'a restart under a higher MinVersion=' "$answer" 'exited 68'
assert_line 'a restart under a higher MinVersion=' "$said" '^Dropped the kept secret db-password: its declaration has changed'
assert_equal 'the store' "$(ls -A "$store")" ''
place "$scratch/v2"
manager start
assert_equal 'with the new pair' "$answer $(cat "$store/db-password")" 'ready value 2'
manager stop
declared "SignedBy=$scratch/stranger/vendor.pub" MinVersion=8
manager start
assert_equal 'a restart under another key' "$answer $(ls -A "$store")" 'exited 68 '
manager_end
