/* SPDX-License-Identifier: Apache-2.0 */

/* Finds facts on the machine itself. It judges nothing and changes nothing: all objects that it makes in the TPM for a
 * document are removed. */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "aws/imds.h"
#include "basic/clock.h"
#include "basic/io.h"
#include "kms/recipient.h"
#include "tpm/nsm.h"
#include "unsealctl/doctor/doctor.h"
#include "vault/store.h"
#include "volume/device-search.h"

#define TEXT_MAX (1024U * 1024U)
#define TPM_PATIENCE_USEC (2 * USEC_PER_SEC)
#define TPM_PAUSE_USEC (100 * USEC_PER_MSEC)

DEFINE_CLEANUP(DIR *, closedir);

char *file_text(const char *path) {
        uint8_t *text;
        size_t size;

        return read_file(path, TEXT_MAX, &text, &size) < 0 ? NULL : (char *) text;
}

static bool has_open(const char *pid, dev_t device) {
        _cleanup_(closedirp) DIR *directory = NULL;
        const struct dirent *entry;
        char path[64];
        struct stat st;

        (void) snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
        directory = opendir(path);
        while (directory && (entry = readdir(directory)))
                if (fstatat(dirfd(directory), entry->d_name, &st, 0) >= 0 && S_ISCHR(st.st_mode) &&
                    st.st_rdev == device)
                        return true;
        return false;
}

/* Finds a process that has the device open, as "unseald (PID 123)". Only root sees the processes of other users. */
static void find_holder(dev_t device, char *ret, size_t size) {
        _cleanup_(closedirp) DIR *directory = opendir("/proc");
        const struct dirent *entry;

        ret[0] = '\0';
        while (directory && (entry = readdir(directory))) {
                _cleanup_free_ char *name = NULL;
                char path[64];

                if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !has_open(entry->d_name, device))
                        continue;
                (void) snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
                name = file_text(path);
                (void) snprintf(ret, size, "%.*s (PID %.20s)", (int) strcspn(name ?: "?", "\n"), name ?: "?",
                                entry->d_name);
                return;
        }
}

static bool find_user(uid_t *ret_uid, gid_t *ret_gid) {
        const struct passwd *user = getpwnam("unseald");

        if (!user)
                return false;
        *ret_uid = user->pw_uid;
        if (ret_gid)
                *ret_gid = user->pw_gid;
        return true;
}

void look_at_device(const char *tcti, DeviceFacts *ret) {
        static const char scheme[] = "device:";
        struct stat st;

        *ret = (DeviceFacts){};
        if (strncmp(tcti, scheme, strlen(scheme)) != 0)
                return;
        ret->path = tcti + strlen(scheme);
        ret->has_user = find_user(&ret->user, &ret->group);
        if (stat(ret->path, &st) < 0) {
                ret->r = -errno;
                return;
        }
        ret->mode = st.st_mode;
        ret->uid = st.st_uid;
        ret->gid = st.st_gid;
        if (S_ISCHR(st.st_mode))
                find_holder(st.st_rdev, ret->holder, sizeof(ret->holder));
}

/* An unseald that is unsealing holds the TPM for a fraction of a second. */
static int open_tpm(const char *tcti, Tpm **ret, Error *error) {
        uint64_t until = now_monotonic_usec() + TPM_PATIENCE_USEC;

        for (;;) {
                int r = tpm_open(tcti, ret, error);

                if (r != -EBUSY || now_monotonic_usec() > until)
                        return r;
                (void) usleep(TPM_PAUSE_USEC);
        }
}

/* The key pair of the recipient is thrown away, so nothing can be decrypted with it. */
static int attest(Tpm *tpm, const Recipient *recipient, TpmFacts *facts) {
        const NsmRequest request = { .public_key = recipient_public_key(recipient) };

        return tpm_attest(tpm, &request, &facts->document, &facts->document_size, &facts->document_error);
}

void visit_tpm(const char *tcti, TpmFacts *facts) {
        const uint32_t pcrs = (UINT32_C(1) << PCR_COUNT) - 1;
        _cleanup_(recipient_freep) Recipient *recipient = NULL;
        uint64_t opened, attested;
        Tpm *tpm = NULL;

        facts->r = recipient_new(2048, &recipient, &facts->error);
        if (facts->r >= 0)
                facts->r = open_tpm(tcti, &tpm, &facts->error);
        if (facts->r < 0)
                return;

        opened = now_monotonic_usec();
        facts->r = tpm_inspect(tpm, &facts->state, &facts->error);
        if (facts->r >= 0) {
                facts->pcrs_r = tpm_read_pcrs(tpm, pcrs, &facts->pcrs, &facts->pcrs_error);
                attested = now_monotonic_usec();
                facts->document_r = attest(tpm, recipient, facts);
                facts->document_usec = now_monotonic_usec() - attested;
        }
        (void) tpm_close(tpm);
        facts->held_usec = now_monotonic_usec() - opened;
}

static bool is_loaded(const char *module) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/sys/module/%s", module);
        for (char *c = path + strlen("/sys/module/"); *c; c++)
                *c = *c == '-' ? '_' : *c;
        return access(path, F_OK) >= 0;
}

static char *modules_text(const char *name) {
        struct utsname kernel;
        char path[128];

        if (uname(&kernel) < 0)
                return NULL;
        (void) snprintf(path, sizeof(path), "/lib/modules/%.64s/%s", kernel.release, name);
        return file_text(path);
}

void look_at_volume(const Volume *volume, VolumeFacts *ret) {
        const char *const modules[] = {
                "dm-crypt",
                volume->unverified ? NULL
                : volume->writable ? "dm-integrity"
                                   : "dm-verity",
                volume->file_system,
                volume->writable && !volume->unverified ? "authenc" : NULL,
        };
        _cleanup_free_ char *builtin = modules_text("modules.builtin"),
                            *dependencies = modules_text("modules.dep");
        char path[DEVICE_PATH_MAX];

        *ret = (VolumeFacts){ .name = volume->name,
                              .root = geteuid() == 0,
                              .unverified = volume->unverified };
        for (size_t i = 0; i < ELEMENTSOF(modules); i++) {
                size_t length = strlen(ret->modules);

                if (!modules[i] || is_loaded(modules[i]) ||
                    kernel_may_have(modules[i], builtin, dependencies))
                        continue;
                (void) snprintf(ret->modules + length, sizeof(ret->modules) - length, "%s%s",
                                length > 0 ? ", " : "", modules[i]);
                ret->missing_modules = ret->modules;
        }
        (void) snprintf(path, sizeof(path), "/dev/mapper/unseald-%s", volume->name);
        ret->open = access(path, F_OK) >= 0;
        if (!ret->open && ret->root)
                (void) device_find(&device_places, &volume->device, path, &ret->device);
}

/* Counts the file systems that are mounted on this very path (proc(5)). */
static unsigned count_mounts(const char *mountinfo, const char *path) {
        size_t length = strlen(path);
        unsigned count = 0;

        for (const char *line = mountinfo; line && *line;
             line = strchr(line, '\n') ?: "", line += *line == '\n') {
                const char *p = line;

                for (unsigned field = 0; field < 4 && p; field++)
                        p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL;
                count += p && strncmp(p, path, length) == 0 && p[length] == ' ';
        }
        return count;
}

void look_at_store(const char *path, StoreFacts *ret) {
        _cleanup_free_ char *mountinfo = file_text("/proc/self/mountinfo");
        struct stat st;

        *ret = (StoreFacts){ .path = path, .root = geteuid() == 0, .mounts = count_mounts(mountinfo, path) };
        ret->has_user = find_user(&ret->user, NULL);
        if (stat(path, &st) < 0) {
                ret->r = error_set(&ret->error, -errno, FAILURE_STORE, "It cannot be looked at: %m.");
                return;
        }
        ret->mode = st.st_mode;
        ret->uid = st.st_uid;
        ret->r = store_check_memory(path, &ret->error);
}

/* The options of the root file system, if the file is on it and it is an overlay; else NULL. */
static char *root_overlay_options(const char *path) {
        _cleanup_free_ char *mountinfo = file_text("/proc/self/mountinfo");
        struct statx file, root;
        char *options = NULL;
        struct statfs fs;

        if (statfs("/", &fs) < 0 || (unsigned long) fs.f_type != OVERLAYFS_SUPER_MAGIC || !mountinfo ||
            statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &root) < 0 ||
            statx(AT_FDCWD, path, 0, STATX_MNT_ID, &file) < 0 || !(root.stx_mask & STATX_MNT_ID) ||
            root.stx_mnt_id != file.stx_mnt_id)
                return NULL;
        return store_mountinfo_options(mountinfo, root.stx_mnt_id, &options) < 0 ? NULL : options;
}

static bool is_read_only(const char *path) {
        struct statvfs st;

        return statvfs(path, &st) >= 0 && st.f_flag & ST_RDONLY;
}

/* What is not certain counts as writable: several lower layers, layers that this process does not see, names with a backslash. */
KeyPlace look_at_key(const char *path) {
        _cleanup_free_ char *real = realpath(path, NULL), *options = NULL, *lower = NULL, *upper = NULL,
                            *changed = NULL;
        struct statfs fs;

        if (is_read_only(path))
                return KEY_READ_ONLY;
        options = real ? root_overlay_options(real) : NULL;
        if (!options || mount_option(options, "lowerdir", &lower) < 0 ||
            mount_option(options, "upperdir", &upper) < 0 || !is_read_only(lower) ||
            statfs(upper, &fs) < 0 ||
            ((unsigned long) fs.f_type != TMPFS_MAGIC && (unsigned long) fs.f_type != RAMFS_MAGIC) ||
            asprintf(&changed, "%s%s", upper, real) < 0)
                return KEY_WRITABLE;
        return faccessat(AT_FDCWD, changed, F_OK, AT_SYMLINK_NOFOLLOW) >= 0 ? KEY_CHANGED
               : errno == ENOENT || errno == ENOTDIR                        ? KEY_IN_IMAGE
                                                                            : KEY_WRITABLE;
}

/* A line of /proc/net/unix is "…: 00000002 00000000 00010000 0001 01 INODE PATH". The fourth field has the flag of a
 * listener. */
static bool is_listening(const char *sockets, const char *path) {
        size_t length = strlen(path);

        for (const char *line = sockets; line && *line;
             line = strchr(line, '\n') ?: "", line += *line == '\n') {
                unsigned long flags = 0;
                size_t end = strcspn(line, "\n");

                if (end > length && strncmp(line + end - length, path, length) == 0 &&
                    line[end - length - 1] == ' ' && sscanf(line, "%*s %*s %*s %lx", &flags) == 1 &&
                    flags & 0x10000)
                        return true;
        }
        return false;
}

void look_at_socket(const char *path, SocketFacts *ret) {
        _cleanup_free_ char *sockets = file_text("/proc/net/unix");
        struct stat st;

        *ret = (SocketFacts){ .path = path, .listening = is_listening(sockets, path) };
        ret->has_user = find_user(&ret->user, NULL);
        if (lstat(path, &st) < 0) {
                ret->r = -errno;
                return;
        }
        ret->mode = st.st_mode;
        ret->uid = st.st_uid;
}

/* proc_net_tcp(5): the local address in the machine's order of bytes, the port, any remote one, and the state 0A, TCP_LISTEN. */
bool look_at_port(unsigned port) {
        _cleanup_free_ char *sockets = file_text("/proc/net/tcp");
        char wanted[64];

        (void) snprintf(wanted, sizeof(wanted), " %08X:%04X 00000000:0000 0A ",
                        (unsigned) htonl(INADDR_LOOPBACK), port);
        return sockets && strstr(sockets, wanted);
}

bool is_contained(void) {
        struct stat own, first;

        return access("/run/systemd/container", F_OK) >= 0 || access("/.dockerenv", F_OK) >= 0 ||
               (stat("/proc/self/ns/net", &own) >= 0 && stat("/proc/1/ns/net", &first) >= 0 &&
                (own.st_ino != first.st_ino || own.st_dev != first.st_dev));
}

/* Connecting a UDP socket sends nothing. It only asks the kernel for a route. */
static bool has_route(const struct sockaddr *address, socklen_t size) {
        _cleanup_close_ int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return fd >= 0 && (connect(fd, address, size) >= 0 || errno != ENETUNREACH);
}

bool imds_has_no_ipv4_route(void) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };

        (void) inet_pton(AF_INET, IMDS_ADDRESS + strlen("http://"), &address.sin_addr);
        return !has_route((const struct sockaddr *) &address, sizeof(address));
}

void resolve_names(const char *host, NamesFacts *ret) {
        const struct addrinfo wanted = { .ai_socktype = SOCK_STREAM };
        struct addrinfo *found = NULL;

        *ret = (NamesFacts){ .host = host };
        ret->error = getaddrinfo(host, NULL, &wanted, &found);
        ret->unrouted = ret->error == 0;
        for (const struct addrinfo *a = found; a && ret->n_addresses < ELEMENTSOF(ret->addresses);
             a = a->ai_next) {
                ret->unrouted = ret->unrouted && !has_route(a->ai_addr, a->ai_addrlen);
                if (getnameinfo(a->ai_addr, a->ai_addrlen, ret->addresses[ret->n_addresses],
                                sizeof(ret->addresses[0]), NULL, 0, NI_NUMERICHOST) == 0)
                        ret->n_addresses++;
        }
        if (ret->error == 0)
                freeaddrinfo(found);
}
