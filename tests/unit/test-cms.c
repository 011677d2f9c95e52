/* SPDX-License-Identifier: Apache-2.0 */

#include <dlfcn.h>
#include <errno.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "basic/io.h"
#include "kms/cms.h"
#include "kms/recipient.h"

typedef struct Bytes {
        uint8_t data[3 * CMS_ENVELOPE_MAX];
        size_t size;
} Bytes;

static EVP_PKEY *key, *other_key;

/* What fails. OpenSSL's error queue gets reason, unless it is 0. */
static struct {
        bool i2d, init, update, number;
        int i2d_result, reason;
        unsigned lock; /* the n-th mlock() from now; 0: none */
} broken;

static int breaks(int result) {
        if (broken.reason != 0)
                ERR_raise(ERR_LIB_EVP, broken.reason);
        return result;
}

int mlock(const void *data, size_t size) {
        if (broken.lock > 0 && --broken.lock == 0) {
                errno = ENOMEM;
                return -1;
        }
        return (int) syscall(SYS_mlock, data, size);
}

int i2d_PUBKEY(const EVP_PKEY *a, unsigned char **ret) {
        int (*real)(const EVP_PKEY *, unsigned char **) =
                        (int (*)(const EVP_PKEY *, unsigned char **)) dlsym(RTLD_NEXT, "i2d_PUBKEY");

        return broken.i2d ? breaks(broken.i2d_result) : real(a, ret);
}

BIGNUM *BN_secure_new(void) {
        if (broken.number) {
                (void) breaks(0);
                return NULL;
        }
        return ((typeof(&BN_secure_new)) dlsym(RTLD_NEXT, "BN_secure_new"))();
}

int EVP_PKEY_decrypt_init(EVP_PKEY_CTX *context) {
        int (*real)(EVP_PKEY_CTX *) = (int (*)(EVP_PKEY_CTX *)) dlsym(RTLD_NEXT, "EVP_PKEY_decrypt_init");

        return broken.init ? breaks(0) : real(context);
}

int EVP_DecryptUpdate(EVP_CIPHER_CTX *context, unsigned char *out, int *ret_size, const unsigned char *in,
                      int size) {
        int (*real)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int) =
                        (int (*)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *,
                                 int)) dlsym(RTLD_NEXT, "EVP_DecryptUpdate");

        assert_non_null(in);
        return broken.update ? breaks(0) : real(context, out, ret_size, in, size);
}

static void append(Bytes *bytes, const void *data, size_t size) {
        assert_true(bytes->size + size <= sizeof(bytes->data));
        memcpy(bytes->data + bytes->size, data, size);
        bytes->size += size;
}

/* The length has two octets. BER allows that for every length. */
static void append_value(Bytes *bytes, uint8_t tag, const void *data, size_t size) {
        append(bytes, (uint8_t[]){ tag, 0x82, (uint8_t) (size >> 8), (uint8_t) size }, 4);
        append(bytes, data, size);
}

static void append_indefinite(Bytes *bytes, uint8_t tag, const void *data, size_t size) {
        append(bytes, (uint8_t[]){ tag, 0x80 }, 2);
        append(bytes, data, size);
        append(bytes, "\0\0", 2);
}

/* How an envelope differs from KMS's. */
typedef struct Shape {
        unsigned recipients; /* 0: 1 */
        size_t segment;  /* content in segments of this size; 0: one; SIZE_MAX: implicit, not constructed */
        size_t key_size; /* of the content-encryption key; 0: 32 */
        size_t iv_size;  /* 0: 16 */
        bool definite, no_padding, originator, attributes, sha1_padding, nested_segments, explicit_label;
        bool no_null_parameters, long_null_parameters;
        bool issuer;         /* issuer and serial number in place of a key identifier, and versions 0 */
        const char *version; /* of EnvelopedData; NULL: that of the recipient */
        const uint8_t *identifier; /* of 32 bytes; NULL: that of the key */
        size_t identifier_size;    /* 0: 32 */
        const EVP_CIPHER *cipher;  /* NULL: AES-256-CBC */
} Shape;

#define OAEP_HASHES                                                                                        \
        "\xA0\x0F\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"                             \
        "\xA1\x1C\x30\x1A\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\x30\x0D\x06\x09\x60\x86\x48\x01\x65" \
        "\x03\x04\x02\x01\x05\x00"
#define OAEP_HASHES_WITHOUT_NULL                                                                           \
        "\xA0\x0D\x30\x0B\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01"                                     \
        "\xA1\x1A\x30\x18\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\x30\x0B\x06\x09\x60\x86\x48\x01\x65" \
        "\x03\x04\x02\x01"
/* The length of NULL has two octets, with which the value ends. */
#define OAEP_HASHES_WITH_LONG_NULL                                                                         \
        "\xA0\x10\x30\x0E\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x81\x00"                         \
        "\xA1\x1D\x30\x1B\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\x30\x0E\x06\x09\x60\x86\x48\x01\x65" \
        "\x03\x04\x02\x01\x05\x81\x00"
#define OID_OAEP "\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x07"
#define OID_DATA "\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x01"
#define OID_ENVELOPED "\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x03"
#define OID_AES256_CBC "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2A"
#define VERSION_0 "\x02\x01\x00"
#define VERSION_2 "\x02\x01\x02"
/* CN=recipient, 1: what LocalStack writes. */
#define ISSUER_AND_SERIAL_NUMBER \
        "\x30\x19\x30\x14\x31\x12\x30\x10\x06\x03\x55\x04\x03\x0C\x09recipient\x02\x01\x01"
#define append_text(bytes, text) append(bytes, text, sizeof(text) - 1)

static size_t wrap(EVP_PKEY *public_key, const Shape *shape, const uint8_t *cek, uint8_t ret[static 512]) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public_key, NULL);
        const EVP_MD *hash = shape->sha1_padding ? EVP_sha1() : EVP_sha256();
        size_t size = 512;

        assert_true(EVP_PKEY_encrypt_init(context) > 0 &&
                    EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
                    EVP_PKEY_CTX_set_rsa_oaep_md(context, hash) > 0 &&
                    EVP_PKEY_encrypt(context, ret, &size, cek, shape->key_size ?: 32) > 0);
        EVP_PKEY_CTX_free(context);
        return size;
}

/* KMS takes this as subjectKeyIdentifier. */
static void identify(EVP_PKEY *public_key, uint8_t ret[static SHA256_DIGEST_LENGTH]) {
        uint8_t *der = NULL;
        int size = i2d_PUBKEY(public_key, &der);

        assert_true(size > 0);
        SHA256(der, (size_t) size, ret);
        OPENSSL_free(der);
}

static void make_recipient(EVP_PKEY *public_key, const Shape *shape, const uint8_t *cek, Bytes *ret) {
        static Bytes info, algorithm;
        uint8_t wrapped[512];
        size_t size;

        algorithm.size = info.size = 0;
        append_text(&algorithm, OID_OAEP);
        if (shape->explicit_label)
                append_value(&algorithm, 0x30, OAEP_HASHES "\xA2\x02\x04\x00", sizeof(OAEP_HASHES) + 3);
        else if (shape->long_null_parameters)
                append_value(&algorithm, 0x30, OAEP_HASHES_WITH_LONG_NULL,
                             sizeof(OAEP_HASHES_WITH_LONG_NULL) - 1);
        else if (shape->no_null_parameters)
                append_value(&algorithm, 0x30, OAEP_HASHES_WITHOUT_NULL,
                             sizeof(OAEP_HASHES_WITHOUT_NULL) - 1);
        else
                append_value(&algorithm, 0x30, OAEP_HASHES, sizeof(OAEP_HASHES) - 1);

        if (shape->issuer) {
                append_text(&info, VERSION_0);
                append_text(&info, ISSUER_AND_SERIAL_NUMBER);
        } else {
                uint8_t identifier[SHA256_DIGEST_LENGTH];

                identify(public_key, identifier);
                append_text(&info, VERSION_2);
                append_value(&info, 0x80, shape->identifier ?: identifier, shape->identifier_size ?: 32);
        }
        append_value(&info, 0x30, algorithm.data, algorithm.size);
        size = wrap(public_key, shape, cek, wrapped);
        append_value(&info, 0x04, wrapped, size);
        append_value(ret, 0x30, info.data, info.size);
}

static void make_content(const Shape *shape, const uint8_t *cek, const void *plaintext, size_t size,
                         Bytes *ret) {
        static uint8_t encrypted[2 * CMS_ENVELOPE_MAX];
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        static Bytes algorithm, segments;
        uint8_t iv[32];
        int n, last;

        algorithm.size = segments.size = 0;
        assert_int_equal(RAND_bytes(iv, sizeof(iv)), 1);
        assert_true(EVP_EncryptInit_ex(context, shape->cipher ?: EVP_aes_256_cbc(), NULL, cek, iv));
        EVP_CIPHER_CTX_set_padding(context, !shape->no_padding);
        assert_true(EVP_EncryptUpdate(context, encrypted, &n, plaintext, (int) size));
        assert_true(EVP_EncryptFinal_ex(context, encrypted + n, &last));
        EVP_CIPHER_CTX_free(context);
        n += last;

        append_text(ret, OID_DATA);
        append_text(&algorithm, OID_AES256_CBC);
        append_value(&algorithm, 0x04, iv, shape->iv_size ?: 16);
        append_value(ret, 0x30, algorithm.data, algorithm.size);
        if (shape->segment == SIZE_MAX) {
                append_value(ret, 0x80, encrypted, (size_t) n);
                return;
        }
        for (size_t i = 0, step; i < (size_t) n; i += step) {
                step = (size_t) n - i;
                if (shape->segment && step > shape->segment)
                        step = shape->segment;
                append_value(&segments, shape->nested_segments ? 0x24 : 0x04, encrypted + i, step);
        }
        (shape->definite ? append_value : append_indefinite)(ret, 0xA0, segments.data, segments.size);
}

static void make_envelope(EVP_PKEY *public_key, const Shape *shape, const void *plaintext, size_t size,
                          Bytes *ret) {
        void (*wrap_value)(Bytes *, uint8_t, const void *, size_t) =
                        shape->definite ? append_value : append_indefinite;
        static Bytes recipients, content, data, outer, info;
        uint8_t cek[64];

        recipients.size = content.size = data.size = outer.size = info.size = ret->size = 0;
        assert_int_equal(RAND_bytes(cek, sizeof(cek)), 1);
        for (unsigned i = 0; i < (shape->recipients ?: 1); i++)
                make_recipient(public_key, shape, cek, &recipients);
        make_content(shape, cek, plaintext, size, &content);

        append(&data, shape->version ?: (shape->issuer ? VERSION_0 : VERSION_2), 3);
        if (shape->originator)
                append_value(&data, 0xA0, "", 0);
        append_value(&data, 0x31, recipients.data, recipients.size);
        wrap_value(&data, 0x30, content.data, content.size);
        if (shape->attributes)
                append_value(&data, 0xA1, "", 0);
        wrap_value(&outer, 0x30, data.data, data.size);
        append_text(&info, OID_ENVELOPED);
        wrap_value(&info, 0xA0, outer.data, outer.size);
        wrap_value(ret, 0x30, info.data, info.size);
}

static void assert_opens(const uint8_t *data, size_t size, EVP_PKEY *with, const void *wanted,
                         size_t wanted_size) {
        _cleanup_secret_ Secret *secret = NULL;
        int r = cms_open(data, size, with, &secret);

        if (r != 0)
                fail_msg("a plaintext of %zu bytes: %d, wanted 0", wanted_size, r);
        assert_int_equal(secret_size(secret), wanted_size);
        assert_memory_equal(secret_bytes(secret), wanted, wanted_size);
}

static void assert_fails(const Bytes *envelope, EVP_PKEY *with, int wanted, const char *what) {
        Secret *secret = NULL;
        int r = cms_open(envelope->data, envelope->size, with, &secret);

        if (r != wanted || secret)
                fail_msg("%s: %d, wanted %d", what, r, wanted);
        assert_int_equal(ERR_peek_error(), 0);
}

static void read_vector(const char *name, const char *suffix, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ char *path = NULL;

        assert_true(asprintf(&path, "%s/kms-cms/%s.%s", getenv("UNSEALD_TEST_VECTORS"), name, suffix) > 0);
        if (read_file(path, CMS_ENVELOPE_MAX, ret, ret_size) < 0)
                fail_msg("cannot read %s", path);
}

/* The first two are from KMS, the third has the shape of LocalStack's. */
static const char *const vectors[] = { "indefinite", "implicit", "localstack" };

static void assert_slice(const char *name, const char *part, CmsSlice slice) {
        _cleanup_free_ uint8_t *wanted = NULL;
        size_t size;

        read_vector(name, part, &wanted, &size);
        assert_int_equal(slice.size, size);
        assert_memory_equal(slice.data, wanted, size);
}

static void test_envelopes_have_their_parts(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                CmsEnvelope envelope;
                size_t size;

                read_vector(vectors[i], "ber", &data, &size);
                assert_int_equal(cms_parse(data, size, &envelope), 0);
                assert_int_equal(envelope.key_identifier.size, i == 2 ? 0 : 32);
                if (i < 2)
                        assert_ptr_equal(envelope.key_identifier.data, data + 33);
                else
                        assert_null(envelope.key_identifier.data);
                assert_slice(vectors[i], "encrypted-key", envelope.encrypted_key);
                assert_slice(vectors[i], "iv", envelope.iv);
                assert_int_equal(envelope.segments, 1);
                assert_slice(vectors[i], "ciphertext", envelope.content[0]);
                assert_int_equal(envelope.content_size, envelope.content[0].size);
        }
}

static bool within(size_t offset, const uint8_t *data, CmsSlice slice) {
        return data + offset >= slice.data && data + offset < slice.data + slice.size;
}

/* Their contents in the third envelope. They may have any value. */
static bool is_issuer_or_serial_number(const char *name, size_t offset) {
        const size_t issuer = 41, serial_number = 63;

        return strcmp(name, "localstack") == 0 &&
               ((offset >= issuer && offset < issuer + 20) || offset == serial_number);
}

static void test_no_byte_around_the_parts_may_differ(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                CmsEnvelope good, bad;
                size_t size;

                read_vector(vectors[i], "ber", &data, &size);
                assert_int_equal(cms_parse(data, size, &good), 0);
                for (size_t offset = 0; offset < size; offset++) {
                        if (within(offset, data, good.key_identifier) ||
                            is_issuer_or_serial_number(vectors[i], offset) ||
                            within(offset, data, good.encrypted_key) || within(offset, data, good.iv) ||
                            within(offset, data, good.content[0]))
                                continue;
                        for (unsigned change = 1; change < 256; change++) {
                                data[offset] ^= (uint8_t) change;
                                if (cms_parse(data, size, &bad) != -EBADMSG)
                                        fail_msg("%s: byte %zu as 0x%02x is accepted", vectors[i], offset,
                                                 data[offset]);
                                data[offset] ^= (uint8_t) change;
                        }
                }
        }
}

/* A copy of data whose next page cannot be read: a read behind the end is a crash. It is valid until the next call. */
static const uint8_t *before_guard(const uint8_t *data, size_t size) {
        const size_t page = (size_t) sysconf(_SC_PAGESIZE), room = (CMS_ENVELOPE_MAX / page + 1) * page;
        static uint8_t *pages;

        if (!pages) {
                pages = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                assert_true(pages != MAP_FAILED);
                assert_int_equal(mprotect(pages + room, page, PROT_NONE), 0);
        }
        assert_true(size <= room);
        return memcpy(pages + room - size, data, size);
}

static void test_an_envelope_ends_where_it_ends(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                CmsEnvelope envelope;
                size_t size;

                read_vector(vectors[i], "ber", &data, &size);
                for (size_t cut = 0; cut < size; cut++) {
                        const uint8_t *part = before_guard(data, cut);

                        if (cms_parse(part, cut, &envelope) != -EBADMSG)
                                fail_msg("%s: accepted when cut to %zu bytes", vectors[i], cut);
                }
                data = realloc(data, size + 2);
                memset(data + size, 0, 2);
                assert_int_equal(cms_parse(data, size + 1, &envelope), -EBADMSG);
                assert_int_equal(cms_parse(data, size + 2, &envelope), -EBADMSG);
        }
}

static void test_envelopes_open_in_all_shapes_that_kms_may_send(void **state) {
        static const Shape shapes[] = {
                {},
                { .segment = SIZE_MAX },
                { .segment = 1000 },
                { .segment = 333, .definite = true },
                { .definite = true, .no_null_parameters = true },
                { .long_null_parameters = true },
                { .definite = true, .segment = SIZE_MAX, .issuer = true },
        };
        static const size_t sizes[] = { 0, 1, 15, 16, 17, 31, 32, 1000, 4096 };
        static Bytes envelope;
        uint8_t plaintext[4096];

        assert_int_equal(RAND_bytes(plaintext, sizeof(plaintext)), 1);
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                for (size_t j = 0; j < ELEMENTSOF(sizes); j++) {
                        make_envelope(key, shapes + i, plaintext, sizes[j], &envelope);
                        assert_opens(envelope.data, envelope.size, key, plaintext, sizes[j]);
                }
}

static void test_other_shapes_are_refused(void **state) {
        static const struct {
                const char *what;
                Shape shape;
        } cases[] = {
                { "two recipients", { .recipients = 2 } },
                { "originator information", { .originator = true } },
                { "unprotected attributes", { .attributes = true } },
                { "constructed segments", { .nested_segments = true } },
                { "an OAEP label", { .explicit_label = true } },
                { "too many segments", { .segment = 1 } },
                { "a short IV", { .iv_size = 15 } },
                { "a long IV", { .iv_size = 32 } },
                { "version 0 with a key identifier", { .version = VERSION_0 } },
                { "version 2 with issuer and serial number", { .version = VERSION_2, .issuer = true } },
                { "version 1", { .version = "\x02\x01\x01" } },
                { "version 3", { .version = "\x02\x01\x03" } },
        };
        static Bytes envelope;
        static const uint8_t plaintext[2 * CMS_ENVELOPE_MAX];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                make_envelope(key, &cases[i].shape, "0123456789abcdef0123456789abcdef", 32, &envelope);
                assert_fails(&envelope, key, -EBADMSG, cases[i].what);
        }
        make_envelope(key, &(Shape){}, plaintext, CMS_ENVELOPE_MAX, &envelope);
        assert_fails(&envelope, key, -EBADMSG, "more than 16 KiB");
        make_envelope(key, &(Shape){ .no_padding = true }, "", 0, &envelope);
        assert_fails(&envelope, key, -EBADMSG, "no content");
        make_envelope(key, &(Shape){ .cipher = EVP_aes_256_ctr() }, "0123456789abcdefg", 17, &envelope);
        assert_fails(&envelope, key, -EBADMSG, "a content that is no multiple of 16");
}

static void test_the_content_has_up_to_32_segments(void **state) {
        static const uint8_t plaintext[16 * CMS_SEGMENTS_MAX];
        static Bytes envelope;

        make_envelope(key, &(Shape){ .segment = 16 }, plaintext, sizeof(plaintext) - 1, &envelope);
        assert_opens(envelope.data, envelope.size, key, plaintext, sizeof(plaintext) - 1);
        /* The padding takes one more. */
        make_envelope(key, &(Shape){ .segment = 16 }, plaintext, sizeof(plaintext), &envelope);
        assert_fails(&envelope, key, -EBADMSG, "33 segments");
}

/* The key identifier decides nothing, so it can fill the envelope up. */
static void test_an_envelope_has_up_to_16_kib(void **state) {
        static const uint8_t plaintext[CMS_ENVELOPE_MAX], identifier[64];
        static Bytes envelope;
        size_t room;

        make_envelope(key, &(Shape){ .identifier = identifier }, plaintext, 31, &envelope);
        room = CMS_ENVELOPE_MAX - envelope.size;
        for (size_t more = 0; more <= 1; more++) {
                const Shape shape = { .identifier = identifier, .identifier_size = 32 + room % 16 + more };

                make_envelope(key, &shape, plaintext, 31 + room / 16 * 16, &envelope);
                assert_int_equal(envelope.size, CMS_ENVELOPE_MAX + more);
                if (more == 0)
                        assert_opens(envelope.data, envelope.size, key, plaintext, 31 + room / 16 * 16);
                else
                        assert_fails(&envelope, key, -EBADMSG, "more than 16 KiB");
        }
}

static void test_lengths_have_up_to_four_octets(void **state) {
        static Bytes envelope, longer;

        make_envelope(key, &(Shape){ .definite = true }, "secret", 6, &envelope);
        assert_memory_equal(envelope.data, "\x30\x82", 2);
        for (uint8_t octets = 3; octets <= 10; octets++) {
                longer.size = 0;
                append(&longer, (uint8_t[]){ 0x30, (uint8_t) (0x80 | octets) }, 2);
                append(&longer, (uint8_t[8]){}, octets - 2U);
                append(&longer, envelope.data + 2, envelope.size - 2);
                if (octets <= 4)
                        assert_opens(longer.data, longer.size, key, "secret", 6);
                else
                        assert_fails(&longer, key, -EBADMSG, "a length of more than four octets");
        }
}

static void test_keys_that_do_not_unwrap_are_rejected(void **state) {
        EVP_PKEY *elliptic = EVP_EC_gen("P-256"), *longer = EVP_RSA_gen(2304);
        static Bytes envelope;

        make_envelope(key, &(Shape){ .key_size = 16 }, "secret", 6, &envelope);
        assert_fails(&envelope, key, -EKEYREJECTED, "a content-encryption key of 16 bytes");
        make_envelope(key, &(Shape){ .key_size = 33 }, "secret", 6, &envelope);
        assert_fails(&envelope, key, -EKEYREJECTED, "a content-encryption key of 33 bytes");
        make_envelope(key, &(Shape){ .sha1_padding = true }, "secret", 6, &envelope);
        assert_fails(&envelope, key, -EKEYREJECTED, "OAEP with SHA-1");
        make_envelope(key, &(Shape){ .no_padding = true }, "0123456789abcde\x11", 16, &envelope);
        assert_fails(&envelope, key, -EKEYREJECTED, "content without padding");
        make_envelope(key, &(Shape){ .issuer = true }, "secret", 6, &envelope);
        assert_fails(&envelope, elliptic, -EKEYREJECTED, "an elliptic curve key");
        assert_fails(&envelope, longer, -EKEYREJECTED, "a longer key");
        EVP_PKEY_free(elliptic);
        EVP_PKEY_free(longer);
}

/* The size of the wrapped key fits, and only the kind of the key does not. */
static void test_a_key_that_is_not_rsa_is_rejected(void **state) {
        EVP_PKEY *elliptic = EVP_EC_gen("P-384"),
                 *as_long = EVP_RSA_gen(8U * (unsigned) EVP_PKEY_get_size(elliptic));
        Bytes envelope;

        assert_int_equal(EVP_PKEY_get_size(as_long), EVP_PKEY_get_size(elliptic));
        make_envelope(as_long, &(Shape){ .issuer = true }, "secret", 6, &envelope);
        assert_opens(envelope.data, envelope.size, as_long, "secret", 6);
        assert_fails(&envelope, elliptic, -EKEYREJECTED, "an elliptic curve key");
        EVP_PKEY_free(elliptic);
        EVP_PKEY_free(as_long);
}

/* CMS_decrypt() opened 8 of 1500 to garbage. Without a key identifier, the wrong key shows only when it unwraps. */
static void test_a_wrong_key_never_opens_by_luck(void **state) {
        /* Under valgrind the number of tries only takes time: luck is the same there. */
        const unsigned tries = getenv("UNSEALD_TEST_SLOW") ? 20 : 1500;
        static Bytes envelope;

        for (unsigned i = 0; i < tries; i++) {
                make_envelope(key, &(Shape){ .issuer = true }, "secret", 6, &envelope);
                assert_fails(&envelope, other_key, -EKEYREJECTED, "a wrong key");
        }
}

static void test_a_changed_wrapped_key_never_opens(void **state) {
        static Bytes envelope;
        CmsEnvelope parts;

        make_envelope(key, &(Shape){}, "secret", 6, &envelope);
        assert_int_equal(cms_parse(envelope.data, envelope.size, &parts), 0);
        for (size_t i = 0; i < parts.encrypted_key.size; i++) {
                uint8_t *byte = envelope.data + (parts.encrypted_key.data - envelope.data) + i;

                *byte ^= 0x40;
                assert_fails(&envelope, key, -EKEYREJECTED, "a changed wrapped key");
                *byte ^= 0x40;
        }
        assert_opens(envelope.data, envelope.size, key, "secret", 6);
}

/* AWS does not document how it makes the identifier, so an envelope that opens is ours whatever its identifier is. */
static void test_a_key_identifier_explains_a_failure_and_decides_nothing(void **state) {
        uint8_t right[SHA256_DIGEST_LENGTH + 1] = {}, wrong[SHA256_DIGEST_LENGTH],
                                             others[SHA256_DIGEST_LENGTH];
        static Bytes envelope;

        identify(key, right);
        identify(other_key, others);
        for (size_t i = 0; i < sizeof(wrong); i++) {
                memcpy(wrong, right, sizeof(wrong));
                wrong[i] ^= 1;
                make_envelope(key, &(Shape){ .identifier = wrong }, "secret", 6, &envelope);
                assert_opens(envelope.data, envelope.size, key, "secret", 6);
        }
        for (size_t size = 31; size <= 33; size++) {
                make_envelope(key, &(Shape){ .identifier = right, .identifier_size = size }, "secret", 6,
                              &envelope);
                assert_opens(envelope.data, envelope.size, key, "secret", 6);
        }
        for (size_t i = 0; i < sizeof(wrong); i++) {
                memcpy(wrong, others, sizeof(wrong));
                wrong[i] ^= 1;
                make_envelope(key, &(Shape){ .identifier = wrong }, "secret", 6, &envelope);
                assert_fails(&envelope, other_key, -ENOKEY, "another key, and one byte of the identifier");
        }
        for (size_t size = 31; size <= 33; size += 2) {
                make_envelope(key, &(Shape){ .identifier = right, .identifier_size = size }, "secret", 6,
                              &envelope);
                assert_fails(&envelope, other_key, -ENOKEY,
                             "another key, and an identifier of another size");
        }
        make_envelope(key, &(Shape){ .identifier = others }, "secret", 6, &envelope);
        assert_fails(&envelope, other_key, -EKEYREJECTED, "another key that the envelope names");
}

/* The certificate has the subject key identifier that KMS would take. */
static X509 *make_certificate(EVP_PKEY *subject) {
        ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();
        uint8_t digest[SHA256_DIGEST_LENGTH];
        X509 *certificate = X509_new();

        identify(subject, digest);
        assert_true(ASN1_OCTET_STRING_set(identifier, digest, sizeof(digest)));
        assert_true(X509_set_pubkey(certificate, subject));
        assert_true(X509_add1_ext_i2d(certificate, NID_subject_key_identifier, identifier, 0, 0) > 0);
        ASN1_OCTET_STRING_free(identifier);
        assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
        assert_true(X509_NAME_add_entry_by_txt(X509_get_issuer_name(certificate), "CN", MBSTRING_ASC,
                                               (const uint8_t *) "recipient", -1, -1, 0));
        assert_true(X509_sign(certificate, subject, EVP_sha256()) > 0);
        return certificate;
}

static void assert_openssl_made_opens(unsigned kind) {
        const unsigned flags = CMS_BINARY | CMS_PARTIAL | CMS_KEY_PARAM | kind;
        BIO *in = BIO_new_mem_buf("made elsewhere", -1);
        X509 *certificate = make_certificate(key);
        CMS_ContentInfo *cms = CMS_encrypt(NULL, in, EVP_aes_256_cbc(), flags);
        CMS_RecipientInfo *recipient = CMS_add1_recipient_cert(cms, certificate, flags);
        EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(recipient);
        uint8_t *data = NULL;
        int size;

        assert_true(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
                    EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) > 0 &&
                    EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) > 0);
        assert_true(CMS_final(cms, in, NULL, flags));
        size = i2d_CMS_ContentInfo(cms, &data);
        assert_true(size > 0);
        assert_opens(data, (size_t) size, key, "made elsewhere", 14);

        OPENSSL_free(data);
        CMS_ContentInfo_free(cms);
        X509_free(certificate);
        BIO_free(in);
}

static void test_an_envelope_made_by_openssl_opens(void **state) {
        assert_openssl_made_opens(CMS_USE_KEYID);
        assert_openssl_made_opens(0); /* issuer and serial number */
}

static void test_a_recipient_has_the_key_pair_it_was_asked_for(void **state) {
        for (unsigned bits = 2048; bits <= 3072; bits += 1024) {
                _cleanup_(recipient_freep) Recipient *recipient = NULL;
                const uint8_t *p;
                static Bytes envelope;
                EVP_PKEY *decoded;
                BIGNUM *exponent = NULL;
                Slice public_key;
                Error error;

                assert_int_equal(recipient_new(bits, &recipient, &error), 0);
                public_key = recipient_public_key(recipient);
                assert_true(public_key.size > bits / 8 && public_key.size <= 1024);
                p = public_key.data;
                decoded = d2i_PUBKEY(NULL, &p, (long) public_key.size);
                assert_non_null(decoded);
                assert_ptr_equal(p, public_key.data + public_key.size);
                assert_int_equal(EVP_PKEY_get_bits(decoded), bits);
                assert_true(EVP_PKEY_get_bn_param(decoded, "e", &exponent));
                assert_int_equal(BN_get_word(exponent), 65537);

                _cleanup_secret_ Secret *secret = NULL;
                make_envelope(decoded, &(Shape){}, "for this boot", 13, &envelope);
                assert_int_equal(recipient_open(recipient, envelope.data, envelope.size, &secret, &error),
                                 0);
                assert_memory_equal(secret_bytes(secret), "for this boot", 13);
                BN_free(exponent);
                EVP_PKEY_free(decoded);
        }
}

static void test_a_recipient_does_not_say_which_step_failed(void **state) {
        _cleanup_(recipient_freep) Recipient *recipient = NULL;
        Error garbled = {}, foreign = {};
        static Bytes envelope;
        Secret *secret = NULL;

        assert_int_equal(recipient_new(2048, &recipient, NULL), 0);
        make_envelope(key, &(Shape){ .issuer = true }, "secret", 6, &envelope);
        assert_int_equal(recipient_open(recipient, envelope.data, envelope.size, &secret, &foreign),
                         -EBADMSG);
        assert_int_equal(recipient_open(recipient, envelope.data, envelope.size - 1, &secret, &garbled),
                         -EBADMSG);
        assert_null(secret);
        assert_int_equal(foreign.failure, FAILURE_ANSWER);
        assert_int_equal(foreign.remedy, REMEDY_NONE);
        assert_memory_equal(&foreign, &garbled, sizeof(foreign));
}

static void test_a_recipient_says_that_an_envelope_is_for_another_key(void **state) {
        _cleanup_(recipient_freep) Recipient *recipient = NULL;
        static Bytes envelope;
        Secret *secret = NULL;
        Error error = {};

        assert_int_equal(recipient_new(2048, &recipient, NULL), 0);
        make_envelope(key, &(Shape){}, "secret", 6, &envelope);
        assert_int_equal(recipient_open(recipient, envelope.data, envelope.size, &secret, &error), -EBADMSG);
        assert_null(secret);
        assert_int_equal(error.failure, FAILURE_ANSWER);
        assert_non_null(strstr(error.text, "its key identifier differs"));
}

/* The result is a failure of OpenSSL, which says nothing about the envelope. */
static void assert_says_nothing(const Bytes *envelope, EVP_PKEY *with) {
        Secret *secret = NULL;
        int r = cms_open(envelope->data, envelope->size, with, &secret);

        if (r >= 0 || r == -EBADMSG || r == -ENOKEY || r == -EKEYREJECTED)
                fail_msg("saw %d", r);
        assert_null(secret);
}

static void test_a_failure_of_openssl_is_no_verdict_on_the_envelope(void **state) {
        static Bytes envelope;

        make_envelope(key, &(Shape){}, "secret", 6, &envelope);
        broken.i2d = true;
        for (broken.i2d_result = -1; broken.i2d_result <= 0; broken.i2d_result++) {
                Recipient *recipient = NULL;
                Error error = {};

                assert_says_nothing(&envelope, other_key);
                assert_true(recipient_new(2048, &recipient, &error) < 0);
                assert_null(recipient);
                assert_int_equal(error.failure, FAILURE_INTERNAL);
                assert_non_null(strstr(error.text, "cannot encode the public key"));
        }
        broken.i2d = false;
        broken.init = true;
        assert_says_nothing(&envelope, key);
        broken.init = false;
        assert_opens(envelope.data, envelope.size, key, "secret", 6);
}

static void test_a_lack_of_memory_is_no_verdict_on_the_envelope(void **state) {
        Recipient *recipient = NULL;
        static Bytes envelope;
        Error error = {};

        make_envelope(key, &(Shape){}, "secret", 6, &envelope);
        /* Of the content-encryption key, then of the plaintext. */
        for (unsigned n = 1; n <= 2; n++) {
                broken.lock = n;
                assert_fails(&envelope, key, -ENOMEM, "a lack of locked memory");
                assert_int_equal(broken.lock, 0);
        }
        broken.reason = ERR_R_MALLOC_FAILURE;
        broken.update = true;
        assert_fails(&envelope, key, -ENOMEM, "a lack of memory of OpenSSL");
        broken.update = false;
        broken.i2d = true;
        broken.i2d_result = -1;
        assert_fails(&envelope, other_key, -ENOMEM, "a lack of memory of OpenSSL");
        assert_int_equal(recipient_new(2048, &recipient, &error), -ENOMEM);
        assert_null(recipient);
        assert_string_equal(error.text, "Out of memory.");
        broken.i2d = false;
        broken.number = true;
        assert_int_equal(recipient_new(2048, &recipient, &error), -ENOMEM);
        assert_null(recipient);
        broken.number = false;
        broken.reason = 0;
        assert_opens(envelope.data, envelope.size, key, "secret", 6);
}

static void test_other_key_sizes_are_refused(void **state) {
        static const unsigned sizes[] = { 0, 512, 1024, 2047, 2049, 8192 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                Recipient *recipient = NULL;
                Error error = {};

                assert_int_equal(recipient_new(sizes[i], &recipient, &error), -EINVAL);
                assert_null(recipient);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        }
        assert_null(recipient_free(NULL));
}

static int set_up(void **state) {
        key = EVP_RSA_gen(2048);
        other_key = EVP_RSA_gen(2048);
        return key && other_key ? 0 : -1;
}

static int tear_down(void **state) {
        EVP_PKEY_free(key);
        EVP_PKEY_free(other_key);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_envelopes_have_their_parts),
                cmocka_unit_test(test_no_byte_around_the_parts_may_differ),
                cmocka_unit_test(test_an_envelope_ends_where_it_ends),
                cmocka_unit_test(test_envelopes_open_in_all_shapes_that_kms_may_send),
                cmocka_unit_test(test_other_shapes_are_refused),
                cmocka_unit_test(test_the_content_has_up_to_32_segments),
                cmocka_unit_test(test_an_envelope_has_up_to_16_kib),
                cmocka_unit_test(test_lengths_have_up_to_four_octets),
                cmocka_unit_test(test_keys_that_do_not_unwrap_are_rejected),
                cmocka_unit_test(test_a_key_that_is_not_rsa_is_rejected),
                cmocka_unit_test(test_a_wrong_key_never_opens_by_luck),
                cmocka_unit_test(test_a_changed_wrapped_key_never_opens),
                cmocka_unit_test(test_a_key_identifier_explains_a_failure_and_decides_nothing),
                cmocka_unit_test(test_an_envelope_made_by_openssl_opens),
                cmocka_unit_test(test_a_recipient_has_the_key_pair_it_was_asked_for),
                cmocka_unit_test(test_a_recipient_does_not_say_which_step_failed),
                cmocka_unit_test(test_a_recipient_says_that_an_envelope_is_for_another_key),
                cmocka_unit_test(test_a_failure_of_openssl_is_no_verdict_on_the_envelope),
                cmocka_unit_test(test_a_lack_of_memory_is_no_verdict_on_the_envelope),
                cmocka_unit_test(test_other_key_sizes_are_refused),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
