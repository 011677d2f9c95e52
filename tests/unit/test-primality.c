/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compares the verdicts with BN_check_prime(). The test takes the place of BN_priv_rand_range_ex(), so that a composite number passes in
 * every run or in none, and so that the test can choose bases that are wrong for a number.
 */

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "basic/openssl-util.h"
#include "kms/primality.h"

/* The prime numbers that are the bases of the control, in place of random ones. */
static const unsigned first_primes[PRIMALITY_ROUNDS] = { 2, 3, 5, 7, 11 };

static struct {
        BN_CTX *context;
        BIGNUM *number; /* the one that is tested */
        unsigned rounds;
        bool choose; /* the bases are first_primes */
        bool fails;
        bool armed; /* miller_rabin() runs; OpenSSL calls the functions below, too */
} world;

#define REAL(f) ((typeof(&f)) dlsym(RTLD_NEXT, #f))

/* Another base in each round, and the same ones in each run. */
static void make_base(BIGNUM *ret, const BIGNUM *range) {
        BN_CTX *context = BN_CTX_new();

        assert_true(BN_set_word(ret, UINT64_C(0x9e3779b97f4a7c15)));
        for (unsigned i = 0; i < 20; i++)
                assert_true(BN_add_word(ret, world.rounds + 1) && BN_sqr(ret, ret, context) &&
                            BN_mod(ret, ret, range, context));
        BN_CTX_free(context);
}

int BN_priv_rand_range_ex(BIGNUM *ret, const BIGNUM *range, unsigned strength, BN_CTX *context) {
        _cleanup_(BN_clear_freep) BIGNUM *difference = NULL;

        if (!world.armed)
                return REAL(BN_priv_rand_range_ex)(ret, range, strength, context);
        difference = BN_new();
        assert_ptr_equal(context, world.context);
        assert_true(BN_get_flags(ret, BN_FLG_SECURE) && BN_get_flags(ret, BN_FLG_CONSTTIME));
        assert_true(BN_sub(difference, world.number, range));
        assert_int_equal(BN_get_word(difference), 3);
        if (world.fails)
                return 0;
        if (world.choose)
                assert_true(BN_set_word(ret, first_primes[world.rounds] - 2));
        else
                make_base(ret, range);
        world.rounds++;
        return 1;
}

int BN_mod_exp_mont_consttime(BIGNUM *ret, const BIGNUM *base, const BIGNUM *exponent, const BIGNUM *modulus,
                              BN_CTX *context, BN_MONT_CTX *montgomery) {
        if (world.armed) {
                assert_true(BN_get_flags(ret, BN_FLG_SECURE) && BN_get_flags(exponent, BN_FLG_SECURE));
                assert_true(BN_is_odd(exponent));
                assert_ptr_equal(modulus, world.number);
        }
        return REAL(BN_mod_exp_mont_consttime)(ret, base, exponent, modulus, context, montgomery);
}

static bool is_probably_prime(const BIGNUM *number) {
        bool verdict;

        world.rounds = 0;
        assert_true(BN_copy(world.number, number));
        world.armed = true;
        assert_true(miller_rabin(world.number, world.context, &verdict));
        world.armed = false;
        return verdict;
}

static BIGNUM *from_hex(const char *text) {
        BIGNUM *number = NULL;

        assert_int_not_equal(BN_hex2bn(&number, text), 0);
        return number;
}

/* p * (factor * (p - 1) + 1) * (other_factor * (p - 1) + 1), or with 0 as the other factor only the first two. */
static BIGNUM *product(const BIGNUM *p, unsigned factor, unsigned other_factor) {
        const unsigned factors[] = { factor, other_factor };
        BIGNUM *ret = BN_dup(p), *other = BN_new();

        for (size_t i = 0; i < ELEMENTSOF(factors) && factors[i] > 0; i++)
                assert_true(BN_copy(other, p) && BN_sub_word(other, 1) && BN_mul_word(other, factors[i]) &&
                            BN_add_word(other, 1) && BN_mul(ret, ret, other, world.context));
        BN_free(other);
        return ret;
}

static void test_the_small_primes_are_the_first_odd_ones(void **state) {
        _cleanup_(BN_clear_freep) BIGNUM *number = BN_new();
        uint16_t small[SMALL_PRIMES];
        unsigned next = 0;

        small_primes_find(small);
        assert_int_equal(small[SMALL_PRIMES - 1], 3673);
        for (unsigned i = 3; i <= 3673; i += 2) {
                bool prime;

                assert_true(BN_set_word(number, i));
                prime = BN_check_prime(number, NULL, NULL) == 1;
                assert_int_equal(prime, small[next] == i);
                next += prime;
                assert_true(has_small_factor(number, small)); /* itself, if it is prime */
        }
        assert_int_equal(next, SMALL_PRIMES);
        assert_true(BN_set_word(number, 3677 * 3677)); /* 3677 is the next prime */
        assert_false(has_small_factor(number, small));
        assert_true(BN_set_word(number, 3673 * 3677));
        assert_true(has_small_factor(number, small));
}

static void test_small_numbers_have_the_verdict_of_openssl(void **state) {
        _cleanup_(BN_clear_freep) BIGNUM *number = BN_new();
        const unsigned step = getenv("UNSEALD_TEST_SLOW") ? 26 : 2; /* minutes under valgrind */
        unsigned composite = 0, passed = 0;

        for (unsigned i = 5; i < 20000; i += step) {
                bool verdict, prime;

                assert_true(BN_set_word(number, i));
                verdict = is_probably_prime(number);
                prime = BN_check_prime(number, NULL, NULL) == 1;
                if (prime && !verdict)
                        fail_msg("%u is prime", i);
                assert_true(!verdict || world.rounds == PRIMALITY_ROUNDS);
                composite += !prime;
                passed += verdict && !prime;
        }
        print_message("%u of %u composite numbers passed\n", passed, composite);
        assert_true(passed <= composite >> (2 * PRIMALITY_ROUNDS));
}

static void test_large_primes_pass_and_their_products_do_not(void **state) {
        static const int bits[] = { 512, 1024, 2048 };

        for (size_t i = 0; i < ELEMENTSOF(bits); i++) {
                _cleanup_(BN_clear_freep) BIGNUM *p = BN_new(), *q = BN_new(), *n = BN_new();

                assert_true(BN_generate_prime_ex(p, bits[i], 0, NULL, NULL, NULL));
                assert_true(BN_generate_prime_ex(q, bits[i], 0, NULL, NULL, NULL));
                assert_true(BN_mul(n, p, q, world.context));
                assert_true(is_probably_prime(p) && is_probably_prime(q));
                assert_false(is_probably_prime(n));
                assert_int_equal(world.rounds, 1);
        }
}

/* p - 1 is divisible by a high power of two, so that the squarings of a round matter: without them, half of the bases call such a
 * prime composite, or more. 2^64 - 2^32 + 1 is the prime of Goldilocks; 2^16 + 1 is Fermat's. */
static void test_primes_that_need_many_squarings_pass(void **state) {
        static const char *const primes[] = { "FFFFFFFF00000001", "010001", "0101", "11" };

        for (size_t i = 0; i < ELEMENTSOF(primes); i++) {
                _cleanup_(BN_clear_freep) BIGNUM *p = from_hex(primes[i]);

                assert_int_equal(BN_check_prime(p, NULL, NULL), 1);
                assert_true(is_probably_prime(p));
        }
}

/* Fermat's test takes these for primes whatever the base. (6k + 1)(12k + 1)(18k + 1) is such a number if the three are prime. */
static void test_carmichael_numbers_do_not_pass(void **state) {
        _cleanup_(BN_clear_freep) BIGNUM *number = BN_new();
        static const unsigned small[] = { 561,   1105,  1729,  2465,  2821,  6601,  8911,  10585,
                                          15841, 29341, 41041, 46657, 52633, 62745, 63973, 75361 };
        unsigned found = 0;

        for (size_t i = 0; i < ELEMENTSOF(small); i++) {
                assert_true(BN_set_word(number, small[i]));
                assert_false(is_probably_prime(number));
        }
        for (unsigned k = 1U << 24; found < 5; k++) {
                _cleanup_(BN_clear_freep) BIGNUM *p = BN_new(), *carmichael = NULL;
                bool chernick = true;

                for (unsigned i = 1; i <= 3 && chernick; i++) {
                        assert_true(BN_set_word(p, 6UL * i * k + 1));
                        chernick = BN_check_prime(p, NULL, NULL) == 1;
                }
                if (!chernick)
                        continue;
                assert_true(BN_set_word(p, 6UL * k + 1));
                carmichael = product(p, 2, 3);
                assert_int_equal(BN_check_prime(carmichael, NULL, NULL), 0);
                assert_false(is_probably_prime(carmichael));
                found++;
        }
}

/*
 * These pass with the bases 2, 3, 5 and 7 (the first), also 11 (the others). The last one is Arnault's number of 397 digits ("Rabin-Miller
 * primality test: composite numbers which pass it", Mathematics of Computation 64, 1995), which passes with all prime bases below 307.
 * A fourth of all bases are wrong for such a number at most, so random ones notice it.
 */
static void test_strong_pseudoprimes_pass_with_chosen_bases_but_not_with_others(void **state) {
        static const char arnault[] =
                        "02ACF5BFF060D5CB98A808AEF25DF948BEEF3F7C06C5C5C9EFED1E53D19363DB74537F89D3CADCC9BE464335664ED21D0B6DBC736E0E23";
        _cleanup_(BN_clear_freep) BIGNUM *p = from_hex(arnault);
        BIGNUM *numbers[] = { NULL, NULL, product(p, 313, 353) };

        assert_true(BN_dec2bn(&numbers[0], "3825123056546413051") > 0);
        assert_true(BN_dec2bn(&numbers[1], "3317044064679887385961981") > 0);
        assert_int_equal(BN_num_bits(numbers[2]), 1318);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                assert_int_equal(BN_check_prime(numbers[i], NULL, NULL), 0);
                world.choose = true;
                assert_true(is_probably_prime(numbers[i]));
                world.choose = false;
                assert_false(is_probably_prime(numbers[i]));
                BN_free(numbers[i]);
        }
}

static void test_a_failure_of_openssl_is_no_verdict(void **state) {
        bool verdict = true;

        assert_true(BN_set_word(world.number, 7919));
        world.fails = world.armed = true;
        assert_false(miller_rabin(world.number, world.context, &verdict));
        assert_false(verdict);
        world.fails = world.armed = false;
}

static int set_up(void **state) {
        world.context = BN_CTX_secure_new();
        world.number = BN_secure_new();
        BN_set_flags(world.number, BN_FLG_CONSTTIME);
        return 0;
}

static int tear_down(void **state) {
        BN_CTX_free(world.context);
        BN_clear_free(world.number);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_small_primes_are_the_first_odd_ones),
                cmocka_unit_test(test_small_numbers_have_the_verdict_of_openssl),
                cmocka_unit_test(test_large_primes_pass_and_their_products_do_not),
                cmocka_unit_test(test_primes_that_need_many_squarings_pass),
                cmocka_unit_test(test_carmichael_numbers_do_not_pass),
                cmocka_unit_test(test_strong_pseudoprimes_pass_with_chosen_bases_but_not_with_others),
                cmocka_unit_test(test_a_failure_of_openssl_is_no_verdict),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
