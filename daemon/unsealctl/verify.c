/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Prints what a document proves, and as clearly what it does not prove: checks that the caller did not ask for are named first,
 * and listed as "not-asked". Nothing from a document that is not authentic is printed.
 */

#include <errno.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attestation/document.h"
#include "attestation/public-key.h"
#include "aws-nitro-root-g1.h"
#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "basic/openssl-util.h"
#include "tpm/event-log.h"
#include "tpm/expectation.h"
#include "unsealctl/ctl.h"
#include "unsealctl/fetch-document.h"
#include "unsealctl/log-verdict.h"
#include "unsealctl/measure/measured-secrets.h"
#include "unsealctl/measurements.h"
#include "unsealctl/verify-input.h"

#define FILE_SIZE_MAX (64U * 1024U)
#define AT_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define SHA256_SIZE 32
#define NONCE_SIZE 32

/* The default of --max-age= with --url=. The document was just made, but clocks differ. */
#define FRESH_SEC 300

/* SHA-256 of AWS's root G1, which AWS publishes (AWS Nitro Enclaves User Guide, "Verifying the root of trust"). */
static const uint8_t root_g1_fingerprint[SHA256_SIZE] = {
        0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31,
        0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b,
};

typedef struct Options {
        const char *document, *url, *root, *at, *max_age, *nonce, *public_key, *event_log, *unit, *user_data;
        MeasuredSecrets *secrets;      /* expected in the log */
        MeasurementFiles measurements; /* alternatives */
        ExpectationOptions expectation;
        bool tls, json;
} Options;

/* The values that the document must have. Owns its slices and the certificate. */
typedef struct Wanted {
        AttestationPolicy policy;
        bool at_document; /* policy.at is the document's own time */
        uint8_t root_fingerprint[SHA256_SIZE];
        Slice nonce, public_key;
        bool key_of_connection; /* public_key is that of the TLS connection which brought the document */
        const MeasurementFiles *measurements; /* borrowed; n 0: not compared */
        Expectation expectations[EXPECTATIONS_MAX];
        const char *unit; /* borrowed; NULL: user data are not those of a unit */
        Slice user_data;  /* all of them, or with a unit what it claims */
        bool with_user_data;
        const char *event_log; /* borrowed; NULL: not replayed */
        uint8_t *log;          /* its text */
        size_t log_size;
        LogExpectation *secrets;
        size_t secrets_count;
} Wanted;

typedef struct Verdict {
        const AttestationDocument *document;
        const Wanted *wanted;
        AttestationRefusal refusal;
        Error error;
        PcrSet pcrs;
        ExpectationVerdict measurements;
        EventLogRecord *records; /* owned, as marks */
        LogMark *marks;
        size_t records_count;
} Verdict;

/* The checks of an authentic document, in the order of attestation_verify(). */
typedef struct Check {
        const char *name, *proved, *option;
        AttestationRefusal refusal;
} Check;

static const Check checks[] = {
        { "age", "not older than --max-age=", "--max-age=", ATTESTATION_STALE },
        { "nonce", "the given nonce: the document answers this request", "--nonce=", ATTESTATION_NONCE },
        { "public-key", "the given key: its owner was attested", "--public-key=", ATTESTATION_PUBLIC_KEY },
        { "measurements", "all as expected", "--measurements=", ATTESTATION_PCR },
        { "event-log", "it leads to the PCRs", "--event-log=", ATTESTATION_EVENT_LOG },
        { "user-data", "as expected", "--user-data=", ATTESTATION_USER_DATA },
};

/* Without MeasurePcr= there is no log, and without unseald-documents no user data, so nobody is told of them who has not asked. Neither
 * says anything about the image: any NitroTPM instance can have both in a document. */
#define CHECKS_OF_ALL (ELEMENTSOF(checks) - 2)

/* The exit status of a document that is authentic where the caller asked for nothing else. Anybody with a Nitro instance gets such a
 * document, so a script must not take it for the vendor's image. */
#define STATUS_AUTHENTIC_ONLY 19

static void wanted_done(Wanted *wanted) {
        X509_free(wanted->policy.root);
        free((void *) wanted->nonce.data);
        free((void *) wanted->public_key.data);
        free((void *) wanted->user_data.data);
        free(wanted->log);
        free(wanted->secrets);
}

static void verdict_done(Verdict *verdict) {
        free(verdict->records);
        free(verdict->marks);
}

static void options_done(Options *options) {
        measurement_files_done(&options->measurements);
}

static void print_help(void) {
        printf("unsealctl verify [OPTIONS…] DOCUMENT\n"
               "unsealctl verify [OPTIONS…] --url=URL\n\n"
               "Verify an attestation document. DOCUMENT is a file; - is standard input.\n\n"
               "  -h --help              Show this help\n"
               "     --url=URL           Get it from this attestation service, with a new nonce\n"
               "     --tls               Require the key of this TLS connection in the document\n"
               "     --nonce=FILE        Require this nonce;  or hex:DIGITS, or base64:TEXT\n"
               "     --public-key=FILE   Require this public key, or that of this certificate\n"
               "     --user-data=FILE    Require these user data;  --unit=NAME: those of a unit\n"
               "     --measurements=FILE Require the PCRs of this pcr_measurements.json, and the\n"
               "                         usual PCR2, PCR12, PCR13; of several files, of one\n"
               "     --allow-drivers     Accept any PCR2 (drivers);  --no-pcr13: any PCR13\n"
               "     --event-log=FILE    Replay this log of MeasurePcr= (measurements.cel)\n"
               "     --secret=NAME=FILE  Require this sealed secret in the log\n"
               "     --max-age=SEC       Refuse an older document\n"
               "     --at=TIME           Verify at @SECONDS, YYYY-MM-DDTHH:MM:SSZ, or document\n"
               "     --root=PEM          Trust this root, not the built-in one of AWS (G1)\n"
               "     --json              Print JSON\n\n"
               "Exit status: 0 accepted, 1 failure, 2 usage, 10 malformed, 11 algorithm, 12\n"
               "signature, 13 untrusted, 14 expired, 15 stale, 16 nonce, 17 public key, 18 PCR,\n"
               "19 authentic only, 20 event log, 21 user data; 50 to 53, 65 nothing from --url=\n");
}

static bool is_root_g1(const Wanted *wanted) {
        return memcmp(wanted->root_fingerprint, root_g1_fingerprint, SHA256_SIZE) == 0;
}

/* Reads exactly one certificate. "name" is for messages. */
static int parse_root(const uint8_t *pem, size_t size, const char *name, Wanted *wanted) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem, (int) size);
        _cleanup_(X509_freep) X509 *second = NULL;
        unsigned length;

        wanted->policy.root = bio ? PEM_read_bio_X509(bio, NULL, openssl_no_password, NULL) : NULL;
        if (!wanted->policy.root)
                return failure("%s does not contain a certificate in PEM.%s", name,
                               is_pem(pem, size) ? "" : input_form_hint(pem, size));
        second = PEM_read_bio_X509(bio, NULL, openssl_no_password, NULL);
        if (second)
                return failure("%s has more than one certificate. Expected only the root.", name);
        if (X509_digest(wanted->policy.root, EVP_sha256(), wanted->root_fingerprint, &length) != 1)
                return failure("Out of memory.");
        return 0;
}

/* AWS's root is part of the program, so that one file is enough to verify, and no other file can replace the root. */
static int load_root(const char *path, Wanted *wanted) {
        static const char g1[] = AWS_NITRO_ROOT_G1_PEM;
        _cleanup_free_ uint8_t *pem = NULL;
        size_t size;
        int r;

        if (!path) {
                r = parse_root((const uint8_t *) g1, sizeof(g1) - 1, "The built-in root", wanted);
                if (r == 0 && !is_root_g1(wanted))
                        return failure("The root that was built into unsealctl is not AWS's root G1: its SHA-256 differs. Build it again from the original file.");
                return r;
        }
        r = read_argument(path, FILE_SIZE_MAX, &pem, &size);
        return r != 0 ? r : parse_root(pem, size, path, wanted);
}

/* Any bytes may be meant, so a file is taken as it is. People put text into it, and the document then has "another nonce". */
static void note_form_of_bytes(const char *what, const char *path, const uint8_t *bytes, size_t size) {
        const char *hint = input_form_hint(bytes, size);

        if (*hint)
                (void) fprintf(stderr,
                               "unsealctl: The bytes of %s are what --%s= requires, as they are.%s To give them as text, use --%s=hex:DIGITS or --%s=base64:TEXT.\n",
                               path, what, hint, what, what);
        else if (size > 0 && bytes[size - 1] == '\n')
                (void) fprintf(stderr, "unsealctl: The %s in %s ends with a line feed, which counts.\n",
                               what, path);
}

/* For an argument that is neither a file nor bytes: says which prefix would make bytes of it. Returns -ENOMEM or 0. */
static int say_missing_prefix(const char *what, const char *argument) {
        const char *prefix = nonce_missing_prefix(argument);
        _cleanup_free_ char *digits = NULL;

        if (nonce_digits(argument, &digits) < 0)
                return -ENOMEM;
        if (digits)
                (void) failure("If this is the %s itself and not a file, give --%s=hex:%s.", what, what,
                               digits);
        else if (prefix)
                (void) failure("If this is the %s itself and not a file, give --%s=%s%s.", what, what,
                               prefix, argument);
        return 0;
}

/* Reads what --nonce= and --user-data= take: a file, or the bytes themselves. what: "nonce", "user-data". */
static int load_bytes(const char *what, const char *argument, Slice *ret) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;
        int r;

        r = nonce_has_prefix(argument) || access(argument, F_OK) < 0
                            ? nonce_from_text(argument, &bytes, &size)
                            : -ENOENT;
        if (r == -ENOMEM)
                return failure("Out of memory.");
        if (r == -EINVAL)
                return usage_error(
                                "--%s=%s is not valid. hex: takes an even number of hexadecimal digits, and base64: takes base64 with its padding.",
                                what, argument);
        if (r < 0) {
                r = read_argument(argument, FILE_SIZE_MAX, &bytes, &size);
                if (r != 0)
                        return say_missing_prefix(what, argument) < 0 ? failure("Out of memory.") : r;
                if (size > 0)
                        note_form_of_bytes(what, argument, bytes, size);
        }
        *ret = (Slice){ TAKE_PTR(bytes), size };
        return 0;
}

static int load_nonce(const char *argument, Slice *ret) {
        int r = load_bytes("nonce", argument, ret);

        /* A document with an empty nonce could be replayed for ever. */
        if (r == 0 && ret->size == 0)
                return usage_error(
                                "--nonce= is empty. An empty nonce does not prove that the document is new.");
        return r;
}

/* Returns the key as a document contains it (DER). The file may be a certificate or a key, in PEM or DER; any other bytes are compared
 * as they are. */
static int load_public_key(const char *path, Slice *ret) {
        _cleanup_free_ uint8_t *bytes = NULL, *key = NULL;
        size_t size, key_size;
        int r;

        r = read_argument(path, FILE_SIZE_MAX, &bytes, &size);
        if (r != 0)
                return r;
        r = public_key_parse(bytes, size, &key, &key_size);
        if (r == -ENOMEM)
                return failure("Out of memory.");
        if (r < 0 && is_pem(bytes, size))
                return failure("%s is PEM, but contains neither a public key nor a certificate.", path);
        if (size == 0)
                return failure("%s is empty. Expected a public key or a certificate, in PEM or DER.", path);
        if (r < 0) {
                InputForm form = input_form(bytes, size);
                const char *cure = input_form_cure(form);

                (void) fprintf(stderr,
                               "unsealctl: %s is neither a public key nor a certificate: it is %s. Its bytes are compared with the document as they are. %s%sExpected a file in PEM or DER.\n",
                               path, input_form_name(form), cure, *cure ? " " : "");
        }
        *ret = r < 0 ? (Slice){ TAKE_PTR(bytes), size } : (Slice){ TAKE_PTR(key), key_size };
        return 0;
}

static int make_nonce(Slice *ret) {
        _cleanup_free_ uint8_t *bytes = malloc(NONCE_SIZE);

        if (!bytes)
                return failure("Out of memory.");
        if (RAND_bytes(bytes, NONCE_SIZE) != 1)
                return failure("Cannot make a nonce: OpenSSL has no random bytes.");
        *ret = (Slice){ TAKE_PTR(bytes), NONCE_SIZE };
        return 0;
}

static int parse_at(const char *text, int64_t *ret) {
        struct tm tm = {};
        const char *end;
        char *rest;

        if (text[0] == '@' && text[1] >= '0' && text[1] <= '9') {
                errno = 0;
                *ret = strtoll(text + 1, &rest, 10);
                if (errno == 0 && *rest == 0 && *ret <= AT_MAX)
                        return 0;
        } else {
                end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
                if (end && *end == 0) {
                        *ret = timegm(&tm);
                        if (*ret >= 0 && *ret <= AT_MAX)
                                return 0;
                }
        }
        return usage_error("--at= takes @SECONDS, a time such as 2026-08-13T17:36:48Z, or document.");
}

static int parse_times(const Options *options, Wanted *wanted) {
        uint64_t max_age_usec;
        int r;

        if (options->at && strcmp(options->at, "document") == 0)
                wanted->at_document = true;
        else if (options->at) {
                r = parse_at(options->at, &wanted->policy.at);
                if (r != 0)
                        return r;
        } else
                wanted->policy.at = (int64_t) (now_realtime_usec() / USEC_PER_SEC);

        if (options->url && options->at)
                return usage_error(
                                "--at= cannot be used with --url=: the document is made now and verified now.");
        if (!options->max_age) {
                wanted->policy.max_age_sec = options->url ? FRESH_SEC : 0;
                return 0;
        }
        if (parse_duration(options->max_age, &max_age_usec) < 0 || max_age_usec < USEC_PER_SEC)
                return usage_error("--max-age= takes a time of at least a second, such as 300 or 5min.");
        if (wanted->at_document)
                return usage_error(
                                "--max-age= cannot be used with --at=document: at its own time a document has no age.");
        wanted->policy.max_age_sec = max_age_usec / USEC_PER_SEC;
        return 0;
}

static int load_measurements(Options *options, Wanted *wanted) {
        if (options->measurements.n > EXPECTATIONS_MAX)
                return usage_error("verify compares with up to %u files of --measurements=.",
                                   EXPECTATIONS_MAX);
        wanted->measurements = &options->measurements;
        return measurement_files_load(&options->measurements);
}

/* The log comes from the machine that is judged. */
static int load_event_log(const Options *options, Wanted *wanted) {
        MeasuredSecrets *secrets = options->secrets;
        int r;

        if (!options->event_log)
                return secrets->count > 0 ? usage_error("--secret= needs --event-log=.") : 0;
        wanted->event_log = options->event_log;
        r = read_argument(options->event_log, EVENT_LOG_SIZE_MAX, &wanted->log, &wanted->log_size);
        if (r == 0)
                r = measured_secrets_read(secrets, EXIT_FAILURE);
        if (r != 0)
                return r;
        wanted->secrets = calloc(secrets->count + 1, sizeof(*wanted->secrets));
        if (!wanted->secrets)
                return failure("Out of memory.");
        for (size_t i = 0; i < secrets->count; i++) {
                wanted->secrets[i].secret = secrets->items[i].name;
                memcpy(wanted->secrets[i].sealed, secrets->items[i].sealed, PCR_SIZE);
        }
        wanted->secrets_count = secrets->count;
        return 0;
}

static int prepare(Options *options, Wanted *wanted) {
        int r;

        r = parse_times(options, wanted);
        if (r == 0)
                r = load_root(options->root, wanted);
        if (r == 0 && (options->nonce || options->url)) {
                r = options->nonce ? load_nonce(options->nonce, &wanted->nonce) : make_nonce(&wanted->nonce);
                wanted->policy.nonce = &wanted->nonce;
        }
        if (r == 0 && options->public_key) {
                r = load_public_key(options->public_key, &wanted->public_key);
                wanted->policy.public_key = &wanted->public_key;
        }
        wanted->unit = options->unit;
        wanted->with_user_data = options->user_data;
        if (r == 0 && options->user_data)
                r = load_bytes("user-data", options->user_data, &wanted->user_data);
        if (r == 0)
                r = load_event_log(options, wanted);
        return r != 0 ? r : load_measurements(options, wanted);
}

/* Only a NitroTPM has PCR2, PCR12 and PCR13 that the file may leave out. The PCRs of an enclave are as the file has them. */
static int expect(const Options *options, const AttestationDocument *document, Wanted *wanted) {
        for (size_t i = 0; i < options->measurements.n; i++) {
                Expectation *expectation = &wanted->expectations[i];
                Error error = {};

                if (document->kind != ATTESTATION_NITROTPM) {
                        *expectation = (Expectation){ .pcrs = options->measurements.sets[i] };
                        continue;
                }
                expectation_make(&options->measurements.sets[i], &options->expectation, expectation);
                if (expectation_check(expectation, &error) < 0)
                        return failure("%s: %s", options->measurements.paths[i], error.text);
        }
        return 0;
}

static void compare_pcrs(Verdict *verdict) {
        const Wanted *wanted = verdict->wanted;

        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (verdict->document->pcrs[i].data) {
                        verdict->pcrs.present |= UINT32_C(1) << i;
                        memcpy(verdict->pcrs.value[i], verdict->document->pcrs[i].data, PCR_SIZE);
                }
        verdict->measurements =
                        expectation_judge(wanted->expectations, wanted->measurements->n, &verdict->pcrs);
}

static int judge_event_log(Verdict *verdict) {
        const Wanted *wanted = verdict->wanted;
        int r = event_log_parse((const char *) wanted->log, wanted->log_size, &verdict->records,
                                &verdict->records_count, &verdict->error);

        if (r < 0)
                return r;
        verdict->marks = calloc(verdict->records_count + 1, sizeof(*verdict->marks));
        if (!verdict->marks)
                return error_oom(&verdict->error);
        return log_judge(verdict->records, verdict->records_count, &verdict->pcrs, wanted->secrets,
                         wanted->secrets_count, verdict->marks, &verdict->error);
}

static bool ends_with(const Slice *data, size_t offset, const Slice *end) {
        return data->size - offset == end->size &&
               (end->size == 0 || memcmp(data->data + offset, end->data, end->size) == 0);
}

/* unseald-documents(8): the name of the unit, a zero byte, and what the unit claims. If Units= names one unit alone, only what it claims. */
static int judge_user_data(Verdict *verdict) {
        const Slice *seen = &verdict->document->user_data;
        const Wanted *wanted = verdict->wanted;
        size_t name = wanted->unit ? strlen(wanted->unit) + 1 : 0;

        if (wanted->unit && seen->size == 0)
                return error_set(
                                &verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                                "The attestation document has no user data, so it is not one of %s. It must come from unseald-documents on the instance, and Units= of [Documents] must name more than one unit: for one alone the service does not write the name.",
                                wanted->unit);
        if (seen->size < name || (name > 0 && memcmp(seen->data, wanted->unit, name) != 0))
                return error_set(
                                &verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                                "The user data in the attestation document do not begin with the name %s: another unit has asked for it, or Units= of [Documents] names one unit alone, for which the service does not write the name.",
                                wanted->unit);
        if (!wanted->with_user_data || ends_with(seen, name, &wanted->user_data))
                return 0;
        if (wanted->unit)
                return error_set(
                                &verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                                "The user data in the attestation document are of %s, but what follows its name is not what --user-data= gives.",
                                wanted->unit);
        return error_set(&verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                         "The user data in the attestation document are not those of --user-data=.");
}

static void explain_key_of_connection(Verdict *verdict) {
        if (verdict->document->public_key.size == 0)
                (void) error_set(
                                &verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                                "The attestation document has no public key, so it says nothing about the TLS connection. Set PublicKey= of [Attestation] on the instance to the certificate of its web server.");
        else
                (void) error_set(
                                &verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                                "The public key in the attestation document is not the key of the TLS connection: something else than the attested machine is at its other end, or the web server has another certificate than PublicKey= names.");
}

static void judge(Verdict *verdict) {
        int r;

        verdict->refusal = attestation_verify(verdict->document, &verdict->wanted->policy, &verdict->error);
        if (verdict->refusal == ATTESTATION_PUBLIC_KEY && verdict->wanted->key_of_connection)
                explain_key_of_connection(verdict);
        compare_pcrs(verdict);
        if (verdict->refusal == ATTESTATION_ACCEPTED && verdict->wanted->measurements->n > 0 &&
            !verdict->measurements.met) {
                verdict->refusal = ATTESTATION_PCR;
                (void) error_set(
                                &verdict->error, -EBADMSG, FAILURE_ATTESTATION,
                                "The measurements in the attestation document differ from the expected ones.");
        }
        if (verdict->refusal == ATTESTATION_ACCEPTED && verdict->wanted->event_log) {
                r = judge_event_log(verdict);
                if (r < 0)
                        verdict->refusal = r == -EBADMSG ? ATTESTATION_EVENT_LOG : ATTESTATION_INTERNAL;
        }
        if (verdict->refusal == ATTESTATION_ACCEPTED && judge_user_data(verdict) < 0)
                verdict->refusal = ATTESTATION_USER_DATA;
}

static bool is_authentic(const Verdict *verdict) {
        if (verdict->refusal == ATTESTATION_ACCEPTED)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(checks); i++)
                if (verdict->refusal == checks[i].refusal)
                        return true;
        return false;
}

static bool is_asked(const Verdict *verdict, const Check *check) {
        switch (check->refusal) {
        case ATTESTATION_STALE:
                return verdict->wanted->policy.max_age_sec > 0;
        case ATTESTATION_NONCE:
                return verdict->wanted->policy.nonce;
        case ATTESTATION_PUBLIC_KEY:
                return verdict->wanted->policy.public_key;
        case ATTESTATION_EVENT_LOG:
                return verdict->wanted->event_log;
        case ATTESTATION_USER_DATA:
                return verdict->wanted->unit || verdict->wanted->with_user_data;
        default:
                return verdict->wanted->measurements->n > 0;
        }
}

/* Returns "proved", "refused" or "not-asked", and "not-reached" for a check after the refused one. */
static const char *check_result(const Verdict *verdict, const Check *check) {
        if (!is_asked(verdict, check))
                return "not-asked";
        if (check->refusal == verdict->refusal)
                return "refused";
        if (verdict->refusal != ATTESTATION_ACCEPTED && check->refusal > verdict->refusal)
                return "not-reached";
        return "proved";
}

static size_t not_asked(const Verdict *verdict) {
        size_t n = 0;

        for (size_t i = 0; i < CHECKS_OF_ALL; i++)
                if (!is_asked(verdict, &checks[i]))
                        n++;
        return n;
}

static bool is_authentic_only(const Verdict *verdict) {
        return verdict->refusal == ATTESTATION_ACCEPTED && not_asked(verdict) == CHECKS_OF_ALL;
}

static const char *kind_to_string(AttestationKind kind) {
        return kind == ATTESTATION_NITROTPM ? "nitrotpm" : "enclave";
}

static int64_t seconds_of(const AttestationDocument *document) {
        return (int64_t) (document->timestamp_msec / 1000);
}

static void print_hex(const uint8_t *data, size_t size) {
        for (size_t i = 0; i < size; i++)
                printf("%02x", data[i]);
}

static void print_line(const char *name, const char *result, const char *what) {
        printf("  %-13s %-12s %s", name, result, what);
}

/* Whether the reader is told of the check with this index. */
static bool is_told(const Verdict *verdict, size_t i) {
        return i < CHECKS_OF_ALL || is_asked(verdict, &checks[i]);
}

/* The file whose measurements the document has, or comes nearest to. */
static const char *expected_by(const Verdict *verdict) {
        return verdict->wanted->measurements->paths[verdict->measurements.index];
}

static void print_checks(const Verdict *verdict) {
        const Wanted *wanted = verdict->wanted;
        char at[TIME_STRING_MAX];

        print_line("signature", "proved", "ES384, by the certificate in the document\n");
        print_line("chain", "proved", "");
        printf("%zu certificates from %s, SHA-256 ", verdict->document->chain_length + 1,
               is_root_g1(wanted) ? "AWS's root G1" : "the given root");
        print_hex(wanted->root_fingerprint, SHA256_SIZE);
        putchar('\n');
        print_line("validity", "proved", "");
        printf("all certificates at %s%s\n", format_time(wanted->policy.at, at),
               wanted->at_document ? ", the document's own time: it may be old" : "");

        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                const char *result = check_result(verdict, &checks[i]);

                if (!is_told(verdict, i))
                        continue;
                print_line(checks[i].name, result, "");
                if (strcmp(result, "not-asked") == 0)
                        printf("to check it, give %s\n", checks[i].option);
                else if (strcmp(result, "proved") != 0)
                        putchar('\n');
                else if (checks[i].refusal == ATTESTATION_PCR)
                        printf("%s by %s\n", checks[i].proved, expected_by(verdict));
                else if (checks[i].refusal == ATTESTATION_PUBLIC_KEY && wanted->key_of_connection)
                        puts("the key of this TLS connection: its other end was attested");
                else if (checks[i].refusal == ATTESTATION_USER_DATA && wanted->unit)
                        printf("of %s%s\n", wanted->unit, wanted->with_user_data ? ", and those given" : "");
                else
                        puts(checks[i].proved);
        }
}

/* Marks a PCR "=" where it is as expected, "!" where it differs or is missing, and with a space where none was expected. */
static void print_pcrs(const Verdict *verdict) {
        static const PcrSet nothing;
        const PcrSet *wanted =
                        verdict->wanted->measurements->n > 0
                                        ? &verdict->wanted->expectations[verdict->measurements.index].pcrs
                                        : &nothing;
        uint32_t differing = verdict->measurements.differing, missing = verdict->measurements.missing;

        printf("\n  %3s  %-*s  %s\n", "PCR", 2 * PCR_SIZE, "VALUE", "COVERS");
        for (unsigned i = 0; i < ATTESTATION_PCRS; i++) {
                const Slice *pcr = &verdict->document->pcrs[i];
                uint32_t bit = UINT32_C(1) << i;
                char mark = !(wanted->present & bit) ? ' ' : (differing & bit) ? '!' : '=';

                if (pcr->data) {
                        printf("%c %3u  ", mark, i);
                        print_hex(pcr->data, pcr->size);
                        printf("  %s\n",
                               verdict->document->kind == ATTESTATION_NITROTPM ? pcr_covers(i) : "");
                }
                if ((differing | missing) & bit) {
                        printf("! %3u  ", i);
                        print_hex(wanted->value[i], PCR_SIZE);
                        printf("  %s\n",
                               pcr->data ? "was expected" : "was expected; the document lacks this PCR");
                }
        }
}

/* Marks a record "=" where the sealed secret is the expected one, "!" where it differs, "-" where a later record has replaced it, and with
 * a space where nothing was expected. */
static void print_records(const Verdict *verdict) {
        static const char marks[] = {
                [LOG_NOT_ASKED] = ' ', [LOG_REPLACED] = '-', [LOG_EXPECTED] = '=', [LOG_DIFFERENT] = '!'
        };

        if (verdict->records_count == 0)
                return;
        printf("\n  %3s  %3s  %-*s  %s\n", "LOG", "PCR", 2 * PCR_SIZE, "SHA-384 OF THE SEALED SECRET",
               "SECRET");
        for (size_t i = 0; i < verdict->records_count; i++) {
                const EventLogRecord *record = verdict->records + i;

                printf("%c %3zu  %3u  ", marks[verdict->marks[i]], i, record->pcr);
                if (record->secret[0])
                        print_hex(record->sealed, PCR_SIZE);
                else
                        printf("%-*s", 2 * PCR_SIZE, "");
                printf("  %s\n", record->secret[0] ? record->secret : "(of another program)");
        }
}

/* What was not asked comes first: the reader may stop after the first line. */
static void print_accepted(const Verdict *verdict) {
        size_t left = not_asked(verdict);

        if (is_authentic_only(verdict))
                puts("Authentic, and nothing else was asked. Any NitroTPM instance or enclave gets such a document.");
        else
                puts("Accepted.");
        if (left == 0)
                return;
        fputs("Not asked, so not known: ", stdout);
        for (size_t i = 0; i < CHECKS_OF_ALL; i++)
                if (!is_asked(verdict, &checks[i]))
                        printf("%s (%s)%s", checks[i].name, checks[i].option, --left > 0 ? ", " : ".\n");
}

static void print_text(const Verdict *verdict) {
        const AttestationDocument *document = verdict->document;
        char time[TIME_STRING_MAX];

        if (verdict->refusal == ATTESTATION_ACCEPTED)
                print_accepted(verdict);
        else
                printf("Refused (%s): %s\n", attestation_refusal_to_string(verdict->refusal),
                       verdict->error.text);
        if (verdict->refusal == ATTESTATION_EXPIRED)
                puts("The certificate in a document is valid for three hours. To verify an older document, give --at=.");
        if (verdict->refusal == ATTESTATION_UNTRUSTED && is_root_g1(verdict->wanted))
                puts("The pinned root is AWS's (G1), of the commercial Regions. For a document of another partition or of a local platform, give its root: --root=.");
        if (verdict->refusal == ATTESTATION_PCR)
                puts("Lines with \"!\" show the difference. Either another image booted, or --measurements= is of another image.");
        if (!is_authentic(verdict))
                return;

        printf("\n  %s document of %s, made at %s\n\n", kind_to_string(document->kind), document->module_id,
               format_time(seconds_of(document), time));
        print_checks(verdict);
        print_pcrs(verdict);
        print_records(verdict);
        /* In a document of an enclave PCR2 covers the application. */
        if (document->kind == ATTESTATION_NITROTPM && pcr_shows_drivers(&verdict->pcrs))
                puts("\n  PCR2 differs from that of firmware without third-party drivers. Such a driver may have changed what PCR4 covers.");
}

static struct json_object *document_to_json(const AttestationDocument *document) {
        struct json_object *object = made(json_object_new_object()), *pcrs = made(json_object_new_object());

        for (unsigned i = 0; i < ATTESTATION_PCRS; i++)
                if (document->pcrs[i].data) {
                        char name[4];

                        (void) snprintf(name, sizeof(name), "%u", i);
                        add_hex(pcrs, name, document->pcrs[i].data, document->pcrs[i].size);
                }

        add_string(object, "kind", kind_to_string(document->kind));
        add_string(object, "module_id", document->module_id);
        add(object, "timestamp", made(json_object_new_int64((int64_t) document->timestamp_msec)));
        add(object, "pcrs", pcrs);
        add_hex(object, "public_key", document->public_key.data, document->public_key.size);
        add_hex(object, "user_data", document->user_data.data, document->user_data.size);
        add_hex(object, "nonce", document->nonce.data, document->nonce.size);
        return object;
}

static struct json_object *checks_to_json(const Verdict *verdict) {
        struct json_object *object = made(json_object_new_object());

        add_string(object, "signature", "proved");
        add_string(object, "chain", "proved");
        add_string(object, "validity", "proved");
        for (size_t i = 0; i < ELEMENTSOF(checks); i++)
                if (is_told(verdict, i))
                        add_string(object, checks[i].name, check_result(verdict, &checks[i]));
        return object;
}

static struct json_object *records_to_json(const Verdict *verdict) {
        struct json_object *array = made(json_object_new_array());

        for (size_t i = 0; i < verdict->records_count; i++) {
                const EventLogRecord *record = verdict->records + i;
                struct json_object *object = made(json_object_new_object());

                add(object, "pcr", made(json_object_new_int((int) record->pcr)));
                add_string(object, "secret", record->secret[0] ? record->secret : NULL);
                if (record->secret[0])
                        add_hex(object, "sealed_sha384", record->sealed, PCR_SIZE);
                add_string(object, "result", log_mark_to_string(verdict->marks[i]));
                if (json_object_array_add(array, object) < 0)
                        exit(failure("Out of memory."));
        }
        return array;
}

static struct json_object *pcr_numbers(uint32_t pcrs) {
        struct json_object *array = made(json_object_new_array());

        for (int i = 0; i < PCR_COUNT; i++)
                if ((pcrs & UINT32_C(1) << i) &&
                    json_object_array_add(array, made(json_object_new_int(i))) < 0)
                        exit(failure("Out of memory."));
        return array;
}

static void print_json(const Verdict *verdict) {
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        const char *text;

        add(object, "accepted", made(json_object_new_boolean(verdict->refusal == ATTESTATION_ACCEPTED)));
        add(object, "authentic_only", made(json_object_new_boolean(is_authentic_only(verdict))));
        if (verdict->refusal != ATTESTATION_ACCEPTED) {
                add_string(object, "refusal", attestation_refusal_to_string(verdict->refusal));
                add_string(object, "reason", verdict->error.text);
        }
        if (is_authentic(verdict)) {
                add(object, "at", made(json_object_new_int64(verdict->wanted->policy.at)));
                add_hex(object, "root_sha256", verdict->wanted->root_fingerprint, SHA256_SIZE);
                add(object, "checks", checks_to_json(verdict));
                add(object, "differing_pcrs",
                    pcr_numbers(verdict->measurements.differing | verdict->measurements.missing));
                if (verdict->wanted->event_log)
                        add(object, "records", records_to_json(verdict));
                add(object, "document", document_to_json(verdict->document));
        }

        text = json_object_to_json_string_ext(object,
                                              JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
        puts(text ?: "");
}

static AttestationRefusal refusal_of_parsing(int r) {
        switch (r) {
        case -ENOMEM:
                return ATTESTATION_INTERNAL;
        case -EOPNOTSUPP:
                return ATTESTATION_ALGORITHM;
        default:
                return ATTESTATION_MALFORMED;
        }
}

/* Puts the form of the data into the error, because a document in another form is a common mistake. */
static void name_form(const uint8_t *data, size_t size, Error *error) {
        InputForm form = document_form(data, size);
        const char *cure = input_form_cure(form);

        if (form == INPUT_BASE64 || form == INPUT_HEX)
                (void) error_set(error, -EBADMSG, FAILURE_ATTESTATION,
                                 "The document is %s of something other than an attestation document.",
                                 form == INPUT_HEX ? "hexadecimal" : input_form_name(form));
        else if (form != INPUT_BINARY)
                (void) error_set(error, -EBADMSG, FAILURE_ATTESTATION, "The document is %s, not CBOR.%s%s",
                                 input_form_name(form), *cure ? " " : "", cure);
}

static int read_document(const char *path, uint8_t **ret, size_t *ret_size) {
        int r = read_argument(path, FILE_SIZE_MAX, ret, ret_size);

        if (r != 0)
                return r;
        return document_unwrap(ret, ret_size) < 0 ? failure("Out of memory.") : 0;
}

static int get_document(const Options *options, Wanted *wanted, uint8_t **ret, size_t *ret_size) {
        Error error = {};

        if (!options->url)
                return read_document(options->document, ret, ret_size);
        if (fetch_document(options->url, wanted->nonce.data, wanted->nonce.size,
                           options->tls ? &wanted->public_key : NULL, ret, ret_size, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        if (options->tls) {
                wanted->policy.public_key = &wanted->public_key;
                wanted->key_of_connection = true;
        }
        /* The request may have taken a while. */
        wanted->policy.at = (int64_t) (now_realtime_usec() / USEC_PER_SEC);
        return 0;
}

static int verify(Options *options) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        _cleanup_(wanted_done) Wanted wanted = {};
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_(verdict_done) Verdict verdict = { .wanted = &wanted, .measurements.met = true };
        size_t size;
        int r;

        r = prepare(options, &wanted);
        if (r == 0)
                r = get_document(options, &wanted, &data, &size);
        if (r != 0)
                return r;

        r = attestation_parse(data, size, &document, &verdict.error);
        if (r < 0) {
                verdict.refusal = refusal_of_parsing(r);
                if (verdict.refusal == ATTESTATION_MALFORMED)
                        name_form(data, size, &verdict.error);
        } else {
                if (wanted.at_document)
                        wanted.policy.at = seconds_of(document);
                r = expect(options, document, &wanted);
                if (r != 0)
                        return r;
                verdict.document = document;
                judge(&verdict);
        }
        if (verdict.refusal == ATTESTATION_INTERNAL)
                return failure("%s", verdict.error.text);

        if (options->json)
                print_json(&verdict);
        else
                print_text(&verdict);
        return is_authentic_only(&verdict) ? STATUS_AUTHENTIC_ONLY : (int) verdict.refusal;
}

int verb_verify(int argc, char *argv[]) {
        enum {
                OPTION_NONCE = 256,
                OPTION_PUBLIC_KEY,
                OPTION_MEASUREMENTS,
                OPTION_ALLOW_DRIVERS,
                OPTION_NO_PCR13,
                OPTION_MAX_AGE,
                OPTION_AT,
                OPTION_ROOT,
                OPTION_JSON,
                OPTION_URL,
                OPTION_TLS,
                OPTION_EVENT_LOG,
                OPTION_SECRET,
                OPTION_UNIT,
                OPTION_USER_DATA,
        };
        static MeasuredSecrets secrets = { .any_pcr = true }; /* some 30 KiB */
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "nonce", required_argument, NULL, OPTION_NONCE },
                { "public-key", required_argument, NULL, OPTION_PUBLIC_KEY },
                { "measurements", required_argument, NULL, OPTION_MEASUREMENTS },
                { "allow-drivers", no_argument, NULL, OPTION_ALLOW_DRIVERS },
                { "no-pcr13", no_argument, NULL, OPTION_NO_PCR13 },
                { "max-age", required_argument, NULL, OPTION_MAX_AGE },
                { "at", required_argument, NULL, OPTION_AT },
                { "root", required_argument, NULL, OPTION_ROOT },
                { "json", no_argument, NULL, OPTION_JSON },
                { "url", required_argument, NULL, OPTION_URL },
                { "tls", no_argument, NULL, OPTION_TLS },
                { "event-log", required_argument, NULL, OPTION_EVENT_LOG },
                { "secret", required_argument, NULL, OPTION_SECRET },
                { "unit", required_argument, NULL, OPTION_UNIT },
                { "user-data", required_argument, NULL, OPTION_USER_DATA },
                {},
        };
        _cleanup_(options_done) Options options = { .secrets = &secrets };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_NONCE:
                        options.nonce = optarg;
                        break;
                case OPTION_PUBLIC_KEY:
                        options.public_key = optarg;
                        break;
                case OPTION_MEASUREMENTS:
                        r = measurement_files_add(&options.measurements, optarg);
                        if (r != 0)
                                return r;
                        break;
                case OPTION_ALLOW_DRIVERS:
                        options.expectation.any_drivers = true;
                        break;
                case OPTION_NO_PCR13:
                        options.expectation.any_extensions = true;
                        break;
                case OPTION_MAX_AGE:
                        options.max_age = optarg;
                        break;
                case OPTION_AT:
                        options.at = optarg;
                        break;
                case OPTION_ROOT:
                        options.root = optarg;
                        break;
                case OPTION_JSON:
                        options.json = true;
                        break;
                case OPTION_URL:
                        options.url = optarg;
                        break;
                case OPTION_TLS:
                        options.tls = true;
                        break;
                case OPTION_EVENT_LOG:
                        options.event_log = optarg;
                        break;
                case OPTION_UNIT:
                        if (!strchr(optarg, '.'))
                                return usage_error(
                                                "--unit=%s is not valid. It takes the name of a unit with its type, such as billing.service.",
                                                optarg);
                        options.unit = optarg;
                        break;
                case OPTION_USER_DATA:
                        options.user_data = optarg;
                        break;
                case OPTION_SECRET:
                        r = measured_secrets_add(&secrets, optarg);
                        if (r != 0)
                                return r;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (argc - optind != (options.url ? 0 : 1))
                return usage_error("verify takes one document as argument, or --url=.");
        if (options.tls && !options.url)
                return usage_error("--tls needs --url=: only a connection has a key to compare.");
        if (options.tls && options.public_key)
                return usage_error(
                                "--tls and --public-key= both say which key the document must have. Give one of them.");
        options.document = argv[optind];
        return verify(&options);
}
