/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a read-write volume stands. unseald does not know: unseald-volume@NAME.service opens the volume, and writes the counter of its label
 * and its device to VOLUME_RUNTIME_DIR/NAME.env. Pure.
 */

#include <stddef.h>

#define VOLUME_STATE_TEXT_MAX 1024U

typedef struct VolumeState {
        /*
         * closed: the service has not run, or was stopped. opening: it waits for key or device, or opens the volume. formatting: a new
         * volume gets its tags and its file system. open. failed: also while the service will try again. unknown: there is no answer of
         * the service manager.
         */
        const char *state;
        char counter[24];                   /* decimal; "": not open, or not known */
        char device[VOLUME_STATE_TEXT_MAX]; /* likewise */
        char text[VOLUME_STATE_TEXT_MAX];   /* what the service says, unless the volume is open; cleaned */
} VolumeState;

/* properties: the output of systemctl show for the service; NULL: it is not known. environment: the text of the file; NULL: there is none. It
 * counts only while the volume is open, since it may be of an earlier opening. */
void volume_state(const char *properties, const char *environment, VolumeState *ret);
