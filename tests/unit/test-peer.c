/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/peer.h"

#define CGROUP UINT64_C(0x1122334455667788)

static PeerAddresses connection(void) {
        PeerAddresses addresses = {};
        struct sockaddr_in source = { .sin_family = AF_INET, .sin_port = htons(40001) },
                           destination = { .sin_family = AF_INET, .sin_port = htons(8643) };

        source.sin_addr.s_addr = destination.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        memcpy(&addresses.source, &source, sizeof(source));
        memcpy(&addresses.destination, &destination, sizeof(destination));
        return addresses;
}

typedef struct Reply {
        struct nlmsghdr header;
        struct inet_diag_msg message;
        struct nlattr other;
        uint32_t filler;
        struct nlattr attribute;
        uint8_t cgroup[8];
} Reply;

static Reply reply_of(uint64_t cgroup) {
        Reply reply = {
                .header = { .nlmsg_len = sizeof(reply), .nlmsg_type = SOCK_DIAG_BY_FAMILY },
                .message = { .idiag_family = AF_INET, .idiag_state = 1 },
                .other = { .nla_len = sizeof(struct nlattr) + 1, .nla_type = INET_DIAG_SHUTDOWN },
                .attribute = { .nla_len = sizeof(struct nlattr) + 8, .nla_type = 21 },
        };

        reply.message.id.idiag_sport = htons(40001);
        reply.message.id.idiag_dport = htons(8643);
        reply.message.id.idiag_src[0] = reply.message.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
        memcpy(reply.cgroup, &cgroup, sizeof(cgroup));
        return reply;
}

static int parse(const Reply *reply, size_t size, uint64_t *ret) {
        const PeerAddresses addresses = connection();
        _cleanup_free_ uint8_t *copy = malloc(size ?: 1);

        memcpy(copy, reply, size);
        return peer_diag_parse(copy, size, &addresses, ret);
}

static void test_the_kernel_is_asked_for_the_clients_socket(void **state) {
        const PeerAddresses addresses = connection();
        uint8_t question[PEER_QUESTION_MAX];
        struct {
                struct nlmsghdr header;
                struct inet_diag_req_v2 request;
        } asked;

        assert_int_equal(peer_diag_question(&addresses, question), sizeof(asked));
        memcpy(&asked, question, sizeof(asked));
        assert_int_equal(asked.header.nlmsg_type, SOCK_DIAG_BY_FAMILY);
        assert_int_equal(asked.header.nlmsg_len, sizeof(asked));
        /* One socket, not a list of them. */
        assert_int_equal(asked.header.nlmsg_flags, NLM_F_REQUEST);
        assert_int_equal(asked.request.sdiag_protocol, IPPROTO_TCP);
        assert_int_equal(ntohs(asked.request.id.idiag_sport), 40001);
        assert_int_equal(ntohs(asked.request.id.idiag_dport), 8643);
        assert_int_equal(ntohl(asked.request.id.idiag_src[0]), INADDR_LOOPBACK);
}

static void test_addresses_of_ipv6_are_asked_for_too(void **state) {
        PeerAddresses addresses = {};
        struct sockaddr_in6 end = { .sin6_family = AF_INET6,
                                    .sin6_port = htons(7),
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        uint8_t question[PEER_QUESTION_MAX];

        memcpy(&addresses.source, &end, sizeof(end));
        memcpy(&addresses.destination, &end, sizeof(end));
        assert_true(peer_diag_question(&addresses, question) > 0);
        addresses.source.ss_family = AF_INET;
        assert_int_equal(peer_diag_question(&addresses, question), -EAFNOSUPPORT);
        addresses.source.ss_family = addresses.destination.ss_family = AF_UNIX;
        assert_int_equal(peer_diag_question(&addresses, question), -EAFNOSUPPORT);
}

static void test_the_control_group_is_taken_from_the_answer(void **state) {
        Reply reply = reply_of(CGROUP);
        uint64_t cgroup = 0;

        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), 0);
        assert_true(cgroup == CGROUP);
}

/* What the kernel tells of the socket of a program that connects to ::ffff:127.0.0.1, as Java does for 127.0.0.1. */
static void test_a_client_with_a_socket_of_ipv6_is_known(void **state) {
        const __be32 mapped[] = { 0, 0, htonl(0xffff), htonl(INADDR_LOOPBACK) };
        Reply reply = reply_of(CGROUP);
        uint64_t cgroup = 0;

        reply.message.idiag_family = AF_INET6;
        memcpy(reply.message.id.idiag_src, mapped, sizeof(mapped));
        memcpy(reply.message.id.idiag_dst, mapped, sizeof(mapped));
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), 0);
        assert_true(cgroup == CGROUP);
        reply.message.id.idiag_src[3] = htonl(INADDR_LOOPBACK + 1);
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -EBADMSG);
        reply.message.id.idiag_src[3] = htonl(INADDR_LOOPBACK);
        reply.message.id.idiag_src[2] = 0;
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -EBADMSG);
        /* Numbers of IPv6 are none of IPv4. */
        reply.message.id.idiag_src[2] = htonl(0xffff);
        reply.message.idiag_family = AF_INET;
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -EBADMSG);
}

static void test_an_answer_without_control_group_is_no_answer(void **state) {
        Reply reply = reply_of(CGROUP);
        uint64_t cgroup = 7;

        reply.attribute.nla_type = 20;
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -ENODATA);
        reply = reply_of(0);
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -ENODATA);
        reply = reply_of(CGROUP);
        reply.header.nlmsg_len = offsetof(Reply, other);
        assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -ENODATA);
        assert_true(cgroup == 7);
}

static void test_an_answer_about_another_socket_is_refused(void **state) {
        uint64_t cgroup;

#define ASSERT_REFUSED(change)                                                     \
        do {                                                                       \
                Reply reply = reply_of(CGROUP);                                    \
                change;                                                            \
                assert_int_equal(parse(&reply, sizeof(reply), &cgroup), -EBADMSG); \
        } while (0)

        ASSERT_REFUSED(reply.message.id.idiag_sport = htons(40002));
        ASSERT_REFUSED(reply.message.id.idiag_dport = htons(8642));
        ASSERT_REFUSED(reply.message.id.idiag_src[0] = htonl(INADDR_LOOPBACK + 1));
        ASSERT_REFUSED(reply.message.id.idiag_dst[0] = htonl(INADDR_LOOPBACK + 1));
        ASSERT_REFUSED(reply.message.id.idiag_src[3] = 1);
        ASSERT_REFUSED(reply.message.idiag_family = AF_INET6);
        ASSERT_REFUSED(reply.message.idiag_state = 10); /* it listens */
        ASSERT_REFUSED(reply.message.idiag_state = 6);  /* TIME_WAIT: the client has gone */
}

static void test_a_malformed_answer_is_refused(void **state) {
        uint64_t cgroup;
        Reply whole = reply_of(CGROUP);

        for (size_t n = 0; n < sizeof(whole); n++)
                assert_int_equal(parse(&whole, n, &cgroup), -EBADMSG);
        ASSERT_REFUSED(reply.header.nlmsg_type = NLMSG_DONE);
        ASSERT_REFUSED(reply.header.nlmsg_len = sizeof(struct nlmsghdr) - 1);
        ASSERT_REFUSED(reply.header.nlmsg_len = sizeof(struct nlmsghdr) + 8);
        ASSERT_REFUSED(reply.other.nla_len = 3);
        ASSERT_REFUSED(reply.attribute.nla_len = sizeof(struct nlattr) + 4);
        ASSERT_REFUSED(reply.attribute.nla_len = sizeof(struct nlattr) + 9);
        ASSERT_REFUSED(reply.header.nlmsg_len = offsetof(Reply, attribute) + 2);
}

static void test_the_kernels_error_is_passed_on(void **state) {
        const PeerAddresses addresses = connection();
        struct {
                struct nlmsghdr header;
                struct nlmsgerr error;
        } reply = { .header = { .nlmsg_len = sizeof(reply), .nlmsg_type = NLMSG_ERROR },
                    .error = { .error = -ENOENT } };
        uint64_t cgroup;

        assert_int_equal(peer_diag_parse(&reply, sizeof(reply), &addresses, &cgroup), -ENOENT);
        reply.error.error = 0;
        assert_int_equal(peer_diag_parse(&reply, sizeof(reply), &addresses, &cgroup), -EBADMSG);
        reply.header.nlmsg_len = sizeof(reply.header) + 4;
        assert_int_equal(peer_diag_parse(&reply, sizeof(reply), &addresses, &cgroup), -EBADMSG);
}

static void assert_unit(const char *path, const char *wanted) {
        _cleanup_free_ char *unit = NULL;
        int r = cgroup_unit(path, &unit);

        if (!wanted) {
                if (r != -ENOENT)
                        fail_msg("%s: saw %s, wanted none", path, unit ?: "another error");
        } else if (r < 0 || strcmp(unit, wanted) != 0)
                fail_msg("%s: saw %s, wanted %s", path, unit ?: "none", wanted);
}

static void test_the_first_part_that_is_no_slice_is_the_unit(void **state) {
        assert_unit("system.slice/billing.service", "billing.service");
        assert_unit("system.slice/billing.service/worker", "billing.service");
        assert_unit("system.slice/system-worker.slice/worker@1.service", "worker@1.service");
        assert_unit("init.scope", "init.scope");
        assert_unit("_cgroup.service", "cgroup.service");
        /* A user, and a unit with Delegate=, may make groups of any name below their own. */
        assert_unit("user.slice/user-1000.slice/user@1000.service/app.slice/billing.service",
                    "user@1000.service");
        assert_unit("system.slice/other.service/system.slice/billing.service", "other.service");
        assert_unit("other.service/billing.service", "other.service");
        assert_unit("billing/billing.service", NULL);
        assert_unit("system.slice", NULL);
        assert_unit("system.slice/", NULL);
        assert_unit("", NULL);
        assert_unit("_", NULL);
        assert_unit("/system.slice/billing.service", NULL);
        assert_unit(".slice/billing.service", ".slice");
}

static uint64_t make(const char *root, const char *path) {
        char whole[256];
        struct stat st;

        (void) snprintf(whole, sizeof(whole), "%s/%s", root, path);
        assert_int_equal(mkdir(whole, 0755), 0);
        assert_int_equal(stat(whole, &st), 0);
        return st.st_ino;
}

static void test_a_control_group_is_found_by_its_number(void **state) {
        char root[] = "/tmp/unseald-test-peer.XXXXXX", command[64];
        _cleanup_free_ char *path = NULL, *other = NULL, *none = NULL;
        uint64_t deep, last;

        assert_non_null(mkdtemp(root));
        (void) make(root, "system.slice");
        (void) make(root, "system.slice/a.service");
        (void) make(root, "system.slice/b.service");
        deep = make(root, "system.slice/b.service/worker");
        last = make(root, "z.slice");
        assert_int_equal(cgroup_find(root, deep, &path), 0);
        assert_string_equal(path, "system.slice/b.service/worker");
        assert_int_equal(cgroup_find(root, last, &other), 0);
        assert_string_equal(other, "z.slice");
        assert_int_equal(cgroup_find(root, UINT64_MAX, &none), -ENOENT);
        (void) snprintf(command, sizeof(command), "rm -r %s", root);
        assert_int_equal(system(command), 0);
        assert_int_equal(cgroup_find(root, last, &none), -ENOENT);
}

/* A unit that is not permitted may make any number of control groups. The search for them must not cost others much time. */
static void test_only_1024_control_groups_of_a_unit_are_searched(void **state) {
        char root[] = "/tmp/unseald-test-peer.XXXXXX", name[64], command[64];
        _cleanup_free_ char *found = NULL, *none = NULL, *other = NULL, *nested = NULL;
        const struct dirent *entry;
        uint64_t number[1025], after, below;
        size_t count = 0;
        DIR *directory;

        assert_non_null(mkdtemp(root));
        (void) make(root, "a.slice");
        (void) make(root, "a.slice/a.service");
        for (unsigned i = 0; i < ELEMENTSOF(number); i++) {
                (void) snprintf(name, sizeof(name), "a.slice/a.service/%u", i);
                (void) make(root, name);
        }
        after = make(root, "a.slice/z.service");
        (void) make(root, "a.slice/a-b.slice");
        (void) make(root, "a.slice/a-b.slice/c.service");
        below = make(root, "a.slice/a-b.slice/c.service/worker");
        (void) snprintf(name, sizeof(name), "%s/a.slice/a.service", root);
        assert_non_null(directory = opendir(name));
        while ((entry = readdir(directory)))
                if (entry->d_name[0] != '.') {
                        assert_true(count < ELEMENTSOF(number));
                        number[count++] = entry->d_ino;
                }
        closedir(directory);
        assert_int_equal(count, ELEMENTSOF(number));
        assert_int_equal(cgroup_find(root, number[1023], &found), 0);
        assert_int_equal(cgroup_find(root, number[1024], &none), -ENOENT);
        /* Each unit has a limit of its own, whatever comes first. */
        assert_int_equal(cgroup_find(root, after, &other), 0);
        assert_string_equal(other, "a.slice/z.service");
        assert_int_equal(cgroup_find(root, below, &nested), 0);
        assert_string_equal(nested, "a.slice/a-b.slice/c.service/worker");
        (void) snprintf(command, sizeof(command), "rm -r %s", root);
        assert_int_equal(system(command), 0);
}

/*
 * The kernel, played: its answers about sockets, and where control groups of version 2 are. The connections are real ones of the loopback
 * interface.
 */
static struct {
        unsigned place;  /* of control groups of version 2: 0, 1, or 2 for none */
        char root[64];   /* what is there */
        uint64_t cgroup; /* that of the peer */
        unsigned old;    /* answers to questions that were asked before */
        unsigned questions;
        int error; /* of the question */
        bool is_silent, answers;
        void (*meanwhile)(void); /* before it answers */
        struct inet_diag_sockid asked;
        int listener, client, server;
} kernel;

int statfs(const char *path, struct statfs *ret) {
        static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

        *ret = (struct statfs){ .f_type = TMPFS_MAGIC };
        if (kernel.place < ELEMENTSOF(places) && strcmp(path, places[kernel.place]) == 0)
                ret->f_type = CGROUP2_SUPER_MAGIC;
        return 0;
}

int open(const char *path, int flags, ...) {
        if (strncmp(path, "/sys/fs/cgroup", strlen("/sys/fs/cgroup")) == 0) {
                assert_string_equal(path, kernel.place == 0 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified");
                path = kernel.root;
        }
        return openat(AT_FDCWD, path, flags);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
               socklen_t to_size) {
        struct {
                struct nlmsghdr header;
                struct inet_diag_req_v2 request;
        } question;

        if (kernel.error != 0) {
                errno = kernel.error;
                return -1;
        }
        assert_int_equal(size, sizeof(question));
        memcpy(&question, data, size);
        kernel.asked = question.request.id;
        kernel.questions++;
        kernel.answers = !kernel.is_silent;
        return (ssize_t) size;
}

ssize_t recv(int fd, void *buffer, size_t size, int flags) {
        Reply reply = reply_of(kernel.old > 0 ? CGROUP : kernel.cgroup);

        assert_int_equal(flags, MSG_DONTWAIT);
        if (kernel.old == 0 && !kernel.answers) {
                errno = EAGAIN;
                return -1;
        }
        if (kernel.old > 0)
                kernel.old--;
        else {
                kernel.answers = false;
                if (kernel.meanwhile)
                        kernel.meanwhile();
        }
        reply.message.id = kernel.asked;
        assert_true(size >= sizeof(reply));
        memcpy(buffer, &reply, sizeof(reply));
        return sizeof(reply);
}

static int play_kernel(void **state) {
        struct sockaddr_in address = { .sin_family = AF_INET };
        socklen_t size = sizeof(address);

        memset(&kernel, 0, sizeof(kernel));
        (void) snprintf(kernel.root, sizeof(kernel.root), "/tmp/unseald-test-peer.XXXXXX");
        assert_non_null(mkdtemp(kernel.root));
        (void) make(kernel.root, "a.slice");
        kernel.cgroup = make(kernel.root, "a.slice/a.service");
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        kernel.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        kernel.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(kernel.listener, (const struct sockaddr *) &address, size), 0);
        assert_int_equal(listen(kernel.listener, 1), 0);
        assert_int_equal(getsockname(kernel.listener, (struct sockaddr *) &address, &size), 0);
        assert_int_equal(connect(kernel.client, (const struct sockaddr *) &address, size), 0);
        kernel.server = accept(kernel.listener, NULL, NULL);
        assert_true(kernel.server >= 0);
        return 0;
}

static void remove_groups(void) {
        char command[96];

        (void) snprintf(command, sizeof(command), "rm -rf %s", kernel.root);
        assert_int_equal(system(command), 0);
}

static int end_kernel(void **state) {
        remove_groups();
        close(kernel.listener);
        close(kernel.server);
        return kernel.client >= 0 ? close(kernel.client) : 0;
}

static void assert_peer(Peers *peers, const char *wanted) {
        const char *unit = NULL;

        assert_int_equal(peers_unit(peers, kernel.server, &unit), 0);
        assert_string_equal(unit, wanted);
}

static void test_the_unit_of_a_client_is_found_and_remembered(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;
        const char *unit;

        assert_int_equal(peers_new(&peers), 0);
        assert_peer(peers, "a.service");
        /* The kernel is asked for each connection, and only the search is saved. */
        remove_groups();
        assert_peer(peers, "a.service");
        assert_int_equal(kernel.questions, 2);
        kernel.cgroup++;
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -ENOENT);
}

static void test_a_group_that_is_no_units_is_refused(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;
        const char *unit;

        assert_int_equal(peers_new(&peers), 0);
        kernel.cgroup = make(kernel.root, "b.slice");
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -ENOENT);
}

static void test_answers_to_earlier_questions_are_dropped(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;

        assert_int_equal(peers_new(&peers), 0);
        kernel.old = 3;
        assert_peer(peers, "a.service");
        assert_int_equal(kernel.old, 0);
}

static void reset(void) {
        const struct linger at_once = { .l_onoff = 1 };
        struct pollfd ended = { .fd = kernel.server };

        assert_int_equal(setsockopt(kernel.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
        assert_int_equal(close(kernel.client), 0);
        kernel.client = -1;
        assert_int_equal(poll(&ended, 1, -1), 1);
}

/* Its port may be another socket's by the time of the answer. */
static void test_a_connection_that_ends_meanwhile_has_no_peer(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;
        const char *unit;

        assert_int_equal(peers_new(&peers), 0);
        kernel.meanwhile = reset;
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -ENOTCONN);
        kernel.meanwhile = NULL;
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -ENOTCONN);
}

/* A client may have said all that it has to say. */
static void test_a_connection_that_is_half_closed_has_its_peer(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;
        struct pollfd closed = { .fd = kernel.server, .events = POLLRDHUP };

        assert_int_equal(peers_new(&peers), 0);
        assert_int_equal(shutdown(kernel.client, SHUT_WR), 0);
        assert_int_equal(poll(&closed, 1, -1), 1);
        assert_peer(peers, "a.service");
}

static void test_without_an_answer_nothing_is_known(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;
        const char *unit;
        int pair[2];

        assert_int_equal(peers_new(&peers), 0);
        kernel.error = EPERM;
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -EPERM);
        kernel.error = 0;
        kernel.is_silent = true;
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -EAGAIN);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(peers_unit(peers, pair[0], &unit), -EAFNOSUPPORT);
        close(pair[0]);
        close(pair[1]);
}

static void test_groups_of_version_2_are_looked_for_at_both_places(void **state) {
        Peers *peers = NULL;

        kernel.place = 1;
        assert_int_equal(peers_new(&peers), 0);
        assert_peer(peers, "a.service");
        assert_null(peers_free(peers));
        kernel.place = 2;
        assert_int_equal(peers_new(&peers), -ENOTDIR);
        assert_null(peers_free(NULL));
}

static void test_the_oldest_of_256_groups_is_forgotten(void **state) {
        _cleanup_(peers_freep) Peers *peers = NULL;
        uint64_t groups[257];
        const char *unit;
        char name[64];

        assert_int_equal(peers_new(&peers), 0);
        for (unsigned i = 0; i < ELEMENTSOF(groups); i++) {
                (void) snprintf(name, sizeof(name), "a.slice/%u.service", i);
                kernel.cgroup = groups[i] = make(kernel.root, name);
                assert_peer(peers, name + strlen("a.slice/"));
        }
        remove_groups();
        for (unsigned i = 1; i < ELEMENTSOF(groups); i++) {
                (void) snprintf(name, sizeof(name), "%u.service", i);
                kernel.cgroup = groups[i];
                assert_peer(peers, name);
        }
        kernel.cgroup = groups[0];
        assert_int_equal(peers_unit(peers, kernel.server, &unit), -ENOENT);
}

#define test_with_kernel(f) cmocka_unit_test_setup_teardown(f, play_kernel, end_kernel)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_kernel_is_asked_for_the_clients_socket),
                cmocka_unit_test(test_addresses_of_ipv6_are_asked_for_too),
                cmocka_unit_test(test_the_control_group_is_taken_from_the_answer),
                cmocka_unit_test(test_a_client_with_a_socket_of_ipv6_is_known),
                cmocka_unit_test(test_an_answer_without_control_group_is_no_answer),
                cmocka_unit_test(test_an_answer_about_another_socket_is_refused),
                cmocka_unit_test(test_a_malformed_answer_is_refused),
                cmocka_unit_test(test_the_kernels_error_is_passed_on),
                cmocka_unit_test(test_the_first_part_that_is_no_slice_is_the_unit),
                cmocka_unit_test(test_a_control_group_is_found_by_its_number),
                cmocka_unit_test(test_only_1024_control_groups_of_a_unit_are_searched),
                test_with_kernel(test_the_unit_of_a_client_is_found_and_remembered),
                test_with_kernel(test_a_group_that_is_no_units_is_refused),
                test_with_kernel(test_answers_to_earlier_questions_are_dropped),
                test_with_kernel(test_a_connection_that_ends_meanwhile_has_no_peer),
                test_with_kernel(test_a_connection_that_is_half_closed_has_its_peer),
                test_with_kernel(test_without_an_answer_nothing_is_known),
                test_with_kernel(test_groups_of_version_2_are_looked_for_at_both_places),
                test_with_kernel(test_the_oldest_of_256_groups_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
