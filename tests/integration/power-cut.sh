#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A machine that crashes after each boot, or whose power is cut, goes on unsealing: a TPM counts a wrong authorization for a
# start that no TPM2_Shutdown came before, if something that is protected against guessing was used (TPM 2.0 part 1,
# "Dictionary Attack Protection"), and NitroTPM's index is; a few of them, and it would be locked.
. "$(dirname "$0")/direct.sh"
direct_start
configure
declare_secret db-password "$key" "$scratch/sealed"

counter() { tpm2_getcap -T "$PLATFORM_TCTI" properties-variable | sed -n 's/^TPM2_PT_LOCKOUT_COUNTER: //p'; }
limit=$(($(tpm2_getcap -T "$PLATFORM_TCTI" properties-variable | sed -n 's/^TPM2_PT_MAX_AUTH_FAIL: //p')))
[ "$limit" -gt 0 ] || die "the TPM does not say how many wrong authorizations lock it"

for ((i = 1; i <= limit + 2; i++)); do
    unseald_start && unseald_finish
    assert_equal "boot $i: ready" "$unseald_ready" yes
    platform tpm-power-cut
    assert_equal "boot $i: wrong authorizations" "$(counter)" 0x0
done
say "$((limit + 2)) boots, each ended by a power cut: all unseal; $limit wrong authorizations would lock the TPM"

# The same count where nobody says that it is over, so that it is known to be counted at all.
handle=0x01400000
tpm2_nvdefine -Q -T "$PLATFORM_TCTI" -C o -s 8 -p guess -a 'authread|authwrite' "$handle"
echo 12345678 | head -c 8 | tpm2_nvwrite -Q -T "$PLATFORM_TCTI" -C "$handle" -P guess -i - "$handle"
platform tpm-power-cut
assert_equal "wrong authorizations after another's use" "$(counter)" 0x1
