/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "config/declared-members.h"
#include "config/settings.h"
#include "unsealctl/check/in-force.h"

static bool is_of(const IniAssignment *assignment, const char *section, const char *key) {
        return strcmp(assignment->section, section) == 0 && (!key || strcmp(assignment->key, key) == 0);
}

/* Returns whether no later assignment overrides or resets this one. */
static bool is_in_force(const IniFile *ini, size_t at, IniKeyKind kind) {
        const IniAssignment *assignment = ini->assignments + at;

        if (kind == INI_KEY_UNKNOWN)
                return false;
        for (size_t i = at + 1; i < ini->count; i++)
                if (is_of(ini->assignments + i, assignment->section, assignment->key) &&
                    (kind == INI_KEY_VALUE || ini->assignments[i].value[0] == '\0' ||
                     assignment->value[0] == '\0'))
                        return false;
        return true;
}

static void print_section(FILE *out, const IniFile *ini, const char *section, IniKeyKindOf kind_of) {
        bool begun = false;

        for (size_t i = 0; i < ini->count; i++) {
                const IniAssignment *assignment = ini->assignments + i;

                if (!is_of(assignment, section, NULL) ||
                    !is_in_force(ini, i, kind_of(assignment->section, assignment->key)))
                        continue;
                if (!begun)
                        fprintf(out, "[%s]\n", section);
                begun = true;
                fprintf(out, "# %s:%u\n%s=%s\n", assignment->file, assignment->line, assignment->key,
                        assignment->value);
        }
        if (begun)
                fputc('\n', out);
}

static bool has_lines(const IniFile *ini, const char *section, IniKeyKindOf kind_of) {
        for (size_t i = 0; i < ini->count; i++)
                if (is_of(ini->assignments + i, section, NULL) &&
                    is_in_force(ini, i, kind_of(section, ini->assignments[i].key)))
                        return true;
        return false;
}

/* A section [Member NAME] counts without a line in it, too. */
static void print_empty_members(FILE *out, const IniFile *ini, IniKeyKindOf kind_of) {
        for (size_t i = 0; i < ini->sections_count; i++) {
                const IniSection *section = ini->sections + i;
                size_t first = 0;

                while (strcmp(ini->sections[first].name, section->name) != 0)
                        first++;
                if (first == i && declared_member_of(section->name) &&
                    !has_lines(ini, section->name, kind_of))
                        fprintf(out, "# %s:%u\n[%s]\n\n", section->file, section->line, section->name);
        }
}

void configuration_print_file(FILE *out, const IniFile *ini, IniKeyKindOf kind_of) {
        for (size_t i = 0; i < ini->count; i++) {
                const char *section = ini->assignments[i].section;
                size_t first = 0;

                while (!is_of(ini->assignments + first, section, NULL))
                        first++;
                if (first == i)
                        print_section(out, ini, section, kind_of);
        }
        print_empty_members(out, ini, kind_of);
}

static int print_file(FILE *out, const char *vendor_directory, const char *local_directory, const char *name,
                      IniKeyKindOf kind_of, Error *error) {
        _cleanup_ini_ IniFile *ini = NULL;
        int r;

        r = ini_read(vendor_directory, local_directory, name, &ini, error);
        if (r < 0)
                return r;
        fprintf(out, "# %s\n", name);
        configuration_print_file(out, ini, kind_of);
        return 0;
}

int configuration_print(FILE *out, const char *vendor_directory, const char *local_directory,
                        const Declarations *declarations, const Volumes *volumes, Error *error) {
        int r;

        r = print_file(out, vendor_directory, local_directory, "unseald.conf", settings_key_kind, error);
        for (size_t i = 0; r >= 0 && i < declarations->count; i++) {
                _cleanup_free_ char *name = NULL;

                if (asprintf(&name, "secrets.d/%s.secret", declarations->items[i].name) < 0)
                        return error_oom(error);
                r = print_file(out, vendor_directory, local_directory, name, declaration_key_kind, error);
        }
        for (size_t i = 0; r >= 0 && i < volumes->count; i++) {
                _cleanup_free_ char *name = NULL;

                if (asprintf(&name, "volumes.d/%s.volume", volumes->items[i].name) < 0)
                        return error_oom(error);
                r = print_file(out, vendor_directory, local_directory, name, volume_key_kind, error);
        }
        return r;
}
