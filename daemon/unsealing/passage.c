/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The states of a secret:
 *
 *     declared → fetching → sealed → decrypting → opening → opened → probing → unsealed
 *                   └──────────┴──────────┴──────────┴─────────┴────────┴───► failed
 *
 * With Generate= KMS makes the value: declared → generating → opening → …; with GenerateWhen=missing, once: declared → generating → sealed → …
 *
 * Of a late secret only the data key is here when it is unsealed. After READY=1 its message is decrypted:
 *
 *     late → (after a restart: declared → fetching →) late → unsealed
 *
 * After a failure that may pass, the secret goes back to the state before the request; passage_retry() decides what is renewed
 * before the next attempt.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "source/message-reader.h"
#include "source/source-file.h"
#include "source/source.h"
#include "unsealing/passage-body.h"
#include "unsealing/passage-key.h"
#include "unsealing/passage-late.h"
#include "unsealing/passage.h"

/* With VerifyPolicy=warn the result of the probe is only for people, so it gets no more attempts than this, and none after an
 * attempt that took this long. */
#define PROBES_MAX 3U
#define PROBE_PATIENCE_USEC (5 * USEC_PER_SEC)
#define PROBE_UNKNOWN "Whether KMS would give the secret without attestation is not known. "

/* So often ciphertext and signature are fetched in all if they are no pair. With the backoff between the attempts (basic/retry.h)
 * that is about three seconds. */
#define PAIRS_MAX 6U

/* A document lives for five minutes. If KMS refuses the next one within that time, a third will not help. Later, a refusal has a
 * cause of its own, such as an answer that took too long. */
#define REFUSALS_APART_USEC (5 * 60 * USEC_PER_SEC)

static int begin_fetch(void *owner, uint64_t now);
static int begin_decryption(void *owner, uint64_t now);
static int begin_probe(void *owner, uint64_t now);

static const char *const secret_state_names[] = {
        [SECRET_DECLARED] = "declared",   [SECRET_FETCHING] = "fetching",
        [SECRET_SEALED] = "sealed",       [SECRET_DECRYPTING] = "decrypting",
        [SECRET_OPENING] = "opening",     [SECRET_OPENED] = "opened",
        [SECRET_PROBING] = "probing",     [SECRET_UNSEALED] = "unsealed",
        [SECRET_KEPT] = "kept",           [SECRET_GENERATING] = "generating",
        [SECRET_PUBLISHED] = "published", [SECRET_FAILED] = "failed",
        [SECRET_LATE] = "late",
};

const char *secret_state_to_string(SecretState state) {
        return secret_state_names[state];
}

static Step make_step(Passage *passage, const char *name, StepBegin begin) {
        return (Step){ .name = name, .silence = FAILURE_UNAVAILABLE, .begin = begin, .owner = passage };
}

void passage_init(Passage *ret, SessionShared *shared, const Declaration *declaration) {
        bool generates = declaration_is_of_one_boot(declaration);

        *ret = (Passage){
                .shared = shared,
                .declaration = declaration,
                .rest.fd = -1,
                .fetch = make_step(ret, "fetching", begin_fetch),
                .decryption = make_step(ret, generates ? "generation" : "decryption", begin_decryption),
                .probe = make_step(ret, "policy probe", begin_probe),
                .body_begins = make_step(ret, "turn of the message", passage_begin_body),
                .late_body = make_step(ret, "late message", passage_begin_late_body),
        };
        if (generates)
                step_done(&ret->fetch);
        shared->missing++;
}

void passage_clear(Passage *passage) {
        passage_end_body(passage);
        if (passage->draft)
                body_discard(TAKE_PTR(passage->draft));
        passage_forget_rest(passage);
        step_forget_error(&passage->fetch);
        step_forget_error(&passage->decryption);
        step_forget_error(&passage->probe);
        step_forget_error(&passage->late_body);
        passage->late_key = secret_free(passage->late_key);
        request_target_clear(&passage->target);
        request_keys_free(TAKE_PTR(passage->keys), passage->keys_count);
        free(TAKE_PTR(passage->endpoints));
        request_message_clear(&passage->message);
        passage->plaintext = secret_free(passage->plaintext);
        free(TAKE_PTR(passage->members));
        free(TAKE_PTR(passage->ciphertext));
        free(TAKE_PTR(passage->unverified));
}

const Source *passage_source(const Passage *passage) {
        return passage->unverified ? &passage->declaration->signature : &passage->declaration->source;
}

const uint64_t *passage_version(const Passage *passage) {
        return passage->declaration->signed_by && passage->ciphertext ? &passage->version : NULL;
}

bool passage_is_fetched(const Passage *passage) {
        return passage->ciphertext || passage->blank || declaration_is_of_one_boot(passage->declaration);
}

bool passage_is_required(const Passage *passage) {
        return !passage->declaration->optional && !passage->alone;
}

Step *passage_step(Passage *passage) {
        if (passage->shared->late && passage->ciphertext)
                return &passage->late_body;
        if (passage->state == SECRET_OPENED || passage->state == SECRET_PROBING ||
            step_failed(&passage->probe))
                return &passage->probe;
        return passage_is_fetched(passage) ? &passage->decryption : &passage->fetch;
}

/* The step that the secret's next step needs and that not all secrets need. */
static Step *passage_way(Passage *passage) {
        Instance *instance = passage->shared->instance;
        Step *identity = instance_step(instance, INSTANCE_IDENTITY);

        if (passage_is_fetched(passage) && passage->declaration->bind_account &&
            identity->progress != STEP_DONE)
                return identity;
        if (passage_is_fetched(passage) && passage->endpoint)
                return &passage->endpoint->connection;
        return passage_source(passage)->kind == SOURCE_USER_DATA
                               ? instance_step(instance, INSTANCE_USER_DATA)
                               : &passage->fetch;
}

void passage_set_state(Passage *passage, SecretState state) {
        if (passage->state < SECRET_UNSEALED && state >= SECRET_UNSEALED)
                passage->shared->missing--;
        if (passage->state >= SECRET_UNSEALED && state < SECRET_UNSEALED)
                passage->shared->missing++;
        passage->state = state;
}

void passage_enter(Passage *passage, SecretState state) {
        char duration[DURATION_STRING_MAX];

        passage_set_state(passage, state);
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

void passage_fail(Passage *passage, const Error *error) {
        SessionShared *shared = passage->shared;
        Step *step = passage_step(passage);

        step_give_up(step, error);
        passage_set_state(passage, SECRET_FAILED);
        passage_end_body(passage);
        passage_forget_rest(passage);
        if (passage->draft)
                body_discard(TAKE_PTR(passage->draft));
        if (passage->alone) {
                passage_log_alone(passage, step, error);
                return;
        }
        if (passage_is_required(passage)) {
                shared->failed(passage, error, shared->userdata);
                return;
        }
        log_full(shared->report->quiet ? LOG_DEBUG : LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_OPTIONAL,
                               .secret = passage->declaration->name,
                               .state = "failed",
                               .attempt = step->attempts,
                               .error = error },
                 "The optional secret %s stays sealed%s: %s", passage->declaration->name,
                 shared->settings->lock_pcr > 0 ? " for this boot (LockPcr=)" : "", error->text);
}

void passage_step_done(Passage *passage, Step *step) {
        step->progress = STEP_DONE;
        step_forget_error(step);
        passage->shared->report->waiting[0] = 0;
}

/* The state in which KMS can be asked. */
static SecretState state_before_kms(const Passage *passage) {
        return passage->ciphertext ? SECRET_SEALED : SECRET_DECLARED;
}

static bool is_asking_kms(const Passage *passage) {
        return passage->state == SECRET_DECRYPTING || passage->state == SECRET_GENERATING;
}

/* Takes ownership of the ciphertext. */
static void passage_sealed(Passage *passage, uint8_t *ciphertext, size_t size) {
        passage_step_done(passage, &passage->fetch);
        passage->ciphertext = ciphertext;
        passage->ciphertext_size = size;
        passage_enter(passage, SECRET_SEALED);
}

/* The fetch goes on with the signature, as a part of the same attempt. */
static void passage_await_signature(Passage *passage, uint8_t *ciphertext, size_t size) {
        passage->unverified = ciphertext;
        passage->unverified_size = size;
        step_undo(&passage->fetch);
        passage_set_state(passage, SECRET_DECLARED);
        passage->shared->changed(passage->shared->userdata);
}

/* Returns whether a second fetch may bring something else. Credentials and user data are the same for the whole session. */
static bool may_change(const Source *source) {
        return source->kind != SOURCE_CREDENTIAL && source->kind != SOURCE_USER_DATA;
}

/* Drops the ciphertext, so that a next attempt fetches both anew. */
static void passage_refuse_pair(Passage *passage, Error *error) {
        const Declaration *declaration = passage->declaration;

        free(TAKE_PTR(passage->unverified));
        passage_forget_rest(passage);
        if (error->remedy == REMEDY_RETRY &&
            (++passage->mismatches >= PAIRS_MAX ||
             (!may_change(&declaration->source) && !may_change(&declaration->signature))))
                error->remedy = REMEDY_NONE;
        passage_retry(passage, error);
}

static void passage_verify(Passage *passage, const uint8_t *text, size_t size) {
        const Slice sealed = { passage->unverified, passage->unverified_size }, signature = { text, size };
        Error error = {};

        if (request_check_signature(passage->declaration, sealed, signature, &passage->version, &error) <
            0) {
                passage_refuse_pair(passage, &error);
                return;
        }
        log_full(passage->shared->report->quiet ? LOG_DEBUG : LOG_INFO,
                 &(LogFields){ .message_id = MESSAGE_STEP,
                               .secret = passage->declaration->name,
                               .state = "verified",
                               .version = &passage->version },
                 "%s: version %" PRIu64 ", signed by the key %s.", passage->declaration->name,
                 passage->version, passage->declaration->signed_by);
        passage_sealed(passage, TAKE_PTR(passage->unverified), passage->unverified_size);
}

/* Takes ownership of what the source of the ciphertext or that of the signature has brought. */
void passage_fetched(Passage *passage, uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *text = NULL;

        if (passage->shared->late)
                passage_fetched_again(passage, data, size);
        else if (!passage->declaration->signed_by)
                passage_sealed(passage, data, size);
        else if (!passage->unverified)
                passage_await_signature(passage, data, size);
        else {
                text = data;
                passage_verify(passage, text, size);
        }
}

/* Without its signature the ciphertext is of no use. A next attempt fetches both, so that it gets a pair. */
void passage_not_fetched(Passage *passage, const Error *error) {
        free(TAKE_PTR(passage->unverified));
        passage_forget_rest(passage);
        passage_retry(passage, error);
}

static void on_fetched(int r, const uint8_t *data, size_t size, const Error *error, void *userdata) {
        Passage *passage = userdata;
        SessionShared *shared = passage->shared;
        uint8_t *copy = NULL;
        Error failed = *error;

        shared->changed(shared->userdata);
        shared->fetching--;
        /* The secret may have failed in the meantime, with its endpoint. */
        if (shared->ending || passage->state != SECRET_FETCHING)
                return;
        if (r >= 0) {
                copy = malloc(size);
                if (!copy)
                        r = error_oom(&failed);
        }
        if (r < 0)
                passage_not_fetched(passage, &failed);
        else
                passage_fetched(passage, memcpy(copy, data, size), size);
}

static bool has_credentials(const SessionShared *shared) {
        return instance_step(shared->instance, INSTANCE_CREDENTIALS)->progress == STEP_DONE;
}

/* Returns whether a message of this source need not be read as a whole. Only unsealctl has no store to decrypt it into piece by piece. */
static bool may_be_large(const Passage *passage, const Source *source) {
        return (passage->shared->delivery || passage->shared->headers_only) &&
               passage->declaration->format == FORMAT_MESSAGE && !source->is_signature;
}

/* What a source may bring as a whole. Only unsealctl, which has no store, takes large messages this way. */
size_t passage_whole_maximum(const Passage *passage, const Source *source) {
        size_t maximum = request_maximum(passage->declaration, source);

        return may_be_large(passage, source) && maximum > MESSAGE_HEADER_MAX + 2 * SECRET_SIZE_MAX
                               ? MESSAGE_HEADER_MAX + 2 * SECRET_SIZE_MAX
                               : maximum;
}

static int begin_remote_fetch(Passage *passage, uint64_t now) {
        SessionShared *shared = passage->shared;
        Fetch fetch = request_fetch(shared->settings, passage->declaration, &passage->target,
                                    passage_source(passage));

        fetch.maximum = passage_whole_maximum(passage, fetch.source);

        if (shared->fetching >= SESSION_CONNECTIONS_MAX ||
            (source_is_signed(fetch.source) && !has_credentials(shared)))
                return 0;
        step_begin(&passage->fetch, now);
        passage_enter(passage, SECRET_FETCHING);
        shared->fetching++;
        if (may_be_large(passage, fetch.source) &&
            (fetch.source->kind == SOURCE_S3 || fetch.source->kind == SOURCE_HTTPS))
                return passage_fetch_beginning(passage, &fetch);
        return source_fetch(shared->fetcher, &fetch, on_fetched, passage);
}

/* The one place that decides whether a message is read as a whole. */
static int read_file_source(Passage *passage, const Source *source, size_t maximum, uint8_t **ret,
                            size_t *ret_size, Error *error) {
        int r = 0;

        if (may_be_large(passage, source))
                r = source_open_large(source, BODY_WHOLE_MAX, ret, ret_size, &passage->rest.size,
                                      &passage->rest.fd, error);
        return r == 0 ? source_read_file(source, maximum, ret, ret_size, error) : r;
}

/* So often in a row the label is looked for with longer and longer pauses, up to three seconds. The device may come late. */
#define LABEL_FAILURES_MAX 4U

static void passage_retry_label(Passage *passage, const Error *error) {
        if (passage->fetch.failures > LABEL_FAILURES_MAX)
                passage->fetch.failures = LABEL_FAILURES_MAX;
        passage_retry(passage, error);
}

/* A device without a label becomes a volume, unless it is unsealctl that asks: what it shows would open nothing. */
static void passage_begin_volume(Passage *passage) {
        const Source *source = &passage->declaration->source;
        Error error;

        if (!passage->shared->delivery) {
                (void) error_set(&error, -ENOENT, FAILURE_SOURCE,
                                 "%s: The volume is new, and has no key yet: unseald has KMS make it.",
                                 source->label);
                passage_fail(passage, &error);
                return;
        }
        log_full(LOG_NOTICE,
                 &(LogFields){ .secret = passage->declaration->name, .volume = source->location },
                 "%s: The volume %s is new: its device is blank. KMS makes its key.",
                 passage->declaration->name, source->location);
        passage->blank = true;
        passage_step_done(passage, &passage->fetch);
        passage->shared->changed(passage->shared->userdata);
}

static void read_label(Passage *passage, uint64_t now) {
        size_t size = 0;
        uint8_t *data = NULL;
        Error error;
        int r;

        step_begin(&passage->fetch, now);
        r = source_read_label(&passage->declaration->source, &passage->shared->labels, &data, &size, &error);
        if (r < 0 && error.remedy == REMEDY_RETRY)
                passage_retry_label(passage, &error);
        else if (r < 0)
                passage_fail(passage, &error);
        else if (r > 0)
                passage_begin_volume(passage);
        else
                passage_fetched(passage, data, size);
}

/* Reads the ciphertext or its signature from a file, or from the user data that is here already. */
static void read_local(Passage *passage, uint64_t now) {
        Instance *instance = passage->shared->instance;
        const Source *source = passage_source(passage);
        size_t maximum = passage_whole_maximum(passage, source);
        Error error = *step_error(instance_step(instance, INSTANCE_USER_DATA));
        size_t size, text_size;
        const char *text = instance_user_data(instance, &text_size);
        uint8_t *data;
        int r = -ENOENT;

        step_begin(&passage->fetch, now);
        if (source->kind != SOURCE_USER_DATA)
                r = read_file_source(passage, source, maximum, &data, &size, &error);
        else if (text)
                r = source_take_user_data(source, text, text_size, maximum, &data, &size, &error);
        if (r < 0)
                passage_fail(passage, &error);
        else
                passage_fetched(passage, data, size);
}

void passage_share_failure(Passage *passage) {
        if (passage->state < SECRET_UNSEALED && passage->endpoint &&
            passage->endpoint->connection.progress == STEP_DONE &&
            step_failed(&passage->endpoint->connection))
                passage_fail(passage, step_error(&passage->endpoint->connection));
}

static int begin_fetch(void *owner, uint64_t now) {
        Passage *passage = owner;
        const Source *source = passage_source(passage);

        if (passage->state != SECRET_DECLARED)
                return 0;
        if (passage->begun_usec == 0)
                passage->begun_usec = now;
        if (source_is_remote(source))
                return begin_remote_fetch(passage, now);
        if (source->kind == SOURCE_USER_DATA &&
            instance_step(passage->shared->instance, INSTANCE_USER_DATA)->progress != STEP_DONE)
                return 0;
        if (source->kind == SOURCE_VOLUME)
                read_label(passage, now);
        else
                read_local(passage, now);
        return 0;
}

void passage_retry(Passage *passage, const Error *error) {
        SessionShared *shared = passage->shared;
        Step *step = passage_step(passage);
        Step *credentials = instance_step(shared->instance, INSTANCE_CREDENTIALS);
        uint64_t now = now_monotonic_usec();
        Error final = *error;

        switch (error->remedy) {
        case REMEDY_NONE:
                passage_fail(passage, error);
                return;
        case REMEDY_DOCUMENT:
                /* Requests run side by side: this answer may be about a document that is being replaced already. */
                if (!step_made_before(attester_step(shared->attester, ATTESTER_DOCUMENT), step->begun_usec))
                        break;
                if (shared->document_refused_usec > 0 &&
                    now - shared->document_refused_usec < REFUSALS_APART_USEC) {
                        final.remedy = REMEDY_NONE;
                        passage_fail(passage, &final);
                        return;
                }
                shared->document_refused_usec = now;
                attester_renew(shared->attester);
                break;
        case REMEDY_CREDENTIALS:
                if (step_made_before(credentials, step->begun_usec))
                        step_reset(credentials);
                break;
        case REMEDY_CLOCK: /* the client remembers the server's time */
        case REMEDY_RETRY:
                break;
        }

        passage_set_state(passage,
                          passage->state == SECRET_PROBING ? SECRET_OPENED : state_before_kms(passage));
        session_step_postpone(shared, step, passage->declaration->name, error);
        if (step == &passage->decryption)
                passage_key_failed(passage, error);
        /* The cause of this failure is gone, so nothing is gained by waiting. */
        if (error->remedy == REMEDY_CLOCK && step->attempts == 1)
                step->not_before_usec = 0;
}

/* Nothing more is needed before the secrets are kept. */
static void passage_unsealed(Passage *passage) {
        passage_enter(passage, passage->late_key ? SECRET_LATE : SECRET_UNSEALED);
}

void passage_opened(Passage *passage) {
        passage_step_done(passage, &passage->decryption);
        if (passage->shared->settings->verify_policy == VERIFY_POLICY_NO)
                passage_unsealed(passage);
        else
                passage_enter(passage, SECRET_OPENED);
}

/* Opens the frames with the data key, which it takes, and of a bundle the members. */
static int open_message(Passage *passage, Secret *data_key, Secret **ret, Error *error) {
        _cleanup_secret_ Secret *key = data_key, *plaintext = NULL;
        const Declaration *declaration = passage->declaration;
        int r;

        r = message_read(&passage->message.header, passage->ciphertext, passage->ciphertext_size, key,
                         declaration->size_max, &plaintext, error);
        if (r >= 0 && declaration->format == FORMAT_BUNDLE)
                r = members_unpack(declaration, plaintext, &passage->members, &passage->members_count,
                                   error);
        if (r >= 0)
                *ret = TAKE_PTR(plaintext);
        return r;
}

/* A new value has the length that was asked for, and that of a label the one with which the volume was made. Takes a plaintext of another
 * length. */
static int check_generated(const Passage *passage, Secret *plaintext, Error *error) {
        const Declaration *declaration = passage->declaration;
        size_t size = secret_size(plaintext);
        bool is_new = passage->blank || declaration_is_of_one_boot(declaration);

        if (declaration->generate == 0 || size == declaration->generate)
                return 0;
        (void) secret_free(plaintext);
        if (!is_new)
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The label of the volume %s has a key of %zu bytes, and Generate= says %zu. Generate= was changed since the volume was made, or somebody who may use the key of KMS has made this label. Nothing is written to the device. Set Generate= to what it was, or attach the volume of this application.",
                                declaration->source.location, size, declaration->generate);
        return error_set(
                        error, -EBADMSG, FAILURE_ANSWER,
                        "KMS's answer has a data key of %zu bytes, and %zu were asked for (Generate=). unseald discards it: KMS, or a server in its place, answered another request.",
                        size, declaration->generate);
}

/* Before anybody can get the key of a volume, its ciphertext is there for the label. Takes the plaintext after a failure. */
static int write_sealed(const Passage *passage, Secret **plaintext, Error *error) {
        const char *directory = passage->shared->labels.sealed;
        int r;

        if (!passage->declaration->generate_missing || !directory)
                return 0;
        r = source_write_sealed(&passage->declaration->source, directory, passage->ciphertext,
                                passage->ciphertext_size, error);
        if (r < 0)
                *plaintext = secret_free(*plaintext);
        return r;
}

static void on_opened(int r, Secret *plaintext, const Error *error, void *userdata) {
        Passage *passage = userdata;
        Error failed = *error;

        passage->shared->changed(passage->shared->userdata);
        /* At the deadline the session may have left an optional secret behind. */
        if (passage->state != SECRET_OPENING) {
                (void) secret_free(plaintext);
                return;
        }
        if (r >= 0 && rest_exists(&passage->rest)) {
                r = passage->shared->headers_only
                                    ? passage_open_header(passage, TAKE_PTR(plaintext), &failed)
                    : passage->declaration->late ? passage_keep_late_key(passage, plaintext, &failed)
                                                 : passage_await_body(passage, TAKE_PTR(plaintext), &failed);
                plaintext = secret_free(plaintext);
                if (r >= 0)
                        return;
        }
        if (r >= 0 && declaration_is_message(passage->declaration))
                r = open_message(passage, plaintext, &plaintext, &failed);
        else if (r >= 0)
                r = check_generated(passage, plaintext, &failed);
        if (r >= 0)
                r = write_sealed(passage, &plaintext, &failed);
        if (r < 0) {
                memcpy(failed.request_id, passage->request_id, sizeof(passage->request_id));
                passage_fail(passage, &failed);
        } else {
                passage->plaintext = plaintext;
                passage_opened(passage);
        }
}

/* KMS refuses the ciphertext in a label for good. The answer is about the volume that is attached, which is left as it is. */
static void explain_label(const Passage *passage, Error *error) {
        const char *volume = passage->declaration->source.location;
        char text[sizeof(error->text)];

        if (!passage->declaration->generate_missing || !passage->ciphertext || passage->blank ||
            error->failure != FAILURE_CIPHERTEXT)
                return;
        (void) snprintf(text, sizeof(text),
                        "The label of the volume %s has a ciphertext that does not open: it is of another volume, account, secret or key, or somebody changed it. Nothing is written to the device. Attach the volume that this application has used in this account, or correct KeyId=. %.400s",
                        volume, error->text);
        memcpy(error->text, text, sizeof(text));
}

/* The ciphertext of a new key is treated as if the label had brought it. */
static void passage_generated(Passage *passage, const uint8_t *ciphertext, size_t size) {
        uint8_t *copy = malloc(size);
        Error error;

        if (!copy) {
                (void) error_oom(&error);
                passage_fail(passage, &error);
                return;
        }
        step_done(&passage->decryption);
        step_reset(&passage->decryption);
        passage->ciphertext = memcpy(copy, ciphertext, size);
        passage->ciphertext_size = size;
        passage_enter(passage, SECRET_SEALED);
}

static void on_decrypted(int r, const uint8_t *envelope, size_t size, const char *request_id,
                         const Error *error, void *userdata) {
        Passage *passage = userdata;
        SessionShared *shared = passage->shared;
        /* An answer that is too long is an answer. */
        bool answered = r >= 0 || request_id || error->failure == FAILURE_ANSWER, unsent;
        Error internal = {}, failed = *error;

        shared->changed(shared->userdata);
        unsent = endpoint_request_ended(passage->endpoint, passage->opens_connection, answered ? 0 : r,
                                        error);
        shared->decrypting--;
        (void) snprintf(passage->request_id, sizeof(passage->request_id), "%s", request_id ?: "");
        if (shared->ending || !is_asking_kms(passage))
                return;

        if (unsent) {
                step_undo(&passage->decryption);
                passage_set_state(passage, state_before_kms(passage));
                return;
        }
        passage->asked_region = passage_region(passage);
        if (r < 0) {
                explain_label(passage, &failed);
                passage_retry(passage, &failed);
        } else if (passage->state == SECRET_GENERATING && passage->declaration->generate_missing)
                passage_generated(passage, envelope, size);
        else if (attester_open(shared->attester, envelope, size, on_opened, passage) < 0) {
                (void) error_oom(&internal);
                passage_fail(passage, &internal);
        } else
                passage_set_state(passage, SECRET_OPENING);
}

/* Returns whether the account is known, if the secret is bound to it. If it never will be, the secret fails. */
static bool knows_account(Passage *passage) {
        const Step *identity = instance_step(passage->shared->instance, INSTANCE_IDENTITY);

        if (!passage->declaration->bind_account)
                return true;
        if (identity->progress == STEP_DONE && step_failed(identity))
                passage_fail(passage, step_error(identity));
        return step_is_done(identity);
}

static void print_account(const Passage *passage, char ret[static REQUEST_ACCOUNT_SIZE]) {
        (void) snprintf(ret, REQUEST_ACCOUNT_SIZE, REQUEST_ACCOUNT_KEY "%s",
                        instance_account(passage->shared->instance));
}

/* Checks what the declaration demands of the ciphertext before KMS is asked. */
static int check_sealed(Passage *passage, Error *error) {
        const Declaration *declaration = passage->declaration;
        const Slice ciphertext = { passage->ciphertext, passage->ciphertext_size };
        char account[REQUEST_ACCOUNT_SIZE];

        if (!passage->ciphertext)
                return 0;
        if (declaration_is_message(declaration)) {
                print_account(passage, account);
                return passage->message.context ? 0
                                                : request_message(declaration, ciphertext, account,
                                                                  &passage->message, error);
        }
        return request_check_ciphertext(declaration, ciphertext, error);
}

/* Fills in the part that both requests to KMS share. Borrows the strings of the context from the declaration, the message and account. */
static int make_request(const Passage *passage, char account[static REQUEST_ACCOUNT_SIZE],
                        const char ***ret_context, KmsDecrypt *ret) {
        if (declaration_is_message(passage->declaration)) {
                *ret = request_decrypt(passage->declaration, (const char *const *) passage->message.context,
                                       passage_sealed_key(passage));
                ret->key_id = passage_key(passage)->arn;
                return 0;
        }
        print_account(passage, account);
        *ret_context = request_context(passage->declaration, account);
        if (!*ret_context)
                return -ENOMEM;
        *ret = request_decrypt(passage->declaration, *ret_context,
                               (Slice){ passage->ciphertext, passage->ciphertext_size });
        ret->key_id = passage_key(passage)->arn;
        return 0;
}

static int begin_decryption(void *owner, uint64_t now) {
        Passage *passage = owner;
        SessionShared *shared = passage->shared;
        Slice document = attester_document(shared->attester, now);
        _cleanup_free_ const char **context = NULL;
        char account[REQUEST_ACCOUNT_SIZE];
        KmsDecrypt decrypt;
        Error error;

        if (!passage_is_fetched(passage) || passage->state != state_before_kms(passage))
                return 0;
        if (passage->begun_usec == 0)
                passage->begun_usec = now;
        passage_choose_key(passage);
        if (endpoint_is_busy(passage->endpoint) || !document.data || !has_credentials(shared) ||
            !endpoint_is_usable(passage->endpoint, now) || !knows_account(passage))
                return 0;

        if (check_sealed(passage, &error) < 0) {
                passage_fail(passage, &error);
                return 0;
        }
        /* The header of a message says which keys open it. */
        passage_choose_key(passage);
        if (!endpoint_is_usable(passage->endpoint, now)) {
                shared->changed(shared->userdata);
                return 0;
        }
        if (make_request(passage, account, &context, &decrypt) < 0)
                return -ENOMEM;
        decrypt.document = document;
        step_begin(&passage->decryption, now);
        passage_enter(passage, decrypt.generate > 0 ? SECRET_GENERATING : SECRET_DECRYPTING);
        shared->decrypting++;
        passage->opens_connection = endpoint_request_begun(passage->endpoint, now);
        return kms_decrypt(passage->endpoint->client, &decrypt, on_decrypted, passage);
}

/*
 * VerifyPolicy=: the probe asks whether KMS would decrypt the secret for the instance's role without attestation, whatever
 * booted. Each secret is probed, not each key, because a policy may depend on the encryption context.
 */

/* The probe is over, and its result lets the secret be published. */
static void passage_probed(Passage *passage, const char *policy) {
        passage->policy = policy;
        passage_step_done(passage, &passage->probe);
        passage_unsealed(passage);
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

/* Returns whether the probe asks if KMS would make the secret, and not if it would decrypt it. */
static bool probes_generation(const Passage *passage) {
        return !passage->ciphertext || passage->decryption_gated;
}

/* The key of a volume is probed twice. Whoever may have it made without a document knows a key, its ciphertext, and so a label that is
 * right. */
static void passage_probe_generation(Passage *passage) {
        passage->decryption_gated = true;
        step_done(&passage->probe);
        step_reset(&passage->probe);
        passage_set_state(passage, SECRET_OPENED);
}

/* KMS would decrypt the secret without attestation. unseald cannot keep it from anybody who has the role; with VerifyPolicy=yes
 * it does not publish the secret, so that the mistake is noticed. */
static void passage_is_open(Passage *passage, const char *request_id) {
        bool publish = passage->shared->settings->verify_policy == VERIFY_POLICY_WARN;
        const char *what = probes_generation(passage)
                                           ? "make data keys with the encryption context of this secret"
                                           : "decrypt this secret";
        Error error;

        (void) error_set(
                        &error, -EPERM, FAILURE_POLICY,
                        "The key %s is not gated: KMS would %s without an attestation document for anybody who has the role %s, whatever booted. Check the key's policy with \"unsealctl policy lint\", and check its grants.%s",
                        passage_key(passage)->arn, what, instance_role(passage->shared->instance),
                        publish ? "" : " With VerifyPolicy=yes the secret is not published.");
        (void) snprintf(error.request_id, sizeof(error.request_id), "%s", request_id);
        passage->policy = "open";
        if (publish) {
                log_probe(passage, LOG_CRIT, MESSAGE_POLICY, &error);
                passage_probed(passage, "open");
        } else
                passage_fail(passage, &error);
}

/* The probe's result will not be known. With VerifyPolicy=warn the secret is published all the same. */
void passage_is_unknown(Passage *passage) {
        const Error *error = step_error(&passage->probe);
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
               passage->shared->settings->verify_policy == VERIFY_POLICY_WARN;
}

static void on_probed(int r, const char *body, size_t size, const char *request_id, const Error *error,
                      void *userdata) {
        Passage *passage = userdata;
        SessionShared *shared = passage->shared;
        bool open = false;
        Error unknown, failed;

        shared->changed(shared->userdata);
        passage->endpoint->requests--;
        /* The session may have published the secret in the meantime, with an unknown policy. */
        if (shared->ending || passage->state != SECRET_PROBING)
                return;

        r = kms_probe_reply(r, body, size, error, &open, &failed);
        if (r >= 0 && open)
                passage_is_open(passage, request_id);
        else if (r >= 0 && passage->declaration->generate_missing && !probes_generation(passage))
                passage_probe_generation(passage);
        else if (r >= 0)
                passage_probed(passage, "gates");
        else {
                unknown = failed;
                (void) snprintf(unknown.text, sizeof(unknown.text), PROBE_UNKNOWN "%.640s", failed.text);
                step_set_error(&passage->probe, &unknown);
                if (passage_may_stay_unknown(passage) &&
                    (failed.remedy == REMEDY_NONE || passage->probe.attempts >= PROBES_MAX ||
                     now_monotonic_usec() - passage->probe.begun_usec >= PROBE_PATIENCE_USEC))
                        passage_is_unknown(passage);
                else
                        passage_retry(passage, &unknown);
        }
}

static int begin_probe(void *owner, uint64_t now) {
        Passage *passage = owner;
        _cleanup_free_ const char **context = NULL;
        _cleanup_free_ char *body = NULL;
        char account[REQUEST_ACCOUNT_SIZE];
        KmsDecrypt decrypt;
        int r;

        if (passage->state != SECRET_OPENED || endpoint_is_busy(passage->endpoint) ||
            !has_credentials(passage->shared))
                return 0;

        if (make_request(passage, account, &context, &decrypt) < 0)
                return -ENOMEM;
        if (probes_generation(passage)) {
                decrypt.ciphertext = (Slice){};
                decrypt.generate = passage->declaration->generate;
        }
        r = kms_probe_request(&decrypt, &body);
        if (r < 0)
                return r;
        step_begin(&passage->probe, now);
        passage_enter(passage, SECRET_PROBING);
        passage->endpoint->requests++;
        return kms_request(passage->endpoint->client, kms_decrypt_operation(&decrypt), body, on_probed,
                           passage);
}

void passage_spare(Passage *passage) {
        passage_forget_rest(passage);
        passage_set_state(passage, SECRET_KEPT);
}

bool passage_is_held_back(const Passage *passage) {
        return passage->state == SECRET_FAILED && passage->policy && strcmp(passage->policy, "open") == 0;
}

bool passage_may_be_left(Passage *passage) {
        const Step *own = passage_step(passage), *way = passage_way(passage);

        if (passage_is_required(passage))
                return false;
        if (passage_body_is_stuck(passage))
                return true;
        return (passage->state == SECRET_DECLARED || passage->state == SECRET_SEALED ||
                passage->state == SECRET_OPENED) &&
               way->progress != STEP_RUNNING && (step_failed(own) || step_failed(way));
}

const Step *passage_obstacle(Passage *passage) {
        Attester *attester = passage->shared->attester;
        const Step *all[] = { attester_step(attester, ATTESTER_KEY_PAIR),
                              attester_step(attester, ATTESTER_TPM),
                              attester_step(attester, ATTESTER_DOCUMENT),
                              instance_step(passage->shared->instance, INSTANCE_CREDENTIALS),
                              passage_way(passage),
                              passage_step(passage) };

        if (passage->shared->late)
                return passage_late_obstacle(passage);
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
                error = *step_error(own);
        else if (step_failed(way))
                error = *step_error(way);
        else {
                obstacle = passage_obstacle(passage);
                session_step_overdue(passage->shared, obstacle,
                                     obstacle == &passage->fetch ? passage_source(passage)->label : NULL,
                                     &error);
        }
        passage_fail(passage, &error);
}
