/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Configuration files in systemd's manner (systemd.syntax(7)). NAME is read from the local directory, or else from the
 * vendor's. The drop-ins NAME.d/ *.conf of both directories follow, sorted by file name. A local drop-in hides the vendor's
 * of the same name; an empty file or a link to /dev/null masks it. Later assignments win. Assignments to a list add up, and
 * an empty one resets it. Each value knows its file and line.
 *
 * This reader is stricter than systemd in four cases, in which a mistake would go unnoticed: a line that is no assignment,
 * an assignment before the first section, a control character, and text that is not UTF-8 are errors.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/remarks.h"

/* The sections of a bundle with a thousand members are longer than any other file. */
#define INI_FILE_MAX (256U * 1024U)

typedef struct IniAssignment {
        char *section, *key, *value; /* value: without white space around it; may be empty */
        char *file;
        unsigned line; /* the first, if the line is continued */
} IniAssignment;

/* A section's first line, with or without assignments below it. */
typedef struct IniSection {
        char *name, *file;
        unsigned line;
} IniSection;

typedef struct IniFile {
        IniAssignment *assignments; /* in the order in which they apply */
        size_t count;
        IniSection *sections; /* in the same order; one of several files, or of several places, is there more than once */
        size_t sections_count;
        char *file; /* the path of NAME itself; NULL if it does not exist, is empty or a link to /dev/null */
} IniFile;

/* How several assignments to a key combine. */
typedef enum IniKeyKind {
        INI_KEY_UNKNOWN, /* the assignment is ignored */
        INI_KEY_VALUE,   /* the last assignment counts */
        INI_KEY_LIST,    /* the assignments after the last empty one add up */
} IniKeyKind;

typedef IniKeyKind (*IniKeyKindOf)(const char *section, const char *key);

IniFile *ini_free(IniFile *ini);
DEFINE_CLEANUP(IniFile *, ini_free);
#define _cleanup_ini_ _cleanup_(ini_freep)

/* files: NULL-terminated. */
IniFile **ini_files_free(IniFile **files);
DEFINE_CLEANUP(IniFile **, ini_files_free);

/* Lists of strings are NULL-terminated. NULL is an empty list. */
char **strings_free(char **strings);
DEFINE_CLEANUP(char **, strings_free);
#define _cleanup_strings_ _cleanup_(strings_freep)

size_t strings_count(char *const *strings) _pure_;

/* Appends string and owns it from then on, also on failure. If string is NULL, the result is -ENOMEM. */
int strings_take(char ***strings, char *string);

/* name: "unseald.conf" or "secrets.d/db.secret". If there is no such file, the result is empty. FAILURE_CONFIGURATION with
 * file and line: a line cannot be read. The caller calls ini_free(). */
int ini_read(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret,
             Error *error);

/* Returns whether the text may stand in a line: UTF-8 without control characters other than tabs. */
bool ini_is_text(const char *text, size_t size) _pure_;

/* As ini_read(), but it goes on after a mistake, which goes to remarks. With remarks NULL it is ini_read(). */
int ini_examine(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret,
                Remarks *remarks, Error *error);

/* Finds the last assignment to this key. NULL: there is none. Pure. */
const IniAssignment *ini_find(const IniFile *ini, const char *section, const char *key) _pure_;

/* Appends the assignments in data to *ini. file: its name, for messages. Pure. */
int ini_parse(const char *file, const char *data, size_t size, IniFile *ini, Error *error);

/* As ini_parse(), for a unit file: lines that cannot be read are ignored, as the service manager ignores them. Pure. -ENOMEM. */
int ini_parse_leniently(const char *file, const char *data, size_t size, IniFile *ini);

/* Moves the assignments of *from to the end of *ini, and not its sections. Pure. -ENOMEM. */
int ini_append(IniFile *ini, IniFile *from);

/* Lists the names in subdirectory of both directories that end in suffix: each once, sorted, without hidden files. */
int ini_list(const char *vendor_directory, const char *local_directory, const char *subdirectory,
             const char *suffix, char ***ret, Error *error);

/* Sets the error "FILE:LINE: KEY=: …" with FAILURE_CONFIGURATION. Returns -EINVAL. */
int ini_error(const IniAssignment *assignment, Error *error, const char *format, ...) _printf_(3, 4);

/* The same for a section, with "[NAME]" in place of the key. */
int ini_section_error(const IniSection *section, Error *error, const char *format, ...) _printf_(3, 4);

/* The text of ini_error() as a warning, which goes to remarks, or to the journal if remarks is NULL. Returns 0 or -ENOMEM. */
int ini_warning(const IniAssignment *assignment, Remarks *remarks, Error *error, const char *format, ...)
                _printf_(4, 5);

/* A setting that a reader knows. */
typedef struct IniName {
        const char *section, *key;
} IniName;

/* Returns the i-th known setting; behind the last one, {}. */
typedef IniName (*IniNameAt)(size_t i);

/* Warns of a setting that the reader does not know, and names the one that is probably meant. page: where all of them are. Returns 0 or
 * -ENOMEM. */
int ini_unknown(const IniAssignment *assignment, IniNameAt name_at, const char *page, Remarks *remarks,
                Error *error);

/* Accepts yes, true, on, y, t, 1, no, false, off, n, f, 0 in any case. */
int ini_boolean(const IniAssignment *assignment, bool *ret, Error *error);

/* Accepts the PCRs that no other program owns and nobody can reset: 8, 13, 14 and 15. An empty value is 0. */
int ini_free_pcr(const IniAssignment *assignment, unsigned *ret, Error *error);

/* Splits the value into words at white space. A word in quotes ("…" or '…', without escapes) may contain white space. An
 * empty value has no words. The caller calls strings_free(). */
int ini_words(const IniAssignment *assignment, char ***ret, Error *error);
