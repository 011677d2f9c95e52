#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares "unsealctl volume create" with what the machine can do: AES-XTS and SHA-256 by openssl speed on all processors, and cp of the same
file. tests/bench/run starts it as the vendor."""
import argparse
import os
import statistics
import subprocess
import sys
import time

MIB = 1 << 20


class Volume:
    def __init__(self, arguments):
        self.work, self.unsealctl, self.key, self.rounds = arguments.work, arguments.unsealctl, arguments.key, arguments.rounds
        self.tree, self.file, self.image = (os.path.join(self.work, name) for name in ("model", "model.erofs", "volume.img"))
        self.processors = len(os.sched_getaffinity(0))
        self.memory = []

    def make_model(self, size):
        os.makedirs(self.tree)
        with open(os.path.join(self.tree, "weights"), "wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
        subprocess.run(["mkfs.erofs", "--quiet", "-T0", self.file, self.tree], check=True, stdout=subprocess.DEVNULL)
        self.mib = os.path.getsize(self.file) / MIB

    def timed(self, *words):
        """Runs a program, and returns MiB of the file system in a second."""
        started = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        if status != 0:
            sys.exit(f"{words[0]} failed")
        self.memory.append(usage.ru_maxrss / 1024)
        return self.mib / seconds

    def create(self, source):
        return self.timed(self.unsealctl, "volume", "create", f"--trusted-certificates={os.environ['CURL_CA_BUNDLE']}", f"--key={self.key}",
                          "--name=weights", "--force", f"--output={self.image}", source)

    def copy(self):
        started = time.monotonic()
        subprocess.run(["cp", "--reflink=never", self.file, self.image], check=True)
        with open(self.image, "rb") as file:
            os.fsync(file.fileno())
        return self.mib / (time.monotonic() - started)

    def speed(self, algorithm):
        """MiB a second on all processors, in blocks of 4096 bytes."""
        output = subprocess.run(["openssl", "speed", "-elapsed", "-mr", "-evp", algorithm, "-bytes", "4096", "-seconds", "1", "-multi", str(self.processors)],
                                check=True, capture_output=True, text=True).stdout
        return float(next(line for line in output.splitlines() if line.startswith("+F:")).split(":")[-1]) / MIB

    def run(self):
        candidates = {
            "create of a file, with KMS": lambda: self.create(self.file),
            "create of a directory, with mkfs.erofs": lambda: self.create(self.tree),
            "cp and fsync": self.copy,
            "openssl speed, AES-256-XTS": lambda: self.speed("aes-256-xts"),
            "openssl speed, SHA-256": lambda: self.speed("sha256"),
        }
        results = {name: [] for name in candidates}
        for i in range(self.rounds):
            print(f"volume: round {i + 1} of {self.rounds}", file=sys.stderr)
            for name, run in candidates.items():
                results[name].append(run())
        return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--unsealctl", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--mib", type=int, default=256)
    arguments = parser.parse_args()
    volume = Volume(arguments)
    volume.make_model(arguments.mib)
    results = volume.run()
    print(f"\nA volume of {arguments.mib} MiB, {volume.processors} processors, MiB/s      median      spread")
    for name, rates in results.items():
        print(f"  {name:<44}{statistics.median(rates):8.1f}   {min(rates):8.1f} … {max(rates):8.1f}")
    create, copy, xts, digest = (results[name] for name in ("create of a file, with KMS", "cp and fsync", "openssl speed, AES-256-XTS",
                                                            "openssl speed, SHA-256"))
    bound = [1 / sum(1 / rate for rate in rates) for rates in zip(copy, xts, digest)]
    print(f"  {'create / (cp, AES-XTS and SHA-256 in turn)':<44}{statistics.median(create) / statistics.median(bound):8.2f}")
    print(f"  {'create / AES-XTS':<44}{statistics.median(create) / statistics.median(xts):8.2f}")
    print(f"  {'create / cp':<44}{statistics.median(create) / statistics.median(copy):8.2f}")
    print(f"  {'peak memory of create of a file, MiB':<44}{min(volume.memory):8.1f}")


if __name__ == "__main__":
    main()
