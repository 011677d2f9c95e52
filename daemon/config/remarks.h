/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is wrong with a configuration, all of it. Who reads one and is given a place for remarks goes on after a mistake;
 * who is given none, NULL, ends with the first. */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef struct Remark {
        bool mistake; /* else a warning */
        char *text;   /* "FILE:LINE: …", a sentence or two */
} Remark;

typedef struct Remarks {
        Remark *items; /* in the order in which they were found */
        size_t count;
} Remarks;

void remarks_clear(Remarks *remarks);

/* -ENOMEM. */
int remarks_add(Remarks *remarks, bool mistake, const char *text);

/* What *error says of r < 0, as a mistake: 0, and reading can go on. r where remarks is NULL, where r is no failure, and
 * where it is none of the configuration's. */
int remarks_take(Remarks *remarks, int r, Error *error);

size_t remarks_mistakes(const Remarks *remarks) _pure_;
