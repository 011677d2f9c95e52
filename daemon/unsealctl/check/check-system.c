/* SPDX-License-Identifier: Apache-2.0 */

/* Users and groups are looked up in the files of /etc and not through NSS, which would load its modules from the checked image. */

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <openssl/x509.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/http.h"
#include "basic/io.h"
#include "source/source-file.h"
#include "unsealctl/check/check-system.h"
#include "unsealctl/check/mistakes.h"
#include "unsealing/body.h"
#include "unsealing/request.h"

DEFINE_CLEANUP(FILE *, fclose);
DEFINE_CLEANUP(DIR *, closedir);

static void secret_facts_clear(SecretFacts *secrets, const Declaration *declarations, size_t count) {
        for (size_t i = 0; secrets && i < count; i++) {
                strings_free(secrets[i].missing_units);
                secret_facts_clear(secrets[i].members, declarations[i].members,
                                   declarations[i].members_count);
        }
        free(secrets);
}

/* Some hundred thousand users. */
#define DATABASE_MAX (16U * 1024U * 1024U)

/* /etc/passwd or /etc/group of the checked tree, in which anything may have that name. NULL: it is not there, or not a regular
 * file. The stream reads *data. */
static FILE *open_database(const char *path, uint8_t **data) {
        size_t size;

        if (read_file(path, DATABASE_MAX, data, &size) < 0 || size == 0)
                return NULL;
        return fmemopen(*data, size, "r");
}

static bool user_is_there(const char *name) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_(fclosep) FILE *file = open_database("/etc/passwd", &data);
        const struct passwd *user;

        while (file && (user = fgetpwent(file)))
                if (strcmp(user->pw_name, name) == 0)
                        return true;
        return false;
}

static bool id_is_there(const char *number) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_(fclosep) FILE *file = open_database("/etc/passwd", &data);
        const struct passwd *user;
        char id[16];

        while (file && (user = fgetpwent(file))) {
                (void) snprintf(id, sizeof(id), "%u", (unsigned) user->pw_uid);
                if (strcmp(id, number) == 0)
                        return true;
        }
        return false;
}

/* Notes the units whose User= is a number that /etc/passwd does not have. 0 is root everywhere. */
static int find_unknown_ids(const UnitTree *tree, char ***units) {
        for (size_t i = 0; i < tree->count; i++) {
                const Unit *unit = &tree->items[i];
                const char *section = unit_exec_section(unit->name);
                const IniAssignment *line = section ? unit_setting(unit, section, "User") : NULL;
                const char *number = line ? line->value : "0";

                if (unit->masked || unit->alias_of || strspn(number, "0123456789") != strlen(number) ||
                    strspn(number, "0") == strlen(number) || id_is_there(number))
                        continue;
                if (strings_take(units, strdup(unit->name)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static bool group_is_there(const char *name) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_(fclosep) FILE *file = open_database("/etc/group", &data);
        const struct group *group;

        while (file && (group = fgetgrent(file)))
                if (strcmp(group->gr_name, name) == 0)
                        return true;
        return false;
}

typedef struct Search {
        const char *directory; /* "/etc/unseald" */
        const char *others[2]; /* both directories of the configuration */
        char ***paths;         /* what was found */
} Search;

/* Returns whether the drop-ins in NAME.d have a NAME in one of the directories. */
static bool has_main_file(const Search *search, const char *place, const char *dropins) {
        for (size_t i = 0; i < ELEMENTSOF(search->others); i++) {
                _cleanup_free_ char *path = NULL;
                struct stat st;

                if (asprintf(&path, "%s%s/%.*s", search->others[i], place,
                             (int) (strlen(dropins) - strlen(".d")), dropins) < 0 ||
                    lstat(path, &st) >= 0)
                        return true;
        }
        return false;
}

/* place: "", "/secrets.d" or "/secrets.d/NAME.secret.d", inside the directory. */
static int find_in(const Search *search, const char *place) {
        _cleanup_free_ char *where = NULL;
        _cleanup_(closedirp) DIR *stream = NULL;
        const struct dirent *entry;
        int r = 0;

        if (asprintf(&where, "%s%s", search->directory, place) < 0)
                return -ENOMEM;
        stream = opendir(where);
        while (r >= 0 && stream && (entry = readdir(stream))) {
                const char *name = entry->d_name;
                _cleanup_free_ char *below = NULL;
                char *path = NULL;
                bool of_secret = strcmp(place, "/secrets.d") == 0 && unit_name_ends_in(name, ".secret.d"),
                     is_lost = of_secret && !has_main_file(search, place, name);

                if (is_lost || passed_over_reason(*place ? where : "", name))
                        r = strings_take(search->paths,
                                         asprintf(&path, "%s/%s", where, name) < 0 ? NULL : path);
                else if (of_secret || (!*place && strcmp(name, "unseald.conf.d") == 0) ||
                         (!*place && strcmp(name, "secrets.d") == 0) ||
                         (!*place && strcmp(name, "volumes.d") == 0)) {
                        if (asprintf(&below, "%s/%s", place, name) < 0)
                                return -ENOMEM;
                        r = find_in(search, below);
                }
        }
        return r;
}

/* Notes the files that look like configuration and are none, and the drop-ins of secrets that are not declared. */
static int find_passed_over(const char *vendor, const char *local, char ***paths) {
        Search search = { vendor, { vendor, local }, paths };
        int r = find_in(&search, "");

        search.directory = local;
        return r < 0 ? r : find_in(&search, "");
}

static int compare_paths(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* A pattern such as "worker@*.service" needs its template. */
static bool is_there(const UnitTree *tree, const char *unit) {
        return unit_tree_resolve(tree, unit) != NULL;
}

/* Judges a signature that lies in the image, for ciphertext that does, too. */
static int examine_signature(const Declaration *declaration, const uint8_t *ciphertext, size_t size,
                             SecretFacts *secret, Error *error) {
        _cleanup_free_ uint8_t *text = NULL;
        uint64_t version;
        size_t text_size;
        int r;

        if (!declaration->signing_key || !declaration->signature.location ||
            declaration->signature.kind != SOURCE_FILE)
                return 0;
        r = source_read_file(&declaration->signature, SIGNATURE_FILE_MAX, &text, &text_size,
                             &secret->signature);
        if (r >= 0)
                r = request_check_signature(declaration, (Slice){ ciphertext, size },
                                            (Slice){ text, text_size }, &version, &secret->signature);
        return r == -ENOMEM ? error_oom(error) : 0;
}

/* Judges a sealed secret that lies in the image as unseald does before it asks KMS. Which account a message is bound to, only the machine
 * knows, so a message with BindAccount= is not judged. */
static int examine_sealed(const Declaration *declaration, Slice sealed, uint64_t whole, SecretFacts *secret,
                          Error *error) {
        _cleanup_(request_message_clear) RequestMessage message = {};
        BodyPlan plan = {};
        int r = 0;

        if (!declaration->key_ids)
                return 0; /* the parser has reported it */
        if (!declaration_is_message(declaration))
                r = request_check_ciphertext(declaration, sealed, &secret->sealed);
        else if (!declaration->bind_account)
                r = request_message(declaration, sealed, NULL, &message, &secret->sealed);
        if (r >= 0 && whole > 0 && message.context)
                r = body_plan(&message.header, whole, declaration->size_max, 1, &plan, &secret->sealed);
        if (r >= 0)
                secret->plaintext_size = plan.plaintext_min;
        return r == -ENOMEM ? error_oom(error) : 0;
}

/* A large message may have more bytes than there is memory. Only its header is judged, so only its beginning is read. */
static int read_sealed(const Declaration *declaration, uint8_t **ret, size_t *ret_size, uint64_t *ret_whole,
                       Error *error) {
        const Source *source = &declaration->source;
        size_t maximum = request_maximum(declaration, source);
        _cleanup_close_ int fd = -1;
        int r = 0;

        *ret_whole = 0;
        if (declaration->format == FORMAT_MESSAGE)
                r = source_open_large(source, BODY_WHOLE_MAX, ret, ret_size, ret_whole, &fd, error);
        if (r > 0 && *ret_whole > maximum)
                return source_too_long(source, maximum, error);
        return r == 0 ? source_read_file(source, maximum, ret, ret_size, error) : r;
}

static int examine_files(const Declaration *declaration, SecretFacts *secret, Error *error) {
        _cleanup_free_ uint8_t *ciphertext = NULL;
        uint64_t whole;
        size_t size;
        int r;

        if (!declaration->source.location || declaration->source.kind != SOURCE_FILE)
                return 0;
        r = read_sealed(declaration, &ciphertext, &size, &whole, &secret->source);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return 0;
        r = examine_sealed(declaration, (Slice){ ciphertext, size }, whole, secret, error);
        if (r < 0 || secret->sealed.failure != FAILURE_NONE)
                return r;
        return examine_signature(declaration, ciphertext, size, secret, error);
}

static int find_missing(char *const *units, const UnitTree *tree, char ***missing) {
        for (; units && *units; units++)
                if (!is_there(tree, *units) && strings_take(missing, strdup(*units)) < 0)
                        return -ENOMEM;
        return 0;
}

static int examine_delivery(const Declaration *declaration, const UnitTree *tree, SecretFacts *secret,
                            Error *error) {
        if (find_missing(declaration->units, tree, &secret->missing_units) < 0)
                return error_oom(error);
        secret->user_missing = declaration->user && !user_is_there(declaration->user);
        secret->group_missing = declaration->group && !group_is_there(declaration->group);
        return 0;
}

static int examine_secret(const Declaration *declaration, const UnitTree *tree, SecretFacts *secret,
                          Error *error) {
        int r = examine_files(declaration, secret, error);

        if (r >= 0)
                r = examine_delivery(declaration, tree, secret, error);
        if (r < 0 || declaration->members_count == 0)
                return r;
        secret->members = calloc(declaration->members_count, sizeof(*secret->members));
        if (!secret->members)
                return error_oom(error);
        for (size_t i = 0; r >= 0 && i < declaration->members_count; i++) {
                secret->members[i].ini = secret->ini;
                r = examine_delivery(declaration->members + i, tree, secret->members + i, error);
        }
        return r;
}

/* facts: complete except for secrets, which this function adds. */
static int check_with_secrets(CheckFacts *facts, IniFile *const *files, Remarks *remarks, Error *error) {
        const Declarations *declarations = facts->declarations;
        SecretFacts *secrets = calloc(declarations->count + 1, sizeof(*secrets));
        int r = secrets ? 0 : error_oom(error);

        for (size_t i = 0; r >= 0 && i < declarations->count; i++) {
                secrets[i].ini = files[i];
                r = examine_secret(&declarations->items[i], facts->tree, &secrets[i], error);
        }
        facts->secrets = secrets;
        if (r >= 0 && check_configuration(facts, remarks) < 0)
                r = error_oom(error);
        secret_facts_clear(secrets, declarations->items, declarations->count);
        return r;
}

static int read_tree(UnitTree *tree, Error *error) {
        int r = unit_tree_read(unit_directories, tree);

        if (r == -E2BIG)
                return error_set(error, r, FAILURE_CONFIGURATION, UNIT_TREE_TOO_LONG);
        return r < 0 ? error_oom(error) : 0;
}

int check_system(const char *vendor_directory, const char *local_directory, Remarks *remarks, Error *error) {
        _cleanup_(declarations_clear) Declarations declarations = {};
        _cleanup_(volumes_clear) Volumes volumes = {};
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        _cleanup_strings_ char **passed_over = NULL, **unknown_ids = NULL, **kms_missing = NULL,
                               **documents_missing = NULL;
        _cleanup_free_ char *secrets = NULL;
        _cleanup_(settings_clear) Settings settings = {};
        _cleanup_(ini_files_freep) IniFile **files = NULL;
        _cleanup_ini_ IniFile *ini = NULL;
        X509_STORE *trusted = NULL;
        CheckFacts facts = {
                .settings = &settings, .declarations = &declarations, .volumes = &volumes, .tree = &tree
        };
        int r;

        r = ini_examine(vendor_directory, local_directory, "unseald.conf", &ini, remarks, error);
        if (r >= 0)
                r = settings_examine(ini, &settings, remarks, error);
        if (r >= 0)
                r = declarations_examine(vendor_directory, local_directory, &declarations, &files, remarks,
                                         error);
        if (r >= 0)
                r = declarations_judge(&declarations, &settings, files, remarks, error);
        if (r >= 0)
                r = volumes_examine(vendor_directory, local_directory, &volumes, remarks, error);
        if (r >= 0)
                r = read_tree(&tree, error);
        if (r >= 0 && (find_passed_over(vendor_directory, local_directory, &passed_over) < 0 ||
                       find_unknown_ids(&tree, &unknown_ids) < 0 ||
                       find_missing(settings.kms_units, &tree, &kms_missing) < 0 ||
                       find_missing(settings.documents_units, &tree, &documents_missing) < 0 ||
                       asprintf(&secrets, "%s/secrets.d", local_directory) < 0))
                r = error_oom(error);
        if (r < 0)
                return r;

        if (settings.trusted_certificates &&
            http_trust_new(settings.trusted_certificates, &trusted, &facts.trust) >= 0)
                X509_STORE_free(trusted);
        if (passed_over)
                qsort(passed_over, strings_count(passed_over), sizeof(char *), compare_paths);
        facts.passed_over = passed_over;
        facts.unknown_ids = unknown_ids;
        facts.kms_missing_units = kms_missing;
        facts.documents_missing_units = documents_missing;
        facts.secrets_directory = secrets;
        facts.settings_ini = ini;
        return check_with_secrets(&facts, files, remarks, error);
}
