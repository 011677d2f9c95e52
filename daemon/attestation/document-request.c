/* SPDX-License-Identifier: Apache-2.0 */

/* A member that is not known is refused: a misspelt one would make a document without the claim, and nobody would notice. */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "attestation/document-request.h"
#include "attestation/public-key.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "tpm/nsm.h"

typedef struct Member {
        const char *name;
        size_t data, size; /* offsets in DocumentRequest */
} Member;

static const Member members[] = {
        { "nonce", offsetof(DocumentRequest, nonce), offsetof(DocumentRequest, nonce_size) },
        { "user_data", offsetof(DocumentRequest, user_data), offsetof(DocumentRequest, user_data_size) },
        { "public_key", offsetof(DocumentRequest, public_key), offsetof(DocumentRequest, public_key_size) },
};

static int refuse(DocumentRefusal *refusal, const char *error, const char *message) {
        *refusal = (DocumentRefusal){ error, message };
        return -EBADMSG;
}

static const Member *find_member(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (strcmp(members[i].name, name) == 0)
                        return members + i;
        return NULL;
}

static int take_member(DocumentRequest *request, const Member *member, struct json_object *value,
                       DocumentRefusal *refusal) {
        uint8_t **data = (uint8_t **) ((uint8_t *) request + member->data);
        size_t *size = (size_t *) ((uint8_t *) request + member->size);
        int r;

        if (!json_object_is_type(value, json_type_string))
                return refuse(refusal, "malformed", "A member of the request is not a string.");
        r = base64_decode(json_object_get_string(value), (size_t) json_object_get_string_len(value), data,
                          size);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return refuse(refusal, "malformed",
                              "A member of the request is not base64 with its padding.");
        /* A document cannot tell an empty field from a missing one. */
        if (*size == 0 || *size > NSM_FIELD_MAX)
                return refuse(refusal, "size",
                              "A member of the request has no bytes or more than 1024 of them, decoded.");
        return 0;
}

static int take_members(struct json_object *object, DocumentRequest *request, DocumentRefusal *refusal) {
        if (!json_object_is_type(object, json_type_object))
                return refuse(refusal, "malformed", "The body is not a JSON object.");
        json_object_object_foreach(object, name, value) {
                const Member *member = find_member(name);
                int r;

                if (!member)
                        return refuse(refusal, "malformed",
                                      "The request has another member than nonce, user_data and public_key.");
                r = value ? take_member(request, member, value, refusal) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Only a key that OpenSSL has read and written is let through: what one reader takes for no RSA key could be one for another. */
static int judge_public_key(DocumentRequest *request, DocumentRefusal *refusal) {
        _cleanup_free_ uint8_t *given = TAKE_PTR(request->public_key);
        int r;

        if (!given)
                return 0;
        r = public_key_parse(given, request->public_key_size, &request->public_key,
                             &request->public_key_size);
        if (r == -EBADMSG || r == -E2BIG)
                return refuse(refusal, "public-key",
                              "public_key is neither a public key nor a certificate, in DER or PEM.");
        if (r < 0)
                return r;
        if (public_key_is_rsa(request->public_key, request->public_key_size))
                return refuse(refusal, "public-key",
                              "public_key is an RSA key, and KMS would encrypt secrets to it. Use an elliptic-curve key.");
        return 0;
}

static int judge_user_data(DocumentRequest *request, const char *unit, DocumentRefusal *refusal) {
        _cleanup_free_ uint8_t *given = NULL;
        int r;

        if (!unit)
                return 0;
        given = TAKE_PTR(request->user_data);
        r = document_user_data(unit, given, given ? request->user_data_size : 0, &request->user_data,
                               &request->user_data_size);
        if (r == -E2BIG)
                return refuse(refusal, "size",
                              "The name of the unit, a zero byte and user_data have more than 1024 bytes together.");
        return r;
}

int document_request_parse(const char *body, size_t size, const char *unit, DocumentRequest *ret,
                           DocumentRefusal *refusal) {
        _cleanup_(document_request_clear) DocumentRequest request = {};
        _cleanup_json_ struct json_object *object = NULL;
        int r = json_parse(body, size, &object);

        if (r == -EBADMSG)
                return refuse(refusal, "malformed", "The body is not JSON.");
        if (r >= 0)
                r = take_members(object, &request, refusal);
        if (r >= 0)
                r = judge_public_key(&request, refusal);
        if (r >= 0)
                r = judge_user_data(&request, unit, refusal);
        if (r < 0)
                return r;
        *ret = TAKE(request, (DocumentRequest){});
        return 0;
}

void document_request_clear(DocumentRequest *request) {
        free(request->nonce);
        free(request->user_data);
        free(request->public_key);
        *request = (DocumentRequest){};
}

int document_user_data(const char *unit, const void *data, size_t size, uint8_t **ret, size_t *ret_size) {
        size_t name = strlen(unit) + 1;
        uint8_t *bytes;

        if (name > NSM_FIELD_MAX || size > NSM_FIELD_MAX - name)
                return -E2BIG;
        bytes = malloc(name + size);
        if (!bytes)
                return -ENOMEM;
        memcpy(bytes, unit, name);
        if (size > 0)
                memcpy(bytes + name, data, size);
        *ret = bytes;
        *ret_size = name + size;
        return 0;
}

bool document_wants_cbor(const char *accept) {
        static const char type[] = "application/cbor";

        for (const char *range = accept; *range; range += strcspn(range, ",")) {
                size_t length;

                range += strspn(range, ", \t");
                length = strcspn(range, ",; \t");
                if (length == strlen(type) && strncasecmp(range, type, length) == 0)
                        return true;
        }
        return false;
}
