/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The part of a passage that brings a late secret (Late=) after READY=1. Only passage.c calls it. */

#include "unsealing/passage.h"

/* The step late_body: opens the kept data key, and awaits the turn of the message. */
int passage_begin_late_body(void *owner, uint64_t now);

/* The beginning of the message came a second time. Takes data. */
void passage_fetched_again(Passage *passage, uint8_t *data, size_t size);

/* Says that a late secret has failed, which ends nothing. */
void passage_log_alone(const Passage *passage, const Step *step, const Error *error);

/* The step that keeps a late secret from being delivered. */
const Step *passage_late_obstacle(Passage *passage);
