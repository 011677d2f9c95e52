/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The RSA key pair to which KMS encrypts. It is made anew in every start of unseald and never leaves this process. */

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/slice.h"
#include "memory/secret.h"

typedef struct Recipient Recipient;

/* bits: 2048, 3072 or 4096. Blocks for 0.03 s to some seconds (key-pair.h). -EINVAL (FAILURE_CONFIGURATION), or
 * -ENOMEM or -EIO (FAILURE_INTERNAL). */
int recipient_new(unsigned bits, Recipient **ret, Error *error);

/* Wipes the private half. Returns NULL. */
Recipient *recipient_free(Recipient *recipient);
DEFINE_CLEANUP(Recipient *, recipient_free);

/* DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), at most NSM_FIELD_MAX bytes. It is valid as long as the
 * recipient. */
Slice recipient_public_key(const Recipient *recipient);

/*
 * Opens a CiphertextForRecipient (cms.h). FAILURE_ANSWER if it does not open; the text does not say which step of
 * decryption failed. FAILURE_INTERNAL if memory or OpenSSL failed, which a new attempt may mend. The caller frees *ret.
 */
int recipient_open(Recipient *recipient, const uint8_t *cms, size_t size, Secret **ret, Error *error);
