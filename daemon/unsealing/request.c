/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "basic/openssl-util.h"
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

/* -EOPNOTSUPP: no endpoint is known. */
static int make_key(const Settings *settings, const char *arn, RequestKey *ret) {
        const KmsEndpointOptions options = {
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .endpoint = settings->kms_endpoint,
        };
        RequestKey key = { .arn = arn };
        int r = kms_key_arn_parse(arn, &key.key);

        if (r >= 0)
                r = kms_endpoint(&key.key, &options, &key.endpoint);
        if (r >= 0)
                *ret = key;
        return r;
}

static int no_endpoint(const Declaration *declaration, int r, Error *error) {
        return r == -ENOMEM ? error_oom(error)
                            : error_set(error, r, FAILURE_CONFIGURATION,
                                        "%s: KeyId=%s: no endpoint of KMS is known for this key.",
                                        declaration->file, declaration->key_ids[0]);
}

int request_target(const Settings *settings, const Declaration *declaration, RequestTarget *ret,
                   Error *error) {
        RequestTarget target = {};
        RequestKey key = {};
        int r;

        r = make_key(settings, declaration->key_ids[0], &key);
        if (r < 0)
                return no_endpoint(declaration, r, error);
        target.key = key.key;
        target.endpoint = key.endpoint;
        find_region(declaration, &declaration->source, &target.key, target.source_region);
        find_region(declaration, &declaration->signature, &target.key, target.signature_region);
        *ret = target;
        return 0;
}

void request_target_clear(RequestTarget *target) {
        free(target->endpoint);
        *target = (RequestTarget){};
}

int request_keys(const Settings *settings, const Declaration *declaration, RequestKey **ret,
                 size_t *ret_count, Error *error) {
        char *const *arns = declaration->key_ids;
        RequestKey *keys = calloc(strings_count(arns), sizeof(*keys));
        size_t n = 0;
        int r = keys ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && arns[i]; i++) {
                r = make_key(settings, arns[i], keys + n);
                if (r < 0 && r != -ENOMEM && i > 0)
                        r = 0;
                else if (r >= 0 && i > 0 && !declaration_is_message(declaration) &&
                         !kms_key_is_replica(&keys[0].key, &keys[n].key))
                        free(TAKE_PTR(keys[n].endpoint));
                else if (r >= 0)
                        n++;
        }
        if (r < 0) {
                request_keys_free(keys, n);
                return no_endpoint(declaration, r, error);
        }
        *ret = keys;
        *ret_count = n;
        return 0;
}

void request_keys_free(RequestKey *keys, size_t count) {
        for (size_t i = 0; i < count; i++)
                free(keys[i].endpoint);
        free(keys);
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

/* The data key that the key with this ARN made. */
static bool data_key_of(const MessageHeader *header, const char *arn, Slice *ret) {
        for (unsigned i = 0; i < header->data_keys_count; i++) {
                const MessageDataKey *data_key = header->data_keys + i;

                if (message_slice_is(&data_key->provider, MESSAGE_PROVIDER_KMS) &&
                    message_slice_is(&data_key->info, arn)) {
                        *ret = data_key->ciphertext;
                        return true;
                }
        }
        return false;
}

bool request_data_key(const Declaration *declaration, const MessageHeader *header, const RequestKey *key,
                      Slice *ret) {
        KmsKeyArn other;

        if (data_key_of(header, key->arn, ret))
                return true;
        for (char *const *pin = declaration->key_ids; *pin; pin++)
                if (kms_key_arn_parse(*pin, &other) >= 0 && kms_key_is_replica(&key->key, &other) &&
                    data_key_of(header, *pin, ret))
                        return true;
        return false;
}

/* The data key of the first pinned KMS key that has one. */
static int find_data_key(const Declaration *declaration, RequestMessage *message, Error *error) {
        for (char *const *pin = declaration->key_ids; *pin; pin++)
                if (data_key_of(&message->header, *pin, &message->data_key))
                        return 0;
        return error_set(
                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                        "None of the %u data keys of the message was made by a KMS key in KeyId=. Show them with \"unsealctl cat-message\". Seal the secret again under the key %s, or correct KeyId=.",
                        message->header.data_keys_count, declaration->key_ids[0]);
}

int request_header(const Declaration *declaration, Slice message, MessageHeader *ret, Error *error) {
        const MessageHeaderOptions options = { .allow_uncommitted = declaration->allow_uncommitted };
        size_t needed;
        int r = message_header_parse(message.data, message.size, &options, ret, &needed, error);

        return r != -EAGAIN ? r
                            : error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                                        "The header of the message is not complete: it has at least %zu bytes, and there are %zu. Copy the message again.",
                                        needed, message.size);
}

static int read_header(const Declaration *declaration, Slice message, RequestMessage *ret, Error *error) {
        int r = request_header(declaration, message, &ret->header, error);

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

/* What of a sealed secret is signed and measured: all of a ciphertext, and the header of a message. */
static int limit_to_header(const Declaration *declaration, Slice *sealed, Error *error) {
        MessageHeader header;
        int r;

        if (!declaration_is_message(declaration))
                return 0;
        r = request_header(declaration, *sealed, &header, error);
        if (r >= 0)
                sealed->size = header.size;
        return r;
}

int request_check_signature(const Declaration *declaration, Slice sealed, Slice signature,
                            uint64_t *ret_version, Error *error) {
        const SignatureRule rule = declaration_signature_rule(declaration);
        int r = limit_to_header(declaration, &sealed, error);

        return r < 0 ? r
                     : signature_judge(&rule, signature.data, signature.size, sealed.data, sealed.size,
                                       ret_version, error);
}

int request_sealed_digest(const Declaration *declaration, Slice sealed, uint8_t ret[static PCR_SIZE],
                          Error *error) {
        int r = limit_to_header(declaration, &sealed, error);

        if (r < 0)
                return r;
        return secret_event_sealed(sealed.data, sealed.size, ret) < 0
                               ? openssl_error(error, "hash the sealed secret")
                               : 0;
}

int request_check_ciphertext(const Declaration *declaration, Slice ciphertext, Error *error) {
        if (message_is_likely(ciphertext.data, ciphertext.size))
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The sealed secret is a message of the AWS Encryption SDK, not a ciphertext of KMS. Set Format=message, or Format=bundle if it was sealed with --bundle.");
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
                .generate = ciphertext.size == 0 ? declaration->generate : 0,
                .keeps_ciphertext = ciphertext.size == 0 && declaration->generate_missing,
                .key_ids = (const char *const *) declaration->key_ids,
                .encryption_context = context,
        };
}
