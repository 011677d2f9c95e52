/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which names S3, Parameter Store and Secrets Manager can have, and which of them the APIs that unseald calls can answer. Each
 * function returns NULL for a name that can work, and otherwise what is expected in its place, to continue "Expected …". Pure.
 *
 * Sources: S3 User Guide, "General purpose bucket naming rules" and "Directory bucket naming rules"; Systems Manager API
 * Reference, GetParameter (Name); Secrets Manager API Reference, GetSecretValue (SecretId) and CreateSecret (Name).
 */

#include <stddef.h>

/* A bucket that GetObject reaches with SigV4 at the Region's endpoint. length: text need not end there. */
const char *aws_bucket_mistake(const char *text, size_t length);

/* NAME[:VERSION-OR-LABEL], or an ARN of Parameter Store. */
const char *aws_parameter_mistake(const char *text);

/* A name or an ARN of Secrets Manager. */
const char *aws_secret_mistake(const char *text);
