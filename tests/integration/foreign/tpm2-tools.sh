#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tpm2-tools on the platform's TPM. They read and extend PCRs. The TPM has only the SHA-384 bank. It keeps NV indices over a power
# cycle, but not PCRs.
. "$(dirname "$0")/lib.sh"
start_platform
export TPM2TOOLS_TCTI=$PLATFORM_TCTI

zeros=$(printf '0%.0s' {1..96})
ones=$(printf 'f%.0s' {1..96})
[[ $(pcr 4) == "$zeros" && $(pcr 12) == "$zeros" && $(pcr 17) == "$ones" ]] || fail "PCRs at the start: $(tpm2_pcrread)"
[[ $(tpm2_getcap pcrs | grep -c 'sha384: \[ 0, 1, 2, 3, 4, 5, 6, 7, 8') == 1 ]] || fail "banks: $(tpm2_getcap pcrs)"
! tpm2_pcrread sha256:4 2>/dev/null | grep -q 0x || fail "there is a SHA-256 bank"

digest=$(printf event | sha384sum | cut -d' ' -f1)
tpm2_pcrextend "12:sha384=$digest"
wanted=$(printf '%s%s' "$zeros" "$digest" | xxd -r -p | sha384sum | cut -d' ' -f1)
[[ $(pcr 12) == "$wanted" ]] || fail "PCR12 is $(pcr 12), not $wanted"
"$platform" extend 4 event
[[ $(pcr 4) == "$wanted" ]] || fail "platform extend gives $(pcr 4), not $wanted"
printed=$("$platform" pcrs)
grep -qi "4 : 0x$wanted" <<<"$printed" || fail "platform pcrs: $printed"

tpm2_nvdefine 0x01000200 -C o -s 8192 -a 'ownerread|ownerwrite' >/dev/null
printf kept | tpm2_nvwrite 0x01000200 -C o -i -
"$platform" tpm-reset
[[ $(pcr 4) == "$zeros" && $(pcr 12) == "$zeros" ]] || fail "PCRs after a reset: $(tpm2_pcrread)"
[[ $(tpm2_nvread 0x01000200 -C o -s 4) == kept ]] || fail "NV is not kept over a reset"

"$platform" fault set tpm PCR_Read code 0x101
! tpm2_pcrread sha384:4 >/dev/null 2>"$work/error" || fail "no fault"
"$platform" fault clear
tpm2_pcrread sha384:4 >/dev/null
