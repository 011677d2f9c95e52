/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "unsealing/body.h"
#include "unsealing/delivery.h"
#include "unsealing/member-files.h"
#include "unsealing/owner.h"
#include "vault/store.h"

_Static_assert(sizeof(((KeptLock *) NULL)->before) == PCR_SIZE, "KeptLock has another size than a PCR");

#define KEY_NAME_SIZE sizeof(((ManifestEntry *) NULL)->name)

struct Delivery {
        DeliveryOptions options;
        Store *store;
        KeptClaim *claims;  /* these nine have one element for each declaration */
        KeptClaim *claimed; /* twice as many: those that are not withdrawn, and those of data keys */
        Owner *owners;
        MemberFiles **files; /* of a bundle; NULL: the secret is none */
        StoreDraft **drafts; /* those of the next delivery_keep(); NULL: none */
        bool *kept, *withdrawn;
        char (*key_names)[KEY_NAME_SIZE]; /* of late secrets; the empty name: it is none */
        Secret **keys;                    /* those of the next delivery_keep(); NULL: none */
        bool late;                        /* what is kept now is one late secret */
        bool keeping;                     /* the service manager must answer */
        DeliveryKept ended;
        void *userdata;
};

static int set_up_owner(Delivery *delivery, size_t i, Error *error) {
        const Declaration *declaration = delivery->options.declarations->items + i;

        return declaration->format == FORMAT_BUNDLE
                               ? member_files_new(declaration, delivery->store, delivery->files + i, error)
                               : owner_find(declaration, delivery->owners + i, error);
}

static int set_up_secrets(Delivery *delivery, Error *error) {
        const Declarations *declarations = delivery->options.declarations;
        int r;

        delivery->claims = calloc(declarations->count + 1, sizeof(*delivery->claims));
        delivery->owners = calloc(declarations->count + 1, sizeof(*delivery->owners));
        delivery->files = calloc(declarations->count + 1, sizeof(*delivery->files));
        delivery->claimed = calloc(2 * declarations->count + 1, sizeof(*delivery->claimed));
        delivery->key_names = calloc(declarations->count + 1, sizeof(*delivery->key_names));
        delivery->keys = calloc(declarations->count + 1, sizeof(Secret *));
        delivery->kept = calloc(declarations->count + 1, sizeof(*delivery->kept));
        delivery->withdrawn = calloc(declarations->count + 1, sizeof(*delivery->withdrawn));
        delivery->drafts = calloc(declarations->count + 1, sizeof(StoreDraft *));
        if (!delivery->drafts || !delivery->claims || !delivery->owners || !delivery->files ||
            !delivery->claimed || !delivery->kept || !delivery->withdrawn || !delivery->key_names ||
            !delivery->keys)
                return error_oom(error);
        for (size_t i = 0; i < declarations->count; i++) {
                const Declaration *declaration = declarations->items + i;

                r = set_up_owner(delivery, i, error);
                if (r < 0)
                        return r;
                delivery->claims[i].name = declaration->name;
                if (declaration->late)
                        (void) snprintf(delivery->key_names[i], KEY_NAME_SIZE, "%.64s" MANIFEST_KEY_SUFFIX,
                                        declaration->name);
                r = declaration_digest(declaration, delivery->claims[i].stands_for);
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0)
                        return error_set(error, r, FAILURE_INTERNAL,
                                         "OpenSSL cannot hash the declaration of secret %s.",
                                         declaration->name);
        }
        return 0;
}

/* The data key of a late secret stands for the same as the secret. */
static KeptClaim key_claim(const Delivery *delivery, size_t i) {
        KeptClaim claim = delivery->claims[i];

        claim.name = delivery->key_names[i];
        return claim;
}

/* Lists the claims of all secrets that are not withdrawn and, with their data keys, of all late secrets but one. */
static size_t list_claims(Delivery *delivery, bool with_keys, size_t without) {
        size_t count = delivery->options.declarations->count, claimed = 0;

        for (size_t i = 0; i < count; i++)
                if (!delivery->withdrawn[i])
                        delivery->claimed[claimed++] = delivery->claims[i];
        for (size_t i = 0; with_keys && i < count; i++)
                if (delivery->key_names[i][0] && i != without)
                        delivery->claimed[claimed++] = key_claim(delivery, i);
        return claimed;
}

/* Reads a kept bundle. places borrows from *ret and from the kept secrets. */
static int read_bundle(const Delivery *delivery, size_t i, Secret **ret, MemberPlaces *places,
                       Error *error) {
        const char *name = delivery->claims[i].name;
        int r = store_read(kept_find(delivery->options.kept, name), ret);

        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "The kept secret %s cannot be read: %s.", name,
                                 strerror(-r));
        places->bundle = *ret;
        places->members = kept_members(delivery->options.kept, name, &places->count);
        return 0;
}

/* Lists the files of the members of a bundle that may stay. Of the declarations before a reload only the names are known. */
static size_t list_members(const Delivery *delivery, const Declarations *declarations, size_t i,
                           StoreFile *ret) {
        const Declaration *declaration = declarations->items + i;
        const ManifestMember *members;
        size_t count;

        if (declarations == delivery->options.declarations)
                return delivery->files[i] ? member_files_list(delivery->files[i], ret) : 0;
        members = kept_members(delivery->options.kept, declaration->name, &count);
        return member_files_list_kept(declaration, members, count, ret);
}

/* Removes every file that is not of a kept secret. Kept files stay, hidden or published. */
static int tidy_store(Delivery *delivery, const Declarations *declarations, Error *error) {
        _cleanup_free_ StoreFile *files = NULL;
        size_t count = declarations->count;

        for (size_t i = 0; i < declarations->count; i++)
                count += declarations->items[i].members_count;
        files = calloc(count + 1, sizeof(*files));
        if (!files)
                return error_oom(error);
        count = 0;
        for (size_t i = 0; i < declarations->count; i++) {
                const Declaration *declaration = declarations->items + i;

                files[count++] = (StoreFile){ .name = declaration->store ? declaration->name : NULL,
                                              .fd = kept_find(delivery->options.kept, declaration->name) };
                count += list_members(delivery, declarations, i, files + count);
        }
        return store_retain(delivery->store, files, count, error);
}

/* Looks which files of the members of kept bundles are in the store since before the restart. */
static int look_at_members(Delivery *delivery, Error *error) {
        const Declarations *declarations = delivery->options.declarations;
        int r = 0;

        for (size_t i = 0; i < declarations->count && r >= 0; i++) {
                _cleanup_secret_ Secret *bundle = NULL;
                MemberPlaces places;

                if (!delivery->files[i] || kept_find(delivery->options.kept, delivery->claims[i].name) < 0)
                        continue;
                r = read_bundle(delivery, i, &bundle, &places, error);
                if (r >= 0)
                        member_files_look(delivery->files[i], &places);
        }
        return r;
}

static int restore(Delivery *delivery, Error *error) {
        const Declarations *declarations = delivery->options.declarations;
        int r;

        r = kept_restore(delivery->options.kept, delivery->store, delivery->claimed,
                         list_claims(delivery, true, SIZE_MAX), error);
        if (r >= 0)
                r = look_at_members(delivery, error);
        if (r >= 0)
                r = tidy_store(delivery, declarations, error);
        for (size_t i = 0; i < declarations->count && r >= 0; i++)
                delivery->kept[i] = kept_find(delivery->options.kept, declarations->items[i].name) >= 0;
        return r;
}

int delivery_new(const DeliveryOptions *options, Delivery **ret, Error *error) {
        _cleanup_(delivery_freep) Delivery *delivery = calloc(1, sizeof(*delivery));
        int r;

        if (!delivery)
                return error_oom(error);
        delivery->options = *options;
        r = store_open(options->store_path, &delivery->store, error);
        if (r >= 0) {
                store_set_size_max(delivery->store, options->store_size_max);
                kept_set_size_max(options->kept, options->store_size_max);
        }
        if (r >= 0)
                r = set_up_secrets(delivery, error);
        if (r >= 0 && !options->replaced)
                r = restore(delivery, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(delivery);
        return 0;
}

static void discard_drafts(Delivery *delivery) {
        for (size_t i = 0; delivery->drafts && i < delivery->options.declarations->count; i++)
                if (delivery->drafts[i])
                        body_discard(TAKE_PTR(delivery->drafts[i]));
}

Delivery *delivery_free(Delivery *delivery) {
        if (!delivery)
                return NULL;
        if (delivery->keeping)
                delivery_abandon(delivery);
        discard_drafts(delivery);
        free(delivery->drafts);
        for (size_t i = 0; delivery->files && i < delivery->options.declarations->count; i++)
                (void) member_files_free(delivery->files[i]);
        free(delivery->files);
        (void) store_free(delivery->store);
        free(delivery->claims);
        free(delivery->owners);
        free(delivery->claimed);
        free(delivery->key_names);
        free(delivery->keys);
        free(delivery->kept);
        free(delivery->withdrawn);
        free(delivery);
        return NULL;
}

bool delivery_has(const Delivery *delivery, size_t secret) {
        return delivery->kept[secret];
}

bool delivery_has_before_reload(const Delivery *delivery, size_t secret) {
        return delivery->options.replaced && kept_has(delivery->options.kept, delivery->claims + secret);
}

void delivery_withdraw(Delivery *delivery, size_t secret) {
        delivery->withdrawn[secret] = kept_find(delivery->options.kept, delivery->claims[secret].name) >= 0;
}

bool delivery_has_withdrawn(const Delivery *delivery, size_t secret) {
        return delivery->withdrawn[secret];
}

int delivery_begin_draft(Delivery *delivery, const char *name, uint64_t size, StoreDraft **ret,
                         Error *error) {
        return store_draft_begin(delivery->store, name, size, ret, error);
}

void delivery_take_draft(Delivery *delivery, size_t secret, StoreDraft *draft) {
        delivery->drafts[secret] = draft;
}

void delivery_take_key(Delivery *delivery, size_t secret, Secret *late_key) {
        delivery->keys[secret] = late_key;
}

bool delivery_has_key(const Delivery *delivery, size_t secret) {
        return delivery->key_names[secret][0] &&
               kept_find(delivery->options.kept, delivery->key_names[secret]) >= 0;
}

int delivery_read_key(const Delivery *delivery, size_t secret, Secret **ret, Error *error) {
        int r = store_read(kept_find(delivery->options.kept, delivery->key_names[secret]), ret);

        return r < 0 ? error_set(error, r, FAILURE_STORE, "The kept data key of %s cannot be read: %s.",
                                 delivery->claims[secret].name, strerror(-r))
                     : r;
}

void delivery_settle(Delivery *delivery, const Declarations *declarations) {
        delivery->options.declarations = declarations;
        delivery->options.replaced = NULL;
}

/* The file has no name, and belongs to nobody but unseald. */
static int put_key(Delivery *delivery, size_t i, const uint64_t *version, Error *error) {
        Secret *key = TAKE_PTR(delivery->keys[i]);
        KeptClaim claim = key_claim(delivery, i);
        int fd, r = store_hold(delivery->store, key, &fd, error);

        claim.version = version;
        return r < 0 ? r : kept_put(delivery->options.kept, &claim, key, fd, error);
}

static int put_draft(Delivery *delivery, size_t i, const uint64_t *version, Error *error) {
        const Declaration *declaration = delivery->options.declarations->items + i;
        const Owner *owner = delivery->owners + i;
        StoreDraft *draft = TAKE_PTR(delivery->drafts[i]);
        KeptClaim claim = delivery->claims[i];
        int r, fd;

        r = declaration->store ? store_draft_finish(draft, owner->uid, owner->gid, declaration->mode, &fd,
                                                    error)
                               : store_draft_hold(draft, &fd, error);
        claim.version = version;
        return r < 0 ? r : kept_put_file(delivery->options.kept, &claim, fd, error);
}

static int put(Delivery *delivery, size_t i, Secret *plaintext, const uint64_t *version, Error *error) {
        const Declaration *declaration = delivery->options.declarations->items + i;
        const Owner *owner = delivery->owners + i;
        KeptClaim claim = delivery->claims[i];
        int r, fd;

        r = declaration->store ? store_prepare(delivery->store, declaration->name, plaintext, owner->uid,
                                               owner->gid, declaration->mode, &fd, error)
                               : store_hold(delivery->store, plaintext, &fd, error);
        claim.version = version;
        return r < 0 ? r : kept_put(delivery->options.kept, &claim, plaintext, fd, error);
}

static int put_bundle(Delivery *delivery, size_t i, Secret *plaintext, const DeliveryMembers *members,
                      const uint64_t *version, Error *error) {
        const MemberPlaces places = { .bundle = plaintext,
                                      .members = members->members,
                                      .count = members->count };
        KeptClaim claim = delivery->claims[i];
        int r, fd;

        r = member_files_stage(delivery->files[i], &places, error);
        if (r >= 0)
                r = store_hold(delivery->store, plaintext, &fd, error);
        if (r < 0)
                return r;
        claim.version = version;
        claim.members = members->members;
        claim.members_count = members->count;
        return kept_put(delivery->options.kept, &claim, plaintext, fd, error);
}

/* Stages the files of the members of a kept bundle that the store does not show. */
static int put_members_again(Delivery *delivery, size_t i, Error *error) {
        _cleanup_secret_ Secret *bundle = NULL;
        MemberPlaces places;
        int r = read_bundle(delivery, i, &bundle, &places, error);

        return r < 0 ? r : member_files_stage(delivery->files[i], &places, error);
}

/* The same for a file that is too large for a Secret. It blocks the event loop; that somebody removes the file of a large secret, or
 * that its owner changes while unseald is restarted, is rare. */
static int copy_again(Delivery *delivery, size_t i, int fd, uint64_t size, const uint64_t *version,
                      Error *error) {
        _cleanup_secret_ Secret *buffer = NULL;
        const char *name = delivery->options.declarations->items[i].name;
        StoreDraft *draft;
        int r = delivery_begin_draft(delivery, name, size, &draft, error);

        if (r < 0)
                return r;
        delivery_take_draft(delivery, i, draft);
        r = secret_new(SECRET_SIZE_MAX, &buffer);
        for (uint64_t at = 0; at < size && r >= 0;) {
                ssize_t n = pread(fd, secret_bytes(buffer), SECRET_SIZE_MAX, (off_t) at);

                if (n < 0 && errno == EINTR)
                        continue;
                r = n < 0    ? -errno
                    : n == 0 ? -EIO
                             : store_draft_write(draft, secret_bytes(buffer), (size_t) n, at);
                at += n > 0 ? (uint64_t) n : 0;
        }
        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "The kept secret %s cannot be written again: %s.",
                                 name, strerror(-r));
        return put_draft(delivery, i, version, error);
}

/* Writes the file of a kept secret again, if its declared owner or mode has changed or somebody has removed the file. */
static int put_again(Delivery *delivery, size_t i, Error *error) {
        const Declaration *declaration = delivery->options.declarations->items + i;
        const Owner *owner = delivery->owners + i;
        int fd = kept_find(delivery->options.kept, declaration->name), r;
        const uint64_t *version = kept_version(delivery->options.kept, declaration->name);
        uint64_t copy = version ? *version : 0;
        _cleanup_secret_ Secret *plaintext = NULL;
        struct stat st;

        if (!declaration->store || store_can_publish(delivery->store, declaration->name, fd, owner->uid,
                                                     owner->gid, declaration->mode))
                return 0;
        if (fstat(fd, &st) >= 0 && (uint64_t) st.st_size > SECRET_SIZE_MAX)
                return copy_again(delivery, i, fd, (uint64_t) st.st_size, version ? &copy : NULL, error);
        r = store_read(fd, &plaintext);
        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "The kept secret %s cannot be read: %s.",
                                 declaration->name, strerror(-r));
        return put(delivery, i, plaintext, version ? &copy : NULL, error);
}

/* The lock that is recorded with the secrets. A lock that was recorded before stays; a new one has the attested value of the
 * PCR. */
static KeptLock lock_of(const Delivery *delivery, const PcrSet *measured) {
        KeptLock lock = { .pcr = (uint8_t) delivery->options.lock_pcr };

        if (kept_lock(delivery->options.kept).pcr == lock.pcr)
                return kept_lock(delivery->options.kept);
        if (lock.pcr > 0 && measured->present & (UINT32_C(1) << lock.pcr))
                memcpy(lock.before, measured->value[lock.pcr], sizeof(lock.before));
        return lock;
}

/* A reload: a secret that is no longer declared, or whose declaration means another plaintext now, is not kept. An optional
 * secret that could not be unsealed again stays as it was, if its declaration still means the same plaintext and it is not
 * withdrawn. */
static void claim(Delivery *delivery) {
        size_t count = delivery->options.declarations->count;

        kept_claim(delivery->options.kept, delivery->claimed, list_claims(delivery, false, SIZE_MAX));
        for (size_t i = 0; i < count; i++)
                delivery->kept[i] = !delivery->withdrawn[i] &&
                                    kept_has(delivery->options.kept, delivery->claims + i);
}

static int put_all(Delivery *delivery, Secret *const *plaintexts, const DeliveryMembers *members,
                   const uint64_t *const *versions, Error *error) {
        int r = 0;

        for (size_t i = 0; i < delivery->options.declarations->count && r >= 0; i++)
                if (delivery->drafts[i])
                        r = put_draft(delivery, i, versions[i], error);
                else if (plaintexts[i])
                        r = delivery->files[i] ? put_bundle(delivery, i, plaintexts[i], members + i,
                                                            versions[i], error)
                                               : put(delivery, i, plaintexts[i], versions[i], error);
                else if (delivery->kept[i])
                        r = delivery->files[i] ? put_members_again(delivery, i, error)
                                               : put_again(delivery, i, error);
        for (size_t i = 0; i < delivery->options.declarations->count && r >= 0; i++)
                if (delivery->keys[i])
                        r = put_key(delivery, i, versions[i], error);
        return r;
}

void delivery_abandon(Delivery *delivery) {
        const DeliveryOptions *options = &delivery->options;

        delivery->keeping = false;
        discard_drafts(delivery);
        memset(delivery->keys, 0, options->declarations->count * sizeof(*delivery->keys));
        for (size_t i = 0; i < options->declarations->count; i++)
                if (delivery->files[i])
                        member_files_drop(delivery->files[i]);
        kept_abandon(options->kept);
        /* The drafts of other late secrets are in the store, too. What is left of this one goes with the next start or reload. */
        if (TAKE(delivery->late, false))
                return;
        (void) tidy_store(delivery, options->replaced ?: options->declarations, NULL);
}

static void note_kept(Delivery *delivery) {
        for (size_t i = 0; i < delivery->options.declarations->count; i++)
                delivery->kept[i] = kept_find(delivery->options.kept, delivery->claims[i].name) >= 0;
}

static void on_committed(int r, const Error *error, void *userdata) {
        Delivery *delivery = userdata;

        delivery->keeping = false;
        if (r < 0)
                delivery_abandon(delivery);
        else
                note_kept(delivery);
        delivery->late = false;
        delivery->ended(r, error, delivery->userdata);
}

int delivery_record(Delivery *delivery, const ManifestEvent *events, size_t count, const PcrSet *measured,
                    DeliveryKept recorded, void *userdata, Error *error) {
        const DeliveryOptions *options = &delivery->options;
        KeptLock lock = lock_of(delivery, measured);
        int r;

        delivery->ended = recorded;
        delivery->userdata = userdata;
        r = kept_mean(options->kept, events, count, error);
        if (r >= 0)
                r = kept_commit(options->kept, delivery->store, &lock, on_committed, delivery, error);
        if (r < 0)
                kept_abandon(options->kept);
        delivery->keeping = r == 0;
        return r;
}

int delivery_keep(Delivery *delivery, Secret *const *plaintexts, const DeliveryMembers *members,
                  const uint64_t *const *versions, const PcrSet *measured, DeliveryKept kept, void *userdata,
                  Error *error) {
        const DeliveryOptions *options = &delivery->options;
        KeptLock lock = lock_of(delivery, measured);
        int r;

        delivery->ended = kept;
        delivery->userdata = userdata;
        if (options->replaced)
                claim(delivery);
        r = put_all(delivery, plaintexts, members, versions, error);
        if (r >= 0)
                r = kept_is_committed(options->kept, &lock)
                                    ? 1
                                    : kept_commit(options->kept, delivery->store, &lock, on_committed,
                                                  delivery, error);
        if (r < 0)
                delivery_abandon(delivery);
        else if (r > 0)
                note_kept(delivery);
        else
                delivery->keeping = true;
        return r;
}

static int publish_one(Delivery *delivery, size_t i, Error *error) {
        const Declaration *declaration = delivery->options.declarations->items + i;

        if (!delivery->kept[i])
                return 0;
        if (delivery->files[i])
                return member_files_publish(delivery->files[i], error);
        if (!declaration->store)
                return 0;
        return store_publish(delivery->store, declaration->name,
                             kept_find(delivery->options.kept, declaration->name), error);
}

/* The new secrets are committed, so one failure must not hold up the others. The first failure is the one that is reported. */
static int publish_reload(Delivery *delivery, Error *error) {
        const Declarations *declarations = delivery->options.declarations;
        int result = 0;

        for (size_t i = 0; i <= declarations->count; i++) {
                Error failed = {};
                /* Last, the files go that are of no kept secret: undeclared ones, and those of the version before. */
                int r = i < declarations->count ? publish_one(delivery, i, &failed)
                                                : tidy_store(delivery, declarations, &failed);

                if (r < 0 && result >= 0) {
                        result = r;
                        *error = failed;
                }
        }
        return result;
}

int delivery_publish(Delivery *delivery, Error *error) {
        if (delivery->options.replaced)
                return publish_reload(delivery, error);
        for (size_t i = 0; i < delivery->options.declarations->count; i++) {
                int r = publish_one(delivery, i, error);

                if (r < 0) {
                        (void) store_retain(delivery->store, NULL, 0, NULL);
                        return r;
                }
        }
        return 0;
}

int delivery_keep_late(Delivery *delivery, size_t secret, StoreDraft *draft, const uint64_t *version,
                       DeliveryKept kept, void *userdata, Error *error) {
        const DeliveryOptions *options = &delivery->options;
        KeptLock lock = kept_lock(options->kept);
        int r = 0;

        delivery->ended = kept;
        delivery->userdata = userdata;
        delivery->late = true;
        kept_claim(options->kept, delivery->claimed, list_claims(delivery, true, secret));
        if (draft) {
                delivery_take_draft(delivery, secret, draft);
                r = put_draft(delivery, secret, version, error);
        }
        if (r >= 0)
                r = kept_commit(options->kept, delivery->store, &lock, on_committed, delivery, error);
        if (r < 0)
                delivery_abandon(delivery);
        else if (r > 0)
                note_kept(delivery);
        else
                delivery->keeping = true;
        return r;
}

int delivery_publish_late(Delivery *delivery, size_t secret, Error *error) {
        return publish_one(delivery, secret, error);
}
