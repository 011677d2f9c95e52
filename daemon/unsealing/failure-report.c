/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/json.h"
#include "basic/log.h"
#include "unsealing/failure-report.h"

#include "catalog-texts.h"

const CatalogText *catalog_text(const char *message_id) {
        for (size_t i = 0; message_id && i < ELEMENTSOF(catalog_texts); i++)
                if (strcmp(catalog_texts[i].message_id, message_id) == 0)
                        return &catalog_texts[i];
        return NULL;
}

/* Takes the member, which is NULL if there was no memory for it. Returns whether it could be added. */
static bool add(struct json_object *object, const char *name, struct json_object *member) {
        if (member && json_object_object_add(object, name, member) >= 0)
                return true;
        json_object_put(member);
        return false;
}

/* Copies the members that are there and are of a simple type. Returns whether all of them could be added. */
static bool copy(struct json_object *from, const char *const *names, struct json_object *to) {
        for (size_t i = 0; names[i]; i++) {
                struct json_object *member = json_member(from, names[i]);

                if (member && !json_object_is_type(member, json_type_object) &&
                    !json_object_is_type(member, json_type_array) &&
                    !add(to, names[i], json_object_get(member)))
                        return false;
        }
        return true;
}

/* Adds a new object with these members of another. Returns it; NULL: there is no memory, or nothing to add. */
static struct json_object *add_part(struct json_object *from, const char *const *names,
                                    struct json_object *parent, const char *name) {
        struct json_object *part = from ? json_object_new_object() : NULL;

        if (part && (!copy(from, names, part) ||
                     (json_object_is_type(parent, json_type_array)
                                      ? json_object_array_add(parent, part)
                                      : json_object_object_add(parent, name, part)) < 0)) {
                json_object_put(part);
                return NULL;
        }
        return part;
}

/* Copies a list of objects, each with these members. */
static bool add_list(struct json_object *status, const char *list, const char *const *names,
                     struct json_object *report) {
        struct json_object *items = json_member(status, list), *array = json_object_new_array();
        size_t n = json_object_is_type(items, json_type_array) ? json_object_array_length(items) : 0;

        if (!add(report, list, array))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!add_part(json_object_array_get_idx(items, i), names, array, NULL))
                        return false;
        return true;
}

static bool add_secrets(struct json_object *status, struct json_object *report) {
        static const char *const names[] = { "name",  "state", "late",       "failure",
                                             "error", "code",  "request_id", NULL };

        return add_list(status, "secrets", names, report);
}

/* The units that wait at the credential socket; as in the status file, the list is missing where none does. */
static bool add_callers(struct json_object *status, struct json_object *report) {
        static const char *const names[] = { "unit", "credential", "since_usec", "since_monotonic_usec",
                                             NULL };

        return !json_object_is_type(json_member(status, "callers"), json_type_array) ||
               add_list(status, "callers", names, report);
}

/* The explanation of the failure. While unseald waits, that of the waiting. */
static bool add_catalog(struct json_object *status, struct json_object *report) {
        const char *id = json_member_string(status, "message_id");
        const CatalogText *text = catalog_text(id
                                                               ?: json_member(status, "waiting")
                                                                  ? id ?: MESSAGE_WAITING
                                                                  : NULL);
        struct json_object *object = text ? json_object_new_object() : NULL;

        if (!text)
                return true;
        if (!add(report, "catalog", object))
                return false;
        return add(object, "subject", json_object_new_string(text->subject)) &&
               add(object, "text", json_object_new_string(text->text));
}

int failure_report_make(const char *status_text, size_t size, char **ret) {
        static const char *const whole[] = { "version",    "state",   "since_usec", "written_usec",
                                             "status",     "failure", "error",      "code",
                                             "request_id", "final",   "message_id", "explanation",
                                             NULL };
        static const char *const waiting[] = {
                "for",       "step",    "secret", "since_usec", "since_monotonic_usec", "attempts",
                "next_usec", "failure", "error",  "code",       "request_id",           NULL
        };
        _cleanup_json_ struct json_object *status = NULL, *report = json_object_new_object();
        int r;

        r = json_parse(status_text, size, &status);
        if (r < 0)
                return r;
        if (!json_member_string(status, "state"))
                return -EBADMSG;
        if (!report || !copy(status, whole, report) ||
            (json_object_is_type(json_member(status, "waiting"), json_type_object) &&
             !add_part(json_member(status, "waiting"), waiting, report, "waiting")) ||
            !add_callers(status, report) || !add_secrets(status, report) || !add_catalog(status, report))
                return -ENOMEM;
        return json_format_pretty(report, ret);
}
