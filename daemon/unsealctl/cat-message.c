/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Shows what a message of the AWS Encryption SDK says of itself, without any key: nothing that is shown has been authenticated.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "basic/encoding.h"
#include "basic/text.h"
#include "source/message.h"
#include "unsealctl/ctl.h"

/* From a pipe. A file may be longer. */
#define PIPE_MAX (256U * 1024U * 1024U)

typedef struct View {
        uint8_t *mapped, *read; /* one of them holds the bytes */
        Slice message;
        MessageHeader header;
        uint32_t frames;
        uint64_t plaintext;
        size_t signature; /* bytes; 0: none */
        Error fault;      /* FAILURE_NONE: the message ends where it should */
} View;

static void view_done(View *view) {
        if (view->mapped)
                (void) munmap(view->mapped, view->message.size);
        free(view->read);
}

static bool map_file(const char *path, View *view) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        /* To open a pipe and close it again would take its writer away. */
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
                return false;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
                return false;
        void *mapped = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapped == MAP_FAILED)
                return false;
        view->mapped = mapped;
        view->message = (Slice){ mapped, (size_t) st.st_size };
        return true;
}

static int open_message(const char *path, View *view) {
        size_t size;
        int r;

        if (strcmp(path, "-") != 0 && map_file(path, view))
                return 0;
        r = read_argument(path, PIPE_MAX, &view->read, &size);
        if (r == 0)
                view->message = (Slice){ view->read, size };
        return r;
}

static int cut(const View *view, uint64_t at, const char *what, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "The message is malformed at byte %llu, after %u frames: %s. Copy it again.",
                         (unsigned long long) at, view->frames, what);
}

/* Counts the frames. Their tags need the key. */
static int walk(View *view, Error *error) {
        size_t at = view->header.size, needed;
        MessageFrame frame = {};

        while (!frame.final) {
                int r = message_frame_find(&view->header, view->frames + 1, view->message.data + at,
                                           view->message.size - at, at, MESSAGE_FRAME_MAX, &frame, &needed,
                                           error);

                if (r == -EAGAIN)
                        return cut(view, view->message.size, "it ends before its final frame", error);
                if (r < 0)
                        return r;
                at += frame.size;
                view->frames++;
                view->plaintext += frame.content.size;
        }
        if (view->header.suite->curve) {
                const uint8_t *end = view->message.data + at;
                size_t left = view->message.size - at, size = left > 2 ? (size_t) end[0] << 8 | end[1] : 0;

                if (size == 0 || left < 2 + size)
                        return cut(view, view->message.size, "it ends before its signature", error);
                view->signature = size;
                at += 2 + size;
        }
        return at < view->message.size ? cut(view, at, "bytes follow its end", error) : 0;
}

/* A copy that can be printed. A NUL must not hide what follows it. The caller frees it. */
static char *printable(const Slice *slice) {
        char *text = calloc(slice->size + 1, 1);

        if (!text) {
                (void) failure("Out of memory.");
                exit(EXIT_FAILURE);
        }
        for (size_t i = 0; i < slice->size; i++)
                text[i] = slice->data[i] == '\0' ? '?' : (char) slice->data[i];
        return text_clean(text);
}

static const char *derivation_of(const MessageSuite *suite) {
        return suite->derivation ?: "none";
}

static void print_text(const View *view) {
        const MessageHeader *header = &view->header;
        uint8_t digest[SHA256_DIGEST_LENGTH];
        _cleanup_free_ char *id = NULL, *sum = NULL;
        Slice key, value;

        (void) hex_encode(header->id.data, header->id.size, &id);
        (void) hex_encode(SHA256(view->message.data, header->size, digest), sizeof(digest), &sum);
        printf("Suite      0x%04x, %s, key derivation %s%s%s%s\n", header->suite->id, header->suite->cipher,
               derivation_of(header->suite),
               header->suite->commits ? ", commits to its key" : ", without commitment",
               header->suite->curve ? ", signed with " : "", header->suite->curve ?: "");
        printf("Message    %s\n", id ?: "");
        printf("Header     %zu bytes, SHA-256 %s\n", header->size, sum ?: "");
        for (size_t at = 0; message_context_next(header, &at, &key, &value);) {
                _cleanup_free_ char *name = printable(&key), *text = printable(&value);

                printf("Context    %s=%s\n", name, text);
        }
        for (unsigned i = 0; i < header->data_keys_count; i++) {
                const MessageDataKey *data_key = header->data_keys + i;
                _cleanup_free_ char *provider = printable(&data_key->provider),
                                    *info = printable(&data_key->info);

                printf("Data key   %s, %s, %zu bytes\n", provider, info, data_key->ciphertext.size);
        }
        if (header->framed)
                printf("Frames     %u of %u bytes\n", view->frames, header->frame_length);
        else
                printf("Frames     one block\n");
        printf("Plaintext  %llu bytes\n", (unsigned long long) view->plaintext);
        if (view->signature > 0)
                printf("Signature  %zu bytes, not checked\n", view->signature);
}

static struct json_object *number(uint64_t value) {
        return made(json_object_new_uint64(value));
}

static void print_json(const View *view) {
        const MessageHeader *header = &view->header;
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        struct json_object *context = made(json_object_new_object()), *keys = made(json_object_new_array());
        uint8_t digest[SHA256_DIGEST_LENGTH];
        char suite[8];
        Slice key, value;

        (void) snprintf(suite, sizeof(suite), "0x%04x", header->suite->id);
        add_string(object, "suite", suite);
        add(object, "commits", made(json_object_new_boolean(header->suite->commits)));
        add(object, "signed", made(json_object_new_boolean(header->suite->curve != NULL)));
        add_hex(object, "message_id", header->id.data, header->id.size);
        add(object, "header_size", number(header->size));
        add_hex(object, "header_sha256", SHA256(view->message.data, header->size, digest), sizeof(digest));
        for (size_t at = 0; message_context_next(header, &at, &key, &value);) {
                _cleanup_free_ char *name = printable(&key), *text = printable(&value);

                add_string(context, name, text);
        }
        add(object, "encryption_context", context);
        for (unsigned i = 0; i < header->data_keys_count; i++) {
                const MessageDataKey *data_key = header->data_keys + i;
                struct json_object *entry = made(json_object_new_object());
                _cleanup_free_ char *provider = printable(&data_key->provider),
                                    *info = printable(&data_key->info);

                add_string(entry, "provider", provider);
                add_string(entry, "info", info);
                add(entry, "size", number(data_key->ciphertext.size));
                if (json_object_array_add(keys, entry) < 0)
                        exit(failure("Out of memory."));
        }
        add(object, "data_keys", keys);
        add(object, "frame_length", number(header->frame_length));
        add(object, "frames", number(view->frames));
        add(object, "plaintext_size", number(view->plaintext));
        add(object, "whole", made(json_object_new_boolean(view->fault.failure == FAILURE_NONE)));
        puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                                    JSON_C_TO_STRING_NOSLASHESCAPE)
                             ?: "");
}

/* Every ciphertext of KMS begins in the same way; in base64, too. */
static bool is_ciphertext_of_kms(Slice data) {
        static const char base64[] = "AQICAH", bytes[] = "\1\2\2\0x";

        return (data.size > sizeof(base64) && memcmp(data.data, base64, sizeof(base64) - 1) == 0) ||
               (data.size > sizeof(bytes) && memcmp(data.data, bytes, sizeof(bytes) - 1) == 0);
}

static int cat(const char *path, bool json) {
        _cleanup_(view_done) View view = {};
        Error error = {};
        size_t needed;
        int r = open_message(path, &view);

        if (r != 0)
                return r;
        if (is_ciphertext_of_kms(view.message))
                return failure("%s is a ciphertext of KMS, not a message of the AWS Encryption SDK. It shows nothing without its key: \"unsealctl unseal --key=ARN --name=NAME %s\" asks KMS.",
                               path, path);
        r = message_header_parse(view.message.data, view.message.size,
                                 &(MessageHeaderOptions){ .allow_uncommitted = true }, &view.header, &needed,
                                 &error);
        if (r == -EAGAIN)
                return failure("%s: The header of the message is not complete: it has at least %zu bytes, and the file has %zu. Copy it again.",
                               path, needed, view.message.size);
        if (r < 0)
                return failure("%s: %s", path, error.text);
        (void) walk(&view, &view.fault);
        if (json)
                print_json(&view);
        else
                print_text(&view);
        return view.fault.failure == FAILURE_NONE ? EXIT_SUCCESS : failure("%s: %s", path, view.fault.text);
}

static void print_help(void) {
        printf("unsealctl cat-message [OPTIONS…] FILE\n\n"
               "Show header, encryption context, data keys and frames of a message, without any\n"
               "key. FILE may be - for standard input. Nothing that is shown is authenticated.\n\n"
               "  -h --help    Show this help\n"
               "     --json    Print JSON\n\n"
               "Exit status: 0 it ends where it should, 1 it does not or is no message, 2 usage.\n");
}

int verb_cat_message(int argc, char *argv[]) {
        enum { OPTION_JSON = 256 };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "json", no_argument, NULL, OPTION_JSON },
                {},
        };
        bool json = false;

        for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_JSON:
                        json = true;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (argc - optind != 1)
                return usage_error("cat-message takes one file as argument, or - for standard input.");
        return cat(argv[optind], json);
}
