#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults of the TPM.
. "$(dirname "$0")/table.sh"

table_begin 'the TPM'
[ "$(cut -f1 "$scratch/names" | sort -u | xargs)" = 'files imds kms s3 secretsmanager ssm tpm' ] || die "the platform has a service that no table is about"
declare_secret db-password "$key" "$scratch/sealed"

# A busy TPM. tpm2-tss sends each command five times.
for operation in GetCapability CreatePrimary StartAuthSession NV_DefineSpace NV_Write NSM_Request NV_Read; do
    row recovers 1 '^-$' -- tpm $operation busy --times 2
    row recovers 2 'busy' -- tpm $operation busy --times 5
done
row 'ends 20' many 'busy' -- tpm CreatePrimary busy
row 'ends 20' many 'busy' -- tpm NSM_Request busy
row recovers 1 '^-$' -- tpm NV_UndefineSpace busy --times 2
row recovers 1 '^-$' -- tpm FlushContext busy --times 2
row recovers 1 '^-$' -- tpm Shutdown busy

# A slow TPM. unseald waits some seconds for it even after a failure for good, so that nothing stays in the TPM.
row recovers 1 '^-$' -- tpm '*' delay 20 --times 3
row recovers 1 '^-$' -- tpm CreatePrimary delay 700
row 'ends 20' 1 'DeadlineSec=.*no answer yet' -- tpm NSM_Request delay AFTER_DEADLINE --times 1
row 'ends 40' 1 'turned off' -- tpm CreatePrimary delay 300 -- imds token http 403

# A TPM that refuses (TPM 2.0 Part 2, 6.6.3).
row 'ends 20' 1 'locked' -- tpm NV_DefineSpace code 0x921
row 'ends 20' 1 'less than 8 KiB left' -- tpm NV_DefineSpace code 0x14b
row 'ends 20' 1 '0x101' -- tpm NV_Write code 0x101 --times 1
row 'ends 20' 1 '0x101' -- tpm CreatePrimary code 0x101
row 'ends 21' 1 'not a NitroTPM' -- tpm NSM_Request code 0x143
row 'ends 20' 1 'authorization value' -- tpm NV_DefineSpace code 0x9a2
row recovers 2 'slots' -- tpm CreatePrimary code 0x902 --times 1
row 'ends 20' many 'slots' -- tpm CreatePrimary code 0x902
row recovers 1 '^-$' -- tpm StartAuthSession code 0x903 --times 1
row 'ends 20' many 'slots' -- tpm StartAuthSession code 0x903
row recovers 2 'writes' -- tpm NV_Write code 0x920 --times 1
row recovers 1 '^-$' -- tpm Shutdown code 0x143

# A TPM whose clock is wrong, or that hands out documents of yesterday.
row recovers 2 'attestation document' -- tpm NSM_Request clock -400 --times 1
row 'ends 63' 2 'attestation document' -- tpm NSM_Request clock -400
row 'ends 63' 2 'attestation document' -- tpm NSM_Request clock 600

table_end tpm
