/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an unsealing asks the instance metadata service (IMDSv2) for: the credentials of the instance's role, the instance
 * identity document, and the user data. Each is one step, and the three do not wait for one another.
 *
 * Nothing of it is trusted. A false account decrypts nothing that the key's policy does not grant to this role anyway.
 */

#include <stddef.h>
#include <systemd/sd-event.h>

#include "aws/imds.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "unsealing/step.h"

typedef struct Instance Instance;

/* IMDS has answered for this step, or could not be asked. The owner marks the step as done, postponed or given up. */
typedef void (*InstanceEnded)(Step *step, int r, const Error *error, void *userdata);

/* Reaches IMDS directly: a proxy is never used. */
int instance_new(sd_event *event, InstanceEnded ended, void *userdata, Instance **ret);
Instance *instance_free(Instance *instance);
DEFINE_CLEANUP(Instance *, instance_free);

typedef enum InstanceStep {
        INSTANCE_CREDENTIALS,
        INSTANCE_IDENTITY,
        INSTANCE_USER_DATA,
        _INSTANCE_STEPS,
} InstanceStep;

Step *instance_step(Instance *instance, InstanceStep step);

/* The results of the steps, valid once the step is done. They are borrowed and stay valid until the step runs again. */
const AwsCredentials *instance_credentials(const Instance *instance);
const char *instance_role(const Instance *instance);    /* the role's name */
const char *instance_account(const Instance *instance); /* the account's ID, twelve digits */
/* NULL: the instance has no user data. */
const char *instance_user_data(const Instance *instance, size_t *ret_size);

/* Reads the user data outside the steps. r = -ENOENT: the instance has none. */
int instance_read_user_data(Instance *instance, ImdsGetCallback callback, void *userdata);

/* Wipes the credentials. */
void instance_forget(Instance *instance);
