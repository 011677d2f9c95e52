/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which key of KeyId= KMS is asked for. It is the first one while its Region can be reached. If no answer comes from there, the next key
 * is asked for, in its own Region: a replica of a multi-Region key, or another key that made a data key of the message.
 *
 * Only silence counts: no connection, no answer in time, or an outage of KMS. An answer counts in whichever Region it was given: nothing that
 * KMS denies is asked again elsewhere. Throttling is an answer, too, since the Region is there and only wants to be asked later.
 * endpoint.c says when a Region counts as silent.
 *
 * With KmsEndpoint= there is one server for all keys, so no other one is asked.
 */

#include "unsealing/passage.h"

/* Chooses the key for the next request, and its endpoint. The secret is asked of no endpoint at this moment. */
void passage_choose_key(Passage *passage);

/* The request to KMS that has just failed: the next one may go to another Region. The decryption has been postponed already. */
void passage_key_failed(Passage *passage, const Error *error);

/* The key that is asked for. NULL: none is, because the secret was kept before a restart. */
const RequestKey *passage_key(const Passage *passage) _pure_;

/* The Region that KMS is asked in. */
const char *passage_region(const Passage *passage) _pure_;

/* The ciphertext that this key opens: of a message, one of its data keys. Valid as long as the passage. */
Slice passage_sealed_key(const Passage *passage);
