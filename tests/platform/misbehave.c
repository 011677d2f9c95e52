/* SPDX-License-Identifier: Apache-2.0 */

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "misbehave.h"

#define GARBAGE_SIZE 1500
#define OVERSIZED_SIZE (8U * 1024U * 1024U)

static void reply_page(Exchange *exchange, unsigned status) {
        char page[256];

        snprintf(page, sizeof(page),
                 "<html>\r\n<head><title>%u</title></head>\r\n<body>\r\n<center><h1>%u</h1></center>\r\n</"
                 "body>\r\n</html>\r\n",
                 status, status);
        exchange_reply_text(exchange, status, page);
        exchange_add_header(exchange, "Content-Type", "text/html");
}

/* The first byte is one with which no form begins that a client knows: neither text nor UTF-16, no message of the AWS Encryption SDK. */
static void reply_garbage(Exchange *exchange) {
        char *body = malloc(GARBAGE_SIZE);

        if (body && RAND_bytes((unsigned char *) body, GARBAGE_SIZE) <= 0)
                memset(body, 0xff, GARBAGE_SIZE);
        if (body)
                body[0] = (char) 0x80;
        exchange_reply(exchange, 200, body, GARBAGE_SIZE);
}

static void reply_oversized(Exchange *exchange) {
        char *body = malloc(OVERSIZED_SIZE);

        if (body)
                memset(body, ' ', OVERSIZED_SIZE);
        exchange_reply(exchange, 200, body, OVERSIZED_SIZE);
}

bool misbehave_before(Exchange *exchange, Faults *faults, Service service, const char *operation,
                      FaultKind *ret_kind) {
        static const FaultKind kinds[] = { FAULT_DROP,    FAULT_RESET, FAULT_HTTP,
                                           FAULT_GARBAGE, FAULT_EMPTY, FAULT_OVERSIZED };
        FaultValue value;

        if (faults_take(faults, service, operation, FAULT_DELAY, &value))
                exchange_wait(exchange, value.number);

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                if (!faults_take(faults, service, operation, kinds[i], &value))
                        continue;
                *ret_kind = kinds[i];
                switch (kinds[i]) {
                case FAULT_DROP:
                        exchange->ending = ENDING_SILENT;
                        break;
                case FAULT_RESET:
                        exchange->ending = ENDING_RESET;
                        break;
                case FAULT_HTTP:
                        reply_page(exchange, value.number >= 200 && value.number <= 599
                                                             ? (unsigned) value.number
                                                             : 500);
                        break;
                case FAULT_GARBAGE:
                        reply_garbage(exchange);
                        break;
                case FAULT_EMPTY:
                        exchange_reply(exchange, 200, NULL, 0);
                        break;
                default:
                        reply_oversized(exchange);
                }
                return true;
        }
        return false;
}

bool misbehave_after(Exchange *exchange, Faults *faults, Service service, const char *operation,
                     FaultKind *ret_kind) {
        FaultValue value;

        if (faults_take(faults, service, operation, FAULT_TRUNCATED, NULL)) {
                exchange->ending = ENDING_TRUNCATED;
                *ret_kind = FAULT_TRUNCATED;
        } else if (faults_take(faults, service, operation, FAULT_CUT, &value)) {
                exchange->ending = ENDING_CUT;
                exchange->cut_after = value.number > 0 ? (uint64_t) value.number : 0;
                *ret_kind = FAULT_CUT;
        } else if (faults_take(faults, service, operation, FAULT_SLOW, &value)) {
                exchange->bytes_per_second = value.number > 0 ? (uint64_t) value.number : 1;
                *ret_kind = FAULT_SLOW;
        } else
                return false;
        return true;
}
