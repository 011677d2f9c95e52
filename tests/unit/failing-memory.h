/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Lets one allocation of a test fail. The C library and all others allocate through these functions too. Include this file
 * once in a program, after cmocka.h. AddressSanitizer and valgrind have allocators of their own: memory_can_fail() is false
 * there, and the test is skipped.
 */

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "build-config.h"

/* Volatile: the compiler takes it that malloc() changes no variable of the program. */
static volatile struct {
        bool armed, failed;
        unsigned before; /* so many allocations succeed first */
} memory;

#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);

static bool memory_fails(void) {
        if (!memory.armed || memory.before-- > 0)
                return false;
        memory.armed = false;
        memory.failed = true;
        errno = ENOMEM;
        return true;
}

/* valgrind replaces these functions, but not inlined copies of them. memory_can_fail() must call what all others call. */
__attribute__((noinline)) void *malloc(size_t size) {
        return memory_fails() ? NULL : __libc_malloc(size);
}

__attribute__((noinline)) void *calloc(size_t count, size_t size) {
        return memory_fails() ? NULL : __libc_calloc(count, size);
}

/* A block that becomes smaller stays where it is; asprintf() relies on it. */
__attribute__((noinline)) void *realloc(void *p, size_t size) {
        return (!p || malloc_usable_size(p) < size) && memory_fails() ? NULL : __libc_realloc(p, size);
}
#endif

static void memory_fail_after(unsigned before) {
        memory.before = before;
        memory.failed = false;
        memory.armed = true;
}

/* Whether an allocation has failed. All others succeed again. */
static bool memory_has_failed(void) {
        memory.armed = false;
        return memory.failed;
}

static bool memory_can_fail(void) {
        const char *preloaded = getenv("LD_PRELOAD");
        bool replaced = UNSEALD_SANITIZED || (preloaded && strstr(preloaded, "vgpreload"));
        void *volatile p;

        memory_fail_after(0);
        p = malloc(1);
        free(p);
        /* Nobody would notice it if these tests were skipped everywhere. */
        if (!memory_has_failed() && !replaced)
                fail_msg("The program does not call the malloc() of this file.");
        return memory.failed;
}

/* Calls f again and again: the first allocation fails, then the second, until f makes no more. f returns -ENOMEM whenever one
 * has failed, and 0 in the end. */
static inline void assert_allocations_are_checked(int (*f)(void)) {
        bool failed = true;

        if (!memory_can_fail())
                skip();
        memory.failed = false;
        assert_int_equal(f(), 0); /* what libraries allocate once, they have now */
        for (unsigned i = 0; failed; i++) {
                int r;

                memory_fail_after(i);
                r = f();
                failed = memory_has_failed();
                if (r != (failed ? -ENOMEM : 0))
                        fail_msg("allocation %u %s: saw %d", i, failed ? "failed" : "does not exist", r);
        }
}
