/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One secret on its way, and the connection to KMS that it shares with others of its Region:
 *
 *     declared → fetching → sealed → decrypting → opening → opened → probing → unsealed
 *                   └──────────┴──────────┴──────────┴─────────┴────────┴───► failed
 *
 * What fails and may pass goes back to the state before; passage_retry() knows what may mend it.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "source/source-file.h"
#include "source/source.h"
#include "unsealing/passage.h"

/* How often it is asked whether a key is gated, where the answer is only for people (VerifyPolicy=warn); and no more after
 * an attempt that took so long. */
#define PROBES_MAX 3U
#define PROBE_PATIENCE_USEC (5 * USEC_PER_SEC)
#define PROBE_UNKNOWN "Whether KMS would give the secret without attestation is not known. "

static void passage_retry(Passage *passage, const Error *error);

static const char *const secret_state_names[] = {
        [SECRET_DECLARED] = "declared",     [SECRET_FETCHING] = "fetching", [SECRET_SEALED] = "sealed",
        [SECRET_DECRYPTING] = "decrypting", [SECRET_OPENING] = "opening",   [SECRET_OPENED] = "opened",
        [SECRET_PROBING] = "probing",       [SECRET_UNSEALED] = "unsealed", [SECRET_KEPT] = "kept",
        [SECRET_PUBLISHED] = "published",   [SECRET_FAILED] = "failed",
};

const char *secret_state_to_string(SecretState state) {
        return secret_state_names[state];
}

void common_step_done(Common *common, Step *step) {
        step_done(step);
        report_step_done(common->report, step);
}

void common_step_postpone(Common *common, Step *step, const char *secret, const Error *error) {
        uint64_t random, delay, now = now_monotonic_usec();

        if (common->ending) {
                step->progress = STEP_IDLE;
                return;
        }
        /* Jitter needs no secrecy, and early in a boot nobody shall wait for entropy. */
        if (getrandom(&random, sizeof(random), GRND_INSECURE) < 0)
                random = now * UINT64_C(0x9e3779b97f4a7c15);
        delay = step_postpone(step, error, common->network_changed_usec, now, random);
        report_step_postponed(common->report, step, secret, delay);
}

int endpoint_new(Common *common, const RequestTarget *target, Endpoint *ret) {
        *ret = (Endpoint){
                .common = common,
                .url = target->endpoint,
                .region = target->key.region,
                .connection = { .name = "connection to KMS", .silence = FAILURE_NETWORK },
        };
        return kms_client_new(common->http, ret->url, ret->region, &ret->client);
}

bool endpoint_is_of(const Endpoint *endpoint, const RequestTarget *target) {
        return strcmp(endpoint->url, target->endpoint) == 0 &&
               strcmp(endpoint->region, target->key.region) == 0;
}

Passage passage_make(Common *common, const Declaration *declaration) {
        return (Passage){
                .common = common,
                .declaration = declaration,
                .fetch = { .name = "fetching", .silence = FAILURE_UNAVAILABLE },
                .decryption = { .name = "decryption", .silence = FAILURE_UNAVAILABLE },
                .probe = { .name = "policy probe", .silence = FAILURE_UNAVAILABLE },
        };
}

void passage_clear(Passage *passage) {
        request_target_clear(&passage->target);
        passage->plaintext = secret_free(passage->plaintext);
        free(TAKE_PTR(passage->ciphertext));
}

/* One of an endpoint's connections is there, or is not: the first that is there will do. What fails for good is for the
 * secrets that need it, which may all be optional. */
static void on_connected(int r, const Error *error, void *userdata) {
        Endpoint *endpoint = userdata;
        Common *common = endpoint->common;

        endpoint->connecting--;
        if (endpoint->connection.progress == STEP_RUNNING) {
                if (r >= 0)
                        common_step_done(common, &endpoint->connection);
                else if (endpoint->connecting == 0 && error->remedy != REMEDY_NONE)
                        common_step_postpone(common, &endpoint->connection, NULL, error);
                else if (endpoint->connecting == 0)
                        step_give_up(&endpoint->connection, error);
        }
        common->changed(common->userdata);
}

static unsigned endpoint_connections(const Endpoint *endpoint) {
        return endpoint->secrets < CONNECTIONS_MAX ? endpoint->secrets : CONNECTIONS_MAX;
}

/* A request that finds no idle connection opens one more: none is begun while those under way will be there sooner. */
static bool endpoint_is_busy(const Endpoint *endpoint) {
        return endpoint->requests + endpoint->connecting >= endpoint_connections(endpoint);
}

int endpoint_begin(Endpoint *endpoint, uint64_t now) {
        unsigned wanted = endpoint_connections(endpoint);

        if (!step_may_begin(&endpoint->connection, now) || endpoint->connecting > 0)
                return 0;
        step_begin(&endpoint->connection, now);
        for (unsigned i = 0; i < wanted; i++) {
                int r = kms_connect(endpoint->client, on_connected, endpoint);

                if (r < 0)
                        return r;
                endpoint->connecting++;
        }
        return 0;
}

Step *passage_step(Passage *passage) {
        if (passage->state == SECRET_OPENED || passage->state == SECRET_PROBING ||
            step_failed(&passage->probe))
                return &passage->probe;
        return passage->ciphertext ? &passage->decryption : &passage->fetch;
}

/* What its next step takes besides what all need. */
static Step *passage_way(Passage *passage) {
        Common *common = passage->common;

        if (passage->ciphertext && passage->declaration->bind_account &&
            common->identity.progress != STEP_DONE)
                return &common->identity;
        if (passage->ciphertext)
                return &passage->endpoint->connection;
        return passage->declaration->source.kind == SOURCE_USER_DATA ? &common->user_data : &passage->fetch;
}

void passage_enter(Passage *passage, SecretState state) {
        char duration[DURATION_STRING_MAX];

        passage->state = state;
        passage->duration_usec = now_monotonic_usec() - passage->begun_usec;
        log_full(state >= SECRET_UNSEALED ? LOG_INFO : LOG_DEBUG,
                 &(LogFields){ .message_id = state == SECRET_PUBLISHED ? MESSAGE_PUBLISHED : MESSAGE_STEP,
                               .secret = passage->declaration->name,
                               .state = secret_state_to_string(state),
                               .duration_usec = passage->duration_usec,
                               .attempt = passage_step(passage)->attempts,
                               .request_id = passage->request_id },
                 "%s: %s after %s.", passage->declaration->name, secret_state_to_string(state),
                 format_duration(passage->duration_usec, duration));
}

void passage_failed(Passage *passage, const Error *error) {
        Common *common = passage->common;
        Step *step = passage_step(passage);

        step_give_up(step, error);
        passage->state = SECRET_FAILED;
        if (!passage->declaration->optional) {
                common->failed(passage, error, common->userdata);
                return;
        }
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_OPTIONAL,
                               .secret = passage->declaration->name,
                               .state = "failed",
                               .attempt = step->attempts,
                               .error = error },
                 "%s, which is optional, stays sealed%s: %s", passage->declaration->name,
                 common->settings->lock_pcr > 0 ? " for this boot (LockPcr=)" : "", error->text);
}

static void passage_step_done(Passage *passage, Step *step) {
        step->progress = STEP_DONE;
        step->error = (Error){};
        passage->common->report->waiting[0] = 0;
}

/* Takes the ciphertext, which is raw and bounded. */
static void passage_fetched(Passage *passage, uint8_t *ciphertext, size_t size) {
        passage_step_done(passage, &passage->fetch);
        passage->ciphertext = ciphertext;
        passage->ciphertext_size = size;
        passage_enter(passage, SECRET_SEALED);
}

static void on_fetched(int r, const uint8_t *data, size_t size, const Error *error, void *userdata) {
        Passage *passage = userdata;
        Common *common = passage->common;
        uint8_t *copy = NULL;
        Error failed = *error;

        common->fetching--;
        /* It may have failed meanwhile for what it would have needed next. */
        if (common->ending || passage->state != SECRET_FETCHING)
                return;
        if (r >= 0) {
                copy = malloc(size);
                if (!copy)
                        r = error_oom(&failed);
        }
        if (r < 0)
                passage_retry(passage, &failed);
        else
                passage_fetched(passage, memcpy(copy, data, size), size);
        common->changed(common->userdata);
}

static int begin_remote_fetch(Passage *passage, uint64_t now) {
        Common *common = passage->common;
        const Fetch fetch = request_fetch(common->settings, passage->declaration, &passage->target);

        if (common->fetching >= CONNECTIONS_MAX ||
            (source_is_signed(fetch.source) && common->credentials.progress != STEP_DONE))
                return 0;
        step_begin(&passage->fetch, now);
        passage_enter(passage, SECRET_FETCHING);
        common->fetching++;
        return source_fetch(common->fetcher, &fetch, on_fetched, passage);
}

/* At once: what is in user data or in a file. */
static void passage_take(Passage *passage, uint64_t now) {
        const Common *common = passage->common;
        const Declaration *declaration = passage->declaration;
        const Source *source = &declaration->source;
        Error error = common->user_data.error;
        uint8_t *ciphertext;
        size_t size;
        int r = -ENOENT;

        step_begin(&passage->fetch, now);
        if (source->kind != SOURCE_USER_DATA)
                r = source_read_file(source, declaration->size_max, &ciphertext, &size, &error);
        else if (common->user_data_text)
                r = source_take_user_data(source, common->user_data_text, common->user_data_size,
                                          declaration->size_max, &ciphertext, &size, &error);
        if (r < 0)
                passage_failed(passage, &error);
        else
                passage_fetched(passage, ciphertext, size);
}

void passage_share_failure(Passage *passage) {
        if (passage->state < SECRET_UNSEALED && passage->endpoint &&
            passage->endpoint->connection.progress == STEP_DONE &&
            step_failed(&passage->endpoint->connection))
                passage_failed(passage, &passage->endpoint->connection.error);
}

int passage_begin_fetch(Passage *passage, uint64_t now) {
        Common *common = passage->common;
        const Source *source = &passage->declaration->source;

        if (common->ending || passage->state != SECRET_DECLARED || !step_may_begin(&passage->fetch, now))
                return 0;
        if (passage->begun_usec == 0)
                passage->begun_usec = now;
        if (source_is_remote(source))
                return begin_remote_fetch(passage, now);
        if (source->kind == SOURCE_USER_DATA && common->user_data.progress != STEP_DONE)
                return 0;
        passage_take(passage, now);
        return 0;
}

/* What may mend this failure, and is it worth it? */
static void passage_retry(Passage *passage, const Error *error) {
        Common *common = passage->common;
        Step *step = passage_step(passage);
        Error final = *error;

        switch (error->remedy) {
        case REMEDY_NONE:
                passage_failed(passage, error);
                return;
        case REMEDY_DOCUMENT:
                /* Requests go side by side, and the answer to a document may come when a new one is made. */
                if (!step_made_before(attester_step(common->attester, ATTESTER_DOCUMENT), step->begun_usec))
                        break;
                if (common->document_renewed) {
                        final.remedy = REMEDY_NONE;
                        passage_failed(passage, &final);
                        return;
                }
                common->document_renewed = true;
                attester_renew(common->attester);
                break;
        case REMEDY_CREDENTIALS:
                if (step_made_before(&common->credentials, step->begun_usec))
                        step_reset(&common->credentials);
                break;
        case REMEDY_CLOCK: /* the client remembered the server's time */
        case REMEDY_RETRY:
                break;
        }

        passage->state = passage->state == SECRET_PROBING ? SECRET_OPENED
                         : passage->ciphertext            ? SECRET_SEALED
                                                          : SECRET_DECLARED;
        common_step_postpone(common, step, passage->declaration->name, error);
        /* The clock's is the one failure of which the cause is known to be gone. */
        if (error->remedy == REMEDY_CLOCK && step->attempts == 1)
                step->not_before_usec = 0;
}

static void on_opened(int r, Secret *plaintext, const Error *error, void *userdata) {
        Passage *passage = userdata;
        const Settings *settings = passage->common->settings;
        Error failed = *error;

        /* The deadline may have passed for an optional one. */
        if (passage->state != SECRET_OPENING) {
                (void) secret_free(plaintext);
                return;
        }
        if (r < 0) {
                memcpy(failed.request_id, passage->request_id, sizeof(passage->request_id));
                passage_failed(passage, &failed);
        } else {
                passage->plaintext = plaintext;
                passage_step_done(passage, &passage->decryption);
                passage_enter(passage,
                              settings->verify_policy == VERIFY_POLICY_NO ? SECRET_UNSEALED : SECRET_OPENED);
        }
        passage->common->changed(passage->common->userdata);
}

static void on_decrypted(int r, const uint8_t *envelope, size_t size, const char *request_id,
                         const Error *error, void *userdata) {
        Passage *passage = userdata;
        Common *common = passage->common;
        Error internal = {};

        common->decrypting--;
        passage->endpoint->requests--;
        (void) snprintf(passage->request_id, sizeof(passage->request_id), "%s", request_id ?: "");
        if (common->ending || passage->state != SECRET_DECRYPTING)
                return;

        if (r < 0)
                passage_retry(passage, error);
        else if (attester_open(common->attester, envelope, size, on_opened, passage) < 0) {
                (void) error_oom(&internal);
                passage_failed(passage, &internal);
        } else
                passage->state = SECRET_OPENING;
        common->changed(common->userdata);
}

/* Whether the account is there, where the secret is bound to it. That it cannot be had ends the secret. */
static bool passage_knows_account(Passage *passage) {
        const Step *identity = &passage->common->identity;

        if (!passage->declaration->bind_account)
                return true;
        if (identity->progress == STEP_DONE && step_failed(identity))
                passage_failed(passage, &identity->error);
        return step_is_done(identity);
}

int passage_begin_decryption(Passage *passage, uint64_t now) {
        Common *common = passage->common;
        AttesterDocument document = attester_document(common->attester);
        _cleanup_free_ const char **context = NULL;
        KmsDecrypt decrypt;

        if (common->ending || passage->state != SECRET_SEALED || endpoint_is_busy(passage->endpoint) ||
            !document.data || common->credentials.progress != STEP_DONE ||
            passage->endpoint->connection.progress != STEP_DONE ||
            !step_may_begin(&passage->decryption, now) || !passage_knows_account(passage))
                return 0;

        context = request_context(passage->declaration, common->account_pair);
        if (!context)
                return -ENOMEM;
        decrypt = request_decrypt(passage->declaration, context, passage->ciphertext,
                                  passage->ciphertext_size);
        decrypt.document = document.data;
        decrypt.document_size = document.size;
        step_begin(&passage->decryption, now);
        passage_enter(passage, SECRET_DECRYPTING);
        common->decrypting++;
        passage->endpoint->requests++;
        return kms_decrypt(passage->endpoint->client, &decrypt, on_decrypted, passage);
}

/*
 * VerifyPolicy=: would KMS have decrypted it for whoever has the role, whatever booted? That is asked for every secret and
 * not for every key: the policy may look at the encryption context.
 */

/* Asked for the last time. The answer does not matter to what is published, or it is good. */
static void passage_probed(Passage *passage, const char *policy) {
        passage->policy = policy;
        passage_step_done(passage, &passage->probe);
        passage_enter(passage, SECRET_UNSEALED);
}

static void log_probe(const Passage *passage, int priority, const char *message_id, const Error *error) {
        log_full(priority,
                 &(LogFields){ .message_id = message_id,
                               .secret = passage->declaration->name,
                               .state = "probing",
                               .attempt = passage->probe.attempts,
                               .error = error },
                 "%s: %s", passage->declaration->name, error->text);
}

/* KMS would have. Nothing that unseald does can keep the secret from who has the role; "yes" is not to be used in that
 * state, and so not to go unnoticed. */
static void passage_is_open(Passage *passage, const char *request_id) {
        bool publish = passage->common->settings->verify_policy == VERIFY_POLICY_WARN;
        Error error;

        (void) error_set(
                        &error, -EPERM, FAILURE_POLICY,
                        "The key %s is not gated: KMS would decrypt this secret without an attestation document for whoever has the role %s, whatever booted. Look at the key's policy, with \"unsealctl policy lint\", and at its grants.%s",
                        passage->declaration->key_ids[0], passage->common->role,
                        publish ? "" : " With VerifyPolicy=yes it is not published.");
        (void) snprintf(error.request_id, sizeof(error.request_id), "%s", request_id);
        passage->policy = "open";
        if (publish) {
                log_probe(passage, LOG_CRIT, MESSAGE_POLICY, &error);
                passage_probed(passage, "open");
        } else
                passage_failed(passage, &error);
}

/* Neither is known, and will not be. Where it is for people to know, the secret is published. */
void passage_is_unknown(Passage *passage) {
        const Error *error = &passage->probe.error;
        Error unasked;

        if (error->failure == FAILURE_NONE) {
                (void) error_set(&unasked, -ETIMEDOUT, FAILURE_UNAVAILABLE, PROBE_UNKNOWN "No answer yet.");
                error = &unasked;
        }
        log_probe(passage, LOG_WARNING, MESSAGE_POLICY_UNKNOWN, error);
        passage_probed(passage, "unknown");
}

bool passage_may_stay_unknown(const Passage *passage) {
        return (passage->state == SECRET_OPENED || passage->state == SECRET_PROBING) &&
               passage->common->settings->verify_policy == VERIFY_POLICY_WARN;
}

static void on_probed(int r, const char *body, size_t size, const char *request_id, const Error *error,
                      void *userdata) {
        Passage *passage = userdata;
        Common *common = passage->common;
        bool open = false;
        Error unknown, failed;

        passage->endpoint->requests--;
        /* It may be known to be unknown meanwhile. */
        if (common->ending || passage->state != SECRET_PROBING)
                return;

        r = kms_probe_reply(r, body, size, error, &open, &failed);
        if (r >= 0 && open)
                passage_is_open(passage, request_id);
        else if (r >= 0)
                passage_probed(passage, "gates");
        else {
                unknown = failed;
                (void) snprintf(unknown.text, sizeof(unknown.text), PROBE_UNKNOWN "%.640s", failed.text);
                passage->probe.error = unknown;
                if (passage_may_stay_unknown(passage) &&
                    (failed.remedy == REMEDY_NONE || passage->probe.attempts >= PROBES_MAX ||
                     now_monotonic_usec() - passage->probe.begun_usec >= PROBE_PATIENCE_USEC))
                        passage_is_unknown(passage);
                else
                        passage_retry(passage, &unknown);
        }
        common->changed(common->userdata);
}

int passage_begin_probe(Passage *passage, uint64_t now) {
        Common *common = passage->common;
        _cleanup_free_ const char **context = NULL;
        _cleanup_free_ char *body = NULL;
        KmsDecrypt decrypt;
        int r;

        if (common->ending || passage->state != SECRET_OPENED || endpoint_is_busy(passage->endpoint) ||
            common->credentials.progress != STEP_DONE || !step_may_begin(&passage->probe, now))
                return 0;

        context = request_context(passage->declaration, common->account_pair);
        if (!context)
                return -ENOMEM;
        decrypt = request_decrypt(passage->declaration, context, passage->ciphertext,
                                  passage->ciphertext_size);
        r = kms_probe_request(&decrypt, &body);
        if (r < 0)
                return r;
        step_begin(&passage->probe, now);
        passage_enter(passage, SECRET_PROBING);
        passage->endpoint->requests++;
        return kms_request(passage->endpoint->client, "Decrypt", body, on_probed, passage);
}

bool passage_may_be_left(Passage *passage) {
        const Step *own = passage_step(passage), *way = passage_way(passage);

        return passage->declaration->optional &&
               (passage->state == SECRET_DECLARED || passage->state == SECRET_SEALED ||
                passage->state == SECRET_OPENED) &&
               way->progress != STEP_RUNNING && (step_failed(own) || step_failed(way));
}

bool passage_wants_account(const Passage *passage) {
        return passage->declaration->bind_account && passage->state < SECRET_UNSEALED;
}

bool passage_wants_user_data(const Passage *passage) {
        return passage->declaration->source.kind == SOURCE_USER_DATA && passage->state == SECRET_DECLARED;
}

const Step *passage_obstacle(Passage *passage) {
        Attester *attester = passage->common->attester;
        const Step *all[] = { attester_step(attester, ATTESTER_KEY_PAIR),
                              attester_step(attester, ATTESTER_TPM),
                              attester_step(attester, ATTESTER_DOCUMENT),
                              &passage->common->credentials,
                              passage_way(passage),
                              passage_step(passage) };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i]->progress != STEP_DONE && step_failed(all[i]))
                        return all[i];
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i]->progress != STEP_DONE)
                        return all[i];
        return passage_step(passage);
}

void passage_leave_behind(Passage *passage) {
        const Step *own = passage_step(passage), *way = passage_way(passage), *obstacle;
        Error error;

        if (step_failed(own))
                error = own->error;
        else if (step_failed(way))
                error = way->error;
        else {
                obstacle = passage_obstacle(passage);
                common_overdue(passage->common, obstacle,
                               obstacle == &passage->fetch ? passage->declaration->source.label : NULL,
                               &error);
        }
        passage_failed(passage, &error);
}

void common_overdue(const Common *common, const Step *step, const char *whom, Error *ret) {
        char duration[DURATION_STRING_MAX];

        (void) format_duration(common->settings->deadline_usec, duration);
        if (!step_failed(step)) {
                (void) error_set(ret, -ETIMEDOUT, step->silence,
                                 "Not within DeadlineSec=%s: no answer yet from %.512s.", duration,
                                 whom ?: step->name);
                return;
        }
        *ret = step->error;
        (void) snprintf(ret->text, sizeof(ret->text),
                        "Not within DeadlineSec=%s, after %u attempt(s) at %s: %.512s", duration,
                        step->attempts, step->name, step->error.text);
}
