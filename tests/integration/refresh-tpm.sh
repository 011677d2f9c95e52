#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A refresh that finds a new ciphertext while the TPM hangs. It fails at its deadline, although the command still runs: a reload
# that came meanwhile would otherwise wait for ever. When the TPM answers again, the command ends and leaves nothing in the TPM.
# An interval has at least a minute, so this takes some two minutes.
. "$(dirname "$0")/direct.sh"
direct_start
configure Refresh=1min DeadlineSec=30s
declare_secret db-password "$key" "$scratch/sealed"
tpm=$(cat "$platform_state/swtpm.pid")
at_exit kill -CONT "$tpm"
before=$(tpm_contents)

# Copies the messages of unseald into $log until one begins with these words.
read_until() {
    local line
    while IFS= read -r -t 300 -u "$unseald_fd" line; do
        printf '%s\n' "$line" >>"$log"
        [[ $line != "$1"* ]] || return 0
    done
    die "unseald has not said \"$1\": $(tail -n 20 "$log")"
}
on_ready() {
    printf 'Hello again' | vendor_seal "$key" db-password "$scratch/sealed"
    kill -STOP "$tpm"
    read_until 'The reload failed'
    assert_equal "the status while the TPM hangs" "$(jq -r .state "$status_file")" unsealed
    assert_equal "the secret while the TPM hangs" "$(cat "$store/db-password")" 'Hello World'
    kill -CONT "$tpm"
}
unseald_start
unseald_finish
assert_line "why" "$log" 'The reload failed.*Not within DeadlineSec=30s: no answer yet from TPM'
assert_equal "exit status" "$unseald_status" 0
assert_equal "the TPM" "$(tpm_contents)" "$before"
