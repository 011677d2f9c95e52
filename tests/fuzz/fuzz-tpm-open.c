/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opens responses with a right HMAC, so that the code behind that check is reached. The target computes the
 * HMAC itself (TPM 2.0 Library, part 1, clause 19.6.5). The input is a byte of options, the size of the
 * TPM's nonce, the place of a byte to change (two bytes), and the parameters of the response.
 */

#include <errno.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "tpm/tpm-session.h"

#define CODE 0x14eU /* TPM2_NV_Read */
#define ATTRIBUTES 0x41U
#define PARAMETERS_MAX 3000U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const TPM2B_NAME name = { .size = 2 };
static const TPM2B_AUTH auth = { .size = 3, .buffer = { 1, 2, 3 } };

/* A response: the header, the size of the parameters, the parameters, and the session: nonce, attributes,
 * HMAC. */
static void make_response(const TpmSession *session, const uint8_t *parameters, size_t size,
                          size_t nonce_size, TpmMessage *ret) {
        uint8_t key[TPM_HASH_SIZE + 3], hash[TPM_HASH_SIZE], hmac[TPM_HASH_SIZE], nonce[TPM_HASH_SIZE];
        TpmMessage hashed = {}, input = {};

        memset(nonce, 0x6e, sizeof(nonce));
        memcpy(key, session->key, TPM_HASH_SIZE);
        memcpy(key + TPM_HASH_SIZE, auth.buffer, auth.size);

        tpm_put_u32(&hashed, TPM2_RC_SUCCESS);
        tpm_put_u32(&hashed, CODE);
        tpm_put(&hashed, parameters, size);
        SHA512(hashed.data, hashed.size, hash);
        tpm_put(&input, hash, sizeof(hash));
        tpm_put(&input, nonce, nonce_size);
        tpm_put(&input, session->nonce_caller.buffer, session->nonce_caller.size);
        tpm_put_u8(&input, ATTRIBUTES);
        if (!HMAC(EVP_sha512(), key, sizeof(key), input.data, input.size, hmac, NULL))
                abort();

        tpm_command_begin(ret, TPM2_ST_SESSIONS, TPM2_RC_SUCCESS);
        tpm_put_u32(ret, (uint32_t) size);
        tpm_put(ret, parameters, size);
        tpm_put_sized(ret, nonce, nonce_size);
        tpm_put_u8(ret, ATTRIBUTES);
        tpm_put_sized(ret, hmac, sizeof(hmac));
        tpm_command_end(ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        TpmCommand command = { .code = CODE, .n_handles = 2, .name = &name, .auth = &auth };
        TpmSession session = { .nonce_tpm.size = TPM_HASH_SIZE }, again;
        TpmMessage sealed, response = {}, changed;
        size_t nonce_size, place, first;

        if (size < 4 || size - 4 > PARAMETERS_MAX)
                return 0;
        session.encrypts = data[0] & 1;
        command.sized_out = data[0] & 2;
        nonce_size = data[1] % (TPM_HASH_SIZE + 1);
        place = (size_t) (data[2] | data[3] << 8);
        data += 4;
        size -= 4;

        if (tpm_session_seal(&session, &command, &sealed) < 0)
                abort();
        make_response(&session, data, size, nonce_size, &response);

        /* A changed byte is noticed, unless it is in the header, which nothing authenticates. */
        changed = response;
        changed.data[TPM_HEADER_SIZE + place % (changed.size - TPM_HEADER_SIZE)] ^= 0x10;
        again = session;
        if (tpm_session_open(&again, &command, &changed) >= 0)
                abort();

        int r = tpm_session_open(&session, &command, &response);
        if (!session.encrypts || !command.sized_out) {
                /* Without encryption the parameters are returned as they were sent. */
                if (r < 0 || response.size - response.read != size ||
                    (size > 0 && memcmp(response.data + response.read, data, size) != 0))
                        abort();
                return 0;
        }
        /* The first parameter is encrypted. It must lie within the parameters. */
        first = size < 2 ? SIZE_MAX : (size_t) data[0] << 8 | data[1];
        if ((r >= 0) != (size >= 2 && first <= size - 2) || (r < 0 && r != -EBADMSG))
                abort();
        return 0;
}
