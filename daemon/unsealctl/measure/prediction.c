/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Extends the PCRs of the SHA-384 bank with the same events as firmware. PCR11 is not predicted, because user space
 * goes on changing it. PCR12 is predicted only without command lines and credentials from outside, because a boot with
 * them should be refused.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uchar.h>

#include "basic/openssl-util.h"
#include "unsealctl/measure/prediction.h"

#define PCR_BOOT_CODE 4
#define PCR_SECURE_BOOT 7
#define PCR_COMMAND_LINE 12
#define GUID_SIZE 16
#define VARIABLE_NAME_MAX 16

/* From this version on, firmware loads the kernel for systemd-stub. Under Secure Boot the stub bypasses firmware's
 * check of the kernel and, with it, the measurement. Some earlier versions do not let firmware load the kernel at all,
 * so they are refused. */
#define STUB_FIRST 252
/* From this version on, systemd-stub loads the kernel itself, so firmware does not measure it. */
#define STUB_LOADS_KERNEL 258

/* 8be4df61-93ca-11d2-aa0d-00e098032b8c and d719b2cb-3d3a-4596-a3bc-dad00e67656f. */
static const uint8_t guid_global[GUID_SIZE] = { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                                0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c };
static const uint8_t guid_security[GUID_SIZE] = { 0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                                  0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f };

static int extend(Prediction *prediction, unsigned pcr, const uint8_t digest[PCR_SIZE], Error *error) {
        return pcr_extend(prediction->pcrs.value[pcr], digest) < 0
                               ? openssl_error(error, "extend a predicted PCR")
                               : 0;
}

static int extend_event(Prediction *prediction, unsigned pcr, const void *event, size_t size, Error *error) {
        uint8_t digest[PCR_SIZE];

        if (EVP_Digest(event, size, digest, NULL, EVP_sha384(), NULL) != 1)
                return openssl_error(error, "hash an event");
        return extend(prediction, pcr, digest, error);
}

static int extend_separator(Prediction *prediction, unsigned pcr, Error *error) {
        return extend_event(prediction, pcr, "\0\0\0", 4, error);
}

static void write64(uint8_t *p, uint64_t value) {
        for (size_t i = 0; i < 8; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

/* The event is UEFI_VARIABLE_DATA: GUID, length of the name in characters, length of the data, name in UTF-16, data. */
static int extend_variable(Prediction *prediction, const uint8_t guid[GUID_SIZE], const char *name,
                           const Slice *data, Error *error) {
        uint8_t header[GUID_SIZE + 2 * 8 + 2 * VARIABLE_NAME_MAX] = {}, digest[PCR_SIZE];
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        size_t length = strlen(name);

        memcpy(header, guid, GUID_SIZE);
        write64(header + GUID_SIZE, length);
        write64(header + GUID_SIZE + 8, data->size);
        for (size_t i = 0; i < length; i++)
                header[GUID_SIZE + 2 * 8 + 2 * i] = (uint8_t) name[i];

        if (!context || EVP_DigestInit_ex(context, EVP_sha384(), NULL) != 1 ||
            EVP_DigestUpdate(context, header, GUID_SIZE + 2 * 8 + 2 * length) != 1 ||
            EVP_DigestUpdate(context, data->data, data->size) != 1 ||
            EVP_DigestFinal_ex(context, digest, NULL) != 1)
                return openssl_error(error, "hash an event");
        return extend(prediction, PCR_SECURE_BOOT, digest, error);
}

static int begin_boot_code(Prediction *prediction, Error *error) {
        static const char action[] = "Calling EFI Application from Boot Option";
        int r;

        r = extend_event(prediction, PCR_BOOT_CODE, action, strlen(action), error);
        return r < 0 ? r : extend_separator(prediction, PCR_BOOT_CODE, error);
}

static int begin_secure_boot(Prediction *prediction, const SecureBootVariables *variables, Error *error) {
        const uint8_t on = prediction->secure_boot;
        const struct {
                const uint8_t *guid;
                const char *name;
                Slice data;
        } measured[] = {
                { guid_global, "SecureBoot", { &on, 1 } }, { guid_global, "PK", variables->pk },
                { guid_global, "KEK", variables->kek },    { guid_security, "db", variables->db },
                { guid_security, "dbx", variables->dbx },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(measured); i++) {
                r = extend_variable(prediction, measured[i].guid, measured[i].name, &measured[i].data,
                                    error);
                if (r < 0)
                        return r;
        }
        return extend_separator(prediction, PCR_SECURE_BOOT, error);
}

int prediction_begin(const SecureBootVariables *variables, Prediction *ret, Error *error) {
        _cleanup_prediction_ Prediction prediction = {
                .pcrs.present = UINT32_C(1) << PCR_BOOT_CODE | UINT32_C(1) << PCR_SECURE_BOOT |
                                UINT32_C(1) << PCR_COMMAND_LINE,
                .secure_boot = variables->pk.size > 0,
        };
        int r;

        r = signature_database_parse(variables->db.data, variables->db.size, &prediction.db, error);
        if (r >= 0)
                r = signature_database_parse(variables->dbx.data, variables->dbx.size, &prediction.dbx,
                                             error);
        if (r < 0)
                return r;
        prediction.db_measured = calloc(prediction.db.count + 1, sizeof(bool));
        if (!prediction.db_measured)
                return error_oom(error);

        r = begin_boot_code(&prediction, error);
        if (r >= 0)
                r = begin_secure_boot(&prediction, variables, error);
        if (r < 0)
                return r;
        *ret = TAKE(prediction, (Prediction){});
        return 0;
}

void prediction_done(Prediction *prediction) {
        signature_database_done(&prediction->db);
        signature_database_done(&prediction->dbx);
        free(prediction->db_measured);
}

/* Returns the number at the beginning of the text, whose characters have one or two bytes each. 0: there is none. */
static unsigned parse_version(const uint8_t *text, size_t size, size_t character) {
        unsigned version = 0;

        for (size_t i = 0; i + character <= size && text[i] >= '0' && text[i] <= '9'; i += character) {
                if (character > 1 && text[i + 1] != 0)
                        break;
                if (version < 100000)
                        version = version * 10 + (unsigned) (text[i] - '0');
        }
        return version;
}

static int check_version(unsigned version, unsigned *ret, Error *error) {
        if (version < STUB_FIRST)
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_CONFIGURATION,
                                "The systemd-stub of the image has version %u. Versions before %u are not supported. Build the image with a later one.",
                                version, STUB_FIRST);
        *ret = version;
        return 0;
}

/* Reads the version of "#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####". */
static int parse_stub_magic(const Slice *magic, unsigned *ret, Error *error) {
        static const char start[] = "#### LoaderInfo: systemd-stub ";
        const size_t length = sizeof(start) - 1;

        if (magic->size < length || memcmp(magic->data, start, length) != 0)
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_CONFIGURATION,
                                "The .sdmagic section of the image is not that of systemd-stub, so what it measures is not known. Use systemd-stub.");
        return check_version(parse_version(magic->data + length, magic->size - length, 1), ret, error);
}

/* Debian 12's stub for arm64 has .sdmagic behind its last section, where objcopy loses it. Its program still has the text
 * that it gives to the firmware variable StubInfo, "systemd-stub 252.39-1~deb12u2" in UTF-16. *ret is 0 if the program
 * has no such text. */
static int find_version_in_program(const EfiImage *image, unsigned *ret, Error *error) {
        static const char16_t name[] = u"systemd-stub ";
        const size_t length = sizeof(name) - sizeof(char16_t);
        const uint8_t *at, *end;
        unsigned found = 0;
        Slice program;
        int r;

        r = efi_image_section(image, ".text", &program, error);
        if (r < 0)
                return r;
        *ret = 0;
        if (!program.data)
                return 0;
        at = program.data;
        end = at + program.size;
        while ((at = memmem(at, (size_t) (end - at), name, length))) {
                unsigned version;

                at += length;
                version = parse_version(at, (size_t) (end - at), sizeof(char16_t));
                if (version == 0 || version == found)
                        continue;
                if (found > 0)
                        return error_set(
                                        error, -EOPNOTSUPP, FAILURE_CONFIGURATION,
                                        "The image has no .sdmagic section, and its program names two versions of systemd-stub, %u and %u. Build the image with systemd-stub %u or later.",
                                        found, version, STUB_FIRST);
                found = version;
        }
        return found > 0 ? check_version(found, ret, error) : 0;
}

/* Returns whether os-release(5) has the line NAME=VALUE, with or without quotes. */
static bool has_line(const Slice *release, const char *name, const char *value) {
        const char *text = (const char *) release->data, *end = text + release->size;
        char plain[64], quoted[64];

        (void) snprintf(plain, sizeof(plain), "%s=%s", name, value);
        (void) snprintf(quoted, sizeof(quoted), "%s=\"%s\"", name, value);
        while (text < end) {
                const char *newline = memchr(text, '\n', (size_t) (end - text));
                size_t length = (size_t) ((newline ?: end) - text);

                /* The section may be padded with zeros. */
                length = strnlen(text, length);
                if ((length == strlen(plain) && memcmp(text, plain, length) == 0) ||
                    (length == strlen(quoted) && memcmp(text, quoted, length) == 0))
                        return true;
                text = newline ? newline + 1 : end;
        }
        return false;
}

/* Amazon Linux 2023 has a stub of version 252 without .sdmagic, and AWS's nitro-tpm-pcr-compute assumes the same. Stubs
 * before 250, such as those of Ubuntu 22.04 and Debian 11, do not have the section either. Firmware does not load their
 * kernel. */
static bool is_amazon_linux_2023(const Slice *release) {
        return release->data &&
               (has_line(release, "ID", "amzn") || has_line(release, "NAME", "Amazon Linux")) &&
               (has_line(release, "VERSION_ID", "2023") || has_line(release, "VERSION", "2023"));
}

static int find_stub(const EfiImage *image, PredictedImage *found, Error *error) {
        Slice magic, release;
        int r;

        r = efi_image_section(image, ".sdmagic", &magic, error);
        if (r < 0)
                return r;
        if (magic.data)
                return parse_stub_magic(&magic, &found->stub_version, error);

        r = find_version_in_program(image, &found->stub_version, error);
        if (r < 0 || found->stub_version > 0)
                return r;

        r = efi_image_section(image, ".osrel", &release, error);
        if (r < 0)
                return r;
        if (!is_amazon_linux_2023(&release))
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_CONFIGURATION,
                                "The image has no .sdmagic section, its program does not name its version, and it is not of Amazon Linux 2023, so the version of its systemd-stub is not known. Build the image with systemd-stub %u or later.",
                                STUB_FIRST);
        found->stub_assumed = true;
        found->stub_version = STUB_FIRST;
        return 0;
}

/* Adds the kernel inside the image. Firmware measures it only if the stub lets firmware load it. */
static int add_kernel(Prediction *prediction, const EfiImage *image, PredictedImage *found, Error *error) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        EfiImage kernel;
        Slice linux_section;
        Error why = {};
        int r;

        found->has_kernel = efi_image_has_section(image, ".linux");
        if (!found->has_kernel)
                return 0;
        r = find_stub(image, found, error);
        if (r < 0 || found->stub_version >= STUB_LOADS_KERNEL || prediction->secure_boot)
                return r;

        r = efi_image_section(image, ".linux", &linux_section, error);
        if (r < 0)
                return r;
        r = efi_image_parse(linux_section.data, linux_section.size, &kernel, &why);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION,
                                 "In its section .linux, which starts at %#zx: %s",
                                 (size_t) (linux_section.data - image->file.data), why.text);
        r = efi_image_hash(&kernel, EVP_sha384(), digest, error);
        if (r < 0)
                return r;

        found->kernel_measured = true;
        memcpy(found->kernel_digest, digest, PCR_SIZE);
        return extend(prediction, PCR_BOOT_CODE, digest, error);
}

/* Firmware measures an entry of db when it first authorises an image. Two equal entries of db count as one. */
static int add_authority(Prediction *prediction, size_t index, Error *error) {
        const Signature *signature = &prediction->db.signatures[index];

        for (size_t i = 0; i < prediction->db.count; i++) {
                const Slice *other = &prediction->db.signatures[i].data;

                if (prediction->db_measured[i] && other->size == signature->data.size &&
                    memcmp(other->data, signature->data.data, other->size) == 0)
                        return 0;
        }
        prediction->db_measured[index] = true;
        return extend_variable(prediction, guid_security, "db", &signature->data, error);
}

int prediction_add_image(Prediction *prediction, const uint8_t *data, size_t size, PredictedImage *ret,
                         Error *error) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        PredictedImage found = {};
        EfiImage image;
        size_t authority;
        int r;

        r = efi_image_parse(data, size, &image, error);
        if (r < 0)
                return r;
        found.machine = image.machine;

        if (prediction->secure_boot) {
                r = secureboot_authorise(&image, &prediction->db, &prediction->dbx, &authority, error);
                if (r >= 0)
                        r = add_authority(prediction, authority, error);
                if (r < 0)
                        return r;
                found.authority = &prediction->db.signatures[authority];
        }

        r = efi_image_hash(&image, EVP_sha384(), digest, error);
        if (r < 0)
                return r;
        memcpy(found.digest, digest, PCR_SIZE);
        r = extend(prediction, PCR_BOOT_CODE, digest, error);
        if (r >= 0)
                r = add_kernel(prediction, &image, &found, error);
        if (r < 0)
                return r;
        *ret = found;
        return 0;
}
