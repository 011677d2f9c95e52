/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Prints which pages of physical memory belong to files and processes, so that somebody who looks at all of
 * a machine's memory from outside knows the owner of each page.
 *
 * usage: where FILE|PID...
 *
 * Of a file it prints the pages that are in memory because a process uses them. Of a process it prints the
 * pages that belong to no file and to no other process: heap and stacks above all. Each line has the form
 *
 *     PAGES OWNER FIRST[+COUNT]...
 *
 * with hexadecimal numbers, in units of 4 KiB. The program reads page numbers (/proc/PID/pagemap,
 * Documentation/admin-guide/mm/pagemap.rst of Linux), not contents.
 */

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)
#define PRESENT (UINT64_C(1) << 63)
#define SHARED (UINT64_C(1) << 61) /* the page belongs to a file or is shared */
#define FRAME ((UINT64_C(1) << 55) - 1)

typedef struct Runs {
        uint64_t first, count;
} Runs;

static void flush(Runs *runs) {
        if (runs->count == 1)
                printf(" %" PRIx64, runs->first);
        else if (runs->count > 1)
                printf(" %" PRIx64 "+%" PRIx64, runs->first, runs->count);
        runs->count = 0;
}

static void add(Runs *runs, uint64_t frame) {
        if (runs->count > 0 && frame == runs->first + runs->count) {
                runs->count++;
                return;
        }
        flush(runs);
        *runs = (Runs){ .first = frame, .count = 1 };
}

/* Adds the frames of the pages from begin to end, as pagemap has them. */
static void add_range(Runs *runs, int pagemap, uint64_t begin, uint64_t end, bool shared) {
        for (uint64_t address = begin; address < end; address += PAGE) {
                uint64_t entry;

                if (pread(pagemap, &entry, sizeof(entry), (off_t) (address / PAGE * sizeof(entry))) !=
                    sizeof(entry))
                        return;
                if ((entry & PRESENT) && (entry & FRAME) && (shared || !(entry & SHARED)))
                        add(runs, entry & FRAME);
        }
}

static int file(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC),
            pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        Runs runs = {};
        struct stat st;
        volatile const unsigned char *memory;

        if (fd < 0 || pagemap < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
                goto failed;
        memory = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED)
                goto failed;
        for (off_t i = 0; i < st.st_size; i += (off_t) PAGE)
                (void) memory[i];
        printf("PAGES %s", path);
        add_range(&runs, pagemap, (uint64_t) (uintptr_t) memory,
                  (uint64_t) (uintptr_t) memory + (uint64_t) st.st_size, true);
        flush(&runs);
        putchar('\n');
        return 0;
failed:
        perror(path);
        return -1;
}

static int process(const char *pid) {
        char path[64], name[64] = "", line[512];
        Runs runs = {};
        FILE *maps;
        int pagemap;

        (void) snprintf(path, sizeof(path), "/proc/%s/comm", pid);
        maps = fopen(path, "re");
        if (maps) {
                if (fgets(name, sizeof(name), maps))
                        name[strcspn(name, " \n")] = '\0';
                (void) fclose(maps);
        }
        (void) snprintf(path, sizeof(path), "/proc/%s/pagemap", pid);
        pagemap = open(path, O_RDONLY | O_CLOEXEC);
        (void) snprintf(path, sizeof(path), "/proc/%s/maps", pid);
        maps = fopen(path, "re");
        if (!maps || pagemap < 0) {
                perror(path);
                return -1;
        }
        for (bool first = true; fgets(line, sizeof(line), maps); first = false) {
                uint64_t begin, end;

                /* Kernel threads have no such memory. */
                if (first)
                        printf("PAGES process:%s", name);
                if (sscanf(line, "%" SCNx64 "-%" SCNx64, &begin, &end) == 2)
                        add_range(&runs, pagemap, begin, end, false);
        }
        if (ftell(maps) > 0) {
                flush(&runs);
                putchar('\n');
        }
        (void) fclose(maps);
        (void) close(pagemap);
        return 0;
}

int main(int argc, char *argv[]) {
        int r = 0;

        for (int i = 1; i < argc; i++)
                if ((isdigit((unsigned char) argv[i][0]) ? process(argv[i]) : file(argv[i])) < 0)
                        r = 1;
        return r;
}
