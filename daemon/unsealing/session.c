/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of one unsealing:
 *
 *     key pair ──────┐
 *     TPM prepared ──┴─ document ──┐                                          (attester.c)
 *     credentials, account, data ──┤                                          (instance.c)
 *     connection ──────────────────┤                                          (endpoint.c)
 *                                  └─ every secret: fetched → sealed → decrypted → probed → unsealed ──┐    (passage.c)
 *   all required secrets unsealed → measured → kept → PCR locked → published → key pair wiped → ended ──┘    (delivery.c)
 *                         kept over a restart ───┘
 *
 * The messages of late secrets come afterwards (late.c): until then they have only their data keys. The session then lives on after
 * its end was told, without a key pair, and with one deadline for all of them.
 *
 * unsealctl unseal takes the unsealed secrets itself; then nothing is measured, kept, locked or published.
 *
 * MeasurePcr= extends PCRs. What will be extended is recorded with the kept secrets first, so that after a crash the next process
 * goes on, and extends nothing twice. Only then are the new secrets kept: a secret that cannot be measured reaches nobody, not even in
 * a reload.
 *
 * A reload has one point of no return: that the secrets are kept. A failure before it changes nothing. After it the reload
 * succeeds; a store that does not show the new secrets is tried again, and then a warning.
 *
 * A value that KMS has made for this boot (Generate=) stays over a reload, as all secrets do over a restart.
 *
 * A refresh is a reload that waits after the fetches until a ciphertext differs from what was unsealed last. If none does, it ends
 * there (refresh.c).
 *
 * Everything that can fail and be tried again is a Step, and all steps are in one list. One function moves the session on:
 * session_advance() begins every step that can begin. Only the deferred event source "changed" calls it. Every callback arms
 * that source first and then records what changed, so no early return can leave the session asleep. Many changes in one turn of
 * the event loop move the session on once.
 *
 * Nothing waits for what it does not need: the key pair and the document are made while there is no network yet.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "unsealing/delivery.h"
#include "unsealing/endpoint.h"
#include "unsealing/expected-measurements.h"
#include "unsealing/late.h"
#include "unsealing/measuring.h"
#include "unsealing/network.h"
#include "unsealing/passage.h"
#include "unsealing/refresh.h"
#include "unsealing/session.h"
#include "unsealing/waiting.h"

/* How long the session waits for a running TPM command in the end. A process that ended before the command would leave a key or a
 * session in the TPM for the rest of the boot. */
#define TPM_LAST_JOB_USEC (5 * USEC_PER_SEC)

/* While late messages come, STATUS= and status.json say this often how far they are. */
#define LATE_STATUS_USEC USEC_PER_SEC

/* How often a reload tries to show committed secrets in the store, before it leaves that to the next reload or restart. */
#define PUBLICATIONS_MAX 5U

struct Session {
        sd_event *event;
        SessionOptions options;
        SessionEnded callback;
        void *userdata;

        Network *network;
        X509_STORE *trusted;
        sd_event_source *deadline, *retry, *changed, *ended;
        uint64_t deadline_usec; /* CLOCK_MONOTONIC */
        Delivery *delivery;     /* NULL: the caller takes the secrets */
        Report report;
        ExpectedMeasurements expected;

        SessionShared shared;
        Endpoint *endpoints;
        size_t endpoints_count;
        Passage *passages;
        size_t passages_count;

        uint64_t begun_usec;  /* CLOCK_MONOTONIC */
        uint64_t status_hash; /* of what status.json says is awaited */

        bool comparing; /* a refresh that has found no difference; only fetches and what they need may begin */

        bool complete; /* no secret is awaited any more; what is unsealed is measured and then kept */
        bool recorded; /* what will be measured is recorded, or nothing will */

        bool *removed; /* of a reload: for each secret of before, whether it goes; NULL: nothing is to be kept yet */
        Step keeping; /* running: the service manager must say that it has the secrets */
        bool kept; /* all that will be published is kept, or all is taken; what remains is to lock and to publish */
        Step publication;  /* in a reload it may be tried again */
        Error unpublished; /* why the store does not show the secrets of a reload */
        bool overdue;      /* the deadline of a reload has passed after its point of no return */

        Late late;                 /* after READY=1 */
        uint64_t late_status_usec; /* when status.json was last written because of it */
        bool late_over;            /* all late secrets have ended; only the caller must be told */

        bool told;       /* the outcome is reported; only a TPM command may still be running */
        Error error;     /* the outcome; FAILURE_NONE: success */
        Passage *failed; /* the secret that failed; NULL: something that all secrets need */
};

static void session_end(Session *session);
static void session_fail(Session *session, Passage *passage, const Error *error);

/* Something has changed, so a step may be able to begin. Every callback calls this first. */
static void session_changed(void *userdata) {
        const Session *session = userdata;

        (void) sd_event_source_set_enabled(session->changed, SD_EVENT_ONESHOT);
}

static void report_locked(const Session *session) {
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_LOCKED, .state = "locked" },
                 "PCR%u %s locked: nothing more can be unsealed in this boot with a key whose policy pins it.",
                 kept_lock(session->options.kept).pcr,
                 attester_was_locked_before(session->shared.attester) ? "was" : "is");
}

/* A step that the session cannot do without has ended. */
static void needed_step_ended(Session *session, Step *step, int r, const Error *error) {
        if (r >= 0)
                session_step_done(&session->shared, step);
        else if (error->remedy != REMEDY_NONE)
                session_step_postpone(&session->shared, step, NULL, error);
        else {
                step->progress = STEP_IDLE;
                step_set_error(step, error);
                session_fail(session, NULL, error);
        }
}

static void on_attester_step(Step *step, int r, const Error *error, void *userdata) {
        Session *session = userdata;
        Attester *attester = session->shared.attester;

        session_changed(session);
        if (session->told && step != attester_step(attester, ATTESTER_KEY_PAIR) &&
            !attester_is_busy(attester))
                session_end(session);
        if (session->shared.ending || session->shared.late || session_has_replaced(session))
                return;
        needed_step_ended(session, step, r, error);
        if (r >= 0 && step == attester_step(attester, ATTESTER_LOCK))
                report_locked(session);
}

static void use_credentials(Session *session) {
        const AwsCredentials *credentials = instance_credentials(session->shared.instance);

        for (size_t i = 0; i < session->endpoints_count; i++)
                kms_client_set_credentials(session->endpoints[i].client, credentials);
        fetcher_set_credentials(session->shared.fetcher, credentials);
}

/* All secrets need the credentials. The account and the user data are needed only by secrets that may all be optional, so their
 * final failure does not end the session here. */
static void on_instance_step(Step *step, int r, const Error *error, void *userdata) {
        Session *session = userdata;
        bool is_needed = step == instance_step(session->shared.instance, INSTANCE_CREDENTIALS);

        session_changed(session);
        if (session->shared.ending || (session_has_replaced(session) && !session->shared.late))
                return;
        if (r >= 0 && is_needed)
                use_credentials(session);
        if (r < 0 && error->remedy == REMEDY_NONE && !is_needed)
                step_give_up(step, error);
        else
                needed_step_ended(session, step, r, error);
}

static void on_network_changed(void *userdata) {
        Session *session = userdata;

        session_changed(session);
        session->shared.network_changed_usec = now_monotonic_usec();
        steps_hasten(&session->shared.steps);
        for (size_t i = 0; i < session->endpoints_count; i++)
                session->endpoints[i].passed_over = false;
}

/* Before the point of no return of a reload: the declaration before the reload of a secret that is published. Until then it decides
 * who gets the secret, and it stays if the reload fails. NULL: there is none. */
static const Declaration *in_force(const Session *session, const char *name) {
        const Declarations *replaced = session->options.replaced;

        if (!replaced || session->kept || kept_find(session->options.kept, name) < 0)
                return NULL;
        return declarations_find(replaced, name);
}

/* What keeps the session from its end. Once all is handed over, that is the service manager; once all is kept, the lock or the
 * store; else the obstacle of a secret. A required secret comes before an optional one, and an obstacle that has failed before one
 * that is only not done yet. */
static void session_waits_for(Session *session, StatusWaiting *ret) {
        const Step *lock = attester_step(session->shared.attester, ATTESTER_LOCK);
        int best = -1;

        *ret = (StatusWaiting){};
        if (session->keeping.progress == STEP_RUNNING) {
                waiting_for_manager(&session->keeping, session->begun_usec, ret);
                return;
        }
        if (session->complete && !session->kept) {
                waiting_for_measurement(attester_step(session->shared.attester, ATTESTER_MEASURE),
                                        session->begun_usec, ret);
                return;
        }
        if (session->kept) {
                bool locking = lock->progress != STEP_DONE && session->options.settings->lock_pcr > 0;

                waiting_for_step(locking ? lock : &session->publication,
                                 locking ? session->options.settings->lock_pcr : 0, session->begun_usec,
                                 ret);
                return;
        }
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;
                StatusWaiting waiting;
                int rank;

                waiting_for_secret(passage, session->begun_usec, &waiting);
                rank = !waiting.what[0] ? -1
                                        : (passage_is_required(passage) ? 2 : 0) +
                                                          (waiting.error->failure != FAILURE_NONE);
                if (rank > best) {
                        best = rank;
                        *ret = waiting;
                }
        }
}

/* The version of what is published, if something is, since before a restart or a reload. */
static const uint64_t *version_for_status(const Session *session, const Passage *passage) {
        const Kept *kept = session->options.kept;

        return kept && kept_find(kept, passage->declaration->name) >= 0
                               ? kept_version(kept, passage->declaration->name)
                               : passage_version(passage);
}

static void fill_status_of_members(const Session *session, const Declaration *declaration,
                                   StatusMembers *ret) {
        ret->members = declaration->members;
        ret->count = declaration->members_count;
        if (ret->count > 0 && session->options.kept)
                ret->places = kept_members(session->options.kept, declaration->name, &ret->places_count);
}

static void fill_status(const Session *session, Passage *passage, bool is_over, StatusSecret *ret) {
        const Declaration *declaration = passage->declaration,
                          *before = in_force(session, declaration->name);

        *ret = (StatusSecret){
                .name = declaration->name,
                .state = secret_state_to_string(before ? SECRET_PUBLISHED : passage->state),
                .source = declaration->source.label,
                .key_id = declaration->key_ids[0],
                .kms_region = passage->asked_region,
                .units = (before ?: declaration)->units,
                .optional = declaration->optional,
                .late = declaration->late,
                .bytes_since_usec = passage->late_key && passage->body ? passage->late_body.begun_usec : 0,
                .bytes = passage->body ? body_written(passage->body) : 0,
                .bytes_total = passage->body_plan.plaintext_max,
                .policy = passage->policy,
                .version = version_for_status(session, passage),
                .measured_pcr = measuring_pcr_of(session->options.kept, declaration->name),
                .error = step_error(passage_step(passage)),
                .attempts = passage_step(passage)->attempts,
                .duration_usec = passage->duration_usec,
        };
        fill_status_of_members(session, before ?: declaration, &ret->members);
        if (!is_over)
                waiting_for_secret(passage, session->begun_usec, &ret->waiting);
}

/* The secrets that a reload will remove: units still get them. Returns how many. */
static size_t fill_undeclared(const Session *session, StatusSecret *ret) {
        const Declarations *replaced = session->options.replaced;
        size_t n = 0;

        for (size_t i = 0; replaced && i < replaced->count; i++) {
                const Declaration *declaration = replaced->items + i;

                if (declarations_find(session->options.declarations, declaration->name) ||
                    !in_force(session, declaration->name))
                        continue;
                ret[n] = (StatusSecret){
                        .name = declaration->name,
                        .state = secret_state_to_string(SECRET_PUBLISHED),
                        .source = declaration->source.label,
                        .key_id = declaration->key_ids[0],
                        .units = declaration->units,
                        .optional = declaration->optional,
                        .version = kept_version(session->options.kept, declaration->name),
                };
                fill_status_of_members(session, declaration, &ret[n++].members);
        }
        return n;
}

static void write_status(Session *session, const char *state, const char *text) {
        size_t replaced_count = session->options.replaced ? session->options.replaced->count : 0,
               count = session->passages_count;
        _cleanup_free_ StatusSecret *secrets = calloc(count + replaced_count + 1, sizeof(*secrets));
        bool is_over = strcmp(state, "unsealing") != 0;
        StatusWaiting waiting = {};

        if (!secrets)
                return;
        for (size_t i = 0; i < count; i++)
                fill_status(session, session->passages + i, is_over, secrets + i);
        count += fill_undeclared(session, secrets + count);
        if (!is_over)
                session_waits_for(session, &waiting);
        report_status(&session->report, state, text, &session->error, &waiting, secrets, count);
}

static void write_progress(Session *session) {
        write_status(session, "unsealing", session->options.replaced ? "Reloading." : "Unsealing.");
}

/* Writes status.json again if it says no longer what is awaited, but not too often. Returns when to call again; USEC_INFINITY:
 * once something has changed. */
static uint64_t refresh_status(Session *session, uint64_t now) {
        uint64_t due = session->report.written_usec + REPORT_STATUS_USEC;
        uint64_t hash = steps_hash(&session->shared.steps) + callers_generation(session->options.callers) +
                        session->keeping.progress;

        if (!session->report.status_path || hash == session->status_hash)
                return USEC_INFINITY;
        if (now < due)
                return due;
        session->status_hash = hash;
        write_progress(session);
        return USEC_INFINITY;
}

static void session_wake_at(const Session *session, uint64_t usec) {
        (void) sd_event_source_set_time(session->deadline, usec);
        (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_ONESHOT);
}

static void session_end(Session *session) {
        session->shared.ending = session->told = true;
        attester_stop(session->shared.attester);
        (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        if (attester_is_busy(session->shared.attester)) {
                uint64_t until = now_monotonic_usec() + TPM_LAST_JOB_USEC;

                /* A TPM that hangs does not hold up READY=1 beyond DeadlineSec=. */
                if (session->error.failure == FAILURE_NONE && session->deadline_usec < until)
                        until = session->deadline_usec;
                session_wake_at(session, until);
                return;
        }
        (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
}

static bool is_measuring(const Session *session) {
        const Step *step = attester_step(session->shared.attester, ATTESTER_MEASURE);

        return session->complete && !session->kept && step->attempts > 0 && step->progress != STEP_DONE;
}

static const char *failure_message(const Session *session) {
        if (session->error.failure == FAILURE_DENIED)
                return MESSAGE_DENIED;
        if (session->error.failure == FAILURE_LOCKED)
                return MESSAGE_LOCKED_OUT;
        if (session->error.failure == FAILURE_POLICY)
                return MESSAGE_POLICY;
        if (session->error.failure == FAILURE_SIGNATURE)
                return MESSAGE_SIGNATURE;
        if (is_measuring(session))
                return MESSAGE_MEASURE_FAILED;
        return session->kept && session->options.settings->lock_pcr > 0 &&
                                               attester_step(session->shared.attester, ATTESTER_LOCK)
                                                                               ->progress != STEP_DONE
                               ? MESSAGE_LOCK_FAILED
                               : MESSAGE_FAILED;
}

/* Bit n: a secret has MeasurePcr=n. */
static uint32_t measured_pcrs(const Session *session) {
        uint32_t pcrs = 0;

        for (size_t i = 0; i < session->passages_count; i++)
                pcrs |= UINT32_C(1) << session->passages[i].declaration->measure_pcr;
        return pcrs & ~UINT32_C(1);
}

/* The last part of session_fail(), once it is known which PCR values were expected. */
static void finish_failure(const PcrSet *expected, void *userdata) {
        Session *session = userdata;
        Passage *failed = session->failed;

        if (session->error.failure == FAILURE_DENIED && !session->comparing)
                report_explain_denial(&session->report, instance_role(session->shared.instance),
                                      attester_measured(session->shared.attester), expected,
                                      measured_pcrs(session));
        report_failure(&session->report, failure_message(session), failed ? failed->declaration->name : NULL,
                       failed ? passage_step(failed)->attempts : 0, &session->error);
        write_status(session, "failed",
                     session->options.replaced ? "The reload failed. Everything is as it was before."
                                               : session->error.text);
        session_end(session);
}

/* Ends the session with a failure. passage: the secret that failed; NULL: something that all secrets need. After READY=1 only the late
 * secrets fail. */
static void session_fail(Session *session, Passage *passage, const Error *error) {
        Error explained = *error;

        if (session->shared.ending)
                return;
        if (session->shared.late) {
                late_fail(&session->late, &explained);
                return;
        }
        session->shared.ending = true;
        if (session->keeping.progress == STEP_RUNNING)
                delivery_abandon(session->delivery);
        attester_stop(session->shared.attester);
        explain_lock(attester_measured(session->shared.attester), session->options.settings->lock_pcr,
                     &explained);
        explain_measured(attester_measured(session->shared.attester), measured_pcrs(session), &explained);
        session->failed = passage;
        session->error = explained;
        if (passage)
                (void) snprintf(session->error.text, sizeof(session->error.text), "%.64s: %.690s",
                                passage->declaration->name, explained.text);

        session->expected = (ExpectedMeasurements){
                .setting = session->options.settings->expected_measurements,
                .found = finish_failure,
                .userdata = session,
        };
        if (session->error.failure == FAILURE_DENIED && !session->comparing)
                expected_measurements_find(&session->expected, session->shared.instance);
        else
                finish_failure(NULL, session);
}

/* Returns whether all required secrets are unsealed and no optional one is under way. If all secrets are optional, they have
* until the deadline: early in a boot the first attempt always fails. */
static bool session_is_complete(Session *session) {
        bool some_required = false;

        for (size_t i = 0; i < session->passages_count; i++)
                some_required = some_required || passage_is_required(session->passages + i);
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state < SECRET_UNSEALED && !(some_required && passage_may_be_left(passage)))
                        return false;
        }
        return true;
}

/* unsealctl unseal: the caller takes the secrets. Returns 1. */
static int hand_over(Session *session, Error *error) {
        int r = 0;

        for (size_t i = 0; i < session->passages_count && r >= 0; i++) {
                const Passage *passage = session->passages + i;

                if (passage->state == SECRET_UNSEALED)
                        r = session->options.take(&(SessionSecret){ .declaration = passage->declaration,
                                                                    .plaintext = passage->plaintext,
                                                                    .members = passage->members,
                                                                    .members_count = passage->members_count,
                                                                    .unread = passage->rest.size,
                                                                    .request_id = passage->request_id },
                                                  error, session->userdata);
        }
        return r < 0 ? r : 1;
}

/* VerifyPolicy=yes holds in a reload, too: an optional secret whose key is open does not stay published as it was before. */
static void withdraw(Session *session) {
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->options.replaced && passage_is_held_back(session->passages + i))
                        delivery_withdraw(session->delivery, i);
}

static void report_withdrawn(const Passage *passage) {
        log_full(LOG_CRIT,
                 &(LogFields){ .message_id = MESSAGE_POLICY,
                               .secret = passage->declaration->name,
                               .state = "failed",
                               .error = step_error(&passage->probe) },
                 "%s: withdrawn from the store and the credential socket, because its key is not gated (VerifyPolicy=yes). Units that have the secret keep it until they end. Correct the key's policy, then reload unseald.service.",
                 passage->declaration->name);
}

/* Returns, for each secret before the reload, whether it is kept and is not declared any more. */
static bool *find_removed(const Session *session) {
        const Declarations *replaced = session->options.replaced;
        bool *removed = calloc((replaced ? replaced->count : 0) + 1, sizeof(*removed));

        for (size_t i = 0; removed && replaced && i < replaced->count; i++) {
                const char *name = replaced->items[i].name;

                removed[i] = kept_find(session->options.kept, name) >= 0 &&
                             !declarations_find(session->options.declarations, name);
        }
        return removed;
}

static void report_removed(const Session *session) {
        const Declarations *replaced = session->options.replaced;

        for (size_t i = 0; replaced && i < replaced->count; i++)
                if (session->removed[i])
                        log_full(LOG_NOTICE,
                                 &(LogFields){ .message_id = MESSAGE_REMOVED,
                                               .secret = replaced->items[i].name,
                                               .state = "removed" },
                                 "%s: removed from the store and the credential socket, because it is not declared any more. Units that have the secret keep it until they end.",
                                 replaced->items[i].name);
}

static void enter_kept(Session *session) {
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state == SECRET_UNSEALED)
                        passage_enter(passage, SECRET_KEPT);
                else if (passage->state == SECRET_LATE)
                        continue; /* what may be published of it is that from before a reload */
                else if (delivery_has(session->delivery, i))
                        passage_set_state(passage, SECRET_KEPT);
                else if (delivery_has_withdrawn(session->delivery, i))
                        report_withdrawn(passage);
        }
        report_removed(session);
}

/* All is kept, or taken. In a reload this is the point of no return. */
static void session_has_kept(Session *session) {
        if (session->delivery)
                enter_kept(session);
        session->kept = true;
        if (session_has_replaced(session))
                attester_stop(session->shared.attester);
}

static void on_kept(int r, const Error *error, void *userdata) {
        Session *session = userdata;

        session_changed(session);
        session->keeping.progress = STEP_DONE;
        if (r < 0)
                session_fail(session, NULL, error);
        else
                session_has_kept(session);
}

/* Returns 1 if all is kept, 0 if the service manager must answer first. */
static int keep(Session *session, Error *error) {
        _cleanup_free_ Secret **plaintexts = calloc(session->passages_count + 1, sizeof(Secret *));
        _cleanup_free_ const uint64_t **versions = calloc(session->passages_count + 1, sizeof(*versions));
        _cleanup_free_ DeliveryMembers *members = calloc(session->passages_count + 1, sizeof(*members));
        int r;

        session->removed = find_removed(session);
        if (!plaintexts || !versions || !members || !session->removed)
                return error_oom(error);
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state == SECRET_LATE && !delivery_has_key(session->delivery, i)) {
                        versions[i] = passage_version(session->passages + i);
                        delivery_take_key(session->delivery, i, session->passages[i].late_key);
                } else if (session->passages[i].state == SECRET_UNSEALED) {
                        plaintexts[i] = session->passages[i].plaintext;
                        versions[i] = passage_version(session->passages + i);
                        members[i] = (DeliveryMembers){ session->passages[i].members,
                                                        session->passages[i].members_count };
                        if (session->passages[i].draft)
                                delivery_take_draft(session->delivery, i,
                                                    TAKE_PTR(session->passages[i].draft));
                }
        withdraw(session);
        r = delivery_keep(session->delivery, plaintexts, members, versions,
                          attester_measured(session->shared.attester), on_kept, session, error);
        for (size_t i = 0; i < session->passages_count && r >= 0; i++)
                session->passages[i].plaintext = secret_free(session->passages[i].plaintext);
        if (r == 0)
                step_begin(&session->keeping, now_monotonic_usec());
        return r;
}

/* Ends the unsealing: a secret that is not here now is not published in this boot. */
static void session_complete(Session *session) {
        session->complete = true;
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage_may_stay_unknown(passage))
                        passage_is_unknown(passage);
                if (passage->state < SECRET_UNSEALED)
                        passage_leave_behind(passage);
        }
}

static void on_recorded(int r, const Error *error, void *userdata) {
        Session *session = userdata;

        session_changed(session);
        session->keeping.progress = STEP_IDLE;
        session->recorded = r >= 0;
        if (r < 0)
                session_fail(session, NULL, error);
}

/* MeasurePcr=: records what will be extended. Returns 1 if it is recorded, 0 if the service manager must answer first. */
static int record(Session *session, Error *error) {
        const PcrSet *measured = attester_measured(session->shared.attester);
        _cleanup_free_ ManifestEvent *events = NULL;
        size_t count;
        int r = measuring_plan(session->passages, session->passages_count, session->options.kept, measured,
                               &events, &count, error);

        if (r >= 0 && count > 0)
                r = delivery_record(session->delivery, events, count, measured, on_recorded, session, error);
        else if (r >= 0)
                r = 1;
        if (r == 0)
                step_begin(&session->keeping, now_monotonic_usec());
        session->recorded = r > 0;
        return r;
}

/* The TPM has extended all events. */
static int measured(Session *session, Error *error) {
        size_t before = kept_measured(session->options.kept);
        int r = kept_set_measured(session->options.kept, error);

        if (r < 0)
                return r;
        measuring_report(session->options.kept, before);
        return 0;
}

/* Begins to extend what is recorded and not extended yet, if the TPM is free for it. */
static int begin_measurement(Session *session, uint64_t now, Error *error) {
        Kept *kept = session->options.kept;
        _cleanup_free_ SecretEvent *events = NULL;
        size_t count;
        int r = measuring_recorded(kept, &events, &count, error);

        if (r < 0)
                return r;
        r = attester_measure(session->shared.attester, events, count, kept_measured(kept),
                             !kept_is_touched(kept), now);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "The sealed secrets cannot be measured: %s.",
                                 strerror(-r));
        if (r > 0)
                kept_touch(kept);
        return 0;
}

/* Extends what is recorded and not extended yet, and writes the log. Returns 1 if nothing is left, 0 if the TPM is at work. */
static int extend(Session *session, uint64_t now, Error *error) {
        const Kept *kept = session->options.kept;
        const char *log = session->options.event_log_path;
        size_t count;
        int r = 0;

        (void) kept_events(kept, &count);
        if (kept_measured(kept) < count) {
                if (attester_step(session->shared.attester, ATTESTER_MEASURE)->progress != STEP_DONE)
                        return begin_measurement(session, now, error);
                r = measured(session, error);
        }
        if (r < 0)
                return r;
        if (count > 0 && log)
                measuring_write_log(kept, log);
        return 1;
}

/* All secrets are here that will be: measures and keeps them, or hands them over. Returns 1 once that is done. */
static int session_hand_on(Session *session, uint64_t now, Error *error) {
        int r;

        if (session->options.take)
                r = hand_over(session, error);
        else {
                r = session->recorded ? 1 : record(session, error);
                if (r > 0)
                        r = extend(session, now, error);
                if (r > 0)
                        r = keep(session, error);
        }
        if (r > 0)
                session_has_kept(session);
        return r;
}

/* LockPcr=: begins the lock if one is wanted and not done. Returns whether the secrets may be published: 1 yes, 0 not yet. */
static int lock(Session *session, uint64_t now, Error *error) {
        KeptLock wanted = kept_lock(session->options.kept);
        int r;

        if (wanted.pcr == 0 || kept_is_locked(session->options.kept))
                return true;
        if (attester_step(session->shared.attester, ATTESTER_LOCK)->progress == STEP_DONE) {
                r = kept_set_locked(session->options.kept, error);
                return r < 0 ? r : true;
        }
        r = attester_lock(session->shared.attester, wanted.pcr, wanted.before, now);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL, "PCR%u cannot be locked: %s.", wanted.pcr,
                                 strerror(-r))
                     : false;
}

/* The reload ends without having shown all secrets in the store. */
static void leave_unpublished(Session *session, const Error *error) {
        session->unpublished = *error;
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_NOT_PUBLISHED, .state = "kept", .error = error },
                 "The reload is done, but the files in the store are not all the new ones: %s The credential socket gives the new secrets. The next reload or restart of unseald.service tries again.",
                 error->text);
}

/* Returns whether the session may end: 1 yes, 0 not yet. */
static int publish(Session *session, uint64_t now, Error *error) {
        Step *step = &session->publication;
        int r;

        if (!step_may_begin(step, now))
                return 0;
        step_begin(step, now);
        r = delivery_publish(session->delivery, error);
        if (r < 0 && !session_has_replaced(session))
                return r;
        if (r < 0 && step->attempts < PUBLICATIONS_MAX && !session->overdue) {
                session_step_postpone(&session->shared, step, NULL, error);
                return 0;
        }
        step_done(step);
        if (r < 0) {
                leave_unpublished(session, error);
                return 1;
        }
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state == SECRET_KEPT)
                        passage_enter(session->passages + i, SECRET_PUBLISHED);
        return 1;
}

/* The last step before READY=1: no plaintext is left, and nothing that could decrypt a secret but the data keys of late ones. */
static void forget(Session *session) {
        attester_forget(session->shared.attester);
        for (size_t i = 0; i < session->passages_count; i++)
                session->passages[i].plaintext = secret_free(session->passages[i].plaintext);
        /* The messages of late secrets may come from S3. */
        if (!late_is_pending(session->passages, session->passages_count))
                instance_forget(session->shared.instance);
}

/* Records what the next refresh compares with. A ciphertext that did not open counts, too: it would not open again. */
static void record_ciphertexts(Session *session) {
        Ciphertexts *ciphertexts = session->options.ciphertexts;
        const Declarations *replaced = session->options.replaced;

        for (size_t i = 0; ciphertexts && replaced && i < replaced->count; i++)
                if (!declarations_find(session->options.declarations, replaced->items[i].name))
                        ciphertexts_forget(ciphertexts, replaced->items[i].name);
        for (size_t i = 0; ciphertexts && i < session->passages_count; i++) {
                const Passage *passage = session->passages + i;

                if (passage->ciphertext)
                        ciphertexts_record(ciphertexts, passage->declaration->name, passage->ciphertext,
                                           passage->ciphertext_size);
                else if (passage->state == SECRET_FAILED)
                        ciphertexts_forget(ciphertexts, passage->declaration->name);
        }
}

static void write_published(Session *session) {
        write_status(session, "unsealed",
                     session->unpublished.failure != FAILURE_NONE
                                     ? "Reloaded, but the files in the store are not all the new ones."
                     : late_is_pending(session->passages, session->passages_count)
                                     ? "All required secrets are published, but late ones are still to come."
                                     : "All required secrets are published.");
}

/* The way from kept to ended. After a crash on this way the next process continues at the same place. */
static int session_conclude(Session *session, uint64_t now, Error *error) {
        int r;

        if (session->delivery) {
                r = lock(session, now, error);
                if (r <= 0)
                        return r;
                r = publish(session, now, error);
                if (r <= 0)
                        return r;
        }
        record_ciphertexts(session);
        forget(session);
        write_published(session);
        session_end(session);
        return 0;
}

/* A reload: a late secret whose message is still the one that is published stays as it is. Gigabytes are not fetched again because a
 * password has changed. The header tells: nobody makes other frames for it without its data key. */
static int spare_unchanged(Session *session) {
        int r = 0;

        for (size_t i = 0; i < session->passages_count && session->options.replaced && r >= 0; i++) {
                Passage *passage = session->passages + i;
                CiphertextComparison comparison;

                if (passage->state != SECRET_SEALED || !passage->declaration->late ||
                    !rest_exists(&passage->rest) || !session->options.ciphertexts ||
                    !delivery_has_before_reload(session->delivery, i))
                        continue;
                r = ciphertexts_compare(session->options.ciphertexts, passage->declaration->name,
                                        passage->ciphertext, passage->ciphertext_size, &comparison);
                if (r >= 0 && comparison == CIPHERTEXT_SAME)
                        passage_spare(passage);
        }
        return r;
}

/* Once no secret is missing, no step needs to run. */
static bool may_run(const Session *session, const Step *step) {
        if (session->shared.late)
                return step->after_ready;
        return session->shared.missing > 0 && (!session->comparing || step->brings_ciphertext);
}

/* Begins every step that can begin, in the order of the list. */
static int session_begin(Session *session, uint64_t now) {
        SessionShared *shared = &session->shared;
        int r = session->comparing ? 0 : spare_unchanged(session);

        for (size_t i = 0; i < session->passages_count; i++)
                passage_share_failure(session->passages + i);
        /* Requests with the old document end soon, and none begins with it. */
        if (attester_document_is_old(shared->attester, now) && shared->decrypting == 0 &&
            shared->missing > 0 && !shared->late)
                attester_renew(shared->attester);
        for (Step *step = shared->steps.first; step && r >= 0; step = step->next) {
                if (shared->ending)
                        break;
                if (step->begin && step_may_begin(step, now) && may_run(session, step))
                        r = step->begin(step->owner, now);
        }
        return r;
}

/* Sleeps until the next attempt is due, or a status text that was held back. A step that was due before now has begun, or it
 * waits for another step, whose end moves the session on. */
static void session_arm_retry(Session *session, uint64_t now, uint64_t status_due) {
        uint64_t due = steps_due(&session->shared.steps, now);

        if (status_due < due)
                due = status_due;
        if (due == USEC_INFINITY)
                (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        else {
                (void) sd_event_source_set_time(session->retry, due);
                (void) sd_event_source_set_enabled(session->retry, SD_EVENT_ONESHOT);
        }
}

static uint64_t notify_progress(Session *session, uint64_t now) {
        SessionShared *shared = &session->shared;
        ReportProgress progress = {
                .key_pair = attester_step(shared->attester, ATTESTER_KEY_PAIR),
                .document = attester_step(shared->attester, ATTESTER_DOCUMENT),
                .credentials = instance_step(shared->instance, INSTANCE_CREDENTIALS),
                .locking_pcr = session->kept ? session->options.settings->lock_pcr : 0,
                .measuring = is_measuring(session),
                .secrets = session->passages_count,
        };

        for (size_t i = 0; i < session->passages_count; i++)
                progress.unsealed += session->passages[i].state == SECRET_UNSEALED ||
                                     session->passages[i].state == SECRET_LATE;
        return report_progress(&session->report, &progress, now);
}

static void log_begin(const Session *session) {
        size_t secrets = 0;

        for (size_t i = 0; i < session->passages_count; i++)
                secrets += session->passages[i].state != SECRET_KEPT;
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_STARTED }, "Unsealing %zu secret(s).",
                 secrets);
}

/* The refresh has found a difference, so it becomes a reload, which has the whole of DeadlineSec=. */
static void session_begin_reload(Session *session) {
        session->comparing = session->report.quiet = false;
        session->begun_usec = now_monotonic_usec();
        session->deadline_usec = session->begun_usec + session->options.settings->deadline_usec;
        session_wake_at(session, session->deadline_usec);
        session->options.changed(session->userdata);
        log_begin(session);
        write_progress(session);
        session_changed(session);
}

static void session_end_unchanged(Session *session, Passage *unfetched) {
        if (unfetched) {
                session_fail(session, unfetched, step_error(&unfetched->fetch));
                return;
        }
        forget(session);
        session_end(session);
}

/* A refresh: decides what the ciphertexts that are here mean. */
static int session_compare(Session *session, Error *error) {
        Passage *unfetched;
        RefreshResult result;
        int r = refresh_compare(session->options.ciphertexts, session->passages, session->passages_count,
                                &result, &unfetched);

        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "The ciphertexts cannot be hashed: %s.",
                                 strerror(-r));
        if (session->comparing && result == REFRESH_CHANGED)
                session_begin_reload(session);
        else if (session->comparing && result == REFRESH_UNCHANGED)
                session_end_unchanged(session, unfetched);
        return 0;
}

/* Takes the session as far as what is here allows. */
static int session_decide(Session *session, uint64_t now, Error *error) {
        int r = 0;

        if (session->options.changed)
                r = session_compare(session, error);
        if (r < 0 || session->comparing)
                return r;
        if (!session->complete && session_is_complete(session))
                session_complete(session);
        if (session->complete && !session->kept && session->keeping.progress == STEP_IDLE)
                r = session_hand_on(session, now, error);
        return r >= 0 && session->kept ? session_conclude(session, now, error) : r;
}

/* Says how far the messages are, in STATUS= and status.json. Returns when to say it again. */
static uint64_t say_late(Session *session, uint64_t now) {
        char progress[LATE_PROGRESS_MAX];

        if (now < session->late_status_usec + LATE_STATUS_USEC)
                return session->late_status_usec + LATE_STATUS_USEC;
        session->late_status_usec = now;
        late_print(&session->late, progress);
        notify_status("All required secrets are published. Late ones are still to come: %s.", progress);
        write_published(session);
        return now + LATE_STATUS_USEC;
}

/* Nothing is left that could decrypt anything. */
static void end_late(Session *session) {
        instance_forget(session->shared.instance);
        write_published(session);
        session->late_over = session->shared.ending = true;
        (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
}

static void advance_late(Session *session, uint64_t now) {
        if (late_advance(&session->late, now))
                end_late(session);
        else
                session_arm_retry(session, now, say_late(session, now));
}

/* READY=1 is said now. */
static void session_begin_late(Session *session) {
        uint64_t now = now_monotonic_usec();

        session->shared.ending = session->told = false;
        if (session->options.callers)
                (void) callers_watch(session->options.callers, NULL, NULL);
        session->options.callers = NULL;
        session->report.callers = NULL;
        late_begin(&session->late, &session->shared, session->passages, session->passages_count, now);
        if (late_deadline_usec(&session->late) != USEC_INFINITY)
                session_wake_at(session, late_deadline_usec(&session->late));
        session_changed(session);
}

static void session_advance(Session *session) {
        uint64_t now = now_monotonic_usec(), notify_due, status_due;
        Error error = {};
        int r;

        if (session->shared.ending)
                return;
        r = session_begin(session, now);
        if (r < 0) {
                (void) error_set(&error, r, FAILURE_INTERNAL, "Unsealing cannot continue: %s.",
                                 strerror(-r));
                session_fail(session, NULL, &error);
        }
        if (session->shared.ending)
                return;
        if (session->shared.late) {
                advance_late(session, now);
                return;
        }
        r = session_decide(session, now, &error);
        if (r < 0)
                session_fail(session, NULL, &error);
        if (session->shared.ending)
                return;
        notify_due = notify_progress(session, now);
        status_due = refresh_status(session, now);
        session_arm_retry(session, now, notify_due < status_due ? notify_due : status_due);
}

static int on_changed(sd_event_source *source, void *userdata) {
        session_advance(userdata);
        return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        session_changed(userdata);
        return 0;
}

/* The first required secret that is missing; NULL: none is. */
static Passage *missing(Session *session) {
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state < SECRET_UNSEALED && !passage_may_stay_unknown(passage) &&
                    passage_is_required(passage))
                        return passage;
        }
        return NULL;
}

static void overdue(Session *session, Passage *passage, Error *ret) {
        const Step *step = passage         ? passage_obstacle(passage)
                           : session->kept ? attester_step(session->shared.attester, ATTESTER_LOCK)
                           : session->keeping.progress == STEP_RUNNING
                                           ? &session->keeping
                                           : attester_step(session->shared.attester, ATTESTER_MEASURE);
        const char *whom = NULL;

        if (passage && step == &passage->fetch)
                whom = passage_source(passage)->label;
        else if (step == &session->keeping)
                whom = "the service manager (sd_notify_barrier(3)), so the secrets are not kept. Check whether systemd (PID 1) is overloaded or stopped";

        session_step_overdue(&session->shared, step, whom, ret);
}

/* A refresh at its deadline: the ciphertext that has not come. */
static void refresh_overdue(Session *session, Error *ret) {
        const Step *credentials = instance_step(session->shared.instance, INSTANCE_CREDENTIALS);
        Passage *passage = session->passages;

        while (passage + 1 < session->passages + session->passages_count && passage_is_fetched(passage))
                passage++;
        if (credentials->brings_ciphertext && step_failed(credentials))
                session_step_overdue(&session->shared, credentials, NULL, ret);
        else
                session_step_overdue(&session->shared, &passage->fetch, passage_source(passage)->label, ret);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Session *session = userdata;
        Passage *passage;
        Error error;

        session_changed(session);
        if (session->shared.late) {
                late_fail(&session->late, NULL);
                return 0;
        }
        if (session->told) /* the TPM command takes too long: do not wait for it any more */
                (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
        if (session->shared.ending)
                return 0;
        if (session_has_replaced(session)) {
                session->overdue = true;
                session->publication.not_before_usec = 0;
                return 0;
        }
        if (session->comparing) {
                refresh_overdue(session, &error);
                session_fail(session, NULL, &error);
                return 0;
        }
        passage = missing(session);
        if (passage || session->complete) {
                overdue(session, passage, &error);
                session_fail(session, NULL, &error);
                return 0;
        }
        /* Only optional secrets are missing: measure, keep, lock and publish the others. */
        session->deadline_usec = now_monotonic_usec() + TPM_LAST_JOB_USEC;
        session_wake_at(session, session->deadline_usec);
        session_complete(session);
        return 0;
}

static int on_ended(sd_event_source *source, void *userdata) {
        Session *session = userdata;
        Error error = session->error;

        if (session->late_over) {
                session->options.late_ended(session->userdata);
                return 0;
        }
        if (error.failure == FAILURE_NONE && late_is_pending(session->passages, session->passages_count))
                session_begin_late(session);
        session->callback(error.failure == FAILURE_NONE ? 0 : -EIO, &error, session->userdata);
        return 0;
}

static Endpoint *find_endpoint(Session *session, const RequestKey *key) {
        Endpoint *endpoint = session->endpoints;

        for (; endpoint < session->endpoints + session->endpoints_count; endpoint++)
                if (endpoint_matches(endpoint, key))
                        return endpoint;
        if (endpoint_new(&session->shared, key, endpoint) < 0)
                return NULL;
        session->endpoints_count++;
        return endpoint;
}

static int set_up_keys(Session *session, Passage *passage, Error *error) {
        int r = request_keys(session->options.settings, passage->declaration, &passage->keys,
                             &passage->keys_count, error);

        if (r < 0)
                return r;
        passage->endpoints = calloc(passage->keys_count, sizeof(*passage->endpoints));
        for (size_t i = 0; passage->endpoints && i < passage->keys_count; i++) {
                passage->endpoints[i] = find_endpoint(session, passage->keys + i);
                if (!passage->endpoints[i])
                        return error_oom(error);
        }
        if (!passage->endpoints)
                return error_oom(error);
        passage->endpoint = passage->endpoints[0];
        passage->endpoint->secrets++;
        return 0;
}

static size_t count_keys(const Declarations *declarations) {
        size_t count = 0;

        for (size_t i = 0; i < declarations->count; i++)
                count += strings_count(declarations->items[i].key_ids);
        return count;
}

static void on_failed(Passage *passage, const Error *error, void *userdata) {
        session_fail(userdata, passage, error);
}

static int set_up_passages(Session *session, Error *error) {
        const Declarations *declarations = session->options.declarations;

        /* There are at most as many endpoints as keys. Neither array may move: steps point into them. */
        session->passages = calloc(declarations->count + 1, sizeof(*session->passages));
        session->endpoints = calloc(count_keys(declarations) + 1, sizeof(*session->endpoints));
        if (!session->passages || !session->endpoints)
                return error_oom(error);

        for (size_t i = 0; i < declarations->count; i++) {
                Passage *passage = session->passages + i;
                int r;

                passage_init(passage, &session->shared, declarations->items + i);
                session->passages_count++;
                if (session->delivery && !session->options.replaced &&
                    delivery_has_key(session->delivery, i)) {
                        r = delivery_read_key(session->delivery, i, &passage->late_key, error);
                        if (r < 0)
                                return r;
                        r = request_target(session->options.settings, passage->declaration, &passage->target,
                                           error);
                        if (r < 0)
                                return r;
                        passage_set_state(passage, SECRET_LATE);
                        continue;
                }
                if (session->delivery && (delivery_has(session->delivery, i) ||
                                          (passage->declaration->generate > 0 &&
                                           delivery_has_before_reload(session->delivery, i)))) {
                        passage->begun_usec = now_monotonic_usec();
                        passage_set_state(passage, SECRET_KEPT);
                        continue;
                }
                r = request_target(session->options.settings, passage->declaration, &passage->target, error);
                if (r < 0)
                        return r;
                r = set_up_keys(session, passage, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The list of all steps. The order is that in which they begin. The account and the user data are asked for only if a secret
 * needs them. */
static void set_up_steps(Session *session) {
        SessionShared *shared = &session->shared;
        bool wants_account = false, wants_user_data = false, fetches_with_credentials = false;

        for (size_t i = 0; i < session->passages_count; i++) {
                const Passage *passage = session->passages + i;

                if (passage->state == SECRET_KEPT)
                        continue;
                session->passages[i].fetch.after_ready = session->passages[i].late_body.after_ready =
                                session->passages[i].body_begins.after_ready = passage->declaration->late;
                if (passage->declaration->late && source_is_signed(&passage->declaration->source))
                        instance_step(shared->instance, INSTANCE_CREDENTIALS)->after_ready = true;
                if (passage->state == SECRET_LATE)
                        continue;
                wants_account |= passage->declaration->bind_account;
                wants_user_data |= passage->declaration->source.kind == SOURCE_USER_DATA ||
                                   (passage->declaration->signed_by &&
                                    passage->declaration->signature.kind == SOURCE_USER_DATA);
                fetches_with_credentials |= source_is_signed(&passage->declaration->source) ||
                                            (passage->declaration->signed_by &&
                                             source_is_signed(&passage->declaration->signature));
                session->passages[i].fetch.brings_ciphertext =
                                !declaration_is_of_one_boot(passage->declaration);
        }
        instance_step(shared->instance, INSTANCE_USER_DATA)->brings_ciphertext = true;
        instance_step(shared->instance, INSTANCE_CREDENTIALS)->brings_ciphertext = fetches_with_credentials;
        if (wants_user_data)
                steps_add(&shared->steps, instance_step(shared->instance, INSTANCE_USER_DATA));
        for (size_t i = 0; i < session->passages_count; i++)
                steps_add(&shared->steps, &session->passages[i].fetch);
        for (AttesterStep i = 0; i < _ATTESTER_STEPS; i++)
                steps_add(&shared->steps, attester_step(shared->attester, i));
        steps_add(&shared->steps, instance_step(shared->instance, INSTANCE_CREDENTIALS));
        if (wants_account)
                steps_add(&shared->steps, instance_step(shared->instance, INSTANCE_IDENTITY));
        for (size_t i = 0; i < session->endpoints_count; i++)
                steps_add(&shared->steps, &session->endpoints[i].connection);
        for (size_t i = 0; i < session->passages_count; i++)
                steps_add(&shared->steps, &session->passages[i].probe);
        for (size_t i = 0; i < session->passages_count; i++)
                steps_add(&shared->steps, &session->passages[i].decryption);
        for (size_t i = 0; i < session->passages_count; i++)
                steps_add(&shared->steps, &session->passages[i].late_body);
        for (unsigned optional = 0; optional < 2; optional++)
                for (size_t i = 0; i < session->passages_count; i++)
                        if (session->passages[i].declaration->optional == optional)
                                steps_add(&shared->steps, &session->passages[i].body_begins);
        session->keeping = (Step){ .name = "service manager", .silence = FAILURE_INTERNAL };
        session->publication = (Step){ .name = "publication", .silence = FAILURE_STORE };
        steps_add(&shared->steps, &session->publication);
}

static int set_up_delivery(Session *session, Error *error) {
        const SessionOptions *options = &session->options;

        if (options->take)
                return 0;
        return delivery_new(&(DeliveryOptions){ .store_path = options->store_path,
                                                .kept = options->kept,
                                                .declarations = options->declarations,
                                                .replaced = options->replaced,
                                                .lock_pcr = options->settings->lock_pcr,
                                                .store_size_max = options->settings->store_size_max },
                            &session->delivery, error);
}

static int set_up_loop(Session *session) {
        const Settings *settings = session->options.settings;
        const HttpOptions http = {
                .trusted = session->trusted,
                .proxy = settings->proxy,
                .connections_max = SESSION_CONNECTIONS_MAX,
        };
        int r;

        session->deadline_usec = now_monotonic_usec() + settings->deadline_usec;
        if ((r = sd_event_add_time(session->event, &session->deadline, CLOCK_MONOTONIC,
                                   session->deadline_usec, 0, on_deadline, session)) < 0 ||
            (r = sd_event_add_time(session->event, &session->retry, CLOCK_MONOTONIC, 0, USEC_PER_MSEC,
                                   on_retry, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->retry, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_defer(session->event, &session->changed, on_changed, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->changed, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_defer(session->event, &session->ended, on_ended, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->ended, SD_EVENT_OFF)) < 0 ||
            (r = http_client_new(session->event, &http, &session->shared.http)) < 0 ||
            (r = instance_new(session->event, on_instance_step, session, &session->shared.instance)) < 0 ||
            (r = fetcher_new(session->shared.http, &session->shared.fetcher)) < 0 ||
            (r = network_new(session->event, on_network_changed, session, &session->network)) < 0)
                return r;
        return attester_new(session->event, settings->rsa_key_bits, settings->tpm_device, on_attester_step,
                            session, &session->shared.attester);
}

static Session *session_make(sd_event *event, const SessionOptions *options, SessionEnded ended,
                             void *userdata) {
        Session *session = calloc(1, sizeof(*session));

        if (!session)
                return NULL;
        session->event = sd_event_ref(event);
        session->options = *options;
        session->callback = ended;
        session->userdata = userdata;
        session->comparing = options->changed;
        session->report = (Report){ .status_path = options->take ? NULL : options->status_path,
                                    .reload = options->replaced,
                                    .quiet = session->comparing,
                                    .callers = options->callers };
        session->shared = (SessionShared){
                .settings = options->settings,
                .headers_only = options->headers_only,
                .labels = options->labels,
                .report = &session->report,
                .event = event,
                .changed = session_changed,
                .failed = on_failed,
                .userdata = session,
        };
        return session;
}

int session_new(sd_event *event, const SessionOptions *options, SessionEnded ended, void *userdata,
                Session **ret, Error *error) {
        _cleanup_(session_freep) Session *session = session_make(event, options, ended, userdata);
        int r;

        if (!session)
                return error_oom(error);
        r = set_up_delivery(session, error);
        if (r < 0)
                return r;
        session->shared.delivery = session->delivery;
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
        set_up_steps(session);

        *ret = TAKE_PTR(session);
        return 0;
}

/* If the PCR was locked with the kept secrets, KMS denies all others until the next boot, so it is not asked. */
static void give_up_locked_secrets(Session *session) {
        unsigned pcr = session->options.settings->lock_pcr;
        Error error;

        if (pcr == 0 || !session->delivery || kept_lock(session->options.kept).pcr != pcr ||
            !kept_is_locked(session->options.kept))
                return;
        (void) error_set(
                        &error, -EPERM, FAILURE_LOCKED,
                        "The secret is locked until the next boot: it was not among the unsealed secrets when PCR%u was locked (LockPcr=).",
                        pcr);
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state < SECRET_UNSEALED)
                        passage_fail(session->passages + i, &error);
}

/* After a restart, what was kept comes first. A late secret that has failed before must not take it away. */
static void isolate_late_secrets(Session *session) {
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].declaration->late)
                        session->passages[i].alone = true;
}

void session_start(Session *session) {
        size_t kept = 0;

        for (size_t i = 0; i < session->passages_count; i++)
                kept += session->passages[i].state == SECRET_KEPT ||
                        session->passages[i].state == SECRET_LATE;
        if (kept > 0 && !session->options.replaced)
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_RESTORED, .state = "kept" },
                         "%zu secret(s) were kept over the restart. Neither the TPM nor KMS is asked for them.",
                         kept);
        else if (kept > 0)
                log_full(session->comparing ? LOG_DEBUG : LOG_INFO,
                         &(LogFields){ .message_id = MESSAGE_STEP, .state = "kept" },
                         "%zu generated secret(s) keep their value of this boot: a reload makes no new one.",
                         kept);
        if (!session->comparing && (kept < session->passages_count || kept == 0))
                log_begin(session);
        session->begun_usec = now_monotonic_usec();
        if (session->options.callers)
                (void) callers_watch(session->options.callers, session_changed, session);
        write_progress(session);
        session_changed(session);
        if (kept > 0 && !session->options.replaced)
                isolate_late_secrets(session);
        give_up_locked_secrets(session);
}

bool session_has_replaced(const Session *session) {
        return session->kept && session->options.replaced;
}

bool session_is_late(const Session *session) {
        return session->shared.late;
}

void session_settle(Session *session, const Settings *settings, const Declarations *declarations) {
        session->options.settings = session->shared.settings = settings;
        session->options.declarations = declarations;
        session->options.replaced = NULL;
        session->report.reload = false;
        delivery_settle(session->delivery, declarations);
}

bool session_is_unchanged(const Session *session) {
        return session->comparing;
}

const Error *session_unpublished(const Session *session) {
        return &session->unpublished;
}

bool session_waits_for_tpm(const Session *session) {
        return attester_is_busy(session->shared.attester);
}

Session *session_free(Session *session) {
        if (!session)
                return NULL;

        if (session->options.callers)
                (void) callers_watch(session->options.callers, NULL, NULL);
        session->shared.attester = attester_free(session->shared.attester);
        (void) network_free(session->network);
        (void) instance_free(session->shared.instance);
        (void) fetcher_free(session->shared.fetcher);
        for (size_t i = 0; i < session->endpoints_count; i++)
                endpoint_clear(session->endpoints + i);
        free(session->endpoints);
        (void) http_client_free(session->shared.http);
        X509_STORE_free(session->trusted);

        for (size_t i = 0; i < session->passages_count; i++)
                passage_clear(session->passages + i);
        free(session->passages);
        step_forget_error(&session->keeping);
        step_forget_error(&session->publication);
        (void) delivery_free(session->delivery);
        free(session->removed);

        (void) sd_event_source_disable_unref(session->deadline);
        (void) sd_event_source_disable_unref(session->retry);
        (void) sd_event_source_disable_unref(session->changed);
        (void) sd_event_source_disable_unref(session->ended);
        (void) sd_event_unref(session->event);
        free(session);
        return NULL;
}
