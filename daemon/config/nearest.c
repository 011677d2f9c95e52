/* SPDX-License-Identifier: Apache-2.0 */

#include <stdint.h>
#include <string.h>

#include "config/nearest.h"

#define NAME_MAX_SIZE 256

static size_t least(size_t one, size_t other) {
        return one < other ? one : other;
}

size_t name_distance(const char *one, const char *other) {
        size_t rows[3][NAME_MAX_SIZE], *before = rows[0], *last = rows[1], *row = rows[2];
        size_t length = strlen(one), width = strlen(other);

        if (length >= NAME_MAX_SIZE || width >= NAME_MAX_SIZE)
                return SIZE_MAX;
        for (size_t j = 0; j <= width; j++)
                last[j] = j;
        for (size_t i = 1; i <= length; i++) {
                size_t *spare = before;

                row[0] = i;
                for (size_t j = 1; j <= width; j++) {
                        row[j] = least(least(last[j], row[j - 1]) + 1,
                                       last[j - 1] + (one[i - 1] != other[j - 1]));
                        if (i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1])
                                row[j] = least(row[j], before[j - 2] + 1);
                }
                before = last;
                last = row;
                row = spare;
        }
        return last[width];
}

static void fold(const char *text, char ret[static NAME_MAX_SIZE]) {
        size_t i;

        for (i = 0; text[i] && i < NAME_MAX_SIZE - 1; i++)
                ret[i] = (char) (text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
        ret[i] = '\0';
}

bool name_is_nearer(const char *typed, const char *known, size_t *best) {
        char one[NAME_MAX_SIZE], other[NAME_MAX_SIZE];
        size_t length = strlen(known), limit = length >= 10 ? 3 : 2, distance;

        if (strlen(typed) >= NAME_MAX_SIZE || length >= NAME_MAX_SIZE)
                return false;
        fold(typed, one);
        fold(known, other);
        distance = name_distance(one, other);
        if (distance > limit || 2 * distance >= length || distance >= *best)
                return false;
        *best = distance;
        return true;
}
