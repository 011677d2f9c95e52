#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every fault of the platform's KMS and of the network between. kms-errors.sh has the errors of KMS.
. "$(dirname "$0")/table.sh"

table_begin 'KMS'
declare_secret db-password "$key" "$scratch/sealed"

# Faults of the connection. (If a used connection turns out to be closed, curl itself tries the request again on a new one. So
# the first attempt makes two tries.)
row recovers 1 '^-$' -- kms Decrypt delay 300 --times 1
row recovers 1 '^-$' -- kms Decrypt delay 300
row 'ends 53' 1 'DeadlineSec=.*no answer yet' -- kms Decrypt delay 60000
row recovers 2 'timed out' -- kms Decrypt drop --times 1
row 'ends 53' 1 'DeadlineSec=.*no answer yet' -- kms Decrypt drop
row recovers 3 'Connection reset by peer' -- kms Decrypt reset --times 3
row 'ends 50' many 'Connection reset by peer' -- kms Decrypt reset
row recovers 2 'bytes remaining' -- kms Decrypt truncated --times 1
row 'ends 50' many 'bytes remaining' -- kms Decrypt truncated

# Load balancers.
row recovers 3 'HTTP status 503' -- kms Decrypt http 503 --times 2
row 'ends 53' many 'HTTP status 504' -- kms Decrypt http 504

# Errors that pass, and errors that only look so.
row recovers 3 'not available at the moment' -- kms Decrypt error KMSInternalException --times 2
row 'ends 53' many 'not available at the moment' -- kms Decrypt error KMSInternalException
row recovers 4 'KMS throttles' -- kms Decrypt throttle --times 3
row 'ends 53' many 'KMS throttles' -- kms Decrypt throttle
row recovers 2 'credentials' -- kms Decrypt expired-credentials --times 1
row 'ends 41' many 'does not accept the credentials' -- kms Decrypt expired-credentials

# Untrusted answers. Garbage may come from a middlebox. An answer that is well-formed and wrong is an attack.
row recovers 2 'not JSON' -- kms Decrypt garbage --times 1
row 'ends 65' many 'not JSON' -- kms Decrypt garbage
row recovers 2 'not JSON' -- kms Decrypt empty --times 1
row 'ends 65' many 'not JSON' -- kms Decrypt empty
row 'ends 65' 1 'more than 65536 bytes' -- kms Decrypt oversized --times 1
row 'ends 65' 1 'more than 65536 bytes' -- kms Decrypt oversized
row 'ends 65' 1 'not in the secret.s KeyId=' -- kms Decrypt wrong-keyid --times 1
row 'ends 65' 1 'not in the secret.s KeyId=' -- kms Decrypt wrong-keyid
row 'ends 65' 1 'contains a plaintext' -- kms Decrypt plaintext --times 1
row 'ends 65' 1 'contains a plaintext' -- kms Decrypt plaintext
row 'ends 65' 1 'does not open' -- kms Decrypt tampered-cms --times 1
for part in content key structure; do
    row 'ends 65' 1 'does not open' -- kms Decrypt tampered-cms $part
done
row 'ends 65' 1 'encrypted for another key pair' -- kms Decrypt tampered-cms recipient

# Only the clock of KMS is wrong, so the TPM's document has a different time. (setups.sh has a wrong clock of the machine.) The
# second answer has another time than the first one, so unseald corrects its clock twice.
row recovers 3 'clock of this machine' -- kms Decrypt clock 600 --times 1
row 'ends 63' 3 'attestation document' -- kms Decrypt clock 600
row 'ends 63' 3 'attestation document' -- kms Decrypt clock -600
row recovers 1 '^-$' -- kms Decrypt clock 200

# Untrusted certificates. Of their faults, only a wrong time may pass.
row recovers 2 'not valid at the time .*certificate has expired' -- kms connect tls-expired --times 1
row 'ends 52' many 'Set the clock' -- kms connect tls-expired
row recovers 2 'not valid at the time .*certificate is not yet valid' -- kms connect tls-not-yet-valid --times 1
row 'ends 52' many 'Set the clock' -- kms connect tls-not-yet-valid
row 'ends 51' 1 'certificate is not one of' -- kms connect tls-wrong-name --times 1
row 'ends 51' 1 'certificate is not one of' -- kms connect tls-wrong-name
row 'ends 51' 1 'not trusted' -- kms connect tls-untrusted --times 1
row 'ends 51' 1 'not trusted' -- kms connect tls-untrusted

table_end kms
