/* SPDX-License-Identifier: Apache-2.0 */

/* Reads the answer of an NVMe controller. What comes out has only characters that may stand in a message. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "volume/device-selector.h"
#include "volume/ebs-identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t page[IDENTIFY_PAGE_SIZE] = {};
        DeviceSelector selector;
        EbsIdentity identity;

        memcpy(page, data, size < sizeof(page) ? size : sizeof(page));
        if (ebs_identity_parse(page, &identity) < 0)
                return 0;
        assert(device_selector_parse(identity.volume_id, &selector) >= 0 &&
               selector.kind == DEVICE_VOLUME_ID);
        assert(strlen(identity.attachment) <= 32);
        assert(strspn(identity.attachment, "abcdefghijklmnopqrstuvwxyz0123456789") ==
               strlen(identity.attachment));
        return 0;
}
