/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>

#include "tpm/pcr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Error error = {};
        PcrSet pcrs = {};
        int r;

        r = pcr_measurements_parse((const char *) data, size, &pcrs, &error);
        if (r < 0)
                assert(error.failure != FAILURE_NONE && error.text[0] != 0);
        else
                assert(pcrs.present != 0 && pcrs.present < UINT32_C(1) << PCR_COUNT);
        return 0;
}
