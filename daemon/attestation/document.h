/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The attestation document: COSE_Sign1 (RFC 9052) with ES384 over a CBOR map, and a chain of five P-384 certificates.
 * Parsing and verifying are pure: bytes, a root and a time go in. If AWS's page and real documents differ, this code
 * follows the documents. Sources: AWS, "Validating a NitroTPM Attestation Document"; aws-nitro-enclaves-nsm-api,
 * attestation_process.md.
 */

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/slice.h"

#define ATTESTATION_DOCUMENT_MAX (64U * 1024U)
#define ATTESTATION_PCRS 32
#define ATTESTATION_CHAIN_MAX 8

typedef enum AttestationKind {
        ATTESTATION_NITROTPM, /* "nitrotpm_pcrs" */
        ATTESTATION_ENCLAVE,  /* "pcrs" */
} AttestationKind;

typedef struct AttestationDocument {
        AttestationKind kind;
        uint8_t *bytes; /* a copy that the document owns; all slices point into it. data NULL: CBOR null */
        size_t size;
        Slice protected_header, payload, signature;
        char module_id[256];
        uint64_t timestamp_msec;      /* since 1970 */
        Slice pcrs[ATTESTATION_PCRS]; /* data NULL: not in the document */
        Slice certificate;
        Slice chain[ATTESTATION_CHAIN_MAX]; /* cabundle: the root first */
        size_t chain_length;
        Slice public_key, user_data, nonce;
} AttestationDocument;

/*
 * Accepts exactly the fields above, each once and within its limits, and no bytes after them. -EBADMSG with
 * FAILURE_ATTESTATION: malformed; the text names the field. -EOPNOTSUPP: another algorithm than ES384. Texts of an accepted
 * document are printable ASCII. The caller calls attestation_free().
 */
int attestation_parse(const uint8_t *data, size_t size, AttestationDocument **ret, Error *error);
AttestationDocument *attestation_free(AttestationDocument *document);
DEFINE_CLEANUP(AttestationDocument *, attestation_free);
#define _cleanup_attestation_ _cleanup_(attestation_freep)

/* Why a document was refused. Each value is an exit status of `unsealctl verify`. */
typedef enum AttestationRefusal {
        ATTESTATION_ACCEPTED = 0,
        ATTESTATION_INTERNAL = 1,   /* no judgement: OpenSSL failed */
        ATTESTATION_MALFORMED = 10, /* attestation_parse() refuses it, or a certificate cannot be read */
        ATTESTATION_ALGORITHM = 11, /* not ES384, or a certificate that is not P-384 with SHA-384 */
        ATTESTATION_SIGNATURE = 12, /* the COSE signature does not verify with the leaf's key */
        ATTESTATION_UNTRUSTED = 13, /* the chain does not lead to the pinned root, or breaks a constraint */
        ATTESTATION_EXPIRED = 14,   /* a certificate is not valid at that time */
        ATTESTATION_STALE = 15,     /* older than the maximum age, or more than a minute from the future */
        ATTESTATION_NONCE = 16,
        ATTESTATION_PUBLIC_KEY = 17,
        ATTESTATION_PCR = 18,       /* for `unsealctl verify`; attestation_verify() compares no PCRs */
        ATTESTATION_EVENT_LOG = 20, /* also for `unsealctl verify`, which has a meaning of its own for 19 */
        ATTESTATION_USER_DATA = 21, /* also for `unsealctl verify` */
} AttestationRefusal;

typedef struct AttestationPolicy {
        X509 *root; /* the pinned root; never taken from the document */
        int64_t at; /* seconds since 1970 at which certificates must be valid; they may begin up to a minute later */
        uint64_t max_age_sec;    /* how old the document may be at that time; 0: not checked */
        const Slice *nonce;      /* NULL: not checked */
        const Slice *public_key; /* NULL: not checked */
} AttestationPolicy;

/*
 * Checks signature, chain (basic constraints, key usage, path length, P-384 and SHA-384 throughout), validity, age, nonce
 * and public key, in this order. A document that is refused for one of the last three is authentic. Revocation is not
 * checked, as AWS advises. Fills *error if the document is refused.
 */
AttestationRefusal attestation_verify(const AttestationDocument *document, const AttestationPolicy *policy,
                                      Error *error);

/* The name of a refusal, for JSON and people: "accepted", "signature", "untrusted", … */
const char *attestation_refusal_to_string(AttestationRefusal refusal) _pure_;
