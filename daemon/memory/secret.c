/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "memory/secret.h"

/*
 * Each Secret has one mapping:
 *
 *     guard page │ Secret │ slack, filled with a pattern │ bytes │ guard page
 *
 * The bytes end where the upper guard page begins: an access beyond them faults at once. A write before them damages the
 * pattern in the slack, long before it reaches the Secret. secret_free() checks the pattern.
 */
struct Secret {
        uint8_t *mapping;
        size_t mapping_size;
        uint8_t *slack_end;
        size_t size;
};

#define SLACK_PATTERN 0xD7
#define SLACK_MIN 16U

static size_t page_size(void) {
        return (size_t) sysconf(_SC_PAGESIZE);
}

/* Prepares the pages between the guard pages. */
static int protect_pages(uint8_t *pages, size_t size) {
        if (mprotect(pages, size, PROT_READ | PROT_WRITE) < 0)
                return -errno;
        if (mlock(pages, size) < 0)
                return -errno;
        if (madvise(pages, size, MADV_DONTDUMP) < 0 || madvise(pages, size, MADV_DONTFORK) < 0)
                return -errno;
        return 0;
}

int secret_new(size_t size, Secret **ret) {
        size_t page = page_size(), needed;

        if (__builtin_add_overflow(size, sizeof(Secret) + SLACK_MIN + page - 1, &needed))
                return -ENOMEM;
        needed -= needed % page;

        size_t mapping_size;
        if (__builtin_add_overflow(needed, 2 * page, &mapping_size))
                return -ENOMEM;

        uint8_t *mapping = mmap(NULL, mapping_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping == MAP_FAILED)
                return -ENOMEM;
        if (protect_pages(mapping + page, needed) < 0) {
                (void) munmap(mapping, mapping_size);
                return -ENOMEM;
        }

        Secret *secret = (Secret *) (mapping + page);
        *secret = (Secret){
                .mapping = mapping,
                .mapping_size = mapping_size,
                .slack_end = mapping + page + needed - size,
                .size = size,
        };
        memset(secret + 1, SLACK_PATTERN, (size_t) (secret->slack_end - (uint8_t *) (secret + 1)));

        *ret = secret;
        return 0;
}

static void check_slack(Secret *secret) {
        for (const uint8_t *p = (uint8_t *) (secret + 1); p < secret->slack_end; p++)
                if (*p != SLACK_PATTERN) {
                        fputs("The memory before a secret was overwritten. This is a bug in unseald, which aborts now.\n",
                              stderr);
                        abort();
                }
}

Secret *secret_free(Secret *secret) {
        if (!secret)
                return NULL;

        check_slack(secret);

        uint8_t *mapping = secret->mapping;
        size_t mapping_size = secret->mapping_size, page = page_size();

        explicit_bzero(mapping + page, mapping_size - 2 * page);
        (void) munmap(mapping, mapping_size);
        return NULL;
}

uint8_t *secret_bytes(Secret *secret) {
        return secret->slack_end;
}

size_t secret_size(const Secret *secret) {
        return secret->size;
}

void secret_truncate(Secret *secret, size_t size) {
        if (size >= secret->size)
                return;

        explicit_bzero(secret->slack_end + size, secret->size - size);
        secret->size = size;
}

int memory_protect_process(Error *error) {
        /* A core dump would write all memory to a disk. A process that is not dumpable also cannot be traced by others of the
         * same user. The limit still holds if something makes the process dumpable again. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return error_set(error, -errno, FAILURE_MEMORY,
                                 "Core dumps of this process cannot be turned off: %m.");
        if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) < 0)
                return error_set(error, -errno, FAILURE_MEMORY,
                                 "The size limit of core dumps cannot be set to 0: %m.");

        /* MCL_ONFAULT: to lock pages that are mapped but never used would double the resident memory. */
        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                return error_set(
                                error, -errno, FAILURE_MEMORY,
                                "Memory cannot be locked, so secrets could be swapped to disk: %m. Set LimitMEMLOCK=infinity in the unit, or give it CAP_IPC_LOCK.");
        return 0;
}
