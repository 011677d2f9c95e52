/* SPDX-License-Identifier: Apache-2.0 */

/* Reads a *.volume file. No unit that is made of it has more lines, or other names, than those of a harmless one. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "config/volume-units.h"
#include "config/volumes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t lines(const char *text) {
        size_t n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static void check_units(const Volume *volume) {
        const size_t wanted[VOLUME_UNIT_FILES_MAX] = { 16, volume->writable ? 10 : 4, 5 };
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX];

        if (volume_units(volume, files) < 0)
                return;
        for (size_t i = 0; i < VOLUME_UNIT_FILES_MAX; i++) {
                const char *slash = files[i].path ? strchr(files[i].path, '/') : NULL;

                /* "srv-..c.mount" is a name like any other. */
                if (!files[i].path)
                        continue;
                assert(files[i].path[0] != '/' && strncmp(files[i].path, "../", 3) != 0);
                assert(!strstr(files[i].path, "/../"));
                assert(!slash || !strchr(slash + 1, '/'));
                assert(!files[i].text || (lines(files[i].text) == wanted[i] && !strchr(files[i].text, '%')));
        }
        assert(strstr(files[0].text,
                      volume->writable ? "\nOptions=rw,nodev,nosuid" : "\nOptions=ro,nodev,nosuid"));
        volume_units_clear(files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_ini_ IniFile *ini = calloc(1, sizeof(*ini));
        _cleanup_(volume_clear) Volume volume = {};
        Error error;

        assert(ini);
        ini->file = strdup("fuzz.volume");
        if (ini_parse("fuzz.volume", (const char *) data, size, ini, &error) < 0)
                return 0;
        if (volume_make(ini, "fuzz.volume", &volume, NULL, &error) < 0) {
                assert(error.failure == FAILURE_CONFIGURATION || error.failure == FAILURE_INTERNAL);
                return 0;
        }
        assert(volume.where[0] == '/' && volume.device.text[0] && volume.secret[0]);
        check_units(&volume);
        return 0;
}
