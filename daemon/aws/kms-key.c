/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/kms-key.h"
#include "aws/service.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* Copies the part of an ARN before the delimiter. The part may have only these characters. */
static int take_part(const char **text, char delimiter, const char *characters, char *ret, size_t size) {
        size_t length = strspn(*text, characters);

        if (length == 0 || length >= size || (*text)[length] != delimiter)
                return -EINVAL;
        *((char *) mempcpy(ret, *text, length)) = '\0';
        *text += length + (delimiter != '\0');
        return 0;
}

static int take_literal(const char **text, const char *literal) {
        size_t length = strlen(literal);

        if (strncmp(*text, literal, length) != 0)
                return -EINVAL;
        *text += length;
        return 0;
}

int kms_key_arn_parse(const char *text, KmsKeyArn *ret) {
        KmsKeyArn arn;

        if (take_literal(&text, "arn:") < 0 ||
            take_part(&text, ':', LOWER DIGITS "-", arn.partition, sizeof(arn.partition)) < 0 ||
            take_literal(&text, "kms:") < 0 ||
            take_part(&text, ':', LOWER DIGITS "-", arn.region, sizeof(arn.region)) < 0 ||
            take_part(&text, ':', DIGITS, arn.account, sizeof(arn.account)) < 0 ||
            strlen(arn.account) != 12 || take_literal(&text, "key/") < 0 ||
            take_part(&text, '\0', "ABCDEFGHIJKLMNOPQRSTUVWXYZ" LOWER DIGITS "-", arn.key, sizeof(arn.key)) <
                            0)
                return -EINVAL;
        *ret = arn;
        return 0;
}

bool kms_key_is_replica(const KmsKeyArn *key, const KmsKeyArn *other) {
        return strncmp(key->key, "mrk-", strlen("mrk-")) == 0 && strcmp(key->key, other->key) == 0 &&
               strcmp(key->account, other->account) == 0 && strcmp(key->partition, other->partition) == 0 &&
               strcmp(key->region, other->region) != 0;
}

int kms_endpoint(const KmsKeyArn *key, const KmsEndpointOptions *options, char **ret) {
        const char *domain = aws_domain(key->partition, options->dual_stack);
        char *endpoint;

        if (options->endpoint) {
                if (strncmp(options->endpoint, "https://", 8) != 0)
                        return -EINVAL;
                endpoint = strdup(options->endpoint);
                if (!endpoint)
                        return -ENOMEM;
                *ret = endpoint;
                return 0;
        }
        if (!domain)
                return -EOPNOTSUPP;
        if (asprintf(&endpoint, "https://kms%s.%s.%s", options->fips ? "-fips" : "", key->region, domain) <
            0)
                return -ENOMEM;
        *ret = endpoint;
        return 0;
}
