#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kiwi/secure-boot against programs of others: sbverify and osslsigncode read its signatures, virt-firmware reads the variables that
# uefivars wrote for EC2, the AWS CLI and SoftHSM hold private keys. tests/boot/appliance.sh shows what firmware makes of them.
. "$(dirname "$0")/lib.sh"
install_aws
install_from_pypi secure-boot uefivars virt-firmware
start_platform
export PATH=$cache/secure-boot/bin:${aws%/*}:$PATH
secure_boot=$top/kiwi/secure-boot vectors=$top/tests/vectors/efi unsealctl=$build/daemon/unsealctl
keys=$work/keys image=$vectors/uki-x86-64.efi

refused() { # STATUS WORDS COMMAND...
    local status=0
    rm -f "$work/never"
    "${@:3}" >"$work/output" 2>"$work/error" || status=$?
    [[ $status == "$1" ]] || fail "exit status $status, $1 was due: ${*:3}: $(cat "$work/error")"
    [[ $(cat "$work/error") == *"$2"* ]] || fail "\"$2\" was due, not: $(cat "$work/error")"
    [[ ! -e $work/never ]] || fail "it wrote a signed image: ${*:3}"
    echo "refused as it should be: $(grep -F -m 1 -e "$2" "$work/error" | cut -c1-200)"
}

hash_all() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2); }

# measure STATUS IMAGE: predicts PCR7 with the variables of $keys. Prints it.
measure() {
    local status=0 lists=() name
    for name in PK KEK db dbx; do [ ! -e "$keys/$name.esl" ] || lists+=("--$name=$keys/$name.esl"); done
    "$unsealctl" measure "${lists[@]}" "$2" >"$work/measured" 2>"$work/error" || status=$?
    [[ $status == "$1" ]] || fail "measure $2: exit status $status, $1 was due: $(cat "$work/error")"
    [[ $1 != 0 ]] || jq -r .Measurements.PCR7 "$work/measured"
}

# Two programs of others accept the signature. Neither accepts it with another certificate.
verify() { # DIRECTORY IMAGE
    sbverify --cert "$1/db.pem" "$2" >/dev/null 2>&1 || fail "sbverify refuses $2"
    osslsigncode verify -CAfile "$1/db.pem" -in "$2" >"$work/output" 2>&1 || fail "osslsigncode refuses $2: $(cat "$work/output")"
    ! sbverify --cert "$1/KEK.pem" "$2" >/dev/null 2>&1 || fail "sbverify accepts $2 with another certificate"
    ! osslsigncode verify -CAfile "$1/KEK.pem" -in "$2" >/dev/null 2>&1 || fail "osslsigncode accepts $2 with another certificate"
}

# The variables in EC2's format are the signature lists, as another implementation reads them.
check_variables() { # NAME...
    local name
    virt-fw-vars --loglevel error --input "$keys/uefi-data" --output-json "$work/variables.json" >/dev/null
    [[ $(jq -r '[.variables[].name] | sort | join(" ")' "$work/variables.json") == "$*" ]] || fail "not $*: $(cat "$work/variables.json")"
    for name; do
        jq -r --arg name "$name" '.variables[] | select(.name == $name) | .data' "$work/variables.json" | xxd -r -p |
            cmp - "$keys/$name.esl" || fail "$name is another in uefi-data"
    done
    # Non-volatile, for boot services and the running system, writable with a signature (UEFI 2.10, 8.2.1).
    [[ $(jq -c '[.variables[].attr] | unique' "$work/variables.json") == '[39]' ]] || fail "attributes: $(cat "$work/variables.json")"
    [[ $(jq -r '.variables[] | select(.name == "PK" or .name == "KEK") | .guid' "$work/variables.json" | sort -u) == 8be4df61-* &&
        $(jq -r '.variables[] | select(.name == "db" or .name == "dbx") | .guid' "$work/variables.json" | sort -u) == d719b2cb-* ]] ||
        fail "name spaces: $(cat "$work/variables.json")"
}

# Keys, certificates, variables.
PATH=/usr/bin:/bin refused 1 'uefivars is not installed' "$secure_boot" create "$keys"
[[ ! -e $keys ]] || fail "without uefivars it made something"
"$secure_boot" create --name='Example Inc.' "$keys"
[[ $(stat -c '%a %n' "$keys" "$keys"/* | sed "s|$keys/*||" | sort | xargs) == \
    '600 KEK.key 600 PK.key 600 db.key 644 KEK.esl 644 KEK.pem 644 PK.esl 644 PK.pem 644 db.esl 644 db.pem 644 uefi-data 700' ]] ||
    fail "the directory: $(ls -la "$keys")"
[[ $(openssl x509 -in "$keys/db.pem" -noout -subject) == 'subject=CN = Example Inc. db' ]] || fail "the name of db"
for name in PK KEK db; do
    openssl verify -CAfile "$keys/$name.pem" "$keys/$name.pem" >/dev/null || fail "the certificate of $name does not verify"
    cmp <(openssl x509 -in "$keys/$name.pem" -noout -pubkey) <(openssl pkey -in "$keys/$name.key" -pubout) || fail "another key in $name.pem"
done
check_variables KEK PK db
hash_all "$keys" >"$work/before"
rm "$keys"/*.esl "$keys/uefi-data"
"$secure_boot" create "$keys"
hash_all "$keys" | cmp - "$work/before" || fail "a second call changes the keys, or the same keys make other variables"
# A key that is kept elsewhere or was deleted is not made anew: its certificate is in the variables.
mv "$keys/KEK.key" "$work/KEK.key"
"$secure_boot" create "$keys"
[[ ! -e $keys/KEK.key ]] || fail "a new KEK.key stands beside the old certificate"
mv "$work/KEK.key" "$keys/"
refused 1 'already has a key db' "$secure_boot" create --db-key=arn:aws:kms:eu-north-1:111111111111:key/1 "$keys"

# The same bytes each time, accepted by others and by our own prediction; an image that is not signed is not.
"$secure_boot" sign "$keys" "$image" "$work/signed.efi"
"$secure_boot" sign "$keys" "$image" "$work/again.efi"
cmp "$work/signed.efi" "$work/again.efi" || fail "two signatures of one image differ"
verify "$keys" "$work/signed.efi"
measure 14 "$image"
first=$(measure 0 "$work/signed.efi")
cp "$work/measured" "$work/first.json"
cp "$work/signed.efi" "$work/changed.efi"
change_byte "$work/changed.efi" 5000
measure 14 "$work/changed.efi"
# Firmware hashes a file whose length is no multiple of eight with zeros up to there.
{ cat "$image" && printf 'odd'; } >"$work/odd.efi"
"$secure_boot" sign "$keys" "$work/odd.efi" "$work/odd-signed.efi"
verify "$keys" "$work/odd-signed.efi"

# What is no image, or no key.
refused 1 'signed already' "$secure_boot" sign "$keys" "$work/signed.efi" "$work/never"
refused 1 'not a UEFI program' "$secure_boot" sign "$keys" "$top/README.md" "$work/never"
refused 1 'not a UEFI program' "$secure_boot" sign "$keys" /dev/null "$work/never"
for length in 1 63 64 200 400 511 5000; do
    head -c $length "$image" >"$work/short.efi"
    refused 1 "short.efi: Th" "$secure_boot" sign "$keys" "$work/short.efi" "$work/never" >/dev/null
done
# Headers that end before the place for a signature, with the section right behind them; headers beyond the end, and no section.
"$top/tests/boot/firmware.py" program "$work/headers.efi" application headers
cp "$work/headers.efi" "$work/beyond.efi"
put() { printf %b "$3" | dd of="$1" bs=1 seek=$((0x40 + 24 + $2)) conv=notrunc status=none; }
put "$work/headers.efi" 60 '\x80\0\0\0'
put "$work/headers.efi" $((0xf0 + 16)) '\x80\x03\0\0\x80\0\0\0'
put "$work/beyond.efi" 60 '\0\0\x10\0'
put "$work/beyond.efi" -18 '\0\0'
for name in headers beyond; do refused 1 'not a UEFI program' "$secure_boot" sign "$keys" "$work/$name.efi" "$work/never"; done
# A section behind a gap, which the signature would not cover.
"$top/tests/boot/firmware.py" program "$work/gap.efi" application gap
"$secure_boot" sign "$keys" "$work/gap.efi" "$work/gap-signed.efi"
verify "$keys" "$work/gap-signed.efi"
head -c 512 /dev/zero >>"$work/gap.efi"
printf '\x00\x04' | dd of="$work/gap.efi" bs=1 seek=$((0x40 + 24 + 0xf0 + 20)) conv=notrunc status=none
refused 1 'gaps between' "$secure_boot" sign "$keys" "$work/gap.efi" "$work/never"
cp -r "$keys" "$work/other"
chmod 640 "$work/other/db.key"
refused 1 'other users can read' "$secure_boot" sign "$work/other" "$image" "$work/never"
cp -p "$keys/KEK.key" "$work/other/db.key"
refused 1 'do not belong together' "$secure_boot" sign "$work/other" "$image" "$work/never"
(umask 077 && openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/other/db.key" 2>/dev/null ||
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/other/db.key")
rm "$work/other/db.pem"
refused 1 'not RSA' "$secure_boot" create "$work/other"
(umask 077 && openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$work/other/db.key" 2>/dev/null)
refused 1 '1024 bits' "$secure_boot" create "$work/other"
refused 1 'has no keys' "$secure_boot" sign "$work" "$image" "$work/never"
refused 1 'pin-source' "$secure_boot" create "$work/pin" '--db-key=pkcs11:token=boot;pin-value=1234'
[[ ! -e $work/pin ]] || fail "it made a directory for a key that it refused"
elsewhere=arn:aws:kms:eu-north-1:111111111111:key/00000000-0000-0000-0000-000000000000
refused 1 NotFoundException vendor "$secure_boot" create --db-key=$elsewhere "$work/again"
[[ ! -e $work/again/db.key-uri ]] || fail "the next call cannot name another key"
refused 1 'neither the ARN' "$secure_boot" create "$work/pin" --db-key="$keys/db.key"
refused 2 'none of create' "$secure_boot" destroy "$keys"
refused 2 'no option --db-key' "$secure_boot" sign --db-key=pkcs11:x "$keys" "$image" "$work/never"
refused 2 'not the arguments of sign' "$secure_boot" sign "$keys" "$image"

# dbx: the revoked image, whether signed or not when it was given, is not started. Another one still is.
"$secure_boot" revoke "$keys" "$image" "$work/signed.efi"
[[ $(wc -l <"$keys/revoked") == 1 ]] || fail "one image is there twice: $(cat "$keys/revoked")"
check_variables KEK PK db dbx
measure 14 "$work/signed.efi"
second=$(measure 0 "$work/odd-signed.efi")
[[ $second != "$first" ]] || fail "PCR7 does not show the revocation"
# The policy of the new measurements accepts no machine with the old variables. *Control*: the policy of before does.
policy=(policy --secure-boot --principal=arn:aws:iam::222222222222:role/app --admin=arn:aws:iam::111111111111:user/admin)
"$unsealctl" "${policy[@]}" --measurements="$work/first.json" >"$work/before.json"
"$unsealctl" "${policy[@]}" --measurements="$work/measured" >"$work/after.json"
[[ $(grep -c "$first" "$work/before.json") -gt 0 && $(grep -c "$second" "$work/after.json") -gt 0 ]] || fail "a policy does not pin PCR7"
! grep -q "$first" "$work/after.json" || fail "the policy still names the old PCR7"

# A new db. The old key is kept, apart, and what it has signed is not started.
cp "$keys/db.key" "$work/old.key"
"$secure_boot" roll "$keys"
cmp "$keys/retired/1/db.key" "$work/old.key" || fail "the old key is lost"
[[ $(stat -c %a "$keys/retired/1" "$keys/retired/1/db.key" "$keys/db.key" | xargs) == '700 600 600' ]] || fail "modes: $(ls -lR "$keys")"
check_variables KEK PK db dbx
measure 14 "$work/odd-signed.efi"
"$secure_boot" sign "$keys" "$work/odd.efi" "$work/rolled.efi"
verify "$keys" "$work/rolled.efi"
third=$(measure 0 "$work/rolled.efi")
[[ $third != "$second" ]] || fail "PCR7 does not show the new key"

# The key db in KMS. Only its place is in the directory.
key=$(vendor aws kms create-key --key-spec RSA_3072 --key-usage SIGN_VERIFY --query KeyMetadata.Arn --output text)
vendor "$secure_boot" roll "$keys" --db-key="$key"
[[ ! -e $keys/db.key && $(<"$keys/db.key-uri") == "$key" ]] || fail "the directory: $(ls -la "$keys")"
vendor "$secure_boot" sign "$keys" "$work/odd.efi" "$work/kms.efi"
vendor "$secure_boot" sign "$keys" "$work/odd.efi" "$work/again.efi"
cmp "$work/kms.efi" "$work/again.efi" || fail "two signatures of KMS differ"
verify "$keys" "$work/kms.efi"
measure 0 "$work/kms.efi" >/dev/null
[[ $(jq -sr '[.[] | select(.eventName == "Sign" and .errorCode == null)] | length' "$PLATFORM_TRAIL") == 3 ]] ||
    fail "the certificate and two images are three signatures of KMS"
refused 1 AccessDeniedException customer "$secure_boot" sign "$keys" "$work/odd.efi" "$work/never"
vendor aws kms disable-key --key-id "$key"
refused 1 DisabledException vendor "$secure_boot" sign "$keys" "$work/odd.efi" "$work/never"
elliptic=$(vendor aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY --query KeyMetadata.Arn --output text)
hash_all "$keys" >"$work/before"
refused 1 'not RSA' vendor "$secure_boot" roll "$keys" --db-key="$elliptic"
hash_all "$keys" | cmp - "$work/before" || fail "a roll that was refused changed the directory"

# The key db in a PKCS #11 token. The file with the PIN is named in the URI.
mkdir "$work/tokens"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$work/tokens" >"$work/softhsm.conf"
export SOFTHSM2_CONF=$work/softhsm.conf PKCS11_MODULE_PATH=/usr/lib/softhsm/libsofthsm2.so
softhsm2-util --init-token --free --label boot --pin 1234 --so-pin 5678 >/dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/token.key" 2>/dev/null
softhsm2-util --import "$work/token.key" --token boot --label db --id 01 --pin 1234 >/dev/null
printf 1234 >"$work/pin"
"$secure_boot" roll "$keys" --db-key="pkcs11:token=boot;object=db;pin-source=file:$work/pin"
"$secure_boot" sign "$keys" "$work/odd.efi" "$work/token.efi"
verify "$keys" "$work/token.efi"
# The token and the same key in a file make the same bytes.
rm "$keys/db.key-uri"
install -m 600 "$work/token.key" "$keys/db.key"
"$secure_boot" sign "$keys" "$work/odd.efi" "$work/again.efi"
cmp "$work/token.efi" "$work/again.efi" || fail "the token signs another thing"
rm "$keys/db.key"
printf 'pkcs11:token=boot;object=db;pin-source=file:%s\n' "$work/pin" >"$keys/db.key-uri"
printf 9999 >"$work/pin"
refused 1 'openssl' "$secure_boot" sign "$keys" "$work/odd.efi" "$work/never"

# No part of a private key is in what goes to EC2 or into the image. *Control*: it is in the private key.
hex_of() { xxd -p "$1" | tr -d '\n'; }
for private in PK.key KEK.key retired/1/db.key; do
    openssl rsa -in "$keys/$private" -outform DER -out "$work/private.der" 2>/dev/null
    part=$(openssl rsa -in "$keys/$private" -noout -text 2>/dev/null | sed -n '/^prime1/,/^prime2/p' | tr -d ' :\n')
    part=${part:64:64}
    [[ $part =~ ^[0-9a-f]{64}$ && $(hex_of "$work/private.der") == *$part* ]] || fail "no part of $private to look for: $part"
    for file in "$work"/*signed.efi "$keys"/*.esl; do
        [[ $(hex_of "$file") != *$part* ]] || fail "$file has a part of $private"
    done
    [[ $(<"$work/variables.json") != *$part* ]] || fail "uefi-data has a part of $private"
done
