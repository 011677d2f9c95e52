/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the rest of a message is, if only its beginning was read: in a file that is open, or in an object of S3 or of an HTTPS
 * server, of which it is known what keeps its parts of one object.
 */

#include "source/pieces-remote.h"
#include "unsealing/body.h"

typedef struct Rest {
        int fd;               /* -1: no file */
        ObjectVersion object; /* size 0: no object */
        uint64_t size;        /* bytes of the whole message */
        uint8_t *beginning;   /* the first bytes of an object, until rest_begin(); or NULL */
        size_t beginning_size;
} Rest;

/* Closes the file. Afterwards there is no rest. */
void rest_clear(Rest *rest);

bool rest_exists(const Rest *rest) _pure_;

/*
 * Takes the first bytes of an object (source_fetch_first()). A short object is the whole content, of at most maximum raw bytes. Of a
 * long one, which must be a message as it is, *ret is the header, and the rest is remembered, with the bytes that are here. FAILURE_SOURCE. The caller frees *ret.
 */
int rest_take_object(Rest *rest, const Source *source, const uint8_t *data, size_t size,
                     const ObjectVersion *version, size_t maximum, uint8_t **ret, size_t *ret_size,
                     Error *error);

/* Lets the plan take no more buffers than the source fills. Returns the most connections that it opens. */
unsigned rest_limit(const Rest *rest, BodyPlan *plan);

/* Begins to bring the pieces that the plan names to the body. fetch and trouble are for objects; userdata is trouble's. */
int rest_begin(Rest *rest, sd_event *event, Fetcher *fetcher, const Fetch *fetch, const BodyPlan *plan,
               Body *body, PiecesTrouble trouble, void *userdata, Error *error);
