/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/nearest.h"
#include "unsealctl/check/consumers.h"

#define ROOT "/run/unseald"
#define STORE ROOT "/credentials"
#define SOCKET ROOT "/credentials.sock"

static void consumer_clear(Consumer *consumer) {
        free(consumer->unit);
        free(consumer->id);
        free(consumer->path);
        free(consumer->key);
        free(consumer->file);
        *consumer = (Consumer){};
}

void consumers_clear(Consumers *consumers) {
        for (size_t i = 0; i < consumers->count; i++)
                consumer_clear(consumers->items + i);
        free(consumers->items);
        *consumers = (Consumers){};
}

/* Returns whether the path is `directory` or below it. */
static bool is_below(const char *path, const char *directory) {
        size_t length = strlen(directory);

        return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Writes the path as the service manager understands it: %t is /run, and repeated and trailing slashes mean nothing. */
static char *simplify(const char *path, size_t length) {
        char *simple = malloc(length + strlen("/run") + 1), *end = simple;

        if (!simple)
                return NULL;
        if (length >= 2 && path[0] == '%' && path[1] == 't') {
                end = stpcpy(simple, "/run");
                path += 2;
                length -= 2;
        }
        if (length > strlen("/var/run/") && strncmp(path, "/var/run/", strlen("/var/run/")) == 0) {
                path += strlen("/var"); /* a link since systemd is there */
                length -= strlen("/var");
        }
        for (size_t i = 0; i < length; i++)
                if (path[i] != '/' || end == simple || end[-1] != '/')
                        *end++ = path[i];
        while (end > simple + 1 && end[-1] == '/')
                end--;
        *end = '\0';
        return simple;
}

/* Owns path and id from then on, also on failure. NULL for either is -ENOMEM if `complete` says that it was wanted. */
static int add(Consumers *consumers, const char *unit, const IniAssignment *line, ConsumerWay way, char *id,
               char *path) {
        Consumer consumer = {
                .unit = strdup(unit),
                .id = id,
                .path = path,
                .key = strdup(line->key),
                .file = strdup(line->file),
                .line = line->line,
                .way = way,
        };
        bool has_path = way != CONSUMER_SET && way != CONSUMER_IMPORT;
        Consumer *items = reallocarray(consumers->items, consumers->count + 1, sizeof(*items));

        if (items)
                consumers->items = items;
        if (!items || !consumer.unit || !consumer.id || !consumer.key || !consumer.file ||
            (has_path && !consumer.path)) {
                consumer_clear(&consumer);
                return -ENOMEM;
        }
        items[consumers->count++] = consumer;
        return 0;
}

/* "/run/unsealed/credentials.sock": a mistyped directory of unseald. */
static bool is_near_root(const char *path) {
        const char *name = path + strlen("/run/");
        char directory[32];
        size_t length, best = SIZE_MAX;

        if (!is_below(path, "/run") || strlen(path) <= strlen("/run/"))
                return false;
        length = strcspn(name, "/");
        if (length >= sizeof(directory) ||
            strncmp(name + length, "/credentials", strlen("/credentials")) != 0)
                return false;
        (void) snprintf(directory, sizeof(directory), "%.*s", (int) length, name);
        return name_is_nearer(directory, "unseald", &best);
}

/* LoadCredential=ID:PATH. Paths of others are not kept. */
static int take_load(Consumers *consumers, const char *unit, const IniAssignment *line) {
        bool encrypted = strcmp(line->key, "LoadCredentialEncrypted") == 0;
        const char *colon = strchr(line->value, ':'), *source = colon ? colon + 1 : "";
        _cleanup_free_ char *path = simplify(source, strlen(source));
        size_t length = colon ? (size_t) (colon - line->value) : strlen(line->value);
        ConsumerWay way = encrypted ? CONSUMER_ENCRYPTED : CONSUMER_LOAD;

        if (!path)
                return -ENOMEM;
        if (path[0] == '%' ||
            (path[0] == '/' && !is_near_root(path) && (!is_below(path, ROOT) || strcmp(path, ROOT) == 0)))
                return 0;
        if (path[0] != '/')
                way = CONSUMER_RELATIVE;
        return add(consumers, unit, line, way, strndup(line->value, length), TAKE_PTR(path));
}

/* SetCredential=ID:VALUE, whose value is not kept. */
static int take_set(Consumers *consumers, const char *unit, const IniAssignment *line) {
        const char *colon = strchr(line->value, ':');

        return colon ? add(consumers, unit, line, CONSUMER_SET,
                           strndup(line->value, (size_t) (colon - line->value)), NULL)
                     : 0;
}

static int take_import(Consumers *consumers, const char *unit, const IniAssignment *line) {
        return add(consumers, unit, line, CONSUMER_IMPORT, strdup(line->value), NULL);
}

static int take_environment_file(Consumers *consumers, const char *unit, const IniAssignment *line) {
        const char *value = line->value + (line->value[0] == '-');
        _cleanup_free_ char *path = simplify(value, strlen(value));

        if (!path)
                return -ENOMEM;
        if (!is_below(path, STORE))
                return 0;
        return add(consumers, unit, line, CONSUMER_ENVIRONMENT, strdup(""), TAKE_PTR(path));
}

/* A command line or Environment= in which a path of the store occurs. */
static int take_direct(Consumers *consumers, const char *unit, const IniAssignment *line) {
        const char *path = strstr(line->value, STORE "/");
        size_t prefixes = strspn(line->value, "@-:+!|");
        int r;

        if (!path)
                return 0;
        r = add(consumers, unit, line, CONSUMER_DIRECT, strdup(""),
                simplify(path, strcspn(path, " \t\"',;:=)")));
        if (r >= 0 && strncmp(line->key, "Exec", 4) == 0)
                consumers->items[consumers->count - 1].as_root = memchr(line->value, '+', prefixes) != NULL;
        return r;
}

/* An empty assignment removes the ones before it. */
static void reset(Consumers *consumers, size_t first, const char *key) {
        size_t kept = first;

        for (size_t i = first; i < consumers->count; i++)
                if (strcmp(consumers->items[i].key, key) == 0)
                        consumer_clear(&consumers->items[i]);
                else
                        consumers->items[kept++] = consumers->items[i];
        consumers->count = kept;
}

int consumers_take(Consumers *consumers, const char *unit, const IniFile *lines) {
        static const struct {
                const char *key;
                int (*take)(Consumers *consumers, const char *unit, const IniAssignment *line);
        } keys[] = {
                { "LoadCredential", take_load },     { "LoadCredentialEncrypted", take_load },
                { "SetCredential", take_set },       { "SetCredentialEncrypted", take_set },
                { "ImportCredential", take_import }, { "EnvironmentFile", take_environment_file },
                { "Environment", take_direct },      { "ExecStart", take_direct },
                { "ExecStartPre", take_direct },     { "ExecStartPost", take_direct },
                { "ExecCondition", take_direct },    { "ExecReload", take_direct },
        };
        const char *section = unit_exec_section(unit);
        size_t first = consumers->count;

        for (size_t i = 0; i < lines->count; i++) {
                const IniAssignment *line = &lines->assignments[i];

                if (!section || strcmp(line->section, section) != 0)
                        continue; /* the service manager ignores it there */
                for (size_t j = 0; j < ELEMENTSOF(keys); j++) {
                        if (strcmp(line->key, keys[j].key) != 0)
                                continue;
                        if (line->value[0] == '\0')
                                reset(consumers, first, line->key);
                        else if (keys[j].take(consumers, unit, line) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

int consumers_of(const UnitTree *tree, Consumers *ret) {
        Consumers consumers = {};

        for (size_t i = 0; i < tree->count; i++) {
                const Unit *unit = &tree->items[i];

                if (unit->masked || unit->alias_of)
                        continue;
                if (consumers_take(&consumers, unit->name, unit->lines) < 0) {
                        consumers_clear(&consumers);
                        return -ENOMEM;
                }
        }
        *ret = consumers;
        return 0;
}

/* Returns whether Units= admits the unit, or an instance of it if it is a template. */
static bool is_named(const Declaration *declaration, const char *unit) {
        const char *at = strchr(unit, '@');

        if (declaration_admits(declaration, unit))
                return true;
        for (char **name = declaration->units; unit_name_is_template(unit) && *name; name++)
                if (strncmp(*name, unit, (size_t) (at + 1 - unit)) == 0)
                        return true;
        return false;
}

bool consumer_asks_socket(const Consumer *consumer) {
        return consumer->way == CONSUMER_LOAD && strcmp(consumer->path, SOCKET) == 0;
}

bool consumer_reads_store(const Consumer *consumer) {
        return (consumer->way == CONSUMER_LOAD || consumer->way == CONSUMER_ENVIRONMENT ||
                consumer->way == CONSUMER_DIRECT) &&
               is_below(consumer->path, STORE);
}

/* Only the service manager can resolve a specifier or a variable. */
static bool is_known(const char *text) {
        return text[0] != '\0' && !strpbrk(text, "%$*?[{");
}

const char *consumer_secret(const Consumer *consumer) {
        const char *name = NULL;

        switch (consumer->way) {
        case CONSUMER_LOAD:
        case CONSUMER_ENVIRONMENT:
        case CONSUMER_DIRECT:
                if (consumer_asks_socket(consumer))
                        name = consumer->id;
                else if (is_below(consumer->path, STORE) && consumer->path[strlen(STORE)] == '/')
                        name = consumer->path + strlen(STORE "/");
                break;
        case CONSUMER_RELATIVE:
                name = consumer->path[0] != '\0' ? consumer->path : consumer->id;
                break;
        case CONSUMER_ENCRYPTED:
        case CONSUMER_SET:
        case CONSUMER_IMPORT:
                name = consumer->id;
                break;
        }
        return name && is_known(name) ? name : NULL;
}

static const Consumer *beside(const Consumers *consumers, const Consumer *consumer, ConsumerWay way) {
        for (size_t i = 0; i < consumers->count; i++) {
                const Consumer *other = consumers->items + i;

                if (other->way == way && strcmp(other->unit, consumer->unit) == 0 &&
                    strcmp(other->id, consumer->id) == 0)
                        return other;
        }
        return NULL;
}

/* A unit that has to do with unseald elsewhere, too. */
static bool is_of_unseald(const Consumers *consumers, const Consumer *consumer,
                          const Declarations *declarations) {
        const Declaration *credential;

        for (size_t i = 0; i < consumers->count; i++)
                if ((consumers->items[i].way == CONSUMER_LOAD ||
                     consumer_reads_store(&consumers->items[i])) &&
                    strcmp(consumers->items[i].unit, consumer->unit) == 0)
                        return true;
        for (CredentialIterator at = {}; (credential = declarations_next_credential(declarations, &at));)
                for (char **unit = credential->units; unit && *unit; unit++)
                        if (strcmp(*unit, consumer->unit) == 0)
                                return true;
        return false;
}

/* A pattern counts only in a unit of unseald: "ImportCredential=journal.*" of another unit has nothing to do with a secret "journal.a". */
static ConsumerMistake judge_import(const Consumers *consumers, const Consumer *consumer,
                                    const Declarations *declarations) {
        bool pattern = strpbrk(consumer->id, "*?[") != NULL;
        const Declaration *credential;

        if (pattern && !is_of_unseald(consumers, consumer, declarations))
                return CONSUMER_FINE;
        for (CredentialIterator at = {}; (credential = declarations_next_credential(declarations, &at));) {
                const Consumer wanted = { .unit = consumer->unit, .id = credential->name };

                if (fnmatch(consumer->id, wanted.id, 0) == 0 && !beside(consumers, &wanted, CONSUMER_LOAD))
                        return CONSUMER_NOT_IMPORTED;
        }
        return CONSUMER_FINE;
}

static ConsumerMistake judge_relative(const Consumers *consumers, const Consumer *consumer,
                                      const Declarations *declarations) {
        const char *name = consumer_secret(consumer);

        if (!name || beside(consumers, consumer, CONSUMER_LOAD))
                return CONSUMER_FINE;
        return declarations_find_credential(declarations, name) ||
                                               declarations_find_credential(declarations, consumer->id)
                               ? CONSUMER_NOT_ABSOLUTE
                               : CONSUMER_FINE;
}

static ConsumerMistake judge_load(const Consumers *consumers, const Consumer *consumer,
                                  const Declarations *declarations) {
        bool by_socket = consumer_asks_socket(consumer);
        const Declaration *declaration;
        const char *name;

        if (strpbrk(consumer->path, "%$") || (by_socket && strchr(consumer->id, '%')))
                return CONSUMER_FINE;
        if (!by_socket && !is_below(consumer->path, STORE))
                return CONSUMER_NOWHERE;
        name = consumer_secret(consumer);
        if (!name)
                return CONSUMER_FINE; /* loads the whole directory */
        declaration = declarations_find_credential(declarations, name);
        if (!declaration)
                return declarations_find(declarations, name) ? CONSUMER_WHOLE_BUNDLE : CONSUMER_UNDECLARED;
        if (by_socket && !is_named(declaration, consumer->unit))
                return CONSUMER_REFUSED;
        if (!by_socket && !declaration->store)
                return CONSUMER_NOT_STORED;
        return consumer->way == CONSUMER_LOAD && beside(consumers, consumer, CONSUMER_SET)
                               ? CONSUMER_FALLBACK
                               : CONSUMER_FINE;
}

ConsumerMistake consumer_mistake(const Consumers *consumers, const Consumer *consumer,
                                 const Declarations *declarations) {
        switch (consumer->way) {
        case CONSUMER_LOAD:
        case CONSUMER_ENVIRONMENT:
        case CONSUMER_DIRECT:
                return judge_load(consumers, consumer, declarations);
        case CONSUMER_RELATIVE:
                return judge_relative(consumers, consumer, declarations);
        case CONSUMER_ENCRYPTED:
                return CONSUMER_NOT_ENCRYPTED;
        case CONSUMER_IMPORT:
                return judge_import(consumers, consumer, declarations);
        case CONSUMER_SET:
                return CONSUMER_FINE;
        }
        return CONSUMER_FINE;
}

static const struct {
        const char *id, *meaning, *cure;
} mistakes[] = {
        [CONSUMER_FINE] = { "fine", "The secret is declared.", "" },
        [CONSUMER_UNDECLARED] = { "credential-undeclared",
                                  "No secret of this name is declared, so the unit cannot start (243/CREDENTIALS). Declare it in secrets.d/.",
                                  "Declare the secret in secrets.d/, or correct its name. At the credential socket, the ID is the name of the secret." },
        [CONSUMER_WHOLE_BUNDLE] = { "credential-bundle",
                                    "It is a bundle (Format=bundle), and units get its members, so the unit cannot start (243/CREDENTIALS). Load NAME.MEMBER.",
                                    "Load the credential NAME.MEMBER, as declared in [Member MEMBER]." },
        [CONSUMER_REFUSED] = { "credential-refused",
                               "Units= of the secret does not name this unit, so unseald refuses it. Add it to Units= of the secret.",
                               "Add the unit to Units= of the secret." },
        [CONSUMER_NOT_STORED] = { "credential-not-stored",
                                  "The secret has Store=no and is not in the store. Load it from " SOCKET
                                  ".",
                                  "Load the secret from " SOCKET ", or set Store=yes." },
        [CONSUMER_NOWHERE] = { "credential-nowhere",
                               "unseald puts nothing at this path. Load it from " SOCKET " or " STORE
                               "/NAME.",
                               "Load the secret from " SOCKET " or " STORE "/NAME." },
        [CONSUMER_FALLBACK] = { "credential-fallback",
                                "SetCredential= of the same ID silently replaces the secret if it is missing. Remove one of them.",
                                "Remove SetCredential=." },
        [CONSUMER_NOT_ABSOLUTE] = { "credential-relative",
                                    "Its source is not an absolute path, so it is looked for among the credentials of the machine, and the unit starts without the secret. Load it from " SOCKET
                                    " or " STORE "/NAME.",
                                    "Give LoadCredential= the path " SOCKET " or " STORE "/NAME." },
        [CONSUMER_NOT_ENCRYPTED] = { "credential-encrypted",
                                     "The service manager would decrypt it, and unseald has already done so: the unit cannot start (243/CREDENTIALS). Use LoadCredential=.",
                                     "Use LoadCredential= in place of LoadCredentialEncrypted=." },
        [CONSUMER_NOT_IMPORTED] = { "credential-import",
                                    "ImportCredential= finds only credentials of the machine, never those of unseald, and the unit starts without the secret. Use LoadCredential= with a path.",
                                    "Use LoadCredential=NAME:" SOCKET " or LoadCredential=NAME:" STORE
                                    "/NAME." },
};

const char *consumer_mistake_meaning(ConsumerMistake mistake) {
        return mistakes[mistake].meaning;
}

const char *consumer_mistake_id(ConsumerMistake mistake) {
        return mistakes[mistake].id;
}

const char *consumer_mistake_cure(ConsumerMistake mistake) {
        return mistakes[mistake].cure;
}
