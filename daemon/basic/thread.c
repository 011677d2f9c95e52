/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "basic/thread.h"

/* An overflow must hit memory that nobody may touch. 64 KiB is one page on every kernel. */
#define GUARD_SIZE (64U * 1024U)

struct Thread {
        pthread_t id;
        ThreadMain run;
        void *userdata;
        uint8_t *stack; /* GUARD_SIZE above the start of its mapping */
        atomic_bool detached;
        Thread *next; /* in the list of detached threads */
};

/* Threads that run to their end by themselves. */
static Thread *detached;
static pthread_mutex_t detached_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Wipes the stack below this function. It calls nothing, so that it does not wipe what it returns to; the margin is for its own
 * frame. */
__attribute__((noinline, no_sanitize("address"))) static void wipe_below(uint8_t *stack) {
        const uint8_t *end = (const uint8_t *) __builtin_frame_address(0) - 256;

        for (volatile uint8_t *byte = stack; byte < end; byte++)
                *byte = 0;
}

static void *thread_main(void *userdata) {
        Thread *thread = userdata;

        thread->run(thread->userdata);
        if (atomic_load(&thread->detached))
                wipe_below(thread->stack);
        return NULL;
}

static int map_stack(uint8_t **ret) {
        uint8_t *mapping = mmap(NULL, GUARD_SIZE + THREAD_STACK_SIZE, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        int r;

        if (mapping == MAP_FAILED)
                return -errno;
        if (mprotect(mapping + GUARD_SIZE, THREAD_STACK_SIZE, PROT_READ | PROT_WRITE) < 0) {
                r = -errno;
                (void) munmap(mapping, GUARD_SIZE + THREAD_STACK_SIZE);
                return r;
        }
        *ret = mapping + GUARD_SIZE;
        return 0;
}

/* Wipes only the pages that were used: wiping the others would first bring them into memory. */
static void wipe_stack(uint8_t *stack) {
        unsigned char resident[THREAD_STACK_SIZE / 4096] = {};
        size_t page = (size_t) sysconf(_SC_PAGESIZE);
        bool known = mincore(stack, THREAD_STACK_SIZE, resident) >= 0;

        for (size_t i = 0; i < THREAD_STACK_SIZE / page; i++)
                if (!known || (resident[i] & 1))
                        explicit_bzero(stack + i * page, page);
}

static void thread_free(Thread *thread) {
        if (thread->stack) {
                wipe_stack(thread->stack);
                (void) munmap(thread->stack - GUARD_SIZE, GUARD_SIZE + THREAD_STACK_SIZE);
        }
        free(thread);
}
DEFINE_CLEANUP(Thread *, thread_free);

/* Frees the detached threads that have ended. */
static void reap(void) {
        (void) pthread_mutex_lock(&detached_mutex);
        for (Thread **place = &detached; *place;) {
                Thread *thread = *place;

                if (pthread_tryjoin_np(thread->id, NULL) == 0) {
                        *place = thread->next;
                        thread_free(thread);
                } else
                        place = &thread->next;
        }
        (void) pthread_mutex_unlock(&detached_mutex);
}

int thread_start(const char *name, ThreadMain run, void *userdata, Thread **ret) {
        _cleanup_(thread_freep) Thread *thread = calloc(1, sizeof(*thread));
        pthread_attr_t attributes;
        int r;

        reap();
        if (!thread)
                return -ENOMEM;
        thread->run = run;
        thread->userdata = userdata;
        r = map_stack(&thread->stack);
        if (r < 0)
                return r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        r = pthread_attr_setstack(&attributes, thread->stack, THREAD_STACK_SIZE);
        if (r == 0)
                r = pthread_create(&thread->id, &attributes, thread_main, thread);
        (void) pthread_attr_destroy(&attributes);
        if (r != 0)
                return -r;
        (void) pthread_setname_np(thread->id, name);
        *ret = TAKE_PTR(thread);
        return 0;
}

Thread *thread_join(Thread *thread) {
        if (!thread)
                return NULL;
        (void) pthread_join(thread->id, NULL);
        thread_free(thread);
        return NULL;
}

void threads_run(const char *name, ThreadMain run, void *userdata, unsigned count) {
        Thread *threads[THREADS_RUN_MAX - 1];
        unsigned started = 0;

        while (started + 1 < count && started < ELEMENTSOF(threads) &&
               thread_start(name, run, userdata, &threads[started]) >= 0)
                started++;
        run(userdata);
        while (started > 0)
                (void) thread_join(threads[--started]);
}

void thread_detach(Thread *thread) {
        (void) pthread_mutex_lock(&detached_mutex);
        thread->next = detached;
        detached = thread;
        atomic_store(&thread->detached, true);
        (void) pthread_mutex_unlock(&detached_mutex);
}

void threads_finish(uint64_t usec) {
        struct timespec end = {};

        (void) clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += (time_t) (usec / 1000000);
        end.tv_nsec += (long) (usec % 1000000) * 1000;
        if (end.tv_nsec >= 1000000000) {
                end.tv_sec++;
                end.tv_nsec -= 1000000000;
        }

        (void) pthread_mutex_lock(&detached_mutex);
        while (detached && pthread_clockjoin_np(detached->id, NULL, CLOCK_MONOTONIC, &end) == 0) {
                Thread *thread = detached;

                detached = thread->next;
                thread_free(thread);
        }
        (void) pthread_mutex_unlock(&detached_mutex);
}
