/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the parts of one session share. The session fills it in and owns everything in it; passages and endpoints read it,
 * keep the counters, and report through the callbacks. A part never calls another part's callback.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/http.h"
#include "config/settings.h"
#include "source/fetcher.h"
#include "source/source-file.h"
#include "unsealing/attester.h"
#include "unsealing/body-turns.h"
#include "unsealing/delivery.h"
#include "unsealing/instance.h"
#include "unsealing/report.h"
#include "unsealing/step.h"

/* The most connections to one KMS endpoint, and the most fetches at a time. A hundred secrets take four turns of 25, and peak
 * memory stays below 16 MiB. Three turns would take 34, and each connection more takes some 75 KiB. */
#define SESSION_CONNECTIONS_MAX 25U

typedef struct Passage Passage;

typedef struct SessionShared {
        const Settings *settings;
        HttpClient *http; /* for KMS and for sources; never for IMDS */
        Fetcher *fetcher;
        Attester *attester;
        Instance *instance;
        Delivery *delivery;       /* NULL: unsealctl takes the secrets */
        bool headers_only;        /* then of large messages only the header is wanted */
        SourceLabelPlaces labels; /* of the volumes' keys */
        sd_event *event;
        Report *report;
        Steps steps;
        uint64_t network_changed_usec; /* CLOCK_MONOTONIC; 0: not yet */
        bool late;                     /* READY=1 is said, and only late secrets are to come */
        bool ending;                   /* no step may begin any more, and no answer counts */

        uint64_t document_refused_usec; /* when KMS last refused a document; 0: never */
        unsigned fetching, decrypting;  /* requests whose answer is awaited */
        unsigned missing;               /* secrets that are neither unsealed nor failed */
        BodyTurns bodies;               /* the large messages that are being decrypted */
        const Passage *beginning; /* the one that may keep all bytes that came with its message's header; or NULL */

        /* Another step may be able to begin. Every callback calls this first, before it can return early. It only arms an event
         * source: the session moves on after the callback has returned. */
        void (*changed)(void *userdata);
        /* A required secret has failed, and no retry can help. */
        void (*failed)(Passage *passage, const Error *error, void *userdata);
        void *userdata;
} SessionShared;

void session_step_done(SessionShared *shared, Step *step);

/* Schedules the next attempt. secret: the name of the secret whose step it is; NULL if all secrets need the step. */
void session_step_postpone(SessionShared *shared, Step *step, const char *secret, const Error *error);

/* Sets *ret to the reason why the step is not done at the deadline: its last failure, or that no answer came. whom: who should
 * have answered; NULL: the step's name says it. */
void session_step_overdue(const SessionShared *shared, const Step *step, const char *whom, Error *ret);
