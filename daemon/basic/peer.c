/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "basic/peer.h"

/* linux/inet_diag.h of old build systems lacks it. */
#define DIAG_CGROUP_ID 21
#define STATE_ESTABLISHED 1
#define STATE_CLOSE_WAIT 8
#define ANSWER_MAX 4096U
#define REMEMBERED 256U
#define DEPTH_MAX 32U
#define PATH_SIZE 4096U

/* The control groups of one unit among which that of a client is looked for. A unit that manages its own can have any number of them, and
 * the service waits for the search. */
#define GROUPS_OF_UNIT_MAX 1024U

typedef struct Question {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
} Question;
_Static_assert(sizeof(Question) <= PEER_QUESTION_MAX, "the question does not fit");

/* Fills the address of a socket ID. False: another family. */
static bool take_address(const struct sockaddr_storage *address, __be32 number[static 4], __be16 *port) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *) address;
        const struct sockaddr_in *four = (const struct sockaddr_in *) address;

        if (address->ss_family == AF_INET) {
                number[0] = four->sin_addr.s_addr;
                *port = four->sin_port;
        } else if (address->ss_family == AF_INET6) {
                memcpy(number, &six->sin6_addr, sizeof(six->sin6_addr));
                *port = six->sin6_port;
        } else
                return false;
        return true;
}

static int socket_id(const PeerAddresses *addresses, struct inet_diag_sockid *ret) {
        struct inet_diag_sockid id = { .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } };

        if (addresses->source.ss_family != addresses->destination.ss_family ||
            !take_address(&addresses->source, id.idiag_src, &id.idiag_sport) ||
            !take_address(&addresses->destination, id.idiag_dst, &id.idiag_dport))
                return -EAFNOSUPPORT;
        *ret = id;
        return 0;
}

int peer_diag_question(const PeerAddresses *addresses, uint8_t ret[static PEER_QUESTION_MAX]) {
        Question question = {
                .header = { .nlmsg_len = sizeof(question),
                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                            .nlmsg_flags = NLM_F_REQUEST },
                .request = { .sdiag_family = (uint8_t) addresses->source.ss_family,
                             .sdiag_protocol = IPPROTO_TCP,
                             .idiag_states = UINT32_MAX },
        };
        int r = socket_id(addresses, &question.request.id);

        if (r < 0)
                return r;
        memcpy(ret, &question, sizeof(question));
        return sizeof(question);
}

static int parse_error(const uint8_t *p, size_t size) {
        int number;

        if (size < sizeof(struct nlmsgerr))
                return -EBADMSG;
        memcpy(&number, p + offsetof(struct nlmsgerr, error), sizeof(number));
        return number < 0 && number >= -4095 ? number : -EBADMSG;
}

/* Turns an IPv4 address into the one that an IPv6 socket has for it (RFC 4291 section 2.5.5.2). An IPv6 address stays as it is. False: the
 * number is not an address of this family. */
static bool map_address(unsigned family, __be32 number[static 4]) {
        if (family != AF_INET)
                return family == AF_INET6;
        if (number[1] != 0 || number[2] != 0 || number[3] != 0)
                return false;
        number[3] = number[0];
        number[2] = htonl(0xffff);
        number[0] = 0;
        return true;
}

static bool map_addresses(unsigned family, struct inet_diag_sockid *id) {
        return map_address(family, id->idiag_src) && map_address(family, id->idiag_dst);
}

/* The answer must be about this very connection, and it must stand. The two ends may differ in the family, since Java connects to an IPv4
 * address with an IPv6 socket. */
static bool is_about(const struct inet_diag_msg *message, const PeerAddresses *addresses) {
        struct inet_diag_sockid id, seen = message->id;

        return socket_id(addresses, &id) >= 0 && map_addresses(addresses->source.ss_family, &id) &&
               map_addresses(message->idiag_family, &seen) &&
               (message->idiag_state == STATE_ESTABLISHED || message->idiag_state == STATE_CLOSE_WAIT) &&
               seen.idiag_sport == id.idiag_sport && seen.idiag_dport == id.idiag_dport &&
               memcmp(seen.idiag_src, id.idiag_src, sizeof(id.idiag_src)) == 0 &&
               memcmp(seen.idiag_dst, id.idiag_dst, sizeof(id.idiag_dst)) == 0;
}

static int find_cgroup(const uint8_t *p, size_t size, uint64_t *ret) {
        while (size > 0) {
                struct nlattr attribute;
                size_t whole;

                if (size < sizeof(attribute))
                        return -EBADMSG;
                memcpy(&attribute, p, sizeof(attribute));
                if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > size)
                        return -EBADMSG;
                if ((attribute.nla_type & NLA_TYPE_MASK) == DIAG_CGROUP_ID) {
                        if (attribute.nla_len != sizeof(attribute) + sizeof(*ret))
                                return -EBADMSG;
                        memcpy(ret, p + sizeof(attribute), sizeof(*ret));
                        return *ret == 0 ? -ENODATA : 0;
                }
                /* The last one need not be filled up. */
                whole = NLA_ALIGN((size_t) attribute.nla_len);
                whole = whole < size ? whole : size;
                p += whole;
                size -= whole;
        }
        return -ENODATA;
}

int peer_diag_parse(const void *answer, size_t size, const PeerAddresses *addresses, uint64_t *ret_cgroup) {
        const uint8_t *p = answer;
        struct nlmsghdr header;
        struct inet_diag_msg message;
        uint64_t cgroup = 0;
        int r;

        if (size < sizeof(header))
                return -EBADMSG;
        memcpy(&header, p, sizeof(header));
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size)
                return -EBADMSG;
        p += sizeof(header);
        size = header.nlmsg_len - sizeof(header);
        if (header.nlmsg_type == NLMSG_ERROR)
                return parse_error(p, size);
        if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || size < sizeof(message))
                return -EBADMSG;
        memcpy(&message, p, sizeof(message));
        if (!is_about(&message, addresses))
                return -EBADMSG;
        r = find_cgroup(p + sizeof(message), size - sizeof(message), &cgroup);
        if (r < 0)
                return r;
        *ret_cgroup = cgroup;
        return 0;
}

static bool is_slice(const char *name, size_t length) {
        static const char end[] = ".slice";

        return length > strlen(end) && memcmp(name + length - strlen(end), end, strlen(end)) == 0;
}

int cgroup_unit(const char *path, char **ret) {
        while (*path) {
                size_t length = strcspn(path, "/");
                char *unit;

                if (!is_slice(path, length)) {
                        /* systemd puts "_" before a name that a file of the kernel could have (systemd.slice(5)). */
                        size_t escaped = path[0] == '_' ? 1 : 0;

                        if (length <= escaped || !memchr(path, '.', length))
                                return -ENOENT;
                        unit = strndup(path + escaped, length - escaped);
                        if (!unit)
                                return -ENOMEM;
                        *ret = unit;
                        return 0;
                }
                path += length;
                path += strspn(path, "/");
        }
        return -ENOENT;
}

/* Looks for the directory of that number below fd, which is taken over. path: that of fd, with a slash at its end or empty. left: how many
 * directories of this unit it may still look at; NULL: fd is of a slice. */
static int search(int fd, char path[static PATH_SIZE], size_t length, unsigned depth, uint64_t number,
                  unsigned *left) {
        DIR *directory = fdopendir(fd);
        const struct dirent *entry;
        int r = -ENOENT;

        if (!directory) {
                close(fd);
                return -ENOMEM;
        }
        while (r == -ENOENT && (entry = readdir(directory))) {
                size_t name = strlen(entry->d_name);
                unsigned of_unit = GROUPS_OF_UNIT_MAX, *left_below = left;
                int below;

                if (entry->d_type != DT_DIR || entry->d_name[0] == '.' || length + name + 2 > PATH_SIZE)
                        continue;
                if (left && *left == 0)
                        break;
                if (left)
                        --*left;
                memcpy(path + length, entry->d_name, name + 1);
                if (entry->d_ino == number) {
                        r = 0;
                        break;
                }
                if (!left && !is_slice(entry->d_name, name))
                        left_below = &of_unit;
                below = depth < DEPTH_MAX ? openat(dirfd(directory), entry->d_name,
                                                   O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
                                          : -1;
                path[length + name] = '/';
                /* The group may have gone meanwhile. */
                if (below >= 0)
                        r = search(below, path, length + name + 1, depth + 1, number, left_below);
        }
        closedir(directory);
        return r;
}

int cgroup_find(const char *root, uint64_t number, char **ret) {
        char path[PATH_SIZE];
        int r, fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        r = search(fd, path, 0, 0, number, NULL);
        if (r < 0)
                return r;
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
}

typedef struct Known {
        uint64_t cgroup;
        char *unit;
} Known;

struct Peers {
        int netlink;
        const char *root;
        Known known[REMEMBERED]; /* a ring: the oldest goes first */
        size_t next;
};

/* Where control groups of version 2 are: at the second place if the machine has those of version 1, too. */
static const char *cgroup_root(void) {
        static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        struct statfs fs;

        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (statfs(places[i], &fs) >= 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return places[i];
        return NULL;
}

int peers_new(Peers **ret) {
        _cleanup_(peers_freep) Peers *peers = calloc(1, sizeof(*peers));

        if (!peers)
                return -ENOMEM;
        peers->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (peers->netlink < 0)
                return -errno;
        peers->root = cgroup_root();
        if (!peers->root)
                return -ENOTDIR;
        *ret = TAKE_PTR(peers);
        return 0;
}

Peers *peers_free(Peers *peers) {
        if (!peers)
                return NULL;
        if (peers->netlink >= 0)
                close(peers->netlink);
        for (size_t i = 0; i < REMEMBERED; i++)
                free(peers->known[i].unit);
        free(peers);
        return NULL;
}

/* Asks the kernel, which answers before send() returns. Older answers, of a question that was interrupted, are dropped. */
static int ask(int netlink, const PeerAddresses *addresses, uint64_t *ret) {
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        uint8_t question[PEER_QUESTION_MAX], answer[ANSWER_MAX];
        ssize_t n;
        int size;

        while (recv(netlink, answer, sizeof(answer), MSG_DONTWAIT) >= 0)
                ;
        size = peer_diag_question(addresses, question);
        if (size < 0)
                return size;
        if (sendto(netlink, question, (size_t) size, 0, (const struct sockaddr *) &kernel, sizeof(kernel)) <
            0)
                return -errno;
        n = recv(netlink, answer, sizeof(answer), MSG_DONTWAIT);
        return n < 0 ? -errno : peer_diag_parse(answer, (size_t) n, addresses, ret);
}

/* No two sockets have the same pair of addresses while one of them is connected. So if the connection still stands after the kernel's
 * answer, the answer was about its peer and not about a later socket with the same port. */
static bool still_stands(int connection) {
        struct tcp_info info = {};
        socklen_t size = sizeof(info);

        return getsockopt(connection, IPPROTO_TCP, TCP_INFO, &info, &size) >= 0 &&
               (info.tcpi_state == STATE_ESTABLISHED || info.tcpi_state == STATE_CLOSE_WAIT);
}

static int peer_cgroup(int netlink, int connection, uint64_t *ret) {
        PeerAddresses addresses = {};
        socklen_t source_size = sizeof(addresses.source), size = sizeof(addresses.destination);
        int r;

        if (getpeername(connection, (struct sockaddr *) &addresses.source, &source_size) < 0 ||
            getsockname(connection, (struct sockaddr *) &addresses.destination, &size) < 0)
                return -errno;
        r = ask(netlink, &addresses, ret);
        return r < 0 ? r : still_stands(connection) ? 0 : -ENOTCONN;
}

int peers_unit(Peers *peers, int connection, const char **ret_unit) {
        _cleanup_free_ char *path = NULL;
        Known *known;
        char *unit;
        uint64_t cgroup;
        int r = peer_cgroup(peers->netlink, connection, &cgroup);

        if (r < 0)
                return r;
        for (size_t i = 0; i < REMEMBERED; i++)
                if (peers->known[i].unit && peers->known[i].cgroup == cgroup) {
                        *ret_unit = peers->known[i].unit;
                        return 0;
                }
        r = cgroup_find(peers->root, cgroup, &path);
        if (r >= 0)
                r = cgroup_unit(path, &unit);
        if (r < 0)
                return r;
        known = peers->known + peers->next;
        peers->next = (peers->next + 1) % REMEMBERED;
        free(known->unit);
        *known = (Known){ .cgroup = cgroup, .unit = unit };
        *ret_unit = unit;
        return 0;
}
