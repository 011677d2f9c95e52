/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Bytes that somebody else owns. data NULL: there are none; the size is then 0. Bytes that are there may be empty. */
typedef struct Slice {
        const uint8_t *data;
        size_t size;
} Slice;
