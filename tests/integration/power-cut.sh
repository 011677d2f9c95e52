#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A machine that crashes or loses power after each boot still unseals. If an object with dictionary attack protection was used and
# no TPM2_Shutdown followed, the TPM counts a failed authorization at its next start (TPM 2.0 part 1, "Dictionary Attack
# Protection"). NitroTPM's index is such an object, and after a few of them the TPM would be locked.
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

# The control: without TPM2_Shutdown this TPM does count.
handle=0x01400000
tpm2_nvdefine -Q -T "$PLATFORM_TCTI" -C o -s 8 -p guess -a 'authread|authwrite' "$handle"
echo 12345678 | head -c 8 | tpm2_nvwrite -Q -T "$PLATFORM_TCTI" -C "$handle" -P guess -i - "$handle"
platform tpm-power-cut
assert_equal "wrong authorizations after another's use" "$(counter)" 0x1
