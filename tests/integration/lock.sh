#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# LockPcr=: once the secrets are published, KMS accepts no document of this boot any more, from anybody. Secrets that are kept
# over a restart need no document. The PCR is extended exactly once, wherever SIGKILL ends unseald.
. "$(dirname "$0")/direct.sh"
unsealctl=$build/daemon/unsealctl
direct_start
printf 'the license' | vendor_seal "$key" license "$scratch/sealed-license"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER -out "$scratch/thief.key" 2>/dev/null
openssl pkey -inform DER -in "$scratch/thief.key" -pubout -outform DER -out "$scratch/thief.pub"

zeros=$(printf '0%.0s' {1..96})
# extended HEX: the PCR value after an extension by SHA-384("unseald lock v1"), computed without unseald's code
extended() { { xxd -r -p <<<"$1" && printf 'unseald lock v1' | openssl sha384 -binary; } | openssl sha384 -binary | xxd -p -c 96; }
once=$(extended "$zeros")

# The key's policy for an image that locks PCR N.
put_policy() { # N
    local admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin policy
    jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
        '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
    policy=$("$unsealctl" policy --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" \
        --measurements="$scratch/measurements" --lock-pcr="$1")
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}

# thief WHAT WANTED: does what root on the machine can do: uses a document over another public key, with the role's credentials
thief() {
    local saw=allowed
    "$unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/thief.pub" --output="$scratch/thief.document"
    role_kms Decrypt "$(jq -nc --arg key "$key" --arg blob "$(cat "$scratch/sealed")" --arg document "$(base64 -w0 "$scratch/thief.document")" \
        '{KeyId: $key, CiphertextBlob: $blob, EncryptionContext: {"unseald:secret": "db-password"},
          Recipient: {KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256", AttestationDocument: $document}}')" >"$scratch/reply" 2>/dev/null ||
        saw=$(jq -r .__type "$scratch/reply")
    assert_match "$1" "$saw" "$2"
    say "  root asks, $1: $saw"
}

# next_boot LINE...: the state after a new boot, with these lines in unseald.conf
next_boot() {
    platform tpm-reset
    platform extend 4 'the image' >/dev/null
    configure "$@"
    rm -f "$config"/secrets.d/*
    declare_secret db-password "$key" "$scratch/sealed"
    tpm_before=$(tpm_contents)
}
finished() {
    manager stop
    manager_end
    "$build/daemon/unseald" --forget --store="$store" --status="$status_file"
}
# assert_published WHAT PCR VALUE REQUESTS: the secrets are published, the PCR has this value, and KMS got so many requests since
# the last call
asked=0
assert_published() {
    assert_equal "$1 ($(tail -n 1 "$log"))" "$answer" ready
    assert_equal "$1: PCR$2" "$(pcr "$2")" "$3"
    assert_equal "$1: the secret" "$(cat "$store/db-password")" 'Hello World'
    assert_equal "$1: requests to KMS" "$(($(requests Decrypt) - asked))" "$4"
    assert_equal "$1: what is in the TPM" "$(tpm_contents)" "$tpm_before"
    asked=$(requests Decrypt)
}

say 'locked'
next_boot LockPcr=15
put_policy 15
thief 'before the lock' '^allowed$'
asked=$(requests Decrypt)
manager_start
manager start
assert_published 'the start that locks' 15 "$once" 1
assert_line 'the start that locks' "$said" '^PCR15 is locked'
assert_match 'kept, locked, published' "$(sed -nE 's/^(db-password: kept|PCR15|db-password: published|Ready).*/\1/p' "$said" | xargs -d '\n')" \
    '^db-password: kept PCR15 db-password: published Ready$'
thief 'after the lock' 'AccessDeniedException$'
asked=$(requests Decrypt)

say 'restarted and killed, locked'
platform fault set tpm '*' code 0x101 # whoever asks it now fails
for how in stop kill stop; do
    manager "$how"
    manager start
    assert_equal "a start after $how" "$answer" ready
    assert_no_line "a start after $how" "$said" 'lock'
done
platform fault clear
assert_published 'after all of them' 15 "$once" 0

say 'what is declared later is locked'
declare_secret license "$key" "$scratch/sealed-license" Optional=yes
manager stop
manager start
assert_published 'with an optional secret more' 15 "$once" 0
assert_line 'with an optional secret more' "$said" '^The optional secret license stays sealed for this boot .*locked until the next boot'
declare_secret license "$key" "$scratch/sealed-license"
manager stop
manager start
assert_equal 'with a required secret more' "$answer" 'exited 67'
assert_line 'with a required secret more' "$said" '^The secret is locked until the next boot: .*PCR15|^license: The secret is locked until the next boot'
rm "$config/secrets.d/license.secret"

say 'what was kept is lost'
manager drop .
manager start
assert_equal 'a start without what was kept' "$answer" 'exited 67'
assert_line 'a start without what was kept' "$said" 'locked until the next boot: .*PCR15.*KMS denies access'
assert_equal 'the PCR' "$(pcr 15)" "$once"
assert_equal 'the store' "$(ls -A "$store")" ''
manager_end

say 'killed right after each step from kept to READY=1'
# killed_after STEP PCR PUBLISHED COMMAND...: asserts the PCR's value and the names in the store after a kill
killed_after() {
    local step=$1 value=$2 published=$3
    shift 3
    asked=$(requests Decrypt)
    next_boot LockPcr=15
    declare_secret license "$key" "$scratch/sealed-license"
    manager_start
    manager "$@"
    assert_equal "killed after $step" "$answer" 'killed 9'
    assert_equal "killed after $step: PCR15" "$(pcr 15)" "$value"
    assert_equal "killed after $step: the store" "$(cd "$store" && echo *)" "${published:-*}"
    manager start
    assert_published "a start after a kill after $step" 15 "$once" 2
    assert_equal "a start after a kill after $step: the other secret" "$(cat "$store/license")" 'the license'
    finished
    say "  $step"
}
# at SYSCALL N: prints the wrapper that kills unseald just before its N-th call of this system call. -D: unseald keeps its PID.
at() { printf '%s\n' strace -D -f -qq -o /dev/null -e "trace=$1" -e "inject=$1:signal=KILL:when=$2"; }
mapfile -t marking < <(at pwrite64 1)
mapfile -t publishing < <(at renameat 1)
mapfile -t half < <(at renameat 2)
killed_after 'kept' "$zeros" '' start-kill BARRIER=1
killed_after 'locked' "$once" '' start "${marking[@]}"
killed_after 'locked, and that is kept' "$once" '' start "${publishing[@]}"
killed_after 'half of it is published' "$once" 'db-password' start "${half[@]}"
killed_after 'ready' "$once" 'db-password license' start-kill READY=1

say 'a TPM that cannot be locked'
next_boot LockPcr=15 DeadlineSec=30s
manager_start
platform fault set tpm PCR_Extend code 0x101
manager start
assert_match 'a start' "$answer" '^exited 20$'
assert_equal 'the store, as seen by readers' "$(ls "$store")" ''
platform fault clear
asked=$(requests Decrypt)
manager start
assert_published 'a start when it can' 15 "$once" 0
finished

say 'every PCR that may be locked, and one that was extended before'
for pcr in 8 13 14; do
    put_policy "$pcr"
    next_boot "LockPcr=$pcr"
    asked=$(requests Decrypt)
    manager_start
    manager start
    assert_published "PCR$pcr" "$pcr" "$once" 1
    finished
done
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
next_boot LockPcr=15
platform extend 15 'somebody else' >/dev/null
before=$(pcr 15)
asked=$(requests Decrypt)
manager_start
manager start-kill BARRIER=1
manager start
assert_published 'PCR15 of somebody else' 15 "$(extended "$before")" 1
manager kill
manager drop .
asked=$(requests Decrypt)
manager start
assert_equal 'a start with a policy that does not look at PCR15' "$answer" ready
finished
