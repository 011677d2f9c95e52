/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The first half of a refresh (Refresh=): which of the fetched ciphertexts are not those that were unsealed last. session.c
 * asks after each fetch, and goes on to unseal only if one differs.
 */

#include "unsealing/ciphertexts.h"
#include "unsealing/passage.h"

typedef enum RefreshResult {
        REFRESH_FETCHING,  /* no difference so far, and some ciphertext is still to come */
        REFRESH_UNCHANGED, /* all that can be fetched is as before */
        REFRESH_CHANGED,
} RefreshResult;

/* Compares each ciphertext that is here and not compared yet, and writes each difference to the journal. *ret_unfetched becomes an
 * optional secret that was unsealed before and cannot be fetched now; NULL: there is none. -ENOMEM or -EIO: OpenSSL cannot hash. */
int refresh_compare(const Ciphertexts *known, Passage *passages, size_t count, RefreshResult *ret,
                    Passage **ret_unfetched);

/* The delay until the next refresh: the interval, up to 10 % shorter or longer, evenly distributed if the 64 bits of random
 * are. */
uint64_t refresh_delay_usec(uint64_t interval_usec, uint64_t random) _pure_;
