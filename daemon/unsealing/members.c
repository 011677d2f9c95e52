/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/log.h"
#include "source/bundle.h"
#include "unsealing/members.h"

/* So many names go to the journal; of the others only the number. */
#define NAMES_MAX 20U

/* The name may have any character and any length: log_full() cleans it. */
static void log_undeclared(const Declaration *declaration, const BundleMember *member) {
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_UNDECLARED,
                               .secret = declaration->name,
                               .state = "undeclared" },
                 "%s: member \"%.*s\" of the bundle is not delivered, because it is not declared. Declare it with [Member NAME], or seal the bundle without it.",
                 declaration->name, (int) (member->name_size < 128 ? member->name_size : 128), member->name);
}

/* is_wanted has one element for each member. */
static void report_undeclared(const Declaration *declaration, const BundleMember *members, size_t count,
                              const bool *is_wanted) {
        size_t undeclared = 0;

        for (size_t i = 0; i < count; i++)
                if (!is_wanted[i] && undeclared++ < NAMES_MAX)
                        log_undeclared(declaration, members + i);
        if (undeclared > NAMES_MAX)
                log_full(LOG_WARNING,
                         &(LogFields){ .message_id = MESSAGE_UNDECLARED,
                                       .secret = declaration->name,
                                       .state = "undeclared" },
                         "%s: %zu more members of the bundle are not delivered, because they are not declared.",
                         declaration->name, undeclared - NAMES_MAX);
}

/* A member that is wanted, and its place in the text. */
typedef struct Wanted {
        const BundleMember *from;
        ManifestMember *to;
} Wanted;

static int compare_places(const void *a, const void *b) {
        const Wanted *one = a, *other = b;

        return (one->from->offset > other->from->offset) - (one->from->offset < other->from->offset);
}

static int lacks(const Declaration *declaration, const Declaration *member, Error *error) {
        if (!member->optional)
                return error_set(
                                error, -ENOENT, FAILURE_CIPHERTEXT,
                                "The bundle lacks the member \"%s\", which is declared and not optional. Seal the bundle with it, or set Optional=yes in its section.",
                                member->member);
        log_full(LOG_NOTICE,
                 &(LogFields){ .message_id = MESSAGE_OPTIONAL,
                               .secret = declaration->name,
                               .state = "missing" },
                 "%s: the bundle lacks the optional member %s, and units that ask for %s are refused.",
                 declaration->name, member->member, member->name);
        return 0;
}

/* Finds the declared members, in the order of their names. wanted and places have room for all; is_wanted has one element for each
 * member of the bundle. Returns their number. */
static int find_wanted(const Declaration *declaration, const BundleMember *members, size_t count,
                       Wanted *wanted, bool *is_wanted, ManifestMember *places, Error *error) {
        int found = 0;

        for (size_t i = 0; i < declaration->members_count; i++) {
                const Declaration *member = declaration->members + i;
                const BundleMember *from = bundle_find(members, count, member->member);
                int r;

                if (!from) {
                        r = lacks(declaration, member, error);
                        if (r < 0)
                                return r;
                        continue;
                }
                is_wanted[from - members] = true;
                wanted[found] = (Wanted){ .from = from, .to = places + found };
                (void) snprintf(places[found].name, sizeof(places[found].name), "%s", member->member);
                places[found++].size = from->size;
        }
        return found;
}

/* Moves the values to the beginning of the text, in the order in which they stand there, so that none is overwritten before it is
 * moved. Names are not valid any more. */
static void pack(Secret *bundle, Wanted *wanted, size_t count) {
        uint8_t *bytes = secret_bytes(bundle);
        size_t end = 0;

        qsort(wanted, count, sizeof(*wanted), compare_places);
        for (size_t i = 0; i < count; i++) {
                memmove(bytes + end, bytes + wanted[i].from->offset, wanted[i].from->size);
                wanted[i].to->offset = end;
                end += wanted[i].from->size;
        }
        secret_truncate(bundle, end);
}

static bool begins_as_object(Secret *bundle) {
        const char *text = (char *) secret_bytes(bundle);
        size_t at = 0;

        while (at < secret_size(bundle) && strchr(" \t\r\n", text[at]) && text[at])
                at++;
        return at < secret_size(bundle) && text[at] == '{';
}

int members_unpack(const Declaration *declaration, Secret *bundle, ManifestMember **ret, size_t *ret_count,
                   Error *error) {
        _cleanup_free_ ManifestMember *places = calloc(declaration->members_count + 1, sizeof(*places));
        _cleanup_free_ Wanted *wanted = calloc(declaration->members_count + 1, sizeof(*wanted));
        _cleanup_free_ BundleMember *members = NULL;
        _cleanup_free_ bool *is_wanted = NULL;
        bool is_object;
        size_t count;
        int r;

        if (!places || !wanted)
                return error_oom(error);
        is_object = begins_as_object(bundle);
        r = bundle_parse((char *) secret_bytes(bundle), secret_size(bundle), &members, &count, error);
        if (r == -EBADMSG && !is_object)
                return error_set(
                                error, r, FAILURE_CIPHERTEXT,
                                "The bundle is malformed at byte 0: expected an object of JSON. If the message is one secret, which was sealed without --bundle, set Format=message and remove the sections [Member].");
        if (r < 0)
                return r;
        is_wanted = calloc(count + 1, sizeof(*is_wanted));
        if (!is_wanted)
                return error_oom(error);
        r = find_wanted(declaration, members, count, wanted, is_wanted, places, error);
        if (r < 0)
                return r;
        report_undeclared(declaration, members, count, is_wanted);
        pack(bundle, wanted, (size_t) r);
        *ret = TAKE_PTR(places);
        *ret_count = (size_t) r;
        return 0;
}
