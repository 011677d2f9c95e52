/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "basic/http-request.h"

#define TOKEN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"

static bool refuse(HttpRequestHead *head, unsigned status, const char *mistake) {
        head->status = status;
        head->mistake = mistake;
        return false;
}

static bool is_token(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (text[i] == '\0' || !strchr(TOKEN, text[i]))
                        return false;
        return size > 0;
}

/* Visible ASCII, spaces, tabs and the bytes above ASCII, which RFC 9110 section 5.5 calls opaque. */
static bool is_value(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (((unsigned char) text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
                        return false;
        return true;
}

static bool is_word(const char *text, size_t size, const char *word) {
        return size == strlen(word) && strncasecmp(text, word, size) == 0;
}

/* The request line: METHOD SP PATH SP VERSION. */
static bool take_request_line(const char *line, size_t size, const HttpRequestRules *rules,
                              HttpRequestHead *head) {
        const char *end = line + size, *method_end = memchr(line, ' ', size), *path, *path_end;

        if (!method_end || !is_token(line, (size_t) (method_end - line)))
                return refuse(head, 400, "The request line has no method.");
        path = method_end + 1;
        path_end = memchr(path, ' ', (size_t) (end - path));
        if (!path_end || path_end == path || !is_value(path, (size_t) (path_end - path)))
                return refuse(head, 400, "The request line has no path.");
        if ((size_t) (end - path_end) != strlen(" HTTP/1.1") ||
            memcmp(path_end, " HTTP/1.1", strlen(" HTTP/1.1")) != 0)
                return refuse(head, 505, "Only HTTP/1.1 is spoken here.");
        if ((size_t) (path_end - path) != strlen(rules->path) ||
            memcmp(path, rules->path, strlen(rules->path)) != 0)
                return refuse(head, 404, "This path does not exist.");
        if ((size_t) (method_end - line) != strlen(rules->method) ||
            memcmp(line, rules->method, strlen(rules->method)) != 0)
                return refuse(head, 405, "This method is not taken.");
        return true;
}

/* Headers that are lists may come twice (RFC 9110 section 5.3). No decision here needs them but Connection, which is read as a whole. */
static bool is_list(const HttpRequestField *field) {
        static const char *const names[] = { "Accept",        "Accept-Encoding", "Accept-Language",
                                             "Cache-Control", "Connection",      "Via" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (is_word(field->name, field->name_size, names[i]))
                        return true;
        return false;
}

static bool came_before(const HttpRequestHead *head, const HttpRequestField *field) {
        for (size_t i = 0; i < head->fields_count; i++)
                if (head->fields[i].name_size == field->name_size &&
                    strncasecmp(head->fields[i].name, field->name, field->name_size) == 0)
                        return true;
        return false;
}

static bool take_field(const char *line, size_t size, HttpRequestHead *head) {
        const char *colon = memchr(line, ':', size), *end = line + size;
        HttpRequestField field;

        if (!colon || !is_token(line, (size_t) (colon - line)))
                return refuse(head, 400, "A header line has no name.");
        field = (HttpRequestField){ .name = line, .name_size = (size_t) (colon - line), .value = colon + 1 };
        while (field.value < end && (*field.value == ' ' || *field.value == '\t'))
                field.value++;
        while (end > field.value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
        field.value_size = (size_t) (end - field.value);
        if (!is_value(field.value, field.value_size))
                return refuse(head, 400, "A header has a control character.");
        if (!is_list(&field) && came_before(head, &field))
                return refuse(head, 400, "A header comes twice.");
        if (head->fields_count == HTTP_REQUEST_FIELDS_MAX)
                return refuse(head, 431, "The request has too many headers.");
        head->fields[head->fields_count++] = field;
        return true;
}

/* Goes through the lines of the head. A CR or LF anywhere else is part of a line, and no line may have one. */
static bool take_lines(const char *data, const HttpRequestRules *rules, HttpRequestHead *head) {
        const char *end = data + head->head_size - 2;

        for (const char *line = data, *next; line < end; line = next) {
                size_t size;

                next = memmem(line, (size_t) (end - line), "\r\n", 2);
                size = (size_t) (next - line);
                next += 2;
                if (memchr(line, '\n', size) || memchr(line, '\r', size) || memchr(line, '\0', size))
                        return refuse(head, 400, "A line does not end with CR LF.");
                if (line == data ? !take_request_line(line, size, rules, head)
                                 : !take_field(line, size, head))
                        return false;
        }
        return true;
}

/* At most seven digits: no limit of a body has more. */
static bool take_length(const HttpRequestField *field, size_t max, HttpRequestHead *head) {
        size_t length = 0;

        if (field->value_size == 0)
                return refuse(head, 400, "Content-Length is no number.");
        for (size_t i = 0; i < field->value_size; i++) {
                if (!isdigit((unsigned char) field->value[i]))
                        return refuse(head, 400, "Content-Length is no number.");
                if (i == 7)
                        return refuse(head, 413, "The body is too long.");
                length = length * 10 + (size_t) (field->value[i] - '0');
        }
        if (length > max)
                return refuse(head, 413, "The body is too long.");
        head->body_size = length;
        return true;
}

static void take_connection(HttpRequestHead *head) {
        for (size_t i = 0; i < head->fields_count; i++) {
                const HttpRequestField *field = head->fields + i;

                if (!is_word(field->name, field->name_size, "Connection"))
                        continue;
                for (size_t at = 0; at + strlen("close") <= field->value_size; at++)
                        if (strncasecmp(field->value + at, "close", strlen("close")) == 0)
                                head->close = true;
        }
}

static bool judge(const HttpRequestRules *rules, HttpRequestHead *head) {
        const HttpRequestField *length = http_request_field(head, "Content-Length");

        if (!http_request_field(head, "Host"))
                return refuse(head, 400, "The request has no Host header.");
        if (http_request_field(head, "Transfer-Encoding"))
                return refuse(head, 501, "Transfer-Encoding is not taken. Send Content-Length.");
        if (http_request_field(head, "Content-Encoding"))
                return refuse(head, 415, "Content-Encoding is not taken.");
        if (http_request_field(head, "Expect"))
                return refuse(head, 417, "Expect is not taken.");
        if (!length)
                return refuse(head, 411, "The request has no Content-Length.");
        if (!take_length(length, rules->body_max, head))
                return false;
        take_connection(head);
        return true;
}

bool http_request_parse(const char *data, size_t size, const HttpRequestRules *rules, HttpRequestHead *ret) {
        size_t searched = size < HTTP_REQUEST_HEAD_MAX ? size : HTTP_REQUEST_HEAD_MAX;
        const char *end = memmem(data, searched, "\r\n\r\n", 4);

        memset(ret, 0, sizeof(*ret));
        if (!end && size < HTTP_REQUEST_HEAD_MAX)
                return false;
        if (!end) {
                (void) refuse(ret, 431, "The head of the request is too long.");
                return true;
        }
        ret->head_size = (size_t) (end - data) + 4;
        if (end == data)
                (void) refuse(ret, 400, "The request line has no method.");
        else if (take_lines(data, rules, ret) && judge(rules, ret))
                ret->status = 200;
        return true;
}

const HttpRequestField *http_request_field(const HttpRequestHead *head, const char *name) {
        for (size_t i = 0; i < head->fields_count; i++)
                if (is_word(head->fields[i].name, head->fields[i].name_size, name))
                        return head->fields + i;
        return NULL;
}

bool http_request_copy(const HttpRequestHead *head, const char *name, char *buffer, size_t size) {
        const HttpRequestField *field = http_request_field(head, name);

        if (!field || field->value_size >= size)
                return false;
        memcpy(buffer, field->value, field->value_size);
        buffer[field->value_size] = '\0';
        return true;
}

const char *http_reason_phrase(unsigned status) {
        static const struct {
                unsigned status;
                const char *phrase;
        } phrases[] = {
                { 200, "OK" },
                { 400, "Bad Request" },
                { 403, "Forbidden" },
                { 404, "Not Found" },
                { 405, "Method Not Allowed" },
                { 411, "Length Required" },
                { 412, "Precondition Failed" },
                { 413, "Content Too Large" },
                { 415, "Unsupported Media Type" },
                { 417, "Expectation Failed" },
                { 429, "Too Many Requests" },
                { 431, "Request Header Fields Too Large" },
                { 500, "Internal Server Error" },
                { 501, "Not Implemented" },
                { 503, "Service Unavailable" },
                { 505, "HTTP Version Not Supported" },
        };

        for (size_t i = 0; i < ELEMENTSOF(phrases); i++)
                if (phrases[i].status == status)
                        return phrases[i].phrase;
        return status < 500 ? "Bad Request" : "Internal Server Error";
}
