#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a volume and its key with mkfs.erofs, veritysetup and Python's cryptography: no code of the product is in it.

usage: volume_image.py TREE NAME IMAGE KEY [HEX]     writes the encrypted image, and the key as JSON. HEX is a key to use again.
"""
import base64
import json
import os
import subprocess
import sys
import tempfile

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 4096


def main():
    tree, name, image, key_file = sys.argv[1:5]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(image))) as work:
        plain, hashes = f"{work}/plain", f"{work}/hashes"
        subprocess.run(["mkfs.erofs", "--quiet", plain, tree], check=True, stdout=subprocess.DEVNULL)
        data_size = os.path.getsize(plain)
        os.truncate(plain, -(-data_size // BLOCK) * BLOCK)
        salt = os.urandom(32).hex()
        options = ["--no-superblock", "--format=1", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"]
        output = subprocess.run(["veritysetup", "format", *options, f"--salt={salt}", plain, hashes], check=True, capture_output=True,
                                text=True).stdout
        root_hash = next(line.split()[-1] for line in output.splitlines() if line.startswith("Root hash:"))
        with open(plain, "rb") as file:
            data = file.read()
        data_blocks = len(data) // BLOCK
        with open(hashes, "rb") as file:
            data += file.read()
    assert len(data) % BLOCK == 0

    key = bytes.fromhex(sys.argv[5]) if len(sys.argv) > 5 else os.urandom(64)
    with open(image, "wb") as file:
        for at in range(0, len(data), BLOCK):  # a tweak is the number of the sector in units of 512 bytes
            cipher = Cipher(algorithms.AES(key), modes.XTS((at // 512).to_bytes(16, "little"))).encryptor()
            file.write(cipher.update(data[at:at + BLOCK]) + cipher.finalize())
    blob = {
        "version": 1, "name": name, "cipher": "aes-xts-plain64", "sector_size": BLOCK, "key": base64.b64encode(key).decode(),
        "hash": "sha256", "salt": salt, "root_hash": root_hash, "data_block_size": BLOCK, "hash_block_size": BLOCK,
        "data_size": data_size, "data_blocks": data_blocks, "hash_start": data_blocks, "size": len(data),
    }
    with open(key_file, "w", encoding="utf-8") as file:
        json.dump(blob, file)
    print(key.hex())


main()
