/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Text from outside (servers, certificates, files, units) that ends in the journal, in a notification to the service manager,
 * in status.json or on a terminal. It is cleaned where it enters: error_set(), notify_status() and log_full() call
 * text_clean(). Otherwise a newline could forge a line such as READY=1, and an escape sequence could rewrite the terminal.
 */

#include <stddef.h>
#include <stdint.h>

/* The length in bytes of the UTF-8 character at the start of text, and its code point. 0: there is none (RFC 3629): overlong
 * forms, surrogates and code points above U+10FFFF do not count. size is at least 1. */
size_t utf8_decode(const char *text, size_t size, uint32_t *ret);

/*
 * Puts one "?" in place of each
 *  - control character (C0, DEL, C1), the newline included,
 *  - line or paragraph separator (U+2028, U+2029),
 *  - character that reorders the text around it (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069),
 *  - byte that is not UTF-8.
 * A character that the end of the text cuts is removed. The result is never longer. Returns text.
 */
char *text_clean(char *text);

/* The same, but newlines stay. Only for texts of several lines that unseald composes itself: every part from outside is
 * cleaned with text_clean() before. Returns text. */
char *text_clean_lines(char *text);
