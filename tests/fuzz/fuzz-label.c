/* SPDX-License-Identifier: Apache-2.0 */

/* Reads the label area of a device. The input is the beginning of both copies: a label that is taken must be the same after it was
 * written and read, and one whose MAC is right can only be one that was written with the key. The digests need no key, so the copies are
 * read once more with digests that are right: otherwise no change of a field would come as far as the fields. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "basic/cleanup.h"
#include "volume/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AT_DIGEST 4032U

static void check_round(const Label *label, StateKeys *keys) {
        static const uint8_t none[LABEL_SUPERBLOCK_SIZE];
        uint8_t block[LABEL_SIZE], second[LABEL_SIZE];
        Label again;

        /* Only what has tags has a superblock, and the data are on the device. */
        if (memcmp(label->superblock, none, sizeof(none)) != 0 &&
            (label->unverified || label->state != LABEL_READY))
                abort();
        if (label->data_size > label->device_size - LABEL_AREA_SIZE)
                abort();
        if (label_write(label, keys, block) < 0 || label_parse(block, &again) < 0 ||
            !label_is_authentic(block, keys) || label_write(&again, keys, second) < 0 ||
            memcmp(block, second, sizeof(block)) != 0 || again.unverified != label->unverified)
                abort();
}

static void check_area(const uint8_t *area, StateKeys *keys) {
        unsigned copy;
        Label label;

        if (label_judge(area, NULL, &label, &copy) == LABEL_AREA_LABEL)
                check_round(&label, keys);
        if (label_judge(area, keys, &label, &copy) == LABEL_AREA_LABEL &&
            !label_is_authentic(area + label_copy_offset(copy), keys))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *area = calloc(1, LABEL_AREA_SIZE);
        _cleanup_secret_ Secret *data_key = NULL;
        _cleanup_state_keys_ StateKeys keys = {};
        size_t first = size < LABEL_SIZE ? size : LABEL_SIZE, second;

        if (!area || secret_new(STATE_DATA_KEY_MIN, &data_key) < 0 ||
            state_keys_derive(data_key, "state", &keys) < 0)
                return 0;
        second = size - first < LABEL_SIZE ? size - first : LABEL_SIZE;
        memcpy(area, data, first);
        memcpy(area + label_copy_offset(1), data + first, second);
        check_area(area, &keys);
        for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
                uint8_t *block = area + label_copy_offset(copy);

                if (EVP_Digest(block, AT_DIGEST, block + AT_DIGEST, NULL, EVP_sha256(), NULL) != 1)
                        return 0;
        }
        check_area(area, &keys);
        return 0;
}
