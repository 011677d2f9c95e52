/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * systemd's manner of configuration (systemd.syntax(7)): NAME in the vendor's and the local directory (the local one
 * hides the vendor's), then NAME.d/ *.conf of both, sorted by file name together (a local drop-in hides the vendor's of
 * the same name; one that is empty or a link to /dev/null masks it). Later assignments win; of keys that take a list,
 * assignments add up and an empty one resets. Each value knows the file and line that it came from.
 *
 * Stricter than systemd where a slip would go unnoticed: a line that is no assignment, an assignment before the first
 * section, a control character and text that is not UTF-8 are errors.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/remarks.h"

#define INI_FILE_MAX (64U * 1024U)

typedef struct IniAssignment {
        char *section, *key, *value; /* value: without white space around it; may be empty */
        char *file;
        unsigned line; /* of a continued line: its first */
} IniAssignment;

typedef struct IniFile {
        IniAssignment *assignments; /* in the order in which they are to be applied */
        size_t count;
        char *file; /* the path of NAME itself; NULL where it is not there, is empty or a link to /dev/null */
} IniFile;

/* How assignments to a key go together. */
typedef enum IniKeyKind {
        INI_KEY_UNKNOWN, /* passed over when it is read, and here */
        INI_KEY_VALUE,   /* the last assignment counts */
        INI_KEY_LIST,    /* those after the last empty one add up */
} IniKeyKind;

typedef IniKeyKind (*IniKeyKindOf)(const char *section, const char *key);

IniFile *ini_free(IniFile *ini);
DEFINE_CLEANUP(IniFile *, ini_free);
#define _cleanup_ini_ _cleanup_(ini_freep)

/* NULL-terminated. */
IniFile **ini_files_free(IniFile **files);
DEFINE_CLEANUP(IniFile **, ini_files_free);

/* NULL-terminated lists of strings. */
char **strings_free(char **strings);
DEFINE_CLEANUP(char **, strings_free);
#define _cleanup_strings_ _cleanup_(strings_freep)

size_t strings_count(char *const *strings) _pure_;

/* Appends; takes string, which is freed on failure and may be NULL, which is -ENOMEM. */
int strings_take(char ***strings, char *string);

/* name: "unseald.conf" or "secrets.d/db.secret". Success also where there is nothing to read. FAILURE_CONFIGURATION
 * with file and line where a line cannot be read. */
int ini_read(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret,
             Error *error);

/* Whether a line may have it: UTF-8 without control characters other than tabs. */
bool ini_is_text(const char *text, size_t size) _pure_;

/* The same, but a mistake goes to remarks, and what can be read is. remarks NULL: ini_read(). */
int ini_examine(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret,
                Remarks *remarks, Error *error);

/* Pure: the last assignment to this key. NULL: there is none. */
const IniAssignment *ini_find(const IniFile *ini, const char *section, const char *key) _pure_;

/* Pure: appends to *ini what a file of this name holds. */
int ini_parse(const char *file, const char *data, size_t size, IniFile *ini, Error *error);

/* The names in subdirectory of both directories that end in suffix, each once, sorted; hidden files are passed over. */
int ini_list(const char *vendor_directory, const char *local_directory, const char *subdirectory,
             const char *suffix, char ***ret, Error *error);

/* What is wrong with an assignment, as "FILE:LINE: KEY=: …", FAILURE_CONFIGURATION. Returns -EINVAL. */
int ini_error(const IniAssignment *assignment, Error *error, const char *format, ...) _printf_(3, 4);

/* The same for a person to read and no reason to stop: to remarks, or to the journal where that is NULL. */
int ini_warning(const IniAssignment *assignment, Remarks *remarks, Error *error, const char *format, ...)
                _printf_(4, 5);

/* yes, true, on, y, t, 1, no, false, off, n, f, 0; any case. */
int ini_boolean(const IniAssignment *assignment, bool *ret, Error *error);

/* The words of the value, apart by white space; one that is quoted ("…" or '…', without escapes) may hold some.
 * None for an empty value. */
int ini_words(const IniAssignment *assignment, char ***ret, Error *error);
