/* SPDX-License-Identifier: Apache-2.0 */

#include "build-config.h"

/*
 * Wipes memory when it is freed, in the whole process and all its libraries. OpenSSL, libcurl, json-c and the C library leave
 * copies of keys, tokens and plaintexts on the heap, and unseald cannot clean these up.
 *
 * Only programs link this file, so that their free() and realloc() come before the C library's. The file does not change how
 * memory is allocated, and it does not reach memory that is never freed.
 *
 * It calls glibc's own names of these functions, and not dlsym(RTLD_NEXT). Those names need no set-up, so the first free() of
 * the dynamic linker works like any other. The compiler also has no built-in knowledge of them, which it could use to remove
 * the wiping. This has two costs: glibc misses some double frees, because its mark for them is wiped too, and an allocator from
 * LD_PRELOAD does not work.
 *
 * Sanitizers have an allocator of their own. valgrind redirects these functions like those of the C library.
 */

#if !UNSEALD_SANITIZED

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void __libc_free(void *p);
void *__libc_malloc(size_t size);
void *__libc_realloc(void *p, size_t size);

/* With LTO the compiler may know the size of the allocation, and take an access beyond it for an overflow. */
static void *hide_size(void *p) {
        __asm__("" : "+r"(p));
        return p;
}

static void wipe_and_free(void *p) {
        /* The allocator may have given more than the caller asked for. */
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

        /* glibc would free the old block itself and not wipe it. */
        void *larger = __libc_malloc(size);
        if (!larger)
                return NULL;
        memcpy(larger, p, usable);
        wipe_and_free(p);
        return larger;
}

#endif
