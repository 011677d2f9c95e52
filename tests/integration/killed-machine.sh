#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGKILL ends unseald again and again while a machine boots under a real systemd, with and without LockPcr=. In the end the
# application runs with its credential, and it never had another one. UNSEALD_TEST_KILLS= is the number of kills per machine.
. "$(dirname "$0")/lib.sh"
kills=${UNSEALD_TEST_KILLS:-6}
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'Hello World' | vendor_seal "$key" db-password "$scratch/db-password"
locked=$({ head -c 48 /dev/zero && printf 'unseald lock v1' | openssl sha384 -binary; } | openssl sha384 -binary | xxd -p -c 96)

for lock in '' LockPcr=15; do
    # The report waits until all kills are over.
    MACHINE_LIMIT=$((30 + 3 * kills)) layer_new $lock
    layer_secret db-password "$key" "$scratch/db-password"
    install -d "$layer/usr/lib/systemd/system/unseald.service.d"
    printf '%s\n' '[Service]' RestartSec=50ms >"$layer/usr/lib/systemd/system/unseald.service.d/quick.conf"
    cat >"$layer/usr/lib/systemd/system/killer.service" <<END
[Unit]
DefaultDependencies=no
After=dbus.socket
Before=report.service
[Service]
Type=oneshot
ExecStart=/usr/lib/machine/killer
END
    cat >"$layer/usr/lib/machine/killer" <<END
#!/bin/bash
for ((i = 0; i < $kills; i++)); do
    usec=\$((RANDOM * 60))
    sleep "\$((usec / 1000000)).\$(printf %06d \$((usec % 1000000)))"
    systemctl kill --kill-who=main --signal=KILL unseald.service
done
END
    chmod +x "$layer/usr/lib/machine/killer"
    sed -i 's/^Wants=.*/& killer.service/' "$layer/usr/lib/systemd/system/machine.target"
    # Long enough for the next process to bring up the target and the application.
    cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
. /usr/lib/machine/units
wait_until 'all are active' states_are 'active active active' unseald.service unsealed.target billing.service
systemctl is-active unseald.service unsealed.target billing.service >/out/active
systemctl show -P NRestarts unseald.service >/out/restarts
journalctl --sync
journalctl -q -b -u unseald -o cat >/out/journal-end
END
    chmod +x "$layer/usr/lib/machine/extra"
    out=$scratch/out$lock
    machine_boot "$out"
    assert_equal "unseald, its target, the application${lock:+ ($lock)}" "$(xargs <"$out/active")" 'active active active'
    assert_equal "what the application read${lock:+ ($lock)}" "$(cat "$out/application")" \
        "$(printf 'Hello World' | sha256sum | cut -d' ' -f1)"
    [ -z "$lock" ] || assert_equal 'PCR15' "$(pcr 15)" "$locked"
    say "${lock:-no LockPcr=}: $(cat "$out/restarts") restarts, $(grep -c 'kept over the restart' "$out/journal-end" || true) of them with what was kept"
done
