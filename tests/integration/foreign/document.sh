#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A document of the platform verifies with python3-cbor2 and python3-cryptography, but not under another root. It has the PCRs
# of the TPM.
. "$(dirname "$0")/lib.sh"
start_platform

new_recipient recipient
"$platform" extend 4 "the boot code"
attest "$work/recipient.der" "$work/document"
check() { $python "$top/tests/platform/check-document.py" "$@"; }

check "$PLATFORM_NITRO_ROOT" "$work/document" --nonce "$(printf foreign | xxd -p)" | tee "$work/pcrs"
for index in 0 4 12 17; do
    grep -qx "PCR$index $(pcr "$index")" "$work/pcrs" || fail "PCR$index is $(pcr "$index") in the TPM, not in the document"
done

! check "$top/tests/vectors/nitro-root/aws-nitro-root-g1.pem" "$work/document" >"$work/output" 2>&1 || fail "it verifies under AWS's root"
! check "$PLATFORM_NITRO_ROOT" "$work/document" --at $(($(date +%s) + 600)) >"$work/output" 2>&1 || fail "it verifies ten minutes later"
cp "$work/document" "$work/flipped"
$python -c 'import sys; data = bytearray(open(sys.argv[1], "rb").read()); data[2000] ^= 1; open(sys.argv[1], "wb").write(data)' \
    "$work/flipped"
! check "$PLATFORM_NITRO_ROOT" "$work/flipped" >"$work/output" 2>&1 || fail "it verifies with a bit flipped"
