/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A session is one unsealing from start to end: the daemon's at boot, a reload, or that of unsealctl unseal. session.c is the
 * only file that knows the order of the steps.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "memory/secret.h"
#include "source/source-file.h"
#include "unsealing/ciphertexts.h"
#include "vault/callers.h"
#include "vault/kept.h"

typedef struct Session Session;

/* An unsealed secret. members: of a bundle, the places of the declared members in the plaintext, sorted by name; NULL: it is none. */
typedef struct SessionSecret {
        const Declaration *declaration;
        Secret *plaintext;
        const ManifestMember *members;
        size_t members_count;
        uint64_t unread; /* of a large message of which only the header was read: bytes of the message, and plaintext is NULL; else 0 */
        const char *request_id;
} SessionSecret;

/* Called for each secret once all are unsealed. A failure ends the session. The secret is valid during the call. */
typedef int (*SessionTake)(const SessionSecret *secret, Error *error, void *userdata);

/* A refresh has found a ciphertext that was not unsealed before, and goes on as a reload. */
typedef void (*SessionChanged)(void *userdata);

typedef void (*SessionLateEnded)(void *userdata);

/* Everything is borrowed and must outlive the session. */
typedef struct SessionOptions {
        const Settings *settings;
        const Declarations *declarations;
        const char *store_path, *status_path;
        SourceLabelPlaces
                        labels; /* where the labels of volumes are, and the ciphertexts of their keys go (Source=volume:) */
        const char *event_log_path; /* where the log of MeasurePcr= is written; NULL: nowhere */
        Kept *kept; /* at boot it is new, and the session restores it; at the end it has the published secrets */

        Callers *callers; /* who waits at the credential socket, for status.json; NULL: that is not known */

        /* A reload: the secrets that are published now. All are unsealed again. They are replaced together at the end; if the
         * session fails, they stay. NULL: no reload. */
        const Declarations *replaced;

        /* Which ciphertexts were unsealed last. A session that succeeds records its own. NULL: nobody wants to know. */
        Ciphertexts *ciphertexts;

        /* A refresh: a reload (replaced, ciphertexts) that fetches all ciphertexts first. If one differs from the recorded one, it
         * calls this function once and goes on. Otherwise it ends without having asked the TPM or KMS. Until then it writes only
         * debug entries and no status. NULL: no refresh. */
        SessionChanged changed;

        /* After r = 0, if session_is_late(): called once when each late secret is published or has failed. It may free the session. NULL:
         * no secret of the declarations is late. */
        SessionLateEnded late_ended;

        /* unsealctl unseal: the secrets are given to this function, and nothing is kept, locked or published. Then store_path,
         * status_path and kept are NULL. */
        SessionTake take;
        /* With take: of a message that is too large to be read as a whole only the header is fetched and opened. */
        bool headers_only;
} SessionOptions;

/* Called once from the event loop; it may free the session. r = 0: every required secret is published or taken, and the key
 * pair and the credentials are wiped. r < 0: *error has the reason, which is in the journal already. If r < 0 and a TPM command
 * is still running (session_waits_for_tpm()), the callback is called once more when the command has ended. */
typedef void (*SessionEnded)(int r, const Error *error, void *userdata);

/* FAILURE_CONFIGURATION, FAILURE_STORE or FAILURE_INTERNAL. Nothing is asked of the TPM or the network before
 * session_start(). */
int session_new(sd_event *event, const SessionOptions *options, SessionEnded ended, void *userdata,
                Session **ret, Error *error);

void session_start(Session *session);

/* Returns whether a reload is past its point of no return: the service manager has the new secrets and no longer the old ones.
 * From then on the new declarations decide who gets a secret, and the session ends with r = 0. */
bool session_has_replaced(const Session *session);

/* After r = 0: returns whether messages of late secrets (Late=) are still to come. The session goes on then: session_free() ends it, and
 * the next process continues with the kept data keys. */
bool session_is_late(const Session *session);

/* The settings and the declarations of a reload are in force now, and have moved to this place. For a session that goes on. */
void session_settle(Session *session, const Settings *settings, const Declarations *declarations);

/* Returns whether the session is a refresh that has found no difference so far, or that ended without one. session_free() may
 * then end it at any time: nothing has been asked of the TPM or KMS. */
bool session_is_unchanged(const Session *session);

/* After r = 0 of a reload: why the store does not show the new secrets. FAILURE_NONE: it does. */
const Error *session_unpublished(const Session *session);

/* Returns whether a TPM command is running. A process that ends now leaves a key or a session in the TPM. */
bool session_waits_for_tpm(const Session *session);

/* Wipes all secrets that the session holds. Waits for no TPM command: it ends in its thread, which then closes the TPM. Returns
 * NULL. */
Session *session_free(Session *session);
DEFINE_CLEANUP(Session *, session_free);
