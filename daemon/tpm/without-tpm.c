/* SPDX-License-Identifier: Apache-2.0 */

/* Takes the place of tpm.c in a build with -Dtool-only=true, which has no tpm2-tss: no TPM can be opened, and the error says
 * why. The verbs of unsealctl need no second code path. */

#include <errno.h>

#include "tpm/tpm.h"

int tpm_supported(Error *error) {
        return error_set(
                        error, -EOPNOTSUPP, FAILURE_TPM,
                        "Cannot use a TPM: this unsealctl was built without support for TPMs (tool-only). Use unsealctl of the unseald package on the instance.");
}

int tpm_open(const char *tcti, Tpm **ret, Error *error) {
        return tpm_supported(error);
}

Tpm *tpm_close(Tpm *tpm) {
        return NULL;
}

/* No caller has a Tpm, so none of these runs. */

int tpm_prepare(Tpm *tpm, unsigned *ret_leftovers, Error *error) {
        return tpm_supported(error);
}

int tpm_attest(Tpm *tpm, const NsmRequest *request, uint8_t **ret, size_t *ret_size, Error *error) {
        return tpm_supported(error);
}

int tpm_inspect(Tpm *tpm, TpmState *ret, Error *error) {
        return tpm_supported(error);
}

int tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrSet *ret, Error *error) {
        return tpm_supported(error);
}

int tpm_extend_pcr(Tpm *tpm, unsigned pcr, const uint8_t digest[static PCR_SIZE], Error *error) {
        return tpm_supported(error);
}
