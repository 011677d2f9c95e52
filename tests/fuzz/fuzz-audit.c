/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <string.h>

#include "basic/json.h"
#include "unsealctl/policy/audit.h"
#include "unsealctl/policy/difference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/mrk-1234abcd12ab34cd56ef1234567890ab"
#define POLICY                                                                                                                 \
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::222222222222:" \
        "role/app\"},\"Action\":\"kms:Decrypt\",\"Resource\":\"*\"}]}"

static void count_difference(void *userdata, size_t statement, const char *sid, const char *text) {
        size_t *n = userdata;

        (void) statement;
        (void) sid;
        assert(*text);
        (*n)++;
}

static void compare(const char *text, size_t size) {
        _cleanup_json_ struct json_object *live = NULL, *wanted = NULL;
        size_t n = 0;
        int r;

        if (json_parse(text, size, &live) < 0 || json_parse(POLICY, strlen(POLICY), &wanted) < 0)
                return;
        r = policy_difference(live, wanted, count_difference, &n);
        assert(r < 0 || (size_t) r == n);
        n = 0;
        assert(policy_difference(live, live, count_difference, &n) == 0 && n == 0);
}

/* Every input is taken for the answer to each operation. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(audit_report_done) AuditReport report = {};
        _cleanup_free_ char *text = strndup((const char *) data, size), *policy = NULL, *grants = NULL,
                            *aliases = NULL;
        const AuditOptions options = {};
        AuditKeys keys = { .n = 1 };
        AuditGrants together = {};

        if (!text)
                return 0;
        size = strlen(text);
        (void) strcpy(keys.arns[0], KEY);
        audit_metadata(&report, KEY, text, size, &keys);
        audit_policy(&report, KEY, text, size, &options, &policy);
        audit_grants(&report, KEY, text, size, POLICY, &options.lint, &together, &grants);
        audit_grants_together(&report, KEY, POLICY, &options.lint, &together);
        audit_grants_done(&together);
        audit_aliases(&report, KEY, text, size, &aliases);
        audit_rotation(&report, KEY, text, size);
        audit_last_usage(&report, KEY, text, size);
        compare(text, size);
        assert(keys.n >= 1 && keys.n <= AUDIT_KEYS_MAX);
        for (size_t i = 0; i < report.n_findings; i++) {
                assert(*report.findings[i].text && !strpbrk(report.findings[i].text, "\n\033"));
                assert(!report.findings[i].subject || !strpbrk(report.findings[i].subject, "\n\033"));
        }
        return 0;
}
