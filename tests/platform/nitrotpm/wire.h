/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The protocol between the shim inside libtpms (shim.c) and the platform (attestor_serve()), over a Unix
 * stream socket, in native byte order. The shim keeps one connection open. Each question has one answer.
 */

#include <stdint.h>

typedef enum ResponderQuestion {
        /* argument: the command code. Answer: 0, or the response code to give in place of executing it. */
        RESPONDER_FAULT = 1,
        /* argument: the size of the NV index. Its content and the PCRs follow. Answer: the size of the reply, at most
         * that of the index. The reply follows. */
        RESPONDER_ATTEST = 2,
} ResponderQuestion;

typedef struct ResponderHeader {
        uint32_t question;
        uint32_t argument;
} ResponderHeader;

#define RESPONDER_INDEX_MAX 8192U
#define RESPONDER_PCRS 24U
#define RESPONDER_PCR_SIZE 48U
