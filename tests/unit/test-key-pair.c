/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The test takes the place of the threads and of the functions of OpenSSL that key-pair.c calls. So it can say which primes
 * the search finds, can let every step fail, and sees whether the arithmetic is that of constant time.
 */

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "basic/openssl-util.h"
#include "basic/thread.h"
#include "kms/key-pair.h"

typedef enum Threads {
        THREADS_REAL,
        THREADS_LATE,    /* this thread has a candidate when the other one finds both primes and ends */
        THREADS_AT_ONCE, /* thread_start() returns after the thread has ended */
        THREADS_NONE,
} Threads;

typedef enum Primes {
        PRIMES_REAL,
        PRIMES_AT_ONCE,          /* each candidate is prime, here and below */
        PRIMES_CONSTANT_TOP,     /* six bits at the top are the same in all */
        PRIMES_NEXT,             /* every second prime is the next one after the first */
        PRIMES_NEXT_AT_DISTANCE, /* the same, but 2^world.distance higher */
        PRIMES_NOT_FOR_E,        /* the first does not suit the exponent 65537 */
        PRIMES_NEVER_FOR_E,
        PRIMES_SHORT,     /* one bit shorter than demanded */
        PRIMES_COMPOSITE, /* the first has no small factor, but two large ones */
} Primes;

static struct {
        Threads threads;
        Primes primes;
        unsigned candidates, failing_candidate; /* no random number comes for this one; 0: none */
        unsigned steps, failing_step;           /* the call of OpenSSL of this number fails; 0: none */
        pthread_t main;
        bool waiting, ended; /* THREADS_LATE: this thread, and the other one */
        int reason, distance;
        bool armed;                  /* key_pair_new() runs */
        int frames;                  /* BN_CTX_start() without BN_CTX_end() */
        bool other_text, other_size; /* of what the key pair decrypts */
        bool fips;
        unsigned by_openssl;
} world;

static BIGNUM *first;

static void reset(void) {
        memset(&world, 0, sizeof(world));
        BN_free(TAKE_PTR(first));
        ERR_clear_error();
}

struct Thread {
        pthread_t id;
        ThreadMain run;
        void *userdata;
};

static void *thread_main(void *userdata) {
        Thread *thread = userdata;

        thread->run(thread->userdata);
        __atomic_store_n(&world.ended, true, __ATOMIC_SEQ_CST);
        return NULL;
}

int thread_start(const char *name, ThreadMain run, void *userdata, Thread **ret) {
        assert_string_equal(name, "key-pair-2");
        if (world.threads == THREADS_NONE)
                return -EAGAIN;
        *ret = calloc(1, sizeof(**ret));
        **ret = (Thread){ .run = run, .userdata = userdata };
        if (world.threads == THREADS_REAL || world.threads == THREADS_LATE)
                assert_int_equal(pthread_create(&(*ret)->id, NULL, thread_main, *ret), 0);
        else
                run(userdata);
        return 0;
}

Thread *thread_join(Thread *thread) {
        if (thread && world.threads != THREADS_AT_ONCE)
                assert_int_equal(pthread_join(thread->id, NULL), 0);
        free(thread);
        return NULL;
}

/* One prime of 65537 does not suit the exponent, and is not used. The tests count the candidates. */
static bool suits_the_exponent(const BIGNUM *prime) {
        return BN_mod_word(prime, 65537) != 1;
}

static void go_to_next_prime(BIGNUM *number, BN_CTX *context) {
        BN_set_bit(number, 0);
        do
                assert_true(BN_add_word(number, 2));
        while (BN_check_prime(number, context, NULL) != 1 || !suits_the_exponent(number));
}

static void generate_suiting(BIGNUM *ret, int bits) {
        do
                assert_true(BN_generate_prime_ex(ret, bits, 0, NULL, NULL, NULL));
        while (!suits_the_exponent(ret));
}

/* Its two factors are so large that only Miller-Rabin finds out. */
static void generate_composite(BIGNUM *ret, int bits, BN_CTX *context) {
        BIGNUM *p = BN_new(), *q = BN_new();

        do {
                generate_suiting(p, bits / 2);
                generate_suiting(q, bits / 2);
                assert_true(BN_mul(ret, p, q, context));
        } while (!BN_is_bit_set(ret, bits - 1) || !BN_is_bit_set(ret, bits - 2) || !suits_the_exponent(ret));
        BN_free(p);
        BN_free(q);
}

static void generate_not_for_e(BIGNUM *ret, int bits) {
        BIGNUM *add = BN_new();

        if (!first) {
                first = BN_new();
                assert_true(BN_set_word(add, 2 * 65537));
                assert_true(BN_generate_prime_ex(first, bits, 0, add, BN_value_one(), NULL));
        }
        assert_true(BN_copy(ret, first));
        BN_free(add);
}

static void generate_other(BIGNUM *ret, int bits, BN_CTX *context) {
        BIGNUM *distance = BN_new();

        if (world.primes == PRIMES_CONSTANT_TOP) {
                assert_true(BN_rand(ret, bits, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ODD));
                for (int i = 3; i <= 6; i++)
                        assert_true(BN_set_bit(ret, bits - i));
                BN_clear_bit(ret, 64);
                go_to_next_prime(ret, context);
        } else if ((world.primes == PRIMES_NEXT || world.primes == PRIMES_NEXT_AT_DISTANCE) &&
                   world.candidates % 2 == 0) {
                assert_true(BN_copy(ret, first));
                if (world.primes == PRIMES_NEXT_AT_DISTANCE)
                        assert_true(BN_set_bit(distance, world.distance) && BN_add(ret, ret, distance));
                go_to_next_prime(ret, context);
        } else if (world.primes == PRIMES_NEVER_FOR_E ||
                   (world.primes == PRIMES_NOT_FOR_E && world.candidates == 1))
                generate_not_for_e(ret, bits);
        else if (world.primes == PRIMES_COMPOSITE && world.candidates == 1)
                generate_composite(ret, bits, context);
        else {
                generate_suiting(ret, world.primes == PRIMES_SHORT ? bits - 1 : bits);
                if (world.primes == PRIMES_NEXT || world.primes == PRIMES_NEXT_AT_DISTANCE) {
                        BN_free(first);
                        first = BN_dup(ret);
                }
        }
        BN_free(distance);
}

/* The functions from here on are steps when key-pair.c calls them, not when OpenSSL or this file does: a step does its work,
 * and reports a failure if it is the one to fail. */
static _Thread_local unsigned inside; /* so many of these functions run in this thread */
static _Thread_local bool no_locals;  /* BN_CTX_get() has failed in the current frame */

static bool is_step(void) {
        return world.armed && inside == 0;
}

static bool begin(void) {
        const bool step = is_step();

        inside++;
        return step;
}

static bool end(bool step) {
        inside--;
        if (!step || __atomic_add_fetch(&world.steps, 1, __ATOMIC_SEQ_CST) != world.failing_step)
                return false;
        ERR_raise(ERR_LIB_BN, world.reason);
        return true;
}

#define REAL(f) ((typeof(&f)) dlsym(RTLD_NEXT, #f))
#define RESULT(call)                       \
        ({                                 \
                const bool step = begin(); \
                const int result = call;   \
                                           \
                end(step) ? 0 : result;    \
        })
#define OBJECT(call, release)              \
        ({                                 \
                const bool step = begin(); \
                void *object = call;       \
                                           \
                if (end(step)) {           \
                        release(object);   \
                        object = NULL;     \
                }                          \
                object;                    \
        })

static void assert_constant_time(const BIGNUM *number) {
        if (is_step()) {
                assert_true(BN_get_flags(number, BN_FLG_CONSTTIME));
                assert_true(BN_get_flags(number, BN_FLG_SECURE));
        }
}

static void wait_for(bool *what) {
        while (!__atomic_load_n(what, __ATOMIC_SEQ_CST))
                (void) sched_yield();
}

static void let_the_other_thread_find_both(void) {
        if (!pthread_equal(pthread_self(), world.main))
                wait_for(&world.waiting);
        else {
                __atomic_store_n(&world.waiting, true, __ATOMIC_SEQ_CST);
                wait_for(&world.ended);
        }
}

/* Gives the candidates. */
int BN_priv_rand_ex(BIGNUM *ret, int bits, int top, int bottom, unsigned strength, BN_CTX *context) {
        if (!is_step())
                return REAL(BN_priv_rand_ex)(ret, bits, top, bottom, strength, context);
        assert_constant_time(ret);
        assert_true(top == BN_RAND_TOP_TWO && bottom == BN_RAND_BOTTOM_ODD && strength == 0 && context);
        if (__atomic_add_fetch(&world.candidates, 1, __ATOMIC_SEQ_CST) == world.failing_candidate) {
                ERR_raise(ERR_LIB_BN, world.reason);
                return 0;
        }
        if (world.threads == THREADS_LATE)
                let_the_other_thread_find_both();
        inside++;
        if (world.primes == PRIMES_REAL)
                assert_true(REAL(BN_priv_rand_ex)(ret, bits, top, bottom, strength, context));
        else
                generate_other(ret, bits, context);
        inside--;
        return 1;
}

/* Gives the bases of Miller-Rabin. */
int BN_priv_rand_range_ex(BIGNUM *ret, const BIGNUM *range, unsigned strength, BN_CTX *context) {
        assert_constant_time(ret);
        assert_constant_time(range);
        return RESULT(REAL(BN_priv_rand_range_ex)(ret, range, strength, context));
}

int BN_mod_exp_mont_consttime(BIGNUM *ret, const BIGNUM *base, const BIGNUM *exponent, const BIGNUM *modulus,
                              BN_CTX *context, BN_MONT_CTX *montgomery) {
        assert_constant_time(ret);
        assert_constant_time(base);
        assert_constant_time(exponent);
        assert_constant_time(modulus);
        return RESULT(REAL(BN_mod_exp_mont_consttime)(ret, base, exponent, modulus, context, montgomery));
}

int BN_mod_sqr(BIGNUM *ret, const BIGNUM *number, const BIGNUM *modulus, BN_CTX *context) {
        assert_constant_time(ret);
        assert_constant_time(number);
        assert_constant_time(modulus);
        return RESULT(REAL(BN_mod_sqr)(ret, number, modulus, context));
}

BN_MONT_CTX *BN_MONT_CTX_new(void) {
        return OBJECT(REAL(BN_MONT_CTX_new)(), BN_MONT_CTX_free);
}

int BN_MONT_CTX_set(BN_MONT_CTX *montgomery, const BIGNUM *modulus, BN_CTX *context) {
        assert_constant_time(modulus);
        return RESULT(REAL(BN_MONT_CTX_set)(montgomery, modulus, context));
}

int BN_rshift(BIGNUM *ret, const BIGNUM *number, int bits) {
        assert_constant_time(number);
        return RESULT(REAL(BN_rshift)(ret, number, bits));
}

BIGNUM *BN_copy(BIGNUM *ret, const BIGNUM *number) {
        assert_constant_time(ret);
        return OBJECT(REAL(BN_copy)(ret, number), (void) );
}

BIGNUM *BN_secure_new(void) {
        return OBJECT(REAL(BN_secure_new)(), BN_free);
}

BN_CTX *BN_CTX_secure_new(void) {
        return OBJECT(REAL(BN_CTX_secure_new)(), BN_CTX_free);
}

void BN_CTX_start(BN_CTX *context) {
        if (is_step())
                (void) __atomic_add_fetch(&world.frames, 1, __ATOMIC_SEQ_CST);
        REAL(BN_CTX_start)(context);
}

void BN_CTX_end(BN_CTX *context) {
        if (is_step() && context) {
                (void) __atomic_sub_fetch(&world.frames, 1, __ATOMIC_SEQ_CST);
                no_locals = false;
        }
        REAL(BN_CTX_end)(context);
}

/* Once it has failed, it fails for the rest of the frame (BN_CTX_start(3)). */
BIGNUM *BN_CTX_get(BN_CTX *context) {
        const bool step = begin();
        BIGNUM *number = REAL(BN_CTX_get)(context);

        if (end(step && !no_locals))
                no_locals = true;
        return step && no_locals ? NULL : number;
}

int BN_set_word(BIGNUM *number, BN_ULONG word) {
        return RESULT(REAL(BN_set_word)(number, word));
}

int BN_sub(BIGNUM *ret, const BIGNUM *a, const BIGNUM *b) {
        return RESULT(REAL(BN_sub)(ret, a, b));
}

int BN_mul(BIGNUM *ret, const BIGNUM *a, const BIGNUM *b, BN_CTX *context) {
        assert_constant_time(ret);
        assert_constant_time(a);
        assert_constant_time(b);
        return RESULT(REAL(BN_mul)(ret, a, b, context));
}

int BN_div(BIGNUM *quotient, BIGNUM *remainder, const BIGNUM *a, const BIGNUM *b, BN_CTX *context) {
        assert_constant_time(quotient ?: remainder);
        assert_constant_time(a);
        assert_constant_time(b);
        return RESULT(REAL(BN_div)(quotient, remainder, a, b, context));
}

int BN_gcd(BIGNUM *ret, const BIGNUM *a, const BIGNUM *b, BN_CTX *context) {
        assert_constant_time(ret);
        assert_constant_time(a);
        assert_constant_time(b);
        return RESULT(REAL(BN_gcd)(ret, a, b, context));
}

BIGNUM *BN_mod_inverse(BIGNUM *ret, const BIGNUM *a, const BIGNUM *n, BN_CTX *context) {
        assert_constant_time(ret);
        assert_constant_time(a);
        assert_constant_time(n);
        return OBJECT(REAL(BN_mod_inverse)(ret, a, n, context), (void) );
}

EVP_PKEY_CTX *EVP_PKEY_CTX_new_from_name(OSSL_LIB_CTX *library, const char *name, const char *properties) {
        return OBJECT(REAL(EVP_PKEY_CTX_new_from_name)(library, name, properties), EVP_PKEY_CTX_free);
}

EVP_PKEY_CTX *EVP_PKEY_CTX_new_from_pkey(OSSL_LIB_CTX *library, EVP_PKEY *key, const char *properties) {
        return OBJECT(REAL(EVP_PKEY_CTX_new_from_pkey)(library, key, properties), EVP_PKEY_CTX_free);
}

OSSL_PARAM_BLD *OSSL_PARAM_BLD_new(void) {
        return OBJECT(REAL(OSSL_PARAM_BLD_new)(), OSSL_PARAM_BLD_free);
}

int OSSL_PARAM_BLD_push_BN(OSSL_PARAM_BLD *builder, const char *name, const BIGNUM *number) {
        assert_constant_time(number);
        return RESULT(REAL(OSSL_PARAM_BLD_push_BN)(builder, name, number));
}

OSSL_PARAM *OSSL_PARAM_BLD_to_param(OSSL_PARAM_BLD *builder) {
        return OBJECT(REAL(OSSL_PARAM_BLD_to_param)(builder), OSSL_PARAM_free);
}

int EVP_PKEY_fromdata_init(EVP_PKEY_CTX *context) {
        return RESULT(REAL(EVP_PKEY_fromdata_init)(context));
}

int EVP_PKEY_fromdata(EVP_PKEY_CTX *context, EVP_PKEY **ret, int selection, OSSL_PARAM parameters[]) {
        const bool step = begin();
        int r = REAL(EVP_PKEY_fromdata)(context, ret, selection, parameters);

        if (!end(step))
                return r;
        EVP_PKEY_free(TAKE_PTR(*ret));
        return 0;
}

int EVP_PKEY_encrypt_init(EVP_PKEY_CTX *context) {
        return RESULT(REAL(EVP_PKEY_encrypt_init)(context));
}

int EVP_PKEY_decrypt_init(EVP_PKEY_CTX *context) {
        return RESULT(REAL(EVP_PKEY_decrypt_init)(context));
}

int EVP_PKEY_CTX_set_rsa_padding(EVP_PKEY_CTX *context, int padding) {
        return RESULT(REAL(EVP_PKEY_CTX_set_rsa_padding)(context, padding));
}

int EVP_PKEY_encrypt(EVP_PKEY_CTX *context, unsigned char *out, size_t *ret_size, const unsigned char *in,
                     size_t size) {
        return RESULT(REAL(EVP_PKEY_encrypt)(context, out, ret_size, in, size));
}

int EVP_PKEY_decrypt(EVP_PKEY_CTX *context, unsigned char *out, size_t *ret_size, const unsigned char *in,
                     size_t size) {
        int r = RESULT(REAL(EVP_PKEY_decrypt)(context, out, ret_size, in, size));

        if (world.other_text)
                out[*ret_size - 1] ^= 1;
        if (world.other_size)
                --*ret_size;
        return r;
}

int OSSL_PROVIDER_available(OSSL_LIB_CTX *library, const char *name) {
        assert_string_equal(name, "fips");
        return world.fips;
}

/* EVP_RSA_gen() is a macro that calls this. */
EVP_PKEY *EVP_PKEY_Q_keygen(OSSL_LIB_CTX *library, const char *properties, const char *type, ...) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(library, type, properties);
        EVP_PKEY *key = NULL;
        va_list arguments;

        assert_string_equal(type, "RSA");
        va_start(arguments, type);
        assert_true(EVP_PKEY_keygen_init(context) > 0 &&
                    EVP_PKEY_CTX_set_rsa_keygen_bits(context, (int) va_arg(arguments, size_t)) > 0);
        va_end(arguments);
        inside++;
        assert_true(EVP_PKEY_generate(context, &key) > 0);
        inside--;
        EVP_PKEY_CTX_free(context);
        world.by_openssl++;
        return key;
}

static BIGNUM *number_of(const EVP_PKEY *key, const char *name) {
        BIGNUM *number = NULL;

        if (!EVP_PKEY_get_bn_param(key, name, &number))
                fail_msg("the key has no %s", name);
        return number;
}

static int make(unsigned bits, EVP_PKEY **ret, Error *error) {
        int r;

        world.armed = true;
        r = key_pair_new(bits, ret, error);
        world.armed = false;
        assert_int_equal(world.frames, 0);
        assert_int_equal(ERR_peek_error(), 0);
        return r;
}

static EVP_PKEY *new_key(unsigned bits) {
        EVP_PKEY *key = NULL;
        Error error;

        if (make(bits, &key, &error) != 0)
                fail_msg("%s", error.text);
        return key;
}

static void assert_good(EVP_PKEY *key, unsigned bits) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
        _cleanup_(BN_clear_freep) BIGNUM *p = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR1);
        _cleanup_(BN_clear_freep) BIGNUM *q = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR2);
        _cleanup_(BN_clear_freep) BIGNUM *e = number_of(key, OSSL_PKEY_PARAM_RSA_E);
        _cleanup_(BN_clear_freep) BIGNUM *d = number_of(key, OSSL_PKEY_PARAM_RSA_D);

        assert_int_equal(EVP_PKEY_get_bits(key), bits);
        assert_int_equal(BN_get_word(e), 65537);
        assert_true(BN_num_bits(d) > (int) bits / 2);
        assert_int_equal(BN_num_bits(p), bits / 2);
        assert_int_equal(BN_num_bits(q), bits / 2);
        assert_true(BN_is_bit_set(p, (int) bits / 2 - 2) && BN_is_bit_set(q, (int) bits / 2 - 2));
        assert_true(BN_cmp(p, q) > 0);
        /* OpenSSL's own checks of all numbers, with a test of primality (SP 800-56B section 6.4.1.2.3). */
        if (EVP_PKEY_check(context) != 1)
                fail_msg("EVP_PKEY_check(): %s", ERR_reason_error_string(ERR_peek_error()));
}

static void test_a_key_pair_passes_the_checks_of_openssl(void **state) {
        static const unsigned sizes[] = { 2048, 3072 };
        const size_t count =
                        getenv("UNSEALD_TEST_SLOW")
                                        ? 1
                                        : ELEMENTSOF(sizes); /* valgrind takes half a minute for the other */

        reset();
        for (size_t i = 0; i < count; i++) {
                _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = new_key(sizes[i]);

                assert_good(key, sizes[i]);
        }
        assert_int_equal(world.by_openssl, 0);
}

static void test_one_thread_is_enough(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.threads = THREADS_NONE;
        world.primes = PRIMES_AT_ONCE;
        key = new_key(2048);
        assert_good(key, 2048);
        assert_int_equal(world.candidates, 2);
}

static void test_a_fips_provider_makes_the_key_pair_itself(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.fips = true;
        key = new_key(2048);
        assert_int_equal(EVP_PKEY_get_bits(key), 2048);
        assert_int_equal(world.by_openssl, 1);
        assert_int_equal(world.candidates, 0);
}

static void test_a_prime_that_does_not_suit_the_exponent_is_not_used(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_NOT_FOR_E;
        key = new_key(1024);
        assert_int_equal(world.candidates, 3);
        assert_good(key, 1024);
}

/* The same if the other thread has found both primes already. */
static void test_a_thread_stops_when_the_primes_are_found(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_AT_ONCE;
        key = new_key(2048);
        assert_good(key, 2048);
        assert_int_equal(world.candidates, 2);
}

static void test_a_third_prime_is_not_kept(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.threads = THREADS_LATE;
        world.main = pthread_self();
        world.primes = PRIMES_AT_ONCE;
        key = new_key(1024);
        assert_int_equal(world.candidates, 3);
        assert_good(key, 1024);
}

static void test_a_number_that_is_not_prime_is_not_used(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_COMPOSITE;
        key = new_key(1024);
        assert_int_equal(world.candidates, 3);
        assert_good(key, 1024);
}

/* candidates: so many were tried; 0: that depends on which thread is quicker */
static void assert_fails(int wanted, const char *reason, unsigned candidates) {
        EVP_PKEY *key = NULL;
        Error error = {};
        int r = make(1024, &key, &error);

        if (r != wanted || !strstr(error.text, reason))
                fail_msg("%d, \"%s\"; wanted %d, \"%s\"", r, error.text, wanted, reason);
        assert_null(key);
        assert_int_equal(error.failure, FAILURE_INTERNAL);
        assert_false(failure_is_final(error.failure));
        if (candidates > 0)
                assert_int_equal(world.candidates, candidates);
}

static void test_unusable_primes_are_refused(void **state) {
        static const struct {
                Primes primes;
                unsigned candidates; /* eight attempts with two primes each, or 5 * 1024 for each thread */
        } cases[] = { { PRIMES_NEXT, 16 }, { PRIMES_SHORT, 16 }, { PRIMES_NEVER_FOR_E, 10240 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                reset();
                world.threads = THREADS_AT_ONCE;
                world.primes = cases[i].primes;
                assert_fails(-EIO, "the random numbers give no usable primes", cases[i].candidates);
        }
}

/* FIPS 186-5 demands more than 2^412 for primes of 512 bits, and key-pair.c more than 2^413. */
static void test_primes_at_the_least_distance_are_used_and_no_closer_ones(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_NEXT_AT_DISTANCE;
        world.distance = 412;
        assert_fails(-EIO, "the random numbers give no usable primes", 16);
        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_NEXT_AT_DISTANCE;
        world.distance = 413;
        key = new_key(1024);
        assert_int_equal(world.candidates, 2);
        assert_good(key, 1024);
}

static void test_a_key_pair_that_does_not_decrypt_is_refused(void **state) {
        reset();
        world.other_text = true;
        assert_fails(-EIO, "unknown error", 0);
        reset();
        world.other_size = true;
        assert_fails(-EIO, "unknown error", 0);
}

static void test_a_failure_of_any_step_is_named(void **state) {
        bool failed = true;
        unsigned n;

        for (n = 0; failed; n++) {
                EVP_PKEY *key = NULL;
                Error error = {};
                int r;

                reset();
                world.threads = THREADS_AT_ONCE;
                world.primes = PRIMES_AT_ONCE;
                world.failing_step = n + 1;
                world.reason = BN_R_TOO_MANY_ITERATIONS;
                r = make(1024, &key, &error);
                failed = world.steps > n;
                if (failed != (r < 0) || failed != !key ||
                    (failed && !strstr(error.text, "too many iterations")))
                        fail_msg("step %u %s: %d, \"%s\"", n + 1, failed ? "failed" : "does not exist", r,
                                 error.text);
                EVP_PKEY_free(key);
        }
        assert_true(n > 50);
}

/* With real threads, the other one may have found both primes before. */
static void test_a_failure_of_either_thread_is_named(void **state) {
        static const Threads threads[] = { THREADS_AT_ONCE, THREADS_NONE, THREADS_REAL };

        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                for (unsigned failing = 1; failing <= 2; failing++) {
                        unsigned candidates = threads[i] == THREADS_REAL ? 0 : failing;

                        reset();
                        world.threads = threads[i];
                        world.primes = PRIMES_AT_ONCE;
                        world.failing_candidate = failing;
                        world.reason = BN_R_TOO_MANY_ITERATIONS;
                        assert_fails(-EIO,
                                     "OpenSSL cannot make an RSA key pair of 1024 bits: too many iterations.",
                                     candidates);
                        reset();
                        world.threads = threads[i];
                        world.primes = PRIMES_AT_ONCE;
                        world.failing_candidate = failing;
                        world.reason = ERR_R_MALLOC_FAILURE;
                        assert_fails(-ENOMEM, "Out of memory.", candidates);
                }
}

/*
 * How the primes of many key pairs are distributed: what lies below the two highest bits, which are always set; the
 * lowest bits; and the distance of p and q. Each is counted in 16 cells that are equally probable, and compared by
 * Pearson's chi-square. With 15 degrees of freedom it is above 100 with probability 1.3e-14. The three sums are not
 * exactly chi-square distributed with so few samples; 1e-9 is a safe bound for all.
 */
#define KEYS 200
#define CELLS 16
#define CHI_SQUARE_MAX 100.0
#define PRIME_BITS 512

typedef struct Distribution {
        unsigned high[CELLS], low[CELLS], distance[CELLS];
} Distribution;

/* The 32 bits that follow the skip highest, as a number from 0 to 1. */
static double fraction(const BIGNUM *number, int skip) {
        double sum = 0;

        for (int i = 1; i <= 32; i++)
                if (BN_is_bit_set(number, PRIME_BITS - skip - i))
                        sum += ldexp(1, -i);
        return sum;
}

static void count_prime(const BIGNUM *prime, Distribution *distribution) {
        distribution->high[(unsigned) (fraction(prime, 2) * CELLS)]++;
        distribution->low[BN_mod_word(prime, 2 * CELLS) / 2]++;
}

/* p and q lie in an interval of width w. Their distance is less than y*w with probability 1 - (1 - y)^2. */
static void count_distance(const BIGNUM *p, const BIGNUM *q, Distribution *distribution) {
        _cleanup_(BN_clear_freep) BIGNUM *distance = BN_new();
        double y;

        assert_true(BN_sub(distance, p, q));
        y = fraction(distance, 2);
        distribution->distance[(unsigned) ((1 - (1 - y) * (1 - y)) * CELLS)]++;
}

static Distribution sample(unsigned keys) {
        Distribution distribution = {};

        for (unsigned i = 0; i < keys; i++) {
                _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = new_key(2 * PRIME_BITS);
                _cleanup_(BN_clear_freep) BIGNUM *p = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR1);
                _cleanup_(BN_clear_freep) BIGNUM *q = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR2);

                count_prime(p, &distribution);
                count_prime(q, &distribution);
                count_distance(p, q, &distribution);
        }
        return distribution;
}

static double chi_square(const unsigned counts[static CELLS]) {
        double total = 0, sum = 0;

        for (unsigned i = 0; i < CELLS; i++)
                total += counts[i];
        for (unsigned i = 0; i < CELLS; i++)
                sum += (counts[i] - total / CELLS) * (counts[i] - total / CELLS) / (total / CELLS);
        return sum;
}

static void test_primes_and_their_distance_are_distributed_as_random_numbers(void **state) {
        Distribution found;
        double high, low, distance;

        if (getenv("UNSEALD_TEST_SLOW"))
                skip(); /* minutes under valgrind, and only about numbers */
        reset();
        found = sample(KEYS);
        high = chi_square(found.high);
        low = chi_square(found.low);
        distance = chi_square(found.distance);
        print_message("chi-square: high bits %.1f, low bits %.1f, distance %.1f\n", high, low, distance);
        if (high > CHI_SQUARE_MAX || low > CHI_SQUARE_MAX || distance > CHI_SQUARE_MAX)
                fail_msg("chi-square is above %.0f", CHI_SQUARE_MAX);
}

/* Controls: the statistic must see generators that are not random. 40 key pairs are enough for these. */
static void test_the_statistic_sees_constant_high_bits(void **state) {
        Distribution found;

        if (getenv("UNSEALD_TEST_SLOW"))
                skip();
        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_CONSTANT_TOP;
        found = sample(40);
        assert_true(chi_square(found.high) > CHI_SQUARE_MAX);
}

static void test_the_statistic_sees_a_second_prime_that_follows_the_first(void **state) {
        Distribution found;

        if (getenv("UNSEALD_TEST_SLOW"))
                skip();
        reset();
        world.threads = THREADS_AT_ONCE;
        world.primes = PRIMES_NEXT_AT_DISTANCE;
        world.distance = PRIME_BITS - 90;
        found = sample(40);
        assert_true(chi_square(found.distance) > CHI_SQUARE_MAX);
        assert_true(chi_square(found.high) <= CHI_SQUARE_MAX);
}

static int tear_down(void **state) {
        reset();
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_key_pair_passes_the_checks_of_openssl),
                cmocka_unit_test(test_one_thread_is_enough),
                cmocka_unit_test(test_a_thread_stops_when_the_primes_are_found),
                cmocka_unit_test(test_a_third_prime_is_not_kept),
                cmocka_unit_test(test_a_number_that_is_not_prime_is_not_used),
                cmocka_unit_test(test_a_fips_provider_makes_the_key_pair_itself),
                cmocka_unit_test(test_a_prime_that_does_not_suit_the_exponent_is_not_used),
                cmocka_unit_test(test_unusable_primes_are_refused),
                cmocka_unit_test(test_primes_at_the_least_distance_are_used_and_no_closer_ones),
                cmocka_unit_test(test_a_key_pair_that_does_not_decrypt_is_refused),
                cmocka_unit_test(test_a_failure_of_any_step_is_named),
                cmocka_unit_test(test_a_failure_of_either_thread_is_named),
                cmocka_unit_test(test_primes_and_their_distance_are_distributed_as_random_numbers),
                cmocka_unit_test(test_the_statistic_sees_constant_high_bits),
                cmocka_unit_test(test_the_statistic_sees_a_second_prime_that_follows_the_first),
        };

        return cmocka_run_group_tests(tests, NULL, tear_down);
}
