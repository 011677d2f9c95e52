/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tells whether a random number is prime, for the search in key-pair.c: trial division, then Miller-Rabin with random bases (FIPS
 * 186-5 appendix B.3.1).
 *
 * OpenSSL's BN_check_prime() does the same, but with at least 64 rounds of Miller-Rabin, and its API takes no fewer. FIPS 186-5
 * table B.1 demands 5 rounds for random numbers of 1024 bits. The other 59 take half of the time of a key pair.
 */

#include <openssl/bn.h>
#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"

/* FIPS 186-5 table B.1: 5 rounds for primes of 1024 bits (error probability below 2^-112), 4 for 1536 bits (2^-128), and 4 for 2048
 * bits (2^-144). The table holds for numbers that were chosen at random, not for those that somebody else has chosen. */
#define PRIMALITY_ROUNDS 5U

/* The first odd primes, up to 3673. One round takes as long as dividing by 4000 of them; 512 come close to the least sum. */
#define SMALL_PRIMES 512U

void small_primes_find(uint16_t ret[static SMALL_PRIMES]);

/* Returns whether one of these primes divides the number. It returns true for such a prime, too. */
bool has_small_factor(const BIGNUM *number, const uint16_t small[static SMALL_PRIMES]) _pure_;

/* number: odd, at least 5, with BN_FLG_CONSTTIME. context: of BN_CTX_secure_new(). false: OpenSSL failed. A prime always passes; a
 * composite number passes with a probability of at most 4^-PRIMALITY_ROUNDS. */
bool miller_rabin(const BIGNUM *number, BN_CTX *context, bool *ret_probably_prime);
