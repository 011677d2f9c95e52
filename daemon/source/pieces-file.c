/* SPDX-License-Identifier: Apache-2.0 */

/* One thread reads one piece after another. A job of it is a buffer that is out, so at most ahead_max of them exist. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/io.h"
#include "basic/worker.h"
#include "source/pieces.h"

typedef struct FilePieces FilePieces;

typedef struct FileRead {
        FilePieces *of;
        struct FileRead *next; /* of all of them */
        uint64_t offset;
        size_t size;
        int r;
        uint8_t data[];
} FileRead;

struct FilePieces {
        Pieces pieces;
        PiecesPlan plan;
        PiecesSink sink;
        Worker *worker;
        sd_event_source *out_of_memory; /* fires when no job could be submitted */
        FileRead *reads;
        uint64_t next;    /* the byte at which the next piece begins */
        unsigned awaited; /* reads that the thread has */
        int fd;
        bool ended;
        bool *freed; /* set by file_free() while a callback is running */
};

static int read_piece(int fd, uint8_t *data, size_t size, uint64_t offset) {
        while (size > 0) {
                ssize_t n = pread(fd, data, size, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -ENODATA;
                data += n;
                size -= (size_t) n;
                offset += (size_t) n;
        }
        return 0;
}

static void read_job(void *userdata) {
        FileRead *read = userdata;

        read->r = read_piece(read->of->fd, read->data, read->size, read->offset);
}

static void file_end(FilePieces *file, int r) {
        Error error = {};

        file->ended = true;
        if (r == -ENODATA)
                (void) error_set(
                                &error, r, FAILURE_SOURCE,
                                "The file with the sealed secret became shorter while it was read. Copy it again, and replace it by renaming.");
        else if (r < 0)
                (void) error_set(&error, r, FAILURE_SOURCE,
                                 "The file with the sealed secret cannot be read: %s.", strerror(-r));
        file->sink.ended(r, &error, file->sink.userdata);
}

static void read_done(void *userdata);

/* Asks the thread for the next piece. */
static int submit(FilePieces *file, FileRead *read) {
        uint64_t left = file->plan.end - file->next;
        int r;

        read->offset = file->next;
        read->size = left < file->plan.piece_size ? (size_t) left : file->plan.piece_size;
        r = worker_submit(file->worker, read_job, read_done, read);
        if (r < 0)
                return r;
        file->next += read->size;
        file->awaited++;
        return 0;
}

static void read_done(void *userdata) {
        FileRead *read = userdata;
        FilePieces *file = read->of;
        bool freed = false;
        int r = read->r;

        file->awaited--;
        if (file->ended)
                return;
        file->freed = &freed;
        if (r >= 0) {
                file->sink.piece(read->offset, read->data, read->size, file->sink.userdata);
                if (freed)
                        return;
        }
        file->freed = NULL;
        if (r < 0 || (file->next == file->plan.end && file->awaited == 0))
                file_end(file, r);
}

static void file_give_back(Pieces *pieces, uint8_t *data) {
        FilePieces *file = (FilePieces *) pieces;
        FileRead *read = (FileRead *) (data - offsetof(FileRead, data));

        if (!file->ended && file->next < file->plan.end && submit(file, read) < 0)
                (void) sd_event_source_set_enabled(file->out_of_memory, SD_EVENT_ONESHOT);
}

static int on_out_of_memory(sd_event_source *source, void *userdata) {
        FilePieces *file = userdata;

        if (!file->ended)
                file_end(file, -ENOMEM);
        return 0;
}

static void file_destroy(void *userdata) {
        FilePieces *file = userdata;

        while (file->reads) {
                FileRead *read = file->reads;

                file->reads = read->next;
                free(read);
        }
        if (file->fd >= 0)
                (void) close(file->fd);
        free(file);
}

/* The disk may hold up the thread, which then frees everything when it is done. */
static void file_free(Pieces *pieces) {
        FilePieces *file = (FilePieces *) pieces;

        if (file->freed)
                *file->freed = true;
        file->out_of_memory = sd_event_source_disable_unref(file->out_of_memory);
        worker_abandon(TAKE_PTR(file->worker), file_destroy, file);
}

static const PiecesKind file_kind = { file_give_back, file_free };

static int add_read(FilePieces *file) {
        FileRead *read = malloc(sizeof(*read) + file->plan.piece_size);

        if (!read)
                return -ENOMEM;
        *read = (FileRead){ .of = file, .next = file->reads };
        file->reads = read;
        return submit(file, read);
}

int pieces_new_file(sd_event *event, int fd, const PiecesPlan *plan, const PiecesSink *sink, Pieces **ret,
                    Error *error) {
        FilePieces *file = calloc(1, sizeof(*file));
        _cleanup_(pieces_freep) Pieces *pieces = (Pieces *) file;
        int r = 0;

        if (!file)
                return error_oom(error);
        *file = (FilePieces){ .pieces.kind = &file_kind, .plan = *plan, .sink = *sink, .next = plan->begin };
        file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (file->fd < 0)
                r = -errno;
        if (r >= 0)
                r = sd_event_add_defer(event, &file->out_of_memory, on_out_of_memory, file);
        if (r >= 0)
                r = sd_event_source_set_enabled(file->out_of_memory, SD_EVENT_OFF);
        if (r >= 0)
                r = worker_new(event, "unseald-read", &file->worker);
        for (unsigned i = 0; r >= 0 && i < plan->ahead_max && file->next < plan->end; i++)
                r = add_read(file);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "The file with the sealed secret cannot be read: %s.", strerror(-r));
        *ret = TAKE_PTR(pieces);
        return 0;
}
