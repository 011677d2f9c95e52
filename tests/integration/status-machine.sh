#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# "unsealctl status" and the report on the console, under systemd: with a /run that is full, after a stop, and after a failure for good.
. "$(dirname "$0")/lib.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
canary=canary-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
printf %s "$canary" >"$scratch/secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$scratch/secret"

layer_new
layer_secret db-password "$key" "$scratch/sealed"
printf '%s\n' '[Deliver]' Units=billing.service >>"$layer/usr/lib/unseald/secrets.d/db-password.secret"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
# see NAME [OPTION...]: the output of "unsealctl status" is /out/NAME, with its exit status in the last line
see() { name=$1 && shift && unsealctl status "$@" >"/out/$name" 2>&1; echo "exit status $?" >>"/out/$name"; }
see published
see published-wait --wait --timeout=60s
systemctl start unseald-report.service
systemctl show -p Result unseald-report.service >/out/report-result

# From here on /run takes nothing more.
used=$(findmnt -bno USED /run)
mount -o remount,size="$((used / 1024 + 64))k" /run
# A service that ends frees a block: the journal's file on its output. Where the new status file got that block, /run is filled once more.
# The pages of each old file stay, so that its removal makes no room.
for try in 1 2 3 4 5 6 7 8; do
    ln /run/unseald/status.json "/run/unseald/held.$try"
    dd if=/dev/zero bs=4k >>/run/fill 2>/dev/null
    systemctl restart unseald.service
    [ -e /run/unseald/status.json ] || break
done
stat -c %s /run/fill >/out/filled
ls /run/unseald/status.json >/out/full-file 2>&1
see full
see full-json --json
systemctl stop unseald.service unseald-forget.service
see full-stopped
rm /run/fill /run/unseald/held.*
mount -o remount,size=50% /run
systemctl start unseald.service
see again
systemctl stop unseald.service unseald-forget.service
see stopped
see stopped-wait --wait --timeout=60s
rm /run/unseald/status.json
see stopped-without-file
END
chmod +x "$layer/usr/lib/machine/extra"
out=$scratch/good
machine_boot "$out"
# ends NAME STATUS: shows what status printed, and compares its exit status
ends() {
    printf '\n== %s\n' "$1"
    cat "$out/$1"
    assert_equal "exit status of $1" "$(tail -n 1 "$out/$1")" "exit status $2"
}
ends published 0
assert_line "Units= and who loads it" "$out/published" '^db-password +billing\.service +billing\.service$'
ends published-wait 0
assert_equal "a report where nothing failed" "$(cat "$out/report-result")" 'Result=success'
assert_no_line "nothing on the console" "$out/console" 'unseald has FAILED|unseald waits for'
[ "$(cat "$out/filled")" -gt 0 ] || die "/run was not full"
assert_line "no untrue file is left" "$out/full-file" 'No such file'
ends full 0
assert_line "what the service manager knows" "$out/full" '^unsealed: All required secrets are published\. The status file is missing'
ends full-json 0
assert_equal "in JSON" "$(sed '$d' "$out/full-json" | jq -r .state)" unsealed
ends full-stopped 5
ends again 0
ends stopped 5
ends stopped-wait 5
ends stopped-without-file 5

say "a failure for good"
other=$(pcr 4 | tr 0-9a-f 1-9a-f0)
vendor_put_policy "$key" "$other" "$(pcr 12)"
layer_new ExpectedMeasurements=/usr/lib/unseald/pcr_measurements.json
# The appliance's journal forwards little to the console. The report must be part of that.
install -D -m 644 -t "$layer/usr/lib/systemd/journald.conf.d" "$top/kiwi/root/usr/lib/systemd/journald.conf.d/appliance.conf"
jq -n --arg pcr4 "$other" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4}}' >"$layer/usr/lib/unseald/pcr_measurements.json"
layer_secret db-password "$key" "$scratch/sealed"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
see() { name=$1 && shift && unsealctl status "$@" >"/out/$name" 2>&1; echo "exit status $?" >>"/out/$name"; }
see failed --wait=db-password
# ends_after TIME: waits for the end of a report that is later than this; prints when it ended
ends_after() {
    until ended=$(systemctl show -P ExecMainExitTimestampMonotonic unseald-report.service) && [ "$ended" -gt "$1" ] &&
        [ "$(systemctl show -P ActiveState unseald-report.service)" = inactive ]; do sleep 0.1; done
    echo "$ended"
}
first=$(ends_after 0)
mkdir -p /run/systemd/system/unseald-report.timer.d
printf '%s\n' '[Timer]' OnActiveSec= OnActiveSec=1s >/run/systemd/system/unseald-report.timer.d/soon.conf
systemctl daemon-reload
systemctl restart unseald-report.timer
until [ "$(systemctl show -P SubState unseald-report.timer)" = elapsed ]; do sleep 0.1; done
ends_after "$first"
systemctl show -p Result unseald-report.service >/out/report-result
journalctl --sync
journalctl -o cat -u unseald-report.service _TRANSPORT=stdout >/out/report
END
chmod +x "$layer/usr/lib/machine/extra"
out=$scratch/failed
machine_boot "$out"
ends failed 3
cat "$out/report"
assert_equal "the report" "$(cat "$out/report-result")" 'Result=success'
for what in 'unseald has FAILED for good' "measured $(pcr 4)" "expected $other" 'AccessDeniedException' 'KMS denies access to the key:' \
    'put its new values into the key'; do
    assert_line "on the console" "$out/console" "$what"
done
assert_equal "reports, though the timer has elapsed, too" "$(grep -c 'unseald has FAILED for good' "$out/report")" 1
[ "$(wc -l <"$out/report")" -le 60 ] || die "the report has $(wc -l <"$out/report") lines"
# Whatever the sandbox of the unit takes away, doctor examines the machine.
assert_line "doctor in its sandbox" "$out/report" '^An examination of this machine finds'

say "a wait: unseald is starting all the time, and the report comes nevertheless"
MACHINE_LIMIT=1 layer_new
layer_secret db-password "$key" "$scratch/sealed"
sed -i -e 's|^LoadCredential=.*|LoadCredential=db-password:/run/unseald/credentials.sock|' -e /unsealed.target/d "$layer/usr/lib/systemd/system/billing.service"
mkdir "$layer"/usr/lib/systemd/system/{unseald-report.timer.d,sockets.target.wants}
ln -s ../unseald.socket "$layer/usr/lib/systemd/system/sockets.target.wants/"
printf '%s\n' '[Timer]' OnActiveSec= OnActiveSec=2s >"$layer/usr/lib/systemd/system/unseald-report.timer.d/soon.conf"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
end=$(($(date +%s) + 100))
until [ "$(systemctl show -P ExecMainExitTimestampMonotonic unseald-report.service)" != 0 ] || [ "$(date +%s)" -gt "$end" ]; do sleep 0.1; done
systemctl show -P ActiveState unseald.service >/out/unseald-state
# Once unseald has seen the unit that waits, a report names it. The service manager starts none beside that of the timer.
until { jq -e .callers /run/unseald/status.json && [ "$(systemctl show -P ActiveState unseald-report.service)" = inactive ]; } >/dev/null 2>&1 || [ "$(date +%s)" -gt "$end" ]; do sleep 0.1; done
systemctl start unseald-report.service
END
chmod +x "$layer/usr/lib/machine/extra"
platform machine-netns create
out=$scratch/waits
MACHINE_NETNS=$PLATFORM_MACHINE_NETNS machine_boot "$out"
assert_line "the wait, on the console" "$out/console" 'unseald waits for .* since '
assert_line "the unit that waits, on the console" "$out/console" 'billing\.service waits for db-password since'
assert_equal "unseald" "$(cat "$out/unseald-state")" activating
assert_absent "the secret" "$canary" "$scratch"/*/console "$scratch"/*/journal "$scratch"/*/status.json
