/* SPDX-License-Identifier: Apache-2.0 */

/* Joins the pieces of a message, the body that decrypts them, and the passage of the secret. */

#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "unsealing/late-key.h"
#include "unsealing/passage-body.h"

/* While the pieces of a message come, credentials that are older than this are renewed if they are refused. */
#define CREDENTIALS_APART_USEC (10 * USEC_PER_SEC)

/* If parts fail, and nothing was written for so long, the attempt has failed as much as that at a small secret, which has as long. */
#define STUCK_USEC (15 * USEC_PER_SEC)

/* A server that breaks off each connection would fill the journal: of sixteen connections came some 25 notices a second. */
#define TELL_USEC (5 * USEC_PER_SEC)

/* The next message may keep its beginning. */
static void release_beginning(Passage *passage) {
        if (passage->shared->beginning == passage)
                passage->shared->beginning = NULL;
}

void passage_forget_rest(Passage *passage) {
        rest_clear(&passage->rest);
        release_beginning(passage);
}

static void on_first_bytes(int r, const uint8_t *data, size_t size, const ObjectVersion *version,
                           const Error *error, void *userdata) {
        Passage *passage = userdata;
        SessionShared *shared = passage->shared;
        uint8_t *taken = NULL;
        size_t taken_size = 0;
        Error failed = *error;

        shared->changed(shared->userdata);
        shared->fetching--;
        /* The secret may have failed in the meantime, with its endpoint. */
        if (shared->ending || passage->state != SECRET_FETCHING)
                return;
        if (r >= 0)
                r = rest_take_object(&passage->rest, passage_source(passage), data, size, version,
                                     passage_whole_maximum(passage, passage_source(passage)), &taken,
                                     &taken_size, &failed);
        if (r < 0) {
                passage_not_fetched(passage, &failed);
                return;
        }
        if (!rest_exists(&passage->rest))
                passage_forget_rest(passage);
        passage_fetched(passage, taken, taken_size);
}

/* Fetches a message as a whole, or the beginning of a large one. One large message at a time keeps all that came: more of them
 * would take more memory than their budget. Of the others only the header is kept, and the body is fetched when its turn comes. */
int passage_fetch_beginning(Passage *passage, const Fetch *fetch) {
        SessionShared *shared = passage->shared;
        size_t asked = source_carrier_max(BODY_WHOLE_MAX);

        if (!shared->beginning)
                shared->beginning = passage;
        return source_fetch_first(shared->fetcher, fetch, asked,
                                  shared->beginning == passage ? asked : MESSAGE_HEADER_MAX, on_first_bytes,
                                  passage);
}

/* The object was replaced while its pieces came. Fetches another beginning, with another data key. A late secret has only the one data
 * key: the object must be the same message. */
static void passage_begin_anew(Passage *passage, const Error *error) {
        step_undo(passage->shared->late ? &passage->late_body : &passage->decryption);
        step_reset(&passage->fetch);
        request_message_clear(&passage->message);
        free(TAKE_PTR(passage->ciphertext));
        passage_forget_rest(passage);
        passage_retry(passage, error);
}

static void on_body_ended(int r, StoreDraft *draft, uint64_t size, const Error *error, void *userdata) {
        Passage *passage = userdata;
        Error failed = *error;

        passage->shared->changed(passage->shared->userdata);
        passage_end_body(passage);
        if (passage->shared->ending) {
                if (draft)
                        body_discard(draft);
        } else if (r == -ESTALE)
                passage_begin_anew(passage, &failed);
        else if (r < 0) {
                memcpy(failed.request_id, passage->request_id, sizeof(passage->request_id));
                passage_fail(passage, &failed);
        } else {
                passage->draft = draft;
                if (passage->shared->late) {
                        step_done(&passage->late_body);
                        passage_enter(passage, SECRET_UNSEALED);
                } else
                        passage_opened(passage);
        }
}

/* Remembers the first trouble since the last byte of plaintext. One trouble alone may be over long since. */
static void note_trouble(Passage *passage) {
        uint64_t written = body_written(passage->body), now = now_monotonic_usec();

        if (passage->trouble_usec == 0 || written != passage->trouble_written) {
                passage->trouble_usec = now;
                passage->trouble_written = written;
        }
        passage->body_turn.stuck = now - passage->trouble_usec >= STUCK_USEC;
}

bool passage_body_is_stuck(const Passage *passage) {
        return passage->body_turn.stuck &&
               (!passage->body || body_written(passage->body) == passage->trouble_written);
}

/* Returns whether the trouble is for everybody's eyes, as the first one is, or only for those who debug. */
static bool tells_trouble(Passage *passage) {
        uint64_t now = now_monotonic_usec();

        if (passage->shared->report->quiet ||
            (passage->told_usec > 0 && now - passage->told_usec < TELL_USEC))
                return false;
        passage->told_usec = now;
        return true;
}

/* A part of the message did not come, and is asked for again. */
static void on_trouble(const Error *error, void *userdata) {
        Passage *passage = userdata;
        Step *credentials = instance_step(passage->shared->instance, INSTANCE_CREDENTIALS);

        /* Several connections are refused for the same credentials. */
        if (error->remedy == REMEDY_CREDENTIALS &&
            step_made_before(credentials, now_monotonic_usec() - CREDENTIALS_APART_USEC))
                step_reset(credentials);
        note_trouble(passage);
        step_set_error(passage_step(passage), error); /* what is said at the deadline */
        log_full(tells_trouble(passage) ? LOG_NOTICE : LOG_DEBUG,
                 &(LogFields){ .message_id = MESSAGE_STEP,
                               .secret = passage->declaration->name,
                               .state = secret_state_to_string(passage->state),
                               .error = error },
                 "%s: A part of the message is asked for again: %s", passage->declaration->name,
                 error->text);
        passage->shared->changed(passage->shared->userdata);
}

static void stop_body(Passage *passage) {
        passage->body = body_free(passage->body);
        body_turn_end(&passage->shared->bodies, &passage->body_turn);
}

void passage_end_body(Passage *passage) {
        stop_body(passage);
        passage->body_turn.stuck = false;
        passage->data_key = secret_free(passage->data_key);
}

static int plan_body(Passage *passage, Error *error) {
        return body_plan(&passage->message.header, passage->rest.size, passage->declaration->size_max,
                         (unsigned) get_nprocs(), &passage->body_plan, error);
}

int passage_keep_late_key(Passage *passage, Secret *data_key, Error *error) {
        const MessageHeader *header = &passage->message.header;
        _cleanup_(message_freep) Message *message = NULL;
        int r;

        if ((r = message_open(header, data_key, &message, error)) < 0 || (r = plan_body(passage, error)) < 0)
                return r;
        r = late_key_new((Slice){ passage->ciphertext, header->size }, data_key, &passage->late_key);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "The data key cannot be kept: %s.",
                                 strerror(-r));
        passage_opened(passage);
        return 0;
}

static int start_body(Passage *passage, Error *error) {
        const Declaration *declaration = passage->declaration;
        const MessageHeader *header = &passage->message.header;
        const Fetch fetch = request_fetch(passage->shared->settings, declaration, &passage->target,
                                          &declaration->source);
        const BodyPlan *plan = &passage->body_plan;
        _cleanup_(message_freep) Message *message = NULL;
        StoreDraft *draft;
        int r;

        passage->trouble_usec = 0;
        passage->body_turn.stuck = false;
        if ((r = message_open(header, passage->data_key, &message, error)) < 0 ||
            (r = delivery_begin_draft(passage->shared->delivery, declaration->name, plan->plaintext_max,
                                      &draft, error)) < 0 ||
            (r = body_new(passage->shared->event, plan, header, declaration->size_max, TAKE_PTR(message),
                          draft, on_body_ended, passage, &passage->body, error)) < 0)
                return r;
        r = rest_begin(&passage->rest, passage->shared->event, passage->shared->fetcher, &fetch, plan,
                       passage->body, on_trouble, passage, error);
        release_beginning(passage);
        return r;
}

/* Says once why nothing comes. It is also what is said at the deadline. */
static void tell_to_wait(Passage *passage) {
        Error error;

        if (passage->told_to_wait)
                return;
        passage->told_to_wait = true;
        (void) error_set_remedy(
                        &error, -EBUSY, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                        "The message waits until other large messages are decrypted, so that all of them together take no more memory than one. If the time is not enough, raise %s.",
                        passage->shared->late ? "LateDeadlineSec=" : "DeadlineSec=");
        step_set_error(passage_step(passage), &error);
        log_full(LOG_DEBUG,
                 &(LogFields){ .message_id = MESSAGE_STEP,
                               .secret = passage->declaration->name,
                               .state = secret_state_to_string(passage->state) },
                 "%s: %s", passage->declaration->name, error.text);
}

int passage_begin_body(void *owner, uint64_t now) {
        Passage *passage = owner;
        BodyTurn *yields;
        Error error = {};

        /* What moves again is not stuck any more. */
        if (passage->body)
                passage->body_turn.stuck = passage_body_is_stuck(passage);
        if (passage->body || !passage->data_key)
                return 0;
        while (!body_turn_begin(&passage->shared->bodies, &passage->body_turn, &yields)) {
                if (!yields) {
                        tell_to_wait(passage);
                        return 0;
                }
                stop_body(yields->owner);
        }
        if (passage->told_to_wait)
                step_forget_error(passage_step(passage));
        passage->told_to_wait = false;
        if (start_body(passage, &error) < 0)
                passage_fail(passage, &error);
        return 0;
}

/* The header's tag is right, so KMS's answer is the data key of this message. */
int passage_open_header(Passage *passage, Secret *data_key, Error *error) {
        _cleanup_secret_ Secret *key = data_key;
        _cleanup_(message_freep) Message *message = NULL;
        BodyPlan plan;
        int r = message_open(&passage->message.header, key, &message, error);

        if (r >= 0)
                r = body_plan(&passage->message.header, passage->rest.size, passage->declaration->size_max,
                              1, &plan, error);
        if (r >= 0)
                passage_opened(passage);
        return r;
}

int passage_await_body(Passage *passage, Secret *data_key, Error *error) {
        int r;

        passage->data_key = data_key;
        r = plan_body(passage, error);
        if (r < 0)
                return r;
        passage->body_turn = (BodyTurn){
                .cost = body_cost(&passage->body_plan, rest_limit(&passage->rest, &passage->body_plan)),
                .required = !passage->declaration->optional,
                .owner = passage,
        };
        return 0;
}
