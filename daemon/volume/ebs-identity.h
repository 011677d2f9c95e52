/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the controller of an EBS volume says of itself: the answer to the NVMe command Identify with CNS 1.
 *
 * Sources: NVM Express Base Specification, "Identify Controller Data Structure" (bytes 0-1 PCI vendor, 4-23 serial number, 24-63 model
 * number, both in ASCII and padded with spaces, 3072-4095 vendor-specific); Amazon EBS User Guide, "Map Amazon EBS volumes to NVMe
 * device names" (the serial number is the id of the volume without its dash; the 32 bytes from 3072 on are the name of the
 * attachment, padded with spaces).
 *
 * The owner of the account chooses both values, so they select a device and prove nothing.
 */

#include <stdint.h>

#define IDENTIFY_PAGE_SIZE 4096U

typedef struct EbsIdentity {
        char volume_id[32];  /* "vol-0123456789abcdef0" */
        char attachment[33]; /* without /dev/; empty: the controller does not say it */
} EbsIdentity;

/* -ENODEV: it is no controller of EBS, such as that of an instance store. -EBADMSG: its serial number is not the id of a volume. A name
 * of an attachment with other characters than a-z and 0-9 becomes empty. Pure. */
int ebs_identity_parse(const uint8_t page[static IDENTIFY_PAGE_SIZE], EbsIdentity *ret);
