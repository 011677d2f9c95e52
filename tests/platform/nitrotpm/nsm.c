/* SPDX-License-Identifier: Apache-2.0 */

#include "nsm.h"

const char *platform_nsm_request_read(const uint8_t *index, size_t size, NsmFields *ret) {
        _cleanup_item_ cbor_item_t *item = NULL;
        const cbor_item_t *fields;
        NsmFields request;
        size_t read;

        if (item_read(index, size, &item, &read) < 0 || !cbor_isa_map(item) || !cbor_map_is_definite(item) ||
            cbor_map_size(item) != 1)
                return "InvalidArgument";
        fields = item_in_map(item, "Attestation");
        if (!fields)
                return "InvalidOperation";
        if (!cbor_isa_map(fields) || !cbor_map_is_definite(fields) || cbor_map_size(fields) != 3 ||
            !item_bytes_or_null(item_in_map(fields, "user_data"), &request.user_data) ||
            !item_bytes_or_null(item_in_map(fields, "nonce"), &request.nonce) ||
            !item_bytes_or_null(item_in_map(fields, "public_key"), &request.public_key) ||
            (request.public_key.data && request.public_key.size == 0))
                return "InvalidArgument";
        if (request.user_data.size > NSM_FIELD_MAX_SIZE || request.nonce.size > NSM_FIELD_MAX_SIZE ||
            request.public_key.size > NSM_FIELD_MAX_SIZE)
                return "InputTooLarge";
        request.item = TAKE_PTR(item);
        *ret = request;
        return NULL;
}

size_t platform_nsm_error_write(const char *name, uint8_t *reply, size_t capacity) {
        Writer writer = { .data = reply, .capacity = capacity };

        WRITE(&writer, cbor_encode_map_start, 1);
        writer_text(&writer, "Error");
        writer_text(&writer, name);
        return writer.overflowed ? 0 : writer.size;
}

size_t platform_nsm_document_write(Bytes document, uint8_t *reply, size_t capacity) {
        Writer writer = { .data = reply, .capacity = capacity };

        WRITE(&writer, cbor_encode_map_start, 1);
        writer_text(&writer, "Attestation");
        WRITE(&writer, cbor_encode_map_start, 1);
        writer_text(&writer, "document");
        writer_bytes(&writer, document);
        return writer.overflowed ? 0 : writer.size;
}
