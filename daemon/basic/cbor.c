/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>

#include "basic/cbor.h"

#define CBOR_DEPTH_MAX 8U
#define CBOR_ITEMS_MAX 1024U

#define CBOR_INFO_INDEFINITE 31U
#define CBOR_BREAK 0xffU

static int read_argument(CborReader *reader, unsigned info, CborHead *head) {
        size_t size;

        if (info < 24) {
                head->argument = info;
                return 0;
        }
        if (info == CBOR_INFO_INDEFINITE) {
                head->indefinite = true;
                return 0;
        }
        if (info > 27)
                return -EBADMSG;

        size = (size_t) 1 << (info - 24);
        if (reader->left < size)
                return -EBADMSG;
        for (size_t i = 0; i < size; i++)
                head->argument = head->argument << 8 | reader->data[i];
        reader->data += size;
        reader->left -= size;
        return 0;
}

int cbor_next(CborReader *reader, CborHead *ret) {
        CborReader rest = *reader;
        CborHead head = {};
        unsigned info;
        int r;

        if (rest.left == 0)
                return -EBADMSG;
        head.type = (cbor_type) (rest.data[0] >> 5);
        info = rest.data[0] & 0x1fU;
        rest.data++;
        rest.left--;

        r = read_argument(&rest, info, &head);
        if (r < 0)
                return r;

        switch (head.type) {
        case CBOR_TYPE_UINT:
        case CBOR_TYPE_NEGINT:
        case CBOR_TYPE_TAG:
                if (head.indefinite)
                        return -EBADMSG;
                break;
        case CBOR_TYPE_BYTESTRING:
        case CBOR_TYPE_STRING:
                if (head.indefinite)
                        break;
                if (head.argument > rest.left)
                        return -EBADMSG;
                head.data = rest.data;
                rest.data += head.argument;
                rest.left -= (size_t) head.argument;
                break;
        case CBOR_TYPE_ARRAY:
                if (head.argument > rest.left)
                        return -EBADMSG;
                break;
        case CBOR_TYPE_MAP:
                if (head.argument > rest.left / 2)
                        return -EBADMSG;
                break;
        case CBOR_TYPE_FLOAT_CTRL:
                if (info != CBOR_INFO_INDEFINITE && (info < CBOR_CTRL_FALSE || info > CBOR_CTRL_UNDEF))
                        return -EBADMSG;
                break;
        }

        *reader = rest;
        *ret = head;
        return 0;
}

bool cbor_more(CborReader *reader, const CborHead *container, uint64_t done) {
        if (!container->indefinite)
                return done < container->argument;
        if (reader->left == 0 || reader->data[0] != CBOR_BREAK)
                return true;

        reader->data++;
        reader->left--;
        return false;
}

/* The inside of a string of indefinite length: definite ones of the same type. */
static int check_chunks(CborReader *reader, const CborHead *string, unsigned *budget) {
        for (uint64_t n = 0; cbor_more(reader, string, n); n++) {
                CborHead chunk;
                int r;

                if (*budget == 0)
                        return -EBADMSG;
                (*budget)--;

                r = cbor_next(reader, &chunk);
                if (r < 0)
                        return r;
                if (chunk.type != string->type || chunk.indefinite)
                        return -EBADMSG;
        }
        return 0;
}

/* Recursive: depth bounds it. */
static int check_item(CborReader *reader, unsigned depth, unsigned *budget) {
        CborHead head;
        int r;

        if (depth == 0 || *budget == 0)
                return -EBADMSG;
        (*budget)--;

        r = cbor_next(reader, &head);
        if (r < 0)
                return r;

        switch (head.type) {
        case CBOR_TYPE_BYTESTRING:
        case CBOR_TYPE_STRING:
                return head.indefinite ? check_chunks(reader, &head, budget) : 0;
        case CBOR_TYPE_TAG:
                return -EBADMSG;
        case CBOR_TYPE_ARRAY:
        case CBOR_TYPE_MAP:
                for (uint64_t n = 0; cbor_more(reader, &head, n); n++) {
                        r = check_item(reader, depth - 1, budget);
                        if (r >= 0 && head.type == CBOR_TYPE_MAP)
                                r = check_item(reader, depth - 1, budget);
                        if (r < 0)
                                return r;
                }
                return 0;
        default:
                /* A break here ends nothing. */
                return head.indefinite ? -EBADMSG : 0;
        }
}

int cbor_parse(const uint8_t *data, size_t size, cbor_item_t **ret, size_t *ret_read) {
        _cleanup_cbor_ cbor_item_t *item = NULL;
        CborReader reader = { .data = data, .left = size };
        unsigned budget = CBOR_ITEMS_MAX;
        struct cbor_load_result result;
        size_t read;
        int r;

        r = check_item(&reader, CBOR_DEPTH_MAX, &budget);
        if (r < 0)
                return r;
        if (!ret_read && reader.left > 0)
                return -EBADMSG;

        /* libcbor may see the end of the item elsewhere; only the one that was checked counts. */
        read = size - reader.left;
        item = cbor_load(data, read, &result);
        if (!item)
                return result.error.code == CBOR_ERR_MEMERROR ? -ENOMEM : -EBADMSG;
        if (result.read != read)
                return -EBADMSG;

        *ret = TAKE_PTR(item);
        if (ret_read)
                *ret_read = read;
        return 0;
}
