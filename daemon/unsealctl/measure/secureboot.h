/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Secure Boot's variables, which are EFI signature lists (UEFI 2.10, 32.4.1), and which entry of db lets firmware
 * start an image. Judges as EDK II does: a signature counts whatever its certificates' dates, dbx wins over db, and
 * the first entry of db that verifies is the one that is measured. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "unsealctl/measure/efi.h"

/* As they are in firmware, that is in .esl files; size 0: not set. Borrowed. Secure Boot is on where there is a PK. */
typedef struct SecureBootVariables {
        EfiBytes pk, kek, db, dbx;
} SecureBootVariables;

typedef enum SignatureKind {
        SIGNATURE_X509,
        SIGNATURE_SHA256, /* an image's Authenticode hash */
        SIGNATURE_OTHER,
} SignatureKind;

#define SIGNATURE_OWNER_SIZE 16

typedef struct Signature {
        SignatureKind kind;
        EfiBytes data; /* EFI_SIGNATURE_DATA: the owner's GUID, then certificate or hash */
} Signature;

typedef struct SignatureDatabase {
        Signature *signatures; /* in order; they point into what was parsed */
        size_t count;
} SignatureDatabase;

/* FAILURE_CONFIGURATION, -EBADMSG, and a text that gives the offset. No bytes are an empty database. */
int signature_database_parse(const uint8_t *data, size_t size, SignatureDatabase *ret, Error *error);
void signature_database_done(SignatureDatabase *database);
#define _cleanup_signatures_ _cleanup_(signature_database_done)

/* The index in db of what lets the image start. FAILURE_CONFIGURATION, -EKEYREJECTED: nothing does, or dbx forbids
 * it; -EBADMSG: its certificate table is malformed. */
int secureboot_authorise(const EfiImage *image, const SignatureDatabase *db, const SignatureDatabase *dbx,
                         size_t *ret_index, Error *error);
