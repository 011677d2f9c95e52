/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/io.h"
#include "unsealctl/ctl.h"
#include "unsealctl/volume/file-system.h"

/* What this program and the machine need beside the file system. */
#define MEMORY_RESERVE (UINT64_C(64) << 20)

#define MEMINFO_MAX (64U * 1024U)

#define OPEN_DIRECTORIES 32

/* nftw() has no argument for the caller's data. */
static struct { uint64_t bytes, inodes; } tree;

static int count_entry(const char *path, const struct stat *st, int kind, struct FTW *place) {
        tree.inodes++;
        if (kind == FTW_F && S_ISREG(st->st_mode))
                tree.bytes += (uint64_t) st->st_size;
        return 0;
}

/* Before the kernel would end some process for lack of memory. */
static int check_memory(const char *directory) {
        _cleanup_free_ uint8_t *meminfo = NULL;
        uint64_t needed, available;
        size_t size;

        tree.bytes = tree.inodes = 0;
        if (nftw(directory, count_entry, OPEN_DIRECTORIES, FTW_PHYS) != 0)
                return failure("Cannot read %s: %s.", directory, strerror(errno));
        if (read_file("/proc/meminfo", MEMINFO_MAX, &meminfo, &size) < 0)
                return 0;
        available = memory_available((const char *) meminfo);
        needed = file_system_estimate(tree.bytes, tree.inodes);
        if (available == 0 || (available > MEMORY_RESERVE && needed <= available - MEMORY_RESERVE))
                return 0;
        (void) failure("The file system of %s needs %" PRIu64 " MiB of memory, and %" PRIu64
                       " MiB are free. Give a file that mkfs.erofs has made, or --temporary=DIR on a disk that is encrypted.",
                       directory, needed >> 20, available >> 20);
        return EXIT_NO_MEMORY;
}

static void warn_swap(void) {
        _cleanup_free_ uint8_t *swaps = NULL;
        size_t size;

        if (read_file("/proc/swaps", MEMINFO_MAX, &swaps, &size) >= 0 &&
            swaps_have_disk((const char *) swaps))
                (void) fputs("unsealctl: This machine has swap on a disk, and parts of the file system may be written there in the clear. If that must not be, switch it off: \"swapoff -a\".\n",
                             stderr);
}

static int open_temporary(const char *temporary, int *ret) {
        int fd = temporary ? open(temporary, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600)
                           : memfd_create("file-system", MFD_CLOEXEC);

        if (fd >= 0) {
                *ret = fd;
                return 0;
        }
        if (temporary)
                return failure("Cannot make a file without a name in %s: %s. Give another directory in --temporary=.",
                               temporary, strerror(errno));
        return failure("Cannot make a file in memory: %s.", strerror(errno));
}

/* The child. It ends with this program, so that it holds no file system any longer. mkfs.erofs reads a path that begins with "-" as an
 * option, so the directory is given as the working directory. */
static _Noreturn void run_mkfs(const char *directory, int fd, pid_t parent) {
        static char program[] = "mkfs.erofs", quiet[] = "--quiet", all_root[] = "--all-root", time[] = "-T0",
                    uuid[] = "-U00000000-0000-0000-0000-000000000000", no_attributes[] = "-x-1",
                    here[] = ".";
        char path[64];
        char *arguments[] = { program, quiet, all_root, time, uuid, no_attributes, path, here, NULL };
        const char *search = getenv("PATH");
        _cleanup_free_ char *wider = NULL;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%i", fd);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || fcntl(fd, F_SETFD, 0) < 0 ||
            chdir(directory) < 0)
                _exit(126);
        /* People who are not root often lack the directories of administrators' programs. */
        if (asprintf(&wider, "%s:/usr/sbin:/sbin", search ?: "/usr/bin:/bin") < 0 ||
            setenv("PATH", wider, 1) < 0)
                _exit(126);
        (void) dup2(STDERR_FILENO, STDOUT_FILENO);
        (void) execvp(program, arguments);
        _exit(127);
}

static int make_erofs(const char *directory, int fd) {
        pid_t parent = getpid(), child = fork();
        int status = 0;

        if (child < 0)
                return failure("Cannot start mkfs.erofs: %s.", strerror(errno));
        if (child == 0)
                run_mkfs(directory, fd, parent);
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return failure("Cannot wait for mkfs.erofs: %s.", strerror(errno));
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                (void) failure("mkfs.erofs is not installed. Install the package erofs-utils, or give a file with a file system.");
        else if (WIFEXITED(status))
                (void) failure("mkfs.erofs cannot make a file system of %s. It ended with status %d; its message is above.",
                               directory, WEXITSTATUS(status));
        else
                (void) failure("mkfs.erofs was ended by signal %d. If that is 9, memory ran out: give --temporary=DIR.",
                               WTERMSIG(status));
        return EXIT_FILE_SYSTEM;
}

static int make_file_system(const char *directory, const char *temporary, int *ret) {
        _cleanup_close_ int fd = -1;
        int r = temporary ? 0 : check_memory(directory);

        if (r != 0)
                return r;
        if (!temporary)
                warn_swap();
        if ((r = open_temporary(temporary, &fd)) != 0 || (r = make_erofs(directory, fd)) != 0)
                return r;
        *ret = TAKE_FD(fd);
        return 0;
}

static int check_kind(int fd, const char *input, FileSystemKind *ret) {
        uint8_t begin[FILE_SYSTEM_BEGIN] = {};
        ssize_t n = pread(fd, begin, sizeof(begin), 0);

        if (n < 0)
                return failure("Cannot read %s: %s.", input, strerror(errno));
        *ret = file_system_kind(begin);
        if (*ret != FILE_SYSTEM_NONE)
                return 0;
        (void) failure("%s is not a file system of EROFS or squashfs. Give such a file, or a directory with the files that the volume is to have.",
                       input);
        return EXIT_FILE_SYSTEM;
}

int file_system_open(const char *input, const char *temporary, FileSystem *ret) {
        _cleanup_close_ int fd = open(input, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        FileSystemKind kind = FILE_SYSTEM_EROFS;
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return failure("Cannot read %s: %s.", input, strerror(errno));
        if (S_ISDIR(st.st_mode)) {
                close(TAKE_FD(fd));
                r = make_file_system(input, temporary, &fd);
        } else if (S_ISREG(st.st_mode))
                r = check_kind(fd, input, &kind);
        else
                r = failure("%s is neither a directory nor a file.", input);
        if (r != 0)
                return r;
        if (fstat(fd, &st) < 0 || st.st_size <= 0)
                return failure("The file system of %s is empty.", input);
        *ret = (FileSystem){ .fd = TAKE_FD(fd), .size = (uint64_t) st.st_size, .kind = kind };
        return 0;
}
