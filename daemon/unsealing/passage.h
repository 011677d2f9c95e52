/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One secret on its way, from its declaration to its plaintext, and the connection to KMS that it shares with others of its
 * Region. A passage begins what it can when it is told to; what ends later is told to whoever has it by the two callbacks of
 * what all passages have in common.
 */

#include "aws/imds.h"
#include "kms/client.h"
#include "source/fetch.h"
#include "source/fetcher.h"
#include "unsealing/attester.h"
#include "unsealing/report.h"
#include "unsealing/request.h"
#include "unsealing/step.h"

/* Enough that a hundred secrets take little longer than one, few enough for a small instance's memory. */
#define CONNECTIONS_MAX 16U

typedef struct Passage Passage;

/* What all secrets have in common. The owner fills it in; what the passages count is theirs. */
typedef struct Common {
        const Settings *settings;
        HttpClient *http;
        Fetcher *fetcher;
        Attester *attester;
        Report *report;

        Step credentials, identity, user_data;
        char role[128];
        char account_pair[sizeof(REQUEST_ACCOUNT_KEY) + IMDS_ACCOUNT_SIZE];
        char *user_data_text; /* NULL: none wanted, or none there */
        size_t user_data_size;
        uint64_t network_changed_usec;
        bool ending; /* nothing new is begun */

        bool document_renewed; /* because KMS did not like the first: once */
        unsigned fetching, decrypting;

        void (*changed)(void *userdata); /* something may be begun now */
        void (*failed)(Passage *passage, const Error *error,
                       void *userdata); /* a required secret, for good */
        void *userdata;
} Common;

void common_step_done(Common *common, Step *step);
/* To be tried again. secret: whose step it is, or NULL. */
void common_step_postpone(Common *common, Step *step, const char *secret, const Error *error);

/* A KMS endpoint: one for every Region that a key is in, KmsEndpoint= or not: the Region is signed for. */
typedef struct Endpoint {
        Common *common;
        const char *url, *region; /* of the target of the first secret that uses it */
        KmsClient *client;
        Step connection;
        unsigned connecting; /* connections whose outcome is awaited */
        unsigned requests;   /* whose answer is awaited */
        unsigned secrets;    /* how many use it */
} Endpoint;

int endpoint_new(Common *common, const RequestTarget *target, Endpoint *ret);
bool endpoint_is_of(const Endpoint *endpoint, const RequestTarget *target) _pure_;
int endpoint_begin(Endpoint *endpoint, uint64_t now);

typedef enum SecretState {
        SECRET_DECLARED,
        SECRET_FETCHING,   /* its source is asked over the network */
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

const char *secret_state_to_string(SecretState state) _pure_;

struct Passage {
        Common *common;
        const Declaration *declaration;
        RequestTarget target;
        Endpoint *endpoint;
        Step fetch, decryption, probe;
        const char *policy; /* what the probe found: "gates", "open", "unknown"; NULL: not asked */
        SecretState state;
        uint8_t *ciphertext; /* NULL: not fetched yet */
        size_t ciphertext_size;
        Secret *plaintext;
        char request_id[64];
        uint64_t begun_usec, duration_usec;
};

Passage passage_make(Common *common, const Declaration *declaration);
void passage_clear(Passage *passage);

/* Each begins it, if it can begin. */
int passage_begin_fetch(Passage *passage, uint64_t now);
int passage_begin_decryption(Passage *passage, uint64_t now);
int passage_begin_probe(Passage *passage, uint64_t now);

/* Fails it, if what all secrets of its endpoint need has failed for good. */
void passage_share_failure(Passage *passage);

bool passage_wants_account(const Passage *passage) _pure_;
bool passage_wants_user_data(const Passage *passage) _pure_;

/* What it is at: until its ciphertext is here, at fetching it; once it is open, at the probe. */
Step *passage_step(Passage *passage) _pure_;

/* What keeps it from being unsealed: rather what has failed than what is merely not done yet. */
const Step *passage_obstacle(Passage *passage);

void passage_enter(Passage *passage, SecretState state);
void passage_failed(Passage *passage, const Error *error);

/* Optional, and not waited for once it, or the way to it, has failed. */
bool passage_may_be_left(Passage *passage);
/* Stays behind: for a failure, its own or on the way, or for want of time. */
void passage_leave_behind(Passage *passage);

/* With VerifyPolicy=warn nobody waits for the probe once all the rest is done, or the time is over. */
bool passage_may_stay_unknown(const Passage *passage) _pure_;
void passage_is_unknown(Passage *passage);

/* Why a step is not done by the deadline: what was tried last and did not succeed is the reason. */
void common_overdue(const Common *common, const Step *step, const char *whom, Error *ret);
