/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "basic/encoding.h"
#include "basic/input-form.h"
#include "basic/json.h"
#include "tpm/pcr.h"

/* "PCR0" to "PCR23", without leading zeros. -1: another name. */
static int pcr_from_name(const char *name) {
        const char *p;
        int n = 0;

        if (strncmp(name, "PCR", 3) != 0)
                return -1;
        p = name + 3;
        if (*p == 0 || (*p == '0' && p[1] != 0))
                return -1;
        for (; *p; p++) {
                if (*p < '0' || *p > '9' || n >= PCR_COUNT)
                        return -1;
                n = n * 10 + *p - '0';
        }
        return n < PCR_COUNT ? n : -1;
}

static int parse_measurement(const char *name, struct json_object *value, PcrSet *pcrs, Error *error) {
        const char *digits =
                        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
        int pcr = pcr_from_name(name);

        /* A misspelt name is an error. Otherwise its author would believe that the PCR is compared. */
        if (pcr < 0)
                return error_set(
                                error, -EBADMSG, FAILURE_CONFIGURATION,
                                "The expected measurements have a member that is not a PCR. Its name must be PCR0 to PCR%i.",
                                PCR_COUNT - 1);
        if (!digits || hex_decode(digits, pcrs->value[pcr], PCR_SIZE) < 0)
                return error_set(error, -EBADMSG, FAILURE_CONFIGURATION,
                                 "The expected measurement of PCR%i must be %i hexadecimal digits.", pcr,
                                 2 * PCR_SIZE);
        pcrs->present |= UINT32_C(1) << pcr;
        return 0;
}

static int refuse_text(const char *text, size_t length, Error *error) {
        InputForm form = input_form_of_failed_text(text, length);

        if (form == INPUT_EMPTY)
                return error_set(
                                error, -EBADMSG, FAILURE_CONFIGURATION,
                                "The expected measurements are empty. 'unsealctl measure' prints the format.");
        if (form == INPUT_TEXT)
                return error_set(
                                error, -EBADMSG, FAILURE_CONFIGURATION,
                                "The expected measurements are not JSON. 'unsealctl measure' prints the format.");
        return error_set(error, -EBADMSG, FAILURE_CONFIGURATION,
                         "The expected measurements are %s, not JSON. %s", input_form_name(form),
                         input_form_cure(form));
}

int pcr_measurements_parse(const char *text, size_t length, PcrSet *ret, Error *error) {
        _cleanup_json_ struct json_object *object = NULL;
        struct json_object *measurements;
        PcrSet pcrs = {};

        if (json_parse(text, length, &object) < 0)
                return refuse_text(text, length, error);

        measurements = json_member(object, "Measurements");
        if (!measurements || !json_object_is_type(measurements, json_type_object))
                return error_set(
                                error, -EBADMSG, FAILURE_CONFIGURATION,
                                "The expected measurements have no object \"Measurements\". 'unsealctl measure' prints the format.%s",
                                json_object_is_type(object, json_type_string) ? input_form_hint(text, length)
                                                                              : "");

        json_object_object_foreach(measurements, name, value) {
                int r;

                /* nitro-tpm-pcr-compute prints "SHA384 { … }" or "SHA384", nitro-cli "Sha384". */
                if (strcmp(name, "HashAlgorithm") == 0) {
                        const char *algorithm = json_member_string(measurements, name);

                        if (algorithm && strncasecmp(algorithm, "SHA384", 6) == 0)
                                continue;
                        return error_set(
                                        error, -EBADMSG, FAILURE_CONFIGURATION,
                                        "The expected measurements have a HashAlgorithm that is not SHA384.");
                }

                r = parse_measurement(name, value, &pcrs, error);
                if (r < 0)
                        return r;
        }
        if (pcrs.present == 0)
                return error_set(error, -EBADMSG, FAILURE_CONFIGURATION,
                                 "The expected measurements are empty. They must name at least one PCR.");

        *ret = pcrs;
        return 0;
}

int pcr_extend(uint8_t value[static PCR_SIZE], const uint8_t digest[static PCR_SIZE]) {
        uint8_t both[2 * PCR_SIZE];

        memcpy(both, value, PCR_SIZE);
        memcpy(both + PCR_SIZE, digest, PCR_SIZE);
        return EVP_Digest(both, sizeof(both), value, NULL, EVP_sha384(), NULL) == 1 ? 0 : -EIO;
}

bool pcr_is_free(unsigned pcr) {
        return pcr == 8 || (pcr >= 13 && pcr <= 15);
}

int pcr_lock_digest(uint8_t ret[static PCR_SIZE]) {
        return EVP_Digest(PCR_LOCK_EVENT, strlen(PCR_LOCK_EVENT), ret, NULL, EVP_sha384(), NULL) == 1 ? 0
                                                                                                      : -EIO;
}

bool pcr_is_locked(const uint8_t value[static PCR_SIZE], const uint8_t *before) {
        uint8_t digest[PCR_SIZE], locked[PCR_SIZE] = {};

        if (before)
                memcpy(locked, before, PCR_SIZE);
        return pcr_lock_digest(digest) >= 0 && pcr_extend(locked, digest) >= 0 &&
               memcmp(locked, value, PCR_SIZE) == 0;
}

uint32_t pcr_differing(const PcrSet *a, const PcrSet *b) {
        uint32_t differing = 0;

        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (memcmp(a->value[i], b->value[i], PCR_SIZE) != 0)
                        differing |= UINT32_C(1) << i;
        return differing & a->present & b->present;
}

bool pcr_shows_drivers(const PcrSet *pcrs) {
        static const uint8_t zeros[PCR_SIZE];
        uint8_t without[PCR_SIZE];

        return (pcrs->present & UINT32_C(1) << 2) &&
               hex_decode(PCR2_WITHOUT_DRIVERS, without, sizeof(without)) >= 0 &&
               memcmp(pcrs->value[2], without, PCR_SIZE) != 0 &&
               memcmp(pcrs->value[2], zeros, PCR_SIZE) != 0;
}

const char *pcr_covers(unsigned pcr) {
        static const char *const covers[PCR_COUNT] = {
                [0] = "firmware: says nothing about the image",
                [1] = "firmware's configuration: differs between instances, says nothing about the image",
                [2] = "drivers that firmware loads, option ROMs among them",
                [3] = "option ROMs' configuration",
                [4] = "boot code: the unified kernel image",
                [5] = "partition table (GPT) and boot configuration",
                [6] = "the platform's manufacturer",
                [7] = "Secure Boot policy: its state, PK, KEK, db, dbx",
                [8] = "free for the operating system",
                [9] = "initrd and other files, by the kernel",
                [10] = "files, by the kernel's IMA",
                [11] = "sections of the unified kernel image and boot phases",
                [12] = "kernel command line and credentials from outside the image",
                [13] = "system extensions",
                [14] = "Machine Owner Keys, by shim",
                [15] = "the system's identity: machine ID, volume keys",
                [16] = "debugging: can be reset",
                [17] = "dynamic root of trust: not in use",
                [18] = "dynamic root of trust: not in use",
                [19] = "dynamic root of trust: not in use",
                [20] = "dynamic root of trust: not in use",
                [21] = "dynamic root of trust: not in use",
                [22] = "dynamic root of trust: not in use",
                [23] = "applications: can be reset",
        };

        return pcr < PCR_COUNT ? covers[pcr] : "no PCR of a NitroTPM";
}
