/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "basic/error.h"
#include "unsealctl/check/finding.h"

#define DECLARATION ".secret"

static void copy(char *buffer, size_t size, const char *text) {
        (void) snprintf(buffer, size, "%s", text ?: "");
}

int finding_add(Remarks *remarks, Severity severity, const char *id, const char *cure, const Place *place,
                const char *format, ...) {
        char text[640], line[16] = "", key[64] = "";
        va_list arguments;
        Remark *remark;
        Error error;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        if (place->line > 0)
                (void) snprintf(line, sizeof(line), ":%u", place->line);
        if (place->key)
                (void) snprintf(key, sizeof(key), "%s=: ", place->key);
        /* error_set() replaces control characters: a name in an image may have some. */
        (void) error_set(&error, -EINVAL, FAILURE_CONFIGURATION, "%s%s: %s%s", place->file, line, key, text);
        for (size_t i = 0; i < remarks->count; i++)
                if (strcmp(remarks->items[i].text, error.text) == 0)
                        return 0;
        if (remarks_add(remarks, severity == SEVERITY_MISTAKE, error.text) < 0)
                return -ENOMEM;
        remark = &remarks->items[remarks->count - 1];
        remark->advice = severity == SEVERITY_ADVICE;
        remark->id = id;
        remark->cure = cure;
        copy(remark->unit, sizeof(remark->unit), place->unit);
        copy(remark->secret, sizeof(remark->secret), place->secret);
        return 0;
}

const char *remark_severity(const Remark *remark) {
        return remark->mistake ? "mistake" : remark->advice ? "advice" : "warning";
}

const char *remark_id(const Remark *remark) {
        if (remark->id)
                return remark->id;
        return remark->mistake ? "setting-invalid" : "setting-doubtful";
}

size_t remark_place(const char *text, unsigned *ret_line, const char **ret_text) {
        const char *colon = text;

        while ((colon = strchr(colon, ':'))) {
                size_t digits = strspn(colon + 1, "0123456789");

                if (strncmp(colon, ": ", 2) == 0 ||
                    (digits > 0 && digits <= 9 && strncmp(colon + 1 + digits, ": ", 2) == 0))
                        break;
                colon++;
        }
        *ret_line = 0;
        *ret_text = text;
        if (!colon || text[0] != '/')
                return 0;
        for (*ret_text = colon + 1; **ret_text != ' '; (*ret_text)++)
                if (**ret_text != ':')
                        *ret_line = *ret_line * 10 + (unsigned) (**ret_text - '0');
        (*ret_text)++;
        return (size_t) (colon - text);
}

void remark_secret(const Remark *remark, char *ret, size_t size) {
        const char *path = remark->text, *end, *name, *suffix;
        unsigned line;

        (void) snprintf(ret, size, "%s", remark->secret);
        if (ret[0] != '\0')
                return;
        end = path + remark_place(path, &line, &suffix);
        for (suffix = path; (suffix = strstr(suffix, DECLARATION)) && suffix < end; suffix++) {
                const char *next = suffix + strlen(DECLARATION);

                if (next != end && strncmp(next, ".d/", 3) != 0)
                        continue;
                for (name = suffix; name > path && name[-1] != '/';)
                        name--;
                (void) snprintf(ret, size, "%.*s", (int) (suffix - name), name);
                return;
        }
}
