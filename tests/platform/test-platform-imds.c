/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "accounts.h"
#include "imds.h"

static const char description_text[] =
                "{\"accounts\": {\"222222222222\": {\"organization\": \"o-example\", \"root\": {},"
                " \"users\": {\"ann\": {\"access_keys\": [{\"id\": \"AKIAANN\", \"secret\": \"ann's\"}]}},"
                " \"roles\": {\"app\": {\"policies\": [{\"Version\": \"2012-10-17\", \"Statement\":"
                " {\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}]}}}}}";

typedef struct Fixture {
        Accounts *accounts;
        Faults *faults;
        Trail *trail;
        Imds *imds;
} Fixture;

static int load(Accounts *accounts, const char *text, char reason[static 512]) {
        _cleanup_json_ struct json_object *description = NULL;

        assert_int_equal(json_parse(text, strlen(text), &description), 0);
        return accounts_load(accounts, description, reason);
}

static int set_up(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        char reason[512] = "";

        assert_int_equal(accounts_new(&f->accounts), 0);
        assert_int_equal(load(f->accounts, description_text, reason), 0);
        assert_int_equal(faults_new(&f->faults), 0);
        assert_int_equal(trail_new("/dev/null", &f->trail), 0);
        assert_int_equal(platform_imds_new(
                                         &(const ImdsOptions){
                                                         .region = "eu-north-1",
                                                         .instance_id = "i-0123456789abcdef0",
                                                         .account = "222222222222",
                                                         .accounts = f->accounts,
                                                         .faults = f->faults,
                                                         .trail = f->trail,
                                         },
                                         &f->imds),
                         0);
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        Fixture *f = *state;

        platform_imds_free(f->imds);
        trail_free(f->trail);
        faults_free(f->faults);
        accounts_free(f->accounts);
        free(f);
        return 0;
}

/* Returns the body of the reply, or NULL where it has none. The caller frees it. */
static char *ask(Fixture *f, const char *method, const char *path, const SigV4Header *header,
                 unsigned wanted) {
        Exchange exchange = {
                .request = { .method = method,
                             .target = path,
                             .headers = header,
                             .n_headers = header ? 1 : 0 },
                .source = "192.0.2.1",
        };

        platform_imds_handle(&exchange, f->imds);
        if (exchange.status != wanted)
                fail_msg("%s %s: status %u, not %u", method, path, exchange.status, wanted);
        if (!exchange.body)
                return NULL;
        char *body = strndup(exchange.body, exchange.body_size);
        free(exchange.body);
        return body;
}

static void expect(Fixture *f, const char *method, const char *path, const SigV4Header *header,
                   unsigned wanted) {
        free(ask(f, method, path, header, wanted));
}

static char *get_token(Fixture *f, const char *ttl) {
        return ask(f, "PUT", "/latest/api/token",
                   &(const SigV4Header){ "x-aws-ec2-metadata-token-ttl-seconds", ttl }, 200);
}

static void test_tokens_are_required_and_bounded(void **state) {
        static const char *const bad[] = {
                "0", "21601", "-1", "+5", "", "5x", " 5", "99999999999999999999"
        };
        Fixture *f = *state;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                expect(f, "PUT", "/latest/api/token",
                       &(const SigV4Header){ "X-aws-ec2-metadata-token-ttl-seconds", bad[i] }, 400);
        expect(f, "PUT", "/latest/api/token", NULL, 400);
        expect(f, "PUT", "/latest/api/token", &(const SigV4Header){ "X-Forwarded-For", "192.0.2.7" }, 403);
        expect(f, "POST", "/latest/api/token", NULL, 405);
        expect(f, "GET", "/latest/meta-data/instance-id", NULL, 401);
        expect(f, "GET", "/latest/meta-data/instance-id",
               &(const SigV4Header){ "X-aws-ec2-metadata-token", "AAAAAGoAAAAA" }, 401);

        char *token = get_token(f, "21600");
        assert_int_equal(strlen(token), 56);
        char *id = ask(f, "GET", "/latest/meta-data/instance-id",
                       &(const SigV4Header){ "X-aws-ec2-metadata-token", token }, 200);
        assert_string_equal(id, "i-0123456789abcdef0");
        free(id);
        token[3] ^= 1;
        expect(f, "GET", "/latest/meta-data/instance-id",
               &(const SigV4Header){ "X-aws-ec2-metadata-token", token }, 401);
        free(token);
}

static void test_token_ends(void **state) {
        Fixture *f = *state;
        char *token = get_token(f, "60"), reason[256];
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };

        expect(f, "GET", "/latest/meta-data/ami-id", &header, 200);
        assert_int_equal(faults_set(f->faults, (const char *[]){ "imds", "*", "clock", "61" }, 4, reason),
                         0);
        expect(f, "GET", "/latest/meta-data/ami-id", &header, 401);
        free(token);
}

static void test_role_and_user_data_come_and_go(void **state) {
        Fixture *f = *state;
        char *token = get_token(f, "60");
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };
        static const char path[] = "/latest/meta-data/iam/security-credentials/";
        char *body;

        expect(f, "GET", path, &header, 404);
        assert_int_equal(platform_imds_set_role(f->imds, "nobody"), -ENOENT);
        assert_int_equal(platform_imds_set_role(f->imds, "app"), 0);
        body = ask(f, "GET", path, &header, 200);
        assert_string_equal(body, "app");
        free(body);
        expect(f, "GET", "/latest/meta-data/iam/security-credentials/other", &header, 404);
        assert_int_equal(platform_imds_set_role(f->imds, NULL), 0);
        expect(f, "GET", path, &header, 404);

        expect(f, "GET", "/latest/user-data", &header, 404);
        assert_int_equal(platform_imds_set_user_data(f->imds, "hello", 5), 0);
        body = ask(f, "GET", "/2021-07-15/user-data", &header, 200);
        assert_string_equal(body, "hello");
        free(body);
        char *large = calloc(1, 16385);
        assert_int_equal(platform_imds_set_user_data(f->imds, large, 16385), -EFBIG);
        assert_int_equal(platform_imds_set_user_data(f->imds, large, 16384), 0);
        free(large);
        expect(f, "GET", "/latest/nothing", &header, 404);
        body = ask(f, "GET", "/latest/dynamic/instance-identity/document", &header, 200);
        assert_non_null(strstr(body, "\"region\":\"eu-north-1\""));
        free(body);
        free(token);
}

static void expect_body(Fixture *f, const char *path, const SigV4Header *header, const char *wanted) {
        char *body = ask(f, "GET", path, header, 200);

        if (strcmp(body, wanted) != 0)
                fail_msg("GET %s: \"%s\", not \"%s\"", path, body, wanted);
        free(body);
}

static void test_directories_list_what_is_there(void **state) {
        static const struct {
                const char *path, *bare, *whole; /* without and with a role and user data; NULL: 404 */
        } cases[] = {
                { "/", "latest", "latest" },
                { "/latest", "dynamic\nmeta-data", "dynamic\nmeta-data\nuser-data" },
                { "/latest/", "dynamic\nmeta-data", "dynamic\nmeta-data\nuser-data" },
                { "/latest/dynamic/", "instance-identity/", "instance-identity/" },
                { "/latest/dynamic/instance-identity/", "document", "document" },
                { "/latest/dynamic/instance-identity", "document", "document" },
                { "/2021-07-15/meta-data/",
                  "ami-id\ninstance-id\ninstance-type\nlocal-ipv4\nplacement/\nservices/",
                  "ami-id\niam/\ninstance-id\ninstance-type\nlocal-ipv4\nplacement/\nservices/" },
                { "/latest/meta-data/iam/", NULL, "info\nsecurity-credentials/" },
                { "/latest/meta-data/iam/security-credentials/", NULL, "app" },
                { "/latest/meta-data/iam/security-credentials", NULL, "app" },
                { "/latest/meta-data/placement/", "availability-zone\nregion", "availability-zone\nregion" },
                { "/latest/meta-data/services", "domain\npartition", "domain\npartition" },
                { "/latest/meta-data/place/", NULL, NULL },
                { "/latest/meta-data/ami-id/", NULL, NULL },
                { "/latest/meta-data//", NULL, NULL },
        };
        Fixture *f = *state;
        char *token = get_token(f, "60");
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };

        for (int whole = 0; whole < 2; whole++) {
                if (whole) {
                        assert_int_equal(platform_imds_set_role(f->imds, "app"), 0);
                        assert_int_equal(platform_imds_set_user_data(f->imds, "", 0), 0);
                }
                for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                        const char *wanted = whole ? cases[i].whole : cases[i].bare;

                        expect(f, "GET", cases[i].path, NULL, 401);
                        if (wanted)
                                expect_body(f, cases[i].path, &header, wanted);
                        else
                                expect(f, "GET", cases[i].path, &header, 404);
                }
        }
        free(token);
}

/* Clients such as cloud-init's walk the tree. Every name that a directory lists must exist. */
static size_t walk(Fixture *f, const char *directory, const SigV4Header *header) {
        char *list = ask(f, "GET", directory, header, 200), *save = NULL, path[256];
        size_t n = 0;

        for (char *name = strtok_r(list, "\n", &save); name; name = strtok_r(NULL, "\n", &save)) {
                snprintf(path, sizeof(path), "%s%s", directory, name);
                if (path[strlen(path) - 1] == '/')
                        n += walk(f, path, header);
                else {
                        expect(f, "GET", path, header, 200);
                        n++;
                }
        }
        free(list);
        return n;
}

static void test_tree_can_be_walked(void **state) {
        Fixture *f = *state;
        char *token = get_token(f, "60");
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };

        assert_int_equal(walk(f, "/latest/meta-data/", &header), 8);
        assert_int_equal(platform_imds_set_role(f->imds, "app"), 0);
        assert_int_equal(walk(f, "/latest/meta-data/", &header), 10);
        assert_int_equal(walk(f, "/latest/dynamic/", &header), 1);
        free(token);
}

static void test_profile_is_that_of_the_role(void **state) {
        Fixture *f = *state;
        char *token = get_token(f, "60");
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };
        _cleanup_json_ struct json_object *info = NULL;

        expect(f, "GET", "/latest/meta-data/iam/info", &header, 404);
        assert_int_equal(platform_imds_set_role(f->imds, "app"), 0);
        char *body = ask(f, "GET", "/latest/meta-data/iam/info", &header, 200);
        assert_int_equal(json_parse(body, strlen(body), &info), 0);
        assert_string_equal(json_member_string(info, "Code"), "Success");
        assert_string_equal(json_member_string(info, "InstanceProfileArn"),
                            "arn:aws:iam::222222222222:instance-profile/app");
        assert_non_null(json_member_string(info, "LastUpdated"));
        assert_int_equal(strlen(json_member_string(info, "InstanceProfileId")), 21);
        free(body);
        free(token);
}

static struct json_object *get_credentials(Fixture *f, const SigV4Header *header) {
        char *body = ask(f, "GET", "/latest/meta-data/iam/security-credentials/app", header, 200);
        struct json_object *object;

        assert_int_equal(json_parse(body, strlen(body), &object), 0);
        free(body);
        return object;
}

static void test_credentials_authenticate_their_role(void **state) {
        Fixture *f = *state;
        char *token = get_token(f, "60"), reason[512];
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };
        Caller caller;

        assert_int_equal(platform_imds_set_role(f->imds, "app"), 0);
        struct json_object *first = get_credentials(f, &header), *second = get_credentials(f, &header);
        const char *id = json_member_string(first, "AccessKeyId");
        assert_string_equal(id, json_member_string(second, "AccessKeyId"));
        assert_string_equal(json_member_string(first, "Code"), "Success");
        assert_int_equal(accounts_authenticate(f->accounts, id, &caller), 0);
        assert_string_equal(caller.arn, "arn:aws:sts::222222222222:assumed-role/app/i-0123456789abcdef0");
        assert_string_equal(caller.principal->arn, "arn:aws:iam::222222222222:role/app");
        assert_string_equal(caller.principal->organization, "o-example");
        assert_string_equal(caller.secret, json_member_string(first, "SecretAccessKey"));
        assert_string_equal(caller.token, json_member_string(first, "Token"));
        assert_true(caller.expires > time(NULL) + 3600);

        /* After accounts_load() a caller keeps the old accounts, but the session of a role that is gone is
         * unknown. */
        assert_int_equal(load(f->accounts, "{\"accounts\": {}}", reason), 0);
        assert_int_equal(caller.principal->n_policies, 1);
        caller_clear(&caller);
        assert_int_equal(accounts_authenticate(f->accounts, id, &caller), -ENOENT);
        json_object_put(first);
        json_object_put(second);
        free(token);
}

static void test_credentials_can_be_bad(void **state) {
        Fixture *f = *state;
        char *token = get_token(f, "60"), reason[256];
        const SigV4Header header = { "X-aws-ec2-metadata-token", token };
        Caller caller;

        assert_int_equal(platform_imds_set_role(f->imds, "app"), 0);
        assert_int_equal(faults_set(f->faults,
                                    (const char *[]){ "imds", "*", "error", "AssumeRoleUnauthorizedAccess",
                                                      "--times", "1" },
                                    6, reason),
                         0);
        struct json_object *object = get_credentials(f, &header);
        assert_string_equal(json_member_string(object, "Code"), "AssumeRoleUnauthorizedAccess");
        assert_null(json_member(object, "SecretAccessKey"));
        json_object_put(object);

        assert_int_equal(faults_set(f->faults,
                                    (const char *[]){ "imds", "credentials", "expired-credentials",
                                                      "--times", "1" },
                                    5, reason),
                         0);
        object = get_credentials(f, &header);
        assert_int_equal(accounts_authenticate(f->accounts, json_member_string(object, "AccessKeyId"),
                                               &caller),
                         0);
        assert_true(caller.expires < time(NULL));
        caller_clear(&caller);
        json_object_put(object);
        object = get_credentials(f, &header);
        assert_int_equal(accounts_authenticate(f->accounts, json_member_string(object, "AccessKeyId"),
                                               &caller),
                         0);
        assert_true(caller.expires > time(NULL));
        caller_clear(&caller);
        json_object_put(object);
        free(token);
}

static void test_accounts_that_make_no_sense_are_refused(void **state) {
        static const struct {
                const char *text;
                const char *reason;
        } cases[] = {
                { "{}", "\"accounts\" is missing" },
                { "{\"accounts\": {\"123\": {}}}", "12 digits" },
                { "{\"accounts\": {\"222222222222\": {\"roles\": {\"a\": 1}}}}", "is not an object" },
                { "{\"accounts\": {\"222222222222\": {\"users\": {\"a\": {\"access_keys\": [{}]}}}}}",
                  "lacks its id or secret" },
                { "{\"accounts\": {\"222222222222\": {\"users\": {\"a\": {\"policies\": 1}}}}}",
                  "is not an array" },
                { "{\"accounts\": {\"222222222222\": {\"users\": {\"a\": {\"policies\": [{}]}}}}}",
                  "policy 0 of" },
        };
        Fixture *f = *state;
        Caller caller;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char reason[512] = "";
                assert_int_equal(load(f->accounts, cases[i].text, reason), -EBADMSG);
                if (!strstr(reason, cases[i].reason))
                        fail_msg("'%s' is not in '%s'", cases[i].reason, reason);
        }
        /* The accounts from before are still there. */
        assert_int_equal(accounts_authenticate(f->accounts, "AKIAANN", &caller), 0);
        assert_string_equal(caller.arn, "arn:aws:iam::222222222222:user/ann");
        assert_null(caller.token);
        caller_clear(&caller);
}

static void test_description_has_no_secret_unless_wanted(void **state) {
        Fixture *f = *state;
        struct json_object *shown = accounts_describe(f->accounts, false),
                           *whole = accounts_describe(f->accounts, true);

        assert_null(strstr(json_object_to_json_string(shown), "ann's"));
        assert_non_null(strstr(json_object_to_json_string(shown), "AKIAANN"));
        assert_non_null(strstr(json_object_to_json_string(whole), "ann's"));
        json_object_put(shown);
        json_object_put(whole);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_tokens_are_required_and_bounded, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_token_ends, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_role_and_user_data_come_and_go, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_directories_list_what_is_there, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_tree_can_be_walked, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_profile_is_that_of_the_role, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_credentials_authenticate_their_role, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_credentials_can_be_bad, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_accounts_that_make_no_sense_are_refused, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_description_has_no_secret_unless_wanted, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
