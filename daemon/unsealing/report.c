/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "unsealing/report.h"

void report_step_done(Report *report, const Step *step) {
        char duration[DURATION_STRING_MAX];
        StatusStep done = {
                .name = step->name,
                .start_usec = step->begun_usec,
                .duration_usec = now_monotonic_usec() - step->begun_usec,
        };

        report->waiting[0] = 0;
        if (report->steps_count < REPORT_STEPS_MAX)
                report->steps[report->steps_count++] = done;
        log_full(report->quiet ? LOG_DEBUG : LOG_INFO,
                 &(LogFields){ .message_id = MESSAGE_STEP,
                               .state = step->name,
                               .duration_usec = done.duration_usec,
                               .attempt = step->attempts },
                 "%s: done in %s.", step->name, format_duration(done.duration_usec, duration));
}

void report_step_postponed(Report *report, const Step *step, const char *secret, uint64_t delay) {
        const Error *error = step_error(step);
        char duration[DURATION_STRING_MAX];
        /* People read the journal: after the first attempts only every power of two is loud. */
        bool loud = (step->attempts & (step->attempts - 1)) == 0 && !report->quiet;

        (void) snprintf(report->waiting, sizeof(report->waiting), "%s", error->text);
        log_full(loud ? LOG_NOTICE : LOG_DEBUG,
                 &(LogFields){ .message_id = MESSAGE_WAITING,
                               .secret = secret,
                               .state = step->name,
                               .attempt = step->attempts,
                               .error = error },
                 "%s%s%s: attempt %u failed, next in %s: %s", step->name, secret ? " of " : "", secret ?: "",
                 step->attempts, format_duration(delay, duration), error->text);
}

static const char *made_or(const Step *step, const char *made, const char *otherwise) {
        return step->progress == STEP_DONE ? made : otherwise;
}

static unsigned phase_of(const Report *report, const ReportProgress *progress) {
        return 1U | (report->waiting[0] ? 2U : 0U) | (progress->locking_pcr > 0 ? 4U : 0U) |
               (progress->measuring ? 64U : 0U) | (progress->key_pair->progress == STEP_DONE ? 8U : 0U) |
               (progress->document->progress == STEP_DONE ? 16U : 0U) |
               (progress->credentials->progress == STEP_DONE ? 32U : 0U);
}

uint64_t report_progress(Report *report, const ReportProgress *progress, uint64_t now) {
        unsigned phase = phase_of(report, progress);

        if (report->quiet)
                return USEC_INFINITY;
        if (phase == report->phase && now < report->progress_usec + REPORT_PROGRESS_USEC)
                return report->progress_usec + REPORT_PROGRESS_USEC;
        report->phase = phase;
        report->progress_usec = now;
        if (report->waiting[0])
                notify_status("Waiting: %s", report->waiting);
        else if (progress->locking_pcr > 0)
                notify_status("All secrets are kept. PCR%u is being locked.", progress->locking_pcr);
        else if (progress->measuring)
                notify_status("All secrets are unsealed. The sealed ones are being measured.");
        else
                notify_status("Unsealing: key pair %s, document %s, credentials %s, %zu of %zu secrets.",
                              made_or(progress->key_pair, "made", "in the making"),
                              made_or(progress->document, "made", "awaited"),
                              made_or(progress->credentials, "there", "awaited"), progress->unsealed,
                              progress->secrets);
        return USEC_INFINITY;
}

void report_status(Report *report, const char *state, const char *text, const Error *error,
                   const StatusWaiting *waiting, const StatusSecret *secrets, size_t count) {
        Caller callers[CALLERS_MAX];
        int r;

        if (!report->status_path || report->quiet)
                return;
        if (!report->state || strcmp(report->state, state) != 0)
                report->since_usec = now_realtime_usec();
        report->state = state;
        report->written_usec = now_monotonic_usec();
        r = status_write(report->status_path,
                         &(Status){ .state = report->reload ? "unsealed" : state,
                                    .since_usec = report->since_usec,
                                    .text = text,
                                    .waiting = waiting ? *waiting : (StatusWaiting){},
                                    .callers = callers,
                                    .callers_count = strcmp(state, "unsealing") == 0
                                                                     ? callers_list(report->callers, callers)
                                                                     : 0,
                                    .error = error,
                                    .message_id = report->message_id,
                                    .explanation = report->explanation,
                                    .secrets = secrets,
                                    .secrets_count = count,
                                    .steps = report->steps,
                                    .steps_count = report->steps_count });
        if (r < 0 && r != report->write_error)
                log_warning("Cannot write %s: %s. The file is removed, since it would be out of date. \"unsealctl status\" asks the service manager instead.",
                            report->status_path, strerror(-r));
        report->write_error = r;
}

void report_explain_denial(Report *report, const char *role, const PcrSet *measured, const PcrSet *expected,
                           uint32_t own) {
        char measurements[EXPLANATION_MAX];
        const char *advice = "";

        (void) explain_measurements(measured, expected, own, measurements);
        if (!expected)
                advice = "\nSet ExpectedMeasurements= to see which of these values differ.";
        else if (!strstr(measurements, " DIFFERS"))
                advice = "\nNo PCR differs. Compare the expected values, the role and the encryption context with the key's policy.";
        (void) snprintf(report->explanation, sizeof(report->explanation), "This boot, role %s:\n%s%s", role,
                        measurements, advice);
}

void report_failure(Report *report, const char *message_id, const char *secret, unsigned attempts,
                    const Error *error) {
        report->message_id = message_id;
        log_full(report->quiet ? LOG_DEBUG : LOG_ERR,
                 &(LogFields){ .message_id = message_id,
                               .secret = secret,
                               .state = "failed",
                               .attempt = attempts,
                               .lines = report->explanation,
                               .error = error },
                 "%s", error->text);
}
