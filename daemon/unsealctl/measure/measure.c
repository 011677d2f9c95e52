/* SPDX-License-Identifier: Apache-2.0 */

/*
 * unsealctl measure: computes the PCRs of a boot without booting, and those that unseald extends with sealed secrets. It prints pcr_measurements.json in the format of AWS's
 * nitro-tpm-pcr-compute. Standard error says what each image is and which rule applied to it.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/encoding.h"
#include "basic/input-form.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/openssl-util.h"
#include "unsealctl/ctl.h"
#include "unsealctl/measure/disk.h"
#include "unsealctl/measure/image-form.h"
#include "unsealctl/measure/measured-secrets.h"
#include "unsealctl/measure/prediction.h"

#define EXIT_IMAGE 10
#define EXIT_VARIABLE 11
#define EXIT_DISK 12
#define EXIT_UNSUPPORTED 13
#define EXIT_NOT_AUTHORISED 14
#define EXIT_SEALED 15

#define IMAGES_MAX 16
#define VARIABLE_SIZE_MAX (1U << 20)
#define SUBJECT_MAX 512

typedef enum Variable {
        VARIABLE_PK,
        VARIABLE_KEK,
        VARIABLE_DB,
        VARIABLE_DBX,
        VARIABLES,
} Variable;

typedef struct Options {
        const char *variables[VARIABLES];
        const char *disk, *output;
        char **images; /* in the order in which firmware starts them */
        size_t images_count;
        MeasuredSecrets *secrets;
        bool json;
} Options;

typedef struct Measured {
        char *name; /* owned */
        PredictedImage image;
} Measured;

typedef struct Measurement {
        const Options *options;
        uint8_t *variables[VARIABLES]; /* owned */
        Prediction prediction;
        Measured images[IMAGES_MAX];
        size_t images_count;
} Measurement;

static void measurement_done(Measurement *measurement) {
        prediction_done(&measurement->prediction);
        for (size_t i = 0; i < VARIABLES; i++)
                free(measurement->variables[i]);
        for (size_t i = 0; i < measurement->images_count; i++)
                free(measurement->images[i].name);
}

static void print_help(void) {
        printf("unsealctl measure [OPTIONS…] IMAGE.efi…\n"
               "unsealctl measure [OPTIONS…] --disk=IMAGE\n"
               "unsealctl measure --measure-pcr=PCR --secret=NAME=SEALED…\n\n"
               "Compute PCR4, PCR7 and PCR12 of a boot as pcr_measurements.json. Give the EFI\n"
               "images in the order in which firmware starts them. Usually there is one.\n"
               "With --secret=, compute the PCRs of MeasurePcr=, too, or alone.\n\n"
               "  -h --help              Show this help\n"
               "     --disk=IMAGE        Measure EFI/BOOT/BOOT*.EFI of a raw disk image\n"
               "     --PK=FILE           Secure Boot is on, with this PK (an EFI signature list)\n"
               "     --KEK=FILE --db=FILE --dbx=FILE\n"
               "                         The other variables; empty by default\n"
               "     --measure-pcr=PCR   MeasurePcr= of the secrets that follow: 8, 13, 14 or 15\n"
               "     --secret=NAME=SEALED\n"
               "                         A secret and its sealed file; for more secrets give\n"
               "                         it again, in any order\n"
               "  -o --output=FILE       Write to a file\n"
               "     --json              Add what each image and secret is to the JSON\n\n"
               "Exit status: 0 done, 1 failure, 2 usage, 10 malformed image, 11 malformed\n"
               "variable, 12 malformed disk or no image on it, 13 unknown machine or\n"
               "systemd-stub, 14 Secure Boot would not start it, 15 malformed sealed secret.\n");
}

static int exit_status(int r, int otherwise) {
        switch (r) {
        case -ENOMEM:
        case -EIO:
                return EXIT_FAILURE;
        case -EOPNOTSUPP:
                return EXIT_UNSUPPORTED;
        case -EKEYREJECTED:
                return EXIT_NOT_AUTHORISED;
        default:
                return otherwise;
        }
}

/* Parses each variable by itself first, so that an error names the right file. */
static int load_variable(Measurement *measurement, Variable variable, Slice *ret) {
        _cleanup_signatures_ SignatureDatabase database = {};
        const char *path = measurement->options->variables[variable];
        Error error = {};
        size_t size;
        int r;

        if (!path)
                return 0;
        r = read_argument(path, VARIABLE_SIZE_MAX, &measurement->variables[variable], &size);
        if (r != 0)
                return r;
        r = signature_database_parse(measurement->variables[variable], size, &database, &error);
        if (r < 0) {
                (void) failure("%s: %s%s", path, error.text,
                               input_form_hint(measurement->variables[variable], size));
                return exit_status(r, EXIT_VARIABLE);
        }
        *ret = (Slice){ measurement->variables[variable], size };
        return 0;
}

static int begin(Measurement *measurement) {
        Slice data[VARIABLES] = {};
        Error error = {};
        int r;

        for (Variable i = 0; i < VARIABLES; i++) {
                r = load_variable(measurement, i, &data[i]);
                if (r != 0)
                        return r;
        }
        r = prediction_begin(&(SecureBootVariables){ .pk = data[VARIABLE_PK],
                                                     .kek = data[VARIABLE_KEK],
                                                     .db = data[VARIABLE_DB],
                                                     .dbx = data[VARIABLE_DBX] },
                             &measurement->prediction, &error);
        if (r < 0)
                return failure("%s", error.text);
        return 0;
}

/* form: a sentence about the file, for a file that is malformed. */
static int add_image(Measurement *measurement, const char *name, const uint8_t *data, size_t size,
                     const char *form) {
        Measured *measured = &measurement->images[measurement->images_count];
        Error error = {};
        int r;

        r = prediction_add_image(&measurement->prediction, data, size, &measured->image, &error);
        if (r < 0) {
                (void) failure("%s: %s%s%s", name, error.text, r == -EBADMSG ? " " : "",
                               r == -EBADMSG ? form : "");
                return exit_status(r, EXIT_IMAGE);
        }
        measured->name = strdup(name);
        if (!measured->name)
                return failure("Out of memory.");
        measurement->images_count++;
        return 0;
}

static int add_file(Measurement *measurement, const char *path) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        r = read_argument(path, BOOT_FILE_SIZE_MAX, &data, &size);
        return r != 0 ? r : add_image(measurement, path, data, size, image_form_of_efi(data, size));
}

static int read_at(void *userdata, uint64_t offset, void *buffer, size_t size) {
        int fd = *(int *) userdata;

        for (size_t done = 0; done < size;) {
                ssize_t n = pread(fd, (uint8_t *) buffer + done, size - done, (off_t) (offset + done));

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return -EIO;
                if (n > 0)
                        done += (size_t) n;
        }
        return 0;
}

static const char *form_of_disk(int fd) {
        uint8_t beginning[IMAGE_FORM_BYTES];
        ssize_t n = pread(fd, beginning, sizeof(beginning), 0);

        return image_form_of_disk(beginning, n > 0 ? (size_t) n : 0);
}

static int add_disk(Measurement *measurement, const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
        Disk disk = { .read = read_at, .userdata = &fd, .size = (uint64_t) size };
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_free_ char *name = NULL;
        BootFile file;
        Error error = {};
        struct stat st;
        int r;

        if (size < 0)
                return failure("Cannot read %s: %s.%s", path, strerror(errno),
                               fd >= 0 ? " Expected a file or a block device, since a disk is read in pieces."
                                       : "");
        if (fstat(fd, &st) >= 0 && S_ISDIR(st.st_mode))
                return failure("Cannot read %s: %s.", path, strerror(EISDIR));
        r = disk_read_boot_file(&disk, &file, &error);
        if (r < 0) {
                (void) failure("%s: %s%s%s", path, error.text, r == -EBADMSG ? " " : "",
                               r == -EBADMSG ? form_of_disk(fd) : "");
                return error.failure == FAILURE_INTERNAL ? EXIT_FAILURE : exit_status(r, EXIT_DISK);
        }
        data = file.data;
        if (asprintf(&name, "%s: partition %u: %s", path, file.partition, file.path) < 0)
                return failure("Out of memory.");
        return add_image(measurement, name, data, file.size, image_form_of_efi(data, file.size));
}

/* The subject in the format of RFC 2253, with control characters escaped. */
static const char *authority_to_string(const Signature *authority, char buffer[SUBJECT_MAX]) {
        const unsigned char *p = authority->data.data + SIGNATURE_OWNER_SIZE;
        _cleanup_(X509_freep) X509 *certificate = NULL;
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        int n;

        if (authority->kind != SIGNATURE_X509)
                return "its hash";
        certificate = d2i_X509(NULL, &p, (long) (authority->data.size - SIGNATURE_OWNER_SIZE));
        if (!bio || !certificate ||
            X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
                               XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
                return "a certificate";
        n = BIO_read(bio, buffer, SUBJECT_MAX - 1);
        buffer[n > 0 ? n : 0] = 0;
        return buffer;
}

static const char *kernel_rule(const Prediction *prediction, const PredictedImage *image) {
        if (image->kernel_measured)
                return "below 258, without Secure Boot: firmware loads its kernel, and measures that too";
        if (prediction->secure_boot && image->stub_version < 258)
                return "below 258, with Secure Boot: firmware does not measure its kernel again";
        return "258 or later: it loads its kernel itself, and firmware does not measure that";
}

static void say_image(const Prediction *prediction, const Measured *measured) {
        const PredictedImage *image = &measured->image;
        char subject[SUBJECT_MAX];

        fprintf(stderr, "%s: %s, ", measured->name, efi_machine_to_string(image->machine));
        if (image->has_kernel)
                fprintf(stderr, "systemd-stub %u%s, %s.\n", image->stub_version,
                        image->stub_assumed ? " (assumed: it has no .sdmagic section)" : "",
                        kernel_rule(prediction, image));
        else
                fprintf(stderr, "not a unified kernel image.\n");
        if (image->authority)
                fprintf(stderr, "%s: authorised by db: %s.\n", measured->name,
                        authority_to_string(image->authority, subject));
}

static void say(const Measurement *measurement) {
        for (size_t i = 0; i < measurement->images_count; i++) {
                say_image(&measurement->prediction, &measurement->images[i]);
                if (measurement->images[i].image.has_kernel)
                        continue;
                if (i + 1 < measurement->images_count)
                        fprintf(stderr,
                                "%s: PCR12 will not be zeros if this image passes on a command line.\n",
                                measurement->images[i].name);
                else
                        fprintf(stderr,
                                "%s: PCR4 will differ if this image starts another one. Give that image after it.\n",
                                measurement->images[i].name);
        }
}

static struct json_object *image_to_json(const Measured *measured) {
        struct json_object *object = made(json_object_new_object());
        const PredictedImage *image = &measured->image;
        char subject[SUBJECT_MAX];

        add_string(object, "Name", measured->name);
        add_string(object, "Machine", efi_machine_to_string(image->machine));
        add_hex(object, "Authenticode", image->digest, PCR_SIZE);
        if (image->has_kernel) {
                add(object, "StubVersion", made(json_object_new_int((int) image->stub_version)));
                add(object, "StubAssumed", made(json_object_new_boolean(image->stub_assumed)));
                add(object, "KernelMeasured", made(json_object_new_boolean(image->kernel_measured)));
        }
        if (image->kernel_measured)
                add_hex(object, "KernelAuthenticode", image->kernel_digest, PCR_SIZE);
        if (image->authority)
                add_string(object, "Authority", authority_to_string(image->authority, subject));
        return object;
}

static struct json_object *secrets_to_json(const MeasuredSecrets *secrets) {
        struct json_object *array = made(json_object_new_array());

        for (size_t i = 0; i < secrets->count; i++) {
                struct json_object *object = made(json_object_new_object());

                add_string(object, "Name", secrets->items[i].name);
                add(object, "Pcr", made(json_object_new_int((int) secrets->items[i].pcr)));
                add_hex(object, "SealedSha384", secrets->items[i].sealed, PCR_SIZE);
                if (json_object_array_add(array, object) < 0)
                        exit(failure("Out of memory."));
        }
        return array;
}

static struct json_object *measurement_to_json(const Measurement *measurement) {
        struct json_object *object = made(json_object_new_object()), *pcrs = made(json_object_new_object()),
                           *images;

        /* As AWS's tool prints it since it no longer prints Rust's own text, "SHA384 { ... }". Both are read. */
        add_string(pcrs, "HashAlgorithm", "SHA384");
        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (measurement->prediction.pcrs.present & UINT32_C(1) << i) {
                        char name[8];

                        (void) snprintf(name, sizeof(name), "PCR%u", i);
                        add_hex(pcrs, name, measurement->prediction.pcrs.value[i], PCR_SIZE);
                }
        add(object, "Measurements", pcrs);
        if (!measurement->options->json)
                return object;

        images = made(json_object_new_array());
        for (size_t i = 0; i < measurement->images_count; i++)
                if (json_object_array_add(images, image_to_json(&measurement->images[i])) < 0)
                        exit(failure("Out of memory."));
        add(object, "SecureBoot", made(json_object_new_boolean(measurement->prediction.secure_boot)));
        add(object, "Images", images);
        if (measurement->options->secrets->count > 0)
                add(object, "Secrets", secrets_to_json(measurement->options->secrets));
        return object;
}

static int print(const Measurement *measurement) {
        _cleanup_json_ struct json_object *object = measurement_to_json(measurement);
        const char *path = measurement->options->output;
        _cleanup_free_ char *text = NULL;
        int length, r;

        length = asprintf(&text, "%s\n",
                          json_object_to_json_string_ext(object,
                                                         JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                                         JSON_C_TO_STRING_NOSLASHESCAPE)
                                          ?: "");
        if (length < 0)
                return failure("Out of memory.");
        if (!path) {
                (void) fputs(text, stdout);
                return EXIT_SUCCESS;
        }
        r = write_file_atomic(path, text, (size_t) length, 0644);
        if (r < 0)
                return failure("Cannot write %s: %s.", path, strerror(-r));
        return EXIT_SUCCESS;
}

static int measure(const Options *options) {
        _cleanup_(measurement_done) Measurement measurement = { .options = options };
        int r;

        r = options->disk || options->images_count > 0 ? begin(&measurement) : 0;
        if (r == 0 && options->disk)
                r = add_disk(&measurement, options->disk);
        for (size_t i = 0; r == 0 && i < options->images_count; i++)
                r = add_file(&measurement, options->images[i]);
        if (r == 0)
                r = measured_secrets_read(options->secrets, EXIT_SEALED);
        if (r == 0)
                r = measured_secrets_extend(options->secrets, &measurement.prediction.pcrs);
        if (r != 0)
                return r;

        say(&measurement);
        return print(&measurement);
}

static int check_options(const Options *options) {
        if (options->disk && options->images_count > 0)
                return usage_error("measure needs either images or --disk=.");
        if (!options->disk && options->images_count == 0 && options->secrets->count == 0)
                return usage_error("measure needs an EFI image, --disk=, or --secret=.");
        if (options->secrets->pcr > 0 && options->secrets->count == 0)
                return usage_error("--measure-pcr= needs --secret= after it.");
        if (options->images_count > IMAGES_MAX)
                return usage_error("measure takes up to %d images.", IMAGES_MAX);
        if (!options->variables[VARIABLE_PK] &&
            (options->variables[VARIABLE_KEK] || options->variables[VARIABLE_DB] ||
             options->variables[VARIABLE_DBX]))
                return usage_error(
                                "--KEK=, --db= and --dbx= need --PK=, because Secure Boot is off without it.");
        return 0;
}

int verb_measure(int argc, char *argv[]) {
        enum {
                OPTION_VARIABLE = 256, /* the number of the variable is added */
                OPTION_DISK = OPTION_VARIABLE + VARIABLES,
                OPTION_JSON,
                OPTION_PCR,
                OPTION_SECRET,
        };
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "output", required_argument, NULL, 'o' },
                { "PK", required_argument, NULL, OPTION_VARIABLE + VARIABLE_PK },
                { "KEK", required_argument, NULL, OPTION_VARIABLE + VARIABLE_KEK },
                { "db", required_argument, NULL, OPTION_VARIABLE + VARIABLE_DB },
                { "dbx", required_argument, NULL, OPTION_VARIABLE + VARIABLE_DBX },
                { "disk", required_argument, NULL, OPTION_DISK },
                { "json", no_argument, NULL, OPTION_JSON },
                { "measure-pcr", required_argument, NULL, OPTION_PCR },
                { "secret", required_argument, NULL, OPTION_SECRET },
                {},
        };
        static MeasuredSecrets secrets; /* some 30 KiB */
        Options options = { .secrets = &secrets };
        int c, r = 0;

        while (r == 0 && (c = getopt_long(argc, argv, "ho:", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case 'o':
                        options.output = optarg;
                        break;
                case OPTION_VARIABLE ... OPTION_VARIABLE + VARIABLES - 1:
                        options.variables[c - OPTION_VARIABLE] = optarg;
                        break;
                case OPTION_DISK:
                        options.disk = optarg;
                        break;
                case OPTION_JSON:
                        options.json = true;
                        break;
                case OPTION_PCR:
                        r = measured_secrets_set_pcr(&secrets, optarg);
                        break;
                case OPTION_SECRET:
                        r = measured_secrets_add(&secrets, optarg);
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (r != 0)
                return r;
        options.images = argv + optind;
        options.images_count = (size_t) (argc - optind);
        r = check_options(&options);
        return r != 0 ? r : measure(&options);
}
