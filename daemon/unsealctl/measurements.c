/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>

#include "unsealctl/ctl.h"
#include "unsealctl/measurements.h"

int measurement_files_add(MeasurementFiles *files, const char *path) {
        const char **paths = reallocarray(files->paths, files->n + 1, sizeof(*paths));

        if (!paths)
                return failure("Out of memory.");
        files->paths = paths;
        paths[files->n++] = path;
        return 0;
}

int measurement_files_load(MeasurementFiles *files) {
        files->sets = calloc(files->n + 1, sizeof(*files->sets));
        if (!files->sets)
                return failure("Out of memory.");
        for (size_t i = 0; i < files->n; i++) {
                _cleanup_free_ uint8_t *text = NULL;
                Error error = {};
                size_t size;
                int r;

                r = read_argument(files->paths[i], PCR_MEASUREMENTS_SIZE_MAX, &text, &size);
                if (r != 0)
                        return r;
                if (pcr_measurements_parse((const char *) text, size, &files->sets[i], &error) < 0)
                        return failure("%s: %s", files->paths[i], error.text);
        }
        return 0;
}

void measurement_files_done(MeasurementFiles *files) {
        free(files->paths);
        free(files->sets);
        *files = (MeasurementFiles){};
}
