#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Applications that ask the local attestation service for documents, and attacks on it. The arguments are those of cases.py."""

import base64
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time

import cbor2

from cases import FACTS, enter, enter_unit, run

ADDRESS = ("127.0.0.1", 8644)
JSON = {"Content-Type": "application/json"}


def b64(data):
    return base64.b64encode(data).decode()


def unit():
    """The name of this process's unit."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        return next(part for part in file.read().strip().split("/") if part.endswith(".service"))


class Client:
    """One connection. The socket is made here."""

    def __init__(self):
        self.socket = socket.create_connection(ADDRESS, timeout=60)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the service has answered before it read everything

    def answer(self):
        """Status, headers and body; None: the connection has ended."""
        try:
            line = self.file.readline()
            if not line:
                return None
            headers = http.client.parse_headers(self.file)
            return int(line.split()[1]), headers, self.file.read()
        except ConnectionResetError:
            return None

    def ask(self, body, **changes):
        self.send(request(body, **changes))
        return self.answer()


def request(body, method="POST", path="/attestation", **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "127.0.0.1:8644", "Content-Type": "application/json", "Content-Length": str(len(body))}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + body


def send(data):
    """Sends these bytes, and again while the limit of this unit is reached."""
    while True:
        client = Client()
        client.send(data)
        answer = client.answer()
        if answer is None or answer[0] != 429:
            return answer
        time.sleep(0.2)


def ask(body, **changes):
    return send(request(body, **changes))


def opened(document):
    return cbor2.loads(cbor2.loads(document)[2])


def given(answer):
    """What the document of an answer in JSON contains."""
    assert answer[0] == 200 and answer[1]["Content-Type"] == "application/json", answer
    return opened(base64.b64decode(json.loads(answer[2])["document"], validate=True))


def refused(answer, status, error):
    assert answer is not None and answer[0] == status, answer
    assert json.loads(answer[2])["error"] == error, answer


def case_document():
    """Nonce, user data and public key are in the document; the user data begin with the unit's own name."""
    nonce, data = os.urandom(64), os.urandom(32)
    key = base64.b64decode(FACTS["key"])
    seen = given(ask({"nonce": b64(nonce), "user_data": b64(data), "public_key": FACTS["key"]}))
    assert seen["nonce"] == nonce and seen["public_key"] == key, seen
    assert seen["user_data"] == unit().encode() + b"\0" + data, seen
    seen = given(ask({}))
    assert seen["nonce"] is None and seen["public_key"] is None and seen["user_data"] == unit().encode() + b"\0", seen
    answer = ask({"nonce": b64(nonce)}, Accept="application/cbor")
    assert answer[0] == 200 and answer[1]["Content-Type"] == "application/cbor", answer
    assert opened(answer[2])["nonce"] == nonce


def verify(status, *options):
    """unsealctl verify of /run/document ends with this status. Returns what it says."""
    run = subprocess.run(["unsealctl", "verify", "--root=/usr/lib/machine/root.pem", *options, "/run/document"], check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.returncode == status, (options, run)
    return run.stdout.decode()


def document(request):
    with open("/run/document", "wb") as file:
        file.write(ask(request, Accept="application/cbor")[2])


def case_verified():
    """unsealctl verify accepts the document as one of this unit with this claim, and as no other one."""
    nonce, claim = f"--nonce=hex:{os.urandom(32).hex()}", b"\0order 4711\n"
    document({"nonce": b64(bytes.fromhex(nonce.partition(":")[2])), "user_data": b64(claim)})
    verify(0, nonce)
    verify(0, nonce, f"--unit={unit()}")
    verify(0, nonce, f"--unit={unit()}", f"--user-data=hex:{claim.hex()}")
    verify(0, nonce, f"--user-data=hex:{(unit().encode() + bytes(1) + claim).hex()}")
    for name in "x" + unit(), unit()[1:], unit() + "x", unit()[:-1]:
        verify(21, nonce, f"--unit={name}")
    for other in claim[1:], claim[:-1], claim + b"x", b"":
        with open("/run/claim", "wb") as file:
            file.write(other)
        said = verify(21, nonce, f"--unit={unit()}", "--user-data=/run/claim")
        assert f"are of {unit()}, but what follows its name is not what --user-data= gives." in said, said
    verify(21, nonce, f"--user-data=hex:{claim.hex()}")
    # Anybody with an instance can have the name of any unit in a document.
    verify(19, f"--unit={unit()}")
    document({"nonce": b64(bytes.fromhex(nonce.partition(":")[2]))})
    verify(0, nonce, f"--unit={unit()}", "--user-data=/dev/null")
    verify(21, nonce, f"--unit={unit()}", f"--user-data=hex:{claim.hex()}")


class WebServer(http.server.BaseHTTPRequestHandler):
    """Has the document of a client's nonce made with the certificate in /run/own.crt."""

    def log_message(self, *_):
        pass

    def do_GET(self):  # pylint: disable=invalid-name
        nonce = bytes.fromhex(self.path.partition("?nonce=")[2])
        with open("/run/own.crt", "rb") as file:
            body = ask({"nonce": b64(nonce), "public_key": b64(file.read())}, Accept="application/cbor")[2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def case_web():
    """A program that is its own TLS server: verify --tls accepts the connection, and refuses the one of a server with another key."""
    for name, wanted in ("own", 0), ("other", 17):
        subprocess.run(["openssl", "req", "-config", "/dev/null", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                        "/CN=web", "-keyout", f"/run/{name}.key", "-out", f"/run/{name}.crt"], check=True, stderr=subprocess.DEVNULL)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebServer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"/run/{name}.crt", f"/run/{name}.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run = subprocess.run(["unsealctl", "verify", "--root=/usr/lib/machine/root.pem", f"--url=https://127.0.0.1:{server.server_port}", "--tls"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert run.returncode == wanted, (name, run)


def case_forged():
    """A name in front of the user data is still behind the unit's own."""
    seen = given(ask({"user_data": b64(b"billing.service\0admin")}))
    assert seen["user_data"] == unit().encode() + b"\0billing.service\0admin", seen
    # A name that could belong to two units of different lengths: the zero byte ends it.
    assert seen["user_data"].split(b"\0", 1)[0] == unit().encode(), seen


def case_alone():
    """Where one unit alone is permitted, its user data are as it gives them."""
    seen = given(ask({"user_data": b64(b"as they are")}))
    assert seen["user_data"] == b"as they are", seen
    document({"user_data": b64(b"as they are")})
    verify(19, "--user-data=base64:" + b64(b"as they are"))
    verify(21, f"--unit={unit()}")
    assert given(ask({}))["user_data"] is None
    document({})
    verify(21, f"--unit={unit()}")
    verify(21, "--user-data=hex:00")
    verify(19, "--user-data=/dev/null")
    # It chooses all of them, so that a name in front is only its own word (unsealctl(1), --unit=).
    document({"user_data": b64(b"other.service\0admin")})
    verify(19, "--unit=other.service")


def case_refused():
    """What no unit gets."""
    refused(ask({"public_key": FACTS["rsa"]}), 400, "public-key")
    refused(ask({"public_key": FACTS["rsa_certificate"]}), 400, "public-key")
    refused(ask({"public_key": b64(os.urandom(64))}), 400, "public-key")
    refused(ask({"nonce": b64(bytes(1025))}), 400, "size")
    refused(ask({"user_data": b64(bytes(1024))}), 400, "size")
    refused(ask({"nonce": ""}), 400, "size")
    refused(ask({"userData": "AA=="}), 400, "malformed")
    refused(ask(b'{"nonce": "AA==", "nonce": "AQ=="}'), 400, "malformed")
    refused(ask(b"nonce=AA"), 400, "malformed")
    refused(ask({}, Content_Type="text/plain"), 415, "type")
    refused(ask({}, Content_Type=None), 415, "type")
    refused(ask(b" " * 20000), 413, "malformed")
    refused(ask({}, Content_Length=None, Transfer_Encoding="chunked"), 501, "malformed")
    refused(ask({}, Content_Length=None), 411, "malformed")
    refused(ask({}, path="/status"), 404, "malformed")
    refused(ask({}, path="/attestation?nonce=00112233445566778899aabbccddeeff"), 404, "malformed")
    answer = ask(b"", method="GET")
    refused(answer, 405, "malformed")
    assert answer[1]["Allow"] == "POST", answer
    # The largest head, which never ends.
    refused(send(b"POST /attestation HTTP/1.1\r\nX: " + b"a" * 20000), 431, "malformed")
    # A second request in the same bytes gets no answer.
    assert send(request({}) * 2)[2].count(b'"document"') == 1


def case_limit():
    """Requests beyond RequestsPerSecond= get 429, and later ones are served again. Waves come until one is beyond, on any machine."""
    given(ask({}))
    limited = []
    while not limited:
        clients = [Client() for _ in range(12)]
        for client in clients:
            client.send(request({}))
        limited = [answer for answer in (client.answer() for client in clients) if answer and answer[0] == 429]
    assert all(answer[1]["Retry-After"] == "1" for answer in limited), limited
    given(ask({}))


def case_stranger():
    refused(Client().ask({}), 403, "forbidden")
    refused(Client().ask(b"nonsense"), 403, "forbidden")


def case_unknown():
    """A control group that is of no unit."""
    os.mkdir("/sys/fs/cgroup/unknown")
    enter("unknown")
    refused(Client().ask({}), 403, "forbidden")


def case_moves_in():
    """A socket that was made outside stays outside, whatever its process does. A new socket is inside."""
    client = Client()
    enter(FACTS["group"])
    refused(client.ask({}), 403, "forbidden")
    assert given(ask({}))["user_data"] == b"app.service\0"


def case_moves_out():
    """The kernel keeps the group in which the socket was made. unseald-documents(8) says so."""
    enter(FACTS["group"])
    client = Client()
    enter(FACTS["outside"])
    assert given(client.ask({}))["user_data"] == b"app.service\0"
    refused(Client().ask({}), 403, "forbidden")


def members(name, count):
    """Connections of this unit that send nothing."""
    enter_unit(name)
    return [Client() for _ in range(count)]


def ended(clients):
    """The positions of the connections that the service has ended."""
    found = []
    for i, client in enumerate(clients):
        client.socket.setblocking(False)
        try:
            if client.socket.recv(1, socket.MSG_PEEK) == b"":
                found.append(i)
        except BlockingIOError:
            pass
        except ConnectionResetError:
            found.append(i)
    return found


def edge():
    """The service accepts in turn, so a client that has its answer comes after all before it."""
    clients = [members(name, 16) for name in FACTS["units"][:4]]
    enter(FACTS["outside"])
    refused(Client().ask({}), 403, "forbidden")
    of_stranger = [ended(group) for group in clients]
    (newest,) = members(FACTS["units"][4], 1)
    answer = newest.ask(b"no JSON")
    return of_stranger, answer, sorted(ended(group) for group in clients)


def case_edge():
    """Permitted units have 64 connections in all. A client that is not permitted ends none of them. One more of another unit costs one of
    the units with the most of them its slowest one."""
    begun = float("-inf")
    while time.monotonic() - begun > 8:  # after ten seconds the service ends them all
        begun = time.monotonic()
        of_stranger, answer, of_unit = edge()
    assert of_stranger == [[]] * 4, of_stranger
    refused(answer, 400, "malformed")
    assert of_unit == [[], [], [], [0]], of_unit


def case_crowd():
    """Clients that are not permitted, and never send a request, keep nobody out."""
    kept = [Client() for _ in range(200)]
    print("crowd: all open", flush=True)
    with open("/run/served", encoding="ascii") as file:  # a FIFO: a permitted unit was served meanwhile
        file.read()
    del kept


run(globals())
