#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl attest, used as scripts use AWS's client: the fields of a document, the refusals and their exit statuses.
. "$(dirname "$0")/lib.sh"
platform_start
unsealctl=$build/daemon/unsealctl

# expect STATUS ARGUMENT...: leaves standard output in $scratch/out
expect() {
    local want=$1 saw=0
    shift
    "$unsealctl" attest --device="$PLATFORM_TCTI" "$@" >"$scratch/out" 2>"$scratch/err" || saw=$?
    [ "$saw" = "$want" ] || die "attest $*: saw exit status $saw, wanted $want: $(cat "$scratch/err")"
}
# verify STATUS ARGUMENT...
verify() {
    local want=$1 saw=0
    shift
    "$unsealctl" verify --root="$PLATFORM_NITRO_ROOT" --json "$@" >"$scratch/verdict" || saw=$?
    [ "$saw" = "$want" ] || die "verify $*: saw exit status $saw, wanted $want: $(cat "$scratch/verdict")"
}
field() { jq -r ".document.$1" "$scratch/verdict"; }

openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$scratch/key.pem" 2>/dev/null
openssl pkey -in "$scratch/key.pem" -pubout -outform DER -out "$scratch/key.der"
openssl pkey -in "$scratch/key.pem" -pubout -out "$scratch/public.pem"
head -c 1024 /dev/urandom >"$scratch/most"
head -c 1025 /dev/urandom >"$scratch/more"
printf 'a\0nonce\n' >"$scratch/nonce"
: >"$scratch/empty"

say "a document without data of the caller"
expect 0
verify 0 --max-age=1min "$scratch/out"
assert_equal "fields" "$(field public_key) $(field user_data) $(field nonce)" "null null null"
assert_equal "PCR4" "$(field 'pcrs["4"]')" "$(pcr 4)"

say "all three fields, byte by byte, by long and short options, from files and pipes"
expect 0 --user-data "$scratch/most" --nonce="$scratch/nonce" --public-key "$scratch/key.der"
verify 0 --nonce="$scratch/nonce" --public-key="$scratch/public.pem" "$scratch/out"
assert_equal "user data" "$(field user_data)" "$(xxd -p -c 0 "$scratch/most")"
expect 0 -u <(printf piped) -n "$scratch/empty" -p "$scratch/key.der" -o "$scratch/document"
assert_equal "standard output beside --output=" "$(wc -c <"$scratch/out")" 0
verify 0 --public-key="$scratch/key.der" "$scratch/document"
assert_equal "user data of a pipe" "$(field user_data)" "$(printf piped | xxd -p)"
assert_equal "an empty nonce" "$(field nonce)" ""

for nonce in hex:00112233445566778899aabbccddeeff ABEiM0RVZneImaq7zN3u/w==; do
    expect 0 --nonce="$nonce"
    verify 0 --nonce="$nonce" "$scratch/out"
    assert_equal "a nonce that is written out" "$(field nonce)" 00112233445566778899aabbccddeeff
done

say "refused before the TPM is asked"
expect 2 --nonce=hex:001
expect 2 --nonce="hex:$(printf '00%.0s' {1..1025})"
expect 1 --nonce="$scratch/more"
assert_line "the limit" "$scratch/err" '1024 bytes.*--nonce='
expect 1 --public-key="$scratch/public.pem"
assert_line "the way to convert it" "$scratch/err" 'openssl pkey -pubin .* -outform DER'
expect 1 --user-data="$scratch/none"
expect 2 argument
expect 2 --timeout=soon
expect 2 --conquer
script -qec "'$unsealctl' attest --device='$PLATFORM_TCTI'; echo status \$?" /dev/null >"$scratch/terminal" </dev/null
assert_line "a terminal" "$scratch/terminal" '--output='
assert_line "a terminal's exit status" "$scratch/terminal" '^status 2'
script -qec "'$unsealctl' attest --device='$PLATFORM_TCTI' --output=-" /dev/null >"$scratch/terminal" </dev/null
assert_line "a terminal with --output=-" "$scratch/terminal" 'nitrotpm_pcrs'

say "failures of the TPM"
saw=0
"$unsealctl" attest --device=device:/nonexistent >"$scratch/out" 2>"$scratch/err" || saw=$?
assert_equal "no TPM, at once" "$saw" 20
saw=0
"$unsealctl" attest --device=device:/dev/null --timeout=1s >"$scratch/out" 2>"$scratch/err" || saw=$?
assert_equal "a TPM that another program holds" "$saw" 20
assert_line "a TPM that another program holds" "$scratch/err" 'Another program has the TPM .* open'
platform fault set tpm NSM_Request code 0x143
expect 21
platform fault clear
saw=0
"$unsealctl" attest --device="$PLATFORM_TCTI" >/dev/full 2>"$scratch/err" || saw=$?
assert_equal "standard output is full" "$saw" 1

say "a busy TPM: attest waits, but not longer than --timeout="
platform fault set tpm NV_Write busy --times 8
expect 0 --timeout=60s
platform fault set tpm NV_Write busy
begun=$EPOCHREALTIME
expect 20 --timeout=2s
took=$((${EPOCHREALTIME/./} - ${begun/./}))
[ "$took" -ge 2000000 ] && [ "$took" -lt 25000000 ] || die "it waited for $took us, and was told to wait for two seconds"
platform fault clear
expect 0
assert_equal "what is left in the TPM" "$(tpm2_getcap -T "$PLATFORM_TCTI" handles-nv-index handles-transient 2>/dev/null)" ""
