/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For LD_PRELOAD. It numbers the calls of a reload that others can see, and disturbs one of them. Others are the service manager,
 * the readers of the store and of status.json, and the caller that has asked for the reload.
 *
 * ORDER has one line, "MODE N" or "MODE 0 PATTERN". A reload reads it when it says RELOADING=1, which is call 1. LOG then gets a line
 * for each call, and "disturbed N" at call N, or at the first call that matches:
 *
 * kill: SIGKILL ends the process in place of the call.
 * fail: the call does nothing and fails.
 * skip: the call does nothing and succeeds. No kernel does that: it shows that the test notices a commit in pieces.
 *
 * STATUS= and EXTEND_TIMEOUT_USEC= are not counted, and neither is status.json before the commit: nothing depends on them, and their
 * number depends on the machine's speed.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ORDER "/run/steps/order"
#define LOG "/run/steps/log"

#define REAL(function) ((__typeof__(&function)) dlsym(RTLD_NEXT, #function))

typedef enum What {
        WHAT_DO,
        WHAT_SKIP,
        WHAT_FAIL,
} What;

static struct {
        bool active;
        char mode[8];
        unsigned wanted; /* the number of the call; 0: the pattern says which */
        char pattern[64];
        unsigned count;
        bool disturbed, committed;
} steps;

static void say(const char *format, ...) {
        char line[320];
        va_list arguments;
        int fd = REAL(open)(LOG, O_WRONLY | O_APPEND | O_CLOEXEC), n;

        va_start(arguments, format);
        n = vsnprintf(line, sizeof(line), format, arguments);
        va_end(arguments);
        if (fd < 0 || n < 0 || REAL(write)(fd, line, (size_t) n) != n)
                abort();
        (void) close(fd);
}

/* Takes the order of the reload that begins. */
static void begin(void) {
        FILE *file = fopen(ORDER, "re");

        steps.count = 0;
        steps.pattern[0] = '\0';
        steps.disturbed = steps.committed = false;
        steps.active = file &&
                       fscanf(file, "%7s %u %63[^\n]", steps.mode, &steps.wanted, steps.pattern) >= 2;
        if (file)
                (void) fclose(file);
}

/* Threads other than the first have no part in the outcome. */
static What step(const char *call, const char *of) {
        char line[300];

        if (!steps.active || gettid() != getpid() || (strstr(of, "status.json") && !steps.committed))
                return WHAT_DO;
        /* Only after the commit the manager is told to drop a descriptor, unless the commit has failed. */
        steps.committed = steps.committed || strncmp(of, "FDSTOREREMOVE=1", strlen("FDSTOREREMOVE=1")) == 0;
        (void) snprintf(line, sizeof(line), "%s %s", call, of);
        say("%u %s\n", ++steps.count, line);
        if (steps.disturbed ||
            (steps.wanted > 0 ? steps.count != steps.wanted : fnmatch(steps.pattern, line, 0) != 0))
                return WHAT_DO;
        steps.disturbed = true;
        say("disturbed %u\n", steps.count);
        if (strcmp(steps.mode, "kill") == 0)
                (void) raise(SIGKILL);
        errno = EIO;
        return strcmp(steps.mode, "skip") == 0 ? WHAT_SKIP : WHAT_FAIL;
}

/* The message in one line, or NULL if it is not for the service manager. */
static const char *notification(const struct msghdr *message, char buffer[static 256]) {
        const struct sockaddr_un *address = message->msg_name;
        const char *manager = getenv("NOTIFY_SOCKET");

        if (!manager || !address || address->sun_family != AF_UNIX || message->msg_iovlen == 0 ||
            strcmp(address->sun_path + (*manager == '@'), manager + (*manager == '@')) != 0)
                return NULL;
        (void) snprintf(buffer, 256, "%.*s", (int) message->msg_iov->iov_len,
                        (const char *) message->msg_iov->iov_base);
        for (char *p = buffer; (p = strchr(p, '\n'));)
                *p = ' ';
        return buffer;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        char buffer[256];
        const char *text = notification(message, buffer);

        if (text && strncmp(text, "RELOADING=1", strlen("RELOADING=1")) == 0)
                begin();
        if (text && strncmp(text, "STATUS=", strlen("STATUS=")) != 0 &&
            strncmp(text, "EXTEND_TIMEOUT_USEC=", strlen("EXTEND_TIMEOUT_USEC=")) != 0)
                switch (step("notify",
                             strncmp(text, "READY=1", strlen("READY=1")) == 0 ? "READY=1" : text)) {
                case WHAT_FAIL:
                        return -1;
                case WHAT_SKIP:
                        return (ssize_t) message->msg_iov->iov_len;
                case WHAT_DO:
                        break;
                }
        return REAL(sendmsg)(fd, message, flags);
}

/* unseald uses send() on local sockets for nothing but the answer to the caller. */
ssize_t send(int fd, const void *data, size_t size, int flags) {
        struct sockaddr_un address = {};

        if (getsockname(fd, (struct sockaddr *) &address, &(socklen_t){ sizeof(address) }) == 0 &&
            address.sun_family == AF_UNIX && strstr(address.sun_path, "control.sock"))
                switch (step("answer", strncmp(data, "0 ", 2) == 0 ? "done" : "failed")) {
                case WHAT_FAIL:
                        return -1;
                case WHAT_SKIP:
                        return (ssize_t) size;
                case WHAT_DO:
                        break;
                }
        return REAL(send)(fd, data, size, flags);
}

static bool is_in_store(int fd) {
        struct statfs fs;
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fstatfs(fd, &fs) == 0 &&
               (unsigned long) fs.f_type == RAMFS_MAGIC;
}

/* A hidden name ends in a random number. */
static const char *plain(const char *name, char buffer[static 256]) {
        char *dot;

        (void) snprintf(buffer, 256, "%s", name);
        dot = name[0] == '.' ? strrchr(buffer, '.') : NULL;
        if (dot && dot != buffer)
                *dot = '\0';
        return buffer;
}

ssize_t write(int fd, const void *data, size_t size) {
        What what = steps.active && is_in_store(fd) ? step("write", "a file of the store") : WHAT_DO;

        return what == WHAT_FAIL ? -1 : what == WHAT_SKIP ? (ssize_t) size : REAL(write)(fd, data, size);
}

int fchmod(int fd, mode_t mode) {
        What what = is_in_store(fd) ? step("fchmod", "a file of the store") : WHAT_DO;

        return what == WHAT_FAIL ? -1 : what == WHAT_SKIP ? 0 : REAL(fchmod)(fd, mode);
}

int ftruncate64(int fd, off64_t size) {
        What what = step("ftruncate", "a file of the store");

        return what == WHAT_FAIL ? -1 : what == WHAT_SKIP ? 0 : REAL(ftruncate64)(fd, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
        What what = step("pwrite", "a file of the store");

        return what == WHAT_FAIL   ? -1
               : what == WHAT_SKIP ? (ssize_t) size
                                   : REAL(pwrite64)(fd, data, size, offset);
}

/* Only a file that is created is a step. It cannot be skipped: there would be no descriptor. */
int openat64(int directory, const char *name, int flags, ...) {
        char buffer[256];
        mode_t mode = 0;
        va_list arguments;

        va_start(arguments, flags);
        if (flags & O_CREAT)
                mode = va_arg(arguments, mode_t);
        va_end(arguments);
        if (flags & O_CREAT && step("create", plain(name, buffer)) != WHAT_DO)
                return -1;
        return REAL(openat64)(directory, name, flags, mode);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
        What what = step("rename to", to);

        return what == WHAT_FAIL   ? -1
               : what == WHAT_SKIP ? 0
                                   : REAL(renameat)(from_directory, from, to_directory, to);
}

int rename(const char *from, const char *to) {
        What what = step("rename to", to);

        return what == WHAT_FAIL ? -1 : what == WHAT_SKIP ? 0 : REAL(rename)(from, to);
}

int unlinkat(int directory, const char *name, int flags) {
        char buffer[256];
        What what = step("unlink", plain(name, buffer));

        return what == WHAT_FAIL ? -1 : what == WHAT_SKIP ? 0 : REAL(unlinkat)(directory, name, flags);
}
