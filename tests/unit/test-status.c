/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "failing-memory.h"

#include "basic/io.h"
#include "basic/json.h"
#include "unsealing/status-file.h"

static void test_the_members_of_a_bundle_are_listed(void **state) {
        static char key[] = "tls.key", chain[] = "tls.chain", unit[] = "web.service",
                    *units[] = { unit, NULL };
        Declaration members[] = { { .name = chain, .member = chain + 4, .optional = true },
                                  { .name = key, .member = key + 4, .units = units } };
        const ManifestMember places[] = { { .name = "key", .size = 5 } };
        StatusSecret secret = { .name = "tls", .state = "kept", .members = { members, 2, places, 1 } };
        const Status status = { .state = "unsealed", .secrets = &secret, .secrets_count = 1 };

        for (unsigned kept = 0; kept < 2; kept++) {
                _cleanup_free_ char *text = NULL;

                secret.members.places = kept ? places : NULL;
                assert_int_equal(status_to_json(&status, &(StatusNow){ 7, 3 }, &text), 0);
                assert_non_null(strstr(text, "\"members\":["));
                assert_non_null(strstr(text, "\"name\":\"tls.chain\""));
                assert_non_null(strstr(text, "\"name\":\"tls.key\""));
                assert_non_null(strstr(text, "\"web.service\""));
                assert_int_equal(strstr(text, "\"missing\":true") != NULL, kept);
                assert_int_equal(strstr(text, "\"missing\":false") != NULL, kept);
        }
        secret.members = (StatusMembers){};
        {
                _cleanup_free_ char *text = NULL;

                assert_int_equal(status_to_json(&status, &(StatusNow){ 7, 3 }, &text), 0);
                assert_null(strstr(text, "members"));
        }
}

static void test_status_says_state_secrets_steps_and_errors(void **state) {
        Error error = { .failure = FAILURE_DENIED,
                        .text = "No.",
                        .code = "AccessDeniedException",
                        .request_id = "r-1" };
        StatusSecret secrets[] = {
                { .name = "a",
                  .state = "published",
                  .source = "/a",
                  .key_id = "arn:a",
                  .policy = "gates",
                  .attempts = 1,
                  .duration_usec = 5 },
                { .name = "b",
                  .state = "failed",
                  .source = "/b",
                  .key_id = "arn:b",
                  .error = &error,
                  .attempts = 2 },
        };
        StatusStep steps[] = { { .name = "key pair", .start_usec = 10, .duration_usec = 20 } };
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *list;

        assert_int_equal(status_to_json(&(Status){ .state = "failed",
                                                   .text = "quote \" and \n",
                                                   .error = &error,
                                                   .explanation = "PCR4\ndiffers",
                                                   .secrets = secrets,
                                                   .secrets_count = 2,
                                                   .steps = steps,
                                                   .steps_count = 1 },
                                        &(StatusNow){ 7, 3 }, &text),
                         0);
        assert_int_equal(json_parse(text, strlen(text), &root), 0);
        assert_string_equal(json_member_string(root, "state"), "failed");
        assert_string_equal(json_member_string(root, "status"), "quote \" and \n");
        assert_string_equal(json_member_string(root, "failure"), "access-denied");
        assert_string_equal(json_member_string(root, "explanation"), "PCR4\ndiffers");
        assert_int_equal(json_object_get_int64(json_member(root, "since_usec")), 7);
        list = json_member(root, "secrets");
        assert_int_equal(json_object_array_length(list), 2);
        assert_null(json_member_string(json_object_array_get_idx(list, 0), "error"));
        assert_string_equal(json_member_string(json_object_array_get_idx(list, 0), "policy"), "gates");
        assert_null(json_member(json_object_array_get_idx(list, 1), "policy"));
        assert_string_equal(json_member_string(json_object_array_get_idx(list, 1), "request_id"), "r-1");
        assert_string_equal(json_member_string(json_object_array_get_idx(list, 1), "code"),
                            "AccessDeniedException");
        list = json_member(root, "steps");
        assert_int_equal(json_object_get_int64(
                                         json_member(json_object_array_get_idx(list, 0), "duration_usec")),
                         20);
}

/* unsealctl status and other programs read every one of these. */
static void test_every_member_has_its_value(void **state) {
        static const char wanted[] =
                        "{\"version\":1,\"state\":\"failed\",\"since_usec\":6,\"written_usec\":1007,"
                        "\"written_monotonic_usec\":103,\"status\":\"No.\","
                        "\"waiting\":{\"for\":\"the TPM\",\"step\":\"TPM\",\"since_usec\":1004,"
                        "\"since_monotonic_usec\":100,\"attempts\":0},"
                        "\"callers\":[{\"unit\":\"a.service\",\"credential\":\"a\",\"since_usec\":1006,"
                        "\"since_monotonic_usec\":102}],"
                        "\"failure\":\"access-denied\",\"error\":\"No.\",\"code\":\"AccessDeniedException\","
                        "\"request_id\":\"r-1\",\"final\":true,\"message_id\":\"m\",\"explanation\":\"PCR4\","
                        "\"secrets\":[{\"name\":\"a\",\"state\":\"failed\",\"source\":\"/a\",\"key_id\":\"arn:a\","
                        "\"policy\":\"gates\",\"units\":[\"a.service\",\"b.service\"],\"optional\":true,"
                        "\"waiting\":{\"for\":\"KMS\",\"step\":\"decryption\",\"secret\":\"a\",\"since_usec\":1005,"
                        "\"since_monotonic_usec\":101,\"attempts\":2,\"next_usec\":1010,"
                        "\"next_monotonic_usec\":106,\"failure\":\"access-denied\",\"error\":\"No.\","
                        "\"code\":\"AccessDeniedException\",\"request_id\":\"r-1\"},\"failure\":\"access-denied\",\"error\":\"No.\","
                        "\"code\":\"AccessDeniedException\",\"request_id\":\"r-1\",\"attempts\":2,"
                        "\"duration_usec\":5}],"
                        "\"steps\":[{\"name\":\"TPM\",\"start_usec\":10,\"duration_usec\":20}]}";
        Error error = { .failure = FAILURE_DENIED,
                        .text = "No.",
                        .code = "AccessDeniedException",
                        .request_id = "r-1" };
        char *units[] = { (char[]){ "a.service" }, (char[]){ "b.service" }, NULL };
        StatusSecret secret = { .name = "a",
                                .units = units,
                                .optional = true,
                                .waiting = { .what = "KMS",
                                             .step = "decryption",
                                             .secret = "a",
                                             .since_usec = 101,
                                             .next_usec = 106,
                                             .attempts = 2,
                                             .error = &error },
                                .state = "failed",
                                .source = "/a",
                                .key_id = "arn:a",
                                .policy = "gates",
                                .error = &error,
                                .attempts = 2,
                                .duration_usec = 5 };
        StatusStep step = { .name = "TPM", .start_usec = 10, .duration_usec = 20 };
        Caller caller = { .request = { "a.service", "a" }, .since_usec = 102 };
        _cleanup_json_ struct json_object *root = NULL;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(status_to_json(&(Status){ .state = "failed",
                                                   .since_usec = 6,
                                                   .text = "No.",
                                                   .waiting = { .what = "the TPM",
                                                                .step = "TPM",
                                                                .since_usec = 100 },
                                                   .callers = &caller,
                                                   .callers_count = 1,
                                                   .message_id = "m",
                                                   .error = &error,
                                                   .explanation = "PCR4",
                                                   .secrets = &secret,
                                                   .secrets_count = 1,
                                                   .steps = &step,
                                                   .steps_count = 1 },
                                        &(StatusNow){ .realtime = 1007, .monotonic = 103 }, &text),
                         0);
        assert_int_equal(json_parse(text, strlen(text), &root), 0);
        assert_string_equal(json_object_to_json_string_ext(root, JSON_C_TO_STRING_NOSLASHESCAPE), wanted);
}

static void test_an_empty_status_is_json(void **state) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ struct json_object *root = NULL;

        assert_int_equal(status_to_json(&(Status){ .state = "unsealing" }, &(StatusNow){}, &text), 0);
        assert_int_equal(json_parse(text, strlen(text), &root), 0);
        assert_null(json_member(root, "failure"));
        assert_int_equal(json_object_array_length(json_member(root, "secrets")), 0);
}

static void test_the_status_file_can_be_read_by_everybody(void **state) {
        char directory[] = "/tmp/unseald-test-status-XXXXXX", path[64];
        _cleanup_free_ uint8_t *text = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        struct stat st;
        size_t size;

        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof(path), "%s/status.json", directory);
        assert_int_equal(status_write(path, &(Status){ .state = "unsealing" }), 0);
        assert_int_equal(status_write(path, &(Status){ .state = "unsealed" }), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        assert_int_equal(read_file(path, 4096, &text, &size), 0);
        assert_int_equal(json_parse((const char *) text, size, &root), 0);
        assert_string_equal(json_member_string(root, "state"), "unsealed");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(directory), 0);
        assert_true(status_write("/nonexistent/status.json", &(Status){ .state = "unsealed" }) < 0);
}

/* Returns the state that the file says; empty: it says none. */
static const char *state_in(const char *path) {
        static char state[32];
        _cleanup_free_ uint8_t *text = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        size_t size;

        state[0] = 0;
        if (read_file(path, 4096, &text, &size) >= 0 && json_parse((const char *) text, size, &root) >= 0)
                (void) snprintf(state, sizeof(state), "%s", json_member_string(root, "state") ?: "");
        return state;
}

static void test_the_status_of_a_failure_outlives_a_stop(void **state) {
        char directory[] = "/tmp/unseald-test-status-XXXXXX", path[64];

        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof(path), "%s/status.json", directory);
        assert_int_equal(status_set_stopped(path), 0);
        assert_int_equal(access(path, F_OK), -1);

        assert_int_equal(status_write(path, &(Status){ .state = "failed" }), 0);
        assert_int_equal(status_set_stopped(path), 0);
        assert_string_equal(state_in(path), "failed");

        assert_int_equal(status_write(path, &(Status){ .state = "unsealed" }), 0);
        assert_int_equal(status_set_stopped(path), 0);
        assert_string_equal(state_in(path), "stopped");

        assert_int_equal(write_file_atomic(path, "{", 1, 0644), 0);
        assert_int_equal(status_set_stopped(path), 0);
        assert_string_equal(state_in(path), "stopped");

        assert_int_equal(write_file_atomic(path, "{}", 2, 0644), 0);
        assert_int_equal(status_set_stopped(path), 0);
        assert_string_equal(state_in(path), "stopped");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(directory), 0);
        assert_int_equal(status_set_stopped("/dev/null/status.json"), -ENOTDIR);
}

/* All else that the file says stays, a version of 64 bits above all. */
static void test_a_refresh_is_put_into_the_status(void **state) {
        static const char before[] =
                        "{\"state\": \"unsealed\", \"refresh\": {\"last\": \"failed\", \"error\": \"No.\"}, "
                        "\"secrets\": [{\"version\": 18446744073709551615}]}";
        const StatusNow now = { .realtime = 1000, .monotonic = 100 };
        const Error error = { .failure = FAILURE_SOURCE, .text = "No \033 object." };
        StatusRefresh refresh = { .interval_usec = 60, .next_usec = 160 };
        _cleanup_free_ char *first = NULL, *second = NULL;
        _cleanup_json_ struct json_object *root = NULL, *again = NULL;
        struct json_object *member;
        char *none = NULL;

        assert_int_equal(status_add_refresh(before, strlen(before), &refresh, &now, &first), 0);
        assert_int_equal(json_parse(first, strlen(first), &root), 0);
        member = json_member(root, "refresh");
        assert_int_equal(json_object_get_int64(json_member(member, "interval_usec")), 60);
        assert_int_equal(json_object_get_int64(json_member(member, "next_usec")), 1060);
        assert_int_equal(json_object_get_int64(json_member(member, "next_monotonic_usec")), 160);
        assert_null(json_member(member, "last"));
        assert_null(json_member(member, "last_usec"));
        assert_null(json_member(member, "error"));
        assert_int_equal(json_object_get_int64(json_member(root, "written_usec")), 1000);
        assert_non_null(strstr(first, "18446744073709551615"));

        refresh = (StatusRefresh){
                .interval_usec = 60, .next_usec = 160, .last_usec = 90, .last = "failed", .error = &error
        };
        assert_int_equal(status_add_refresh(first, strlen(first), &refresh, &now, &second), 0);
        assert_int_equal(json_parse(second, strlen(second), &again), 0);
        member = json_member(again, "refresh");
        assert_string_equal(json_member_string(member, "last"), "failed");
        assert_int_equal(json_object_get_int64(json_member(member, "last_usec")), 990);
        assert_string_equal(json_member_string(member, "failure"), "source");
        assert_null(strchr(json_member_string(member, "error"), '\033'));

        assert_int_equal(status_add_refresh("{", 1, &refresh, &now, &none), -EBADMSG);
        assert_int_equal(status_add_refresh("{}", 2, &refresh, &now, &none), -EBADMSG);
        assert_null(none);
        assert_int_equal(status_set_refresh("/nonexistent/status.json", &refresh), -ENOENT);
}

/* An old status would be untrue. A file that is none of ours, such as a device, stays. */
static void test_a_status_that_cannot_be_replaced_is_removed(void **state) {
        char directory[] = "/tmp/unseald-test-status-XXXXXX", path[64];
        struct rlimit old;

        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof(path), "%s/status.json", directory);
        assert_int_equal(status_write(path, &(Status){ .state = "unsealing" }), 0);
        (void) signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1, old.rlim_max }), 0);
        assert_int_equal(status_write(path, &(Status){ .state = "unsealed" }), -EFBIG);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(status_write("/dev/full", &(Status){ .state = "unsealed" }), -ENOSPC);
        assert_int_equal(access("/dev/full", F_OK), 0);
        assert_int_equal(rmdir(directory), 0);
}

/* A member may be missing. Every reader would refuse a text that is cut. */
static void test_without_memory_the_status_is_json_or_there_is_none(void **state) {
        char unit[] = "a.service", *const units[] = { unit, NULL };
        const Error error = { .failure = FAILURE_DENIED, .text = "No.", .code = "AccessDeniedException" };
        const StatusSecret secret = { .name = "a", .state = "failed", .units = units, .error = &error };
        bool failed = true;

        if (!memory_can_fail())
                skip();
        for (unsigned i = 0; failed; i++) {
                _cleanup_json_ struct json_object *root = NULL;
                _cleanup_free_ char *text = NULL;
                int r;

                memory_fail_after(i);
                r = status_to_json(&(Status){ .state = "failed",
                                              .text = "A line\nand one more.",
                                              .error = &error,
                                              .secrets = &secret,
                                              .secrets_count = 1 },
                                   &(StatusNow){ 7, 3 }, &text);
                failed = memory_has_failed();
                assert_true(r == 0 || (failed && r == -ENOMEM));
                if (r == 0 && json_parse(text, strlen(text), &root) < 0)
                        fail_msg("allocation %u failed, and the status is no JSON: %s", i, text);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_status_says_state_secrets_steps_and_errors),
                cmocka_unit_test(test_the_members_of_a_bundle_are_listed),
                cmocka_unit_test(test_every_member_has_its_value),
                cmocka_unit_test(test_an_empty_status_is_json),
                cmocka_unit_test(test_the_status_of_a_failure_outlives_a_stop),
                cmocka_unit_test(test_a_refresh_is_put_into_the_status),
                cmocka_unit_test(test_a_status_that_cannot_be_replaced_is_removed),
                cmocka_unit_test(test_without_memory_the_status_is_json_or_there_is_none),
                cmocka_unit_test(test_the_status_file_can_be_read_by_everybody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
