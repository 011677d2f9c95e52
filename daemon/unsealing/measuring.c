/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/log.h"
#include "tpm/event-log.h"
#include "unsealing/measuring.h"

_Static_assert(MANIFEST_PCR_SIZE == PCR_SIZE, "the manifest has another size of a PCR");

static int hash_failed(int r, Error *error) {
        return r == -ENOMEM ? error_oom(error)
                            : error_set(error, r, FAILURE_INTERNAL,
                                        "OpenSSL cannot hash the sealed secrets of MeasurePcr=.");
}

static int to_secret_event(const ManifestEvent *event, SecretEvent *ret) {
        *ret = (SecretEvent){ .pcr = event->pcr };
        memcpy(ret->before, event->before, PCR_SIZE);
        return secret_event_digest(event->name, event->sealed, ret->digest);
}

/* Returns whether the last event of this secret is the same, but for the value before it. */
static bool is_recorded(const ManifestEvent *events, size_t count, const ManifestEvent *wanted) {
        while (count-- > 0)
                if (strcmp(events[count].name, wanted->name) == 0)
                        return events[count].pcr == wanted->pcr &&
                               memcmp(events[count].sealed, wanted->sealed, PCR_SIZE) == 0;
        return false;
}

static int list_new(const Passage *passages, size_t passages_count, const Kept *kept, ManifestEvent *ret,
                    size_t *ret_count, Error *error) {
        size_t recorded_count, count = 0;
        const ManifestEvent *recorded = kept_events(kept, &recorded_count);

        for (size_t i = 0; i < passages_count; i++) {
                const Passage *passage = passages + i;
                const Declaration *declaration = passage->declaration;
                ManifestEvent event = { .pcr = (uint8_t) declaration->measure_pcr };
                int r;

                /* After a restart a late secret has no ciphertext here, and was measured before. */
                if (declaration->measure_pcr == 0 || !passage->ciphertext ||
                    (passage->state != SECRET_UNSEALED && passage->state != SECRET_LATE))
                        continue;
                (void) snprintf(event.name, sizeof(event.name), "%s", declaration->name);
                r = request_sealed_digest(declaration,
                                          (Slice){ passage->ciphertext, passage->ciphertext_size },
                                          event.sealed, error);
                if (r < 0)
                        return r;
                if (!is_recorded(recorded, recorded_count, &event))
                        ret[count++] = event;
        }
        *ret_count = count;
        return 0;
}

/* Sets `before` of the new events. */
static int plan(const Kept *kept, const PcrSet *measured, ManifestEvent *events, size_t count,
                Error *error) {
        size_t recorded_count, sum;
        const ManifestEvent *recorded = kept_events(kept, &recorded_count);
        _cleanup_free_ SecretEvent *all = calloc(recorded_count + count + 1, sizeof(*all));
        int r = 0;

        if (!all)
                return error_oom(error);
        sum = recorded_count + count;
        for (size_t i = 0; i < sum && r >= 0; i++)
                r = to_secret_event(i < recorded_count ? recorded + i : events + (i - recorded_count),
                                    all + i);
        if (r >= 0)
                r = secret_events_plan(all, sum, recorded_count, kept_measured(kept) == recorded_count,
                                       measured);
        if (r == -ENODATA)
                return error_set(
                                error, r, FAILURE_TPM,
                                "The attestation document lacks a PCR of MeasurePcr=, so it is not known what is in the PCR.");
        if (r < 0)
                return hash_failed(r, error);
        for (size_t i = 0; i < count; i++)
                memcpy(events[i].before, all[recorded_count + i].before, PCR_SIZE);
        return 0;
}

int measuring_plan(const Passage *passages, size_t passages_count, const Kept *kept, const PcrSet *measured,
                   ManifestEvent **ret, size_t *ret_count, Error *error) {
        _cleanup_free_ ManifestEvent *events = calloc(passages_count + 1, sizeof(*events));
        size_t count;
        int r;

        if (!events)
                return error_oom(error);
        r = list_new(passages, passages_count, kept, events, &count, error);
        if (r >= 0 && count > 0)
                r = plan(kept, measured, events, count, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(events);
        *ret_count = count;
        return 0;
}

int measuring_recorded(const Kept *kept, SecretEvent **ret, size_t *ret_count, Error *error) {
        size_t count;
        const ManifestEvent *recorded = kept_events(kept, &count);
        _cleanup_free_ SecretEvent *events = calloc(count + 1, sizeof(*events));
        int r = 0;

        if (!events)
                return error_oom(error);
        for (size_t i = 0; i < count && r >= 0; i++)
                r = to_secret_event(recorded + i, events + i);
        if (r < 0)
                return hash_failed(r, error);
        *ret = TAKE_PTR(events);
        *ret_count = count;
        return 0;
}

unsigned measuring_pcr_of(const Kept *kept, const char *name) {
        size_t count, measured = kept ? kept_measured(kept) : 0;
        const ManifestEvent *events = kept ? kept_events(kept, &count) : NULL;

        while (measured-- > 0)
                if (strcmp(events[measured].name, name) == 0)
                        return events[measured].pcr;
        return 0;
}

void measuring_report(const Kept *kept, size_t first) {
        size_t count;
        const ManifestEvent *events = kept_events(kept, &count);

        for (size_t i = first; i < count; i++) {
                _cleanup_free_ char *digest = NULL;

                if (hex_encode(events[i].sealed, PCR_SIZE, &digest) < 0)
                        return;
                log_full(LOG_INFO,
                         &(LogFields){ .message_id = MESSAGE_MEASURED,
                                       .secret = events[i].name,
                                       .state = "measured" },
                         "%s: measured into PCR%u, SHA-384 of the sealed secret: %s.", events[i].name,
                         events[i].pcr, digest);
        }
}

static int format_log(const Kept *kept, char **ret) {
        size_t count = kept_measured(kept), recorded;
        const ManifestEvent *events = kept_events(kept, &recorded);
        _cleanup_free_ EventLogRecord *records = calloc(count + 1, sizeof(*records));
        int r = records ? 0 : -ENOMEM;

        for (size_t i = 0; i < count && r >= 0; i++) {
                records[i].pcr = events[i].pcr;
                memcpy(records[i].sealed, events[i].sealed, PCR_SIZE);
                (void) snprintf(records[i].secret, sizeof(records[i].secret), "%s", events[i].name);
                r = secret_event_digest(events[i].name, events[i].sealed, records[i].digest);
        }
        return r < 0 ? r : event_log_format(records, count, ret);
}

void measuring_write_log(const Kept *kept, const char *path) {
        _cleanup_free_ char *text = NULL;
        int r = format_log(kept, &text);

        if (r >= 0)
                r = write_file_atomic(path, text, strlen(text), 0644);
        if (r < 0)
                log_warning("Cannot write %s: %s. The PCRs of MeasurePcr= are extended all the same. The next reload or restart writes it again.",
                            path, strerror(-r));
}
