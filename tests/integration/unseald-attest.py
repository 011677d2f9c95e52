#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Good and bad clients of the attestation service. usage: unseald-attest.py PORT TEST...

Each test prints a line. The exit status is 1 if a test saw something else than it wanted.
"""

import concurrent.futures
import json
import os
import socket
import sys
import time

import cbor2

PORT = int(sys.argv[1])
HOST = b"Host: localhost\r\n"


def connect():
    return socket.create_connection(("127.0.0.1", PORT), timeout=30)


def read_all(connection):
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def ask(request):
    """Sends a request and returns status, headers and body of the answer."""
    with connect() as connection:
        try:
            connection.sendall(request)
        except (ConnectionResetError, BrokenPipeError):
            pass  # the service has closed the connection before it read everything
        answer = read_all(connection)
    head, separator, body = answer.partition(b"\r\n\r\n")
    assert separator, f"no answer to {request[:60]!r}: {answer[:60]!r}"
    line, *fields = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    assert line.startswith("HTTP/1.1 ") and headers["connection"] == "close", head
    return int(line.split()[1]), headers, body


def get(nonce):
    return ask(b"GET /attestation?nonce=" + nonce.hex().encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n")


def nonce_in(document):
    return cbor2.loads(cbor2.loads(document)[2])["nonce"]


def test_document():
    nonce = os.urandom(64)
    status, headers, body = get(nonce)
    assert status == 200 and headers["content-type"] == "application/cbor", (status, headers)
    assert headers["cache-control"] == "no-store" and "date" in headers, headers
    assert int(headers["content-length"]) == len(body) and nonce_in(body) == nonce
    return f"{len(body)} bytes"


def test_garbage():
    nonce = b"/attestation?nonce=" + b"00" * 16
    cases = {
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": 400,
        b"\x00" * 100000: 400,
        os.urandom(4096) + b"\x01\r\n\r\n": 400,
        b"hello\r\n\r\n": 400,
        b"GET " + nonce + b" HTTP/1.1\n" + b"Host: a\n\n\r\n\r\n": 400,
        b"GET " + nonce + b" HTTP/1.1\r\n\r\n": 400,
        b"GET " + nonce + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello": 400,
        b"POST /attestation HTTP/1.1\r\n" + HOST + b"\r\n": 405,
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n": 404,
        b"GET /attestation HTTP/1.1\r\n" + HOST + b"\r\n": 400,
        b"GET /attestation?nonce=00 HTTP/1.1\r\n" + HOST + b"\r\n": 400,
        b"GET " + nonce + b" HTTP/3.0\r\n" + HOST + b"\r\n": 505,
        b"GET /" + b"a" * 9000: 431,
        b"GET " + nonce + b" HTTP/1.1\r\n" + b"A: b\r\n" * 2000 + b"\r\n": 431,
    }
    for request, wanted in cases.items():
        status, headers, body = ask(request)
        assert status == wanted, f"{request[:60]!r}: saw {status}, wanted {wanted}"
        assert headers["content-type"] == "application/json" and json.loads(body)["error"], body
        assert (status == 405) == (headers.get("allow") == "GET"), headers
    status, _, body = ask(b"HEAD /attestation HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (status, body) == (405, b""), (status, body)
    return f"{len(cases) + 1} requests"


def test_gone():
    """Clients that close the connection, by a reset, at every stage."""
    request = b"GET /attestation?nonce=" + b"00" * 16 + b" HTTP/1.1\r\n" + HOST
    for piece in (b"", b"G", request, request + b"\r\n"):
        for _ in range(20):
            with connect() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.sendall(piece)
    return "80 clients"


def test_slow():
    """More slow clients than there are connections: the slowest makes room for the next client. Each connection is closed after
    ten seconds, whether the client does not finish its request or does not close its side."""
    for _ in range(5):
        begun = time.monotonic()
        waited, ended = slow_clients(begun)
        if waited < 8:
            break  # otherwise this machine is so busy that ten seconds may have made room
    assert waited < 8, f"the next client waited for {waited:.1f} s"
    assert ended < 60, f"the last was given up after {ended:.1f} s"
    return f"the next client waited for {waited:.1f} s"


def slow_clients(begun):
    """Returns after how many seconds the next client had its answer, and after how many all were given up."""
    slow = [connect() for _ in range(200)]
    for connection in slow[::2]:
        try:
            connection.sendall(b"G")
        except (ConnectionResetError, BrokenPipeError):
            pass  # the service has closed it to make room
    lingering = [connect() for _ in range(100)]
    for connection in lingering:
        connection.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    status = ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")[0]
    waited = time.monotonic() - begun
    assert status == 404, status
    for connection in slow:
        assert read_all(connection) == b""
        connection.close()
    ended = time.monotonic() - begun
    for connection in lingering:
        connection.close()
    return waited, ended


def test_many():
    """A thousand requests, as fast as possible."""
    begun = time.monotonic()
    nonces = [os.urandom(32) for _ in range(1000)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, nonces))
    took = time.monotonic() - begun
    given = 0
    for nonce, (status, headers, body) in zip(nonces, answers):
        assert status in (200, 429), status
        if status == 200:
            given += 1
            assert nonce_in(body) == nonce, "another's nonce"
        else:
            assert int(headers["retry-after"]) >= 1 and json.loads(body)["error"] == "too-many-requests"
    assert 1 <= given <= 11 + took, f"{given} documents in {took:.1f} s"
    return f"{given} documents in {took:.1f} s"


for name in sys.argv[2:]:
    try:
        print(f"{name}: {globals()['test_' + name]()}", flush=True)
    except AssertionError as error:
        sys.exit(f"FAILED {name}: {error}")
