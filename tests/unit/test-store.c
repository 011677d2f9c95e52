/* SPDX-License-Identifier: Apache-2.0 */

/* Mounts file systems in a mount namespace of its own. Without root, only the pure parts are tested. */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/io.h"
#include "vault/store.h"

#define STORE "store"

/* The actions of the store. The functions below, which replace the C library's, record them. */
static size_t wiped;
static mode_t mode_at_group;
static gid_t group_at_owner;

/* Between begin_failing() and end_failing(), the call of this number fails with EIO. */
static struct {
        bool armed;
        unsigned calls, failing_call;
} failing;

static void begin_failing(unsigned call) {
        failing.armed = true;
        failing.calls = 0;
        failing.failing_call = call;
}

/* Returns whether a call has failed. */
static bool end_failing(void) {
        failing.armed = false;
        return failing.calls >= failing.failing_call;
}

static bool fails(void) {
        if (!failing.armed || ++failing.calls != failing.failing_call)
                return false;
        errno = EIO;
        return true;
}

int open(const char *path, int flags, ...) {
        va_list arguments;
        mode_t mode;

        va_start(arguments, flags);
        mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
        va_end(arguments);
        return fails() ? -1 : (int) syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
        va_list arguments;
        mode_t mode;

        va_start(arguments, flags);
        mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
        va_end(arguments);
        return fails() ? -1 : (int) syscall(SYS_openat, directory, path, flags, mode);
}

int fstat(int fd, struct stat *ret) {
        assert_int_not_equal(fd, STDIN_FILENO);
        return fails() ? -1 : (int) syscall(SYS_fstat, fd, ret);
}

int fstatat(int directory, const char *restrict path, struct stat *restrict ret, int flags) {
        return fails() ? -1 : (int) syscall(SYS_newfstatat, directory, path, ret, flags);
}

int fstatfs(int fd, struct statfs *ret) {
        return fails() ? -1 : (int) syscall(SYS_fstatfs, fd, ret);
}

DIR *fdopendir(int fd) {
        return fails() ? NULL : ((typeof(&fdopendir)) dlsym(RTLD_NEXT, "fdopendir"))(fd);
}

struct dirent *readdir(DIR *directory) {
        return fails() ? NULL : ((typeof(&readdir)) dlsym(RTLD_NEXT, "readdir64"))(directory);
}

ssize_t getrandom(void *data, size_t size, unsigned flags) {
        return fails() ? -1 : syscall(SYS_getrandom, data, size, flags);
}

static size_t write_most = SIZE_MAX; /* how many bytes write() takes at a time */

ssize_t write(int fd, const void *data, size_t size) {
        return fails() ? -1 : syscall(SYS_write, fd, data, size < write_most ? size : write_most);
}

static bool shrinks; /* a file is truncated before it is read */

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
        if (shrinks)
                assert_int_equal(ftruncate(fd, 5), 0);
        return fails() ? -1 : syscall(SYS_pread64, fd, data, size, offset);
}

int fchmod(int fd, mode_t mode) {
        return fails() ? -1 : (int) syscall(SYS_fchmod, fd, mode);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
        int r = fails() ? -1 : (int) syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);

        errno = r < 0 ? errno : ENOTTY; /* a call that succeeds may change it */
        return r;
}

int unlinkat(int directory, const char *path, int flags) {
        int r = fails() ? -1 : (int) syscall(SYS_unlinkat, directory, path, flags);

        errno = r < 0 ? errno : ENOTTY;
        return r;
}

static int wipe_error;              /* what pwrite() fails with, once if it is EINTR; 0: nothing */
static size_t wipe_most = SIZE_MAX; /* how many bytes pwrite() takes at a time */

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
        if (wipe_error != 0) {
                errno = wipe_error;
                wipe_error = wipe_error == EINTR ? 0 : wipe_error;
                return -1;
        }
        if (size > wipe_most)
                size = wipe_most;
        if (size > 0 && *(const uint8_t *) data != 0) /* a draft is written */
                return syscall(SYS_pwrite64, fd, data, size, offset);
        for (size_t i = 0; i < size; i++)
                assert_int_equal(((const uint8_t *) data)[i], 0);
        wiped += size;
        return syscall(SYS_pwrite64, fd, data, size, offset);
}

int fchown(int fd, uid_t uid, gid_t gid) {
        struct stat st;

        assert_int_equal(syscall(SYS_fstat, fd, &st), 0);
        if (fails())
                return -1;
        if (gid != (gid_t) -1)
                mode_at_group = st.st_mode & 07777;
        if (uid != (uid_t) -1)
                group_at_owner = st.st_gid;
        return (int) syscall(SYS_fchown, fd, uid, gid);
}

static int set_up_namespace(void **state) {
        static char directory[64];

        (void) snprintf(directory, sizeof(directory), "/var/tmp/unseald-test-store-XXXXXX");
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
        _cleanup_free_ char *command = NULL;

        if (chdir("/") < 0 || asprintf(&command, "rm -rf '%s'", (char *) *state) < 0)
                return -1;
        return system(command);
}

/* The store of the units: ramfs, or tmpfs where the kernel has noswap. */
static const char *file_system = "ramfs", *file_system_options = "mode=0755";

static int set_up_store(void **state) {
        wiped = 0;
        return mount(file_system, STORE, file_system, MS_NOSUID | MS_NODEV | MS_NOEXEC, file_system_options);
}

static int tear_down(void **state) {
        return umount2(STORE, MNT_DETACH);
}

static Store *open_store(void) {
        Error error = { 0 };
        Store *store = NULL;

        if (store_open(STORE, &store, &error) < 0)
                fail_msg("%s", error.text);
        return store;
}

static void assert_refused(const char *path, int wanted, const char *hint) {
        Error error = { 0 };
        Store *store = NULL;

        int r = store_open(path, &store, &error);
        if (r != wanted)
                fail_msg("%s: %d, not %d: %s", path, r, wanted, error.text);
        assert_null(store);
        assert_int_equal(error.failure, FAILURE_STORE);
        if (!strstr(error.text, hint))
                fail_msg("no '%s' in: %s", hint, error.text);
}

static Secret *secret_of(const void *data, size_t size) {
        Secret *secret = NULL;

        assert_int_equal(secret_new(size, &secret), 0);
        memcpy(secret_bytes(secret), data, size);
        return secret;
}

/* Prepares and publishes a file, and closes it. */
static int store_put(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode,
                     Error *error) {
        _cleanup_close_ int fd = -1;

        int r = store_prepare(store, name, secret, uid, gid, mode, &fd, error);
        return r < 0 ? r : store_publish(store, name, fd, error);
}

static void put(Store *store, const char *name, const char *text) {
        _cleanup_secret_ Secret *secret = secret_of(text, strlen(text));
        Error error = { 0 };

        if (store_put(store, name, secret, (uid_t) -1, (gid_t) -1, 0400, &error) < 0)
                fail_msg("%s", error.text);
}

static void assert_content(const char *path, const char *text) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        assert_int_equal(read_file(path, SECRET_SIZE_MAX, &bytes, &size), 0);
        assert_string_equal((char *) bytes, text);
        assert_int_equal(size, strlen(text));
}

static void create_file(const char *path, const char *text, mode_t mode) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void assert_entries(unsigned wanted) {
        DIR *directory = opendir(STORE);
        unsigned n = 0;

        assert_non_null(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        closedir(directory);
        assert_int_equal(n, wanted);
}

static void test_only_ramfs_and_noswap_are_memory(void **state) {
        assert_true(store_file_system_is_memory(RAMFS_MAGIC, NULL));
        assert_true(store_file_system_is_memory(RAMFS_MAGIC, "rw"));
        assert_true(store_file_system_is_memory(TMPFS_MAGIC, "noswap"));
        assert_true(store_file_system_is_memory(TMPFS_MAGIC, "rw,size=1024k,noswap"));
        assert_true(store_file_system_is_memory(TMPFS_MAGIC, "rw,noswap,mode=755"));

        assert_false(store_file_system_is_memory(TMPFS_MAGIC, NULL));
        assert_false(store_file_system_is_memory(TMPFS_MAGIC, ""));
        assert_false(store_file_system_is_memory(TMPFS_MAGIC, "rw,size=1024k"));
        assert_false(store_file_system_is_memory(TMPFS_MAGIC, "rw,noswap=0"));
        assert_false(store_file_system_is_memory(TMPFS_MAGIC, "rw,nonoswap,noswapping,xnoswap"));
        assert_false(store_file_system_is_memory(EXT4_SUPER_MAGIC, "rw,noswap"));
        assert_false(store_file_system_is_memory(OVERLAYFS_SUPER_MAGIC, "noswap"));
        assert_false(store_file_system_is_memory(0, "noswap"));
        assert_false(store_file_system_is_memory(-1, "noswap"));
}

static void test_the_options_are_those_of_the_mount_with_this_id(void **state) {
        static const char mountinfo[] =
                        "22 28 0:20 / /sys rw,nosuid - sysfs sysfs rw\n"
                        "28 1 259:1 / / rw,noatime shared:1 - ext4 /dev/root rw,errors=remount-ro\n"
                        "128 28 0:50 / /with\\040-\\040blank rw,noswap shared:5 master:2 propagate_from:3 - "
                        "tmpfs none rw,size=4k\n"
                        "12 28 0:51 /sub /run/unseald rw - tmpfs  rw,noswap\n"
                        "8 28 0:52 / /last rw - ramfs ramfs rw";
        static const struct {
                uint64_t id;
                const char *options;
        } cases[] = {
                { 22, "rw" },          { 28, "rw,errors=remount-ro" },
                { 128, "rw,size=4k" }, { 12, "rw,noswap" }, /* no source */
                { 8, "rw" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *options = NULL;
                assert_int_equal(store_mountinfo_options(mountinfo, cases[i].id, &options), 0);
                assert_string_equal(options, cases[i].options);
        }

        static const uint64_t absent[] = { 0, 1, 2, 259, 1288, UINT64_MAX };
        char *options = NULL;
        for (size_t i = 0; i < ELEMENTSOF(absent); i++)
                assert_int_equal(store_mountinfo_options(mountinfo, absent[i], &options), -ENOENT);
        assert_int_equal(store_mountinfo_options("", 1, &options), -ENOENT);
        assert_int_equal(store_mountinfo_options("\n\n", 1, &options), -ENOENT);
        assert_null(options);
}

static void test_the_options_are_those_of_the_device(void **state) {
        static const char mountinfo[] = "22 28 0:20 / /sys rw - sysfs sysfs rw\n"
                                        "0:7 28 0:77 / /0:7 rw - tmpfs 0:7 rw,no\n"
                                        "23 28 0:7 /sub /one rw shared:5 - tmpfs none rw,noswap\n"
                                        "24 28 0:7 / /two rw - tmpfs none rw,second\n"
                                        "25 28 259:1 / / rw - ext4 /dev/root rw";
        _cleanup_free_ char *first = NULL, *last = NULL;
        char *options = NULL;

        assert_int_equal(store_mountinfo_device_options(mountinfo, makedev(0, 7), &first), 0);
        assert_string_equal(first, "rw,noswap");
        assert_int_equal(store_mountinfo_device_options(mountinfo, makedev(259, 1), &last), 0);
        assert_string_equal(last, "rw");

        assert_int_equal(store_mountinfo_device_options(mountinfo, makedev(0, 2), &options), -ENOENT);
        assert_int_equal(store_mountinfo_device_options(mountinfo, makedev(59, 1), &options), -ENOENT);
        assert_int_equal(store_mountinfo_device_options("", makedev(0, 7), &options), -ENOENT);
        assert_int_equal(store_mountinfo_device_options("23 28\n23\n\n23 28 0:7", makedev(0, 7), &options),
                         -ENOENT);
        assert_int_equal(store_mountinfo_device_options("23 28 0:7 / / rw", makedev(0, 7), &options),
                         -EBADMSG);
        assert_null(options);
}

static void test_broken_mountinfo_is_refused(void **state) {
        static const char *const wrong[] = {
                "5 ",
                "5 1 0:1 / / rw",
                "5 1 0:1 / / rw\n6 1 0:1 / / rw - tmpfs none rw,noswap",
                "5 1 0:1 / / rw -\n",
                "5 1 0:1 / / rw - ",
                "5 1 0:1 / / rw - tmpfs",
                "5 1 0:1 / / rw - tmpfs none\n6 noswap",
                "5 1 0:1 / / rw - tmpfs \n none rw,noswap",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char *options = NULL;
                if (store_mountinfo_options(wrong[i], 5, &options) != -EBADMSG)
                        fail_msg("'%s' was read", wrong[i]);
                assert_null(options);
        }
}

static void test_the_store_of_the_units_is_accepted(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        assert_non_null(store);
        assert_null(store_free(NULL));
}

static void test_tmpfs_is_accepted_only_with_noswap(void **state) {
        /* The word noswap in places other than the options of the file system. */
        assert_int_equal(mount("rw,noswap", STORE, "tmpfs", 0, "mode=0755"), 0);
        assert_refused(STORE, -EMEDIUMTYPE, "noswap");
        assert_int_equal(mkdir(STORE "/noswap", 0755), 0);
        assert_refused(STORE "/noswap", -EMEDIUMTYPE, "ramfs");
        assert_int_equal(umount(STORE), 0);

        if (mount("none", STORE, "tmpfs", 0, "mode=0755,noswap") < 0) {
                print_message("SKIPPED: this kernel's tmpfs has no noswap (%s)\n", strerror(errno));
                return;
        }
        _cleanup_(store_freep) Store *store = open_store();
        put(store, "name", "secret");
        assert_content(STORE "/name", "secret");

        /* A second mount of the file system has another ID and the same options. */
        assert_int_equal(mkdir("bind", 0755), 0);
        assert_int_equal(mount(STORE, "bind", "none", MS_BIND, NULL), 0);
        _cleanup_(store_freep) Store *bound = NULL;
        assert_int_equal(store_open("bind", &bound, NULL), 0);
        assert_int_equal(umount2("bind", MNT_DETACH), 0);
        assert_int_equal(umount2(STORE, MNT_DETACH), 0);
}

static void test_a_disk_is_refused(void **state) {
        assert_refused(STORE, -EMEDIUMTYPE, "not memory");
        assert_refused("/proc", -EMEDIUMTYPE, "not memory");
}

static void test_a_path_that_is_not_a_directory_is_refused(void **state) {
        create_file(STORE "/file", "", 0644);
        assert_int_equal(mkdir(STORE "/directory", 0755), 0);
        assert_int_equal(symlink("directory", STORE "/link"), 0);

        assert_refused(STORE "/absent", -ENOENT, "ramfs");
        assert_refused(STORE "/file", -ENOTDIR, "must be a directory");
        assert_refused(STORE "/link", -ENOTDIR, "not a symbolic link");
}

static void test_a_directory_that_others_can_write_is_refused(void **state) {
        assert_int_equal(chmod(STORE, 0775), 0);
        assert_refused(STORE, -EPERM, "0775");
        assert_int_equal(chmod(STORE, 01757), 0);
        assert_refused(STORE, -EPERM, "1757");
        assert_int_equal(chmod(STORE, 0755), 0);
        assert_int_equal(chown(STORE, 1234, 0), 0);
        assert_refused(STORE, -EPERM, "1234");
}

static void test_a_secret_becomes_a_file_with_owner_and_mode(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("Hello\0World", 11), *empty = secret_of("", 0);
        _cleanup_free_ uint8_t *bytes = NULL;
        struct stat st;
        size_t size;

        (void) umask(0);
        assert_int_equal(store_put(store, "db-password_1.txt", secret, 1234, 5678, 0440, NULL), 0);
        (void) umask(022);
        assert_int_equal(mode_at_group, 0);
        assert_int_equal(group_at_owner, 5678);

        assert_int_equal(stat(STORE "/db-password_1.txt", &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0440);
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 5678);
        assert_int_equal(read_file(STORE "/db-password_1.txt", 100, &bytes, &size), 0);
        assert_int_equal(size, 11);
        assert_memory_equal(bytes, "Hello\0World", 11);

        assert_int_equal(store_put(store, "empty", empty, (uid_t) -1, (gid_t) -1, 0, NULL), 0);
        assert_int_equal(stat(STORE "/empty", &st), 0);
        assert_int_equal(st.st_mode, S_IFREG);
        assert_int_equal(st.st_uid, geteuid());
        assert_int_equal(st.st_gid, getegid());
        assert_entries(2);
}

static void test_a_removed_secret_is_wiped(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        char large[10001];

        memset(large, 'x', 10000);
        large[10000] = '\0';
        put(store, "name", large);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_int_equal(wiped, 10000);
        assert_entries(0);
}

static void test_a_wipe_goes_on_after_a_signal_and_ends_at_a_failure(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        put(store, "name", "secret");
        wipe_error = EINTR;
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_int_equal(wiped, 6);

        put(store, "name", "secret");
        wipe_error = EIO;
        alarm(20);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        alarm(0);
        wipe_error = 0;
        assert_int_equal(wiped, 6);
        assert_entries(0);
}

static void test_a_wipe_goes_on_after_few_bytes_and_ends_after_none(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        put(store, "name", "secret");
        wipe_most = 4;
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_int_equal(wiped, 6);

        put(store, "name", "secret");
        wipe_most = 0;
        errno = EINTR;
        alarm(20);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        alarm(0);
        wipe_most = SIZE_MAX;
        assert_int_equal(wiped, 6);
        assert_entries(0);
}

static void test_a_reader_of_a_removed_secret_still_gets_all_of_it(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        char text[16] = "";

        put(store, "name", "old secret");
        _cleanup_close_ int reader = open(STORE "/name", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(reader, text, 4), 4);
        put(store, "name", "new secret");
        assert_int_equal(read(reader, text + 4, 10), 6);
        assert_string_equal(text, "old secret");
        assert_content(STORE "/name", "new secret");

        _cleanup_close_ int other = open(STORE "/name", O_RDONLY | O_CLOEXEC);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_int_equal(pread(other, text, 10, 0), 10);
        assert_string_equal(text, "new secret");
        assert_int_equal(wiped, 0);
}

static void test_names_that_credentials_cannot_have_are_refused(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("x", 1);
        static const char *const wrong[] = {
                "",        ".",        "..",
                ".hidden", "a/b",      "/etc/passwd",
                "../a",    "a b",      "a\nb",
                "a:b",     "\xc3\xa9", "a234567890123456789012345678901234567890123456789012345678901234x",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                Error error = { 0 };
                assert_int_equal(store_put(store, wrong[i], secret, 0, 0, 0400, &error), -EINVAL);
                assert_int_equal(error.failure, FAILURE_STORE);
        }
        assert_int_equal(store_put(store, "name", secret, 0, 0, 04400, NULL), -EINVAL);
        assert_int_equal(store_put(store, "name", secret, 0, 0, S_IFREG | 0400, NULL), -EINVAL);
        assert_entries(0);

        put(store, "a23456789012345678901234567890123456789012345678901234567890123x", "64 characters");
        assert_entries(1);
}

static int prepare(Store *store, const char *name, const char *text) {
        _cleanup_secret_ Secret *secret = secret_of(text, strlen(text));
        Error error = { 0 };
        int fd;

        if (store_prepare(store, name, secret, 1234, 5678, 0440, &fd, &error) < 0)
                fail_msg("%s", error.text);
        return fd;
}

static ino_t inode(const char *path) {
        struct stat st;

        assert_int_equal(lstat(path, &st), 0);
        return st.st_ino;
}

static void test_a_prepared_secret_is_hidden_until_it_is_published(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = prepare(store, "name", "secret");

        assert_int_equal(access(STORE "/name", F_OK), -1);
        assert_entries(1);
        assert_int_equal(store_publish(store, "name", fd, NULL), 0);
        assert_content(STORE "/name", "secret");
        assert_entries(1);

        /* Publishing again changes nothing. */
        ino_t before = inode(STORE "/name");
        assert_int_equal(store_publish(store, "name", fd, NULL), 0);
        assert_int_equal(inode(STORE "/name"), before);
}

static void test_a_prepared_secret_takes_the_place_of_the_old_one(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        put(store, "name", "old");
        _cleanup_close_ int fd = prepare(store, "name", "new");
        assert_content(STORE "/name", "old");
        assert_int_equal(store_publish(store, "name", fd, NULL), 0);
        assert_content(STORE "/name", "new");
        assert_entries(1);
}

static void test_a_file_without_a_name_cannot_be_published(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = prepare(store, "name", "secret");

        assert_true(store_can_publish(store, "name", fd, 1234, 5678, 0440));
        assert_int_equal(store_publish(store, "name", fd, NULL), 0);
        assert_true(store_can_publish(store, "name", fd, 1234, 5678, 0440));
        assert_int_equal(unlink(STORE "/name"), 0);
        assert_false(store_can_publish(store, "name", fd, 1234, 5678, 0440));
        assert_int_equal(store_publish(store, "name", fd, NULL), -ENOENT);

        /* Another file of the same name cannot be published either. */
        put(store, "name", "secret");
        assert_false(store_can_publish(store, "name", fd, 1234, 5678, 0440));
        assert_false(store_can_publish(store, "name", -1, 1234, 5678, 0440));
}

static void rename_hidden(const char *name) {
        DIR *directory = opendir(STORE);
        const struct dirent *entry;
        char from[300], to[300];

        assert_non_null(directory);
        do
                assert_non_null(entry = readdir(directory));
        while (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
        (void) snprintf(from, sizeof(from), STORE "/%s", entry->d_name);
        (void) snprintf(to, sizeof(to), STORE "/%s", name);
        closedir(directory);
        assert_int_equal(rename(from, to), 0);
}

/* .NAME.RANDOM: 64 characters of the longest name and 16 digits. */
static void test_a_hidden_name_that_is_too_long_is_not_published(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = prepare(store, "name", "secret");
        char name[1 + 64 + 1 + 16 + 2] = ".name.";

        memset(name + 6, 'x', sizeof(name) - 7);
        rename_hidden(name);
        assert_false(store_can_publish(store, "name", fd, 1234, 5678, 0440));
        assert_int_equal(store_publish(store, "name", fd, NULL), -ENOENT);
        name[sizeof(name) - 2] = '\0';
        rename_hidden(name);
        assert_true(store_can_publish(store, "name", fd, 1234, 5678, 0440));
        assert_int_equal(store_publish(store, "name", fd, NULL), 0);
        assert_content(STORE "/name", "secret");
}

static void test_a_file_with_another_owner_or_mode_cannot_be_published(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = prepare(store, "name", "secret");

        assert_false(store_can_publish(store, "name", fd, 0, 5678, 0440));
        assert_false(store_can_publish(store, "name", fd, 1234, 0, 0440));
        assert_false(store_can_publish(store, "name", fd, 1234, 5678, 0400));
        assert_true(store_can_publish(store, "name", fd, 1234, 5678, 0440));
}

static void test_an_obstacle_to_publishing_is_reported(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = prepare(store, "name", "secret");
        Error error = { 0 };

        assert_int_equal(mkdir(STORE "/name", 0755), 0);
        assert_int_equal(store_publish(store, "name", fd, &error), -EISDIR);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_int_equal(store_publish(store, ".name", fd, &error), -EINVAL);
}

static void test_a_held_secret_has_no_name(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("Hello\0World", 11), *read_back = NULL;
        _cleanup_close_ int fd = -1;

        assert_int_equal(store_hold(store, secret, &fd, NULL), 0);
        assert_entries(0);
        assert_true(store_trusts(store, fd));
        assert_int_equal(store_read(fd, &read_back), 0);
        assert_int_equal(secret_size(read_back), 11);
        assert_memory_equal(secret_bytes(read_back), "Hello\0World", 11);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 11);
}

static void test_a_file_that_is_too_large_is_not_read(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *empty = secret_of("", 0), *read_back = NULL;
        _cleanup_close_ int fd = -1;

        assert_int_equal(store_hold(store, empty, &fd, NULL), 0);
        assert_int_equal(store_read(fd, &read_back), 0);
        assert_int_equal(secret_size(read_back), 0);
        read_back = secret_free(read_back);
        assert_int_equal(ftruncate(fd, SECRET_SIZE_MAX + 1), 0);
        assert_int_equal(store_read(fd, &read_back), -EFBIG);
        assert_null(read_back);
        assert_int_equal(ftruncate(fd, SECRET_SIZE_MAX), 0);
        assert_int_equal(store_read(fd, &read_back), 0);
        assert_int_equal(secret_size(read_back), SECRET_SIZE_MAX);
}

static void test_only_files_in_memory_are_trusted(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        create_file("on-disk", "", 0644);
        _cleanup_close_ int disk = open("on-disk", O_RDWR | O_CLOEXEC);
        assert_int_equal(unlink("on-disk"), 0);
        assert_false(store_trusts(store, disk));
        _cleanup_close_ int directory = open(STORE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_false(store_trusts(store, directory));
        _cleanup_close_ int shm = memfd_create("memory-that-swaps", MFD_CLOEXEC);
        assert_false(store_trusts(store, shm));
        assert_false(store_trusts(store, -1));
}

/* What stands in place of the store when it has been mounted anew, while the service manager keeps files of the old one. */
static void test_a_tmpfs_that_can_be_swapped_is_not_trusted(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        assert_int_equal(mkdir("elsewhere", 0755), 0);
        assert_int_equal(mount("tmpfs", "elsewhere", "tmpfs", 0, "mode=0755"), 0);
        _cleanup_close_ int fd = open("elsewhere/name", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_false(store_trusts(store, fd));
        assert_int_equal(umount2("elsewhere", MNT_DETACH), 0);
        assert_int_equal(rmdir("elsewhere"), 0);
}

static void test_the_store_before_is_trusted(void **state) {
        Store *before = open_store();
        _cleanup_secret_ Secret *secret = secret_of("secret", 6), *read_back = NULL;
        _cleanup_close_ int fd = -1;

        assert_int_equal(store_hold(before, secret, &fd, NULL), 0);
        before = store_free(before);
        assert_int_equal(umount2(STORE, MNT_DETACH), 0);
        assert_int_equal(set_up_store(state), 0);

        _cleanup_(store_freep) Store *store = open_store();
        assert_true(store_trusts(store, fd));
        assert_int_equal(store_read(fd, &read_back), 0);
        assert_memory_equal(secret_bytes(read_back), "secret", 6);
}

static void test_only_the_files_themselves_are_retained(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int hidden = prepare(store, "hidden", "secret"), withdrawn = -1, replaced = -1,
                            kept = -1;
        const char *names[] = { "withdrawn", "replaced", "kept" };
        int *fds[] = { &withdrawn, &replaced, &kept };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                *fds[i] = prepare(store, names[i], "secret");
                assert_int_equal(store_publish(store, names[i], *fds[i], NULL), 0);
        }
        assert_int_equal(unlink(STORE "/replaced"), 0);
        create_file(STORE "/replaced", "evil", 0444);

        assert_int_equal(store_retain(store,
                                      (const StoreFile[]){ { NULL, hidden },
                                                           { NULL, withdrawn },
                                                           { "replaced", replaced },
                                                           { "kept", kept },
                                                           { "absent", -ENOENT } },
                                      5, NULL),
                         0);
        assert_entries(2);
        assert_content(STORE "/kept", "secret");
        assert_int_equal(store_publish(store, "hidden", hidden, NULL), 0);
        assert_content(STORE "/hidden", "secret");
}

static void test_planted_links_are_not_followed(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        struct stat st;

        create_file("outside", "precious", 0644);
        assert_int_equal(symlink("../outside", STORE "/put"), 0);
        assert_int_equal(symlink("../outside", STORE "/retained"), 0);
        assert_int_equal(symlink("../absent", STORE "/dangling"), 0);

        put(store, "put", "secret");
        put(store, "dangling", "secret");
        assert_int_equal(lstat(STORE "/put", &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_entries(0);

        assert_content("outside", "precious");
        assert_int_equal(access("absent", F_OK), -1);
        /* Only the secrets that replaced links are wiped. */
        assert_int_equal(wiped, 2 * strlen("secret"));
        assert_int_equal(unlink("outside"), 0);
}

static void test_a_file_that_has_another_name_is_not_wiped(void **state) {
        _cleanup_(store_freep) Store *store = open_store();

        assert_int_equal(mkdir(STORE "/elsewhere", 0755), 0);
        create_file(STORE "/elsewhere/file", "precious", 0644);
        assert_int_equal(link(STORE "/elsewhere/file", STORE "/name"), 0);
        assert_int_equal(store_retain(store, NULL, 0, NULL), -EISDIR); /* the directory itself */
        assert_content(STORE "/elsewhere/file", "precious");
}

static void test_files_of_a_killed_process_are_removed_and_wiped(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = prepare(store, "kept", "secret");

        assert_int_equal(store_publish(store, "kept", fd, NULL), 0);
        put(store, "forgotten", "1234567");
        create_file(STORE "/.kept.0123456789abcdef", "half a sec", 0);
        create_file(STORE "/.strange", "", 0644);
        assert_int_equal(mkfifo(STORE "/pipe", 0644), 0);

        alarm(20);
        assert_int_equal(store_retain(store, (const StoreFile[]){ { "kept", fd } }, 1, NULL), 0);
        alarm(0);
        assert_entries(1);
        assert_content(STORE "/kept", "secret");
        assert_int_equal(wiped, 7 + 10);

        /* A file that is open is not overwritten. */
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_entries(0);
        assert_int_equal(wiped, 7 + 10);
}

static void test_an_entry_that_cannot_be_removed_does_not_save_the_others(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        Error error = { 0 };

        for (char name[2] = "a"; name[0] <= 'z'; name[0]++)
                put(store, name, "secret");
        assert_int_equal(mkdir(STORE "/directory", 0755), 0);

        assert_true(store_retain(store, NULL, 0, &error) < 0);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_non_null(strstr(error.text, "directory"));
        assert_entries(1);
}

static void test_an_unpublished_file_is_wiped_with_the_rest(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("secret", 6);
        Error error = { 0 };

        assert_int_equal(mkdir(STORE "/name", 0755), 0);
        assert_true(store_put(store, "name", secret, 0, 0, 0400, &error) < 0);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_null(strstr(error.text, "secret"));

        /* The file is still hidden, and is removed with the rest. */
        assert_entries(2);
        assert_true(store_retain(store, NULL, 0, NULL) < 0);
        assert_entries(1);
        assert_int_equal(wiped, 6);
}

static void test_a_full_tmpfs_keeps_the_old_secret(void **state) {
        _cleanup_secret_ Secret *large = NULL;

        if (mount("none", STORE, "tmpfs", 0, "mode=0755,noswap,size=64k") < 0) {
                print_message("SKIPPED: this kernel's tmpfs has no noswap (%s)\n", strerror(errno));
                return;
        }
        _cleanup_(store_freep) Store *store = open_store();
        put(store, "name", "old");
        assert_int_equal(secret_new(100000, &large), 0);
        assert_int_equal(store_put(store, "name", large, 0, 0, 0400, NULL), -ENOSPC);
        assert_entries(1);
        assert_content(STORE "/name", "old");
        assert_int_equal(umount2(STORE, MNT_DETACH), 0);
}

static void test_the_sum_of_sizes_is_bounded(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *large = NULL, *byte = NULL, *nothing = NULL;
        Error error = { 0 };

        assert_int_equal(secret_new(SECRET_SIZE_MAX, &large), 0);
        assert_int_equal(secret_new(1, &byte), 0);
        assert_int_equal(secret_new(0, &nothing), 0);
        store_set_size_max(store, 16 * SECRET_SIZE_MAX);
        for (char name[2] = "a"; name[0] < 'a' + 16; name[0]++)
                assert_int_equal(store_put(store, name, large, 0, 0, 0400, NULL), 0);

        assert_int_equal(store_put(store, "more", byte, 0, 0, 0400, &error), -ENOSPC);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_int_equal(access(STORE "/more", F_OK), -1);

        /* A secret can still be replaced, and its old size does not count. */
        assert_int_equal(store_put(store, "more", nothing, 0, 0, 0400, NULL), 0);
        assert_int_equal(store_put(store, "a", large, 0, 0, 0400, NULL), 0);
        assert_int_equal(store_put(store, "a", nothing, 0, 0, 0400, NULL), 0);
        assert_int_equal(store_put(store, "more", byte, 0, 0, 0400, NULL), 0);
}

static void test_the_sizes_of_prepared_files_count_until_they_are_removed(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *large = NULL, *byte = NULL;
        int fd;

        assert_int_equal(secret_new(SECRET_SIZE_MAX, &large), 0);
        assert_int_equal(secret_new(1, &byte), 0);
        store_set_size_max(store, 16 * SECRET_SIZE_MAX);
        for (char name[2] = "a"; name[0] < 'a' + 16; name[0]++) {
                assert_int_equal(store_prepare(store, name, large, 0, 0, 0400, &fd, NULL), 0);
                assert_int_equal(close(fd), 0);
        }
        assert_int_equal(store_prepare(store, "more", byte, 0, 0, 0400, &fd, NULL), -ENOSPC);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_int_equal(store_prepare(store, "more", byte, 0, 0, 0400, &fd, NULL), 0);
        assert_int_equal(close(fd), 0);
}

static StoreDraft *begin_draft(Store *store, const char *name, uint64_t size) {
        StoreDraft *draft = NULL;
        Error error = {};

        if (store_draft_begin(store, name, size, &draft, &error) < 0)
                fail_msg("%s", error.text);
        return draft;
}

/* The only entry of the store. */
static void only_entry(char ret[static 256], struct stat *ret_st) {
        DIR *directory = opendir(STORE);

        assert_entries(1);
        for (struct dirent *entry; (entry = readdir(directory));)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                        (void) snprintf(ret, 256, "%s", entry->d_name);
                        assert_int_equal(fstatat(dirfd(directory), ret, ret_st, 0), 0);
                }
        closedir(directory);
}

static void test_a_draft_is_hidden_from_everybody_until_it_is_finished(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *draft = begin_draft(store, "model", 11);
        _cleanup_close_ int fd = -1;
        char name[256];
        struct stat st;

        wipe_most = 4;
        assert_int_equal(store_draft_write(draft, (const uint8_t *) "world", 5, 6), 0);
        assert_int_equal(store_draft_write(draft, (const uint8_t *) "hello ", 6, 0), 0);
        wipe_most = SIZE_MAX;
        only_entry(name, &st);
        assert_int_equal(strncmp(name, ".model.", strlen(".model.")), 0);
        assert_int_equal(st.st_mode & 07777, 0);

        assert_int_equal(store_draft_finish(draft, 1234, 5678, 0440, &fd, NULL), 0);
        only_entry(name, &st);
        assert_int_equal(name[0], '.');
        assert_int_equal(st.st_mode & 07777, 0440);
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 5678);
        assert_int_equal(store_publish(store, "model", fd, NULL), 0);
        assert_content(STORE "/model", "hello world");
        assert_int_equal(wiped, 0);
}

static void test_an_abandoned_draft_is_wiped_and_does_not_count(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *draft = begin_draft(store, "model", LIMIT_STORE_BYTES);

        assert_int_equal(store_draft_write(draft, (const uint8_t *) "half of it", 10, 0), 0);
        store_draft_abandon(draft);
        assert_entries(0);
        assert_int_equal(wiped, 0);
        /* A later attempt need not wait until the first one is wiped. */
        assert_null(store_draft_free(begin_draft(store, "model", LIMIT_STORE_BYTES)));
        assert_int_equal(wiped, 0);
        assert_null(store_draft_free(draft));
        assert_int_equal(wiped, 10);
}

static void test_a_draft_counts_with_what_it_may_become(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *byte = secret_of("x", 1);
        StoreDraft *draft = begin_draft(store, "model", LIMIT_STORE_BYTES - 1), *none;
        Error error = {};

        assert_int_equal(store_draft_write(draft, (const uint8_t *) "begin", 5, 0), 0);
        assert_int_equal(store_draft_begin(store, "other", 2, &none, &error), -ENOSPC);
        assert_non_null(strstr(error.text, "Raise StoreSizeMax="));
        assert_int_equal(store_put(store, "byte", byte, 0, 0, 0400, NULL), 0);
        assert_int_equal(store_put(store, "more", byte, 0, 0, 0400, NULL), -ENOSPC);
        assert_null(store_draft_free(draft));
        assert_int_equal(store_put(store, "more", byte, 0, 0, 0400, NULL), 0);
        assert_entries(2);
}

static void test_the_limit_of_the_store_can_be_set(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *none;

        store_set_size_max(store, LIMIT_STORE_BYTES + 10);
        assert_null(store_draft_free(begin_draft(store, "model", LIMIT_STORE_BYTES + 10)));
        assert_int_equal(store_draft_begin(store, "model", LIMIT_STORE_BYTES + 11, &none, NULL), -ENOSPC);
        assert_int_equal(store_draft_begin(store, "model", UINT64_MAX, &none, NULL), -ENOSPC);
}

static void test_a_draft_that_the_machine_has_no_memory_for_is_refused(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *none;
        Error error = {};

        store_set_size_max(store, UINT64_MAX);
        assert_int_equal(store_draft_begin(store, "model", UINT64_C(1) << 60, &none, &error), -ENOSPC);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_non_null(strstr(
                        error.text,
                        "bytes of memory are missing. It needs 1152921504606846976 and 33554432 for"));
        assert_entries(0);
}

#define MIB (UINT64_C(1024) * 1024)

static void test_a_draft_that_is_expected_to_be_large_takes_no_memory_before_it_is_written(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *draft = begin_draft(store, "model", 5 * MIB);
        bool is_tmpfs = strcmp(file_system, "tmpfs") == 0;
        char name[256];
        struct stat st;

        store_draft_expect(draft, 5 * MIB + 1); /* more than it may have: nobody believes that */
        only_entry(name, &st);
        assert_int_equal(st.st_size, 0);
        store_draft_expect(draft, 5 * MIB - 100);
        only_entry(name, &st);
        assert_int_equal(st.st_size, is_tmpfs ? 5 * MIB - 100 : 0);
        assert_int_equal(st.st_blocks, 0);

        /* Only what was written is wiped: a page of it, or a huge page. The rest of ramfs's file cannot be told from zeros. */
        assert_int_equal(store_draft_write(draft, (const uint8_t *) "half of it", 10, 3 * MIB), 0);
        assert_null(store_draft_free(draft));
        if (is_tmpfs)
                assert_in_range(wiped, 10, 2 * MIB);
        else
                assert_int_equal(wiped, 3 * MIB + 10);
        assert_entries(0);
}

/* A draft that a killed process has left. */
static void test_the_holes_of_a_removed_file_are_not_wiped(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_close_ int fd = open(STORE "/.model.0123456789abcdef", O_RDWR | O_CREAT | O_CLOEXEC, 0);

        if (strcmp(file_system, "tmpfs") != 0)
                return;
        assert_int_equal(ftruncate(fd, (off_t) (64 * MIB)), 0);
        assert_int_equal(syscall(SYS_pwrite64, fd, "half", 4, 33 * MIB), 4);
        assert_int_equal(close(TAKE_FD(fd)), 0);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
        assert_entries(0);
        assert_in_range(wiped, 4, 2 * MIB);
}

/* The kernel gives a huge page only to what fills it. */
static void test_a_file_takes_no_more_memory_than_its_pages(void **state) {
        static uint8_t ones[MIB];
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *draft;
        _cleanup_close_ int fd = -1;
        struct stat st;

        put(store, "small", "x");
        assert_int_equal(stat(STORE "/small", &st), 0);
        assert_int_equal(st.st_blocks * 512, sysconf(_SC_PAGESIZE));

        draft = begin_draft(store, "model", 4 * MIB);
        store_draft_expect(draft, 3 * MIB);
        memset(ones, 1, sizeof(ones));
        for (unsigned i = 3; i > 0; i--)
                assert_int_equal(store_draft_write(draft, ones, sizeof(ones), (i - 1) * MIB), 0);
        assert_int_equal(store_draft_write(draft, ones, 1, 3 * MIB), 0);
        assert_int_equal(store_draft_finish(draft, 0, 0, 0400, &fd, NULL), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 3 * MIB + 1);
        assert_int_equal(st.st_blocks * 512, 3 * MIB + (uint64_t) sysconf(_SC_PAGESIZE));
}

/* A file takes the place of /proc/meminfo, so the test knows how much memory there is. */
static void test_a_draft_whose_size_is_set_still_takes_its_memory(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        StoreDraft *draft, *none;
        Error error = {};

        create_file("meminfo", "MemAvailable: 1048576 kB\n", 0400);
        assert_int_equal(mount("meminfo", "/proc/meminfo", "none", MS_BIND, NULL), 0);
        store_set_size_max(store, UINT64_MAX);
        draft = begin_draft(store, "model", 600 * MIB);
        store_draft_expect(draft, 600 * MIB);
        assert_int_equal(store_draft_begin(store, "other", 600 * MIB, &none, &error), -ENOSPC);
        assert_non_null(strstr(error.text, " 218103808 bytes of memory are missing."));
        assert_null(store_draft_free(draft));
        assert_null(store_draft_free(begin_draft(store, "other", 600 * MIB)));
        assert_int_equal(umount2("/proc/meminfo", MNT_DETACH), 0);
        assert_int_equal(unlink("meminfo"), 0);
}

static void test_a_draft_whose_calls_fail_is_wiped(void **state) {
        bool failed = true;

        for (unsigned n = 0; failed; n++) {
                _cleanup_(store_freep) Store *store = open_store();
                StoreDraft *draft = begin_draft(store, "model", 6);
                Error error = {};
                int fd, r;

                assert_int_equal(store_draft_write(draft, (const uint8_t *) "secret", 6, 0), 0);
                begin_failing(n + 1);
                r = store_draft_finish(draft, 0, 5678, 0400, &fd, &error);
                failed = end_failing();
                if (r >= 0) {
                        assert_false(failed);
                        assert_int_equal(close(fd), 0);
                        assert_entries(1);
                        return;
                }
                assert_int_equal(r, -EIO);
                assert_entries(0);
        }
}

static void test_what_is_available_is_read(void **state) {
        uint64_t bytes = 0;

        assert_int_equal(store_memory_available("MemTotal: 4 kB\nMemAvailable:    1234 kB\nSwap: 9 kB\n",
                                                &bytes),
                         0);
        assert_int_equal(bytes, 1234 * 1024);
        assert_int_equal(store_memory_available("MemAvailable: 0 kB\n", &bytes), 0);
        assert_int_equal(bytes, 0);
        assert_int_equal(store_memory_available("", &bytes), -EBADMSG);
        assert_int_equal(store_memory_available("NotMemAvailable: 1 kB\n", &bytes), -EBADMSG);
        assert_int_equal(store_memory_available("MemAvailable: many kB\n", &bytes), -EBADMSG);
        assert_int_equal(store_memory_available("MemAvailable: 18446744073709551615 kB\n", &bytes),
                         -EBADMSG);
}

static bool has_file(const char *name) {
        return access(name, F_OK) == 0;
}

static void assert_named(const Error *error, int r) {
        if (r != -EIO || error->failure != FAILURE_STORE || !strstr(error->text, STORE) ||
            !strstr(error->text, strerror(EIO)))
                fail_msg("%d, failure %d: %s", r, error->failure, error->text);
}

static void test_a_store_opens_only_if_no_call_fails(void **state) {
        bool failed = true;
        unsigned n;

        for (n = 0; failed; n++) {
                Store *store = NULL;
                Error error = {};
                int r;

                begin_failing(n + 1);
                r = store_open(STORE, &store, &error);
                failed = end_failing();
                assert_int_equal(failed, !store);
                if (failed)
                        assert_named(&error, r);
                else
                        assert_int_equal(r, 0);
                (void) store_free(store);

                begin_failing(n + 1);
                r = store_check_memory(STORE, &error);
                if (end_failing())
                        assert_named(&error, r);
        }
        /* open(), fstatfs(), fstat(), none; for tmpfs also three calls that read its options. */
        assert_int_equal(n, strcmp(file_system, "tmpfs") == 0 ? 7 : 4);
}

static void test_a_call_that_fails_leaves_no_half_written_file(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("secret", 6);
        bool failed = true;
        unsigned n, errors = 0;

        for (n = 0; failed; n++) {
                Error error = {};
                struct stat st;
                int fd = -1, r;

                wiped = 0;
                begin_failing(n + 1);
                r = store_prepare(store, "name", secret, 1234, 5678, 0440, &fd, &error);
                if (r >= 0)
                        r = store_publish(store, "name", fd, &error);
                failed = end_failing();
                if (r < 0) {
                        errors++;
                        if (r == -ENOENT) /* the hidden name was not found */
                                assert_true(fd >= 0);
                        else
                                assert_named(&error, r);
                        assert_false(has_file(STORE "/name"));
                        if (fd < 0)
                                assert_entries(0);
                } else {
                        assert_content(STORE "/name", "secret");
                        assert_int_equal(stat(STORE "/name", &st), 0);
                        assert_true(st.st_uid == 1234 && st.st_gid == 5678 &&
                                    st.st_mode == (S_IFREG | 0440));
                }
                closep(&fd);
                assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
                assert_entries(0);
        }
        assert_true(errors >= 12 && n > errors);
}

/* What was written before a failure is wiped. */
static void test_a_half_written_secret_is_wiped(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("secret", 6);
        size_t most_of_prepare = 0, most_of_hold = 0;
        bool failed = true;

        write_most = 2;
        for (unsigned n = 0; failed; n++) {
                _cleanup_close_ int prepared = -1, held = -1;

                wiped = 0;
                begin_failing(n + 1);
                (void) store_prepare(store, "name", secret, 1234, 5678, 0440, &prepared, NULL);
                failed = end_failing();
                most_of_prepare = wiped > most_of_prepare ? wiped : most_of_prepare;

                wiped = 0;
                begin_failing(n + 1);
                (void) store_hold(store, secret, &held, NULL);
                failed |= end_failing();
                most_of_hold = wiped > most_of_hold ? wiped : most_of_hold;
        }
        write_most = SIZE_MAX;
        assert_int_equal(most_of_prepare, 6); /* the last failure is that of fchown() */
        assert_int_equal(most_of_hold, 4);
}

static void test_a_held_secret_is_whole_or_not_there(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *secret = secret_of("secret", 6);
        bool failed = true;

        for (unsigned n = 0; failed; n++) {
                _cleanup_secret_ Secret *read_back = NULL;
                _cleanup_close_ int fd = -1;
                Error error = {};
                int r;

                begin_failing(n + 1);
                r = store_hold(store, secret, &fd, &error);
                failed = end_failing();
                assert_int_equal(failed, fd < 0);
                if (failed) {
                        assert_named(&error, r);
                        continue;
                }
                assert_int_equal(store_read(fd, &read_back), 0);
                assert_memory_equal(secret_bytes(read_back), "secret", 6);

                for (unsigned call = 1; call <= 2; call++) { /* fstat(), pread() */
                        Secret *unread = NULL;

                        begin_failing(call);
                        assert_int_equal(store_read(fd, &unread), -EIO);
                        assert_true(end_failing());
                        assert_null(unread);
                        begin_failing(call);
                        assert_false(store_trusts(store, fd));
                        assert_true(end_failing());
                }
        }
}

static void test_a_file_that_shrinks_while_it_is_read_is_refused(void **state) {
        _cleanup_close_ int fd = open(STORE "/short", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        Secret *secret = NULL;

        assert_int_equal(ftruncate(fd, 10), 0);
        shrinks = true;
        assert_int_equal(store_read(fd, &secret), -ENODATA);
        shrinks = false;
        assert_null(secret);
}

static void test_the_store_is_listed_once_for_many_secrets(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        unsigned calls[3];

        for (char name[2] = "a"; name[0] <= 'j'; name[0]++)
                put(store, name, "secret");
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                _cleanup_close_ int fd = -1;

                begin_failing(UINT_MAX);
                fd = prepare(store, "name", "secret");
                (void) end_failing();
                calls[i] = failing.calls;
        }
        assert_true(calls[0] > calls[1] + 10);
        assert_int_equal(calls[1], calls[2]);
}

static void test_files_stay_or_it_is_said_that_they_do(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        bool failed = true;
        unsigned n, errors = 0;

        for (n = 0; failed; n++) {
                Error error = {};
                int r;

                put(store, "one", "1");
                put(store, "two", "2");
                wiped = 0;
                begin_failing(n + 1);
                r = store_retain(store, NULL, 0, &error);
                failed = end_failing();
                errors += r < 0;
                if (r < 0)
                        assert_named(&error, r);
                else
                        assert_entries(0);
        }
        assert_true(errors >= 6);
}

#define SIZE_A 300000U
#define SIZE_B 123456U

#define READERS 3U
#define READS_MIN 10U

static atomic_bool stop;
static atomic_uint satisfied; /* readers that have read READS_MIN times, or have seen half of a secret */

/* Reads the file in small pieces. Returns whether it is one of the secrets, and whole. */
static bool read_whole(void) {
        _cleanup_close_ int fd = open(STORE "/name", O_RDONLY | O_CLOEXEC);
        uint8_t piece[3000], first = 0;
        size_t size = 0;
        ssize_t n;

        if (fd < 0)
                return false;
        while ((n = read(fd, piece, sizeof(piece))) > 0) {
                first = size == 0 ? piece[0] : first;
                for (ssize_t i = 0; i < n; i++)
                        if (piece[i] != first)
                                return false;
                size += (size_t) n;
        }
        return (first == 'a' && size == SIZE_A) || (first == 'b' && size == SIZE_B);
}

/* Returns userdata if every read saw a whole secret, else NULL. */
static void *read_all_the_time(void *userdata) {
        for (size_t reads = 1; !atomic_load(&stop); reads++) {
                bool whole = read_whole();

                if (!whole || reads == READS_MIN)
                        atomic_fetch_add(&satisfied, 1);
                if (!whole)
                        return NULL;
        }
        return userdata;
}

static void test_readers_see_the_old_secret_or_the_new_one(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_secret_ Secret *a = NULL, *b = NULL;
        pthread_t readers[READERS];

        assert_int_equal(secret_new(SIZE_A, &a), 0);
        assert_int_equal(secret_new(SIZE_B, &b), 0);
        memset(secret_bytes(a), 'a', SIZE_A);
        memset(secret_bytes(b), 'b', SIZE_B);
        assert_int_equal(store_put(store, "name", a, 0, 0, 0400, NULL), 0);

        atomic_store(&stop, false);
        atomic_store(&satisfied, 0);
        for (size_t i = 0; i < ELEMENTSOF(readers); i++)
                assert_int_equal(pthread_create(&readers[i], NULL, read_all_the_time, store), 0);
        for (unsigned i = 0; i < 1000 || atomic_load(&satisfied) < READERS; i++) {
                assert_int_equal(store_put(store, "name", i % 2 ? a : b, 0, 0, 0400, NULL), 0);
                usleep(100);
        }
        atomic_store(&stop, true);

        for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
                void *result;
                assert_int_equal(pthread_join(readers[i], &result), 0);
                assert_ptr_equal(result, store);
        }
        assert_entries(1);
}

static void put_unprivileged(void) {
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_secret_ Secret *secret = NULL;
        Error error = { 0 };

        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                _exit(2);
        if (store_open(STORE, &store, NULL) < 0 || secret_new(6, &secret) < 0)
                _exit(3);
        if (store_put(store, "name", secret, (uid_t) -1, (gid_t) -1, 0400, NULL) < 0)
                _exit(4);
        if (store_put(store, "name", secret, (uid_t) -1, (gid_t) -1, 0600, NULL) < 0)
                _exit(5);
        if (store_put(store, "root", secret, 0, (gid_t) -1, 0400, &error) != -EPERM)
                _exit(6);
        _exit(strstr(error.text, "CAP_CHOWN") ? 0 : 7);
}

static void test_without_privileges_files_are_unsealds_own(void **state) {
        int status;

        assert_int_equal(chown(STORE, 65534, 65534), 0);
        assert_int_equal(chmod(".", 0755), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
                put_unprivileged();
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_entries(1);
}

/* As unseald.service: a user who owns the draft, and may not override its mode 0. */
static void wipe_unprivileged(void) {
        _cleanup_(store_freep) Store *store = NULL;

        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                _exit(2);
        create_file(STORE "/.model.0123456789abcdef", "half of it", 0);
        if (store_open(STORE, &store, NULL) < 0 || store_retain(store, NULL, 0, NULL) < 0)
                _exit(3);
        _exit(wiped == 10 ? 0 : 4);
}

static void test_without_privileges_the_draft_of_a_killed_process_is_wiped(void **state) {
        int status;

        assert_int_equal(chown(STORE, 65534, 65534), 0);
        assert_int_equal(chmod(".", 0755), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
                wipe_unprivileged();
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_entries(0);
}

static char *stage(Store *store, const char *name, const char *text, mode_t mode) {
        char *hidden = NULL;
        Error error = {};

        if (store_stage(store, name, (const uint8_t *) text, strlen(text), 1234, 5678, mode, &hidden,
                        &error) < 0)
                fail_msg("%s", error.text);
        return hidden;
}

static bool shows(const Store *store, const char *text, uid_t uid, gid_t gid, mode_t mode) {
        return store_shows(store, "tls.key", (const uint8_t *) text, strlen(text), uid, gid, mode);
}

static void test_a_member_is_staged_and_revealed(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_free_ char *hidden = stage(store, "tls.key", "the key", 0440), *second = NULL;
        Error error = {};

        assert_false(shows(store, "the key", 1234, 5678, 0440));
        assert_int_equal(access(STORE "/tls.key", F_OK), -1);
        assert_int_equal(store_reveal(store, "tls.key", hidden, &error), 0);
        assert_content(STORE "/tls.key", "the key");
        assert_entries(1);
        assert_true(shows(store, "the key", 1234, 5678, 0440));
        assert_false(shows(store, "the keY", 1234, 5678, 0440));
        assert_false(shows(store, "the key ", 1234, 5678, 0440));
        assert_false(shows(store, "the ke", 1234, 5678, 0440));
        assert_false(shows(store, "the key", 0, 5678, 0440));
        assert_false(shows(store, "the key", 1234, 0, 0440));
        assert_false(shows(store, "the key", 1234, 5678, 0400));

        /* Another file takes its place. What is not there any more cannot be revealed. */
        second = stage(store, "tls.key", "another", 0400);
        assert_int_equal(store_reveal(store, "tls.key", second, &error), 0);
        assert_content(STORE "/tls.key", "another");
        assert_int_equal(store_reveal(store, "tls.key", hidden, &error), -ENOENT);
        assert_int_equal(error.failure, FAILURE_STORE);
        assert_entries(1);
}

/* A link is no member, whatever it leads to. */
static void test_a_link_shows_no_member(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        const StoreFile file = { .name = "tls.key", .fd = -1, .by_name = true };
        Error error = {};

        create_file("elsewhere", "the key", 0400);
        assert_int_equal(symlink("../elsewhere", STORE "/tls.key"), 0);
        assert_true(access(STORE "/tls.key", F_OK) >= 0);
        assert_false(shows(store, "the key", 0, 0, 0400));
        assert_int_equal(store_retain(store, &file, 1, &error), 0);
        assert_entries(0);
        assert_content("elsewhere", "the key");
        assert_int_equal(unlink("elsewhere"), 0);
}

static void test_members_are_retained_by_their_names(void **state) {
        _cleanup_(store_freep) Store *store = open_store();
        _cleanup_free_ char *one = stage(store, "tls.one", "1", 0400),
                            *two = stage(store, "tls.two", "2", 0400),
                            *three = stage(store, "tls.three", "3", 0400);
        const StoreFile files[] = { { .name = "tls.one", .fd = -1, .by_name = true },
                                    { .hidden = two, .fd = -1, .by_name = true },
                                    { .name = "tls.gone", .fd = -1, .by_name = true } };
        Error error = {};

        assert_int_equal(store_reveal(store, "tls.one", one, &error), 0);
        put(store, "other", "of another");
        assert_entries(4);
        assert_int_equal(store_retain(store, files, ELEMENTSOF(files), &error), 0);
        assert_entries(2);
        assert_content(STORE "/tls.one", "1");
        assert_int_equal(store_reveal(store, "tls.two", two, &error), 0);
        assert_content(STORE "/tls.two", "2");
        assert_int_equal(store_reveal(store, "tls.three", three, &error), -ENOENT);
}

#define test_on_store(f) cmocka_unit_test_setup_teardown(f, set_up_store, tear_down)

int main(void) {
        const struct CMUnitTest pure[] = {
                cmocka_unit_test(test_only_ramfs_and_noswap_are_memory),
                cmocka_unit_test(test_the_options_are_those_of_the_mount_with_this_id),
                cmocka_unit_test(test_the_options_are_those_of_the_device),
                cmocka_unit_test(test_broken_mountinfo_is_refused),
                cmocka_unit_test(test_what_is_available_is_read),
        };
        const struct CMUnitTest mounting[] = {
                test_on_store(test_the_store_of_the_units_is_accepted),
                cmocka_unit_test(test_tmpfs_is_accepted_only_with_noswap),
                cmocka_unit_test(test_a_disk_is_refused),
                test_on_store(test_a_member_is_staged_and_revealed),
                test_on_store(test_a_link_shows_no_member),
                test_on_store(test_members_are_retained_by_their_names),
                test_on_store(test_a_path_that_is_not_a_directory_is_refused),
                test_on_store(test_a_directory_that_others_can_write_is_refused),
                test_on_store(test_a_secret_becomes_a_file_with_owner_and_mode),
                test_on_store(test_a_removed_secret_is_wiped),
                test_on_store(test_a_wipe_goes_on_after_a_signal_and_ends_at_a_failure),
                test_on_store(test_a_wipe_goes_on_after_few_bytes_and_ends_after_none),
                test_on_store(test_a_reader_of_a_removed_secret_still_gets_all_of_it),
                test_on_store(test_names_that_credentials_cannot_have_are_refused),
                test_on_store(test_a_prepared_secret_is_hidden_until_it_is_published),
                test_on_store(test_a_prepared_secret_takes_the_place_of_the_old_one),
                test_on_store(test_a_file_without_a_name_cannot_be_published),
                test_on_store(test_a_hidden_name_that_is_too_long_is_not_published),
                test_on_store(test_a_file_with_another_owner_or_mode_cannot_be_published),
                test_on_store(test_an_obstacle_to_publishing_is_reported),
                test_on_store(test_a_held_secret_has_no_name),
                test_on_store(test_a_file_that_is_too_large_is_not_read),
                test_on_store(test_only_files_in_memory_are_trusted),
                test_on_store(test_a_tmpfs_that_can_be_swapped_is_not_trusted),
                test_on_store(test_the_store_before_is_trusted),
                test_on_store(test_only_the_files_themselves_are_retained),
                test_on_store(test_planted_links_are_not_followed),
                test_on_store(test_a_file_that_has_another_name_is_not_wiped),
                test_on_store(test_files_of_a_killed_process_are_removed_and_wiped),
                test_on_store(test_an_entry_that_cannot_be_removed_does_not_save_the_others),
                test_on_store(test_an_unpublished_file_is_wiped_with_the_rest),
                cmocka_unit_test(test_a_full_tmpfs_keeps_the_old_secret),
                test_on_store(test_the_sum_of_sizes_is_bounded),
                test_on_store(test_the_sizes_of_prepared_files_count_until_they_are_removed),
                test_on_store(test_a_draft_is_hidden_from_everybody_until_it_is_finished),
                test_on_store(test_an_abandoned_draft_is_wiped_and_does_not_count),
                test_on_store(test_a_draft_counts_with_what_it_may_become),
                test_on_store(test_the_limit_of_the_store_can_be_set),
                test_on_store(test_a_draft_that_the_machine_has_no_memory_for_is_refused),
                test_on_store(test_a_draft_that_is_expected_to_be_large_takes_no_memory_before_it_is_written),
                test_on_store(test_the_holes_of_a_removed_file_are_not_wiped),
                test_on_store(test_a_file_takes_no_more_memory_than_its_pages),
                test_on_store(test_a_draft_whose_size_is_set_still_takes_its_memory),
                test_on_store(test_a_draft_whose_calls_fail_is_wiped),
                test_on_store(test_a_store_opens_only_if_no_call_fails),
                test_on_store(test_a_call_that_fails_leaves_no_half_written_file),
                test_on_store(test_a_half_written_secret_is_wiped),
                test_on_store(test_a_held_secret_is_whole_or_not_there),
                test_on_store(test_a_file_that_shrinks_while_it_is_read_is_refused),
                test_on_store(test_the_store_is_listed_once_for_many_secrets),
                test_on_store(test_files_stay_or_it_is_said_that_they_do),
                test_on_store(test_readers_see_the_old_secret_or_the_new_one),
                test_on_store(test_without_privileges_files_are_unsealds_own),
                test_on_store(test_without_privileges_the_draft_of_a_killed_process_is_wiped),
        };

        int failed = cmocka_run_group_tests(pure, NULL, NULL);
        if (geteuid() != 0) {
                puts("SKIPPED: all tests of the store that mount a file system, for want of root.");
                return failed > 0 ? failed : 77;
        }
        failed += cmocka_run_group_tests(mounting, set_up_namespace, tear_down_namespace);

        /* The same on the other file system that unseald-generator chooses. */
        file_system = "tmpfs";
        file_system_options = "mode=0755,noswap,size=100%,nr_inodes=0";
        if (unshare(CLONE_NEWNS) < 0 || mount("tmpfs", "/mnt", "tmpfs", 0, "noswap") < 0) {
                puts("SKIPPED: the tests on tmpfs with noswap, which takes Linux 6.4.");
                return failed;
        }
        failed += cmocka_run_group_tests(mounting, set_up_namespace, tear_down_namespace);
        file_system_options = "mode=0755,noswap,size=100%,nr_inodes=0,huge=within_size";
        if (mount("tmpfs", "/mnt", "tmpfs", 0, "huge=within_size") < 0) {
                puts("SKIPPED: the tests on tmpfs with huge pages, which this kernel or processor does not have.");
                return failed;
        }
        return failed + cmocka_run_group_tests(mounting, set_up_namespace, tear_down_namespace);
}
