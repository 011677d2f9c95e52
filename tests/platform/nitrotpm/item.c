/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "item.h"

/* libcbor's encoders return 0 where there is no room. */
void writer_advance(Writer *writer, size_t n) {
        writer->size += n;
        if (n == 0)
                writer->overflowed = true;
}

static void write_raw(Writer *writer, const void *data, size_t size) {
        if (size > writer->capacity - writer->size) {
                writer->overflowed = true;
                return;
        }
        if (size > 0)
                memcpy(writer->data + writer->size, data, size);
        writer->size += size;
}

void writer_text(Writer *writer, const char *text) {
        WRITE(writer, cbor_encode_string_start, strlen(text));
        write_raw(writer, text, strlen(text));
}

void writer_bytes(Writer *writer, Bytes bytes) {
        if (!bytes.data) {
                WRITE(writer, cbor_encode_null);
                return;
        }
        WRITE(writer, cbor_encode_bytestring_start, bytes.size);
        write_raw(writer, bytes.data, bytes.size);
}

bool item_is_text(const cbor_item_t *item, const char *text) {
        return cbor_isa_string(item) && cbor_string_is_definite(item) &&
               cbor_string_length(item) == strlen(text) &&
               memcmp(cbor_string_handle(item), text, strlen(text)) == 0;
}

const cbor_item_t *item_in_map(const cbor_item_t *map, const char *key) {
        const struct cbor_pair *pairs = cbor_map_handle(map);

        for (size_t i = 0; i < cbor_map_size(map); i++)
                if (item_is_text(pairs[i].key, key))
                        return pairs[i].value;
        return NULL;
}

bool item_bytes_or_null(const cbor_item_t *item, Bytes *ret) {
        if (!item)
                return false;
        if (cbor_is_null(item)) {
                *ret = (Bytes){};
                return true;
        }
        if (!cbor_isa_bytestring(item) || !cbor_bytestring_is_definite(item))
                return false;
        *ret = (Bytes){ cbor_bytestring_handle(item) ?: (const uint8_t *) "", cbor_bytestring_length(item) };
        return true;
}

bool item_bytes(const cbor_item_t *item, size_t min, size_t max, Bytes *ret) {
        return item_bytes_or_null(item, ret) && ret->data && ret->size >= min && ret->size <= max;
}
