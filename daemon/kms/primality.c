/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The letters are those of FIPS 186-5 B.3.1: w is the number, and w - 1 = 2^a * m with an odd m.
 *
 * As in OpenSSL, what is computed with the bits of w takes the same time for all w. How many rounds and squarings there are does not: it
 * depends on numbers that are no primes and are thrown away, and for a prime on a and on the random bases.
 */

#include "kms/primality.h"
#include "basic/openssl-util.h"

void small_primes_find(uint16_t ret[static SMALL_PRIMES]) {
        unsigned found = 1;

        ret[0] = 3;
        for (unsigned number = 5, i; found < SMALL_PRIMES; number += 2) {
                for (i = 0; ret[i] * ret[i] <= number && number % ret[i] != 0; i++)
                        ;
                if (ret[i] * ret[i] > number)
                        ret[found++] = (uint16_t) number;
        }
}

bool has_small_factor(const BIGNUM *number, const uint16_t small[static SMALL_PRIMES]) {
        for (unsigned i = 0; i < SMALL_PRIMES; i++)
                if (BN_mod_word(number, small[i]) == 0)
                        return true;
        return false;
}

/* What all rounds share, and their two numbers. */
typedef struct Test {
        const BIGNUM *w;
        unsigned a;
        BIGNUM *m, *less_one, *bases, *b, *z;
        BN_MONT_CTX *montgomery;
        BN_CTX *context;
} Test;

/* Steps 1 and 2. The bases are numbers from 2 to w - 2 (steps 4.1 and 4.2): there are w - 3. */
static bool prepare(Test *test) {
        test->m = openssl_local(test->context);
        test->less_one = openssl_local(test->context);
        test->bases = openssl_local(test->context);
        test->b = openssl_local(test->context);
        test->z = openssl_local(test->context);
        if (!test->z || !BN_sub(test->less_one, test->w, BN_value_one()) || !BN_copy(test->bases, test->w) ||
            !BN_sub_word(test->bases, 3))
                return false;
        while (!BN_is_bit_set(test->less_one, (int) ++test->a))
                ;
        return BN_rshift(test->m, test->less_one, (int) test->a) &&
               BN_MONT_CTX_set(test->montgomery, test->w, test->context);
}

/* Step 4. */
static bool run_round(Test *test, bool *ret_passed) {
        if (!BN_priv_rand_range_ex(test->b, test->bases, 0, test->context) || !BN_add_word(test->b, 2) ||
            !BN_mod_exp_mont_consttime(test->z, test->b, test->m, test->w, test->context, test->montgomery))
                return false;
        *ret_passed = BN_is_one(test->z) || BN_cmp(test->z, test->less_one) == 0;
        for (unsigned j = 1; j < test->a && !*ret_passed; j++) {
                if (!BN_mod_sqr(test->z, test->z, test->w, test->context))
                        return false;
                *ret_passed = BN_cmp(test->z, test->less_one) == 0;
        }
        return true;
}

bool miller_rabin(const BIGNUM *number, BN_CTX *context, bool *ret_probably_prime) {
        _cleanup_(BN_MONT_CTX_freep) BN_MONT_CTX *montgomery = BN_MONT_CTX_new();
        Test test = { .w = number, .montgomery = montgomery, .context = context };
        bool passed = true, done;

        BN_CTX_start(context);
        done = montgomery && prepare(&test);
        for (unsigned i = 0; i < PRIMALITY_ROUNDS && done && passed; i++)
                done = run_round(&test, &passed);
        BN_CTX_end(context);
        *ret_probably_prime = done && passed;
        return done;
}
