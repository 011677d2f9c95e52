/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads one profile from one file, line by line, by the rules of configparser: only full-line comments, "=" or ":" as separator,
 * setting names in any case, and a line that is indented deeper continues the value before it. Settings that make the CLI assume
 * a role, sign in or run a program are noticed and not followed, so that unsealctl never signs with another identity than the CLI.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "aws/service.h"
#include "basic/cleanup.h"
#include "unsealctl/aws-profile.h"

#define SPACE " \t\r\f\v"
#define EXPORT_ADVICE \
        "Let the AWS CLI 2 export them: eval \"$(aws configure export-credentials --profile %s --format env)\"."

void aws_profile_clear(AwsProfile *profile) {
        erase_and_free(profile->access_key_id);
        erase_and_free(profile->secret_access_key);
        erase_and_free(profile->session_token);
        free(profile->region);
        *profile = (AwsProfile){};
}

/* A part of the file's text. Not NUL-terminated. */
typedef struct Span {
        const char *start;
        size_t length;
} Span;

static bool is_space(char c) {
        return c != '\0' && strchr(SPACE, c);
}

static Span strip(Span slice) {
        while (slice.length > 0 && is_space(slice.start[0])) {
                slice.start++;
                slice.length--;
        }
        while (slice.length > 0 && is_space(slice.start[slice.length - 1]))
                slice.length--;
        return slice;
}

static bool slice_is(Span slice, const char *text) {
        return slice.length == strlen(text) && memcmp(slice.start, text, slice.length) == 0;
}

typedef struct Reader {
        const char *file, *name;
        AwsProfileFile kind;
        unsigned line;
        bool in_section;    /* any section */
        bool in_profile;    /* the section of the profile */
        size_t indent;      /* of the last line that did not continue another */
        bool may_continue;  /* a deeper line would continue the last setting */
        char **last_wanted; /* the value of the last setting, if it is an AwsProfile field */
        AwsProfile *profile;
        Error *error;
} Reader;

_printf_(2, 3) static int complain(const Reader *reader, const char *format, ...) {
        char text[256];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        return error_set(reader->error, -EINVAL, FAILURE_CONFIGURATION, "%s:%u: %s", reader->file,
                         reader->line, text);
}

/* header: a section's header without its brackets. */
static bool is_profile(const Reader *reader, Span header) {
        static const char prefix[] = "profile";
        Span name;

        if (reader->kind == AWS_PROFILE_CREDENTIALS)
                return slice_is(header, reader->name);
        if (slice_is(header, "default"))
                return strcmp(reader->name, "default") == 0;

        if (header.length <= strlen(prefix) || memcmp(header.start, prefix, strlen(prefix)) != 0 ||
            !is_space(header.start[strlen(prefix)]))
                return false;
        name = strip((Span){ header.start + strlen(prefix), header.length - strlen(prefix) });
        if (name.length >= 2 && strchr("\"'", name.start[0]) && name.start[name.length - 1] == name.start[0])
                name = (Span){ name.start + 1, name.length - 2 };
        else
                for (size_t i = 0; i < name.length; i++)
                        if (is_space(name.start[i]))
                                return false;
        return slice_is(name, reader->name);
}

static int read_header(Reader *reader, Span header) {
        reader->in_section = true;
        reader->may_continue = false;
        reader->in_profile = is_profile(reader, header);
        if (!reader->in_profile)
                return 0;
        if (reader->profile->found)
                return complain(reader, "The profile appears a second time in this file. Remove one.");
        reader->profile->found = true;
        return 0;
}

/* Returns where the value of a setting goes, or NULL for a setting that is not used. */
static char **field_of(AwsProfile *profile, Span key) {
        const struct {
                const char *key;
                char **field;
        } fields[] = {
                { "aws_access_key_id", &profile->access_key_id },
                { "aws_secret_access_key", &profile->secret_access_key },
                { "aws_session_token", &profile->session_token },
                { "region", &profile->region },
        };

        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                if (key.length == strlen(fields[i].key) &&
                    strncasecmp(key.start, fields[i].key, key.length) == 0)
                        return fields[i].field;
        return NULL;
}

/* Notes the settings of which only the presence matters. */
static void note(AwsProfile *profile, Span key) {
        static const struct {
                const char *key;
                bool process;
        } others[] = {
                { "role_arn", false },     { "sso_account_id", false },    { "sso_role_name", false },
                { "login_session", true }, { "credential_process", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (key.length == strlen(others[i].key) &&
                    strncasecmp(key.start, others[i].key, key.length) == 0) {
                        if (others[i].process)
                                profile->process = others[i].key;
                        else
                                profile->login = others[i].key;
                }
}

static int read_setting(Reader *reader, Span line) {
        const char *delimiter = line.start;
        char **field;
        Span key, value;

        while (delimiter < line.start + line.length && *delimiter != '=' && *delimiter != ':')
                delimiter++;
        key = strip((Span){ line.start, (size_t) (delimiter - line.start) });
        if (delimiter == line.start + line.length || key.length == 0)
                return complain(reader, "Expected \"name = value\", a [section] or a comment.");
        value = strip((Span){ delimiter + 1, (size_t) (line.start + line.length - delimiter - 1) });

        reader->may_continue = true;
        reader->last_wanted = NULL;
        if (!reader->in_profile)
                return 0;
        note(reader->profile, key);
        field = field_of(reader->profile, key);
        if (!field)
                return 0;
        if (*field)
                return complain(reader, "The profile has this setting a second time. Remove one.");
        *field = strndup(value.start, value.length);
        if (!*field)
                return error_oom(reader->error);
        reader->last_wanted = field;
        return 0;
}

static int read_line(Reader *reader, Span whole) {
        Span line = strip(whole);
        size_t indent = (size_t) (line.start - whole.start);
        const char *bracket = NULL;

        if (line.length == 0 || line.start[0] == '#' || line.start[0] == ';')
                return 0;
        if (memchr(line.start, '\0', line.length))
                return complain(reader, "The line contains a NUL byte.");
        if (reader->may_continue && indent > reader->indent)
                return reader->last_wanted
                                       ? complain(reader,
                                                  "This indented line continues the setting before it. Remove the indentation.")
                                       : 0;

        reader->indent = indent;
        if (line.start[0] == '[')
                bracket = memrchr(line.start + 1, ']', line.length - 1);
        if (bracket && bracket > line.start + 1)
                return read_header(reader, (Span){ line.start + 1, (size_t) (bracket - line.start - 1) });
        if (!reader->in_section)
                return complain(reader, "Expected a [section] before the first setting.");
        return read_setting(reader, line);
}

int aws_profile_parse(const char *file, AwsProfileFile kind, const char *data, size_t size, const char *name,
                      AwsProfile *ret, Error *error) {
        _cleanup_(aws_profile_clear) AwsProfile profile = {};
        Reader reader = { .file = file, .name = name, .kind = kind, .profile = &profile, .error = error };

        for (const char *end = data + size; data < end;) {
                const char *newline = memchr(data, '\n', (size_t) (end - data)) ?: end;
                int r;

                reader.line++;
                r = read_line(&reader, (Span){ data, (size_t) (newline - data) });
                if (r < 0)
                        return r;
                data = newline + (newline < end);
        }
        *ret = TAKE(profile, (AwsProfile){});
        return 0;
}

/* A key ID without its secret key is a mistake, so it is an error and not skipped. */
static int take_key(AwsProfile *profile, const char *name, AwsCredentials *ret, Error *error) {
        if (!profile->secret_access_key)
                return error_set(
                                error, -EINVAL, FAILURE_ROLE,
                                "The profile %s has aws_access_key_id, but no aws_secret_access_key. Add it to the same file.",
                                name);
        if (!aws_is_header_value(profile->access_key_id) ||
            !aws_is_header_value(profile->secret_access_key) ||
            (profile->session_token && *profile->session_token &&
             !aws_is_header_value(profile->session_token)))
                return error_set(
                                error, -EINVAL, FAILURE_ROLE,
                                "The access key or session token of the profile %s is invalid: it is empty, or contains a space or another character that AWS never uses.",
                                name);
        *ret = (AwsCredentials){
                .access_key_id = TAKE_PTR(profile->access_key_id),
                .secret_access_key = TAKE_PTR(profile->secret_access_key),
        };
        if (profile->session_token && *profile->session_token)
                ret->session_token = TAKE_PTR(profile->session_token);
        return 0;
}

static int not_ours(const char *name, const char *setting, Error *error) {
        return error_set(
                        error, -EOPNOTSUPP, FAILURE_ROLE,
                        "The profile %s gets its credentials by %s, which unsealctl cannot do. " EXPORT_ADVICE,
                        name, setting, name);
}

int aws_profile_credentials(AwsProfile *credentials, AwsProfile *config, const char *name,
                            AwsCredentials *ret, Error *error) {
        const char *login = credentials->login ?: config->login,
                   *process = credentials->process ?: config->process;

        if (login)
                return not_ours(name, login, error);
        if (credentials->access_key_id)
                return take_key(credentials, name, ret, error);
        if (process)
                return not_ours(name, process, error);
        return config->access_key_id ? take_key(config, name, ret, error) : -ENODATA;
}
