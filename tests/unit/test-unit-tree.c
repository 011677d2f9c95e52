/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/nearest.h"
#include "unsealctl/check/unit-graph.h"
#include "unsealctl/check/unit-tree.h"

/* In place of the C library's, as if memory were short. */
static bool no_memory;

char *strdup(const char *string) {
        size_t size = strlen(string) + 1;
        char *copy = no_memory ? NULL : malloc(size);

        return copy ? memcpy(copy, string, size) : NULL;
}

/* Two directories, the first with the higher priority: etc and lib. */
static char top[] = "/tmp/test-unit-tree.XXXXXX", etc[64], lib[64];
static UnitTree tree;

static int make_directories(void **state) {
        memcpy(strrchr(top, '.'), ".XXXXXX", 8);
        if (!mkdtemp(top))
                return -1;
        (void) snprintf(etc, sizeof(etc), "%s/etc", top);
        (void) snprintf(lib, sizeof(lib), "%s/lib", top);
        return mkdir(etc, 0755) || mkdir(lib, 0755);
}

static int remove_directories(void **state) {
        char command[64];

        unit_tree_clear(&tree);
        (void) snprintf(command, sizeof(command), "rm -r %s", top);
        return system(command);
}

/* Writes DIRECTORY/NAME, and makes the directory of NAME. */
static void put(const char *directory, const char *name, const char *text) {
        char path[256], *slash;
        FILE *file;

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        slash = strrchr(path, '/');
        *slash = '\0';
        (void) mkdir(path, 0755);
        *slash = '/';
        file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void put_link(const char *directory, const char *name, const char *target) {
        char path[256];

        put(directory, name, "");
        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink(target, path), 0);
}

static void read_tree(void) {
        const char *const directories[] = { "/nonexistent", etc, lib, NULL };

        assert_int_equal(unit_tree_read(directories, &tree), 0);
}

/* The unit has exactly these values of Environment=, in this order. */
static void assert_values(const char *name, const char *wanted) {
        const Unit *unit = unit_tree_resolve(&tree, name);
        char seen[256] = "";

        for (size_t i = 0; unit && i < unit->lines->count; i++) {
                (void) strncat(seen, seen[0] ? " " : "", 2);
                (void) strncat(seen, unit->lines->assignments[i].value, 64);
        }
        if (!unit || strcmp(seen, wanted) != 0)
                fail_msg("%s: saw %s '%s', wanted '%s'", name, unit ? "values" : "no unit", seen, wanted);
}

static void test_units_are_read_with_their_drop_ins(void **state) {
        put(lib, "a-b.service", "[Service]\nEnvironment=own\n");
        put(lib, "a-b.service.d/20.conf", "[Service]\nEnvironment=lib20\n");
        put(etc, "a-b.service.d/10.conf", "[Service]\nEnvironment=etc10\n");
        put(lib, "a-b.service.d/10.conf", "[Service]\nEnvironment=hidden\n");
        put(etc, "a-b.service.d/README", "[Service]\nEnvironment=none\n");
        put(etc, "a-.service.d/15.conf", "[Service]\nEnvironment=prefix\n");
        put(lib, "service.d/90.conf", "[Service]\nEnvironment=type\n");
        put(lib, "alias.service.d/30.conf", "[Service]\nEnvironment=alias\n");
        put_link(etc, "alias.service", "../lib/a-b.service");
        read_tree();
        assert_values("a-b.service", "own etc10 prefix lib20 alias type");
        assert_values("alias.service", "own etc10 prefix lib20 alias type");
        assert_null(unit_tree_resolve(&tree, "a-.service"));
}

static void test_a_file_hides_the_files_of_its_name(void **state) {
        put(etc, "a.service", "[Service]\nEnvironment=etc\n");
        put(lib, "a.service", "[Service]\nEnvironment=lib\n");
        put_link(etc, "masked.service", "/dev/null");
        put(lib, "masked.service", "[Service]\nEnvironment=lib\n");
        put(etc, "empty.service", "");
        put(lib, "empty.service", "[Service]\nEnvironment=lib\n");
        put_link(etc, "dangling.service", "/nonexistent/dangling.service");
        put(lib, "broken.service", "Environment=outside\n[Service]\n\001\nno assignment\nEnvironment=in\n");
        read_tree();
        assert_values("a.service", "etc");
        assert_null(unit_tree_resolve(&tree, "masked.service"));
        assert_true(unit_tree_find(&tree, "masked.service")->masked);
        assert_null(unit_tree_resolve(&tree, "empty.service"));
        assert_null(unit_tree_resolve(&tree, "dangling.service"));
        assert_values("broken.service", "in");
}

static void test_instances_have_the_lines_of_their_template(void **state) {
        put(lib, "w@.service", "[Service]\nEnvironment=template\n");
        put(etc, "w@.service.d/10.conf", "[Service]\nEnvironment=all\n");
        put(etc, "w@2.service.d/20.conf", "[Service]\nEnvironment=two\n");
        put_link(etc, "v@.service", "w@.service");
        put_link(etc, "boot.target.wants/w@3.service", "../../lib/w@.service");
        put_link(etc, "boot.target.wants/w@4.service", "/dev/null");
        read_tree();
        assert_values("w@1.service", "template all");
        assert_values("w@2.service", "template all two");
        assert_values("v@2.service", "template all two");
        assert_non_null(unit_tree_find(&tree, "w@3.service"));
        assert_null(unit_tree_find(&tree, "w@4.service"));
        assert_null(unit_tree_resolve(&tree, "x@1.service"));
}

static void test_quadlets_are_services(void **state) {
        put(etc, "web.container", "[Container]\nImage=web\n[Service]\nEnvironment=own\n");
        put(etc, "web.container.d/10.conf", "[Service]\nEnvironment=more\n");
        read_tree();
        assert_values("web.service", "web own more");
}

static void test_names_are_taken_apart(void **state) {
        static const struct {
                const char *name, *template;
        } cases[] = {
                { "a@1.service", "a@.service" }, { "a@x@y.service", "a@.service" },
                { "a@.service", NULL },          { "a@1.2.service", "a@.service" },
                { "a.service", NULL },           { "a@1", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *template = NULL;

                assert_int_equal(unit_name_template(cases[i].name, &template), 0);
                if (cases[i].template)
                        assert_string_equal(template, cases[i].template);
                else
                        assert_null(template);
        }
        assert_true(unit_name_is_template("a@.service"));
        assert_false(unit_name_is_template("a@1.service"));
        assert_false(unit_name_is_template("a@.b.service"));
        assert_true(unit_name_has_type("a.target"));
        assert_false(unit_name_has_type(".service"));
        assert_false(unit_name_has_type("a.container"));
}

static void test_links_in_a_circle_end(void **state) {
        _cleanup_free_ char *canonical = NULL;

        put_link(etc, "a.service", "b.service");
        put_link(etc, "b.service", "a.service");
        read_tree();
        assert_int_equal(unit_tree_canonical(&tree, "a.service", &canonical), 0);
        assert_null(unit_tree_resolve(&tree, "a.service"));
}

static void test_directories_of_names_without_a_type_are_passed_over(void **state) {
        put(etc, "app.service", "[Service]\nExecStart=/bin/true\n");
        put(etc, "app.wants/db.service", "");
        put(etc, "app.requires/db.service", "");
        put(etc, "app.d/10.conf", "[Service]\nExecStart=/bin/false\n");
        put(etc, "app.service.wants/db.service", "");
        read_tree();
        assert_null(unit_tree_find(&tree, "app"));
        assert_non_null(unit_setting(unit_tree_find(&tree, "app.service"), "Unit", "Wants"));
        assert_non_null(unit_tree_find(&tree, "db.service"));
}

/* A drop-in of all services counts for each service. */
static void test_text_without_end_is_refused(void **state) {
        const char *const directories[] = { etc, NULL };
        _cleanup_free_ char *text = calloc(1, 256 * 1024);
        char name[32];

        assert_non_null(text);
        for (size_t i = 0; i < 250; i++)
                memset(text + i * 1024, i == 0 ? '#' : '\n', 1024);
        put(etc, "service.d/10.conf", text);
        for (unsigned i = 0; i < 65; i++) {
                (void) snprintf(name, sizeof(name), "x%u.service", i);
                put(etc, name, "[Service]\n");
        }
        read_tree();
        assert_true(tree.text > UNIT_TREE_TEXT_MAX - 251 * 1024 && tree.text <= UNIT_TREE_TEXT_MAX);
        for (unsigned i = 65; i < 67; i++) {
                (void) snprintf(name, sizeof(name), "x%u.service", i);
                put(etc, name, "[Service]\n");
        }
        unit_tree_clear(&tree);
        assert_int_equal(unit_tree_read(directories, &tree), -E2BIG);
}

static void test_distance_counts_typing_mistakes(void **state) {
        static const struct {
                const char *one, *other;
                size_t distance;
        } cases[] = {
                { "", "", 0 },         { "a", "", 1 },      { "unsealed.target", "unseald.target", 1 },
                { "ab", "ba", 1 },     { "abc", "acb", 1 }, { "kitten", "sitting", 3 },
                { "same", "same", 0 }, { "", "abc", 3 },
        };
        char *long_name = calloc(1, 300);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(name_distance(cases[i].one, cases[i].other), cases[i].distance);
                assert_int_equal(name_distance(cases[i].other, cases[i].one), cases[i].distance);
        }
        memset(long_name, 'a', 256);
        assert_true(name_distance(long_name, "a") == SIZE_MAX);
        long_name[255] = '\0';
        assert_int_equal(name_distance(long_name, "a"), 254);
        free(long_name);
}

static void test_mistyped_name_is_near_and_another_name_is_not(void **state) {
        static const struct {
                const char *typed, *known;
                bool near;
        } cases[] = {
                { "LockPCR", "LockPcr", true },
                { "KMSEndpoint", "KmsEndpoint", true },
                { "unsealed", "unseald", true },
                { "TrustedCerts", "TrustedCertificates", false },
                { "Unit", "Units", true },
                { "Mode", "Store", false },
                { "db", "dbx", true },
                { "dbx", "db", false },
                { "systemd", "unseald", false },
                { "", "Mode", false },
                { "db-pasword", "db-password", true },
                { "tls-cert", "tls-key", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t best = SIZE_MAX;

                if (name_is_nearer(cases[i].typed, cases[i].known, &best) != cases[i].near)
                        fail_msg("%s, %s: wanted %s", cases[i].typed, cases[i].known,
                                 cases[i].near ? "near" : "far");
        }
        size_t best = SIZE_MAX;
        assert_true(name_is_nearer("password", "passwords", &best));
        assert_false(name_is_nearer("password", "passwords", &best));
        assert_true(name_is_nearer("password", "PASSWORD", &best));
        assert_int_equal(best, 0);
}

#define DIRECTORY_TEST(test) cmocka_unit_test_setup_teardown(test, make_directories, remove_directories)

/* "There is no such unit", and "it is started" where nothing is known, would be untrue. */
static void test_short_memory_ends_the_program_and_is_no_answer(void **state) {
        _cleanup_(unit_graph_freep) UnitGraph *graph = NULL;

        put(lib, "a.service", "[Service]\nExecStart=true\n");
        read_tree();
        assert_int_equal(unit_graph_new(&tree, &graph), 0);
        for (unsigned i = 0; i < 2; i++) {
                pid_t child;
                int status;

                fflush(NULL);
                child = fork();
                if (child == 0) {
                        no_memory = true;
                        if (i == 0)
                                (void) unit_tree_resolve(&tree, "a.service");
                        else
                                (void) unit_graph_is_started(graph, "a.service");
                        _exit(EXIT_SUCCESS);
                }
                assert_true(child > 0);
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                DIRECTORY_TEST(test_units_are_read_with_their_drop_ins),
                DIRECTORY_TEST(test_a_file_hides_the_files_of_its_name),
                DIRECTORY_TEST(test_instances_have_the_lines_of_their_template),
                DIRECTORY_TEST(test_quadlets_are_services),
                DIRECTORY_TEST(test_links_in_a_circle_end),
                DIRECTORY_TEST(test_text_without_end_is_refused),
                DIRECTORY_TEST(test_directories_of_names_without_a_type_are_passed_over),
                DIRECTORY_TEST(test_short_memory_ends_the_program_and_is_no_answer),
                cmocka_unit_test(test_names_are_taken_apart),
                cmocka_unit_test(test_distance_counts_typing_mistakes),
                cmocka_unit_test(test_mistyped_name_is_near_and_another_name_is_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
