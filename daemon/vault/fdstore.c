/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "vault/fdstore.h"

#define BARRIER_USEC (30 * USEC_PER_SEC)

bool fdstore_is_there(void) {
        return getenv("NOTIFY_SOCKET");
}

int fdstore_put(const char *name, int fd) {
        return notify_store_fd(name, fd);
}

int fdstore_remove(const char *name) {
        return notify_remove_fd(name);
}

int fdstore_barrier(sd_event *event, NotifyBarrierEnded ended, void *userdata, NotifyBarrier **ret) {
        return notify_barrier_new(event, BARRIER_USEC, ended, userdata, ret);
}

int fdstore_take(int **ret_fds, char ***ret_names, size_t *ret_count) {
        char **names = NULL;
        size_t count = 0;
        int *fds, n;

        n = sd_listen_fds_with_names(false, &names);
        if (n < 0)
                return n;
        fds = calloc((size_t) n + 1, sizeof(*fds));
        for (int i = 0; i < n; i++)
                if (fds && strncmp(names[i], FDSTORE_PREFIX, strlen(FDSTORE_PREFIX)) == 0) {
                        fds[count] = SD_LISTEN_FDS_START + i;
                        names[count++] = names[i];
                } else
                        free(names[i]);
        if (!fds) {
                free(names);
                return -ENOMEM;
        }
        *ret_fds = fds;
        *ret_names = names;
        *ret_count = count;
        return 0;
}
