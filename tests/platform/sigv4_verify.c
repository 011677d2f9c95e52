/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "sigv4_verify.h"

#define SIGNED_HEADERS_MAX 64
#define QUERY_PARAMETERS_MAX 64

static int refuse(SigV4Refusal *refusal, const char *code, const char *format, ...) _printf_(3, 4);
static int refuse(SigV4Refusal *refusal, const char *code, const char *format, ...) {
        va_list arguments;

        refusal->code = code;
        va_start(arguments, format);
        vsnprintf(refusal->message, sizeof(refusal->message), format, arguments);
        va_end(arguments);
        return -EBADMSG;
}

const char *platform_sigv4_header(const SigV4Request *request, const char *name) {
        for (size_t i = 0; i < request->n_headers; i++)
                if (strcasecmp(request->headers[i].name, name) == 0)
                        return request->headers[i].value;
        return NULL;
}

/* Copies the value of "Name=value" out of the comma-separated list. Returns false where it is missing or
 * does not fit. */
static bool authorization_field(const char *list, const char *name, char *ret, size_t size) {
        size_t length = strlen(name);

        for (const char *p = list; *p;) {
                p += strspn(p, ", ");
                size_t n = strcspn(p, ", ");
                if (n > length && strncmp(p, name, length) == 0 && p[length] == '=') {
                        n -= length + 1;
                        if (n == 0 || n >= size)
                                return false;
                        memcpy(ret, p + length + 1, n);
                        ret[n] = '\0';
                        return true;
                }
                p += n;
        }
        return false;
}

/* Splits AKID/20150830/region/service/aws4_request. */
static bool read_credential(const char *credential, SigV4Claim *claim) {
        struct {
                char *part;
                size_t size;
        } parts[] = {
                { claim->access_key_id, sizeof(claim->access_key_id) },
                { claim->date, sizeof(claim->date) },
                { claim->region, sizeof(claim->region) },
                { claim->service, sizeof(claim->service) },
        };

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                size_t n = strcspn(credential, "/");
                if (n == 0 || n >= parts[i].size || credential[n] != '/')
                        return false;
                memcpy(parts[i].part, credential, n);
                parts[i].part[n] = '\0';
                credential += n + 1;
        }
        return strcmp(credential, "aws4_request") == 0;
}

static bool timestamp_is_valid(const char *text) {
        static const char shape[] = "00000000T000000Z";

        if (strlen(text) != strlen(shape))
                return false;
        for (size_t i = 0; shape[i]; i++)
                if (shape[i] == '0' ? !(text[i] >= '0' && text[i] <= '9') : text[i] != shape[i])
                        return false;
        return true;
}

int platform_sigv4_read_claim(const SigV4Request *request, SigV4Claim *ret, SigV4Refusal *refusal) {
        static const char scheme[] = "AWS4-HMAC-SHA256";
        const char *authorization = platform_sigv4_header(request, "Authorization"),
                   *date = platform_sigv4_header(request, "X-Amz-Date");
        SigV4Claim claim = {};
        char credential[512], missing[512] = "";

        if (!authorization)
                return refuse(refusal, "MissingAuthenticationTokenException",
                              "Missing Authentication Token");
        if (strncmp(authorization, scheme, strlen(scheme)) != 0 || authorization[strlen(scheme)] != ' ')
                return refuse(refusal, "IncompleteSignatureException",
                              "Unsupported AWS 'algorithm': '%.*s'.", (int) strcspn(authorization, " "),
                              authorization);

        const char *list = authorization + strlen(scheme);
        bool has_credential = authorization_field(list, "Credential", credential, sizeof(credential));
        bool has_signature =
                        authorization_field(list, "Signature", claim.signature, sizeof(claim.signature));
        bool has_headers = authorization_field(list, "SignedHeaders", claim.signed_headers,
                                               sizeof(claim.signed_headers));
        if (!has_credential || !has_signature || !has_headers || !date) {
                snprintf(missing, sizeof(missing), "%s%s%s%s",
                         has_credential ? "" : "Authorization header requires 'Credential' parameter. ",
                         has_signature ? "" : "Authorization header requires 'Signature' parameter. ",
                         has_headers ? "" : "Authorization header requires 'SignedHeaders' parameter. ",
                         date ? ""
                              : "Authorization header requires existence of either a 'X-Amz-Date' or a "
                                "'Date' header. ");
                return refuse(refusal, "IncompleteSignatureException", "%sAuthorization=%s", missing,
                              scheme);
        }
        if (!read_credential(credential, &claim))
                return refuse(refusal, "IncompleteSignatureException",
                              "Credential must have exactly 5 slash-delimited elements, e.g. "
                              "keyid/date/region/service/term, got '%s'.",
                              credential);
        if (!timestamp_is_valid(date))
                return refuse(refusal, "IncompleteSignatureException",
                              "Date must be in ISO-8601 'basic format'. Got '%.32s'. "
                              "See http://en.wikipedia.org/wiki/ISO_8601",
                              date);
        memcpy(claim.timestamp, date, sizeof(claim.timestamp));

        *ret = claim;
        return 0;
}

static void put_encoded(FILE *out, const char *text, size_t length, bool keep_slash) {
        for (size_t i = 0; i < length; i++) {
                unsigned char c = (unsigned char) text[i];
                bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                             (c != '\0' && strchr("-._~", c)) || (keep_slash && c == '/');

                if (plain)
                        fputc(c, out);
                else
                        fprintf(out, "%%%02X", c);
        }
}

/*
 * Drops empty, "." and ".." segments (RFC 3986 section 6). Then encodes all bytes, including percent signs.
 */
static int put_path(FILE *out, const char *path, size_t length) {
        typedef struct Segment {
                const char *text;
                size_t length;
        } Segment;
        _cleanup_free_ Segment *segments = calloc(length / 2 + 1, sizeof(*segments));
        const char *end = path + length;
        size_t n = 0;
        bool directory = true;

        if (!segments)
                return -ENOMEM;
        for (const char *p = path; p < end;) {
                while (p < end && *p == '/')
                        p++;
                const char *start = p;
                while (p < end && *p != '/')
                        p++;
                size_t l = (size_t) (p - start);
                directory = p < end || l == 0;
                if (l == 0)
                        continue;
                if (l == 1 && start[0] == '.')
                        directory = true;
                else if (l == 2 && start[0] == '.' && start[1] == '.') {
                        directory = true;
                        n -= n > 0;
                } else
                        segments[n++] = (Segment){ start, l };
        }

        for (size_t i = 0; i < n; i++) {
                fputc('/', out);
                put_encoded(out, segments[i].text, segments[i].length, false);
        }
        if (directory || n == 0)
                fputc('/', out);
        return 0;
}

/*
 * Decodes and encodes again, so that every encoding that a client may choose gives the same canonical text.
 */
static void put_decoded_and_encoded(FILE *out, const char *text, size_t length, bool keep_slash) {
        for (size_t i = 0; i < length; i++) {
                char c = text[i];
                if (c == '%' && i + 2 < length && isxdigit((unsigned char) text[i + 1]) &&
                    isxdigit((unsigned char) text[i + 2])) {
                        char digits[3] = { text[i + 1], text[i + 2], '\0' };
                        c = (char) strtoul(digits, NULL, 16);
                        i += 2;
                }
                put_encoded(out, &c, 1, keep_slash);
        }
}

static int encoded_parameter(const char *text, size_t length, char **ret) {
        size_t name = 0, size;
        FILE *out = open_memstream(ret, &size);

        if (!out)
                return -ENOMEM;
        while (name < length && text[name] != '=')
                name++;
        put_decoded_and_encoded(out, text, name, false);
        /* Parameters are sorted by name, then by value. Until then a byte that sorts before all others
         * stands between the two. */
        fputc('\x01', out);
        if (name < length)
                put_decoded_and_encoded(out, text + name + 1, length - name - 1, false);
        return fclose(out) == 0 ? 0 : -ENOMEM;
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int put_query(FILE *out, const char *query) {
        char *parameters[QUERY_PARAMETERS_MAX];
        size_t n = 0;
        int r = 0;

        while (*query && r >= 0) {
                size_t length = strcspn(query, "&");
                if (length > 0 && n == ELEMENTSOF(parameters))
                        r = -E2BIG;
                else if (length > 0) {
                        r = encoded_parameter(query, length, &parameters[n]);
                        n += r >= 0;
                }
                query += length + (query[length] == '&');
        }

        qsort(parameters, n, sizeof(parameters[0]), compare_strings);
        for (size_t i = 0; i < n; i++) {
                *strchr(parameters[i], '\x01') = '=';
                if (r >= 0)
                        fprintf(out, "%s%s", i > 0 ? "&" : "", parameters[i]);
                free(parameters[i]);
        }
        return r;
}

/* Removes white space at the ends, and turns runs of it into one space. */
static void put_trimmed(FILE *out, const char *value) {
        bool gap = false, begun = false;

        for (; *value; value++) {
                if (strchr(" \t\r\n", *value)) {
                        gap = begun;
                        continue;
                }
                if (gap)
                        fputc(' ', out);
                fputc(*value, out);
                gap = false;
                begun = true;
        }
}

static void put_header(FILE *out, const SigV4Request *request, const char *name) {
        bool first = true;

        fprintf(out, "%s:", name);
        for (size_t i = 0; i < request->n_headers; i++)
                if (strcasecmp(request->headers[i].name, name) == 0) {
                        if (!first)
                                fputc(',', out);
                        put_trimmed(out, request->headers[i].value);
                        first = false;
                }
        fputc('\n', out);
}

static int sha256_hex(const void *data, size_t size, char ret[static 65]) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        _cleanup_free_ char *hex = NULL;

        if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) <= 0)
                return -EIO;
        int r = hex_encode(digest, 32, &hex);
        if (r < 0)
                return r;
        memcpy(ret, hex, 65);
        return 0;
}

static int put_canonical_request(FILE *out, const SigV4Request *request, const char *signed_headers) {
        _cleanup_free_ char *names_buffer = strdup(signed_headers);
        char *names[SIGNED_HEADERS_MAX], *state = NULL, hash[65];
        const char *query = strchr(request->target, '?');
        size_t path_length = query ? (size_t) (query - request->target) : strlen(request->target), n = 0;
        int r;

        if (!names_buffer)
                return -ENOMEM;
        for (char *name = strtok_r(names_buffer, ";", &state); name; name = strtok_r(NULL, ";", &state)) {
                if (n == ELEMENTSOF(names))
                        return -E2BIG;
                names[n++] = name;
        }
        /* The canonical order is sorted, whatever the client's order was. */
        qsort(names, n, sizeof(names[0]), compare_strings);

        fprintf(out, "%s\n", request->method);
        if (request->s3)
                put_decoded_and_encoded(out, request->target, path_length, true);
        else {
                r = put_path(out, request->target, path_length);
                if (r < 0)
                        return r;
        }
        fputc('\n', out);
        if (query) {
                r = put_query(out, query + 1);
                if (r < 0)
                        return r;
        }
        fputc('\n', out);
        for (size_t i = 0; i < n; i++)
                put_header(out, request, names[i]);
        fputc('\n', out);
        for (size_t i = 0; i < n; i++)
                fprintf(out, "%s%s", i > 0 ? ";" : "", names[i]);

        const char *claimed = request->s3 ? platform_sigv4_header(request, "X-Amz-Content-Sha256") : NULL;
        r = claimed ? 0 : sha256_hex(request->body, request->body_size, hash);
        if (r < 0)
                return r;
        fprintf(out, "\n%s", claimed ? claimed : hash);
        return 0;
}

int platform_sigv4_canonical_request(const SigV4Request *request, const char *signed_headers, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return -ENOMEM;
        int r = put_canonical_request(out, request, signed_headers);
        if (fclose(out) != 0 && r >= 0)
                r = -ENOMEM;
        if (r < 0)
                return r;

        *ret = TAKE_PTR(text);
        return 0;
}

int platform_sigv4_string_to_sign(const SigV4Claim *claim, const char *canonical_request, char **ret) {
        char hash[65], *text;
        int r = sha256_hex(canonical_request, strlen(canonical_request), hash);

        if (r < 0)
                return r;
        if (asprintf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", claim->timestamp, claim->date,
                     claim->region, claim->service, hash) < 0)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int platform_sigv4_signature(const SigV4Claim *claim, const char *secret, const char *string_to_sign,
                             char ret[static 65]) {
        const char *steps[] = { claim->date, claim->region, claim->service, "aws4_request", string_to_sign };
        unsigned char key[EVP_MAX_MD_SIZE];
        char first[256];
        int key_size = snprintf(first, sizeof(first), "AWS4%s", secret);
        _cleanup_free_ char *hex = NULL;

        if (key_size >= (int) sizeof(first))
                return -E2BIG;
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                unsigned char digest[EVP_MAX_MD_SIZE];
                if (!HMAC(EVP_sha256(), i == 0 ? (const void *) first : key, key_size,
                          (const unsigned char *) steps[i], strlen(steps[i]), digest, NULL))
                        return -EIO;
                memcpy(key, digest, 32);
                key_size = 32;
        }

        int r = hex_encode(key, 32, &hex);
        if (r < 0)
                return r;
        memcpy(ret, hex, 65);
        return 0;
}

static bool is_signed(const char *signed_headers, const char *name) {
        size_t length = strlen(name);

        for (const char *p = signed_headers; *p;) {
                size_t n = strcspn(p, ";");
                if (n == length && strncasecmp(p, name, n) == 0)
                        return true;
                p += n + (p[n] == ';');
        }
        return false;
}

/* A client must sign the host and all x-amz- headers, because they change the meaning of a request. */
static int check_signed_headers(const SigV4Request *request, const SigV4Claim *claim,
                                SigV4Refusal *refusal) {
        if (!is_signed(claim->signed_headers, "host"))
                return refuse(refusal, "InvalidSignatureException",
                              "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
        for (size_t i = 0; i < request->n_headers; i++) {
                const char *name = request->headers[i].name;
                if (strncasecmp(name, "x-amz-", strlen("x-amz-")) == 0 &&
                    !is_signed(claim->signed_headers, name))
                        return refuse(refusal, "InvalidSignatureException",
                                      "'%s' must be a 'SignedHeader' in the AWS Authorization.", name);
        }
        return 0;
}

static void format_timestamp(int64_t seconds, char ret[static 17]) {
        time_t t = (time_t) seconds;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(ret, 17, "%Y%m%dT%H%M%SZ", &tm);
}

static int check_time(const SigV4Claim *claim, int64_t now, int64_t tolerance, SigV4Refusal *refusal) {
        char now_text[17], limit_text[17];
        struct tm tm = {};
        int64_t t;

        if (!strptime(claim->timestamp, "%Y%m%dT%H%M%SZ", &tm))
                return refuse(refusal, "InvalidSignatureException", "Invalid date '%s'.", claim->timestamp);
        t = timegm(&tm);
        format_timestamp(now, now_text);

        if (t < now - tolerance) {
                format_timestamp(now - tolerance, limit_text);
                return refuse(refusal, "InvalidSignatureException",
                              "Signature expired: %s is now earlier than %s (%s - %d min.)",
                              claim->timestamp, limit_text, now_text, (int) (tolerance / 60));
        }
        if (t > now + tolerance) {
                format_timestamp(now + tolerance, limit_text);
                return refuse(refusal, "InvalidSignatureException",
                              "Signature not yet current: %s is still later than %s (%s + %d min.)",
                              claim->timestamp, limit_text, now_text, (int) (tolerance / 60));
        }
        return 0;
}

static int check_scope(const SigV4Claim *claim, const char *region, const char *service,
                       SigV4Refusal *refusal) {
        if (strcmp(claim->region, region) != 0)
                return refuse(refusal, "InvalidSignatureException",
                              "Credential should be scoped to a valid region, not '%s'. ", claim->region);
        if (strcmp(claim->service, service) != 0)
                return refuse(refusal, "InvalidSignatureException",
                              "Credential should be scoped to correct service: '%s'. ", service);
        if (strncmp(claim->date, claim->timestamp, 8) != 0)
                return refuse(refusal, "InvalidSignatureException",
                              "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                              "date from "
                              "HTTP: '%s' != '%.8s', from '%s'.",
                              claim->date, claim->timestamp, claim->timestamp);
        return 0;
}

int platform_sigv4_verify(const SigV4Request *request, const SigV4Claim *claim, const char *secret,
                          const char *region, const char *service, int64_t now, SigV4Refusal *refusal) {
        _cleanup_free_ char *canonical = NULL, *to_sign = NULL;
        char signature[65];
        int r;

        r = check_scope(claim, region, service, refusal);
        if (r >= 0)
                r = check_time(claim, now, request->s3 ? SIGV4_S3_TOLERANCE_SEC : SIGV4_TOLERANCE_SEC,
                               refusal);
        if (r >= 0)
                r = check_signed_headers(request, claim, refusal);
        if (r >= 0)
                r = platform_sigv4_canonical_request(request, claim->signed_headers, &canonical);
        if (r >= 0)
                r = platform_sigv4_string_to_sign(claim, canonical, &to_sign);
        if (r >= 0)
                r = platform_sigv4_signature(claim, secret, to_sign, signature);
        if (r < 0)
                return r;

        if (strlen(claim->signature) != 64 || CRYPTO_memcmp(claim->signature, signature, 64) != 0)
                return refuse(refusal, "InvalidSignatureException",
                              "The request signature we calculated does not match the signature you "
                              "provided. Check "
                              "your AWS Secret Access Key and signing method. Consult the service "
                              "documentation for "
                              "details.\n\nThe Canonical String for this request should have "
                              "been\n'%s'\n\nThe "
                              "String-to-Sign should have been\n'%s'\n",
                              canonical, to_sign);
        return 0;
}
