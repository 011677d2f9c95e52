/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds the lines of units that take a secret from unseald, or look as if they should (systemd.exec(5)), and says what is wrong with
 * each. It does not see what only the service manager knows: units that generators make, and most specifiers.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "unsealctl/check/unit-tree.h"

typedef enum ConsumerWay {
        CONSUMER_LOAD,        /* LoadCredential=ID:PATH with a path below /run/unseald */
        CONSUMER_RELATIVE,    /* LoadCredential= or LoadCredentialEncrypted= without an absolute path */
        CONSUMER_ENCRYPTED,   /* LoadCredentialEncrypted=ID:PATH with a path below /run/unseald */
        CONSUMER_SET,         /* SetCredential= */
        CONSUMER_IMPORT,      /* ImportCredential= of an ID or pattern */
        CONSUMER_ENVIRONMENT, /* EnvironmentFile= in the store */
        CONSUMER_DIRECT,      /* a command or variable that names a file of the store */
} ConsumerWay;

typedef struct Consumer {
        char *unit;
        char *id;   /* of the credential; empty for the last two ways */
        char *path; /* the file or socket; NULL for SetCredential= and ImportCredential= */
        char *key, *file;
        unsigned line;
        ConsumerWay way;
        bool as_root; /* the command runs as root whatever User= says ("+") */
} Consumer;

typedef struct Consumers {
        Consumer *items; /* in the order of the units' names */
        size_t count;
} Consumers;

void consumers_clear(Consumers *consumers);

/* Adds the consumers in the lines of one unit. An empty assignment removes the ones before it, as in systemd. Pure. -ENOMEM. */
int consumers_take(Consumers *consumers, const char *unit, const IniFile *lines);

/* Adds the consumers of all units that are neither masked nor aliases. The caller clears *ret. Pure. -ENOMEM. */
int consumers_of(const UnitTree *tree, Consumers *ret);

/* Returns whether the consumer loads from the credential socket. Pure. */
bool consumer_asks_socket(const Consumer *consumer) _pure_;

/* Returns whether the consumer reads a file of the store, which must be there when the unit starts. Pure. */
bool consumer_reads_store(const Consumer *consumer) _pure_;

/* The name of the secret that the consumer takes. NULL: it is not known, or takes all of them. Borrowed from the consumer. Pure. */
const char *consumer_secret(const Consumer *consumer) _pure_;

typedef enum ConsumerMistake {
        CONSUMER_FINE,
        CONSUMER_UNDECLARED,    /* no secret of this name is declared */
        CONSUMER_WHOLE_BUNDLE,  /* a bundle in place of one of its members */
        CONSUMER_REFUSED,       /* Units= of the secret does not name the unit */
        CONSUMER_NOT_STORED,    /* Store=no, and the unit reads from the store */
        CONSUMER_NOWHERE,       /* a path below /run/unseald that unseald never creates */
        CONSUMER_FALLBACK,      /* SetCredential= of the same ID silently replaces a missing secret */
        CONSUMER_NOT_ABSOLUTE,  /* a declared secret's name without an absolute path */
        CONSUMER_NOT_ENCRYPTED, /* LoadCredentialEncrypted= of what unseald has already decrypted */
        CONSUMER_NOT_IMPORTED,  /* ImportCredential= of a secret's name, and nothing loads it */
} ConsumerMistake;

/* Returns the first mistake of a consumer, or CONSUMER_FINE. Pure. */
ConsumerMistake consumer_mistake(const Consumers *consumers, const Consumer *consumer,
                                 const Declarations *declarations) _pure_;

/* Returns what is wrong and what to do, for people. Never NULL. */
const char *consumer_mistake_meaning(ConsumerMistake mistake) _pure_;

/* The stable name of the mistake in --json, such as "credential-undeclared". Never NULL. */
const char *consumer_mistake_id(ConsumerMistake mistake) _pure_;

/* What to do, for --json. Never NULL. */
const char *consumer_mistake_cure(ConsumerMistake mistake) _pure_;
