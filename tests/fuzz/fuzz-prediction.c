/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Predicts the boot of an image, with and without Secure Boot. The input is the size of db in two bytes, db,
 * and the image.
 */

#include <assert.h>

#include "unsealctl/measure/prediction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void predict(const SecureBootVariables *variables, const uint8_t *image, size_t size) {
        _cleanup_prediction_ Prediction prediction = {};
        PredictedImage found = {};
        Error error = {};
        int r;

        r = prediction_begin(variables, &prediction, &error);
        if (r >= 0)
                r = prediction_add_image(&prediction, image, size, &found, &error);
        if (r < 0) {
                assert(error.failure == FAILURE_CONFIGURATION && error.text[0] != 0);
                return;
        }
        assert(prediction.secure_boot == (found.authority != NULL));
        assert(!prediction.secure_boot || !found.kernel_measured);
        assert(!found.kernel_measured || (found.has_kernel && found.stub_version < 258));
        /* The same image once more: what was measured before must not matter. */
        r = prediction_add_image(&prediction, image, size, &found, &error);
        assert(r == 0);
}

static void look_at_sections(const uint8_t *data, size_t size) {
        static const char *const names[] = { ".linux", ".sdmagic", ".text", "" };
        EfiImage image;

        if (efi_image_parse(data, size, &image, NULL) < 0)
                return;
        assert(image.certificates.size <= size && image.headers_size <= size - image.certificates.size);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                Slice section;

                if (efi_image_section(&image, names[i], &section, NULL) < 0 || !section.data)
                        continue;
                assert(efi_image_has_section(&image, names[i]));
                assert(section.data >= data && section.size <= (size_t) (data + size - section.data));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        SecureBootVariables variables = {};
        size_t db;

        if (size < 2)
                return 0;
        db = (size_t) (data[0] | data[1] << 8);
        data += 2;
        size -= 2;
        if (db > size)
                return 0;

        look_at_sections(data + db, size - db);
        predict(&variables, data + db, size - db);
        variables.pk = (Slice){ (const uint8_t *) "PK", 2 };
        variables.db = (Slice){ data, db };
        predict(&variables, data + db, size - db);
        return 0;
}
