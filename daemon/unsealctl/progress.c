/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <unistd.h>

#include "unsealctl/progress.h"

#define PROGRESS_STEP (16U * 1024U * 1024U)

Progress progress_begin(const char *done, uint64_t total) {
        return (Progress){
                .on = isatty(STDERR_FILENO), .done = done, .total = total, .next = PROGRESS_STEP
        };
}

void progress_show(Progress *progress, uint64_t bytes) {
        if (!progress->on || bytes < progress->next)
                return;
        progress->next = bytes + PROGRESS_STEP;
        if (progress->total > 0)
                fprintf(stderr, "\r%llu of %llu MiB %s", (unsigned long long) bytes >> 20,
                        (unsigned long long) progress->total >> 20, progress->done);
        else
                fprintf(stderr, "\r%llu MiB %s", (unsigned long long) bytes >> 20, progress->done);
}

void progress_end(const Progress *progress) {
        if (progress->on && progress->next > PROGRESS_STEP)
                fputs("\r\033[K", stderr);
}
