#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each error of KMS, and the errors that load balancers return in its place.
. "$(dirname "$0")/table.sh"

table_begin "KMS's errors"
declare_secret db-password "$key" "$scratch/sealed"

# Errors that may pass.
for code in DependencyTimeoutException KeyUnavailableException ServiceUnavailableException InternalFailure; do
    row recovers 2 "not available at the moment.*$code" -- kms Decrypt error "$code" --times 1
done
for code in ThrottlingException LimitExceededException TooManyRequestsException RequestLimitExceeded; do
    row recovers 2 "KMS throttles.*$code" -- kms Decrypt error "$code" --times 1
done
row 'ends 53' many 'throttles' -- kms Decrypt error LimitExceededException
row 'ends 53' many 'not available' -- kms Decrypt error KeyUnavailableException

# Errors against which new credentials, a new document or another clock may help.
row recovers 2 'ExpiredTokenException' -- kms Decrypt error ExpiredTokenException --times 1
row recovers 2 'UnrecognizedClientException' -- kms Decrypt error UnrecognizedClientException --times 1
row 'ends 41' many 'does not accept the credentials' -- kms Decrypt error UnrecognizedClientException
row recovers 2 'signature' -- kms Decrypt error InvalidSignatureException --times 1
row 'ends 41' many 'signature' -- kms Decrypt error InvalidSignatureException
row 'ends 52' many 'clock' -- kms Decrypt error RequestTimeTooSkewed
row recovers 2 'attestation document' -- kms Decrypt error ValidationException 'The attestation document is too old.' --times 1
row 'ends 63' 2 'attestation document' -- kms Decrypt error ValidationException 'The attestation document is too old.'

# Errors that no retry removes.
row 'ends 60' 1 'denies access' -- kms Decrypt error AccessDeniedException --times 1
row 'ends 60' 1 'denies access' -- kms Decrypt error AccessDeniedException
row 'ends 61' 1 'does not know the key' -- kms Decrypt error NotFoundException
for code in DisabledException KMSInvalidStateException InvalidKeyUsageException; do
    row 'ends 61' 1 "cannot be used.*$code" -- kms Decrypt error $code
done
row 'ends 62' 1 'ciphertext was changed' -- kms Decrypt error InvalidCiphertextException
row 'ends 62' 1 'another key' -- kms Decrypt error IncorrectKeyException
row 'ends 64' 1 'grant token' -- kms Decrypt error InvalidGrantTokenException
row 'ends 64' 1 'does not accept the request' -- kms Decrypt error ValidationException '1 validation error detected'
row 'ends 64' 1 'does not accept the request' -- kms Decrypt error NeverHeardOfException

# Answers that are not an error of KMS.
for status in 429 500 502 503 504; do
    row recovers 2 "HTTP status $status" -- kms Decrypt http $status --times 1
done
row 'ends 64' 1 'HTTP status 403' -- kms Decrypt http 403
row 'ends 64' 1 'HTTP status 301' -- kms Decrypt http 301

table_end
