/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "basic/log.h"
#include "vault/callers.h"

/* This file replaces basic/log.c: it counts the entries on units that wait, and keeps the last one. */
static unsigned told;
static char last_entry[512], last_unit[128], last_secret[128];

void log_set_max_priority(int priority) {
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        va_list arguments;

        if (!fields || strcmp(fields->message_id, MESSAGE_CALLER_WAITS) != 0)
                return;
        told++;
        va_start(arguments, format);
        (void) vsnprintf(last_entry, sizeof(last_entry), format, arguments);
        va_end(arguments);
        (void) snprintf(last_unit, sizeof(last_unit), "%s", fields->unit);
        (void) snprintf(last_secret, sizeof(last_secret), "%s", fields->secret);
}

typedef struct Message {
        uint8_t bytes[512];
        size_t size;
} Message;

static void put(Message *message, const void *bytes, size_t size) {
        assert_true(message->size + size <= sizeof(message->bytes));
        memcpy(message->bytes + message->size, bytes, size);
        message->size += size;
}

static void put_header(Message *message, uint16_t type) {
        put(message, &(struct nlmsghdr){ .nlmsg_type = type }, sizeof(struct nlmsghdr));
}

static void put_attribute(Message *message, uint16_t type, const void *value, size_t size) {
        static const uint8_t filling[NLA_ALIGNTO];

        put(message,
            &(struct nlattr){ .nla_type = type, .nla_len = (uint16_t) (sizeof(struct nlattr) + size) },
            sizeof(struct nlattr));
        put(message, value, size);
        put(message, filling, NLA_ALIGN(size) - size);
}

static void finish(Message *message) {
        uint32_t size = (uint32_t) message->size;

        memcpy(message->bytes, &size, sizeof(size));
}

static const char name[] = "\0"
                           "0123456789abcdef/unit/billing.service/db-password";

static void put_socket(Message *message, uint32_t uid) {
        put_header(message, SOCK_DIAG_BY_FAMILY);
        put(message, &(struct unix_diag_msg){ .udiag_family = AF_UNIX, .udiag_ino = 4711 },
            sizeof(struct unix_diag_msg));
        put_attribute(message, UNIX_DIAG_NAME, name, sizeof(name) - 1);
        put_attribute(message, UNIX_DIAG_SHUTDOWN, "", 1);
        put_attribute(message, UNIX_DIAG_ICONS, (uint32_t[]){ 5, 0, 7 }, 12);
        put_attribute(message, UNIX_DIAG_UID, &uid, sizeof(uid));
        finish(message);
}

static void test_a_socket_is_read_with_its_name_its_queue_and_its_user(void **state) {
        Message message = {};
        CredentialRequest request;
        SocketDiag diag;

        put_socket(&message, 0);
        assert_int_equal(socket_diag_parse(message.bytes, message.size, &diag), 0);
        assert_int_equal(diag.inode, 4711);
        assert_true(diag.by_root);
        assert_int_equal(diag.waiting_count, 3);
        assert_int_equal(diag.waiting[0], 5);
        assert_int_equal(diag.waiting[1], 0);
        assert_int_equal(diag.waiting[2], 7);
        assert_int_equal(credential_request_parse(&diag.address, diag.address_size, &request), 0);
        assert_string_equal(request.unit, "billing.service");
        assert_string_equal(request.credential, "db-password");
}

static void test_only_uid_0_is_root(void **state) {
        Message message = {}, silent = {};
        SocketDiag diag;

        put_socket(&message, 1000);
        assert_int_equal(socket_diag_parse(message.bytes, message.size, &diag), 0);
        assert_false(diag.by_root);

        /* A kernel that does not say the user. */
        put_header(&silent, SOCK_DIAG_BY_FAMILY);
        put(&silent, &(struct unix_diag_msg){ .udiag_family = AF_UNIX }, sizeof(struct unix_diag_msg));
        finish(&silent);
        assert_int_equal(socket_diag_parse(silent.bytes, silent.size, &diag), 0);
        assert_false(diag.by_root);
        assert_int_equal(diag.address_size, 0);
        assert_int_equal(diag.waiting_count, 0);
}

static void test_a_queue_is_read_up_to_the_limit(void **state) {
        Message message = {};
        uint32_t inodes[CALLERS_MAX + 1];
        SocketDiag diag;

        for (uint32_t i = 0; i < ELEMENTSOF(inodes); i++)
                inodes[i] = i + 1;
        put_header(&message, SOCK_DIAG_BY_FAMILY);
        put(&message, &(struct unix_diag_msg){ .udiag_family = AF_UNIX }, sizeof(struct unix_diag_msg));
        put_attribute(&message, UNIX_DIAG_ICONS, inodes, sizeof(inodes));
        finish(&message);
        assert_int_equal(socket_diag_parse(message.bytes, message.size, &diag), 0);
        assert_int_equal(diag.waiting_count, CALLERS_MAX);
        assert_int_equal(diag.waiting[CALLERS_MAX - 1], CALLERS_MAX);
}

static void test_malformed_answers_are_refused(void **state) {
        Message message = {};
        SocketDiag diag = { .inode = 42 };
        size_t at = sizeof(struct nlmsghdr) + sizeof(struct unix_diag_msg);

        put_socket(&message, 0);
        for (size_t cut = 0; cut < message.size; cut++)
                assert_int_equal(socket_diag_parse(message.bytes, cut, &diag), -EBADMSG);
        memcpy(message.bytes + at, &(uint16_t){ 3 }, 2); /* an attribute that is shorter than its header */
        assert_int_equal(socket_diag_parse(message.bytes, message.size, &diag), -EBADMSG);
        memcpy(message.bytes + at, &(uint16_t){ UINT16_MAX }, 2);
        assert_int_equal(socket_diag_parse(message.bytes, message.size, &diag), -EBADMSG);
        assert_int_equal(diag.inode, 42);
}

static int parse_error(int error) {
        Message message = {};
        SocketDiag diag;

        put_header(&message, NLMSG_ERROR);
        put(&message, &(struct nlmsgerr){ .error = error }, sizeof(struct nlmsgerr));
        finish(&message);
        return socket_diag_parse(message.bytes, message.size, &diag);
}

static void test_an_error_of_the_kernel_is_returned(void **state) {
        assert_int_equal(parse_error(-ENOENT), -ENOENT);
        assert_int_equal(parse_error(0), -EBADMSG);
        assert_int_equal(parse_error(1), -EBADMSG);
        assert_int_equal(parse_error(INT32_MIN), -EBADMSG);
}

/* A listener with a name that the kernel chooses, and its Callers. */
typedef struct World {
        sd_event *event;
        int listener;
        struct sockaddr_un address;
        socklen_t address_size;
        Callers *callers;
} World;

static void world_new(World *world) {
        *world = (World){ .address = { .sun_family = AF_UNIX } };
        if (geteuid() != 0) {
                print_message("skipped: only root's sockets are listed\n");
                skip();
        }
        told = 0;
        world->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(world->listener >= 0);
        assert_int_equal(bind(world->listener, (const struct sockaddr *) &world->address,
                              sizeof(sa_family_t)),
                         0);
        world->address_size = sizeof(world->address);
        assert_int_equal(getsockname(world->listener, (struct sockaddr *) &world->address,
                                     &world->address_size),
                         0);
        assert_int_equal(listen(world->listener, 64), 0);
        assert_true(sd_event_new(&world->event) >= 0);
        assert_int_equal(callers_new(world->event, world->listener, &world->callers), 0);
}

static void world_free(World *world) {
        (void) callers_free(world->callers);
        sd_event_unref(world->event);
        (void) close(world->listener);
}

/* Waits at the socket as uid with the address "\0HEX/unit/UNIT/db-password". The HEX differs each time. */
static int wait_as(const World *world, uid_t uid, const char *unit) {
        static unsigned number;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
                              "%x%05x/unit/%s/db-password", (unsigned) getpid(), number++, unit);
        int fd;

        assert_int_equal(syscall(SYS_setresuid, -1, uid, -1), 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *) &address,
                              (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) length)),
                         0);
        assert_int_equal(connect(fd, (const struct sockaddr *) &world->address, world->address_size), 0);
        return fd;
}

static void test_a_unit_in_the_queue_is_listed_and_stays_unaccepted(void **state) {
        Caller list[CALLERS_MAX];
        World world;
        int client;

        world_new(&world);
        assert_int_equal(callers_look(world.callers, 1), 0);
        client = wait_as(&world, 0, "billing.service");
        assert_int_equal(callers_look(world.callers, 2), 1);
        assert_int_equal(callers_list(world.callers, list), 1);
        assert_string_equal(list[0].request.unit, "billing.service");
        assert_string_equal(list[0].request.credential, "db-password");
        assert_int_equal(list[0].since_usec, 2);
        assert_int_equal(callers_look(world.callers, 3), 0);
        (void) close(accept(world.listener, NULL, NULL));
        assert_int_equal(callers_look(world.callers, 4), 1);
        assert_int_equal(callers_list(world.callers, list), 0);
        (void) close(client);
        world_free(&world);
}

static void test_the_journal_names_a_unit_once_after_a_while(void **state) {
        World world;
        int client;

        world_new(&world);
        client = wait_as(&world, 0, "billing.service");
        (void) callers_look(world.callers, 1000);
        (void) callers_look(world.callers, 1000 + CALLERS_PATIENCE_USEC - 1);
        assert_int_equal(told, 0);
        (void) callers_look(world.callers, 1000 + CALLERS_PATIENCE_USEC);
        assert_int_equal(told, 1);
        assert_string_equal(last_unit, "billing.service");
        assert_string_equal(last_secret, "db-password");
        assert_non_null(strstr(last_entry, "billing.service has waited for credential db-password for 10"));
        (void) callers_look(world.callers, 1000 + 2 * CALLERS_PATIENCE_USEC);

        /* The service manager starts the unit again. */
        (void) close(accept(world.listener, NULL, NULL));
        (void) close(client);
        (void) callers_look(world.callers, 1000 + 2 * CALLERS_PATIENCE_USEC);
        client = wait_as(&world, 0, "billing.service");
        (void) callers_look(world.callers, 1000 + 3 * CALLERS_PATIENCE_USEC);
        (void) callers_look(world.callers, 1000 + 9 * CALLERS_PATIENCE_USEC);
        assert_int_equal(told, 1);
        (void) close(client);
        world_free(&world);
}

static void test_a_user_cannot_put_a_unit_into_the_list(void **state) {
        Caller list[CALLERS_MAX];
        int forged, genuine;
        World world;

        world_new(&world);
        forged = wait_as(&world, 65534, "forged.service");
        assert_int_equal(callers_look(world.callers, 1), 0);
        assert_int_equal(callers_list(world.callers, list), 0);
        genuine = wait_as(&world, 0, "billing.service");
        assert_int_equal(callers_look(world.callers, 2), 1);
        assert_int_equal(callers_list(world.callers, list), 1);
        assert_string_equal(list[0].request.unit, "billing.service");
        (void) close(forged);
        (void) close(genuine);
        world_free(&world);
}

static void test_a_full_list_takes_no_more(void **state) {
        int clients[CALLERS_MAX + 1];
        Caller list[CALLERS_MAX];
        World world;

        world_new(&world);
        for (unsigned i = 0; i < ELEMENTSOF(clients); i++) {
                char unit[32];

                (void) snprintf(unit, sizeof(unit), "worker@%u.service", i);
                clients[i] = wait_as(&world, 0, unit);
        }
        assert_int_equal(callers_look(world.callers, 1), 1);
        assert_int_equal(callers_list(world.callers, list), CALLERS_MAX);

        /* The first has its answer, so the last one gets its place. */
        (void) close(accept(world.listener, NULL, NULL));
        assert_int_equal(callers_look(world.callers, 2), 1);
        assert_int_equal(callers_look(world.callers, 3), 1);
        assert_int_equal(callers_list(world.callers, list), CALLERS_MAX);
        for (unsigned i = 0; i < ELEMENTSOF(clients); i++)
                (void) close(clients[i]);
        world_free(&world);
}

static void on_changed(void *userdata) {
        (void) sd_event_exit(userdata, 42);
}

static void test_the_event_loop_notices_a_unit(void **state) {
        World world;
        int client;

        world_new(&world);
        client = wait_as(&world, 0, "billing.service");
        assert_true(callers_watch(world.callers, on_changed, world.event) >= 0);
        assert_int_equal(sd_event_loop(world.event), 42);
        (void) close(client);
        world_free(&world);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_socket_is_read_with_its_name_its_queue_and_its_user),
                cmocka_unit_test(test_only_uid_0_is_root),
                cmocka_unit_test(test_a_queue_is_read_up_to_the_limit),
                cmocka_unit_test(test_malformed_answers_are_refused),
                cmocka_unit_test(test_an_error_of_the_kernel_is_returned),
                cmocka_unit_test(test_a_unit_in_the_queue_is_listed_and_stays_unaccepted),
                cmocka_unit_test(test_the_journal_names_a_unit_once_after_a_while),
                cmocka_unit_test(test_a_user_cannot_put_a_unit_into_the_list),
                cmocka_unit_test(test_a_full_list_takes_no_more),
                cmocka_unit_test(test_the_event_loop_notices_a_unit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
