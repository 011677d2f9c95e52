/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The story of one unsealing:
 *
 *     key pair ──────┐
 *     TPM prepared ──┴─ document ──┐
 *     credentials, account, data ──┼── every secret: fetched → sealed → decrypted → probed → unsealed ──┐
 *     connection ──────────────────┘                                                                    │
 *            all required secrets unsealed → kept → PCR locked → published → key pair wiped → ended ────┘
 *                       kept over a restart ───┘
 *
 * By hand (unsealctl unseal) the secrets are handed over in place of kept and published.
 *
 * There is one function that moves it on, session_advance(): it starts whatever can be started now and is called whenever
 * something changed. Each thing that can fail and be tried again is an Activity; what failed for good ends the session.
 * Nothing waits for what it does not need: key pair, TPM and document are made while there is no network yet.
 */

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>

#include "basic/clock.h"
#include "basic/http.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/log.h"
#include "basic/retry.h"
#include "basic/worker.h"
#include "config/ini.h"
#include "unsealing/explain.h"
#include "attestation/document.h"
#include "aws/imds.h"
#include "unsealing/network.h"
#include "tpm/pcr.h"
#include "tpm/tpm.h"
#include "kms/client.h"
#include "kms/recipient.h"
#include "source/fetch.h"
#include "source/source.h"
#include "unsealing/session.h"
#include "unsealing/status.h"
#include "vault/kept.h"
#include "memory/secret.h"
#include "vault/store.h"

/* Enough that a hundred secrets take little longer than one, few enough for a small instance's memory. */
#define CONNECTIONS_MAX 16U

/* KMS takes a document for five minutes. */
#define DOCUMENT_AGE_MAX_USEC (4 * 60 * USEC_PER_SEC)

/* How often it is asked whether a key is gated, where the answer is only for people (VerifyPolicy=warn); and no more after
 * an attempt that took so long. */
#define PROBES_MAX 3U
#define PROBE_PATIENCE_USEC (5 * USEC_PER_SEC)

/* What a failure waits for the TPM's thread, lest a key or a session stay in the TPM for the whole boot. */
#define TPM_LAST_JOB_USEC (5 * USEC_PER_SEC)

#define MEASUREMENTS_FILE_MAX (64U * 1024U)
#define STEPS_MAX 8
#define PROBE_UNKNOWN "Whether KMS would give the secret without attestation is not known. "
#define ACCOUNT_CONTEXT "unseald:account="

typedef enum Progress {
        PROGRESS_IDLE, /* not begun, or failed and waiting for its next attempt */
        PROGRESS_RUNNING,
        PROGRESS_DONE,
} Progress;

typedef struct Activity {
        const char *name;
        Progress progress;
        unsigned attempts;
        unsigned failures; /* in a row, on the same network: what the backoff grows with */
        uint64_t begun_usec, not_before_usec;
        Error error; /* of the last attempt; FAILURE_NONE: none, or it went well */
} Activity;

typedef enum SecretState {
        SECRET_DECLARED,
        SECRET_FETCHING,   /* its carrier is asked over the network */
        SECRET_SEALED,     /* the ciphertext is here */
        SECRET_DECRYPTING, /* KMS is asked */
        SECRET_OPENING,    /* KMS answered, the envelope is being opened */
        SECRET_OPENED,     /* it is here; whether KMS would give it to anybody is to be asked */
        SECRET_PROBING,    /* that is asked */
        SECRET_UNSEALED,
        SECRET_KEPT, /* in the service manager's hands, now or since before a restart */
        SECRET_PUBLISHED,
        SECRET_FAILED,
} SecretState;

static const char *const secret_state_names[] = {
        [SECRET_DECLARED] = "declared",     [SECRET_FETCHING] = "fetching", [SECRET_SEALED] = "sealed",
        [SECRET_DECRYPTING] = "decrypting", [SECRET_OPENING] = "opening",   [SECRET_OPENED] = "opened",
        [SECRET_PROBING] = "probing",       [SECRET_UNSEALED] = "unsealed", [SECRET_KEPT] = "kept",
        [SECRET_PUBLISHED] = "published",   [SECRET_FAILED] = "failed",
};

/* A KMS endpoint: one for every Region that a key is in, KmsEndpoint= or not: the Region is signed for. */
typedef struct Endpoint {
        char *url;
        char region[sizeof(((KmsKeyArn *) NULL)->region)];
        KmsClient *client;
        Session *session;
        Activity connection;
        unsigned connecting; /* connections whose outcome is awaited */
        unsigned requests;   /* whose answer is awaited */
        unsigned secrets;    /* how many use it */
} Endpoint;

/* One secret on its way. */
typedef struct Passage {
        Session *session;
        const Declaration *declaration;
        Endpoint *endpoint;
        Activity fetch, decryption, probe;
        const char *policy; /* what the probe found: "gates", "open", "unknown"; NULL: not asked */
        SecretState state;
        uid_t uid;
        gid_t gid;
        char source_region[sizeof(((KmsKeyArn *) NULL)->region)];
        char partition[sizeof(((KmsKeyArn *) NULL)->partition)];
        uint8_t *ciphertext; /* NULL: not fetched yet */
        size_t ciphertext_size;
        uint8_t *envelope; /* while OPENING, the key thread's */
        size_t envelope_size;
        Secret *plaintext;
        char request_id[64];
        uint64_t begun_usec, duration_usec;
        Error opening_error; /* from the key thread */
        int r;               /* from the key thread */
} Passage;

/* What the TPM's thread works on; it alone touches it while a job runs. */
typedef struct Attestor {
        const char *device;
        Tpm *tpm;
        unsigned leftovers;
        NsmRequest request;
        uint8_t public_key[NSM_FIELD_MAX]; /* a copy: the key pair may go while a job runs */
        uint8_t *document;
        size_t document_size;
        Error error;
        int r;
} Attestor;

/* Likewise, for the lock. */
typedef struct Lock {
        KeptLock wanted;
        bool done_before; /* by an unseald that was killed right after it */
        Error error;
        int r;
} Lock;

struct Session {
        sd_event *event;
        SessionOptions options;
        SessionEnded callback;
        void *userdata;

        Worker *key_worker, *tpm_worker;
        Network *network;
        HttpClient *imds_http, *kms_http;
        X509_STORE *trusted;
        Imds *imds;
        Fetcher *fetcher;
        Store *store;
        sd_event_source *deadline, *retry, *ended;

        Activity key_pair, tpm, document, credentials, identity, user_data, lock;
        Recipient *recipient;
        Error key_pair_error; /* from the key thread */
        int key_pair_r;
        Attestor attestor;
        Lock locking;
        uint8_t *document_bytes;
        size_t document_size;
        uint64_t document_made_usec;
        bool document_renewed; /* because KMS did not like the first: once */
        uint64_t network_changed_usec;
        PcrSet measured;
        AwsCredentials role_credentials;
        char role[128];
        char account_context[sizeof(ACCOUNT_CONTEXT) + IMDS_ACCOUNT_SIZE];
        char *user_data_text; /* NULL: none wanted, or none there */
        size_t user_data_size;

        Endpoint *endpoints;
        size_t endpoints_count;
        Passage *passages;
        size_t passages_count;
        unsigned fetching, decrypting;

        StatusStep steps[STEPS_MAX];
        size_t steps_count;

        bool kept;   /* all that will be had is, or is handed over; what is left is to lock and publish */
        bool ending; /* the outcome is known, nothing new is begun */
        bool told;   /* it is told, too; only the TPM's thread may be waited for */
        Error error; /* the outcome; FAILURE_NONE: all well */
        Passage *failed;                         /* whose failure it is; NULL: that of what all need */
        char explanation[EXPLANATION_MAX + 256]; /* of a denial */
        char waiting[sizeof(((Error *) NULL)->text)];
};

static void session_advance(Session *session);
static void passage_failed(Passage *passage, const Error *error);
static void passage_retry(Passage *passage, const Error *error);
static void session_fail(Session *session, Passage *passage, const Error *error);
static void session_end(Session *session);

static bool activity_may_begin(const Activity *activity, uint64_t now) {
        return activity->progress == PROGRESS_IDLE && now >= activity->not_before_usec;
}

static void activity_begin(Activity *activity, uint64_t now) {
        activity->progress = PROGRESS_RUNNING;
        activity->begun_usec = now;
        activity->attempts++;
}

static void session_record_step(Session *session, const Activity *activity) {
        char duration[DURATION_STRING_MAX];
        StatusStep step = {
                .name = activity->name,
                .start_usec = activity->begun_usec,
                .duration_usec = now_monotonic_usec() - activity->begun_usec,
        };

        if (session->steps_count < STEPS_MAX)
                session->steps[session->steps_count++] = step;
        log_full(LOG_INFO,
                 &(LogFields){ .message_id = MESSAGE_STEP,
                               .state = activity->name,
                               .duration_usec = step.duration_usec,
                               .attempt = activity->attempts },
                 "%s: done in %s.", activity->name, format_duration(step.duration_usec, duration));
}

static void activity_done(Session *session, Activity *activity) {
        activity->progress = PROGRESS_DONE;
        activity->failures = 0;
        activity->error = (Error){};
        session->waiting[0] = 0;
        session_record_step(session, activity);
}

/* Needed again, at once: what it made has expired. */
static void activity_reset(Activity *activity) {
        activity->progress = PROGRESS_IDLE;
        activity->not_before_usec = 0;
}

static void session_say_waiting(Session *session, const Activity *activity, const char *secret,
                                uint64_t delay) {
        char duration[DURATION_STRING_MAX];
        /* The first attempts one by one, then fewer and fewer: the journal is read by people. */
        bool loud = (activity->attempts & (activity->attempts - 1)) == 0;

        (void) snprintf(session->waiting, sizeof(session->waiting), "%s", activity->error.text);
        log_full(loud ? LOG_NOTICE : LOG_DEBUG,
                 &(LogFields){ .message_id = MESSAGE_WAITING,
                               .secret = secret,
                               .state = activity->name,
                               .attempt = activity->attempts,
                               .error = &activity->error },
                 "%s%s%s: attempt %u failed, next in %s: %s", activity->name, secret ? " of " : "",
                 secret ?: "", activity->attempts, format_duration(delay, duration), activity->error.text);
}

static bool is_of_network(const Error *error) {
        return error->failure == FAILURE_NETWORK || error->failure == FAILURE_IMDS;
}

/* To be tried again later. */
static void activity_postpone(Session *session, Activity *activity, const char *secret, const Error *error) {
        uint64_t random, delay;

        if (session->ending) {
                activity->progress = PROGRESS_IDLE;
                return;
        }
        /* Jitter needs no secrecy, and early in a boot nobody shall wait for entropy. */
        if (getrandom(&random, sizeof(random), GRND_INSECURE) < 0)
                random = now_monotonic_usec() * UINT64_C(0x9e3779b97f4a7c15);
        delay = retry_delay_usec(++activity->failures, error->retry_after_usec, random);
        /* It failed on a network that is not that of now any more. */
        if (is_of_network(error) && session->network_changed_usec >= activity->begun_usec)
                delay = 0;

        activity->progress = PROGRESS_IDLE;
        activity->error = *error;
        activity->not_before_usec = now_monotonic_usec() + delay;
        session_say_waiting(session, activity, secret, delay);
}

/* An activity that all secrets need has failed. */
static void session_shared_failed(Session *session, Activity *activity, const Error *error) {
        if (error->remedy == REMEDY_NONE) {
                activity->progress = PROGRESS_IDLE;
                activity->error = *error;
                session_fail(session, NULL, error);
        } else
                activity_postpone(session, activity, NULL, error);
}

/* The key pair, in its own thread. */

static void key_pair_job(void *userdata) {
        Session *session = userdata;

        session->key_pair_r = recipient_new(session->options.settings->rsa_key_bits, &session->recipient,
                                            &session->key_pair_error);
}

static void key_pair_made(void *userdata) {
        Session *session = userdata;

        if (session->key_pair_r < 0)
                session_shared_failed(session, &session->key_pair, &session->key_pair_error);
        else
                activity_done(session, &session->key_pair);
        session_advance(session);
}

static int begin_key_pair(Session *session, uint64_t now) {
        if (!activity_may_begin(&session->key_pair, now))
                return 0;
        activity_begin(&session->key_pair, now);
        return worker_submit(session->key_worker, key_pair_job, key_pair_made, session);
}

static void attestor_prepare(void *userdata) {
        Attestor *attestor = userdata;

        attestor->r = tpm_open(attestor->device, &attestor->tpm, &attestor->error);
        if (attestor->r >= 0)
                attestor->r = tpm_prepare(attestor->tpm, &attestor->leftovers, &attestor->error);
        if (attestor->r < 0)
                attestor->tpm = tpm_close(attestor->tpm);
}

static void attestor_attest(void *userdata) {
        Attestor *attestor = userdata;

        attestor->r = tpm_attest(attestor->tpm, &attestor->request, &attestor->document,
                                 &attestor->document_size, &attestor->error);
        /* Others want it too: /dev/tpm0 has one opener at a time. */
        attestor->tpm = tpm_close(attestor->tpm);
}

static void prepare_job(void *userdata) {
        Session *session = userdata;

        attestor_prepare(&session->attestor);
}

static void attest_job(void *userdata) {
        Session *session = userdata;

        attestor_attest(&session->attestor);
}

/* Its thread is done, for nothing: the session has failed meanwhile. */
static void session_lose_tpm(Session *session, Activity *activity) {
        activity->progress = PROGRESS_IDLE;
        if (session->told)
                session_end(session);
}

static void tpm_prepared(void *userdata) {
        Session *session = userdata;
        Attestor *attestor = &session->attestor;

        if (attestor->leftovers > 0)
                log_full(LOG_NOTICE, &(LogFields){ .message_id = MESSAGE_LEFTOVERS },
                         "Removed %u object(s) from the TPM that an unseald which was killed left there.",
                         attestor->leftovers);
        attestor->leftovers = 0;

        if (session->ending) {
                session_lose_tpm(session, &session->tpm);
                return;
        }
        if (attestor->r < 0)
                session_shared_failed(session, &session->tpm, &attestor->error);
        else
                activity_done(session, &session->tpm);
        session_advance(session);
}

static int begin_tpm(Session *session, uint64_t now) {
        if (session->document.progress == PROGRESS_DONE || !activity_may_begin(&session->tpm, now))
                return 0;
        activity_begin(&session->tpm, now);
        return worker_submit(session->tpm_worker, prepare_job, tpm_prepared, session);
}

/* Our own document, read back: it must carry our public key, and it tells what this boot measured. */
static int session_take_document(Session *session, Error *error) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        Attestor *attestor = &session->attestor;
        const uint8_t *key;
        size_t key_size;
        int r;

        r = attestation_parse(attestor->document, attestor->document_size, &document, error);
        if (r < 0)
                return r;
        recipient_public_key(session->recipient, &key, &key_size);
        if (document->public_key.size != key_size || memcmp(document->public_key.data, key, key_size) != 0)
                return error_set(error, -EBADMSG, FAILURE_ATTESTATION,
                                 "The TPM's attestation document carries another public key than the one "
                                 "given.");

        session->measured = (PcrSet){};
        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (document->pcrs[i].size == PCR_SIZE) {
                        memcpy(session->measured.value[i], document->pcrs[i].data, PCR_SIZE);
                        session->measured.present |= UINT32_C(1) << i;
                }

        free(session->document_bytes);
        session->document_bytes = TAKE_PTR(attestor->document);
        session->document_size = TAKE(attestor->document_size, 0);
        session->document_made_usec = now_monotonic_usec();
        return 0;
}

static void document_made(void *userdata) {
        Session *session = userdata;
        Error error = session->attestor.error;
        int r = session->attestor.r;

        if (r >= 0 && !session->ending)
                r = session_take_document(session, &error);
        free(TAKE_PTR(session->attestor.document));
        if (session->ending) {
                session_lose_tpm(session, &session->document);
                return;
        }

        if (r >= 0)
                activity_done(session, &session->document);
        else {
                activity_reset(&session->tpm);
                session_shared_failed(session, &session->document, &error);
        }
        session_advance(session);
}

static int begin_document(Session *session, uint64_t now) {
        Attestor *attestor = &session->attestor;
        const uint8_t *key;
        size_t size;

        if (session->tpm.progress != PROGRESS_DONE || session->key_pair.progress != PROGRESS_DONE ||
            !activity_may_begin(&session->document, now))
                return 0;

        recipient_public_key(session->recipient, &key, &size);
        assert(size <= sizeof(attestor->public_key));
        memcpy(attestor->public_key, key, size);
        attestor->request = (NsmRequest){ .public_key = attestor->public_key, .public_key_size = size };
        activity_begin(&session->document, now);
        return worker_submit(session->tpm_worker, attest_job, document_made, session);
}

static void session_renew_document(Session *session) {
        activity_reset(&session->tpm);
        activity_reset(&session->document);
}

static void credentials_got(int r, AwsCredentials *credentials, const char *role, const Error *error,
                            void *userdata) {
        Session *session = userdata;

        if (r < 0)
                session_shared_failed(session, &session->credentials, error);
        else {
                aws_credentials_clear(&session->role_credentials);
                session->role_credentials = TAKE(*credentials, (AwsCredentials){});
                (void) snprintf(session->role, sizeof(session->role), "%s", role);
                for (size_t i = 0; i < session->endpoints_count; i++)
                        kms_client_set_credentials(session->endpoints[i].client, &session->role_credentials);
                fetcher_set_credentials(session->fetcher, &session->role_credentials);
                activity_done(session, &session->credentials);
        }
        session_advance(session);
}

static int begin_credentials(Session *session, uint64_t now) {
        if (!activity_may_begin(&session->credentials, now))
                return 0;
        activity_begin(&session->credentials, now);
        return imds_get_credentials(session->imds, credentials_got, session);
}

/* What IMDS has besides, for the secrets that need it, which may all be optional. */
static void instance_got(Session *session, Activity *activity, int r, const Error *error) {
        if (r >= 0)
                activity_done(session, activity);
        else if (error->remedy != REMEDY_NONE)
                activity_postpone(session, activity, NULL, error);
        else { /* for good */
                activity->error = *error;
                activity->progress = PROGRESS_DONE;
        }
        session_advance(session);
}

/* Whose account this is. A wrong one decrypts nothing that the key's policy does not give to this one's role. */
static void identity_got(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Session *session = userdata;
        char account[IMDS_ACCOUNT_SIZE];
        Error failed = *error;

        if (session->ending)
                return;
        if (r >= 0)
                r = imds_account_parse(data, size, account, &failed);
        if (r >= 0)
                (void) snprintf(session->account_context, sizeof(session->account_context),
                                ACCOUNT_CONTEXT "%s", account);
        instance_got(session, &session->identity, r, &failed);
}

static int begin_identity(Session *session, uint64_t now) {
        bool wanted = false;

        for (size_t i = 0; i < session->passages_count; i++)
                wanted = wanted || (session->passages[i].declaration->bind_account &&
                                    session->passages[i].state < SECRET_UNSEALED);
        if (!wanted || !activity_may_begin(&session->identity, now))
                return 0;
        activity_begin(&session->identity, now);
        return imds_get(session->imds, IMDS_IDENTITY_PATH, identity_got, session);
}

/* Once for all secrets that come from there. */
static void user_data_got(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Session *session = userdata;
        Error failed = *error;

        if (session->ending)
                return;
        if (r == -ENOENT)
                (void) error_set(&failed, r, FAILURE_SOURCE, "This instance has no user data.");
        if (r >= 0) {
                session->user_data_text = malloc(size + 1);
                if (!session->user_data_text)
                        r = error_oom(&failed);
                else
                        memcpy(session->user_data_text, data, session->user_data_size = size);
        }
        instance_got(session, &session->user_data, r, &failed);
}

static int begin_user_data(Session *session, uint64_t now) {
        if (session->user_data.progress == PROGRESS_DONE || !activity_may_begin(&session->user_data, now))
                return 0;
        activity_begin(&session->user_data, now);
        return imds_get(session->imds, "/latest/user-data", user_data_got, session);
}

/* For good: for the secrets that need it, which may all be optional. */
static void endpoint_failed(Endpoint *endpoint, const Error *error) {
        Session *session = endpoint->session;

        if (error->remedy != REMEDY_NONE) {
                activity_postpone(session, &endpoint->connection, NULL, error);
                return;
        }
        endpoint->connection.error = *error;
        endpoint->connection.progress = PROGRESS_DONE;
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].endpoint == endpoint &&
                    session->passages[i].state < SECRET_UNSEALED)
                        passage_failed(session->passages + i, error);
}

/* One of an endpoint's connections is there, or is not: the first that is there will do. */
static void connected(int r, const Error *error, void *userdata) {
        Endpoint *endpoint = userdata;
        Session *session = endpoint->session;

        endpoint->connecting--;
        if (r >= 0 && endpoint->connection.progress == PROGRESS_RUNNING)
                activity_done(session, &endpoint->connection);
        else if (endpoint->connecting == 0 && endpoint->connection.progress == PROGRESS_RUNNING)
                endpoint_failed(endpoint, error);
        session_advance(session);
}

static unsigned endpoint_connections(const Endpoint *endpoint) {
        return endpoint->secrets < CONNECTIONS_MAX ? endpoint->secrets : CONNECTIONS_MAX;
}

/* A request that finds no idle connection opens one more: none is begun while those under way will be there sooner. */
static bool endpoint_is_busy(const Endpoint *endpoint) {
        return endpoint->requests + endpoint->connecting >= endpoint_connections(endpoint);
}

static int begin_connection(Session *session, Endpoint *endpoint, uint64_t now) {
        unsigned wanted = endpoint_connections(endpoint);

        if (!activity_may_begin(&endpoint->connection, now) || endpoint->connecting > 0)
                return 0;
        activity_begin(&endpoint->connection, now);
        for (unsigned i = 0; i < wanted; i++) {
                int r = kms_connect(endpoint->client, connected, endpoint);

                if (r < 0)
                        return r;
                endpoint->connecting++;
        }
        return 0;
}

/* A route or an address has appeared: what waited for the network need not wait any longer. Name resolution may come a
 * moment later, so the backoff begins anew, too. */
static void hasten(Activity *activity) {
        if (!is_of_network(&activity->error))
                return;
        activity->failures = 0;
        activity->not_before_usec = 0;
}

static void network_changed(void *userdata) {
        Session *session = userdata;

        session->network_changed_usec = now_monotonic_usec();
        hasten(&session->credentials);
        hasten(&session->identity);
        hasten(&session->user_data);
        for (size_t i = 0; i < session->endpoints_count; i++)
                hasten(&session->endpoints[i].connection);
        for (size_t i = 0; i < session->passages_count; i++) {
                hasten(&session->passages[i].fetch);
                hasten(&session->passages[i].decryption);
                hasten(&session->passages[i].probe);
        }
        session_advance(session);
}

/* What it is at: until its ciphertext is here, at fetching it; once it is open, at the probe. */
static Activity *passage_activity(Passage *passage) {
        if (passage->state == SECRET_OPENED || passage->state == SECRET_PROBING ||
            passage->probe.error.failure != FAILURE_NONE)
                return &passage->probe;
        return passage->ciphertext ? &passage->decryption : &passage->fetch;
}

static void passage_enter(Passage *passage, SecretState state) {
        char duration[DURATION_STRING_MAX];

        passage->state = state;
        passage->duration_usec = now_monotonic_usec() - passage->begun_usec;
        log_full(state >= SECRET_UNSEALED ? LOG_INFO : LOG_DEBUG,
                 &(LogFields){ .message_id = state == SECRET_PUBLISHED ? MESSAGE_PUBLISHED : MESSAGE_STEP,
                               .secret = passage->declaration->name,
                               .state = secret_state_names[state],
                               .duration_usec = passage->duration_usec,
                               .attempt = passage_activity(passage)->attempts,
                               .request_id = passage->request_id },
                 "%s: %s after %s.", passage->declaration->name, secret_state_names[state],
                 format_duration(passage->duration_usec, duration));
}

static void passage_failed(Passage *passage, const Error *error) {
        Session *session = passage->session;
        Activity *activity = passage_activity(passage);

        activity->error = *error;
        activity->progress = PROGRESS_DONE;
        passage->state = SECRET_FAILED;
        if (!passage->declaration->optional) {
                session_fail(session, passage, error);
                return;
        }
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_OPTIONAL,
                               .secret = passage->declaration->name,
                               .state = "failed",
                               .attempt = activity->attempts,
                               .error = error },
                 "%s, which is optional, stays sealed%s: %s", passage->declaration->name,
                 session->options.settings->lock_pcr > 0 ? " for this boot (LockPcr=)" : "", error->text);
}

/* Takes the ciphertext, which is raw and bounded. */
static void passage_fetched(Passage *passage, uint8_t *ciphertext, size_t size) {
        passage->fetch.progress = PROGRESS_DONE;
        passage->fetch.error = (Error){};
        passage->session->waiting[0] = 0;
        passage->ciphertext = ciphertext;
        passage->ciphertext_size = size;
        passage_enter(passage, SECRET_SEALED);
}

static void fetched(int r, const uint8_t *data, size_t size, const Error *error, void *userdata) {
        Passage *passage = userdata;
        Session *session = passage->session;
        uint8_t *copy = NULL;
        Error failed = *error;

        session->fetching--;
        /* It may have failed meanwhile for what it would have needed next. */
        if (session->ending || passage->state != SECRET_FETCHING)
                return;
        if (r >= 0) {
                copy = malloc(size);
                if (!copy)
                        r = error_oom(&failed);
        }
        if (r < 0)
                passage_retry(passage, &failed);
        else
                passage_fetched(passage, memcpy(copy, data, size), size);
        session_advance(session);
}

static int begin_remote_fetch(Passage *passage, uint64_t now) {
        Session *session = passage->session;
        const Settings *settings = session->options.settings;
        const Declaration *declaration = passage->declaration;
        const Fetch fetch = {
                .source = &declaration->source,
                .partition = passage->partition,
                .region = passage->source_region,
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .maximum = declaration->size_max,
        };

        if (session->fetching >= CONNECTIONS_MAX ||
            (source_is_signed(fetch.source) && session->credentials.progress != PROGRESS_DONE))
                return 0;
        activity_begin(&passage->fetch, now);
        passage_enter(passage, SECRET_FETCHING);
        session->fetching++;
        return source_fetch(session->fetcher, &fetch, fetched, passage);
}

/* At once: what is in user data or in a file. */
static void passage_take(Passage *passage, uint64_t now) {
        const Session *session = passage->session;
        const Declaration *declaration = passage->declaration;
        const Source *source = &declaration->source;
        Error error = session->user_data.error;
        uint8_t *ciphertext;
        size_t size;
        int r = -ENOENT;

        activity_begin(&passage->fetch, now);
        if (source->kind != SOURCE_USER_DATA)
                r = source_read_file(source, declaration->size_max, &ciphertext, &size, &error);
        else if (session->user_data_text)
                r = source_take_user_data(source, session->user_data_text, session->user_data_size,
                                          declaration->size_max, &ciphertext, &size, &error);
        if (r < 0)
                passage_failed(passage, &error);
        else
                passage_fetched(passage, ciphertext, size);
}

static int begin_fetch(Passage *passage, uint64_t now) {
        Session *session = passage->session;
        const Source *source = &passage->declaration->source;

        if (session->ending || passage->state != SECRET_DECLARED ||
            !activity_may_begin(&passage->fetch, now))
                return 0;
        if (passage->begun_usec == 0)
                passage->begun_usec = now;
        if (source_is_remote(source))
                return begin_remote_fetch(passage, now);
        if (source->kind == SOURCE_USER_DATA) {
                int r = begin_user_data(session, now);

                if (r < 0 || session->user_data.progress != PROGRESS_DONE)
                        return r;
        }
        passage_take(passage, now);
        return 0;
}

/* Whether AWS was asked with what this activity has made last. Requests go side by side, and an answer to the document or
 * the credentials before may come when new ones are made. */
static bool is_of_present(Passage *passage, const Activity *activity) {
        return activity->progress == PROGRESS_DONE &&
               passage_activity(passage)->begun_usec >= activity->begun_usec;
}

/* What may mend this failure, and is it worth it? */
static void passage_retry(Passage *passage, const Error *error) {
        Session *session = passage->session;
        Activity *activity = passage_activity(passage);
        Error final = *error;

        switch (error->remedy) {
        case REMEDY_NONE:
                passage_failed(passage, error);
                return;
        case REMEDY_DOCUMENT:
                if (!is_of_present(passage, &session->document))
                        break;
                if (session->document_renewed) {
                        final.remedy = REMEDY_NONE;
                        passage_failed(passage, &final);
                        return;
                }
                session->document_renewed = true;
                session_renew_document(session);
                break;
        case REMEDY_CREDENTIALS:
                if (is_of_present(passage, &session->credentials))
                        activity_reset(&session->credentials);
                break;
        case REMEDY_CLOCK: /* the client remembered the server's time */
        case REMEDY_RETRY:
                break;
        }

        passage->state = passage->state == SECRET_PROBING ? SECRET_OPENED
                         : passage->ciphertext            ? SECRET_SEALED
                                                          : SECRET_DECLARED;
        activity_postpone(session, activity, passage->declaration->name, error);
        /* The clock's is the one failure of which the cause is known to be gone. */
        if (error->remedy == REMEDY_CLOCK && activity->attempts == 1)
                activity->not_before_usec = 0;
}

static void open_job(void *userdata) {
        Passage *passage = userdata;

        passage->r = recipient_open(passage->session->recipient, passage->envelope, passage->envelope_size,
                                    &passage->plaintext, &passage->opening_error);
}

static void opened(void *userdata) {
        Passage *passage = userdata;
        const Settings *settings = passage->session->options.settings;

        free(TAKE_PTR(passage->envelope));
        /* The deadline may have passed for an optional one. */
        if (passage->state != SECRET_OPENING)
                return;
        if (passage->r < 0) {
                memcpy(passage->opening_error.request_id, passage->request_id, sizeof(passage->request_id));
                passage_failed(passage, &passage->opening_error);
        } else {
                passage->decryption.progress = PROGRESS_DONE;
                passage->decryption.error = (Error){};
                passage->session->waiting[0] = 0;
                passage_enter(passage,
                              settings->verify_policy == VERIFY_POLICY_NO ? SECRET_UNSEALED : SECRET_OPENED);
        }
        session_advance(passage->session);
}

static int passage_open(Passage *passage, const uint8_t *envelope, size_t size) {
        passage->envelope = malloc(size);
        if (!passage->envelope)
                return -ENOMEM;
        memcpy(passage->envelope, envelope, size);
        passage->envelope_size = size;
        passage->state = SECRET_OPENING;
        return worker_submit(passage->session->key_worker, open_job, opened, passage);
}

static void decrypted(int r, const uint8_t *envelope, size_t size, const char *request_id,
                      const Error *error, void *userdata) {
        Passage *passage = userdata;
        Session *session = passage->session;
        Error internal = {};

        session->decrypting--;
        passage->endpoint->requests--;
        (void) snprintf(passage->request_id, sizeof(passage->request_id), "%s", request_id ?: "");
        if (session->ending || passage->state != SECRET_DECRYPTING)
                return;

        if (r < 0)
                passage_retry(passage, error);
        else if (passage_open(passage, envelope, size) < 0) {
                (void) error_oom(&internal);
                passage_failed(passage, &internal);
        }
        session_advance(session);
}

/* Whether the account is there, where the secret is bound to it. That it cannot be had ends the secret. */
static bool passage_knows_account(Passage *passage) {
        const Activity *identity = &passage->session->identity;

        if (!passage->declaration->bind_account)
                return true;
        if (identity->progress == PROGRESS_DONE && identity->error.failure != FAILURE_NONE)
                passage_failed(passage, &identity->error);
        return identity->progress == PROGRESS_DONE && identity->error.failure == FAILURE_NONE;
}

/* Declared, and the account where that is bound: an array to be freed, of strings that are not the caller's. */
static const char **passage_context(const Passage *passage) {
        char *const *declared = passage->declaration->encryption_context;
        size_t n = strings_count(declared);
        const char **context = calloc(n + 2, sizeof(*context));

        if (!context)
                return NULL;
        memcpy(context, declared, n * sizeof(*context));
        if (passage->declaration->bind_account)
                context[n] = passage->session->account_context;
        return context;
}

static int begin_decryption(Passage *passage, uint64_t now) {
        Session *session = passage->session;
        _cleanup_free_ const char **context = NULL;
        KmsDecrypt decrypt;

        if (session->ending || passage->state != SECRET_SEALED || endpoint_is_busy(passage->endpoint) ||
            session->document.progress != PROGRESS_DONE || session->credentials.progress != PROGRESS_DONE ||
            passage->endpoint->connection.progress != PROGRESS_DONE ||
            !activity_may_begin(&passage->decryption, now) || !passage_knows_account(passage))
                return 0;

        context = passage_context(passage);
        if (!context)
                return -ENOMEM;
        decrypt = (KmsDecrypt){
                .ciphertext = passage->ciphertext,
                .ciphertext_size = passage->ciphertext_size,
                .key_ids = (const char *const *) passage->declaration->key_ids,
                .encryption_context = context,
                .document = session->document_bytes,
                .document_size = session->document_size,
        };
        activity_begin(&passage->decryption, now);
        passage_enter(passage, SECRET_DECRYPTING);
        session->decrypting++;
        passage->endpoint->requests++;
        return kms_decrypt(passage->endpoint->client, &decrypt, decrypted, passage);
}

/*
 * VerifyPolicy=: would KMS have decrypted it for whoever has the role, whatever booted? That is asked for every secret and
 * not for every key: the policy may look at the encryption context.
 */

/* Asked for the last time. The answer does not matter to what is published, or it is good. */
static void passage_probed(Passage *passage, const char *policy) {
        passage->policy = policy;
        passage->probe.progress = PROGRESS_DONE;
        passage->probe.error = (Error){};
        passage->session->waiting[0] = 0;
        passage_enter(passage, SECRET_UNSEALED);
}

static void log_probe(const Passage *passage, int priority, const char *message_id, const Error *error) {
        log_full(priority,
                 &(LogFields){ .message_id = message_id,
                               .secret = passage->declaration->name,
                               .state = "probing",
                               .attempt = passage->probe.attempts,
                               .error = error },
                 "%s: %s", passage->declaration->name, error->text);
}

/* KMS would have. Nothing that unseald does can keep the secret from who has the role; "yes" is not to be used in that
 * state, and so not to go unnoticed. */
static void passage_is_open(Passage *passage, const char *request_id) {
        bool publish = passage->session->options.settings->verify_policy == VERIFY_POLICY_WARN;
        Error error;

        (void) error_set(&error, -EPERM, FAILURE_POLICY,
                         "The key %s is not gated: KMS would decrypt this secret without an attestation "
                         "document for whoever has the role %s, whatever booted. Look at the key's policy, "
                         "with \"unsealctl policy lint\", and at its grants.%s",
                         passage->declaration->key_ids[0], passage->session->role,
                         publish ? "" : " With VerifyPolicy=yes it is not published.");
        (void) snprintf(error.request_id, sizeof(error.request_id), "%s", request_id);
        passage->policy = "open";
        if (publish) {
                log_probe(passage, LOG_CRIT, MESSAGE_POLICY, &error);
                passage_probed(passage, "open");
        } else
                passage_failed(passage, &error);
}

/* Neither is known, and will not be. Where it is for people to know, the secret is published. */
static void passage_is_unknown(Passage *passage) {
        const Error *error = &passage->probe.error;
        Error unasked;

        if (error->failure == FAILURE_NONE) {
                (void) error_set(&unasked, -ETIMEDOUT, FAILURE_UNAVAILABLE, PROBE_UNKNOWN "No answer yet.");
                error = &unasked;
        }
        log_probe(passage, LOG_WARNING, MESSAGE_POLICY_UNKNOWN, error);
        passage_probed(passage, "unknown");
}

/* With VerifyPolicy=warn nobody waits for the answer once all the rest is done, or the time is over. */
static bool passage_may_stay_unknown(const Passage *passage) {
        return (passage->state == SECRET_OPENED || passage->state == SECRET_PROBING) &&
               passage->session->options.settings->verify_policy == VERIFY_POLICY_WARN;
}

static void probed(int r, const char *body, size_t size, const char *request_id, const Error *error,
                   void *userdata) {
        Passage *passage = userdata;
        Session *session = passage->session;
        bool open = false;
        Error unknown, failed;

        passage->endpoint->requests--;
        /* It may be known to be unknown meanwhile. */
        if (session->ending || passage->state != SECRET_PROBING)
                return;

        r = kms_probe_reply(r, body, size, error, &open, &failed);
        if (r >= 0 && open)
                passage_is_open(passage, request_id);
        else if (r >= 0)
                passage_probed(passage, "gates");
        else {
                unknown = failed;
                (void) snprintf(unknown.text, sizeof(unknown.text), PROBE_UNKNOWN "%.640s", failed.text);
                passage->probe.error = unknown;
                if (passage_may_stay_unknown(passage) &&
                    (failed.remedy == REMEDY_NONE || passage->probe.attempts >= PROBES_MAX ||
                     now_monotonic_usec() - passage->probe.begun_usec >= PROBE_PATIENCE_USEC))
                        passage_is_unknown(passage);
                else
                        passage_retry(passage, &unknown);
        }
        session_advance(session);
}

static int begin_probe(Passage *passage, uint64_t now) {
        _cleanup_free_ const char **context = NULL;
        _cleanup_free_ char *body = NULL;
        int r;

        if (passage->session->ending || passage->state != SECRET_OPENED ||
            endpoint_is_busy(passage->endpoint) || passage->session->credentials.progress != PROGRESS_DONE ||
            !activity_may_begin(&passage->probe, now))
                return 0;

        context = passage_context(passage);
        if (!context)
                return -ENOMEM;
        r = kms_probe_request(
                        &(KmsDecrypt){
                                        .ciphertext = passage->ciphertext,
                                        .ciphertext_size = passage->ciphertext_size,
                                        .key_ids = (const char *const *) passage->declaration->key_ids,
                                        .encryption_context = context,
                        },
                        &body);
        if (r < 0)
                return r;
        activity_begin(&passage->probe, now);
        passage_enter(passage, SECRET_PROBING);
        passage->endpoint->requests++;
        return kms_request(passage->endpoint->client, "Decrypt", body, probed, passage);
}

/* By a failed reload it stays published. */
static const char *passage_state(const Passage *passage) {
        const SessionOptions *options = &passage->session->options;
        bool replaced = options->replaced && kept_find(options->kept, passage->declaration->name) >= 0;

        return secret_state_names[replaced ? SECRET_PUBLISHED : passage->state];
}

static void session_write_status(Session *session, const char *state, const char *text) {
        _cleanup_free_ StatusSecret *secrets = calloc(session->passages_count + 1, sizeof(*secrets));
        int r;

        if (!secrets || session->options.take)
                return;
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                secrets[i] = (StatusSecret){
                        .name = passage->declaration->name,
                        .state = passage_state(passage),
                        .source = passage->declaration->source.label,
                        .key_id = passage->declaration->key_ids[0],
                        .policy = passage->policy,
                        .error = &passage_activity(passage)->error,
                        .attempts = passage_activity(passage)->attempts,
                        .duration_usec = passage->duration_usec,
                };
        }
        r = status_write(session->options.status_path,
                         &(Status){ .state = session->options.replaced ? "unsealed" : state,
                                    .text = text,
                                    .error = &session->error,
                                    .explanation = session->explanation,
                                    .secrets = secrets,
                                    .secrets_count = session->passages_count,
                                    .steps = session->steps,
                                    .steps_count = session->steps_count });
        if (r < 0)
                log_warning("Cannot write %s: %s", session->options.status_path, strerror(-r));
}

static void session_end(Session *session) {
        session->ending = session->told = true;
        (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        if (session_waits_for_tpm(session)) {
                (void) sd_event_source_set_time_relative(session->deadline, TPM_LAST_JOB_USEC);
                (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_ONESHOT);
                return;
        }
        (void) sd_event_source_set_enabled(session->deadline, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
}

static void session_explain_denial(Session *session, const PcrSet *expected) {
        char measurements[EXPLANATION_MAX];

        (void) snprintf(session->explanation, sizeof(session->explanation), "This boot, role %s:\n%s%s",
                        session->role, explain_measurements(&session->measured, expected, measurements),
                        expected ? "" : "\nSet ExpectedMeasurements= to see which of them differ.");
}

static const char *session_failure_message(const Session *session) {
        if (session->error.failure == FAILURE_DENIED)
                return MESSAGE_DENIED;
        if (session->error.failure == FAILURE_LOCKED)
                return MESSAGE_LOCKED_OUT;
        if (session->error.failure == FAILURE_POLICY)
                return MESSAGE_POLICY;
        return session->kept && session->lock.progress != PROGRESS_DONE ? MESSAGE_LOCK_FAILED
                                                                        : MESSAGE_FAILED;
}

static void session_log_failure(const Session *session) {
        const Error *error = &session->error;
        const LogFields fields = {
                .message_id = session_failure_message(session),
                .secret = session->failed ? session->failed->declaration->name : NULL,
                .state = "failed",
                .attempt = session->failed ? passage_activity(session->failed)->attempts : 0,
                .error = error,
        };

        log_full(LOG_ERR, &fields, "%s%s%s", error->text, session->explanation[0] ? "\n" : "",
                 session->explanation);
}

static void session_finish_failure(Session *session, const char *measurements, size_t size) {
        PcrSet expected;
        Error error;

        if (measurements && pcr_measurements_parse(measurements, size, &expected, &error) < 0) {
                log_warning("ExpectedMeasurements=%s: %s", session->options.settings->expected_measurements,
                            error.text);
                measurements = NULL;
        }
        if (session->error.failure == FAILURE_DENIED)
                session_explain_denial(session, measurements ? &expected : NULL);
        session_log_failure(session);
        session_write_status(session, "failed",
                             session->options.replaced
                                             ? "A reload failed, and everything is as it was before."
                                             : session->error.text);
        session_end(session);
}

/* User data as a whole or a value in it. It is advice from the account's owner: printed, never acted upon. */
static void expected_measurements_got(int r, const char *data, size_t size, const Error *error,
                                      void *userdata) {
        Session *session = userdata;
        _cleanup_json_ struct json_object *document = NULL;
        const char *pointer = session->options.settings->expected_measurements + strlen("user-data:");
        struct json_object *value;
        const char *text = NULL;

        if (r < 0)
                log_warning("ExpectedMeasurements=: user data cannot be read: %s",
                            r == -ENOENT ? "this instance has none." : error->text);
        else if (json_parse(data, size, &document) < 0)
                log_warning("ExpectedMeasurements=: the user data is no JSON.");
        else if (!(value = json_pointer(document, pointer)))
                log_warning("ExpectedMeasurements=: the user data has no '%s'.", pointer);
        else
                text = json_object_to_json_string(value);
        session_finish_failure(session, text, text ? strlen(text) : 0);
}

/* Whether our own document shows the lock, of an unseald before us in this boot. */
static bool session_was_locked(const Session *session) {
        unsigned pcr = session->options.settings->lock_pcr;

        return pcr > 0 && (session->measured.present & (UINT32_C(1) << pcr)) &&
               pcr_is_locked(session->measured.value[pcr], NULL);
}

/* KMS denies what it would have to deny then. */
static void session_explain_lock(const Session *session, Error *error) {
        Error denied = *error;

        (void) error_set(error, -EPERM, FAILURE_LOCKED,
                         "It is locked until the next boot: unseald has locked PCR%u in this boot already "
                         "(LockPcr=). KMS denies access: %.400s",
                         session->options.settings->lock_pcr, denied.text);
        memcpy(error->code, denied.code, sizeof(denied.code));
        memcpy(error->request_id, denied.request_id, sizeof(denied.request_id));
}

/* Ends the session. passage: the secret that it failed for, NULL: what all of them need. */
static void session_fail(Session *session, Passage *passage, const Error *error) {
        Error explained = *error;
        const char *expected = session->options.settings->expected_measurements;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size = 0;

        if (session->ending)
                return;
        session->ending = true;
        session->failed = passage;
        if (error->failure == FAILURE_DENIED && session_was_locked(session))
                session_explain_lock(session, &explained);
        session->error = explained;
        if (passage)
                (void) snprintf(session->error.text, sizeof(session->error.text), "%.64s: %.690s",
                                passage->declaration->name, explained.text);

        error = &session->error;
        if (error->failure == FAILURE_DENIED && expected && strncmp(expected, "user-data:", 10) == 0) {
                if (imds_get(session->imds, "/latest/user-data", expected_measurements_got, session) >= 0)
                        return;
        } else if (error->failure == FAILURE_DENIED && expected) {
                int r = read_file(expected, MEASUREMENTS_FILE_MAX, &data, &size);

                if (r < 0)
                        log_warning("ExpectedMeasurements=%s: %s", expected, strerror(-r));
        }
        session_finish_failure(session, (const char *) data, size);
}

/* The last step before READY: nothing is left that could decrypt, or that plaintext was made with. */
static void session_forget(Session *session) {
        /* The thread first: at the deadline it may still be opening an optional secret. */
        session->key_worker = worker_free(session->key_worker);
        for (size_t i = 0; i < session->passages_count; i++)
                session->passages[i].plaintext = secret_free(session->passages[i].plaintext);
        session->recipient = recipient_free(session->recipient);
        aws_credentials_clear(&session->role_credentials);
}

/* What is kept stays, hidden or published; all else goes. */
static int session_tidy_store(Session *session, const Declarations *declarations, Error *error) {
        _cleanup_free_ StoreFile *files = calloc(declarations->count + 1, sizeof(*files));

        if (!files)
                return error_oom(error);
        for (size_t i = 0; i < declarations->count; i++) {
                const Declaration *declaration = declarations->items + i;

                files[i] = (StoreFile){ .name = declaration->store ? declaration->name : NULL,
                                        .fd = kept_find(session->options.kept, declaration->name) };
        }
        return store_retain(session->store, files, declarations->count, error);
}

static int passage_claim(const Declaration *declaration, KeptClaim *ret) {
        ret->name = declaration->name;
        return declaration_digest(declaration, ret->stands_for);
}

static int passage_keep(Passage *passage, Error *error) {
        Session *session = passage->session;
        const Declaration *declaration = passage->declaration;
        KeptClaim claim;
        int r, fd;

        r = passage_claim(declaration, &claim);
        if (r < 0)
                return error_oom(error);
        r = declaration->store ? store_prepare(session->store, declaration->name, passage->plaintext,
                                               passage->uid, passage->gid, declaration->mode, &fd, error)
                               : store_hold(session->store, passage->plaintext, &fd, error);
        return r < 0 ? r : kept_put(session->options.kept, &claim, passage->plaintext, fd, error);
}

/* What was kept over a restart is kept anew where its delivery is declared otherwise now, or somebody has removed its file. */
static int passage_keep_anew(Passage *passage, Error *error) {
        const Session *session = passage->session;
        const Declaration *declaration = passage->declaration;
        int fd = kept_find(session->options.kept, declaration->name), r;

        if (!declaration->store || store_can_publish(session->store, declaration->name, fd, passage->uid,
                                                     passage->gid, declaration->mode))
                return 0;
        r = store_read(fd, &passage->plaintext);
        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "%s, which was kept, cannot be read: %s.",
                                 declaration->name, strerror(-r));
        passage->state = SECRET_UNSEALED;
        return 0;
}

_Static_assert(sizeof(((KeptLock *) NULL)->before) == PCR_SIZE, "a PCR is not what is kept of it");

/* The lock that goes with what is kept: with the PCR as it was attested, unless it is that of what was kept before. */
static KeptLock session_lock(const Session *session) {
        KeptLock lock = { .pcr = (uint8_t) session->options.settings->lock_pcr };

        if (kept_lock(session->options.kept).pcr == lock.pcr)
                return kept_lock(session->options.kept);
        if (lock.pcr > 0 && session->measured.present & (UINT32_C(1) << lock.pcr))
                memcpy(lock.before, session->measured.value[lock.pcr], sizeof(lock.before));
        return lock;
}

static int session_claim(const Session *session, KeptClaim **ret, Error *error) {
        const Declarations *declarations = session->options.declarations;
        _cleanup_free_ KeptClaim *claims = calloc(declarations->count + 1, sizeof(*claims));

        if (!claims)
                return error_oom(error);
        for (size_t i = 0; i < declarations->count; i++)
                if (passage_claim(declarations->items + i, claims + i) < 0)
                        return error_oom(error);
        *ret = TAKE_PTR(claims);
        return 0;
}

/* A reload: what is not declared any more, or stands for something else now, is not kept; an optional secret that could not
 * be had anew and is as it was declared before is what it was. */
static int session_claim_anew(Session *session, Error *error) {
        _cleanup_free_ KeptClaim *claims = NULL;
        int r;

        r = session_claim(session, &claims, error);
        if (r < 0)
                return r;
        kept_claim(session->options.kept, claims, session->passages_count);
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state == SECRET_FAILED &&
                    kept_has(session->options.kept, claims + i))
                        session->passages[i].state = SECRET_KEPT;
        return 0;
}

/* Into the service manager's hands: from here on a crash loses nothing, and no plaintext is in our own. */
static int session_keep(Session *session, Error *error) {
        Kept *kept = session->options.kept;
        KeptLock lock = session_lock(session);
        int r = session->options.replaced ? session_claim_anew(session, error) : 0;

        for (size_t i = 0; i < session->passages_count && r >= 0; i++) {
                Passage *passage = session->passages + i;

                if (passage->state == SECRET_KEPT)
                        r = passage_keep_anew(passage, error);
                if (r >= 0 && passage->state == SECRET_UNSEALED)
                        r = passage_keep(passage, error);
        }
        if (r >= 0 && !kept_is_committed(kept, &lock))
                r = kept_commit(kept, session->store, &lock, error);
        if (r < 0) {
                kept_abandon(kept);
                (void) session_tidy_store(session,
                                          session->options.replaced ?: session->options.declarations, NULL);
                return r;
        }
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state == SECRET_UNSEALED) {
                        session->passages[i].plaintext = secret_free(session->passages[i].plaintext);
                        passage_enter(session->passages + i, SECRET_KEPT);
                }
        return 0;
}

/*
 * LockPcr=: from here on no document of this boot matches a key's policy that pins this PCR. Whether an unseald that was
 * killed has done that already is told by the PCR itself.
 */

static int lock_pcr(Lock *lock, Tpm *tpm) {
        uint8_t digest[PCR_SIZE];
        PcrSet pcrs;
        int r;

        r = tpm_read_pcrs(tpm, UINT32_C(1) << lock->wanted.pcr, &pcrs, &lock->error);
        if (r < 0)
                return r;
        lock->done_before = pcr_is_locked(pcrs.value[lock->wanted.pcr], lock->wanted.before) ||
                            pcr_is_locked(pcrs.value[lock->wanted.pcr], NULL);
        if (lock->done_before)
                return 0;
        r = pcr_lock_digest(digest);
        return r < 0 ? error_oom(&lock->error) : tpm_extend_pcr(tpm, lock->wanted.pcr, digest, &lock->error);
}

static void lock_job(void *userdata) {
        Session *session = userdata;
        Lock *lock = &session->locking;
        _cleanup_(tpm_closep) Tpm *tpm = NULL;

        /* It has one opener at a time. */
        session->attestor.tpm = tpm_close(session->attestor.tpm);
        lock->r = tpm_open(session->attestor.device, &tpm, &lock->error);
        if (lock->r >= 0)
                lock->r = lock_pcr(lock, tpm);
}

static void locked(void *userdata) {
        Session *session = userdata;
        const Lock *lock = &session->locking;

        if (session->ending) {
                session_lose_tpm(session, &session->lock);
                return;
        }
        if (lock->r < 0)
                session_shared_failed(session, &session->lock, &lock->error);
        else {
                activity_done(session, &session->lock);
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_LOCKED, .state = "locked" },
                         "PCR%u %s locked: nothing more can be unsealed in this boot with a key whose "
                         "policy pins it.",
                         lock->wanted.pcr, lock->done_before ? "was" : "is");
        }
        session_advance(session);
}

static int begin_lock(Session *session, uint64_t now) {
        if (!activity_may_begin(&session->lock, now))
                return 0;
        session->locking = (Lock){ .wanted = kept_lock(session->options.kept) };
        activity_begin(&session->lock, now);
        return worker_submit(session->tpm_worker, lock_job, locked, session);
}

static int session_publish(Session *session, Error *error) {
        for (size_t i = 0; i < session->passages_count; i++) {
                const Passage *passage = session->passages + i;
                const Declaration *declaration = passage->declaration;
                int r;

                if (passage->state != SECRET_KEPT || !declaration->store)
                        continue;
                r = store_publish(session->store, declaration->name,
                                  kept_find(session->options.kept, declaration->name), error);
                if (r < 0) {
                        /* A failure publishes nothing. */
                        if (!session->options.replaced)
                                (void) store_retain(session->store, NULL, 0, NULL);
                        return r;
                }
        }
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state == SECRET_KEPT)
                        passage_enter(passage, SECRET_PUBLISHED);
        }
        /* What is not declared any more, or not for the store. */
        return session->options.replaced ? session_tidy_store(session, session->options.declarations, error)
                                         : 0;
}

static int session_hand_over(Session *session, Error *error) {
        int r = 0;

        for (size_t i = 0; i < session->passages_count && r >= 0; i++) {
                const Passage *passage = session->passages + i;

                if (passage->state == SECRET_UNSEALED)
                        r = session->options.take(passage->declaration, passage->plaintext,
                                                  passage->request_id, error, session->userdata);
        }
        return r;
}

/* What its next step takes besides what all need. */
static const Activity *passage_way(Passage *passage) {
        if (passage->ciphertext && passage->declaration->bind_account &&
            passage->session->identity.progress != PROGRESS_DONE)
                return &passage->session->identity;
        if (passage->ciphertext)
                return &passage->endpoint->connection;
        return passage->declaration->source.kind == SOURCE_USER_DATA ? &passage->session->user_data
                                                                     : &passage->fetch;
}

/* What keeps a secret from being unsealed: rather what has failed than what is merely not done yet. */
static const Activity *passage_obstacle(Passage *passage) {
        const Session *session = passage->session;
        const Activity *all[] = { &session->key_pair,    &session->tpm,        &session->document,
                                  &session->credentials, passage_way(passage), passage_activity(passage) };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i]->progress != PROGRESS_DONE && all[i]->error.failure != FAILURE_NONE)
                        return all[i];
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i]->progress != PROGRESS_DONE)
                        return all[i];
        return passage_activity(passage);
}

/* Whose silence it is, and what that is called. */
static Failure activity_silence(const Activity *activity, const Session *session, const char **ret_whom) {
        *ret_whom = activity->name;
        if (activity == &session->key_pair)
                return FAILURE_INTERNAL;
        if (activity == &session->tpm || activity == &session->document || activity == &session->lock)
                return FAILURE_TPM;
        if (activity == &session->credentials || activity == &session->identity ||
            activity == &session->user_data)
                return FAILURE_IMDS;
        for (size_t i = 0; i < session->passages_count; i++)
                if (activity == &session->passages[i].fetch) {
                        *ret_whom = session->passages[i].declaration->source.label;
                        return FAILURE_UNAVAILABLE;
                }
        for (size_t i = 0; i < session->endpoints_count; i++)
                if (activity == &session->endpoints[i].connection)
                        return FAILURE_NETWORK;
        return FAILURE_UNAVAILABLE;
}

/* Why it is not done by the deadline: what was tried last and did not succeed is the reason. */
static void overdue(const Session *session, const Activity *activity, Error *ret) {
        char duration[DURATION_STRING_MAX];
        const char *whom;
        Failure failure = activity_silence(activity, session, &whom);

        (void) format_duration(session->options.settings->deadline_usec, duration);
        if (activity->error.failure != FAILURE_NONE) {
                *ret = activity->error;
                (void) snprintf(ret->text, sizeof(ret->text),
                                "Not within DeadlineSec=%s, after %u attempt(s) at %s: %.512s", duration,
                                activity->attempts, activity->name, activity->error.text);
        } else
                (void) error_set(ret, -ETIMEDOUT, failure,
                                 "Not within DeadlineSec=%s: no answer yet from %.512s.", duration, whom);
}

/* Why an optional secret stays behind: for a failure, its own or on the way, or for want of time. */
static void passage_obstacle_error(Passage *passage, Error *ret) {
        const Activity *own = passage_activity(passage), *way = passage_way(passage);

        if (own->error.failure != FAILURE_NONE)
                *ret = own->error;
        else if (way->error.failure != FAILURE_NONE)
                *ret = way->error;
        else
                overdue(passage->session, passage_obstacle(passage), ret);
}

/* An optional secret is not waited for once it, or the way to it, has failed. */
static bool passage_may_be_left(Passage *passage) {
        const Activity *own = passage_activity(passage), *way = passage_way(passage);

        return passage->declaration->optional &&
               (passage->state == SECRET_DECLARED || passage->state == SECRET_SEALED ||
                passage->state == SECRET_OPENED) &&
               way->progress != PROGRESS_RUNNING &&
               (own->error.failure != FAILURE_NONE || way->error.failure != FAILURE_NONE);
}

/* All required secrets are here, and no optional one is on its way: whoever is not here now stays away for this boot.
 * Where none is required the optional ones have until the deadline: early in a boot the first attempt always fails. */
static bool session_is_complete(Session *session) {
        bool some_required = false;

        for (size_t i = 0; i < session->passages_count; i++)
                some_required = some_required || !session->passages[i].declaration->optional;
        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;

                if (passage->state < SECRET_UNSEALED && !(some_required && passage_may_be_left(passage)))
                        return false;
        }
        return true;
}

/* Whoever is not here now stays away for this boot. */
static int session_complete(Session *session, Error *error) {
        int r;

        for (size_t i = 0; i < session->passages_count; i++) {
                Passage *passage = session->passages + i;
                Error obstacle = {};

                if (passage_may_stay_unknown(passage))
                        passage_is_unknown(passage);
                if (passage->state < SECRET_UNSEALED) {
                        passage_obstacle_error(passage, &obstacle);
                        passage_failed(passage, &obstacle);
                }
        }
        r = session->options.take ? session_hand_over(session, error) : session_keep(session, error);
        session->kept = r >= 0;
        return r;
}

/* Whether what is kept may be published: it is locked, or is not to be. Begins that otherwise. */
static int session_lock_pcr(Session *session, uint64_t now, Error *error) {
        Kept *kept = session->options.kept;
        int r;

        if (kept_lock(kept).pcr == 0 || kept_is_locked(kept))
                return true;
        if (session->lock.progress == PROGRESS_DONE) {
                r = kept_set_locked(kept, error);
                return r < 0 ? r : true;
        }
        r = begin_lock(session, now);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL, "The PCR cannot be locked: %s.", strerror(-r))
                     : false;
}

/* The way to the end from where all is kept. A crash anywhere on it takes it up again at the same place. */
static int session_conclude(Session *session, uint64_t now, Error *error) {
        int r;

        if (!session->options.take) {
                r = session_lock_pcr(session, now, error);
                if (r <= 0)
                        return r;
                r = session_publish(session, error);
                if (r < 0)
                        return r;
        }
        session_forget(session);
        session_write_status(session, "unsealed", "All required secrets are published.");
        session_end(session);
        return 0;
}

/* Whether anything is missing of what is declared. */
static bool session_is_unsealing(const Session *session) {
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state < SECRET_UNSEALED)
                        return true;
        return false;
}

static int session_begin_what_can_begin(Session *session, uint64_t now) {
        int r;

        for (size_t i = 0; i < session->passages_count; i++) {
                r = begin_fetch(session->passages + i, now);
                if (r < 0)
                        return r;
        }
        if (session->ending || !session_is_unsealing(session))
                return 0;

        if ((r = begin_key_pair(session, now)) < 0 || (r = begin_tpm(session, now)) < 0 ||
            (r = begin_document(session, now)) < 0 || (r = begin_credentials(session, now)) < 0 ||
            (r = begin_identity(session, now)) < 0)
                return r;
        for (size_t i = 0; i < session->endpoints_count; i++) {
                r = begin_connection(session, session->endpoints + i, now);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < session->passages_count; i++) {
                r = begin_probe(session->passages + i, now);
                if (r < 0)
                        return r;
        }

        if (session->document.progress == PROGRESS_DONE &&
            now - session->document_made_usec > DOCUMENT_AGE_MAX_USEC) {
                /* With so old a document nothing new is begun, and what is under way ends soon. */
                if (session->decrypting > 0)
                        return 0;
                session_renew_document(session);
                return begin_tpm(session, now);
        }
        for (size_t i = 0; i < session->passages_count; i++) {
                r = begin_decryption(session->passages + i, now);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What was due by now has begun, or waits for something else, which will move the session on. */
static void earliest(const Activity *activity, uint64_t now, uint64_t *time) {
        if (activity->progress == PROGRESS_IDLE && activity->not_before_usec > now &&
            activity->not_before_usec < *time)
                *time = activity->not_before_usec;
}

/* Wakes up when the next attempt is due. */
static void session_arm_retry(Session *session, uint64_t now) {
        uint64_t time = USEC_INFINITY;

        earliest(&session->key_pair, now, &time);
        earliest(&session->tpm, now, &time);
        earliest(&session->document, now, &time);
        earliest(&session->credentials, now, &time);
        earliest(&session->identity, now, &time);
        earliest(&session->user_data, now, &time);
        earliest(&session->lock, now, &time);
        for (size_t i = 0; i < session->endpoints_count; i++)
                earliest(&session->endpoints[i].connection, now, &time);
        for (size_t i = 0; i < session->passages_count; i++) {
                earliest(&session->passages[i].fetch, now, &time);
                earliest(&session->passages[i].decryption, now, &time);
                earliest(&session->passages[i].probe, now, &time);
        }

        if (time == USEC_INFINITY)
                (void) sd_event_source_set_enabled(session->retry, SD_EVENT_OFF);
        else {
                (void) sd_event_source_set_time(session->retry, time);
                (void) sd_event_source_set_enabled(session->retry, SD_EVENT_ONESHOT);
        }
}

static void session_tell(Session *session) {
        size_t unsealed = 0;

        if (session->waiting[0]) {
                (void) sd_notifyf(false, "STATUS=Waiting: %s", session->waiting);
                return;
        }
        if (session->kept) {
                (void) sd_notifyf(false,
                                  "STATUS=All that is to be published is kept; PCR%u is being locked.",
                                  session->options.settings->lock_pcr);
                return;
        }
        for (size_t i = 0; i < session->passages_count; i++)
                unsealed += session->passages[i].state == SECRET_UNSEALED;
        (void) sd_notifyf(false,
                          "STATUS=Unsealing: key pair %s, document %s, credentials %s, %zu of %zu secrets.",
                          session->key_pair.progress == PROGRESS_DONE ? "made" : "in the making",
                          session->document.progress == PROGRESS_DONE ? "made" : "awaited",
                          session->credentials.progress == PROGRESS_DONE ? "there" : "awaited", unsealed,
                          session->passages_count);
}

static void session_advance(Session *session) {
        uint64_t now = now_monotonic_usec();
        Error error = {};
        int r;

        if (session->ending)
                return;
        r = session_begin_what_can_begin(session, now);
        if (r < 0) {
                (void) error_set(&error, r, FAILURE_INTERNAL, "Unsealing cannot go on: %s.", strerror(-r));
                session_fail(session, NULL, &error);
        }
        if (session->ending)
                return;
        r = !session->kept && session_is_complete(session) ? session_complete(session, &error) : 0;
        if (r >= 0 && session->kept)
                r = session_conclude(session, now, &error);
        if (r < 0)
                session_fail(session, NULL, &error);
        if (session->ending)
                return;
        session_arm_retry(session, now);
        session_tell(session);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        session_advance(userdata);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Session *session = userdata;
        Passage *passage = NULL;
        Error error;

        if (session->told) /* and the TPM's thread has not ended */
                (void) sd_event_source_set_enabled(session->ended, SD_EVENT_ONESHOT);
        if (session->ending)
                return 0;
        for (size_t i = 0; i < session->passages_count && !passage; i++)
                if (session->passages[i].state < SECRET_UNSEALED &&
                    !passage_may_stay_unknown(session->passages + i) &&
                    !session->passages[i].declaration->optional)
                        passage = session->passages + i;
        if (passage || session->kept) {
                overdue(session, passage ? passage_obstacle(passage) : &session->lock, &error);
                session_fail(session, NULL, &error);
                return 0;
        }
        /* Only optional ones are missing: what is here is kept, locked and published. */
        (void) sd_event_source_set_time_relative(source, TPM_LAST_JOB_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (session_complete(session, &error) < 0)
                session_fail(session, NULL, &error);
        session_advance(session);
        return 0;
}

static int on_ended(sd_event_source *source, void *userdata) {
        Session *session = userdata;
        Error error = session->error;

        session->callback(error.failure == FAILURE_NONE ? 0 : -EIO, &error, session->userdata);
        return 0;
}

static int resolve_owner(const Declaration *declaration, Passage *passage, Error *error) {
        const struct passwd *user;
        const struct group *group;

        if (declaration->user) {
                user = getpwnam(declaration->user);
                if (!user)
                        return error_set(error, -ESRCH, FAILURE_CONFIGURATION,
                                         "%s: User=%s: there is no such user.", declaration->file,
                                         declaration->user);
                passage->uid = user->pw_uid;
        }
        if (declaration->group) {
                group = getgrnam(declaration->group);
                if (!group)
                        return error_set(error, -ESRCH, FAILURE_CONFIGURATION,
                                         "%s: Group=%s: there is no such group.", declaration->file,
                                         declaration->group);
                passage->gid = group->gr_gid;
        }
        return 0;
}

static int session_find_endpoint(Session *session, Passage *passage, Error *error) {
        const Settings *settings = session->options.settings;
        const KmsEndpointOptions options = {
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .endpoint = settings->kms_endpoint,
        };
        const char *key_id = passage->declaration->key_ids[0];
        _cleanup_free_ char *url = NULL;
        Endpoint *endpoint;
        KmsKeyArn arn;
        int r;

        r = kms_key_arn_parse(key_id, &arn);
        if (r >= 0)
                r = kms_endpoint(&arn, &options, &url);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION,
                                 "%s: KeyId=%s: no endpoint of KMS is known for it.",
                                 passage->declaration->file, key_id);

        for (endpoint = session->endpoints; endpoint < session->endpoints + session->endpoints_count;
             endpoint++)
                if (strcmp(endpoint->url, url) == 0 && strcmp(endpoint->region, arn.region) == 0) {
                        endpoint->secrets++;
                        passage->endpoint = endpoint;
                        return 0;
                }

        *endpoint = (Endpoint){ .session = session, .connection.name = "connection to KMS", .secrets = 1 };
        r = kms_client_new(session->kms_http, url, arn.region, &endpoint->client);
        if (r < 0)
                return error_oom(error);
        endpoint->url = TAKE_PTR(url);
        memcpy(endpoint->region, arn.region, sizeof(endpoint->region));
        session->endpoints_count++;
        passage->endpoint = endpoint;
        return 0;
}

/* Where AWS has the ciphertext: where it is said, or the key is. */
static void passage_find_source(Passage *passage) {
        const Declaration *declaration = passage->declaration;
        KmsKeyArn arn;

        if (kms_key_arn_parse(declaration->key_ids[0], &arn) < 0)
                return;
        memcpy(passage->partition, arn.partition, sizeof(passage->partition));
        if (declaration->source_region)
                (void) snprintf(passage->source_region, sizeof(passage->source_region), "%s",
                                declaration->source_region);
        else if (!source_region(&declaration->source, passage->source_region,
                                sizeof(passage->source_region)))
                memcpy(passage->source_region, arn.region, sizeof(passage->source_region));
}

static int session_set_up_passages(Session *session, Error *error) {
        const Declarations *declarations = session->options.declarations;

        /* As many endpoints as secrets at the most; neither array ever moves. */
        session->passages = calloc(declarations->count + 1, sizeof(*session->passages));
        session->endpoints = calloc(declarations->count + 1, sizeof(*session->endpoints));
        if (!session->passages || !session->endpoints)
                return error_oom(error);

        for (size_t i = 0; i < declarations->count; i++) {
                Passage *passage = session->passages + i;
                int r;

                *passage = (Passage){
                        .session = session,
                        .declaration = declarations->items + i,
                        .fetch.name = "fetching",
                        .decryption.name = "decryption",
                        .probe.name = "policy probe",
                };
                session->passages_count++;
                if (!session->options.take) {
                        r = resolve_owner(passage->declaration, passage, error);
                        if (r < 0)
                                return r;
                        if (!session->options.replaced &&
                            kept_find(session->options.kept, passage->declaration->name) >= 0) {
                                passage->begun_usec = now_monotonic_usec();
                                passage->state = SECRET_KEPT;
                                continue;
                        }
                }
                passage_find_source(passage);
                r = session_find_endpoint(session, passage, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int session_restore(Session *session, Error *error) {
        _cleanup_free_ KeptClaim *claims = NULL;
        int r;

        r = session_claim(session, &claims, error);
        return r < 0 ? r
                     : kept_restore(session->options.kept, session->store, claims,
                                    session->options.declarations->count, error);
}

static int session_set_up_store(Session *session, Error *error) {
        int r;

        if (session->options.take)
                return 0;
        r = store_open(session->options.store_path, &session->store, error);
        if (r < 0 || session->options.replaced)
                return r;
        r = session_restore(session, error);
        if (r < 0)
                return r;

        return session_tidy_store(session, session->options.declarations, error);
}

static int session_set_up_loop(Session *session) {
        const Settings *settings = session->options.settings;
        /* Credentials, identity and user data do not wait for one another. */
        HttpOptions imds = { .connections_max = 3, .connect_timeout_usec = USEC_PER_SEC };
        HttpOptions kms = {
                .trusted = session->trusted,
                .proxy = settings->proxy,
                .connections_max = CONNECTIONS_MAX,
        };
        int r;

        if ((r = sd_event_add_time_relative(session->event, &session->deadline, CLOCK_MONOTONIC,
                                            settings->deadline_usec, 0, on_deadline, session)) < 0 ||
            (r = sd_event_add_time(session->event, &session->retry, CLOCK_MONOTONIC, 0, USEC_PER_MSEC,
                                   on_retry, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->retry, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_defer(session->event, &session->ended, on_ended, session)) < 0 ||
            (r = sd_event_source_set_enabled(session->ended, SD_EVENT_OFF)) < 0 ||
            (r = http_client_new(session->event, &imds, &session->imds_http)) < 0 ||
            (r = http_client_new(session->event, &kms, &session->kms_http)) < 0 ||
            (r = imds_new(session->imds_http, IMDS_ADDRESS, &session->imds)) < 0 ||
            (r = fetcher_new(session->kms_http, &session->fetcher)) < 0 ||
            (r = network_new(session->event, network_changed, session, &session->network)) < 0 ||
            (r = worker_new(session->event, "key-pair", &session->key_worker)) < 0 ||
            (r = worker_new(session->event, "tpm", &session->tpm_worker)) < 0)
                return r;
        return 0;
}

int session_new(sd_event *event, const SessionOptions *options, SessionEnded ended, void *userdata,
                Session **ret, Error *error) {

        _cleanup_(session_freep) Session *session = NULL;
        int r;

        session = calloc(1, sizeof(*session));
        if (!session)
                return error_oom(error);
        session->event = sd_event_ref(event);
        session->options = *options;
        session->callback = ended;
        session->userdata = userdata;
        session->key_pair.name = "key pair";
        session->tpm.name = "TPM";
        session->document.name = "attestation document";
        session->credentials.name = "credentials";
        session->identity.name = "instance identity";
        session->user_data.name = "user data";
        session->lock.name = "lock";
        session->attestor.device = options->settings->tpm_device;

        r = session_set_up_store(session, error);
        if (r < 0)
                return r;
        r = http_trust_new(options->settings->trusted_certificates, &session->trusted, error);
        if (r < 0)
                return r;
        r = session_set_up_loop(session);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the event loop: %s.",
                                 strerror(-r));
        r = session_set_up_passages(session, error);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(session);
        return 0;
}

/* What is kept was locked: what is not kept is not to be had any more, so nobody is asked. */
static void session_give_up_what_is_locked(Session *session) {
        unsigned pcr = session->options.settings->lock_pcr;
        Error error;

        if (pcr == 0 || session->options.take || kept_lock(session->options.kept).pcr != pcr ||
            !kept_is_locked(session->options.kept))
                return;
        (void) error_set(&error, -EPERM, FAILURE_LOCKED,
                         "It is locked until the next boot: it was not among the secrets when PCR%u was "
                         "locked (LockPcr=).",
                         pcr);
        for (size_t i = 0; i < session->passages_count; i++)
                if (session->passages[i].state < SECRET_UNSEALED)
                        passage_failed(session->passages + i, &error);
}

void session_start(Session *session) {
        size_t kept = 0;

        for (size_t i = 0; i < session->passages_count; i++)
                kept += session->passages[i].state == SECRET_KEPT;
        if (kept > 0)
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_RESTORED, .state = "kept" },
                         "%zu secret(s) were kept over the restart; neither the TPM nor KMS is asked for "
                         "them.",
                         kept);
        if (kept < session->passages_count || kept == 0)
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_STARTED }, "Unsealing %zu secret(s).",
                         session->passages_count - kept);
        session_write_status(session, "unsealing", session->options.replaced ? "Reloading." : "Unsealing.");
        session_give_up_what_is_locked(session);
        session_advance(session);
}

bool session_waits_for_tpm(const Session *session) {
        return session->tpm.progress == PROGRESS_RUNNING || session->document.progress == PROGRESS_RUNNING ||
               session->lock.progress == PROGRESS_RUNNING;
}

Session *session_free(Session *session) {
        if (!session)
                return NULL;

        /* Threads first: nothing of theirs is touched while they run. */
        session->key_worker = worker_free(session->key_worker);
        session->tpm_worker = worker_free(session->tpm_worker);
        session->attestor.tpm = tpm_close(session->attestor.tpm);
        free(session->attestor.document);

        (void) network_free(session->network);
        (void) imds_free(session->imds);
        (void) fetcher_free(session->fetcher);
        for (size_t i = 0; i < session->endpoints_count; i++) {
                (void) kms_client_free(session->endpoints[i].client);
                free(session->endpoints[i].url);
        }
        free(session->endpoints);
        (void) http_client_free(session->imds_http);
        (void) http_client_free(session->kms_http);
        X509_STORE_free(session->trusted);

        for (size_t i = 0; i < session->passages_count; i++) {
                (void) secret_free(session->passages[i].plaintext);
                free(session->passages[i].ciphertext);
                free(session->passages[i].envelope);
        }
        free(session->passages);
        (void) recipient_free(session->recipient);
        aws_credentials_clear(&session->role_credentials);
        free(session->user_data_text);
        free(session->document_bytes);
        (void) store_free(session->store);

        (void) sd_event_source_disable_unref(session->deadline);
        (void) sd_event_source_disable_unref(session->retry);
        (void) sd_event_source_disable_unref(session->ended);
        (void) sd_event_unref(session->event);
        free(session);
        return NULL;
}
