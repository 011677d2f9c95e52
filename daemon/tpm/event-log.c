/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/encoding.h"
#include "basic/json.h"
#include "tpm/event-log.h"
#include "tpm/secret-events.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

static bool add(struct json_object *object, const char *name, struct json_object *value) {
        if (value && json_object_object_add(object, name, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

static bool add_hex(struct json_object *object, const char *name, const uint8_t digest[static PCR_SIZE]) {
        _cleanup_free_ char *hex = NULL;

        return hex_encode(digest, PCR_SIZE, &hex) >= 0 && add(object, name, json_object_new_string(hex));
}

/* NULL: out of memory. */
static struct json_object *digests_to_json(const EventLogRecord *record) {
        _cleanup_json_ struct json_object *array = json_object_new_array(),
                                          *digest = json_object_new_object();

        if (!array || !digest || !add(digest, "hashAlg", json_object_new_string("sha384")) ||
            !add_hex(digest, "digest", record->digest) || json_object_array_add(array, digest) < 0)
                return NULL;
        (void) TAKE_PTR(digest);
        return TAKE_PTR(array);
}

static struct json_object *record_to_json(const EventLogRecord *record, size_t number) {
        _cleanup_json_ struct json_object *object = json_object_new_object(),
                                          *content = json_object_new_object();

        if (!object || !content || !add(object, "recnum", json_object_new_int64((int64_t) number)) ||
            !add(object, "pcr", json_object_new_int((int) record->pcr)) ||
            !add(object, "digests", digests_to_json(record)) ||
            !add(object, "content_type", json_object_new_string(EVENT_LOG_CONTENT_TYPE)) ||
            !add(content, "secret", json_object_new_string(record->secret)) ||
            !add_hex(content, "sealed_sha384", record->sealed) || !add(object, "content", TAKE_PTR(content)))
                return NULL;
        return TAKE_PTR(object);
}

int event_log_format(const EventLogRecord *records, size_t count, char **ret) {
        _cleanup_json_ struct json_object *array = json_object_new_array();
        _cleanup_free_ char *text = NULL;
        int r;

        if (!array)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                struct json_object *record = record_to_json(records + i, i);

                if (!record || json_object_array_add(array, record) < 0) {
                        json_object_put(record);
                        return -ENOMEM;
                }
        }
        r = json_format(array, &text);
        if (r < 0)
                return r;
        return asprintf(ret, "%s\n", text) < 0 ? -ENOMEM : 0;
}

_printf_(3, 4) static int malformed(Error *error, size_t record, const char *format, ...) {
        char why[256];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(why, sizeof(why), format, arguments);
        va_end(arguments);
        return error_set(error, -EBADMSG, FAILURE_ATTESTATION,
                         "Record %zu of the event log is malformed: %s.", record, why);
}

static bool read_number(struct json_object *object, const char *name, uint64_t *ret) {
        struct json_object *value = json_member(object, name);

        if (!value || !json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return false;
        *ret = (uint64_t) json_object_get_int64(value);
        return true;
}

static bool read_hex(struct json_object *object, const char *name, uint8_t ret[static PCR_SIZE]) {
        const char *text = json_member_string(object, name);

        return text && hex_decode(text, ret, PCR_SIZE) >= 0;
}

/* Exactly one digest is of SHA-384. */
static bool read_digest(struct json_object *object, uint8_t ret[static PCR_SIZE]) {
        struct json_object *digests = json_member(object, "digests");
        unsigned found = 0;

        if (!digests || !json_object_is_type(digests, json_type_array))
                return false;
        for (size_t i = 0; i < json_object_array_length(digests); i++) {
                struct json_object *digest = json_object_array_get_idx(digests, i);
                const char *algorithm = json_member_string(digest, "hashAlg");

                if (!algorithm)
                        return false;
                if (strcmp(algorithm, "sha384") == 0 && (!read_hex(digest, "digest", ret) || found++ > 0))
                        return false;
        }
        return found == 1;
}

static int read_secret(struct json_object *object, size_t number, EventLogRecord *record, Error *error) {
        struct json_object *content = json_member(object, "content");
        const char *name = json_member_string(content, "secret");
        uint8_t digest[PCR_SIZE];

        if (!name || strlen(name) - 1 >= EVENT_LOG_NAME_MAX || strspn(name, LETTERS) != strlen(name))
                return malformed(error, number, "its content has no name of a secret");
        if (!read_hex(content, "sealed_sha384", record->sealed))
                return malformed(error, number, "its content has no SHA-384 of a sealed secret");
        memcpy(record->secret, name, strlen(name) + 1);
        if (secret_event_digest(name, record->sealed, digest) < 0)
                return error_set(error, -EIO, FAILURE_INTERNAL, "OpenSSL cannot hash the event log.");
        if (memcmp(digest, record->digest, PCR_SIZE) != 0)
                return malformed(error, number, "its digest is not that of its content");
        return 0;
}

static int read_record(struct json_object *object, size_t number, EventLogRecord *ret, Error *error) {
        const char *type = json_member_string(object, "content_type");
        uint64_t recnum, pcr;

        *ret = (EventLogRecord){};
        if (!read_number(object, "recnum", &recnum) || recnum != number)
                return malformed(error, number, "its \"recnum\" is not %zu", number);
        if (!read_number(object, "pcr", &pcr) || pcr >= PCR_COUNT)
                return malformed(error, number, "its \"pcr\" is no number from 0 to %d", PCR_COUNT - 1);
        ret->pcr = (unsigned) pcr;
        if (!read_digest(object, ret->digest))
                return malformed(error, number, "its \"digests\" have not exactly one of sha384");
        if (!type)
                return malformed(error, number, "it has no \"content_type\"");
        return strcmp(type, EVENT_LOG_CONTENT_TYPE) == 0 ? read_secret(object, number, ret, error) : 0;
}

int event_log_parse(const char *text, size_t length, EventLogRecord **ret, size_t *ret_count, Error *error) {
        _cleanup_json_ struct json_object *array = NULL;
        _cleanup_free_ EventLogRecord *records = NULL;
        size_t count;
        int r = length <= EVENT_LOG_SIZE_MAX ? json_parse(text, length, &array) : -EBADMSG;

        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || !json_object_is_type(array, json_type_array) ||
            json_object_array_length(array) > EVENT_LOG_RECORDS_MAX)
                return error_set(
                                error, -EBADMSG, FAILURE_ATTESTATION,
                                "The event log is no JSON array of at most %u records (CEL-JSON). unseald writes it to /run/unseald/measurements.cel.",
                                EVENT_LOG_RECORDS_MAX);
        count = json_object_array_length(array);
        records = calloc(count + 1, sizeof(*records));
        if (!records)
                return error_oom(error);
        for (size_t i = 0; i < count && r >= 0; i++)
                r = read_record(json_object_array_get_idx(array, i), i, records + i, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(records);
        *ret_count = count;
        return 0;
}

int event_log_replay(const EventLogRecord *records, size_t count, PcrSet *ret) {
        int r = 0;

        *ret = (PcrSet){};
        for (size_t i = 0; i < count && r >= 0; i++) {
                ret->present |= UINT32_C(1) << records[i].pcr;
                r = pcr_extend(ret->value[records[i].pcr], records[i].digest);
        }
        return r;
}
