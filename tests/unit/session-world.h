/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The world around a session, played: event loop, clock, threads, TPM, IMDS, KMS, store and kept secrets. The definitions here
 * replace whole files of the library (tests/unit/meson.build names them), so a test can lead the real session along every
 * path without network, TPM, threads or waiting. Nothing happens by itself: what the session begins stays under way until the
 * test ends it with finish() or fail_with(), and time passes only in pass().
 *
 * Each fake checks every value that it is given against what the test declared, and fails the test on a wrong one. It also
 * writes one word into world.trace. Activities: "key-pair", "TPM", "document", "open", "measurement", "lock", "credentials", "identity",
 * "user-data", "connection", "fetch", "signature", "decryption", "generation", "probe", "barrier", "body".
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>

#include "attestation/document.h"
#include "aws/imds.h"
#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/http.h"
#include "basic/json.h"
#include "basic/log.h"
#include "basic/openssl-util.h"
#include "basic/retry.h"
#include "basic/worker.h"
#include "failing-memory.h"
#include "kms/client.h"
#include "kms/recipient.h"
#include "source/fetch.h"
#include "source/fetcher.h"
#include "source/message.h"
#include "source/pieces-remote.h"
#include "source/source-file.h"
#include "tpm/secret-events.h"
#include "tpm/tpm.h"
#include "unsealing/late-key.h"
#include "unsealing/network.h"
#include "unsealing/report.h"
#include "unsealing/rest.h"
#include "unsealing/session.h"
#include "unsealing/status-file.h"
#include "vault/kept.h"
#include "vault/store.h"

#define SECRETS_MAX 40
#define UNDER_WAY_MAX 128
#define TIMERS_MAX 4 /* deadline, retry, changed, ended */
#define DEADLINE_USEC (120 * USEC_PER_SEC)
#define PUBLIC_KEY "public key"
#define ACCOUNT "111122223333"
#define KEY_BITS 3072
#define TPM_DEVICE "device:/dev/tpm-of-the-test"
#define PROXY "http://proxy.example:3128"
#define TRUSTED "/etc/unseald/trusted.pem"

struct sd_event {
        unsigned references;
};

struct sd_event_source {
        bool exists;
        int enabled;
        uint64_t time_usec;
        sd_event_time_handler_t on_time;
        sd_event_handler_t on_defer;
        void *userdata;
};

struct Worker {
        bool is_of_tpm;
};

struct Recipient {
        int unused;
};

struct Tpm {
        bool prepared;
};

struct KmsClient {
        char region[32];
        const AwsCredentials *credentials;
};

struct HttpClient {
        int unused;
};

struct Imds {
        int unused;
};

struct Network {
        int unused;
};

struct Fetcher {
        int unused;
};

struct Store {
        int unused;
};

struct StoreDraft {
        const Declaration *declaration;
        bool whole;
};

struct Body {
        StoreDraft *draft;
        BodyEnded ended;
        void *userdata;
};

struct Kept {
        struct {
                const char *name;
                bool put, committed, unclaimed;
                int fd, put_fd; /* of what is committed, and of what is put beside it */
                bool is_signed;
                uint64_t version; /* that was put last */
        } items[2 * SECRETS_MAX]; /* the data keys of late secrets, too */
        size_t count;
        unsigned commits;
        KeptLock lock, next_lock;
        bool locked;
        ManifestEvent events[SECRETS_MAX];
        size_t events_count, meant, measured;
        bool touched;
};

/* Something that the session has begun and waits for. */
typedef struct UnderWay {
        const char *what;
        char name[64]; /* of a secret, or the region of an endpoint, or empty */
        Worker *worker;
        WorkerJob job;
        WorkerDone done;
        ImdsCredentialsCallback credentials;
        ImdsGetCallback got;
        KmsConnected connected;
        KmsDecrypted decrypted;
        KmsAnswered answered;
        SourceFetched fetched;
        ObjectFetched first;
        Body *body;
        KeptCommitted committed;
        void *userdata;
} UnderWay;

/* What the world allocates for itself never fails. */
static bool memory_disarm(void) {
        bool armed = memory.armed;

        memory.armed = false;
        return armed;
}

static void memory_rearm(const bool *armed) {
        memory.armed = *armed;
}

#define WITH_MEMORY _cleanup_(memory_rearm) bool was_armed = memory_disarm()

static struct World {
        uint64_t now_usec;
        char trace[8192];
        struct sd_event event;
        struct sd_event_source timers[TIMERS_MAX];
        uint64_t random; /* the next number of getrandom() */
        bool no_random;

        UnderWay under_way[UNDER_WAY_MAX];
        size_t under_way_count;
        bool trouble_stays;     /* every attempt there fails */
        bool unread, blank;     /* the label of the volume has not been read yet; its device is blank */
        const char *trouble_at; /* where the next attempt fails, if it is one that ends at once or in a thread */
        Error trouble;

        NetworkChanged network_changed;
        void *network_userdata;
        struct Worker key_worker, tpm_worker;
        struct HttpClient imds_http, aws_http;
        X509_STORE *trusted;
        struct Imds imds;
        struct Network network;
        struct Fetcher fetcher;
        const AwsCredentials *fetcher_credentials;
        char access_key[32]; /* of the last credentials that IMDS gave */
        unsigned credentials_count;
        char document[32]; /* the last one that the TPM made */
        unsigned documents_count;
        struct Store store;
        struct Kept kept;
        int next_fd;              /* descriptors are numbers only; each file has a new one */
        char plaintext[64];       /* of the file with the last descriptor */
        bool manager_must_answer; /* else there is no service manager, and a commit is done at once */
        bool cannot_publish; /* the files of the kept secrets have another owner or mode than declared */
        bool document_of_other_key;
        unsigned leftovers, tpms, recipients;
        bool has_late;             /* some secrets are messages with Late=yes */
        unsigned late_ended;       /* how often the session said that all late secrets have ended */
        unsigned drafts, bodies;   /* that exist */
        int whole_fd[SECRETS_MAX]; /* of the file of a message that is whole; 0: none is */
        bool published[SECRETS_MAX];
        PcrSet pcrs;
        const char *user_data;

        Settings settings;
        Declaration declarations_items[SECRETS_MAX];
        Declarations declarations;
        char names[SECRETS_MAX][32], labels[SECRETS_MAX][32];
        char contexts_text[SECRETS_MAX][2][64];
        char *contexts[SECRETS_MAX][3];
        char signature_locations[SECRETS_MAX][32], signature_labels[SECRETS_MAX][32];
        char signatures[SECRETS_MAX][256]; /* what the source of the signature holds */
        char keys[SECRETS_MAX][2][96];
        char *key_ids[SECRETS_MAX][3];
        SessionOptions options;
        Ciphertexts known; /* of a refresh: what was unsealed last */
        unsigned changes;  /* how often a refresh said that it goes on as a reload */
        Session *session;

        unsigned ended;
        int r;
        Error error;         /* that the session ended with */
        char status[32];     /* the last state that was written */
        unsigned statuses;   /* how often one was written */
        uint64_t since_usec; /* of that state, since 1970 */
        char message_id[64];
        char waiting[256];  /* what all wait for: "KMS in eu-north-1 since 0 try 1 next 2 unavailable a" */
        char waits[8][256]; /* what each of the first secrets waits for */
        char explanation[4096]; /* that was written with it */
        size_t listed;          /* secrets */
        bool units_differ;      /* before and after the reload: the test looks at them */
        char *const *units[SECRETS_MAX];
        const Declaration *members[SECRETS_MAX]; /* of bundles */
        char states[SECRETS_MAX][16], policies[SECRETS_MAX][16];
        char regions[SECRETS_MAX][32];  /* where KMS was asked last; or empty */
        char versions[SECRETS_MAX][24]; /* of signed secrets, in decimal; or empty */
        uint64_t durations[SECRETS_MAX];
        unsigned measured_pcrs[SECRETS_MAX];
        char steps[256];     /* the names and durations in seconds that were written last */
        char notified[1024]; /* the last STATUS= */
        char logged[32768];  /* the text and the fields of every entry */
} world;

static void trace(const char *format, ...) _printf_(1, 2);
static void trace(const char *format, ...) {
        size_t length = strlen(world.trace);
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(world.trace + length, sizeof(world.trace) - length, format, arguments);
        va_end(arguments);
        length = strlen(world.trace);
        (void) snprintf(world.trace + length, sizeof(world.trace) - length, " ");
}

/* Compares with everything that was done since the last time. */
#define expect(words)                                    \
        do {                                             \
                assert_string_equal(world.trace, words); \
                world.trace[0] = 0;                      \
        } while (0)

/* Returns 0 for success. Otherwise it fills *error. */
static int outcome(const char *what, Error *error) {
        if (!world.trouble_at || strcmp(world.trouble_at, what) != 0)
                return 0;
        if (!world.trouble_stays)
                world.trouble_at = NULL;
        if (error)
                *error = world.trouble;
        return -EIO;
}

/* The declared secret of this name. */
static size_t declared(const void *name, size_t size) {
        for (size_t i = 0; i < world.declarations.count; i++)
                if (strlen(world.names[i]) == size && memcmp(world.names[i], name, size) == 0)
                        return i;
        fail_msg("no secret is called \"%.*s\"", (int) size, (const char *) name);
        return 0;
}

static const Declaration *declared_as(const char *name) {
        return world.declarations_items + declared(name, strlen(name));
}

/*
 * A late secret is a message. Only its header is real, so that the session's own code reads it and judges its key: the data key is encrypted
 * as the name of the secret.
 */

#define LATE_DATA_KEY "the data key of 32 bytes of all."

static uint8_t *put_number(uint8_t *at, size_t value, unsigned bytes) {
        while (bytes-- > 0)
                *at++ = (uint8_t) (value >> (8 * bytes));
        return at;
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t size) {
        return mempcpy(put_number(at, size, 2), text, size);
}

static size_t late_header(const Declaration *declaration, uint8_t ret[static 1024]) {
        const MessageSuite *suite = message_suite_find(0x0478);
        const char *secret = declaration->encryption_context[0], *stage = declaration->encryption_context[1];
        uint8_t context[256], *end = put_number(context, 2, 2),
                              *at = put_number(put_number(ret, 2, 1), 0x0478, 2);
        const Slice id = { at, 32 };
        _cleanup_secret_ Secret *key = NULL;
        Message *message;

        for (const char *const *pair = (const char *const[]){ stage, secret, NULL }; *pair; pair++) {
                const char *value = strchr(*pair, '=') + 1;

                end = put_text(put_text(end, *pair, (size_t) (value - 1 - *pair)), value, strlen(value));
        }
        memset(at, 7, 32);
        at = put_text(at + 32, (const char *) context, (size_t) (end - context));
        at = put_text(put_number(at, 1, 2), MESSAGE_PROVIDER_KMS, strlen(MESSAGE_PROVIDER_KMS));
        at = put_text(at, declaration->key_ids[0], strlen(declaration->key_ids[0]));
        at = put_text(at, declaration->name, strlen(declaration->name));
        at = put_number(put_number(at, 2, 1), 1024 * 1024, 4);
        assert_int_equal(secret_new(strlen(LATE_DATA_KEY), &key), 0);
        memcpy(secret_bytes(key), LATE_DATA_KEY, secret_size(key));
        assert_int_equal(message_new(suite, &id, 1024 * 1024, key, &message, at), 0);
        at += MESSAGE_COMMITMENT_SIZE;
        assert_int_equal(message_header_seal(message, NULL, &(Slice){ ret, (size_t) (at - ret) }, at), 0);
        (void) message_free(message);
        return (size_t) (at + MESSAGE_TAG_SIZE - ret);
}

/* The event loop and its clock. */

uint64_t now_monotonic_usec(void) {
        return world.now_usec;
}

/* The wall's clock is a million seconds ahead. */
uint64_t now_realtime_usec(void) {
        return world.now_usec + 1000000 * USEC_PER_SEC;
}

/* The session wants jitter. json-c wants a number other than -1 for its hashes. */
ssize_t getrandom(void *buffer, size_t size, unsigned flags) {
        bool is_jitter = flags == GRND_INSECURE && size == sizeof(world.random);

        if (is_jitter && world.no_random) {
                errno = ENOSYS;
                return -1;
        }
        memset(buffer, 1, size);
        if (is_jitter)
                memcpy(buffer, &world.random, size);
        return (ssize_t) size;
}

sd_event *sd_event_ref(sd_event *event) {
        assert_ptr_equal(event, &world.event);
        event->references++;
        return event;
}

sd_event *sd_event_unref(sd_event *event) {
        if (event)
                event->references--;
        return NULL;
}

static sd_event_source *new_source(struct sd_event_source source) {
        for (size_t i = 0; i < TIMERS_MAX; i++)
                if (!world.timers[i].exists) {
                        world.timers[i] = source;
                        world.timers[i].exists = true;
                        return world.timers + i;
                }
        fail_msg("more event sources than a session has");
        return NULL;
}

int sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
                      uint64_t accuracy, sd_event_time_handler_t handler, void *userdata) {
        assert_ptr_equal(event, &world.event);
        assert_int_equal(clock, CLOCK_MONOTONIC);
        assert_true(accuracy == 0 || accuracy == USEC_PER_MSEC);
        *ret = new_source((struct sd_event_source){
                        .enabled = SD_EVENT_ONESHOT,
                        .time_usec = usec,
                        .on_time = handler,
                        .userdata = userdata,
        });
        return 0;
}

int sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
                               uint64_t accuracy, sd_event_time_handler_t handler, void *userdata) {
        return sd_event_add_time(event, ret, clock, world.now_usec + usec, accuracy, handler, userdata);
}

int sd_event_add_defer(sd_event *event, sd_event_source **ret, sd_event_handler_t handler, void *userdata) {
        *ret = new_source((struct sd_event_source){
                        .enabled = SD_EVENT_ONESHOT,
                        .on_defer = handler,
                        .userdata = userdata,
        });
        return 0;
}

int sd_event_source_set_enabled(sd_event_source *source, int enabled) {
        source->enabled = enabled;
        return 0;
}

int sd_event_source_set_time(sd_event_source *source, uint64_t usec) {
        source->time_usec = usec;
        return 0;
}

int sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec) {
        source->time_usec = world.now_usec + usec;
        return 0;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *source) {
        if (source)
                *source = (struct sd_event_source){};
        return NULL;
}

/* The earliest source that is due by this time. */
static sd_event_source *next_due(uint64_t by) {
        sd_event_source *next = NULL;

        for (size_t i = 0; i < TIMERS_MAX; i++) {
                sd_event_source *source = world.timers + i;

                if (source->exists && source->enabled != SD_EVENT_OFF && source->time_usec <= by &&
                    (!next || source->time_usec < next->time_usec))
                        next = source;
        }
        return next;
}

static void pass(uint64_t usec) {
        uint64_t until = world.now_usec + usec;
        sd_event_source *source;

        while ((source = next_due(until))) {
                if (source->time_usec > world.now_usec)
                        world.now_usec = source->time_usec;
                source->enabled = SD_EVENT_OFF;
                assert_int_equal(source->on_defer ? source->on_defer(source, source->userdata)
                                                  : source->on_time(source, source->time_usec,
                                                                    source->userdata),
                                 0);
        }
        world.now_usec = until;
}

int sd_notify(int unset_environment, const char *state) {
        assert_false(unset_environment);
        (void) snprintf(world.notified, sizeof(world.notified), "%s", state);
        return 0;
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        size_t length = strlen(world.logged);
        va_list arguments;

        (void) snprintf(world.logged + length, sizeof(world.logged) - length, "<%d>", priority);
        length = strlen(world.logged);
        va_start(arguments, format);
        (void) vsnprintf(world.logged + length, sizeof(world.logged) - length, format, arguments);
        va_end(arguments);
        if (!fields)
                return;
        length = strlen(world.logged);
        (void) snprintf(world.logged + length, sizeof(world.logged) - length, " [%s secret=%s state=%s attempt=%u request=%s]\n",
                        fields->message_id ?: "", fields->secret ?: "", fields->state ?: "", fields->attempt,
                        fields->error ? fields->error->request_id : fields->request_id ?: "");
}

/* Activities that are under way. */

static void begin(UnderWay under_way) {
        assert_true(world.under_way_count < UNDER_WAY_MAX);
        trace("%s%s%s", under_way.what, under_way.name[0] ? ":" : "", under_way.name);
        world.under_way[world.under_way_count++] = under_way;
}

static unsigned count_under_way(const char *what) {
        unsigned count = 0;

        for (size_t i = 0; i < world.under_way_count; i++)
                count += strcmp(world.under_way[i].what, what) == 0;
        return count;
}

/* "decryption", or "decryption:NAME". */
static bool is_called(const UnderWay *under_way, const char *what) {
        size_t length = strlen(under_way->what);

        return strncmp(what, under_way->what, length) == 0 &&
               (what[length] == 0 ||
                (what[length] == ':' && strcmp(what + length + 1, under_way->name) == 0));
}

static bool is_under_way(const char *what) {
        for (size_t i = 0; i < world.under_way_count; i++)
                if (is_called(world.under_way + i, what))
                        return true;
        return false;
}

static UnderWay take_under_way(const char *what) {
        for (size_t i = 0; i < world.under_way_count; i++)
                if (is_called(world.under_way + i, what)) {
                        UnderWay taken = world.under_way[i];

                        memmove(world.under_way + i, world.under_way + i + 1,
                                (--world.under_way_count - i) * sizeof(taken));
                        return taken;
                }
        fail_msg("%s is not under way; the session did: %s", what, world.trace);
        return (UnderWay){};
}

static void forget_under_way(const Worker *worker) {
        size_t kept = 0;

        for (size_t i = 0; i < world.under_way_count; i++)
                if (world.under_way[i].worker != worker)
                        world.under_way[kept++] = world.under_way[i];
        world.under_way_count = kept;
}

static void give_credentials(AwsCredentials *ret) {
        WITH_MEMORY;

        ret->access_key_id = strdup(world.access_key);
        ret->secret_access_key = strdup("example");
}

static void answer_credentials(const UnderWay *call, int r, const Error *error) {
        AwsCredentials credentials = {};

        if (r < 0) {
                call->credentials(r, NULL, NULL, error, call->userdata);
                return;
        }
        (void) snprintf(world.access_key, sizeof(world.access_key), "AKID%u", ++world.credentials_count);
        give_credentials(&credentials);
        call->credentials(0, &credentials, "role", error, call->userdata);
}

static void answer_get(const UnderWay *call, int r, const Error *error) {
        const char *text = strcmp(call->what, "identity") == 0 ? "{\"accountId\":\"" ACCOUNT "\"}"
                                                               : world.user_data;

        if (r == 0 && !text)
                r = -ENOENT;
        call->got(r, r < 0 ? NULL : text, r < 0 ? 0 : strlen(text), error, call->userdata);
}

/* The answer of KMS about a secret: an envelope, and the ID of the request; NULL if no answer came, or one that is too long. */
static void answer_decryption(const UnderWay *call, int r, const Error *error) {
        char envelope[96], request_id[96];
        Error refused = *error;
        bool answered = r >= 0 || (error->failure != FAILURE_NETWORK && error->failure != FAILURE_TLS &&
                                   error->failure != FAILURE_ANSWER);

        /* Only the ciphertext of a new key is taken, if it is kept: the name of the secret, as that in a label. */
        (void) snprintf(envelope, sizeof(envelope), "%s%s",
                        strcmp(call->what, "generation") == 0 && declared_as(call->name)->generate_missing
                                        ? ""
                                        : "envelope of ",
                        call->name);
        (void) snprintf(request_id, sizeof(request_id), "decrypt-%s", call->name);
        (void) snprintf(refused.request_id, sizeof(refused.request_id), "%.60s",
                        r < 0 && answered ? request_id : "");
        call->decrypted(r, r < 0 ? NULL : (const uint8_t *) envelope, r < 0 ? 0 : strlen(envelope),
                        answered ? request_id : NULL, &refused, call->userdata);
}

static const Declaration *declared_with(const Source *source);

static void commit_what_was_put(Kept *kept) {
        for (size_t i = 0; i < kept->count; i++) {
                if (kept->items[i].put)
                        kept->items[i].fd = kept->items[i].put_fd;
                kept->items[i].committed = kept->items[i].put ||
                                           (kept->items[i].committed && !kept->items[i].unclaimed);
                kept->items[i].put = kept->items[i].unclaimed = false;
        }
        kept->locked = kept->locked && memcmp(&kept->lock, &kept->next_lock, sizeof(kept->lock)) == 0;
        kept->lock = kept->next_lock;
        kept->commits++;
        kept->events_count += kept->meant;
        trace(kept->meant > 0 ? "recorded" : "kept");
        kept->meant = 0;
}

static void answer_commit(const UnderWay *call, int r, const Error *error) {
        if (r >= 0)
                commit_what_was_put(&world.kept);
        call->committed(r, error, call->userdata);
}

static void answer_first(const UnderWay *call, int r, const Error *error) {
        const ObjectVersion version = { .size = 3 * 1024 * 1024 };
        uint8_t header[1024];
        size_t size = late_header(declared_as(call->name), header);

        call->first(r, header, size, &version, error, call->userdata);
}

/* A message is whole, or nothing of it is left. */
static void answer_body(const UnderWay *call, int r, const Error *error) {
        StoreDraft *draft = TAKE_PTR(call->body->draft);

        if (r >= 0) {
                draft->whole = true;
                call->body->ended(0, draft, 3 * 1024 * 1024, error, call->body->userdata);
        } else {
                (void) store_draft_free(draft);
                call->body->ended(r, NULL, 0, error, call->body->userdata);
        }
}

static void answer(const char *what, int r, const Error *error) {
        UnderWay call = take_under_way(what);

        if (call.worker) {
                call.job(call.userdata);
                call.done(call.userdata);
        } else if (call.credentials)
                answer_credentials(&call, r, error);
        else if (call.got)
                answer_get(&call, r, error);
        else if (call.connected)
                call.connected(r, error, call.userdata);
        else if (call.committed)
                answer_commit(&call, r, error);
        else if (call.decrypted)
                answer_decryption(&call, r, error);
        else if (call.answered)
                call.answered(r, r < 0 ? NULL : "{}", r < 0 ? 0 : 2, "probe-1", error, call.userdata);
        else if (call.body)
                answer_body(&call, r, error);
        else if (call.first)
                answer_first(&call, r, error);
        else if (strcmp(call.what, "signature") == 0) {
                const char *text = world.signatures[declared(call.name, strlen(call.name))];

                call.fetched(r, (const uint8_t *) text, strlen(text), error, call.userdata);
        } else
                call.fetched(r, (const uint8_t *) call.name, strlen(call.name), error, call.userdata);
        pass(0);
}

static void fail_with(const char *what, const Error *error) {
        world.trouble_at = what;
        world.trouble = *error;
        answer(what, -EIO, error);
        world.trouble_at = NULL;
}

/* Ends an activity with success. For a probe, that is a denial. */
static void finish(const char *what) {
        Error none = {};

        if (strncmp(what, "probe", strlen("probe")) == 0) {
                (void) snprintf(none.code, sizeof(none.code), "AccessDeniedException");
                answer(what, -EACCES, &none);
        } else
                answer(what, 0, &none);
}

static void finish_all(const char *what) {
        while (count_under_way(what) > 0)
                finish(what);
}

/* Ends everything with success, except this activity, which stays under way. NULL: no exception. */
static void go_on_but(const char *except) {
        for (size_t i = 0; i < world.under_way_count;) {
                if (except && strcmp(world.under_way[i].what, except) == 0) {
                        i++;
                        continue;
                }
                finish(world.under_way[i].what);
                i = 0;
        }
}

/* Threads. */

int worker_new(sd_event *event, const char *name, Worker **ret) {
        assert_ptr_equal(event, &world.event);
        assert_true(strcmp(name, "tpm") == 0 || strcmp(name, "key-pair") == 0);
        *ret = strcmp(name, "tpm") == 0 ? &world.tpm_worker : &world.key_worker;
        (*ret)->is_of_tpm = *ret == &world.tpm_worker;
        return outcome("worker", NULL);
}

/* Returns whether no secret needs the TPM any more. */
static bool are_all_here(void) {
        size_t committed = 0;

        for (size_t i = 0; i < world.kept.count; i++)
                committed += world.kept.items[i].committed;
        return world.kept.commits > 0 || (committed > 0 && committed == world.declarations.count);
}

static bool is_to_be_measured(void) {
        return world.kept.measured < world.kept.events_count && are_all_here();
}

static bool is_to_be_locked(void) {
        return world.kept.lock.pcr > 0 && !world.kept.locked && are_all_here();
}

static struct Tpm played_tpm;

int worker_submit(Worker *worker, WorkerJob job, WorkerDone done, void *userdata) {
        const char *what = !worker->is_of_tpm    ? world.recipients > 0 ? "open" : "key-pair"
                           : is_to_be_measured() ? "measurement"
                           : is_to_be_locked()   ? "lock"
                           : played_tpm.prepared ? "document"
                                                 : "TPM";

        if (outcome("submit", NULL) < 0)
                return -ENOMEM;
        begin((UnderWay){ .what = what, .worker = worker, .job = job, .done = done, .userdata = userdata });
        return 0;
}

/* The job under way runs to its end. The jobs behind it never begin. */
Worker *worker_free(Worker *worker) {
        for (size_t i = 0; i < world.under_way_count; i++)
                if (worker && world.under_way[i].worker == worker) {
                        world.under_way[i].job(world.under_way[i].userdata);
                        break;
                }
        forget_under_way(worker);
        return NULL;
}

/* The job under way is that of a TPM that never answers. */
void worker_abandon(Worker *worker, WorkerCleanUp clean_up, void *userdata) {
        if (worker)
                forget_under_way(worker);
        clean_up(userdata);
}

/* The key pair. */

static struct Recipient played_recipient;

int recipient_new(unsigned bits, Recipient **ret, Error *error) {
        int r = outcome("key-pair", error);

        assert_int_equal(bits, KEY_BITS);
        if (r < 0)
                return r;
        world.recipients++;
        *ret = &played_recipient;
        return 0;
}

Recipient *recipient_free(Recipient *recipient) {
        if (recipient) {
                world.recipients--;
                trace("wiped");
        }
        return NULL;
}

Slice recipient_public_key(const Recipient *recipient) {
        assert_ptr_equal(recipient, &played_recipient);
        return (Slice){ (const uint8_t *) PUBLIC_KEY, strlen(PUBLIC_KEY) };
}

/* The plaintext of a secret is its name. */
int recipient_open(Recipient *recipient, const uint8_t *cms, size_t size, Secret **ret, Error *error) {
        WITH_MEMORY;
        size_t prefix = strlen("envelope of ");
        int r = outcome("open", error);

        assert_ptr_equal(recipient, &played_recipient);
        assert_true(size > prefix);
        assert_memory_equal(cms, "envelope of ", prefix);
        if (r < 0)
                return r;
        if (world.declarations_items[declared(cms + prefix, size - prefix)].late) {
                r = secret_new(strlen(LATE_DATA_KEY), ret);
                if (r >= 0)
                        memcpy(secret_bytes(*ret), LATE_DATA_KEY, strlen(LATE_DATA_KEY));
                return r;
        }
        r = secret_new(size - prefix, ret);
        if (r >= 0)
                memcpy(secret_bytes(*ret), cms + prefix, size - prefix);
        return r;
}

/* The TPM and its document. */

int tpm_open(const char *tcti, Tpm **ret, Error *error) {
        int r = outcome("TPM", error);

        assert_non_null(tcti);
        assert_string_equal(tcti, TPM_DEVICE);
        if (r < 0)
                return r;
        assert_int_equal(world.tpms, 0); /* /dev/tpm0 has one opener at a time */
        world.tpms++;
        *ret = &played_tpm;
        return 0;
}

Tpm *tpm_close(Tpm *tpm) {
        if (tpm) {
                world.tpms--;
                tpm->prepared = false;
        }
        return NULL;
}

int tpm_prepare(Tpm *tpm, unsigned *ret_leftovers, Error *error) {
        int r = outcome("prepare", error);

        if (r < 0)
                return r;
        *ret_leftovers = world.leftovers;
        tpm->prepared = true;
        return 0;
}

int tpm_attest(Tpm *tpm, const NsmRequest *request, uint8_t **ret, size_t *ret_size, Error *error) {
        WITH_MEMORY;
        int r = outcome("document", error);

        if (r < 0)
                return r;
        assert_true(tpm->prepared);
        assert_int_equal(request->public_key.size, strlen(PUBLIC_KEY));
        assert_memory_equal(request->public_key.data, PUBLIC_KEY, request->public_key.size);
        assert_null(request->nonce.data);
        assert_null(request->user_data.data);
        (void) snprintf(world.document, sizeof(world.document), "document %u", ++world.documents_count);
        *ret = (uint8_t *) strdup(world.document);
        *ret_size = strlen(world.document);
        return 0;
}

int tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrSet *ret, Error *error) {
        const Kept *kept = &world.kept;
        bool measuring = kept->measured < kept->events_count;
        int r = outcome(measuring ? "measurement" : "lock", error);
        uint32_t wanted = measuring ? 0 : UINT32_C(1) << world.settings.lock_pcr;

        if (r < 0)
                return r;
        for (size_t i = kept->measured; i < kept->events_count; i++)
                wanted |= UINT32_C(1) << kept->events[i].pcr;
        assert_ptr_equal(tpm, &played_tpm);
        assert_int_equal(mask, wanted);
        *ret = world.pcrs;
        return 0;
}

/* Returns whether this is an event that is not extended yet. */
static bool is_event(unsigned pcr, const uint8_t digest[static PCR_SIZE]) {
        uint8_t wanted[PCR_SIZE];

        for (size_t i = world.kept.measured; i < world.kept.events_count; i++) {
                const ManifestEvent *event = world.kept.events + i;

                assert_int_equal(secret_event_digest(event->name, event->sealed, wanted), 0);
                if (event->pcr == pcr && memcmp(wanted, digest, PCR_SIZE) == 0) {
                        trace("extended:%u:%s", pcr, event->name);
                        return true;
                }
        }
        return false;
}

int tpm_extend_pcr(Tpm *tpm, unsigned pcr, const uint8_t digest[static PCR_SIZE], Error *error) {
        WITH_MEMORY;
        uint8_t wanted[PCR_SIZE];
        int r = outcome("extend", error);

        if (r < 0)
                return r;
        assert_ptr_equal(tpm, &played_tpm);
        if (is_event(pcr, digest))
                return pcr_extend(world.pcrs.value[pcr], digest);
        assert_int_equal(pcr, world.settings.lock_pcr);
        assert_int_equal(pcr_lock_digest(wanted), 0);
        assert_memory_equal(digest, wanted, PCR_SIZE);
        trace("extended:%u", pcr);
        return pcr_extend(world.pcrs.value[pcr], digest);
}

int attestation_parse(const uint8_t *data, size_t size, AttestationDocument **ret, Error *error) {
        WITH_MEMORY;
        AttestationDocument *document = calloc(1, sizeof(*document));

        assert_non_null(document);
        assert_int_equal(size, strlen(world.document));
        assert_memory_equal(data, world.document, size);
        document->public_key = (Slice){
                .data = (const uint8_t *) (world.document_of_other_key ? "another k." : PUBLIC_KEY),
                .size = strlen(PUBLIC_KEY),
        };
        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (i != 16) /* a document may leave PCRs out */
                        document->pcrs[i] = (Slice){ .data = world.pcrs.value[i], .size = PCR_SIZE };
        *ret = document;
        return 0;
}

AttestationDocument *attestation_free(AttestationDocument *document) {
        free(document);
        return NULL;
}

/* The network. */

int network_new(sd_event *event, NetworkChanged changed, void *userdata, Network **ret) {
        assert_ptr_equal(event, &world.event);
        world.network_changed = changed;
        world.network_userdata = userdata;
        *ret = &world.network;
        return outcome("network", NULL);
}

Network *network_free(Network *network) {
        return NULL;
}

static void change_network(void) {
        world.network_changed(world.network_userdata);
        pass(0);
}

int http_trust_new(const char *path, X509_STORE **ret, Error *error) {
        WITH_MEMORY;
        int r = outcome("trust", error);

        assert_non_null(path);
        assert_string_equal(path, TRUSTED);
        if (r < 0)
                return r;
        world.trusted = *ret = X509_STORE_new();
        assert_non_null(*ret);
        return 0;
}

/* The client for IMDS never has a proxy. The client for AWS has the trusted roots, and Proxy=. */
int http_client_new(sd_event *event, const HttpOptions *options, HttpClient **ret) {
        assert_ptr_equal(event, &world.event);
        if (options->trusted) {
                assert_ptr_equal(options->trusted, world.trusted);
                assert_non_null(options->proxy);
                assert_string_equal(options->proxy, PROXY);
                assert_int_equal(options->connections_max, 25);
                assert_int_equal(options->connect_timeout_usec, 0);
                *ret = &world.aws_http;
                return outcome("http", NULL);
        }
        assert_null(options->proxy);
        assert_int_equal(options->connections_max, 3);
        assert_int_equal(options->connect_timeout_usec, USEC_PER_SEC);
        *ret = &world.imds_http;
        return outcome("imds-http", NULL);
}

HttpClient *http_client_free(HttpClient *client) {
        return NULL;
}

int imds_new(HttpClient *http, const char *address, const char *address_ipv6, Imds **ret) {
        assert_ptr_equal(http, &world.imds_http);
        assert_string_equal(address, "http://169.254.169.254");
        assert_string_equal(address_ipv6, "http://[fd00:ec2::254]");
        *ret = &world.imds;
        return outcome("imds", NULL);
}

Imds *imds_free(Imds *imds) {
        return NULL;
}

int imds_get_credentials(Imds *imds, ImdsCredentialsCallback callback, void *userdata) {
        assert_ptr_equal(imds, &world.imds);
        begin((UnderWay){ .what = "credentials", .credentials = callback, .userdata = userdata });
        return 0;
}

int imds_get(Imds *imds, const char *path, ImdsGetCallback callback, void *userdata) {
        bool is_identity = strcmp(path, "/latest/dynamic/instance-identity/document") == 0;

        assert_ptr_equal(imds, &world.imds);
        if (!is_identity)
                assert_string_equal(path, "/latest/user-data");
        begin((UnderWay){ .what = is_identity ? "identity" : "user-data",
                          .got = callback,
                          .userdata = userdata });
        return 0;
}

/* AWS General Reference, "AWS Key Management Service endpoints". */
int kms_client_new(HttpClient *http, const char *endpoint, const char *region, KmsClient **ret) {
        char wanted[128];

        assert_ptr_equal(http, &world.aws_http);
        (void) snprintf(wanted, sizeof(wanted), "https://kms%s.%s.%s", world.settings.fips ? "-fips" : "",
                        region, world.settings.dual_stack ? "api.aws" : "amazonaws.com");
        assert_string_equal(endpoint, world.settings.kms_endpoint ?: wanted);
        *ret = calloc(1, sizeof(**ret));
        if (!*ret)
                return -ENOMEM;
        (void) snprintf((*ret)->region, sizeof((*ret)->region), "%s", region);
        return 0;
}

KmsClient *kms_client_free(KmsClient *client) {
        free(client);
        return NULL;
}

static void assert_is_newest(const AwsCredentials *credentials) {
        assert_non_null(credentials);
        assert_non_null(credentials->access_key_id);
        assert_string_equal(credentials->access_key_id, world.access_key);
        assert_non_null(credentials->secret_access_key);
}

void kms_client_set_credentials(KmsClient *client, const AwsCredentials *credentials) {
        assert_is_newest(credentials);
        client->credentials = credentials;
}

int kms_connect(KmsClient *client, KmsConnected callback, void *userdata) {
        UnderWay call = { .what = "connection", .connected = callback, .userdata = userdata };

        memcpy(call.name, client->region, sizeof(client->region));
        begin(call);
        return 0;
}

static size_t count_strings(char *const *strings) {
        size_t count = 0;

        while (strings && strings[count])
                count++;
        return count;
}

/* The encryption context that the declaration asks for, and nothing else. */
static void assert_context(const Declaration *declaration, const char *const *context) {
        size_t count = count_strings(declaration->encryption_context);

        assert_non_null(context);
        if (declaration->late) { /* that of the header, in its order */
                assert_string_equal(context[0], declaration->encryption_context[1]);
                assert_string_equal(context[1], declaration->encryption_context[0]);
                assert_null(context[2]);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                assert_non_null(context[i]);
                assert_string_equal(context[i], declaration->encryption_context[i]);
        }
        if (declaration->bind_account) {
                assert_non_null(context[count]);
                assert_string_equal(context[count++], "unseald:account=" ACCOUNT);
        }
        assert_null(context[count]);
}

/* The secret that KMS makes is known by its encryption context. */
static size_t declared_in_context(const char *pair) {
        size_t length = strlen("unseald:secret=");

        assert_non_null(pair);
        assert_int_equal(strncmp(pair, "unseald:secret=", length), 0);
        return declared(pair + length, strlen(pair) - length);
}

static bool is_declared_key(const Declaration *declaration, const char *arn) {
        for (char *const *key = declaration->key_ids; *key; key++)
                if (strcmp(*key, arn) == 0)
                        return true;
        return false;
}

/* The ciphertext of a secret is its name. */
int kms_decrypt(KmsClient *client, const KmsDecrypt *decrypt, KmsDecrypted callback, void *userdata) {
        bool generates = decrypt->generate > 0;
        UnderWay call = { .what = generates ? "generation" : "decryption",
                          .decrypted = callback,
                          .userdata = userdata };
        size_t secret = generates ? declared_in_context(decrypt->encryption_context[0])
                                  : declared(decrypt->ciphertext.data, decrypt->ciphertext.size);
        const Declaration *declaration = world.declarations_items + secret;

        assert_is_newest(client->credentials);
        assert_non_null(decrypt->key_id);
        assert_non_null(strstr(decrypt->key_id, client->region));
        assert_true(is_declared_key(declaration, decrypt->key_id));
        assert_non_null(decrypt->document.data);
        assert_int_equal(decrypt->document.size, strlen(world.document));
        assert_memory_equal(decrypt->document.data, world.document, decrypt->document.size);
        assert_non_null(decrypt->key_ids);
        for (size_t i = 0; i <= count_strings(declaration->key_ids); i++)
                assert_ptr_equal(decrypt->key_ids[i], declaration->key_ids[i]);
        assert_context(declaration, decrypt->encryption_context);
        assert_int_equal(decrypt->generate, decrypt->ciphertext.size == 0 ? declaration->generate : 0);
        assert_int_equal(decrypt->keeps_ciphertext, generates && declaration->generate_missing);
        assert_int_equal(generates, decrypt->ciphertext.size == 0);
        memcpy(call.name, declaration->name, strlen(declaration->name));
        begin(call);
        if (decrypt->key_id != declaration->key_ids[0])
                trace("in:%s", client->region);
        return 0;
}

/* Checks the body of a dry run, and takes the name of the secret out of it. Returns whether it asks for a new data key. */
static bool check_probe(const char *body, const char *region, char *ret, size_t size) {
        WITH_MEMORY;
        _cleanup_json_ struct json_object *request = NULL;
        _cleanup_free_ uint8_t *name = NULL;
        const char *ciphertext, *context[8] = {};
        char pairs[8][128];
        size_t length, count = 0;
        const Declaration *declaration;

        assert_int_equal(json_parse(body, strlen(body), &request), 0);
        assert_true(json_object_get_boolean(json_member(request, "DryRun")));
        assert_null(json_member(request, "Recipient"));
        ciphertext = json_member_string(request, "CiphertextBlob");
        if (!ciphertext) {
                const char *secret = json_member_string(json_member(request, "EncryptionContext"),
                                                        "unseald:secret");

                assert_non_null(secret);
                length = strlen(secret);
                name = (uint8_t *) strdup(secret);
        } else
                assert_int_equal(base64_decode(ciphertext, strlen(ciphertext), &name, &length), 0);
        assert_non_null(name);
        assert_true(length < size);
        declaration = world.declarations_items + declared(name, length);
        assert_int_equal(ciphertext ? 0 : declaration->generate,
                         json_object_get_int(json_member(request, "NumberOfBytes")));
        assert_non_null(strstr(json_member_string(request, "KeyId"), region));
        assert_true(is_declared_key(declaration, json_member_string(request, "KeyId")));
        json_object_object_foreach(json_member(request, "EncryptionContext"), key, value) {
                assert_true(count < ELEMENTSOF(pairs));
                (void) snprintf(pairs[count], sizeof(pairs[count]), "%s=%s", key,
                                json_object_get_string(value));
                context[count] = pairs[count];
                count++;
        }
        assert_context(declaration, context);
        *((char *) mempcpy(ret, name, length)) = '\0';
        return !ciphertext;
}

int kms_request(KmsClient *client, const char *operation, const char *body, KmsAnswered callback,
                void *userdata) {
        UnderWay call = { .what = "probe", .answered = callback, .userdata = userdata };
        const Declaration *declaration;
        bool generates;

        assert_is_newest(client->credentials);
        generates = check_probe(body, client->region, call.name, sizeof(call.name));
        declaration = declared_as(call.name);
        assert_true(generates ? declaration->generate > 0 : !declaration_is_of_one_boot(declaration));
        assert_string_equal(operation, generates ? "GenerateDataKey" : "Decrypt");
        begin(call);
        if (generates && declaration->generate_missing)
                trace("of-generation");
        return 0;
}

int fetcher_new(HttpClient *http, Fetcher **ret) {
        assert_ptr_equal(http, &world.aws_http);
        *ret = &world.fetcher;
        return outcome("fetcher", NULL);
}

Fetcher *fetcher_free(Fetcher *fetcher) {
        return NULL;
}

void fetcher_set_credentials(Fetcher *fetcher, const AwsCredentials *credentials) {
        assert_ptr_equal(fetcher, &world.fetcher);
        assert_is_newest(credentials);
        world.fetcher_credentials = credentials;
}

static const Declaration *declared_with(const Source *source) {
        for (size_t i = 0; i < world.declarations.count; i++)
                if (source == &world.declarations_items[i].source ||
                    (source == &world.declarations_items[i].signature &&
                     world.declarations_items[i].signed_by))
                        return world.declarations_items + i;
        fail_msg("no secret has this source");
        return NULL;
}

/* SourceRegion=, by default the Region of the first key. */
static void assert_region(const Declaration *declaration, const char *region) {
        char key[64];

        if (declaration->source_region) {
                assert_string_equal(region, declaration->source_region);
                return;
        }
        (void) snprintf(key, sizeof(key), "arn:aws:kms:%s:", region);
        assert_memory_equal(declaration->key_ids[0], key, strlen(key));
}

int source_fetch(Fetcher *fetcher, const Fetch *fetch, SourceFetched callback, void *userdata) {
        UnderWay call = { .what = "fetch", .fetched = callback, .userdata = userdata };
        const Declaration *declaration = declared_with(fetch->source);

        assert_ptr_equal(fetcher, &world.fetcher);
        if (source_is_signed(fetch->source))
                assert_is_newest(world.fetcher_credentials);
        assert_string_equal(fetch->partition, "aws");
        assert_region(declaration, fetch->region);
        assert_int_equal(fetch->maximum,
                         fetch->source->is_signature ? SIGNATURE_FILE_MAX : declaration->size_max);
        assert_int_equal(fetch->fips, world.settings.fips);
        assert_int_equal(fetch->dual_stack, world.settings.dual_stack);
        call.what = fetch->source->is_signature ? "signature" : "fetch";
        (void) snprintf(call.name, sizeof(call.name), "%s", declaration->name);
        begin(call);
        return 0;
}

/* Of a message only the header comes: tests/integration/message-ranges.sh has whole ones, in pieces. */
int source_fetch_first(Fetcher *fetcher, const Fetch *fetch, size_t asked, size_t of_longer,
                       ObjectFetched callback, void *userdata) {
        UnderWay call = { .what = "fetch", .first = callback, .userdata = userdata };
        const Declaration *declaration = declared_with(fetch->source);

        assert_ptr_equal(fetcher, &world.fetcher);
        assert_true(declaration->late);
        (void) snprintf(call.name, sizeof(call.name), "%s", declaration->name);
        begin(call);
        return 0;
}

int pieces_new_remote(Fetcher *fetcher, const Fetch *fetch, const ObjectVersion *version,
                      const PiecesPlan *plan, const PiecesSink *sink, PiecesTrouble trouble,
                      void *trouble_userdata, Pieces **ret, Error *error) {
        fail();
        return -EINVAL;
}

void pieces_remote_begin_with(Pieces *pieces, const uint8_t *data, size_t size) {
        fail();
}

int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error) {
        WITH_MEMORY;
        const Declaration *declaration = declared_with(source);
        int r = outcome(source->is_signature ? "signature-file" : "file", error);
        const char *text = source->is_signature ? world.signatures[declaration - world.declarations_items]
                                                : source->location;

        assert_int_equal(maximum, source->is_signature ? SIGNATURE_FILE_MAX : declaration->size_max);
        if (r < 0)
                return r;
        *ret = (uint8_t *) strdup(text);
        *ret_size = strlen(text);
        return 0;
}

/* The ciphertext in the label of the volume is the name of the secret. */
int source_read_label(const Source *source, const SourceLabelPlaces *places, uint8_t **ret, size_t *ret_size,
                      Error *error) {
        WITH_MEMORY;
        const Declaration *declaration = declared_with(source);
        int r = outcome("label", error);

        assert_string_equal(places->labels, "labels");
        if (r < 0)
                return r;
        if (world.unread)
                return error_set_remedy(error, -EIO, FAILURE_UNAVAILABLE, REMEDY_RETRY, "not read yet");
        if (world.blank)
                return 1;
        *ret = (uint8_t *) strdup(declaration->name);
        *ret_size = strlen(declaration->name);
        return 0;
}

int source_write_sealed(const Source *source, const char *directory, const uint8_t *ciphertext, size_t size,
                        Error *error) {
        const Declaration *declaration = declared_with(source);

        assert_string_equal(directory, "sealed");
        assert_int_equal(size, strlen(declaration->name));
        assert_memory_equal(ciphertext, declaration->name, size);
        trace("sealed:%s", declaration->name);
        return outcome("sealed", error);
}

/* The store and the kept secrets. */

int store_open(const char *path, Store **ret, Error *error) {
        int r = outcome("store", error);

        assert_string_equal(path, "store");
        if (r >= 0)
                *ret = &world.store;
        return r;
}

Store *store_free(Store *store) {
        return NULL;
}

static void assert_owner(const Declaration *declaration, uid_t uid, gid_t gid, mode_t mode) {
        assert_int_equal(uid, declaration->user ? getpwnam(declaration->user)->pw_uid : 0);
        assert_int_equal(gid, declaration->group ? getgrnam(declaration->group)->gr_gid : 0);
        assert_int_equal(mode, declaration->mode);
}

static bool is_late_key(Secret *secret) {
        return secret_size(secret) == LATE_KEY_DIGEST_SIZE + strlen(LATE_DATA_KEY);
}

static int new_file(Secret *secret) {
        if (is_late_key(secret)) {
                world.plaintext[0] = 0;
                return ++world.next_fd;
        }
        const char *name = world.names[declared(secret_bytes(secret), secret_size(secret))];

        (void) snprintf(world.plaintext, sizeof(world.plaintext), "%s", name);
        return ++world.next_fd;
}

int store_prepare(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode,
                  int *ret_fd, Error *error) {
        int r = outcome("prepare-file", error);

        if (r < 0)
                return r;
        assert_ptr_equal(store, &world.store);
        assert_true(declared_as(name)->store);
        assert_owner(declared_as(name), uid, gid, mode);
        *ret_fd = new_file(secret);
        assert_string_equal(world.plaintext, name);
        trace("hidden:%s", name);
        return 0;
}

int store_hold(Store *store, Secret *secret, int *ret_fd, Error *error) {
        assert_ptr_equal(store, &world.store);
        *ret_fd = new_file(secret);
        if (!is_late_key(secret))
                assert_false(declared_as(world.plaintext)->store);
        trace("held");
        return 0;
}

int store_publish(Store *store, const char *name, int fd, Error *error) {
        int r = outcome("publish", error);

        assert_ptr_equal(store, &world.store);
        assert_true(declared_as(name)->store);
        assert_int_equal(fd, kept_find(&world.kept, name));
        if (declared_as(name)->late) { /* after READY=1, and whole */
                assert_true(world.ended > 0);
                assert_int_equal(fd, world.whole_fd[declared(name, strlen(name))]);
        }
        if (r >= 0) {
                world.published[declared(name, strlen(name))] = true;
                trace("published:%s", name);
        }
        return r;
}

/* The sizes of the settings reach both, before anything is put. */
void store_set_size_max(Store *store, uint64_t size_max) {
        assert_ptr_equal(store, &world.store);
        assert_int_equal(size_max, world.settings.store_size_max);
}

void kept_set_size_max(Kept *kept, uint64_t size_max) {
        assert_ptr_equal(kept, &world.kept);
        assert_int_equal(size_max, world.settings.store_size_max);
}

/* Large messages. Their bodies are in tests/unit/test-body.c, and the way to them in tests/integration/message-large.sh. */

int source_open_large(const Source *source, uint64_t whole_max, uint8_t **ret, size_t *ret_size,
                      uint64_t *ret_message_size, int *ret_fd, Error *error) {
        WITH_MEMORY;
        const Declaration *declaration = declared_with(source);
        uint8_t header[1024];
        int r;

        if (!declaration->late)
                return 0;
        r = outcome("file", error);
        if (r < 0)
                return r;
        *ret_size = late_header(declaration, header);
        *ret = malloc(*ret_size);
        assert_non_null(*ret);
        memcpy(*ret, header, *ret_size);
        *ret_message_size = 3 * 1024 * 1024;
        *ret_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return 1;
}

void rest_clear(Rest *rest) {
        if (rest->fd >= 0)
                (void) close(TAKE_FD(rest->fd));
        rest->size = 0;
}

bool rest_exists(const Rest *rest) {
        return rest->size > 0;
}

int rest_take_object(Rest *rest, const Source *source, const uint8_t *data, size_t size,
                     const ObjectVersion *version, size_t maximum, uint8_t **ret, size_t *ret_size,
                     Error *error) {
        *ret = malloc(size);
        assert_non_null(*ret);
        memcpy(*ret, data, size);
        *ret_size = size;
        rest->size = version->size;
        return 0;
}

unsigned rest_limit(const Rest *rest, BodyPlan *plan) {
        return 1;
}

int rest_begin(Rest *rest, sd_event *event, Fetcher *fetcher, const Fetch *fetch, const BodyPlan *plan,
               Body *body, PiecesTrouble trouble, void *userdata, Error *error) {
        return outcome("rest", error);
}

/* Two of them fit side by side. */
int body_plan(const MessageHeader *header, uint64_t size, uint64_t size_max, unsigned processors,
              BodyPlan *ret, Error *error) {
        *ret = (BodyPlan){ .plaintext_min = size, .plaintext_max = size, .threads = 1 };
        return 0;
}

BodyCost body_cost(const BodyPlan *plan, unsigned connections) {
        return (BodyCost){ .bytes = BODY_BUFFERS_MAX / 2, .threads = 1, .connections = 1 };
}

/* Only READY=1 lets bodies begin: what the store and the threads do for them must not hold up the other secrets. */
int body_new(sd_event *event, const BodyPlan *plan, const MessageHeader *header, uint64_t size_max,
             Message *message, StoreDraft *draft, BodyEnded ended, void *userdata, Body **ret,
             Error *error) {
        UnderWay call = { .what = "body" };

        assert_true(world.ended > 0);
        (void) message_free(message);
        if (outcome("body", error) < 0) {
                (void) store_draft_free(draft);
                return -EIO;
        }
        *ret = call.body = calloc(1, sizeof(**ret));
        assert_non_null(call.body);
        *call.body = (Body){ .draft = draft, .ended = ended, .userdata = userdata };
        world.bodies++;
        assert_in_range(world.bodies, 1, 2);
        (void) snprintf(call.name, sizeof(call.name), "%s", draft->declaration->name);
        begin(call);
        return 0;
}

uint64_t body_written(const Body *body) {
        return 1024 * 1024;
}

void body_discard(StoreDraft *draft) {
        (void) store_draft_free(draft);
}

Body *body_free(Body *body) {
        if (!body)
                return NULL;
        for (size_t i = 0; i < world.under_way_count; i++)
                if (world.under_way[i].body == body) {
                        memmove(world.under_way + i, world.under_way + i + 1,
                                (--world.under_way_count - i) * sizeof(world.under_way[0]));
                        break;
                }
        (void) store_draft_free(body->draft);
        world.bodies--;
        free(body);
        return NULL;
}

int store_draft_begin(Store *store, const char *name, uint64_t size, StoreDraft **ret, Error *error) {
        int r = outcome("draft", error);

        assert_ptr_equal(store, &world.store);
        assert_true(declared_as(name)->late);
        if (r < 0)
                return r;
        *ret = calloc(1, sizeof(**ret));
        assert_non_null(*ret);
        (*ret)->declaration = declared_as(name);
        world.drafts++;
        return 0;
}

StoreDraft *store_draft_free(StoreDraft *draft) {
        world.drafts -= draft != NULL;
        free(draft);
        return NULL;
}

/* Only a reload copies what is late and published already (delivery.c). No walk here is a reload. */
int store_draft_write(StoreDraft *draft, const uint8_t *data, size_t size, uint64_t offset) {
        fail();
        return -EIO;
}

static int end_draft(StoreDraft *draft, int *ret_fd, Error *error) {
        size_t i = (size_t) (draft->declaration - world.declarations_items);
        int r = outcome("finish-draft", error);

        assert_true(draft->whole);
        (void) store_draft_free(draft);
        if (r >= 0)
                *ret_fd = world.whole_fd[i] = ++world.next_fd;
        return r;
}

int store_draft_finish(StoreDraft *draft, uid_t uid, gid_t gid, mode_t mode, int *ret_fd, Error *error) {
        assert_true(draft->declaration->store);
        assert_owner(draft->declaration, uid, gid, mode);
        return end_draft(draft, ret_fd, error);
}

int store_draft_hold(StoreDraft *draft, int *ret_fd, Error *error) {
        assert_false(draft->declaration->store);
        return end_draft(draft, ret_fd, error);
}

bool store_can_publish(const Store *store, const char *name, int fd, uid_t uid, gid_t gid, mode_t mode) {
        assert_ptr_equal(store, &world.store);
        assert_owner(declared_as(name), uid, gid, mode);
        assert_int_equal(fd, kept_find(&world.kept, name));
        return !world.cannot_publish;
}

int store_read(int fd, Secret **ret) {
        WITH_MEMORY;
        const char *name = NULL;
        int r = outcome("read", NULL);

        if (r < 0)
                return r;
        for (size_t i = 0; i < world.kept.count; i++)
                if (world.kept.items[i].committed && world.kept.items[i].fd == fd)
                        name = world.kept.items[i].name;
        assert_non_null(name);
        r = secret_new(strlen(name), ret);
        if (r >= 0)
                memcpy(secret_bytes(*ret), name, strlen(name));
        return r;
}

/* Either nothing stays, or the kept files of all declared secrets, under their names if these are for the store. */
int store_retain(Store *store, const StoreFile *files, size_t count, Error *error) {
        int r = outcome("retain", error);

        assert_ptr_equal(store, &world.store);
        trace("retained:%zu", count);
        if (world.has_late) {
                assert_int_equal(world.ended, 0); /* nobody's files go because of a late secret */
                return r;
        }
        assert_true(count == 0 || count == world.declarations.count ||
                    (world.options.replaced && count == world.options.replaced->count));
        for (size_t i = 0; i < count; i++) {
                const Declaration *declaration = world.declarations_items + i;

                assert_int_equal(files[i].fd, kept_find(&world.kept, declaration->name));
                if (declaration->store)
                        assert_string_equal(files[i].name, declaration->name);
                else
                        assert_null(files[i].name);
        }
        return r;
}

/* No secret here is a bundle. */

int store_stage(Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid, gid_t gid,
                mode_t mode, char **ret_hidden, Error *error) {
        fail();
        return -EINVAL;
}

int store_reveal(Store *store, const char *name, const char *hidden, Error *error) {
        fail();
        return -EINVAL;
}

bool store_shows(const Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid,
                 gid_t gid, mode_t mode) {
        fail();
        return false;
}

const ManifestMember *kept_members(const Kept *kept, const char *name, size_t *ret_count) {
        *ret_count = 0;
        return NULL;
}

static size_t kept_index(const Kept *kept, const char *name) {
        size_t i = 0;

        assert_ptr_equal(kept, &world.kept);
        while (i < kept->count && strcmp(kept->items[i].name, name) != 0)
                i++;
        return i;
}

/* The secret itself, or the one whose data key it is. */
static size_t claimed_by(const char *name) {
        size_t length = strlen(name), suffix = strlen(MANIFEST_KEY_SUFFIX);
        bool is_key = length > suffix && strcmp(name + length - suffix, MANIFEST_KEY_SUFFIX) == 0;
        size_t i = declared(name, length - (is_key ? suffix : 0));

        assert_true(!is_key || world.declarations_items[i].late);
        return i;
}

static void assert_claim(const KeptClaim *claim) {
        WITH_MEMORY;
        uint8_t digest[DECLARATION_DIGEST_SIZE];

        assert_int_equal(declaration_digest(world.declarations_items + claimed_by(claim->name), digest), 0);
        assert_memory_equal(claim->stands_for, digest, sizeof(digest));
}

static void assert_claims(const KeptClaim *claims, size_t count) {
        assert_in_range(count, world.declarations.count, world.declarations.count * (1 + world.has_late));
        for (size_t i = 0; i < count; i++) {
                if (i < world.declarations.count)
                        assert_string_equal(claims[i].name, world.names[i]);
                assert_claim(claims + i);
        }
}

int kept_restore(Kept *kept, const Store *store, const KeptClaim *claims, size_t count, Error *error) {
        assert_ptr_equal(kept, &world.kept);
        assert_ptr_equal(store, &world.store);
        assert_claims(claims, count);
        return outcome("restore", error);
}

int kept_find(const Kept *kept, const char *name) {
        size_t i = kept_index(kept, name);

        return i < kept->count && kept->items[i].committed ? kept->items[i].fd : -ENOENT;
}

const uint64_t *kept_version(const Kept *kept, const char *name) {
        size_t i = kept_index(kept, name);

        return kept_find(kept, name) >= 0 && kept->items[i].is_signed ? &kept->items[i].version : NULL;
}

bool kept_has(const Kept *kept, const KeptClaim *claim) {
        assert_claim(claim);
        return kept_find(kept, claim->name) >= 0;
}

static int put_item(Kept *kept, size_t i, const KeptClaim *claim, int fd, Error *error) {
        assert_true(i < ELEMENTSOF(kept->items));
        kept->items[i].name = claim->name;
        kept->items[i].put = true;
        kept->items[i].is_signed = claim->version;
        kept->items[i].version = claim->version ? *claim->version : 0;
        kept->items[i].put_fd = fd;
        kept->count += i == kept->count;
        return outcome("put", error);
}

int kept_put_file(Kept *kept, const KeptClaim *claim, int fd, Error *error) {
        assert_false(is_under_way("barrier"));
        assert_claim(claim);
        assert_true(world.ended > 0);
        assert_int_equal(fd, world.whole_fd[declared(claim->name, strlen(claim->name))]);
        return put_item(kept, kept_index(kept, claim->name), claim, fd, error);
}

int kept_put(Kept *kept, const KeptClaim *claim, Secret *secret, int fd, Error *error) {
        size_t i = kept_index(kept, claim->name);

        assert_false(is_under_way("barrier"));
        assert_claim(claim);
        assert_int_equal(fd, world.next_fd);
        if (is_late_key(secret)) {
                uint8_t header[1024];
                const Slice bytes = { header, late_header(world.declarations_items + claimed_by(claim->name),
                                                          header) };

                assert_int_equal(late_key_fits(secret, bytes), 1);
        } else {
                assert_string_equal(world.plaintext, claim->name);
                assert_int_equal(secret_size(secret), strlen(claim->name));
                assert_memory_equal(secret_bytes(secret), claim->name, secret_size(secret));
        }
        return put_item(kept, i, claim, fd, error);
}

void kept_claim(Kept *kept, const KeptClaim *claims, size_t count) {
        assert_ptr_equal(kept, &world.kept);
        for (size_t i = 0; i < kept->count; i++)
                kept->items[i].unclaimed = true;
        for (size_t i = 0; i < count; i++) {
                size_t at = kept_index(kept, claims[i].name);

                assert_claim(claims + i);
                if (at < kept->count)
                        kept->items[at].unclaimed = false;
        }
        trace("claimed:%zu", count);
}

/* The lock that was kept before stays. A new one has the PCR as it was attested. Without a lock there is no value. */
static void assert_lock(const Kept *kept, const KeptLock *lock) {
        static const uint8_t none[PCR_SIZE];

        assert_int_equal(lock->pcr, world.settings.lock_pcr);
        if (lock->pcr > 0)
                assert_memory_equal(lock->before,
                                    kept->lock.pcr == lock->pcr ? kept->lock.before
                                                                : world.pcrs.value[lock->pcr],
                                    sizeof(lock->before));
        else
                assert_memory_equal(lock->before, none, sizeof(none));
}

int kept_commit(Kept *kept, Store *store, const KeptLock *lock, KeptCommitted committed, void *userdata,
                Error *error) {
        int r = outcome("commit", error);

        assert_ptr_equal(store, &world.store);
        assert_lock(kept, lock);
        assert_false(is_under_way("barrier"));
        if (r < 0)
                return r;
        kept->next_lock = *lock;
        if (world.manager_must_answer) {
                begin((UnderWay){ .what = "barrier", .committed = committed, .userdata = userdata });
                return 0;
        }
        commit_what_was_put(kept);
        return 1;
}

void kept_abandon(Kept *kept) {
        if (is_under_way("barrier"))
                (void) take_under_way("barrier");
        for (size_t i = 0; i < kept->count; i++)
                kept->items[i].put = kept->items[i].unclaimed = false;
        kept->meant = 0;
        trace("abandoned");
}

bool kept_is_committed(const Kept *kept, const KeptLock *lock) {
        assert_lock(kept, lock);
        for (size_t i = 0; i < kept->count; i++)
                if (kept->items[i].put || kept->items[i].unclaimed)
                        return false;
        return kept->count > 0 && kept->lock.pcr == lock->pcr;
}

int kept_mean(Kept *kept, const ManifestEvent *events, size_t count, Error *error) {
        int r = outcome("mean", error);

        if (r < 0)
                return r;
        assert_false(is_under_way("barrier"));
        assert_in_range(count, 1, SECRETS_MAX - kept->events_count);
        for (size_t i = 0; i < count; i++)
                assert_int_equal(events[i].pcr, declared_as(events[i].name)->measure_pcr);
        memcpy(kept->events + kept->events_count, events, count * sizeof(*events));
        kept->meant = count;
        return 0;
}

const ManifestEvent *kept_events(const Kept *kept, size_t *ret_count) {
        *ret_count = kept->events_count;
        return kept->events;
}

size_t kept_measured(const Kept *kept) {
        return kept->measured;
}

void kept_touch(Kept *kept) {
        kept->touched = true;
}

bool kept_is_touched(const Kept *kept) {
        return kept->touched;
}

int kept_set_measured(Kept *kept, Error *error) {
        int r = outcome("set-measured", error);

        if (r >= 0) {
                kept->measured = kept->events_count;
                kept->touched = false;
                trace("measured");
        }
        return r;
}

int kept_set_locked(Kept *kept, Error *error) {
        int r = outcome("set-locked", error);

        if (r >= 0) {
                kept->locked = true;
                trace("locked");
        }
        return r;
}

bool kept_is_locked(const Kept *kept) {
        return kept->locked;
}

KeptLock kept_lock(const Kept *kept) {
        return kept->lock;
}

/* Times are in seconds since the beginning of the world. */
static void describe_waiting(const StatusWaiting *waiting, char ret[static 256]) {
        uint64_t next = waiting->next_usec > 0 ? (waiting->next_usec - 1000 * USEC_PER_SEC) / USEC_PER_SEC
                                               : 0;

        ret[0] = 0;
        if (!waiting->what[0])
                return;
        assert_non_null(waiting->step);
        assert_non_null(waiting->error);
        (void) snprintf(ret, 256, "%s (%s) since %" PRIu64 " try %u next %" PRIu64 " %s %s", waiting->what,
                        waiting->step, (waiting->since_usec - 1000 * USEC_PER_SEC) / USEC_PER_SEC,
                        waiting->attempts, next, failure_to_string(waiting->error->failure),
                        waiting->secret ?: "-");
}

int status_write(const char *path, const Status *status) {
        assert_non_null(path);
        assert_string_equal(path, "status");
        assert_null(world.options.take);
        /* Before the point of no return, also those that a reload removes: here they follow the declared ones. */
        assert_in_range(status->secrets_count, world.declarations.count,
                        world.options.replaced ? SECRETS_MAX : world.declarations.count);
        world.listed = status->secrets_count;
        (void) snprintf(world.status, sizeof(world.status), "%s", status->state);
        world.statuses++;
        world.since_usec = status->since_usec;
        (void) snprintf(world.message_id, sizeof(world.message_id), "%s", status->message_id ?: "");
        describe_waiting(&status->waiting, world.waiting);
        (void) snprintf(world.explanation, sizeof(world.explanation), "%s", status->explanation);
        for (size_t i = 0; i < status->secrets_count; i++) {
                const StatusSecret *secret = status->secrets + i;

                assert_string_equal(secret->name, world.names[i]);
                assert_non_null(secret->source);
                assert_string_equal(secret->source, world.labels[i]);
                assert_non_null(secret->key_id);
                assert_string_equal(secret->key_id, world.declarations_items[i].key_ids[0]);
                if (!world.units_differ)
                        assert_ptr_equal(secret->units, world.declarations_items[i].units);
                world.units[i] = secret->units;
                world.members[i] = secret->members.members;
                assert_int_equal(secret->optional, world.declarations_items[i].optional);
                if (i < ELEMENTSOF(world.waits))
                        describe_waiting(&secret->waiting, world.waits[i]);
                (void) snprintf(world.states[i], sizeof(world.states[i]), "%s", secret->state);
                (void) snprintf(world.policies[i], sizeof(world.policies[i]), "%s", secret->policy ?: "");
                (void) snprintf(world.regions[i], sizeof(world.regions[i]), "%s", secret->kms_region ?: "");
                world.durations[i] = secret->duration_usec;
                world.measured_pcrs[i] = secret->measured_pcr;
                world.versions[i][0] = 0;
                if (secret->version)
                        (void) snprintf(world.versions[i], sizeof(world.versions[i]), "%" PRIu64,
                                        *secret->version);
        }
        world.steps[0] = 0;
        assert_true(status->steps_count <= REPORT_STEPS_MAX);
        for (size_t i = 0; i < status->steps_count; i++) {
                size_t length = strlen(world.steps);

                (void) snprintf(world.steps + length, sizeof(world.steps) - length, "%s %" PRIu64 ", ",
                                status->steps[i].name, status->steps[i].duration_usec / USEC_PER_SEC);
        }
        return outcome("status", NULL);
}

/* A world with as many secrets as a test declares. */

static char tpm_device[] = TPM_DEVICE, proxy[] = PROXY, trusted[] = TRUSTED;

static int world_begin(void **state) {
        memset(&world, 0, sizeof(world));
        played_tpm = (struct Tpm){};
        world.now_usec = 1000 * USEC_PER_SEC;
        world.random = UINT64_MAX; /* the longest delay */
        world.settings = (Settings){
                .rsa_key_bits = KEY_BITS,
                .deadline_usec = DEADLINE_USEC,
                .tpm_device = tpm_device,
                .proxy = proxy,
                .trusted_certificates = trusted,
        };
        world.next_fd = -1; /* so that the first descriptor is 0, which is valid */
        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (i != 14) /* nobody has extended PCR14 */
                        memset(world.pcrs.value[i], 0xa0 + (int) i, PCR_SIZE);
        world.declarations.items = world.declarations_items;
        world.options = (SessionOptions){
                .settings = &world.settings,
                .declarations = &world.declarations,
                .store_path = "store",
                .status_path = "status",
                .kept = &world.kept,
                .labels = { .labels = "labels", .sealed = "sealed" },
        };
        return 0;
}

static int world_end(void **state) {
        world.session = session_free(world.session);
        ciphertexts_clear(&world.known);
        assert_int_equal(world.event.references, 0);
        assert_int_equal(world.tpms, 0);
        assert_int_equal(world.recipients, 0);
        assert_int_equal(world.drafts, 0);
        assert_int_equal(world.bodies, 0);
        return 0;
}

/* Each secret has two keys of its own. The first decides the region. */
static void lies_in(Declaration *declaration, const char *region) {
        size_t i = (size_t) (declaration - world.declarations_items);

        (void) snprintf(world.keys[i][0], sizeof(world.keys[i][0]),
                        "arn:aws:kms:%s:111122223333:key/1234abcd-12ab-34cd-56ef-0000000000%02zu", region,
                        i);
        (void) snprintf(world.keys[i][1], sizeof(world.keys[i][1]),
                        "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1111111111%02zu", i);
        world.key_ids[i][0] = world.keys[i][0];
        world.key_ids[i][1] = world.keys[i][1];
        declaration->key_ids = world.key_ids[i];
}

/* The keys of the secret are replicas of one multi-Region key, in eu-north-1 and eu-west-1. */
static Declaration *replicated(Declaration *declaration) {
        size_t i = (size_t) (declaration - world.declarations_items);

        for (size_t k = 0; k < 2; k++)
                (void) snprintf(world.keys[i][k], sizeof(world.keys[i][k]),
                                "arn:aws:kms:%s:111122223333:key/mrk-0000000000000000000000000000%04zu",
                                k == 0 ? "eu-north-1" : "eu-west-1", i);
        return declaration;
}

static Declaration *declare(const char *name) {
        size_t i = world.declarations.count++;
        Declaration *declaration = world.declarations_items + i;

        assert_true(i < SECRETS_MAX);
        (void) snprintf(world.names[i], sizeof(world.names[i]), "%s", name);
        (void) snprintf(world.labels[i], sizeof(world.labels[i]), "source-of-%.16s", name);
        (void) snprintf(world.contexts_text[i][0], sizeof(world.contexts_text[i][0]), "unseald:secret=%s",
                        name);
        (void) snprintf(world.contexts_text[i][1], sizeof(world.contexts_text[i][1]), "stage=%zu", i);
        world.contexts[i][0] = world.contexts_text[i][0];
        world.contexts[i][1] = world.contexts_text[i][1];
        *declaration = (Declaration){
                .name = world.names[i],
                .file = world.names[i],
                .source = { .kind = SOURCE_FILE, .location = world.names[i], .label = world.labels[i] },
                .size_max = KMS_CIPHERTEXT_MAX - i,
                .encryption_context = world.contexts[i],
                .store = true,
                .mode = 0400,
        };
        lies_in(declaration, "eu-north-1");
        return declaration;
}

/* The vendor's key, and what the vendor signs with it. The played ciphertext of a secret is its name. */

static EVP_PKEY *signing_key(void) {
        static EVP_PKEY *key;

        if (!key)
                key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        assert_non_null(key);
        return key;
}

static void sign(Declaration *declaration, uint64_t version, const char *ciphertext) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        Signature signature = { .version = version, .size = sizeof(signature.bytes) };
        _cleanup_free_ char *text = NULL;
        uint8_t message[SIGNATURE_MESSAGE_MAX];
        size_t size;

        assert_int_equal(signature_message(declaration->name, version, (const uint8_t *) ciphertext,
                                           strlen(ciphertext), message, &size),
                         0);
        assert_int_equal(EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, signing_key(), NULL), 1);
        assert_int_equal(EVP_DigestSign(context, signature.bytes, &signature.size, message, size), 1);
        assert_int_equal(signature_format(&signature, &text), 0);
        (void) snprintf(world.signatures[declaration - world.declarations_items],
                        sizeof(world.signatures[0]), "%s", text);
}

/* Has the declaration demand a signature of version 3 or above, and puts one of version 4 in place. */
static Declaration *demand_signature(Declaration *declaration, SourceKind kind) {
        static char path[] = "/usr/lib/unseald/vendor.pub";
        size_t i = (size_t) (declaration - world.declarations_items);

        (void) snprintf(world.signature_locations[i], sizeof(world.signature_locations[i]), "%.16s.sig",
                        declaration->name);
        (void) snprintf(world.signature_labels[i], sizeof(world.signature_labels[i]), "signature-of-%.16s",
                        declaration->name);
        declaration->signed_by = path;
        declaration->signing_key = signing_key();
        declaration->version_min = 3;
        declaration->signature = (Source){ .kind = kind,
                                           .location = world.signature_locations[i],
                                           .label = world.signature_labels[i],
                                           .is_signature = true };
        sign(declaration, 4, declaration->name);
        return declaration;
}

/* A secret that an earlier unseald of this boot has kept. */
static void keep(const char *name) {
        world.kept.items[world.kept.count].name = name;
        world.kept.items[world.kept.count].fd = ++world.next_fd;
        world.kept.items[world.kept.count++].committed = true;
}

static void on_end(int r, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &world);
        world.ended++;
        world.r = r;
        world.error = *error;
        /* Unless late secrets are to come, nothing wakes the session any more, and after a success the role's credentials are gone. */
        for (size_t i = 0; i < TIMERS_MAX && !session_is_late(world.session); i++)
                assert_true(world.timers[i].enabled == SD_EVENT_OFF || world.timers[i].on_defer);
        if (r >= 0 && world.fetcher_credentials && !session_is_late(world.session))
                assert_null(world.fetcher_credentials->secret_access_key);
        trace("ended");
}

static void on_late_end(void *userdata) {
        assert_ptr_equal(userdata, &world);
        world.late_ended++;
        for (size_t i = 0; i < TIMERS_MAX; i++)
                assert_true(world.timers[i].enabled == SD_EVENT_OFF || world.timers[i].on_defer);
        if (world.fetcher_credentials)
                assert_null(world.fetcher_credentials->secret_access_key);
}

/* The message of this secret comes after READY=1. */
static void comes_late(Declaration *declaration) {
        declaration->late = true;
        declaration->format = FORMAT_MESSAGE;
        declaration->size_max = 64 * 1024 * 1024;
        world.has_late = true;
        world.options.late_ended = on_late_end;
}

static void start(void) {
        Error error = {};
        char retained[32];
        int r = session_new(&world.event, &world.options, on_end, &world, &world.session, &error);

        assert_string_equal(error.text, "");
        assert_int_equal(r, 0);
        (void) snprintf(retained, sizeof(retained), "retained:%zu ", world.declarations.count);
        if (!world.has_late)
                expect(world.options.take || world.options.replaced ? "" : retained);
        world.trace[0] = 0;
        session_start(world.session);
        pass(0);
}

static Error trouble(Failure failure, Remedy remedy) {
        Error error;

        (void) error_set_remedy(&error, -EIO, failure, remedy, "It is out of order.");
        return error;
}

static void assert_ended_with(Failure failure) {
        assert_int_equal(world.ended, 1);
        assert_string_equal(failure_to_string(world.error.failure), failure_to_string(failure));
        assert_int_equal(world.r, failure == FAILURE_NONE ? 0 : -EIO);
        assert_string_equal(world.status, failure == FAILURE_NONE ? "unsealed" : "failed");
        assert_null(strstr(world.logged, "Cannot write"));
}

static void assert_nothing_published(void) {
        assert_null(strstr(world.trace, "published"));
}

#define assert_says(text, words)                                       \
        do {                                                           \
                if (!strstr(text, words))                              \
                        fail_msg("wanted \"%s\" in: %s", words, text); \
        } while (0)
