/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "basic/clock.h"
#include "kms/application.h"
#include "unseald-kms/exchange.h"

ExchangeNext exchange_look(const char *data, size_t size, bool may_ask, HttpRequestHead *ret_head,
                           size_t *ret_wanted) {
        static const HttpRequestRules rules = { .method = "POST",
                                                .path = "/",
                                                .body_max = APPLICATION_BODY_MAX };

        if (!http_request_parse(data, size, &rules, ret_head)) {
                *ret_wanted = size < EXCHANGE_BUFFER_FIRST ? EXCHANGE_BUFFER_FIRST : HTTP_REQUEST_HEAD_MAX;
                return EXCHANGE_MORE;
        }
        if (!may_ask)
                return EXCHANGE_STRANGER;
        if (ret_head->status != 200)
                return EXCHANGE_MISTAKE;
        *ret_wanted = ret_head->head_size + ret_head->body_size;
        return size >= *ret_wanted ? EXCHANGE_WHOLE : EXCHANGE_MORE;
}

bool exchange_is_json(const HttpRequestHead *head) {
        static const char wanted[] = "application/x-amz-json-1.1";
        char type[64] = "";

        if (!http_request_copy(head, "Content-Type", type, sizeof(type)))
                return false;
        type[strcspn(type, "; \t")] = '\0';
        return strcasecmp(type, wanted) == 0;
}

ExchangeRepetition exchange_repetition(unsigned *repeated, Remedy remedy, bool attested) {
        ExchangeRepetition repetition = remedy == REMEDY_CREDENTIALS            ? EXCHANGE_WITH_CREDENTIALS
                                        : remedy == REMEDY_DOCUMENT && attested ? EXCHANGE_WITH_DOCUMENT
                                        : remedy == REMEDY_CLOCK                ? EXCHANGE_WITH_CLOCK
                                                                                : EXCHANGE_NO_REPETITION;

        if (repetition == EXCHANGE_NO_REPETITION || *repeated & 1U << repetition)
                return EXCHANGE_NO_REPETITION;
        *repeated |= 1U << repetition;
        return repetition;
}

bool exchange_hides(const KmsReply *reply, const Error *error, const char *session_token) {
        return error->failure == FAILURE_ROLE || error->failure == FAILURE_CLOCK ||
               (session_token && memmem(reply->body, reply->size, session_token, strlen(session_token)));
}

unsigned exchange_failure_status(const Error *error, const char **ret_type) {
        bool later = error->failure == FAILURE_NETWORK || error->failure == FAILURE_IMDS ||
                     error->failure == FAILURE_UNAVAILABLE;

        *ret_type = later ? "DependencyTimeoutException" : "KMSInternalException";
        return later ? 503 : 500;
}

size_t exchange_print_head(const ExchangeAnswer *answer, bool last, uint64_t now_usec,
                           char ret[static EXCHANGE_HEAD_MAX]) {
        bool has_id = answer->request_id && *answer->request_id,
             has_type = answer->error_type && *answer->error_type;
        time_t now = (time_t) (now_usec / USEC_PER_SEC);
        char date[64] = "";
        struct tm tm;

        if (gmtime_r(&now, &tm))
                (void) strftime(date, sizeof(date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        (void) snprintf(ret, EXCHANGE_HEAD_MAX,
                        "HTTP/1.1 %u %s\r\n%sContent-Type: application/x-amz-json-1.1\r\n"
                        "Content-Length: %zu\r\nCache-Control: no-store\r\n%s%s%s%s%s%s%sConnection: %s\r\n\r\n",
                        answer->status, http_reason_phrase(answer->status), date, answer->size,
                        has_id ? "x-amzn-RequestId: " : "", has_id ? answer->request_id : "",
                        has_id ? "\r\n" : "", has_type ? "x-amzn-ErrorType: " : "",
                        has_type ? answer->error_type : "", has_type ? "\r\n" : "",
                        answer->status == 405 ? "Allow: POST\r\n" : "", last ? "close" : "keep-alive");
        return strlen(ret);
}
