#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A reload is killed, and fails, at each of its calls that others can see (preload/steps.c), under a real systemd. After each, the
# store, the credential socket with Units=, and status.json show all of the old set or all of the new one, the exit status of
# "systemctl reload" is true, and a restart changes nothing. A commit in pieces shows that the test would notice.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"

layer_new
machine=$layer/usr/lib/machine
for set in old new third; do
    mkdir -p "$layer/usr/share/sealed/$set" "$machine/$set"
    case $set in old) version=1 ;; new) version=2 ;; third) version=3 ;; esac
    for name in db-password api-key; do
        printf '%s' "$version" | vendor_seal "$key" "$name" "$layer/usr/share/sealed/$set/$name"
        printf '%s\n' '[Secret]' "Source=file:/etc/sealed/$name" "KeyId=$key" '[Deliver]' "Units=$set.service" >"$machine/$set/$name.secret"
    done
    [ "$set" != third ] || continue
    printf '%s' "$set-only" | vendor_seal "$key" "$set-only" "$layer/usr/share/sealed/$set/$set-only"
    printf '%s\n' '[Secret]' "Source=file:/etc/sealed/$set-only" "KeyId=$key" '[Deliver]' "Units=$set.service" >"$machine/$set/$set-only.secret"
done
rm -r "$machine/third"
install -m 755 "$top"/tests/integration/socket/{reload-steps,sets.py} "$machine/"
ln -s reload-steps "$machine/extra"
cp "$build/tests/integration/preload/libsteps.so" "$machine/steps.so"
# A process that starts after a kill finds other ciphertexts: if it unseals one of the two secrets anew, it gets version 3.
cat >"$machine/before-start" <<'SH'
#!/bin/sh
umask 022
if [ ! -d /etc/sealed ]; then
    mkdir -p /etc/unseald /run/steps
    cp -r /usr/lib/machine/old /etc/unseald/secrets.d
    cp -r /usr/share/sealed/old /etc/sealed
elif [ -e /run/steps/order ]; then
    cp -r /usr/share/sealed/third/. /etc/sealed/
fi
SH
chmod +x "$machine/before-start"
mkdir -p "$layer/usr/lib/systemd/system/unseald.service.d"
printf '%s\n' '[Service]' RestartSec=20ms ExecStartPre=+/usr/lib/machine/before-start Environment=LD_PRELOAD=/usr/lib/machine/steps.so \
    'ReadWritePaths=-/run/steps' >"$layer/usr/lib/systemd/system/unseald.service.d/test.conf"

out=$scratch/out
machine_boot "$out"
[ ! -e "$out/broken" ] || die "$(cat "$out/broken")"

# What the columns of a line must be. "kept" is the old set after a restart, which reads the new configuration.
judge() { # MODE
    awk -F'\t' -v mode="$1" '
        function wrong(why) { print mode " " $1 ", " $2 ": " why ": status " $3 ", " $4 ", after a restart " $5 ", said: " $6; failed = 1 }
        # The undisturbed reload.
        $2 == "" { if ($3 != 0 || $4 != "new") wrong("a reload without a disturbance"); last = 1; next }
        mode == "kill" && $4 != (committed ? "new" : $2 == "notify BARRIER=1" ? "new" : "kept") { wrong("not the wanted set") }
        mode == "kill" && $4 == "new" { committed = 1 }
        mode == "kill" && $3 == 0 { wrong("success although there was no answer") }
        mode == "fail" && $2 == "answer done" && $3 == 1 && $4 == "new" && $5 == "new" { next }
        mode == "fail" && $3 == 0 && !($4 == "new" || ($2 ~ /status.json$/ && $4 == "new, no status.json")) { wrong("success without the new set") }
        mode == "fail" && $3 == 0 && ($5 != "new" || $6 !~ /^Reloaded/) { wrong("the new set does not stay, or is not told") }
        mode == "fail" && $3 != 0 && ($4 != "old" || $5 != "kept" || $6 !~ /^The reload failed, and everything is as it was before: /) { wrong("a failure that changes something") }
        END { if (!last) { print mode ": no reload came to its end"; failed = 1 } exit failed }' "$out/$1"
}
table=$scratch/table
for mode in kill fail skip; do
    printf '\n%s, a reload with one call of it disturbed: %s\n' "$mode" "$(cut -f2 "$out/$mode" | grep -c .) calls"
    awk -F'\t' '{ printf "%3s %-45.45s systemctl %s  %-10s after a restart %-10s %s\n", $1, $2, $3, $4, $5, $6 }' "$out/$mode"
done >"$table"
cat "$table"
[ -z "${UNSEALD_TEST_RESULTS:-}" ] || cp "$table" "$UNSEALD_TEST_RESULTS/reload-steps.txt"

for mode in kill fail; do
    judge "$mode" || die "$mode: the outcome is neither all of the old set nor all of the new one, or it is not told truly"
    for call in 'notify FDSTORE=1 .*-db-password' 'notify FDSTORE=1 .*kept-[0-9]*' 'notify BARRIER=1' 'rename to db-password' 'unlink old-only' 'notify READY=1' 'answer done'; do
        [ "$(cut -f2 "$out/$mode" | grep -cx "$call")" -ge 1 ] || die "$mode: no reload was disturbed at '$call'"
    done
done

# The controls: a reload loses one message or one name, and goes on as if it had it.
[ "$(cut -f4,5 "$out/skip" | grep -cE '=')" = 3 ] || die "a commit in pieces is not noticed: $(cat "$out/skip")"
