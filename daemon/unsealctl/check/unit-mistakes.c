/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/nearest.h"
#include "config/volume-units.h"
#include "unsealctl/check/consumers.h"
#include "unsealctl/check/finding.h"
#include "unsealctl/check/unit-graph.h"
#include "unsealctl/check/unit-mistakes.h"

#define TARGET "unsealed.target"
#define LATE_TARGET "unsealed-late.target"
#define SERVICE "unseald.service"
#define SOCKET "unseald.socket"
#define ORDER_CURE \
        "Add Wants=unsealed.target and After=unsealed.target to [Unit], or load the secret from the credential socket."

typedef struct Check {
        const UnitTree *tree;
        const Declarations *declarations;
        const Volumes *volumes; /* NULL: none */
        Consumers consumers;
        UnitGraph *graph;
        Remarks *remarks;
        int r;
} Check;

_printf_(6, 7) static void tell(Check *check, Severity severity, const char *id, const char *cure,
                                const Place *place, const char *format, ...) {
        char text[640];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        if (finding_add(check->remarks, severity, id, cure, place, "%s", text) < 0)
                check->r = -ENOMEM;
}

static Place place_of_line(const Unit *unit, const IniAssignment *line) {
        return (Place){ .file = line->file, .line = line->line, .key = line->key, .unit = unit->name };
}

static Place place_of_consumer(const Consumer *consumer) {
        return (Place){ .file = consumer->file,
                        .line = consumer->line,
                        .key = consumer->key,
                        .unit = consumer->unit,
                        .secret = consumer_secret(consumer) };
}

/* Returns whether a list setting contains the word. */
static bool has_word(const IniAssignment *line, const char *word) {
        _cleanup_strings_ char **words = NULL;

        if (ini_words(line, &words, NULL) < 0)
                return false;
        for (char **other = words; *other; other++)
                if (strcmp(*other, word) == 0)
                        return true;
        return false;
}

static bool is_true(const Unit *unit, const char *section, const char *key) {
        const IniAssignment *line = unit_setting(unit, section, key);
        bool value = false;

        return line && ini_boolean(line, &value, NULL) >= 0 && value;
}

/* Returns whether the line overrides an earlier one of the same file. In a drop-in that is intended. */
static bool is_overridden(const Consumers *consumers, const Consumer *consumer) {
        for (size_t i = 0; i < consumers->count; i++) {
                const Consumer *other = &consumers->items[i];

                if (consumer->way == CONSUMER_LOAD && other->way == CONSUMER_LOAD &&
                    other->line < consumer->line && strcmp(other->file, consumer->file) == 0 &&
                    strcmp(other->unit, consumer->unit) == 0 && strcmp(other->id, consumer->id) == 0 &&
                    strcmp(other->path, consumer->path) != 0)
                        return true;
        }
        return false;
}

int check_length(const char *unit, const char *id, const IniAssignment *line, const char *secret,
                 Remarks *remarks) {
        const Place place = {
                .file = line->file, .line = line->line, .key = line->key, .unit = unit, .secret = secret
        };
        size_t length = strlen(unit) + strlen(id);

        if (length <= CHECK_UNIT_AND_ID_MAX)
                return 0;
        return finding_add(
                        remarks, SEVERITY_MISTAKE, "names-too-long",
                        "Give the unit or the secret a shorter name, or load the secret from the store.",
                        &place,
                        "Expected no more than %u bytes in the names of unit and credential together, not %zu: with longer names %s cannot ask the credential socket for %s.",
                        CHECK_UNIT_AND_ID_MAX, length, unit, id);
}

/* Names the declared secret that a name which must be one stands for. Returns NULL if none is near. */
static const char *near_secret(const Check *check, const char *name) {
        const Declaration *credential;
        const char *near = NULL;
        size_t best = 3;

        for (CredentialIterator at = {};
             name && (credential = declarations_next_credential(check->declarations, &at));)
                if (name_distance(credential->name, name) < best) {
                        near = credential->name;
                        best = name_distance(near, name);
                }
        return near;
}

/* A credential without an absolute path may be one of the machine, so its name must be very near to that of a secret. */
static void check_relative(Check *check, const Consumer *consumer) {
        const Place place = place_of_consumer(consumer);
        const char *name = consumer_secret(consumer), *near = NULL;
        const Declaration *credential;
        size_t best = SIZE_MAX;

        if (consumer->way != CONSUMER_RELATIVE || !name ||
            consumer_mistake(&check->consumers, consumer, check->declarations) != CONSUMER_FINE)
                return;
        for (size_t i = 0; i < check->consumers.count; i++)
                if (check->consumers.items[i].way == CONSUMER_LOAD &&
                    strcmp(check->consumers.items[i].unit, consumer->unit) == 0 &&
                    strcmp(check->consumers.items[i].id, consumer->id) == 0)
                        return;
        for (CredentialIterator at = {};
             (credential = declarations_next_credential(check->declarations, &at));)
                if (name_is_nearer(name, credential->name, &best))
                        near = credential->name;
        if (near)
                tell(check, SEVERITY_WARNING, "credential-relative",
                     consumer_mistake_cure(CONSUMER_NOT_ABSOLUTE), &place,
                     "Credential %s: Its source is not an absolute path, so unseald is not asked. The nearest declared secret is %s. If it is meant, write LoadCredential=%s:/run/unseald/credentials.sock.",
                     consumer->id, near, near);
}

static void check_mistake(Check *check, const Consumer *consumer) {
        ConsumerMistake mistake = consumer_mistake(&check->consumers, consumer, check->declarations);
        const char *near = mistake == CONSUMER_UNDECLARED ? near_secret(check, consumer_secret(consumer))
                                                          : NULL;
        const Place place = place_of_consumer(consumer);
        char subject[512];

        if (mistake == CONSUMER_FINE)
                return;
        if (consumer->way == CONSUMER_ENVIRONMENT || consumer->way == CONSUMER_DIRECT)
                (void) snprintf(subject, sizeof(subject), "File %s", consumer->path);
        else
                (void) snprintf(subject, sizeof(subject), "Credential %s%s%s", consumer->id,
                                consumer->path && consumer->path[0] ? " from " : "", consumer->path ?: "");
        tell(check, SEVERITY_MISTAKE, consumer_mistake_id(mistake), consumer_mistake_cure(mistake), &place,
             "%s: %s%s%s%s", subject, consumer_mistake_meaning(mistake),
             near ? " The nearest declared name is " : "", near ?: "", near ? "." : "");
}

/* Returns whether the unit's user may read the secret's file in the store by itself. Unknown users count as such that may. */
static bool may_read(const Unit *unit, const char *section, const Declaration *declaration) {
        const IniAssignment *user = unit_setting(unit, section, "User"),
                            *group = unit_setting(unit, section, "Group");
        const char *owner = declaration->user ?: "root", *of_group = declaration->group ?: "root";

        if (!user || strspn(user->value, "0123456789") == strlen(user->value) || strchr(user->value, '%') ||
            strcmp(user->value, "root") == 0 || strcmp(user->value, owner) == 0)
                return true;
        if (!(declaration->mode & S_IRGRP))
                return false;
        if (strcmp(group ? group->value : user->value, of_group) == 0)
                return true;
        for (size_t i = 0; i < unit->lines->count; i++)
                if (strcmp(unit->lines->assignments[i].key, "SupplementaryGroups") == 0 &&
                    has_word(&unit->lines->assignments[i], of_group))
                        return true;
        return false;
}

/* A program that opens the store's file itself needs a static user that owns the file. */
static void check_direct(Check *check, const Unit *unit, const Consumer *consumer) {
        const char *name = consumer_secret(consumer);
        const Declaration *declaration =
                        name ? declarations_find_credential(check->declarations, name) : NULL;
        const Place place = place_of_consumer(consumer);

        if (consumer->way != CONSUMER_DIRECT || consumer->as_root || !declaration)
                return;
        if (is_true(unit, "Service", "DynamicUser"))
                tell(check, SEVERITY_MISTAKE, "dynamic-user",
                     "Use LoadCredential= and %d/NAME, or a static User=.", &place,
                     "The unit has DynamicUser=yes, and no file of the store can belong to such a user: the program cannot read %s. Use LoadCredential= and %%d/%s, or a static User=.",
                     consumer->path, name);
        else if (!may_read(unit, "Service", declaration))
                tell(check, SEVERITY_MISTAKE, "store-unreadable",
                     "Use LoadCredential= and %d/NAME, or set User= or Group= with Mode=0440 of the secret.",
                     &place,
                     "The user %s of the unit may not read %s: it belongs to %s. Use LoadCredential= and %%d/%s, or set User= of the secret.",
                     unit_setting(unit, "Service", "User")->value, consumer->path,
                     declaration->user ?: "root", name);
}

static void check_consumer(Check *check, const Consumer *consumer) {
        const Unit *unit = unit_tree_resolve(check->tree, consumer->unit);
        const Place place = place_of_consumer(consumer);
        const IniAssignment line = { .file = consumer->file, .line = consumer->line, .key = consumer->key };

        check_mistake(check, consumer);
        check_relative(check, consumer);
        if (is_overridden(&check->consumers, consumer))
                tell(check, SEVERITY_MISTAKE, "credential-twice", "Remove one of the lines.", &place,
                     "Expected one line for credential %s: this line overrides an earlier one.",
                     consumer->id);
        if (consumer_asks_socket(consumer) && !strchr(consumer->id, '%') &&
            check_length(consumer->unit, consumer->id, &line, consumer->id, check->remarks) < 0)
                check->r = -ENOMEM;
        if (unit)
                check_direct(check, unit, consumer);
}

/* Finds a name of the setting that no unit has. near: the existing name that is meant. */
static const IniAssignment *find_missing(const Check *check, const Unit *unit, const char *key,
                                         size_t distance, bool of_unseald, char missing[static 256],
                                         const char **ret_near) {
        static const char *const own[] = { TARGET, LATE_TARGET, SERVICE, SOCKET };

        for (size_t i = 0; i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];
                _cleanup_strings_ char **words = NULL;

                if (strcmp(line->section, "Unit") != 0 || strcmp(line->key, key) != 0 ||
                    ini_words(line, &words, NULL) < 0)
                        continue;
                for (char **word = words; *word; word++) {
                        size_t best = distance + 1;

                        *ret_near = NULL;
                        if (strchr(*word, '%') || strlen(*word) > 255 ||
                            unit_tree_resolve(check->tree, *word))
                                continue;
                        for (size_t j = 0; j < ELEMENTSOF(own); j++)
                                if (name_distance(*word, own[j]) < best) {
                                        best = name_distance(*word, own[j]);
                                        *ret_near = own[j];
                                }
                        for (size_t j = 0; !of_unseald && j < check->tree->count; j++)
                                if (check->tree->items[j].path &&
                                    name_distance(*word, check->tree->items[j].name) < best) {
                                        best = name_distance(*word, check->tree->items[j].name);
                                        *ret_near = check->tree->items[j].name;
                                }
                        if (*ret_near && best > 0) {
                                (void) snprintf(missing, 256, "%s", *word);
                                return line;
                        }
                }
        }
        return NULL;
}

static const IniAssignment *find_word(const Unit *unit, const char *section, const char *key,
                                      const char *word) {
        for (size_t i = 0; i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];

                if ((!section || strcmp(line->section, section) == 0) && strcmp(line->key, key) == 0 &&
                    has_word(line, word))
                        return line;
        }
        return NULL;
}

static bool is_after_unseald(const Check *check, const char *unit, bool any) {
        return unit_graph_is_after(check->graph, unit, TARGET, any) ||
               unit_graph_is_after(check->graph, unit, LATE_TARGET, any) ||
               unit_graph_is_after(check->graph, unit, SERVICE, any);
}

static bool pulls_unseald(const Check *check, const char *unit) {
        return unit_graph_pulls(check->graph, unit, TARGET) ||
               unit_graph_pulls(check->graph, unit, LATE_TARGET) ||
               unit_graph_pulls(check->graph, unit, SERVICE);
}

/* Returns whether unsealed.target starts the unit, and no other target does. Such a unit needs no Wants=. */
static bool is_started_by_target(const Check *check, const char *unit) {
        return unit_graph_pulls(check->graph, TARGET, unit) &&
               !unit_graph_is_enabled(check->graph, unit, TARGET);
}

/* The unit reads the store, whose files must be there when it starts. place: of the line that reads it. */
static void check_order(Check *check, const Unit *unit, const Place *place) {
        static const char *const orders[] = { "After", "Wants", "Requires" };
        bool after = is_after_unseald(check, unit->name, false), pulls = pulls_unseald(check, unit->name);
        const IniAssignment *line = NULL;
        const char *near = NULL;
        char missing[256];

        for (size_t i = 0; !line && !(after && pulls) && i < ELEMENTSOF(orders); i++)
                if ((line = find_missing(check, unit, orders[i], 3, true, missing, &near))) {
                        const Place typo = place_of_line(unit, line);

                        tell(check, SEVERITY_MISTAKE, "unit-unknown", "Correct the name.", &typo,
                             "There is no unit \"%s\", so the line has no effect, and the unit may start before its secret is there. Expected %s.",
                             missing, near);
                }
        if (line || (is_after_unseald(check, unit->name, true) && is_started_by_target(check, unit->name)))
                return;
        for (size_t i = 0; i < ELEMENTSOF(orders); i++)
                if (!(after && pulls) && !find_word(unit, "Unit", orders[i], TARGET) &&
                    (line = find_word(unit, NULL, orders[i], TARGET))) {
                        const Place wrong = place_of_line(unit, line);

                        tell(check, SEVERITY_MISTAKE, "section-wrong", "Move the line to [Unit].", &wrong,
                             "The service manager ignores this setting in [%s]. Move it to [Unit].",
                             line->section);
                        return;
                }
        if (!after && !(is_after_unseald(check, unit->name, true) && !pulls))
                tell(check, SEVERITY_MISTAKE, "order-missing", ORDER_CURE, place,
                     "The unit is not ordered after unsealed.target, so it may start before its secret is there, and fail (243/CREDENTIALS). Add Wants=unsealed.target and After=unsealed.target, or load the secret from the credential socket.");
        else if (!after)
                tell(check, SEVERITY_MISTAKE, "wants-missing", "Add Wants=unsealed.target to [Unit].", place,
                     "Nothing starts unsealed.target together with the unit, so After= has no effect, and the unit may start before its secret is there. Add Wants=unsealed.target.");
        else if (!pulls)
                tell(check, SEVERITY_WARNING, "wants-missing", "Add Wants=unsealed.target to [Unit].", place,
                     "The unit does not start unsealed.target. It gets its secret only if another unit does. Add Wants=unsealed.target.");
}

/* The file of a late secret (Late=) comes after unsealed.target. */
static void check_late(Check *check, const Consumer *consumer) {
        const char *name = consumer_secret(consumer);
        const Declaration *declaration = name ? declarations_find(check->declarations, name) : NULL;
        const Place place = place_of_consumer(consumer);

        if (!consumer_reads_store(consumer) || !declaration || !declaration->late ||
            unit_graph_is_after(check->graph, consumer->unit, LATE_TARGET, true))
                return;
        tell(check, SEVERITY_MISTAKE, "late-order",
             "Add Wants=unsealed-late.target and After=unsealed-late.target to [Unit].", &place,
             "The secret %s is late (Late=), and the unit is not ordered after unsealed-late.target, so it may start before its secret is there. Add Wants=unsealed-late.target and After=unsealed-late.target.",
             name);
}

/* A socket consumer asks when it starts, and somebody must listen by then. */
static void check_socket_order(Check *check, const Unit *unit, const Place *place) {
        if (!unit_graph_has_boot(check->graph) || !unit_tree_resolve(check->tree, SOCKET) ||
            unit_graph_is_after(check->graph, unit->name, SOCKET, false))
                return;
        if (unit_graph_is_after(check->graph, unit->name, SOCKET, true))
                tell(check, SEVERITY_MISTAKE, "socket-not-enabled",
                     "Run 'systemctl enable unseald.socket' in the image.", place,
                     "unseald.socket is not enabled, so nobody may listen when the unit asks, and it fails (243/CREDENTIALS). Run 'systemctl enable unseald.socket' in the image.");
        else
                tell(check, SEVERITY_MISTAKE, "socket-order",
                     "Add Wants=unseald.socket and After=unseald.socket to [Unit].", place,
                     "The unit is not ordered after unseald.socket, so nobody may listen when it asks. Add Wants=unseald.socket and After=unseald.socket.");
}

/* unseald waits for the unit, and the unit for unseald. */
static void check_cycle(Check *check, const Unit *unit, const Place *place) {
        if (unit_graph_is_after(check->graph, SERVICE, unit->name, false))
                tell(check, SEVERITY_MISTAKE, "order-cycle", "Remove Before= of the unit.", place,
                     "unseald.service is ordered after the unit, which waits for unseald: neither can start. Remove Before= of the unit.");
}

static void check_requires(Check *check, const Unit *unit) {
        static const char *const keys[] = { "Requires", "Requisite", "BindsTo" }, *const names[] = {
                TARGET, SERVICE
        };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                for (size_t j = 0; j < ELEMENTSOF(names); j++) {
                        const IniAssignment *line = find_word(unit, "Unit", keys[i], names[j]);

                        if (!line)
                                continue;
                        const Place place = place_of_line(unit, line);

                        tell(check, SEVERITY_WARNING, "requires", "Use Wants=unsealed.target.", &place,
                             "A unit whose requirement has failed once is not started again, even when unseald recovers. Use Wants=%s.",
                             names[j]);
                }
}

static void check_names(Check *check, const Unit *unit) {
        static const char *const keys[] = { "After", "Wants", "Requires" };

        for (size_t i = 0; unit_graph_has_boot(check->graph) && i < ELEMENTSOF(keys); i++) {
                const char *near;
                char missing[256];
                const IniAssignment *line = find_missing(check, unit, keys[i], 2, false, missing, &near);

                if (!line)
                        continue;
                const Place place = place_of_line(unit, line);
                bool known = false;

                for (size_t j = 0; j < check->remarks->count; j++)
                        known |= check->remarks->items[j].id &&
                                 strcmp(check->remarks->items[j].id, "unit-unknown") == 0 &&
                                 strcmp(check->remarks->items[j].unit, unit->name) == 0;
                if (!known)
                        tell(check, SEVERITY_WARNING, "unit-unknown", "Correct the name, or remove it.",
                             &place,
                             "There is no unit \"%s\", so it has no effect here. The nearest name is %s.",
                             missing, near);
        }
}

static void check_environment_files(Check *check, const Unit *unit) {
        static const char *const beginnings[] = { "%d", "$CREDENTIALS_DIRECTORY", "${CREDENTIALS_DIRECTORY}",
                                                  "/run/credentials/" };

        for (size_t i = 0; i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];
                const char *value = line->value + (line->value[0] == '-');
                const Place place = place_of_line(unit, line);

                for (size_t j = 0; strcmp(line->key, "EnvironmentFile") == 0 && j < ELEMENTSOF(beginnings);
                     j++)
                        if (strncmp(value, beginnings[j], strlen(beginnings[j])) == 0)
                                tell(check, SEVERITY_MISTAKE, "environment-file",
                                     "Use EnvironmentFile=/run/unseald/credentials/NAME with Wants= and After=unsealed.target.",
                                     &place,
                                     "The service manager reads this file before it makes the directory of credentials, so it is never there. Use EnvironmentFile=/run/unseald/credentials/NAME.");
        }
}

/* The condition is examined once, when the unit is started (systemd.unit(5)). */
static void check_conditions(Check *check, const Unit *unit) {
        static const char *const keys[] = { "ConditionPathExists", "AssertPathExists",
                                            "ConditionFileNotEmpty", "AssertFileNotEmpty" },
                                 store[] = "/run/unseald/credentials/";

        for (size_t i = 0; i < unit->lines->count && !is_after_unseald(check, unit->name, false); i++) {
                const IniAssignment *line = &unit->lines->assignments[i];
                const char *path = line->value + strspn(line->value, "| ");
                const Place place = place_of_line(unit, line);

                for (size_t j = 0; j < ELEMENTSOF(keys); j++)
                        if (strcmp(line->section, "Unit") == 0 && strcmp(line->key, keys[j]) == 0 &&
                            strncmp(path, store, strlen(store)) == 0)
                                tell(check, SEVERITY_MISTAKE, "condition-order",
                                     "Add Wants= and After=unsealed.target, or remove the line.", &place,
                                     "The service manager looks for the file when it starts the unit, and the unit may be started before unseald has written it. Then it is not started again. Add Wants= and After=unsealed.target.");
        }
}

static void check_type(Check *check, const Unit *unit) {
        const IniAssignment *type = unit_setting(unit, "Service", "Type"),
                            *start = unit_setting(unit, "Service", "ExecStart");

        if (!start || unit_name_ends_in(unit->path, ".container") ||
            unit_setting(unit, "Service", "BusName") || (type && strcmp(type->value, "simple") != 0))
                return;
        const Place place = place_of_line(unit, type ?: start);

        tell(check, SEVERITY_ADVICE, "service-type", "Set Type=exec.", &place,
             "With Type=simple, \"systemctl start\" reports success although the secret may be missing and the unit fails right afterwards. Set Type=exec.");
}

static const Consumer *first_consumer(const Check *check, const Unit *unit,
                                      bool (*is_wanted)(const Consumer *consumer)) {
        for (size_t i = 0; i < check->consumers.count; i++)
                if (strcmp(check->consumers.items[i].unit, unit->name) == 0 &&
                    is_wanted(&check->consumers.items[i]))
                        return &check->consumers.items[i];
        return NULL;
}

static void check_unit(Check *check, const Unit *unit) {
        const Consumer *store = first_consumer(check, unit, consumer_reads_store);
        const Consumer *socket = first_consumer(check, unit, consumer_asks_socket);
        const Consumer *consumer = store ?: socket;

        if (!consumer)
                return;
        const Place place = place_of_consumer(consumer);
        const Place whole = { .file = unit->path, .unit = unit->name };

        if (store)
                check_order(check, unit, &place);
        else
                check_socket_order(check, unit, &place);
        check_cycle(check, unit, &place);
        check_requires(check, unit);
        check_names(check, unit);
        check_environment_files(check, unit);
        check_conditions(check, unit);
        check_type(check, unit);
        if (unit_graph_has_boot(check->graph) && !unit_graph_is_started(check->graph, unit->name))
                tell(check, SEVERITY_WARNING, "unit-not-enabled",
                     "Enable the unit, or start it by another unit that is enabled.", &whole,
                     "Nothing starts the unit: it is not enabled, and no unit that a boot starts wants or triggers it. Run 'systemctl enable' in the image.");
}

/* Lines that the service manager ignores, so that the unit starts without its secret. */
static void check_ignored_lines(Check *check, const Unit *unit) {
        const char *section = unit_exec_section(unit->name);

        for (size_t i = 0; i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];
                const Place place = place_of_line(unit, line);

                if (!strstr(line->value, "/run/unseald/"))
                        continue;
                if (strcmp(line->key, "LoadCredential") != 0 &&
                    name_distance(line->key, "LoadCredential") <= 3)
                        tell(check, SEVERITY_MISTAKE, "key-unknown", "Write LoadCredential=.", &place,
                             "The service manager does not know this setting and ignores the line, so the unit starts without the secret. Expected LoadCredential=.");
                else if (strcmp(line->key, "LoadCredential") == 0 &&
                         (!section || strcmp(line->section, section) != 0))
                        tell(check, SEVERITY_MISTAKE, "section-wrong",
                             "Move the line to the section of the unit's type.", &place,
                             "The service manager ignores this setting in [%s], so the unit starts without the secret. %s%s%s",
                             line->section,
                             section ? "Move it to [" : "Only services, sockets, mounts and swaps have it",
                             section ?: "", section ? "]." : ".");
        }
}

/* The units of unseald itself, in a whole system that uses it. */
static void check_own_units(Check *check) {
        static const char *const names[] = { SERVICE, TARGET, SOCKET };
        const Unit *service = unit_tree_resolve(check->tree, SERVICE);
        const Unit *own = unit_tree_find(check->tree, SERVICE);

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const Unit *unit = unit_tree_find(check->tree, names[i]);
                const Place place = { .file = names[i], .unit = names[i] };

                if (unit && unit->masked)
                        tell(check, SEVERITY_MISTAKE, "unit-masked", "Unmask the unit.", &place,
                             "The unit is masked, so no unit gets a secret. Run 'systemctl unmask %s' in the image.",
                             names[i]);
        }
        if (!unit_graph_has_boot(check->graph) || (own && own->masked))
                return;
        const Place whole = { .file = service ? service->path : SERVICE, .unit = SERVICE };

        if (!service)
                tell(check, SEVERITY_MISTAKE, "not-installed", "Install the package unseald.", &whole,
                     "There is no unseald.service in this system, so no unit gets a secret. Install unseald.");
        else if (!unit_graph_is_started(check->graph, SERVICE))
                tell(check, SEVERITY_MISTAKE, "service-not-enabled",
                     "Run 'systemctl enable unseald.service' in the image.", &whole,
                     "The service is not enabled, and no unit that a boot starts wants it, so nothing is unsealed. Run 'systemctl enable unseald.service' in the image.");
        else if (!unit_graph_is_enabled(check->graph, SERVICE, TARGET))
                tell(check, SEVERITY_WARNING, "service-not-enabled",
                     "Run 'systemctl enable unseald.service' in the image.", &whole,
                     "The service is not enabled, so unsealing begins only when a unit asks for its secret, and that unit waits longer. Run 'systemctl enable unseald.service' in the image.");
        if (service && is_true(service, "Service", "PrivateNetwork")) {
                const Place place =
                                place_of_line(service, unit_setting(service, "Service", "PrivateNetwork"));

                tell(check, SEVERITY_MISTAKE, "private-network", "Remove PrivateNetwork=yes.", &place,
                     "With PrivateNetwork=yes, unseald reaches neither KMS nor the metadata service. Remove the line.");
        }
}

/* Returns whether the consumer takes the secret, or may take it: also by mistake, which has a finding of its own. */
static bool may_take(const Consumer *consumer, const char *secret) {
        const char *name = consumer_secret(consumer);
        bool by_path = consumer->way == CONSUMER_LOAD || consumer->way == CONSUMER_ENVIRONMENT ||
                       consumer->way == CONSUMER_DIRECT;

        return name ? strcmp(name, secret) == 0 || strcmp(consumer->id, secret) == 0 : by_path;
}

static bool is_key_of_volume(const Check *check, const char *secret) {
        for (size_t i = 0; check->volumes && i < check->volumes->count; i++)
                if (strcmp(check->volumes->items[i].secret, secret) == 0)
                        return true;
        return false;
}

/* It works, and does not do what people expect of an encrypted volume. */
static void check_integrity(Check *check, const Volume *volume) {
        const Place place = { .file = volume->file, .key = "Integrity", .secret = volume->secret };

        if (volume->writable && volume->unverified)
                tell(check, SEVERITY_WARNING, "volume-not-verified",
                     "Set Integrity=yes, and begin with a new volume, unless the application verifies all that it reads.",
                     &place,
                     "With Integrity=no the volume %s is encrypted and not verified: whoever writes its device can change what the application reads, and nobody notices. Set Integrity=yes, unless the application verifies all that it reads.",
                     volume->name);
}

/* unseald-generator gives the unit of a volume its LoadCredential=, so no unit file has it. */
static void check_volume(Check *check, const Volume *volume) {
        const Declaration *secret = declarations_find_credential(check->declarations, volume->secret);
        const Place place = { .file = volume->file, .key = "Key", .secret = volume->secret };
        char unit[128];

        (void) snprintf(unit, sizeof(unit), "unseald-volume@%.64s.service", volume->name);
        if (!secret)
                tell(check, SEVERITY_MISTAKE, "volume-key-undeclared",
                     volume->writable
                                     ? "Declare a secret of \"unsealctl seal --generate=32\", or correct Key=."
                                     : "Declare the secret that \"unsealctl volume create\" has sealed, or correct Key=.",
                     &place,
                     "No secret %s is declared, so nothing opens the volume. Declare it, or correct Key=.",
                     volume->secret);
        else if (!declaration_admits(secret, unit))
                tell(check, SEVERITY_MISTAKE, "volume-key-refused",
                     "Add the unit of the volume to Units= of the secret.", &place,
                     "Units= of the secret %s does not have %s, so nothing opens the volume. Add it.",
                     volume->secret, unit);
        else if (volume->writable && declaration_is_of_one_boot(secret))
                tell(check, SEVERITY_MISTAKE, "volume-key-of-one-boot",
                     "Set GenerateWhen=missing and Source=volume:NAME in the secret, or seal a key that stays the same with \"unsealctl seal --generate=32\".",
                     &place,
                     "The secret %s is made anew in each boot (Generate=), so the next boot cannot open the volume, and what is stored there is lost.",
                     volume->secret);
}

/* What follows /run/, which a unit may also write as %t/. */
static const char *below_run(const char *path) {
        return strncmp(path, "/run/", 5) == 0 ? path + 5 : strncmp(path, "%t/", 3) == 0 ? path + 3 : "";
}

/* Returns whether the unit reads /run/unseald-volume/NAME.env. An instance that is named after the volume may write %i, or %I, which makes a
 * slash of each "-". */
static bool reads_counter(const Unit *unit, const Volume *volume) {
        const char *at = strchr(volume->on_open, '@');
        size_t length = strlen(volume->name);
        bool of_volume = at && strncmp(at + 1, volume->name, length) == 0 &&
                         strcmp(at + 1 + length, ".service") == 0,
             reads = false;
        char path[128];

        (void) snprintf(path, sizeof(path), "unseald-volume/%.64s.env", volume->name);
        for (size_t i = 0; i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];
                const char *value = below_run(line->value + (line->value[0] == '-'));

                if (strcmp(line->section, "Service") != 0 || strcmp(line->key, "EnvironmentFile") != 0)
                        continue;
                reads = line->value[0] != '\0' &&
                        (reads || strcmp(value, path) == 0 ||
                         (of_volume &&
                          (strcmp(value, "unseald-volume/%i.env") == 0 ||
                           (!strchr(volume->name, '-') && strcmp(value, "unseald-volume/%I.env") == 0))));
        }
        return reads;
}

/* Returns whether a failure of the unit's program is one of the unit. A minus sign before the path of a program has its failure ignored, a
 * oneshot without a program always succeeds, and SuccessExitStatus= makes a success of a failure. */
static bool can_fail(const Unit *unit) {
        bool counts = false;

        for (size_t i = 0; i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];

                if (strcmp(line->section, "Service") != 0 || strcmp(line->key, "ExecStart") != 0)
                        continue;
                counts = line->value[0] != '\0' &&
                         (counts || !memchr(line->value, '-', strspn(line->value, "@-:+!|")));
        }
        return counts && !unit_setting(unit, "Service", "SuccessExitStatus");
}

/* The service of the volume starts this unit and waits for it, so it must not wait for the service. */
static bool waits_for_volume(const Check *check, const Volume *volume) {
        _cleanup_free_ char *mount = NULL;
        char service[128];

        (void) snprintf(service, sizeof(service), "unseald-volume@%.64s.service", volume->name);
        if (volume_mount_unit(volume, &mount) < 0)
                unit_tree_out_of_memory();
        return unit_graph_is_after(check->graph, volume->on_open, service, true) ||
               unit_graph_is_after(check->graph, volume->on_open, mount, true);
}

static void check_hook(Check *check, const Volume *volume) {
        const Unit *unit = volume->on_open ? unit_tree_resolve(check->tree, volume->on_open) : NULL;
        const Place place = { .file = volume->file, .key = "OnOpen", .unit = volume->on_open };
        const IniAssignment *type = unit ? unit_setting(unit, "Service", "Type") : NULL;

        if (!volume->on_open)
                return;
        if (!unit) {
                if (unit_graph_has_boot(check->graph))
                        tell(check, SEVERITY_MISTAKE, "hook-unknown", "Add the unit, or correct OnOpen=.",
                             &place,
                             "There is no unit %s, or it is masked, so the volume is never opened. Add the unit, or correct OnOpen=.",
                             volume->on_open);
                return;
        }
        if (!type || strcmp(type->value, "oneshot") != 0)
                tell(check, SEVERITY_MISTAKE, "hook-type", "Set Type=oneshot in the unit.", &place,
                     "The unit %s has not Type=oneshot. The start of a unit of another type succeeds before its program has decided, so it could refuse nothing, and the volume is never opened. Set Type=oneshot.",
                     volume->on_open);
        if (!can_fail(unit))
                tell(check, SEVERITY_MISTAKE, "hook-failure",
                     "Remove the minus sign from ExecStart=, and SuccessExitStatus=.", &place,
                     "The unit %s succeeds also when its program fails, so it refuses nothing. Remove the minus sign from its ExecStart=, and SuccessExitStatus=.",
                     volume->on_open);
        if (!reads_counter(unit, volume))
                tell(check, SEVERITY_MISTAKE, "hook-environment",
                     "Add EnvironmentFile=/run/unseald-volume/NAME.env to [Service] of the unit.", &place,
                     "The unit %s does not know the counter, which it has to compare. Add EnvironmentFile=/run/unseald-volume/%s.env to its [Service].",
                     volume->on_open, volume->name);
        if (waits_for_volume(check, volume))
                tell(check, SEVERITY_MISTAKE, "hook-order", "Remove After= of the unit.", &place,
                     "The unit %s is ordered after the volume, whose service waits for this unit: neither can start. Remove its After=.",
                     volume->on_open);
}

/* The label that Source=volume: names is read only for the volume whose Key= is this secret. */
static void check_label(Check *check, const Declaration *secret) {
        const char *name = secret->source.location;
        const Place place = { .file = secret->file, .key = "Source", .secret = secret->name };

        if (!secret->generate_missing || !name || !check->volumes)
                return;
        for (size_t i = 0; i < check->volumes->count; i++)
                if (check->volumes->items[i].key_in_label &&
                    strcmp(check->volumes->items[i].name, name) == 0)
                        return;
        tell(check, SEVERITY_MISTAKE, "volume-of-key-undeclared",
             "Declare the volume with Mode=state and this secret as its Key=, or correct Source=.", &place,
             "No volume %s is declared that has Mode=state and Key=%s, so nobody reads its label, and unseald waits for it until its deadline. Declare it, or correct Source=.",
             name, secret->name);
}

/* Only a whole system has all units. */
static void check_unused(Check *check) {
        const Declaration *declaration;

        for (CredentialIterator at = {};
             unit_graph_has_boot(check->graph) &&
             (declaration = declarations_next_credential(check->declarations, &at));) {
                const Place place = { .file = declaration->file, .secret = declaration->name };
                bool taken = is_key_of_volume(check, declaration->name);

                for (size_t j = 0; j < check->consumers.count; j++)
                        taken = taken || may_take(&check->consumers.items[j], declaration->name);
                if (!taken)
                        tell(check, declaration->store ? SEVERITY_ADVICE : SEVERITY_WARNING, "secret-unused",
                             "Add LoadCredential=NAME:/run/unseald/credentials.sock to the unit that needs the secret, or remove the declaration.",
                             &place,
                             "No unit takes the secret%s. Add LoadCredential=%s:/run/unseald/credentials.sock to the unit that needs it, or remove the declaration.",
                             declaration->store
                                             ? ", unless a program reads the store's file by a path of its own configuration"
                                             : ", and Store=no leaves no other way to it",
                             declaration->name);
        }
}

/* A mistake, so that no system passes whose order has not been judged. */
static int refuse_endless(Check *check) {
        const Place place = { .file = "default.target", .unit = "default.target" };

        check->r = 0;
        tell(check, SEVERITY_MISTAKE, "units-endless",
             "Look for a template that starts ever new instances of itself, such as Wants=a@%i0.service a@%i1.service in a@.service.",
             &place,
             "The units have more than %u names or %u dependencies, so the order of the units cannot be judged. Does a template start ever new instances of itself?",
             UNIT_GRAPH_NODES_MAX, UNIT_GRAPH_EDGES_MAX);
        consumers_clear(&check->consumers);
        return check->r;
}

int check_units(const UnitTree *tree, const Declarations *declarations, const Volumes *volumes,
                Remarks *remarks, size_t *ret_loaded) {
        Check check = { .tree = tree, .declarations = declarations, .volumes = volumes, .remarks = remarks };
        size_t loaded = 0;

        *ret_loaded = 0;
        check.r = consumers_of(tree, &check.consumers);
        if (check.r >= 0)
                check.r = unit_graph_new(tree, &check.graph);
        if (check.r == -E2BIG)
                return refuse_endless(&check);
        for (size_t i = 0; check.r >= 0 && i < check.consumers.count; i++) {
                const Consumer *consumer = &check.consumers.items[i];

                check_consumer(&check, consumer);
                check_late(&check, consumer);
                loaded += consumer->way == CONSUMER_LOAD &&
                          consumer_mistake(&check.consumers, consumer, declarations) == CONSUMER_FINE;
        }
        for (size_t i = 0; check.r >= 0 && i < tree->count; i++) {
                const Unit *unit = &tree->items[i];

                if (!unit->path || unit->masked || unit->alias_of)
                        continue;
                check_unit(&check, unit);
                check_ignored_lines(&check, unit);
        }
        if (check.r >= 0 && (loaded > 0 || declarations->count > 0))
                check_own_units(&check);
        for (size_t i = 0; check.r >= 0 && volumes && i < volumes->count; i++) {
                check_volume(&check, volumes->items + i);
                check_integrity(&check, volumes->items + i);
                check_hook(&check, volumes->items + i);
        }
        for (size_t i = 0; check.r >= 0 && i < declarations->count; i++)
                check_label(&check, declarations->items + i);
        if (check.r >= 0)
                check_unused(&check);
        *ret_loaded = loaded;
        consumers_clear(&check.consumers);
        unit_graph_free(check.graph);
        return check.r;
}
