/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "basic/thread.h"
#include "basic/worker.h"
#include "build-config.h"

#define JOBS 100

typedef struct Job {
        Worker **worker;
        sd_event *event;
        unsigned number;
        unsigned *run, *done;
        pthread_t thread;
} Job;

static void run(void *userdata) {
        Job *job = userdata;

        assert_int_equal(*job->run, job->number);
        *job->run += 1;
        job->thread = pthread_self();
}

static void done(void *userdata) {
        Job *job = userdata;

        assert_int_equal(*job->done, job->number);
        *job->done += 1;
        if (*job->done == JOBS) {
                *job->worker = worker_free(*job->worker);
                (void) sd_event_exit(job->event, 0);
        }
}

static void test_jobs_run_in_order_in_one_other_thread_and_the_last_may_free_the_worker(void **state) {
        Worker *worker = NULL;
        sd_event *event = NULL;
        unsigned jobs_run = 0, jobs_done = 0;
        Job jobs[JOBS];

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(worker_new(event, "test", &worker), 0);
        for (unsigned i = 0; i < JOBS; i++) {
                jobs[i] = (Job){
                        .worker = &worker, .event = event, .number = i, .run = &jobs_run, .done = &jobs_done
                };
                assert_int_equal(worker_submit(worker, run, done, jobs + i), 0);
        }
        assert_int_equal(sd_event_loop(event), 0);
        assert_int_equal(jobs_run, JOBS);
        assert_int_equal(jobs_done, JOBS);
        for (unsigned i = 0; i < JOBS; i++) {
                assert_true(pthread_equal(jobs[i].thread, jobs[0].thread));
                assert_false(pthread_equal(jobs[i].thread, pthread_self()));
        }
        sd_event_unref(event);
}

typedef struct Slow {
        sem_t begun;
        bool finished;
} Slow;

static void slow(void *userdata) {
        Slow *job = userdata;

        (void) sem_post(&job->begun);
        (void) nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        job->finished = true;
}

static void never(void *userdata) {
        fail_msg("a job that was dropped ran or reported");
}

static void test_freeing_waits_for_the_running_job_and_drops_the_rest(void **state) {
        Worker *worker = NULL;
        sd_event *event = NULL;
        Slow job = {};

        assert_int_equal(sem_init(&job.begun, 0, 0), 0);

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(worker_new(event, "test", &worker), 0);
        assert_int_equal(worker_submit(worker, slow, never, &job), 0);
        assert_int_equal(sem_wait(&job.begun), 0);
        assert_int_equal(worker_submit(worker, never, never, NULL), 0);
        worker = worker_free(worker);
        assert_true(job.finished);
        assert_true(sd_event_run(event, 0) >= 0);
        sd_event_unref(event);
}

/* A job that nobody can wait for. It leaves something on its stack. */
typedef struct Hanging {
        sem_t begun, end, cleaned_up;
        volatile uint8_t *stack;
} Hanging;

#define MARK 0xa5

static void hang(void *userdata) {
        Hanging *job = userdata;
        volatile uint8_t buffer[20000];

        for (size_t i = 0; i < sizeof(buffer); i++)
                buffer[i] = MARK;
        job->stack = buffer;
        (void) sem_post(&job->begun);
        while (sem_wait(&job->end) < 0)
                ;
}

static void clean_up(void *userdata) {
        Hanging *job = userdata;

        (void) sem_post(&job->cleaned_up);
}

static void abandon_one_that_hangs(sd_event *event, Hanging *job) {
        Worker *worker = NULL;

        assert_int_equal(sem_init(&job->begun, 0, 0), 0);
        assert_int_equal(sem_init(&job->end, 0, 0), 0);
        assert_int_equal(sem_init(&job->cleaned_up, 0, 0), 0);
        assert_int_equal(worker_new(event, "test", &worker), 0);
        assert_int_equal(worker_submit(worker, hang, never, job), 0);
        assert_int_equal(worker_submit(worker, never, never, NULL), 0);
        assert_int_equal(sem_wait(&job->begun), 0);
        worker_abandon(worker, clean_up, job);
}

static void test_a_worker_that_hangs_is_abandoned_and_cleans_up_by_itself(void **state) {
        sd_event *event = NULL;
        Hanging job = {};

        assert_true(sd_event_new(&event) >= 0);
        abandon_one_that_hangs(event, &job);
        assert_int_equal(sem_trywait(&job.cleaned_up), -1);
        assert_true(sd_event_run(event, 0) >= 0);
        sd_event_unref(event);
        (void) sem_post(&job.end);
        assert_int_equal(sem_wait(&job.cleaned_up), 0);
}

static void test_the_stack_of_an_abandoned_worker_is_wiped(void **state) {
        sd_event *event = NULL;
        Hanging job = {};

        if (UNSEALD_SANITIZED)
                skip(); /* AddressSanitizer's own code uses the stack again when a thread ends */
        if (getenv("UNSEALD_TEST_SLOW"))
                skip(); /* valgrind: the memory is another thread's stack */
        assert_true(sd_event_new(&event) >= 0);
        abandon_one_that_hangs(event, &job);
        assert_int_equal(job.stack[0], MARK);
        (void) sem_post(&job.end);
        assert_int_equal(sem_wait(&job.cleaned_up), 0);
        /* From the lowest address to the highest. */
        while (job.stack[19000] == MARK)
                (void) usleep(1000);
        for (size_t i = 0; i < 19000; i++)
                assert_int_equal(job.stack[i], 0);
        sd_event_unref(event);
}

/* Before the process ends: a worker that hangs is left, and one that ends is waited for. */
static void test_the_threads_of_abandoned_workers_are_waited_for_up_to_a_limit(void **state) {
        sd_event *event = NULL;
        Hanging job = {};

        assert_true(sd_event_new(&event) >= 0);
        abandon_one_that_hangs(event, &job);
        threads_finish(1);
        assert_int_equal(sem_trywait(&job.cleaned_up), -1);
        (void) sem_post(&job.end);
        threads_finish(UINT64_C(3600000000));
        assert_int_equal(sem_trywait(&job.cleaned_up), 0);
        threads_finish(UINT64_C(3600000000)); /* there is none any more */
        sd_event_unref(event);
}

static void test_an_idle_worker_is_abandoned_at_once(void **state) {
        sd_event *event = NULL;
        Worker *worker = NULL;
        Hanging job = {};

        assert_int_equal(sem_init(&job.cleaned_up, 0, 0), 0);
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(worker_new(event, "test", &worker), 0);
        worker_abandon(worker, clean_up, &job);
        assert_int_equal(sem_trywait(&job.cleaned_up), 0);
        worker_abandon(NULL, clean_up, &job);
        assert_int_equal(sem_trywait(&job.cleaned_up), 0);
        sd_event_unref(event);
}

/* Fills *userdata with the address of the thread's stack. */
static void find_stack(void *userdata) {
        pthread_attr_t attributes;
        size_t size;

        assert_int_equal(pthread_getattr_np(pthread_self(), &attributes), 0);
        assert_int_equal(pthread_attr_getstack(&attributes, userdata, &size), 0);
        (void) pthread_attr_destroy(&attributes);
}

static void found_stack(void *userdata) {
        uint8_t *stack = *(uint8_t **) userdata;
        size_t page = (size_t) sysconf(_SC_PAGESIZE);
        int fds[2];

        /* A mapping is there, so nothing else can be mapped, and the kernel cannot read it either. */
        assert_true(mmap(stack - page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                         -1, 0) == MAP_FAILED);
        assert_int_equal(errno, EEXIST);
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(write(fds[1], stack, 1), 1);
        assert_int_equal(write(fds[1], stack - 1, 1), -1);
        (void) close(fds[0]);
        (void) close(fds[1]);
}

static void test_memory_below_the_stack_cannot_be_accessed(void **state) {
        Worker *worker = NULL;
        sd_event *event = NULL;
        uint8_t *stack = NULL;

        if (getenv("UNSEALD_TEST_SLOW")) {
                print_message("skipped: valgrind places mappings by rules of its own\n");
                skip();
        }
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(worker_new(event, "test", &worker), 0);
        assert_int_equal(worker_submit(worker, find_stack, found_stack, &stack), 0);
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        assert_non_null(stack);
        worker = worker_free(worker);
        sd_event_unref(event);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(
                                test_jobs_run_in_order_in_one_other_thread_and_the_last_may_free_the_worker),
                cmocka_unit_test(test_freeing_waits_for_the_running_job_and_drops_the_rest),
                cmocka_unit_test(test_a_worker_that_hangs_is_abandoned_and_cleans_up_by_itself),
                cmocka_unit_test(test_the_stack_of_an_abandoned_worker_is_wiped),
                cmocka_unit_test(test_the_threads_of_abandoned_workers_are_waited_for_up_to_a_limit),
                cmocka_unit_test(test_an_idle_worker_is_abandoned_at_once),
                cmocka_unit_test(test_memory_below_the_stack_cannot_be_accessed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
