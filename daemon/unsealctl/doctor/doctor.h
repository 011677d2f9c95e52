/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * unsealctl doctor finds facts about this machine and says what they mean. doctor.c knows the order and asks the
 * questions. doctor-machine.c and doctor-aws.c find facts, and judge nothing. The checks in doctor-checks.c turn facts
 * into findings, and are pure. doctor-print.c prints the findings.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "aws/imds.h"
#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/duration.h"
#include "basic/error.h"
#include "basic/slice.h"
#include "config/declaration.h"
#include "config/remarks.h"
#include "config/settings.h"
#include "config/volumes.h"
#include "tpm/expectation.h"
#include "tpm/tpm.h"

/* The longest --timeout=. */
#define DOCTOR_TIMEOUT_MAX_USEC (3600 * USEC_PER_SEC)

typedef enum Verdict {
        VERDICT_OK,
        VERDICT_NOTE,    /* neither good nor bad */
        VERDICT_SKIPPED, /* the check was not possible; the text says why */
        VERDICT_WARNING, /* unseald works, but not as it should, or not for long */
        VERDICT_FAILURE,
        _VERDICTS,
} Verdict;

typedef struct Finding {
        const char *check;   /* a stable name: "tpm-lockout" */
        const char *subject; /* a secret, endpoint, unit or PCR; empty: none */
        Verdict verdict;
        Failure failure;  /* set for VERDICT_FAILURE */
        char *text;       /* one or two sentences; subject and cure follow in the same memory */
        const char *cure; /* what to do; empty: nothing, or the text says it */
} Finding;

typedef struct Report {
        Finding *findings; /* in the order of the checks: a cause comes before its consequences */
        size_t count;
        void (*found)(const Finding *finding); /* called for each finding; may be NULL */
} Report;

void report_clear(Report *report);

/* The exit status of unsealctl doctor is the Failure of the first failure, or else one of these. */
enum {
        DOCTOR_OK = 0,
        DOCTOR_WARNINGS = 3,
        DOCTOR_INCOMPLETE = 4, /* no problem was found, but some checks were skipped */
};
int report_exit_status(const Report *report) _pure_;

/* "failure". Never NULL. */
const char *verdict_to_string(Verdict verdict) _pure_;

/* Add a finding that no check below makes. The program ends if memory is short. Control characters are replaced,
 * because texts may come from a server. */
void report_add(Report *report, const char *check, const char *subject, Verdict verdict, const char *cure,
                const char *format, ...) _printf_(6, 7);
void report_error(Report *report, const char *check, const char *subject, const Error *error,
                  const char *cure);

/* A check that lacks privileges is skipped. It has not failed. */
#define NEEDS_ROOT "needs root"

/* The device node of the TPM. */
typedef struct DeviceFacts {
        const char *path; /* NULL: TpmDevice= is not a device */
        int r;            /* of stat() */
        mode_t mode;
        uid_t uid;
        gid_t gid;
        bool has_user; /* there is a user unseald */
        uid_t user;
        gid_t group;
        char holder[128]; /* a process that has it open; empty: none is visible */
} DeviceFacts;
void check_tpm_device(Report *report, const DeviceFacts *facts);

/* What doctor learns while it has the TPM open, once. */
typedef struct TpmFacts {
        bool root;
        const char *holder; /* from DeviceFacts */
        int r;              /* of opening and inspecting the TPM; error belongs to it */
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

/* The expected PCRs. This boot must meet one of the alternatives. */
typedef struct ExpectedFacts {
        Expectation alternatives[EXPECTATIONS_MAX];
        const char *sources[EXPECTATIONS_MAX]; /* the file of each alternative, or ExpectedMeasurements= */
        size_t n;                              /* 0: nothing is known */
        bool demanded; /* a PCR that differs is a failure, not a warning: the alternatives come from --measurements= */
} ExpectedFacts;
/* lock_pcr: the PCR of LockPcr=, which check_lock_pcr() judges; 0: none. measure_pcrs: bit n: MeasurePcr=n extends PCR n. */
void check_pcrs(Report *report, const PcrSet *measured, const ExpectedFacts *expected, unsigned lock_pcr,
                uint32_t measure_pcrs);

/* pcr: the PCR of LockPcr=. Returns whether it is locked: then KMS denies what it allowed before. */
bool check_lock_pcr(Report *report, const PcrSet *measured, unsigned pcr);

/* The answer of IMDS to a request without a token. */
typedef struct ImdsFacts {
        int r;
        Error error;
        unsigned status;
        uint64_t duration_usec;
        bool contained; /* doctor runs in a container or in another network namespace than the machine */
        bool no_ipv4;   /* no route leads to its IPv4 address */
} ImdsFacts;
/* The clock of a server. skew: by how many seconds it is ahead of this machine. */
typedef struct ClockFacts {
        bool known;
        int64_t skew;
} ClockFacts;

void check_imds(Report *report, const ImdsFacts *facts);

/* From the instance identity document. An empty text is missing there. */
typedef struct InstanceFacts {
        char type[32], region[32], account[16], image[32], id[32];
} InstanceFacts;
/* Pure. Returns 0, -EBADMSG or -ENOMEM. */
int instance_facts_parse(const char *text, size_t size, InstanceFacts *ret);
void check_instance(Report *report, const InstanceFacts *facts);

/* The credentials of the role. expiration, now: seconds since 1970; expiration 0: never. now comes from the most
 * reliable clock. */
void check_role(Report *report, const char *role, int64_t expiration, int64_t now);

void check_clock(Report *report, const char *whose, const ClockFacts *facts);

/* The addresses of a host, in the format of getnameinfo(). */
typedef struct NamesFacts {
        const char *host;
        int error; /* EAI_…; 0: none */
        size_t n_addresses;
        char addresses[8][64];
        bool unrouted; /* no route leads to any of them */
} NamesFacts;
bool address_is_private(const char *address) _pure_;
void check_names(Report *report, const NamesFacts *facts);

typedef struct TlsFacts {
        const char *host;
        int r;
        Error error;
        int64_t certificate_end; /* seconds since 1970; -1: unknown */
        int64_t now;
        uint64_t duration_usec;
} TlsFacts;
void check_tls(Report *report, const TlsFacts *facts);

/* KMS in the Region of a replica in KeyId=. facts: NULL: it does not answer in time. */
void check_replica(Report *report, const char *host, const TlsFacts *facts);

/* The answer to Decrypt with DryRun for one secret, or (generates) to GenerateDataKey. asked: false: why_not says why KMS was not
 * asked. allowed: KMS would do it. */
typedef struct DryRun {
        bool asked, allowed, generates;
        const char *why_not;
        Error error;
} DryRun;
/* locked: the PCR of LockPcr= is locked. Then KMS denies even a good document, if the key's policy pins that PCR. */
void check_key(Report *report, const char *secret, bool optional, bool locked, const DryRun *with_document,
               const DryRun *without_document);

/* The key of a volume whose label has a ciphertext: whether KMS would make one for a new volume. with_document: NULL: nothing new may begin
 * (Initialize=never). */
void check_new_key(Report *report, const char *secret, bool locked, const DryRun *with_document,
                   const DryRun *without_document);

/* Who can replace the public key of SignedBy= while the machine runs. */
typedef enum KeyPlace {
        KEY_READ_ONLY, /* nobody */
        KEY_IN_IMAGE, /* root, until the next boot: the root file system is read-only, with changes in memory */
        KEY_CHANGED,  /* such a change is the key itself: the image has none there, or another one */
        KEY_WRITABLE, /* a change stays */
} KeyPlace;
/* The signature of a secret is valid, and has this version. */
void check_signature(Report *report, const char *secret, uint64_t version, const char *key, KeyPlace place);

/* Pure. The value of an option such as upperdir in the options of a file system (proc(5), mountinfo). Returns 0, -ENOENT or -ENOMEM;
 * -EBADMSG: it has characters that the kernel escapes. The caller frees *ret. */
int mount_option(const char *options, const char *name, char **ret);

/* The directory of the store. */
typedef struct StoreFacts {
        const char *path;
        bool root;
        int r;
        Error error;     /* why it is not certainly memory */
        unsigned mounts; /* file systems on this very path */
        mode_t mode;
        uid_t uid;
        bool has_user;
        uid_t user;
} StoreFacts;
void check_store(Report *report, const StoreFacts *facts);

typedef struct VolumeFacts {
        const char *name;
        bool root;
        bool open;                   /* /dev/mapper/unseald-NAME is there */
        bool unverified;             /* Integrity=no */
        const char *missing_modules; /* of the targets, ciphers and the file system; NULL: none */
        char modules[96];            /* the text of missing_modules */
        Error device;                /* why no device matches Device=; FAILURE_NONE: one does */
} VolumeFacts;

/* Pure. Whether a module is built in, or lies where modprobe finds it, by the texts of modules.builtin and modules.dep. NULL: one cannot be
 * read, and without both nobody can tell, so the kernel may have it. The sandbox of unseald-report.service hides them
 * (ProtectKernelModules=). */
bool kernel_may_have(const char *module, const char *builtin, const char *dependencies);

/* Looks for the device of a volume, and for the modules of this kernel. Only root can ask NVMe controllers. */
void look_at_volume(const Volume *volume, VolumeFacts *ret);
void check_volume(Report *report, const VolumeFacts *facts);

/* The texts come from the kernel's files. NULL: a file cannot be read. */
void check_swap(Report *report, const char *swaps);
void check_hibernation(Report *report, const char *power_state, const char *resume_device);
void check_core_dumps(Report *report, const char *core_pattern);

/* loaded: the number of LoadCredential= lines of unseald without a mistake. */
void check_consumers(Report *report, const Remarks *remarks, size_t loaded);

/* The credential socket. */
typedef struct SocketFacts {
        const char *path;
        int r; /* of looking at it */
        mode_t mode;
        uid_t uid;
        bool has_user; /* the user unseald exists; RuntimeDirectory= gives the socket to it */
        uid_t user;
        bool listening;
        bool wanted; /* some unit loads from it */
} SocketFacts;
void check_socket(Report *report, const SocketFacts *facts);

/* The ports in unseald-kms.socket and unseald-documents.socket. */
#define KMS_PORT 8643U
#define DOCUMENTS_PORT 8644U

/* KMS for applications. listening: something listens on its port. Says nothing without Keys= of [Kms]. */
void check_kms_endpoint(Report *report, const Settings *settings, const Declarations *declarations,
                        bool listening);

/* Documents for applications. Says nothing without Units= of [Documents]. */
void check_documents(Report *report, const Settings *settings, bool listening);

/* Pure. version: of the service manager, such as "252.39-1~deb12u1"; NULL or empty: it is not known. */
void check_manager(Report *report, const char *version);

/* properties: the output of systemctl show for unseald.service. NULL: systemctl does not work. */
void check_service(Report *report, const char *properties);

/* status: status.json. NULL: there is none. */
void check_status(Report *report, struct json_object *status);

/* What stands between a subject and what is said of it. "user-data:" ends with a colon. */
static inline const char *subject_colon(const char *subject) {
        size_t length = strlen(subject);

        return length > 0 && subject[length - 1] == ':' ? "" : ":";
}

/* Printing. report_printer() returns the function for Report.found. */
void (*report_printer(void))(const Finding *finding);
void report_print_summary(const Report *report);
void report_print_json(const Report *report);

/* Finding facts. These functions block. Those that may take long run in a thread of their own. */

void look_at_device(const char *tcti, DeviceFacts *ret);
/* Does not connect, because every connection asks for a credential. */
void look_at_socket(const char *path, SocketFacts *ret);
/* Returns whether something listens on that port of 127.0.0.1. */
bool look_at_port(unsigned port);
void look_at_store(const char *path, StoreFacts *ret);
KeyPlace look_at_key(const char *path);

/* Opens the TPM once for all facts, and leaves no object in it. The caller sets root and holder of *facts, leaves the
 * rest empty, and frees the document. */
void visit_tpm(const char *tcti, TpmFacts *facts);

/* Returns the text of a small file, which the caller frees. NULL: it cannot be read. */
char *file_text(const char *path);

/* Returns whether doctor runs in a container or in another network namespace than the machine. */
bool is_contained(void);

/* Returns whether no route of this machine leads to the IPv4 address of IMDS. */
bool imds_has_no_ipv4_route(void);

void resolve_names(const char *host, NamesFacts *ret);

/* Facts from the network. */

void ask_imds(ImdsFacts *ret, ClockFacts *ret_clock);

/* Reads a document from IMDS, which the caller frees. -ENOENT: IMDS does not have it. */
int imds_text(const char *path, char **ret, size_t *ret_size, Error *error);

int imds_role(AwsCredentials *ret, char ret_role[static IMDS_ROLE_MAX + 1], Error *error);

/* endpoint: "https://host[:port]". */
void look_at_tls(const Settings *settings, const char *endpoint, TlsFacts *ret, ClockFacts *ret_clock);

/* Reads the ciphertext or its signature from the network. source: one of the two of the declaration. The caller frees it. Of a large
 * message only the header comes; then *ret_whole is how many bytes the message has, otherwise 0. */
int fetch_content(const Settings *settings, const Declaration *declaration, const Source *source,
                  const AwsCredentials *credentials, uint8_t **ret, size_t *ret_size, uint64_t *ret_whole,
                  Error *error);

/* Asks KMS whether it would decrypt, or with Generate= make a data key; without a ciphertext, whether the key opens at all. document.data NULL: the request has no document. account: for BindAccount=. */
typedef struct DryRunRequest {
        const Settings *settings;
        const Declaration *declaration;
        const AwsCredentials *credentials;
        const char *account;
        Slice ciphertext, document;
} DryRunRequest;
void dry_run(const DryRunRequest *request, DryRun *ret);
