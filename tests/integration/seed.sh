#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two platforms with the same seed have the same authority and make the same keys in the same order. Each opens what the other has
# sealed.
. "$(dirname "$0")/lib.sh"

seed=$scratch/seed
head -c 32 /dev/urandom >"$seed"

platform_start --seed "$seed"
first=$(vendor_create_key)
second=$(vendor_create_key)
[ "$first" != "$second" ] || die "two keys have one ARN"
printf 'outlives the platform' | vendor_seal "$second" seed "$scratch/sealed"
cp "$PLATFORM_CA_FILE" "$scratch/ca.pem"
platform stop

platform_start --seed "$seed"
assert_equal "the first key" "$(vendor_create_key)" "$first"
assert_equal "the second key" "$(vendor_create_key)" "$second"
PLATFORM_CA_FILE=$scratch/ca.pem
reply=$(kms Decrypt "$(jq -nc --arg blob "$(<"$scratch/sealed")" '{CiphertextBlob: $blob, EncryptionContext: {"unseald:secret": "seed"}}')")
assert_equal "the plaintext" "$(jq -r .Plaintext <<<"$reply" | base64 -d)" 'outlives the platform'
platform stop

printf 'too short' >"$seed"
if platform start --build "$build" --state "$platform_state" --seed "$seed" >"$scratch/refused" 2>&1; then
    die "a seed of nine bytes is taken"
fi
assert_line "the refusal" "$scratch/refused" 'seed'
