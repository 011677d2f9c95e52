/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/jitter.h"
#include "basic/log.h"
#include "unseald-kms/proof.h"
#include "unsealing/instance.h"

/* The role's credentials are fetched anew before they expire, but no more often than this. */
#define CREDENTIALS_MARGIN_SEC 300
#define CREDENTIALS_INTERVAL_USEC (60 * USEC_PER_SEC)

struct ProofKey {
        Proof *proof;
        Attester *attester;
        unsigned references; /* of the proof, and of requests */
        uint64_t made_usec;
};

struct Proof {
        sd_event *event;
        const Settings *settings;
        ProofChanged changed;
        void *userdata;
        Instance *instance;
        ProofKey *current, *next; /* next: NULL, or made to replace the current one */
        sd_event_source *timer;
        bool credentials_refused; /* the ones that are here are no good */
        uint64_t credentials_asked_usec;
};

static int advance(Proof *proof);

/* A step has ended: remember how, and go on. */
static void step_ended(Proof *proof, Step *step, int r, const Error *error) {
        if (r >= 0)
                step_done(step);
        else {
                log_full(LOG_WARNING, &(LogFields){ .error = error }, "%s", error->text);
                (void) step_postpone(step, error, 0, now_monotonic_usec(), jitter_random());
        }
        r = advance(proof);
        if (r < 0)
                (void) sd_event_exit(proof->event, FAILURE_INTERNAL);
        proof->changed(proof->userdata);
}

static bool key_is_ready(const ProofKey *key) {
        return key && step_is_done(attester_step(key->attester, ATTESTER_DOCUMENT));
}

ProofKey *proof_key_give(ProofKey *key) {
        if (key && --key->references == 0) {
                (void) attester_free(key->attester);
                free(key);
        }
        return NULL;
}

static void attester_ended(Step *step, int r, const Error *error, void *userdata) {
        ProofKey *key = userdata;
        Proof *proof = key->proof;

        step_ended(proof, step, r, error);
}

static int key_new(Proof *proof, ProofKey **ret) {
        ProofKey *key = calloc(1, sizeof(*key));
        int r;

        if (!key)
                return -ENOMEM;
        *key = (ProofKey){ .proof = proof, .references = 1, .made_usec = now_monotonic_usec() };
        r = attester_new(proof->event, proof->settings->rsa_key_bits, proof->settings->tpm_device,
                         attester_ended, key, &key->attester);
        if (r < 0) {
                free(key);
                return r;
        }
        *ret = key;
        return 0;
}

static void instance_ended(Step *step, int r, const Error *error, void *userdata) {
        Proof *proof = userdata;

        if (r >= 0)
                proof->credentials_refused = false;
        step_ended(proof, step, r, error);
}

/* The TPM is opened when the document can be made, so that other programs have it meanwhile. */
static bool may_begin(Attester *attester, AttesterStep step, uint64_t now) {
        if (step == ATTESTER_TPM && !(step_is_done(attester_step(attester, ATTESTER_KEY_PAIR)) &&
                                      step_may_begin(attester_step(attester, ATTESTER_DOCUMENT), now)))
                return false;
        return step_may_begin(attester_step(attester, step), now);
}

static int advance_key(ProofKey *key, uint64_t now, uint64_t *due) {
        for (AttesterStep i = ATTESTER_KEY_PAIR; key && i <= ATTESTER_DOCUMENT; i++) {
                Step *step = attester_step(key->attester, i);
                int r = may_begin(key->attester, i, now) ? step->begin(step->owner, now) : 0;

                if (r < 0)
                        return r;
                if (step->progress == STEP_IDLE && step->not_before_usec > now &&
                    step->not_before_usec < *due)
                        *due = step->not_before_usec;
        }
        return 0;
}

static int advance(Proof *proof) {
        uint64_t now = now_monotonic_usec(), due = USEC_INFINITY;
        Step *credentials = instance_step(proof->instance, INSTANCE_CREDENTIALS);
        int r = 0;

        if (key_is_ready(proof->next)) {
                log_info("A new key pair replaces the one that is in use.");
                (void) proof_key_give(proof->current);
                proof->current = TAKE_PTR(proof->next);
        }
        if (step_may_begin(credentials, now)) {
                proof->credentials_asked_usec = now;
                r = credentials->begin(credentials->owner, now);
        } else if (credentials->progress == STEP_IDLE)
                due = credentials->not_before_usec;
        if (r >= 0)
                r = advance_key(proof->current, now, &due);
        /* One after the other, since the TPM serves one. */
        if (r >= 0 && key_is_ready(proof->current))
                r = advance_key(proof->next, now, &due);
        if (r < 0 || due == USEC_INFINITY)
                return r;
        r = sd_event_source_set_time(proof->timer, due);
        return r < 0 ? r : sd_event_source_set_enabled(proof->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        return advance(userdata);
}

int proof_new(sd_event *event, const Settings *settings, ProofChanged changed, void *userdata, Proof **ret) {
        _cleanup_(proof_freep) Proof *proof = calloc(1, sizeof(*proof));
        int r;

        if (!proof)
                return -ENOMEM;
        *proof = (Proof){
                .event = sd_event_ref(event), .settings = settings, .changed = changed, .userdata = userdata
        };
        r = sd_event_add_time(event, &proof->timer, CLOCK_MONOTONIC, 0, 0, on_timer, proof);
        if (r >= 0)
                r = sd_event_source_set_enabled(proof->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = instance_new(event, instance_ended, proof, &proof->instance);
        if (r >= 0)
                r = key_new(proof, &proof->current);
        if (r >= 0)
                r = advance(proof);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(proof);
        return 0;
}

Proof *proof_free(Proof *proof) {
        if (!proof)
                return NULL;
        (void) proof_key_give(proof->current);
        (void) proof_key_give(proof->next);
        (void) instance_free(proof->instance);
        (void) sd_event_source_disable_unref(proof->timer);
        (void) sd_event_unref(proof->event);
        free(proof);
        return NULL;
}

static bool credentials_expire(const Proof *proof, uint64_t now) {
        int64_t end = proof_credentials(proof)->expiration;

        return end > 0 && end - (int64_t) (now_realtime_usec() / USEC_PER_SEC) < CREDENTIALS_MARGIN_SEC &&
               now - proof->credentials_asked_usec > CREDENTIALS_INTERVAL_USEC;
}

/* Marks what has become too old. */
static int expire(Proof *proof, bool attested, uint64_t now) {
        Step *credentials = instance_step(proof->instance, INSTANCE_CREDENTIALS);

        if (credentials->progress == STEP_DONE && credentials_expire(proof, now))
                step_reset(credentials);
        if (!attested)
                return 0;
        if (attester_document_is_old(proof->current->attester, now))
                attester_renew(proof->current->attester);
        if (!proof->next && now > proof->current->made_usec + proof->settings->kms_renew_key_pair_usec)
                return key_new(proof, &proof->next);
        return 0;
}

static const Step *failed_step(const Proof *proof) {
        const Step *credentials = instance_step(proof->instance, INSTANCE_CREDENTIALS);

        if (step_failed(credentials))
                return credentials;
        for (AttesterStep i = ATTESTER_KEY_PAIR; i <= ATTESTER_DOCUMENT; i++)
                if (step_failed(attester_step(proof->current->attester, i)))
                        return attester_step(proof->current->attester, i);
        return NULL;
}

int proof_get(Proof *proof, bool attested, uint64_t now, Error *error) {
        const Step *failed;
        int r = expire(proof, attested, now);

        if (r >= 0)
                r = advance(proof);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot make a document for KMS: %s.",
                                 strerror(-r));
        if (proof_credentials(proof)->access_key_id && !proof->credentials_refused &&
            (!attested || attester_document(proof->current->attester, now).data))
                return 1;
        failed = failed_step(proof);
        if (!failed || !failure_is_final(failed->failure))
                return 0;
        *error = *step_error(failed);
        return -EREMOTEIO;
}

void proof_explain(const Proof *proof, Error *ret) {
        const Step *failed = failed_step(proof);

        if (failed)
                *ret = *step_error(failed);
        else
                (void) error_set(ret, -ETIMEDOUT, FAILURE_INTERNAL,
                                 "There is no answer yet from the TPM or from IMDS.");
}

const AwsCredentials *proof_credentials(const Proof *proof) {
        return instance_credentials(proof->instance);
}

Slice proof_document(const Proof *proof, uint64_t now) {
        return attester_document(proof->current->attester, now);
}

void proof_renew_credentials(Proof *proof, uint64_t begun) {
        Step *step = instance_step(proof->instance, INSTANCE_CREDENTIALS);

        if (!step_made_before(step, begun))
                return;
        step_reset(step);
        proof->credentials_refused = true;
}

void proof_renew_document(Proof *proof, uint64_t begun) {
        if (step_made_before(attester_step(proof->current->attester, ATTESTER_DOCUMENT), begun))
                attester_renew(proof->current->attester);
}

ProofKey *proof_key_take(Proof *proof) {
        proof->current->references++;
        return proof->current;
}

int proof_key_open(ProofKey *key, const uint8_t *envelope, size_t size, AttesterOpened opened,
                   void *userdata) {
        return attester_open(key->attester, envelope, size, opened, userdata);
}
