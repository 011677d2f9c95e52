/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "basic/cbor.h"

#define INFO_UINT8 24U /* the argument follows in 1, 2, 4 or 8 bytes: 24 to 27 */
#define INFO_UINT64 27U
#define INFO_INDEFINITE 31U
#define BREAK 0xffU
#define HEAD_MAX 9U

static int read_argument(CborReader *reader, unsigned info, CborHead *head) {
        size_t size;

        if (info < INFO_UINT8) {
                head->argument = info;
                return 0;
        }
        if (info == INFO_INDEFINITE) {
                head->indefinite = true;
                return 0;
        }
        if (info > INFO_UINT64)
                return -EBADMSG;

        size = (size_t) 1 << (info - INFO_UINT8);
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
        head.type = (CborType) (rest.data[0] >> 5);
        info = rest.data[0] & 0x1fU;
        rest.data++;
        rest.left--;

        r = read_argument(&rest, info, &head);
        if (r < 0)
                return r;

        switch (head.type) {
        case CBOR_UINT:
        case CBOR_NEGATIVE:
        case CBOR_TAG:
                if (head.indefinite)
                        return -EBADMSG;
                break;
        case CBOR_BYTES:
        case CBOR_TEXT:
                if (head.indefinite)
                        break;
                if (head.argument > rest.left)
                        return -EBADMSG;
                head.data = rest.data;
                rest.data += head.argument;
                rest.left -= (size_t) head.argument;
                break;
        case CBOR_ARRAY:
                if (head.argument > rest.left)
                        return -EBADMSG;
                break;
        case CBOR_MAP:
                if (head.argument > rest.left / 2)
                        return -EBADMSG;
                break;
        case CBOR_SIMPLE:
                if (info != INFO_INDEFINITE && (info < CBOR_FALSE || info > CBOR_UNDEFINED))
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
        if (reader->left == 0 || reader->data[0] != BREAK)
                return true;

        reader->data++;
        reader->left--;
        return false;
}

static void write_raw(CborWriter *writer, const void *data, size_t size) {
        if (writer->overflowed || size > writer->capacity - writer->size) {
                writer->overflowed = true;
                return;
        }
        if (size > 0)
                memcpy(writer->data + writer->size, data, size);
        writer->size += size;
}

void cbor_write_head(CborWriter *writer, CborType type, uint64_t argument) {
        unsigned info = (unsigned) argument, size = 0;
        uint8_t head[HEAD_MAX];

        if (argument >= INFO_UINT8) {
                info = argument <= UINT8_MAX    ? INFO_UINT8
                       : argument <= UINT16_MAX ? INFO_UINT8 + 1
                       : argument <= UINT32_MAX ? INFO_UINT8 + 2
                                                : INFO_UINT64;
                size = 1U << (info - INFO_UINT8);
        }
        head[0] = (uint8_t) ((unsigned) type << 5 | info);
        for (unsigned i = 0; i < size; i++)
                head[1 + i] = (uint8_t) (argument >> 8 * (size - 1 - i));
        write_raw(writer, head, 1 + size);
}

void cbor_write_bytes(CborWriter *writer, const void *data, size_t size) {
        cbor_write_head(writer, CBOR_BYTES, size);
        write_raw(writer, data, size);
}

void cbor_write_text(CborWriter *writer, const char *text) {
        cbor_write_head(writer, CBOR_TEXT, strlen(text));
        write_raw(writer, text, strlen(text));
}

void cbor_write_null(CborWriter *writer) {
        cbor_write_head(writer, CBOR_SIMPLE, CBOR_NULL);
}
