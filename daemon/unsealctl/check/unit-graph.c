/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unsealctl/check/unit-graph.h"

#define NOWHERE SIZE_MAX

typedef enum EdgeKind {
        EDGE_AFTER = 1 << 0,   /* from is ordered after to */
        EDGE_PULL = 1 << 1,    /* a start of from starts to in the same transaction */
        EDGE_TRIGGER = 1 << 2, /* from starts to later */
} EdgeKind;

typedef struct Edge {
        size_t from, to;
        EdgeKind kind;
} Edge;

struct UnitGraph {
        const UnitTree *tree;
        char **names; /* canonical; the index is the node */
        size_t names_count;
        Edge *edges;
        size_t edges_count;
        size_t boot; /* the node of default.target, or NOWHERE */
};

UnitGraph *unit_graph_free(UnitGraph *graph) {
        if (!graph)
                return NULL;
        for (size_t i = 0; i < graph->names_count; i++)
                free(graph->names[i]);
        free(graph->names);
        free(graph->edges);
        free(graph);
        return NULL;
}

static size_t find_node(const UnitGraph *graph, const char *canonical) {
        for (size_t i = 0; i < graph->names_count; i++)
                if (strcmp(graph->names[i], canonical) == 0)
                        return i;
        return NOWHERE;
}

/* Returns the node of a name, which is added if it is new. */
static int take_node(UnitGraph *graph, const char *name, size_t *ret) {
        _cleanup_free_ char *canonical = NULL;
        char **names;

        if (unit_tree_canonical(graph->tree, name, &canonical) < 0)
                return -ENOMEM;
        *ret = find_node(graph, canonical);
        if (*ret != NOWHERE)
                return 0;
        if (graph->names_count >= UNIT_GRAPH_NODES_MAX)
                return -E2BIG;
        names = reallocarray(graph->names, graph->names_count + 1, sizeof(*names));
        if (!names)
                return -ENOMEM;
        graph->names = names;
        *ret = graph->names_count++;
        names[*ret] = TAKE_PTR(canonical);
        return 0;
}

static size_t node_of(const UnitGraph *graph, const char *name) {
        _cleanup_free_ char *canonical = NULL;

        if (unit_tree_canonical(graph->tree, name, &canonical) < 0)
                unit_tree_out_of_memory();
        return find_node(graph, canonical);
}

/* One mark for each node, unset. */
static bool *new_marks(const UnitGraph *graph) {
        bool *marks = calloc(graph->names_count + 1, sizeof(*marks));

        if (!marks)
                unit_tree_out_of_memory();
        return marks;
}

static int add_edge(UnitGraph *graph, size_t from, size_t to, EdgeKind kind) {
        if (graph->edges_count >= UNIT_GRAPH_EDGES_MAX)
                return -E2BIG;
        if ((graph->edges_count & (graph->edges_count - 1)) == 0) {
                size_t room = graph->edges_count > 0 ? graph->edges_count * 2 : 1;
                Edge *edges = reallocarray(graph->edges, room, sizeof(*edges));

                if (!edges)
                        return -ENOMEM;
                graph->edges = edges;
        }
        graph->edges[graph->edges_count++] = (Edge){ .from = from, .to = to, .kind = kind };
        return 0;
}

/* Replaces the specifiers of names: %n %N %p %P %i %I %j. *ret is NULL where there are others. Escapes stay as they are. */
static int expand(const char *text, const char *unit, char **ret) {
        const char *type = strrchr(unit, '.') ?: unit + strlen(unit), *at = strchr(unit, '@');
        const char *end = at && at < type ? at : type;
        _cleanup_free_ char *expanded = NULL;
        size_t size;
        FILE *out;

        *ret = NULL;
        out = open_memstream(&expanded, &size);
        if (!out)
                return -ENOMEM;
        for (; *text; text++) {
                if (*text != '%') {
                        fputc(*text, out);
                        continue;
                }
                text++;
                if (*text == 'n')
                        fputs(unit, out);
                else if (*text == 'N')
                        fprintf(out, "%.*s", (int) (type - unit), unit);
                else if (*text == 'p' || *text == 'P')
                        fprintf(out, "%.*s", (int) (end - unit), unit);
                else if (*text == 'i' || *text == 'I')
                        fprintf(out, "%.*s", end == at ? (int) (type - at - 1) : 0, end == at ? at + 1 : "");
                else {
                        fclose(out);
                        return 0;
                }
        }
        if (fclose(out) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(expanded);
        return 0;
}

/* Adds an edge from the node to each unit that the line names, or with `reversed` from each of them to the node. */
static int add_line(UnitGraph *graph, size_t node, const IniAssignment *line, EdgeKind kind, bool reversed) {
        _cleanup_strings_ char **words = NULL;
        int r = ini_words(line, &words, NULL);

        for (char **word = words; r >= 0 && word && *word; word++) {
                _cleanup_free_ char *name = NULL;
                size_t other;

                r = expand(*word, graph->names[node], &name);
                if (r < 0 || !name || !unit_name_has_type(name) || strlen(name) > UNIT_GRAPH_NAME_MAX)
                        continue;
                r = take_node(graph, name, &other);
                if (r >= 0)
                        r = add_edge(graph, reversed ? other : node, reversed ? node : other, kind);
        }
        return r == -ENOMEM || r == -E2BIG ? r : 0;
}

static int add_named(UnitGraph *graph, size_t node, const char *name, EdgeKind kind, bool reversed) {
        size_t other;
        int r = take_node(graph, name, &other);

        return r < 0 ? r : add_edge(graph, reversed ? other : node, reversed ? node : other, kind);
}

static bool has_default_dependencies(const Unit *unit) {
        const IniAssignment *line = unit_setting(unit, "Unit", "DefaultDependencies");
        bool value = true;

        return !line || ini_boolean(line, &value, NULL) < 0 || value;
}

/* The unit that a socket, timer or path unit starts: the one that it names, or the service of the same name. */
static int add_triggered(UnitGraph *graph, size_t node, const Unit *unit, const char *section,
                         const char *key) {
        const IniAssignment *line = unit_setting(unit, section, key);
        const IniAssignment *accept = unit_setting(unit, "Socket", "Accept");
        const char *name = graph->names[node];
        _cleanup_free_ char *service = NULL;
        bool each = false;
        int r;

        if (line)
                r = expand(line->value, name, &service);
        else {
                each = strcmp(section, "Socket") == 0 && accept && ini_boolean(accept, &each, NULL) >= 0 &&
                       each;
                r = asprintf(&service, "%.*s%s.service", (int) (strrchr(name, '.') - name), name,
                             each ? "@" : "") < 0
                                    ? -ENOMEM
                                    : 0;
        }
        if (r < 0 || !service || !unit_name_has_type(service) || strlen(service) > UNIT_GRAPH_NAME_MAX)
                return r;
        r = add_named(graph, node, service, EDGE_TRIGGER, false);
        return r < 0 ? r : add_named(graph, node, service, EDGE_AFTER, true);
}

static int add_defaults(UnitGraph *graph, size_t node, const Unit *unit) {
        const char *name = graph->names[node];
        int r = 0;

        if (unit_name_ends_in(name, ".socket"))
                r = add_triggered(graph, node, unit, "Socket", "Service");
        else if (unit_name_ends_in(name, ".timer"))
                r = add_triggered(graph, node, unit, "Timer", "Unit");
        else if (unit_name_ends_in(name, ".path"))
                r = add_triggered(graph, node, unit, "Path", "Unit");
        if (r < 0 || !has_default_dependencies(unit))
                return r;
        if (unit_name_ends_in(name, ".service") || unit_name_ends_in(name, ".socket") ||
            unit_name_ends_in(name, ".timer") || unit_name_ends_in(name, ".path"))
                r = add_named(graph, node, "sysinit.target", EDGE_PULL | EDGE_AFTER, false);
        if (r >= 0 && unit_name_ends_in(name, ".service"))
                r = add_named(graph, node, "basic.target", EDGE_AFTER, false);
        if (r >= 0 && unit_name_ends_in(name, ".socket"))
                r = add_named(graph, node, "sockets.target", EDGE_AFTER, true);
        return r;
}

/* Quadlet's generator enables a service by the [Install] lines themselves. */
static int add_install_lines(UnitGraph *graph, size_t node, const Unit *unit) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];

                if (strcmp(line->section, "Install") == 0 &&
                    (strcmp(line->key, "WantedBy") == 0 || strcmp(line->key, "RequiredBy") == 0))
                        r = add_line(graph, node, line, EDGE_PULL, true);
        }
        return r;
}

static int add_unit(UnitGraph *graph, size_t node) {
        static const struct {
                const char *section, *key;
                EdgeKind kind;
                bool reversed;
        } settings[] = {
                { "Unit", "After", EDGE_AFTER },
                { "Unit", "Before", EDGE_AFTER, .reversed = true },
                { "Unit", "Wants", EDGE_PULL },
                { "Unit", "Requires", EDGE_PULL },
                { "Unit", "BindsTo", EDGE_PULL },
                { "Unit", "Upholds", EDGE_TRIGGER },
                { "Unit", "OnFailure", EDGE_TRIGGER },
                { "Unit", "OnSuccess", EDGE_TRIGGER },
                { "Service", "Sockets", EDGE_PULL | EDGE_AFTER },
        };
        const Unit *unit = unit_tree_resolve(graph->tree, graph->names[node]);
        int r = 0;

        if (!unit)
                return 0;
        for (size_t i = 0; r >= 0 && i < unit->lines->count; i++) {
                const IniAssignment *line = &unit->lines->assignments[i];

                for (size_t j = 0; r >= 0 && j < ELEMENTSOF(settings); j++)
                        if (strcmp(line->key, settings[j].key) == 0 &&
                            strcmp(line->section, settings[j].section) == 0)
                                r = add_line(graph, node, line, settings[j].kind, settings[j].reversed);
        }
        if (r >= 0 && unit_name_ends_in(unit->path, ".container"))
                r = add_install_lines(graph, node, unit);
        return r < 0 ? r : add_defaults(graph, node, unit);
}

static bool node_has_default_dependencies(const UnitGraph *graph, size_t node) {
        const Unit *unit = unit_tree_resolve(graph->tree, graph->names[node]);

        return unit && has_default_dependencies(unit);
}

/* A target is ordered after what it starts, unless it is ordered before it, or one of the two has no default dependencies. */
static int add_orders_of_targets(UnitGraph *graph) {
        size_t count = graph->edges_count;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < count; i++) {
                const Edge edge = graph->edges[i];
                bool before = false;

                if (edge.kind != EDGE_PULL || !unit_name_ends_in(graph->names[edge.from], ".target") ||
                    !node_has_default_dependencies(graph, edge.from) ||
                    !node_has_default_dependencies(graph, edge.to))
                        continue;
                for (size_t j = 0; !before && j < count; j++)
                        before = (graph->edges[j].kind & EDGE_AFTER) && graph->edges[j].from == edge.to &&
                                 graph->edges[j].to == edge.from;
                if (!before)
                        r = add_edge(graph, edge.from, edge.to, EDGE_AFTER);
        }
        return r;
}

int unit_graph_new(const UnitTree *tree, UnitGraph **ret) {
        _cleanup_(unit_graph_freep) UnitGraph *graph = calloc(1, sizeof(*graph));
        size_t node;
        int r = graph ? 0 : -ENOMEM;

        if (graph)
                *graph = (UnitGraph){ .tree = tree, .boot = NOWHERE };
        for (size_t i = 0; r >= 0 && i < tree->count; i++)
                if (unit_name_has_type(tree->items[i].name))
                        r = take_node(graph, tree->items[i].name, &node);
        /* add_unit() adds nodes, such as instances of templates, which follow in the same loop. */
        for (size_t i = 0; r >= 0 && i < graph->names_count; i++)
                r = add_unit(graph, i);
        if (r >= 0)
                r = add_orders_of_targets(graph);
        if (r < 0)
                return r;
        if (unit_tree_resolve(tree, "default.target"))
                graph->boot = node_of(graph, "default.target");
        *ret = TAKE_PTR(graph);
        return 0;
}

bool unit_graph_has_boot(const UnitGraph *graph) {
        return graph->boot != NOWHERE;
}

/* Marks what can be reached over edges of these kinds from the marked nodes. With `within`, only nodes that it marks are passed. */
static void spread(const UnitGraph *graph, bool *marked, unsigned kinds, const bool *within) {
        for (bool changed = true; changed;) {
                changed = false;
                for (size_t i = 0; i < graph->edges_count; i++) {
                        const Edge *edge = &graph->edges[i];

                        if ((edge->kind & kinds) && marked[edge->from] && !marked[edge->to] &&
                            (!within || within[edge->to]))
                                changed = marked[edge->to] = true;
                }
        }
}

/* A unit with a D-Bus name can be started by a message to that name. */
static bool has_bus_name(const UnitGraph *graph, size_t node) {
        const Unit *unit = unit_tree_resolve(graph->tree, graph->names[node]);

        return unit && unit_setting(unit, "Service", "BusName");
}

bool unit_graph_is_started(const UnitGraph *graph, const char *unit) {
        _cleanup_free_ bool *marked = new_marks(graph);
        size_t node = node_of(graph, unit);
        bool started = false;

        if (graph->boot == NOWHERE || node == NOWHERE || has_bus_name(graph, node))
                return true;
        marked[graph->boot] = true;
        spread(graph, marked, EDGE_PULL | EDGE_TRIGGER, NULL);
        started = marked[node];
        for (size_t i = 0; !started && unit_name_is_template(graph->names[node]) && i < graph->names_count;
             i++) {
                _cleanup_free_ char *template = NULL;

                if (unit_name_template(graph->names[i], &template) < 0)
                        unit_tree_out_of_memory();
                started = marked[i] && template && strcmp(template, graph->names[node]) == 0;
        }
        return started;
}

bool unit_graph_is_enabled(const UnitGraph *graph, const char *unit, const char *except) {
        _cleanup_free_ bool *started = new_marks(graph);
        size_t node = node_of(graph, unit), excepted = node_of(graph, except);

        if (graph->boot == NOWHERE)
                return true;
        started[graph->boot] = true;
        spread(graph, started, EDGE_PULL, NULL);
        for (size_t i = 0; i < graph->edges_count; i++) {
                const Edge *edge = &graph->edges[i];

                if (edge->to == node && (edge->kind & EDGE_PULL) && started[edge->from] &&
                    edge->from != excepted && unit_name_ends_in(graph->names[edge->from], ".target"))
                        return true;
        }
        return false;
}

bool unit_graph_pulls(const UnitGraph *graph, const char *unit, const char *other) {
        _cleanup_free_ bool *started = new_marks(graph);
        size_t from = node_of(graph, unit), to = node_of(graph, other);

        if (from == NOWHERE || to == NOWHERE)
                return false;
        started[from] = true;
        spread(graph, started, EDGE_PULL, NULL);
        return started[to];
}

bool unit_graph_is_after(const UnitGraph *graph, const char *unit, const char *other, bool any) {
        _cleanup_free_ bool *started = new_marks(graph);
        _cleanup_free_ bool *reached = new_marks(graph);
        size_t from = node_of(graph, unit), to = node_of(graph, other);

        if (from == NOWHERE || to == NOWHERE)
                return false;
        if (any || graph->boot == NOWHERE)
                memset(started, true, graph->names_count);
        else {
                started[graph->boot] = true;
                started[from] = true;
                spread(graph, started, EDGE_PULL, NULL);
        }
        reached[from] = true;
        spread(graph, reached, EDGE_AFTER, started);
        return reached[to];
}
