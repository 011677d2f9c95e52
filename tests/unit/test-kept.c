/* SPDX-License-Identifier: Apache-2.0 */

/* Uses a ramfs in a mount namespace of its own, and is skipped without root. This file replaces vault/fdstore.c and basic/log.c:
 * it plays the service manager, and keeps what is logged. It also takes the place of EVP_Digest(), so that a digest can fail. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/log.h"
#include "failing-memory.h"
#include "notify-listener.h"
#include "vault/fdstore.h"
#include "vault/kept.h"

#define STORE "store"

static struct {
        char *name;
        int fd;
} held[2 * KEPT_MAX + 16];
static size_t held_count;
static unsigned barriers;
static int fails_at;       /* the n-th call from now fails; 0: none */
static bool is_silent;     /* it takes what it is sent, and does not answer the barrier */
static bool loses_removal; /* messages that remove a descriptor do not arrive */

static int call(void) {
        return fails_at > 0 && --fails_at == 0 ? -ENOBUFS : 0;
}

bool fdstore_is_there(void) {
        return true;
}

int fdstore_put(const char *name, int fd) {
        int r = call();

        if (r < 0)
                return r;
        assert_true(held_count < ELEMENTSOF(held));
        held[held_count].name = strdup(name);
        held[held_count++].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return 0;
}

int fdstore_remove(const char *name) {
        _cleanup_free_ char *wanted = strdup(name); /* name may be one of the strings that are freed */

        assert_non_null(wanted);
        if (loses_removal)
                return 0;
        for (size_t i = 0; i < held_count; i++)
                if (strcmp(held[i].name, wanted) == 0) {
                        free(held[i].name);
                        assert_int_equal(close(held[i].fd), 0);
                        held[i--] = held[--held_count];
                }
        return 0;
}

static sd_event *event;
static int manager = -1; /* the socket that gets the barrier */

int fdstore_barrier(sd_event *of, NotifyBarrierEnded ended, void *userdata, NotifyBarrier **ret) {
        int r = call();

        assert_ptr_equal(of, event);
        barriers++;
        return r < 0 ? r
                     : notify_barrier_new(event, is_silent ? 0 : UINT64_C(3600000000), ended, userdata, ret);
}

static bool receive_barrier(void) {
        char text[64], control[CMSG_SPACE(sizeof(int))];
        struct iovec part = { .iov_base = text, .iov_len = sizeof(text) };
        struct msghdr message = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        int fd = -1;

        if (n < 0)
                return false;
        assert_int_equal(n, strlen("BARRIER=1"));
        assert_memory_equal(text, "BARRIER=1", strlen("BARRIER=1"));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
        assert_int_equal(close(fd), 0);
        return true;
}

/* The service manager closes what came with the barrier, and with those before it that it has not answered. */
static void answer_barrier(void) {
        assert_true(receive_barrier());
        while (receive_barrier())
                ;
}

int fdstore_take(int **ret_fds, char ***ret_names, size_t *ret_count) {
        *ret_fds = calloc(held_count + 1, sizeof(**ret_fds));
        *ret_names = calloc(held_count + 1, sizeof(**ret_names));
        for (size_t i = 0; i < held_count; i++) {
                (*ret_fds)[i] = fcntl(held[i].fd, F_DUPFD_CLOEXEC, 3);
                (*ret_names)[i] = strdup(held[i].name);
        }
        *ret_count = held_count;
        return 0;
}

static char logged[1024];

void log_set_max_priority(int priority) {
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        size_t length = strlen(logged);
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(logged + length, sizeof(logged) - length, format, arguments);
        va_end(arguments);
        if (fields)
                assert_string_equal(fields->message_id, MESSAGE_DROPPED);
}

static bool digest_fails, write_fails, create_fails;

/* The store asks for a number for the name of a new file. */
ssize_t getrandom(void *data, size_t size, unsigned flags) {
        if (create_fails) {
                errno = EIO;
                return -1;
        }
        return syscall(SYS_getrandom, data, size, flags);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
        if (write_fails) {
                errno = EIO;
                return -1;
        }
        return syscall(SYS_pwrite64, fd, data, size, offset);
}

int EVP_Digest(const void *data, size_t size, unsigned char *ret, unsigned *ret_size, const EVP_MD *type,
               ENGINE *engine) {
        return digest_fails ? 0
                            : ((typeof(&EVP_Digest)) dlsym(RTLD_NEXT, "EVP_Digest"))(data, size, ret,
                                                                                     ret_size, type, engine);
}

static void assert_held(const char *const *names) {
        size_t count = 0;

        for (; names[count]; count++) {
                bool found = false;
                for (size_t i = 0; i < held_count; i++)
                        found = found || strcmp(held[i].name, names[count]) == 0;
                if (!found)
                        fail_msg("the service manager does not hold %s", names[count]);
        }
        if (held_count != count)
                fail_msg("the service manager holds %zu descriptors, not %zu", held_count, count);
}
#define ASSERT_HELD(...) assert_held((const char *const[]){ __VA_ARGS__, NULL })

static const KeptLock no_lock;
static const KeptLock lock = { .pcr = 15, .before = { 1, 2, 3 } };
static const KeptClaim claims[] = { { "api-token", { 'A' } }, { "db-password", { 'D' } } };
static Store *store;
static Kept *kept;

static int set_up(void **state) {
        if (mount("ramfs", STORE, "ramfs", 0, "mode=0755") < 0 || store_open(STORE, &store, NULL) < 0)
                return -1;
        manager = notify_listen();
        if (manager < 0 || sd_event_new(&event) < 0)
                return -1;
        return kept_new(event, &kept);
}

static int tear_down(void **state) {
        kept = kept_free(kept);
        store = store_free(store);
        event = sd_event_unref(event);
        (void) close(manager);
        (void) unsetenv("NOTIFY_SOCKET");
        is_silent = loses_removal = digest_fails = write_fails = create_fails = false;
        fails_at = 0;
        while (held_count > 0)
                (void) fdstore_remove(held[0].name);
        return umount2(STORE, MNT_DETACH);
}

static int put(const KeptClaim *claim, const char *text) {
        _cleanup_secret_ Secret *secret = NULL;
        Error error = {};
        int fd;

        assert_int_equal(secret_new(strlen(text), &secret), 0);
        memcpy(secret_bytes(secret), text, strlen(text));
        if (store_prepare(store, claim->name, secret, (uid_t) -1, (gid_t) -1, 0400, &fd, &error) < 0)
                fail_msg("%s", error.text);
        return kept_put(kept, claim, secret, fd, NULL);
}

static struct {
        bool ended;
        int r;
        Error error;
} committed;

static void on_committed(int r, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &committed);
        assert_false(committed.ended);
        committed.ended = true;
        committed.r = r;
        committed.error = *error;
}

/* Begins a commit. The manager has everything, and its answer is awaited. */
static int begin_commit(const KeptLock *with) {
        int r;

        memset(&committed, 0, sizeof(committed));
        r = kept_commit(kept, store, with, on_committed, &committed, &committed.error);
        assert_false(committed.ended);
        assert_true(r <= 0);
        return r;
}

static int commit_with(const KeptLock *with) {
        int r = begin_commit(with);

        if (r < 0)
                return r;
        if (!is_silent)
                answer_barrier();
        while (!committed.ended)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        return committed.r;
}

static int commit(void) {
        return commit_with(&no_lock);
}

static void keep_both(void) {
        assert_int_equal(put(claims + 0, "the token"), 0);
        assert_int_equal(put(claims + 1, "the password"), 0);
        assert_int_equal(commit(), 0);
}

static void assert_kept(const char *name, const char *text) {
        char buffer[64] = "";
        int fd = kept_find(kept, name);

        if (fd < 0)
                fail_msg("%s is not kept", name);
        assert_true(pread(fd, buffer, sizeof(buffer) - 1, 0) >= 0);
        assert_string_equal(buffer, text);
}

/* Restores what was kept, as the next process does. */
static void restore(const KeptClaim *wanted, size_t count) {
        Error error = {};
        int r;

        loses_removal = is_silent = false;
        logged[0] = 0;
        kept = kept_free(kept);
        assert_int_equal(kept_new(event, &kept), 0);
        r = kept_restore(kept, store, wanted, count, &error);
        if (r != 0)
                fail_msg("%d: %s", r, error.text);
}

static void test_a_secret_is_kept_when_it_is_committed(void **state) {
        barriers = 0;
        assert_int_equal(put(claims + 1, "the password"), 0);
        assert_int_equal(kept_find(kept, "db-password"), -ENOENT);
        assert_false(kept_is_committed(kept, &no_lock));
        assert_int_equal(commit(), 0);
        assert_int_equal(barriers, 1);
        assert_kept("db-password", "the password");
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_true(kept_is_committed(kept, &no_lock));
        assert_false(kept_is_committed(kept, &lock));
        ASSERT_HELD("kept-1", "kept-1-db-password");
}

static void test_the_next_process_has_the_committed_secrets(void **state) {
        keep_both();
        restore(claims, 2);
        assert_kept("api-token", "the token");
        assert_kept("db-password", "the password");
        assert_true(kept_is_committed(kept, &no_lock));
        assert_string_equal(logged, "");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
}

static void assert_member(const char *bundle, const char *name, uint64_t offset, uint64_t size) {
        size_t count;
        const ManifestMember *members = kept_members(kept, bundle, &count),
                             *member = manifest_find_member(members, count, name);

        if (!member)
                fail_msg("%s has no member %s", bundle, name);
        assert_int_equal(member->offset, offset);
        assert_int_equal(member->size, size);
}

/* A bundle is one descriptor, whatever number of members it has. */
static void test_the_next_process_has_the_members_of_a_bundle(void **state) {
        static const ManifestMember two[] = { { .name = "a", .offset = 0, .size = 4 },
                                              { .name = "b", .offset = 4, .size = 5 } },
                                    one[] = { { .name = "b", .offset = 1, .size = 2 } };
        KeptClaim bundle = claims[1];
        size_t count;

        bundle.members = two;
        bundle.members_count = ELEMENTSOF(two);
        assert_int_equal(put(claims + 0, "the token"), 0);
        assert_int_equal(put(&bundle, "thistheB."), 0);
        assert_null(kept_members(kept, "db-password", &count));
        assert_int_equal(count, 0);
        assert_int_equal(commit(), 0);
        restore(claims, 2);
        assert_member("db-password", "a", 0, 4);
        assert_member("db-password", "b", 4, 5);
        assert_null(manifest_find_member(kept_members(kept, "db-password", &count), 2, "c"));
        assert_null(kept_members(kept, "api-token", &count));
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");

        bundle.members = one;
        bundle.members_count = ELEMENTSOF(one);
        assert_int_equal(put(&bundle, "xyz"), 0);
        assert_member("db-password", "a", 0, 4);
        assert_int_equal(commit(), 0);
        assert_member("db-password", "b", 1, 2);
        (void) kept_members(kept, "db-password", &count);
        assert_int_equal(count, 1);
        restore(claims, 2);
        assert_member("db-password", "b", 1, 2);
}

static void test_the_first_process_has_nothing_to_drop(void **state) {
        restore(claims, 2);
        assert_string_equal(logged, "");
        assert_false(kept_is_committed(kept, &no_lock));
}

static void test_without_memory_nothing_is_kept(void **state) {
        Kept *none = NULL;

        if (!memory_can_fail())
                skip();
        memory_fail_after(0);
        assert_int_equal(kept_new(event, &none), -ENOMEM);
        assert_true(memory_has_failed());
        assert_null(none);
        assert_null(kept_free(NULL));
}

static void test_an_uncommitted_secret_is_dropped(void **state) {
        assert_int_equal(put(claims, "the token"), 0);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_int_equal(held_count, 0);
        assert_string_equal(
                        logged,
                        "Dropped all kept secrets: there is no valid manifest of them. They are unsealed again.");
        assert_int_equal(put(claims, "the token"), 0);
        assert_int_equal(commit(), 0);
        ASSERT_HELD("kept-2", "kept-2-api-token");
}

static void test_a_secret_is_replaced_in_one_step(void **state) {
        keep_both();
        assert_int_equal(put(claims, "a new token"), 0);
        assert_kept("api-token", "the token");
        restore(claims, 2); /* as if the process was killed now */
        assert_kept("api-token", "the token");
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(commit(), 0);
        assert_kept("api-token", "a new token");
        assert_kept("db-password", "the password");
        restore(claims, 2);
        assert_kept("api-token", "a new token");
        assert_kept("db-password", "the password");
        ASSERT_HELD("kept-3", "kept-3-api-token", "kept-1-db-password");
}

static void test_an_abandoned_secret_changes_nothing(void **state) {
        keep_both();
        assert_int_equal(put(claims, "a new token"), 0);
        kept_abandon(kept);
        assert_kept("api-token", "the token");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
        assert_true(kept_is_committed(kept, &no_lock));
        assert_int_equal(put(claims, "another token"), 0);
        assert_int_equal(commit(), 0);
        assert_kept("api-token", "another token");
}

static void test_a_service_manager_that_fails_changes_nothing(void **state) {
        keep_both();
        /* The call fails for the descriptor, then for the manifest, then for the barrier. */
        for (int n = 1; n <= 3; n++) {
                fails_at = n;
                int r = put(claims, "a new token");
                if (r >= 0)
                        r = commit();
                assert_int_equal(r, -ENOBUFS);
                assert_kept("api-token", "the token");
                kept_abandon(kept);
                restore(claims, 2);
                assert_kept("api-token", "the token");
                assert_kept("db-password", "the password");
                ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
        }
}

static void test_a_manifest_that_cannot_be_written_changes_nothing(void **state) {
        keep_both();
        assert_int_equal(put(claims, "a new token"), 0);
        create_fails = true;
        assert_int_equal(begin_commit(&no_lock), -EIO);
        create_fails = false;
        assert_int_equal(committed.error.failure, FAILURE_STORE);
        assert_kept("api-token", "the token");
        kept_abandon(kept);
        restore(claims, 2);
        assert_kept("api-token", "the token");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
}

static void try_to_replace_the_token(void) {
        assert_int_equal(put(claims, "a new token"), 0);
        is_silent = true;
        assert_int_equal(commit(), -ETIMEDOUT);
        is_silent = false;
        assert_int_equal(committed.error.failure, FAILURE_INTERNAL);
        assert_non_null(strstr(committed.error.text, "has not answered"));
        assert_kept("api-token", "the token");
        kept_abandon(kept);
}

static void test_an_unanswered_barrier_leaves_the_secrets_of_the_last_commit(void **state) {
        keep_both();
        try_to_replace_the_token();
        assert_true(kept_is_committed(kept, &no_lock));
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
        restore(claims, 2);
        assert_kept("api-token", "the token");
        assert_kept("db-password", "the password");
        assert_true(kept_is_committed(kept, &no_lock));
}

static void test_until_the_service_manager_answers_the_secrets_are_those_of_the_last_commit(void **state) {
        keep_both();
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(begin_commit(&no_lock), 0);
        assert_true(sd_event_run(event, 0) >= 0);
        assert_false(committed.ended);
        assert_kept("api-token", "the token");
        answer_barrier();
        while (!committed.ended)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        assert_int_equal(committed.r, 0);
        assert_kept("api-token", "a new token");
        ASSERT_HELD("kept-2", "kept-2-api-token", "kept-1-db-password");
}

/* An answer that comes after the commit was abandoned changes nothing, for this process and for the next. */
static void test_an_abandoned_commit_has_failed(void **state) {
        keep_both();
        loses_removal = true;
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(begin_commit(&no_lock), 0);
        kept_abandon(kept);
        answer_barrier();
        assert_true(sd_event_run(event, 0) >= 0);
        assert_false(committed.ended);
        assert_kept("api-token", "the token");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password", "kept-2", "kept-2-api-token");
        restore(claims, 2);
        assert_kept("api-token", "the token");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
}

static void test_a_process_that_ends_during_a_commit_leaves_no_manifest_of_it(void **state) {
        keep_both();
        loses_removal = true;
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(begin_commit(&no_lock), 0);
        restore(claims, 2);
        assert_false(committed.ended);
        assert_kept("api-token", "the token");
        assert_kept("db-password", "the password");
}

static void test_without_a_service_manager_a_commit_is_done_at_once(void **state) {
        (void) unsetenv("NOTIFY_SOCKET");
        assert_int_equal(put(claims, "the token"), 0);
        assert_int_equal(kept_commit(kept, store, &no_lock, on_committed, &committed, NULL), 1);
        assert_kept("api-token", "the token");
        assert_true(kept_is_committed(kept, &no_lock));
}

/* As if the process was killed before its messages about the removal were sent. */
static void test_the_next_process_ignores_a_manifest_whose_barrier_was_unanswered(void **state) {
        keep_both();
        loses_removal = true;
        try_to_replace_the_token();
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password", "kept-2", "kept-2-api-token");
        restore(claims, 2);
        assert_kept("api-token", "the token");
        assert_kept("db-password", "the password");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
}

static void test_no_generation_is_used_twice(void **state) {
        keep_both();
        loses_removal = true;
        try_to_replace_the_token();
        loses_removal = false;
        assert_int_equal(put(claims, "a rotated token"), 0);
        assert_int_equal(commit(), 0);
        for (int i = 0; i < 2; i++) {
                restore(claims, 2);
                assert_kept("api-token", "a rotated token");
                assert_kept("db-password", "the password");
                assert_true(kept_is_committed(kept, &no_lock));
                ASSERT_HELD("kept-3", "kept-3-api-token", "kept-1-db-password");
        }
        assert_int_equal(put(claims, "an abandoned token"), 0);
        kept_abandon(kept);
        assert_int_equal(put(claims, "the last token"), 0);
        assert_int_equal(commit(), 0);
        ASSERT_HELD("kept-5", "kept-5-api-token", "kept-1-db-password");
}

static void test_a_newer_manifest_wins(void **state) {
        keep_both();
        /* As if the process was killed when the manager had the new manifest and still had the old one. */
        int old = fcntl(held[held_count - 1].fd, F_DUPFD_CLOEXEC, 3);
        assert_string_equal(held[held_count - 1].name, "kept-1");
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(commit(), 0);
        assert_int_equal(fdstore_put("kept-1", old), 0);
        (void) close(old);
        restore(claims, 2);
        assert_kept("api-token", "a new token");
        ASSERT_HELD("kept-2", "kept-2-api-token", "kept-1-db-password");
}

static void test_a_newer_manifest_wins_in_any_order(void **state) {
        keep_both();
        int old = fcntl(held[held_count - 1].fd, F_DUPFD_CLOEXEC, 3);
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(commit(), 0);
        for (size_t i = 0; i < held_count; i++)
                if (strcmp(held[i].name, "kept-2") == 0) {
                        int new = fcntl(held[i].fd, F_DUPFD_CLOEXEC, 3);

                        assert_int_equal(fdstore_remove("kept-2"), 0);
                        assert_int_equal(fdstore_put("kept-1", old), 0);
                        assert_int_equal(fdstore_put("kept-2", new), 0);
                        (void) close(new);
                        break;
                }
        (void) close(old);
        assert_string_equal(held[held_count - 1].name, "kept-2");
        restore(claims, 2);
        assert_kept("api-token", "a new token");
        ASSERT_HELD("kept-2", "kept-2-api-token", "kept-1-db-password");
}

static void test_a_secret_without_a_checksum_is_not_kept(void **state) {
        keep_both();
        digest_fails = true;
        assert_int_equal(put(claims, "a new token"), -EIO);
        digest_fails = false;
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
        restore(claims, 2);
        assert_kept("api-token", "the token");
        assert_kept("db-password", "the password");
}

static void test_a_manifest_under_the_name_of_another_generation_is_dropped(void **state) {
        keep_both();
        assert_string_equal(held[held_count - 1].name, "kept-1");
        assert_int_equal(fdstore_put("kept-7", held[held_count - 1].fd), 0);
        assert_int_equal(fdstore_remove("kept-1"), 0);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_int_equal(held_count, 0);
}

static void spoil(const char *name, off_t at) {
        for (size_t i = 0; i < held_count; i++)
                if (strcmp(held[i].name, name) == 0)
                        assert_int_equal(pwrite(held[i].fd, "\xff", 1, at), 1);
}

static void test_a_file_with_other_content_is_dropped(void **state) {
        keep_both();
        spoil("kept-1-api-token", 3);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_kept("db-password", "the password");
        assert_false(kept_is_committed(kept, &no_lock));
        assert_string_equal(logged, "Dropped the kept secret api-token: its file has other content.");
        ASSERT_HELD("kept-1", "kept-1-db-password");
}

/* Under a lock a secret that is dropped is lost for the boot. */
static void test_a_failure_of_this_machine_drops_nothing(void **state) {
        Error error = {};

        keep_both();
        kept = kept_free(kept);
        assert_int_equal(kept_new(event, &kept), 0);
        digest_fails = true;
        logged[0] = 0;
        assert_int_equal(kept_restore(kept, store, claims, 2, &error), -EIO);
        digest_fails = false;
        assert_int_equal(error.failure, FAILURE_INTERNAL);
        assert_string_equal(logged, "");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
        restore(claims, 2);
        assert_kept("api-token", "the token");
        assert_kept("db-password", "the password");
}

static void test_a_file_with_another_size_is_dropped(void **state) {
        keep_both();
        spoil("kept-1-api-token", 100);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_kept("db-password", "the password");
        assert_string_equal(logged, "Dropped the kept secret api-token: its file has another size.");
}

/* Keeps a file of so many zeros that no process has read. */
static void keep_file(uint64_t size) {
        _cleanup_secret_ Secret *nothing = NULL;
        int fd;

        assert_int_equal(secret_new(0, &nothing), 0);
        assert_int_equal(store_hold(store, nothing, &fd, NULL), 0);
        assert_int_equal(ftruncate(fd, (off_t) size), 0);
        assert_int_equal(kept_put_file(kept, claims, fd, NULL), 0);
        assert_int_equal(commit(), 0);
}

/* A restart that read it would need its size again in memory, and could not: store_read() takes no more than SECRET_SIZE_MAX. */
static void test_a_large_file_counts_by_its_size(void **state) {
        keep_file(SECRET_SIZE_MAX + 1);
        digest_fails = true;
        restore(claims, 2);
        assert_true(kept_find(kept, "api-token") >= 0);
        assert_string_equal(logged, "");

        assert_int_equal(ftruncate(kept_find(kept, "api-token"), SECRET_SIZE_MAX + 2), 0);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_string_equal(logged, "Dropped the kept secret api-token: its file has another size.");
}

static void test_a_file_that_is_not_large_has_a_checksum(void **state) {
        keep_file(SECRET_SIZE_MAX);
        restore(claims, 2);
        assert_true(kept_find(kept, "api-token") >= 0);
        assert_int_equal(pwrite(kept_find(kept, "api-token"), "x", 1, 0), 1);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_string_equal(logged, "Dropped the kept secret api-token: its file has other content.");
}

static void test_the_limit_can_be_raised(void **state) {
        kept_set_size_max(kept, LIMIT_STORE_BYTES + 1);
        keep_file(LIMIT_STORE_BYTES + 1);
        assert_int_equal(put(claims + 1, "x"), -ENOSPC);
}

static void test_a_manifest_of_another_boot_is_dropped(void **state) {
        keep_both();
        spoil("kept-1", offsetof(ManifestHeader, boot_id));
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "db-password"), -ENOENT);
        assert_int_equal(held_count, 0);
}

static void test_a_file_that_is_not_in_memory_is_dropped(void **state) {
        char text[] = "the token";

        keep_both();
        assert_int_equal(fdstore_remove("kept-1-api-token"), 0);
        int fd = open("on-disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fdstore_put("kept-1-api-token", fd), 0);
        (void) close(fd);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_kept("db-password", "the password");
}

static void test_the_store_may_be_mounted_anew(void **state) {
        keep_both();
        store = store_free(store);
        assert_int_equal(umount2(STORE, MNT_DETACH), 0);
        assert_int_equal(mount("ramfs", STORE, "ramfs", 0, "mode=0755"), 0);
        assert_int_equal(store_open(STORE, &store, NULL), 0);
        restore(claims, 2);
        assert_kept("db-password", "the password");
        assert_false(store_can_publish(store, "db-password", kept_find(kept, "db-password"), 0, 0, 0400));
}

static void test_a_secret_that_is_declared_otherwise_is_dropped(void **state) {
        const KeptClaim other[] = { { "api-token", { 'a' } }, { "db-password", { 'D' } } };

        keep_both();
        restore(other, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_kept("db-password", "the password");
        restore(claims, 1);
        assert_int_equal(kept_find(kept, "db-password"), -ENOENT);
        ASSERT_HELD("kept-1");
}

static void test_the_next_commit_drops_unclaimed_secrets(void **state) {
        const KeptClaim other[] = { { "api-token", { 'a' } }, { "db-password", { 'D' } } };

        keep_both();
        kept_claim(kept, other, 2);
        assert_kept("api-token", "the token");
        assert_false(kept_is_committed(kept, &no_lock));
        kept_abandon(kept);
        assert_true(kept_is_committed(kept, &no_lock));
        assert_true(kept_has(kept, claims));
        assert_false(kept_has(kept, other));

        kept_claim(kept, other, 2);
        assert_int_equal(commit(), 0);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_kept("db-password", "the password");
        ASSERT_HELD("kept-2", "kept-1-db-password");
        kept_claim(kept, NULL, 0);
        assert_int_equal(put(other, "another token"), 0);
        assert_int_equal(commit(), 0);
        assert_kept("api-token", "another token");
        ASSERT_HELD("kept-3", "kept-3-api-token");
}

static void test_a_secret_without_its_descriptor_is_dropped(void **state) {
        keep_both();
        assert_int_equal(fdstore_remove("kept-1-api-token"), 0);
        restore(claims, 2);
        assert_int_equal(kept_find(kept, "api-token"), -ENOENT);
        assert_kept("db-password", "the password");
}

static void test_descriptors_with_malformed_names_are_dropped(void **state) {
        static const char *const names[] = { "kept-",   "kept-x",
                                             "kept-1x", "kept-00000000000000000001",
                                             "kept-01", "kept-99999999999999999999",
                                             "kept-2",  "kept-2-api-token" };

        keep_both();
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(fdstore_put(names[i], held[0].fd), 0);
        restore(claims, 2);
        assert_kept("db-password", "the password");
        ASSERT_HELD("kept-1", "kept-1-api-token", "kept-1-db-password");
        assert_int_equal(put(claims, "a new token"), 0);
        assert_int_equal(commit(), 0);
        ASSERT_HELD("kept-3", "kept-3-api-token", "kept-1-db-password");
}

static void test_the_next_process_knows_that_the_lock_is_done(void **state) {
        const KeptLock other = { .pcr = 14 }, other_before = { .pcr = 15, .before = { 1, 2, 4 } };
        Error error = {};

        assert_int_equal(put(claims + 1, "the password"), 0);
        assert_int_equal(commit_with(&lock), 0);
        assert_false(kept_is_locked(kept));
        restore(claims, 2);
        assert_false(kept_is_locked(kept));
        assert_int_equal(kept_lock(kept).pcr, 15);
        assert_memory_equal(kept_lock(kept).before, lock.before, sizeof(lock.before));

        assert_true(kept_is_committed(kept, &lock));
        assert_false(kept_is_committed(kept, &other_before));
        assert_false(kept_is_committed(kept, &no_lock));

        write_fails = true;
        assert_int_equal(kept_set_locked(kept, &error), -EIO);
        write_fails = false;
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_non_null(strstr(error.text, strerror(EIO)));
        assert_false(kept_is_locked(kept));
        assert_int_equal(kept_set_locked(kept, NULL), 0);
        assert_true(kept_is_locked(kept));
        restore(claims, 2);
        assert_true(kept_is_locked(kept));
        assert_true(kept_is_committed(kept, &lock));
        /* Another commit with the same lock stays locked. With another lock it is not locked. */
        assert_int_equal(commit_with(&lock), 0);
        assert_true(kept_is_locked(kept));
        assert_int_equal(commit_with(&other), 0);
        assert_false(kept_is_locked(kept));
}

static void test_the_next_process_knows_what_is_measured(void **state) {
        const ManifestEvent events[] = { { .name = "api-token", .pcr = 8 },
                                         { .name = "db-password", .pcr = 15 } };
        Error error = {};
        size_t count;

        assert_int_equal(kept_mean(kept, events, 1, &error), 0);
        kept_abandon(kept);
        assert_int_equal(kept_mean(kept, events, 2, &error), 0);
        (void) kept_events(kept, &count);
        assert_int_equal(count, 0); /* not before the commit */
        assert_int_equal(commit(), 0);
        assert_false(kept_is_touched(kept));
        kept_touch(kept);
        assert_true(kept_is_touched(kept));
        restore(claims, 2); /* after a kill: they may be extended */
        assert_memory_equal(kept_events(kept, &count), events, sizeof(events));
        assert_int_equal(count, 2);
        assert_int_equal(kept_measured(kept), 0);
        assert_true(kept_is_touched(kept));

        write_fails = true;
        assert_int_equal(kept_set_measured(kept, &error), -EIO);
        write_fails = false;
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_int_equal(kept_measured(kept), 0);
        assert_int_equal(kept_set_measured(kept, &error), 0);
        assert_false(kept_is_touched(kept));
        restore(claims, 2);
        assert_int_equal(kept_measured(kept), 2);
        assert_false(kept_is_touched(kept));

        /* Secrets that are kept then, and events that come later, leave that as it is. */
        keep_both();
        assert_int_equal(kept_measured(kept), 2);
        assert_int_equal(kept_mean(kept, events, 1, &error), 0);
        assert_false(kept_is_committed(kept, &no_lock));
        assert_int_equal(commit(), 0);
        restore(claims, 2);
        assert_kept("db-password", "the password");
        (void) kept_events(kept, &count);
        assert_int_equal(count, 3);
        assert_int_equal(kept_measured(kept), 2);
        assert_true(kept_is_touched(kept));
}

static void test_more_events_than_a_manifest_has_are_refused(void **state) {
        static ManifestEvent many[MANIFEST_EVENTS_MAX];
        Error error = {};

        for (size_t i = 0; i < ELEMENTSOF(many); i++)
                many[i] = (ManifestEvent){ .name = "a", .pcr = 8 };
        assert_int_equal(kept_mean(kept, many, MANIFEST_EVENTS_MAX, &error), 0);
        assert_int_equal(commit(), 0);
        assert_int_equal(kept_mean(kept, many, 1, &error), -E2BIG);
        assert_int_equal(error.failure, FAILURE_STORE);
}

/* Keeps a secret of this size, made of zeros. */
static int hold(const char *name, size_t size) {
        _cleanup_secret_ Secret *secret = NULL;
        int fd;

        assert_int_equal(secret_new(size, &secret), 0);
        assert_int_equal(store_hold(store, secret, &fd, NULL), 0);
        return kept_put(kept, &(KeptClaim){ .name = name }, secret, fd, NULL);
}

static void test_too_much_is_refused(void **state) {
        _cleanup_secret_ Secret *large = NULL;
        Error error = {};
        int r = 0, n;

        assert_int_equal(secret_new(SECRET_SIZE_MAX, &large), 0);
        for (n = 0; n < 100 && r >= 0; n++) {
                char name[16];
                int fd;

                (void) snprintf(name, sizeof(name), "secret-%d", n);
                assert_int_equal(store_hold(store, large, &fd, NULL), 0);
                r = kept_put(kept, &(KeptClaim){ .name = name }, large, fd, &error);
        }
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_int_equal(n - 1, LIMIT_STORE_BYTES / SECRET_SIZE_MAX);
        /* The limit is full, and not one byte more fits. */
        assert_int_equal(hold("last", 1), -ENOSPC);
        assert_int_equal(hold("last", 0), 0);
}

static void test_too_many_secrets_are_refused(void **state) {
        for (unsigned i = 0; i < KEPT_MAX; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "secret-%u", i);
                assert_int_equal(hold(name, 1), 0);
        }
        assert_int_equal(commit(), 0);
        /* A reload may replace all of them, and has no room for more. */
        for (unsigned i = 0; i < KEPT_MAX; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "secret-%u", i);
                assert_int_equal(hold(name, 1), 0);
        }
        assert_int_equal(hold("one-more", 1), -ENOSPC);
        assert_int_equal(commit(), 0);
        assert_int_equal(hold("one-more", 1), 0);
        assert_int_equal(commit(), -E2BIG);
}

static int set_up_namespace(void **state) {
        static char directory[] = "/var/tmp/unseald-test-kept-XXXXXX";

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
                perror("No mount namespace of its own");
                return -1;
        }
        if (!mkdtemp(directory) || chdir(directory) < 0 || mkdir(STORE, 0755) < 0)
                return -1;
        *state = directory;
        return 0;
}

static int tear_down_namespace(void **state) {
        (void) unlink("on-disk");
        return rmdir(STORE) < 0 || chdir("/") < 0 ? -1 : rmdir(*state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_a_secret_is_kept_when_it_is_committed),
                TEST(test_the_next_process_has_the_committed_secrets),
                TEST(test_the_next_process_has_the_members_of_a_bundle),
                TEST(test_the_first_process_has_nothing_to_drop),
                TEST(test_without_memory_nothing_is_kept),
                TEST(test_an_uncommitted_secret_is_dropped),
                TEST(test_a_secret_is_replaced_in_one_step),
                TEST(test_an_abandoned_secret_changes_nothing),
                TEST(test_a_service_manager_that_fails_changes_nothing),
                TEST(test_a_manifest_that_cannot_be_written_changes_nothing),
                TEST(test_an_unanswered_barrier_leaves_the_secrets_of_the_last_commit),
                TEST(test_until_the_service_manager_answers_the_secrets_are_those_of_the_last_commit),
                TEST(test_an_abandoned_commit_has_failed),
                TEST(test_a_process_that_ends_during_a_commit_leaves_no_manifest_of_it),
                TEST(test_without_a_service_manager_a_commit_is_done_at_once),
                TEST(test_the_next_process_ignores_a_manifest_whose_barrier_was_unanswered),
                TEST(test_no_generation_is_used_twice),
                TEST(test_a_newer_manifest_wins),
                TEST(test_a_newer_manifest_wins_in_any_order),
                TEST(test_a_secret_without_a_checksum_is_not_kept),
                TEST(test_a_file_with_other_content_is_dropped),
                TEST(test_a_failure_of_this_machine_drops_nothing),
                TEST(test_a_file_with_another_size_is_dropped),
                TEST(test_a_large_file_counts_by_its_size),
                TEST(test_a_file_that_is_not_large_has_a_checksum),
                TEST(test_the_limit_can_be_raised),
                TEST(test_a_manifest_of_another_boot_is_dropped),
                TEST(test_a_file_that_is_not_in_memory_is_dropped),
                TEST(test_the_store_may_be_mounted_anew),
                TEST(test_a_secret_that_is_declared_otherwise_is_dropped),
                TEST(test_the_next_commit_drops_unclaimed_secrets),
                TEST(test_a_secret_without_its_descriptor_is_dropped),
                TEST(test_descriptors_with_malformed_names_are_dropped),
                TEST(test_the_next_process_knows_that_the_lock_is_done),
                TEST(test_the_next_process_knows_what_is_measured),
                TEST(test_more_events_than_a_manifest_has_are_refused),
                TEST(test_a_manifest_under_the_name_of_another_generation_is_dropped),
                TEST(test_too_much_is_refused),
                TEST(test_too_many_secrets_are_refused),
        };

        if (geteuid() != 0) {
                puts("SKIPPED: mounting a ramfs takes root; run it as root");
                return 77;
        }
        return cmocka_run_group_tests(tests, set_up_namespace, tear_down_namespace);
}
