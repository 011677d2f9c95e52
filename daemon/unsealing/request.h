/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What AWS is asked for one secret, from its declaration and the settings: where its ciphertext is fetched, which endpoint of
 * KMS decrypts it, and with which encryption context. The daemon asks so, and unsealctl doctor asks the same. Pure.
 */

#include "aws/kms-key.h"
#include "basic/cleanup.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "kms/client.h"
#include "source/fetch.h"
#include "source/fetcher.h"

typedef struct RequestTarget {
        char *endpoint; /* KMS's: "https://…" */
        KmsKeyArn key;  /* the first of KeyId= */
        char source_region[sizeof(((KmsKeyArn *) NULL)->region)];
} RequestTarget;

/* FAILURE_CONFIGURATION where no endpoint of KMS is known for the key. */
int request_target(const Settings *settings, const Declaration *declaration, RequestTarget *ret,
                   Error *error);
void request_target_clear(RequestTarget *target);

Fetch request_fetch(const Settings *settings, const Declaration *declaration, const RequestTarget *target);

/* EncryptionContext= and, with BindAccount=, the account: an array to be freed, NULL-terminated, of strings that are
 * borrowed. NULL: no memory. account_pair: "unseald:account=ACCOUNT". */
#define REQUEST_ACCOUNT_KEY "unseald:account="
const char **request_context(const Declaration *declaration, const char *account_pair);

/* Without a document; all borrowed. */
KmsDecrypt request_decrypt(const Declaration *declaration, const char *const *context,
                           const uint8_t *ciphertext, size_t size);
