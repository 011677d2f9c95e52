/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The key management service (AWS KMS API Reference): symmetric keys of many accounts in one region, in memory only.
 * kms.c takes requests apart, verifies who signed them and names what went wrong; platform_kms_authorize.c decides; kms_keys.c
 * holds the keys; kms_crypto.c and kms_manage.c are the operations. Thread-safe.
 */

#include "accounts.h"
#include "attestor.h"
#include "basic/cleanup.h"
#include "exchange.h"
#include "faults.h"
#include "seed.h"
#include "trail.h"

typedef struct Kms Kms;

typedef struct KmsOptions {
        const char *region;
        Accounts *accounts;
        Attestor *attestor;
        Faults *faults;
        Trail *trail;
        const Seed *seed; /* of the keys that are created */
} KmsOptions;

int platform_kms_new(const KmsOptions *options, Kms **ret);
Kms *platform_kms_free(Kms *kms);
DEFINE_CLEANUP(Kms *, platform_kms_free);

void platform_kms_handle(Exchange *exchange, void *userdata);

/* Requests per second above which ThrottlingException is the answer; 0: no limit. */
void platform_kms_set_rate(Kms *kms, unsigned rate);

/* As if requests came through this VPC endpoint (aws:SourceVpce); empty: through the Internet. */
void platform_kms_set_vpc_endpoint(Kms *kms, const char *endpoint);
