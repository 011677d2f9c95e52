/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Signature Version 4, the server's side (IAM User Guide, "Signature Version 4 for API requests"): reads the
 * Authorization header, computes the signature anew and compares. Pure, and written apart from unseald's own signer,
 * so that neither can hide a mistake of the other. Paths are normalised and encoded twice and the payload's hash is that of
 * the body, but for S3, whose caller checks that hash. Presigned requests (X-Amz-Signature in the query) are not read.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGV4_TOLERANCE_SEC 300
#define SIGV4_S3_TOLERANCE_SEC 900

typedef struct SigV4Header {
        const char *name; /* any case */
        const char *value;
} SigV4Header;

/* A request as it came. Borrowed. */
typedef struct SigV4Request {
        const char *method;
        const char *target; /* path and query as on the request line */
        const SigV4Header *headers;
        size_t n_headers;
        const uint8_t *body;
        size_t body_size;
        bool s3; /* S3's rules: the path as it is, encoded once, and the payload's hash as its header has it */
} SigV4Request;

/* What the Authorization and X-Amz-Date headers say; believed only when platform_sigv4_verify() returned 0. */
typedef struct SigV4Claim {
        char access_key_id[129];
        char date[9]; /* of the credential scope */
        char region[64];
        char service[64];
        char timestamp[17];        /* 20150830T123600Z */
        char signed_headers[1024]; /* as sent: a;b;c */
        char signature[65];
} SigV4Claim;

/* A refusal in AWS's words. */
typedef struct SigV4Refusal {
        const char *code; /* static */
        char message[8192];
} SigV4Refusal;

/* The value of the first header of that name, in any case, or NULL. */
const char *platform_sigv4_header(const SigV4Request *request, const char *name);

/* Reads the claim. -EBADMSG with a refusal: MissingAuthenticationToken, IncompleteSignature. */
int platform_sigv4_read_claim(const SigV4Request *request, SigV4Claim *ret, SigV4Refusal *refusal);

/* The canonical request of the claim's signed headers. The caller frees. */
int platform_sigv4_canonical_request(const SigV4Request *request, const char *signed_headers, char **ret);

/* What is signed. The caller frees. */
int platform_sigv4_string_to_sign(const SigV4Claim *claim, const char *canonical_request, char **ret);

/* Lower-case hexadecimal. */
int platform_sigv4_signature(const SigV4Claim *claim, const char *secret, const char *string_to_sign,
                             char ret[static 65]);

/* Whether the claim holds for this secret, here and now. -EBADMSG with a refusal: InvalidSignature. */
int platform_sigv4_verify(const SigV4Request *request, const SigV4Claim *claim, const char *secret,
                          const char *region, const char *service, int64_t now, SigV4Refusal *refusal);
