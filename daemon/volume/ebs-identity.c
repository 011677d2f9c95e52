/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volume/ebs-identity.h"

#define VENDOR_AMAZON 0x1d0fU
#define SERIAL_AT 4U
#define SERIAL_SIZE 20U
#define MODEL_AT 24U
#define MODEL_SIZE 40U
#define ATTACHMENT_AT 3072U
#define ATTACHMENT_SIZE 32U
#define HEX_DIGITS "0123456789abcdef"

/* Copies a field without the spaces and NULs that pad it. ret has size + 1 bytes. */
static void copy_field(const uint8_t *field, size_t size, char *ret) {
        while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
                size--;
        memcpy(ret, field, size);
        ret[size] = '\0';
}

static void read_attachment(const uint8_t *page, char ret[static ATTACHMENT_SIZE + 1]) {
        char text[ATTACHMENT_SIZE + 1];
        const char *name = text;

        copy_field(page + ATTACHMENT_AT, ATTACHMENT_SIZE, text);
        if (strncmp(name, "/dev/", 5) == 0)
                name += 5;
        if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(name) || name[0] == '\0' ||
            page[ATTACHMENT_AT] == '\0')
                name = "";
        (void) snprintf(ret, ATTACHMENT_SIZE + 1, "%s", name);
}

int ebs_identity_parse(const uint8_t page[static IDENTIFY_PAGE_SIZE], EbsIdentity *ret) {
        char serial[SERIAL_SIZE + 1], model[MODEL_SIZE + 1];
        EbsIdentity identity = {};
        size_t digits;

        copy_field(page + MODEL_AT, MODEL_SIZE, model);
        if ((unsigned) (page[0] | page[1] << 8) != VENDOR_AMAZON ||
            strcmp(model, "Amazon Elastic Block Store") != 0)
                return -ENODEV;

        copy_field(page + SERIAL_AT, SERIAL_SIZE, serial);
        if (strncmp(serial, "vol", 3) != 0)
                return -EBADMSG;
        digits = strspn(serial + 3, HEX_DIGITS);
        if ((digits != 8 && digits != 17) || serial[3 + digits] != '\0')
                return -EBADMSG;
        (void) snprintf(identity.volume_id, sizeof(identity.volume_id), "vol-%s", serial + 3);

        read_attachment(page, identity.attachment);
        *ret = identity;
        return 0;
}
