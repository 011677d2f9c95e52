/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The part of a passage that fetches the beginning of a message and decrypts it piece by piece. Only passage.c calls it. */

#include "unsealing/passage.h"

/* Fetches a message as a whole, or the beginning of a large one. Otherwise as source_fetch(). */
int passage_fetch_beginning(Passage *passage, const Fetch *fetch);

/* With headers_only: the data key of a large message is here, and is taken. Opens its header, and the passage is done. FAILURE_CIPHERTEXT. */
int passage_open_header(Passage *passage, Secret *data_key, Error *error);

/* The data key of a large message is here, and is taken. From now on the passage's step body_begins waits for its turn. FAILURE_CIPHERTEXT:
 * the message cannot be decrypted piece by piece, or is too long. */
int passage_await_body(Passage *passage, Secret *data_key, Error *error);

/* The step body_begins: begins to bring the rest of the message and to decrypt it, if there is room (unsealing/body-turns.h). At the end
 * the passage has its draft, or has failed, or begins anew because the object was replaced. */
int passage_begin_body(void *owner, uint64_t now);

/* Where the rest of the message is is not known any more. */
void passage_forget_rest(Passage *passage);

/* Stops the body, and wipes the data key. */
void passage_end_body(Passage *passage);

/* Returns whether the source has failed, and has brought nothing since. */
bool passage_body_is_stuck(const Passage *passage) _pure_;

/* Late=: keeps the data key, and leaves the body for later. The header is checked with the key, and the size of the body. data_key is
 * borrowed. */
int passage_keep_late_key(Passage *passage, Secret *data_key, Error *error);
