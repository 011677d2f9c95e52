#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the owner of a machine can put beside an image: UEFI programs, and variables of the firmware.

usage: firmware.py program FILE driver|application LINE
       firmware.py variables FILE [Boot0001=DISK:PATH]... [Driver0000=DISK:PATH]... [BootOrder=1,2] [BootNext=1] [DriverOrder=0]

A program prints LINE on the first serial port. A driver then returns, an application stops the machine. DISK is a file with a partition
table; PATH names a program on its EFI system partition. The variables are written as virt-fw-vars --set-json takes them. UEFI 2.10,
chapter 3 (variables), section 10.3 (device paths).
"""

import json
import struct
import subprocess
import sys
import uuid

GLOBAL_VARIABLE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def program(kind, line):
    # mov dx, 0x3f8; mov al, CHARACTER; out dx, al; ...
    code = b"\x66\xba\xf8\x03" + b"".join(b"\xb0%c\xee" % c for c in f"\r\n{line}\r\n".encode())
    # A driver: xor eax, eax; ret. An application: cli; hlt; jmp to the hlt.
    code += b"\x31\xc0\xc3" if kind == "driver" else b"\xfa\xf4\xeb\xfd"
    subsystem = 11 if kind == "driver" else 10
    header = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 0xF0, 0x22) + struct.pack("<HBBIIIII", 0x20B, 14, 0, 512, 0, 0, 4096, 4096)
    header += struct.pack("<QIIHHHHHHI", 0, 4096, 512, 0, 0, 0, 0, 0, 0, 0) + struct.pack("<IIIHH", 8192, 512, 0, subsystem, 0)
    header += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(128)
    header += struct.pack("<8sIIIIIIHHI", b".text", 512, 4096, 512, 512, 0, 0, 0, 0, 0x60000020)
    image = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + header
    return image.ljust(512, b"\0") + code.ljust(512, b"\0")


def load_option(name, disk, path):
    table = json.loads(subprocess.check_output(["sfdisk", "--json", disk]))["partitiontable"]["partitions"]
    number, esp = next((number, part) for number, part in enumerate(table, 1) if part["type"].upper() == ESP)
    path = path.encode("utf-16-le") + bytes(2)
    devices = struct.pack("<BBHIQQ16sBB", 4, 1, 42, number, esp["start"], esp["size"], uuid.UUID(esp["uuid"]).bytes_le, 2, 2)
    devices += struct.pack("<BBH", 4, 4, 4 + len(path)) + path + b"\x7f\xff\x04\x00"
    return struct.pack("<IH", 1, len(devices)) + f"{name}\0".encode("utf-16-le") + devices


def variable(argument):
    name, _, value = argument.partition("=")
    if name in ("BootOrder", "BootNext", "DriverOrder"):
        data = b"".join(struct.pack("<H", int(number)) for number in value.split(","))
    else:
        data = load_option(name, *value.split(":"))
    return {"guid": GLOBAL_VARIABLE, "attr": 7, "name": name, "data": data.hex()}


def main():
    what, path, *arguments = sys.argv[1:]
    if what == "program":
        with open(path, "wb") as file:
            file.write(program(*arguments))
    else:
        with open(path, "w") as file:
            json.dump({"version": 2, "variables": [variable(argument) for argument in arguments]}, file)


main()
