/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* All mistakes and warnings of a configuration. A reader that gets a Remarks goes on after a mistake. A reader that gets NULL
 * stops at the first mistake. */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef struct Remark {
        bool mistake; /* false: a warning */
        bool advice;  /* not even a warning: what works, and could work better */
        char *text;   /* "FILE:LINE: …" or "FILE: …", a sentence or two */
        const char *id, *cure; /* static texts of the finding, see unsealctl(1); NULL: of the reader of the configuration */
        char unit[256], secret[72]; /* empty: none */
} Remark;

typedef struct Remarks {
        Remark *items; /* in the order of the files and lines */
        size_t count;
} Remarks;

void remarks_clear(Remarks *remarks);

/* Adds a copy of text. 0 or -ENOMEM. */
int remarks_add(Remarks *remarks, bool mistake, const char *text);

/*
 * Turns a failure into a remark, so that the reader can go on. Returns 0 if it added the text of *error as a mistake.
 * Returns r unchanged if remarks is NULL, if r is no failure, or if the failure is FAILURE_INTERNAL.
 */
int remarks_take(Remarks *remarks, int r, Error *error);

size_t remarks_mistakes(const Remarks *remarks) _pure_;
