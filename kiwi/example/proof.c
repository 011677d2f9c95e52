/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The example's web service. It has one secret, a key, and proves that to a client with the same key:
 *
 *     GET /                    says what this is
 *     GET /proof?challenge=X   HMAC-SHA-256 of X (1 to 128 letters and digits) under the key, in hex
 *     GET /weights             SHA-256 of the model, if there is one, in hex
 *
 * It has no code for unseald: the key is a file in the directory that systemd names. It serves one client at a time.
 */

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define LISTEN_FD 3 /* sd_listen_fds(3) */
#define REQUEST_MAX 2048U
#define CHALLENGE_MAX 128U
#define MODEL "/srv/weights/weights" /* on a volume of its own, whose blocks the kernel verifies */

static unsigned char key[4096];
static size_t key_size;

static int read_key(void) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        char path[4096];
        FILE *file;

        if (!directory || snprintf(path, sizeof(path), "%s/proof-key", directory) >= (int) sizeof(path)) {
                fputs("There is no credentials directory. Start this program by its unit.\n", stderr);
                return -1;
        }
        file = fopen(path, "re");
        if (!file) {
                perror(path);
                return -1;
        }
        (void) setvbuf(file, NULL, _IONBF, 0);
        key_size = fread(key, 1, sizeof(key), file);
        (void) fclose(file);
        if (key_size == 0) {
                fputs("The credential proof-key is empty.\n", stderr);
                return -1;
        }
        return 0;
}

static void answer(int client, const char *status, const char *text) {
        (void) dprintf(client,
                       "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n%s\n",
                       status, strlen(text) + 1, text);
}

static void answer_digest(int client, const unsigned char *digest, unsigned size) {
        char text[2 * EVP_MAX_MD_SIZE + 1] = "";

        for (unsigned i = 0; i < size; i++)
                (void) snprintf(text + 2 * (size_t) i, 3, "%02x", digest[i]);
        answer(client, "200 OK", text);
}

/* Maps the model, as an inference server does. Only what is read is in memory, and the kernel may drop it again. */
static void digest_model(int client) {
        int fd = open(MODEL, O_RDONLY | O_CLOEXEC);
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned digest_size = 0;
        void *model = MAP_FAILED;
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
                model = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (fd >= 0)
                (void) close(fd);
        if (model == MAP_FAILED) {
                answer(client, "404 Not Found", "There is no model here.");
                return;
        }
        if (EVP_Digest(model, (size_t) st.st_size, digest, &digest_size, EVP_sha256(), NULL))
                answer_digest(client, digest, digest_size);
        else
                answer(client, "500 Internal Server Error", "The digest cannot be computed.");
        (void) munmap(model, (size_t) st.st_size);
}

static void prove(int client, const char *challenge) {
        size_t size = strspn(challenge, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
        unsigned char mac[EVP_MAX_MD_SIZE];
        unsigned mac_size = 0;

        if (size == 0 || size > CHALLENGE_MAX || challenge[size] != ' ') {
                answer(client, "400 Bad Request", "The challenge is 1 to 128 letters and digits.");
                return;
        }
        if (!HMAC(EVP_sha256(), key, (int) key_size, (const unsigned char *) challenge, size, mac,
                  &mac_size)) {
                answer(client, "500 Internal Server Error", "The proof cannot be computed.");
                return;
        }
        answer_digest(client, mac, mac_size);
}

/* Reads only the head of the request. A body is ignored. */
static void serve(int client) {
        static const char proof[] = "GET /proof?challenge=";
        const struct timeval patience = { .tv_sec = 2 };
        char request[REQUEST_MAX + 1];
        size_t size = 0;

        (void) setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void) setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        for (;;) {
                ssize_t n = read(client, request + size, REQUEST_MAX - size);

                if (n <= 0)
                        return;
                size += (size_t) n;
                request[size] = '\0';
                if (strstr(request, "\r\n\r\n"))
                        break;
                if (size == REQUEST_MAX) {
                        answer(client, "431 Request Header Fields Too Large", "The request is too long.");
                        return;
                }
        }

        if (strncmp(request, "GET / ", strlen("GET / ")) == 0)
                answer(client, "200 OK", "An attested appliance. Ask /proof?challenge=X.");
        else if (strncmp(request, proof, strlen(proof)) == 0)
                prove(client, request + strlen(proof));
        else if (strncmp(request, "GET /weights ", strlen("GET /weights ")) == 0)
                digest_model(client);
        else
                answer(client, "404 Not Found", "Ask /, /proof?challenge=X or /weights.");
}

int main(void) {
        const char *fds = getenv("LISTEN_FDS");

        (void) signal(SIGPIPE, SIG_IGN);
        if (!fds || strcmp(fds, "1") != 0) {
                fputs("Exactly one socket is needed. Start this program by its socket unit.\n", stderr);
                return EXIT_FAILURE;
        }
        if (read_key() < 0)
                return EXIT_FAILURE;

        for (;;) {
                int client = accept(LISTEN_FD, NULL, NULL);

                if (client < 0)
                        continue;
                serve(client);
                (void) close(client);
        }
}
