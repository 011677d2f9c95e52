/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where ciphertext comes from: Source= of a secret, and what is had without the network. None of it is believed: it is
 * ciphertext, and KMS and the encryption context decide. What comes over the network is fetch.h's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef enum SourceKind {
        SOURCE_FILE,            /* file:/absolute/path */
        SOURCE_CREDENTIAL,      /* credential:NAME, handed in by the service manager */
        SOURCE_USER_DATA,       /* user-data: or user-data:/json/pointer */
        SOURCE_HTTPS,           /* https://host/path */
        SOURCE_S3,              /* s3://bucket/key or s3://bucket/key?versionId=ID */
        SOURCE_SSM,             /* ssm:NAME, a parameter of type String */
        SOURCE_SECRETS_MANAGER, /* secretsmanager:ID */
} SourceKind;

typedef struct Source {
        SourceKind kind;
        char *location; /* path; credential's name; JSON pointer; URL; key; parameter's name; secret's name or ARN */
        char *bucket;  /* of S3 */
        char *version; /* of S3; NULL: the latest */
        char *label;   /* as people are shown it: Source= without the query of a URL, which may sign it */
} Source;

void source_clear(Source *source);

/* Pure. -EINVAL, with what is wrong in *error (FAILURE_CONFIGURATION; the caller adds file and line). */
int source_parse(const char *text, Source *ret, Error *error);

/* Whether it is fetched over the network, other than from IMDS. */
bool source_is_remote(const Source *source) _pure_;

/* Whether that takes the credentials of the instance's role. */
bool source_is_signed(const Source *source) _pure_;

/* The Region that the source itself names, in an ARN: copied into ret. False: none. */
bool source_region(const Source *source, char *ret, size_t size);

/* Pure: out of the instance's user data, the whole of it or a string in it. FAILURE_SOURCE. The caller frees *ret, the ciphertext as raw bytes. */
int source_take_user_data(const Source *source, const char *data, size_t size, size_t maximum, uint8_t **ret,
                          size_t *ret_size, Error *error);

/*
 * What a carrier holds, raw or base64, to raw bytes. Pure. What is base64 from its first to its last character (white
 * space aside) is base64; other text is refused; the rest is raw. That is safe: every ciphertext that KMS makes begins
 * with the byte 0x01, which is neither base64 nor text, and were it ever to begin otherwise, that of its more than
 * hundred bytes of cipher not one falls outside of text would be a chance of less than one in 2^100.
 */
int source_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error);

/* The same, for a carrier that holds no more than maximum raw bytes and is called by the source's label in *error. */
int source_take(const Source *source, const void *data, size_t size, size_t maximum, uint8_t **ret,
                size_t *ret_size, Error *error);

/* How much a carrier may hold so that what it decodes to has no more than maximum bytes: base64 is a third longer, and
 * its lines have ends. */
size_t source_carrier_max(size_t maximum) _pure_;

/* Says that a carrier holds more than maximum raw bytes: -EFBIG. */
int source_too_long(const Source *source, size_t maximum, Error *error);

/* Absolute, no longer than PATH_MAX, without empty, "." and ".." components. */
bool source_path_is_plain(const char *path) _pure_;
