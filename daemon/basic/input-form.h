/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Names the form in which a person or a tool has handed bytes over, so that an error can say what was found and how to make
 * what is wanted. Editors and shells write byte order marks and UTF-16, "aws" prints JSON, launch templates encode twice. The
 * form is a guess from the bytes: use it for error texts, and take an input only where its format is checked as well. Pure.
 *
 * Sources: Unicode 15 section 23.8 (byte order mark); RFC 1952 (gzip), 8878 (zstd), 7468 (PEM), 2045 (MIME), 4648 (base64, hex).
 */

#include <stddef.h>

/* The fewest digits of a text that is called hexadecimal: many short words consist of such digits. */
#define INPUT_FORM_HEX_MIN 32U
#define INPUT_FORM_BASE64_MIN 64U

typedef enum InputForm {
        INPUT_EMPTY,
        INPUT_BINARY, /* none of the others */
        INPUT_TEXT,   /* ASCII, none of the others */
        INPUT_BASE64, /* white space between the characters is allowed */
        INPUT_HEX,
        INPUT_JSON,        /* an object or an array */
        INPUT_JSON_STRING, /* text in quotation marks, as "jq ." prints a string */
        INPUT_PEM,
        INPUT_MIME,
        INPUT_BYTE_ORDER_MARK, /* UTF-8 behind a mark */
        INPUT_UTF16,           /* with a mark, or ASCII in UTF-16 without one; either byte order */
        INPUT_COMPRESSED,      /* gzip, zstd, xz, bzip2, ZIP */
        _INPUT_FORMS,
} InputForm;

InputForm input_form(const void *data, size_t size);

/* For an input that had to be text, such as JSON, and could not be parsed. Returns the form if it is one to get rid of first, and
 * otherwise INPUT_TEXT: then the text itself is wrong. INPUT_EMPTY stays. Does not call a text of fewer than INPUT_FORM_BASE64_MIN bytes base64. */
InputForm input_form_of_failed_text(const void *data, size_t size);

/* For an error text that goes on: " It is text in UTF-16. Convert it …". Empty where the form explains nothing, as for binary data,
 * plain text and base64 of fewer than INPUT_FORM_HEX_MIN characters. Static. */
const char *input_form_hint(const void *data, size_t size);

/* Continues "It is …": "text in UTF-16". */
const char *input_form_name(InputForm form);

/* A sentence that says how to get rid of the form. Empty where there is nothing to say. */
const char *input_form_cure(InputForm form);
