#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl attest writes the same document as tpm2-tools alone get: the same CBOR except nonce, time and signature. The
# document verifies with python3-cryptography.
. "$(dirname "$0")/lib.sh"
start_platform

new_recipient recipient
attest "$work/recipient.der" "$work/foreign"
printf 'a nonce' >"$work/nonce"
"$build/daemon/unsealctl" attest --device="$PLATFORM_TCTI" --public-key "$work/recipient.der" --nonce "$work/nonce" >"$work/ours"

$python "$top/tests/platform/check-document.py" "$PLATFORM_NITRO_ROOT" "$work/ours" --nonce "$(xxd -p "$work/nonce")" >/dev/null
$python - "$work/foreign" "$work/ours" <<'END'
import cbor2, io, sys

def load(path):
    """Returns the document, its payload, and the first byte of both, which shows how they are encoded."""
    stream = open(path, "rb")
    data = stream.read()
    stream = io.BytesIO(data)
    document = cbor2.load(stream)
    assert not stream.read(1), f"{path}: something follows the document"
    return document, cbor2.loads(document[2]), data[:1] + document[2][:1]

(foreign, their_fields, their_encoding), (ours, our_fields, our_encoding) = map(load, sys.argv[1:])
assert our_encoding == their_encoding, "another encoding"
assert (ours[0], ours[1], len(ours[3])) == (foreign[0], foreign[1], len(foreign[3])), "another COSE_Sign1"
assert list(our_fields) == list(their_fields), f"other fields: {list(our_fields)}, not {list(their_fields)}"
differing = [name for name in our_fields if our_fields[name] != their_fields[name]]
assert differing == ["timestamp", "nonce"], f"these differ: {differing}"
assert our_fields["nonce"] == b"a nonce"
print("the same fields:", *our_fields)
END
