/* SPDX-License-Identifier: Apache-2.0 */

#include "unsealing/refresh.h"
#include "basic/log.h"

static void report_changed(const Passage *passage, CiphertextComparison comparison) {
        const char *name = passage->declaration->name;
        const LogFields fields = {
                .message_id = MESSAGE_CHANGED,
                .secret = name,
                .state = "sealed",
                .version = passage_version(passage),
        };

        if (comparison == CIPHERTEXT_CHANGED)
                log_full(LOG_NOTICE, &fields, "%s: the ciphertext has changed; reloading.", name);
        else
                log_full(LOG_NOTICE, &fields,
                         "%s: the ciphertext is not one that this process has unsealed, because unseald was restarted or the secret was not there before; reloading.",
                         name);
}

/* Returns whether no ciphertext will come from the passage any more in this attempt. A value that KMS has made stays as it is. */
static bool is_settled(Passage *passage) {
        return passage_is_fetched(passage) || passage->state == SECRET_KEPT ||
               passage->state == SECRET_FAILED || passage_may_be_left(passage);
}

int refresh_compare(const Ciphertexts *known, Passage *passages, size_t count, RefreshResult *ret,
                    Passage **ret_unfetched) {
        bool fetching = false, changed = false;
        Passage *unfetched = NULL;

        for (size_t i = 0; i < count; i++) {
                Passage *passage = passages + i;
                int r;

                fetching |= !is_settled(passage);
                if (passage->ciphertext && !passage->compared) {
                        CiphertextComparison comparison;

                        r = ciphertexts_compare(known, passage->declaration->name, passage->ciphertext,
                                                passage->ciphertext_size, &comparison);
                        if (r < 0)
                                return r;
                        passage->compared = true;
                        passage->differs = comparison != CIPHERTEXT_SAME;
                        if (passage->differs)
                                report_changed(passage, comparison);
                }
                /* A volume without a key gets one from a reload. */
                changed |= passage->differs || passage->blank;
                if (!passage->ciphertext && step_failed(&passage->fetch) &&
                    ciphertexts_know(known, passage->declaration->name))
                        unfetched = passage;
        }
        *ret_unfetched = unfetched;
        *ret = changed ? REFRESH_CHANGED : fetching ? REFRESH_FETCHING : REFRESH_UNCHANGED;
        return 0;
}

uint64_t refresh_delay_usec(uint64_t interval_usec, uint64_t random) {
        uint64_t span = interval_usec / 5;

        return interval_usec - span / 2 + random % (span + 1);
}
