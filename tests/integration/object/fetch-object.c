/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fetches one object in parts, as unseald does, and writes it to a file. It says on standard error what went wrong and was tried
 * again, and on standard output what it fetched: bytes, whether by ranges, pieces, troubles, seconds.
 * usage: fetch-object [--in-order] SOURCE REGION ROOTS FILE
 *
 * The credentials are those of the environment. Exit status 75: the object was replaced meanwhile; 1: any other failure.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/openssl-util.h"
#include "source/pieces-remote.h"

#define FIRST_SIZE ((size_t) (1U << 20) + 4096)
#define PIECE_SIZE (1U << 20)
#define AHEAD_MAX 20U

static struct {
        sd_event *event;
        Fetcher *fetcher;
        Fetch fetch;
        PiecesPlan plan;
        Pieces *pieces;
        int fd, r;
        uint64_t size;
        bool ranges;
        unsigned count, troubles;
} job;

static void end(int r, const Error *error) {
        if (r < 0)
                (void) fprintf(stderr, "%s\n", error->text);
        job.r = r;
        (void) sd_event_exit(job.event, 0);
}

static void put(uint64_t offset, const uint8_t *data, size_t size) {
        Error error;

        if (pwrite(job.fd, data, size, (off_t) offset) != (ssize_t) size)
                end(error_set(&error, -EIO, FAILURE_INTERNAL, "The file cannot be written."), &error);
        job.count++;
}

static void on_piece(uint64_t offset, uint8_t *data, size_t size, void *userdata) {
        put(offset, data, size);
        pieces_give_back(job.pieces, data);
}

static void on_ended(int r, const Error *error, void *userdata) {
        end(r, error);
}

static void on_trouble(const Error *error, void *userdata) {
        (void) fprintf(stderr, "again: %s\n", error->text);
        job.troubles++;
}

static void on_first(int r, const uint8_t *data, size_t size, const ObjectVersion *version,
                     const Error *error, void *userdata) {
        const PiecesSink sink = { on_piece, on_ended, NULL };
        Error failed;

        if (r < 0) {
                end(r, error);
                return;
        }
        job.size = version->size;
        job.ranges = version->ranges;
        put(0, data, size);
        if (size == version->size) {
                end(0, NULL);
                return;
        }
        job.plan.begin = size;
        job.plan.end = version->size;
        r = pieces_new_remote(job.fetcher, &job.fetch, version, &job.plan, &sink, on_trouble, NULL,
                              &job.pieces, &failed);
        if (r < 0)
                end(r, &failed);
}

static char *variable(const char *name) {
        return secure_getenv(name);
}

int main(int argc, char **argv) {
        bool in_order = argc > 1 && strcmp(argv[1], "--in-order") == 0;
        char **words = argv + 1 + in_order;
        const AwsCredentials credentials = { variable("AWS_ACCESS_KEY_ID"),
                                             variable("AWS_SECRET_ACCESS_KEY"),
                                             variable("AWS_SESSION_TOKEN"), 0 };
        _cleanup_(source_clear) Source source = {};
        _cleanup_(X509_STORE_freep) X509_STORE *roots = NULL;
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(http_client_freep) HttpClient *http = NULL;
        _cleanup_(fetcher_freep) Fetcher *fetcher = NULL;
        uint64_t begun = now_monotonic_usec();
        Error error = {};

        if (argc != 5 + in_order) {
                (void) fprintf(stderr, "usage: fetch-object [--in-order] SOURCE REGION ROOTS FILE\n");
                return 2;
        }
        job.fd = open(words[3], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        if (job.fd < 0 || source_parse(words[0], &source, &error) < 0 ||
            http_trust_new(words[2], &roots, &error) < 0 || sd_event_new(&event) < 0 ||
            http_client_new(event, &(HttpOptions){ .trusted = roots, .connections_max = 20 }, &http) < 0 ||
            fetcher_new(http, &fetcher) < 0) {
                (void) fprintf(stderr, "fetch-object: %s\n", *error.text ? error.text : strerror(errno));
                return 1;
        }
        if (credentials.access_key_id)
                fetcher_set_credentials(fetcher, &credentials);
        job.event = event;
        job.fetcher = fetcher;
        job.fetch = (Fetch){
                .source = &source, .partition = "aws", .region = words[1], .maximum = SIZE_MAX
        };
        job.plan = (PiecesPlan){ .piece_size = PIECE_SIZE, .ahead_max = AHEAD_MAX, .in_order = in_order };
        if (source_fetch_first(fetcher, &job.fetch, FIRST_SIZE, FIRST_SIZE, on_first, NULL) < 0 ||
            sd_event_loop(event) < 0)
                return 1;
        job.pieces = pieces_free(job.pieces);
        (void) close(job.fd);
        if (job.r < 0)
                return job.r == -ESTALE ? 75 : 1;
        printf("%" PRIu64 " %s %u %u %.3f\n", job.size, job.ranges ? "ranges" : "stream", job.count,
               job.troubles, (double) (now_monotonic_usec() - begun) / USEC_PER_SEC);
        return 0;
}
