#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Verifies an attestation document with Python's libraries for CBOR and cryptography. It shares no code with unseald.

Exit status 0: the document is good, and its PCRs are printed. 1: it is refused, and the reason is printed.
"""

import argparse
import io
import sys
import time
from datetime import datetime, timedelta

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

FIELDS = {"module_id", "digest", "timestamp", "certificate", "cabundle", "public_key", "user_data", "nonce"}
SHA384 = hashes.SHA384


def check(condition, why):
    if not condition:
        sys.exit(f"refused: {why}")


def verify(signer, signature, message):
    key = signer.public_key()
    check(isinstance(key.curve, ec.SECP384R1), "a key is not P-384")
    key.verify(signature, message, ec.ECDSA(SHA384()))


def check_certificate(certificate, issuer, authorities_below, at):
    """authorities_below: how many authorities follow this one in the chain. None for the leaf."""
    name = certificate.subject.rfc4514_string()
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    check(certificate.not_valid_before <= at <= certificate.not_valid_after, f"{name} is not valid at that time")
    check(certificate.issuer == issuer.subject, f"{name} has another issuer")
    check(isinstance(certificate.signature_hash_algorithm, SHA384), f"{name} is not signed with SHA-384")
    verify(issuer, certificate.signature, certificate.tbs_certificate_bytes)
    if authorities_below is None:
        check(not constraints.ca and usage.digital_signature, f"{name} may not sign documents")
    else:
        check(constraints.ca and usage.key_cert_sign, f"{name} is not an authority")
        check(constraints.path_length is None or authorities_below <= constraints.path_length, f"{name} has more authorities below it than its path length permits")


def check_document(document, root, at, nonce):
    """Returns the PCRs."""
    stream = io.BytesIO(document)
    protected, unprotected, payload, signature = cbor2.load(stream)
    check(not stream.read(1), "something follows the document")
    check(cbor2.loads(protected) == {1: -35} and unprotected == {} and len(signature) == 96, "the signature is not ES384")
    fields = cbor2.loads(payload)
    pcrs = fields.pop("nitrotpm_pcrs", None) or fields.pop("pcrs")
    check(set(fields) == FIELDS and fields["digest"] == "SHA384", "the fields are not those of an attestation document")

    chain = [x509.load_der_x509_certificate(der) for der in fields["cabundle"] + [fields["certificate"]]]
    check(chain[0] == root, "the chain does not start at the pinned root")
    for depth, certificate in enumerate(chain[:-1]):
        check_certificate(certificate, chain[max(depth - 1, 0)], len(chain) - 2 - depth, at)
    check_certificate(chain[-1], chain[-2], None, at)

    r, s = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", payload])
    verify(chain[-1], utils.encode_dss_signature(r, s), to_be_signed)

    age = at - (datetime(1970, 1, 1) + timedelta(milliseconds=fields["timestamp"]))
    check(timedelta(minutes=-1) <= age <= timedelta(minutes=5), f"its age is {age}")
    check(nonce is None or fields["nonce"] == nonce, "the nonce is another")
    return pcrs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="the pinned root, PEM")
    parser.add_argument("document")
    parser.add_argument("--at", type=float, default=time.time(), metavar="EPOCH", help="default: now")
    parser.add_argument("--nonce", type=bytes.fromhex, metavar="HEX")
    arguments = parser.parse_args()

    with open(arguments.root, "rb") as f:
        root = x509.load_pem_x509_certificate(f.read())
    with open(arguments.document, "rb") as f:
        document = f.read()
    try:
        at = datetime.utcfromtimestamp(arguments.at)
        pcrs = check_document(document, root, at, arguments.nonce)
    except InvalidSignature:
        sys.exit("refused: a signature is wrong")
    except Exception as error:  # the libraries raise many kinds
        sys.exit(f"refused: malformed: {error!r}")
    for index, value in sorted(pcrs.items()):
        print(f"PCR{index} {value.hex()}")


if __name__ == "__main__":
    main()
