/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Prints the partition of a Region and the endpoint that unseald takes for a service, so that they can be compared with AWS's rules.
 *
 * Reads lines "PARTITION REGION SOURCE FIPS DUAL-STACK". SOURCE is "kms" or a Source= such as "s3://bucket/key"; the last two are 0 or 1.
 * Prints for each line "PARTITION URL". "-" is printed for what unseald does not know.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/kms-key.h"
#include "source/fetch.h"

typedef struct Question {
        KmsKeyArn key; /* with partition and Region alone */
        char source[128];
        unsigned fips, dual_stack;
} Question;

static void fail(const char *line, const char *text) {
        (void) fprintf(stderr, "print-endpoints: %s: %s", text, line);
        exit(1);
}

static char *kms_url(const Question *question) {
        const KmsEndpointOptions options = { .fips = question->fips, .dual_stack = question->dual_stack };
        char *url = NULL;

        return kms_endpoint(&question->key, &options, &url) < 0 ? NULL : url;
}

static char *source_url(const Question *question, const char *line) {
        static char id[] = "AKIDEXAMPLE", secret[] = "secret";
        _cleanup_(source_clear) Source source = {};
        _cleanup_(fetch_request_clear) FetchRequest request = {};
        const AwsCredentials credentials = { .access_key_id = id, .secret_access_key = secret };
        const Fetch fetch = { &source,        question->key.partition, question->key.region,
                              question->fips, question->dual_stack,    4096 };
        Error error = {};

        if (source_parse(question->source, &source, &error) < 0)
                fail(line, error.text);
        return fetch_request(&fetch, &credentials, 1440938160, &request) < 0 ? NULL : TAKE_PTR(request.url);
}

static void answer(const char *line) {
        Question question = {};
        _cleanup_free_ char *url = NULL;
        const char *partition;

        if (sscanf(line, "%31s %31s %127s %1u %1u", question.key.partition, question.key.region,
                   question.source, &question.fips, &question.dual_stack) != 5)
                fail(line, "Expected five words");
        partition = aws_partition_of(question.key.region);
        url = strcmp(question.source, "kms") == 0 ? kms_url(&question) : source_url(&question, line);
        printf("%s %s\n", partition ? partition : "-", url ? url : "-");
}

int main(void) {
        char line[512];

        while (fgets(line, sizeof(line), stdin))
                answer(line);
        return 0;
}
