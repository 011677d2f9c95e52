#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generate=: KMS makes a value in each boot, for the holder of the document. It stays over a restart and a reload, and is never in the
# journal. Answers that another server could give are refused. The policy of "unsealctl policy --generate-data-key=NAME" lets the
# instance make data keys in the name of these secrets alone, and only with the document of the image.
. "$(dirname "$0")/direct.sh"
mount_own /run/unseald # the control socket
unsealctl=$build/daemon/unsealctl
direct_start
platform extend 4 'the image' >/dev/null
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"

# put_policy [OPTION...]: the key's policy by unsealctl policy
put_policy() {
    "$unsealctl" policy --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" \
        --measurements="$scratch/measurements" "$@" --output="$scratch/policy.json"
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}
# declare_generated NAME [LINE...]: a secret of 32 bytes that KMS makes
declare_generated() {
    local name=$1
    shift
    printf '%s\n' '[Secret]' Generate=32 "KeyId=$key" "$@" >"$config/secrets.d/$name.secret"
}
value() { xxd -p -c 0 "$store/${1:-session-key}"; }
all_values=()
note_value() { # WHAT [BYTES]: a value of this length, which no message has shown, in no form
    local value form
    value=$(value)
    assert_equal "$1: bytes" $((${#value} / 2)) "${2:-32}"
    all_values+=("$value")
    for value in "${all_values[@]}"; do
        for form in "$value" "$(xxd -r -p <<<"$value" | base64 -w0)"; do
            ! grep -qiF -- "$form" "$log" "$status_file" "$PLATFORM_TRAIL" || die "$1: a value is in a log"
        done
        # Its bytes may have a newline, at which grep would divide the pattern, so the files are searched as hexadecimal digits.
        for form in "$log" "$status_file" "$PLATFORM_TRAIL"; do
            ! xxd -p -c 0 "$form" | grep -F -- "$value" >/dev/null || die "$1: the bytes of a value are in $form"
        done
    done
}

say '== a value for each boot'
configure VerifyPolicy=yes
put_policy --generate-data-key=session-key
declare_secret db-password "$key" "$scratch/sealed"
declare_generated session-key GenerateWhen=always
on_ready() { cp "$store/session-key" "$scratch/value" && cp "$status_file" "$scratch/status"; }
for boot in 1 2; do
    unseald_start
    unseald_finish
    assert_equal "boot $boot" "$unseald_status" 0
    cp "$scratch/value" "$scratch/value-$boot"
    assert_equal "boot $boot: bytes" "$(wc -c <"$scratch/value-$boot")" 32
    assert_line "boot $boot" "$log" '^session-key: generating after'
    assert_equal "boot $boot: the state of the policy" "$(jq -r '.secrets[] | select(.name == "session-key") | .policy + " " + .source' "$scratch/status")" 'gates Generate=32'
done
! cmp -s "$scratch/value-1" "$scratch/value-2" || die "two boots have one value"
# Of each boot's two requests, the second one is the probe: a dry run without a document.
assert_equal 'what KMS was asked' "$(platform log | jq -sr 'map(select(.eventName == "GenerateDataKey") | [.requestParameters.numberOfBytes, .requestParameters.encryptionContext["unseald:secret"], .requestParameters.dryRun, (.additionalEventData != null), .errorCode] | tostring) | unique | .[]')" \
    '[32,"session-key",null,true,null]
[32,"session-key",true,false,"AccessDenied"]'
on_ready() { :; }

say '== kept over a restart and a reload'
configure
manager_start
manager start
assert_equal 'start' "$answer" ready
note_value 'start'
first=$(value)
before=$(requests GenerateDataKey)
for how in stop kill; do
    manager "$how"
    manager start
    assert_equal "start after $how" "$answer $(value)" "ready $first"
done
assert_equal 'data keys made for restarts' "$(requests GenerateDataKey)" "$before"
reload() { # WHAT: reloads, which must succeed
    manager run "$unsealctl" reload
    assert_equal "$1" "$answer" 'exited 0'
}
reload 'a reload'
assert_equal 'the value after a reload' "$(value)" "$first"
assert_line 'a reload' "$said" '^1 generated secret\(s\) keep their value of this boot'
assert_equal 'data keys made for a reload' "$(requests GenerateDataKey)" "$before"
declare_generated session-key 'Description=a new text'
printf '%s\n' '[Deliver]' Mode=0440 Group=root >>"$config/secrets.d/session-key.secret"
reload 'a reload with another mode'
assert_equal 'mode and value' "$(stat -c %a "$store/session-key") $(value)" "440 $first"
printf '%s\n' '[Secret]' Generate=64 "KeyId=$key" >"$config/secrets.d/session-key.secret"
reload 'a reload with another length'
note_value 'another length' 64
[[ $(value) != "$first"* ]] || die "the value goes on"
second=$(value)
declare_generated session-key "EncryptionContext=purpose=test"
reload 'a reload with another context'
note_value 'another context'
[[ $second != "$(value)"* ]] || die "another context has the value of before"
third=$(value)
# Of a reload that fails nothing stays, not even a value that was made.
declare_generated session-key
declare_secret db-password "$key" "$scratch/nowhere"
manager run "$unsealctl" reload
assert_match 'a reload that fails' "$answer" '^exited [1-9]'
assert_equal 'the value after it' "$(value)" "$third"
manager stop
manager_end

say '== attacks'
# attack STATUS WORDS FAULT...: an answer of KMS that must not be believed
attack() {
    local status=$1 words=$2
    shift 2
    rm -f "$store"/*
    platform fault set kms GenerateDataKey "$@"
    unseald_start
    unseald_finish
    platform fault clear
    assert_equal "$*: exit status" "$unseald_status" "$status"
    assert_line "$*" "$log" "$words"
    assert_equal "$*: the store" "$(names_in "$store")" ''
    say "  $*: ends with $status"
}
rm -f "$config"/secrets.d/*
declare_generated session-key
attack 65 'does not open|encrypted for another key pair' tampered-cms recipient
attack 65 'not in the secret.s KeyId=. unseald discards the data key' wrong-keyid
attack 65 'has a data key of 31 bytes, and 32 were asked for' tampered-cms short
attack 65 'contains a plaintext' plaintext
attack 65 'does not open' tampered-cms content
# The controls: nothing of that is in the way of an answer that is right, and a sealed secret does not have one length.
unseald_start
unseald_finish
assert_equal 'the control' "$unseald_status" 0
rm -f "$config"/secrets.d/*
declare_secret db-password "$key" "$scratch/sealed"
platform fault set kms Decrypt tampered-cms short
on_ready() { cp "$store/db-password" "$scratch/value"; }
unseald_start
unseald_finish
platform fault clear
on_ready() { :; }
assert_equal 'a shorter answer to Decrypt' "$unseald_status $(<"$scratch/value")" '0 Hello Worl'

say '== retries, and what is said of a denial'
rm -f "$config"/secrets.d/*
declare_generated session-key
platform fault set kms GenerateDataKey error KMSInternalException --times 2
unseald_start
unseald_finish
platform fault clear
assert_equal 'after an outage' "$unseald_status" 0
declare_generated other-key
unseald_start
unseald_finish
assert_equal 'a name that the policy does not have' "$unseald_status" 60
assert_line 'a name that the policy does not have' "$log" '^other-key: KMS denies access: .*kms:GenerateDataKey \(unsealctl policy --generate-data-key=NAME\)'
printf '%s\n' Optional=yes >>"$config/secrets.d/other-key.secret"
unseald_start
unseald_finish
assert_equal 'an optional one' "$unseald_status" 0

say '== doctor'
run_doctor() { # EXPECTATION...: each is a line of "CHECK VERDICT"
    platform exec --as instance -- "$unsealctl" doctor --json --vendor-configuration="$config" --configuration=/nonexistent \
        --store="$store" --status="$status_file" >"$scratch/doctor" || true
    for line in "$@"; do
        jq -r --arg name session-key '.findings[] | select(.subject == $name) | .check + " " + .verdict' "$scratch/doctor" | grep -qxF "$line" ||
            die "doctor does not say '$line': $(jq -c '.findings[] | select(.subject == "session-key")' "$scratch/doctor")"
    done
}
rm "$config/secrets.d/other-key.secret"
run_doctor 'source ok' 'key ok' 'key-policy ok'

say '== the policy'
# make_key NAME DOCUMENT-OR-NOTHING: asks KMS for a data key with the role's credentials; prints the error, or "made"
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER -out "$scratch/own.key"
openssl pkey -inform DER -in "$scratch/own.key" -pubout -outform DER -out "$scratch/own.pub"
"$unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/own.pub" --output="$scratch/document"
make_key() {
    role_kms "${3:-GenerateDataKey}" "$(jq -nc --arg key "$key" --arg name "$1" --arg document "$([ -z "$2" ] || base64 -w0 "$2")" \
        '{KeyId: $key, NumberOfBytes: 32, EncryptionContext: (if $name == "" then {} else {"unseald:secret": $name} end)}
         + if $document == "" then {} else {Recipient: {KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256", AttestationDocument: $document}} end')" \
        >"$scratch/reply" 2>/dev/null || true
    jq -r '.__type // "made"' "$scratch/reply"
}
denied=AccessDeniedException
assert_equal 'for its own name' "$(make_key session-key "$scratch/document")" made
# The role, on a machine of the owner's, has a document of the image, which is no secret, but neither plaintext nor choice.
assert_equal 'for a sealed secret' "$(make_key db-password "$scratch/document")" $denied
assert_equal 'for no name' "$(make_key '' "$scratch/document")" $denied
assert_equal 'without a document' "$(make_key session-key '')" $denied
assert_equal 'without plaintext' "$(make_key session-key '' GenerateDataKeyWithoutPlaintext)" $denied
"$unsealctl" policy lint --admin="$admin" --sealer="$admin" --measurements="$scratch/measurements" "$scratch/policy.json" >"$scratch/lint" ||
    die "lint: $(<"$scratch/lint")"
put_policy --generate-data-key
assert_equal 'of an application' "$(make_key '' "$scratch/document")" made
assert_equal 'of an application, for a secret' "$(make_key session-key "$scratch/document")" $denied
# The control: without a condition on the name, as 0.1 wrote it, a ciphertext is made for a sealed secret, and unseald takes it.
jq '(.Statement[] | select(.Sid == "MakeDataKeys")) |= del(.Condition.Null)' "$scratch/policy.json" >"$scratch/open.json"
kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/open.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
assert_equal 'without the condition' "$(make_key db-password "$scratch/document")" made
jq -r .CiphertextBlob "$scratch/reply" >"$scratch/sealed-by-another"
rm -f "$config"/secrets.d/*
declare_secret db-password "$key" "$scratch/sealed-by-another"
unseald_start
unseald_finish
assert_equal 'and unseald takes the ciphertext' "$unseald_status" 0
status=0
"$unsealctl" policy lint --admin="$admin" --sealer="$admin" --measurements="$scratch/measurements" "$scratch/open.json" >"$scratch/lint" || status=$?
assert_equal 'lint of it' "$status" 3
assert_line 'lint of it' "$scratch/lint" '^warning: any-context: statement [0-9]+ "MakeDataKeys"'

say '== sealed by KMS'
openssl genpkey -quiet -algorithm ED25519 -out "$scratch/vendor.key"
openssl pkey -in "$scratch/vendor.key" -pubout -out "$scratch/vendor.pub"
put_policy
vendor() { platform exec --as vendor -- "$unsealctl" "$@" --trusted-certificates="$PLATFORM_CA_FILE"; }
vendor seal --key="$key" --name=disk-key --generate=64 --sign="$scratch/vendor.key" --secret-version=3 --output="$scratch/disk-key" \
    --print-secret-file >"$scratch/disk-key.secret"
assert_line 'the printed file' "$scratch/disk-key.secret" '^MinVersion=3'
rm -f "$config"/secrets.d/*
declare_secret disk-key "$key" "$scratch/disk-key" SignedBy="$scratch/vendor.pub" MinVersion=3
on_ready() { cp "$store/disk-key" "$scratch/value"; }
for _ in 1 2; do
    unseald_start
    unseald_finish
    assert_equal 'a sealed key' "$unseald_status $(wc -c <"$scratch/value")" '0 64'
    sha256sum "$scratch/value" >>"$scratch/values"
done
on_ready() { :; }
assert_equal 'of two boots' "$(sort -u "$scratch/values" | wc -l)" 1
assert_equal 'requests that could have seen it' "$(platform log | jq -sr 'map(select(.requestParameters.encryptionContext["unseald:secret"] == "disk-key") | .eventName) | unique | join(" ")')" 'Decrypt GenerateDataKeyWithoutPlaintext'
refused() { # WORDS OPTION...
    local words=$1 status=0
    shift
    vendor seal --key="$key" --name=disk-key "$@" >"$scratch/output" 2>"$scratch/words" || status=$?
    assert_equal "$*" "$status" 2
    assert_line "$*" "$scratch/words" "$words"
}
refused 'from 1 to 1024, not "0"' --generate=0
refused 'from 1 to 1024, not "1025"' --generate=1025
refused 'from 1 to 1024, not "32K"' --generate=32K
refused 'Give no file' --generate=32 "$secret"
refused 'Leave --format=message out' --generate=32 --format=message
platform fault set kms GenerateDataKeyWithoutPlaintext wrong-keyid
status=0
vendor seal --key="$key" --name=disk-key --generate=32 >"$scratch/output" 2>"$scratch/words" || status=$?
platform fault clear
assert_equal 'another key' "$status $(wc -c <"$scratch/output")" '65 0'
status=0
platform exec --as customer -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=disk-key --generate=32 \
    >"$scratch/output" 2>"$scratch/words" || status=$?
assert_equal 'somebody who is no sealer' "$status" 60
assert_line 'somebody who is no sealer' "$scratch/words" 'must name the caller as a sealer'

say '== by hand'
rm -f "$config"/secrets.d/*
declare_generated session-key
status=0
"$unsealctl" unseal session-key --reveal --vendor-configuration="$config" --configuration=/nonexistent >"$scratch/output" 2>"$scratch/words" || status=$?
assert_equal 'unsealctl unseal' "$status $(wc -c <"$scratch/output")" '2 0'
assert_line 'unsealctl unseal' "$scratch/words" 'session-key has Generate='

say '== the configuration'
for line in Source=file:/x SignedBy=/x Sha256=00 Format=message MinVersion=1 SizeMax=10 SourceRegion=eu-north-1 GenerateWhen=missing Generate=0 Generate=1025; do
    declare_generated session-key "$line"
    status=0
    "$unsealctl" check --vendor-configuration="$config" --configuration=/nonexistent >"$scratch/check" 2>&1 || status=$?
    assert_equal "$line" "$status" 78
    assert_line "$line" "$scratch/check" "session-key.secret:[0-9]+: .*${line%%=*}="
done
