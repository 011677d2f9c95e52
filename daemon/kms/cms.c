/* SPDX-License-Identifier: Apache-2.0 */

/*
 * This reader knows the one shape that KMS sends, and LocalStack's variant of it. EVP does the cryptography.
 * CMS_decrypt() is not used, for two reasons. Without a recipient certificate, it goes on with a random key if the key
 * does not unwrap (its defence for PKCS#1 v1.5). One such key in some hundred then passes the check of CBC padding by
 * luck, and garbage would be delivered as the secret. And it decrypts into a BIO, a buffer on the heap that grows by
 * copying. Here OAEP alone decides whether a key fits, and the plaintext is written once, into locked memory.
 *
 * OpenSSL frees the padded content-encryption key of RSA-OAEP without wiping it. The allocator of the programs wipes it
 * (memory/wipe.c).
 */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "kms/cms.h"

#define AES_BLOCK 16U
#define AES_256_KEY 32U

#define TAG_INTEGER 0x02
#define TAG_OCTET_STRING 0x04
#define TAG_NULL 0x05
#define TAG_OID 0x06
#define TAG_SEQUENCE 0x30
#define TAG_SET 0x31
#define TAG_CONTEXT(n) (0x80 | (n))
#define TAG_CONTEXT_CONSTRUCTED(n) (0xA0 | (n))

/* The content octets of the object identifiers. */
static const uint8_t oid_enveloped_data[] = { 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x03 };
static const uint8_t oid_data[] = { 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01 };
static const uint8_t oid_rsaes_oaep[] = { 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x07 };
static const uint8_t oid_mgf1[] = { 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08 };
static const uint8_t oid_sha256[] = { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01 };
static const uint8_t oid_aes256_cbc[] = { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2A };

/*
 * The part of BER (ITU-T X.690) that KMS uses: tags of one byte, definite and indefinite lengths. A Reader stands inside
 * a constructed value. A value of indefinite length ends with end-of-contents octets, and these must come before the
 * end of the enclosing value.
 */
typedef struct Reader {
        const uint8_t *p, *end;
        bool indefinite;
} Reader;

#define INDEFINITE SIZE_MAX

static size_t left(const Reader *reader) {
        return (size_t) (reader->end - reader->p);
}

static bool next_is(const Reader *reader, uint8_t tag) {
        return left(reader) > 0 && *reader->p == tag;
}

/* Reads tag and length. */
static bool read_header(Reader *reader, uint8_t tag, size_t *ret_size) {
        size_t size, octets;

        if (!next_is(reader, tag) || left(reader) < 2)
                return false;
        size = reader->p[1];
        reader->p += 2;
        if (size == 0x80) {
                *ret_size = INDEFINITE;
                return true;
        }
        if (size > 0x80) {
                octets = size & 0x7F;
                if (octets > 4 || octets > left(reader))
                        return false;
                for (size = 0; octets > 0; octets--)
                        size = size << 8 | *reader->p++;
        }
        *ret_size = size;
        return size <= left(reader);
}

static bool read_primitive(Reader *reader, uint8_t tag, CmsSlice *ret) {
        size_t size;

        if (!read_header(reader, tag, &size) || size == INDEFINITE)
                return false;
        *ret = (CmsSlice){ reader->p, size };
        reader->p += size;
        return true;
}

static bool expect(Reader *reader, uint8_t tag, const void *value, size_t size) {
        CmsSlice slice;

        return read_primitive(reader, tag, &slice) && slice.size == size &&
               memcmp(slice.data, value, size) == 0;
}

static bool expect_oid(Reader *reader, const uint8_t (*oid)[9]) {
        return expect(reader, TAG_OID, oid, sizeof(*oid));
}

static bool expect_version(Reader *reader, uint8_t version) {
        return expect(reader, TAG_INTEGER, &version, 1);
}

/* *inner is valid until leave(). */
static bool enter(Reader *outer, uint8_t tag, Reader *inner) {
        size_t size;

        if (!read_header(outer, tag, &size))
                return false;
        *inner = (Reader){
                .p = outer->p,
                .end = size == INDEFINITE ? outer->end : outer->p + size,
                .indefinite = size == INDEFINITE,
        };
        return true;
}

static bool leave(Reader *outer, Reader *inner) {
        if (inner->indefinite) {
                if (!expect(inner, 0, "", 0))
                        return false;
        } else if (left(inner) > 0)
                return false;
        outer->p = inner->p;
        return true;
}

/* AlgorithmIdentifier of SHA-256. Its parameters are NULL or absent (RFC 4055 section 2.1). */
static bool expect_sha256(Reader *reader) {
        Reader algorithm;

        return enter(reader, TAG_SEQUENCE, &algorithm) && expect_oid(&algorithm, &oid_sha256) &&
               (!next_is(&algorithm, TAG_NULL) || expect(&algorithm, TAG_NULL, "", 0)) &&
               leave(reader, &algorithm);
}

/* AlgorithmIdentifier of RSAES-OAEP with SHA-256, MGF1-SHA-256 and no label (RFC 4055 section 4.1). */
static bool expect_oaep(Reader *reader) {
        Reader algorithm, parameters, hash, mask, mgf1;

        return enter(reader, TAG_SEQUENCE, &algorithm) && expect_oid(&algorithm, &oid_rsaes_oaep) &&
               enter(&algorithm, TAG_SEQUENCE, &parameters) &&
               enter(&parameters, TAG_CONTEXT_CONSTRUCTED(0), &hash) && expect_sha256(&hash) &&
               leave(&parameters, &hash) && enter(&parameters, TAG_CONTEXT_CONSTRUCTED(1), &mask) &&
               enter(&mask, TAG_SEQUENCE, &mgf1) && expect_oid(&mgf1, &oid_mgf1) && expect_sha256(&mgf1) &&
               leave(&mask, &mgf1) && leave(&parameters, &mask) && leave(&algorithm, &parameters) &&
               leave(reader, &algorithm);
}

/* The name is not compared with anything: our key pair has no certificate. Whether the envelope is for our key shows when
 * it is unwrapped. */
static bool skip_issuer_and_serial_number(Reader *reader) {
        CmsSlice issuer, serial_number;
        Reader pair;

        return enter(reader, TAG_SEQUENCE, &pair) && read_primitive(&pair, TAG_SEQUENCE, &issuer) &&
               read_primitive(&pair, TAG_INTEGER, &serial_number) && leave(reader, &pair);
}

/* RecipientIdentifier. RFC 5652 section 6.2.1 ties its kind to the version. */
static bool read_identifier(Reader *reader, uint8_t version, CmsEnvelope *envelope) {
        if (version == 0)
                return skip_issuer_and_serial_number(reader);
        return read_primitive(reader, TAG_CONTEXT(0), &envelope->key_identifier);
}

/* KeyTransRecipientInfo (RFC 5652 section 6.2.1). */
static bool read_recipient(Reader *reader, uint8_t version, CmsEnvelope *envelope) {
        Reader recipient;

        return enter(reader, TAG_SEQUENCE, &recipient) && expect_version(&recipient, version) &&
               read_identifier(&recipient, version, envelope) && expect_oaep(&recipient) &&
               read_primitive(&recipient, TAG_OCTET_STRING, &envelope->encrypted_key) &&
               leave(reader, &recipient);
}

static bool expect_aes256_cbc(Reader *reader, CmsSlice *ret_iv) {
        Reader algorithm;

        return enter(reader, TAG_SEQUENCE, &algorithm) && expect_oid(&algorithm, &oid_aes256_cbc) &&
               read_primitive(&algorithm, TAG_OCTET_STRING, ret_iv) && ret_iv->size == AES_BLOCK &&
               leave(reader, &algorithm);
}

static bool read_segment(Reader *reader, uint8_t tag, CmsEnvelope *envelope) {
        CmsSlice *segment = envelope->content + envelope->segments;

        if (envelope->segments == CMS_SEGMENTS_MAX || !read_primitive(reader, tag, segment))
                return false;
        envelope->segments++;
        envelope->content_size += segment->size;
        return true;
}

/* [0] IMPLICIT OCTET STRING, primitive or constructed of segments. */
static bool read_content(Reader *reader, CmsEnvelope *envelope) {
        Reader content;

        if (next_is(reader, TAG_CONTEXT(0)))
                return read_segment(reader, TAG_CONTEXT(0), envelope);
        if (!enter(reader, TAG_CONTEXT_CONSTRUCTED(0), &content))
                return false;
        while (next_is(&content, TAG_OCTET_STRING))
                if (!read_segment(&content, TAG_OCTET_STRING, envelope))
                        return false;
        return leave(reader, &content);
}

/*
 * EnvelopedData (RFC 5652 section 6.1). With one KeyTransRecipientInfo and no attributes, its version is that of the
 * recipient: 2 with a subjectKeyIdentifier (KMS), 0 with issuer and serial number (LocalStack).
 */
static bool read_enveloped_data(Reader *reader, CmsEnvelope *envelope) {
        Reader data, recipients, content;
        CmsSlice version;

        return enter(reader, TAG_SEQUENCE, &data) && read_primitive(&data, TAG_INTEGER, &version) &&
               version.size == 1 && (version.data[0] == 2 || version.data[0] == 0) &&
               enter(&data, TAG_SET, &recipients) &&
               read_recipient(&recipients, version.data[0], envelope) && leave(&data, &recipients) &&
               enter(&data, TAG_SEQUENCE, &content) && expect_oid(&content, &oid_data) &&
               expect_aes256_cbc(&content, &envelope->iv) && read_content(&content, envelope) &&
               leave(&data, &content) && leave(reader, &data);
}

int cms_parse(const uint8_t *data, size_t size, CmsEnvelope *ret) {
        Reader all = { data, data + size, false }, info, explicit;
        CmsEnvelope envelope = {};

        if (size > CMS_ENVELOPE_MAX)
                return -EBADMSG;
        if (!enter(&all, TAG_SEQUENCE, &info) || !expect_oid(&info, &oid_enveloped_data) ||
            !enter(&info, TAG_CONTEXT_CONSTRUCTED(0), &explicit) ||
            !read_enveloped_data(&explicit, &envelope) || !leave(&info, &explicit) || !leave(&all, &info) ||
            left(&all) > 0)
                return -EBADMSG;
        if (envelope.content_size == 0 || envelope.content_size % AES_BLOCK != 0)
                return -EBADMSG;
        *ret = envelope;
        return 0;
}

/*
 * Says why the key does not open the envelope: -ENOKEY if the envelope names another key, else -EKEYREJECTED.
 *
 * KMS identifies the recipient by SHA-256 of the DER SubjectPublicKeyInfo that the attestation document carried. Real
 * envelopes whose private keys were published show it, but AWS does not document it. So the identifier only explains a
 * failure, and whether the key opens the envelope decides: otherwise no machine would unseal after AWS chose another
 * identifier. An attacker gains nothing, since anybody who has the document can compute the identifier.
 */
static int explain_rejection(const CmsEnvelope *envelope, EVP_PKEY *private_key) {
        uint8_t *public_key = NULL, digest[SHA256_DIGEST_LENGTH];
        int size;

        if (!envelope->key_identifier.data)
                return -EKEYREJECTED;
        size = i2d_PUBKEY(private_key, &public_key);
        if (size <= 0)
                return openssl_failure(NULL);
        SHA256(public_key, (size_t) size, digest);
        OPENSSL_free(public_key);
        if (envelope->key_identifier.size != sizeof(digest) ||
            memcmp(envelope->key_identifier.data, digest, sizeof(digest)) != 0)
                return -ENOKEY;
        return -EKEYREJECTED;
}

/* A failure of OpenSSL while it decrypts: a lack of memory, or an envelope that this key does not open. */
static int rejected(void) {
        return openssl_failure(NULL) == -ENOMEM ? -ENOMEM : -EKEYREJECTED;
}

/* The content-encryption key goes into locked memory, which has room for as much as OpenSSL may write. */
static int unwrap_key(const CmsEnvelope *envelope, EVP_PKEY *private_key, Secret **ret) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = NULL;
        _cleanup_secret_ Secret *key = NULL;
        int size = EVP_PKEY_get_size(private_key), r;
        size_t key_size;

        if (!EVP_PKEY_is_a(private_key, "RSA") || size <= 0 || envelope->encrypted_key.size != (size_t) size)
                return -EKEYREJECTED;
        r = secret_new((size_t) size, &key);
        if (r < 0)
                return r;

        key_size = (size_t) size;
        context = EVP_PKEY_CTX_new_from_pkey(NULL, private_key, NULL);
        if (!context || EVP_PKEY_decrypt_init(context) <= 0 || !openssl_set_oaep_sha256(context))
                return openssl_failure(NULL);
        if (EVP_PKEY_decrypt(context, secret_bytes(key), &key_size, envelope->encrypted_key.data,
                             envelope->encrypted_key.size) <= 0)
                return rejected();
        if (key_size != AES_256_KEY)
                return -EKEYREJECTED;
        *ret = TAKE_PTR(key);
        return 0;
}

static int decrypt_content(const CmsEnvelope *envelope, Secret *key, Secret **ret) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = NULL;
        _cleanup_secret_ Secret *plaintext = NULL;
        size_t size = 0;
        int n, r;

        r = secret_new(envelope->content_size, &plaintext);
        if (r < 0)
                return r;

        context = EVP_CIPHER_CTX_new();
        if (!context ||
            !EVP_DecryptInit_ex(context, EVP_aes_256_cbc(), NULL, secret_bytes(key), envelope->iv.data))
                return openssl_failure(NULL);
        for (size_t i = 0; i < envelope->segments; i++) {
                if (!EVP_DecryptUpdate(context, secret_bytes(plaintext) + size, &n,
                                       envelope->content[i].data, (int) envelope->content[i].size))
                        return rejected();
                size += (size_t) n;
        }
        if (!EVP_DecryptFinal_ex(context, secret_bytes(plaintext) + size, &n))
                return rejected();
        secret_truncate(plaintext, size + (size_t) n);
        *ret = TAKE_PTR(plaintext);
        return 0;
}

int cms_open(const uint8_t *data, size_t size, EVP_PKEY *private_key, Secret **ret) {
        _cleanup_secret_ Secret *key = NULL;
        CmsEnvelope envelope;
        int r;

        r = cms_parse(data, size, &envelope);
        if (r >= 0)
                r = unwrap_key(&envelope, private_key, &key);
        if (r == -EKEYREJECTED)
                r = explain_rejection(&envelope, private_key);
        if (r >= 0)
                r = decrypt_content(&envelope, key, ret);
        return r;
}
