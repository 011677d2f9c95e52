/* SPDX-License-Identifier: Apache-2.0 */

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "basic/encoding.h"
#include "basic/input-form.h"
#include "basic/json.h"
#include "basic/openssl-util.h"
#include "source/signature.h"

#define DOMAIN "unseald signature v1"
#define DIGEST_SIZE 48U /* SHA-384 */
#define BEGIN "-----BEGIN "
_Static_assert(sizeof(DOMAIN) == 21, "SIGNATURE_MESSAGE_MAX counts 21 bytes");

static bool is_named_group(const EVP_PKEY *key, char group[static 32]) {
        int explicit_parameters = 0;

        (void) EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                                      &explicit_parameters);
        return !explicit_parameters && EVP_PKEY_get_group_name(key, group, 32, NULL) == 1;
}

SignatureScheme signature_scheme(const EVP_PKEY *key) {
        SignatureScheme scheme = _SIGNATURE_SCHEME_INVALID;
        char group[32];

        if (EVP_PKEY_is_a(key, "ED25519"))
                scheme = SIGNATURE_ED25519;
        else if (EVP_PKEY_is_a(key, "EC") && is_named_group(key, group)) {
                if (strcmp(group, SN_X9_62_prime256v1) == 0)
                        scheme = SIGNATURE_P256;
                else if (strcmp(group, SN_secp384r1) == 0)
                        scheme = SIGNATURE_P384;
        }
        ERR_clear_error();
        return scheme;
}

const char *signature_digest(SignatureScheme scheme) {
        static const char *const digests[] = {
                [SIGNATURE_ED25519] = NULL,
                [SIGNATURE_P256] = "SHA256",
                [SIGNATURE_P384] = "SHA384",
        };

        return digests[scheme];
}

static EVP_PKEY *read_key(const uint8_t *pem, size_t size) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem, (int) size);
        unsigned char *der = NULL;
        const unsigned char *p;
        EVP_PKEY *key = NULL;
        long der_size;

        if (!bio || PEM_bytes_read_bio(&der, &der_size, NULL, PEM_STRING_PUBLIC, bio, openssl_no_password,
                                       NULL) != 1)
                return NULL;
        p = der;
        key = d2i_PUBKEY(NULL, &p, der_size);
        if (key && p != der + der_size) {
                EVP_PKEY_free(key);
                key = NULL;
        }
        OPENSSL_free(der);
        return key;
}

static const char *what_is(const uint8_t *pem, size_t size) {
        static const struct {
                const char *part, *what;
        } forms[] = {
                { "PRIVATE KEY-----",
                  "a private key. Keep it out of the image: \"openssl pkey -pubout\" writes the public one" },
                { "CERTIFICATE-----", "a certificate. \"openssl x509 -pubkey -noout\" writes its key" },
                { "RSA PUBLIC KEY-----", "an RSA key" },
                { "ssh-", "a key of OpenSSH. Make one with \"openssl genpkey\", as unsealctl(1) shows" },
        };

        for (size_t i = 0; i < ELEMENTSOF(forms); i++)
                if (memmem(pem, size, forms[i].part, strlen(forms[i].part)))
                        return forms[i].what;
        return memmem(pem, size, BEGIN, strlen(BEGIN)) ? "PEM without a readable public key" : "no PEM";
}

/* hint: input_form_hint(), or "". */
static int refuse_key(Error *error, const char *what, const char *hint) {
        return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                         "Expected one public key in PEM, Ed25519 or ECDSA on P-256 or P-384. It is %s.%s",
                         what, hint);
}

int signature_key_parse(const uint8_t *pem, size_t size, EVP_PKEY **ret, Error *error) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        const uint8_t *first = memmem(pem, size, BEGIN, strlen(BEGIN)),
                      *behind = first ? first + strlen(BEGIN) : NULL;

        if (size > SIGNATURE_KEY_MAX)
                return refuse_key(error, "longer than 4096 bytes", "");
        if (behind && memmem(behind, size - (size_t) (behind - pem), BEGIN, strlen(BEGIN)))
                return refuse_key(error, "more than one object", "");
        key = read_key(pem, size);
        ERR_clear_error();
        if (!key)
                return refuse_key(error, what_is(pem, size), first ? "" : input_form_hint(pem, size));
        if (signature_scheme(key) == _SIGNATURE_SCHEME_INVALID)
                return refuse_key(error,
                                  EVP_PKEY_is_a(key, "RSA") ? "an RSA key"
                                  : EVP_PKEY_is_a(key, "EC")
                                                  ? "a key on another curve, or one with explicit parameters"
                                                  : "a key of another kind",
                                  "");
        *ret = TAKE_PTR(key);
        return 0;
}

static int refuse_text(Error *error, const char *why, const char *hint) {
        return error_set_remedy(error, -EBADMSG, FAILURE_SIGNATURE, REMEDY_RETRY,
                                "Expected {\"version\": N, \"signature\": BASE64}. %s%s", why, hint);
}

/* JSON is the right form, so it explains nothing. */
static const char *hint_of(const uint8_t *text, size_t size) {
        return input_form(text, size) == INPUT_JSON ? "" : input_form_hint(text, size);
}

/*
 * Returns whether the text has exactly this number. json-c reads "1.", "01" and numbers beyond 64 bits as some other number, and
 * two readers must not see two versions. The member's name occurs once: the only other string is base64.
 */
static bool has_number(const char *text, size_t size, uint64_t number) {
        static const char name[] = "\"version\"";
        const char *end = text + size, *p = memmem(text, size, name, strlen(name));
        char digits[24];
        size_t length;

        if (!p)
                return false;
        for (p += strlen(name); p < end && strchr(" \t\r\n:", *p);)
                p++;
        length = (size_t) snprintf(digits, sizeof(digits), "%" PRIu64, number);
        return (size_t) (end - p) > length && memcmp(p, digits, length) == 0 &&
               strchr(" \t\r\n,}", p[length]) && p[length] != '\0';
}

int signature_parse(const uint8_t *text, size_t size, Signature *ret, Error *error) {
        _cleanup_json_ struct json_object *object = NULL;
        _cleanup_free_ uint8_t *bytes = NULL;
        struct json_object *version;
        Signature signature = {};
        const char *encoded;
        int r;

        if (size > SIGNATURE_FILE_MAX)
                return refuse_text(error, "The text is longer than 4096 bytes.", "");
        r = json_parse((const char *) text, size, &object);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return refuse_text(error, "The text is not JSON, or a member occurs twice.",
                                   hint_of(text, size));
        version = json_member(object, "version");
        encoded = json_member_string(object, "signature");
        if (!version || !encoded || json_object_object_length(object) != 2)
                return refuse_text(error, "A member is missing, or there are others.", hint_of(text, size));
        signature.version = json_object_get_uint64(version);
        if (!json_object_is_type(version, json_type_int) ||
            !has_number((const char *) text, size, signature.version))
                return refuse_text(error,
                                   "The version is not a whole number from 0 to 18446744073709551615.", "");

        r = base64_decode(encoded, strlen(encoded), &bytes, &signature.size);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || signature.size == 0 || signature.size > sizeof(signature.bytes))
                return refuse_text(
                                error,
                                "The signature is not base64 of at most 144 bytes, without white space and with padding.",
                                "");
        memcpy(signature.bytes, bytes, signature.size);
        *ret = signature;
        return 0;
}

int signature_format(const Signature *signature, char **ret) {
        _cleanup_free_ char *encoded = NULL;

        if (base64_encode(signature->bytes, signature->size, &encoded) < 0 ||
            asprintf(ret, "{\"version\": %" PRIu64 ", \"signature\": \"%s\"}\n", signature->version,
                     encoded) < 0)
                return -ENOMEM;
        return 0;
}

int signature_message(const char *name, uint64_t version, const uint8_t *ciphertext, size_t ciphertext_size,
                      uint8_t ret[static SIGNATURE_MESSAGE_MAX], size_t *ret_size) {
        uint64_t number = htobe64(version);
        uint8_t *end = ret;

        if (strlen(name) > SIGNATURE_NAME_MAX)
                return -EINVAL;
        end = mempcpy(end, DOMAIN, sizeof(DOMAIN));
        end = mempcpy(end, name, strlen(name) + 1);
        end = mempcpy(end, &number, sizeof(number));
        if (EVP_Digest(ciphertext, ciphertext_size, end, NULL, EVP_sha384(), NULL) != 1)
                return openssl_failure(NULL);
        *ret_size = (size_t) (end + DIGEST_SIZE - ret);
        return 0;
}

int signature_verify(const Signature *signature, EVP_PKEY *key, const char *name, const uint8_t *ciphertext,
                     size_t ciphertext_size) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        SignatureScheme scheme = signature_scheme(key);
        uint8_t message[SIGNATURE_MESSAGE_MAX];
        size_t size;
        int r;

        if (scheme == _SIGNATURE_SCHEME_INVALID)
                return -EKEYREJECTED;
        r = signature_message(name, signature->version, ciphertext, ciphertext_size, message, &size);
        if (r < 0)
                return r;
        if (!context ||
            EVP_DigestVerifyInit_ex(context, NULL, signature_digest(scheme), NULL, NULL, key, NULL) != 1)
                return openssl_failure(NULL);
        /* A negative result is a signature that is not even well-formed. */
        r = EVP_DigestVerify(context, signature->bytes, signature->size, message, size);
        ERR_clear_error();
        return r == 1 ? 0 : -EKEYREJECTED;
}

int signature_judge(const SignatureRule *rule, const uint8_t *text, size_t size, const uint8_t *ciphertext,
                    size_t ciphertext_size, uint64_t *ret_version, Error *error) {
        Signature signature;
        Error reason;
        int r;

        r = signature_parse(text, size, &signature, &reason);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set_remedy(error, r, FAILURE_SIGNATURE, REMEDY_RETRY,
                                        "%.256s: The content is not a signature. %s", rule->label,
                                        reason.text);
        r = signature_verify(&signature, rule->key, rule->name, ciphertext, ciphertext_size);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r != 0 && r != -EKEYREJECTED)
                return error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot verify the signature %.256s.",
                                 rule->label);
        if (r < 0)
                return error_set_remedy(
                                error, r, FAILURE_SIGNATURE, REMEDY_RETRY,
                                "%.256s: The key %.128s has not signed this ciphertext as version %" PRIu64
                                " of secret %s. Either it was not made by the key's owner, or ciphertext and signature do not belong together. Put both in place again.",
                                rule->label, rule->key_path, signature.version, rule->name);
        if (signature.version < rule->version_min)
                return error_set(error, -ESTALE, FAILURE_SIGNATURE,
                                 "%.256s: The sealed secret has version %" PRIu64
                                 ", and this image takes no version below %" PRIu64
                                 " (MinVersion=). Put the new ciphertext and its signature in place.",
                                 rule->label, signature.version, rule->version_min);
        *ret_version = signature.version;
        return 0;
}
