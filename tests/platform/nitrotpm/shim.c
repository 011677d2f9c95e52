/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes a NitroTPM out of the distribution's libtpms. The linker combines its static archive and this file
 * into a new libtpms.so.0, and this file steps between libtpms' object files (ld --wrap). An unmodified
 * swtpm that loads this library has
 *
 * - the vendor command 0x20000001, "NSM request". It takes the place of TPM2_NV_WriteLock, which has the
 *   same two handles and the same authorisation. So the TPM itself checks sessions and HMACs, over the
 *   vendor command's own code;
 * - NV indices of up to 8192 bytes;
 * - a question to the platform before each command: whether to answer it with a fault.
 *
 * Without NITROTPM_NSM_SOCKET in the environment there is no vendor command and no question. To start it:
 *
 *     export LD_LIBRARY_PATH=BUILD/tests/platform/nitrotpm
 *     swtpm_setup --tpm2 --tpmstate DIR --pcr-banks sha384 --config /dev/null          # once
 *     NITROTPM_NSM_SOCKET=PATH swtpm socket --tpm2 --tpmstate dir=DIR --server type=unixio,path=TPM \
 *             --ctrl type=unixio,path=TPM.ctrl --flags not-need-init,startup-clear      # PATH: see attestor_serve()
 *
 * The TPM is ready once a client can connect to TPM, one at a time, with the TCTI "swtpm:path=TPM". Its
 * state survives restarts.
 *
 * The declarations below mirror internal ones of libtpms 0.9, which installs no headers for them.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "basic/cleanup.h"
#include "wire.h"

#define TPM_CC_NV_WriteLock 0x00000138U
#define TPM_CC_Startup 0x00000144U
#define TPM_CC_NSM_Request 0x20000001U

#define TPM_RC_SUCCESS 0x000U
#define TPM_RC_NV_UNAVAILABLE 0x923U

#define TPM_ST_NO_SESSIONS 0x8001U
#define TPM_ALG_SHA384 0x000cU

/* libtpms was built with this limit. */
#define NV_INDEX_SIZE_MAX 2048U
#define NV_BUFFER_SIZE_MAX 1024U
#define PCRS_PER_READ 8U
#define PCR_SELECT_SIZE 3U
#define DIGEST_SIZE_MAX 64U
#define PCR_BANKS_MAX 16U

#define HEADER_SIZE 10U

/* Longer than a test ever slows the TPM down, so that a TPM does not hang forever. */
#define RESPONDER_TIMEOUT_SEC 60

typedef uint32_t TPM_RC;
typedef uint16_t COMMAND_INDEX;

typedef struct TPM2B_DIGEST {
        uint16_t size;
        uint8_t buffer[DIGEST_SIZE_MAX];
} TPM2B_DIGEST;

typedef struct TPMS_NV_PUBLIC {
        uint32_t nvIndex;
        uint16_t nameAlg;
        uint32_t attributes;
        TPM2B_DIGEST authPolicy;
        uint16_t dataSize;
} TPMS_NV_PUBLIC;

typedef struct TPM2B_MAX_NV_BUFFER {
        uint16_t size;
        uint8_t buffer[NV_BUFFER_SIZE_MAX];
} TPM2B_MAX_NV_BUFFER;

typedef struct NV_WriteLock_In {
        uint32_t authHandle;
        uint32_t nvIndex;
} NV_WriteLock_In;

typedef struct NV_Read_In {
        uint32_t authHandle;
        uint32_t nvIndex;
        uint16_t size;
        uint16_t offset;
} NV_Read_In;

typedef struct NV_Read_Out {
        TPM2B_MAX_NV_BUFFER data;
} NV_Read_Out;

typedef struct NV_Write_In {
        uint32_t authHandle;
        uint32_t nvIndex;
        TPM2B_MAX_NV_BUFFER data;
        uint16_t offset;
} NV_Write_In;

typedef struct TPML_PCR_SELECTION {
        uint32_t count;
        struct {
                uint16_t hash;
                uint8_t sizeofSelect;
                uint8_t pcrSelect[PCR_SELECT_SIZE];
        } pcrSelections[PCR_BANKS_MAX];
} TPML_PCR_SELECTION;

typedef struct TPML_DIGEST {
        uint32_t count;
        TPM2B_DIGEST digests[PCRS_PER_READ];
} TPML_DIGEST;

/* Functions of libtpms. The first member of its NV_INDEX is the public area. */
TPM_RC TPM2_NV_Read(NV_Read_In *in, NV_Read_Out *out);
TPM_RC TPM2_NV_Write(NV_Write_In *in);
const TPMS_NV_PUBLIC *NvGetIndexInfo(uint32_t handle, uint32_t *locator);
void PCRRead(TPML_PCR_SELECTION *selection, TPML_DIGEST *digests, uint32_t *counter);

/* The wrapped functions: libtpms calls __wrap_NAME() in place of NAME(), and __real_NAME() here is the
 * original. */
void __real_ExecuteCommand(uint32_t size, uint8_t *request, uint32_t *response_size, uint8_t **response);
void __wrap_ExecuteCommand(uint32_t size, uint8_t *request, uint32_t *response_size, uint8_t **response);
COMMAND_INDEX __real_CommandCodeToCommandIndex(uint32_t code);
COMMAND_INDEX __wrap_CommandCodeToCommandIndex(uint32_t code);
TPM_RC __real_TPM2_NV_WriteLock(NV_WriteLock_In *in);
TPM_RC __wrap_TPM2_NV_WriteLock(NV_WriteLock_In *in);
TPM_RC __real_TPM2B_NV_PUBLIC_Unmarshal(void *target, uint8_t **buffer, int32_t *size);
TPM_RC __wrap_TPM2B_NV_PUBLIC_Unmarshal(void *target, uint8_t **buffer, int32_t *size);
TPM_RC __real_TPMS_NV_PUBLIC_Unmarshal(TPMS_NV_PUBLIC *target, uint8_t **buffer, int32_t *size);
TPM_RC __wrap_TPMS_NV_PUBLIC_Unmarshal(TPMS_NV_PUBLIC *target, uint8_t **buffer, int32_t *size);
TPM_RC __real_NvDefineIndex(TPMS_NV_PUBLIC *public, void *auth);
TPM_RC __wrap_NvDefineIndex(TPMS_NV_PUBLIC *public, void *auth);
extern FILE *__real_stderr, *__wrap_stderr;

static const char *responder_path;
static int responder_fd = -1;

/* swtpm executes commands one by one, in one thread. */
static uint32_t executing;           /* code of the command being executed */
static uint16_t defining_large_size; /* of the index that is being defined; 0: libtpms accepts the size */

/* The archive is position-independent only for executables: a reference to another library's variable
 * cannot be linked into a shared library. So this library has its own variable. */
FILE *__wrap_stderr;

__attribute__((constructor)) static void shim_init(void) {
        __wrap_stderr = __real_stderr;
        responder_path = getenv("NITROTPM_NSM_SOCKET");
}

static uint16_t read_be16(const uint8_t *p) {
        return (uint16_t) ((p[0] << 8) | p[1]);
}

static uint32_t read_be32(const uint8_t *p) {
        return ((uint32_t) p[0] << 24) | ((uint32_t) p[1] << 16) | ((uint32_t) p[2] << 8) | p[3];
}

static void write_be16(uint8_t *p, uint16_t value) {
        p[0] = (uint8_t) (value >> 8);
        p[1] = (uint8_t) value;
}

static void write_be32(uint8_t *p, uint32_t value) {
        write_be16(p, (uint16_t) (value >> 16));
        write_be16(p + 2, (uint16_t) value);
}

static int send_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

static int receive_all(int fd, void *data, size_t size) {
        uint8_t *p = data;

        while (size > 0) {
                ssize_t n = recv(fd, p, size, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EPIPE;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

static int responder_connect(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const struct timeval timeout = { .tv_sec = RESPONDER_TIMEOUT_SEC };
        _cleanup_close_ int fd = -1;

        if (strlen(responder_path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, responder_path);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        responder_fd = TAKE_FD(fd);
        return 0;
}

/* Sends one question and reads the answer's header. The caller reads the rest. */
static int responder_exchange(ResponderQuestion question, uint32_t argument, const uint8_t *data,
                              size_t size, uint32_t *ret_answer) {
        const ResponderHeader header = { .question = question, .argument = argument };
        uint32_t answer;
        int r;

        r = send_all(responder_fd, &header, sizeof(header));
        if (r >= 0)
                r = send_all(responder_fd, data, size);
        if (r >= 0)
                r = receive_all(responder_fd, &answer, sizeof(answer));
        if (r < 0)
                return r;
        *ret_answer = answer;
        return 0;
}

static void responder_disconnect(void) {
        closep(&responder_fd);
        responder_fd = -1;
}

static int responder_ask(ResponderQuestion question, uint32_t argument, const uint8_t *data, size_t size,
                         uint32_t *ret_answer) {
        bool fresh = responder_fd < 0;
        int r;

        if (fresh) {
                r = responder_connect();
                if (r < 0)
                        return r;
        }
        r = responder_exchange(question, argument, data, size, ret_answer);
        if (r >= 0)
                return 0;
        responder_disconnect();
        /* A kept connection may belong to a platform that has been restarted. */
        if (fresh || r == -EAGAIN)
                return r;
        return responder_ask(question, argument, data, size, ret_answer);
}

/* swtpm itself sends these commands when it starts. They must not fail. */
static bool command_may_fail(uint32_t code) {
        return code != TPM_CC_Startup;
}

void __wrap_ExecuteCommand(uint32_t size, uint8_t *request, uint32_t *response_size, uint8_t **response) {
        uint32_t fault = TPM_RC_SUCCESS;

        executing = size >= HEADER_SIZE ? read_be32(request + 6) : 0;
        if (responder_path && command_may_fail(executing))
                (void) responder_ask(RESPONDER_FAULT, executing, NULL, 0, &fault);
        if (fault == TPM_RC_SUCCESS || *response_size < HEADER_SIZE) {
                __real_ExecuteCommand(size, request, response_size, response);
                return;
        }
        write_be16(*response, TPM_ST_NO_SESSIONS);
        write_be32(*response + 2, HEADER_SIZE);
        write_be32(*response + 6, fault);
        *response_size = HEADER_SIZE;
}

static bool is_nsm_request(void) {
        return executing == TPM_CC_NSM_Request && responder_path;
}

/* Policies and audits call this, too, with codes from their parameters. Those must not change. */
COMMAND_INDEX __wrap_CommandCodeToCommandIndex(uint32_t code) {
        return __real_CommandCodeToCommandIndex(
                        code == TPM_CC_NSM_Request && is_nsm_request() ? TPM_CC_NV_WriteLock : code);
}

static uint16_t chunk_size(size_t total, size_t offset) {
        size_t rest = total - offset;

        return (uint16_t) (rest < NV_BUFFER_SIZE_MAX ? rest : NV_BUFFER_SIZE_MAX);
}

static TPM_RC index_read(const NV_WriteLock_In *handles, uint8_t *data, size_t size) {
        static NV_Read_Out out;

        for (size_t offset = 0; offset < size; offset += NV_BUFFER_SIZE_MAX) {
                NV_Read_In in = {
                        .authHandle = handles->authHandle,
                        .nvIndex = handles->nvIndex,
                        .size = chunk_size(size, offset),
                        .offset = (uint16_t) offset,
                };
                TPM_RC rc = TPM2_NV_Read(&in, &out);

                if (rc != TPM_RC_SUCCESS)
                        return rc;
                memcpy(data + offset, out.data.buffer, in.size);
        }
        return TPM_RC_SUCCESS;
}

static TPM_RC index_write(const NV_WriteLock_In *handles, const uint8_t *data, size_t size) {
        static NV_Write_In in;

        in.authHandle = handles->authHandle;
        in.nvIndex = handles->nvIndex;
        for (size_t offset = 0; offset < size; offset += NV_BUFFER_SIZE_MAX) {
                TPM_RC rc;

                in.offset = (uint16_t) offset;
                in.data.size = chunk_size(size, offset);
                memcpy(in.data.buffer, data + offset, in.data.size);
                rc = TPM2_NV_Write(&in);
                if (rc != TPM_RC_SUCCESS)
                        return rc;
        }
        return TPM_RC_SUCCESS;
}

static void pcrs_read(uint8_t pcrs[static RESPONDER_PCRS * RESPONDER_PCR_SIZE]) {
        for (unsigned first = 0; first < RESPONDER_PCRS; first += PCRS_PER_READ) {
                TPML_PCR_SELECTION selection = {
                        .count = 1,
                        .pcrSelections[0] = { .hash = TPM_ALG_SHA384, .sizeofSelect = PCR_SELECT_SIZE },
                };
                TPML_DIGEST values = {};
                uint32_t counter;

                selection.pcrSelections[0].pcrSelect[first / PCRS_PER_READ] = 0xff;
                PCRRead(&selection, &values, &counter);
                for (unsigned i = 0; i < values.count; i++)
                        memcpy(pcrs + (first + i) * RESPONDER_PCR_SIZE, values.digests[i].buffer,
                               RESPONDER_PCR_SIZE);
        }
}

/* Passes the content of the index to the platform and writes the reply there, as the Nitro security module
 * does. Bytes behind the reply stay. */
static TPM_RC nsm_request(const NV_WriteLock_In *handles) {
        static uint8_t message[RESPONDER_INDEX_MAX + RESPONDER_PCRS * RESPONDER_PCR_SIZE];
        const size_t index_size = NvGetIndexInfo(handles->nvIndex, NULL)->dataSize;
        uint32_t reply_size;
        TPM_RC rc;

        memset(message, 0, sizeof(message));
        rc = index_read(handles, message, index_size);
        if (rc != TPM_RC_SUCCESS)
                return rc;
        pcrs_read(message + index_size);

        if (responder_ask(RESPONDER_ATTEST, (uint32_t) index_size, message,
                          index_size + RESPONDER_PCRS * RESPONDER_PCR_SIZE, &reply_size) < 0)
                return TPM_RC_NV_UNAVAILABLE;
        if (reply_size > index_size || receive_all(responder_fd, message, reply_size) < 0) {
                responder_disconnect();
                return TPM_RC_NV_UNAVAILABLE;
        }
        return index_write(handles, message, reply_size);
}

TPM_RC __wrap_TPM2_NV_WriteLock(NV_WriteLock_In *in) {
        return is_nsm_request() ? nsm_request(in) : __real_TPM2_NV_WriteLock(in);
}

/* data is the big-endian size at the end of a TPMS_NV_PUBLIC. If a NitroTPM permits the size but libtpms
 * does not, replaces it by libtpms' largest and returns it. Otherwise returns 0. */
static uint16_t hide_large_size(uint8_t *data) {
        uint16_t size = read_be16(data);

        if (size <= NV_INDEX_SIZE_MAX || size > RESPONDER_INDEX_MAX)
                return 0;
        write_be16(data, NV_INDEX_SIZE_MAX);
        return size;
}

/* The parameter of TPM2_NV_DefineSpace. The TPM has checked its HMAC before. */
TPM_RC __wrap_TPM2B_NV_PUBLIC_Unmarshal(void *target, uint8_t **buffer, int32_t *size) {
        defining_large_size = 0;
        if (*size >= 2) {
                int32_t public_size = read_be16(*buffer);

                if (public_size >= 2 && public_size <= *size - 2)
                        defining_large_size = hide_large_size(*buffer + public_size);
        }
        return __real_TPM2B_NV_PUBLIC_Unmarshal(target, buffer, size);
}

TPM_RC __wrap_NvDefineIndex(TPMS_NV_PUBLIC *public, void *auth) {
        if (defining_large_size > 0)
        public->dataSize = TAKE(defining_large_size, 0);
        return __real_NvDefineIndex(public, auth);
}

/* An index in the state that swtpm loads at its start: handle, name algorithm, attributes, policy, size. */
TPM_RC __wrap_TPMS_NV_PUBLIC_Unmarshal(TPMS_NV_PUBLIC *target, uint8_t **buffer, int32_t *size) {
        const int32_t policy = 4 + 2 + 4;
        uint16_t large_size = 0;
        TPM_RC rc;

        if (*size >= policy + 2) {
                int32_t end = policy + 2 + read_be16(*buffer + policy);

                if (end <= *size - 2)
                        large_size = hide_large_size(*buffer + end);
        }
        rc = __real_TPMS_NV_PUBLIC_Unmarshal(target, buffer, size);
        if (rc == TPM_RC_SUCCESS && large_size > 0)
                target->dataSize = large_size;
        return rc;
}
