# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Attacks on an unseald that runs on the platform without a service manager.
# shellcheck source=tests/integration/direct.sh
. "$(dirname "${BASH_SOURCE[0]}")/../direct.sh"
# shellcheck source=tests/integration/attacks/table.sh
. "$(dirname "${BASH_SOURCE[0]}")/table.sh"

# As in direct.sh, with a shorter deadline: an attack that makes unseald wait need not take two minutes.
eval "plain_$(declare -f configure)"
configure() { plain_configure DeadlineSec=20s "$@"; }

on_ready() { cp "$store/db-password" "$scratch/unsealed"; }

# The word for "unseald publishes the right secret". It is a success, except in rows where an attacker's image asks.
right=unharmed

# attack RULE LABEL WANTED REGEX [STORE]: runs unseald under the prepared attack. WANTED: "ends STATUS", or $right (it publishes the
# right secret), or "the attacker's secret" (it publishes another one). REGEX matches its last line, or, if it publishes a secret,
# any line. STORE: the names in the store after unseald has ended without publishing; none by default.
attack() {
    local saw words before=''
    rm -f "$status_file" "$scratch/unsealed"
    unseald_start
    unseald_finish
    # On a slow machine the deadline may come before the event that the row tests.
    while [ -z "$unseald_ready" ] && { [ "ends $unseald_status" != "$3" ] || ! tail -n 1 "$log" | grep -Eq -- "$4"; } &&
        longer_deadline_helps "$before" "$(tail -n 1 "$log")" && longer_deadline; do
        before=$(tail -n 1 "$log")
        rm -f "$status_file"
        unseald_start
        unseald_finish
    done
    words=$(tail -n 1 "$log")
    if [ -z "$unseald_ready" ]; then
        saw="ends $unseald_status"
        [ ! -e "$status_file" ] || words=$(jq -r .error "$status_file")
        expect "$2: the store" "$(ls -A "$store")" "${5:-}"
    else
        words=$(grep -m 1 -E -- "$4" "$log" || tail -n 1 "$log")
        if cmp -s "$scratch/unsealed" "$secret"; then saw=$right; else saw="the attacker's secret"; fi
    fi
    row "$1" "$2" "$saw" "$3" "$words" "$4" "$took"
    platform fault clear
}

# attacker_start kms|imds ADDRESS:PORT OPTION...: the attacker writes what it sees to $attacker_log. attacker_stop ends it.
attacker_log=$scratch/attacker attacker_netns=()
attacker_start() {
    : >"$attacker_log"
    "$top/tests/platform/platform" exec --as instance "${attacker_netns[@]}" -- \
        /usr/bin/python3 "$top/tests/integration/attacks/attacker.py" "$@" >"$attacker_log" 2>&1 &
    attacker_pid=$!
    at_exit end_process "$attacker_pid"
    for _ in {1..1200}; do
        ! grep -q '^listening$' "$attacker_log" || return 0
        kill -0 "$attacker_pid" 2>/dev/null || break
        sleep 0.05
    done
    die "the attacker does not start: $(<"$attacker_log")"
}
attacker_stop() {
    end_process "$attacker_pid"
}

# attacker_waits N: waits until the attacker has seen so many things. What it sees of the end of a connection comes after unseald has ended.
attacker_waits() {
    local looks
    for ((looks = 0; looks < 200 && $(wc -l <"$attacker_log") < $1; looks++)); do sleep 0.05; done
}

# attacker_saw REGEX: prints how many lines of $attacker_log match
attacker_saw() { grep -Ec -- "$1" "$attacker_log" || true; }

# customer_kms OPERATION JSON: calls KMS as the customer's administrator, the owner of the account that the instance runs in
customer_kms() {
    PLATFORM_VENDOR_ACCESS_KEY_ID=$PLATFORM_CUSTOMER_ACCESS_KEY_ID \
        PLATFORM_VENDOR_SECRET_ACCESS_KEY=$PLATFORM_CUSTOMER_SECRET_ACCESS_KEY kms "$@"
}

# make_authority NAME: makes NAME.pem. make_certificate AUTHORITY NAME HOST: makes NAME.pem and NAME.key.
make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$scratch/$1.key" -out "$scratch/$1.pem" 2>/dev/null
}
make_certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" -keyout "$scratch/$2.key" 2>/dev/null |
        openssl x509 -req -days 2 -CA "$scratch/$1.pem" -CAkey "$scratch/$1.key" -CAcreateserial \
            -extfile <(echo "subjectAltName=DNS:$3") -out "$scratch/$2.pem" 2>/dev/null
}
