#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Units that wait at the credential socket are in the journal and in the status, by name. The network comes up only after both have
# named one. A user's own connection is never named: the socket is root's, and here the mode that keeps users away is taken off.
. "$(dirname "$0")/lib.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf late | vendor_seal "$key" db-password "$scratch/sealed"
layer_new DeadlineSec=5min
MACHINE_LIMIT=240
layer_secret db-password "$key" "$scratch/sealed" '[Deliver]' Units=billing.service Store=no
echo "$MACHINE_LIMIT" >"$layer/usr/lib/machine/limit"
mkdir -p "$layer/usr/lib/systemd/system/sockets.target.wants" "$layer/usr/lib/systemd/system/unseald.socket.d"
ln -s ../unseald.socket "$layer/usr/lib/systemd/system/sockets.target.wants/unseald.socket"
printf '%s\n' '[Socket]' SocketMode=0666 >"$layer/usr/lib/systemd/system/unseald.socket.d/open.conf"
# Not ordered after unsealed.target, so that it asks before unseald is ready.
cat >"$layer/usr/lib/systemd/system/billing.service" <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
LoadCredential=db-password:/run/unseald/credentials.sock
ExecStart=/usr/lib/machine/report application
END
cat >"$layer/usr/lib/systemd/system/watcher.service" <<'END'
[Service]
ExecStart=/usr/lib/machine/watcher
END
cat >"$layer/usr/lib/systemd/system/forger.service" <<'END'
[Unit]
Requires=unseald.socket
After=unseald.socket
Before=billing.service
[Service]
Type=notify
NotifyAccess=all
User=nobody
ExecStart=/usr/lib/machine/forger
END
cat >"$layer/usr/lib/machine/forger" <<'END'
#!/usr/bin/python3
import os, signal, socket
waiting = socket.socket(socket.AF_UNIX)
waiting.bind("\0abcdef/unit/forged.service/db-password")
waiting.connect("/run/unseald/credentials.sock")
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
END
cat >"$layer/usr/lib/machine/watcher" <<'END'
#!/bin/sh
until journalctl -q -o json MESSAGE_ID=a0a5e1c3b4f14d3c8f7f0d0e6b1c5a18 | grep -q billing.service &&
    jq -e .callers /run/unseald/status.json >/dev/null 2>&1; do sleep 0.2; done # the status may be written later than the entry
unsealctl status >/out/status-text
unsealctl report >/out/report-text
unsealctl report --json >/out/report.json
cp /run/unseald/status.json /out/waiting.json
systemctl is-active forger.service >/out/forger
touch /out/seen
END
chmod +x "$layer/usr/lib/machine/forger" "$layer/usr/lib/machine/watcher"
sed 's/billing.service/forger.service watcher.service &/' "$top/tests/integration/machine/machine.target" >"$layer/usr/lib/systemd/system/machine.target"

platform machine-netns create
out=$scratch/out
(
    until [ -e "$out/seen" ] || [ -e "$out/done" ]; do sleep 0.1; done
    platform machine-netns up
) &
at_exit end_process $!
MACHINE_NETNS=$PLATFORM_MACHINE_NETNS machine_boot "$out"
wait
grep -E 'waited for|Ready' "$out/journal-unseald"
[ -e "$out/seen" ] || die "the journal never named billing.service: $(cat "$out/journal-unseald")"
keep_status "$out/waiting.json"
assert_equal "the other user's connection waited too" "$(cat "$out/forger")" active

assert_line "the journal" "$out/journal-plain" ': billing\.service has waited for credential db-password for [0-9.a-z ]+, because unseald is not ready'
assert_equal "how often it says so" "$(grep -c 'has waited for credential' "$out/journal-plain")" 1
assert_line "the catalog" "$out/journal-unseald" 'Subject: Unit billing\.service waits for credential db-password'
assert_equal "fields" "$(jq -r 'select(.MESSAGE_ID == "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a18") | "\(.UNSEALD_UNIT) \(.UNSEALD_SECRET)"' "$out/journal.json")" \
    "billing.service db-password"
cat "$out/status-text"
assert_line "unsealctl status" "$out/status-text" '^  billing\.service waits for db-password since [0-9.a-z ]+$'
assert_line "unsealctl report" "$out/report-text" '^  billing\.service waits for db-password since [0-9.a-z ]+$'
assert_equal "callers of unsealctl report --json" "$(jq -r '.callers[] | "\(.unit) \(.credential)"' "$out/report.json")" "billing.service db-password"
assert_equal "callers of status.json" "$(jq -r '.callers[] | "\(.unit) \(.credential)"' "$out/waiting.json")" "billing.service db-password"
assert_no_line "the forged unit in the status" "$out/status-text" forged
assert_no_line "the forged unit's wait in the journal" "$out/journal-plain" 'forged.service has waited'

assert_equal "the application" "$(machine_show "$out" billing.service ActiveState)" active
assert_equal "what it read" "$(cat "$out/application")" "$(printf late | sha256sum | cut -d' ' -f1)"
assert_equal "callers once unseald is ready" "$(jq 'has("callers")' "$out/status.json")" false
