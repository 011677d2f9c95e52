/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "aws/kms-operation.h"

#define CONTEXT "EncryptionContext"

/* Sorted by name. ReEncrypt, which takes data to another key, and the keys that sign are not in Operations= by default. */
static const KmsOperation operations[] = {
        { "Decrypt", { "KeyId" }, { CONTEXT }, "Plaintext", .key_optional = true, .by_default = true },
        { "DeriveSharedSecret", { "KeyId" }, {}, "SharedSecret" },
        { "DescribeKey", { "KeyId" }, {}, NULL, .by_default = true },
        { "Encrypt", { "KeyId" }, { CONTEXT }, NULL, .by_default = true },
        { "GenerateDataKey", { "KeyId" }, { CONTEXT }, "Plaintext", .by_default = true },
        { "GenerateDataKeyPair", { "KeyId" }, { CONTEXT }, "PrivateKeyPlaintext", .by_default = true },
        { "GenerateDataKeyPairWithoutPlaintext", { "KeyId" }, { CONTEXT }, NULL, .by_default = true },
        { "GenerateDataKeyWithoutPlaintext", { "KeyId" }, { CONTEXT }, NULL, .by_default = true },
        { "GenerateMac", { "KeyId" }, {}, NULL },
        { "GenerateRandom", {}, {}, "Plaintext", .by_default = true },
        { "GetPublicKey", { "KeyId" }, {}, NULL },
        { "ReEncrypt",
          { "SourceKeyId", "DestinationKeyId" },
          { "SourceEncryptionContext", "DestinationEncryptionContext" },
          NULL },
        { "Sign", { "KeyId" }, {}, NULL },
        { "Verify", { "KeyId" }, {}, NULL },
        { "VerifyMac", { "KeyId" }, {}, NULL },
};

const KmsOperation *kms_operation_at(size_t i) {
        return i < ELEMENTSOF(operations) ? operations + i : NULL;
}

const KmsOperation *kms_operation_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                if (strcmp(operations[i].name, name) == 0)
                        return operations + i;
        return NULL;
}
