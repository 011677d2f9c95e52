/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "basic/encoding.h"
#include "basic/io.h"
#include "sealed/source.h"

void source_clear(Source *source) {
        free(source->location);
        *source = (Source){};
}

bool source_path_is_plain(const char *path) {
        size_t length;

        if (path[0] != '/' || strlen(path) >= PATH_MAX)
                return false;

        while (*path == '/') {
                path++;
                length = strcspn(path, "/");
                if (length == 0 || (length == 1 && path[0] == '.') ||
                    (length == 2 && memcmp(path, "..", 2) == 0))
                        return false;
                path += length;
        }
        return true;
}

int source_parse(const char *text, Source *ret, Error *error) {
        static const char scheme[] = "file:";
        char *location;

        if (strncmp(text, scheme, strlen(scheme)) != 0)
                return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                 "Expected file:/absolute/path, the only kind of source that this version "
                                 "has, not \"%s\".",
                                 text);
        text += strlen(scheme);
        if (!source_path_is_plain(text))
                return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                 "Expected an absolute path without \"//\", \".\" and \"..\" after file:, "
                                 "not \"%s\".",
                                 text);

        location = strdup(text);
        if (!location)
                return error_oom(error);
        *ret = (Source){ .kind = SOURCE_FILE, .location = location };
        return 0;
}

static bool is_text(const uint8_t *data, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (data[i] >= 0x7f || (data[i] < 0x20 && (data[i] == 0 || !strchr("\t\r\n", data[i]))))
                        return false;
        return true;
}

int source_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *raw = NULL;
        size_t raw_size = size;
        int r;

        if (is_text(data, size)) {
                r = base64_decode_lines((const char *) data, size, &raw, &raw_size);
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0)
                        return error_set(error, -EBADMSG, FAILURE_SOURCE,
                                         "The sealed secret is text, but not base64.");
                if (raw_size == 0)
                        return error_set(error, -ENODATA, FAILURE_SOURCE, "The sealed secret is empty.");
        } else {
                raw = malloc(size);
                if (!raw)
                        return error_oom(error);
                memcpy(raw, data, size);
        }

        *ret = TAKE_PTR(raw);
        *ret_size = raw_size;
        return 0;
}

int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *data = NULL, *raw = NULL;
        size_t size, raw_size;
        Error reason;
        int r;

        /* Base64 is a third longer, and its lines have ends. */
        r = read_file(source->location, maximum < SIZE_MAX / 2 ? maximum * 2 : maximum, &data, &size);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 && r != -EFBIG)
                return error_set(error, r, FAILURE_SOURCE, "%s: The sealed secret cannot be read: %s.",
                                 source->location, strerror(-r));
        if (r == 0) {
                r = source_decode(data, size, &raw, &raw_size, &reason);
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0)
                        return error_set(error, r, FAILURE_SOURCE, "%s: %s", source->location, reason.text);
        }
        if (r == -EFBIG || raw_size > maximum)
                return error_set(error, -EFBIG, FAILURE_SOURCE,
                                 "%s: The sealed secret is longer than %zu bytes, the most that KMS "
                                 "decrypts.",
                                 source->location, maximum);

        *ret = TAKE_PTR(raw);
        *ret_size = raw_size;
        return 0;
}
