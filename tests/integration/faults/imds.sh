#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults before KMS: the network is not up, IMDS is not ready, the role is not attached, or not yet.
. "$(dirname "$0")/table.sh"

table_begin IMDS
declare_secret db-password "$key" "$scratch/sealed"

for operation in token role credentials; do
    row recovers 1 '^-$' -- imds $operation delay 300 --times 1
    row recovers 2 'IMDS cannot be reached' -- imds $operation reset --times 1
    row recovers 3 'HTTP status 503' -- imds $operation http 503 --times 2
    row recovers 2 'bytes remaining' -- imds $operation truncated --times 1
    row recovers 2 'malformed' -- imds $operation garbage --times 1
    row recovers 2 'malformed|no role' -- imds $operation empty --times 1
done
row recovers 1 '^-$' -- imds role delay 300
row 'ends 40' many 'cannot be reached.*timed out' -- imds token delay 10000
row recovers 2 'cannot be reached.*timed out' -- imds token drop --times 1
row 'ends 40' many 'cannot be reached.*timed out' -- imds role drop
row 'ends 40' many 'IMDS cannot be reached' -- imds credentials reset
row 'ends 40' many 'HTTP status 500' -- imds token http 500
row 'ends 40' 1 'turned off' -- imds token http 403
row recovers 1 '^-$' -- imds role http 401 --times 1
row 'ends 40' many 'HTTP status 401' -- imds credentials http 401
row recovers 3 'no role' -- imds role http 404 --times 2
row 'ends 41' many 'no role' -- imds role http 404
row recovers 3 'no role' -- imds credentials http 404 --times 2
row 'ends 40' many 'bytes remaining' -- imds role truncated
row 'ends 40' many 'malformed' -- imds credentials garbage
row 'ends 41' many 'no role' -- imds role empty
row 'ends 40' 1 'more than 65536 bytes' -- imds role oversized --times 1
row 'ends 40' 1 'more than 65536 bytes' -- imds credentials oversized
row recovers 2 'no credentials for the role' -- imds credentials error Failed --times 1
row 'ends 41' many 'no credentials for the role' -- imds credentials error AssumeRoleUnauthorizedAccess 'EC2 cannot assume the role.'
row recovers 2 'ExpiredToken' -- imds credentials expired-credentials --times 1
row 'ends 41' many 'ExpiredToken' -- imds credentials expired-credentials
row recovers 1 '^-$' -- imds credentials clock 600 --times 1
row recovers 1 '^-$' -- imds '*' clock 600

# The account of the instance, for a secret that is bound to an account.
vendor_seal "$key" db-password "$scratch/bound" "$PLATFORM_CUSTOMER_ACCOUNT" <"$secret"
declare_secret db-password "$key" "$scratch/bound" BindAccount=yes
row recovers 1 '^-$' -- imds identity delay 300 --times 1
row recovers 2 'cannot be reached.*timed out' -- imds identity drop --times 1
row 'ends 40' many 'instance identity.*cannot be reached.*timed out' -- imds identity drop
row recovers 2 'instance identity.*IMDS cannot be reached' -- imds identity reset --times 1
row recovers 3 'instance identity.*HTTP status 503' -- imds identity http 503 --times 2
row 'ends 40' many 'HTTP status 503' -- imds identity http 503
row recovers 1 '^-$' -- imds identity http 401 --times 1
row 'ends 40' 1 'does not give out this path' -- imds identity http 403
row 'ends 40' 1 'IMDS has no /latest/dynamic' -- imds identity http 404
row recovers 2 'bytes remaining' -- imds identity truncated --times 1
row recovers 2 'malformed answer for the instance identity' -- imds identity garbage --times 1
row 'ends 40' many 'malformed answer for the instance identity' -- imds identity garbage
row recovers 2 'malformed answer for the instance identity' -- imds identity empty --times 1
row 'ends 40' 1 'more than 65536 bytes' -- imds identity oversized

table_end imds
