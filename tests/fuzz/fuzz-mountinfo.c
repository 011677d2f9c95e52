/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Finds the options of a mount in mountinfo. They must be the end of the line that begins with the mount's
 * ID.
 */

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>

#include "vault/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL, *options = NULL;

        text = strndup((const char *) data, size);
        if (!text || store_mountinfo_options(text, 36, &options) < 0)
                return 0;

        if (strchr(options, '\n') || !strstr(text, options))
                abort();
        if (store_file_system_is_memory(TMPFS_MAGIC, options) && !strstr(options, "noswap"))
                abort();
        return 0;
}
