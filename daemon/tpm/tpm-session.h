/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * HMAC sessions with a TPM (TPM 2.0 Library, part 1, clauses 17.6, 19 and 21): commands are authorized and
 * authenticated with SHA-512, and their first parameter may be encrypted with AES-128-CFB, under a session
 * key from a salt that only the TPM can decrypt. Pure: bytes go in and come out, tpm.c sends them.
 *
 * tpm2-tss has sessions too. They keep their keys to themselves, so that no vendor command can run in them;
 * and each hash and HMAC of tpm2-tss 3.2 sets OpenSSL up anew, which made a document cost 15 ms in place
 * of 2.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tss2/tss2_tpm2_types.h>

#define TPM_HEADER_SIZE 10U
#define TPM_HASH_SIZE 64U     /* SHA-512 */
#define TPM_MODULUS_SIZE 256U /* RSA-2048 */

/* A command or response, or a part of one, that is being put together or read; big-endian. */
typedef struct TpmMessage {
        size_t size, read;
        uint8_t data[4096];
} TpmMessage;

/* There must be room: what is put is bounded by who calls. */
void tpm_put(TpmMessage *message, const void *data, size_t size);
void tpm_put_u8(TpmMessage *message, uint8_t value);
void tpm_put_u16(TpmMessage *message, uint16_t value);
void tpm_put_u32(TpmMessage *message, uint32_t value);
/* A TPM2B: its size in 16 bits before it. */
void tpm_put_sized(TpmMessage *message, const void *data, size_t size);

/* NULL or false: the message ends before. */
const uint8_t *tpm_get(TpmMessage *message, size_t size);
bool tpm_get_u32(TpmMessage *message, uint32_t *ret);
const uint8_t *tpm_get_sized(TpmMessage *message, size_t *ret_size);

/* Starts a command, and fills in its size when all is put. */
void tpm_command_begin(TpmMessage *command, TPM2_ST tag, TPM2_CC code);
void tpm_command_end(TpmMessage *command);

typedef struct TpmSession {
        TPM2_HANDLE handle; /* 0: none */
        bool encrypts;      /* parameters, where a command has one that can be */
        TPM2B_NONCE nonce_caller, nonce_tpm;
        uint8_t key[TPM_HASH_SIZE]; /* until it has started: the salt */
} TpmSession;

/* TPM2_StartAuthSession, salted for an RSA-2048 key with the name algorithm SHA-256, exponent 65537. -EIO:
 * OpenSSL. */
int tpm_session_start(TpmSession *session, TPM2_HANDLE key, const uint8_t modulus[static TPM_MODULUS_SIZE],
                      bool encrypts, TpmMessage *ret_command);

/* Its successful response. -EBADMSG; where the handle could be read it is there to be flushed. */
int tpm_session_started(TpmSession *session, TpmMessage *response);

/* A command that the session authorizes for its first handle. All its handles are of one and the same
 * entity. */
typedef struct TpmCommand {
        TPM2_CC code;
        TPM2_HANDLE handle;
        unsigned n_handles;
        const TPM2B_NAME *name;
        const TPM2B_AUTH *auth; /* without zeros at its end */
        bool sized_in;          /* its first parameter is a TPM2B, which can be encrypted */
        bool sized_out;         /* the same of its response */
        TpmMessage parameters;
} TpmCommand;

int tpm_session_seal(TpmSession *session, TpmCommand *command, TpmMessage *ret);

/*
 * Its successful response: 0 where it is authentic, and then what is left to read of it are its parameters,
 * in clear. -EBADMSG: malformed; -EKEYREJECTED: its HMAC is not right.
 */
int tpm_session_open(TpmSession *session, const TpmCommand *command, TpmMessage *response);
