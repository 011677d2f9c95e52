/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A job works on a struct of its own. While the job runs, only its thread touches that struct; everything else here belongs
 * to the event loop. The TPM is open only while it is in use, because /dev/tpm0 admits one opener at a time.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attestation/document.h"
#include "basic/clock.h"
#include "basic/log.h"
#include "basic/openssl-util.h"
#include "basic/worker.h"
#include "kms/recipient.h"
#include "tpm/tpm.h"
#include "unsealing/attester.h"

/* KMS accepts a document for five minutes (AWS KMS Developer Guide, "Cryptographic attestation support"). One minute is left
 * for the request. */
#define DOCUMENT_AGE_MAX_USEC (4 * 60 * USEC_PER_SEC)

/* Belongs to the TPM's thread while one of its jobs runs, and for good if the attester is freed meanwhile. */
typedef struct TpmJob {
        Attester *attester; /* for the event loop alone */
        char *device;
        Tpm *tpm;
        unsigned leftovers;
        NsmRequest request;
        uint8_t public_key[NSM_FIELD_MAX]; /* a copy: the key pair may be wiped while a job runs */
        uint8_t *document;
        size_t document_size;
        SecretEvent *events; /* those to measure, and those that are measured */
        size_t events_count, extended;
        bool untouched; /* no job has read the PCRs yet, and no earlier process has begun to extend them */
        unsigned pcr;
        uint8_t pcr_before[PCR_SIZE];
        bool locked_before; /* an unseald that was killed right afterwards had extended the PCR */
        Error error;
        int r;
} TpmJob;

/* Belongs to the key pair's thread while its job runs. */
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

        TpmJob *job;
        uint8_t *document;
        size_t document_size;
        uint64_t document_made_usec;
        PcrSet measured;
};

static int begin_key_pair(void *owner, uint64_t now);
static int begin_tpm(void *owner, uint64_t now);
static int begin_document(void *owner, uint64_t now);

static const Step steps[_ATTESTER_STEPS] = {
        [ATTESTER_KEY_PAIR] = { .name = "key pair", .silence = FAILURE_INTERNAL, .begin = begin_key_pair },
        [ATTESTER_TPM] = { .name = "TPM", .silence = FAILURE_TPM, .begin = begin_tpm },
        [ATTESTER_DOCUMENT] = { .name = "attestation document",
                                .silence = FAILURE_TPM,
                                .begin = begin_document },
        [ATTESTER_MEASURE] = { .name = "measurement", .silence = FAILURE_TPM },
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
        attester->job = calloc(1, sizeof(*attester->job));
        if (!attester->job || !(attester->job->device = strdup(tpm_device)))
                return -ENOMEM;
        attester->job->attester = attester;
        for (size_t i = 0; i < _ATTESTER_STEPS; i++) {
                attester->steps[i] = steps[i];
                attester->steps[i].owner = attester;
        }
        if ((r = worker_new(event, "key-pair", &attester->key_worker)) < 0 ||
            (r = worker_new(event, "tpm", &attester->tpm_worker)) < 0)
                return r;
        *ret = TAKE_PTR(attester);
        return 0;
}

Step *attester_step(Attester *attester, AttesterStep step) {
        return attester->steps + step;
}

/* A step runs only if its job was submitted: attester_is_busy() must not wait for a job that never ends. */
static int begin(Attester *attester, AttesterStep step, WorkerJob job, WorkerDone done, uint64_t now) {
        Worker *worker = step == ATTESTER_KEY_PAIR ? attester->key_worker : attester->tpm_worker;
        int r = worker_submit(worker, job, done,
                              step == ATTESTER_KEY_PAIR ? (void *) attester : attester->job);

        if (r >= 0)
                step_begin(attester->steps + step, now);
        return r;
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

static int begin_key_pair(void *owner, uint64_t now) {
        return begin(owner, ATTESTER_KEY_PAIR, key_pair_job, key_pair_made, now);
}

static void prepare_job(void *userdata) {
        TpmJob *job = userdata;

        job->r = tpm_open(job->device, &job->tpm, &job->error);
        if (job->r >= 0)
                job->r = tpm_prepare(job->tpm, &job->leftovers, &job->error);
        if (job->r < 0)
                job->tpm = tpm_close(job->tpm);
}

static void tpm_prepared(void *userdata) {
        TpmJob *job = userdata;

        if (job->leftovers > 0)
                log_full(LOG_NOTICE, &(LogFields){ .message_id = MESSAGE_LEFTOVERS },
                         "Removed %u object(s) from the TPM that a killed client, unseald or another that attests, had left there.",
                         job->leftovers);
        job->leftovers = 0;
        end(job->attester, ATTESTER_TPM, job->r, &job->error);
}

static int begin_tpm(void *owner, uint64_t now) {
        return begin(owner, ATTESTER_TPM, prepare_job, tpm_prepared, now);
}

static void attest_job(void *userdata) {
        TpmJob *job = userdata;

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

/* Reads our own document back. It must carry our public key, and it says what this boot measured. */
static int take_document(Attester *attester, Error *error) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        TpmJob *job = attester->job;
        Slice key;
        int r;

        r = attestation_parse(job->document, job->document_size, &document, error);
        if (r < 0)
                return r;
        key = recipient_public_key(attester->recipient);
        if (document->public_key.size != key.size ||
            memcmp(document->public_key.data, key.data, key.size) != 0)
                return error_set(
                                error, -EBADMSG, FAILURE_ATTESTATION,
                                "The TPM's attestation document carries another public key than unseald's.");
        attester->measured = pcrs_of(document);
        free(attester->document);
        attester->document = TAKE_PTR(job->document);
        attester->document_size = TAKE(job->document_size, 0);
        attester->document_made_usec = now_monotonic_usec();
        return 0;
}

static void document_made(void *userdata) {
        TpmJob *job = userdata;
        Attester *attester = job->attester;
        Error error = job->error;
        int r = job->r;

        if (r >= 0 && !attester->stopped)
                r = take_document(attester, &error);
        free(TAKE_PTR(job->document));
        if (r < 0 && !attester->stopped)
                step_reset(attester->steps + ATTESTER_TPM);
        end(attester, ATTESTER_DOCUMENT, r, &error);
}

static int begin_document(void *owner, uint64_t now) {
        Attester *attester = owner;
        TpmJob *job = attester->job;
        Slice key;

        if (attester->steps[ATTESTER_TPM].progress != STEP_DONE ||
            attester->steps[ATTESTER_KEY_PAIR].progress != STEP_DONE)
                return 0;

        key = recipient_public_key(attester->recipient);
        assert(key.size <= sizeof(job->public_key));
        memcpy(job->public_key, key.data, key.size);
        job->request = (NsmRequest){ .public_key = { job->public_key, key.size } };
        return begin(attester, ATTESTER_DOCUMENT, attest_job, document_made, now);
}

bool attester_document_is_old(const Attester *attester, uint64_t now) {
        return attester->steps[ATTESTER_DOCUMENT].progress == STEP_DONE &&
               now - attester->document_made_usec > DOCUMENT_AGE_MAX_USEC;
}

Slice attester_document(const Attester *attester, uint64_t now) {
        if (attester->steps[ATTESTER_DOCUMENT].progress != STEP_DONE ||
            attester_document_is_old(attester, now))
                return (Slice){};
        return (Slice){ .data = attester->document, .size = attester->document_size };
}

const PcrSet *attester_measured(const Attester *attester) {
        return &attester->measured;
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

/* Finds the first event of a PCR that is to be extended. */
static int find_event(TpmJob *job, unsigned pcr, const uint8_t value[static PCR_SIZE], size_t *ret) {
        int r = secret_events_find(job->events, job->events_count, pcr, value, ret);

        if (r == -ENOENT && job->untouched) {
                *ret = job->extended;
                r = secret_events_rebase(job->events, job->events_count, job->extended, pcr, value);
        }
        if (r == -ENOENT)
                return error_set(
                                &job->error, r, FAILURE_TPM,
                                "PCR%u has a value that the sealed secrets of MeasurePcr=%u do not lead to: another program extends it, too, so unseald cannot know whether they are in it. Reboot, and choose a PCR for MeasurePcr= that nothing else extends.",
                                pcr, pcr);
        return r < 0 ? openssl_error(&job->error, "hash the events of MeasurePcr=") : 0;
}

/* What the values of the PCRs show is not extended again: an unseald that was killed, or a failed attempt, may have done it. */
static int measure(TpmJob *job, Tpm *tpm) {
        size_t next[PCR_COUNT] = {};
        uint32_t mask = 0;
        PcrSet pcrs;
        int r;

        for (size_t i = job->extended; i < job->events_count; i++)
                mask |= UINT32_C(1) << job->events[i].pcr;
        r = tpm_read_pcrs(tpm, mask, &pcrs, &job->error);
        for (unsigned pcr = 0; pcr < PCR_COUNT && r >= 0; pcr++)
                if (mask & UINT32_C(1) << pcr)
                        r = find_event(job, pcr, pcrs.value[pcr], next + pcr);
        if (r < 0)
                return r;
        job->untouched = false;
        for (size_t i = job->extended; i < job->events_count && r >= 0; i++)
                if (i >= next[job->events[i].pcr])
                        r = tpm_extend_pcr(tpm, job->events[i].pcr, job->events[i].digest, &job->error);
        return r;
}

static void measure_job(void *userdata) {
        TpmJob *job = userdata;
        _cleanup_(tpm_closep) Tpm *tpm = NULL;

        job->tpm = tpm_close(job->tpm);
        job->r = tpm_open(job->device, &tpm, &job->error);
        if (job->r >= 0)
                job->r = measure(job, tpm);
}

static void measured(void *userdata) {
        TpmJob *job = userdata;

        end(job->attester, ATTESTER_MEASURE, job->r, &job->error);
}

int attester_measure(Attester *attester, const SecretEvent *events, size_t count, size_t extended,
                     bool untouched, uint64_t now) {
        TpmJob *job = attester->job;
        int r;

        /* A document may be in the making that nobody needs any more. Its job has the same struct. */
        if (attester_is_busy(attester))
                return 0;
        if (!job->events) {
                job->events = calloc(count + 1, sizeof(*events));
                if (!job->events)
                        return -ENOMEM;
                memcpy(job->events, events, count * sizeof(*events));
                job->events_count = count;
                job->extended = extended;
                job->untouched = untouched;
        }
        if (!step_may_begin(attester->steps + ATTESTER_MEASURE, now))
                return 0;
        r = begin(attester, ATTESTER_MEASURE, measure_job, measured, now);
        return r < 0 ? r : 1;
}

/* The value of the PCR shows whether a killed unseald has extended it already. */
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
        if (pcr_lock_digest(digest) < 0)
                return openssl_error(&job->error, "hash the event that locks the PCR");
        return tpm_extend_pcr(tpm, job->pcr, digest, &job->error);
}

static void lock_job(void *userdata) {
        TpmJob *job = userdata;
        _cleanup_(tpm_closep) Tpm *tpm = NULL;

        job->tpm = tpm_close(job->tpm);
        job->r = tpm_open(job->device, &tpm, &job->error);
        if (job->r >= 0)
                job->r = lock_pcr(job, tpm);
}

static void pcr_locked(void *userdata) {
        TpmJob *job = userdata;

        end(job->attester, ATTESTER_LOCK, job->r, &job->error);
}

int attester_lock(Attester *attester, unsigned pcr, const uint8_t before[static PCR_SIZE], uint64_t now) {
        if (!step_may_begin(attester->steps + ATTESTER_LOCK, now))
                return 0;
        attester->job->pcr = pcr;
        memcpy(attester->job->pcr_before, before, PCR_SIZE);
        return begin(attester, ATTESTER_LOCK, lock_job, pcr_locked, now);
}

bool attester_was_locked_before(const Attester *attester) {
        return attester->job->locked_before;
}

void attester_stop(Attester *attester) {
        attester->stopped = true;
}

bool attester_is_busy(const Attester *attester) {
        for (size_t i = 0; i < _ATTESTER_STEPS; i++)
                if (i != ATTESTER_KEY_PAIR && attester->steps[i].progress == STEP_RUNNING)
                        return true;
        return false;
}

void attester_forget(Attester *attester) {
        /* The thread must end first: it may still be opening an optional secret. */
        attester->key_worker = worker_free(attester->key_worker);
        while (attester->openings) {
                Opening *opening = attester->openings;

                attester->openings = opening->next;
                (void) secret_free(opening->plaintext);
                free(opening);
        }
        attester->recipient = recipient_free(attester->recipient);
}

/* In the TPM's thread, if its job was running when the attester was freed. */
static void tpm_job_free(void *userdata) {
        TpmJob *job = userdata;

        if (!job)
                return;
        (void) tpm_close(job->tpm);
        free(job->document);
        free(job->events);
        free(job->device);
        free(job);
}

Attester *attester_free(Attester *attester) {
        if (!attester)
                return NULL;
        attester_forget(attester);
        worker_abandon(TAKE_PTR(attester->tpm_worker), tpm_job_free, attester->job);
        for (AttesterStep i = 0; i < _ATTESTER_STEPS; i++)
                step_forget_error(attester->steps + i);
        free(attester->document);
        free(attester);
        return NULL;
}
