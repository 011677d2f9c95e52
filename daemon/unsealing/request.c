/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "config/ini.h"
#include "unsealing/request.h"

/* The Region that the declaration names, else the one in the source's ARN, else the key's. */
static void find_region(const Declaration *declaration, const Source *source, const KmsKeyArn *key,
                        char ret[static sizeof(((KmsKeyArn *) NULL)->region)]) {
        if (declaration->source_region)
                (void) snprintf(ret, sizeof(key->region), "%s", declaration->source_region);
        else if (!source->location || !source_region(source, ret, sizeof(key->region)))
                memcpy(ret, key->region, sizeof(key->region));
}

int request_target(const Settings *settings, const Declaration *declaration, RequestTarget *ret,
                   Error *error) {
        const KmsEndpointOptions options = {
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .endpoint = settings->kms_endpoint,
        };
        RequestTarget target = {};
        int r;

        r = kms_key_arn_parse(declaration->key_ids[0], &target.key);
        if (r >= 0)
                r = kms_endpoint(&target.key, &options, &target.endpoint);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION,
                                 "%s: KeyId=%s: no endpoint of KMS is known for this key.",
                                 declaration->file, declaration->key_ids[0]);
        find_region(declaration, &declaration->source, &target.key, target.source_region);
        find_region(declaration, &declaration->signature, &target.key, target.signature_region);
        *ret = target;
        return 0;
}

void request_target_clear(RequestTarget *target) {
        free(target->endpoint);
        *target = (RequestTarget){};
}

size_t request_maximum(const Declaration *declaration, const Source *source) {
        if (source->is_signature)
                return SIGNATURE_FILE_MAX;
        /* The overhead of a frame is 32 bytes. Frames that are shorter than that exceed this limit first. */
        return declaration_is_message(declaration) ? MESSAGE_HEADER_MAX + 2 * declaration->size_max
                                                   : declaration->size_max;
}

Fetch request_fetch(const Settings *settings, const Declaration *declaration, const RequestTarget *target,
                    const Source *source) {
        return (Fetch){
                .source = source,
                .partition = target->key.partition,
                .region = source->is_signature ? target->signature_region : target->source_region,
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .maximum = request_maximum(declaration, source),
        };
}

const char **request_context(const Declaration *declaration, const char *account_pair) {
        char *const *declared = declaration->encryption_context;
        size_t n = strings_count(declared);
        const char **context = calloc(n + 2, sizeof(*context));

        if (!context)
                return NULL;
        for (size_t i = 0; i < n; i++)
                context[i] = declared[i];
        if (declaration->bind_account)
                context[n] = account_pair;
        return context;
}

void request_message_clear(RequestMessage *message) {
        strings_free(message->context);
        *message = (RequestMessage){};
}

static bool has_pair(const RequestMessage *message, const char *pair) {
        for (char *const *own = message->context; *own; own++)
                if (strcmp(*own, pair) == 0)
                        return true;
        return false;
}

/* A message may have pairs that the declaration does not demand: writers add their own. But a pair of unseald binds it to another
 * secret, or to an account of which the declaration and therefore perhaps the key's policy know nothing. */
static int check_own_pairs(const RequestMessage *message, const char *const *declared, Error *error) {
        for (char *const *pair = message->context; *pair; pair++) {
                bool demanded = strncmp(*pair, "unseald:", strlen("unseald:")) != 0;

                for (size_t i = 0; declared[i] && !demanded; i++)
                        demanded = strcmp(*pair, declared[i]) == 0;
                if (!demanded)
                        return error_set(
                                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                                        "The message was sealed for a declaration with the pair %.300s in its encryption context, which this declaration does not have. Seal the secret again without this pair, or set BindAccount=yes if it is that of an account.",
                                        *pair);
        }
        return 0;
}

static int check_context(const RequestMessage *message, const char *const *declared, Error *error) {
        for (size_t i = 0; declared[i]; i++)
                if (!has_pair(message, declared[i]))
                        return error_set(
                                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                                        "The message was not sealed for this secret: its encryption context lacks the pair %.300s, which the declaration demands. Seal the secret again with this pair, or correct the declaration.",
                                        declared[i]);
        return check_own_pairs(message, declared, error);
}

/* The data key of the first pinned KMS key that has one. */
static int find_data_key(const Declaration *declaration, RequestMessage *message, Error *error) {
        const MessageHeader *header = &message->header;

        for (char *const *pin = declaration->key_ids; *pin; pin++)
                for (unsigned i = 0; i < header->data_keys_count; i++) {
                        const MessageDataKey *data_key = header->data_keys + i;

                        if (message_slice_is(&data_key->provider, MESSAGE_PROVIDER_KMS) &&
                            message_slice_is(&data_key->info, *pin)) {
                                message->data_key = data_key->ciphertext;
                                return 0;
                        }
                }
        return error_set(
                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                        "None of the %u data keys of the message was made by a KMS key in KeyId=. Show them with \"unsealctl cat-message\". Seal the secret again under the key %s, or correct KeyId=.",
                        header->data_keys_count, declaration->key_ids[0]);
}

static int parse_header(const Declaration *declaration, Slice message, MessageHeader *ret, Error *error) {
        const MessageHeaderOptions options = { .allow_uncommitted = declaration->allow_uncommitted };
        size_t needed;
        int r = message_header_parse(message.data, message.size, &options, ret, &needed, error);

        return r != -EAGAIN ? r
                            : error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                                        "The header of the message is not complete: it has at least %zu bytes, and there are %zu. Copy the message again.",
                                        needed, message.size);
}

static int read_header(const Declaration *declaration, Slice message, RequestMessage *ret, Error *error) {
        int r = parse_header(declaration, message, &ret->header, error);

        if (r < 0)
                return r;
        r = message_context_pairs(&ret->header, &ret->context);
        if (r == -ENOMEM)
                return error_oom(error);
        return r < 0 ? error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                                 "The encryption context of the message has an empty key, \"=\" in a key, or a NUL. Seal the secret again without it.")
                     : 0;
}

int request_check_pin(const Declaration *declaration, Slice ciphertext, Error *error) {
        uint8_t digest[SHA256_DIGEST_LENGTH];

        if (!declaration->pinned)
                return 0;
        SHA256(ciphertext.data, ciphertext.size, digest);
        if (memcmp(digest, declaration->pin, sizeof(digest)) == 0)
                return 0;
        return error_set(
                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                        "This is not the sealed secret that Sha256= pins: it was replaced, by another version or by somebody else. Restore it, or correct Sha256=.");
}

int request_check_signature(const Declaration *declaration, Slice sealed, Slice signature,
                            uint64_t *ret_version, Error *error) {
        const SignatureRule rule = declaration_signature_rule(declaration);
        MessageHeader header;
        int r;

        if (declaration_is_message(declaration)) {
                r = parse_header(declaration, sealed, &header, error);
                if (r < 0)
                        return r;
                sealed.size = header.size;
        }
        return signature_judge(&rule, signature.data, signature.size, sealed.data, sealed.size, ret_version,
                               error);
}

int request_check_ciphertext(const Declaration *declaration, Slice ciphertext, Error *error) {
        if (message_is_likely(ciphertext.data, ciphertext.size))
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The sealed secret is a message of the AWS Encryption SDK, not a ciphertext of KMS. Set Format=message.");
        return request_check_pin(declaration, ciphertext, error);
}

int request_message(const Declaration *declaration, Slice message, const char *account_pair,
                    RequestMessage *ret, Error *error) {
        _cleanup_free_ const char **declared = request_context(declaration, account_pair);
        RequestMessage result = {};
        int r = declared ? read_header(declaration, message, &result, error) : error_oom(error);

        if (r >= 0)
                r = request_check_pin(declaration, (Slice){ message.data, result.header.size }, error);
        if (r >= 0)
                r = check_context(&result, declared, error);
        if (r >= 0)
                r = find_data_key(declaration, &result, error);
        if (r < 0) {
                request_message_clear(&result);
                return r;
        }
        *ret = result;
        return 0;
}

KmsDecrypt request_decrypt(const Declaration *declaration, const char *const *context, Slice ciphertext) {
        return (KmsDecrypt){
                .ciphertext = ciphertext,
                .key_ids = (const char *const *) declaration->key_ids,
                .encryption_context = context,
        };
}
