/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "basic/clock.h"
#include "unsealing/endpoint.h"

/* A Region is passed over after so many failures in a row, or after one that took this long. A connection may take 5 s
 * (basic/http.h), so a Region that is gone costs about that much of DeadlineSec=. */
#define FAILURES_MAX 2U
#define PATIENCE_USEC (3 * USEC_PER_SEC)

/* unseald starts before the network, and name resolution may begin a moment after the last route. Until then, silence says nothing of a
 * Region. With the credentials, which come from IMDS, there is a network. */
static bool has_network(const SessionShared *shared, uint64_t now) {
        return instance_step(shared->instance, INSTANCE_CREDENTIALS)->progress == STEP_DONE &&
               now - shared->network_changed_usec >= PATIENCE_USEC;
}

void endpoint_is_silent(Endpoint *endpoint, const Step *step) {
        uint64_t now = now_monotonic_usec();

        if (step->failure == FAILURE_NETWORK && !has_network(endpoint->shared, now))
                return;
        if (step->failures >= FAILURES_MAX || now - step->begun_usec >= PATIENCE_USEC)
                endpoint->passed_over = true;
}

/* The first connection that opens completes the step. A final failure concerns only the secrets of this endpoint, which may
 * all be optional, so it does not end the session here. */
static void connection_ended(Endpoint *endpoint, int r, const Error *error) {
        bool last = endpoint->connecting + endpoint->opening == 0;

        if (endpoint->connection.progress != STEP_RUNNING)
                return;
        if (r >= 0)
                session_step_done(endpoint->shared, &endpoint->connection);
        else if (last && error->remedy != REMEDY_NONE) {
                session_step_postpone(endpoint->shared, &endpoint->connection, NULL, error);
                if (error->failure == FAILURE_NETWORK)
                        endpoint_is_silent(endpoint, &endpoint->connection);
        } else if (last)
                step_give_up(&endpoint->connection, error);
}

static void on_connected(int r, const Error *error, void *userdata) {
        Endpoint *endpoint = userdata;
        SessionShared *shared = endpoint->shared;

        shared->changed(shared->userdata);
        endpoint->connecting--;
        connection_ended(endpoint, r, error);
}

static unsigned connections_wanted(const Endpoint *endpoint) {
        return endpoint->secrets < SESSION_CONNECTIONS_MAX ? endpoint->secrets : SESSION_CONNECTIONS_MAX;
}

bool endpoint_is_busy(const Endpoint *endpoint) {
        return endpoint->requests + endpoint->connecting >= connections_wanted(endpoint);
}

static int begin_connections(void *owner, uint64_t now) {
        Endpoint *endpoint = owner;
        unsigned wanted = connections_wanted(endpoint);

        if (wanted == 0 || endpoint->connecting > 0 ||
            attester_document(endpoint->shared->attester, now).data)
                return 0;
        step_begin(&endpoint->connection, now);
        for (unsigned i = 0; i < wanted; i++) {
                int r = kms_connect(endpoint->client, on_connected, endpoint);

                if (r < 0)
                        return r;
                endpoint->connecting++;
        }
        return 0;
}

bool endpoint_is_usable(const Endpoint *endpoint, uint64_t now) {
        return endpoint->connection.progress == STEP_DONE ||
               (endpoint->opening > 0 && !endpoint->opening_failed) ||
               (endpoint->connecting + endpoint->opening == 0 && step_may_begin(&endpoint->connection, now));
}

bool endpoint_request_begun(Endpoint *endpoint, uint64_t now) {
        bool opens = endpoint->connection.progress != STEP_DONE;

        endpoint->requests++;
        if (!opens)
                return false;
        if (endpoint->opening++ == 0) {
                endpoint->opening_failed = false;
                step_begin(&endpoint->connection, now);
        }
        return true;
}

bool endpoint_request_ended(Endpoint *endpoint, bool opened, int r, const Error *error) {
        bool failed = opened && r < 0;

        endpoint->requests--;
        if (!opened)
                return false;
        endpoint->opening--;
        endpoint->opening_failed |= failed;
        connection_ended(endpoint, failed ? r : 0, error);
        return failed;
}

int endpoint_new(SessionShared *shared, const RequestKey *key, Endpoint *ret) {
        *ret = (Endpoint){
                .shared = shared,
                .url = key->endpoint,
                .region = key->key.region,
                .connection = { .name = "connection to KMS",
                                .silence = FAILURE_NETWORK,
                                .begin = begin_connections,
                                .owner = ret },
        };
        return kms_client_new(shared->http, ret->url, ret->region, &ret->client);
}

void endpoint_clear(Endpoint *endpoint) {
        endpoint->client = kms_client_free(endpoint->client);
        step_forget_error(&endpoint->connection);
}

bool endpoint_matches(const Endpoint *endpoint, const RequestKey *key) {
        return strcmp(endpoint->url, key->endpoint) == 0 && strcmp(endpoint->region, key->key.region) == 0;
}
