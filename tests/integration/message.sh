#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Secrets above the 4096 bytes that KMS encrypts: unsealctl seal makes messages, unsealctl unseal and unseald open them, and a
# message that is not for this secret is refused before KMS is asked.
. "$(dirname "$0")/direct.sh"
direct_start
configure
unsealctl=$build/daemon/unsealctl
message=$scratch/db.message

seal() { platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" "$@"; }
unseal() { # STATUS ARGUMENT...: leaves the plaintext in $scratch/out
    local want=$1 saw=0
    shift
    platform exec --as instance -- "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent \
        --reveal "$@" >"$scratch/out" 2>"$scratch/err" || saw=$?
    [ "$saw" = "$want" ] || die "unseal $*: saw exit status $saw, wanted $want: $(cat "$scratch/err")"
}
opens() { # WHAT FILE ARGUMENT...
    local what=$1 file=$2
    shift 2
    unseal 0 --key="$key" "$@" "$file"
    cmp "$scratch/out" "$secret" || die "$what: another plaintext"
    say "  $what: unsealed"
}
# delivers WHAT [LINE...]: unseald publishes the plaintext of $message
delivers() {
    local what=$1
    shift
    rm -f "$scratch/seen"
    declare_secret db-password "$key" "$message" Format=message "$@"
    on_ready() { cp "$store/db-password" "$scratch/seen"; }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$what: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    cmp "$scratch/seen" "$secret" || die "$what: another plaintext"
    say "  $what: delivered"
}
# refuses WHAT TEXT ASKED [LINE...]: unseald ends with status 62 and this text, and asks KMS so many times
refuses() {
    local what=$1 text=$2 asked=$3 before
    shift 3
    before=$(requests Decrypt)
    declare_secret db-password "$key" "$message" "$@"
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] && [ "$unseald_status" = 62 ] || die "$what: ended with $unseald_status: $(tail -n 5 "$log")"
    assert_line "$what" "$log" "$text"
    assert_equal "$what: how often KMS was asked" $(($(requests Decrypt) - before)) "$asked"
    assert_equal "$what: the store" "$(ls -A "$store")" ''
    say "  $what: status 62"
}

say "sizes, sealed from a file and from a pipe"
for size in 1 4096 4097 1048575 1048576 1048577 3145728 5000000; do
    head -c "$size" /dev/urandom >"$secret"
    seal --name=db-password --format=message -o "$message" "$secret"
    opens "$size bytes" "$message" --name=db-password
    seal --name=db-password --format=message <"$secret" >"$message"
    opens "$size bytes from a pipe" - --name=db-password <"$message"
    base64 "$message" >"$scratch/base64"
    opens "$size bytes in base64" "$scratch/base64" --name=db-password
done
assert_equal "the frames of the last" "$("$unsealctl" cat-message --json "$message" | jq -c '[.frames, .frame_length, .plaintext_size, .whole]')" \
    '[5,1048576,5000000,true]'

say "what fails or is interrupted leaves no file, and the older one as it was"
mkdir "$scratch/place"
mount -t tmpfs place "$scratch/place"
at_exit umount --lazy "$scratch/place"
echo older >"$scratch/place/db.message"
# stays WHAT STATUS TEXT COMMAND...: the command ends with this status and text and changes nothing in the directory
stays() {
    local what=$1 want=$2 text=$3 saw=0
    shift 3
    "$@" >"$scratch/out" 2>&1 || saw=$?
    assert_equal "$what: exit status" "$saw" "$want"
    assert_line "$what" "$scratch/out" "$text"
    assert_equal "$what: the files" "$(ls -A "$scratch/place") $(cat "$scratch/place/db.message")" 'db.message older'
    say "  $what: status $want"
}
# interrupted SYSCALL: seal gets SIGINT when it makes this call
interrupted() {
    platform exec --as vendor -- strace -f -qq -e "trace=$1" -e "inject=$1:signal=INT:when=1" \
        "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password -o "$scratch/place/db.message" "$secret"
}
stays "a directory as plaintext" 1 'Cannot read .*: Is a directory' seal --name=db-password --format=message -o "$scratch/place/db.message" /
stays "a full device" 1 'Cannot write /dev/full: No space left on device' seal --name=db-password -o /dev/full "$secret"
mount -o remount,size=2M "$scratch/place"
stays "a full file system" 1 'Cannot write .*/place/db.message: No space left on device' seal --name=db-password -o "$scratch/place/db.message" "$secret"
mount -o remount,size=64M "$scratch/place"
stays "SIGINT when all is written" 130 'killed by SIGINT' interrupted fsync
saw=0
interrupted linkat >"$scratch/out" 2>&1 || saw=$?
assert_equal "SIGINT while the file gets its name: exit status" "$saw" 130
opens "SIGINT while the file gets its name" "$scratch/place/db.message" --name=db-password
assert_equal "mode and files" "$(stat -c %a "$scratch/place/db.message") $(ls -A "$scratch/place")" '644 db.message'
# as_on_fat: seals to the file; strace refuses O_TMPFILE as FAT does
as_on_fat() {
    platform exec --as vendor -- strace -qq -o "$scratch/strace" -P "$scratch/place/." -e trace=openat -e inject=openat:error=EOPNOTSUPP \
        "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password -o "$scratch/place/db.message" "$secret"
}
echo older >"$scratch/place/db.message"
mount -o remount,size=2M "$scratch/place"
stays "a full file system without O_TMPFILE" 1 'Cannot write .*/place/db.message: No space left on device' as_on_fat
mount -o remount,size=64M "$scratch/place"
as_on_fat >/dev/null 2>&1
assert_line "O_TMPFILE" "$scratch/strace" 'O_TMPFILE.*INJECTED'
opens "a file system without O_TMPFILE" "$scratch/place/db.message" --name=db-password
assert_equal "mode and files" "$(stat -c %a "$scratch/place/db.message") $(ls -A "$scratch/place")" '644 db.message'

say "the format follows from the size"
head -c 4096 /dev/urandom >"$secret"
seal --name=db-password --raw -o "$message" "$secret"
"$unsealctl" cat-message "$message" >"$scratch/out" 2>"$scratch/err" && die "4096 bytes became a message"
assert_line "what 4096 bytes become" "$scratch/err" 'not a message of the AWS Encryption SDK'
head -c 20000 /dev/urandom >"$secret"
seal --name=db-password --context=stage=prod --json -o "$message" "$secret" >"$scratch/out"
assert_equal "JSON" "$(jq -c . "$scratch/out")" \
    "$(jq -nc --arg key "$key" '{KeyId: $key, EncryptionContext: {"unseald:secret": "db-password", stage: "prod"}}')"
"$unsealctl" cat-message "$message" >"$scratch/out"
assert_line "the suite" "$scratch/out" '^Suite *0x0478, .*commits to its key$'
assert_line "the context" "$scratch/out" '^Context *stage=prod$'
assert_line "the key" "$scratch/out" "^Data key *aws-kms, $key, "
assert_line "the plaintext" "$scratch/out" '^Plaintext *20000 bytes$'
"$unsealctl" cat-message - <<<"" >/dev/null 2>&1 && die "an empty line is shown as a message"
head -c 5000 "$message" >"$scratch/cut"
"$unsealctl" cat-message "$scratch/cut" >"$scratch/out" 2>"$scratch/err" && die "a cut message is whole"
assert_line "a cut message" "$scratch/err" 'at byte 5000, after 0 frames: it ends before its final frame'

say "a NUL hides nothing of what cat-message shows"
python3 - "$scratch/nul" <<'END'
import struct, sys
sized = lambda data: struct.pack(">H", len(data)) + data
context = struct.pack(">H", 1) + sized(b"unseald:secret") + sized(b"db\0-of-another")
open(sys.argv[1], "wb").write(b"\x02\x04\x78" + bytes(32) + sized(context) + struct.pack(">H", 1) + sized(b"aws-kms\0x") + sized(b"arn") +
    sized(b"c") + b"\x02" + struct.pack(">I", 4096) + bytes(48) + b"\xff" * 4 + struct.pack(">I", 1) + bytes(12) + bytes(4) + bytes(16))
END
"$unsealctl" cat-message "$scratch/nul" >"$scratch/out"
assert_line "the context" "$scratch/out" '^Context *unseald:secret=db[?]-of-another$'
assert_line "the provider" "$scratch/out" '^Data key *aws-kms[?]x, arn, 1 bytes$'

say "each format, by the commands of the page"
sed -n '/^CHOOSING A FORMAT/,/^BUNDLES/s/^    //p' "$top/man/unseald.secret.5.rst" | grep '^unsealctl seal' >"$scratch/by-page"
assert_equal "the commands of the page" "$(wc -l <"$scratch/by-page")" 3
mkdir "$scratch/page"
cp "$secret" "$scratch/before"
printf 'correct horse' >"$scratch/page/db-password.txt"
printf 'a prompt' >"$scratch/page/prompt.txt"
printf '{"token": "of a bundle"}' >"$scratch/page/app.json"
{ declare -p top key unsealctl PLATFORM_CA_FILE && declare -f platform seal && echo 'unsealctl() { seal "${@:2}"; }' && cat "$scratch/by-page"; } \
    >"$scratch/by-page.sh"
(cd "$scratch/page" && bash -euo pipefail "$scratch/by-page.sh")
for pair in db-password.txt:db-password prompt.txt:prompt app.json:app; do
    cp "$scratch/page/${pair%:*}" "$secret"
    opens "the page's ${pair#*:}" "$scratch/page/${pair#*:}.sealed" --name="${pair#*:}"
done
cp "$scratch/before" "$secret"

say "unseald delivers it"
delivers "20000 bytes" EncryptionContext=stage=prod
pin=$("$unsealctl" cat-message --json "$message" | jq -r .header_sha256)
delivers "a pinned header" EncryptionContext=stage=prod "Sha256=$pin"
seal --name=db-password --print-secret-file -o "$message" "$secret" | sed "s|^Source=.*|Source=file:$message|" >"$config/secrets.d/db-password.secret"
assert_line "what is printed" "$config/secrets.d/db-password.secret" '^Format=message$'
unseald_start
unseald_finish
[ -n "$unseald_ready" ] && cmp "$scratch/seen" "$secret" || die "the printed declaration: $(tail -n 5 "$log")"
seal --name=db-password --account="$PLATFORM_CUSTOMER_ACCOUNT" -o "$message" "$secret"
delivers "a message for this account" BindAccount=yes

say "what is not for this secret is refused before KMS is asked"
seal --name=db-password -o "$message" "$secret"
refuses "a pair that the message lacks" 'lacks the pair stage=prod' 0 Format=message EncryptionContext=stage=prod
refuses "not bound to an account" 'lacks the pair unseald:account=' 0 Format=message BindAccount=yes
refuses "another header than the pinned one" 'that Sha256= pins' 0 Format=message "Sha256=$pin"
refuses "a smaller SizeMax=" 'Raise SizeMax=' 1 Format=message SizeMax=19999
delivers "SizeMax= of just its size" SizeMax=20000
# The key's policy is not about accounts here, so KMS would open the message of any customer.
for account in "$PLATFORM_CUSTOMER_ACCOUNT" 999999999999; do
    seal --name=db-password --account="$account" -o "$message" "$secret"
    refuses "sealed for the account $account, without BindAccount=" "with the pair unseald:account=$account" 0 Format=message
done
seal --name=another -o "$message" "$secret"
refuses "the message of another secret" 'lacks the pair unseald:secret=db-password' 0 Format=message
# examines LINE...: what unsealctl check says of this declaration of $message
examines() {
    declare_secret db-password "$key" "$message" "$@"
    "$unsealctl" check --vendor-configuration="$config" --configuration=/nonexistent >"$scratch/out" 2>&1 || true
    assert_line "check, of a file below /tmp" "$scratch/out" 'unseald.service does not see /tmp/'
}
examines Format=message
assert_line "check, the message of another secret" "$scratch/out" 'secret:2: Source=: file:.*lacks the pair unseald:secret=db-password'
examines
assert_line "check, a message without Format=message" "$scratch/out" 'secret:2: Source=: file:.* message .*[Ss]et Format=message'
seal --name=db-password --account="$PLATFORM_CUSTOMER_ACCOUNT" -o "$message" "$secret"
for line in BindAccount=yes BindAccount=no; do
    examines Format=message "$line"
    [ "$line" = BindAccount=no ] || assert_no_line "check, which does not know the account" "$scratch/out" 'Source=: file:'
done
assert_line "check, a message for an account" "$scratch/out" 'Source=: file:.*with the pair unseald:account='
seal --name=db-password -o "$message" "$secret"
examines Format=message
assert_no_line "check, the right message" "$scratch/out" 'Source=: file:'
other=$(vendor_create_key)
platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$other" --name=db-password -o "$message" "$secret"
refuses "the data key of another KMS key" 'None of the 1 data keys' 0 Format=message
seal --name=db-password --format=message -o "$message" - <<<"short"
refuses "another format" 'Set Format=message' 0
cp "$scratch/sealed" "$message"
refuses "a ciphertext of KMS" 'This is a ciphertext of KMS, not a message of the AWS Encryption SDK. Remove Format=' 0 Format=message

say "Sha256= of a ciphertext of KMS"
cp "$secret" "$scratch/longer"
printf 'Hello World' >"$secret"
pin=$(base64 -d "$message" | sha256sum | cut -c 1-64)
delivers "the pinned ciphertext" Format=kms "Sha256=$pin"
vendor_seal "$key" db-password "$message" <"$secret"
refuses "another ciphertext of the same secret" 'that Sha256= pins' 0 "Sha256=$pin"
delivers "the control: no pin" Format=kms
cp "$scratch/longer" "$secret"

say "what was changed is refused, and nothing is published"
seal --name=db-password -o "$message" "$secret"
cp "$message" "$scratch/whole"
flip() { # OFFSET: flips a bit of the message at this offset, from the end if it is negative
    cp "$scratch/whole" "$message"
    python3 -c 'import sys
b = bytearray(open(sys.argv[1], "rb").read()); b[int(sys.argv[2])] ^= 1; open(sys.argv[1], "wb").write(b)' "$message" "$1"
}
flip 4
refuses "a bit of the message ID" 'does not commit to the data key' 1 Format=message
flip -1
refuses "a bit of the last tag" 'Frame 1 of the message, at byte .* is not authentic' 1 Format=message
flip -9000
refuses "a bit of the content" 'Frame 1 of the message, at byte .* is not authentic' 1 Format=message
head -c -1 "$scratch/whole" >"$message"
refuses "a byte less" 'ends before its final frame' 1 Format=message
cp "$scratch/whole" "$message" && printf x >>"$message"
refuses "a byte more" 'bytes follow its end' 1 Format=message
cp "$scratch/whole" "$message"
delivers "the control: unchanged"

say "an empty plaintext, which unsealctl seal does not write but other writers do"
kms GenerateDataKey "$(jq -nc --arg key "$key" '{KeyId: $key, KeySpec: "AES_256", EncryptionContext: {"unseald:secret": "db-password"}}')" >"$scratch/data-key"
make_message() { # PLAINTEXT
    python3 - "$scratch/data-key" "$1" "$message" <<'END'
import base64, json, struct, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
answer, plaintext = json.load(open(sys.argv[1])), sys.argv[2].encode()
sized = lambda data: struct.pack(">H", len(data)) + data
derive = lambda info: HKDF(SHA512(), 32, b"i" * 32, info).derive(base64.b64decode(answer["Plaintext"]))
context = struct.pack(">H", 1) + sized(b"unseald:secret") + sized(b"db-password")
header = b"\x02\x04\x78" + b"i" * 32 + sized(context) + struct.pack(">H", 1) + sized(b"aws-kms") + sized(answer["KeyId"].encode()) \
    + sized(base64.b64decode(answer["CiphertextBlob"])) + b"\x02" + struct.pack(">I", 4096) + derive(b"COMMITKEY")
gcm, iv = AESGCM(derive(b"\x04\x78DERIVEKEY")), bytes(11) + b"\x01"
aad = b"i" * 32 + b"AWSKMSEncryptionClient Final Frame" + struct.pack(">IQ", 1, len(plaintext))
open(sys.argv[3], "wb").write(header + gcm.encrypt(bytes(12), b"", header) + b"\xff" * 4 + struct.pack(">I", 1) + iv +
    struct.pack(">I", len(plaintext)) + gcm.encrypt(iv, plaintext, aad))
END
}
for plaintext in '' x; do
    printf %s "$plaintext" >"$secret"
    make_message "$plaintext"
    delivers "${#plaintext} bytes"
done
cp "$scratch/longer" "$secret"

say "whoever knows an earlier secret of 32 bytes makes messages of the same name: its ciphertext is one of a data key"
openssl rand -hex 16 | tr -d '\n' >"$scratch/known"
vendor_seal "$key" db-password "$scratch/known-sealed" <"$scratch/known"
jq -n --rawfile plaintext "$scratch/known" --rawfile sealed "$scratch/known-sealed" --arg key "$key" \
    '{KeyId: $key, Plaintext: ($plaintext | @base64), CiphertextBlob: ($sealed | rtrimstr("\n"))}' >"$scratch/data-key"
printf "of the owner's choice" >"$secret"
make_message "of the owner's choice"
delivers "(the attack, without a rule)"
cp "$message" "$scratch/made"
refuses "a pair that no ciphertext of KMS has" 'lacks the pair format=message' 0 Format=message EncryptionContext=format=message
openssl genpkey -algorithm ed25519 -out "$scratch/vendor.key" 2>/dev/null
openssl pkey -in "$scratch/vendor.key" -pubout -out "$scratch/vendor.pub"
seal --name=db-password --sign="$scratch/vendor.key" --secret-version=1 -o "$message" "$scratch/longer"
cp "$scratch/made" "$message"
before=$(requests Decrypt)
declare_secret db-password "$key" "$message" Format=message "SignedBy=$scratch/vendor.pub"
unseald_start
unseald_finish
[ -z "$unseald_ready" ] && [ "$unseald_status" = 68 ] || die "SignedBy=: ended with $unseald_status: $(tail -n 5 "$log")"
assert_equal "SignedBy=: how often KMS was asked" "$(requests Decrypt)" "$before"
say "  SignedBy=: status 68"
cp "$scratch/longer" "$secret"

say "who may not make data keys"
kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg admin "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:root" '{KeyId: $key, PolicyName: "default",
    Policy: ({Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: $admin}, Resource: "*",
              NotAction: ["kms:GenerateDataKey", "kms:Decrypt"]}]} | tojson)}')"
status=0
seal --name=db-password -o "$scratch/none" "$secret" 2>"$scratch/err" || status=$?
assert_equal "exit status without GenerateDataKey" "$status" 60
assert_line "what is said" "$scratch/err" 'KMS denies access: .*kms:GenerateDataKey.*Request '
[ ! -e "$scratch/none" ] || die "a refused message left a file"
