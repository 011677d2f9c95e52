/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/openssl-util.h"
#include "tpm/secret-events.h"

int secret_event_sealed(const uint8_t *data, size_t size, uint8_t ret[static PCR_SIZE]) {
        return EVP_Digest(data, size, ret, NULL, EVP_sha384(), NULL) == 1 ? 0 : -EIO;
}

int secret_event_digest(const char *name, const uint8_t sealed[static PCR_SIZE],
                        uint8_t ret[static PCR_SIZE]) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();

        if (!context)
                return -ENOMEM;
        return EVP_DigestInit_ex(context, EVP_sha384(), NULL) == 1 &&
                                               EVP_DigestUpdate(context, name, strlen(name) + 1) == 1 &&
                                               EVP_DigestUpdate(context, sealed, PCR_SIZE) == 1 &&
                                               EVP_DigestFinal_ex(context, ret, NULL) == 1
                               ? 0
                               : -EIO;
}

/* The last event of this PCR in front of `end`. NULL: there is none. */
static const SecretEvent *last_event(const SecretEvent *events, size_t end, unsigned pcr) {
        while (end > 0)
                if (events[--end].pcr == pcr)
                        return events + end;
        return NULL;
}

/* The value of the PCR once the event is extended. */
static int value_after(const SecretEvent *event, uint8_t ret[static PCR_SIZE]) {
        memcpy(ret, event->before, PCR_SIZE);
        return pcr_extend(ret, event->digest);
}

int secret_events_rebase(SecretEvent *events, size_t count, size_t first, unsigned pcr,
                         const uint8_t value[static PCR_SIZE]) {
        uint8_t next[PCR_SIZE];
        int r = 0;

        memcpy(next, value, PCR_SIZE);
        for (size_t i = first; i < count && r >= 0; i++)
                if (events[i].pcr == pcr) {
                        memcpy(events[i].before, next, PCR_SIZE);
                        r = pcr_extend(next, events[i].digest);
                }
        return r;
}

/* Plans the new events of one PCR. */
static int plan_pcr(SecretEvent *events, size_t count, size_t planned, bool extended, unsigned pcr,
                    const PcrSet *measured) {
        static const uint8_t zeros[PCR_SIZE];
        const SecretEvent *last = last_event(events, planned, pcr);
        uint8_t value[PCR_SIZE];
        size_t next;
        int r;

        if (last && !extended) {
                r = value_after(last, value);
                return r < 0 ? r : secret_events_rebase(events, count, planned, pcr, value);
        }
        if (!(measured->present & UINT32_C(1) << pcr))
                return -ENODATA;
        if (!last) {
                r = secret_events_rebase(events, count, planned, pcr, zeros);
                if (r >= 0)
                        r = secret_events_find(events, count, pcr, measured->value[pcr], &next);
                if (r != -ENOENT)
                        return r;
        }
        return secret_events_rebase(events, count, planned, pcr, measured->value[pcr]);
}

int secret_events_plan(SecretEvent *events, size_t count, size_t planned, bool extended,
                       const PcrSet *measured) {
        int r = 0;

        for (unsigned pcr = 0; pcr < PCR_COUNT && r >= 0; pcr++) {
                const SecretEvent *last = last_event(events, count, pcr);

                if (last && last >= events + planned)
                        r = plan_pcr(events, count, planned, extended, pcr, measured);
        }
        return r;
}

int secret_events_find(const SecretEvent *events, size_t count, unsigned pcr,
                       const uint8_t value[static PCR_SIZE], size_t *ret) {
        const SecretEvent *last = last_event(events, count, pcr);
        uint8_t after[PCR_SIZE];
        int r;

        if (!last) {
                *ret = count;
                return 0;
        }
        r = value_after(last, after);
        if (r < 0)
                return r;
        if (memcmp(after, value, PCR_SIZE) == 0) {
                *ret = count;
                return 0;
        }
        for (size_t i = count; i > 0; i--)
                if (events[i - 1].pcr == pcr && memcmp(events[i - 1].before, value, PCR_SIZE) == 0) {
                        *ret = i - 1;
                        return 0;
                }
        return -ENOENT;
}
