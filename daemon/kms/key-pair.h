/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Makes an RSA key pair: public exponent 65537, two random probable primes (FIPS 186-5 appendix A.1.3), which two
 * threads look for until they have two. In FIPS mode, OpenSSL's own generator makes it.
 */

#include <openssl/evp.h>

#include "basic/error.h"

/* Shorter keys than FIPS 186-5 allows (2048 bits) are for tests. */
#define KEY_PAIR_BITS_MIN 1024U
#define KEY_PAIR_BITS_MAX 4096U

/*
 * bits: the length of the modulus, an even number from KEY_PAIR_BITS_MIN to KEY_PAIR_BITS_MAX. 2048 bits take 0.01 to
 * 0.1 seconds on two processors. Blocks. -ENOMEM or -EIO, with FAILURE_INTERNAL. The caller frees *ret.
 */
int key_pair_new(unsigned bits, EVP_PKEY **ret, Error *error);
