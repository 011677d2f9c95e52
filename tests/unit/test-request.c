/* SPDX-License-Identifier: Apache-2.0 */

/* What is asked of KMS about a secret, and above all what a message must have before KMS is asked about it. */

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/encoding.h"
#include "unsealing/request.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/1111"
#define REPLICA "arn:aws:kms:eu-west-1:111111111111:key/1111"
#define FOREIGN "arn:aws:kms:eu-north-1:222222222222:key/2222"
#define PAIR "unseald:secret=db"
#define ACCOUNT REQUEST_ACCOUNT_KEY "333333333333"

/* A header of suite 0478, as the AWS Encryption SDK writes it. Its tag is not read here. */
typedef struct Message {
        uint8_t data[2048];
        size_t size;
} Message;

static void put(Message *message, const void *data, size_t size) {
        memcpy(message->data + message->size, data, size);
        message->size += size;
}

static void put_u16(Message *message, size_t number) {
        put(message, (const uint8_t[]){ (uint8_t) (number >> 8), (uint8_t) (number & 0xff) }, 2);
}

static void put_text(Message *message, const char *text, size_t size) {
        put_u16(message, size);
        put(message, text, size);
}

/* pairs: "KEY=VALUE" in the order of the keys, NULL-terminated. keys: the ARN of the KMS key of each data key. */
static Message make_message(const char *const *pairs, const char *const *keys, const char *provider) {
        Message message = {}, context = {};
        size_t n = 0;

        for (; pairs[n]; n++) {
                const char *value = strchr(pairs[n] + 1, '=') + 1;

                put_text(&context, pairs[n], (size_t) (value - 1 - pairs[n]));
                put_text(&context, value, strlen(value));
        }
        put(&message, "\x02\x04\x78", 3);
        put(&message, "the identifier of this message..", 32);
        put_u16(&message, 2 + context.size);
        put_u16(&message, n);
        put(&message, context.data, context.size);
        for (n = 0; keys[n]; n++)
                ;
        put_u16(&message, n);
        for (size_t i = 0; i < n; i++) {
                put_text(&message, provider, strlen(provider));
                put_text(&message, keys[i], strlen(keys[i]));
                put_text(&message, keys[i] + strlen(keys[i]) - 4, 4); /* the data key's ciphertext */
        }
        put(&message, "\x02\x00\x00\x10\x00", 5);
        put(&message, "a commitment of thirty-two bytes", 32);
        put(&message, "a tag of 16 byte", 16);
        return message;
}

/* The same header in version 1, with suite 0178, which does not commit to its data key. */
static Message make_uncommitted(const Message *committed) {
        const size_t begin = 3 + 32, end = 5 + 32 + 16;
        Message message = {};

        put(&message, "\x01\x80\x01\x78sixteen bytes id", 20);
        put(&message, committed->data + begin, committed->size - begin - end);
        put(&message, "\x02\0\0\0\0\x0c\0\0\x10\0", 10);
        put(&message, "twelve bytesa tag of 16 byte", 28);
        return message;
}

static char *context[] = { (char[]){ PAIR }, NULL };
static char *key_ids[] = { (char[]){ KEY }, (char[]){ REPLICA }, NULL };

static char name[] = "db", file[] = "/etc/unseald/secrets.d/db.secret";

static Declaration declaration_of_message(void) {
        return (Declaration){
                .name = name,
                .file = file,
                .encryption_context = context,
                .key_ids = key_ids,
                .format = FORMAT_MESSAGE,
                .size_max = 1000,
        };
}

static void assert_refused(const Declaration *declaration, const Message *message, const char *reason) {
        RequestMessage result = {};
        Error error = {};
        int r = request_message(declaration, (Slice){ message->data, message->size }, ACCOUNT, &result,
                                &error);

        if (r >= 0 || error.failure != FAILURE_CIPHERTEXT || !strstr(error.text, reason))
                fail_msg("%i, \"%s\"; wanted \"%s\"", r, error.text, reason);
        assert_null(result.context);
}

static void assert_data_key(const Declaration *declaration, const Message *message, const char *wanted) {
        RequestMessage result = {};
        Error error = {};

        if (request_message(declaration, (Slice){ message->data, message->size }, ACCOUNT, &result, &error) <
            0)
                fail_msg("%s", error.text);
        assert_int_equal(result.data_key.size, strlen(wanted));
        assert_memory_equal(result.data_key.data, wanted, strlen(wanted));
        request_message_clear(&result);
        assert_null(result.context);
}

#define PAIRS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_a_message_that_was_sealed_for_the_secret(void **state) {
        Declaration declaration = declaration_of_message();
        Message message = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms");

        assert_data_key(&declaration, &message, "1111");
        /* Writers add pairs of their own. */
        message = make_message(PAIRS("purpose=billing", PAIR), PAIRS(KEY), "aws-kms");
        assert_data_key(&declaration, &message, "1111");
}

static void test_the_data_key_of_the_first_pinned_key_is_taken(void **state) {
        Declaration declaration = declaration_of_message();
        char *other[] = { (char[]){ FOREIGN }, (char[]){ KEY }, NULL };
        Message message = make_message(PAIRS(PAIR), PAIRS(FOREIGN, REPLICA, KEY), "aws-kms");

        assert_data_key(&declaration, &message, "1111");
        declaration.key_ids = other;
        assert_data_key(&declaration, &message, "2222");
        message = make_message(PAIRS(PAIR), PAIRS(REPLICA), "aws-kms");
        assert_refused(&declaration, &message,
                       "None of the 1 data keys of the message was made by a KMS key in KeyId=");
        /* Another provider may write any ARN. */
        message = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kmx");
        assert_refused(&declaration, &message, "None of the 1 data keys");
}

static void test_a_pair_that_the_message_lacks_is_named(void **state) {
        char *two[] = { (char[]){ PAIR }, (char[]){ "stage=test" }, NULL };
        Declaration declaration = declaration_of_message();
        Message message = make_message(PAIRS("unseald:secret=other"), PAIRS(KEY), "aws-kms");

        assert_refused(&declaration, &message, "lacks the pair " PAIR ",");
        message = make_message(PAIRS("stage=production", PAIR), PAIRS(KEY), "aws-kms");
        assert_data_key(&declaration, &message, "1111");
        declaration.encryption_context = two;
        assert_refused(&declaration, &message, "lacks the pair stage=test,");
}

static void test_the_account_is_bound_from_both_sides(void **state) {
        Declaration declaration = declaration_of_message();
        Message bound = make_message(PAIRS(ACCOUNT, PAIR), PAIRS(KEY), "aws-kms"),
                of_other = make_message(PAIRS(REQUEST_ACCOUNT_KEY "999999999999", PAIR), PAIRS(KEY),
                                        "aws-kms"),
                free_one = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms");

        assert_refused(&declaration, &bound, "with the pair " ACCOUNT " ");
        assert_refused(&declaration, &of_other, "with the pair " REQUEST_ACCOUNT_KEY "999999999999 ");
        declaration.bind_account = true;
        assert_data_key(&declaration, &bound, "1111");
        assert_refused(&declaration, &of_other, "lacks the pair " ACCOUNT ",");
        assert_refused(&declaration, &free_one, "lacks the pair " ACCOUNT ",");
}

static void test_a_header_that_cannot_be_asked_about(void **state) {
        Declaration declaration = declaration_of_message();
        Message message = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms");

        message.size--;
        assert_refused(&declaration, &message, "The header of the message is not complete: it has at least");
        message = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms");
        message.data[2] = 0x79;
        assert_refused(&declaration, &message, "0479");
        /* The pair "=": its key is empty in KEY=VALUE. */
        message = make_message(PAIRS("a=b"), PAIRS(KEY), "aws-kms");
        message.data[41] = '=';
        assert_refused(&declaration, &message, "has an empty key");
}

static void test_a_message_that_does_not_commit_needs_a_setting(void **state) {
        Declaration declaration = declaration_of_message();
        Message committed = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms"),
                message = make_uncommitted(&committed);

        assert_refused(&declaration, &message, "set AllowUncommitted=yes");
        declaration.allow_uncommitted = true;
        assert_data_key(&declaration, &message, "1111");
}

static void test_the_pin_is_that_of_the_header_or_of_the_ciphertext(void **state) {
        Declaration declaration = declaration_of_message();
        Message message = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms");
        Error error = {};

        declaration.pinned = true;
        SHA256(message.data, message.size, declaration.pin);
        assert_int_equal(request_check_pin(&declaration, (Slice){ message.data, message.size }, &error), 0);
        put(&message, "frames", 6); /* they are no part of it */
        assert_data_key(&declaration, &message, "1111");
        message.data[10] ^= 1;
        assert_refused(&declaration, &message, "Sha256=");
        assert_true(request_check_pin(&declaration, (Slice){ message.data, 3 }, &error) < 0);
        assert_int_equal(error.failure, FAILURE_CIPHERTEXT);
        declaration.pinned = false;
        assert_int_equal(request_check_pin(&declaration, (Slice){ message.data, 3 }, &error), 0);
}

/* Signs with OpenSSL alone, by the text of unseald.secret(5), and writes what Signature= has. */
static size_t sign(EVP_PKEY *key, uint8_t version, const uint8_t *data, size_t size, char ret[static 512]) {
        EVP_MD_CTX *digest = EVP_MD_CTX_new();
        uint8_t message[21 + 3 + 8 + 48] = "unseald signature v1", bytes[64];
        size_t n = sizeof(bytes);
        char *encoded;

        memcpy(message + 21, name, 3);
        message[31] = version;
        assert_int_equal(EVP_Digest(data, size, message + 32, NULL, EVP_sha384(), NULL), 1);
        assert_int_equal(EVP_DigestSignInit(digest, NULL, NULL, NULL, key), 1);
        assert_int_equal(EVP_DigestSign(digest, bytes, &n, message, sizeof(message)), 1);
        EVP_MD_CTX_free(digest);
        assert_int_equal(base64_encode(bytes, n, &encoded), 0);
        n = (size_t) snprintf(ret, 512, "{\"version\": %u, \"signature\": \"%s\"}", version, encoded);
        free(encoded);
        return n;
}

/* Returns what request_check_signature() does, and checks the failure that it names. */
static int check_signature(const Declaration *declaration, const Message *message, const char *text,
                           size_t size, Failure failure) {
        const Slice sealed = { message->data, message->size }, signature = { (const uint8_t *) text, size };
        uint64_t version = 77;
        Error error = {};
        int r = request_check_signature(declaration, sealed, signature, &version, &error);

        if (error.failure != failure)
                fail_msg("failure %d, wanted %d: %s", error.failure, failure, error.text);
        assert_int_equal(version, r < 0 ? 77 : 5);
        return r;
}

static void test_the_signature_of_a_message_is_over_its_header(void **state) {
        Declaration declaration = declaration_of_message();
        Message header = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms"), message = header, other;
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        char text[512], of_all[512];
        size_t size = sign(key, 5, header.data, header.size, text), size_of_all;

        declaration.signing_key = key;
        declaration.signed_by = file;
        declaration.signature.label = file;
        declaration.version_min = 5;
        put(&message, "frames", 6);
        size_of_all = sign(key, 5, message.data, message.size, of_all);
        assert_int_equal(check_signature(&declaration, &message, text, size, FAILURE_NONE), 0);
        assert_int_equal(check_signature(&declaration, &message, of_all, size_of_all, FAILURE_SIGNATURE),
                         -EKEYREJECTED);
        for (size_t i = 0; i < message.size; i++) {
                Error error = {};
                uint64_t version;
                int r;

                other = message;
                other.data[i] ^= 1;
                r = request_check_signature(&declaration, (Slice){ other.data, other.size },
                                            (Slice){ (const uint8_t *) text, size }, &version, &error);
                if ((r >= 0) != (i >= header.size))
                        fail_msg("byte %zu of %zu: %d, %s", i, message.size, r, error.text);
        }
        other = header;
        other.size--;
        assert_int_equal(check_signature(&declaration, &other, text, size, FAILURE_CIPHERTEXT), -EBADMSG);

        declaration.version_min = 6;
        assert_int_equal(check_signature(&declaration, &message, text, size, FAILURE_SIGNATURE), -ESTALE);
        declaration.version_min = 5;
        declaration.format = FORMAT_BUNDLE;
        assert_int_equal(check_signature(&declaration, &message, text, size, FAILURE_NONE), 0);
        declaration.format = FORMAT_KMS; /* all bytes are signed */
        assert_int_equal(check_signature(&declaration, &message, text, size, FAILURE_SIGNATURE),
                         -EKEYREJECTED);
        assert_int_equal(check_signature(&declaration, &message, of_all, size_of_all, FAILURE_NONE), 0);

        /* A message of a suite that the declaration does not take is refused before its signature is. */
        declaration.format = FORMAT_MESSAGE;
        other = make_uncommitted(&header);
        size = sign(key, 5, other.data, other.size, text);
        assert_int_equal(check_signature(&declaration, &other, text, size, FAILURE_CIPHERTEXT), -EPERM);
        declaration.allow_uncommitted = true;
        assert_int_equal(check_signature(&declaration, &other, text, size, FAILURE_NONE), 0);
        EVP_PKEY_free(key);
}

static void test_a_message_is_no_ciphertext_of_kms(void **state) {
        static const uint8_t ciphertext[] = { 1, 2, 2, 0, 'x', 1, 2, 3 };
        Declaration declaration = declaration_of_message();
        Message message = make_message(PAIRS(PAIR), PAIRS(KEY), "aws-kms");
        Error error = {};

        declaration.format = FORMAT_KMS;
        assert_int_equal(request_check_ciphertext(&declaration, (Slice){ ciphertext, sizeof(ciphertext) },
                                                  &error),
                         0);
        assert_int_equal(request_check_ciphertext(&declaration, (Slice){ message.data, message.size },
                                                  &error),
                         -EBADMSG);
        assert_int_equal(error.failure, FAILURE_CIPHERTEXT);
        assert_non_null(strstr(error.text, "Set Format=message"));
        declaration.pinned = true;
        assert_true(request_check_ciphertext(&declaration, (Slice){ ciphertext, sizeof(ciphertext) },
                                             &error) < 0);
        assert_non_null(strstr(error.text, "Sha256="));
}

static void test_the_target_and_the_fetch(void **state) {
        Declaration declaration = declaration_of_message();
        Source signature = { .is_signature = true };
        Settings settings = { .fips = true };
        RequestTarget target = {};
        Error error = {};
        Fetch fetch;

        assert_int_equal(request_target(&settings, &declaration, &target, &error), 0);
        assert_string_equal(target.endpoint, "https://kms-fips.eu-north-1.amazonaws.com");
        assert_string_equal(target.source_region, "eu-north-1");
        fetch = request_fetch(&settings, &declaration, &target, &declaration.source);
        assert_int_equal(fetch.maximum, MESSAGE_HEADER_MAX + 2000);
        assert_true(fetch.fips);
        assert_ptr_equal(fetch.region, target.source_region);
        fetch = request_fetch(&settings, &declaration, &target, &signature);
        assert_int_equal(fetch.maximum, SIGNATURE_FILE_MAX);
        assert_ptr_equal(fetch.region, target.signature_region);
        declaration.format = FORMAT_KMS;
        assert_int_equal(request_maximum(&declaration, &declaration.source), 1000);
        request_target_clear(&target);
        assert_null(target.endpoint);

        declaration.source_region = (char[]){ "eu-south-1" };
        assert_int_equal(request_target(&settings, &declaration, &target, &error), 0);
        assert_string_equal(target.source_region, "eu-south-1");
        request_target_clear(&target);

        declaration.key_ids =
                        (char *[]){ (char[]){ "arn:aws-none:kms:eu-north-1:111111111111:key/1111" }, NULL };
        assert_true(request_target(&settings, &declaration, &target, &error) < 0);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_non_null(strstr(error.text, "no endpoint of KMS is known"));
}

#define MRK(region) "arn:aws:kms:" region ":111111111111:key/mrk-1111"

static void test_the_keys_that_kms_may_be_asked_for(void **state) {
        Declaration declaration = { .name = name, .file = file, .encryption_context = context };
        Settings settings = {};
        RequestKey *keys;
        size_t count;
        Error error;

        declaration.key_ids = (char *[]){ (char[]){ MRK("eu-north-1") },
                                          (char[]){ MRK("eu-west-1") },
                                          (char[]){ "arn:aws:kms:eu-west-1:222222222222:key/mrk-1111" },
                                          (char[]){ "arn:aws-none:kms:eu-west-1:111111111111:key/mrk-1111" },
                                          (char[]){ FOREIGN },
                                          (char[]){ MRK("eu-south-1") },
                                          NULL };
        assert_int_equal(request_keys(&settings, &declaration, &keys, &count, &error), 0);
        assert_int_equal(count, 3);
        assert_string_equal(keys[0].endpoint, "https://kms.eu-north-1.amazonaws.com");
        assert_ptr_equal(keys[1].arn, declaration.key_ids[1]);
        assert_string_equal(keys[1].endpoint, "https://kms.eu-west-1.amazonaws.com");
        assert_string_equal(keys[2].key.region, "eu-south-1");
        request_keys_free(keys, count);

        /* A message may have a data key of each. */
        declaration.format = FORMAT_MESSAGE;
        assert_int_equal(request_keys(&settings, &declaration, &keys, &count, &error), 0);
        assert_int_equal(count, 5);
        assert_string_equal(keys[3].arn, FOREIGN);
        request_keys_free(keys, count);

        declaration.key_ids += 3;
        assert_true(request_keys(&settings, &declaration, &keys, &count, &error) < 0);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
}

static void test_which_data_key_of_a_message_a_key_opens(void **state) {
        const char *made_by[] = { FOREIGN, MRK("eu-west-1"), KEY, MRK("ap-east-1"), NULL };
        const Message message = make_message((const char *[]){ PAIR, NULL }, made_by, "aws-kms");
        Declaration declaration = declaration_of_message();
        Settings settings = {};
        MessageHeader header;
        RequestKey *keys;
        size_t count;
        Error error;
        Slice data_key;

        declaration.key_ids = (char *[]){ (char[]){ MRK("eu-north-1") }, (char[]){ MRK("eu-west-1") },
                                          (char[]){ KEY }, (char[]){ REPLICA }, NULL };
        assert_int_equal(
                        request_header(&declaration, (Slice){ message.data, message.size }, &header, &error),
                        0);
        assert_int_equal(request_keys(&settings, &declaration, &keys, &count, &error), 0);
        assert_int_equal(count, 4);
        /* The first key is a replica of the one that made the second data key. */
        for (size_t i = 0; i < 2; i++) {
                assert_true(request_data_key(&declaration, &header, keys + i, &data_key));
                assert_ptr_equal(data_key.data, header.data_keys[1].ciphertext.data);
        }
        assert_true(request_data_key(&declaration, &header, keys + 2, &data_key));
        assert_ptr_equal(data_key.data, header.data_keys[2].ciphertext.data);
        /* This one has the same ID, but is no multi-Region key. */
        assert_false(request_data_key(&declaration, &header, keys + 3, &data_key));
        /* A data key of a replica that KeyId= does not name is none. */
        declaration.key_ids[1] = declaration.key_ids[2];
        assert_false(request_data_key(&declaration, &header, keys, &data_key));
        request_keys_free(keys, count);
}

static void test_what_kms_is_asked(void **state) {
        Declaration declaration = declaration_of_message();
        const char **pairs = request_context(&declaration, ACCOUNT);
        KmsDecrypt decrypt = request_decrypt(&declaration, pairs, (Slice){ (const uint8_t *) "x", 1 });

        assert_string_equal(pairs[0], PAIR);
        assert_null(pairs[1]);
        assert_ptr_equal(decrypt.encryption_context, pairs);
        assert_ptr_equal(decrypt.key_ids, key_ids);
        assert_int_equal(decrypt.ciphertext.size, 1);
        free(pairs);
        declaration.bind_account = true;
        pairs = request_context(&declaration, ACCOUNT);
        assert_string_equal(pairs[1], ACCOUNT);
        assert_null(pairs[2]);
        free(pairs);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_message_that_was_sealed_for_the_secret),
                cmocka_unit_test(test_the_data_key_of_the_first_pinned_key_is_taken),
                cmocka_unit_test(test_a_pair_that_the_message_lacks_is_named),
                cmocka_unit_test(test_the_account_is_bound_from_both_sides),
                cmocka_unit_test(test_a_header_that_cannot_be_asked_about),
                cmocka_unit_test(test_a_message_that_does_not_commit_needs_a_setting),
                cmocka_unit_test(test_the_pin_is_that_of_the_header_or_of_the_ciphertext),
                cmocka_unit_test(test_the_signature_of_a_message_is_over_its_header),
                cmocka_unit_test(test_a_message_is_no_ciphertext_of_kms),
                cmocka_unit_test(test_the_target_and_the_fetch),
                cmocka_unit_test(test_the_keys_that_kms_may_be_asked_for),
                cmocka_unit_test(test_which_data_key_of_a_message_a_key_opens),
                cmocka_unit_test(test_what_kms_is_asked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
