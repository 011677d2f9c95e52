/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads a body of KMS as the answer to each operation and as an error. The text of every error must be
 * printable.
 */

#include <stdlib.h>
#include <string.h>

#include "kms/client.h"
#include "kms/cms.h"
#include "unsealctl/denied.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const Error *error) {
        if (error->failure == FAILURE_NONE || !error->text[0])
                abort();
        for (const char *p = error->text; *p; p++)
                if (*p < ' ' || *p > '~')
                        abort();
}

/* A person copies the principal into a shell. */
static void check_denied(const char *text) {
        Denied denied;

        if (!denied_parse(text, &denied))
                return;
        if (strncmp(denied.principal, "arn:aws", strlen("arn:aws")) != 0 ||
            strpbrk(denied.principal, " \t\n'\"`$\\;&|<>(){}[]*?!#~%^") ||
            strpbrk(denied.action, " \t\n'\"`$\\;&|<>(){}[]*?!#~%^"))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char pin[] =
                        "arn:aws:kms:eu-north-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        const KmsDecrypt decrypt = { .key_ids = (const char *const[]){ pin, NULL } };
        const KmsErrorReply reply = { .status = 400, .body = (const char *) data, .size = size };
        const KmsEncrypt encrypt = { .key_arn = pin };
        _cleanup_free_ uint8_t *envelope = NULL, *ciphertext = NULL, *signature = NULL, *key = NULL,
                               *sealed = NULL;
        _cleanup_free_ char *arn = NULL;
        size_t envelope_size, ciphertext_size, signature_size, key_size, sealed_size;
        KmsKeyArn parsed;
        Error error = {};

        if (kms_decrypt_reply(&decrypt, (const char *) data, size, &envelope, &envelope_size, &error) < 0)
                check_error(&error);
        else if (envelope_size == 0 || envelope_size > CMS_ENVELOPE_MAX)
                abort();
        if (kms_encrypt_reply(&encrypt, (const char *) data, size, &ciphertext, &ciphertext_size, &error) <
            0)
                check_error(&error);
        else if (ciphertext_size == 0 || ciphertext_size > KMS_CIPHERTEXT_MAX)
                abort();
        if (kms_sealed_key_reply(&encrypt, (const char *) data, size, &sealed, &sealed_size, &error) < 0)
                check_error(&error);
        else if (sealed_size == 0 || sealed_size > KMS_CIPHERTEXT_MAX)
                abort();
        if (kms_describe_key_reply((const char *) data, size, &arn, &error) < 0)
                check_error(&error);
        else if (kms_key_arn_parse(arn, &parsed) < 0)
                abort();
        if (kms_signing_reply(pin, "ECDSA_SHA_256", (const char *) data, size, &signature, &signature_size,
                              &error) < 0)
                check_error(&error);
        else if (signature_size == 0 || signature_size > KMS_SIGNATURE_MAX)
                abort();
        if (kms_public_key_reply(pin, (const char *) data, size, &key, &key_size, &error) < 0)
                check_error(&error);
        else if (key_size == 0 || key_size > KMS_PUBLIC_KEY_MAX)
                abort();
        (void) kms_error_reply(&reply, &error);
        check_error(&error);
        check_denied(error.text);
        return 0;
}
