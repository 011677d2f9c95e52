/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds the units that load credentials from unseald, and the credentials that they would not get. It reads the LoadCredential= lines
 * of unit files and drop-ins (systemd.exec(5)) with a path below /run/unseald. It does not see what only the service manager knows:
 * units that generators make, and lines that a later drop-in resets.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "config/declaration.h"
#include "config/ini.h"

/* One LoadCredential= with a path of unseald, or one SetCredential=. */
typedef struct Consumer {
        char *unit, *id;
        char *path; /* NULL for SetCredential= */
        char *file;
        unsigned line;
} Consumer;

typedef struct Consumers {
        Consumer *items; /* sorted by unit */
        size_t count;
} Consumers;

void consumers_clear(Consumers *consumers);

/* Adds the consumers in one file of a unit. Pure. -ENOMEM. */
int consumers_take(Consumers *consumers, const char *unit, const IniFile *file);

/* Reads all unit files of the directories, a NULL-terminated list with the highest priority first. Skips missing directories, files
 * that a file of the same name in an earlier directory hides, links that are other names of a unit, and files that cannot be read or
 * parsed. The caller clears *ret. -ENOMEM. */
int consumers_read(const char *const *directories, Consumers *ret);

/* The directories in which the service manager looks for units (systemd.unit(5), "Unit File Load Path"), highest priority first. */
extern const char *const consumers_directories[];

/* Returns whether the consumer loads from the credential socket. Pure. */
bool consumer_asks_socket(const Consumer *consumer) _pure_;

typedef enum ConsumerMistake {
        CONSUMER_FINE,
        CONSUMER_UNDECLARED, /* no secret of this name is declared */
        CONSUMER_REFUSED,    /* Units= of the secret does not name the unit */
        CONSUMER_NOT_STORED, /* Store=no, and the unit reads from the store */
        CONSUMER_NOWHERE,    /* a path below /run/unseald that unseald never creates */
        CONSUMER_FALLBACK,   /* SetCredential= of the same ID silently replaces a missing secret */
} ConsumerMistake;

/* Returns the first mistake of a consumer, or CONSUMER_FINE. Pure. */
ConsumerMistake consumer_mistake(const Consumers *consumers, const Consumer *consumer,
                                 const Declarations *declarations) _pure_;

/* Returns what is wrong and what to do, for people. Never NULL. */
const char *consumer_mistake_meaning(ConsumerMistake mistake) _pure_;
