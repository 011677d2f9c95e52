/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The log of requests: a JSON object a line, KMS's as CloudTrail has them. Holds no plaintext, no secret, no token.
 * Thread-safe.
 */

#include "basic/cleanup.h"
#include "basic/json.h"

typedef struct Trail Trail;

/* Appends to the file. */
int trail_new(const char *path, Trail **ret);
Trail *trail_free(Trail *trail);
DEFINE_CLEANUP(Trail *, trail_free);

/* Takes the event. */
void trail_write(Trail *trail, struct json_object *event);

#define UUID_SIZE 37

/* A UUID of these random bytes (RFC 9562, version 4), and one of new ones. */
void format_uuid(const uint8_t bytes[static 16], char ret[static UUID_SIZE]);
void make_uuid(char ret[static UUID_SIZE]);

/* 2026-08-13T17:36:48Z */
#define TIME_TEXT_SIZE 21
void format_time(int64_t seconds, char ret[static TIME_TEXT_SIZE]);
