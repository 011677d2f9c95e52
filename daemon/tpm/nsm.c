/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Request and reply are small, so they are written and read head by head. The request has the very bytes that AWS's own
 * client sends: definite lengths, and keys in that client's order. Of the reply, only the one byte string is needed. The
 * document in it is read elsewhere (attestation/document.c).
 */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "basic/cbor.h"
#include "tpm/nsm.h"

static void write_field(CborWriter *writer, const char *name, Slice field) {
        cbor_write_text(writer, name);
        if (field.data)
                cbor_write_bytes(writer, field.data, field.size);
        else
                cbor_write_null(writer);
}

int nsm_request_encode(const NsmRequest *request, uint8_t buffer[static NSM_REQUEST_MAX], size_t *ret_size) {
        CborWriter writer = { .data = buffer, .capacity = NSM_REQUEST_MAX };

        if (request->user_data.size > NSM_FIELD_MAX || request->nonce.size > NSM_FIELD_MAX ||
            request->public_key.size > NSM_FIELD_MAX)
                return -E2BIG;

        cbor_write_head(&writer, CBOR_MAP, 1);
        cbor_write_text(&writer, "Attestation");
        cbor_write_head(&writer, CBOR_MAP, 3);
        write_field(&writer, "user_data", request->user_data);
        write_field(&writer, "nonce", request->nonce);
        write_field(&writer, "public_key", request->public_key);
        assert(!writer.overflowed);

        *ret_size = writer.size;
        return 0;
}

typedef struct NsmError {
        const char *name;
        Remedy remedy;
        const char *meaning;
} NsmError;

static const NsmError nsm_errors[] = {
        { "InvalidArgument", REMEDY_NONE, "an argument is invalid" },
        { "InvalidIndex", REMEDY_NONE, "an index is out of bounds" },
        { "InvalidResponse", REMEDY_NONE, "its answer does not belong to the request" },
        { "ReadOnlyIndex", REMEDY_NONE, "a register is read-only" },
        { "InvalidOperation", REMEDY_RETRY, "it cannot do that now" },
        { "BufferTooSmall", REMEDY_NONE, "the NV index is too small for its answer" },
        { "InputTooLarge", REMEDY_NONE, "user data, nonce or public key are too long" },
        { "InternalError", REMEDY_RETRY, "it failed internally" },
};

static bool text_equal(const CborHead *text, const char *wanted) {
        return text->argument == strlen(wanted) && memcmp(text->data, wanted, strlen(wanted)) == 0;
}

static int refused(const CborHead *name, Error *error) {
        for (size_t i = 0; i < ELEMENTSOF(nsm_errors); i++) {
                const NsmError *known = &nsm_errors[i];

                if (!text_equal(name, known->name))
                        continue;
                error_set_remedy(error, -EREMOTEIO, FAILURE_ATTESTATION, known->remedy,
                                 "The Nitro security module refused to attest: %s (%s).", known->name,
                                 known->meaning);
                if (error)
                        strcpy(error->code, known->name);
                return -EREMOTEIO;
        }
        /* An unknown name is not printed: the device may have sent any bytes. */
        return error_set(
                        error, -EREMOTEIO, FAILURE_ATTESTATION,
                        "The Nitro security module refused to attest, with an error that unseald does not know.");
}

/* Reads a map of one pair up to its key. The map's length may be indefinite. The key must be a text in one piece. */
static int open_pair(CborReader *reader, CborHead *map, CborHead *key) {
        if (cbor_next(reader, map) < 0 || map->type != CBOR_MAP || !cbor_more(reader, map, 0))
                return -EBADMSG;
        if (cbor_next(reader, key) < 0 || key->type != CBOR_TEXT || key->indefinite)
                return -EBADMSG;
        return 0;
}

static int read_string(CborReader *reader, CborType type, CborHead *ret) {
        if (cbor_next(reader, ret) < 0 || ret->type != type || ret->indefinite)
                return -EBADMSG;
        return 0;
}

/* *ret_content: the name of the error if *ret_error, or else the document. */
static int read_reply(CborReader *reader, bool *ret_error, CborHead *ret_content) {
        CborHead outer, inner, key;

        if (open_pair(reader, &outer, &key) < 0)
                return -EBADMSG;
        if (text_equal(&key, "Error")) {
                *ret_error = true;
                if (read_string(reader, CBOR_TEXT, ret_content) < 0)
                        return -EBADMSG;
        } else if (text_equal(&key, "Attestation")) {
                *ret_error = false;
                if (open_pair(reader, &inner, &key) < 0 || !text_equal(&key, "document") ||
                    read_string(reader, CBOR_BYTES, ret_content) < 0 || ret_content->argument == 0 ||
                    cbor_more(reader, &inner, 1))
                        return -EBADMSG;
        } else
                return -EBADMSG;
        return cbor_more(reader, &outer, 1) ? -EBADMSG : 0;
}

int nsm_reply_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error) {
        CborReader reader = { .data = data, .left = size };
        CborHead content;
        uint8_t *document;
        bool is_error;

        if (read_reply(&reader, &is_error, &content) < 0)
                return error_set(
                                error, -EBADMSG, FAILURE_ATTESTATION,
                                "The Nitro security module sent a reply that is neither a document nor an error.");
        if (is_error)
                return refused(&content, error);

        document = malloc(content.argument);
        if (!document)
                return error_oom(error);
        memcpy(document, content.data, content.argument);

        *ret = document;
        *ret_size = content.argument;
        return 0;
}
