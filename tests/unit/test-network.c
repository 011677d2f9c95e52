/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "basic/cleanup.h"
#include "failing-memory.h"
#include "unsealing/network.h"

static size_t put(uint8_t *buffer, size_t offset, uint16_t type, uint32_t payload) {
        struct nlmsghdr header = { .nlmsg_len = (uint32_t) sizeof(header) + payload, .nlmsg_type = type };

        memcpy(buffer + offset, &header, sizeof(header));
        return offset + NLMSG_ALIGN(header.nlmsg_len);
}

static void test_new_routes_and_addresses_matter_and_nothing_else(void **state) {
        uint8_t buffer[256] = {};
        size_t size;

        size = put(buffer, 0, RTM_NEWROUTE, 12);
        assert_true(network_message_matters(buffer, size));
        size = put(buffer, 0, RTM_NEWADDR, 8);
        assert_true(network_message_matters(buffer, size));
        size = put(buffer, 0, RTM_DELROUTE, 12);
        assert_false(network_message_matters(buffer, size));
        size = put(buffer, size, RTM_NEWROUTE, 12);
        assert_true(network_message_matters(buffer, size));
}

static void test_malformed_messages_are_ignored(void **state) {
        uint8_t buffer[64] = {};
        size_t size = put(buffer, 0, RTM_NEWROUTE, 16);

        for (size_t cut = 0; cut < size; cut++)
                assert_false(network_message_matters(buffer, cut));
        ((struct nlmsghdr *) (void *) buffer)->nlmsg_len = 3;
        assert_false(network_message_matters(buffer, size));
        ((struct nlmsghdr *) (void *) buffer)->nlmsg_len = UINT32_MAX;
        assert_false(network_message_matters(buffer, size));
}

static void test_messages_are_read_to_the_last_byte_and_no_further(void **state) {
        uint8_t buffer[64] = {};
        size_t size = put(buffer, 0, RTM_NEWROUTE, 0), first;

        assert_int_equal(size, sizeof(struct nlmsghdr));
        assert_true(network_message_matters(buffer, size));
        /* The first message ends at 17 bytes. What fills it up to 20 is not there. */
        first = put(buffer, 0, RTM_DELROUTE, 1);
        assert_false(network_message_matters(buffer, 17));
        (void) put(buffer, first, RTM_NEWROUTE, 0);
        assert_false(network_message_matters(buffer, first));
        assert_false(network_message_matters(buffer, first + sizeof(struct nlmsghdr) - 1));
        assert_true(network_message_matters(buffer, first + sizeof(struct nlmsghdr)));
}

/* What the calls of recv() fail with, the last one first; 0: recv() returns 0. After them no message is there. Without fails,
 * recv() is the C library's. */
static int failures[2];
static unsigned failures_left;
static bool fails;

ssize_t recv(int fd, void *buffer, size_t size, int flags) {
        if (!fails)
                return recvfrom(fd, buffer, size, flags, NULL, NULL);
        if (failures_left > 0 && failures[failures_left - 1] == 0) {
                failures_left--;
                errno = ENOBUFS; /* of an earlier call */
                return 0;
        }
        errno = failures_left > 0 ? failures[--failures_left] : EAGAIN;
        return -1;
}

static void on_changed(void *userdata) {
        (void) sd_event_exit(userdata, 42);
}

static int give_up(sd_event_source *source, uint64_t usec, void *userdata) {
        return sd_event_exit(sd_event_source_get_event(source), 1);
}

static void test_a_link_that_comes_up_is_noticed(void **state) {
        _cleanup_(network_freep) Network *network = NULL;
        struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        _cleanup_close_ int fd = -1;
        sd_event *event = NULL;

        if (unshare(CLONE_NEWNET) < 0) {
                print_message("skipped: needs root to make a network namespace\n");
                skip();
        }
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(network_new(event, on_changed, event, &network), 0);
        assert_true(sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, 60000000, 0, give_up, NULL) >=
                    0);

        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &loopback), 0);
        assert_int_equal(sd_event_loop(event), 42);

        network = network_free(network);
        sd_event_unref(event);
}

/* recv() is interrupted, then the kernel says that it has dropped messages, and there are no others. */
static void test_dropped_messages_are_noticed(void **state) {
        _cleanup_(network_freep) Network *network = NULL;
        struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        _cleanup_close_ int fd = -1;
        sd_event *event = NULL;

        if (unshare(CLONE_NEWNET) < 0) {
                print_message("skipped: needs root to make a network namespace\n");
                skip();
        }
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(network_new(event, on_changed, event, &network), 0);
        assert_true(sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, 60000000, 0, give_up, NULL) >=
                    0);
        failures[1] = EINTR;
        failures[0] = ENOBUFS;
        failures_left = 2;
        fails = true;

        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &loopback), 0);
        assert_int_equal(sd_event_loop(event), 42);
        assert_int_equal(failures_left, 0);

        fails = false;
        network = network_free(network);
        sd_event_unref(event);
}

static void count(void *userdata) {
        ++*(unsigned *) userdata;
}

/* The event loop may wake up for a message that somebody else has read, or that does not matter. */
static void test_a_wakeup_without_a_message_is_no_change(void **state) {
        _cleanup_(network_freep) Network *network = NULL;
        struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        _cleanup_close_ int fd = -1;
        sd_event *event = NULL;
        unsigned changes = 0;

        if (unshare(CLONE_NEWNET) < 0) {
                print_message("skipped: needs root to make a network namespace\n");
                skip();
        }
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(network_new(event, count, &changes, &network), 0);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &loopback), 0);

        failures_left = 0;
        fails = true;
        assert_true(sd_event_run(event, 5000000) > 0);
        assert_int_equal(changes, 0);

        /* An empty message ends the turn, whatever errno is. */
        failures[1] = 0;
        failures[0] = ENOBUFS;
        failures_left = 2;
        assert_true(sd_event_run(event, 5000000) > 0);
        assert_int_equal(failures_left, 1);
        assert_int_equal(changes, 0);
        fails = false;
        assert_true(sd_event_run(event, 5000000) > 0);
        assert_int_equal(changes, 1);

        network = network_free(network);
        sd_event_unref(event);
}

static int make_network(void) {
        _cleanup_(network_freep) Network *network = NULL;
        sd_event *event = NULL;
        int r = sd_event_new(&event);

        if (r >= 0)
                r = network_new(event, on_changed, event, &network);
        network = network_free(network);
        sd_event_unref(event);
        return r;
}

static void test_lack_of_memory_is_reported(void **state) {
        assert_allocations_are_checked(make_network);
}

static void test_descriptor_0_is_a_descriptor(void **state) {
        int input = dup(STDIN_FILENO), r, after;
        Network *network = NULL;
        sd_event *event = NULL;

        assert_true(input > 0);
        assert_true(sd_event_new(&event) >= 0);
        (void) close(STDIN_FILENO);
        r = network_new(event, count, NULL, &network);
        network = network_free(network);
        after = fcntl(STDIN_FILENO, F_GETFD);
        assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
        (void) close(input);
        assert_int_equal(r, 0);
        assert_int_equal(after, -1);
        sd_event_unref(event);
}

/* IPv4 is up already, so only the IPv6 address can be noticed. */
static void test_an_ipv6_address_is_noticed(void **state) {
        _cleanup_(network_freep) Network *network = NULL;
        struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        union {
                struct in6_ifreq ipv6;
                struct ifreq whole; /* valgrind takes it that the kernel reads that much */
        } address = {};
        _cleanup_close_ int ipv4 = -1, ipv6 = -1;
        sd_event *event = NULL;

        if (unshare(CLONE_NEWNET) < 0) {
                print_message("skipped: needs root to make a network namespace\n");
                skip();
        }
        ipv4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ipv6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (ipv6 < 0) {
                print_message("skipped: the kernel has no IPv6\n");
                skip();
        }
        assert_int_equal(ioctl(ipv4, SIOCSIFFLAGS, &loopback), 0);
        assert_int_equal(ioctl(ipv4, SIOCGIFINDEX, &loopback), 0);
        address.ipv6.ifr6_prefixlen = 128;
        address.ipv6.ifr6_ifindex = loopback.ifr_ifindex;
        assert_int_equal(inet_pton(AF_INET6, "fd00::1", &address.ipv6.ifr6_addr), 1);
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(network_new(event, on_changed, event, &network), 0);
        assert_true(sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, 60000000, 0, give_up, NULL) >=
                    0);

        assert_int_equal(ioctl(ipv6, SIOCSIFADDR, &address), 0);
        assert_int_equal(sd_event_loop(event), 42);

        network = network_free(network);
        sd_event_unref(event);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_new_routes_and_addresses_matter_and_nothing_else),
                cmocka_unit_test(test_malformed_messages_are_ignored),
                cmocka_unit_test(test_messages_are_read_to_the_last_byte_and_no_further),
                cmocka_unit_test(test_a_link_that_comes_up_is_noticed),
                cmocka_unit_test(test_dropped_messages_are_noticed),
                cmocka_unit_test(test_a_wakeup_without_a_message_is_no_change),
                cmocka_unit_test(test_lack_of_memory_is_reported),
                cmocka_unit_test(test_descriptor_0_is_a_descriptor),
                cmocka_unit_test(test_an_ipv6_address_is_noticed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
