/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The story of one unsealing:
 *
 *     key pair ──────┐
 *     TPM prepared ──┴─ document ──┐                                          (attester.c)
 *     credentials, account, data ──┼── every secret: fetched → sealed → decrypted → probed → unsealed ──┐    (passage.c)
 *     connection ──────────────────┘                                                                    │
 *            all required secrets unsealed → kept → PCR locked → published → key pair wiped → ended ────┘    (delivery.c)
 *                       kept over a restart ───┘
 *
 * By hand (unsealctl unseal) the secrets are handed over in place of kept and published.
 *
 * There is one function that moves it on, session_advance(): it starts whatever can be started now and is called whenever
 * something changed. Each thing that can fail and be tried again is a Step; what failed for good ends the session.
 * Nothing waits for what it does not need: key pair, TPM and document are made while there is no network yet.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/log.h"
#include "unsealing/delivery.h"
#include "unsealing/network.h"
#include "unsealing/passage.h"
#include "unsealing/session.h"

/* KMS takes a document for five minutes. */
#define DOCUMENT_AGE_MAX_USEC (4 * 60 * USEC_PER_SEC)

/* What a failure waits for the TPM's thread, lest a key or a session stay in the TPM for the whole boot. */
#define TPM_LAST_JOB_USEC (5 * USEC_PER_SEC)

struct Session {
        sd_event *event;
        SessionOptions options;
        SessionEnded callback;
        void *userdata;

        Network *network;
        HttpClient *imds_http;
        X509_STORE *trusted;
        Imds *imds;
        sd_event_source *deadline, *retry, *ended;
        AwsCredentials role_credentials;
        Delivery *delivery; /* NULL: the secrets are handed over */
        Report report;

        Common common;
        Endpoint *endpoints;
        size_t endpoints_count;
        Passage *passages;
        size_t passages_count;

        bool kept;   /* all that will be had is, or is handed over; what is left is to lock and publish */
        bool told;   /* the outcome is told; only the TPM's thread may be waited for */
        Error error; /* the outcome; FAILURE_NONE: all well */
        Passage *failed; /* whose failure it is; NULL: that of what all need */
};

static void session_advance(Session *session);
static void session_end(Session *session);
static void session_fail(Session *session, Passage *passage, const Error *error);

/* All steps, in any order: those that all secrets need, the connections, those of each secret. NULL behind the last. */
static Step *session_step(Session *session, size_t i) {
        Step *own[] = { &session->common.credentials, &session->common.identity,
                        &session->common.user_data };

        if (i < _ATTESTER_STEPS)
                return attester_step(session->common.attester, (AttesterStep) i);
        i -= _ATTESTER_STEPS;
        if (i < ELEMENTSOF(own))
                return own[i];
        i -= ELEMENTSOF(own);
        if (i < session->endpoints_count)
                return &session->endpoints[i].connection;
        i -= session->endpoints_count;
        if (i >= 3 * session->passages_count)
                return NULL;
        return i % 3 == 0   ? &session->passages[i / 3].fetch
               : i % 3 == 1 ? &session->passages[i / 3].decryption
                            : &session->passages[i / 3].probe;
}

/* A step that all secrets need has failed. */
static void session_step_failed(Session *session, Step *step, const Error *error) {
        if (error->remedy == REMEDY_NONE) {
                step->progress = STEP_IDLE;
                step->error = *error;
                session_fail(session, NULL, error);
        } else
                common_step_postpone(&session->common, step, NULL, error);
}

static void report_locked(const Session *session) {
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_LOCKED, .state = "locked" },
                 "PCR%u %s locked: nothing more can be unsealed in this boot with a key whose policy pins it.",
                 kept_lock(session->options.kept).pcr,
                 attester_was_locked_before(session->common.attester) ? "was" : "is");
}

static void on_attester_step(Step *step, int r, const Error *error, void *userdata) {
        Session *session = userdata;

        if (session->told && step != attester_step(session->common.attester, ATTESTER_KEY_PAIR) &&
            !attester_is_busy(session->common.attester))
                session_end(session);
        if (session->common.ending)
                return;
        if (r < 0)
                session_step_failed(session, step, error);
        else {
                common_step_done(&session->common, step);
                if (step == attester_step(session->common.attester, ATTESTER_LOCK))
                        report_locked(session);
        }
        session_advance(session);
}

static void on_credentials(int r, AwsCredentials *credentials, const char *role, const Error *error,
                           void *userdata) {
        Session *session = userdata;

        if (r < 0)
                session_step_failed(session, &session->common.credentials, error);
        else {
                aws_credentials_clear(&session->role_credentials);
                session->role_credentials = TAKE(*credentials, (AwsCredentials){});
                (void) snprintf(session->common.role, sizeof(session->common.role), "%s", role);
                for (size_t i = 0; i < session->endpoints_count; i++)
                        kms_client_set_credentials(session->endpoints[i].client, &session->role_credentials);
                fetcher_set_credentials(session->common.fetcher, &session->role_credentials);
                common_step_done(&session->common, &session->common.credentials);
        }
        session_advance(session);
}

static int begin_credentials(Session *session, uint64_t now) {
        if (!step_may_begin(&session->common.credentials, now))
                return 0;
        step_begin(&session->common.credentials, now);
        return imds_get_credentials(session->imds, on_credentials, session);
}

/* What IMDS has besides, for the secrets that need it, which may all be optional. */
static void instance_got(Session *session, Step *step, int r, const Error *error) {
        if (r >= 0)
                common_step_done(&session->common, step);
        else if (error->remedy != REMEDY_NONE)
                common_step_postpone(&session->common, step, NULL, error);
        else
                step_give_up(step, error);
        session_advance(session);
}

/* Whose account this is. A wrong one decrypts nothing that the key's policy does not give to this one's role. */
static void on_identity(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Session *session = userdata;
        char account[IMDS_ACCOUNT_SIZE];
        Error failed = *error;

        if (session->common.ending)
                return;
        if (r >= 0)
                r = imds_account_parse(data, size, account, &failed);
        if (r >= 0)
                (void) snprintf(session->common.account_pair, sizeof(session->common.account_pair),
                                REQUEST_ACCOUNT_KEY "%s", account);
        instance_got(session, &session->common.identity, r, &failed);
}

static int begin_identity(Session *session, uint64_t now) {
        bool wanted = false;

        for (size_t i = 0; i < session->passages_count; i++)
                wanted = wanted || passage_wants_account(session->passages + i);
        if (!wanted || !step_may_begin(&session->common.identity, now))
                return 0;
        step_begin(&session->common.identity, now);
        return imds_get(session->imds, IMDS_IDENTITY_PATH, on_identity, session);
}

/* Once for all secrets that come from there. */
static void on_user_data(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Session *session = userdata;
        Error failed = *error;

        if (session->common.ending)
                return;
        if (r == -ENOENT)
                (void) error_set(&failed, r, FAILURE_SOURCE, "This instance has no user data.");
        if (r >= 0) {
                session->common.user_data_text = malloc(size + 1);
                if (!session->common.user_data_text)
                        r = error_oom(&failed);
                else
                        memcpy(session->common.user_data_text, data, session->common.user_data_size = size);
        }
        instance_got(session, &session->common.user_data, r, &failed);
}

static int begin_user_data(Session *session, uint64_t now) {
        bool wanted = false;

        for (size_t i = 0; i < session->passages_count; i++)
                wanted = wanted || passage_wants_user_data(session->passages + i);
        if (!wanted || !step_may_begin(&session->common.user_data, now))
                return 0;
        step_begin(&session->common.user_data, now);
        return imds_get(session->imds, "/latest/user-data", on_user_data, session);
}

static void on_network_changed(void *userdata) {
        Session *session = userdata;

        session->common.network_changed_usec = now_monotonic_usec();
        for (size_t i = 0; session_step(session, i); i++)
                step_hasten(session_step(session, i));
        session_advance(session);
}

/* By a failed reload a secret stays published. */
static const char *state_for_status(const Session *session, const Passage *passage) {
        bool replaced = session->options.replaced &&
                        kept_find(session->options.kept, passage->declaration->name) >= 0;

        return secret_state_to_string(replaced ? SECRET_PUBLISHED : passage->state);
}

static void write_status(Session *session, const char *state, const char *text) {
        _cleanup_free_ StatusSecret *secrets = calloc(session->passages_count + 1, sizeof(*secrets));

        if (!secrets)
                return;
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                secrets[i] = (StatusSecret){
                        .name = passage->declaration->name,
                        .state = state_for_status(session, passage),
                        .source = passage->declaration->source.label,
                        .key_id = passage->declaration->key_ids[0],
                        .policy = passage->policy,
                        .error = &passage_step(passage)->error,
                        .attempts = passage_step(passage)->attempts,
                        .duration_usec = passage->duration_usec,
                };
        }
        report_status(&session->report, state, text, &session->error, secrets, session->passages_count);
}

static void session_end(Session *session) {
        session->common.ending = session->told = true;
        attester_stop(session->common.attester);
        (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        if (attester_is_busy(session->common.attester)) {
                (void) sd_event_source_set_time_relative(session->deadline, TPM_LAST_JOB_USEC);
                (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_ONESHOT);
                return;
        }
        (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
}

static const char *failure_message(const Session *session) {
        if (session->error.failure == FAILURE_DENIED)
                return MESSAGE_DENIED;
        if (session->error.failure == FAILURE_LOCKED)
                return MESSAGE_LOCKED_OUT;
        if (session->error.failure == FAILURE_POLICY)
                return MESSAGE_POLICY;
        return session->kept && attester_step(session->common.attester, ATTESTER_LOCK)->progress != STEP_DONE
                               ? MESSAGE_LOCK_FAILED
                               : MESSAGE_FAILED;
}

static void finish_failure(Session *session, const char *measurements, size_t size) {
        Passage *failed = session->failed;
        PcrSet expected;
        Error error;

        if (measurements && pcr_measurements_parse(measurements, size, &expected, &error) < 0) {
                log_warning("ExpectedMeasurements=%s: %s", session->options.settings->expected_measurements,
                            error.text);
                measurements = NULL;
        }
        if (session->error.failure == FAILURE_DENIED)
                report_explain_denial(&session->report, session->common.role,
                                      attester_document(session->common.attester).measured,
                                      measurements ? &expected : NULL);
        report_failure(&session->report, failure_message(session), failed ? failed->declaration->name : NULL,
                       failed ? passage_step(failed)->attempts : 0, &session->error);
        write_status(session, "failed",
                     session->options.replaced ? "A reload failed, and everything is as it was before."
                                               : session->error.text);
        session_end(session);
}

/* User data as a whole or a value in it. It is advice from the account's owner: printed, never acted upon. */
static void on_expected_measurements(int r, const char *data, size_t size, const Error *error,
                                     void *userdata) {
        Session *session = userdata;
        _cleanup_json_ struct json_object *document = NULL;
        const char *pointer = session->options.settings->expected_measurements + strlen("user-data:");
        struct json_object *value;
        const char *text = NULL;

        if (r < 0)
                log_warning("ExpectedMeasurements=: user data cannot be read: %s",
                            r == -ENOENT ? "this instance has none." : error->text);
        else if (json_parse(data, size, &document) < 0)
                log_warning("ExpectedMeasurements=: the user data is no JSON.");
        else if (!(value = json_pointer(document, pointer)))
                log_warning("ExpectedMeasurements=: the user data has no '%s'.", pointer);
        else
                text = json_object_to_json_string(value);
        finish_failure(session, text, text ? strlen(text) : 0);
}

/* Whether our own document shows the lock, of an unseald before us in this boot. */
static bool was_locked(const Session *session) {
        const PcrSet *measured = attester_document(session->common.attester).measured;
        unsigned pcr = session->options.settings->lock_pcr;

        return pcr > 0 && (measured->present & (UINT32_C(1) << pcr)) &&
               pcr_is_locked(measured->value[pcr], NULL);
}

/* A denial that is the lock's is told as such. */
static void explain_lock(const Session *session, Error *error) {
        Error denied = *error;

        if (error->failure != FAILURE_DENIED || !was_locked(session))
                return;
        (void) error_set(
                        error, -EPERM, FAILURE_LOCKED,
                        "It is locked until the next boot: unseald has locked PCR%u in this boot already (LockPcr=). KMS denies access: %.400s",
                        session->options.settings->lock_pcr, denied.text);
        memcpy(error->code, denied.code, sizeof(denied.code));
        memcpy(error->request_id, denied.request_id, sizeof(denied.request_id));
}

/* Ends the session. passage: the secret that it failed for, NULL: what all of them need. */
static void session_fail(Session *session, Passage *passage, const Error *error) {
        const char *expected = session->options.settings->expected_measurements;
        _cleanup_free_ uint8_t *data = NULL;
        Error explained = *error;
        size_t size = 0;
        bool denied;

        if (session->common.ending)
                return;
        session->common.ending = true;
        attester_stop(session->common.attester);
        session->failed = passage;
        explain_lock(session, &explained);
        session->error = explained;
        if (passage)
                (void) snprintf(session->error.text, sizeof(session->error.text), "%.64s: %.690s",
                                passage->declaration->name, explained.text);

        denied = explained.failure == FAILURE_DENIED;
        if (denied && expected && strncmp(expected, "user-data:", 10) == 0) {
                if (imds_get(session->imds, "/latest/user-data", on_expected_measurements, session) >= 0)
                        return;
        } else if (denied && expected) {
                int r = read_file(expected, PCR_MEASUREMENTS_SIZE_MAX, &data, &size);

                if (r < 0)
                        log_warning("ExpectedMeasurements=%s: %s", expected, strerror(-r));
        }
        finish_failure(session, (const char *) data, size);
}

/* All required secrets are here, and no optional one is on its way. Where none is required the optional ones have until the
 * deadline: early in a boot the first attempt always fails. */
static bool session_is_complete(Session *session) {
        bool some_required = false;

        for (size_t i = 0; i < session->passages_count; i++)
                some_required = some_required || !session->passages[i].declaration->optional;
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state < SECRET_UNSEALED && !(some_required && passage_may_be_left(passage)))
                        return false;
        }
        return true;
}

static int hand_over(Session *session, Error *error) {
        int r = 0;

        for (size_t i = 0; i < session->passages_count && r >= 0; i++) {
                const Passage *passage = session->passages + i;

                if (passage->state == SECRET_UNSEALED)
                        r = session->options.take(passage->declaration, passage->plaintext,
                                                  passage->request_id, error, session->userdata);
        }
        return r;
}

static int keep(Session *session, Error *error) {
        _cleanup_free_ Secret **plaintexts = calloc(session->passages_count + 1, sizeof(Secret *));
        int r;

        if (!plaintexts)
                return error_oom(error);
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state == SECRET_UNSEALED)
                        plaintexts[i] = session->passages[i].plaintext;
        r = delivery_keep(session->delivery, plaintexts,
                          attester_document(session->common.attester).measured, error);
        for (size_t i = 0; i < session->passages_count && r >= 0; i++) {
                Passage *passage = session->passages + i;

                passage->plaintext = secret_free(passage->plaintext);
                if (passage->state == SECRET_UNSEALED)
                        passage_enter(passage, SECRET_KEPT);
                else if (delivery_has(session->delivery, i))
                        passage->state = SECRET_KEPT;
        }
        return r;
}

/* Whoever is not here now stays away for this boot. */
static int session_complete(Session *session, Error *error) {
        int r;

        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage_may_stay_unknown(passage))
                        passage_is_unknown(passage);
                if (passage->state < SECRET_UNSEALED)
                        passage_leave_behind(passage);
        }
        r = session->options.take ? hand_over(session, error) : keep(session, error);
        session->kept = r >= 0;
        return r;
}

/* LockPcr=: whether what is kept may be published: it is locked, or is not to be. Begins that otherwise. */
static int lock(Session *session, uint64_t now, Error *error) {
        KeptLock wanted = kept_lock(session->options.kept);
        int r;

        if (wanted.pcr == 0 || kept_is_locked(session->options.kept))
                return true;
        if (attester_step(session->common.attester, ATTESTER_LOCK)->progress == STEP_DONE) {
                r = kept_set_locked(session->options.kept, error);
                return r < 0 ? r : true;
        }
        r = attester_lock(session->common.attester, wanted.pcr, wanted.before, now);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL, "The PCR cannot be locked: %s.", strerror(-r))
                     : false;
}

static int publish(Session *session, Error *error) {
        int r = delivery_publish(session->delivery, error);

        for (size_t i = 0; i < session->passages_count && r >= 0; i++)
                if (session->passages[i].state == SECRET_KEPT)
                        passage_enter(session->passages + i, SECRET_PUBLISHED);
        return r;
}

/* The last step before READY: nothing is left that could decrypt, or that plaintext was made with. */
static void forget(Session *session) {
        attester_forget(session->common.attester);
        for (size_t i = 0; i < session->passages_count; i++)
                session->passages[i].plaintext = secret_free(session->passages[i].plaintext);
        aws_credentials_clear(&session->role_credentials);
}

/* The way to the end from where all is kept. A crash anywhere on it takes it up again at the same place. */
static int session_conclude(Session *session, uint64_t now, Error *error) {
        int r;

        if (session->delivery) {
                r = lock(session, now, error);
                if (r <= 0)
                        return r;
                r = publish(session, error);
                if (r < 0)
                        return r;
        }
        forget(session);
        write_status(session, "unsealed", "All required secrets are published.");
        session_end(session);
        return 0;
}

/* Whether anything is missing of what is declared. */
static bool session_is_unsealing(const Session *session) {
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state < SECRET_UNSEALED)
                        return true;
        return false;
}

static int each_passage(Session *session, int (*begin)(Passage *passage, uint64_t now), uint64_t now) {
        int r = 0;

        for (size_t i = 0; i < session->passages_count && r >= 0; i++)
                r = begin(session->passages + i, now);
        return r;
}

static bool document_is_old(const Session *session, uint64_t now) {
        AttesterDocument document = attester_document(session->common.attester);

        return document.data && now - document.made_usec > DOCUMENT_AGE_MAX_USEC;
}

static int session_begin_what_can_begin(Session *session, uint64_t now) {
        int r;

        for (size_t i = 0; i < session->passages_count; i++)
                passage_share_failure(session->passages + i);
        r = begin_user_data(session, now);
        if (r >= 0)
                r = each_passage(session, passage_begin_fetch, now);
        if (r < 0 || session->common.ending || !session_is_unsealing(session))
                return r;
        if ((r = attester_begin(session->common.attester, now)) < 0 ||
            (r = begin_credentials(session, now)) < 0 || (r = begin_identity(session, now)) < 0)
                return r;
        for (size_t i = 0; i < session->endpoints_count; i++) {
                r = endpoint_begin(session->endpoints + i, now);
                if (r < 0)
                        return r;
        }
        r = each_passage(session, passage_begin_probe, now);
        if (r < 0 || !document_is_old(session, now))
                return r < 0 ? r : each_passage(session, passage_begin_decryption, now);

        /* With so old a document nothing new is begun, and what is under way ends soon. */
        if (session->common.decrypting > 0)
                return 0;
        attester_renew(session->common.attester);
        return attester_begin(session->common.attester, now);
}

/* Wakes up when the next attempt is due. What was due by now has begun, or waits for something else, which will move the
 * session on. */
static void session_arm_retry(Session *session, uint64_t now) {
        uint64_t time = USEC_INFINITY;

        for (size_t i = 0; session_step(session, i); i++) {
                uint64_t due = step_due(session_step(session, i), now);

                time = due < time ? due : time;
        }
        if (time == USEC_INFINITY)
                (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        else {
                (void) sd_event_source_set_time(session->retry, time);
                (void) sd_event_source_set_enabled(session->retry, SD_EVENT_ONESHOT);
        }
}

static const char *made_or(const Step *step, const char *made, const char *otherwise) {
        return step->progress == STEP_DONE ? made : otherwise;
}

static void notify_progress(Session *session) {
        Common *common = &session->common;
        size_t unsealed = 0;

        if (session->report.waiting[0]) {
                (void) sd_notifyf(false, "STATUS=Waiting: %s", session->report.waiting);
                return;
        }
        if (session->kept) {
                (void) sd_notifyf(false,
                                  "STATUS=All that is to be published is kept; PCR%u is being locked.",
                                  session->options.settings->lock_pcr);
                return;
        }
        for (size_t i = 0; i < session->passages_count; i++)
                unsealed += session->passages[i].state == SECRET_UNSEALED;
        (void) sd_notifyf(
                        false,
                        "STATUS=Unsealing: key pair %s, document %s, credentials %s, %zu of %zu secrets.",
                        made_or(attester_step(common->attester, ATTESTER_KEY_PAIR), "made", "in the making"),
                        made_or(attester_step(common->attester, ATTESTER_DOCUMENT), "made", "awaited"),
                        made_or(&common->credentials, "there", "awaited"), unsealed,
                        session->passages_count);
}

static void session_advance(Session *session) {
        uint64_t now = now_monotonic_usec();
        Error error = {};
        int r;

        if (session->common.ending)
                return;
        r = session_begin_what_can_begin(session, now);
        if (r < 0) {
                (void) error_set(&error, r, FAILURE_INTERNAL, "Unsealing cannot go on: %s.", strerror(-r));
                session_fail(session, NULL, &error);
        }
        if (session->common.ending)
                return;
        r = !session->kept && session_is_complete(session) ? session_complete(session, &error) : 0;
        if (r >= 0 && session->kept)
                r = session_conclude(session, now, &error);
        if (r < 0)
                session_fail(session, NULL, &error);
        if (session->common.ending)
                return;
        session_arm_retry(session, now);
        notify_progress(session);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        session_advance(userdata);
        return 0;
}

/* The first required secret that is missing. */
static Passage *missing(Session *session) {
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state < SECRET_UNSEALED && !passage_may_stay_unknown(passage) &&
                    !passage->declaration->optional)
                        return passage;
        }
        return NULL;
}

static void overdue(Session *session, Passage *passage, Error *ret) {
        const Step *step = passage ? passage_obstacle(passage)
                                   : attester_step(session->common.attester, ATTESTER_LOCK);
        const char *whom = passage && step == &passage->fetch ? passage->declaration->source.label : NULL;

        common_overdue(&session->common, step, whom, ret);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Session *session = userdata;
        Passage *passage;
        Error error;

        if (session->told) /* and the TPM's thread has not ended */
                (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
        if (session->common.ending)
                return 0;
        passage = missing(session);
        if (passage || session->kept) {
                overdue(session, passage, &error);
                session_fail(session, NULL, &error);
                return 0;
        }
        /* Only optional ones are missing: what is here is kept, locked and published. */
        (void) sd_event_source_set_time_relative(source, TPM_LAST_JOB_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (session_complete(session, &error) < 0)
                session_fail(session, NULL, &error);
        session_advance(session);
        return 0;
}

static int on_ended(sd_event_source *source, void *userdata) {
        Session *session = userdata;
        Error error = session->error;

        session->callback(error.failure == FAILURE_NONE ? 0 : -EIO, &error, session->userdata);
        return 0;
}

static Endpoint *find_endpoint(Session *session, const RequestTarget *target) {
        Endpoint *endpoint = session->endpoints;

        for (; endpoint < session->endpoints + session->endpoints_count; endpoint++)
                if (endpoint_is_of(endpoint, target))
                        return endpoint;
        if (endpoint_new(&session->common, target, endpoint) < 0)
                return NULL;
        session->endpoints_count++;
        return endpoint;
}

static void on_changed(void *userdata) {
        session_advance(userdata);
}

static void on_failed(Passage *passage, const Error *error, void *userdata) {
        session_fail(userdata, passage, error);
}

static int set_up_passages(Session *session, Error *error) {
        const Declarations *declarations = session->options.declarations;

        /* As many endpoints as secrets at the most; neither array ever moves. */
        session->passages = calloc(declarations->count + 1, sizeof(*session->passages));
        session->endpoints = calloc(declarations->count + 1, sizeof(*session->endpoints));
        if (!session->passages || !session->endpoints)
                return error_oom(error);

        for (size_t i = 0; i < declarations->count; i++) {
                Passage *passage = session->passages + i;
                int r;

                *passage = passage_make(&session->common, declarations->items + i);
                session->passages_count++;
                if (session->delivery && delivery_has(session->delivery, i)) {
                        passage->begun_usec = now_monotonic_usec();
                        passage->state = SECRET_KEPT;
                        continue;
                }
                r = request_target(session->options.settings, passage->declaration, &passage->target, error);
                if (r < 0)
                        return r;
                passage->endpoint = find_endpoint(session, &passage->target);
                if (!passage->endpoint)
                        return error_oom(error);
                passage->endpoint->secrets++;
        }
        return 0;
}

static int set_up_delivery(Session *session, Error *error) {
        const SessionOptions *options = &session->options;

        if (options->take)
                return 0;
        return delivery_new(&(DeliveryOptions){ .store_path = options->store_path,
                                                .kept = options->kept,
                                                .declarations = options->declarations,
                                                .replaced = options->replaced,
                                                .lock_pcr = options->settings->lock_pcr },
                            &session->delivery, error);
}

static int set_up_loop(Session *session) {
        const Settings *settings = session->options.settings;
        /* Credentials, identity and user data do not wait for one another. */
        HttpOptions imds = { .connections_max = 3, .connect_timeout_usec = USEC_PER_SEC };
        HttpOptions kms = {
                .trusted = session->trusted,
                .proxy = settings->proxy,
                .connections_max = CONNECTIONS_MAX,
        };
        int r;

        if ((r = sd_event_add_time_relative(session->event, &session->deadline, CLOCK_MONOTONIC,
                                            settings->deadline_usec, 0, on_deadline, session)) < 0 ||
            (r = sd_event_add_time(session->event, &session->retry, CLOCK_MONOTONIC, 0, USEC_PER_MSEC,
                                   on_retry, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->retry, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_defer(session->event, &session->ended, on_ended, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->ended, SD_EVENT_OFF)) < 0 ||
            (r = http_client_new(session->event, &imds, &session->imds_http)) < 0 ||
            (r = http_client_new(session->event, &kms, &session->common.http)) < 0 ||
            (r = imds_new(session->imds_http, IMDS_ADDRESS, &session->imds)) < 0 ||
            (r = fetcher_new(session->common.http, &session->common.fetcher)) < 0 ||
            (r = network_new(session->event, on_network_changed, session, &session->network)) < 0)
                return r;
        return attester_new(session->event, settings->rsa_key_bits, settings->tpm_device, on_attester_step,
                            session, &session->common.attester);
}

int session_new(sd_event *event, const SessionOptions *options, SessionEnded ended, void *userdata,
                Session **ret, Error *error) {

        _cleanup_(session_freep) Session *session = NULL;
        int r;

        session = calloc(1, sizeof(*session));
        if (!session)
                return error_oom(error);
        session->event = sd_event_ref(event);
        session->options = *options;
        session->callback = ended;
        session->userdata = userdata;
        session->report = (Report){ .status_path = options->take ? NULL : options->status_path,
                                    .reload = options->replaced };
        session->common = (Common){
                .settings = options->settings,
                .report = &session->report,
                .credentials = { .name = "credentials", .silence = FAILURE_IMDS },
                .identity = { .name = "instance identity", .silence = FAILURE_IMDS },
                .user_data = { .name = "user data", .silence = FAILURE_IMDS },
                .changed = on_changed,
                .failed = on_failed,
                .userdata = session,
        };

        r = set_up_delivery(session, error);
        if (r < 0)
                return r;
        r = http_trust_new(options->settings->trusted_certificates, &session->trusted, error);
        if (r < 0)
                return r;
        r = set_up_loop(session);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the event loop: %s.",
                                 strerror(-r));
        r = set_up_passages(session, error);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(session);
        return 0;
}

/* What is kept was locked: what is not kept is not to be had any more, so nobody is asked. */
static void give_up_what_is_locked(Session *session) {
        unsigned pcr = session->options.settings->lock_pcr;
        Error error;

        if (pcr == 0 || !session->delivery || kept_lock(session->options.kept).pcr != pcr ||
            !kept_is_locked(session->options.kept))
                return;
        (void) error_set(
                        &error, -EPERM, FAILURE_LOCKED,
                        "It is locked until the next boot: it was not among the secrets when PCR%u was locked (LockPcr=).",
                        pcr);
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state < SECRET_UNSEALED)
                        passage_failed(session->passages + i, &error);
}

void session_start(Session *session) {
        size_t kept = 0;

        for (size_t i = 0; i < session->passages_count; i++)
                kept += session->passages[i].state == SECRET_KEPT;
        if (kept > 0)
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_RESTORED, .state = "kept" },
                         "%zu secret(s) were kept over the restart; neither the TPM nor KMS is asked for them.",
                         kept);
        if (kept < session->passages_count || kept == 0)
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_STARTED }, "Unsealing %zu secret(s).",
                         session->passages_count - kept);
        write_status(session, "unsealing", session->options.replaced ? "Reloading." : "Unsealing.");
        give_up_what_is_locked(session);
        session_advance(session);
}

bool session_waits_for_tpm(const Session *session) {
        return attester_is_busy(session->common.attester);
}

Session *session_free(Session *session) {
        if (!session)
                return NULL;

        session->common.attester = attester_free(session->common.attester);
        (void) network_free(session->network);
        (void) imds_free(session->imds);
        (void) fetcher_free(session->common.fetcher);
        for (size_t i = 0; i < session->endpoints_count; i++)
                (void) kms_client_free(session->endpoints[i].client);
        free(session->endpoints);
        (void) http_client_free(session->imds_http);
        (void) http_client_free(session->common.http);
        X509_STORE_free(session->trusted);

        for (size_t i = 0; i < session->passages_count; i++)
                passage_clear(session->passages + i);
        free(session->passages);
        aws_credentials_clear(&session->role_credentials);
        free(session->common.user_data_text);
        (void) delivery_free(session->delivery);

        (void) sd_event_source_disable_unref(session->deadline);
        (void) sd_event_source_disable_unref(session->retry);
        (void) sd_event_source_disable_unref(session->ended);
        (void) sd_event_unref(session->event);
        free(session);
        return NULL;
}
