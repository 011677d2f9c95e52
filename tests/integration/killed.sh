#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGKILL ends unseald at random moments during and after an unsealing. A reader of the store never sees half a file. The next
# start succeeds and leaves nothing in the TPM. UNSEALD_TEST_SEED= repeats the moments of an earlier run. UNSEALD_TEST_KILLS= is
# the number of kills of each kind: without a service manager, with one, and with one and LockPcr=.
. "$(dirname "$0")/direct.sh"
kills=${UNSEALD_TEST_KILLS:-60}
stops=10
RANDOM=${UNSEALD_TEST_SEED:=$((RANDOM + 1))}
say "seed $UNSEALD_TEST_SEED"

direct_start
configure
names=(db-password key-1 key-2 key-3 key-4)
head -c 4096 /dev/urandom >"$secret"
for name in "${names[@]}"; do
    vendor_seal "$key" "$name" "$scratch/sealed-$name" <"$secret"
    declare_secret "$name" "$key" "$scratch/sealed-$name"
done
tpm_before=$(tpm_contents)

# Every file of the store is whole. Readers do not read names that begin with a dot.
assert_store_whole() { # WHEN
    local file
    for file in "$store"/*; do
        [ ! -e "$file" ] || cmp "$file" "$secret" || die "$1: ${file##*/} in the store is not whole: $(stat "$file")"
    done
}
assert_tpm_clean() { # WHEN
    assert_equal "$1: what is in the TPM" "$(tpm_contents)" "$tpm_before"
}

# A start without a kill.
on_ready() {
    assert_equal "$round: the store" "$(names_in "$store")" "${names[*]}"
    assert_store_whole "$round"
}
unseal() {
    unseald_start
    unseald_finish
    assert_equal "$round: exit status, was it ready ($(tail -n 1 "$log"))" "$unseald_status $unseald_ready" '0 yes'
    assert_equal "$round: the store after the end" "$(ls -A "$store")" ''
    assert_tpm_clean "$round"
}

# random_seconds USEC: sets $seconds to a random time below this many microseconds
random_seconds() {
    local random=$(((RANDOM * 32768 + RANDOM) % $1))
    printf -v seconds '%d.%06d' $((random / 1000000)) $((random % 1000000))
}

# hit SIGNAL REGEX USEC: starts unseald and sends the signal at a random moment within USEC after a message that matches. Sets
# $last_words.
hit() {
    last_words=''
    unseald_start
    until [[ $last_words =~ $2 ]]; do
        read -r -u "$unseald_fd" last_words || die "$round: unseald has ended, and has not said '$2': $last_words"
    done
    random_seconds "$3"
    sleep "$seconds"
    kill "-$1" "$unseald_pid"
    while read -r line <&"$unseald_fd"; do last_words=$line; done
    exec {unseald_fd}<&-
    unseald_status=0
    wait "$unseald_pid" || unseald_status=$?
    last_words=$(sed -E 's/ (in|after) [0-9.]+[mu]?s\.$//; s/^(key-[0-9]|db-password):/a secret:/; s/^Ready.*/ready/' <<<"$last_words")
}

# The TPM is so slow that a kill can hit each of its commands.
round='undisturbed'
unseal
platform fault set tpm '*' delay 8
round='with a slow TPM'
unseal
usec=$(printf '%.0f' "${took}e6")

say "killed"
removed=0
for ((i = 1; i <= kills; i++)); do
    round="kill $i"
    # At any moment, and every third time in the short period in which unseald holds secrets.
    if ((i % 3 > 0)); then hit KILL '^Unsealing' "$usec"; else hit KILL ': decrypting' 12000; fi
    echo "$last_words" >>"$scratch/moments"
    assert_store_whole "$round"
    unseal
    ! grep -q '^Removed [0-9]* object(s) from the TPM' "$log" || removed=$((removed + 1))
done
sort "$scratch/moments" | uniq -c | sort -rn
say "$kills times, $removed of them with something left in the TPM, which the next start removed"
[ "$removed" -gt 0 ] || die "no kill left anything, so this has shown nothing"

say "stopped"
for ((i = 1; i <= stops; i++)); do
    round="stop $i"
    hit TERM '^Unsealing' "$usec"
    assert_equal "$round: exit status ($last_words)" "$unseald_status" 0
    assert_equal "$round: the store" "$(ls -A "$store")" ''
    assert_tpm_clean "$round"
done

# keep_killing LINE...: with a service manager that keeps the secrets, and these lines in unseald.conf: up to three kills in a
# row, then none
keep_killing() {
    local i n where
    configure "$@"
    manager_start
    for ((i = 1; i <= managed; i += n)); do
        # The state after a boot.
        [ -z "$*" ] || platform tpm-reset
        rm -f "$store"/* "$store"/.[!.]*
        manager drop .
        for ((n = 0; n < 3 && (n == 0 || RANDOM % 2); n++)); do
            where=$((RANDOM % 4 == 0 ? usec / 4 : usec))
            random_seconds "$where"
            manager start-kill-after "$seconds"
            assert_equal "kill $i" "$answer" 'killed 9'
            assert_store_whole "kill $i"
        done
        round="after kill $((i + n - 1))${*:+ with $*}"
        manager start
        assert_equal "$round ($(tail -n 1 "$said"))" "$answer" ready
        on_ready
        [ -z "$*" ] || assert_equal "$round: PCR15" "$(pcr 15)" "$locked"
        grep -E -o '^[0-9]+ secret\(s\) were kept|^PCR15 [a-z]+ locked|^Unsealing' "$said" >>"$scratch/starts" || true
        # A last kill, after READY=1.
        manager kill
        manager start
        assert_equal "$round, killed when it was ready" "$answer" ready
        on_ready
        assert_no_line "$round, killed when it was ready" "$said" '^(Unsealing|TPM|PCR15)'
        manager kill
        assert_tpm_clean "$round"
    done
    manager_end
    "$build/daemon/unseald" --forget --store="$store" --status="$status_file"
    sort "$scratch/starts" | uniq -c
    rm "$scratch/starts"
}
managed=${UNSEALD_TEST_KILLS:-12}
say "killed, with a service manager"
keep_killing
say "killed, with a service manager and LockPcr="
locked=$({ head -c 48 /dev/zero && printf 'unseald lock v1' | openssl sha384 -binary; } | openssl sha384 -binary | xxd -p -c 96)
keep_killing LockPcr=15
configure

say "given up, since the TPM does not answer"
platform fault clear
platform fault set tpm CreatePrimary delay 40000 --times 1
configure DeadlineSec=15s
round='given up'
unseald_start
unseald_finish
assert_equal "$round: exit status" "$unseald_status" 20
configure
round='after that'
unseal
assert_line "$round" "$log" '^Removed [0-9]* object'
