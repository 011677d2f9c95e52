/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The passage of one secret, from its declaration to its plaintext. A passage has three steps: the fetch of the ciphertext, the
 * decryption by KMS, and with VerifyPolicy= the probe of the key's policy. With Generate= there is no ciphertext, so nothing is
 * fetched, and KMS makes a data key in place of decrypting. It reports what ends by the callbacks of
 * SessionShared.
 *
 * With GenerateWhen=missing the fetch reads the label of a volume. If the volume has none yet, KMS makes a data key, of which only the
 * ciphertext is taken: the decryption goes on with it. So nothing is stored under a key before KMS has shown that it opens its ciphertext.
 *
 * With SignedBy= the fetch brings a pair, first the ciphertext and then its signature. Ciphertext that is not verified lies in a
 * member of its own, which no request to KMS reads. If the two are no pair, somebody may be replacing them at this moment, so
 * both are fetched again, a few times.
 */

#include "unsealing/body-turns.h"
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
        SECRET_GENERATING, /* the same, for a value that KMS makes */
        SECRET_OPENING,    /* KMS has answered; the key pair's thread opens the envelope */
        SECRET_OPENED,     /* the plaintext is here; the probe is still to come */
        SECRET_PROBING,    /* the probe is under way */
        SECRET_UNSEALED,
        SECRET_LATE, /* the data key of a late secret is here; its message is decrypted after READY=1 */
        SECRET_KEPT, /* in the service manager's descriptor store, since now or since before a restart */
        SECRET_PUBLISHED,
        SECRET_FAILED,
} SecretState;

const char *secret_state_to_string(SecretState state) _pure_;

struct Passage {
        SessionShared *shared;
        const Declaration *declaration;
        RequestTarget target;
        RequestKey *keys;       /* that KMS may be asked for; NULL if the secret was kept before a restart */
        Endpoint **endpoints;   /* those of the keys, in the same order */
        size_t keys_count, key; /* key: the one that is asked for (unsealing/passage-key.h) */
        Endpoint *endpoint;     /* its endpoint; NULL if the secret was kept before a restart */
        const char *asked_region; /* where the last request to KMS has ended; NULL: none has */
        Step fetch, decryption, probe;
        Step body_begins;     /* of a large message whose data key is here; it never runs: decryption does */
        Step late_body;       /* of a late secret: its message, from the first byte to the last */
        Secret *late_key;     /* of a late secret until it is published (late-key.h); NULL: none */
        unsigned late_tenths; /* of them that the journal has said */
        bool alone;           /* its failure ends nothing: what READY=1 says is true without it */
        bool opens_connection; /* the request for decryption opens its connection itself */
        bool decryption_gated; /* of the two probes of a volume's key the first has shown that KMS does not decrypt it */
        const char *policy; /* the result of the probe: "gates", "open", "unknown"; NULL: not probed */
        SecretState state;
        bool blank; /* with GenerateWhen=missing: the volume has no label yet, so KMS is to make its key */
        uint8_t *unverified; /* raw bytes whose signature is still to be fetched; NULL: none */
        size_t unverified_size;
        unsigned mismatches; /* how often ciphertext and signature were no pair */
        uint64_t version;    /* with SignedBy=, once the ciphertext is here */
        uint8_t *ciphertext; /* raw bytes; NULL: not fetched or not verified yet */
        size_t ciphertext_size;
        RequestMessage message; /* with Format=message, once KMS is to be asked */
        bool compared, differs; /* of a refresh: with what was unsealed last */
        Rest rest;              /* of a message that is not read as a whole; ciphertext is its beginning */
        Secret *data_key;       /* of that message, from KMS's answer until its body has ended; or NULL */
        BodyPlan body_plan;     /* while its data key is here: */
        BodyTurn body_turn;
        Body *body;            /* while it is decrypted */
        bool told_to_wait;     /* for its turn */
        uint64_t trouble_usec; /* when a part failed first since the last byte of plaintext; 0: none has */
        uint64_t trouble_written; /* bytes of plaintext that were written then */
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

/* Returns whether the session cannot go on without the secret. */
bool passage_is_required(const Passage *passage) _pure_;

/* After READY=1: the message of a late secret is brought and decrypted from its first byte. */
void passage_begin_late(Passage *passage);

/* A reload: the secret is published already, and stays as it is. */
void passage_spare(Passage *passage);

/* Fails the secret if its endpoint has failed for good. */
void passage_share_failure(Passage *passage);

/* Returns whether nothing is to be fetched for the secret any more: its ciphertext is here, or KMS makes its value in this boot. */
bool passage_is_fetched(const Passage *passage) _pure_;

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

/* The step has succeeded. */
void passage_step_done(Passage *passage, Step *step);

/* For the fetch of a message (unsealing/passage-body.h): the most raw bytes that the source may bring as a whole; what came, which is
 * taken; or why nothing came. */
size_t passage_whole_maximum(const Passage *passage, const Source *source) _pure_;
void passage_fetched(Passage *passage, uint8_t *data, size_t size);
void passage_not_fetched(Passage *passage, const Error *error);

/* The secret has failed for good. If it is required (passage_is_required()), this ends the session. */
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
