/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The status file, /run/unseald/status.json, which `unsealctl status` reads, also when the daemon has ended. Everybody may
 * read it. It has no plaintext, no key and no token. unseald-status.json(5) documents its members, and tests/check-status
 * compares files with that page.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "config/declaration.h"
#include "vault/callers.h"
#include "vault/manifest.h"

/* What is awaited. */
typedef struct StatusWaiting {
        char what[192];      /* for people: "KMS in eu-north-1"; empty: nothing is awaited */
        const char *step;    /* that is not done, as in the journal's UNSEALD_STATE= */
        const char *secret;  /* whose step it is; NULL: all secrets need the step */
        uint64_t since_usec; /* CLOCK_MONOTONIC: when the first attempt began */
        uint64_t next_usec; /* CLOCK_MONOTONIC: when the next attempt begins; 0: as soon as the step can begin */
        unsigned attempts;  /* that have begun; 0: the step waits for something else */
        const Error *error; /* of the last attempt; FAILURE_NONE: none has failed */
} StatusWaiting;

/* Of a bundle. places: the members that are kept, sorted by name; NULL: not kept yet, or not kept at all. */
typedef struct StatusMembers {
        const Declaration *members;
        size_t count;
        const ManifestMember *places;
        size_t places_count;
} StatusMembers;

typedef struct StatusSecret {
        const char *name, *state, *source, *key_id;
        const char *kms_region; /* where the last request to KMS has ended; NULL: none has */
        char *const *units;     /* Units=, NULL-terminated; NULL: any unit */
        bool optional, late;
        uint64_t bytes_since_usec; /* CLOCK_MONOTONIC: when the first of these was asked for; 0: none comes */
        uint64_t bytes, bytes_total; /* of the plaintext of a late message: written, and in all; 0: none, or not known */
        StatusMembers members; /* of a bundle */
        StatusWaiting waiting;
        const char *policy;      /* the result of the probe: "gates", "open", "unknown"; NULL: not probed */
        const uint64_t *version; /* that the vendor has signed (SignedBy=); NULL: none, or not known */
        unsigned measured_pcr;   /* MeasurePcr=, once its sealed secret is measured; 0: not yet, or none */
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
        const char *state;   /* "unsealing", "unsealed", "failed", "stopped" */
        uint64_t since_usec; /* since 1970: when it entered the state; 0: now */
        const char *text;
        StatusWaiting waiting;
        const Caller *callers; /* units that wait at the credential socket */
        size_t callers_count;
        const Error *error;      /* why it failed; may be NULL */
        const char *message_id;  /* of the journal's entry for the error; may be NULL */
        const char *explanation; /* lines of text that explain the error; may be NULL */
        const StatusSecret *secrets;
        size_t secrets_count;
        const StatusStep *steps;
        size_t steps_count;
} Status;

/* The same moment on both clocks, in microseconds: since 1970, and CLOCK_MONOTONIC. */
typedef struct StatusNow {
        uint64_t realtime, monotonic;
} StatusNow;

/* Formats the status as JSON. The caller frees *ret. -ENOMEM. */
int status_to_json(const Status *status, const StatusNow *now, char **ret);

/* Replaces the file with the status of now; its mode is 0644. If that fails, the file is removed: an old status would be
 * untrue. */
int status_write(const char *path, const Status *status);

/* What Refresh= has done and will do. */
typedef struct StatusRefresh {
        uint64_t interval_usec; /* Refresh= */
        uint64_t next_usec;     /* CLOCK_MONOTONIC: when the next refresh begins */
        uint64_t last_usec;     /* CLOCK_MONOTONIC: when the last one has ended; 0: there was none */
        const char *last;       /* "unchanged", "reloaded" or "failed"; NULL: there was none */
        const Error *error;     /* why it failed; FAILURE_NONE: it has not */
} StatusRefresh;

/* Pure. Puts the refresh into the text of a status file. The caller frees *ret. -EBADMSG: the text is no status file. -ENOMEM. */
int status_add_refresh(const char *status, size_t size, const StatusRefresh *refresh, const StatusNow *now,
                       char **ret);

/* Puts the refresh into the file. If that fails, the file stays as it is: all else that it says is still true. */
int status_set_refresh(const char *path, const StatusRefresh *refresh);

/* unseald has stopped, and its secrets are removed: the file says "stopped". A file with the state "failed" stays as it is,
 * because people still need it. Does nothing if there is no file. */
int status_set_stopped(const char *path);
