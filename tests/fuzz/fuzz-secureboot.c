/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Predicts the boot of an image under Secure Boot, with db and dbx. The input is a byte of options, the
 * sizes of db and dbx in two bytes each, db, dbx, and the image. The options can append the image's own hash
 * to db or dbx, so that both verdicts are reached: firmware starts an image that is in db, unless dbx has
 * it, too (UEFI 2.10, 32.4.1).
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unsealctl/measure/prediction.h"

#define LIST_HEADER_SIZE 28U
#define LIST_SIZE (LIST_HEADER_SIZE + SIGNATURE_OWNER_SIZE + 32U)
#define HASH_IN_DB 1U
#define HASH_IN_DBX 2U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* EFI_CERT_SHA256_GUID, and the three sizes of an EFI_SIGNATURE_LIST with one entry. */
static const uint8_t list_header[LIST_HEADER_SIZE] = {
        0x26, 0x16,      0xc4, 0xc1, 0x4c,
        0x50, 0x92,      0x40, 0xac, 0xa9,
        0x41, 0xf9,      0x36, 0x93, 0x43,
        0x28, LIST_SIZE, 0,    0,    0,
        0,    0,         0,    0,    SIGNATURE_OWNER_SIZE + 32,
        0,    0,         0,
};

static size_t make_variable(const uint8_t *data, size_t size, const uint8_t *hash, uint8_t *ret) {
        if (size > 0)
                memcpy(ret, data, size);
        if (!hash)
                return size;
        memcpy(ret + size, list_header, LIST_HEADER_SIZE);
        memset(ret + size + LIST_HEADER_SIZE, 0, SIGNATURE_OWNER_SIZE);
        memcpy(ret + size + LIST_HEADER_SIZE + SIGNATURE_OWNER_SIZE, hash, 32);
        return size + LIST_SIZE;
}

static bool is_parsable(Slice variable) {
        _cleanup_signatures_ SignatureDatabase database = {};
        Error error = {};

        return signature_database_parse(variable.data, variable.size, &database, &error) >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *db = NULL, *dbx = NULL;
        _cleanup_prediction_ Prediction prediction = {};
        uint8_t hash[EVP_MAX_MD_SIZE];
        PredictedImage found = {};
        Error error = {};
        EfiImage image;
        unsigned options;
        size_t db_size, dbx_size;

        if (size < 5)
                return 0;
        options = data[0];
        db_size = (size_t) (data[1] | data[2] << 8);
        dbx_size = (size_t) (data[3] | data[4] << 8);
        data += 5;
        size -= 5;
        if (db_size + dbx_size > size)
                return 0;
        const uint8_t *file = data + db_size + dbx_size;
        size_t file_size = size - db_size - dbx_size;
        if (efi_image_parse(file, file_size, &image, &error) < 0 ||
            efi_image_hash(&image, EVP_sha256(), hash, &error) < 0)
                return 0;

        db = malloc(db_size + LIST_SIZE);
        dbx = malloc(dbx_size + LIST_SIZE);
        assert(db && dbx);
        const SecureBootVariables variables = {
                .pk = { (const uint8_t *) "PK", 2 },
                .db = { db, make_variable(data, db_size, options & HASH_IN_DB ? hash : NULL, db) },
                .dbx = { dbx,
                         make_variable(data + db_size, dbx_size, options & HASH_IN_DBX ? hash : NULL, dbx) },
        };

        int r = prediction_begin(&variables, &prediction, &error);
        assert((r >= 0) == (is_parsable(variables.db) && is_parsable(variables.dbx)) || r == -ENOMEM);
        if (r >= 0)
                r = prediction_add_image(&prediction, file, file_size, &found, &error);
        if (r < 0) {
                assert(error.failure == FAILURE_CONFIGURATION && error.text[0] != 0);
                return 0;
        }
        assert(found.authority && prediction.secure_boot);
        assert(!(options & HASH_IN_DBX));
        return 0;
}
