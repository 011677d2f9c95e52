/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "unsealctl/check/finding.h"
#include "unsealctl/check/unit-graph.h"
#include "unsealctl/check/unit-mistakes.h"

#define WAITS "[Unit]\nWants=unsealed.target\nAfter=unsealed.target\n"
#define AWAITS "[Unit]\nWants=unsealed-late.target\nAfter=unsealed-late.target\n"
#define EXEC "[Service]\nType=exec\nExecStart=/bin/a\n"
#define LOAD "LoadCredential=db:/run/unseald/credentials/db\n"
#define ASK "LoadCredential=db:/run/unseald/credentials.sock\n"
#define GOOD WAITS EXEC LOAD
#define BOOT "[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=unseald.service "
#define SERVICE                                                                             \
        "[Unit]\nDefaultDependencies=no\nBefore=unsealed.target\nUpholds=unsealed.target\n" \
        "[Service]\nSockets=unseald.socket\nExecStart=/u\n"

/* A whole system: unseald is enabled, and the boot starts app.service. */
static const struct {
        const char *name, *text;
} whole_system[] = {
        { "default.target", BOOT "app.service\n" },
        { "basic.target",
          "[Unit]\nRequires=sysinit.target\nWants=sockets.target\nAfter=sysinit.target sockets.target\n" },
        { "sysinit.target", "[Unit]\nDescription=x\n" },
        { "sockets.target", "[Unit]\nWants=unseald.socket\n" },
        { "network.target", "[Unit]\nDescription=x\n" },
        { "unsealed.target",
          "[Unit]\nDefaultDependencies=no\nRequires=unseald.service\nAfter=unseald.service\n" },
        { "unsealed-late.target",
          "[Unit]\nDefaultDependencies=no\nRequires=unseald.service\nAfter=unsealed.target\n" },
        { "unseald.service", SERVICE },
        { "unseald.socket",
          "[Unit]\nDefaultDependencies=no\nBefore=sockets.target\n[Socket]\nListenStream=/run/unseald/credentials.sock\n" },
        { "app.service", GOOD },
};

/* Each row changes one unit of the system, or adds one. `wrong` gives exactly this finding, and `right` gives none. */
static const struct {
        const char *what, *unit, *wrong, *right, *id;
        Severity severity;
} rows[] = {
        { "no order at all", "app.service", EXEC LOAD, GOOD, "order-missing", SEVERITY_MISTAKE },
        { "no order, but Wants=", "app.service", "[Unit]\nWants=unsealed.target\n" EXEC LOAD, GOOD,
          "order-missing", SEVERITY_MISTAKE },
        { "an order after another target", "app.service",
          "[Unit]\nWants=unsealed.target\nAfter=network.target\n" EXEC LOAD,
          "[Unit]\nWants=unsealed.target\nAfter=network.target unsealed.target\n" EXEC LOAD, "order-missing",
          SEVERITY_MISTAKE },
        { "the order the wrong way round", "app.service",
          "[Unit]\nWants=unsealed.target\nBefore=unsealed.target\n" EXEC LOAD, GOOD, "order-missing",
          SEVERITY_MISTAKE },
        { "the socket, before unseald", "app.service", "[Unit]\nBefore=unseald.service\n" EXEC ASK, EXEC ASK,
          "order-cycle", SEVERITY_MISTAKE },
        { "a template that starts ever new instances", "w@.service",
          "[Unit]\nWants=w@%i0.service w@%i1.service\n" EXEC, "[Unit]\nWants=w@%i0.service\n" EXEC,
          "units-endless", SEVERITY_MISTAKE },
        { "a template that doubles the name of its instance", "w@.service",
          "[Unit]\nWants=w@%ix%i.service w@%iy%i.service w@%iz.service w@%i0.service\n" EXEC,
          "[Unit]\nWants=w@%ix%i.service\n" EXEC, "units-endless", SEVERITY_MISTAKE },
        { "a mistyped target", "app.service",
          "[Unit]\nWants=unsealed.target\nAfter=unseald.target\n" EXEC LOAD, GOOD, "unit-unknown",
          SEVERITY_MISTAKE },
        { "a mistyped target, twice", "app.service",
          "[Unit]\nWants=unsealed.targets.target\nAfter=unsaeled.target\n" EXEC LOAD, GOOD, "unit-unknown",
          SEVERITY_MISTAKE },
        { "a mistyped Wants=", "app.service",
          "[Unit]\nWants=unsealed.taget unsealed.service\nAfter=unsealed.target\n" EXEC LOAD, GOOD,
          "unit-unknown", SEVERITY_MISTAKE },
        { "another mistyped target", "app.service",
          "[Unit]\nWants=unsealed.target\nAfter=unsealed.target netwrok.target\n" EXEC LOAD,
          "[Unit]\nWants=unsealed.target\nAfter=unsealed.target network.target\n" EXEC LOAD, "unit-unknown",
          SEVERITY_WARNING },
        { "a late secret after unsealed.target", "app.service",
          WAITS EXEC "LoadCredential=model:/run/unseald/credentials/model\n",
          AWAITS EXEC "LoadCredential=model:/run/unseald/credentials/model\n", "late-order",
          SEVERITY_MISTAKE },
        { "a late secret by its path", "app.service",
          WAITS "[Service]\nType=exec\nExecStart=/bin/a /run/unseald/credentials/model\n",
          AWAITS "[Service]\nType=exec\nExecStart=/bin/a /run/unseald/credentials/model\n", "late-order",
          SEVERITY_MISTAKE },
        { "a mistyped target of late secrets", "app.service",
          "[Unit]\nWants=unsealed-late.target\nAfter=unseald-late.target\n" EXEC LOAD, AWAITS EXEC LOAD,
          "unit-unknown", SEVERITY_MISTAKE },
        { "no Wants=, and nothing else starts the target", "app.service",
          "[Unit]\nAfter=unsealed.target\n" EXEC LOAD, GOOD, "wants-missing", SEVERITY_MISTAKE },
        { "Requires=", "app.service", "[Unit]\nRequires=unsealed.target\nAfter=unsealed.target\n" EXEC LOAD,
          GOOD, "requires", SEVERITY_WARNING },
        { "BindsTo=", "app.service", "[Unit]\nBindsTo=unseald.service\nAfter=unseald.service\n" EXEC LOAD,
          "[Unit]\nWants=unseald.service\nAfter=unseald.service\n" EXEC LOAD, "requires", SEVERITY_WARNING },
        { "the order in [Service]", "app.service",
          EXEC "Wants=unsealed.target\nAfter=unsealed.target\n" LOAD, GOOD, "section-wrong",
          SEVERITY_MISTAKE },
        { "After= in [Install]", "app.service",
          "[Unit]\nWants=unsealed.target\n" EXEC LOAD "[Install]\nAfter=unsealed.target\n", GOOD,
          "section-wrong", SEVERITY_MISTAKE },
        { "LoadCredential= in [Unit]", "app.service", WAITS LOAD EXEC, GOOD, "section-wrong",
          SEVERITY_MISTAKE },
        { "LoadCredential= in a timer", "a.timer",
          "[Timer]\nOnCalendar=daily\n" LOAD "[Unit]\nWants=unsealed.target\n",
          "[Timer]\nOnCalendar=daily\n[Unit]\nWants=unsealed.target\n", "section-wrong", SEVERITY_MISTAKE },
        { "LoadCredentials=", "app.service", WAITS EXEC "LoadCredentials=db:/run/unseald/credentials/db\n",
          GOOD, "key-unknown", SEVERITY_MISTAKE },
        { "Loadcredential=", "app.service", WAITS EXEC "Loadcredential=db:/run/unseald/credentials.sock\n",
          GOOD, "key-unknown", SEVERITY_MISTAKE },
        { "no path", "app.service", WAITS EXEC "LoadCredential=db\n", GOOD, "credential-relative",
          SEVERITY_MISTAKE },
        { "a relative path", "app.service", WAITS EXEC "LoadCredential=password:db\n",
          WAITS EXEC "LoadCredential=password:/run/unseald/credentials/db\n", "credential-relative",
          SEVERITY_MISTAKE },
        { "no path, mistyped", "app.service", WAITS EXEC LOAD "LoadCredential=tokenn\n",
          WAITS EXEC LOAD "LoadCredential=other\n", "credential-relative", SEVERITY_WARNING },
        { "no path, mistyped, and loaded", "app.service", WAITS EXEC LOAD "LoadCredential=tokne\n",
          WAITS EXEC "LoadCredential=tokne\nLoadCredential=tokne:/run/unseald/credentials/db\n",
          "credential-relative", SEVERITY_WARNING },
        { "encrypted, without a path", "app.service", WAITS EXEC "LoadCredentialEncrypted=db\n",
          WAITS EXEC "LoadCredentialEncrypted=other\n", "credential-relative", SEVERITY_MISTAKE },
        { "encrypted", "app.service",
          WAITS EXEC "LoadCredentialEncrypted=db:/run/unseald/credentials.sock\n",
          WAITS EXEC "LoadCredentialEncrypted=db:/etc/db\n", "credential-encrypted", SEVERITY_MISTAKE },
        { "imported", "app.service", WAITS EXEC "ImportCredential=db\n",
          WAITS EXEC "ImportCredential=other\n", "credential-import", SEVERITY_MISTAKE },
        { "imported by a pattern", "billing.service",
          "ImportCredential=none\n" WAITS EXEC "ImportCredential=to*\n",
          WAITS EXEC "ImportCredential=others.*\n", "credential-import", SEVERITY_MISTAKE },
        { "an undeclared secret at the socket", "app.service",
          WAITS EXEC "LoadCredential=bd:/run/unseald/credentials.sock\n", WAITS EXEC ASK,
          "credential-undeclared", SEVERITY_MISTAKE },
        { "an undeclared secret in the store", "app.service",
          WAITS EXEC "LoadCredential=db:/run/unseald/credentials/dbx\n", GOOD, "credential-undeclared",
          SEVERITY_MISTAKE },
        { "another ID than the secret's name at the socket", "app.service",
          EXEC "LoadCredential=password:/run/unseald/credentials.sock\n",
          WAITS EXEC "LoadCredential=password:/run/unseald/credentials/db\n", "credential-undeclared",
          SEVERITY_MISTAKE },
        { "a secret of another unit", "app.service",
          EXEC "LoadCredential=token:/run/unseald/credentials.sock\n", EXEC ASK, "credential-refused",
          SEVERITY_MISTAKE },
        { "a template that Units= does not name", "app@.service",
          "[Unit]\nDescription=x\n" EXEC "LoadCredential=token:/run/unseald/credentials.sock\n[Unit]\n",
          NULL, "credential-refused", SEVERITY_MISTAKE },
        { "a secret that is not in the store", "app.service",
          WAITS EXEC "LoadCredential=token:/run/unseald/credentials/token\n", GOOD, "credential-not-stored",
          SEVERITY_MISTAKE },
        { "a mistyped path", "app.service", WAITS EXEC "LoadCredential=db:/run/unsealed/credentials.sock\n",
          WAITS EXEC "LoadCredential=db:/run/other/credentials.sock\n", "credential-nowhere",
          SEVERITY_MISTAKE },
        { "a path of nothing", "app.service", WAITS EXEC "LoadCredential=db:/run/unseald/db\n",
          WAITS EXEC "LoadCredential=all:/run/unseald/credentials\n", "credential-nowhere",
          SEVERITY_MISTAKE },
        { "a value that replaces the secret", "app.service", WAITS EXEC LOAD "SetCredential=db:x\n",
          WAITS EXEC LOAD "SetCredential=other:x\n", "credential-fallback", SEVERITY_MISTAKE },
        { "two lines for one ID", "app.service", WAITS EXEC LOAD ASK,
          WAITS EXEC LOAD "LoadCredential=\n" ASK, "credential-twice", SEVERITY_MISTAKE },
        { "EnvironmentFile=%d", "app.service", WAITS EXEC LOAD "EnvironmentFile=%d/db\n",
          WAITS EXEC LOAD "EnvironmentFile=/run/unseald/credentials/db\n", "environment-file",
          SEVERITY_MISTAKE },
        { "EnvironmentFile= by the variable", "app.service",
          WAITS EXEC LOAD "EnvironmentFile=-${CREDENTIALS_DIRECTORY}/db\n",
          WAITS EXEC LOAD "EnvironmentFile=/etc/default/app\n", "environment-file", SEVERITY_MISTAKE },
        { "a condition on a file that may not be there yet", "app.service",
          "[Unit]\nConditionPathExists=/run/unseald/credentials/db\n" EXEC ASK,
          "[Unit]\nConditionPathExists=/run/unseald/credentials/db\n" WAITS EXEC LOAD, "condition-order",
          SEVERITY_MISTAKE },
        { "an assertion on it", "app.service",
          "[Unit]\nAssertFileNotEmpty=|/run/unseald/credentials/db\n" EXEC ASK,
          "[Unit]\nAssertFileNotEmpty=!/run/unseald/credentials/db\n" EXEC ASK, "condition-order",
          SEVERITY_MISTAKE },
        { "EnvironmentFile= of a secret without order", "app.service",
          EXEC "EnvironmentFile=/run/unseald/credentials/db\n",
          WAITS EXEC "EnvironmentFile=/run/unseald/credentials/db\n", "order-missing", SEVERITY_MISTAKE },
        { "EnvironmentFile= of no secret", "app.service",
          WAITS EXEC "EnvironmentFile=/run/unseald/credentials/no-such\n",
          WAITS EXEC "EnvironmentFile=/run/unseald/credentials/db\n", "credential-undeclared",
          SEVERITY_MISTAKE },
        { "a dynamic user reads the store", "app.service",
          WAITS "[Service]\nType=exec\nDynamicUser=yes\nExecStart=/bin/a /run/unseald/credentials/db\n",
          WAITS "[Service]\nType=exec\nDynamicUser=yes\nExecStart=/bin/a %d/db\n" LOAD, "dynamic-user",
          SEVERITY_MISTAKE },
        { "a user reads a file of root", "app.service",
          WAITS "[Service]\nType=exec\nUser=app\nExecStart=/bin/a /run/unseald/credentials/db\n",
          WAITS "[Service]\nType=exec\nUser=app\nExecStart=/bin/a /run/unseald/credentials/owned\n",
          "store-unreadable", SEVERITY_MISTAKE },
        { "a group of the unit is not the secret's", "app.service",
          WAITS "[Service]\nType=exec\nUser=web\nExecStart=/bin/a /run/unseald/credentials/owned\n",
          WAITS
          "[Service]\nType=exec\nUser=web\nSupplementaryGroups=x app\nExecStart=/bin/a /run/unseald/credentials/owned\n",
          "store-unreadable", SEVERITY_MISTAKE },
        { "Type=simple", "app.service", WAITS "[Service]\nType=simple\nExecStart=/bin/a\n" LOAD,
          WAITS "[Service]\nType=notify\nExecStart=/bin/a\n" LOAD, "service-type", SEVERITY_ADVICE },
        { "no Type=", "app.service", WAITS "[Service]\nExecStart=/bin/a\n" LOAD,
          WAITS "[Service]\nType=oneshot\nExecStart=/bin/a\n" LOAD, "service-type", SEVERITY_ADVICE },
        { "a unit that nothing starts", "other.service", GOOD, "[Service]\nExecStart=/bin/a\n",
          "unit-not-enabled", SEVERITY_WARNING },
        { "a timer that nothing starts", "default.target", BOOT "\n", BOOT "app.service\n",
          "unit-not-enabled", SEVERITY_WARNING },
        { "unseald is not enabled", "default.target", "[Unit]\nRequires=basic.target\nWants=app.service\n",
          BOOT "app.service\n", "service-not-enabled", SEVERITY_WARNING },
        { "unseald is started by nothing", "default.target", "[Unit]\nDescription=x\n", BOOT "app.service\n",
          "service-not-enabled", SEVERITY_MISTAKE },
        { "unseald has no network", "unseald.service", SERVICE "PrivateNetwork=yes\n", SERVICE,
          "private-network", SEVERITY_MISTAKE },
        { "names that are too long together",
          "a-name-of-a-unit-that-has-no-less-than-eighty-six-bytes-with-its-type-and-more-.service",
          "[Unit]\nDefaultDependencies=no\n" EXEC ASK "[Unit]\nAfter=unseald.socket\n", NULL,
          "names-too-long", SEVERITY_MISTAKE },
        { "early, without an order after the socket", "app.service",
          "[Unit]\nDefaultDependencies=no\n" EXEC ASK,
          "[Unit]\nDefaultDependencies=no\nWants=unseald.socket\nAfter=unseald.socket\n" EXEC ASK,
          "socket-order", SEVERITY_MISTAKE },
};

static void take(UnitTree *tree, const char *name, const char *text) {
        char path[128];

        (void) snprintf(path, sizeof(path), "/lib/%s", name);
        assert_int_equal(unit_tree_add(tree, name, path, text, strlen(text)), 0);
}

/* The whole system with this text of one unit. text NULL: without that unit. */
static void make_tree(UnitTree *tree, const char *unit, const char *text) {
        bool known = false;

        for (size_t i = 0; i < ELEMENTSOF(whole_system); i++) {
                bool changed = strcmp(whole_system[i].name, unit) == 0;

                known |= changed;
                if (!changed || text)
                        take(tree, whole_system[i].name, changed ? text : whole_system[i].text);
        }
        if (!known && text)
                take(tree, unit, text);
        unit_tree_sort(tree);
}

/* Secrets: db for all, owned for the user and group app, token for billing.service at the socket alone. */
static void judge(const UnitTree *tree, Remarks *remarks) {
        char *units[] = { (char *) "billing.service", NULL };
        Declaration items[] = {
                { .name = (char *) "db", .store = true, .mode = 0400 },
                { .name = (char *) "owned",
                  .store = true,
                  .user = (char *) "app",
                  .group = (char *) "app",
                  .mode = 0440 },
                { .name = (char *) "token", .units = units },
                { .name = (char *) "model", .store = true, .mode = 0400, .late = true },
        };
        const Declarations declarations = { .items = items, .count = ELEMENTSOF(items) };
        size_t loaded;

        assert_int_equal(check_units(tree, &declarations, NULL, remarks, &loaded), 0);
}

static size_t count_of(const Remarks *remarks, const char *id) {
        size_t n = 0;

        for (size_t i = 0; i < remarks->count; i++)
                n += strcmp(remark_id(&remarks->items[i]), id) == 0;
        return n;
}

/* The rows are about units; most of them leave a secret to nobody. */
static void without(Remarks *remarks, const char *id) {
        size_t kept = 0;

        for (size_t i = 0; i < remarks->count; i++)
                if (strcmp(remark_id(&remarks->items[i]), id) == 0)
                        free(remarks->items[i].text);
                else
                        remarks->items[kept++] = remarks->items[i];
        remarks->count = kept;
}

static const char *text_of(const Remarks *remarks, size_t at) {
        return at < remarks->count ? remarks->items[at].text : "nothing";
}

static void test_each_mistake_is_found_and_its_control_is_not(void **state) {
        static const char *const severities[] = { "advice", "warning", "mistake" };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(unit_tree_clear) UnitTree wrong = {}, right = {};
                _cleanup_(remarks_clear) Remarks seen = {}, control = {};

                make_tree(&wrong, rows[i].unit, rows[i].wrong);
                judge(&wrong, &seen);
                without(&seen, "secret-unused");
                if (count_of(&seen, rows[i].id) != 1)
                        fail_msg("%s: wanted one %s, saw %zu findings: '%s', '%s'", rows[i].what, rows[i].id,
                                 seen.count, text_of(&seen, 0), text_of(&seen, 1));
                for (size_t j = 0; j < seen.count; j++) {
                        const Remark *remark = &seen.items[j];
                        bool wanted = strcmp(remark_id(remark), rows[i].id) == 0;

                        if (wanted && strcmp(remark_severity(remark), severities[rows[i].severity]) != 0)
                                fail_msg("%s: wanted %s, saw %s", rows[i].what, severities[rows[i].severity],
                                         remark_severity(remark));
                        if (!remark->cure || !remark->unit[0])
                                fail_msg("%s: no cure or unit in '%s'", rows[i].what, remark->text);
                        /* A unit that nothing starts is a second finding of some rows. */
                        if (!wanted && strcmp(remark_id(remark), "unit-not-enabled") != 0)
                                fail_msg("%s: wanted %s alone, saw '%s', too", rows[i].what, rows[i].id,
                                         remark->text);
                }

                make_tree(&right, rows[i].unit, rows[i].right);
                judge(&right, &control);
                without(&control, "secret-unused");
                if (control.count > 0)
                        fail_msg("%s: the control has '%s'", rows[i].what, control.items[0].text);
        }
        assert_true(ELEMENTSOF(rows) >= 40);
}

static void test_a_secret_that_no_unit_takes_is_found_in_a_whole_system(void **state) {
        static const struct {
                const char *text;
                unsigned unused;
        } cases[] = {
                { GOOD, 3 },                                                       /* takes db */
                { WAITS EXEC "LoadCredential=all:/run/unseald/credentials\n", 0 }, /* may take all */
                { WAITS EXEC "LoadCredential=%i:/run/unseald/credentials.sock\n", 0 },
                { WAITS EXEC LOAD "LoadCredential=token\n", 2 }, /* by mistake, which is told */
                { WAITS EXEC LOAD "LoadCredential=token:/run/unseald/credentials/tokne\n", 2 },
                { WAITS EXEC LOAD "Environment=FILE=/var/run/unseald/credentials/owned\n", 2 },
                { WAITS EXEC LOAD "Environment=FILE=/run/unseald/credentials/owned\n", 2 },
                { WAITS EXEC LOAD "LoadCredential=x:/var/run/unseald/credentials/owned\n", 2 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(unit_tree_clear) UnitTree tree = {}, part = {};
                _cleanup_(remarks_clear) Remarks seen = {}, of_part = {};

                make_tree(&tree, "app.service", cases[i].text);
                judge(&tree, &seen);
                if (count_of(&seen, "secret-unused") != cases[i].unused)
                        fail_msg("%s: saw %zu, wanted %u", cases[i].text, count_of(&seen, "secret-unused"),
                                 cases[i].unused);
                take(&part, "app.service", cases[i].text);
                unit_tree_sort(&part);
                judge(&part, &of_part);
                assert_int_equal(count_of(&of_part, "secret-unused"), 0);
        }
}

/* Units take the members of a bundle: app.key of app.service, app.token and app.cert of any unit. */
static void test_each_member_of_a_bundle_is_judged_as_a_secret(void **state) {
#define MEMBER "LoadCredential=app.key:/run/unseald/credentials.sock\n"
        static const struct {
                const char *text, *id;
                unsigned count;
        } cases[] = {
                { WAITS EXEC MEMBER, "secret-unused", 2 },
                { WAITS EXEC MEMBER "LoadCredential=c:/run/unseald/credentials/app.cert\n", "secret-unused",
                  1 },
                { WAITS EXEC "LoadCredential=app:/run/unseald/credentials.sock\n", "secret-unused", 3 },
                { WAITS EXEC "LoadCredential=app:/run/unseald/credentials.sock\n", "credential-bundle", 1 },
                { WAITS EXEC MEMBER "LoadCredential=app.token\n", "credential-relative", 1 },
                { WAITS EXEC MEMBER "LoadCredential=app.tokne\n", "credential-relative", 1 },
                { WAITS EXEC MEMBER "ImportCredential=app.token\n", "credential-import", 1 },
                /* Units= of app.key names it. */
                { WAITS EXEC "ImportCredential=app.t*\n", "credential-import", 1 },
                { WAITS EXEC "ImportCredential=other.*\n", "credential-import", 0 },
        };
        char *units[] = { (char *) "app.service", NULL };
        Declaration members[] = {
                { .name = (char *) "app.cert", .member = "cert", .store = true, .mode = 0400 },
                { .name = (char *) "app.key", .member = "key", .units = units },
                { .name = (char *) "app.token", .member = "token", .store = true, .mode = 0400 },
        };
        Declaration bundle = { .name = (char *) "app",
                               .format = FORMAT_BUNDLE,
                               .members = members,
                               .members_count = ELEMENTSOF(members) };
        const Declarations declarations = { .items = &bundle, .count = 1 };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks seen = {};
                size_t loaded;

                make_tree(&tree, "app.service", cases[i].text);
                assert_int_equal(check_units(&tree, &declarations, NULL, &seen, &loaded), 0);
                if (count_of(&seen, cases[i].id) != cases[i].count)
                        fail_msg("%s: saw %zu of %s, wanted %u; the first finding is '%s'", cases[i].text,
                                 count_of(&seen, cases[i].id), cases[i].id, cases[i].count,
                                 text_of(&seen, 0));
        }
}

/* Each of 300 units waits for all: more dependencies than UNIT_GRAPH_EDGES_MAX, between few units. */
static void test_too_many_dependencies_are_a_mistake(void **state) {
        static char text[300 * sizeof("x-000.service ") + 64];

        for (unsigned units = 200; units <= 300; units += 100) {
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks seen = {};
                char name[32], *end = text + sprintf(text, "[Unit]\nAfter=");

                for (unsigned i = 0; i < units; i++)
                        end += sprintf(end, "x-%u.service ", i);
                (void) strcpy(end, "\n");
                make_tree(&tree, "x-0.service", text);
                for (unsigned i = 1; i < units; i++) {
                        (void) snprintf(name, sizeof(name), "x-%u.service", i);
                        take(&tree, name, text);
                }
                unit_tree_sort(&tree);
                judge(&tree, &seen);
                assert_int_equal(count_of(&seen, "units-endless"), units == 300);
        }
}

/* An order through other units counts if each of them is started, too. */
static void test_the_order_is_found_through_other_units(void **state) {
        static const struct {
                const char *what, *unit, *text;
                bool ordered;
        } cases[] = {
                { "through a target that is started", "app.target",
                  "[Unit]\nWants=unsealed.target\nAfter=unsealed.target\n", true },
                { "through a unit of another order", "app.target", "[Unit]\nAfter=network.target\n", false },
                { "by Before= of the target", "app.target",
                  "[Unit]\nWants=unsealed.target\nAfter=unseald.service\n", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (int started = 0; started < 2; started++) {
                        _cleanup_(unit_tree_clear) UnitTree tree = {};
                        _cleanup_(unit_graph_freep) UnitGraph *graph = NULL;

                        make_tree(&tree, "app.service",
                                  started ? "[Unit]\nWants=app.target\nAfter=app.target\n" EXEC LOAD
                                          : "[Unit]\nAfter=app.target\n" EXEC LOAD);
                        take(&tree, "app.target", cases[i].text);
                        unit_tree_sort(&tree);
                        assert_int_equal(unit_graph_new(&tree, &graph), 0);
                        if (unit_graph_is_after(graph, "app.service", "unseald.service", false) !=
                            (cases[i].ordered && started))
                                fail_msg("%s, %sstarted: wrong", cases[i].what, started ? "" : "not ");
                        assert_int_equal(unit_graph_is_after(graph, "app.service", "unseald.service", true),
                                         cases[i].ordered);
                }
}

static void test_units_start_by_sockets_timers_and_templates(void **state) {
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        _cleanup_(unit_graph_freep) UnitGraph *graph = NULL;

        make_tree(&tree, "default.target",
                  "[Unit]\nWants=t.timer s.socket p.path each.socket w@1.service d.service n.service\n");
        take(&tree, "t.timer", "[Timer]\nOnCalendar=daily\n");
        take(&tree, "t.service", EXEC);
        take(&tree, "s.socket", "[Socket]\nService=served.service\n");
        take(&tree, "s.service", EXEC);
        take(&tree, "p.path", "[Path]\nUnit=%N-worker.service\n");
        take(&tree, "each.socket", "[Socket]\nAccept=yes\n");
        take(&tree, "w@.service", "[Unit]\nWants=%p-helper@%i.service %H.service\n");
        take(&tree, "d.service", "[Unit]\nOnFailure=cure.service\n");
        take(&tree, "bus.service", "[Service]\nBusName=org.example\n");
        unit_tree_sort(&tree);
        assert_int_equal(unit_graph_new(&tree, &graph), 0);
        assert_true(unit_graph_has_boot(graph));
        assert_true(unit_graph_is_started(graph, "t.service"));
        assert_true(unit_graph_is_started(graph, "served.service"));
        assert_true(unit_graph_is_started(graph, "p-worker.service"));
        assert_true(unit_graph_is_started(graph, "each@.service"));
        assert_true(unit_graph_is_started(graph, "w@.service"));
        assert_true(unit_graph_is_started(graph, "w-helper@1.service"));
        assert_true(unit_graph_is_started(graph, "cure.service"));
        assert_true(unit_graph_is_started(graph, "bus.service"));
        assert_false(unit_graph_is_started(graph, "s.service"));
        assert_false(unit_graph_is_started(graph, "app.service"));
}

/* Nobody can say what starts a unit in a part of a system. */
static void test_a_tree_without_a_boot_gets_no_finding_about_it(void **state) {
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        _cleanup_(remarks_clear) Remarks remarks = {};

        take(&tree, "app.service", GOOD);
        take(&tree, "asks.service", EXEC ASK);
        judge(&tree, &remarks);
        if (remarks.count > 0)
                fail_msg("saw '%s'", remarks.items[0].text);
}

/* "WantedBy=unsealed.target" alone: the unit starts with the target, whatever starts that. */
static void test_a_unit_that_the_target_starts_needs_no_wants(void **state) {
        for (int also = 0; also < 2; also++) {
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks remarks = {};

                make_tree(&tree, "app.service", "[Unit]\nAfter=unsealed.target\n" EXEC LOAD);
                take(&tree, "unsealed.target", "[Unit]\nWants=app.service other.service\n");
                take(&tree, "other.service", "[Unit]\nAfter=unsealed.target\n" EXEC LOAD);
                if (also)
                        take(&tree, "default.target", "[Unit]\nWants=other.service\n");
                unit_tree_sort(&tree);
                judge(&tree, &remarks);
                /* default.target starts app.service in both cases. */
                for (size_t i = 0; i < remarks.count; i++)
                        if (strcmp(remarks.items[i].unit, "other.service") == 0 && !also)
                                fail_msg("saw '%s'", remarks.items[i].text);
                assert_int_equal(count_of(&remarks, "wants-missing"), also ? 2 : 1);
        }
}

static void test_a_quadlet_is_enabled_by_its_own_lines(void **state) {
        static const char text[] = "[Service]\n" ASK "[Install]\nWantedBy=default.target\n";

        for (int quadlet = 0; quadlet < 2; quadlet++) {
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks remarks = {};

                make_tree(&tree, "app.service", GOOD);
                assert_int_equal(unit_tree_add(&tree, "web.service",
                                               quadlet ? "/etc/containers/systemd/web.container"
                                                       : "/lib/web.service",
                                               text, strlen(text)),
                                 0);
                unit_tree_sort(&tree);
                judge(&tree, &remarks);
                assert_int_equal(count_of(&remarks, "unit-not-enabled"), quadlet ? 0 : 1);
        }
}

static void test_a_system_without_unseald_is_named(void **state) {
        static const char *const gone[] = { "unseald.service", "unseald.socket" };

        for (size_t i = 0; i < ELEMENTSOF(gone); i++) {
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks remarks = {};

                make_tree(&tree, gone[i], NULL);
                judge(&tree, &remarks);
                assert_int_equal(count_of(&remarks, "not-installed"), i == 0 ? 1 : 0);
        }
}

static void test_masked_units_of_unseald_are_named(void **state) {
        static const char *const names[] = { "unseald.service", "unseald.socket", "unsealed.target" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks remarks = {};

                make_tree(&tree, "app.service", GOOD);
                ((Unit *) unit_tree_find(&tree, names[i]))->masked = true;
                judge(&tree, &remarks);
                assert_int_equal(count_of(&remarks, "unit-masked"), 1);
        }
}

/* unseald-generator gives the unit of a volume its LoadCredential=. */
static void test_the_key_of_a_volume_is_a_secret_for_its_unit(void **state) {
        char *admitted[] = { (char *) "unseald-volume@weights.service", NULL };
        char *others[] = { (char *) "app.service", NULL };
        const struct {
                const char *secret;
                char **units;
                const char *id; /* NULL: no finding */
                bool writable;
                size_t generate;
        } cases[] = {
                { "weights", admitted, NULL },
                { "weights", NULL, NULL },
                { "weights", others, "volume-key-refused" },
                { "weight", admitted, "volume-key-undeclared" },
                { "weights", admitted, NULL, true, 0 },
                { "weights", admitted, "volume-key-of-one-boot", true, 32 },
                { "weights", others, "volume-key-refused", true, 32 },
        };
        const Volumes none = {};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Volume volume = { .name = (char *) "weights",
                                  .file = (char *) "weights.volume",
                                  .secret = (char *) cases[i].secret,
                                  .writable = cases[i].writable };
                Declaration secret = { .name = (char *) "weights",
                                       .generate = cases[i].generate,
                                       .file = (char *) "weights.secret",
                                       .units = cases[i].units };
                const Declarations declarations = { .items = &secret, .count = 1 };
                const Volumes volumes = { .items = &volume, .count = 1 };
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks seen = {}, control = {};
                size_t loaded;

                make_tree(&tree, "app.service", EXEC);
                assert_int_equal(check_units(&tree, &declarations, &volumes, &seen, &loaded), 0);
                if (count_of(&seen, "volume-key-refused") + count_of(&seen, "volume-key-undeclared") +
                                                    count_of(&seen, "volume-key-of-one-boot") !=
                                    (cases[i].id ? 1U : 0U) ||
                    (cases[i].id && count_of(&seen, cases[i].id) != 1))
                        fail_msg("case %zu: the first finding is '%s'", i, text_of(&seen, 0));
                assert_int_equal(count_of(&seen, "secret-unused"), strcmp(cases[i].secret, "weights") != 0);
                assert_int_equal(check_units(&tree, &declarations, &none, &control, &loaded), 0);
                assert_int_equal(count_of(&control, "secret-unused"), 1);
        }
}

static void test_a_volume_without_integrity_is_told(void **state) {
        Declaration secret = { .name = (char *) "key", .file = (char *) "key.secret" };
        const Declarations declarations = { .items = &secret, .count = 1 };

        for (unsigned i = 0; i < 4; i++) {
                Volume volume = { .name = (char *) "state",
                                  .file = (char *) "state.volume",
                                  .secret = (char *) "key",
                                  .writable = i & 1,
                                  .unverified = i & 2 };
                const Volumes volumes = { .items = &volume, .count = 1 };
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks seen = {};
                size_t loaded;

                make_tree(&tree, "app.service", EXEC);
                assert_int_equal(check_units(&tree, &declarations, &volumes, &seen, &loaded), 0);
                assert_int_equal(count_of(&seen, "volume-not-verified"), i == 3);
        }
}

/* The unit of OnOpen= must be able to refuse the volume. */
static void test_the_hook_of_a_volume_can_refuse_it(void **state) {
#define COUNTER "EnvironmentFile=/run/unseald-volume/state.env\n"
#define ONESHOT "[Service]\nType=oneshot\nExecStart=/bin/a\n"
        static const struct {
                const char *hook, *unit, *text, *id, *volume; /* NULL: the volume is "state" */
        } cases[] = {
                { NULL, "anchor.service", "[Service]\nExecStart=/bin/a\n", NULL },
                { "anchor.service", "anchor.service", ONESHOT COUNTER, NULL },
                { "anchor.service", "anchor.service",
                  ONESHOT "EnvironmentFile=-/run/unseald-volume/state.env\n", NULL },
                { "anchor@state.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=/run/unseald-volume/%i.env\n", NULL },
                { "anchor@state.service", "anchor@.service", ONESHOT COUNTER, NULL },
                { "anchor@other.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=/run/unseald-volume/%i.env\n", "hook-environment" },
                { "anchor@state.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=/run/unseald-volume/%I.env\n", NULL },
                { "anchor@state.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=%t/unseald-volume/%i.env\n", NULL },
                { "anchor@state.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=/etc/unseald-volume/%i.env\n", "hook-environment" },
                { "anchor@a-b.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=/run/unseald-volume/%i.env\n", NULL, "a-b" },
                { "anchor@a-b.service", "anchor@.service",
                  ONESHOT "EnvironmentFile=/run/unseald-volume/%I.env\n", "hook-environment", "a-b" },
                { "anchors.service", "anchor.service", ONESHOT COUNTER, "hook-unknown" },
                { "anchor.service", "anchor.service", "[Service]\nExecStart=/bin/a\n" COUNTER, "hook-type" },
                { "anchor.service", "anchor.service", "[Service]\nType=exec\nExecStart=/bin/a\n" COUNTER,
                  "hook-type" },
                { "anchor.service", "anchor.service", "[Service]\nType=oneshot\nExecStart=-/bin/a\n" COUNTER,
                  "hook-failure" },
                { "anchor.service", "anchor.service",
                  "[Service]\nType=oneshot\nExecStart=+:-/bin/a\n" COUNTER, "hook-failure" },
                { "anchor.service", "anchor.service", "[Service]\nType=oneshot\nExecStop=/bin/a\n" COUNTER,
                  "hook-failure" },
                { "anchor.service", "anchor.service", ONESHOT "ExecStart=\nExecStart=-/bin/b\n" COUNTER,
                  "hook-failure" },
                { "anchor.service", "anchor.service", ONESHOT "SuccessExitStatus=1\n" COUNTER,
                  "hook-failure" },
                /* A failure of the first program alone is ignored. */
                { "anchor.service", "anchor.service",
                  "[Service]\nType=oneshot\nExecStart=-/bin/b\nExecStart=/bin/a -x\n" COUNTER, NULL },
                { "anchor.service", "anchor.service", ONESHOT, "hook-environment" },
                { "anchor.service", "anchor.service", ONESHOT COUNTER "EnvironmentFile=\n",
                  "hook-environment" },
                { "anchor.service", "anchor.service", ONESHOT "[Unit]\n" COUNTER, "hook-environment" },
                { "anchor.service", "anchor.service",
                  "[Unit]\nAfter=unseald-volume@state.service\n" ONESHOT COUNTER, "hook-order" },
                { "anchor.service", "anchor.service", "[Unit]\nAfter=srv-state.mount\n" ONESHOT COUNTER,
                  "hook-order" },
        };
        static const char *const ids[] = { "hook-unknown", "hook-type", "hook-failure", "hook-environment",
                                           "hook-order" };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Volume volume = { .name = (char *) (cases[i].volume ?: "state"),
                                  .file = (char *) "state.volume",
                                  .secret = (char *) "db",
                                  .where = (char *) "/srv/state",
                                  .on_open = (char *) cases[i].hook,
                                  .writable = true };
                const Volumes volumes = { .items = &volume, .count = 1 };
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks seen = {};
                size_t loaded;

                make_tree(&tree, cases[i].unit, cases[i].text);
                assert_int_equal(check_units(&tree, &(const Declarations){}, &volumes, &seen, &loaded), 0);
                for (size_t k = 0; k < ELEMENTSOF(ids); k++) {
                        size_t wanted = cases[i].id && strcmp(cases[i].id, ids[k]) == 0;

                        if (count_of(&seen, ids[k]) != wanted)
                                fail_msg("row %zu: %zu findings %s, wanted %zu", i, count_of(&seen, ids[k]),
                                         ids[k], wanted);
                }
        }
}

/* Otherwise unseald waits for a label that nobody reads. */
static void test_the_volume_of_a_key_in_a_label_is_declared(void **state) {
        const struct {
                const char *volume;
                bool key_in_label, found;
        } cases[] = { { "state", true, false }, { "state", false, true }, { "other", true, true } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Volume volume = { .name = (char *) cases[i].volume,
                                  .file = (char *) "state.volume",
                                  .secret = (char *) "key",
                                  .writable = true,
                                  .key_in_label = cases[i].key_in_label };
                Declaration secret = { .name = (char *) "key",
                                       .generate = 32,
                                       .generate_missing = true,
                                       .source = { .kind = SOURCE_VOLUME, .location = (char *) "state" },
                                       .file = (char *) "key.secret" };
                const Declarations declarations = { .items = &secret, .count = 1 };
                const Volumes volumes = { .items = &volume, .count = 1 };
                _cleanup_(unit_tree_clear) UnitTree tree = {};
                _cleanup_(remarks_clear) Remarks seen = {};
                size_t loaded;

                make_tree(&tree, "app.service", EXEC);
                assert_int_equal(check_units(&tree, &declarations, &volumes, &seen, &loaded), 0);
                assert_int_equal(count_of(&seen, "volume-of-key-undeclared"), cases[i].found);
                assert_int_equal(count_of(&seen, "volume-key-of-one-boot"), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_mistake_is_found_and_its_control_is_not),
                cmocka_unit_test(test_a_secret_that_no_unit_takes_is_found_in_a_whole_system),
                cmocka_unit_test(test_each_member_of_a_bundle_is_judged_as_a_secret),
                cmocka_unit_test(test_the_hook_of_a_volume_can_refuse_it),
                cmocka_unit_test(test_the_volume_of_a_key_in_a_label_is_declared),
                cmocka_unit_test(test_a_volume_without_integrity_is_told),
                cmocka_unit_test(test_too_many_dependencies_are_a_mistake),
                cmocka_unit_test(test_the_order_is_found_through_other_units),
                cmocka_unit_test(test_units_start_by_sockets_timers_and_templates),
                cmocka_unit_test(test_a_tree_without_a_boot_gets_no_finding_about_it),
                cmocka_unit_test(test_a_unit_that_the_target_starts_needs_no_wants),
                cmocka_unit_test(test_a_quadlet_is_enabled_by_its_own_lines),
                cmocka_unit_test(test_a_system_without_unseald_is_named),
                cmocka_unit_test(test_masked_units_of_unseald_are_named),
                cmocka_unit_test(test_the_key_of_a_volume_is_a_secret_for_its_unit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
