#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Reloads under a real systemd: a reload replaces all secrets, or it changes nothing and its exit status says why. A .path unit
# tells the consumers. The steps run in the machine, in socket/reloads. UNSEALD_TEST_REQUESTS= is the number of requests during
# the reloads.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
for i in 1 2; do printf 'version %s' "$i" | vendor_seal "$key" db-password "$scratch/version-$i"; done
printf 'the other' | vendor_seal "$key" other "$scratch/other"

layer_new
layer_secret other "$key" "$scratch/other"
mv "$layer/usr/lib/unseald/secrets.d/other.secret" "$layer/usr/lib/unseald/secrets.d/other.disabled"
cp "$scratch"/version-? "$layer/usr/share/sealed/"
printf '%s\n' '[Secret]' Source=file:/etc/sealed "KeyId=$key" >"$layer/usr/lib/unseald/secrets.d/db-password.secret"
install -m 755 "$top"/tests/integration/socket/{reloads,ask.py} "$layer/usr/lib/machine/"
ln -s reloads "$layer/usr/lib/machine/extra"
echo "${UNSEALD_TEST_REQUESTS:-4000}" >"$layer/usr/lib/machine/soak"
cp "$top"/units/examples/billing-restart.{path,service} "$layer/usr/lib/systemd/system/"
mkdir -p "$layer/usr/lib/systemd/system/unseald.service.d" "$layer/usr/lib/tmpfiles.d"
printf '%s\n' '[Unit]' OnFailure=called.service '[Service]' RestartSec=100ms \
    'ExecStartPre=+/bin/sh -c "install -d -m 755 /etc/unseald /etc/unseald/secrets.d; [ -e /etc/sealed ] || install -m 644 /usr/share/sealed/version-1 /etc/sealed"' \
    >"$layer/usr/lib/systemd/system/unseald.service.d/test.conf"
printf '%s\n' '[Service]' Type=oneshot 'ExecStart=/bin/sh -c "echo called >>/out/called"' >"$layer/usr/lib/systemd/system/called.service"
cat >"$layer/usr/lib/systemd/system/billing.service" <<'END'
[Service]
LoadCredential=db-password:/run/unseald/credentials.sock
ExecStart=/bin/sh -c 'echo "$$(cat %d/db-password)" >>/out/consumer; exec sleep infinity'
END

mkdir "$scratch/out"
out=$scratch/out
(
    while sleep 0.1 && [ -d "$out" ]; do
        [ -e "$out/ask" ] || continue
        read -r -a request <"$out/ask"
        case ${request[0]} in
        deny) vendor_put_policy "$key" "$(printf '%096d' 0)" "$(pcr 12)" ;;
        *) platform "${request[@]}" ;;
        esac
        rm "$out/ask"
    done
) &
serving=$!
at_exit end_process "$serving"
machine_boot "$out"
end_process "$serving"
cat "$out/said"
assert_said() { assert_equal "$1" "$(sed -n "s/^$1: //p" "$out/said" | paste -sd';')" "$2"; }
one='version 1 right 1 wrong 1' two='version 2 wrong 1 right 1'
assert_said same "0 $one"
assert_said systemctl '0 version 2'
assert_said consumer 'version 1 version 2'
assert_said back "0 $one"
assert_said garbage "62 $one"
assert_said 'garbage by systemctl' 1
assert_said status active
assert_equal "status.json" "$(jq -r .state "$out/status-failed.json")" unsealed
assert_equal "the failed secret in status.json" "$(jq -r '.secrets[] | .name + " " + .state + " " + .failure' "$out/status-failed.json")" 'db-password published ciphertext'
assert_said configuration "78 $one"
assert_said more "0 $two;db-password other"
assert_said less "0 $two;db-password refused 1"
assert_said removed 1
assert_said again "0 $two;db-password refused 1"
assert_said there "0 $two"
assert_said gone "0 $two;/run/unseald/credentials/other 440 the other"
assert_said elsewhere "0 $two;db-password refused 1"
assert_said obstructed "0 $one;1"
assert_said unobstructed "0 $two"
assert_said 'a user' 1
assert_said 'two at once' '0 0'
assert_said meanwhile 'version 2 reloading'
assert_said 'the same process' yes
assert_said killed '1 version 2'
assert_said 'after the kill' "0 $two"
assert_said 'a reload' ''
assert_said called 1
assert_said 'no unseald' 1
assert_line "why it failed" "$out/words" 'everything is as it was before: .*DeadlineSec='
assert_line "that it ended" "$out/words" 'unseald ended, or could not answer, so the outcome of the reload is unknown'
assert_line "that it is not there" "$out/words" 'is not running'

say "under $(cat "$out/reloads") reloads:" "$(cat "$out/soak-before" "$out/soak-after" | paste -sd,)"
cat "$out/memory"
assert_equal "what was read under reloads" "$(cat "$out/soak-before" "$out/soak-after" | cut -d' ' -f1 | uniq)" right
rss() { sed -nE "$1s/.*RssAnon: ([0-9]+) kB.*/\1/p" "$out/memory"; }
[ "$(rss 2)" -le $(($(rss 1) + 1024)) ] || die "memory grew: $(cat "$out/memory")"
for text in 'version 1' 'version 2' 'the other'; do
    assert_absent "a plaintext" "$text" "$out"/journal* "$out"/status*.json "$platform_state"
done

say "under a lock"
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
layer_new LockPcr=8
layer_secret db-password "$key" "$scratch/version-1"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
unsealctl reload 2>/out/words
echo "$? $(cat /run/unseald/credentials/db-password) $(systemctl is-active unseald.service)" >/out/locked
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/locked"
assert_equal "a reload under a lock" "$(cat "$scratch/locked/locked")" '67 version 1 active'
assert_line "what it says" "$scratch/locked/words" 'Locked until the next boot'

verify=$(systemd-analyze verify --man=no "$top"/units/examples/billing-restart.{path,service} 2>&1 | grep -F billing-restart || true)
assert_equal "systemd-analyze verify" "$verify" ''
