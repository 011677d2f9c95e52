/* SPDX-License-Identifier: Apache-2.0 */

/* Waits for nothing but its turn: a TPM that is not there, or fails otherwise, is told of at once. */

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "basic/clock.h"
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

static void pause_usec(uint64_t usec) {
        struct timespec left = {
                .tv_sec = (time_t) (usec / USEC_PER_SEC),
                .tv_nsec = (long) (usec % USEC_PER_SEC * 1000),
        };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}

int document_get(const char *tcti, const NsmRequest *request, uint64_t timeout_usec, uint8_t **ret,
                 size_t *ret_size, Error *error) {
        uint64_t begun = now_monotonic_usec();

        for (unsigned attempt = 1;; attempt++) {
                int r = try_once(tcti, request, ret, ret_size, error);
                uint64_t passed = now_monotonic_usec() - begun, random, delay;

                if ((r != -EBUSY && r != -EAGAIN) || passed >= timeout_usec)
                        return r;
                /* Of jitter only; it needs no entropy. */
                if (getrandom(&random, sizeof(random), GRND_INSECURE) < 0)
                        random = now_monotonic_usec() * UINT64_C(0x9e3779b97f4a7c15);
                delay = retry_delay_usec(attempt, 0, random);
                pause_usec(delay < timeout_usec - passed ? delay : timeout_usec - passed);
        }
}
