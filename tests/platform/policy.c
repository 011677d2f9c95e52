/* SPDX-License-Identifier: Apache-2.0 */

/*
 * policy_parse() validates a policy once and turns it into statements. The JSON tree keeps their strings,
 * and the Policy keeps the tree. Wildcards and variables are parsed while matching: that needs no memory,
 * and most values have none.
 *
 * AWS's pages leave some cases open. Here:
 *
 * - A single-valued operator on a key with several values matches if any value matches; the negated
 *   operator, if none does.
 * - NotPrincipal exempts a principal only where it lists the account, the role or user, and the session,
 *   because AWS checks them one after the other.
 * - A * in a Resource may match colons. AWS says so of a * at the end of a segment.
 * - An element with an invalid value is refused when the policy is put. AWS finds some of them only when it
 *   decides.
 */

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "policy.h"

#define DIGITS "0123456789"
#define ALPHANUMERIC DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ENCRYPTION_CONTEXT "kms:EncryptionContext:"

typedef struct Text {
        const char *data; /* NUL-terminated at length, unless it is a part of another text */
        size_t length;
} Text;

typedef struct Network {
        int family;
        unsigned bits;
        uint8_t address[16];
} Network;

typedef struct Value {
        Text text;
        union {
                double number; /* or seconds since 1970 */
                Network network;
        };
} Value;

typedef enum Comparison {
        COMPARE_STRING,
        COMPARE_STRING_IGNORE_CASE,
        COMPARE_LIKE,
        COMPARE_ARN,
        COMPARE_BOOL,
        COMPARE_NETWORK,
        COMPARE_NULL,
        COMPARE_NUMBER,
        COMPARE_DATE,
} Comparison;

typedef enum Order {
        ORDER_LESS = 1,
        ORDER_EQUAL = 2,
        ORDER_GREATER = 4,
} Order;

typedef struct Operator {
        const char *name;
        Comparison comparison;
        bool negated;
        bool no_variables;
        unsigned order; /* of numbers and dates: the Orders that match */
} Operator;

static const Operator operators[] = {
        { "StringEquals", COMPARE_STRING, false },
        { "StringNotEquals", COMPARE_STRING, true },
        { "StringEqualsIgnoreCase", COMPARE_STRING_IGNORE_CASE, false },
        { "StringNotEqualsIgnoreCase", COMPARE_STRING_IGNORE_CASE, true },
        { "StringLike", COMPARE_LIKE, false },
        { "StringNotLike", COMPARE_LIKE, true },
        { "ArnEquals", COMPARE_ARN, false },
        { "ArnLike", COMPARE_ARN, false },
        { "ArnNotEquals", COMPARE_ARN, true },
        { "ArnNotLike", COMPARE_ARN, true },
        { "Bool", COMPARE_BOOL, false, true },
        { "Null", COMPARE_NULL, false, true },
        { "BinaryEquals", COMPARE_STRING, false, true },
        { "IpAddress", COMPARE_NETWORK, false, true },
        { "NotIpAddress", COMPARE_NETWORK, true, true },
        { "NumericEquals", COMPARE_NUMBER, false, true, ORDER_EQUAL },
        { "NumericNotEquals", COMPARE_NUMBER, true, true, ORDER_EQUAL },
        { "NumericLessThan", COMPARE_NUMBER, false, true, ORDER_LESS },
        { "NumericLessThanEquals", COMPARE_NUMBER, false, true, ORDER_LESS | ORDER_EQUAL },
        { "NumericGreaterThan", COMPARE_NUMBER, false, true, ORDER_GREATER },
        { "NumericGreaterThanEquals", COMPARE_NUMBER, false, true, ORDER_GREATER | ORDER_EQUAL },
        { "DateEquals", COMPARE_DATE, false, true, ORDER_EQUAL },
        { "DateNotEquals", COMPARE_DATE, true, true, ORDER_EQUAL },
        { "DateLessThan", COMPARE_DATE, false, true, ORDER_LESS },
        { "DateLessThanEquals", COMPARE_DATE, false, true, ORDER_LESS | ORDER_EQUAL },
        { "DateGreaterThan", COMPARE_DATE, false, true, ORDER_GREATER },
        { "DateGreaterThanEquals", COMPARE_DATE, false, true, ORDER_GREATER | ORDER_EQUAL },
};

typedef enum Set {
        SET_NONE,
        SET_ALL, /* ForAllValues: */
        SET_ANY, /* ForAnyValue: */
} Set;

typedef struct Condition {
        const Operator *operator;
        Set set;
        bool if_exists;
        Text key;
        Value *values;
        size_t n_values;
} Condition;

typedef enum PrincipalKind {
        PRINCIPAL_EVERYONE,
        PRINCIPAL_ACCOUNT, /* text has its 12 digits */
        PRINCIPAL_ARN,
        PRINCIPAL_UNIQUE_ID,
        PRINCIPAL_SERVICE,
} PrincipalKind;

typedef struct Principal {
        PrincipalKind kind;
        Text text;
} Principal;

typedef struct Statement {
        bool deny;
        bool not_principal, not_action, not_resource;
        Principal *principals;
        size_t n_principals;
        Text *actions; /* empty: the statement has no effect */
        size_t n_actions;
        Text *resources; /* empty: the statement has no effect */
        size_t n_resources;
        Condition *conditions;
        size_t n_conditions;
} Statement;

struct Policy {
        PolicyKind kind;
        bool variables;
        struct json_object *tree;
        Statement *statements;
        size_t n_statements;
};

typedef struct Row {
        Text name;
        Text value;
} Row;

/* A key with several values has several rows. */
struct PolicyContext {
        Row *rows;
        size_t n_rows;
        size_t n_allocated;
};

static Text text_of(const char *string) {
        return (Text){ string, strlen(string) };
}

static bool text_equal(Text a, Text b) {
        return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool text_equal_ignore_case(Text a, Text b) {
        return a.length == b.length && strncasecmp(a.data, b.data, a.length) == 0;
}

static bool text_starts_with(Text text, const char *prefix) {
        size_t n = strlen(prefix);

        return text.length >= n && memcmp(text.data, prefix, n) == 0;
}

static bool is_one_of(char c, const char *characters) {
        return c != '\0' && strchr(characters, c);
}

/* Splits the text at its first colon. Returns false where it has none; otherwise *text is what follows the
 * colon. */
static bool cut_at_colon(Text *text, Text *ret_before) {
        const char *colon = memchr(text->data, ':', text->length);
        size_t n = colon ? (size_t) (colon - text->data) : 0;

        if (!colon)
                return false;
        *ret_before = (Text){ text->data, n };
        *text = (Text){ colon + 1, text->length - n - 1 };
        return true;
}

/* Splits an ARN into partition, service, region, account and resource. */
static bool split_arn(Text arn, Text ret_parts[static 5]) {
        if (!text_starts_with(arn, "arn:"))
                return false;
        arn = (Text){ arn.data + 4, arn.length - 4 };
        for (size_t i = 0; i < 4; i++)
                if (!cut_at_colon(&arn, &ret_parts[i]))
                        return false;
        ret_parts[4] = arn;
        return true;
}

static bool is_account(Text text) {
        return text.length == 12 && strspn(text.data, DIGITS) >= 12;
}

static const Row *next_row(const PolicyContext *context, const Row *previous, Text name) {
        const Row *end = context->rows + context->n_rows;

        for (const Row *row = previous ? previous + 1 : context->rows; row < end; row++)
                if (text_equal_ignore_case(row->name, name))
                        return row;
        return NULL;
}

/* A variable: ${key} or ${key, 'default'}. */
typedef struct Variable {
        Text name;
        Text fallback; /* data is NULL where there is no default */
        const char *end;
} Variable;

/* at points to "${". Returns false where no well-formed variable begins there. */
static bool parse_variable(const char *at, const char *end, Variable *ret) {
        const char *name = at + 2, *s = name;

        while (s < end && !is_one_of(*s, ",}"))
                s++;
        if (s == end || s == name || memchr(name, ' ', (size_t) (s - name)))
                return false;
        *ret = (Variable){ .name = { name, (size_t) (s - name) } };
        if (*s == ',') {
                for (s++; s < end && *s == ' '; s++)
                        ;
                const char *quote =
                                s < end && *s == '\'' ? memchr(s + 1, '\'', (size_t) (end - s - 1)) : NULL;

                if (!quote)
                        return false;
                ret->fallback = (Text){ s + 1, (size_t) (quote - s - 1) };
                for (s = quote + 1; s < end && *s == ' '; s++)
                        ;
                if (s == end || *s != '}')
                        return false;
        }
        ret->end = s + 1;
        return true;
}

/* Returns the value of a variable, or data NULL where it has none. For a variable, a key with several
 * values has none. */
static Text resolve_variable(const PolicyContext *context, const Variable *variable) {
        const Row *row;

        if (variable->name.length == 1 && is_one_of(variable->name.data[0], "*?$"))
                return variable->name;
        row = next_row(context, NULL, variable->name);
        if (row && !next_row(context, row, variable->name))
                return row->value;
        return variable->fallback;
}

typedef struct Pattern {
        Text text;
        bool wildcards;
        bool ignore_case;
        const PolicyContext *variables; /* NULL: ${…} is plain text */
} Pattern;

typedef enum TokenKind {
        TOKEN_LITERAL,
        TOKEN_ONE,
        TOKEN_MANY,
        TOKEN_NO_VALUE,
} TokenKind;

typedef struct Token {
        TokenKind kind;
        Text text;
} Token;

/* Returns where the next token begins. at is before end. */
static const char *next_token(const Pattern *pattern, const char *at, const char *end, Token *ret) {
        const char *s = at;
        Variable variable;

        while (s < end && !(pattern->wildcards && is_one_of(*s, "*?")) &&
               !(pattern->variables && end - s >= 2 && memcmp(s, "${", 2) == 0))
                s++;
        if (s > at) {
                *ret = (Token){ TOKEN_LITERAL, { at, (size_t) (s - at) } };
                return s;
        }
        if (*s != '$') {
                *ret = (Token){ *s == '*' ? TOKEN_MANY : TOKEN_ONE };
                return s + 1;
        }
        /* Unreachable: policy_parse() refuses such a text, and no segment ends within a variable. */
        if (!parse_variable(s, end, &variable)) {
                *ret = (Token){ TOKEN_NO_VALUE };
                return end;
        }
        ret->text = resolve_variable(pattern->variables, &variable);
        ret->kind = ret->text.data ? TOKEN_LITERAL : TOKEN_NO_VALUE;
        return variable.end;
}

static const char *next_character(const char *s, const char *end) {
        for (s++; s < end && ((uint8_t) *s & 0xC0) == 0x80; s++)
                ;
        return s;
}

static bool pattern_matches(const Pattern *pattern, Text text) {
        const char *p = pattern->text.data, *p_end = p + pattern->text.length, *p_many = NULL;
        const char *s = text.data, *s_end = s + text.length, *s_many = NULL;

        /* Most patterns are plain text. */
        if (!memchr(p, '*', pattern->text.length) && !memchr(p, '?', pattern->text.length) &&
            !memchr(p, '$', pattern->text.length))
                return pattern->text.length == text.length &&
                       (pattern->ignore_case ? text_equal_ignore_case(text, pattern->text)
                                             : text_equal(text, pattern->text));
        for (;;) {
                Token token;
                bool matches = false;

                if (p == p_end) {
                        if (s == s_end)
                                return true;
                } else {
                        p = next_token(pattern, p, p_end, &token);
                        if (token.kind == TOKEN_NO_VALUE)
                                return false;
                        if (token.kind == TOKEN_MANY) {
                                p_many = p;
                                s_many = s;
                                continue;
                        }
                        if (token.kind == TOKEN_ONE && s < s_end) {
                                s = next_character(s, s_end);
                                matches = true;
                        } else if (token.kind == TOKEN_LITERAL &&
                                   token.text.length <= (size_t) (s_end - s)) {
                                Text here = { s, token.text.length };

                                matches = pattern->ignore_case ? text_equal_ignore_case(here, token.text)
                                                               : text_equal(here, token.text);
                                s += token.text.length;
                        }
                }
                if (matches)
                        continue;
                /* Let the last * match one character more. Earlier ones need not change. */
                if (!p_many || s_many == s_end)
                        return false;
                s = ++s_many;
                p = p_many;
        }
}

/* Returns the part of the pattern before the first colon that is outside of a variable. */
static Text pattern_segment(const Pattern *pattern) {
        const char *at = pattern->text.data, *end = at + pattern->text.length, *s = at;
        Variable variable;

        while (s < end && *s != ':')
                if (pattern->variables && *s == '$' && end - s >= 2 && s[1] == '{' &&
                    parse_variable(s, end, &variable))
                        s = variable.end;
                else
                        s++;
        return (Text){ at, (size_t) (s - at) };
}

/* Matches the six parts of an ARN one by one. */
static bool arn_matches(Pattern pattern, Text text) {
        if (text_equal(pattern.text, text_of("*")))
                return true;
        for (size_t i = 0; i < 5; i++) {
                Pattern segment = pattern;
                Text before;

                segment.text = pattern_segment(&pattern);
                if (segment.text.length == pattern.text.length || !cut_at_colon(&text, &before) ||
                    !pattern_matches(&segment, before))
                        return false;
                pattern.text.data += segment.text.length + 1;
                pattern.text.length -= segment.text.length + 1;
        }
        return pattern_matches(&pattern, text);
}

static bool parse_number(const char *text, double *ret) {
        char *end;
        double number;

        if (!*text || strspn(text, DIGITS "+-.eE") != strlen(text))
                return false;
        number = strtod(text, &end);
        if (*end || !isfinite(number))
                return false;
        *ret = number;
        return true;
}

/* Parses a time zone: Z, +hh:mm, -hh:mm or nothing, after an optional fraction of a second, which is
 * ignored. */
static bool parse_zone(const char *text, int *ret_seconds) {
        int hours, minutes, n = 0;

        if (*text == '.')
                text += 1 + strspn(text + 1, DIGITS);
        *ret_seconds = 0;
        if (!*text || strcmp(text, "Z") == 0)
                return true;
        if (!is_one_of(*text, "+-") || sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 ||
            text[1 + n])
                return false;
        *ret_seconds = (*text == '-' ? -60 : 60) * (hours * 60 + minutes);
        return true;
}

/* Parses a date of W3C's profile of ISO 8601, or seconds since 1970. */
static bool parse_date(const char *text, double *ret) {
        static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y-%m",
                                             "%Y" };

        if (strlen(text) > 4 && strspn(text, DIGITS) == strlen(text))
                return parse_number(text, ret);
        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                struct tm tm = { .tm_mday = 1 };
                const char *rest = strptime(text, forms[i], &tm);
                int offset;

                if (rest && parse_zone(rest, &offset)) {
                        *ret = (double) (timegm(&tm) - offset);
                        return true;
                }
        }
        return false;
}

static bool parse_network(const char *text, Network *ret) {
        const char *slash = strchr(text, '/');
        size_t n = slash ? (size_t) (slash - text) : strlen(text);
        char address[INET6_ADDRSTRLEN];
        Network network = { .family = memchr(text, ':', n) ? AF_INET6 : AF_INET };
        unsigned most = network.family == AF_INET6 ? 128 : 32;

        if (n >= sizeof(address))
                return false;
        memcpy(address, text, n);
        address[n] = '\0';
        if (inet_pton(network.family, address, network.address) != 1)
                return false;
        network.bits = most;
        if (slash) {
                size_t digits = strspn(slash + 1, DIGITS);

                if (digits < 1 || digits > 3 || slash[1 + digits])
                        return false;
                network.bits = (unsigned) atoi(slash + 1);
                if (network.bits > most)
                        return false;
        }
        *ret = network;
        return true;
}

static bool network_contains(const Network *network, const Network *address) {
        size_t bytes = network->bits / 8;
        unsigned rest = network->bits % 8;

        if (network->family != address->family || memcmp(network->address, address->address, bytes) != 0)
                return false;
        return rest == 0 || (network->address[bytes] ^ address->address[bytes]) >> (8 - rest) == 0;
}

/* Returns whether the request's value matches the condition's value, before negation. */
static bool value_matches(const Policy *policy, const PolicyContext *context, const Operator *operator,
                          const Value * wanted, Text value) {
        Pattern pattern = { .text = wanted->text };
        Network network;
        double number;

        if (policy->variables && !operator->no_variables)
                pattern.variables = context;
        switch (operator->comparison) {
        case COMPARE_LIKE:
                pattern.wildcards = true;
                return pattern_matches(&pattern, value);
        case COMPARE_STRING_IGNORE_CASE:
        case COMPARE_BOOL:
                pattern.ignore_case = true;
                return pattern_matches(&pattern, value);
        case COMPARE_STRING:
                return pattern_matches(&pattern, value);
        case COMPARE_ARN:
                pattern.wildcards = true;
                return arn_matches(pattern, value);
        case COMPARE_NETWORK:
                return parse_network(value.data, &network) && network_contains(&wanted->network, &network);
        case COMPARE_NUMBER:
        case COMPARE_DATE:
                if (!(operator->comparison == COMPARE_DATE ? parse_date : parse_number)(value.data, &number))
                        return false;
                return operator->order &(number<wanted->number ? ORDER_LESS : number> wanted->number
                                                         ? ORDER_GREATER
                                                         : ORDER_EQUAL);
        case COMPARE_NULL:
                break;
        }
        return false;
}

static bool any_value_matches(const Policy *policy, const PolicyContext *context, const Condition *condition,
                              Text value) {
        for (size_t i = 0; i < condition->n_values; i++)
                if (value_matches(policy, context, condition->operator, & condition->values[i], value))
                        return true;
        return false;
}

/* For Null and the set operators, a key whose values are all empty counts as absent. */
static bool has_value(const PolicyContext *context, Text key) {
        for (const Row *row = next_row(context, NULL, key); row; row = next_row(context, row, key))
                if (row->value.length > 0)
                        return true;
        return false;
}

static bool null_holds(const PolicyContext *context, const Condition *condition) {
        const char *wanted = has_value(context, condition->key) ? "false" : "true";

        for (size_t i = 0; i < condition->n_values; i++)
                if (text_equal_ignore_case(condition->values[i].text, text_of(wanted)))
                        return true;
        return false;
}

static bool condition_holds(const Policy *policy, const PolicyContext *context, const Condition *condition) {
        bool negated = condition->operator->negated;
        bool all = condition->set == SET_ALL || (condition->set == SET_NONE && negated);
        const Row *row = next_row(context, NULL, condition->key);

        if (condition->operator->comparison == COMPARE_NULL)
                return null_holds(context, condition);
        if (!row || (condition->set != SET_NONE && !has_value(context, condition->key)))
                return condition->if_exists || all;
        for (; row; row = next_row(context, row, condition->key))
                if ((any_value_matches(policy, context, condition, row->value) != negated) != all)
                        return !all;
        return all;
}

static bool conditions_hold(const Policy *policy, const Statement *statement, const PolicyContext *context) {
        for (size_t i = 0; i < statement->n_conditions; i++)
                if (!condition_holds(policy, context, &statement->conditions[i]))
                        return false;
        return true;
}

static bool actions_match(const Statement *statement, Text action) {
        for (size_t i = 0; i < statement->n_actions; i++) {
                Pattern pattern = { .text = statement->actions[i], .wildcards = true, .ignore_case = true };

                if (pattern_matches(&pattern, action))
                        return !statement->not_action;
        }
        return statement->not_action;
}

static bool resources_match(const Policy *policy, const Statement *statement, const PolicyRequest *request) {
        Text resource = text_of(request->resource);

        for (size_t i = 0; i < statement->n_resources; i++) {
                Pattern pattern = { .text = statement->resources[i], .wildcards = true };

                if (policy->variables)
                        pattern.variables = request->context;
                if (pattern_matches(&pattern, resource))
                        return !statement->not_resource;
        }
        return statement->not_resource;
}

/* How a list of principals includes the caller. */
typedef enum Reach {
        REACH_NOBODY,
        REACH_ACCOUNT, /* through its account: an identity policy must allow, too */
        REACH_DIRECT,
} Reach;

static bool is_root(const PolicyPrincipal *caller) {
        Text parts[5];

        return split_arn(text_of(caller->arn), parts) && text_equal(parts[4], text_of("root"));
}

static Reach principal_reach(const Principal *principal, const PolicyPrincipal *caller) {
        switch (principal->kind) {
        case PRINCIPAL_EVERYONE:
                return REACH_DIRECT;
        case PRINCIPAL_ACCOUNT:
                if (!text_equal(principal->text, text_of(caller->account)))
                        return REACH_NOBODY;
                return is_root(caller) ? REACH_DIRECT : REACH_ACCOUNT;
        case PRINCIPAL_ARN:
                if (text_equal(principal->text, text_of(caller->arn)) ||
                    (caller->session_arn && text_equal(principal->text, text_of(caller->session_arn))))
                        return REACH_DIRECT;
                return REACH_NOBODY;
        case PRINCIPAL_UNIQUE_ID:
                return caller->unique_id && text_equal(principal->text, text_of(caller->unique_id))
                                       ? REACH_DIRECT
                                       : REACH_NOBODY;
        case PRINCIPAL_SERVICE:
                return caller->service && text_equal(principal->text, text_of(caller->service))
                                       ? REACH_DIRECT
                                       : REACH_NOBODY;
        }
        return REACH_NOBODY;
}

static bool is_spared(const Statement *statement, const PolicyPrincipal *caller) {
        bool root = is_root(caller), account = false, arn = root, session = !caller->session_arn;

        for (size_t i = 0; i < statement->n_principals; i++) {
                const Principal *principal = &statement->principals[i];

                if (principal->kind == PRINCIPAL_EVERYONE ||
                    (caller->service && principal_reach(principal, caller) == REACH_DIRECT))
                        return true;
                if (principal->kind == PRINCIPAL_UNIQUE_ID)
                        arn |= principal_reach(principal, caller) == REACH_DIRECT;
                if (principal->kind == PRINCIPAL_ACCOUNT)
                        account |= text_equal(principal->text, text_of(caller->account));
                if (principal->kind == PRINCIPAL_ARN) {
                        arn |= text_equal(principal->text, text_of(caller->arn));
                        session |= caller->session_arn &&
                                   text_equal(principal->text, text_of(caller->session_arn));
                }
        }
        return account && arn && session;
}

static Reach statement_reach(const Policy *policy, const Statement *statement,
                             const PolicyPrincipal *caller) {
        Reach reach = REACH_NOBODY;

        if (policy->kind == POLICY_KIND_IDENTITY)
                return REACH_DIRECT;
        if (statement->not_principal)
                return is_spared(statement, caller) ? REACH_NOBODY : REACH_DIRECT;
        for (size_t i = 0; i < statement->n_principals && reach != REACH_DIRECT; i++) {
                Reach r = principal_reach(&statement->principals[i], caller);

                if (r > reach)
                        reach = r;
        }
        return reach;
}

typedef struct Verdict {
        bool denied;
        Reach allowed;
} Verdict;

static Verdict policy_judge(const Policy *policy, const PolicyRequest *request) {
        Text action = text_of(request->action);
        Verdict verdict = {};

        for (size_t i = 0; i < policy->n_statements && !verdict.denied; i++) {
                const Statement *statement = &policy->statements[i];
                Reach reach;

                if (statement->n_actions == 0 || statement->n_resources == 0)
                        continue;
                reach = statement_reach(policy, statement, request->principal);
                if (reach == REACH_NOBODY || (!statement->deny && reach <= verdict.allowed) ||
                    !actions_match(statement, action) || !resources_match(policy, statement, request) ||
                    !conditions_hold(policy, statement, request->context))
                        continue;
                if (statement->deny)
                        verdict.denied = true;
                else
                        verdict.allowed = reach;
        }
        return verdict;
}

/* AROA…, AIDA…: KMS stores the unique ID of a role or user, and shows it when the role or user is deleted. */
static bool is_unique_id(Text text) {
        for (size_t i = 0; i < text.length; i++)
                if (!isalnum((unsigned char) text.data[i]))
                        return false;
        return text.length >= 16 && text.data[0] == 'A';
}

static bool parse_principal(Text text, Principal *ret) {
        Text parts[5];

        if (text_equal(text, text_of("*"))) {
                *ret = (Principal){ PRINCIPAL_EVERYONE, text };
                return true;
        }
        if (is_account(text)) {
                *ret = (Principal){ PRINCIPAL_ACCOUNT, text };
                return true;
        }
        if (is_unique_id(text)) {
                *ret = (Principal){ PRINCIPAL_UNIQUE_ID, text };
                return true;
        }
        if (!split_arn(text, parts) || !text_starts_with(parts[0], "aws") || parts[2].length > 0 ||
            !is_account(parts[3]) || memchr(text.data, '*', text.length) ||
            memchr(text.data, '?', text.length))
                return false;
        *ret = (Principal){ PRINCIPAL_ARN, text };
        if (text_equal(parts[1], text_of("sts")))
                return (text_starts_with(parts[4], "assumed-role/") && strchr(parts[4].data + 13, '/')) ||
                       text_starts_with(parts[4], "federated-user/");
        if (!text_equal(parts[1], text_of("iam")))
                return false;
        if (text_equal(parts[4], text_of("root"))) {
                *ret = (Principal){ PRINCIPAL_ACCOUNT, parts[3] };
                return true;
        }
        return (text_starts_with(parts[4], "user/") && parts[4].length > 5) ||
               (text_starts_with(parts[4], "role/") && parts[4].length > 5);
}

typedef struct Parser {
        Policy *policy;
        size_t statement; /* counted from 1; 0: before the first statement */
        char *reason;     /* may be NULL */
} Parser;

static int malformed(const Parser *parser, const char *format, ...) _printf_(2, 3);

static int malformed(const Parser *parser, const char *format, ...) {
        va_list arguments;
        size_t n;

        if (!parser->reason)
                return -EBADMSG;
        va_start(arguments, format);
        (void) vsnprintf(parser->reason, POLICY_REASON_SIZE, format, arguments);
        va_end(arguments);
        n = strlen(parser->reason);
        if (parser->statement > 0)
                (void) snprintf(parser->reason + n, POLICY_REASON_SIZE - n, " (statement %zu)",
                                parser->statement);
        return -EBADMSG;
}

static int no_principal(const Parser *parser) {
        return malformed(parser, "Policy contains a statement with one or more invalid principals.");
}

/* A single value stands for an array of one. */
static size_t list_length(struct json_object *list) {
        return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 1;
}

static struct json_object *list_item(struct json_object *list, size_t i) {
        return json_object_is_type(list, json_type_array) ? json_object_array_get_idx(list, i) : list;
}

/* Reads a string. With scalars it also accepts numbers and booleans. */
static bool json_text(struct json_object *value, bool scalars, Text *ret) {
        switch (json_object_get_type(value)) {
        case json_type_boolean:
        case json_type_int:
        case json_type_double:
                if (!scalars)
                        return false;
                break;
        case json_type_string:
                break;
        default:
                return false;
        }
        *ret = text_of(json_object_get_string(value));
        return true;
}

/* Returns whether every "${" begins a variable. In an ARN, only the resource part may have variables. */
static bool variables_are_valid(Text text, bool arn) {
        const char *end = text.data + text.length;
        size_t colons = 0;
        Variable variable;

        for (const char *s = text.data; s < end;) {
                if (end - s < 2 || memcmp(s, "${", 2) != 0) {
                        colons += *s++ == ':';
                        continue;
                }
                if (!parse_variable(s, end, &variable) || (arn && colons < 5))
                        return false;
                s = variable.end;
        }
        return true;
}

static bool is_action(Text text) {
        Text vendor;

        if (text_equal(text, text_of("*")) || text_equal(text, text_of("*:*")))
                return true;
        if (!cut_at_colon(&text, &vendor) || vendor.length == 0 || text.length == 0)
                return false;
        return strspn(vendor.data, ALPHANUMERIC "-") == vendor.length &&
               strspn(text.data, ALPHANUMERIC "*?") == text.length;
}

/* Returns whether the text is "*", or an ARN that may end early in a *. */
static bool is_resource(Text text) {
        Text rest = text, part;

        if (text_equal(text, text_of("*")))
                return true;
        if (!text_starts_with(text, "arn:"))
                return false;
        for (size_t i = 0; i < 5; i++) {
                if (!cut_at_colon(&rest, &part))
                        return i >= 3 && text.data[text.length - 1] == '*';
                /* The service must not have wildcards. */
                if (i == 2 && strspn(part.data, ALPHANUMERIC "-") != part.length)
                        return false;
        }
        return rest.length > 0;
}

static int parse_actions(Parser *parser, struct json_object *list, Statement *statement) {
        size_t n = list_length(list);

        statement->actions = calloc(n + 1, sizeof(Text));
        if (!statement->actions)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                Text *action = &statement->actions[i];

                if (!json_text(list_item(list, i), false, action))
                        return malformed(parser, "Syntax errors in policy.");
                if (!is_action(*action))
                        return malformed(parser, "Actions/Conditions must be prefaced by a vendor, e.g., "
                                                 "iam, sdb, ec2, etc.");
        }
        statement->n_actions = n;
        return 0;
}

static int parse_resources(Parser *parser, struct json_object *list, Statement *statement) {
        size_t n = list_length(list);

        statement->resources = calloc(n + 1, sizeof(Text));
        if (!statement->resources)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                Text *resource = &statement->resources[i];

                if (!json_text(list_item(list, i), false, resource))
                        return malformed(parser, "Syntax errors in policy.");
                if (!is_resource(*resource) ||
                    (parser->policy->variables && !variables_are_valid(*resource, true)))
                        return malformed(parser, "Resource %.100s must be in ARN format or \"*\".",
                                         resource->data);
        }
        statement->n_resources = n;
        return 0;
}

static bool is_service(Text text) {
        return text.length > 0 && strspn(text.data, ALPHANUMERIC ".-") == text.length;
}

static int parse_principals(Parser *parser, struct json_object *map, Statement *statement) {
        size_t n = 0;

        if (json_object_is_type(map, json_type_string)) {
                statement->principals = calloc(1, sizeof(Principal));
                if (!statement->principals)
                        return -ENOMEM;
                if (strcmp(json_object_get_string(map), "*") != 0)
                        return no_principal(parser);
                statement->principals[0] = (Principal){ .kind = PRINCIPAL_EVERYONE };
                statement->n_principals = 1;
                return 0;
        }
        if (!json_object_is_type(map, json_type_object))
                return malformed(parser, "Syntax errors in policy.");
        json_object_object_foreach(map, name, value) {
                (void) name;
                n += list_length(value);
        }
        statement->principals = calloc(n + 1, sizeof(Principal));
        if (!statement->principals)
                return -ENOMEM;
        json_object_object_foreach(map, type, list) {
                if (list_length(list) == 0)
                        return no_principal(parser);
                for (size_t i = 0; i < list_length(list); i++) {
                        Principal *principal = &statement->principals[statement->n_principals++];
                        Text text;

                        if (!json_text(list_item(list, i), false, &text))
                                return malformed(parser, "Syntax errors in policy.");
                        *principal = (Principal){ PRINCIPAL_SERVICE, text };
                        if (!(strcmp(type, "AWS") == 0       ? parse_principal(text, principal)
                              : strcmp(type, "Service") == 0 ? is_service(text)
                                                             : false))
                                return no_principal(parser);
                }
        }
        return n > 0 ? 0 : no_principal(parser);
}

/* Parses [ForAllValues:|ForAnyValue:]NAME[IfExists]. */
static bool parse_operator(const char *name, Condition *ret) {
        static const char all[] = "ForAllValues:", any[] = "ForAnyValue:", if_exists[] = "IfExists";
        size_t n;

        *ret = (Condition){};
        if (strncmp(name, all, strlen(all)) == 0) {
                ret->set = SET_ALL;
                name += strlen(all);
        } else if (strncmp(name, any, strlen(any)) == 0) {
                ret->set = SET_ANY;
                name += strlen(any);
        }
        n = strlen(name);
        if (n > strlen(if_exists) && strcmp(name + n - strlen(if_exists), if_exists) == 0) {
                ret->if_exists = true;
                n -= strlen(if_exists);
        }
        for (size_t i = 0; i < ELEMENTSOF(operators); i++)
                if (strlen(operators[i].name) == n && memcmp(operators[i].name, name, n) == 0) {
                        ret->operator= & operators[i];
                        return operators[i].comparison != COMPARE_NULL ||
                               (!ret->if_exists && ret->set == SET_NONE);
                }
        return false;
}

static bool parse_value(const Policy *policy, const Operator *operator, Value * value) {
        const char *text = value->text.data;

        switch (operator->comparison) {
        case COMPARE_BOOL:
        case COMPARE_NULL:
                return strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0;
        case COMPARE_NETWORK:
                return parse_network(text, &value->network);
        case COMPARE_NUMBER:
                return parse_number(text, &value->number);
        case COMPARE_DATE:
                return parse_date(text, &value->number);
        default:
                return operator->no_variables || !policy->variables ||
                                variables_are_valid(value->text, false);
        }
}

static int parse_condition(Parser *parser, const Condition *prototype, const char *name,
                           struct json_object *list, Condition *ret) {
        size_t n = list_length(list);

        *ret = *prototype;
        ret->key = text_of(name);
        if (!strchr(name, ':') || name[0] == ':')
                return malformed(parser, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, "
                                         "ec2, etc.");
        if (parser->policy->kind == POLICY_KIND_KEY && ret->set == SET_ALL &&
            strncasecmp(name, ENCRYPTION_CONTEXT, strlen(ENCRYPTION_CONTEXT)) == 0)
                return malformed(parser,
                                 "OverlyPermissiveCondition:EncryptionContext: Using the ForAllValues set "
                                 "operator with a single-valued condition key matches requests without the "
                                 "specified encryption context. To fix, remove ForAllValues.");
        ret->values = calloc(n + 1, sizeof(Value));
        if (!ret->values)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                Value *value = &ret->values[i];

                if (!json_text(list_item(list, i), true, &value->text))
                        return malformed(parser, "Syntax errors in policy.");
                if (!parse_value(parser->policy, ret->operator, value))
                        return malformed(parser, "Invalid value of %.40s for the condition key %.80s.",
                                         ret->operator->name, name);
        }
        ret->n_values = n;
        return 0;
}

static int parse_conditions(Parser *parser, struct json_object *map, Statement *statement) {
        size_t n = 0;
        int r;

        if (!json_object_is_type(map, json_type_object))
                return malformed(parser, "Syntax errors in policy.");
        json_object_object_foreach(map, name, value) {
                (void) name;
                if (!json_object_is_type(value, json_type_object))
                        return malformed(parser, "Syntax errors in policy.");
                n += (size_t) json_object_object_length(value);
        }
        statement->conditions = calloc(n + 1, sizeof(Condition));
        if (!statement->conditions)
                return -ENOMEM;
        json_object_object_foreach(map, type, keys) {
                Condition prototype;

                if (!parse_operator(type, &prototype))
                        return malformed(parser, "Invalid Condition type : %.60s.", type);
                json_object_object_foreach(keys, key, values) {
                        r = parse_condition(parser, &prototype, key, values,
                                            &statement->conditions[statement->n_conditions++]);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* Finds which of two elements that exclude each other is present; *ret is NULL where neither is. */
static int either(const Parser *parser, struct json_object *object, const char *positive,
                  const char *negative, bool *ret_negative, struct json_object **ret) {
        struct json_object *a = json_member(object, positive), *b = json_member(object, negative);

        if (a && b)
                return malformed(parser, "Syntax errors in policy.");
        *ret_negative = b;
        *ret = a ? a : b;
        return 0;
}

static int check_sid(const Parser *parser, struct json_object *sid) {
        Text text;

        if (!sid)
                return 0;
        if (!json_text(sid, false, &text))
                return malformed(parser, "Syntax errors in policy.");
        if (parser->policy->kind == POLICY_KIND_IDENTITY && strspn(text.data, ALPHANUMERIC) != text.length)
                return malformed(parser, "Statement IDs (SID) must be alpha-numeric. Check that your input "
                                         "satisfies the regular expression [0-9A-Za-z]*");
        return 0;
}

/* Returns whether all members are known and none is null. */
static bool members_are_among(struct json_object *object, const char *const names[], size_t n_names) {
        if (!json_object_is_type(object, json_type_object))
                return false;
        json_object_object_foreach(object, name, value) {
                bool known = false;

                for (size_t i = 0; i < n_names && !known; i++)
                        known = strcmp(name, names[i]) == 0;
                if (!known || !value)
                        return false;
        }
        return true;
}

static int parse_who(Parser *parser, struct json_object *object, Statement *statement) {
        struct json_object *principals = NULL;
        int r;

        r = either(parser, object, "Principal", "NotPrincipal", &statement->not_principal, &principals);
        if (r < 0)
                return r;
        if (parser->policy->kind == POLICY_KIND_IDENTITY)
                return principals ? malformed(parser, "Policy document should not specify a principal.") : 0;
        if (!principals)
                return malformed(parser, "Missing required field Principal.");
        if (statement->not_principal && !statement->deny)
                return malformed(parser, "Allow with NotPrincipal is not allowed.");
        return parse_principals(parser, principals, statement);
}

static int parse_what(Parser *parser, struct json_object *object, Statement *statement) {
        bool identity = parser->policy->kind == POLICY_KIND_IDENTITY;
        struct json_object *actions = NULL, *resources = NULL;
        int r;

        r = either(parser, object, "Action", "NotAction", &statement->not_action, &actions);
        if (r < 0)
                return r;
        r = either(parser, object, "Resource", "NotResource", &statement->not_resource, &resources);
        if (r < 0)
                return r;
        /* KMS accepts a statement without Action or Resource. It has no effect. */
        if (identity && (!actions || list_length(actions) == 0))
                return malformed(parser, "Policy statement must contain actions.");
        if (identity && (!resources || list_length(resources) == 0))
                return malformed(parser, "Policy statement must contain resources.");
        r = actions ? parse_actions(parser, actions, statement) : 0;
        if (r < 0)
                return r;
        return resources ? parse_resources(parser, resources, statement) : 0;
}

static int parse_statement(Parser *parser, struct json_object *object, Statement *statement) {
        static const char *const names[] = { "Sid",          "Effect",      "Principal",
                                             "NotPrincipal", "Action",      "NotAction",
                                             "Resource",     "NotResource", "Condition" };
        struct json_object *conditions;
        const char *effect;
        int r;

        if (!members_are_among(object, names, ELEMENTSOF(names)))
                return malformed(parser, "Syntax errors in policy.");
        effect = json_member_string(object, "Effect");
        if (!effect || (strcmp(effect, "Allow") != 0 && strcmp(effect, "Deny") != 0))
                return malformed(parser, "Syntax errors in policy.");
        statement->deny = strcmp(effect, "Deny") == 0;
        r = check_sid(parser, json_member(object, "Sid"));
        if (r < 0)
                return r;
        r = parse_who(parser, object, statement);
        if (r < 0)
                return r;
        r = parse_what(parser, object, statement);
        if (r < 0)
                return r;
        conditions = json_member(object, "Condition");
        return conditions ? parse_conditions(parser, conditions, statement) : 0;
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int check_sids_are_unique(Parser *parser, struct json_object *list) {
        _cleanup_free_ const char **sids = NULL;
        size_t n = 0;

        sids = calloc(list_length(list), sizeof(*sids));
        if (!sids)
                return -ENOMEM;
        for (size_t i = 0; i < list_length(list); i++) {
                const char *sid = json_member_string(list_item(list, i), "Sid");

                if (sid && *sid)
                        sids[n++] = sid;
        }
        qsort(sids, n, sizeof(*sids), compare_strings);
        for (size_t i = 1; i < n; i++)
                if (strcmp(sids[i - 1], sids[i]) == 0) {
                        parser->statement = 0;
                        return malformed(parser, "Statement IDs (SID) in a single policy must be unique.");
                }
        return 0;
}

static int parse_version(Parser *parser, struct json_object *tree) {
        struct json_object *version = json_member(tree, "Version");
        const char *string = json_member_string(tree, "Version");

        if (!version)
                return 0;
        if (!string || (strcmp(string, "2012-10-17") != 0 && strcmp(string, "2008-10-17") != 0))
                return malformed(parser, "Syntax errors in policy.");
        parser->policy->variables = strcmp(string, "2012-10-17") == 0;
        return 0;
}

static int parse_tree(Parser *parser) {
        static const char *const names[] = { "Version", "Statement", "Id" };
        Policy *policy = parser->policy;
        struct json_object *statements = json_member(policy->tree, "Statement");
        size_t n_names = policy->kind == POLICY_KIND_KEY ? 3 : 2;
        int r;

        if (!members_are_among(policy->tree, names, n_names) || !statements ||
            list_length(statements) == 0 ||
            (json_member(policy->tree, "Id") && !json_member_string(policy->tree, "Id")))
                return malformed(parser, "Syntax errors in policy.");
        r = parse_version(parser, policy->tree);
        if (r < 0)
                return r;
        policy->statements = calloc(list_length(statements), sizeof(Statement));
        if (!policy->statements)
                return -ENOMEM;
        for (size_t i = 0; i < list_length(statements); i++) {
                parser->statement = i + 1;
                r = parse_statement(parser, list_item(statements, i),
                                    &policy->statements[policy->n_statements++]);
                if (r < 0)
                        return r;
        }
        return check_sids_are_unique(parser, statements);
}

/* The characters that IAM permits: tab, line feed, carriage return, and U+0020 to U+00FF, as UTF-8. */
static bool has_policy_characters(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++) {
                uint8_t c = (uint8_t) text[i];

                if (c == 0xC2 || c == 0xC3) {
                        if (++i == size || ((uint8_t) text[i] & 0xC0) != 0x80)
                                return false;
                } else if ((c < 0x20 && !is_one_of((char) c, "\t\n\r")) || c >= 0x80) {
                        return false;
                }
        }
        return true;
}

int policy_parse(PolicyKind kind, const char *text, size_t size, Policy **ret,
                 char reason[POLICY_REASON_SIZE]) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        Parser parser = { .reason = reason };
        int r;

        if (kind == POLICY_KIND_KEY && size > POLICY_KEY_SIZE_MAX) {
                (void) malformed(&parser, "The key policy is larger than %u bytes.", POLICY_KEY_SIZE_MAX);
                return -E2BIG;
        }
        policy = calloc(1, sizeof(*policy));
        if (!policy)
                return -ENOMEM;
        policy->kind = kind;
        parser.policy = policy;
        if (!has_policy_characters(text, size))
                return malformed(&parser, "The policy contains characters that are not allowed.");
        r = json_parse(text, size, &policy->tree);
        if (r == -EBADMSG)
                return malformed(&parser, "This policy contains invalid Json");
        if (r < 0)
                return r;
        r = parse_tree(&parser);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(policy);
        return 0;
}

static void statement_done(Statement *statement) {
        for (size_t i = 0; i < statement->n_conditions; i++)
                free(statement->conditions[i].values);
        free(statement->conditions);
        free(statement->principals);
        free(statement->actions);
        free(statement->resources);
}

Policy *policy_free(Policy *policy) {
        if (!policy)
                return NULL;
        for (size_t i = 0; i < policy->n_statements; i++)
                statement_done(&policy->statements[i]);
        free(policy->statements);
        json_object_put(policy->tree);
        free(policy);
        return NULL;
}

int policy_context_new(const PolicyPrincipal *principal, PolicyContext **ret) {
        _cleanup_(policy_context_freep) PolicyContext *context = NULL;
        const char *user = strstr(principal->arn, ":user/");
        const char *type = principal->session_arn ? "AssumedRole" : user ? "User" : "Account";
        int r;

        context = calloc(1, sizeof(*context));
        if (!context)
                return -ENOMEM;
        bool person = !principal->service;
        const char *const rows[][2] = {
                { "aws:PrincipalArn", person ? principal->arn : NULL },
                { "aws:PrincipalAccount", person ? principal->account : NULL },
                { "aws:PrincipalType", person ? type : NULL },
                { "aws:PrincipalIsAWSService", person ? "false" : "true" },
                { "aws:PrincipalServiceName", principal->service },
                { "kms:CallerAccount", person ? principal->account : NULL },
                { "aws:username", user ? strrchr(user, '/') + 1 : NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                r = rows[i][1] ? policy_context_add(context, rows[i][0], rows[i][1]) : 0;
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(context);
        return 0;
}

PolicyContext *policy_context_free(PolicyContext *context) {
        if (!context)
                return NULL;
        for (size_t i = 0; i < context->n_rows; i++)
                free((char *) context->rows[i].name.data);
        free(context->rows);
        free(context);
        return NULL;
}

int policy_context_add(PolicyContext *context, const char *key, const char *value) {
        size_t key_length = strlen(key), value_length = strlen(value);
        char *both;

        if (context->n_rows == context->n_allocated) {
                size_t n = context->n_allocated * 2 + 32;
                Row *rows = reallocarray(context->rows, n, sizeof(*rows));

                if (!rows)
                        return -ENOMEM;
                context->rows = rows;
                context->n_allocated = n;
        }
        both = malloc(key_length + value_length + 2);
        if (!both)
                return -ENOMEM;
        memcpy(both, key, key_length + 1);
        memcpy(both + key_length + 1, value, value_length + 1);
        context->rows[context->n_rows++] =
                        (Row){ { both, key_length }, { both + key_length + 1, value_length } };
        return 0;
}

int policy_context_add_bool(PolicyContext *context, const char *key, bool value) {
        return policy_context_add(context, key, value ? "true" : "false");
}

int policy_context_add_pcr(PolicyContext *context, unsigned index, const uint8_t *value, size_t size) {
        _cleanup_free_ char *hex = NULL;
        char key[64];
        int r;

        r = hex_encode(value, size, &hex);
        if (r < 0)
                return r;
        (void) snprintf(key, sizeof(key), "kms:RecipientAttestation:NitroTPMPCR%u", index);
        return policy_context_add(context, key, hex);
}

int policy_context_add_encryption_context(PolicyContext *context, const char *key, const char *value) {
        _cleanup_free_ char *name = NULL;
        int r;

        if (asprintf(&name, ENCRYPTION_CONTEXT "%s", key) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        r = policy_context_add(context, name, value);
        if (r < 0)
                return r;
        return policy_context_add(context, "kms:EncryptionContextKeys", key);
}

/* Returns whether the operation takes an encryption context. CreateGrant has the pairs of the new constraint. */
static bool takes_encryption_context(const char *operation) {
        static const char *const prefixes[] = { "Encrypt", "Decrypt", "GenerateDataKey", "ReEncrypt",
                                                "CreateGrant" };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (text_starts_with(text_of(operation), prefixes[i]))
                        return true;
        return false;
}

static size_t count_encryption_context(const PolicyContext *context) {
        Text keys = text_of("kms:EncryptionContextKeys");
        size_t n = 0;

        for (const Row *row = next_row(context, NULL, keys); row; row = next_row(context, row, keys))
                n++;
        return n;
}

/* KMS compares the keys of a constraint's pairs without case, and their values with case. */
static bool has_pair(const PolicyContext *context, const PolicyPair *pair) {
        for (size_t i = 0; i < context->n_rows; i++) {
                const Row *row = &context->rows[i];

                if (strncasecmp(row->name.data, ENCRYPTION_CONTEXT, strlen(ENCRYPTION_CONTEXT)) == 0 &&
                    strcasecmp(row->name.data + strlen(ENCRYPTION_CONTEXT), pair->key) == 0 &&
                    strcmp(row->value.data, pair->value) == 0)
                        return true;
        }
        return false;
}

static bool constraints_hold(const PolicyGrant *grant, const PolicyContext *context) {
        if (grant->equals && count_encryption_context(context) != grant->n_equals)
                return false;
        for (size_t i = 0; i < grant->n_equals; i++)
                if (!has_pair(context, &grant->equals[i]))
                        return false;
        for (size_t i = 0; i < grant->n_subset; i++)
                if (!has_pair(context, &grant->subset[i]))
                        return false;
        return true;
}

static bool grant_has_operation(const PolicyGrant *grant, const char *operation) {
        for (const char *const *o = grant->operations; *o; o++)
                if (strcmp(*o, operation) == 0)
                        return true;
        return false;
}

/* A grantee is one principal, or a service. */
static bool parse_grantee(const PolicyGrant *grant, Principal *ret) {
        Text text = text_of(grant->grantee_principal);

        if (parse_principal(text, ret))
                return ret->kind != PRINCIPAL_EVERYONE;
        *ret = (Principal){ PRINCIPAL_SERVICE, text };
        return memchr(text.data, '.', text.length) && !memchr(text.data, ':', text.length);
}

static Reach grant_reach(const PolicyGrant *grant, const PolicyRequest *request) {
        Text operation = text_of(request->action), vendor;
        Principal grantee;

        if (!cut_at_colon(&operation, &vendor) || !text_equal(vendor, text_of("kms")) ||
            !grant_has_operation(grant, operation.data) || !parse_grantee(grant, &grantee) ||
            (takes_encryption_context(operation.data) && !constraints_hold(grant, request->context)))
                return REACH_NOBODY;
        return principal_reach(&grantee, request->principal);
}

static Verdict judge_identity(const PolicySet *set, const PolicyRequest *request) {
        /* The root user has no identity policies. It may do all that its account may do. */
        Verdict verdict = { .allowed = is_root(request->principal) ? REACH_DIRECT : REACH_NOBODY };

        for (size_t i = 0; i < set->n_identity_policies && !verdict.denied; i++) {
                Verdict one = policy_judge(set->identity_policies[i], request);

                verdict.denied = one.denied;
                if (one.allowed > verdict.allowed)
                        verdict.allowed = one.allowed;
        }
        return verdict;
}

/* Within one account an explicit Allow of either policy is enough. Across accounts both are needed. */
static PolicyOutcome combine(Reach key, Reach identity, bool cross_account, const PolicyPrincipal *caller) {
        if (key == REACH_NOBODY)
                return POLICY_NO_KEY_POLICY_ALLOWS;
        if (key == REACH_DIRECT && (!cross_account || is_root(caller) || caller->service))
                return POLICY_ALLOWED_BY_KEY_POLICY;
        return identity == REACH_NOBODY ? POLICY_NO_IDENTITY_ALLOWS : POLICY_ALLOWED_BY_IDENTITY;
}

PolicyDecision policy_decide(const PolicySet *set, const PolicyRequest *request) {
        const PolicyPrincipal *caller = request->principal;
        Verdict key = {}, identity = judge_identity(set, request);
        PolicyDecision decision = {};
        Text parts[5];
        bool arn = split_arn(text_of(request->resource), parts);
        bool is_key = arn && text_starts_with(parts[4], "key/");

        /* The ARNs of S3 have no account. */
        decision.cross_account =
                        arn && parts[3].length > 0 && !text_equal(parts[3], text_of(caller->account));
        if (set->key_policy)
                key = policy_judge(set->key_policy, request);
        if (key.denied) {
                decision.outcome = POLICY_DENIED_BY_KEY_POLICY;
                return decision;
        }
        if (identity.denied) {
                decision.outcome = POLICY_DENIED_BY_IDENTITY;
                return decision;
        }
        if (!is_key && !decision.cross_account)
                key.allowed = REACH_ACCOUNT;
        decision.outcome = combine(key.allowed, identity.allowed, decision.cross_account, caller);
        decision.allowed = decision.outcome == POLICY_ALLOWED_BY_KEY_POLICY ||
                           decision.outcome == POLICY_ALLOWED_BY_IDENTITY;
        for (size_t i = 0; i < set->n_grants && !decision.allowed; i++) {
                Reach reach = grant_reach(&set->grants[i], request);

                if (reach == REACH_DIRECT || (reach == REACH_ACCOUNT && identity.allowed != REACH_NOBODY))
                        decision = (PolicyDecision){ true, decision.cross_account, POLICY_ALLOWED_BY_GRANT,
                                                     &set->grants[i] };
        }
        return decision;
}

bool policy_lets_caller_put_policy(const Policy *key_policy, const PolicyRequest *request) {
        PolicyRequest again = *request;
        Verdict verdict;

        again.action = "kms:PutKeyPolicy";
        verdict = policy_judge(key_policy, &again);
        return !verdict.denied && verdict.allowed != REACH_NOBODY;
}

bool policy_grant_lets_retire(const PolicyGrant *grant, const PolicyPrincipal *caller) {
        Principal principal;

        if (grant->retiring_principal && parse_principal(text_of(grant->retiring_principal), &principal) &&
            principal.kind != PRINCIPAL_EVERYONE && principal_reach(&principal, caller) == REACH_DIRECT)
                return true;
        return grant_has_operation(grant, "RetireGrant") &&
               parse_principal(text_of(grant->grantee_principal), &principal) &&
               principal.kind != PRINCIPAL_EVERYONE && principal_reach(&principal, caller) == REACH_DIRECT;
}
