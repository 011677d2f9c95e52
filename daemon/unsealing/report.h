/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What people are told of an unsealing: the journal, STATUS=, status.json. */

#include <stdbool.h>

#include "tpm/pcr.h"
#include "unsealing/explain.h"
#include "unsealing/status-file.h"
#include "unsealing/step.h"

#define REPORT_STEPS_MAX 8

typedef struct Report {
        const char *status_path; /* NULL: no status.json, and nothing of a state that lasts */
        bool reload;             /* what was published before stays so, whatever becomes of it */
        StatusStep steps[REPORT_STEPS_MAX];
        size_t steps_count;
        char waiting[sizeof(((Error *) NULL)->text)]; /* what for; empty: for nothing that has failed */
        char explanation[EXPLANATION_MAX + 256];      /* of a denial */
} Report;

void report_step_done(Report *report, const Step *step);

/* A step, of a secret or NULL, has failed and is tried again after the delay. */
void report_step_postponed(Report *report, const Step *step, const char *secret, uint64_t delay);

void report_status(const Report *report, const char *state, const char *text, const Error *error,
                   const StatusSecret *secrets, size_t count);

/* KMS denies: what this boot measured beside what was expected, NULL where that is not known. */
void report_explain_denial(Report *report, const char *role, const PcrSet *measured, const PcrSet *expected);

/* The last entry. secret: whose failure it is, NULL: that of what all need. */
void report_failure(const Report *report, const char *message_id, const char *secret, unsigned attempts,
                    const Error *error);
