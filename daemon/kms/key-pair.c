/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OpenSSL 3.0 makes a key pair by FIPS 186-4 B.3.6: one thread finds auxiliary primes, then primes built on them. FIPS
 * 186-5 A.1.3 allows random probable primes instead. They are found sooner, and by several threads at the same time.
 * The letters are those of the standard: nlen is the length of the modulus n = pq in bits.
 *
 * The search differs from A.1.3 in one detail, as do all primes that OpenSSL makes. The two highest bits of a candidate are
 * set, so that p >= 3/4 * 2^(nlen/2); A.1.3 demands p >= sqrt(2) * 2^(nlen/2 - 1), which is less.
 *
 * OpenSSL clears the numbers when they are freed (BN_secure_new(), BN_clear_free(), BN_CTX_secure_new()). recipient.c
 * says what wipes the copies that OpenSSL leaves behind.
 */

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "basic/thread.h"
#include "kms/key-pair.h"
#include "kms/primality.h"

/* FIPS 186-5 A.1.1 demands an odd e with 2^16 < e < 2^256. */
#define PUBLIC_EXPONENT 65537

/* FIPS 186-5 A.1.3 demands |p - q| > 2^(nlen/2 - 100), so that Fermat's method does not factor n. */
#define DISTANCE_BITS 100

/* A.1.3 gives up after 5 * nlen candidates for p. One in 355 odd numbers of 1024 bits is prime, so a thread that gives up has broken
 * random numbers. */
#define CANDIDATES_MAX(bits) (5 * 2 * (bits))

/* Two primes are unusable with a probability below 2^-90. After as many attempts the random numbers must be broken. */
#define ATTEMPTS_MAX 8

#define NO_LUCK "the random numbers give no usable primes"

typedef struct Numbers {
        BIGNUM *n, *e, *d, *p, *q, *d_p, *d_q, *q_inverse;
} Numbers;

static void numbers_clear(Numbers *numbers) {
        BN_clear_free(numbers->n);
        BN_clear_free(numbers->e);
        BN_clear_free(numbers->d);
        BN_clear_free(numbers->p);
        BN_clear_free(numbers->q);
        BN_clear_free(numbers->d_p);
        BN_clear_free(numbers->d_q);
        BN_clear_free(numbers->q_inverse);
}

static bool new_number(BIGNUM **ret) {
        *ret = BN_secure_new();
        if (*ret)
                BN_set_flags(*ret, BN_FLG_CONSTTIME);
        return *ret;
}

static bool numbers_init(Numbers *numbers) {
        return new_number(&numbers->n) && new_number(&numbers->e) && new_number(&numbers->d) &&
               new_number(&numbers->p) && new_number(&numbers->q) && new_number(&numbers->d_p) &&
               new_number(&numbers->d_q) && new_number(&numbers->q_inverse) &&
               BN_set_word(numbers->e, PUBLIC_EXPONENT);
}

/* BN_gcd() may exchange the flags of its result with those of a number of its own. */
static bool greatest_divisor(BIGNUM *ret, const BIGNUM *a, const BIGNUM *b, BN_CTX *context) {
        bool done = BN_gcd(ret, a, b, context);

        BN_set_flags(ret, BN_FLG_CONSTTIME);
        return done;
}

/* Threads look for primes until together they have two. The value of a prime does not depend on the thread that finds it, nor on
 * the time. */
typedef struct Search {
        int bits;
        uint16_t small[SMALL_PRIMES];
        BIGNUM *primes[2]; /* one thread writes each; nobody reads them until all threads have ended */
        atomic_uint found; /* at least 2: the search is over */
} Search;

/* The work of one thread. */
typedef struct Searcher {
        Search *search;
        int r;
        const char *reason;
} Searcher;

/* A.1.3 steps 4.2 to 4.5. As e is prime, gcd(e, p - 1) = 1 unless e divides p - 1: then e has no inverse d. */
static bool try_candidate(const Search *search, BIGNUM *candidate, BN_CTX *context, bool *ret_suits) {
        *ret_suits = false;
        if (!BN_priv_rand_ex(candidate, search->bits, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ODD, 0, context))
                return false;
        return has_small_factor(candidate, search->small) || BN_mod_word(candidate, PUBLIC_EXPONENT) == 1 ||
               miller_rabin(candidate, context, ret_suits);
}

/* The other thread may have found the second prime in the meantime. */
static bool keep(Search *search, const BIGNUM *prime) {
        unsigned place = atomic_fetch_add(&search->found, 1);

        return place >= ELEMENTSOF(search->primes) || BN_copy(search->primes[place], prime);
}

static void search_main(void *userdata) {
        Searcher *searcher = userdata;
        Search *search = searcher->search;
        _cleanup_(BN_CTX_freep) BN_CTX *context = BN_CTX_secure_new();
        _cleanup_(BN_clear_freep) BIGNUM *candidate = NULL;
        bool done = context && new_number(&candidate), suits;

        for (int i = 0; done && i < CANDIDATES_MAX(search->bits) && atomic_load(&search->found) < 2; i++) {
                done = try_candidate(search, candidate, context, &suits);
                if (done && suits)
                        done = keep(search, candidate);
        }
        if (done)
                return;
        searcher->r = openssl_failure(&searcher->reason);
        atomic_store(&search->found, 2);
}

/* If there is no second thread, this one finds both. That is slower, but no failure. */
static int find_primes(Numbers *numbers, int bits, const char **ret_reason) {
        Search search = { .bits = bits, .primes = { numbers->p, numbers->q } };
        Searcher here = { .search = &search, .reason = NO_LUCK }, there = here;
        Thread *thread = NULL;

        small_primes_find(search.small);
        (void) thread_start("key-pair-2", search_main, &there, &thread);
        search_main(&here);
        thread_join(thread);

        *ret_reason = here.r < 0 ? here.reason : there.reason;
        if (here.r < 0 || there.r < 0)
                return here.r < 0 ? here.r : there.r;
        return atomic_load(&search.found) < 2 ? -EIO : 0;
}

/* Its two highest bits are set, and no higher one. */
static bool has_length(const BIGNUM *prime, int bits) {
        return BN_num_bits(prime) == bits && BN_is_bit_set(prime, bits - 2);
}

/* The lengths are compared, so the distance must be at least twice as long as FIPS 186-5 demands. */
static bool check_distance(const Numbers *numbers, int bits, BN_CTX *context, bool *ret_suits) {
        BIGNUM *distance;
        bool done;

        BN_CTX_start(context);
        distance = openssl_local(context);
        done = distance && BN_sub(distance, numbers->p, numbers->q);
        *ret_suits = done && has_length(numbers->p, bits) && has_length(numbers->q, bits) &&
                     BN_num_bits(distance) > bits - DISTANCE_BITS + 1;
        BN_CTX_end(context);
        return done;
}

/* n = pq, d = 1/e mod lcm(p - 1, q - 1) (FIPS 186-5 A.1.1), and what RFC 8017 section 3.2 adds for the Chinese remainder
 * theorem. */
static bool derive(Numbers *numbers, BN_CTX *context) {
        BIGNUM *p_less_one, *q_less_one, *product, *gcd, *lcm;
        bool done;

        BN_CTX_start(context);
        p_less_one = openssl_local(context);
        q_less_one = openssl_local(context);
        product = openssl_local(context);
        gcd = openssl_local(context);
        lcm = openssl_local(context);
        done = lcm && BN_mul(numbers->n, numbers->p, numbers->q, context) &&
               BN_sub(p_less_one, numbers->p, BN_value_one()) &&
               BN_sub(q_less_one, numbers->q, BN_value_one()) &&
               BN_mul(product, p_less_one, q_less_one, context) &&
               greatest_divisor(gcd, p_less_one, q_less_one, context) &&
               BN_div(lcm, NULL, product, gcd, context) &&
               BN_mod_inverse(numbers->d, numbers->e, lcm, context) &&
               BN_mod(numbers->d_p, numbers->d, p_less_one, context) &&
               BN_mod(numbers->d_q, numbers->d, q_less_one, context) &&
               BN_mod_inverse(numbers->q_inverse, numbers->q, numbers->p, context);
        BN_CTX_end(context);
        return done;
}

static int find_numbers(Numbers *numbers, int bits, const char **ret_reason) {
        _cleanup_(BN_CTX_freep) BN_CTX *context = BN_CTX_secure_new();
        bool suits;
        int r;

        for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
                r = find_primes(numbers, bits / 2, ret_reason);
                if (r < 0)
                        return r;
                if (!context || !check_distance(numbers, bits / 2, context, &suits))
                        return openssl_failure(ret_reason);
                if (!suits)
                        continue;
                /* OpenSSL's own key pairs have p > q, too. */
                if (BN_cmp(numbers->p, numbers->q) < 0)
                        BN_swap(numbers->p, numbers->q);
                if (!derive(numbers, context))
                        return openssl_failure(ret_reason);
                /* FIPS 186-5 A.1.1 demands d > 2^(nlen/2). It cannot be equal, since d is odd. */
                if (BN_num_bits(numbers->n) == bits && BN_num_bits(numbers->d) > bits / 2)
                        return 0;
        }
        *ret_reason = NO_LUCK;
        return -EIO;
}

static EVP_PKEY *assemble(const Numbers *numbers) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        _cleanup_(OSSL_PARAM_BLD_freep) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        _cleanup_(OSSL_PARAM_freep) OSSL_PARAM *parameters = NULL;
        EVP_PKEY *key = NULL;

        if (!context || !builder || !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, numbers->n) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, numbers->e) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_D, numbers->d) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_FACTOR1, numbers->p) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_FACTOR2, numbers->q) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_EXPONENT1, numbers->d_p) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_EXPONENT2, numbers->d_q) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, numbers->q_inverse))
                return NULL;
        parameters = OSSL_PARAM_BLD_to_param(builder);
        if (!parameters || EVP_PKEY_fromdata_init(context) <= 0 ||
            EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters) <= 0)
                return NULL;
        return key;
}

/* The key pair must decrypt a text that was encrypted as KMS does it. */
static bool works(EVP_PKEY *key) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *encrypt = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL),
                                                   *decrypt = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
        static const uint8_t text[32] = "a key pair that has just been ma";
        uint8_t encrypted[KEY_PAIR_BITS_MAX / 8], decrypted[KEY_PAIR_BITS_MAX / 8];
        size_t encrypted_size = sizeof(encrypted), decrypted_size = sizeof(decrypted);

        return encrypt && decrypt && EVP_PKEY_encrypt_init(encrypt) > 0 &&
               openssl_set_oaep_sha256(encrypt) &&
               EVP_PKEY_encrypt(encrypt, encrypted, &encrypted_size, text, sizeof(text)) > 0 &&
               EVP_PKEY_decrypt_init(decrypt) > 0 && openssl_set_oaep_sha256(decrypt) &&
               EVP_PKEY_decrypt(decrypt, decrypted, &decrypted_size, encrypted, encrypted_size) > 0 &&
               decrypted_size == sizeof(text) && memcmp(decrypted, text, sizeof(text)) == 0;
}

static int make(int bits, EVP_PKEY **ret, const char **ret_reason) {
        _cleanup_(numbers_clear) Numbers numbers = {};
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        int r;

        if (!numbers_init(&numbers))
                return openssl_failure(ret_reason);
        r = find_numbers(&numbers, bits, ret_reason);
        if (r < 0)
                return r;
        key = assemble(&numbers);
        if (!key || !works(key))
                return openssl_failure(ret_reason);
        *ret = TAKE_PTR(key);
        return 0;
}

/* The FIPS provider was validated with its own generator, and libcrypto's prime numbers are outside of it. */
static bool in_fips_mode(void) {
        return EVP_default_properties_is_fips_enabled(NULL) || OSSL_PROVIDER_available(NULL, "fips");
}

static int make_by_openssl(int bits, EVP_PKEY **ret, const char **ret_reason) {
        *ret = EVP_RSA_gen((size_t) bits);
        return *ret ? 0 : openssl_failure(ret_reason);
}

int key_pair_new(unsigned bits, EVP_PKEY **ret, Error *error) {
        const char *reason = NULL;
        int r;

        assert(bits >= KEY_PAIR_BITS_MIN && bits <= KEY_PAIR_BITS_MAX && bits % 2 == 0);

        r = (in_fips_mode() ? make_by_openssl : make)((int) bits, ret, &reason);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "OpenSSL cannot make an RSA key pair of %u bits: %s.", bits, reason);
        return 0;
}
