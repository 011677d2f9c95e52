/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes a file in the form of safetensors, and checks every tensor of one: 8 bytes with the size of the header (little-endian), the
 * header, which is JSON, and the tensors. The content of a tensor follows from its number, so the check needs nothing but the file, and
 * a tensor in the place of another is wrong.
 *
 *     model make FILE MIB      MIB: a multiple of 16
 *     model check FILE         maps the file, and prints a line for each tensor
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TENSORS 16U
#define HEADER_SIZE 4096U
#define FIRST_FORMAT "{\"__metadata__\":{\"format\":\"pt\"}"
#define ENTRY_FORMAT                                                                                 \
        ",\"layer.%u.weight\":{\"dtype\":\"U64\",\"shape\":[%" PRIu64 "],\"data_offsets\":[%" PRIu64 \
        ",%" PRIu64 "]}"

/* Word n of a tensor: SplitMix64. */
static uint64_t word(unsigned tensor, uint64_t n) {
        uint64_t x = ((uint64_t) tensor << 40) + n * 0x9e3779b97f4a7c15U;

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31);
}

static int make(const char *path, uint64_t mib) {
        uint64_t size = mib * (1U << 20) / TENSORS, header_size = HEADER_SIZE;
        char header[HEADER_SIZE + 1];
        FILE *file = fopen(path, "wxe");
        int length = snprintf(header, sizeof(header), FIRST_FORMAT);

        if (!file)
                return -1;
        for (unsigned i = 0; i < TENSORS; i++)
                length += snprintf(header + length, sizeof(header) - (size_t) length, ENTRY_FORMAT, i,
                                   size / 8, i * size, (i + 1) * size);
        length += snprintf(header + length, sizeof(header) - (size_t) length, "}");
        memset(header + length, ' ', HEADER_SIZE - (size_t) length);
        (void) fwrite(&header_size, sizeof(header_size), 1, file);
        (void) fwrite(header, HEADER_SIZE, 1, file);
        for (unsigned i = 0; i < TENSORS; i++)
                for (uint64_t n = 0; n < size / 8; n++) {
                        uint64_t value = word(i, n);

                        (void) fwrite_unlocked(&value, sizeof(value), 1, file);
                }
        return ferror(file) | fclose(file);
}

static bool check_tensor(unsigned tensor, const char *bytes, uint64_t size) {
        for (uint64_t n = 0; n < size / 8; n++) {
                uint64_t value, wanted = word(tensor, n);

                memcpy(&value, bytes + n * 8, sizeof(value));
                if (value != wanted) {
                        printf("tensor %u wrong at %" PRIu64 "\n", tensor, n * 8);
                        return false;
                }
        }
        printf("tensor %u right, %" PRIu64 " bytes\n", tensor, size);
        return true;
}

static int check(const char *path) {
        uint64_t header_size, shape, begin, end, right = 0, last = 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC), used;
        char header[HEADER_SIZE + 1] = "";
        const char *file, *entry, *data;
        unsigned tensor, count = 0;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 8)
                return -1;
        file = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (file == MAP_FAILED)
                return -1;
        memcpy(&header_size, file, sizeof(header_size));
        if (header_size != HEADER_SIZE || st.st_size < (off_t) (8 + HEADER_SIZE))
                return printf("no header\n"), 1;
        memcpy(header, file + 8, HEADER_SIZE);
        data = file + 8 + HEADER_SIZE;
        for (entry = header + strlen(FIRST_FORMAT);
             sscanf(entry, ENTRY_FORMAT "%n", &tensor, &shape, &begin, &end, &used) == 4; entry += used) {
                if (tensor != count++ || begin != last || end < begin || end - begin != shape * 8 ||
                    end > (uint64_t) st.st_size - 8 - HEADER_SIZE)
                        return printf("tensor %u has wrong offsets\n", tensor), 1;
                right += check_tensor(tensor, data + begin, end - begin);
                last = end;
        }
        printf("%" PRIu64 " of %u tensors right, %" PRIu64 " bytes\n", right, count, last);
        return right == TENSORS && count == TENSORS && 8 + HEADER_SIZE + last == (uint64_t) st.st_size ? 0
                                                                                                       : 1;
}

int main(int argc, char *argv[]) {
        int r = 2;

        if (argc == 4 && strcmp(argv[1], "make") == 0)
                r = make(argv[2], strtoull(argv[3], NULL, 10));
        else if (argc == 3 && strcmp(argv[1], "check") == 0)
                r = check(argv[2]);
        else
                fputs("usage: model make FILE MIB | model check FILE\n", stderr);
        if (r < 0)
                perror(argv[2]);
        return r < 0 ? 1 : r;
}
