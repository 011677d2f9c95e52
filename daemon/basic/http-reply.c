/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "basic/duration.h"
#include "basic/http-reply.h"

void http_reply_begin(HttpReply *reply) {
        for (size_t i = 0; i < reply->headers_count; i++)
                free(reply->headers[i]);
        reply->headers_count = reply->header_bytes = 0;
}

static void body_clear(HttpReply *reply) {
        if (reply->body)
                explicit_bzero(reply->body, reply->body_allocated);
        free(reply->body);
}

void http_reply_clear(HttpReply *reply) {
        http_reply_begin(reply);
        body_clear(reply);
        free(reply->server_key);
        *reply = (HttpReply){};
}

int http_reply_add_header(HttpReply *reply, const char *line, size_t length) {
        char *header;

        if (reply->headers_count >= HTTP_HEADERS_MAX || length > HTTP_HEADER_BYTES_MAX - reply->header_bytes)
                return 0;

        header = strndup(line, length);
        if (!header)
                return -ENOMEM;
        header[strcspn(header, "\r\n")] = 0;
        reply->headers[reply->headers_count++] = header;
        reply->header_bytes += length;
        return 0;
}

int http_reply_add_body(HttpReply *reply, const char *data, size_t size) {
        if (size > reply->body_max - reply->body_size) {
                reply->too_big = true;
                return -EFBIG;
        }
        if (reply->body_size + size + 1 > reply->body_allocated) {
                size_t wanted = 2 * (reply->body_size + size) + 1;
                char *body = malloc(wanted);

                /* realloc() would leave a copy behind that is never wiped. */
                if (!body)
                        return -ENOMEM;
                if (reply->body)
                        memcpy(body, reply->body, reply->body_size);
                body_clear(reply);
                reply->body = body;
                reply->body_allocated = wanted;
        }
        memcpy(reply->body + reply->body_size, data, size);
        reply->body_size += size;
        reply->body[reply->body_size] = 0;
        return 0;
}

unsigned http_reply_status(const HttpReply *reply) {
        return reply->status;
}

const char *http_reply_header(const HttpReply *reply, const char *name) {
        size_t length = strlen(name);

        for (size_t i = reply->headers_count; i > 0; i--) {
                const char *header = reply->headers[i - 1];

                if (strncasecmp(header, name, length) == 0 && header[length] == ':')
                        return header + length + 1 + strspn(header + length + 1, " \t");
        }
        return NULL;
}

const char *http_reply_body(const HttpReply *reply, size_t *ret_size) {
        if (ret_size)
                *ret_size = reply->body_size;
        return reply->body ?: "";
}

int64_t http_reply_date(const HttpReply *reply) {
        const char *value = http_reply_header(reply, "Date");
        int64_t date;

        return value && parse_http_date(value, &date) >= 0 ? date : -1;
}

int64_t http_reply_certificate_end(const HttpReply *reply) {
        return reply->certificate_end;
}

const uint8_t *http_reply_server_key(const HttpReply *reply, size_t *ret_size) {
        *ret_size = reply->server_key_size;
        return reply->server_key;
}

uint64_t http_reply_retry_after_usec(const HttpReply *reply) {
        const char *value = http_reply_header(reply, "Retry-After");
        unsigned long seconds;
        char *end;

        if (!value || *value < '0' || *value > '9')
                return 0;
        errno = 0;
        seconds = strtoul(value, &end, 10);
        if (errno != 0 || *end != 0 || seconds > 3600)
                return 0;
        return seconds * USEC_PER_SEC;
}

int parse_http_date(const char *text, int64_t *ret) {
        static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
        static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
        struct tm tm = { .tm_mon = -1 };
        char month[4], again[64];

        if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour,
                   &tm.tm_min, &tm.tm_sec) != 6)
                return -EINVAL;
        for (int i = 0; i < 12; i++)
                if (strcmp(month, months[i]) == 0)
                        tm.tm_mon = i;
        if (tm.tm_mon < 0)
                return -EINVAL;
        tm.tm_year -= 1900;

        /* timegm() accepts 31 June, and sscanf() skips blanks and ignores the day of the week. So the time is written again,
         * and only the same text is a date. */
        time_t t = timegm(&tm);
        (void) snprintf(again, sizeof(again), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                        tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        if (strcmp(text, again) != 0)
                return -EINVAL;

        *ret = t;
        return 0;
}

int http_tls_error(long verify_result, const char *host, const char *detail, const char *trust_setting,
                   Error *error) {
        switch (verify_result) {
        case X509_V_ERR_CERT_NOT_YET_VALID:
        case X509_V_ERR_CERT_HAS_EXPIRED:
                return error_set_remedy(
                                error, -ETIME, FAILURE_CLOCK, REMEDY_RETRY,
                                "The certificate of %s is not valid at the time of this machine's clock (%s). Set the clock.",
                                host, X509_verify_cert_error_string(verify_result));
        case X509_V_OK:
        case X509_V_ERR_UNSPECIFIED: /* curl refused the name and did not ask OpenSSL */
                return error_set(
                                error, -EKEYREJECTED, FAILURE_TLS,
                                "The certificate is not one of %s: %s. Check the name of the endpoint, or another server answers in its place.",
                                host, detail[0] ? detail : "OpenSSL gives no reason");
        default:
                return error_set(
                                error, -EKEYREJECTED, FAILURE_TLS,
                                "The certificate of %s is not trusted (%s). Check %s, or another server answers in its place.",
                                host, X509_verify_cert_error_string(verify_result), trust_setting);
        }
}
