/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/input-form.h"
#include "basic/json.h"

#define WHITE_SPACE " \t\r\n"

static const struct {
        const char *name, *cure;
} forms[_INPUT_FORMS] = {
        [INPUT_EMPTY] = { "empty", "" },
        [INPUT_BINARY] = { "binary data", "" },
        [INPUT_TEXT] = { "plain text", "" },
        [INPUT_BASE64] = { "base64", "Decode it with \"base64 -d\"." },
        [INPUT_HEX] = { "hexadecimal digits", "Decode it with \"xxd -r -p\"." },
        [INPUT_JSON] = { "JSON", "" },
        [INPUT_JSON_STRING] = { "a JSON string", "Take off the quotation marks with \"jq -r .\"." },
        [INPUT_PEM] = { "PEM", "Decode what stands between the BEGIN and END lines with \"base64 -d\"." },
        [INPUT_MIME] = { "a MIME message", "Give the bytes of the part alone, without headers." },
        [INPUT_BYTE_ORDER_MARK] = { "UTF-8 text behind a byte order mark",
                                    "Remove the first three bytes, or write the file as UTF-8 without a mark (PowerShell 7: -Encoding utf8NoBOM)." },
        [INPUT_UTF16] = { "text in UTF-16",
                          "Convert it with \"iconv -f UTF-16 -t UTF-8\", or write the file as UTF-8 without a mark (PowerShell 7: -Encoding utf8NoBOM)." },
        [INPUT_COMPRESSED] = { "compressed data", "Decompress it first." },
};

static bool begins(const uint8_t *data, size_t size, const char *bytes, size_t n) {
        return size >= n && memcmp(data, bytes, n) == 0;
}

static bool is_ascii(uint8_t c) {
        return (c >= ' ' && c < 0x7f) || (c != 0 && strchr("\t\r\n", c));
}

/* One half of each pair is zero, the other is ASCII. KMS's ciphertext and a CBOR document are never like that. */
static bool is_utf16_without_mark(const uint8_t *data, size_t size) {
        size_t zero = size > 0 && data[0] == 0 ? 0 : 1;

        if (size < 8 || size % 2 != 0)
                return false;
        for (size_t i = 0; i < size; i += 2)
                if (data[i + zero] != 0 || !is_ascii(data[i + 1 - zero]))
                        return false;
        return true;
}

static bool is_compressed(const uint8_t *data, size_t size) {
        return begins(data, size, "\x1f\x8b\x08", 3) || begins(data, size, "\x28\xb5\x2f\xfd", 4) ||
               begins(data, size,
                      "\xfd"
                      "7zXZ\0",
                      6) ||
               begins(data, size, "BZh", 3) || begins(data, size, "PK\x03\x04", 4);
}

static bool is_hex(const char *text, size_t length) {
        size_t digits = 0;

        for (size_t i = 0; i < length; i++)
                if (strchr("0123456789abcdefABCDEF", text[i]))
                        digits++;
                else if (!strchr(WHITE_SPACE, text[i]))
                        return false;
        return digits >= INPUT_FORM_HEX_MIN && digits % 2 == 0;
}

/* A lack of memory says nothing about the text. It is base64 then, so that the caller, who decodes it, gets -ENOMEM. */
static bool is_base64(const char *text, size_t length) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size = 0;
        int r = base64_decode_lines(text, length, &bytes, &size);

        return r == -ENOMEM || (r >= 0 && size > 0);
}

static bool is_json(const char *text, size_t length) {
        _cleanup_json_ struct json_object *document = NULL;

        return json_parse(text, length, &document) >= 0;
}

static bool begins_with_word(const char *text, size_t length, const char *word) {
        return length >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

static InputForm text_form(const char *text, size_t length) {
        while (length > 0 && strchr(WHITE_SPACE, *text))
                text++, length--;
        if (length == 0)
                return INPUT_EMPTY;
        if ((*text == '{' || *text == '[') && is_json(text, length))
                return INPUT_JSON;
        if (*text == '"' && is_json(text, length))
                return INPUT_JSON_STRING;
        if (begins_with_word(text, length, "-----BEGIN "))
                return INPUT_PEM;
        if (begins_with_word(text, length, "MIME-Version:") ||
            begins_with_word(text, length, "Content-Type:"))
                return INPUT_MIME;
        if (is_hex(text, length))
                return INPUT_HEX;
        return is_base64(text, length) ? INPUT_BASE64 : INPUT_TEXT;
}

InputForm input_form(const void *data, size_t size) {
        const uint8_t *bytes = data;

        if (size == 0)
                return INPUT_EMPTY;
        if (begins(bytes, size, "\xef\xbb\xbf", 3))
                return INPUT_BYTE_ORDER_MARK;
        if (begins(bytes, size, "\xff\xfe", 2) || begins(bytes, size, "\xfe\xff", 2) ||
            is_utf16_without_mark(bytes, size))
                return INPUT_UTF16;
        if (is_compressed(bytes, size))
                return INPUT_COMPRESSED;
        for (size_t i = 0; i < size; i++)
                if (!is_ascii(bytes[i]))
                        return INPUT_BINARY;
        return text_form(data, size);
}

InputForm input_form_of_failed_text(const void *data, size_t size) {
        InputForm form = input_form(data, size);

        if (form == INPUT_EMPTY)
                return form;
        if (!*forms[form].cure || (form == INPUT_BASE64 && size < INPUT_FORM_BASE64_MIN))
                return INPUT_TEXT;
        return form;
}

const char *input_form_name(InputForm form) {
        return forms[form].name;
}

const char *input_form_cure(InputForm form) {
        return forms[form].cure;
}

const char *input_form_hint(const void *data, size_t size) {
        static const char *const hints[_INPUT_FORMS] = {
                [INPUT_EMPTY] = " It is empty.",
                [INPUT_BASE64] = " It is base64. Decode it with \"base64 -d\".",
                [INPUT_HEX] = " It is hexadecimal digits. Decode it with \"xxd -r -p\".",
                [INPUT_JSON_STRING] = " It is a JSON string. Take off the quotation marks with \"jq -r .\".",
                [INPUT_JSON] = " It is JSON.",
                [INPUT_PEM] = " It is PEM. Decode what stands between the BEGIN and END lines with \"base64 -d\".",
                [INPUT_MIME] = " It is a MIME message. Give the bytes of the part alone, without headers.",
                [INPUT_BYTE_ORDER_MARK] =
                                " It is text behind a byte order mark. Write it as UTF-8 without a mark (PowerShell 7: -Encoding utf8NoBOM).",
                [INPUT_UTF16] = " It is text in UTF-16. Convert it with \"iconv -f UTF-16 -t UTF-8\".",
                [INPUT_COMPRESSED] = " It is compressed data. Decompress it first.",
        };

        InputForm form = input_form(data, size);

        /* Many a word is base64. */
        return form == INPUT_BASE64 && size < INPUT_FORM_HEX_MIN ? "" : hints[form] ?: "";
}
