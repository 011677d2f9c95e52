#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Nothing is broken here, but something is set up wrongly: AWS refuses a request, the image has a mistake, or the instance is of
# the wrong kind.
. "$(dirname "$0")/table.sh"

table_begin 'set-ups'
pcr4=$(pcr 4) pcr12=$(pcr 12)
other=$(printf other | sha384sum | cut -d' ' -f1)

# A correct setup. Each row spoils one thing in it.
right() {
    configure "DeadlineSec=${1:-$long}"
    rm -rf "$config"/secrets.d/*
    declare_secret db-password "$key" "$scratch/sealed"
}

right
check 'all as it should be' recovers 1 '^-$'

# The key's policy.
vendor_put_policy "$key" "$other" "$pcr12"
check 'PCR4 of another image' 'ends 60' 1 'denies access'
assert_line 'the PCRs are told' "$log" "$pcr4"
vendor_put_policy "$key" "$pcr4" "$other"
check 'PCR12 of another command line' 'ends 60' 1 'denies access'
vendor_put_policy "$key" "$pcr4" "$pcr12"
platform role other-instance
check 'a role that the policy does not know' 'ends 60' 1 'other-instance'
platform role none
right "$deadline"
check 'no role' 'ends 41' many 'no role'
platform role "$PLATFORM_INSTANCE_ROLE"
right
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" none
check 'a role that may do nothing' 'ends 60' 1 'denies access'
jq --arg account "$PLATFORM_CUSTOMER_ACCOUNT" --arg role "$PLATFORM_INSTANCE_ROLE" '.accounts[$account].roles[$role].policies[0]' \
    "$PLATFORM_ACCOUNTS" >"$scratch/policy"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/policy"

# The key.
kms DisableKey "{\"KeyId\": \"$key\"}" >/dev/null
check 'a disabled key' 'ends 61' 1 'cannot be used'
kms EnableKey "{\"KeyId\": \"$key\"}" >/dev/null
kms ScheduleKeyDeletion "{\"KeyId\": \"$key\"}" >/dev/null
check 'a key that is to be deleted' 'ends 61' 1 'cannot be used'
kms CancelKeyDeletion "{\"KeyId\": \"$key\"}" >/dev/null
kms EnableKey "{\"KeyId\": \"$key\"}" >/dev/null
foreign=$(vendor_create_key)
vendor_seal "$foreign" db-password "$scratch/foreign" <"$secret"
declare_secret db-password "$foreign" "$scratch/foreign"
check "a key of another account, without a policy for this one" 'ends 60' 1 'denies access'
declare_secret db-password "${key%/*}/00000000-0000-0000-0000-000000000000" "$scratch/sealed"
check 'a key that there is not' 'ends 60' 1 'does not exist'
declare_secret db-password "${key/$region/ap-south-1}" "$scratch/sealed"
configure "DeadlineSec=$deadline" "KmsEndpoint=$PLATFORM_KMS_ENDPOINT"
check "a key of another Region" 'ends 41' many 'credentials|signature'
right
declare_secret db-password "$key" "$scratch/foreign"
check "another key's ciphertext" 'ends 62' 1 'another key'

# The ciphertext.
vendor_seal "$key" api-token "$scratch/swapped" <"$secret"
declare_secret db-password "$key" "$scratch/swapped"
check "another secret's ciphertext" 'ends 62' 1 'encryption context'
declare_secret db-password "$key" "$scratch/sealed" EncryptionContext=customer=example
check 'an encryption context that it was not sealed with' 'ends 62' 1 'encryption context'
base64 -d "$scratch/sealed" >"$scratch/raw"
size=$(stat -c %s "$scratch/raw")
declare_secret db-password "$key" "$scratch/raw"
check 'ciphertext that is not base64, but raw' recovers 1 '^-$'
for at in $((size / 2)) $((size - 1)); do
    { head -c "$at" "$scratch/raw" && printf %b "\\x$(printf %02x $(($(od -An -tu1 -j "$at" -N 1 "$scratch/raw") ^ 1)))" &&
        tail -c +"$((at + 2))" "$scratch/raw"; } >"$scratch/tampered"
    assert_equal "its size" "$(stat -c %s "$scratch/tampered")" "$size"
    declare_secret db-password "$key" "$scratch/tampered"
    check "tampered ciphertext (byte $((at + 1)) of $size)" 'ends 62' 1 'ciphertext was changed'
done
head -c -8 "$scratch/raw" >"$scratch/short"
declare_secret db-password "$key" "$scratch/short"
check 'ciphertext without its end' 'ends 62' 1 'ciphertext was changed'
: >"$scratch/empty"
declare_secret db-password "$key" "$scratch/empty"
check 'an empty file' 'ends 30' 1 'empty'
{ printf '\1\2\2\0' && head -c 6996 /dev/urandom; } >"$scratch/long" # random bytes may begin like UTF-16
declare_secret db-password "$key" "$scratch/long"
check 'a file of 7 kB' 'ends 30' 1 'longer than 6144 bytes'
echo 'not base64!' >"$scratch/text"
declare_secret db-password "$key" "$scratch/text"
check 'a text that is not base64' 'ends 30' 1 'not base64'
declare_secret db-password "$key" "$scratch"
check 'a directory' 'ends 30' 1 'directory'
declare_secret db-password "$key" "$scratch/none"
check 'no file' 'ends 30' 1 "$scratch/none.*No such file"

# Several secrets: all are published or none, except optional ones.
right
declare_secret api-token "$key" "$scratch/short"
check 'two secrets, one of them broken' 'ends 62' 1 'ciphertext was changed'
declare_secret api-token "$key" "$scratch/short" Optional=yes
check 'two secrets, the optional one broken' recovers 1 '^-$'
assert_line 'the optional secret is told of' "$log" '^The optional secret api-token stays sealed: KMS cannot decrypt'

# The way to KMS.
right
configure "KmsEndpoint=http://kms.$region.amazonaws.com"
check 'KMS without TLS' 'ends 78' 1 'unseald.conf:.*https'
configure "DeadlineSec=$deadline" "KmsEndpoint=https://$PLATFORM_KMS_ADDRESS:444"
check 'nobody at the endpoint' 'ends 50' many 'onnect'
configure "DeadlineSec=$deadline" "KmsEndpoint=https://kms.example.invalid"
check 'an endpoint without address' 'ends 50' many 'resolve'
configure "KmsEndpoint=https://$PLATFORM_KMS_ADDRESS"
check 'an endpoint with another name' 'ends 51' 1 'certificate is not one of'
configure TrustedCertificates=
check "the system's certificates, and not KMS's" 'ends 51' 1 'not trusted'
configure "TrustedCertificates=$scratch/none"
check 'no file of trusted certificates' 'ends 78' 1 "$scratch/none"

# The clock of the machine alone is wrong: the C library's clock is replaced.
clock_off() { # SECONDS
    make_clock "$1"
    wrapper=(env "LD_PRELOAD=$scratch/clock.so" "ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0")
}
right
clock_off 200
check 'a clock that is 200 s fast' recovers 1 '^-$'
clock_off 600
check 'a clock that is 10 min fast' recovers 2 'clock of this machine'
clock_off -600
check 'a clock that is 10 min slow' recovers 2 'clock of this machine'
right "$deadline"
clock_off -946080000
check 'a clock that is 30 years slow' 'ends 52' many 'Set the clock'
wrapper=()

# The store.
right
memory=$store store=$scratch/disk
mkdir "$store"
check 'a store on disk' 'ends 11' 1 "$store"
mount -t tmpfs tmpfs "$store"
check 'a store on a tmpfs that may be swapped' 'ends 11' 1 'noswap'
umount "$store"
store=$scratch/none
check 'no store' 'ends 11' 1 "$store"
store=$memory

# The TPM.
right "$deadline"
configure "DeadlineSec=$deadline" "TpmDevice=swtpm:path=$scratch/none"
check 'no TPM' 'ends 20' many 'There is no TPM at'
configure "DeadlineSec=$deadline" "TpmDevice=device:$scratch/raw"
check 'a file for a TPM' 'ends 20' many 'The connection to the TPM failed'
configure "TpmDevice=teapot:"
check 'no such kind of TPM' 'ends 20' 1 'is not the name of a TPM'
mkdir "$scratch/plain"
swtpm_setup --tpm2 --tpmstate "$scratch/plain" --pcr-banks sha384 --config /dev/null >/dev/null
swtpm socket --tpm2 --tpmstate "dir=$scratch/plain" --server "type=unixio,path=$scratch/plain/tpm" \
    --ctrl "type=unixio,path=$scratch/plain/tpm.ctrl" --flags not-need-init,startup-clear 2>/dev/null &
plain=$!
at_exit end_process "$plain"
configure "TpmDevice=swtpm:path=$scratch/plain/tpm"
check "a TPM that is no NitroTPM" 'ends 21' 1 'not a NitroTPM'
end_process "$plain"

table_end
