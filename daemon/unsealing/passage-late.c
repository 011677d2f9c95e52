/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/log.h"
#include "unsealing/late-key.h"
#include "unsealing/passage-body.h"
#include "unsealing/passage-late.h"

/* Late=: after READY=1 the data key is here already, and the beginning of the message too, unless unseald was restarted. */
void passage_begin_late(Passage *passage) {
        passage->alone = true;
        if (!passage->ciphertext)
                passage_set_state(passage, SECRET_DECLARED);
}

static bool has_credentials(const Passage *passage) {
        return instance_step(passage->shared->instance, INSTANCE_CREDENTIALS)->progress == STEP_DONE;
}

int passage_begin_late_body(void *owner, uint64_t now) {
        Passage *passage = owner;
        _cleanup_secret_ Secret *data_key = NULL;
        Error error;
        int r;

        if (passage->state != SECRET_LATE || !passage->shared->late || !passage->ciphertext ||
            (source_is_signed(&passage->declaration->source) && !has_credentials(passage)))
                return 0;
        step_begin(&passage->late_body, now);
        passage->begun_usec = passage->begun_usec > 0 ? passage->begun_usec : now;
        r = late_key_open(passage->late_key, &data_key);
        if (r < 0)
                (void) error_set(&error, r, FAILURE_INTERNAL, "The data key cannot be used: %s.",
                                 strerror(-r));
        else
                r = passage_await_body(passage, TAKE_PTR(data_key), &error);
        if (r < 0)
                passage_fail(passage, &error);
        return 0;
}

/* After a restart, or because the object was replaced. What the declaration demands of the header was judged when its data key was
 * opened, and it is the same header. Takes ownership. */
void passage_fetched_again(Passage *passage, uint8_t *data, size_t size) {
        Error error;
        int r;

        passage_step_done(passage, &passage->fetch);
        free(passage->ciphertext);
        passage->ciphertext = data;
        passage->ciphertext_size = size;
        request_message_clear(&passage->message);
        r = request_header(passage->declaration, (Slice){ data, size }, &passage->message.header, &error);
        if (r >= 0) {
                r = late_key_fits(passage->late_key, (Slice){ data, passage->message.header.size });
                if (r < 0)
                        (void) error_set(&error, r, FAILURE_INTERNAL,
                                         "The kept data key cannot be compared: %s.", strerror(-r));
                if (r == 0 || (r > 0 && !rest_exists(&passage->rest)))
                        r = error_set(&error, -EBADMSG, FAILURE_CIPHERTEXT,
                                      "%.200s: The message is not the one whose data key KMS has decrypted: somebody has replaced or cut it since.",
                                      passage->declaration->source.label);
        }
        if (r < 0)
                passage_fail(passage, &error);
        else
                passage_set_state(passage, SECRET_LATE);
        passage->shared->changed(passage->shared->userdata);
}

/* READY=1 is said, or has been before a restart. */
void passage_log_alone(const Passage *passage, const Step *step, const Error *error) {
        log_full(passage->declaration->optional ? LOG_WARNING : LOG_ERR,
                 &(LogFields){ .message_id = MESSAGE_LATE_FAILED,
                               .secret = passage->declaration->name,
                               .state = "failed",
                               .attempt = step->attempts,
                               .error = error },
                 "The late secret %s is not delivered: %s%s", passage->declaration->name, error->text,
                 passage->shared->settings->lock_pcr > 0
                                 ? " LockPcr= is set: reboot to try again."
                                 : " \"systemctl reload unseald.service\" tries again.");
}

/* Neither the TPM nor KMS is needed any more. */
const Step *passage_late_obstacle(Passage *passage) {
        const Step *credentials = instance_step(passage->shared->instance, INSTANCE_CREDENTIALS);

        return credentials->progress != STEP_DONE && step_failed(credentials) ? credentials
                                                                              : passage_step(passage);
}
