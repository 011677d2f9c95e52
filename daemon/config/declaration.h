/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The declaration of a secret, unseald.secret(5): one file NAME.secret in secrets.d/, with drop-ins. */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/ini.h"
#include "config/settings.h"
#include "source/signature.h"
#include "source/source.h"

/* How the secret was sealed (Format=). */
typedef enum SecretFormat {
        FORMAT_KMS,     /* KMS encrypted it: at most 4096 bytes */
        FORMAT_MESSAGE, /* a message of the AWS Encryption SDK; KMS encrypted its data key */
        FORMAT_BUNDLE, /* a message whose plaintext is a JSON object with one secret a member (source/bundle.h) */
} SecretFormat;

/* The most that SizeMax= takes for a bundle, and its default: bytes of plaintext. A unit's credentials have no more in all. */
#define DECLARATION_BUNDLE_MAX (1024U * 1024U)

/* The longest name of a credential, which is that of a secret or BUNDLE.MEMBER. */
#define CREDENTIAL_NAME_MAX 64U

#define DECLARATION_PIN_SIZE 32 /* SHA-256 */

typedef struct Declaration {
        char *name; /* the file's without .secret: 1 to 64 of A-Z a-z 0-9 - _ . and not . or .. */
        char *file; /* its path, for messages */
        char *description;
        size_t generate; /* bytes of a value that KMS makes (Generate=); 0: the secret is sealed */
        /* GenerateWhen=missing: KMS makes the value once, and its ciphertext is kept in the label of the volume that source names. Without it
         * each boot has another value: then source has no location, and its label names the setting. */
        bool generate_missing;
        Source source;
        char *source_region; /* NULL: the region of the source, or of the key */
        SecretFormat format;
        /* FORMAT_KMS: bytes of raw ciphertext, by default KMS_CIPHERTEXT_MAX. Else: bytes of plaintext, of a message by default
         * LIMIT_MESSAGE_BYTES. */
        size_t size_max;
        bool size_max_is_set;              /* SizeMax= is not the default */
        bool allow_uncommitted;            /* takes messages whose suite does not commit to its key */
        bool pinned;                       /* Sha256= is set */
        uint8_t pin[DECLARATION_PIN_SIZE]; /* of the raw ciphertext, or of the message's header */
        char **key_ids;                    /* ARNs, NULL-terminated, at least one */
        char **encryption_context; /* "key=value", NULL-terminated; "unseald:secret=NAME" is always one */
        char *signed_by; /* path of the key that has signed the ciphertext; NULL: no signature is demanded */
        EVP_PKEY *signing_key; /* the public key in that file, read with the declaration; NULL without SignedBy= */
        Source signature;     /* location NULL without SignedBy= */
        uint64_t version_min; /* the smallest signed version that is taken; 0: any */
        unsigned measure_pcr; /* 8, 13, 14 or 15: the PCR that the sealed secret is measured into; 0: none */
        bool bind_account;    /* adds "unseald:account=ACCOUNT" at run time */
        bool optional;
        bool late; /* FORMAT_MESSAGE only: of a large message only the data key is there at READY=1 */
        char **units; /* NULL-terminated: the units that may ask the credential socket, or "TEMPLATE@*.KIND". Empty: all */
        bool store;         /* false of a bundle: only its members are in the store */
        char *user, *group; /* NULL: root */
        mode_t mode;        /* by default 0400 */
        /* FORMAT_BUNDLE: what is delivered, sorted by name, in place of the secret itself. Of a member only these fields count: name,
         * which is that of the credential, BUNDLE.MEMBER; file; description; optional; and units to mode. */
        struct Declaration *members;
        size_t members_count;
        const char *member; /* of a member: its name in the bundle, which is a part of name; NULL: a secret of its own */
} Declaration;

typedef struct Declarations {
        Declaration *items; /* sorted by name */
        size_t count;
} Declarations;

bool declaration_name_is_valid(const char *name) _pure_;

/* The most bytes that Generate= takes (KMS API Reference, GenerateDataKey, NumberOfBytes). */
#define DECLARATION_GENERATE_MAX 1024U

/* The fewest bytes that Generate= takes with GenerateWhen=missing: all keys of a volume are made of them. */
#define DECLARATION_GENERATE_MISSING_MIN 32U

/* Returns whether KMS makes another value in each boot, so that nothing is fetched. Pure. */
bool declaration_is_of_one_boot(const Declaration *declaration) _pure_;

/* Returns whether the sealed secret is a message of the AWS Encryption SDK: of Format=message or Format=bundle. Pure. */
bool declaration_is_message(const Declaration *declaration) _pure_;

/* Reads all *.secret in secrets.d/ of both directories, each with its drop-ins (NAME.secret.d/ *.conf). A local file hides
 * the vendor's file of the same name. FAILURE_CONFIGURATION with file, line, key and the expected value; also for more
 * than LIMIT_SECRETS secrets or LIMIT_MEMBERS members, and for two credentials of one name. */
int declarations_read(const char *vendor_directory, const char *local_directory, Declarations *ret,
                      Error *error);

/*
 * The same, but mistakes and warnings go to remarks. A declaration with mistakes is in *ret, too; its source.location and
 * key_ids may be NULL. *ret_files: the lines of each declaration, in the same order. The caller frees it with
 * ini_files_free().
 */
int declarations_examine(const char *vendor_directory, const char *local_directory, Declarations *ret,
                         IniFile ***ret_files, Remarks *remarks, Error *error);

/* NULL: there is no such declaration. */
const Declaration *declarations_find(const Declarations *declarations, const char *name) _pure_;

/* Finds what is delivered under the name of a credential: a secret that is no bundle, or a member of a bundle. Pure. */
const Declaration *declarations_find_credential(const Declarations *declarations,
                                                const char *credential) _pure_;

/* The bundle that the credential is a member of. NULL: it is none. Pure. */
const Declaration *declarations_bundle_of(const Declarations *declarations,
                                          const Declaration *member) _pure_;

/* Goes through all that is delivered: *at begins as {}. NULL: there is no more. Pure but for *at. */
typedef struct CredentialIterator {
        size_t secret, member;
} CredentialIterator;
const Declaration *declarations_next_credential(const Declarations *declarations, CredentialIterator *at);

/* Returns whether this unit may have the secret: Units= names it, has the pattern of all instances of its template, or names no unit.
 * A template itself (worker@.service) matches no pattern: it never runs. Pure. */
bool declaration_admits(const Declaration *declaration, const char *unit) _pure_;

/* Returns whether Units= names this unit, itself or by the pattern of its template. units: NULL-terminated; NULL names none. Pure. */
bool declaration_names_unit(char *const *units, const char *unit) _pure_;

/* Check a word of KeyId=, and of Units=. FAILURE_CONFIGURATION with file and line. */
int declaration_check_key_id(const IniAssignment *assignment, const char *text, Error *error);
int declaration_check_unit(const IniAssignment *assignment, const char *text, Error *error);

/* Checks what needs the settings, too: each SizeMax= of a message is at most StoreSizeMax=, since a larger message could never be
 * delivered; and no MeasurePcr= is the PCR of LockPcr=, since the value that the key's policy pins would not be that of a boot any
 * more. files: as from declarations_examine(), for the line of a mistake, or NULL. FAILURE_CONFIGURATION. */
int declarations_judge(const Declarations *declarations, const Settings *settings, IniFile *const *files,
                       Remarks *remarks, Error *error);

/* Why unseald-kms cannot run with these settings and secrets: LockPcr= is set, or a key of Keys= is that of a secret, too.
 * FAILURE_CONFIGURATION. Pure. */
int declarations_judge_kms(const Declarations *declarations, const Settings *settings, Error *error);

void declarations_clear(Declarations *declarations);

/* Reads one file from any place, without drop-ins. The caller clears *ret as the single item of Declarations. */
int declaration_read_file(const char *path, Declaration *ret, Error *error);

/* What the declaration demands of a signature. signed_by must not be NULL. Everything is borrowed. */
SignatureRule declaration_signature_rule(const Declaration *declaration);

/* The kind of a key of a declaration. */
IniKeyKind declaration_key_kind(const char *section, const char *key) _pure_;

#define DECLARATION_DIGEST_SIZE 32

/* SHA-256 over all keys that decide about the plaintext, and over the public key in the file of SignedBy=. Keys of delivery do not
 * change it, except for those of the members of a bundle. Without SignedBy= it is the digest of unseald 0.1, so that an update keeps the secrets. -ENOMEM, or -EIO if OpenSSL
 * failed. */
int declaration_digest(const Declaration *declaration, uint8_t ret[static DECLARATION_DIGEST_SIZE]);
