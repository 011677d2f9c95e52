/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The platform's ciphertext blobs: the first bytes of a real one, the key's id, and AES-256-GCM with the
 * encryption context and all bytes before the ciphertext as additional data. AWS does not document its own
 * form, and only KMS may look inside. Pure.
 */

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#define KMS_KEY_ID_SIZE 16
#define KMS_KEY_SIZE 32

/* context is an object of strings. NULL is the same as an empty object. The caller frees *ret. */
int platform_kms_blob_seal(const uint8_t key_id[static KMS_KEY_ID_SIZE],
                           const uint8_t key[static KMS_KEY_SIZE], struct json_object *context,
                           const uint8_t *plaintext, size_t plaintext_size, uint8_t **ret, size_t *ret_size);

/* Reads which key a blob needs. Returns -EBADMSG where the blob is not the platform's. */
int platform_kms_blob_key_id(const uint8_t *blob, size_t size, uint8_t ret[static KMS_KEY_ID_SIZE]);

/* Returns -EBADMSG for a wrong key, another context or a changed byte. The caller frees *ret. */
int platform_kms_blob_open(const uint8_t *blob, size_t size, const uint8_t key[static KMS_KEY_SIZE],
                           struct json_object *context, uint8_t **ret, size_t *ret_size);
