#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# boto3 with the instance's credentials from IMDSv2: Decrypt, GenerateDataKey, GenerateDataKeyPair, GenerateRandom and
# DeriveSharedSecret with Recipient, whose replies `openssl cms -decrypt` opens; MACs, signatures, grants, ReEncrypt, and the answers
# that need another key.
. "$(dirname "$0")/lib.sh"
install_aws
start_platform

new_recipient recipient
attest "$work/recipient.der" "$work/document"
make_key "$(pcr 4)" "$(pcr 12)"
jq '.Statement[0].NotAction += ["kms:DeriveSharedSecret"] | .Statement[1].Action = ["kms:DeriveSharedSecret"]' \
    "$work/policy.json" >"$work/agreeing.json"
cat >"$work/client.py" <<'END'
import hashlib, subprocess, sys
import boto3
from botocore.exceptions import ClientError
sys.path.append("/usr/lib/python3/dist-packages")  # the distribution's cryptography, behind boto3's own packages
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key, work, vendor_id, vendor_secret, role = sys.argv[1:]
instance = boto3.client("kms")
vendor = boto3.client("kms", aws_access_key_id=vendor_id, aws_secret_access_key=vendor_secret)
assert instance._request_signer._credentials.method == "iam-role", "the credentials are not from IMDS"
recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": open(f"{work}/document", "rb").read()}
context = {"unseald:secret": "greeting", "more": "käse"}


def opened(reply):
    assert "Plaintext" not in reply, "plaintext in an attested reply"
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", f"{work}/recipient.pem"]
    return subprocess.run(command, input=reply["CiphertextForRecipient"], check=True, capture_output=True).stdout


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["RequestId"], "no request id"
        print("refused as it should be:", error)
    else:
        raise AssertionError(f"{code} was due")


for size in (1, 11, 999, 1000, 1001, 4096):
    plaintext = bytes(i * 7 % 256 for i in range(size))
    blob = vendor.encrypt(KeyId=key, Plaintext=plaintext, EncryptionContext=context)["CiphertextBlob"]
    reply = instance.decrypt(CiphertextBlob=blob, EncryptionContext=context, Recipient=recipient)
    assert reply["KeyId"] == key and opened(reply) == plaintext, size
print("Decrypt with Recipient: good for 1 to 4096 bytes")

reply = instance.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context, Recipient=recipient)
data_key = opened(reply)
again = instance.decrypt(CiphertextBlob=reply["CiphertextBlob"], EncryptionContext=context, Recipient=recipient)
assert len(data_key) == 32 and opened(again) == data_key
assert len(opened(instance.generate_random(NumberOfBytes=24, Recipient=recipient))) == 24
assert len(instance.generate_random(NumberOfBytes=24)["Plaintext"]) == 24
pair = instance.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256", EncryptionContext=context, Recipient=recipient)
assert "PrivateKeyPlaintext" not in pair
private = serialization.load_der_private_key(opened(pair), None)
public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
assert private.public_key().public_bytes(*public) == pair["PublicKey"]
again = instance.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"], EncryptionContext=context, Recipient=recipient)
assert opened(again) == opened(pair)
for size in (1, 1024):
    reply = instance.generate_data_key(KeyId=key, NumberOfBytes=size, EncryptionContext=context, Recipient=recipient)
    assert len(opened(reply)) == size
refused("ValidationException", instance.generate_data_key, KeyId=key, NumberOfBytes=1025, Recipient=recipient)
refused("ValidationException", instance.generate_data_key, KeyId=key, NumberOfBytes=32, KeySpec="AES_256", Recipient=recipient)
refused("ValidationException", instance.generate_data_key, KeyId=key, Recipient=recipient)
refused("ValidationException", instance.generate_random, NumberOfBytes=1025, Recipient=recipient)
refused("ValidationException", instance.generate_random, Recipient=recipient)
refused("AccessDeniedException", instance.generate_data_key, KeyId=key, NumberOfBytes=32)
refused("AccessDeniedException", instance.generate_data_key_pair, KeyId=key, KeyPairSpec="ECC_NIST_P256")
refused("AccessDeniedException", instance.generate_data_key_without_plaintext, KeyId=key, NumberOfBytes=32)
refused("DryRunOperationException", instance.generate_data_key, KeyId=key, NumberOfBytes=32, Recipient=recipient, DryRun=True)
print("GenerateDataKey, GenerateDataKeyPair, GenerateRandom with Recipient: good")

agreeing = vendor.create_key(KeySpec="ECC_NIST_P384", KeyUsage="KEY_AGREEMENT", Policy=open(f"{work}/agreeing.json").read())["KeyMetadata"]
assert agreeing["KeyAgreementAlgorithms"] == ["ECDH"] and agreeing["KeyUsage"] == "KEY_AGREEMENT"
agreeing = agreeing["Arn"]
ours = ec.generate_private_key(ec.SECP384R1())
arguments = {"KeyId": agreeing, "KeyAgreementAlgorithm": "ECDH", "PublicKey": ours.public_key().public_bytes(*public)}
reply = instance.derive_shared_secret(Recipient=recipient, **arguments)
theirs = serialization.load_der_public_key(vendor.get_public_key(KeyId=agreeing)["PublicKey"])
assert "SharedSecret" not in reply and opened(reply) == ours.exchange(ec.ECDH(), theirs)
assert reply["KeyOrigin"] == "AWS_KMS" and reply["KeyAgreementAlgorithm"] == "ECDH" and reply["KeyId"] == agreeing
refused("AccessDeniedException", instance.derive_shared_secret, **arguments)
refused("DryRunOperationException", instance.derive_shared_secret, Recipient=recipient, DryRun=True, **arguments)
other_curve = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*public)
refused("ValidationException", instance.derive_shared_secret, Recipient=recipient, **(arguments | {"PublicKey": other_curve}))
refused("ValidationException", instance.derive_shared_secret, Recipient=recipient, **(arguments | {"PublicKey": b"no key"}))
refused("InvalidKeyUsageException", vendor.generate_data_key, KeyId=agreeing, NumberOfBytes=32)
refused("InvalidKeyUsageException", vendor.derive_shared_secret, **(arguments | {"KeyId": vendor.create_key()["KeyMetadata"]["Arn"]}))
print("DeriveSharedSecret with Recipient: good")

coding = vendor.create_key(KeySpec="HMAC_384", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"]
code = vendor.generate_mac(KeyId=coding, Message=b"a message", MacAlgorithm="HMAC_SHA_384")["Mac"]
assert len(code) == 48
arguments = {"KeyId": coding, "Message": b"a message", "MacAlgorithm": "HMAC_SHA_384", "Mac": code}
assert vendor.verify_mac(**arguments)["MacValid"]
refused("KMSInvalidMacException", vendor.verify_mac, **(arguments | {"Message": b"another"}))
refused("KMSInvalidMacException", vendor.verify_mac, **(arguments | {"Mac": code[:-1]}))
refused("InvalidKeyUsageException", vendor.verify_mac, **(arguments | {"MacAlgorithm": "HMAC_SHA_256"}))
refused("InvalidKeyUsageException", vendor.encrypt, KeyId=coding, Plaintext=b"a message")

signing = vendor.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
arguments = {"KeyId": signing, "Message": b"a message", "SigningAlgorithm": "ECDSA_SHA_256"}
signature = vendor.sign(**arguments)["Signature"]
assert vendor.verify(Signature=signature, **arguments)["SignatureValid"]
serialization.load_der_public_key(vendor.get_public_key(KeyId=signing)["PublicKey"]).verify(signature, b"a message", ec.ECDSA(hashes.SHA256()))
digest = hashlib.sha256(b"a message").digest()
assert vendor.verify(Signature=signature, **(arguments | {"Message": digest, "MessageType": "DIGEST"}))["SignatureValid"]
refused("KMSInvalidSignatureException", vendor.verify, Signature=signature, **(arguments | {"Message": b"another"}))
refused("InvalidKeyUsageException", vendor.verify, Signature=signature, **(arguments | {"KeyId": coding}))
refused("UnsupportedOperationException", vendor.get_public_key, KeyId=coding)
refused("ValidationException", vendor.create_key, KeySpec="HMAC_384", KeyUsage="SIGN_VERIFY")
refused("ValidationException", vendor.create_key, KeySpec="ECC_NIST_P256")
print("GenerateMac, VerifyMac, Sign, Verify: good")

other = vendor.create_key(Description="other")["KeyMetadata"]["Arn"]
refused("AccessDeniedException", instance.decrypt, CiphertextBlob=blob, EncryptionContext=context)
refused("AccessDeniedException", instance.decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=other)
refused("IncorrectKeyException", vendor.decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=other)
refused("InvalidCiphertextException", instance.decrypt, CiphertextBlob=b"nothing of ours", Recipient=recipient)
refused("ValidationException", vendor.encrypt, KeyId=key, Plaintext=bytes(4097))
refused("ValidationException", vendor.generate_data_key, KeyId=key)
refused("NotFoundException", vendor.describe_key, KeyId=key.replace(":key/", ":key/0"))
refused("NotFoundException", vendor.describe_key, KeyId=key.replace(boto3.session.Session().region_name, "us-east-1"))
refused("AccessDeniedException", vendor.re_encrypt, CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other)
refused("AccessDeniedException", vendor.create_grant, KeyId=key, GranteePrincipal=role, Operations=["Decrypt"])

blob = vendor.encrypt(KeyId=other, Plaintext=b"by grant", EncryptionContext=context)["CiphertextBlob"]
refused("AccessDeniedException", instance.decrypt, CiphertextBlob=blob, EncryptionContext=context)
grant = vendor.create_grant(
    KeyId=other, GranteePrincipal=role, Operations=["Decrypt"], Constraints={"EncryptionContextSubset": {"more": "käse"}}
)
assert instance.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"by grant"
refused("InvalidGrantTokenException", instance.decrypt, CiphertextBlob=blob, EncryptionContext=context, GrantTokens=["none"])
assert [g["GrantId"] for g in vendor.list_grants(KeyId=other)["Grants"]] == [grant["GrantId"]]
moved = vendor.re_encrypt(
    CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=key, DestinationEncryptionContext={"unseald:secret": "moved"}
)
assert opened(instance.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"unseald:secret": "moved"}, Recipient=recipient)) == b"by grant"
vendor.revoke_grant(KeyId=other, GrantId=grant["GrantId"])
refused("AccessDeniedException", instance.decrypt, CiphertextBlob=blob, EncryptionContext=context)
print("grants and ReEncrypt: good")
END
instance "$aws_python" "$work/client.py" "$key" "$work" "$PLATFORM_VENDOR_ACCESS_KEY_ID" \
    "$PLATFORM_VENDOR_SECRET_ACCESS_KEY" "$PLATFORM_INSTANCE_ROLE_ARN"
