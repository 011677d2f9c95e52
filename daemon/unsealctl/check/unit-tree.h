/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The unit files of a system, as the service manager reads them (systemd.unit(5)): each unit with its drop-ins, and the links of its
 * .wants/, .requires/ and .upholds/ directories as assignments. Quadlet's *.container files count as the services that its generator
 * makes of them (podman-systemd.unit(5)). Not seen: what other generators and systemd-run make, and presets.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "config/ini.h"

typedef struct Unit {
        char *name;
        char *path;     /* its file; NULL: there is none, and only drop-ins or links name it */
        char *alias_of; /* the unit that a link of this name leads to; NULL: it is no alias */
        bool masked;    /* its file is empty or a link to /dev/null */
        IniFile *lines; /* of the file and of its drop-ins, in the order in which they apply; never NULL */
} Unit;

typedef struct UnitTree {
        Unit *items; /* sorted by name after unit_tree_read() and unit_tree_sort() */
        size_t count;
        size_t text; /* bytes of all lines; a drop-in of many units counts for each of them */
} UnitTree;

/* A system's units have less than 2 MiB. The drop-ins of a directory such as service.d/ are read once for each unit, so little text
 * in a foreign tree could need all memory. */
#define UNIT_TREE_TEXT_MAX (16U * 1024U * 1024U)
#define UNIT_TREE_TOO_LONG \
        "The unit files have more than 16 MiB, where a drop-in of many units counts for each of them. Look for long drop-ins in directories such as service.d."

void unit_tree_clear(UnitTree *tree);

/* The directories in which the service manager looks for units (systemd.unit(5), "Unit File Load Path"), highest priority first. */
extern const char *const unit_directories[];

/* Reads the units of the directories, a NULL-terminated list with the highest priority first. Skips missing directories, files that
 * cannot be read, and lines that the service manager ignores. The caller clears *ret. -E2BIG: the units have more text than
 * UNIT_TREE_TEXT_MAX. -ENOMEM. */
int unit_tree_read(const char *const *directories, UnitTree *ret);

/* Adds the lines of one file to a unit. path: the unit's own file, or NULL for a drop-in. Pure. -ENOMEM. */
int unit_tree_add(UnitTree *tree, const char *name, const char *path, const char *text, size_t size);
void unit_tree_sort(UnitTree *tree);

/* The unit of exactly this name. NULL: nothing names it. Pure. */
const Unit *unit_tree_find(const UnitTree *tree, const char *name) _pure_;

/* The unit with the lines that count for this name: aliases are followed, and an instance without lines of its own has those of its
 * template. NULL: there is no file for it, or it is masked. Pure, but the program ends if memory is short: "there is none" would be an
 * untrue finding. */
const Unit *unit_tree_resolve(const UnitTree *tree, const char *name);

/* Ends the program, and says that memory is short. */
_Noreturn void unit_tree_out_of_memory(void);

/* Writes the unit that a name stands for after aliases: "autovt@tty1.service" is "getty@tty1.service". Pure. -ENOMEM. */
int unit_tree_canonical(const UnitTree *tree, const char *name, char **ret);

/* Returns whether something precedes this end in the name, or in the path of a unit's file. Pure. */
bool unit_name_ends_in(const char *name, const char *end) _pure_;

/* Returns whether the name ends in a type of unit. Pure. */
bool unit_name_has_type(const char *name) _pure_;

/* Returns whether the name is that of a template, such as "worker@.service". Pure. */
bool unit_name_is_template(const char *name) _pure_;

/* The template of an instance: "worker@.service" of "worker@1.service". *ret is NULL for other names. Pure. -ENOMEM. */
int unit_name_template(const char *name, char **ret);

/* The section of systemd.exec(5)'s settings in a unit of this name: "Service". NULL: units of its type run no processes. Pure. */
const char *unit_exec_section(const char *name) _pure_;

/* The last value of a setting of the unit, or NULL. An empty assignment resets it. Pure. */
const IniAssignment *unit_setting(const Unit *unit, const char *section, const char *key) _pure_;
