/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/limits.h"
#include "basic/text.h"
#include "unsealing/status-file.h"

/* json-c fails only for want of memory. Then a member is missing, which is acceptable: every reader of the file expects that. */
static void add_string(struct json_object *object, const char *name, const char *value) {
        _cleanup_free_ char *text = value && *value ? strdup(value) : NULL;

        if (text)
                (void) json_object_object_add(object, name, json_object_new_string(text_clean_lines(text)));
}

static void add_usec(struct json_object *object, const char *name, uint64_t value) {
        (void) json_object_object_add(object, name, json_object_new_int64((int64_t) value));
}

static void add_error(struct json_object *object, const Error *error) {
        if (!error || error->failure == FAILURE_NONE)
                return;
        add_string(object, "failure", failure_to_string(error->failure));
        add_string(object, "error", error->text);
        add_string(object, "code", error->code);
        add_string(object, "request_id", error->request_id);
}

/* Adds a time of CLOCK_MONOTONIC on both clocks. The clock of the wall may have been wrong then; it is read once, now. */
static void add_time(struct json_object *object, const char *name, const char *name_monotonic, uint64_t usec,
                     const StatusNow *now) {
        int64_t ahead = (int64_t) (usec - now->monotonic);

        add_usec(object, name, (uint64_t) ((int64_t) now->realtime + ahead));
        add_usec(object, name_monotonic, usec);
}

static void add_waiting(struct json_object *parent, const StatusWaiting *waiting, const StatusNow *now) {
        struct json_object *object = waiting->what[0] ? json_object_new_object() : NULL;

        if (!object)
                return;
        add_string(object, "for", waiting->what);
        add_string(object, "step", waiting->step);
        add_string(object, "secret", waiting->secret);
        add_time(object, "since_usec", "since_monotonic_usec", waiting->since_usec, now);
        add_usec(object, "attempts", waiting->attempts);
        if (waiting->next_usec > 0)
                add_time(object, "next_usec", "next_monotonic_usec", waiting->next_usec, now);
        add_error(object, waiting->error);
        (void) json_object_object_add(parent, "waiting", object);
}

static void add_callers(struct json_object *root, const Caller *callers, size_t count,
                        const StatusNow *now) {
        struct json_object *array = count > 0 ? json_object_new_array() : NULL;

        for (size_t i = 0; array && i < count; i++) {
                struct json_object *object = json_object_new_object();

                if (!object)
                        continue;
                add_string(object, "unit", callers[i].request.unit);
                add_string(object, "credential", callers[i].request.credential);
                add_time(object, "since_usec", "since_monotonic_usec", callers[i].since_usec, now);
                (void) json_object_array_add(array, object);
        }
        if (array)
                (void) json_object_object_add(root, "callers", array);
}

static void add_strings(struct json_object *object, const char *name, char *const *values) {
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; array && values && values[i]; i++)
                (void) json_object_array_add(array, json_object_new_string(values[i]));
        (void) json_object_object_add(object, name, array);
}

static void add_members(struct json_object *parent, const StatusMembers *members) {
        struct json_object *array = members->count > 0 ? json_object_new_array() : NULL;

        for (size_t i = 0; array && i < members->count; i++) {
                const Declaration *member = members->members + i;
                struct json_object *object = json_object_new_object();

                if (!object)
                        continue;
                add_string(object, "name", member->name);
                add_strings(object, "units", member->units);
                (void) json_object_object_add(object, "optional", json_object_new_boolean(member->optional));
                if (members->places)
                        (void) json_object_object_add(object, "missing",
                                                      json_object_new_boolean(!manifest_find_member(
                                                                      members->places, members->places_count,
                                                                      member->member)));
                (void) json_object_array_add(array, object);
        }
        if (array)
                (void) json_object_object_add(parent, "members", array);
}

static struct json_object *secret_to_json(const StatusSecret *secret, const StatusNow *now) {
        struct json_object *object = json_object_new_object();

        if (!object)
                return NULL;
        add_string(object, "name", secret->name);
        add_string(object, "state", secret->state);
        add_string(object, "source", secret->source);
        add_string(object, "key_id", secret->key_id);
        add_string(object, "kms_region", secret->kms_region);
        add_string(object, "policy", secret->policy);
        if (secret->version)
                (void) json_object_object_add(object, "version", json_object_new_uint64(*secret->version));
        if (secret->measured_pcr > 0)
                (void) json_object_object_add(object, "measured_pcr",
                                              json_object_new_int((int) secret->measured_pcr));
        add_strings(object, "units", secret->units);
        (void) json_object_object_add(object, "optional", json_object_new_boolean(secret->optional));
        if (secret->late)
                (void) json_object_object_add(object, "late", json_object_new_boolean(true));
        if (secret->bytes_since_usec > 0) {
                add_usec(object, "bytes", secret->bytes);
                add_usec(object, "bytes_total", secret->bytes_total);
                add_time(object, "bytes_since_usec", "bytes_since_monotonic_usec", secret->bytes_since_usec,
                         now);
        }
        add_members(object, &secret->members);
        add_waiting(object, &secret->waiting, now);
        add_error(object, secret->error);
        add_usec(object, "attempts", secret->attempts);
        add_usec(object, "duration_usec", secret->duration_usec);
        return object;
}

static struct json_object *step_to_json(const StatusStep *step) {
        struct json_object *object = json_object_new_object();

        if (!object)
                return NULL;
        add_string(object, "name", step->name);
        add_usec(object, "start_usec", step->start_usec);
        add_usec(object, "duration_usec", step->duration_usec);
        return object;
}

int status_to_json(const Status *status, const StatusNow *now, char **ret) {
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *secrets = json_object_new_array(), *steps = json_object_new_array();

        if (!root || !secrets || !steps) {
                json_object_put(secrets);
                json_object_put(steps);
                return -ENOMEM;
        }
        add_usec(root, "version", 1);
        add_string(root, "state", status->state);
        add_usec(root, "since_usec", status->since_usec > 0 ? status->since_usec : now->realtime);
        add_usec(root, "written_usec", now->realtime);
        add_usec(root, "written_monotonic_usec", now->monotonic);
        add_string(root, "status", status->text);
        add_waiting(root, &status->waiting, now);
        add_callers(root, status->callers, status->callers_count, now);
        add_error(root, status->error);
        if (strcmp(status->state, "failed") == 0 && status->error)
                (void) json_object_object_add(
                                root, "final",
                                json_object_new_boolean(failure_is_final(status->error->failure)));
        add_string(root, "message_id", status->message_id);
        add_string(root, "explanation", status->explanation);
        for (size_t i = 0; i < status->secrets_count; i++)
                (void) json_object_array_add(secrets, secret_to_json(status->secrets + i, now));
        for (size_t i = 0; i < status->steps_count; i++)
                (void) json_object_array_add(steps, step_to_json(status->steps + i));
        (void) json_object_object_add(root, "secrets", secrets);
        (void) json_object_object_add(root, "steps", steps);

        return json_format_pretty(root, ret);
}

static bool is_file(const char *path) {
        struct stat st;

        return lstat(path, &st) >= 0 && S_ISREG(st.st_mode);
}

int status_write(const char *path, const Status *status) {
        const StatusNow now = { .realtime = now_realtime_usec(), .monotonic = now_monotonic_usec() };
        _cleanup_free_ char *text = NULL;
        int r;

        r = status_to_json(status, &now, &text);
        if (r >= 0)
                r = write_file_atomic(path, text, strlen(text), 0644);
        if (r >= 0 || !is_file(path))
                return r;
        /* The old file is untrue now. Without it a file system that is full may have room for the new one. */
        if (unlink(path) >= 0 && text && r == -ENOSPC)
                r = write_file_atomic(path, text, strlen(text), 0644);
        return r;
}

static struct json_object *refresh_to_json(const StatusRefresh *refresh, const StatusNow *now) {
        struct json_object *object = json_object_new_object();

        if (!object)
                return NULL;
        add_usec(object, "interval_usec", refresh->interval_usec);
        add_time(object, "next_usec", "next_monotonic_usec", refresh->next_usec, now);
        add_string(object, "last", refresh->last);
        if (refresh->last)
                add_time(object, "last_usec", "last_monotonic_usec", refresh->last_usec, now);
        add_error(object, refresh->error);
        return object;
}

int status_add_refresh(const char *status, size_t size, const StatusRefresh *refresh, const StatusNow *now,
                       char **ret) {
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *object;
        int r;

        r = json_parse(status, size, &root);
        if (r < 0)
                return r;
        if (!json_member_string(root, "state"))
                return -EBADMSG;
        object = refresh_to_json(refresh, now);
        if (!object || json_object_object_add(root, "refresh", object) < 0) {
                json_object_put(object);
                return -ENOMEM;
        }
        add_usec(root, "written_usec", now->realtime);
        add_usec(root, "written_monotonic_usec", now->monotonic);
        return json_format_pretty(root, ret);
}

int status_set_refresh(const char *path, const StatusRefresh *refresh) {
        const StatusNow now = { .realtime = now_realtime_usec(), .monotonic = now_monotonic_usec() };
        _cleanup_free_ uint8_t *old = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = read_file(path, LIMIT_STATUS_BYTES, &old, &size);
        if (r >= 0)
                r = status_add_refresh((const char *) old, size, refresh, &now, &text);
        if (r >= 0)
                r = write_file_atomic(path, text, strlen(text), 0644);
        return r;
}

static bool tells_of_failure(const char *path) {
        _cleanup_free_ uint8_t *text = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        const char *state;
        size_t size;

        if (read_file(path, LIMIT_STATUS_BYTES, &text, &size) < 0 ||
            json_parse((const char *) text, size, &root) < 0)
                return false;
        state = json_member_string(root, "state");
        return state && strcmp(state, "failed") == 0;
}

int status_set_stopped(const char *path) {
        static const Status stopped = { .state = "stopped",
                                        .text = "Stopped. The secrets are removed from the store." };

        if (access(path, F_OK) < 0)
                return errno == ENOENT ? 0 : -errno;
        return tells_of_failure(path) ? 0 : status_write(path, &stopped);
}
