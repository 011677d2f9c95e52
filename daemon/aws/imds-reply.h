/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Interprets IMDS's answers. Source: EC2 User Guide, "Use the Instance Metadata Service" and "Instance identity
 * documents". Everything here is a function of its arguments; aws/imds.h sends and receives.
 */

#include <stddef.h>

#include "aws/sigv4.h"
#include "basic/error.h"

#define IMDS_ACCOUNT_SIZE 13U /* the twelve digits of an account's ID, and a NUL */
#define IMDS_ROLE_MAX 64U     /* characters in the name of a role: IAM's limit */

/* Parses the JSON of …/security-credentials/ROLE. Expired credentials are no error: the clock of this machine may be wrong, so
 * only KMS can say. */
int imds_credentials_parse(const char *text, size_t length, AwsCredentials *ret, Error *error);

/* Takes the account out of the instance identity document. unseald checks no signature of it. An attacker who replaces the
 * document chooses the account in the encryption context, so the key's policy must compare that with the caller's account. */
int imds_account_parse(const char *text, size_t length, char ret[static IMDS_ACCOUNT_SIZE], Error *error);

/* Takes the role's name out of …/security-credentials/: the first line. */
int imds_role_parse(const char *text, size_t length, char ret[static IMDS_ROLE_MAX + 1], Error *error);

/* The header that carries a token. -EBADMSG: the token is empty or has characters that no header may have. The caller wipes
 * and frees *ret. */
int imds_token_header(const char *token, char **ret, Error *error);

/* No reply came: r and cause are the HTTP client's. first: why the other address could not be reached; empty: it was not asked.
 * Returns r. */
int imds_unreachable(int r, const char *first, const Error *cause, Error *error);

/* A reply came with another status than 200. -ENOENT: 404; -EACCES: 403. */
int imds_status_error(unsigned status, const char *path, Error *error);

/* Explains a failed request for the role or its credentials. A 404 means that the instance has no role, or that IMDS does
 * not know it yet: this takes some seconds after launch and after a role was attached. Returns r. */
int imds_role_error(int r, const Error *cause, Error *error);
