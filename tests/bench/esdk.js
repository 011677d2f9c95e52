// SPDX-License-Identifier: Apache-2.0
// AWS's Encryption SDK for JavaScript, for messages.py. usage: esdk.js decrypt KEY FILE | esdk.js encrypt KEY FILE NAME FRAME_LENGTH MESSAGE
const { KmsKeyringNode, buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const fs = require('fs')
const { pipeline } = require('stream/promises')
const [, , verb, key, file, name, frame, message] = process.argv
const keyring = new KmsKeyringNode({ generatorKeyId: key })
const client = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const encryption = { suiteId: 0x0478, frameLength: Number(frame), encryptionContext: { 'unseald:secret': name } }
const run = verb === 'encrypt'
  ? pipeline(fs.createReadStream(file), client.encryptStream(keyring, encryption), fs.createWriteStream(message))
  : pipeline(fs.createReadStream(file, { highWaterMark: 1 << 20 }), client.decryptStream(keyring), fs.createWriteStream('/dev/null'))
run.catch((error) => { console.error(error); process.exit(1) })
