/* SPDX-License-Identifier: Apache-2.0 */

/* Only the nonce is decoded, and no header's value is used. Headers are checked for one reason: this reader and a proxy
 * before it must not disagree about where the request ends. */

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "attestation/query.h"
#include "basic/cleanup.h"
#include "basic/encoding.h"

/* A piece of the head; not NUL-terminated. */
typedef struct Text {
        const char *data;
        size_t size;
} Text;

static bool text_is(Text text, const char *wanted) {
        return text.size == strlen(wanted) && memcmp(text.data, wanted, text.size) == 0;
}

/* Drops the prefix. false: the text does not begin with it. */
static bool skip(Text *text, const char *prefix) {
        size_t size = strlen(prefix);

        if (text->size < size || memcmp(text->data, prefix, size) != 0)
                return false;
        *text = (Text){ text->data + size, text->size - size };
        return true;
}

/* token of RFC 9110 section 5.6.2. */
static bool is_token(Text text) {
        static const char marks[] = "!#$%&'*+-.^_`|~";

        for (size_t i = 0; i < text.size; i++) {
                char c = text.data[i];

                if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
                    !memchr(marks, c, sizeof(marks) - 1))
                        return false;
        }
        return text.size > 0;
}

/* Cuts the text before the first separator off into *ret, and drops the separator. false: there is no separator. */
static bool cut(Text *rest, const char *separator, Text *ret) {
        const char *found = memmem(rest->data, rest->size, separator, strlen(separator));

        if (!found)
                return false;
        *ret = (Text){ rest->data, (size_t) (found - rest->data) };
        *rest = (Text){ found + strlen(separator), rest->size - ret->size - strlen(separator) };
        return true;
}

static void refuse(AttestationQuery *query, unsigned status, const char *error, const char *message) {
        query->status = status;
        query->error = error;
        query->message = message;
}

static void malformed(AttestationQuery *query, const char *message) {
        refuse(query, 400, "malformed", message);
}

/* No head has these characters. So a client that speaks TLS gets its answer at once, before the head is complete. */
static bool has_control(Text text) {
        for (size_t i = 0; i < text.size; i++) {
                unsigned char c = (unsigned char) text.data[i];

                if ((c < ' ' && c != '\r' && c != '\n' && c != '\t') || c == 0x7f)
                        return true;
        }
        return false;
}

static bool is_field_value(Text value) {
        return !memchr(value.data, '\r', value.size) && !memchr(value.data, '\n', value.size);
}

static Text trim(Text text) {
        while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
                text = (Text){ text.data + 1, text.size - 1 };
        while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
                text.size--;
        return text;
}

static bool name_is(Text name, const char *wanted) {
        return name.size == strlen(wanted) && strncasecmp(name.data, wanted, name.size) == 0;
}

static bool parse_fields(Text rest, bool host_wanted, AttestationQuery *query) {
        unsigned hosts = 0;
        Text line, name;

        while (rest.size > 0) {
                if (!cut(&rest, "\r\n", &line) || !cut(&line, ":", &name) || !is_token(name) ||
                    !is_field_value(line)) {
                        malformed(query, "A header line is malformed.");
                        return false;
                }
                if (name_is(name, "Host"))
                        hosts++;
                if (name_is(name, "Transfer-Encoding") ||
                    (name_is(name, "Content-Length") && !text_is(trim(line), "0"))) {
                        malformed(query, "A request must have no body.");
                        return false;
                }
        }
        if (hosts > 1 || (host_wanted && hosts == 0)) {
                malformed(query, "A request must have one Host header.");
                return false;
        }
        return true;
}

static bool parse_nonce(Text text, AttestationQuery *query) {
        char digits[2 * ATTESTATION_NONCE_MAX + 1] = "";

        if (!skip(&text, "?nonce=") || text.size < 2 * ATTESTATION_NONCE_MIN || text.size >= sizeof(digits))
                return false;
        memcpy(digits, text.data, text.size);
        query->nonce_size = text.size / 2;
        return hex_decode(digits, query->nonce, query->nonce_size) >= 0;
}

static void parse_target(Text method, Text target, AttestationQuery *query) {
        query->wants_status = text_is(target, ATTESTATION_STATUS_PATH);
        if (query->wants_status && !text_is(method, "GET") && !query->head_only)
                refuse(query, 405, "method-not-allowed", "The status answers GET and HEAD only.");
        else if (query->wants_status)
                query->status = 200;
        else if (!skip(&target, ATTESTATION_PATH) || (target.size > 0 && target.data[0] != '?'))
                refuse(query, 404, "not-found", "This service has no other path than " ATTESTATION_PATH ".");
        else if (!text_is(method, "GET"))
                refuse(query, 405, "method-not-allowed", "This service answers GET only.");
        else if (!parse_nonce(target, query))
                refuse(query, 400, "nonce",
                       "The query must be nonce= with 16 to 512 bytes in hexadecimal digits, and nothing else.");
        else
                query->status = 200;
}

/* Any version of HTTP. */
static bool is_version(Text text) {
        return skip(&text, "HTTP/") && text.size == 3 && text.data[1] == '.';
}

static void parse_head(Text head, AttestationQuery *query) {
        Text line = {}, method = {}, target = {};

        /* cut() succeeds, since the head ends with a line. */
        (void) cut(&head, "\r\n", &line);
        if (!cut(&line, " ", &method) || !cut(&line, " ", &target) || !is_token(method) ||
            target.size == 0 || !is_field_value(target) || !is_version(line)) {
                malformed(query, "The first line is not an HTTP request.");
                return;
        }
        query->head_only = text_is(method, "HEAD");
        if (!text_is(line, "HTTP/1.1") && !text_is(line, "HTTP/1.0")) {
                refuse(query, 505, "version", "This service speaks HTTP/1.1 only.");
                return;
        }
        if (parse_fields(head, text_is(line, "HTTP/1.1"), query))
                parse_target(method, target, query);
}

bool attestation_query_parse(const char *data, size_t size, AttestationQuery *ret) {
        Text rest = { data, size }, head;

        *ret = (AttestationQuery){};
        if (cut(&rest, "\r\n\r\n", &head)) {
                head.size += strlen("\r\n");
                rest = head;
        } else
                head = (Text){};

        if (has_control(rest))
                malformed(ret, "The request has a control character.");
        else if (rest.size > ATTESTATION_HEAD_MAX || (!head.data && size >= ATTESTATION_HEAD_MAX))
                refuse(ret, 431, "too-large", "The head of the request is longer than 8192 bytes.");
        else if (head.data)
                parse_head(head, ret);
        else
                return false;

        assert(ret->status != 0);
        return true;
}
