/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "basic/io.h"
#include "build-config.h"
#include "memory/secret.h"

static size_t unmapped_size, unmapped_not_zero;

/* Replaces the C library's munmap() to examine the memory, which is gone afterwards. */
int munmap(void *address, size_t size) {
        size_t page = (size_t) sysconf(_SC_PAGESIZE);

        unmapped_size = size;
        unmapped_not_zero = 0;
        for (size_t i = page; i < size - page; i++)
                unmapped_not_zero += ((uint8_t *) address)[i] != 0;
        return (int) syscall(SYS_munmap, address, size);
}

/* The wait status of a child that calls this function. */
static int end_of(void (*act)(void *userdata), void *userdata) {
        int status;

        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                static const int fatal[] = { SIGSEGV, SIGBUS, SIGABRT };

                /* The handlers of cmocka and the sanitizers would report a failed test. */
                for (size_t i = 0; i < ELEMENTSOF(fatal); i++)
                        (void) signal(fatal[i], SIG_DFL);
                (void) setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
                if (!freopen("/dev/null", "w", stderr))
                        _exit(3);
                act(userdata);
                _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        return status;
}

static void assert_killed(void (*act)(void *userdata), void *userdata, int wanted) {
        int status = end_of(act, userdata);

        if (!WIFSIGNALED(status) || WTERMSIG(status) != wanted)
                fail_msg("ended with status %#x, not by signal %d", status, wanted);
}

/* The number after a key, for the mapping that begins at address, or the first one in the file. */
static unsigned long proc_number(const char *path, const void *address, const char *key) {
        _cleanup_free_ uint8_t *text = NULL;
        char start[32] = "";
        size_t size;

        assert_int_equal(read_file(path, 16 * 1024 * 1024, &text, &size), 0);
        if (address)
                (void) snprintf(start, sizeof(start), "\n%08lx-", (unsigned long) address);
        const char *p = strstr((char *) text, start);
        assert_non_null(p);
        p = strstr(p, key);
        assert_non_null(p);
        return strtoul(p + strlen(key), NULL, 10);
}

/* The start of the pages between the guard pages. */
static uint8_t *first_page(Secret *secret) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);

        return (uint8_t *) ((uintptr_t) secret / page * page);
}

static void test_a_new_secret_is_zeroed_and_writable_to_its_last_byte(void **state) {
        static const size_t sizes[] = { 0, 1, 15, 16, 32, 4000, 4032, 4096, 4097, 65536, SECRET_SIZE_MAX };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_secret_ Secret *secret = NULL;

                assert_int_equal(secret_new(sizes[i], &secret), 0);
                assert_int_equal(secret_size(secret), sizes[i]);
                assert_non_null(secret_bytes(secret));
                for (size_t j = 0; j < sizes[i]; j++)
                        assert_int_equal(secret_bytes(secret)[j], 0);
                memset(secret_bytes(secret), 0xff, sizes[i]);
        }
        assert_null(secret_free(NULL));
}

static void test_impossible_sizes_are_refused(void **state) {
        size_t page = (size_t) sysconf(_SC_PAGESIZE);
        Secret *secret = (Secret *) 1;

        assert_int_equal(secret_new(SIZE_MAX, &secret), -ENOMEM);
        assert_int_equal(secret_new(SIZE_MAX - 2 * page, &secret), -ENOMEM);
        assert_int_equal(secret_new(SIZE_MAX - 3 * page - 100, &secret), -ENOMEM);
        assert_int_equal(secret_new(SIZE_MAX / 2, &secret), -ENOMEM);
        assert_ptr_equal(secret, (Secret *) 1);
}

static void write_behind(void *userdata) {
        volatile uint8_t *bytes = secret_bytes(userdata);
        bytes[secret_size(userdata)] = 1;
}

/* Without a use of the value, valgrind drops the read. */
static volatile uint8_t read_byte;

static void read_behind(void *userdata) {
        volatile uint8_t *bytes = secret_bytes(userdata);
        read_byte = bytes[secret_size(userdata)];
}

static void write_before_the_pages(void *userdata) {
        *(volatile uint8_t *) (first_page(userdata) - 1) = 1;
}

/* A secret of the parent would fault too, because of MADV_DONTFORK. So the child makes its own. */
static void with_new_secret(void (*act)(void *), size_t size) {
        Secret *secret = NULL;

        if (secret_new(size, &secret) < 0)
                _exit(2);
        act(secret);
}

static void overrun_by_writing(void *userdata) {
        with_new_secret(write_behind, *(size_t *) userdata);
}

static void overrun_by_reading(void *userdata) {
        with_new_secret(read_behind, *(size_t *) userdata);
}

static void underrun_into_guard(void *userdata) {
        with_new_secret(write_before_the_pages, *(size_t *) userdata);
}

static void underrun_and_free(void *userdata) {
        Secret *secret = NULL;

        if (secret_new(*(size_t *) userdata, &secret) < 0)
                _exit(2);
        ((volatile uint8_t *) secret_bytes(secret))[-1] = 0;
        secret_free(secret);
}

static void test_an_overrun_faults_at_its_first_byte(void **state) {
        static size_t sizes[] = { 0, 1, 100, 4096, 70000 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                assert_killed(overrun_by_writing, &sizes[i], SIGSEGV);
                assert_killed(overrun_by_reading, &sizes[i], SIGSEGV);
                assert_killed(underrun_into_guard, &sizes[i], SIGSEGV);
        }
}

static void test_an_underrun_is_found_when_the_secret_is_freed(void **state) {
        static size_t sizes[] = { 0, 1, 4032, 4096 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                assert_killed(underrun_and_free, &sizes[i], SIGABRT);
}

static void read_first_byte(void *userdata) {
        read_byte = *secret_bytes(userdata);
}

static void test_a_forked_child_has_no_secrets(void **state) {
        _cleanup_secret_ Secret *secret = NULL;

        assert_int_equal(secret_new(100, &secret), 0);
        assert_killed(read_first_byte, secret, SIGSEGV);
}

static void test_secrets_are_locked_and_left_out_of_core_dumps(void **state) {
        _cleanup_secret_ Secret *secret = NULL;
        _cleanup_free_ uint8_t *smaps = NULL;
        char start[32], flags[200] = "";
        size_t size;

        assert_int_equal(secret_new(5000, &secret), 0);
        assert_int_equal(read_file("/proc/self/smaps", 16 * 1024 * 1024, &smaps, &size), 0);

        (void) snprintf(start, sizeof(start), "\n%08lx-", (unsigned long) first_page(secret));
        const char *p = strstr((char *) smaps, start);
        assert_non_null(p);
        p = strstr(p, "VmFlags:");
        assert_non_null(p);
        (void) snprintf(flags, sizeof(flags), "%.*s ", (int) strcspn(p, "\n"), p);

        assert_non_null(strstr(flags, " dd ")); /* not in core dumps */
        assert_non_null(strstr(flags, " dc ")); /* not in children */
        if (!UNSEALD_SANITIZED) {               /* the sanitizers' mlock() does nothing */
                assert_non_null(strstr(flags, " lo "));
                assert_int_equal(proc_number("/proc/self/smaps", first_page(secret), "Locked:"), 8);
        }
}

static void exceed_limit(void *userdata) {
        Secret *secret = NULL;

        /* RLIMIT_MEMLOCK does not hold for root. */
        if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 4096, 4096 }) < 0 ||
            setresuid(65534, 65534, 65534) < 0)
                _exit(2);
        _exit(secret_new(50000, &secret) == -ENOMEM && !secret ? 0 : 1);
}

static void test_secret_that_cannot_be_locked_is_refused(void **state) {
        if (UNSEALD_SANITIZED || geteuid() != 0)
                skip();
        assert_int_equal(end_of(exceed_limit, NULL), 0);
}

static void test_a_freed_secret_is_wiped_before_it_is_unmapped(void **state) {
        static const size_t sizes[] = { 1, 100, 4032, 70000 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                Secret *secret = NULL;

                assert_int_equal(secret_new(sizes[i], &secret), 0);
                memset(secret_bytes(secret), 'x', sizes[i]);
                secret_truncate(secret, sizes[i] / 2);

                unmapped_size = 0;
                assert_null(secret_free(secret));
                assert_in_range(unmapped_size, sizes[i] + 8192, sizes[i] + 3 * 8192);
                assert_int_equal(unmapped_not_zero, 0);
        }
}

static void test_truncation_wipes_what_is_cut_off(void **state) {
        _cleanup_secret_ Secret *secret = NULL;

        assert_int_equal(secret_new(100, &secret), 0);
        memset(secret_bytes(secret), 'x', 100);

        secret_truncate(secret, 200);
        assert_int_equal(secret_size(secret), 100);
        secret_truncate(secret, 100);
        assert_int_equal(secret_size(secret), 100);

        secret_truncate(secret, 40);
        assert_int_equal(secret_size(secret), 40);
        for (size_t i = 0; i < 100; i++)
                assert_int_equal(secret_bytes(secret)[i], i < 40 ? 'x' : 0);
}

static void protect(void *userdata) {
        Error error = { 0 };
        struct rlimit core;

        if (memory_protect_process(&error) < 0) {
                printf("%s\n", error.text);
                _exit(1);
        }
        if (prctl(PR_GET_DUMPABLE) != 0 || getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
                _exit(2);
        if (UNSEALD_SANITIZED)
                _exit(0);

        /* Later mappings are locked too, but only their used pages count. */
        unsigned long before = proc_number("/proc/self/status", NULL, "VmRSS:");
        if (mmap(NULL, 32 * 1024 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
            MAP_FAILED)
                _exit(3);
        if (proc_number("/proc/self/status", NULL, "VmLck:") < 32 * 1024)
                _exit(4);
        if (proc_number("/proc/self/status", NULL, "VmRSS:") > before + 16 * 1024)
                _exit(5);
}

static void protect_with_limit(void *userdata) {
        Error error = { 0 };

        if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 4096, 4096 }) < 0 ||
            setresuid(65534, 65534, 65534) < 0)
                _exit(2);
        if (memory_protect_process(&error) >= 0)
                _exit(3);
        _exit(error.failure == FAILURE_MEMORY && strstr(error.text, "LimitMEMLOCK=infinity") ? 0 : 4);
}

static void test_the_whole_process_is_locked_and_leaves_no_core_dump(void **state) {
        if (geteuid() != 0)
                skip();
        assert_int_equal(end_of(protect, NULL), 0);
}

static void test_error_for_a_low_limit_says_what_to_do(void **state) {
        if (UNSEALD_SANITIZED || geteuid() != 0)
                skip();
        assert_int_equal(end_of(protect_with_limit, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_new_secret_is_zeroed_and_writable_to_its_last_byte),
                cmocka_unit_test(test_impossible_sizes_are_refused),
                cmocka_unit_test(test_an_overrun_faults_at_its_first_byte),
                cmocka_unit_test(test_an_underrun_is_found_when_the_secret_is_freed),
                cmocka_unit_test(test_a_forked_child_has_no_secrets),
                cmocka_unit_test(test_secrets_are_locked_and_left_out_of_core_dumps),
                cmocka_unit_test(test_secret_that_cannot_be_locked_is_refused),
                cmocka_unit_test(test_a_freed_secret_is_wiped_before_it_is_unmapped),
                cmocka_unit_test(test_truncation_wipes_what_is_cut_off),
                cmocka_unit_test(test_the_whole_process_is_locked_and_leaves_no_core_dump),
                cmocka_unit_test(test_error_for_a_low_limit_says_what_to_do),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
