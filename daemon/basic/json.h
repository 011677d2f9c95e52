/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON (RFC 8259), parsed strictly into the trees of json-c: one value in UTF-8, at most 16 levels deep, with nothing after it, no
 * two members of one name, no NUL in a string, and no half of a surrogate pair. With two members of one name two readers could see
 * two values, so such a text is refused. A number that no int64_t or uint64_t can hold becomes the nearest one.
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

/* The caller puts *ret, which is never NULL on success. -EBADMSG: the text is not JSON, or it is the value null. -ENOMEM: nothing
 * is known of the text. */
int json_parse(const char *text, size_t length, struct json_object **ret);

/* The string value of a member. NULL: object is not an object, or the member is missing or not a string. Borrowed. */
const char *json_member_string(struct json_object *object, const char *name);

/* A member. NULL: object is not an object, or the member is missing or null. Borrowed. */
struct json_object *json_member(struct json_object *object, const char *name);

/* Writes an object without white space, and without escaping slashes. The caller frees *ret. -ENOMEM: no text, rather than one that
 * lacks something. */
int json_format(struct json_object *object, char **ret);

/* The same for people: with white space and line breaks. */
int json_format_pretty(struct json_object *object, char **ret);

/* Returns whether text is a JSON pointer (RFC 6901): it is empty or begins with a slash, and every tilde is part of ~0 or ~1. */
bool json_pointer_is_valid(const char *text) _pure_;

/* The value that a JSON pointer (RFC 6901) leads to; the empty pointer leads to object itself. NULL: it leads nowhere.
 * Borrowed. */
struct json_object *json_pointer(struct json_object *object, const char *pointer);
