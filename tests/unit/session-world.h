/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The world round a session, played: event loop, clock, threads, TPM, IMDS, KMS, store and what is kept. These definitions
 * take the place of whole files of the library, so that session.c itself, as it is, can be led along every edge without
 * network, TPM, thread or waiting. Nothing happens by itself: what the session begins is under way until the test ends it
 * with finish() or fail_with(), and time passes in pass().
 *
 * All that the session does to its neighbours is a word in world.trace. Activities: "key-pair", "TPM", "document", "open",
 * "lock", "credentials", "identity", "user-data", "connection", "fetch", "decryption", "probe".
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>

#include "attestation/document.h"
#include "aws/imds.h"
#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/http.h"
#include "basic/json.h"
#include "basic/log.h"
#include "basic/retry.h"
#include "basic/worker.h"
#include "kms/client.h"
#include "kms/recipient.h"
#include "source/fetch.h"
#include "source/fetcher.h"
#include "source/source-file.h"
#include "tpm/tpm.h"
#include "unsealing/network.h"
#include "unsealing/session.h"
#include "unsealing/status-file.h"
#include "vault/kept.h"
#include "vault/store.h"

#define SECRETS_MAX 40
#define UNDER_WAY_MAX 128
#define TIMERS_MAX 3 /* deadline, retry, ended */
#define DEADLINE_USEC (120 * USEC_PER_SEC)
#define PUBLIC_KEY "public key"

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
        bool has_credentials;
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

struct Kept {
        struct {
                const char *name;
                bool put, committed;
        } items[SECRETS_MAX];
        size_t count;
        unsigned commits;
        KeptLock lock;
        bool locked;
};

/* What the session has begun and waits for. */
typedef struct UnderWay {
        const char *what;
        char name[64]; /* a secret's, an endpoint's region, or empty */
        Worker *worker;
        WorkerJob job;
        WorkerDone done;
        ImdsCredentialsCallback credentials;
        ImdsGetCallback got;
        KmsConnected connected;
        KmsDecrypted decrypted;
        KmsAnswered answered;
        SourceFetched fetched;
        void *userdata;
} UnderWay;

static struct World {
        uint64_t now_usec;
        char trace[8192];
        struct sd_event event;
        struct sd_event_source timers[TIMERS_MAX];
        uint64_t random; /* what getrandom() gives */
        bool no_random;

        UnderWay under_way[UNDER_WAY_MAX];
        size_t under_way_count;
        const char *trouble_at; /* where the next attempt fails, of what is done at once or in a thread */
        Error trouble;

        NetworkChanged network_changed;
        void *network_userdata;
        struct Worker key_worker, tpm_worker;
        struct HttpClient http;
        struct Imds imds;
        struct Network network;
        struct Fetcher fetcher;
        bool fetcher_has_credentials;
        struct Store store;
        struct Kept kept;
        bool cannot_publish; /* as what is kept now is */
        bool document_of_other_key;
        unsigned leftovers, tpms, recipients;
        PcrSet pcrs;
        const char *user_data;

        Settings settings;
        Declaration declarations_items[SECRETS_MAX];
        Declarations declarations;
        char names[SECRETS_MAX][32];
        char *contexts[SECRETS_MAX][2];
        SessionOptions options;
        Session *session;

        unsigned ended;
        int r;
        Error error;           /* that it ended with */
        char status[32];       /* the last written state */
        char explanation[256]; /* of it, cut */
        char states[SECRETS_MAX][16], policies[SECRETS_MAX][16];
        char notified[1024]; /* the last STATUS= */
        char logged[8192];   /* every entry's text */
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

/* All that was done since the last time. */
#define expect(words)                                    \
        do {                                             \
                assert_string_equal(world.trace, words); \
                world.trace[0] = 0;                      \
        } while (0)

/* Whether it goes well; fills *error otherwise. */
static int outcome(const char *what, Error *error) {
        if (!world.trouble_at || strcmp(world.trouble_at, what) != 0)
                return 0;
        world.trouble_at = NULL;
        if (error)
                *error = world.trouble;
        return -EIO;
}

/* The event loop and its clock. */

uint64_t now_monotonic_usec(void) {
        return world.now_usec;
}

/* The session's, for jitter; json-c's, for its hashes, wants a number that is not -1. */
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
        assert_int_equal(clock, CLOCK_MONOTONIC);
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

/* The next source that is due by then, the earliest first. */
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
                if (source->on_defer)
                        source->on_defer(source, source->userdata);
                else
                        source->on_time(source, source->time_usec, source->userdata);
        }
        world.now_usec = until;
}

int sd_notifyf(int unset_environment, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(world.notified, sizeof(world.notified), format, arguments);
        va_end(arguments);
        return 0;
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        size_t length = strlen(world.logged);
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(world.logged + length, sizeof(world.logged) - length, format, arguments);
        va_end(arguments);
}

/* What is under way. */

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

static void answer_credentials(const UnderWay *call, int r, const Error *error) {
        AwsCredentials credentials = {};

        if (r < 0) {
                call->credentials(r, NULL, NULL, error, call->userdata);
                return;
        }
        credentials.access_key_id = strdup("AKIDEXAMPLE");
        credentials.secret_access_key = strdup("example");
        call->credentials(0, &credentials, "role", error, call->userdata);
}

static void answer_get(const UnderWay *call, int r, const Error *error) {
        const char *text = strcmp(call->what, "identity") == 0 ? "{\"accountId\":\"111122223333\"}"
                                                               : world.user_data;

        if (r == 0 && !text)
                r = -ENOENT;
        call->got(r, r < 0 ? NULL : text, r < 0 ? 0 : strlen(text), error, call->userdata);
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
        else if (call.decrypted)
                call.decrypted(r, (const uint8_t *) call.name, strlen(call.name), "request-1", error,
                               call.userdata);
        else if (call.answered)
                call.answered(r, r < 0 ? NULL : "{}", r < 0 ? 0 : 2, "request-2", error, call.userdata);
        else
                call.fetched(r, (const uint8_t *) call.name, strlen(call.name), error, call.userdata);
        pass(0);
}

static void fail_with(const char *what, const Error *error) {
        world.trouble_at = what;
        world.trouble = *error;
        answer(what, -EIO, error);
        world.trouble_at = NULL;
}

/* As what is under way ends when all is well. A probe is, when KMS denies. */
static void finish(const char *what) {
        Error none = {};

        if (strcmp(what, "probe") == 0) {
                (void) snprintf(none.code, sizeof(none.code), "AccessDeniedException");
                answer(what, -EACCES, &none);
        } else
                answer(what, 0, &none);
}

static void finish_all(const char *what) {
        while (count_under_way(what) > 0)
                finish(what);
}

/* Everything goes well but what is named here, which stays under way. NULL: to the end. */
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
        *ret = strcmp(name, "tpm") == 0 ? &world.tpm_worker : &world.key_worker;
        (*ret)->is_of_tpm = *ret == &world.tpm_worker;
        return 0;
}

static bool is_to_be_locked(void) {
        size_t committed = 0;

        for (size_t i = 0; i < world.kept.count; i++)
                committed += world.kept.items[i].committed;
        return world.kept.lock.pcr > 0 && !world.kept.locked &&
               (world.kept.commits > 0 || (committed > 0 && committed == world.declarations.count));
}

static struct Tpm played_tpm;

int worker_submit(Worker *worker, WorkerJob job, WorkerDone done, void *userdata) {
        const char *what = !worker->is_of_tpm    ? world.recipients > 0 ? "open" : "key-pair"
                           : is_to_be_locked()   ? "lock"
                           : played_tpm.prepared ? "document"
                                                 : "TPM";

        if (outcome("submit", NULL) < 0)
                return -ENOMEM;
        begin((UnderWay){ .what = what, .worker = worker, .job = job, .done = done, .userdata = userdata });
        return 0;
}

/* The job under way runs to its end, those behind it never begin. */
Worker *worker_free(Worker *worker) {
        for (size_t i = 0; i < world.under_way_count; i++)
                if (worker && world.under_way[i].worker == worker) {
                        world.under_way[i].job(world.under_way[i].userdata);
                        break;
                }
        forget_under_way(worker);
        return NULL;
}

/* The key pair. */

static struct Recipient played_recipient;

int recipient_new(unsigned bits, Recipient **ret, Error *error) {
        int r = outcome("key-pair", error);

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

void recipient_public_key(const Recipient *recipient, const uint8_t **ret, size_t *ret_size) {
        *ret = (const uint8_t *) PUBLIC_KEY;
        *ret_size = strlen(PUBLIC_KEY);
}

int recipient_open(Recipient *recipient, const uint8_t *cms, size_t size, Secret **ret, Error *error) {
        int r = outcome("open", error);

        if (r < 0)
                return r;
        r = secret_new(size, ret);
        if (r >= 0)
                memcpy(secret_bytes(*ret), cms, size);
        return r;
}

/* The TPM and its document. */

int tpm_open(const char *tcti, Tpm **ret, Error *error) {
        int r = outcome("TPM", error);

        if (r < 0)
                return r;
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
        int r = outcome("document", error);

        if (r < 0)
                return r;
        assert_true(tpm->prepared);
        assert_memory_equal(request->public_key, PUBLIC_KEY, request->public_key_size);
        *ret = (uint8_t *) strdup("document");
        *ret_size = strlen("document");
        return 0;
}

int tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrSet *ret, Error *error) {
        int r = outcome("lock", error);

        if (r < 0)
                return r;
        *ret = world.pcrs;
        return 0;
}

int tpm_extend_pcr(Tpm *tpm, unsigned pcr, const uint8_t digest[static PCR_SIZE], Error *error) {
        int r = outcome("extend", error);

        if (r < 0)
                return r;
        trace("extended:%u", pcr);
        return pcr_extend(world.pcrs.value[pcr], digest);
}

int attestation_parse(const uint8_t *data, size_t size, AttestationDocument **ret, Error *error) {
        AttestationDocument *document = calloc(1, sizeof(*document));

        assert_non_null(document);
        document->public_key = (Slice){
                .data = (const uint8_t *) (world.document_of_other_key ? "another k." : PUBLIC_KEY),
                .size = strlen(PUBLIC_KEY),
        };
        for (unsigned i = 0; i < PCR_COUNT; i++)
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
        world.network_changed = changed;
        world.network_userdata = userdata;
        *ret = &world.network;
        return 0;
}

Network *network_free(Network *network) {
        return NULL;
}

static void change_network(void) {
        world.network_changed(world.network_userdata);
        pass(0);
}

int http_trust_new(const char *path, X509_STORE **ret, Error *error) {
        *ret = NULL;
        return 0;
}

int http_client_new(sd_event *event, const HttpOptions *options, HttpClient **ret) {
        *ret = &world.http;
        return 0;
}

HttpClient *http_client_free(HttpClient *client) {
        return NULL;
}

int imds_new(HttpClient *http, const char *address, Imds **ret) {
        *ret = &world.imds;
        return 0;
}

Imds *imds_free(Imds *imds) {
        return NULL;
}

int imds_get_credentials(Imds *imds, ImdsCredentialsCallback callback, void *userdata) {
        begin((UnderWay){ .what = "credentials", .credentials = callback, .userdata = userdata });
        return 0;
}

int imds_get(Imds *imds, const char *path, ImdsGetCallback callback, void *userdata) {
        const char *what = strcmp(path, IMDS_IDENTITY_PATH) == 0 ? "identity" : "user-data";

        begin((UnderWay){ .what = what, .got = callback, .userdata = userdata });
        return 0;
}

int kms_client_new(HttpClient *http, const char *endpoint, const char *region, KmsClient **ret) {
        *ret = calloc(1, sizeof(**ret));
        assert_non_null(*ret);
        (void) snprintf((*ret)->region, sizeof((*ret)->region), "%s", region);
        return 0;
}

KmsClient *kms_client_free(KmsClient *client) {
        free(client);
        return NULL;
}

void kms_client_set_credentials(KmsClient *client, const AwsCredentials *credentials) {
        client->has_credentials = true;
}

int kms_connect(KmsClient *client, KmsConnected callback, void *userdata) {
        UnderWay call = { .what = "connection", .connected = callback, .userdata = userdata };

        memcpy(call.name, client->region, sizeof(client->region));
        begin(call);
        return 0;
}

/* The ciphertext of a secret, its envelope and its plaintext are its name. */
int kms_decrypt(KmsClient *client, const KmsDecrypt *decrypt, KmsDecrypted callback, void *userdata) {
        UnderWay call = { .what = "decryption", .decrypted = callback, .userdata = userdata };

        assert_true(client->has_credentials);
        assert_int_equal(decrypt->document_size, strlen("document"));
        assert_memory_equal(decrypt->document, "document", decrypt->document_size);
        memcpy(call.name, decrypt->ciphertext, decrypt->ciphertext_size);
        begin(call);
        return 0;
}

/* The secret's name out of a dry run, as KMS would read it. */
static void probed_name(const char *body, char *ret, size_t size) {
        _cleanup_json_ struct json_object *request = NULL;
        _cleanup_free_ uint8_t *name = NULL;
        const char *ciphertext;
        size_t length;

        assert_int_equal(json_parse(body, strlen(body), &request), 0);
        assert_true(json_object_get_boolean(json_member(request, "DryRun")));
        assert_null(json_member(request, "Recipient"));
        ciphertext = json_member_string(request, "CiphertextBlob");
        assert_non_null(ciphertext);
        assert_int_equal(base64_decode(ciphertext, strlen(ciphertext), &name, &length), 0);
        assert_true(length < size);
        *((char *) mempcpy(ret, name, length)) = '\0';
}

int kms_request(KmsClient *client, const char *operation, const char *body, KmsAnswered callback,
                void *userdata) {
        UnderWay call = { .what = "probe", .answered = callback, .userdata = userdata };

        assert_string_equal(operation, "Decrypt");
        probed_name(body, call.name, sizeof(call.name));
        begin(call);
        return 0;
}

int fetcher_new(HttpClient *http, Fetcher **ret) {
        *ret = &world.fetcher;
        return 0;
}

Fetcher *fetcher_free(Fetcher *fetcher) {
        return NULL;
}

void fetcher_set_credentials(Fetcher *fetcher, const AwsCredentials *credentials) {
        world.fetcher_has_credentials = true;
}

int source_fetch(Fetcher *fetcher, const Fetch *fetch, SourceFetched callback, void *userdata) {
        UnderWay call = { .what = "fetch", .fetched = callback, .userdata = userdata };

        assert_true(!source_is_signed(fetch->source) || world.fetcher_has_credentials);
        (void) snprintf(call.name, sizeof(call.name), "%s", fetch->source->location);
        begin(call);
        return 0;
}

int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error) {
        int r = outcome("file", error);

        if (r < 0)
                return r;
        *ret = (uint8_t *) strdup(source->location);
        *ret_size = strlen(source->location);
        return 0;
}

/* The store and what is kept: descriptors are 100 and the secret's place. */

int store_open(const char *path, Store **ret, Error *error) {
        int r = outcome("store", error);

        if (r >= 0)
                *ret = &world.store;
        return r;
}

Store *store_free(Store *store) {
        return NULL;
}

int store_prepare(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode,
                  int *ret_fd, Error *error) {
        int r = outcome("prepare-file", error);

        if (r < 0)
                return r;
        assert_memory_equal(secret_bytes(secret), name, secret_size(secret));
        trace("hidden:%s", name);
        *ret_fd = 100;
        return 0;
}

int store_hold(Store *store, Secret *secret, int *ret_fd, Error *error) {
        trace("held");
        *ret_fd = 100;
        return 0;
}

int store_publish(Store *store, const char *name, int fd, Error *error) {
        int r = outcome("publish", error);

        if (r >= 0)
                trace("published:%s", name);
        return r;
}

bool store_can_publish(const Store *store, const char *name, int fd, uid_t uid, gid_t gid, mode_t mode) {
        return !world.cannot_publish;
}

int store_read(int fd, Secret **ret) {
        const char *name = world.kept.items[fd - 100].name;
        int r = secret_new(strlen(name), ret);

        if (r >= 0)
                memcpy(secret_bytes(*ret), name, strlen(name));
        return r;
}

int store_retain(Store *store, const StoreFile *files, size_t count, Error *error) {
        trace("retained:%zu", count);
        return 0;
}

static size_t kept_index(const Kept *kept, const char *name) {
        size_t i = 0;

        while (i < kept->count && strcmp(kept->items[i].name, name) != 0)
                i++;
        return i;
}

int kept_restore(Kept *kept, const Store *store, const KeptClaim *claims, size_t count, Error *error) {
        return 0;
}

int kept_find(const Kept *kept, const char *name) {
        size_t i = kept_index(kept, name);

        return i < kept->count && kept->items[i].committed ? 100 + (int) i : -ENOENT;
}

bool kept_has(const Kept *kept, const KeptClaim *claim) {
        return kept_find(kept, claim->name) >= 0;
}

int kept_put(Kept *kept, const KeptClaim *claim, Secret *secret, int fd, Error *error) {
        size_t i = kept_index(kept, claim->name);

        assert_true(i < SECRETS_MAX);
        kept->items[i].name = claim->name;
        kept->items[i].put = true;
        kept->count += i == kept->count;
        return outcome("put", error);
}

void kept_claim(Kept *kept, const KeptClaim *claims, size_t count) {
        trace("claimed:%zu", count);
}

int kept_commit(Kept *kept, Store *store, const KeptLock *lock, Error *error) {
        int r = outcome("commit", error);

        if (r < 0)
                return r;
        for (size_t i = 0; i < kept->count; i++) {
                kept->items[i].committed = kept->items[i].committed || kept->items[i].put;
                kept->items[i].put = false;
        }
        kept->locked = kept->locked && memcmp(&kept->lock, lock, sizeof(*lock)) == 0;
        kept->lock = *lock;
        kept->commits++;
        trace("kept");
        return 0;
}

void kept_abandon(Kept *kept) {
        for (size_t i = 0; i < kept->count; i++)
                kept->items[i].put = false;
        trace("abandoned");
}

bool kept_is_committed(const Kept *kept, const KeptLock *lock) {
        for (size_t i = 0; i < kept->count; i++)
                if (kept->items[i].put)
                        return false;
        return kept->count > 0 && kept->lock.pcr == lock->pcr;
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

int status_write(const char *path, const Status *status) {
        (void) snprintf(world.status, sizeof(world.status), "%s", status->state);
        (void) snprintf(world.explanation, sizeof(world.explanation), "%s", status->explanation);
        for (size_t i = 0; i < status->secrets_count; i++) {
                (void) snprintf(world.states[i], sizeof(world.states[i]), "%s", status->secrets[i].state);
                (void) snprintf(world.policies[i], sizeof(world.policies[i]), "%s",
                                status->secrets[i].policy ?: "");
        }
        return 0;
}

/* A world, with as many secrets as a test declares. */

static int world_begin(void **state) {
        memset(&world, 0, sizeof(world));
        played_tpm = (struct Tpm){};
        world.now_usec = 1000 * USEC_PER_SEC;
        world.random = UINT64_MAX; /* as long as a delay can be */
        world.settings = (Settings){ .rsa_key_bits = 2048, .deadline_usec = DEADLINE_USEC };
        world.declarations.items = world.declarations_items;
        world.options = (SessionOptions){
                .settings = &world.settings,
                .declarations = &world.declarations,
                .store_path = "store",
                .status_path = "status",
                .kept = &world.kept,
        };
        return 0;
}

static int world_end(void **state) {
        world.session = session_free(world.session);
        assert_int_equal(world.event.references, 0);
        assert_int_equal(world.tpms, 0);
        assert_int_equal(world.recipients, 0);
        return 0;
}

#define KEY(region) "arn:aws:kms:" region ":111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
static char key_north[] = KEY("eu-north-1"), key_west[] = KEY("eu-west-1"),
            context_pair[] = "unseald:secret=name";
static char *key_ids_north[] = { key_north, NULL }, *key_ids_west[] = { key_west, NULL };

static Declaration *declare(const char *name) {
        size_t i = world.declarations.count++;
        Declaration *declaration = world.declarations_items + i;

        assert_true(i < SECRETS_MAX);
        (void) snprintf(world.names[i], sizeof(world.names[i]), "%s", name);
        world.contexts[i][0] = context_pair;
        *declaration = (Declaration){
                .name = world.names[i],
                .file = world.names[i],
                .source = { .kind = SOURCE_FILE, .location = world.names[i], .label = world.names[i] },
                .size_max = KMS_CIPHERTEXT_MAX,
                .key_ids = key_ids_north,
                .encryption_context = world.contexts[i],
                .store = true,
                .mode = 0400,
        };
        return declaration;
}

/* As an unseald before in this boot has left it. */
static void keep(const char *name) {
        world.kept.items[world.kept.count].name = name;
        world.kept.items[world.kept.count++].committed = true;
}

static void on_end(int r, const Error *error, void *userdata) {
        world.ended++;
        world.r = r;
        world.error = *error;
        trace("ended");
}

static void start(void) {
        Error error = {};
        int r = session_new(&world.event, &world.options, on_end, NULL, &world.session, &error);

        assert_string_equal(error.text, "");
        assert_int_equal(r, 0);
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
}

static void assert_nothing_published(void) {
        assert_null(strstr(world.trace, "published"));
}

#define assert_says(text, words)                                       \
        do {                                                           \
                if (!strstr(text, words))                              \
                        fail_msg("wanted \"%s\" in: %s", words, text); \
        } while (0)
