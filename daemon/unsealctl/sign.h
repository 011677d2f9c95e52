/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Signs sealed secrets (source/signature.h), with a private key in a file or with a key in KMS. The functions print their messages, and
 * return 0 or the exit status. */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "unsealctl/kms-call.h"

typedef struct Signer Signer;

/* Reads the private key: PEM, Ed25519 or ECDSA on P-256 or P-384. Asks the terminal for the passphrase of an encrypted key; without a
 * terminal that is an error. */
int signer_of_file(const char *path, Signer **ret);

/* Asks KMS for the public key (kms:GetPublicKey), so that a key of another kind is refused before anything is sealed. arn: of a key,
 * not of an alias. The Region is that of the ARN. All options are borrowed until signer_free(). */
int signer_of_kms(const char *arn, const KmsCallerOptions *options, Signer **ret);

/* Signs, and verifies the signature before it returns the text for Signature=. The caller frees *ret. */
int signer_sign(Signer *signer, const char *name, uint64_t version, const uint8_t *ciphertext,
                size_t ciphertext_size, char **ret);

Signer *signer_free(Signer *signer);
DEFINE_CLEANUP(Signer *, signer_free);
