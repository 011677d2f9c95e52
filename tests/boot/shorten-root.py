#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shortens a root under dm-verity without changing its root hash, as the owner of the disk can.

usage: shorten-root.py FILE OFFSET [BLOCKS]

The root begins at OFFSET of FILE. dm-verity computes the place of each level of the hash tree from the number of data blocks. If the
number of levels stays the same, so does the block at the top, and with it the root hash. So this writes a smaller number into the
superblock (https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity), moves what is left of each level to where the smaller tree has
it, and destroys the data behind the new end. BLOCKS are kept; by default the smallest possible number. Prints the two numbers.
"""

import struct
import sys

BLOCK = 4096
HASHES = BLOCK // 32  # in a block


def levels(blocks):
    """The number of hash blocks in each level, the one above the data first."""
    counts = []
    while blocks > 1:
        blocks = -(-blocks // HASHES)
        counts.append(blocks)
    return counts


def places(blocks, first):
    """(place, count) of each level in blocks, the one above the data first. On the disk the top is first."""
    found = []
    for count in reversed(levels(blocks)):
        found.insert(0, (first, count))
        first += count
    return found


def main():
    path, begin = sys.argv[1], int(sys.argv[2])
    with open(path, "r+b") as file:
        file.seek(begin)
        data = file.read()
        at = next(at for at in range(0, len(data), BLOCK) if data[at : at + 12] == b"verity\0\0\1\0\0\0")
        (blocks,) = struct.unpack_from("<Q", data, at + 72)
        fewest = HASHES ** (len(levels(blocks)) - 1) + 1
        keep = int(sys.argv[3]) if len(sys.argv) > 3 else fewest
        assert fewest <= keep < blocks, f"{fewest} to {blocks - 1} blocks can be kept"
        first = at // BLOCK + 1
        for (old, _), (new, count) in zip(places(blocks, first), places(keep, first)):
            file.seek(begin + new * BLOCK)
            file.write(data[old * BLOCK : (old + count) * BLOCK])
        file.seek(begin + at + 72)
        file.write(struct.pack("<Q", keep))
        file.seek(begin + keep * BLOCK)
        file.write(b"\xff" * (blocks - keep) * BLOCK)
    print(keep, blocks)


main()
