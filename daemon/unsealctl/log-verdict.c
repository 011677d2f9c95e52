/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "unsealctl/log-verdict.h"

const char *log_mark_to_string(LogMark mark) {
        static const char *const marks[] = {
                [LOG_NOT_ASKED] = "not-asked",
                [LOG_REPLACED] = "replaced",
                [LOG_EXPECTED] = "expected",
                [LOG_DIFFERENT] = "different",
        };

        return marks[mark];
}

/* The first record of this PCR that the attested value does not have. count: there is none, since no number of records leads to it. */
static size_t find_later_record(const EventLogRecord *records, size_t count, unsigned pcr,
                                const uint8_t value[static PCR_SIZE]) {
        uint8_t replayed[PCR_SIZE] = {};

        for (size_t i = 0; i < count; i++) {
                if (records[i].pcr != pcr)
                        continue;
                if (memcmp(replayed, value, PCR_SIZE) == 0)
                        return i;
                if (pcr_extend(replayed, records[i].digest) < 0)
                        break;
        }
        return count;
}

static int judge_pcr(const EventLogRecord *records, size_t count, unsigned pcr, const PcrSet *replayed,
                     const PcrSet *attested, Error *error) {
        size_t later;

        if (!(attested->present & UINT32_C(1) << pcr))
                return error_set(error, -EBADMSG, FAILURE_ATTESTATION,
                                 "The event log has records of PCR%u, which the document lacks.", pcr);
        if (memcmp(attested->value[pcr], replayed->value[pcr], PCR_SIZE) == 0)
                return 0;
        later = find_later_record(records, count, pcr, attested->value[pcr]);
        if (later < count)
                return error_set(
                                error, -EBADMSG, FAILURE_ATTESTATION,
                                "The document has PCR%u as it was before record %zu of the event log: it is older than the log, or the record is not of this boot. Get both again.",
                                pcr, later);
        return error_set(
                        error, -EBADMSG, FAILURE_ATTESTATION,
                        "The event log does not lead to PCR%u of the document. The log was changed or is of another boot, or something else has extended the PCR.",
                        pcr);
}

static bool is_last(const EventLogRecord *records, size_t count, size_t record) {
        for (size_t i = record + 1; i < count; i++)
                if (strcmp(records[i].secret, records[record].secret) == 0)
                        return false;
        return true;
}

/* Marks the records of one secret. */
static int judge_secret(const EventLogRecord *records, size_t count, const LogExpectation *expected,
                        LogMark *marks, Error *error) {
        bool found = false;
        int r = 0;

        for (size_t i = 0; i < count; i++) {
                if (strcmp(records[i].secret, expected->secret) != 0)
                        continue;
                found = true;
                if (!is_last(records, count, i))
                        marks[i] = LOG_REPLACED;
                else if (memcmp(records[i].sealed, expected->sealed, PCR_SIZE) == 0)
                        marks[i] = LOG_EXPECTED;
                else {
                        marks[i] = LOG_DIFFERENT;
                        r = error_set(error, -EBADMSG, FAILURE_ATTESTATION,
                                      "Record %zu of the event log: %s was delivered from another sealed secret than the expected one. An older or a foreign one may have been put in its place.",
                                      i, records[i].secret);
                }
        }
        if (!found)
                r = error_set(error, -EBADMSG, FAILURE_ATTESTATION,
                              "The event log has no record of %.64s: it was not measured in this boot.",
                              expected->secret);
        return r;
}

int log_judge(const EventLogRecord *records, size_t count, const PcrSet *attested,
              const LogExpectation *expected, size_t expected_count, LogMark *marks, Error *error) {
        Error first = {};
        PcrSet replayed;
        int r = event_log_replay(records, count, &replayed);

        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot hash the event log.");
        for (size_t i = 0; i < count; i++)
                marks[i] = LOG_NOT_ASKED;
        for (unsigned pcr = 0; pcr < PCR_COUNT && r >= 0; pcr++)
                if (replayed.present & UINT32_C(1) << pcr)
                        r = judge_pcr(records, count, pcr, &replayed, attested, &first);
        /* What differs is marked also if the log is wrong; the first cause is the one that is told. */
        for (size_t i = 0; i < expected_count; i++) {
                Error other = {};

                if (judge_secret(records, count, expected + i, marks, &other) < 0 && r >= 0) {
                        r = -EBADMSG;
                        first = other;
                }
        }
        if (r < 0)
                *error = first;
        return r;
}
