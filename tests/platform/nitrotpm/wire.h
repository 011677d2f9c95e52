/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the shim inside libtpms (shim.c) and the platform (attestor_serve()) say to each other over a Unix stream
 * socket, in native byte order. The shim keeps one connection open; each question has one answer.
 */

#include <stdint.h>

typedef enum ResponderQuestion {
        RESPONDER_FAULT = 1, /* argument: command code. Answer: 0, or the response code to give instead */
        RESPONDER_ATTEST =
                        2, /* argument: size of the NV index. Its content and the PCRs follow. Answer: size of the
                               * reply, at most that of the index; the reply follows */
} ResponderQuestion;

typedef struct ResponderHeader {
        uint32_t question;
        uint32_t argument;
} ResponderHeader;

#define RESPONDER_INDEX_MAX 8192U
#define RESPONDER_PCRS 24U
#define RESPONDER_PCR_SIZE 48U
