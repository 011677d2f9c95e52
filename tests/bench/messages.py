#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures messages and bundles, for tests/bench/run, which has started the platform and made the key. Each candidate is a program that
the platform runs, and its time is from fork to end; unseald's is to READY=1. All are run in turn, A B A B ..."""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from measure import milliseconds, ratio, show_ratio

MIB = 1 << 20
CURLS = 16
TIMEOUT = 600


class Messages:
    def __init__(self, arguments):
        self.__dict__.update(vars(arguments))
        self.platform = os.environ["BENCH_PLATFORM"]
        self.memory, self.ramfs = f"{self.work}/memory", f"{self.work}/ramfs"
        kind, options = self.file_system_of_store()
        print(f"The store: {kind}, {options}")
        for directory, kind, options in ((self.memory, kind, options), (self.ramfs, "ramfs", "mode=0711")):
            os.mkdir(directory)
            subprocess.run(["mount", "-t", kind, "-o", options, "bench", directory], check=True)
        self.store, self.status, self.notify = f"{self.memory}/store", f"{self.work}/status.json", f"{self.work}/notify"
        os.mkdir(self.store, 0o711)

    def file_system_of_store(self):
        """What unseald-generator chooses on this machine. It also writes the units of volumes, of which there need be none."""
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run([f"{os.path.dirname(self.program)}/unseald-generator", directory], check=False, stderr=subprocess.DEVNULL)
            try:
                with open(f"{directory}/run-unseald-credentials.mount.d/50-tmpfs.conf") as file:
                    return "tmpfs", re.search(r"^Options=(.*)$", file.read(), re.M)[1].replace("%%", "%")
            except FileNotFoundError:
                return "ramfs", "mode=0711"

    def words(self, who, *words, delayed=False):
        return [self.platform, "exec", "--as", who, *(["--delayed"] if delayed else []), "--", *words]

    def run(self, who, *words, delayed=False, **options):
        """Returns the time until the program has ended."""
        started = time.monotonic()
        subprocess.run(self.words(who, *words, delayed=delayed), check=True, stdout=subprocess.DEVNULL, **options)
        return time.monotonic() - started

    def plaintext(self, mib):
        path = f"{self.work}/plaintext-{mib}"
        if not os.path.exists(path):
            with open("/dev/urandom", "rb") as source, open(path, "wb") as file:
                for _ in range(mib):
                    file.write(source.read(MIB))
        return path

    def seal(self, name, *words, where=None, output=None):
        """Seals with unsealctl. Returns the path of the message and the time."""
        path = output or f"{where or self.work}/{name}.message"
        return path, self.run("vendor", self.unsealctl, "seal", f"--trusted-certificates={os.environ['PLATFORM_CA_FILE']}", f"--key={self.key}",
                              f"--name={name}", f"--output={path}", *words)

    def configure(self, name, source, *lines):
        """Makes a configuration with this secret alone. Returns its directory."""
        directory = f"{self.work}/configuration-of-{name}"
        os.makedirs(f"{directory}/secrets.d", exist_ok=True)
        with open(f"{directory}/unseald.conf", "w") as file:
            print("[Unseald]", f"TrustedCertificates={os.environ['PLATFORM_CA_FILE']}", f"TpmDevice={os.environ['PLATFORM_TCTI']}",
                  "StoreSizeMax=16G", "DeadlineSec=10min", sep="\n", file=file)
        with open(f"{directory}/secrets.d/{name}.secret", "w") as file:
            print("[Secret]", f"Source={source}", f"KeyId={self.key}", *lines, sep="\n", file=file)
        return directory

    def unseald(self, configuration, delayed=False):
        """Returns the time to READY=1 and the peak of the memory in KiB."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(self.notify)
            os.chmod(self.notify, 0o777)
            notify.settimeout(TIMEOUT)
            started = time.monotonic()
            process = subprocess.Popen(
                self.words("instance", "env", f"NOTIFY_SOCKET={self.notify}", "GNUTLS_NO_IMPLICIT_INIT=1", self.program,
                           f"--vendor-configuration={configuration}", "--configuration=/nonexistent", f"--store={self.store}",
                           f"--status={self.status}", delayed=delayed), stderr=subprocess.PIPE)
            while True:
                notify.settimeout(1)
                try:
                    text, sender = notify.recv(8192), None
                except socket.timeout:
                    if process.poll() is not None:
                        sys.exit(f"unseald ended with {process.returncode}: {process.stderr.read().decode()}")
                    continue
                if b"READY=1" in text:
                    break
            seconds = time.monotonic() - started
        os.unlink(self.notify)
        with open(f"/proc/{process.pid}/status") as file:
            peak = int(re.search(r"VmHWM:\s*(\d+)", file.read())[1])
        process.send_signal(signal.SIGTERM)
        if process.wait(TIMEOUT) != 0:
            sys.exit(f"unseald ended with {process.returncode}: {process.stderr.read().decode()}")
        process.stderr.close()
        self.run("instance", self.program, "--forget", f"--store={self.store}", f"--status={self.status}", stderr=subprocess.DEVNULL)
        if os.listdir(self.store):
            sys.exit(f"unseald --forget left {os.listdir(self.store)}")
        return seconds, peak

    def touch_memory(self):
        """The host of a virtual machine may take back memory that is free, and give it again only when it is used, which costs seconds for
        each GiB. That is no matter of what is measured."""
        path = f"{self.memory}/touched"
        subprocess.run(["sh", "-c", f"truncate --size={self.mib + 64}M {path} && exec dd if=/dev/zero of={path} bs=1M count={self.mib + 64} conv=notrunc"],
                       check=True, stderr=subprocess.DEVNULL)
        os.unlink(path)

    def in_turn(self, title, candidates):
        """Returns the times of each candidate, and prints them with how many times quicker the first one is."""
        results = {name: [] for name in candidates}
        for i in range(self.rounds):
            print(f"{title}: round {i + 1} of {self.rounds}", file=sys.stderr)
            for name, run in candidates.items():
                self.touch_memory()
                results[name].append(run())
        print(f"\n{title}, ms{'':>{max(1, 46 - len(title))}}median      spread")
        first = next(iter(results.values()))
        for name, times in results.items():
            print(f"  {name:<44}{milliseconds(times)}")
            if times is not first:
                show_ratio("  how many times the first one's time", ratio(times, first), self.aims.get((title, name)))
        return results

    aims = {}

    def sdks(self):
        """The same message, opened by unseald and by the SDKs, which write it to /dev/null."""
        cases = [(f"A message of {self.mib} MiB in frames of 1 MiB", "coarse", self.mib, MIB, 5)]
        if self.js_sdk:
            cases.append((f"A message of {max(1, self.mib // 4)} MiB in frames of 4 KiB", "fine", max(1, self.mib // 4), 4096, 15))
        for title, name, mib, frame, aim in cases:
            if frame == MIB:
                message, _ = self.seal(name, self.plaintext(mib))
            else:
                message = f"{self.work}/{name}.message"
                self.run("vendor", *self.sdk("js"), "encrypt", self.key, self.plaintext(mib), name, str(frame), message)
            directory = self.configure(name, f"file:{message}", "Format=message", "SizeMax=16G")
            candidates = {"unseald": lambda directory=directory: self.unseald(directory)[0]}
            for sdk, title_of in (("js", "the SDK for JavaScript"), ("python", "the SDK for Python")):
                if self.sdk(sdk):
                    self.aims[title, title_of] = f"at least {aim}"
                    candidates[title_of] = lambda sdk=sdk, message=message: self.run("vendor", *self.sdk(sdk), "decrypt", self.key, message)
            for name, copy in self.copies(self.plaintext(mib)).items():
                candidates[name] = copy
            self.in_turn(title, candidates)
            os.unlink(message)

    def dd(self, path, memory, expected=False):
        """Copies from the page cache into memory. expected: the size of the copy is set first, as unseald does."""
        copy, size = f"{memory}/copied", os.path.getsize(path)
        command = f"truncate --size={size} {copy} && exec dd if={path} of={copy} bs=1M conv=notrunc" if expected else f"exec dd if={path} of={copy} bs=1M"
        seconds = self.run("vendor", "sh", "-c", command, stderr=subprocess.DEVNULL)
        os.unlink(copy)
        return seconds

    def copies(self, path):
        """dd, which does nothing but to copy, into ramfs and into the file system of the store."""
        return {"dd of the plaintext into ramfs": lambda: self.dd(path, self.ramfs),
                "dd of it to where the store is": lambda: self.dd(path, self.memory),
                "dd of it there, its size set first": lambda: self.dd(path, self.memory, expected=True)}

    def sdk(self, which):
        if which == "python":
            return [f"{self.python_sdk}/bin/python3", f"{os.path.dirname(__file__)}/esdk.py"] if self.python_sdk else None
        return ["env", f"NODE_EXTRA_CA_CERTS={os.environ['PLATFORM_CA_FILE']}", f"NODE_PATH={self.js_sdk}/node_modules", "node", "--no-warnings",
                f"{os.path.dirname(__file__)}/esdk.js"] if self.js_sdk else None

    def s3(self):
        """unseald's time has the key pair, the document and KMS in it, which the others do not need."""
        message, _ = self.seal("remote", self.plaintext(self.mib))
        size = os.path.getsize(message)
        subprocess.run([self.platform, "object", "put", "models", "remote", message], check=True, stdout=subprocess.DEVNULL)
        directory = self.configure("remote", "s3://models/remote", "Format=message", "SizeMax=16G")
        share = -(-size // CURLS)
        got = f"{self.memory}/got"
        curls = "".join(
            f"""curl -sSf -o {got}-{i} --range {i * share}-{min((i + 1) * share, size) - 1} --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
                --aws-sigv4 "aws:amz:$AWS_REGION:s3" -H x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \\
                "https://models.s3.$AWS_REGION.amazonaws.com/remote" & pids="$pids $!"\n""" for i in range(CURLS))

        def run_curls():
            seconds = self.run("customer", "sh", "-c", f'{curls}for pid in $pids; do wait "$pid" || exit 1; done', delayed=True)
            for i in range(CURLS):
                os.unlink(f"{got}-{i}")
            return seconds

        def run_aws():
            seconds = self.run("customer", self.aws, "s3", "cp", "--only-show-errors", "s3://models/remote", got, delayed=True)
            os.unlink(got)
            return seconds

        title = f"A message of {self.mib} MiB from S3, 20 ms away"
        self.aims[title, "sixteen curls of the same bytes"] = "at least 0.85"
        candidates = {"unseald, into the store": lambda: self.unseald(directory, delayed=True)[0], "sixteen curls of the same bytes": run_curls}
        if self.aws:
            candidates["aws s3 cp"] = run_aws
        self.in_turn(title, candidates)
        os.unlink(message)

    def peak(self):
        print(f"\nPeak memory beside the plaintext, MiB{'':>11}median      spread")
        for mib in (64, self.large):
            message, _ = self.seal("large", self.plaintext(mib))
            directory = self.configure("large", f"file:{message}", "Format=message", "SizeMax=16G")
            peaks = [self.unseald(directory)[1] / 1024 for _ in range(self.rounds)]
            print(f"  {f'unseald, a message of {mib} MiB':<44}{statistics.median(peaks):8.1f}   {min(peaks):8.1f} … {max(peaks):8.1f}"
                  "   (aim: 16 + 24 at most)")
            os.unlink(message)
            os.unlink(self.plaintext(mib))

    def bundle(self):
        with open(f"{self.work}/app.json", "w") as file:
            json.dump({f"member-{i}": f"value of the member {i}" for i in range(1000)}, file)
        with open(f"{self.work}/one", "w") as file:
            file.write("one value")
        many, _ = self.seal("app", f"--bundle={self.work}/app.json")
        one, _ = self.seal("one", "--format=message", f"{self.work}/one")
        directories = {
            "one secret": self.configure("one", f"file:{one}", "Format=message"),
            "a bundle of 1,000": self.configure("app", f"file:{many}", "Format=bundle", *(f"[Member member-{i}]" for i in range(1000))),
        }
        title = "A bundle beside one secret, KMS 20 ms away"
        self.aims[title, "a bundle of 1,000"] = "1.5 at most"
        self.in_turn(title, {name: lambda directory=directory: self.unseald(directory, delayed=True)[0] for name, directory in directories.items()})

    def late(self):
        """READY=1 of a small secret, alone and beside a large message with Late=yes, which is decrypted after it. unseald is then stopped."""
        with open(f"{self.work}/small", "w") as file:
            file.write("a small secret")
        small, _ = self.seal("small", "--format=message", f"{self.work}/small")
        model, _ = self.seal("model", self.plaintext(self.large))
        alone = self.configure("small", f"file:{small}", "Format=message")
        beside = self.configure("model", f"file:{model}", "Format=message", "SizeMax=16G", "Late=yes")
        shutil.copy(f"{alone}/secrets.d/small.secret", f"{beside}/secrets.d")
        title, with_late = "READY=1 of a small secret", f"beside a late message of {self.large} MiB"
        self.aims[title, with_late] = "1.1 at most"
        self.in_turn(title, {"alone": lambda: self.unseald(alone)[0], with_late: lambda: self.unseald(beside)[0]})
        os.unlink(model)

    def gcm(self):
        """The rate of one core's GCM in bytes a second."""
        said = subprocess.run(["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", str(MIB), "-evp", "aes-256-gcm"], check=True,
                              capture_output=True, text=True).stdout
        return float(re.search(r"([0-9.]+)k\s*$", said)[1]) * 1000

    def sealing(self):
        """unsealctl seal beside the time that one core's GCM takes for as many bytes, and beside a copy of them by dd. What seal itself does
        is what goes to /dev/null; a file costs its pages as well, which take no time to sync in memory. One byte costs the start of the
        program and KMS."""
        path, byte = self.plaintext(self.mib), f"{self.work}/byte"
        with open(byte, "w") as file:
            file.write("x")

        def run_seal(plaintext, where):
            message, seconds = self.seal("sealed", "--format=message", plaintext, where=where)
            os.unlink(message)
            return seconds

        def run_seal_to_nothing():
            return self.seal("sealed", path, output="/dev/null")[1]

        def run_gcm():
            return os.path.getsize(path) / self.gcm()

        title = f"Sealing {self.mib} MiB"
        self.aims[title, "GCM on one core"] = "at least 0.7"
        self.aims[title, "dd, which only copies, into ramfs"] = "at least 0.8"
        candidates = {"unsealctl seal, into ramfs": lambda: run_seal(path, self.ramfs), "GCM on one core": run_gcm,
                      "dd, which only copies, into ramfs": lambda: self.dd(path, self.ramfs)}
        self.in_turn(title, candidates)
        title = f"Sealing {self.mib} MiB, without the pages of a file"
        self.aims[title, "GCM on one core"] = "at least 0.7"
        self.in_turn(title, {"unsealctl seal, to /dev/null": run_seal_to_nothing, "GCM on one core": run_gcm,
                             "unsealctl seal of one byte": lambda: run_seal(byte, self.ramfs)})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("work", "program", "unsealctl", "key"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("aws", "python-sdk", "js-sdk"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--large", type=int, default=1024)
    parser.add_argument("--parts", default="sdks,s3,peak,bundle,late,sealing")
    messages = Messages(parser.parse_args())
    for part in messages.parts.split(","):
        {"sdks": messages.sdks, "s3": messages.s3, "peak": messages.peak, "bundle": messages.bundle, "late": messages.late,
         "sealing": messages.sealing}[part]()


if __name__ == "__main__":
    main()
