/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An application's request, and KMS's answer to it, separated by a NUL. A request that is taken uses a key of the rules and no context of
 * a secret, and what is sent to KMS is JSON with one Recipient. An answer that is taken gets its plaintext at one place.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kms/application.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/11111111-2222-3333-4444-555555555555"
#define SCOPE "Credential=a/b/eu-north-1/kms/aws4_request"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *const keys[] = { (char *) KEY, NULL };
static char *const operations[] = { (char *) "Decrypt", (char *) "ReEncrypt", (char *) "GenerateRandom",
                                    (char *) "Encrypt", NULL };
static const ApplicationRules rules = { .keys = keys, .operations = operations };

static void check_request(const ApplicationRequest *request) {
        _cleanup_free_ char *body = NULL;
        _cleanup_json_ struct json_object *tree = NULL;
        struct json_object *context;

        assert(strcmp(request->endpoint_key, KEY) == 0);
        if (!request->attested)
                return;
        assert(application_request_body(request, (Slice){ (const uint8_t *) "d", 1 }, &body) >= 0);
        assert(json_parse(body, strlen(body), &tree) >= 0);
        assert(json_pointer(tree, "/Recipient/AttestationDocument"));
        context = json_member(tree, "EncryptionContext");
        if (!context || request->operation->contexts[0] == NULL)
                return;
        json_object_object_foreach(context, name, value) {
                assert(json_object_is_type(value, json_type_string));
                assert(strncasecmp(name, "unseald:", 8) != 0);
        }
}

static void check_answer(const ApplicationRequest *request, struct json_object *reply) {
        _cleanup_json_ struct json_object *tree = NULL;
        _cleanup_secret_ Secret *plaintext = NULL;
        _cleanup_free_ char *text = NULL;

        assert(secret_new(4, &plaintext) >= 0);
        assert(application_reply_format(request, reply, plaintext, &text) >= 0);
        assert(json_parse(text, strlen(text), &tree) >= 0);
        assert(strcmp(json_member_string(tree, request->operation->plaintext), "AAAAAA==") == 0);
        assert(!json_member(tree, "CiphertextForRecipient"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *body = (const char *) data, *end = memchr(data, 0, size), *answer = end ? end + 1 : "";
        size_t body_size = end ? (size_t) (end - body) : size, answer_size = end ? size - body_size - 1 : 0;

        for (char *const *operation = operations; *operation; operation++) {
                _cleanup_(application_request_clear) ApplicationRequest request = {};
                _cleanup_json_ struct json_object *reply = NULL;
                _cleanup_free_ uint8_t *envelope = NULL;
                ApplicationRefusal refusal;
                char target[64] = "TrentService.";
                size_t envelope_size;
                int r;

                strcat(target, *operation);
                r = application_request_judge(&rules, target, SCOPE, body, body_size, &request, &refusal);
                assert(r == 0 || (r == -EACCES && refusal.type && refusal.text[0]));
                if (r < 0)
                        continue;
                check_request(&request);
                r = application_reply_judge(&request, &rules, answer, answer_size, &reply, &envelope,
                                            &envelope_size, NULL);
                if (r >= 0 && envelope)
                        check_answer(&request, reply);
        }
        return 0;
}
