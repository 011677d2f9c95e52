/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "unsealctl/unit-properties.h"

#define TEXT_MAX (64U * 1024U)

DEFINE_CLEANUP(FILE *, pclose);

char *unit_properties(const char *unit) {
        _cleanup_(pclosep) FILE *pipe = NULL;
        _cleanup_free_ char *command = NULL;
        uint8_t *text;
        size_t size;

        if (access("/run/systemd/system", F_OK) < 0 ||
            asprintf(&command, "exec systemctl show --no-pager%s%s%s 2>/dev/null", *unit ? " '" : "", unit,
                     *unit ? "'" : "") < 0)
                return NULL;
        pipe = popen(command, "re");
        if (!pipe || read_fd(fileno(pipe), TEXT_MAX, &text, &size) < 0)
                return NULL;
        if (size == 0) {
                free(text);
                return NULL;
        }
        return (char *) text;
}

const char *unit_property(const char *properties, const char *name, char *buffer, size_t size) {
        size_t length = strlen(name);

        buffer[0] = '\0';
        for (const char *line = properties; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, name, length) != 0 || line[length] != '=')
                        continue;
                (void) snprintf(buffer, size, "%.*s", (int) strcspn(line + length + 1, "\n"),
                                line + length + 1);
                break;
        }
        return buffer;
}
