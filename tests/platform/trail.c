/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/io.h"
#include "trail.h"

struct Trail {
        pthread_mutex_t mutex;
        int fd;
};

int trail_new(const char *path, Trail **ret) {
        Trail *trail = calloc(1, sizeof(*trail));

        if (!trail)
                return -ENOMEM;
        trail->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (trail->fd < 0) {
                int r = -errno;
                free(trail);
                return r;
        }
        pthread_mutex_init(&trail->mutex, NULL);
        *ret = trail;
        return 0;
}

Trail *trail_free(Trail *trail) {
        if (trail) {
                close(trail->fd);
                pthread_mutex_destroy(&trail->mutex);
                free(trail);
        }
        return NULL;
}

void trail_write(Trail *trail, struct json_object *event) {
        size_t size;
        const char *text = json_object_to_json_string_length(
                        event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);

        pthread_mutex_lock(&trail->mutex);
        if (write_all(trail->fd, text, size) < 0 || write_all(trail->fd, "\n", 1) < 0)
                perror("trail");
        pthread_mutex_unlock(&trail->mutex);
        json_object_put(event);
}

void format_uuid(const uint8_t bytes[static 16], char ret[static UUID_SIZE]) {
        uint8_t b[16];

        memcpy(b, bytes, sizeof(b));
        b[6] = (uint8_t) ((b[6] & 0x0f) | 0x40);
        b[8] = (uint8_t) ((b[8] & 0x3f) | 0x80);
        snprintf(ret, UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                 b[14], b[15]);
}

void make_uuid(char ret[static UUID_SIZE]) {
        uint8_t bytes[16];

        if (RAND_bytes(bytes, sizeof(bytes)) <= 0)
                abort();
        format_uuid(bytes, ret);
}

void format_time(int64_t seconds, char ret[static TIME_TEXT_SIZE]) {
        time_t t = (time_t) seconds;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(ret, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
