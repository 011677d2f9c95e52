/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "basic/cleanup.h"
#include "tpm_faults.h"

#define TPM_RC_RETRY 0x922U
#define TPM_CC_NSM_REQUEST 0x20000001U

/* The names of TPM 2.0 Part 2, 6.5.2, without their prefix. Faults know all other commands by number. */
static const struct {
        uint32_t code;
        const char *name;
} commands[] = {
        { 0x00000120, "EvictControl" },
        { 0x00000122, "NV_UndefineSpace" },
        { 0x0000012a, "NV_DefineSpace" },
        { 0x00000131, "CreatePrimary" },
        { 0x00000137, "NV_Write" },
        { 0x00000144, "Startup" },
        { 0x00000145, "Shutdown" },
        { 0x0000014e, "NV_Read" },
        { 0x00000165, "FlushContext" },
        { 0x00000169, "NV_ReadPublic" },
        { 0x00000173, "ReadPublic" },
        { 0x00000176, "StartAuthSession" },
        { 0x0000017a, "GetCapability" },
        { 0x0000017b, "GetRandom" },
        { 0x0000017e, "PCR_Read" },
        { 0x00000182, "PCR_Extend" },
        { TPM_CC_NSM_REQUEST, "NSM_Request" },
};

uint32_t tpm_faults_answer(uint32_t command_code, void *userdata) {
        TpmFaults *context = userdata;
        const char *name = NULL;
        FaultValue value;
        char number[16];

        for (size_t i = 0; i < ELEMENTSOF(commands) && !name; i++)
                if (commands[i].code == command_code)
                        name = commands[i].name;
        if (!name) {
                snprintf(number, sizeof(number), "0x%08x", command_code);
                name = number;
        }

        if (command_code == TPM_CC_NSM_REQUEST) {
                bool off = faults_take(context->faults, SERVICE_TPM, name, FAULT_CLOCK, &value);
                attestor_set_clock_offset(context->attestor, off ? value.number : 0);
        }
        if (faults_take(context->faults, SERVICE_TPM, name, FAULT_DELAY, &value)) {
                struct timespec left = { .tv_sec = value.number / 1000,
                                         .tv_nsec = value.number % 1000 * 1000000 };
                while (nanosleep(&left, &left) < 0 && errno == EINTR)
                        ;
        }
        if (faults_take(context->faults, SERVICE_TPM, name, FAULT_BUSY, NULL))
                return TPM_RC_RETRY;
        if (faults_take(context->faults, SERVICE_TPM, name, FAULT_CODE, &value))
                return (uint32_t) value.number;
        return 0;
}
