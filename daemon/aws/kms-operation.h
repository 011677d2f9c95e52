/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The operations of KMS that unseald-kms(8) takes from applications: which members of a request name a key or an encryption context, and
 * which member of an answer is encrypted for a recipient. Source: AWS KMS API Reference. Everything here is constant.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"

typedef struct KmsOperation {
        const char *name;
        const char *keys[2];     /* members that name a key; NULL: there is none, or no second one */
        const char *contexts[2]; /* members with an encryption context; NULL likewise */
        const char *plaintext; /* the member of the answer that CiphertextForRecipient replaces; NULL: the operation takes no Recipient */
        bool key_optional; /* the request may lack its key: the ciphertext names it */
        bool by_default;   /* Operations= has it by default */
} KmsOperation;

/* The operation of this name, such as "Decrypt". NULL: unseald-kms takes none of this name. */
const KmsOperation *kms_operation_find(const char *name) _pure_;

/* The i-th operation. NULL: there are no more. */
const KmsOperation *kms_operation_at(size_t i) _pure_;
