/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * unsealctl doctor: facts about this machine, and what they mean. doctor.c knows the order and asks; doctor-machine.c
 * and doctor-aws.c find facts out and decide nothing; the checks (doctor-checks.c) turn facts into findings and are
 * pure; doctor-print.c shows them.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "aws/imds.h"
#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "tpm/expectation.h"
#include "tpm/tpm.h"
#include "unsealctl/check/consumers.h"

typedef enum Verdict {
        VERDICT_OK,
        VERDICT_NOTE,    /* neither good nor bad */
        VERDICT_SKIPPED, /* could not be looked at: the text says why */
        VERDICT_WARNING, /* unseald works, but not as it should, or not for long */
        VERDICT_FAILURE,
        _VERDICTS,
} Verdict;

typedef struct Finding {
        const char *check;   /* a stable name: "tpm-lockout" */
        const char *subject; /* secret, endpoint, unit, PCR; empty: none */
        Verdict verdict;
        Failure failure;  /* of a failure */
        char *text;       /* a sentence or two, with subject and cure behind it in the same memory */
        const char *cure; /* what to do; empty: nothing, or it is in the text */
} Finding;

typedef struct Report {
        Finding *findings; /* in the order in which they were made: causes before what follows from them */
        size_t count;
        void (*found)(const Finding *finding); /* called with each; may be NULL */
} Report;

void report_clear(Report *report);

/* The exit status of unsealctl doctor: the Failure of the first failure, else one of these. */
enum {
        DOCTOR_OK = 0,
        DOCTOR_WARNINGS = 3,
        DOCTOR_INCOMPLETE = 4, /* nothing was found, but not everything was looked at */
};
int report_exit_status(const Report *report) _pure_;

/* "failure". Never NULL. */
const char *verdict_to_string(Verdict verdict) _pure_;

/* What none of the checks below says better. Memory that is short ends the program. Texts may have come from a
 * server: control characters in them are replaced. */
void report_add(Report *report, const char *check, const char *subject, Verdict verdict, const char *cure,
                const char *format, ...) _printf_(6, 7);
void report_error(Report *report, const char *check, const char *subject, const Error *error,
                  const char *cure);

/* A step whose facts could not be had for lack of privileges is skipped, not failed. */
#define NEEDS_ROOT "needs root"

/* The TPM's node. */
typedef struct DeviceFacts {
        const char *path; /* NULL: TpmDevice= is no device */
        int r;            /* of looking at it */
        mode_t mode;
        uid_t uid;
        gid_t gid;
        bool has_user; /* there is a user unseald */
        uid_t user;
        gid_t group;
        char holder[128]; /* a program that has it open; empty: none seen */
} DeviceFacts;
void check_tpm_device(Report *report, const DeviceFacts *facts);

/* What one visit to the TPM brought. */
typedef struct TpmFacts {
        bool root;
        const char *holder; /* DeviceFacts' */
        int r;              /* of opening and inspecting it, with error */
        Error error;
        TpmState state;
        int pcrs_r;
        Error pcrs_error;
        PcrSet pcrs;
        int document_r;
        Error document_error;
        uint64_t document_usec;
        uint64_t held_usec;
        uint8_t *document;
        size_t document_size;
} TpmFacts;
void check_tpm(Report *report, const TpmFacts *facts);

/* What the PCRs are expected to be: alternatives, of which this boot must meet one. */
typedef struct ExpectedFacts {
        Expectation alternatives[EXPECTATIONS_MAX];
        const char *sources[EXPECTATIONS_MAX]; /* of each alternative: the file, or ExpectedMeasurements= */
        size_t n;                              /* 0: nothing is known */
        bool demanded; /* by --measurements=: a PCR that differs is a failure. ExpectedMeasurements= is advice */
} ExpectedFacts;
/* lock_pcr: LockPcr=, which check_lock_pcr() judges; 0: none. */
void check_pcrs(Report *report, const PcrSet *measured, const ExpectedFacts *expected, unsigned lock_pcr);

/* LockPcr=. Whether it is locked, which makes KMS deny what it allowed before. */
bool check_lock_pcr(Report *report, const PcrSet *measured, unsigned pcr);

/* IMDS, asked without a token. */
typedef struct ImdsFacts {
        int r;
        Error error;
        unsigned status;
        uint64_t duration_usec;
        bool contained; /* not in the network namespace of the machine, or in a container */
} ImdsFacts;
/* Whoever tells the time: seconds that its clock is ahead of this machine's. */
typedef struct ClockFacts {
        bool known;
        int64_t skew;
} ClockFacts;

void check_imds(Report *report, const ImdsFacts *facts);

/* Out of the instance identity document; empty: it does not say. */
typedef struct InstanceFacts {
        char type[32], region[32], account[16], image[32], id[32];
} InstanceFacts;
/* Pure. -EBADMSG. */
int instance_facts_parse(const char *text, size_t size, InstanceFacts *ret);
void check_instance(Report *report, const InstanceFacts *facts);

/* Credentials of the role. now: by a clock that is right, as far as there is one. */
void check_role(Report *report, const char *role, int64_t expiration, int64_t now);

void check_clock(Report *report, const char *whose, const ClockFacts *facts);

/* An address, as getnameinfo() writes it. */
typedef struct NamesFacts {
        const char *host;
        int error; /* EAI_… */
        size_t n_addresses;
        char addresses[8][64];
} NamesFacts;
bool address_is_private(const char *address) _pure_;
void check_names(Report *report, const NamesFacts *facts);

typedef struct TlsFacts {
        const char *host;
        int r;
        Error error;
        int64_t certificate_end; /* seconds since 1970; -1: not known */
        int64_t now;
        uint64_t duration_usec;
} TlsFacts;
void check_tls(Report *report, const TlsFacts *facts);

/* Decrypt of one secret with DryRun. asked: KMS was asked, else why not. allowed: KMS would have decrypted. */
typedef struct DryRun {
        bool asked, allowed;
        const char *why_not;
        Error error;
} DryRun;
/* locked: by LockPcr=, so that even a good document is denied where the key's policy pins that PCR. */
void check_key(Report *report, const char *secret, bool optional, bool locked, const DryRun *with_document,
               const DryRun *without_document);

/* Where the store is. */
typedef struct StoreFacts {
        const char *path;
        bool root;
        int r;
        Error error;     /* of proving that it is memory */
        unsigned mounts; /* on that very path */
        mode_t mode;
        uid_t uid;
        bool has_user;
        uid_t user;
} StoreFacts;
void check_store(Report *report, const StoreFacts *facts);

/* Texts as the kernel has them; NULL: not to be had. */
void check_swap(Report *report, const char *swaps);
void check_hibernation(Report *report, const char *power_state, const char *resume_device);
void check_core_dumps(Report *report, const char *core_pattern);

void check_consumers(Report *report, const Consumers *consumers, const Declarations *declarations);

/* The credential socket. */
typedef struct SocketFacts {
        const char *path;
        int r; /* of looking at it */
        mode_t mode;
        uid_t uid;
        bool has_user; /* there is a user unseald, whose it becomes with RuntimeDirectory= */
        uid_t user;
        bool listening;
        bool wanted; /* units load from it */
} SocketFacts;
void check_socket(Report *report, const SocketFacts *facts);

/* systemctl show of unseald.service; NULL: systemctl cannot be asked. */
void check_service(Report *report, const char *properties);

/* status.json; NULL: there is none. */
void check_status(Report *report, struct json_object *status);

/* Showing it. The printer of single findings, for Report's found. */
void (*report_printer(void))(const Finding *finding);
void report_print_summary(const Report *report);
void report_print_json(const Report *report);

/* Finding facts out. These block, and are called in a thread of their own where that may last. */

void look_at_device(const char *tcti, DeviceFacts *ret);
/* Without connecting to it: who connects asks for a credential. */
void look_at_socket(const char *path, SocketFacts *ret);
void look_at_store(const char *path, StoreFacts *ret);

/* All that is wanted of the TPM in one visit, which leaves nothing behind. *facts must be empty but for root and
 * holder; document is to be freed. */
void visit_tpm(const char *tcti, TpmFacts *facts);

/* The text of a small file; NULL where it cannot be read. To be freed. */
char *file_text(const char *path);

/* What systemctl show prints of a unit. NULL: it cannot be asked. To be freed. */
char *unit_properties(const char *unit);

/* Whether this is a container, or another network namespace than the machine's. */
bool is_contained(void);

void resolve_names(const char *host, NamesFacts *ret);

/* From the network. */

void ask_imds(ImdsFacts *ret, ClockFacts *ret_clock);

/* A document of IMDS; the caller frees. -ENOENT: it has none. */
int imds_text(const char *path, char **ret, size_t *ret_size, Error *error);

int imds_role(AwsCredentials *ret, char ret_role[static IMDS_ROLE_MAX + 1], Error *error);

/* endpoint: "https://host[:port]". */
void look_at_tls(const Settings *settings, const char *endpoint, TlsFacts *ret, ClockFacts *ret_clock);

/* The ciphertext that Source= names, over the network; the caller frees. */
int fetch_ciphertext(const Settings *settings, const Declaration *declaration,
                     const AwsCredentials *credentials, uint8_t **ret, size_t *ret_size, Error *error);

/* What KMS would say to Decrypt. Without a document where document is NULL. account: for BindAccount=. */
typedef struct DryRunRequest {
        const Settings *settings;
        const Declaration *declaration;
        const AwsCredentials *credentials;
        const char *account;
        const uint8_t *ciphertext, *document;
        size_t ciphertext_size, document_size;
} DryRunRequest;
void dry_run(const DryRunRequest *request, DryRun *ret);
