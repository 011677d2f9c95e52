/* SPDX-License-Identifier: Apache-2.0 */

/* Uses a ramfs in a mount namespace of its own, and is skipped without root. This file replaces vault/fdstore.c and basic/log.c: it plays
 * the service manager. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/log.h"
#include "unsealing/delivery.h"
#include "vault/fdstore.h"

#define STORE "store"
#define LARGE_SIZE (SECRET_SIZE_MAX + 4096U)

void log_set_max_priority(int priority) {
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
}

static struct {
        char name[128];
        int fd;
} held[32];
static size_t held_count;
static int barrier; /* 1: the manager has everything at once; 0: it must answer; or a negative errno */
static struct {
        NotifyBarrierEnded ended;
        void *userdata;
} awaited;

bool fdstore_is_there(void) {
        return true;
}

int fdstore_put(const char *name, int fd) {
        assert_true(held_count < ELEMENTSOF(held));
        (void) snprintf(held[held_count].name, sizeof(held->name), "%s", name);
        held[held_count++].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return 0;
}

int fdstore_remove(const char *name) {
        char wanted[sizeof(held->name)];

        (void) snprintf(wanted, sizeof(wanted), "%s", name);
        for (size_t i = 0; i < held_count; i++)
                if (strcmp(held[i].name, wanted) == 0) {
                        (void) close(held[i].fd);
                        held[i--] = held[--held_count];
                }
        return 0;
}

int fdstore_barrier(sd_event *event, NotifyBarrierEnded ended, void *userdata, NotifyBarrier **ret) {
        *ret = NULL;
        awaited.ended = ended;
        awaited.userdata = userdata;
        return barrier;
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

static sd_event *event;
static Kept *kept;
static Declarations declarations, replaced;
static Delivery *delivery;

/* Declared in the order of their names: api, large, tls (a bundle), token (by the credential socket alone). */
enum { API, LARGE, TLS, TOKEN, COUNT };

static void declare(const char *name, const char *text) {
        char path[64];
        FILE *file;

        (void) snprintf(path, sizeof(path), "secrets.d/%s.secret", name);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fprintf(file,
                            "[Secret]\nSource=file:/sealed\nKeyId=arn:aws:kms:eu-north-1:111111111111:key/"
                            "1234abcd-12ab-34cd-56ef-1234567890ab\n%s",
                            text) > 0);
        assert_int_equal(fclose(file), 0);
}

static void read_declarations(void) {
        Error error;

        if (declarations_read(".", "nowhere", &declarations, &error) < 0)
                fail_msg("%s", error.text);
        assert_int_equal(declarations.count, COUNT);
}

static void declare_all(const char *members) {
        declare("api", "");
        declare("large", "Format=message\n[Deliver]\nMode=0440\n");
        declare("tls", members);
        declare("token", "[Deliver]\nStore=no\nUnits=app.service\n");
        declarations_clear(&declarations);
        read_declarations();
}

static int begin(Error *error) {
        const DeliveryOptions options = { .store_path = STORE,
                                          .kept = kept,
                                          .declarations = &declarations,
                                          .replaced = replaced.count > 0 ? &replaced : NULL,
                                          .store_size_max = 16 * 1024 * 1024 };

        delivery = delivery_free(delivery);
        return delivery_new(&options, &delivery, error);
}

static void begin_or_fail(void) {
        Error error;

        if (begin(&error) < 0)
                fail_msg("%s", error.text);
}

static int set_up(void **state) {
        barrier = 1;
        if (mount("ramfs", STORE, "ramfs", 0, "mode=0755") < 0 || sd_event_new(&event) < 0 ||
            kept_new(event, &kept) < 0)
                return -1;
        declare_all("Format=bundle\n[Member cert]\nMode=0440\n[Member key]\nOptional=yes\n");
        return 0;
}

static int tear_down(void **state) {
        delivery = delivery_free(delivery);
        kept = kept_free(kept);
        event = sd_event_unref(event);
        declarations_clear(&declarations);
        declarations_clear(&replaced);
        while (held_count > 0)
                (void) fdstore_remove(held[0].name);
        return umount2(STORE, MNT_DETACH);
}

/* The next process has the same service manager and the same store. */
static void start_again(void) {
        delivery = delivery_free(delivery);
        kept = kept_free(kept);
        assert_int_equal(kept_new(event, &kept), 0);
}

static StoreDraft *draft_of(char byte) {
        static uint8_t data[LARGE_SIZE];
        StoreDraft *draft;
        Error error;

        if (delivery_begin_draft(delivery, "large", LARGE_SIZE, &draft, &error) < 0)
                fail_msg("%s", error.text);
        memset(data, byte, sizeof(data));
        assert_int_equal(store_draft_write(draft, data, LARGE_SIZE, 0), 0);
        return draft;
}

static struct {
        unsigned calls;
        int r;
} ended;

static void on_kept(int r, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &ended);
        ended.calls++;
        ended.r = r;
}

/* Members of a bundle whose plaintext is "the certthe key", or the first of them alone. */
static const ManifestMember members[] = { { .name = "cert", .size = 8 },
                                          { .name = "key", .offset = 8, .size = 7 } };

/* Keeps these plaintexts; NULL: not unsealed. members_count: of the bundle. */
static int keep(const char *const texts[static COUNT], size_t members_count, Error *error) {
        static const uint64_t version = 7;
        const uint64_t *versions[COUNT] = { [API] = &version };
        DeliveryMembers places[COUNT] = { [TLS] = { members, members_count } };
        Secret *plaintexts[COUNT] = {};
        PcrSet measured = {};
        int r;

        for (size_t i = 0; i < COUNT; i++)
                if (texts[i]) {
                        assert_int_equal(secret_new(strlen(texts[i]), &plaintexts[i]), 0);
                        memcpy(secret_bytes(plaintexts[i]), texts[i], strlen(texts[i]));
                }
        ended.calls = 0;
        r = delivery_keep(delivery, plaintexts, places, versions, &measured, on_kept, &ended, error);
        for (size_t i = 0; i < COUNT; i++)
                (void) secret_free(plaintexts[i]);
        return r;
}

static const char *const all[COUNT] = {
        [API] = "the api", [TLS] = "the certthe key", [TOKEN] = "the token"
};
static const char *const none[COUNT];

static void publish(void) {
        Error error;

        if (delivery_publish(delivery, &error) < 0)
                fail_msg("%s", error.text);
}

static void deliver_all(void) {
        Error error;

        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('L'));
        if (keep(all, 2, &error) != 1)
                fail_msg("%s", error.text);
        publish();
}

static void assert_file(const char *name, const char *text, mode_t mode) {
        char path[64], content[64] = "";
        struct stat st;
        int fd;

        (void) snprintf(path, sizeof(path), STORE "/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                fail_msg("%s: %s", path, strerror(errno));
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 07777, mode);
        assert_true(read(fd, content, sizeof(content) - 1) >= 0);
        (void) close(fd);
        content[strlen(text)] = st.st_size > (off_t) sizeof(content) ? 0 : content[strlen(text)];
        assert_string_equal(content, text);
}

static void assert_no_file(const char *name) {
        char path[64];

        (void) snprintf(path, sizeof(path), STORE "/%s", name);
        assert_int_equal(access(path, F_OK), -1);
}

static void assert_large(char byte) {
        char text[17] = "";
        struct stat st;

        memset(text, byte, 16);
        assert_file("large", text, 0440);
        assert_int_equal(stat(STORE "/large", &st), 0);
        assert_int_equal(st.st_size, LARGE_SIZE);
}

static void assert_all(void) {
        assert_file("api", "the api", 0400);
        assert_large('L');
        assert_file("tls.cert", "the cert", 0440);
        assert_file("tls.key", "the key", 0400);
        assert_no_file("tls");
        assert_no_file("token");
}

static void test_every_kind_of_secret_is_kept_and_published(void **state) {
        begin_or_fail();
        for (size_t i = 0; i < COUNT; i++)
                assert_false(delivery_has(delivery, i));
        deliver_all();
        assert_all();
        for (size_t i = 0; i < COUNT; i++)
                assert_true(delivery_has(delivery, i));
        assert_int_equal(*kept_version(kept, "api"), 7);
}

static void test_a_kept_draft_may_have_no_file(void **state) {
        Error error;

        declare("large", "Format=message\n[Deliver]\nStore=no\nUnits=app.service\n");
        declarations_clear(&declarations);
        read_declarations();
        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('L'));
        assert_int_equal(keep(none, 0, &error), 1);
        publish();
        assert_no_file("large");
        assert_true(kept_find(kept, "large") >= 0);
}

static void test_the_next_process_has_all_of_them(void **state) {
        Error error;

        deliver_all();
        start_again();
        begin_or_fail();
        for (size_t i = 0; i < COUNT; i++)
                assert_true(delivery_has(delivery, i));
        assert_all();
        assert_int_equal(keep(none, 0, &error), 1);
        publish();
        assert_all();
}

/* Somebody has removed the files, or a declaration has another mode: the kept plaintext is written again. */
static void test_what_the_store_lacks_is_written_again(void **state) {
        Error error;

        deliver_all();
        start_again();
        assert_int_equal(unlink(STORE "/api"), 0);
        assert_int_equal(unlink(STORE "/large"), 0);
        assert_int_equal(unlink(STORE "/tls.key"), 0);
        begin_or_fail();
        assert_int_equal(keep(none, 0, &error), 1);
        publish();
        assert_all();
        assert_int_equal(*kept_version(kept, "api"), 7);
}

static void test_an_optional_member_that_is_missing_has_no_file(void **state) {
        const char *texts[COUNT] = { [TLS] = "the cert" };
        Error error;

        begin_or_fail();
        assert_int_equal(keep(texts, 1, &error), 1);
        publish();
        assert_file("tls.cert", "the cert", 0440);
        assert_no_file("tls.key");
}

static void test_a_failed_commit_leaves_nothing(void **state) {
        Error error;

        barrier = -ENOBUFS;
        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('L'));
        assert_true(keep(all, 2, &error) < 0);
        publish();
        for (const char *const *name = (const char *const[]){ "api", "large", "tls.cert", "tls.key", NULL };
             *name; name++)
                assert_no_file(*name);
        assert_int_equal(rmdir(STORE), -1);
        for (size_t i = 0; i < COUNT; i++)
                assert_false(delivery_has(delivery, i));
}

static void test_an_answer_decides(void **state) {
        for (int r = -ETIMEDOUT; r <= 0; r += ETIMEDOUT) {
                Error error;

                barrier = 0;
                begin_or_fail();
                delivery_take_draft(delivery, LARGE, draft_of('L'));
                assert_int_equal(keep(all, 2, &error), 0);
                assert_int_equal(ended.calls, 0);
                awaited.ended(r, awaited.userdata);
                assert_int_equal(ended.calls, 1);
                assert_int_equal(ended.r < 0, r < 0);
                assert_int_equal(delivery_has(delivery, TLS), r == 0);
                delivery = delivery_free(delivery);
        }
}

/* The delivery goes away while the answer is awaited: what was prepared goes, too. */
static void test_an_unanswered_delivery_is_abandoned(void **state) {
        Error error;

        barrier = 0;
        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('L'));
        assert_int_equal(keep(all, 2, &error), 0);
        delivery = delivery_free(delivery);
        assert_int_equal(ended.calls, 0);
        start_again();
        begin_or_fail();
        for (size_t i = 0; i < COUNT; i++)
                assert_false(delivery_has(delivery, i));
}

/* A draft that was taken and is not kept leaves no file. */
static void test_a_draft_that_is_not_kept_is_discarded(void **state) {
        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('L'));
        delivery = delivery_free(delivery);
        begin_or_fail();
        assert_no_file("large");
}

/* large is late: its data key is kept with the others. */
static void deliver_with_key(void) {
        _cleanup_secret_ Secret *key = NULL;
        Error error;

        declare("large", "Format=message\nLate=yes\n[Deliver]\nMode=0440\n");
        declarations_clear(&declarations);
        read_declarations();
        begin_or_fail();
        assert_int_equal(secret_new(3, &key), 0);
        memcpy(secret_bytes(key), "key", 3);
        delivery_take_key(delivery, LARGE, key);
        if (keep(all, 2, &error) != 1)
                fail_msg("%s", error.text);
        publish();
}

static void assert_key_is_kept(bool wanted) {
        _cleanup_secret_ Secret *key = NULL;
        Error error;

        assert_int_equal(delivery_has_key(delivery, LARGE), wanted);
        if (!wanted)
                return;
        assert_int_equal(delivery_read_key(delivery, LARGE, &key, &error), 0);
        assert_int_equal(secret_size(key), 3);
        assert_memory_equal(secret_bytes(key), "key", 3);
}

static int keep_late(StoreDraft *draft, Error *error) {
        ended.calls = 0;
        return delivery_keep_late(delivery, LARGE, draft, NULL, on_kept, &ended, error);
}

static void test_the_message_of_a_late_secret_takes_the_place_of_its_key(void **state) {
        Error error;

        deliver_with_key();
        assert_no_file("large");
        assert_file("api", "the api", 0400);
        for (unsigned i = 0; i < 2; i++) {
                assert_false(delivery_has(delivery, LARGE));
                assert_key_is_kept(true);
                start_again();
                begin_or_fail();
        }
        assert_int_equal(keep(none, 0, &error), 1);
        publish();
        assert_key_is_kept(true);
        assert_int_equal(keep_late(draft_of('L'), &error), 1);
        assert_no_file("large");
        assert_int_equal(delivery_publish_late(delivery, LARGE, &error), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_all();
                assert_key_is_kept(false);
                assert_true(delivery_has(delivery, LARGE));
                start_again();
                begin_or_fail();
        }
        assert_int_equal(*kept_version(kept, "api"), 7);
}

/* Whatever becomes of the commit, the key or the message is kept, and the others are. */
static void test_an_answer_about_a_late_secret_decides(void **state) {
        static const int answers[] = { -ETIMEDOUT, 0 };

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                StoreDraft *another;
                Error error;

                barrier = 1;
                deliver_with_key();
                barrier = 0;
                assert_int_equal(delivery_begin_draft(delivery, "another", 4096, &another, &error), 0);
                assert_int_equal(keep_late(draft_of('L'), &error), 0);
                awaited.ended(answers[i], awaited.userdata);
                assert_int_equal(ended.calls, 1);
                assert_int_equal(ended.r < 0, answers[i] < 0);
                assert_key_is_kept(answers[i] < 0);
                assert_int_equal(delivery_has(delivery, LARGE), answers[i] == 0);
                assert_true(delivery_has(delivery, API));
                /* The drafts of other late secrets are still in the store. */
                assert_int_equal(store_draft_hold(another, &(int){ -1 }, &error), 0);
                start_again();
                while (held_count > 0)
                        (void) fdstore_remove(held[0].name);
        }
}

static void test_the_key_of_a_late_secret_that_failed_goes(void **state) {
        Error error;

        deliver_with_key();
        barrier = -ENOBUFS;
        assert_true(keep_late(NULL, &error) < 0);
        assert_key_is_kept(true);
        barrier = 1;
        assert_int_equal(keep_late(NULL, &error), 1);
        assert_key_is_kept(false);
        assert_true(delivery_has(delivery, API));
        start_again();
        begin_or_fail();
        assert_key_is_kept(false);
        assert_false(delivery_has(delivery, LARGE));
        assert_true(delivery_has(delivery, API));
}

/* The old file stays published until the new message is whole. */
static void test_a_reload_with_a_late_secret_keeps_both(void **state) {
        _cleanup_secret_ Secret *key = NULL;
        Error error;

        deliver_with_key();
        assert_int_equal(keep_late(draft_of('L'), &error), 1);
        assert_int_equal(delivery_publish_late(delivery, LARGE, &error), 0);
        replaced = declarations;
        declarations = (Declarations){};
        read_declarations();
        begin_or_fail();
        assert_true(delivery_has_before_reload(delivery, LARGE));
        assert_int_equal(secret_new(3, &key), 0);
        memcpy(secret_bytes(key), "key", 3);
        delivery_take_key(delivery, LARGE, key);
        assert_int_equal(keep(all, 2, &error), 1);
        publish();
        assert_large('L');
        assert_key_is_kept(true);
        delivery_settle(delivery, &declarations);
        assert_int_equal(keep_late(draft_of('M'), &error), 1);
        assert_large('L');
        assert_int_equal(delivery_publish_late(delivery, LARGE, &error), 0);
        assert_large('M');
        assert_key_is_kept(false);
}

static void test_a_reload_exchanges_what_changed(void **state) {
        const char *texts[COUNT] = { [TLS] = "the certthe key" };
        Error error;

        deliver_all();
        delivery = delivery_free(delivery);
        replaced = TAKE(declarations, (Declarations){});
        declare("api", "EncryptionContext=stage=prod\n"); /* means another plaintext, and is not unsealed */
        declare_all("Format=bundle\n[Member cert]\nMode=0400\n[Member key]\n[Member chain]\nOptional=yes\n");
        declare("api", "EncryptionContext=stage=prod\n");
        declarations_clear(&declarations);
        read_declarations();
        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('M'));
        delivery_withdraw(delivery, TOKEN);
        assert_true(delivery_has_withdrawn(delivery, TOKEN));
        assert_int_equal(keep(texts, 2, &error), 1);
        assert_large('L');
        publish();
        assert_large('M');
        assert_no_file("api");
        assert_file("tls.cert", "the cert", 0400);
        assert_file("tls.key", "the key", 0400);
        assert_no_file("tls.chain");
        assert_false(delivery_has(delivery, API));
        assert_false(delivery_has(delivery, TOKEN));
}

/* After the commit one failure must not hold up the others. */
static void test_a_reload_publishes_what_it_can(void **state) {
        const char *texts[COUNT] = { [API] = "another", [TLS] = "the certthe key" };
        Error error = {};

        deliver_all();
        delivery = delivery_free(delivery);
        replaced = TAKE(declarations, (Declarations){});
        declare_all("Format=bundle\n[Member cert]\nMode=0400\n[Member key]\n");
        begin_or_fail();
        assert_int_equal(keep(texts, 2, &error), 1);
        assert_int_equal(unlink(STORE "/api"), 0);
        assert_int_equal(mkdir(STORE "/api", 0700), 0); /* no file replaces a directory */
        assert_true(delivery_publish(delivery, &error) < 0);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_file("tls.cert", "the cert", 0400);
        assert_int_equal(rmdir(STORE "/api"), 0);
        publish();
        assert_file("api", "another", 0400);
}

/* The members of one bundle do not hold up one another either. */
static void test_a_reload_publishes_the_other_members(void **state) {
        const char *texts[COUNT] = { [TLS] = "new certnew key" };
        Error error = {};

        deliver_all();
        delivery = delivery_free(delivery);
        replaced = TAKE(declarations, (Declarations){});
        declare_all("Format=bundle\n[Member cert]\nMode=0440\n[Member key]\nOptional=yes\n");
        begin_or_fail();
        assert_int_equal(keep(texts, 2, &error), 1);
        assert_int_equal(unlink(STORE "/tls.cert"), 0);
        assert_int_equal(mkdir(STORE "/tls.cert", 0700), 0);
        assert_true(delivery_publish(delivery, &error) < 0);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_non_null(strstr(error.text, "tls.cert"));
        assert_file("tls.key", "new key", 0400);
        assert_int_equal(rmdir(STORE "/tls.cert"), 0);
        publish();
        assert_file("tls.cert", "new cert", 0440);
}

static void test_at_boot_a_failure_publishes_nothing(void **state) {
        Error error = {};

        begin_or_fail();
        delivery_take_draft(delivery, LARGE, draft_of('L'));
        assert_int_equal(keep(all, 2, &error), 1);
        assert_int_equal(mkdir(STORE "/tls.cert", 0700), 0);
        assert_true(delivery_publish(delivery, &error) < 0);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_no_file("api");
        assert_no_file("large");
}

static void test_an_unknown_owner_is_a_mistake(void **state) {
        Error error;

        declare_all("Format=bundle\n[Member cert]\n[Member key]\nUser=nobody-has-this-name\n");
        assert_true(begin(&error) < 0);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_non_null(strstr(error.text, "nobody-has-this-name"));
}

static int set_up_namespace(void **state) {
        static char directory[] = "/tmp/unseald-delivery.XXXXXX";

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                return -1;
        if (!mkdtemp(directory) || chdir(directory) < 0 || mkdir(STORE, 0755) < 0 ||
            mkdir("secrets.d", 0755) < 0)
                return -1;
        *state = directory;
        return 0;
}

static int tear_down_namespace(void **state) {
        static const char *const names[] = { "api", "large", "tls", "token" };
        char path[64];

        for (size_t i = 0; i < COUNT; i++) {
                (void) snprintf(path, sizeof(path), "secrets.d/%s.secret", names[i]);
                (void) unlink(path);
        }
        return rmdir("secrets.d") < 0 || rmdir(STORE) < 0 || chdir("/") < 0 ? -1 : rmdir(*state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_every_kind_of_secret_is_kept_and_published),
                TEST(test_a_kept_draft_may_have_no_file),
                TEST(test_the_next_process_has_all_of_them),
                TEST(test_what_the_store_lacks_is_written_again),
                TEST(test_an_optional_member_that_is_missing_has_no_file),
                TEST(test_a_failed_commit_leaves_nothing),
                TEST(test_an_answer_decides),
                TEST(test_an_unanswered_delivery_is_abandoned),
                TEST(test_a_draft_that_is_not_kept_is_discarded),
                TEST(test_the_message_of_a_late_secret_takes_the_place_of_its_key),
                TEST(test_an_answer_about_a_late_secret_decides),
                TEST(test_the_key_of_a_late_secret_that_failed_goes),
                TEST(test_a_reload_with_a_late_secret_keeps_both),
                TEST(test_a_reload_exchanges_what_changed),
                TEST(test_a_reload_publishes_what_it_can),
                TEST(test_a_reload_publishes_the_other_members),
                TEST(test_at_boot_a_failure_publishes_nothing),
                TEST(test_an_unknown_owner_is_a_mistake),
        };

        if (geteuid() != 0) {
                puts("SKIPPED: mounting a ramfs takes root; run it as root");
                return 77;
        }
        return cmocka_run_group_tests(tests, set_up_namespace, tear_down_namespace);
}
