#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An attacker between unseald and AWS. usage: attacker.py kms|imds ADDRESS:PORT OPTION...

kms answers in the place of KMS. It terminates TLS with --certificate; without a certificate it uses no TLS. It answers Decrypt with
    --forge FILE      a valid envelope that contains FILE, for the public key in the request, and with --key-id
    --record FILE     the answer of the real KMS (--upstream ADDRESS), which it also writes to FILE
    --replay FILE     a recorded answer
    --redirect URL    a redirect
With --connect it is an HTTP proxy first (method CONNECT) and accepts every host.
imds answers in the place of the metadata service: --role TEXT, --credentials FILE, or --trickle (one byte a second, without end).

It prints "listening" when it listens, and then one line for each thing that it sees.
"""

import argparse
import base64
import hashlib
import http.client
import http.server
import json
import re
import socketserver
import ssl
import sys
import time

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SPKI = re.compile(re.escape(bytes.fromhex("30820122300d06092a864886f70d01010105000382010f00")) + b".{270}", re.DOTALL)
OAEP_SHA256 = bytes.fromhex(
    "303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500"
)


def saw(*words):
    print(*words, flush=True)


def element(tag, content):
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def envelope(public_key, plaintext):
    """Makes a CMS EnvelopedData (RFC 5652) with indefinite lengths, like KMS. It needs only the public key."""
    key, iv = bytes(range(32)), bytes(16)
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    wrapped = serialization.load_der_public_key(public_key).encrypt(key, oaep)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    content = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
    recipient = b"\x02\x01\x02" + element(0x80, hashlib.sha256(public_key).digest()) + OAEP_SHA256 + element(0x04, wrapped)
    return (
        bytes.fromhex("308006092a864886f70d010703a0803080020102")
        + element(0x31, element(0x30, recipient))
        + bytes.fromhex("308006092a864886f70d010701301d060960864801650304012a")
        + element(0x04, iv)
        + b"\xa0\x80"
        + element(0x04, content)
        + bytes(10)
    )


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self):
        saw("connected")
        try:
            super().handle()
        except (ssl.SSLError, ConnectionError) as error:
            saw("broken off:", getattr(error, "reason", None) or error)


class Kms(Quiet):
    def begin_tls(self):
        if self.options.certificate:
            self.request = self.options.context.wrap_socket(self.request, server_side=True)
            saw("TLS was accepted")
        super().setup()

    def handle(self):
        if not self.options.connect:
            try:
                self.begin_tls()
            except (ssl.SSLError, ConnectionError) as error:
                saw("connected")
                saw("broken off:", getattr(error, "reason", None) or error)
                return
        super().handle()

    def do_CONNECT(self):
        saw("CONNECT", self.path)
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.begin_tls()

    def do_GET(self):
        saw("GET", self.path)
        self.answer(b"pong")

    def do_POST(self):
        request = self.rfile.read(int(self.headers["Content-Length"]))
        saw("request", self.headers["X-Amz-Target"])
        if self.options.redirect:
            self.answer(b"", 307, [("Location", self.options.redirect)])
        elif self.options.replay:
            with open(self.options.replay, "rb") as file:
                self.answer(file.read())
        elif self.options.record:
            self.answer(self.ask_kms(request))
        else:
            self.answer(self.forged(request))

    def forged(self, request):
        document = base64.b64decode(json.loads(request)["Recipient"]["AttestationDocument"])
        with open(self.options.forge, "rb") as file:
            cms = envelope(SPKI.search(document)[0], file.read())
        answer = {"KeyId": self.options.key_id, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
        return json.dumps(answer | {"CiphertextForRecipient": base64.b64encode(cms).decode()}).encode()

    def ask_kms(self, request):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self.options.upstream, context=context)
        connection.putrequest("POST", "/", skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(request)
        body = connection.getresponse().read()
        with open(self.options.record, "wb") as file:
            file.write(body)
        with open(self.options.record + ".request", "wb") as file:
            file.write(request)
        return body


class Imds(Quiet):
    def do_PUT(self):
        self.answer(b"token")

    def do_GET(self):
        saw("GET", self.path)
        if self.options.trickle:
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"A")
                time.sleep(1)
        elif self.path.endswith("/security-credentials/"):
            self.answer(self.options.role.encode().decode("unicode_escape").encode())
        else:
            with open(self.options.credentials, "rb") as file:
                self.answer(file.read())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=["kms", "imds"])
    parser.add_argument("listen")
    for name in "certificate", "private-key", "forge", "key-id", "record", "replay", "redirect", "upstream", "credentials":
        parser.add_argument("--" + name)
    parser.add_argument("--role", default="billing-instance")
    parser.add_argument("--connect", action="store_true")
    parser.add_argument("--trickle", action="store_true")
    options = parser.parse_args()
    if options.certificate:
        options.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options.context.load_cert_chain(options.certificate, options.private_key)
    handler = Kms if options.service == "kms" else Imds
    handler.options = options
    address, port = options.listen.rsplit(":", 1)
    with Server((address, int(port)), handler) as server:
        saw("listening")
        server.serve_forever()


sys.exit(main())
