/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The AWS CLI's chain of sources for credentials, without those that need another service of AWS: only the environment, access keys
 * in files and IMDS are left. Nothing is cached, since a verb asks once.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <systemd/sd-event.h>

#include "aws/imds.h"
#include "aws/service.h"
#include "basic/clock.h"
#include "basic/event-util.h"
#include "basic/http.h"
#include "basic/io.h"
#include "unsealctl/aws-profile.h"
#include "unsealctl/credentials.h"
#include "unsealctl/ctl.h"

/* Returns 1 where the environment has credentials, 0 where it has none. */
static int from_environment(AwsCredentials *ret, Error *error) {
        const char *id = environment("AWS_ACCESS_KEY_ID"), *secret = environment("AWS_SECRET_ACCESS_KEY"),
                   *token = environment("AWS_SESSION_TOKEN");
        AwsCredentials credentials = {};

        if (!id)
                return 0;
        if (!secret)
                return error_set(
                                error, -EINVAL, FAILURE_ROLE,
                                "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not. Set both or neither.");
        if (!aws_is_header_value(id) || !aws_is_header_value(secret) ||
            (token && !aws_is_header_value(token)))
                return error_set(
                                error, -EINVAL, FAILURE_ROLE,
                                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN contains a space or another character that AWS never uses. Set it again.");
        credentials.access_key_id = strdup(id);
        credentials.secret_access_key = strdup(secret);
        credentials.session_token = token ? strdup(token) : NULL;
        if (!credentials.access_key_id || !credentials.secret_access_key ||
            (token && !credentials.session_token)) {
                aws_credentials_clear(&credentials);
                return error_oom(error);
        }
        *ret = credentials;
        return 1;
}

/* Reads the profile from one file. A missing file has no profile. */
static int read_profile(AwsProfileFile kind, const char *name, AwsProfile *ret, Error *error) {
        bool is_config = kind == AWS_PROFILE_CONFIG;
        const char *path = environment(is_config ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE"),
                   *home = environment("HOME");
        _cleanup_free_ char *usual = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        if (!path && !home)
                return 0;
        if (!path && asprintf(&usual, "%s/.aws/%s", home, is_config ? "config" : "credentials") < 0)
                return error_oom(error);
        path = path ?: usual;

        r = read_file(path, AWS_PROFILE_FILE_MAX, &data, &size);
        if (r == -ENOENT || r == -ENOTDIR || r == -EISDIR || r == -ENXIO)
                return 0;
        if (r < 0)
                return error_set(error, r, FAILURE_ROLE, "Cannot read %s: %s.", path, strerror(-r));
        r = aws_profile_parse(path, kind, (const char *) data, size, name, ret, error);
        explicit_bzero(data, size);
        return r;
}

/* Returns 1 where the profile has credentials, 0 where it has none. A profile that the user named must exist. */
static int from_profile(const char *name, bool named, AwsCredentials *ret, char **ret_region, Error *error) {
        _cleanup_(aws_profile_clear) AwsProfile credentials = {}, config = {};
        int r;

        r = read_profile(AWS_PROFILE_CREDENTIALS, name, &credentials, error);
        if (r >= 0)
                r = read_profile(AWS_PROFILE_CONFIG, name, &config, error);
        if (r < 0)
                return r;
        if (named && !credentials.found && !config.found)
                return error_set(
                                error, -ENOENT, FAILURE_ROLE,
                                "There is no profile %s in the AWS config and credentials files. See \"aws configure list-profiles\".",
                                name);
        *ret_region = TAKE_PTR(credentials.region) ?: TAKE_PTR(config.region);
        if (!ret)
                return 0;
        r = aws_profile_credentials(&credentials, &config, name, ret, error);
        return r == -ENODATA ? 0 : r < 0 ? r : 1;
}

typedef struct Waiting {
        AwsCredentials *credentials;
        Error *error;
        bool done;
        int result;
} Waiting;

static void on_credentials(int r, AwsCredentials *credentials, const char *role, const Error *error,
                           void *userdata) {
        Waiting *waiting = userdata;

        if (r >= 0)
                *waiting->credentials = TAKE(*credentials, (AwsCredentials){});
        else
                *waiting->error = *error;
        waiting->result = r;
        waiting->done = true;
}

int credentials_from_imds(AwsCredentials *ret, Error *error) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(http_client_freep) HttpClient *http = NULL;
        _cleanup_(imds_freep) Imds *imds = NULL;
        Waiting waiting = { .credentials = ret, .error = error };
        int r;

        /* Outside EC2 nothing answers at these addresses, so the wait is short. */
        if ((r = sd_event_new(&event)) < 0 ||
            (r = http_client_new(event, &(HttpOptions){ .connect_timeout_usec = USEC_PER_SEC }, &http)) <
                            0 ||
            (r = imds_new(http, IMDS_ADDRESS, IMDS_ADDRESS_IPV6, &imds)) < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot ask IMDS: %s.", strerror(-r));
        r = imds_get_credentials(imds, on_credentials, &waiting);
        if (r >= 0)
                r = event_run_until(event, &waiting.done);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot ask IMDS: %s.", strerror(-r));
        return waiting.result;
}

/* Returns the variable of a source that the CLI would use and unsealctl cannot, or NULL. */
static const char *other_source(void) {
        static const char *const names[] = { "AWS_WEB_IDENTITY_TOKEN_FILE",
                                             "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                             "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (environment(names[i]))
                        return names[i];
        return NULL;
}

static int from_elsewhere(const char *name, AwsCredentials *ret, Error *error) {
        const char *disabled = environment("AWS_EC2_METADATA_DISABLED"), *source = other_source();
        Error imds = {};
        int r = -ENODATA;

        if (source)
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_ROLE,
                                "%s is set, and unsealctl cannot get credentials from it. Let the AWS CLI export them: eval \"$(aws configure export-credentials --format env)\".",
                                source);
        if (!disabled || strcasecmp(disabled, "true") != 0) {
                r = credentials_from_imds(ret, &imds);
                if (r >= 0 || r == -ENOMEM) {
                        *error = imds;
                        return r;
                }
        }
        return error_set(
                        error, r, FAILURE_ROLE,
                        "There are no AWS credentials: neither in the environment (AWS_ACCESS_KEY_ID), nor in the profile %s of the shared files, nor from IMDS%s%s Set AWS_PROFILE, or see CREDENTIALS in unsealctl(1).",
                        name, *imds.text ? ": " : ".", imds.text);
}

int credentials_find(const char *profile, AwsCredentials *ret, char **ret_region, Error *error) {
        const char *region = environment("AWS_REGION") ?: environment("AWS_DEFAULT_REGION"),
                   *name = profile ?: environment("AWS_PROFILE");
        _cleanup_(aws_credentials_clear) AwsCredentials credentials = {};
        _cleanup_free_ char *found_region = NULL;
        bool done;
        int r;

        r = profile ? 0 : from_environment(&credentials, error);
        if (r < 0)
                return r;
        done = r > 0;
        /* The files may have the Region even where the environment has the credentials. */
        if (!done || !region || name) {
                r = from_profile(name ?: "default", name, done ? NULL : &credentials, &found_region, error);
                if (r < 0)
                        return r;
                done = done || r > 0;
        }
        if (!done) {
                r = from_elsewhere(name ?: "default", &credentials, error);
                if (r < 0)
                        return r;
        }
        if (region) {
                free(found_region);
                found_region = strdup(region);
                if (!found_region)
                        return error_oom(error);
        }
        *ret = TAKE(credentials, (AwsCredentials){});
        *ret_region = TAKE_PTR(found_region);
        return 0;
}
