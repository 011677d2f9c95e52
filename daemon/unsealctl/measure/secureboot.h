/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Parses the variables of Secure Boot, which are EFI signature lists (UEFI 2.10, 32.4.1), and finds the entry of db
 * that lets firmware start an image. The rules are those of EDK II: the dates of certificates do not count, dbx wins
 * over db, and firmware measures the first entry of db that verifies. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "unsealctl/measure/efi.h"

/* The variables as in firmware and in .esl files. size 0: the variable is not set. Borrowed. Secure Boot is on if PK is
 * set. */
typedef struct SecureBootVariables {
        Slice pk, kek, db, dbx;
} SecureBootVariables;

typedef enum SignatureKind {
        SIGNATURE_X509,
        SIGNATURE_SHA256, /* the Authenticode hash of an image */
        SIGNATURE_OTHER,
} SignatureKind;

#define SIGNATURE_OWNER_SIZE 16

typedef struct Signature {
        SignatureKind kind;
        Slice data; /* EFI_SIGNATURE_DATA: GUID of the owner, then certificate or hash */
} Signature;

typedef struct SignatureDatabase {
        Signature *signatures; /* in their order; they point into the parsed bytes */
        size_t count;
} SignatureDatabase;

/* An empty text is an empty database. FAILURE_CONFIGURATION, -EBADMSG: the text of the error has the offset. */
int signature_database_parse(const uint8_t *data, size_t size, SignatureDatabase *ret, Error *error);
void signature_database_done(SignatureDatabase *database);
#define _cleanup_signatures_ _cleanup_(signature_database_done)

/* Finds the index in db of the entry that authorises the image. FAILURE_CONFIGURATION: -EKEYREJECTED: no entry does, or
 * dbx forbids it;
 * -EBADMSG: the certificate table of the image is malformed. */
int secureboot_authorise(const EfiImage *image, const SignatureDatabase *db, const SignatureDatabase *dbx,
                         size_t *ret_index, Error *error);
