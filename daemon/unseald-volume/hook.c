/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "unseald-volume/hook.h"

#define SYSTEMCTL "/usr/bin/systemctl"
#define VALUE_MAX 64U

/* A oneshot has no limit of its own by default, and a unit that waits for the volume would never start. */
#define HOOK_LIMIT_USEC (5 * 60 * USEC_PER_SEC)
#define HOOK_LIMIT "5min"

/* systemctl itself gives up earlier. */
#define ANSWER_LIMIT_USEC (60 * USEC_PER_SEC)

const char *hook_step_to_string(HookStep step) {
        return step == HOOK_COMPARE ? "compare" : "raise";
}

/* Reads until the program closes its output, which it does at its end. -ETIMEDOUT. */
static int read_output(int fd, uint64_t until, char output[static VALUE_MAX]) {
        size_t length = 0;

        for (;;) {
                struct pollfd readable = { .fd = fd, .events = POLLIN };
                uint64_t now = now_monotonic_usec();
                char rest[VALUE_MAX];
                ssize_t n;

                if (now >= until)
                        return -ETIMEDOUT;
                if (poll(&readable, 1, (int) ((until - now) / USEC_PER_MSEC) + 1) <= 0)
                        continue;
                n = length + 1 < VALUE_MAX ? read(fd, output + length, VALUE_MAX - 1 - length)
                                           : read(fd, rest, sizeof(rest));
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0 && length + 1 < VALUE_MAX)
                        length += (size_t) n;
                if (n == 0)
                        break;
        }
        output[length] = '\0';
        output[strcspn(output, "\n")] = '\0';
        return 0;
}

/* Returns the exit status. *output: its first line. */
static int run(const char *const arguments[], uint64_t until, char output[static VALUE_MAX]) {
        /* Only root sees the root directory of the manager, and systemctl would take this service's mounts for a chroot. */
        char *const environment[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                      (char *) "SYSTEMD_IGNORE_CHROOT=1", (char *) "SYSTEMD_PAGER=", NULL };
        posix_spawn_file_actions_t actions;
        int ends[2], status = 0, r;
        pid_t pid;

        output[0] = '\0';
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        r = -posix_spawn_file_actions_init(&actions);
        if (r == 0) {
                r = -posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
                if (r == 0)
                        r = -posix_spawn(&pid, SYSTEMCTL, &actions, NULL, (char *const *) arguments,
                                         environment);
                (void) posix_spawn_file_actions_destroy(&actions);
        }
        close(ends[1]);
        if (r == 0) {
                r = read_output(ends[0], until, output);
                if (r < 0)
                        (void) kill(pid, SIGKILL);
                while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                        ;
        }
        close(ends[0]);
        if (r < 0)
                return r;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

/* Returns 1 if the property has the value. FAILURE_INTERNAL: the service manager does not say. */
static int property_is(const Volume *volume, const char *name, const char *wanted,
                       char value[static VALUE_MAX], Error *error) {
        const char *const arguments[] = { SYSTEMCTL, "show", "-P", name, "--", volume->on_open, NULL };
        int r = run(arguments, now_monotonic_usec() + ANSWER_LIMIT_USEC, value);

        if (r == 0)
                return strcmp(value, wanted) == 0;
        return error_set(
                        error, r < 0 ? r : -EIO, FAILURE_INTERNAL,
                        "The volume %s is not opened, because the service manager does not answer a question about %s (OnOpen=): " SYSTEMCTL
                        " show has failed. The next start asks again.",
                        volume->name, volume->on_open);
}

static int refuse(const Volume *volume, const char *what, const char *value, Error *error) {
        return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                         "The volume %s is not opened, because OnOpen=%s %s (%s). Correct the unit.",
                         volume->name, volume->on_open, what, value);
}

int hook_run(const Volume *volume, HookStep step, uint64_t counter, Error *error) {
        const char *const restart[] = { SYSTEMCTL, "--no-ask-password", "restart",
                                        "--",      volume->on_open,     NULL };
        char value[VALUE_MAX];
        int r;

        r = property_is(volume, "LoadState", "loaded", value, error);
        if (r <= 0)
                return r < 0 ? r : refuse(volume, "cannot be loaded", value, error);
        /* Of another type, the start has succeeded as soon as the program runs. */
        r = property_is(volume, "Type", "oneshot", value, error);
        if (r <= 0)
                return r < 0 ? r
                             : refuse(volume, "is no oneshot, so its failure would refuse nothing", value,
                                      error);
        notify_status("Waiting for %s (%s), which may refuse the volume.", volume->on_open,
                      hook_step_to_string(step));
        r = run(restart, now_monotonic_usec() + HOOK_LIMIT_USEC, value);
        if (r == -ETIMEDOUT)
                return error_set(
                                error, r, FAILURE_SOURCE,
                                "The volume %s is not opened, because %s (OnOpen=, step %s) has not ended within " HOOK_LIMIT
                                ". See what it waits for: systemctl list-jobs. It cannot be ordered after the volume.",
                                volume->name, volume->on_open, hook_step_to_string(step));
        if (r != 0)
                return error_set(
                                error, r < 0 ? r : -EKEYREJECTED, FAILURE_SOURCE,
                                "The volume %s is not opened, because %s (OnOpen=, step %s) refuses it: the counter of its label is to become %" PRIu64
                                ". The disk may be an earlier state of the volume that somebody has put back. See why: journalctl -u %s",
                                volume->name, volume->on_open, hook_step_to_string(step), counter,
                                volume->on_open);
        /* A start that a condition prevents counts as one that has succeeded. */
        r = property_is(volume, "ConditionResult", "yes", value, error);
        if (r <= 0)
                return r < 0 ? r
                             : refuse(volume, "was not started, because a condition of it does not hold",
                                      value, error);
        r = property_is(volume, "Result", "success", value, error);
        if (r <= 0)
                return r < 0 ? r : refuse(volume, "has not succeeded", value, error);
        return 0;
}
