/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "unsealing/owner.h"

/* The C library says "no such user" in more than one way, and sets errno where it could not look. */
static int no_such(const Declaration *declaration, const char *what, const char *setting, const char *name,
                   Error *error) {
        if (error_is_of_resources(-errno))
                return error_set(error, -errno, FAILURE_INTERNAL,
                                 "%s: %s=%s: the %s cannot be looked up: %m.", declaration->file, setting,
                                 name, what);
        return error_set(error, -ESRCH, FAILURE_CONFIGURATION, "%s: %s=%s: there is no such %s.",
                         declaration->file, setting, name, what);
}

int owner_find(const Declaration *declaration, Owner *ret, Error *error) {
        const struct passwd *user;
        const struct group *group;

        if (declaration->user) {
                errno = 0;
                user = getpwnam(declaration->user);
                if (!user)
                        return no_such(declaration, "user", "User", declaration->user, error);
                ret->uid = user->pw_uid;
        }
        if (declaration->group) {
                errno = 0;
                group = getgrnam(declaration->group);
                if (!group)
                        return no_such(declaration, "group", "Group", declaration->group, error);
                ret->gid = group->gr_gid;
        }
        return 0;
}
