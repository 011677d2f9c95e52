/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "unsealctl/denied.h"

#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* IAM API Reference: the names of users and roles, and of the sessions of a role, match [\w+=,.@-]+. */
#define NAME LETTERS DIGITS "_+=,.@-"
#define ACCOUNT_SIZE 12U
#define NAME_SIZE_MAX 64U

/* Moves *text behind the word. */
static bool skip(const char **text, const char *word) {
        size_t length = strlen(word);

        if (strncmp(*text, word, length) != 0)
                return false;
        *text += length;
        return true;
}

/* Moves *text behind a name, and behind the path before it where has_path. */
static bool skip_name(const char **text, bool has_path) {
        const char *start = *text, *name;

        *text += strspn(start, has_path ? NAME "/" : NAME);
        name = *text;
        while (name > start && name[-1] != '/')
                name--;
        return *text > name && (size_t) (*text - name) <= NAME_SIZE_MAX;
}

static void read_action(const char *text, char *ret, size_t size) {
        size_t length = strlen("kms:");

        if (!skip(&text, " is not authorized to perform: ") || strncmp(text, "kms:", length) != 0)
                return;
        length += strspn(text + length, LETTERS);
        if (length < size)
                (void) snprintf(ret, size, "%.*s", (int) length, text);
}

bool denied_parse(const char *text, Denied *ret) {
        const char *p = strstr(text, "User: arn:"), *partition, *account, *name;
        size_t partition_size;
        Denied denied = {};
        int n;

        if (!p)
                return false;
        partition = p += strlen("User: arn:");
        p += partition_size = strspn(p, LETTERS "-");
        if (strncmp(partition, "aws", strlen("aws")) != 0)
                return false;
        if (skip(&p, ":sts::"))
                denied.is_session = true;
        else if (!skip(&p, ":iam::"))
                return false;
        account = p;
        p += strspn(p, DIGITS);
        if ((size_t) (p - account) != ACCOUNT_SIZE || !skip(&p, denied.is_session ? ":assumed-role/" : ":"))
                return false;
        name = p;
        if (!denied.is_session && !skip(&p, "user/") && !skip(&p, "role/"))
                return false;
        if (!skip_name(&p, !denied.is_session))
                return false;

        n = snprintf(denied.principal, sizeof(denied.principal), "arn:%.*s:iam::%.*s:%s%.*s",
                     (int) partition_size, partition, (int) ACCOUNT_SIZE, account,
                     denied.is_session ? "role/" : "", (int) (p - name), name);
        if (n < 0 || (size_t) n >= sizeof(denied.principal))
                return false;
        if (denied.is_session && (!skip(&p, "/") || !skip_name(&p, false)))
                return false;
        if (*p != ' ' && *p != '\0' && *p != '"')
                return false;
        read_action(p, denied.action, sizeof(denied.action));
        *ret = denied;
        return true;
}
