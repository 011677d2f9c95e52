/* SPDX-License-Identifier: Apache-2.0 */

/* Joins the pieces of a message, the body that decrypts them, and the passage of the secret. */

#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "unsealing/passage-body.h"

/* While the pieces of a message come, credentials that are older than this are renewed if they are refused. */
#define CREDENTIALS_APART_USEC (10 * USEC_PER_SEC)

/* If parts fail, and nothing was written for so long, the attempt has failed as much as that at a small secret, which has as long. */
#define STUCK_USEC (15 * USEC_PER_SEC)

/* A server that breaks off each connection would fill the journal: of sixteen connections came some 25 notices a second. */
#define TELL_USEC (5 * USEC_PER_SEC)

/* The object was replaced while its pieces came. Fetches another beginning, with another data key. */
static void passage_begin_anew(Passage *passage, const Error *error) {
        step_undo(&passage->decryption);
        step_reset(&passage->fetch);
        request_message_clear(&passage->message);
        free(TAKE_PTR(passage->ciphertext));
        rest_clear(&passage->rest);
        passage_retry(passage, error);
}

static void on_body_ended(int r, StoreDraft *draft, uint64_t size, const Error *error, void *userdata) {
        Passage *passage = userdata;
        Error failed = *error;

        passage->shared->changed(passage->shared->userdata);
        passage->body = body_free(passage->body);
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
        passage->is_stuck = now - passage->trouble_usec >= STUCK_USEC;
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
        step_set_error(&passage->decryption, error); /* what is said at the deadline */
        log_full(tells_trouble(passage) ? LOG_NOTICE : LOG_DEBUG,
                 &(LogFields){ .message_id = MESSAGE_STEP,
                               .secret = passage->declaration->name,
                               .state = secret_state_to_string(passage->state),
                               .error = error },
                 "%s: A part of the message is asked for again: %s", passage->declaration->name,
                 error->text);
        passage->shared->changed(passage->shared->userdata);
}

int passage_begin_body(Passage *passage, Secret *data_key, Error *error) {
        const Declaration *declaration = passage->declaration;
        const MessageHeader *header = &passage->message.header;
        const Fetch fetch = request_fetch(passage->shared->settings, declaration, &passage->target,
                                          &declaration->source);
        _cleanup_(message_freep) Message *message = NULL;
        StoreDraft *draft;
        BodyPlan plan;
        int r;

        passage->trouble_usec = 0;
        passage->is_stuck = false;
        if ((r = message_open(header, data_key, &message, error)) < 0 ||
            (r = body_plan(header, passage->rest.size, declaration->size_max, (unsigned) get_nprocs(), &plan,
                           error)) < 0 ||
            (r = delivery_begin_draft(passage->shared->delivery, declaration->name, plan.plaintext_max,
                                      &draft, error)) < 0 ||
            (r = body_new(passage->shared->event, &plan, header, declaration->size_max, TAKE_PTR(message),
                          draft, on_body_ended, passage, &passage->body, error)) < 0)
                return r;
        r = rest_begin(&passage->rest, passage->shared->event, passage->shared->fetcher, &fetch, &plan,
                       passage->body, on_trouble, passage, error);
        if (r < 0)
                passage->body = body_free(passage->body);
        return r;
}
