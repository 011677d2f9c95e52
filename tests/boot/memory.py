#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Finds all copies of a secret in a machine's memory, and their owners. usage: memory.py DUMP CONSOLE SECRET OWNER...

DUMP comes from QEMU's dump-guest-memory without paging (an ELF core by physical addresses). CONSOLE has the lines that where.c
printed in the machine. SECRET is a file. The OWNERs, named as where.c names them, may have copies. A piece of 16 bytes counts as a
copy. Prints a line for each copy. Fails where a copy has no owner or another owner, where an OWNER has no copy, and where there
is no copy at all: the machine must have the secret, so a search that finds nothing does not work.
"""

import mmap
import re
import struct
import sys

PIECE = 16
PAGE = 4096


def segments(dump):
    """Yields (offset in the file, physical address, size) of each loadable segment of the core."""
    assert dump[:4] == b"\x7fELF" and dump[5] == 1, "the dump is not an ELF core"
    if dump[4] == 2:
        at, (entry_size, count) = struct.unpack_from("<Q", dump, 32)[0], struct.unpack_from("<HH", dump, 54)
    else:  # ELF32: the processor has just been reset
        at, (entry_size, count) = struct.unpack_from("<I", dump, 28)[0], struct.unpack_from("<HH", dump, 42)
    for i in range(count):
        if dump[4] == 2:
            kind, _, offset, _, physical, size = struct.unpack_from("<IIQQQQ", dump, at + i * entry_size)
        else:
            kind, offset, _, physical, size = struct.unpack_from("<IIIII", dump, at + i * entry_size)
        if kind == 1:
            yield offset, physical, size


def owners(console):
    """Maps frame numbers to their owners."""
    found = {}
    with open(console, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\r\n")
            if not line.startswith("PAGES "):
                continue
            _, whose, *runs = line.split(" ")
            for run in runs:
                first, _, count = run.partition("+")
                for frame in range(int(first, 16), int(first, 16) + int(count or "1", 16)):
                    found.setdefault(frame, []).append(whose)
    return found


def copies(dump, secret):
    """Returns the offsets at which a copy begins, or would begin where only a piece of it is left."""
    hits = set()
    for begin in range(0, len(secret) - PIECE + 1, 8):
        for match in re.finditer(re.escape(secret[begin : begin + PIECE]), dump):
            hits.add(match.start() - begin)
    return sorted(hits)


def main():
    with open(sys.argv[1], "rb") as file, open(sys.argv[3], "rb") as secret_file:
        dump = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        secret = secret_file.read()
        whose_frame = owners(sys.argv[2])
        parts = list(segments(dump))
        allowed, seen, unknown = set(sys.argv[4:]), set(), 0
        hits = copies(dump, secret)
        for hit in hits:
            physical = next((p + hit - o for o, p, size in parts if o <= hit < o + size), None)
            whole = dump[hit : hit + len(secret)] == secret
            whose = whose_frame.get(physical // PAGE) if physical is not None else None
            unknown += not whose or not set(whose) <= allowed
            seen.update(whose or [])
            print(
                f"COPY {'at ' + hex(physical) if physical is not None else 'outside of the memory'}"
                f"{'' if whole else ', a piece'}: {', '.join(whose) if whose else 'NOBODY KNOWS WHOSE'}"
            )
    if not hits:
        sys.exit("memory.py: there is no copy, although the machine has the secret: the search does not work")
    if unknown:
        sys.exit(f"memory.py: {unknown} copies have no owner, or another owner than {', '.join(sorted(allowed))}")
    if allowed - seen:
        sys.exit(f"memory.py: {', '.join(sorted(allowed - seen))} should have a copy and has none")


main()
