/* SPDX-License-Identifier: Apache-2.0 */

/* Makes a report from a status file. It is JSON again, and has nothing of the file that is not documented. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "basic/json.h"
#include "unsealing/failure-report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ struct json_object *report = NULL;
        _cleanup_free_ char *text = NULL;

        if (failure_report_make((const char *) data, size, &text) < 0)
                return 0;
        assert(json_parse(text, strlen(text), &report) >= 0);
        assert(json_object_is_type(json_member(report, "secrets"), json_type_array));
        assert(!json_member(report, "key_id") && !json_member(report, "source") &&
               !json_member(report, "steps"));
        return 0;
}
