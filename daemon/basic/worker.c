/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "basic/thread.h"
#include "basic/worker.h"

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
        Thread *thread;
        pthread_mutex_t mutex;
        pthread_cond_t submitted;
        Queue waiting, finished; /* under mutex */
        bool ending, running;    /* under mutex */
        WorkerCleanUp clean_up; /* under mutex; not NULL: the worker is abandoned, and its thread frees it */
        void *clean_up_userdata;
        int event_fd;
        sd_event_source *source;
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

static void worker_destroy(Worker *worker) {
        queue_clear(&worker->waiting);
        queue_clear(&worker->finished);
        (void) sd_event_source_disable_unref(worker->source);
        if (worker->event_fd >= 0)
                (void) close(worker->event_fd);
        (void) pthread_cond_destroy(&worker->submitted);
        (void) pthread_mutex_destroy(&worker->mutex);
        free(worker);
}
DEFINE_CLEANUP(Worker *, worker_destroy);

static void worker_main(void *userdata) {
        Worker *worker = userdata;
        bool abandoned;

        (void) pthread_mutex_lock(&worker->mutex);
        for (;;) {
                Job *job;

                while (!worker->ending && !worker->waiting.head)
                        (void) pthread_cond_wait(&worker->submitted, &worker->mutex);
                if (worker->ending)
                        break;

                job = queue_pop(&worker->waiting);
                worker->running = true;
                (void) pthread_mutex_unlock(&worker->mutex);
                job->run(job->userdata);
                (void) pthread_mutex_lock(&worker->mutex);
                worker->running = false;

                queue_push(&worker->finished, job);
                (void) eventfd_write(worker->event_fd, 1);
        }
        abandoned = worker->clean_up;
        (void) pthread_mutex_unlock(&worker->mutex);
        if (abandoned) {
                worker->clean_up(worker->clean_up_userdata);
                worker_destroy(worker);
        }
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

        /* Each turn of the loop reports one job. done() may free the worker, so nothing of it is used afterwards. */
        if (job) {
                WorkerDone done = job->done;
                void *job_userdata = job->userdata;

                free(job);
                done(job_userdata);
        }
        return 0;
}

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
        r = thread_start(name, worker_main, worker, &worker->thread);
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
        worker->thread = thread_join(worker->thread);

        worker_destroy(worker);
        return NULL;
}

void worker_abandon(Worker *worker, WorkerCleanUp clean_up, void *userdata) {
        bool running;

        if (!worker) {
                clean_up(userdata);
                return;
        }
        (void) pthread_mutex_lock(&worker->mutex);
        worker->ending = true;
        running = worker->running;
        if (running) {
                /* From the unlock on, the worker belongs to its thread. */
                worker->source = sd_event_source_disable_unref(worker->source);
                worker->clean_up = clean_up;
                worker->clean_up_userdata = userdata;
                thread_detach(TAKE_PTR(worker->thread));
        }
        (void) pthread_mutex_unlock(&worker->mutex);
        if (running)
                return;
        (void) worker_free(worker);
        clean_up(userdata);
}
