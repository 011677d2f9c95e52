#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Computes PCR4 of a boot of one unified kernel image, as a script does: with struct and hashlib, without unseald's code.

Hashes the image (Microsoft, "Windows Authenticode Portable Executable Signature Format") and, for a systemd-stub before 258
without Secure Boot, the kernel in its .linux section.
"""
import hashlib
import struct
import sys


def sha384(data):
    return hashlib.sha384(data).digest()


class Image:
    def __init__(self, data):
        self.data = data
        pe = struct.unpack_from("<I", data, 0x3C)[0]
        if data[pe : pe + 4] != b"PE\0\0" or struct.unpack_from("<H", data, pe + 24)[0] != 0x20B:
            sys.exit("the file is not a PE32+ image")
        count, options_size = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
        options = pe + 24
        self.checksum, self.certificates = options + 64, options + 112 + 4 * 8
        self.headers = struct.unpack_from("<I", data, options + 60)[0]
        self.signature_size = struct.unpack_from("<II", data, self.certificates)[1]
        self.sections = {}
        for i in range(count):
            offset = options + options_size + 40 * i
            name = data[offset : offset + 8].rstrip(b"\0").decode()
            virtual_size, _, raw_size, raw = struct.unpack_from("<IIII", data, offset + 8)
            self.sections[name] = (virtual_size, raw_size, raw)

    def authenticode(self):
        data, digest = memoryview(self.data), hashlib.sha384()
        digest.update(data[: self.checksum])
        digest.update(data[self.checksum + 4 : self.certificates])
        digest.update(data[self.certificates + 8 : self.headers])
        done = self.headers
        for _, raw_size, raw in sorted(self.sections.values(), key=lambda section: section[2]):
            digest.update(data[raw : raw + raw_size])
            done += raw_size
        digest.update(data[done : len(data) - self.signature_size])
        return digest.digest()

    def section(self, name):
        virtual_size, raw_size, raw = self.sections[name]
        return self.data[raw : raw + min(virtual_size, raw_size)]


with open(sys.argv[1], "rb") as file:
    image = Image(file.read())
pcr = bytes(48)
for digest in (sha384(b"Calling EFI Application from Boot Option"), sha384(bytes(4)), image.authenticode(),
               Image(image.section(".linux")).authenticode()):
    pcr = sha384(pcr + digest)
print(pcr.hex())
