/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/limits.h"
#include "config/declared-members.h"

const char *declared_member_of(const char *section) {
        size_t length = strlen(MEMBER_SECTION);

        if (strncmp(section, MEMBER_SECTION, length) != 0)
                return NULL;
        if (section[length] == '\0')
                return section + length;
        return section[length] == ' ' ? section + length + 1 : NULL;
}

static int compare_name(const void *name, const void *member) {
        return strcmp(name, ((const Declaration *) member)->member);
}

static int compare_members(const void *a, const void *b) {
        return strcmp(((const Declaration *) a)->member, ((const Declaration *) b)->member);
}

Declaration *declared_member_find(const Declaration *bundle, const char *name) {
        return bundle->members_count > 0 ? bsearch(name, bundle->members, bundle->members_count,
                                                   sizeof(*bundle->members), compare_name)
                                         : NULL;
}

void declared_member_section(const Declaration *member, char ret[static DECLARED_SECTION_SIZE]) {
        (void) snprintf(ret, DECLARED_SECTION_SIZE, MEMBER_SECTION " %s", member->member);
}

static const IniSection *find_section(const IniFile *ini, const char *name) {
        for (const IniSection *section = ini->sections; section < ini->sections + ini->sections_count;
             section++) {
                const char *of = declared_member_of(section->name);

                if (of && strcmp(of, name) == 0)
                        return section;
        }
        return NULL;
}

/* A part of a credential's name. One that begins with a dot would look like a hidden file's, and two dots in a row like a mistake. */
bool declared_member_name_is_valid(const char *name) {
        return declaration_name_is_valid(name) && name[0] != '.';
}

static int check_name(const IniSection *section, const Declaration *declaration, const char *name,
                      Error *error) {
        size_t length = strlen(declaration->name) + 1 + strlen(name);

        if (!declared_member_name_is_valid(name))
                return ini_section_error(
                                section, error,
                                "Expected [Member NAME] with letters, digits, \"-\", \"_\" and \".\" in the name, and no dot at its beginning.");
        if (length > CREDENTIAL_NAME_MAX)
                return ini_section_error(
                                section, error,
                                "Units get the member as \"%s.%s\", which has %zu characters, and a credential's name may have %u. Shorten one of the two names.",
                                declaration->name, name, length, CREDENTIAL_NAME_MAX);
        return 0;
}

/* The array has room for it. */
static int add(Declaration *declaration, const char *name) {
        Declaration *member = declaration->members + declaration->members_count;

        *member = (Declaration){ .store = true, .mode = 0400 };
        member->file = strdup(declaration->file);
        if (asprintf(&member->name, "%s.%s", declaration->name, name) < 0)
                member->name = NULL;
        declaration->members_count++;
        if (!member->file || !member->name)
                return -ENOMEM;
        member->member = member->name + strlen(declaration->name) + 1;
        return 0;
}

static void unite(Declaration *declaration) {
        size_t left = 0;

        for (size_t i = 0; i < declaration->members_count; i++) {
                Declaration *member = declaration->members + i;

                if (left > 0 && strcmp(declaration->members[left - 1].member, member->member) == 0) {
                        free(member->name);
                        free(member->file);
                } else
                        declaration->members[left++] = *member;
        }
        declaration->members_count = left;
}

int declared_members_begin(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        declaration->members = calloc(ini->sections_count + 1, sizeof(*declaration->members));
        if (!declaration->members)
                return error_oom(error);
        for (const IniSection *section = ini->sections; section < ini->sections + ini->sections_count;
             section++) {
                const char *name = declared_member_of(section->name);
                int r;

                if (!name)
                        continue;
                r = check_name(section, declaration, name, error);
                if (r < 0)
                        r = remarks_take(remarks, r, error);
                else if (add(declaration, name) < 0)
                        r = error_oom(error);
                if (r < 0)
                        return r;
        }
        qsort(declaration->members, declaration->members_count, sizeof(*declaration->members),
              compare_members);
        unite(declaration);
        return 0;
}

/* Units=billing.service in [Deliver] would look as if it restricted all members. */
static int check_deliver(const IniFile *ini, Remarks *remarks, Error *error) {
        for (size_t i = 0; i < ini->count; i++)
                if (strcmp(ini->assignments[i].section, "Deliver") == 0)
                        return remarks_take(
                                        remarks,
                                        ini_error(&ini->assignments[i], error,
                                                  "A bundle is delivered by its members, so [Deliver] would have no effect. Move the line to the sections [Member NAME]."),
                                        error);
        return 0;
}

/* A pattern stands for instances whose names are not known. */
static int check_units(const IniFile *ini, const Declaration *member, Remarks *remarks, Error *error) {
        int r = 0;

        for (char **unit = member->units; r >= 0 && unit && *unit; unit++) {
                size_t length = strlen(*unit) + strlen(member->name);
                char section[DECLARED_SECTION_SIZE];

                if (length <= LIMIT_UNIT_AND_CREDENTIAL || strchr(*unit, '*'))
                        continue;
                declared_member_section(member, section);
                r = remarks_take(
                                remarks,
                                ini_error(ini_find(ini, section, "Units"), error,
                                          "Expected no more than %u bytes in the names of unit and credential together, not %zu: %s cannot ask the credential socket for %s. Shorten a name.",
                                          LIMIT_UNIT_AND_CREDENTIAL, length, *unit, member->name),
                                error);
        }
        return r;
}

int declared_members_complete(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        int r = 0;

        if (declaration->format != FORMAT_BUNDLE && declaration->members_count > 0)
                return remarks_take(
                                remarks,
                                ini_section_error(
                                                find_section(ini, declaration->members[0].member), error,
                                                "Only a bundle has members, and Format=bundle is missing. Set it, or remove the section."),
                                error);
        if (declaration->format != FORMAT_BUNDLE)
                return 0;
        declaration->store = false;
        r = check_deliver(ini, remarks, error);
        for (size_t i = 0; r >= 0 && i < declaration->members_count; i++)
                r = check_units(ini, declaration->members + i, remarks, error);
        if (r < 0 || declaration->members_count > 0)
                return r;
        return remarks_take(
                        remarks,
                        error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                  "%s: Format=bundle delivers only members that are declared, and none is. Add a section [Member NAME] for each.",
                                  declaration->file),
                        error);
}

static int compare_credentials(const void *a, const void *b) {
        return strcmp((*(const Declaration *const *) a)->name, (*(const Declaration *const *) b)->name);
}

/* The section of the member, of which there is one. */
static const IniSection *section_of(const Declarations *declarations, IniFile *const *files,
                                    const Declaration *member) {
        const Declaration *bundle = declarations_bundle_of(declarations, member);

        return find_section(files[bundle - declarations->items], member->member);
}

static int check_twice(const Declarations *declarations, IniFile *const *files, const Declaration *one,
                       const Declaration *other, Remarks *remarks, Error *error) {
        const Declaration *member = one->member ? one : other, *taken = one->member ? other : one;

        return remarks_take(
                        remarks,
                        ini_section_error(
                                        section_of(declarations, files, member), error,
                                        "The name of the credential, %s, is taken: %s declares it, too. Rename one of the two.",
                                        member->name, taken->file),
                        error);
}

static int check_number(size_t members, Error *error) {
        return members <= LIMIT_MEMBERS
                               ? 0
                               : error_set(error, -E2BIG, FAILURE_CONFIGURATION,
                                           "%zu members of bundles are declared in secrets.d/, and unseald takes no more than %u in all. Declare fewer.",
                                           members, LIMIT_MEMBERS);
}

int declared_names_check(const Declarations *declarations, IniFile *const *files, Remarks *remarks,
                         Error *error) {
        _cleanup_free_ const Declaration **credentials = NULL;
        const Declaration *credential;
        CredentialIterator at = {};
        size_t count = 0, members = 0;
        int r;

        for (size_t i = 0; i < declarations->count; i++)
                members += declarations->items[i].members_count;
        r = remarks_take(remarks, check_number(members, error), error);
        if (r < 0 || members == 0)
                return r;
        credentials = calloc(declarations->count + members + 1, sizeof(const Declaration *));
        if (!credentials)
                return error_oom(error);
        while ((credential = declarations_next_credential(declarations, &at)))
                credentials[count++] = credential;
        qsort(credentials, count, sizeof(const Declaration *), compare_credentials);
        for (size_t i = 1; r >= 0 && i < count; i++)
                if (strcmp(credentials[i - 1]->name, credentials[i]->name) == 0)
                        r = check_twice(declarations, files, credentials[i - 1], credentials[i], remarks,
                                        error);
        return r;
}
