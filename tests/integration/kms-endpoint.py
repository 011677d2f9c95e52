#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Good and bad clients of unseald-kms, without an SDK. The arguments are those of cases.py. FACTS has the keys and ciphertexts."""

import base64
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

from cases import FACTS, enter, enter_unit, run

ADDRESS = ("127.0.0.1", 8643)
KEY = FACTS["key"]
SCOPE = "AWS4-HMAC-SHA256 Credential=none/20260101/eu-north-1/kms/aws4_request, SignedHeaders=host, Signature=00"


def head(operation, size, *more):
    lines = ["POST / HTTP/1.1", "Host: 127.0.0.1:8643", "Content-Type: application/x-amz-json-1.1", f"Content-Length: {size}",
             f"X-Amz-Target: TrentService.{operation}", f"Authorization: {SCOPE}", *more]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


def request(operation, body, *more):
    body = json.dumps(body).encode()
    return head(operation, len(body), *more) + body


class Client:
    def __init__(self, family=socket.AF_INET):
        self.socket = socket.socket(family)
        self.socket.settimeout(60)
        self.socket.connect(ADDRESS if family == socket.AF_INET else ("::ffff:" + ADDRESS[0], ADDRESS[1]))
        self.file = self.socket.makefile("rb")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the service has answered and closed before it read everything

    def answer(self):
        """Status, headers and body of the next answer; None: the connection has ended."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        headers = http.client.parse_headers(self.file)
        return int(line.split()[1]), headers, json.loads(self.file.read(int(headers["Content-Length"])))

    def ask(self, operation, body, *more):
        self.send(request(operation, body, *more))
        return self.answer()

    def ping(self):
        """A request that the service refuses without an entry in the journal. Returns the type of the error; None: the connection has ended."""
        self.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        answer = self.answer()
        return answer and answer[2]["__type"]

    def end(self):
        """Ends the connection, and waits until the service has ended it, too."""
        self.socket.shutdown(socket.SHUT_WR)
        answer = self.answer()
        assert answer is None, answer
        self.socket.close()


def ask(operation, body, *more):
    return Client().ask(operation, body, *more)


def decrypted(answer):
    status, headers, body = answer
    assert status == 200 and headers["x-amzn-RequestId"], answer
    return base64.b64decode(body["Plaintext"]).decode()


def refused(answer, name, text=""):
    status, headers, body = answer
    assert status == 400 and body["__type"] == name and text in body["message"], answer
    assert headers["x-amzn-ErrorType"] == name, answer


def case_decrypt():
    answer = ask("Decrypt", {"CiphertextBlob": FACTS["sealed"], "KeyId": KEY, "EncryptionContext": {"tenant": "42"}})
    assert decrypted(answer) == FACTS["plaintext"], answer
    assert answer[2]["KeyId"] == KEY and answer[2]["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT", answer
    assert "CiphertextForRecipient" not in answer[2], answer
    bare = ask("Decrypt", {"CiphertextBlob": FACTS["sealed"], "EncryptionContext": {"tenant": "42"}})
    assert decrypted(bare) == FACTS["plaintext"], bare


def case_operations():
    key = ask("GenerateDataKey", {"KeyId": KEY, "KeySpec": "AES_256"})
    plaintext = key[2]["Plaintext"]
    assert len(base64.b64decode(plaintext)) == 32, key[0]
    assert ask("Decrypt", {"CiphertextBlob": key[2]["CiphertextBlob"]})[2]["Plaintext"] == plaintext
    pair = ask("GenerateDataKeyPair", {"KeyId": KEY, "KeyPairSpec": "ECC_NIST_P256"})
    assert pair[2]["PrivateKeyPlaintext"] and pair[2]["PublicKey"] and pair[2]["KeyPairSpec"] == "ECC_NIST_P256", pair[2].keys()
    assert ask("Decrypt", {"CiphertextBlob": pair[2]["PrivateKeyCiphertextBlob"]})[2]["Plaintext"] == pair[2]["PrivateKeyPlaintext"]
    random = ask("GenerateRandom", {"NumberOfBytes": 24})
    assert len(base64.b64decode(random[2]["Plaintext"])) == 24 and list(random[2]) == ["Plaintext"], random[0]
    blob = ask("Encrypt", {"KeyId": KEY, "Plaintext": "SGVsbG8=", "EncryptionContext": {"a": "b"}})
    assert blob[0] == 200, blob
    assert decrypted(ask("Decrypt", {"CiphertextBlob": blob[2]["CiphertextBlob"], "EncryptionContext": {"a": "b"}})) == "Hello"
    for operation in "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPairWithoutPlaintext":
        answer = ask(operation, {"KeyId": KEY, **({"KeyPairSpec": "ECC_NIST_P256"} if "Pair" in operation else {"KeySpec": "AES_256"})})
        assert answer[0] == 200 and "Plaintext" not in answer[2] and "PrivateKeyPlaintext" not in answer[2], answer
    assert ask("DescribeKey", {"KeyId": KEY})[2]["KeyMetadata"]["Arn"] == KEY
    again = ask("ReEncrypt", {"CiphertextBlob": FACTS["sealed"], "SourceKeyId": KEY, "DestinationKeyId": KEY, "SourceEncryptionContext": {"tenant": "42"}})
    # The key's policy denies what takes no document.
    assert again[0] == 400 and again[2]["__type"] == "AccessDeniedException" and again[1]["x-amzn-RequestId"], again


def case_errors_of_kms():
    status, headers, body = ask("Decrypt", {"CiphertextBlob": FACTS["sealed"], "KeyId": KEY})
    assert status == 400 and body["__type"] == "InvalidCiphertextException" and headers["x-amzn-RequestId"], body
    assert headers["x-amzn-ErrorType"].startswith("InvalidCiphertextException")
    assert FACTS["plaintext"] not in json.dumps(body)
    # The signature is anew, so KMS has seen the role.
    status, headers, body = ask("Decrypt", {"CiphertextBlob": FACTS["foreign"], "KeyId": FACTS["ungranted"]})
    assert status == 400 and body["__type"] == "AccessDeniedException" and headers["x-amzn-RequestId"], body
    assert "assumed-role" in json.dumps(body), body


def case_own_recipient():
    own = {"CiphertextBlob": FACTS["sealed"], "KeyId": KEY, "EncryptionContext": {"tenant": "42"},
           "Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": FACTS["document"]}}
    status, _, body = ask("Decrypt", own)
    assert status == 200 and body["CiphertextForRecipient"] and not body.get("Plaintext"), body
    own["Recipient"]["AttestationDocument"] = "YWJj"
    status, headers, body = ask("Decrypt", own)
    assert status == 400 and body["__type"] == "ValidationException" and headers["x-amzn-RequestId"], body


def case_refused():
    refused(ask("Decrypt", {"CiphertextBlob": FACTS["foreign"], "KeyId": FACTS["other_key"]}), "AccessDeniedException", "Keys=")
    refused(ask("Encrypt", {"Plaintext": "YQ==", "KeyId": "alias/app"}), "AccessDeniedException", "alias")
    for name in "unseald:secret", "UNSEALD:account":
        refused(ask("Decrypt", {"CiphertextBlob": FACTS["sealed"], "KeyId": KEY, "EncryptionContext": {name: "x"}}), "AccessDeniedException", "unseald:")
        refused(ask("GenerateDataKey", {"KeyId": KEY, "EncryptionContext": {name: "x"}}), "AccessDeniedException", "unseald:")
    refused(ask("ReEncrypt", {"CiphertextBlob": FACTS["sealed"], "DestinationKeyId": KEY}), "ValidationException", "SourceKeyId")
    refused(ask("ListKeys", {}), "UnknownOperationException")
    refused(ask("Sign", {"KeyId": KEY}), "AccessDeniedException", "Operations=")


def case_answer_of_another_key():
    """A ciphertext of another key, which the role may use: KMS finds the key by the ciphertext, and the program does not get the answer."""
    status, _, body = ask("Decrypt", {"CiphertextBlob": FACTS["of_other_key"]})
    assert status == 500 and body["__type"] == "KMSInternalException" and FACTS["other_key"] in body["message"], body
    assert FACTS["plaintext"] not in json.dumps(body)


def case_connection():
    client = Client()
    for _ in range(3):
        assert client.ask("DescribeKey", {"KeyId": KEY})[0] == 200
    one = request("DescribeKey", {"KeyId": KEY})
    client.send(one + request("ListKeys", {}) + one)
    assert [client.answer()[0] for _ in range(3)] == [200, 400, 200]
    # In the smallest pieces, head and body.
    for byte in one:
        client.send(bytes([byte]))
    assert client.answer()[0] == 200
    assert client.ask("DescribeKey", {"KeyId": KEY}, "Connection: close")[1]["Connection"] == "close"
    assert client.answer() is None


def case_smuggling():
    """One request, one refusal, the end: what follows is not read as a request."""
    inner = request("GenerateRandom", {"NumberOfBytes": 8})
    for status, data in (
        (501, head("DescribeKey", 5, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + inner),
        (400, head("DescribeKey", 5, f"Content-Length: {5 + len(inner)}") + b"0\r\n\r\n" + inner),
        (400, head("DescribeKey", 5, "Transfer-Encoding : chunked") + b"0\r\n\r\n" + inner),
        (400, head("DescribeKey", 5, "A: b\nContent-Length: 0") + inner),
        (417, head("DescribeKey", len(inner), "Expect: 100-continue") + inner),
        (413, head("Encrypt", 384 * 1024 + 1) + b"x" * (384 * 1024 + 1) + inner),
        (431, head("Encrypt", 2, "A: " + "a" * 17000) + b"{}" + inner),
        (405, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + inner),
        (404, b"POST /latest/meta-data HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + inner),
    ):
        client = Client()
        client.send(data)
        answer = client.answer()
        assert answer and answer[0] == status and answer[1]["Connection"] == "close", (status, answer)
        assert client.answer() is None, status


def case_headers():
    """Nothing that the client sends becomes a header of the request to KMS."""
    evil = ("X-Amz-Security-Token: evil-token", "X-Amz-Date: 19700101T000000Z", "X-Forwarded-For: evil-address", "User-Agent: evil-agent",
            "X-Amz-Content-Sha256: evil-hash")
    assert ask("DescribeKey", {"KeyId": KEY}, *evil)[0] == 200
    client = Client()
    client.send(head("DescribeKey%0d%0aX-Evil:1", 2) + b"{}")
    refused(client.answer(), "UnknownOperationException")


def case_slow():
    """Half a request; the service ends the connection by itself."""
    slow = [Client() for _ in range(3)]
    slow[0].send(b"POST / HTTP/1.1\r\nHost: a\r\n")
    slow[1].send(head("Decrypt", 100) + b"{")
    for client in slow[:2]:
        assert client.answer() is None
    assert decrypted(ask("Decrypt", {"CiphertextBlob": FACTS["sealed"], "EncryptionContext": {"tenant": "42"}})) == FACTS["plaintext"]


def case_limit():
    """More than RequestsPerSecond= in a burst. The requests cost KMS nothing. Bursts come until one is beyond, on any machine. A burst is
    never answered more than the limit and what the time since its first request has added."""
    limit = FACTS["limit"]
    many = 2 * limit + 50
    throttled = 0
    while not throttled:
        time.sleep(1)  # the bucket is full
        begun = time.monotonic()
        client = Client()
        client.send(request("ListKeys", {}) * many)
        names = [client.answer()[2]["__type"] for _ in range(many)]
        most = limit * (1 + time.monotonic() - begun) + 1
        throttled = names.count("ThrottlingException")
        assert names.count("UnknownOperationException") == many - throttled >= limit, names
        assert many - throttled <= most, f"{many - throttled} answers, and at most {most:.0f} were due"
    time.sleep(1)


def case_stranger():
    for operation, body in ("Decrypt", {"CiphertextBlob": FACTS["sealed"], "KeyId": KEY, "EncryptionContext": {"tenant": "42"}}), ("GenerateRandom", {"NumberOfBytes": 8}):
        client = Client()
        answer = client.ask(operation, body)
        refused(answer, "AccessDeniedException", "is not in Units=")
        assert client.answer() is None
    assert "stranger.service" in answer[2]["message"], answer


def case_socket_of_ipv6():
    """A Java program connects to 127.0.0.1 with a socket of IPv6. The kernel calls its address ::ffff:127.0.0.1."""
    client = Client(socket.AF_INET6)
    assert client.socket.getpeername()[0] == "::ffff:127.0.0.1", client.socket.getpeername()
    assert decrypted(client.ask("Decrypt", {"CiphertextBlob": FACTS["sealed"], "EncryptionContext": {"tenant": "42"}})) == FACTS["plaintext"]


def case_stranger_with_ipv6():
    answer = Client(socket.AF_INET6).ask("GenerateRandom", {"NumberOfBytes": 8})
    refused(answer, "AccessDeniedException", "stranger.service is not in Units=")


def case_moves_in():
    """A socket that was made outside stays outside, whatever its process does. A new socket is inside."""
    client = Client()
    enter(FACTS["group"])
    refused(client.ask("GenerateRandom", {"NumberOfBytes": 8}), "AccessDeniedException")
    assert ask("GenerateRandom", {"NumberOfBytes": 8})[0] == 200


def case_moves_out():
    """The kernel keeps the group in which the socket was made. unseald-kms(8) says so."""
    enter(FACTS["group"])
    client = Client()
    enter(FACTS["outside"])
    assert client.ask("GenerateRandom", {"NumberOfBytes": 8})[0] == 200
    refused(ask("GenerateRandom", {"NumberOfBytes": 8}), "AccessDeniedException")


def case_flood():
    """10,000 connections of a client that is not permitted, many of them open at the same time."""
    kept = []
    for i in range(10000):
        connection = socket.create_connection(ADDRESS, timeout=60)
        if i % 20 == 0:
            kept.append(connection)
        else:
            connection.close()
    print("flood: all open", flush=True)


def members(unit, count):
    """Connections of this unit. Each has had an answer, so the service has accepted it, and waits a minute for the next request."""
    enter_unit(unit)
    clients = []
    for _ in range(count):
        clients.append(Client())
        assert clients[-1].ping(), f"connection {len(clients)} of {unit} was ended"
    return clients


def ended(clients):
    """The positions of the connections that the service has ended."""
    return [i for i, client in enumerate(clients) if not client.ping()]


def end(clients):
    for client in clients:
        client.end()


def case_edge_of_unit():
    """A unit has 256 connections. One more costs it the oldest one that has no request under way, and costs no other unit anything."""
    unit, other = FACTS["units"][:2]
    bystander, clients = members(other, 1), members(unit, 256)
    lost = ended(clients)
    assert lost == [], lost
    newest = members(unit, 1)
    lost = ended(clients), ended(newest), ended(bystander)
    assert lost == ([0], [], []), lost
    end(clients[1:] + newest + bystander)


def case_edge_of_all():
    """There are 1024 connections in all. One more, of another unit, costs one of the units with the most of them its oldest one."""
    units = [members(unit, 256) for unit in FACTS["units"][:4]]
    lost = [ended(clients) for clients in units]
    assert lost == [[]] * 4, lost
    # A client that is not permitted is counted separately, and costs no permitted one its connection.
    enter(FACTS["outside"])
    refused(ask("GenerateRandom", {"NumberOfBytes": 8}), "AccessDeniedException", "is not in Units=")
    lost = [ended(clients) for clients in units]
    assert lost == [[]] * 4, lost
    newest = members(FACTS["units"][4], 1)
    lost = [ended(clients) for clients in units]
    assert sorted(lost) == [[], [], [], [0]] and not ended(newest), lost
    end([client for clients, gone in zip(units, lost) for client in clients[len(gone) :]] + newest)


def queues(mine):
    """Bytes that wait at the client's side to be sent (mine), or at the service's side to be read, with connections to be accepted."""
    address = f"{int.from_bytes(socket.inet_aton(ADDRESS[0]), 'little'):08X}:{ADDRESS[1]:04X}"
    with open("/proc/net/tcp", encoding="ascii") as file:
        lines = [line.split() for line in file.readlines()[1:]]
    return sum(int(line[4].split(":")[0 if mine else 1], 16) for line in lines if line[2 if mine else 1] == address)


def wait_until(condition, what):
    """A test that waits for this long has failed, on any machine."""
    end_of_patience = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end_of_patience, what
        time.sleep(0.05)


def wait_until_read():
    """The service has read all that the clients sent, and has begun with their requests: it does both before it waits again."""
    wait_until(lambda: queues(True) == 0, "the requests are not sent")
    wait_until(lambda: queues(False) == 0, "the service does not read the requests")


def answered(clients):
    return len(select.select([client.socket for client in clients], [], [], 0)[0])


def try_all_under_way(unit, other):
    """Returns whether KMS's time-out did not end a request too early for the test. The service waits only some seconds for KMS."""
    clients = members(unit, 256)
    os.kill(FACTS["platform_server"], signal.SIGSTOP)
    try:
        for client in clients:
            client.send(request("DescribeKey", {"KeyId": KEY}))
        wait_until_read()
        one_more = Client()
        gone = not one_more.ping()
        served = members(other, 1)
        in_time = answered(clients) == 0
    finally:
        os.kill(FACTS["platform_server"], signal.SIGCONT)
    statuses = [client.answer()[0] for client in clients]
    assert set(statuses) <= {200, 503}, statuses
    assert not in_time or gone, "one more connection was served"
    end(clients + served)
    return in_time


def case_all_under_way():
    """All connections of a unit have a request under way, and KMS does not answer. One more connection is ended, and nothing else is."""
    unit, other = FACTS["units"][:2]
    assert any(try_all_under_way(unit, other) for _ in range(5)), "KMS's time-out came first each time"
    enter_unit(unit)
    assert decrypted(ask("Decrypt", {"CiphertextBlob": FACTS["sealed"]})) == FACTS["plaintext"]


def case_limit_of_unit():
    """RequestsPerSecond=1. One unit is over its limit, and another instance of the same template is not."""
    unit, other = FACTS["units"][:2]
    enter_unit(unit)
    client = Client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" * 20)
    types = [client.answer()[2]["__type"] for _ in range(20)]
    assert types[0] == "SerializationException" and "ThrottlingException" in types, types
    enter_unit(other)
    assert decrypted(ask("Decrypt", {"CiphertextBlob": FACTS["sealed"]})) == FACTS["plaintext"]


def renewals():
    with open(FACTS["log"], encoding="utf-8") as file:
        return file.read().count("A new key pair replaces the one that is in use.")


def put_clock_forward(seconds):
    with open(FACTS["clock"], "r+b") as file:
        now = int.from_bytes(file.read(8), "little")
        file.seek(0)
        file.write((now + seconds).to_bytes(8, "little"))


def decrypts():
    assert decrypted(ask("Decrypt", {"CiphertextBlob": FACTS["sealed"]})) == FACTS["plaintext"]


def renew_under_way(delay):
    """Returns whether all requests were still under way when the key pair was replaced."""
    fault = ["fault", "set", "kms", "Decrypt", "delay", str(delay), "--times", "8"]
    subprocess.run([FACTS["platform"], *fault], check=True, stdout=subprocess.DEVNULL)
    clients = [Client() for _ in range(8)]
    for client in clients:
        client.send(request("Decrypt", {"CiphertextBlob": FACTS["sealed"]}))
    wait_until_read()
    before = renewals()
    put_clock_forward(61)
    # This request has the new key pair made, and does not wait for it.
    assert ask("GenerateRandom", {"NumberOfBytes": 8})[0] == 200
    wait_until(lambda: renewals() == before + 1, "the key pair is not replaced")
    under_way = answered(clients) == 0
    for client in clients:
        assert decrypted(client.answer()) == FACTS["plaintext"]
    return under_way


def case_renewal():
    """The key pair is replaced while KMS has requests with the old one. Their answers open, and so do the next ones."""
    enter_unit(FACTS["units"][0])
    decrypts()
    if not any(renew_under_way(delay) for delay in (3000, 6000)):
        print("renewal: this machine is too slow to have requests under way meanwhile", file=sys.stderr)
    decrypts()
    # With requests all the time.
    before = renewals()
    put_clock_forward(61)
    wait_until(lambda: decrypts() or renewals() == before + 1, "the key pair is not replaced")
    # The document is too old as well, so requests wait for the next one.
    put_clock_forward(3600)
    clients = [Client() for _ in range(8)]
    for client in clients:
        client.send(request("Decrypt", {"CiphertextBlob": FACTS["sealed"]}))
    for client in clients:
        assert decrypted(client.answer()) == FACTS["plaintext"]
    wait_until(lambda: decrypts() or renewals() == before + 2, "the key pair is not replaced")


run(globals())
