#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The walk of unseald.secret(5), "LATE SECRETS", by the lines of the page, under systemd: an application starts after unsealed.target
# while the message of a late secret is still to come, and model.service only when it is there, also if unseald is killed and restarted
# meanwhile. A message that fails holds up no unit. S3 gives only errors until the machine has looked: no order depends on time.
. "$(dirname "$0")/lib.sh"
page=$top/man/unseald.secret.5.rst
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'Hello World' | vendor_seal "$key" db-password "$scratch/db-password"
head -c 3000007 /dev/urandom >"$scratch/weights"
hash=$(sha256sum <"$scratch/weights" | cut -d' ' -f1)
platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=weights \
    -o "$scratch/weights.sealed" "$scratch/weights"

layer_new
layer_secret db-password "$key" "$scratch/db-password"
# from_page FILE: the lines of the page for a file of the machine, written below the layer's /usr/lib, with the key of this test
from_page() {
    install -d "$(dirname "$layer/usr/lib/$1")"
    sed -n '/^LATE SECRETS$/,/^ROLLBACK$/p' "$page" | awk -v file="# /etc/$1" '
        /^    # / { inside = $0 == "    " file; next } /^[^ ]/ { inside = 0 } inside' | sed -e 's/^ *//' -e "s|^KeyId=.*|KeyId=$key|" \
        >"$layer/usr/lib/$1"
    [ -s "$layer/usr/lib/$1" ] || die "the page has no lines for $1"
}
from_page systemd/system/model.service
from_page unseald/secrets.d/weights.secret
from_page unseald/unseald.conf.d/store.conf
object=$(sed -n 's|^Source=s3://||p' "$layer/usr/lib/unseald/secrets.d/weights.secret")
sed -i 's/^Wants=.*/& model.service/' "$layer/usr/lib/systemd/system/machine.target"
mkdir "$layer/usr/bin" "$layer/usr/lib/sysusers.d" "$layer/usr/lib/systemd/system/unseald.service.d"
echo 'u model - "The application that reads the late secret"' >"$layer/usr/lib/sysusers.d/model.conf"
printf '%s\n' '[Service]' RestartSec=50ms >"$layer/usr/lib/systemd/system/unseald.service.d/quick.conf"
cat >"$layer/usr/bin/model" <<'END'
#!/bin/sh
sha256sum "${1#--weights=}" >/out/.model 2>&1
status=$?
mv /out/.model /out/model
[ $status = 0 ] || exit $status
exec sleep infinity
END
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/bash
states() { systemctl is-active unseald.service unsealed.target billing.service unseald-late.service unsealed-late.target model.service | xargs; }
# see NAME: what is there by now
see() {
    {
        echo "states $(states)"
        echo "store $(ls /run/unseald/credentials | xargs)" # not the hidden file into which the message comes
        echo "model.service waits $(systemctl list-jobs -q model.service | grep -c waiting)"
        echo "model.service has run $(ls /out/model 2>/dev/null)"
    } >"/out/see-$1"
}
# settle STATES: waits for these states. If they never come, see shows what is.
settle() {
    n=0
    until [ "$(states)" = "$1" ] || [ $((n += 1)) -gt 1000 ]; do sleep 0.1; done
}
held='active active active activating inactive inactive'
if [ -e /usr/lib/machine/changed ]; then
    settle 'active active active failed inactive failed'
    systemctl show -P Result unseald-late.service >/out/late-result
    unsealctl status --wait --late >/out/status
    echo "exit status $?" >>/out/status
    until [ "$(systemctl show -P ExecMainExitTimestampMonotonic unseald-report.service)" != 0 ]; do sleep 0.1; done
else
    settle "$held"
    see held
    systemctl kill --kill-who=main --signal=KILL unseald.service
    until [ "$(systemctl show -P NRestarts unseald.service)" = 1 ]; do sleep 0.1; done
    settle "$held"
    see killed
    systemctl restart unseald.service
    settle "$held"
    see restarted
    touch /out/looked
    until [ -e /out/model ]; do sleep 0.1; done
fi
see end
stat -c '%U %a' /run/unseald/credentials/weights >/out/owner 2>&1
journalctl --sync
journalctl -q -b -o cat >/out/journal-end
END
chmod +x "$layer/usr/lib/machine/extra" "$layer/usr/bin/model"
# boot NAME: boots the machine. $out is what it writes.
boot() {
    out=$scratch/$1
    mkdir -p "$out"
    chmod 1777 "$out" # the application is not root
    machine_boot "$out"
    tail -n 9 "$out"/see-*
}
# saw NAME REGEX: a line of what the machine saw
saw() { assert_line "the machine, $1" "$out/see-$1" "^$2\$"; }

say "the message comes after the machine has looked"
platform object put "${object%%/*}" "${object#*/}" "$scratch/weights.sealed" >/dev/null
platform fault set s3 GetObject throttle --after 1
let_come() {
    until [ -e "$scratch/held/looked" ]; do sleep 0.1; done
    platform fault clear
}
let_come &
at_exit end_process $!
boot held
for when in held killed restarted; do
    saw "$when" 'states active active active activating inactive inactive'
    saw "$when" 'store db-password'
    saw "$when" 'model\.service waits 1'
    saw "$when" 'model\.service has run '
done
saw end 'states active active active active active active'
saw end 'store db-password weights'
assert_equal 'what the application read' "$(cut -d' ' -f1 "$out/model")" "$hash"
assert_equal 'the owner' "$(cat "$out/owner")" 'model 400'
assert_equal 'requests to KMS, over two restarts' "$(platform log | grep -c '"eventName": *"Decrypt"')" 2

say "a message that is changed behind its beginning: the application starts, finds no secret, and the console says why"
touch "$layer/usr/lib/machine/changed"
change_byte "$scratch/weights.sealed" 2000000
platform object put "${object%%/*}" "${object#*/}" "$scratch/weights.sealed" >/dev/null
boot changed
saw end 'states active active active failed inactive failed'
saw end 'store db-password'
assert_equal 'unseald-late.service' "$(cat "$out/late-result")" exit-code
assert_line 'status' "$out/status" '^exit status 3$'
assert_line 'the application has no secret' "$out/model" 'No such file'
assert_line 'the journal of unseald' "$out/journal-end" '^The late secret weights is not delivered: '
assert_line 'the journal of systemd' "$out/journal-end" 'Dependency failed for .*Late Secrets Unsealed'
assert_line 'the console' "$out/console" 'The late secret weights|weights: Frame'
