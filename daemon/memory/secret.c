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
 * One mapping a secret:
 *
 *     guard page │ Secret │ slack, filled with a pattern │ bytes │ guard page
 *
 * The bytes end where the upper guard page begins, so that reading or writing past them faults at once. What
 * is written in front of them spoils the pattern, which is looked at when the secret is freed, before it
 * reaches what the Secret itself says.
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

/* The pages between the guards, ready to hold a secret. */
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
                        fputs("Memory in front of a secret was overwritten, this is a bug; aborting.\n",
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
        /* A core dump would be all of memory, on disk. Not being dumpable also keeps other processes of the
         * same user from attaching to us; the limit is there in case anything makes us dumpable again. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return error_set(error, -errno, FAILURE_MEMORY, "Core dumps cannot be turned off: %m.");
        if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) < 0)
                return error_set(error, -errno, FAILURE_MEMORY,
                                 "The limit of core dumps cannot be set to 0: %m.");

        /* On fault: locking what is mapped but never used doubles resident memory. */
        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                return error_set(
                                error, -errno, FAILURE_MEMORY,
                                "Memory cannot be locked, so it may be swapped to disk: %m. Set LimitMEMLOCK=infinity in the unit, or give it CAP_IPC_LOCK.");
        return 0;
}
