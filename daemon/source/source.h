/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where ciphertext comes from: Source= of a secret. unseald trusts no source: KMS and the encryption context decide whether a
 * ciphertext opens. Everything here is a function of its arguments. source/source-file.h reads files, source/fetcher.h fetches
 * over the network.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef enum SourceKind {
        SOURCE_FILE,            /* file:/absolute/path */
        SOURCE_CREDENTIAL,      /* credential:NAME, passed by the service manager */
        SOURCE_USER_DATA,       /* user-data: or user-data:/json/pointer */
        SOURCE_HTTPS,           /* https://host/path */
        SOURCE_S3,              /* s3://bucket/key or s3://bucket/key?versionId=ID */
        SOURCE_SSM,             /* ssm:NAME, a parameter of type String */
        SOURCE_SECRETS_MANAGER, /* secretsmanager:ID or secretsmanager:ID#KEY */
        SOURCE_VOLUME,          /* volume:NAME, the label of a read-write volume */
} SourceKind;

typedef struct Source {
        SourceKind kind;
        char *location; /* path, credential's name, JSON pointer, URL, key, parameter's name or ARN, secret's name or ARN, or volume's name */
        char *bucket;   /* only S3 */
        char *version;  /* only S3; NULL: the latest version */
        char *member; /* only Secrets Manager: the secret is a JSON object, and this member of it; NULL: the whole secret */
        char *label; /* for people: Source= without the query of a URL, which may contain a signature */
        bool is_signature; /* Signature=: its content is a text (source/signature.h), not ciphertext */
} Source;

void source_clear(Source *source);

/* -EINVAL: text is not a source, and *error says why (FAILURE_CONFIGURATION). The caller adds file and line. */
int source_parse(const char *text, Source *ret, Error *error);

/* The default of Signature=: the source whose name has ".sig" behind it. -ENOENT: the source has no name to add to. It is the whole
 * user data, a parameter, a secret of Secrets Manager, a credential, a URL with a query, or one version of an object. -ENAMETOOLONG,
 * -ENOMEM. The caller clears *ret. */
int source_of_signature(const Source *source, Source *ret);

/* Returns whether the source is on the network and is not IMDS. */
bool source_is_remote(const Source *source) _pure_;

/* Returns whether requests to the source are signed with the credentials of the instance's role. */
bool source_is_signed(const Source *source) _pure_;

/* Copies the Region out of a source that is an ARN. False: the source names no Region. */
bool source_region(const Source *source, char *ret, size_t size);

/* Takes the content out of the instance's user data: the whole of it, or one string in it. FAILURE_SOURCE. The caller frees
 * *ret, the ciphertext as raw bytes or the text of a signature. */
int source_take_user_data(const Source *source, const char *data, size_t size, size_t maximum, uint8_t **ret,
                          size_t *ret_size, Error *error);

/*
 * Decodes the content of a source, which is base64 or raw. Base64 from the first to the last character, white space aside, is
 * base64. Other text is refused. Everything else is raw. A raw ciphertext is never taken for text: KMS begins every ciphertext
 * with the byte 0x01. Even without this byte the chance would be below 2^-100, because each of its more than one hundred
 * encrypted bytes would have to be a character.
 */
int source_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error);

/* The same for at most maximum raw bytes. The text of *error begins with the source's label. A signature is taken as it is. */
int source_take(const Source *source, const void *data, size_t size, size_t maximum, uint8_t **ret,
                size_t *ret_size, Error *error);

/* The most bytes that a source may hold for maximum raw bytes: base64 is a third longer, and its lines have ends. */
size_t source_carrier_max(size_t maximum) _pure_;

/* "sealed secret" or "signature", for messages. */
const char *source_content(const Source *source) _pure_;

/* Says that the content of the source has more than maximum raw bytes. Returns -EFBIG. */
int source_too_long(const Source *source, size_t maximum, Error *error);

/* Returns whether path is absolute, shorter than PATH_MAX, and without empty, "." and ".." components. */
bool source_path_is_plain(const char *path) _pure_;
