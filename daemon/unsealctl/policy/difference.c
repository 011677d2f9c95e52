/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each statement becomes a sorted list of facts, such as "action kms:decrypt". Two statements are equal if their facts are. The
 * facts that only one of them has are the words of the difference.
 */

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/json.h"
#include "unsealctl/policy/difference.h"
#include "unsealctl/policy/statement.h"

typedef struct Facts {
        char **items;
        size_t n;
        const char *sid; /* borrowed */
        bool known;      /* the other policy has the statement */
} Facts;

static void facts_done(Facts *facts) {
        for (size_t i = 0; i < facts->n; i++)
                free(facts->items[i]);
        free(facts->items);
}

_printf_(2, 3) static int add_fact(Facts *facts, const char *format, ...) {
        char **items = reallocarray(facts->items, facts->n + 1, sizeof(*items));
        va_list arguments;
        int n;

        if (!items)
                return -ENOMEM;
        facts->items = items;
        va_start(arguments, format);
        n = vasprintf(&items[facts->n], format, arguments);
        va_end(arguments);
        if (n < 0)
                return -ENOMEM;
        facts->n++;
        return 0;
}

static char *lower(char *text) {
        for (char *p = text; *p; p++)
                *p = (char) tolower((unsigned char) *p);
        return text;
}

static const char *text_of(struct json_object *value) {
        return json_object_get_string(value) ?: "";
}

static int add_principals(Facts *facts, const char *member, struct json_object *map) {
        int r = 0;

        if (!json_object_is_type(map, json_type_object))
                return add_fact(facts, "%s AWS *", member);
        json_object_object_foreach(map, type, list) {
                for (size_t i = 0; r >= 0 && i < list_length(list); i++) {
                        const char *text = text_of(list_item(list, i));
                        /* An account's ID means its root. */
                        bool account = strlen(text) == 12 && strspn(text, "0123456789") == 12;

                        r = add_fact(facts, "%s %s %s%s%s", member, type, account ? "arn:aws:iam::" : "",
                                     text, account ? ":root" : "");
                }
        }
        return r;
}

static int add_list(Facts *facts, const char *member, struct json_object *list, bool caseless) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < list_length(list); i++) {
                _cleanup_free_ char *text = strdup(text_of(list_item(list, i)));

                if (!text)
                        return -ENOMEM;
                r = add_fact(facts, "%s %s", member, caseless ? lower(text) : text);
        }
        return r;
}

static int add_conditions(Facts *facts, struct json_object *conditions) {
        int r = 0;

        if (!json_object_is_type(conditions, json_type_object))
                return 0;
        json_object_object_foreach(conditions, operator, keys) {
                if (!json_object_is_type(keys, json_type_object))
                        continue;
                json_object_object_foreach(keys, key, values) {
                        _cleanup_free_ char *name = strdup(key);

                        if (!name)
                                return -ENOMEM;
                        for (size_t i = 0; r >= 0 && i < list_length(values); i++)
                                r = add_fact(facts, "Condition %s of %s: %s", operator, lower(name),
                                             text_of(list_item(values, i)));
                }
        }
        return r;
}

static int compare_texts(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int make_facts(struct json_object *statement, Facts *ret) {
        static const char *const lists[] = { "Action", "NotAction", "Resource", "NotResource" };
        int r;

        ret->sid = json_member_string(statement, "Sid");
        r = add_fact(ret, "Effect %s", json_member_string(statement, "Effect") ?: "");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(lists); i++)
                r = add_list(ret, lists[i], json_member(statement, lists[i]), i < 2);
        for (size_t i = 0; r >= 0 && i < 2; i++) {
                const char *member = i == 0 ? "Principal" : "NotPrincipal";
                struct json_object *map = json_member(statement, member);

                r = map ? add_principals(ret, member, map) : 0;
        }
        if (r >= 0)
                r = add_conditions(ret, json_member(statement, "Condition"));
        if (r >= 0)
                qsort(ret->items, ret->n, sizeof(*ret->items), compare_texts);
        return r;
}

typedef struct PolicyFacts {
        Facts *statements;
        size_t n;
} PolicyFacts;

static void policy_done(PolicyFacts *policy) {
        for (size_t i = 0; i < policy->n; i++)
                facts_done(&policy->statements[i]);
        free(policy->statements);
}

static int read_policy(struct json_object *object, PolicyFacts *ret) {
        struct json_object *list = json_member(object, "Statement");
        size_t n = list_length(list);

        ret->statements = calloc(n + 1, sizeof(*ret->statements));
        if (!ret->statements)
                return -ENOMEM;
        for (ret->n = 0; ret->n < n; ret->n++) {
                int r = make_facts(list_item(list, ret->n), &ret->statements[ret->n]);

                if (r < 0) {
                        ret->n++;
                        return r;
                }
        }
        return 0;
}

static bool facts_equal(const Facts *a, const Facts *b) {
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (strcmp(a->items[i], b->items[i]) != 0)
                        return false;
        return true;
}

static bool has_fact(const Facts *facts, const char *fact) {
        return facts->n > 0 && bsearch(&fact, facts->items, facts->n, sizeof(*facts->items), compare_texts);
}

/* Writes the facts that the other statement does not have, with commas. */
static void print_missing(FILE *stream, const char *word, const Facts *facts, const Facts *other) {
        size_t n = 0;

        for (size_t i = 0; i < facts->n; i++)
                if (!has_fact(other, facts->items[i]))
                        fprintf(stream, "%s%s", n++ == 0 ? word : ", ", facts->items[i]);
        if (n > 0)
                fputc('.', stream);
}

static int describe(const Facts *live, const Facts *wanted, char **ret) {
        size_t size;
        FILE *stream = open_memstream(ret, &size);

        if (!stream)
                return -ENOMEM;
        if (!wanted)
                fputs("unsealctl policy would not write this statement.", stream);
        else if (!live)
                fputs("The policy lacks a statement that unsealctl policy writes.", stream);
        else {
                fputs("The statement differs from the one that unsealctl policy writes.", stream);
                print_missing(stream, " It also has: ", live, wanted);
                print_missing(stream, " It lacks: ", wanted, live);
        }
        return fclose(stream) == 0 ? 0 : -ENOMEM;
}

/* Marks statements that both policies have. */
static void match_equal(PolicyFacts *live, PolicyFacts *wanted) {
        for (size_t i = 0; i < live->n; i++)
                for (size_t j = 0; j < wanted->n && !live->statements[i].known; j++)
                        if (!wanted->statements[j].known &&
                            facts_equal(&live->statements[i], &wanted->statements[j]))
                                live->statements[i].known = wanted->statements[j].known = true;
}

static Facts *find_by_sid(PolicyFacts *policy, const char *sid) {
        for (size_t i = 0; sid && i < policy->n; i++)
                if (!policy->statements[i].known && policy->statements[i].sid &&
                    strcmp(policy->statements[i].sid, sid) == 0)
                        return &policy->statements[i];
        return NULL;
}

int policy_difference(struct json_object *live_object, struct json_object *wanted_object,
                      PolicyDifferenceFound found, void *userdata) {
        _cleanup_(policy_done) PolicyFacts live = {}, wanted = {};
        int n = 0, r;

        r = read_policy(live_object, &live);
        if (r >= 0)
                r = read_policy(wanted_object, &wanted);
        if (r < 0)
                return r;
        match_equal(&live, &wanted);
        for (size_t i = 0; i < live.n + wanted.n; i++) {
                bool is_live = i < live.n;
                Facts *facts = is_live ? &live.statements[i] : &wanted.statements[i - live.n], *other = NULL;
                _cleanup_free_ char *text = NULL;

                if (facts->known)
                        continue;
                if (is_live && (other = find_by_sid(&wanted, facts->sid)))
                        other->known = true;
                r = describe(is_live ? facts : NULL, is_live ? other : facts, &text);
                if (r < 0)
                        return r;
                found(userdata, is_live ? i + 1 : 0, facts->sid, text);
                n++;
        }
        return n;
}
