/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One finding of unsealctl check: a remark with a stable ID, its place, and what to do. */

#include "basic/cleanup.h"
#include "config/remarks.h"

typedef enum Severity {
        SEVERITY_ADVICE,  /* it works, and could work better */
        SEVERITY_WARNING, /* it works, but not always, or it may not be meant so */
        SEVERITY_MISTAKE, /* it fails, or the unit starts without its secret */
} Severity;

typedef struct Place {
        const char *file;
        unsigned line;             /* 0: the file as a whole */
        const char *key;           /* NULL: none */
        const char *unit, *secret; /* NULL: none */
} Place;

/* Adds "FILE:LINE: KEY=: " and the text, unless the same remark is there. id and cure are static. Pure. -ENOMEM. */
int finding_add(Remarks *remarks, Severity severity, const char *id, const char *cure, const Place *place,
                const char *format, ...) _printf_(6, 7);

/* What a remark is called in --json: "mistake", "warning" or "advice". Never NULL. */
const char *remark_severity(const Remark *remark) _pure_;

/* The stable ID. A remark of the reader of the configuration has "setting-invalid" or "setting-doubtful". Never NULL. */
const char *remark_id(const Remark *remark) _pure_;

/* Finds the place at the start of a remark's text: a path up to ":LINE: " or ": ". *ret_line is 0 where there is none. Returns the length
 * of the path, and in *ret_text what follows. Pure. */
size_t remark_place(const char *text, unsigned *ret_line, const char **ret_text);

/* Writes the secret that the remark is about: the one that it names, or that of its file, which is NAME.secret or NAME.secret.d/FILE.
 * Empty: none. Pure. */
void remark_secret(const Remark *remark, char *ret, size_t size);
