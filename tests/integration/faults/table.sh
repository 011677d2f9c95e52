# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The table of faults. Each row states beforehand what unseald will do, makes the fault happen, and looks at what unseald left
# behind. All rows run and are printed. The rows that went differently are listed at the end and fail the test.
# No row depends on how fast the machine is: see longer_deadline in direct.sh.
# shellcheck source=tests/integration/direct.sh
. "$(dirname "${BASH_SOURCE[0]}")/../direct.sh"

table=$scratch/table
wrong=$scratch/wrong row_wrong=$scratch/row-wrong
: >"$wrong"
declare -A has_row
settings=() # further lines of unseald.conf

deadline=${deadlines[0]}s # DeadlineSec= of rows that last until it; direct.sh has the longer ones
long=5min # DeadlineSec= of rows that end before it
# A failure that cannot pass must end the attempt at once: well before an HTTP request would time out. A row that takes longer
# runs again, since the machine may have been busy.
patience=14 patient_runs=3
[ -z "${ASAN_OPTIONS:-}" ] || patience=40

table_begin() {
    direct_start
    platform fault names >"$scratch/names"
    tpm_before=$(tpm_contents)
    printf '%-60s %-14s %5s %7s  %s\n' "$1" outcome tries seconds 'first failure that was got over, or last words' | tee "$table"
}

differs() { printf '%s: saw %s, wanted %s\n' "$1" "$2" "$3" >>"$row_wrong"; }

# Checks what holds for every row, whatever its outcome.
check_nothing_left() { # LABEL
    local left
    left=$(tpm_contents)
    [ "$left" = "$tpm_before" ] || differs "$1: the TPM" "$left" "$tpm_before"
    left=$([ ! -d "$store" ] || ls -A "$store")
    [ -z "$left" ] || differs "$1: the store" "$left" nothing
    # The findings of a sanitizer or of valgrind have exit statuses of their own; this finds one whose status was lost.
    ! grep -E 'runtime error:|Sanitizer' "$log" || differs "$1: a sanitizer" findings none
}

# Checks that journal, status file and exit status report the same outcome. Sets $saw, and $words: the messages of unseald.
check_outcome() { # LABEL WANTED
    if [ -n "$unseald_ready" ]; then
        saw=recovers
        [ "$unseald_status" = 0 ] || differs "$1: exit status after SIGTERM" "$unseald_status" 0
        [ "$(jq -r .state "$status_file")" = stopped ] || differs "$1: status.json after SIGTERM" "$(<"$status_file")" stopped
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

# The faults of the row, each as `platform fault set` takes it. AFTER_DEADLINE stands for a delay, in milliseconds, that ends
# two seconds after the deadline.
faults=()
set_faults() {
    local fault limit words
    limit=$(sed -n 's/^DeadlineSec=\([0-9]*\)s$/\1/p' "$config/unseald.conf")
    platform fault clear
    for fault in "${faults[@]}"; do
        eval "words=(${fault//AFTER_DEADLINE/$((${limit:-0} + 2))000})"
        platform fault set "${words[@]}"
    done
}
not_met() { platform fault list | awk -F'\t' '$5 == 0 { print $1, $2, $3 }'; }
on_ready() { cp "$store/db-password" "$scratch/unsealed"; }

# Runs the row once. Sets $row_wrong to the differences from what the row wants.
run_row() { # LABEL WANTED TRIES REGEX
    local left
    : >"$row_wrong"
    rm -f "$status_file" "$scratch/unsealed"
    set_faults
    unseald_start
    unseald_finish
    check_outcome "$1" "$2"
    check_tries "$1" "$3"
    [[ $words =~ $4 ]] || differs "$1: words" "'$words'" "'$4'"
    # A fault that never took effect shows nothing.
    left=$(not_met)
    [ -z "$left" ] || differs "$1: faults" "$left not met" 'all met'
    platform fault clear
    check_nothing_left "$1"
}

# check LABEL WANTED TRIES REGEX: one row; the platform and the configuration are as the row needs them. WANTED: "recovers" or
# "ends STATUS". TRIES: the number of attempts, or "many": more than one, until the deadline. REGEX: what the words match.
check() {
    local runs=1 at_once=yes before=''
    ! grep -qx "DeadlineSec=$deadline" "$config/unseald.conf" || at_once=
    run_row "$@"
    if [ -z "$at_once" ]; then
        while [ -s "$row_wrong" ] && longer_deadline_helps "$before" "$words" && longer_deadline; do
            before=$words
            run_row "$@"
        done
    elif [[ $2 != recovers ]]; then
        while [ "${took%.*}" -ge $patience ] && [ ! -s "$row_wrong" ]; do
            [ $((runs++)) -lt $patient_runs ] || differs "$1: time" "$took s, $patient_runs times" 'an end at once'
            [ -s "$row_wrong" ] || run_row "$@"
        done
    fi
    printf '%-60s %-14s %5s %7s  %s\n' "$1" "$saw" "$tries" "$took" "$words" | tee -a "$table"
    tee -a "$wrong" <"$row_wrong"
}

# row WANTED TRIES REGEX -- SERVICE OPERATION FAULT... [-- SERVICE OPERATION FAULT...]: faults of the platform, as
# `platform fault set` takes them. Only rows of many tries, and rows whose words mention the deadline, reach it.
row() {
    local wanted=$1 tries=$2 regex=$3 label='' limit=$long words=()
    shift 3
    [[ $tries != many && $regex != *DeadlineSec* ]] || limit=$deadline
    faults=()
    while [ $# -gt 0 ]; do
        shift
        words=()
        while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1") && shift; done
        faults+=("$(printf '%q ' "${words[@]}")")
        label+="${label:+ + }${words[*]}"
        case "${words[*]}" in
        *--times*) has_row["${words[0]} ${words[2]} times"]=1 ;;
        *) has_row["${words[0]} ${words[2]} lasting"]=1 ;;
        esac
    done
    configure "DeadlineSec=$limit" "${settings[@]}"
    check "$label" "$wanted" "$tries" "$regex"
    faults=()
}

# table_end SERVICE...: every fault that the platform has for these services has a row in which it passes and one in which it
# lasts.
table_end() {
    local service fault _ how
    while IFS=$'\t' read -r service fault _; do
        [[ " $* " == *" $service "* ]] || continue
        for how in times lasting; do
            [ -n "${has_row["$service $fault $how"]:-}" ] || echo "$service $fault ($how): no row" | tee -a "$wrong"
        done
    done <"$scratch/names"

    if [ -n "${UNSEALD_TEST_RESULTS:-}" ]; then
        mkdir -p "$UNSEALD_TEST_RESULTS"
        { flock 9 && { cat "$table" && echo; } >&9; } 9>>"$UNSEALD_TEST_RESULTS/faults.txt"
    fi
    say "$(($(wc -l <"$table") - 1)) rows, $(wc -l <"$wrong") differences"
    [ ! -s "$wrong" ] || die "the table differs:
$(<"$wrong")"
}
