/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/slice.h"
#include "config/declaration.h"
#include "source/message-header.h"
#include "source/source.h"
#include "tpm/secret-events.h"
#include "unsealctl/ctl.h"
#include "unsealctl/measure/measured-secrets.h"

/* Of a file that is no message, or is one in base64. A message itself may have any size, since only its header counts. */
#define WHOLE_MAX source_carrier_max(64U * 1024U * 1024U)

int measured_secrets_set_pcr(MeasuredSecrets *secrets, const char *text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);

        if (*end || strspn(text, "0123456789") != strlen(text) || n >= PCR_COUNT ||
            !pcr_is_free((unsigned) n))
                return usage_error("--measure-pcr= takes 8, 13, 14 or 15, not \"%s\".", text);
        secrets->pcr = (unsigned) n;
        return 0;
}

int measured_secrets_add(MeasuredSecrets *secrets, char *argument) {
        char *equals = strchr(argument, '=');

        if (!equals || equals[1] == '\0')
                return usage_error(
                                "--secret= takes NAME=SEALED, the name of a secret and the file that it is sealed in, not \"%s\".",
                                argument);
        *equals = '\0';
        if (!declaration_name_is_valid(argument))
                return usage_error(
                                "--secret=: \"%s\" is no name of a secret: 1 to 64 letters, digits, \"-\", \"_\" and \".\".",
                                argument);
        if (secrets->pcr == 0 && !secrets->any_pcr)
                return usage_error(
                                "--secret=%s=… needs the PCR before it: --measure-pcr=, as MeasurePcr= of the declaration.",
                                argument);
        for (size_t i = 0; i < secrets->count; i++)
                if (strcmp(secrets->items[i].name, argument) == 0)
                        return usage_error("--secret=%s=… was given twice.", argument);
        if (secrets->count >= LIMIT_SECRETS)
                return usage_error("measure takes up to %u secrets.", LIMIT_SECRETS);
        secrets->items[secrets->count++] =
                        (MeasuredSecret){ .name = argument, .path = equals + 1, .pcr = secrets->pcr };
        return 0;
}

/* The beginning of a large message is enough. Returns how many bytes were read; 0: the file must be read as a whole. */
static size_t read_header(const char *path, uint8_t buffer[static MESSAGE_HEADER_MAX]) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        ssize_t n;

        /* To open a pipe and close it again would take its writer away. */
        if (strcmp(path, "-") == 0 || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        n = fd < 0 ? -1 : read(fd, buffer, MESSAGE_HEADER_MAX);
        return n > 0 && message_is_likely(buffer, (size_t) n) ? (size_t) n : 0;
}

static int malformed_secret(const MeasuredSecret *secret, int malformed, const Error *error) {
        (void) failure("%s: %s", secret->path, error->text);
        return malformed;
}

/* sealed: a ciphertext, or a message from its begin. */
static int digest(MeasuredSecret *secret, int malformed, Slice sealed) {
        const MessageHeaderOptions any = { .allow_uncommitted = true };
        MessageHeader header;
        size_t needed;
        Error error = {};
        int r;

        if (message_is_likely(sealed.data, sealed.size)) {
                r = message_header_parse(sealed.data, sealed.size, &any, &header, &needed, &error);
                if (r == -EAGAIN)
                        (void) error_set(&error, r, FAILURE_CIPHERTEXT,
                                         "The header of the message is not complete. Copy it again.");
                if (r < 0)
                        return malformed_secret(secret, malformed, &error);
                sealed.size = header.size;
        }
        r = secret_event_sealed(sealed.data, sealed.size, secret->sealed);
        return r < 0 ? failure("OpenSSL cannot hash %s.", secret->path) : 0;
}

static int read_secret(MeasuredSecret *secret, int malformed) {
        _cleanup_free_ uint8_t *buffer = malloc(MESSAGE_HEADER_MAX), *text = NULL, *sealed = NULL;
        size_t size;
        Error error = {};
        int r;

        if (!buffer)
                return failure("Out of memory.");
        size = read_header(secret->path, buffer);
        if (size > 0)
                return digest(secret, malformed, (Slice){ buffer, size });
        r = read_argument(secret->path, WHOLE_MAX, &text, &size);
        if (r != 0)
                return r;
        if (source_decode(text, size, &sealed, &size, &error) < 0)
                return malformed_secret(secret, malformed, &error);
        return digest(secret, malformed, (Slice){ sealed, size });
}

static int compare_names(const void *a, const void *b) {
        return strcmp(((const MeasuredSecret *) a)->name, ((const MeasuredSecret *) b)->name);
}

int measured_secrets_read(MeasuredSecrets *secrets, int malformed) {
        int r = 0;

        qsort(secrets->items, secrets->count, sizeof(*secrets->items), compare_names);
        for (size_t i = 0; i < secrets->count && r == 0; i++)
                r = read_secret(secrets->items + i, malformed);
        return r;
}

int measured_secrets_extend(const MeasuredSecrets *secrets, PcrSet *ret) {
        for (size_t i = 0; i < secrets->count; i++) {
                const MeasuredSecret *secret = secrets->items + i;
                uint8_t event[PCR_SIZE];

                ret->present |= UINT32_C(1) << secret->pcr;
                if (secret_event_digest(secret->name, secret->sealed, event) < 0 ||
                    pcr_extend(ret->value[secret->pcr], event) < 0)
                        return failure("OpenSSL cannot hash %s.", secret->path);
        }
        return 0;
}
