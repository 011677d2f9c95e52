/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The status file, /run/unseald/status.json, which `unsealctl status` reads, also when the daemon has ended. Everybody may
 * read it. It has no plaintext, no key and no token.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

typedef struct StatusSecret {
        const char *name, *state, *source, *key_id;
        const char *policy;      /* the result of the probe: "gates", "open", "unknown"; NULL: not probed */
        const uint64_t *version; /* that the vendor has signed (SignedBy=); NULL: none, or not known */
        const Error *error;      /* of the last attempt; FAILURE_NONE: there is none */
        unsigned attempts;
        uint64_t duration_usec;
} StatusSecret;

typedef struct StatusStep {
        const char *name;
        uint64_t start_usec; /* CLOCK_MONOTONIC, as the journal's _SOURCE_MONOTONIC_TIMESTAMP= */
        uint64_t duration_usec;
} StatusStep;

typedef struct Status {
        const char *state; /* "unsealing", "unsealed", "failed" */
        const char *text;
        const Error *error;      /* why it failed; may be NULL */
        const char *explanation; /* lines of text that explain the error; may be NULL */
        const StatusSecret *secrets;
        size_t secrets_count;
        const StatusStep *steps;
        size_t steps_count;
} Status;

/* Formats the status as JSON. now_realtime: microseconds since 1970. The caller frees *ret. -ENOMEM. */
int status_to_json(const Status *status, uint64_t now_realtime, char **ret);

/* Replaces the file with the status of now; its mode is 0644. */
int status_write(const char *path, const Status *status);

/* Removes the file, unless its state is "failed": people then still need it. Returns 0 also if there is no file. */
int status_withdraw(const char *path);
