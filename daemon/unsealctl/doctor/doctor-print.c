/* SPDX-License-Identifier: Apache-2.0 */

/* Prints findings. On a terminal they are a table with colours, and long texts are wrapped. NO_COLOR with any value that is
 * not empty leaves the colours out (https://no-color.org). In a pipe each finding is one line, for grep. */

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "unsealctl/ctl.h"
#include "unsealctl/doctor/doctor.h"

#define WIDTH_MIN 60
#define INDENT 24

#define RESET "\033[0m"
#define FAINT "\033[2m"

static const char *const colours[_VERDICTS] = {
        [VERDICT_OK] = "\033[32m",        [VERDICT_NOTE] = "",
        [VERDICT_SKIPPED] = FAINT,        [VERDICT_WARNING] = "\033[33m",
        [VERDICT_FAILURE] = "\033[1;31m",
};

/* Returns the escape sequence, or an empty string where colours are not wanted. */
static const char *escape(const char *sequence) {
        return environment("NO_COLOR") ? "" : sequence;
}

static unsigned terminal_width(void) {
        struct winsize size;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                return 80;
        return size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col;
}

/* Counts characters of UTF-8. Each one takes a column. */
static size_t columns(const char *text, size_t length) {
        size_t n = 0;

        for (size_t i = 0; i < length; i++)
                n += ((unsigned char) text[i] & 0xc0) != 0x80;
        return n;
}

/* Prints the words from the column on. Returns the column after the last word. */
static size_t print_words(const char *text, size_t column, size_t width) {
        while (*text) {
                size_t length = strcspn(text, " "), wide = columns(text, length);

                if (column > INDENT && column + 1 + wide > width) {
                        printf("\n%*s", INDENT, "");
                        column = INDENT;
                } else if (column > INDENT) {
                        putchar(' ');
                        column++;
                }
                (void) fwrite(text, 1, length, stdout);
                column += wide;
                text += length;
                text += strspn(text, " ");
        }
        return column;
}

static void print_row(const Finding *finding) {
        unsigned width = terminal_width();
        size_t column = INDENT;

        printf("%s%-7s%s  %-13s  ", escape(colours[finding->verdict]), verdict_to_string(finding->verdict),
               escape(RESET), finding->check);
        if (finding->subject[0]) {
                column = print_words(finding->subject, column, width);
                column += (size_t) printf("%s", subject_colon(finding->subject));
        }
        (void) print_words(finding->text, column, width);
        if (finding->cure[0]) {
                printf("\n%*s%s", INDENT, "", escape(FAINT));
                (void) print_words(finding->cure, INDENT, width);
                fputs(escape(RESET), stdout);
        }
        putchar('\n');
        (void) fflush(stdout);
}

static void print_line(const Finding *finding) {
        printf("%s %s%s%s%s %s%s%s\n", verdict_to_string(finding->verdict), finding->check,
               finding->subject[0] ? " " : "", finding->subject, subject_colon(finding->subject),
               finding->text, finding->cure[0] ? " " : "", finding->cure);
        (void) fflush(stdout);
}

void (*report_printer(void))(const Finding *finding) {
        return isatty(STDOUT_FILENO) ? print_row : print_line;
}

static size_t count_of(const Report *report, Verdict verdict) {
        size_t n = 0;

        for (size_t i = 0; i < report->count; i++)
                n += report->findings[i].verdict == verdict;
        return n;
}

void report_print_summary(const Report *report) {
        printf("%zu failure(s), %zu warning(s), %zu skipped.\n", count_of(report, VERDICT_FAILURE),
               count_of(report, VERDICT_WARNING), count_of(report, VERDICT_SKIPPED));
}

static struct json_object *finding_to_json(const Finding *finding) {
        struct json_object *object = made(json_object_new_object());

        add_string(object, "check", finding->check);
        add_string(object, "subject", finding->subject[0] ? finding->subject : NULL);
        add_string(object, "verdict", verdict_to_string(finding->verdict));
        if (finding->verdict == VERDICT_FAILURE)
                add_string(object, "failure", failure_to_string(finding->failure));
        add_string(object, "text", finding->text);
        add_string(object, "cure", finding->cure[0] ? finding->cure : NULL);
        return object;
}

void report_print_json(const Report *report) {
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        struct json_object *findings = made(json_object_new_array());

        add(object, "failures", made(json_object_new_int64((int64_t) count_of(report, VERDICT_FAILURE))));
        add(object, "warnings", made(json_object_new_int64((int64_t) count_of(report, VERDICT_WARNING))));
        add(object, "skipped", made(json_object_new_int64((int64_t) count_of(report, VERDICT_SKIPPED))));
        add(object, "findings", findings);
        for (size_t i = 0; i < report->count; i++)
                if (json_object_array_add(findings, finding_to_json(&report->findings[i])) < 0)
                        exit(failure("Out of memory."));
        puts(json_object_to_json_string_ext(object,
                                            JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
}
