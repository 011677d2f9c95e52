/* SPDX-License-Identifier: Apache-2.0 */

/* Prints all of a volume's key but the key itself. */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "unsealctl/ctl.h"
#include "unsealctl/volume/key-source.h"
#include "unsealctl/volume/volume.h"

static void print_hex(const uint8_t *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                printf("%02x", bytes[i]);
}

static void print_commands(const VolumeKey *key) {
        printf("unsealctl unseal --reveal %s | jq -r .key | base64 -d |\n"
               "    cryptsetup open --type plain --cipher " VOLUME_CIPHER
               " --hash plain --key-size 512 --sector-size 4096 \\\n"
               "        --size %" PRIu64 " --readonly --key-file - DEVICE %s-clear\n"
               "veritysetup open --no-superblock --hash " VOLUME_HASH
               " --data-block-size 4096 --hash-block-size 4096 \\\n"
               "    --data-blocks %" PRIu64 " --hash-offset %" PRIu64 " --salt ",
               key->name, key->size / VOLUME_TWEAK_UNIT, key->name, key->data_blocks,
               key->hash_start * VOLUME_BLOCK_SIZE);
        print_hex(key->salt, sizeof(key->salt));
        printf(" \\\n    /dev/mapper/%s-clear %s /dev/mapper/%s-clear \\\n    ", key->name, key->name,
               key->name);
        print_hex(key->root_hash, sizeof(key->root_hash));
        printf("\nmount -o ro /dev/mapper/%s /mnt\n", key->name);
}

static void print_show_help(void) {
        printf("unsealctl volume show [OPTIONS…] --secret=NAME\n\n"
               "Show the layout of a volume, and the commands that open it by hand. The key\n"
               "itself is not shown.\n\n"
               "  -h --help                      Show this help\n"
               "     --secret=NAME               The secret with the key, or a file NAME.secret\n"
               "     --member=NAME               Its member, if it is a bundle\n"
               "     --key-file=FILE             Its plaintext; - is standard input\n"
               "     --vendor-configuration=DIR  For --secret=, as in unseal\n"
               "     --configuration=DIR         For --secret=, as in unseal\n\n"
               "Exit status: 0 done, 1 failure, 2 usage; any other is one of unseald(8).\n");
}

static void show(const VolumeKey *key) {
        printf("Volume       %s\n"
               "File system  %" PRIu64 " bytes in %" PRIu64 " blocks of 4096\n"
               "Hash tree    from byte %" PRIu64 " on, %" PRIu64 " blocks of 4096\n"
               "Size         %" PRIu64 " bytes; the device has so many or more\n\n",
               key->name, key->data_size, key->data_blocks, key->hash_start * VOLUME_BLOCK_SIZE,
               key->size / VOLUME_BLOCK_SIZE - key->hash_start, key->size);
        print_commands(key);
}

int volume_show(int argc, char *argv[]) {
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "secret", required_argument, NULL, OPTION_SECRET },
                { "member", required_argument, NULL, OPTION_MEMBER },
                { "key-file", required_argument, NULL, OPTION_KEY_FILE },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                {},
        };
        _cleanup_volume_key_ VolumeKey key = {};
        KeySource source = {};
        int c, r;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                if (c == 'h') {
                        print_show_help();
                        return EXIT_SUCCESS;
                } else if (!key_source_take(&source, c, optarg))
                        return EXIT_USAGE;
        if (argc > optind)
                return usage_error("volume show takes no argument. The key has the layout.");
        r = key_source_read(&source, &key);
        if (r == 0)
                show(&key);
        return r;
}
