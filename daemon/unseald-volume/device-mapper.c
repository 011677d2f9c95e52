/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "basic/cleanup.h"
#include "unseald-volume/device-mapper.h"

#define BUFFER_SIZE 4096U

/* What the kernel and a program pass to each other: the head, then the targets. */
typedef union Call {
        struct dm_ioctl head;
        char bytes[BUFFER_SIZE];
} Call;

int dm_open(void) {
        int fd = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static void call_begin(Call *call, const char *name, uint32_t flags) {
        *call = (Call){};
        call->head.version[0] = DM_VERSION_MAJOR;
        call->head.data_size = sizeof(*call);
        call->head.data_start = sizeof(call->head);
        call->head.flags = flags;
        if (name)
                (void) snprintf(call->head.name, sizeof(call->head.name), "%s", name);
}

static int call_send(int dm, unsigned long request, Call *call) {
        return ioctl(dm, request, call) < 0 ? -errno : 0;
}

int dm_has_target(int dm, const char *target) {
        Call call;

        call_begin(&call, target, 0);
        return call_send(dm, DM_GET_TARGET_VERSION, &call);
}

static int load(int dm, const Mapping *mapping) {
        struct dm_target_spec *target;
        Call call;
        char *parameters;

        call_begin(&call, mapping->name, mapping->writable ? 0 : DM_READONLY_FLAG);
        call.head.target_count = 1;
        target = (struct dm_target_spec *) (void *) (call.bytes + sizeof(call.head));
        target->length = mapping->sectors;
        (void) snprintf(target->target_type, sizeof(target->target_type), "%s", mapping->target);
        parameters = (char *) (target + 1);
        (void) snprintf(parameters, MAPPING_PARAMETERS_MAX, "%s", mapping->parameters);
        return call_send(dm, DM_TABLE_LOAD, &call);
}

/* The ioctl that suspends also resumes. */
static int resume(int dm, const Mapping *mapping, dev_t *ret) {
        Call call;
        int r;

        call_begin(&call, mapping->name, mapping->writable ? 0 : DM_READONLY_FLAG);
        r = call_send(dm, DM_DEV_SUSPEND, &call);
        if (r >= 0)
                *ret = (dev_t) call.head.dev;
        return r;
}

int dm_create(int dm, const Mapping *mapping, dev_t *ret) {
        Call call;
        int r;

        call_begin(&call, mapping->name, 0);
        (void) snprintf(call.head.uuid, sizeof(call.head.uuid), "%s", mapping->uuid);
        r = call_send(dm, DM_DEV_CREATE, &call);
        if (r < 0)
                return r;
        r = load(dm, mapping);
        if (r >= 0)
                r = resume(dm, mapping, ret);
        if (r < 0)
                (void) dm_remove(dm, mapping->name);
        return r;
}

static int read_text(const Call *call, MappingState *state, char *ret, size_t size) {
        const struct dm_target_spec *target =
                        (const struct dm_target_spec *) (const void *) (call->bytes + call->head.data_start);
        const char *text = (const char *) (target + 1);

        if (call->head.target_count != 1 || call->head.flags & DM_BUFFER_FULL_FLAG ||
            call->head.data_start > sizeof(*call) - sizeof(*target) - size || strnlen(text, size) >= size)
                return -E2BIG;
        state->start = target->sector_start;
        state->sectors = target->length;
        memcpy(state->target, target->target_type, sizeof(target->target_type));
        state->target[sizeof(state->target) - 1] = '\0';
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

int dm_look(int dm, const char *name, MappingState *ret) {
        MappingState state = {};
        Call call;
        int r;

        call_begin(&call, name, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG);
        r = call_send(dm, DM_TABLE_STATUS, &call);
        if (r < 0)
                return r;
        state.active = call.head.flags & DM_ACTIVE_PRESENT_FLAG && !(call.head.flags & DM_SUSPEND_FLAG);
        state.read_only = call.head.flags & DM_READONLY_FLAG;
        state.device = (dev_t) call.head.dev;
        state.openers = (unsigned) call.head.open_count;
        memcpy(state.uuid, call.head.uuid, sizeof(state.uuid) - 1);
        if (state.active) {
                r = read_text(&call, &state, state.parameters, sizeof(state.parameters));
                if (r < 0)
                        return r;
                call_begin(&call, name, DM_NOFLUSH_FLAG);
                r = call_send(dm, DM_TABLE_STATUS, &call);
                if (r >= 0)
                        r = read_text(&call, &state, state.status, sizeof(state.status));
        }
        if (r >= 0)
                *ret = state;
        return r;
}

int dm_remove(int dm, const char *name) {
        Call call;

        call_begin(&call, name, 0);
        return call_send(dm, DM_DEV_REMOVE, &call);
}
