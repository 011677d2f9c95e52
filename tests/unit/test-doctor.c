/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "basic/encoding.h"
#include "unsealctl/ctl.h"
#include "unsealctl/doctor/doctor.h"

/* The functions of unsealctl.c that the checks call. */
int failure(const char *format, ...) {
        fail_msg("memory is short: %s", format);
        return 1;
}

const char *format_time(int64_t seconds, char buffer[TIME_STRING_MAX]) {
        (void) snprintf(buffer, TIME_STRING_MAX, "@%lli", (long long) seconds);
        return buffer;
}

static Report report;

static int forget(void **state) {
        report_clear(&report);
        return 0;
}

/* Checks finding number n. part: a part of its text, subject or cure. */
static void assert_finding(size_t n, Verdict verdict, const char *check, const char *part) {
        const Finding *finding = &report.findings[n];

        if (n >= report.count)
                fail_msg("wanted finding %zu (%s), saw only %zu", n, part, report.count);
        if (finding->verdict != verdict || strcmp(finding->check, check) != 0 ||
            (!strstr(finding->text, part) && !strstr(finding->subject, part) &&
             !strstr(finding->cure, part)))
                fail_msg("saw %s %s %s: %s (%s), wanted %s %s with '%s'",
                         verdict_to_string(finding->verdict), finding->check, finding->subject,
                         finding->text, finding->cure, verdict_to_string(verdict), check, part);
}

static void assert_only(Verdict verdict, const char *check, const char *part) {
        assert_finding(0, verdict, check, part);
        if (report.count != 1)
                fail_msg("saw another finding: %s: %s", report.findings[1].check, report.findings[1].text);
        report_clear(&report);
}

static void assert_failure(Failure wanted, const char *check, const char *part) {
        if (report.count > 0 && report.findings[0].failure != wanted)
                fail_msg("saw failure %s, wanted %s", failure_to_string(report.findings[0].failure),
                         failure_to_string(wanted));
        assert_only(VERDICT_FAILURE, check, part);
}

static void test_the_first_failure_decides_the_exit_status(void **state) {
        const Error tpm = { .failure = FAILURE_TPM, .text = "one" },
                    role = { .failure = FAILURE_ROLE, .text = "two" };

        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        report_add(&report, "a", NULL, VERDICT_NOTE, NULL, "a note");
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        report_add(&report, "a", NULL, VERDICT_SKIPPED, NULL, "not looked at");
        assert_int_equal(report_exit_status(&report), DOCTOR_INCOMPLETE);
        report_add(&report, "a", NULL, VERDICT_WARNING, NULL, "odd");
        assert_int_equal(report_exit_status(&report), DOCTOR_WARNINGS);
        report_error(&report, "b", NULL, &tpm, NULL);
        report_error(&report, "c", NULL, &role, NULL);
        assert_int_equal(report_exit_status(&report), FAILURE_TPM);
}

static void test_a_finding_has_no_control_characters(void **state) {
        report_add(&report, "a", "sub\033ject", VERDICT_NOTE, "cu\tre", "%s", "te\033[31mxt\nof two lines");
        assert_string_equal(report.findings[0].text, "te?[31mxt of two lines");
        assert_string_equal(report.findings[0].subject, "sub?ject");
        assert_string_equal(report.findings[0].cure, "cu?re");
}

static size_t told;

static void tell(const Finding *finding) {
        told++;
}

static void test_each_finding_is_told_when_it_is_made(void **state) {
        report.found = tell;
        report_add(&report, "a", NULL, VERDICT_OK, NULL, "one");
        assert_int_equal(told, 1);
        report_add(&report, "a", NULL, VERDICT_OK, NULL, "two");
        assert_int_equal(told, 2);
}

static DeviceFacts good_device(void) {
        return (DeviceFacts){ .path = "/dev/tpm0",
                              .mode = S_IFCHR | 0660,
                              .gid = 7,
                              .has_user = true,
                              .user = 8,
                              .group = 7 };
}

static void test_the_tpm_s_node_must_be_unseald_s_to_open(void **state) {
        DeviceFacts facts = good_device();

        check_tpm_device(&report, &facts);
        assert_only(VERDICT_OK, "tpm-device", "/dev/tpm0");
        (void) stpcpy(facts.holder, "tpm2-abrmd (PID 12)");
        check_tpm_device(&report, &facts);
        assert_only(VERDICT_OK, "tpm-device", "held by tpm2-abrmd (PID 12)");

        facts.gid = 9;
        check_tpm_device(&report, &facts);
        assert_failure(FAILURE_TPM, "tpm-device", "udev rule");
        facts.uid = facts.user;
        check_tpm_device(&report, &facts);
        assert_only(VERDICT_OK, "tpm-device", "may open it");
        facts.mode = S_IFCHR | 0060;
        check_tpm_device(&report, &facts);
        assert_failure(FAILURE_TPM, "tpm-device", "mode 0060, user 8");

        facts = good_device();
        facts.mode = S_IFCHR | 0666;
        check_tpm_device(&report, &facts);
        assert_only(VERDICT_WARNING, "tpm-device", "Every user");
        facts = good_device();
        facts.has_user = false;
        check_tpm_device(&report, &facts);
        assert_only(VERDICT_WARNING, "tpm-device", "the user unseald, who should");
}

static void test_a_tpm_that_is_no_device_is_told(void **state) {
        DeviceFacts facts = good_device();

        facts.r = -ENOENT;
        check_tpm_device(&report, &facts);
        assert_failure(FAILURE_TPM, "tpm-device", "--tpm-support v2.0");
        facts.r = -ELOOP;
        check_tpm_device(&report, &facts);
        assert_failure(FAILURE_TPM, "tpm-device", "cannot be read");
        facts.r = 0;
        facts.mode = S_IFREG | 0660;
        check_tpm_device(&report, &facts);
        assert_failure(FAILURE_TPM, "tpm-device", "not a device");
        facts.path = NULL;
        check_tpm_device(&report, &facts);
        assert_only(VERDICT_NOTE, "tpm-device", "TpmDevice=");
}

static TpmFacts good_tpm(void) {
        return (TpmFacts){ .root = true, .holder = "" };
}

static void test_a_good_tpm_is_ok_in_all_parts(void **state) {
        TpmFacts facts = good_tpm();

        check_tpm(&report, &facts);
        assert_int_equal(report.count, 4);
        assert_finding(0, VERDICT_OK, "tpm", "SHA-384");
        assert_finding(1, VERDICT_OK, "tpm-lockout", "not locked");
        assert_finding(2, VERDICT_OK, "tpm-leftovers", "");
        assert_finding(3, VERDICT_OK, "nitrotpm", "attestation document in");
}

static void test_a_locked_tpm_and_leftovers_are_told(void **state) {
        TpmFacts facts = good_tpm();

        facts.state = (TpmState){ .locked_out = true,
                                  .wrong = 31,
                                  .recovery_sec = 7200,
                                  .foreign_indices = { .handle = { 0x01000000 }, .n = 1 },
                                  .foreign_keys = { .handle = { 0x81000001, 0x81000002, 0x81000007 },
                                                    .n = 3 },
                                  .leftovers = 2 };
        check_tpm(&report, &facts);
        assert_finding(1, VERDICT_FAILURE, "tpm-lockout", "after 31 wrong authorizations");
        assert_finding(2, VERDICT_WARNING, "tpm-leftovers", "1 NV index(es) of 8 KiB: 0x01000000.");
        assert_finding(3, VERDICT_WARNING, "tpm-leftovers",
                       "3 persistent endorsement key(s): 0x81000001, 0x81000002, 0x81000007.");
        assert_finding(4, VERDICT_NOTE, "tpm-leftovers",
                       "or another that attests, had left 2 object(s). They are removed now");
        report_clear(&report);

        facts.state = (TpmState){ .wrong = 3, .wrong_max = 32, .leftovers = 1 };
        facts.document_r = -EIO;
        facts.document_error = (Error){ .failure = FAILURE_NOT_NITRO, .text = "no NitroTPM" };
        facts.pcrs_r = -EOPNOTSUPP;
        facts.pcrs_error = (Error){ .failure = FAILURE_TPM, .text = "bank not active" };
        check_tpm(&report, &facts);
        assert_finding(0, VERDICT_FAILURE, "tpm", "bank not active");
        assert_finding(1, VERDICT_WARNING, "tpm-lockout", "3 wrong authorizations. The maximum is 32");
        assert_finding(2, VERDICT_NOTE, "tpm-leftovers", "next unseald removes");
        assert_finding(3, VERDICT_FAILURE, "nitrotpm", "T family");
}

static void test_a_tpm_that_may_not_be_opened_is_skipped_and_one_that_cannot_fails(void **state) {
        TpmFacts facts = good_tpm();

        facts.r = -EACCES;
        facts.error = (Error){ .failure = FAILURE_TPM, .text = "may not be opened" };
        check_tpm(&report, &facts);
        assert_finding(0, VERDICT_FAILURE, "tpm", "may not be opened");
        assert_finding(1, VERDICT_SKIPPED, "nitrotpm", "");
        report_clear(&report);
        facts.root = false;
        check_tpm(&report, &facts);
        assert_finding(0, VERDICT_SKIPPED, "tpm", "needs root");
        report_clear(&report);

        facts.r = -EBUSY;
        facts.holder = "tcsd (PID 4)";
        check_tpm(&report, &facts);
        assert_finding(0, VERDICT_FAILURE, "tpm", "tcsd (PID 4)");
        report_clear(&report);
        facts.holder = "unseald (PID 4)";
        check_tpm(&report, &facts);
        assert_finding(0, VERDICT_SKIPPED, "tpm", "Try again");
}

static PcrSet good_boot(void) {
        PcrSet measured = { .present = 0xFFFFFF };

        memset(measured.value[4], 0x44, PCR_SIZE);
        memset(measured.value[7], 0x77, PCR_SIZE);
        assert_int_equal(hex_decode(PCR2_WITHOUT_DRIVERS, measured.value[2], PCR_SIZE), 0);
        return measured;
}

/* The measurements of an image whose PCR4 is this byte, as 'unsealctl measure' predicts them. */
static void expect_image(ExpectedFacts *expected, uint8_t four, const char *source) {
        PcrSet measurements = { .present = 1U << 4 };

        memset(measurements.value[4], four, PCR_SIZE);
        expectation_make(&measurements, &(ExpectationOptions){}, &expected->alternatives[expected->n]);
        expected->sources[expected->n++] = source;
}

static void test_pcrs_are_compared_with_what_is_expected(void **state) {
        ExpectedFacts expected = {};
        PcrSet measured = good_boot();

        expect_image(&expected, 0x44, "a file");
        check_pcrs(&report, &measured, &expected, 0, 0);
        assert_finding(0, VERDICT_OK, "pcrs", "As expected by a file (drivers");
        assert_finding(1, VERDICT_OK, "pcrs", "As expected by a file (boot code");
        assert_finding(2, VERDICT_NOTE, "pcrs", "Secure Boot");
        assert_finding(3, VERDICT_OK, "pcrs", "As expected by a file (kernel command line");
        assert_finding(4, VERDICT_OK, "pcrs", "As expected by a file (system extensions");
        assert_int_equal(report.count, 5);
        report_clear(&report);

        memset(measured.value[4], 0x45, PCR_SIZE);
        check_pcrs(&report, &measured, &expected, 0, 0);
        assert_finding(1, VERDICT_WARNING, "pcrs", "boot code");
        assert_finding(1, VERDICT_WARNING, "pcrs", "measured 454545");
        assert_finding(1, VERDICT_WARNING, "pcrs", "expected 444444");
}

static void test_a_pcr_that_a_policy_pins_fails_where_measurements_were_given(void **state) {
        static const unsigned pinned[] = { 2, 4, 12, 13 };
        ExpectedFacts expected = { .demanded = true };
        PcrSet measured = good_boot();

        expect_image(&expected, 0x44, "a file");
        check_pcrs(&report, &measured, &expected, 0, 0);
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        for (size_t i = 0; i < ELEMENTSOF(pinned); i++) {
                char name[16];

                report_clear(&report);
                measured = good_boot();
                measured.value[pinned[i]][0] ^= 1;
                check_pcrs(&report, &measured, &expected, 0, 0);
                assert_int_equal(report_exit_status(&report), FAILURE_DENIED);
                (void) snprintf(name, sizeof(name), "PCR%u", pinned[i]);
                for (size_t j = 0; j < report.count; j++)
                        assert_int_equal(report.findings[j].verdict == VERDICT_FAILURE,
                                         strcmp(report.findings[j].subject, name) == 0);
        }
        report_clear(&report);
        measured = good_boot();
        measured.value[13][0] ^= 1;
        check_pcrs(&report, &measured, &expected, 13, 0);
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
}

/* A boot that has measured secrets into PCR13, with a file that a boot without them has written. */
static void test_a_measured_pcr_is_not_compared(void **state) {
        ExpectedFacts expected = { .demanded = true };
        PcrSet measured = good_boot();

        expect_image(&expected, 0x44, "a file");
        measured.value[13][0] ^= 1;
        check_pcrs(&report, &measured, &expected, 0, UINT32_C(1) << 13);
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        assert_finding(4, VERDICT_NOTE, "pcrs", "(MeasurePcr=13). \"unsealctl verify --event-log=\"");
        report_clear(&report);
        check_pcrs(&report, &(PcrSet){ .present = UINT32_C(1) << 13 }, &expected, 0, UINT32_C(1) << 13);
        assert_finding(0, VERDICT_NOTE, "pcrs", "no secret was measured in this boot");
}

static void test_one_of_several_measurements_must_match_as_a_whole(void **state) {
        ExpectedFacts expected = { .demanded = true };
        PcrSet measured = good_boot();

        expect_image(&expected, 0x33, "old.json");
        expect_image(&expected, 0x44, "new.json");
        check_pcrs(&report, &measured, &expected, 0, 0);
        assert_finding(1, VERDICT_OK, "pcrs", "As expected by new.json (boot code");
        report_clear(&report);
        measured.value[4][0] ^= 1;
        check_pcrs(&report, &measured, &expected, 0, 0);
        assert_finding(1, VERDICT_FAILURE, "pcrs", "DIFFERS from old.json");
}

static void test_pcrs_without_expectation_are_judged_by_what_is_usual(void **state) {
        const ExpectedFacts nothing = {};
        PcrSet measured = good_boot();

        check_pcrs(&report, &measured, &nothing, 0, 0);
        assert_finding(1, VERDICT_NOTE, "pcrs", "444444");
        assert_finding(3, VERDICT_NOTE, "pcrs", "All zeros");
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        report_clear(&report);

        memset(measured.value[2], 2, PCR_SIZE);
        memset(measured.value[4], 0, PCR_SIZE);
        memset(measured.value[12], 1, PCR_SIZE);
        memset(measured.value[13], 1, PCR_SIZE);
        check_pcrs(&report, &measured, &nothing, 0, 0);
        assert_finding(0, VERDICT_WARNING, "pcrs", "Not that of firmware without third-party drivers");
        assert_finding(1, VERDICT_WARNING, "pcrs", "measured no boot code");
        assert_finding(3, VERDICT_WARNING, "pcrs", "Not zeros (kernel command line");
        assert_finding(4, VERDICT_WARNING, "pcrs", "Not zeros (system extensions");
}

static void test_the_lock_pcr_is_zeros_or_locked_once(void **state) {
        PcrSet measured = { .present = 1U << 14 };
        uint8_t digest[PCR_SIZE];

        assert_false(check_lock_pcr(&report, &measured, 0));
        assert_false(check_lock_pcr(&report, &measured, 8));
        assert_int_equal(report.count, 0);
        assert_false(check_lock_pcr(&report, &measured, 14));
        assert_only(VERDICT_OK, "lock-pcr", "Not locked yet");
        assert_int_equal(pcr_lock_digest(digest), 0);
        assert_int_equal(pcr_extend(measured.value[14], digest), 0);
        assert_true(check_lock_pcr(&report, &measured, 14));
        assert_only(VERDICT_OK, "lock-pcr", "Locked once");
        assert_int_equal(pcr_extend(measured.value[14], digest), 0);
        assert_false(check_lock_pcr(&report, &measured, 14));
        assert_only(VERDICT_WARNING, "lock-pcr", "another program");
}

static void test_answer_of_imds_without_token_is_reported(void **state) {
        ImdsFacts facts = { .status = 401 };

        check_imds(&report, &facts);
        assert_only(VERDICT_OK, "imds", "IMDSv2");
        facts.status = 200;
        check_imds(&report, &facts);
        assert_only(VERDICT_NOTE, "imds", "IMDSv1");
        facts.status = 403;
        check_imds(&report, &facts);
        assert_failure(FAILURE_IMDS, "imds", "turned off");
        facts.status = 502;
        check_imds(&report, &facts);
        assert_failure(FAILURE_IMDS, "imds", "502");
        facts.r = -ETIMEDOUT;
        facts.error = (Error){ .failure = FAILURE_IMDS, .text = "no answer" };
        check_imds(&report, &facts);
        assert_failure(FAILURE_IMDS, "imds", "the route to 169.254.169.254");
        facts.contained = true;
        check_imds(&report, &facts);
        assert_failure(FAILURE_IMDS, "imds", "hop-limit");
        facts.no_ipv4 = true;
        check_imds(&report, &facts);
        assert_failure(FAILURE_IMDS, "imds", "--http-protocol-ipv6 enabled");
}

static int parse(const char *text, InstanceFacts *ret) {
        return instance_facts_parse(text, strlen(text), ret);
}

static void test_the_identity_document_is_read(void **state) {
        InstanceFacts facts;

        assert_int_equal(parse("{\"instanceType\": \"m7i.large\", \"region\": \"eu-north-1\", "
                               "\"accountId\": \"222222222222\", "
                               "\"imageId\": 5, \"instanceId\": "
                               "\"i-0123456789012345678901234567890123456789\"}",
                               &facts),
                         0);
        assert_string_equal(facts.type, "m7i.large");
        assert_string_equal(facts.account, "222222222222");
        assert_string_equal(facts.image, "");
        assert_string_equal(facts.id, "");
        assert_int_equal(parse("{\"region\": \"eu-north-1\"}", &facts), -EBADMSG);
        assert_int_equal(parse("{\"instanceType\": \"m7i.large\"}", &facts), -EBADMSG);
        assert_int_equal(parse("<html>", &facts), -EBADMSG);
}

static void test_the_t_family_does_not_attest(void **state) {
        static const char *const none[] = { "t2.micro", "t3.large", "t3a.small", "t4g.nano" };
        static const char *const some[] = { "m7i.large", "trn1.2xlarge", "t", "c7g.large",
                                            "u-3tb1.56xlarge" };
        InstanceFacts facts = {};

        for (size_t i = 0; i < ELEMENTSOF(none); i++) {
                (void) stpcpy(facts.type, none[i]);
                check_instance(&report, &facts);
                assert_failure(FAILURE_NOT_NITRO, "instance", none[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(some); i++) {
                (void) stpcpy(facts.type, some[i]);
                check_instance(&report, &facts);
                assert_only(VERDICT_OK, "instance", some[i]);
        }
}

static void test_credentials_must_not_have_expired(void **state) {
        check_role(&report, "billing", 1000, 999);
        assert_only(VERDICT_OK, "role", "until @1000");
        check_role(&report, "billing", 1000, 1000);
        assert_failure(FAILURE_ROLE, "role", "expired: @1000");
        check_role(&report, "billing", 0, 1000);
        assert_only(VERDICT_OK, "role", "without an end");
}

static void test_the_clock_may_be_five_minutes_off(void **state) {
        static const struct {
                int64_t skew;
                Verdict verdict;
                const char *part;
        } rows[] = {
                { 0, VERDICT_OK, "" },
                { 30, VERDICT_OK, "" },
                { -30, VERDICT_OK, "" },
                { 31, VERDICT_WARNING, "31s behind" },
                { -300, VERDICT_WARNING, "5min ahead of" },
                { 301, VERDICT_FAILURE, "5min 1s behind" },
                { -86400, VERDICT_FAILURE, "1d ahead of" },
                { INT64_MIN, VERDICT_FAILURE, "ahead of" },
                { INT64_MAX, VERDICT_FAILURE, "behind" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                check_clock(&report, "KMS", &(ClockFacts){ .known = true, .skew = rows[i].skew });
                assert_only(rows[i].verdict, "clock", rows[i].part);
        }
        check_clock(&report, "KMS", &(ClockFacts){});
        assert_int_equal(report.count, 0);
}

static void test_private_addresses_are_those_of_a_vpc(void **state) {
        static const char *const private[] = { "10.0.0.1",   "172.16.0.1",  "172.31.255.255", "192.168.1.1",
                                               "100.64.0.1", "100.127.0.1", "fd00::1" };
        static const char *const public[] = { "52.95.1.1", "172.32.0.1", "172.15.0.1", "100.128.0.1",
                                              "11.0.0.1",  "2600::1",    "fe80::1",    "" };

        for (size_t i = 0; i < ELEMENTSOF(private); i++)
                if (!address_is_private(private[i]))
                        fail_msg("%s is private", private[i]);
        for (size_t i = 0; i < ELEMENTSOF(public); i++)
                if (address_is_private(public[i]))
                        fail_msg("%s is public", public[i]);
}

static void test_names_that_do_not_resolve_are_told_from_name_servers_that_do_not_answer(void **state) {
        NamesFacts facts = { .host = "kms", .n_addresses = 2, .addresses = { "10.0.0.5", "10.0.1.5" } };

        check_names(&report, &facts);
        assert_only(VERDICT_OK, "dns", "VPC endpoint");
        (void) stpcpy(facts.addresses[1], "52.95.1.1");
        check_names(&report, &facts);
        assert_only(VERDICT_OK, "dns", "and others");
        facts.unrouted = true;
        check_names(&report, &facts);
        assert_failure(FAILURE_NETWORK, "dns", "DualStack=yes");
        facts.unrouted = false;
        facts.n_addresses = 0;
        check_names(&report, &facts);
        assert_failure(FAILURE_NETWORK, "dns", "it has none");
        facts.error = EAI_NONAME;
        check_names(&report, &facts);
        assert_failure(FAILURE_NETWORK, "dns", "Region in KeyId=");
        facts.error = EAI_AGAIN;
        check_names(&report, &facts);
        assert_failure(FAILURE_NETWORK, "dns", "no name server");
}

static void test_a_region_of_a_replica_that_does_not_answer_is_a_warning(void **state) {
        TlsFacts facts = { .host = "kms" };

        check_replica(&report, "kms", &facts);
        assert_only(VERDICT_OK, "replica", "if the first Region does not answer");
        facts.r = -ENETUNREACH;
        (void) snprintf(facts.error.text, sizeof(facts.error.text), "No way leads there.");
        check_replica(&report, "kms", &facts);
        assert_only(VERDICT_WARNING, "replica", "cannot help: No way leads there.");
        check_replica(&report, "kms", NULL);
        assert_only(VERDICT_WARNING, "replica", "not answer in time");
}

static void test_a_certificate_must_be_trusted_and_last(void **state) {
        TlsFacts facts = { .host = "kms", .certificate_end = 100 * 24 * 3600, .now = 0 };

        check_tls(&report, &facts);
        assert_only(VERDICT_OK, "tls", "Trusted until");
        facts.now = 90 * 24 * 3600;
        check_tls(&report, &facts);
        assert_only(VERDICT_WARNING, "tls", "ends soon");
        facts.certificate_end = -1;
        check_tls(&report, &facts);
        assert_only(VERDICT_OK, "tls", "Trusted");
        facts.r = -EKEYREJECTED;
        facts.error = (Error){ .failure = FAILURE_TLS, .text = "not trusted" };
        check_tls(&report, &facts);
        assert_failure(FAILURE_TLS, "tls", "not trusted");
        facts.error = (Error){ .failure = FAILURE_NETWORK, .text = "refused" };
        check_tls(&report, &facts);
        assert_failure(FAILURE_NETWORK, "tls", "security group");
}

static DryRun refused(Failure why) {
        return (DryRun){ .asked = true, .error = { .failure = why, .text = "KMS's words" } };
}

static void test_a_key_that_somebody_can_replace_is_told_from_one_of_the_image(void **state) {
        static const struct {
                KeyPlace place;
                Verdict verdict;
                const char *part;
        } cases[] = {
                { KEY_READ_ONLY, VERDICT_OK, "Version 3, signed by the key /usr/vendor.pub." },
                { KEY_IN_IMAGE, VERDICT_OK, "root can replace the key, until the next boot" },
                { KEY_CHANGED, VERDICT_WARNING, "was written in this boot" },
                { KEY_WRITABLE, VERDICT_WARNING, "anyone who replaces it can sign" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                check_signature(&report, "db", 3, "/usr/vendor.pub", cases[i].place);
                assert_only(cases[i].verdict, "signature", cases[i].part);
        }
}

static void test_the_layers_of_an_overlay_are_among_the_options_of_its_mount(void **state) {
        static const char options[] =
                        "rw,relatime,xlowerdir=/no,lowerdir=/run/base,upperdir=/run/rw,workdir=/run/work";
        char *value;

        assert_int_equal(mount_option(options, "lowerdir", &value), 0);
        assert_string_equal(value, "/run/base");
        free(value);
        assert_int_equal(mount_option(options, "workdir", &value), 0);
        assert_string_equal(value, "/run/work");
        free(value);
        assert_int_equal(mount_option("rw,upperdir=", "upperdir", &value), 0);
        assert_string_equal(value, "");
        free(value);
        assert_int_equal(mount_option(options, "lower", &value), -ENOENT);
        assert_int_equal(mount_option("", "lowerdir", &value), -ENOENT);
        assert_int_equal(mount_option("rw,lowerdir", "lowerdir", &value), -ENOENT);
        /* a blank, and two lower layers of which the first has a colon in its name */
        assert_int_equal(mount_option("rw,lowerdir=/a\\040b", "lowerdir", &value), -EBADMSG);
        assert_int_equal(mount_option("lowerdir=/a\\:b:/c", "lowerdir", &value), -EBADMSG);
}

static void test_a_new_volume_needs_a_key_that_only_a_document_has_made(void **state) {
        const DryRun allowed = { .asked = true, .allowed = true, .generates = true },
                     none = { .why_not = "no TPM" };
        const DryRun denied = refused(FAILURE_DENIED);

        check_new_key(&report, "db", false, &allowed, &denied);
        assert_finding(0, VERDICT_OK, "new-key", "would make");
        assert_int_equal(report.count, 1);
        report_clear(&report);

        check_new_key(&report, "db", false, &denied, &denied);
        assert_finding(0, VERDICT_WARNING, "new-key", "a new one cannot begin");
        assert_int_equal(report_exit_status(&report), DOCTOR_WARNINGS);
        report_clear(&report);

        check_new_key(&report, "db", true, &denied, &denied);
        assert_finding(0, VERDICT_NOTE, "new-key", "LockPcr=");
        report_clear(&report);

        check_new_key(&report, "db", false, &none, &denied);
        assert_finding(0, VERDICT_SKIPPED, "new-key", "no TPM");
        report_clear(&report);

        check_new_key(&report, "db", false, NULL, &denied);
        assert_int_equal(report.count, 0);
        check_new_key(&report, "db", false, NULL, &allowed);
        assert_finding(0, VERDICT_FAILURE, "key-policy", "would make data keys");
        assert_int_equal(report_exit_status(&report), FAILURE_POLICY);
        report_clear(&report);
}

static void test_a_key_must_open_with_a_document_and_only_with_one(void **state) {
        const DryRun allowed = { .asked = true, .allowed = true }, none = { .why_not = "no role" };
        const DryRun denied = refused(FAILURE_DENIED), throttled = refused(FAILURE_UNAVAILABLE);

        check_key(&report, "db", false, false, &allowed, &denied);
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        assert_finding(1, VERDICT_OK, "key-policy", "denies");
        report_clear(&report);

        check_key(&report, "db", false, false, &allowed, &allowed);
        assert_finding(1, VERDICT_FAILURE, "key-policy", "without any document");
        assert_int_equal(report_exit_status(&report), FAILURE_POLICY);
        report_clear(&report);

        check_key(&report, "db", false, false, &denied, &denied);
        assert_finding(0, VERDICT_FAILURE, "key", "Compare the PCRs");
        assert_finding(1, VERDICT_OK, "key-policy", "denies");
        assert_int_equal(report_exit_status(&report), FAILURE_DENIED);
        report_clear(&report);

        check_key(&report, "db", true, false, &denied, &throttled);
        assert_finding(0, VERDICT_WARNING, "key", "optional");
        assert_finding(1, VERDICT_SKIPPED, "key-policy", "cannot be told");
        report_clear(&report);

        check_key(&report, "db", false, true, &denied, &denied);
        assert_finding(0, VERDICT_NOTE, "key", "LockPcr=");
        assert_int_equal(report_exit_status(&report), DOCTOR_OK);
        report_clear(&report);
        check_key(&report, "db", false, true, &throttled, &denied);
        assert_finding(0, VERDICT_FAILURE, "key", "KMS's words");
        report_clear(&report);

        check_key(&report, "db", false, false, &none, &none);
        assert_finding(0, VERDICT_SKIPPED, "key", "no role");
        assert_finding(1, VERDICT_SKIPPED, "key-policy", "no role");
}

static void test_the_store_must_be_memory_of_root_or_unseald(void **state) {
        StoreFacts facts = { .path = "/run/store",
                             .root = true,
                             .mounts = 1,
                             .mode = 0711,
                             .has_user = true,
                             .user = 8,
                             .uid = 8 };

        check_store(&report, &facts);
        assert_only(VERDICT_OK, "store", "never swapped");
        facts.uid = 9;
        check_store(&report, &facts);
        assert_failure(FAILURE_STORE, "store", "user 9");
        facts.has_user = false;
        facts.user = 9;
        check_store(&report, &facts);
        assert_failure(FAILURE_STORE, "store", "user 9");
        facts.uid = 0;
        facts.mode = 0733;
        check_store(&report, &facts);
        assert_failure(FAILURE_STORE, "store", "mode 0733");
        facts.mounts = 2;
        check_store(&report, &facts);
        assert_only(VERDICT_WARNING, "store", "2 file systems");
        facts.r = -EMEDIUMTYPE;
        facts.error = (Error){ .failure = FAILURE_STORE, .text = "is on a tmpfs" };
        check_store(&report, &facts);
        assert_failure(FAILURE_STORE, "store", "file system over it");
        facts.mounts = 1;
        check_store(&report, &facts);
        assert_failure(FAILURE_STORE, "store", "is on a tmpfs");
        facts.mounts = 0;
        check_store(&report, &facts);
        assert_only(VERDICT_WARNING, "store", "Nothing is mounted");
        facts.r = -EACCES;
        facts.root = false;
        check_store(&report, &facts);
        assert_only(VERDICT_SKIPPED, "store", "needs root");
        facts.r = -ENOENT;
        check_store(&report, &facts);
        assert_only(VERDICT_WARNING, "store", "Nothing is mounted");
}

static void test_consumers_of_what_is_not_declared_are_told(void **state) {
        Remark items[] = { { .text = (char *) "/a.service:7: x", .unit = "a.service" } };
        Remarks remarks = { .items = items, .count = 0 };

        check_consumers(&report, &remarks, 1);
        assert_only(VERDICT_OK, "consumers", "1 credential(s)");
        check_consumers(&report, &remarks, 0);
        assert_only(VERDICT_NOTE, "consumers", "No unit");
        remarks.count = 1;
        check_consumers(&report, &remarks, 1);
        assert_only(VERDICT_WARNING, "consumers", "/a.service:7: x");
        items[0].mistake = true;
        check_consumers(&report, &remarks, 1);
        assert_failure(FAILURE_CONFIGURATION, "consumers", "/a.service:7: x");
        items[0].id = "credential-fallback";
        check_consumers(&report, &remarks, 1);
        assert_only(VERDICT_WARNING, "consumers", "/a.service:7: x");
        items[0].mistake = false;
        items[0].id = "unit-not-enabled";
        check_consumers(&report, &remarks, 0);
        assert_finding(0, VERDICT_NOTE, "consumers", "/a.service:7: x");
        report_clear(&report);

        /* unseald is not installed: a failure only if units wait for it. */
        items[0].mistake = true;
        items[0].id = "not-installed";
        check_consumers(&report, &remarks, 0);
        assert_finding(0, VERDICT_NOTE, "consumers", "/a.service:7: x");
        report_clear(&report);
        check_consumers(&report, &remarks, 1);
        assert_failure(FAILURE_CONFIGURATION, "consumers", "/a.service:7: x");
}

static void test_the_credential_socket_must_listen_for_root(void **state) {
        SocketFacts facts = { .path = "/run/sock", .mode = S_IFSOCK | 0600, .listening = true };

        check_socket(&report, &facts);
        assert_only(VERDICT_OK, "socket", "It listens");
        facts.uid = facts.user = 8;
        check_socket(&report, &facts);
        assert_only(VERDICT_WARNING, "socket", "user 8");
        facts.has_user = true;
        check_socket(&report, &facts);
        assert_only(VERDICT_OK, "socket", "It listens");
        facts.listening = false;
        check_socket(&report, &facts);
        assert_failure(FAILURE_CONFIGURATION, "socket", "No program listens");
        facts.mode = S_IFSOCK | 0666;
        check_socket(&report, &facts);
        assert_only(VERDICT_WARNING, "socket", "mode 0666");
        facts.mode = S_IFREG | 0600;
        check_socket(&report, &facts);
        assert_failure(FAILURE_CONFIGURATION, "socket", "not a socket");
        facts.r = -EACCES;
        check_socket(&report, &facts);
        assert_only(VERDICT_SKIPPED, "socket", "cannot be read");
        facts.r = -ENOENT;
        check_socket(&report, &facts);
        assert_only(VERDICT_NOTE, "socket", "no unit loads from it");
        facts.wanted = true;
        check_socket(&report, &facts);
        assert_failure(FAILURE_CONFIGURATION, "socket", "units load from it");
}

#define SWAP_HEADINGS "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

static void test_swap_on_a_disk_is_warned_of(void **state) {
        check_swap(&report, SWAP_HEADINGS);
        assert_only(VERDICT_OK, "swap", "no swap");
        check_swap(&report,
                   SWAP_HEADINGS "/dev/zram0                              partition\t1024\t0\t100\n");
        assert_only(VERDICT_OK, "swap", "zram");
        check_swap(&report, SWAP_HEADINGS "/dev/zram0 partition\t1024\t0\t100\n/swapfile                    "
                                          "           file\t\t1024\t0\t-2");
        assert_only(VERDICT_WARNING, "swap", "/swapfile");
        assert_int_equal(report.count, 0);
        check_swap(&report, NULL);
        assert_only(VERDICT_SKIPPED, "swap", "cannot be read");
        check_swap(&report, "");
        assert_only(VERDICT_OK, "swap", "no swap");
}

static void test_a_volume_is_open_or_says_why_not(void **state) {
        VolumeFacts facts = { .name = "weights", .root = true, .open = true };

        check_volume(&report, &facts);
        assert_only(VERDICT_OK, "volume", "/dev/mapper/unseald-weights");
        facts.unverified = true;
        check_volume(&report, &facts);
        assert_only(VERDICT_NOTE, "volume", "not verified (Integrity=no)");
        facts.unverified = false;
        facts.missing_modules = "dm-verity, erofs";
        check_volume(&report, &facts);
        assert_only(VERDICT_FAILURE, "volume", "no dm-verity, erofs");
        facts.missing_modules = NULL;
        facts.open = false;
        check_volume(&report, &facts);
        assert_only(VERDICT_WARNING, "volume", "not open");
        (void) error_set(&facts.device, -ENOENT, FAILURE_SOURCE, "No EBS volume is attached.");
        check_volume(&report, &facts);
        assert_failure(FAILURE_SOURCE, "volume", "No EBS volume");
        report_clear(&report);
        facts.root = false;
        check_volume(&report, &facts);
        assert_only(VERDICT_SKIPPED, "volume", "Only root");
}

static void test_hibernation_takes_a_kernel_that_can_and_a_device(void **state) {
        check_hibernation(&report, NULL, NULL);
        assert_only(VERDICT_NOTE, "hibernation", "");
        check_hibernation(&report, "freeze mem\n", "259:2\n");
        assert_only(VERDICT_OK, "hibernation", "cannot");
        check_hibernation(&report, "freeze mem disk\n", "0:0\n");
        assert_only(VERDICT_OK, "hibernation", "No device");
        check_hibernation(&report, "freeze mem disk\n", NULL);
        assert_only(VERDICT_OK, "hibernation", "No device");
        check_hibernation(&report, "freeze mem disk\n", "259:2\n");
        assert_only(VERDICT_WARNING, "hibernation", "can hibernate");
}

static void test_core_dumps_of_applications_are_told(void **state) {
        check_core_dumps(&report, NULL);
        assert_only(VERDICT_SKIPPED, "core-dumps", "");
        check_core_dumps(&report, "\n");
        assert_only(VERDICT_OK, "core-dumps", "no core dumps");
        check_core_dumps(&report, "|/bin/false\n");
        assert_only(VERDICT_OK, "core-dumps", "no core dumps");
        check_core_dumps(&report, "|/lib/systemd/systemd-coredump %P %u\n");
        assert_only(VERDICT_NOTE, "core-dumps", "(|/lib/systemd/systemd-coredump)");
}

static void test_the_service_s_state_is_judged(void **state) {
        check_manager(&report, "");
        assert_only(VERDICT_SKIPPED, "systemd", "not known");
        check_manager(&report, "252.39-1~deb12u1");
        assert_only(VERDICT_OK, "systemd", "252.39-1~deb12u1");
        check_manager(&report, "252.4-1161.amzn2023.0.3");
        assert_only(VERDICT_OK, "systemd", "252.4");
        check_manager(&report, "257");
        assert_only(VERDICT_OK, "systemd", "257");
        check_manager(&report, "252.3-1.fc37");
        assert_failure(FAILURE_INTERNAL, "systemd", "Update systemd to 252.4");
        check_manager(&report, "251.19");
        assert_failure(FAILURE_INTERNAL, "systemd", "Update systemd to 252.4");
        check_manager(&report, "252");
        assert_only(VERDICT_WARNING, "systemd", "may be too old");
        check_service(&report, NULL);
        assert_only(VERDICT_SKIPPED, "service", "");
        check_service(&report, "LoadState=not-found\nActiveState=inactive\n");
        assert_failure(FAILURE_CONFIGURATION, "service", "not-found");
        check_service(&report, "");
        assert_failure(FAILURE_CONFIGURATION, "service", "unknown");
        check_service(&report, "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n");
        assert_only(VERDICT_OK, "service", "Running, enabled");
        check_service(&report, "LoadState=loaded\nActiveState=active\nUnitFileState=disabled\n");
        assert_only(VERDICT_WARNING, "service", "not enabled");
        check_service(&report, "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n");
        assert_only(VERDICT_WARNING, "service", "inactive, disabled");
        check_service(&report, "ExecMainStatus=53\nLoadState=loaded\nActiveState=activating\n");
        assert_only(VERDICT_WARNING, "service", "ended with: unavailable");
        check_service(&report, "ExecMainStatus=0\nLoadState=loaded\nActiveState=activating\n");
        assert_only(VERDICT_WARNING, "service", "Not done yet.");
        check_service(&report, "Result=exit-code\nExecMainStatus=60\nLoadState=loaded\nActiveState=failed");
        assert_failure(FAILURE_DENIED, "service", "(exit-code, status 60: access-denied)");
        check_service(&report, "Result=signal\nExecMainStatus=9\nLoadState=loaded\nActiveState=failed");
        assert_failure(FAILURE_INTERNAL, "service", "(signal, status 9)");
}

static void check_status_text(const char *text) {
        _cleanup_json_ struct json_object *status = NULL;

        assert_int_equal(json_parse(text, strlen(text), &status), 0);
        check_status(&report, status);
}

static void test_the_last_errors_are_told_of_the_whole_and_of_each_secret(void **state) {
        check_status(&report, NULL);
        assert_only(VERDICT_NOTE, "status", "no status file");
        check_status_text("{\"state\": \"unsealed\"}");
        assert_only(VERDICT_OK, "status", "unsealed");
        check_status_text("{\"state\": \"unsealed\", \"secrets\": 5}");
        assert_only(VERDICT_OK, "status", "unsealed");
        check_status_text("{\"state\": \"stopped\"}");
        assert_only(VERDICT_NOTE, "status", "was stopped");
        check_status_text(
                        "{\"state\": \"unsealing\", \"waiting\": {\"for\": \"KMS in x\", \"error\": \"busy\"}}");
        assert_only(VERDICT_WARNING, "status", "unsealing; waits for KMS in x: busy");
        check_status_text("{}");
        assert_only(VERDICT_OK, "status", "unknown");

        check_status_text(
                        "{\"state\": \"failed\", \"failure\": \"access-denied\", \"error\": \"KMS "
                        "denies\", \"secrets\": ["
                        "{\"name\": \"a\", \"state\": \"failed\", \"failure\": \"nonsense\"},"
                        "{\"name\": \"b\", \"state\": \"sealed\", \"failure\": \"network\", \"error\": "
                        "\"no route\"},"
                        "{\"name\": \"c\", \"state\": \"published\"},"
                        "{\"name\": \"d\", \"state\": \"failed\", \"failure\": \"access-denied\", \"error\": "
                        "\"KMS denies\"}]}");
        assert_int_equal(report_exit_status(&report), FAILURE_DENIED);
        assert_finding(0, VERDICT_FAILURE, "status", "KMS denies");
        assert_finding(1, VERDICT_FAILURE, "status", "did not say why");
        assert_int_equal(report.findings[1].failure, FAILURE_INTERNAL);
        assert_finding(2, VERDICT_WARNING, "status", "no route");
        assert_finding(3, VERDICT_OK, "status", "published");
        assert_finding(4, VERDICT_FAILURE, "status", "failed: for the reason above.");
}

static void test_the_last_refresh_is_told(void **state) {
        static const struct {
                const char *refresh;
                Verdict verdict;
                const char *text;
        } cases[] = {
                { "{}", VERDICT_NOTE, "None has ended yet." },
                { "{\"last\": \"unchanged\"}", VERDICT_OK, "found no change" },
                { "{\"last\": \"reloaded\"}", VERDICT_OK, "exchanged the secrets" },
                { "{\"last\": \"failed\", \"error\": \"no route\"}", VERDICT_WARNING, "failed: no route" },
                { "{\"last\": \"failed\"}", VERDICT_WARNING, "did not say why" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[128];

                (void) snprintf(text, sizeof(text), "{\"state\": \"unsealed\", \"refresh\": %s}",
                                cases[i].refresh);
                check_status_text(text);
                assert_finding(0, VERDICT_OK, "status", "unsealed");
                assert_finding(1, cases[i].verdict, "refresh", cases[i].text);
                report_clear(&report);
        }
}

static void test_kms_for_applications_is_judged_where_it_is_set(void **state) {
        static char *keys[] = { (char *) "arn:aws:kms:eu-north-1:111122223333:key/a", NULL },
                    *units[] = { (char *) "app.service", NULL };
        Declaration secret = { .name = (char *) "db", .key_ids = keys };
        const Declarations none = {}, one = { .items = &secret, .count = 1 };
        static const struct {
                bool units, shared, listening;
                Verdict verdict;
                const char *text;
        } rows[] = {
                { true, false, true, VERDICT_OK, "It listens for 1 unit(s), which may use 1 key(s)." },
                { true, false, false, VERDICT_WARNING, "Nothing listens on 127.0.0.1:8643" },
                { false, false, true, VERDICT_WARNING, "refuses everybody" },
                { true, true, true, VERDICT_FAILURE, "which is in KeyId= of the secret db" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const Settings settings = { .kms_keys = keys, .kms_units = rows[i].units ? units : NULL };

                check_kms_endpoint(&report, &settings, rows[i].shared ? &one : &none, rows[i].listening);
                assert_only(rows[i].verdict, "kms-endpoint", rows[i].text);
        }
        check_kms_endpoint(&report, &(Settings){}, &one, false);
        assert_int_equal(report.count, 0);
}

static void test_a_module_lacks_only_where_both_lists_say_so(void **state) {
        static const char builtin[] = "kernel/fs/ext4/ext4.ko\nkernel/crypto/authencesn.ko\n";
        static const char dependencies[] =
                        "kernel/drivers/md/dm-crypt.ko.xz: kernel/crypto/encrypted.ko.xz\n";

        assert_true(kernel_may_have("ext4", builtin, dependencies));
        assert_true(kernel_may_have("dm-crypt", builtin, dependencies));
        assert_false(kernel_may_have("dm-verity", builtin, dependencies));
        assert_false(kernel_may_have("authenc", builtin, dependencies));
        assert_false(kernel_may_have("crypt", builtin, dependencies));
        assert_false(kernel_may_have("ext4", "", ""));
        /* The sandbox of unseald-report.service hides the lists. */
        assert_true(kernel_may_have("dm-verity", NULL, dependencies));
        assert_true(kernel_may_have("dm-verity", builtin, NULL));
        assert_true(kernel_may_have("dm-verity", NULL, NULL));
}

static void test_documents_for_applications_are_judged_where_units_are_named(void **state) {
        static char *units[] = { (char *) "app.service", (char *) "app@*.service", NULL };

        check_documents(&report, &(Settings){ .documents_units = units }, true);
        assert_only(VERDICT_OK, "documents", "It listens for 2 unit(s).");
        check_documents(&report, &(Settings){ .documents_units = units }, false);
        assert_only(VERDICT_WARNING, "documents", "Nothing listens on 127.0.0.1:8644");
        check_documents(&report, &(Settings){}, false);
        assert_int_equal(report.count, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_the_first_failure_decides_the_exit_status, forget),
                cmocka_unit_test_teardown(test_documents_for_applications_are_judged_where_units_are_named,
                                          forget),
                cmocka_unit_test(test_a_module_lacks_only_where_both_lists_say_so),
                cmocka_unit_test_teardown(test_a_finding_has_no_control_characters, forget),
                cmocka_unit_test_teardown(test_each_finding_is_told_when_it_is_made, forget),
                cmocka_unit_test_teardown(test_the_tpm_s_node_must_be_unseald_s_to_open, forget),
                cmocka_unit_test_teardown(test_a_tpm_that_is_no_device_is_told, forget),
                cmocka_unit_test_teardown(test_a_good_tpm_is_ok_in_all_parts, forget),
                cmocka_unit_test_teardown(test_a_locked_tpm_and_leftovers_are_told, forget),
                cmocka_unit_test_teardown(
                                test_a_tpm_that_may_not_be_opened_is_skipped_and_one_that_cannot_fails,
                                forget),
                cmocka_unit_test_teardown(test_pcrs_are_compared_with_what_is_expected, forget),
                cmocka_unit_test_teardown(test_a_pcr_that_a_policy_pins_fails_where_measurements_were_given,
                                          forget),
                cmocka_unit_test_teardown(test_a_measured_pcr_is_not_compared, forget),
                cmocka_unit_test_teardown(test_one_of_several_measurements_must_match_as_a_whole, forget),
                cmocka_unit_test_teardown(test_pcrs_without_expectation_are_judged_by_what_is_usual, forget),
                cmocka_unit_test_teardown(test_the_lock_pcr_is_zeros_or_locked_once, forget),
                cmocka_unit_test_teardown(test_answer_of_imds_without_token_is_reported, forget),
                cmocka_unit_test_teardown(test_the_identity_document_is_read, forget),
                cmocka_unit_test_teardown(test_the_t_family_does_not_attest, forget),
                cmocka_unit_test_teardown(test_credentials_must_not_have_expired, forget),
                cmocka_unit_test_teardown(test_the_clock_may_be_five_minutes_off, forget),
                cmocka_unit_test_teardown(test_private_addresses_are_those_of_a_vpc, forget),
                cmocka_unit_test_teardown(
                                test_names_that_do_not_resolve_are_told_from_name_servers_that_do_not_answer,
                                forget),
                cmocka_unit_test_teardown(test_a_region_of_a_replica_that_does_not_answer_is_a_warning,
                                          forget),
                cmocka_unit_test_teardown(test_a_certificate_must_be_trusted_and_last, forget),
                cmocka_unit_test_teardown(test_a_key_that_somebody_can_replace_is_told_from_one_of_the_image,
                                          forget),
                cmocka_unit_test_teardown(test_the_layers_of_an_overlay_are_among_the_options_of_its_mount,
                                          forget),
                cmocka_unit_test_teardown(test_a_key_must_open_with_a_document_and_only_with_one, forget),
                cmocka_unit_test_teardown(test_a_new_volume_needs_a_key_that_only_a_document_has_made,
                                          forget),
                cmocka_unit_test_teardown(test_the_store_must_be_memory_of_root_or_unseald, forget),
                cmocka_unit_test_teardown(test_consumers_of_what_is_not_declared_are_told, forget),
                cmocka_unit_test_teardown(test_the_credential_socket_must_listen_for_root, forget),
                cmocka_unit_test_teardown(test_swap_on_a_disk_is_warned_of, forget),
                cmocka_unit_test_teardown(test_a_volume_is_open_or_says_why_not, forget),
                cmocka_unit_test_teardown(test_hibernation_takes_a_kernel_that_can_and_a_device, forget),
                cmocka_unit_test_teardown(test_core_dumps_of_applications_are_told, forget),
                cmocka_unit_test_teardown(test_the_service_s_state_is_judged, forget),
                cmocka_unit_test_teardown(test_the_last_errors_are_told_of_the_whole_and_of_each_secret,
                                          forget),
                cmocka_unit_test_teardown(test_the_last_refresh_is_told, forget),
                cmocka_unit_test(test_kms_for_applications_is_judged_where_it_is_set),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
