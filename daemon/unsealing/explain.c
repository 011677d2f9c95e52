/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "tpm/expectation.h"
#include "unsealing/explain.h"

/* The PCRs that are always described: boot code, Secure Boot, and what came from outside the image. */
#define PCRS_EXPLAINED (UINT32_C(1) << 4 | UINT32_C(1) << 7 | UINT32_C(1) << 12)

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

/* expected: NULL: nothing is expected of the PCR. */
static void explain_pcr(char *buffer, size_t *length, unsigned pcr, const PcrSet *measured,
                        const PcrSet *expected) {
        bool differs = expected && memcmp(measured->value[pcr], expected->value[pcr], PCR_SIZE) != 0;

        append(buffer, length, "%sPCR%u (%s)%s\n  measured ", *length > 0 ? "\n" : "", pcr, pcr_covers(pcr),
               !expected ? ""
               : differs ? " DIFFERS"
                         : " is as expected");
        append_value(buffer, length, measured, pcr);
        if (differs) {
                append(buffer, length, "\n  expected ");
                append_value(buffer, length, expected, pcr);
        }
}

static void explain_drivers(char *buffer, size_t *length, const PcrSet *measured) {
        append(buffer, length,
               "%sPCR2 (%s) SHOWS third-party drivers in the firmware, which a key's policy refuses unless it was made with --allow-drivers\n  measured ",
               *length > 0 ? "\n" : "", pcr_covers(2));
        append_value(buffer, length, measured, 2);
}

static void explain_extensions(char *buffer, size_t *length, const PcrSet *measured) {
        append(buffer, length,
               "%sPCR13 (%s) SHOWS system extensions from outside the image, which a key's policy refuses unless it was made with --no-pcr13\n  measured ",
               *length > 0 ? "\n" : "", pcr_covers(13));
        append_value(buffer, length, measured, 13);
}

/* LockPcr= may lock PCR13, and explain_lock() speaks of that. MeasurePcr= may extend it, and explain_measured() speaks of that. */
static bool shows_extensions(const PcrSet *measured, uint32_t own) {
        static const uint8_t zeros[PCR_SIZE];

        return measured->present & ~own & (UINT32_C(1) << 13) &&
               memcmp(measured->value[13], zeros, PCR_SIZE) != 0 &&
               !pcr_is_locked(measured->value[13], NULL);
}

const char *explain_measurements(const PcrSet *measured, const PcrSet *measurements, uint32_t own,
                                 char buffer[static EXPLANATION_MAX]) {
        Expectation expectation = {};
        uint32_t differing;
        size_t length = 0;

        if (measurements)
                expectation_make(measurements, &(ExpectationOptions){}, &expectation);
        differing = pcr_differing(measured, &expectation.pcrs);
        buffer[0] = 0;
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
                uint32_t bit = UINT32_C(1) << pcr;

                if (measured->present & bit && (PCRS_EXPLAINED | differing) & bit)
                        explain_pcr(buffer, &length, pcr, measured,
                                    expectation.pcrs.present & bit ? &expectation.pcrs : NULL);
        }
        if (!measurements && pcr_shows_drivers(measured))
                explain_drivers(buffer, &length, measured);
        if (!measurements && shows_extensions(measured, own))
                explain_extensions(buffer, &length, measured);
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

/* "PCR8, PCR13": those of pcrs that are not zeros. */
static void list_extended(const PcrSet *measured, uint32_t pcrs, char *ret, size_t size) {
        static const uint8_t zeros[PCR_SIZE];
        size_t length = 0;

        ret[0] = 0;
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
                if (pcrs & measured->present & UINT32_C(1) << pcr &&
                    memcmp(measured->value[pcr], zeros, PCR_SIZE) != 0 && length + 8 < size)
                        length += (size_t) snprintf(ret + length, size - length, "%sPCR%u",
                                                    length > 0 ? ", " : "", pcr);
}

void explain_measured(const PcrSet *measured, uint32_t pcrs, Error *error) {
        size_t length = strlen(error->text);
        char extended[64];

        list_extended(measured, pcrs, extended, sizeof(extended));
        if (error->failure == FAILURE_DENIED && extended[0])
                (void) snprintf(error->text + length, sizeof(error->text) - length,
                                " MeasurePcr= has extended %s in this boot, and the key's policy must not pin that. Check the policy with \"unsealctl policy lint --measure-pcr=\".",
                                extended);
}
