/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "basic/clock.h"
#include "unseald-kms/proof.h"
#include "unsealing/instance.h"

/* This test plays the attester and the instance: a job ends when the test says so. */

#define SECOND USEC_PER_SEC
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DOCUMENT_AGE (4 * MINUTE)
#define ATTESTERS_MAX 4

struct Attester {
        Step steps[_ATTESTER_STEPS];
        AttesterEnded ended;
        void *userdata;
        uint8_t document[2]; /* which attester, and which of its documents */
        uint64_t made_usec;
        unsigned opened;
        bool freed;
};

struct Instance {
        Step steps[_INSTANCE_STEPS];
        InstanceEnded ended;
        void *userdata;
        AwsCredentials credentials;
};

static Attester attesters[ATTESTERS_MAX];
static size_t attesters_count;
static Instance the_instance;
static uint64_t test_now; /* the time at which a document is made */
static unsigned changes;

static int begin(void *owner, uint64_t now) {
        step_begin(owner, now);
        return 0;
}

static int begin_with_tpm(void *owner, uint64_t now) {
        Step *step = owner, *tpm = step - 1;

        if (step_is_done(tpm))
                step_begin(step, now);
        return 0;
}

int attester_new(sd_event *event, unsigned rsa_key_bits, const char *tpm_device, AttesterEnded ended,
                 void *userdata, Attester **ret) {
        Attester *attester = attesters + attesters_count;

        assert_non_null(event);
        assert_int_equal(rsa_key_bits, 3072);
        assert_string_equal(tpm_device, "device:/dev/tpm9");
        assert_true(attesters_count < ATTESTERS_MAX);
        *attester = (Attester){ .ended = ended, .userdata = userdata };
        attester->document[0] = (uint8_t) ++attesters_count;
        for (size_t i = 0; i < _ATTESTER_STEPS; i++)
                attester->steps[i] = (Step){ .name = "step",
                                             .begin = i == ATTESTER_DOCUMENT ? begin_with_tpm : begin,
                                             .owner = attester->steps + i };
        *ret = attester;
        return 0;
}

Attester *attester_free(Attester *attester) {
        assert_false(attester->freed);
        attester->freed = true;
        for (size_t i = 0; i < _ATTESTER_STEPS; i++)
                step_forget_error(attester->steps + i);
        return NULL;
}

Step *attester_step(Attester *attester, AttesterStep step) {
        assert_false(attester->freed);
        return attester->steps + step;
}

bool attester_document_is_old(const Attester *attester, uint64_t now) {
        return step_is_done(attester->steps + ATTESTER_DOCUMENT) && now > attester->made_usec + DOCUMENT_AGE;
}

Slice attester_document(const Attester *attester, uint64_t now) {
        if (!step_is_done(attester->steps + ATTESTER_DOCUMENT) || attester_document_is_old(attester, now))
                return (Slice){};
        return (Slice){ .data = attester->document, .size = sizeof(attester->document) };
}

void attester_renew(Attester *attester) {
        step_reset(attester->steps + ATTESTER_TPM);
        step_reset(attester->steps + ATTESTER_DOCUMENT);
}

int attester_open(Attester *attester, const uint8_t *envelope, size_t size, AttesterOpened opened,
                  void *userdata) {
        assert_false(attester->freed);
        attester->opened++;
        return 0;
}

int instance_new(sd_event *event, InstanceEnded ended, void *userdata, Instance **ret) {
        the_instance = (Instance){ .ended = ended, .userdata = userdata };
        the_instance.steps[INSTANCE_CREDENTIALS] =
                        (Step){ .name = "credentials", .begin = begin, .owner = the_instance.steps };
        *ret = &the_instance;
        return 0;
}

Instance *instance_free(Instance *instance) {
        step_forget_error(instance->steps + INSTANCE_CREDENTIALS);
        return NULL;
}

Step *instance_step(Instance *instance, InstanceStep step) {
        return instance->steps + step;
}

const AwsCredentials *instance_credentials(const Instance *instance) {
        return &instance->credentials;
}

/* The job of this step ends. It must be running. */
static void ends(size_t number, AttesterStep step, int r, const Error *error) {
        Attester *attester = attesters + number - 1;

        assert_true(number <= attesters_count);
        assert_int_equal(attester->steps[step].progress, STEP_RUNNING);
        if (step == ATTESTER_DOCUMENT && r >= 0) {
                attester->made_usec = test_now;
                attester->document[1]++;
        }
        attester->ended(attester->steps + step, r, error, attester->userdata);
}

static void credentials_come(int64_t expiration) {
        assert_int_equal(the_instance.steps[INSTANCE_CREDENTIALS].progress, STEP_RUNNING);
        the_instance.credentials =
                        (AwsCredentials){ .access_key_id = (char *) "ASIA", .expiration = expiration };
        the_instance.ended(the_instance.steps + INSTANCE_CREDENTIALS, 0, NULL, the_instance.userdata);
}

static void document_comes(size_t number) {
        ends(number, ATTESTER_TPM, 0, NULL);
        ends(number, ATTESTER_DOCUMENT, 0, NULL);
}

static void key_pair_comes(size_t number) {
        ends(number, ATTESTER_KEY_PAIR, 0, NULL);
        document_comes(number);
}

static void on_changed(void *userdata) {
        changes++;
}

static Proof *proof_begin(void) {
        static const Settings settings = { .rsa_key_bits = 3072,
                                           .tpm_device = (char *) "device:/dev/tpm9",
                                           .kms_renew_key_pair_usec = HOUR };
        Proof *proof = NULL;
        sd_event *event = NULL;

        attesters_count = 0;
        changes = 0;
        test_now = now_monotonic_usec();
        assert_true(sd_event_default(&event) >= 0);
        assert_int_equal(proof_new(event, &settings, on_changed, NULL, &proof), 0);
        (void) sd_event_unref(event);
        return proof;
}

static Proof *proof_complete(void) {
        Proof *proof = proof_begin();

        credentials_come(0);
        key_pair_comes(1);
        return proof;
}

/* wanted: as of proof_get(). */
static void asks(Proof *proof, uint64_t now, int wanted) {
        Error error = {};

        test_now = now;
        assert_int_equal(proof_get(proof, true, now, &error), wanted);
}

static void uses(const Proof *proof, uint64_t now, uint8_t attester, uint8_t document) {
        Slice slice = proof_document(proof, now);

        assert_int_equal(slice.size, 2);
        assert_int_equal(slice.data[0], attester);
        assert_int_equal(slice.data[1], document);
}

static void test_a_request_waits_for_credentials_and_document(void **state) {
        Proof *proof = proof_begin();
        Error error = {};

        asks(proof, test_now, 0);
        proof_explain(proof, &error);
        assert_string_equal(error.text, "There is no answer yet from the TPM or from IMDS.");
        /* The TPM is opened only for the document. */
        assert_int_equal(attesters[0].steps[ATTESTER_TPM].progress, STEP_IDLE);
        credentials_come(0);
        assert_int_equal(proof_get(proof, false, test_now, &error), 1);
        asks(proof, test_now, 0);
        key_pair_comes(1);
        asks(proof, test_now, 1);
        uses(proof, test_now, 1, 1);
        assert_int_equal(changes, 4);
        assert_null(proof_free(proof));
        assert_true(attesters[0].freed);
}

static void test_a_document_is_used_again_and_never_when_it_is_old(void **state) {
        Proof *proof = proof_complete();
        uint64_t made = attesters[0].made_usec;

        for (unsigned i = 0; i < 100; i++)
                asks(proof, made + i * DOCUMENT_AGE / 100, 1);
        asks(proof, made + DOCUMENT_AGE, 1);
        uses(proof, made + DOCUMENT_AGE, 1, 1);
        asks(proof, made + DOCUMENT_AGE + 1, 0);
        assert_null(proof_document(proof, made + DOCUMENT_AGE + 1).data);
        document_comes(1);
        asks(proof, made + DOCUMENT_AGE + 1, 1);
        uses(proof, made + DOCUMENT_AGE + 1, 1, 2);
        /* One key pair for all of them. */
        assert_int_equal(attesters_count, 1);
        proof_free(proof);
}

static void test_a_key_pair_is_replaced_when_it_is_due(void **state) {
        Proof *proof = proof_complete();
        /* The key pair is as old as the proof, within the time that this test has run. */
        uint64_t due = now_monotonic_usec() + HOUR + 1;

        attesters[0].made_usec = due;
        asks(proof, test_now + HOUR - MINUTE, 1);
        assert_int_equal(attesters_count, 1);
        asks(proof, due, 1);
        assert_int_equal(attesters_count, 2);
        /* The old one serves meanwhile. */
        uses(proof, due, 1, 1);
        assert_false(attesters[0].freed);
        key_pair_comes(2);
        uses(proof, due, 2, 1);
        assert_true(attesters[0].freed);
        proof_free(proof);
        assert_true(attesters[1].freed);
}

static void test_requests_under_way_keep_their_key_pair(void **state) {
        Proof *proof = proof_complete();
        ProofKey *first = proof_key_take(proof), *second = proof_key_take(proof), *later;
        uint64_t due = now_monotonic_usec() + HOUR + 1;

        attesters[0].made_usec = due;
        asks(proof, due, 1);
        key_pair_comes(2);
        assert_false(attesters[0].freed);
        later = proof_key_take(proof);
        assert_int_equal(proof_key_open(first, NULL, 0, NULL, NULL), 0);
        assert_int_equal(proof_key_open(later, NULL, 0, NULL, NULL), 0);
        assert_int_equal(attesters[0].opened, 1);
        assert_int_equal(attesters[1].opened, 1);
        assert_null(proof_key_give(first));
        assert_false(attesters[0].freed);
        assert_int_equal(proof_key_open(second, NULL, 0, NULL, NULL), 0);
        assert_int_equal(attesters[0].opened, 2);
        assert_null(proof_key_give(second));
        assert_true(attesters[0].freed);
        assert_null(proof_key_give(later));
        assert_false(attesters[1].freed);
        assert_null(proof_key_give(NULL));
        proof_free(proof);
}

static void test_a_key_pair_that_fails_leaves_the_old_one(void **state) {
        const Error failure = { .failure = FAILURE_TPM, .text = "The TPM fails." };
        Proof *proof = proof_complete();
        uint64_t due = now_monotonic_usec() + HOUR + 1;

        attesters[0].made_usec = due;
        asks(proof, due, 1);
        ends(2, ATTESTER_KEY_PAIR, 0, NULL);
        ends(2, ATTESTER_TPM, -EIO, &failure);
        asks(proof, due, 1);
        uses(proof, due, 1, 1);
        assert_false(attesters[0].freed);
        proof_free(proof);
        assert_true(attesters[0].freed && attesters[1].freed);
}

static void test_a_refused_document_is_renewed_once(void **state) {
        Proof *proof = proof_complete();
        uint64_t begun = now_monotonic_usec();

        /* Two requests with the same document are refused. */
        proof_renew_document(proof, begun + SECOND);
        asks(proof, begun, 0);
        document_comes(1);
        proof_renew_document(proof, 0);
        asks(proof, begun, 1);
        uses(proof, begun, 1, 2);
        proof_free(proof);
}

static void test_refused_credentials_are_not_used_again(void **state) {
        Proof *proof = proof_complete();
        Error error = {};

        proof_renew_credentials(proof, 0);
        asks(proof, test_now, 1);
        proof_renew_credentials(proof, now_monotonic_usec() + SECOND);
        assert_int_equal(proof_get(proof, false, test_now, &error), 0);
        credentials_come(0);
        assert_int_equal(proof_get(proof, false, test_now, &error), 1);
        proof_free(proof);
}

static void test_credentials_are_fetched_before_they_expire(void **state) {
        Proof *proof = proof_begin();

        credentials_come((int64_t) (now_realtime_usec() / USEC_PER_SEC) + 60);
        key_pair_comes(1);
        /* Not more often than each minute, and the old ones serve meanwhile. */
        asks(proof, now_monotonic_usec(), 1);
        assert_int_equal(the_instance.steps[INSTANCE_CREDENTIALS].progress, STEP_DONE);
        asks(proof, now_monotonic_usec() + 2 * MINUTE, 1);
        assert_int_equal(the_instance.steps[INSTANCE_CREDENTIALS].progress, STEP_RUNNING);
        proof_free(proof);
}

static void test_a_failure_is_told(void **state) {
        const Error later = { .failure = FAILURE_TPM, .text = "The TPM fails." };
        const Error never = { .failure = FAILURE_USAGE, .text = "There is no such TPM." };
        const Error role = { .failure = FAILURE_ROLE, .text = "There is no role." };
        Proof *proof = proof_begin();
        Error error = {};

        ends(1, ATTESTER_KEY_PAIR, 0, NULL);
        ends(1, ATTESTER_TPM, -EIO, &later);
        asks(proof, test_now, 0);
        proof_explain(proof, &error);
        assert_string_equal(error.text, "The TPM fails.");
        the_instance.ended(the_instance.steps + INSTANCE_CREDENTIALS, -ENOENT, &role, the_instance.userdata);
        proof_explain(proof, &error);
        assert_string_equal(error.text, "There is no role.");
        proof_free(proof);

        proof = proof_begin();
        credentials_come(0);
        ends(1, ATTESTER_KEY_PAIR, -ENOENT, &never);
        assert_int_equal(proof_get(proof, true, test_now, &error), -EREMOTEIO);
        assert_string_equal(error.text, "There is no such TPM.");
        proof_free(proof);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_request_waits_for_credentials_and_document),
                cmocka_unit_test(test_a_document_is_used_again_and_never_when_it_is_old),
                cmocka_unit_test(test_a_key_pair_is_replaced_when_it_is_due),
                cmocka_unit_test(test_requests_under_way_keep_their_key_pair),
                cmocka_unit_test(test_a_key_pair_that_fails_leaves_the_old_one),
                cmocka_unit_test(test_a_refused_document_is_renewed_once),
                cmocka_unit_test(test_refused_credentials_are_not_used_again),
                cmocka_unit_test(test_credentials_are_fetched_before_they_expire),
                cmocka_unit_test(test_a_failure_is_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
