/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unsealing/rest.h"

void rest_clear(Rest *rest) {
        if (rest->fd >= 0)
                (void) close(TAKE_FD(rest->fd));
        object_version_clear(&rest->object);
        free(TAKE_PTR(rest->beginning));
}

bool rest_exists(const Rest *rest) {
        return rest->fd >= 0 || rest->object.size > 0;
}

int rest_take_object(Rest *rest, const Source *source, const uint8_t *data, size_t size,
                     const ObjectVersion *version, size_t maximum, uint8_t **ret, size_t *ret_size,
                     Error *error) {
        bool is_message = message_is_likely(data, size);
        _cleanup_free_ uint8_t *beginning = NULL;

        if (version->size == size && (size <= BODY_WHOLE_MAX || !is_message))
                return source_take(source, data, size, maximum, ret, ret_size, error);
        if (!is_message)
                return error_set(
                                error, -EFBIG, FAILURE_SOURCE,
                                "%.200s: The object has more than %zu bytes and does not begin like a message. Store a long message as it is, not in base64.",
                                source->label, size);
        if (version->size == OBJECT_SIZE_UNKNOWN)
                return error_set(
                                error, -EBADMSG, FAILURE_SOURCE,
                                "%.200s: The server does not say how long the object is (Content-Length). unseald needs this for a message of more than %u bytes.",
                                source->label, BODY_WHOLE_MAX);
        rest->beginning = malloc(size);
        rest->beginning_size = size;
        size = size < MESSAGE_HEADER_MAX ? size : MESSAGE_HEADER_MAX;
        beginning = malloc(size);
        if (!beginning || !rest->beginning || object_version_copy(version, &rest->object) < 0)
                return error_oom(error);
        memcpy(rest->beginning, data, rest->beginning_size);
        rest->size = version->size;
        *ret = memcpy(TAKE_PTR(beginning), data, size);
        *ret_size = size;
        return 0;
}

static_assert(PIECES_CONNECTIONS_MAX <= BODY_CONNECTIONS_MAX, "one body may have all connections");

unsigned rest_limit(const Rest *rest, BodyPlan *plan) {
        /* A disk is read well before it is too far ahead. */
        unsigned enough = 2 * plan->threads + 2;

        if (rest->fd < 0)
                return rest->object.ranges ? PIECES_CONNECTIONS_MAX : 1;
        plan->pieces.ahead_max = plan->pieces.ahead_max < enough ? plan->pieces.ahead_max : enough;
        return 0;
}

int rest_begin(Rest *rest, sd_event *event, Fetcher *fetcher, const Fetch *fetch, const BodyPlan *plan,
               Body *body, PiecesTrouble trouble, void *userdata, Error *error) {
        const PiecesSink sink = body_sink(body);
        Pieces *pieces;
        int r;

        if (rest->fd >= 0)
                r = pieces_new_file(event, rest->fd, &plan->pieces, &sink, &pieces, error);
        else
                r = pieces_new_remote(fetcher, fetch, &rest->object, &plan->pieces, &sink, trouble, userdata,
                                      &pieces, error);
        if (r < 0)
                return r;
        if (rest->beginning && rest->beginning_size > plan->pieces.begin)
                pieces_remote_begin_with(pieces, rest->beginning + plan->pieces.begin,
                                         rest->beginning_size - plan->pieces.begin);
        free(TAKE_PTR(rest->beginning));
        body_take_pieces(body, pieces);
        return r;
}
