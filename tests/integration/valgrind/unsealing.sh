#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An unsealing of two secrets, and one that KMS denies, under valgrind's memcheck (UNSEALD_TEST_WRAPPER=).
: "${UNSEALD_TEST_WRAPPER:?wants a command line to run unseald with, such as \"valgrind --error-exitcode=99\"}"
. "$(dirname "$0")/../direct.sh"
UNSEALD_LIMIT=200
direct_start
configure DeadlineSec=5min
declare_secret db-password "$key" "$scratch/sealed"
head -c 4096 /dev/urandom | tee "$scratch/random" | vendor_seal "$key" random "$scratch/sealed-random"
declare_secret random "$key" "$scratch/sealed-random"
on_ready() { cmp "$store/db-password" "$secret" && cmp "$store/random" "$scratch/random"; }

run() { # LABEL STATUS
    unseald_start
    unseald_finish
    say "$1: exit status $unseald_status after $took s"
    cat "$log"
    assert_equal "$1: exit status" "$unseald_status" "$2"
    assert_no_line "$1: what valgrind says" "$log" '^==[0-9]+=='
}

run 'unsealed' 0
[ -n "$unseald_ready" ] || die "unseald was not ready"
platform extend 4 'another image'
run 'denied' 60
