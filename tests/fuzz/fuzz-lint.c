/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <string.h>

#include "unsealctl/policy/lint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The size of the input chooses the options, so that the whole input is the policy and stays readable. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const declared[] = { "arn:aws:iam::111111111111:role/admin", NULL };
        static const PcrSet image = { .present = 1U << 4 | 1U << 12, .value = { [4] = { 0xA4 } } };
        const LintOptions options = {
                .images = &image,
                .n_images = size & 1,
                .expectation = { .secure_boot = size & 2 },
                .administrators = size & 4 ? declared : NULL,
                .recovery_principals = size & 8 ? declared : NULL,
        };
        LintReport *report = NULL;
        size_t n;

        if (lint_policy((const char *) data, size, &options, &report) < 0)
                return 0;
        n = lint_count(report, LINT_NOTE) + lint_count(report, LINT_WARNING) +
            lint_count(report, LINT_ERROR);
        assert(n == report->n_findings);
        for (size_t i = 0; i < report->n_findings; i++)
                assert(strlen(report->findings[i].meaning) > 0 &&
                       strlen(lint_code_advice(report->findings[i].code)) > 0);
        lint_report_free(report);
        return 0;
}
