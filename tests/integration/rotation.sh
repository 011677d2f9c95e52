#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The ways of unseald(8), "ROTATION", for a machine to which nobody logs in, by the lines of the page: a reboot with a new ciphertext,
# and a replacement of the image. refresh.sh shows the third way. Each boot is a start of unseald with an empty store and a TPM that
# was reset. An image is a value of PCR4 and a declaration.
. "$(dirname "$0")/direct.sh"
direct_start
configure
bucket=sealed-secrets page=$top/man/unseald.8.rst

# block WAY: prints the lines of the page for a way
block() {
    awk -v way="$1" '/^ROTATION$/ { inside = 1 } /^FAILURES FOR GOOD$/ { inside = 0 } inside && /^[^ ]/ { found = $0 == way }
        inside && found && /^        /' "$page" | sed 's/^ *//' | grep . || die "the page has no lines for '$1'"
}
# The AWS CLI's part of the lines. foreign/seal.sh and foreign/policy.sh use the AWS CLI itself.
mkdir "$scratch/bin"
ln -s "$build/daemon/unsealctl" "$scratch/bin/"
cat >"$scratch/bin/aws" <<'END'
#!/bin/bash
set -e
. "$AWS_SHIM"
case "$1 $2 $3 $5 ${7:-}" in
's3api put-object --bucket --key --body') platform object put "$4" "$6" "$8" >/dev/null ;;
'kms put-key-policy --key-id --policy-name --policy')
    kms PutKeyPolicy "$(jq -nc --arg key "$4" --rawfile policy "${8#file://}" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null ;;
'ec2 reboot-instances --instance-ids  ') touch "$REBOOTED" ;;
*) echo "unknown: aws $*" >&2 && exit 2 ;;
esac
END
chmod +x "$scratch/bin/aws"
{
    declare -p top region PLATFORM_VENDOR_ACCESS_KEY_ID PLATFORM_VENDOR_SECRET_ACCESS_KEY PLATFORM_CA_FILE PLATFORM_KMS_ENDPOINT
    declare -f kms platform
} >"$scratch/shim"
export AWS_SHIM=$scratch/shim REBOOTED=$scratch/rebooted
# run LINES: runs lines of the page as the vendor
run() {
    (
        cd "$scratch"
        # shellcheck disable=SC2030
        export PATH=$scratch/bin:$PATH AWS_CA_BUNDLE=$PLATFORM_CA_FILE
        export key bucket instance=i-0123456789abcdef0 role=$PLATFORM_INSTANCE_ROLE_ARN admin="arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin"
        platform exec --as vendor -- bash -euo pipefail -c "$1"
    ) || die "lines of the page fail: $1"
}

# boots IMAGE WHAT: boots an image. $booted is what the application would have; otherwise unseald's exit status
boots() {
    platform tpm-reset
    platform extend 4 "image $1" >/dev/null
    printf '%s\n' '[Secret]' "Source=s3://$bucket/db-password.sealed" "KeyId=$key" "SignedBy=$scratch/vendor.pub" "MinVersion=${minimum[$1]}" \
        >"$config/secrets.d/db-password.secret"
    rm -f "$scratch/seen"
    on_ready() { cp "$store/db-password" "$scratch/seen"; }
    unseald_start
    unseald_finish
    booted=$unseald_status
    [ -z "$unseald_ready" ] || booted=$(cat "$scratch/seen")
    rm -f "$store"/*
    say "  image $1, $2: $booted"
}
delivers() { # IMAGE VALUE WHAT
    boots "$1" "$3"
    assert_equal "image $1, $3 ($(tail -n 3 "$log"))" "$booted" "$2"
}
refused() { # IMAGE STATUS REGEX WHAT
    boots "$1" "$4"
    assert_equal "image $1, $4 ($(tail -n 3 "$log"))" "$booted" "$2"
    assert_line "image $1, $4: why" "$log" "$3"
}

minimum=([1]=1 [2]=2)
for image in 1 2; do
    platform tpm-reset
    platform extend 4 "image $image" >/dev/null
    jq -n --arg pcr4 "$(pcr 4)" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4}}' >"$scratch/image-$image.json"
done
cp "$scratch/image-1.json" "$scratch/old.json"
cp "$scratch/image-2.json" "$scratch/new.json"
openssl genpkey -quiet -algorithm ED25519 -out "$scratch/vendor.key"
openssl pkey -in "$scratch/vendor.key" -pubout -out "$scratch/vendor.pub"

say "== a reboot"
block 'A reboot' >"$scratch/reboot"
block 'A replacement' >"$scratch/replacement"
# The first image, and the first version of the secret, by the same lines.
sed 's/ --measurements=new.json//; 2q' "$scratch/replacement" >"$scratch/first"
run "$(cat "$scratch/first")"
printf 'password 1' >"$scratch/password"
run "$(sed 's/--secret-version=2/--secret-version=1/; /reboot-instances/d' "$scratch/reboot")"
cp "$scratch/db-password.sealed" "$scratch/sealed-1"
cp "$scratch/db-password.sealed.sig" "$scratch/sealed-1.sig"
delivers 1 'password 1' 'the first boot'
printf 'password 2' >"$scratch/password"
run "$(cat "$scratch/reboot")"
[ -e "$REBOOTED" ] || die "the lines of the page do not reboot the instance"
delivers 1 'password 2' 'after the reboot'

say "== version 1 is put back"
for name in db-password.sealed db-password.sealed.sig; do
    platform object put "$bucket" "$name" "$scratch/sealed-1${name#db-password.sealed}" >/dev/null
done
delivers 1 'password 1' 'as the page says'

say "== a replacement"
before=$(requests Decrypt)
refused 2 68 'version 1, and this image takes no version below 2' 'the new image, with version 1'
assert_equal 'requests to KMS' "$(requests Decrypt)" "$before"
for name in db-password.sealed db-password.sealed.sig; do platform object put "$bucket" "$name" "$scratch/$name" >/dev/null; done
refused 2 60 'KMS denies access' 'the new image, before the policy names it'
run "$(sed -n 1,2p "$scratch/replacement")"
delivers 1 'password 2' 'both in the policy'
delivers 2 'password 2' 'both in the policy'
run "$(sed -n 3,4p "$scratch/replacement")"
refused 1 60 'KMS denies access' 'at its next boot'
delivers 2 'password 2' 'alone in the policy'
# The lines name who may seal: the next rotation works.
printf 'password 3' >"$scratch/password"
run "$(sed 's/--secret-version=2/--secret-version=3/' "$scratch/reboot")"
delivers 2 'password 3' 'after the next rotation'
for text in 'password 1' 'password 2' 'password 3'; do assert_absent "a plaintext" "$text" "$log" "$platform_state"; done
