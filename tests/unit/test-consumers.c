/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "unsealctl/check/consumers.h"

static Consumers consumers;

static int forget(void **state) {
        consumers_clear(&consumers);
        return 0;
}

static void take(const char *unit, const char *text) {
        _cleanup_ini_ IniFile *file = calloc(1, sizeof(*file));

        assert_int_equal(ini_parse("a.service", text, strlen(text), file, NULL), 0);
        assert_int_equal(consumers_take(&consumers, unit, file), 0);
}

/* Two secrets: db is for any unit and in the store. token is for two units, only through the socket. */
static ConsumerMistake mistake(size_t n) {
        char *units[] = { (char *) "billing.service", (char *) "worker@1.service", (char *) "crew@*.service",
                          NULL };
        Declaration items[] = {
                { .name = (char *) "db", .store = true },
                { .name = (char *) "token", .units = units },
        };
        const Declarations declarations = { .items = items, .count = ELEMENTSOF(items) };

        if (n >= consumers.count)
                fail_msg("wanted consumer %zu, saw %zu of them", n, consumers.count);
        return consumer_mistake(&consumers, &consumers.items[n], &declarations);
}

static void assert_mistake(const char *unit, const char *line, ConsumerMistake wanted) {
        char text[256];

        (void) snprintf(text, sizeof(text), "[Service]\n%s\n", line);
        take(unit, text);
        if (mistake(0) != wanted)
                fail_msg("%s in %s: saw '%s', wanted '%s'", line, unit, consumer_mistake_meaning(mistake(0)),
                         consumer_mistake_meaning(wanted));
        consumers_clear(&consumers);
}

static void test_consumers_are_lines_with_a_path_of_unseald(void **state) {
        take("a.service",
             "[Service]\nLoadCredential=db:/run/unseald/credentials.sock\nLoadCredential=other:/etc/other\n"
             "LoadCredential=relative\nExecStart=/bin/true db:/run/unseald/x\nSetCredential=set:value\n");
        assert_int_equal(consumers.count, 2);
        assert_string_equal(consumers.items[0].unit, "a.service");
        assert_string_equal(consumers.items[0].id, "db");
        assert_string_equal(consumers.items[0].path, "/run/unseald/credentials.sock");
        assert_int_equal(consumers.items[0].line, 2);
        assert_string_equal(consumers.items[1].id, "set");
        assert_null(consumers.items[1].path);
        assert_int_equal(mistake(1), CONSUMER_FINE);
}

static void test_each_mistake_is_recognized(void **state) {
#define SOCKET ":/run/unseald/credentials.sock"
#define STORE ":/run/unseald/credentials/"
        assert_mistake("a.service", "LoadCredential=db" SOCKET, CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=password" STORE "db", CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=all" STORE, CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=db" STORE "%i", CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=dbx" SOCKET, CONSUMER_UNDECLARED);
        assert_mistake("a.service", "LoadCredential=db" STORE "password", CONSUMER_UNDECLARED);
        assert_mistake("a.service", "LoadCredential=token" SOCKET, CONSUMER_REFUSED);
        assert_mistake("worker@2.service", "LoadCredential=token" SOCKET, CONSUMER_REFUSED);
        assert_mistake("worker@1.service", "LoadCredential=token" SOCKET, CONSUMER_FINE);
        assert_mistake("worker@.service", "LoadCredential=token" SOCKET, CONSUMER_FINE);
        assert_mistake("crew@.service", "LoadCredential=token" SOCKET, CONSUMER_FINE);
        assert_mistake("crew@9.service", "LoadCredential=token" SOCKET, CONSUMER_FINE);
        assert_mistake("crewx@9.service", "LoadCredential=token" SOCKET, CONSUMER_REFUSED);
        assert_mistake("other@.service", "LoadCredential=token" SOCKET, CONSUMER_REFUSED);
        assert_mistake("billing.service", "LoadCredential=token" SOCKET, CONSUMER_FINE);
        assert_mistake("billing.service", "LoadCredential=token" STORE "token", CONSUMER_NOT_STORED);
        assert_mistake("a.service", "LoadCredential=db:/run/unseald/db", CONSUMER_NOWHERE);
        assert_mistake("a.service", "LoadCredential=db" SOCKET "\nSetCredential=db:value",
                       CONSUMER_FALLBACK);
        assert_mistake("a.service", "LoadCredential=db" SOCKET "\nSetCredential=other:value", CONSUMER_FINE);
}

static void test_a_fallback_counts_only_in_the_same_unit(void **state) {
        take("a.service", "[Service]\nLoadCredential=db" SOCKET "\n");
        take("b.service", "[Service]\nSetCredential=db:value\n");
        assert_int_equal(mistake(0), CONSUMER_FINE);
}

static void put(const char *directory, const char *name, const char *text) {
        char path[256];
        FILE *file;

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void test_units_and_their_drop_ins_are_read(void **state) {
        char directory[] = "/tmp/test-consumers.XXXXXX", drop_ins[64], command[64];

        assert_non_null(mkdtemp(directory));
        (void) snprintf(drop_ins, sizeof(drop_ins), "%s/b.service.d", directory);
        assert_int_equal(mkdir(drop_ins, 0755), 0);
        put(directory, "z.service", "[Service]\nLoadCredential=db" SOCKET "\n");
        put(directory, "a.timer", "[Service]\nLoadCredential=db" SOCKET "\n");
        put(directory, "broken.service", "[Service]\nLoadCredential=db" SOCKET "\n\001\n");
        put(drop_ins, "10-db.conf", "[Service]\nLoadCredential=db" SOCKET "\n");
        put(drop_ins, "README", "LoadCredential=db" SOCKET "\n");

        assert_int_equal(
                        consumers_read((const char *const[]){ "/nonexistent", directory, NULL }, &consumers),
                        0);
        (void) snprintf(command, sizeof(command), "rm -r %s", directory);
        assert_int_equal(system(command), 0);
        assert_int_equal(consumers.count, 2);
        assert_string_equal(consumers.items[0].unit, "b.service");
        assert_string_equal(consumers.items[1].unit, "z.service");
}

static void test_hidden_files_and_aliases_are_skipped(void **state) {
        char top[] = "/tmp/test-consumers.XXXXXX", path[192], command[64];
        char directories[2][64];

        assert_non_null(mkdtemp(top));
        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                (void) snprintf(directories[i], sizeof(directories[i]), "%s/%zu", top, i);
                assert_int_equal(mkdir(directories[i], 0755), 0);
                (void) snprintf(path, sizeof(path), "%s/a.service.d", directories[i]);
                assert_int_equal(mkdir(path, 0755), 0);
                put(path, "10.conf", "[Service]\nLoadCredential=in-drop-in" SOCKET "\n");
        }
        put(directories[1], "a.service", "[Service]\nLoadCredential=db" SOCKET "\n");
        put(directories[1], "masked.service", "[Service]\nLoadCredential=db" SOCKET "\n");
        (void) snprintf(path, sizeof(path), "%s/masked.service", directories[0]);
        assert_int_equal(symlink("/dev/null", path), 0);
        (void) snprintf(path, sizeof(path), "%s/alias.service", directories[0]);
        assert_int_equal(symlink("../1/a.service", path), 0);

        assert_int_equal(consumers_read((const char *const[]){ directories[0], directories[1], NULL },
                                        &consumers),
                         0);
        (void) snprintf(command, sizeof(command), "rm -r %s", top);
        assert_int_equal(system(command), 0);
        assert_int_equal(consumers.count, 2);
        assert_string_equal(consumers.items[0].id, "db");
        assert_string_equal(consumers.items[1].id, "in-drop-in");
        assert_true(strncmp(consumers.items[1].file, directories[0], strlen(directories[0])) == 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_consumers_are_lines_with_a_path_of_unseald, forget),
                cmocka_unit_test_teardown(test_each_mistake_is_recognized, forget),
                cmocka_unit_test_teardown(test_a_fallback_counts_only_in_the_same_unit, forget),
                cmocka_unit_test_teardown(test_units_and_their_drop_ins_are_read, forget),
                cmocka_unit_test_teardown(test_hidden_files_and_aliases_are_skipped, forget),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
