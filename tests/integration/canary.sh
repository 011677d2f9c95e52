#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A machine unseals secrets whose bytes occur nowhere else. The secrets are then in the store (unless only the credential socket
# delivers them) and in the credentials of their units, and nowhere else, not even in unseald's memory. The key pair and the role's
# credentials are nowhere at all. canary.py searches, and its comment says why its result can be trusted.
. "$(dirname "$0")/lib.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"

mkdir "$scratch/secrets" "$scratch/out"
od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$scratch/secrets/db-password"
head -c 32 /dev/urandom >"$scratch/secrets/binary"
head -c 32 /dev/urandom >"$scratch/secrets/asked"
# The members of a bundle
od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$scratch/secrets/app.token"
head -c 32 /dev/urandom >"$scratch/secrets/app.key"
imds() {
    platform exec --as instance -- curl -sS --fail "$@"
}
token=$(imds -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' http://169.254.169.254/latest/api/token)
imds -H "X-aws-ec2-metadata-token: $token" \
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/$PLATFORM_INSTANCE_ROLE" >"$scratch/credentials"
jq -j .SecretAccessKey "$scratch/credentials" >"$scratch/secrets/.the role's secret key"
jq -j .Token "$scratch/credentials" >"$scratch/secrets/.the role's session token"

MACHINE_LIMIT=600
layer_new DeadlineSec=10min # the searches take long on a busy machine
for name in db-password binary asked; do
    vendor_seal "$key" "$name" "$scratch/$name" <"$scratch/secrets/$name"
    layer_secret "$name" "$key" "$scratch/$name"
done
jq -nc --rawfile token "$scratch/secrets/app.token" --arg key "$(base64 -w0 "$scratch/secrets/app.key")" \
    '{token: $token, key: {base64: $key}}' >"$scratch/app.json"
platform exec --as vendor -- "$build/daemon/unsealctl" seal --key="$key" --name=app --bundle="$scratch/app.json" --output="$scratch/app"
layer_secret app "$key" "$scratch/app" Format=bundle '[Member key]' '[Member token]' Store=no
# Only the credential socket delivers this one and the token of the bundle, to a unit that keeps them.
printf '%s\n' '[Deliver]' Store=no >>"$layer/usr/lib/unseald/secrets.d/asked.secret"
mkdir "$layer/usr/lib/systemd/system/sockets.target.wants"
ln -s ../unseald.socket "$layer/usr/lib/systemd/system/sockets.target.wants/"
# Type=exec: the start has ended when the unit has its credentials. That of Type=simple ends before.
printf '%s\n' '[Service]' Type=exec LoadCredential={asked,app.token}:/run/unseald/credentials.sock 'ExecStart=/bin/sleep infinity' \
    >"$layer/usr/lib/systemd/system/asks.service"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
systemctl start asks.service
journalctl --sync
journalctl -q -o export >/out/journal.export
touch /out/look
until [ -e /out/looked ]; do sleep 0.1; done
# Tries to get a core dump of a shell, which succeeds, and of unseald, which must not.
. /usr/lib/machine/units
ended() { [ "$(systemctl show -P Result "$1")" != success ]; }
systemd-run --quiet --unit=dumps -p LimitCORE=infinity -p RemainAfterExit=yes -p WorkingDirectory=/tmp sh -c 'kill -ABRT $$$$'
systemctl kill -s ABRT unseald.service
for unit in dumps unseald; do
    wait_until "$unit has ended" ended $unit.service
    systemctl show -P Result $unit.service >/out/aborted-$unit
done
END
chmod +x "$layer/usr/lib/machine/extra"
# The unit forbids core dumps. The drop-in allows them, so that unseald itself must prevent them. A later start would hide how it ended.
mkdir "$layer/usr/lib/systemd/system/unseald.service.d"
printf '%s\n' '[Service]' LimitCORE=infinity RestartSec=1h >"$layer/usr/lib/systemd/system/unseald.service.d/core.conf"

# KMS decrypts one of the secrets, and the others once the first search has ended.
platform fault set kms Decrypt throttle --after 1
{
    until [ -e "$scratch/out/found" ]; do sleep 0.1; done
    platform fault clear
} &
at_exit end_process $!
python3 "$(dirname "$0")/canary.py" "$scratch/out" "$PLATFORM_TRAIL" "$scratch/secrets" "$platform_state" "$layer" >"$scratch/canary.log" 2>&1 &
canary=$!
at_exit end_process "$canary"
# The searches take as long as the machine is busy.
MACHINE_TIMEOUT=800 machine_boot "$scratch/out"
status=0
wait "$canary" || status=$?
cat "$scratch/canary.log"
assert_equal "the application" "$(machine_show "$scratch/out" billing.service ActiveState)" active
[ "$status" = 0 ] || die "something is where it must not be"

assert_equal "a shell that aborts" "$(cat "$scratch/out/aborted-dumps")" core-dump
assert_equal "unseald when it aborts" "$(cat "$scratch/out/aborted-unseald")" signal
