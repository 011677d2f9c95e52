/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The attestation command reads its request from an NV index of 8 KiB, and leaves its reply there. unseald makes the index
 * for each document, and does all of it as AWS's own client does: no other way is known to work on hardware. The
 * endorsement key (RSA-2048, template L-1) salts two HMAC sessions. The first encrypts parameters; in it the index is
 * defined, written and read. The vendor command runs in the second, which does not (tpm-session.h). Commands that need no
 * session go through tpm2-tss' ESYS.
 *
 * Objects are made in this order: key, session, session, index; then the key is flushed. They are removed in this order:
 * sessions, then index (or key). So while a session of ours exists, a key or an index of ours exists as well. The next
 * process recognises both if this one is killed:
 *  - The key, by its public area. Nothing else distinguishes an endorsement key of that template. The key is transient.
 *    Leftover keys are looked for before a key is made, since they may fill all slots.
 *  - The index, by its handle in a range of our own and by its exact shape. Nobody knows its authorization value any more,
 *    but the owner may undefine it. An index of another shape belongs to another program: unseald leaves it alone and
 *    takes the next handle.
 * A session has no mark of its own. But a *loaded* session belongs to no living program: /dev/tpm0 has one opener at a
 * time, which is us; the kernel saves and unloads the sessions of programs that use /dev/tpmrm0 after each of their
 * commands; and it flushes its own before a command from /dev/tpm0. So a program that was killed must have left it.
 * unseald still flushes loaded sessions only if it has a reason: a leftover key or index of ours, or a TPM without room
 * for another session. It flushes HMAC sessions only, because it makes no others. It never touches saved sessions,
 * persistent keys, or transient keys of another kind.
 *
 * The TPM may have carried out a command whose response was lost or damaged. The command may then have left an object
 * whose handle is unknown. In this case nothing is removed by handle; everything is removed as leftovers are.
 *
 * This file does not wait and try again. A TPM that is busy (after five attempts) or that another program holds is an
 * error with REMEDY_RETRY. A command may take ANSWER_TIMEOUT_MSEC if the TCTI knows time-outs. "device" does; "swtpm" does
 * not, and waits for ever. The kernel has limits of its own: two minutes, and five for making a key. Closing /dev/tpm0
 * waits for the command under way. So the error about a stuck TPM comes early, but its device is closed late.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "tpm/tpm-session.h"
#include "tpm/tpm.h"

#define ANSWER_TIMEOUT_MSEC 30000
#define SUBMISSIONS_MAX 5

#define NITROTPM_CC_NSM_REQUEST UINT32_C(0x20000001)

/* A range of our own among the handles that the TCG's registry gives to the owner. nitro-tpm-attest starts at 0x01000000. */
#define INDEX_FIRST UINT32_C(0x01805ea0)
#define INDEX_COUNT 8U
#define INDEX_ATTRIBUTES (TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE)

/* The macros of tpm2-tss for these shift into the sign bit. */
#define KEY_FIRST UINT32_C(0x80000000)
#define KEY_LAST UINT32_C(0x80fffffe)

/* nitro-tpm-attest takes the first free handle of these ranges. */
#define FOREIGN_INDEX_FIRST UINT32_C(0x01000000)
#define FOREIGN_INDEX_LAST UINT32_C(0x013fffff)
#define FOREIGN_KEY_FIRST UINT32_C(0x81000000)
#define FOREIGN_KEY_LAST UINT32_C(0x8100ffff)

/* OpenSSL failed. tpm2-tss has no code for that; it does not use this layer. */
#define RC_OPENSSL (TSS2_RC_LAYER(5) | TSS2_BASE_RC_GENERAL_FAILURE)

struct Tpm {
        char *tcti_name;
        TSS2_TCTI_CONTEXT *tcti;
        ESYS_CONTEXT *esys;
        int broken; /* a negative errno: the connection failed and must be made anew */
        bool dirty; /* the TPM may still hold an object of ours whose handle is unknown */

        bool prepared;
        TPM2_HANDLE key, index; /* 0: none */
        TpmSession session, vendor_session;
        TPM2B_AUTH auth; /* of the index */
        TPM2B_NAME name; /* of the index */
        size_t chunk;    /* the most bytes that one NV read or write may have */
};

static const TPM2B_PUBLIC key_template = {
        .publicArea = {
                .type = TPM2_ALG_RSA,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |
                                    TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
                .authPolicy = {
                        .size = 32,
                        .buffer = {
                                0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
                                0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
                                0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
                        },
                },
                .parameters.rsaDetail = {
                        .symmetric = {
                                .algorithm = TPM2_ALG_AES,
                                .keyBits.aes = 128,
                                .mode.aes = TPM2_ALG_CFB,
                        },
                        .scheme.scheme = TPM2_ALG_NULL,
                        .keyBits = 8 * TPM_MODULUS_SIZE,
                },
                .unique.rsa.size = TPM_MODULUS_SIZE,
        },
};

static inline void esys_freep(void *pointer) {
        Esys_Free(*(void **) pointer);
}
#define _cleanup_esys_ _cleanup_(esys_freep)

/* tpm2-tss logs to standard error. That repeats what our Errors say. The variable is set before there are threads, since
 * setenv() in one thread must not run while another calls getenv(). */
__attribute__((constructor)) static void silence_tss(void) {
        (void) setenv("TSS2_LOG", "all+none", false);
}

/* The TPM sent this code, or the kernel's resource manager in its place. All other codes are from tpm2-tss. */
static bool is_response(TSS2_RC rc) {
        TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;

        return layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_RC_LAYER ||
               layer == TSS2_RESMGR_TPM_RC_LAYER;
}

/* The code without its layer, and without the number of the handle, session or parameter to which it refers. */
static TSS2_RC response_code(TSS2_RC rc) {
        return rc & (rc & TPM2_RC_FMT1 ? TPM2_RC_FMT1 | 0x3fU : 0xfffU);
}

static bool is_warning(TSS2_RC rc) {
        return (response_code(rc) & TPM2_RC_WARN) == TPM2_RC_WARN;
}

static bool is_try_again(TSS2_RC rc) {
        return !is_response(rc) && (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN;
}

static bool is_out_of_memory(TSS2_RC rc) {
        return !is_response(rc) && (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_MEMORY;
}

static TSS2_RC note_broken(Tpm *tpm, TSS2_RC rc) {
        if (!is_response(rc) && !tpm->broken)
                tpm->broken = is_try_again(rc) ? -ETIMEDOUT : -EIO;
        return rc;
}

/* Runs a command by ESYS with a time-out. ESYS' synchronous functions have none. in and out are argument lists. */
#define COMMAND(tpm, name, in, out)                                                          \
        ({                                                                                   \
                uint64_t _end_ = now_monotonic_usec() + ANSWER_TIMEOUT_MSEC * USEC_PER_MSEC; \
                TSS2_RC _rc_ = Esys_##name##_Async in;                                       \
                if (_rc_ == TSS2_RC_SUCCESS)                                                 \
                        do                                                                   \
                                _rc_ = Esys_##name##_Finish out;                             \
                        while (is_try_again(_rc_) && now_monotonic_usec() < _end_);          \
                note_broken(tpm, _rc_);                                                      \
        })

#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define ONE_SESSION(session) session, ESYS_TR_NONE, ESYS_TR_NONE

#define KEYS_LEFT \
        "other programs left keys in all its slots; remove them with 'tpm2_flushcontext --transient-object'"
#define SESSIONS_LEFT \
        "other programs left sessions in all its slots; remove them with 'tpm2_flushcontext --loaded-session'"
#define OWNED \
        "that hierarchy has an authorization value, but unseald needs it empty, as EC2 hands it out; clear it with 'tpm2_changeauth'"
#define DISABLED \
        "a program has disabled that hierarchy; find that program, and reboot to enable the hierarchy"
#define LOCKED \
        "it is locked after wrong authorizations; unlock it with 'tpm2_dictionarylockout --clear-lockout'"
#define NV_FULL \
        "its NV memory has less than 8 KiB left; list the indices with 'tpm2_getcap handles-nv-index', remove some with 'tpm2_nvundefine'"

static const struct Reason {
        TSS2_RC code;
        int r;
        Remedy remedy;
        const char *text;
} reasons[] = {
        { TPM2_RC_BAD_AUTH, -EACCES, REMEDY_NONE, OWNED },
        { TPM2_RC_AUTH_FAIL, -EACCES, REMEDY_NONE, "it does not accept the authorization" },
        { TPM2_RC_HIERARCHY, -EACCES, REMEDY_NONE, DISABLED },
        { TPM2_RC_HASH, -EOPNOTSUPP, REMEDY_NONE, "it does not know SHA-384, or not SHA-512" },
        { TPM2_RC_LOCKOUT, -EACCES, REMEDY_NONE, LOCKED },
        { TPM2_RC_LOCALITY, -EACCES, REMEDY_NONE, "the operating system's locality is not allowed to" },
        { TPM2_RC_NV_SPACE, -ENOSPC, REMEDY_NONE, NV_FULL },
        { TPM2_RC_OBJECT_MEMORY, -ENOSPC, REMEDY_RETRY, KEYS_LEFT },
        { TPM2_RC_OBJECT_HANDLES, -ENOSPC, REMEDY_RETRY, KEYS_LEFT },
        { TPM2_RC_SESSION_MEMORY, -ENOSPC, REMEDY_RETRY, SESSIONS_LEFT },
        { TPM2_RC_SESSION_HANDLES, -ENOSPC, REMEDY_RETRY, SESSIONS_LEFT },
        { TPM2_RC_NV_RATE, -EAGAIN, REMEDY_RETRY, "it limits the rate of writes" },
        { TPM2_RC_RETRY, -EAGAIN, REMEDY_RETRY, "it is busy" },
        { TPM2_RC_TESTING, -EAGAIN, REMEDY_RETRY, "it is testing itself" },
        { TPM2_RC_YIELDED, -EAGAIN, REMEDY_RETRY, "it is busy" },
};

/* step: an infinitive, the work that the TPM did not do. */
static int explain(TSS2_RC rc, const char *step, Error *error) {
        TSS2_RC code = response_code(rc);

        if (is_try_again(rc))
                return error_set_remedy(error, -ETIMEDOUT, FAILURE_TPM, REMEDY_RETRY,
                                        "The TPM did not answer within %i seconds. It was asked to %s.",
                                        ANSWER_TIMEOUT_MSEC / 1000, step);
        if (is_out_of_memory(rc))
                return error_oom(error);
        if (rc == RC_OPENSSL)
                return error_set_remedy(error, -EIO, FAILURE_INTERNAL, REMEDY_RETRY,
                                        "OpenSSL failed in a session with the TPM, which was asked to %s.",
                                        step);
        if (!is_response(rc))
                return error_set_remedy(error, -EIO, FAILURE_TPM, REMEDY_RETRY,
                                        "The connection to the TPM failed: %s (0x%08" PRIx32
                                        "). The TPM was asked to %s.",
                                        Tss2_RC_Decode(rc), rc, step);
        for (size_t i = 0; i < ELEMENTSOF(reasons); i++)
                if (reasons[i].code == code)
                        return error_set_remedy(error, reasons[i].r, FAILURE_TPM, reasons[i].remedy,
                                                "The TPM cannot %s: %s (0x%03" PRIx32 ").", step,
                                                reasons[i].text, rc);
        return error_set_remedy(error, -EIO, FAILURE_TPM, is_warning(rc) ? REMEDY_RETRY : REMEDY_NONE,
                                "The TPM cannot %s: %s (0x%03" PRIx32 ").", step, Tss2_RC_Decode(rc), rc);
}

#define NO_DEVICE \
        "There is no TPM at %s (yet). Check that the instance type has NitroTPM and that the AMI was registered with '--tpm-support v2.0'."
#define NO_TCTI                                                                                     \
        "'%s' is not the name of a TPM, or its library libtss2-tcti-* is missing: %s (0x%08" PRIx32 \
        ").%s Check TpmDevice= in unseald.conf, or --device=."

/* tpm2-tss says only that opening failed. Opening the device once more shows why. */
static int explain_device(const char *path, Error *error) {
        _cleanup_close_ int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        struct stat st;

        if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
                return error_set_remedy(error, -errno, FAILURE_TPM, REMEDY_RETRY, NO_DEVICE, path);
        /* Early in a boot, the node exists before udev has given it to unseald's group. */
        if (fd < 0 && (errno == EACCES || errno == EPERM))
                return error_set_remedy(
                                error, -errno, FAILURE_TPM, REMEDY_RETRY,
                                "unseald may not open the TPM at %s: %m. Check that the udev rule of unseald is installed.",
                                path);
        if (fd < 0 && errno != EBUSY)
                return error_set(error, -errno, FAILURE_TPM, "unseald cannot open the TPM at %s: %m.", path);
        if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode)))
                return error_set(error, -ENOTTY, FAILURE_TPM,
                                 "%s is not a device. Check TpmDevice= in unseald.conf.", path);
        return error_set_remedy(error, -EBUSY, FAILURE_TPM, REMEDY_RETRY,
                                "Another program has the TPM at %s open. Only one program at a time can.",
                                path);
}

static int explain_connection(const char *tcti_name, TSS2_RC rc, Error *error) {
        static const char device[] = "device:";

        if (is_out_of_memory(rc))
                return error_oom(error);
        if (rc != TSS2_TCTI_RC_IO_ERROR)
                return error_set(error, -EINVAL, FAILURE_TPM, NO_TCTI, tcti_name, Tss2_RC_Decode(rc), rc,
                                 strncmp(tcti_name, "/dev/", strlen("/dev/")) == 0
                                                 ? " A device has the word \"device:\" before its path."
                                                 : "");
        if (strncmp(tcti_name, device, strlen(device)) == 0)
                return explain_device(tcti_name + strlen(device), error);
        return error_set_remedy(error, -EIO, FAILURE_TPM, REMEDY_RETRY,
                                "There is no TPM at '%s' (yet), or another program has it open.", tcti_name);
}

static void tpm_disconnect(Tpm *tpm) {
        if (tpm->esys)
                Esys_Finalize(&tpm->esys);
        if (tpm->tcti)
                Tss2_TctiLdr_Finalize(&tpm->tcti);
}

static int tpm_connect(Tpm *tpm, Error *error) {
        TSS2_RC rc;

        rc = Tss2_TctiLdr_Initialize(tpm->tcti_name, &tpm->tcti);
        if (rc != TSS2_RC_SUCCESS)
                return explain_connection(tpm->tcti_name, rc, error);
        rc = Esys_Initialize(&tpm->esys, tpm->tcti, NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = Esys_SetTimeout(tpm->esys, ANSWER_TIMEOUT_MSEC);
        if (is_out_of_memory(rc))
                return error_oom(error);
        if (rc != TSS2_RC_SUCCESS)
                return error_set(error, -EIO, FAILURE_TPM,
                                 "tpm2-tss cannot be set up for the TPM '%s': %s (0x%08" PRIx32 ").",
                                 tpm->tcti_name, Tss2_RC_Decode(rc), rc);
        tpm->broken = 0;
        return 0;
}

int tpm_supported(Error *error) {
        return 0;
}

int tpm_open(const char *tcti, Tpm **ret, Error *error) {
        _cleanup_(tpm_closep) Tpm *tpm = NULL;
        int r;

        /* With an empty name, tpm2-tss looks for any TPM. */
        if (tcti[0] == '\0')
                return error_set(error, -EINVAL, FAILURE_TPM,
                                 "The name of the TPM is empty. Name one such as device:/dev/tpm0.");

        tpm = calloc(1, sizeof(*tpm));
        if (!tpm)
                return error_oom(error);
        tpm->tcti_name = strdup(tcti);
        if (!tpm->tcti_name)
                return error_oom(error);

        r = tpm_connect(tpm, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(tpm);
        return 0;
}

static TSS2_RC submit(Tpm *tpm, const TpmMessage *command, TpmMessage *response) {
        uint32_t size, code;
        TSS2_RC rc;

        rc = Tss2_Tcti_Transmit(tpm->tcti, command->size, command->data);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        response->size = sizeof(response->data);
        rc = Tss2_Tcti_Receive(tpm->tcti, &response->size, response->data, ANSWER_TIMEOUT_MSEC);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        response->read = 0;
        if (response->size > sizeof(response->data) || !tpm_get(response, 2) ||
            !tpm_get_u32(response, &size) || !tpm_get_u32(response, &code) || size != response->size)
                return TSS2_TCTI_RC_MALFORMED_RESPONSE;
        response->read = 0;
        return code;
}

/* Sends a command that was put together here. A busy TPM is asked again as often as ESYS does. */
static TSS2_RC exchange(Tpm *tpm, const TpmMessage *command, TpmMessage *response) {
        for (unsigned n = 1;; n++) {
                TSS2_RC rc = submit(tpm, command, response);

                if (n == SUBMISSIONS_MAX ||
                    (rc != TPM2_RC_RETRY && rc != TPM2_RC_TESTING && rc != TPM2_RC_YIELDED))
                        return note_broken(tpm, rc);
        }
}

static TSS2_RC flush_handle(Tpm *tpm, TPM2_HANDLE handle) {
        TpmMessage command, response;

        tpm_command_begin(&command, TPM2_ST_NO_SESSIONS, TPM2_CC_FlushContext);
        tpm_put_u32(&command, handle);
        tpm_command_end(&command);
        return exchange(tpm, &command, &response);
}

/* The owner's authorization value is empty, so that no session is needed. */
static TSS2_RC undefine_handle(Tpm *tpm, TPM2_HANDLE handle) {
        TpmMessage command, response;

        tpm_command_begin(&command, TPM2_ST_SESSIONS, TPM2_CC_NV_UndefineSpace);
        tpm_put_u32(&command, TPM2_RH_OWNER);
        tpm_put_u32(&command, handle);
        tpm_put_u32(&command, 4 + 2 + 1 + 2);
        tpm_put_u32(&command, TPM2_RS_PW);
        tpm_put_sized(&command, NULL, 0);
        tpm_put_u8(&command, 0);
        tpm_put_sized(&command, NULL, 0);
        tpm_command_end(&command);
        return exchange(tpm, &command, &response);
}

static int list_handles(Tpm *tpm, TPM2_HANDLE first, uint32_t count, TPMS_CAPABILITY_DATA **ret,
                        Error *error) {
        TPMI_YES_NO more;
        TSS2_RC rc;

        rc = COMMAND(tpm, GetCapability, (tpm->esys, NO_SESSION, TPM2_CAP_HANDLES, first, count),
                     (tpm->esys, &more, ret));
        return rc == TSS2_RC_SUCCESS ? 0 : explain(rc, "list its objects", error);
}

/* Compares all but the modulus, which follows from the rest and from the seed of the endorsement hierarchy. */
static TSS2_RC is_our_key(Tpm *tpm, ESYS_TR object, bool *ret) {
        const TPMT_PUBLIC *ours = &key_template.publicArea, *its;
        const TPMS_RSA_PARMS *p = &ours->parameters.rsaDetail, *q;
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        TSS2_RC rc;

        rc = COMMAND(tpm, ReadPublic, (tpm->esys, object, NO_SESSION), (tpm->esys, &public, NULL, NULL));
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        its = &public->publicArea;
        q = &its->parameters.rsaDetail;
        *ret = its->type == ours->type && its->nameAlg == ours->nameAlg &&
               its->objectAttributes == ours->objectAttributes &&
               its->authPolicy.size == ours->authPolicy.size &&
               memcmp(its->authPolicy.buffer, ours->authPolicy.buffer, ours->authPolicy.size) == 0 &&
               q->symmetric.algorithm == p->symmetric.algorithm &&
               q->symmetric.keyBits.aes == p->symmetric.keyBits.aes &&
               q->symmetric.mode.aes == p->symmetric.mode.aes && q->scheme.scheme == p->scheme.scheme &&
               q->keyBits == p->keyBits && q->exponent == p->exponent;
        return TSS2_RC_SUCCESS;
}

static TSS2_RC is_our_index(Tpm *tpm, ESYS_TR object, bool *ret) {
        _cleanup_esys_ TPM2B_NV_PUBLIC *public = NULL;
        TSS2_RC rc;

        rc = COMMAND(tpm, NV_ReadPublic, (tpm->esys, object, NO_SESSION), (tpm->esys, &public, NULL));
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        *ret = (public->nvPublic.attributes & ~TPMA_NV_WRITTEN) == INDEX_ATTRIBUTES &&
               public->nvPublic.nameAlg == TPM2_ALG_SHA512 && public->nvPublic.authPolicy.size == 0 &&
               public->nvPublic.dataSize == NSM_INDEX_SIZE;
        return TSS2_RC_SUCCESS;
}

typedef TSS2_RC (*IsOurs)(Tpm *tpm, ESYS_TR object, bool *ret);

/* Finds our objects among the handles from first to last. A hash sequence has no public area (TPM2_RC_SEQUENCE). */
static int find_ours(Tpm *tpm, TPM2_HANDLE first, TPM2_HANDLE last, IsOurs is_ours, TpmHandles *ret,
                     Error *error) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *list = NULL;
        const TPML_HANDLE *handles;
        int r;

        r = list_handles(tpm, first, ELEMENTSOF(ret->handle), &list, error);
        if (r < 0)
                return r;
        handles = &list->data.handles;

        for (size_t i = 0; i < handles->count && ret->n < ELEMENTSOF(ret->handle); i++) {
                ESYS_TR object = ESYS_TR_NONE;
                bool ours = false;
                TSS2_RC rc;

                if (handles->handle[i] < first || handles->handle[i] > last)
                        continue;
                rc = COMMAND(tpm, TR_FromTPMPublic, (tpm->esys, handles->handle[i], NO_SESSION),
                             (tpm->esys, &object));
                if (rc == TSS2_RC_SUCCESS)
                        rc = is_ours(tpm, object, &ours);
                if (rc != TSS2_RC_SUCCESS && rc != TPM2_RC_SEQUENCE)
                        return explain(rc, "describe a leftover object", error);
                if (object != ESYS_TR_NONE)
                        (void) Esys_TR_Close(tpm->esys, &object);
                if (ours)
                        ret->handle[ret->n++] = handles->handle[i];
        }
        return 0;
}

static int flush_loaded_sessions(Tpm *tpm, unsigned *leftovers, Error *error) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *list = NULL;
        int r;

        r = list_handles(tpm, TPM2_LOADED_SESSION_FIRST, TPM2_MAX_CAP_HANDLES, &list, error);
        if (r < 0)
                return r;
        for (size_t i = 0; i < list->data.handles.count; i++) {
                TPM2_HANDLE handle = list->data.handles.handle[i];
                TSS2_RC rc;

                /* This list has loaded policy sessions, too. */
                if (handle >> TPM2_HR_SHIFT != TPM2_HT_HMAC_SESSION)
                        continue;
                rc = flush_handle(tpm, handle);
                if (rc != TSS2_RC_SUCCESS)
                        return explain(rc, "flush a leftover session", error);
                (*leftovers)++;
        }
        return 0;
}

/* Removes sessions first: key and index are the marks that the sessions are unseald's. */
static int remove_leftovers(Tpm *tpm, unsigned *leftovers, Error *error) {
        TpmHandles keys = {}, indices = {};
        TSS2_RC rc;
        int r;

        r = find_ours(tpm, KEY_FIRST, KEY_LAST, is_our_key, &keys, error);
        if (r < 0)
                return r;
        r = find_ours(tpm, INDEX_FIRST, INDEX_FIRST + INDEX_COUNT - 1, is_our_index, &indices, error);
        if (r < 0)
                return r;
        if (keys.n + indices.n > 0) {
                r = flush_loaded_sessions(tpm, leftovers, error);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < keys.n; i++, (*leftovers)++) {
                rc = flush_handle(tpm, keys.handle[i]);
                if (rc != TSS2_RC_SUCCESS)
                        return explain(rc, "flush a leftover key", error);
        }
        for (size_t i = 0; i < indices.n; i++, (*leftovers)++) {
                rc = undefine_handle(tpm, indices.handle[i]);
                if (rc != TSS2_RC_SUCCESS)
                        return explain(rc, "remove a leftover NV index from the owner hierarchy", error);
        }
        tpm->dirty = false;
        return 0;
}

/* One answer has all four properties. */
static int read_lockout(Tpm *tpm, TpmState *state, Error *error) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *list = NULL;
        const TPML_TAGGED_TPM_PROPERTY *properties;
        TPMI_YES_NO more;
        TSS2_RC rc;

        rc = COMMAND(tpm, GetCapability,
                     (tpm->esys, NO_SESSION, TPM2_CAP_TPM_PROPERTIES, TPM2_PT_PERMANENT,
                      TPM2_PT_LOCKOUT_RECOVERY - TPM2_PT_PERMANENT + 1),
                     (tpm->esys, &more, &list));
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "say whether it is locked", error);
        properties = &list->data.tpmProperties;
        for (size_t i = 0; i < properties->count; i++) {
                uint32_t value = properties->tpmProperty[i].value;

                switch (properties->tpmProperty[i].property) {
                case TPM2_PT_PERMANENT:
                        state->locked_out = value & TPMA_PERMANENT_INLOCKOUT;
                        break;
                case TPM2_PT_LOCKOUT_COUNTER:
                        state->wrong = value;
                        break;
                case TPM2_PT_MAX_AUTH_FAIL:
                        state->wrong_max = value;
                        break;
                case TPM2_PT_LOCKOUT_INTERVAL:
                        state->recovery_sec = value;
                        break;
                default:
                        break;
                }
        }
        return 0;
}

static int read_chunk_size(Tpm *tpm, Error *error) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *list = NULL;
        const TPMS_TAGGED_PROPERTY *property;
        TPMI_YES_NO more;
        TSS2_RC rc;

        rc = COMMAND(tpm, GetCapability,
                     (tpm->esys, NO_SESSION, TPM2_CAP_TPM_PROPERTIES, TPM2_PT_NV_BUFFER_MAX, 1),
                     (tpm->esys, &more, &list));
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "state its limits", error);
        property = &list->data.tpmProperties.tpmProperty[0];
        if (list->data.tpmProperties.count != 1 || property->property != TPM2_PT_NV_BUFFER_MAX ||
            property->value == 0)
                return error_set(error, -EPROTO, FAILURE_TPM,
                                 "The TPM did not say how many bytes one write to an NV index may have.");
        tpm->chunk = property->value < TPM2_MAX_NV_BUFFER_SIZE ? property->value : TPM2_MAX_NV_BUFFER_SIZE;
        return 0;
}

static int create_key(Tpm *tpm, TPM2B_PUBLIC **ret, Error *error) {
        const TPM2B_SENSITIVE_CREATE sensitive = {};
        const TPML_PCR_SELECTION no_pcrs = {};
        const TPM2B_DATA nothing = {};
        ESYS_TR key;
        TSS2_RC rc;

        rc = COMMAND(tpm, CreatePrimary,
                     (tpm->esys, ESYS_TR_RH_ENDORSEMENT, ONE_SESSION(ESYS_TR_PASSWORD), &sensitive,
                      &key_template, &nothing, &no_pcrs),
                     (tpm->esys, &key, ret, NULL, NULL, NULL));
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "create a key in the endorsement hierarchy", error);
        rc = note_broken(tpm, Esys_TR_GetTpmHandle(tpm->esys, key, &tpm->key));
        (void) Esys_TR_Close(tpm->esys, &key);
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "give the handle of its key", error);
        if ((*ret)->publicArea.unique.rsa.size != TPM_MODULUS_SIZE)
                return error_set(error, -EPROTO, FAILURE_TPM,
                                 "The TPM made an endorsement key that is not of 2048 bits.");
        return 0;
}

/* r: of tpm_session_started() or tpm_session_open(). TPM and session may disagree about nonces after a failure, so the
 * connection counts as broken. */
static TSS2_RC session_failed(Tpm *tpm, int r) {
        switch (r) {
        case 0:
                return TSS2_RC_SUCCESS;
        case -EKEYREJECTED:
                return note_broken(tpm, TSS2_ESYS_RC_RSP_AUTH_FAILED);
        case -EBADMSG:
                return note_broken(tpm, TSS2_ESYS_RC_MALFORMED_RESPONSE);
        default:
                return note_broken(tpm, RC_OPENSSL);
        }
}

static TSS2_RC start_session(Tpm *tpm, const uint8_t modulus[static TPM_MODULUS_SIZE], bool encrypts,
                             TpmSession *session) {
        TpmMessage command, response;
        TSS2_RC rc;

        if (tpm_session_start(session, tpm->key, modulus, encrypts, &command) < 0)
                return RC_OPENSSL;
        rc = exchange(tpm, &command, &response);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        return session_failed(tpm, tpm_session_started(session, &response));
}

static bool is_out_of_sessions(TSS2_RC rc) {
        return rc == TPM2_RC_SESSION_MEMORY || rc == TPM2_RC_SESSION_HANDLES;
}

static TSS2_RC start_sessions(Tpm *tpm, const uint8_t modulus[static TPM_MODULUS_SIZE]) {
        TSS2_RC rc = start_session(tpm, modulus, true, &tpm->session);

        return rc == TSS2_RC_SUCCESS ? start_session(tpm, modulus, false, &tpm->vendor_session) : rc;
}

/* These three forget the handle even if the TPM does not remove the object: remove_leftovers() finds it again. */
static bool flush_key(Tpm *tpm) {
        TPM2_HANDLE handle = TAKE(tpm->key, 0);

        return handle == 0 || flush_handle(tpm, handle) == TSS2_RC_SUCCESS;
}

static bool flush_session(Tpm *tpm, TpmSession *session) {
        TPM2_HANDLE handle = session->handle;

        OPENSSL_cleanse(session, sizeof(*session));
        return handle == 0 || flush_handle(tpm, handle) == TSS2_RC_SUCCESS;
}

static bool undefine_index(Tpm *tpm) {
        TPM2_HANDLE handle = TAKE(tpm->index, 0);

        OPENSSL_cleanse(&tpm->auth, sizeof(tpm->auth));
        return handle == 0 || undefine_handle(tpm, handle) == TSS2_RC_SUCCESS;
}

static bool flush_sessions(Tpm *tpm) {
        bool first = flush_session(tpm, &tpm->session);

        return flush_session(tpm, &tpm->vendor_session) && first;
}

/* Removes all that was made. If a session may be left, key and index stay: they are the marks that it is ours. */
static void release(Tpm *tpm) {
        tpm->prepared = false;
        if (!flush_sessions(tpm))
                tpm->dirty = true;
        if (tpm->dirty) {
                tpm->key = tpm->index = 0;
                return;
        }
        if (!flush_key(tpm))
                tpm->dirty = true;
        if (!undefine_index(tpm))
                tpm->dirty = true;
}

/* A new connection does not know the old one's objects. It finds them as leftovers. */
static int tpm_reconnect(Tpm *tpm, Error *error) {
        if (!tpm->broken)
                return 0;
        release(tpm);
        tpm_disconnect(tpm);
        return tpm_connect(tpm, error);
}

/* Looks for leftovers if an object may remain, but does not wait once more for a TPM that did not answer. */
static void clean_up(Tpm *tpm) {
        unsigned leftovers = 0;

        release(tpm);
        if (tpm->dirty && tpm->broken != -ETIMEDOUT && tpm_reconnect(tpm, NULL) >= 0)
                (void) remove_leftovers(tpm, &leftovers, NULL);
}

/* Tries a second time if the TPM has no room: loaded sessions belong to no living program (see the top of this file). */
static int make_sessions(Tpm *tpm, const uint8_t modulus[static TPM_MODULUS_SIZE], unsigned *leftovers,
                         Error *error) {
        TSS2_RC rc;
        int r;

        rc = start_sessions(tpm, modulus);
        if (is_out_of_sessions(rc)) {
                (void) flush_sessions(tpm);
                r = flush_loaded_sessions(tpm, leftovers, error);
                if (r < 0)
                        return r;
                rc = start_sessions(tpm, modulus);
        }
        return rc == TSS2_RC_SUCCESS ? 0 : explain(rc, "start a session", error);
}

/* Runs a command in one of our sessions. Its response must be authentic. */
static TSS2_RC execute(Tpm *tpm, TpmSession *session, TpmCommand *command, TpmMessage *response) {
        TpmMessage sealed;
        TSS2_RC rc;

        if (tpm_session_seal(session, command, &sealed) < 0)
                return RC_OPENSSL;
        rc = exchange(tpm, &sealed, response);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        return session_failed(tpm, tpm_session_open(session, command, response));
}

/* The TPMS_NV_PUBLIC of the index. Its name is a hash of this. */
static void put_index(TpmMessage *message, TPM2_HANDLE handle, TPMA_NV attributes) {
        tpm_put_u32(message, handle);
        tpm_put_u16(message, TPM2_ALG_SHA512);
        tpm_put_u32(message, attributes);
        tpm_put_sized(message, NULL, 0); /* no policy */
        tpm_put_u16(message, NSM_INDEX_SIZE);
}

static TPM2B_NAME index_name(TPM2_HANDLE handle, TPMA_NV attributes) {
        TPM2B_NAME name = { .size = 2 + TPM_HASH_SIZE,
                            .name = { TPM2_ALG_SHA512 >> 8, TPM2_ALG_SHA512 & 0xff } };
        TpmMessage public = {};

        put_index(&public, handle, attributes);
        (void) SHA512(public.data, public.size, name.name + 2);
        return name;
}

static TSS2_RC define_index_at(Tpm *tpm, TPM2_HANDLE handle) {
        const TPM2B_NAME owner = { .size = 4, .name = { TPM2_RH_OWNER >> 24, 0, 0, TPM2_RH_OWNER & 0xff } };
        const TPM2B_AUTH nothing = {};
        TpmCommand command = {
                .code = TPM2_CC_NV_DefineSpace,
                .handle = TPM2_RH_OWNER,
                .n_handles = 1,
                .name = &owner,
                .auth = &nothing,
                .sized_in = true,
        };
        TpmMessage public = {}, response;
        TSS2_RC rc;

        put_index(&public, handle, INDEX_ATTRIBUTES);
        tpm_put_sized(&command.parameters, tpm->auth.buffer, tpm->auth.size);
        tpm_put_sized(&command.parameters, public.data, public.size);
        rc = execute(tpm, &tpm->session, &command, &response);
        OPENSSL_cleanse(&command.parameters, sizeof(command.parameters));
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        tpm->index = handle;
        tpm->name = index_name(handle, INDEX_ATTRIBUTES);
        return TSS2_RC_SUCCESS;
}

static int define_index(Tpm *tpm, Error *error) {
        TSS2_RC rc = TPM2_RC_NV_DEFINED;

        tpm->auth.size = TPM_HASH_SIZE;
        if (RAND_bytes(tpm->auth.buffer, tpm->auth.size) <= 0)
                return error_set(error, -EIO, FAILURE_INTERNAL,
                                 "OpenSSL cannot make random bytes for the TPM's NV index.");
        /* A TPM cuts zeros off the end of an authorization value. */
        tpm->auth.buffer[TPM_HASH_SIZE - 1] |= 1;

        for (TPM2_HANDLE i = 0; i < INDEX_COUNT && rc == TPM2_RC_NV_DEFINED; i++)
                rc = define_index_at(tpm, INDEX_FIRST + i);
        if (is_response(rc) && response_code(rc) == TPM2_RC_SIZE)
                return error_set(error, -EOPNOTSUPP, FAILURE_NOT_NITRO,
                                 "This TPM is not a NitroTPM: it has no NV indices of %u bytes.",
                                 NSM_INDEX_SIZE);
        return rc == TSS2_RC_SUCCESS ? 0 : explain(rc, "define an NV index in the owner hierarchy", error);
}

/* The order is the one that the top of this file explains. */
static int make_all(Tpm *tpm, unsigned *leftovers, Error *error) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        int r;

        r = remove_leftovers(tpm, leftovers, error);
        if (r < 0)
                return r;
        r = read_chunk_size(tpm, error);
        if (r < 0)
                return r;
        r = create_key(tpm, &public, error);
        if (r < 0)
                return r;
        r = make_sessions(tpm, public->publicArea.unique.rsa.buffer, leftovers, error);
        if (r < 0)
                return r;
        r = define_index(tpm, error);
        if (r < 0)
                return r;
        tpm->dirty = !flush_key(tpm);
        return 0;
}

int tpm_prepare(Tpm *tpm, unsigned *ret_leftovers, Error *error) {
        unsigned leftovers = 0;
        int r;

        r = tpm_reconnect(tpm, error);
        if (r < 0)
                return r;
        if (!tpm->prepared) {
                r = make_all(tpm, &leftovers, error);
                if (r < 0) {
                        tpm->dirty = true;
                        clean_up(tpm);
                        return r;
                }
                tpm->prepared = true;
        }
        if (ret_leftovers)
                *ret_leftovers = leftovers;
        return 0;
}

int tpm_inspect(Tpm *tpm, TpmState *ret, Error *error) {
        TpmHandles keys = {}, indices = {};
        TpmState state = {};
        int r;

        if ((r = tpm_reconnect(tpm, error)) < 0 || (r = read_lockout(tpm, &state, error)) < 0 ||
            (r = find_ours(tpm, KEY_FIRST, KEY_LAST, is_our_key, &keys, error)) < 0 ||
            (r = find_ours(tpm, INDEX_FIRST, INDEX_FIRST + INDEX_COUNT - 1, is_our_index, &indices, error)) <
                            0 ||
            (r = find_ours(tpm, FOREIGN_KEY_FIRST, FOREIGN_KEY_LAST, is_our_key, &state.foreign_keys,
                           error)) < 0 ||
            (r = find_ours(tpm, FOREIGN_INDEX_FIRST, FOREIGN_INDEX_LAST, is_our_index,
                           &state.foreign_indices, error)) < 0)
                return r;
        state.leftovers = (unsigned) (keys.n + indices.n);
        *ret = state;
        return 0;
}

/* A command about the index, which the index also authorizes. */
static TpmCommand index_command(const Tpm *tpm, TPM2_CC code) {
        return (TpmCommand){
                .code = code,
                .handle = tpm->index,
                .n_handles = 2,
                .name = &tpm->name,
                .auth = &tpm->auth,
        };
}

static int write_request(Tpm *tpm, const uint8_t *data, size_t size, Error *error) {
        for (size_t offset = 0; offset < size;) {
                size_t n = size - offset < tpm->chunk ? size - offset : tpm->chunk;
                TpmCommand command = index_command(tpm, TPM2_CC_NV_Write);
                TpmMessage response;
                TSS2_RC rc;

                command.sized_in = true;
                tpm_put_sized(&command.parameters, data + offset, n);
                tpm_put_u16(&command.parameters, (uint16_t) offset);
                rc = execute(tpm, &tpm->session, &command, &response);
                if (rc != TSS2_RC_SUCCESS)
                        return explain(rc, "write the request for attestation", error);
                tpm->name = index_name(tpm->index, INDEX_ATTRIBUTES | TPMA_NV_WRITTEN);
                offset += n;
        }
        return 0;
}

/* A wrong HMAC in the response is logged only. Nobody has published what it is on hardware, AWS's own client reads the
 * response code alone, and the document carries Nitro's signature. */
static int run_vendor_command(Tpm *tpm, Error *error) {
        TpmCommand command = index_command(tpm, NITROTPM_CC_NSM_REQUEST);
        TpmMessage sealed, response;
        TSS2_RC rc;

        if (tpm_session_seal(&tpm->vendor_session, &command, &sealed) < 0)
                return explain(RC_OPENSSL, "run the attestation command", error);
        rc = exchange(tpm, &sealed, &response);
        if (rc == TPM2_RC_COMMAND_CODE)
                return error_set(error, -EOPNOTSUPP, FAILURE_NOT_NITRO,
                                 "This TPM is not a NitroTPM: it does not know the attestation command.");
        if (is_response(rc) && response_code(rc) == TPM2_RC_COMMAND_CODE)
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_TPM,
                                "'%s' is a resource manager. It does not let NitroTPM's attestation command through. Use the TPM itself: device:/dev/tpm0.",
                                tpm->tcti_name);
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "run the attestation command", error);
        if (tpm_session_open(&tpm->vendor_session, &command, &response) < 0)
                log_debug("The HMAC of the TPM's response to the attestation command is wrong.");
        return 0;
}

static int read_chunk(Tpm *tpm, uint8_t index[static NSM_INDEX_SIZE], size_t *offset, Error *error) {
        size_t left = NSM_INDEX_SIZE - *offset, wanted = left < tpm->chunk ? left : tpm->chunk, size;
        TpmCommand command = index_command(tpm, TPM2_CC_NV_Read);
        const uint8_t *data;
        TpmMessage response;
        TSS2_RC rc;

        command.sized_out = true;
        tpm_put_u16(&command.parameters, (uint16_t) wanted);
        tpm_put_u16(&command.parameters, (uint16_t) *offset);
        rc = execute(tpm, &tpm->session, &command, &response);
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "read the attestation document", error);
        data = tpm_get_sized(&response, &size);
        if (!data || size != wanted)
                return error_set(error, -EPROTO, FAILURE_TPM,
                                 "The TPM was asked for %zu bytes of an NV index and sent another number.",
                                 wanted);
        memcpy(index + *offset, data, wanted);
        *offset += wanted;
        return 0;
}

/* Reads chunk after chunk until the reply decodes. A reply that is cut short does not. */
static int read_reply(Tpm *tpm, uint8_t **ret, size_t *ret_size, Error *error) {
        uint8_t index[NSM_INDEX_SIZE];
        Error refused = {};
        size_t size = 0;
        int r;

        do {
                r = read_chunk(tpm, index, &size, error);
                if (r < 0)
                        return r;
                r = nsm_reply_decode(index, size, ret, ret_size, &refused);
        } while (r == -EBADMSG && size < NSM_INDEX_SIZE);
        if (r < 0 && error)
                *error = refused;
        return r;
}

static int ask(Tpm *tpm, const uint8_t *request, size_t size, uint8_t **ret, size_t *ret_size,
               Error *error) {
        int r;

        r = write_request(tpm, request, size, error);
        if (r < 0)
                return r;
        r = run_vendor_command(tpm, error);
        if (r < 0)
                return r;
        return read_reply(tpm, ret, ret_size, error);
}

/*
 * The TPM protects the authorization value of the index against guessing. If it starts without a TPM2_Shutdown before, as
 * after a crash or a power cut, it counts one wrong guess. It locks itself after a few (TPM 2.0 part 1, "Dictionary Attack
 * Protection"). So unseald sends TPM2_Shutdown when it no longer needs the TPM. The TPM goes on as before (part 3,
 * TPM2_Shutdown). The kernel sends the command again at an orderly end of the machine.
 */
static void end_use(Tpm *tpm) {
        TpmMessage command, response;
        TSS2_RC rc;

        tpm_command_begin(&command, TPM2_ST_NO_SESSIONS, TPM2_CC_Shutdown);
        tpm_put_u16(&command, TPM2_SU_CLEAR);
        tpm_command_end(&command);
        rc = exchange(tpm, &command, &response);
        if (rc != TSS2_RC_SUCCESS)
                log_debug("The TPM did not accept TPM2_Shutdown: %s (0x%03" PRIx32 ").", Tss2_RC_Decode(rc),
                          rc);
}

int tpm_attest(Tpm *tpm, const NsmRequest *request, uint8_t **ret, size_t *ret_size, Error *error) {
        uint8_t encoded[NSM_REQUEST_MAX];
        size_t size;
        int r;

        r = nsm_request_encode(request, encoded, &size);
        if (r < 0)
                return error_set(error, r, FAILURE_ATTESTATION,
                                 "User data, nonce or public key are too long: each may have %u bytes.",
                                 NSM_FIELD_MAX);
        r = tpm_prepare(tpm, NULL, error);
        if (r < 0)
                return r;
        r = ask(tpm, encoded, size, ret, ret_size, error);
        clean_up(tpm);
        if (!tpm->broken)
                end_use(tpm);
        return r;
}

/* Copies the PCRs of wanted that the TPM sent. *ret_taken: which these are. */
static int take_pcrs(const TPML_PCR_SELECTION *selection, const TPML_DIGEST *values, uint32_t wanted,
                     PcrSet *set, uint32_t *ret_taken) {
        uint32_t sent = 0;
        size_t n = 0;

        if (selection->count == 1 && selection->pcrSelections[0].hash == TPM2_ALG_SHA384)
                for (unsigned i = 0; i < selection->pcrSelections[0].sizeofSelect && i < PCR_COUNT / 8; i++)
                        sent |= (uint32_t) selection->pcrSelections[0].pcrSelect[i] << 8 * i;
        if (sent & ~wanted)
                return -EPROTO;
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
                if (!(sent & UINT32_C(1) << pcr))
                        continue;
                if (n >= values->count || values->digests[n].size != PCR_SIZE)
                        return -EPROTO;
                memcpy(set->value[pcr], values->digests[n++].buffer, PCR_SIZE);
        }
        *ret_taken = sent;
        return 0;
}

/* Reads as many of the wanted PCRs as the TPM sends at once. */
static int read_some_pcrs(Tpm *tpm, uint32_t wanted, PcrSet *set, Error *error) {
        const TPML_PCR_SELECTION ask_for = {
                .count = 1,
                .pcrSelections[0] = {
                        .hash = TPM2_ALG_SHA384,
                        .sizeofSelect = 3,
                        .pcrSelect = { (uint8_t) wanted, (uint8_t) (wanted >> 8), (uint8_t) (wanted >> 16) },
                },
        };
        _cleanup_esys_ TPML_PCR_SELECTION *selection = NULL;
        _cleanup_esys_ TPML_DIGEST *values = NULL;
        uint32_t counter, taken;
        TSS2_RC rc;

        rc = COMMAND(tpm, PCR_Read, (tpm->esys, NO_SESSION, &ask_for),
                     (tpm->esys, &counter, &selection, &values));
        if (rc != TSS2_RC_SUCCESS)
                return explain(rc, "read its PCRs", error);
        if (take_pcrs(selection, values, wanted, set, &taken) < 0)
                return error_set(error, -EPROTO, FAILURE_TPM,
                                 "The TPM sent other PCRs than unseald asked for.");
        if (taken == 0)
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_TPM,
                                "The TPM's SHA-384 bank is not active. In a NitroTPM it always is. In another TPM, 'tpm2_pcrallocate sha384:all' and a reboot activate it.");
        set->present |= taken;
        return 0;
}

int tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrSet *ret, Error *error) {
        PcrSet set = {};
        int r;

        assert(mask >> PCR_COUNT == 0);

        r = tpm_reconnect(tpm, error);
        while (r >= 0 && set.present != mask)
                r = read_some_pcrs(tpm, mask & ~set.present, &set, error);
        if (r < 0)
                return r;
        *ret = set;
        return 0;
}

int tpm_extend_pcr(Tpm *tpm, unsigned pcr, const uint8_t digest[static PCR_SIZE], Error *error) {
        TPML_DIGEST_VALUES values = { .count = 1, .digests[0].hashAlg = TPM2_ALG_SHA384 };
        PcrSet before;
        TSS2_RC rc;
        int r;

        assert(pcr < PCR_COUNT);

        /* If the bank is not active, a TPM answers "success" and extends nothing. Reading the PCR shows that. */
        r = tpm_read_pcrs(tpm, UINT32_C(1) << pcr, &before, error);
        if (r < 0)
                return r;
        memcpy(values.digests[0].digest.sha384, digest, PCR_SIZE);
        rc = COMMAND(tpm, PCR_Extend,
                     (tpm->esys, ESYS_TR_PCR0 + pcr, ONE_SESSION(ESYS_TR_PASSWORD), &values), (tpm->esys));
        return rc == TSS2_RC_SUCCESS ? 0 : explain(rc, "extend a PCR", error);
}

Tpm *tpm_close(Tpm *tpm) {
        if (!tpm)
                return NULL;
        clean_up(tpm);
        tpm_disconnect(tpm);
        free(tpm->tcti_name);
        OPENSSL_cleanse(tpm, sizeof(*tpm));
        free(tpm);
        return NULL;
}
