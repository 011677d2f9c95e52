/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/io.h"
#include "source/source-file.h"

int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_free_ char *path = NULL;
        const char *directory = "";
        size_t size;
        int r;

        if (source->kind == SOURCE_CREDENTIAL) {
                directory = getenv("CREDENTIALS_DIRECTORY");
                if (!directory)
                        return error_set(
                                        error, -ENOENT, FAILURE_SOURCE,
                                        "%s: The service manager passed no credentials. Add a LoadCredential= line for it to unseald.service.",
                                        source->label);
        }
        if (asprintf(&path, "%s%s%s", directory, *directory ? "/" : "", source->location) < 0)
                return error_oom(error);

        r = read_file(path, source_carrier_max(maximum), &data, &size);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r == -EFBIG)
                return source_too_long(source, maximum, error);
        if (r < 0)
                return error_set(error, r, FAILURE_SOURCE, "%s: The %s cannot be read: %s.", source->label,
                                 source_content(source), strerror(-r));
        return source_take(source, data, size, maximum, ret, ret_size, error);
}
