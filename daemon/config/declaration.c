/* SPDX-License-Identifier: Apache-2.0 */

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "aws/kms-key.h"
#include "aws/service.h"
#include "basic/byte-size.h"
#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/limits.h"
#include "basic/log.h"
#include "basic/openssl-util.h"
#include "config/declaration.h"
#include "config/declared-members.h"
#include "config/ini.h"

#define SUFFIX ".secret"
#define NAME_MAX_LENGTH ((int) CREDENTIAL_NAME_MAX)
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define RESERVED_CONTEXT "unseald:"
#define NAME_CONTEXT RESERVED_CONTEXT "secret="
#define VOLUME_CONTEXT RESERVED_CONTEXT "volume="

/* unseald's own limits. KMS allows more. */
#define CONTEXT_MAX 4096U
#define CONTEXT_PAIRS_MAX 64U
#define KEY_IDS_MAX 32U

static void declaration_clear(Declaration *declaration) {
        for (size_t i = 0; i < declaration->members_count; i++)
                declaration_clear(declaration->members + i);
        free(declaration->members);
        free(declaration->name);
        free(declaration->file);
        free(declaration->description);
        source_clear(&declaration->source);
        free(declaration->source_region);
        free(declaration->signed_by);
        EVP_PKEY_free(declaration->signing_key);
        source_clear(&declaration->signature);
        strings_free(declaration->key_ids);
        strings_free(declaration->encryption_context);
        strings_free(declaration->units);
        free(declaration->user);
        free(declaration->group);
        *declaration = (Declaration){};
}

void declarations_clear(Declarations *declarations) {
        for (size_t i = 0; i < declarations->count; i++)
                declaration_clear(&declarations->items[i]);
        free(declarations->items);
        *declarations = (Declarations){};
}

/* The name of a credential, by systemd's rules, but shorter: the names of unit and credential must fit in one socket
 * address. */
static bool is_name(const char *name, size_t length) {
        if (length == 0 || length > NAME_MAX_LENGTH || strspn(name, LETTERS DIGITS "-_.") < length)
                return false;
        return !(length == 1 && name[0] == '.') && !(length == 2 && memcmp(name, "..", 2) == 0);
}

bool declaration_name_is_valid(const char *name) {
        return is_name(name, strlen(name));
}

static int set_string(const IniAssignment *assignment, char **field, Error *error) {
        _cleanup_free_ char *value = NULL;

        if (assignment->value[0] != '\0') {
                value = strdup(assignment->value);
                if (!value)
                        return error_oom(error);
        }
        free(*field);
        *field = TAKE_PTR(value);
        return 0;
}

static int set_description(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        return set_string(assignment, &declaration->description, error);
}

static int read_source(const IniAssignment *assignment, Source *field, Error *error) {
        Source source = {};
        Error reason;
        int r;

        if (assignment->value[0] != '\0') {
                r = source_parse(assignment->value, &source, &reason);
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0)
                        return ini_error(assignment, error, "%s", reason.text);
        }
        source_clear(field);
        *field = source;
        return 0;
}

static int set_source(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        return read_source(assignment, &declaration->source, error);
}

static int set_generate(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        const char *text = assignment->value;
        unsigned long size = 0;

        declaration->generate = 0;
        if (text[0] == '\0')
                return 0;
        if (strspn(text, DIGITS) == strlen(text) && strlen(text) <= 4)
                size = strtoul(text, NULL, 10);
        if (size < 1 || size > DECLARATION_GENERATE_MAX)
                return ini_error(assignment, error,
                                 "Expected a number of bytes from 1 to %u, such as 32, not \"%s\".",
                                 DECLARATION_GENERATE_MAX, text);
        declaration->generate = size;
        return 0;
}

/* When a new value may be made is for the measured configuration to say. */
static int set_generate_when(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        const char *text = assignment->value;

        declaration->generate_missing = strcmp(text, "missing") == 0;
        if (declaration->generate_missing || text[0] == '\0' || strcmp(text, "always") == 0)
                return 0;
        return ini_error(assignment, error, "Expected always or missing, not \"%s\".", text);
}

static int set_signature(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        int r = read_source(assignment, &declaration->signature, error);

        declaration->signature.is_signature = declaration->signature.location;
        return r;
}

/* Reads the key at once, so that a wrong file is a mistake of the configuration, and a restart knows which key was in force. */
static int set_signed_by(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        const char *path = assignment->value;
        _cleanup_free_ uint8_t *pem = NULL;
        EVP_PKEY *key = NULL;
        Error reason;
        size_t size;
        int r;

        if (path[0] != '\0') {
                if (!source_path_is_plain(path))
                        return ini_error(
                                        assignment, error,
                                        "Expected an absolute path without \"//\", \".\" and \"..\", not \"%s\".",
                                        path);
                r = read_file(path, SIGNATURE_KEY_MAX, &pem, &size);
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0)
                        return ini_error(assignment, error, "The public key %s cannot be read: %s.", path,
                                         r == -ENXIO ? "it is not a regular file" : strerror(-r));
                r = signature_key_parse(pem, size, &key, &reason);
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0)
                        return ini_error(assignment, error, "%s: %s", path, reason.text);
        }
        EVP_PKEY_free(declaration->signing_key);
        declaration->signing_key = key;
        return set_string(assignment, &declaration->signed_by, error);
}

static int set_version_min(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        const char *text = assignment->value;
        uint64_t version = 0;
        char *end;

        if (text[0] != '\0') {
                errno = 0;
                version = strtoull(text, &end, 10);
                if (strspn(text, DIGITS) != strlen(text) || errno != 0)
                        return ini_error(
                                        assignment, error,
                                        "Expected a whole number from 0 to 18446744073709551615, not \"%s\".",
                                        text);
        }
        declaration->version_min = version;
        return 0;
}

static int set_measure_pcr(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        return ini_free_pcr(assignment, &declaration->measure_pcr, error);
}

static int set_source_region(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        if (assignment->value[0] != '\0' && !aws_is_region(assignment->value))
                return ini_error(assignment, error, "Expected a Region such as eu-north-1, not \"%s\".",
                                 assignment->value);
        return set_string(assignment, &declaration->source_region, error);
}

/* complete_size_max() reads the value, since its range depends on Format=. */
static int set_size_max(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        return 0;
}

bool declaration_is_message(const Declaration *declaration) {
        return declaration->format != FORMAT_KMS;
}

static int set_format(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        static const struct {
                const char *text;
                SecretFormat format;
        } formats[] = { { "", FORMAT_KMS },
                        { "kms", FORMAT_KMS },
                        { "message", FORMAT_MESSAGE },
                        { "bundle", FORMAT_BUNDLE } };

        for (size_t i = 0; i < ELEMENTSOF(formats); i++)
                if (strcmp(assignment->value, formats[i].text) == 0) {
                        declaration->format = formats[i].format;
                        return 0;
                }
        return ini_error(assignment, error, "Expected kms, message or bundle, not \"%s\".",
                         assignment->value);
}

static int set_allow_uncommitted(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        declaration->allow_uncommitted = false;
        return assignment->value[0] != '\0' ? ini_boolean(assignment, &declaration->allow_uncommitted, error)
                                            : 0;
}

static int set_pin(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        declaration->pinned = assignment->value[0] != '\0';
        if (declaration->pinned &&
            hex_decode(assignment->value, declaration->pin, sizeof(declaration->pin)) < 0)
                return ini_error(assignment, error,
                                 "Expected the 64 hexadecimal digits of a SHA-256, not \"%s\".",
                                 assignment->value);
        return 0;
}

int declaration_check_key_id(const IniAssignment *assignment, const char *text, Error *error) {
        _cleanup_free_ char *endpoint = NULL;
        KmsKeyArn arn;
        int r;

        if (kms_key_arn_parse(text, &arn) < 0) {
                if (strncmp(text, "alias/", strlen("alias/")) == 0 || strstr(text, ":alias/"))
                        return ini_error(
                                        assignment, error,
                                        "Expected the ARN of a key, not the alias \"%s\". An alias can be moved to another key. 'aws kms describe-key' prints the ARN.",
                                        text);
                return ini_error(
                                assignment, error,
                                "Expected the ARN of a key, arn:PARTITION:kms:REGION:ACCOUNT:key/ID, not \"%s\".",
                                text);
        }

        r = kms_endpoint(&arn, &(KmsEndpointOptions){}, &endpoint);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return ini_error(
                                assignment, error,
                                "Expected a partition that this version of unseald knows, such as aws, not \"%s\".",
                                arn.partition);
        return 0;
}

static int set_key_ids(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        _cleanup_strings_ char **words = NULL;
        int r;

        r = ini_words(assignment, &words, error);
        if (r < 0)
                return r;
        if (!words[0])
                declaration->key_ids = strings_free(declaration->key_ids);

        for (char **word = words; *word; word++) {
                r = declaration_check_key_id(assignment, *word, error);
                if (r < 0)
                        return r;
                if (strings_count(declaration->key_ids) >= KEY_IDS_MAX)
                        return ini_error(assignment, error, "Expected no more than %u keys.", KEY_IDS_MAX);
                if (strings_take(&declaration->key_ids, strdup(*word)) < 0)
                        return error_oom(error);
        }
        return 0;
}

/* A later pair replaces an earlier pair with the same key. */
static int add_context(char ***context, const char *pair, Error *error) {
        size_t key_length = strcspn(pair, "=") + 1;
        char *copy;

        for (char **other = *context; other && *other; other++)
                if (strncmp(*other, pair, key_length) == 0) {
                        copy = strdup(pair);
                        if (!copy)
                                return error_oom(error);
                        free(*other);
                        *other = copy;
                        return 0;
                }
        return strings_take(context, strdup(pair)) < 0 ? error_oom(error) : 0;
}

static int set_encryption_context(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        _cleanup_strings_ char **words = NULL;
        size_t size = 0;
        int r;

        r = ini_words(assignment, &words, error);
        if (r < 0)
                return r;
        if (!words[0])
                declaration->encryption_context = strings_free(declaration->encryption_context);

        for (char **word = words; *word; word++) {
                size_t key_length = strcspn(*word, "=");

                if (key_length == 0 || (*word)[key_length] != '=')
                        return ini_error(assignment, error, "Expected KEY=VALUE, not \"%s\".", *word);
                if (strncmp(*word, RESERVED_CONTEXT, strlen(RESERVED_CONTEXT)) == 0) {
                        if (strncmp(*word, NAME_CONTEXT, strlen(NAME_CONTEXT)) == 0 &&
                            strcmp(*word + strlen(NAME_CONTEXT), declaration->name) == 0)
                                continue;
                        return ini_error(assignment, error,
                                         "Expected a key that does not begin with \"" RESERVED_CONTEXT
                                         "\", not \"%s\". Only \"" NAME_CONTEXT
                                         "%s\" is allowed; unseald adds it in any case.",
                                         *word, declaration->name);
                }
                if (strings_count(declaration->encryption_context) >= CONTEXT_PAIRS_MAX)
                        return ini_error(assignment, error, "Expected no more than %u pairs.",
                                         CONTEXT_PAIRS_MAX);
                r = add_context(&declaration->encryption_context, *word, error);
                if (r < 0)
                        return r;
        }

        for (char **pair = declaration->encryption_context; pair && *pair; pair++)
                size += strlen(*pair);
        if (size > CONTEXT_MAX)
                return ini_error(assignment, error, "Expected no more than %u bytes in all.", CONTEXT_MAX);
        return 0;
}

static int set_bind_account(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        declaration->bind_account = false;
        return assignment->value[0] != '\0' ? ini_boolean(assignment, &declaration->bind_account, error) : 0;
}

static int set_late(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        declaration->late = false;
        return assignment->value[0] != '\0' ? ini_boolean(assignment, &declaration->late, error) : 0;
}

static int set_optional(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        declaration->optional = false;
        return assignment->value[0] != '\0' ? ini_boolean(assignment, &declaration->optional, error) : 0;
}

/* A unit of a kind that has LoadCredential=. An instance of a template is one, the template is not. */
static bool is_unit(const char *unit) {
        static const char *const kinds[] = { ".service", ".socket", ".mount", ".swap" };
        const char *kind = strrchr(unit, '.');

        if (!kind || kind == unit || kind[-1] == '@' || unit[0] == '@' || strlen(unit) > 255 ||
            strspn(unit, LETTERS DIGITS ":-_.\\@") < strlen(unit))
                return false;
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kind, kinds[i]) == 0)
                        return true;
        return false;
}

/* Returns whether the text is "PREFIX@*.SUFFIX", a pattern for all instances of one template. */
static bool is_pattern(const char *text) {
        const char *at = strchr(text, '@'), *star = strchr(text, '*');
        char instance[256];

        if (!at || star != at + 1 || star[1] != '.' || strpbrk(star + 2, ".*") ||
            strlen(text) >= sizeof(instance))
                return false;
        memcpy(instance, text, strlen(text) + 1);
        instance[star - text] = 'x';
        return is_unit(instance);
}

/* Returns whether the unit is an instance of the pattern's template. The first "@" of a unit's name ends the prefix, and the last "."
 * begins the suffix (systemd.unit(5)). The instance between them may contain both, and is not empty. */
static bool matches(const char *pattern, const char *unit) {
        const char *star = strchr(pattern, '*'), *at = strchr(unit, '@'), *suffix = strrchr(unit, '.');
        size_t prefix = star ? (size_t) (star - pattern) : 0;

        if (!star)
                return strcmp(pattern, unit) == 0;
        return at && suffix && suffix > at + 1 && (size_t) (at + 1 - unit) == prefix &&
               memcmp(pattern, unit, prefix) == 0 && strcmp(star + 1, suffix) == 0;
}

int declaration_check_unit(const IniAssignment *assignment, const char *text, Error *error) {
        if (is_unit(text) || is_pattern(text))
                return 0;
        if (strpbrk(text, "*?["))
                return ini_error(
                                assignment, error,
                                "Expected the pattern TEMPLATE@*.service, not \"%s\". A wider pattern would also name units that are not instances of one template. Name each template or unit.",
                                text);
        return ini_error(assignment, error,
                         "Expected units such as billing.service or worker@1.service, not \"%s\".", text);
}

static int set_units(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        _cleanup_strings_ char **words = NULL;
        int r;

        r = ini_words(assignment, &words, error);
        if (r < 0)
                return r;
        if (!words[0])
                declaration->units = strings_free(declaration->units);

        for (char **word = words; *word; word++) {
                r = declaration_check_unit(assignment, *word, error);
                if (r < 0)
                        return r;
                if (strings_take(&declaration->units, strdup(*word)) < 0)
                        return error_oom(error);
        }
        return 0;
}

static int set_store(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        declaration->store = true;
        return assignment->value[0] != '\0' ? ini_boolean(assignment, &declaration->store, error) : 0;
}

/* The rules of useradd(8). */
static bool is_user(const char *text) {
        size_t length = strlen(text);

        return length <= 31 && strspn(text, LETTERS DIGITS "_-") == length && !strchr(DIGITS "-", text[0]);
}

static int set_user_or_group(const IniAssignment *assignment, char **field, const char *what, Error *error) {
        if (assignment->value[0] != '\0' && !is_user(assignment->value))
                return ini_error(assignment, error, "Expected the name of a %s, not \"%s\".", what,
                                 assignment->value);
        return set_string(assignment, field, error);
}

static int set_user(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        return set_user_or_group(assignment, &declaration->user, "user", error);
}

static int set_group(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        return set_user_or_group(assignment, &declaration->group, "group", error);
}

static int set_mode(const IniAssignment *assignment, Declaration *declaration, Error *error) {
        static const struct {
                const char *text;
                mode_t mode;
        } modes[] = { { "", 0400 }, { "0400", 0400 }, { "400", 0400 }, { "0440", 0440 }, { "440", 0440 } };

        for (size_t i = 0; i < ELEMENTSOF(modes); i++)
                if (strcmp(assignment->value, modes[i].text) == 0) {
                        declaration->mode = modes[i].mode;
                        return 0;
                }
        return ini_error(
                        assignment, error,
                        "Expected 0400 or 0440, not \"%s\". Only the user and the group may read a secret, and nobody may write it.",
                        assignment->value);
}

static const struct {
        const char *section, *key;
        int (*set)(const IniAssignment *assignment, Declaration *declaration, Error *error);
        bool list;
} keys[] = {
        { "Secret", "Description", set_description },
        { "Secret", "Source", set_source },
        { "Secret", "SourceRegion", set_source_region },
        { "Secret", "Generate", set_generate },
        { "Secret", "GenerateWhen", set_generate_when },
        { "Secret", "Format", set_format },
        { "Secret", "SizeMax", set_size_max },
        { "Secret", "Sha256", set_pin },
        { "Secret", "AllowUncommitted", set_allow_uncommitted },
        { "Secret", "SignedBy", set_signed_by },
        { "Secret", "Signature", set_signature },
        { "Secret", "MinVersion", set_version_min },
        { "Secret", "MeasurePcr", set_measure_pcr },
        { "Secret", "KeyId", set_key_ids, true },
        { "Secret", "EncryptionContext", set_encryption_context, true },
        { "Secret", "BindAccount", set_bind_account },
        { "Secret", "Optional", set_optional },
        { "Secret", "Late", set_late },
        { "Deliver", "Units", set_units, true },
        { "Deliver", "Store", set_store },
        { "Deliver", "User", set_user },
        { "Deliver", "Group", set_group },
        { "Deliver", "Mode", set_mode },
        { MEMBER_SECTION, "Description", set_description },
        { MEMBER_SECTION, "Optional", set_optional },
        { MEMBER_SECTION, "Units", set_units, true },
        { MEMBER_SECTION, "Store", set_store },
        { MEMBER_SECTION, "User", set_user },
        { MEMBER_SECTION, "Group", set_group },
        { MEMBER_SECTION, "Mode", set_mode },
};

IniKeyKind declaration_key_kind(const char *section, const char *key) {
        if (declared_member_of(section))
                section = MEMBER_SECTION;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(section, keys[i].section) == 0 && strcmp(key, keys[i].key) == 0)
                        return keys[i].list ? INI_KEY_LIST : INI_KEY_VALUE;
        return INI_KEY_UNKNOWN;
}

static IniName name_at(size_t i) {
        return i < ELEMENTSOF(keys) ? (IniName){ keys[i].section, keys[i].key } : (IniName){};
}

static int apply(const IniAssignment *assignment, Declaration *declaration, Remarks *remarks, Error *error) {
        const char *name = declared_member_of(assignment->section),
                   *section = name ? MEMBER_SECTION : assignment->section;
        IniAssignment of_section;

        if (name) {
                declaration = declared_member_find(declaration, name);
                if (!declaration)
                        return 0; /* its name is a mistake that is reported */
        }
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(section, keys[i].section) == 0 && strcmp(assignment->key, keys[i].key) == 0)
                        return remarks_take(remarks, keys[i].set(assignment, declaration, error), error);
        of_section = *assignment;
        of_section.section = (char *) section;
        return ini_unknown(&of_section, name_at, "unseald.secret(5)", remarks, error);
}

/* The key must be there. If its value is wrong, apply() has said so. */
static int require(const IniFile *ini, const char *key, Remarks *remarks, Error *error) {
        const IniAssignment *last = ini_find(ini, "Secret", key);

        if (last && last->value[0] != '\0')
                return 0;
        return remarks_take(
                        remarks,
                        error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                  "%s: %s= is missing in section [Secret]. Every secret needs it%s.",
                                  ini->file, key,
                                  strcmp(key, "Source") == 0 ? ", unless Generate= makes its value" : ""),
                        error);
}

/* Returns whether the last line of this key has a value, right or wrong. */
static bool is_set(const IniFile *ini, const char *key) {
        const IniAssignment *last = ini_find(ini, "Secret", key);

        return last && last->value[0] != '\0';
}

/* A setting that would have no effect would look like protection. */
static int complete_unsigned(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        static const char *const needy[] = { "Signature", "MinVersion" };

        source_clear(&declaration->signature);
        for (size_t i = 0; i < ELEMENTSOF(needy); i++)
                if (is_set(ini, needy[i]))
                        return remarks_take(
                                        remarks,
                                        ini_error(ini_find(ini, "Secret", needy[i]), error,
                                                  "The setting needs SignedBy=, which is missing: without a key nothing is verified. Set SignedBy=, or remove this line."),
                                        error);
        return 0;
}

static int complete_signature(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        int r;

        if (!is_set(ini, "SignedBy"))
                return complete_unsigned(ini, declaration, remarks, error);
        if (is_set(ini, "Signature") || !declaration->source.location)
                return 0;
        r = source_of_signature(&declaration->source, &declaration->signature);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return remarks_take(
                                remarks,
                                ini_error(ini_find(ini, "Secret", "SignedBy"), error,
                                          "Where the signature lies is not known: %s %s. Set Signature=.",
                                          declaration->source.label,
                                          r == -ENOENT ? "has no name that \".sig\" could be added to"
                                                       : "is too long to add \".sig\""),
                                error);
        return 0;
}

/* What SizeMax= takes, and what it is without a line. */
static void size_range(const Declaration *declaration, size_t *ret_initial, size_t *ret_maximum) {
        *ret_initial = *ret_maximum = KMS_CIPHERTEXT_MAX;
        switch (declaration->format) {
        case FORMAT_KMS:
                break;
        case FORMAT_MESSAGE:
                *ret_initial = LIMIT_MESSAGE_BYTES;
                *ret_maximum = LIMIT_STORE_BYTES_MAX;
                break;
        case FORMAT_BUNDLE:
                *ret_initial = *ret_maximum = DECLARATION_BUNDLE_MAX;
                break;
        }
}

static int complete_size_max(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        const IniAssignment *last = ini_find(ini, "Secret", "SizeMax");
        size_t initial, maximum;
        uint64_t size;

        size_range(declaration, &initial, &maximum);
        declaration->size_max = initial;
        declaration->size_max_is_set = last && last->value[0] != '\0';
        if (!declaration->size_max_is_set)
                return 0;
        if (parse_bytes(last->value, &size) >= 0 && size >= 1 && size <= maximum) {
                declaration->size_max = (size_t) size;
                return 0;
        }
        return remarks_take(
                        remarks,
                        ini_error(last, error,
                                  "Expected a number of bytes from 1 to %zu, such as 4096 or 2M, not \"%s\".%s",
                                  maximum, last->value,
                                  declaration->format == FORMAT_KMS
                                                  ? " KMS decrypts no more. Format=message takes more."
                                                  : ""),
                        error);
}

/* key: the line of the mistake, if the lines are known. */
static int judge_wrong(const Declaration *declaration, const IniFile *ini, const char *key, const char *text,
                       Remarks *remarks, Error *error) {
        const IniAssignment *line = ini ? ini_find(ini, "Secret", key) : NULL;

        if (line)
                return remarks_take(remarks, ini_error(line, error, "%s", text), error);
        return error_set(error, -EINVAL, FAILURE_CONFIGURATION, "%s: %s", declaration->file, text);
}

static int judge_size(const Declaration *declaration, const Settings *settings, const IniFile *ini,
                      Remarks *remarks, Error *error) {
        char text[256];

        if (!declaration->size_max_is_set || declaration->size_max <= settings->store_size_max)
                return 0;
        (void) snprintf(text, sizeof(text),
                        "SizeMax= is more than all secrets together may have, which are %llu bytes (StoreSizeMax= of unseald.conf). Raise StoreSizeMax=, or lower SizeMax=.",
                        (unsigned long long) settings->store_size_max);
        return judge_wrong(declaration, ini, "SizeMax", text, remarks, error);
}

static int judge_pcr(const Declaration *declaration, const Settings *settings, const IniFile *ini,
                     Remarks *remarks, Error *error) {
        char text[256];

        if (declaration->measure_pcr == 0 || declaration->measure_pcr != settings->lock_pcr)
                return 0;
        (void) snprintf(text, sizeof(text),
                        "MeasurePcr=%u is the PCR that LockPcr= of unseald.conf locks. The key's policy pins that PCR to zeros, so nothing else may extend it. Choose another of 8, 13, 14 and 15.",
                        declaration->measure_pcr);
        return judge_wrong(declaration, ini, "MeasurePcr", text, remarks, error);
}

int declarations_judge(const Declarations *declarations, const Settings *settings, IniFile *const *files,
                       Remarks *remarks, Error *error) {
        int r = 0;

        for (size_t i = 0; i < declarations->count && r >= 0; i++) {
                const Declaration *declaration = declarations->items + i;
                const IniFile *ini = files ? files[i] : NULL;

                r = judge_size(declaration, settings, ini, remarks, error);
                if (r >= 0)
                        r = judge_pcr(declaration, settings, ini, remarks, error);
        }
        return r;
}

static int complete_uncommitted(const IniFile *ini, const Declaration *declaration, Remarks *remarks,
                                Error *error) {
        if (!declaration->allow_uncommitted || declaration_is_message(declaration))
                return 0;
        return ini_warning(ini_find(ini, "Secret", "AllowUncommitted"), remarks, error,
                           "AllowUncommitted= has no effect without Format=message. Remove the line.");
}

/* A presigned URL (Amazon S3 User Guide, "Download and upload objects with presigned URLs"). */
static int complete_source(const IniFile *ini, const Declaration *declaration, Remarks *remarks,
                           Error *error) {
        const Source *source = &declaration->source;
        const char *query = source->kind == SOURCE_HTTPS && source->location ? strchr(source->location, '?')
                                                                             : NULL;

        if (!query || !strcasestr(query, "X-Amz-Signature="))
                return 0;
        return ini_warning(
                        ini_find(ini, "Secret", "Source"), remarks, error,
                        "The URL is signed for a limited time, at most seven days. Later boots fail. Use s3://BUCKET/KEY, for which the role of the instance signs.");
}

/* KMS is asked for the first key or for a replica of it, and names no other one. A message may have a data key of each. */
static int complete_key_ids(const IniFile *ini, const Declaration *declaration, Remarks *remarks,
                            Error *error) {
        KmsKeyArn first, other;

        if (declaration_is_message(declaration) || !declaration->key_ids ||
            kms_key_arn_parse(declaration->key_ids[0], &first) < 0)
                return 0;
        for (char *const *key = declaration->key_ids + 1; *key; key++)
                if (kms_key_arn_parse(*key, &other) >= 0 && strcmp(*key, declaration->key_ids[0]) != 0 &&
                    !kms_key_is_replica(&first, &other))
                        return ini_warning(
                                        ini_find(ini, "Secret", "KeyId"), remarks, error,
                                        "%s is no replica of the first key, and unseald asks only for the first key and its replicas. If the ciphertext is of this key, put it first; otherwise remove it.",
                                        *key);
        return 0;
}

static int check_late(const IniFile *ini, const Declaration *declaration, Remarks *remarks, Error *error) {
        if (!declaration->late || declaration->format == FORMAT_MESSAGE)
                return 0;
        return remarks_take(
                        remarks,
                        ini_error(ini_find(ini, "Secret", "Late"), error,
                                  "Late= needs Format=message: only a large message can come after the other secrets. Set Format=message, or remove this line."),
                        error);
}

static int check_group(const IniAssignment *mode, const Declaration *declaration, Remarks *remarks,
                       Error *error) {
        if (!mode || !(declaration->mode & S_IRGRP) || declaration->group)
                return 0;
        return ini_warning(
                        mode, remarks, error,
                        "A group may read the secret, but Group= is missing. The group is root. Set Group=, or Mode=0400.");
}

static int check_groups(const IniFile *ini, const Declaration *declaration, Remarks *remarks, Error *error) {
        int r = check_group(ini_find(ini, "Deliver", "Mode"), declaration, remarks, error);

        for (size_t i = 0; r >= 0 && i < declaration->members_count; i++) {
                char section[DECLARED_SECTION_SIZE];
                const Declaration *member = declaration->members + i;

                if (!(member->mode & S_IRGRP) || member->group)
                        continue;
                declared_member_section(member, section);
                r = check_group(ini_find(ini, section, "Mode"), member, remarks, error);
        }
        return r;
}

/* A setting of a sealed secret would look like protection of a value that comes from KMS itself. */
static int check_generated(const IniFile *ini, const Declaration *declaration, Remarks *remarks,
                           Error *error) {
        static const char *const foreign[] = { "Source",     "SourceRegion",     "Format",   "SizeMax",
                                               "Sha256",     "AllowUncommitted", "SignedBy", "Signature",
                                               "MinVersion", "MeasurePcr" };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(foreign) && r >= 0; i++)
                if (is_set(ini, foreign[i]) && !(declaration->generate_missing && i == 0))
                        r = remarks_take(
                                        remarks,
                                        ini_error(ini_find(ini, "Secret", foreign[i]), error,
                                                  i == 0 && declaration->source.kind == SOURCE_VOLUME
                                                                  ? "A label of a volume keeps what Generate= has made, so that the next boot has it. Set GenerateWhen=missing, or remove this line."
                                                                  : "The setting is for a sealed secret, and Generate= has KMS make a new value: nothing is fetched. Remove this line, or Generate=."),
                                        error);
        return r;
}

static int wrong_of_missing(const IniFile *ini, const char *key, const char *text, Remarks *remarks,
                            Error *error) {
        return remarks_take(remarks, ini_error(ini_find(ini, "Secret", key), error, "%s", text), error);
}

/* GenerateWhen=missing: the ciphertext lies in the label of a volume. It is bound to the volume, and to the account: whoever attaches the
 * volume of another customer would open it otherwise. */
static int complete_missing(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        bool bound = declaration->bind_account || !is_set(ini, "BindAccount");
        _cleanup_free_ char *pair = NULL;
        int r = check_generated(ini, declaration, remarks, error);

        if (r >= 0 && declaration->generate > 0 && declaration->generate < DECLARATION_GENERATE_MISSING_MIN)
                r = wrong_of_missing(
                                ini, "Generate",
                                "Expected at least 32 bytes with GenerateWhen=missing: all keys of a volume are made of them.",
                                remarks, error);
        if (r >= 0 && (!declaration->source.location || declaration->source.kind != SOURCE_VOLUME))
                r = wrong_of_missing(
                                ini, "GenerateWhen",
                                "Expected Source=volume:NAME with missing: only the label of a read-write volume keeps what KMS has made beyond a boot. Set it, or GenerateWhen=always.",
                                remarks, error);
        if (r >= 0 && !bound)
                r = wrong_of_missing(
                                ini, "BindAccount",
                                "Expected yes with Source=volume:, or no line: the key of a volume is always bound to the account of the instance.",
                                remarks, error);
        if (r < 0)
                return r;
        declaration->bind_account = true;
        declaration->format = FORMAT_KMS;
        if (declaration->source.kind != SOURCE_VOLUME || !declaration->source.location)
                return 0;
        if (asprintf(&pair, VOLUME_CONTEXT "%s", declaration->source.location) < 0)
                return error_oom(error);
        return add_context(&declaration->encryption_context, pair, error);
}

/* Generate= takes the place of Source=. */
static int complete_generated(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        int r = check_generated(ini, declaration, remarks, error);

        if (r < 0)
                return r;
        /* A mistake above is only remarked by who wants all of them. What was set is not used. */
        source_clear(&declaration->source);
        source_clear(&declaration->signature);
        declaration->format = FORMAT_KMS;
        if (asprintf(&declaration->source.label, "Generate=%zu", declaration->generate) < 0) {
                declaration->source.label = NULL;
                return error_oom(error);
        }
        return 0;
}

static int complete_sealed(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        int r = require(ini, "Source", remarks, error);

        if (r >= 0 && is_set(ini, "GenerateWhen"))
                r = remarks_take(
                                remarks,
                                ini_error(ini_find(ini, "Secret", "GenerateWhen"), error,
                                          "The setting needs Generate=, which is missing. Set Generate=, or remove this line."),
                                error);
        if (r >= 0 && declaration->source.location && declaration->source.kind == SOURCE_VOLUME)
                r = remarks_take(
                                remarks,
                                ini_error(ini_find(ini, "Secret", "Source"), error,
                                          "volume: needs Generate= and GenerateWhen=missing: the label of a volume has only what KMS has made for it. Set both, or another source."),
                                error);
        if (r >= 0)
                r = complete_size_max(ini, declaration, remarks, error);
        if (r >= 0)
                r = complete_uncommitted(ini, declaration, remarks, error);
        if (r >= 0)
                r = complete_source(ini, declaration, remarks, error);
        return r >= 0 ? complete_signature(ini, declaration, remarks, error) : r;
}

/* Checks that need all lines. */
static int complete(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error) {
        _cleanup_free_ char *name = NULL;
        int r;

        if (!is_set(ini, "Generate"))
                r = complete_sealed(ini, declaration, remarks, error);
        else
                r = declaration->generate_missing ? complete_missing(ini, declaration, remarks, error)
                                                  : complete_generated(ini, declaration, remarks, error);
        if (r >= 0)
                r = require(ini, "KeyId", remarks, error);
        if (r >= 0)
                r = complete_key_ids(ini, declaration, remarks, error);
        if (r >= 0)
                r = check_late(ini, declaration, remarks, error);
        if (r >= 0)
                r = check_groups(ini, declaration, remarks, error);
        if (r >= 0)
                r = declared_members_complete(ini, declaration, remarks, error);
        if (r < 0)
                return r;

        if (asprintf(&name, NAME_CONTEXT "%s", declaration->name) < 0)
                return error_oom(error);
        return add_context(&declaration->encryption_context, name, error);
}

/* file_name: without its directory. It ends in SUFFIX. */
static int declaration_make(const IniFile *ini, const char *file_name, Declaration *ret, Remarks *remarks,
                            Error *error) {
        _cleanup_(declaration_clear) Declaration declaration = {
                .size_max = KMS_CIPHERTEXT_MAX,
                .store = true,
                .mode = 0400,
        };
        size_t length = strlen(file_name) - strlen(SUFFIX);
        int r;

        if (!is_name(file_name, length))
                return error_set(
                                error, -EINVAL, FAILURE_CONFIGURATION,
                                "%s: Expected a file name of 1 to %d letters, digits, \"-\", \"_\" and \".\" before \"" SUFFIX
                                "\". Rename the file.",
                                ini->file, NAME_MAX_LENGTH);
        declaration.name = strndup(file_name, length);
        declaration.file = strdup(ini->file);
        if (!declaration.name || !declaration.file)
                return error_oom(error);

        r = declared_members_begin(ini, &declaration, remarks, error);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ini->count; i++) {
                r = apply(&ini->assignments[i], &declaration, remarks, error);
                if (r < 0)
                        return r;
        }
        r = complete(ini, &declaration, remarks, error);
        if (r < 0)
                return r;

        *ret = TAKE(declaration, (Declaration){});
        return 0;
}

/* 1: *ret and *ret_ini are filled. 0: the file is masked, or cannot be used. */
static int declaration_examine(const char *vendor_directory, const char *local_directory,
                               const char *file_name, Declaration *ret, IniFile **ret_ini, Remarks *remarks,
                               Error *error) {
        _cleanup_free_ char *path = NULL;
        _cleanup_ini_ IniFile *ini = NULL;
        int r;

        if (asprintf(&path, "secrets.d/%s", file_name) < 0)
                return error_oom(error);
        r = ini_examine(vendor_directory, local_directory, path, &ini, remarks, error);
        if (r < 0)
                return r;
        if (!ini->file)
                return 0;
        r = declaration_make(ini, file_name, ret, remarks, error);
        if (r < 0)
                return remarks_take(remarks, r, error);
        *ret_ini = TAKE_PTR(ini);
        return 1;
}

int declaration_read_file(const char *path, Declaration *ret, Error *error) {
        const char *slash = strrchr(path, '/'), *file_name = slash ? slash + 1 : path;
        _cleanup_ini_ IniFile *ini = calloc(1, sizeof(*ini));
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;
        int r;

        if (!ini || !(ini->file = strdup(path)))
                return error_oom(error);
        if (strlen(file_name) < strlen(SUFFIX) ||
            strcmp(file_name + strlen(file_name) - strlen(SUFFIX), SUFFIX) != 0)
                return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                 "%s: Expected a file name that ends in \"" SUFFIX "\". Rename the file.",
                                 path);
        r = read_file(path, INI_FILE_MAX, &text, &size);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION, "%s: cannot be read: %s.", path,
                                 strerror(-r));
        r = ini_parse(path, (const char *) text, size, ini, error);
        return r < 0 ? r : declaration_make(ini, file_name, ret, NULL, error);
}

/* Compares names without their suffix, so that "a" comes before "a.b". */
static int name_compare(const void *a, const void *b) {
        const char *one = *(char *const *) a, *other = *(char *const *) b;
        size_t length = strlen(one) - strlen(SUFFIX), other_length = strlen(other) - strlen(SUFFIX);
        int r = memcmp(one, other, length < other_length ? length : other_length);

        return r != 0 ? r : (length > other_length) - (length < other_length);
}

static const char *volume_of(const Declaration *declaration) {
        return declaration->generate_missing && declaration->source.kind == SOURCE_VOLUME
                               ? declaration->source.location
                               : NULL;
}

/* A label keeps one ciphertext. With a second secret it could be that of the key that does not open the volume. */
static int check_labels(const Declarations *declarations, IniFile *const *files, Remarks *remarks,
                        Error *error) {
        int r = 0;

        for (size_t i = 0; i < declarations->count; i++) {
                const char *volume = volume_of(declarations->items + i);

                for (size_t j = 0; volume && j < i && r >= 0; j++) {
                        const char *other = volume_of(declarations->items + j);

                        if (other && strcmp(volume, other) == 0)
                                r = remarks_take(
                                                remarks,
                                                ini_error(ini_find(files[i], "Secret", "Source"), error,
                                                          "The label of the volume %s is the source of the secret %s, too, and keeps the key of one secret only. Remove one of the two: what is stored under the other's key could not be opened in the next boot.",
                                                          volume, declarations->items[j].name),
                                                error);
                }
        }
        return r;
}

int declarations_examine(const char *vendor_directory, const char *local_directory, Declarations *ret,
                         IniFile ***ret_files, Remarks *remarks, Error *error) {
        _cleanup_(declarations_clear) Declarations declarations = {};
        _cleanup_(ini_files_freep) IniFile **files = NULL;
        _cleanup_strings_ char **names = NULL;
        int r;

        r = ini_list(vendor_directory, local_directory, "secrets.d", SUFFIX, &names, error);
        r = remarks_take(remarks, r, error);
        if (r < 0)
                return r;

        if (names)
                qsort(names, strings_count(names), sizeof(char *), name_compare);
        declarations.items = calloc(strings_count(names) + 1, sizeof(Declaration));
        files = calloc(strings_count(names) + 1, sizeof(IniFile *));
        if (!declarations.items || !files)
                return error_oom(error);
        for (char **name = names; name && *name; name++) {
                r = declaration_examine(vendor_directory, local_directory, *name,
                                        &declarations.items[declarations.count], &files[declarations.count],
                                        remarks, error);
                if (r < 0)
                        return r;
                declarations.count += (size_t) r;
        }
        r = declared_names_check(&declarations, files, remarks, error);
        if (r >= 0)
                r = check_labels(&declarations, files, remarks, error);
        if (r < 0)
                return r;

        *ret = TAKE(declarations, (Declarations){});
        *ret_files = TAKE_PTR(files);
        return 0;
}

static size_t count_late(const Declarations *declarations) {
        size_t count = 0;

        for (size_t i = 0; i < declarations->count; i++)
                count += declarations->items[i].late;
        return count;
}

int declarations_read(const char *vendor_directory, const char *local_directory, Declarations *ret,
                      Error *error) {
        _cleanup_(declarations_clear) Declarations declarations = {};
        _cleanup_(ini_files_freep) IniFile **files = NULL;
        int r;

        r = declarations_examine(vendor_directory, local_directory, &declarations, &files, NULL, error);
        if (r < 0)
                return r;
        if (declarations.count > LIMIT_SECRETS)
                return error_set(
                                error, -E2BIG, FAILURE_CONFIGURATION,
                                "%zu secrets are declared in secrets.d/, and unseald takes no more than %u. Join some of them into a bundle (Format=bundle).",
                                declarations.count, LIMIT_SECRETS);
        if (count_late(&declarations) > LIMIT_LATE_SECRETS)
                return error_set(
                                error, -E2BIG, FAILURE_CONFIGURATION,
                                "%zu secrets with Late=yes are declared in secrets.d/, and unseald takes no more than %u. Join some of them into one message, such as an archive.",
                                count_late(&declarations), LIMIT_LATE_SECRETS);
        *ret = TAKE(declarations, (Declarations){});
        return 0;
}

/* The NUL is hashed, too, so that "ab" and "c" differ from "a" and "bc". */
static bool add_string(EVP_MD_CTX *context, const char *string) {
        return EVP_DigestUpdate(context, string ?: "", strlen(string ?: "") + 1) == 1;
}

static bool add_strings(EVP_MD_CTX *context, char *const *strings) {
        for (; strings && *strings; strings++)
                if (!add_string(context, *strings))
                        return false;
        return add_string(context, NULL);
}

/* The key and not its path: another file at the same path is another signer. */
static bool add_signer(EVP_MD_CTX *context, const Declaration *declaration) {
        const uint64_t version_min = htobe64(declaration->version_min);
        unsigned char *der = NULL;
        int size;
        bool done;

        if (!declaration->signing_key)
                return true;
        size = i2d_PUBKEY(declaration->signing_key, &der);
        done = size > 0 && add_string(context, "signed") &&
               EVP_DigestUpdate(context, &version_min, sizeof(version_min)) == 1 &&
               EVP_DigestUpdate(context, der, (size_t) size) == 1;
        OPENSSL_free(der);
        return done;
}

static bool add_generate(EVP_MD_CTX *context, const Declaration *declaration) {
        const uint64_t size = htobe64(declaration->generate);

        return declaration->generate == 0 ||
               (add_string(context, "generated") && EVP_DigestUpdate(context, &size, sizeof(size)) == 1);
}

/* Nothing for the values that unseald 0.1 had, so that an update keeps the secrets. */
static bool add_format(EVP_MD_CTX *context, const Declaration *declaration) {
        if (declaration->source.member &&
            (!add_string(context, "member") || !add_string(context, declaration->source.member)))
                return false;
        if (declaration_is_message(declaration) &&
            (!add_string(context, declaration->format == FORMAT_BUNDLE ? "bundle" : "message") ||
             !add_string(context, declaration->allow_uncommitted ? "uncommitted" : NULL)))
                return false;
        return !declaration->pinned ||
               (add_string(context, "pinned") &&
                EVP_DigestUpdate(context, declaration->pin, sizeof(declaration->pin)) == 1);
}

/* A secret that was kept without having been measured is unsealed anew once MeasurePcr= is set. */
static bool add_measured(EVP_MD_CTX *context, const Declaration *declaration) {
        const uint32_t pcr = htobe32(declaration->measure_pcr);

        return declaration->measure_pcr == 0 ||
               (add_string(context, "measured") && EVP_DigestUpdate(context, &pcr, sizeof(pcr)) == 1);
}

/* The rights of a member count, too: the manifest has only what was declared and there when the bundle was unsealed. */
static bool add_members(EVP_MD_CTX *context, const Declaration *declaration) {
        for (size_t i = 0; i < declaration->members_count; i++) {
                const Declaration *member = declaration->members + i;
                const uint32_t mode = htobe32(member->mode);

                if (!add_string(context, member->member) || !add_strings(context, member->units) ||
                    !add_string(context, member->store ? "stored" : NULL) ||
                    !add_string(context, member->user) || !add_string(context, member->group) ||
                    !add_string(context, member->optional ? "optional" : NULL) ||
                    EVP_DigestUpdate(context, &mode, sizeof(mode)) != 1)
                        return false;
        }
        return true;
}

int declaration_digest(const Declaration *declaration, uint8_t ret[static DECLARATION_DIGEST_SIZE]) {
        const Source *source = &declaration->source;
        const char kind[] = { (char) ('A' + source->kind), 0 };
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                    add_string(context, declaration->name) && add_string(context, kind) &&
                    add_string(context, source->location) && add_string(context, source->bucket) &&
                    add_string(context, source->version) &&
                    add_string(context, declaration->source_region) &&
                    add_strings(context, declaration->key_ids) &&
                    add_strings(context, declaration->encryption_context) &&
                    add_string(context, declaration->bind_account ? "bound" : NULL) &&
                    add_generate(context, declaration) && add_signer(context, declaration) &&
                    add_format(context, declaration) && add_measured(context, declaration) &&
                    add_members(context, declaration) && EVP_DigestFinal_ex(context, ret, NULL) == 1;

        return done ? 0 : openssl_failure(NULL);
}

SignatureRule declaration_signature_rule(const Declaration *declaration) {
        return (SignatureRule){
                .name = declaration->name,
                .key = declaration->signing_key,
                .version_min = declaration->version_min,
                .key_path = declaration->signed_by,
                .label = declaration->signature.label,
        };
}

const Declaration *declarations_find(const Declarations *declarations, const char *name) {
        for (size_t i = 0; i < declarations->count; i++)
                if (strcmp(declarations->items[i].name, name) == 0)
                        return declarations->items + i;
        return NULL;
}

/* Returns the part of the name behind "BUNDLE."; NULL: the credential is not of this bundle. */
static const char *member_part(const Declaration *bundle, const char *credential) {
        size_t length = strlen(bundle->name);

        return bundle->members_count > 0 && strncmp(credential, bundle->name, length) == 0 &&
                                               credential[length] == '.'
                               ? credential + length + 1
                               : NULL;
}

const Declaration *declarations_find_credential(const Declarations *declarations, const char *credential) {
        for (size_t i = 0; i < declarations->count; i++) {
                Declaration *declaration = declarations->items + i;
                const char *part = member_part(declaration, credential);
                const Declaration *member = part ? declared_member_find(declaration, part) : NULL;

                if (member)
                        return member;
                if (declaration->format != FORMAT_BUNDLE && strcmp(declaration->name, credential) == 0)
                        return declaration;
        }
        return NULL;
}

const Declaration *declarations_bundle_of(const Declarations *declarations, const Declaration *member) {
        for (size_t i = 0; i < declarations->count; i++) {
                const Declaration *bundle = declarations->items + i;

                if (member >= bundle->members && member < bundle->members + bundle->members_count)
                        return bundle;
        }
        return NULL;
}

const Declaration *declarations_next_credential(const Declarations *declarations, CredentialIterator *at) {
        for (; at->secret < declarations->count; at->secret++) {
                const Declaration *declaration = declarations->items + at->secret;

                if (at->member < declaration->members_count)
                        return declaration->members + at->member++;
                at->member = 0;
                if (declaration->format != FORMAT_BUNDLE) {
                        at->secret++;
                        return declaration;
                }
        }
        return NULL;
}

bool declaration_is_of_one_boot(const Declaration *declaration) {
        return declaration->generate > 0 && !declaration->generate_missing;
}

bool declaration_names_unit(char *const *units, const char *unit) {
        for (; units && *units; units++)
                if (matches(*units, unit))
                        return true;
        return false;
}

bool declaration_admits(const Declaration *declaration, const char *unit) {
        return !declaration->units || !declaration->units[0] ||
               declaration_names_unit(declaration->units, unit);
}

static const Declaration *find_user_of_key(const Declarations *declarations, const char *key) {
        for (size_t i = 0; i < declarations->count; i++)
                for (char **id = declarations->items[i].key_ids; id && *id; id++)
                        if (strcmp(*id, key) == 0)
                                return declarations->items + i;
        return NULL;
}

int declarations_judge_kms(const Declarations *declarations, const Settings *settings, Error *error) {
        if (settings->kms_keys && settings->lock_pcr != 0)
                return error_set(
                                error, -EINVAL, FAILURE_CONFIGURATION,
                                "[Kms] Keys=: Expected nothing, since LockPcr= is set. Once the PCR is locked, KMS decrypts nothing more for this boot, so unseald-kms could not serve applications. Remove LockPcr= or Keys=.");
        for (char **key = settings->kms_keys; key && *key; key++) {
                const Declaration *user = find_user_of_key(declarations, *key);

                if (user)
                        return error_set(
                                        error, -EINVAL, FAILURE_CONFIGURATION,
                                        "[Kms] Keys=: Expected a key of its own, not %s, which is in KeyId= of the secret %s, too. An application could have the secret decrypted. 'unsealctl policy --application' makes the policy of a key for applications.",
                                        *key, user->name);
        }
        return 0;
}
