/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "item.h"

/* libcbor's encoders return 0 when the buffer has no room left. */
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

#define DEPTH_MAX 8U
#define ITEMS_MAX 1024U
#define INFO_INDEFINITE 31U

/* The initial byte and the argument of one item (RFC 8949 section 3). */
static bool scan_head(Bytes *rest, cbor_type *ret_type, unsigned *ret_info, uint64_t *ret_argument) {
        size_t more = 0;

        if (rest->size == 0)
                return false;
        *ret_type = (cbor_type) (rest->data[0] >> 5);
        *ret_info = rest->data[0] & 0x1fU;
        *ret_argument = *ret_info;
        if (*ret_info >= 24 && *ret_info <= 27) {
                more = (size_t) 1 << (*ret_info - 24);
                *ret_argument = 0;
        }
        if (rest->size - 1 < more)
                return false;
        for (size_t i = 0; i < more; i++)
                *ret_argument = *ret_argument << 8 | rest->data[1 + i];
        rest->data += 1 + more;
        rest->size -= 1 + more;
        return true;
}

static bool scan_item(Bytes *rest, unsigned depth, unsigned *budget);

static bool scan_container(Bytes *rest, unsigned info, uint64_t n, unsigned depth, unsigned *budget) {
        if (info != INFO_INDEFINITE) {
                for (uint64_t i = 0; i < n; i++)
                        if (!scan_item(rest, depth, budget))
                                return false;
                return true;
        }
        /* libcbor refuses an indefinite map with an odd number of items. */
        while (rest->size > 0 && rest->data[0] != 0xff)
                if (!scan_item(rest, depth, budget))
                        return false;
        if (rest->size == 0)
                return false;
        rest->data++;
        rest->size--;
        return true;
}

/* Steps over one item. Recursive; depth bounds it. */
static bool scan_item(Bytes *rest, unsigned depth, unsigned *budget) {
        cbor_type type;
        unsigned info;
        uint64_t argument;

        if (depth == 0 || *budget == 0)
                return false;
        (*budget)--;
        if (!scan_head(rest, &type, &info, &argument) || (info > 27 && info != INFO_INDEFINITE))
                return false;

        switch (type) {
        case CBOR_TYPE_UINT:
        case CBOR_TYPE_NEGINT:
                return info != INFO_INDEFINITE;
        case CBOR_TYPE_BYTESTRING:
        case CBOR_TYPE_STRING:
                if (info == INFO_INDEFINITE || argument > rest->size)
                        return false;
                rest->data += argument;
                rest->size -= (size_t) argument;
                return true;
        case CBOR_TYPE_ARRAY:
                return (info == INFO_INDEFINITE || argument <= rest->size) &&
                       scan_container(rest, info, argument, depth - 1, budget);
        case CBOR_TYPE_MAP:
                return (info == INFO_INDEFINITE || argument <= rest->size / 2) &&
                       scan_container(rest, info, 2 * argument, depth - 1, budget);
        case CBOR_TYPE_FLOAT_CTRL:
                return info >= CBOR_CTRL_FALSE && info <= CBOR_CTRL_UNDEF;
        default:
                return false;
        }
}

int item_read(const uint8_t *data, size_t size, cbor_item_t **ret, size_t *ret_read) {
        _cleanup_item_ cbor_item_t *item = NULL;
        Bytes rest = { data, size };
        unsigned budget = ITEMS_MAX;
        struct cbor_load_result result;

        if (!scan_item(&rest, DEPTH_MAX, &budget) || (!ret_read && rest.size > 0))
                return -EBADMSG;
        item = cbor_load(data, size - rest.size, &result);
        if (!item)
                return result.error.code == CBOR_ERR_MEMERROR ? -ENOMEM : -EBADMSG;
        if (result.read != size - rest.size)
                return -EBADMSG;

        *ret = TAKE_PTR(item);
        if (ret_read)
                *ret_read = result.read;
        return 0;
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
