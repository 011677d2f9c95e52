/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Units that ask unseald for credentials, and what they ask for that they will not get: LoadCredential= lines of unit
 * files and their drop-ins (systemd.exec(5)) that lead to /run/unseald. What only the service manager knows is not
 * looked at: units that generators make, lines that a later drop-in takes back.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "config/declaration.h"
#include "config/ini.h"

/* One LoadCredential= that leads to unseald, or a SetCredential=. */
typedef struct Consumer {
        char *unit, *id;
        char *path; /* NULL: of a SetCredential= */
        char *file;
        unsigned line;
} Consumer;

typedef struct Consumers {
        Consumer *items; /* sorted by unit */
        size_t count;
} Consumers;

void consumers_clear(Consumers *consumers);

/* Pure: adds those of a unit's file. -ENOMEM. */
int consumers_take(Consumers *consumers, const char *unit, const IniFile *file);

/* All that the directories have, NULL-terminated, of which those that are not there are passed over, as are files that
 * one of the same name in an earlier directory hides, links that are other names of a unit, and what cannot be read. */
int consumers_read(const char *const *directories, Consumers *ret);

/* Where the service manager looks for units, the first first. */
extern const char *const consumers_directories[];

/* Pure. Whether it is the credential socket that it loads from. */
bool consumer_asks_socket(const Consumer *consumer) _pure_;

typedef enum ConsumerMistake {
        CONSUMER_FINE,
        CONSUMER_UNDECLARED, /* no secret of this name */
        CONSUMER_REFUSED,    /* Units= of the secret does not name the unit */
        CONSUMER_NOT_STORED, /* Store=no, and the unit reads from the store */
        CONSUMER_NOWHERE,    /* a path below /run/unseald that unseald never makes */
        CONSUMER_FALLBACK, /* SetCredential= of the same ID takes the place of a secret that is not there */
} ConsumerMistake;

/* Pure. */
ConsumerMistake consumer_mistake(const Consumers *consumers, const Consumer *consumer,
                                 const Declarations *declarations) _pure_;

/* What is wrong and what to do, as two sentences. Never NULL. */
const char *consumer_mistake_meaning(ConsumerMistake mistake) _pure_;
