/* SPDX-License-Identifier: Apache-2.0 */

/* Parses a log of events. What is accepted and has records of secrets alone must be read again as it is formatted. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tpm/event-log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ EventLogRecord *records = NULL, *again = NULL;
        _cleanup_free_ char *text = NULL;
        size_t count, count_again;
        Error error = {};
        PcrSet pcrs;

        if (event_log_parse((const char *) data, size, &records, &count, &error) < 0) {
                assert(error.failure != FAILURE_NONE && error.text[0] != 0);
                return 0;
        }
        assert(event_log_replay(records, count, &pcrs) == 0);
        assert(count > 0 || pcrs.present == 0);
        for (size_t i = 0; i < count; i++)
                if (!records[i].secret[0])
                        return 0;
        assert(event_log_format(records, count, &text) == 0);
        assert(event_log_parse(text, strlen(text), &again, &count_again, &error) == 0);
        assert(count_again == count && memcmp(records, again, count * sizeof(*records)) == 0);
        return 0;
}
