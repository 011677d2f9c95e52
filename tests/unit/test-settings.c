/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "config/declaration.h"
#include "config/settings.h"

#define MINUTE UINT64_C(60000000)
#define KEY "arn:aws:kms:eu-north-1:111111111111:key/11111111-2222-3333-4444-555555555555"
#define OTHER_KEY "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555"

static int make_directories(void **state) {
        char *root = strdup("/tmp/test-settings-XXXXXX");

        assert_non_null(root);
        assert_non_null(mkdtemp(root));
        assert_int_equal(chdir(root), 0);
        assert_int_equal(mkdir("vendor", 0755), 0);
        assert_int_equal(mkdir("local", 0755), 0);
        assert_int_equal(mkdir("local/unseald.conf.d", 0755), 0);
        *state = root;
        return 0;
}

static int remove_directories(void **state) {
        _cleanup_free_ char *command = NULL;

        assert_int_equal(chdir("/"), 0);
        assert_true(asprintf(&command, "rm -r %s", (char *) *state) > 0);
        assert_int_equal(system(command), 0);
        free(*state);
        return 0;
}

static void put(const char *path, const char *text) {
        assert_int_equal(write_file_atomic(path, text, strlen(text), 0644), 0);
}

/* Reads a file of [Unseald] and these lines. The first of them is line 2. */
static Settings accepted(const char *lines) {
        _cleanup_free_ char *text = NULL;
        Settings settings;
        Error error;

        assert_true(asprintf(&text, "[Unseald]\n%s\n", lines) > 0);
        put("local/unseald.conf", text);
        if (settings_read("vendor", "local", &settings, &error) < 0)
                fail_msg("<%s>: %s", lines, error.text);
        return settings;
}

static void accept_string(const char *line, const char *const *field, const char *expected,
                          Settings *settings) {
        *settings = accepted(line);
        if (expected) {
                assert_non_null(*field);
                assert_string_equal(*field, expected);
        } else
                assert_null(*field);
        settings_clear(settings);
}
#define ACCEPT_STRING(line, member, expected)                                       \
        do {                                                                        \
                Settings s;                                                         \
                accept_string(line, (const char *const *) &s.member, expected, &s); \
        } while (false)

static void refused(const char *lines, const char *expected) {
        _cleanup_free_ char *text = NULL, *wanted = NULL;
        Settings settings = {};
        Error error = {};

        assert_true(asprintf(&text, "[Unseald]\n%s\n", lines) > 0);
        assert_true(asprintf(&wanted, "local/unseald.conf:2: %s", expected) > 0);
        put("local/unseald.conf", text);
        if (settings_read("vendor", "local", &settings, &error) != -EINVAL)
                fail_msg("<%s> was accepted", lines);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        if (strncmp(error.text, wanted, strlen(wanted)) != 0)
                fail_msg("<%s>: saw \"%s\", wanted it to begin with \"%s\"", lines, error.text, wanted);
        assert_null(settings.tpm_device);
}

static void assert_defaults(Settings *settings) {
        assert_null(settings->kms_endpoint);
        assert_false(settings->fips);
        assert_false(settings->dual_stack);
        assert_null(settings->proxy);
        assert_null(settings->trusted_certificates);
        assert_int_equal(settings->rsa_key_bits, 2048);
        assert_int_equal(settings->deadline_usec, 2 * MINUTE);
        assert_int_equal(settings->lock_pcr, 0);
        assert_int_equal(settings->refresh_usec, 0);
        assert_null(settings->expected_measurements);
        assert_string_equal(settings->tpm_device, "device:/dev/tpm0");
        assert_null(settings->attestation_public_key);
        assert_int_equal(settings->documents_per_minute, 60);
        assert_false(settings->attestation_status);
        assert_int_equal(settings->store_size_max, 64 * 1024 * 1024);
        assert_null(settings->kms_keys);
        assert_null(settings->kms_operations);
        assert_null(settings->kms_units);
        assert_int_equal(settings->kms_requests_per_second, 500);
        assert_int_equal(settings->kms_renew_key_pair_usec, 60 * MINUTE);
        assert_null(settings->documents_units);
        assert_int_equal(settings->documents_requests_per_second, 10);
        settings_clear(settings);
        assert_null(settings->tpm_device);
}

static void test_defaults_hold_without_a_file_and_after_a_reset(void **state) {
        Settings settings;

        assert_int_equal(settings_read("vendor", "local", &settings, NULL), 0);
        assert_defaults(&settings);

        put("vendor/unseald.conf",
            "[Unseald]\nKmsEndpoint=https://kms.example\nProxy=http://p:1\nTrustedCertificates=/a\n"
            "RsaKeyBits=4096\nDeadlineSec=5\nExpectedMeasurements=/m\nTpmDevice=swtpm:path=/s\nRefresh=1h\nStoreSizeMax=1G\n"
            "[Attestation]\nPublicKey=/k\nDocumentsPerMinute=1\nStatus=yes\n"
            "[Kms]\nKeys=" KEY
            "\nOperations=Decrypt\nUnits=a.service\nRequestsPerSecond=1\nRenewKeyPair=1min\n");
        put("local/unseald.conf.d/50-reset.conf",
            "[Unseald]\nKmsEndpoint=\nFips=yes\nFips=\nDualStack=yes\nDualStack=\nProxy="
            "\nTrustedCertificates=\n"
            "RsaKeyBits=\nDeadlineSec=\nExpectedMeasurements=\nTpmDevice=\nVerifyPolicy=\nLockPcr=\nRefresh=\nStoreSizeMax=\n"
            "[Attestation]\nPublicKey=\nDocumentsPerMinute=\nStatus=\n"
            "[Kms]\nKeys=\nOperations=\nUnits=\nRequestsPerSecond=\nRenewKeyPair=\n");
        assert_int_equal(settings_read("vendor", "local", &settings, NULL), 0);
        assert_defaults(&settings);
}

static void test_the_store_has_a_size(void **state) {
        static const struct {
                const char *text;
                uint64_t bytes;
        } good[] = { { "2M", 2097152 },
                     { "2097152", 2097152 },
                     { "300M", 314572800 },
                     { "16T", UINT64_C(17592186044416) } };
        static const char *const bad[] = {
                "0",       "1M", "2097151", "17T",  "17592186044417",       "-1",
                "2MB",     "M",  "2 M",     "1.5G", "99999999999999999999", "16777217T",
                "infinity"
        };
        Settings settings;
        char line[64];

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                (void) snprintf(line, sizeof(line), "[Unseald]\nStoreSizeMax=%s\n", good[i].text);
                put("vendor/unseald.conf", line);
                assert_int_equal(settings_read("vendor", "local", &settings, NULL), 0);
                assert_int_equal(settings.store_size_max, good[i].bytes);
                settings_clear(&settings);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                (void) snprintf(line, sizeof(line), "StoreSizeMax=%s", bad[i]);
                refused(line, "StoreSizeMax=: Expected a number of bytes from 2M to 16T, such as 256M, not");
        }
}

static void test_later_files_win(void **state) {
        Settings settings;

        put("vendor/unseald.conf", "[Unseald]\nRsaKeyBits=3072\nFips=yes\n");
        put("local/unseald.conf.d/50.conf", "[Unseald]\nRsaKeyBits=4096\n");
        assert_int_equal(settings_read("vendor", "local", &settings, NULL), 0);
        assert_int_equal(settings.rsa_key_bits, 4096);
        assert_true(settings.fips);
        settings_clear(&settings);

        put("local/unseald.conf", "[Unseald]\nDualStack=on\n");
        assert_int_equal(settings_read("vendor", "local", &settings, NULL), 0);
        assert_int_equal(settings.rsa_key_bits, 4096);
        assert_false(settings.fips);
        assert_true(settings.dual_stack);
        settings_clear(&settings);
}

static void test_endpoint_is_an_https_origin(void **state) {
        ACCEPT_STRING("KmsEndpoint=https://vpce-1.kms.eu-north-1.vpce.amazonaws.com", kms_endpoint,
                      "https://vpce-1.kms.eu-north-1.vpce.amazonaws.com");
        ACCEPT_STRING("KmsEndpoint=https://10.0.0.1:8443", kms_endpoint, "https://10.0.0.1:8443");
        ACCEPT_STRING("KmsEndpoint=https://[fd00::1]", kms_endpoint, "https://[fd00::1]");
        ACCEPT_STRING("KmsEndpoint=https://[fd00::1]:65535", kms_endpoint, "https://[fd00::1]:65535");

        static const char *const wrong[] = {
                "http://kms.example",
                "kms.example",
                "https://",
                "https://kms.example/",
                "https://kms.example/path",
                "https://u@kms.example",
                "https://u:p@k",
                "https://kms.example:",
                "https://kms.example:0",
                "https://k:65536",
                "https://k:99999999",
                "https://k:1x",
                "https://k:01",
                "https://k?x",
                "https://k#x",
                "https://-k",
                "https://.k",
                "https://[fd00::1",
                "https://[]",
                "https://[k]",
                "https://[fd00::1]x",
                "https://k k",
                "HTTPS://k",
                "https://ümlaut",
                "https://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]",
        };
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *line = NULL;

                assert_true(asprintf(&line, "KmsEndpoint=%s", wrong[i]) > 0);
                refused(line, "KmsEndpoint=: Expected https://HOST or https://HOST:PORT, not ");
        }
}

static void test_endpoint_excludes_a_choice_among_those_of_aws(void **state) {
        refused("KmsEndpoint=https://k\nFips=yes",
                "KmsEndpoint=: Expected nothing, since Fips= or DualStack= is set");
        refused("KmsEndpoint=https://k\nDualStack=yes\n[Other]\nKmsEndpoint=x",
                "KmsEndpoint=: Expected nothing");
        ACCEPT_STRING("KmsEndpoint=https://k\nFips=no\nDualStack=no", kms_endpoint, "https://k");
}

static void test_proxy_is_an_http_origin_with_port(void **state) {
        ACCEPT_STRING("Proxy=http://proxy.internal:3128", proxy, "http://proxy.internal:3128");
        ACCEPT_STRING("Proxy=http://[fd00::1]:3128", proxy, "http://[fd00::1]:3128");
        refused("Proxy=http://proxy.internal", "Proxy=: Expected http://HOST:PORT, not ");
        refused("Proxy=http://[fd00::1]", "Proxy=: Expected http://HOST:PORT, not ");
        refused("Proxy=https://proxy.internal:3128", "Proxy=: Expected http://HOST:PORT, not ");
        refused("Proxy=socks5://proxy.internal:1080", "Proxy=: Expected http://HOST:PORT, not ");
        refused("Proxy=http://user:password@proxy.internal:3128", "Proxy=: Expected http://HOST:PORT, not ");
        refused("Proxy=proxy.internal:3128", "Proxy=: Expected http://HOST:PORT, not ");
}

static void test_booleans_are_checked(void **state) {
        Settings settings = accepted("Fips=1\nDualStack=True");

        assert_true(settings.fips && settings.dual_stack);
        settings_clear(&settings);
        refused("Fips=maybe", "Fips=: Expected yes or no, not \"maybe\".");
        refused("DualStack=2", "DualStack=: Expected yes or no, not \"2\".");
}

static void test_paths_are_plain(void **state) {
        ACCEPT_STRING("TrustedCertificates=/etc/ssl/certs/aws.pem", trusted_certificates,
                      "/etc/ssl/certs/aws.pem");
        refused("TrustedCertificates=aws.pem", "TrustedCertificates=: Expected an absolute path");
        refused("TrustedCertificates=/etc/../run/x", "TrustedCertificates=: Expected an absolute path");
        refused("TrustedCertificates=/etc/ssl/", "TrustedCertificates=: Expected an absolute path");
}

static void test_expected_measurements_are_a_file_or_a_pointer_into_user_data(void **state) {
        ACCEPT_STRING("ExpectedMeasurements=user-data:", expected_measurements, "user-data:");
        ACCEPT_STRING("ExpectedMeasurements=user-data:/a~0b/~1/0", expected_measurements,
                      "user-data:/a~0b/~1/0");
        ACCEPT_STRING("ExpectedMeasurements=/boot/efi/pcr_measurements.json", expected_measurements,
                      "/boot/efi/pcr_measurements.json");
        refused("ExpectedMeasurements=user-data:a", "ExpectedMeasurements=: Expected a JSON pointer");
        refused("ExpectedMeasurements=user-data:/~", "ExpectedMeasurements=: Expected a JSON pointer");
        refused("ExpectedMeasurements=user-data:/~2", "ExpectedMeasurements=: Expected a JSON pointer");
        refused("ExpectedMeasurements=s3://b/k", "ExpectedMeasurements=: Expected an absolute path");
}

static void accept_key_bits(const char *line, unsigned expected) {
        Settings settings = accepted(line);

        assert_int_equal(settings.rsa_key_bits, expected);
        settings_clear(&settings);
}

static void test_rsa_keys_have_one_of_three_sizes(void **state) {
        accept_key_bits("RsaKeyBits=2048", 2048);
        accept_key_bits("RsaKeyBits=3072", 3072);
        accept_key_bits("RsaKeyBits=4096", 4096);
        refused("RsaKeyBits=1024", "RsaKeyBits=: Expected 2048, 3072 or 4096, not \"1024\".");
        refused("RsaKeyBits=2048x", "RsaKeyBits=: Expected");
        refused("RsaKeyBits=-2048", "RsaKeyBits=: Expected");
        refused("RsaKeyBits=4294969344", "RsaKeyBits=: Expected"); /* 2^32 + 2048 */
}

static void accept_verify_policy(const char *line, VerifyPolicy expected) {
        Settings settings = accepted(line);

        assert_int_equal(settings.verify_policy, expected);
        settings_clear(&settings);
}

static void test_verify_policy_is_yes_warn_or_no(void **state) {
        accept_verify_policy("", VERIFY_POLICY_NO);
        accept_verify_policy("VerifyPolicy=off", VERIFY_POLICY_NO);
        accept_verify_policy("VerifyPolicy=warn", VERIFY_POLICY_WARN);
        accept_verify_policy("VerifyPolicy=Yes", VERIFY_POLICY_YES);
        accept_verify_policy("VerifyPolicy=yes\nVerifyPolicy=", VERIFY_POLICY_NO);
        refused("VerifyPolicy=maybe", "VerifyPolicy=: Expected no, warn or yes, not \"maybe\".");
}

static void accept_deadline(const char *value, uint64_t expected) {
        _cleanup_free_ char *line = NULL;
        Settings settings;

        assert_true(asprintf(&line, "DeadlineSec=%s", value) > 0);
        settings = accepted(line);
        if (settings.deadline_usec != expected)
                fail_msg("%s: saw %ju, wanted %ju", line, (uintmax_t) settings.deadline_usec,
                         (uintmax_t) expected);
        settings_clear(&settings);
}

static void test_deadline_is_a_time_span_as_in_systemd(void **state) {
        static const char *const wrong[] = {
                "0",
                "999ms",
                "86401",
                "25h",
                "24h 1ms",
                "-1",
                "1..5s",
                "infinity",
                "s",
                "1 fortnight",
                "1min x",
                "min 1",
                "18446744073709551616",
                "18446744073709551615h",
                "1s,",
                "1M",
        };

        accept_deadline("90", 90 * MINUTE / 60);
        accept_deadline("1s", MINUTE / 60);
        accept_deadline("1sec", MINUTE / 60);
        accept_deadline("1second", MINUTE / 60);
        accept_deadline("2 seconds", 2 * MINUTE / 60);
        accept_deadline("1500ms", 1500 * MINUTE / 60000);
        accept_deadline("1500 msec", 1500 * MINUTE / 60000);
        accept_deadline("1.5s", 1500 * MINUTE / 60000);
        accept_deadline("2m", 2 * MINUTE);
        accept_deadline("2min", 2 * MINUTE);
        accept_deadline("1minute 30s", 90 * MINUTE / 60);
        accept_deadline("2minutes30", 150 * MINUTE / 60);
        accept_deadline("1h", 60 * MINUTE);
        accept_deadline("1hr", 60 * MINUTE);
        accept_deadline("1 hour 1 min 1 s", 61 * MINUTE + MINUTE / 60);
        accept_deadline("24hours", 24 * 60 * MINUTE);
        accept_deadline("86400", 24 * 60 * MINUTE);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *line = NULL;

                assert_true(asprintf(&line, "DeadlineSec=%s", wrong[i]) > 0);
                refused(line, "DeadlineSec=: Expected a time from 1s to 24h");
        }
}

static void accept_refresh(const char *line, uint64_t expected) {
        Settings settings = accepted(line);

        assert_int_equal(settings.refresh_usec, expected);
        settings_clear(&settings);
}

static void test_the_deadline_of_late_secrets_is_none_by_default(void **state) {
        static const char *const wrong[] = { "0", "999ms", "30d 1s", "never", "-1s" };
        static const struct {
                const char *line;
                uint64_t wanted;
        } right[] = { { "", USEC_INFINITY },
                      { "LateDeadlineSec=infinity", USEC_INFINITY },
                      { "LateDeadlineSec=1s\nLateDeadlineSec=", USEC_INFINITY },
                      { "LateDeadlineSec=1", USEC_PER_SEC },
                      { "LateDeadlineSec=30d", 30 * 24 * 60 * MINUTE } };

        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                Settings settings = accepted(right[i].line);

                assert_int_equal(settings.late_deadline_usec, right[i].wanted);
                settings_clear(&settings);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char line[64];

                (void) snprintf(line, sizeof(line), "LateDeadlineSec=%s", wrong[i]);
                refused(line, "LateDeadlineSec=: Expected a time from 1s to 30d");
        }
}

static void test_refresh_is_never_or_a_minute_to_thirty_days(void **state) {
        static const char *const wrong[] = { "0",     "59s",      "59999ms", "30d 1s",
                                             "-1min", "infinity", "no",      "daily" };

        accept_refresh("Refresh=1min", MINUTE);
        accept_refresh("Refresh=60", MINUTE);
        accept_refresh("Refresh=15min", 15 * MINUTE);
        accept_refresh("Refresh=30d", 30 * 24 * 60 * MINUTE);
        accept_refresh("Refresh=15min\nRefresh=", 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char line[32];

                (void) snprintf(line, sizeof(line), "Refresh=%s", wrong[i]);
                refused(line, "Refresh=: Expected a time from 1min to 30d");
        }
}

static void test_under_a_lock_there_is_no_refresh(void **state) {
        refused("Refresh=1h\nLockPcr=15", "Refresh=: Expected nothing, since LockPcr= is set.");
        accept_refresh("LockPcr=15\nRefresh=1h\nRefresh=", 0);
        accept_refresh("LockPcr=15\nLockPcr=\nRefresh=1h", 60 * MINUTE);
}

static void test_tpm_is_a_tcti_name_or_a_device(void **state) {
        ACCEPT_STRING("TpmDevice=device:/dev/tpm1", tpm_device, "device:/dev/tpm1");
        ACCEPT_STRING("TpmDevice=/dev/tpm0", tpm_device, "device:/dev/tpm0");
        ACCEPT_STRING("TpmDevice=swtpm:path=/run/tpm.sock", tpm_device, "swtpm:path=/run/tpm.sock");
        ACCEPT_STRING("TpmDevice=mssim:host=localhost,port=2321", tpm_device,
                      "mssim:host=localhost,port=2321");
        ACCEPT_STRING("TpmDevice=tabrmd", tpm_device, "tabrmd");
        refused("TpmDevice=/dev/tpmrm0", "TpmDevice=: Expected the TPM itself, such as device:/dev/tpm0");
        refused("TpmDevice=device:/dev/tpmrm0",
                "TpmDevice=: Expected the TPM itself, such as device:/dev/tpm0");
        refused("TpmDevice=device", "TpmDevice=: Expected the TPM itself, such as device:/dev/tpm0");
        refused("TpmDevice=device:", "TpmDevice=: Expected the TPM itself, such as device:/dev/tpm0");
        refused("TpmDevice=/dev/../tpm0", "TpmDevice=: Expected an absolute path");
        refused("TpmDevice=:x", "TpmDevice=: Expected a TCTI name");
        refused("TpmDevice=lib.so/../x", "TpmDevice=: Expected a TCTI name");
        refused("TpmDevice=dev/tpm0", "TpmDevice=: Expected a TCTI name");
}

static void test_only_a_pcr_that_is_free_and_cannot_be_reset_is_locked(void **state) {
        static const char *const wrong[] = { "0",  "4",  "9",  "12",    "16", "23",
                                             "24", "08", "+8", "15,14", "yes" };
        static const unsigned right[] = { 8, 13, 14, 15 };

        for (unsigned pcr = 0; pcr < ELEMENTSOF(right); pcr++) {
                char line[32];

                (void) snprintf(line, sizeof(line), "LockPcr=%u", right[pcr]);
                Settings settings = accepted(line);
                assert_int_equal(settings.lock_pcr, right[pcr]);
                settings_clear(&settings);
        }
        Settings settings = accepted("LockPcr=15\nLockPcr=");
        assert_int_equal(settings.lock_pcr, 0);
        settings_clear(&settings);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char line[32];

                (void) snprintf(line, sizeof(line), "LockPcr=%s", wrong[i]);
                refused(line, "LockPcr=: Expected 8, 13, 14 or 15");
        }
}

static void test_the_attestation_service_has_a_section_of_its_own(void **state) {
        static const char *const wrong[] = {
                "PublicKey=key.pem",
                "DocumentsPerMinute=0",
                "DocumentsPerMinute=6001",
                "DocumentsPerMinute=-1",
                "DocumentsPerMinute=18446744073709551617",
                "DocumentsPerMinute=1.5",
        };
        Settings settings = accepted("[Attestation]\nPublicKey=/etc/tls/cert.pem\nDocumentsPerMinute=6000\n"
                                     "TpmDevice=device:/other\n[Unseald]\nPublicKey=/other");

        assert_string_equal(settings.attestation_public_key, "/etc/tls/cert.pem");
        assert_int_equal(settings.documents_per_minute, 6000);
        assert_string_equal(settings.tpm_device, "device:/dev/tpm0");
        settings_clear(&settings);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *text = NULL;
                Error error = {};

                assert_true(asprintf(&text, "[Attestation]\n%s\n", wrong[i]) > 0);
                put("local/unseald.conf", text);
                if (settings_read("vendor", "local", &settings, &error) != -EINVAL ||
                    !strstr(error.text, "unseald.conf:2:") || !strstr(error.text, "Expected"))
                        fail_msg("<%s>: %s", wrong[i], error.text);
        }
}

static void test_the_kms_endpoint_has_lists_of_keys_operations_and_units(void **state) {
        static const char *const wrong[] = {
                "Keys=alias/app",        "Keys=" KEY " arn:aws:kms:eu-north-1:111111111111:alias/app",
                "Operations=decrypt",    "Operations=Decrypt PutKeyPolicy",
                "Units=billing",         "Units=*.service",
                "RequestsPerSecond=0",   "RequestsPerSecond=100001",
                "RequestsPerSecond=1/s", "RenewKeyPair=59s",
                "RenewKeyPair=31d",      "RenewKeyPair=never",
        };
        Settings settings =
                        accepted("[Kms]\nKeys=" KEY "\nKeys=" OTHER_KEY "\nOperations=Sign\nOperations=\n"
                                 "Operations=Decrypt Encrypt\nUnits=billing.service worker@*.service\n"
                                 "RequestsPerSecond=100000\nRenewKeyPair=30d\n[Unseald]\nKeys=" KEY);

        assert_int_equal(strings_count(settings.kms_keys), 2);
        assert_string_equal(settings.kms_keys[1], OTHER_KEY);
        assert_int_equal(strings_count(settings.kms_operations), 2);
        assert_string_equal(settings.kms_operations[0], "Decrypt");
        assert_int_equal(strings_count(settings.kms_units), 2);
        assert_int_equal(settings.kms_requests_per_second, 100000);
        assert_int_equal(settings.kms_renew_key_pair_usec, UINT64_C(30) * 24 * 60 * MINUTE);
        settings_clear(&settings);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *text = NULL;
                Error error = {};

                assert_true(asprintf(&text, "[Kms]\n%s\n", wrong[i]) > 0);
                put("local/unseald.conf", text);
                if (settings_read("vendor", "local", &settings, &error) != -EINVAL ||
                    !strstr(error.text, "unseald.conf:2:") || !strstr(error.text, "Expected"))
                        fail_msg("<%s>: %s", wrong[i], error.text);
        }
}

static void test_documents_are_for_units_with_a_limit(void **state) {
        static const char *const wrong[] = { "Units=billing", "Units=*.service", "RequestsPerSecond=0",
                                             "RequestsPerSecond=1001" };
        static const struct {
                const char *units;
                bool one;
        } rows[] = {
                { "Units=billing.service", true },
                { "Units=worker@1.service", true },
                { "Units=worker@*.service", false },
                { "Units=billing.service web.service", false },
                { "Units=billing.service\nUnits=\nUnits=web.service", true },
                { "Units=", false },
                { "[Kms]\nUnits=billing.service", false },
        };
        Settings settings = accepted("[Documents]\nUnits=a.service\nRequestsPerSecond=1000\n[Kms]\n"
                                     "Units=b.service c.service\nRequestsPerSecond=7\n");

        assert_string_equal(settings.documents_units[0], "a.service");
        assert_int_equal(settings.documents_requests_per_second, 1000);
        assert_int_equal(strings_count(settings.kms_units), 2);
        assert_int_equal(settings.kms_requests_per_second, 7);
        settings_clear(&settings);

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *text = NULL;

                assert_true(asprintf(&text, "[Documents]\n%s\n", rows[i].units) > 0);
                settings = accepted(text);
                if (settings_documents_of_one_unit(&settings) != rows[i].one)
                        fail_msg("%s: wanted %i", text, rows[i].one);
                settings_clear(&settings);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *text = NULL;
                Error error = {};

                assert_true(asprintf(&text, "[Documents]\n%s\n", wrong[i]) > 0);
                put("local/unseald.conf", text);
                if (settings_read("vendor", "local", &settings, &error) != -EINVAL ||
                    !strstr(error.text, "unseald.conf:2:") || !strstr(error.text, "Expected"))
                        fail_msg("<%s>: %s", wrong[i], error.text);
        }
}

static void test_the_kms_endpoint_has_keys_of_its_own_and_no_lock(void **state) {
        char *of_secret[] = { (char *) OTHER_KEY, (char *) KEY, NULL };
        Declaration declaration = { .name = (char *) "db-password", .key_ids = of_secret };
        const Declarations none = {}, one = { .items = &declaration, .count = 1 };
        Settings settings = accepted("LockPcr=8\n");
        Error error = {};

        /* A lock is no mistake without keys. */
        assert_int_equal(declarations_judge_kms(&one, &settings, &error), 0);
        settings_clear(&settings);
        settings = accepted("[Kms]\nKeys=" KEY "\n");
        assert_int_equal(declarations_judge_kms(&none, &settings, &error), 0);
        assert_int_equal(declarations_judge_kms(&one, &settings, &error), -EINVAL);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_non_null(strstr(error.text, "secret db-password"));
        settings_clear(&settings);
        settings = accepted("LockPcr=8\n[Kms]\nKeys=" KEY "\n");
        assert_int_equal(declarations_judge_kms(&none, &settings, &error), -EINVAL);
        assert_non_null(strstr(error.text, "LockPcr= is set"));
        settings_clear(&settings);
}

static void test_unknown_keys_and_sections_are_ignored_with_a_warning(void **state) {
        char seen[1024] = "";
        FILE *file = tmpfile();
        Settings settings;
        int saved = dup(STDERR_FILENO);

        assert_non_null(file);
        assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
        settings = accepted("Colour=blue\nrsakeybits=1\n[Other]\nRsaKeyBits=7\n[Unseald]\nRsaKeyBits=4096");
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        close(saved);
        rewind(file);
        assert_true(fread(seen, 1, sizeof(seen) - 1, file) > 0);
        fclose(file);

        assert_int_equal(settings.rsa_key_bits, 4096);
        settings_clear(&settings);
        if (!strstr(seen, "local/unseald.conf:2: Colour=: Unknown key in section [Unseald]") ||
            !strstr(seen,
                    "local/unseald.conf:3: rsakeybits=: Unknown key in section [Unseald]; unseald ignores the line. Did you mean RsaKeyBits=?") ||
            !strstr(seen, "local/unseald.conf:5: RsaKeyBits=: Unknown section [Other]"))
                fail_msg("saw: %s", seen);
}

static void test_file_that_cannot_be_read_is_an_error(void **state) {
        Settings settings;
        Error error = {};

        put("local/unseald.conf", "nonsense\n");
        assert_int_equal(settings_read("vendor", "local", &settings, &error), -EINVAL);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_non_null(strstr(error.text, "local/unseald.conf:1:"));
}

#define DIRECTORY_TEST(test) cmocka_unit_test_setup_teardown(test, make_directories, remove_directories)

int main(void) {
        const struct CMUnitTest tests[] = {
                DIRECTORY_TEST(test_defaults_hold_without_a_file_and_after_a_reset),
                DIRECTORY_TEST(test_the_store_has_a_size),
                DIRECTORY_TEST(test_later_files_win),
                DIRECTORY_TEST(test_endpoint_is_an_https_origin),
                DIRECTORY_TEST(test_endpoint_excludes_a_choice_among_those_of_aws),
                DIRECTORY_TEST(test_proxy_is_an_http_origin_with_port),
                DIRECTORY_TEST(test_booleans_are_checked),
                DIRECTORY_TEST(test_paths_are_plain),
                DIRECTORY_TEST(test_expected_measurements_are_a_file_or_a_pointer_into_user_data),
                DIRECTORY_TEST(test_rsa_keys_have_one_of_three_sizes),
                DIRECTORY_TEST(test_verify_policy_is_yes_warn_or_no),
                DIRECTORY_TEST(test_deadline_is_a_time_span_as_in_systemd),
                DIRECTORY_TEST(test_the_deadline_of_late_secrets_is_none_by_default),
                DIRECTORY_TEST(test_refresh_is_never_or_a_minute_to_thirty_days),
                DIRECTORY_TEST(test_under_a_lock_there_is_no_refresh),
                DIRECTORY_TEST(test_tpm_is_a_tcti_name_or_a_device),
                DIRECTORY_TEST(test_only_a_pcr_that_is_free_and_cannot_be_reset_is_locked),
                DIRECTORY_TEST(test_the_attestation_service_has_a_section_of_its_own),
                DIRECTORY_TEST(test_documents_are_for_units_with_a_limit),
                DIRECTORY_TEST(test_the_kms_endpoint_has_lists_of_keys_operations_and_units),
                DIRECTORY_TEST(test_the_kms_endpoint_has_keys_of_its_own_and_no_lock),
                DIRECTORY_TEST(test_unknown_keys_and_sections_are_ignored_with_a_warning),
                DIRECTORY_TEST(test_file_that_cannot_be_read_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
