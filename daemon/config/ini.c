/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libeconf is not used. It keeps the first of several assignments to a key, cuts a value at a '#' or ';' inside it, reads
 * an indented line as a part of the line before, and silently ends a value at a NUL byte.
 */

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "basic/io.h"
#include "basic/log.h"
#include "basic/text.h"
#include "config/ini.h"
#include "config/nearest.h"

#define WHITESPACE " \t\r\n"
#define COMMENTS "#;"

static inline void closedirp(DIR **directory) {
        if (*directory)
                closedir(*directory);
}

char **strings_free(char **strings) {
        for (char **s = strings; s && *s; s++)
                free(*s);
        free(strings);
        return NULL;
}

size_t strings_count(char *const *strings) {
        size_t n = 0;

        while (strings && strings[n])
                n++;
        return n;
}

int strings_take(char ***strings, char *string) {
        size_t n = strings_count(*strings);
        char **grown;

        grown = string ? reallocarray(*strings, n + 2, sizeof(char *)) : NULL;
        if (!grown) {
                free(string);
                return -ENOMEM;
        }
        grown[n] = string;
        grown[n + 1] = NULL;
        *strings = grown;
        return 0;
}

IniFile *ini_free(IniFile *ini) {
        if (!ini)
                return NULL;

        for (size_t i = 0; i < ini->count; i++) {
                free(ini->assignments[i].section);
                free(ini->assignments[i].key);
                free(ini->assignments[i].value);
                free(ini->assignments[i].file);
        }
        for (size_t i = 0; i < ini->sections_count; i++) {
                free(ini->sections[i].name);
                free(ini->sections[i].file);
        }
        free(ini->assignments);
        free(ini->sections);
        free(ini->file);
        free(ini);
        return NULL;
}

IniFile **ini_files_free(IniFile **files) {
        for (IniFile **file = files; file && *file; file++)
                ini_free(*file);
        free(files);
        return NULL;
}

int ini_error(const IniAssignment *assignment, Error *error, const char *format, ...) {
        char text[512];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        return error_set(error, -EINVAL, FAILURE_CONFIGURATION, "%s:%u: %s=: %s", assignment->file,
                         assignment->line, assignment->key, text);
}

int ini_section_error(const IniSection *section, Error *error, const char *format, ...) {
        char text[512];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        return error_set(error, -EINVAL, FAILURE_CONFIGURATION, "%s:%u: [%s]: %s", section->file,
                         section->line, section->name, text);
}

int ini_warning(const IniAssignment *assignment, Remarks *remarks, Error *error, const char *format, ...) {
        char text[512], whole[sizeof(error->text)];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        (void) snprintf(whole, sizeof(whole), "%s:%u: %s=: %s", assignment->file, assignment->line,
                        assignment->key, text);
        if (remarks)
                return remarks_add(remarks, false, whole) < 0 ? error_oom(error) : 0;
        log_full(LOG_WARNING, &(LogFields){ .message_id = MESSAGE_CONFIGURATION }, "%s", whole);
        return 0;
}

typedef struct Parser {
        const char *file;
        IniFile *ini;
        char *section; /* NULL before the first section */
        char *text;    /* the line so far, with its continuations; has room for the whole file */
        size_t length;
        unsigned line;  /* the number of the line that is read */
        unsigned start; /* the number of the line at which text began */
} Parser;

static void parser_done(Parser *parser) {
        free(parser->section);
        free(parser->text);
}

static int parser_error(const Parser *parser, Error *error, const char *what) {
        return error_set(error, -EINVAL, FAILURE_CONFIGURATION, "%s:%u: %s", parser->file, parser->start,
                         what);
}

static char *strip(char *text) {
        size_t n;

        text += strspn(text, WHITESPACE);
        for (n = strlen(text); n > 0 && strchr(WHITESPACE, text[n - 1]); n--)
                text[n - 1] = '\0';
        return text;
}

/* The journal and terminals show these texts, so control characters must not get through. */
bool ini_is_text(const char *text, size_t size) {
        for (size_t i = 0; i < size;) {
                uint32_t character = 0;
                size_t n;

                n = utf8_decode(text + i, size - i, &character);
                if (n == 0 || (character < 0x20 && character != '\t') ||
                    (character >= 0x7f && character < 0xa0))
                        return false;
                i += n;
        }
        return true;
}

static int parser_add(Parser *parser, const char *key, const char *value, Error *error) {
        IniFile *ini = parser->ini;
        IniAssignment assignment = { .line = parser->start };

        /* The list grows at each power of two. */
        if ((ini->count & (ini->count - 1)) == 0) {
                IniAssignment *grown;

                grown = reallocarray(ini->assignments, ini->count > 0 ? ini->count * 2 : 1, sizeof(*grown));
                if (!grown)
                        return error_oom(error);
                ini->assignments = grown;
        }

        assignment.section = strdup(parser->section);
        assignment.key = strdup(key);
        assignment.value = strdup(value);
        assignment.file = strdup(parser->file);
        ini->assignments[ini->count++] = assignment;
        if (!assignment.section || !assignment.key || !assignment.value || !assignment.file)
                return error_oom(error);
        return 0;
}

static int parser_add_section(Parser *parser, const char *name, Error *error) {
        IniFile *ini = parser->ini;
        IniSection *grown = reallocarray(ini->sections, ini->sections_count + 1, sizeof(*grown)), *section;

        if (!grown)
                return error_oom(error);
        ini->sections = grown;
        section = grown + ini->sections_count++;
        *section = (IniSection){ .name = strdup(name), .file = strdup(parser->file), .line = parser->start };
        return section->name && section->file ? 0 : error_oom(error);
}

static int parser_section(Parser *parser, char *text, Error *error) {
        size_t length = strlen(text);

        if (length < 3 || text[length - 1] != ']')
                return parser_error(parser, error, "Expected a section such as [Secret].");
        text[length - 1] = '\0';

        free(parser->section);
        parser->section = strdup(text + 1);
        return parser->section ? parser_add_section(parser, parser->section, error) : error_oom(error);
}

/* Takes a complete line, with its continuations. */
static int parser_finish_line(Parser *parser, Error *error) {
        char *text, *equals;

        parser->text[parser->length] = '\0';
        text = strip(parser->text);

        if (text[0] == '\0')
                return 0;
        if (text[0] == '[')
                return parser_section(parser, text, error);

        equals = strchr(text, '=');
        if (!equals || equals == text)
                return parser_error(parser, error, "Expected Key=value, a [Section] or a comment.");
        if (!parser->section)
                return parser_error(parser, error,
                                    "Expected a section such as [Secret] before the first assignment.");

        *equals = '\0';
        return parser_add(parser, strip(text), strip(equals + 1), error);
}

static int parser_line(Parser *parser, const char *line, size_t size, Error *error) {
        size_t backslashes = 0;
        int r;

        parser->line++;
        if (parser->length == 0)
                parser->start = parser->line;

        if (size > 0 && line[size - 1] == '\r')
                size--;
        if (!ini_is_text(line, size)) {
                parser->start = parser->line;
                return parser_error(
                                parser, error,
                                "Expected UTF-8 text without control characters. Save the file as UTF-8.");
        }
        for (; size > 0 && strchr(WHITESPACE, line[0]); line++)
                size--;

        /* As in systemd, comments may stand between a line and its continuation. */
        if (size > 0 && strchr(COMMENTS, line[0]))
                return 0;

        while (backslashes < size && line[size - 1 - backslashes] == '\\')
                backslashes++;
        memcpy(parser->text + parser->length, line, size);
        parser->length += size;
        if (backslashes % 2 == 1) {
                parser->text[parser->length - 1] = ' ';
                return 0;
        }

        r = parser_finish_line(parser, error);
        parser->length = 0;
        return r;
}

static int parse(const char *file, const char *data, size_t size, IniFile *ini, Remarks *remarks,
                 Error *error) {
        _cleanup_(parser_done) Parser parser = { .file = file, .ini = ini };
        const char *end = data + size, *newline;
        int r;

        parser.text = malloc(size + 1);
        if (!parser.text)
                return error_oom(error);

        if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
                data += 3;

        for (; data < end; data = newline < end ? newline + 1 : end) {
                newline = memchr(data, '\n', (size_t) (end - data)) ?: end;
                r = remarks_take(remarks, parser_line(&parser, data, (size_t) (newline - data), error),
                                 error);
                if (r < 0)
                        return r;
        }
        r = parser.length > 0 ? parser_finish_line(&parser, error) : 0;
        return remarks_take(remarks, r, error);
}

int ini_parse(const char *file, const char *data, size_t size, IniFile *ini, Error *error) {
        return parse(file, data, size, ini, NULL, error);
}

int ini_parse_leniently(const char *file, const char *data, size_t size, IniFile *ini) {
        _cleanup_(remarks_clear) Remarks ignored = {};
        Error error = {};

        return parse(file, data, size, ini, &ignored, &error);
}

int ini_append(IniFile *ini, IniFile *from) {
        size_t count = ini->count + from->count, room = 1;
        IniAssignment *grown;

        if (from->count == 0)
                return 0;
        while (room < count)
                room *= 2; /* parser_add() grows the list at each power of two */
        grown = reallocarray(ini->assignments, room, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        memcpy(grown + ini->count, from->assignments, from->count * sizeof(*grown));
        ini->assignments = grown;
        ini->count = count;
        from->count = 0;
        return 0;
}

static int string_compare(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int list_directory(const char *path, const char *suffix, char ***names, Error *error) {
        _cleanup_(closedirp) DIR *directory = NULL;
        struct dirent *entry;

        directory = opendir(path);
        if (!directory && errno == ENOENT)
                return 0;
        if (!directory)
                return error_set(error, -errno, FAILURE_CONFIGURATION, "%s: cannot be read: %s.", path,
                                 strerror(errno));

        while ((errno = 0, entry = readdir(directory))) {
                const char *name = entry->d_name;
                size_t length = strlen(name);
                bool known = false;

                if (name[0] == '.' || length <= strlen(suffix) ||
                    strcmp(name + length - strlen(suffix), suffix) != 0)
                        continue;
                for (char **other = *names; other && *other; other++)
                        known = known || strcmp(*other, name) == 0;
                if (!known && strings_take(names, strdup(name)) < 0)
                        return error_oom(error);
        }
        if (errno != 0)
                return error_set(error, -errno, FAILURE_CONFIGURATION, "%s: cannot be read: %s.", path,
                                 strerror(errno));
        return 0;
}

int ini_list(const char *vendor_directory, const char *local_directory, const char *subdirectory,
             const char *suffix, char ***ret, Error *error) {
        const char *directories[] = { vendor_directory, local_directory };
        _cleanup_strings_ char **names = NULL;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", directories[i], subdirectory) < 0)
                        return error_oom(error);
                r = list_directory(path, suffix, &names, error);
                if (r < 0)
                        return r;
        }
        if (!names) {
                names = calloc(1, sizeof(char *));
                if (!names)
                        return error_oom(error);
        }

        qsort(names, strings_count(names), sizeof(char *), string_compare);
        *ret = TAKE_PTR(names);
        return 0;
}

static int add_file(const char *path, IniFile *ini, char **ret_path, Remarks *remarks, Error *error) {
        _cleanup_free_ uint8_t *data = NULL;
        struct stat st;
        size_t size;
        int r;

        if (stat(path, &st) < 0)
                r = -errno;
        else if (S_ISCHR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_size == 0))
                return 0;
        else
                r = read_file(path, INI_FILE_MAX, &data, &size);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION, "%s: cannot be read: %s.", path,
                                 r == -EFBIG ? "it is longer than 256 KiB" : strerror(-r));

        r = parse(path, (const char *) data, size, ini, remarks, error);
        if (r < 0)
                return r;

        *ret_path = strdup(path);
        return *ret_path ? 0 : error_oom(error);
}

/* Reads the local file of this name, or else the vendor's. *ret_path stays NULL if there is none, or if it is a mask. */
static int add_first(const char *vendor_directory, const char *local_directory, const char *name,
                     IniFile *ini, char **ret_path, Remarks *remarks, Error *error) {
        const char *directories[] = { local_directory, vendor_directory };

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                _cleanup_free_ char *path = NULL;
                struct stat st;

                if (asprintf(&path, "%s/%s", directories[i], name) < 0)
                        return error_oom(error);
                /* A dangling link is a file that cannot be read. Reading the vendor's file instead would hide the mistake. */
                if (lstat(path, &st) >= 0 || errno != ENOENT)
                        return remarks_take(remarks, add_file(path, ini, ret_path, remarks, error), error);
        }
        return 0;
}

int ini_examine(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret,
                Remarks *remarks, Error *error) {
        _cleanup_free_ char *subdirectory = NULL;
        _cleanup_strings_ char **dropins = NULL;
        _cleanup_ini_ IniFile *ini = NULL;
        int r;

        ini = calloc(1, sizeof(*ini));
        if (!ini || asprintf(&subdirectory, "%s.d", name) < 0)
                return error_oom(error);

        r = add_first(vendor_directory, local_directory, name, ini, &ini->file, remarks, error);
        if (r < 0)
                return r;

        r = ini_list(vendor_directory, local_directory, subdirectory, ".conf", &dropins, error);
        r = remarks_take(remarks, r, error);
        if (r < 0)
                return r;
        for (char **dropin = dropins; dropin && *dropin; dropin++) {
                _cleanup_free_ char *path = NULL, *found = NULL;

                if (asprintf(&path, "%s/%s", subdirectory, *dropin) < 0)
                        return error_oom(error);
                r = add_first(vendor_directory, local_directory, path, ini, &found, remarks, error);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(ini);
        return 0;
}

int ini_read(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret,
             Error *error) {
        return ini_examine(vendor_directory, local_directory, name, ret, NULL, error);
}

const IniAssignment *ini_find(const IniFile *ini, const char *section, const char *key) {
        for (size_t i = ini->count; i > 0; i--)
                if (strcmp(ini->assignments[i - 1].section, section) == 0 &&
                    strcmp(ini->assignments[i - 1].key, key) == 0)
                        return &ini->assignments[i - 1];
        return NULL;
}

/* Says what is probably meant. Empty: nothing known is near. */
static void guess_setting(const IniAssignment *assignment, IniNameAt name_at, char *ret, size_t size) {
        const char *section = NULL, *key = NULL, *home = NULL;
        size_t nearest_section = SIZE_MAX, nearest_key = SIZE_MAX;
        bool known = false;
        IniName name;

        for (size_t i = 0; (name = name_at(i)).key; i++) {
                known = known || strcmp(assignment->section, name.section) == 0;
                if (name_is_nearer(assignment->section, name.section, &nearest_section))
                        section = name.section;
                if (name_is_nearer(assignment->key, name.key, &nearest_key)) {
                        key = name.key;
                        home = name.section;
                }
        }
        ret[0] = '\0';
        if (!known && section)
                (void) snprintf(ret, size, " Did you mean [%s]?", section);
        else if (key && strcmp(home, assignment->section) != 0)
                (void) snprintf(ret, size, " Did you mean %s= in section [%s]?", key, home);
        else if (key)
                (void) snprintf(ret, size, " Did you mean %s=?", key);
}

int ini_unknown(const IniAssignment *assignment, IniNameAt name_at, const char *page, Remarks *remarks,
                Error *error) {
        bool known = false;
        char guess[128];
        IniName name;

        for (size_t i = 0; (name = name_at(i)).key; i++)
                known = known || strcmp(assignment->section, name.section) == 0;
        guess_setting(assignment, name_at, guess, sizeof(guess));
        return ini_warning(assignment, remarks, error,
                           "Unknown %s [%s]; unseald ignores the line.%s Check the spelling in %s.",
                           known ? "key in section" : "section", assignment->section, guess, page);
}

int ini_boolean(const IniAssignment *assignment, bool *ret, Error *error) {
        static const char *const words[] = { "no",  "false", "off", "n", "f", "0",
                                             "yes", "true",  "on",  "y", "t", "1" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (strcasecmp(assignment->value, words[i]) == 0) {
                        *ret = i >= ELEMENTSOF(words) / 2;
                        return 0;
                }
        return ini_error(assignment, error, "Expected yes or no, not \"%s\".", assignment->value);
}

int ini_free_pcr(const IniAssignment *assignment, unsigned *ret, Error *error) {
        static const char *const names[] = { "", "8", "13", "14", "15" };
        static const unsigned numbers[] = { 0, 8, 13, 14, 15 };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(assignment->value, names[i]) == 0) {
                        *ret = numbers[i];
                        return 0;
                }
        return ini_error(assignment, error, "Expected 8, 13, 14 or 15, not \"%s\".", assignment->value);
}

int ini_words(const IniAssignment *assignment, char ***ret, Error *error) {
        _cleanup_strings_ char **words = NULL;
        const char *text = assignment->value;

        words = calloc(1, sizeof(char *));
        if (!words)
                return error_oom(error);

        for (;;) {
                char quotes[2] = "";
                size_t length;

                text += strspn(text, WHITESPACE);
                if (*text == '\0')
                        break;

                if (strchr("\"'", *text))
                        quotes[0] = *text++;
                length = strcspn(text, quotes[0] ? quotes : WHITESPACE);
                if (strings_take(&words, strndup(text, length)) < 0)
                        return error_oom(error);
                text += length;

                if (!quotes[0])
                        continue;
                if (*text != quotes[0] || (text[1] != '\0' && !strchr(WHITESPACE, text[1])))
                        return ini_error(
                                        assignment, error,
                                        "Expected words separated by white space. Close each quote, and put white space after it.");
                text++;
        }

        *ret = TAKE_PTR(words);
        return 0;
}
