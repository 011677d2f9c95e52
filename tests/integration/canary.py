#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Searches a throw-away machine for secrets in the wrong place: in files, journal, arguments, environment, and the memory of its
processes, read from outside through /proc/PID/mem. usage: canary.py OUT TRAIL SECRETS HOST-DIRECTORY...

SECRETS is a directory of files. A file contains the plaintext of the secret with its name. A file whose name begins with a dot
contains another value that must not be found. There are three searches:
 1. When one secret is unsealed and KMS still throttles the others, until the search has ended (OUT/found). The search must find the
    secret and the primes of the key pair in the memory of unseald; otherwise the second search would prove nothing. A prime is
    recognised by arithmetic: its 128 bytes divide the modulus of a public key in the same memory.
 2. After the delivery, when the machine asks for it (OUT/look). The secrets are in the store and in the unit's credential. No other
    file, and no process' memory, contains any 16 bytes of a secret or of the private key.
 3. After the end of the machine: neither its output (OUT) nor the HOST-DIRECTORYs contain them.
"""

import base64
import json
import math
import os
import re
import sys
import time

PIECE = 16
FACTOR_SIZE = 128  # of RSA-2048
# SubjectPublicKeyInfo of RSA-2048 with the exponent 65537 (RFC 8017, A.1.1).
SPKI = re.compile(
    re.escape(bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")) + b"(.{256})\x02\x03\x01\x00\x01",
    re.DOTALL,
)
DELIVERED = {
    "/run/unseald/credentials/db-password",
    "/run/unseald/credentials/binary",
    "/run/credentials/billing.service/db-password",
    "/run/credentials/asks.service/asked",
    "/run/unseald/credentials/app.key",
    "/run/credentials/asks.service/app.token",
}
# Which of them KMS decrypts before the first look is not known.
SECRETS = {"db-password", "binary", "asked", "app.key", "app.token"}

failures = []


def fail(text):
    print("FAILED:", text, flush=True)
    failures.append(text)


def wait_for(what, condition, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    sys.exit(f"FAILED: waited {seconds} s for {what}")


def pieces(data):
    """Returns the pieces of 16 bytes at multiples of 8; any 24 bytes of the data contain one of them."""
    return {data[i : i + PIECE] for i in range(0, len(data) - PIECE + 1, 8)}


def encodings(data):
    """Returns the ways in which data may be written in a text."""
    texts = {data.hex(), data.hex().upper(), ",".join(map(str, data[8:16])), repr(data)[2:-1], json.dumps(list(data))[1:-1]}
    for shift in range(3):
        # Shorter than a line of base64(1), which would break it.
        texts.add(base64.b64encode(data[shift : shift + (len(data) - shift) // 3 * 3][:48]).decode())
    return {text.encode() for text in texts}


def numbers(n, p):
    """Returns all parts from which a private key can be computed, in the byte orders of OpenSSL's memory and of a file."""
    q, e = n // p, 65537
    d = pow(e, -1, (p - 1) * (q - 1) // math.gcd(p - 1, q - 1))
    values = [p, q, d, pow(e, -1, (p - 1) * (q - 1)), d % (p - 1), d % (q - 1), pow(q, -1, p), pow(p, -1, q)]
    found = set()
    for value in values:
        size = (value.bit_length() + 7) // 8
        found |= pieces(value.to_bytes(size, "little")) | pieces(value.to_bytes(size, "big"))
    return found


class Needles:
    def __init__(self):
        self.of = {}  # name → set of bytes

    def add(self, name, needles):
        self.of.setdefault(name, set()).update(needles)

    def found_in(self, data):
        return {name for name, needles in self.of.items() if any(needle in data for needle in needles)}


class Machine:
    """The processes of a machine, seen from outside. The machine is recognised by its /out."""

    def __init__(self, out):
        self.out = os.stat(out)

    def processes(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                out = os.stat(f"/proc/{pid}/root/out")
                if (out.st_dev, out.st_ino) == (self.out.st_dev, self.out.st_ino) and os.readlink(f"/proc/{pid}/exe"):
                    inner = re.search(r"^NSpid:.*\s(\d+)$", read(f"/proc/{pid}/status").decode(), re.M)
                    if len(inner[0].split()) > 2:
                        yield int(pid), int(inner[1]), read(f"/proc/{pid}/comm").decode().strip()
            except OSError:
                pass  # the process has ended, or it is a kernel thread

    def pid_of(self, name):
        return [pid for pid, _, comm in self.processes() if comm == name]

    def root(self):
        return next(f"/proc/{pid}/root" for pid, inner, _ in self.processes() if inner == 1)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def mappings(pid):
    """Yields (first, last, permissions, name) of each mapping."""
    for line in read(f"/proc/{pid}/maps").decode().splitlines():
        fields = line.split(None, 5)
        first, last = (int(word, 16) for word in fields[0].split("-"))
        yield first, last, fields[1], fields[5] if len(fields) > 5 else ""


def memory(pid):
    """Yields the bytes of each mapping, without pages that cannot be read (guard pages, the kernel's own pages)."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for first, last, _, name in mappings(pid):
            if name in ("[vsyscall]", "[vvar]"):
                continue
            data = bytearray()
            while first < last:
                try:
                    file.seek(first)
                    part = file.read(min(last - first, 1 << 20))
                    data += part
                    first += len(part)
                except OSError:
                    first += 4096
            yield name, bytes(data)


def find_key(snapshot):
    """Returns (n, p) of a public key whose prime is in the same memory, in OpenSSL's words, least significant first."""
    moduli = {int.from_bytes(match[1], "big") for _, data in snapshot for match in SPKI.finditer(data)}
    for _, data in snapshot:
        for at in range(0, len(data) - FACTOR_SIZE + 1, 8):
            # Each of the two primes of a 2048-bit key is odd and has its top bit set.
            if data[at] & 1 and data[at + FACTOR_SIZE - 1] >= 0xB5:
                p = int.from_bytes(data[at : at + FACTOR_SIZE], "little")
                for n in moduli:
                    if n % p == 0:
                        return n, p
    return None


def files_below(root, skipped=()):
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if os.path.join(directory, name)[len(root) :] not in skipped]
        for name in files:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def look_at_files(needles, root, skipped=()):
    """Returns which files contain which needles, and the number of files searched."""
    found, count = {}, 0
    for path in files_below(root, skipped):
        try:
            names = needles.found_in(read(path)) | needles.found_in(os.path.basename(path).encode())
        except OSError:
            continue
        count += 1
        if names:
            found[path[len(root) :]] = names
    return found, count


def first_look(machine, needles, trail):
    def one_is_unsealed():
        events = [json.loads(line) for line in read(trail).splitlines()]
        return any(event["eventName"] == "Decrypt" and "errorCode" not in event for event in events)

    wait_for("KMS to decrypt one secret", one_is_unsealed)
    (pid,) = machine.pid_of("unseald")

    def with_a_secret():
        regions = list(memory(pid))
        if os.listdir(machine.root() + "/run/unseald/credentials"):
            fail("the first look came late: something is published already")
            return regions
        return regions if any(set(needles.found_in(data)) & SECRETS for _, data in regions) else None

    snapshot = wait_for("a secret in unseald's memory", with_a_secret, 60)

    key = find_key(snapshot)
    if not key:
        sys.exit("FAILED: no prime of the key pair in unseald's memory while it has one, so this could not fail later")
    needles.add("the private key", numbers(*key))
    seen = set().union(*(needles.found_in(data) for _, data in snapshot))
    print("while KMS is busy, unseald's memory has:", ", ".join(sorted(seen)), flush=True)
    for name in needles.of:
        if name not in seen and name not in SECRETS:
            fail(f"{name} cannot be found even when it must be there")
    if not seen & SECRETS:
        fail("no secret can be found in memory even when one must be there")


def look_at_memory(machine, needles):
    """Searches all processes of the machine. Also checks that no page of unseald may be swapped, since there is no swap to search."""
    (unseald,) = machine.pid_of("unseald")
    for pid, _, comm in list(machine.processes()):
        size, found = 0, {}
        try:
            parts = list(memory(pid))
            parts += [("its arguments", read(f"/proc/{pid}/cmdline")), ("its environment", read(f"/proc/{pid}/environ"))]
        except OSError:
            continue  # it has ended in the meantime
        for name, data in parts:
            size += len(data)
            for needle in needles.found_in(data):
                found.setdefault(needle, set()).add(name or "anonymous memory")
        print(f"  {comm}: {size >> 10} KiB", flush=True)
        for needle, where in found.items():
            fail(f"{needle} is in the memory of {comm}: {', '.join(sorted(where))}")
        if pid == unseald and not any(b"All required secrets are published" in data for _, data in parts):
            fail("unseald's memory is not what was read")

    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", read(f"/proc/{unseald}/smaps").decode()):
        head, flags = block.split("\n", 1)[0], re.search(r"VmFlags: (.*)", block)[1].split()
        if "wr" in flags and "lo" not in flags:
            fail(f"unseald's memory is not locked: {head}")


def second_look(machine, needles, out):
    wait_for("the machine to have delivered", lambda: os.path.exists(out + "/look"))
    print("with all delivered, in the memory of", flush=True)
    look_at_memory(machine, needles)
    # /usr belongs to the host, /sys to the kernel. /proc was searched already; /out is searched at the end.
    found, count = look_at_files(needles, machine.root(), ("/usr", "/proc", "/sys", "/out"))
    print(f"and of {count} files, in:", ", ".join(sorted(found)), flush=True)
    if not any(path.endswith(".journal") for path in files_below(machine.root() + "/var/log/journal")):
        fail("the journal was not among the files")
    for path in sorted(DELIVERED - set(found)):
        fail(f"no secret is in {path}")
    for path in sorted(set(found) - DELIVERED):
        fail(f"{', '.join(found[path])} is in {path}")


def third_look(needles, out, directories):
    wait_for("the machine to end", lambda: os.path.exists(out + "/done"))
    for directory in [out] + directories:
        found, count = look_at_files(needles, directory)
        print(f"{count} files of {directory}", flush=True)
        for path, names in found.items():
            fail(f"{', '.join(names)} is in {directory}{path}")


def main(out, trail, secrets, *directories):
    needles = Needles()
    for name in os.listdir(secrets):
        data = read(os.path.join(secrets, name))
        needles.add(name.lstrip("."), pieces(data) | encodings(data))
    machine = Machine(out)

    try:
        try:
            first_look(machine, needles, trail)
        finally:
            open(out + "/found", "w").close()
        second_look(machine, needles, out)
    finally:
        open(out + "/looked", "w").close()
    third_look(needles, out, list(directories))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
