/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "volume/device-search.h"
#include "volume/ebs-identity.h"

/* NVM Express Base Specification, "Admin Command Set": Identify, and the CNS of the controller's data structure. */
#define NVME_IDENTIFY 0x06
#define NVME_CNS_CONTROLLER 1U
#define NVME_TIMEOUT_MSEC 5000U

static int nvme_command(int fd, struct nvme_admin_cmd *command) {
        int r = ioctl(fd, NVME_IOCTL_ADMIN_CMD, command);

        return r < 0 ? -errno : r;
}

const DevicePlaces device_places = {
        .block = "/sys/class/block",
        .dev = "/dev",
        .command = nvme_command,
};

/* -ENODEV: the controller has answered, and is not one of EBS. */
static int identify(const DevicePlaces *places, const char *name, EbsIdentity *ret) {
        uint8_t page[IDENTIFY_PAGE_SIZE] = {};
        struct nvme_admin_cmd command = {
                .opcode = NVME_IDENTIFY,
                .addr = (uint64_t) (uintptr_t) page,
                .data_len = sizeof(page),
                .cdw10 = NVME_CNS_CONTROLLER,
                .timeout_ms = NVME_TIMEOUT_MSEC,
        };
        char path[DEVICE_PATH_MAX];
        _cleanup_close_ int fd = -1;
        int r;

        (void) snprintf(path, sizeof(path), "%s/%s", places->dev, name);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
        if (fd < 0)
                return -EIO;
        r = places->command(fd, &command);
        if (r != 0)
                return -EIO;
        return ebs_identity_parse(page, ret);
}

/* A whole NVMe disk. Its partitions have the same controller. */
static bool is_nvme_disk(const DevicePlaces *places, const char *name) {
        char path[DEVICE_PATH_MAX];

        if (strncmp(name, "nvme", 4) != 0 || strlen(name) > 64)
                return false;
        (void) snprintf(path, sizeof(path), "%s/%s/partition", places->block, name);
        return access(path, F_OK) < 0;
}

typedef struct Search {
        const DeviceSelector *selector;
        unsigned matches;
        char path[DEVICE_PATH_MAX]; /* of the first match */
        char matching[300], others[300];
} Search;

/* Devices for which the list has no room are not named, and the list says so. */
static void note(char *list, size_t size, const char *path, const EbsIdentity *identity) {
        size_t length = strlen(list);
        int n = snprintf(list + length, size - length, "%s%s (%s%s%s)", length > 0 ? ", " : "", path,
                         identity->volume_id, identity->attachment[0] ? " as " : "", identity->attachment);

        if (n < 0 || (size_t) n >= size - length) {
                size_t room = size - sizeof(" …");

                memcpy(list + (length < room ? length : room), " …", sizeof(" …"));
        }
}

static void consider(const DevicePlaces *places, const char *name, Search *search) {
        const DeviceSelector *selector = search->selector;
        char path[DEVICE_PATH_MAX];
        EbsIdentity identity = {};
        int r;

        /* A controller that does not answer is no candidate: the device may be just leaving. */
        r = is_nvme_disk(places, name) ? identify(places, name, &identity) : -ENOENT;
        if (r < 0 && r != -ENODEV)
                return;
        (void) snprintf(path, sizeof(path), "%s/%s", places->dev, name);
        if (r == -ENODEV)
                (void) snprintf(identity.volume_id, sizeof(identity.volume_id), "not of EBS");
        if (r < 0 || strcmp(selector->text, selector->kind == DEVICE_VOLUME_ID ? identity.volume_id
                                                                               : identity.attachment) != 0) {
                note(search->others, sizeof(search->others), path, &identity);
                return;
        }
        if (search->matches++ == 0)
                (void) snprintf(search->path, sizeof(search->path), "%s", path);
        note(search->matching, sizeof(search->matching), path, &identity);
}

static int judge(const Search *search, char ret[static DEVICE_PATH_MAX], Error *error) {
        const char *text = search->selector->text;

        if (search->matches == 0)
                return error_set_remedy(
                                error, -ENOENT, FAILURE_SOURCE, REMEDY_RETRY,
                                "No EBS volume is attached that Device=%s selects. Attached are: %s. Attach the volume, or correct Device=.",
                                text, search->others[0] ? search->others : "none");
        if (search->matches > 1)
                return error_set(
                                error, -ENOTUNIQ, FAILURE_SOURCE,
                                "Device=%s selects %u devices, and unseald-volume does not choose: %s. Select the volume by its id, or detach the others.",
                                text, search->matches, search->matching);
        memcpy(ret, search->path, DEVICE_PATH_MAX);
        return 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int find_attached(const DevicePlaces *places, const DeviceSelector *selector,
                         char ret[static DEVICE_PATH_MAX], Error *error) {
        Search search = { .selector = selector };
        struct dirent **names = NULL;
        int n = scandir(places->block, &names, NULL, compare_names);

        if (n < 0)
                return error_set(error, -errno, FAILURE_SOURCE,
                                 "The block devices in %s cannot be listed: %m.", places->block);
        for (int i = 0; i < n; i++) {
                consider(places, names[i]->d_name, &search);
                free(names[i]);
        }
        free(names);
        return judge(&search, ret, error);
}

int device_find(const DevicePlaces *places, const DeviceSelector *selector, char ret[static DEVICE_PATH_MAX],
                Error *error) {
        struct stat st;

        if (selector->kind != DEVICE_PATH)
                return find_attached(places, selector, ret, error);
        if (stat(selector->text, &st) < 0)
                return error_set_remedy(
                                error, -errno, FAILURE_SOURCE, REMEDY_RETRY,
                                "The device %s, which Device= names, is not there: %m. Attach the volume, or correct Device=.",
                                selector->text);
        (void) snprintf(ret, DEVICE_PATH_MAX, "%s", selector->text);
        return 0;
}
