#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl doctor on a machine with a real systemd as PID 1. First all is well there, then units, the store and its owner are
# wrong.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'Hello World' | vendor_seal "$key" db-password "$scratch/db-password"
layer_new 'ExpectedMeasurements=user-data:/measurements'
layer_secret db-password "$key" "$scratch/db-password"
jq -n --arg pcr4 "$(pcr 4)" --arg pcr12 "$(pcr 12)" '{measurements: {Measurements: {PCR4: $pcr4, PCR12: $pcr12}}}' >"$scratch/user-data"
platform user-data "$scratch/user-data"

cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
# The swap belongs to the host. Other programs there may turn it on or off.
printf 'Filename\n' >/run/swaps
mount --bind /run/swaps /proc/swaps
doctor() {
    unsealctl doctor >"/out/$1" 2>&1
    echo "exit status $?" >>"/out/$1"
}
systemctl enable --quiet unseald.service
doctor well
mount -t tmpfs -o mode=0711 tmpfs /run/unseald/credentials
doctor covered
umount /run/unseald/credentials
chown games /run/unseald/credentials
doctor owned
chown unseald /run/unseald/credentials
printf '[Service]\nExecStart=true\nLoadCredential=api-token:/run/unseald/credentials/api-token\n' >/run/systemd/system/undeclared.service
mkdir /run/systemd/system/billing.service.d
printf '[Service]\nSetCredential=db-password:none\n' >/run/systemd/system/billing.service.d/fallback.conf
doctor consumers
rm -r /run/systemd/system/undeclared.service /run/systemd/system/billing.service.d
systemctl stop unsealed.target unseald.service
doctor stopped
# unseald fails for good. The cause is gone when doctor runs.
mkdir -p /etc/unseald
printf '[Unseald]\nDeadlineSec=never\n' >/etc/unseald/unseald.conf
systemctl start unseald.service 2>/dev/null
# The report of the failure examines the TPM, too. A device node has one user at a time, and the platform's TPM has not.
while [ -n "$(systemctl list-jobs --no-legend unseald-report.service)" ] || [ "$(systemctl is-active unseald-report.service)" = activating ]; do
    sleep 0.1
done
rm /etc/unseald/unseald.conf
doctor failed
END
chmod +x "$layer/usr/lib/machine/extra"
out=$scratch/out
machine_boot "$out"

# said NAME STATUS REGEX...: prints the output of a run, and finds a line for each regex
said() {
    local name=$1 status=$2 regex
    shift 2
    say "== $name"
    cat "$out/$name"
    assert_line "$name: exit status" "$out/$name" "^exit status $status\$"
    for regex; do assert_line "$name" "$out/$name" "$regex"; done
}
said well 0 '^ok configuration ' '^ok nitrotpm: ' '^ok role ' '^ok pcrs PCR4: As expected by user-data:/measurements' '^ok pcrs PCR12' \
    '^ok key db-password' '^ok key-policy db-password' '^ok store /run/unseald/credentials' '^ok socket ' '^ok consumers: Units load 1 credential' '^ok systemd: Version 25[2-9]' '^ok service unseald.service: Running' \
    '^ok status: unsealed' '^ok status db-password: published' '^0 failure\(s\), 0 warning\(s\), 0 skipped'
said covered 11 '^failure store .*noswap.*over it' '^ok service'
said owned 11 '^failure store .*belongs to user'
said consumers 78 '^failure consumers undeclared.service: /run/systemd/system/undeclared.service:3: .*api-token.*No secret' \
    '^warning consumers billing.service: .*SetCredential=' '^ok service'
said stopped 3 '^warning service .*Not running' '^note status: unseald was stopped'
said failed 78 '^failure service .*status 78: configuration'
assert_absent 'the plaintext' 'Hello World' "$out"
