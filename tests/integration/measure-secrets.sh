#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# MeasurePcr=: the sealed secrets are extended into a PCR before anything is published, each change once, wherever SIGKILL ends unseald;
# unsealctl measure predicts the value; and whoever puts another ciphertext in the place of a secret cannot hide it.
. "$(dirname "$0")/direct.sh"
unsealctl=$build/daemon/unsealctl
mount_own /run/unseald # the control socket
direct_start
printf 'the license' | vendor_seal "$key" license "$scratch/license"
printf 'the next license' | vendor_seal "$key" license "$scratch/license-2"
printf 'a token' | vendor_seal "$key" token "$scratch/token"
mkdir "$scratch/tree"
head -c 100K /dev/urandom >"$scratch/tree/weights"
for volume in weights other; do
    platform exec --as vendor -- "$unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=weights \
        --sealed="$scratch/$volume.sealed" -o "$scratch/$volume.img" "$scratch/tree" >/dev/null
done
zeros=$(printf '0%.0s' {1..96})

# replayed VALUE NAME FILE...: prints the value after these secrets, computed without unseald's code. FILE: what is hashed
replayed() {
    local value=$1
    shift
    while [ $# -gt 0 ]; do
        value=$({ xxd -r -p <<<"$value" && { printf '%s\0' "$1" && openssl sha384 -binary "$2"; } | openssl sha384 -binary; } | openssl sha384 -binary | xxd -p -c 96)
        shift 2
    done
    printf '%s' "$value"
}
# raw FILE: decodes the sealed secret, as KMS takes it, and prints where it is
raw() { base64 -d "$1" >"$1.raw" && printf '%s.raw' "$1"; }
predict() { "$unsealctl" measure "$@" | jq -r '.Measurements | del(.HashAlgorithm) | to_entries[] | "\(.key)=\(.value)"' | xargs; }

# next_boot LINE...: the state after a new boot, with these lines in unseald.conf, and two measured secrets
next_boot() {
    platform tpm-reset
    platform extend 4 'the image' >/dev/null
    configure "$@"
    rm -f "$config"/secrets.d/*
    declare_secret db-password "$key" "$scratch/sealed" MeasurePcr=8
    cp "$scratch/license" "$scratch/current"
    declare_secret license "$key" "$scratch/current" MeasurePcr=8
}
finished() {
    manager stop
    manager_end
    "$build/daemon/unseald" --forget --store="$store" --status="$status_file"
}
ready() { # WHAT PCR8 [PCR15]
    assert_equal "$1 ($(tail -n 1 "$log"))" "$answer" ready
    assert_equal "$1: PCR8" "$(pcr 8)" "$2"
    assert_equal "$1: PCR15" "$(pcr 15)" "${3:-$zeros}"
}

say 'prediction and PCR'
next_boot
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
both=$(replayed "$zeros" db-password "$(raw "$scratch/sealed")" license "$(raw "$scratch/license")")
assert_equal 'the prediction' "$(predict --measure-pcr=8 --secret=license="$scratch/license" --secret=db-password="$scratch/sealed.raw")" "PCR8=$both"
manager_start
manager start
ready 'the first start' "$both"
assert_line 'the first start' "$said" "^license: measured into PCR8, SHA-384 of the sealed secret: $(openssl sha384 -r "$scratch/license.raw" | cut -d' ' -f1)\\.$"
assert_match 'measured before it is kept and published' "$(sed -nE 's/^(license): (unsealed|measured|kept|published).*/\2/p' "$said" | xargs)" '^unsealed measured kept published$'

assert_equal 'the status' "$(jq -c '[.secrets[].measured_pcr]' "$status_file")" '[8,8]'
"$unsealctl" status --file="$status_file" >"$scratch/status" || true
assert_line 'the status for people' "$scratch/status" '^  measured into PCR8$'

say 'restarts'
platform fault set tpm '*' code 0x101 # whoever asks it now fails
for how in stop kill; do
    manager "$how"
    manager start
    assert_equal "a start after $how" "$answer" ready
    assert_no_line "a start after $how" "$said" 'measured'
done
platform fault clear
ready 'after both' "$both"

say 'a reload measures what has changed, and only that'
reload() { manager run "$unsealctl" reload; }
reload
assert_equal 'a reload without a change' "$answer: $(pcr 8)" "exited 0: $both"
cp "$scratch/license-2" "$scratch/current"
reload
three=$(replayed "$both" license "$(raw "$scratch/license-2")")
assert_equal 'a reload with one change' "$answer: $(pcr 8)" "exited 0: $three"
cp "$scratch/license" "$scratch/current"
reload
four=$(replayed "$three" license "$scratch/license.raw")
assert_equal 'a reload back to the older one' "$answer: $(pcr 8)" "exited 0: $four"
declare_secret token "$key" "$scratch/token" MeasurePcr=15
reload
token=$(replayed "$zeros" token "$(raw "$scratch/token")")
assert_equal 'a reload with a third secret in PCR15' "$answer: $(pcr 8) $(pcr 15)" "exited 0: $four $token"

say 'a reload that cannot measure leaves everything as it was'
cp "$scratch/license-2" "$scratch/current"
platform fault set tpm PCR_Extend code 0x101
reload
platform fault clear
assert_match 'the reload' "$answer" '^exited [1-9]'
assert_equal 'the secret and the PCR' "$(cat "$store/license") $(pcr 8)" "the license $four"
reload
five=$(replayed "$four" license "$scratch/license-2.raw")
assert_equal 'the next reload' "$answer: $(cat "$store/license") $(pcr 8)" "exited 0: the next license $five"
manager kill
manager start
ready 'a start after all of them' "$five" "$token"
finished

say 'what was measured before a stop is not measured again'
manager_start
cp "$scratch/license" "$scratch/current"
next_boot
manager start
finished
manager_start
manager start
ready 'a start after a final stop' "$both"
finished

say 'killed on the way from unsealed to READY=1'
at() { printf '%s\n' strace -D -f -qq -o /dev/null -e "trace=$1" -e "inject=$1:signal=KILL:when=$2"; }
mapfile -t marking < <(at pwrite64 1)
mapfile -t publishing < <(at renameat 1)
# killed_after STEP PCR8 COMMAND...
killed_after() {
    local step=$1 value=$2
    shift 2
    next_boot LockPcr=15
    manager_start
    manager "$@"
    assert_equal "killed after $step" "$answer: $(pcr 8)" "killed 9: $value"
    assert_equal "killed after $step: the store" "$(ls "$store")" ''
    manager start
    ready "a start after a kill after $step" "$both" "$(replayed_lock)"
    finished
    say "  $step"
}
replayed_lock() { { xxd -r -p <<<"$zeros" && printf 'unseald lock v1' | openssl sha384 -binary; } | openssl sha384 -binary | xxd -p -c 96; }
killed_after recorded "$zeros" start-kill BARRIER=1
killed_after extended "$both" start "${marking[@]}"
killed_after 'extended, and that is recorded' "$both" start "${publishing[@]}"

say 'a TPM that extends half of it'
next_boot DeadlineSec=30s
manager_start
platform fault set tpm PCR_Extend code 0x101
manager start
assert_match 'a start' "$answer" '^exited 20$'
assert_equal 'the store' "$(ls "$store")" ''
platform fault clear
half=$(replayed "$zeros" db-password "$scratch/sealed.raw")
platform extend 8 "$({ printf 'db-password\0' && openssl sha384 -binary "$scratch/sealed.raw"; } | openssl sha384 -binary | xxd -p -c 96)" >/dev/null
assert_equal 'half of it' "$(pcr 8)" "$half"
manager start
ready 'a start with the other half' "$both"
finished

# verify STATUS [OPTION...]: judges a document of now, with the log of unseald; $scratch/verdict has the text
verify() {
    local want=$1 saw=0
    shift
    "$unsealctl" attest --device="$PLATFORM_TCTI" --nonce="$secret" --output="$scratch/document"
    "$unsealctl" verify --root="$PLATFORM_NITRO_ROOT" --nonce="$secret" --event-log="$scratch/measurements.cel" "$@" "$scratch/document" >"$scratch/verdict" || saw=$?
    assert_equal "verify $*: $(head -n 1 "$scratch/verdict")" "$saw" "$want"
}

say 'another ciphertext'
# swapped LINE...: prints PCR8 of a boot with the other license in the place of the expected one
swapped() {
    next_boot
    declare_secret license "$key" "$scratch/license-2" "$@"
    manager_start
    manager start
    assert_equal 'a start with the other license' "$answer: $(cat "$store/license")" 'ready: the next license'
    finished
}
swapped MeasurePcr=8
assert_equal 'the PCR' "$(pcr 8)" "$(replayed "$zeros" db-password "$scratch/sealed.raw" license "$scratch/license-2.raw")"
verify 0 --secret=license="$scratch/license-2" --secret=db-password="$scratch/sealed"
verify 20 --secret=db-password="$scratch/sealed" --secret=license="$scratch/license"
assert_line 'the verdict' "$scratch/verdict" 'Record 1 of the event log: license was delivered from another sealed secret'
assert_line 'the record that differs' "$scratch/verdict" '^!   1    8  [0-9a-f]{96}  license$'
assert_line 'the record that does not' "$scratch/verdict" '^=   0    8  [0-9a-f]{96}  db-password$'
mv "$scratch/measurements.cel" "$scratch/honest"
event=$({ printf 'license\0' && openssl sha384 -binary "$scratch/license.raw"; } | openssl sha384 -r | cut -d' ' -f1)
jq -c --arg event "$event" --arg sealed "$(openssl sha384 -r "$scratch/license.raw" | cut -d' ' -f1)" \
    '.[1].digests[0].digest = $event | .[1].content.sealed_sha384 = $sealed' "$scratch/honest" >"$scratch/measurements.cel"
verify 20 --secret=license="$scratch/license"
assert_line 'a log that says what was expected' "$scratch/verdict" 'The event log does not lead to PCR8 of the document'
swapped # the control: nothing shows which license was delivered
assert_equal 'the PCR without MeasurePcr= of the license' "$(pcr 8)" "$half"
verify 0 --secret=db-password="$scratch/sealed"

say 'policies'
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
policy() { "$unsealctl" policy --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" --measurements="$scratch/measurements" "$@"; }
put_policy() { kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$1" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null; }
lint() { "$unsealctl" policy lint --admin="$admin" --sealer="$admin" --measurements="$scratch/measurements" "$@" >"$scratch/lint"; }
policy --measure-pcr=13 --allow-drivers >"$scratch/unpinned"
policy --allow-drivers >"$scratch/pinned"
saw=0 && lint --measure-pcr=13 --allow-drivers "$scratch/unpinned" || saw=$?
assert_equal "the status of lint for an unpinned PCR13: $(cat "$scratch/lint")" "$saw" 0
saw=0 && lint --measure-pcr=13 --allow-drivers "$scratch/pinned" || saw=$?
assert_equal 'the status of lint for a pinned PCR13' "$saw" 3
assert_line 'lint' "$scratch/lint" '^warning: measured-pcr: .*NitroTPMPCR13'
# reloads POLICY STATUS: asserts how a reload with a changed ciphertext ends, after a start that has measured into PCR13
reloads() {
    next_boot
    declare_secret license "$key" "$scratch/current" MeasurePcr=13
    put_policy "$1"
    manager_start
    manager start
    assert_equal "a start with the policy $1" "$answer" ready
    cp "$scratch/license-2" "$scratch/current"
    reload
    assert_equal "a reload with the policy $1" "$answer" "exited $2"
    [ "$2" = 0 ] || assert_line 'the denial' "$said" 'MeasurePcr= has extended PCR8, PCR13 in this boot'
    finished
}
reloads "$scratch/unpinned" 0
reloads "$scratch/pinned" 60 # the control
put_policy "$scratch/unpinned"

say 'a bundle and a large message'
seal() { platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" "$@"; }
printf '{"a": "one", "b": "two"}' >"$scratch/json"
seal --name=app --bundle="$scratch/json" -o "$scratch/app"
head -c 3000000 /dev/urandom >"$scratch/large"
seal --name=model --format=message --raw -o "$scratch/model" "$scratch/large"
next_boot
declare_secret app "$key" "$scratch/app" Format=bundle MeasurePcr=8 '[Member a]' '[Member b]'
declare_secret model "$key" "$scratch/model" Format=message MeasurePcr=8
manager_start
manager start
all=$(predict --measure-pcr=8 --secret={app="$scratch/app",model="$scratch/model",license="$scratch/current",db-password="$scratch/sealed"})
assert_equal 'the prediction' "PCR8=$(pcr 8)" "$all"
cmp "$store/model" "$scratch/large"
verify 0 --secret={app="$scratch/app",model="$scratch/model"}
seal --name=model --format=message --raw -o "$scratch/other" "$scratch/large"
verify 20 --secret=model="$scratch/other"
finished

say 'a late message is measured by its header, before READY=1'
put() { platform object put models message "$1" >/dev/null; }
hold() { platform fault set s3 GetObject throttle --after 1; } # S3 gives the beginning of the message, and then only errors
let_come() { platform fault clear s3; }
late() { manager run sh -c "exec $unsealctl status --file=$status_file --wait --late >$scratch/shown"; }
header() { head -c "$("$unsealctl" cat-message --json "$1" | jq .header_size)" "$1" >"$1.header" && printf '%s.header' "$1"; }
with_late() { # LINE...
    next_boot "$@"
    printf '%s\n' '[Secret]' Source=s3://models/message "KeyId=$key" Format=message Late=yes MeasurePcr=8 >"$config/secrets.d/model.secret"
    put "$scratch/model"
}
with_late
measured=$(replayed "$both" model "$(header "$scratch/model")")
assert_equal 'the prediction' "$(predict --measure-pcr=8 --secret={model="$scratch/model",license="$scratch/license",db-password="$scratch/sealed"})" "PCR8=$measured"
hold
manager_start
manager start
ready 'a start without the message' "$measured"
# absent WHAT: nobody can read anything of the message
absent() { assert_equal "$1: what somebody may read" "$(find "$store" -mindepth 1 -perm /777 -printf '%P\n' | sort | xargs)" 'db-password license'; }
absent 'a start without the message'
verify 0 --secret={model="$scratch/model",license="$scratch/license"}
verify 20 --secret=model="$scratch/other"
for how in kill stop; do
    manager "$how"
    manager start
    ready "a start after $how, without the message" "$measured"
    absent "a start after $how, without the message"
    assert_no_line "a start after $how" "$said" 'measured'
done
let_come
late
assert_equal 'the end of the wait' "$answer" 'exited 0'
cmp "$store/model" "$scratch/large"
assert_equal 'the message is there: PCR8' "$(pcr 8)" "$measured"
reload
assert_equal 'a reload of the same message' "$answer: $(pcr 8)" "exited 0: $measured"
put "$scratch/other"
hold
reload
twice=$(replayed "$measured" model "$(header "$scratch/other")")
assert_equal 'a reload to another message, measured before it is there' "$answer: $(pcr 8)" "exited 0: $twice"
let_come
late
assert_equal 'the end of the wait for the other one' "$answer: $(pcr 8)" "exited 0: $twice"
finished

say 'a late message that fails stays measured'
cp "$scratch/model" "$scratch/changed"
change_byte "$scratch/changed" 2500000
with_late
put "$scratch/changed"
manager_start
manager start
ready 'a start with a changed message' "$measured"
late
assert_equal 'the end of the wait' "$answer: $(pcr 8)" "exited 3: $measured"
absent 'a changed message'
finished

say 'killed on the way to READY=1 of a late message'
# late_killed_after STEP PCR8 COMMAND...
late_killed_after() {
    local step=$1 value=$2
    shift 2
    with_late LockPcr=15
    hold
    manager_start
    manager "$@"
    assert_equal "killed after $step" "$answer: $(pcr 8)" "killed 9: $value"
    assert_equal "killed after $step: the store" "$(ls "$store")" ''
    hold # once more, because nothing is kept yet
    manager start
    ready "a start after a kill after $step" "$measured" "$(replayed_lock)"
    absent "a start after a kill after $step"
    let_come
    late
    assert_equal "killed after $step: the end of the wait" "$answer: $(pcr 8)" "exited 0: $measured"
    cmp "$store/model" "$scratch/large"
    finished
    say "  $step"
}
late_killed_after recorded "$zeros" start-kill BARRIER=1
late_killed_after extended "$measured" start "${marking[@]}"
late_killed_after 'extended, and that is recorded' "$measured" start "${publishing[@]}"

say 'the key of a volume'
next_boot
declare_secret weights "$key" "$scratch/weights.sealed" MeasurePcr=8
manager_start
manager start
ready 'the key of a volume' "$(replayed "$both" weights "$(raw "$scratch/weights.sealed")")"
assert_equal 'its prediction' "PCR8=$(pcr 8)" \
    "$(predict --measure-pcr=8 --secret={weights="$scratch/weights.sealed",license="$scratch/current",db-password="$scratch/sealed"})"
verify 0 --secret=weights="$scratch/weights.sealed"
verify 20 --secret=weights="$scratch/other.sealed" # the same model in another volume
finished
