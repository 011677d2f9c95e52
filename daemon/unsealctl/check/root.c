/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "unsealctl/check/root.h"

int root_enter(const char *directory, Error *error) {
        (void) OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
        if (chdir(directory) < 0 ||
            (chroot(".") < 0 && (errno != EPERM || unshare(CLONE_NEWUSER) < 0 || chroot(".") < 0)))
                return error_set(error, -errno, FAILURE_INTERNAL,
                                 "Cannot use %s as the root directory: %s.%s", directory, strerror(errno),
                                 errno == EPERM ? " Run this as root, or allow user namespaces." : "");
        return 0;
}
