/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: attest TCTI PUBLIC-KEY-FILE > DOCUMENT
 *
 * Stands in for nitro-tpm-attest in the shell pipeline that unseald is measured against: the attestation document over a
 * public key (DER SubjectPublicKeyInfo), by unseald's own way of asking the TPM, so that this step costs both the same.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "basic/io.h"
#include "instance/tpm.h"

static int attest(const char *tcti, const NsmRequest *request, Error *error) {
        _cleanup_(tpm_closep) Tpm *tpm = NULL;
        _cleanup_free_ uint8_t *document = NULL;
        size_t size;
        int r;

        r = tpm_open(tcti, &tpm, error);
        if (r < 0)
                return r;
        r = tpm_attest(tpm, request, &document, &size, error);
        if (r < 0)
                return r;
        r = write_all(STDOUT_FILENO, document, size);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot write the document: %s.", strerror(-r));
        return 0;
}

int main(int argc, char *argv[]) {
        _cleanup_free_ uint8_t *key = NULL;
        Error error = {};
        size_t size;
        int r;

        if (argc != 3) {
                fprintf(stderr, "usage: attest TCTI PUBLIC-KEY-FILE > DOCUMENT\n");
                return 2;
        }
        r = read_file(argv[2], NSM_FIELD_MAX, &key, &size);
        if (r < 0) {
                fprintf(stderr, "attest: %s: %s\n", argv[2], strerror(-r));
                return 1;
        }
        r = attest(argv[1], &(NsmRequest){ .public_key = key, .public_key_size = size }, &error);
        if (r < 0) {
                fprintf(stderr, "attest: %s\n", error.text);
                return 1;
        }
        return 0;
}
