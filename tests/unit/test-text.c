/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/text.h"

static void test_characters_are_decoded(void **state) {
        static const struct {
                const char *text;
                uint32_t character;
                size_t length;
        } cases[] = {
                { "a", 'a', 1 },
                { "\x7f", 0x7f, 1 },
                { "\xc2\x80", 0x80, 2 },
                { "\xdf\xbf", 0x7ff, 2 },
                { "\xe0\xa0\x80", 0x800, 3 },
                { "\xed\x9f\xbf", 0xd7ff, 3 },
                { "\xee\x80\x80", 0xe000, 3 },
                { "\xf0\x90\x80\x80", 0x10000, 4 },
                { "\xf4\x8f\xbf\xbf", 0x10ffff, 4 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint32_t character = 0;
                size_t n = utf8_decode(cases[i].text, cases[i].length, &character);

                if (n != cases[i].length || character != cases[i].character)
                        fail_msg("U+%04X: saw %zu bytes, U+%04X", cases[i].character, n, character);
                if (cases[i].length > 1)
                        assert_int_equal(utf8_decode(cases[i].text, cases[i].length - 1, &character), 0);
        }
}

static void test_other_bytes_are_no_character(void **state) {
        static const char *const wrong[] = {
                "\x80",             /* a continuation alone */
                "\xc2",             /* cut */
                "\xc2\x41",         /* no continuation */
                "\xc1\xbf",         /* overlong */
                "\xe0\x9f\xbf",     /* overlong */
                "\xf0\x8f\xbf\xbf", /* overlong */
                "\xed\xa0\x80",     /* the first surrogate */
                "\xed\xbf\xbf",     /* the last surrogate */
                "\xf4\x90\x80\x80", /* above U+10FFFF */
                "\xf8\x88\x80\x80\x80",
                "\xff",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                uint32_t character;

                if (utf8_decode(wrong[i], strlen(wrong[i]), &character) != 0)
                        fail_msg("case %zu was taken for U+%04X", i, character);
        }
}

typedef struct Case {
        const char *what, *text, *wanted;
} Case;

static void check(const Case *cases, size_t count, char *(*clean)(char *) ) {
        for (size_t i = 0; i < count; i++) {
                char text[128];

                (void) snprintf(text, sizeof(text), "%s", cases[i].text);
                assert_ptr_equal(clean(text), text);
                if (strcmp(text, cases[i].wanted) != 0)
                        fail_msg("%s: saw \"%s\", wanted \"%s\"", cases[i].what, text, cases[i].wanted);
        }
}

static void test_text_from_outside_is_cleaned(void **state) {
        static const Case cases[] = {
                { "nothing", "", "" },
                { "plain text", "It is \"plain\", 100 %.", "It is \"plain\", 100 %." },
                { "other scripts", "Zürich 東京 🔑 \u00a0", "Zürich 東京 🔑 \u00a0" },
                { "a forged notification", "x\nREADY=1\nSTATUS=all well", "x?READY=1?STATUS=all well" },
                { "C0",
                  "a\tb\rc\x01"
                  "d\x1f",
                  "a?b?c?d?" },
                { "an escape sequence", "\x1b[2Jx", "?[2Jx" },
                { "DEL", "a\x7f", "a?" },
                { "C1, the 8-bit form of an escape sequence",
                  "a\xc2\x9b"
                  "2J\xc2\x80\xc2\x9f",
                  "a?2J??" },
                { "line separators", "a\u2028b\u2029", "a?b?" },
                { "overrides of the direction", "\u202e\u202a\u2066\u2069\u200e\u200f\u061c", "???????" },
                { "their neighbours", "\u2027\u202f\u2065\u206a\u200d\u2010\u061b",
                  "\u2027\u202f\u2065\u206a\u200d\u2010\u061b" },
                { "Latin-1", "caf\xe9 au lait", "caf? au lait" },
                { "an overlong newline",
                  "a\xc0\x8a"
                  "b",
                  "a??b" },
                { "a surrogate", "\xed\xa0\x80", "???" },
                { "a character that the end cuts", "a\xe6\x9d", "a" },
                { "a character that the end cuts after its first byte", "a\xf0", "a" },
                { "a continuation at the end", "a\x80", "a?" },
                { "a character cut in the middle",
                  "a\xe6\x9d"
                  "b",
                  "a??b" },
        };

        check(cases, ELEMENTSOF(cases), text_clean);
}

static void test_only_newlines_survive_in_lines_of_our_own(void **state) {
        static const Case cases[] = {
                { "lines", "PCR4 DIFFERS\n  measured 00\n", "PCR4 DIFFERS\n  measured 00\n" },
                { "all else", "a\r\n\tb\x1b\u2028\xff", "a?\n?b???" },
        };

        check(cases, ELEMENTSOF(cases), text_clean_lines);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_characters_are_decoded),
                cmocka_unit_test(test_other_bytes_are_no_character),
                cmocka_unit_test(test_text_from_outside_is_cleaned),
                cmocka_unit_test(test_only_newlines_survive_in_lines_of_our_own),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
