/* SPDX-License-Identifier: Apache-2.0 */

/* Lists every mistake in the configuration of a system, so that a build of an image stops before the image exists. */

#include <stdio.h>
#include <string.h>

#include "build-config.h"
#include "unsealctl/check/check-options.h"
#include "unsealctl/check/check-system.h"
#include "unsealctl/check/finding.h"
#include "unsealctl/ctl.h"

static void print_help(void) {
        printf("unsealctl check [OPTIONS…]\n\n"
               "Check unseald's configuration and the unit files that use its secrets, and print\n"
               "every mistake with file and line. Only files are read: no TPM, no network.\n\n"
               "  -h --help                      Show this help\n"
               "     --json                      Print JSON\n"
               "     --root=DIR                  Check the system in this directory\n"
               "     --vendor-configuration=DIR  Read this in place of %s\n"
               "     --configuration=DIR         Read this in place of %s\n\n"
               "Exit status: 0 no mistake, 1 failure, 2 usage, 78 at least one mistake.\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

static struct json_object *remark_to_json(const Remark *remark) {
        struct json_object *object = made(json_object_new_object());
        char path[1024], secret[sizeof(remark->secret)];
        const char *text;
        unsigned line;
        size_t length = remark_place(remark->text, &line, &text);

        (void) snprintf(path, sizeof(path), "%.*s", (int) length, remark->text);
        remark_secret(remark, secret, sizeof(secret));
        add_string(object, "id", remark_id(remark));
        add_string(object, "severity", remark_severity(remark));
        add_string(object, "file", path[0] ? path : NULL);
        if (line > 0)
                add(object, "line", made(json_object_new_int64(line)));
        add_string(object, "unit", remark->unit[0] ? remark->unit : NULL);
        add_string(object, "secret", secret[0] ? secret : NULL);
        add_string(object, "text", text);
        add_string(object, "cure",
                   remark->cure ?: "Correct the line. unseald.conf(5) and unseald.secret(5) say what each setting takes.");
        return object;
}

static size_t count_of(const Remarks *remarks, const char *severity) {
        size_t n = 0;

        for (size_t i = 0; i < remarks->count; i++)
                n += strcmp(remark_severity(&remarks->items[i]), severity) == 0;
        return n;
}

static struct json_object *remarks_to_json(const Remarks *remarks) {
        struct json_object *object = made(json_object_new_object()),
                           *findings = made(json_object_new_array());

        add(object, "mistakes", made(json_object_new_int64((int64_t) count_of(remarks, "mistake"))));
        add(object, "warnings", made(json_object_new_int64((int64_t) count_of(remarks, "warning"))));
        add(object, "advice", made(json_object_new_int64((int64_t) count_of(remarks, "advice"))));
        add(object, "findings", findings);
        for (size_t i = 0; i < remarks->count; i++)
                if (json_object_array_add(findings, remark_to_json(&remarks->items[i])) < 0)
                        exit(failure("Out of memory."));
        return object;
}

static void print_text(const Remarks *remarks) {
        for (size_t i = 0; i < remarks->count; i++) {
                const Remark *remark = &remarks->items[i];

                printf("%s: %s\n",
                       remark->mistake  ? "Mistake"
                       : remark->advice ? "Advice"
                                        : "Warning",
                       remark->text);
        }
}

static void print_json(const Remarks *remarks) {
        _cleanup_json_ struct json_object *object = remarks_to_json(remarks);

        puts(json_object_to_json_string_ext(object,
                                            JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
}

int verb_check(int argc, char *argv[]) {
        _cleanup_(remarks_clear) Remarks remarks = {};
        CheckOptions options;
        Error error = {};
        int status;

        if (!check_options_parse(argc, argv, "check", true, print_help, &options, &status))
                return status;
        if (check_system(options.vendor, options.local, &remarks, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        if (options.json)
                print_json(&remarks);
        else
                print_text(&remarks);
        return remarks_mistakes(&remarks) > 0 ? FAILURE_CONFIGURATION : EXIT_SUCCESS;
}
