/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the service manager and people are told: STATUS= and READY=1 by sd_notify(3), and /run/unseald/status.json, which
 * `unsealctl status` reads, also when the daemon has ended. No plaintext, no key, no token.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

typedef struct StatusSecret {
        const char *name, *state, *source, *key_id;
        const char *policy; /* VerifyPolicy=: "gates", "open" or "unknown"; NULL: not asked */
        const Error *error; /* failure NONE: none */
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
        const char *explanation; /* more on that, lines of text; may be NULL */
        const StatusSecret *secrets;
        size_t secrets_count;
        const StatusStep *steps;
        size_t steps_count;
} Status;

/* As JSON; the caller frees. */
int status_to_json(const Status *status, uint64_t now_realtime, char **ret);

int status_write(const char *path, const Status *status);

/* Removes it, unless it tells of a failure: that stays, for whoever looks why. 0 also where there is none. */
int status_withdraw(const char *path);
