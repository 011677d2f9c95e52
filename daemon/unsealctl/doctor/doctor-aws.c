/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Asks IMDS, KMS and the sources of ciphertext. Each function waits for the answer until the client's own time-outs end
 * it; doctor.c bounds that time. Nothing is decrypted: doctor asks KMS with DryRun, which never succeeds.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "basic/clock.h"
#include "basic/event-util.h"
#include "basic/http.h"
#include "basic/json.h"
#include "basic/openssl-util.h"
#include "config/ini.h"
#include "kms/client.h"
#include "source/fetch.h"
#include "source/fetcher.h"
#include "unsealctl/ctl.h"
#include "unsealctl/doctor/doctor.h"
#include "unsealctl/kms-call.h"
#include "unsealing/request.h"
#include "unsealing/rest.h"

#define TIMEOUT_USEC (5 * USEC_PER_SEC)

/* One request in an event loop of its own. */
typedef struct Question {
        sd_event *event;
        HttpClient *http;
        bool answered;
        int r;
        Error error;
        uint64_t begun_usec, duration_usec;

        /* The parts of the answer. A question sets those that it has. */
        unsigned status;
        ClockFacts clock;
        int64_t certificate_end;
        uint8_t *data;
        size_t size;
        uint64_t whole;       /* bytes of the message of which data is the beginning; 0: data is all */
        const Source *source; /* of a fetch */
        size_t maximum;
        AwsCredentials credentials;
        char role[IMDS_ROLE_MAX + 1];
} Question;

static void question_done(Question *question) {
        (void) http_client_free(question->http);
        (void) sd_event_unref(question->event);
        free(question->data);
        aws_credentials_clear(&question->credentials);
}
#define _cleanup_question_ _cleanup_(question_done)

static int question_begin(Question *question, const HttpOptions *options) {
        int r = sd_event_new(&question->event);

        if (r >= 0)
                r = http_client_new(question->event, options, &question->http);
        question->begun_usec = now_monotonic_usec();
        question->certificate_end = -1;
        return r < 0 ? error_set(&question->error, r, FAILURE_INTERNAL, "The network cannot be used: %s.",
                                 strerror(-r))
                     : 0;
}

/* r: the result of sending the request. */
static int question_wait(Question *question, int r) {
        if (r >= 0)
                r = event_run_until(question->event, &question->answered);
        if (r < 0)
                return error_set(&question->error, r, FAILURE_INTERNAL, "The network cannot be used: %s.",
                                 strerror(-r));
        question->duration_usec = now_monotonic_usec() - question->begun_usec;
        return question->r;
}

static void question_answered(Question *question, int r, const Error *error) {
        question->answered = true;
        question->r = r;
        if (r < 0)
                question->error = *error;
}

static void on_reply(int r, const HttpReply *reply, const Error *error, void *userdata) {
        Question *question = userdata;
        int64_t date = r < 0 ? -1 : http_reply_date(reply);

        question_answered(question, r, error);
        if (r < 0)
                return;
        question->status = http_reply_status(reply);
        question->certificate_end = http_reply_certificate_end(reply);
        question->clock = (ClockFacts){
                .known = date >= 0,
                .skew = date - (int64_t) (now_realtime_usec() / USEC_PER_SEC),
        };
}

static int ask(Question *question, const HttpOptions *options, const char *url) {
        int r = question_begin(question, options);

        if (r < 0)
                return r;
        return question_wait(question, http_start(question->http,
                                                  &(HttpRequest){ .method = "GET",
                                                                  .url = url,
                                                                  .timeout_usec = TIMEOUT_USEC },
                                                  on_reply, question, NULL));
}

void ask_imds(ImdsFacts *ret, ClockFacts *ret_clock) {
        const HttpOptions options = { .connect_timeout_usec = 2 * USEC_PER_SEC };
        _cleanup_question_ Question question = {};

        ret->r = ask(&question, &options, IMDS_ADDRESS "/latest/meta-data/");
        if (ret->r < 0) {
                _cleanup_question_ Question ipv6 = {};

                if (ask(&ipv6, &options, IMDS_ADDRESS_IPV6 "/latest/meta-data/") >= 0) {
                        ret->r = 0;
                        ret->status = ipv6.status;
                        ret->duration_usec = ipv6.duration_usec;
                        *ret_clock = ipv6.clock;
                        return;
                }
                /* Whatever the kind of error, IMDS is out of reach. */
                (void) error_set(&ret->error, ret->r, FAILURE_IMDS, "IMDS cannot be reached: %s %s",
                                 question.error.text, ipv6.error.text);
                return;
        }
        ret->status = question.status;
        ret->duration_usec = question.duration_usec;
        *ret_clock = question.clock;
}

static void take_data(Question *question, int r, const void *data, size_t size, const Error *error) {
        Error failed = *error;

        if (r >= 0) {
                question->data = malloc(size + 1);
                if (!question->data)
                        r = error_oom(&failed);
        }
        if (r >= 0) {
                memcpy(question->data, data, size);
                question->data[size] = 0;
                question->size = size;
        }
        question_answered(question, r, &failed);
}

static void on_text(int r, const char *data, size_t size, const Error *error, void *userdata) {
        take_data(userdata, r, data, size, error);
}

int imds_text(const char *path, char **ret, size_t *ret_size, Error *error) {
        _cleanup_question_ Question question = {};
        _cleanup_(imds_freep) Imds *imds = NULL;
        int r;

        r = question_begin(&question, &(HttpOptions){ .connect_timeout_usec = USEC_PER_SEC });
        if (r >= 0) {
                r = imds_new(question.http, IMDS_ADDRESS, IMDS_ADDRESS_IPV6, &imds);
                r = question_wait(&question, r < 0 ? r : imds_get(imds, path, on_text, &question));
        }
        if (r < 0) {
                *error = question.error;
                return r;
        }
        *ret = (char *) TAKE_PTR(question.data);
        *ret_size = question.size;
        return 0;
}

static void on_credentials(int r, AwsCredentials *credentials, const char *role, const Error *error,
                           void *userdata) {
        Question *question = userdata;

        question_answered(question, r, error);
        if (r < 0)
                return;
        question->credentials = TAKE(*credentials, (AwsCredentials){});
        (void) snprintf(question->role, sizeof(question->role), "%s", role);
}

int imds_role(AwsCredentials *ret, char ret_role[static IMDS_ROLE_MAX + 1], Error *error) {
        _cleanup_question_ Question question = {};
        _cleanup_(imds_freep) Imds *imds = NULL;
        int r;

        r = question_begin(&question, &(HttpOptions){ .connect_timeout_usec = USEC_PER_SEC });
        if (r >= 0) {
                r = imds_new(question.http, IMDS_ADDRESS, IMDS_ADDRESS_IPV6, &imds);
                r = question_wait(&question,
                                  r < 0 ? r : imds_get_credentials(imds, on_credentials, &question));
        }
        if (r < 0) {
                *error = question.error;
                return r;
        }
        *ret = TAKE(question.credentials, (AwsCredentials){});
        (void) stpcpy(ret_role, question.role);
        return 0;
}

/* KMS answers requests for /ping without a signature, since its load balancers check there. */
void look_at_tls(const Settings *settings, const char *endpoint, TlsFacts *ret, ClockFacts *ret_clock) {
        _cleanup_(X509_STORE_freep) X509_STORE *trusted = NULL;
        _cleanup_question_ Question question = {};
        _cleanup_free_ char *url = NULL;

        ret->r = http_trust_new(settings->trusted_certificates, &trusted, &ret->error);
        if (ret->r >= 0 && asprintf(&url, "%s/ping", endpoint) < 0)
                ret->r = error_oom(&ret->error);
        if (ret->r < 0)
                return;

        ret->r = ask(&question, &(HttpOptions){ .trusted = trusted, .proxy = settings->proxy }, url);
        ret->error = question.error;
        ret->certificate_end = question.certificate_end;
        ret->duration_usec = question.duration_usec;
        ret->now = (int64_t) (now_realtime_usec() / USEC_PER_SEC);
        *ret_clock = question.clock;
}

static void on_fetched(int r, const uint8_t *data, size_t size, const Error *error, void *userdata) {
        take_data(userdata, r, data, size, error);
}

/* Of a large message only the header comes. */
static void on_first_bytes(int r, const uint8_t *data, size_t size, const ObjectVersion *version,
                           const Error *error, void *userdata) {
        Question *question = userdata;
        _cleanup_(rest_clear) Rest rest = { .fd = -1 };
        Error failed = *error;

        if (r >= 0)
                r = rest_take_object(&rest, question->source, data, size, version, question->maximum,
                                     &question->data, &question->size, &failed);
        question->whole = rest.size;
        question_answered(question, r, &failed);
}

static int start_fetch(Fetcher *fetcher, const Fetch *fetch, const Declaration *declaration,
                       Question *question) {
        const Source *source = fetch->source;

        question->source = source;
        question->maximum = fetch->maximum;
        if (declaration->format == FORMAT_MESSAGE && !source->is_signature &&
            (source->kind == SOURCE_S3 || source->kind == SOURCE_HTTPS))
                return source_fetch_first(fetcher, fetch, source_carrier_max(BODY_WHOLE_MAX),
                                          MESSAGE_HEADER_MAX, on_first_bytes, question);
        return source_fetch(fetcher, fetch, on_fetched, question);
}

int fetch_content(const Settings *settings, const Declaration *declaration, const Source *source,
                  const AwsCredentials *credentials, uint8_t **ret, size_t *ret_size, uint64_t *ret_whole,
                  Error *error) {
        _cleanup_(X509_STORE_freep) X509_STORE *trusted = NULL;
        _cleanup_question_ Question question = {};
        _cleanup_(fetcher_freep) Fetcher *fetcher = NULL;
        _cleanup_(request_target_clear) RequestTarget target = {};
        Fetch fetch;
        int r;

        r = request_target(settings, declaration, &target, error);
        if (r >= 0)
                r = http_trust_new(settings->trusted_certificates, &trusted, error);
        if (r < 0)
                return r;

        fetch = request_fetch(settings, declaration, &target, source);
        r = question_begin(&question, &(HttpOptions){ .trusted = trusted, .proxy = settings->proxy });
        if (r >= 0) {
                r = fetcher_new(question.http, &fetcher);
                if (r >= 0) {
                        fetcher_set_credentials(fetcher, credentials);
                        r = start_fetch(fetcher, &fetch, declaration, &question);
                }
                r = question_wait(&question, r);
        }
        if (r < 0) {
                *error = question.error;
                return r;
        }
        *ret = TAKE_PTR(question.data);
        *ret_size = question.size;
        *ret_whole = question.whole;
        return 0;
}

/* Adds DryRun to the request that unseald would send, so that KMS decrypts nothing. */
static int make_dry(char **body) {
        _cleanup_json_ struct json_object *object = NULL;
        int r = json_parse(*body, strlen(*body), &object);

        if (r < 0)
                return r;
        add(object, "DryRun", made(json_object_new_boolean(true)));
        free(*body);
        *body = strdup(json_object_to_json_string_ext(
                        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        return *body ? 0 : -ENOMEM;
}

/* The key of a volume is made once, and decrypted from then on. */
static bool generates(const DryRunRequest *request) {
        return request->declaration->generate > 0 && request->ciphertext.size == 0;
}

static const char *operation_of(const DryRunRequest *request) {
        return generates(request) ? "GenerateDataKey" : "Decrypt";
}

/* Of a message, unseald asks for the first key that opens one of its data keys, in the Region of that key. */
static int choose_key_of_message(const DryRunRequest *request, const MessageHeader *header,
                                 KmsDecrypt *decrypt, RequestTarget *target, Error *error) {
        RequestKey *keys;
        size_t count;
        int r = request_keys(request->settings, request->declaration, &keys, &count, error);

        if (r < 0)
                return r;
        for (size_t i = 0; i < count && !decrypt->key_id; i++)
                if (request_data_key(request->declaration, header, keys + i, &decrypt->ciphertext)) {
                        decrypt->key_id = keys[i].arn;
                        target->key = keys[i].key;
                        free(target->endpoint);
                        target->endpoint = TAKE_PTR(keys[i].endpoint);
                }
        request_keys_free(keys, count);
        return 0;
}

static int dry_run_body(const DryRunRequest *request, RequestTarget *target, char **ret, Error *error) {
        _cleanup_(request_message_clear) RequestMessage message = {};
        _cleanup_free_ const char **context = NULL;
        char account[64];
        KmsDecrypt decrypt;
        int r;

        (void) snprintf(account, sizeof(account), REQUEST_ACCOUNT_KEY "%s", request->account);
        context = request_context(request->declaration, account);
        if (!context)
                return -ENOMEM;

        if (request->ciphertext.size == 0)
                return kms_dry_run_request(&(const KmsDryRun){ .operation = operation_of(request),
                                                               .key_arn = request->declaration->key_ids[0],
                                                               .encryption_context = context,
                                                               .document = request->document },
                                           ret);
        decrypt = request_decrypt(request->declaration, context, request->ciphertext);
        if (declaration_is_message(request->declaration)) {
                r = request_message(request->declaration, request->ciphertext, account, &message, error);
                if (r < 0)
                        return r;
                decrypt = request_decrypt(request->declaration, (const char *const *) message.context,
                                          message.data_key);
                r = choose_key_of_message(request, &message.header, &decrypt, target, error);
                if (r < 0)
                        return r;
        }
        decrypt.document = request->document;
        if (!request->document.data)
                return kms_probe_request(&decrypt, ret);
        r = kms_decrypt_request(&decrypt, ret);
        return r < 0 ? r : make_dry(ret);
}

void dry_run(const DryRunRequest *request, DryRun *ret) {
        _cleanup_(request_target_clear) RequestTarget target = {};
        _cleanup_(kms_caller_freep) KmsCaller *caller = NULL;
        _cleanup_erase_ char *answer = NULL;
        _cleanup_free_ char *body = NULL;
        size_t size;
        int r;

        *ret = (DryRun){ .asked = true, .generates = generates(request) };
        if (request_target(request->settings, request->declaration, &target, &ret->error) < 0)
                return;
        r = dry_run_body(request, &target, &body, &ret->error);
        if (r < 0) {
                if (ret->error.failure == FAILURE_NONE)
                        (void) error_set(&ret->error, r, FAILURE_REQUEST,
                                         "The request to KMS cannot be made: %s.", strerror(-r));
                return;
        }
        r = kms_caller_new(&(KmsCallerOptions){ .region = target.key.region,
                                                .credentials = request->credentials,
                                                .of_instance = true,
                                                .endpoint = target.endpoint,
                                                .proxy = request->settings->proxy,
                                                .trusted_certificates =
                                                                request->settings->trusted_certificates },
                           &caller, &ret->error);
        if (r < 0)
                return;
        r = kms_call(caller, operation_of(request), body, &answer, &size, &ret->error);
        ret->allowed = r < 0 && strcmp(ret->error.code, "DryRunOperationException") == 0;
        if (r >= 0)
                (void) error_set(&ret->error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS %s although doctor asked for a dry run: this is not AWS's KMS.",
                                 ret->generates ? "made a data key" : "decrypted the secret");
}
