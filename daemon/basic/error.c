/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "basic/error.h"
#include "basic/text.h"

_printf_(5, 0) static int error_setv(Error *error, int r, Failure failure, Remedy remedy, const char *format,
                                     va_list arguments) {
        assert(r < 0);

        if (!error)
                return r;

        if (error_is_of_resources(r) && failure_is_final(failure) && failure != FAILURE_MEMORY) {
                failure = FAILURE_INTERNAL;
                remedy = REMEDY_RETRY;
        }
        *error = (Error){ .failure = failure, .remedy = remedy };
        (void) vsnprintf(error->text, sizeof(error->text), format, arguments);
        (void) text_clean(error->text);
        return r;
}

int error_set(Error *error, int r, Failure failure, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        r = error_setv(error, r, failure, REMEDY_NONE, format, arguments);
        va_end(arguments);
        return r;
}

int error_set_remedy(Error *error, int r, Failure failure, Remedy remedy, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        r = error_setv(error, r, failure, remedy, format, arguments);
        va_end(arguments);
        return r;
}

int error_oom(Error *error) {
        return error_set(error, -ENOMEM, FAILURE_INTERNAL, "Out of memory.");
}

bool error_is_of_resources(int r) {
        switch (-r) {
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case EINTR:
        case EAGAIN:
                return true;
        default:
                return false;
        }
}

bool failure_is_final(Failure failure) {
        switch (failure) {
        case FAILURE_NONE:
        case FAILURE_INTERNAL:
        case FAILURE_TPM:
        case FAILURE_IMDS:
        case FAILURE_ROLE:
        case FAILURE_NETWORK:
        case FAILURE_CLOCK:
        case FAILURE_UNAVAILABLE:
        case FAILURE_LATE:
                return false;
        default:
                return true;
        }
}

const char *failure_to_string(Failure failure) {
        switch (failure) {
        case FAILURE_NONE:
                return "none";
        case FAILURE_INTERNAL:
                return "internal";
        case FAILURE_MEMORY:
                return "memory";
        case FAILURE_STORE:
                return "store";
        case FAILURE_TPM:
                return "tpm";
        case FAILURE_NOT_NITRO:
                return "not-nitrotpm";
        case FAILURE_ATTESTATION:
                return "attestation";
        case FAILURE_SOURCE:
                return "source";
        case FAILURE_IMDS:
                return "imds";
        case FAILURE_ROLE:
                return "role";
        case FAILURE_NETWORK:
                return "network";
        case FAILURE_TLS:
                return "tls";
        case FAILURE_CLOCK:
                return "clock";
        case FAILURE_UNAVAILABLE:
                return "unavailable";
        case FAILURE_DENIED:
                return "access-denied";
        case FAILURE_KEY:
                return "key";
        case FAILURE_CIPHERTEXT:
                return "ciphertext";
        case FAILURE_DOCUMENT:
                return "document";
        case FAILURE_REQUEST:
                return "request";
        case FAILURE_ANSWER:
                return "answer";
        case FAILURE_POLICY:
                return "policy";
        case FAILURE_LOCKED:
                return "locked";
        case FAILURE_SIGNATURE:
                return "signature";
        case FAILURE_LATE:
                return "late";
        case FAILURE_USAGE:
                return "usage";
        case FAILURE_CONFIGURATION:
                return "configuration";
        }
        return "unknown";
}

Failure failure_from_string(const char *name) {
        for (Failure known = FAILURE_INTERNAL; known <= FAILURE_CONFIGURATION; known++)
                if (strcmp(failure_to_string(known), name) == 0)
                        return known;
        return FAILURE_INTERNAL;
}
