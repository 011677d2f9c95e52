# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The table of attacks. Each row carries out an attack and states the outcome that it wants. All rows run and are printed. Rows
# with another outcome are listed at the end, and fail the test. A row such as "the attacker has the secret" proves that the
# attack works if its rule is not kept. The tables of tests/integration/faults have the faults of the platform.
# shellcheck disable=SC2154 # tests/integration/lib.sh sets $scratch.

table=$scratch/table
wrong=$scratch/wrong
: >"$wrong"

table_begin() { # TITLE
    printf '%-5s %-66s %-26s %7s  %s\n' rule "attack: $1" 'what happened' seconds 'words' | tee "$table"
}

# row RULE ATTACK SAW WANTED WORDS REGEX SECONDS: prints a row; SAW must equal WANTED, and WORDS must match REGEX
row() {
    printf '%-5s %-66s %-26s %7s  %s\n' "$1" "$2" "$3" "$7" "$(cut -c 1-200 <<<"${5//$'\n'/ / }")" | tee -a "$table"
    [ "$3" = "$4" ] || printf '%s: saw %s (%s), wanted %s\n' "$2" "$3" "$5" "$4" | tee -a "$wrong"
    [[ $5 =~ $6 ]] || printf "%s: the words are '%s', wanted '%s'\n" "$2" "$5" "$6" | tee -a "$wrong"
}

# expect WHAT SEEN WANTED: one more expectation of the last row
expect() { [ "$2" = "$3" ] || printf "%s: saw '%s', wanted '%s'\n" "$1" "$2" "$3" | tee -a "$wrong"; }

table_end() {
    if [ -n "${UNSEALD_TEST_RESULTS:-}" ]; then
        mkdir -p "$UNSEALD_TEST_RESULTS"
        { flock 9 && { cat "$table" && echo; } >&9; } 9>>"$UNSEALD_TEST_RESULTS/attacks.txt"
    fi
    say "$(($(wc -l <"$table") - 1)) attacks, $(wc -l <"$wrong") differences"
    [ ! -s "$wrong" ] || die "otherwise than it should be:
$(<"$wrong")"
}
