#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Messages of AWS's Encryption SDK for Python and for JavaScript, whose data keys the platform's KMS makes: unsealctl unseal and
# unseald open each, in every suite that they write. Messages of unsealctl seal open in both.
. "$(dirname "$0")/lib.sh"
install_from_pypi encryption-sdk-python aws-encryption-sdk==4.0.7 boto3
sdk_python=$cache/encryption-sdk-python/bin/python3
sdks='python_sdk js_sdk'
if command -v npm >/dev/null; then
    install_from_npm encryption-sdk-js @aws-crypto/client-node@5.0.2
else
    sdks=python_sdk
    echo "SKIP: npm is not installed, so there are no messages of the SDK for JavaScript"
fi
start_platform
unsealctl=$build/daemon/unsealctl
config=$work/config
mkdir -p "$config"
printf '%s\n' '[Unseald]' "TrustedCertificates=$PLATFORM_CA_FILE" "TpmDevice=$PLATFORM_TCTI" >"$config/unseald.conf"
key=$(vendor_create_key)
# The vendor's programs open messages, too.
kms PutKeyPolicy "$(gated_policy "$(pcr 4)" "$(pcr 12)" | jq -c --arg key "$key" '.Statement += [{Sid: "test", Effect: "Allow",
    Principal: .Statement[0].Principal, Action: "kms:Decrypt", Resource: "*"}] | {KeyId: $key, PolicyName: "default", Policy: tojson}')" >/dev/null

cat >"$work/esdk.py" <<'END'
"""usage: esdk.py encrypt KEY SUITE FRAME_LENGTH IN OUT | esdk.py decrypt KEY IN OUT"""
import sys
import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy

key = sys.argv[2]
provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key])
context = {"unseald:secret": "db-password", "käse": "würzig", "tenant": "42"}
if sys.argv[1] == "encrypt":
    suite = Algorithm.get_by_id(int(sys.argv[3], 16))
    commits = suite.algorithm_id in (0x0478, 0x0578)
    policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT if commits else CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=policy)
    plaintext = open(sys.argv[5], "rb").read()
    message, _ = client.encrypt(source=plaintext, key_provider=provider, algorithm=suite, frame_length=int(sys.argv[4]), encryption_context=context)
    open(sys.argv[6], "wb").write(message)
else:
    client = aws_encryption_sdk.EncryptionSDKClient()
    plaintext, header = client.decrypt(source=open(sys.argv[3], "rb").read(), key_provider=provider)
    assert header.encryption_context["unseald:secret"] == "db-password", header.encryption_context
    open(sys.argv[4], "wb").write(plaintext)
END
cat >"$work/esdk.js" <<'END'
// usage: esdk.js encrypt KEY SUITE FRAME_LENGTH IN OUT | esdk.js decrypt KEY IN OUT
const { KmsKeyringNode, buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const fs = require('fs')
const [, , verb, key, ...rest] = process.argv
const keyring = new KmsKeyringNode({ generatorKeyId: key })
const context = { 'unseald:secret': 'db-password', 'käse': 'würzig', tenant: '42' }
async function main() {
  if (verb === 'encrypt') {
    const suite = parseInt(rest[0], 16)
    const commits = suite === 0x0478 || suite === 0x0578
    const client = buildClient(commits ? CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT : CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
    const { result } = await client.encrypt(keyring, fs.readFileSync(rest[2]), { suiteId: suite, frameLength: Number(rest[1]), encryptionContext: context })
    fs.writeFileSync(rest[3], result)
  } else {
    const client = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    const { plaintext, messageHeader } = await client.decrypt(keyring, fs.readFileSync(rest[0]))
    if (messageHeader.encryptionContext['unseald:secret'] !== 'db-password') throw new Error('another context')
    fs.writeFileSync(rest[1], plaintext)
  }
}
main().catch((error) => { console.error(error); process.exit(1) })
END
python_sdk() { vendor "$sdk_python" "$work/esdk.py" "$@"; }
js_sdk() { vendor env NODE_EXTRA_CA_CERTS="$PLATFORM_CA_FILE" NODE_PATH="$cache/encryption-sdk-js/node_modules" node --no-warnings "$work/esdk.js" "$@"; }

opened=0
# opens WHAT SUITE: $work/message opens to $work/plaintext. Suites that do not commit need the option.
opens() {
    local what=$1 suite=$2 option=()
    if [[ $suite != 0478 && $suite != 0578 ]]; then
        option=(--allow-uncommitted)
        ! unseal >"$work/got" 2>"$work/error" || fail "$what: opened without --allow-uncommitted"
        grep -q 'does not commit' "$work/error" || fail "$what: $(cat "$work/error")"
    fi
    unseal "${option[@]}" >"$work/got" || fail "$what: not opened"
    cmp "$work/got" "$work/plaintext" || fail "$what: another plaintext"
    opened=$((opened + 1))
}
unseal() {
    instance "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent --key="$key" \
        --name=db-password --context=tenant=42 --reveal "$@" "$work/message"
}
plaintext() { head -c "$1" /dev/urandom >"$work/plaintext"; }

suites='0578 0478 0378 0346 0214 0178 0146 0114 0078 0046 0014'
say "every suite, 4096-byte frames"
for suite in $suites; do
    plaintext 10000
    for sdk in $sdks; do
        "$sdk" encrypt "$key" "$suite" 4096 "$work/plaintext" "$work/message"
        opens "$sdk, suite $suite" "$suite"
    done
done
say "sizes around a frame, and other frame lengths"
for size in 0 1 4095 4096 4097 8192; do
    plaintext "$size"
    for suite in 0478 0578; do
        for sdk in $sdks; do
            "$sdk" encrypt "$key" "$suite" 4096 "$work/plaintext" "$work/message"
            opens "$sdk, $size bytes, suite $suite" "$suite"
        done
    done
done
plaintext 3000
for frame in 0 128; do
    python_sdk encrypt "$key" 0578 "$frame" "$work/plaintext" "$work/message"
    opens "Python, frame length $frame" 0578
done
if [[ $sdks == *js_sdk* ]]; then
    js_sdk encrypt "$key" 0478 1 "$work/plaintext" "$work/message"
    opens "JavaScript, frame length 1" 0478
fi
plaintext 3000000
python_sdk encrypt "$key" 0478 1048576 "$work/plaintext" "$work/message"
opens "Python, frame length 1048576" 0478
if [[ $sdks == *js_sdk* ]]; then
    js_sdk encrypt "$key" 0578 1048576 "$work/plaintext" "$work/message"
    opens "JavaScript, frame length 1048576" 0578
fi
say "$opened messages of $sdks open"

say "messages of unsealctl seal open in $sdks"
for size in 1 4097 1048576 3000000; do
    plaintext "$size"
    vendor "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password --format=message \
        --context='käse=würzig' -o "$work/message" "$work/plaintext"
    for sdk in $sdks; do
        rm -f "$work/got"
        "$sdk" decrypt "$key" "$work/message" "$work/got" || fail "$sdk does not open $size bytes"
        cmp "$work/got" "$work/plaintext" || fail "$sdk: another plaintext of $size bytes"
    done
done
say "4 messages of unsealctl seal open in $sdks"

say "a bundle that the page's Python writes"
page=$top/man/unseald.secret.5.rst
# block TEXT: the example of the page that begins with this line
block() { awk -v first="$1" '$0 == "    " first { on = 1 } on && /^[^ ]/ { exit } on { print substr($0, 5) }' "$page"; }
block '{' >"$work/app.json"
{ echo 'import os; arn = os.environ["KEY"]' && block 'import aws_encryption_sdk'; } >"$work/seal-bundle.py"
(cd "$work" && vendor env KEY="$key" "$sdk_python" seal-bundle.py)
mkdir -p "$config/secrets.d"
block '# app.secret' | sed "s|^Source=.*|Source=file:$work/app.sealed|; s|^KeyId=.*|KeyId=$key|" >"$config/secrets.d/app.secret"
for member in db-password tls.key; do
    instance "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent --member="$member" --reveal app >"$work/got" ||
        fail "the bundle of the SDK for Python is not opened"
    jq -rj --arg name "$member" '.[$name] | if type == "object" then .base64 else . end' "$work/app.json" >"$work/wanted"
    [ "$member" = db-password ] || base64 -d <"$work/wanted" >"$work/wanted.bytes"
    [ "$member" = db-password ] || mv "$work/wanted.bytes" "$work/wanted"
    cmp "$work/got" "$work/wanted" || fail "$member: another value"
done
say "2 members of it open"

say "a message that the page's JavaScript and Python write"
plaintext 5000
cp "$work/plaintext" "$work/prompt.txt"
{ echo 'const arn = process.env.KEY;' && block 'const { buildClient, CommitmentPolicy, KmsKeyringNode } = require("@aws-crypto/client-node");'; } >"$work/seal-prompt.js"
sed 's/app\.json/prompt.txt/; s/app\.sealed/prompt.sealed/; s/"app"/"prompt"/' "$work/seal-bundle.py" >"$work/seal-prompt.py"
by_page_python_sdk() { vendor env KEY="$key" "$sdk_python" seal-prompt.py; }
by_page_js_sdk() {
    vendor env KEY="$key" NODE_EXTRA_CA_CERTS="$PLATFORM_CA_FILE" NODE_PATH="$cache/encryption-sdk-js/node_modules" node --no-warnings seal-prompt.js
}
for sdk in $sdks; do
    rm -f "$work/prompt.sealed"
    (cd "$work" && "by_page_$sdk")
    instance "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent --key="$key" --name=prompt --reveal \
        "$work/prompt.sealed" >"$work/got" || fail "the message of the page's $sdk is not opened"
    cmp "$work/got" "$work/plaintext" || fail "the page's $sdk: another plaintext"
done
