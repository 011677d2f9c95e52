/* SPDX-License-Identifier: Apache-2.0 */

/*
 * unsealctl doctor: checks everything from the configuration to the applications, in the order in which one thing
 * depends on the other. After a failure it goes on with the checks that do not need the failed one.
 *
 * Each question is an errand: a thread with a time limit. An errand that is late is left behind, and its memory is
 * never freed. A late errand may still read the doctor. Therefore the doctor is static, and does not change while an
 * errand is under way. An errand writes only to its own memory.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/limits.h"
#include "basic/log.h"
#include "build-config.h"
#include "config/ini.h"
#include "source/source-file.h"
#include "unsealctl/check/consumers.h"
#include "unsealctl/check/unit-mistakes.h"
#include "unsealctl/ctl.h"
#include "unsealctl/doctor/doctor.h"
#include "unsealctl/measurements.h"
#include "unsealctl/unit-properties.h"
#include "unsealing/body.h"
#include "unsealing/request.h"

#define LIMIT_USEC (10 * USEC_PER_SEC)
#define WITHIN_LIMIT " within 10 seconds"
#define TOTAL_USEC (90 * USEC_PER_SEC)
#define NO_TIME "There was no time left for this check (--timeout=)."

typedef struct Doctor {
        const char *vendor_config, *local_config, *store_path, *status_path;
        MeasurementFiles measurements; /* --measurements= */
        ExpectationOptions expectation;
        bool json;
        uint64_t until_usec;
        Report report;

        Settings settings;
        Declarations declarations;
        Volumes volumes;
        char **endpoints,
                        **unreachable; /* of KMS: "https://…"; unreachable: the endpoints that do not answer */
        char **kept;                   /* strings that a late errand may still read */
        char holder[128];              /* the process that has the TPM open */
        TpmFacts tpm;
        bool locked; /* the PCR of LockPcr= is locked */
        bool imds_answers, has_role;
        InstanceFacts instance;
        AwsCredentials credentials;
        ClockFacts clock; /* the clock of KMS, or else of IMDS */
        char *user_data;  /* NULL: none */
        size_t user_data_size;
} Doctor;

typedef struct Errand Errand;
struct Errand {
        void (*ask)(Errand *errand);
        const Doctor *doctor;
        const char *name; /* the subject of the question */
        const Declaration *declaration;
        const Source *source; /* one of the declaration's */
        DryRunRequest request;
        sem_t done;

        /* The parts of the answer. A question sets those that it has. */
        int r;
        Error error;
        DeviceFacts device;
        TpmFacts tpm;
        ImdsFacts imds;
        ClockFacts clock;
        NamesFacts names;
        TlsFacts tls;
        DryRun run;
        AwsCredentials credentials;
        char role[IMDS_ROLE_MAX + 1];
        char *text;
        uint64_t whole; /* bytes of the message of which text is the header; 0: text is all */
        size_t size;
};

static void *run_errand(void *userdata) {
        Errand *errand = userdata;

        errand->ask(errand);
        (void) sem_post(&errand->done);
        return NULL;
}

static bool left_behind; /* an errand was late */

/* Runs the errand. Returns it with its answer, and the caller frees it. NULL: it was late, or there was no time left. */
static Errand *send_errand(const Doctor *doctor, const Errand *what) {
        uint64_t now = now_monotonic_usec(), until = now + LIMIT_USEC;
        Errand *errand = malloc(sizeof(*errand));
        struct timespec end;
        pthread_t thread;
        int r;

        if (!errand)
                exit(failure("Out of memory."));
        if (until > doctor->until_usec)
                until = doctor->until_usec;
        end = (struct timespec){ .tv_sec = (time_t) (until / USEC_PER_SEC),
                                 .tv_nsec = (long) (until % USEC_PER_SEC * 1000) };
        *errand = *what;
        errand->doctor = doctor;
        (void) sem_init(&errand->done, 0, 0);
        if (now >= until || pthread_create(&thread, NULL, run_errand, errand) != 0) {
                free(errand);
                return NULL;
        }
        do
                r = sem_clockwait(&errand->done, CLOCK_MONOTONIC, &end);
        while (r < 0 && errno == EINTR);
        if (r < 0) {
                (void) pthread_detach(thread);
                left_behind = true;
                return NULL;
        }
        (void) pthread_join(thread, NULL);
        return errand;
}

/* A question without an answer is a failure. A question that --timeout= left no time for was skipped. */
static void report_late(Doctor *doctor, const char *check, const char *subject, Failure failed) {
        Error error;

        if (now_monotonic_usec() >= doctor->until_usec) {
                report_add(&doctor->report, check, subject, VERDICT_SKIPPED, NULL, NO_TIME);
                return;
        }
        (void) error_set(&error, -ETIME, failed, "There was no answer" WITHIN_LIMIT ".");
        report_error(&doctor->report, check, subject, &error, NULL);
}

static void examine_declarations(Doctor *doctor) {
        static const char check[] = "configuration";
        Report *report = &doctor->report;
        Error error;

        if (declarations_read(doctor->vendor_config, doctor->local_config, &doctor->declarations, &error) <
            0)
                report_error(report, check, "secrets.d", &error, NULL);
        else if (doctor->declarations.count == 0)
                report_add(report, check, "secrets.d", VERDICT_WARNING,
                           "Declare a secret: see unseald.secret(5).", "No secret is declared.");
        else
                report_add(report, check, "secrets.d", VERDICT_OK, NULL, "%zu secret(s) declared.",
                           doctor->declarations.count);
}

static void examine_volume_files(Doctor *doctor) {
        Error error;

        if (volumes_examine(doctor->vendor_config, doctor->local_config, &doctor->volumes, NULL, &error) < 0)
                report_error(&doctor->report, "configuration", "volumes.d", &error, NULL);
        else if (doctor->volumes.count > 0)
                report_add(&doctor->report, "configuration", "volumes.d", VERDICT_OK, NULL,
                           "%zu volume(s) declared.", doctor->volumes.count);
}

static void examine_configuration(Doctor *doctor) {
        Report *report = &doctor->report;
        Error error;

        if (settings_read(doctor->vendor_config, doctor->local_config, &doctor->settings, &error) >= 0)
                report_add(report, "configuration", "unseald.conf", VERDICT_OK, NULL, "No mistakes.");
        else {
                report_error(report, "configuration", "unseald.conf", &error, NULL);
                /* The checks say more with the default settings than with none. */
                if (settings_read("/nonexistent", "/nonexistent", &doctor->settings, &error) < 0)
                        exit(failure("%s", error.text));
        }
        examine_declarations(doctor);
        examine_volume_files(doctor);
}

static void ask_for_device(Errand *errand) {
        look_at_device(errand->doctor->settings.tpm_device, &errand->device);
}

static void ask_tpm(Errand *errand) {
        errand->tpm.root = geteuid() == 0;
        errand->tpm.holder = errand->doctor->holder;
        visit_tpm(errand->doctor->settings.tpm_device, &errand->tpm);
}

static void examine_tpm(Doctor *doctor) {
        _cleanup_free_ Errand *device = send_errand(doctor, &(Errand){ .ask = ask_for_device });
        _cleanup_free_ Errand *tpm = NULL;

        if (device) {
                check_tpm_device(&doctor->report, &device->device);
                memcpy(doctor->holder, device->device.holder, sizeof(doctor->holder));
                if (device->device.r == -ENOENT) {
                        report_add(&doctor->report, "tpm", NULL, VERDICT_SKIPPED, NULL, "There is no TPM.");
                        return;
                }
        }
        tpm = send_errand(doctor, &(Errand){ .ask = ask_tpm });
        if (!tpm) {
                report_late(doctor, "tpm", NULL, FAILURE_TPM);
                return;
        }
        doctor->tpm = tpm->tpm;
        check_tpm(&doctor->report, &doctor->tpm);
}

static void ask_for_imds(Errand *errand) {
        errand->imds.contained = is_contained();
        errand->imds.no_ipv4 = imds_has_no_ipv4_route();
        ask_imds(&errand->imds, &errand->clock);
}

static void ask_for_text(Errand *errand) {
        errand->r = imds_text(errand->name, &errand->text, &errand->size, &errand->error);
}

static void examine_instance(Doctor *doctor) {
        _cleanup_free_ Errand *identity =
                        send_errand(doctor, &(Errand){ .ask = ask_for_text, .name = IMDS_IDENTITY_PATH });
        int r;

        if (!identity) {
                report_late(doctor, "instance", NULL, FAILURE_IMDS);
                return;
        }
        r = identity->r;
        if (r >= 0)
                r = instance_facts_parse(identity->text, identity->size, &doctor->instance);
        if (r == -EBADMSG)
                (void) error_set(&identity->error, r, FAILURE_IMDS,
                                 "The instance identity document cannot be read.");
        if (r < 0)
                report_error(&doctor->report, "instance", NULL, &identity->error, NULL);
        else
                check_instance(&doctor->report, &doctor->instance);
        free(identity->text);
}

static void ask_for_role(Errand *errand) {
        errand->r = imds_role(&errand->credentials, errand->role, &errand->error);
}

static void examine_role(Doctor *doctor) {
        _cleanup_free_ Errand *role = send_errand(doctor, &(Errand){ .ask = ask_for_role });
        int64_t now = (int64_t) (now_realtime_usec() / USEC_PER_SEC) + doctor->clock.skew;

        if (!role) {
                report_late(doctor, "role", NULL, FAILURE_IMDS);
                return;
        }
        if (role->r < 0) {
                report_error(&doctor->report, "role", NULL, &role->error, NULL);
                return;
        }
        doctor->has_role = true;
        doctor->credentials = role->credentials;
        check_role(&doctor->report, role->role, doctor->credentials.expiration, now);
}

/* Sources and ExpectedMeasurements= may need user data. */
static void get_user_data(Doctor *doctor) {
        _cleanup_free_ Errand *errand =
                        send_errand(doctor, &(Errand){ .ask = ask_for_text, .name = "/latest/user-data" });

        if (!errand || errand->r < 0)
                return;
        doctor->user_data = errand->text;
        doctor->user_data_size = errand->size;
}

static void examine_imds(Doctor *doctor) {
        _cleanup_free_ Errand *imds = send_errand(doctor, &(Errand){ .ask = ask_for_imds });

        if (!imds)
                report_late(doctor, "imds", NULL, FAILURE_IMDS);
        else
                check_imds(&doctor->report, &imds->imds);
        doctor->imds_answers =
                        imds && imds->imds.r >= 0 && (imds->imds.status == 200 || imds->imds.status == 401);
        if (!doctor->imds_answers) {
                report_add(&doctor->report, "instance", NULL, VERDICT_SKIPPED, NULL,
                           "IMDS does not answer.");
                report_add(&doctor->report, "role", NULL, VERDICT_SKIPPED, NULL, "IMDS does not answer.");
                return;
        }
        doctor->clock = imds->clock;
        check_clock(&doctor->report, "IMDS", &imds->clock);
        examine_instance(doctor);
        examine_role(doctor);
        get_user_data(doctor);
}

/* Reads the measurements that ExpectedMeasurements= names: a file, or a value in user data. */
static int read_expected(const Doctor *doctor, const char *where, PcrSet *ret, Error *error) {
        static const char scheme[] = "user-data:";
        _cleanup_json_ struct json_object *document = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        struct json_object *value;
        const char *text;
        size_t size;
        int r;

        if (strncmp(where, scheme, strlen(scheme)) != 0) {
                r = read_file(where, PCR_MEASUREMENTS_SIZE_MAX, &data, &size);
                if (r < 0)
                        return error_set(error, r, FAILURE_CONFIGURATION, "%s.",
                                         r == -ENXIO ? "It is not a regular file" : strerror(-r));
                return pcr_measurements_parse((const char *) data, size, ret, error);
        }
        if (!doctor->user_data)
                return error_set(error, -ENOENT, FAILURE_CONFIGURATION, "The instance has no user data.");
        if (json_parse(doctor->user_data, doctor->user_data_size, &document) < 0 ||
            !(value = json_pointer(document, where + strlen(scheme))))
                return error_set(error, -ENOENT, FAILURE_CONFIGURATION, "The user data has no such value.");
        text = json_object_to_json_string(value);
        return pcr_measurements_parse(text, strlen(text), ret, error);
}

static void expect(Doctor *doctor, const PcrSet *measurements, const char *source, ExpectedFacts *expected) {
        Expectation *expectation = &expected->alternatives[expected->n];
        Error error;

        expectation_make(measurements, &doctor->expectation, expectation);
        if (expectation_check(expectation, &error) < 0) {
                if (expected->demanded)
                        report_error(&doctor->report, "pcrs", source, &error, NULL);
                else
                        report_add(&doctor->report, "pcrs", source, VERDICT_WARNING, NULL, "%s", error.text);
                return;
        }
        expected->sources[expected->n++] = source;
}

static void find_expected(Doctor *doctor, ExpectedFacts *expected) {
        const char *where = doctor->settings.expected_measurements;
        PcrSet measurements;
        Error error;

        expected->demanded = doctor->measurements.n > 0;
        for (size_t i = 0; i < doctor->measurements.n; i++)
                expect(doctor, &doctor->measurements.sets[i], doctor->measurements.paths[i], expected);
        if (expected->demanded || !where)
                return;
        if (strncmp(where, "user-data:", strlen("user-data:")) == 0 && !doctor->imds_answers)
                report_add(&doctor->report, "pcrs", where, VERDICT_SKIPPED, NULL,
                           "The expected measurements cannot be read: IMDS does not answer.");
        else if (read_expected(doctor, where, &measurements, &error) < 0)
                report_add(&doctor->report, "pcrs", where, VERDICT_WARNING, NULL,
                           "The expected measurements cannot be read: %s", error.text);
        else
                expect(doctor, &measurements, where, expected);
}

static void examine_pcrs(Doctor *doctor) {
        ExpectedFacts expected = {};

        if (doctor->tpm.pcrs.present == 0) {
                report_add(&doctor->report, "pcrs", NULL, VERDICT_SKIPPED, NULL, "The TPM cannot be asked.");
                return;
        }
        for (size_t i = 0; i < doctor->declarations.count; i++)
                if (doctor->declarations.items[i].measure_pcr > 0)
                        doctor->expectation.measured |= UINT32_C(1)
                                                        << doctor->declarations.items[i].measure_pcr;
        find_expected(doctor, &expected);
        check_pcrs(&doctor->report, &doctor->tpm.pcrs, &expected, doctor->settings.lock_pcr,
                   doctor->expectation.measured);
        doctor->locked = check_lock_pcr(&doctor->report, &doctor->tpm.pcrs, doctor->settings.lock_pcr);
}

static void ask_names(Errand *errand) {
        resolve_names(errand->name, &errand->names);
}

static void ask_for_tls(Errand *errand) {
        look_at_tls(&errand->doctor->settings, errand->name, &errand->tls, &errand->clock);
}

/* Returns whether the host has an address. With a proxy the question does not arise. */
static bool examine_names(Doctor *doctor, char *host) {
        _cleanup_free_ Errand *names = NULL;

        if (doctor->settings.proxy) {
                report_add(&doctor->report, "dns", host, VERDICT_NOTE, NULL, "The proxy resolves it: %s.",
                           doctor->settings.proxy);
                return true;
        }
        names = send_errand(doctor, &(Errand){ .ask = ask_names, .name = host });
        if (!names) {
                report_late(doctor, "dns", host, FAILURE_NETWORK);
                return false;
        }
        check_names(&doctor->report, &names->names);
        return names->names.n_addresses > 0 && !names->names.unrouted;
}

/* Returns whether the endpoint answers. endpoint, host: they must live as long as the doctor. */
static bool examine_endpoint(Doctor *doctor, const char *endpoint, char *host) {
        _cleanup_free_ Errand *tls = NULL;
        Report *report = &doctor->report;

        if (!examine_names(doctor, host)) {
                report_add(report, "tls", host, VERDICT_SKIPPED, NULL,
                           "The host has no address, or no route leads to it.");
                return false;
        }
        tls = send_errand(doctor, &(Errand){ .ask = ask_for_tls, .name = endpoint, .tls.host = host });
        if (!tls) {
                report_late(doctor, "tls", host, FAILURE_NETWORK);
                return false;
        }
        check_tls(report, &tls->tls);
        check_clock(report, host, &tls->clock);
        if (tls->clock.known)
                doctor->clock = tls->clock;
        return tls->tls.r >= 0;
}

/* Takes ownership of the string, for as long as the doctor lives. */
static char *keep(Doctor *doctor, char *string) {
        if (strings_take(&doctor->kept, string) < 0)
                exit(failure("Out of memory."));
        return string;
}

/* Returns the host of "https://host:443". An IPv6 address loses its brackets. The caller frees it. */
static char *endpoint_host(const char *endpoint) {
        const char *host = endpoint + strlen("https://");

        return *host == '[' ? strndup(host + 1, strcspn(host + 1, "]")) : strndup(host, strcspn(host, ":/"));
}

static bool is_among(char *const *strings, const char *string) {
        for (; strings && *strings; strings++)
                if (strcmp(*strings, string) == 0)
                        return true;
        return false;
}

/* Returns the endpoint of KMS for the secret, which the caller frees. NULL: there is none, and *error says why. */
static char *endpoint_of(const Doctor *doctor, const Declaration *declaration, Error *error) {
        _cleanup_(request_target_clear) RequestTarget target = {};

        if (request_target(&doctor->settings, declaration, &target, error) < 0)
                return NULL;
        return TAKE_PTR(target.endpoint);
}

static void examine_endpoints(Doctor *doctor) {
        for (size_t i = 0; i < doctor->declarations.count; i++) {
                const Declaration *declaration = doctor->declarations.items + i;
                Error error = {};
                _cleanup_free_ char *endpoint = endpoint_of(doctor, declaration, &error);
                char *kept;

                if (!endpoint)
                        report_error(&doctor->report, "dns", declaration->name, &error, NULL);
                if (!endpoint || is_among(doctor->endpoints, endpoint))
                        continue;
                kept = TAKE_PTR(endpoint);
                if (strings_take(&doctor->endpoints, kept) < 0)
                        exit(failure("Out of memory."));
                if (!examine_endpoint(doctor, kept, keep(doctor, endpoint_host(kept))) &&
                    strings_take(&doctor->unreachable, strdup(kept)) < 0)
                        exit(failure("Out of memory."));
        }
}

/* A Region in which only replicas of keys are: unseald asks there if the first one does not answer. */
static void examine_replica(Doctor *doctor, const char *endpoint) {
        char *kept = strdup(endpoint), *host;
        _cleanup_free_ Errand *tls = NULL;

        if (!kept || strings_take(&doctor->endpoints, kept) < 0)
                exit(failure("Out of memory."));
        host = keep(doctor, endpoint_host(kept));
        tls = send_errand(doctor, &(Errand){ .ask = ask_for_tls, .name = kept, .tls.host = host });
        check_replica(&doctor->report, host, tls ? &tls->tls : NULL);
}

static void examine_replicas(Doctor *doctor) {
        for (size_t i = 0; i < doctor->declarations.count; i++) {
                RequestKey *keys = NULL;
                size_t count = 0;

                /* examine_endpoints() has reported a key without an endpoint. */
                if (request_keys(&doctor->settings, doctor->declarations.items + i, &keys, &count, NULL) < 0)
                        continue;
                for (size_t k = 1; k < count && !doctor->settings.kms_endpoint; k++)
                        if (!is_among(doctor->endpoints, keys[k].endpoint))
                                examine_replica(doctor, keys[k].endpoint);
                request_keys_free(keys, count);
        }
}

/* Of a large message only the header is read. */
static void read_file_source(Errand *errand, size_t maximum, uint8_t **ret) {
        const Source *source = errand->source;
        _cleanup_close_ int fd = -1;

        if (errand->declaration->format == FORMAT_MESSAGE && !source->is_signature)
                errand->r = source_open_large(source, BODY_WHOLE_MAX, ret, &errand->size, &errand->whole,
                                              &fd, &errand->error);
        if (errand->r == 0)
                errand->r = source_read_file(source, maximum, ret, &errand->size, &errand->error);
}

/* Reads the ciphertext or its signature. */
static void ask_for_content(Errand *errand) {
        const Declaration *declaration = errand->declaration;
        const Source *source = errand->source;
        const Doctor *doctor = errand->doctor;
        size_t maximum = request_maximum(declaration, source);
        uint8_t *data = NULL;

        if (source->kind == SOURCE_FILE)
                read_file_source(errand, maximum, &data);
        else if (source->kind == SOURCE_USER_DATA)
                errand->r = source_take_user_data(source, doctor->user_data, doctor->user_data_size, maximum,
                                                  &data, &errand->size, &errand->error);
        else
                errand->r = fetch_content(&doctor->settings, declaration, source, &doctor->credentials,
                                          &data, &errand->size, &errand->whole, &errand->error);
        errand->text = (char *) data;
}

/* Returns the reason why doctor cannot read the source, or NULL. */
static const char *source_obstacle(const Doctor *doctor, const Source *source) {
        if (source->kind == SOURCE_CREDENTIAL)
                return "Only unseald.service gets this credential. See 'systemctl show -p LoadCredential,LoadCredentialEncrypted,SetCredential unseald'.";
        if (source->kind == SOURCE_USER_DATA && !doctor->user_data)
                return doctor->imds_answers ? NULL : "IMDS does not answer.";
        return source_is_signed(source) && !doctor->has_role ? "There are no credentials for the request."
                                                             : NULL;
}

/* Returns the content of the source, or NULL after adding a finding to this check. */
static uint8_t *examine_source(Doctor *doctor, const Declaration *declaration, const Source *source,
                               const char *check, size_t *ret_size, uint64_t *ret_whole) {
        const char *obstacle = source_obstacle(doctor, source), *label = source->label;
        _cleanup_free_ Errand *errand = NULL;
        Report *report = &doctor->report;

        if (obstacle) {
                report_add(report, check, declaration->name, VERDICT_SKIPPED, NULL, "%s: %s", label,
                           obstacle);
                return NULL;
        }
        if (source->kind == SOURCE_USER_DATA && !doctor->user_data) {
                Error error;

                (void) error_set(&error, -ENOENT, FAILURE_SOURCE, "This instance has no user data.");
                report_error(report, check, declaration->name, &error, NULL);
                return NULL;
        }
        errand = send_errand(
                        doctor,
                        &(Errand){ .ask = ask_for_content, .declaration = declaration, .source = source });
        if (!errand)
                report_late(doctor, check, declaration->name, FAILURE_SOURCE);
        else if (errand->r == -EACCES && geteuid() != 0)
                report_add(report, check, declaration->name, VERDICT_SKIPPED, NULL, NEEDS_ROOT ": %s.",
                           label);
        else if (errand->r < 0)
                report_error(report, check, declaration->name, &errand->error, NULL);
        else {
                *ret_size = errand->size;
                *ret_whole = errand->whole;
                return (uint8_t *) keep(doctor, errand->text);
        }
        return NULL;
}

/* What unseald finds: the ciphertext in the label of a volume, or that the volume is new. */
static const uint8_t *examine_label(Doctor *doctor, const Declaration *declaration, size_t *ret_size) {
        static const SourceLabelPlaces places = { .labels = UNSEALD_LABELS_DIR,
                                                  .sealed = UNSEALD_RUNTIME_DIR "/sealed" };
        const Source *source = &declaration->source;
        Report *report = &doctor->report;
        uint8_t *ciphertext = NULL;
        Error error = {};
        int r = source_read_label(source, &places, &ciphertext, ret_size, &error);

        if (r < 0)
                report_error(report, "source", declaration->name, &error, NULL);
        else if (r > 0)
                report_add(report, "source", declaration->name, VERDICT_OK, NULL,
                           "%s: The volume is new, so KMS makes its key.", source->label);
        else
                report_add(report, "source", declaration->name, VERDICT_OK, NULL,
                           "%zu bytes from the label of the volume %s.", *ret_size, source->location);
        return r == 0 ? (uint8_t *) keep(doctor, (char *) ciphertext) : NULL;
}

static const uint8_t *examine_ciphertext(Doctor *doctor, const Declaration *declaration, size_t *ret_size) {
        const uint8_t *ciphertext;
        uint64_t whole = 0;

        if (declaration->generate_missing)
                return examine_label(doctor, declaration, ret_size);
        if (declaration->generate > 0) {
                report_add(&doctor->report, "source", declaration->name, VERDICT_OK, NULL,
                           "KMS makes %zu bytes in each boot; nothing is fetched.", declaration->generate);
                return NULL;
        }
        ciphertext = examine_source(doctor, declaration, &declaration->source, "source", ret_size, &whole);
        if (ciphertext && whole > 0)
                report_add(&doctor->report, "source", declaration->name, VERDICT_OK, NULL,
                           "%llu bytes from %s. Only the header of the message was read.",
                           (unsigned long long) whole, declaration->source.label);
        else if (ciphertext)
                report_add(&doctor->report, "source", declaration->name, VERDICT_OK, NULL,
                           "%zu bytes from %s.", *ret_size, declaration->source.label);
        return ciphertext;
}

static void examine_signature(Doctor *doctor, const Declaration *declaration, const uint8_t *ciphertext,
                              size_t size) {
        const Source *source = &declaration->signature;
        size_t text_size;
        uint64_t whole, version;
        const uint8_t *text = examine_source(doctor, declaration, source, "signature", &text_size, &whole);
        Error error = {};

        if (!text)
                return;
        if (request_check_signature(declaration, (Slice){ ciphertext, size }, (Slice){ text, text_size },
                                    &version, &error) < 0)
                report_error(&doctor->report, "signature", declaration->name, &error, NULL);
        else
                check_signature(&doctor->report, declaration->name, version, declaration->signed_by,
                                look_at_key(declaration->signed_by));
}

static void ask_kms(Errand *errand) {
        dry_run(&errand->request, &errand->run);
}

static DryRun run_dry(const Doctor *doctor, const DryRunRequest *request) {
        _cleanup_free_ Errand *errand =
                        send_errand(doctor, &(Errand){ .ask = ask_kms, .request = *request });
        DryRun late = { .asked = true };

        if (errand)
                return errand->run;
        if (now_monotonic_usec() >= doctor->until_usec)
                return (DryRun){ .why_not = NO_TIME };
        (void) error_set(&late.error, -ETIME, FAILURE_UNAVAILABLE, "KMS did not answer" WITHIN_LIMIT ".");
        return late;
}

/* ciphertext: NULL: there is none. Then KMS is only asked whether the key is open. */
static void examine_key(Doctor *doctor, const Declaration *declaration, const uint8_t *ciphertext,
                        size_t size) {
        DryRunRequest request = {
                .settings = &doctor->settings,
                .declaration = declaration,
                .credentials = &doctor->credentials,
                .account = doctor->instance.account,
                .ciphertext = { ciphertext, size },
                .document = { doctor->tpm.document, doctor->tpm.document_size },
        };
        Error error = {};
        _cleanup_free_ char *endpoint = endpoint_of(doctor, declaration, &error);
        DryRun with = { .why_not = "There are no credentials for KMS." }, without = with;
        bool possible = doctor->has_role;

        if (!endpoint || is_among(doctor->unreachable, endpoint)) {
                with.why_not = without.why_not = "KMS cannot be reached.";
                possible = false;
        }
        if (!ciphertext && declaration->generate == 0)
                with.why_not = "There is no ciphertext.";
        else if (possible && request.document.data)
                with = run_dry(doctor, &request);
        else if (possible)
                with.why_not = "There is no attestation document for KMS.";
        request.document = (Slice){};
        if (possible)
                without = run_dry(doctor, &request);
        check_key(&doctor->report, declaration->name, declaration->optional, doctor->locked, &with,
                  &without);
}

static bool may_begin(const Doctor *doctor, const Declaration *declaration) {
        for (size_t i = 0; i < doctor->volumes.count; i++) {
                const Volume *volume = doctor->volumes.items + i;

                if (volume->key_in_label && volume->may_begin &&
                    strcmp(volume->secret, declaration->name) == 0)
                        return true;
        }
        return false;
}

/* A label with a ciphertext has had KMS asked for Decrypt alone. The first boot of a new volume needs GenerateDataKey, too. Without a document
 * nobody may have it, whether something new may begin or not: who can, knows the key of a label. */
static void examine_new_key(Doctor *doctor, const Declaration *declaration) {
        DryRunRequest request = {
                .settings = &doctor->settings,
                .declaration = declaration,
                .credentials = &doctor->credentials,
                .account = doctor->instance.account,
                .document = { doctor->tpm.document, doctor->tpm.document_size },
        };
        DryRun with = { .why_not = "There is no attestation document for KMS." }, without = {};
        bool begins = may_begin(doctor, declaration);
        Error error = {};
        _cleanup_free_ char *endpoint = endpoint_of(doctor, declaration, &error);

        /* examine_key() has said why. */
        if (!doctor->has_role || !endpoint || is_among(doctor->unreachable, endpoint))
                return;
        if (begins && request.document.data)
                with = run_dry(doctor, &request);
        request.document = (Slice){};
        without = run_dry(doctor, &request);
        check_new_key(&doctor->report, declaration->name, doctor->locked, begins ? &with : NULL, &without);
}

static void examine_secrets(Doctor *doctor) {
        for (size_t i = 0; i < doctor->declarations.count; i++) {
                const Declaration *declaration = doctor->declarations.items + i;
                size_t size = 0;
                const uint8_t *ciphertext = examine_ciphertext(doctor, declaration, &size);

                if (ciphertext && declaration->signed_by)
                        examine_signature(doctor, declaration, ciphertext, size);
                examine_key(doctor, declaration, ciphertext, size);
                if (ciphertext && declaration->generate_missing)
                        examine_new_key(doctor, declaration);
        }
}

static void examine_memory(Doctor *doctor) {
        _cleanup_free_ char *swaps = file_text("/proc/swaps"),
                            *pattern = file_text("/proc/sys/kernel/core_pattern");
        _cleanup_free_ char *state = file_text("/sys/power/state"), *resume = file_text("/sys/power/resume");
        StoreFacts store;

        look_at_store(doctor->store_path, &store);
        check_store(&doctor->report, &store);
        check_swap(&doctor->report, swaps);
        check_hibernation(&doctor->report, state, resume);
        check_core_dumps(&doctor->report, pattern);
}

static void examine_volumes(Doctor *doctor) {
        for (size_t i = 0; i < doctor->volumes.count; i++) {
                VolumeFacts facts;

                look_at_volume(&doctor->volumes.items[i], &facts);
                check_volume(&doctor->report, &facts);
        }
}

static void examine_units(Doctor *doctor) {
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        _cleanup_(consumers_clear) Consumers consumers = {};
        _cleanup_(remarks_clear) Remarks remarks = {};
        SocketFacts listener;
        size_t loaded;
        int r = unit_tree_read(unit_directories, &tree);
        bool too_long = r == -E2BIG;

        if ((r < 0 && !too_long) || consumers_of(&tree, &consumers) < 0 ||
            check_units(&tree, &doctor->declarations, &doctor->volumes, &remarks, &loaded) < 0)
                exit(failure("Out of memory."));
        look_at_socket(UNSEALD_RUNTIME_DIR "/credentials.sock", &listener);
        for (size_t i = 0; i < consumers.count; i++)
                listener.wanted |= consumer_asks_socket(&consumers.items[i]);
        check_socket(&doctor->report, &listener);
        check_kms_endpoint(&doctor->report, &doctor->settings, &doctor->declarations,
                           look_at_port(KMS_PORT));
        check_documents(&doctor->report, &doctor->settings, look_at_port(DOCUMENTS_PORT));
        if (too_long)
                report_add(&doctor->report, "consumers", NULL, VERDICT_SKIPPED, NULL, "%s",
                           UNIT_TREE_TOO_LONG);
        else
                check_consumers(&doctor->report, &remarks, loaded);
}

static void ask_service_manager(Errand *errand) {
        errand->text = unit_properties(errand->name);
}

static void examine_manager(Doctor *doctor) {
        _cleanup_free_ Errand *manager =
                        send_errand(doctor, &(Errand){ .ask = ask_service_manager, .name = "" });
        _cleanup_free_ char *properties = manager ? manager->text : NULL;
        char version[64] = "";

        if (properties)
                (void) unit_property(properties, "Version", version, sizeof(version));
        check_manager(&doctor->report, version);
}

static void examine_service(Doctor *doctor) {
        _cleanup_free_ Errand *unit = send_errand(
                        doctor, &(Errand){ .ask = ask_service_manager, .name = "unseald.service" });
        _cleanup_free_ char *properties = unit ? unit->text : NULL;
        _cleanup_json_ struct json_object *status = NULL;
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;
        int r;

        if (properties)
                examine_manager(doctor);
        check_service(&doctor->report, properties);
        r = read_file(doctor->status_path, LIMIT_STATUS_BYTES, &text, &size);
        if (r >= 0)
                r = json_parse((const char *) text, size, &status);
        if (r == -EBADMSG)
                report_add(&doctor->report, "status", doctor->status_path, VERDICT_SKIPPED, NULL,
                           "It is not a status file of unseald.");
        else if (r < 0 && r != -ENOENT)
                report_add(&doctor->report, "status", doctor->status_path, VERDICT_SKIPPED, NULL,
                           "It cannot be read: %s.", strerror(-r));
        else
                check_status(&doctor->report, status);
}

/* A cause is checked before its consequences, because the first failure decides the exit status. */
static void walk(Doctor *doctor) {
        examine_configuration(doctor);
        examine_tpm(doctor);
        examine_imds(doctor);
        examine_pcrs(doctor);
        examine_endpoints(doctor);
        examine_replicas(doctor);
        examine_secrets(doctor);
        examine_memory(doctor);
        examine_volumes(doctor);
        examine_units(doctor);
        examine_service(doctor);
}

static void print_help(void) {
        printf("unsealctl doctor [OPTIONS…]\n\n"
               "Find out why unseald does not work on this machine, or would not work. Decrypt\n"
               "nothing. Run doctor as root.\n\n"
               "  -h --help                      Show this help\n"
               "     --json                      Print JSON\n"
               "     --measurements=FILE         Compare PCRs with this pcr_measurements.json.\n"
               "                                 Of several files, one must match\n"
               "     --allow-drivers             Accept any PCR2\n"
               "     --no-pcr13                  Accept any PCR13\n"
               "     --timeout=SEC               End after this time; 90 by default\n"
               "     --vendor-configuration=DIR  Use it instead of " UNSEALD_VENDOR_CONFIG_DIR "\n"
               "     --configuration=DIR         Use it instead of " UNSEALD_LOCAL_CONFIG_DIR "\n"
               "     --store=DIR                 Use it instead of " UNSEALD_STORE_DIR "\n"
               "     --status=FILE               Use it instead of " UNSEALD_RUNTIME_DIR "/status.json\n\n"
               "Exit status: 0 all is well, 3 warnings, 4 some checks were skipped, 1 doctor\n"
               "failed, 2 usage, otherwise that of unseald(8) for the first failure.\n");
}

static int parse_options(int argc, char *argv[], Doctor *doctor) {
        enum {
                OPTION_JSON = 256,
                OPTION_MEASUREMENTS,
                OPTION_ALLOW_DRIVERS,
                OPTION_NO_PCR13,
                OPTION_TIMEOUT,
                OPTION_VENDOR,
                OPTION_LOCAL,
                OPTION_STORE,
                OPTION_STATUS
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "json", no_argument, NULL, OPTION_JSON },
                { "measurements", required_argument, NULL, OPTION_MEASUREMENTS },
                { "allow-drivers", no_argument, NULL, OPTION_ALLOW_DRIVERS },
                { "no-pcr13", no_argument, NULL, OPTION_NO_PCR13 },
                { "timeout", required_argument, NULL, OPTION_TIMEOUT },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                { "store", required_argument, NULL, OPTION_STORE },
                { "status", required_argument, NULL, OPTION_STATUS },
                {},
        };
        uint64_t timeout = TOTAL_USEC;
        int r;

        for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        print_help();
                        exit(EXIT_SUCCESS);
                case OPTION_JSON:
                        doctor->json = true;
                        break;
                case OPTION_MEASUREMENTS:
                        r = measurement_files_add(&doctor->measurements, optarg);
                        if (r != 0)
                                return r;
                        break;
                case OPTION_ALLOW_DRIVERS:
                        doctor->expectation.any_drivers = true;
                        break;
                case OPTION_NO_PCR13:
                        doctor->expectation.any_extensions = true;
                        break;
                case OPTION_TIMEOUT:
                        if (parse_duration(optarg, &timeout) < 0 || timeout == 0 ||
                            timeout > DOCTOR_TIMEOUT_MAX_USEC)
                                return usage_error("--timeout= needs a time of up to an hour, such as 30s.");
                        break;
                case OPTION_VENDOR:
                        doctor->vendor_config = optarg;
                        break;
                case OPTION_LOCAL:
                        doctor->local_config = optarg;
                        break;
                case OPTION_STORE:
                        doctor->store_path = optarg;
                        break;
                case OPTION_STATUS:
                        doctor->status_path = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("doctor takes no argument.");
        if (doctor->measurements.n > EXPECTATIONS_MAX)
                return usage_error("doctor compares with up to %u files of --measurements=.",
                                   EXPECTATIONS_MAX);
        r = measurement_files_load(&doctor->measurements);
        if (r != 0)
                return r;
        doctor->until_usec = now_monotonic_usec() + timeout;
        return 0;
}

int verb_doctor(int argc, char *argv[]) {
        static Doctor doctor = {
                .vendor_config = UNSEALD_VENDOR_CONFIG_DIR,
                .local_config = UNSEALD_LOCAL_CONFIG_DIR,
                .store_path = UNSEALD_STORE_DIR,
                .status_path = UNSEALD_RUNTIME_DIR "/status.json",
        };
        int r = parse_options(argc, argv, &doctor);

        if (r != 0)
                return r;
        if (!doctor.json)
                doctor.report.found = report_printer();
        walk(&doctor);
        if (doctor.json)
                report_print_json(&doctor.report);
        else
                report_print_summary(&doctor.report);
        /* A late errand may still use OpenSSL, whose memory exit() would free. */
        if (left_behind && fflush(stdout) == 0 && !ferror(stdout))
                _exit(report_exit_status(&doctor.report));
        return report_exit_status(&doctor.report);
}
