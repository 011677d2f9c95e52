/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unsealing/member-files.h"
#include "unsealing/owner.h"
#include "vault/kept.h"

typedef struct File {
        Owner owner;
        char *hidden; /* NULL: nothing is staged */
        bool shown;   /* the store has the file under its name */
} File;

struct MemberFiles {
        const Declaration *bundle;
        Store *store;
        File *files; /* one for each declared member */
};

static bool is_same(const char *one, const char *other) {
        return one && other ? strcmp(one, other) == 0 : one == other;
}

/* A thousand members often have one owner, and each look-up reads a file. */
static int find_owner(const MemberFiles *files, size_t i, Error *error) {
        const Declaration *member = files->bundle->members + i, *before = i > 0 ? member - 1 : NULL;

        if (before && is_same(member->user, before->user) && is_same(member->group, before->group)) {
                files->files[i].owner = files->files[i - 1].owner;
                return 0;
        }
        return owner_find(member, &files->files[i].owner, error);
}

int member_files_new(const Declaration *bundle, Store *store, MemberFiles **ret, Error *error) {
        _cleanup_(member_files_freep) MemberFiles *files = calloc(1, sizeof(*files));
        int r = 0;

        if (!files)
                return error_oom(error);
        files->bundle = bundle;
        files->store = store;
        files->files = calloc(bundle->members_count + 1, sizeof(*files->files));
        if (!files->files)
                return error_oom(error);
        for (size_t i = 0; i < bundle->members_count && r >= 0; i++)
                r = find_owner(files, i, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(files);
        return 0;
}

MemberFiles *member_files_free(MemberFiles *files) {
        if (!files)
                return NULL;
        if (files->files)
                member_files_drop(files);
        free(files->files);
        free(files);
        return NULL;
}

/* Returns whether the member has a file, and its content. */
static bool has_file(const MemberFiles *files, size_t i, const MemberPlaces *places,
                     const uint8_t **ret_bytes, size_t *ret_size) {
        const Declaration *member = files->bundle->members + i;
        const ManifestMember *place = manifest_find_member(places->members, places->count, member->member);

        if (!place || !member->store)
                return false;
        *ret_bytes = secret_bytes(places->bundle) + place->offset;
        *ret_size = place->size;
        return true;
}

void member_files_look(MemberFiles *files, const MemberPlaces *places) {
        for (size_t i = 0; i < files->bundle->members_count; i++) {
                const Declaration *member = files->bundle->members + i;
                const Owner *owner = &files->files[i].owner;
                const uint8_t *bytes;
                size_t size;

                files->files[i].shown = has_file(files, i, places, &bytes, &size) &&
                                        store_shows(files->store, member->name, bytes, size, owner->uid,
                                                    owner->gid, member->mode);
        }
}

int member_files_stage(MemberFiles *files, const MemberPlaces *places, Error *error) {
        int r = 0;

        member_files_look(files, places);
        for (size_t i = 0; i < files->bundle->members_count && r >= 0; i++) {
                const Declaration *member = files->bundle->members + i;
                File *file = files->files + i;
                const uint8_t *bytes;
                size_t size;

                if (!file->shown && !file->hidden && has_file(files, i, places, &bytes, &size))
                        r = store_stage(files->store, member->name, bytes, size, file->owner.uid,
                                        file->owner.gid, member->mode, &file->hidden, error);
        }
        return r;
}

void member_files_drop(MemberFiles *files) {
        for (size_t i = 0; i < files->bundle->members_count; i++)
                free(TAKE_PTR(files->files[i].hidden));
}

int member_files_publish(MemberFiles *files, Error *error) {
        int result = 0;

        for (size_t i = 0; i < files->bundle->members_count; i++) {
                File *file = files->files + i;
                int r;

                if (!file->hidden)
                        continue;
                r = store_reveal(files->store, files->bundle->members[i].name, file->hidden,
                                 result < 0 ? NULL : error);
                if (r >= 0) {
                        free(TAKE_PTR(file->hidden));
                        file->shown = true;
                } else if (result >= 0)
                        result = r;
        }
        return result;
}

size_t member_files_list(const MemberFiles *files, StoreFile *ret) {
        size_t count = 0;

        for (size_t i = 0; i < files->bundle->members_count; i++) {
                const File *file = files->files + i;

                if (file->shown || file->hidden)
                        ret[count++] = (StoreFile){ .name = file->shown ? files->bundle->members[i].name
                                                                        : NULL,
                                                    .hidden = file->hidden,
                                                    .fd = -1,
                                                    .by_name = true };
        }
        return count;
}

size_t member_files_list_kept(const Declaration *bundle, const ManifestMember *members, size_t count,
                              StoreFile *ret) {
        size_t listed = 0;

        for (size_t i = 0; i < bundle->members_count; i++) {
                const Declaration *member = bundle->members + i;

                if (member->store && manifest_find_member(members, count, member->member))
                        ret[listed++] = (StoreFile){ .name = member->name, .fd = -1, .by_name = true };
        }
        return listed;
}
