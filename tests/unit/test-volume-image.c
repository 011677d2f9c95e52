/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "basic/encoding.h"
#include "unsealctl/volume/block-hash.h"
#include "unsealctl/volume/file-system-form.h"
#include "unsealctl/volume/sector-cipher.h"
#include "unsealctl/volume/volume-checker.h"
#include "unsealctl/volume/volume-writer.h"

#define SALT 0x5a

static void fill_block(uint8_t *block, uint64_t number) {
        for (size_t i = 0; i < VOLUME_BLOCK_SIZE; i++)
                block[i] = (uint8_t) (i * 7 + number);
}

/* A file of so many bytes of such blocks. */
static int make_file_system(uint64_t size) {
        int fd = memfd_create("file-system", MFD_CLOEXEC);
        uint8_t block[VOLUME_BLOCK_SIZE];

        assert_true(fd >= 0);
        for (uint64_t at = 0; at < size; at += VOLUME_BLOCK_SIZE) {
                fill_block(block, at / VOLUME_BLOCK_SIZE);
                assert_int_equal(write(fd, block, VOLUME_BLOCK_SIZE), VOLUME_BLOCK_SIZE);
        }
        assert_int_equal(ftruncate(fd, (off_t) size), 0);
        return fd;
}

static void make_key(uint64_t size, VolumeKey *ret) {
        *ret = (VolumeKey){ .name = "weights", .data_size = size };
        assert_int_equal(volume_key_lay_out(ret), 0);
        assert_int_equal(secret_new(VOLUME_KEY_SIZE, &ret->key), 0);
        for (uint8_t i = 0; i < VOLUME_KEY_SIZE; i++)
                secret_bytes(ret->key)[i] = i;
        memset(ret->salt, SALT, sizeof(ret->salt));
}

static void assert_hex(const char *what, const uint8_t *bytes, const char *wanted) {
        _cleanup_free_ char *saw = NULL;

        assert_int_equal(hex_encode(bytes, 32, &saw), 0);
        if (strcmp(saw, wanted) != 0)
                fail_msg("%s: saw %s, wanted %s", what, saw, wanted);
}

/* Makes an image, and returns its descriptor. */
static int make_image(uint64_t size, VolumeKey *ret) {
        _cleanup_close_ int file_system = make_file_system(size);
        Progress progress = {};
        Error error = {};
        int fd = memfd_create("image", MFD_CLOEXEC);

        assert_true(fd >= 0);
        make_key(size, ret);
        if (volume_write(ret, file_system, fd, &progress, &error) < 0)
                fail_msg("%s", error.text);
        assert_int_equal(lseek(fd, 0, SEEK_END), ret->size);
        return fd;
}

/* Python's cryptography made the digests, with the tweak 8 times the number of the block. tests/integration/volume-create.sh compares
 * with the kernel. */
static void test_cipher_agrees_with_another_program(void **state) {
        static const struct {
                uint64_t block;
                const char *digest;
        } rows[] = {
                { 0, "a5e38d1bf6ebb1b66e096f216711d38c90ccd3bfe50d205032336fddf71d4883" },
                { 1, "9a89c74d11f91943f32c020bc6c7b6ba012410499e96be62a4c4717086a9270a" },
                { 300, "452eddc067c622bbdaef3556957c1fc585eaeb01a4dec3c4dea45c585dfa2f47" },
                { UINT64_C(1) << 32, "66f988a607d7276c5ff41ad7258a80d756c5741264b65aca386499ef12f962ee" },
        };
        _cleanup_volume_key_ VolumeKey key = {};

        make_key(4096, &key);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(sector_cipher_freep) SectorCipher *encrypt = NULL, *decrypt = NULL;
                uint8_t block[VOLUME_BLOCK_SIZE], clear[VOLUME_BLOCK_SIZE], digest[32];

                fill_block(clear, rows[i].block & 255);
                memcpy(block, clear, sizeof(block));
                assert_int_equal(sector_cipher_new(key.key, true, &encrypt), 0);
                assert_int_equal(sector_cipher_new(key.key, false, &decrypt), 0);
                assert_int_equal(sector_cipher_run(encrypt, rows[i].block, block, 1), 0);
                assert_true(EVP_Digest(block, sizeof(block), digest, NULL, EVP_sha256(), NULL) > 0);
                assert_hex("the ciphertext", digest, rows[i].digest);
                assert_int_equal(sector_cipher_run(decrypt, rows[i].block, block, 1), 0);
                assert_memory_equal(block, clear, sizeof(block));
        }
}

/* "veritysetup format --no-superblock" printed the root hashes, over files with the same bytes. */
static void test_tree_agrees_with_veritysetup(void **state) {
        static const struct {
                uint64_t size;
                const char *root_hash;
        } rows[] = {
                { 1 * 4096, "dbca5728564fe0ffcbaefdba776c59cbd2f03245bbeb107211d24ab4feafadc2" },
                { 1 * 4096 - 100, "4be165d48fd3eb9cd6624868de05cdc406a70e6b2f0fbb6e95e5062d5ffd6584" },
                { 2 * 4096, "c09657dec5c49fa1fd8805d7a6620e7467a7c5e84ec20e3a739d5beda83a2c43" },
                { 128 * 4096, "c775e02d435406caba190d19f5aef1054ebdfde46f61dba8bff8becd06c51cf8" },
                { 129 * 4096, "ab4a87cda17493cd2c4da3e3b2dd4fc22fcfd7a4424ad08fc7954edeec61aa59" },
                { 300 * 4096, "a379c5b277de45473ce4e28da6c42b2cacc140211810a7e6cd06d86313fcdb83" },
                { 700 * 4096 - 4095, "4673aefa8698cb9fe266b55e24f4cef6b29bc5bc9c8922ac85e8baec36ff3c8b" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_volume_key_ VolumeKey key = {};
                _cleanup_close_ int image = make_image(rows[i].size, &key);

                assert_hex("the root hash", key.root_hash, rows[i].root_hash);
        }
}

static int check(const VolumeKey *key, int image, Error *error) {
        Progress progress = {};

        return volume_check(key, image, (uint64_t) lseek(image, 0, SEEK_END), &progress, error);
}

static void flip(int image, uint64_t at) {
        uint8_t byte;

        assert_int_equal(pread(image, &byte, 1, (off_t) at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(image, &byte, 1, (off_t) at), 1);
}

static void test_check_accepts_what_was_written(void **state) {
        static const uint64_t sizes[] = { 1, 4096, 4097, 129 * 4096, 700 * 4096 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_volume_key_ VolumeKey key = {};
                _cleanup_close_ int image = make_image(sizes[i], &key);
                Error error = {};

                if (check(&key, image, &error) < 0)
                        fail_msg("%s", error.text);
                /* An EBS volume is longer. */
                assert_int_equal(ftruncate(image, (off_t) key.size + 12345), 0);
                assert_int_equal(check(&key, image, &error), 0);
                assert_int_equal(ftruncate(image, (off_t) key.size - 1), 0);
                assert_int_equal(check(&key, image, &error), -ENODATA);
                assert_int_equal(error.failure, FAILURE_CIPHERTEXT);
        }
}

/* One bit in each block of a volume of three levels: the check names this block. */
static void test_check_names_the_block_that_was_changed(void **state) {
        _cleanup_volume_key_ VolumeKey key = {};
        _cleanup_close_ int image = make_image(700 * 4096, &key);
        Error error = {};

        for (uint64_t block = 0; block < key.size / 4096; block += block < 690 ? 23 : 1) {
                _cleanup_free_ char *wanted = NULL;

                flip(image, block * 4096 + block % 4096);
                assert_true(asprintf(&wanted, "Block %llu of the image is wrong",
                                     (unsigned long long) block) > 0);
                if (check(&key, image, &error) != -EBADMSG || !strstr(error.text, wanted))
                        fail_msg("block %llu: saw %s", (unsigned long long) block, error.text);
                flip(image, block * 4096 + block % 4096);
        }
        assert_int_equal(check(&key, image, &error), 0);
}

static void test_check_names_the_first_of_several(void **state) {
        _cleanup_volume_key_ VolumeKey key = {};
        _cleanup_close_ int image = make_image(700 * 4096, &key);
        Error error = {};

        flip(image, 699 * 4096);
        flip(image, 300 * 4096);
        flip(image, 301 * 4096);
        assert_int_equal(check(&key, image, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "Block 300 of"));
}

static void test_check_refuses_another_key_salt_root_and_swapped_blocks(void **state) {
        _cleanup_volume_key_ VolumeKey key = {};
        _cleanup_close_ int image = make_image(300 * 4096, &key);
        uint8_t one[4096], other[4096];
        Error error = {};

        secret_bytes(key.key)[0] ^= 1;
        assert_int_equal(check(&key, image, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "which the root hash is of"));
        secret_bytes(key.key)[0] ^= 1;
        key.salt[0] ^= 1;
        assert_int_equal(check(&key, image, &error), -EBADMSG);
        key.salt[0] ^= 1;
        key.root_hash[31] ^= 1;
        assert_int_equal(check(&key, image, &error), -EBADMSG);
        key.root_hash[31] ^= 1;
        assert_int_equal(check(&key, image, &error), 0);
        assert_int_equal(pread(image, one, 4096, 3 * 4096), 4096);
        assert_int_equal(pread(image, other, 4096, 4 * 4096), 4096);
        assert_int_equal(pwrite(image, other, 4096, 3 * 4096), 4096);
        assert_int_equal(pwrite(image, one, 4096, 4 * 4096), 4096);
        assert_int_equal(check(&key, image, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "Block 3 of"));
}

/* XTS shows which blocks are equal only at one place of one key. */
static void test_equal_blocks_differ_in_the_image(void **state) {
        _cleanup_volume_key_ VolumeKey key = {};
        _cleanup_close_ int image = make_image(300 * 4096, &key);
        uint8_t one[4096], other[4096]; /* blocks 0 and 256 have the same bytes in the clear */

        assert_int_equal(pread(image, one, 4096, 0), 4096);
        assert_int_equal(pread(image, other, 4096, 256 * 4096), 4096);
        assert_memory_not_equal(one, other, 4096);
}

static void test_write_says_what_failed(void **state) {
        _cleanup_volume_key_ VolumeKey key = {};
        _cleanup_close_ int file_system = make_file_system(300 * 4096), output = -1;
        Progress progress = {};
        Error error = {};

        make_key(300 * 4096, &key);
        assert_int_equal(volume_write(&key, file_system, -1, &progress, &error), -EBADF);
        assert_int_equal(error.failure, FAILURE_STORE);
        output = memfd_create("image", MFD_CLOEXEC);
        assert_int_equal(volume_write(&key, -1, output, &progress, &error), -EBADF);
        assert_int_equal(error.failure, FAILURE_SOURCE);
        assert_int_equal(ftruncate(file_system, 299 * 4096), 0);
        assert_int_equal(volume_write(&key, file_system, output, &progress, &error), -ENODATA);
        assert_int_equal(error.failure, FAILURE_SOURCE);
}

static void test_knows_file_systems(void **state) {
        uint8_t begin[FILE_SYSTEM_BEGIN] = {};

        assert_int_equal(file_system_kind(begin), FILE_SYSTEM_NONE);
        memcpy(begin, "hsqs", 4);
        assert_int_equal(file_system_kind(begin), FILE_SYSTEM_SQUASHFS);
        memcpy(begin + 1024, "\xe2\xe1\xf5\xe0", 4);
        assert_int_equal(file_system_kind(begin), FILE_SYSTEM_EROFS);
}

static void test_knows_memory_and_swap(void **state) {
        static const char titles[] = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        char swaps[256];

        assert_int_equal(memory_available("MemTotal: 8 kB\nMemAvailable:    1234 kB\nX: 1 kB\n"),
                         1234 * 1024);
        assert_int_equal(memory_available("MemTotal: 8 kB\n"), 0);
        assert_int_equal(memory_available("MemAvailable: many kB\n"), 0);
        assert_int_equal(memory_available("MemAvailable: 18446744073709551615 kB\n"), 0);
        assert_int_equal(file_system_estimate(1000, 1), 1000 + 4096 + 512);
        assert_true(file_system_estimate(UINT64_MAX - 1, 1) == UINT64_MAX);
        assert_true(file_system_estimate(0, UINT64_MAX / 4096) == UINT64_MAX);

        assert_false(swaps_have_disk(titles));
        assert_false(swaps_have_disk(""));
        (void) snprintf(swaps, sizeof(swaps), "%s/dev/zram0 partition 1 0 100\n", titles);
        assert_false(swaps_have_disk(swaps));
        (void) snprintf(swaps, sizeof(swaps), "%s/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n",
                        titles);
        assert_true(swaps_have_disk(swaps));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cipher_agrees_with_another_program),
                cmocka_unit_test(test_tree_agrees_with_veritysetup),
                cmocka_unit_test(test_check_accepts_what_was_written),
                cmocka_unit_test(test_check_names_the_block_that_was_changed),
                cmocka_unit_test(test_check_names_the_first_of_several),
                cmocka_unit_test(test_check_refuses_another_key_salt_root_and_swapped_blocks),
                cmocka_unit_test(test_equal_blocks_differ_in_the_image),
                cmocka_unit_test(test_write_says_what_failed),
                cmocka_unit_test(test_knows_file_systems),
                cmocka_unit_test(test_knows_memory_and_swap),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
