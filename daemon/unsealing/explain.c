/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unsealing/explain.h"

/* The PCRs that key policies pin: boot code, Secure Boot, and what came from outside the image. */
static const unsigned explained[] = { 4, 7, 12 };

_printf_(3, 4) static void append(char *buffer, size_t *length, const char *format, ...) {
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(buffer + *length, EXPLANATION_MAX - *length, format, arguments);
        va_end(arguments);
        if (n > 0)
                *length = *length + (size_t) n < EXPLANATION_MAX ? *length + (size_t) n
                                                                 : EXPLANATION_MAX - 1;
}

static void append_value(char *buffer, size_t *length, const PcrSet *set, unsigned pcr) {
        for (size_t i = 0; i < PCR_SIZE; i++)
                append(buffer, length, "%02x", set->value[pcr][i]);
}

const char *explain_measurements(const PcrSet *measured, const PcrSet *expected,
                                 char buffer[static EXPLANATION_MAX]) {
        uint32_t differing = expected ? pcr_differing(measured, expected) : 0;
        size_t length = 0;

        buffer[0] = 0;
        for (size_t i = 0; i < ELEMENTSOF(explained); i++) {
                unsigned pcr = explained[i];

                if (!(measured->present & (UINT32_C(1) << pcr)))
                        continue;
                append(buffer, &length, "%sPCR%u (%s)", length > 0 ? "\n" : "", pcr, pcr_covers(pcr));
                if (!expected || !(expected->present & (UINT32_C(1) << pcr))) {
                        append(buffer, &length, "\n  measured ");
                        append_value(buffer, &length, measured, pcr);
                } else if (!(differing & (UINT32_C(1) << pcr))) {
                        append(buffer, &length, " is as expected\n  measured ");
                        append_value(buffer, &length, measured, pcr);
                } else {
                        append(buffer, &length, " DIFFERS\n  measured ");
                        append_value(buffer, &length, measured, pcr);
                        append(buffer, &length, "\n  expected ");
                        append_value(buffer, &length, expected, pcr);
                }
        }
        if (pcr_shows_drivers(measured)) {
                append(buffer, &length,
                       "%sPCR2 (%s) SHOWS third-party drivers in the firmware, which a key's policy refuses unless it was made with --allow-drivers\n  measured ",
                       length > 0 ? "\n" : "", pcr_covers(2));
                append_value(buffer, &length, measured, 2);
        }
        return buffer;
}

void explain_lock(const PcrSet *measured, unsigned lock_pcr, Error *error) {
        Error denied = *error;

        if (error->failure != FAILURE_DENIED || lock_pcr == 0 ||
            !(measured->present & (UINT32_C(1) << lock_pcr)) ||
            !pcr_is_locked(measured->value[lock_pcr], NULL))
                return;
        (void) error_set(
                        error, -EPERM, FAILURE_LOCKED,
                        "The secret is locked until the next boot: unseald has locked PCR%u in this boot already (LockPcr=). KMS denies access: %.400s",
                        lock_pcr, denied.text);
        memcpy(error->code, denied.code, sizeof(denied.code));
        memcpy(error->request_id, denied.request_id, sizeof(denied.request_id));
}
