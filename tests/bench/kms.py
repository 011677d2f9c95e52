#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Decrypt through unseald-kms beside boto3 straight to KMS. tests/bench/kms starts it in the permitted unit."""
import base64
import http.client
import json
import os
import statistics
import sys
import threading
import time

import boto3
from botocore.config import Config

WORK, OPEN, GATED = os.environ["BENCH_WORK"], os.environ["BENCH_OPEN"], os.environ["BENCH_GATED"]
REQUESTS = {1: 300, 64: 1600}


def blob(name):
    with open(f"{WORK}/{name}.blob", encoding="ascii") as file:
        return file.read().strip()


def client(clients, through):
    config = Config(max_pool_connections=clients, retries={"mode": "standard", "max_attempts": 5})
    if through:
        return boto3.client("kms", endpoint_url="http://127.0.0.1:8643", aws_access_key_id="none", aws_secret_access_key="none", config=config)
    return boto3.client("kms", config=config)


def in_threads(clients, work):
    failures = []

    def guarded():
        try:
            work()
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(f"a client failed: {failures[0]}")
    return time.monotonic() - started


def decrypt(kms, key, ciphertext, clients):
    """Milliseconds for one request of one client."""
    count = REQUESTS[clients] // clients

    def work():
        for _ in range(count):
            if kms.decrypt(CiphertextBlob=ciphertext, KeyId=key)["Plaintext"] != b"Hello":
                raise ValueError("another plaintext")

    return 1000 * in_threads(clients, work) / count


def service():
    """Resident memory in KiB, processor seconds and open descriptors of unseald-kms."""
    # systemd-socket-activate becomes the program.
    pid = os.environ["BENCH_PID"]
    while True:
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            if file.read().strip() == "unseald-kms":
                break
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            pid = file.read().split()[0]
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return resident, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), len(os.listdir(f"/proc/{pid}/fd"))


def compare(rounds):
    for clients in REQUESTS:
        straight, through = client(clients, False), client(clients, True)
        arguments = [(straight, OPEN, base64.b64decode(blob("open"))), (through, GATED, base64.b64decode(blob("gated")))]
        for kms, key, ciphertext in arguments:
            kms.decrypt(CiphertextBlob=ciphertext, KeyId=key)
        times = ([], [])
        processor = service()[1]
        for _ in range(rounds):
            for i, argument in enumerate(arguments):
                times[i].append(decrypt(*argument, clients))
        processor = service()[1] - processor
        medians = [statistics.median(values) for values in times]
        ratios = [b / a for a, b in zip(*times)]
        print(f"{clients} client(s): straight {medians[0]:.2f} ms a request, through unseald-kms {medians[1]:.2f} ms: "
              f"{medians[1] / medians[0]:.2f} times ({min(ratios):.2f} … {max(ratios):.2f})")
        print(f"  processor time of unseald-kms: {1000 * processor / (rounds * REQUESTS[clients]):.2f} ms a request; memory {service()[0]} KiB", flush=True)


def soak(total):
    body = json.dumps({"CiphertextBlob": blob("gated"), "KeyId": GATED})
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Decrypt"}

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", 8643)
        for _ in range(total // 160):
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            if json.loads(answer.read()).get("Plaintext") != "SGVsbG8=":
                raise ValueError(f"status {answer.status}")
        connection.close()

    for part in range(1, 11):
        seconds = in_threads(16, work)
        resident, processor, descriptors = service()
        print(f"{part * (total // 160) * 16} requests: {total // 160 * 16 / seconds:.0f} a second, memory {resident} KiB, {descriptors} descriptors, "
              f"processor {processor:.1f} s", flush=True)


compare(int(os.environ["BENCH_ROUNDS"]))
if int(os.environ["BENCH_SOAK"]) > 0:
    soak(int(os.environ["BENCH_SOAK"]))
