/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "aws/kms-key.h"
#include "aws/service.h"
#include "basic/encoding.h"
#include "basic/input-form.h"
#include "basic/json.h"
#include "source/aws-name.h"
#include "source/source.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* Limits of the sources, in bytes: S3 User Guide, "Object keys"; SSM and Secrets Manager API References; systemd.exec(5). */
#define URL_MAX 2048U
#define HOST_MAX 253U
#define KEY_MAX 1024U
#define MEMBER_MAX 256
#define VERSION_MAX 1024U
#define CREDENTIAL_MAX 255U
#define VOLUME_MAX 64U

void source_clear(Source *source) {
        free(source->location);
        free(source->bucket);
        free(source->version);
        free(source->member);
        free(source->label);
        *source = (Source){};
}

bool source_path_is_plain(const char *path) {
        size_t length;

        if (path[0] != '/' || strlen(path) >= PATH_MAX)
                return false;

        while (*path == '/') {
                path++;
                length = strcspn(path, "/");
                if (length == 0 || (length == 1 && path[0] == '.') ||
                    (length == 2 && memcmp(path, "..", 2) == 0))
                        return false;
                path += length;
        }
        return true;
}

static bool is_printable(const char *text, size_t maximum) {
        size_t i;

        for (i = 0; text[i]; i++)
                if (text[i] <= ' ' || text[i] > '~')
                        return false;
        return i > 0 && i <= maximum;
}

/* The name of a member of a JSON object. It stands in messages, so it is ASCII. */
static bool is_member(const char *text) {
        size_t length = strlen(text);

        for (size_t i = 0; i < length; i++)
                if (text[i] < ' ' || text[i] > '~')
                        return false;
        return length > 0 && length <= MEMBER_MAX && text[0] != ' ' && text[length - 1] != ' ';
}

/* Upper and lower case are the same in the name of a host. */
static bool is_host(const char *text, size_t length) {
        if (length == 0 || length > HOST_MAX || strchr("-.", text[0]))
                return false;
        for (size_t i = 0; i < length; i++)
                if (!strchr(LETTERS DIGITS "-.", text[i]) || (text[i] == '.' && text[i - 1] == '.'))
                        return false;
        return true;
}

/* text is the part after "https://": HOST[:PORT]/PATH, without user, password and fragment. */
static bool is_url(const char *text) {
        size_t authority = strcspn(text, "/?#"), host = strcspn(text, ":/?#"),
               digits = strspn(text + host + (text[host] == ':'), DIGITS);

        if (!is_printable(text, URL_MAX) || !is_host(text, host) || text[authority] != '/' ||
            strpbrk(text, "\"<>\\^`{|}#"))
                return false;
        return text[host] != ':' ||
               (digits > 0 && digits <= 5 && host + 1 + digits == authority && text[host + 1] != '0' &&
                strtoul(text + host + 1, NULL, 10) <= UINT16_MAX);
}

/* Keys are UTF-8; the reader of the configuration has checked that. */
static bool is_key(const char *text, size_t length) {
        for (size_t i = 0; i < length; i++)
                if ((uint8_t) text[i] < ' ' || text[i] == 0x7f)
                        return false;
        return length > 0 && length <= KEY_MAX;
}

static bool is_credential(const char *text) {
        return is_printable(text, CREDENTIAL_MAX) && !strpbrk(text, "/:") && strcmp(text, ".") != 0 &&
               strcmp(text, "..") != 0;
}

/* The key is literal, as in the AWS CLI: it is not percent-encoded. The version follows the last "?versionId=". */
static int parse_s3(const char *text, Source *source, const char **ret_mistake) {
        static const char parameter[] = "?versionId=";
        size_t bucket_length = strcspn(text, "/"), key_length;
        const char *key = text + bucket_length + (text[bucket_length] == '/'), *version = NULL;

        for (const char *next = key; (next = strstr(next, parameter)); next++)
                version = next;
        key_length = version ? (size_t) (version - key) : strlen(key);
        *ret_mistake = aws_bucket_mistake(text, bucket_length);
        if (*ret_mistake)
                return -EINVAL;
        if (!is_key(key, key_length) || (version && !is_printable(version + strlen(parameter), VERSION_MAX)))
                return -EINVAL;

        source->bucket = strndup(text, bucket_length);
        source->location = strndup(key, key_length);
        source->version = version ? strdup(version + strlen(parameter)) : NULL;
        return !source->bucket || !source->location || (version && !source->version) ? -ENOMEM : 0;
}

/* ID or ID#KEY. No name of a secret has a "#" (AWS Secrets Manager API Reference, "CreateSecret"). */
static int parse_secret(const char *text, Source *source, const char **ret_mistake) {
        const char *member = strchr(text, '#');
        _cleanup_free_ char *id = strndup(text, member ? (size_t) (member - text) : strlen(text));

        if (!id)
                return -ENOMEM;
        *ret_mistake = aws_secret_mistake(id);
        if (!*ret_mistake && member && !is_member(member + 1))
                *ret_mistake = "the name of a member of the secret's JSON object behind \"#\": 1 to 256 characters of printable ASCII";
        if (*ret_mistake)
                return -EINVAL;
        source->member = member ? strdup(member + 1) : NULL;
        source->location = TAKE_PTR(id);
        return member && !source->member ? -ENOMEM : 0;
}

/* The name of a *.volume file without its suffix (unseald.volume(5)). */
static bool is_volume(const char *text) {
        size_t length = strlen(text);

        return length > 0 && length <= VOLUME_MAX && strspn(text, LETTERS DIGITS "-_.") == length &&
               strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static bool location_is_valid(SourceKind kind, const char *text) {
        switch (kind) {
        case SOURCE_FILE:
                return source_path_is_plain(text);
        case SOURCE_CREDENTIAL:
                return is_credential(text);
        case SOURCE_USER_DATA:
                return json_pointer_is_valid(text);
        case SOURCE_HTTPS:
                return is_url(text + strlen("https://"));
        case SOURCE_VOLUME:
                return is_volume(text);
        case SOURCE_SSM:
        case SOURCE_SECRETS_MANAGER:
        case SOURCE_S3:
                break;
        }
        return false;
}

static const struct {
        const char *scheme, *expected;
} kinds[] = {
        [SOURCE_FILE] = { "file:", "an absolute path without \"//\", \".\" and \"..\" after file:" },
        [SOURCE_CREDENTIAL] = { "credential:", "the name of a credential after credential:" },
        [SOURCE_USER_DATA] = { "user-data:",
                               "nothing or a JSON pointer such as /secrets/db after user-data:" },
        [SOURCE_HTTPS] = { "https://",
                           "https://HOST[:PORT]/PATH without user, password and fragment, percent-encoded where a URL must be" },
        [SOURCE_S3] = { "s3://", "s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID" },
        [SOURCE_SSM] = { "ssm:", NULL },
        [SOURCE_SECRETS_MANAGER] = { "secretsmanager:", NULL },
        [SOURCE_VOLUME] = { "volume:", "the name of a read-write volume after volume:" },
};

/* How to write an ARN as a source. Begins with a space, or is empty. */
static const char *arn_cure(const char *text) {
        return strncmp(text, "arn:", 4) != 0      ? ""
               : strstr(text, ":secretsmanager:") ? " Write secretsmanager: in front of the ARN."
               : strstr(text, ":ssm:")            ? " Write ssm: in front of the ARN."
               : strstr(text, ":s3:")             ? " Write s3:// and what follows \":::\" in the ARN."
                                                  : "";
}

int source_parse(const char *text, Source *ret, Error *error) {
        _cleanup_(source_clear) Source source = {};
        const char *behind, *mistake = NULL;
        size_t kind = 0;
        int r = 0;

        while (kind < ELEMENTSOF(kinds) &&
               strncmp(text, kinds[kind].scheme, strlen(kinds[kind].scheme)) != 0)
                kind++;
        if (kind == ELEMENTSOF(kinds))
                return error_set(
                                error, -EINVAL, FAILURE_CONFIGURATION,
                                "Expected file:/absolute/path, user-data:, user-data:/json/pointer, https://…, s3://bucket/key, ssm:NAME, secretsmanager:ID, credential:NAME or volume:NAME, not \"%s\".%s",
                                text, arn_cure(text));

        source.kind = (SourceKind) kind;
        behind = text + strlen(kinds[kind].scheme);
        if (kind == SOURCE_S3)
                r = parse_s3(behind, &source, &mistake);
        else if (kind == SOURCE_SECRETS_MANAGER)
                r = parse_secret(behind, &source, &mistake);
        else if (kind == SOURCE_SSM) {
                mistake = aws_parameter_mistake(behind);
                r = mistake ? -EINVAL : 0;
        } else if (!location_is_valid(source.kind, kind == SOURCE_HTTPS ? text : behind))
                r = -EINVAL;
        if (r == -EINVAL)
                return error_set(error, r, FAILURE_CONFIGURATION, "Expected %s, not \"%s\".",
                                 mistake ? mistake : kinds[kind].expected, text);

        if (!source.location)
                source.location = strdup(kind == SOURCE_HTTPS ? text : behind);
        source.label = strndup(text, kind == SOURCE_HTTPS ? strcspn(text, "?") : strlen(text));
        if (r < 0 || !source.location || !source.label)
                return error_oom(error);
        *ret = TAKE(source, (Source){});
        return 0;
}

int source_of_signature(const Source *source, Source *ret) {
        _cleanup_free_ char *text = NULL;
        bool has_name = source->kind == SOURCE_FILE || (source->kind == SOURCE_S3 && !source->version) ||
                        (source->kind == SOURCE_HTTPS && !strchr(source->location, '?')) ||
                        (source->kind == SOURCE_USER_DATA && *source->location);
        Error error;
        int r;

        if (!has_name)
                return -ENOENT;
        if (asprintf(&text, "%s.sig", source->label) < 0)
                return -ENOMEM;
        r = source_parse(text, ret, &error);
        if (r < 0)
                return r == -ENOMEM ? r : -ENAMETOOLONG;
        ret->is_signature = true;
        return 0;
}

bool source_is_signed(const Source *source) {
        return source->kind == SOURCE_S3 || source->kind == SOURCE_SSM ||
               source->kind == SOURCE_SECRETS_MANAGER;
}

bool source_is_remote(const Source *source) {
        return source->kind == SOURCE_HTTPS || source_is_signed(source);
}

/* arn:PARTITION:SERVICE:REGION:… */
bool source_region(const Source *source, char *ret, size_t size) {
        const char *region = source->location;
        size_t length;

        if (!source_is_signed(source) || source->kind == SOURCE_S3 || strncmp(region, "arn:", 4) != 0)
                return false;
        for (unsigned i = 0; i < 3; i++) {
                region = strchr(region, ':');
                if (!region)
                        return false;
                region++;
        }
        length = strcspn(region, ":");
        if (length == 0 || length >= size || region[length] != ':')
                return false;
        *((char *) mempcpy(ret, region, length)) = '\0';
        return aws_is_region(ret);
}

/* KMS's ciphertext is binary and longer than this. If base64 decodes to this much text or more, it was encoded twice. */
#define TWICE_MIN 64U

/* What to do about text. It may nearly be base64: that of URLs (RFC 4648, section 5), or percent-encoded (RFC 3986, section 2.1). */
static const char *text_cure(const char *text, size_t size) {
        static const char *const encoded[] = { "%2B", "%2F", "%3D" };
        bool is_of_urls = size >= INPUT_FORM_BASE64_MIN &&
                          (memchr(text, '-', size) || memchr(text, '_', size));

        for (size_t i = 0; i < ELEMENTSOF(encoded); i++)
                if (memmem(text, size, encoded[i], strlen(encoded[i])))
                        return "It has %2B, %2F or %3D, as a URL has for +, / and =. Put back these characters.";
        for (size_t i = 0; i < size && is_of_urls; i++)
                is_of_urls = isalnum((unsigned char) text[i]) || strchr("-_=\r\n", text[i]);
        return is_of_urls ? "It may be the base64 of URLs. Put + in place of -, and / in place of _."
                          : "Put there what \"unsealctl seal\" has written.";
}

static int refuse_text(const uint8_t *data, size_t size, const char *before, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_SOURCE, "The sealed secret is %stext, but not base64. %s",
                         before, text_cure((const char *) data, size));
}

/* Refuses a form that is certainly wrong: KMS's ciphertext begins with the byte 01 and has none of these forms. */
static int refuse_form(InputForm form, const char *before, Error *error) {
        if (form == INPUT_EMPTY)
                return error_set(
                                error, -ENODATA, FAILURE_SOURCE,
                                "The sealed secret is empty. Put there what \"unsealctl seal\" has written.");
        if (form == INPUT_JSON)
                return error_set(
                                error, -EBADMSG, FAILURE_SOURCE,
                                "The sealed secret is %sJSON, not ciphertext. If \"aws kms encrypt\" wrote it, add \"--query CiphertextBlob --output text\".",
                                before);
        return error_set(error, -EBADMSG, FAILURE_SOURCE,
                         "The sealed secret is %s%s, not the ciphertext itself and not its base64. %s",
                         before, input_form_name(form), input_form_cure(form));
}

static int decode_base64(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *raw = NULL;
        size_t raw_size;
        InputForm form;
        int r;

        r = base64_decode_lines((const char *) data, size, &raw, &raw_size);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return refuse_text(data, size, "", error);
        form = input_form(raw, raw_size);
        if (form == INPUT_TEXT && raw_size >= TWICE_MIN)
                return refuse_text(raw, raw_size, "base64 of ", error);
        if (form != INPUT_BINARY && raw_size >= TWICE_MIN)
                return refuse_form(form, "base64 of ", error);

        *ret = TAKE_PTR(raw);
        *ret_size = raw_size;
        return 0;
}

int source_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error) {
        InputForm form = input_form(data, size);
        uint8_t *raw;

        if (form == INPUT_BASE64)
                return decode_base64(data, size, ret, ret_size, error);
        if (form == INPUT_TEXT)
                return refuse_text(data, size, "", error);
        if (form != INPUT_BINARY)
                return refuse_form(form, "", error);
        raw = malloc(size);
        if (!raw)
                return error_oom(error);
        *ret = memcpy(raw, data, size);
        *ret_size = size;
        return 0;
}

size_t source_carrier_max(size_t maximum) {
        return maximum < SIZE_MAX / 2 ? maximum * 2 : maximum;
}

const char *source_content(const Source *source) {
        return source->is_signature ? "signature" : "sealed secret";
}

int source_too_long(const Source *source, size_t maximum, Error *error) {
        const char *cure = "";

        if (!source->is_signature)
                cure = maximum == KMS_CIPHERTEXT_MAX
                                       ? " KMS makes none that is longer. If it is a message of the AWS Encryption SDK, as \"unsealctl seal\" makes of a long secret, set Format=message."
                                       : " Raise SizeMax= (for a bundle at most 1M), or seal less.";
        return error_set(error, -EFBIG, FAILURE_SOURCE, "%s: The %s is longer than %zu bytes%s.%s",
                         source->label, source_content(source), maximum,
                         source->is_signature ? "" : " (SizeMax=)", cure);
}

/* The text of a signature is not base64, so it is not decoded. */
static int take_signature(const void *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error) {
        uint8_t *copy = malloc(size + 1);

        if (!copy)
                return error_oom(error);
        *ret = memcpy(copy, data, size);
        *ret_size = size;
        return 0;
}

int source_take(const Source *source, const void *data, size_t size, size_t maximum, uint8_t **ret,
                size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *raw = NULL;
        size_t raw_size;
        Error reason;
        int r;

        if (size > (source->is_signature ? maximum : source_carrier_max(maximum)))
                return source_too_long(source, maximum, error);
        if (source->is_signature)
                return take_signature(data, size, ret, ret_size, error);
        r = source_decode(data, size, &raw, &raw_size, &reason);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_SOURCE, "%s: %s", source->label, reason.text);
        if (raw_size > maximum)
                return source_too_long(source, maximum, error);

        *ret = TAKE_PTR(raw);
        *ret_size = raw_size;
        return 0;
}

int source_take_user_data(const Source *source, const char *data, size_t size, size_t maximum, uint8_t **ret,
                          size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *document = NULL;
        struct json_object *value;
        int r;

        if (!*source->location)
                return source_take(source, data, size, maximum, ret, ret_size, error);

        r = json_parse(data, size, &document);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_SOURCE, "%s: The user data is not JSON.", source->label);
        value = json_pointer(document, source->location);
        if (!json_object_is_type(value, json_type_string))
                return error_set(error, -ENOENT, FAILURE_SOURCE,
                                 "%s: The user data has no string at this JSON pointer.", source->label);
        return source_take(source, json_object_get_string(value), (size_t) json_object_get_string_len(value),
                           maximum, ret, ret_size, error);
}
