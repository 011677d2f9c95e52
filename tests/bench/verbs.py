#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares verbs of unsealctl with scripts that do the same. tests/bench/run starts it in the network namespace of a platform."""
import argparse
import json
import os
import re
import subprocess
import sys
import time

from measure import milliseconds, ratio, show_ratio

here = os.path.dirname(os.path.abspath(__file__))
top = os.path.dirname(os.path.dirname(here))
PYTHON = "/usr/bin/python3"  # has the distribution's cbor2 and cryptography
MIB = 1024 * 1024
NOTHING_EXPECTED = 19  # verify: the document is genuine, and no --pcr= or --measurements= says what it should have


def timed(*words, read=None, statuses=(0,)):
    """Runs a command. Returns the seconds from fork to end, and its standard output or the content of the file to read."""
    started = time.monotonic()
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seconds = time.monotonic() - started
    if result.returncode not in statuses:
        sys.exit(f"{words[0]} {words[1]} ended with {result.returncode}: {result.stderr.decode()}")
    if read:
        with open(read, "rb") as file:
            return seconds, file.read()
    return seconds, result.stdout.decode()


def large_image(small, path):
    """Makes an image as large as real ones. The bytes behind the sections are hashed, too."""
    with open(path, "wb") as file:
        file.write(small + bytes(64 * MIB))


class Verbs:
    def __init__(self, arguments):
        self.unsealctl, self.work, self.rounds = arguments.unsealctl, arguments.work, arguments.rounds
        self.image = f"{top}/tests/vectors/efi/uki-x86-64.efi"
        self.large = os.path.join(self.work, "large.efi")
        with open(self.image, "rb") as file:
            large_image(file.read(), self.large)
        self.document = f"{top}/tests/vectors/attestation/nitrotpm-document.cbor"
        self.root = f"{top}/conf/nitro-root/aws-nitro-root-g1.pem"
        verdict = json.loads(timed(self.unsealctl, "verify", "--json", "--at=document", f"--root={self.root}", self.document,
                                   statuses=(NOTHING_EXPECTED,))[1])
        self.document_time = str(verdict["document"]["timestamp"] / 1000)

    def measure(self, image):
        own, text = timed(self.unsealctl, "measure", image)
        script, pcr4 = timed(PYTHON, f"{here}/pcr-compute.py", image)
        if json.loads(text)["Measurements"]["PCR4"] != pcr4.strip():
            sys.exit(f"unsealctl and the script computed different PCR4: {text} {pcr4}")
        return own, script

    def verify(self):
        own, _ = timed(self.unsealctl, "verify", "--at=document", f"--root={self.root}", self.document, statuses=(NOTHING_EXPECTED,))
        script, pcrs = timed(PYTHON, f"{top}/tests/platform/check-document.py", self.root, self.document, "--at", self.document_time)
        if len(re.findall("^PCR", pcrs, re.M)) < 8:
            sys.exit(f"check-document.py printed no PCRs: {pcrs}")
        return own, script

    def attest(self):
        seconds, path = [], os.path.join(self.work, "document")
        for words in ((self.unsealctl, "attest", f"--device={os.environ['PLATFORM_TCTI']}", f"--output={path}"),
                      (f"{here}/attest-tpm2-tools", path)):
            took, _ = timed(*words, read=path)
            timed(self.unsealctl, "verify", f"--root={os.environ['PLATFORM_NITRO_ROOT']}", path, statuses=(NOTHING_EXPECTED,))
            seconds.append(took)
        return seconds

    def run(self):
        parts = {
            "measure, an image of 5 KiB; Python, hashlib": lambda: self.measure(self.image),
            "measure, an image of 64 MiB; Python, hashlib": lambda: self.measure(self.large),
            "verify; Python, cbor2, cryptography": self.verify,
            "attest; shell, tpm2-tools": self.attest,
        }
        results = {name: [] for name in parts}
        for i in range(self.rounds):
            print(f"verbs: round {i + 1} of {self.rounds}", file=sys.stderr)
            for name, run in parts.items():
                results[name].append(run())
        return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--unsealctl", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    results = Verbs(parser.parse_args()).run()
    title = "unsealctl and scripts, from fork to end"
    print(f"\n{title}, ms{'':>{max(1, 46 - len(title))}}median      spread")
    for name, rounds in results.items():
        verb, script = name.split("; ")
        own, other = zip(*rounds)
        print(f"  {verb:<44}{milliseconds(own)}")
        print(f"  {'  ' + script:<44}{milliseconds(other)}")
        show_ratio("  how many times quicker unsealctl is", ratio(other, own))


if __name__ == "__main__":
    main()
