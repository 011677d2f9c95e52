/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The instance metadata service, version 2 (AWS, EC2 User Guide, "Use the Instance Metadata Service"): token
 * first, no proxy, ever. What it says is not believed, only used: credentials, ciphertext, advice.
 */

#include <systemd/sd-event.h>

#include "aws/imds-reply.h"
#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/http.h"

#define IMDS_ADDRESS "http://169.254.169.254"
#define IMDS_REPLY_MAX (64U * 1024U)
#define IMDS_IDENTITY_PATH "/latest/dynamic/instance-identity/document"

/* One conversation: a token and an HTTP client that it is used with. */
typedef struct Imds Imds;

/* http is borrowed and must outlive it; it must have no proxy. */
int imds_new(HttpClient *http, const char *address, Imds **ret);

/* Cancels what is under way, without callbacks. Returns NULL. */
Imds *imds_free(Imds *imds);
DEFINE_CLEANUP(Imds *, imds_free);

/* role: the role's name. On r = 0 the credentials are the callback's to move out (leave them zeroed);
 * otherwise both are NULL. Like all callbacks here it may free the Imds. */
typedef void (*ImdsCredentialsCallback)(int r, AwsCredentials *credentials, const char *role,
                                        const Error *error, void *userdata);

/* Token (kept while it is valid, made anew on 401) → role name → credentials. One at a time, -EBUSY
 * otherwise. No retries but that for the token; FAILURE_IMDS or FAILURE_ROLE, REMEDY_RETRY where it may
 * pass: connection refused, time-out, 404 for the role (seconds after launch), 5xx, Code other than Success,
 * an answer that is none of IMDS's. */
int imds_get_credentials(Imds *imds, ImdsCredentialsCallback callback, void *userdata);

/* data: valid during the call, NUL-terminated behind size. r = -ENOENT: 404. */
typedef void (*ImdsGetCallback)(int r, const char *data, size_t size, const Error *error, void *userdata);

/* GET of a path such as "/latest/user-data", with a token. */
int imds_get(Imds *imds, const char *path, ImdsGetCallback callback, void *userdata);
