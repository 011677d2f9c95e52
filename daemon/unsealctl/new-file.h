/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A file that takes its name only when it is complete. Until then it has none, and the kernel removes it when the process ends. Where
 * the file system has no such files (O_TMPFILE, open(2)), or /proc is missing, it is called ".unseald-XXXXXX" until then, and a signal
 * that ends the process leaves it.
 */

#include <stdbool.h>

typedef struct NewFile {
        int fd;          /* for reading and writing; -1: there is none */
        char *temporary; /* what the file is called until it is complete; NULL: it has no name */
} NewFile;

/* path: what the file will be called. Returns 0 or a negative errno. The caller calls new_file_done() in either case. */
int new_file_open(const char *path, NewFile *ret);

/* Writes the file to the disk and gives it its name, and the mode 0644. replace: it may replace a file; otherwise -EEXIST. */
int new_file_commit(NewFile *file, const char *path, bool replace);

/* Removes a file that has not got its name. */
void new_file_done(NewFile *file);
