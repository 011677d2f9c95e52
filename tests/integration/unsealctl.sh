#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The exit statuses and the output of unsealctl that people and scripts rely on.
. "$(dirname "$0")/lib.sh"

unsealctl=$build/daemon/unsealctl
root=$top/conf/nitro-root/aws-nitro-root-g1.pem
document=$top/tests/vectors/attestation/nitrotpm-document.cbor
nonce=be4c5b7d743ff7808cf107a64a8de6d907823adccef58c366d3d4cc6a2b2f767
module_id='i-000fa553dad58a9f1-tpm0000000000000000'

# expect STATUS ARGUMENT...: leaves the output in $scratch/out and $scratch/err
expect() {
    local want=$1 saw=0
    shift
    "$unsealctl" "$@" >"$scratch/out" 2>"$scratch/err" || saw=$?
    [ "$saw" = "$want" ] || die "unsealctl $*: saw exit status $saw, wanted $want: $(cat "$scratch/out" "$scratch/err")"
}
verify() { # STATUS ARGUMENT...
    local want=$1
    shift
    expect "$want" verify --root="$root" "$@"
}

say "usage"
expect 0 --help
cp "$scratch/out" "$scratch/help"
expect 0 help
cmp "$scratch/out" "$scratch/help"
expect 0 policy lint --help
cp "$scratch/out" "$scratch/help"
expect 0 help policy lint
cmp "$scratch/out" "$scratch/help"
expect 2 help conquer
expect 2 polciy
assert_line "the verb that is meant" "$scratch/err" 'Unknown verb polciy\. Did you mean policy\?'
expect 0 --version
expect 2
expect 2 conquer
assert_line "a hint" "$scratch/err" 'unsealctl --help'
expect 2 --conquer
expect 2 verify
expect 2 verify --conquer "$document"
expect 2 verify "$document" "$document"
expect 2 status "$document"
for at in 2026 2026-08-13 @ @-1 @1x @999999999999999 1786642608 yesterday ''; do
    verify 2 --at="$at" "$document"
done
verify 2 --at=document --max-age=300 "$document"
verify 2 --max-age=0 "$document"
verify 2 --max-age=soon "$document"
verify 2 --nonce=hex:0 "$document"
verify 2 --nonce=hex:0g "$document"
verify 2 --nonce=hex: "$document"
verify 2 --nonce=/dev/null "$document"

expect 2 check "$document"
expect 2 cat-config "$document"
expect 2 serve-attestation

say "unseald-attest starts only with the sockets of the service manager"
saw=0
"$build/daemon/unseald-attest" --vendor-configuration=/nonexistent --configuration=/nonexistent >"$scratch/out" 2>&1 || saw=$?
assert_equal "exit status" "$saw" 2
assert_line "what to do" "$scratch/out" 'systemctl start unseald-attest.socket'
for program in unseald-attest unseald-kms; do
    for option in --idle=0 --idle=soon --conquer now; do
        saw=0
        "$build/daemon/$program" "$option" >"$scratch/out" 2>&1 || saw=$?
        assert_equal "exit status of $program $option" "$saw" 2
    done
done

say "wrong files"
verify 1 "$scratch/none"
verify 1 --nonce="$scratch/none" --at=document "$document"
verify 1 --public-key="$scratch/none" --at=document "$document"
verify 1 --measurements="$document" --at=document "$document"
expect 1 verify --root="$document" "$document"
cat "$root" "$root" >"$scratch/roots.pem"
expect 1 verify --root="$scratch/roots.pem" --at=document "$document"
assert_line "which of two roots" "$scratch/err" 'more than one certificate'
expect 1 status --file="$scratch/none"
expect 1 status --file="$document"

say "a real document is accepted at its own time"
verify 19 --at=document "$document"
assert_line "what was not asked comes first" <(head -n 1 "$scratch/out") '^Authentic, and nothing else was asked\.'
assert_line "what was not asked" <(sed -n 2p "$scratch/out") '^Not asked, so not known: age .*, nonce .*, public-key .*, measurements \(--measurements=\)\.$'
assert_line "who" "$scratch/out" "$module_id"
cp "$scratch/out" "$scratch/by-file"
expect 19 verify --at=document "$document"
cmp "$scratch/by-file" "$scratch/out" || die "the built-in root is not that of conf/nitro-root"
assert_line "the root is known" "$scratch/out" "AWS's root G1"
assert_no_line "no third-party drivers" "$scratch/out" 'PCR2 differs'
for check in age nonce public-key measurements; do
    assert_line "$check was not asked for, and the output says so" "$scratch/out" "^  $check +not-asked"
done
verify 0 --at=@1786642608 --max-age=5min "$document"
assert_line "the age is proved" "$scratch/out" '^  age +proved'
assert_line "accepted" <(head -n 1 "$scratch/out") '^Accepted\.$'
assert_line "what is left" <(sed -n 2p "$scratch/out") '^Not asked, so not known: nonce [^,]*, public-key [^,]*, measurements [^,]*\.$'
verify 0 --at=2026-08-13T17:41:48Z --max-age=5min - <"$document"

say "each refusal has its own exit status"
verify 14 "$document"
assert_no_line "nothing of an expired document is printed" "$scratch/out" "$module_id"
verify 15 --at=2026-08-13T17:41:49Z --max-age=5min "$document"
verify 16 --at=document --nonce=hex:00 "$document"
assert_line "the nonce is refused" "$scratch/out" '^  nonce +refused'
printf %s "$nonce" >"$scratch/nonce"
verify 0 --at=document --nonce="$scratch/nonce" "$document"
verify 0 --at=document --nonce="hex:$(printf %s "$nonce" | od -An -tx1 | tr -d ' \n')" "$document"
verify 0 --at=document --nonce=<(printf %s "$nonce") <(cat "$document")
say "a nonce and a document in base64 and in hexadecimal"
(cd "$scratch" && verify 16 --at=document --nonce="$nonce" "$document")
verify 0 --at=document --nonce="base64:$(printf %s "$nonce" | base64 -w0)" "$document"
verify 0 --at=document --nonce="$(printf %s "$nonce" | base64 -w0)" "$document"
verify 0 --at=document --nonce="$(printf %s "$nonce" | xxd -p -c 0)" "$document"
(cd "$scratch" && printf %s "$nonce" >"$nonce" && verify 0 --at=document --nonce="$nonce" "$document")
(cd "$scratch" && printf 'another nonce' >hex:00 && verify 16 --at=document --json --nonce=hex:00 "$document")
verify 1 --nonce=nonces/of/the/customer/1 "$document"
assert_line "what to do" "$scratch/err" 'give --nonce=base64:nonces/of/the/customer/1\.$'
verify 1 --nonce=ee15abcd "$document"
assert_line "what to do" "$scratch/err" 'give --nonce=hex:ee15abcd\.$'
verify 1 --nonce="$scratch/none" "$document"
assert_no_line "advice for a path" "$scratch/err" 'nonce itself'
verify 2 --nonce=base64:ABE "$document"
for form in 'base64' 'base64 -w0' 'xxd -p' 'xxd -p -c 0 -u'; do
    $form <"$document" >"$scratch/text"
    verify 19 --at=document "$scratch/text"
done
# malformed TEXT: the document in $scratch/text is refused, and so is that text of the form
malformed() {
    verify 10 --at=document "$scratch/text"
    assert_line "the form" "$scratch/out" "^Refused \(malformed\): The document is $1"
}
head -c 200 "$root" | base64 >"$scratch/text"
malformed 'base64 of something other'
openssl x509 -in "$root" -out "$scratch/text"
malformed 'PEM, not CBOR\. Decode '
base64 "$document" | iconv -f UTF-8 -t UTF-16 >"$scratch/text"
malformed 'text in UTF-16, not CBOR\. Convert '
jq -n --rawfile document <(base64 -w0 "$document") '{$document}' >"$scratch/text"
malformed 'JSON, not CBOR\.$'
gzip <"$document" >"$scratch/text"
malformed 'compressed data, not CBOR\. Decompress it first\.'

head -c 100 "$document" >"$scratch/short"
verify 10 --at=document "$scratch/short"
sed 's/\xa1\x01\x38\x22/\xa1\x01\x38\x23/' "$document" >"$scratch/es512"
verify 11 --at=document "$scratch/es512"
sed "s/$module_id/i-000fa553dad58a9f2-tpm0000000000000000/" "$document" >"$scratch/altered"
verify 12 --at=document "$scratch/altered"
assert_no_line "nothing of an altered document is printed" "$scratch/out" 'i-000fa553dad58a9f2'
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384 -nodes -keyout /dev/null -subj /CN=other \
    -out "$scratch/other.pem" 2>/dev/null
expect 13 verify --root="$scratch/other.pem" --at=document "$document"

say "public keys and measurements"
verify 19 --at=document --json "$document"
assert_equal "in JSON" "$(jq -c '[.accepted, .authentic_only]' "$scratch/out")" '[true,true]'
jq -r .document.public_key "$scratch/out" | tr -d '\n' | sed 's/../\\x&/g' | xargs -0 printf >"$scratch/key.der"
jq '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: .document.pcrs["4"], PCR12: .document.pcrs["12"]}}' \
    "$scratch/out" >"$scratch/good.json"
jq '.Measurements.PCR12 |= sub("^0"; "1")' "$scratch/good.json" >"$scratch/bad.json"
openssl pkey -pubin -inform DER -in "$scratch/key.der" -out "$scratch/key.pem"
openssl pkey -pubin -in "$scratch/key.pem" -noout
verify 0 --at=document --public-key="$scratch/key.der" "$document"
verify 0 --at=document --public-key="$scratch/key.pem" --measurements="$scratch/good.json" "$document"
assert_line "the key is proved" "$scratch/out" '^  public-key +proved'
assert_line "PCR4 is as expected" "$scratch/out" '^= +4 '
verify 17 --at=document --public-key="$document" "$document"
verify 18 --at=document --measurements="$scratch/bad.json" "$document"
assert_line "what to look at" "$scratch/out" '^Lines with "!" show the difference\.'
assert_line "PCR12 is marked" "$scratch/out" '^! +12 .*command line'
assert_line "the expected value" "$scratch/out" '^! +12  10+ +was expected'
verify 18 --at=document --measurements="$scratch/bad.json" --json "$document"
assert_equal "which differ" "$(jq -c '[.accepted, .refusal, .differing_pcrs, .checks.measurements]' "$scratch/out")" \
    '[false,"pcr",[12],"refused"]'

say "JSON is UTF-8, whatever the name of a file"
saw=0
cp "$scratch/good.json" "$scratch/"$'\xff\xc3\xa4'
"$unsealctl" doctor --json --timeout=5 --measurements="$scratch/"$'\xff\xc3\xa4' --status=$'/proc/\xff' >"$scratch/out" 2>"$scratch/err" || saw=$?
[ "$saw" -ne 1 ] && [ "$saw" -ne 2 ] || die "doctor: saw exit status $saw: $(cat "$scratch/err")"
/usr/bin/python3 -c 'import json, sys; json.loads(open(sys.argv[1], "rb").read().decode())' "$scratch/out"

say "an answer that cannot be written is a failure"
status=0
"$unsealctl" verify --root="$root" --at=@1786642608 --max-age=5min "$document" >/dev/full 2>/dev/null || status=$?
assert_equal "standard output is full" "$status" 1
for option in --help --version; do
    status=0
    "$unsealctl" "$option" >/dev/full 2>/dev/null || status=$?
    assert_equal "$option, and standard output is full" "$status" 1
done
status=0
"$unsealctl" --version >&- 2>"$scratch/err" || status=$?
assert_equal "standard output is closed" "$status: $(cat "$scratch/err")" \
    '1: unsealctl: Cannot write to standard output: Bad file descriptor.'
status=0
"$unsealctl" verify --root="$root" --at=document - <&- >"$scratch/out" 2>"$scratch/err" || status=$?
assert_equal "standard input is closed" "$status: $(cat "$scratch/err")" '1: unsealctl: Cannot read -: Bad file descriptor.'

say "status"
cat >"$scratch/status.json" <<'EOF'
{"version": 1, "state": "failed", "since_usec": 1786642608432000, "status": "KMS denies access",
 "failure": "access-denied", "error": "KMS denied access.\u001b[31m", "explanation": "PCR4 DIFFERS\n\u001b[31m", "code": "AccessDeniedException", "request_id": "4711",
 "secrets": [{"name": "db-password", "state": "failed", "source": "file:/x", "key_id": "k", "failure": "access-denied",
              "error": "KMS denied access.", "attempts": 1, "duration_usec": 350000}],
 "steps": [{"name": "key pair", "start_usec": 5000000, "duration_usec": 71000}]}
EOF
expect 3 status --file="$scratch/status.json"
assert_line "the secret" "$scratch/out" '^db-password +failed +350ms'
assert_line "the request's id" "$scratch/out" 'AccessDeniedException, request 4711'
assert_line "the explanation" "$scratch/out" '^  PCR4 DIFFERS$'
assert_no_line "no escape reaches the terminal" "$scratch/out" $'\033'
expect 3 status --json --file="$scratch/status.json"
cmp "$scratch/status.json" "$scratch/out"
sed 's/"failed", "since/"unsealed", "since/' "$scratch/status.json" >"$scratch/good-status.json"
expect 0 status --file="$scratch/good-status.json"
sed 's/"version": 1/"version": 2/' "$scratch/status.json" >"$scratch/later.json"
expect 1 status --file="$scratch/later.json"

say "NO_COLOR leaves out the colours of a terminal"
# on_terminal VALUE: runs doctor on a terminal with this NO_COLOR
on_terminal() {
    NO_COLOR=$1 script -qec "$(printf '%q ' "$unsealctl" doctor --timeout=1 --status=/nonexistent --vendor-configuration=/nonexistent \
        --configuration=/nonexistent)" /dev/null </dev/null >"$scratch/out" 2>&1 || true
    assert_line "a table" "$scratch/out" '^(.\[[0-9;]*m)?[a-z]+ *(.\[0m)?  configuration  '
}
on_terminal ''
assert_line "colours" "$scratch/out" $'\033\\[32m'
on_terminal 1
assert_no_line "colours" "$scratch/out" $'\033'
