#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The S3 encryption client for Python: it writes an encrypted object and reads it again. usage: kms-client-s3.py KEY

The client's S3 is a small store in this process, since the platform's S3 only reads. KMS is what the environment says.
"""

import http.server
import sys
import threading

import boto3
from botocore.config import Config
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring


class Store(http.server.BaseHTTPRequestHandler):
    objects = {}
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        kept = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
        self.objects[self.path] = kept, self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, {}, b"")

    def do_GET(self):
        headers, body = self.objects.get(self.path.split("?")[0], (None, b""))
        self.answer(404 if headers is None else 200, headers or {}, body)

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "ETag": '"1"'}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):  # pylint: disable=redefined-builtin
        pass


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required", s3={"addressing_style": "path"})
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}", aws_access_key_id="store", aws_secret_access_key="store", config=config)
    client = S3EncryptionClient(s3, S3EncryptionClientConfig(keyring=KmsKeyring(boto3.client("kms"), sys.argv[1])))
    plaintext = b"a secret of the application" * 1000
    client.put_object(Bucket="bucket", Key="object", Body=plaintext)
    ((_, body),) = Store.objects.values()
    assert plaintext[:32] not in body, "the store has the plaintext"
    assert client.get_object(Bucket="bucket", Key="object")["Body"].read() == plaintext, "another plaintext"


main()
