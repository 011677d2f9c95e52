/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The words of JSON (RFC 8259), for parsers of it: they take the text from its begin, and allocate nothing. Pure. */

#include <stdbool.h>
#include <stddef.h>

/* What is left of the text. */
typedef struct JsonText {
        const char *at, *end;
} JsonText;

void json_skip_space(JsonText *text);

/* Takes a character, or a word, if it is the next one. */
bool json_take(JsonText *text, char c);
bool json_take_word(JsonText *text, const char *word);

/*
 * Takes the rest of a string whose quote has been taken, with the quote at its end, and writes what it stands for. No escape is shorter
 * than what it stands for, so `to` needs as many bytes as are left before that quote, and may be the begin of the string itself. -EBADMSG:
 * the text is no UTF-8, has a control character, an unknown escape, half of a surrogate pair or \u0000, or does not end.
 */
int json_take_text(JsonText *text, char *to, size_t *ret_size);
