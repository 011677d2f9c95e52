/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/io.h"
#include "unsealctl/check/unit-tree.h"

#define UNIT_FILE_MAX (256U * 1024U)
#define ALIASES_MAX 8 /* links that are followed from one name */

DEFINE_CLEANUP(DIR *, closedir);

const char *const unit_directories[] = {
        "/etc/systemd/system.control",
        "/run/systemd/system.control",
        "/run/systemd/transient",
        "/run/systemd/generator.early",
        "/etc/systemd/system",
        "/etc/systemd/system.attached",
        "/run/systemd/system",
        "/run/systemd/system.attached",
        "/run/systemd/generator",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/run/systemd/generator.late",
        "/run/containers/systemd",
        "/etc/containers/systemd",
        "/usr/share/containers/systemd",
        NULL,
};

/* A directory that adds to a unit: NAME.d/, NAME.wants/ and so on. */
static const struct {
        const char *suffix, *key;
} link_directories[] = {
        { ".wants", "Wants" },
        { ".requires", "Requires" },
        { ".upholds", "Upholds" },
};

void unit_tree_clear(UnitTree *tree) {
        for (size_t i = 0; i < tree->count; i++) {
                free(tree->items[i].name);
                free(tree->items[i].path);
                free(tree->items[i].alias_of);
                ini_free(tree->items[i].lines);
        }
        free(tree->items);
        *tree = (UnitTree){};
}

bool unit_name_ends_in(const char *name, const char *end) {
        size_t length = strlen(name), wanted = strlen(end);

        return length > wanted && strcmp(name + length - wanted, end) == 0;
}

bool unit_name_has_type(const char *name) {
        static const char *const types[] = { ".service",   ".socket", ".target", ".mount",
                                             ".automount", ".swap",   ".timer",  ".path",
                                             ".slice",     ".scope",  ".device" };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (unit_name_ends_in(name, types[i]))
                        return true;
        return false;
}

const char *unit_exec_section(const char *name) {
        static const struct {
                const char *type, *section;
        } sections[] = { { ".service", "Service" },
                         { ".socket", "Socket" },
                         { ".mount", "Mount" },
                         { ".swap", "Swap" } };

        for (size_t i = 0; i < ELEMENTSOF(sections); i++)
                if (unit_name_ends_in(name, sections[i].type))
                        return sections[i].section;
        return NULL;
}

bool unit_name_is_template(const char *name) {
        const char *at = strchr(name, '@');

        return at && at[1] == '.' && !strchr(at + 2, '.');
}

int unit_name_template(const char *name, char **ret) {
        const char *at = strchr(name, '@'), *type = strrchr(name, '.');

        *ret = NULL;
        if (!at || !type || type <= at + 1)
                return 0;
        return asprintf(ret, "%.*s%s", (int) (at + 1 - name), name, type) < 0 ? -ENOMEM : 0;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(((const Unit *) a)->name, ((const Unit *) b)->name);
}

void unit_tree_sort(UnitTree *tree) {
        if (tree->count > 0)
                qsort(tree->items, tree->count, sizeof(*tree->items), compare_names);
}

const Unit *unit_tree_find(const UnitTree *tree, const char *name) {
        const Unit wanted = { .name = (char *) name };

        return tree->count > 0 ? bsearch(&wanted, tree->items, tree->count, sizeof(wanted), compare_names)
                               : NULL;
}

/* The tree need not be sorted. The unit is added if it is not there. */
static Unit *unit_tree_take(UnitTree *tree, const char *name) {
        Unit *items;

        for (size_t i = tree->count; i > 0; i--)
                if (strcmp(tree->items[i - 1].name, name) == 0)
                        return &tree->items[i - 1];
        items = reallocarray(tree->items, tree->count + 1, sizeof(*items));
        if (!items)
                return NULL;
        tree->items = items;
        items[tree->count] = (Unit){ .name = strdup(name), .lines = calloc(1, sizeof(IniFile)) };
        if (!items[tree->count].name || !items[tree->count].lines) {
                free(items[tree->count].name);
                free(items[tree->count].lines);
                return NULL;
        }
        return &items[tree->count++];
}

int unit_tree_add(UnitTree *tree, const char *name, const char *path, const char *text, size_t size) {
        Unit *unit = unit_tree_take(tree, name);

        if (!unit)
                return -ENOMEM;
        if (path && !unit->path && !(unit->path = strdup(path)))
                return -ENOMEM;
        return ini_parse_leniently(path ?: name, text, size, unit->lines);
}

int unit_tree_canonical(const UnitTree *tree, const char *name, char **ret) {
        _cleanup_free_ char *current = strdup(name);

        for (unsigned i = 0; current && i < ALIASES_MAX; i++) {
                const Unit *unit = unit_tree_find(tree, current);
                _cleanup_free_ char *template = NULL, *next = NULL;

                if (unit && unit->alias_of)
                        next = strdup(unit->alias_of);
                else {
                        if (unit_name_template(current, &template) < 0)
                                return -ENOMEM;
                        unit = template && !(unit && unit->path) ? unit_tree_find(tree, template) : NULL;
                        if (!unit || !unit->alias_of)
                                break;
                        /* The alias of a template keeps the instance. */
                        const char *to = strchr(unit->alias_of, '@');
                        if (!to || !unit_name_is_template(unit->alias_of))
                                next = strdup(unit->alias_of);
                        else if (asprintf(&next, "%.*s%s", (int) (to + 1 - unit->alias_of), unit->alias_of,
                                          strchr(current, '@') + 1) < 0)
                                next = NULL;
                }
                if (!next)
                        return -ENOMEM;
                free(current);
                current = TAKE_PTR(next);
        }
        *ret = TAKE_PTR(current);
        return *ret ? 0 : -ENOMEM;
}

void unit_tree_out_of_memory(void) {
        fputs("unsealctl: Out of memory.\n", stderr);
        exit(EXIT_FAILURE);
}

const Unit *unit_tree_resolve(const UnitTree *tree, const char *name) {
        _cleanup_free_ char *canonical = NULL, *template = NULL;
        const Unit *unit;

        if (unit_tree_canonical(tree, name, &canonical) < 0 || unit_name_template(canonical, &template) < 0)
                unit_tree_out_of_memory();
        unit = unit_tree_find(tree, canonical);
        if (template && (!unit || (!unit->path && !unit->masked)))
                unit = unit_tree_find(tree, template);
        return unit && unit->path && !unit->masked ? unit : NULL;
}

const IniAssignment *unit_setting(const Unit *unit, const char *section, const char *key) {
        const IniAssignment *line = ini_find(unit->lines, section, key);

        return line && line->value[0] != '\0' ? line : NULL;
}

/* The service that Quadlet's generator makes of NAME.container. */
static int unit_of_file(const char *file, char **ret) {
        *ret = NULL;
        if (unit_name_ends_in(file, ".container"))
                return asprintf(ret, "%.*s.service", (int) (strlen(file) - strlen(".container")), file) < 0
                                       ? -ENOMEM
                                       : 0;
        if (!unit_name_has_type(file))
                return 0;
        *ret = strdup(file);
        return *ret ? 0 : -ENOMEM;
}

/* Returns whether the path is a link to /dev/null, which need not be there in the system of --root=. */
static bool is_null(const char *path) {
        char target[sizeof("/dev/null") + 1];

        return readlink(path, target, sizeof(target)) == (ssize_t) strlen("/dev/null") &&
               memcmp(target, "/dev/null", strlen("/dev/null")) == 0;
}

/* A link to a file of another name is an alias of that unit. */
static int read_alias(const char *path, const char *name, char **ret) {
        char target[PATH_MAX];
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        const char *slash;

        *ret = NULL;
        if (length < 0)
                return 0;
        target[length] = '\0';
        slash = strrchr(target, '/');
        slash = slash ? slash + 1 : target;
        if (strcmp(slash, name) == 0 || !unit_name_has_type(slash))
                return 0;
        *ret = strdup(slash);
        return *ret ? 0 : -ENOMEM;
}

static int take_file(UnitTree *tree, const char *path, const char *file) {
        _cleanup_free_ char *name = NULL, *alias = NULL;
        struct stat st = {};
        Unit *unit;

        if (unit_of_file(file, &name) < 0 || (name && read_alias(path, name, &alias) < 0))
                return -ENOMEM;
        if (!name || (!alias && !is_null(path) && stat(path, &st) < 0))
                return 0;
        unit = unit_tree_take(tree, name);
        if (!unit)
                return -ENOMEM;
        if (unit->path || unit->masked || unit->alias_of)
                return 0; /* hidden by a file of the same name in an earlier directory */
        if (alias)
                unit->alias_of = TAKE_PTR(alias);
        else if (!S_ISREG(st.st_mode) || st.st_size == 0)
                unit->masked = true;
        else if (!(unit->path = strdup(path)))
                return -ENOMEM;
        return 0;
}

/* NAME.wants/ and so on. A link to /dev/null hides the link of the same name in later directories. */
static int take_links(UnitTree *tree, const char *path, const char *of, const char *key) {
        _cleanup_(closedirp) DIR *stream = opendir(path);
        const struct dirent *entry;

        while (stream && (entry = readdir(stream))) {
                _cleanup_free_ char *text = NULL, *link = NULL;
                Unit *unit;

                if (!unit_name_has_type(entry->d_name))
                        continue;
                if (asprintf(&link, "%s/%s", path, entry->d_name) < 0 ||
                    asprintf(&text, "[Unit]\n%s=%s\n", key, entry->d_name) < 0)
                        return -ENOMEM;
                if (is_null(link))
                        continue;
                unit = unit_tree_take(tree, of);
                /* An instance that is started counts as a unit of its own. */
                if (!unit || !unit_tree_take(tree, entry->d_name) ||
                    unit_tree_add(tree, of, NULL, text, strlen(text)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Notes the units of a directory, and the names of the directories with drop-ins. */
static int list_directory(UnitTree *tree, const char *directory, char ***drop_ins) {
        _cleanup_(closedirp) DIR *stream = opendir(directory);
        const struct dirent *entry;
        int r = 0;

        while (r >= 0 && stream && (entry = readdir(stream))) {
                _cleanup_free_ char *path = NULL, *of = NULL;

                if (asprintf(&path, "%s/%s", directory, entry->d_name) < 0)
                        return -ENOMEM;
                if (unit_name_ends_in(entry->d_name, ".d")) {
                        r = strings_take(drop_ins, TAKE_PTR(path));
                        of = strndup(entry->d_name, strlen(entry->d_name) - strlen(".d"));
                        if (!of)
                                return -ENOMEM;
                        /* Its file may be a generator's. "a-.service.d" is for all units that begin with "a-". */
                        if (r >= 0 && unit_name_has_type(of) && strrchr(of, '.')[-1] != '-' &&
                            !unit_tree_take(tree, of))
                                r = -ENOMEM;
                        continue;
                }
                for (size_t i = 0; r >= 0 && i < ELEMENTSOF(link_directories); i++)
                        if (unit_name_ends_in(entry->d_name, link_directories[i].suffix)) {
                                of = strndup(entry->d_name,
                                             strlen(entry->d_name) - strlen(link_directories[i].suffix));
                                if (!of)
                                        r = -ENOMEM;
                                else if (unit_name_has_type(of)) /* systemd passes over others, too */
                                        r = take_links(tree, path, of, link_directories[i].key);
                                break;
                        }
                if (r >= 0)
                        r = take_file(tree, path, entry->d_name);
        }
        return r;
}

static int add_file(UnitTree *tree, Unit *unit, const char *path) {
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;
        int r = read_file(path, UNIT_FILE_MAX, &text, &size);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        if (size > UNIT_TREE_TEXT_MAX - tree->text)
                return -E2BIG;
        tree->text += size;
        return ini_parse_leniently(path, (const char *) text, size, unit->lines);
}

/* Adds the files of DIRECTORY/OWNER.d that no file of the same name in an earlier directory hides. */
static int list_drop_ins(char **drop_ins, const char *owner, char ***files) {
        _cleanup_free_ char *wanted = NULL;

        if (asprintf(&wanted, "/%s.d", owner) < 0)
                return -ENOMEM;
        for (char **directory = drop_ins; directory && *directory; directory++) {
                _cleanup_(closedirp) DIR *stream =
                                unit_name_ends_in(*directory, wanted) ? opendir(*directory) : NULL;
                const struct dirent *entry;

                while (stream && (entry = readdir(stream))) {
                        _cleanup_free_ char *path = NULL;
                        bool hidden = !unit_name_ends_in(entry->d_name, ".conf");

                        for (char **other = *files; !hidden && other && *other; other++)
                                hidden = strcmp(strrchr(*other, '/') + 1, entry->d_name) == 0;
                        if (hidden)
                                continue;
                        if (asprintf(&path, "%s/%s", *directory, entry->d_name) < 0 ||
                            strings_take(files, TAKE_PTR(path)) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

static int compare_file_names(const void *a, const void *b) {
        return strcmp(strrchr(*(char *const *) a, '/'), strrchr(*(char *const *) b, '/'));
}

/* The names whose .d/ directories count for the unit: its own, its aliases', its template's, "a-b-" and "a-" of "a-b-c", and its type. */
static int drop_in_owners(const UnitTree *tree, const Unit *unit, char ***ret) {
        _cleanup_strings_ char **owners = NULL;
        const char *type = strrchr(unit->name, '.');
        char *template = NULL;

        if (strings_take(&owners, strdup(unit->name)) < 0 || unit_name_template(unit->name, &template) < 0 ||
            (template && strings_take(&owners, template) < 0))
                return -ENOMEM;
        if (unit->path && unit_name_ends_in(unit->path, ".container")) {
                char *container = NULL;

                if (asprintf(&container, "%.*s.container", (int) (type - unit->name), unit->name) < 0 ||
                    strings_take(&owners, container) < 0)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < tree->count; i++)
                if (tree->items[i].alias_of && strcmp(tree->items[i].alias_of, unit->name) == 0 &&
                    strings_take(&owners, strdup(tree->items[i].name)) < 0)
                        return -ENOMEM;
        for (const char *dash = type; dash > unit->name; dash--) {
                char *prefix = NULL;

                if (dash[-1] != '-')
                        continue;
                if (asprintf(&prefix, "%.*s%s", (int) (dash - unit->name), unit->name, type) < 0 ||
                    strings_take(&owners, prefix) < 0)
                        return -ENOMEM;
        }
        if (strings_take(&owners, strdup(type + 1)) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(owners);
        return 0;
}

static int read_unit(UnitTree *tree, Unit *unit, char **drop_ins) {
        _cleanup_strings_ char **files = NULL, **owners = NULL;
        _cleanup_ini_ IniFile *links = unit->lines;
        _cleanup_free_ char *template = NULL;
        const Unit *original = unit;
        int r;

        unit->lines = calloc(1, sizeof(IniFile));
        r = unit->lines ? unit_name_template(unit->name, &template) : -ENOMEM;
        if (r >= 0 && template && !unit->path && !unit->masked)
                original = unit_tree_find(tree, template);
        if (r >= 0 && original && original->path)
                r = add_file(tree, unit, original->path);
        if (r >= 0 && original && !original->masked && !original->alias_of)
                r = drop_in_owners(tree, unit, &owners);
        for (char **owner = owners; r >= 0 && owner && *owner; owner++)
                r = list_drop_ins(drop_ins, *owner, &files);
        if (files)
                qsort(files, strings_count(files), sizeof(char *), compare_file_names);
        for (char **file = files; r >= 0 && file && *file; file++)
                r = add_file(tree, unit, *file);
        if (r >= 0 && original && original != unit && original->path && !unit->path)
                r = (unit->path = strdup(original->path)) ? 0 : -ENOMEM;
        return r < 0 ? r : ini_append(unit->lines, links);
}

int unit_tree_read(const char *const *directories, UnitTree *ret) {
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        _cleanup_strings_ char **drop_ins = NULL;
        int r = 0;

        for (size_t i = 0; r >= 0 && directories[i]; i++)
                r = list_directory(&tree, directories[i], &drop_ins);
        unit_tree_sort(&tree);
        for (size_t i = 0; r >= 0 && i < tree.count; i++)
                r = read_unit(&tree, &tree.items[i], drop_ins);
        if (r < 0)
                return r;
        *ret = TAKE(tree, (UnitTree){});
        return 0;
}
