/* SPDX-License-Identifier: Apache-2.0 */

/* One table has all keys, with the function that checks the value and with the default. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "aws/kms-operation.h"
#include "basic/byte-size.h"
#include "basic/clock.h"
#include "basic/json.h"
#include "basic/limits.h"
#include "basic/log.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "config/settings.h"
#include "source/source.h"

#define DEADLINE_MAX_USEC (24 * 3600 * USEC_PER_SEC)
#define REFRESH_MIN_USEC (60 * USEC_PER_SEC)
#define LATE_DEADLINE_MAX_USEC (30 * 24 * 3600 * USEC_PER_SEC)
#define REFRESH_MAX_USEC (30 * 24 * 3600 * USEC_PER_SEC)
#define SECTION "Unseald"
#define ATTESTATION_SECTION "Attestation"
#define DOCUMENTS_PER_MINUTE_MAX 6000U
#define KMS_SECTION "Kms"
#define LIST_MAX 64U
#define REQUESTS_PER_SECOND_MAX 100000U
#define DOCUMENTS_SECTION "Documents"
#define DOCUMENTS_PER_SECOND_MAX 1000U
#define RENEW_MIN_USEC (60 * USEC_PER_SEC)
#define RENEW_MAX_USEC (30 * 24 * 3600 * USEC_PER_SEC)
#define STORE_SIZE_MIN (UINT64_C(2) * 1024 * 1024)
_Static_assert(STORE_SIZE_MIN >= LIMIT_SECRETS * LIMIT_PLAINTEXT_BYTES,
               "the secrets do not fit into the store");

/* field: the member of Settings. The assignment's value is never empty. */
typedef int (*Setter)(const IniAssignment *assignment, void *field, Error *error);

static int set_boolean(const IniAssignment *assignment, void *field, Error *error) {
        return ini_boolean(assignment, field, error);
}

static int set_string(const char *value, char **field, Error *error) {
        char *copy = strdup(value);

        if (!copy)
                return error_oom(error);
        free(*field);
        *field = copy;
        return 0;
}

/* Accepts the scheme, then a DNS name, an IPv4 address or an IPv6 address in brackets, then a port, and nothing more. The
 * port may be missing if it is optional. */
static bool is_origin(const char *text, const char *scheme, bool port_optional) {
        size_t length, digits;

        if (strncmp(text, scheme, strlen(scheme)) != 0)
                return false;
        text += strlen(scheme);

        if (text[0] == '[') {
                char address[INET6_ADDRSTRLEN] = "";
                struct in6_addr binary;

                length = strcspn(text, "]");
                if (text[length] != ']' || length > sizeof(address))
                        return false;
                memcpy(address, text + 1, length - 1);
                if (inet_pton(AF_INET6, address, &binary) != 1)
                        return false;
                length++;
        } else {
                length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.");
                if (length == 0 || length > 253 || strchr("-.", text[0]))
                        return false;
        }

        text += length;
        if (text[0] == '\0')
                return port_optional;
        digits = strspn(text + 1, "0123456789");
        return text[0] == ':' && digits >= 1 && digits <= 5 && text[1] != '0' && text[1 + digits] == '\0' &&
               strtoul(text + 1, NULL, 10) <= UINT16_MAX;
}

static int set_kms_endpoint(const IniAssignment *assignment, void *field, Error *error) {
        if (!is_origin(assignment->value, "https://", true))
                return ini_error(assignment, error,
                                 "Expected https://HOST or https://HOST:PORT, not \"%s\".",
                                 assignment->value);
        return set_string(assignment->value, field, error);
}

bool settings_proxy_is_valid(const char *proxy) {
        return is_origin(proxy, "http://", false);
}

static int set_proxy(const IniAssignment *assignment, void *field, Error *error) {
        if (!settings_proxy_is_valid(assignment->value))
                return ini_error(assignment, error, "Expected http://HOST:PORT, not \"%s\".",
                                 assignment->value);
        return set_string(assignment->value, field, error);
}

static int set_path(const IniAssignment *assignment, void *field, Error *error) {
        if (!source_path_is_plain(assignment->value))
                return ini_error(assignment, error,
                                 "Expected an absolute path without \"//\", \".\" and \"..\", not \"%s\".",
                                 assignment->value);
        return set_string(assignment->value, field, error);
}

static int set_expected_measurements(const IniAssignment *assignment, void *field, Error *error) {
        static const char scheme[] = "user-data:";

        if (strncmp(assignment->value, scheme, strlen(scheme)) != 0)
                return set_path(assignment, field, error);
        if (!json_pointer_is_valid(assignment->value + strlen(scheme)))
                return ini_error(
                                assignment, error,
                                "Expected a JSON pointer such as /measurements after user-data:, not \"%s\".",
                                assignment->value);
        return set_string(assignment->value, field, error);
}

static int set_rsa_key_bits(const IniAssignment *assignment, void *field, Error *error) {
        static const char *const sizes[] = { "2048", "3072", "4096" };
        unsigned *bits = field;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                if (strcmp(assignment->value, sizes[i]) == 0) {
                        *bits = 2048 + 1024 * (unsigned) i;
                        return 0;
                }
        return ini_error(assignment, error, "Expected 2048, 3072 or 4096, not \"%s\".", assignment->value);
}

static int set_deadline(const IniAssignment *assignment, void *field, Error *error) {
        uint64_t usec;

        if (parse_duration(assignment->value, &usec) < 0 || usec < USEC_PER_SEC || usec > DEADLINE_MAX_USEC)
                return ini_error(
                                assignment, error,
                                "Expected a time from 1s to 24h, such as \"90s\" or \"2min 30s\", not \"%s\".",
                                assignment->value);
        *(uint64_t *) field = usec;
        return 0;
}

static int set_late_deadline(const IniAssignment *assignment, void *field, Error *error) {
        uint64_t usec;

        if (parse_duration(assignment->value, &usec) < 0 || usec < USEC_PER_SEC ||
            (usec > LATE_DEADLINE_MAX_USEC && usec != USEC_INFINITY))
                return ini_error(
                                assignment, error,
                                "Expected a time from 1s to 30d, such as \"1h\", or \"infinity\", not \"%s\".",
                                assignment->value);
        *(uint64_t *) field = usec;
        return 0;
}

/* An empty value is the default: never. */
static int set_refresh(const IniAssignment *assignment, void *field, Error *error) {
        uint64_t usec = 0;

        if (assignment->value[0] != '\0' && (parse_duration(assignment->value, &usec) < 0 ||
                                             usec < REFRESH_MIN_USEC || usec > REFRESH_MAX_USEC))
                return ini_error(
                                assignment, error,
                                "Expected a time from 1min to 30d, such as \"15min\" or \"1h\", not \"%s\".",
                                assignment->value);
        *(uint64_t *) field = usec;
        return 0;
}

static int set_number(const IniAssignment *assignment, unsigned max, unsigned *field, Error *error) {
        const char *value = assignment->value;
        unsigned long number = strtoul(value, NULL, 10);

        if (strspn(value, "0123456789") != strlen(value) || number < 1 || number > max)
                return ini_error(assignment, error, "Expected a number from 1 to %u, not \"%s\".", max,
                                 value);
        *field = (unsigned) number;
        return 0;
}

static int set_documents_per_minute(const IniAssignment *assignment, void *field, Error *error) {
        return set_number(assignment, DOCUMENTS_PER_MINUTE_MAX, field, error);
}

static int set_requests_per_second(const IniAssignment *assignment, void *field, Error *error) {
        return set_number(assignment, REQUESTS_PER_SECOND_MAX, field, error);
}

static int set_documents_per_second(const IniAssignment *assignment, void *field, Error *error) {
        return set_number(assignment, DOCUMENTS_PER_SECOND_MAX, field, error);
}

static int set_renew_key_pair(const IniAssignment *assignment, void *field, Error *error) {
        uint64_t usec;

        if (parse_duration(assignment->value, &usec) < 0 || usec < RENEW_MIN_USEC || usec > RENEW_MAX_USEC)
                return ini_error(
                                assignment, error,
                                "Expected a time from 1min to 30d, such as \"15min\" or \"1h\", not \"%s\".",
                                assignment->value);
        *(uint64_t *) field = usec;
        return 0;
}

/* Adds the words of the value to a list. */
static int add_words(const IniAssignment *assignment,
                     int (*check)(const IniAssignment *assignment, const char *text, Error *error),
                     char ***list, Error *error) {
        _cleanup_strings_ char **words = NULL;
        int r = ini_words(assignment, &words, error);

        for (char **word = words; r >= 0 && word && *word; word++) {
                r = check(assignment, *word, error);
                if (r >= 0 && strings_count(*list) >= LIST_MAX)
                        r = ini_error(assignment, error, "Expected no more than %u of them.", LIST_MAX);
                if (r >= 0 && strings_take(list, strdup(*word)) < 0)
                        r = error_oom(error);
        }
        return r;
}

static int set_kms_keys(const IniAssignment *assignment, void *field, Error *error) {
        return add_words(assignment, declaration_check_key_id, field, error);
}

static int set_units(const IniAssignment *assignment, void *field, Error *error) {
        return add_words(assignment, declaration_check_unit, field, error);
}

static int check_operation(const IniAssignment *assignment, const char *text, Error *error) {
        return kms_operation_find(text)
                               ? 0
                               : ini_error(assignment, error,
                                           "Expected operations such as Decrypt, not \"%s\". unseald-kms(8) has the list.",
                                           text);
}

static int set_kms_operations(const IniAssignment *assignment, void *field, Error *error) {
        return add_words(assignment, check_operation, field, error);
}

/* Secrets that KMS itself decrypts must always fit, as many as may be declared. */
static int set_store_size_max(const IniAssignment *assignment, void *field, Error *error) {
        uint64_t size;

        if (parse_bytes(assignment->value, &size) < 0 || size < STORE_SIZE_MIN ||
            size > LIMIT_STORE_BYTES_MAX)
                return ini_error(assignment, error,
                                 "Expected a number of bytes from 2M to 16T, such as 256M, not \"%s\".",
                                 assignment->value);
        *(uint64_t *) field = size;
        return 0;
}

static int set_verify_policy(const IniAssignment *assignment, void *field, Error *error) {
        VerifyPolicy *verify = field;
        bool yes = false;

        if (strcasecmp(assignment->value, "warn") == 0)
                *verify = VERIFY_POLICY_WARN;
        else if (ini_boolean(assignment, &yes, NULL) < 0)
                return ini_error(assignment, error, "Expected no, warn or yes, not \"%s\".",
                                 assignment->value);
        else
                *verify = yes ? VERIFY_POLICY_YES : VERIFY_POLICY_NO;
        return 0;
}

static int set_lock_pcr(const IniAssignment *assignment, void *field, Error *error) {
        return ini_free_pcr(assignment, field, error);
}

static int set_tpm_device(const IniAssignment *assignment, void *field, Error *error) {
        const char *value = assignment->value;
        char *name;
        size_t length;

        /* The kernel's resource manager does not know NitroTPM's attestation command. tpm2-tss tries it first if the name
         * has no device. */
        if (strstr(value, "/dev/tpmrm") || strcmp(value, "device") == 0 || strcmp(value, "device:") == 0)
                return ini_error(
                                assignment, error,
                                "Expected the TPM itself, such as device:/dev/tpm0, not \"%s\". The kernel's resource manager does not pass on NitroTPM's attestation command.",
                                value);

        if (value[0] == '/') {
                if (!source_path_is_plain(value))
                        return set_path(assignment, field, error);
                if (asprintf(&name, "device:%s", value) < 0)
                        return error_oom(error);
                free(*(char **) field);
                *(char **) field = name;
                return 0;
        }

        length = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-_");
        if (length == 0 || (value[length] != '\0' && value[length] != ':'))
                return ini_error(
                                assignment, error,
                                "Expected a TCTI name such as device:/dev/tpm0 or swtpm:path=/path, not \"%s\".",
                                value);
        return set_string(value, field, error);
}

static const struct {
        const char *key;
        Setter set;
        size_t offset;
        const char *initial; /* NULL: the string stays NULL */
        const char *section; /* NULL: SECTION */
        bool list;           /* assignments add up */
} keys[] = {
        { "KmsEndpoint", set_kms_endpoint, offsetof(Settings, kms_endpoint), NULL },
        { "Fips", set_boolean, offsetof(Settings, fips), "no" },
        { "DualStack", set_boolean, offsetof(Settings, dual_stack), "no" },
        { "Proxy", set_proxy, offsetof(Settings, proxy), NULL },
        { "TrustedCertificates", set_path, offsetof(Settings, trusted_certificates), NULL },
        { "RsaKeyBits", set_rsa_key_bits, offsetof(Settings, rsa_key_bits), "2048" },
        { "DeadlineSec", set_deadline, offsetof(Settings, deadline_usec), "2min" },
        { "LateDeadlineSec", set_late_deadline, offsetof(Settings, late_deadline_usec), "infinity" },
        { "Refresh", set_refresh, offsetof(Settings, refresh_usec), "" },
        { "VerifyPolicy", set_verify_policy, offsetof(Settings, verify_policy), "no" },
        { "LockPcr", set_lock_pcr, offsetof(Settings, lock_pcr), "" },
        { "ExpectedMeasurements", set_expected_measurements, offsetof(Settings, expected_measurements),
          NULL },
        { "TpmDevice", set_tpm_device, offsetof(Settings, tpm_device), "device:/dev/tpm0" },
        { "StoreSizeMax", set_store_size_max, offsetof(Settings, store_size_max), "64M" },
        { "PublicKey", set_path, offsetof(Settings, attestation_public_key), NULL, ATTESTATION_SECTION },
        { "Status", set_boolean, offsetof(Settings, attestation_status), "no", ATTESTATION_SECTION },
        { "DocumentsPerMinute", set_documents_per_minute, offsetof(Settings, documents_per_minute), "60",
          ATTESTATION_SECTION },
        { "Keys", set_kms_keys, offsetof(Settings, kms_keys), NULL, KMS_SECTION, .list = true },
        { "Operations", set_kms_operations, offsetof(Settings, kms_operations), NULL, KMS_SECTION,
          .list = true },
        { "Units", set_units, offsetof(Settings, kms_units), NULL, KMS_SECTION, .list = true },
        { "RequestsPerSecond", set_requests_per_second, offsetof(Settings, kms_requests_per_second), "500",
          KMS_SECTION },
        { "RenewKeyPair", set_renew_key_pair, offsetof(Settings, kms_renew_key_pair_usec), "1h",
          KMS_SECTION },
        { "Units", set_units, offsetof(Settings, documents_units), NULL, DOCUMENTS_SECTION, .list = true },
        { "RequestsPerSecond", set_documents_per_second, offsetof(Settings, documents_requests_per_second),
          "10", DOCUMENTS_SECTION },
};

/* An empty value resets the key to its default. */
static int set_key(Settings *settings, size_t key, const IniAssignment *assignment, Error *error) {
        void *field = (uint8_t *) settings + keys[key].offset;
        IniAssignment initial = *assignment;

        if (assignment->value[0] != '\0')
                return keys[key].set(assignment, field, error);
        if (keys[key].initial) {
                initial.value = (char *) keys[key].initial;
                return keys[key].set(&initial, field, error);
        }
        if (keys[key].list) {
                *(char ***) field = strings_free(*(char ***) field);
                return 0;
        }
        free(*(char **) field);
        *(char **) field = NULL;
        return 0;
}

IniKeyKind settings_key_kind(const char *section, const char *key) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(key, keys[i].key) == 0 && strcmp(section, keys[i].section ?: SECTION) == 0)
                        return keys[i].list ? INI_KEY_LIST : INI_KEY_VALUE;
        return INI_KEY_UNKNOWN;
}

static IniName name_at(size_t i) {
        return i < ELEMENTSOF(keys) ? (IniName){ keys[i].section ?: SECTION, keys[i].key } : (IniName){};
}

static int apply(Settings *settings, const IniAssignment *assignment, Remarks *remarks, Error *error) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(assignment->key, keys[i].key) == 0 &&
                    strcmp(assignment->section, keys[i].section ?: SECTION) == 0)
                        return remarks_take(remarks, set_key(settings, i, assignment, error), error);

        return ini_unknown(assignment, name_at, "unseald.conf(5)", remarks, error);
}

void settings_clear(Settings *settings) {
        free(settings->kms_endpoint);
        free(settings->proxy);
        free(settings->trusted_certificates);
        free(settings->expected_measurements);
        free(settings->tpm_device);
        free(settings->attestation_public_key);
        strings_free(settings->kms_keys);
        strings_free(settings->kms_operations);
        strings_free(settings->kms_units);
        strings_free(settings->documents_units);
        *settings = (Settings){};
}

bool settings_documents_of_one_unit(const Settings *settings) {
        return strings_count(settings->documents_units) == 1 && !strchr(settings->documents_units[0], '*');
}

static int judge_endpoint(const Settings *settings, const IniFile *ini, Error *error) {
        if (!settings->kms_endpoint || (!settings->fips && !settings->dual_stack))
                return 0;
        return ini_error(
                        ini_find(ini, SECTION, "KmsEndpoint"), error,
                        "Expected nothing, since Fips= or DualStack= is set. These choose an endpoint of AWS. Remove KmsEndpoint= or both of them.");
}

static int judge_refresh(const Settings *settings, const IniFile *ini, Error *error) {
        if (settings->refresh_usec == 0 || settings->lock_pcr == 0)
                return 0;
        return ini_error(
                        ini_find(ini, SECTION, "Refresh"), error,
                        "Expected nothing, since LockPcr= is set. Once the PCR is locked, KMS releases no secret to this machine until the next boot, so a refresh would always fail. Remove Refresh=, and rotate by a reboot or by a new instance; or remove LockPcr=.");
}

int settings_examine(const IniFile *ini, Settings *ret, Remarks *remarks, Error *error) {
        _cleanup_(settings_clear) Settings settings = {};
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(keys); i++)
                r = set_key(&settings, i, &(IniAssignment){ .value = (char *) "" }, error);
        for (size_t i = 0; r >= 0 && i < ini->count; i++)
                r = apply(&settings, &ini->assignments[i], remarks, error);
        if (r < 0)
                return r;

        r = remarks_take(remarks, judge_endpoint(&settings, ini, error), error);
        if (r >= 0)
                r = remarks_take(remarks, judge_refresh(&settings, ini, error), error);
        if (r < 0)
                return r;

        *ret = TAKE(settings, (Settings){});
        return 0;
}

int settings_read(const char *vendor_directory, const char *local_directory, Settings *ret, Error *error) {
        _cleanup_ini_ IniFile *ini = NULL;
        int r;

        r = ini_read(vendor_directory, local_directory, "unseald.conf", &ini, error);
        return r < 0 ? r : settings_examine(ini, ret, NULL, error);
}
