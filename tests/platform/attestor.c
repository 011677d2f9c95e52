/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attestor.h"
#include "basic/cleanup.h"
#include "nitrotpm/chain.h"
#include "nitrotpm/document.h"
#include "nitrotpm/nsm.h"
#include "nitrotpm/responder.h"

#define DOCUMENT_MAX_AGE_SEC 300
#define DOCUMENT_MAX_AHEAD_SEC 60

#define VERIFIED_MAX 32U

typedef struct Verified {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        AttestedFacts facts;
} Verified;

struct Attestor {
        char instance_id[32], region[32], module_id[64];
        X509_STORE *roots;
        Responder *responder;

        pthread_mutex_t mutex; /* guards the members below */
        Chain chain;
        int64_t chain_issued_at;
        int64_t clock_offset;
        Verified verified[VERIFIED_MAX]; /* a ring buffer */
        size_t n_verified;
};

DEFINE_CLEANUP(Attestor *, attestor_free);

/* Issues a new chain below the root once the leaf has lived half of its life. */
static int keep_chain_fresh(Attestor *attestor) {
        const int64_t now = time(NULL);
        int r;

        if (attestor->chain_issued_at > now - LEAF_LIFETIME_SEC / 2)
                return 0;
        r = chain_issue(&attestor->chain, attestor->instance_id, attestor->module_id, attestor->region, now);
        if (r < 0)
                return r;
        attestor->chain_issued_at = now;
        return 0;
}

static int write_root(const X509 *root, const char *path) {
        FILE *f = fopen(path, "we");
        bool written;

        if (!f)
                return -errno;
        written = PEM_write_X509(f, root) > 0;
        if (fclose(f) != 0)
                return -errno;
        return written ? 0 : -EIO;
}

int attestor_new(const char *instance_id, const char *region, const char *root_path, Attestor **ret) {
        _cleanup_(attestor_freep) Attestor *attestor = calloc(1, sizeof(*attestor));
        int r;

        if (!attestor)
                return -ENOMEM;
        pthread_mutex_init(&attestor->mutex, NULL);
        if (strlen(instance_id) >= sizeof(attestor->instance_id) ||
            strlen(region) >= sizeof(attestor->region))
                return -EINVAL;
        strcpy(attestor->instance_id, instance_id);
        strcpy(attestor->region, region);
        snprintf(attestor->module_id, sizeof(attestor->module_id), "%s-tpm0000000000000000", instance_id);

        r = keep_chain_fresh(attestor);
        if (r < 0)
                return r;
        attestor->roots = X509_STORE_new();
        if (!attestor->roots ||
            X509_STORE_add_cert(attestor->roots, attestor->chain.issued[LEVEL_ROOT].certificate) <= 0)
                return -ENOMEM;
        r = write_root(attestor->chain.issued[LEVEL_ROOT].certificate, root_path);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(attestor);
        return 0;
}

Attestor *attestor_free(Attestor *attestor) {
        if (!attestor)
                return NULL;
        responder_free(attestor->responder);
        X509_STORE_free(attestor->roots);
        chain_clear(&attestor->chain);
        pthread_mutex_destroy(&attestor->mutex);
        free(attestor);
        return NULL;
}

int attestor_serve(Attestor *attestor, const char *socket_path, AttestorFault fault, void *userdata) {
        if (attestor->responder)
                return -EBUSY;
        return responder_new(attestor, socket_path, fault, userdata, &attestor->responder);
}

void attestor_set_clock_offset(Attestor *attestor, int64_t seconds) {
        pthread_mutex_lock(&attestor->mutex);
        attestor->clock_offset = seconds;
        pthread_mutex_unlock(&attestor->mutex);
}

static uint64_t timestamp(const Attestor *attestor) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t) ((now.tv_sec + attestor->clock_offset) * 1000 + now.tv_nsec / 1000000);
}

static int make_document(Attestor *attestor, const NsmFields *fields, const uint8_t *pcrs,
                         Writer *document) {
        int r;

        pthread_mutex_lock(&attestor->mutex);
        r = keep_chain_fresh(attestor);
        if (r >= 0)
                r = document_make(&attestor->chain, attestor->module_id, timestamp(attestor), fields, pcrs,
                                  document);
        pthread_mutex_unlock(&attestor->mutex);
        return r;
}

int attestor_answer(Attestor *attestor, const uint8_t index[static ATTESTOR_INDEX_SIZE],
                    const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                    uint8_t reply[static ATTESTOR_INDEX_SIZE], size_t *ret_size) {
        uint8_t buffer[ATTESTOR_INDEX_SIZE];
        Writer document = { .data = buffer, .capacity = sizeof(buffer) };
        NsmFields fields = {};
        const char *error;
        size_t size = 0;
        int r = 0;

        error = platform_nsm_request_read(index, ATTESTOR_INDEX_SIZE, &fields);
        if (!error) {
                r = make_document(attestor, &fields, pcrs, &document);
                item_putp(&fields.item);
        }
        if (r == -ENOMEM)
                return r;
        if (r < 0 && r != -ENOBUFS)
                error = "InternalError";
        if (!error && r >= 0)
                size = platform_nsm_document_write((Bytes){ document.data, document.size }, reply,
                                                   ATTESTOR_INDEX_SIZE);
        if (size == 0)
                size = platform_nsm_error_write(error ?: "BufferTooSmall", reply, ATTESTOR_INDEX_SIZE);
        *ret_size = size;
        return 0;
}

static const char *check_age(uint64_t timestamp_msec, int64_t now) {
        const int64_t age = now - (int64_t) (timestamp_msec / 1000);

        if (age > DOCUMENT_MAX_AGE_SEC)
                return "The attestation document has exceeded its five-minute age limit.";
        if (age < -DOCUMENT_MAX_AHEAD_SEC)
                return "The timestamp of the attestation document is in the future.";
        return NULL;
}

static bool recall(Attestor *attestor, const uint8_t digest[static SHA256_DIGEST_LENGTH],
                   AttestedFacts *ret) {
        bool found = false;

        pthread_mutex_lock(&attestor->mutex);
        for (size_t i = 0; i < VERIFIED_MAX && i < attestor->n_verified && !found; i++) {
                found = memcmp(attestor->verified[i].digest, digest, SHA256_DIGEST_LENGTH) == 0;
                if (found)
                        *ret = attestor->verified[i].facts;
        }
        pthread_mutex_unlock(&attestor->mutex);
        return found;
}

static void remember(Attestor *attestor, const uint8_t digest[static SHA256_DIGEST_LENGTH],
                     const AttestedFacts *facts) {
        Verified *verified;

        pthread_mutex_lock(&attestor->mutex);
        verified = &attestor->verified[attestor->n_verified++ % VERIFIED_MAX];
        memcpy(verified->digest, digest, SHA256_DIGEST_LENGTH);
        verified->facts = *facts;
        pthread_mutex_unlock(&attestor->mutex);
}

int attestor_verify(Attestor *attestor, const uint8_t *document, size_t size, int64_t now,
                    AttestedFacts *ret, const char **ret_reason) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        AttestedFacts facts;
        const char *reason = NULL;

        SHA256(document, size, digest);
        if (!recall(attestor, digest, &facts)) {
                reason = document_verify(attestor->roots, (Bytes){ document, size }, now, &facts);
                if (!reason)
                        remember(attestor, digest, &facts);
        }
        if (!reason)
                reason = check_age(facts.timestamp_msec, now);
        if (reason) {
                *ret_reason = reason;
                return -EBADMSG;
        }
        *ret = facts;
        return 0;
}
