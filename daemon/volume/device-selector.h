/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Device= of a volume: which block device is meant. A selector only finds a device; nobody believes it. What opens the volume is its
 * key, and what a wrong device holds does not match the root hash in that key.
 */

#include "basic/cleanup.h"

#define DEVICE_TEXT_MAX 256U

typedef enum DeviceKind {
        DEVICE_ATTACHMENT, /* the name of an EBS attachment (DeviceName of AttachVolume in the Amazon EC2 API Reference), without /dev/ */
        DEVICE_VOLUME_ID,  /* "vol-" and 8 or 17 hexadecimal digits in lower case */
        DEVICE_PATH,       /* an absolute path below /dev */
} DeviceKind;

typedef struct DeviceSelector {
        DeviceKind kind;
        char text[DEVICE_TEXT_MAX];
} DeviceSelector;

/*
 * Reads "sdf" or "/dev/sdf", "vol-0123456789abcdef0", or a path. On Nitro instances, which have no other disks than NVMe, /dev/sdf and
 * /dev/xvdf are names of attachments and never files; so sd or xvd, one or two letters, and up to two digits are such a name.
 * -EINVAL: the text is nothing of these, or longer than DEVICE_TEXT_MAX - 1. Pure.
 */
int device_selector_parse(const char *text, DeviceSelector *ret);
