/* SPDX-License-Identifier: Apache-2.0 */

/* Runs a fuzz target over the files named on the command line, for compilers that have no libFuzzer. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char *argv[]) {
        for (int i = 1; i < argc; i++) {
                _cleanup_free_ uint8_t *data = NULL;
                size_t size;
                int r;

                r = read_file(argv[i], 1024U * 1024U, &data, &size);
                if (r < 0) {
                        fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return 1;
                }
                LLVMFuzzerTestOneInput(data, size);
        }
        printf("%d inputs replayed\n", argc - 1);
        return 0;
}
