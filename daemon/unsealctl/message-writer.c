/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unsealctl/message-writer.h"

#define SUITE 0x0478U
#define VERSION 2U
#define FRAMED 2U
#define END_MARK 0xFFFFFFFFU

static uint8_t *put_number(uint8_t *p, uint64_t number, unsigned size) {
        for (unsigned i = size; i > 0; i--, number >>= 8)
                p[i - 1] = (uint8_t) number;
        return p + size;
}

static uint8_t *put_sized(uint8_t *p, const void *data, size_t size) {
        return mempcpy(put_number(p, size, 2), data, size);
}

static size_t key_length(const char *pair) {
        return strcspn(pair, "=");
}

/* Orders pairs by the bytes of their keys. */
static int compare_pairs(const void *a, const void *b) {
        const char *x = *(const char *const *) a, *y = *(const char *const *) b;
        size_t x_length = key_length(x), y_length = key_length(y);
        int r = memcmp(x, y, x_length < y_length ? x_length : y_length);

        return r != 0 ? r : (x_length > y_length) - (x_length < y_length);
}

static size_t count_pairs(const char *const *pairs) {
        size_t n = 0;

        while (pairs[n])
                n++;
        return n;
}

/* Each pair has two lengths of two bytes in place of its "=". */
static size_t context_size(const char *const *pairs) {
        size_t size = 2;

        for (; *pairs; pairs++)
                size += strlen(*pairs) + 3;
        return size;
}

static uint8_t *put_context(uint8_t *p, const char *const *sorted, size_t n, size_t size) {
        if (n == 0)
                return put_number(p, 0, 2);
        p = put_number(put_number(p, size, 2), n, 2);
        for (size_t i = 0; i < n; i++) {
                size_t length = key_length(sorted[i]);
                const char *value = sorted[i] + length + 1;

                p = put_sized(put_sized(p, sorted[i], length), value, strlen(value));
        }
        return p;
}

/* Everything before commitment and tag. Returns its end. */
static uint8_t *put_header(uint8_t *p, const MessageDraft *draft, const char *const *sorted, size_t n,
                           size_t size_of_context) {
        p = put_number(put_number(p, VERSION, 1), SUITE, 2);
        p = mempcpy(p, draft->id.data, draft->id.size);
        p = put_context(p, sorted, n, size_of_context);
        p = put_number(p, 1, 2);
        p = put_sized(p, MESSAGE_PROVIDER_KMS, strlen(MESSAGE_PROVIDER_KMS));
        p = put_sized(p, draft->key_arn, strlen(draft->key_arn));
        p = put_sized(p, draft->ciphertext.data, draft->ciphertext.size);
        return put_number(put_number(p, FRAMED, 1), draft->frame_length, 4);
}

int message_write_header(const MessageDraft *draft, Secret *data_key, Message **ret_message, uint8_t **ret,
                         size_t *ret_size) {
        size_t n = count_pairs(draft->context), size = context_size(draft->context);
        _cleanup_free_ const char **sorted = malloc((n + 1) * sizeof(*sorted));
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_free_ uint8_t *header = malloc(MESSAGE_HEADER_MAX);
        uint8_t *end;
        int r;

        if (!sorted || !header)
                return -ENOMEM;
        if (size > MESSAGE_CONTEXT_MAX || strlen(draft->key_arn) > MESSAGE_CONTEXT_MAX ||
            draft->ciphertext.size > MESSAGE_CONTEXT_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n; i++)
                sorted[i] = draft->context[i];
        qsort(sorted, n, sizeof(*sorted), compare_pairs);

        end = put_header(header, draft, sorted, n, size);
        r = message_new(message_suite_find(SUITE), &draft->id, draft->frame_length, data_key, &message, end);
        if (r < 0)
                return r;
        end += MESSAGE_COMMITMENT_SIZE;
        r = message_header_seal(message, NULL, &(Slice){ header, (size_t) (end - header) }, end);
        if (r < 0)
                return r;
        *ret_size = (size_t) (end + MESSAGE_TAG_SIZE - header);
        *ret = TAKE_PTR(header);
        *ret_message = TAKE_PTR(message);
        return 0;
}

int message_write_frame(const Message *message, uint32_t number, bool final, uint8_t *bytes, size_t size,
                        MessageFrameEnds *ret) {
        uint8_t *p = ret->head;
        MessageFrame frame = { .number = number, .final = final, .content = { bytes, size } };

        if (final)
                p = put_number(p, END_MARK, 4);
        p = put_number(p, number, 4);
        frame.iv = (Slice){ p, MESSAGE_IV_SIZE };
        p = put_number(p, number, MESSAGE_IV_SIZE);
        if (final)
                p = put_number(p, size, 4);
        ret->head_size = (size_t) (p - ret->head);
        return message_frame_seal(message, &frame, bytes, ret->tag);
}
