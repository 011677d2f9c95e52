#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl unseal: one unsealing by hand. The plaintext goes only where the options say. It fails as unseald does.
. "$(dirname "$0")/direct.sh"
direct_start
configure
declare_secret db-password "$key" "$scratch/sealed"

# unseal STATUS ARGUMENT...: leaves output in $scratch/out and $scratch/err, and that of file descriptor 7 in $scratch/fd
unseal() {
    local want=$1 saw=0
    shift
    platform exec --as instance -- "$build/daemon/unsealctl" unseal --vendor-configuration="$config" \
        --configuration=/nonexistent "$@" >"$scratch/out" 2>"$scratch/err" 7>"$scratch/fd" || saw=$?
    [ "$saw" = "$want" ] || die "unseal $*: saw exit status $saw, wanted $want: $(cat "$scratch/err")"
}
# assert_secret WHERE...: the plaintext is in these outputs and in no other
assert_secret() {
    local where
    for where in out err fd; do
        if [[ " $* " == *" $where "* ]]; then
            assert_equal "$where" "$(cat "$scratch/$where")" 'Hello World'
        else
            assert_no_line "$where" "$scratch/$where" 'Hello'
        fi
    done
}
declaration=$config/secrets.d/db-password.secret

say "a declared secret goes only where the options say"
unseal 0 --secret="$declaration"
assert_secret
assert_line "the output without the plaintext" "$scratch/out" '^db-password: KMS decrypts it, 11 bytes; request [0-9a-f-]{36}\.$'
request=$(sed -n 's/.*request \(.*\)\.$/\1/p' "$scratch/out")
assert_equal "the same request in KMS's log" "$(platform log | jq -r --arg id "$request" 'select(.requestID == $id) | .eventName')" Decrypt
unseal 0 --secret="$declaration" --reveal
assert_secret out
assert_equal "what is said beside it" "$(cat "$scratch/err")" ''
unseal 0 --secret="$declaration" --fd=7 --verbose
assert_secret fd
assert_line "the output with --verbose" "$scratch/err" '^attestation document: done'

say "a declared secret by its name, with its drop-ins"
declare_secret billing-token "$key" "$scratch/sealed" # sealed under another name
unseal 0 db-password --reveal
assert_secret out
mkdir "$declaration.d"
printf '[Secret]\nEncryptionContext=stage=other\n' >"$declaration.d/stage.conf"
unseal 62 db-password --reveal
assert_secret
unseal 0 --secret="$declaration"
rm -r "$declaration.d"
unseal 78 none
assert_line "what to do" "$scratch/err" "No secret none is declared in .*'unsealctl cat-config' lists all"
unseal 2 db-password --context=stage=other
unseal 2 db-password other
rm "$config/secrets.d/billing-token.secret"
assert_equal "the store" "$(ls -A "$store")" ''
[ ! -e "$status_file" ] || die "a status was written"
assert_equal "what is left in the TPM" "$(tpm_contents | grep -v ': $' || true)" ''

kms Encrypt "$(jq -nc --arg key "$key" --arg text "$(base64 -w0 "$secret")" --arg account "$PLATFORM_CUSTOMER_ACCOUNT" \
    '{KeyId: $key, Plaintext: $text, EncryptionContext: {"unseald:secret": "bound", "unseald:account": $account}}')" |
    jq -r .CiphertextBlob >"$scratch/bound"
printf '%s\n' '[Secret]' "Source=file:$scratch/bound" "KeyId=$key" 'BindAccount=yes' >"$scratch/bound.secret"
unseal 0 --secret="$scratch/bound.secret" --reveal
assert_secret out

say "a ciphertext and a key"
unseal 0 --key="$key" --name=db-password --reveal "$scratch/sealed"
assert_secret out
base64 -d "$scratch/sealed" >"$scratch/raw"
(cd "$scratch" && unseal 0 --key="$key" --context=unseald:secret=db-password --reveal raw)
assert_secret out
unseal 0 --key="$key" --name=db-password --reveal - <"$scratch/raw"
assert_secret out
kms Encrypt "$(jq -nc --arg key "$key" --arg text "$(base64 -w0 "$secret")" \
    '{KeyId: $key, Plaintext: $text, EncryptionContext: {a: "b=c", d: ""}}')" | jq -r .CiphertextBlob >"$scratch/other"
unseal 0 --key="$key" --context=a=b=c --context=d= --reveal "$scratch/other"
assert_secret out
kms Encrypt "$(jq -nc --arg key "$key" --arg text "$(base64 -w0 "$secret")" '{KeyId: $key, Plaintext: $text}')" |
    jq -r .CiphertextBlob >"$scratch/bare"
unseal 0 --key="$key" --reveal "$scratch/bare"
assert_secret out

say "usage"
unseal 2
unseal 2 --secret="$declaration" --key="$key" "$scratch/sealed"
unseal 2 --secret="$declaration" "$scratch/sealed"
unseal 2 --secret="$declaration" --name=db-password
unseal 2 --key="$key"
unseal 2 --key="$key" "$scratch/sealed" "$scratch/raw"
unseal 2 --key=alias/billing "$scratch/sealed"
unseal 2 --key="$key" --context=a "$scratch/sealed"
unseal 2 --key="$key" --context==a "$scratch/sealed"
unseal 2 --key="$key" --context=a=b --context=a=c "$scratch/sealed"
for fd in '' a -1 9 1x 99999999999; do
    unseal 2 --secret="$declaration" --fd="$fd"
done

say "failures have the exit status of unseald"
unseal 78 --secret="$scratch/none.secret"
unseal 78 --secret="$scratch/sealed"
sed 's/^KeyId=.*/KeyId=alias\/x/' "$declaration" >"$scratch/wrong.secret"
unseal 78 --secret="$scratch/wrong.secret"
assert_line "file and line" "$scratch/err" 'wrong.secret:3: KeyId='
unseal 30 --key="$key" "$scratch/none"
unseal 62 --key="$key" --name=api-token --reveal "$scratch/sealed"
assert_line "which options make the context" "$scratch/err" 'is what --name= and --context= give'
unseal 62 --key="$key" --reveal "$scratch/sealed"
assert_line "that the name is missing" "$scratch/err" 'give --name=NAME'
assert_secret
sed '/^KeyId=/a Optional=yes' "$declaration" >"$scratch/api-token.secret"
unseal 62 --secret="$scratch/api-token.secret" --reveal
assert_secret
for operation in plaintext tampered-cms wrong-keyid; do
    platform fault set kms Decrypt "$operation"
    unseal 65 --secret="$declaration" --reveal
    assert_secret
    platform fault clear
done
platform fault set tpm NSM_Request code 0x143
unseal 21 --secret="$declaration"
platform fault clear
platform role none
configure DeadlineSec=20s
unseal 41 --secret="$declaration"
assert_line "the wait is logged" "$scratch/err" '^credentials: attempt 1 failed, next in '
platform role billing-instance
configure
saw=0
platform exec --as instance -- "$build/daemon/unsealctl" unseal --vendor-configuration="$config" --secret="$declaration" --reveal \
    >/dev/full 2>"$scratch/err" || saw=$?
assert_equal "standard output is full" "$saw" 1
# If standard output is closed, no connection or file may get its number, and with it the secret.
saw=0
platform exec --as instance -- "$build/daemon/unsealctl" unseal --vendor-configuration="$config" --secret="$declaration" --reveal \
    >&- 2>"$scratch/err" || saw=$?
assert_equal "standard output is closed" "$saw" 1
assert_line "the message" "$scratch/err" 'Cannot write the plaintext: Bad file descriptor'

say "access denied is explained as in unseald"
platform extend 4 'another image' >/dev/null
printf '{"Measurements": {"PCR4": "%096d"}}' 7 >"$scratch/expected.json"
configure "ExpectedMeasurements=$scratch/expected.json"
unseal 60 --secret="$declaration" --reveal
assert_secret
assert_line "the measurement" "$scratch/err" "$(pcr 4)"
assert_line "what was expected" "$scratch/err" "0007"

assert_absent "the plaintext" 'Hello World' "$scratch/err" "$platform_state" "$config"
