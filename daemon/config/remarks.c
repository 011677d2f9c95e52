/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "config/remarks.h"

void remarks_clear(Remarks *remarks) {
        for (size_t i = 0; i < remarks->count; i++)
                free(remarks->items[i].text);
        free(remarks->items);
        *remarks = (Remarks){};
}

int remarks_add(Remarks *remarks, bool mistake, const char *text) {
        Remark *items = reallocarray(remarks->items, remarks->count + 1, sizeof(*items));
        char *copy = strdup(text);

        if (items)
                remarks->items = items;
        if (!items || !copy) {
                free(copy);
                return -ENOMEM;
        }
        items[remarks->count++] = (Remark){ .mistake = mistake, .text = copy };
        return 0;
}

int remarks_take(Remarks *remarks, int r, Error *error) {
        if (!remarks || r >= 0 || error->failure == FAILURE_INTERNAL)
                return r;
        return remarks_add(remarks, true, error->text) < 0 ? error_oom(error) : 0;
}

size_t remarks_mistakes(const Remarks *remarks) {
        size_t mistakes = 0;

        for (size_t i = 0; i < remarks->count; i++)
                mistakes += remarks->items[i].mistake;
        return mistakes;
}
