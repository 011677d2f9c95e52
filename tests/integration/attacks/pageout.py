#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the kernel write pages to swap at once (MADV_PAGEOUT), without waiting for a lack of memory, and prints which of them are
still resident. usage: pageout.py file PATH... | pageout.py process PID FIRST-LAST..."""

import ctypes
import mmap
import os
import sys

MADV_PAGEOUT = 21
libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def page_out_file(path):
    with open(path, "r+b") as file:
        data = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        data[0]  # a page is mapped when it is touched
        data.madvise(MADV_PAGEOUT)
        data.close()


def page_out_process(pid, mappings):
    pidfd = os.pidfd_open(pid)
    for mapping in mappings:
        first, last = (int(word, 16) for word in mapping.split("-"))
        iovec = Iovec(first, last - first)
        if libc.syscall(440, pidfd, ctypes.byref(iovec), 1, MADV_PAGEOUT, 0) < 0:
            print(mapping, os.strerror(ctypes.get_errno()))


if sys.argv[1] == "file":
    for name in sys.argv[2:]:
        page_out_file(name)
else:
    page_out_process(int(sys.argv[2]), sys.argv[3:])
