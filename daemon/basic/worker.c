/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "basic/worker.h"

/* OpenSSL's key generation and tpm2-tss want some tens of kilobytes. */
#define STACK_SIZE (256U * 1024U)

/* Below it, not to be touched: a page, however large the kernel's are. */
#define GUARD_SIZE (64U * 1024U)

typedef struct Job Job;
struct Job {
        WorkerJob run;
        WorkerDone done;
        void *userdata;
        Job *next;
};

typedef struct Queue {
        Job *head, **tail;
} Queue;

struct Worker {
        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t submitted;
        Queue waiting, finished; /* under mutex */
        bool ending;             /* under mutex */
        int event_fd;
        sd_event_source *source;
        uint8_t *stack;
};

static void queue_push(Queue *queue, Job *job) {
        job->next = NULL;
        *queue->tail = job;
        queue->tail = &job->next;
}

static Job *queue_pop(Queue *queue) {
        Job *job = queue->head;

        if (!job)
                return NULL;
        queue->head = job->next;
        if (!queue->head)
                queue->tail = &queue->head;
        return job;
}

static void queue_clear(Queue *queue) {
        for (Job *job; (job = queue_pop(queue));)
                free(job);
}

static void *worker_main(void *userdata) {
        Worker *worker = userdata;

        (void) pthread_mutex_lock(&worker->mutex);
        for (;;) {
                Job *job;

                while (!worker->ending && !worker->waiting.head)
                        (void) pthread_cond_wait(&worker->submitted, &worker->mutex);
                if (worker->ending)
                        break;

                job = queue_pop(&worker->waiting);
                (void) pthread_mutex_unlock(&worker->mutex);
                job->run(job->userdata);
                (void) pthread_mutex_lock(&worker->mutex);

                queue_push(&worker->finished, job);
                (void) eventfd_write(worker->event_fd, 1);
        }
        (void) pthread_mutex_unlock(&worker->mutex);
        return NULL;
}

static int on_finished(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Worker *worker = userdata;
        eventfd_t count;
        Job *job;

        (void) eventfd_read(fd, &count);

        (void) pthread_mutex_lock(&worker->mutex);
        job = queue_pop(&worker->finished);
        if (worker->finished.head)
                (void) eventfd_write(fd, 1);
        (void) pthread_mutex_unlock(&worker->mutex);

        /* One a turn, and nothing of the worker is touched afterwards: done() may free it. */
        if (job) {
                WorkerDone done = job->done;
                void *job_userdata = job->userdata;

                free(job);
                done(job_userdata);
        }
        return 0;
}

static int start_thread(Worker *worker, const char *name) {
        pthread_attr_t attributes;
        uint8_t *mapping;
        int r;

        /* A stack of our own, since glibc keeps those of threads that ended for the next, as they are. */
        mapping = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (mapping == MAP_FAILED)
                return -errno;
        if (mprotect(mapping + GUARD_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE) < 0) {
                r = -errno;
                (void) munmap(mapping, GUARD_SIZE + STACK_SIZE);
                return r;
        }
        worker->stack = mapping + GUARD_SIZE;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        r = pthread_attr_setstack(&attributes, worker->stack, STACK_SIZE);
        if (r == 0)
                r = pthread_create(&worker->thread, &attributes, worker_main, worker);
        (void) pthread_attr_destroy(&attributes);
        if (r == 0)
                (void) pthread_setname_np(worker->thread, name);
        return -r;
}

/* Only what was ever touched: wiping the rest would bring it into memory first. */
static void wipe_stack(uint8_t *stack) {
        unsigned char resident[STACK_SIZE / 4096] = {};
        size_t page = (size_t) sysconf(_SC_PAGESIZE);
        bool known = mincore(stack, STACK_SIZE, resident) >= 0;

        for (size_t i = 0; i < STACK_SIZE / page; i++)
                if (!known || (resident[i] & 1))
                        explicit_bzero(stack + i * page, page);
}

static void worker_destroy(Worker *worker) {
        queue_clear(&worker->waiting);
        queue_clear(&worker->finished);
        if (worker->stack) {
                wipe_stack(worker->stack);
                (void) munmap(worker->stack - GUARD_SIZE, GUARD_SIZE + STACK_SIZE);
        }
        (void) sd_event_source_disable_unref(worker->source);
        if (worker->event_fd >= 0)
                (void) close(worker->event_fd);
        (void) pthread_cond_destroy(&worker->submitted);
        (void) pthread_mutex_destroy(&worker->mutex);
        free(worker);
}
DEFINE_CLEANUP(Worker *, worker_destroy);

int worker_new(sd_event *event, const char *name, Worker **ret) {
        _cleanup_(worker_destroyp) Worker *worker = NULL;
        int r;

        worker = calloc(1, sizeof(*worker));
        if (!worker)
                return -ENOMEM;
        worker->waiting.tail = &worker->waiting.head;
        worker->finished.tail = &worker->finished.head;
        (void) pthread_mutex_init(&worker->mutex, NULL);
        (void) pthread_cond_init(&worker->submitted, NULL);

        worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (worker->event_fd < 0)
                return -errno;
        r = sd_event_add_io(event, &worker->source, worker->event_fd, EPOLLIN, on_finished, worker);
        if (r < 0)
                return r;
        r = start_thread(worker, name);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(worker);
        return 0;
}

int worker_submit(Worker *worker, WorkerJob run, WorkerDone done, void *userdata) {
        Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        *job = (Job){ .run = run, .done = done, .userdata = userdata };

        (void) pthread_mutex_lock(&worker->mutex);
        queue_push(&worker->waiting, job);
        (void) pthread_cond_signal(&worker->submitted);
        (void) pthread_mutex_unlock(&worker->mutex);
        return 0;
}

Worker *worker_free(Worker *worker) {
        if (!worker)
                return NULL;

        (void) pthread_mutex_lock(&worker->mutex);
        worker->ending = true;
        (void) pthread_cond_signal(&worker->submitted);
        (void) pthread_mutex_unlock(&worker->mutex);
        (void) pthread_join(worker->thread, NULL);

        worker_destroy(worker);
        return NULL;
}
