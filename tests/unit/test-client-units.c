/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "basic/client-units.h"

static ClientUnits units;

static int set_up(void **state) {
        units = (ClientUnits){
                .permitted_max = 4, .unit_max = 3, .strangers_max = 2, .requests_per_second = 10
        };
        return 0;
}

static int tear_down(void **state) {
        client_units_clear(&units);
        return 0;
}

static ClientUnit *connect_unit(const char *name, unsigned count) {
        ClientUnit *unit = client_units_find(&units, name, 1000);

        assert_non_null(unit);
        for (unsigned i = 0; i < count; i++)
                client_units_add(&units, unit);
        return unit;
}

static void test_a_unit_keeps_its_place_and_its_bucket(void **state) {
        ClientUnit *a = connect_unit("a.service", 1), *b = connect_unit("b.service", 0);

        assert_ptr_not_equal(a, b);
        assert_string_equal(a->name, "a.service");
        assert_int_equal(a->limit.interval_usec, 100000);
        assert_int_equal(a->limit.burst, 10);
        assert_ptr_equal(client_units_find(&units, "a.service", 1000), a);
        /* b has no connection and a full bucket, so its place is free. */
        assert_ptr_equal(client_units_find(&units, "c.service", 1000), b);
        assert_string_equal(b->name, "c.service");
}

static void test_a_place_is_taken_until_its_bucket_is_full(void **state) {
        ClientUnit *a = connect_unit("a.service", 1);
        uint64_t wait;

        assert_true(rate_limit_take(&a->limit, 1000, &wait));
        client_units_remove(&units, a);
        assert_ptr_not_equal(client_units_find(&units, "b.service", 100999), a);
        assert_ptr_equal(client_units_find(&units, "c.service", 101000), a);
}

static void test_all_places_can_be_taken(void **state) {
        char name[32];

        for (unsigned i = 0; i < CLIENT_UNITS_MAX; i++) {
                (void) snprintf(name, sizeof(name), "a@%u.service", i);
                connect_unit(name, 1);
        }
        assert_null(client_units_find(&units, "one-more.service", UINT64_MAX));
        assert_non_null(client_units_find(&units, name, UINT64_MAX));
}

static void test_a_unit_at_its_limit_loses_one_of_its_own(void **state) {
        ClientUnit *a = connect_unit("a.service", 2);
        const ClientUnit *loser;

        assert_false(client_units_full(&units, a, &loser));
        client_units_add(&units, a);
        assert_true(client_units_full(&units, a, &loser));
        assert_ptr_equal(loser, a);
        client_units_remove(&units, a);
        assert_false(client_units_full(&units, a, &loser));
}

static void test_at_the_limit_of_all_the_largest_unit_loses_one(void **state) {
        ClientUnit *a = connect_unit("a.service", 1), *b = connect_unit("b.service", 3);
        ClientUnit *c = connect_unit("c.service", 0);
        const ClientUnit *loser;

        assert_true(client_units_full(&units, c, &loser));
        assert_ptr_equal(loser, b);
        assert_true(client_units_full(&units, a, &loser));
        assert_ptr_equal(loser, b);
}

static void test_no_permitted_unit_loses_one_to_a_stranger(void **state) {
        ClientUnit *a = connect_unit("a.service", 3), *b = connect_unit("b.service", 1);
        const ClientUnit *loser;

        assert_false(client_units_full(&units, NULL, &loser));
        client_units_add(&units, NULL);
        assert_false(client_units_full(&units, NULL, &loser));
        client_units_add(&units, NULL);
        assert_true(client_units_full(&units, NULL, &loser));
        assert_null(loser);
        /* And no stranger makes a unit's limit smaller. */
        client_units_remove(&units, b);
        assert_false(client_units_full(&units, b, &loser));
        assert_true(client_units_full(&units, a, &loser));
        assert_ptr_equal(loser, a);
        client_units_remove(&units, NULL);
        assert_false(client_units_full(&units, NULL, &loser));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_a_unit_keeps_its_place_and_its_bucket),
                TEST(test_a_place_is_taken_until_its_bucket_is_full),
                TEST(test_all_places_can_be_taken),
                TEST(test_a_unit_at_its_limit_loses_one_of_its_own),
                TEST(test_at_the_limit_of_all_the_largest_unit_loses_one),
                TEST(test_no_permitted_unit_loses_one_to_a_stranger),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
