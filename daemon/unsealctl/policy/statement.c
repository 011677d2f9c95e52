/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "basic/encoding.h"
#include "basic/input-form.h"
#include "basic/json.h"
#include "unsealctl/policy/statement.h"

#define DIGITS "0123456789"
#define LETTERS_AND_DIGITS DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARACTERS LETTERS_AND_DIGITS "_+=,.@-/"
#define PCR_KEY "kms:RecipientAttestation:NitroTPMPCR"

/* A condition operator, without set prefix and IfExists. */
typedef struct Operator {
        const char *name;
        bool text;     /* compares strings or ARNs */
        bool negated;  /* met if the key is absent */
        bool patterns; /* its values may have wildcards */
        bool caseless;
} Operator;

static const Operator operators[] = {
        { "StringEquals", .text = true },
        { "StringNotEquals", .text = true, .negated = true },
        { "StringEqualsIgnoreCase", .text = true, .caseless = true },
        { "StringNotEqualsIgnoreCase", .text = true, .negated = true, .caseless = true },
        { "StringLike", .text = true, .patterns = true },
        { "StringNotLike", .text = true, .negated = true, .patterns = true },
        { "ArnEquals", .text = true, .patterns = true },
        { "ArnLike", .text = true, .patterns = true },
        { "ArnNotEquals", .text = true, .negated = true, .patterns = true },
        { "ArnNotLike", .text = true, .negated = true, .patterns = true },
        { "Bool" },
        { "Null" },
        { "BinaryEquals" },
        { "IpAddress" },
        { "NotIpAddress" },
        { "NumericEquals" },
        { "NumericNotEquals" },
        { "NumericLessThan" },
        { "NumericLessThanEquals" },
        { "NumericGreaterThan" },
        { "NumericGreaterThanEquals" },
        { "DateEquals" },
        { "DateNotEquals" },
        { "DateLessThan" },
        { "DateLessThanEquals" },
        { "DateGreaterThan" },
        { "DateGreaterThanEquals" },
};

typedef struct Parser {
        char *reason;
        size_t statement;
} Parser;

_printf_(2, 3) static int malformed(const Parser *parser, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(parser->reason, KEY_POLICY_REASON_SIZE, format, arguments);
        va_end(arguments);
        return -EBADMSG;
}

size_t list_length(struct json_object *list) {
        if (!list)
                return 0;
        return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 1;
}

struct json_object *list_item(struct json_object *list, size_t i) {
        return json_object_is_type(list, json_type_array) ? json_object_array_get_idx(list, i) : list;
}

static bool is_string(struct json_object *value) {
        return json_object_is_type(value, json_type_string);
}

static bool is_scalar(struct json_object *value) {
        return value && !json_object_is_type(value, json_type_array) &&
               !json_object_is_type(value, json_type_object);
}

bool wildcard_match(const char *pattern, const char *text) {
        const char *many = NULL, *from = NULL;

        for (;;) {
                if (*pattern == '*') {
                        many = ++pattern;
                        from = text;
                } else if (*text && (*pattern == '?' || strncasecmp(pattern, text, 1) == 0)) {
                        pattern++;
                        text++;
                } else if (!*pattern && !*text) {
                        return true;
                } else if (many && *from) {
                        /* The last * stands for one more character. */
                        pattern = many;
                        text = ++from;
                } else {
                        return false;
                }
        }
}

/* Copies the ID of an account from the beginning of the text. */
static bool copy_account(const char *text, char account[static 13]) {
        if (strspn(text, DIGITS) != 12)
                return false;
        memcpy(account, text, 12);
        account[12] = 0;
        return true;
}

/* Returns the part after "arn:PARTITION:SERVICE::ACCOUNT:", or NULL. */
static const char *arn_resource(const char *text, const char *service, char account[static 13]) {
        const char *p = text + 4;

        if (strncmp(text, "arn:aws", 7) != 0)
                return NULL;
        p += strspn(p, LETTERS_AND_DIGITS "-");
        if (*p++ != ':' || strncmp(p, service, strlen(service)) != 0)
                return NULL;
        p += strlen(service);
        if (strncmp(p, "::", 2) != 0 || !copy_account(p + 2, account) || p[14] != ':')
                return NULL;
        return p + 15;
}

static bool is_name(const char *text, const char *prefix) {
        size_t n = strlen(prefix);

        return strncmp(text, prefix, n) == 0 && text[n] &&
               strspn(text + n, NAME_CHARACTERS) == strlen(text + n);
}

/* Returns whether the text is PREFIX, a path and a name. A path may have all printable characters, ! to ~ (IAM User Guide, "IAM
 * identifiers"), but KMS accepts no wildcard and no variable in a principal. */
static bool is_name_with_path(const char *text, const char *prefix) {
        size_t n = strlen(prefix);
        const char *slash = strrchr(text, '/');

        if (strncmp(text, prefix, n) != 0 || slash < text + n - 1 || strpbrk(text, "*?") ||
            strstr(text, "${"))
                return false;
        for (const char *p = text + n; p < slash; p++)
                if (*p < '!' || *p > '~')
                        return false;
        return is_name(slash, "/");
}

bool caller_parse(const char *text, Caller *ret) {
        Caller caller = { .text = text };
        const char *name;

        if (strcmp(text, "*") == 0)
                caller.kind = CALLER_EVERYONE;
        else if (strlen(text) == 12 && copy_account(text, caller.account))
                caller.kind = CALLER_ACCOUNT;
        else if ((name = arn_resource(text, "iam", caller.account))) {
                if (strcmp(name, "root") == 0)
                        caller.kind = CALLER_ACCOUNT;
                else if (is_name_with_path(name, "role/") || is_name_with_path(name, "user/"))
                        caller.kind = CALLER_IDENTITY;
                else
                        return false;
        } else if ((name = arn_resource(text, "sts", caller.account))) {
                if (!is_name(name, "assumed-role/") && !is_name(name, "federated-user/"))
                        return false;
                caller.kind = CALLER_SESSION;
        } else if (strlen(text) >= 16 && strspn(text, LETTERS_AND_DIGITS) == strlen(text) && text[0] == 'A')
                caller.kind = CALLER_UNIQUE_ID;
        else
                return false;
        *ret = caller;
        return true;
}

/* Returns whether the session may be one of the role. The ARN of a session has the name of its role without the path. */
static bool is_session_of(const Caller *session, const Caller *role) {
        const char *name = strchr(session->text, '/'), *role_name = strrchr(role->text, '/');
        size_t n = name ? strcspn(name + 1, "/") : 0;

        return session->kind == CALLER_SESSION && role->kind == CALLER_IDENTITY && role_name &&
               strcmp(session->account, role->account) == 0 && strlen(role_name + 1) == n &&
               strncmp(role_name + 1, name + 1, n) == 0;
}

static bool caller_is(const Caller *caller, const Caller *item, bool certainly) {
        switch (item->kind) {
        case CALLER_EVERYONE:
                return true;
        case CALLER_ACCOUNT:
                if ((caller->kind == CALLER_PATTERN || caller->kind == CALLER_UNIQUE_ID) &&
                    !*caller->account)
                        return !certainly;
                return caller->kind != CALLER_EVERYONE && strcmp(caller->account, item->account) == 0;
        default:
                return (caller->kind == item->kind && strcmp(caller->text, item->text) == 0) ||
                       (!certainly && is_session_of(caller, item));
        }
}

bool caller_is_among(const Caller *caller, const Caller *items, size_t n_items, bool certainly) {
        for (size_t i = 0; i < n_items; i++)
                if (caller_is(caller, &items[i], certainly))
                        return true;
        return false;
}

bool statement_has_action(const Statement *statement, const char *action) {
        for (size_t i = 0; i < list_length(statement->actions); i++)
                if (wildcard_match(json_object_get_string(list_item(statement->actions, i)), action))
                        return !statement->not_action;
        return statement->not_action && list_length(statement->actions) > 0;
}

uint32_t statement_pcrs(const Statement *statement, ConditionKind kind) {
        uint32_t pcrs = 0;

        for (size_t i = 0; i < statement->n_conditions; i++)
                if (statement->conditions[i].kind == kind && statement->conditions[i].pcr >= 0)
                        pcrs |= UINT32_C(1) << statement->conditions[i].pcr;
        return pcrs;
}

/* Returns whether the text is "*", or a service prefix and a name that may have wildcards. */
static bool is_action(const char *text) {
        size_t n = strspn(text, LETTERS_AND_DIGITS "-");

        if (strcmp(text, "*") == 0 || strcmp(text, "*:*") == 0)
                return true;
        return n > 0 && text[n] == ':' && text[n + 1] &&
               strspn(text + n + 1, LETTERS_AND_DIGITS "*?") == strlen(text + n + 1);
}

static int parse_actions(const Parser *parser, Statement *statement) {
        for (size_t i = 0; i < list_length(statement->actions); i++) {
                struct json_object *item = list_item(statement->actions, i);

                if (!is_string(item) || !is_action(json_object_get_string(item)))
                        return malformed(parser, "An action has no service prefix, or no valid name.");
        }
        return 0;
}

static int parse_resources(const Parser *parser, Statement *statement) {
        for (size_t i = 0; i < list_length(statement->resources); i++) {
                struct json_object *item = list_item(statement->resources, i);

                if (!is_string(item))
                        return malformed(parser, "A resource is not a string.");
                if (strcmp(json_object_get_string(item), "*") == 0)
                        statement->every_resource = true;
        }
        return 0;
}

static bool parse_principal(const char *type, struct json_object *item, Caller *ret) {
        const char *text = is_string(item) ? json_object_get_string(item) : NULL;

        if (!text)
                return false;
        if (strcmp(type, "AWS") == 0)
                return caller_parse(text, ret);
        *ret = (Caller){ CALLER_UNKNOWN, .text = text };
        if (strcmp(type, "Service") == 0)
                ret->kind = CALLER_SERVICE;
        return ret->kind == CALLER_SERVICE || strcmp(type, "Federated") == 0 ||
               strcmp(type, "CanonicalUser") == 0;
}

static int parse_principals(const Parser *parser, struct json_object *map, Statement *statement) {
        size_t n = 1;

        if (is_string(map)) {
                statement->principals = calloc(1, sizeof(Caller));
                if (!statement->principals)
                        return -ENOMEM;
                statement->n_principals = 1;
                if (strcmp(json_object_get_string(map), "*") != 0)
                        return malformed(parser, "A principal has no type such as AWS.");
                statement->principals[0].text = "*";
                return 0;
        }
        if (!json_object_is_type(map, json_type_object))
                return malformed(parser, "Principal is neither \"*\" nor an object.");
        json_object_object_foreach(map, name, value) {
                (void) name;
                n += list_length(value);
        }
        statement->principals = calloc(n, sizeof(Caller));
        if (!statement->principals)
                return -ENOMEM;
        json_object_object_foreach(map, type, list) {
                for (size_t i = 0; i < list_length(list); i++)
                        if (!parse_principal(type, list_item(list, i),
                                             &statement->principals[statement->n_principals++]))
                                return malformed(parser, "A principal is not valid in a key policy.");
        }
        return statement->n_principals > 0 ? 0 : malformed(parser, "The statement has no principal.");
}

/* Reads [ForAllValues:|ForAnyValue:]NAME[IfExists]. Returns NULL if there is no such operator. */
static const Operator *parse_operator(const char *name, bool *ret_all, bool *ret_any, bool *ret_if_exists) {
        static const char all[] = "ForAllValues:", any[] = "ForAnyValue:", if_exists[] = "IfExists";
        size_t n;

        *ret_all = strncmp(name, all, strlen(all)) == 0;
        *ret_any = strncmp(name, any, strlen(any)) == 0;
        name += *ret_all ? strlen(all) : *ret_any ? strlen(any) : 0;
        n = strlen(name);
        *ret_if_exists = n > strlen(if_exists) && strcmp(name + n - strlen(if_exists), if_exists) == 0;
        if (*ret_if_exists)
                n -= strlen(if_exists);
        for (size_t i = 0; i < ELEMENTSOF(operators); i++)
                if (strlen(operators[i].name) == n && memcmp(operators[i].name, name, n) == 0)
                        return &operators[i];
        return NULL;
}

/* Returns whether only upper and lower case distinguish the name from that of an operator. */
static bool is_operator_in_other_case(const char *name) {
        static const char all[] = "ForAllValues:", any[] = "ForAnyValue:", if_exists[] = "IfExists";

        name += strncasecmp(name, all, strlen(all)) == 0   ? strlen(all)
                : strncasecmp(name, any, strlen(any)) == 0 ? strlen(any)
                                                           : 0;
        for (size_t i = 0; i < ELEMENTSOF(operators); i++) {
                size_t n = strlen(operators[i].name);

                if (strncasecmp(name, operators[i].name, n) == 0 &&
                    (!name[n] || strcasecmp(name + n, if_exists) == 0))
                        return true;
        }
        return false;
}

static int pcr_of_key(const char *key) {
        static const char *const numbers[PCR_COUNT] = { "0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",
                                                        "8",  "9",  "10", "11", "12", "13", "14", "15",
                                                        "16", "17", "18", "19", "20", "21", "22", "23" };

        if (strncasecmp(key, PCR_KEY, strlen(PCR_KEY)) != 0)
                return -1;
        for (int i = 0; i < PCR_COUNT; i++)
                if (strcmp(key + strlen(PCR_KEY), numbers[i]) == 0)
                        return i;
        return -1;
}

/* Returns whether the key is kms:RecipientAttestation:PCRn, for Nitro Enclaves. */
static bool is_enclave_key(const char *key) {
        static const char prefix[] = "kms:RecipientAttestation:PCR";
        const char *digits = key + strlen(prefix);

        return strncasecmp(key, prefix, strlen(prefix)) == 0 && *digits &&
               strspn(digits, DIGITS) == strlen(digits) && strlen(digits) <= 2;
}

/* Returns whether the value may stand for several. Operators without patterns take * and ? literally. */
static bool is_open(const Operator *operator, const char * value) {
        return strstr(value, "${") || (operator->patterns && strpbrk(value, "*?"));
}

/* Keeps the values that are possible for a PCR. The others never match. *ret_open: a value may stand for several. */
static int parse_pcr_values(const Operator *operator, Condition * condition, bool *ret_open) {
        size_t n = list_length(condition->values);

        condition->pcrs = calloc(n + 1, PCR_SIZE);
        if (!condition->pcrs)
                return -ENOMEM;
        *ret_open = false;
        for (size_t i = 0; i < n; i++) {
                const char *value = json_object_get_string(list_item(condition->values, i));

                if (is_open(operator, value))
                        *ret_open = true;
                else if (hex_decode(value, condition->pcrs[condition->n_pcrs], PCR_SIZE) >= 0)
                        condition->n_pcrs++;
        }
        return 0;
}

/* Reads a principal that a condition spares. It is a pattern unless the value certainly means one role or user. */
static void parse_spared(const Operator *operator, const char * value, Caller *ret) {
        const char *colon = value;
        size_t colons;

        if (!operator->caseless && !is_open(operator, value) && caller_parse(value, ret) &&
            ret->kind == CALLER_IDENTITY)
                return;
        *ret = (Caller){ CALLER_PATTERN, .text = value };
        for (colons = 0; colons < 4 && colon; colons++)
                colon = strchr(colon + (colons > 0), ':');
        if (colon && !memchr(value, '*', (size_t) (colon - value)) &&
            !memchr(value, '?', (size_t) (colon - value)) && strspn(colon + 1, DIGITS) == 12 &&
            colon[13] == ':')
                (void) copy_account(colon + 1, ret->account);
}

static int parse_callers(const Operator *operator, Condition * condition) {
        size_t n = list_length(condition->values);

        condition->callers = calloc(n + 1, sizeof(Caller));
        if (!condition->callers)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const char *value = json_object_get_string(list_item(condition->values, i));

                if (strstr(value, "${"))
                        return 0;
                parse_spared(operator, value, &condition->callers[condition->n_callers++]);
        }
        condition->kind = CONDITION_CALLER_IS_NOT;
        return 0;
}

bool condition_key_exists(const char *key) {
        static const char *const keys[] = {
                "BypassPolicyLockoutSafetyCheck",
                "CallerAccount",
                "CustomerMasterKeySpec",
                "CustomerMasterKeyUsage",
                "DataKeyPairSpec",
                "EncryptionAlgorithm",
                "EncryptionContextKeys",
                "ExpirationModel",
                "GrantConstraintType",
                "GrantIsForAWSResource",
                "GrantOperations",
                "GranteePrincipal",
                "KeyAgreementAlgorithm",
                "KeyOrigin",
                "KeySpec",
                "KeyUsage",
                "MacAlgorithm",
                "MessageType",
                "MultiRegion",
                "MultiRegionKeyType",
                "PrimaryRegion",
                "ReEncryptOnSameKey",
                "RecipientAttestation:ImageSha384",
                "ReplicaRegion",
                "RequestAlias",
                "ResourceAliases",
                "RetiringPrincipal",
                "RotationPeriodInDays",
                "ScheduleKeyDeletionPendingWindowInDays",
                "SigningAlgorithm",
                "ValidTo",
                "ViaService",
                "WrappingAlgorithm",
                "WrappingKeySpec",
        };

        if (strncasecmp(key, "kms:", 4) != 0)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcasecmp(key + 4, keys[i]) == 0)
                        return true;
        return wildcard_match("kms:EncryptionContext:?*", key) || pcr_of_key(key) >= 0 ||
               is_enclave_key(key);
}

static bool has_value(struct json_object *values, const char *text) {
        for (size_t i = 0; i < list_length(values); i++)
                if (strcasecmp(json_object_get_string(list_item(values, i)), text) == 0)
                        return true;
        return false;
}

static int parse_condition(const Parser *parser, const char *name, const char *key,
                           struct json_object *values, Condition *ret) {
        bool all, any, if_exists, open;
        const Operator *operator= parse_operator(name, &all, &any, &if_exists);
        int r;

        *ret = (Condition){ CONDITION_OTHER, name, key, .pcr = pcr_of_key(key), .values = values };
        if (!operator)
                return is_operator_in_other_case(name)
                                       ? malformed(parser,
                                                   "The condition operator %.60s has other upper and lower case than AWS's (such as StringEquals).",
                                                   name)
                                       : malformed(parser, "There is no condition operator %.60s.", name);
        if (!strchr(key, ':') || key[0] == ':')
                return malformed(parser, "There is no condition key %.60s.", key);
        for (size_t i = 0; i < list_length(values); i++)
                if (!is_scalar(list_item(values, i)))
                        return malformed(parser, "A value of a condition is not a string.");
        ret->optional = all || if_exists;
        ret->met_when_absent = !any && (ret->optional || operator->negated);
        if (strcmp(operator->name, "Null") == 0) {
                ret->met_when_absent = has_value(values, "true");
                ret->met_when_present = has_value(values, "false");
        }
        if (ret->pcr >= 0) {
                r = parse_pcr_values(operator, ret, &open);
                if (r < 0)
                        return r;
                if (strcmp(operator->name, "Null") == 0)
                        ret->kind = CONDITION_NULL;
                if (!operator->text || open)
                        return 0;
                if (operator->negated && !any)
                        ret->kind = CONDITION_PCR_IS_NOT;
                else if (!operator->negated && !ret->optional)
                        ret->kind = CONDITION_PCR_IS;
        } else if (strcasecmp(key, "aws:PrincipalArn") == 0 && operator->text &&
                                                               operator->negated && !all && !any)
                return parse_callers(operator, ret);
        else if (strcasecmp(key, "kms:RecipientAttestation") == 0 ||
                 wildcard_match("kms:RecipientAttestation:*", key))
                ret->kind = CONDITION_ABSENT;
        return 0;
}

static int parse_conditions(const Parser *parser, struct json_object *map, Statement *statement) {
        size_t n = 1;
        int r;

        if (!map)
                return 0;
        if (!json_object_is_type(map, json_type_object))
                return malformed(parser, "Condition is not an object.");
        json_object_object_foreach(map, name, value) {
                (void) name;
                if (!json_object_is_type(value, json_type_object))
                        return malformed(parser, "A condition operator has no keys.");
                n += (size_t) json_object_object_length(value);
        }
        statement->conditions = calloc(n, sizeof(Condition));
        if (!statement->conditions)
                return -ENOMEM;
        json_object_object_foreach(map, operator, keys) {
                json_object_object_foreach(keys, key, values) {
                        r = parse_condition(parser, operator, key, values,
                                            &statement->conditions[statement->n_conditions++]);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

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

/* Finds X or NotX. A statement must not have both. */
static int either(const Parser *parser, struct json_object *object, const char *positive,
                  const char *negative, bool *ret_negative, struct json_object **ret) {
        struct json_object *a = json_member(object, positive), *b = json_member(object, negative);

        if (a && b)
                return malformed(parser, "The statement has both %s and %s.", positive, negative);
        *ret_negative = b;
        *ret = a ?: b;
        return 0;
}

static int parse_statement(const Parser *parser, struct json_object *object, Statement *ret) {
        static const char *const names[] = { "Sid",          "Effect",      "Principal",
                                             "NotPrincipal", "Action",      "NotAction",
                                             "Resource",     "NotResource", "Condition" };
        const char *effect = json_member_string(object, "Effect");
        struct json_object *principals = NULL, *sid = json_member(object, "Sid");
        int r;

        if (!members_are_among(object, names, ELEMENTSOF(names)))
                return malformed(parser, "The statement has an element that key policies do not have.");
        if (!effect || (strcmp(effect, "Allow") != 0 && strcmp(effect, "Deny") != 0))
                return malformed(parser, "Effect is neither Allow nor Deny.");
        if (sid && !is_string(sid))
                return malformed(parser, "Sid is not a string.");
        ret->sid = sid ? json_object_get_string(sid) : NULL;
        ret->deny = strcmp(effect, "Deny") == 0;
        r = either(parser, object, "Principal", "NotPrincipal", &ret->not_principal, &principals);
        if (r >= 0)
                r = either(parser, object, "Action", "NotAction", &ret->not_action, &ret->actions);
        if (r >= 0)
                r = either(parser, object, "Resource", "NotResource", &ret->not_resource, &ret->resources);
        if (r < 0)
                return r;
        if (!principals)
                return malformed(parser, "The statement has no principal.");
        if (ret->not_principal && !ret->deny)
                return malformed(parser, "An Allow has NotPrincipal, which KMS refuses.");
        r = parse_principals(parser, principals, ret);
        if (r >= 0)
                r = parse_actions(parser, ret);
        if (r >= 0)
                r = parse_resources(parser, ret);
        return r < 0 ? r : parse_conditions(parser, json_member(object, "Condition"), ret);
}

static int parse_tree(Parser *parser, KeyPolicy *policy) {
        static const char *const names[] = { "Version", "Statement", "Id" };
        struct json_object *statements = json_member(policy->tree, "Statement");
        const char *version = json_member_string(policy->tree, "Version");
        int r;

        if (json_member(policy->tree, "Resources"))
                return malformed(
                                parser,
                                "This is a template of CloudFormation. Give the KeyPolicy of the key alone.");
        if (!members_are_among(policy->tree, names, ELEMENTSOF(names)) || list_length(statements) == 0)
                return malformed(parser, "This is not a policy: an object with Version and Statement.");
        if (json_member(policy->tree, "Version") &&
            (!version || (strcmp(version, "2012-10-17") != 0 && strcmp(version, "2008-10-17") != 0)))
                return malformed(parser, "Version is neither 2012-10-17 nor 2008-10-17.");
        policy->variables = version && strcmp(version, "2012-10-17") == 0;
        policy->statements = calloc(list_length(statements), sizeof(Statement));
        if (!policy->statements)
                return -ENOMEM;
        for (size_t i = 0; i < list_length(statements); i++) {
                Statement *statement = &policy->statements[policy->n_statements++];

                parser->statement = i + 1;
                r = parse_statement(parser, list_item(statements, i), statement);
                if (r < 0)
                        return r;
                for (size_t j = 0; j < i && statement->sid && *statement->sid; j++)
                        if (policy->statements[j].sid &&
                            strcmp(policy->statements[j].sid, statement->sid) == 0)
                                return malformed(parser, "Another statement has the same Sid.");
        }
        return 0;
}

int key_policy_parse(const char *text, size_t size, KeyPolicy **ret,
                     char reason[static KEY_POLICY_REASON_SIZE], size_t *ret_statement) {
        _cleanup_(key_policy_freep) KeyPolicy *policy = NULL;
        Parser parser = { .reason = reason };
        int r;

        *ret_statement = 0;
        policy = calloc(1, sizeof(*policy));
        if (!policy)
                return -ENOMEM;
        r = json_parse(text, size, &policy->tree);
        if (r == -EBADMSG) {
                InputForm form = input_form_of_failed_text(text, size);

                if (form == INPUT_EMPTY)
                        return malformed(&parser, "This is empty. Expected a key policy in JSON.");
                if (form == INPUT_TEXT)
                        return malformed(&parser,
                                         "This is not JSON, or an object has two members of one name.");
                return malformed(&parser, "This is %s, not JSON. %s", input_form_name(form),
                                 input_form_cure(form));
        }
        if (r < 0)
                return r;
        r = parse_tree(&parser, policy);
        *ret_statement = parser.statement;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(policy);
        return 0;
}

int key_policy_unwrap(const char *text, size_t size, char **ret) {
        _cleanup_json_ struct json_object *tree = NULL;
        struct json_object *policy;
        int r;

        *ret = NULL;
        r = json_parse(text, size, &tree);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        policy = is_string(tree) ? tree : json_member(tree, "Policy");
        if (!policy || json_member(tree, "Statement"))
                return 0;
        *ret = strdup(json_object_get_string(policy));
        return *ret ? 0 : -ENOMEM;
}

static void statement_done(Statement *statement) {
        for (size_t i = 0; i < statement->n_conditions; i++) {
                free(statement->conditions[i].pcrs);
                free(statement->conditions[i].callers);
        }
        free(statement->conditions);
        free(statement->principals);
}

KeyPolicy *key_policy_free(KeyPolicy *policy) {
        if (!policy)
                return NULL;
        for (size_t i = 0; i < policy->n_statements; i++)
                statement_done(&policy->statements[i]);
        free(policy->statements);
        json_object_put(policy->tree);
        free(policy);
        return NULL;
}
