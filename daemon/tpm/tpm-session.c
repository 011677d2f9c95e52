/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "tpm/tpm-session.h"

#define SALT_SIZE 32U /* of the key's name algorithm */
#define AES_KEY_SIZE 16U
#define AES_BLOCK_SIZE 16U

void tpm_put(TpmMessage *message, const void *data, size_t size) {
        assert(size <= sizeof(message->data) - message->size);
        if (size == 0)
                return;
        memcpy(message->data + message->size, data, size);
        message->size += size;
}

void tpm_put_u8(TpmMessage *message, uint8_t value) {
        tpm_put(message, &value, sizeof(value));
}

void tpm_put_u16(TpmMessage *message, uint16_t value) {
        tpm_put_u8(message, (uint8_t) (value >> 8));
        tpm_put_u8(message, (uint8_t) value);
}

void tpm_put_u32(TpmMessage *message, uint32_t value) {
        tpm_put_u16(message, (uint16_t) (value >> 16));
        tpm_put_u16(message, (uint16_t) value);
}

void tpm_put_sized(TpmMessage *message, const void *data, size_t size) {
        tpm_put_u16(message, (uint16_t) size);
        tpm_put(message, data, size);
}

const uint8_t *tpm_get(TpmMessage *message, size_t size) {
        const uint8_t *data = message->data + message->read;

        if (size > message->size - message->read)
                return NULL;
        message->read += size;
        return data;
}

bool tpm_get_u32(TpmMessage *message, uint32_t *ret) {
        const uint8_t *data = tpm_get(message, 4);

        if (!data)
                return false;
        *ret = (uint32_t) data[0] << 24 | (uint32_t) data[1] << 16 | (uint32_t) data[2] << 8 | data[3];
        return true;
}

const uint8_t *tpm_get_sized(TpmMessage *message, size_t *ret_size) {
        const uint8_t *data = tpm_get(message, 2);

        if (!data)
                return NULL;
        *ret_size = (size_t) data[0] << 8 | data[1];
        return tpm_get(message, *ret_size);
}

static bool get_digest(TpmMessage *message, TPM2B_DIGEST *ret) {
        size_t size;
        const uint8_t *data = tpm_get_sized(message, &size);

        if (!data || size > sizeof(ret->buffer))
                return false;
        ret->size = (uint16_t) size;
        memcpy(ret->buffer, data, size);
        return true;
}

void tpm_command_begin(TpmMessage *command, TPM2_ST tag, TPM2_CC code) {
        command->size = command->read = 0;
        tpm_put_u16(command, tag);
        tpm_put_u32(command, 0);
        tpm_put_u32(command, code);
}

void tpm_command_end(TpmMessage *command) {
        size_t size = command->size;

        command->size = 2;
        tpm_put_u32(command, (uint32_t) size);
        command->size = size;
}

/* Decodes an RSAPublicKey (RFC 8017 appendix A.1.1) that it puts together. */
static EVP_PKEY *make_public_key(const uint8_t modulus[static TPM_MODULUS_SIZE]) {
        static const uint8_t head[] = { 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00 };
        static const uint8_t tail[] = { 0x02, 0x03, 0x01, 0x00, 0x01 };
        uint8_t der[sizeof(head) + TPM_MODULUS_SIZE + sizeof(tail)];
        const uint8_t *p = der;

        memcpy(der, head, sizeof(head));
        memcpy(der + sizeof(head), modulus, TPM_MODULUS_SIZE);
        memcpy(der + sizeof(head) + TPM_MODULUS_SIZE, tail, sizeof(tail));
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, sizeof(der));
}

/* TPM 2.0 part 1, B.10.2: OAEP with the key's name algorithm. */
static bool encrypt_salt(const uint8_t modulus[static TPM_MODULUS_SIZE],
                         const uint8_t salt[static SALT_SIZE], uint8_t ret[static TPM_MODULUS_SIZE]) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = make_public_key(modulus);
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
        static const char label_text[] = "SECRET"; /* the NUL is part of the label */
        size_t size = TPM_MODULUS_SIZE;
        void *label;

        if (!context || EVP_PKEY_encrypt_init(context) <= 0 || !openssl_set_oaep_sha256(context))
                return false;
        label = OPENSSL_memdup(label_text, sizeof(label_text));
        if (!label || EVP_PKEY_CTX_set0_rsa_oaep_label(context, label, sizeof(label_text)) <= 0) {
                OPENSSL_free(label);
                return false;
        }
        return EVP_PKEY_encrypt(context, ret, &size, salt, SALT_SIZE) > 0 && size == TPM_MODULUS_SIZE;
}

/* TPM 2.0 part 1, 11.4.10.2: KDFa with SHA-512, for no more bits than one round of HMAC has. ret_size is in bytes. */
static bool kdfa(const uint8_t *key, size_t key_size, const char *label, const TPM2B_NONCE *first,
                 const TPM2B_NONCE *second, uint8_t *ret, size_t ret_size) {
        TpmMessage input = {};
        uint8_t hmac[TPM_HASH_SIZE];
        bool made;

        assert(ret_size <= sizeof(hmac));
        tpm_put_u32(&input, 1);
        tpm_put(&input, label, strlen(label) + 1);
        tpm_put(&input, first->buffer, first->size);
        tpm_put(&input, second->buffer, second->size);
        tpm_put_u32(&input, (uint32_t) (8 * ret_size));
        made = HMAC(EVP_sha512(), key, (int) key_size, input.data, input.size, hmac, NULL);
        memcpy(ret, hmac, ret_size);
        OPENSSL_cleanse(hmac, sizeof(hmac));
        return made;
}

int tpm_session_start(TpmSession *session, TPM2_HANDLE key, const uint8_t modulus[static TPM_MODULUS_SIZE],
                      bool encrypts, TpmMessage *ret_command) {
        uint8_t encrypted_salt[TPM_MODULUS_SIZE];

        *session = (TpmSession){ .encrypts = encrypts, .nonce_caller.size = TPM_HASH_SIZE };
        if (RAND_bytes(session->nonce_caller.buffer, TPM_HASH_SIZE) <= 0 ||
            RAND_bytes(session->key, SALT_SIZE) <= 0 || !encrypt_salt(modulus, session->key, encrypted_salt))
                return -EIO;

        tpm_command_begin(ret_command, TPM2_ST_NO_SESSIONS, TPM2_CC_StartAuthSession);
        tpm_put_u32(ret_command, key);
        tpm_put_u32(ret_command, TPM2_RH_NULL); /* not bound to an entity */
        tpm_put_sized(ret_command, session->nonce_caller.buffer, session->nonce_caller.size);
        tpm_put_sized(ret_command, encrypted_salt, sizeof(encrypted_salt));
        tpm_put_u8(ret_command, TPM2_SE_HMAC);
        tpm_put_u16(ret_command, encrypts ? TPM2_ALG_AES : TPM2_ALG_NULL);
        if (encrypts) {
                tpm_put_u16(ret_command, 8 * AES_KEY_SIZE);
                tpm_put_u16(ret_command, TPM2_ALG_CFB);
        }
        tpm_put_u16(ret_command, TPM2_ALG_SHA512);
        tpm_command_end(ret_command);
        return 0;
}

int tpm_session_started(TpmSession *session, TpmMessage *response) {
        uint8_t key[TPM_HASH_SIZE];

        if (!tpm_get(response, TPM_HEADER_SIZE) || !tpm_get_u32(response, &session->handle) ||
            !get_digest(response, &session->nonce_tpm))
                return -EBADMSG;
        if (!kdfa(session->key, SALT_SIZE, "ATH", &session->nonce_tpm, &session->nonce_caller, key,
                  sizeof(key)))
                return -EIO;
        memcpy(session->key, key, sizeof(key));
        OPENSSL_cleanse(key, sizeof(key));
        return 0;
}

/* The session key and the authorization value: the key of HMACs, and the input of KDFa for encryption. */
typedef struct SessionValue {
        uint8_t bytes[TPM_HASH_SIZE + sizeof(((TPM2B_AUTH *) NULL)->buffer)];
        size_t size;
} SessionValue;

static void session_value_wipe(SessionValue *value) {
        OPENSSL_cleanse(value, sizeof(*value));
}

static SessionValue session_value(const TpmSession *session, const TPM2B_AUTH *auth) {
        SessionValue value = { .size = TPM_HASH_SIZE + auth->size };

        memcpy(value.bytes, session->key, TPM_HASH_SIZE);
        memcpy(value.bytes + TPM_HASH_SIZE, auth->buffer, auth->size);
        return value;
}

/* TPM 2.0 part 1, 19.6.5. hashed: the input of cpHash (of a command) or rpHash (of a response). */
static bool session_hmac(const TpmSession *session, const TPM2B_AUTH *auth, const TpmMessage *hashed,
                         const TPM2B_NONCE *newer, const TPM2B_NONCE *older, uint8_t attributes,
                         uint8_t ret[static TPM_HASH_SIZE]) {
        _cleanup_(session_value_wipe) SessionValue value = session_value(session, auth);
        uint8_t hash[TPM_HASH_SIZE];
        TpmMessage input = {};

        if (!SHA512(hashed->data, hashed->size, hash))
                return false;
        tpm_put(&input, hash, sizeof(hash));
        tpm_put(&input, newer->buffer, newer->size);
        tpm_put(&input, older->buffer, older->size);
        tpm_put_u8(&input, attributes);
        return HMAC(EVP_sha512(), value.bytes, (int) value.size, input.data, input.size, ret, NULL);
}

/* TPM 2.0 part 1, 21.3: encrypts or decrypts the first parameter in place, without its size field. */
static bool crypt_first_parameter(const TpmSession *session, const TPM2B_AUTH *auth,
                                  const TPM2B_NONCE *newer, const TPM2B_NONCE *older, bool encrypt,
                                  uint8_t *data, size_t size) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        _cleanup_(session_value_wipe) SessionValue value = session_value(session, auth);
        uint8_t key[AES_KEY_SIZE + AES_BLOCK_SIZE];
        bool done;
        int n;

        done = context && kdfa(value.bytes, value.size, "CFB", newer, older, key, sizeof(key)) &&
               EVP_CipherInit_ex(context, EVP_aes_128_cfb128(), NULL, key, key + AES_KEY_SIZE, encrypt) >
                               0 &&
               EVP_CipherUpdate(context, data, &n, data, (int) size) > 0;
        OPENSSL_cleanse(key, sizeof(key));
        return done;
}

static uint8_t session_attributes(const TpmSession *session, const TpmCommand *command) {
        return (uint8_t) (TPMA_SESSION_CONTINUESESSION |
                          (session->encrypts && command->sized_in ? TPMA_SESSION_DECRYPT : 0) |
                          (session->encrypts && command->sized_out ? TPMA_SESSION_ENCRYPT : 0));
}

int tpm_session_seal(TpmSession *session, TpmCommand *command, TpmMessage *ret) {
        const uint8_t attributes = session_attributes(session, command);
        TpmMessage *parameters = &command->parameters, hashed = {};
        uint8_t hmac[TPM_HASH_SIZE];
        size_t size;

        session->nonce_caller.size = TPM_HASH_SIZE;
        if (RAND_bytes(session->nonce_caller.buffer, TPM_HASH_SIZE) <= 0)
                return -EIO;
        if (attributes & TPMA_SESSION_DECRYPT) {
                parameters->read = 0;
                if (!tpm_get_sized(parameters, &size) ||
                    !crypt_first_parameter(session, command->auth, &session->nonce_caller,
                                           &session->nonce_tpm, true, parameters->data + 2, size))
                        return -EIO;
        }

        tpm_put_u32(&hashed, command->code);
        for (unsigned i = 0; i < command->n_handles; i++)
                tpm_put(&hashed, command->name->name, command->name->size);
        tpm_put(&hashed, parameters->data, parameters->size);
        if (!session_hmac(session, command->auth, &hashed, &session->nonce_caller, &session->nonce_tpm,
                          attributes, hmac))
                return -EIO;

        tpm_command_begin(ret, TPM2_ST_SESSIONS, command->code);
        for (unsigned i = 0; i < command->n_handles; i++)
                tpm_put_u32(ret, command->handle);
        tpm_put_u32(ret, 4 + 2 + TPM_HASH_SIZE + 1 + 2 + TPM_HASH_SIZE);
        tpm_put_u32(ret, session->handle);
        tpm_put_sized(ret, session->nonce_caller.buffer, session->nonce_caller.size);
        tpm_put_u8(ret, attributes);
        tpm_put_sized(ret, hmac, sizeof(hmac));
        tpm_put(ret, parameters->data, parameters->size);
        tpm_command_end(ret);
        return 0;
}

int tpm_session_open(TpmSession *session, const TpmCommand *command, TpmMessage *response) {
        uint8_t wanted[TPM_HASH_SIZE];
        TpmMessage hashed = {};
        const uint8_t *attributes;
        TPM2B_DIGEST hmac;
        size_t size, start;
        uint32_t length;

        if (!tpm_get(response, TPM_HEADER_SIZE) || !tpm_get_u32(response, &length))
                return -EBADMSG;
        start = response->read;
        if (!tpm_get(response, length) || !get_digest(response, &session->nonce_tpm))
                return -EBADMSG;
        attributes = tpm_get(response, 1);
        if (!attributes || !get_digest(response, &hmac) || response->read != response->size)
                return -EBADMSG;

        tpm_put_u32(&hashed, TPM2_RC_SUCCESS);
        tpm_put_u32(&hashed, command->code);
        tpm_put(&hashed, response->data + start, length);
        if (!session_hmac(session, command->auth, &hashed, &session->nonce_tpm, &session->nonce_caller,
                          *attributes, wanted))
                return -EIO;
        if (hmac.size != sizeof(wanted) || CRYPTO_memcmp(hmac.buffer, wanted, sizeof(wanted)) != 0)
                return -EKEYREJECTED;

        response->read = start;
        response->size = start + length;
        if (!(session_attributes(session, command) & TPMA_SESSION_ENCRYPT))
                return 0;
        if (!tpm_get_sized(response, &size))
                return -EBADMSG;
        response->read = start;
        if (!crypt_first_parameter(session, command->auth, &session->nonce_tpm, &session->nonce_caller,
                                   false, response->data + start + 2, size))
                return -EIO;
        return 0;
}
