#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# KMS for programs that know nothing of attestation, in a machine with a real systemd as PID 1: unseald-kms is disabled by default, started
# by its socket, sandboxed, and answers permitted units alone, within its limits whatever clients do. The attacks of
# unseald-threat-model(7) on it are among the cases of kms-endpoint.py.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null

admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
# put_policy KEY STATEMENT...: puts a policy with the administrator and these statements
put_policy() {
    local key=$1
    shift
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg admin "$admin" '{KeyId: $key, PolicyName: "default",
        Policy: ({Version: "2012-10-17", Statement: ([{Effect: "Allow", Principal: {AWS: $admin}, Action: "kms:*", Resource: "*"}] + $ARGS.positional)} | tojson)}' \
        --jsonargs "$@")" >/dev/null
}
# seal KEY CONTEXT: prints the ciphertext of the plaintext
plaintext=canary-$(od -An -N12 -tx1 /dev/urandom | tr -d ' ')
seal() {
    kms Encrypt "$(jq -nc --arg key "$1" --argjson context "$2" --arg text "$(printf %s "$plaintext" | base64 -w0)" \
        '{KeyId: $key, Plaintext: $text, EncryptionContext: $context}')" | jq -r .CiphertextBlob
}
app=$(vendor_create_key)
"$build/daemon/unsealctl" policy --application --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" \
    --measurements=<(jq -nc --arg pcr4 "$(pcr 4)" --arg pcr12 "$(pcr 12)" --arg pcr2 "$(pcr 2)" '{Measurements: {HashAlgorithm: "SHA384", PCR2: $pcr2, PCR4: $pcr4, PCR12: $pcr12}}') \
    >"$scratch/policy"
kms PutKeyPolicy "$(jq -nc --arg key "$app" --rawfile policy "$scratch/policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
# The role may use the second key without a document, and not the third one.
other=$(vendor_create_key)
put_policy "$other" "$(jq -nc --arg role "$PLATFORM_INSTANCE_ROLE_ARN" '{Effect: "Allow", Principal: {AWS: $role}, Action: "kms:*", Resource: "*"}')"
ungranted=$(vendor_create_key)
put_policy "$ungranted"
jq -nc '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: ["kms:*"], Resource: "*"}]}' >"$scratch/role"
platform role policy "${PLATFORM_INSTANCE_ROLE_ARN:13:12}" "$PLATFORM_INSTANCE_ROLE" "$scratch/role" >/dev/null
openssl genpkey -quiet -algorithm RSA -out "$scratch/own.pem" 2>/dev/null || openssl genrsa -out "$scratch/own.pem" 2>/dev/null
openssl pkey -in "$scratch/own.pem" -pubout -outform DER -out "$scratch/own.der"
platform exec --as instance -- "$build/daemon/unsealctl" attest --device="$PLATFORM_TCTI" --public-key="$scratch/own.der" --output="$scratch/document"
secret_key=$(vendor_create_key)
vendor_put_policy "$secret_key" "$(pcr 4)" "$(pcr 12)"
printf 'the db-password' | vendor_seal "$secret_key" db-password "$scratch/db-password"

say "it starts only with keys of its own, and without a lock"
mkdir -p "$scratch/config/secrets.d"
printf '%s\n' '[Secret]' 'Source=file:/sealed' "KeyId=$secret_key" >"$scratch/config/secrets.d/db-password.secret"
# refuses WHAT REGEX LINE...: with these lines the program ends with status 78
refuses() {
    local what=$1 reason=$2 status=0
    shift 2
    printf '%s\n' "$@" >"$scratch/config/unseald.conf"
    "$build/daemon/unseald-kms" --vendor-configuration="$scratch/config" --configuration=/nonexistent >"$scratch/said" 2>&1 || status=$?
    assert_equal "$what: exit status" "$status" 78
    assert_line "$what" "$scratch/said" "$reason"
}
refuses "no key" 'Keys= of \[Kms\] in unseald.conf\(5\) names no key'
refuses "the key of a secret" "a key of its own, not $secret_key, which is in KeyId= of the secret db-password" '[Kms]' "Keys=$app $secret_key"
refuses "a lock" 'LockPcr= is set' '[Unseald]' 'LockPcr=8' '[Kms]' "Keys=$app"
status=0
printf '%s\n' '[Kms]' "Keys=$app" >"$scratch/config/unseald.conf"
"$build/daemon/unseald-kms" --vendor-configuration="$scratch/config" --configuration=/nonexistent >"$scratch/said" 2>&1 || status=$?
assert_equal "without socket: exit status" "$status" 2
assert_line "without socket" "$scratch/said" 'systemctl start unseald-kms.socket'

layer_new '[Kms]' "Keys=$app $ungranted" 'Units=app.service app@*.service' 'RequestsPerSecond=100' \
    'Operations=Decrypt DescribeKey Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext' \
    'Operations=GenerateDataKeyWithoutPlaintext GenerateRandom ReEncrypt'
layer_secret db-password "$secret_key" "$scratch/db-password"
cp "$top/tests/integration/cases.py" "$top/tests/integration/kms-endpoint.py" "$layer/usr/lib/machine/"
jq -n --arg key "$app" --arg other "$other" --arg ungranted "$ungranted" --arg plaintext "$plaintext" --arg sealed "$(seal "$app" '{"tenant": "42"}')" \
    --arg of_other "$(seal "$other" '{}')" --arg foreign "$(seal "$ungranted" '{}')" --arg document "$(base64 -w0 "$scratch/document")" \
    '{key: $key, other_key: $other, ungranted: $ungranted, plaintext: $plaintext, sealed: $sealed, of_other_key: $of_other, foreign: $foreign,
      document: $document, limit: 100, group: "system.slice/app.service", outside: "system.slice/stranger.service",
      units: [range(1; 6) | "app@edge\(.).service"]}' >"$layer/usr/lib/machine/facts"
install -d "$layer/usr/lib/systemd/system/unseald-kms.service.d"
printf '[Service]\nExecStart=\nExecStart=/usr/lib/unseald/unseald-kms --idle=5s\n' >"$layer/usr/lib/systemd/system/unseald-kms.service.d/idle.conf"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
exec >/out/extra 2>&1
set -x
. /usr/lib/machine/units
state() { systemctl is-active unseald-kms.socket unseald-kms.service | tr '\n' ' ' >"/out/state-$1"; }
# client UNIT CASE...: runs the cases in a unit of that name
client() {
    unit=$1
    shift
    unloaded "$unit"
    systemd-run --quiet --wait --collect --unit="$unit" --property=StandardOutput=append:/out/clients --property=StandardError=append:/out/clients \
        /usr/bin/python3 /usr/lib/machine/kms-endpoint.py /usr/lib/machine/facts "$@"
}
systemctl preset unseald-kms.socket
systemctl is-enabled unseald-kms.socket >/out/enabled
state before
# Only for the group, as udev has it for /dev/tpm0.
chgrp unseald /platform/tpm.sock /platform/tpm.sock.ctrl
chmod 0660 /platform/tpm.sock /platform/tpm.sock.ctrl
systemctl start unseald-kms.socket
state listening
unsealctl doctor >/out/doctor 2>&1
client app@1.service decrypt operations socket_of_ipv6
state asked
# The service ends the connections of slow clients after ten seconds, meanwhile.
systemd-run --quiet --unit=app@slow.service --property=StandardOutput=append:/out/slow --property=StandardError=append:/out/slow \
    /usr/bin/python3 /usr/lib/machine/kms-endpoint.py /usr/lib/machine/facts slow
pid=$(systemctl show -P MainPID unseald-kms.service)
ps -o uid=,supgrp:64= -p "$pid" >/out/process
cat "/proc/$pid/status" >/out/status
systemctl show unseald-kms.service >/out/show-unseald-kms.service
systemd-analyze security --no-pager unseald-kms.service >/out/security
client app@2.service errors_of_kms own_recipient refused answer_of_another_key connection headers
client app@3.service smuggling limit
client stranger.service stranger stranger_with_ipv6
# Groups for those that move, with a process each, which keeps them.
keeps app.service
keeps stranger.service
for i in 1 2 3 4 5; do keeps "app@edge$i.service"; done
systemd-run --quiet --wait --collect --unit=mover-in.service --property=StandardOutput=append:/out/clients --property=StandardError=append:/out/clients \
    /usr/bin/python3 /usr/lib/machine/kms-endpoint.py /usr/lib/machine/facts moves_in
systemd-run --quiet --wait --collect --unit=mover-out.service --property=StandardOutput=append:/out/clients --property=StandardError=append:/out/clients \
    /usr/bin/python3 /usr/lib/machine/kms-endpoint.py /usr/lib/machine/facts moves_out
# While a client that is not permitted floods the socket, a permitted one is served.
systemd-run --quiet --unit=flood.service --property=StandardOutput=append:/out/flood --property=StandardError=append:/out/flood --property=LimitNOFILE=4096 \
    /usr/bin/python3 /usr/lib/machine/kms-endpoint.py /usr/lib/machine/facts flood
client app@4.service decrypt
while systemctl is-active --quiet flood.service app@slow.service; do sleep 0.1; done
# 256 connections of a unit and 1024 in all, when no other client has any. One process makes all of them, and moves from unit to unit.
systemd-run --quiet --wait --collect --unit=mover-edge.service --property=StandardOutput=append:/out/clients --property=StandardError=append:/out/clients \
    --property=LimitNOFILE=4096 /usr/bin/python3 /usr/lib/machine/kms-endpoint.py /usr/lib/machine/facts edge_of_unit edge_of_all
client app@5.service decrypt
# What is left in memory when all is answered. The request of a client has the ciphertext, and the answer had the plaintext.
python3 - "$pid" >/out/memory <<'PYTHON'
import base64, json, sys
facts = json.load(open("/usr/lib/machine/facts"))
needles = {"plaintext": facts["plaintext"].encode(), "plaintext in base64": base64.b64encode(facts["plaintext"].encode())[:-4], "control": facts["key"].encode()}
found = dict.fromkeys(needles, 0)
with open(f"/proc/{sys.argv[1]}/maps") as maps, open(f"/proc/{sys.argv[1]}/mem", "rb", 0) as memory:
    for line in maps:
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        try:
            memory.seek(start)
            data = memory.read(end - start)
        except (OSError, ValueError, OverflowError):
            continue
        for name, needle in needles.items():
            found[name] += data.count(needle)
print(*(f"{name}: {count}" for name, count in found.items()), sep="\n")
PYTHON
systemctl stop stranger.service app.service 'app@edge*.service'
until [ "$(systemctl is-active unseald-kms.service)" = inactive ]; do sleep 0.1; done
state idle
client app@6.service decrypt
state again
systemctl stop unseald-kms.socket unseald-kms.service
journalctl --sync
journalctl -q -t unseald-kms -o json >/out/journal-kms.json
journalctl -q -x -t unseald-kms -o short-monotonic --no-hostname >/out/journal-kms
systemctl --failed --no-legend --plain >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
cat "$out/clients"

assert_equal "asked again" "$(cat "$out/state-again")" 'active active '
assert_equal "cases" "$(tr '\n' ' ' <"$out/clients")" \
    'decrypt: ok operations: ok socket_of_ipv6: ok errors_of_kms: ok own_recipient: ok refused: ok answer_of_another_key: ok connection: ok headers: ok smuggling: ok limit: ok stranger: ok stranger_with_ipv6: ok moves_in: ok moves_out: ok decrypt: ok edge_of_unit: ok edge_of_all: ok decrypt: ok decrypt: ok '
assert_equal "slow clients" "$(cat "$out/slow")" 'slow: ok'
assert_equal "the flood" "$(tail -n 1 "$out/flood")" 'flood: ok'

assert_line "what doctor says" "$out/doctor" 'kms-endpoint +unseald-kms.socket: It listens for 2 unit\(s\), which may use 2 key\(s\)'
say "the process"
# A user of its own with the TPM's group.
assert_socket_service "$out" unseald-kms.service '^ *[0-9]{5} .*unseald'
assert_line "seccomp" "$out/status" '^Seccomp:\s+2$'
# Only CAP_IPC_LOCK, number 14.
assert_line "capabilities" "$out/status" '^CapEff:\s+0000000000004000$'
assert_line "locked memory" "$out/status" '^VmLck:\s+[1-9][0-9]* kB$'

say "the journal: who has asked for what, and no content"
jq -es --arg key "$app" 'any(.[]; .UNSEALD_UNIT == "app@1.service" and .UNSEALD_OPERATION == "Decrypt" and .UNSEALD_KEY == $key and
    .MESSAGE_ID == "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a70" and (.UNSEALD_KMS_REQUEST_ID | length) == 36)' "$out/journal-kms.json" >/dev/null ||
    die "no entry of the first request: $(head -n 5 "$out/journal-kms")"
# The same requests, by their IDs, are in the trail of KMS.
platform log >"$scratch/log.json"
jq -r 'select(.MESSAGE_ID == "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a70") | .UNSEALD_KMS_REQUEST_ID' "$out/journal-kms.json" | sort >"$scratch/told"
jq -r '.requestID' "$scratch/log.json" | sort >"$scratch/trail"
assert_equal "requests that are not in KMS's trail" "$(comm -23 "$scratch/told" "$scratch/trail")" ''
[ "$(wc -l <"$scratch/told")" -gt 10 ] || die "too few entries: $(cat "$scratch/told")"
assert_line "the catalog's words" "$out/journal-kms" 'Subject: Unit app@1\.service got Decrypt from KMS'
assert_line "why a stranger gets nothing" "$out/journal-kms" 'stranger\.service is not in Units= of \[Kms\]'
[ "$(grep -c 'flood.service is not in Units=' "$out/journal-kms")" -lt 200 ] || die "the flood fills the journal"
# The control: the trail has the agent of a request.
assert_line "the agent of unseald-kms" "$scratch/log.json" '"userAgent": ?"unseald/'
assert_no_line "what a client sent as headers, in KMS's trail" "$scratch/log.json" 'evil-'

say "canary: $plaintext"
assert_line "the control: a key's ARN is in memory" "$out/memory" '^control: [1-9]'
assert_equal "plaintext in memory" "$(grep '^plaintext' "$out/memory")" $'plaintext: 0\nplaintext in base64: 0'
assert_absent "plaintext in the journal and in what the clients saw" "$plaintext" "$out/journal-kms.json" "$out/journal" "$out/clients"
assert_absent "plaintext in base64" "$(printf %s "$plaintext" | base64 -w0)" "$out/journal-kms.json" "$out/journal" "$out/clients"
