/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options that 'unsealctl check' and 'unsealctl cat-config' share: which system they read. */

#include <stdbool.h>

typedef struct CheckOptions {
        const char *root;           /* --root=; NULL: this system */
        const char *vendor, *local; /* the directories of the configuration, inside the root */
        bool json;                  /* --json, which only check has */
} CheckOptions;

/* Reads the command line and enters --root=. takes_json: the verb has --json. Returns true if the verb goes on. Otherwise *ret_status is the exit status, and
 * the help or the reason is printed. The strings are those of argv. */
bool check_options_parse(int argc, char *argv[], const char *verb, bool takes_json, void (*print_help)(void),
                         CheckOptions *ret, int *ret_status);
