#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# After a restart or a crash under a real systemd, unseald gets the secrets back from the service manager and asks neither the TPM
# nor KMS. A stop and a permanent failure forget the secrets.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
layer_new LockPcr=15
for name in db-password api-token; do
    printf 'the %s' "$name" | vendor_seal "$key" "$name" "$scratch/$name"
done
layer_secret db-password "$key" "$scratch/db-password"
layer_secret api-token "$key" "$scratch/api-token" '[Deliver]' 'User=games' 'Group=games' 'Mode=0440'

cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
. /usr/lib/machine/units
cd /run/unseald/credentials
look() {
    {
        stat -c '%n %a %U %i' *
        sha256sum *
    } >"/out/files-$1" 2>&1
    systemctl show -p ActiveState -p NFileDescriptorStore -p MainPID unseald.service >"/out/unit-$1"
    systemctl is-active unsealed.target billing.service >"/out/active-$1"
}
# The target stays active during a crash, so it is not enough to look at it.
settle() { wait_until 'unseald and its target are active' states_are 'active active' unseald.service unsealed.target; }
is_gone() { [ "$(systemctl show -P MainPID unseald.service)" != "$1" ]; }
mkdir -p /run/systemd/system/unseald.service.d
printf '[Service]\nRestartSec=100ms\n' >/run/systemd/system/unseald.service.d/quick.conf
systemctl daemon-reload
look first
# More restarts than a start limit would allow.
for n in 1 2 3 4 5 6 7 8; do
    pid=$(systemctl show -P MainPID unseald.service)
    systemctl kill --signal=KILL unseald.service
    wait_until 'the killed process is gone' is_gone "$pid"
    settle
done
look killed
systemctl restart unseald.service && settle
look restarted
systemctl daemon-reexec
systemctl restart unseald.service && settle
look reexec
cd /
systemctl restart run-unseald-credentials.mount && settle
cd /run/unseald/credentials
look mounted-anew
# A running unit keeps its credential; a unit that starts gets it.
systemctl restart billing.service
look application
cd /
journalctl --sync
journalctl -q -b -u unseald -o cat >/out/journal-restarts

# unseald forgets right after the stop; this start waits for that.
systemctl stop unseald.service unseald-forget.service
{ ls -A /run/unseald/credentials/ 2>/dev/null; sed -n 's/^ *"state"://p' /run/unseald/status.json; findmnt -no FSTYPE /run/unseald/credentials; } >/out/after-stop
systemctl show -p ActiveState -p NFileDescriptorStore unseald.service >/out/unit-stopped
systemctl is-active unseald-forget.service >>/out/unit-stopped

# A permanent failure: a second start, and then a configuration with an error.
systemctl start unseald.service
ls /run/unseald/credentials >/out/second-start
mkdir -p /etc/unseald && printf '[Unseald]\nRsaKeyBits=7\n' >/etc/unseald/unseald.conf
systemctl restart unseald.service
wait_until 'unseald has forgotten' states_are inactive unseald-forget.service
{ ls -A /run/unseald/credentials/ 2>/dev/null; findmnt -no FSTYPE /run/unseald/credentials; } >/out/after-failure
systemctl show -p ActiveState -p NFileDescriptorStore -p ExecMainStatus unseald.service >/out/unit-failed
systemctl --failed --no-legend --plain >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out


# state WHEN: the unit's properties, without those that differ at every start
state() { grep -v ^MainPID= "$out/unit-$1" | sort | xargs; }
kept='ActiveState=active NFileDescriptorStore=3'

for when in first killed restarted reexec mounted-anew; do
    assert_equal "$when: unseald" "$(state "$when")" "$kept"
    assert_equal "$when: the target, the application" "$(xargs <"$out/active-$when")" 'active active'
done
assert_line 'the files' "$out/files-first" '^api-token 440 games [0-9]+$'
assert_line 'the files' "$out/files-first" '^db-password 400 root [0-9]+$'
for when in killed restarted reexec; do
    assert_equal "$when: the very same files" "$(cat "$out/files-$when")" "$(cat "$out/files-first")"
done
assert_equal 'on the store mounted anew: the files but for their numbers' "$(sed -E 's/ [0-9]+$//' "$out/files-mounted-anew")" \
    "$(sed -E 's/ [0-9]+$//' "$out/files-first")"
assert_equal 'what the application read in the end' "$(cat "$out/application")" "$(printf 'the db-password' | sha256sum | cut -d' ' -f1)"
assert_equal 'unsealings in all of that' "$(grep -c '^Unsealing ' "$out/journal-restarts")" 1
assert_line 'the journal' "$out/journal-restarts" '^2 secret\(s\) were kept over the restart'
assert_no_line 'the journal' "$out/journal-restarts" '^Dropped'

# The mount stays, so that the directory below it stays hidden.
assert_equal 'after a stop: the store, the status, the mount' "$(tr -d '", ' <"$out/after-stop")" "stopped"$'\n'"$(store_type)"
assert_equal 'after a stop' "$(xargs <"$out/unit-stopped")" 'NFileDescriptorStore=0 ActiveState=inactive inactive'
assert_equal 'a start after that' "$(xargs <"$out/second-start")" 'api-token db-password'
assert_equal 'after a failure for good: the store, the mount' "$(cat "$out/after-failure")" "$(store_type)"
assert_equal 'after a failure for good' "$(state failed)" 'ActiveState=failed ExecMainStatus=78 NFileDescriptorStore=0'
assert_equal 'failed units' "$(cut -d' ' -f1 "$out/failed" | xargs)" 'unseald.service unseald.socket'
# KMS got the requests of two unsealings, of two secrets each.
assert_equal 'requests to KMS in all' "$(platform log | jq -r 'select(.eventName == "Decrypt") | .requestID' | wc -l)" 4
# The first start locked the PCR, and no later one did.
locked=$({ head -c 48 /dev/zero && printf 'unseald lock v1' | openssl sha384 -binary; } | openssl sha384 -binary | xxd -p -c 96)
assert_equal 'PCR15' "$(pcr 15)" "$locked"
