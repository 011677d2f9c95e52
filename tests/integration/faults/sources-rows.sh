# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Rows that all sources on the network have in common.
# shellcheck source=tests/integration/faults/table.sh
. "$(dirname "${BASH_SOURCE[0]}")/table.sh"

# rows_on_the_way SERVICE OPERATION: faults of any request over TLS
rows_on_the_way() {
    row recovers 1 '^-$' -- "$@" delay 300 --times 1
    row 'ends 53' 1 'DeadlineSec=.*no answer yet from (s3|ssm|secretsmanager|https):' -- "$@" delay 60000
    row recovers 2 'timed out' -- "$@" drop --times 1
    row 'ends 53' 1 'DeadlineSec=.*no answer yet from (s3|ssm|secretsmanager|https):' -- "$@" drop
    row recovers 2 'Connection reset by peer' -- "$@" reset --times 1
    row 'ends 50' many 'Connection reset by peer' -- "$@" reset
    row recovers 2 'bytes remaining' -- "$@" truncated --times 1
    row 'ends 50' many 'bytes remaining' -- "$@" truncated
    row recovers 3 'HTTP status 503' -- "$@" http 503 --times 2
    row recovers 2 'HTTP status 429' -- "$@" http 429 --times 1
    row 'ends 53' many 'HTTP status 504' -- "$@" http 504
    row 'ends 30' 1 'HTTP status 403' -- "$@" http 403
    row 'ends 30' 1 'HTTP status 302' -- "$@" http 302
    row 'ends 30' 1 'longer than a sealed secret can be' -- "$@" oversized --times 1
    row 'ends 30' 1 'longer than a sealed secret can be' -- "$@" oversized

    row recovers 2 'not valid at the time .*certificate has expired' -- "$1" connect tls-expired --times 1
    row 'ends 52' many 'Set the clock' -- "$1" connect tls-expired
    row recovers 2 'not valid at the time .*certificate is not yet valid' -- "$1" connect tls-not-yet-valid --times 1
    row 'ends 52' many 'Set the clock' -- "$1" connect tls-not-yet-valid
    for how in '--times 1' ''; do
        # shellcheck disable=SC2086
        row 'ends 51' 1 'certificate is not one of' -- "$1" connect tls-wrong-name $how
        # shellcheck disable=SC2086
        row 'ends 51' 1 'not trusted' -- "$1" connect tls-untrusted $how
    done
}

# rows_of_aws SERVICE OPERATION: faults that AWS's services have in common
rows_of_aws() {
    row recovers 3 'not available at the moment.*InternalError' -- "$@" error InternalError --times 2
    row 'ends 53' many 'not available at the moment.*InternalError' -- "$@" error InternalError
    row 'ends 30' 1 'refuses the request.*AccessDenied' -- "$@" error AccessDenied --times 1
    row 'ends 30' 1 'refuses the request.*NeverHeardOf' -- "$@" error NeverHeardOf
    row recovers 4 'service throttles requests' -- "$@" throttle --times 3
    row 'ends 53' many 'service throttles requests' -- "$@" throttle
    row recovers 2 'does not accept the credentials' -- "$@" expired-credentials --times 1
    row 'ends 41' many 'does not accept the credentials' -- "$@" expired-credentials
    row recovers 2 'clock of this machine' -- "$@" clock 3600
    row recovers 3 'clock of this machine' -- "$@" clock 3600 --times 1
}
