/* SPDX-License-Identifier: Apache-2.0 */

/* Prints a status for people. No control character of the file may reach the terminal. */

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/mman.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "unsealctl/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Functions of unsealctl.c that the verb uses. */
int usage_error(const char *format, ...) {
        return EXIT_USAGE;
}
int failure(const char *format, ...) {
        return EXIT_FAILURE;
}
const char *format_time(int64_t seconds, char buffer[TIME_STRING_MAX]) {
        (void) snprintf(buffer, TIME_STRING_MAX, "%lld", (long long) seconds);
        return buffer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_close_ int fd = memfd_create("status", MFD_CLOEXEC);
        _cleanup_free_ char *text = NULL;
        char option[64];
        char *arguments[] = { (char *) "status", option, NULL };
        size_t text_size = 0;
        FILE *terminal = stdout;

        assert(fd >= 0 && write_all(fd, data, size) >= 0);
        (void) snprintf(option, sizeof(option), "--file=/proc/self/fd/%d", fd);
        optind = 0; /* getopt_long() starts over */
        stdout = open_memstream(&text, &text_size);
        assert(stdout);
        int status = verb_status(2, arguments);
        assert(fclose(stdout) == 0);
        stdout = terminal;

        assert(status == EXIT_SUCCESS || status == EXIT_FAILURE || (status >= 3 && status <= 6));
        /* U+0080 to U+009F are control characters, too: a terminal takes U+009B for the start of an escape sequence. */
        for (size_t i = 0; i < text_size; i++) {
                unsigned char c = (unsigned char) text[i], next = (unsigned char) text[i + 1];

                assert(c == '\n' || (c >= ' ' && c != 0x7f));
                assert(c != 0xc2 || next < 0x80 || next > 0x9f);
        }
        return 0;
}
