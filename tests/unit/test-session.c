/* SPDX-License-Identifier: Apache-2.0 */

#include "session-world.h"
#include "unsealing/refresh.h"
#include "unsealing/session-shared.h"

/* Every activity, with the failure and the name that are reported if it has no answer at the deadline. */
typedef struct Case {
        const char *what;
        Failure silence;
        const char *name;
} Case;

static Case key_pair = { "key-pair", FAILURE_INTERNAL, "key pair" }, tpm = { "TPM", FAILURE_TPM, "TPM" },
            document = { "document", FAILURE_TPM, "attestation document" },
            credentials = { "credentials", FAILURE_IMDS, "credentials" },
            identity = { "identity", FAILURE_IMDS, "instance identity" },
            user_data = { "user-data", FAILURE_IMDS, "user data" },
            connection = { "connection", FAILURE_NETWORK, "connection to KMS" },
            fetch = { "fetch", FAILURE_UNAVAILABLE, "source-of-a" },
            decryption = { "decryption", FAILURE_UNAVAILABLE, "decryption" },
            opening = { "open", FAILURE_UNAVAILABLE, "decryption" },
            probe = { "probe", FAILURE_UNAVAILABLE, "policy probe" }, lock = { "lock", FAILURE_TPM, "lock" };

static bool is_one_of(const Case *it, const Case *a, const Case *b, const Case *c) {
        return it == a || it == b || it == c;
}

/* Declares a secret that needs this activity, and starts. */
static void start_for(const Case *it) {
        static char whole[] = "";
        Declaration *declaration = declare("a");

        if (it == &fetch)
                declaration->source.kind = SOURCE_HTTPS;
        if (it == &user_data) {
                declaration->source.kind = SOURCE_USER_DATA;
                declaration->source.location = whole;
                world.user_data = "YQ=="; /* "a" */
        }
        declaration->bind_account = it == &identity;
        world.settings.verify_policy = it == &probe ? VERIFY_POLICY_YES : VERIFY_POLICY_NO;
        world.settings.lock_pcr = it == &lock ? 14 : 0;
        start();
}

/* Ends everything else that can end. Only the activity stays under way. */
static void lead_to(const Case *it) {
        start_for(it);
        go_on_but(it->what);
        assert_int_equal(count_under_way(it->what), 1);
}

/* As go_on_but(). A connection is opened again only while there is no document, so for it the key pair stays out, too. */
static void go_on_with_attempts(const Case *it) {
        for (size_t i = 0; i < world.under_way_count;) {
                const char *what = world.under_way[i].what;

                if (strcmp(what, it->what) == 0 || (it == &connection && strcmp(what, "key-pair") == 0)) {
                        i++;
                        continue;
                }
                finish(what);
                i = 0;
        }
}

static void lead_to_attempts(const Case *it) {
        start_for(it);
        go_on_with_attempts(it);
        assert_int_equal(count_under_way(it->what), 1);
}

static void all_goes_well_from_here(void) {
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "published:a wiped ended");
}

/* The order of things. */

static void all_that_needs_nothing_begins_at_once(void **state) {
        declare("a");
        start();
        expect("key-pair TPM credentials connection:eu-north-1 ");
        assert_string_equal(world.status, "unsealing");
}

static void a_secret_is_kept_then_published_then_the_key_pair_wiped(void **state) {
        declare("a");
        start();
        expect("key-pair TPM credentials connection:eu-north-1 ");
        finish("key-pair");
        expect("");
        finish("TPM");
        expect("document ");
        finish("credentials");
        finish("connection");
        expect("");
        finish("document");
        expect("decryption:a ");
        finish("decryption");
        expect("open ");
        finish("open");
        expect("hidden:a kept published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "published");
        assert_int_equal(world.tpms, 0);
}

/* Whichever activity ends last. */
static void decryption_waits_for_it(void **state) {
        lead_to(*state);
        assert_int_equal(count_under_way("decryption"), 0);
        finish(((const Case *) *state)->what);
        go_on_but("decryption");
        assert_int_equal(count_under_way("decryption"), 1);
        all_goes_well_from_here();
}

static void nothing_is_published_before_the_last_required_secret_is_here(void **state) {
        declare("a");
        declare("b");
        start();
        go_on_but("open");
        finish("open");
        assert_null(strstr(world.trace, "kept"));
        assert_nothing_published();
        go_on_but(NULL);
        assert_says(world.trace, "hidden:a hidden:b kept published:a published:b wiped ended");
        assert_ended_with(FAILURE_NONE);
}

static void a_secret_that_is_not_for_the_store_is_only_kept(void **state) {
        declare("a")->store = false;
        start();
        go_on_but(NULL);
        assert_says(world.trace, "held kept wiped ended");
        assert_ended_with(FAILURE_NONE);
}

static void each_region_has_a_connection_that_only_its_secrets_wait_for(void **state) {
        declare("a");
        lies_in(declare("b"), "eu-west-1");
        start();
        go_on_but("connection");
        expect("key-pair TPM credentials connection:eu-north-1 connection:eu-west-1 document ");
        finish("connection:eu-west-1");
        expect("decryption:b ");
        finish("connection:eu-north-1");
        expect("decryption:a ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

/* A secret whose key has a replica in eu-west-1. The document is here, and the first attempt to connect to eu-north-1 has failed. */
static void lead_to_a_first_region_that_failed_once(void) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        replicated(declare("a"));
        start();
        fail_with("connection", &unreachable);
        go_on_but(NULL);
        pass(200 * USEC_PER_MSEC);
        expect("key-pair TPM credentials connection:eu-north-1 document decryption:a ");
}

static void a_replica_is_asked_for_if_the_first_region_is_out_of_reach(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        lead_to_a_first_region_that_failed_once();
        fail_with("decryption", &unreachable);
        /* At once: the other Region has not failed. */
        expect("decryption:a in:eu-west-1 ");
        assert_says(world.logged, MESSAGE_OTHER_KEY);
        assert_says(world.logged,
                    "KMS in eu-north-1 does not answer. KMS in eu-west-1 is asked next, for the key arn:aws:kms:eu-west-1:111122223333:key/mrk-");
        finish("decryption");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.regions[0], "eu-west-1");
}

static void the_first_region_is_asked_for_again_after_a_single_failure(void **state) {
        lead_to_a_first_region_that_failed_once();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.logged, MESSAGE_OTHER_KEY));
        assert_string_equal(world.regions[0], "eu-north-1");
}

static void a_region_that_does_not_answer_for_long_is_passed_over_at_once(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        replicated(declare("a"));
        start();
        go_on_but("connection");
        pass(5 * USEC_PER_SEC);
        fail_with("connection", &unreachable);
        expect("key-pair TPM credentials connection:eu-north-1 document decryption:a in:eu-west-1 ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void each_region_is_asked_again_if_none_answers(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        lead_to_a_first_region_that_failed_once();
        fail_with("decryption", &unreachable);
        fail_with("decryption", &unreachable);
        expect("decryption:a in:eu-west-1 ");
        pass(200 * USEC_PER_MSEC);
        expect("decryption:a in:eu-west-1 ");
        fail_with("decryption", &unreachable);
        pass(400 * USEC_PER_MSEC);
        expect("decryption:a ");
        fail_with("decryption", &unreachable);
        pass(10 * USEC_PER_SEC);
        expect("decryption:a in:eu-west-1 ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void another_network_begins_with_the_first_region(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        lead_to_a_first_region_that_failed_once();
        fail_with("decryption", &unreachable);
        change_network();
        fail_with("decryption", &unreachable);
        expect("decryption:a in:eu-west-1 decryption:a ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

/* A secret without a replica can only try the first Region again. This must not keep the others there. */
static void a_secret_with_one_key_keeps_no_other_in_its_region(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        declare("x")->optional = true;
        replicated(declare("a"));
        declare("y")->optional = true;
        start();
        go_on_but("connection");
        pass(5 * USEC_PER_SEC);
        while (count_under_way("connection") > 0)
                fail_with("connection", &unreachable);
        assert_non_null(strstr(world.trace, "decryption:a in:eu-west-1"));
        finish("decryption:a");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.regions[1], "eu-west-1");
}

static void a_region_that_is_given_up_is_no_way_out(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY),
              untrusted = trouble(FAILURE_TLS, REMEDY_NONE);

        replicated(declare("a"));
        declare("b")->optional = true;
        lies_in(world.declarations_items + 1, "eu-west-1");
        start();
        fail_with("connection:eu-west-1", &untrusted);
        go_on_but("connection");
        pass(5 * USEC_PER_SEC);
        fail_with("connection:eu-north-1", &unreachable);
        assert_null(strstr(world.trace, "in:eu-west-1"));
        pass(10 * USEC_PER_SEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.regions[0], "eu-north-1");
}

static void the_other_region_is_connected_to_before_the_document_is_here(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        replicated(declare("a"));
        start();
        finish("credentials");
        pass(5 * USEC_PER_SEC);
        fail_with("connection", &unreachable);
        expect("key-pair TPM credentials connection:eu-north-1 connection:eu-west-1 ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.regions[0], "eu-west-1");
}

/* unseald starts before the network. That nobody can be reached then says nothing of a Region. */
static void a_machine_without_network_asks_in_no_other_region(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        replicated(declare("a"));
        start();
        for (unsigned i = 0; i < 6; i++) {
                fail_with("connection", &unreachable);
                pass(10 * USEC_PER_SEC);
        }
        assert_null(strstr(world.trace, "eu-west-1"));
        assert_null(strstr(world.logged, MESSAGE_OTHER_KEY));
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.regions[0], "eu-north-1");
}

/* Name resolution may start to work a moment after the route. */
static void a_region_has_a_while_after_the_network_has_changed(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        replicated(declare("a"));
        start();
        go_on_but("decryption");
        change_network();
        fail_with("decryption", &unreachable);
        for (unsigned i = 0; i < 3; i++) {
                pass(800 * USEC_PER_MSEC);
                fail_with("decryption", &unreachable);
        }
        assert_null(strstr(world.trace, "in:eu-west-1"));
        pass(10 * USEC_PER_SEC);
        fail_with("decryption", &unreachable);
        assert_non_null(strstr(world.trace, "in:eu-west-1"));
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void an_outage_of_kms_is_silence(void **state) {
        Error outage = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        outage.outage = true;
        replicated(declare("a"));
        start();
        go_on_but("decryption");
        fail_with("decryption", &outage);
        pass(200 * USEC_PER_MSEC);
        fail_with("decryption", &outage);
        expect("key-pair TPM credentials connection:eu-north-1 document decryption:a decryption:a decryption:a in:eu-west-1 ");
        outage.retry_after_usec = 3 * USEC_PER_SEC;
        fail_with("decryption", &outage);
        pass(2 * USEC_PER_SEC);
        assert_string_equal(world.regions[0], "eu-west-1"); /* although the other one is next */
        pass(10 * USEC_PER_SEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

/* KMS fails in both Regions: each secret asks once in each, and then waits. The rounds of many secrets must not feed one another. */
static void secrets_that_fail_in_every_region_wait_before_the_next_round(void **state) {
        Error outage = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);
        unsigned attempts = 0;

        outage.outage = true;
        for (unsigned i = 0; i < 10; i++)
                replicated(declare((char[]){ (char) ('a' + i), 0 }));
        start();
        go_on_but("decryption");
        for (unsigned i = 0; i < 10; i++)
                fail_with("decryption", &outage);
        pass(10 * USEC_PER_SEC);
        for (; count_under_way("decryption") > 0; attempts++)
                fail_with("decryption", &outage);
        assert_in_range(attempts, 10, 20);
        pass(10 * USEC_PER_SEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void what_kms_denies_or_throttles_is_asked_for_nowhere_else(void **state) {
        Error throttled = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY),
              denied = trouble(FAILURE_DENIED, REMEDY_NONE);

        replicated(declare("a"));
        start();
        go_on_but("decryption");
        for (unsigned i = 0; i < 4; i++) {
                fail_with("decryption", &throttled);
                pass(10 * USEC_PER_SEC);
        }
        fail_with("decryption", &denied);
        pass(10 * USEC_PER_SEC);
        assert_ended_with(FAILURE_DENIED);
        assert_null(strstr(world.trace, "in:eu-west-1"));
}

static void only_replicas_are_asked_for_in_place_of_the_first_key(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        declare("a"); /* its second key is another one */
        start();
        go_on_but("connection");
        for (unsigned i = 0; i < 4; i++) {
                fail_with(i == 0 ? "connection" : "decryption", &unreachable);
                pass(10 * USEC_PER_SEC);
        }
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.trace, "in:"));
}

static void with_kms_endpoint_no_replica_is_asked_for(void **state) {
        static char endpoint[] = "https://vpce.example";
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        world.settings.kms_endpoint = endpoint;
        replicated(declare("a"));
        start();
        go_on_but("connection");
        for (unsigned i = 0; i < 4; i++) {
                fail_with(i == 0 ? "connection" : "decryption", &unreachable);
                pass(10 * USEC_PER_SEC);
        }
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.trace, "in:"));
}

static void the_probe_asks_where_kms_answered(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        world.settings.verify_policy = VERIFY_POLICY_YES;
        lead_to_a_first_region_that_failed_once();
        fail_with("decryption", &unreachable);
        finish("decryption");
        go_on_but("probe");
        assert_int_equal(count_under_way("probe"), 1); /* kms_request() compares the key with the Region */
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void declare_forty(SourceKind kind) {
        char name[20];

        for (unsigned i = 0; i < 40; i++) {
                (void) snprintf(name, sizeof(name), "s%02u", i);
                declare(name)->source.kind = kind;
        }
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        assert_int_equal(count_under_way("connection"), 25);
}

static unsigned count_asked(void) {
        return count_under_way("connection") + count_under_way("decryption") + count_under_way("probe");
}

static void forty_secrets_are_asked_for_by_twenty_five_at_a_time(void **state) {
        declare_forty(SOURCE_FILE);
        go_on_but("connection");
        finish("connection");
        assert_int_equal(count_under_way("decryption"), 1);
        finish_all("connection");
        assert_int_equal(count_under_way("decryption"), 25);
        while (world.under_way_count > 0) {
                finish(world.under_way[0].what);
                assert_true(count_asked() <= 25);
                world.trace[0] = 0;
        }
        assert_ended_with(FAILURE_NONE);
}

/* The connections have failed while there was no document. Once there is one, the requests open them. */
static void lead_forty_to_requests_that_connect(void) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        declare_forty(SOURCE_FILE);
        while (count_under_way("connection") > 0)
                fail_with("connection", &unreachable);
        go_on_but(NULL);
        assert_int_equal(world.under_way_count, 0);
        pass(200 * USEC_PER_MSEC);
        assert_int_equal(count_under_way("connection"), 0);
        assert_int_equal(count_under_way("decryption"), SESSION_CONNECTIONS_MAX);
}

static void with_a_document_the_first_requests_open_the_connections(void **state) {
        lead_forty_to_requests_that_connect();
        assert_null(strstr(world.logged, "connection to KMS: done"));
        finish("decryption");
        assert_says(world.logged, "connection to KMS: done");
        assert_int_equal(count_under_way("decryption"), SESSION_CONNECTIONS_MAX);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void requests_that_cannot_connect_wait_together_and_count_as_no_attempt(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);
        unsigned left = SESSION_CONNECTIONS_MAX;

        lead_forty_to_requests_that_connect();
        while (left-- > 0) {
                fail_with("decryption", &unreachable);
                assert_int_equal(count_under_way("decryption"), left);
        }
        assert_null(strstr(world.logged, "decryption of"));
        assert_says(world.logged, "connection to KMS: attempt 2 failed");
        pass(400 * USEC_PER_MSEC - 1);
        assert_int_equal(world.under_way_count, 0);
        pass(1);
        assert_int_equal(count_under_way("decryption"), SESSION_CONNECTIONS_MAX);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.logged, "state=decrypting attempt=2"));
}

static void one_request_that_connects_is_enough(void **state) {
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        lead_forty_to_requests_that_connect();
        fail_with("decryption", &unreachable);
        assert_int_equal(count_under_way("decryption"), SESSION_CONNECTIONS_MAX - 1);
        finish("decryption");
        assert_int_equal(count_under_way("decryption"), SESSION_CONNECTIONS_MAX);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void a_refusal_of_the_first_request_is_the_secrets_and_not_the_connections(void **state) {
        Error throttled = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        lead_forty_to_requests_that_connect();
        fail_with("decryption", &throttled);
        assert_says(world.logged, "connection to KMS: done");
        assert_says(world.logged, "decryption of s00: attempt 1 failed");
        assert_int_equal(count_under_way("decryption"), SESSION_CONNECTIONS_MAX);
        go_on_but(NULL);
        pass(200 * USEC_PER_MSEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void an_answer_that_is_too_long_is_an_answer(void **state) {
        Error too_long = trouble(FAILURE_ANSWER, REMEDY_RETRY);

        lead_forty_to_requests_that_connect();
        fail_with("decryption", &too_long);
        assert_says(world.logged, "connection to KMS: done");
        assert_says(world.logged, "decryption of s00: attempt 1 failed");
        go_on_but(NULL);
        pass(200 * USEC_PER_MSEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void a_certificate_that_is_not_trusted_ends_the_session_also_at_a_request(void **state) {
        Error untrusted = trouble(FAILURE_TLS, REMEDY_NONE);

        lead_forty_to_requests_that_connect();
        while (count_under_way("decryption") > 1)
                fail_with("decryption", &untrusted);
        assert_int_equal(world.ended, 0);
        fail_with("decryption", &untrusted);
        assert_ended_with(FAILURE_TLS);
        assert_nothing_published();
}

static void forty_secrets_are_fetched_by_twenty_five_at_a_time(void **state) {
        declare_forty(SOURCE_HTTPS);
        assert_int_equal(count_under_way("fetch"), 25);
        while (count_under_way("fetch") > 0) {
                finish("fetch");
                assert_true(count_under_way("fetch") <= 25);
        }
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

/* Failures. */

static void a_final_failure_ends_the_session(void **state) {
        const Case *it = *state;
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        lead_to(it);
        world.trace[0] = 0;
        fail_with(it->what, &final);
        assert_ended_with(FAILURE_KEY);
        assert_says(world.error.text, "It is out of order.");
        assert_nothing_published();
        assert_null(strstr(world.trace, "wiped"));
}

static void fail_and_wait(const Case *it, const Error *error, uint64_t delay) {
        fail_with(it->what, error);
        go_on_with_attempts(it);
        assert_int_equal(count_under_way(it->what), 0);
        pass(delay - 1);
        go_on_with_attempts(it);
        assert_int_equal(count_under_way(it->what), 0);
        pass(1);
        go_on_with_attempts(it);
        assert_int_equal(count_under_way(it->what), 1);
}

static void a_passing_failure_is_tried_again_and_not_before_its_time(void **state) {
        const Case *it = *state;
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        lead_to_attempts(it);
        fail_and_wait(it, &passing, 200 * USEC_PER_MSEC);
        fail_and_wait(it, &passing, 400 * USEC_PER_MSEC);
        fail_and_wait(it, &passing, 800 * USEC_PER_MSEC);
        fail_and_wait(it, &passing, 1600 * USEC_PER_MSEC);
        fail_and_wait(it, &passing, 3200 * USEC_PER_MSEC);
        fail_and_wait(it, &passing, 6400 * USEC_PER_MSEC);
        fail_and_wait(it, &passing, RETRY_CAP_USEC);
        fail_and_wait(it, &passing, RETRY_CAP_USEC);
        assert_int_equal(world.ended, 0);
        all_goes_well_from_here();
}

static void the_server_says_when_to_come_again(void **state) {
        Error throttled = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        throttled.retry_after_usec = 30 * USEC_PER_SEC;
        lead_to(&decryption);
        fail_and_wait(&decryption, &throttled, 30 * USEC_PER_SEC);
        all_goes_well_from_here();
}

static void a_server_that_asks_for_an_hour_does_not_get_the_whole_deadline(void **state) {
        Error later = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        later.retry_after_usec = 3600 * USEC_PER_SEC;
        lead_to(&decryption);
        for (unsigned attempt = 1; attempt < 4; attempt++) {
                fail_with("decryption", &later);
                pass(DEADLINE_USEC / 4 - 1);
                assert_int_equal(count_under_way("decryption"), 0);
                pass(1);
                assert_int_equal(count_under_way("decryption"), 1);
        }
        all_goes_well_from_here();
}

static void a_change_of_the_network_ends_the_waiting_for_it(void **state) {
        const Case *it = *state;
        Error unreachable = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        lead_to_attempts(it);
        for (unsigned i = 0; i < 8; i++) {
                fail_with(it->what, &unreachable);
                pass(RETRY_CAP_USEC);
        }
        fail_with(it->what, &unreachable);
        assert_int_equal(count_under_way(it->what), 0);
        pass(1);
        change_network();
        assert_int_equal(count_under_way(it->what), 1);
        /* The backoff starts again with the first attempt after the change. */
        pass(1);
        fail_with(it->what, &unreachable);
        pass(1);
        fail_and_wait(it, &unreachable, 400 * USEC_PER_MSEC);
        all_goes_well_from_here();
}

static void a_step_that_failed_on_the_old_network_is_tried_at_once(void **state) {
        Error unreachable = trouble(FAILURE_IMDS, REMEDY_RETRY);

        lead_to(&credentials);
        pass(USEC_PER_SEC);
        change_network();
        fail_with("credentials", &unreachable);
        assert_int_equal(count_under_way("credentials"), 1);
        all_goes_well_from_here();
}

static void a_change_of_the_network_hastens_nothing_else(void **state) {
        const Case *it = *state;
        Error passing = trouble(FAILURE_TPM, REMEDY_RETRY);

        lead_to(it);
        pass(USEC_PER_SEC);
        fail_with(it->what, &passing);
        go_on_but(it->what);
        change_network();
        assert_int_equal(count_under_way(it->what), 0);
        pass(200 * USEC_PER_MSEC);
        all_goes_well_from_here();
}

static void jitter_needs_no_random_numbers_from_the_kernel(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        world.no_random = true;
        lead_to(&decryption);
        fail_with("decryption", &passing);
        pass(200 * USEC_PER_MSEC);
        all_goes_well_from_here();
}

static void a_job_that_cannot_be_submitted_ends_the_session(void **state) {
        lead_to(&key_pair);
        world.trouble_at = "submit";
        finish("key-pair"); /* then the document's job cannot be submitted */
        assert_ended_with(FAILURE_INTERNAL);
        assert_false(session_waits_for_tpm(world.session));
        assert_nothing_published();
}

static void an_envelope_that_cannot_be_opened_ends_the_session(void **state) {
        lead_to(&decryption);
        world.trouble_at = "submit";
        finish("decryption");
        assert_ended_with(FAILURE_INTERNAL);
        assert_nothing_published();
}

static void a_document_for_another_key_is_refused(void **state) {
        world.document_of_other_key = true;
        lead_to(&document);
        finish("document");
        assert_ended_with(FAILURE_ATTESTATION);
        assert_nothing_published();
}

static void a_failure_to_keep_or_to_publish_publishes_nothing(void **state) {
        const Case *it = *state;

        declare("a");
        declare("b");
        start();
        go_on_but("open");
        finish("open");
        world.trace[0] = 0;
        world.trouble_at = it->what;
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        assert_ended_with(FAILURE_STORE);
        assert_nothing_published();
        /* Without LockPcr= no lock can have failed. */
        assert_says(world.logged, "[" MESSAGE_FAILED " ");
        assert_null(strstr(world.logged, "[" MESSAGE_LOCK_FAILED " "));
        assert_null(strstr(world.trace, "wiped"));
        assert_says(world.trace,
                    strcmp(it->what, "publish") == 0 ? "kept retained:0 " : "abandoned retained:2 ");
}

/* The deadline. */

static void at_the_deadline_a_step_without_an_answer_is_the_failure(void **state) {
        const Case *it = *state;
        bool is_of_tpm = is_one_of(it, &tpm, &document, &lock);
        char text[128];

        lead_to(it);
        pass(DEADLINE_USEC - 1);
        assert_string_equal(world.status, "unsealing");
        pass(1);
        assert_string_equal(world.status, "failed");
        if (is_of_tpm) { /* the session waits, so that nothing stays in the TPM */
                assert_int_equal(world.ended, 0);
                finish(it->what);
        }
        assert_ended_with(it->silence);
        (void) snprintf(text, sizeof(text), "Not within DeadlineSec=2min: no answer yet from %s.", it->name);
        assert_says(world.error.text, text);
        assert_nothing_published();
}

static void at_the_deadline_a_failing_step_reports_its_last_failure(void **state) {
        const Case *it = *state;
        Error passing = trouble(FAILURE_ROLE, REMEDY_RETRY);
        unsigned attempts = 0;

        lead_to_attempts(it);
        while (world.ended == 0) {
                if (count_under_way(it->what) > 0) {
                        fail_with(it->what, &passing);
                        attempts++;
                }
                go_on_with_attempts(it);
                pass(100 * USEC_PER_MSEC);
        }
        assert_ended_with(FAILURE_ROLE);
        assert_int_equal(attempts, 17); /* 0, 0.2, 0.6, … 12.6 s, then one every 10 s */
        assert_says(world.error.text, "Not within DeadlineSec=2min, after 17 attempt(s) at");
        assert_says(world.error.text, "It is out of order.");
        assert_nothing_published();
}

static void at_the_deadline_a_failure_is_reported_before_a_silence(void **state) {
        Error passing = trouble(FAILURE_ROLE, REMEDY_RETRY);

        declare("a");
        start();
        finish("key-pair");
        while (strcmp(world.status, "failed") != 0) {
                if (count_under_way("credentials") > 0)
                        fail_with("credentials", &passing);
                pass(100 * USEC_PER_MSEC);
        }
        finish("TPM"); /* which was silent all the time */
        assert_ended_with(FAILURE_ROLE);
        assert_says(world.error.text, "attempt(s) at credentials: It is out of order.");
}

/* The TPM's thread. */

static void a_failure_waits_for_the_job_of_the_tpm(void **state) {
        const Case *it = *state;
        Error final = trouble(FAILURE_ROLE, REMEDY_NONE);

        declare("a");
        start();
        while (count_under_way(it->what) == 0)
                finish(world.under_way[0].what[0] == 'c' ? world.under_way[1].what
                                                         : world.under_way[0].what);
        fail_with("credentials", &final);
        assert_string_equal(world.status, "failed");
        assert_int_equal(world.ended, 0);
        assert_true(session_waits_for_tpm(world.session));
        finish(it->what);
        assert_ended_with(FAILURE_ROLE);
        assert_false(session_waits_for_tpm(world.session));
}

/* An optional secret needs another document, and the session ends without it. */
static void a_success_waits_for_the_job_of_the_tpm(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        fail_with("decryption:b", &refused);
        world.trace[0] = 0;
        finish("open");
        expect("hidden:a kept published:a wiped ");
        assert_string_equal(world.status, "unsealed");
        assert_true(session_waits_for_tpm(world.session));
        finish("TPM");
        expect("ended ");
        assert_ended_with(FAILURE_NONE);
}

static void a_success_waits_five_seconds_for_the_tpm_and_no_more(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        fail_with("decryption:b", &refused);
        finish("open");
        pass(5 * USEC_PER_SEC - 1);
        assert_int_equal(world.ended, 0);
        pass(1);
        assert_ended_with(FAILURE_NONE);
}

static void a_failure_waits_five_seconds_for_the_tpm_and_no_more(void **state) {
        Error final = trouble(FAILURE_ROLE, REMEDY_NONE);

        declare("a");
        start();
        fail_with("credentials", &final);
        pass(5 * USEC_PER_SEC - 1);
        assert_int_equal(world.ended, 0);
        pass(1);
        assert_ended_with(FAILURE_ROLE);
}

static void objects_that_a_killed_unseald_left_in_the_tpm_are_reported(void **state) {
        world.leftovers = 2;
        lead_to(&tpm);
        all_goes_well_from_here();
        assert_says(world.logged, "Removed 2 object(s) from the TPM");
}

static void objects_in_the_tpm_are_reported_once(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT),
              away = trouble(FAILURE_TPM, REMEDY_RETRY);

        world.leftovers = 2;
        lead_to(&decryption);
        fail_with("decryption", &refused);
        world.logged[0] = 0;
        fail_with("TPM", &away);
        assert_null(strstr(world.logged, "Removed"));
}

static void answers_after_the_end_change_nothing(void **state) {
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        declare("a");
        declare("b");
        declare("c")->source.kind = SOURCE_HTTPS;
        start();
        finish("key-pair");
        finish("TPM");
        finish("document");
        finish("credentials");
        finish_all("connection");
        fail_with("decryption:a", &final);
        finish("decryption:b");
        finish("fetch:c");
        change_network();
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_KEY);
        assert_says(world.error.text, "a: It is out of order.");
        assert_int_equal(world.under_way_count, 0);
        assert_nothing_published();
}

static void a_failure_after_the_end_is_not_tried_again(void **state) {
        static char whole[] = "";
        Error final = trouble(FAILURE_KEY, REMEDY_NONE), passing = trouble(FAILURE_IMDS, REMEDY_RETRY);
        Declaration *of_user_data;

        declare("a")->bind_account = true;
        declare("b")->source.kind = SOURCE_HTTPS;
        of_user_data = declare("c");
        of_user_data->source.kind = SOURCE_USER_DATA;
        of_user_data->source.location = whole;
        start();
        fail_with("fetch", &final);
        assert_string_equal(world.status, "failed");
        fail_with("credentials", &passing);
        fail_with("identity", &passing);
        fail_with("user-data", &passing);
        fail_with("connection", &passing);
        fail_with("key-pair", &passing);
        finish("TPM");
        finish_all("connection");
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_KEY);
        assert_int_equal(world.under_way_count, 0);
        assert_null(strstr(world.logged, MESSAGE_WAITING));
}

static void no_step_is_done_after_the_end(void **state) {
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        declare("a")->bind_account = true;
        declare("b")->source.kind = SOURCE_HTTPS;
        start();
        fail_with("fetch", &final);
        world.logged[0] = 0;
        finish("credentials");
        finish("identity");
        finish("key-pair");
        finish("TPM");
        assert_ended_with(FAILURE_KEY);
        assert_null(strstr(world.logged, ": done in"));
}

/* Documents and credentials that KMS refuses. */

static void a_document_that_kms_refuses_is_made_anew_once(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        lead_to(&decryption);
        world.trace[0] = 0;
        fail_with("decryption", &refused);
        expect("TPM ");
        pass(USEC_PER_SEC);
        expect("");
        finish("TPM");
        expect("document ");
        finish("document");
        expect("decryption:a ");
        fail_with("decryption", &refused);
        expect("ended ");
        assert_ended_with(FAILURE_DOCUMENT);
}

/* "Never refused" is not "refused when the machine started". */
static void a_document_that_kms_refuses_early_in_a_boot_is_made_anew(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        world.now_usec = 2 * USEC_PER_SEC;
        lead_to(&decryption);
        fail_with("decryption", &refused);
        assert_int_equal(world.ended, 0);
        pass(USEC_PER_SEC);
        all_goes_well_from_here();
}

/* The second document was good, and hours later another one is not: that is a new beginning, not a second refusal. */
static void a_document_that_kms_refuses_hours_later_is_made_anew(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);
        Error away = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        world.settings.deadline_usec = 24 * 3600 * USEC_PER_SEC;
        lead_to(&decryption);
        fail_with("decryption", &refused);
        go_on_but("decryption");
        pass(USEC_PER_SEC);
        fail_with("decryption", &away);
        pass(2 * 3600 * USEC_PER_SEC);
        go_on_but("decryption");
        assert_int_equal(count_under_way("decryption"), 1);
        fail_with("decryption", &refused);
        assert_int_equal(world.ended, 0);
        go_on_but("decryption");
        pass(10 * USEC_PER_SEC);
        assert_int_equal(world.documents_count, 3);
        all_goes_well_from_here();
}

static void two_refusals_of_one_document_are_one(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        declare("a");
        declare("b");
        start();
        go_on_but("decryption");
        world.trace[0] = 0;
        pass(1);
        fail_with("decryption:a", &refused);
        fail_with("decryption:b", &refused);
        expect("TPM ");
        finish("TPM");
        finish("document");
        pass(USEC_PER_SEC);
        expect("document decryption:a decryption:b ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void a_document_of_more_than_four_minutes_is_made_anew(void **state) {
        world.settings.deadline_usec = 600 * USEC_PER_SEC;
        lead_to(&credentials);
        world.trace[0] = 0;
        pass(240 * USEC_PER_SEC + 1);
        finish("credentials");
        expect("TPM ");
        finish("TPM");
        finish("document");
        expect("document decryption:a ");
        all_goes_well_from_here();
}

static void a_document_of_four_minutes_is_used(void **state) {
        world.settings.deadline_usec = 600 * USEC_PER_SEC;
        lead_to(&credentials);
        world.trace[0] = 0;
        pass(240 * USEC_PER_SEC);
        finish("credentials");
        expect("decryption:a ");
}

static void an_old_document_is_not_made_anew_while_kms_is_asked_with_it(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        world.settings.deadline_usec = 600 * USEC_PER_SEC;
        declare("a");
        declare("b");
        start();
        go_on_but("decryption");
        world.trace[0] = 0;
        pass(300 * USEC_PER_SEC);
        fail_with("decryption:a", &passing);
        pass(RETRY_CAP_USEC);
        expect("");
        finish("decryption:b");
        expect("open TPM ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void credentials_that_have_expired_are_got_anew_once_for_all(void **state) {
        Error expired = trouble(FAILURE_ROLE, REMEDY_CREDENTIALS);

        declare("a");
        declare("b");
        start();
        go_on_but("decryption");
        world.trace[0] = 0;
        pass(1);
        fail_with("decryption:a", &expired);
        fail_with("decryption:b", &expired);
        expect("credentials ");
        pass(USEC_PER_SEC);
        expect("");
        finish("credentials");
        expect("decryption:a decryption:b ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void credentials_that_expire_again_are_got_again_until_the_deadline(void **state) {
        Error expired = trouble(FAILURE_ROLE, REMEDY_CREDENTIALS);

        lead_to(&decryption);
        while (world.ended == 0) {
                if (count_under_way("decryption") > 0)
                        fail_with("decryption", &expired);
                go_on_but("decryption");
                pass(100 * USEC_PER_MSEC);
        }
        assert_ended_with(FAILURE_ROLE);
}

static void a_wrong_clock_is_mended_at_once_the_first_time(void **state) {
        Error wrong = trouble(FAILURE_CLOCK, REMEDY_CLOCK);

        lead_to(&decryption);
        fail_with("decryption", &wrong);
        assert_int_equal(count_under_way("decryption"), 1);
        fail_and_wait(&decryption, &wrong, 400 * USEC_PER_MSEC);
        all_goes_well_from_here();
}

/* Optional secrets. */

static void an_optional_secret_that_fails_stays_behind(void **state) {
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        fail_with("decryption:b", &final);
        assert_int_equal(world.ended, 0);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "kept published:a wiped");
        assert_string_equal(world.states[0], "published");
        assert_string_equal(world.states[1], "failed");
}

static void an_optional_secret_that_has_failed_once_is_not_waited_for(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        fail_with("decryption:b", &passing);
        finish("decryption:a");
        finish("open");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[1], "failed");
}

static void an_optional_secret_whose_way_is_being_tried_again_is_waited_for(void **state) {
        Error passing = trouble(FAILURE_NETWORK, REMEDY_RETRY);
        Declaration *optional;

        declare("a");
        optional = declare("b");
        lies_in(optional, "eu-west-1");
        optional->optional = true;
        start();
        finish("connection:eu-north-1");
        fail_with("connection:eu-west-1", &passing);
        go_on_but("open");
        pass(200 * USEC_PER_MSEC);
        assert_int_equal(count_under_way("decryption"), 1);
        finish("open");
        assert_int_equal(world.ended, 0);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "published:a published:b");
}

static void an_optional_secret_on_its_way_is_waited_for_until_the_deadline(void **state) {
        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        finish("open");
        pass(DEADLINE_USEC - 1);
        assert_int_equal(world.ended, 0);
        assert_nothing_published();
        pass(1);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "kept published:a wiped");
        assert_string_equal(world.states[1], "failed");
        assert_says(world.logged,
                    "<4>The optional secret b stays sealed: Not within DeadlineSec=2min: no answer yet from decryption. [" MESSAGE_OPTIONAL
                    " secret=b state=failed attempt=1 ");
}

/* As at_the_deadline_a_step_without_an_answer_is_the_failure, for a secret that is left behind. */
static void an_optional_secret_says_what_it_was_waiting_for(void **state) {
        const Case *it = *state;
        char text[160];

        start_for(it);
        world.declarations_items[0].optional = true;
        go_on_but(it->what);
        pass(DEADLINE_USEC);
        if (is_one_of(it, &tpm, &document, NULL))
                finish(it->what);
        assert_ended_with(FAILURE_NONE);
        (void) snprintf(text, sizeof(text),
                        "The optional secret a stays sealed: Not within DeadlineSec=2min: no answer yet from %s. [",
                        it->name);
        assert_says(world.logged, text);
}

/* A final failure of its own, of its way, or one that may pass. */
static void an_optional_secret_says_why_it_failed(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);
        Error untrusted = trouble(FAILURE_TLS, REMEDY_NONE), no_account = untrusted;

        (void) snprintf(untrusted.text, sizeof(untrusted.text), "Not trusted.");
        (void) snprintf(no_account.text, sizeof(no_account.text), "No account.");
        world.settings.lock_pcr = 14;
        declare("a");
        declare("b")->optional = true;
        declare("c")->optional = true;
        lies_in(world.declarations_items + 2, "eu-west-1");
        declare("d")->optional = true;
        world.declarations_items[3].bind_account = true;
        start();
        finish("connection:eu-north-1");
        fail_with("connection:eu-west-1", &untrusted);
        fail_with("identity", &no_account);
        go_on_but("decryption");
        fail_with("decryption:b", &passing);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.logged,
                    "The optional secret b stays sealed for this boot (LockPcr=): It is out of order.");
        assert_says(world.logged,
                    "The optional secret c stays sealed for this boot (LockPcr=): Not trusted.");
        assert_says(world.logged,
                    "The optional secret d stays sealed for this boot (LockPcr=): No account.");
}

static void a_failure_to_keep_at_the_deadline_ends_the_session(void **state) {
        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        finish("open");
        world.trouble_at = "commit";
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_STORE);
        assert_nothing_published();
}

/* KMS refuses the document of an optional secret, and the TPM never answers the request for a new one. */
static void lead_to_a_tpm_that_hangs(void) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        fail_with("decryption:b", &refused);
        finish("decryption:a");
        assert_true(is_under_way("TPM"));
}

static void a_tpm_that_hangs_does_not_hold_up_what_is_published(void **state) {
        lead_to_a_tpm_that_hangs();
        finish("open");
        assert_says(world.trace, "kept published:a wiped ");
        pass(5 * USEC_PER_SEC - 1);
        assert_int_equal(world.ended, 0);
        pass(1);
        assert_ended_with(FAILURE_NONE);
        assert_true(session_waits_for_tpm(world.session));
        world.session = session_free(world.session);
        assert_int_equal(world.tpms, 0);
}

static void a_tpm_that_hangs_is_not_waited_for_beyond_the_deadline(void **state) {
        lead_to_a_tpm_that_hangs();
        pass(DEADLINE_USEC - USEC_PER_SEC);
        finish("open");
        assert_int_equal(world.ended, 0);
        pass(USEC_PER_SEC);
        assert_ended_with(FAILURE_NONE);
}

/* The service manager has been sent all secrets, and has not answered yet. */
static void lead_to_the_barrier(void) {
        world.manager_must_answer = true;
        declare("a");
        start();
        go_on_but("barrier");
        assert_true(is_under_way("barrier"));
        assert_int_equal(world.ended, 0);
        assert_nothing_published();
}

static void what_is_kept_waits_for_a_late_answer_of_the_service_manager(void **state) {
        world.settings.lock_pcr = 14;
        lead_to_the_barrier();
        pass(DEADLINE_USEC - USEC_PER_SEC);
        assert_false(is_under_way("lock"));
        assert_null(strstr(world.trace, "wiped"));
        finish("barrier");
        assert_says(world.trace, "barrier kept lock ");
        assert_nothing_published();
        finish("lock");
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "published:a");
}

static void an_unknown_outcome_ends_the_session(void **state) {
        Error unknown = trouble(FAILURE_INTERNAL, REMEDY_NONE);

        lead_to_the_barrier();
        fail_with("barrier", &unknown);
        assert_ended_with(FAILURE_INTERNAL);
        assert_says(world.trace, "barrier abandoned retained:1 ");
        assert_nothing_published();
}

static void at_the_deadline_the_service_manager_is_not_waited_for(void **state) {
        world.settings.lock_pcr = 14;
        lead_to_the_barrier();
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_INTERNAL);
        assert_says(world.error.text, "Not within DeadlineSec=2min: no answer yet from the service manager");
        assert_says(world.trace, "barrier abandoned retained:1 ");
        assert_null(strstr(world.trace, "lock"));
        assert_nothing_published();
}

static void a_session_that_is_freed_at_the_barrier_abandons_what_it_sent(void **state) {
        lead_to_the_barrier();
        world.session = session_free(world.session);
        assert_says(world.trace, "barrier ");
        assert_says(world.trace, "abandoned retained:1 ");
        assert_false(is_under_way("barrier"));
}

static void an_optional_secret_that_is_being_opened_at_the_deadline_is_not_published(void **state) {
        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("open");
        finish("open");
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "kept published:a wiped");
        assert_null(strstr(world.trace, "published:b"));
}

static void secrets_that_are_all_optional_have_until_the_deadline(void **state) {
        Error passing = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        declare("a")->optional = true;
        start();
        go_on_but("connection");
        fail_with("connection", &passing);
        assert_int_equal(world.ended, 0);
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "failed");
        assert_nothing_published();
}

static void a_required_secret_that_fails_ends_all(void **state) {
        Error final = trouble(FAILURE_CIPHERTEXT, REMEDY_NONE);

        declare("a");
        declare("b");
        declare("c")->optional = true;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        finish("open");
        fail_with("decryption:b", &final);
        assert_ended_with(FAILURE_CIPHERTEXT);
        assert_string_equal(world.error.text, "b: It is out of order.");
        assert_nothing_published();
}

static void the_secrets_of_an_endpoint_that_fails_fail_with_it(void **state) {
        Error final = trouble(FAILURE_TLS, REMEDY_NONE);
        Declaration *optional;

        declare("a");
        optional = declare("b");
        lies_in(optional, "eu-west-1");
        optional->optional = true;
        start();
        go_on_but("connection");
        fail_with("connection:eu-west-1", &final);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "published");
        assert_string_equal(world.states[1], "failed");
}

/* Twenty-five secrets take all places of the fetches. Their endpoint fails while the fetches are under way, and then nobody waits for
 * the answers but the twenty-sixth secret, which needs a place. */
static void a_required_secret_is_fetched_after_those_of_a_failed_endpoint(void **state) {
        Error untrusted = trouble(FAILURE_TLS, REMEDY_NONE);
        char name[16];

        for (unsigned i = 0; i < 26; i++) {
                Declaration *declaration;

                (void) snprintf(name, sizeof(name), "s%02u", i);
                declaration = declare(name);
                declaration->source.kind = SOURCE_HTTPS;
                if (i == 25)
                        continue;
                declaration->optional = true;
                lies_in(declaration, "eu-west-1");
        }
        start();
        assert_int_equal(count_under_way("fetch"), 25);
        while (is_under_way("connection:eu-west-1"))
                fail_with("connection:eu-west-1", &untrusted);
        assert_int_equal(count_under_way("fetch"), 25);
        finish("fetch:s00");
        assert_true(is_under_way("fetch:s25"));
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "failed");
        assert_string_equal(world.states[25], "published");
}

static void a_failure_of_imds_for_optional_secrets_only_ends_nothing(void **state) {
        const Case *it = *state;
        Error final = trouble(FAILURE_IMDS, REMEDY_NONE);
        Declaration *optional;

        declare("a");
        optional = declare("b");
        optional->optional = true;
        optional->bind_account = it == &identity;
        optional->source.kind = it == &user_data ? SOURCE_USER_DATA : SOURCE_FILE;
        start();
        go_on_but(it->what);
        fail_with(it->what, &final);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "published");
        assert_string_equal(world.states[1], "failed");
}

static void a_file_that_cannot_be_read_fails_its_secret(void **state) {
        declare("a");
        world.trouble_at = "file";
        world.trouble = trouble(FAILURE_SOURCE, REMEDY_NONE);
        start();
        assert_ended_with(FAILURE_SOURCE);
        expect("ended ");
}

static void missing_user_data_is_reported(void **state) {
        lead_to(&user_data);
        world.user_data = NULL;
        finish("user-data");
        assert_ended_with(FAILURE_SOURCE);
        assert_says(world.error.text, "This instance has no user data.");
}

static void a_signed_source_waits_for_the_credentials(void **state) {
        declare("a")->source.kind = SOURCE_SSM;
        start();
        expect("key-pair TPM credentials connection:eu-north-1 ");
        finish("credentials");
        expect("fetch:a ");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

/* Signed secrets. KMS is asked only for ciphertext that the vendor has signed. */

static SourceKind from_file = SOURCE_FILE, from_https = SOURCE_HTTPS, from_ssm = SOURCE_SSM,
                  from_credential = SOURCE_CREDENTIAL;

/* Starts with a signed secret, both halves from the same kind of source, and leads it to where it cannot go on by itself. */
static Declaration *declare_signed(const SourceKind *kind) {
        Declaration *declaration = declare("a");

        declaration->source.kind = *kind;
        return demand_signature(declaration, *kind);
}

static unsigned occurrences(const char *text, const char *word) {
        unsigned count = 0;

        for (; (text = strstr(text, word)); text += strlen(word))
                count++;
        return count;
}

static void a_signed_secret_is_fetched_with_its_signature_and_published(void **state) {
        declare_signed(*state);
        start();
        go_on_but(NULL);
        assert_says(world.trace, "decryption:a open hidden:a kept published:a wiped ended ");
        assert_int_equal(occurrences(world.trace, "signature:a "),
                         source_is_remote(&world.declarations_items[0].signature));
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.versions[0], "4");
        assert_says(world.logged, "a: version 4, signed by the key /usr/lib/unseald/vendor.pub.");
        assert_int_equal(world.under_way_count, 0);
}

static void each_half_of_a_pair_is_fetched_from_its_own_source(void **state) {
        Declaration *declaration = declare("a");

        declaration->source.kind = SOURCE_FILE;
        demand_signature(declaration, SOURCE_HTTPS);
        declaration = declare("b");
        declaration->source.kind = SOURCE_SSM;
        demand_signature(declaration, SOURCE_FILE);
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.versions[0], "4");
        assert_string_equal(world.versions[1], "4");
}

static void a_signature_from_user_data_is_awaited(void **state) {
        static char pointer[] = "/sig";
        static char text[512];
        Declaration *declaration = demand_signature(declare("a"), SOURCE_USER_DATA);
        _cleanup_json_ struct json_object *root = json_object_new_object();

        declaration->signature.location = pointer;
        json_object_object_add(root, "sig", json_object_new_string(world.signatures[0]));
        (void) snprintf(text, sizeof(text), "%s", json_object_to_json_string(root));
        world.user_data = text;
        start();
        go_on_but("user-data");
        assert_int_equal(count_under_way("user-data"), 1);
        assert_int_equal(count_under_way("decryption"), 0);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void assert_never_asked(void) {
        assert_null(strstr(world.trace, "decryption"));
        assert_null(strstr(world.trace, "hidden"));
        assert_nothing_published();
}

/* Lets time pass until the session has ended. */
static void wait_for_the_end(void) {
        while (world.ended == 0) {
                go_on_but(NULL);
                pass(USEC_PER_SEC);
        }
}

/* Both halves are fetched anew each time, since either may have been replaced. */
static void a_pair_that_does_not_fit_is_fetched_again_a_few_times_and_then_refused(void **state) {
        Declaration *declaration = declare_signed(&from_https);

        sign(declaration, 4, "another ciphertext");
        start();
        wait_for_the_end();
        assert_ended_with(FAILURE_SIGNATURE);
        assert_never_asked();
        assert_int_equal(occurrences(world.trace, "fetch:a "), 6);
        assert_int_equal(occurrences(world.trace, "signature:a "), 6);
        assert_says(world.error.text,
                    "signature-of-a: The key /usr/lib/unseald/vendor.pub has not signed this ciphertext as version 4 of secret a.");
        assert_string_equal(world.versions[0], "");
}

static void a_pair_from_a_file_is_read_again(void **state) {
        Declaration *declaration = declare_signed(&from_file);

        sign(declaration, 4, "another ciphertext");
        start();
        go_on_but(NULL);
        assert_int_equal(world.ended, 0);
        sign(declaration, 4, declaration->name);
        pass(USEC_PER_SEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.logged, "fetching of a: attempt 1 failed, next in ");
}

static void a_race_between_the_halves_ends_well(void **state) {
        Declaration *declaration = declare_signed(&from_https);

        sign(declaration, 5, "another ciphertext");
        start();
        go_on_but(NULL);
        assert_int_equal(world.ended, 0);
        sign(declaration, 5, declaration->name);
        wait_for_the_end();
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.versions[0], "5");
        assert_int_equal(occurrences(world.trace, "fetch:a "), 2);
}

static void credentials_are_the_same_at_each_attempt_so_a_wrong_signature_is_final(void **state) {
        sign(declare_signed(&from_credential), 4, "another ciphertext");
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_SIGNATURE);
        assert_never_asked();
}

static void a_version_that_is_too_old_is_final(void **state) {
        Declaration *declaration = declare_signed(&from_https);

        sign(declaration, 2, declaration->name);
        start();
        finish("fetch");
        finish("signature");
        go_on_but(NULL);
        assert_ended_with(FAILURE_SIGNATURE);
        assert_never_asked();
        assert_says(world.error.text, "version 2, and this image takes no version below 3 (MinVersion=)");
        assert_says(world.logged, MESSAGE_SIGNATURE " secret=a state=failed");
}

static void a_signature_for_another_name_is_refused(void **state) {
        Declaration *declaration = declare_signed(&from_credential), *other = declare("b");

        other->source.kind = SOURCE_CREDENTIAL;
        demand_signature(other, SOURCE_CREDENTIAL);
        sign(other, 4, declaration->name);
        (void) memcpy(world.signatures[0], world.signatures[1], sizeof(world.signatures[0]));
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_SIGNATURE);
        assert_never_asked();
}

static void a_missing_signature_fails_as_a_missing_ciphertext_does(void **state) {
        Error missing = trouble(FAILURE_SOURCE, REMEDY_NONE);

        declare_signed(&from_https);
        start();
        finish("fetch");
        fail_with("signature", &missing);
        go_on_but(NULL);
        assert_ended_with(FAILURE_SOURCE);
        assert_never_asked();
}

static void a_signature_file_that_cannot_be_read_fails_its_secret(void **state) {
        declare_signed(&from_file);
        world.trouble_at = "signature-file";
        world.trouble = trouble(FAILURE_SOURCE, REMEDY_NONE);
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_SOURCE);
        assert_never_asked();
}

static void after_an_outage_at_the_signature_both_halves_are_fetched_anew(void **state) {
        Error outage = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        declare_signed(&from_https);
        start();
        finish("fetch");
        fail_with("signature", &outage);
        assert_int_equal(count_under_way("fetch") + count_under_way("signature"), 0);
        pass(USEC_PER_SEC);
        assert_int_equal(count_under_way("fetch"), 1);
        assert_int_equal(count_under_way("signature"), 0);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void a_signature_that_does_not_come_is_named_at_the_deadline(void **state) {
        declare_signed(&from_https);
        start();
        go_on_but("signature");
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_UNAVAILABLE);
        assert_says(world.error.text, "no answer yet from signature-of-a.");
        assert_never_asked();
}

static void an_optional_secret_with_a_wrong_signature_stays_sealed(void **state) {
        Declaration *declaration = declare_signed(&from_https);

        declaration->optional = true;
        sign(declaration, 4, "another ciphertext");
        declare("b");
        start();
        wait_for_the_end();
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "failed");
        assert_string_equal(world.states[1], "published");
        assert_null(strstr(world.trace, "decryption:a"));
}

static void a_reload_that_fails_shows_the_version_that_is_published(void **state) {
        Declaration *declaration = declare_signed(&from_https);

        keep("a");
        world.kept.items[0].is_signed = true;
        world.kept.items[0].version = 3;
        world.options.replaced = &world.declarations;
        sign(declaration, 5, declaration->name);
        start();
        go_on_but("decryption");
        assert_says(world.logged, "a: version 5, signed by the key");
        fail_with("decryption", &(Error){ .failure = FAILURE_CIPHERTEXT, .text = "It does not open." });
        go_on_but(NULL);
        assert_int_equal(world.ended, 1);
        assert_string_equal(world.versions[0], "3");
}

static void after_a_restart_the_version_is_known(void **state) {
        declare_signed(&from_https);
        keep("a");
        world.kept.items[0].is_signed = true;
        world.kept.items[0].version = 7;
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.versions[0], "7");
}

/* The control of the tests above: without SignedBy= the same ciphertext is decrypted whatever lies beside it. */
static void without_a_declared_key_no_signature_is_fetched(void **state) {
        declare("a")->source.kind = SOURCE_HTTPS;
        start();
        go_on_but(NULL);
        assert_null(strstr(world.trace, "signature"));
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.versions[0], "");
}

/* Values of the settings and the declarations. The fakes check each of them. */

static void kms_and_sources_are_asked_at_the_endpoints_of_the_settings(void **state) {
        static char endpoint[] = "https://vpce-1.kms.eu-north-1.vpce.amazonaws.com";
        Declaration *declaration = declare("a");

        declaration->source.kind = SOURCE_HTTPS;
        world.settings.fips = *(const int *) *state == 1;
        world.settings.dual_stack = *(const int *) *state == 2;
        world.settings.kms_endpoint = *(const int *) *state == 3 ? endpoint : NULL;
        start();
        all_goes_well_from_here();
}

static void a_source_is_asked_in_the_region_that_the_declaration_names(void **state) {
        static char region[] = "ap-southeast-2";
        Declaration *declaration = declare("a");

        declaration->source.kind = SOURCE_SSM;
        declaration->source_region = region;
        start();
        all_goes_well_from_here();
}

static void a_bound_secret_is_decrypted_and_probed_with_the_account(void **state) {
        declare("a")->bind_account = true;
        declare("b");
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "gates");
}

static void user_data_that_is_too_large_is_refused(void **state) {
        lead_to(&user_data);
        world.declarations_items[0].size_max = 3;
        world.user_data = "TG9uZ2VyIHRoYW4gdGhyZWU=";
        finish("user-data");
        assert_ended_with(FAILURE_SOURCE);
        assert_nothing_published();
}

static void a_file_has_the_declared_owner_and_mode(void **state) {
        static char user[] = "daemon", group[] = "bin";
        Declaration *declaration = declare("a");

        declaration->user = user;
        declaration->group = group;
        declaration->mode = 0440;
        declare("b")->mode = 0404;
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "published:a published:b");
}

static void a_failure_to_open_carries_the_id_of_the_request(void **state) {
        Error broken = trouble(FAILURE_ANSWER, REMEDY_NONE);

        lead_to(&opening);
        fail_with("open", &broken);
        assert_ended_with(FAILURE_ANSWER);
        assert_string_equal(world.error.request_id, "decrypt-a");
}

static void every_step_of_a_secret_is_logged_with_the_id_of_its_request(void **state) {
        declare("a");
        start();
        all_goes_well_from_here();
        assert_says(world.logged, "[" MESSAGE_STEP " secret=a state=sealed attempt=0 request=]");
        assert_says(world.logged, "[" MESSAGE_STEP " secret=a state=kept attempt=1 request=decrypt-a]");
        assert_says(world.logged,
                    "[" MESSAGE_PUBLISHED " secret=a state=published attempt=1 request=decrypt-a]");
}

static void the_journal_is_louder_when_a_secret_is_unsealed(void **state) {
        declare("a");
        start();
        all_goes_well_from_here();
        assert_says(world.logged, "<7>a: sealed after");
        assert_says(world.logged, "<6>a: unsealed after");
        assert_says(world.logged, "<6>a: published after");
}

static void the_journal_is_loud_about_every_power_of_two(void **state) {
        static const char *const priorities[] = { "<5>", "<5>", "<7>", "<5>", "<7>", "<7>", "<7>", "<5>" };
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);
        char words[64];

        lead_to(&decryption);
        for (unsigned i = 0; i < ELEMENTSOF(priorities); i++) {
                world.logged[0] = 0;
                fail_with("decryption", &passing);
                (void) snprintf(words, sizeof(words), "%sdecryption of a: attempt %u failed", priorities[i],
                                i + 1);
                assert_says(world.logged, words);
                pass(RETRY_CAP_USEC);
        }
        all_goes_well_from_here();
}

static void a_failure_has_the_message_of_its_cause(void **state) {
        const Case *it = *state;
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        lead_to(it);
        fail_with(it->what, &final);
        assert_ended_with(FAILURE_KEY);
        assert_says(world.logged, it == &lock ? "[" MESSAGE_LOCK_FAILED " " : "[" MESSAGE_FAILED " ");
        if (it == &credentials)
                assert_says(world.logged, "[" MESSAGE_FAILED " secret= state=failed attempt=0 ");
        if (it == &decryption)
                assert_says(world.logged, "[" MESSAGE_FAILED " secret=a state=failed attempt=1 ");
        if (it == &lock)
                assert_null(strstr(world.logged, "[" MESSAGE_FAILED " "));
        else
                assert_null(strstr(world.logged, "[" MESSAGE_LOCK_FAILED " "));
}

static void a_status_that_cannot_be_written_is_a_warning(void **state) {
        world.trouble_at = "status";
        declare("a");
        start();
        assert_says(world.logged, "<4>Cannot write status: Input/output error");
        world.logged[0] = 0;
        all_goes_well_from_here();
}

static void the_status_lists_the_steps_with_their_durations(void **state) {
        declare("a");
        start();
        pass(USEC_PER_SEC);
        finish("TPM");
        pass(USEC_PER_SEC);
        finish("key-pair");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(
                        world.steps,
                        "TPM 1, key pair 2, credentials 2, connection to KMS 2, attestation document 0, ");
}

static void the_duration_of_a_secret_counts_from_its_first_attempt(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        lead_to(&fetch);
        pass(USEC_PER_SEC);
        fail_with("fetch", &passing);
        pass(200 * USEC_PER_MSEC);
        all_goes_well_from_here();
        assert_int_equal(world.durations[0], USEC_PER_SEC + 200 * USEC_PER_MSEC);
}

static void the_status_says_what_the_session_waits_for(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        world.settings.lock_pcr = 14;
        declare("a");
        start();
        assert_string_equal(
                        world.notified,
                        "STATUS=Unsealing: key pair in the making, document awaited, credentials awaited, 0 of 1 secrets.");
        finish("key-pair");
        finish("TPM");
        finish("document");
        finish("credentials");
        assert_string_equal(
                        world.notified,
                        "STATUS=Unsealing: key pair made, document made, credentials there, 0 of 1 secrets.");
        go_on_but("decryption");
        fail_with("decryption", &passing);
        assert_string_equal(world.notified, "STATUS=Waiting: It is out of order.");
        pass(200 * USEC_PER_MSEC);
        go_on_but("lock");
        assert_string_equal(world.notified, "STATUS=All secrets are kept. PCR14 is being locked.");
        all_goes_well_from_here();
}

/* status.json. */

static void the_status_file_says_what_is_awaited_since_when_and_when_it_is_tried_again(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        passing.retry_after_usec = 5 * USEC_PER_SEC;
        declare("a");
        start();
        pass(USEC_PER_SEC);
        assert_string_equal(world.waiting,
                            "the key pair of this boot (key pair) since 0 try 1 next 0 none -");
        assert_string_equal(world.waits[0], world.waiting);
        pass(USEC_PER_SEC);
        go_on_but("decryption");
        pass(USEC_PER_SEC);
        fail_with("decryption", &passing);
        pass(USEC_PER_SEC);
        assert_string_equal(world.status, "unsealing");
        assert_string_equal(world.waiting,
                            "KMS in eu-north-1 (decryption) since 2 try 1 next 8 unavailable a");
        assert_string_equal(world.waits[0], world.waiting);
        pass(5 * USEC_PER_SEC);
        assert_string_equal(world.waiting,
                            "KMS in eu-north-1 (decryption) since 2 try 2 next 0 unavailable a");
        all_goes_well_from_here();
        assert_string_equal(world.status, "unsealed");
        assert_string_equal(world.waiting, "");
        assert_string_equal(world.waits[0], "");
}

static void the_status_file_names_the_failed_obstacle_of_a_required_secret_first(void **state) {
        Error passing = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);
        Declaration *optional;

        optional = declare("a");
        optional->optional = true;
        optional->source.kind = SOURCE_HTTPS;
        declare("b")->source.kind = SOURCE_HTTPS;
        start();
        fail_with("fetch", &passing);
        pass(USEC_PER_SEC);
        assert_says(world.waits[0], "(fetching)");
        assert_string_equal(world.waiting, world.waits[1]);
        assert_says(world.waits[1], "the key pair");
}

static void the_status_file_says_that_the_lock_is_awaited(void **state) {
        lead_to(&lock);
        pass(USEC_PER_SEC);
        assert_says(world.waiting, "the TPM, to lock PCR14 (lock) since 0 try 1 next 0 none -");
        assert_string_equal(world.waits[0], "");
}

static void the_status_file_says_that_the_service_manager_is_awaited(void **state) {
        lead_to_the_barrier();
        pass(USEC_PER_SEC);
        assert_says(world.waiting,
                    "the service manager, to keep the secrets (service manager) since 0 try 1 next 0 none -");
        finish("barrier");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.waiting, "");
}

/* A boot that takes less than half a second writes the file twice: when it begins and when it ends. */
static void the_status_file_is_written_twice_a_second_at_most(void **state) {
        Error passing = trouble(FAILURE_NETWORK, REMEDY_RETRY);
        unsigned before;

        declare("a");
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_int_equal(world.statuses, 2);

        (void) world_end(state);
        (void) world_begin(state);
        declare("a");
        start();
        before = world.statuses;
        for (unsigned i = 0; i < 100; i++) {
                if (count_under_way("connection") > 0)
                        fail_with("connection", &passing);
                pass(20 * USEC_PER_MSEC);
        }
        assert_in_range(world.statuses - before, 1, 4);
        before = world.statuses;
        go_on_but("credentials");
        pass(USEC_PER_SEC);
        before = world.statuses;
        pass(3600 * USEC_PER_MSEC);
        assert_int_equal(world.statuses, before);
}

static void the_status_file_keeps_the_time_of_its_state(void **state) {
        Error denied = trouble(FAILURE_DENIED, REMEDY_NONE);
        uint64_t begun = 1001000 * USEC_PER_SEC;

        declare("a");
        start();
        assert_int_equal(world.since_usec, begun);
        go_on_but("decryption");
        pass(3 * USEC_PER_SEC);
        assert_int_equal(world.since_usec, begun);
        fail_with("decryption", &denied);
        assert_string_equal(world.status, "failed");
        assert_int_equal(world.since_usec, begun + 3 * USEC_PER_SEC);
        assert_string_equal(world.message_id, MESSAGE_DENIED);
        assert_string_equal(world.waiting, "");
}

/* The number of secrets is no phase of its own, so it may wait. */
static void the_status_counts_secrets_ten_times_a_second(void **state) {
        declare("a");
        declare("b");
        declare("c");
        start();
        go_on_but("open");
        assert_says(world.notified, " 0 of 3 secrets.");
        finish("open");
        pass(100 * USEC_PER_MSEC - 1);
        assert_says(world.notified, " 0 of 3 secrets.");
        pass(1);
        assert_says(world.notified, " 1 of 3 secrets.");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void the_status_says_at_once_that_the_pcr_is_being_locked(void **state) {
        lead_to(&lock);
        assert_string_equal(world.notified, "STATUS=All secrets are kept. PCR14 is being locked.");
}

/* VerifyPolicy=. */

static Error probe_says(const char *code, Remedy remedy) {
        Error error = trouble(FAILURE_UNAVAILABLE, remedy);

        (void) snprintf(error.code, sizeof(error.code), "%s", code);
        return error;
}

static void a_probe_has_attempts_of_its_own(void **state) {
        Error passing = probe_says("", REMEDY_RETRY);

        lead_to(&decryption);
        world.settings.verify_policy = VERIFY_POLICY_YES;
        fail_with("decryption", &passing);
        pass(200 * USEC_PER_MSEC);
        go_on_but("probe");
        assert_says(world.logged, "[" MESSAGE_STEP " secret=a state=decrypting attempt=2 request=");
        assert_says(world.logged, "[" MESSAGE_STEP " secret=a state=opened attempt=0 request=");
        assert_says(world.logged, "[" MESSAGE_STEP " secret=a state=probing attempt=1 request=");
        fail_with("probe", &passing);
        pass(200 * USEC_PER_MSEC);
        assert_says(world.logged, "[" MESSAGE_STEP " secret=a state=probing attempt=2 request=");
        all_goes_well_from_here();
}

static void lead_to_probe(VerifyPolicy policy) {
        declare("a");
        world.settings.verify_policy = policy;
        start();
        go_on_but("probe");
        assert_int_equal(count_under_way("probe"), 1);
        assert_nothing_published();
}

static void the_secret_of_a_gated_key_is_published(void **state) {
        lead_to_probe(*(VerifyPolicy *) *state);
        finish("probe");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "gates");
        assert_string_equal(world.states[0], "published");
}

static void with_warn_an_open_key_is_reported_and_its_secret_published(void **state) {
        Error open = probe_says("DryRunOperationException", REMEDY_NONE);

        lead_to_probe(VERIFY_POLICY_WARN);
        fail_with("probe", &open);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "open");
        assert_says(world.logged, "is not gated");
        assert_says(world.logged, "for anybody who has the role role,");
        assert_says(world.logged, "[" MESSAGE_POLICY " secret=a state=probing attempt=1 request=probe-1]");
}

static void with_yes_the_secret_of_an_open_key_is_not_published(void **state) {
        Error open = probe_says("DryRunOperationException", REMEDY_NONE);

        lead_to_probe(VERIFY_POLICY_YES);
        fail_with("probe", &open);
        assert_ended_with(FAILURE_POLICY);
        assert_string_equal(world.error.request_id, "probe-1");
        assert_says(world.error.text, world.keys[0][0]);
        assert_says(world.logged, "[" MESSAGE_POLICY " secret=a state=failed attempt=1 request=probe-1]");
        assert_string_equal(world.policies[0], "open");
        assert_nothing_published();
}

static void with_warn_a_secret_of_an_unknown_policy_is_published(void **state) {
        Error unknown = probe_says("", REMEDY_NONE);

        lead_to_probe(VERIFY_POLICY_WARN);
        fail_with("probe", &unknown);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "unknown");
}

/* The other required secret is not unsealed yet, so the session waits and the probe has its time. */
static void with_warn_three_probes_are_enough(void **state) {
        Error passing = probe_says("", REMEDY_RETRY);

        declare("a");
        declare("b");
        world.settings.verify_policy = VERIFY_POLICY_WARN;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        finish("open");
        for (unsigned i = 0; i < 3; i++) {
                fail_with("probe:a", &passing);
                pass(200 * USEC_PER_MSEC << i);
        }
        assert_int_equal(count_under_way("probe"), 0);
        assert_says(world.logged, "Whether KMS would give the secret without attestation is not known.");
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "unknown");
        assert_string_equal(world.policies[1], "gates");
}

static void with_warn_one_slow_probe_is_enough(void **state) {
        Error passing = probe_says("", REMEDY_RETRY);

        lead_to_probe(VERIFY_POLICY_WARN);
        pass(5 * USEC_PER_SEC);
        fail_with("probe", &passing);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "unknown");
}

static void with_warn_a_probe_of_less_than_five_seconds_is_tried_again(void **state) {
        Error passing = probe_says("", REMEDY_RETRY);

        lead_to_probe(VERIFY_POLICY_WARN);
        pass(5 * USEC_PER_SEC - 1);
        fail_with("probe", &passing);
        assert_int_equal(world.ended, 0);
        pass(200 * USEC_PER_MSEC);
        finish("probe");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "gates");
}

/* Between two probes. */
static void with_warn_the_deadline_waits_for_no_second_probe(void **state) {
        Error passing = probe_says("", REMEDY_RETRY);

        declare("a");
        world.settings.verify_policy = VERIFY_POLICY_WARN;
        start();
        go_on_but("open");
        pass(DEADLINE_USEC - 150 * USEC_PER_MSEC);
        finish("open");
        fail_with("probe", &passing);
        pass(150 * USEC_PER_MSEC - 1);
        assert_int_equal(world.ended, 0);
        pass(1);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "unknown");
        assert_string_equal(world.states[0], "published");
}

static void with_warn_the_deadline_publishes_a_secret_of_an_unknown_policy(void **state) {
        lead_to_probe(VERIFY_POLICY_WARN);
        pass(DEADLINE_USEC - 1);
        assert_int_equal(world.ended, 0);
        pass(1);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "unknown");
        assert_string_equal(world.states[0], "published");
}

/* LockPcr=. */

static void expect_after(const char *first, const char *rest) {
        char words[256];

        (void) snprintf(words, sizeof(words), "%s%s", first, rest);
        expect(words);
}

static void the_pcr_is_locked_between_keeping_and_publishing(void **state) {
        lead_to(&lock);
        world.trace[0] = 0;
        finish("lock");
        expect("extended:14 locked published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_true(pcr_is_locked(world.pcrs.value[14], NULL));
}

static void a_pcr_that_cannot_be_extended_publishes_nothing(void **state) {
        lead_to(&lock);
        world.trace[0] = 0;
        world.trouble_at = "extend";
        world.trouble = trouble(FAILURE_TPM, REMEDY_NONE);
        finish("lock");
        expect("ended ");
        assert_ended_with(FAILURE_TPM);
}

static void after_the_deadline_the_lock_has_five_seconds(void **state) {
        const Case *late = *state;

        world.settings.lock_pcr = 14;
        declare("a");
        declare("b")->optional = true;
        start();
        go_on_but("decryption");
        finish("decryption:a");
        finish("open");
        pass(DEADLINE_USEC);
        assert_int_equal(count_under_way("lock"), 1);
        pass(5 * USEC_PER_SEC - !late);
        finish("lock");
        assert_ended_with(late ? late->silence : FAILURE_NONE);
        if (late)
                assert_nothing_published();
        else
                assert_says(world.trace, "kept lock extended:14 locked published:a wiped");
}

static void a_lock_that_cannot_be_written_down_publishes_nothing(void **state) {
        lead_to(&lock);
        world.trace[0] = 0;
        world.trouble_at = "set-locked";
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("lock");
        expect("extended:14 ended ");
        assert_ended_with(FAILURE_STORE);
}

static void lock_played_pcr(void) {
        uint8_t digest[PCR_SIZE];

        assert_int_equal(pcr_lock_digest(digest), 0);
        assert_int_equal(pcr_extend(world.pcrs.value[14], digest), 0);
}

static void a_pcr_that_is_locked_is_not_extended_again(void **state) {
        lead_to(&lock);
        world.trace[0] = 0;
        lock_played_pcr(); /* as by an unseald that was killed right afterwards */
        finish("lock");
        expect("locked published:a wiped ended ");
        assert_says(world.logged, "PCR14 was locked");
}

/* As above, with a PCR that had been extended before unseald. */
static void a_pcr_is_locked_from_the_value_that_was_attested(void **state) {
        uint8_t digest[PCR_SIZE];

        world.settings.lock_pcr = 15;
        declare("a");
        start();
        go_on_but("lock");
        memcpy(world.pcrs.value[15], world.kept.lock.before, PCR_SIZE);
        if (*state) {
                assert_int_equal(pcr_lock_digest(digest), 0);
                assert_int_equal(pcr_extend(world.pcrs.value[15], digest), 0);
        }
        world.trace[0] = 0;
        finish("lock");
        expect_after(*state ? "" : "extended:15 ", "locked published:a wiped ended ");
        assert_says(world.logged, *state ? "PCR15 was locked" : "PCR15 is locked");
}

static void a_denial_after_the_lock_is_reported_as_the_lock(void **state) {
        Error denied = trouble(FAILURE_DENIED, REMEDY_NONE);

        world.settings.lock_pcr = 14;
        lock_played_pcr();
        declare("a");
        start();
        go_on_but("decryption");
        fail_with("decryption", &denied);
        assert_ended_with(FAILURE_LOCKED);
        assert_says(world.error.text, "The secret is locked until the next boot");
        assert_says(world.error.text, "It is out of order.");
}

/* MeasurePcr=. */

static Case measurement = { "measurement", FAILURE_TPM, "measurement" }, mean = { "mean" };

/* Ends everything but the measurement of a, whose sealed secret is "a", into PCR8. */
static void lead_to_measurement(void) {
        declare("a")->measure_pcr = 8;
        start();
        go_on_but("measurement");
        assert_int_equal(count_under_way("measurement"), 1);
        world.trace[0] = 0;
}

/* Plays that the event of a secret is extended, as by an unseald that was killed. */
static void extend_played_pcr(const char *name) {
        uint8_t sealed[PCR_SIZE], digest[PCR_SIZE];

        assert_int_equal(secret_event_sealed((const uint8_t *) name, strlen(name), sealed), 0);
        assert_int_equal(secret_event_digest(name, sealed, digest), 0);
        assert_int_equal(pcr_extend(world.pcrs.value[8], digest), 0);
}

static void a_sealed_secret_is_measured_before_it_is_kept(void **state) {
        declare("a")->measure_pcr = 8;
        start();
        go_on_but("measurement");
        assert_says(world.trace, "decryption:a open recorded measurement ");
        pass(USEC_PER_SEC);
        assert_says(world.waiting, "the TPM, to measure the sealed secrets (measurement) since 0 try 1");
        assert_string_equal(world.notified,
                            "STATUS=All secrets are unsealed. The sealed ones are being measured.");
        world.trace[0] = 0;
        finish("measurement");
        expect("extended:8:a measured hidden:a kept published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_int_equal(world.measured_pcrs[0], 8);
        assert_says(world.logged,
                    "a: measured into PCR8, SHA-384 of the sealed secret: 54a59b9f22b0b80880d8427e548b7c23");
}

static void secrets_are_measured_in_the_order_of_their_names_and_locked_then(void **state) {
        world.settings.lock_pcr = 14;
        declare("a")->measure_pcr = 8;
        declare("b");
        declare("c")->measure_pcr = 15;
        declare("d")->measure_pcr = 8;
        start();
        go_on_but("measurement");
        world.trace[0] = 0;
        finish("measurement");
        go_on_but(NULL);
        assert_says(world.trace, "extended:8:a extended:15:c extended:8:d measured hidden:a");
        assert_says(world.trace, "kept lock extended:14 locked published:a");
}

static void a_secret_that_cannot_be_measured_is_not_published(void **state) {
        lead_to_measurement();
        world.trouble_at = "extend";
        world.trouble = trouble(FAILURE_TPM, REMEDY_NONE);
        finish("measurement");
        expect("ended ");
        assert_ended_with(FAILURE_TPM);
        assert_says(world.logged, "[" MESSAGE_MEASURE_FAILED " ");
        assert_int_equal(world.kept.count, 0);
}

static void a_measurement_is_tried_again(void **state) {
        lead_to_measurement();
        world.trouble_at = "extend";
        world.trouble = trouble(FAILURE_TPM, REMEDY_RETRY);
        finish("measurement");
        pass(10 * USEC_PER_SEC);
        expect("measurement ");
        extend_played_pcr("a"); /* the first attempt had done it all the same */
        finish("measurement");
        expect("measured hidden:a kept published:a wiped ended ");
}

static void what_cannot_be_recorded_is_not_measured(void **state) {
        const Case *it = *state;

        declare("a")->measure_pcr = 8;
        start();
        go_on_but("open");
        world.trouble_at = it->what;
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        assert_ended_with(FAILURE_STORE);
        assert_null(strstr(world.trace, "measurement"));
        assert_nothing_published();
}

static void a_measurement_that_cannot_be_written_down_publishes_nothing(void **state) {
        lead_to_measurement();
        world.trouble_at = "set-measured";
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("measurement");
        expect("extended:8:a ended ");
        assert_ended_with(FAILURE_STORE);
}

static void a_measurement_has_until_the_deadline(void **state) {
        lead_to_measurement();
        pass(DEADLINE_USEC);
        finish("measurement");
        assert_ended_with(FAILURE_TPM);
        assert_nothing_published();
}

/* An event of a killed process that is not known to be extended. */
static void inherit_event(const char *name) {
        ManifestEvent *event = world.kept.events + world.kept.events_count++;

        event->pcr = 8;
        (void) snprintf(event->name, sizeof(event->name), "%s", name);
        assert_int_equal(secret_event_sealed((const uint8_t *) name, strlen(name), event->sealed), 0);
        memcpy(event->before, world.pcrs.value[8], PCR_SIZE);
        world.kept.touched = true;
}

static void a_restart_completes_what_was_to_be_measured(void **state) {
        declare("a")->measure_pcr = 8;
        keep("a");
        inherit_event("a");
        if (*state)
                extend_played_pcr("a");
        start();
        expect("measurement ");
        finish("measurement");
        expect_after(*state ? "" : "extended:8:a ", "measured published:a ended ");
}

static void an_unknown_value_after_a_restart_publishes_nothing(void **state) {
        declare("a")->measure_pcr = 8;
        keep("a");
        inherit_event("a");
        world.pcrs.value[8][0] ^= 1;
        start();
        finish("measurement");
        assert_ended_with(FAILURE_TPM);
        assert_says(world.error.text,
                    "PCR8 has a value that the sealed secrets of MeasurePcr=8 do not lead to");
        assert_nothing_published();
}

/* Between the document and the measurement, another program has extended the PCR. */
static void another_program_does_not_keep_the_first_measurement_from_being_made(void **state) {
        lead_to_measurement();
        world.pcrs.value[8][0] ^= 1;
        finish("measurement");
        expect("extended:8:a measured hidden:a kept published:a wiped ended ");
}

static void a_reload_measures_only_what_has_changed(void **state) {
        declare("a")->measure_pcr = 8;
        declare("b")->measure_pcr = 8;
        keep("a");
        keep("b");
        inherit_event("a");
        world.kept.measured = 1;
        world.options.replaced = &world.declarations;
        start();
        go_on_but("measurement");
        world.trace[0] = 0;
        if (*state) {
                world.trouble_at = "extend";
                world.trouble = trouble(FAILURE_TPM, REMEDY_NONE);
        }
        finish("measurement");
        if (*state)
                expect("ended ");
        else
                expect("extended:8:b measured claimed:2 hidden:a hidden:b kept published:a published:b retained:2 wiped ended ");
        assert_int_equal(session_has_replaced(world.session), !*state);
}

/* Secrets that were kept before a restart. */

static void neither_tpm_nor_kms_is_asked_for_kept_secrets(void **state) {
        declare("a");
        declare("b");
        keep("a");
        keep("b");
        start();
        expect("published:a published:b ended ");
        assert_ended_with(FAILURE_NONE);
        assert_says(world.logged, "2 secret(s) were kept over the restart.");
        assert_null(strstr(world.logged, "Unsealing 0 secret(s)."));
}

static void without_declarations_there_is_nothing_to_do(void **state) {
        start();
        expect("kept ended ");
        assert_ended_with(FAILURE_NONE);
        assert_says(world.logged, "Unsealing 0 secret(s).");
        assert_null(strstr(world.logged, "kept over the restart"));
}

/* The secret is committed with the settings of this boot, and the lock of the last one with none. */
static void a_lock_that_is_not_wanted_any_more_is_not_kept(void **state) {
        world.kept.lock.pcr = 14;
        declare("a");
        start();
        all_goes_well_from_here();
        assert_int_equal(world.kept.lock.pcr, 0);
}

static void only_secrets_that_are_not_kept_are_asked_for(void **state) {
        declare("a");
        declare("b");
        keep("a");
        start();
        go_on_but("decryption");
        assert_int_equal(count_under_way("decryption"), 1);
        go_on_but(NULL);
        assert_says(world.trace, "decryption:b open hidden:b kept published:a published:b wiped ended");
        assert_says(world.logged, "1 secret(s) were kept over the restart.");
        assert_says(world.logged, "Unsealing 1 secret(s).");
}

static void kept_secrets_are_locked_before_they_are_published(void **state) {
        world.settings.lock_pcr = 14;
        world.kept.lock.pcr = 14;
        declare("a");
        keep("a");
        start();
        expect("lock ");
        finish("lock");
        expect("extended:14 locked published:a ended ");
        assert_ended_with(FAILURE_NONE);
}

static void kept_and_locked_secrets_are_published(void **state) {
        world.settings.lock_pcr = 14;
        world.kept.lock.pcr = 14;
        world.kept.locked = true;
        declare("a");
        keep("a");
        start();
        expect("published:a ended ");
        assert_ended_with(FAILURE_NONE);
}

static void after_the_lock_no_other_secret_is_asked_for(void **state) {
        world.settings.lock_pcr = 14;
        world.kept.lock.pcr = 14;
        world.kept.locked = true;
        declare("a");
        declare("b");
        keep("a");
        start();
        expect("ended ");
        assert_ended_with(FAILURE_LOCKED);
}

static void a_kept_secret_with_another_owner_is_written_again(void **state) {
        world.cannot_publish = true;
        declare("a")->mode = 0440;
        keep("a");
        start();
        expect("hidden:a kept published:a ended ");
        assert_ended_with(FAILURE_NONE);
}

static void a_kept_secret_that_cannot_be_read_publishes_nothing(void **state) {
        world.cannot_publish = true;
        declare("a");
        keep("a");
        world.trouble_at = "read";
        start();
        expect("abandoned retained:1 ended ");
        assert_ended_with(FAILURE_STORE);
        assert_string_equal(world.error.text, "The kept secret a cannot be read: Input/output error.");
}

/* Values that KMS makes. The played value of a secret is its name. */

static Declaration *declare_generated(const char *name) {
        Declaration *declaration = declare(name);

        declaration->generate = strlen(name);
        declaration->source.location = NULL;
        return declaration;
}

static void a_value_that_kms_makes_is_not_fetched(void **state) {
        declare_generated("a");
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but("generation");
        assert_null(strstr(world.trace, "fetch"));
        assert_int_equal(count_under_way("generation"), 1);
        world.trace[0] = 0;
        finish("generation");
        finish("open");
        assert_int_equal(count_under_way("probe"), 1);
        finish("probe");
        expect("open probe:a hidden:a kept published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "gates");
        assert_says(world.logged, "a: generating after");
}

static void a_value_of_another_length_is_refused(void **state) {
        declare_generated("a")->generate = 2;
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_ANSWER);
        assert_says(world.error.text, "a data key of 1 bytes, and 2 were asked for");
        assert_nothing_published();
}

static void a_value_that_kms_makes_is_asked_for_again(void **state) {
        Error outage = trouble(FAILURE_UNAVAILABLE, REMEDY_RETRY);

        declare_generated("a");
        start();
        go_on_but("generation");
        fail_with("generation", &outage);
        assert_string_equal(world.states[0], "declared");
        pass(USEC_PER_SEC);
        assert_int_equal(count_under_way("generation"), 1);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
}

static void a_reload_makes_no_new_value(void **state) {
        declare_generated("a");
        declare("b");
        keep("a");
        keep("b");
        world.options.replaced = &world.declarations;
        start();
        assert_says(world.logged, "1 generated secret(s) keep their value of this boot");
        assert_says(world.logged, "Unsealing 1 secret(s).");
        go_on_but(NULL);
        assert_null(strstr(world.trace, "generation"));
        assert_says(world.trace, "decryption:b");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "published");
}

/* The control of the test above: what was not kept before the reload, or under another declaration, is made. */
static void a_reload_makes_a_value_that_is_new(void **state) {
        declare_generated("a");
        declare("b");
        keep("b");
        world.options.replaced = &world.declarations;
        start();
        go_on_but(NULL);
        assert_says(world.trace, "generation:a");
        assert_ended_with(FAILURE_NONE);
}

/* The key of a volume, whose ciphertext is in the label of the volume. */

static Declaration *declare_key_of_volume(const char *name) {
        Declaration *declaration = declare(name);

        declaration->generate = strlen(name);
        declaration->generate_missing = true;
        declaration->source.kind = SOURCE_VOLUME;
        return declaration;
}

static void the_key_in_a_label_is_decrypted_and_not_made(void **state) {
        declare_key_of_volume("a");
        start();
        go_on_but("open");
        assert_null(strstr(world.trace, "generation"));
        assert_says(world.trace, "decryption:a");
        world.trace[0] = 0;
        finish("open");
        expect("sealed:a hidden:a kept published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
}

/* KMS has decrypted the ciphertext of the new key before anybody gets it, and the probe is about this ciphertext. */
static void a_new_volume_gets_a_key_that_kms_opens_again(void **state) {
        declare_key_of_volume("a");
        world.blank = true;
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but("generation");
        assert_says(world.logged, "a: The volume ");
        assert_int_equal(count_under_way("generation"), 1);
        world.trace[0] = 0;
        finish("generation");
        finish("decryption");
        finish("open");
        assert_int_equal(count_under_way("probe"), 1);
        finish("probe");
        assert_int_equal(count_under_way("probe"), 1);
        assert_nothing_published();
        finish("probe");
        expect("decryption:a open sealed:a probe:a probe:a of-generation hidden:a kept published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.policies[0], "gates");
}

/* Whoever may have a key made without a document knows one with its ciphertext, and can make a label of it. */
static void the_key_of_a_volume_that_anybody_can_make_is_not_published(void **state) {
        Error open = probe_says("DryRunOperationException", REMEDY_NONE);

        declare_key_of_volume("a");
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but("probe");
        finish("probe");
        assert_int_equal(world.ended, 0);
        fail_with("probe", &open);
        assert_ended_with(FAILURE_POLICY);
        assert_says(world.error.text, "KMS would make data keys with the encryption context of this secret");
        assert_string_equal(world.policies[0], "open");
        assert_nothing_published();
}

static void the_key_of_a_volume_that_anybody_can_have_decrypted_is_not_published(void **state) {
        Error open = probe_says("DryRunOperationException", REMEDY_NONE);

        declare_key_of_volume("a");
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but("probe");
        fail_with("probe", &open);
        assert_ended_with(FAILURE_POLICY);
        assert_says(world.error.text, "KMS would decrypt this secret");
        assert_nothing_published();
}

static void the_second_probe_of_the_key_of_a_volume_is_tried_again(void **state) {
        Error passing = probe_says("", REMEDY_RETRY);

        declare_key_of_volume("a");
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but("probe");
        finish("probe");
        world.trace[0] = 0;
        fail_with("probe", &passing);
        pass(4 * USEC_PER_SEC);
        finish("probe");
        expect("probe:a of-generation hidden:a kept published:a wiped ended ");
        assert_ended_with(FAILURE_NONE);
}

/* A policy that lets a key be made and not be decrypted would lose what is stored in the first boot. */
static void a_new_key_that_kms_does_not_open_reaches_nobody(void **state) {
        Error denial = trouble(FAILURE_DENIED, REMEDY_NONE);

        declare_key_of_volume("a");
        world.blank = true;
        start();
        go_on_but("generation");
        finish("generation");
        fail_with("decryption", &denial);
        assert_ended_with(FAILURE_DENIED);
        assert_null(strstr(world.trace, "sealed:"));
        assert_nothing_published();
}

static void a_label_that_is_not_read_yet_is_waited_for(void **state) {
        declare_key_of_volume("a");
        world.unread = true;
        start();
        go_on_but(NULL);
        for (unsigned i = 0; i < 20; i++)
                pass(4 * USEC_PER_SEC);
        assert_int_equal(world.ended, 0);
        assert_null(strstr(world.trace, "generation"));
        world.unread = false;
        pass(4 * USEC_PER_SEC);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.trace, "generation"));
}

/* The control: without a label there is no volume either way. */
static void a_label_that_is_never_read_ends_at_the_deadline(void **state) {
        declare_key_of_volume("a");
        world.unread = true;
        start();
        go_on_but(NULL);
        pass(world.settings.deadline_usec);
        assert_ended_with(FAILURE_UNAVAILABLE);
        assert_says(world.error.text, "not read yet");
        assert_nothing_published();
}

static void a_label_that_cannot_be_read_makes_no_new_key(void **state) {
        world.trouble = trouble(FAILURE_SOURCE, REMEDY_NONE);
        world.trouble_at = "label";
        declare_key_of_volume("a");
        start();
        go_on_but(NULL);
        assert_null(strstr(world.trace, "generation"));
        assert_ended_with(FAILURE_SOURCE);
}

/* What KMS does not open is not the volume of this application: no new key takes its place. */
static void a_label_that_kms_refuses_is_explained(void **state) {
        Error refusal = trouble(FAILURE_CIPHERTEXT, REMEDY_NONE);

        declare_key_of_volume("a");
        start();
        go_on_but("decryption");
        fail_with("decryption", &refusal);
        assert_ended_with(FAILURE_CIPHERTEXT);
        assert_says(world.error.text, "has a ciphertext that does not open");
        assert_null(strstr(world.trace, "generation"));
        assert_nothing_published();
}

/* The control is the_key_in_a_label_is_decrypted_and_not_made. */
static void a_key_of_another_length_in_a_label_is_refused(void **state) {
        declare_key_of_volume("a")->generate = 32;
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_CIPHERTEXT);
        assert_says(world.error.text, "has a key of 1 bytes, and Generate= says 32");
        assert_null(strstr(world.trace, "sealed:"));
        assert_nothing_published();
}

static void a_key_whose_ciphertext_cannot_be_written_reaches_nobody(void **state) {
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        world.trouble_at = "sealed";
        declare_key_of_volume("a");
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_STORE);
        assert_nothing_published();
}

static void a_reload_leaves_the_key_of_a_volume(void **state) {
        declare_key_of_volume("a");
        declare("b");
        keep("a");
        keep("b");
        world.options.replaced = &world.declarations;
        start();
        go_on_but(NULL);
        assert_null(strstr(world.trace, "decryption:a"));
        assert_says(world.trace, "decryption:b");
        assert_ended_with(FAILURE_NONE);
}

/* A reload. */

static void declare_and_replace(void) {
        declare("a");
        declare("b")->optional = true;
        keep("a");
        keep("b");
        world.options.replaced = &world.declarations;
        start();
        go_on_but("decryption");
        assert_int_equal(count_under_way("decryption"), 2);
        world.trace[0] = 0;
}

static void a_reload_replaces_what_is_kept_and_published(void **state) {
        declare_and_replace();
        finish("decryption");
        finish("decryption");
        finish("open");
        finish("open");
        expect("open open claimed:2 hidden:a hidden:b kept published:a published:b retained:2 wiped ended ");
        assert_ended_with(FAILURE_NONE);
}

static void a_reload_that_fails_changes_nothing(void **state) {
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        declare_and_replace();
        fail_with("decryption:a", &final);
        expect("ended ");
        assert_int_equal(world.error.failure, FAILURE_KEY);
        assert_string_equal(world.status, "unsealed");
        assert_string_equal(world.states[0], "published");
}

/* A failure of what can still fail before the point of no return. */
static void a_reload_that_cannot_keep_changes_nothing(void **state) {
        const Case *it = *state;

        declare_and_replace();
        finish("decryption");
        finish("decryption");
        finish("open");
        world.trouble_at = it->what;
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        assert_int_equal(world.error.failure, FAILURE_STORE);
        assert_int_equal(world.ended, 1);
        assert_false(session_has_replaced(world.session));
        assert_says(world.trace, "abandoned retained:2 ended ");
        assert_nothing_published();
        for (size_t i = 0; i < world.declarations.count; i++)
                assert_string_equal(world.states[i], "published");
}

/* Before the reload the secrets a, gone and never were declared, and never was not unsealed. Now only a is. */
static void begin_reload_without_two(Declarations *replaced) {
        declare("a");
        declare("gone");
        declare("never");
        keep("a");
        keep("gone");
        *replaced = world.declarations;
        world.declarations.count = 1;
        world.options.replaced = replaced;
        start();
        go_on_but("open");
}

static void a_reload_says_which_secret_it_removes(void **state) {
        Declarations replaced;

        begin_reload_without_two(&replaced);
        finish("open");
        assert_ended_with(FAILURE_NONE);
        assert_says(world.logged,
                    "<5>gone: removed from the store and the credential socket, because it is not declared any more.");
        assert_says(world.logged, MESSAGE_REMOVED " secret=gone state=removed");
        assert_null(strstr(world.logged, "never: removed"));
        assert_null(strstr(world.logged, "a: removed"));
        assert_int_equal(world.listed, 1);
}

static void a_reload_that_cannot_commit_removes_no_secret(void **state) {
        Declarations replaced;

        begin_reload_without_two(&replaced);
        world.trouble_at = "commit";
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        assert_int_equal(world.error.failure, FAILURE_STORE);
        assert_says(world.trace, "abandoned retained:3");
        assert_null(strstr(world.logged, "removed from the store"));
        assert_int_equal(world.listed, 2);
        assert_string_equal(world.states[0], "published");
        assert_string_equal(world.states[1], "published");
}

/* Until the point of no return, Units= from before the reload decides who gets a secret, and status.json says so. The same holds for the
 * members of a bundle. */
static void expect_units_in_force(bool commits) {
        static char before_unit[] = "before.service", after_unit[] = "after.service";
        char *before[] = { before_unit, NULL }, *after[] = { after_unit, NULL };
        Declaration replaced_item, member_before = { .units = before }, member_after = { .units = after };
        Declarations replaced = { .items = &replaced_item, .count = 1 };

        replaced_item = *declare("a");
        replaced_item.units = before;
        replaced_item.members = &member_before;
        replaced_item.members_count = 1;
        world.declarations_items[0].units = after;
        world.declarations_items[0].members = &member_after;
        world.declarations_items[0].members_count = 1;
        keep("a");
        world.units_differ = true;
        world.options.replaced = &replaced;
        start();
        go_on_but("open");
        if (!commits) {
                world.trouble_at = "commit";
                world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        }
        finish("open");
        assert_int_equal(world.error.failure, commits ? FAILURE_NONE : FAILURE_STORE);
        assert_int_equal(world.listed, 1);
        assert_ptr_equal(world.units[0], commits ? after : before);
        assert_ptr_equal(world.members[0], commits ? &member_after : &member_before);
}

static void the_status_has_the_units_from_before_a_failed_reload(void **state) {
        expect_units_in_force(false);
}

static void the_status_has_the_units_of_the_reload(void **state) {
        expect_units_in_force(true);
}

/* A refresh. The played ciphertext of a secret is its name. */

static void on_changed_ciphertext(void *userdata) {
        assert_ptr_equal(userdata, &world);
        world.changes++;
        trace("changed");
}

static void know(const char *name, const char *ciphertext) {
        ciphertexts_record(&world.known, name, (const uint8_t *) ciphertext, strlen(ciphertext));
}

/* Declares and keeps the secrets a and b, which come by HTTPS, as an unsealing before has left them. */
static void prepare_refresh(void) {
        declare("a")->source.kind = SOURCE_HTTPS;
        declare("b")->source.kind = SOURCE_HTTPS;
        keep("a");
        keep("b");
        know("a", "a");
        know("b", "b");
        world.options.replaced = &world.declarations;
        world.options.ciphertexts = &world.known;
        world.options.changed = on_changed_ciphertext;
}

static void assert_nothing_was_asked_or_said(void) {
        assert_int_equal(world.changes, 0);
        assert_true(session_is_unchanged(world.session));
        assert_string_equal(world.status, "");
        assert_int_equal(world.statuses, 0);
        assert_string_equal(world.notified, "");
        for (unsigned priority = 0; priority < 7; priority++) {
                char mark[] = { '<', (char) ('0' + priority), '>', 0 };

                if (strstr(world.logged, mark))
                        fail_msg("wanted debug entries only: %s", world.logged);
        }
        assert_null(strstr(world.trace, "TPM"));
        assert_null(strstr(world.trace, "key-pair"));
        assert_null(strstr(world.trace, "connection"));
        assert_null(strstr(world.trace, "decryption"));
}

static void a_refresh_without_a_change_asks_neither_tpm_nor_kms(void **state) {
        prepare_refresh();
        start();
        assert_string_equal(world.trace, "fetch:a fetch:b ");
        finish("fetch");
        assert_int_equal(world.ended, 0);
        finish("fetch");
        assert_string_equal(world.trace, "fetch:a fetch:b ended ");
        assert_int_equal(world.r, 0);
        assert_nothing_was_asked_or_said();
}

/* It has no ciphertext that could change. An optional one that KMS has not made is none to wait for either. */
static void a_refresh_passes_over_values_that_kms_makes(void **state) {
        prepare_refresh();
        declare_generated("c");
        declare_generated("d")->optional = true;
        keep("c");
        start();
        assert_string_equal(world.trace, "fetch:a fetch:b ");
        finish("fetch");
        finish("fetch");
        assert_string_equal(world.trace, "fetch:a fetch:b ended ");
        assert_int_equal(world.r, 0);
        assert_nothing_was_asked_or_said();
}

/* The device of an optional secret may come after the others were published. */
static void a_refresh_has_the_key_of_a_new_volume_made(void **state) {
        prepare_refresh();
        declare_key_of_volume("c")->optional = true;
        world.blank = true;
        start();
        assert_says(world.trace, "changed ");
        assert_false(session_is_unchanged(world.session));
        go_on_but(NULL);
        assert_says(world.trace, "generation:c");
        assert_says(world.trace, "published:c");
        assert_int_equal(world.r, 0);
}

static void a_refresh_leaves_the_key_of_a_volume(void **state) {
        prepare_refresh();
        declare_key_of_volume("c");
        keep("c");
        world.blank = true;
        start();
        finish("fetch");
        finish("fetch");
        assert_string_equal(world.trace, "fetch:a fetch:b ended ");
        assert_nothing_was_asked_or_said();
}

/* The control of the tests above, which the session ends differently if one ciphertext is another. */
static void a_refresh_with_a_change_reloads_all(void **state) {
        prepare_refresh();
        know("b", "b before the change");
        start();
        finish("fetch:a");
        assert_string_equal(world.trace, "fetch:a fetch:b ");
        world.trace[0] = 0;
        finish("fetch:b");
        expect("changed key-pair TPM credentials connection:eu-north-1 connection:eu-north-1 ");
        assert_false(session_is_unchanged(world.session));
        assert_says(world.logged, "<5>b: the ciphertext has changed; reloading.");
        assert_says(world.logged, MESSAGE_CHANGED " secret=b");
        assert_null(strstr(world.logged, "a: the ciphertext"));
        go_on_but(NULL);
        assert_says(world.trace, "kept published:a published:b retained:2 wiped ended");
        assert_string_equal(world.status, "unsealed");
        assert_int_equal(world.r, 0);
        assert_int_equal(world.changes, 1);
}

static void a_reload_of_a_refresh_has_the_whole_deadline(void **state) {
        prepare_refresh();
        know("a", "before");
        start();
        pass(DEADLINE_USEC - 1);
        finish("fetch:a");
        pass(DEADLINE_USEC - 1);
        assert_int_equal(world.ended, 0);
        go_on_but(NULL);
        assert_string_equal(world.status, "unsealed");
}

static void a_reload_of_a_refresh_waits_for_the_tpm_as_long_as_any_other(void **state) {
        Error refused = trouble(FAILURE_DOCUMENT, REMEDY_DOCUMENT);

        prepare_refresh();
        world.declarations_items[1].optional = true;
        know("a", "before");
        start();
        pass(DEADLINE_USEC - USEC_PER_SEC);
        go_on_but("decryption");
        pass(USEC_PER_SEC);
        finish("decryption:a");
        fail_with("decryption:b", &refused);
        finish("open");
        assert_string_equal(world.status, "unsealed");
        assert_true(session_waits_for_tpm(world.session));
        pass(5 * USEC_PER_SEC - 1);
        assert_int_equal(world.ended, 0);
        pass(1);
        assert_ended_with(FAILURE_NONE);
}

static void after_a_refresh_the_new_ciphertexts_are_known(void **state) {
        CiphertextComparison comparison;

        prepare_refresh();
        know("a", "before");
        start();
        go_on_but(NULL);
        assert_int_equal(ciphertexts_compare(&world.known, "a", (const uint8_t *) "a", 1, &comparison), 0);
        assert_int_equal(comparison, CIPHERTEXT_SAME);
        assert_int_equal(ciphertexts_compare(&world.known, "a", (const uint8_t *) "b", 1, &comparison), 0);
        assert_int_equal(comparison, CIPHERTEXT_CHANGED);
}

/* The change would be lost otherwise: the next refresh would find nothing to do. */
static void a_refresh_that_fails_to_unseal_knows_the_old_ciphertext(void **state) {
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);
        CiphertextComparison comparison;

        prepare_refresh();
        know("a", "before");
        start();
        go_on_but("decryption");
        fail_with("decryption:a", &final);
        assert_int_equal(world.r, -EIO);
        assert_int_equal(ciphertexts_compare(&world.known, "a", (const uint8_t *) "before", 6, &comparison),
                         0);
        assert_int_equal(comparison, CIPHERTEXT_SAME);
}

static void after_a_restart_the_first_refresh_reloads(void **state) {
        prepare_refresh();
        ciphertexts_forget(&world.known, "a");
        start();
        finish("fetch:a");
        assert_says(world.logged, "a: the ciphertext is not one that this process has unsealed");
        go_on_but(NULL);
        assert_string_equal(world.status, "unsealed");
        assert_true(ciphertexts_know(&world.known, "a"));
}

static void a_refresh_that_cannot_fetch_changes_and_says_nothing(void **state) {
        Error final = trouble(FAILURE_SOURCE, REMEDY_NONE);

        prepare_refresh();
        start();
        fail_with("fetch:a", &final);
        assert_int_equal(world.ended, 1);
        assert_int_equal(world.r, -EIO);
        assert_string_equal(world.error.text, "a: It is out of order.");
        assert_nothing_was_asked_or_said();
}

static void a_refresh_that_gets_no_answer_ends_at_the_deadline(void **state) {
        prepare_refresh();
        for (size_t i = 0; i < world.declarations.count;
             i++) /* optional: they would be left behind at boot */
                world.declarations_items[i].optional = true;
        start();
        finish("fetch:a");
        pass(DEADLINE_USEC);
        assert_int_equal(world.ended, 1);
        assert_int_equal(world.r, -EIO);
        assert_says(world.error.text, "no answer yet from source-of-b");
        assert_nothing_was_asked_or_said();
        assert_null(strstr(world.trace, "kept"));
}

static void a_refresh_tries_again_to_fetch(void **state) {
        Error passing = trouble(FAILURE_NETWORK, REMEDY_RETRY);

        prepare_refresh();
        start();
        fail_with("fetch:a", &passing);
        pass(RETRY_CAP_USEC);
        finish_all("fetch");
        assert_int_equal(world.r, 0);
        assert_int_equal(world.ended, 1);
        assert_nothing_was_asked_or_said();
}

static void a_refresh_misses_an_optional_secret_only_if_it_was_there(void **state) {
        Error final = trouble(FAILURE_SOURCE, REMEDY_NONE);
        bool was_there = *state;

        prepare_refresh();
        world.declarations_items[1].optional = true;
        if (!was_there)
                ciphertexts_forget(&world.known, "b");
        start();
        finish("fetch:a");
        fail_with("fetch:b", &final);
        assert_int_equal(world.ended, 1);
        assert_int_equal(world.r, was_there ? -EIO : 0);
        assert_nothing_was_asked_or_said();
}

static void only_for_a_signed_request_a_refresh_needs_credentials(void **state) {
        prepare_refresh();
        world.declarations_items[0].source.kind = SOURCE_S3;
        start();
        assert_string_equal(world.trace, "fetch:b credentials ");
        go_on_but(NULL);
        assert_int_equal(world.r, 0);
        assert_int_equal(world.ended, 1);
        assert_nothing_was_asked_or_said();
}

/* "unsealctl reload" takes over: it frees the refresh, with fetches under way. */
static void a_refresh_that_fetches_can_be_dropped(void **state) {
        prepare_refresh();
        know("a", "before");
        start();
        finish("fetch:b");
        assert_nothing_was_asked_or_said();
        world.session = session_free(world.session);
        assert_int_equal(world.ended, 0);
        world.under_way_count = 0;
        world.trace[0] = 0;
        world.options.changed = NULL;
        start();
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_int_equal(world.changes, 0);
}

static void a_refresh_compares_the_ciphertext_once_its_signature_is_right(void **state) {
        prepare_refresh();
        demand_signature(world.declarations_items, SOURCE_HTTPS);
        sign(world.declarations_items, 4, "not a");
        know("a", "before");
        start();
        finish("fetch:b");
        finish("fetch:a");
        finish("signature:a");
        assert_nothing_was_asked_or_said();
        sign(world.declarations_items, 5, "a");
        pass(RETRY_CAP_USEC);
        finish("fetch:a");
        finish("signature:a");
        assert_says(world.logged, "a: the ciphertext has changed; reloading.");
        go_on_but(NULL);
        assert_string_equal(world.status, "unsealed");
        assert_string_equal(world.versions[0], "5");
}

static void the_jitter_of_a_refresh_is_ten_per_cent(void **state) {
        const uint64_t hour = 3600 * USEC_PER_SEC;
        uint64_t random = 0, delay, least = UINT64_MAX, most = 0;

        assert_int_equal(refresh_delay_usec(hour, 0), hour - hour / 10);
        assert_int_equal(refresh_delay_usec(hour, hour / 5), hour + hour / 10);
        for (unsigned i = 0; i < 10000; i++) {
                random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                delay = refresh_delay_usec(hour, random);
                assert_in_range(delay, hour - hour / 10, hour + hour / 10);
                least = delay < least ? delay : least;
                most = delay > most ? delay : most;
        }
        assert_true(most - least > hour / 6);
}

static void reload_with(const Case *it) {
        declare_and_replace();
        finish("decryption");
        finish("decryption");
        finish("open");
        world.trouble_at = it->what;
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        assert_int_equal(world.ended, 0);
        assert_true(session_has_replaced(world.session));
}

/* After the point of no return a reload succeeds, whatever the store does. */
static void a_reload_tries_again_to_publish(void **state) {
        const Case *it = *state;

        reload_with(it);
        assert_says(world.trace, strcmp(it->what, "publish") == 0
                                                 ? "kept published:b retained:2 "
                                                 : "kept published:a published:b retained:2 ");
        world.trace[0] = 0;
        pass(USEC_PER_SEC);
        expect("published:a published:b retained:2 wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_int_equal(session_unpublished(world.session)->failure, FAILURE_NONE);
}

static void a_reload_that_cannot_publish_says_so_and_is_done(void **state) {
        const Case *it = *state;
        unsigned attempts = 0;

        world.trouble_stays = true;
        reload_with(it);
        assert_null(strstr(world.logged, "The reload is done"));
        pass(60 * USEC_PER_SEC);
        assert_ended_with(FAILURE_NONE);
        assert_string_equal(world.states[0], "kept");
        assert_string_equal(world.states[1], "kept");
        assert_int_equal(session_unpublished(world.session)->failure, FAILURE_STORE);
        assert_says(world.logged,
                    "<4>The reload is done, but the files in the store are not all the new ones");
        assert_says(world.trace, "wiped ended ");
        for (char *at = world.trace; (at = strstr(at, "retained:2")); at++)
                attempts++;
        assert_int_equal(attempts, 5);
}

static void lead_past_the_point_of_no_return(Remedy remedy) {
        Error passing = trouble(FAILURE_UNAVAILABLE, remedy);

        declare_and_replace();
        finish("decryption:a");
        fail_with("decryption:b", &passing);
        world.trouble_at = "publish";
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        world.trouble_at = NULL;
        assert_true(session_has_replaced(world.session));
        assert_int_equal(world.ended, 0);
}

/* What an optional secret waited for does not matter any more. */
static void a_committed_reload_does_not_mind_what_fails(void **state) {
        const Case *it = *state;
        Error final = trouble(FAILURE_ROLE, REMEDY_NONE);

        lead_past_the_point_of_no_return(it == &tpm ? REMEDY_DOCUMENT : REMEDY_CREDENTIALS);
        world.logged[0] = 0;
        fail_with(it->what, &final);
        assert_int_equal(world.ended, 0);
        pass(USEC_PER_SEC);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.logged, MESSAGE_FAILED));
}

static void a_committed_reload_does_not_mind_what_succeeds(void **state) {
        const Case *it = *state;

        lead_past_the_point_of_no_return(it == &tpm ? REMEDY_DOCUMENT : REMEDY_CREDENTIALS);
        world.logged[0] = 0;
        finish(it->what);
        pass(USEC_PER_SEC);
        assert_ended_with(FAILURE_NONE);
        assert_null(strstr(world.logged, ": done in"));
}

/* Until the service manager has answered, units get the secrets as they were before the reload. */
static void lead_a_reload_to_the_barrier(void) {
        world.manager_must_answer = true;
        declare_and_replace();
        go_on_but("barrier");
        assert_true(is_under_way("barrier"));
}

static void assert_as_before(void) {
        assert_false(session_has_replaced(world.session));
        assert_int_equal(kept_find(&world.kept, "a"), 0);
        assert_int_equal(kept_find(&world.kept, "b"), 1);
        assert_nothing_published();
}

static void a_reload_changes_all_secrets_when_the_service_manager_answers(void **state) {
        lead_a_reload_to_the_barrier();
        assert_as_before();
        assert_int_equal(world.ended, 0);
        finish("barrier");
        assert_true(session_has_replaced(world.session));
        assert_ended_with(FAILURE_NONE);
        assert_int_equal(kept_find(&world.kept, "a"), 2);
        assert_int_equal(kept_find(&world.kept, "b"), 3);
        assert_says(world.trace, "kept published:a published:b ");
}

static void a_reload_whose_outcome_is_unknown_changes_nothing(void **state) {
        Error unknown = trouble(FAILURE_INTERNAL, REMEDY_NONE);

        lead_a_reload_to_the_barrier();
        fail_with("barrier", &unknown);
        assert_int_equal(world.ended, 1);
        assert_int_equal(world.error.failure, FAILURE_INTERNAL);
        assert_says(world.trace, "barrier abandoned retained:2 ");
        assert_as_before();
}

static void at_the_deadline_an_unanswered_reload_changes_nothing(void **state) {
        lead_a_reload_to_the_barrier();
        pass(DEADLINE_USEC);
        assert_int_equal(world.ended, 1);
        assert_int_equal(world.error.failure, FAILURE_INTERNAL);
        assert_says(world.error.text, "no answer yet from the service manager");
        assert_as_before();
}

static void at_the_deadline_a_committed_reload_is_done(void **state) {
        world.settings.deadline_usec = 50 * USEC_PER_MSEC;
        world.trouble_stays = true;
        reload_with(*state);
        pass(50 * USEC_PER_MSEC);
        assert_ended_with(FAILURE_NONE);
        assert_int_equal(session_unpublished(world.session)->failure, FAILURE_STORE);
}

static void a_reload_leaves_no_file_of_a_secret_that_is_not_for_the_store_any_more(void **state) {
        declare_and_replace();
        world.declarations_items[1].store = false;
        go_on_but(NULL);
        assert_says(world.trace, "hidden:a held kept published:a retained:2 wiped ended");
        assert_int_equal(world.error.failure, FAILURE_NONE);
}

static void an_optional_secret_that_a_reload_cannot_get_stays(void **state) {
        Error final = trouble(FAILURE_KEY, REMEDY_NONE);

        declare_and_replace();
        fail_with("decryption:b", &final);
        finish("decryption:a");
        finish("open");
        expect("open claimed:2 hidden:a kept published:a published:b retained:2 wiped ended ");
        assert_string_equal(world.states[1], "published");
}

static void reload_with_probes(void) {
        world.settings.verify_policy = VERIFY_POLICY_YES;
        declare_and_replace();
        go_on_but("probe");
        assert_int_equal(count_under_way("probe"), 2);
        world.trace[0] = 0;
}

static void with_yes_a_reload_withdraws_an_optional_secret_whose_key_is_open(void **state) {
        Error open = probe_says("DryRunOperationException", REMEDY_NONE);

        reload_with_probes();
        finish("probe:a");
        fail_with("probe:b", &open);
        expect("claimed:1 hidden:a kept published:a retained:2 wiped ended ");
        assert_ended_with(FAILURE_NONE);
        assert_true(kept_find(&world.kept, "a") >= 0);
        assert_int_equal(kept_find(&world.kept, "b"), -ENOENT);
        assert_string_equal(world.states[0], "published");
        assert_string_equal(world.states[1], "failed");
        assert_string_equal(world.policies[1], "open");
        assert_says(world.logged, "<2>b: withdrawn from the store and the credential socket");
        assert_null(strstr(world.logged, "a: withdrawn"));
}

static void with_yes_a_reload_is_refused_if_the_key_of_a_required_secret_is_open(void **state) {
        Error open = probe_says("DryRunOperationException", REMEDY_NONE);

        reload_with_probes();
        finish("probe:b");
        fail_with("probe:a", &open);
        expect("ended ");
        assert_int_equal(world.error.failure, FAILURE_POLICY);
        assert_string_equal(world.states[0], "published");
        assert_string_equal(world.states[1], "published");
}

/* Nothing shows that its key is open. */
static void with_yes_a_reload_leaves_an_optional_secret_of_an_unknown_policy(void **state) {
        Error unknown = probe_says("ThrottlingException", REMEDY_RETRY);

        reload_with_probes();
        finish("probe:a");
        fail_with("probe:b", &unknown);
        pass(DEADLINE_USEC);
        assert_ended_with(FAILURE_NONE);
        assert_true(kept_find(&world.kept, "b") >= 0);
        assert_string_equal(world.states[1], "published");
}

/* unsealctl unseal. */

static int take(const SessionSecret *secret, Error *error, void *userdata) {
        const char *name = secret->declaration->name;
        char wanted[64];

        trace("taken:%s", name);
        assert_ptr_equal(userdata, &world);
        assert_int_equal(secret_size(secret->plaintext), strlen(name));
        assert_memory_equal(secret_bytes(secret->plaintext), name, secret_size(secret->plaintext));
        assert_null(secret->members);
        (void) snprintf(wanted, sizeof(wanted), "decrypt-%s", name);
        assert_string_equal(secret->request_id, wanted);
        return outcome("take", error);
}

static void by_hand(void) {
        world.options.take = take;
        world.options.kept = NULL;
        world.settings.lock_pcr = 14;
        declare("a");
        declare("b");
        start();
        go_on_but("open");
        finish("open");
        world.trace[0] = 0;
}

static void by_hand_secrets_are_handed_over_and_nothing_else(void **state) {
        by_hand();
        finish("open");
        expect("taken:a taken:b wiped ended ");
        assert_int_equal(world.error.failure, FAILURE_NONE);
}

static void by_hand_what_cannot_be_handed_over_ends_the_session(void **state) {
        by_hand();
        world.trouble_at = "take";
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        finish("open");
        expect("taken:a ended ");
        assert_int_equal(world.error.failure, FAILURE_STORE);
}

/* Denials by KMS. */

static void a_denial_is_explained_without_expected_values_in_user_data(void **state) {
        static char expected[] = "user-data:/expected";
        Error denied = trouble(FAILURE_DENIED, REMEDY_NONE);

        world.settings.expected_measurements = expected;
        world.user_data = *state;
        lead_to(&decryption);
        world.trace[0] = 0;
        fail_with("decryption", &denied);
        expect("user-data ");
        finish("user-data");
        assert_ended_with(FAILURE_DENIED);
        assert_says(world.explanation, "This boot, role role:");
        if (world.user_data)
                assert_says(world.logged, "ExpectedMeasurements=");
}

static void a_denial_is_reported_although_the_expected_values_cannot_be_read(void **state) {
        static char expected[] = "/nonexistent/measurements.json";
        Error denied = trouble(FAILURE_DENIED, REMEDY_NONE);

        world.settings.expected_measurements = expected;
        lead_to(&decryption);
        fail_with("decryption", &denied);
        assert_ended_with(FAILURE_DENIED);
        assert_says(world.logged,
                    "ExpectedMeasurements=/nonexistent/measurements.json: No such file or directory");
}

/* Expected values: PCR4 is the measured one, PCR7 is another. */
static const char *make_measurements(char buffer[static 512]) {
        char measured[2 * PCR_SIZE + 1], other[2 * PCR_SIZE + 1];

        for (size_t i = 0; i < PCR_SIZE; i++) {
                (void) snprintf(measured + 2 * i, 3, "%02x", world.pcrs.value[4][i]);
                (void) snprintf(other + 2 * i, 3, "%02x", 0x11);
        }
        (void) snprintf(buffer, 512, "{\"Measurements\":{\"PCR4\":\"%s\",\"PCR7\":\"%s\"}}", measured,
                        other);
        return buffer;
}

static void assert_compared(void) {
        assert_ended_with(FAILURE_DENIED);
        assert_says(world.explanation, "This boot, role role:");
        assert_says(world.explanation, ") is as expected");
        assert_says(world.explanation, ") DIFFERS");
        assert_says(world.explanation, "expected 1111");
        assert_says(world.logged, "[" MESSAGE_DENIED " secret=a state=failed");
}

static void a_denial_is_compared_with_the_values_in_user_data(void **state) {
        static char expected[] = "user-data:/expected";
        Error denied = trouble(FAILURE_DENIED, REMEDY_NONE);
        char user_data_text[600], measurements[512];

        world.settings.expected_measurements = expected;
        (void) snprintf(user_data_text, sizeof(user_data_text), "{\"expected\":%s}",
                        make_measurements(measurements));
        world.user_data = user_data_text;
        lead_to(&decryption);
        fail_with("decryption", &denied);
        finish("user-data");
        assert_compared();
}

static void a_denial_is_compared_with_the_values_in_a_file(void **state) {
        static char expected[] = "measurements.json";
        Error denied = trouble(FAILURE_DENIED, REMEDY_NONE);
        char measurements[512];
        FILE *file = fopen(expected, "we");

        assert_non_null(file);
        assert_true(fputs(make_measurements(measurements), file) >= 0);
        assert_int_equal(fclose(file), 0);
        world.settings.expected_measurements = expected;
        lead_to(&decryption);
        fail_with("decryption", &denied);
        assert_int_equal(remove(expected), 0);
        assert_compared();
}

/* Sessions that cannot begin. */

static void assert_refused(const char *text) {
        Error error = {};

        assert_true(session_new(&world.event, &world.options, on_end, &world, &world.session, &error) < 0);
        assert_null(world.session);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_string_equal(error.text, text);
}

static void an_unknown_owner_is_a_wrong_declaration(void **state) {
        static char nobody[] = "no such one";
        Declaration *declaration = declare("a");

        declaration->user = nobody;
        assert_refused("a: User=no such one: there is no such user.");
        declaration->user = NULL;
        declaration->group = nobody;
        assert_refused("a: Group=no such one: there is no such group.");
}

static void a_key_in_no_known_partition_is_a_wrong_declaration(void **state) {
        static char nowhere[] =
                        "arn:nowhere:kms:x-y-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        static char *key_ids[] = { nowhere, NULL };

        declare("a")->key_ids = key_ids;
        assert_refused("a: "
                       "KeyId=arn:nowhere:kms:x-y-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab: "
                       "no endpoint of KMS is known for this key.");
}

static Error make_nothing(void) {
        Error error = {};

        assert_true(session_new(&world.event, &world.options, on_end, &world, &world.session, &error) < 0);
        assert_null(world.session);
        assert_null(world.trouble_at);
        return error;
}

static void no_session_begins_without_its_parts(void **state) {
        static const char *const parts[] = { "http", "imds-http", "imds", "fetcher", "network", "worker" };
        static const char *const reasons[] = { "trust", "store", "restore", "retain" };

        declare("a");
        world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                Error error;

                world.trouble_at = parts[i];
                error = make_nothing();
                assert_int_equal(error.failure, FAILURE_INTERNAL);
                assert_string_equal(error.text, "Cannot set up the event loop: Input/output error.");
        }
        for (size_t i = 0; i < ELEMENTSOF(reasons); i++) {
                Error error;

                world.trouble_at = reasons[i];
                error = make_nothing();
                assert_int_equal(error.failure, FAILURE_STORE);
                assert_string_equal(error.text, "It is out of order.");
        }
}

/* OpenSSL can do without some allocations. Then the session is a whole one. */
static bool begins_without_memory(unsigned before) {
        Error error = {};
        bool failed;
        int r;

        declare("a");
        declare("b");
        lies_in(declare("c"), "eu-west-1");
        memory_fail_after(before);
        r = session_new(&world.event, &world.options, on_end, &world, &world.session, &error);
        failed = memory_has_failed();
        if (r < 0) {
                assert_true(failed);
                assert_null(world.session);
                assert_int_equal(error.failure, FAILURE_INTERNAL);
                return false;
        }
        expect("retained:3 ");
        session_start(world.session);
        pass(0);
        go_on_but(NULL);
        assert_ended_with(FAILURE_NONE);
        assert_says(world.trace, "published:a published:b published:c wiped ended ");
        return !failed;
}

static void no_session_begins_without_memory(void **state) {
        unsigned before = 0;

        if (!memory_can_fail())
                skip();
        while (!begins_without_memory(before++)) {
                (void) world_end(state);
                (void) world_begin(state);
        }
        assert_true(before > 20);
}

/* Whichever allocation fails: the session ends at once, or it says that it tries again. It publishes all or nothing. Only the
 * status file may be left as it was. Neither account nor probe: json-c does not report all lack of memory. */
static void unseal_without_memory(unsigned before, bool alone) {
        static char whole[] = "";
        Declaration *of_user_data;
        Error error = {};

        declare("a");
        if (!alone) {
                declare("b")->source.kind = SOURCE_HTTPS;
                of_user_data = declare("c");
                of_user_data->source.kind = SOURCE_USER_DATA;
                of_user_data->source.location = whole;
        }
        world.user_data = "Yw=="; /* "c" */
        world.settings.lock_pcr = 14;
        assert_int_equal(session_new(&world.event, &world.options, on_end, &world, &world.session, &error),
                         0);
        world.trace[0] = 0;
        memory_fail_after(before);
        session_start(world.session);
        pass(0);
        go_on_but(NULL);
        memory.armed = false;
        if (world.ended == 0)
                assert_says(world.logged, ": attempt 1 failed, next in ");
        while (world.ended == 0) {
                pass(USEC_PER_SEC);
                go_on_but(NULL);
        }
        if (world.error.failure == FAILURE_NONE)
                assert_says(world.trace,
                            alone ? "kept lock extended:14 locked published:a wiped "
                                  : "kept lock extended:14 locked published:a published:b published:c wiped ");
        else
                assert_nothing_published();
}

/* A secret that is alone gets no second chance from what happens to others. */
static void without_memory_all_or_nothing_is_published(void **state) {
        unsigned before = 0, failures = 0;
        bool failed;

        if (!memory_can_fail())
                skip();
        do {
                (void) world_end(state);
                (void) world_begin(state);
                unseal_without_memory(before++, *state);
                failed = memory_has_failed();
                failures += world.error.failure != FAILURE_NONE;
        } while (failed);
        assert_ended_with(FAILURE_NONE);
        assert_true(failures >= 4);
}

static void a_probe_without_memory_ends_the_session(void **state) {
        if (!memory_can_fail())
                skip();
        declare("a");
        world.settings.verify_policy = VERIFY_POLICY_YES;
        start();
        go_on_but("open");
        memory_fail_after(0);
        finish("open");
        assert_true(memory_has_failed());
        assert_ended_with(FAILURE_INTERNAL);
        assert_nothing_published();
}

static int by_default = 0, with_fips = 1, with_dual_stack = 2, with_kms_endpoint = 3;
static VerifyPolicy policy_warn = VERIFY_POLICY_WARN, policy_yes = VERIFY_POLICY_YES;
static Case prepare_file = { .what = "prepare-file" }, put = { .what = "put" },
            commit = { .what = "commit" }, publish = { .what = "publish" }, retain = { .what = "retain" };
static char no_json[] = "no JSON", no_value[] = "{}", no_measurements[] = "{\"expected\":{}}";

/* A test, and a test of one activity or value. */
/*
 * Random walks: secrets of every kind, answers in every order, failures of every remedy. After each event the session must have
 * begun everything that could begin; otherwise it sleeps although there is something to do.
 */

static uint64_t walk_state;
static unsigned faults_of_four; /* how many of four answers are failures */
static bool west_is_untrusted;  /* every connection to eu-west-1 fails for good */
static bool late_walks;         /* some secrets are late, and none was kept before */
static const char *slow;        /* this activity mostly takes longer than others; NULL: none does */

/* xorshift64 (Marsaglia, "Xorshift RNGs", 2003): the same walks on every machine. */
static unsigned draw(unsigned below) {
        walk_state ^= walk_state << 13;
        walk_state ^= walk_state >> 7;
        walk_state ^= walk_state << 17;
        return (unsigned) ((walk_state >> 11) % below);
}

static void sign_at_random(Declaration *declaration) {
        static const SourceKind kinds[] = { SOURCE_FILE, SOURCE_HTTPS, SOURCE_SSM };

        if (draw(6) > 0)
                return;
        demand_signature(declaration, kinds[draw(ELEMENTSOF(kinds))]);
        if (faults_of_four > 0 && draw(8) == 0)
                sign(declaration, draw(5), draw(2) == 0 ? "another" : declaration->name);
}

static void declare_at_random(unsigned i, unsigned optional_of_four) {
        static char whole[] = "";
        Declaration *declaration;
        char name[16];

        (void) snprintf(name, sizeof(name), "s%02u", i);
        declaration = declare(name);
        declaration->optional = draw(4) < optional_of_four;
        declaration->bind_account = draw(5) == 0;
        declaration->store = draw(4) > 0;
        if (draw(2) == 0) {
                lies_in(declaration, "eu-west-1");
                declaration->optional = declaration->optional || west_is_untrusted;
        } else if (draw(2) == 0)
                replicated(declaration);
        if (i == 0 && draw(3) == 0) {
                declaration->source.kind = SOURCE_USER_DATA;
                declaration->source.location = whole;
        } else if (draw(5) > 0)
                declaration->source.kind = draw(3) > 0 ? SOURCE_HTTPS : SOURCE_SSM;
        sign_at_random(declaration);
        if (!late_walks || draw(3) > 0 || declaration->signed_by ||
            declaration->source.kind == SOURCE_USER_DATA)
                return;
        declaration->bind_account = false;
        declaration->source.kind = draw(2) == 0 ? SOURCE_FILE : SOURCE_HTTPS;
        comes_late(declaration);
}

static void declare_a_walk(void) {
        static const char *const slowest[] = { NULL,         "fetch",    "connection",
                                               "decryption", "document", "credentials" };
        unsigned count = draw(2) == 0 ? 17 + draw(23) : 1 + draw(5), optional_of_four = draw(5);

        slow = slowest[draw(ELEMENTSOF(slowest))];
        faults_of_four = draw(3);
        west_is_untrusted = draw(3) == 0;
        world.settings.verify_policy = (VerifyPolicy) draw(3);
        world.settings.lock_pcr = draw(3) == 0 ? 14 : 0;
        world.user_data = draw(2) == 0 ? "czAw" /* s00 */ : NULL;
        world.manager_must_answer = draw(2) == 0;
        for (unsigned i = 0; i < count; i++)
                declare_at_random(i, optional_of_four);
        if (late_walks || draw(4) > 0)
                return;
        for (unsigned i = 0; i < count; i++)
                if (draw(2) == 0)
                        keep(world.names[i]);
        world.cannot_publish = draw(3) == 0;
        if (world.settings.lock_pcr == 0 && draw(2) == 0)
                world.options.replaced = &world.declarations;
}

static Error failure_at_random(void) {
        static const Failure failures[] = { FAILURE_TPM,         FAILURE_SOURCE, FAILURE_IMDS,
                                            FAILURE_NETWORK,     FAILURE_TLS,    FAILURE_CLOCK,
                                            FAILURE_UNAVAILABLE, FAILURE_DENIED, FAILURE_KEY,
                                            FAILURE_DOCUMENT };
        static const Remedy remedies[] = { REMEDY_NONE, REMEDY_CREDENTIALS, REMEDY_DOCUMENT, REMEDY_CLOCK };
        Remedy remedy = draw(3) > 0 ? REMEDY_RETRY : remedies[draw(ELEMENTSOF(remedies))];
        Error error = trouble(failures[draw(ELEMENTSOF(failures))], remedy);

        error.outage = error.failure == FAILURE_UNAVAILABLE && draw(2) == 0;
        if (draw(8) == 0)
                (void) snprintf(error.code, sizeof(error.code), "DryRunOperationException");
        if (draw(6) == 0)
                error.retry_after_usec = draw(40) * USEC_PER_SEC;
        return error;
}

/* Ends something that is under way. A thread ends its jobs in their order. */
static void end_at_random(void) {
        const UnderWay *under_way = world.under_way + draw((unsigned) world.under_way_count);
        char name[80];
        Error error;

        for (size_t i = 0; under_way->worker && world.under_way + i < under_way; i++)
                if (world.under_way[i].worker == under_way->worker)
                        under_way = world.under_way + i;
        if (slow && strcmp(under_way->what, slow) == 0 && draw(8) > 0)
                return;
        (void) snprintf(name, sizeof(name), "%s%s%s", under_way->what, under_way->name[0] ? ":" : "",
                        under_way->name);
        if (west_is_untrusted && strcmp(name, "connection:eu-west-1") == 0)
                error = trouble(FAILURE_TLS, REMEDY_NONE);
        else if (draw(4) >= faults_of_four) {
                finish(name);
                return;
        } else
                error = failure_at_random();
        /* The object was replaced while its parts came. */
        if (strcmp(under_way->what, "body") == 0 && draw(3) == 0) {
                error = trouble(FAILURE_SOURCE, REMEDY_RETRY);
                answer(name, -ESTALE, &error);
                return;
        }
        fail_with(name, &error);
}

static void do_at_random(void) {
        static const char *const faults[] = { "submit", "prepare-file", "put",          "commit", "publish",
                                              "retain", "draft",        "finish-draft", "body",   "rest" };
        unsigned what = draw(10);

        if (faults_of_four > 0 && draw(10) == 0) {
                world.trouble = trouble(FAILURE_STORE, REMEDY_NONE);
                world.trouble_at = faults[draw(late_walks ? ELEMENTSOF(faults) : 6)];
        }

        if (world.under_way_count > 0 && what < 7)
                end_at_random();
        else if (what == 7)
                change_network();
        else
                pass(draw(2000) * USEC_PER_MSEC);
}

/* Lets the session look for something to do, as the end of a wait does. It must find nothing. */
static void assert_nothing_could_begin(unsigned seed) {
        size_t under_way = world.under_way_count;
        unsigned ended = world.ended + world.late_ended;
        sd_event_source *retry = world.timers + 1;

        assert_non_null(retry->on_time);
        world.trace[0] = 0;
        retry->on_time(retry, world.now_usec, retry->userdata);
        pass(0);
        if (world.trace[0] || world.under_way_count != under_way || world.ended + world.late_ended > ended)
                fail_msg("walk %u: the session slept, and could have done: %s", seed, world.trace);
}

static void no_walk_sleeps_while_something_could_begin(void **state) {
        const unsigned walks = getenv("UNSEALD_TEST_SLOW") ? 500 : 5000;
        unsigned succeeded = 0;

        for (unsigned seed = 1; seed <= walks; seed++) {
                (void) world_begin(state);
                walk_state = seed * UINT64_C(0x9e3779b97f4a7c15);
                declare_a_walk();
                start();
                while (world.ended == 0) {
                        assert_nothing_could_begin(seed);
                        world.trace[0] = world.logged[0] = 0;
                        do_at_random();
                }
                succeeded += world.error.failure == FAILURE_NONE;
                (void) world_end(state);
        }
        /* The walks lead to both ends. */
        assert_in_range(succeeded, walks / 10, walks / 10 * 9);
}

/* What was published once stays kept, whatever becomes of other secrets. */
static void assert_published_stays(unsigned seed) {
        for (size_t i = 0; i < world.declarations.count; i++)
                if (world.published[i] && kept_find(&world.kept, world.names[i]) < 0)
                        fail_msg("walk %u: %s was published and is kept no more: %s", seed, world.names[i],
                                 world.trace);
}

/* Each late secret is there as a whole, or has failed. */
static void assert_late_secrets_have_ended(unsigned seed, unsigned *whole, unsigned *failed) {
        for (size_t i = 0; i < world.declarations.count; i++) {
                const Declaration *declaration = world.declarations_items + i;
                bool is_whole = world.whole_fd[i] > 0 &&
                                kept_find(&world.kept, declaration->name) == world.whole_fd[i];

                if (!declaration->late)
                        continue;
                if (strcmp(world.states[i], "failed") != 0 &&
                    (!is_whole || strcmp(world.states[i], "published") != 0))
                        fail_msg("walk %u: %s is %s in the end", seed, declaration->name, world.states[i]);
                *whole += strcmp(world.states[i], "published") == 0;
                *failed += strcmp(world.states[i], "failed") == 0;
        }
}

static unsigned long locked_kilobytes(void) {
        FILE *file = fopen("/proc/self/status", "re");
        unsigned long kilobytes = ULONG_MAX;
        char line[256];

        assert_non_null(file);
        while (fgets(line, sizeof(line), file) && sscanf(line, "VmLck: %lu kB", &kilobytes) != 1)
                ;
        assert_int_equal(fclose(file), 0);
        assert_int_not_equal(kilobytes, ULONG_MAX);
        return kilobytes;
}

/* Not under AddressSanitizer, which locks nothing. */
static bool locks_are_seen(void) {
        unsigned long before = locked_kilobytes();
        _cleanup_secret_ Secret *secret = NULL;

        assert_int_equal(secret_new(1, &secret), 0);
        return locked_kilobytes() > before;
}

static void a_late_secret_neither_holds_up_nor_undoes_another_on_any_walk(void **state) {
        const unsigned walks = getenv("UNSEALD_TEST_SLOW") ? 200 : 2000;
        const unsigned long locked = locked_kilobytes();
        const bool sees_locks = locks_are_seen();
        unsigned ready = 0, whole = 0, failed = 0;

        late_walks = true;
        for (unsigned seed = 1; seed <= walks; seed++) {
                (void) world_begin(state);
                walk_state = seed * UINT64_C(0x9e3779b97f4a7c15);
                declare_a_walk();
                world.settings.late_deadline_usec = draw(3) == 0 ? 60 * USEC_PER_SEC : USEC_INFINITY;
                start();
                while (world.ended == 0 || (session_is_late(world.session) && world.late_ended == 0)) {
                        assert_nothing_could_begin(seed);
                        if (world.ended > 0 && sees_locks) /* else the end of the walk would say nothing */
                                assert_true(locked_kilobytes() > locked);
                        world.trace[0] = world.logged[0] = 0;
                        do_at_random();
                        if (world.ended > 0 && world.error.failure == FAILURE_NONE)
                                assert_published_stays(seed);
                }
                assert_int_equal(world.ended, 1);
                ready += world.late_ended;
                if (world.error.failure == FAILURE_NONE)
                        assert_late_secrets_have_ended(seed, &whole, &failed);
                /* The session still exists, but it has no key and no plaintext any more. */
                if (world.late_ended > 0 && sees_locks && locked_kilobytes() != locked)
                        fail_msg("walk %u: %lu KiB are still locked", seed, locked_kilobytes() - locked);
                (void) world_end(state);
        }
        late_walks = false;
        /* The walks lead to READY=1 before late secrets, and those to both ends. */
        assert_in_range(ready, walks / 10, walks);
        assert_in_range(whole, walks / 10, UINT_MAX);
        assert_in_range(failed, walks / 10, UINT_MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)
#define TEST_OF(f, thing) \
        { #f ": " #thing, f, world_begin, world_end, thing }

#define TEST_OF_NETWORK(f)                                                                                \
        TEST_OF(f, &credentials), TEST_OF(f, &identity), TEST_OF(f, &user_data), TEST_OF(f, &connection), \
                        TEST_OF(f, &fetch), TEST_OF(f, &decryption), TEST_OF(f, &probe)
#define TEST_OF_RETRIED(f) TEST_OF_NETWORK(f), TEST_OF(f, &tpm), TEST_OF(f, &document), TEST_OF(f, &lock)
#define TEST_OF_ALL(f) TEST_OF_RETRIED(f), TEST_OF(f, &key_pair), TEST_OF(f, &opening)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(all_that_needs_nothing_begins_at_once),
                TEST(a_secret_is_kept_then_published_then_the_key_pair_wiped),
                TEST_OF(decryption_waits_for_it, &key_pair),
                TEST_OF(decryption_waits_for_it, &tpm),
                TEST_OF(decryption_waits_for_it, &document),
                TEST_OF(decryption_waits_for_it, &credentials),
                TEST_OF(decryption_waits_for_it, &identity),
                TEST_OF(decryption_waits_for_it, &user_data),
                TEST_OF(decryption_waits_for_it, &connection),
                TEST_OF(decryption_waits_for_it, &fetch),
                TEST(nothing_is_published_before_the_last_required_secret_is_here),
                TEST(a_secret_that_is_not_for_the_store_is_only_kept),
                TEST(each_region_has_a_connection_that_only_its_secrets_wait_for),
                TEST(a_replica_is_asked_for_if_the_first_region_is_out_of_reach),
                TEST(the_first_region_is_asked_for_again_after_a_single_failure),
                TEST(a_region_that_does_not_answer_for_long_is_passed_over_at_once),
                TEST(each_region_is_asked_again_if_none_answers),
                TEST(another_network_begins_with_the_first_region),
                TEST(a_secret_with_one_key_keeps_no_other_in_its_region),
                TEST(a_region_that_is_given_up_is_no_way_out),
                TEST(the_other_region_is_connected_to_before_the_document_is_here),
                TEST(a_machine_without_network_asks_in_no_other_region),
                TEST(a_region_has_a_while_after_the_network_has_changed),
                TEST(an_outage_of_kms_is_silence),
                TEST(secrets_that_fail_in_every_region_wait_before_the_next_round),
                TEST(what_kms_denies_or_throttles_is_asked_for_nowhere_else),
                TEST(only_replicas_are_asked_for_in_place_of_the_first_key),
                TEST(with_kms_endpoint_no_replica_is_asked_for),
                TEST(the_probe_asks_where_kms_answered),
                TEST(forty_secrets_are_asked_for_by_twenty_five_at_a_time),
                TEST(forty_secrets_are_fetched_by_twenty_five_at_a_time),
                TEST(with_a_document_the_first_requests_open_the_connections),
                TEST(requests_that_cannot_connect_wait_together_and_count_as_no_attempt),
                TEST(one_request_that_connects_is_enough),
                TEST(a_refusal_of_the_first_request_is_the_secrets_and_not_the_connections),
                TEST(an_answer_that_is_too_long_is_an_answer),
                TEST(a_certificate_that_is_not_trusted_ends_the_session_also_at_a_request),
                TEST_OF_ALL(a_final_failure_ends_the_session),
                TEST_OF_RETRIED(a_passing_failure_is_tried_again_and_not_before_its_time),
                TEST(the_server_says_when_to_come_again),
                TEST(a_server_that_asks_for_an_hour_does_not_get_the_whole_deadline),
                TEST_OF_NETWORK(a_change_of_the_network_ends_the_waiting_for_it),
                TEST(a_step_that_failed_on_the_old_network_is_tried_at_once),
                TEST_OF(a_change_of_the_network_hastens_nothing_else, &tpm),
                TEST_OF(a_change_of_the_network_hastens_nothing_else, &decryption),
                TEST(jitter_needs_no_random_numbers_from_the_kernel),
                TEST(a_job_that_cannot_be_submitted_ends_the_session),
                TEST(an_envelope_that_cannot_be_opened_ends_the_session),
                TEST(a_document_for_another_key_is_refused),
                TEST_OF(a_failure_to_keep_or_to_publish_publishes_nothing, &prepare_file),
                TEST_OF(a_failure_to_keep_or_to_publish_publishes_nothing, &put),
                TEST_OF(a_failure_to_keep_or_to_publish_publishes_nothing, &commit),
                TEST_OF(a_failure_to_keep_or_to_publish_publishes_nothing, &publish),
                TEST_OF_ALL(at_the_deadline_a_step_without_an_answer_is_the_failure),
                TEST_OF_RETRIED(at_the_deadline_a_failing_step_reports_its_last_failure),
                TEST(at_the_deadline_a_failure_is_reported_before_a_silence),
                TEST_OF(a_failure_waits_for_the_job_of_the_tpm, &tpm),
                TEST_OF(a_failure_waits_for_the_job_of_the_tpm, &document),
                TEST(a_success_waits_for_the_job_of_the_tpm),
                TEST(a_success_waits_five_seconds_for_the_tpm_and_no_more),
                TEST(a_failure_waits_five_seconds_for_the_tpm_and_no_more),
                TEST(objects_that_a_killed_unseald_left_in_the_tpm_are_reported),
                TEST(objects_in_the_tpm_are_reported_once),
                TEST(answers_after_the_end_change_nothing),
                TEST(a_failure_after_the_end_is_not_tried_again),
                TEST(no_step_is_done_after_the_end),
                TEST(a_document_that_kms_refuses_is_made_anew_once),
                TEST(a_document_that_kms_refuses_early_in_a_boot_is_made_anew),
                TEST(a_document_that_kms_refuses_hours_later_is_made_anew),
                TEST(two_refusals_of_one_document_are_one),
                TEST(a_document_of_more_than_four_minutes_is_made_anew),
                TEST(a_document_of_four_minutes_is_used),
                TEST(an_old_document_is_not_made_anew_while_kms_is_asked_with_it),
                TEST(credentials_that_have_expired_are_got_anew_once_for_all),
                TEST(credentials_that_expire_again_are_got_again_until_the_deadline),
                TEST(a_wrong_clock_is_mended_at_once_the_first_time),
                TEST(an_optional_secret_that_fails_stays_behind),
                TEST(an_optional_secret_that_has_failed_once_is_not_waited_for),
                TEST(an_optional_secret_whose_way_is_being_tried_again_is_waited_for),
                TEST(an_optional_secret_on_its_way_is_waited_for_until_the_deadline),
                TEST(an_optional_secret_that_is_being_opened_at_the_deadline_is_not_published),
                TEST_OF_NETWORK(an_optional_secret_says_what_it_was_waiting_for),
                TEST_OF(an_optional_secret_says_what_it_was_waiting_for, &key_pair),
                TEST_OF(an_optional_secret_says_what_it_was_waiting_for, &tpm),
                TEST_OF(an_optional_secret_says_what_it_was_waiting_for, &document),
                TEST_OF(an_optional_secret_says_what_it_was_waiting_for, &opening),
                TEST(an_optional_secret_says_why_it_failed),
                TEST(a_failure_to_keep_at_the_deadline_ends_the_session),
                TEST(secrets_that_are_all_optional_have_until_the_deadline),
                TEST(a_required_secret_that_fails_ends_all),
                TEST(the_secrets_of_an_endpoint_that_fails_fail_with_it),
                TEST(a_required_secret_is_fetched_after_those_of_a_failed_endpoint),
                TEST_OF(a_failure_of_imds_for_optional_secrets_only_ends_nothing, &identity),
                TEST_OF(a_failure_of_imds_for_optional_secrets_only_ends_nothing, &user_data),
                TEST(a_file_that_cannot_be_read_fails_its_secret),
                TEST(missing_user_data_is_reported),
                TEST(a_signed_source_waits_for_the_credentials),
                TEST_OF(a_signed_secret_is_fetched_with_its_signature_and_published, &from_file),
                TEST_OF(a_signed_secret_is_fetched_with_its_signature_and_published, &from_https),
                TEST_OF(a_signed_secret_is_fetched_with_its_signature_and_published, &from_ssm),
                TEST_OF(a_signed_secret_is_fetched_with_its_signature_and_published, &from_credential),
                TEST(each_half_of_a_pair_is_fetched_from_its_own_source),
                TEST(a_signature_from_user_data_is_awaited),
                TEST(a_pair_that_does_not_fit_is_fetched_again_a_few_times_and_then_refused),
                TEST(a_pair_from_a_file_is_read_again),
                TEST(a_race_between_the_halves_ends_well),
                TEST(credentials_are_the_same_at_each_attempt_so_a_wrong_signature_is_final),
                TEST(a_version_that_is_too_old_is_final),
                TEST(a_signature_for_another_name_is_refused),
                TEST(a_missing_signature_fails_as_a_missing_ciphertext_does),
                TEST(a_signature_file_that_cannot_be_read_fails_its_secret),
                TEST(after_an_outage_at_the_signature_both_halves_are_fetched_anew),
                TEST(a_signature_that_does_not_come_is_named_at_the_deadline),
                TEST(an_optional_secret_with_a_wrong_signature_stays_sealed),
                TEST(a_reload_that_fails_shows_the_version_that_is_published),
                TEST(after_a_restart_the_version_is_known),
                TEST(without_a_declared_key_no_signature_is_fetched),
                TEST_OF(kms_and_sources_are_asked_at_the_endpoints_of_the_settings, &by_default),
                TEST_OF(kms_and_sources_are_asked_at_the_endpoints_of_the_settings, &with_fips),
                TEST_OF(kms_and_sources_are_asked_at_the_endpoints_of_the_settings, &with_dual_stack),
                TEST_OF(kms_and_sources_are_asked_at_the_endpoints_of_the_settings, &with_kms_endpoint),
                TEST(a_source_is_asked_in_the_region_that_the_declaration_names),
                TEST(a_bound_secret_is_decrypted_and_probed_with_the_account),
                TEST(user_data_that_is_too_large_is_refused),
                TEST(a_file_has_the_declared_owner_and_mode),
                TEST(a_failure_to_open_carries_the_id_of_the_request),
                TEST(every_step_of_a_secret_is_logged_with_the_id_of_its_request),
                TEST(the_journal_is_louder_when_a_secret_is_unsealed),
                TEST(the_journal_is_loud_about_every_power_of_two),
                TEST_OF_ALL(a_failure_has_the_message_of_its_cause),
                TEST(the_duration_of_a_secret_counts_from_its_first_attempt),
                TEST(a_status_that_cannot_be_written_is_a_warning),
                TEST(the_status_lists_the_steps_with_their_durations),
                TEST(the_status_says_what_the_session_waits_for),
                TEST(the_status_file_says_what_is_awaited_since_when_and_when_it_is_tried_again),
                TEST(the_status_file_names_the_failed_obstacle_of_a_required_secret_first),
                TEST(the_status_file_says_that_the_lock_is_awaited),
                TEST(the_status_file_says_that_the_service_manager_is_awaited),
                TEST(the_status_file_is_written_twice_a_second_at_most),
                TEST(the_status_file_keeps_the_time_of_its_state),
                TEST(the_status_counts_secrets_ten_times_a_second),
                TEST(the_status_says_at_once_that_the_pcr_is_being_locked),
                TEST(a_probe_has_attempts_of_its_own),
                TEST_OF(the_secret_of_a_gated_key_is_published, &policy_warn),
                TEST_OF(the_secret_of_a_gated_key_is_published, &policy_yes),
                TEST(with_warn_an_open_key_is_reported_and_its_secret_published),
                TEST(with_yes_the_secret_of_an_open_key_is_not_published),
                TEST(with_warn_a_secret_of_an_unknown_policy_is_published),
                TEST(with_warn_three_probes_are_enough),
                TEST(with_warn_one_slow_probe_is_enough),
                TEST(with_warn_a_probe_of_less_than_five_seconds_is_tried_again),
                TEST(with_warn_the_deadline_waits_for_no_second_probe),
                TEST(with_warn_the_deadline_publishes_a_secret_of_an_unknown_policy),
                TEST(the_pcr_is_locked_between_keeping_and_publishing),
                TEST(a_sealed_secret_is_measured_before_it_is_kept),
                TEST(secrets_are_measured_in_the_order_of_their_names_and_locked_then),
                TEST(a_secret_that_cannot_be_measured_is_not_published),
                TEST(a_measurement_is_tried_again),
                TEST_OF(what_cannot_be_recorded_is_not_measured, &mean),
                TEST_OF(what_cannot_be_recorded_is_not_measured, &commit),
                TEST(a_measurement_that_cannot_be_written_down_publishes_nothing),
                TEST(a_measurement_has_until_the_deadline),
                TEST(a_restart_completes_what_was_to_be_measured),
                TEST_OF(a_restart_completes_what_was_to_be_measured, &measurement),
                TEST(an_unknown_value_after_a_restart_publishes_nothing),
                TEST(another_program_does_not_keep_the_first_measurement_from_being_made),
                TEST(a_reload_measures_only_what_has_changed),
                TEST_OF(a_reload_measures_only_what_has_changed, &measurement),
                TEST(a_pcr_that_cannot_be_extended_publishes_nothing),
                TEST_OF(after_the_deadline_the_lock_has_five_seconds, NULL),
                TEST_OF(after_the_deadline_the_lock_has_five_seconds, &lock),
                TEST(a_lock_that_cannot_be_written_down_publishes_nothing),
                TEST(a_pcr_that_is_locked_is_not_extended_again),
                TEST_OF(a_pcr_is_locked_from_the_value_that_was_attested, NULL),
                TEST_OF(a_pcr_is_locked_from_the_value_that_was_attested, &lock),
                TEST(a_denial_after_the_lock_is_reported_as_the_lock),
                TEST(neither_tpm_nor_kms_is_asked_for_kept_secrets),
                TEST(without_declarations_there_is_nothing_to_do),
                TEST(a_lock_that_is_not_wanted_any_more_is_not_kept),
                TEST(only_secrets_that_are_not_kept_are_asked_for),
                TEST(kept_secrets_are_locked_before_they_are_published),
                TEST(kept_and_locked_secrets_are_published),
                TEST(after_the_lock_no_other_secret_is_asked_for),
                TEST(a_kept_secret_with_another_owner_is_written_again),
                TEST(a_kept_secret_that_cannot_be_read_publishes_nothing),
                TEST(a_reload_replaces_what_is_kept_and_published),
                TEST(a_reload_that_fails_changes_nothing),
                TEST(a_reload_says_which_secret_it_removes),
                TEST(a_reload_that_cannot_commit_removes_no_secret),
                TEST(the_status_has_the_units_from_before_a_failed_reload),
                TEST(the_status_has_the_units_of_the_reload),
                TEST(a_value_that_kms_makes_is_not_fetched),
                TEST(a_value_of_another_length_is_refused),
                TEST(a_value_that_kms_makes_is_asked_for_again),
                TEST(a_reload_makes_no_new_value),
                TEST(a_reload_makes_a_value_that_is_new),
                TEST(the_key_in_a_label_is_decrypted_and_not_made),
                TEST(a_new_volume_gets_a_key_that_kms_opens_again),
                TEST(the_key_of_a_volume_that_anybody_can_make_is_not_published),
                TEST(the_key_of_a_volume_that_anybody_can_have_decrypted_is_not_published),
                TEST(the_second_probe_of_the_key_of_a_volume_is_tried_again),
                TEST(a_new_key_that_kms_does_not_open_reaches_nobody),
                TEST(a_label_that_is_not_read_yet_is_waited_for),
                TEST(a_label_that_is_never_read_ends_at_the_deadline),
                TEST(a_label_that_cannot_be_read_makes_no_new_key),
                TEST(a_label_that_kms_refuses_is_explained),
                TEST(a_key_of_another_length_in_a_label_is_refused),
                TEST(a_key_whose_ciphertext_cannot_be_written_reaches_nobody),
                TEST(a_reload_leaves_the_key_of_a_volume),
                TEST(a_refresh_passes_over_values_that_kms_makes),
                TEST(a_refresh_has_the_key_of_a_new_volume_made),
                TEST(a_refresh_leaves_the_key_of_a_volume),
                TEST(a_refresh_without_a_change_asks_neither_tpm_nor_kms),
                TEST(a_refresh_with_a_change_reloads_all),
                TEST(a_reload_of_a_refresh_has_the_whole_deadline),
                TEST(a_reload_of_a_refresh_waits_for_the_tpm_as_long_as_any_other),
                TEST(after_a_refresh_the_new_ciphertexts_are_known),
                TEST(a_refresh_that_fails_to_unseal_knows_the_old_ciphertext),
                TEST(after_a_restart_the_first_refresh_reloads),
                TEST(a_refresh_that_cannot_fetch_changes_and_says_nothing),
                TEST(a_refresh_that_gets_no_answer_ends_at_the_deadline),
                TEST(a_refresh_tries_again_to_fetch),
                TEST(only_for_a_signed_request_a_refresh_needs_credentials),
                TEST(a_refresh_that_fetches_can_be_dropped),
                TEST(a_refresh_compares_the_ciphertext_once_its_signature_is_right),
                TEST(the_jitter_of_a_refresh_is_ten_per_cent),
                TEST_OF(a_refresh_misses_an_optional_secret_only_if_it_was_there, &lock),
                TEST_OF(a_refresh_misses_an_optional_secret_only_if_it_was_there, NULL),
                TEST_OF(a_reload_that_cannot_keep_changes_nothing, &prepare_file),
                TEST_OF(a_reload_that_cannot_keep_changes_nothing, &put),
                TEST_OF(a_reload_that_cannot_keep_changes_nothing, &commit),
                TEST_OF(a_reload_tries_again_to_publish, &publish),
                TEST_OF(a_reload_tries_again_to_publish, &retain),
                TEST_OF(a_reload_that_cannot_publish_says_so_and_is_done, &publish),
                TEST_OF(a_reload_that_cannot_publish_says_so_and_is_done, &retain),
                TEST(a_tpm_that_hangs_does_not_hold_up_what_is_published),
                TEST(a_tpm_that_hangs_is_not_waited_for_beyond_the_deadline),
                TEST(what_is_kept_waits_for_a_late_answer_of_the_service_manager),
                TEST(an_unknown_outcome_ends_the_session),
                TEST(at_the_deadline_the_service_manager_is_not_waited_for),
                TEST(a_session_that_is_freed_at_the_barrier_abandons_what_it_sent),
                TEST(a_reload_changes_all_secrets_when_the_service_manager_answers),
                TEST(a_reload_whose_outcome_is_unknown_changes_nothing),
                TEST(at_the_deadline_an_unanswered_reload_changes_nothing),
                TEST_OF(at_the_deadline_a_committed_reload_is_done, &publish),
                TEST_OF(a_committed_reload_does_not_mind_what_fails, &tpm),
                TEST_OF(a_committed_reload_does_not_mind_what_fails, &credentials),
                TEST_OF(a_committed_reload_does_not_mind_what_succeeds, &tpm),
                TEST_OF(a_committed_reload_does_not_mind_what_succeeds, &credentials),
                TEST(a_reload_leaves_no_file_of_a_secret_that_is_not_for_the_store_any_more),
                TEST(an_optional_secret_that_a_reload_cannot_get_stays),
                TEST(with_yes_a_reload_withdraws_an_optional_secret_whose_key_is_open),
                TEST(with_yes_a_reload_is_refused_if_the_key_of_a_required_secret_is_open),
                TEST(with_yes_a_reload_leaves_an_optional_secret_of_an_unknown_policy),
                TEST(by_hand_secrets_are_handed_over_and_nothing_else),
                TEST(by_hand_what_cannot_be_handed_over_ends_the_session),
                TEST_OF(a_denial_is_explained_without_expected_values_in_user_data, NULL),
                TEST_OF(a_denial_is_explained_without_expected_values_in_user_data, no_json),
                TEST_OF(a_denial_is_explained_without_expected_values_in_user_data, no_value),
                TEST_OF(a_denial_is_explained_without_expected_values_in_user_data, no_measurements),
                TEST(a_denial_is_compared_with_the_values_in_user_data),
                TEST(a_denial_is_compared_with_the_values_in_a_file),
                TEST(a_denial_is_reported_although_the_expected_values_cannot_be_read),
                TEST(an_unknown_owner_is_a_wrong_declaration),
                TEST(a_key_in_no_known_partition_is_a_wrong_declaration),
                TEST(no_session_begins_without_its_parts),
                TEST(no_session_begins_without_memory),
                TEST_OF(without_memory_all_or_nothing_is_published, NULL),
                TEST_OF(without_memory_all_or_nothing_is_published, &by_default),
                TEST(a_probe_without_memory_ends_the_session),
                TEST(no_walk_sleeps_while_something_could_begin),
                TEST(a_late_secret_neither_holds_up_nor_undoes_another_on_any_walk),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
