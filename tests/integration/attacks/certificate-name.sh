#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The error about an untrusted certificate quotes the name in it. A server that answers in KMS's place cannot use this name to
# send text to the service manager, the journal or a terminal.
. "$(dirname "$0")/direct.sh"
direct_start
declare_secret db-password "$key" "$scratch/sealed"

# Plays the service manager and prints every line that it receives.
cat >"$scratch/manager.py" <<'END'
import os, socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
print("listening", flush=True)
while True:
    message, descriptors, _, _ = socket.recv_fds(manager, 65536, 16)
    for descriptor in descriptors:
        os.close(descriptor)
    print(message.decode("utf-8", "backslashreplace"), flush=True)
END
chmod 711 "$scratch"
/usr/bin/python3 "$scratch/manager.py" "$scratch/notify" >>"$scratch/heard" &
notified=$!
at_exit end_process "$notified"
: >>"$scratch/heard"
# hears REGEX: waits until the manager has printed such a line, which it does some time after the message was sent
hears() {
    until grep -q -- "$1" "$scratch/heard"; do
        kill -0 "$notified" 2>/dev/null || die "the manager has ended: $(<"$scratch/heard")"
        [ $((looks += 1)) -lt 1000 ] || die "the manager has not heard '$1': $(<"$scratch/heard")"
        sleep 0.05
    done
}
looks=0
hears '^listening$'

# make_named NAME: a certificate under a root that unseald trusts, for no host, with this common name
make_named() {
    openssl req -utf8 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$scratch/named.key" 2>/dev/null |
        openssl x509 -req -days 2 -CA "$scratch/attacker.pem" -CAkey "$scratch/attacker.key" -CAcreateserial \
            -out "$scratch/named.pem" 2>/dev/null
}
make_authority attacker
cat "$PLATFORM_CA_FILE" "$scratch/attacker.pem" >"$scratch/both.pem"
cp "$PLATFORM_HOSTS" "$scratch/hosts"
sed "s/^$PLATFORM_KMS_ADDRESS /127.0.0.2 /" "$scratch/hosts" >"$PLATFORM_HOSTS"
wrapper=(env "NOTIFY_SOCKET=$scratch/notify" "${wrapper[@]}")

# met NAME: unseald meets a server of this name; $words is the error
met() {
    make_named "$1"
    attacker_start kms 127.0.0.2:443 --certificate "$scratch/named.pem" --private-key "$scratch/named.key" --key-id "$key"
    configure "TrustedCertificates=$scratch/both.pem"
    : >"$scratch/heard"
    unseald_start
    unseald_finish
    attacker_stop
    assert_equal "the exit status after $(printf %q "$1")" "$unseald_status" 51
    words=$(jq -r .error "$status_file")
    looks=0
    hears '^STATUS=Failed: '
}

# The control: the error quotes a harmless name, so it would quote an evil one too.
met 'another-name.example'
assert_match 'the error' "$words" 'another-name\.example'

met $'x\nREADY=1\nSTATUS=all well'
assert_match 'the error' "$words" 'x\?READY=1\?STATUS=all well'
assert_no_line 'what the service manager heard' "$scratch/heard" '^READY=1'
assert_no_line 'what the service manager heard' "$scratch/heard" '^STATUS=all well'

met $'x\e[2J\xc2\x9b2J'
assert_match 'the error' "$words" 'x\?\[2J\?2J'
! LC_ALL=C grep -q $'[\e\x9b]' "$scratch/heard" "$log" || die "an escape sequence was passed on"
