/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/io.h"
#include "unsealctl/check/consumers.h"

#define ROOT "/run/unseald"
#define STORE ROOT "/credentials/"
#define SOCKET ROOT "/credentials.sock"
#define UNIT_FILE_MAX (256U * 1024U)

DEFINE_CLEANUP(DIR *, closedir);

const char *const consumers_directories[] = {
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        NULL,
};

static void consumer_clear(Consumer *consumer) {
        free(consumer->unit);
        free(consumer->id);
        free(consumer->path);
        free(consumer->file);
}

void consumers_clear(Consumers *consumers) {
        for (size_t i = 0; i < consumers->count; i++)
                consumer_clear(consumers->items + i);
        free(consumers->items);
        *consumers = (Consumers){};
}

/* The assignment is ID:PATH of LoadCredential= (load), or ID:VALUE of SetCredential=, whose value is not kept. */
static int take_assignment(Consumers *consumers, const char *unit, const IniAssignment *assignment,
                           bool load) {
        const char *colon = strchr(assignment->value, ':');
        Consumer consumer = { .line = assignment->line };
        Consumer *items;

        if (!colon || (load && strncmp(colon + 1, ROOT "/", strlen(ROOT "/")) != 0))
                return 0;
        consumer.unit = strdup(unit);
        consumer.id = strndup(assignment->value, (size_t) (colon - assignment->value));
        consumer.file = strdup(assignment->file);
        consumer.path = load ? strdup(colon + 1) : NULL;
        items = reallocarray(consumers->items, consumers->count + 1, sizeof(*items));
        if (items)
                consumers->items = items;
        if (!items || !consumer.unit || !consumer.id || !consumer.file || (load && !consumer.path)) {
                consumer_clear(&consumer);
                return -ENOMEM;
        }
        items[consumers->count++] = consumer;
        return 0;
}

int consumers_take(Consumers *consumers, const char *unit, const IniFile *file) {
        for (size_t i = 0; i < file->count; i++) {
                const IniAssignment *assignment = file->assignments + i;
                bool load = strcmp(assignment->key, "LoadCredential") == 0;
                int r = 0;

                if (load || strcmp(assignment->key, "SetCredential") == 0)
                        r = take_assignment(consumers, unit, assignment, load);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Only units that run processes have credentials. */
static bool is_unit_name(const char *name) {
        static const char *const kinds[] = { ".service", ".socket", ".mount", ".swap" };
        const char *kind = strrchr(name, '.');

        for (size_t i = 0; kind && kind > name && i < ELEMENTSOF(kinds); i++)
                if (strcmp(kind, kinds[i]) == 0)
                        return true;
        return false;
}

static int read_unit_file(Consumers *consumers, const char *unit, const char *path) {
        _cleanup_ini_ IniFile *file = calloc(1, sizeof(*file));
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;

        if (!file)
                return -ENOMEM;
        if (read_file(path, UNIT_FILE_MAX, &text, &size) < 0 ||
            ini_parse(path, (const char *) text, size, file, NULL) < 0)
                return 0;
        return consumers_take(consumers, unit, file);
}

/* name: UNIT or UNIT.d/FILE. A file hides the files of the same name in later directories. */
static bool is_hidden(const char *const *directories, size_t at, const char *name) {
        for (size_t i = 0; i < at; i++) {
                _cleanup_free_ char *path = NULL;
                struct stat st;

                if (asprintf(&path, "%s/%s", directories[i], name) >= 0 && lstat(path, &st) >= 0)
                        return true;
        }
        return false;
}

/* A symbolic link to a file of another name is an alias of that unit. */
static bool is_alias(const char *path, const char *unit) {
        char target[PATH_MAX];
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        const char *slash;

        if (length < 0)
                return false;
        target[length] = '\0';
        slash = strrchr(target, '/');
        return strcmp(slash ? slash + 1 : target, unit) != 0;
}

/* Reads the units of directories[at], or with `unit` that unit's drop-ins there. */
static int read_directory(Consumers *consumers, const char *const *directories, size_t at,
                          const char *unit) {
        _cleanup_free_ char *directory = NULL;
        _cleanup_(closedirp) DIR *stream = NULL;
        const struct dirent *entry;
        int r = 0;

        if (asprintf(&directory, "%s/%s%s", directories[at], unit ?: "", unit ? ".d" : "") < 0)
                return -ENOMEM;
        stream = opendir(directory);
        while (r >= 0 && stream && (entry = readdir(stream))) {
                const char *file = entry->d_name, *end = strrchr(file, '.');
                _cleanup_free_ char *name = NULL, *path = NULL, *of = NULL;

                if (!end || asprintf(&name, "%s%s%s", unit ?: "", unit ? ".d/" : "", file) < 0 ||
                    asprintf(&path, "%s/%s", directories[at], name) < 0)
                        continue;
                if (!unit && strcmp(end, ".d") == 0 && (of = strndup(file, (size_t) (end - file))) &&
                    is_unit_name(of))
                        r = read_directory(consumers, directories, at, of);
                else if (unit ? strcmp(end, ".conf") == 0 : is_unit_name(file) && !is_alias(path, file))
                        r = is_hidden(directories, at, name) ? 0
                                                             : read_unit_file(consumers, unit ?: file, path);
        }
        return r;
}

static int compare(const void *a, const void *b) {
        const Consumer *one = a, *other = b;
        int r = strcmp(one->unit, other->unit);

        return r != 0 ? r : strcmp(one->id, other->id);
}

int consumers_read(const char *const *directories, Consumers *ret) {
        Consumers consumers = {};
        int r = 0;

        for (size_t i = 0; r >= 0 && directories[i]; i++)
                r = read_directory(&consumers, directories, i, NULL);
        if (r < 0) {
                consumers_clear(&consumers);
                return r;
        }
        if (consumers.count > 0)
                qsort(consumers.items, consumers.count, sizeof(*consumers.items), compare);
        *ret = consumers;
        return 0;
}

/* Returns whether Units= admits the unit, or an instance of it if it is a template. */
static bool is_named(const Declaration *declaration, const char *unit) {
        const char *at = strchr(unit, '@');
        bool is_template = at && at[1] == '.';

        if (declaration_admits(declaration, unit))
                return true;
        for (char **name = declaration->units; is_template && *name; name++)
                if (strncmp(*name, unit, (size_t) (at + 1 - unit)) == 0)
                        return true;
        return false;
}

bool consumer_asks_socket(const Consumer *consumer) {
        return consumer->path && strcmp(consumer->path, SOCKET) == 0;
}

static bool has_fallback(const Consumers *consumers, const Consumer *consumer) {
        for (size_t i = 0; i < consumers->count; i++) {
                const Consumer *other = consumers->items + i;

                if (!other->path && strcmp(other->unit, consumer->unit) == 0 &&
                    strcmp(other->id, consumer->id) == 0)
                        return true;
        }
        return false;
}

ConsumerMistake consumer_mistake(const Consumers *consumers, const Consumer *consumer,
                                 const Declarations *declarations) {
        bool by_socket;
        const char *name;
        const Declaration *declaration;

        if (!consumer->path || strchr(consumer->path, '%') || strchr(consumer->id, '%'))
                return CONSUMER_FINE; /* only the service manager can resolve a specifier */
        by_socket = consumer_asks_socket(consumer);
        if (!by_socket && strncmp(consumer->path, STORE, strlen(STORE)) != 0)
                return CONSUMER_NOWHERE;
        name = by_socket ? consumer->id : consumer->path + strlen(STORE);
        if (!by_socket && *name == '\0')
                return CONSUMER_FINE; /* loads the whole directory */

        declaration = declarations_find(declarations, name);
        if (!declaration)
                return CONSUMER_UNDECLARED;
        if (by_socket && !is_named(declaration, consumer->unit))
                return CONSUMER_REFUSED;
        if (!by_socket && !declaration->store)
                return CONSUMER_NOT_STORED;
        return has_fallback(consumers, consumer) ? CONSUMER_FALLBACK : CONSUMER_FINE;
}

const char *consumer_mistake_meaning(ConsumerMistake mistake) {
        switch (mistake) {
        case CONSUMER_FINE:
                return "The secret is declared.";
        case CONSUMER_UNDECLARED:
                return "No secret of this name is declared, so the unit cannot start (243/CREDENTIALS). Declare it in secrets.d/.";
        case CONSUMER_REFUSED:
                return "Units= of the secret does not name this unit, so unseald refuses it. Add it to Units= of the secret.";
        case CONSUMER_NOT_STORED:
                return "The secret has Store=no and is not in the store. Load it from " SOCKET ".";
        case CONSUMER_NOWHERE:
                return "unseald puts nothing at this path. Load it from " SOCKET " or " STORE "NAME.";
        case CONSUMER_FALLBACK:
                return "SetCredential= of the same ID silently replaces the secret if it is missing. Remove one of them.";
        }
        return "unknown";
}
