/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "attestation/query.h"
#include "basic/cleanup.h"

#define NONCE "00112233445566778899aAbBcCdDeEfF"
#define GET "GET /attestation?nonce=" NONCE
#define HOST "Host: a\r\n"

static AttestationQuery parse(const char *data, size_t size) {
        AttestationQuery query;
        /* A copy of the exact size lets sanitizers see a read past the end. */
        _cleanup_free_ char *copy = malloc(size ?: 1);

        memcpy(copy, data, size);
        if (!attestation_query_parse(copy, size, &query))
                query.status = 0;
        return query;
}

/* status 0: the reader waits for more. */
static void assert_status_of(const char *data, size_t size, unsigned status) {
        AttestationQuery query = parse(data, size);

        if (query.status != status)
                fail_msg("\"%.*s\": saw %u (%s), wanted %u", (int) size, data, query.status,
                         query.message ?: "", status);
        if ((status == 0 || status == 200) != !query.error || !query.error != !query.message)
                fail_msg("\"%.*s\": %u with error %s, message %s", (int) size, data, query.status,
                         query.error ?: "none", query.message ?: "none");
}

static void assert_status(const char *text, unsigned status) {
        assert_status_of(text, strlen(text), status);
}

static void test_the_nonce_is_taken_out_of_the_query(void **state) {
        static const uint8_t nonce[] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                         0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
        static const char request[] =
                        GET " HTTP/1.1\r\nhOST: x\r\nUser-Agent:\tcurl/8 \xe9\r\nA:\r\n\r\nrest";
        AttestationQuery query = parse(request, sizeof(request) - 1);

        assert_int_equal(query.status, 200);
        assert_false(query.head_only);
        assert_int_equal(query.nonce_size, sizeof(nonce));
        assert_memory_equal(query.nonce, nonce, sizeof(nonce));
}

static void test_the_status_needs_no_nonce_and_takes_none(void **state) {
        static const char request[] = "GET /status HTTP/1.1\r\n" HOST "\r\n";
        AttestationQuery query = parse(request, sizeof(request) - 1);

        assert_int_equal(query.status, 200);
        assert_true(query.wants_status);
        assert_int_equal(query.nonce_size, 0);
        assert_status("GET /status?nonce=" NONCE " HTTP/1.1\r\n" HOST "\r\n", 404);
        assert_status("GET /status/ HTTP/1.1\r\n" HOST "\r\n", 404);
        assert_status("POST /status HTTP/1.1\r\n" HOST "\r\n", 405);
        assert_status("HEAD /status HTTP/1.1\r\n" HOST "\r\n", 200);
        assert_status("POST /statuses HTTP/1.1\r\n" HOST "\r\n", 404);
        assert_false(parse(GET " HTTP/1.1\r\n" HOST "\r\n", strlen(GET " HTTP/1.1\r\n" HOST "\r\n"))
                                     .wants_status);
}

static void test_nothing_is_decided_before_the_head_is_complete(void **state) {
        static const char request[] = GET " HTTP/1.1\r\n" HOST "\r\n";

        for (size_t i = 0; i < sizeof(request) - 1; i++)
                assert_status_of(request, i, 0);
        assert_status(request, 200);
}

static void test_each_other_request_of_http_has_its_refusal(void **state) {
        static const struct {
                const char *request;
                unsigned status;
        } cases[] = {
                { GET " HTTP/1.0\r\n\r\n", 200 },
                { GET " HTTP/1.1\r\n" HOST "Content-Length: 0 \r\n\r\n", 200 },
                { "GET / HTTP/1.1\r\n" HOST "\r\n", 404 },
                { "GET * HTTP/1.1\r\n" HOST "\r\n", 404 },
                { "GET /attestations?nonce=" NONCE " HTTP/1.1\r\n" HOST "\r\n", 404 },
                { "GET /%61ttestation?nonce=" NONCE " HTTP/1.1\r\n" HOST "\r\n", 404 },
                { "GET http://a/attestation?nonce=" NONCE " HTTP/1.1\r\n" HOST "\r\n", 404 },
                { "POST / HTTP/1.1\r\n" HOST "\r\n", 404 },
                { "HEAD /attestation?nonce=" NONCE " HTTP/1.1\r\n" HOST "\r\n", 405 },
                { "get /attestation HTTP/1.1\r\n" HOST "\r\n", 405 },
                { "GET /attestation HTTP/1.1\r\n" HOST "\r\n", 400 },
                { GET " HTTP/1.2\r\n" HOST "\r\n", 505 },
                { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_status(cases[i].request, cases[i].status);
        assert_true(parse("HEAD / HTTP/1.1\r\n\r\n", 19).head_only);
}

static void test_other_bytes_are_malformed(void **state) {
        static const char *const requests[] = {
                "\r\n\r\n",
                "\r\n" GET " HTTP/1.1\r\n" HOST "\r\n",
                "GET\r\n\r\n",
                "GET /attestation\r\n\r\n",
                " /attestation HTTP/1.1\r\n" HOST "\r\n",
                "GET  HTTP/1.1\r\n" HOST "\r\n",
                "GET  /attestation HTTP/1.1\r\n" HOST "\r\n",
                "G(T /attestation HTTP/1.1\r\n" HOST "\r\n",
                GET " HTTP/1.1 \r\n" HOST "\r\n",
                GET " HTTP/1.10\r\n" HOST "\r\n",
                GET " http/1.1\r\n" HOST "\r\n",
                GET "\n HTTP/1.1\r\n" HOST "\r\n",
                GET " HTTP/1.1\n" HOST "\r\n\r\n",
                /* Headers. */
                GET " HTTP/1.1\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST HOST "\r\n",
                GET " HTTP/1.0\r\n" HOST HOST "\r\n",
                GET " HTTP/1.1\r\n" HOST "no header\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST ": no name\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST "Name : x\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST " folded: x\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST "A: x\nB: y\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST "A: x\rB: y\r\n\r\n",
                /* Bodies. */
                GET " HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na",
                GET " HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST "content-length: 0, 0\r\n\r\n",
                GET " HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(requests); i++)
                assert_status(requests[i], 400);
}

/* A client that speaks TLS need not wait for the time-out. */
static void test_control_characters_are_refused_at_once(void **state) {
        assert_status_of("\x16\x03\x01\x02\x00", 5, 400);
        assert_status_of("GET /\0", 6, 400);
        assert_status_of("GET /\x7f", 6, 400);
        assert_status_of("GET / HTTP/1.1\r\n\r\n\0\1", 20, 400); /* the Host header is missing */
}

static void test_only_a_nonce_of_16_to_512_bytes_in_hexadecimal_is_accepted(void **state) {
        static const struct {
                const char *name;
                size_t digits;
                unsigned status;
        } sizes[] = {
                { "nonce=", 0, 400 },    { "nonce=", 30, 400 },     { "nonce=", 31, 400 },
                { "nonce=", 32, 200 },   { "nonce=", 33, 400 },     { "nonce=", 64, 200 },
                { "nonce=", 1024, 200 }, { "nonce=", 1025, 400 },   { "nonce=", 1026, 400 },
                { "nonce=", 4000, 400 }, { "Nonce=", 32, 400 },     { "nonce", 32, 400 },
                { "&nonce=", 32, 400 },  { "a=b&nonce=", 32, 400 },
        };
        char request[8192], digits[4001];

        memset(digits, 'a', sizeof(digits));
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                (void) snprintf(request, sizeof(request), "GET /attestation?%s%.*s HTTP/1.1\r\n" HOST "\r\n",
                                sizes[i].name, (int) sizes[i].digits, digits);
                assert_status(request, sizes[i].status);
                if (sizes[i].status == 200)
                        assert_int_equal(parse(request, strlen(request)).nonce_size, sizes[i].digits / 2);
        }
        assert_status(GET "&a=b HTTP/1.1\r\n" HOST "\r\n", 400);
        assert_status(GET "0g HTTP/1.1\r\n" HOST "\r\n", 400);
        assert_status(GET "%30%30 HTTP/1.1\r\n" HOST "\r\n", 400);
        assert_status(GET "#a HTTP/1.1\r\n" HOST "\r\n", 400);
}

static void test_a_head_of_more_than_8192_bytes_is_too_large(void **state) {
        static const char begin[] = GET " HTTP/1.1\r\n" HOST "A: ", end[] = "\r\n\r\n";
        char request[ATTESTATION_HEAD_MAX + 8];

        memset(request, 'x', sizeof(request));
        memcpy(request, begin, sizeof(begin) - 1);
        assert_status_of(request, ATTESTATION_HEAD_MAX - 1, 0);
        assert_status_of(request, ATTESTATION_HEAD_MAX, 431);

        memcpy(request + ATTESTATION_HEAD_MAX - 4, end, 4);
        assert_status_of(request, ATTESTATION_HEAD_MAX, 200);
        assert_status_of(request, sizeof(request), 200);

        memset(request + ATTESTATION_HEAD_MAX - 4, 'x', 4);
        memcpy(request + sizeof(request) - 4, end, 4);
        assert_status_of(request, sizeof(request), 431);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_nonce_is_taken_out_of_the_query),
                cmocka_unit_test(test_the_status_needs_no_nonce_and_takes_none),
                cmocka_unit_test(test_nothing_is_decided_before_the_head_is_complete),
                cmocka_unit_test(test_each_other_request_of_http_has_its_refusal),
                cmocka_unit_test(test_other_bytes_are_malformed),
                cmocka_unit_test(test_control_characters_are_refused_at_once),
                cmocka_unit_test(test_only_a_nonce_of_16_to_512_bytes_in_hexadecimal_is_accepted),
                cmocka_unit_test(test_a_head_of_more_than_8192_bytes_is_too_large),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
