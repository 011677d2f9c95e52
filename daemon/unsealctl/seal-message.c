/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "basic/io.h"
#include "kms/client.h"
#include "unsealctl/ctl.h"
#include "unsealctl/message-writer.h"
#include "unsealctl/new-file.h"
#include "unsealctl/progress.h"
#include "unsealctl/seal-frames.h"
#include "unsealctl/seal-message.h"

/* A new file, or standard output, a device or a pipe. */
typedef struct Output {
        NewFile file;
        int fd; /* that of file, or where the bytes go straight */
} Output;

static void output_done(Output *output) {
        if (output->fd > STDERR_FILENO && output->fd != output->file.fd)
                close(output->fd);
        new_file_done(&output->file);
}

static int output_open(const char *path, Output *ret) {
        struct stat st;
        int r = 0;

        if (!path)
                ret->fd = STDOUT_FILENO;
        else if (stat(path, &st) >= 0 && !S_ISREG(st.st_mode)) {
                ret->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
                r = ret->fd < 0 ? -errno : 0;
        } else {
                r = new_file_open(path, &ret->file);
                ret->fd = ret->file.fd;
        }
        return r;
}

static int output_commit(Output *output, const char *path) {
        return output->file.fd >= 0 ? new_file_commit(&output->file, path, true) : 0;
}

static uint64_t size_of_input(const MessageSealing *sealing) {
        struct stat st;

        return fstat(sealing->fd, &st) >= 0 && S_ISREG(st.st_mode) ? (uint64_t) st.st_size : 0;
}

static unsigned choose_threads(void) {
        int processors = get_nprocs();
        unsigned threads = processors > 0 ? (unsigned) processors : 1;

        /* One of them may wait for its turn while the others encrypt. */
        return threads < SEAL_THREADS_MAX ? threads + 1 : SEAL_THREADS_MAX;
}

static int write_failure(const MessageSealing *sealing, int r) {
        return failure("Cannot write %s: %s.", sealing->output ?: "to standard output", strerror(-r));
}

static int frames_failure(const MessageSealing *sealing, FramesStep step, int r) {
        switch (step) {
        case FRAMES_LOCK:
                return failure("%u bytes of memory cannot be locked, and the secret must not reach swap. Raise the limit: \"ulimit -l\".",
                               MESSAGE_WRITER_FRAME);
        case FRAMES_READ:
                return r == -EFBIG ? failure("%s is too long for a message.", sealing->input)
                                   : failure("Cannot read %s: %s.", sealing->input, strerror(-r));
        case FRAMES_ENCRYPT:
                return failure("Cannot encrypt %s: %s.", sealing->input, strerror(-r));
        case FRAMES_WRITE:
        default:
                return write_failure(sealing, r);
        }
}

static int write_frames(const MessageSealing *sealing, const Message *message, const Output *output,
                        uint64_t *ret_size) {
        Progress progress = progress_begin("sealed", size_of_input(sealing));
        const FramesSealing frames = {
                .message = message,
                .input = sealing->fd,
                .begin = sealing->begin,
                .output = output->fd,
                .threads = choose_threads(),
                .progress = &progress,
        };
        FramesStep step;
        int r = seal_frames(&frames, ret_size, &step);

        progress_end(&progress);
        return r < 0 ? frames_failure(sealing, step, r) : 0;
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
        _cleanup_(output_done) Output output = { .file.fd = -1, .fd = -1 };
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
