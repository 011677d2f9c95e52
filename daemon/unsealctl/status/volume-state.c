/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "basic/text.h"
#include "unsealctl/status/volume-state.h"
#include "unsealctl/unit-properties.h"
#include "volume/label.h"

#define DIGITS "0123456789"

static const char *state_of(const char *properties, const char *text) {
        char active[32], sub[32];

        if (!properties)
                return "unknown";
        (void) unit_property(properties, "ActiveState", active, sizeof(active));
        (void) unit_property(properties, "SubState", sub, sizeof(sub));
        if (strcmp(active, "active") == 0 || strcmp(active, "deactivating") == 0)
                return "open";
        if (strcmp(active, "failed") == 0 || strcmp(sub, "auto-restart") == 0)
                return "failed";
        if (strcmp(active, "activating") != 0)
                return "closed";
        return strncmp(text, VOLUME_FORMATTING, strlen(VOLUME_FORMATTING)) == 0 ? "formatting" : "opening";
}

void volume_state(const char *properties, const char *environment, VolumeState *ret) {
        *ret = (VolumeState){};
        (void) unit_property(properties, "StatusText", ret->text, sizeof(ret->text));
        (void) text_clean(ret->text);
        ret->state = state_of(properties, ret->text);
        if (strcmp(ret->state, "open") != 0)
                return;
        ret->text[0] = '\0';
        (void) unit_property(environment, "UNSEALD_VOLUME_COUNTER", ret->counter, sizeof(ret->counter));
        (void) unit_property(environment, "UNSEALD_VOLUME_DEVICE", ret->device, sizeof(ret->device));
        (void) text_clean(ret->device);
        if (strspn(ret->counter, DIGITS) != strlen(ret->counter))
                ret->counter[0] = '\0';
}
