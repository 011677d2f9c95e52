/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The log of requests, one JSON object in each line. Requests to KMS look as in CloudTrail. The log holds no
 * plaintext, secret or token. Thread-safe.
 */

#include "basic/cleanup.h"
#include "basic/json.h"

typedef struct Trail Trail;

/* Appends to the file. */
int trail_new(const char *path, Trail **ret);
Trail *trail_free(Trail *trail);
DEFINE_CLEANUP(Trail *, trail_free);

/* Writes the event, and frees it. */
void trail_write(Trail *trail, struct json_object *event);

#define UUID_SIZE 37

/* Format a UUID (RFC 9562, version 4): of these random bytes, or of new ones. */
void format_uuid(const uint8_t bytes[static 16], char ret[static UUID_SIZE]);
void make_uuid(char ret[static UUID_SIZE]);

/* 2026-08-13T17:36:48Z */
#define TIME_TEXT_SIZE 21
void format_time(int64_t seconds, char ret[static TIME_TEXT_SIZE]);
