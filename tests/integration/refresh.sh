#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Refresh= under a real systemd, with a signed secret in S3: a changed object reaches the store, the credential socket and the
# restarted unit; an unchanged one asks nothing of KMS; a source that is gone changes nothing. The steps run in the machine, in
# socket/refreshes. An interval has at least a minute, so this takes some six minutes.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
openssl genpkey -quiet -algorithm ED25519 -out "$scratch/vendor.key"
openssl pkey -in "$scratch/vendor.key" -pubout -out "$scratch/vendor.pub"
for i in 1 2; do
    printf 'password %s' "$i" >"$scratch/plain"
    platform exec --as vendor -- "$build/daemon/unsealctl" seal --key="$key" --name=db-password --sign="$scratch/vendor.key" \
        --raw --secret-version="$i" --output="$scratch/version-$i" "$scratch/plain"
done
put() {
    platform object put sealed-secrets db-password "$scratch/version-$1"
    platform object put sealed-secrets db-password.sig "$scratch/version-$1.sig"
}
put 1

layer_new Refresh=1min
cp "$scratch/vendor.pub" "$layer/usr/lib/unseald/"
printf '%s\n' '[Secret]' Source=s3://sealed-secrets/db-password "KeyId=$key" SignedBy=/usr/lib/unseald/vendor.pub \
    >"$layer/usr/lib/unseald/secrets.d/db-password.secret"
install -m 755 "$top"/tests/integration/socket/{refreshes,ask.py} "$layer/usr/lib/machine/"
ln -s refreshes "$layer/usr/lib/machine/extra"
cp "$top"/units/examples/billing-restart.{path,service} "$layer/usr/lib/systemd/system/"
mkdir -p "$layer/usr/lib/systemd/system/unseald.service.d"
printf '%s\n' '[Service]' ExecStart= 'ExecStart=/usr/lib/unseald/unseald --debug' >"$layer/usr/lib/systemd/system/unseald.service.d/test.conf"
cat >"$layer/usr/lib/systemd/system/billing.service" <<'UNIT'
[Unit]
After=unsealed.target
[Service]
LoadCredential=db-password:/run/unseald/credentials.sock
ExecStart=/bin/sh -c 'echo "$$(cat %d/db-password)" >>/out/consumer; exec sleep infinity'
UNIT

mkdir "$scratch/out"
out=$scratch/out
(
    while sleep 0.1 && [ -d "$out" ]; do
        [ -e "$out/ask" ] || continue
        read -r -a request <"$out/ask"
        case ${request[0]} in
        put) put "${request[1]}" ;;
        count) platform log | jq -r --arg name "${request[1]}" 'select(.eventName == $name) | .requestID' | wc -l >"$out/count" ;;
        *) platform "${request[@]}" ;;
        esac
        rm "$out/ask"
    done
) &
serving=$!
at_exit end_process "$serving"
MACHINE_TIMEOUT=840 machine_boot "$out"
end_process "$serving"
cat "$out/said"
assert_said() { assert_equal "$1" "$(sed -n "s/^$1: //p" "$out/said" | paste -sd';')" "$2"; }
assert_said boot 'password 1 1'
assert_said unchanged 'password 1 1'
assert_said 'no refresh yet' '60000000 null'
assert_said 'the status file' 'same, unchanged null true'
assert_said 'unsealctl status' 1
assert_said 'status of a failure' 'failed db-password: s3://sealed-secrets/'
assert_said changed 'password 2 right 1 2'
assert_said consumer 'password 1 password 2'
assert_said gone 'password 2 2 active'
assert_said warnings 1
assert_said 'a reload during a fetch' '0 password 2 3'
assert_said 'a reload during a reload' '0 password 1 2 5'
for text in 'password 1' 'password 2'; do assert_absent "a plaintext" "$text" "$out"/journal* "$platform_state"; done

say "under a lock"
for check in unseald unsealctl; do
    mkdir -p "$scratch/locked/secrets.d"
    printf '%s\n' '[Unseald]' LockPcr=15 Refresh=1h >"$scratch/locked/unseald.conf"
    status=0
    case $check in
    unseald)
        mkdir -p "$scratch/store"
        "$build/daemon/unseald" --vendor-configuration="$scratch/locked" --configuration=/nonexistent \
            --store="$scratch/store" --status="$scratch/locked.json" 2>"$scratch/words" || status=$?
        ;;
    unsealctl) "$build/daemon/unsealctl" check --vendor-configuration="$scratch/locked" --configuration=/nonexistent >"$scratch/words" 2>&1 || status=$? ;;
    esac
    assert_equal "$check with Refresh= and LockPcr=" "$status" 78
    assert_line "why" "$scratch/words" 'unseald.conf:3: Refresh=: Expected nothing, since LockPcr= is set.*rotate by a reboot'
done
