/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "unsealing/endpoint.h"

/* The first connection that opens completes the step. A final failure concerns only the secrets of this endpoint, which may
 * all be optional, so it does not end the session here. */
static void on_connected(int r, const Error *error, void *userdata) {
        Endpoint *endpoint = userdata;
        SessionShared *shared = endpoint->shared;

        shared->changed(shared->userdata);
        endpoint->connecting--;
        if (endpoint->connection.progress == STEP_RUNNING) {
                if (r >= 0)
                        session_step_done(shared, &endpoint->connection);
                else if (endpoint->connecting == 0 && error->remedy != REMEDY_NONE)
                        session_step_postpone(shared, &endpoint->connection, NULL, error);
                else if (endpoint->connecting == 0)
                        step_give_up(&endpoint->connection, error);
        }
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

        if (endpoint->connecting > 0)
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

int endpoint_new(SessionShared *shared, const RequestTarget *target, Endpoint *ret) {
        *ret = (Endpoint){
                .shared = shared,
                .url = target->endpoint,
                .region = target->key.region,
                .connection = { .name = "connection to KMS",
                                .silence = FAILURE_NETWORK,
                                .begin = begin_connections,
                                .owner = ret },
        };
        return kms_client_new(shared->http, ret->url, ret->region, &ret->client);
}

void endpoint_clear(Endpoint *endpoint) {
        endpoint->client = kms_client_free(endpoint->client);
}

bool endpoint_matches(const Endpoint *endpoint, const RequestTarget *target) {
        return strcmp(endpoint->url, target->endpoint) == 0 &&
               strcmp(endpoint->region, target->key.region) == 0;
}
