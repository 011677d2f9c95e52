/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The server's side of Signature Version 4 (IAM User Guide, "Signature Version 4 for API requests"): reads
 * the Authorization header, computes the signature and compares. Pure. It shares no code with unseald's
 * signer, so that neither hides a mistake of the other.
 *
 * Paths are normalised and encoded twice, and the payload's hash is that of the body. S3 does neither; its
 * handler checks the hash in the header. Presigned requests (X-Amz-Signature in the query) are not
 * supported.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGV4_TOLERANCE_SEC 300
#define SIGV4_S3_TOLERANCE_SEC 900

typedef struct SigV4Header {
        const char *name; /* in any case */
        const char *value;
} SigV4Header;

/* A request as the server received it. Borrowed. */
typedef struct SigV4Request {
        const char *method;
        const char *target; /* path and query as on the request line */
        const SigV4Header *headers;
        size_t n_headers;
        const uint8_t *body;
        size_t body_size;
        bool s3; /* S3's rules: the path is encoded once as it is, and the payload's hash comes from a header */
} SigV4Request;

/* The content of the Authorization and X-Amz-Date headers. It is untrusted until platform_sigv4_verify()
 * returns 0. */
typedef struct SigV4Claim {
        char access_key_id[129];
        char date[9]; /* of the credential scope */
        char region[64];
        char service[64];
        char timestamp[17];        /* 20150830T123600Z */
        char signed_headers[1024]; /* as sent: a;b;c */
        char signature[65];
} SigV4Claim;

/* A refusal, in AWS's wording. */
typedef struct SigV4Refusal {
        const char *code; /* static */
        char message[8192];
} SigV4Refusal;

/* Returns the value of the first header of this name, in any case, or NULL. */
const char *platform_sigv4_header(const SigV4Request *request, const char *name);

/* Reads the claim. Returns -EBADMSG and a refusal: MissingAuthenticationToken or IncompleteSignature. */
int platform_sigv4_read_claim(const SigV4Request *request, SigV4Claim *ret, SigV4Refusal *refusal);

/* Makes the canonical request from the headers that signed_headers names. The caller frees *ret. */
int platform_sigv4_canonical_request(const SigV4Request *request, const char *signed_headers, char **ret);

/* Makes the string to sign. The caller frees *ret. */
int platform_sigv4_string_to_sign(const SigV4Claim *claim, const char *canonical_request, char **ret);

/* Computes the signature, in lower-case hexadecimal. */
int platform_sigv4_signature(const SigV4Claim *claim, const char *secret, const char *string_to_sign,
                             char ret[static 65]);

/* Checks that the signature is right for this secret, Region, service and time. -EBADMSG with a refusal:
* InvalidSignature. */
int platform_sigv4_verify(const SigV4Request *request, const SigV4Claim *claim, const char *secret,
                          const char *region, const char *service, int64_t now, SigV4Refusal *refusal);
