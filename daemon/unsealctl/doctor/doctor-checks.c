/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Turns facts into findings. Pure. Read each check from top to bottom: the first line that applies is the finding. A
 * failure is a reason for unseald to fail. A problem that unseald survives, or that harms the secrets only after
 * delivery, is a warning.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "basic/text.h"
#include "unsealctl/ctl.h"
#include "unsealctl/doctor/doctor.h"
#include "unsealctl/unit-properties.h"

/* "0x", eight digits, ", " for each handle */
#define HANDLES_STRING_MAX (12 * ELEMENTSOF(((TpmHandles *) NULL)->handle) + 1)

#define CLOCK_SKEW_MAX 300 /* seconds; KMS accepts signatures up to this age */
#define CLOCK_SKEW_ODD 30
#define CERTIFICATE_SOON (14 * 24 * 3600)

void report_clear(Report *report) {
        for (size_t i = 0; i < report->count; i++)
                free(report->findings[i].text);
        free(report->findings);
        *report = (Report){};
}

int report_exit_status(const Report *report) {
        bool seen[_VERDICTS] = {};

        for (size_t i = 0; i < report->count; i++) {
                if (report->findings[i].verdict == VERDICT_FAILURE)
                        return (int) report->findings[i].failure;
                seen[report->findings[i].verdict] = true;
        }
        return seen[VERDICT_WARNING]   ? DOCTOR_WARNINGS
               : seen[VERDICT_SKIPPED] ? DOCTOR_INCOMPLETE
                                       : DOCTOR_OK;
}

const char *verdict_to_string(Verdict verdict) {
        static const char *const names[_VERDICTS] = {
                [VERDICT_OK] = "ok",           [VERDICT_NOTE] = "note",       [VERDICT_SKIPPED] = "skipped",
                [VERDICT_WARNING] = "warning", [VERDICT_FAILURE] = "failure",
        };

        return names[verdict];
}

/* Takes ownership of the text. NULL means that memory is short. */
static void append(Report *report, const char *check, const char *subject, Verdict verdict, Failure failed,
                   const char *cure, char *text) {
        size_t text_size = text ? strlen(text) + 1 : 0, subject_size = strlen(subject ?: "") + 1;
        size_t cure_size = strlen(cure ?: "") + 1;
        Finding *findings = reallocarray(report->findings, report->count + 1, sizeof(*findings));
        char *memory = text ? realloc(text, text_size + subject_size + cure_size) : NULL;

        if (!findings || !memory)
                exit(failure("Out of memory."));
        memcpy(memory + text_size, subject ?: "", subject_size);
        memcpy(memory + text_size + subject_size, cure ?: "", cure_size);
        for (size_t i = 0; i < text_size + subject_size + cure_size; i++)
                if (memory[i] == '\n')
                        memory[i] = ' ';
        (void) text_clean(memory);
        (void) text_clean(memory + text_size);
        (void) text_clean(memory + text_size + subject_size);

        report->findings = findings;
        findings[report->count] = (Finding){
                .check = check,
                .subject = memory + text_size,
                .verdict = verdict,
                .failure = failed,
                .text = memory,
                .cure = memory + text_size + subject_size,
        };
        if (report->found)
                report->found(&findings[report->count]);
        report->count++;
}

_printf_(1, 2) static char *printed(const char *format, ...) {
        va_list arguments;
        char *text;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        return text;
}

#define ok(report, check, subject, ...) \
        append(report, check, subject, VERDICT_OK, FAILURE_NONE, NULL, printed(__VA_ARGS__))
#define note(report, check, subject, ...) \
        append(report, check, subject, VERDICT_NOTE, FAILURE_NONE, NULL, printed(__VA_ARGS__))
#define skipped(report, check, subject, ...) \
        append(report, check, subject, VERDICT_SKIPPED, FAILURE_NONE, NULL, printed(__VA_ARGS__))
#define warn(report, check, subject, cure, ...) \
        append(report, check, subject, VERDICT_WARNING, FAILURE_NONE, cure, printed(__VA_ARGS__))
#define fail(report, check, subject, failure, cure, ...) \
        append(report, check, subject, VERDICT_FAILURE, failure, cure, printed(__VA_ARGS__))

void report_add(Report *report, const char *check, const char *subject, Verdict verdict, const char *cure,
                const char *format, ...) {
        va_list arguments;
        char *text;

        assert(verdict != VERDICT_FAILURE);
        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        append(report, check, subject, verdict, FAILURE_NONE, cure, text);
}

void report_error(Report *report, const char *check, const char *subject, const Error *error,
                  const char *cure) {
        fail(report, check, subject, error->failure, cure, "%s", error->text);
}

/* Returns whether the permission bits let the user unseald read and write the device. */
static bool user_may_open(const DeviceFacts *facts) {
        unsigned shift = facts->uid == facts->user ? 6 : facts->gid == facts->group ? 3 : 0;

        return (facts->mode >> shift & 06) == 06;
}

void check_tpm_device(Report *report, const DeviceFacts *facts) {
        static const char check[] = "tpm-device";
        const char *path = facts->path;

        if (!path)
                note(report, check, NULL,
                     "TpmDevice= does not name a device node, so there is nothing to check.");
        else if (facts->r == -ENOENT)
                fail(report, check, path, FAILURE_TPM,
                     "Use an instance type with NitroTPM, and an AMI registered with '--boot-mode uefi --tpm-support v2.0'.",
                     "There is no TPM.");
        else if (facts->r < 0)
                fail(report, check, path, FAILURE_TPM, NULL, "It cannot be read: %s.", strerror(-facts->r));
        else if (!S_ISCHR(facts->mode))
                fail(report, check, path, FAILURE_TPM,
                     "Set TpmDevice= to the device node of the TPM, device:/dev/tpm0.",
                     "It is not a device.");
        else if (facts->has_user && !user_may_open(facts))
                fail(report, check, path, FAILURE_TPM,
                     "Install the udev rule of unseald (72-unseald-tpm.rules), and apply it with 'udevadm trigger --subsystem-match=tpm'.",
                     "unseald may not open it: mode %04o, user %u, group %u.",
                     (unsigned) facts->mode & 07777, (unsigned) facts->uid, (unsigned) facts->gid);
        else if (facts->mode & S_IWOTH)
                warn(report, check, path, "Remove the permission: 'chmod o-rw'.",
                     "Every user may use the TPM, and extend its PCRs (mode %04o).",
                     (unsigned) facts->mode & 07777);
        else if (!facts->has_user)
                warn(report, check, path, "Install unseald with its sysusers.d file: systemd-sysusers.",
                     "The device is there, but the user unseald, who should open it, is not.");
        else
                ok(report, check, path, "unseald may open it%s%s.", facts->holder[0] ? "; held by " : "",
                   facts->holder);
}

static void check_lockout(Report *report, const TpmState *state) {
        static const char check[] = "tpm-lockout";

        if (state->locked_out)
                fail(report, check, NULL, FAILURE_TPM,
                     "Unlock it with 'tpm2_dictionarylockout --clear-lockout'. Then find the program that sends wrong authorizations. unseald sends none.",
                     "The TPM is locked after %" PRIu32
                     " wrong authorizations, and does not attest until it is unlocked. It forgets one wrong authorization every %" PRIu32
                     " s.",
                     state->wrong, state->recovery_sec);
        else if (state->wrong > 0)
                warn(report, check, NULL,
                     "Find the program that sends them. At the maximum the TPM locks itself.",
                     "There were %" PRIu32 " wrong authorizations. The maximum is %" PRIu32 ".",
                     state->wrong, state->wrong_max);
        else
                ok(report, check, NULL, "The TPM is not locked, and there were no wrong authorizations.");
}

/* Joins the handles, as tpm2-tools takes each of them. */
static const char *format_handles(const TpmHandles *handles, char buffer[static HANDLES_STRING_MAX]) {
        char *end = buffer;

        *buffer = '\0';
        for (size_t i = 0; i < handles->n; i++)
                end += sprintf(end, "%s0x%08" PRIx32, i > 0 ? ", " : "", handles->handle[i]);
        return buffer;
}

static void check_leftovers(Report *report, const TpmFacts *facts) {
        static const char check[] = "tpm-leftovers";
        const TpmState *state = &facts->state;
        char handles[HANDLES_STRING_MAX];

        if (state->foreign_indices.n > 0)
                warn(report, check, NULL,
                     "Remove each with 'tpm2_nvundefine HANDLE', unless a client is attesting right now. NV memory is scarce.",
                     "Another client, perhaps nitro-tpm-attest, was killed and has left %zu NV index(es) of 8 KiB: %s.",
                     state->foreign_indices.n, format_handles(&state->foreign_indices, handles));
        if (state->foreign_keys.n > 0)
                warn(report, check, NULL,
                     "Remove each with 'tpm2_evictcontrol -C o -c HANDLE', unless a client is attesting right now.",
                     "Another client, perhaps nitro-tpm-attest, was killed and has left %zu persistent endorsement key(s): %s.",
                     state->foreign_keys.n, format_handles(&state->foreign_keys, handles));
        if (state->leftovers > 0)
                note(report, check, NULL,
                     "A killed client, unseald or another that attests, had left %u object(s). %s.",
                     state->leftovers,
                     facts->document_r < 0 ? "The next unseald removes them" : "They are removed now");
        if (state->foreign_indices.n == 0 && state->foreign_keys.n == 0 && state->leftovers == 0)
                ok(report, check, NULL, "No killed client has left anything.");
}

static void check_document(Report *report, const TpmFacts *facts) {
        static const char check[] = "nitrotpm";
        char took[DURATION_STRING_MAX], held[DURATION_STRING_MAX];

        if (facts->document_r < 0)
                report_error(report, check, NULL, &facts->document_error,
                             facts->document_error.failure == FAILURE_NOT_NITRO
                                             ? "Use an instance type with NitroTPM, and an AMI registered with '--tpm-support v2.0'. The T family does not attest."
                                             : NULL);
        else
                ok(report, check, NULL, "The TPM made an attestation document in %s. It was held for %s.",
                   format_duration(facts->document_usec, took), format_duration(facts->held_usec, held));
}

void check_tpm(Report *report, const TpmFacts *facts) {
        static const char check[] = "tpm";

        if (facts->r < 0) {
                if (facts->r == -EACCES && !facts->root)
                        skipped(report, check, NULL, NEEDS_ROOT ": this user may not open the TPM.");
                else if (facts->r == -EBUSY && strncmp(facts->holder, "unseald ", strlen("unseald ")) == 0)
                        skipped(report, check, NULL, "unseald is using the TPM right now. Try again.");
                else
                        report_error(report, check, NULL, &facts->error,
                                     facts->r == -EBUSY && facts->holder[0] ? facts->holder : NULL);
                skipped(report, "nitrotpm", NULL, "The TPM cannot be asked.");
                return;
        }
        if (facts->pcrs_r < 0)
                report_error(report, check, NULL, &facts->pcrs_error, NULL);
        else
                ok(report, check, NULL, "The TPM answers, and its SHA-384 bank is active.");
        check_lockout(report, &facts->state);
        check_leftovers(report, facts);
        check_document(report, facts);
}

static bool is_zero(const PcrSet *set, unsigned pcr) {
        static const uint8_t zeros[PCR_SIZE];

        return memcmp(set->value[pcr], zeros, PCR_SIZE) == 0;
}

static char *hex_of(const PcrSet *set, unsigned pcr) {
        char *hex;

        if (hex_encode(set->value[pcr], PCR_SIZE, &hex) < 0)
                exit(failure("Out of memory."));
        return hex;
}

static void check_expected_pcr(Report *report, const PcrSet *measured, const PcrSet *expected, unsigned pcr,
                               const char *source, bool demanded) {
        static const char check[] = "pcrs";
        static const char cure[] =
                        "Boot the image that was measured, or give the measurements of this one. Until then KMS denies access, if the key's policy has the expected value.";
        _cleanup_free_ char *is = hex_of(measured, pcr), *wanted = hex_of(expected, pcr);
        char name[16];

        (void) snprintf(name, sizeof(name), "PCR%u", pcr);
        if (memcmp(measured->value[pcr], expected->value[pcr], PCR_SIZE) == 0)
                ok(report, check, name, "As expected by %s (%s).", source, pcr_covers(pcr));
        else if (demanded)
                fail(report, check, name, FAILURE_DENIED, cure,
                     "DIFFERS from %s (%s): measured %s, expected %s.", source, pcr_covers(pcr), is, wanted);
        else
                warn(report, check, name, cure, "DIFFERS from %s (%s): measured %s, expected %s.", source,
                     pcr_covers(pcr), is, wanted);
}

/* An expectation leaves out PCR2 and PCR13 only if an option allows any value. */
static void report_any(Report *report, const PcrSet *measured, unsigned pcr) {
        _cleanup_free_ char *is = hex_of(measured, pcr);
        char name[16];

        (void) snprintf(name, sizeof(name), "PCR%u", pcr);
        note(report, "pcrs", name, "%s (%s). Any value is accepted.",
             is_zero(measured, pcr) ? "All zeros" : is, pcr_covers(pcr));
}

static void check_pcr_alone(Report *report, const PcrSet *measured, unsigned pcr) {
        static const char check[] = "pcrs";
        _cleanup_free_ char *is = hex_of(measured, pcr);
        char name[16];

        (void) snprintf(name, sizeof(name), "PCR%u", pcr);
        if (pcr == 4 && is_zero(measured, pcr))
                warn(report, check, name,
                     "Register the AMI with '--boot-mode uefi --tpm-support v2.0' and boot a unified kernel image.",
                     "All zeros: firmware has measured no boot code (%s).", pcr_covers(pcr));
        else if ((pcr == 12 || pcr == 13) && !is_zero(measured, pcr))
                warn(report, check, name,
                     "If nothing was meant to be passed to the image, somebody else has passed it. A key's policy should demand zeros.",
                     "Not zeros (%s): %s.", pcr_covers(pcr), is);
        else if (pcr == 2 && pcr_shows_drivers(measured))
                warn(report, check, name,
                     "Find out which driver it is: an option ROM, or a driver of the instance's owner. A key's policy denies it unless it was made with --allow-drivers.",
                     "Not that of firmware without third-party drivers (%s): %s.", pcr_covers(pcr), is);
        else
                note(report, check, name, "%s (%s). There is nothing to compare it with.",
                     is_zero(measured, pcr) ? "All zeros" : is, pcr_covers(pcr));
}

static void report_measured_pcr(Report *report, const PcrSet *measured, unsigned pcr) {
        _cleanup_free_ char *is = hex_of(measured, pcr);
        char name[16];

        (void) snprintf(name, sizeof(name), "PCR%u", pcr);
        note(report, "pcrs", name,
             "%s (MeasurePcr=%u). \"unsealctl verify --event-log=\" says whether it is that of the expected sealed secrets.",
             is_zero(measured, pcr) ? "All zeros: no secret was measured in this boot" : is, pcr);
}

void check_pcrs(Report *report, const PcrSet *measured, const ExpectedFacts *expected, unsigned lock_pcr,
                uint32_t measure_pcrs) {
        static const uint32_t always = UINT32_C(1) << 2 | UINT32_C(1) << 4 | UINT32_C(1) << 7 |
                                       UINT32_C(1) << 12 | UINT32_C(1) << 13;
        ExpectationVerdict verdict = expectation_judge(expected->alternatives, expected->n, measured);
        const PcrSet *nearest = &expected->alternatives[verdict.index].pcrs;
        uint32_t known = expected->n > 0 ? nearest->present : 0;

        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
                uint32_t bit = UINT32_C(1) << pcr;

                if (!(measured->present & bit) || pcr == lock_pcr)
                        continue;
                if (measure_pcrs & bit)
                        report_measured_pcr(report, measured, pcr);
                else if (known & bit)
                        check_expected_pcr(report, measured, nearest, pcr, expected->sources[verdict.index],
                                           expected->demanded);
                else if (expected->n > 0 && (pcr == 2 || pcr == 13))
                        report_any(report, measured, pcr);
                else if (always & bit)
                        check_pcr_alone(report, measured, pcr);
        }
}

bool check_lock_pcr(Report *report, const PcrSet *measured, unsigned pcr) {
        static const char check[] = "lock-pcr";
        char name[16];

        if (pcr == 0 || !(measured->present & UINT32_C(1) << pcr))
                return false;
        (void) snprintf(name, sizeof(name), "PCR%u", pcr);
        if (pcr_is_locked(measured->value[pcr], NULL)) {
                ok(report, check, name, "Locked once, until the next boot.");
                return true;
        }
        if (is_zero(measured, pcr))
                ok(report, check, name, "Not locked yet: all zeros.");
        else
                warn(report, check, name,
                     "Find the program that extends it, or choose another PCR for LockPcr=. If the key's policy pins it, reboot.",
                     "Neither zeros nor locked once: another program has extended it.");
        return false;
}

void check_imds(Report *report, const ImdsFacts *facts) {
        static const char check[] = "imds";
        char took[DURATION_STRING_MAX];

        if (facts->r < 0)
                report_error(report, check, NULL, &facts->error,
                             facts->no_ipv4 ? "In a subnet with IPv6 alone, IMDS answers only at [fd00:ec2::254], and only if that is enabled: 'aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-protocol-ipv6 enabled'."
                             : facts->contained
                                             ? "Run doctor on the machine itself. This is a container or another network namespace, which counts as a hop, and HttpPutResponseHopLimit is 1 or 2 by default ('aws ec2 modify-instance-metadata-options --http-put-response-hop-limit')."
                                             : "Check the route to 169.254.169.254, firewalls, and whether IMDS is enabled (HttpEndpoint, 'aws ec2 describe-instances').");
        else if (facts->status == 403)
                fail(report, check, NULL, FAILURE_IMDS,
                     "Turn it on with 'aws ec2 modify-instance-metadata-options --http-endpoint enabled'.",
                     "It is turned off for this instance (HTTP status 403).");
        else if (facts->status == 200)
                note(report, check, NULL,
                     "Answers in %s, without a token, too (IMDSv1). unseald uses version 2. '--http-tokens required' turns version 1 off.",
                     format_duration(facts->duration_usec, took));
        else if (facts->status == 401)
                ok(report, check, NULL,
                   "Answers in %s, and demands a token (IMDSv2). The hop limit is not visible from inside.",
                   format_duration(facts->duration_usec, took));
        else
                fail(report, check, NULL, FAILURE_IMDS, "Check which program answers at 169.254.169.254.",
                     "Answers with HTTP status %u.", facts->status);
}

/* Copies a string of the document. A string that does not fit counts as missing. */
static void take_string(struct json_object *object, const char *name, char *ret, size_t size) {
        const char *value = json_member_string(object, name);

        ret[0] = '\0';
        if (value && strlen(value) < size)
                (void) stpcpy(ret, value);
}

int instance_facts_parse(const char *text, size_t size, InstanceFacts *ret) {
        _cleanup_json_ struct json_object *document = NULL;
        InstanceFacts facts;
        int r = json_parse(text, size, &document);

        if (r < 0)
                return r;
        take_string(document, "instanceType", facts.type, sizeof(facts.type));
        take_string(document, "region", facts.region, sizeof(facts.region));
        take_string(document, "accountId", facts.account, sizeof(facts.account));
        take_string(document, "imageId", facts.image, sizeof(facts.image));
        take_string(document, "instanceId", facts.id, sizeof(facts.id));
        if (!facts.type[0] || !facts.region[0])
                return -EBADMSG;
        *ret = facts;
        return 0;
}

/* These families have NitroTPM but no attestation (EC2 User Guide, "Attestable AMIs", requirements). */
static bool type_attests(const char *type) {
        static const char *const none[] = { "t2.", "t3.", "t3a.", "t4g." };

        for (size_t i = 0; i < ELEMENTSOF(none); i++)
                if (strncmp(type, none[i], strlen(none[i])) == 0)
                        return false;
        return true;
}

void check_instance(Report *report, const InstanceFacts *facts) {
        static const char check[] = "instance";

        if (!type_attests(facts->type))
                fail(report, check, facts->id, FAILURE_NOT_NITRO,
                     "Use another family, such as M, C or R of generation 6 or later.",
                     "Instances of type %s do not attest, like all of the T family.", facts->type);
        else
                ok(report, check, facts->id, "Type %s, image %s, Region %s, account %s.", facts->type,
                   facts->image, facts->region, facts->account);
}

void check_role(Report *report, const char *role, int64_t expiration, int64_t now) {
        static const char check[] = "role";
        char end[TIME_STRING_MAX];

        if (expiration != 0 && expiration <= now)
                fail(report, check, role, FAILURE_ROLE,
                     "Attach the instance profile again. EC2 renews credentials by itself, unless the role or the profile was deleted or made anew.",
                     "Its credentials have expired: %s.", format_time(expiration, end));
        else if (expiration != 0)
                ok(report, check, role, "Credentials until %s.", format_time(expiration, end));
        else
                ok(report, check, role, "Credentials without an end.");
}

void check_clock(Report *report, const char *whose, const ClockFacts *facts) {
        static const char check[] = "clock";
        static const char cure[] =
                        "Use chrony with the Amazon Time Sync Service (169.254.169.123, over IPv6 fd00:ec2::123). To set the clock once, use 'timedatectl'.";
        uint64_t off = facts->skew < 0 ? UINT64_C(0) - (uint64_t) facts->skew : (uint64_t) facts->skew;
        const char *direction = facts->skew < 0 ? "ahead of" : "behind";
        char by[DURATION_STRING_MAX];

        if (!facts->known)
                return;
        (void) format_duration((off < 1000000000 ? off : 1000000000) * USEC_PER_SEC, by);
        if (off > CLOCK_SKEW_MAX)
                fail(report, check, whose, FAILURE_CLOCK, cure,
                     "This machine is %s %s it. AWS accepts signatures within 5 minutes. unseald signs with KMS's time, but certificates and other programs fail.",
                     by, direction);
        else if (off > CLOCK_SKEW_ODD)
                warn(report, check, whose, cure,
                     "This machine is %s %s it. AWS accepts signatures within 5 minutes.", by, direction);
        else
                ok(report, check, whose, "Within %i s of it.", CLOCK_SKEW_ODD);
}

bool address_is_private(const char *address) {
        struct in6_addr v6;
        struct in_addr v4;

        if (inet_pton(AF_INET, address, &v4) == 1) {
                uint32_t ip = ntohl(v4.s_addr);

                return ip >> 24 == 10 || ip >> 20 == 0xac1 || ip >> 16 == 0xc0a8 ||
                       ip >> 22 == 0x191; /* and 100.64.0.0/10 */
        }
        return inet_pton(AF_INET6, address, &v6) == 1 && (v6.s6_addr[0] & 0xfe) == 0xfc;
}

void check_names(Report *report, const NamesFacts *facts) {
        static const char check[] = "dns";
        size_t n_private = 0;

        for (size_t i = 0; i < facts->n_addresses; i++)
                n_private += address_is_private(facts->addresses[i]);

        if (facts->error == EAI_SYSTEM || facts->error == EAI_AGAIN)
                fail(report, check, facts->host, FAILURE_NETWORK,
                     "Does the machine have the right name server, and a route to it? In a VPC with enableDnsSupport it is 169.254.169.253, fd00:ec2::253, and the VPC's base address plus two.",
                     "Its address cannot be looked up: no name server answers.");
        else if (facts->error != 0 || facts->n_addresses == 0)
                fail(report, check, facts->host, FAILURE_NETWORK,
                     "Check KmsEndpoint= and the Region in KeyId=. If the name is that of a VPC endpoint, check that it has private DNS names.",
                     "Its address cannot be looked up: %s.",
                     facts->error != 0 ? gai_strerror(facts->error) : "it has none");
        else if (facts->unrouted)
                fail(report, check, facts->host, FAILURE_NETWORK,
                     "In a subnet with IPv6 alone, set DualStack=yes: AWS's ordinary endpoints have only IPv4. Otherwise check the machine's addresses and routes ('ip -4 route', 'ip -6 route').",
                     "This machine has no route to %s%s.", facts->addresses[0],
                     facts->n_addresses > 1 ? ", nor to its other addresses" : "");
        else if (n_private == facts->n_addresses)
                ok(report, check, facts->host,
                   "%s, which is private: a VPC endpoint, or an entry of your own.", facts->addresses[0]);
        else
                ok(report, check, facts->host, "%s%s.", facts->addresses[0],
                   facts->n_addresses > 1 ? " and others" : "");
}

void check_tls(Report *report, const TlsFacts *facts) {
        static const char check[] = "tls";
        char took[DURATION_STRING_MAX], end[TIME_STRING_MAX];

        if (facts->r < 0)
                report_error(report, check, facts->host, &facts->error,
                             facts->error.failure == FAILURE_NETWORK
                                             ? "Is there a way out: a NAT gateway, a VPC endpoint of KMS and its security group (port 443), Proxy=?"
                                             : NULL);
        else if (facts->certificate_end >= 0 && facts->certificate_end - facts->now < CERTIFICATE_SOON)
                warn(report, check, facts->host, "Where this endpoint is your own, renew its certificate.",
                     "Trusted, but its certificate ends soon: %s.",
                     format_time(facts->certificate_end, end));
        else if (facts->certificate_end >= 0)
                ok(report, check, facts->host, "Trusted until %s; connected in %s.",
                   format_time(facts->certificate_end, end), format_duration(facts->duration_usec, took));
        else
                ok(report, check, facts->host, "Trusted; connected in %s.",
                   format_duration(facts->duration_usec, took));
}

void check_replica(Report *report, const char *host, const TlsFacts *facts) {
        static const char check[] = "replica";

        if (facts && facts->r >= 0)
                ok(report, check, host, "Trusted. unseald asks here if the first Region does not answer.");
        else
                warn(report, check, host,
                     "A VPC endpoint leads to its own Region alone. Give the subnet another way to this Region, or remove the key in it from KeyId=.",
                     "If the first Region does not answer, this one cannot help: %s",
                     facts ? facts->error.text : "It does not answer in time.");
}

static void check_with_document(Report *report, const char *secret, bool optional, bool locked,
                                const DryRun *run) {
        static const char check[] = "key";

        if (!run->asked)
                skipped(report, check, secret, "%s", run->why_not);
        else if (run->allowed)
                ok(report, check, secret, "KMS would %s it for the document of this boot.",
                   run->generates ? "make" : "decrypt");
        else if (locked && run->error.failure == FAILURE_DENIED)
                note(report, check, secret,
                     "KMS denies it, as it should after LockPcr=: what it would have said before cannot be told until the next boot.");
        else if (optional)
                warn(report, check, secret, NULL, "It is optional, and will stay sealed. %s",
                     run->error.text);
        else
                report_error(report, check, secret, &run->error,
                             run->error.failure == FAILURE_DENIED
                                             ? "Compare the PCRs above with the key's policy ('unsealctl policy lint --measurements='), and the role with its principals."
                                             : NULL);
}

static void check_without_document(Report *report, const char *secret, const DryRun *run) {
        static const char check[] = "key-policy";

        if (!run->asked)
                skipped(report, check, secret, "%s", run->why_not);
        else if (run->allowed && run->generates)
                fail(report, check, secret, FAILURE_POLICY,
                     "Put a policy that gates: 'unsealctl policy --generate-data-key=NAME'; 'unsealctl policy lint' says where this one is open.",
                     "KMS would make data keys with the encryption context of this secret, without any document, for anyone who has the instance's role.");
        else if (run->allowed)
                fail(report, check, secret, FAILURE_POLICY,
                     "Put a policy that gates: 'unsealctl policy'; 'unsealctl policy lint' says where this one is open. Seal the secret anew: it may have been read.",
                     "The key's policy gives the secret to anyone who has the instance's role: KMS would decrypt it without any document.");
        else if (run->error.failure == FAILURE_DENIED)
                ok(report, check, secret, "Without a document KMS denies it.");
        else
                skipped(report, check, secret, "Whether the key's policy gates cannot be told: %s",
                        run->error.text);
}

void check_key(Report *report, const char *secret, bool optional, bool locked, const DryRun *with_document,
               const DryRun *without_document) {
        check_with_document(report, secret, optional, locked, with_document);
        check_without_document(report, secret, without_document);
}

/* The first boot of a new volume, which no boot of this one shows. A volume that exists opens without it. */
static void check_new_with_document(Report *report, const char *secret, bool locked, const DryRun *run) {
        static const char check[] = "new-key";

        if (!run->asked)
                skipped(report, check, secret, "%s", run->why_not);
        else if (run->allowed)
                ok(report, check, secret,
                   "KMS would make the key of a new volume for the document of this boot.");
        else if (locked && run->error.failure == FAILURE_DENIED)
                note(report, check, secret,
                     "KMS denies the key of a new volume, as it should after LockPcr=: what it would have said before cannot be told until the next boot.");
        else
                warn(report, check, secret,
                     "Put a policy that allows it: 'unsealctl policy --bind-account --generate-data-key=NAME'. If no new state may begin: Initialize=never.",
                     "The volume that is attached opens, but a new one cannot begin: KMS would not make its key for the document of this boot. %s",
                     run->error.text);
}

void check_new_key(Report *report, const char *secret, bool locked, const DryRun *with_document,
                   const DryRun *without_document) {
        if (with_document)
                check_new_with_document(report, secret, locked, with_document);
        if (without_document->allowed)
                check_without_document(report, secret, without_document);
}

void check_store(Report *report, const StoreFacts *facts) {
        static const char check[] = "store";

        if (facts->r == -ENOENT || (facts->r == -EMEDIUMTYPE && facts->mounts == 0))
                warn(report, check, facts->path,
                     "Start unseald, which mounts it. If unseald runs, see 'systemctl status run-unseald-credentials.mount'.",
                     "Nothing is mounted there.");
        else if (facts->r == -EACCES && !facts->root)
                skipped(report, check, facts->path, NEEDS_ROOT ".");
        else if (facts->r < 0)
                report_error(report, check, facts->path, &facts->error,
                             facts->mounts > 1
                                             ? "Unmount the file system over it, or find the unit or line of fstab that mounts it."
                                             : NULL);
        else if (facts->mounts > 1)
                warn(report, check, facts->path,
                     "Find the unit or line of fstab that mounts there, and unmount it.",
                     "It is memory, but %u file systems are mounted there, one over the other.",
                     facts->mounts);
        else if (facts->uid != 0 && !(facts->has_user && facts->uid == facts->user))
                fail(report, check, facts->path, FAILURE_STORE,
                     "Run 'systemctl restart unseald', which sets its owner.",
                     "It belongs to user %u, who could replace the secrets of applications.",
                     (unsigned) facts->uid);
        else if (facts->mode & (S_IWGRP | S_IWOTH))
                fail(report, check, facts->path, FAILURE_STORE,
                     "Run 'systemctl restart unseald', which sets its mode.",
                     "Other users than its owner may write to it (mode %04o).",
                     (unsigned) facts->mode & 07777);
        else
                ok(report, check, facts->path, "It is memory that is never swapped.");
}

/* /proc/swaps has a line of headings and then a line for each area (proc(5)). An area on a compressed RAM disk is memory. */
bool kernel_may_have(const char *module, const char *builtin, const char *dependencies) {
        char file[64];

        (void) snprintf(file, sizeof(file), "/%s.ko", module);
        return !builtin || !dependencies || strstr(builtin, file) || strstr(dependencies, file);
}

void check_volume(Report *report, const VolumeFacts *facts) {
        static const char check[] = "volume";

        if (facts->missing_modules)
                fail(report, check, facts->name, FAILURE_INTERNAL,
                     "Build the image with these modules of its kernel.",
                     "The kernel has no %s, so the volume cannot be opened.", facts->missing_modules);
        else if (facts->open && facts->unverified)
                note(report, check, facts->name,
                     "It is open as /dev/mapper/unseald-%s, and not verified (Integrity=no): whoever writes its device can change the data, and nobody notices.",
                     facts->name);
        else if (facts->open)
                ok(report, check, facts->name, "It is open as /dev/mapper/unseald-%s.", facts->name);
        else if (!facts->root)
                skipped(report, check, facts->name, "Only root can look for its device.");
        else if (facts->device.failure != FAILURE_NONE)
                report_error(report, check, facts->name, &facts->device, NULL);
        else
                warn(report, check, facts->name,
                     "See why in the journal: journalctl -u 'unseald-volume@*'. Wrong key, wrong volume, or unseald has not ended yet.",
                     "Its device is attached, and it is not open.");
}

void check_swap(Report *report, const char *swaps) {
        static const char check[] = "swap";
        const char *line = swaps ? strchr(swaps, '\n') : NULL;
        unsigned disks = 0, memory = 0;
        char first[128] = "";

        while (line && line[1]) {
                line++;
                if (strncmp(line, "/dev/zram", strlen("/dev/zram")) == 0)
                        memory++;
                else if (disks++ == 0)
                        (void) snprintf(first, sizeof(first), "%.*s", (int) strcspn(line, " \t\n"), line);
                line = strchr(line, '\n');
        }

        if (!swaps)
                skipped(report, check, NULL, "/proc/swaps cannot be read.");
        else if (disks > 0)
                warn(report, check, first,
                     "Turn swap off, or encrypt it with a new key for each boot (crypttab(5), 'swap' with /dev/urandom).",
                     "Swap is in use. unseald and the store are locked in memory. Applications that have read a secret are not.");
        else if (memory > 0)
                ok(report, check, NULL, "Swap is only in memory (zram).");
        else
                ok(report, check, NULL, "There is no swap.");
}

void check_hibernation(Report *report, const char *power_state, const char *resume_device) {
        static const char check[] = "hibernation";

        if (!power_state)
                note(report, check, NULL, "The kernel does not say which sleep states it has.");
        else if (!strstr(power_state, "disk"))
                ok(report, check, NULL, "The kernel cannot hibernate.");
        else if (!resume_device || strncmp(resume_device, "0:0", 3) == 0)
                ok(report, check, NULL, "No device to resume from is set.");
        else
                warn(report, check, NULL,
                     "Mask hibernate.target, launch without '--hibernation-options Configured=true', and remove 'resume=' from the kernel command line.",
                     "The machine can hibernate. That writes all memory to a disk, with the secrets.");
}

void check_core_dumps(Report *report, const char *core_pattern) {
        static const char check[] = "core-dumps";

        if (!core_pattern)
                skipped(report, check, NULL, "/proc/sys/kernel/core_pattern cannot be read.");
        else if (core_pattern[0] == '\0' || core_pattern[0] == '\n' ||
                 strncmp(core_pattern, "|/bin/false", strlen("|/bin/false")) == 0)
                ok(report, check, NULL, "The kernel writes no core dumps.");
        else
                note(report, check, NULL,
                     "Core dumps of applications (%.*s) have their secrets in them. Set LimitCORE=0 in their units. unseald leaves no core dump.",
                     (int) strcspn(core_pattern, " \n"), core_pattern);
}

void check_consumers(Report *report, const Remarks *remarks, size_t loaded) {
        static const char check[] = "consumers";
        bool wrong = false;

        for (size_t i = 0; i < remarks->count; i++) {
                const Remark *remark = remarks->items + i;
                /* The unit works until the secret is missing. */
                bool is_fallback = remark->id && strcmp(remark->id, "credential-fallback") == 0;
                /* A person, or "systemd.unit=" of the kernel command line, may start the unit. And doctor may run where only
                 * the tool is: in a container, or from a directory. */
                bool is_advice = remark->advice ||
                                 (remark->id && strcmp(remark->id, "unit-not-enabled") == 0) ||
                                 (remark->id && strcmp(remark->id, "not-installed") == 0 && loaded == 0);

                if (is_advice)
                        note(report, check, remark->unit, "%s", remark->text);
                else if (!remark->mistake || is_fallback)
                        warn(report, check, remark->unit, NULL, "%s", remark->text);
                else
                        fail(report, check, remark->unit, FAILURE_CONFIGURATION, NULL, "%s", remark->text);
                wrong |= !is_advice;
        }
        if (wrong)
                return;
        if (loaded == 0)
                note(report, check, NULL, "No unit loads a credential from unseald.");
        else
                ok(report, check, NULL, "Units load %zu credential(s), and all are declared.", loaded);
}

void check_socket(Report *report, const SocketFacts *facts) {
        static const char check[] = "socket";
        static const char start[] =
                        "If unseald has failed for good, it has shut the socket: remove that cause. Otherwise run 'systemctl enable --now unseald.socket'.";

        if (facts->r == -ENOENT && !facts->wanted)
                note(report, check, facts->path, "There is no socket, and no unit loads from it.");
        else if (facts->r == -ENOENT)
                fail(report, check, facts->path, FAILURE_CONFIGURATION, start,
                     "There is no socket, and units load from it.");
        else if (facts->r < 0)
                skipped(report, check, facts->path, "It cannot be read: %s.", strerror(-facts->r));
        else if (!S_ISSOCK(facts->mode))
                fail(report, check, facts->path, FAILURE_CONFIGURATION,
                     "Remove it, and restart unseald.socket.", "It is not a socket.");
        else if ((facts->uid != 0 && !(facts->has_user && facts->uid == facts->user)) ||
                 facts->mode & (S_IWGRP | S_IWOTH))
                warn(report, check, facts->path,
                     "Set SocketMode=0600 in unseald.socket. The service manager connects as root.",
                     "Other users than root and unseald may connect (user %u, mode %04o). unseald refuses them, but they can fill the queue.",
                     (unsigned) facts->uid, (unsigned) facts->mode & 07777);
        else if (!facts->listening)
                fail(report, check, facts->path, FAILURE_CONFIGURATION, start,
                     "No program listens, so units that load from it fail.");
        else
                ok(report, check, facts->path, "It listens for the service manager only.");
}

void check_kms_endpoint(Report *report, const Settings *settings, const Declarations *declarations,
                        bool listening) {
        static const char check[] = "kms-endpoint", place[] = "unseald-kms.socket";
        Error error = {};

        if (!settings->kms_keys)
                return;
        if (declarations_judge_kms(declarations, settings, &error) < 0)
                fail(report, check, place, FAILURE_CONFIGURATION,
                     "'unsealctl check' names the line. unseald-kms does not start until it is corrected.",
                     "%s", error.text);
        else if (!settings->kms_units)
                warn(report, check, place, "Name the units of the applications in Units= of [Kms].",
                     "Units= of [Kms] names no unit, so unseald-kms refuses everybody.");
        else if (!listening)
                warn(report, check, place, "Run 'systemctl enable --now unseald-kms.socket'.",
                     "Nothing listens on 127.0.0.1:8643, so applications cannot use the keys of [Kms].");
        else
                ok(report, check, place, "It listens for %zu unit(s), which may use %zu key(s).",
                   strings_count(settings->kms_units), strings_count(settings->kms_keys));
}

void check_documents(Report *report, const Settings *settings, bool listening) {
        static const char check[] = "documents", place[] = "unseald-documents.socket";

        if (!settings->documents_units)
                return;
        if (!listening)
                warn(report, check, place, "Run 'systemctl enable --now unseald-documents.socket'.",
                     "Nothing listens on 127.0.0.1:8644, so applications get no documents.");
        else
                ok(report, check, place, "It listens for %zu unit(s).",
                   strings_count(settings->documents_units));
}

/* Returns the failure with that exit status, or FAILURE_NONE. */
static Failure failure_of_status(const char *text) {
        long status = strtol(text, NULL, 10);

        for (Failure known = FAILURE_INTERNAL; known <= FAILURE_CONFIGURATION; known++)
                if ((long) known == status && strcmp(failure_to_string(known), "unknown") != 0)
                        return known;
        return FAILURE_NONE;
}

/* Before 252.4, systemd aborts the process that loads a unit's credential from a socket (systemd issue 25719). A version without a
 * second number says nothing of the fix: distributions build 252 with and without it. */
void check_manager(Report *report, const char *version) {
        static const char check
                        [] = "systemd",
                   cure[] = "Update systemd to 252.4 or later. Until then, let units load files of the store.";
        unsigned major, minor;
        int n = version ? sscanf(version, "%u.%u", &major, &minor) : 0;

        if (n < 1)
                skipped(report, check, NULL, "Its version is not known.");
        else if (major < 252 || (major == 252 && n == 2 && minor < 4))
                fail(report, check, NULL, FAILURE_INTERNAL, cure,
                     "Version %.64s is too old: units that load a credential from unseald's socket fail (\"Protocol error\").",
                     version);
        else if (major == 252 && n == 1)
                warn(report, check, NULL, cure,
                     "Version %.64s may be too old: before 252.4, units that load a credential from unseald's socket fail.",
                     version);
        else
                ok(report, check, NULL, "Version %.64s.", version);
}

void check_service(Report *report, const char *properties) {
        static const char check[] = "service", unit[] = "unseald.service";
        char load[32], active[32], file[32], result[32], status[16];

        if (!properties) {
                skipped(report, check, unit, "The service manager cannot be asked.");
                return;
        }
        (void) unit_property(properties, "LoadState", load, sizeof(load));
        (void) unit_property(properties, "ActiveState", active, sizeof(active));
        (void) unit_property(properties, "UnitFileState", file, sizeof(file));
        (void) unit_property(properties, "Result", result, sizeof(result));
        (void) unit_property(properties, "ExecMainStatus", status, sizeof(status));

        if (strcmp(load, "loaded") != 0)
                fail(report, check, unit, FAILURE_CONFIGURATION,
                     "Install the units of unseald, or unmask them.", "The unit is not there (%s).",
                     load[0] ? load : "unknown");
        else if (strcmp(active, "active") == 0 && strcmp(file, "disabled") == 0)
                warn(report, check, unit, "'systemctl enable unseald.service'.",
                     "Running, but not enabled. The next boot may not start it.");
        else if (strcmp(active, "active") == 0)
                ok(report, check, unit, "Running%s%s.", file[0] ? ", " : "", file);
        else if (strcmp(active, "activating") == 0 || strcmp(active, "reloading") == 0)
                warn(report, check, unit, "See 'systemctl status unseald' for what it waits for.",
                     "Not done yet%s%s.", failure_of_status(status) ? "; its last attempt ended with: " : "",
                     failure_of_status(status) ? failure_to_string(failure_of_status(status)) : "");
        else if (strcmp(active, "failed") == 0)
                fail(report, check, unit, failure_of_status(status) ?: FAILURE_INTERNAL,
                     "See 'journalctl -xu unseald'. After you have removed the cause, run 'systemctl restart unseald'.",
                     "Failed (%s, status %s%s%s).", result, status, failure_of_status(status) ? ": " : "",
                     failure_of_status(status) ? failure_to_string(failure_of_status(status)) : "");
        else
                warn(report, check, unit, "'systemctl enable --now unseald.service'.",
                     "Not running (%s%s%s).", active, file[0] ? ", " : "", file);
}

/* said: the error of the whole, which stands above and is not repeated; NULL: none. */
static void check_status_of(Report *report, struct json_object *object, const char *subject,
                            const char *failed, const char *said) {
        static const char check[] = "status";
        const char *state = json_member_string(object, "state") ?: "unknown";
        const char *error = json_member_string(object, "error");
        const char *name = json_member_string(object, "failure");
        struct json_object *waiting = json_member(object, "waiting");
        const char *cause = json_member_string(waiting, "error");
        const Error failure = { .failure = name ? failure_from_string(name) : FAILURE_INTERNAL };

        if (waiting)
                warn(report, check, subject, NULL, "%s; waits for %s%s%s", state,
                     json_member_string(waiting, "for") ?: "something", cause ? ": " : ".", cause ?: "");
        else if (strcmp(state, "stopped") == 0)
                note(report, check, subject, "unseald was stopped.");
        else if (strcmp(state, failed) == 0)
                fail(report, check, subject, failure.failure, NULL, "%s: %s", state,
                     said && error && strstr(said, error) ? "for the reason above."
                                                          : error ?: "unseald did not say why.");
        else if (error)
                warn(report, check, subject, NULL, "%s; its last error (%s): %s", state, name ?: "unknown",
                     error);
        else
                ok(report, check, subject, "%s.", state);
}

void check_signature(Report *report, const char *secret, uint64_t version, const char *key, KeyPlace place) {
        static const char check[] = "signature", cure[] = "Put it on the measured root file system.";

        switch (place) {
        case KEY_READ_ONLY:
                ok(report, check, secret, "Version %" PRIu64 ", signed by the key %s.", version, key);
                break;
        case KEY_IN_IMAGE:
                ok(report, check, secret,
                   "Version %" PRIu64
                   ", signed by the key %s. The root file system keeps changes in memory, so root can replace the key, until the next boot.",
                   version, key);
                break;
        case KEY_CHANGED:
                warn(report, check, secret,
                     "Find out what writes it. Put the key of the vendor into the image instead.",
                     "Version %" PRIu64
                     " is signed, but the public key %s was written in this boot: it is not the one of the image.",
                     version, key);
                break;
        case KEY_WRITABLE:
                warn(report, check, secret, cure,
                     "Version %" PRIu64
                     " is signed, but the public key %s lies on a file system that can be written: anyone who replaces it can sign.",
                     version, key);
                break;
        }
}

int mount_option(const char *options, const char *name, char **ret) {
        size_t length = strlen(name);
        const char *value = NULL;
        char *copy;

        for (const char *p = options; !value && *p; p += strcspn(p, ","), p += *p == ',')
                if (strncmp(p, name, length) == 0 && p[length] == '=')
                        value = p + length + 1;
        if (!value)
                return -ENOENT;
        copy = strndup(value, strcspn(value, ","));
        if (!copy)
                return -ENOMEM;
        if (strchr(copy, '\\')) {
                free(copy);
                return -EBADMSG;
        }
        *ret = copy;
        return 0;
}

static void check_refresh(Report *report, struct json_object *refresh) {
        static const char check[] = "refresh";
        const char *last = json_member_string(refresh, "last"),
                   *error = json_member_string(refresh, "error");

        if (!refresh)
                return;
        if (!last)
                note(report, check, NULL, "None has ended yet.");
        else if (strcmp(last, "failed") == 0)
                warn(report, check, NULL,
                     "unseald tries again at each interval, and the published secrets stay.",
                     "The last one failed: %s", error ?: "unseald did not say why.");
        else
                ok(report, check, NULL, "The last one %s.",
                   strcmp(last, "reloaded") == 0 ? "exchanged the secrets" : "found no change");
}

void check_status(Report *report, struct json_object *status) {
        struct json_object *secrets = status ? json_member(status, "secrets") : NULL;
        size_t count = json_object_is_type(secrets, json_type_array) ? json_object_array_length(secrets) : 0;

        if (!status) {
                note(report, "status", NULL, "There is no status file. \"unsealctl status\" says why.");
                return;
        }
        check_status_of(report, status, NULL, "failed", NULL);
        for (size_t i = 0; i < count; i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);

                check_status_of(report, secret, json_member_string(secret, "name"), "failed",
                                json_member_string(status, "error"));
        }
        check_refresh(report, json_member(status, "refresh"));
}
