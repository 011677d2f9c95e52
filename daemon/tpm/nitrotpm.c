/* SPDX-License-Identifier: Apache-2.0 */

/* It waits only for its turn. If there is no TPM, or the TPM fails in another way, it returns the error at once. */

#include <errno.h>

#include "basic/clock.h"
#include "basic/jitter.h"
#include "basic/retry.h"
#include "tpm/nitrotpm.h"
#include "tpm/tpm.h"

static int try_once(const char *tcti, const NsmRequest *request, uint8_t **ret, size_t *ret_size,
                    Error *error) {
        _cleanup_(tpm_closep) Tpm *tpm = NULL;
        int r;

        r = tpm_open(tcti, &tpm, error);
        if (r < 0)
                return r;
        return tpm_attest(tpm, request, ret, ret_size, error);
}

int document_get(const char *tcti, const NsmRequest *request, uint64_t timeout_usec, uint8_t **ret,
                 size_t *ret_size, Error *error) {
        uint64_t begun = now_monotonic_usec();

        for (unsigned attempt = 1;; attempt++) {
                int r = try_once(tcti, request, ret, ret_size, error);
                uint64_t passed = now_monotonic_usec() - begun, delay;

                if ((r != -EBUSY && r != -EAGAIN) || passed >= timeout_usec)
                        return r;
                delay = retry_delay_usec(attempt, 0, jitter_random());
                sleep_usec(delay < timeout_usec - passed ? delay : timeout_usec - passed);
        }
}
