# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the checks of the platform with foreign clients: a platform, the AWS CLI and boto3 in a virtual environment of their
# own, and an attestation document from tpm2-tools alone. Each check sources this file and has a platform of its own.
# shellcheck source=tests/integration/lib.sh
[ -n "${scratch:-}" ] || . "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/integration/pypi.sh
. "$top/tests/integration/pypi.sh"
platform=$top/tests/platform/platform
# The distribution's python3, which finds the distribution's cbor2 and cryptography.
python=/usr/bin/python3
work=$scratch

fail() { die "$@"; }

stop_platform() { [ ! -e "$1" ] || "$platform" stop --state "$1"; } # STATE

start_platform() {
    local variables
    variables=$("$platform" start --build "$build")
    eval "$variables"
    export PLATFORM_STATE
    at_exit stop_platform "$PLATFORM_STATE"
}

vendor() { "$platform" exec --as vendor -- "$@"; }
customer() { "$platform" exec --as customer -- "$@"; }
instance() { "$platform" exec --as instance -- "$@"; }

expect_error() { # CODE COMMAND...
    local code=$1 status=0
    shift
    "$@" >"$work/output" 2>"$work/error" || status=$?
    [[ $status != 0 ]] || fail "succeeded where $code was due: $*"
    grep -q "($code)" "$work/error" || fail "$code was due, not $(cat "$work/error")"
    echo "refused as it should be: $(tr '\n' ' ' <"$work/error" | cut -c1-240)"
}

# Sends the vendor command as raw bytes, authorised by a password session, without any code of unseald.
attest() { # PUBLIC_KEY_DER DOCUMENT
    local index=0x01000100 auth=00112233445566778899aabbccddeeff
    export TPM2TOOLS_TCTI=$PLATFORM_TCTI
    $python - "$1" "$work/request" <<'END'
import cbor2, sys
key = open(sys.argv[1], "rb").read()
request = cbor2.dumps({"Attestation": {"user_data": None, "nonce": b"foreign", "public_key": key}})
open(sys.argv[2], "wb").write(request)
END
    tpm2_nvdefine "$index" -C o -s 8192 -g sha512 -a 'authread|authwrite' -p "hex:$auth" >/dev/null
    tpm2_nvwrite "$index" -C "$index" -P "hex:$auth" -i "$work/request"
    # TPM_ST_SESSIONS, size, TPM_CC_NSM_REQUEST, the index twice, authorisation area with TPM_RS_PW, no parameters.
    printf "8002%08x20000001%08x%08x%08x4000000900000000%02x%s" $((10 + 8 + 4 + 9 + 16)) "$index" "$index" $((9 + 16)) 16 "$auth" |
        xxd -r -p | tpm2_send -o "$work/response"
    [[ $(xxd -p -s 6 -l 4 "$work/response") == 00000000 ]] || fail "the vendor command: response code $(xxd -p -s 6 -l 4 "$work/response")"
    tpm2_nvread "$index" -C "$index" -P "hex:$auth" -o "$work/index"
    tpm2_nvundefine "$index" -C o
    $python - "$work/index" "$2" <<'END'
import cbor2, io, sys
reply = cbor2.CBORDecoder(io.BytesIO(open(sys.argv[1], "rb").read())).decode()
open(sys.argv[2], "wb").write(reply["Attestation"]["document"])
END
}

new_recipient() { # NAME
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/$1.pem" 2>/dev/null ||
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/$1.pem" 2>/dev/null
    openssl pkey -in "$work/$1.pem" -pubout -outform DER -out "$work/$1.der"
}

pcr() { # INDEX
    TPM2TOOLS_TCTI=$PLATFORM_TCTI tpm2_pcrread "sha384:$1" | sed -n 's/.*0x\([0-9A-F]*\)$/\L\1/p'
}

# The policy of a vendor: the customer's account may decrypt, but only with this PCR4 and PCR12.
gated_policy() { # PCR4 PCR12
    cat <<END
{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "administer", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:root"},
     "NotAction": ["kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"], "Resource": "*"},
    {"Sid": "unseal", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::$PLATFORM_CUSTOMER_ACCOUNT:root"},
     "Action": ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair"], "Resource": "*",
     "Condition": {"StringEqualsIgnoreCase": {
       "kms:RecipientAttestation:NitroTPMPCR4": "$1", "kms:RecipientAttestation:NitroTPMPCR12": "$2"}}}
  ]
}
END
}

make_key() { # PCR4 PCR12
    gated_policy "$1" "$2" >"$work/policy.json"
    key=$(vendor "$aws" kms create-key --description foreign --query KeyMetadata.Arn --output text)
    vendor "$aws" kms put-key-policy --key-id "$key" --policy "file://$work/policy.json"
}
