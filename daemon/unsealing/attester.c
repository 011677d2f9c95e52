/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A job is given what it works on, and alone touches it until it has ended; everything else here belongs to the event loop.
 * The TPM is open only while it is used: /dev/tpm0 has one opener at a time.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attestation/document.h"
#include "basic/clock.h"
#include "basic/log.h"
#include "basic/worker.h"
#include "kms/recipient.h"
#include "tpm/tpm.h"
#include "unsealing/attester.h"

/* The TPM's thread's while a job of it runs. */
typedef struct TpmJob {
        const char *device;
        Tpm *tpm;
        unsigned leftovers;
        NsmRequest request;
        uint8_t public_key[NSM_FIELD_MAX]; /* a copy: the key pair may go while a job runs */
        uint8_t *document;
        size_t document_size;
        unsigned pcr;
        uint8_t pcr_before[PCR_SIZE];
        bool locked_before; /* by an unseald that was killed right after it */
        Error error;
        int r;
} TpmJob;

/* The key pair's thread's while it runs. */
typedef struct Opening Opening;
struct Opening {
        Attester *attester;
        AttesterOpened opened;
        void *userdata;
        Secret *plaintext;
        Error error;
        int r;
        Opening *next;
        size_t size;
        uint8_t envelope[];
};

struct Attester {
        unsigned rsa_key_bits;
        AttesterEnded ended;
        void *userdata;
        Worker *key_worker, *tpm_worker;
        Step steps[_ATTESTER_STEPS];
        bool stopped;

        Recipient *recipient;
        Error key_pair_error; /* from the key thread */
        int key_pair_r;
        Opening *openings;

        TpmJob job;
        uint8_t *document;
        size_t document_size;
        uint64_t document_made_usec;
        PcrSet measured;
};

static const Step steps[_ATTESTER_STEPS] = {
        [ATTESTER_KEY_PAIR] = { .name = "key pair", .silence = FAILURE_INTERNAL },
        [ATTESTER_TPM] = { .name = "TPM", .silence = FAILURE_TPM },
        [ATTESTER_DOCUMENT] = { .name = "attestation document", .silence = FAILURE_TPM },
        [ATTESTER_LOCK] = { .name = "lock", .silence = FAILURE_TPM },
};

int attester_new(sd_event *event, unsigned rsa_key_bits, const char *tpm_device, AttesterEnded ended,
                 void *userdata, Attester **ret) {
        _cleanup_(attester_freep) Attester *attester = calloc(1, sizeof(*attester));
        int r;

        if (!attester)
                return -ENOMEM;
        attester->rsa_key_bits = rsa_key_bits;
        attester->ended = ended;
        attester->userdata = userdata;
        attester->job.device = tpm_device;
        memcpy(attester->steps, steps, sizeof(steps));
        if ((r = worker_new(event, "key-pair", &attester->key_worker)) < 0 ||
            (r = worker_new(event, "tpm", &attester->tpm_worker)) < 0)
                return r;
        *ret = TAKE_PTR(attester);
        return 0;
}

Step *attester_step(Attester *attester, AttesterStep step) {
        return attester->steps + step;
}

static void end(Attester *attester, AttesterStep step, int r, const Error *error) {
        if (attester->stopped)
                attester->steps[step].progress = STEP_IDLE;
        attester->ended(attester->steps + step, r, error, attester->userdata);
}

static void key_pair_job(void *userdata) {
        Attester *attester = userdata;

        attester->key_pair_r = recipient_new(attester->rsa_key_bits, &attester->recipient,
                                             &attester->key_pair_error);
}

static void key_pair_made(void *userdata) {
        Attester *attester = userdata;

        end(attester, ATTESTER_KEY_PAIR, attester->key_pair_r, &attester->key_pair_error);
}

static int begin_key_pair(Attester *attester, uint64_t now) {
        Step *step = attester->steps + ATTESTER_KEY_PAIR;

        if (!step_may_begin(step, now))
                return 0;
        step_begin(step, now);
        return worker_submit(attester->key_worker, key_pair_job, key_pair_made, attester);
}

static void prepare_job(void *userdata) {
        TpmJob *job = &((Attester *) userdata)->job;

        job->r = tpm_open(job->device, &job->tpm, &job->error);
        if (job->r >= 0)
                job->r = tpm_prepare(job->tpm, &job->leftovers, &job->error);
        if (job->r < 0)
                job->tpm = tpm_close(job->tpm);
}

static void tpm_prepared(void *userdata) {
        Attester *attester = userdata;
        TpmJob *job = &attester->job;

        if (job->leftovers > 0)
                log_full(LOG_NOTICE, &(LogFields){ .message_id = MESSAGE_LEFTOVERS },
                         "Removed %u object(s) from the TPM that an unseald which was killed left there.",
                         job->leftovers);
        job->leftovers = 0;
        end(attester, ATTESTER_TPM, job->r, &job->error);
}

static int begin_tpm(Attester *attester, uint64_t now) {
        Step *step = attester->steps + ATTESTER_TPM;

        if (attester->steps[ATTESTER_DOCUMENT].progress == STEP_DONE || !step_may_begin(step, now))
                return 0;
        step_begin(step, now);
        return worker_submit(attester->tpm_worker, prepare_job, tpm_prepared, attester);
}

static void attest_job(void *userdata) {
        TpmJob *job = &((Attester *) userdata)->job;

        job->r = tpm_attest(job->tpm, &job->request, &job->document, &job->document_size, &job->error);
        job->tpm = tpm_close(job->tpm);
}

static PcrSet pcrs_of(const AttestationDocument *document) {
        PcrSet pcrs = {};

        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (document->pcrs[i].size == PCR_SIZE) {
                        memcpy(pcrs.value[i], document->pcrs[i].data, PCR_SIZE);
                        pcrs.present |= UINT32_C(1) << i;
                }
        return pcrs;
}

/* Our own document, read back: it must carry our public key, and it tells what this boot measured. */
static int take_document(Attester *attester, Error *error) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        TpmJob *job = &attester->job;
        const uint8_t *key;
        size_t key_size;
        int r;

        r = attestation_parse(job->document, job->document_size, &document, error);
        if (r < 0)
                return r;
        recipient_public_key(attester->recipient, &key, &key_size);
        if (document->public_key.size != key_size || memcmp(document->public_key.data, key, key_size) != 0)
                return error_set(
                                error, -EBADMSG, FAILURE_ATTESTATION,
                                "The TPM's attestation document carries another public key than the one given.");
        attester->measured = pcrs_of(document);
        free(attester->document);
        attester->document = TAKE_PTR(job->document);
        attester->document_size = TAKE(job->document_size, 0);
        attester->document_made_usec = now_monotonic_usec();
        return 0;
}

static void document_made(void *userdata) {
        Attester *attester = userdata;
        Error error = attester->job.error;
        int r = attester->job.r;

        if (r >= 0 && !attester->stopped)
                r = take_document(attester, &error);
        free(TAKE_PTR(attester->job.document));
        if (r < 0 && !attester->stopped)
                step_reset(attester->steps + ATTESTER_TPM);
        end(attester, ATTESTER_DOCUMENT, r, &error);
}

static int begin_document(Attester *attester, uint64_t now) {
        Step *step = attester->steps + ATTESTER_DOCUMENT;
        TpmJob *job = &attester->job;
        const uint8_t *key;
        size_t size;

        if (attester->steps[ATTESTER_TPM].progress != STEP_DONE ||
            attester->steps[ATTESTER_KEY_PAIR].progress != STEP_DONE || !step_may_begin(step, now))
                return 0;

        recipient_public_key(attester->recipient, &key, &size);
        assert(size <= sizeof(job->public_key));
        memcpy(job->public_key, key, size);
        job->request = (NsmRequest){ .public_key = job->public_key, .public_key_size = size };
        step_begin(step, now);
        return worker_submit(attester->tpm_worker, attest_job, document_made, attester);
}

int attester_begin(Attester *attester, uint64_t now) {
        int r;

        if ((r = begin_key_pair(attester, now)) < 0 || (r = begin_tpm(attester, now)) < 0)
                return r;
        return begin_document(attester, now);
}

AttesterDocument attester_document(const Attester *attester) {
        return (AttesterDocument){
                .data = attester->steps[ATTESTER_DOCUMENT].progress == STEP_DONE ? attester->document : NULL,
                .size = attester->document_size,
                .made_usec = attester->document_made_usec,
                .measured = &attester->measured,
        };
}

void attester_renew(Attester *attester) {
        step_reset(attester->steps + ATTESTER_TPM);
        step_reset(attester->steps + ATTESTER_DOCUMENT);
}

static void open_job(void *userdata) {
        Opening *opening = userdata;

        opening->r = recipient_open(opening->attester->recipient, opening->envelope, opening->size,
                                    &opening->plaintext, &opening->error);
}

static void unlink_opening(Opening *opening) {
        Opening **place = &opening->attester->openings;

        while (*place != opening)
                place = &(*place)->next;
        *place = opening->next;
}

static void envelope_opened(void *userdata) {
        Opening *opening = userdata;

        unlink_opening(opening);
        opening->opened(opening->r, opening->plaintext, &opening->error, opening->userdata);
        free(opening);
}

int attester_open(Attester *attester, const uint8_t *envelope, size_t size, AttesterOpened opened,
                  void *userdata) {
        Opening *opening = malloc(sizeof(*opening) + size);
        int r;

        if (!opening)
                return -ENOMEM;
        *opening = (Opening){ .attester = attester, .opened = opened, .userdata = userdata, .size = size };
        memcpy(opening->envelope, envelope, size);
        r = worker_submit(attester->key_worker, open_job, envelope_opened, opening);
        if (r < 0) {
                free(opening);
                return r;
        }
        opening->next = attester->openings;
        attester->openings = opening;
        return 0;
}

/* Whether an unseald that was killed has done it already is told by the PCR itself. */
static int lock_pcr(TpmJob *job, Tpm *tpm) {
        uint8_t digest[PCR_SIZE];
        PcrSet pcrs;
        int r;

        r = tpm_read_pcrs(tpm, UINT32_C(1) << job->pcr, &pcrs, &job->error);
        if (r < 0)
                return r;
        job->locked_before = pcr_is_locked(pcrs.value[job->pcr], job->pcr_before) ||
                             pcr_is_locked(pcrs.value[job->pcr], NULL);
        if (job->locked_before)
                return 0;
        r = pcr_lock_digest(digest);
        return r < 0 ? error_oom(&job->error) : tpm_extend_pcr(tpm, job->pcr, digest, &job->error);
}

static void lock_job(void *userdata) {
        TpmJob *job = &((Attester *) userdata)->job;
        _cleanup_(tpm_closep) Tpm *tpm = NULL;

        job->tpm = tpm_close(job->tpm);
        job->r = tpm_open(job->device, &tpm, &job->error);
        if (job->r >= 0)
                job->r = lock_pcr(job, tpm);
}

static void pcr_locked(void *userdata) {
        Attester *attester = userdata;

        end(attester, ATTESTER_LOCK, attester->job.r, &attester->job.error);
}

int attester_lock(Attester *attester, unsigned pcr, const uint8_t before[static PCR_SIZE], uint64_t now) {
        Step *step = attester->steps + ATTESTER_LOCK;

        if (!step_may_begin(step, now))
                return 0;
        attester->job.pcr = pcr;
        memcpy(attester->job.pcr_before, before, PCR_SIZE);
        step_begin(step, now);
        return worker_submit(attester->tpm_worker, lock_job, pcr_locked, attester);
}

bool attester_was_locked_before(const Attester *attester) {
        return attester->job.locked_before;
}

void attester_stop(Attester *attester) {
        attester->stopped = true;
}

bool attester_is_busy(const Attester *attester) {
        return attester->steps[ATTESTER_TPM].progress == STEP_RUNNING ||
               attester->steps[ATTESTER_DOCUMENT].progress == STEP_RUNNING ||
               attester->steps[ATTESTER_LOCK].progress == STEP_RUNNING;
}

void attester_forget(Attester *attester) {
        /* The thread first: it may still be opening an optional secret. */
        attester->key_worker = worker_free(attester->key_worker);
        while (attester->openings) {
                Opening *opening = attester->openings;

                attester->openings = opening->next;
                (void) secret_free(opening->plaintext);
                free(opening);
        }
        attester->recipient = recipient_free(attester->recipient);
}

Attester *attester_free(Attester *attester) {
        if (!attester)
                return NULL;
        attester_forget(attester);
        attester->tpm_worker = worker_free(attester->tpm_worker);
        attester->job.tpm = tpm_close(attester->job.tpm);
        free(attester->job.document);
        free(attester->document);
        free(attester);
        return NULL;
}
