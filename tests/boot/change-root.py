#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Changes some bytes of a root under dm-verity and its hash tree, as another build with another file would. Prints the new root hash.

usage: change-root.py FILE OFFSET OLD NEW

The root begins at OFFSET of FILE. OLD must be in its data exactly once, and NEW is as long. The file system must have the bytes as they are,
as EROFS has those of a small file. dm-verity hashes each block without salt (kiwi/builder/fixed/veritysetup); see
https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity.
"""

import hashlib
import struct
import sys

BLOCK = 4096
HASHES = BLOCK // 32  # in a block


def places(blocks, first):
    """The first block of each level of the hash tree, the one above the data first. On the disk the top is first."""
    counts = []
    while blocks > 1:
        blocks = -(-blocks // HASHES)
        counts.append(blocks)
    found = []
    for count in reversed(counts):
        found.insert(0, first)
        first += count
    return found


def main():
    path, begin, old, new = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4].encode()
    assert len(old) == len(new), "the new bytes must be as many as the old ones"
    with open(path, "r+b") as file:
        file.seek(begin)
        data = bytearray(file.read())
        at = next(at for at in range(0, len(data), BLOCK) if data[at : at + 12] == b"verity\0\0\1\0\0\0")
        (blocks,) = struct.unpack_from("<Q", data, at + 72)
        assert data[:at].count(old) == 1, f"{old!r} is {data[:at].count(old)} times in the root"
        place = data.index(old)
        levels = places(blocks, at // BLOCK + 1)
        changed = {place // BLOCK, (place + len(new) - 1) // BLOCK}
        data[place : place + len(new)] = new
        written = set(changed)
        numbers, base = changed, 0
        for first in levels:
            for number in numbers:
                entry = first * BLOCK + number * 32
                data[entry : entry + 32] = hashlib.sha256(data[(base + number) * BLOCK : (base + number + 1) * BLOCK]).digest()
            numbers, base = {number // HASHES for number in numbers}, first
            written |= {first + number for number in numbers}
        for number in written:
            file.seek(begin + number * BLOCK)
            file.write(data[number * BLOCK : (number + 1) * BLOCK])
    print(hashlib.sha256(data[levels[-1] * BLOCK : (levels[-1] + 1) * BLOCK]).hexdigest())


main()
