#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Opens the root in the initrd. dracut sources this file again until the root is there.
#
# Every parameter of dm-verity is measured: it is in this file or in /etc/veritytab, and both are in the initrd. KIWI's own program
# reads the salt, the format and the number of blocks from a superblock on the disk, which nothing measures. With it, the owner of the
# disk could lay the hash tree out anew for fewer blocks under the same root hash. So config.sh puts this file in its place, and
# builder/fixed/veritysetup formats the root with the same parameters. /etc/veritytab has one line, which KIWI writes:
#
#     verityroot UUID=DATA UUID=HASHES ROOT-HASH hash-offset=BYTES,...
#
# The data end at hash-offset=. One block is skipped there, the superblock. The hash tree follows.
# A subshell keeps the variables from dracut.
open_root() (
    read -r name data hashes root_hash options </etc/veritytab
    [ ! -e "/dev/mapper/$name" ] || exit 0
    offset=${options#hash-offset=}
    offset=${offset%%,*}
    veritysetup open "/dev/disk/by-uuid/${data#UUID=}" "$name" "/dev/disk/by-uuid/${hashes#UUID=}" "$root_hash" \
        --panic-on-corruption --no-superblock --format=1 --hash=sha256 --salt=- --data-block-size=4096 --hash-block-size=4096 \
        --data-blocks=$((offset / 4096)) --hash-offset=$((offset + 4096))
)
open_root
