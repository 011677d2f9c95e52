/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a session tells people: the journal, STATUS= of sd_notify(3), and status.json. */

#include <stdbool.h>

#include "basic/clock.h"
#include "tpm/pcr.h"
#include "unsealing/explain.h"
#include "unsealing/status-file.h"
#include "unsealing/step.h"
#include "vault/callers.h"

#define REPORT_STEPS_MAX 8

typedef struct Report {
        const char *status_path; /* NULL: write no status.json */
        bool reload; /* the secrets that are published already stay so: the state remains "unsealed" */
        bool quiet;  /* a refresh that has found no difference: only debug entries, no status */
        const Callers *callers; /* who waits at the credential socket until the outcome is known; NULL: that is not known */
        StatusStep steps[REPORT_STEPS_MAX];
        size_t steps_count;
        char waiting[sizeof(
                        ((Error *) NULL)->text)]; /* the last failure, while it is waited out; or empty */
        char explanation[EXPLANATION_MAX + 256];  /* of a denial; or empty */
        const char *message_id;                   /* of the failure; NULL: none */
        const char *state;                        /* that status.json says; NULL: not written yet */
        uint64_t since_usec, written_usec;        /* since 1970: of that state; CLOCK_MONOTONIC */
        int write_error;                          /* of the last attempt to write status.json; 0: none */
        unsigned phase;                           /* that STATUS= says; 0: nothing said yet */
        uint64_t progress_usec;                   /* CLOCK_MONOTONIC: when STATUS= was last sent */
} Report;

void report_step_done(Report *report, const Step *step);

/* The step has failed and is tried again after the delay, in microseconds. secret: the name of the secret whose step it is;
 * NULL if all secrets need the step. */
void report_step_postponed(Report *report, const Step *step, const char *secret, uint64_t delay);

typedef struct ReportProgress {
        const Step *key_pair, *document, *credentials;
        unsigned locking_pcr;     /* all secrets are kept, and this PCR is being locked; 0: not yet */
        bool measuring;           /* all secrets are unsealed, and the sealed ones are being measured */
        size_t unsealed, secrets; /* so many of so many */
} ReportProgress;

/*
 * Sets STATUS=: the failure that is waited out, if there is one, else the progress. Sending blocks while the service manager
 * does not read, so within one phase (a number of secrets, or the text of a failure, changes) this sends at most once in
 * REPORT_PROGRESS_USEC. Another phase is sent at once. now: CLOCK_MONOTONIC. Returns when to call again, because a text was
 * held back; USEC_INFINITY: none was.
 */
#define REPORT_PROGRESS_USEC (100 * USEC_PER_MSEC)
uint64_t report_progress(Report *report, const ReportProgress *progress, uint64_t now);

/* status.json is not written more often than this while the state stays the same. */
#define REPORT_STATUS_USEC (500 * USEC_PER_MSEC)

/* Writes status.json. A failure to write it is only logged, once for each cause. waiting: what all wait for; NULL: nothing. */
void report_status(Report *report, const char *state, const char *text, const Error *error,
                   const StatusWaiting *waiting, const StatusSecret *secrets, size_t count);

/* KMS has denied access: composes the explanation from what this boot measured and what was expected. expected: NULL if
 * that is not known. own: bit n: MeasurePcr=n. */
void report_explain_denial(Report *report, const char *role, const PcrSet *measured, const PcrSet *expected,
                           uint32_t own);

/* Writes the session's last entry to the journal, with the explanation. secret: the name of the secret that failed; NULL if
 * something failed that all secrets need. */
void report_failure(Report *report, const char *message_id, const char *secret, unsigned attempts,
                    const Error *error);
