#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# KMS fails to answer the question of VerifyPolicy=, whether it would decrypt the secret without a document. unseald takes the
# failure neither for a denial nor for its opposite.
. "$(dirname "$0")/table.sh"

table_begin "KMS's answer to the probe"
declare_secret db-password "$key" "$scratch/sealed"

settings=(VerifyPolicy=yes)
row recovers 1 '^-$' -- kms DryRun delay 300
row 'ends 53' 1 'DeadlineSec=.*no answer yet from policy probe' -- kms DryRun drop
row recovers 3 'policy probe.*not known.*Connection reset by peer' -- kms DryRun reset --times 3
row 'ends 50' many 'not known.*Connection reset by peer' -- kms DryRun reset
row recovers 2 'not known.*bytes remaining' -- kms DryRun truncated --times 1
row recovers 3 'not known.*HTTP status 503' -- kms DryRun http 503 --times 2
row 'ends 53' many 'not known.*HTTP status 503' -- kms DryRun http 503
row recovers 4 'not known.*KMS throttles' -- kms DryRun throttle --times 3
row 'ends 53' many 'not known.*KMS throttles' -- kms DryRun throttle
row recovers 2 'not known.*not available' -- kms DryRun error KMSInternalException --times 1
row recovers 2 'not known.*credentials' -- kms DryRun expired-credentials --times 1
row 'ends 41' many 'not known.*credentials' -- kms DryRun expired-credentials
row recovers 2 'not known.*clock of this machine' -- kms DryRun clock 600
row recovers 2 'not known.*malformed' -- kms DryRun garbage --times 1
row 'ends 65' many 'not known.*malformed' -- kms DryRun garbage
row 'ends 65' many 'not known.*malformed' -- kms DryRun empty
row 'ends 65' 1 'not known.*more than 65536 bytes' -- kms DryRun oversized
row 'ends 64' 1 'not known.*does not accept the request' -- kms DryRun error ValidationException
row 'ends 64' 1 'not known.*HTTP status 403' -- kms DryRun http 403
row 'ends 61' 1 'not known.*does not know the key' -- kms DryRun error NotFoundException
row 'ends 62' 1 'not known.*ciphertext was changed' -- kms DryRun error InvalidCiphertextException
row 'ends 66' 1 'not gated' -- kms DryRun error DryRunOperationException

settings=(VerifyPolicy=warn)
row recovers 1 '^-$' -- kms DryRun delay 300
row recovers 1 '^-$' -- kms DryRun drop
for fault in truncated 'http 503' throttle 'error KMSInternalException' expired-credentials garbage empty; do
    # shellcheck disable=SC2086
    row recovers 3 'policy probe.*not known' -- kms DryRun $fault
done
row recovers 3 'policy probe.*not known' -- kms DryRun reset
for fault in oversized 'error ValidationException' 'http 403' 'error NotFoundException' 'error DryRunOperationException'; do
    # shellcheck disable=SC2086
    row recovers 1 '^-$' -- kms DryRun $fault
done

table_end
