/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The TPM's faults, in the form that attestor_serve() calls. */

#include "attestor.h"
#include "faults.h"

typedef struct TpmFaults {
        Attestor *attestor;
        Faults *faults;
} TpmFaults;

/* An AttestorFault; userdata is a TpmFaults. */
uint32_t tpm_faults_answer(uint32_t command_code, void *userdata);
