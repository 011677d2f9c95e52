/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "basic/duration.h"
#include "config/declaration.h"
#include "config/volume-units.h"
#include "config/volumes.h"
#include "source/source.h"

#define SUFFIX ".volume"
#define SECTION "Volume"
#define TIMEOUT_DEFAULT_USEC (90 * USEC_PER_SEC)
#define TIMEOUT_MAX_USEC (24 * 3600 * USEC_PER_SEC)
#define OPTIONS_MAX 16U
#define WHERE_MAX 200U
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

void volume_clear(Volume *volume) {
        free(volume->name);
        free(volume->file);
        free(volume->description);
        free(volume->secret);
        free(volume->where);
        free(volume->on_open);
        strings_free(volume->options);
        *volume = (Volume){};
}

void volumes_clear(Volumes *volumes) {
        for (size_t i = 0; i < volumes->count; i++)
                volume_clear(volumes->items + i);
        free(volumes->items);
        *volumes = (Volumes){};
}

static int set_string(const IniAssignment *assignment, char **field, Error *error) {
        char *copy = strdup(assignment->value);

        if (!copy)
                return error_oom(error);
        free(*field);
        *field = copy;
        return 0;
}

static int set_description(const IniAssignment *assignment, Volume *volume, Error *error) {
        return set_string(assignment, &volume->description, error);
}

static int set_device(const IniAssignment *assignment, Volume *volume, Error *error) {
        if (assignment->value[0] == '\0' || device_selector_parse(assignment->value, &volume->device) >= 0)
                return 0;
        return ini_error(
                        assignment, error,
                        "Expected the name of an EBS attachment such as sdf, the id of an EBS volume such as vol-0123456789abcdef0, or a path below /dev, not \"%s\".",
                        assignment->value);
}

static int set_device_timeout(const IniAssignment *assignment, Volume *volume, Error *error) {
        uint64_t usec = TIMEOUT_DEFAULT_USEC;

        if (assignment->value[0] != '\0' &&
            (parse_duration(assignment->value, &usec) < 0 || usec > TIMEOUT_MAX_USEC))
                return ini_error(assignment, error,
                                 "Expected a time from 0 to 24h, such as \"90s\" or \"5min\", not \"%s\".",
                                 assignment->value);
        volume->device_timeout_usec = usec;
        return 0;
}

static int set_secret(const IniAssignment *assignment, Volume *volume, Error *error) {
        if (assignment->value[0] == '\0')
                return 0;
        if (!declaration_name_is_valid(assignment->value))
                return ini_error(assignment, error,
                                 "Expected the name of a secret, such as weights, not \"%s\".",
                                 assignment->value);
        return set_string(assignment, &volume->secret, error);
}

static int set_mode(const IniAssignment *assignment, Volume *volume, Error *error) {
        volume->writable = strcmp(assignment->value, "state") == 0;
        if (volume->writable || assignment->value[0] == '\0' || strcmp(assignment->value, "read-only") == 0)
                return 0;
        return ini_error(assignment, error, "Expected read-only or state, not \"%s\".", assignment->value);
}

/* Whoever hides the state would have the application begin anew, so the measured configuration says whether it may. */
static int set_initialize(const IniAssignment *assignment, Volume *volume, Error *error) {
        volume->may_begin = strcmp(assignment->value, "blank") == 0;
        if (volume->may_begin || assignment->value[0] == '\0' || strcmp(assignment->value, "never") == 0)
                return 0;
        return ini_error(assignment, error, "Expected blank or never, not \"%s\".", assignment->value);
}

static int set_integrity(const IniAssignment *assignment, Volume *volume, Error *error) {
        bool integrity = true;
        int r = assignment->value[0] == '\0' ? 0 : ini_boolean(assignment, &integrity, error);

        volume->unverified = !integrity;
        return r;
}

/* The name of a service that can be started: no template, and none of the services that the volume itself needs. */
static bool is_hook(const char *name) {
        size_t length = strlen(name), end = strlen(".service");
        const char *at = strchr(name, '@');

        return length > end && length <= NAME_MAX && strcmp(name + length - end, ".service") == 0 &&
               strspn(name, LETTERS DIGITS ":-_.@") == length && strspn(name, LETTERS DIGITS) > 0 &&
               (!at || (strchr(at + 1, '@') == NULL && strcmp(at, "@.service") != 0)) &&
               strncmp(name, "unseald.", 8) != 0 && strncmp(name, "unseald-", 8) != 0;
}

static int set_on_open(const IniAssignment *assignment, Volume *volume, Error *error) {
        if (assignment->value[0] == '\0') {
                free(TAKE_PTR(volume->on_open));
                return 0;
        }
        if (!is_hook(assignment->value))
                return ini_error(
                                assignment, error,
                                "Expected the name of a service, such as anchor.service or anchor@state.service, that is no template and none of unseald's, not \"%s\".",
                                assignment->value);
        return set_string(assignment, &volume->on_open, error);
}

/* These characters need no escape in a unit file, and are no specifier. */
static bool is_mount_point(const char *path) {
        size_t length = strlen(path);

        return path[0] == '/' && length > 1 && length <= WHERE_MAX && path[length - 1] != '/' &&
               strspn(path, LETTERS DIGITS "/-_.+@") == length && !strstr(path, "//") &&
               !strstr(path, "/./") && !strstr(path, "/../") && strcmp(strrchr(path, '/'), "/.") != 0 &&
               strcmp(strrchr(path, '/'), "/..") != 0;
}

static int set_where(const IniAssignment *assignment, Volume *volume, Error *error) {
        if (assignment->value[0] == '\0')
                return 0;
        if (!is_mount_point(assignment->value))
                return ini_error(
                                assignment, error,
                                "Expected an absolute path of at most %u letters, digits, and \"/\", \"-\", \"_\", \".\", \"+\", \"@\", without \"//\", \".\" and \"..\", not \"%s\".",
                                WHERE_MAX, assignment->value);
        return set_string(assignment, &volume->where, error);
}

static int set_file_system(const IniAssignment *assignment, Volume *volume, Error *error) {
        static const char *const known[] = { "erofs", "squashfs", "ext4" };

        volume->file_system = NULL;
        if (assignment->value[0] == '\0')
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strcmp(assignment->value, known[i]) == 0) {
                        volume->file_system = known[i];
                        return 0;
                }
        return ini_error(assignment, error,
                         "Expected erofs or squashfs, or ext4 with Mode=state, not \"%s\".",
                         assignment->value);
}

/* An option that a mount of a volume always has the other way round. */
static bool is_refused_option(const char *option) {
        static const char *const refused[] = { "rw", "dev", "suid", "remount", "bind", "rbind", "loop" };

        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                if (strcmp(option, refused[i]) == 0)
                        return true;
        return strncmp(option, "x-", 2) == 0 || strncmp(option, "loop=", 5) == 0;
}

static int set_options(const IniAssignment *assignment, Volume *volume, Error *error) {
        _cleanup_strings_ char **words = NULL;
        int r = ini_words(assignment, &words, error);

        if (r < 0)
                return r;
        if (!words[0])
                volume->options = strings_free(volume->options);
        for (char **word = words; *word; word++) {
                if (strspn(*word, LETTERS DIGITS "-_.=") < strlen(*word) || strlen(*word) > 64 ||
                    is_refused_option(*word))
                        return ini_error(
                                        assignment, error,
                                        "Expected options of a mount such as noexec, separated by spaces, not \"%s\". Mode= says whether the mount is read-only, and it is always nodev and nosuid.",
                                        *word);
                if (strings_count(volume->options) >= OPTIONS_MAX)
                        return ini_error(assignment, error, "Expected no more than %u options.",
                                         OPTIONS_MAX);
                if (strings_take(&volume->options, strdup(*word)) < 0)
                        return error_oom(error);
        }
        return 0;
}

static const struct {
        const char *key;
        int (*set)(const IniAssignment *assignment, Volume *volume, Error *error);
        bool list;
} keys[] = {
        { "Description", set_description },
        { "Device", set_device },
        { "DeviceTimeoutSec", set_device_timeout },
        { "Key", set_secret },
        { "Mode", set_mode },
        { "Initialize", set_initialize },
        { "Integrity", set_integrity },
        { "Where", set_where },
        { "OnOpen", set_on_open },
        { "FileSystem", set_file_system },
        { "Options", set_options, true },
};

IniKeyKind volume_key_kind(const char *section, const char *key) {
        for (size_t i = 0; i < ELEMENTSOF(keys) && strcmp(section, SECTION) == 0; i++)
                if (strcmp(key, keys[i].key) == 0)
                        return keys[i].list ? INI_KEY_LIST : INI_KEY_VALUE;
        return INI_KEY_UNKNOWN;
}

static IniName name_at(size_t i) {
        return i < ELEMENTSOF(keys) ? (IniName){ SECTION, keys[i].key } : (IniName){};
}

static int apply(const IniAssignment *assignment, Volume *volume, Remarks *remarks, Error *error) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(assignment->section, SECTION) == 0 && strcmp(assignment->key, keys[i].key) == 0)
                        return remarks_take(remarks, keys[i].set(assignment, volume, error), error);
        return ini_unknown(assignment, name_at, "unseald.volume(5)", remarks, error);
}

static int fill_in(Volume *volume, Error *error) {
        if (!volume->secret && !(volume->secret = strdup(volume->name)))
                return error_oom(error);
        if (!volume->where && asprintf(&volume->where, "/run/unseald-volumes/%s", volume->name) < 0)
                return error_oom(error);
        return 0;
}

/* What goes with Mode=state alone, and what does not. */
static int complete_mode(const IniFile *ini, Volume *volume, Remarks *remarks, Error *error) {
        const IniAssignment *initialize = ini_find(ini, SECTION, "Initialize"),
                            *integrity = ini_find(ini, SECTION, "Integrity"),
                            *file_system = ini_find(ini, SECTION, "FileSystem");
        bool is_ext4 = volume->file_system && strcmp(volume->file_system, "ext4") == 0;
        int r = 0;

        if (volume->file_system && is_ext4 != volume->writable)
                r = remarks_take(
                                remarks,
                                ini_error(file_system, error,
                                          "Expected ext4 with Mode=state, and erofs or squashfs without, not \"%s\".",
                                          volume->file_system),
                                error);
        if (r >= 0 && !volume->writable && initialize && initialize->value[0] != '\0')
                r = remarks_take(
                                remarks,
                                ini_error(initialize, error,
                                          "The setting needs Mode=state, which is missing: a read-only volume is never initialized. Set Mode=state, or remove this line."),
                                error);
        if (r >= 0 && !volume->writable && integrity && integrity->value[0] != '\0')
                r = remarks_take(
                                remarks,
                                ini_error(integrity, error,
                                          "The setting needs Mode=state, which is missing: a read-only volume is always verified. Set Mode=state, or remove this line."),
                                error);
        if (r >= 0 && !volume->writable && volume->on_open)
                r = remarks_take(
                                remarks,
                                ini_error(ini_find(ini, SECTION, "OnOpen"), error,
                                          "The setting needs Mode=state, which is missing: a read-only volume has no counter. Set Mode=state, or remove this line."),
                                error);
        if (!volume->file_system)
                volume->file_system = volume->writable ? "ext4" : "erofs";
        return r;
}

/* The path of a unit has at most one directory. */
static bool names_fit(const VolumeUnitFile *file) {
        const char *slash = strchr(file->path, '/'), *name = slash ? slash + 1 : file->path;

        return name - file->path <= NAME_MAX + 1 && strlen(name) <= NAME_MAX;
}

/* In the name of a unit most characters that are no letter and no digit become four, and the name must be that of a file. */
static int check_unit_names(const IniFile *ini, const Volume *volume, Error *error) {
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX];
        bool fit = true;

        if (volume_units(volume, files) < 0)
                return error_oom(error);
        for (size_t i = 0; i < VOLUME_UNIT_FILES_MAX; i++)
                fit = fit && (!files[i].path || names_fit(files + i));
        volume_units_clear(files);
        return fit ? 0
                   : error_set(error, -ENAMETOOLONG, FAILURE_CONFIGURATION,
                               "%s: Where= or the name of the volume is too long. Units are named after both, each \"-\", \"+\" and \"@\" takes four characters there, and a unit's name has at most %d. Shorten it.",
                               ini->file, NAME_MAX);
}

/* Checks that need all lines. */
static int complete(const IniFile *ini, Volume *volume, Remarks *remarks, Error *error) {
        const IniAssignment *device = ini_find(ini, SECTION, "Device");
        int r = fill_in(volume, error);

        if (r >= 0)
                r = complete_mode(ini, volume, remarks, error);
        if (r >= 0 && (!device || device->value[0] == '\0'))
                r = remarks_take(
                                remarks,
                                error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                          "%s: Device= is missing in section [Volume]. Every volume needs it.",
                                          ini->file),
                                error);
        if (r >= 0 && strlen(volume->name) + strlen(volume->secret) > VOLUME_NAMES_MAX)
                r = remarks_take(
                                remarks,
                                error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                          "%s: The names of the volume and of its secret have more than %u characters together, and the credential socket takes no more. Shorten one of them.",
                                          ini->file, VOLUME_NAMES_MAX),
                                error);
        if (r >= 0)
                r = remarks_take(remarks, check_unit_names(ini, volume, error), error);
        return r;
}

static bool name_is_valid(const char *file_name, char **ret) {
        size_t length = strlen(file_name);

        if (length <= strlen(SUFFIX) || strcmp(file_name + length - strlen(SUFFIX), SUFFIX) != 0)
                return false;
        *ret = strndup(file_name, length - strlen(SUFFIX));
        return !*ret || declaration_name_is_valid(*ret);
}

int volume_make(const IniFile *ini, const char *file_name, Volume *ret, Remarks *remarks, Error *error) {
        _cleanup_(volume_clear) Volume volume = {
                .device_timeout_usec = TIMEOUT_DEFAULT_USEC,
        };
        int r = 0;

        if (!name_is_valid(file_name, &volume.name))
                return error_set(
                                error, -EINVAL, FAILURE_CONFIGURATION,
                                "%s: Expected a file name of 1 to 64 letters, digits, \"-\", \"_\" and \".\" before \"" SUFFIX
                                "\". Rename the file.",
                                ini->file);
        volume.file = strdup(ini->file);
        if (!volume.name || !volume.file)
                return error_oom(error);
        for (size_t i = 0; r >= 0 && i < ini->count; i++)
                r = apply(ini->assignments + i, &volume, remarks, error);
        if (r >= 0)
                r = complete(ini, &volume, remarks, error);
        if (r < 0)
                return r;
        *ret = TAKE(volume, (Volume){});
        return 0;
}

/* Finds out whether the label has the ciphertext of the key: Source= of the secret says so. unseald reads all else of the secret, and
 * reports what is wrong with it. */
static int find_key(const char *vendor_directory, const char *local_directory, Volume *volume,
                    Remarks *remarks, Error *error) {
        _cleanup_(source_clear) Source source = {};
        _cleanup_ini_ IniFile *ini = NULL;
        _cleanup_free_ char *path = NULL;
        const IniAssignment *line;
        int r;

        if (!volume->writable)
                return 0;
        if (asprintf(&path, "secrets.d/%s.secret", volume->secret) < 0)
                return error_oom(error);
        r = ini_read(vendor_directory, local_directory, path, &ini, error);
        if (r < 0)
                return remarks_take(remarks, r, error);
        line = ini_find(ini, "Secret", "Source");
        r = line ? source_parse(line->value, &source, error) : -ENOENT;
        /* Not known is not no: a label without its ciphertext opens in this boot alone. */
        if (r == -ENOMEM)
                return r;
        if (r < 0 || source.kind != SOURCE_VOLUME)
                return 0;
        volume->key_in_label = strcmp(source.location, volume->name) == 0;
        if (volume->key_in_label)
                return 0;
        return remarks_take(
                        remarks,
                        error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                  "%s: Key=%s is the secret of another volume: its Source= is volume:%s, not volume:%s. Correct Key= or Source=.",
                                  volume->file, volume->secret, source.location, volume->name),
                        error);
}

/* 1: *ret is filled. 0: the file is masked or missing, or cannot be used. */
static int examine(const char *vendor_directory, const char *local_directory, const char *file_name,
                   Volume *ret, Remarks *remarks, Error *error) {
        _cleanup_free_ char *path = NULL;
        _cleanup_ini_ IniFile *ini = NULL;
        int r;

        if (asprintf(&path, "volumes.d/%s", file_name) < 0)
                return error_oom(error);
        r = ini_examine(vendor_directory, local_directory, path, &ini, remarks, error);
        if (r < 0)
                return r;
        if (!ini->file)
                return 0;
        r = volume_make(ini, file_name, ret, remarks, error);
        if (r < 0)
                return remarks_take(remarks, r, error);
        r = find_key(vendor_directory, local_directory, ret, remarks, error);
        if (r < 0)
                volume_clear(ret);
        return r < 0 ? r : 1;
}

int volume_read(const char *vendor_directory, const char *local_directory, const char *name, Volume *ret,
                Error *error) {
        _cleanup_free_ char *file_name = NULL;
        int r;

        if (!declaration_name_is_valid(name))
                return error_set(
                                error, -EINVAL, FAILURE_CONFIGURATION,
                                "\"%s\" is not the name of a volume. Give the name of a file in volumes.d/, without \"" SUFFIX
                                "\".",
                                name);
        if (asprintf(&file_name, "%s" SUFFIX, name) < 0)
                return error_oom(error);
        r = examine(vendor_directory, local_directory, file_name, ret, NULL, error);
        if (r == 0)
                r = error_set(error, -ENOENT, FAILURE_CONFIGURATION,
                              "The volume %s is not declared: there is no %s/volumes.d/%s, nor in %s.", name,
                              vendor_directory, file_name, local_directory);
        return r < 0 ? r : 0;
}

static bool is_same_device(const DeviceSelector *one, const DeviceSelector *other) {
        return one->text[0] && one->kind == other->kind && strcmp(one->text, other->text) == 0;
}

/* Each would start it while it runs for the other. */
static bool is_same_hook(const Volume *one, const Volume *other) {
        return one->on_open && other->on_open && strcmp(one->on_open, other->on_open) == 0;
}

/* Compares the last volume with those before it. */
static int check_pairs(const Volumes *volumes, Remarks *remarks, Error *error) {
        const Volume *last = volumes->items + volumes->count - 1;
        int r = 0;

        for (const Volume *other = volumes->items; r >= 0 && other < last; other++) {
                const char *what = strcmp(other->where, last->where) == 0          ? "Where="
                                   : is_same_device(&other->device, &last->device) ? "Device="
                                   : is_same_hook(other, last)                     ? "OnOpen="
                                                                                   : NULL;

                if (what)
                        r = remarks_take(
                                        remarks,
                                        error_set(error, -EEXIST, FAILURE_CONFIGURATION,
                                                  "%s: %s is the same as in %s. Each volume has a device, a place and a unit of its own.",
                                                  last->file, what, other->file),
                                        error);
        }
        return r;
}

int volumes_examine(const char *vendor_directory, const char *local_directory, Volumes *ret,
                    Remarks *remarks, Error *error) {
        _cleanup_(volumes_clear) Volumes volumes = {};
        _cleanup_strings_ char **names = NULL;
        int r;

        r = ini_list(vendor_directory, local_directory, "volumes.d", SUFFIX, &names, error);
        r = remarks_take(remarks, r, error);
        if (r < 0)
                return r;
        volumes.items = calloc(strings_count(names) + 1, sizeof(Volume));
        if (!volumes.items)
                return error_oom(error);
        if (strings_count(names) > VOLUMES_MAX)
                return error_set(
                                error, -E2BIG, FAILURE_CONFIGURATION,
                                "%zu volumes are declared in volumes.d/, and an instance takes no more than %u.",
                                strings_count(names), VOLUMES_MAX);
        for (char **name = names; name && *name; name++) {
                r = examine(vendor_directory, local_directory, *name, &volumes.items[volumes.count], remarks,
                            error);
                if (r > 0) {
                        volumes.count++;
                        r = check_pairs(&volumes, remarks, error);
                }
                if (r < 0)
                        return r;
        }
        *ret = TAKE(volumes, (Volumes){});
        return 0;
}
