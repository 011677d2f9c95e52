/* SPDX-License-Identifier: Apache-2.0 */

#include "unsealing/passage-key.h"
#include "basic/log.h"

const RequestKey *passage_key(const Passage *passage) {
        return passage->keys ? passage->keys + passage->key : NULL;
}

const char *passage_region(const Passage *passage) {
        const RequestKey *key = passage_key(passage);

        return key ? key->key.region : passage->target.key.region;
}

/* Until the header of a message is read, every key may have made a data key of it. */
static bool key_may_open(const Passage *passage, size_t key) {
        Slice data_key;

        return !passage->message.context || request_data_key(passage->declaration, &passage->message.header,
                                                             passage->keys + key, &data_key);
}

Slice passage_sealed_key(const Passage *passage) {
        Slice data_key = passage->message.data_key;

        (void) request_data_key(passage->declaration, &passage->message.header, passage_key(passage),
                                &data_key);
        return data_key;
}

/* An endpoint that is given up, since its certificate is not the right one, answers nobody. */
static bool may_answer(const Endpoint *endpoint) {
        return endpoint->connection.progress != STEP_DONE || !step_failed(&endpoint->connection);
}

/* The first key whose Region is not passed over and may answer; with others: of all Regions. Returns the number of keys if there is
 * none. */
static size_t find_key(const Passage *passage, bool others) {
        for (size_t i = 0; i < passage->keys_count; i++)
                if ((others || (!passage->endpoints[i]->passed_over && may_answer(passage->endpoints[i]))) &&
                    key_may_open(passage, i))
                        return i;
        return passage->keys_count;
}

/* No Region answers, so all are asked once more, from the first. A secret with one Region has nothing to choose: the others go on passing its
 * Region over. */
static size_t begin_round(const Passage *passage) {
        size_t first = find_key(passage, true), key;
        bool chooses = false;

        for (size_t i = first; i < passage->keys_count; i++)
                chooses = chooses ||
                          (key_may_open(passage, i) && passage->endpoints[i] != passage->endpoints[first]);
        for (size_t i = first; i < passage->keys_count && chooses; i++)
                if (key_may_open(passage, i))
                        passage->endpoints[i]->passed_over = false;
        key = find_key(passage, false);
        return key < passage->keys_count ? key : first;
}

static void log_choice(const Passage *passage, const RequestKey *before) {
        const RequestKey *key = passage_key(passage);

        log_full(passage->shared->report->quiet ? LOG_DEBUG : LOG_NOTICE,
                 &(LogFields){ .message_id = MESSAGE_OTHER_KEY,
                               .secret = passage->declaration->name,
                               .attempt = passage->decryption.attempts },
                 "%s: KMS in %s does not answer. KMS in %s is asked next, for the key %s.",
                 passage->declaration->name, before->key.region, key->key.region, key->arn);
}

void passage_choose_key(Passage *passage) {
        bool one_server = passage->shared->settings->kms_endpoint;
        size_t key = find_key(passage, one_server);
        bool is_round = key == passage->keys_count;
        const RequestKey *before = passage_key(passage);
        bool was_silent = passage->endpoint->passed_over;

        if (is_round)
                key = begin_round(passage);
        if (key == passage->key || key == passage->keys_count)
                return;
        /* Another Region has not failed, so nothing is gained by waiting. The way back waits, though: many secrets begin rounds for one
         * another, and would ask without end. */
        if (!is_round && key > passage->key)
                passage->decryption.not_before_usec = 0;
        passage->endpoint->secrets--;
        passage->key = key;
        passage->endpoint = passage->endpoints[key];
        passage->endpoint->secrets++;
        /* Its connection may begin, although its turn is over. */
        passage->shared->changed(passage->shared->userdata);
        if (was_silent)
                log_choice(passage, before);
}

static bool is_silence(const Error *error) {
        return error->failure == FAILURE_NETWORK || error->outage;
}

void passage_key_failed(Passage *passage, const Error *error) {
        if (!is_silence(error))
                return;
        endpoint_is_silent(passage->endpoint, &passage->decryption);
        passage_choose_key(passage);
}
