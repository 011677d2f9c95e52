/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The key management service (AWS KMS API Reference): symmetric keys of many accounts, in memory only. There is
 * one Region, and another one for replicas.
 *
 * kms.c reads requests, verifies signatures and writes errors; kms_authorize.c decides; kms_keys.c holds the
 * keys; kms_crypto.c, kms_manage.c and kms_life.c are the operations. Thread-safe.
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
        const char *other_region; /* for replicas of multi-Region keys */
        Accounts *accounts;
        Attestor *attestor;
        Faults *faults;
        Trail *trail;
        const Seed *seed; /* the keys are derived from it */
} KmsOptions;

int platform_kms_new(const KmsOptions *options, Kms **ret);
Kms *platform_kms_free(Kms *kms);
DEFINE_CLEANUP(Kms *, platform_kms_free);

void platform_kms_handle(Exchange *exchange, void *userdata);

/* Sets the number of requests a second above which the service answers ThrottlingException; 0: no limit. */
void platform_kms_set_rate(Kms *kms, unsigned rate);

/* Lets all requests come through this VPC endpoint (aws:SourceVpce). Empty: through the Internet. */
void platform_kms_set_vpc_endpoint(Kms *kms, const char *endpoint);
