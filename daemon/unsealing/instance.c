/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/clock.h"
#include "unsealing/instance.h"

#define USER_DATA_PATH "/latest/user-data"

struct Instance {
        HttpClient *http;
        Imds *imds;
        InstanceEnded ended;
        void *userdata;
        Step steps[_INSTANCE_STEPS];
        AwsCredentials credentials;
        char role[IMDS_ROLE_MAX + 1];
        char account[IMDS_ACCOUNT_SIZE];
        char *user_data;
        size_t user_data_size;
};

static int begin_credentials(void *owner, uint64_t now);
static int begin_identity(void *owner, uint64_t now);
static int begin_user_data(void *owner, uint64_t now);

static const Step steps[_INSTANCE_STEPS] = {
        [INSTANCE_CREDENTIALS] = { .name = "credentials",
                                   .silence = FAILURE_IMDS,
                                   .begin = begin_credentials },
        [INSTANCE_IDENTITY] = { .name = "instance identity",
                                .silence = FAILURE_IMDS,
                                .begin = begin_identity },
        [INSTANCE_USER_DATA] = { .name = "user data", .silence = FAILURE_IMDS, .begin = begin_user_data },
};

int instance_new(sd_event *event, InstanceEnded ended, void *userdata, Instance **ret) {
        _cleanup_(instance_freep) Instance *instance = calloc(1, sizeof(*instance));
        /* IMDS is on the same host: a connection that takes longer than a second means that the network is not up. */
        const HttpOptions options = {
                .connections_max = _INSTANCE_STEPS,
                .connect_timeout_usec = USEC_PER_SEC,
        };
        int r;

        if (!instance)
                return -ENOMEM;
        instance->ended = ended;
        instance->userdata = userdata;
        for (size_t i = 0; i < _INSTANCE_STEPS; i++) {
                instance->steps[i] = steps[i];
                instance->steps[i].owner = instance;
        }
        if ((r = http_client_new(event, &options, &instance->http)) < 0 ||
            (r = imds_new(instance->http, IMDS_ADDRESS, IMDS_ADDRESS_IPV6, &instance->imds)) < 0)
                return r;
        *ret = TAKE_PTR(instance);
        return 0;
}

Instance *instance_free(Instance *instance) {
        if (!instance)
                return NULL;
        (void) imds_free(instance->imds);
        (void) http_client_free(instance->http);
        instance_forget(instance);
        for (InstanceStep i = 0; i < _INSTANCE_STEPS; i++)
                step_forget_error(instance->steps + i);
        free(instance->user_data);
        free(instance);
        return NULL;
}

Step *instance_step(Instance *instance, InstanceStep step) {
        return instance->steps + step;
}

const AwsCredentials *instance_credentials(const Instance *instance) {
        return &instance->credentials;
}

const char *instance_role(const Instance *instance) {
        return instance->role;
}

const char *instance_account(const Instance *instance) {
        return instance->account;
}

const char *instance_user_data(const Instance *instance, size_t *ret_size) {
        *ret_size = instance->user_data_size;
        return instance->user_data;
}

void instance_forget(Instance *instance) {
        aws_credentials_clear(&instance->credentials);
}

static void end(Instance *instance, InstanceStep step, int r, const Error *error) {
        instance->ended(instance->steps + step, r, error, instance->userdata);
}

static void on_credentials(int r, AwsCredentials *credentials, const char *role, const Error *error,
                           void *userdata) {
        Instance *instance = userdata;

        if (r >= 0) {
                aws_credentials_clear(&instance->credentials);
                instance->credentials = TAKE(*credentials, (AwsCredentials){});
                (void) snprintf(instance->role, sizeof(instance->role), "%s", role);
        }
        end(instance, INSTANCE_CREDENTIALS, r, error);
}

static int begin_credentials(void *owner, uint64_t now) {
        Instance *instance = owner;

        step_begin(instance->steps + INSTANCE_CREDENTIALS, now);
        return imds_get_credentials(instance->imds, on_credentials, instance);
}

static void on_identity(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Instance *instance = userdata;
        Error failed = *error;

        if (r >= 0)
                r = imds_account_parse(data, size, instance->account, &failed);
        end(instance, INSTANCE_IDENTITY, r, &failed);
}

static int begin_identity(void *owner, uint64_t now) {
        Instance *instance = owner;

        step_begin(instance->steps + INSTANCE_IDENTITY, now);
        return imds_get(instance->imds, IMDS_IDENTITY_PATH, on_identity, instance);
}

/* Copies the user data: IMDS's answer is valid only during the callback. */
static int take_user_data(Instance *instance, const char *data, size_t size, Error *error) {
        char *copy = malloc(size + 1);

        if (!copy)
                return error_oom(error);
        memcpy(copy, data, size);
        copy[size] = 0;
        free(instance->user_data);
        instance->user_data = copy;
        instance->user_data_size = size;
        return 0;
}

static void on_user_data(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Instance *instance = userdata;
        Error failed = *error;

        if (r == -ENOENT)
                (void) error_set(&failed, r, FAILURE_SOURCE, "This instance has no user data.");
        if (r >= 0)
                r = take_user_data(instance, data, size, &failed);
        end(instance, INSTANCE_USER_DATA, r, &failed);
}

static int begin_user_data(void *owner, uint64_t now) {
        Instance *instance = owner;

        step_begin(instance->steps + INSTANCE_USER_DATA, now);
        return instance_read_user_data(instance, on_user_data, instance);
}

int instance_read_user_data(Instance *instance, ImdsGetCallback callback, void *userdata) {
        return imds_get(instance->imds, USER_DATA_PATH, callback, userdata);
}
