/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs the client of kms/client.h in an event loop until the answer is there. The client's time-outs and the number of attempts limit
 * how long a call takes.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "aws/service.h"
#include "basic/clock.h"
#include "basic/event-util.h"
#include "basic/http.h"
#include "basic/jitter.h"
#include "basic/openssl-util.h"
#include "basic/retry.h"
#include "kms/client.h"
#include "unsealctl/ctl.h"
#include "unsealctl/denied.h"
#include "unsealctl/kms-call.h"

#define ATTEMPTS 3
#define PAUSE_MAX_USEC (10 * USEC_PER_SEC)

struct KmsCaller {
        sd_event *event;
        HttpClient *http;
        KmsClient *client;
        /* The call in progress. */
        bool done;
        int result;
        char *answer;
        size_t answer_size;
        Error error;
};

KmsCaller *kms_caller_free(KmsCaller *caller) {
        if (!caller)
                return NULL;
        kms_client_free(caller->client);
        http_client_free(caller->http);
        sd_event_unref(caller->event);
        erase_and_free(caller->answer);
        free(caller);
        return NULL;
}

static int endpoint_of(const KmsCallerOptions *options, char **ret, Error *error) {
        const char *partition = aws_partition_of(options->region);
        KmsKeyArn where = {};
        int r = -EOPNOTSUPP;

        if (!aws_is_region(options->region))
                return error_set(error, -EINVAL, FAILURE_USAGE,
                                 "\"%.64s\" is not a Region. Expected a name such as eu-north-1.",
                                 options->region);
        if (partition) {
                (void) stpcpy(where.partition, partition);
                (void) stpcpy(where.region, options->region);
                r = kms_endpoint(&where,
                                 &(KmsEndpointOptions){ .fips = options->fips,
                                                        .dual_stack = options->dual_stack,
                                                        .endpoint = options->endpoint },
                                 ret);
        }
        if (r == -EINVAL)
                return error_set(error, r, FAILURE_USAGE,
                                 "The endpoint is not valid. Expected https://HOST[:PORT].");
        if (r == -EOPNOTSUPP)
                return error_set(
                                error, r, FAILURE_USAGE,
                                "The Region %s belongs to a partition of AWS that this version does not know.",
                                options->region);
        return r == -ENOMEM ? error_oom(error) : r;
}

int kms_caller_new(const KmsCallerOptions *options, KmsCaller **ret, Error *error) {
        _cleanup_(kms_caller_freep) KmsCaller *caller = calloc(1, sizeof(*caller));
        _cleanup_(X509_STORE_freep) X509_STORE *trusted = NULL;
        _cleanup_free_ char *endpoint = NULL;
        int r;

        if (!caller)
                return error_oom(error);
        r = endpoint_of(options, &endpoint, error);
        if (r >= 0)
                r = http_trust_new(options->trusted_certificates, &trusted, error);
        if (r < 0)
                return r;

        const HttpOptions http = {
                .trusted = trusted,
                .trust_setting = options->of_instance ? NULL : "--trusted-certificates= or AWS_CA_BUNDLE",
                .proxy = options->proxy,
        };
        if ((r = sd_event_new(&caller->event)) < 0 ||
            (r = http_client_new(caller->event, &http, &caller->http)) < 0 ||
            (r = kms_client_new(caller->http, endpoint, options->region, &caller->client)) < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot ask KMS: %s.", strerror(-r));
        kms_client_set_credentials(caller->client, options->credentials);
        if (!options->of_instance)
                kms_client_set_by_hand(caller->client);
        *ret = TAKE_PTR(caller);
        return 0;
}

static void on_answer(int r, const char *body, size_t size, const char *request_id, const Error *error,
                      void *userdata) {
        KmsCaller *caller = userdata;

        if (r < 0)
                caller->error = *error;
        else {
                caller->answer = malloc(size + 1);
                if (!caller->answer)
                        r = error_oom(&caller->error);
                else {
                        memcpy(caller->answer, body, size + 1);
                        caller->answer_size = size;
                }
        }
        caller->result = r;
        caller->done = true;
}

static int call_once(KmsCaller *caller, const char *operation, const char *body) {
        int r;

        caller->done = false;
        r = kms_request(caller->client, operation, body, on_answer, caller);
        if (r >= 0)
                r = event_run_until(caller->event, &caller->done);
        if (r < 0)
                return error_set(&caller->error, r, FAILURE_INTERNAL, "Cannot ask KMS: %s.", strerror(-r));
        return caller->result;
}

static void pause_before(unsigned attempt, uint64_t retry_after_usec) {
        uint64_t delay = retry_delay_usec(attempt, retry_after_usec, jitter_random());

        sleep_usec(delay < PAUSE_MAX_USEC ? delay : PAUSE_MAX_USEC);
}

int kms_call(KmsCaller *caller, const char *operation, const char *body, char **ret, size_t *ret_size,
             Error *error) {
        int r = 0;

        for (unsigned attempt = 1; attempt <= ATTEMPTS; attempt++) {
                r = call_once(caller, operation, body);
                if (r >= 0) {
                        *ret = TAKE_PTR(caller->answer);
                        *ret_size = caller->answer_size;
                        return 0;
                }
                if (caller->error.remedy != REMEDY_RETRY && caller->error.remedy != REMEDY_CLOCK)
                        break;
                if (attempt < ATTEMPTS)
                        pause_before(attempt, caller->error.retry_after_usec);
        }
        *error = caller->error;
        return r;
}

int kms_call_failure(const Error *error) {
        (void) failure("%s%s%s%s", error->text, *error->request_id ? " (Request " : "", error->request_id,
                       *error->request_id ? ")" : "");
        return (int) error->failure;
}

void kms_call_say_sealer(const Error *error) {
        Denied denied;

        if (!denied_parse(error->text, &denied)) {
                (void) fputs("unsealctl: The key's policy must name the caller as a sealer. Write the policy with \"unsealctl policy --sealer=ARN\". KMS names the caller after \"User:\"; of an assumed role, give the role's own ARN.\n",
                             stderr);
                return;
        }
        (void) fprintf(stderr,
                       "unsealctl: The key's policy must name the caller as a sealer. Write the policy with \"unsealctl policy --sealer=%s\" and its other options.\n",
                       denied.principal);
        if (denied.is_session)
                (void) fputs("unsealctl: " DENIED_PATH_HINT, stderr);
}
