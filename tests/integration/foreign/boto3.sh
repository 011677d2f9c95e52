#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# boto3 with the instance's credentials from IMDSv2: Decrypt, GenerateDataKey and GenerateRandom with Recipient, whose replies
# `openssl cms -decrypt` opens; grants, ReEncrypt, and the answers that need another key.
. "$(dirname "$0")/lib.sh"
install_aws
start_platform

new_recipient recipient
attest "$work/recipient.der" "$work/document"
make_key "$(pcr 4)" "$(pcr 12)"
cat >"$work/client.py" <<'END'
import subprocess, sys
import boto3
from botocore.exceptions import ClientError

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
print("GenerateDataKey, GenerateRandom with Recipient: good")

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
