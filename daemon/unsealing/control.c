/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Only root and unseald's own user, as which ExecReload= runs, can open the socket: its directory and its mode see to that.
 * unseald also refuses any other user that reaches it. An answer fits into the socket's buffer, so unseald never waits for a
 * reader.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "basic/io.h"
#include "basic/log.h"
#include "basic/text.h"
#include "unsealing/control.h"

#define CALLERS_MAX 16U

struct Control {
        char *path;
        int listener;
        sd_event_source *readable;
        ControlAsked asked;
        void *userdata;
        int callers[CALLERS_MAX];
        unsigned callers_count;
};

static int set_address(const char *path, struct sockaddr_un *ret) {
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        memcpy(ret->sun_path, path, strlen(path));
        return 0;
}

static int on_readable(sd_event_source *source, int listener, uint32_t events, void *userdata) {
        Control *control = userdata;

        while (control->callers_count < CALLERS_MAX) {
                struct ucred peer = {};
                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0)
                        break;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){ sizeof(peer) }) < 0 ||
                    (peer.uid != 0 && peer.uid != geteuid()))
                        (void) close(fd);
                else
                        control->callers[control->callers_count++] = fd;
        }
        if (control->callers_count == 0)
                return 0;
        (void) sd_event_source_set_enabled(control->readable, SD_EVENT_OFF);
        control->asked(control->userdata);
        return 0;
}

int control_new(sd_event *event, const char *path, ControlAsked asked, void *userdata, Control **ret) {
        _cleanup_(control_freep) Control *control = calloc(1, sizeof(*control));
        struct sockaddr_un address;
        int r;

        if (!control)
                return -ENOMEM;
        control->listener = -1;
        control->asked = asked;
        control->userdata = userdata;
        r = set_address(path, &address);
        if (r < 0)
                return r;
        control->path = strdup(path);
        if (!control->path)
                return -ENOMEM;

        control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (control->listener < 0)
                return -errno;
        /* unlink() removes the socket of a previous process. Nobody can connect between bind() and listen(), so the mode is set
         * in time. */
        if ((unlink(path) < 0 && errno != ENOENT) ||
            bind(control->listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            chmod(path, 0600) < 0 || listen(control->listener, CALLERS_MAX) < 0)
                return -errno;
        r = sd_event_add_io(event, &control->readable, control->listener, EPOLLIN, on_readable, control);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(control);
        return 0;
}

Control *control_free(Control *control) {
        if (!control)
                return NULL;
        (void) sd_event_source_disable_unref(control->readable);
        while (control->callers_count > 0)
                (void) close(control->callers[--control->callers_count]);
        if (control->listener >= 0) {
                (void) unlink(control->path);
                (void) close(control->listener);
        }
        free(control->path);
        free(control);
        return NULL;
}

void control_answer(Control *control, const Error *error) {
        bool failed = error && error->failure != FAILURE_NONE;
        char text[CONTROL_ANSWER_MAX];
        int n;

        n = snprintf(text, sizeof(text), "%d %s\n", failed ? (int) error->failure : 0,
                     failed ? error->text : "");
        while (control->callers_count > 0) {
                int fd = control->callers[--control->callers_count];

                if (n > 0 && send(fd, text, strnlen(text, sizeof(text)), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                        log_debug("A caller that asked for a reload does not get the answer: %s",
                                  strerror(errno));
                (void) close(fd);
        }
        (void) sd_event_source_set_enabled(control->readable, SD_EVENT_ON);
}

int control_ask(const char *path, char *text) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        _cleanup_free_ uint8_t *answer = NULL;
        struct sockaddr_un address;
        size_t size;
        char *end;
        long status;
        int r;

        if (fd < 0)
                return -errno;
        r = set_address(path, &address);
        if (r < 0)
                return r;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = read_fd(fd, CONTROL_ANSWER_MAX, &answer, &size);
        if (r < 0)
                return r;
        if (size == 0)
                return -ECONNRESET;

        status = strtol((const char *) answer, &end, 10);
        if (end == (char *) answer || *end != ' ' || status < 0 || status > 255)
                return -EBADMSG;
        (void) snprintf(text, CONTROL_ANSWER_MAX, "%s", end + 1);
        text[strcspn(text, "\n")] = 0;
        (void) text_clean(text);
        return (int) status;
}
