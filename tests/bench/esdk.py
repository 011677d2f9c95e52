#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AWS's Encryption SDK for Python, for messages.py. usage: esdk.py decrypt KEY FILE"""
import sys

import aws_encryption_sdk

provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[sys.argv[2]])
with open(sys.argv[3], "rb") as source, open("/dev/null", "wb") as sink:
    with aws_encryption_sdk.EncryptionSDKClient().stream(mode="d", source=source, key_provider=provider) as plaintext:
        for part in plaintext:
            sink.write(part)
