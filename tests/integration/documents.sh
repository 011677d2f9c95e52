#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Documents for applications, in a machine with a real systemd as PID 1: unseald-documents is disabled by default, started by its socket,
# sandboxed, and answers permitted units alone, each in its own name. The attacks of unseald-threat-model(7) on it are among the cases of
# documents.py.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'the db-password' | vendor_seal "$key" db-password "$scratch/db-password"

openssl ecparam -name prime256v1 -genkey -noout -out "$scratch/key.pem"
openssl req -x509 -newkey rsa:1024 -nodes -keyout "$scratch/rsa.pem" -out "$scratch/rsa.crt" -subj /CN=a 2>/dev/null
layer_new '[Documents]' 'Units=app.service app@*.service' 'RequestsPerSecond=5'
layer_secret db-password "$key" "$scratch/db-password"
cp "$PLATFORM_NITRO_ROOT" "$layer/usr/lib/machine/root.pem"
cp "$top/tests/integration/cases.py" "$top/tests/integration/documents.py" "$layer/usr/lib/machine/"
jq -n --arg key "$(openssl pkey -in "$scratch/key.pem" -pubout -outform DER | base64 -w0)" \
    --arg rsa "$(openssl pkey -in "$scratch/rsa.pem" -pubout -outform DER | base64 -w0)" \
    --arg certificate "$(openssl x509 -in "$scratch/rsa.crt" -outform DER | base64 -w0)" \
    '{key: $key, rsa: $rsa, rsa_certificate: $certificate, group: "system.slice/app.service", outside: "system.slice/stranger.service",
      units: [range(1; 6) | "app@edge\(.).service"]}' \
    >"$layer/usr/lib/machine/facts"
install -d "$layer/usr/lib/systemd/system/unseald-documents.service.d"
printf '[Service]\nExecStart=\nExecStart=/usr/lib/unseald/unseald-attest --local --idle=2s\n' \
    >"$layer/usr/lib/systemd/system/unseald-documents.service.d/idle.conf"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
exec >/out/extra 2>&1
set -x
. /usr/lib/machine/units
state() { systemctl is-active unseald-documents.socket unseald-documents.service | tr '\n' ' ' >"/out/state-$1"; }
# client UNIT CASE...: runs the cases in a unit of that name
client() {
    unit=$1
    shift
    unloaded "$unit"
    systemd-run --quiet --wait --collect --unit="$unit" --property=StandardOutput=append:/out/clients --property=StandardError=append:/out/clients \
        /usr/bin/python3 /usr/lib/machine/documents.py /usr/lib/machine/facts "$@"
}
systemctl preset unseald-documents.socket
systemctl is-enabled unseald-documents.socket >/out/enabled
state before
# Only for the group, as udev has it for /dev/tpm0.
chgrp unseald /platform/tpm.sock /platform/tpm.sock.ctrl
chmod 0660 /platform/tpm.sock /platform/tpm.sock.ctrl
unsealctl doctor >/out/doctor-off 2>&1
systemctl start unseald-documents.socket
state listening
unsealctl doctor >/out/doctor 2>&1
client app.service document verified forged refused
state asked
pid=$(systemctl show -P MainPID unseald-documents.service)
ps -o uid=,supgrp:64= -p "$pid" >/out/process
cat "/proc/$pid/status" >/out/status
systemd-analyze security --no-pager unseald-documents.service >/out/security
client app@1.service document forged web limit
client stranger.service stranger
# Groups for those that move, with a process each, which keeps them.
keeps app.service
keeps stranger.service
client mover-in.service moves_in
client mover-out.service moves_out
client mover-unknown.service unknown
# 64 connections of units, by one process, which moves from unit to unit.
for i in 1 2 3 4 5; do keeps "app@edge$i.service"; done
client mover-edge.service edge
systemctl stop stranger.service app.service 'app@edge*.service'
# While a crowd that is not permitted holds connections, a permitted unit is served.
mkfifo /run/served
systemd-run --quiet --unit=crowd.service --property=StandardOutput=append:/out/crowd --property=StandardError=append:/out/crowd \
    /usr/bin/python3 /usr/lib/machine/documents.py /usr/lib/machine/facts crowd
while ! grep -q 'all open' /out/crowd; do sleep 0.1; done
client app@2.service document
echo >/run/served
# Without clients it ends, and the next one starts it again.
while [ "$(systemctl is-active unseald-documents.service)" = active ]; do sleep 0.2; done
state idle
# One unit alone is permitted.
sed 's/^Units=.*/Units=alone.service/' /usr/lib/unseald/unseald.conf >/run/alone
mount --bind /run/alone /usr/lib/unseald/unseald.conf
client alone.service alone
client app.service stranger
systemctl stop unseald-documents.socket unseald-documents.service
umount /usr/lib/unseald/unseald.conf
journalctl --sync
journalctl -q -t unseald-attest -o json >/out/journal-documents.json
journalctl -q -x -t unseald-attest -o short-monotonic --no-hostname >/out/journal-documents
systemctl --failed --no-legend --plain >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
cat "$out/clients"

assert_equal "cases" "$(tr '\n' ' ' <"$out/clients")" \
    'document: ok verified: ok forged: ok refused: ok document: ok forged: ok web: ok limit: ok stranger: ok moves_in: ok moves_out: ok unknown: ok edge: ok document: ok alone: ok stranger: ok '
assert_line "doctor, before the socket was started" "$out/doctor-off" 'documents +unseald-documents.socket: Nothing listens on 127\.0\.0\.1:8644'
assert_line "what doctor says" "$out/doctor" 'documents +unseald-documents.socket: It listens for 2 unit\(s\)'

say "the process"
# A user of its own with the TPM's group.
assert_socket_service "$out" unseald-documents.service '^ *[0-9]{5} .*unseald'
assert_line "seccomp" "$out/status" '^Seccomp:\s+2$'
assert_line "no capabilities" "$out/status" '^CapEff:\s+0000000000000000$'

say "the journal: who got a document, and who did not"
jq -es 'any(.[]; .UNSEALD_UNIT == "app@1.service" and .MESSAGE_ID == "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a21")' "$out/journal-documents.json" >/dev/null ||
    die "no entry of the first document: $(head -n 5 "$out/journal-documents")"
assert_line "the catalog's words" "$out/journal-documents" 'Subject: An attestation document was given to unit app\.service'
assert_line "why a stranger gets nothing" "$out/journal-documents" 'No attestation document for stranger\.service: It is not in Units= of \[Documents\]'
assert_line "why a client of no unit gets nothing" "$out/journal-documents" \
    'No attestation document for a client of an unknown unit \(No such file or directory\): Only a client whose unit is known can be permitted'
assert_line "an RSA key" "$out/journal-documents" 'No attestation document for app\.service: public_key is an RSA key, and KMS would encrypt secrets to it'
