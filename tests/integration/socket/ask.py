#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Asks the credential socket many times, as the service manager does, and counts the answers by kind.
# usage: ask.py [--clients N] [--requests N | --until FILE] [--unit UNIT] [--wanted SHA256] CREDENTIAL
# or:    ask.py --hold N CREDENTIAL    asks and does not read the answer, until it is killed
import argparse
import collections
import hashlib
import multiprocessing
import os
import random
import signal
import socket

PATH = '/run/unseald/credentials.sock'


def connect(options):
    s = socket.socket(socket.AF_UNIX)
    s.bind('\0%x/unit/%s/%s' % (random.getrandbits(60), options.unit, options.credential))
    s.connect(PATH)
    s.shutdown(socket.SHUT_WR)
    return s


def ask(options):
    try:
        s = connect(options)
    except OSError as e:
        return type(e).__name__
    data = b''
    try:
        while len(data) <= 1 << 20:
            piece = s.recv(1 << 18)
            if not piece:
                break
            data += piece
    except OSError as e:
        return type(e).__name__
    finally:
        s.close()
    if len(data) > 1 << 20:
        return 'refused'
    if hashlib.sha256(data).hexdigest() in options.wanted:
        return 'right'
    return 'empty' if not data else 'zeros cut' if not data.strip(b'\0') else 'wrong'


def client(options):
    random.seed(os.getpid())
    seen = collections.Counter()
    while sum(seen.values()) < options.requests and not (options.until and os.path.exists(options.until)):
        seen[ask(options)] += 1
    return seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--clients', type=int, default=1)
    parser.add_argument('--requests', type=int, default=1 << 60, help='of each client')
    parser.add_argument('--until')
    parser.add_argument('--unit', default='billing.service')
    parser.add_argument('--wanted', action='append', default=[])
    parser.add_argument('--hold', type=int)
    parser.add_argument('credential')
    options = parser.parse_args()
    if options.hold:
        held = [connect(options) for _ in range(options.hold)]
        print(len(held), 'held', flush=True)
        signal.pause()
    if options.clients == 1:
        seen = client(options)
    else:
        with multiprocessing.Pool(options.clients) as pool:
            seen = sum(pool.map(client, [options] * options.clients), collections.Counter())
    for kind, n in sorted(seen.items()):
        print(kind, n)


main()
