/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The services that hold ciphertext: S3 (GetObject), Systems Manager's Parameter Store (GetParameter),
 * Secrets Manager (GetSecretValue), and a file server that checks no signature. Each has its own host names;
 * all share one address. The control socket puts the items there, and they belong to the instance's account.
 *
 * carriers.c reads requests, verifies signatures and authorizes; carriers_operations.c answers. Thread-safe.
 */

#include "accounts.h"
#include "basic/cleanup.h"
#include "exchange.h"
#include "faults.h"
#include "trail.h"

#define CARRIERS_FILES_HOST "downloads.example.com"
#define CARRIERS_VERSION_SIZE 33

typedef struct Carriers Carriers;

typedef struct CarriersOptions {
        const char *region;
        const char *account;
        Accounts *accounts;
        Faults *faults;
        Trail *trail;
} CarriersOptions;

int carriers_new(const CarriersOptions *options, Carriers **ret);
Carriers *carriers_free(Carriers *carriers);
DEFINE_CLEANUP(Carriers *, carriers_free);

void carriers_handle(Exchange *exchange, void *userdata);

typedef struct CarriedItem {
        Service service;
        char *container; /* the bucket; empty for the other services */
        char *name;
        char *type; /* parameter: "String", …; secret: "string" or "binary"; file: "file" or "redirect" */
        char version[CARRIERS_VERSION_SIZE];
        int64_t modified; /* seconds since 1970 */
        char etag[48];    /* with its quotation marks, as S3 makes it: of the MD5 */
        uint8_t *data;    /* a found item borrows them: what was put stays until the end */
        size_t size;
} CarriedItem;

/* Adds a version of the item, which becomes the current one. Copies the item. */
int carriers_put(Carriers *carriers, const CarriedItem *item,
                 char ret_version[static CARRIERS_VERSION_SIZE]);
