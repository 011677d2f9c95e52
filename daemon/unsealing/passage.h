/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The passage of one secret, from its declaration to its plaintext. A passage has three steps: the fetch of the ciphertext, the
 * decryption by KMS, and with VerifyPolicy= the probe of the key's policy. It reports what ends by the callbacks of
 * SessionShared.
 *
 * With SignedBy= the fetch brings a pair, first the ciphertext and then its signature. Ciphertext that is not verified lies in a
 * member of its own, which no request to KMS reads. If the two are no pair, somebody may be replacing them at this moment, so
 * both are fetched again, a few times.
 */

#include "unsealing/endpoint.h"
#include "unsealing/members.h"
#include "unsealing/request.h"
#include "unsealing/rest.h"
#include "unsealing/session-shared.h"
#include "unsealing/step.h"

typedef enum SecretState {
        SECRET_DECLARED,
        SECRET_FETCHING,   /* a request to its source is under way */
        SECRET_SEALED,     /* the ciphertext is here, and with SignedBy= its signature is right */
        SECRET_DECRYPTING, /* a request to KMS is under way */
        SECRET_OPENING,    /* KMS has answered; the key pair's thread opens the envelope */
        SECRET_OPENED,     /* the plaintext is here; the probe is still to come */
        SECRET_PROBING,    /* the probe is under way */
        SECRET_UNSEALED,
        SECRET_KEPT, /* in the service manager's descriptor store, since now or since before a restart */
        SECRET_PUBLISHED,
        SECRET_FAILED,
} SecretState;

const char *secret_state_to_string(SecretState state) _pure_;

struct Passage {
        SessionShared *shared;
        const Declaration *declaration;
        RequestTarget target;
        Endpoint *endpoint; /* NULL if the secret was kept before a restart */
        Step fetch, decryption, probe;
        bool opens_connection; /* the request for decryption opens its connection itself */
        const char *policy;    /* the result of the probe: "gates", "open", "unknown"; NULL: not probed */
        SecretState state;
        uint8_t *unverified; /* raw bytes whose signature is still to be fetched; NULL: none */
        size_t unverified_size;
        unsigned mismatches; /* how often ciphertext and signature were no pair */
        uint64_t version;    /* with SignedBy=, once the ciphertext is here */
        uint8_t *ciphertext; /* raw bytes; NULL: not fetched or not verified yet */
        size_t ciphertext_size;
        RequestMessage message; /* with Format=message, once KMS is to be asked */
        bool compared, differs; /* of a refresh: with what was unsealed last */
        Rest rest;              /* of a message that is not read as a whole; ciphertext is its beginning */
        Body *body;             /* while it is decrypted */
        uint64_t trouble_usec;  /* when a part failed first since the last byte of plaintext; 0: none has */
        uint64_t trouble_written; /* bytes of plaintext that were written then */
        bool is_stuck;            /* parts failed, at first and again, and no byte was written between */
        uint64_t told_usec;       /* when a notice said last that a part failed; 0: none has */
        StoreDraft *draft;        /* its plaintext, hidden in the store; or NULL */
        Secret *plaintext;        /* of a bundle: the values of the declared members, one after another */
        ManifestMember *members;  /* of a bundle: their places, sorted by name; NULL: the secret is none */
        size_t members_count;
        char request_id[64]; /* of the last answer of KMS; or empty */
        uint64_t begun_usec, duration_usec;
};

/* declaration is borrowed. ret must not move afterwards: its steps point to it. */
void passage_init(Passage *ret, SessionShared *shared, const Declaration *declaration);
void passage_clear(Passage *passage);

/* Fails the secret if its endpoint has failed for good. */
void passage_share_failure(Passage *passage);

/* The step that the secret is at: the fetch until the ciphertext is here, the probe once the envelope is open, else the
 * decryption. */
Step *passage_step(Passage *passage) _pure_;

/* The source that the fetch is at: that of the ciphertext, then that of its signature. */
const Source *passage_source(const Passage *passage) _pure_;

/* The version that the vendor has signed. NULL: none is known, or SignedBy= is not set. */
const uint64_t *passage_version(const Passage *passage) _pure_;

/* The step that keeps the secret from being unsealed. A step that has failed comes before one that is only not done yet. */
const Step *passage_obstacle(Passage *passage);

/* passage_enter() also writes the new state to the journal. */
void passage_enter(Passage *passage, SecretState state);
void passage_set_state(Passage *passage, SecretState state);

/* Renews what KMS or the source did not accept, and schedules the next attempt of the step that the secret is at. */
void passage_retry(Passage *passage, const Error *error);

/* The plaintext is here. */
void passage_opened(Passage *passage);

/* The secret has failed for good. If it is required, this ends the session. */
void passage_fail(Passage *passage, const Error *error);

/* Returns whether VerifyPolicy=yes holds the secret back: KMS would decrypt it without attestation. */
bool passage_is_held_back(const Passage *passage) _pure_;

/* Returns whether the session may go on without the secret: it is optional, and it or a step that it needs has failed. */
bool passage_may_be_left(Passage *passage);

/* Fails an optional secret that the session goes on without. */
void passage_leave_behind(Passage *passage);

/* With VerifyPolicy=warn the probe holds up nothing: once everything else is done, or at the deadline, its result may stay
 * unknown. */
bool passage_may_stay_unknown(const Passage *passage) _pure_;
void passage_is_unknown(Passage *passage);
