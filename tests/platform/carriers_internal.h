/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by carriers.c and carriers_operations.c. */

#include "carriers.h"

/* One request while it is being answered. */
typedef struct CarrierCall {
        Carriers *carriers;
        Exchange *exchange;
        Service service;
        const char *operation;
        const char *region, *account; /* Region of the platform, account of the instance */
        int64_t now;
        char request_id[UUID_SIZE];
        char *container, *name, *version; /* decoded; container and version may be NULL */
        Caller caller;
        bool authenticated;

        unsigned status; /* the error's HTTP status, code and message */
        const char *code;
        char message[1024];
        FaultKind fault;      /* what an operation did wrong by itself; _FAULT_KIND_MAX: nothing */
        uint64_t object_size; /* with InvalidRange */
        char fault_code[sizeof(((FaultValue *) NULL)->text)];
} CarrierCall;

/* Records the error and returns -EBADMSG, so that an operation can say `return carrier_refuse(...)`. */
int carrier_refuse(CarrierCall *call, unsigned status, const char *code, const char *format, ...)
                _printf_(4, 5);

/* Returns whether the caller's identity policies allow the action on the resource. Only the account's own
 * principals are allowed. */
bool carrier_allows(const CarrierCall *call, const char *action, const char *resource);

/*
 * Finds the version that the call names, or the current one, if the item belongs to the caller's account. A
 * name may be an ARN that begins with arn_prefix. Returns false where there is none. The caller clears the
 * copy.
 */
bool carrier_find(const CarrierCall *call, const char *arn_prefix, CarriedItem *ret, unsigned *ret_number);
void carried_item_clear(CarriedItem *item);

/* Each operation has two halves. The first reads which item is asked for, because faults and the log need
 * it; the second answers. */
int carrier_read_object(CarrierCall *call, const char *bucket);
int carrier_read_json(CarrierCall *call);
int carrier_get_object(CarrierCall *call);
int carrier_get_parameter(CarrierCall *call);
int carrier_get_secret(CarrierCall *call);
int carrier_get_file(CarrierCall *call);

/* Answers with an object, or the part of it that Range asks for, as far as If-Match permits. has_versions: it is S3's. */
int carrier_send_object(CarrierCall *call, const CarriedItem *item, bool has_versions);

/* Returns whether this fault is set for the operation, and remembers it for the log. */
bool carrier_misbehaves(CarrierCall *call, FaultKind kind, FaultValue *ret);

/* Adds a header with this time, in seconds since 1970. */
void carrier_add_date(CarrierCall *call, const char *name, int64_t when);

/* The fault "replaced": puts a new version with other bytes. */
void carrier_replace(CarrierCall *call, const char *arn_prefix);

/* Replies with the recorded error, in the form of the service. */
void carrier_reply_error(CarrierCall *call);
