#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measuring half of tests/bench/run, which starts it in the network namespace of a machine of the local platform and in a
mount namespace of its own. It measures everything in turn, A B A B ..., so that other load on the machine affects all alike.
"""
import argparse
import atexit
import itertools
import json
import os
import platform
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time

TIMEOUT = 60
ENDPOINT_FILES = {"near": os.environ["PLATFORM_HOSTS"], "far": os.environ["PLATFORM_HOSTS_DELAYED"]}


def command(*words, **options):
    subprocess.run(words, check=True, **options)


class Network:
    """The machine's only link. KMS is near, or far away behind the platform's relay."""

    def down(self):
        """Removes address and route. The link itself stays up, because a new link loses packets for a while."""
        command("ip", "address", "flush", "dev", "eth0")

    def up(self):
        """Adds address and route. Returns the moment at which the network is usable."""
        with subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE) as ip:
            ip.stdin.write(b"address replace 10.0.0.10/24 dev eth0\nroute replace default via 10.0.0.1\n")
            moment = time.monotonic()
            ip.stdin.close()
        if ip.returncode != 0:
            sys.exit("ip cannot set the route")
        return moment

    def place_kms(self, distance):
        command("mount", "--bind", ENDPOINT_FILES[distance], "/etc/hosts")


class Unseald:
    """One run of unseald, from its start to its end by SIGTERM."""

    def __init__(self, bench, secrets):
        self.bench, self.secrets, self.log = bench, secrets, []
        self.notify_path = os.path.join(bench.memory, "notify")
        self.status_path = os.path.join(bench.memory, "status.json")

    def start(self):
        store, work = self.bench.store, self.bench.work
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_path)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [self.bench.unseald, f"--vendor-configuration={work}/configuration-{self.secrets}",
             "--configuration=/nonexistent", f"--store={store}", f"--status={self.status_path}"],
            # The second variable is that of unseald.service.
            env={"NOTIFY_SOCKET": self.notify_path, "GNUTLS_NO_IMPLICIT_INIT": "1"}, stderr=subprocess.PIPE)
        atexit.register(self.process.kill)  # in case stop() is never reached
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.notify, selectors.EVENT_READ)
        self.selector.register(self.process.stderr, selectors.EVENT_READ)

    def wait_for(self, what):
        """Waits until a notification or a line of standard error contains the text. Returns the moment."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for key, _ in self.selector.select(1):
                read = self.notify.recv if key.fileobj is self.notify else lambda n: os.read(self.process.stderr.fileno(), n)
                text = read(8192).decode()
                now = time.monotonic()
                self.log.append(text)
                if what in text:
                    return now
                if not text and key.fileobj is self.process.stderr:
                    sys.exit(f"unseald ended with {self.process.wait()}:\n" + "\n".join(self.log))
        sys.exit(f"unseald did not say '{what}':\n" + "\n".join(self.log))

    def memory(self):
        """Returns peak and present size in KiB. unseald still works after READY=1; the present size is that of its idle state."""
        time.sleep(0.05)
        with open(f"/proc/{self.process.pid}/status") as file:
            values = dict(line.split(":", 1) for line in file)
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            rollup = dict(line.split(":", 1) for line in itertools.islice(file, 1, None))
        kib = lambda text: int(text.split()[0])
        return {"peak": kib(values["VmHWM"]), "idle": kib(values["VmRSS"]), "idle private": kib(rollup["Private_Dirty"])}

    def stop(self):
        """Checks that the store has every secret. Then ends unseald and checks that the store is empty."""
        store, work = self.bench.store, self.bench.work
        for i in range(1, self.secrets + 1):
            name = f"secret-{i}"
            if open(f"{store}/{name}", "rb").read() != open(f"{work}/plain/{name}", "rb").read():
                sys.exit(f"{name} is not what was sealed")
        with open(self.status_path) as file:
            status = json.load(file)
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(TIMEOUT) != 0:
            sys.exit(f"unseald ended with {self.process.returncode}")
        # As unseald-forget.service does it.
        command(self.bench.unseald, "--forget", f"--store={store}", f"--status={self.status_path}", stderr=subprocess.DEVNULL)
        if os.listdir(store):
            sys.exit(f"unseald --forget left {os.listdir(store)} in its store")
        self.selector.close()
        self.process.stderr.close()
        self.notify.close()
        os.unlink(self.notify_path)
        return {step["name"]: {"start": step["start_usec"] / 1e6 - self.started, "duration": step["duration_usec"] / 1e6}
                for step in status["steps"]}

    def finish(self, begun):
        """Waits for READY=1. Time counts from begun, or from the start where begun is None."""
        ready = self.wait_for("READY=1")
        result = {"seconds": ready - (begun or self.started), "since start": ready - self.started, "memory": self.memory()}
        result["steps"] = self.stop()
        return result


class Bench:
    def __init__(self, arguments):
        self.work, self.unseald, self.rounds = arguments.work, arguments.unseald, arguments.rounds
        self.pipelines = {"pipeline with curl": "curl"}
        if os.environ.get("BENCH_AWS"):
            self.pipelines["pipeline with the AWS CLI"] = "aws"
        # unseald and the pipeline write to the same kind of memory.
        self.memory = os.path.join(self.work, "memory")
        os.mkdir(self.memory)
        command("mount", "-t", "ramfs", "-o", "mode=0700", "bench", self.memory)
        self.store = os.path.join(self.memory, "store")
        os.mkdir(self.store, 0o711)
        self.scratch = os.path.join(self.memory, "pipeline")
        os.mkdir(self.scratch)
        self.network = Network()

    def run_unseald(self, secrets=1):
        unseald = Unseald(self, secrets)
        unseald.start()
        return unseald.finish(None)

    def run_unseald_before_network(self, secrets=1):
        self.network.down()
        unseald = Unseald(self, secrets)
        unseald.start()
        unseald.wait_for("attestation document: done")
        return unseald.finish(self.network.up())

    def run_pipeline(self, variant):
        started, clock = time.monotonic(), time.time()
        process = subprocess.Popen([os.path.join(os.path.dirname(__file__), "pipeline"), variant, "secret-1"], cwd=self.scratch,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        errors = process.stderr.read().decode()
        process.stdout.close()
        process.stderr.close()
        process.returncode = status
        if status != 0 or output != open(f"{self.work}/plain/secret-1", "rb").read():
            sys.exit(f"the pipeline by {variant} ended with {status} and '{output.decode(errors='replace')}':\n{errors}")
        steps, last = {}, clock
        for line in errors.splitlines():
            _, moment, name = line.split()
            steps[name] = {"start": last - clock, "duration": float(moment) - last}
            last = float(moment)
        return {"seconds": seconds, "memory": {"peak": usage.ru_maxrss}, "steps": steps}

    def interleave(self, title, runners):
        results = {name: [] for name in runners}
        for i in range(self.rounds):
            print(f"{title}: round {i + 1} of {self.rounds}", file=sys.stderr)
            for name, run in runners.items():
                results[name].append(run())
        return results

    def all_pipelines(self):
        return {name: lambda variant=variant: self.run_pipeline(variant) for name, variant in self.pipelines.items()}

    def cold(self):
        self.network.place_kms("near")
        self.network.up()
        return self.interleave("cold", {"unseald": self.run_unseald, **self.all_pipelines()})

    def from_network(self):
        self.network.place_kms("near")
        return self.interleave("network", {"unseald": self.run_unseald_before_network, **self.all_pipelines()})

    def many(self):
        self.network.place_kms("far")
        self.network.up()
        runners = {}
        for secrets in (1, 10, 100):
            runners[f"{secrets}"] = lambda n=secrets: self.run_unseald_before_network(n)
            runners[f"{secrets}, cold"] = lambda n=secrets: self.run_unseald(n)
        return self.interleave("many", runners)


def milliseconds(values):
    """Formats median and spread."""
    values = [1000 * value for value in values]
    return f"{statistics.median(values):8.1f}   {min(values):8.1f} … {max(values):8.1f}"


def ratio(slow, fast):
    """The ratio of the medians, and the smallest and greatest ratio of one round."""
    rounds = [a / b for a, b in zip(slow, fast)]
    return {"median": statistics.median(slow) / statistics.median(fast), "min": min(rounds), "max": max(rounds)}


def show_ratio(label, value, aim=None):
    aim = f"   (aim: {aim})" if aim else ""
    print(f"  {label:<44}{value['median']:8.1f}   {value['min']:8.1f} … {value['max']:8.1f}{aim}")


KEY_STEPS = ("key pair", "genrsa")


def key_durations(result):
    """The time that each kind of key pair took. It is random, and varies more than all the rest."""
    return {name: result["steps"][name]["duration"] for name in KEY_STEPS if name in result["steps"]}


def seconds(results, keys=None):
    """The time of each round. With keys, as if each kind of key pair had taken so long; {}: no time at all."""
    if keys is None:
        return [result["seconds"] for result in results]
    return [result["seconds"] + sum(keys.get(name, 0) - duration for name, duration in key_durations(result).items())
            for result in results]


def median_keys(measured):
    """The median of each kind over all key pairs of the run: unseald's and openssl genrsa's."""
    durations = [key_durations(run) for part in measured.values() for runs in part.values() for run in runs]
    return {name: statistics.median(kinds[name] for kinds in durations if name in kinds)
            for name in KEY_STEPS if any(name in kinds for kinds in durations)}


def show_steps(results):
    for name in results[0]["steps"]:
        steps = [result["steps"][name] for result in results if name in result["steps"]]
        start = statistics.median(1000 * step["start"] for step in steps)
        print(f"    {name:<42}{milliseconds([step['duration'] for step in steps])}   from {start:.1f}")


def show_comparison(title, results, aim, keys=None):
    print(f"\n{title}, ms{'':>{max(1, 46 - len(title))}}median      spread")
    for name, runs in results.items():
        print(f"  {name:<44}{milliseconds(seconds(runs))}")
        show_steps(runs)
    print("  how many times quicker unseald is (by the medians; in a single round)")
    ratios = {}
    for name, runs in list(results.items())[1:]:
        ratios[name] = ratio(seconds(runs), seconds(results["unseald"]))
        show_ratio("than the " + name, ratios[name], aim)
        if keys is not None:
            for luck, value in (("with equal luck", keys), ("without key pairs", {})):
                ratios[f"{name}, {luck}"] = ratio(seconds(runs, value), seconds(results["unseald"], value))
                show_ratio("  " + luck, ratios[f"{name}, {luck}"])
    return ratios


def show_many(results, keys):
    title = "1, 10 and 100 secrets, 20 ms to KMS and back"
    print(f"\n{title}, ms{'':>{46 - len(title)}}median      spread")
    ratios = {}
    for kind, suffix, value, aim in (("from the start, with equal luck", ", cold", keys, "2 at most"),
                                     ("from the start, without the key pair", ", cold", {}, None),
                                     ("from a usable network", "", None, "2 at most")):
        print(f"  {kind}")
        times = {count: seconds(results[f"{count}{suffix}"], value) for count in (1, 10, 100)}
        for count, values in times.items():
            print(f"    {f'{count} secret(s)':<42}{milliseconds(values)}")
        ratios[kind] = ratio(times[100], times[1])
        show_ratio("  time for 100 secrets / time for 1 secret", ratios[kind], aim)
    return ratios


def show_memory(measured):
    print(f"\nMemory, MiB{'':>35}median      spread")
    groups = {}
    for part, results in measured.items():
        for name, runs in results.items():
            if part == "many":
                groups.setdefault(f"unseald, {name.split(',')[0]} secret(s)", []).extend(runs)
            elif name == "unseald":
                groups.setdefault("unseald, 1 secret(s)", []).extend(runs)
            elif "AWS CLI" in name:
                groups.setdefault("the AWS CLI", []).extend(runs)
    peaks = {}
    for name, runs in sorted(groups.items()):
        for kind in runs[0]["memory"]:
            values = [run["memory"][kind] / 1024 for run in runs]
            aim = "   (aim: less than 16)" if kind == "peak" and "unseald" in name else ""
            print(f"  {f'{name}: {kind}':<44}{statistics.median(values):8.1f}   {min(values):8.1f} … {max(values):8.1f}{aim}")
            if kind == "peak":
                peaks[name] = values
    return peaks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--unseald", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--parts", required=True)
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    parts = {"cold": bench.cold, "network": bench.from_network, "many": bench.many}
    chosen = arguments.parts.split(",")
    if not set(chosen) <= set(parts) or arguments.rounds < 1:
        parser.error(f"--parts takes {', '.join(parts)}; --rounds takes at least 1")

    measured = {name: part() for name, part in parts.items() if name in chosen}
    report = {
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg()},
        "rounds": bench.rounds, "measured": measured, "ratios": {},
    }
    keys = report["median_key_seconds"] = median_keys(measured)
    print(f"{bench.rounds} rounds in turn on {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    medians = ", ".join(f"{name} {1000 * median:.0f} ms" for name, median in keys.items())
    print(f"Medians of all key pairs: {medians}. 'With equal luck' counts these times for every key pair of their kind.")
    ratios = report["ratios"]
    if "cold" in measured:
        ratios["cold"] = show_comparison("One secret, from the start, network up", measured["cold"], 5, keys)
    if "network" in measured:
        ratios["network"] = show_comparison("One secret, from a usable network", measured["network"], 20)
    if "many" in measured:
        ratios["many"] = show_many(measured["many"], keys)
    report["peak_mib"] = show_memory(measured)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
