/* SPDX-License-Identifier: Apache-2.0 */

/* A document stays as it is, or becomes shorter and begins as COSE_Sign1. A nonce without a prefix has at least NONCE_TEXT_MIN bytes. */

#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unsealctl/verify-input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_document(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *document = malloc(size + 1);
        size_t left = size;

        if (!document)
                return;
        if (size > 0)
                memcpy(document, data, size);
        if (document_unwrap(&document, &left) < 0)
                return;
        if (left != size ? left > size || left < 2 || (document[0] != 0x84 && document[0] != 0xd2)
                         : size > 0 && memcmp(document, data, size) != 0)
                abort();
        (void) document_form(document, left);
}

static void check_nonce(const char *text) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size = 0;
        int r = nonce_from_text(text, &bytes, &size);

        if (r < 0 ? bytes != NULL : !nonce_has_prefix(text) && size < NONCE_TEXT_MIN)
                abort();
        (void) nonce_missing_prefix(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);

        check_document(data, size);
        if (text)
                check_nonce(text);
        return 0;
}
