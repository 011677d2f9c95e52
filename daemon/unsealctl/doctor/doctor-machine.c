/* SPDX-License-Identifier: Apache-2.0 */

/* Finds facts on the machine itself. It judges nothing and changes nothing: all objects that it makes in the TPM for a
 * document are removed. */

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "kms/recipient.h"
#include "tpm/nsm.h"
#include "unsealctl/doctor/doctor.h"
#include "vault/store.h"

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

bool is_contained(void) {
        struct stat own, first;

        return access("/run/systemd/container", F_OK) >= 0 || access("/.dockerenv", F_OK) >= 0 ||
               (stat("/proc/self/ns/net", &own) >= 0 && stat("/proc/1/ns/net", &first) >= 0 &&
                (own.st_ino != first.st_ino || own.st_dev != first.st_dev));
}

void resolve_names(const char *host, NamesFacts *ret) {
        const struct addrinfo wanted = { .ai_socktype = SOCK_STREAM };
        struct addrinfo *found = NULL;

        *ret = (NamesFacts){ .host = host };
        ret->error = getaddrinfo(host, NULL, &wanted, &found);
        for (const struct addrinfo *a = found; a && ret->n_addresses < ELEMENTSOF(ret->addresses);
             a = a->ai_next)
                if (getnameinfo(a->ai_addr, a->ai_addrlen, ret->addresses[ret->n_addresses],
                                sizeof(ret->addresses[0]), NULL, 0, NI_NUMERICHOST) == 0)
                        ret->n_addresses++;
        if (ret->error == 0)
                freeaddrinfo(found);
}
