/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "unsealing/passage-key.h"
#include "unsealing/waiting.h"

static void fill(const Step *step, uint64_t begun_usec, StatusWaiting *ret) {
        ret->step = step->name;
        ret->since_usec = step->since_usec > 0 ? step->since_usec : begun_usec;
        ret->next_usec = step->progress == STEP_IDLE && step->attempts > 0 ? step->not_before_usec : 0;
        ret->attempts = step->attempts;
        ret->error = step_error(step);
}

/* Says what a step of all secrets waits for. Returns NULL for a step of one secret. */
static const char *shared_words(const Passage *passage, const Step *step) {
        Attester *attester = passage->shared->attester;
        Instance *instance = passage->shared->instance;

        if (step == attester_step(attester, ATTESTER_KEY_PAIR))
                return "the key pair of this boot";
        if (step == attester_step(attester, ATTESTER_TPM))
                return "the TPM";
        if (step == attester_step(attester, ATTESTER_DOCUMENT))
                return "the attestation document of the TPM";
        if (step == instance_step(instance, INSTANCE_CREDENTIALS))
                return "credentials of the instance's role from IMDS";
        if (step == instance_step(instance, INSTANCE_IDENTITY))
                return "the instance identity document from IMDS";
        if (step == instance_step(instance, INSTANCE_USER_DATA))
                return "the user data from IMDS";
        return NULL;
}

void waiting_for_secret(Passage *passage, uint64_t begun_usec, StatusWaiting *ret) {
        const Step *step;
        const char *words;

        *ret = (StatusWaiting){};
        if (passage->state >= SECRET_UNSEALED)
                return;
        step = passage_obstacle(passage);
        words = shared_words(passage, step);
        if (words)
                (void) snprintf(ret->what, sizeof(ret->what), "%s", words);
        else if (step == &passage->fetch)
                (void) snprintf(ret->what, sizeof(ret->what), "%.180s", passage->declaration->source.label);
        else
                (void) snprintf(ret->what, sizeof(ret->what), "KMS in %s", passage_region(passage));
        fill(step, begun_usec, ret);
        if (step == passage_step(passage))
                ret->secret = passage->declaration->name;
}

void waiting_for_manager(const Step *step, uint64_t begun_usec, StatusWaiting *ret) {
        *ret = (StatusWaiting){};
        (void) snprintf(ret->what, sizeof(ret->what), "the service manager, to keep the secrets");
        fill(step, begun_usec, ret);
}

void waiting_for_measurement(const Step *step, uint64_t begun_usec, StatusWaiting *ret) {
        *ret = (StatusWaiting){};
        (void) snprintf(ret->what, sizeof(ret->what), "the TPM, to measure the sealed secrets");
        fill(step, begun_usec, ret);
}

void waiting_for_step(const Step *step, unsigned pcr, uint64_t begun_usec, StatusWaiting *ret) {
        *ret = (StatusWaiting){};
        if (pcr > 0)
                (void) snprintf(ret->what, sizeof(ret->what), "the TPM, to lock PCR%u", pcr);
        else
                (void) snprintf(ret->what, sizeof(ret->what), "the store");
        fill(step, begun_usec, ret);
}
