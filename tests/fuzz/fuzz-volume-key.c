/* SPDX-License-Identifier: Apache-2.0 */

/* Reads the key of a volume. The tree of basic/json.c must have the members that were taken, each sum must hold in wider arithmetic, and
 * the text that volume_key_format() makes must read as the same key. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/json.h"
#include "volume/volume-key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_layout(const VolumeKey *key) {
        unsigned __int128 blocks = (unsigned __int128) key->data_blocks, tree = 0;
        VolumeTree place;

        volume_tree_place(key->data_blocks, key->hash_start, &place);
        for (unsigned i = 0; i < place.levels; i++) {
                if (place.start[i] < key->hash_start || place.blocks[i] == 0)
                        abort();
                tree += place.blocks[i];
        }
        if (place.levels > 0 && place.blocks[place.levels - 1] != 1)
                abort();
        if (key->data_size == 0 || blocks * 4096 < key->data_size || (blocks - 1) * 4096 >= key->data_size ||
            (blocks + tree) * 4096 != key->size)
                abort();
}

static void check_tree(const char *text, size_t size, const VolumeKey *key) {
        _cleanup_json_ struct json_object *object = NULL;

        if (json_parse(text, size, &object) < 0 || json_object_object_length(object) != 14 ||
            strcmp(json_member_string(object, "name") ?: "", key->name) != 0 ||
            json_object_get_uint64(json_member(object, "size")) != key->size)
                abort();
}

static void check_round(const VolumeKey *key) {
        _cleanup_secret_ Secret *text = NULL;
        _cleanup_volume_key_ VolumeKey again = {};
        Error error;

        if (volume_key_format(key, &text) < 0)
                return;
        if (volume_key_parse((const char *) secret_bytes(text), secret_size(text), &again, &error) < 0 ||
            strcmp(key->name, again.name) != 0 || key->size != again.size ||
            key->data_size != again.data_size ||
            memcmp(secret_bytes(key->key), secret_bytes(again.key), VOLUME_KEY_SIZE) != 0 ||
            memcmp(key->salt, again.salt, sizeof(key->salt)) != 0 ||
            memcmp(key->root_hash, again.root_hash, sizeof(key->root_hash)) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text =
                        malloc(size + 1); /* of just this size, so that a sanitizer sees an access beyond */
        _cleanup_volume_key_ VolumeKey key = {};
        Error error;

        if (!text)
                return 0;
        memcpy(text, data, size);
        if (volume_key_parse(text, size, &key, &error) < 0)
                return 0;
        check_layout(&key);
        check_tree(text, size, &key);
        check_round(&key);
        return 0;
}
