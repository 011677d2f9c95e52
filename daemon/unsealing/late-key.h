/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is kept of a late message (Late=) until its last byte is there: the data key that KMS has decrypted, and the digest of the header
 * that it came with. The key serves that one message: its context, its signature and its pin were judged by its header. Writers that
 * cache data keys make several messages with one key. Pure.
 */

#include "basic/slice.h"
#include "memory/secret.h"

#define LATE_KEY_DIGEST_SIZE 32U /* SHA-256 of the header, which comes first */

/* header: the whole header of the message. data_key is borrowed. -ENOMEM, or -EIO if OpenSSL cannot hash. */
int late_key_new(Slice header, Secret *data_key, Secret **ret);

/* 1: the key is that of this header. 0: it is that of another one. -EBADMSG: late_key_new() has not made it. -EIO: OpenSSL. */
int late_key_fits(Secret *late_key, Slice header);

/* Copies the data key out. -EBADMSG: late_key_new() has not made it. */
int late_key_open(Secret *late_key, Secret **ret);
