/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uchar.h>
/* cmocka wants the above first */
#include <cmocka.h>

#include "basic/encoding.h"
#include "basic/io.h"
#include "unsealctl/measure/prediction.h"

#define ZERO_PCR \
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

/* Values from real firmware: OVMF with the variables of tests/vectors/efi, and without. */
#define PCR7_OFF \
        "98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e3578ae72d04ecef661f272d59058b77af35"
#define PCR7_DB1 \
        "8e17b68ef297a7b9e7b7e7eefa154b2f7caa98206da3ae13dd8ae8b61868f79ddb1f406dda522a9c2102f28201cdd5db"
#define PCR7_DB2_DB1 \
        "5f25b13e7a557d5e6268f30aac701fd3af8707b68556c86cb63fa426fed948a205a4b290b733e97d7d914ab5a87960ff"

typedef struct File {
        uint8_t *data;
        size_t size;
} File;

static File load(const char *name) {
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        char path[512];
        File file;
        int r;

        assert_non_null(vectors);
        (void) snprintf(path, sizeof(path), "%s/efi/%s", vectors, name);
        r = read_file(path, 1U << 20, &file.data, &file.size);
        if (r < 0)
                fail_msg("%s: %s", path, strerror(-r));
        return file;
}

static void file_done(File *file) {
        free(file->data);
}
#define _cleanup_file_ _cleanup_(file_done)

static Slice bytes(const File *file) {
        return (Slice){ file->data, file->size };
}

/* The variables of that firmware. */
typedef struct Keys {
        File pk, kek, db, dbx;
} Keys;

static Keys load_keys(void) {
        return (Keys){ load("PK.esl"), load("KEK.esl"), load("db.esl"), load("dbx.esl") };
}

static void keys_done(Keys *keys) {
        file_done(&keys->pk);
        file_done(&keys->kek);
        file_done(&keys->db);
        file_done(&keys->dbx);
}

static SecureBootVariables variables_of(const Keys *keys) {
        return (SecureBootVariables){ bytes(&keys->pk), bytes(&keys->kek), bytes(&keys->db),
                                      bytes(&keys->dbx) };
}

static void assert_pcr(const Prediction *prediction, unsigned pcr, const char *wanted) {
        _cleanup_free_ char *seen = NULL;

        assert_true(prediction->pcrs.present & 1U << pcr);
        assert_int_equal(hex_encode(prediction->pcrs.value[pcr], PCR_SIZE, &seen), 0);
        if (strcmp(seen, wanted) != 0)
                fail_msg("PCR%u: saw %s, wanted %s", pcr, seen, wanted);
}

static void begin(Prediction *prediction, const SecureBootVariables *variables) {
        Error error = {};

        if (prediction_begin(variables ?: &(SecureBootVariables){}, prediction, &error) < 0)
                fail_msg("%s", error.text);
}

static PredictedImage add(Prediction *prediction, const char *name) {
        _cleanup_file_ File file = load(name);
        PredictedImage image;
        Error error = {};

        if (prediction_add_image(prediction, file.data, file.size, &image, &error) < 0)
                fail_msg("%s: %s", name, error.text);
        return image;
}

static void test_standard_boot_of_a_unified_kernel_image(void **state) {
        _cleanup_prediction_ Prediction prediction = {};
        PredictedImage image;

        begin(&prediction, NULL);
        image = add(&prediction, "uki-x86-64.efi");
        assert_int_equal(image.machine, EFI_MACHINE_X86_64);
        assert_true(image.has_kernel);
        assert_int_equal(image.stub_version, 252);
        assert_false(image.stub_assumed);
        assert_true(image.kernel_measured);
        assert_null(image.authority);
        assert_false(prediction.secure_boot);
        assert_int_equal(prediction.pcrs.present, 1U << 4 | 1U << 7 | 1U << 12);
        assert_pcr(&prediction, 4,
                   "6509207596d8be7b83bfe226dc543d27f91a3bdb54ba7f357cffd58002275ecee09b397633110309ee908905"
                   "acbc7d65");
        assert_pcr(&prediction, 7, PCR7_OFF);
        assert_pcr(&prediction, 12, ZERO_PCR);
}

static void test_only_amazon_linux_2023_has_a_stub_without_sdmagic(void **state) {
        static const char *const releases[] = {
                "NAME=\"test\"\n",
                "ID=ubuntu\nVERSION_ID=\"22.04\"\n",
                "ID=\"amzn\"\nVERSION_ID=\"2\"\n",
                "ID_LIKE=\"amzn\"\nVERSION_ID=\"2023\"\n",
                "#ID=\"amzn\"\nVERSION_ID=\"2023\"\n",
                "ID=\"amzn\"",
                "",
        };
        _cleanup_prediction_ Prediction prediction = {};
        PredictedImage image;

        begin(&prediction, NULL);
        image = add(&prediction, "uki-arm64-al2023.efi");
        assert_int_equal(image.machine, EFI_MACHINE_ARM64);
        assert_int_equal(image.stub_version, 252);
        assert_true(image.stub_assumed);
        assert_true(image.kernel_measured);
        assert_pcr(&prediction, 4,
                   "89fd975b06cc7015c2e20d9b81a6fbf4aa0b61af692abbd41c68001d8d45ac66fe6a9225ba45d771d293d3526dce952f");

        for (size_t i = 0; i < ELEMENTSOF(releases); i++) {
                _cleanup_prediction_ Prediction other = {};
                _cleanup_file_ File file = load("uki-arm64-al2023.efi");
                uint8_t *release = memmem(file.data, file.size, "NAME=\"Amazon", 12);
                Error error = {};

                memset(release, 0, strlen((const char *) release));
                memcpy(release, releases[i], strlen(releases[i]));
                begin(&other, NULL);
                if (prediction_add_image(&other, file.data, file.size, &image, &error) != -EOPNOTSUPP)
                        fail_msg("taken for Amazon Linux 2023: %s", releases[i]);
                assert_non_null(strstr(error.text, "no .sdmagic section"));
        }
}

/* The stub of Debian 12 for arm64 says its version only in the text of its program. */
static void test_a_stub_without_sdmagic_has_the_version_that_its_program_names(void **state) {
        static const struct {
                const char16_t *text;
                unsigned version; /* 0: refused */
                const char *error;
        } samples[] = {
                { u"systemd-stub 252.39-1~deb12u2", 252, NULL },
                { u"systemd-stub 258", 258, NULL },
                { u"systemd-stub %s systemd-stub 253", 253, NULL },
                { u"systemd-stub 252.39 systemd-stub 252.4", 252, NULL },
                { u"systemd-stub 252 systemd-stub 258", 0,
                  "names two versions of systemd-stub, 252 and 258" },
                { u"systemd-stub 247.3-7+deb11u5", 0, "has version 247" },
                { u"systemd-stub \u0132\u0135", 0, "its program does not name its version" },
                { u"systemd-boot 252.39-1~deb12u2", 0, "its program does not name its version" },
                { u"", 0, "its program does not name its version" },
        };
        static const char16_t text[] = u"systemd-stub 252.39-1~deb12u2";
        _cleanup_prediction_ Prediction prediction = {};
        PredictedImage image;

        begin(&prediction, NULL);
        image = add(&prediction, "uki-arm64-debian12.efi");
        assert_int_equal(image.machine, EFI_MACHINE_ARM64);
        assert_int_equal(image.stub_version, 252);
        assert_false(image.stub_assumed);
        assert_true(image.kernel_measured);
        assert_pcr(&prediction, 4,
                   "0e9f84cf3bb8ca127980e4cc47bc1b85a2969f301b139f619017877a57b623390996bbdb7c42bf21daa09c899d3f9c79");

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_prediction_ Prediction other = {};
                _cleanup_file_ File file = load("uki-arm64-debian12.efi");
                uint8_t *at = memmem(file.data, file.size, text, sizeof(text));
                size_t length = 0;
                Error error = {};
                int r;

                assert_non_null(at);
                while (samples[i].text[length] != 0)
                        length++;
                memset(at, 0, sizeof(text));
                memcpy(at, samples[i].text, length * sizeof(char16_t));
                begin(&other, NULL);
                r = prediction_add_image(&other, file.data, file.size, &image, &error);
                if (samples[i].version > 0 ? r < 0
                                           : r != -EOPNOTSUPP || !strstr(error.text, samples[i].error))
                        fail_msg("sample %zu: %d, %s", i, r, error.text);
                if (samples[i].version > 0)
                        assert_int_equal(image.stub_version, samples[i].version);
        }
}

/* A text that ends with its section, in the middle of a character. What is behind it is not read. */
static void test_a_version_at_the_end_of_the_program(void **state) {
        static const char16_t text[] = u"systemd-stub 252";
        _cleanup_file_ File file = load("uki-arm64-debian12.efi");
        uint8_t *section = memmem(file.data, file.size, ".text", 5),
                *end = memmem(file.data, file.size, u"systemd-stub 252.39", 38);

        for (size_t cut = 0; cut < sizeof(text); cut++) {
                _cleanup_prediction_ Prediction prediction = {};
                size_t size = (size_t) (end - file.data) + cut - 0x200;
                PredictedImage image;
                Error error = {};
                int r;

                section[8] = (uint8_t) size;
                section[9] = (uint8_t) (size >> 8);
                begin(&prediction, NULL);
                r = prediction_add_image(&prediction, file.data, file.size, &image, &error);
                assert_int_equal(r, cut < 32 ? -EOPNOTSUPP : 0);
                if (cut >= 28 && cut < 32)
                        assert_non_null(strstr(error.text, cut < 30 ? "has version 2." : "has version 25."));
        }
}

static void test_an_image_that_is_no_unified_kernel_image_counts_once(void **state) {
        _cleanup_prediction_ Prediction prediction = {};
        PredictedImage image;

        begin(&prediction, NULL);
        image = add(&prediction, "kernel-x86-64.efi");
        assert_false(image.has_kernel);
        assert_int_equal(image.stub_version, 0);
        assert_pcr(&prediction, 4,
                   "8ebc49a6dbf295bc1f456dd15ceb69b72f54dbfdb4fd1fdc51d6d43f4544d2578e6afa5ef45b0ae025e8bfdf"
                   "9a4f9099");

        (void) add(&prediction, "uki-x86-64.efi");
        assert_pcr(&prediction, 4,
                   "935e47b2edfed7ced3ab7f3ffe2628098ffeda60d1164afb6aecaff1ee95babafa9ce7187e24c5070ff19518"
                   "23d6fd06");
}

static void test_the_stubs_version_decides_about_the_kernel(void **state) {
        static const struct {
                const char *magic;
                int r;
                bool measured;
                const char *pcr4;
        } samples[] = {
                { "#### LoaderInfo: systemd-stub 257.39-1~deb12u2 ####", 0, true,
                  "fb843e5e98bbe80245872da95d68ccdf00f3d913bdd3869a00df44744ffc8386c17bb998e237d12535f9e8091"
                  "f9f08a8" },
                { "#### LoaderInfo: systemd-stub 258.39-1~deb12u2 ####", 0, false,
                  "927f04a655e112f355f84db8f7d93baf8511e8aad3109a29754264297a8b395ea6f5184f20979dee4e63e8350"
                  "baf1053" },
                { "#### LoaderInfo: systemd-stub 1000~rc1 ####", 0, false, NULL },
                { "#### LoaderInfo: systemd-stub 99999999999999999999", 0, false, NULL },
                { "#### LoaderInfo: systemd-stub 251.39 ####", -EOPNOTSUPP, false, NULL },
                { "#### LoaderInfo: systemd-stub v258 ####", -EOPNOTSUPP, false, NULL },
                { "#### LoaderInfo: systemd-stub ", -EOPNOTSUPP, false, NULL },
                { "#### LoaderInfo: systemd-boot 258 ####", -EOPNOTSUPP, false, NULL },
                { "", -EOPNOTSUPP, false, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_prediction_ Prediction prediction = {};
                _cleanup_file_ File file = load("uki-x86-64.efi");
                PredictedImage image = { .stub_version = 4711 };
                uint8_t *magic = memmem(file.data, file.size, "#### LoaderInfo", 15);
                Error error = {};
                int r;

                memset(magic, 0, 0x34);
                memcpy(magic, samples[i].magic, strlen(samples[i].magic));
                begin(&prediction, NULL);
                r = prediction_add_image(&prediction, file.data, file.size, &image, &error);
                if (r != samples[i].r)
                        fail_msg("%s: saw %i (%s), wanted %i", samples[i].magic, r, error.text,
                                 samples[i].r);
                if (r < 0) {
                        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                        assert_int_equal(image.stub_version, 4711);
                        continue;
                }
                assert_int_equal(image.kernel_measured, samples[i].measured);
                if (samples[i].pcr4)
                        assert_pcr(&prediction, 4, samples[i].pcr4);
        }
}

static void test_a_malformed_kernel_is_refused_where_it_is_measured(void **state) {
        _cleanup_prediction_ Prediction before = {}, after = {};
        _cleanup_file_ File file = load("uki-x86-64.efi");
        uint8_t *version = memmem(file.data, file.size, "stub 252", 8);
        PredictedImage image;
        Error error = {};

        /* The second "PE" belongs to the kernel. */
        memcpy(memmem(file.data + 0x100, file.size - 0x100, "PE\0\0", 4), "NE", 2);
        begin(&before, NULL);
        assert_int_equal(prediction_add_image(&before, file.data, file.size, &image, &error), -EBADMSG);
        assert_string_equal(error.text,
                            "In its section .linux, which starts at 0xc00: At offset 0x40: here should be "
                            "a PE header.");

        memcpy(version, "stub 258", 8);
        begin(&after, NULL);
        assert_int_equal(prediction_add_image(&after, file.data, file.size, &image, NULL), 0);
}

/* An image with several profiles has two such sections, and does not say which profile starts. */
static void test_two_kernels_are_refused_where_one_is_measured(void **state) {
        _cleanup_prediction_ Prediction before = {}, after = {};
        _cleanup_file_ File file = load("uki-x86-64.efi");
        PredictedImage image;
        Error error = {};

        memcpy(memmem(file.data, file.size, ".osrel", 6), ".linux", 6);
        begin(&before, NULL);
        assert_int_equal(prediction_add_image(&before, file.data, file.size, &image, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "second section .linux"));

        memcpy(memmem(file.data, file.size, "stub 252", 8), "stub 258", 8);
        begin(&after, NULL);
        assert_int_equal(prediction_add_image(&after, file.data, file.size, &image, NULL), 0);
}

static void test_secure_boot_as_real_firmware_measured_it(void **state) {
        _cleanup_(keys_done) Keys keys = load_keys();
        SecureBootVariables variables = variables_of(&keys);
        _cleanup_prediction_ Prediction one = {}, two = {};
        PredictedImage image;

        begin(&one, &variables);
        image = add(&one, "uki-signed-db1.efi");
        assert_true(one.secure_boot);
        assert_false(image.kernel_measured);
        assert_ptr_equal(image.authority, &one.db.signatures[0]);
        assert_pcr(&one, 4,
                   "14cdde806eeff5cbbfbe3ff0092c8278f278fd6fbd2eba36c4e7d13591e77cfb53c92ef2f352c8c6975ecfd8"
                   "b700f94e");
        assert_pcr(&one, 7, PCR7_DB1);
        assert_pcr(&one, 12, ZERO_PCR);
        /* Firmware does not measure the same authority again. */
        (void) add(&one, "uki-signed-db1.efi");
        assert_pcr(&one, 4,
                   "215d3bcc46e7a944157a9e415f045c1b82271f780edd618cbd41a00b749986c653ff92682e4db52019410a56"
                   "31c64bb3");
        assert_pcr(&one, 7, PCR7_DB1);

        begin(&two, &variables);
        image = add(&two, "uki-signed-db2.efi");
        assert_ptr_equal(image.authority, &two.db.signatures[1]);
        (void) add(&two, "uki-signed-db1.efi");
        assert_pcr(&two, 7, PCR7_DB2_DB1);
}

static void test_an_entry_twice_in_db_is_measured_once(void **state) {
        _cleanup_(keys_done) Keys keys = load_keys();
        SecureBootVariables variables = variables_of(&keys);
        _cleanup_free_ uint8_t *twice = malloc(2 * keys.db.size);
        _cleanup_prediction_ Prediction prediction = {};
        uint8_t before[PCR_SIZE];

        assert_non_null(twice);
        memcpy(twice, keys.db.data, keys.db.size);
        memcpy(twice + keys.db.size, keys.db.data, keys.db.size);
        variables.db = (Slice){ twice, 2 * keys.db.size };
        begin(&prediction, &variables);
        assert_int_equal(prediction.db.count, 4);
        (void) add(&prediction, "uki-signed-db1.efi");
        memcpy(before, prediction.pcrs.value[7], PCR_SIZE);
        /* The result is as if the other entry had been found. */
        prediction.db_measured[0] = false;
        prediction.db_measured[2] = true;
        (void) add(&prediction, "uki-signed-db1.efi");
        assert_memory_equal(prediction.pcrs.value[7], before, PCR_SIZE);
}

static void test_without_a_platform_key_secure_boot_is_off(void **state) {
        _cleanup_(keys_done) Keys keys = load_keys();
        SecureBootVariables variables = variables_of(&keys);
        _cleanup_prediction_ Prediction prediction = {};
        PredictedImage image;

        variables.pk.size = 0;
        begin(&prediction, &variables);
        image = add(&prediction, "uki-x86-64.efi");
        assert_false(prediction.secure_boot);
        assert_true(image.kernel_measured);
        assert_null(image.authority);
}

static void test_an_image_that_nothing_authorises_is_refused(void **state) {
        _cleanup_(keys_done) Keys keys = load_keys();
        SecureBootVariables variables = variables_of(&keys);
        _cleanup_prediction_ Prediction prediction = {};
        _cleanup_file_ File file = load("uki-x86-64.efi");
        PredictedImage image;
        Error error = {};

        begin(&prediction, &variables);
        assert_int_equal(prediction_add_image(&prediction, file.data, file.size, &image, &error),
                         -EKEYREJECTED);
        assert_non_null(strstr(error.text, "it is not signed"));
}

static void test_malformed_variables_are_refused(void **state) {
        _cleanup_(keys_done) Keys keys = load_keys();
        SecureBootVariables variables = variables_of(&keys);
        Prediction prediction = { .secure_boot = true };
        Error error = {};

        variables.db.size--;
        assert_int_equal(prediction_begin(&variables, &prediction, &error), -EBADMSG);
        variables = variables_of(&keys);
        variables.dbx.size--;
        assert_int_equal(prediction_begin(&variables, &prediction, &error), -EBADMSG);
        assert_true(prediction.secure_boot);
        assert_null(prediction.db.signatures);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_standard_boot_of_a_unified_kernel_image),
                cmocka_unit_test(test_only_amazon_linux_2023_has_a_stub_without_sdmagic),
                cmocka_unit_test(test_a_stub_without_sdmagic_has_the_version_that_its_program_names),
                cmocka_unit_test(test_a_version_at_the_end_of_the_program),
                cmocka_unit_test(test_an_image_that_is_no_unified_kernel_image_counts_once),
                cmocka_unit_test(test_the_stubs_version_decides_about_the_kernel),
                cmocka_unit_test(test_a_malformed_kernel_is_refused_where_it_is_measured),
                cmocka_unit_test(test_two_kernels_are_refused_where_one_is_measured),
                cmocka_unit_test(test_secure_boot_as_real_firmware_measured_it),
                cmocka_unit_test(test_an_entry_twice_in_db_is_measured_once),
                cmocka_unit_test(test_without_a_platform_key_secure_boot_is_off),
                cmocka_unit_test(test_an_image_that_nothing_authorises_is_refused),
                cmocka_unit_test(test_malformed_variables_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
