#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SignedBy= for messages and bundles: the signature is over the header, and without the data key nobody makes other frames for it.
# The signatures are made by unsealctl seal and by the lines of unseald.secret(5), which the test takes out of the page.
. "$(dirname "$0")/direct.sh"
direct_start
configure
unsealctl=$build/daemon/unsealctl
sealed=$scratch/app.sealed
rm -f "$config"/secrets.d/*
mkdir "$scratch/vendor"
openssl genpkey -quiet -algorithm ed25519 -out "$scratch/vendor/vendor.key"
openssl pkey -in "$scratch/vendor/vendor.key" -pubout -out "$scratch/vendor/vendor.pub"

# seal FILE VERSION ARGUMENT...: a signed message, or with VERSION - one without signature
seal() {
    local sign=()
    [ "$2" = - ] || sign=(--sign="$scratch/vendor/vendor.key" --secret-version="$2")
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name="${name:-app}" \
        "${sign[@]}" -o "$1" "${@:3}"
}
place() { # FILE [SIGNATURE]: puts a message and, by default, its own signature in place
    cp "$1" "$sealed"
    cp "${2:-$1.sig}" "$sealed.sig"
}
header_size() { "$unsealctl" cat-message --json "$1" | jq .header_size; }
join() { # HEADER-OF FRAMES-OF OUTPUT
    head -c "$(header_size "$1")" "$1" >"$3"
    tail -c "+$(($(header_size "$2") + 1))" "$2" >>"$3"
}
# declared [LINE...]: these lines are in [Secret], or behind it
declared() { declare_secret app "$key" "$sealed" "${format[@]}" "$@" "${members[@]}"; }
signed() { declared "SignedBy=$scratch/vendor/vendor.pub" "$@"; }

# starts WHAT FILE VERSION: what is published is this file
starts() {
    rm -rf "$scratch/seen"
    on_ready() {
        cp "$store/$published" "$scratch/seen"
        jq -r '.secrets[0].version' "$status_file" >"$scratch/version"
    }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$1: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    cmp "$scratch/seen" "$2" || die "$1: another plaintext"
    assert_equal "$1: the version" "$(cat "$scratch/version")" "$3"
    say "  $1: published, version $3"
}
# refused STATUS REGEX WHAT [ASKED]: nothing is published, and KMS is asked so many times
refused() {
    local before
    before=$(requests Decrypt)
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] || die "$3: unseald is ready"
    assert_equal "$3: exit status" "$unseald_status" "$1"
    assert_line "$3: what is said" "$log" "$2"
    assert_equal "$3: the store" "$(ls -A "$store")" ''
    assert_equal "$3: requests to KMS" "$(($(requests Decrypt) - before))" "${4:-0}"
    say "  $3: status $1"
}

# attempts OPTION...: each order of old, new, exchanged, missing and foreign files, for $format; $scratch/plain1 and plain2 are what is
# published of the two inputs
attempts() {
    local i
    for i in 1 2; do seal "$scratch/v$i" "$i" "$@" "$scratch/input$i"; done
    seal "$scratch/other" - "$@" "$scratch/input3"
    rm -f "$sealed.sig"
    cp "$scratch/other" "$sealed"
    declared
    starts 'the control: without SignedBy=, whatever lies there is published' "$scratch/plain3" null
    signed
    refused 30 'app.sealed.sig: The signature cannot be read: No such file' 'without a signature'
    place "$scratch/other" "$scratch/v2.sig"
    refused 68 'The key /.*/vendor.pub has not signed this ciphertext as version 2 of secret app' 'another message with the signature'
    assert_line 'it was fetched again' "$log" '^fetching of app: attempt 4 failed'
    place "$scratch/v1"
    starts 'the old pair' "$scratch/plain1" 1
    assert_line 'the journal' "$log" '^app: version 1, signed by the key /.*/vendor.pub'
    signed MinVersion=2
    refused 68 'has version 1, and this image takes no version below 2' 'the old pair with MinVersion=2'
    place "$scratch/v2"
    starts 'the new pair with MinVersion=2' "$scratch/plain2" 2
    sed 's/1/2/' "$scratch/v1.sig" >"$scratch/raised"
    place "$scratch/v1" "$scratch/raised"
    refused 68 'has not signed' 'the old pair with its version raised'
    place "$scratch/v2" "$scratch/v1.sig"
    refused 68 'has not signed' 'the new message with the old signature'

    # Only the data key, which KMS gives the instance alone, makes frames for a header.
    join "$scratch/v2" "$scratch/v1" "$scratch/mixed"
    place "$scratch/mixed" "$scratch/v2.sig"
    refused 62 '^app: Frame 1 of the message, at byte .* is not authentic' 'the signed header with the frames of another message' 1
    join "$scratch/v1" "$scratch/v2" "$scratch/mixed"
    place "$scratch/mixed" "$scratch/v2.sig"
    refused 68 'has not signed' 'another header with the frames of the signed message'
}

say "== a message"
for i in 1 2 3; do
    head -c $((5000 + i)) /dev/urandom >"$scratch/input$i"
    cp "$scratch/input$i" "$scratch/plain$i"
done
format=(Format=message) members=() published=app
attempts
name=apq seal "$scratch/of-another" 2 "$scratch/input1"
place "$scratch/of-another"
signed
refused 68 'has not signed' 'a signed pair of another secret'

say "== a message that is read piece by piece"
head -c 3000000 /dev/urandom >"$scratch/input1"
cp "$scratch/input1" "$scratch/plain1"
seal "$scratch/v1" 9 "$scratch/input1"
place "$scratch/v1"
signed MinVersion=1
starts 'a message of 3 MB' "$scratch/plain1" 9
change_byte "$sealed" 2000000
refused 62 '^app: Frame 2 of the message, .* is not authentic' 'with a frame altered' 1
seal "$scratch/other" - "$scratch/input1"
place "$scratch/other" "$scratch/v1.sig"
refused 68 'has not signed' 'another message of the same plaintext'
for file in v1 other; do
    platform file put app.sealed "$scratch/$file" >/dev/null
    platform file put app.sealed.sig "$scratch/v1.sig" >/dev/null
    printf '%s\n' '[Secret]' Source=https://downloads.example.com/app.sealed "KeyId=$key" Format=message \
        "SignedBy=$scratch/vendor/vendor.pub" MinVersion=1 >"$config/secrets.d/app.secret"
    if [ "$file" = v1 ]; then
        starts 'a message of 3 MB by HTTPS' "$scratch/plain1" 9
    else
        refused 68 'app.sealed.sig: The key .* has not signed' 'another message of the same plaintext by HTTPS'
    fi
done

say "== a bundle"
for i in 1 2 3; do
    printf 'value %s' "$i" >"$scratch/plain$i"
    printf '{"password": "value %s", "spare": "x"}' "$i" >"$scratch/input$i"
done
format=(Format=bundle) members=('[Member password]') published=app.password
attempts --format=message
printf '{"password": "value 1"}' >"$scratch/input1"
signing_key=$(kms CreateKey '{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}' | jq -r .KeyMetadata.Arn)
kms GetPublicKey "$(jq -nc --arg key "$signing_key" '{KeyId: $key}')" | jq -r .PublicKey | base64 -d |
    openssl pkey -pubin -inform DER -out "$scratch/vendor/kms.pub"
for pair in "--sign=$scratch/vendor/vendor.key vendor.pub" "--sign-key=$signing_key kms.pub"; do
    read -r option public <<<"$pair"
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app \
        "$option" --secret-version=5 --print-secret-file -o "$sealed" --bundle="$scratch/input1" >"$scratch/printed"
    sed "s|^Source=.*|Source=file:$sealed|; s|^SignedBy=.*|SignedBy=$scratch/vendor/$public|" "$scratch/printed" >"$config/secrets.d/app.secret"
    starts "seal --bundle= ${option%%=*}, by the printed declaration" "$scratch/plain1" 5
done

say "== by the lines of the page, over the header alone"
sed -n '/^SIGNED SECRETS/,/^LARGE MESSAGES/s/^    //p' "$top/man/unseald.secret.5.rst" >"$scratch/lines"
sed -n '/^name=/,/basenc/p; /^  head -c/,/>message$/p; /^openssl pkeyutl -sign -rawin -inkey/p; /^printf.*sealed.sig$/p' "$scratch/lines" |
    sed 's/^name=db-password /name=app /' >"$scratch/by-page"
assert_equal 'the lines of the page' "$(wc -l <"$scratch/by-page")" 7
seal "$scratch/vendor/db-password.sealed" - --format=message "$scratch/input2"
(cd "$scratch/vendor" && PATH=$build/daemon:$PATH bash -euo pipefail "$scratch/by-page")
place "$scratch/vendor/db-password.sealed"
signed MinVersion=7
starts 'by the page' "$scratch/plain2" 7

say "== check and doctor judge the header, too"
image=$scratch/image
mkdir -p "$image"/etc "$image"/usr/lib/unseald/secrets.d "$image/var"
cp "$scratch/vendor/vendor.pub" "$image/usr/"
# checked STATUS REGEX WHAT FILE [SIGNATURE]
checked() {
    local saw=0
    cp "$4" "$image/usr/sealed"
    cp "${5:-$4.sig}" "$image/usr/sealed.sig"
    printf '%s\n' '[Secret]' Source=file:/usr/sealed "KeyId=$key" "${format[@]}" SignedBy=/usr/vendor.pub MinVersion=2 "${members[@]}" \
        >"$image/usr/lib/unseald/secrets.d/app.secret"
    "$unsealctl" check --root="$image" >"$scratch/out" 2>&1 || saw=$?
    assert_equal "check, $3: $(cat "$scratch/out")" "$saw" "$1"
    [ -z "$2" ] || assert_line "check, $3" "$scratch/out" "$2"
    say "  check, $3: status $1"
}
checked 0 '' 'a signed bundle' "$scratch/v2"
checked 78 'SignedBy=: .*has not signed this ciphertext' 'another bundle' "$scratch/other" "$scratch/v2.sig"
checked 78 'MinVersion=: .*has version 1, and this image takes no version below 2' 'an old bundle' "$scratch/v1"
checked 78 'Source=: .*header of the message is not complete' 'half a header' <(head -c 100 "$scratch/v2") "$scratch/v2.sig"
# examined REGEX WHAT: a line of doctor
examined() {
    platform exec --as instance -- "$unsealctl" doctor --json --vendor-configuration="$config" --configuration=/nonexistent --store="$store" \
        --status="$status_file" 2>"$scratch/err" | jq -r '.findings[] | "\(.verdict) \(.check) \(.subject): \(.text)"' >"$scratch/out" || true
    assert_line "doctor, $2" "$scratch/out" "$1"
    say "  doctor, $2: $(grep -m 1 -E "$1" "$scratch/out" | cut -c 1-100)"
}
signed MinVersion=2
place "$scratch/v2"
examined '^warning signature app: Version 2 is signed, but the public key' 'a signed bundle'
assert_line 'doctor on a bundle' "$scratch/out" '^ok key app: KMS would decrypt'
place "$scratch/v1"
examined '^failure signature app: .*no version below 2' 'an old bundle'
place "$scratch/other" "$scratch/v2.sig"
examined '^failure signature app: .*has not signed this ciphertext' 'another bundle'

say "== what cannot be sealed or signed is refused before KMS is asked"
# ends STATUS REGEX WHAT ARGUMENT...
ends() {
    local saw=0 before
    before=$(requests GenerateDataKey)
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app --secret-version=1 \
        "${@:4}" >"$scratch/out" 2>"$scratch/err" || saw=$?
    assert_equal "$3" "$saw" "$1"
    assert_line "$3" "$scratch/err" "$2"
    assert_equal "$3: requests" "$(requests GenerateDataKey)" "$before"
    [ ! -e "$scratch/never" ] && [ ! -e "$scratch/never.sig" ] || die "$3: a file was written"
    assert_no_line "$3: it asked for the passphrase" "$scratch/err" Passphrase
    say "  $3: status $1"
}
openssl pkey -in "$scratch/vendor/vendor.key" -aes256 -passout pass:secret -out "$scratch/encrypted.key"
ends 2 'The signature is written beside the sealed secret' 'to standard output' --format=message --sign="$scratch/encrypted.key" "$scratch/input1"
printf '{"port": 5432}' >"$scratch/wrong.json"
ends 1 'is a number' 'no bundle' --sign="$scratch/encrypted.key" --bundle="$scratch/wrong.json" -o "$scratch/never"
ends 1 'there is no terminal to ask for its passphrase' 'a bundle, with an encrypted key' --sign="$scratch/encrypted.key" --bundle="$scratch/input1" -o "$scratch/never"
ends 2 'is the file of the secret' 'the bundle itself as output' --sign="$scratch/vendor/vendor.key" --bundle="$scratch/input1" -o "$scratch/input1"
# A signature that KMS denies leaves no message behind: it comes before the first byte of the file.
platform fault set kms Sign error AccessDeniedException
saw=0
platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app --secret-version=1 \
    --sign-key="$signing_key" -o "$scratch/never" --bundle="$scratch/input1" 2>"$scratch/err" || saw=$?
platform fault clear
assert_equal 'a signature that KMS denies' "$saw" 60
assert_equal 'what it leaves' "$(find "$scratch" -maxdepth 1 -name 'never*' -o -maxdepth 1 -name '.unseald-*')" ''
