/* SPDX-License-Identifier: Apache-2.0 */

#include "build-config.h"

/*
 * Memory is wiped when it is freed: in the whole process, libraries included. What OpenSSL, libcurl, json-c
 * and the C library hold of a key, a token or a plaintext is not ours to clean up, and they leave it on the
 * heap.
 *
 * Only the programs are linked with this file, so that their free() and realloc() come before the C
 * library's. It does not touch how memory is allocated, and it does not reach what is never freed. glibc's
 * own names for its functions are used rather than dlsym(RTLD_NEXT): they need no set-up, so the first
 * free() of the dynamic linker works like any other, and the compiler has no built-in knowledge of them that
 * it could use to leave out the wiping. The price: the mark by which glibc recognizes some double frees is
 * wiped as well, and an allocator from LD_PRELOAD does not work.
 *
 * Sanitizers bring an allocator of their own. valgrind redirects these functions to its own, as it does the
 * C library's.
 */

#if !UNSEALD_SANITIZED

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void __libc_free(void *p);
void *__libc_malloc(size_t size);
void *__libc_realloc(void *p, size_t size);

/* With LTO the compiler may know what size was asked for, and take what lies behind it for an overflow. */
static void *hide_size(void *p) {
        __asm__("" : "+r"(p));
        return p;
}

static void wipe_and_free(void *p) {
        /* Includes what the allocator gave beyond what was asked for. */
        explicit_bzero(p, malloc_usable_size(p));
        __libc_free(p);
}

void free(void *p) {
        if (p)
                wipe_and_free(hide_size(p));
}

void *realloc(void *p, size_t size) {
        if (!p)
                return __libc_malloc(size);
        p = hide_size(p);
        if (size == 0) {
                wipe_and_free(p);
                return NULL;
        }

        size_t usable = malloc_usable_size(p);
        if (size <= usable) {
                explicit_bzero((char *) p + size, usable - size);

                void *smaller = __libc_realloc(p, size);
                return smaller ?: p;
        }

        /* glibc would free the old block itself, unwiped. */
        void *larger = __libc_malloc(size);
        if (!larger)
                return NULL;
        memcpy(larger, p, usable);
        wipe_and_free(p);
        return larger;
}

#endif
