/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The platform's ciphertext blobs: the first bytes of a real one, the key's id, AES-256-GCM with the encryption context
 * (and all before it) as additional data. AWS does not document its own form; nothing but KMS may look inside. Pure.
 */

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#define KMS_KEY_ID_SIZE 16
#define KMS_KEY_SIZE 32

/* context: an object of strings, or NULL, which is the same as an empty one. The caller frees. */
int platform_kms_blob_seal(const uint8_t key_id[static KMS_KEY_ID_SIZE],
                           const uint8_t key[static KMS_KEY_SIZE], struct json_object *context,
                           const uint8_t *plaintext, size_t plaintext_size, uint8_t **ret, size_t *ret_size);

/* Which key a blob wants. -EBADMSG where it is none of ours. */
int platform_kms_blob_key_id(const uint8_t *blob, size_t size, uint8_t ret[static KMS_KEY_ID_SIZE]);

/* -EBADMSG for a wrong key, another context or a changed byte. The caller frees. */
int platform_kms_blob_open(const uint8_t *blob, size_t size, const uint8_t key[static KMS_KEY_SIZE],
                           struct json_object *context, uint8_t **ret, size_t *ret_size);
