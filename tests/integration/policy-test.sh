#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl policy test: under a good policy, under policies that are open, as another machine, and where KMS does not answer.
. "$(dirname "$0")/direct.sh"

unsealctl=$build/daemon/unsealctl
platform_start
platform extend 4 "the image"
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
role=$PLATFORM_INSTANCE_ROLE_ARN
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements.json"
key=$(vendor_create_key)
"$unsealctl" policy --measurements="$scratch/measurements.json" --admin="$admin" --sealer="$admin" --principal="$role" >"$scratch/policy.json"
# put [JQ]: the policy of unsealctl policy, changed by the filter
put() {
    kms PutKeyPolicy "$(jq -c --arg key "$key" "${1:-.}"' | {KeyId: $key, PolicyName: "default", Policy: tojson}' "$scratch/policy.json")" >/dev/null
}
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "kms:*", Resource: "*"}]}' >"$scratch/identity"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/identity"

# try STATUS WHO [OPTION...]: as instance or vendor; leaves the output in $scratch/out
try() {
    local want=$1 who=$2 saw=0
    shift 2
    platform exec --as "$who" -- "$unsealctl" policy test --key="$key" --trusted-certificates="$PLATFORM_CA_FILE" "$@" >"$scratch/out" 2>&1 || saw=$?
    [ "$saw" = "$want" ] || die "policy test $*: saw exit status $saw, wanted $want: $(cat "$scratch/out")"
}
own=(--device="$PLATFORM_TCTI" --name=db-password)
# answers, further: those of the last --json. The first five, and those that follow: data keys of three kinds, re-encryption to the same
# key, to and from another one, a grant, what only the policy's text shows, and a data key in any name.
answers() { jq -rc '[.questions[:5][].answer]' "$scratch/out"; }
further() { jq -rc '[.questions[5:][].answer]' "$scratch/out"; }

say "== a good policy"
put
try 0 instance "${own[@]}"
assert_line "the summary" "$scratch/out" '^As it should be, for these credentials\.$'
assert_line "own document" "$scratch/out" "^Decrypt  *this machine's document  *allow  *allowed$"
assert_line "no document" "$scratch/out" '^Decrypt  *no document  *deny  *denied$'
try 0 instance "${own[@]}" --json
assert_equal "answers" "$(answers)" '["allowed","denied","notAsked","denied","denied"]'
assert_equal "further ways" "$(further)" '["denied","denied","denied","denied","notAsked","notAsked","denied","notAsked","notAsked","notAsked","denied"]'
assert_equal "what has no dry run" "$(jq -rc '[.questions[-4:-1][].operation]' "$scratch/out")" '["PutKeyPolicy","ReplicateKey","ImportKeyMaterial"]'
assert_equal "decrypted" "$(platform log | jq -s 'map(select(.eventName == "Decrypt" and .requestParameters.dryRun != true)) | length')" 0

say "== another machine: its document is denied, and is the proof that PCRs count"
openssl genrsa -out "$scratch/key.pem" 2048 2>/dev/null
openssl pkey -in "$scratch/key.pem" -pubout -outform DER -out "$scratch/public.der"
platform extend 8 "something that no policy pins"
platform exec --as instance -- "$unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/public.der" --output="$scratch/same"
platform tpm-reset
platform extend 4 "another image"
platform exec --as instance -- "$unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/public.der" --output="$scratch/other"
try 60 instance "${own[@]}" --json
assert_equal "answers to another machine" "$(answers)" '["denied","denied","notAsked","notAsked","notAsked"]'
try 60 instance "${own[@]}"
assert_line "it is told" "$scratch/out" '^KMS denies this machine\.'
assert_line "who asked" "$scratch/out" "^KMS was asked by $role\. .*unsealctl policy --principal=$role\""
assert_line "what KMS does not say" "$scratch/out" '^KMS does not name the path of a role\.'
assert_line "why the rest was left out" "$scratch/out" '^Encrypt .* not asked, KMS did not allow the first request$'
platform tpm-reset
platform extend 4 "the image"
try 0 instance "${own[@]}" --other-document="$scratch/other" --json
assert_equal "answers with another's document" "$(answers)" '["allowed","denied","denied","denied","denied"]'
try 66 instance "${own[@]}" --other-document="$scratch/same"
assert_line "a document that the policy accepts is no other machine's" "$scratch/out" '^Decrypt  *the other document  *deny  *WRONG: allowed$'
assert_line "it may be one that the key is for" "$scratch/out" '^Decrypt with the other document: .* give the document of another one'
base64 "$scratch/other" >"$scratch/other.base64"
try 0 instance "${own[@]}" --other-document="$scratch/other.base64" --json
assert_equal "answers with another's document in base64" "$(answers)" '["allowed","denied","denied","denied","denied"]'
echo '{"Measurements": {}}' >"$scratch/json"
try 1 instance "${own[@]}" --other-document="$scratch/json"
assert_line "not a document" "$scratch/out" 'is no attestation document: it is JSON\. Expected what "unsealctl attest --public-key=" writes'
head -c 100 "$scratch/other" >"$scratch/broken"
try 5 instance "${own[@]}" --other-document="$scratch/broken"
assert_line "a document that is none proves nothing" "$scratch/out" '^Decrypt  *the other document  *deny  *not known: '

say "== open policies"
put '.Statement |= map(select(.Effect == "Allow")) | (.Statement[] | select(.Sid == "Unseal")) |= del(.Condition)'
try 66 instance "${own[@]}"
assert_line "it is told" "$scratch/out" '^Decrypt  *no document  *deny  *WRONG: allowed$'
assert_line "and summed up" "$scratch/out" '^The key is open'
try 66 instance --device="$PLATFORM_TCTI" --other-document="$scratch/other" --json
assert_equal "answers" "$(answers)" '["allowed","allowed","allowed","denied","denied"]'
put '(.Statement[] | select(.Sid == "Unseal") | .Action) |= ["kms:Decrypt", "kms:GenerateDataKey"] | .Statement |= map(select(.Effect == "Allow")) | .Statement += [{Effect: "Allow", Principal: {AWS: "'"$role"'"}, Action: "kms:GenerateDataKey", Resource: "*"}]'
try 66 instance "${own[@]}" --json
assert_equal "a data key" "$(answers)" '["allowed","denied","notAsked","allowed","denied"]'
put '.Statement |= map(select(.Sid != "DenySealing")) | .Statement += [{Effect: "Allow", Principal: {AWS: "'"$role"'"}, Action: "kms:Encrypt", Resource: "*"}]'
try 66 instance "${own[@]}" --json
assert_equal "ciphertext" "$(answers)" '["allowed","denied","notAsked","denied","allowed"]'

say "== data keys with this machine's document: in the names of the policy alone"
any_name() { jq -rc '.questions[-1] | [.operation, .document, .answer]' "$scratch/out"; }
"$unsealctl" policy --measurements="$scratch/measurements.json" --admin="$admin" --sealer="$admin" --principal="$role" \
    --generate-data-key=db-key --output="$scratch/generating.json"
cp "$scratch/policy.json" "$scratch/plain.json"
cp "$scratch/generating.json" "$scratch/policy.json"
put
try 0 instance "${own[@]}" --json
assert_equal "with names" "$(any_name)" '["GenerateDataKey","own","denied"]'
put '(.Statement[] | select(.Sid == "Generate")) |= del(.Condition.StringEquals)'
try 66 instance "${own[@]}" --json
assert_equal "without names" "$(any_name)" '["GenerateDataKey","own","allowed"]'
assert_equal "and nothing else is wrong" "$(jq -rc '[.questions[] | select(.wanted == "denied" and .answer == "allowed") | .operation]' "$scratch/out")" '["GenerateDataKey"]'
try 66 instance "${own[@]}"
assert_line "what it gives away" "$scratch/out" "^GenerateDataKey with any secret's name: With a document, which is no secret"
cp "$scratch/plain.json" "$scratch/policy.json"

say "== grants, re-encryption and data keys: each opens the key or makes ciphertext, and has a line of its own"
# allow ACTION...: the policy of unsealctl policy, but the role may call the actions, and no Deny is left
allow() {
    local actions
    actions=$(jq -nc '$ARGS.positional' --args "$@")
    put '.Statement |= map(select(.Effect == "Allow")) + [{Effect: "Allow", Principal: {AWS: "'"$role"'"}, Action: '"$actions"', Resource: "*"}]'
}
# wrong STATUS: the operations that are wrong in the last --json
wrong() { jq -rc '[.questions[] | select(.wanted == "denied" and .answer == "allowed") | .operation]' "$scratch/out"; }
for action in CreateGrant GenerateDataKeyWithoutPlaintext GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext; do
    allow "kms:$action"
    try 66 instance "${own[@]}" --json
    assert_equal "$action is allowed" "$(wrong)" "[\"$action\"]"
done
allow kms:CreateGrant
try 66 instance "${own[@]}"
assert_line "a grant in the table" "$scratch/out" '^CreateGrant  *Decrypt for an account  *deny  *WRONG: allowed$'
assert_line "and what it gives away" "$scratch/out" '^CreateGrant with Decrypt for an account: The caller makes a grant, with which anyone decrypts without a document\.$'
assert_equal "no grant was made" "$(kms ListGrants "$(jq -nc --arg key "$key" '{KeyId: $key}')" | jq '.Grants | length')" 0
# The dry run tells the truth: the role makes the grant, and decrypts with it.
platform exec --as instance -- curl -sS -H "X-aws-ec2-metadata-token: $(platform exec --as instance -- curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' http://169.254.169.254/latest/api/token)" \
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/$PLATFORM_INSTANCE_ROLE" >"$scratch/credentials"
as_role() { # OPERATION JSON
    platform exec -- curl -sS --aws-sigv4 "aws:amz:$region:kms" --user "$(jq -r '"\(.AccessKeyId):\(.SecretAccessKey)"' "$scratch/credentials")" \
        -H "X-Amz-Security-Token: $(jq -r .Token "$scratch/credentials")" -H 'Content-Type: application/x-amz-json-1.1' \
        -H "X-Amz-Target: TrentService.$1" --cacert "$PLATFORM_CA_FILE" --data-binary "$2" -w '%{stderr}%{http_code}' "$PLATFORM_KMS_ENDPOINT/" 2>"$scratch/http"
}
printf 'Hello World' >"$secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$secret"
request=$(jq -nc --rawfile blob "$scratch/sealed" '{CiphertextBlob: ($blob | rtrimstr("\n")), EncryptionContext: {"unseald:secret": "db-password"}}')
assert_match "the role without a grant" "$(as_role Decrypt "$request" | jq -r .__type)" 'AccessDeniedException$'
grant=$(jq -nc --arg key "$key" --arg role "$role" '{KeyId: $key, GranteePrincipal: $role, Operations: ["Decrypt"]}')
assert_equal "a dry run of a grant" "$(as_role CreateGrant "$(jq -c '.DryRun = true' <<<"$grant")" | jq -r .__type)" DryRunOperationException
assert_equal "its HTTP status" "$(cat "$scratch/http")" 412
as_role CreateGrant "$grant" >/dev/null
assert_equal "the role with a grant" "$(as_role Decrypt "$request" | jq -r .Plaintext | base64 -d)" "Hello World"
kms RevokeGrant "$(jq -nc --arg key "$key" --arg id "$(kms ListGrants "$(jq -nc --arg key "$key" '{KeyId: $key}')" | jq -r '.Grants[0].GrantId')" '{KeyId: $key, GrantId: $id}')" >/dev/null

allow kms:ReEncryptFrom
try 66 instance --json --device="$PLATFORM_TCTI" --other-key="$(
    jq -nc --arg role "$role" --arg admin "$admin" '{Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: [$role, $admin]}, Action: "kms:*", Resource: "*"}]}' >"$scratch/theirs"
    kms CreateKey "$(jq -nc --rawfile policy "$scratch/theirs" '{Policy: $policy}')" | jq -r .KeyMetadata.Arn | tee "$scratch/other-key"
)"
assert_equal "only another key shows it" "$(wrong)" '["ReEncryptFrom"]'
other_key=$(cat "$scratch/other-key")
try 0 instance "${own[@]}" --json
assert_equal "without one KMS denies the other half" "$(wrong)" '[]'
assert_equal "and it is said what was not asked" "$(jq -rc '[.questions[] | select(.operation == "ReEncryptFrom") | .answer]' "$scratch/out")" '["notAsked"]'
try 66 instance "${own[@]}" --other-key="$other_key"
assert_line "what it gives away" "$scratch/out" '^ReEncryptFrom with the other key: The caller re-encrypts a secret to a key of its own'
# It tells the truth, too.
as_role ReEncrypt "$(jq -c --arg to "$other_key" '{CiphertextBlob, SourceEncryptionContext: .EncryptionContext, DestinationKeyId: $to}' <<<"$request")" |
    jq -c '{CiphertextBlob}' >"$scratch/moved"
assert_equal "a secret that was re-encrypted" "$(as_role Decrypt "$(cat "$scratch/moved")" | jq -r .Plaintext | base64 -d)" "Hello World"
allow kms:ReEncryptTo
try 66 instance "${own[@]}" --other-key="$other_key" --json
assert_equal "to the key" "$(wrong)" '["ReEncryptTo"]'
allow 'kms:ReEncrypt*'
try 66 instance "${own[@]}" --json
assert_equal "both halves need no other key" "$(wrong)" '["ReEncrypt"]'
put
try 0 instance "${own[@]}" --other-key="$other_key" --json
assert_equal "the policy of unsealctl policy denies both halves" "$(jq -rc '[.questions[] | select(.operation | startswith("ReEncrypt")) | .answer]' "$scratch/out")" '["denied","denied","denied"]'
kms PutKeyPolicy "$(jq -c --arg key "$other_key" --arg admin "$admin" '.Statement[0].Principal.AWS = $admin | {KeyId: $key, PolicyName: "default", Policy: tojson}' "$scratch/theirs")" >/dev/null
try 5 instance "${own[@]}" --other-key="$other_key"
assert_line "another key that shows nothing" "$scratch/out" '^ReEncryptFrom .* not known: The key of --other-key= denies ReEncrypt, too'
put '(.Statement[] | select(.Sid == "Administer") | .Principal.AWS) = ["'"$admin"'", "'"$role"'"] | del(.Statement[] | select(.Sid == "DenyAdministration"))'
try 66 instance "${own[@]}" --json
assert_equal "who unseals may put a policy, or make a replica" "$(wrong)" '["PutKeyPolicy","ReplicateKey"]'
try 66 instance "${own[@]}"
assert_line "how it is known" "$scratch/out" "^PutKeyPolicy  *the policy's text  *deny  *WRONG: allowed$"
# The administrator seals, too, so lint has to know it.
put '(.Statement[] | select(.Sid == "Administer") | .Action) -= ["kms:GetKeyPolicy"] | .Statement += [{Effect: "Allow", Principal: {AWS: ["'"$admin"'", "'"$role"'"]}, Action: "kms:GetKeyPolicy", Resource: "*"}]'
try 66 instance "${own[@]}" --json
assert_equal "an administrator that makes data keys" "$(wrong)" '["PutKeyPolicy","ReplicateKey"]'
try 0 instance "${own[@]}" --admin="$admin" --json
assert_equal "one that is named" "$(jq -rc '[.questions[-4:-1][].answer]' "$scratch/out")" '["denied","denied","denied"]'

say "== the vendor, who has no NitroTPM"
put
try 0 vendor --name=db-password --json
[ -e /dev/tpm0 ] || assert_equal "answers" "$(answers)" '["notAsked","denied","notAsked","notAsked","notAsked"]'
try 0 vendor --name=db-password
[ -e /dev/tpm0 ] || assert_line "the summary says what was not asked" "$scratch/out" '^KMS denies what it should deny, .* was not asked\.$'
[ -e /dev/tpm0 ] || assert_no_line "the summary promises nothing more" "$scratch/out" '^As it should be'
put '.Statement += [{Effect: "Allow", Principal: {AWS: "'"$admin"'"}, Action: "kms:Decrypt", Resource: "*"}] | .Statement |= map(select(.Effect == "Allow"))'
try 66 vendor
put '(.Statement[] | select(.Sid == "Unseal") | .Condition) += {StringEquals: {"kms:EncryptionContext:unseald:secret": "db-password"}}'
try 0 instance "${own[@]}"
try 60 instance --device="$PLATFORM_TCTI" --name=api-token

say "== no answer"
put
platform fault set kms DryRun throttle
try 5 instance "${own[@]}"
assert_line "it is told" "$scratch/out" '^Not proven: '
platform fault clear
kms DisableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
try 5 instance "${own[@]}"
assert_line "a disabled key" "$scratch/out" '^Decrypt  *this machine.s document  *allow  *not known: '
kms EnableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')" >/dev/null
try 20 instance --device="swtpm:path=$scratch/none"

say "== a server that ignores DryRun: what it did is allowed, and a grant that it made is told"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$scratch/fake.key" -out "$scratch/fake.pem" 2>"$scratch/openssl"
# Does one operation, and denies every other one.
cat >"$scratch/fake.py" <<'PYTHON'
import http.server, json, ssl, sys

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        done = self.headers["X-Amz-Target"] == "TrentService." + sys.argv[2] and request["DryRun"] is True
        answer = json.loads(sys.argv[3]) if done else {"__type": "AccessDeniedException", "message": "no"}
        self.send_response(200 if done else 400)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + ".pem", sys.argv[1] + ".key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
PYTHON
# try_fake STATUS OPERATION ANSWER
try_fake() {
    local saw=0 fake pid port
    exec {fake}< <(exec python3 "$scratch/fake.py" "$scratch/fake" "$2" "$3" 2>"$scratch/fake.log")
    pid=$!
    read -r port <&"$fake"
    AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b "$unsealctl" policy test --key="$key" --endpoint="https://127.0.0.1:$port" \
        --trusted-certificates="$scratch/fake.pem" --json >"$scratch/out" 2>"$scratch/said" || saw=$?
    kill "$pid"
    exec {fake}<&-
    [ "$saw" = "$1" ] || die "$2 is done: saw exit status $saw, wanted $1: $(cat "$scratch/said" "$scratch/out")"
}
if [ ! -e /dev/tpm0 ]; then
    try_fake 66 CreateGrant '{"GrantId": "0123", "GrantToken": "token"}'
    assert_equal "what is wrong" "$(wrong)" '["CreateGrant"]'
    assert_line "the grant" "$scratch/said" 'ignored DryRun and did CreateGrant\. .*RevokeGrant'
    try_fake 66 ReEncrypt '{"CiphertextBlob": "aGk="}'
    assert_equal "what is wrong" "$(wrong)" '["ReEncrypt"]'
    assert_line "what was done" "$scratch/said" 'ignored DryRun and did ReEncrypt\.'
    try_fake 66 Decrypt '{"Plaintext": "aGlkZGVuIHNlY3JldA=="}'
    cat "$scratch/said" >>"$scratch/out"
    assert_no_line "the plaintext" "$scratch/out" 'aGlkZGVuIHNlY3JldA|hidden secret'
    try_fake 5 CreateGrant '{}'
fi

say "== usage"
for options in "" "--key=alias/billing" "--key=$key extra" "--key=$key --context=x" "--key=$key --name=a --name=b" "--key=$key --conquer" \
    "--key=$key --other-key=alias/mine" "--key=$key --other-key=$key" "--key=$key --other-key=${key/$region/$PLATFORM_OTHER_REGION}"; do
    status=0
    # shellcheck disable=SC2086
    "$unsealctl" policy test $options >"$scratch/out" 2>&1 || status=$?
    assert_equal "exit status of policy test $options" "$status" 2
done
