#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# People hand files over in other forms than are wanted: base64, gzip, UTF-16 and so on. Wherever unsealctl reads a file, it takes the
# form where that is certain, or says which form it is. No form makes it wait, and none is taken for something else.
. "$(dirname "$0")/direct.sh"

unsealctl=$build/daemon/unsealctl
work=$scratch/forms
mkdir -p "$work/good"
key=arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
role=arn:aws:iam::111122223333:role

# What each place reads, in the right form.
cp "$top/tests/vectors/attestation/nitrotpm-document.cbor" "$work/good/document"
cp "$top/conf/nitro-root/aws-nitro-root-g1.pem" "$work/good/root"
cp "$top/tests/vectors/efi/uki-x86-64.efi" "$work/good/image"
cp "$top/tests/vectors/efi/db.esl" "$work/good/variable"
jq -n '{Measurements: {HashAlgorithm: "SHA384", PCR4: ("a1" * 48)}}' >"$work/good/measurements"
jq -n --arg role "$role/admin" '{Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: $role}, Action: "kms:*", Resource: "*"}]}' >"$work/good/policy"
jq '{Policy: tojson, PolicyName: "default"}' "$work/good/policy" >"$work/good/envelope"
openssl genpkey -algorithm ed25519 -out "$work/good/private" 2>/dev/null
openssl pkey -in "$work/good/private" -pubout -out "$work/good/public"
openssl pkey -in "$work/good/private" -pubout -outform DER -out "$work/good/der"
{ printf '\1\2\2\0x' && head -c 180 /dev/urandom; } >"$work/good/ciphertext"
head -c 64 /dev/urandom | base64 -w0 | jq -R '{version: 1, signature: .}' >"$work/good/signature"
{ printf '\2\4x' && head -c 300 /dev/urandom; } >"$work/good/message"
head -c 32 /dev/urandom >"$work/good/nonce"

# in_image FILE-OF-SOURCE FILE-OF-KEY FILE-OF-SIGNATURE: what check says of an image with these
in_image() {
    rm -rf "$work/image"
    mkdir -p "$work/image/etc/unseald/secrets.d" "$work/image/usr/share"
    local i=0 file
    for file in ciphertext public signature; do
        ((++i))
        if [ -p "${!i}" ]; then mkfifo "$work/image/usr/share/$file"; else cp -r "${!i}" "$work/image/usr/share/$file"; fi
    done
    printf '%s\n' '[Secret]' Source=file:/usr/share/ciphertext "KeyId=$key" >"$work/image/etc/unseald/secrets.d/db.secret"
    [ "$2" = "$work/good/public" ] && [ "$3" = "$work/good/signature" ] ||
        printf '%s\n' SignedBy=/usr/share/public Signature=file:/usr/share/signature >>"$work/image/etc/unseald/secrets.d/db.secret"
    timeout 60 "$unsealctl" check --root="$work/image"
}
tool() { timeout 60 "$unsealctl" "$@" </dev/null; }
# read_at PLACE FILE: lets the tool read the file at that place
read_at() {
    local good=$work/good
    case $1 in
    document) tool verify --at=document "$2" ;;
    root) tool verify --at=document --root="$2" "$good/document" ;;
    measurements) tool verify --at=document --measurements="$2" "$good/document" ;;
    pinned) tool policy --admin="$role/a" --principal="$role/b" --measurements="$2" ;;
    nonce) tool verify --at=document --nonce="$2" "$good/document" ;;
    der) tool verify --at=document --public-key="$2" "$good/document" ;;
    policy | envelope) tool policy lint --admin="$role/admin" "$2" ;;
    message) tool cat-message "$2" ;;
    image) tool measure "$2" ;;
    variable) tool measure --PK="$top/tests/vectors/efi/PK.esl" --db="$2" "$top/tests/vectors/efi/uki-signed-db1.efi" ;;
    private) AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b tool seal --key="$key" --name=a --sign="$2" --secret-version=1 \
        --output="$work/sealed" --endpoint=https://127.0.0.1:1 "$good/root" ;;
    ciphertext) in_image "$2" "$good/public" "$good/signature" ;;
    public) in_image "$good/ciphertext" "$2" "$good/signature" ;;
    signature) in_image "$good/ciphertext" "$good/public" "$2" ;;
    esac
}
text() { case $1 in document | message | ciphertext | der | nonce | image | variable) base64 -w0 "$work/good/$1" ;; *) cat "$work/good/$1" ;; esac; }
# make FORM PLACE: prints the place's file in that form
make() {
    case $1 in
    base64) base64 "$work/good/$2" ;;
    hex) od -An -v -tx1 "$work/good/$2" | tr -d ' \n' ;;
    gzip) gzip -c "$work/good/$2" ;;
    bom) printf '\xef\xbb\xbf' && text "$2" ;;
    utf-16le) printf '\xff\xfe' && text "$2" | iconv -f UTF-8 -t UTF-16LE ;;
    utf-16be) printf '\xfe\xff' && text "$2" | iconv -f UTF-8 -t UTF-16BE ;;
    mime) printf 'MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n' && base64 "$work/good/$2" ;;
    json) text "$2" | jq -Rs . ;;
    empty) : ;;
    esac
}
declare -A words=([base64]='base64' [hex]='hexadecimal' [gzip]='compressed data' [bom]='byte order mark' [utf-16le]='UTF-16'
    [utf-16be]='UTF-16' [mime]='MIME message' [json]='JSON string' [empty]='empty')
# Taken, or answered in other words: what is said instead.
declare -A instead=([document:base64]='^Authentic' [document:hex]='^Authentic' [ciphertext:base64]='^$' [root:bom]='^Authentic'
    [private:bom]='127.0.0.1' [public:bom]='has not signed' [public:json]='without a readable public key' [policy:json]='arn:aws:iam'
    [envelope:json]='not a policy' [message:empty]='has 0' [variable:empty]='would not start the image'
    [root:json]='does not contain a certificate')
places='document root measurements pinned nonce der policy envelope message image variable private ciphertext public signature'
rows=0
for place in $places; do
    good=$place
    [ "$place" != pinned ] || good=measurements
    for form in "${!words[@]}"; do
        make "$form" "$good" >"$work/in"
        read_at "$place" "$work/in" >"$work/out" 2>&1 && status=0 || status=$?
        [ "$status" != 124 ] || die "$place in $form: the tool waits"
        [ -s "$work/out" ] || echo >"$work/out"
        assert_line "$place in $form" "$work/out" "${instead[$place:$form]:-${words[$form]}}"
        rows=$((rows + 1))
    done
    status=0
    read_at "$place" "$work/good" >"$work/out" 2>&1 || status=$?
    assert_line "$place as a directory" "$work/out" 'Is a directory'
    mkfifo "$work/fifo"
    case $place in
    # A configuration names files, and unseald opens nothing else.
    ciphertext | public | signature | private) read_at "$place" "$work/fifo" >"$work/out" 2>&1 || true
        assert_line "$place as a pipe" "$work/out" 'not a regular file' ;;
    *) cat "$work/good/$good" >"$work/fifo" &
        status=0
        read_at "$place" "$work/fifo" >"$work/out" 2>&1 || status=$?
        [ "$status" != 124 ] || die "$place as a pipe: the tool waits"
        wait $!
        read_at "$place" "$work/good/$good" >"$work/file" 2>&1 || true
        assert_equal "$place as a pipe says what it says as a file" "$(sed "s|$work/fifo||" "$work/out")" "$(sed "s|$work/good/$good||" "$work/file")" ;;
    esac
    rm "$work/fifo"
done
say "$rows rows"
