#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The attestation service in a machine with a real systemd as PID 1: disabled by default, started by its socket, sandboxed,
# within its limits whatever clients do, and ended after a time without requests.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'the db-password' | vendor_seal "$key" db-password "$scratch/db-password"

layer_new '[Attestation]' 'Status=yes' 'PublicKey=/usr/lib/machine/chain.pem'
layer_secret db-password "$key" "$scratch/db-password"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=billing \
    -out "$layer/usr/lib/machine/chain.pem" 2>/dev/null
openssl genpkey -quiet -algorithm RSA -out "$scratch/rsa.pem" 2>/dev/null || openssl genrsa -out "$scratch/rsa.pem" 2>/dev/null
openssl pkey -in "$scratch/rsa.pem" -pubout -out "$layer/usr/lib/machine/rsa.pem"
cp "$PLATFORM_NITRO_ROOT" "$layer/usr/lib/machine/root.pem"
cp "$top/tests/integration/unseald-attest.py" "$layer/usr/lib/machine/"
install -d "$layer/usr/lib/systemd/system/unseald-attest.service.d"
printf '[Service]\nExecStart=\nExecStart=/usr/lib/unseald/unseald-attest --idle=2s\n' \
    >"$layer/usr/lib/systemd/system/unseald-attest.service.d/idle.conf"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
exec >/out/extra 2>&1
set -x
. /usr/lib/machine/units
state() { systemctl is-active unseald-attest.socket unseald-attest.service | tr '\n' ' ' >"/out/state-$1"; }
verify() {
    out=/out/verify-$1
    shift
    unsealctl verify --root=/usr/lib/machine/root.pem --url=http://127.0.0.1:8642 "$@" >"$out" 2>&1
    echo "exit status $?" >>"$out"
}
client() { /usr/bin/python3 /usr/lib/machine/unseald-attest.py 8642 "$@" >>/out/clients 2>&1; }

systemctl preset unseald-attest.socket
systemctl is-enabled unseald-attest.socket >/out/enabled
state before
# Only for the group, as udev has it for /dev/tpm0.
chgrp unseald /platform/tpm.sock /platform/tpm.sock.ctrl
chmod 0660 /platform/tpm.sock /platform/tpm.sock.ctrl
systemctl start unseald-attest.socket
state listening
client document
/usr/bin/python3 -c 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:8642/status").read().decode())' >/out/status-of-service
state asked
ps -o uid=,supgrp:64= -C unseald-attest >/out/process
verify good --public-key=/usr/lib/machine/chain.pem
verify key --public-key=/usr/lib/unseald/ca.pem
systemctl show unseald-attest.service >/out/show-unseald-attest.service
systemd-analyze security --no-pager unseald-attest.service >/out/security

# PublicKey= is empty: no document without the key.
mount --bind /dev/null /usr/lib/machine/chain.pem
verify no-key
umount /usr/lib/machine/chain.pem
# PublicKey= is an RSA key, to which KMS would encrypt.
mount --bind /usr/lib/machine/rsa.pem /usr/lib/machine/chain.pem
verify rsa-key
umount /usr/lib/machine/chain.pem
client garbage gone slow
# Until the limit allows another document.
sleep 10
client document
sleep 10
# After the last document the limit is in effect for ten seconds, and the service must not end before. On a busy machine the look may come
# too late, and is repeated. A service that ends after its two seconds would never be seen.
for i in 1 2 3 4 5; do
    client many
    sleep 3
    state limited
    ! grep -q inactive /out/state-limited || continue
    break
done
wait_until 'the service ends without requests' states_are inactive unseald-attest.service
state idle
client garbage
state again
# tell_status NAME: the answer to /status
tell_status() {
    /usr/bin/python3 -c 'import http.client as h; c = h.HTTPConnection("127.0.0.1", 8642); c.request("GET", "/status"); a = c.getresponse()
print(a.status, a.getheader("Retry-After"), a.read().decode())' >"/out/status-$1"
}
# ask_status METHOD: status, Allow, Content-Length and length of the answer to that method
ask_status() {
    /usr/bin/python3 -c 'import http.client as h, sys; c = h.HTTPConnection("127.0.0.1", 8642); c.request(sys.argv[1], "/status"); a = c.getresponse()
print(a.status, a.getheader("Allow"), int(a.getheader("Content-Length")) > 0, len(a.read()))' "$1" >"/out/status-$2"
}
ask_status HEAD head
ask_status POST post
mv /run/unseald/status.json /run/unseald/away
tell_status missing
echo '{' >/run/unseald/status.json
tell_status malformed
mv /run/unseald/away /run/unseald/status.json
# Status= has its default.
systemctl stop unseald-attest.service
sed '/^Status=/d' /usr/lib/unseald/unseald.conf >/run/without-status
mount --bind /run/without-status /usr/lib/unseald/unseald.conf
tell_status off
ask_status POST post-off
umount /usr/lib/unseald/unseald.conf
systemctl stop unseald-attest.socket unseald-attest.service
journalctl --sync
# By its identifier: journald knows no unit for the last entry of a process that has ended by the time it is read.
journalctl -q -x -t unseald-attest -o short-monotonic --no-hostname >/out/journal-attest
systemctl --failed --no-legend --plain >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
cat "$out/clients"

assert_equal "no requests, but the limit is still in effect" "$(cat "$out/state-limited")" 'active active '
assert_equal "asked again" "$(cat "$out/state-again")" 'active active '
assert_equal "clients that got the right answer" "$(cut -d: -f1 "$out/clients" | uniq | tr '\n' ' ')" \
    'document garbage gone slow document many garbage '

assert_equal "/status with Status=yes" "$(jq -r '.state, .secrets[0].name, (.secrets[0] | has("key_id"))' "$out/status-of-service")" \
    $'unsealed\ndb-password\nfalse'
assert_match "/status without a status file" "$(cat "$out/status-missing")" '^503 [0-9]+ .*unseald has not run in this boot'
assert_match "/status with a malformed file" "$(cat "$out/status-malformed")" '^503 [0-9]+ .*The status cannot be read'
assert_line "a malformed file in the journal" "$out/journal-attest" 'No status for 127\.0\.0\.1: .*status\.json is not a status file of unseald\.'
assert_equal "HEAD /status" "$(cat "$out/status-head")" '200 None True 0'
assert_match "POST /status" "$(cat "$out/status-post")" '^405 GET, HEAD True [1-9]'
assert_match "POST /status without Status=" "$(cat "$out/status-post-off")" '^404 None True [1-9]'
assert_match "/status without Status=" "$(cat "$out/status-off")" '^404 None .*no other path'

assert_socket_service "$out" unseald-attest.service '^ *6[1-5][0-9]{3} +unseald,'
assert_line "verify" "$out/verify-good" '^exit status 0$'
assert_line "the nonce" "$out/verify-good" '^  nonce +proved'
assert_line "the age" "$out/verify-good" '^  age +proved'
assert_line "the public key" "$out/verify-good" '^  public-key +proved'
assert_line "another key" "$out/verify-key" '^exit status 17$'
assert_line "no key, no document" "$out/verify-no-key" '^exit status 53$'
assert_line "an RSA key, no document" "$out/verify-rsa-key" '^exit status 53$'
assert_line "an RSA key in the journal" "$out/journal-attest" 'PublicKey=/usr/lib/machine/chain.pem is an RSA key, and KMS would encrypt secrets to it'
assert_line "no key in the journal" "$out/journal-attest" 'No attestation document for 127.0.0.1: PublicKey=/usr/lib/machine/chain.pem '

assert_line "who asked" "$out/journal-attest" 'Attestation document 1 is for 127\.0\.0\.1'
assert_line "the catalog's words" "$out/journal-attest" 'Subject: An attestation document was given'
assert_line "the end" "$out/journal-attest" 'It gave [0-9]+ documents and failed to make [0-9]+; [0-9]{3} requests were over the limit'
[ "$(wc -l <"$out/journal-attest")" -lt 1000 ] || die "requests fill the journal: $(wc -l <"$out/journal-attest") lines"
