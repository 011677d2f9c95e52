#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults of the sources whose answer is the ciphertext: S3, an HTTPS server, user data.
. "$(dirname "$0")/sources-rows.sh"

table_begin 'S3, a server, user data'
platform object put sealed-secrets db "$scratch/sealed" >/dev/null
platform file put db "$scratch/sealed" >/dev/null
platform user-data "$scratch/sealed"

# rows_of_bodies SERVICE OPERATION: rows for a source whose body is the ciphertext. Only KMS notices that a body is none.
rows_of_bodies() {
    for how in '--times 1' ''; do
        # shellcheck disable=SC2086
        row 'ends 62' 1 'ciphertext was changed' -- "$@" garbage $how
        # shellcheck disable=SC2086
        row 'ends 30' 1 'empty' -- "$@" empty $how
    done
}

# rows_of_objects SERVICE OPERATION PUT...: rows for a source that has objects. PUT puts it again.
rows_of_objects() {
    local service=$1 operation=$2 how
    row recovers 2 'Connection reset by peer|unexpected eof|bytes remaining' -- "$service" "$operation" cut 5 --times 1
    row 'ends 50' many 'Connection reset by peer|unexpected eof|bytes remaining' -- "$service" "$operation" cut 5
    for how in '--times 1' ''; do
        # shellcheck disable=SC2086
        row recovers 1 '^-$' -- "$service" "$operation" slow 10000 $how
        # shellcheck disable=SC2086
        row recovers 1 '^-$' -- "$service" "$operation" identity none $how
        # shellcheck disable=SC2086
        row 'ends 62' 1 'ciphertext was changed' -- "$service" "$operation" replaced $how
        platform "${@:3}" "$scratch/sealed" >/dev/null
    done
    # Only requests for ranges meet this fault: message-ranges.sh has them.
    has_row["$service range times"]=1 has_row["$service range lasting"]=1
}

declare_source s3://sealed-secrets/db
rows_on_the_way s3 GetObject
rows_of_aws s3 GetObject
rows_of_bodies s3 GetObject
rows_of_objects s3 GetObject object put sealed-secrets db

declare_source https://downloads.example.com/db
rows_on_the_way files GET
rows_of_bodies files GET
rows_of_objects files GET file put db
row recovers 1 '^-$' -- files GET clock 3600 --times 1
row recovers 1 '^-$' -- files GET clock 3600

# The other faults of IMDS are in imds.sh. These rows ask it for the user data as well.
declare_source user-data:
row recovers 1 '^-$' -- imds user-data delay 300 --times 1
row recovers 2 'cannot be reached.*timed out' -- imds user-data drop --times 1
row 'ends 40' many 'cannot be reached.*timed out' -- imds user-data drop
row recovers 2 'IMDS cannot be reached' -- imds user-data reset --times 1
row recovers 3 'HTTP status 503' -- imds user-data http 503 --times 2
row 'ends 40' many 'HTTP status 503' -- imds user-data http 503
row 'ends 40' 1 'does not give out this path' -- imds user-data http 403
row 'ends 30' 1 'no user data' -- imds user-data http 404
row recovers 1 '^-$' -- imds user-data http 401 --times 1
row recovers 2 'bytes remaining' -- imds user-data truncated --times 1
row 'ends 62' 1 'ciphertext was changed' -- imds user-data garbage
row 'ends 30' 1 'empty' -- imds user-data empty
row 'ends 40' 1 'more than 65536 bytes' -- imds user-data oversized

table_end s3 files
