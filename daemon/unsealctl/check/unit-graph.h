/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which units a boot starts, and in which order: the dependencies of a tree of unit files, with those that the service manager adds by
 * default (systemd.unit(5), systemd.special(7)). Pure.
 *
 * An order counts only between units that are being started. "After=b.service" does nothing where nothing starts b.service.
 */

#include <stdbool.h>

#include "basic/cleanup.h"
#include "unsealctl/check/unit-tree.h"

typedef struct UnitGraph UnitGraph;

/* A system has some hundred units. A template that starts ever new instances of itself has no end. */
#define UNIT_GRAPH_NODES_MAX 8192U
#define UNIT_GRAPH_EDGES_MAX 65536U
#define UNIT_GRAPH_NAME_MAX 255U /* bytes; systemd takes no longer name of a unit */

/* The tree is sorted and outlives the graph. The caller calls unit_graph_free(). A dependency on a longer name than
 * UNIT_GRAPH_NAME_MAX is passed over, as systemd does. -E2BIG: the units have more dependencies than UNIT_GRAPH_NODES_MAX or
 * UNIT_GRAPH_EDGES_MAX allow. -ENOMEM. */
int unit_graph_new(const UnitTree *tree, UnitGraph **ret);
UnitGraph *unit_graph_free(UnitGraph *graph);
DEFINE_CLEANUP(UnitGraph *, unit_graph_free);

/* Returns whether the tree is a whole system, with a default.target. Without one, every unit counts as started. */
bool unit_graph_has_boot(const UnitGraph *graph) _pure_;

/* Returns whether a boot starts the unit, also later: by a socket, timer, path, or D-Bus name that is started. A template counts as
 * started if one of its instances is. */
bool unit_graph_is_started(const UnitGraph *graph, const char *unit);

/* Returns whether a target that a boot starts wants the unit by itself, as "systemctl enable" arranges it. `except` does not count. */
bool unit_graph_is_enabled(const UnitGraph *graph, const char *unit, const char *except);

/* Returns whether a start of `unit` alone starts `other` in the same transaction. */
bool unit_graph_pulls(const UnitGraph *graph, const char *unit, const char *other);

/* Returns whether `unit` waits for `other`, directly or through further units, each of which the boot or the unit starts. With `any`,
 * units that nothing starts count, too. */
bool unit_graph_is_after(const UnitGraph *graph, const char *unit, const char *other, bool any);
