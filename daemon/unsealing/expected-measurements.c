/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "basic/io.h"
#include "basic/json.h"
#include "basic/log.h"
#include "unsealing/expected-measurements.h"

static const char scheme[] = "user-data:";

static void parse(const ExpectedMeasurements *search, const char *text, size_t size) {
        PcrSet expected;
        Error error;

        if (pcr_measurements_parse(text, size, &expected, &error) < 0) {
                log_warning("ExpectedMeasurements=%s: %s", search->setting, error.text);
                search->found(NULL, search->userdata);
        } else
                search->found(&expected, search->userdata);
}

static void on_user_data(int r, const char *data, size_t size, const Error *error, void *userdata) {
        const ExpectedMeasurements *search = userdata;
        _cleanup_json_ struct json_object *document = NULL;
        const char *pointer = search->setting + strlen(scheme), *text = NULL;
        struct json_object *value;

        if (r < 0)
                log_warning("ExpectedMeasurements=: the user data cannot be read: %s",
                            r == -ENOENT ? "this instance has none." : error->text);
        else if (json_parse(data, size, &document) < 0)
                log_warning("ExpectedMeasurements=: the user data is not JSON.");
        else if (!(value = json_pointer(document, pointer)))
                log_warning("ExpectedMeasurements=: the user data has no '%s'.", pointer);
        else
                text = json_object_to_json_string(value);
        if (text)
                parse(search, text, strlen(text));
        else
                search->found(NULL, search->userdata);
}

static void read_measurements_file(const ExpectedMeasurements *search) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        r = read_file(search->setting, PCR_MEASUREMENTS_SIZE_MAX, &data, &size);
        if (r < 0) {
                log_warning("ExpectedMeasurements=%s: %s", search->setting, strerror(-r));
                search->found(NULL, search->userdata);
                return;
        }
        parse(search, (const char *) data, size);
}

void expected_measurements_find(ExpectedMeasurements *search, Instance *instance) {
        if (!search->setting)
                search->found(NULL, search->userdata);
        else if (strncmp(search->setting, scheme, strlen(scheme)) != 0)
                read_measurements_file(search);
        else if (instance_read_user_data(instance, on_user_data, search) < 0)
                search->found(NULL, search->userdata);
}
