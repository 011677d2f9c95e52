/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The part of a passage that decrypts a message piece by piece. Only passage.c calls it. */

#include "unsealing/passage.h"

/* Begins to bring the rest of the message and to decrypt it. At the end the passage has its draft, or has failed, or begins anew
 * because the object was replaced. data_key is borrowed. */
int passage_begin_body(Passage *passage, Secret *data_key, Error *error);
