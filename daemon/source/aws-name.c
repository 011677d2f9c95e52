/* SPDX-License-Identifier: Apache-2.0 */

#include <stdbool.h>
#include <string.h>

#include "aws/service.h"
#include "basic/cleanup.h"
#include "source/aws-name.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZ" LOWER DIGITS

#define BUCKET_MIN 3U
#define BUCKET_MAX 63U
#define PARAMETER_MAX 2048U /* of GetParameter's Name; also with an ARN */
#define SECRET_NAME_MAX 512U
#define SECRET_ARN_MAX 2048U
#define REGION_MAX 63U
#define ACCOUNT_DIGITS 12U

#define BUCKET_EXPECTED "s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID"
#define PARAMETER_EXPECTED "the name or ARN of a parameter after ssm:"
#define SECRET_EXPECTED "the name or ARN of a secret after secretsmanager:"

static bool ends_with(const char *text, size_t length, const char *end) {
        size_t n = strlen(end);

        return length >= n && memcmp(text + length - n, end, n) == 0;
}

/* Four numbers, as in 192.0.2.1. */
static bool is_address(const char *text, size_t length) {
        size_t dots = 0;

        for (size_t i = 0; i < length; i++)
                if (text[i] == '.')
                        dots++;
                else if (!strchr(DIGITS, text[i]))
                        return false;
        return dots == 3;
}

/* As S3 names buckets today. Capitals and underscores are of buckets before 2018, in one Region. */
static bool is_bucket(const char *text, size_t length) {
        if (length < BUCKET_MIN || length > BUCKET_MAX || is_address(text, length))
                return false;
        for (size_t i = 0; i < length; i++) {
                bool end = i == 0 || i == length - 1;

                if (!strchr(LOWER DIGITS, text[i]) &&
                    (end || (text[i] != '-' && text[i] != '.') || (text[i] == '.' && text[i - 1] == '.')))
                        return false;
        }
        return true;
}

const char *aws_bucket_mistake(const char *text, size_t length) {
        static const struct {
                const char *end, *expected;
        } others[] = {
                { "--x-s3",
                  "a general purpose bucket: this name is one of a directory bucket (S3 Express), which needs CreateSession and a zonal endpoint" },
                { "--table-s3", "a general purpose bucket: this name is one of a table bucket" },
                { ".mrap", "a bucket: this name is one of a Multi-Region Access Point, which needs SigV4A" },
        };

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (ends_with(text, length, others[i].end))
                        return others[i].expected;
        return is_bucket(text, length) ? NULL : BUCKET_EXPECTED;
}

/* Behind "arn:PARTITION:SERVICE:REGION:ACCOUNT:". NULL: the text is no such ARN. */
static const char *behind_arn(const char *text, const char *service) {
        char region[REGION_MAX + 1];
        const char *fields[5];
        size_t length;

        for (unsigned i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = text;
                text = strchr(text, ':');
                if (!text)
                        return NULL;
                text++;
        }
        length = strcspn(fields[3], ":");
        if (length > REGION_MAX)
                return NULL;
        *((char *) mempcpy(region, fields[3], length)) = '\0';
        if (strncmp(fields[0], "arn:aws", 7) != 0 || strncmp(fields[2], service, strlen(service)) != 0 ||
            fields[2][strlen(service)] != ':' || !aws_is_region(region) ||
            strspn(fields[4], DIGITS) != ACCOUNT_DIGITS || fields[4][ACCOUNT_DIGITS] != ':')
                return NULL;
        return text;
}

const char *aws_parameter_mistake(const char *text) {
        const char *name = text;

        if (strlen(text) > PARAMETER_MAX)
                return PARAMETER_EXPECTED;
        if (strncmp(text, "arn:", 4) == 0) {
                name = behind_arn(text, "ssm");
                if (!name || strncmp(name, "parameter/", strlen("parameter/")) != 0)
                        return PARAMETER_EXPECTED;
                name += strlen("parameter");
        }
        /* A version's number or a label may stand behind the name. */
        for (unsigned parts = 0; parts < 2; parts++) {
                size_t n = strspn(name, ALPHANUMERIC "_.-/");

                if (n == 0)
                        break;
                name += n;
                if (!*name)
                        return NULL;
                if (*name != ':')
                        break;
                name++;
        }
        return PARAMETER_EXPECTED;
}

const char *aws_secret_mistake(const char *text) {
        const char *name = text;
        size_t length;

        if (strncmp(text, "arn:", 4) == 0) {
                name = behind_arn(text, "secretsmanager");
                if (!name || strncmp(name, "secret:", strlen("secret:")) != 0 ||
                    strlen(text) > SECRET_ARN_MAX)
                        return SECRET_EXPECTED;
                name += strlen("secret:");
        }
        length = strspn(name, ALPHANUMERIC "/_+=.@-");
        if (length > 0 && name[length] == ':')
                return SECRET_EXPECTED
                                ", without a JSON key, a stage or a version behind it: that form is one of ECS task definitions, and GetSecretValue does not know it. A member of a JSON secret is secretsmanager:ID#KEY";
        return length > 0 && !name[length] && (name != text || length <= SECRET_NAME_MAX) ? NULL
                                                                                          : SECRET_EXPECTED;
}
