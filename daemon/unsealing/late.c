/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "unsealing/late.h"

/* Until its end a late secret has its data key. */
static bool is_pending(const Passage *passage) {
        return passage->late_key && passage->state != SECRET_FAILED;
}

bool late_is_pending(const Passage *passages, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (is_pending(passages + i))
                        return true;
        return false;
}

void late_begin(Late *late, SessionShared *shared, Passage *passages, size_t count, uint64_t now) {
        *late = (Late){ .shared = shared, .passages = passages, .count = count, .begun_usec = now };
        shared->late = true;
        for (size_t i = 0; i < count; i++)
                if (is_pending(passages + i))
                        passage_begin_late(passages + i);
}

static unsigned percent_of(const Passage *passage) {
        uint64_t written = passage->state == SECRET_UNSEALED ? passage->body_plan.plaintext_max
                           : passage->body                   ? body_written(passage->body)
                                                             : 0;

        return passage->body_plan.plaintext_max > 0
                               ? (unsigned) (written * 100 / passage->body_plan.plaintext_max)
                               : 0;
}

static size_t index_of(const Late *late, const Passage *passage) {
        return (size_t) (passage - late->passages);
}

static void report_tenths(Passage *passage) {
        unsigned tenths = percent_of(passage) / 10;

        if (tenths <= passage->late_tenths || tenths >= 10)
                return;
        passage->late_tenths = tenths;
        log_full(LOG_INFO,
                 &(LogFields){ .message_id = MESSAGE_LATE,
                               .secret = passage->declaration->name,
                               .state = secret_state_to_string(SECRET_LATE),
                               .duration_usec = now_monotonic_usec() - passage->late_body.begun_usec },
                 "%s: %u0 %% of the message are decrypted.", passage->declaration->name, tenths);
}

static void publish(Late *late, Passage *passage) {
        Error error = {};

        passage_enter(passage, SECRET_KEPT);
        if (delivery_publish_late(late->shared->delivery, index_of(late, passage), &error) < 0)
                passage_fail(passage, &error);
        else
                passage_enter(passage, SECRET_PUBLISHED);
}

/* The service manager has the message, and no longer the data key; or, of a secret that has failed, neither. */
static void late_kept(Late *late, Passage *passage, int r, const Error *error) {
        passage->late_key = secret_free(passage->late_key);
        if (passage->state == SECRET_UNSEALED && r >= 0)
                publish(late, passage);
        else if (passage->state == SECRET_UNSEALED)
                passage_fail(passage, error);
        else if (r < 0)
                log_warning("The data key of the late secret %s stays kept: %s The next start of unseald tries the message again.",
                            passage->declaration->name, error->text);
}

static void on_kept(int r, const Error *error, void *userdata) {
        Late *late = userdata;
        Passage *passage = TAKE_PTR(late->keeping);

        late->shared->changed(late->shared->userdata);
        late_kept(late, passage, r, error);
}

/* One commit at a time. */
static void keep(Late *late, Passage *passage) {
        Error error = {};
        int r = delivery_keep_late(late->shared->delivery, index_of(late, passage), TAKE_PTR(passage->draft),
                                   passage_version(passage), on_kept, late, &error);

        if (r == 0)
                late->keeping = passage;
        else
                late_kept(late, passage, r, &error);
}

bool late_advance(Late *late, uint64_t now) {
        bool pending = false;

        for (size_t i = 0; i < late->count; i++) {
                Passage *passage = late->passages + i;

                if (!passage->late_key)
                        continue;
                report_tenths(passage);
                if (!late->keeping && (passage->state == SECRET_UNSEALED || passage->state == SECRET_FAILED))
                        keep(late, passage);
                pending |= passage->late_key != NULL;
        }
        return !pending;
}

static void set_overdue(const Late *late, Passage *passage, Error *ret) {
        const Step *step = passage_obstacle(passage);
        char duration[DURATION_STRING_MAX];

        (void) format_duration(late->shared->settings->late_deadline_usec, duration);
        if (!step_failed(step)) {
                (void) error_set(ret, -ETIMEDOUT, FAILURE_UNAVAILABLE,
                                 "Not within LateDeadlineSec=%s: %u %% of the message are decrypted.",
                                 duration, percent_of(passage));
                return;
        }
        *ret = *step_error(step);
        (void) snprintf(ret->text, sizeof(ret->text), "Not within LateDeadlineSec=%s: %.600s", duration,
                        step_error(step)->text);
}

void late_fail(Late *late, const Error *error) {
        for (size_t i = 0; i < late->count; i++) {
                Passage *passage = late->passages + i;
                Error failed;

                /* What is decrypted is only to be kept. */
                if (!is_pending(passage) || passage->state >= SECRET_KEPT ||
                    passage->state == SECRET_UNSEALED)
                        continue;
                if (error)
                        failed = *error;
                else
                        set_overdue(late, passage, &failed);
                passage_fail(passage, &failed);
        }
}

uint64_t late_deadline_usec(const Late *late) {
        uint64_t deadline = late->shared->settings->late_deadline_usec;

        return deadline == USEC_INFINITY ? USEC_INFINITY : late->begun_usec + deadline;
}

void late_print(const Late *late, char ret[static LATE_PROGRESS_MAX]) {
        size_t used = 0;

        ret[0] = 0;
        for (size_t i = 0; i < late->count && used < LATE_PROGRESS_MAX; i++) {
                const Passage *passage = late->passages + i;
                int n;

                if (!is_pending(passage))
                        continue;
                n = snprintf(ret + used, LATE_PROGRESS_MAX - used, "%s%.64s %u %%", used > 0 ? ", " : "",
                             passage->declaration->name, percent_of(passage));
                used += n > 0 ? (size_t) n : 0;
        }
}
