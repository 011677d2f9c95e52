/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How fast the body of a message becomes a file of the store (unsealing/body.h), beside what the machine could do at best. Each round runs
 * all candidates in turn; the table has medians. It needs root, and makes a ramfs and a store of its own: the store is what
 * unseald-generator makes of it on this kernel.
 *
 *     message-body FILE MIB ROUNDS [STORE]        FILE: where the messages are written, in the page cache at best
 *                                                 STORE: "ramfs", or the options of a tmpfs
 *
 * For tests/integration/freed-pages.sh it also makes one message, whose plaintext is one text again and again, and opens one into a store:
 *
 *     message-body make FILE MIB TEXT
 *     message-body open FILE STORE NAME
 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/openssl-util.h"
#include "source/message-reader.h"
#include "unsealing/body.h"

#define MIB (1024U * 1024U)
#define ROUNDS_MAX 99U

static _Noreturn void give_up(const char *what, const Error *error) {
        (void) fprintf(stderr, "%s: %s\n", what, error ? error->text : strerror(errno));
        exit(EXIT_FAILURE);
}

static void must(int r, const char *what) {
        if (r < 0) {
                errno = -r;
                give_up(what, NULL);
        }
}

typedef struct Output {
        int fd;
        EVP_MD_CTX *signature; /* NULL: the suite does not sign */
} Output;

static void put(Output *output, const void *data, size_t size) {
        must(write_all(output->fd, data, size), "write");
        if (output->signature && EVP_DigestSignUpdate(output->signature, data, size) <= 0)
                give_up("EVP_DigestSignUpdate", NULL);
}

static uint8_t *number(uint8_t *at, uint64_t value, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                at[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
        return at + bytes;
}

static uint8_t *text(uint8_t *at, const char *value) {
        return mempcpy(number(at, strlen(value), 2), value, strlen(value));
}

/* The header without its tag. */
static size_t make_header(uint8_t *ret, const MessageSuite *suite, uint32_t frame_length, EVP_PKEY *writer) {
        uint8_t point[64], *at = number(number(ret, 2, 1), suite->id, 2);
        char key[80];
        size_t size = 0;

        (void) memset(at, 7, 32);
        at += 32;
        if (writer) {
                if (EVP_PKEY_set_utf8_string_param(writer, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                                   "compressed") <= 0 ||
                    EVP_PKEY_get_octet_string_param(writer, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                                    &size) <= 0)
                        give_up("the public key", NULL);
                (void) EVP_EncodeBlock((unsigned char *) key, point, (int) size);
                at = number(number(at, 6 + strlen(MESSAGE_PUBLIC_KEY) + strlen(key), 2), 1, 2);
                at = text(text(at, MESSAGE_PUBLIC_KEY), key);
        } else
                at = number(at, 0, 2);
        at = text(text(text(number(at, 1, 2), MESSAGE_PROVIDER_KMS), "arn"), "ciphertext");
        at = number(number(at, 2, 1), frame_length, 4);
        return (size_t) (at - ret);
}

static Secret *make_key(void) {
        Secret *key;

        must(secret_new(MESSAGE_KEY_MAX, &key), "secret_new");
        return key;
}

static void put_frame(Output *output, const Message *message, uint32_t n, bool final, uint8_t *bytes,
                      size_t size) {
        uint8_t head[24], tag[MESSAGE_TAG_SIZE], *at = head;
        const MessageFrame frame = {
                .number = n, .final = final, .iv = { head, MESSAGE_IV_SIZE }, .content = { bytes, size }
        };
        uint8_t iv[MESSAGE_IV_SIZE] = {};
        MessageFrame sealed = frame;

        (void) number(iv + 8, n, 4);
        sealed.iv.data = iv;
        if (message_frame_seal(message, &sealed, bytes, tag) < 0)
                give_up("message_frame_seal", NULL);
        at = final ? number(at, UINT32_MAX, 4) : at;
        at = mempcpy(number(at, n, 4), iv, sizeof(iv));
        at = final ? number(at, size, 4) : at;
        put(output, head, (size_t) (at - head));
        put(output, bytes, size);
        put(output, tag, sizeof(tag));
}

static void fill(uint8_t *bytes, size_t size, const char *text) {
        size_t length = strlen(text);

        for (size_t i = 0; i < size; i++)
                bytes[i] = (uint8_t) text[i % length];
}

static void make_message(const char *path, const MessageSuite *suite, uint32_t frame_length, uint64_t size,
                         const char *filler) {
        EVP_PKEY *writer = suite->curve ? EVP_EC_gen(suite->curve) : NULL;
        Output output = { .fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) };
        uint8_t header[1024], *bytes = malloc(frame_length), signature[130] = {};
        size_t header_size = make_header(header, suite, frame_length, writer), length = 128;
        const Slice id = { header + 3, 32 };
        Secret *key = make_key();
        Message *message;
        uint32_t n = 1;

        if (output.fd < 0 || !bytes)
                give_up(path, NULL);
        if (writer) {
                output.signature = EVP_MD_CTX_new();
                if (EVP_DigestSignInit_ex(output.signature, NULL, suite->digest, NULL, NULL, writer, NULL) <=
                    0)
                        give_up("EVP_DigestSignInit_ex", NULL);
        }
        must(message_new(suite, &id, frame_length, key, &message, header + header_size), "message_new");
        header_size += MESSAGE_COMMITMENT_SIZE;
        must(message_header_seal(message, NULL, &(Slice){ header, header_size }, header + header_size),
             "message_header_seal");
        put(&output, header, header_size + MESSAGE_TAG_SIZE);
        for (uint64_t left = size; left > frame_length; left -= frame_length) {
                fill(bytes, frame_length, filler);
                put_frame(&output, message, n++, false, bytes, frame_length);
        }
        fill(bytes, frame_length, filler);
        put_frame(&output, message, n, true, bytes, (size_t) (size - (uint64_t) (n - 1) * frame_length));
        if (writer) {
                if (EVP_DigestSignFinal(output.signature, signature + 2, &length) <= 0)
                        give_up("EVP_DigestSignFinal", NULL);
                (void) number(signature, length, 2);
                must(write_all(output.fd, signature, 2 + length), "write");
        }
        EVP_MD_CTX_free(output.signature);
        EVP_PKEY_free(writer);
        (void) message_free(message);
        (void) secret_free(key);
        free(bytes);
        (void) close(output.fd);
}

typedef struct Ended {
        bool ended;
        int r, fd;
        Error error;
} Ended;

static void on_ended(int r, StoreDraft *draft, uint64_t size, const Error *error, void *userdata) {
        Ended *ended = userdata;

        ended->ended = true;
        ended->r = r;
        ended->error = *error;
        if (r >= 0)
                must(store_draft_finish(draft, 0, 0, 0400, &ended->fd, &ended->error), "store_draft_finish");
}

/* Opens the message into a file of the store, which gets this name unless it is NULL. Returns 0, or what the body ended with; *ret_usec is
 * the time from the open file to the finished file of the store. */
static int open_message(const char *path, const char *store_path, const char *name, uint64_t *ret_usec) {
        const MessageHeaderOptions options = {};
        uint8_t *beginning = malloc(MESSAGE_HEADER_MAX);
        Ended ended = { .fd = -1 };
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        MessageHeader header;
        Secret *key = make_key();
        sd_event *event = NULL;
        StoreDraft *draft;
        Message *message;
        Pieces *pieces;
        PiecesSink sink;
        BodyPlan plan;
        struct stat st;
        Store *store;
        size_t needed;
        uint64_t begin;
        Body *body;
        Error *error = &ended.error;

        if (fd < 0 || fstat(fd, &st) < 0 || pread(fd, beginning, MESSAGE_HEADER_MAX, 0) < 0)
                give_up(path, NULL);
        must(sd_event_new(&event), "sd_event_new");
        if (store_open(store_path, &store, error) < 0)
                give_up(store_path, error);
        store_set_size_max(store, UINT64_MAX);
        begin = now_monotonic_usec();
        if (message_header_parse(beginning, MESSAGE_HEADER_MAX, &options, &header, &needed, error) < 0 ||
            message_open(&header, key, &message, error) < 0 ||
            body_plan(&header, (uint64_t) st.st_size, UINT64_MAX, (unsigned) get_nprocs(), &plan, error) <
                            0 ||
            store_draft_begin(store, name ?: "model", plan.plaintext_max, &draft, error) < 0 ||
            body_new(event, &plan, &header, UINT64_MAX, message, draft, on_ended, &ended, &body, error) < 0)
                give_up("body", error);
        sink = body_sink(body);
        if (plan.pieces.ahead_max > 2 * plan.threads + 2)
                plan.pieces.ahead_max = 2 * plan.threads + 2; /* as unsealing/passage.c does */
        if (pieces_new_file(event, fd, &plan.pieces, &sink, &pieces, error) < 0)
                give_up("pieces", error);
        body_take_pieces(body, pieces);
        while (!ended.ended)
                must(sd_event_run(event, UINT64_MAX), "sd_event_run");
        if (ended.r < 0)
                (void) fprintf(stderr, "body: %s\n", error->text);
        *ret_usec = now_monotonic_usec() - begin;
        (void) body_free(body);
        if (name && ended.r >= 0 && store_publish(store, name, ended.fd, error) < 0)
                give_up(name, error);
        if (ended.fd >= 0)
                (void) close(ended.fd);
        (void) close(fd);
        if (!name)
                (void) store_retain(store, NULL, 0, NULL);
        (void) store_free(store);
        (void) sd_event_unref(event);
        (void) secret_free(key);
        free(beginning);
        return ended.r;
}

static double run_body(const char *path) {
        uint64_t usec;

        if (open_message(path, "store", NULL, &usec) < 0)
                exit(EXIT_FAILURE);
        return (double) usec / 1e6;
}

static size_t block_size;
static uint64_t blocks;

/* GCM over one buffer again and again, with a new IV for each block. */
static void *gcm_main(void *userdata) {
        uint8_t *data = malloc(block_size), key[32] = {}, iv[12] = {}, tag[16] = {};
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int n;

        memset(data, 'x', block_size);
        for (uint64_t i = 0; i < blocks; i++)
                if (EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, iv) <= 0 ||
                    EVP_DecryptUpdate(context, data, &n, data, (int) block_size) <= 0 ||
                    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, tag) <= 0)
                        give_up("GCM", NULL);
                else
                        (void) EVP_DecryptFinal_ex(context, tag, &n);
        EVP_CIPHER_CTX_free(context);
        free(data);
        return NULL;
}

static double run_gcm(uint64_t size, size_t block) {
        unsigned count = (unsigned) get_nprocs();
        pthread_t threads[256];
        uint64_t begin = now_monotonic_usec();

        block_size = block;
        blocks = size / block / count;
        for (unsigned i = 0; i < count && i < 256; i++)
                must(-pthread_create(threads + i, NULL, gcm_main, NULL), "pthread_create");
        for (unsigned i = 0; i < count && i < 256; i++)
                (void) pthread_join(threads[i], NULL);
        return (double) (now_monotonic_usec() - begin) / 1e6;
}

/* What dd bs=1M does. expected: the size of the file is set first, which lets the store take huge pages. */
static double run_write(const char *path, uint64_t size, bool expected) {
        uint8_t *data = memset(malloc(MIB), 'x', MIB);
        uint64_t begin = now_monotonic_usec();
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        double took;

        if (expected && ftruncate(fd, (off_t) size) < 0)
                give_up("ftruncate", NULL);
        for (uint64_t i = 0; i < size / MIB; i++)
                must(write_all(fd, data, MIB), "write");
        took = (double) (now_monotonic_usec() - begin) / 1e6;
        (void) close(fd);
        (void) unlink(path);
        free(data);
        return took;
}

static double run_hash(uint64_t size) {
        uint8_t *data = memset(malloc(MIB), 'x', MIB), digest[48];
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        uint64_t begin = now_monotonic_usec();

        (void) EVP_DigestInit_ex(context, EVP_sha384(), NULL);
        for (uint64_t i = 0; i < size / MIB; i++)
                (void) EVP_DigestUpdate(context, data, MIB);
        (void) EVP_DigestFinal_ex(context, digest, NULL);
        EVP_MD_CTX_free(context);
        free(data);
        return (double) (now_monotonic_usec() - begin) / 1e6;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static double median(double *times, unsigned count) {
        qsort(times, count, sizeof(*times), compare);
        return times[count / 2];
}

static double least(double a, double b) {
        return a < b ? a : b;
}

static void measure(const char *path, uint64_t size, unsigned rounds, uint16_t id, uint32_t frame_length) {
        const MessageSuite *suite = message_suite_find(id);
        double body[ROUNDS_MAX], gcm[ROUNDS_MAX], ramfs[ROUNDS_MAX], store[ROUNDS_MAX], hash[ROUNDS_MAX];

        make_message(path, suite, frame_length, size, "x");
        for (unsigned i = 0; i < rounds; i++) {
                /* The host of a virtual machine may have taken back memory that is free, and gives it again only when it is used. */
                (void) run_write("store/dd", size, true);
                body[i] = run_body(path);
                gcm[i] = run_gcm(size, frame_length);
                (void) run_write("store/dd", size, true);
                ramfs[i] = run_write("ramfs/dd", size, false);
                store[i] = run_write("store/dd", size, true);
                hash[i] = run_hash(size);
        }
        double rate = (double) size / MIB, b = rate / median(body, rounds), g = rate / median(gcm, rounds),
               w = rate / median(ramfs, rounds), v = rate / median(store, rounds),
               h = rate / median(hash, rounds), others = suite->curve ? least(g, h) : g;

        printf("%04x  %8u  %8.0f  %8.0f  %8.0f  %8.0f  %8.0f  %6.2f   %6.2f\n", id, frame_length, b, g, w, v,
               h, b / least(others, w), b / least(others, v));
        (void) fflush(stdout);
}

/* Without a wish as unseald-generator chooses. Returns the options. */
static const char *mount_store(const char *wish) {
        static const char *const options[] = { "mode=0755,noswap,size=100%,nr_inodes=0,huge=within_size",
                                               "mode=0755,noswap,size=100%,nr_inodes=0" };

        if (wish && strcmp(wish, "ramfs") != 0) {
                if (mount("tmpfs", "store", "tmpfs", 0, wish) < 0)
                        give_up(wish, NULL);
                return wish;
        }
        for (size_t i = 0; !wish && i < ELEMENTSOF(options); i++)
                if (mount("tmpfs", "store", "tmpfs", 0, options[i]) >= 0)
                        return options[i];
        if (mount("ramfs", "store", "ramfs", 0, "mode=0755") < 0)
                give_up("a store of its own", NULL);
        return "ramfs";
}

/* Returns the exit status. */
static int by_hand(char *argv[]) {
        uint64_t usec;

        if (strcmp(argv[1], "make") == 0) {
                make_message(argv[2], message_suite_find(0x0478), MIB, strtoull(argv[3], NULL, 10) * MIB,
                             argv[4]);
                return EXIT_SUCCESS;
        }
        must(memory_protect_process(NULL), "memory_protect_process");
        return open_message(argv[2], argv[3], argv[4], &usec) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        if (argc == 5 && (strcmp(argv[1], "make") == 0 || strcmp(argv[1], "open") == 0))
                return by_hand(argv);

        char directory[] = "/run/unseald-bench-XXXXXX";
        uint64_t size = argc >= 4 ? strtoull(argv[2], NULL, 10) * MIB : 0;
        unsigned rounds = argc >= 4 ? (unsigned) strtoul(argv[3], NULL, 10) : 0;
        char path[4096];

        if (argc > 5 || size == 0 || rounds == 0 || rounds > ROUNDS_MAX) {
                (void) fputs("usage: message-body FILE MIB ROUNDS [STORE] | make FILE MIB TEXT | open FILE STORE NAME\n",
                             stderr);
                return 2;
        }
        (void) snprintf(path, sizeof(path), "%s", argv[1]);
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            !mkdtemp(directory) || chdir(directory) < 0 || mkdir("store", 0755) < 0 ||
            mkdir("ramfs", 0755) < 0 || mount("ramfs", "ramfs", "ramfs", 0, "mode=0755") < 0)
                give_up("a ramfs of its own", NULL);
        printf("store: %s\n%llu MiB, %d processors, medians of %u rounds, in MiB/s; written as dd does, and into the store with the size set first\n"
               "suite frames       body  GCM, all  to ramfs  to store   SHA-384  body / slowest, written to ramfs, to the store\n",
               mount_store(argc > 4 ? argv[4] : NULL), (unsigned long long) (size / MIB), get_nprocs(),
               rounds);
        for (unsigned i = 0; i < 2; i++)
                for (unsigned k = 0; k < 2; k++)
                        measure(path, size, rounds, i == 0 ? 0x0478 : 0x0578, k == 0 ? MIB : 4096);
        (void) unlink(path);
        (void) umount2("store", MNT_DETACH);
        (void) umount2("ramfs", MNT_DETACH);
        (void) rmdir("store");
        (void) rmdir("ramfs");
        return chdir("/") < 0 || rmdir(directory) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
