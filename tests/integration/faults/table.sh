# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The table of faults: each row says beforehand what unseald will do, does it, and looks at what was left behind. All rows
# are run and printed; those that went otherwise are listed at the end, and fail the test.
# shellcheck source=tests/integration/direct.sh
. "$(dirname "${BASH_SOURCE[0]}")/../direct.sh"

table=$scratch/table
wrong=$scratch/wrong
: >"$wrong"
declare -A has_row
settings=() # of unseald.conf, for rows

# DeadlineSec= of rows that last until it, and what "at once" is, in seconds, on a machine with more to do.
deadline=3s patience=5
[ -z "${ASAN_OPTIONS:-}" ] || deadline=4s patience=15

table_begin() {
    direct_start
    platform fault names >"$scratch/names"
    tpm_before=$(tpm_contents)
    printf '%-60s %-14s %5s %7s  %s\n' "$1" outcome tries seconds 'first failure that was got over, or last words' | tee "$table"
}

differs() { printf '%s: saw %s, wanted %s\n' "$1" "$2" "$3" | tee -a "$wrong"; }

# What is true of every row, whatever came of it.
check_nothing_left() { # LABEL
    local left
    left=$(tpm_contents)
    [ "$left" = "$tpm_before" ] || differs "$1: the TPM" "$left" "$tpm_before"
    left=$([ ! -d "$store" ] || ls -A "$store")
    [ -z "$left" ] || differs "$1: the store" "$left" nothing
    # A sanitizer's or valgrind's findings have exit statuses of their own; this is in case one gets lost.
    ! grep -E 'runtime error:|Sanitizer' "$log" || differs "$1: a sanitizer" findings none
}

# Whether the outcome is told to people and machines alike. Sets $saw, and $words, what it said.
check_outcome() { # LABEL WANTED
    if [ -n "$unseald_ready" ]; then
        saw=recovers
        [ "$unseald_status" = 0 ] || differs "$1: exit status after SIGTERM" "$unseald_status" 0
        [ ! -e "$status_file" ] || differs "$1: status.json after SIGTERM" "$(<"$status_file")" none
        cmp -s "$scratch/unsealed" "$secret" || differs "$1: the secret" "$(xxd "$scratch/unsealed")" "$(xxd "$secret")"
        words=$(grep -m1 'attempt 1 failed' "$log" || echo -)
    else
        saw="ends $unseald_status"
        if [ -e "$status_file" ]; then
            [ "$(jq -r .state "$status_file")" = failed ] || differs "$1: status.json" "$(<"$status_file")" 'state: failed'
            words=$(jq -r .error "$status_file")
            grep -qF -- "$words" "$log" || differs "$1: the log" "$(tail -n 3 "$log")" "$words"
        else
            words=$(tail -n 1 "$log")
        fi
    fi
    [ "$saw" = "$2" ] || differs "$1: outcome" "$saw ($words)" "$2"
}

check_tries() { # LABEL WANTED
    if [[ $words =~ DeadlineSec=.*after\ ([0-9]+)\ attempt ]]; then
        tries=${BASH_REMATCH[1]}
    else
        tries=$(($(grep -c ': attempt [0-9]* failed, next in' "$log") + 1)) || true
    fi
    if [ "$2" = many ]; then
        [ "$tries" -ge 2 ] || differs "$1: tries" "$tries" 'two or more'
    else
        [ "$tries" = "$2" ] || differs "$1: tries" "$tries" "$2"
    fi
}

# check LABEL WANTED TRIES REGEX: one row, the platform and the configuration being as they shall be for it. WANTED:
# "recovers" or "ends STATUS". TRIES: how often it was tried, or "many": more than once, until the deadline. REGEX: what
# the words match.
not_met() { platform fault list | awk -F'\t' '$5 == 0 { print $1, $2, $3 }'; }
on_ready() { cp "$store/db-password" "$scratch/unsealed"; }
check() {
    rm -f "$status_file" "$scratch/unsealed"
    unseald_start
    unseald_finish
    # A key pair takes as long as it takes, and the rest as long as the machine has other things to do. Less than an
    # HTTP request's time, which some rows are about.
    if grep -q 'DeadlineSec=.*key pair' "$log" || { grep -q 'Not within DeadlineSec=' "$log" && [ -n "$(not_met)" ]; }; then
        sed -i 's/^DeadlineSec=.*/DeadlineSec=12s/' "$config/unseald.conf"
        unseald_start
        unseald_finish
    fi
    check_outcome "$1" "$2"
    check_tries "$1" "$3"
    # What no time will mend is not waited for, not even the TPM longer than it works.
    [[ $2 == recovers || $3 == many || $4 == *DeadlineSec* || ${took%.*} -lt $patience ]] ||
        differs "$1: time" "$took s" 'an end at once'
    [[ $words =~ $4 ]] || differs "$1: words" "'$words'" "'$4'"
    printf '%-60s %-14s %5s %7s  %s\n' "$1" "$saw" "$tries" "$took" "$words" | tee -a "$table"
    # A fault that never took effect would show nothing.
    local left
    left=$(not_met)
    [ -z "$left" ] || differs "$1: faults" "$left not met" 'all met'
    platform fault clear
    check_nothing_left "$1"
}

# row WANTED TRIES REGEX -- SERVICE OPERATION FAULT... [-- SERVICE OPERATION FAULT...]: faults of the platform, as
# `platform fault set` takes them. Only rows of many tries, and those whose words tell of it, meet the deadline.
row() {
    local wanted=$1 tries=$2 regex=$3 label='' limit=60s words=()
    shift 3
    [[ $tries != many && $regex != *DeadlineSec* ]] || limit=$deadline
    while [ $# -gt 0 ]; do
        shift
        words=()
        while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1") && shift; done
        platform fault set "${words[@]}"
        label+="${label:+ + }${words[*]}"
        case "${words[*]}" in
        *--times*) has_row["${words[0]} ${words[2]} times"]=1 ;;
        *) has_row["${words[0]} ${words[2]} lasting"]=1 ;;
        esac
    done
    configure "DeadlineSec=$limit" "${settings[@]}"
    check "$label" "$wanted" "$tries" "$regex"
}

# table_end SERVICE...: every fault that the platform has for these services has a row in which it passes by itself, and
# one in which it lasts.
table_end() {
    local service fault _ how
    while IFS=$'\t' read -r service fault _; do
        [[ " $* " == *" $service "* ]] || continue
        for how in times lasting; do
            [ -n "${has_row["$service $fault $how"]:-}" ] || differs "$service $fault ($how)" 'no row' one
        done
    done <"$scratch/names"

    if [ -n "${UNSEALD_TEST_RESULTS:-}" ]; then
        mkdir -p "$UNSEALD_TEST_RESULTS"
        { flock 9 && { cat "$table" && echo; } >&9; } 9>>"$UNSEALD_TEST_RESULTS/faults.txt"
    fi
    say "$(($(wc -l <"$table") - 1)) rows, $(wc -l <"$wrong") differences"
    [ ! -s "$wrong" ] || die "otherwise than it should be:
$(<"$wrong")"
}
