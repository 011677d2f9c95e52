/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* --root=DIR of the verbs check and cat-config: another system, in a directory. */

#include "basic/error.h"

/*
 * Makes the directory the root of this process, by chroot(2): absolute paths and symbolic links then lead into it. A caller
 * without CAP_SYS_CHROOT enters a user namespace first (user_namespaces(7)), where the kernel allows that. OpenSSL loads no
 * configuration and no module from the directory, so a hostile image cannot run code here.
 *
 * FAILURE_INTERNAL and a negative errno where the directory cannot be entered. Call it once, before any other thread starts.
 */
int root_enter(const char *directory, Error *error);
