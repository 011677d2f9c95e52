/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The declaration of a secret: unseald.secret(5), one file NAME.secret in secrets.d/. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/ini.h"
#include "source/source.h"

typedef struct Declaration {
        char *name; /* of the file without .secret; a credential name: 1 to 64 of A-Z a-z 0-9 - _ . and not . or .. */
        char *file; /* where it was read, for messages */
        char *description;
        Source source;
        char *source_region;       /* NULL: the source's own, or the key's */
        size_t size_max;           /* of the ciphertext, raw; KMS_CIPHERTEXT_MAX */
        char **key_ids;            /* NULL-terminated, at least one */
        char **encryption_context; /* "key=value", NULL-terminated; "unseald:secret=NAME" always among them */
        bool bind_account;         /* "unseald:account=ACCOUNT" besides, which shows at run time */
        bool optional;
        char **units; /* NULL-terminated; empty: any. For the credential socket */
        bool store;
        char *user, *group; /* NULL: root */
        mode_t mode;        /* 0400 */
} Declaration;

typedef struct Declarations {
        Declaration *items; /* sorted by name */
        size_t count;
} Declarations;

bool declaration_name_is_valid(const char *name) _pure_;

/* All *.secret of both directories' secrets.d/, the local one hiding the vendor's of the same name, each with its
 * drop-ins (NAME.secret.d/ *.conf). FAILURE_CONFIGURATION with file, line, key and what was expected. */
int declarations_read(const char *vendor_directory, const char *local_directory, Declarations *ret,
                      Error *error);
/* The same, but mistakes and warnings go to remarks, and what has some is among *ret all the same: without Source= or KeyId=
 * (a location and key_ids that are NULL), perhaps. *ret_files: the lines of each, in the same order; for ini_files_free(). */
int declarations_examine(const char *vendor_directory, const char *local_directory, Declarations *ret,
                         IniFile ***ret_files, Remarks *remarks, Error *error);
/* NULL: there is none. */
const Declaration *declarations_find(const Declarations *declarations, const char *name) _pure_;

/* Whether Units= names this unit, or none. */
bool declaration_admits(const Declaration *declaration, const char *unit) _pure_;

void declarations_clear(Declarations *declarations);

/* One file, wherever it is, without drop-ins. To be cleared as an item of Declarations. */
int declaration_read_file(const char *path, Declaration *ret, Error *error);

/* What the keys of a declaration are. */
IniKeyKind declaration_key_kind(const char *section, const char *key) _pure_;

#define DECLARATION_DIGEST_SIZE 32

/* SHA-256 over all that decides which plaintext this is, and nothing of how it is delivered. */
int declaration_digest(const Declaration *declaration, uint8_t ret[static DECLARATION_DIGEST_SIZE]);
