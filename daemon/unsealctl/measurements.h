/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* --measurements= of the verbs: files with the measurements of images, which are alternatives of one another. */

#include <stddef.h>

#include "tpm/expectation.h"

typedef struct MeasurementFiles {
        const char **paths; /* borrowed strings */
        PcrSet *sets;       /* of each path; NULL until they are loaded */
        size_t n;
} MeasurementFiles;

/* Both return 0, or the exit status after the message is printed. */
int measurement_files_add(MeasurementFiles *files, const char *path);
int measurement_files_load(MeasurementFiles *files);

void measurement_files_done(MeasurementFiles *files);
