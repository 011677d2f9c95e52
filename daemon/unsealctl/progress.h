/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How far a long verb is: one line on standard error, written over itself, and only if that is a terminal. */

#include <stdbool.h>
#include <stdint.h>

typedef struct Progress {
        bool on;
        const char *done; /* what has happened to the bytes: "sealed" */
        uint64_t total;   /* bytes; 0: not known */
        uint64_t next;    /* bytes at which the line is written again */
} Progress;

Progress progress_begin(const char *done, uint64_t total);

/* bytes: so many have been done since the begin. */
void progress_show(Progress *progress, uint64_t bytes);

/* Removes the line. */
void progress_end(const Progress *progress);
