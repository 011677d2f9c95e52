/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests to unseald-kms. A request has one outcome, whatever follows its head; its parts lie in the input, and no name comes twice but
 * those of lists.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/http-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const HttpRequestRules rules = { .method = "POST", .path = "/", .body_max = 4096 };

static void check(const HttpRequestHead *head, const char *data) {
        if ((head->status == 200) != !head->mistake || head->head_size > HTTP_REQUEST_HEAD_MAX ||
            head->fields_count > HTTP_REQUEST_FIELDS_MAX || head->body_size > rules.body_max)
                abort();
        for (size_t i = 0; i < head->fields_count; i++) {
                const HttpRequestField *field = head->fields + i;

                if (field->name < data || field->name_size == 0 ||
                    field->value < field->name + field->name_size ||
                    field->value + field->value_size > data + head->head_size ||
                    memchr(field->value, '\n', field->value_size) ||
                    memchr(field->value, '\r', field->value_size) ||
                    memchr(field->value, '\0', field->value_size))
                        abort();
        }
        if (head->status == 200 &&
            (http_request_field(head, "Transfer-Encoding") || !http_request_field(head, "Content-Length")))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *text = (const char *) data;
        HttpRequestHead whole, piece;
        bool decided = http_request_parse(text, size, &rules, &whole);

        if (decided)
                check(&whole, text);
        /* A request arrives in pieces, and its head means the same however it is cut. */
        for (size_t n = 0, step = size / 16 + 1; n < size; n += step) {
                if (!http_request_parse(text, n, &rules, &piece))
                        continue;
                check(&piece, text);
                if (!decided || piece.status != whole.status || piece.head_size != whole.head_size ||
                    piece.body_size != whole.body_size || piece.fields_count != whole.fields_count)
                        abort();
        }
        return 0;
}
