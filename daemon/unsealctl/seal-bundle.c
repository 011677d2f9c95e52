/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/io.h"
#include "config/declaration.h"
#include "config/declared-members.h"
#include "source/bundle.h"
#include "unsealctl/ctl.h"
#include "unsealctl/message-writer.h"
#include "unsealctl/seal-bundle.h"

static_assert(DECLARATION_BUNDLE_MAX <= MESSAGE_WRITER_FRAME,
              "seal_message() copies the whole bundle into its first frame");

/* One byte more than a file has, or may have, so that its end is seen. */
static size_t room_for(int fd) {
        struct stat st;
        bool known = fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) &&
                     st.st_size <= (off_t) DECLARATION_BUNDLE_MAX;

        return (known ? (size_t) st.st_size : DECLARATION_BUNDLE_MAX) + 1;
}

static int not_locked(size_t size) {
        return failure("%zu bytes of memory cannot be locked, and the secret must not reach swap. Raise the limit: \"ulimit -l\".",
                       size);
}

static int read_text(int fd, const char *input, Secret **ret) {
        _cleanup_secret_ Secret *text = NULL;
        size_t room = room_for(fd);
        ssize_t n;

        if (secret_new(room, &text) < 0)
                return not_locked(room);
        n = read_up_to(fd, secret_bytes(text), room);
        if (n < 0)
                return failure("Cannot read %s: %s.", input, strerror((int) -n));
        if ((size_t) n > DECLARATION_BUNDLE_MAX)
                return failure("%s is too long: a bundle has at most %u bytes. Split it into several bundles.",
                               input, DECLARATION_BUNDLE_MAX);
        secret_truncate(text, (size_t) n);
        *ret = TAKE_PTR(text);
        return 0;
}

/* A member that cannot be declared can never be delivered. */
static int take_name(const char *bundle, const BundleMember *member, char ***names) {
        _cleanup_free_ char *name = strndup(member->name, member->name_size);
        size_t length = strlen(bundle) + 1 + member->name_size;

        if (!name)
                return failure("Out of memory.");
        if (!declared_member_name_is_valid(name))
                return failure("Member \"%.128s\" of the bundle cannot be declared. Expected letters, digits, \"-\", \"_\" and \".\" in its name, and no dot at its beginning.",
                               name);
        if (length > CREDENTIAL_NAME_MAX)
                return failure("Member \"%.128s\" of the bundle cannot be declared: units would get it as \"%s.%.128s\", which has %zu characters, and a credential's name may have %u. Shorten one of the two names.",
                               name, bundle, name, length, CREDENTIAL_NAME_MAX);
        return strings_take(names, TAKE_PTR(name)) < 0 ? failure("Out of memory.") : 0;
}

/* The reader decodes in place, so it gets a copy. */
static int list_members(const char *name, Secret *text, char ***ret) {
        _cleanup_free_ BundleMember *members = NULL;
        _cleanup_strings_ char **names = NULL;
        _cleanup_secret_ Secret *copy = NULL;
        Error error = {};
        size_t count = 0;
        int r = 0;

        if (secret_new(secret_size(text), &copy) < 0)
                return not_locked(secret_size(text));
        memcpy(secret_bytes(copy), secret_bytes(text), secret_size(text));
        if (bundle_parse((char *) secret_bytes(copy), secret_size(copy), &members, &count, &error) < 0)
                return failure("%s", error.text);
        if (count == 0)
                return failure("The bundle has no members, and unseald delivers only members.");
        for (size_t i = 0; r == 0 && i < count; i++)
                r = take_name(name, members + i, &names);
        if (r == 0)
                *ret = TAKE_PTR(names);
        return r;
}

int seal_read_bundle(int fd, const char *name, const char *input, Secret **ret, char ***ret_members) {
        _cleanup_secret_ Secret *text = NULL;
        int r = read_text(fd, input, &text);

        if (r == 0)
                r = list_members(name, text, ret_members);
        if (r == 0)
                *ret = TAKE_PTR(text);
        return r;
}
