/* SPDX-License-Identifier: Apache-2.0 */

/* What is decoded is what was given or shorter, and never empty; a path that is believed stays where it says. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "sealed/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        _cleanup_free_ uint8_t *raw = NULL;
        size_t raw_size;
        Source source;
        Error error;

        assert(text);
        if (source_decode(data, size, &raw, &raw_size, &error) >= 0) {
                assert(raw_size > 0 && raw_size <= size);
                if (data[0] == 0x01)
                        assert(raw_size == size && memcmp(raw, data, size) == 0);
        } else
                assert(error.failure == FAILURE_SOURCE && (size == 0 || data[0] != 0x01));

        if (source_parse(text, &source, &error) >= 0) {
                assert(source.location[0] == '/' && !strstr(source.location, "/../") &&
                       !strstr(source.location, "//"));
                source_clear(&source);
        }
        return 0;
}
