/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unsealing/body-turns.h"

#define MIB (1024U * 1024U)

static BodyTurns turns;

static int set_up(void **state) {
        turns = (BodyTurns){};
        return 0;
}

static BodyTurn turn(size_t mib, unsigned threads, unsigned connections, bool required) {
        return (BodyTurn){ .cost = { mib * MIB, threads, connections }, .required = required };
}

static bool begins(BodyTurn *new) {
        BodyTurn *yields;
        bool begun = body_turn_begin(&turns, new, &yields);

        assert_null(yields);
        assert_int_equal(begun, new->runs);
        return begun;
}

static BodyTurn *yields_to(BodyTurn *new) {
        BodyTurn *yields;

        assert_false(body_turn_begin(&turns, new, &yields));
        assert_false(new->runs);
        return yields;
}

static void assert_taken(size_t mib, unsigned threads, unsigned connections) {
        assert_int_equal(turns.taken.bytes, mib * MIB);
        assert_int_equal(turns.taken.threads, threads);
        assert_int_equal(turns.taken.connections, connections);
}

static void test_a_large_one_has_all_and_the_next_one_waits(void **state) {
        BodyTurn a = turn(22, 8, 16, true), b = turn(22, 2, 16, true), c = turn(1, 1, 1, true);

        assert_true(begins(&a));
        assert_false(begins(&b));
        assert_false(begins(&c));
        assert_taken(22, 8, 16);
        body_turn_end(&turns, &a);
        assert_taken(0, 0, 0);
        assert_true(begins(&b));
        assert_false(begins(&a));
        body_turn_end(&turns, &a); /* it does not run */
        assert_taken(22, 2, 16);
        body_turn_end(&turns, &b);
        body_turn_end(&turns, &b);
        assert_taken(0, 0, 0);
        assert_null(turns.first);
}

/* Each of the three is a limit of its own. */
static void test_small_ones_share_the_budget(void **state) {
        static const BodyCost steps[] = { { 7 * MIB, 1, 2 }, { MIB, 3, 2 }, { MIB, 1, 6 } };
        static const unsigned most[] = { 3, 2, 2 };

        for (size_t i = 0; i < 3; i++) {
                BodyTurn all[5] = {};
                unsigned running = 0;

                for (size_t k = 0; k < 5; k++) {
                        all[k].cost = steps[i];
                        all[k].required = true;
                        running += begins(all + k);
                        assert_true(turns.taken.bytes <= BODY_BUFFERS_MAX &&
                                    turns.taken.threads <= BODY_THREADS_MAX &&
                                    turns.taken.connections <= BODY_CONNECTIONS_MAX);
                }
                assert_int_equal(running, most[i]);
                for (size_t k = 0; k < 5; k++)
                        body_turn_end(&turns, all + k);
                assert_taken(0, 0, 0);
        }
}

static void test_one_alone_always_begins(void **state) {
        BodyTurn large = turn(23, 9, 17, false), small = turn(1, 1, 1, false);

        assert_true(begins(&large));
        assert_false(begins(&small));
        body_turn_end(&turns, &large);
        assert_true(begins(&small));
        assert_false(begins(&large));
}

static void test_an_optional_one_gives_way_to_a_required_one(void **state) {
        BodyTurn optional = turn(10, 2, 8, false), other = turn(10, 2, 8, false),
                 required = turn(22, 2, 16, true);
        BodyTurn *first;

        assert_true(begins(&optional));
        assert_true(begins(&other));
        first = yields_to(&required);
        assert_true(first == &optional || first == &other);
        body_turn_end(&turns, first);
        assert_ptr_equal(yields_to(&required), first == &optional ? &other : &optional);
        body_turn_end(&turns, &optional);
        body_turn_end(&turns, &other);
        assert_true(begins(&required));
        assert_null(yields_to(&optional));
        assert_null(yields_to(&other));
}

static void test_nothing_gives_way_in_vain(void **state) {
        BodyTurn optional = turn(6, 2, 4, false), required = turn(16, 2, 12, true),
                 waiting = turn(22, 2, 16, true);

        assert_true(begins(&optional));
        assert_true(begins(&required));
        assert_null(yields_to(&waiting));
}

static void test_one_that_is_stuck_gives_way_once(void **state) {
        BodyTurn stuck = turn(22, 2, 16, false), other = turn(22, 2, 16, false),
                 required = turn(22, 2, 16, true);

        assert_true(begins(&stuck));
        assert_null(yields_to(&other));
        stuck.stuck = true;
        assert_ptr_equal(yields_to(&other), &stuck);
        body_turn_end(&turns, &stuck);
        assert_true(begins(&other));
        /* Both are stuck now: they do not take turns. */
        other.stuck = true;
        assert_null(yields_to(&stuck));
        /* A required one that is stuck has no place to give: without it, the session fails. */
        assert_ptr_equal(yields_to(&required), &other);
        body_turn_end(&turns, &other);
        assert_true(begins(&required));
        required.stuck = true;
        stuck.stuck = false;
        assert_null(yields_to(&stuck));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, set_up)
        const struct CMUnitTest tests[] = {
                TEST(test_a_large_one_has_all_and_the_next_one_waits),
                TEST(test_small_ones_share_the_budget),
                TEST(test_one_alone_always_begins),
                TEST(test_an_optional_one_gives_way_to_a_required_one),
                TEST(test_nothing_gives_way_in_vain),
                TEST(test_one_that_is_stuck_gives_way_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
