/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "aws/kms-key.h"
#include "basic/input-form.h"
#include "basic/io.h"
#include "basic/openssl-util.h"
#include "kms/exchange.h"
#include "source/signature.h"
#include "unsealctl/ctl.h"
#include "unsealctl/sign.h"

#define KEY_FILE_MAX (64U * 1024U)

struct Signer {
        EVP_PKEY *key;     /* the private key of a file, or the public key of KMS's key */
        KmsCaller *caller; /* NULL: the key is in a file */
        const char *arn;
};

Signer *signer_free(Signer *signer) {
        if (!signer)
                return NULL;
        EVP_PKEY_free(signer->key);
        signer->caller = kms_caller_free(signer->caller);
        free(signer);
        return NULL;
}

typedef struct Passphrase {
        const char *path;
        bool asked, no_terminal;
} Passphrase;

/* Called by OpenSSL for an encrypted key. Standard input may be the secret, so only the terminal itself is asked. */
static int ask_passphrase(char *buffer, int size, int writing, void *userdata) {
        _cleanup_close_ int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        Passphrase *passphrase = userdata;
        char prompt[256];

        passphrase->asked = true;
        passphrase->no_terminal = terminal < 0;
        if (passphrase->no_terminal)
                return -1;
        (void) snprintf(prompt, sizeof(prompt), "Passphrase of %.200s: ", passphrase->path);
        return EVP_read_pw_string(buffer, size, prompt, 0) == 0 ? (int) strlen(buffer) : -1;
}

static int refuse_key(const Passphrase *passphrase, const uint8_t *pem, size_t size) {
        static const char public[] = "BEGIN PUBLIC KEY-----";

        if (passphrase->no_terminal)
                return failure("The key %s is encrypted, and there is no terminal to ask for its passphrase. Decrypt it with \"openssl pkey\" into a file that only you can read, or sign with a key in KMS (--sign-key=).",
                               passphrase->path);
        if (passphrase->asked)
                return failure("The key %s cannot be decrypted: the passphrase is wrong, or none was given.",
                               passphrase->path);
        if (memmem(pem, size, public, strlen(public)))
                return failure("The key %s is a public key. --sign= takes the private key of the pair.",
                               passphrase->path);
        return failure("The key %s cannot be read: expected a private key in PEM. \"openssl genpkey -algorithm ed25519\" makes one.%s",
                       passphrase->path,
                       input_form(pem, size) == INPUT_PEM ? "" : input_form_hint(pem, size));
}

int signer_of_file(const char *path, Signer **ret) {
        _cleanup_(signer_freep) Signer *signer = calloc(1, sizeof(*signer));
        _cleanup_(BIO_freep) BIO *bio = NULL;
        _cleanup_free_ uint8_t *pem = NULL; /* free() wipes, see memory/wipe.c */
        Passphrase passphrase = { .path = path };
        size_t size;
        int r;

        r = read_file(path, KEY_FILE_MAX, &pem, &size);
        if (r < 0)
                return failure("The key %s cannot be read: %s.", path,
                               r == -ENXIO ? "it is not a regular file" : strerror(-r));
        bio = BIO_new_mem_buf(pem, (int) size);
        if (!signer || !bio)
                return failure("Out of memory.");
        signer->key = PEM_read_bio_PrivateKey(bio, NULL, ask_passphrase, &passphrase);
        ERR_clear_error();
        if (!signer->key)
                return refuse_key(&passphrase, pem, size);
        if (signature_scheme(signer->key) == _SIGNATURE_SCHEME_INVALID)
                return failure("The key %s is of a kind that unseald does not verify. Expected Ed25519, or ECDSA on P-256 or P-384.",
                               path);
        *ret = TAKE_PTR(signer);
        return 0;
}

/* Says what KMS has answered to this operation. The policy of the key must allow it. */
static int kms_failure(const char *operation, const Error *error) {
        (void) failure("kms:%s with the key of --sign-key=: %s%s%s%s", operation, error->text,
                       *error->request_id ? " (Request " : "", error->request_id,
                       *error->request_id ? ")" : "");
        return (int) error->failure;
}

static int fetch_public_key(Signer *signer) {
        _cleanup_free_ char *request = NULL;
        _cleanup_erase_ char *answer = NULL;
        _cleanup_free_ uint8_t *der = NULL;
        const unsigned char *p;
        Error error = {};
        size_t size;

        if (kms_describe_key_request(signer->arn, &request) < 0)
                return failure("Out of memory.");
        if (kms_call(signer->caller, "GetPublicKey", request, &answer, &size, &error) < 0 ||
            kms_public_key_reply(signer->arn, answer, size, &der, &size, &error) < 0)
                return kms_failure("GetPublicKey", &error);
        p = der;
        signer->key = d2i_PUBKEY(NULL, &p, (long) size);
        ERR_clear_error();
        if (!signer->key || signature_scheme(signer->key) == _SIGNATURE_SCHEME_INVALID)
                return failure("The key %s is of a kind that unseald does not verify. Expected KeySpec ECC_NIST_P256, ECC_NIST_P384 or ECC_NIST_EDWARDS25519.",
                               signer->arn);
        return 0;
}

int signer_of_kms(const char *arn, const KmsCallerOptions *options, Signer **ret) {
        _cleanup_(signer_freep) Signer *signer = calloc(1, sizeof(*signer));
        KmsCallerOptions own = *options;
        Error error = {};
        KmsKeyArn key;
        int r;

        if (!signer)
                return failure("Out of memory.");
        if (kms_key_arn_parse(arn, &key) < 0)
                return usage_error(
                                "--sign-key=%s is no ARN of a KMS key. An alias can be moved to another key.",
                                arn);
        own.region = key.region;
        signer->arn = arn;
        if (kms_caller_new(&own, &signer->caller, &error) < 0)
                return kms_failure("GetPublicKey", &error);
        r = fetch_public_key(signer);
        if (r != 0)
                return r;
        *ret = TAKE_PTR(signer);
        return 0;
}

static int sign_with_file(const Signer *signer, const uint8_t *message, size_t size, Signature *signature) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        const char *digest = signature_digest(signature_scheme(signer->key));

        signature->size = sizeof(signature->bytes);
        if (!context || EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, signer->key, NULL) != 1 ||
            EVP_DigestSign(context, signature->bytes, &signature->size, message, size) != 1)
                return failure("OpenSSL cannot sign.");
        return 0;
}

static int sign_with_kms(const Signer *signer, const uint8_t *message, size_t size, Signature *signature) {
        static const char *const algorithms[] = {
                [SIGNATURE_ED25519] = "ED25519_SHA_512",
                [SIGNATURE_P256] = "ECDSA_SHA_256",
                [SIGNATURE_P384] = "ECDSA_SHA_384",
        };
        const char *algorithm = algorithms[signature_scheme(signer->key)];
        _cleanup_free_ char *request = NULL;
        _cleanup_erase_ char *answer = NULL;
        _cleanup_free_ uint8_t *bytes = NULL;
        Error error = {};
        size_t answer_size;

        if (kms_signing_request(signer->arn, algorithm, message, size, &request) < 0)
                return failure("Out of memory.");
        if (kms_call(signer->caller, "Sign", request, &answer, &answer_size, &error) < 0 ||
            kms_signing_reply(signer->arn, algorithm, answer, answer_size, &bytes, &signature->size,
                              &error) < 0)
                return kms_failure("Sign", &error);
        if (signature->size > sizeof(signature->bytes))
                return failure("KMS's signature is longer than one of this key can be.");
        memcpy(signature->bytes, bytes, signature->size);
        return 0;
}

int signer_sign(Signer *signer, const char *name, uint64_t version, const uint8_t *ciphertext,
                size_t ciphertext_size, char **ret) {
        Signature signature = { .version = version };
        uint8_t message[SIGNATURE_MESSAGE_MAX];
        size_t size;
        int r;

        if (signature_message(name, version, ciphertext, ciphertext_size, message, &size) < 0)
                return failure("OpenSSL cannot hash the ciphertext.");
        r = signer->caller ? sign_with_kms(signer, message, size, &signature)
                           : sign_with_file(signer, message, size, &signature);
        if (r != 0)
                return r;
        if (signature_verify(&signature, signer->key, name, ciphertext, ciphertext_size) < 0)
                return failure("The signature that was just made does not verify. It is not written.");
        return signature_format(&signature, ret) < 0 ? failure("Out of memory.") : 0;
}
