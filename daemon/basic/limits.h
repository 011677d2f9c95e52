/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The limits of one unseald that more than one room must know. Each limit that a late step would meet is checked where the
 * configuration is read: a configuration that cannot work must not first ask KMS for every secret, fail, and start again.
 */

#include <stdint.h>

/* Descriptors that the service manager keeps for unseald: FileDescriptorStoreMax= of unseald.service (systemd.service(5)). */
#define LIMIT_DESCRIPTORS 1024U

/* Declared secrets. A reload holds each of them twice, with two manifests, in the service manager. */
#define LIMIT_SECRETS 500U

/* Declared secrets with Late=yes. Until the last byte is there, the service manager also holds the data key of each. */
#define LIMIT_LATE_SECRETS 8U

/* Declared members of all bundles together (Format=bundle). They have no descriptors of their own; the manifest of the kept secrets
 * has a line for each. */
#define LIMIT_MEMBERS 4096U

/* Bytes of the names of a unit and of a credential together, if the unit asks the credential socket: they stand in one address of
 * 107 bytes (unix(7)), after "\\0", 16 hexadecimal digits, "/unit/" and a slash. */
#define LIMIT_UNIT_AND_CREDENTIAL 83U

/* Bytes of all names of kept descriptors in LISTEN_FDNAMES. Linux takes no longer string of the environment: MAX_ARG_STRLEN, 32
 * pages (execve(2)). */
#define LIMIT_LISTEN_FDNAMES (128U * 1024U)

/* Bytes of all plaintexts together: the default of StoreSizeMax=, and the most that it takes. ramfs has no limit of its own. The
 * default has room for one message of the default of SizeMax=. */
#define LIMIT_STORE_BYTES LIMIT_MESSAGE_BYTES
#define LIMIT_STORE_BYTES_MAX (UINT64_C(16) * 1024 * 1024 * 1024 * 1024)

/* Bytes of the plaintext of one message: the default of SizeMax=. The most is LIMIT_STORE_BYTES_MAX. */
#define LIMIT_MESSAGE_BYTES (UINT64_C(64) * 1024 * 1024)

/* Bytes of status.json up to which it is read: a few kilobytes for each of some hundred secrets. */
#define LIMIT_STATUS_BYTES (4U * 1024U * 1024U)

/* Bytes of one plaintext that KMS decrypts (AWS KMS API Reference, "Encrypt", Plaintext). */
#define LIMIT_PLAINTEXT_BYTES 4096U
