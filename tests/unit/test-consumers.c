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
        if (consumers.count == 0 && wanted == CONSUMER_FINE)
                return; /* nobody's */
        if (mistake(0) != wanted)
                fail_msg("%s in %s: saw '%s', wanted '%s'", line, unit, consumer_mistake_meaning(mistake(0)),
                         consumer_mistake_meaning(wanted));
        consumers_clear(&consumers);
}

static void test_consumers_are_lines_with_a_path_of_unseald(void **state) {
        take("a.service",
             "[Service]\nLoadCredential=db:/run/unseald/credentials.sock\nLoadCredential=other:/etc/other\n"
             "LoadCredential=relative\nExecStart=/bin/true db:/run/unseald/x\nSetCredential=set:value\n"
             "[Install]\nLoadCredential=db:/run/unseald/credentials.sock\n");
        assert_int_equal(consumers.count, 3);
        assert_string_equal(consumers.items[0].unit, "a.service");
        assert_string_equal(consumers.items[0].id, "db");
        assert_string_equal(consumers.items[0].path, "/run/unseald/credentials.sock");
        assert_int_equal(consumers.items[0].line, 2);
        assert_string_equal(consumers.items[1].id, "relative");
        assert_int_equal(consumers.items[1].way, CONSUMER_RELATIVE);
        assert_string_equal(consumers.items[2].id, "set");
        assert_null(consumers.items[2].path);
        assert_int_equal(mistake(1), CONSUMER_FINE);
        assert_int_equal(mistake(2), CONSUMER_FINE);
}

static void test_each_mistake_is_recognized(void **state) {
#define SOCKET ":/run/unseald/credentials.sock"
#define STORE ":/run/unseald/credentials/"
        assert_mistake("a.service", "LoadCredential=db" SOCKET, CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=password" STORE "db", CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=all" STORE, CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=all:/run/unseald/credentials", CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredential=all:/run/unseald/credentialsx", CONSUMER_NOWHERE);
        assert_mistake("a.service", "LoadCredential=db", CONSUMER_NOT_ABSOLUTE);
        assert_mistake("a.service", "LoadCredential=db:db", CONSUMER_NOT_ABSOLUTE);
        assert_mistake("a.service", "LoadCredential=x:db", CONSUMER_NOT_ABSOLUTE);
        assert_mistake("a.service", "LoadCredential=passwd.shell.root", CONSUMER_FINE);
        assert_mistake("a.service", "LoadCredentialEncrypted=db" SOCKET, CONSUMER_NOT_ENCRYPTED);
        assert_mistake("a.service", "LoadCredentialEncrypted=x:/etc/x", CONSUMER_FINE);
        assert_mistake("a.service", "ImportCredential=db", CONSUMER_NOT_IMPORTED);
        assert_mistake("billing.service", "ImportCredential=d*", CONSUMER_NOT_IMPORTED);
        assert_mistake("a.service", "ImportCredential=d*", CONSUMER_FINE);
        assert_mistake("a.service", "ImportCredential=db\nLoadCredential=db" SOCKET, CONSUMER_FINE);
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

static void test_an_empty_assignment_removes_earlier_ones(void **state) {
        take("a.service", "[Service]\nLoadCredential=db" SOCKET "\nSetCredential=db:1\nLoadCredential=\n"
                          "LoadCredential=token" SOCKET "\n");
        assert_int_equal(consumers.count, 2);
        assert_string_equal(consumers.items[0].id, "db");
        assert_int_equal(consumers.items[0].way, CONSUMER_SET);
        assert_string_equal(consumers.items[1].id, "token");
}

static void test_paths_are_simplified(void **state) {
        take("a.service",
             "[Service]\nLoadCredential=db:%t/unseald//credentials.sock\nLoadCredential=all" STORE "\n"
             "EnvironmentFile=-/run/unseald/credentials//db\nExecStart=+/bin/a --file=/run/unseald/credentials/db x\n");
        assert_int_equal(consumers.count, 4);
        assert_true(consumer_asks_socket(&consumers.items[0]));
        assert_string_equal(consumers.items[1].path, "/run/unseald/credentials");
        assert_null(consumer_secret(&consumers.items[1]));
        assert_string_equal(consumer_secret(&consumers.items[2]), "db");
        assert_int_equal(consumers.items[2].way, CONSUMER_ENVIRONMENT);
        assert_string_equal(consumers.items[3].path, "/run/unseald/credentials/db");
        assert_true(consumers.items[3].as_root);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(mistake(i), CONSUMER_FINE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_consumers_are_lines_with_a_path_of_unseald, forget),
                cmocka_unit_test_teardown(test_each_mistake_is_recognized, forget),
                cmocka_unit_test_teardown(test_a_fallback_counts_only_in_the_same_unit, forget),
                cmocka_unit_test_teardown(test_an_empty_assignment_removes_earlier_ones, forget),
                cmocka_unit_test_teardown(test_paths_are_simplified, forget),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
