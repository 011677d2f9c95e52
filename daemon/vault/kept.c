/* SPDX-License-Identifier: Apache-2.0 */

/*
 * In the service manager's descriptor store a secret's descriptor is named kept-GENERATION-NAME, and the manifest of a
 * generation kept-GENERATION. The manager removes descriptors by name only, so the names must differ while the old and the new
 * file of a secret are both there. The manifest is sent last, and it decides which descriptors count.
 *
 * Nothing here is secret from root, who can read the whole store. The checks find what a killed process, another version of
 * unseald, or a person has left.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>

#include "basic/io.h"
#include "basic/log.h"
#include "vault/fdstore.h"
#include "vault/kept.h"

typedef struct Item {
        ManifestEntry entry;
        ManifestMember *members; /* entry.members of them; NULL: it is no bundle */
        int fd;
        bool committed;
        bool unclaimed; /* committed, but the next manifest leaves it out */
} Item;

struct Kept {
        Item *items; /* the committed secrets, and those that were put since */
        size_t count;
        int manifest_fd; /* -1: nothing is committed */
        ManifestHeader manifest;
        ManifestEvent *events; /* of the manifest, and then those that the next manifest has, too */
        size_t events_count;   /* of the manifest */
        size_t events_meant;   /* of the next manifest, beyond those */
        bool touched;          /* events that are not known to be extended may be extended */
        uint64_t size_max;
        uint64_t generation; /* of the next manifest */
        bool incomplete;     /* a secret that the manifest lists was dropped */

        sd_event *event;
        struct {
                NotifyBarrier *barrier; /* NULL: no commit is under way */
                ManifestHeader header;
                int fd;
                KeptCommitted ended;
                void *userdata;
        } commit;
};

#define FD_NAME_SIZE (sizeof(FDSTORE_PREFIX) + 20 + 1 + sizeof(((ManifestEntry *) NULL)->name))

/* No number of secrets that the configuration admits may meet a limit here, after all of them were decrypted. */
#define FDS_MAX (2 * (KEPT_MAX + 1)) /* during a reload, with the manifests */
_Static_assert(FDS_MAX <= LIMIT_DESCRIPTORS, "a reload does not fit into FileDescriptorStoreMax=");
_Static_assert(FDS_MAX *FD_NAME_SIZE <= LIMIT_LISTEN_FDNAMES, "the names do not fit into LISTEN_FDNAMES");
_Static_assert(LIMIT_SECRETS *LIMIT_PLAINTEXT_BYTES <= LIMIT_STORE_BYTES,
               "the secrets do not fit into the store");

static const char *fd_name(uint64_t generation, const char *name, char buffer[static FD_NAME_SIZE]) {
        (void) snprintf(buffer, FD_NAME_SIZE, FDSTORE_PREFIX "%" PRIu64 "%s%s", generation, name ? "-" : "",
                        name ?: "");
        return buffer;
}

static void item_close(Item *item) {
        char name[FD_NAME_SIZE];

        (void) fdstore_remove(fd_name(item->entry.generation, item->entry.name, name));
        (void) close(item->fd);
        free(item->members);
}

int kept_new(sd_event *event, Kept **ret) {
        Kept *kept = calloc(1, sizeof(*kept));

        if (!kept)
                return -ENOMEM;
        kept->event = event;
        kept->manifest_fd = -1;
        kept->generation = 1;
        kept->size_max = LIMIT_STORE_BYTES;
        *ret = kept;
        return 0;
}

/* Makes sure that no process believes the manifest of a failed commit. The service manager may have it: it may have taken the
 * message and not answered yet, and it may not get the message that removes the manifest. Its descriptor is of the same file, so
 * an empty file is not a manifest for anybody. The generation is used up, since descriptors of that name may still exist. */
static void kept_disown(Kept *kept, const ManifestHeader *header, int fd) {
        char name[FD_NAME_SIZE];

        if (ftruncate(fd, 0) < 0)
                log_warning("The manifest of the secrets that were not kept cannot be emptied: %s.",
                            strerror(errno));
        (void) fdstore_remove(fd_name(header->generation, NULL, name));
        kept->generation = header->generation + 1;
}

/* A commit whose outcome is awaited has failed. */
static void kept_give_up(Kept *kept) {
        if (!kept->commit.barrier)
                return;
        kept->commit.barrier = notify_barrier_free(kept->commit.barrier);
        kept_disown(kept, &kept->commit.header, kept->commit.fd);
        (void) close(kept->commit.fd);
}

Kept *kept_free(Kept *kept) {
        if (!kept)
                return NULL;
        kept_give_up(kept);
        for (size_t i = 0; i < kept->count; i++) {
                (void) close(kept->items[i].fd);
                free(kept->items[i].members);
        }
        if (kept->manifest_fd >= 0)
                (void) close(kept->manifest_fd);
        free(kept->items);
        free(kept->events);
        free(kept);
        return NULL;
}

void kept_set_size_max(Kept *kept, uint64_t size_max) {
        kept->size_max = size_max;
}

static Item *kept_item(const Kept *kept, const char *name, bool committed) {
        for (size_t i = 0; i < kept->count; i++)
                if (kept->items[i].committed == committed && strcmp(kept->items[i].entry.name, name) == 0)
                        return kept->items + i;
        return NULL;
}

/* members: entry->members of them, which are copied. */
static int kept_append(Kept *kept, const ManifestEntry *entry, const ManifestMember *members, int fd,
                       bool committed) {
        Item *items = reallocarray(kept->items, kept->count + 1, sizeof(*items));
        ManifestMember *copy = NULL;

        if (!items)
                return -ENOMEM;
        kept->items = items;
        if (entry->members > 0) {
                copy = calloc(entry->members, sizeof(*copy));
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, members, entry->members * sizeof(*copy));
        }
        items[kept->count++] = (Item){ .entry = *entry, .members = copy, .fd = fd, .committed = committed };
        return 0;
}

int kept_find(const Kept *kept, const char *name) {
        const Item *item = kept_item(kept, name, true);

        return item ? item->fd : -ENOENT;
}

const uint64_t *kept_version(const Kept *kept, const char *name) {
        const Item *item = kept_item(kept, name, true);

        return item && item->entry.is_signed ? &item->entry.version : NULL;
}

const ManifestMember *kept_members(const Kept *kept, const char *name, size_t *ret_count) {
        const Item *item = kept_item(kept, name, true);

        *ret_count = item ? item->entry.members : 0;
        return item ? item->members : NULL;
}

bool kept_has(const Kept *kept, const KeptClaim *claim) {
        const Item *item = kept_item(kept, claim->name, true);

        return item && memcmp(item->entry.stands_for, claim->stands_for, sizeof(claim->stands_for)) == 0;
}

static int digest(Secret *secret, uint8_t ret[static MANIFEST_DIGEST_SIZE]) {
        return EVP_Digest(secret_bytes(secret), secret_size(secret), ret, NULL, EVP_sha256(), NULL) == 1
                               ? 0
                               : -EIO;
}

/* The descriptors that the service manager has passed to this process. */
typedef struct Inherited {
        int *fds; /* -1: moved to Kept */
        char **names;
        size_t count;
} Inherited;

static void inherited_clear(Inherited *inherited) {
        for (size_t i = 0; i < inherited->count; i++) {
                if (inherited->fds[i] >= 0) {
                        (void) fdstore_remove(inherited->names[i]);
                        (void) close(inherited->fds[i]);
                }
                free(inherited->names[i]);
        }
        free(inherited->fds);
        free(inherited->names);
}

/* Leaves everything to the service manager and to the next process. */
static void inherited_release(Inherited *inherited) {
        for (size_t i = 0; i < inherited->count; i++) {
                if (inherited->fds[i] >= 0)
                        (void) close(inherited->fds[i]);
                free(inherited->names[i]);
        }
        inherited->count = 0;
}

static int *inherited_find(const Inherited *inherited, const char *name) {
        for (size_t i = 0; i < inherited->count; i++)
                if (inherited->fds[i] >= 0 && strcmp(inherited->names[i], name) == 0)
                        return inherited->fds + i;
        return NULL;
}

/* The generation in a descriptor's name. A new generation must be higher than all of them, so that no name is used twice. 0:
 * the name is not one of ours. */
static uint64_t generation_of(const char *name) {
        const char *digits = name + strlen(FDSTORE_PREFIX);
        size_t length = strspn(digits, "0123456789");

        if (length == 0 || length > 18 || (digits[length] != '-' && digits[length] != '\0'))
                return 0;
        return strtoull(digits, NULL, 10);
}

/* Reads a manifest of this boot and this generation. The files that it lists are not checked yet. */
static int read_manifest(const Store *store, int fd, uint64_t generation, Manifest *ret) {
        _cleanup_(manifest_clear) Manifest manifest = {};
        _cleanup_secret_ Secret *secret = NULL;
        sd_id128_t boot;
        int r;

        if (!store_trusts(store, fd))
                return -EBADMSG;
        r = store_read(fd, &secret);
        if (r >= 0)
                r = manifest_parse(secret_bytes(secret), secret_size(secret), &manifest);
        if (r >= 0)
                r = sd_id128_get_boot(&boot);
        if (r < 0)
                return r;
        if (manifest.header.generation != generation ||
            memcmp(manifest.header.boot_id, &boot, sizeof(boot)) != 0)
                return -EBADMSG;
        *ret = TAKE(manifest, (Manifest){});
        return 0;
}

/* Takes the newest valid manifest. -ENOENT: there is none. */
static int kept_take_manifest(Kept *kept, const Store *store, Inherited *inherited, Manifest *ret) {
        _cleanup_(manifest_clear) Manifest newest = {};
        size_t found = 0;

        for (size_t i = 0; i < inherited->count; i++) {
                uint64_t generation = generation_of(inherited->names[i]);
                char name[FD_NAME_SIZE];
                Manifest manifest;
                int r;

                if (generation >= kept->generation)
                        kept->generation = generation + 1;
                if ((newest.entries && generation <= newest.header.generation) ||
                    strcmp(fd_name(generation, NULL, name), inherited->names[i]) != 0)
                        continue;
                r = read_manifest(store, inherited->fds[i], generation, &manifest);
                if (error_is_of_resources(r))
                        return r;
                if (r < 0)
                        continue;
                manifest_clear(&newest);
                newest = manifest;
                found = i;
        }
        if (!newest.entries)
                return -ENOENT;
        kept->manifest_fd = TAKE_FD(inherited->fds[found]);
        kept->manifest = newest.header;
        kept->events = TAKE_PTR(newest.events);
        kept->events_count = TAKE(newest.events_count, 0);
        kept->touched = kept->manifest.measured < kept->events_count;
        *ret = TAKE(newest, (Manifest){});
        return 0;
}

static const KeptClaim *find_claim(const KeptClaim *claims, size_t count, const char *name) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(claims[i].name, name) == 0)
                        return claims + i;
        return NULL;
}

static int check_content(const ManifestEntry *entry, int fd, const char **ret_why) {
        uint8_t checksum[MANIFEST_DIGEST_SIZE];
        _cleanup_secret_ Secret *secret = NULL;
        int r = store_read(fd, &secret);

        if (error_is_of_resources(r))
                return r;
        if (r < 0)
                *ret_why = "its file cannot be read";
        else if (secret_size(secret) != entry->size)
                *ret_why = "its file has another size";
        else {
                r = digest(secret, checksum);
                if (r < 0)
                        return r;
                if (memcmp(checksum, entry->checksum, sizeof(checksum)) != 0)
                        *ret_why = "its file has other content";
        }
        return 0;
}

/* Sets *ret_why to why a file is not the one in the manifest; NULL: it is. A failure of this machine is no verdict on the file. */
static int check_file(const Store *store, const ManifestEntry *entry, int fd, const char **ret_why) {
        struct stat st;

        *ret_why = NULL;
        if (!store_trusts(store, fd))
                *ret_why = "its file is not in memory that is never swapped";
        else if (entry->size <= SECRET_SIZE_MAX)
                return check_content(entry, fd, ret_why);
        else if (fstat(fd, &st) < 0 || (uint64_t) st.st_size != entry->size)
                *ret_why = "its file has another size";
        return 0;
}

/* Sets *ret_why to why a secret in the manifest is dropped; NULL: it is accepted. */
static int check_entry(const Store *store, const ManifestEntry *entry, const KeptClaim *claim, const int *fd,
                       const char **ret_why) {
        if (!claim)
                *ret_why = "it is no longer declared";
        else if (memcmp(claim->stands_for, entry->stands_for, sizeof(claim->stands_for)) != 0)
                *ret_why = "its declaration has changed";
        else if (!fd)
                *ret_why = "the service manager has not kept it";
        else
                return check_file(store, entry, *fd, ret_why);
        return 0;
}

/* Accepts or drops a secret of the manifest. */
static int restore_entry(Kept *kept, const Store *store, const ManifestEntry *entry,
                         const ManifestMember *members, const KeptClaim *claim, Inherited *inherited) {
        char name[FD_NAME_SIZE];
        int *fd = inherited_find(inherited, fd_name(entry->generation, entry->name, name)), r;
        const char *why;

        r = check_entry(store, entry, claim, fd, &why);
        if (r < 0)
                return r;
        if (why) {
                kept->incomplete = true;
                log_full(LOG_WARNING,
                         &(LogFields){ .message_id = MESSAGE_DROPPED,
                                       .secret = entry->name,
                                       .state = "dropped" },
                         "Dropped the kept secret %s: %s.", entry->name, why);
                return 0;
        }
        r = kept_append(kept, entry, members, *fd, true);
        if (r >= 0)
                (void) TAKE_FD(*fd);
        return r;
}

int kept_restore(Kept *kept, const Store *store, const KeptClaim *claims, size_t claims_count,
                 Error *error) {
        _cleanup_(inherited_clear) Inherited inherited = {};
        _cleanup_(manifest_clear) Manifest manifest = {};
        const ManifestMember *next;
        int r;

        r = fdstore_take(&inherited.fds, &inherited.names, &inherited.count);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "The descriptors that the service manager has kept cannot be taken: %s.",
                                 strerror(-r));
        r = kept_take_manifest(kept, store, &inherited, &manifest);
        if (r == -ENOENT) {
                if (inherited.count > 0)
                        log_full(LOG_NOTICE,
                                 &(LogFields){ .message_id = MESSAGE_DROPPED, .state = "dropped" },
                                 "Dropped all kept secrets: there is no valid manifest of them. They are unsealed again.");
                return 0;
        }
        if (r < 0) {
                inherited_release(&inherited);
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The manifest of the kept secrets cannot be read, and they stay kept: %s. The next start tries again.",
                                strerror(-r));
        }

        next = manifest.members;
        for (size_t i = 0; i < kept->manifest.count && r >= 0; i++) {
                const ManifestEntry *entry = manifest.entries + i;

                r = restore_entry(kept, store, entry, next, find_claim(claims, claims_count, entry->name),
                                  &inherited);
                next += entry->members;
        }
        if (r < 0) {
                inherited_release(&inherited);
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The kept secrets cannot be checked, and stay kept: %s. The next start tries again.",
                                strerror(-r));
        }
        return 0;
}

/* secret may be NULL if it is larger than SECRET_SIZE_MAX. */
static int kept_add(Kept *kept, const KeptClaim *claim, Secret *secret, uint64_t size, int fd) {
        ManifestEntry entry = {
                .generation = kept->generation,
                .size = size,
                .version = claim->version ? *claim->version : 0,
                .is_signed = claim->version != NULL,
                .members = (uint32_t) claim->members_count,
        };
        char name[FD_NAME_SIZE];
        int r;

        (void) snprintf(entry.name, sizeof(entry.name), "%s", claim->name);
        memcpy(entry.stands_for, claim->stands_for, sizeof(entry.stands_for));
        r = secret && size <= SECRET_SIZE_MAX ? digest(secret, entry.checksum) : 0;
        if (r < 0)
                return r;
        r = fdstore_put(fd_name(entry.generation, entry.name, name), fd);
        return r < 0 ? r : kept_append(kept, &entry, claim->members, fd, false);
}

static int kept_put_sized(Kept *kept, const KeptClaim *claim, Secret *secret, uint64_t size, int fd,
                          Error *error) {
        _cleanup_close_ int taken = fd;
        uint64_t sum = size;
        int r;

        assert(!kept->commit.barrier);
        for (size_t i = 0; i < kept->count; i++)
                if (strcmp(kept->items[i].entry.name, claim->name) != 0)
                        sum += kept->items[i].entry.size;
        if (sum > kept->size_max || kept->count >= 2 * KEPT_MAX)
                return error_set(
                                error, -ENOSPC, FAILURE_STORE,
                                "%s cannot be kept over a restart: the limits are %u secrets and %llu bytes in all. Raise StoreSizeMax= in unseald.conf.",
                                claim->name, KEPT_MAX, (unsigned long long) kept->size_max);
        r = kept_add(kept, claim, secret, size, taken);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "%s cannot be kept over a restart: %s.",
                                 claim->name, strerror(-r));
        (void) TAKE_FD(taken);
        return 0;
}

int kept_put(Kept *kept, const KeptClaim *claim, Secret *secret, int fd, Error *error) {
        return kept_put_sized(kept, claim, secret, secret_size(secret), fd, error);
}

int kept_put_file(Kept *kept, const KeptClaim *claim, int fd, Error *error) {
        _cleanup_secret_ Secret *secret = NULL;
        struct stat st;
        int r = fstat(fd, &st) < 0 ? -errno : 0;

        if (r >= 0 && st.st_size <= (off_t) SECRET_SIZE_MAX)
                r = store_read(fd, &secret);
        if (r < 0) {
                (void) close(fd);
                return error_set(error, r, FAILURE_STORE, "The file of %s cannot be read: %s.", claim->name,
                                 strerror(-r));
        }
        return kept_put_sized(kept, claim, secret, (uint64_t) st.st_size, fd, error);
}

void kept_abandon(Kept *kept) {
        size_t left = 0;

        kept_give_up(kept);
        kept->events_meant = 0;
        for (size_t i = 0; i < kept->count; i++)
                if (kept->items[i].committed) {
                        kept->items[left] = kept->items[i];
                        kept->items[left++].unclaimed = false;
                } else {
                        /* The service manager may still have descriptors of these names: the names are used up. */
                        if (kept->generation == kept->items[i].entry.generation)
                                kept->generation++;
                        item_close(kept->items + i);
                }
        kept->count = left;
}

static int compare_items(const void *a, const void *b) {
        return strcmp((*(const Item *const *) a)->entry.name, (*(const Item *const *) b)->entry.name);
}

/* Returns whether the next manifest lists it: it is not replaced, and it is still claimed. */
static bool is_of_next(const Kept *kept, const Item *item) {
        return !item->committed || (!item->unclaimed && !kept_item(kept, item->entry.name, false));
}

void kept_claim(Kept *kept, const KeptClaim *claims, size_t count) {
        for (size_t i = 0; i < kept->count; i++) {
                const KeptClaim *claim = find_claim(claims, count, kept->items[i].entry.name);

                kept->items[i].unclaimed = !claim || !kept_has(kept, claim);
        }
}

/* The secrets of the next manifest, sorted by name. The caller frees *ret. */
static int kept_list_next(const Kept *kept, const Item ***ret, size_t *ret_count, size_t *ret_members) {
        const Item **items = calloc(kept->count + 1, sizeof(const Item *));
        size_t count = 0, members = 0;

        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < kept->count; i++)
                if (is_of_next(kept, kept->items + i)) {
                        items[count++] = kept->items + i;
                        members += kept->items[i].entry.members;
                }
        qsort(items, count, sizeof(const Item *), compare_items);
        *ret = items;
        *ret_count = count;
        *ret_members = members;
        return 0;
}

static int kept_make_manifest(const Kept *kept, ManifestHeader *header, Secret **ret) {
        _cleanup_free_ ManifestMember *members = NULL;
        _cleanup_free_ ManifestEntry *entries = NULL;
        _cleanup_free_ const Item **items = NULL;
        Manifest manifest = { .events = kept->events,
                              .events_count = kept->events_count + kept->events_meant };
        size_t count, members_count, next = 0;
        sd_id128_t boot;
        int r;

        r = kept_list_next(kept, &items, &count, &members_count);
        if (r >= 0)
                r = sd_id128_get_boot(&boot);
        if (r < 0)
                return r;
        if (count > KEPT_MAX || members_count > MANIFEST_MEMBERS_MAX)
                return -E2BIG;
        entries = calloc(count + 1, sizeof(*entries));
        members = calloc(members_count + 1, sizeof(*members));
        if (!entries || !members)
                return -ENOMEM;
        memcpy(header->boot_id, &boot, sizeof(boot));
        header->count = (uint32_t) count;
        for (size_t i = 0; i < count; i++) {
                entries[i] = items[i]->entry;
                for (size_t k = 0; k < entries[i].members; k++)
                        members[next++] = items[i]->members[k];
        }
        manifest.header = *header;
        manifest.entries = entries;
        manifest.members = members;
        return manifest_format(&manifest, ret);
}

/* Closes the previous manifest and the secrets that are replaced or no longer claimed. */
static void kept_take_over(Kept *kept, const ManifestHeader *header, int fd) {
        char name[FD_NAME_SIZE];
        size_t left = 0;

        for (size_t i = 0; i < kept->count; i++)
                if (is_of_next(kept, kept->items + i))
                        kept->items[left++] = kept->items[i];
                else
                        item_close(kept->items + i);
        kept->count = left;
        for (size_t i = 0; i < left; i++) {
                kept->items[i].committed = true;
                kept->items[i].unclaimed = false;
        }

        if (kept->manifest_fd >= 0) {
                (void) fdstore_remove(fd_name(kept->manifest.generation, NULL, name));
                (void) close(kept->manifest_fd);
        }
        kept->manifest_fd = fd;
        kept->manifest = *header;
        kept->events_count += TAKE(kept->events_meant, 0);
        kept->generation = header->generation + 1;
        kept->incomplete = false;
}

static bool is_same_lock(const ManifestHeader *header, const KeptLock *lock) {
        return header->lock_pcr == lock->pcr &&
               (lock->pcr == 0 || memcmp(header->pcr_before, lock->before, sizeof(lock->before)) == 0);
}

static int kept_not_committed(int r, Error *error) {
        if (r == -ETIMEDOUT)
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The secrets cannot be kept over a restart: the service manager has not answered (sd_notify_barrier(3)), so it is unknown whether it has them. The next start ignores them. Check whether systemd (PID 1) is overloaded or stopped.");
        return error_set(error, r, FAILURE_INTERNAL, "The secrets cannot be kept over a restart: %s.",
                         strerror(-r));
}

static void on_barrier_ended(int r, void *userdata) {
        Kept *kept = userdata;
        KeptCommitted ended = kept->commit.ended;
        Error error = {};

        if (r < 0) {
                kept_give_up(kept);
                (void) kept_not_committed(r, &error);
        } else {
                kept->commit.barrier = notify_barrier_free(kept->commit.barrier);
                kept_take_over(kept, &kept->commit.header, kept->commit.fd);
        }
        ended(r, &error, kept->commit.userdata);
}

/* Hands the manifest to the service manager. Returns 0 if the manager must answer, 1 if there is none. */
static int kept_hand_over(Kept *kept, const ManifestHeader *header, int fd) {
        char name[FD_NAME_SIZE];
        int r = fdstore_put(fd_name(header->generation, NULL, name), fd);

        return r < 0 ? r : fdstore_barrier(kept->event, on_barrier_ended, kept, &kept->commit.barrier);
}

int kept_commit(Kept *kept, Store *store, const KeptLock *lock, KeptCommitted committed, void *userdata,
                Error *error) {
        ManifestHeader header = { .generation = kept->generation, .lock_pcr = lock->pcr };
        _cleanup_secret_ Secret *manifest = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        assert(!kept->commit.barrier);
        memcpy(header.pcr_before, lock->before, sizeof(header.pcr_before));
        header.locked = kept_is_locked(kept) && is_same_lock(&kept->manifest, lock);
        header.measured = kept->manifest.measured;
        r = kept_make_manifest(kept, &header, &manifest);
        if (r < 0)
                return kept_not_committed(r, error);
        r = store_hold(store, manifest, &fd, error);
        if (r < 0)
                return r;
        r = kept_hand_over(kept, &header, fd);
        if (r < 0) {
                kept_disown(kept, &header, fd);
                return kept_not_committed(r, error);
        }
        if (r > 0) {
                kept_take_over(kept, &header, TAKE_FD(fd));
                return r;
        }
        kept->commit.header = header;
        kept->commit.fd = TAKE_FD(fd);
        kept->commit.ended = committed;
        kept->commit.userdata = userdata;
        return 0;
}

bool kept_is_committed(const Kept *kept, const KeptLock *lock) {
        for (size_t i = 0; i < kept->count; i++)
                if (!kept->items[i].committed || kept->items[i].unclaimed)
                        return false;
        return kept->manifest_fd >= 0 && !kept->incomplete && kept->events_meant == 0 &&
               is_same_lock(&kept->manifest, lock);
}

int kept_mean(Kept *kept, const ManifestEvent *events, size_t count, Error *error) {
        size_t sum = kept->events_count + kept->events_meant;
        ManifestEvent *grown;

        assert(!kept->commit.barrier);
        if (count > MANIFEST_EVENTS_MAX - sum)
                return error_set(
                                error, -E2BIG, FAILURE_STORE,
                                "%zu sealed secrets cannot be measured (MeasurePcr=): %zu were measured in this boot, and unseald records no more than %u. Reboot.",
                                count, sum, MANIFEST_EVENTS_MAX);
        grown = reallocarray(kept->events, sum + count + 1, sizeof(*grown));
        if (!grown)
                return error_oom(error);
        kept->events = grown;
        if (count > 0)
                memcpy(grown + sum, events, count * sizeof(*grown));
        kept->events_meant += count;
        return 0;
}

const ManifestEvent *kept_events(const Kept *kept, size_t *ret_count) {
        *ret_count = kept->events_count;
        return kept->events;
}

size_t kept_measured(const Kept *kept) {
        return kept->manifest.measured;
}

void kept_touch(Kept *kept) {
        kept->touched = true;
}

bool kept_is_touched(const Kept *kept) {
        return kept->touched;
}

/* Changes a number of the manifest, which the service manager's descriptor shows as well. */
static int kept_mark(const Kept *kept, const void *number, size_t size, size_t offset) {
        ssize_t n = pwrite(kept->manifest_fd, number, size, (off_t) offset);

        return n < 0 ? -errno : (size_t) n < size ? -EIO : 0;
}

int kept_set_measured(Kept *kept, Error *error) {
        const uint16_t measured = (uint16_t) kept->events_count;
        int r = kept_mark(kept, &measured, sizeof(measured), offsetof(ManifestHeader, measured));

        if (r < 0)
                return error_set(error, r, FAILURE_STORE,
                                 "The extended PCRs cannot be recorded for the next process: %s.",
                                 strerror(-r));
        kept->manifest.measured = measured;
        kept->touched = false;
        return 0;
}

int kept_set_locked(Kept *kept, Error *error) {
        static const uint8_t locked = 1;
        int r = kept_mark(kept, &locked, sizeof(locked), offsetof(ManifestHeader, locked));

        if (r < 0)
                return error_set(error, r, FAILURE_STORE,
                                 "The lock of the PCR cannot be recorded for the next process: %s.",
                                 strerror(-r));
        kept->manifest.locked = locked;
        return 0;
}

bool kept_is_locked(const Kept *kept) {
        return kept->manifest_fd >= 0 && kept->manifest.locked;
}

KeptLock kept_lock(const Kept *kept) {
        KeptLock lock = { .pcr = kept->manifest.lock_pcr };

        memcpy(lock.before, kept->manifest.pcr_before, sizeof(lock.before));
        return lock;
}
