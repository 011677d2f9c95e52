/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads unit files that take secrets from unseald, and judges them in a small system. The input is the text of a.service; b.target has the
 * same text. A consumer has a unit, a key and a line, and a remark has an ID and a place.
 */

#include <assert.h>
#include <string.h>

#include "unsealctl/check/consumers.h"
#include "unsealctl/check/finding.h"
#include "unsealctl/check/unit-mistakes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const UnitTree *tree) {
        char *units[] = { (char *) "a.service", (char *) "b@*.service", NULL };
        Declaration items[] = { { .name = (char *) "db", .store = true },
                                { .name = (char *) "token", .units = units } };
        const Declarations declarations = { .items = items, .count = ELEMENTSOF(items) };
        _cleanup_(remarks_clear) Remarks remarks = {};
        size_t loaded;

        assert(check_units(tree, &declarations, NULL, &remarks, &loaded) >= 0);
        for (size_t i = 0; i < remarks.count; i++) {
                const char *text;
                unsigned line;

                (void) remark_place(remarks.items[i].text, &line, &text);
                assert(remark_id(&remarks.items[i])[0] && remarks.items[i].cure && text[0]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char system[] = "[Unit]\nWants=b.target\nAfter=b.target\n";
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        _cleanup_(consumers_clear) Consumers consumers = {};
        const char *text = (const char *) data;

        assert(unit_tree_add(&tree, "a.service", "/a.service", text, size) >= 0);
        assert(unit_tree_add(&tree, "b.target", "/b.target", text, size) >= 0);
        assert(unit_tree_add(&tree, "b@.service", "/b@.service", text, size) >= 0);
        assert(unit_tree_add(&tree, "default.target", "/default.target", system, strlen(system)) >= 0);
        unit_tree_sort(&tree);
        assert(consumers_of(&tree, &consumers) >= 0);
        for (size_t i = 0; i < consumers.count; i++) {
                const Consumer *consumer = consumers.items + i;

                assert(consumer->unit[0] && consumer->id && consumer->key[0] && consumer->line > 0);
                assert(consumer->path || consumer->way == CONSUMER_SET || consumer->way == CONSUMER_IMPORT);
        }
        judge(&tree);
        return 0;
}
