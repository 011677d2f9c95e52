/* SPDX-License-Identifier: Apache-2.0 */

/* The label of a read-write volume, its keys, and the superblock of dm-integrity. The expected values were made by Python's hashlib. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <openssl/evp.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "volume/label.h"
#include "volume/tag-superblock.h"

#define MIB (UINT64_C(1024) * 1024)

static uint8_t area[LABEL_AREA_SIZE];

typedef struct Salt {
        uint8_t bytes[STATE_SALT_SIZE];
} Salt;

static Salt make_salt(uint8_t byte) {
        Salt salt;

        memset(salt.bytes, byte, sizeof(salt.bytes));
        return salt;
}

static StateKeys make_keys_of(const char *volume, uint8_t first, uint8_t salt, bool unverified) {
        _cleanup_secret_ Secret *data_key = NULL;
        StateKeys keys = {};

        assert_int_equal(secret_new(STATE_DATA_KEY_MIN, &data_key), 0);
        for (unsigned i = 0; i < STATE_DATA_KEY_MIN; i++)
                secret_bytes(data_key)[i] = (uint8_t) (first + i);
        assert_int_equal(state_keys_derive(data_key, volume, &keys), 0);
        assert_null(keys.sectors);
        assert_int_equal(state_keys_derive_sectors(data_key, volume, make_salt(salt).bytes, unverified,
                                                   &keys),
                         0);
        return keys;
}

static StateKeys make_salted_keys(const char *volume, uint8_t first, uint8_t salt) {
        return make_keys_of(volume, first, salt, false);
}

static StateKeys make_keys(const char *volume, uint8_t first) {
        return make_salted_keys(volume, first, 0x55);
}

static Label make_label(uint64_t counter, LabelState state) {
        static const char part[] = "\x01"
                                   "ciphertext";
        Label label = { .volume = "state",
                        .state = state,
                        .counter = counter,
                        .device_size = 64 * MIB,
                        .ciphertext_size = 20 * strlen(part) };

        for (unsigned i = 0; i < 20; i++)
                memcpy(label.ciphertext + i * strlen(part), part, strlen(part));
        memset(label.salt, 0x55, sizeof(label.salt));
        if (state == LABEL_READY) {
                label.data_size = 32 * MIB;
                assert_int_equal(tag_superblock_make(UINT64_C(3) * 264, 32 * MIB / 512, label.superblock),
                                 0);
        }
        return label;
}

/* Its data have the whole device but for the label. */
static Label make_unverified_label(uint64_t counter, LabelState state) {
        Label label = make_label(counter, state);

        label.unverified = true;
        memset(label.superblock, 0, sizeof(label.superblock));
        if (state == LABEL_READY)
                label.data_size = 63 * MIB;
        return label;
}

static void put(unsigned copy, const Label *label, StateKeys *keys) {
        assert_int_equal(label_write(label, keys, area + label_copy_offset(copy)), 0);
}

static void test_each_purpose_has_its_key(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0), other = make_keys("stats", 0),
                                       again = make_salted_keys("state", 0, 0x56);
        static const char expected[] =
                        "4771064dd53d12420ae1486f11bae979db809c44d21b34bbe09bca915d234c53298b8b6c60a117cf8a6057890f74e22143262c3839e8f6ca1fea1ba5a0e911d3000f0c271f26cf821bcbb5d271b6c3859df6f6420cbf55a54ab43c8515be4869",
                          expected_label[] =
                                          "34e99b94806ddbfc635664c8759765c05537fd64d2f80672d34d70e97a789e92";
        _cleanup_free_ char *sectors = NULL, *label = NULL;

        (void) state;
        assert_int_equal(hex_encode(secret_bytes(keys.sectors), secret_size(keys.sectors), &sectors), 0);
        assert_int_equal(hex_encode(secret_bytes(keys.label), secret_size(keys.label), &label), 0);
        assert_string_equal(sectors, expected);
        assert_string_equal(label, expected_label);
        assert_memory_not_equal(secret_bytes(keys.sectors), secret_bytes(other.sectors), 16);
        assert_memory_not_equal(secret_bytes(keys.label), secret_bytes(other.label), 16);
        /* A new format has new keys for the sectors, and reads the same label. */
        assert_memory_not_equal(secret_bytes(keys.sectors), secret_bytes(again.sectors), 16);
        assert_memory_not_equal(secret_bytes(keys.sectors) + 64, secret_bytes(again.sectors) + 64, 16);
        assert_memory_equal(secret_bytes(keys.label), secret_bytes(again.label), 32);
}

/* Same data key, volume and salt: with tags and without, no byte of the keys is the same, but for the label's. */
static void test_keys_without_tags_are_others(void **state) {
        _cleanup_state_keys_ StateKeys with = make_keys("state", 0),
                                       without = make_keys_of("state", 0, 0x55, true);
        static const char expected[] =
                        "389c0e1f55ce6158de28911b045e8b640a3f94434cd75b904e16a5e378f07af4a143297f5c5c7949e0725f29fa6cde12bcaf10420683b413d911e2d879686f92";
        _cleanup_free_ char *sectors = NULL;

        (void) state;
        assert_int_equal(secret_size(with.sectors), STATE_ENCRYPTION_KEY_SIZE + STATE_INTEGRITY_KEY_SIZE);
        assert_int_equal(secret_size(without.sectors), STATE_ENCRYPTION_KEY_SIZE);
        assert_int_equal(hex_encode(secret_bytes(without.sectors), secret_size(without.sectors), &sectors),
                         0);
        assert_string_equal(sectors, expected);
        for (size_t half = 0; half < 64; half += 32)
                for (size_t other = 0; other < 96; other += 32)
                        assert_memory_not_equal(secret_bytes(without.sectors) + half,
                                                secret_bytes(with.sectors) + other, 16);
        assert_memory_equal(secret_bytes(with.label), secret_bytes(without.label), STATE_LABEL_KEY_SIZE);
}

static void test_short_data_key_is_refused(void **state) {
        _cleanup_secret_ Secret *data_key = NULL;
        StateKeys keys = {};

        (void) state;
        assert_int_equal(secret_new(STATE_DATA_KEY_MIN - 1, &data_key), 0);
        assert_int_equal(state_keys_derive(data_key, "state", &keys), -EINVAL);
        for (unsigned unverified = 0; unverified < 2; unverified++)
                assert_int_equal(state_keys_derive_sectors(data_key, "state", make_salt(1).bytes, unverified,
                                                           &keys),
                                 -EINVAL);
        assert_null(keys.sectors);
        assert_null(keys.label);
}

static void test_label_has_the_bytes_of_its_format(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        const struct {
                Label label;
                const char *digest;
        } cases[] = {
                { make_label(7, LABEL_READY),
                  "fafe912076912d73a7799546bf2dcfcf214f78fd08b5a51a73c8f96238d43a34" },
                { make_unverified_label(7, LABEL_READY),
                  "f80fd520306ed04e2cade8ef55d13c2bbb69bbf1ac2d4d6bdbcec3d6e8581747" },
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t block[LABEL_SIZE], digest[32];
                _cleanup_free_ char *text = NULL;

                assert_int_equal(label_write(&cases[i].label, &keys, block), 0);
                assert_int_equal(EVP_Digest(block, sizeof(block), digest, NULL, EVP_sha256(), NULL), 1);
                assert_int_equal(hex_encode(digest, sizeof(digest), &text), 0);
                assert_string_equal(text, cases[i].digest);
        }
}

static void test_label_reads_as_it_was_written(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        const Label label = make_label(UINT64_MAX, LABEL_READY);
        uint8_t block[LABEL_SIZE];
        Label again = {};

        (void) state;
        assert_int_equal(label_write(&label, &keys, block), 0);
        assert_int_equal(label_parse(block, &again), 0);
        assert_true(label_is_authentic(block, &keys));
        assert_string_equal(again.volume, "state");
        assert_int_equal(again.state, LABEL_READY);
        assert_false(again.unverified);
        assert_true(again.counter == UINT64_MAX);
        assert_int_equal(again.device_size, 64 * MIB);
        assert_int_equal(again.data_size, 32 * MIB);
        assert_memory_equal(again.superblock, label.superblock, sizeof(label.superblock));
        assert_int_equal(again.ciphertext_size, label.ciphertext_size);
        assert_memory_equal(again.ciphertext, label.ciphertext, sizeof(label.ciphertext));
}

static void test_label_says_that_there_are_no_tags(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        const Label labels[] = { make_unverified_label(1, LABEL_FORMATTING),
                                 make_unverified_label(2, LABEL_READY) };
        uint8_t block[LABEL_SIZE];

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                Label again = {};

                assert_int_equal(label_write(labels + i, &keys, block), 0);
                assert_int_equal(label_parse(block, &again), 0);
                assert_true(label_is_authentic(block, &keys));
                assert_true(again.unverified);
                assert_int_equal(again.state, labels[i].state);
                assert_true(again.data_size == labels[i].data_size);
        }
        /* Another number, with a digest that is right, is no label at all; nor is the other kind with the same MAC. */
        for (unsigned number = 0; number < 256; number++) {
                Label seen;

                block[211] = (uint8_t) number;
                assert_int_equal(EVP_Digest(block, 4032, block + 4032, NULL, EVP_sha256(), NULL), 1);
                assert_int_equal(label_parse(block, &seen), number == 1 ? 0 : -EBADMSG);
                assert_int_equal(label_is_authentic(block, &keys), number == 1);
        }
}

/* Whoever writes the device makes either kind of the other, with a digest that is right and all that belongs to it: the MAC shows it. */
static void test_kind_of_a_label_cannot_be_changed(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0), none = make_keys("state", 1);
        const Label labels[] = { make_label(7, LABEL_READY), make_unverified_label(7, LABEL_READY),
                                 make_label(7, LABEL_FORMATTING),
                                 make_unverified_label(7, LABEL_FORMATTING) };
        unsigned copy;
        Label seen;

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                uint8_t mac[32], *block = area;

                memset(area, 0, sizeof(area));
                put(0, labels + i, &keys);
                assert_int_equal(label_judge(area, &keys, &seen, &copy), LABEL_AREA_LABEL);
                assert_int_equal(seen.unverified, i % 2);
                memcpy(mac, block + 4064, sizeof(mac));
                put(0, labels + (i ^ 1), &none);
                memcpy(block + 4064, mac, sizeof(mac));
                assert_int_equal(label_judge(area, NULL, &seen, &copy), LABEL_AREA_LABEL);
                assert_int_equal(seen.unverified, 1 - i % 2);
                assert_int_equal(label_judge(area, &keys, &seen, &copy), LABEL_AREA_FOREIGN);
        }
}

/* Any bit that is changed shows at once, and with the digest made anew the MAC shows it. */
static void test_each_changed_bit_is_noticed(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        const Label label = make_label(7, LABEL_READY);
        uint8_t block[LABEL_SIZE];
        unsigned parsed = 0;
        Label seen;

        (void) state;
        assert_int_equal(label_write(&label, &keys, block), 0);
        for (unsigned bit = 0; bit < LABEL_SIZE * 8; bit += bit < 4096 ? 1 : 61) {
                block[bit / 8] ^= (uint8_t) (1U << bit % 8);
                assert_false(label_is_authentic(block, &keys));
                assert_int_equal(label_parse(block, &seen), bit / 8 >= 4064 ? 0 : -EBADMSG);
                if (bit / 8 < 4032) {
                        assert_int_equal(EVP_Digest(block, 4032, block + 4032, NULL, EVP_sha256(), NULL), 1);
                        parsed += label_parse(block, &seen) >= 0;
                        assert_false(label_is_authentic(block, &keys));
                }
                block[bit / 8] ^= (uint8_t) (1U << bit % 8);
                assert_int_equal(EVP_Digest(block, 4032, block + 4032, NULL, EVP_sha256(), NULL), 1);
        }
        assert_true(label_is_authentic(block, &keys));
        assert_true(parsed > 20); /* bits of the ciphertext and of sizes: only the MAC keeps these */
}

static void test_label_of_another_key_or_volume_is_not_authentic(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0), other_key = make_keys("state", 1),
                                       other_volume = make_keys("stats", 0);
        const Label label = make_label(7, LABEL_READY);
        uint8_t block[LABEL_SIZE];

        (void) state;
        assert_int_equal(label_write(&label, &keys, block), 0);
        assert_true(label_is_authentic(block, &keys));
        assert_false(label_is_authentic(block, &other_key));
        assert_false(label_is_authentic(block, &other_volume));
}

static void test_senseless_label_is_refused(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        uint8_t block[LABEL_SIZE];
        const Label good = make_label(7, LABEL_READY), formatting = make_label(7, LABEL_FORMATTING),
                    unverified = make_unverified_label(7, LABEL_READY);
        Label bad[] = { good, good,       good,       good, good,       good,       good,       good,
                        good, formatting, formatting, good, unverified, unverified, unverified, unverified };

        (void) state;
        bad[0].state = 0;
        bad[1].state = 3;
        bad[2].counter = 0;
        bad[3].counter = 0;
        bad[4].ciphertext_size = LABEL_CIPHERTEXT_MAX + 1;
        bad[5].data_size = 0;
        bad[6].data_size = UINT64_MAX - 4095;
        bad[7].data_size++;
        bad[8].device_size = LABEL_AREA_SIZE;
        bad[9].data_size = 4096;
        bad[10].superblock[8] = 4;
        bad[11].data_size = 63 * MIB; /* no room for a tag */
        bad[12].data_size += 4096;
        bad[13].data_size = 0;
        memcpy(bad[14].superblock, good.superblock, sizeof(good.superblock));
        bad[15].unverified = false; /* no superblock */
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(label_write(bad + i, &keys, block), -EINVAL);
        bad[0] = good;
        bad[0].volume[0] = '\0';
        assert_int_equal(label_write(bad, &keys, block), -EINVAL);
        memcpy(bad[0].volume, "..", 3);
        assert_int_equal(label_write(bad, &keys, block), 0);
        assert_int_equal(label_parse(block, &bad[1]), -EBADMSG);
        assert_int_equal(label_write(&good, &keys, block), 0);
        assert_int_equal(label_write(&formatting, &keys, block), 0);
        bad[0] = good;
        bad[0].ciphertext_size = 0;
        memset(bad[0].ciphertext, 0, sizeof(bad[0].ciphertext));
        assert_int_equal(label_write(bad, &keys, block), 0);
        assert_int_equal(label_parse(block, &bad[1]), 0);
}

static void test_larger_counter_counts(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        const Label older = make_label(7, LABEL_READY), newer = make_label(8, LABEL_READY);
        unsigned copy;
        Label seen;

        (void) state;
        for (unsigned with_keys = 0; with_keys < 2; with_keys++)
                for (unsigned at = 0; at < 2; at++) {
                        memset(area, 0, sizeof(area));
                        put(at, &newer, &keys);
                        put(1 - at, &older, &keys);
                        assert_int_equal(label_judge(area, with_keys ? &keys : NULL, &seen, &copy),
                                         LABEL_AREA_LABEL);
                        assert_int_equal(copy, at);
                        assert_int_equal(seen.counter, 8);
                        /* Its write was interrupted. */
                        area[label_copy_offset(at) + 4000] ^= 1;
                        assert_int_equal(label_judge(area, with_keys ? &keys : NULL, &seen, &copy),
                                         LABEL_AREA_LABEL);
                        assert_int_equal(copy, 1 - at);
                        assert_int_equal(seen.counter, 7);
                }
}

static void test_copy_of_another_key_does_not_count(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0), other = make_keys("state", 1);
        const Label mine = make_label(7, LABEL_READY), theirs = make_label(9, LABEL_READY);
        unsigned copy;
        Label seen;

        (void) state;
        memset(area, 0, sizeof(area));
        put(0, &mine, &keys);
        put(1, &theirs, &other);
        assert_int_equal(label_judge(area, NULL, &seen, &copy), LABEL_AREA_LABEL);
        assert_int_equal(seen.counter, 9); /* without a key it would have counted */
        assert_int_equal(label_judge(area, &keys, &seen, &copy), LABEL_AREA_LABEL);
        assert_int_equal(seen.counter, 7);
        put(0, &mine, &other);
        assert_int_equal(label_judge(area, &keys, &seen, &copy), LABEL_AREA_FOREIGN);
}

static void test_only_zeros_and_a_torn_first_label_are_blank(void **state) {
        _cleanup_state_keys_ StateKeys keys = make_keys("state", 0);
        const Label first = make_label(1, LABEL_FORMATTING);
        static const size_t places[] = { 0, 17, 4095, 4096, 512 * 1024, LABEL_AREA_SIZE - 1 };
        unsigned copy;
        Label seen;

        (void) state;
        memset(area, 0, sizeof(area));
        assert_int_equal(label_judge(area, NULL, &seen, &copy), LABEL_AREA_BLANK);
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                memset(area, 0, sizeof(area));
                area[places[i]] = 1;
                assert_int_equal(label_judge(area, NULL, &seen, &copy), LABEL_AREA_FOREIGN);
                assert_int_equal(label_judge(area, &keys, &seen, &copy), LABEL_AREA_FOREIGN);
        }
        /* The magic is there first; then any of the sectors. */
        for (unsigned written = 0; written < 255; written++) {
                uint8_t block[LABEL_SIZE];

                assert_int_equal(label_write(&first, &keys, block), 0);
                memset(area, 0, sizeof(area));
                memcpy(area, LABEL_MAGIC, sizeof(LABEL_MAGIC));
                for (unsigned sector = 0; sector < 8; sector++)
                        if (written & 1U << sector)
                                memcpy(area + sector * (size_t) LABEL_SECTOR,
                                       block + sector * (size_t) LABEL_SECTOR, LABEL_SECTOR);
                /* The first and the last sector have all that is not zero if the ciphertext is not. */
                assert_int_equal(label_judge(area, NULL, &seen, &copy),
                                 (written & 0x83) == 0x83 ? LABEL_AREA_LABEL : LABEL_AREA_BLANK);
                area[LABEL_AREA_SIZE / 2] = 1;
                if ((written & 0x83) != 0x83)
                        assert_int_equal(label_judge(area, NULL, &seen, &copy), LABEL_AREA_FOREIGN);
        }
}

/* The bytes are those of a kernel 6.1 with the options that unseald-volume gives; see the test of volumes in user-mode Linux. */
static void test_superblock_has_the_bytes_of_the_kernel(void **state) {
        static const uint8_t expected[LABEL_SUPERBLOCK_SIZE] = {
                'i', 'n', 't', 'e', 'g', 'r', 't', 0, 4, 15, 32, 0, 3, 0, 0,
                0,   0,   0,   1,   0,   0,   0,   0, 0, 8,  0,  0, 0, 3, 12
        };
        uint8_t made[LABEL_SUPERBLOCK_SIZE], space[TAG_SUPERBLOCK_SPACE] = {};

        (void) state;
        assert_int_equal(tag_superblock_make(UINT64_C(3) * 264, 65536, made), 0);
        assert_memory_equal(made, expected, sizeof(made));
        memcpy(space, made, sizeof(made));
        assert_true(tag_superblock_is(space, made));
        for (unsigned bit = 0; bit < TAG_SUPERBLOCK_SPACE * 8; bit++) {
                space[bit / 8] ^= (uint8_t) (1U << bit % 8);
                assert_false(tag_superblock_is(space, made));
                space[bit / 8] ^= (uint8_t) (1U << bit % 8);
        }
        assert_int_equal(tag_superblock_make(0, 65536, made), -EINVAL);
        assert_int_equal(tag_superblock_make(265, 65536, made), -EINVAL);
        assert_int_equal(tag_superblock_make(UINT64_C(264) * 1000, 65536, made), -EINVAL);
        assert_int_equal(tag_superblock_make(264, 0, made), -EINVAL);
        assert_int_equal(tag_superblock_make(264, 65537, made), -EINVAL);
        assert_int_equal(tag_journal_sectors(64 * MIB), 1024);
        assert_int_equal(tag_journal_sectors(UINT64_MAX), 131072);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_purpose_has_its_key),
                cmocka_unit_test(test_keys_without_tags_are_others),
                cmocka_unit_test(test_short_data_key_is_refused),
                cmocka_unit_test(test_label_has_the_bytes_of_its_format),
                cmocka_unit_test(test_label_reads_as_it_was_written),
                cmocka_unit_test(test_label_says_that_there_are_no_tags),
                cmocka_unit_test(test_kind_of_a_label_cannot_be_changed),
                cmocka_unit_test(test_each_changed_bit_is_noticed),
                cmocka_unit_test(test_label_of_another_key_or_volume_is_not_authentic),
                cmocka_unit_test(test_senseless_label_is_refused),
                cmocka_unit_test(test_larger_counter_counts),
                cmocka_unit_test(test_copy_of_another_key_does_not_count),
                cmocka_unit_test(test_only_zeros_and_a_torn_first_label_are_blank),
                cmocka_unit_test(test_superblock_has_the_bytes_of_the_kernel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
