#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares a fetch of one large object in parts with sixteen curls and with the AWS CLI. tests/bench/run starts it with the platform's
services 20 ms away."""
import argparse
import hashlib
import os
import subprocess
import sys
import time

from measure import milliseconds, ratio, show_ratio

CURLS = 16


class Objects:
    def __init__(self, arguments):
        self.program, self.object, self.rounds = arguments.program, arguments.object, arguments.rounds
        self.got = os.path.join(arguments.work, "object")
        self.region, self.roots = os.environ["AWS_REGION"], os.environ["CURL_CA_BUNDLE"]
        self.url = f"https://models.s3.{self.region}.amazonaws.com/weights"
        self.size = os.path.getsize(self.object)

    def check(self, paths):
        """Compares what came with the object, outside the measured time."""
        seen, wanted = hashlib.sha256(), hashlib.sha256()
        for path in paths:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    seen.update(block)
            os.unlink(path)
        with open(self.object, "rb") as file:
            while block := file.read(1 << 20):
                wanted.update(block)
        if seen.digest() != wanted.digest():
            sys.exit("another object came")

    def unseald(self):
        started = time.monotonic()
        subprocess.run([self.program, "s3://models/weights", self.region, self.roots, self.got], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        self.check([self.got])
        return seconds

    def curls(self):
        share = -(-self.size // CURLS)
        user = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
        paths = [f"{self.got}-{i}" for i in range(CURLS)]
        started = time.monotonic()
        running = [
            subprocess.Popen(["curl", "-sSf", "-o", path, "--range", f"{i * share}-{min((i + 1) * share, self.size) - 1}", "--user", user,
                              "--aws-sigv4", f"aws:amz:{self.region}:s3", "-H", f"x-amz-content-sha256: {hashlib.sha256().hexdigest()}", self.url])
            for i, path in enumerate(paths)
        ]
        if any([process.wait() for process in running]):
            sys.exit("curl failed")
        seconds = time.monotonic() - started
        self.check(paths)
        return seconds

    def aws(self):
        started = time.monotonic()
        subprocess.run([os.environ["BENCH_AWS"], "s3", "cp", "--only-show-errors", "s3://models/weights", self.got], check=True)
        seconds = time.monotonic() - started
        self.check([self.got])
        return seconds

    def run(self):
        candidates = {"unseald's fetch": self.unseald, "sixteen curls of the same bytes": self.curls}
        if os.environ.get("BENCH_AWS"):
            candidates["aws s3 cp"] = self.aws
        results = {name: [] for name in candidates}
        for i in range(self.rounds):
            print(f"objects: round {i + 1} of {self.rounds}", file=sys.stderr)
            for name, run in candidates.items():
                results[name].append(run())
        return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--object", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    results = Objects(parser.parse_args()).run()
    title = "An object in parts, S3 20 ms away"
    print(f"\n{title}, ms{'':>{max(1, 46 - len(title))}}median      spread")
    own = results["unseald's fetch"]
    for name, times in results.items():
        print(f"  {name:<44}{milliseconds(times)}")
        if times is not own:
            show_ratio("  how many times quicker unseald's fetch is", ratio(times, own))


if __name__ == "__main__":
    main()
