/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the carriers share. */

#include "carriers.h"

/* One request on its way through. */
typedef struct CarrierCall {
        Carriers *carriers;
        Exchange *exchange;
        Service service;
        const char *operation;
        const char *region, *account; /* the platform's, the instance's */
        int64_t now;
        char request_id[UUID_SIZE];
        char *container, *name, *version; /* what is asked for, decoded; container and version may be NULL */
        Caller caller;
        bool authenticated;

        unsigned status; /* of an error */
        const char *code;
        char message[1024];
        char fault_code[sizeof(((FaultValue *) NULL)->text)];
} CarrierCall;

/* Returns -EBADMSG, so that an operation may say `return carrier_refuse(...)`. */
int carrier_refuse(CarrierCall *call, unsigned status, const char *code, const char *format, ...)
                _printf_(4, 5);

/* Whether the caller may do this to that, by the identity policies of the same account. */
bool carrier_allows(const CarrierCall *call, const char *action, const char *resource);

/* That version, or the current one, where the caller's is the account that has it; a copy, for the caller to clear. A
 * name may be the ARN that begins with arn_prefix. False: there is none. */
bool carrier_find(const CarrierCall *call, const char *arn_prefix, CarriedItem *ret, unsigned *ret_number);
void carried_item_clear(CarriedItem *item);

/* The operations: what is asked for is read first, since faults and the log name it, then it is run. */
int carrier_read_object(CarrierCall *call, const char *bucket);
int carrier_read_json(CarrierCall *call);
int carrier_get_object(CarrierCall *call);
int carrier_get_parameter(CarrierCall *call);
int carrier_get_secret(CarrierCall *call);
int carrier_get_file(CarrierCall *call);

/* An error in the service's own form. */
void carrier_reply_error(CarrierCall *call);
