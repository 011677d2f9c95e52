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
        char *text;   /* "FILE:LINE: …", a sentence or two */
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
