/* SPDX-License-Identifier: Apache-2.0 */

/* The read-write volumes in the output of "unsealctl status". */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/io.h"
#include "basic/json.h"
#include "build-config.h"
#include "config/volumes.h"
#include "unsealctl/ctl.h"
#include "unsealctl/status/status.h"
#include "unsealctl/status/volume-state.h"
#include "unsealctl/unit-properties.h"
#include "volume/label.h"

#define ENVIRONMENT_MAX 8192U

static struct json_object *look_at(const char *name) {
        _cleanup_free_ char *unit = NULL, *path = NULL, *properties = NULL, *file = NULL;
        struct json_object *object = made(json_object_new_object());
        _cleanup_free_ uint8_t *data = NULL;
        VolumeState state;
        size_t size = 0;

        if (asprintf(&unit, "unseald-volume@%s.service", name) < 0 ||
            asprintf(&path, VOLUME_RUNTIME_DIR "/%s.env", name) < 0)
                unit_tree_out_of_memory();
        properties = unit_properties(unit);
        if (read_file(path, ENVIRONMENT_MAX, &data, &size) >= 0)
                file = strndup((const char *) data, size);
        volume_state(properties, file, &state);
        add_string(object, "name", name);
        add_string(object, "state", state.state);
        if (state.counter[0])
                add(object, "counter", made(json_object_new_uint64(strtoull(state.counter, NULL, 10))));
        if (state.device[0])
                add_string(object, "device", state.device);
        if (state.text[0])
                add_string(object, "text", state.text);
        return object;
}

struct json_object *status_volumes(void) {
        _cleanup_(volumes_clear) Volumes volumes = {};
        _cleanup_(remarks_clear) Remarks remarks = {};
        struct json_object *array = NULL;
        Error error = {};

        /* A mistake in one file does not hide the other volumes. "unsealctl check" reports it. */
        if (volumes_examine(UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR, &volumes, &remarks,
                            &error) < 0)
                return NULL;
        for (size_t i = 0; i < volumes.count; i++) {
                if (!volumes.items[i].writable)
                        continue;
                array = array ?: made(json_object_new_array());
                if (json_object_array_add(array, look_at(volumes.items[i].name)) < 0)
                        unit_tree_out_of_memory();
        }
        return array;
}

void status_print_volumes(struct json_object *volumes) {
        size_t count = volumes ? json_object_array_length(volumes) : 0;
        int width = 6;

        for (size_t i = 0; i < count; i++) {
                struct json_object *volume = json_object_array_get_idx(volumes, i);
                int length = json_object_get_string_len(json_member(volume, "name"));

                width = length > width ? length : width;
        }
        if (count > 0)
                printf("\n%-*s  %-10s  %-7s  %s\n", width, "VOLUME", "STATE", "COUNTER", "DEVICE");
        for (size_t i = 0; i < count; i++) {
                struct json_object *volume = json_object_array_get_idx(volumes, i),
                                   *counter = json_member(volume, "counter");
                const char *text = json_member_string(volume, "text");

                printf("%-*s  %-10s  %-7s  %s\n", width, json_member_string(volume, "name"),
                       json_member_string(volume, "state"), counter ? json_object_get_string(counter) : "-",
                       json_member_string(volume, "device") ?: "-");
                if (text)
                        printf("  %s\n", text);
        }
}
