/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opens and closes one volume, for unseald-volume@NAME.service. It is the one program with rights over block devices: it has no network,
 * mounts nothing, and ends when the volume is open. A new read-write volume gets its file system from systemd-makefs(8). The key comes as a credential of the unit.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/io.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "build-config.h"
#include "config/declaration.h"
#include "config/volumes.h"
#include "memory/secret.h"
#include "unseald-volume/opening.h"
#include "unseald-volume/state.h"

static const char usage[] =
                "unseald-volume VERB NAME\n\n"
                "Open or close a volume (unseald-volume@.service(8)).\n\n"
                "  label NAME          Copy what the label of a read-write volume holds, for unseald\n"
                "  attach NAME         Open the volume as /dev/mapper/unseald-NAME\n"
                "  detach NAME         Close it\n"
                "  report DEVICE WHAT  Write the journal entry of a corrupt block; a udev rule calls it\n"
                "  -h --help           Show this help\n"
                "     --version        Show the version\n";

/* Reads the credential into locked memory. The copy in $CREDENTIALS_DIRECTORY is the service manager's, which removes it. */
static int read_credential(const Volume *volume, Secret **ret, Error *error) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_secret_ Secret *text = NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -1;
        ssize_t n;

        if (asprintf(&path, "%s/%s", directory ?: "", volume->secret) < 0 ||
            secret_new(VOLUME_KEY_TEXT_MAX + 1, &text) < 0)
                return error_oom(error);
        fd = directory ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
                return error_set(
                                error, -ENOENT, FAILURE_CONFIGURATION,
                                "The key of the volume %s is no credential of this unit. Start it as unseald-volume@%s.service, which gets LoadCredential=%s: from unseald-generator.",
                                volume->name, volume->name, volume->secret);
        n = read_up_to(fd, secret_bytes(text), secret_size(text));
        if (n < 0)
                return error_set(error, (int) n, FAILURE_INTERNAL, "The credential %s cannot be read: %s.",
                                 volume->secret, strerror((int) -n));
        secret_truncate(text, (size_t) n);
        *ret = TAKE_PTR(text);
        return 0;
}

static int attach_read_only(const Volume *volume, Secret *text, Error *error) {
        _cleanup_volume_key_ VolumeKey key = {};
        int r = volume_key_parse((const char *) secret_bytes(text), secret_size(text), &key, error);

        if (r < 0)
                return r;
        if (strcmp(key.name, volume->secret) != 0)
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The secret %s is the key of another volume, %s. Seal the key that was made for %s.",
                                volume->secret, key.name, volume->secret);
        return volume_open(&device_places, volume, &key, error);
}

/* unseald writes the file before anybody can get the key. */
static int read_sealed(const Volume *volume, SealedKey *ret, Error *error) {
        _cleanup_free_ char *path = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size = 0;
        int r;

        if (asprintf(&path, UNSEALD_RUNTIME_DIR "/sealed/%s", volume->name) < 0)
                return error_oom(error);
        r = read_file(path, sizeof(ret->bytes), &data, &size);
        if (r >= 0 && size == 0)
                r = -ENODATA;
        if (r < 0)
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The ciphertext of the key of the volume %s cannot be read from %s: %s. Without it the next boot could not open the volume. unseald writes it only when it asks KMS for the key. Restart the machine.",
                                volume->name, path, strerror(-r));
        memcpy(ret->bytes, data, size);
        ret->size = size;
        return 0;
}

static int attach_state(const Volume *volume, Secret *data_key, Error *error) {
        SealedKey sealed;
        int r = volume->key_in_label ? read_sealed(volume, &sealed, error) : 0;

        return r < 0 ? r
                     : state_open(&device_places, volume, volume->key_in_label ? &sealed : NULL, data_key,
                                  error);
}

static int attach(const char *name, Error *error) {
        _cleanup_(volume_clear) Volume volume = {};
        _cleanup_secret_ Secret *text = NULL;
        int r;

        r = memory_protect_process(error);
        if (r >= 0)
                r = volume_read(UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR, name, &volume, error);
        if (r >= 0)
                r = read_credential(&volume, &text, error);
        if (r < 0)
                return r;
        return volume.writable ? attach_state(&volume, text, error) : attach_read_only(&volume, text, error);
}

static int copy_label(const char *name, Error *error) {
        _cleanup_(volume_clear) Volume volume = {};
        int r = volume_read(UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR, name, &volume, error);

        if (r < 0)
                return r;
        if (!volume.key_in_label)
                return error_set(
                                error, -EINVAL, FAILURE_CONFIGURATION,
                                "The key of the volume %s is not in its label: that needs Mode=state, and Source=volume:%s in %s.secret.",
                                name, name, volume.secret);
        return state_copy_label(&device_places, &volume, UNSEALD_LABELS_DIR, error);
}

static int detach(const char *name, Error *error) {
        if (!declaration_name_is_valid(name))
                return error_set(error, -EINVAL, FAILURE_USAGE, "\"%s\" is not the name of a volume.", name);
        return volume_close(name, error);
}

/* udev's, so nobody reads standard error. */
static int report(const char *device, const char *what, Error *error) {
        static const char prefix[] = "unseald-";

        log_to_journal();
        if (strncmp(device, prefix, strlen(prefix)) == 0 &&
            declaration_name_is_valid(device + strlen(prefix)) &&
            volume_report_corruption(device + strlen(prefix), what) >= 0)
                return 0;
        return error_set(error, -EINVAL, FAILURE_USAGE,
                         "Expected the name of a device and 0,BLOCK or 1,BLOCK.");
}

int main(int argc, char *argv[]) {
        const char *verb = argc > 1 ? argv[1] : "";
        Error error = {};
        int r;

        if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
                fputs(usage, stdout);
                return EXIT_SUCCESS;
        }
        if (strcmp(verb, "--version") == 0) {
                puts("unseald-volume " UNSEALD_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc == 3 && strcmp(verb, "attach") == 0)
                r = attach(argv[2], &error);
        else if (argc == 3 && strcmp(verb, "label") == 0)
                r = copy_label(argv[2], &error);
        else if (argc == 3 && strcmp(verb, "detach") == 0)
                r = detach(argv[2], &error);
        else if (argc == 4 && strcmp(verb, "report") == 0)
                r = report(argv[2], argv[3], &error);
        else {
                fputs(usage, stderr);
                return FAILURE_USAGE;
        }
        if (r >= 0)
                return EXIT_SUCCESS;
        /* For "unsealctl status". The manager listens to the service of a read-write volume alone. */
        notify_status("%s", error.text);
        log_full(LOG_ERR,
                 &(LogFields){ .message_id = MESSAGE_VOLUME_FAILED, .volume = argv[2], .error = &error },
                 "%s", error.text);
        return (int) error.failure;
}
