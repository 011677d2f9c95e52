/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A vendor's signature of a sealed secret (SignedBy=, unseald.secret(5), "Signed secrets"). The encryption context and the key's
 * policy say who may open a ciphertext. The signature says who has made it. Everything here is a function of its arguments.
 *
 * The signed message is
 *
 *     "unseald signature v1" NUL  name NUL  version (8 bytes, big-endian)  SHA-384(ciphertext)
 *
 * so a signature holds for one name, one version and one ciphertext. The scheme follows from the key alone:
 *
 *     Ed25519        RFC 8032, PureEdDSA; 64 bytes                              KMS: ED25519_SHA_512 with MessageType RAW
 *     ECDSA P-256    FIPS 186-5 with SHA-256; DER of RFC 3279 section 2.2.3     KMS: ECDSA_SHA_256
 *     ECDSA P-384    FIPS 186-5 with SHA-384; DER of RFC 3279 section 2.2.3     KMS: ECDSA_SHA_384
 *
 * Whoever has one ECDSA signature can make a second one of the same message without the private key (s and n - s). That is
 * harmless here: nothing recognizes a secret by the bytes of its signature.
 */

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

#define SIGNATURE_FILE_MAX 4096U /* bytes of the JSON text */
#define SIGNATURE_KEY_MAX 4096U  /* bytes of the PEM file */
#define SIGNATURE_BYTES_MAX 144U /* ECDSA P-384 needs at most 104, Ed25519 64 */
#define SIGNATURE_NAME_MAX 64U   /* bytes in the name of a secret */

typedef enum SignatureScheme {
        SIGNATURE_ED25519,
        SIGNATURE_P256,
        SIGNATURE_P384,
        _SIGNATURE_SCHEMES,
        _SIGNATURE_SCHEME_INVALID = -1,
} SignatureScheme;

/* _SIGNATURE_SCHEME_INVALID: unseald verifies no signatures of this kind of key. */
SignatureScheme signature_scheme(const EVP_PKEY *key);

/* OpenSSL's name of the digest that the scheme signs. NULL for Ed25519, which takes the message itself. */
const char *signature_digest(SignatureScheme scheme) _pure_;

/* Reads a public key: PEM (RFC 7468) with the label "PUBLIC KEY", once. *error (FAILURE_CONFIGURATION) says what was expected and
 * what is there; the caller adds file and line. -EINVAL, or -ENOMEM. The caller frees *ret with EVP_PKEY_free(). */
int signature_key_parse(const uint8_t *pem, size_t size, EVP_PKEY **ret, Error *error);

typedef struct Signature {
        uint64_t version;
        uint8_t bytes[SIGNATURE_BYTES_MAX];
        size_t size;
} Signature;

/*
 * Reads {"version": N, "signature": BASE64}: these two members, each once, and nothing after the object. N is a decimal integer
 * from 0 to 2^64-1 without sign, fraction and exponent. BASE64 is that of RFC 4648 section 4, with padding and without white
 * space. -EBADMSG: the text is something else, and *error says what (FAILURE_SIGNATURE, REMEDY_RETRY: the text may be replaced
 * at this moment). -ENOMEM.
 */
int signature_parse(const uint8_t *text, size_t size, Signature *ret, Error *error);

/* Writes the text that signature_parse() reads, in one line. The caller frees *ret. -ENOMEM. */
int signature_format(const Signature *signature, char **ret);

#define SIGNATURE_MESSAGE_MAX (21U + SIGNATURE_NAME_MAX + 1U + 8U + 48U)

/* Writes the signed message. ciphertext: raw bytes, as KMS takes them. -EINVAL: the name is too long. -EIO, -ENOMEM: OpenSSL
 * failed. */
int signature_message(const char *name, uint64_t version, const uint8_t *ciphertext, size_t ciphertext_size,
                      uint8_t ret[static SIGNATURE_MESSAGE_MAX], size_t *ret_size);

/* 0: the key has signed this version of this ciphertext for this name. -EKEYREJECTED: it has not. -EIO, -ENOMEM: OpenSSL failed. */
int signature_verify(const Signature *signature, EVP_PKEY *key, const char *name, const uint8_t *ciphertext,
                     size_t ciphertext_size);

/* What a declaration demands of a signature. All members are borrowed. */
typedef struct SignatureRule {
        const char *name;
        EVP_PKEY *key;
        uint64_t version_min;
        const char *key_path, *label; /* for people: SignedBy=, and the source of the signature */
} SignatureRule;

/*
 * Judges the content of a signature's source for a ciphertext. 0: the ciphertext may be used, and *ret_version is its version.
 * Otherwise *error has FAILURE_SIGNATURE. REMEDY_RETRY: ciphertext and signature are no pair; either may be replaced at this
 * moment, so both must be fetched again. REMEDY_NONE: the vendor has signed it, and it is too old (-ESTALE).
 */
int signature_judge(const SignatureRule *rule, const uint8_t *text, size_t size, const uint8_t *ciphertext,
                    size_t ciphertext_size, uint64_t *ret_version, Error *error);
