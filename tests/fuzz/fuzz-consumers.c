/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads unit files that load credentials from unseald. A consumer has a unit, a name and a line, and its
 * verdict has a text.
 */

#include <assert.h>
#include <string.h>

#include "unsealctl/check/consumers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(consumers_clear) Consumers consumers = {};
        const Declarations none = {};
        Error error = {};
        IniFile *file = calloc(1, sizeof(*file));

        assert(file);
        if (ini_parse("a.service", (const char *) data, size, file, &error) >= 0)
                assert(consumers_take(&consumers, "a.service", file) >= 0);
        for (size_t i = 0; i < consumers.count; i++) {
                const Consumer *consumer = consumers.items + i;

                assert(strcmp(consumer->unit, "a.service") == 0 && consumer->id && consumer->line > 0);
                assert(consumer->path || !consumer_asks_socket(consumer));
                assert(consumer_mistake_meaning(consumer_mistake(&consumers, consumer, &none))[0] != 0 ||
                       consumer_mistake(&consumers, consumer, &none) == CONSUMER_FINE);
        }
        ini_free(file);
        return 0;
}
