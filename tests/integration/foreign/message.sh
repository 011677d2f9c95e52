#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Messages of AWS's Encryption SDK for Python and for JavaScript, whose data keys the platform's KMS makes: unseald opens each, in every
# suite that they write, with frames from one byte to 1 MiB and plaintexts up to 64 MiB. Messages of unsealctl seal open in both.
. "$(dirname "$0")/../direct.sh"
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
configure StoreSizeMax=1G
key=$(vendor_create_key)
# The vendor's programs open messages, too.
kms PutKeyPolicy "$(gated_policy "$(pcr 4)" "$(pcr 12)" | jq -c --arg key "$key" '.Statement += [{Sid: "test", Effect: "Allow",
    Principal: .Statement[0].Principal, Action: "kms:Decrypt", Resource: "*"}] | {KeyId: $key, PolicyName: "default", Policy: tojson}')" >/dev/null

cat >"$work/esdk.py" <<'END'
"""usage: esdk.py encrypt KEY IN < "NAME SUITE FRAME_LENGTH SIZE OUT"... | esdk.py decrypt KEY < "IN OUT"..."""
import sys
import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy

key = sys.argv[2]
provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key])
for line in sys.stdin:
    if sys.argv[1] == "encrypt":
        name, suite, frame, size, out = line.split()
        suite = Algorithm.get_by_id(int(suite, 16))
        commits = suite.algorithm_id in (0x0478, 0x0578)
        policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT if commits else CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
        client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=policy)
        plaintext = open(sys.argv[3], "rb").read(int(size))
        context = {"unseald:secret": name, "käse": "würzig", "tenant": "42"}
        message, _ = client.encrypt(source=plaintext, key_provider=provider, algorithm=suite, frame_length=int(frame), encryption_context=context)
        open(out, "wb").write(message)
    else:
        message, out = line.split()
        plaintext, header = aws_encryption_sdk.EncryptionSDKClient().decrypt(source=open(message, "rb").read(), key_provider=provider)
        assert header.encryption_context["unseald:secret"] == "db-password", header.encryption_context
        open(out, "wb").write(plaintext)
END
cat >"$work/esdk.js" <<'END'
// usage: as esdk.py
const { KmsKeyringNode, buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const fs = require('fs')
const [, , verb, key, input] = process.argv
const keyring = new KmsKeyringNode({ generatorKeyId: key })
async function main() {
  for (const line of fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const words = line.split(' ')
    if (verb === 'encrypt') {
      const [name, id, frame, size, out] = words
      const suite = parseInt(id, 16)
      const commits = suite === 0x0478 || suite === 0x0578
      const client = buildClient(commits ? CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT : CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
      const context = { 'unseald:secret': name, 'käse': 'würzig', tenant: '42' }
      const plaintext = fs.readFileSync(input).subarray(0, Number(size))
      const { result } = await client.encrypt(keyring, plaintext, { suiteId: suite, frameLength: Number(frame), encryptionContext: context })
      fs.writeFileSync(out, result)
    } else {
      const client = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
      const { plaintext, messageHeader } = await client.decrypt(keyring, fs.readFileSync(words[0]))
      if (messageHeader.encryptionContext['unseald:secret'] !== 'db-password') throw new Error('another context')
      fs.writeFileSync(words[1], plaintext)
    }
  }
}
main().catch((error) => { console.error(error); process.exit(1) })
END
python_sdk() { vendor "$sdk_python" "$work/esdk.py" "$@"; }
js_sdk() { vendor env NODE_EXTRA_CA_CERTS="$PLATFORM_CA_FILE" NODE_PATH="$cache/encryption-sdk-js/node_modules" node --no-warnings "$work/esdk.js" "$@"; }

suites='0578 0478 0378 0346 0214 0178 0146 0114 0078 0046 0014'
head -c 67108864 /dev/urandom >"$work/plaintext"
mkdir "$work/messages"
# jobs SDK: prints SUITE FRAME_LENGTH SIZE of each message
jobs() {
    local suite size
    for suite in $suites; do echo "$suite 4096 10000"; done
    for suite in 0478 0578; do
        for size in 0 1 4095 4096 4097 8192; do echo "$suite 4096 $size"; done
        for size in 0 1 1048575 1048576 1048577 3000000; do echo "$suite 1048576 $size"; done
    done
    echo '0478 1048576 67108864'
    if [ "$1" = python_sdk ]; then
        printf '%s\n' '0578 0 3000' '0578 128 3000'
    else
        printf '%s\n' '0478 1 3000' '0578 1 65536'
    fi
}
# write_all SDK: writes the messages, and declares each as a secret SDK-SUITE-FRAME_LENGTH-SIZE
write_all() {
    local suite frame size name line
    while read -r suite frame size; do
        name=${1/_/-}-$suite-$frame-$size line=()
        [[ $suite == 0[45]78 ]] || line=(AllowUncommitted=yes)
        declare_secret "$name" "$key" "$work/messages/$name" Format=message EncryptionContext=tenant=42 "${line[@]}"
        echo "$name $suite $frame $size $work/messages/$name"
    done < <(jobs "$1") | "$1" encrypt "$key" "$work/plaintext"
}
for sdk in $sdks; do
    say "the messages of $sdk"
    write_all "$sdk"
done

say "unseald opens them all"
wanted=$(find "$work/messages" -type f | wc -l)
opened=0
on_ready() {
    local name
    for name in "$work"/messages/*; do
        name=${name##*/}
        cmp -n "${name##*-}" "$store/$name" "$work/plaintext" || fail "$name: another plaintext"
        assert_equal "$name: bytes" "$(stat -c %s "$store/$name")" "${name##*-}"
        opened=$((opened + 1))
    done
}
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || fail "unseald ended with $unseald_status: $(tail -n 5 "$log")"
assert_equal "messages that opened" "$opened" "$wanted"

say "suites that do not commit stay sealed without AllowUncommitted="
sed -i 's/^AllowUncommitted=yes/Optional=yes/' "$config"/secrets.d/*
committed=$(grep -Lx 'Optional=yes' "$config"/secrets.d/* | wc -l)
on_ready() { find "$store" -type f | wc -l >"$scratch/seen"; }
rm -f "${store:?}"/*
unseald_start
unseald_finish
assert_equal "messages that opened" "$(cat "$scratch/seen")" "$committed"
assert_equal "messages that did not" "$(grep -c 'The optional secret .* stays sealed: .*does not commit' "$log")" $((wanted - committed))
say "$opened messages of $sdks open, $((wanted - committed)) of them only with AllowUncommitted=yes"
rm -rf "$config"/secrets.d/* "${store:?}"/* "$work/messages"

plaintext() { head -c "$1" /dev/urandom >"$work/plaintext"; }
say "messages of unsealctl seal open in $sdks"
sizes='1 4097 1048576 3000000 67108864'
for size in $sizes; do
    head -c "$size" "$work/plaintext" >"$work/plaintext.$size"
    vendor "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password --format=message \
        --context='käse=würzig' -o "$work/message.$size" "$work/plaintext.$size"
done
for sdk in $sdks; do
    for size in $sizes; do echo "$work/message.$size $work/got.$size"; done | "$sdk" decrypt "$key" || fail "$sdk does not open them"
    for size in $sizes; do
        cmp "$work/got.$size" "$work/plaintext.$size" || fail "$sdk: another plaintext of $size bytes"
        rm "$work/got.$size"
    done
done
rm "$work"/message.* "$work"/plaintext.*

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
