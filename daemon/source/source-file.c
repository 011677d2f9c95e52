/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "aws/kms-key.h"
#include "basic/io.h"
#include "source/message-header.h"
#include "source/source-file.h"

static int make_path(const Source *source, char **ret, Error *error) {
        const char *directory = "";

        if (source->kind == SOURCE_CREDENTIAL) {
                directory = getenv("CREDENTIALS_DIRECTORY");
                if (!directory)
                        return error_set(
                                        error, -ENOENT, FAILURE_SOURCE,
                                        "%s: The service manager passed no credentials. Add a LoadCredential= line for it to unseald.service.",
                                        source->label);
        }
        return asprintf(ret, "%s%s%s", directory, *directory ? "/" : "", source->location) < 0
                               ? error_oom(error)
                               : 0;
}

static int explain_read(int r, const Source *source, Error *error) {
        if (r == -ENOMEM)
                return error_oom(error);
        return error_set(error, r, FAILURE_SOURCE, "%s: The %s cannot be read: %s.", source->label,
                         source_content(source), r == -ENXIO ? "it is not a regular file" : strerror(-r));
}

int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_free_ char *path = NULL;
        size_t size;
        int r;

        r = make_path(source, &path, error);
        if (r < 0)
                return r;
        r = read_file(path, source_carrier_max(maximum), &data, &size);
        if (r == -EFBIG)
                return source_too_long(source, maximum, error);
        if (r < 0)
                return explain_read(r, source, error);
        return source_take(source, data, size, maximum, ret, ret_size, error);
}

static int label_path(const char *directory, const Source *source, char **ret, Error *error) {
        return asprintf(ret, "%s/%s", directory, source->location) < 0 ? error_oom(error) : 0;
}

int source_read_label(const Source *source, const SourceLabelPlaces *places, uint8_t **ret, size_t *ret_size,
                      Error *error) {
        const char *const directories[] = { places->sealed, places->labels };
        int r = -ENOENT;

        for (size_t i = 0; i < ELEMENTSOF(directories) && r == -ENOENT; i++) {
                _cleanup_free_ char *path = NULL;

                if (!directories[i])
                        continue;
                r = label_path(directories[i], source, &path, error);
                if (r < 0)
                        return r;
                r = read_file(path, KMS_CIPHERTEXT_MAX, ret, ret_size);
        }
        if (r == -ENOENT)
                return error_set_remedy(
                                error, -ENOENT, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                "%s: The label of the volume has not been read yet: there is no %s/%s. See unseald-volume-label@%s.service for the reason; it needs the device of the volume.",
                                source->label, places->labels, source->location, source->location);
        if (r < 0)
                return explain_read(r, source, error);
        if (*ret_size > 0)
                return 0;
        free(*ret);
        return 1;
}

int source_write_sealed(const Source *source, const char *directory, const uint8_t *ciphertext, size_t size,
                        Error *error) {
        _cleanup_free_ char *path = NULL;
        int r = label_path(directory, source, &path, error);

        if (r < 0)
                return r;
        r = mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : 0;
        /* The service has a umask that leaves others nothing. */
        if (r == 0)
                r = chmod(directory, 0755) < 0 ? -errno : 0;
        if (r == 0)
                r = write_file_atomic(path, ciphertext, size, 0644);
        return r < 0 ? error_set(error, r, FAILURE_STORE,
                                 "%s: The ciphertext of the volume's key cannot be written to %s: %s.",
                                 source->label, path, strerror(-r))
                     : 0;
}

/* Reads the beginning of a regular file. Like read_file(), it blocks on no other kind of file. */
static int read_beginning(const char *path, uint8_t **ret, size_t *ret_size, struct stat *ret_st,
                          int *ret_fd) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        _cleanup_free_ uint8_t *data = NULL;
        ssize_t n;

        if (fd < 0 || fstat(fd, ret_st) < 0)
                return -errno;
        data = S_ISREG(ret_st->st_mode) ? malloc(MESSAGE_HEADER_MAX) : NULL;
        if (!data)
                return S_ISREG(ret_st->st_mode) ? -ENOMEM : -ENXIO;
        n = read_up_to(fd, data, MESSAGE_HEADER_MAX);
        if (n < 0)
                return (int) n;
        *ret = TAKE_PTR(data);
        *ret_size = (size_t) n;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int source_open_large(const Source *source, uint64_t whole_max, uint8_t **ret, size_t *ret_size,
                      uint64_t *ret_message_size, int *ret_fd, Error *error) {
        _cleanup_free_ char *path = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;
        size_t size = 0;
        int r = make_path(source, &path, error);

        if (r < 0)
                return r;
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t) st.st_size <= whole_max)
                return 0;
        r = read_beginning(path, &data, &size, &st, &fd);
        if (r < 0)
                return explain_read(r, source, error);
        if (!message_is_likely(data, size) || (uint64_t) st.st_size <= whole_max)
                return 0;
        *ret = TAKE_PTR(data);
        *ret_size = size;
        *ret_message_size = (uint64_t) st.st_size;
        *ret_fd = TAKE_FD(fd);
        return 1;
}
