#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl seal beside the AWS CLI: each opens the other's ciphertext, and both find the same credentials.
. "$(dirname "$0")/../direct.sh"
# shellcheck source=tests/integration/foreign/lib.sh
. "$(dirname "$0")/lib.sh"
install_aws
direct_start
configure
unsealctl=$build/daemon/unsealctl
# This key is for the test alone. Under the vendor's key only the instance may decrypt.
open_key=$(vendor_create_key)

seal() { vendor "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" "$@"; }
decrypt() { # FILE CONTEXT...
    vendor "$aws" kms decrypt --key-id "$open_key" --ciphertext-blob "fileb://$1" --encryption-context "$2" \
        --query Plaintext --output text | base64 -d
}

head -c 4096 /dev/urandom >"$work/random"
seal --key="$open_key" --name=db-password --raw -o "$work/ciphertext" "$work/random"
decrypt "$work/ciphertext" unseald:secret=db-password | cmp - "$work/random"
seal --key="$open_key" --name=a.b_c-d --context='team=ä "x"' --account=222222222222 --raw "$work/random" >"$work/ciphertext"
decrypt "$work/ciphertext" '{"unseald:secret": "a.b_c-d", "unseald:account": "222222222222", "team": "ä \"x\""}' | cmp - "$work/random"
seal --key="$open_key" --name=db-password "$work/random" | base64 -d >"$work/ciphertext"
decrypt "$work/ciphertext" unseald:secret=db-password | cmp - "$work/random"
expect_error InvalidCiphertextException decrypt "$work/ciphertext" unseald:secret=another
echo "the AWS CLI decrypts what unsealctl has sealed"

cp "$work/random" "$secret"
vendor "$aws" kms encrypt --key-id "$key" --plaintext "fileb://$work/random" \
    --encryption-context unseald:secret=db-password,stage=prod --query CiphertextBlob --output text >"$work/by-aws"
declare_secret db-password "$key" "$work/by-aws" EncryptionContext=stage=prod
on_ready() { cp "$store/db-password" "$work/seen"; }
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || fail "unseald ended with $unseald_status: $(tail -n 5 "$log")"
cmp "$work/seen" "$work/random"
echo "unseald unseals what the AWS CLI has encrypted"

# The lines of unseald.secret(5) that have the AWS CLI encrypt.
{
    echo "aws() { '$platform' exec --as vendor -- '$aws' \"\$@\"; }"
    sed -n '/^CHOOSING A FORMAT/,/^BUNDLES/s/^    //p' "$top/man/unseald.secret.5.rst" | sed -n '/^aws kms encrypt/,/sealed$/p' | grep .
} >"$work/encrypt"
cp "$work/random" "$work/db-password.txt"
(cd "$work" && key=$key bash -euo pipefail encrypt)
declare_secret db-password "$key" "$work/db-password.sealed"
rm "$work/seen"
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || fail "unseald ended with $unseald_status: $(tail -n 5 "$log")"
cmp "$work/seen" "$work/random"
echo "unseald unseals what the page has the AWS CLI encrypt"

# The lines of unseald.secret(5) that have KMS sign, by the AWS CLI.
sed -n '/^SIGNED SECRETS/,/^ROLLBACK/s/^    //p' "$top/man/unseald.secret.5.rst" >"$work/lines"
signing_key=$(vendor "$aws" kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY --query KeyMetadata.Arn --output text)
cp "$work/by-aws" "$work/db-password.sealed"
{
    echo "aws() { '$platform' exec --as vendor -- '$aws' \"\$@\"; }"
    sed -n '/^name=/,/>message$/p; /^aws kms sign/,/>signature$/p; /^printf.*\.sig$/p; /^aws kms get-public-key/,/vendor.pub$/p' "$work/lines"
} >"$work/sign"
(cd "$work" && key=$signing_key bash -euo pipefail sign)
declare_secret db-password "$key" "$work/db-password.sealed" EncryptionContext=stage=prod "SignedBy=$work/vendor.pub" MinVersion=7
rm "$work/seen"
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || fail "unseald ended with $unseald_status: $(tail -n 5 "$log")"
cmp "$work/seen" "$work/random"
echo "unseald takes what KMS has signed for the AWS CLI"

mkdir "$work/profiles"
export PLATFORM_TRAIL PLATFORM_CA_FILE
"$aws_python" "$(dirname "$0")/profiles.py" "$unsealctl" "$platform" "$key" "$work/profiles"
