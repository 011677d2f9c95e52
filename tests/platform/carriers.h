/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where ciphertext may lie: S3 (GetObject), Systems Manager's Parameter Store (GetParameter), Secrets Manager
 * (GetSecretValue) and a file server without any signature, each under its own name, all at one address. What lies there
 * is put there by the control socket and belongs to the instance's account. carriers.c takes requests apart, verifies who
 * signed them and decides; carriers_operations.c answers. Thread-safe.
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
        char *container; /* a bucket; empty elsewhere */
        char *name;
        char *type; /* "String" and the like of a parameter; "string" or "binary" of a secret; "file" or "redirect" */
        char version[CARRIERS_VERSION_SIZE];
        uint8_t *data;
        size_t size;
} CarriedItem;

/* One version more of that name, the current one from now on. Copies. */
int carriers_put(Carriers *carriers, const CarriedItem *item,
                 char ret_version[static CARRIERS_VERSION_SIZE]);
