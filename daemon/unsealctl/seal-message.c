/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/io.h"
#include "kms/client.h"
#include "unsealctl/ctl.h"
#include "unsealctl/message-writer.h"
#include "unsealctl/seal-message.h"

#define PROGRESS_STEP (16U * 1024U * 1024U)

/* A file that takes its name only when it is complete, or standard output, a device or a pipe. */
typedef struct Output {
        int fd;
        char *temporary; /* NULL: the bytes go straight to their place */
} Output;

static void output_done(Output *output) {
        if (output->temporary)
                (void) unlink(output->temporary);
        free(output->temporary);
        if (output->fd > STDERR_FILENO)
                close(output->fd);
}

static int output_open(const char *path, Output *ret) {
        const char *slash = path ? strrchr(path, '/') : NULL;
        int directory = slash ? (int) (slash - path + 1) : 0;
        struct stat st;

        if (!path) {
                ret->fd = STDOUT_FILENO;
                return 0;
        }
        if (stat(path, &st) >= 0 && !S_ISREG(st.st_mode)) {
                ret->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
                return ret->fd < 0 ? -errno : 0;
        }
        if (asprintf(&ret->temporary, "%.*s.unseald-XXXXXX", directory, path) < 0) {
                ret->temporary = NULL;
                return -ENOMEM;
        }
        ret->fd = mkostemp(ret->temporary, O_CLOEXEC);
        if (ret->fd >= 0)
                return 0;
        int r = -errno;
        free(TAKE_PTR(ret->temporary));
        return r;
}

/* fsync() comes before the rename, as in write_file_atomic(). */
static int output_commit(Output *output, const char *path) {
        if (!output->temporary)
                return 0;
        if (fchmod(output->fd, 0644) < 0 || fsync(output->fd) < 0 || rename(output->temporary, path) < 0)
                return -errno;
        free(TAKE_PTR(output->temporary));
        return 0;
}

/* One line on a terminal, written over itself. */
typedef struct Progress {
        bool on;
        uint64_t total; /* bytes of the input; 0: not known */
        uint64_t next;
} Progress;

static Progress progress_begin(const MessageSealing *sealing) {
        struct stat st;
        bool known = fstat(sealing->fd, &st) >= 0 && S_ISREG(st.st_mode);

        return (Progress){ .on = isatty(STDERR_FILENO),
                           .total = known ? (uint64_t) st.st_size : 0,
                           .next = PROGRESS_STEP };
}

static void progress_show(Progress *progress, uint64_t bytes) {
        if (!progress->on || bytes < progress->next)
                return;
        progress->next = bytes + PROGRESS_STEP;
        if (progress->total > 0)
                fprintf(stderr, "\r%llu of %llu MiB sealed", (unsigned long long) bytes >> 20,
                        (unsigned long long) progress->total >> 20);
        else
                fprintf(stderr, "\r%llu MiB sealed", (unsigned long long) bytes >> 20);
}

static void progress_end(const Progress *progress) {
        if (progress->on && progress->next > PROGRESS_STEP)
                fputs("\r\033[K", stderr);
}

/* The plaintext, one frame at a time. The next one is read before the current one is used, so that the last one is known. */
typedef struct Frames {
        Secret *current, *next;
        size_t size, next_size;
        uint32_t number;
} Frames;

static void frames_done(Frames *frames) {
        (void) secret_free(frames->current);
        (void) secret_free(frames->next);
}

static int read_next(const MessageSealing *sealing, Frames *frames, size_t held) {
        ssize_t n = read_up_to(sealing->fd, secret_bytes(frames->next) + held, MESSAGE_WRITER_FRAME - held);

        if (n < 0)
                return failure("Cannot read %s: %s.", sealing->input, strerror((int) -n));
        frames->next_size = held + (size_t) n;
        return 0;
}

static int frames_begin(const MessageSealing *sealing, Frames *ret) {
        if (secret_new(MESSAGE_WRITER_FRAME, &ret->current) < 0 ||
            secret_new(MESSAGE_WRITER_FRAME, &ret->next) < 0)
                return failure("%u bytes of memory cannot be locked, and the secret must not reach swap. Raise the limit: \"ulimit -l\".",
                               2 * MESSAGE_WRITER_FRAME);
        memcpy(secret_bytes(ret->next), secret_bytes(sealing->begin), secret_size(sealing->begin));
        return read_next(sealing, ret, secret_size(sealing->begin));
}

/* Moves on by one frame. *ret_final: it is the last one. */
static int frames_advance(const MessageSealing *sealing, Frames *frames, bool *ret_final) {
        Secret *used = frames->current;
        int r = 0;

        frames->current = frames->next;
        frames->size = frames->next_size;
        frames->next = used;
        frames->next_size = 0;
        frames->number++;
        if (frames->size == MESSAGE_WRITER_FRAME)
                r = read_next(sealing, frames, 0);
        *ret_final = frames->next_size == 0;
        return r;
}

static int write_frame(const Message *message, const Output *output, Frames *frames, bool final) {
        uint8_t *bytes = secret_bytes(frames->current);
        MessageFrameEnds ends;
        int r;

        if ((r = message_write_frame(message, frames->number, final, bytes, frames->size, &ends)) < 0 ||
            (r = write_all(output->fd, ends.head, ends.head_size)) < 0 ||
            (r = write_all(output->fd, bytes, frames->size)) < 0)
                return r;
        return write_all(output->fd, ends.tag, sizeof(ends.tag));
}

static int write_failure(const MessageSealing *sealing, int r) {
        return failure("Cannot write %s: %s.", sealing->output ?: "to standard output", strerror(-r));
}

static int write_frames(const MessageSealing *sealing, const Message *message, const Output *output,
                        uint64_t *ret_size) {
        _cleanup_(frames_done) Frames frames = {};
        Progress progress = progress_begin(sealing);
        uint64_t size = 0;
        bool final = false;
        int r = frames_begin(sealing, &frames);

        while (r == 0 && !final) {
                if (frames.number == UINT32_MAX - 1)
                        return failure("%s is too long for a message.", sealing->input);
                r = frames_advance(sealing, &frames, &final);
                if (r != 0)
                        break;
                r = write_frame(message, output, &frames, final);
                if (r < 0)
                        r = write_failure(sealing, r);
                size += frames.size;
                progress_show(&progress, size);
        }
        progress_end(&progress);
        *ret_size = size;
        return r;
}

static int make_data_key(KmsCaller *caller, const MessageSealing *sealing, Secret **ret,
                         uint8_t **ret_ciphertext, size_t *ret_size) {
        const KmsEncrypt request = { .key_arn = sealing->key_arn,
                                     .encryption_context = (const char *const *) sealing->context };
        _cleanup_erase_ char *body = NULL, *answer = NULL;
        Error error = {};
        size_t size;
        int r = kms_data_key_request(&request, &body);

        if (r == -EINVAL)
                return usage_error("Two --context= have the same key. Give each key once.");
        if (r < 0)
                return failure("Out of memory.");
        r = kms_call(caller, "GenerateDataKey", body, &answer, &size, &error);
        if (r >= 0)
                r = kms_data_key_reply(&request, answer, size, ret, ret_ciphertext, ret_size, &error);
        if (r >= 0)
                return 0;
        r = kms_call_failure(&error);
        if (error.failure == FAILURE_DENIED)
                kms_call_say_sealer(&error);
        return r;
}

/* Nothing is written before KMS has made the data key and, perhaps, the signature. */
int seal_message(KmsCaller *caller, const MessageSealing *sealing, uint64_t *ret_size) {
        _cleanup_(output_done) Output output = { .fd = -1 };
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_free_ uint8_t *ciphertext = NULL, *header = NULL;
        _cleanup_secret_ Secret *data_key = NULL;
        uint8_t id[MESSAGE_WRITER_ID_SIZE];
        size_t ciphertext_size, header_size;
        int r = make_data_key(caller, sealing, &data_key, &ciphertext, &ciphertext_size);

        if (r != 0)
                return r;
        if (RAND_bytes(id, sizeof(id)) <= 0)
                return failure("There are no random bytes for the message.");
        const MessageDraft draft = { .id = { id, sizeof(id) },
                                     .context = (const char *const *) sealing->context,
                                     .key_arn = sealing->key_arn,
                                     .ciphertext = { ciphertext, ciphertext_size },
                                     .frame_length = MESSAGE_WRITER_FRAME };
        r = message_write_header(&draft, data_key, &message, &header, &header_size);
        if (r < 0)
                return failure("Cannot make the header of the message: %s.", strerror(-r));
        r = sealing->on_header ? sealing->on_header(header, header_size, sealing->userdata) : 0;
        if (r != 0)
                return r;
        if ((r = output_open(sealing->output, &output)) < 0 ||
            (r = write_all(output.fd, header, header_size)) < 0)
                return write_failure(sealing, r);
        r = write_frames(sealing, message, &output, ret_size);
        if (r != 0)
                return r;
        r = output_commit(&output, sealing->output);
        return r < 0 ? write_failure(sealing, r) : 0;
}
