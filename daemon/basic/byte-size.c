/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/byte-size.h"

int parse_bytes(const char *text, uint64_t *ret) {
        static const char suffixes[] = "KMGT";
        size_t digits = strspn(text, "0123456789");
        const char *suffix = text[digits] != '\0' ? strchr(suffixes, text[digits]) : NULL;
        uint64_t number, unit = 1;

        if (digits == 0 || (text[digits] != '\0' && (!suffix || text[digits + 1] != '\0')))
                return -EINVAL;
        errno = 0;
        number = strtoull(text, NULL, 10);
        if (suffix)
                unit = UINT64_C(1) << (10 * (suffix - suffixes + 1));
        if (errno != 0 || number > UINT64_MAX / unit)
                return -ERANGE;
        *ret = number * unit;
        return 0;
}
