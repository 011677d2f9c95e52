/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The instance metadata service, version 2 (EC2 User Guide, "Use the Instance Metadata Service"). Every request has a token,
 * and no request goes through a proxy. unseald uses the answers (credentials, ciphertext, advice) and trusts none of them: KMS
 * and the encryption context decide.
 */

#include <systemd/sd-event.h>

#include "aws/imds-reply.h"
#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/http.h"

#define IMDS_ADDRESS "http://169.254.169.254"
#define IMDS_ADDRESS_IPV6 \
        "http://[fd00:ec2::254]" /* where HttpProtocolIpv6 is enabled; alone in some subnets */
#define IMDS_REPLY_MAX (64U * 1024U)
#define IMDS_IDENTITY_PATH "/latest/dynamic/instance-identity/document"

/* A token, and the HTTP client that uses it. */
typedef struct Imds Imds;

/* http is borrowed and must outlive it; it must have no proxy. Where one address cannot be reached, the same request goes to the
 * other; later requests begin with the one that answered. address_ipv6 may be NULL. */
int imds_new(HttpClient *http, const char *address, const char *address_ipv6, Imds **ret);

/* Cancels all requests without calling their callbacks. Returns NULL. */
Imds *imds_free(Imds *imds);
DEFINE_CLEANUP(Imds *, imds_free);

/* r = 0: the callback may move the credentials out and leaves them zeroed; role is the role's name. r < 0: both are NULL. Every
 * callback here may free the Imds. */
typedef void (*ImdsCredentialsCallback)(int r, AwsCredentials *credentials, const char *role,
                                        const Error *error, void *userdata);

/*
 * Gets the name of the role, then its credentials. -EBUSY: such a request runs already.
 *
 * The only retry is for the token, which is kept while it is valid and renewed once after a 401. The failure is FAILURE_IMDS or
 * FAILURE_ROLE. The remedy is REMEDY_RETRY for failures that may pass: a refused connection, a time-out, a 404 for the role
 * (seconds after launch), a 5xx, a Code other than Success, a malformed answer.
 */
int imds_get_credentials(Imds *imds, ImdsCredentialsCallback callback, void *userdata);

/* data is valid during the call; a NUL follows its last byte. r = -ENOENT: 404. */
typedef void (*ImdsGetCallback)(int r, const char *data, size_t size, const Error *error, void *userdata);

/* Gets a path such as "/latest/user-data". */
int imds_get(Imds *imds, const char *path, ImdsGetCallback callback, void *userdata);
