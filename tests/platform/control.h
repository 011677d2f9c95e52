/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The control socket of a running platform. A connection carries one JSON array of words, and {"result": …}
 * or {"error": "…"} as the answer. A word is a string, or {"base64": …} for the content of a file.
 */

#include "accounts.h"
#include "carriers.h"
#include "faults.h"
#include "imds.h"
#include "kms.h"
#include "relay.h"

typedef struct ControlTargets {
        Accounts *accounts;
        Carriers *carriers;
        Faults *faults;
        Imds *imds;
        Kms *kms;
        Relay *relay, *carriers_relay;
} ControlTargets;

typedef struct Control Control;

int platform_control_new(const char *path, const ControlTargets *targets, Control **ret);
Control *platform_control_free(Control *control);

/* The client's side: sends the words and prints the answer. "@FILE" sends the content of a file. Returns an
 * exit status. */
int platform_control_call(const char *path, char *const *words, size_t n);
