/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Ownership: a local with _cleanup_ releases its object at the end of the scope. TAKE() moves the object out, so that nothing is
 * released. */

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _pure_ __attribute__((pure))
#define _printf_(a, b) __attribute__((format(printf, a, b)))

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))

#define TAKE(value, empty)                              \
        ({                                              \
                typeof(value) *_taken_from_ = &(value); \
                typeof(value) _taken_ = *_taken_from_;  \
                *_taken_from_ = (empty);                \
                _taken_;                                \
        })
#define TAKE_PTR(pointer) TAKE(pointer, NULL)
#define TAKE_FD(fd) TAKE(fd, -1)

/* Defines FUNCTIONp() for _cleanup_(). It calls FUNCTION(), but not with NULL. */
#define DEFINE_CLEANUP(type, function)                  \
        static inline void function##p(type *pointer) { \
                if (*pointer)                           \
                        function(*pointer);             \
        }                                               \
        struct unseald_semicolon_wanted

static inline void freep(void *pointer) {
        free(*(void **) pointer);
}

static inline void closep(int *fd) {
        if (*fd >= 0)
                close(*fd);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
