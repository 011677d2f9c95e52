/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One function for each kind of mistake. A remark names the line to change. What the service manager, AWS or KMS would say is not
 * known here: a generator may make a unit, and a key may not exist.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aws/kms-key.h"
#include "aws/service.h"
#include "config/declared-members.h"
#include "config/nearest.h"
#include "unsealctl/check/consumers.h"
#include "unsealctl/check/finding.h"
#include "unsealctl/check/mistakes.h"
#include "unsealctl/check/unit-mistakes.h"
#include "vault/manifest.h"

typedef struct Check {
        const CheckFacts *facts;
        Remarks *remarks;
        int r;
} Check;

/* What to do about each finding, for --json. The text of a finding says it, too. */
static const struct {
        const char *id, *cure;
} cures[] = {
        { "certificates", "Put the certificates into the image, as a file in PEM." },
        { "key-region", "Correct the ARN of the key." },
        { "partition",
          "Choose what the partition has: DualStack=no, Fips=no, KmsEndpoint= or another Source=." },
        { "source-refused", "Put the right file where Source= says, or correct Format= and KeyId=." },
        { "source-shared", "Seal the secret for each name, and give each its own Source=." },
        { "source-unreadable", "Put the sealed secret where Source= says, or correct Source=." },
        { "source-unseen", "Move the file, for example to /usr/share." },
        { "key-unmeasured",
          "Move the public key to the measured root file system, for example below /usr/lib/unseald." },
        { "signature-refused",
          "Put ciphertext and signature in place again, or correct SignedBy= and MinVersion=." },
        { "unit-missing", "Correct the name in Units=, or add the unit to the image." },
        { "user-unknown", "Correct User=, or add the user to the image." },
        { "group-unknown", "Correct Group=, or add the group to the image." },
        { "store-too-small", "Raise StoreSizeMax= in unseald.conf." },
        { "too-many-secrets", "Join some of the secrets into a bundle (Format=bundle)." },
        { "kms-key", "Give the applications a key of their own, and name it in Keys= of [Kms]." },
        { "kms-locked", "Remove LockPcr=, or the section [Kms]." },
        { "kms-no-unit", "Name the units in Units= of [Kms]." },
        { "kms-network", "Remove the setting, or the unit from Units= of [Kms]." },
        { "documents-network", "Remove the setting, or the unit from Units= of [Documents]." },
        { "passed-over", "Rename the file, or remove it." },
        { "user-number", "Add a user of this number to the image." },
        { "nothing-declared", "Declare a secret in secrets.d/NAME.secret." },
};

static const char *cure_of(const char *id) {
        for (size_t i = 0; i < ELEMENTSOF(cures); i++)
                if (strcmp(cures[i].id, id) == 0)
                        return cures[i].cure;
        return NULL;
}

_printf_(5, 6) static void tell(Check *check, Severity severity, const char *id, const IniAssignment *line,
                                const char *format, ...) {
        Place place = { .file = line->file, .line = line->line, .key = line->key };
        char text[512];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        if (finding_add(check->remarks, severity, id, cure_of(id), &place, "%s", text) < 0)
                check->r = -ENOMEM;
}

/* Returns the last line of a list setting that contains the word. */
static const IniAssignment *line_with(const IniFile *ini, const char *section, const char *key,
                                      const char *word) {
        for (size_t i = ini->count; i > 0; i--) {
                const IniAssignment *line = &ini->assignments[i - 1];
                _cleanup_strings_ char **words = NULL;

                if (strcmp(line->section, section) != 0 || strcmp(line->key, key) != 0 ||
                    ini_words(line, &words, NULL) < 0)
                        continue;
                for (char **other = words; *other; other++)
                        if (strcmp(*other, word) == 0)
                                return line;
        }
        return ini_find(ini, section, key);
}

static void check_trust(Check *check) {
        const IniAssignment *line = ini_find(check->facts->settings_ini, "Unseald", "TrustedCertificates");

        if (line && check->facts->trust.failure != FAILURE_NONE)
                tell(check, SEVERITY_MISTAKE, "certificates", line,
                     "Expected a file with certificates, in PEM. %s", check->facts->trust.text);
}

/* All names of Regions have the form AREA-DIRECTION-NUMBER. */
static bool looks_like_region(const char *region) {
        static const char *const directions[] = { "north",     "south",     "east",
                                                  "west",      "central",   "northeast",
                                                  "northwest", "southeast", "southwest" };
        const char *number = strrchr(region, '-'), *direction = number;

        while (direction && direction > region && direction[-1] != '-')
                direction--;
        for (size_t i = 0; direction > region && i < ELEMENTSOF(directions); i++)
                if ((size_t) (number - direction) == strlen(directions[i]) &&
                    strncmp(direction, directions[i], strlen(directions[i])) == 0)
                        return number[1] != '\0' && strspn(number + 1, "0123456789") == strlen(number + 1);
        return false;
}

static void check_key(Check *check, const IniAssignment *line, const char *key_id) {
        const Settings *settings = check->facts->settings;
        const KmsEndpointOptions options = { .fips = settings->fips,
                                             .dual_stack = settings->dual_stack,
                                             .endpoint = settings->kms_endpoint };
        _cleanup_free_ char *endpoint = NULL;
        const char *partition;
        KmsKeyArn arn;
        int r;

        if (kms_key_arn_parse(key_id, &arn) < 0)
                return;
        partition = aws_partition_of(arn.region);
        r = kms_endpoint(&arn, &options, &endpoint);
        if (r == -ENOMEM)
                check->r = r;
        else if (r < 0)
                tell(check, SEVERITY_MISTAKE, "partition", line,
                     "No endpoint of the partition \"%s\" is known for DualStack=yes. Set DualStack=no, or KmsEndpoint= in its place.",
                     arn.partition);
        else if (!partition || strcmp(partition, arn.partition) != 0)
                tell(check, SEVERITY_MISTAKE, "key-region", line,
                     "Expected a Region of the partition \"%s\", not \"%s\", which has no endpoint.",
                     arn.partition, arn.region);
        else if (!looks_like_region(arn.region))
                tell(check, SEVERITY_WARNING, "key-region", line,
                     "No Region has a name like \"%s\". Expected one such as eu-north-1.", arn.region);
}

static bool is_same(const char *one, const char *other) {
        return one && other ? strcmp(one, other) == 0 : one == other;
}

/* A secret that was sealed for one name does not open under another, so two secrets with one source are a mistake. */
static void check_shared_source(Check *check, size_t at, const IniAssignment *line) {
        const Declaration *items = check->facts->declarations->items;
        const Source *source = &items[at].source;

        for (size_t i = 0; i < at; i++)
                if (items[i].source.location && items[i].source.kind == source->kind &&
                    is_same(items[i].source.location, source->location) &&
                    is_same(items[i].source.bucket, source->bucket) &&
                    is_same(items[i].source.member, source->member) &&
                    is_same(items[i].source.version, source->version) &&
                    is_same(items[i].source_region, items[at].source_region)) {
                        tell(check, SEVERITY_MISTAKE, "source-shared", line,
                             "Expected another source than %s has: a sealed secret opens only under one name.",
                             items[i].file);
                        return;
                }
}

/* AWS's endpoint rules have a FIPS endpoint of S3 for each partition but this one. The partition is that of the first key. */
static void check_fips(Check *check, const Declaration *declaration, const IniAssignment *line) {
        KmsKeyArn arn;

        if (!check->facts->settings->fips || declaration->source.kind != SOURCE_S3 ||
            !declaration->key_ids || kms_key_arn_parse(declaration->key_ids[0], &arn) < 0 ||
            strcmp(arn.partition, "aws-cn") != 0)
                return;
        tell(check, SEVERITY_MISTAKE, "partition", line,
             "S3 has no FIPS endpoint in the partition \"aws-cn\". Set Fips=no, or take another Source=.");
}

static void check_source(Check *check, size_t at) {
        static const char *const unseen[] = { "/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/" };
        const Declaration *declaration = &check->facts->declarations->items[at];
        const SecretFacts *secret = &check->facts->secrets[at];
        const IniAssignment *line = ini_find(secret->ini, "Secret", "Source");
        const char *path = declaration->source.location;

        if (!path)
                return; /* the parser has reported it */
        check_shared_source(check, at, line);
        check_fips(check, declaration, line);
        if (secret->source.failure != FAILURE_NONE)
                tell(check, declaration->optional ? SEVERITY_WARNING : SEVERITY_MISTAKE, "source-unreadable",
                     line, "%s", secret->source.text);
        if (secret->sealed.failure != FAILURE_NONE)
                tell(check, declaration->optional ? SEVERITY_WARNING : SEVERITY_MISTAKE, "source-refused",
                     line, "%s: %s", declaration->source.label, secret->sealed.text);
        for (size_t i = 0; declaration->source.kind == SOURCE_FILE && i < ELEMENTSOF(unseen); i++)
                if (strncmp(path, unseen[i], strlen(unseen[i])) == 0)
                        tell(check, SEVERITY_MISTAKE, "source-unseen", line,
                             "Expected a file in another directory: unseald.service does not see %s.",
                             unseen[i]);
}

/* The key decides which ciphertext counts, so it must be measured. What is written at run time is not. */
static void check_signature(Check *check, size_t at) {
        static const char *const unmeasured[] = { "/dev/",  "/home/", "/media/", "/mnt/", "/proc/",
                                                  "/root/", "/run/",  "/sys/",   "/tmp/", "/var/" };
        const Declaration *declaration = &check->facts->declarations->items[at];
        const SecretFacts *secret = &check->facts->secrets[at];
        const IniAssignment *line = ini_find(secret->ini, "Secret", "SignedBy");
        bool is_too_old = secret->signature.failure == FAILURE_SIGNATURE &&
                          secret->signature.remedy == REMEDY_NONE;

        if (!declaration->signed_by)
                return;
        for (size_t i = 0; i < ELEMENTSOF(unmeasured); i++)
                if (strncmp(declaration->signed_by, unmeasured[i], strlen(unmeasured[i])) == 0)
                        tell(check, SEVERITY_MISTAKE, "key-unmeasured", line,
                             "Expected a file in the measured part of the image, such as below /usr, not below %s: anyone who replaces the key can sign.",
                             unmeasured[i]);
        if (secret->signature.failure != FAILURE_NONE)
                tell(check, declaration->optional ? SEVERITY_WARNING : SEVERITY_MISTAKE, "signature-refused",
                     ini_find(secret->ini, "Secret", is_too_old ? "MinVersion" : "SignedBy"), "%s",
                     secret->signature.text);
}

/* Generators make mount and swap units. */
static bool may_be_generated(const char *unit) {
        const char *kind = strrchr(unit, '.');

        return kind && (strcmp(kind, ".mount") == 0 || strcmp(kind, ".swap") == 0);
}

/* section: that of the secret or of the member. The length of a member's names is checked by the reader of the configuration. */
static void check_named_units(Check *check, const Declaration *declaration, const SecretFacts *secret,
                              const char *section) {
        for (char **unit = declaration->units; unit && *unit && !declaration->member; unit++)
                if (check_length(*unit, declaration->name, line_with(secret->ini, section, "Units", *unit),
                                 declaration->name, check->remarks) < 0)
                        check->r = -ENOMEM;
        for (char **unit = secret->missing_units; unit && *unit; unit++)
                tell(check, may_be_generated(*unit) ? SEVERITY_WARNING : SEVERITY_MISTAKE, "unit-missing",
                     line_with(secret->ini, section, "Units", *unit),
                     "There is no unit \"%s\". Expected a unit with a unit file, or an instance of a template with one.",
                     *unit);
}

static void check_delivery(Check *check, const Declaration *declaration, const SecretFacts *secret,
                           const char *section) {
        check_named_units(check, declaration, secret, section);
        if (secret->user_missing)
                tell(check, SEVERITY_MISTAKE, "user-unknown", ini_find(secret->ini, section, "User"),
                     "Expected a user of /etc/passwd, not \"%s\".", declaration->user);
        if (secret->group_missing)
                tell(check, SEVERITY_MISTAKE, "group-unknown", ini_find(secret->ini, section, "Group"),
                     "Expected a group of /etc/group, not \"%s\".", declaration->group);
}

/* Reports the first secret that has no room beside those before it. */
static void check_room(Check *check, size_t at) {
        uint64_t size_max = check->facts->settings->store_size_max, before = 0, size;

        for (size_t i = 0; i < at; i++)
                before += check->facts->secrets[i].plaintext_size;
        size = before + check->facts->secrets[at].plaintext_size;
        if (before <= size_max && size > size_max)
                tell(check,
                     check->facts->declarations->items[at].optional ? SEVERITY_WARNING : SEVERITY_MISTAKE,
                     "store-too-small", ini_find(check->facts->secrets[at].ini, "Secret", "Source"),
                     "Expected room for the plaintext: with this message, the secrets in the image have at least %llu bytes, and all together may have %llu. Raise StoreSizeMax= in unseald.conf.",
                     (unsigned long long) size, (unsigned long long) size_max);
}

static void check_secret(Check *check, size_t at) {
        const Declaration *declaration = &check->facts->declarations->items[at];
        const SecretFacts *secret = &check->facts->secrets[at];

        check_source(check, at);
        check_room(check, at);
        check_signature(check, at);
        for (char **key_id = declaration->key_ids; key_id && *key_id; key_id++)
                check_key(check, line_with(secret->ini, "Secret", "KeyId", *key_id), *key_id);
        check_delivery(check, declaration, secret, "Deliver");
        for (size_t i = 0; i < declaration->members_count; i++) {
                char section[DECLARED_SECTION_SIZE];

                declared_member_section(declaration->members + i, section);
                check_delivery(check, declaration->members + i, secret->members + i, section);
        }
        if (at == LIMIT_SECRETS)
                tell(check, SEVERITY_MISTAKE, "too-many-secrets", ini_find(secret->ini, "Secret", "Source"),
                     "Expected no more than %u secrets in all: unseald cannot keep more over a restart.",
                     LIMIT_SECRETS);
}

/* An application could have a secret decrypted whose key it may use. */
static void check_kms_key(Check *check, const char *key) {
        const IniAssignment *line = line_with(check->facts->settings_ini, "Kms", "Keys", key);
        const Declarations *declarations = check->facts->declarations;

        check_key(check, line, key);
        for (size_t i = 0; i < declarations->count; i++)
                for (char **id = declarations->items[i].key_ids; id && *id; id++)
                        if (strcmp(*id, key) == 0)
                                tell(check, SEVERITY_MISTAKE, "kms-key", line,
                                     "Expected a key of its own, not the one of the secret %s: an application could have the secret decrypted. 'unsealctl policy --application' makes the policy of a key for applications.",
                                     declarations->items[i].name);
}

/* A service on 127.0.0.1 that serves the units in Units= of a section. */
typedef struct LocalService {
        const char *section, *program, *code;
} LocalService;

static const LocalService kms_service = { "Kms", "unseald-kms", "kms-network" },
                          documents_service = { "Documents", "unseald-documents", "documents-network" };

/* The network namespace of the unit has another 127.0.0.1 than the service. */
static void check_network_of_unit(Check *check, const LocalService *service, const char *name) {
        static const char *const settings[] = { "PrivateNetwork", "NetworkNamespacePath" };
        const Unit *unit = unit_tree_resolve(check->facts->tree, name);
        const char *section = unit_exec_section(name);

        for (size_t i = 0; unit && section && i < ELEMENTSOF(settings); i++) {
                const IniAssignment *line = unit_setting(unit, section, settings[i]);
                bool value = i > 0;
                Place place;

                if (!line || (i == 0 && (ini_boolean(line, &value, NULL) < 0 || !value)))
                        continue;
                place = (Place){ line->file, line->line, line->key, name, NULL };
                if (finding_add(check->remarks, SEVERITY_WARNING, service->code, cure_of(service->code),
                                &place,
                                "The unit is in Units= of [%s], and its network namespace has another 127.0.0.1: its programs cannot reach %s. Remove the setting, or the unit from Units=.",
                                service->section, service->program) < 0)
                        check->r = -ENOMEM;
        }
}

static void check_units_of(Check *check, const LocalService *service, char *const *units,
                           char *const *missing) {
        for (; missing && *missing; missing++)
                tell(check, SEVERITY_WARNING, "unit-missing",
                     line_with(check->facts->settings_ini, service->section, "Units", *missing),
                     "There is no unit \"%s\". Expected a unit with a unit file, or an instance of a template with one.",
                     *missing);
        for (; units && *units; units++)
                check_network_of_unit(check, service, *units);
}

static void check_kms(Check *check) {
        const Settings *settings = check->facts->settings;
        const IniFile *ini = check->facts->settings_ini;

        if (!settings->kms_keys)
                return;
        for (char **key = settings->kms_keys; *key; key++)
                check_kms_key(check, *key);
        if (settings->lock_pcr != 0)
                tell(check, SEVERITY_MISTAKE, "kms-locked", ini_find(ini, "Kms", "Keys"),
                     "Expected nothing, since LockPcr= is set: once the PCR is locked, KMS decrypts nothing more for this boot, and unseald-kms refuses to start. Remove LockPcr= or Keys=.");
        if (!settings->kms_units)
                tell(check, SEVERITY_WARNING, "kms-no-unit", ini_find(ini, "Kms", "Keys"),
                     "Units= of [Kms] names no unit, so unseald-kms refuses everybody. Name the units of the applications.");
        check_units_of(check, &kms_service, settings->kms_units, check->facts->kms_missing_units);
}

static void check_documents(Check *check) {
        check_units_of(check, &documents_service, check->facts->settings->documents_units,
                       check->facts->documents_missing_units);
}

/* Such a unit fails with 217/USER, whatever it loads. A unit that has nothing to do with unseald gets no remark. */
static void check_unknown_ids(Check *check) {
        _cleanup_(consumers_clear) Consumers consumers = {};

        if (check->facts->unknown_ids && consumers_of(check->facts->tree, &consumers) < 0)
                check->r = -ENOMEM;
        for (char **name = check->facts->unknown_ids; name && *name; name++) {
                const Unit *unit = unit_tree_find(check->facts->tree, *name);
                const IniAssignment *line = unit_setting(unit, unit_exec_section(*name), "User");
                const Place place = { line->file, line->line, line->key, *name, NULL };
                bool consumes = false;

                for (size_t i = 0; i < consumers.count; i++)
                        consumes = consumes || (strcmp(consumers.items[i].unit, *name) == 0 &&
                                                (consumer_asks_socket(&consumers.items[i]) ||
                                                 consumer_reads_store(&consumers.items[i])));
                if (consumes &&
                    finding_add(check->remarks, SEVERITY_WARNING, "user-number", cure_of("user-number"),
                                &place,
                                "No user of /etc/passwd has the number %s. Unless systemd-sysusers adds one before the unit starts, the unit fails (217/USER). Add a user of this number to the image.",
                                line->value) < 0)
                        check->r = -ENOMEM;
        }
}

/* A configuration without a secret is right, and hardly what somebody wanted who checks it. */
static void check_nothing_declared(Check *check) {
        const Place place = { .file = check->facts->secrets_directory };

        if (check->facts->secrets_directory && check->facts->declarations->count == 0 &&
            remarks_mistakes(check->remarks) == 0 &&
            finding_add(check->remarks, SEVERITY_WARNING, "nothing-declared", cure_of("nothing-declared"),
                        &place,
                        "No secret is declared, so unseald unseals nothing. Declare one in NAME.secret in this directory; unseald.secret(5) has an example.") <
                            0)
                check->r = -ENOMEM;
}

static void check_lost_dropins(Check *check, const Place *place, const char *name) {
        const Declarations *declarations = check->facts->declarations;
        const char *near = NULL;
        char secret[256];
        size_t best = SIZE_MAX;

        (void) snprintf(secret, sizeof(secret), "%.*s", (int) (strlen(name) - strlen(".secret.d")), name);
        for (size_t i = 0; i < declarations->count; i++)
                if (name_is_nearer(secret, declarations->items[i].name, &best))
                        near = declarations->items[i].name;
        if (finding_add(check->remarks, SEVERITY_WARNING, "passed-over", cure_of("passed-over"), place,
                        "unseald passes over this directory: no file declares a secret %s.%s%s%s", secret,
                        near ? " The nearest declared name is " : "", near ?: "", near ? "." : "") < 0)
                check->r = -ENOMEM;
}

/* A file that looks like configuration and is none. */
static void check_passed_over(Check *check, const char *path) {
        const char *name = strrchr(path, '/') + 1;
        _cleanup_free_ char *where = strndup(path, (size_t) (name - 1 - path));
        const Place place = { .file = path };
        const char *reason;

        if (!where) {
                check->r = -ENOMEM;
                return;
        }
        reason = passed_over_reason(where, name);
        if (unit_name_ends_in(name, ".secret.d")) {
                check_lost_dropins(check, &place, name);
                return;
        }

        if (reason && finding_add(check->remarks, SEVERITY_WARNING, "passed-over", cure_of("passed-over"),
                                  &place, "unseald passes over this file: %s", reason) < 0)
                check->r = -ENOMEM;
}

/* A name behind which nobody expects configuration. */
static bool is_of_no_reader(const char *name) {
        return strncmp(name, "README", strlen("README")) == 0 || strcmp(name, ".") == 0 ||
               strcmp(name, "..") == 0 || strcmp(name, ".gitignore") == 0 || strcmp(name, ".gitkeep") == 0;
}

/* In /etc/unseald itself: other programs may keep files there, but none of these names. */
static const char *reason_on_top(const char *name) {
        if (strcmp(name, "unseald.conf") == 0)
                return NULL;
        if (unit_name_ends_in(name, ".secret"))
                return "declarations of secrets are in secrets.d/. Move it there.";
        if (unit_name_ends_in(name, ".volume"))
                return "declarations of volumes are in volumes.d/. Move it there.";
        if (unit_name_ends_in(name, ".conf"))
                return "only unseald.conf and the drop-ins in unseald.conf.d/ are settings. Rename it, or move it there.";
        return NULL;
}

static const char *reason_among_dropins(const char *name) {
        return unit_name_ends_in(name, ".conf") && name[0] != '.'
                               ? NULL
                               : "the name of a drop-in ends in \".conf\" and begins with no dot. Rename it to NAME.conf, or remove it.";
}

const char *passed_over_reason(const char *directory, const char *name) {
        size_t length = strlen(name);
        const char *end = strrchr(name, '.');

        if (is_of_no_reader(name))
                return NULL;
        if (!*directory)
                return reason_on_top(name);
        if (unit_name_ends_in(directory, "/volumes.d"))
                return unit_name_ends_in(name, ".volume") || unit_name_ends_in(name, ".volume.d")
                                       ? NULL
                                       : "its name does not end in \".volume\". Rename it to NAME.volume, or remove it.";
        if (!unit_name_ends_in(directory, "/secrets.d"))
                return unit_name_ends_in(directory, ".d") ? reason_among_dropins(name) : reason_on_top(name);

        if (end && end > name && (strcmp(end, ".secret") == 0 || strcmp(end, ".d") == 0) && name[0] != '.')
                return NULL;
        if (name[0] == '.')
                return "its name begins with a dot. Rename it to NAME.secret, or remove it.";
        if (length > 0 && name[length - 1] == '~')
                return "its name ends in \"~\", as an editor's copy does. Remove it.";
        return "its name does not end in \".secret\". Rename it to NAME.secret, or remove it.";
}

int check_configuration(const CheckFacts *facts, Remarks *remarks) {
        Check check = { .facts = facts, .remarks = remarks };
        size_t loaded;

        check_trust(&check);
        check_kms(&check);
        check_documents(&check);
        for (size_t i = 0; i < facts->declarations->count; i++)
                check_secret(&check, i);
        for (char **path = facts->passed_over; path && *path; path++)
                check_passed_over(&check, *path);
        if (check.r >= 0)
                check.r = check_units(facts->tree, facts->declarations, facts->volumes, remarks, &loaded);
        if (check.r >= 0)
                check_unknown_ids(&check);
        check_nothing_declared(&check);
        return check.r;
}
