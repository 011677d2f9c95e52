/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "aws/sigv4.h"
#include "basic/encoding.h"

#define HASH_SIZE 32U
#define REQUEST_MAX \
        (64U * 1024U) /* bytes in method, path, query and headers together; AWS's own limits are smaller */
#define FIELDS_MAX 64U
#define ALGORITHM "AWS4-HMAC-SHA256"

char *erase_and_free(char *text) {
        if (text)
                explicit_bzero(text, strlen(text));
        free(text);
        return NULL;
}

void aws_credentials_clear(AwsCredentials *credentials) {
        erase_and_free(credentials->access_key_id);
        erase_and_free(credentials->secret_access_key);
        erase_and_free(credentials->session_token);
        *credentials = (AwsCredentials){};
}

int sigv4_date(int64_t time, char ret[static SIGV4_DATE_SIZE]) {
        const time_t t = (time_t) time;
        struct tm tm;

        if (time < 0 || time > INT64_C(253402300799) || !gmtime_r(&t, &tm))
                return -ERANGE;
        if (strftime(ret, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) != SIGV4_DATE_SIZE - 1)
                return -ERANGE;
        return 0;
}

int sigv4_body_hash(const void *body, size_t size, char ret[static 65]) {
        uint8_t hash[HASH_SIZE];

        if (!EVP_Digest(body ?: "", size, hash, NULL, EVP_sha256(), NULL))
                return -ENOMEM;
        for (size_t i = 0; i < sizeof(hash); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", hash[i]);
        return 0;
}

/* A text that grows at its end, in a buffer that bound_size() made large enough. */
typedef struct Text {
        char *end, *limit;
} Text;

static void put(Text *text, const char *data, size_t size) {
        assert(size < (size_t) (text->limit - text->end));
        text->end = mempcpy(text->end, data, size);
        *text->end = '\0';
}

static void put_string(Text *text, const char *string) {
        put(text, string, strlen(string));
}

/* Percent-encodes all characters except the unreserved ones (RFC 3986 section 2.3) and those in keep. */
static void put_encoded(Text *text, const char *data, size_t size, const char *keep) {
        static const char unreserved[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

        for (size_t i = 0; i < size; i++)
                if (strchr(unreserved, data[i]) || strchr(keep, data[i]))
                        put(text, data + i, 1);
                else {
                        char code[4];

                        (void) snprintf(code, sizeof(code), "%%%02X", (uint8_t) data[i]);
                        put(text, code, 3);
                }
}

/* Removes empty, "." and ".." segments (RFC 3986 section 5.2.4), in place. */
static void normalize_path(char *path) {
        char *out = path;

        for (char *segment = path, *next; *segment; segment = next) {
                size_t n = strcspn(segment + 1, "/");

                next = segment + 1 + n;
                if ((n == 0 && *next) || (n == 1 && segment[1] == '.'))
                        continue;
                if (n == 2 && segment[1] == '.' && segment[2] == '.') {
                        while (out > path && *--out != '/')
                                ;
                        continue;
                }
                memmove(out, segment, n + 1);
                out += n + 1;
        }
        if (out == path)
                *out++ = '/';
        *out = '\0';
}

static int put_path(Text *text, const char *path, bool s3) {
        _cleanup_free_ char *normalized = NULL;

        if (s3) {
                put_encoded(text, path, strlen(path), "/%");
                return 0;
        }
        normalized = strdup(path);
        if (!normalized)
                return -ENOMEM;
        normalize_path(normalized);
        put_encoded(text, normalized, strlen(normalized), "/");
        return 0;
}

/* A parameter of the query, or a header. name and value point into the caller's text. */
typedef struct Field {
        const char *name, *value;
        size_t name_size, value_size;
        size_t index; /* the place in the request */
} Field;

static int compare_bytes(const char *a, size_t a_size, const char *b, size_t b_size) {
        int r = memcmp(a, b, a_size < b_size ? a_size : b_size);

        return r != 0 ? r : (a_size > b_size) - (a_size < b_size);
}

static int compare_parameters(const void *x, const void *y) {
        const Field *a = x, *b = y;

        return compare_bytes(a->name, a->name_size, b->name, b->name_size)
                               ?: compare_bytes(a->value, a->value_size, b->value, b->value_size);
}

static int put_query(Text *text, const char *query) {
        _cleanup_free_ char *encoded = NULL;
        Field fields[FIELDS_MAX];
        size_t n_fields = 0;
        Text scratch;

        /* The order is that of the encoded parameters. */
        encoded = malloc(3 * strlen(query) + 1);
        if (!encoded)
                return -ENOMEM;
        scratch = (Text){ encoded, encoded + 3 * strlen(query) + 1 };
        *encoded = '\0';
        put_encoded(&scratch, query, strlen(query), "%&=");

        for (const char *next, *p = encoded; *p; p = next) {
                size_t size = strcspn(p, "&"), name_size = strcspn(p, "&=");

                next = p + size + (p[size] == '&');
                if (size == 0)
                        continue;
                if (n_fields == FIELDS_MAX)
                        return -E2BIG;
                fields[n_fields++] = (Field){
                        .name = p,
                        .name_size = name_size,
                        .value = p + name_size + (name_size < size),
                        .value_size = size - name_size - (name_size < size),
                };
        }
        qsort(fields, n_fields, sizeof(Field), compare_parameters);

        for (size_t i = 0; i < n_fields; i++) {
                put(text, "&", i > 0);
                put(text, fields[i].name, fields[i].name_size);
                put(text, "=", 1);
                put_encoded(text, fields[i].value, fields[i].value_size, "%");
        }
        return 0;
}

static bool is_space(char c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int field_of_header(const char *header, size_t index, Field *ret) {
        const char *colon = strchr(header, ':');

        if (!colon || colon == header)
                return -EINVAL;
        for (const char *p = header; p < colon; p++)
                if (is_space(*p))
                        return -EINVAL;
        *ret = (Field){
                .name = header,
                .name_size = (size_t) (colon - header),
                .value = colon + 1,
                .value_size = strlen(colon + 1),
                .index = index,
        };
        return 0;
}

static bool same_name(const Field *a, const Field *b) {
        return a->name_size == b->name_size && strncasecmp(a->name, b->name, a->name_size) == 0;
}

static int compare_headers(const void *x, const void *y) {
        const Field *a = x, *b = y;
        int r = strncasecmp(a->name, b->name, a->name_size < b->name_size ? a->name_size : b->name_size);

        if (r != 0)
                return r;
        if (a->name_size != b->name_size)
                return a->name_size > b->name_size ? 1 : -1;
        return a->index > b->index ? 1 : -1;
}

static void put_name(Text *text, const Field *field) {
        for (size_t i = 0; i < field->name_size; i++) {
                char c = field->name[i];

                if (c >= 'A' && c <= 'Z')
                        c = (char) (c - 'A' + 'a');
                put(text, &c, 1);
        }
}

/* Trims the value, and writes one space for several. */
static void put_value(Text *text, const Field *field) {
        bool space = false, begun = false;

        for (size_t i = 0; i < field->value_size; i++) {
                if (is_space(field->value[i])) {
                        space = begun;
                        continue;
                }
                put(text, " ", space);
                put(text, field->value + i, 1);
                begun = true;
                space = false;
        }
}

static int sort_headers(const char *const *headers, Field fields[static FIELDS_MAX], size_t *ret_size) {
        static const Field wanted[] = { { .name = "host", .name_size = 4 },
                                        { .name = "x-amz-date", .name_size = 10 } };
        unsigned found = 0;
        size_t n = 0;
        int r;

        for (; headers[n]; n++) {
                if (n == FIELDS_MAX)
                        return -E2BIG;
                r = field_of_header(headers[n], n, fields + n);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                        if (same_name(fields + n, wanted + i))
                                found |= 1U << i;
        }
        if (found != (1U << ELEMENTSOF(wanted)) - 1)
                return -EINVAL;
        qsort(fields, n, sizeof(Field), compare_headers);
        *ret_size = n;
        return 0;
}

/* Writes the headers, then their names. Commas join the values of headers with the same name, in the order of the request. */
static void put_headers(Text *text, const Field *fields, size_t n_fields) {
        for (size_t i = 0; i < n_fields; i++) {
                if (i > 0 && same_name(fields + i - 1, fields + i))
                        put(text, ",", 1);
                else {
                        put(text, "\n", i > 0);
                        put_name(text, fields + i);
                        put(text, ":", 1);
                }
                put_value(text, fields + i);
        }
        put(text, "\n\n", 2);
        for (size_t i = 0; i < n_fields; i++)
                if (i == 0 || !same_name(fields + i - 1, fields + i)) {
                        put(text, ";", i > 0);
                        put_name(text, fields + i);
                }
}

/* An upper bound for the size of the canonical request: a byte of path or query becomes "%XX", a parameter may get a "=", and
 * the name of a header is written twice. */
static int bound_size(const Sigv4Request *request, size_t *ret) {
        size_t size = strlen(request->method) + strlen(request->path) + strlen(request->query ?: "");

        for (size_t i = 0; request->headers[i]; i++)
                size += strlen(request->headers[i]);
        if (size > REQUEST_MAX)
                return -E2BIG;
        *ret = 4 * size + 128;
        return 0;
}

int sigv4_canonical_request(const Sigv4Request *request, char **ret, char **ret_names) {
        _cleanup_erase_ char *canonical = NULL;
        _cleanup_free_ char *names = NULL;
        Field fields[FIELDS_MAX];
        size_t n_fields, size;
        char hash[65];
        Text text;
        int r;

        if (request->path[0] != '/')
                return -EINVAL;
        r = sort_headers(request->headers, fields, &n_fields);
        if (r < 0)
                return r;
        r = bound_size(request, &size);
        if (r < 0)
                return r;
        r = sigv4_body_hash(request->body, request->body_size, hash);
        if (r < 0)
                return r;
        canonical = malloc(size);
        if (!canonical)
                return -ENOMEM;

        text = (Text){ canonical, canonical + size };
        *canonical = '\0';
        put_string(&text, request->method);
        put_string(&text, "\n");
        r = put_path(&text, request->path, request->s3);
        if (r < 0)
                return r;
        put_string(&text, "\n");
        r = put_query(&text, request->query ?: "");
        if (r < 0)
                return r;
        put_string(&text, "\n");
        put_headers(&text, fields, n_fields);
        names = strdup(strrchr(canonical, '\n') + 1);
        if (!names)
                return -ENOMEM;
        put_string(&text, "\n");
        put_string(&text, hash);

        *ret = TAKE_PTR(canonical);
        *ret_names = TAKE_PTR(names);
        return 0;
}

/* HMAC(HMAC(HMAC(HMAC(HMAC("AWS4" + secret, day), region), service), "aws4_request"), text) */
static int sign(const char *secret, const char *const *steps, uint8_t ret[static HASH_SIZE]) {
        /* asprintf() would leave copies of the key behind while its buffer grows. */
        _cleanup_erase_ char *initial = malloc(strlen("AWS4") + strlen(secret) + 1);
        const void *key = initial;
        size_t key_size;

        if (!initial)
                return -ENOMEM;
        key_size = (size_t) (stpcpy(stpcpy(initial, "AWS4"), secret) - initial);
        for (size_t i = 0; steps[i]; i++) {
                if (!HMAC(EVP_sha256(), key, (int) key_size, (const uint8_t *) steps[i], strlen(steps[i]),
                          ret, NULL)) {
                        explicit_bzero(ret, HASH_SIZE);
                        return -ENOMEM;
                }
                key = ret;
                key_size = HASH_SIZE;
        }
        return 0;
}

static bool date_is_valid(const char *date) {
        static const char form[] = "ddddddddTddddddZ";

        for (size_t i = 0; i < sizeof(form) - 1; i++)
                if (form[i] == 'd' ? date[i] < '0' || date[i] > '9' : date[i] != form[i])
                        return false;
        return date[sizeof(form) - 1] == '\0';
}

int sigv4_authorization(const Sigv4Request *request, const AwsCredentials *credentials, const char *date,
                        const char *region, const char *service, char **ret) {
        _cleanup_free_ char *names = NULL, *scope = NULL, *text = NULL, *signature = NULL;
        _cleanup_erase_ char *canonical = NULL;
        uint8_t mac[HASH_SIZE];
        char hash[65], day[9];
        int r;

        if (!date_is_valid(date) || !credentials->access_key_id || !credentials->secret_access_key)
                return -EINVAL;
        (void) snprintf(day, sizeof(day), "%.8s", date);

        r = sigv4_canonical_request(request, &canonical, &names);
        if (r < 0)
                return r;
        r = sigv4_body_hash(canonical, strlen(canonical), hash);
        if (r < 0)
                return r;
        if (asprintf(&scope, "%s/%s/%s/aws4_request", day, region, service) < 0 ||
            asprintf(&text, ALGORITHM "\n%s\n%s\n%s", date, scope, hash) < 0)
                return -ENOMEM;

        r = sign(credentials->secret_access_key,
                 (const char *const[]){ day, region, service, "aws4_request", text, NULL }, mac);
        if (r < 0)
                return r;
        r = hex_encode(mac, sizeof(mac), &signature);
        if (r < 0)
                return r;
        if (asprintf(ret, ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                     credentials->access_key_id, scope, names, signature) < 0)
                return -ENOMEM;
        return 0;
}
