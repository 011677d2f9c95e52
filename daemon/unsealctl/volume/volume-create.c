/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes the image of a volume, without root and without devices. The order matters:
 *
 *     1. A file without a name is opened for the image, and KMS says that it would seal the key. What follows may take an hour.
 *     2. The file system is made, in memory.
 *     3. The image is written, under a key that is made here.
 *     4. KMS seals the key with the root hash. The key is then wiped.
 *     5. The sealed key is written, and the image gets its name.
 *
 * A signal that ends this program before step 5 leaves nothing. In step 5 it may leave a sealed key without an image.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/io.h"
#include "config/declaration.h"
#include "unsealctl/ctl.h"
#include "unsealctl/new-file.h"
#include "unsealctl/seal.h"
#include "unsealctl/volume/file-system.h"
#include "unsealctl/volume/volume-writer.h"
#include "unsealctl/volume/volume.h"

/* As many as seal takes. */
#define PAIRS_MAX 64U

typedef struct Options {
        SealRequest seal;
        const char *pairs[PAIRS_MAX];
        const char *input, *output, *sealed, *files, *temporary;
        FileSystemKind kind; /* of what the volume is made of, as soon as it is open */
        bool force;
} Options;

/* All that is made. An empty path: it is not wanted. */
typedef struct Paths {
        char *sealed, *signature, *volume_file, *secret_file;
} Paths;

static void paths_done(Paths *paths) {
        free(paths->sealed);
        free(paths->signature);
        free(paths->volume_file);
        free(paths->secret_file);
}

static void print_create_help(void) {
        printf("unsealctl volume create [OPTIONS…] --key=KEY --name=NAME -o IMAGE DIR\n"
               "unsealctl volume create [OPTIONS…] --key=KEY --name=NAME -o IMAGE FILE\n\n"
               "Make an encrypted read-only volume of a directory, or of a file with EROFS or\n"
               "squashfs. Seal its key, and print NAME.volume and NAME.secret.\n\n"
               "  -h --help                  Show this help\n"
               "     --key=KEY               The KMS key: an ARN, an ID or an alias\n"
               "     --name=NAME             The name of the volume and of its secret\n"
               "  -o --output=IMAGE          The image to write\n"
               "     --sealed=FILE           The sealed key. Default: NAME.sealed beside IMAGE\n"
               "     --write-files=DIR       Write NAME.volume and NAME.secret there\n"
               "     --force                 Replace files that exist\n"
               "     --temporary=DIR         Make the clear file system there, not in memory\n"
               "     --context=KEY=VALUE --account=ID        As in seal, for the key\n"
               "     --sign=KEY.pem --sign-key=ARN --secret-version=N\n"
               "     --profile=NAME --region=REGION --fips --dual-stack --endpoint=URL\n"
               "     --proxy=URL --trusted-certificates=FILE\n\n"
               "Exit status: 0 done, 1 failure, 2 usage, 3 a file exists, 4 no file system,\n"
               "5 too little memory; from KMS as in seal; all are in unsealctl(1).\n");
}

/* The length of the directory in a path, with its slash. */
static int directory_length(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? (int) (slash - path + 1) : 0;
}

static int make_paths(const Options *options, Paths *ret) {
        const char *name = options->seal.name;
        bool is_signed = options->seal.sign_file || options->seal.sign_key;
        int r = 0;

        if (options->sealed)
                ret->sealed = strdup(options->sealed);
        else
                r = asprintf(&ret->sealed, "%.*s%s.sealed", directory_length(options->output),
                             options->output, name);
        if (r >= 0 && is_signed && ret->sealed)
                r = asprintf(&ret->signature, "%s.sig", ret->sealed);
        if (r >= 0 && options->files)
                r = asprintf(&ret->volume_file, "%s/%s.volume", options->files, name);
        if (r >= 0 && options->files)
                r = asprintf(&ret->secret_file, "%s/%s.secret", options->files, name);
        return r < 0 || !ret->sealed ? failure("Out of memory.") : 0;
}

static int say_exists(const char *path) {
        (void) failure("%s exists. Remove it, give another name, or replace it with --force.", path);
        return EXIT_EXISTS;
}

static int check_exists(const Options *options, const char *path) {
        struct stat st;

        if (!path || lstat(path, &st) < 0)
                return 0;
        if (!S_ISREG(st.st_mode))
                return usage_error("%s is not a file. Give another name.", path);
        return options->force ? 0 : say_exists(path);
}

/* Before any work is done. */
static int check_outputs(const Options *options, const Paths *paths) {
        const char *all[] = { options->output, paths->sealed, paths->signature, paths->volume_file,
                              paths->secret_file };
        struct stat input, output;
        int r = 0;

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(all); i++) {
                for (size_t j = 0; all[i] && j < i; j++)
                        if (all[j] && strcmp(all[i], all[j]) == 0)
                                return usage_error("%s would be written twice. Give different names.",
                                                   all[i]);
                r = check_exists(options, all[i]);
                if (r == 0 && all[i] && stat(options->input, &input) >= 0 && stat(all[i], &output) >= 0 &&
                    input.st_dev == output.st_dev && input.st_ino == output.st_ino)
                        return usage_error(
                                        "%s is what the volume is to be made of, and would be replaced. Give another name.",
                                        all[i]);
        }
        return r;
}

/* XTS is deterministic: a key that is used twice shows which blocks are the same in two images. So each run makes one. */
static int make_key(const char *name, uint64_t size, VolumeKey *ret) {
        uint8_t *bytes;
        int r;

        (void) snprintf(ret->name, sizeof(ret->name), "%s", name);
        ret->data_size = size;
        r = volume_key_lay_out(ret);
        if (r < 0)
                return failure("The file system has %" PRIu64 " bytes, and a volume has at most 16 TiB.",
                               size);
        if (secret_new(VOLUME_KEY_SIZE, &ret->key) < 0)
                return failure("%u bytes of memory cannot be locked, and the key must not reach swap. Raise the limit: \"ulimit -l\".",
                               VOLUME_KEY_SIZE);
        bytes = secret_bytes(ret->key);
        if (RAND_priv_bytes(bytes, VOLUME_KEY_SIZE) <= 0 || RAND_bytes(ret->salt, VOLUME_SALT_SIZE) <= 0 ||
            CRYPTO_memcmp(bytes, bytes + VOLUME_KEY_SIZE / 2, VOLUME_KEY_SIZE / 2) == 0)
                return failure("There are no random bytes for the key.");
        return 0;
}

static int write_image(Options *options, VolumeKey *key, NewFile *output) {
        _cleanup_close_ int file_system = -1;
        FileSystem opened;
        Progress progress;
        Error error = {};
        int r = file_system_open(options->input, options->temporary, &opened);

        if (r != 0)
                return r;
        file_system = opened.fd;
        options->kind = opened.kind;
        r = make_key(options->seal.name, opened.size, key);
        if (r != 0)
                return r;
        /* A disk that is too small shows now. Where the file system cannot reserve, it shows later. */
        if (fallocate(output->fd, 0, 0, (off_t) key->size) < 0 && errno != EOPNOTSUPP)
                return failure("Cannot write %s: %s.", options->output, strerror(errno));
        progress = progress_begin("encrypted", key->data_size);
        return volume_write(key, file_system, output->fd, &progress, &error) < 0
                               ? failure("%s: %s", options->input, error.text)
                               : 0;
}

static int seal_key(Sealing *sealing, VolumeKey *key) {
        _cleanup_secret_ Secret *text = NULL;

        if (volume_key_format(key, &text) < 0)
                return failure("The key needs %u bytes of memory that is locked. Raise the limit: \"ulimit -l\".",
                               VOLUME_KEY_TEXT_MAX);
        return sealing_run(sealing, text);
}

static void print_volume_file(const Options *options, FILE *stream) {
        const char *name = options->seal.name;

        fprintf(stream,
                "# %s.volume\n[Volume]\n# The EBS volume that is attached as sdf. Change it, or give a volume ID or a path.\n"
                "Device=sdf\nKey=%s\n",
                name, name);
        if (options->kind == FILE_SYSTEM_SQUASHFS)
                fputs("FileSystem=squashfs\n", stream);
}

/* The key is for the service that opens the volume, and for nobody else. */
static void print_secret_file(const Options *options, const Sealing *sealing, FILE *stream) {
        sealing_print_secret_file(sealing, stream);
        fprintf(stream, "\n[Deliver]\nUnits=unseald-volume@%s.service\nStore=no\n", options->seal.name);
}

/* is_volume: NAME.volume, else NAME.secret. */
static int write_text(const Options *options, const Sealing *sealing, const char *path, bool is_volume) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        int r;

        if (!stream)
                return failure("Out of memory.");
        if (is_volume)
                print_volume_file(options, stream);
        else
                print_secret_file(options, sealing, stream);
        if (fclose(stream) != 0)
                return failure("Out of memory.");
        r = write_file_atomic(path, text, size, 0644);
        return r < 0 ? failure("Cannot write %s: %s.", path, strerror(-r)) : 0;
}

static int write_files(const Options *options, Sealing *sealing, const Paths *paths) {
        int r = sealing_write(sealing);

        if (r != 0 || !options->files)
                return r;
        r = write_text(options, sealing, paths->volume_file, true);
        return r != 0 ? r : write_text(options, sealing, paths->secret_file, false);
}

static int write_image_name(const Options *options, NewFile *output) {
        int r = new_file_commit(output, options->output, options->force);

        if (r == -EEXIST)
                return say_exists(options->output);
        return r < 0 ? failure("Cannot write %s: %s.", options->output, strerror(-r)) : 0;
}

/* The image comes last: where there is an image, there is all that it needs. With --force nothing is removed after a failure, since it
 * could be what was there before. The files are looked for once more, because another run may have made its own in the meantime: that
 * run's sealed key is the only one of its image. */
static int commit(const Options *options, Sealing *sealing, const Paths *paths, NewFile *output) {
        const char *files[] = { paths->sealed, paths->signature, paths->volume_file, paths->secret_file };
        int r = check_outputs(options, paths);

        if (r != 0)
                return r;
        r = write_files(options, sealing, paths);
        if (r == 0)
                r = write_image_name(options, output);
        for (size_t i = 0; r != 0 && !options->force && i < ELEMENTSOF(files); i++)
                if (files[i])
                        (void) unlink(files[i]);
        if (r != 0 || options->files)
                return r;
        print_volume_file(options, stdout);
        putchar('\n');
        print_secret_file(options, sealing, stdout);
        return 0;
}

static int create(Options *options) {
        _cleanup_(paths_done) Paths paths = {};
        _cleanup_(new_file_done) NewFile output = { .fd = -1 };
        _cleanup_(sealing_freep) Sealing *sealing = NULL;
        _cleanup_volume_key_ VolumeKey key = {};
        int r;

        if ((r = make_paths(options, &paths)) != 0 || (r = check_outputs(options, &paths)) != 0)
                return r;
        r = new_file_open(options->output, &output);
        if (r < 0)
                return failure("Cannot write %s: %s.", options->output, strerror(-r));
        options->seal.output = paths.sealed;
        options->seal.output_option = "--sealed=";
        if ((r = sealing_new(&options->seal, &sealing)) != 0 ||
            (r = write_image(options, &key, &output)) != 0 || (r = seal_key(sealing, &key)) != 0)
                return r;
        volume_key_clear(&key);
        return commit(options, sealing, &paths, &output);
}

static int check_options(const Options *options, int arguments) {
        if (arguments != 1)
                return usage_error("volume create takes one directory, or one file with a file system.");
        if (!options->seal.key || !options->seal.name || !options->output)
                return usage_error("volume create needs --key=, --name= and --output=.");
        if (!declaration_name_is_valid(options->seal.name))
                return usage_error(
                                "--name=%s is not a name of a volume. Expected 1 to 64 letters, digits, \"-\", \"_\" and \".\".",
                                options->seal.name);
        if (strcmp(options->output, "-") == 0)
                return usage_error("An image is written to a file. Give --output=IMAGE.");
        return 0;
}

enum {
        OPTION_KEY = 256,
        OPTION_NAME,
        OPTION_SEALED,
        OPTION_WRITE_FILES,
        OPTION_FORCE,
        OPTION_TEMPORARY,
        OPTION_CONTEXT,
        OPTION_ACCOUNT,
        OPTION_SIGN,
        OPTION_SIGN_KEY,
        OPTION_SECRET_VERSION,
        OPTION_PROFILE,
        OPTION_REGION,
        OPTION_FIPS,
        OPTION_DUAL_STACK,
        OPTION_ENDPOINT,
        OPTION_PROXY,
        OPTION_TRUSTED,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "key", required_argument, NULL, OPTION_KEY },
        { "name", required_argument, NULL, OPTION_NAME },
        { "output", required_argument, NULL, 'o' },
        { "sealed", required_argument, NULL, OPTION_SEALED },
        { "write-files", required_argument, NULL, OPTION_WRITE_FILES },
        { "force", no_argument, NULL, OPTION_FORCE },
        { "temporary", required_argument, NULL, OPTION_TEMPORARY },
        { "context", required_argument, NULL, OPTION_CONTEXT },
        { "account", required_argument, NULL, OPTION_ACCOUNT },
        { "sign", required_argument, NULL, OPTION_SIGN },
        { "sign-key", required_argument, NULL, OPTION_SIGN_KEY },
        { "secret-version", required_argument, NULL, OPTION_SECRET_VERSION },
        { "profile", required_argument, NULL, OPTION_PROFILE },
        { "region", required_argument, NULL, OPTION_REGION },
        { "fips", no_argument, NULL, OPTION_FIPS },
        { "dual-stack", no_argument, NULL, OPTION_DUAL_STACK },
        { "endpoint", required_argument, NULL, OPTION_ENDPOINT },
        { "proxy", required_argument, NULL, OPTION_PROXY },
        { "trusted-certificates", required_argument, NULL, OPTION_TRUSTED },
        {},
};

/* Returns where the argument of an option goes, or NULL for an option without argument. */
static const char **field_of(Options *options, int option) {
        switch (option) {
        case OPTION_KEY:
                return &options->seal.key;
        case OPTION_NAME:
                return &options->seal.name;
        case 'o':
                return &options->output;
        case OPTION_SEALED:
                return &options->sealed;
        case OPTION_WRITE_FILES:
                return &options->files;
        case OPTION_TEMPORARY:
                return &options->temporary;
        case OPTION_ACCOUNT:
                return &options->seal.account;
        case OPTION_SIGN:
                return &options->seal.sign_file;
        case OPTION_SIGN_KEY:
                return &options->seal.sign_key;
        case OPTION_SECRET_VERSION:
                return &options->seal.secret_version;
        case OPTION_PROFILE:
                return &options->seal.profile;
        case OPTION_REGION:
                return &options->seal.kms.region;
        case OPTION_ENDPOINT:
                return &options->seal.kms.endpoint;
        case OPTION_PROXY:
                return &options->seal.kms.proxy;
        case OPTION_TRUSTED:
                return &options->seal.kms.trusted_certificates;
        default:
                return NULL;
        }
}

static bool *switch_of(Options *options, int option) {
        switch (option) {
        case OPTION_FORCE:
                return &options->force;
        case OPTION_FIPS:
                return &options->seal.kms.fips;
        case OPTION_DUAL_STACK:
                return &options->seal.kms.dual_stack;
        default:
                return NULL;
        }
}

int volume_create(int argc, char *argv[]) {
        Options options = {};
        Error error;
        int c, r;

        options.seal.pairs = options.pairs;
        while ((c = getopt_long(argc, argv, "ho:", long_options, NULL)) >= 0)
                if (c == 'h') {
                        print_create_help();
                        return EXIT_SUCCESS;
                } else if (c == OPTION_CONTEXT) {
                        if (options.seal.pairs_count == PAIRS_MAX)
                                return usage_error("volume create takes at most %u --context=.", PAIRS_MAX);
                        options.pairs[options.seal.pairs_count++] = optarg;
                } else if (field_of(&options, c))
                        *field_of(&options, c) = optarg;
                else if (switch_of(&options, c))
                        *switch_of(&options, c) = true;
                else
                        return EXIT_USAGE;
        options.input = argv[optind];
        r = check_options(&options, argc - optind);
        if (r != 0)
                return r;
        (void) memory_protect_process(&error);
        return create(&options);
}
