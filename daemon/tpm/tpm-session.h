/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * HMAC sessions with a TPM (TPM 2.0 Library, part 1, clauses 17.6, 19 and 21). A session authorizes and authenticates
 * commands with SHA-512, and can encrypt their first parameter with AES-128-CFB. The session key comes from a salt that
 * only the TPM can decrypt. Pure: bytes go in and come out; tpm.c sends them.
 *
 * The sessions of tpm2-tss are not used, for two reasons. They do not give out their keys, so no vendor command can run in
 * them. And tpm2-tss 3.2 sets OpenSSL up anew for each hash and HMAC: a document took 15 ms with them and takes 2 ms with
 * these.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tss2/tss2_tpm2_types.h>

#define TPM_HEADER_SIZE 10U
#define TPM_HASH_SIZE 64U     /* SHA-512 */
#define TPM_MODULUS_SIZE 256U /* RSA-2048 */

/* A command, a response or a part of one, while it is put together or read. Numbers are big-endian. */
typedef struct TpmMessage {
        size_t size, read;
        uint8_t data[4096];
} TpmMessage;

/* The caller makes sure that there is room: tpm_put() aborts otherwise. */
void tpm_put(TpmMessage *message, const void *data, size_t size);
void tpm_put_u8(TpmMessage *message, uint8_t value);
void tpm_put_u16(TpmMessage *message, uint16_t value);
void tpm_put_u32(TpmMessage *message, uint32_t value);
/* Puts a TPM2B: the size in 16 bits, then the data. */
void tpm_put_sized(TpmMessage *message, const void *data, size_t size);

/* NULL or false: the message ends too early. */
const uint8_t *tpm_get(TpmMessage *message, size_t size);
bool tpm_get_u32(TpmMessage *message, uint32_t *ret);
const uint8_t *tpm_get_sized(TpmMessage *message, size_t *ret_size);

/* Starts a command. tpm_command_end() fills in its size when all of it is put. */
void tpm_command_begin(TpmMessage *command, TPM2_ST tag, TPM2_CC code);
void tpm_command_end(TpmMessage *command);

typedef struct TpmSession {
        TPM2_HANDLE handle; /* 0: none */
        bool encrypts;      /* parameters, if the command has one that can be encrypted */
        TPM2B_NONCE nonce_caller, nonce_tpm;
        uint8_t key[TPM_HASH_SIZE]; /* the salt until the session has started, then its key */
} TpmSession;

/* Makes a TPM2_StartAuthSession that is salted for an RSA-2048 key with name algorithm SHA-256 and exponent 65537. -EIO:
 * OpenSSL failed. */
int tpm_session_start(TpmSession *session, TPM2_HANDLE key, const uint8_t modulus[static TPM_MODULUS_SIZE],
                      bool encrypts, TpmMessage *ret_command);

/* Takes the successful response to it. -EBADMSG: the response is malformed; session->handle is still set if it could be
 * read, so that the caller can flush it. -EIO: OpenSSL failed. */
int tpm_session_started(TpmSession *session, TpmMessage *response);

/* A command that the session authorizes for its first handle. All its handles are of the same entity. */
typedef struct TpmCommand {
        TPM2_CC code;
        TPM2_HANDLE handle;
        unsigned n_handles;
        const TPM2B_NAME *name;
        const TPM2B_AUTH *auth; /* without zeros at its end */
        bool sized_in;          /* its first parameter is a TPM2B, which can be encrypted */
        bool sized_out;         /* the first parameter of its response is */
        TpmMessage parameters;
} TpmCommand;

/* Puts the command together with its authorization. Encrypts command->parameters in place if the session encrypts. -EIO:
 * OpenSSL failed. */
int tpm_session_seal(TpmSession *session, TpmCommand *command, TpmMessage *ret);

/*
 * Checks the successful response to it. 0: it is authentic, and its decrypted parameters are next to be read. -EBADMSG:
 * it is malformed. -EKEYREJECTED: its HMAC is wrong. -EIO: OpenSSL failed.
 */
int tpm_session_open(TpmSession *session, const TpmCommand *command, TpmMessage *response);
