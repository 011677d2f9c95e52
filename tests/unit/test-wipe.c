/* SPDX-License-Identifier: Apache-2.0 */

/* Includes the source: only programs link it, not the library. */
#include "memory/wipe.c"

#include <errno.h>
#include <json-c/json.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Bytes at the start of a block into which free() writes links and marks. */
#define ALLOCATOR_SIZE (4 * sizeof(void *))

/* Hides from the compiler that the memory was freed. */
static uint8_t *launder(void *p) {
        __asm__ volatile("" : "+r"(p) : : "memory");
        return p;
}

static uint8_t *fill(void *p, size_t size) {
        assert_non_null(p);
        memset(p, 0xA5, size);
        return launder(p);
}

/* Four bytes in a row: one alone may occur in the allocator's links and random marks. */
static void assert_wiped(const uint8_t *p, size_t from, size_t to) {
        size_t run = 0;

        for (size_t i = from; i < to; i++) {
                run = p[i] == 0xA5 ? run + 1 : 0;
                if (run == 4)
                        fail_msg("bytes from %zu on of %zu were not wiped", i - 3, to);
        }
}

static void test_freed_memory_is_wiped(void **state) {
        static const size_t sizes[] = { 40, 100, 1000, 5000, 60000, 120000 };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                uint8_t *p = fill(malloc(sizes[i]), sizes[i]);
                /* Without this block the allocator would merge the freed one with free space and return it. */
                void *fence = malloc(sizes[i]);

                free(launder(p));
                assert_wiped(p, ALLOCATOR_SIZE, sizes[i]);
                free(fence);
        }
}

static void test_slack_behind_the_requested_size_is_wiped(void **state) {
        uint8_t *p = launder(malloc(41));
        size_t usable = malloc_usable_size(p);

        assert_true(usable > 41);
        fill(p, usable);
        free(launder(p));
        assert_wiped(p, ALLOCATOR_SIZE, usable);
}

static void test_freed_memory_of_calloc_is_wiped(void **state) {
        uint8_t *p = fill(calloc(20, 50), 1000);

        free(launder(p));
        assert_wiped(p, ALLOCATOR_SIZE, 1000);
}

static void test_freed_aligned_memory_is_wiped(void **state) {
        void *q = NULL;

        assert_int_equal(posix_memalign(&q, 256, 1000), 0);
        uint8_t *p = fill(q, 1000);
        free(launder(p));
        assert_wiped(p, ALLOCATOR_SIZE, 1000);

        p = fill(aligned_alloc(64, 1024), 1024);
        free(launder(p));
        assert_wiped(p, ALLOCATOR_SIZE, 1024);
}

static void test_shrinking_wipes_the_tail(void **state) {
        uint8_t *p = fill(malloc(1000), 1000);
        uint8_t *q = launder(realloc(launder(p), 100));

        assert_ptr_equal(p, q);
        for (size_t i = 0; i < 100; i++)
                assert_int_equal(q[i], 0xA5);
        assert_wiped(q, 100, 1000);
        free(q);
}

static void test_shrinking_a_mapping_keeps_what_is_left(void **state) {
        const size_t large = 4U * 1024 * 1024;
        uint8_t *p = fill(malloc(large), large);

        p = launder(realloc(p, 200000));
        for (size_t i = 0; i < 200000; i++)
                assert_int_equal(p[i], 0xA5);
        assert_wiped(p, 200000, malloc_usable_size(p));
        free(p);
}

static void test_moving_wipes_the_old_block_and_keeps_the_content(void **state) {
        static const size_t sizes[] = { 100, 5000, 100000 };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                uint8_t *p = fill(malloc(sizes[i]), sizes[i]);
                void *fence = malloc(100);
                uint8_t *q = launder(realloc(launder(p), sizes[i] * 20));

                assert_ptr_not_equal(p, q);
                for (size_t j = 0; j < sizes[i]; j++)
                        assert_int_equal(q[j], 0xA5);
                assert_wiped(p, ALLOCATOR_SIZE, sizes[i]);
                free(q);
                free(fence);
        }
}

static void test_reallocarray_wipes_too(void **state) {
        uint8_t *p = fill(malloc(1000), 1000);
        void *fence = malloc(100);
        uint8_t *q = launder(reallocarray(launder(p), 100, 1000));

        assert_wiped(p, ALLOCATOR_SIZE, 1000);
        free(q);
        free(fence);
}

static void test_libraries_wipe_too(void **state) {
        /* OpenSSL, json-c and the C library call our free() and realloc(). */
        uint8_t *p = fill(OPENSSL_malloc(1000), 1000);
        OPENSSL_free(launder(p));
        assert_wiped(p, ALLOCATOR_SIZE, 1000);

        char text[2000];
        memset(text, 0xA5, sizeof(text));
        struct json_object *object = json_object_new_string_len(text, sizeof(text));
        assert_non_null(object);
        const uint8_t *inner = launder((void *) json_object_get_string(object));
        assert_int_equal(json_object_put(object), 1);
        assert_wiped(inner, 0, sizeof(text));

        FILE *stream = tmpfile();
        assert_non_null(stream);
        assert_int_equal(fwrite(text, 1, sizeof(text), stream), sizeof(text));
        rewind(stream);
        uint8_t *line = launder(malloc(120)), *old = line;
        size_t size = 120;
        void *fence = malloc(100);
        assert_int_equal(getline((char **) &line, &size, stream), sizeof(text));
        assert_ptr_not_equal(line, old);
        assert_wiped(old, ALLOCATOR_SIZE, 120);
        free(line);
        free(fence);
        fclose(stream);
}

static void test_edges_are_those_of_the_c_library(void **state) {
        volatile size_t too_large = SIZE_MAX;

        free(NULL);
        uint8_t *p = fill(realloc(NULL, 100), 100);

        errno = 0;
        assert_null(realloc(launder(p), too_large));
        assert_int_equal(errno, ENOMEM);
        for (size_t i = 0; i < 100; i++)
                assert_int_equal(p[i], 0xA5);

        errno = EXDEV;
        free(p);
        assert_int_equal(errno, EXDEV);

        p = fill(malloc(500), 500);
        assert_null(realloc(launder(p), 0));
        assert_wiped(launder(p), ALLOCATOR_SIZE, 500);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_freed_memory_is_wiped),
                cmocka_unit_test(test_slack_behind_the_requested_size_is_wiped),
                cmocka_unit_test(test_freed_memory_of_calloc_is_wiped),
                cmocka_unit_test(test_freed_aligned_memory_is_wiped),
                cmocka_unit_test(test_shrinking_wipes_the_tail),
                cmocka_unit_test(test_shrinking_a_mapping_keeps_what_is_left),
                cmocka_unit_test(test_moving_wipes_the_old_block_and_keeps_the_content),
                cmocka_unit_test(test_reallocarray_wipes_too),
                cmocka_unit_test(test_libraries_wipe_too),
                cmocka_unit_test(test_edges_are_those_of_the_c_library),
        };
        const char *preloaded = getenv("LD_PRELOAD");

        /* Freed memory can be examined only with the C library's own allocator. */
        if (UNSEALD_SANITIZED || (preloaded && strstr(preloaded, "vgpreload"))) {
                puts("SKIPPED: under sanitizers and valgrind, memory is not wiped on free.");
                return 77;
        }
        /* "meson test" sets MALLOC_PERTURB_ to a random number, and the C library then fills what is freed. One number is 0xA5. */
        if (mallopt(M_PERTURB, 0) != 1)
                return EXIT_FAILURE;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
