/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON (RFC 8259) by json-c, made strict: one value, UTF-8, no more than 16 deep, nothing behind it, no
 * member named twice and no NUL in a string. Who names a member twice wants two readers to see two values:
 * neither is believed.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"

#define JSON_DEPTH_MAX 16

static inline void json_put(struct json_object *object) {
        json_object_put(object);
}
DEFINE_CLEANUP(struct json_object *, json_put);
#define _cleanup_json_ _cleanup_(json_putp)

/* -EBADMSG where it is no JSON. *ret is never NULL on success: the value null is -EBADMSG too. */
int json_parse(const char *text, size_t length, struct json_object **ret);

/* The string value of a member, or NULL: not an object, no such member, not a string. Borrowed. */
const char *json_member_string(struct json_object *object, const char *name);

/* The member, or NULL where there is none or it is null. Borrowed. */
struct json_object *json_member(struct json_object *object, const char *name);

/* RFC 6901: empty, or every part begins with a slash; a tilde is written ~0, a slash inside of a part ~1. */
bool json_pointer_is_valid(const char *text) _pure_;

/* RFC 6901 JSON pointer; the empty pointer is the value itself. NULL where it leads nowhere. Borrowed. */
struct json_object *json_pointer(struct json_object *object, const char *pointer);
