/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the owner of a machine needs to know when unsealing fails or takes long, and no more: the part of status.json that says
 * what happened, and the explanation of the message catalog. unsealctl report prints it on the console of a machine to which
 * nobody logs in, and unseald-attest answers /status with it. It contains no secret: status.json has none. Pure.
 */

#include <stddef.h>

typedef struct CatalogText {
        const char *message_id, *subject, *text; /* text: lines, without a newline at its end */
} CatalogText;

/* The explanation of conf/unseald.catalog. NULL: there is none for this ID, or the ID is NULL. */
const CatalogText *catalog_text(const char *message_id);

/*
 * Makes the report, JSON as unseald-attest(8) documents it, from the text of status.json. The caller frees *ret. -EBADMSG: the
 * text is no status file. -ENOMEM.
 */
int failure_report_make(const char *status, size_t size, char **ret);
