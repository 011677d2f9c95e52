#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The rating of the units by systemd-analyze security, the sandbox of unseald's process, and the use of an idle unseald: some
# memory, and no processor time. UNSEALD_TEST_IDLE: how many seconds to watch (20).
. "$(dirname "$0")/lib.sh"
units=$install_root/usr/lib/systemd/system

# exposure ROOT WANTED: the exposure of unseald.service is at most WANTED
exposure() {
    local out
    out=$(systemd-analyze security --offline=yes --root="$1" unseald.service)
    grep '^✗' <<<"$out" | sed 's/  */ /g'
    out=$(sed -nE 's/.*exposure level for unseald.service: ([0-9.]+).*/\1/p' <<<"$out")
    say "exposure: $out"
    awk -v seen="$out" -v wanted="$2" 'BEGIN { exit !(seen != "" && seen <= wanted) }' || die "exposure: saw $out, wanted $2 or less"
}
say "systemd-analyze security, as installed"
exposure "$install_root" 2.0
say "with the drop-in for images in which unseald owns every secret"
mkdir -p "$scratch/root/usr/lib/systemd"
cp -r "$units" "$scratch/root/usr/lib/systemd/"
install -D -m 644 "$install_root/usr/share/doc/unseald/examples/unseald-own-files.conf" -t "$scratch/root/usr/lib/systemd/system/unseald.service.d"
exposure "$scratch/root" 1.5

platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'Hello World' >"$scratch/secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$scratch/secret"
MACHINE_LIMIT=60
layer_new
layer_secret db-password "$key" "$scratch/sealed" '[Deliver]' User=unseald Group=unseald
install -D -m 644 "$install_root/usr/share/doc/unseald/examples/unseald-own-files.conf" -t "$layer/usr/lib/systemd/system/unseald.service.d"
# The service manager of this container may not raise the limit of locked memory, so unseald needs the capability here.
printf '%s\n' '[Service]' CapabilityBoundingSet=CAP_IPC_LOCK AmbientCapabilities=CAP_IPC_LOCK \
    >"$layer/usr/lib/systemd/system/unseald.service.d/zz-container.conf"
echo "${UNSEALD_TEST_IDLE:-20}" >"$layer/usr/lib/machine/idle"
(cd "$units" && ls -d -- *.*) >"$layer/usr/lib/machine/units"
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
(cd /usr/lib/systemd/system && xargs systemd-analyze verify --man=no </usr/lib/machine/units >/out/verify 2>&1)
echo $? >/out/verify-status
# Units with the sandbox of ours show what they can write and execute; those called open-* lack ReadOnlyPaths=.
for unit in unseald unseald-attest unseald-documents unseald-forget unseald-kms unseald-late unseald-report unseald-volume@ unseald-volume-label@; do
    for kind in probe open; do
        { sed -n '/^\[Service\]/,/^\[Install\]/p' "/usr/lib/systemd/system/$unit.service" |
            grep -Ev '^(\[Install|Type=|Exec|Sockets=|Restart|NotifyAccess=|RemainAfterExit=|FileDescriptorStoreMax=|Standard|SyslogLevel=|Runtime.*Preserve=)' |
            if [ $kind = open ]; then grep -v '^ReadOnlyPaths='; else cat; fi
        printf '%s\n' Type=oneshot 'ExecStart=/bin/cat /proc/self/mountinfo' "StandardOutput=file:/out/$kind-${unit%@}"
        case $unit in unseald | unseald-report) echo RuntimeDirectoryPreserve=yes ;; esac; } >"/run/systemd/system/$kind-${unit%@}.service"
    done
done
systemctl daemon-reload
for unit in unseald unseald-attest unseald-documents unseald-forget unseald-kms unseald-late unseald-report unseald-volume unseald-volume-label; do systemctl start "probe-$unit" "open-$unit"; done
pid=$(systemctl show -P MainPID unseald.service)
cat /proc/$pid/mountinfo >/out/probe-itself
switches() { cat /proc/$pid/task/*/status | awk '/ctxt_switches/ { n += $2 } END { print n }'; }
cat /proc/$pid/status >/out/process
cat /proc/$pid/limits >/out/limits
cp /proc/$pid/smaps_rollup /out/smaps
before=$(switches)
sleep "$(cat /usr/lib/machine/idle)"
echo $(($(switches) - before)) >/out/switches
ls /proc/$pid/task | wc -l >/out/threads
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
assert_equal "unseald" "$(machine_show "$out" unseald.service ActiveState)" active
assert_equal "what the application read" "$(cat "$out/application")" "$(sha256sum <"$scratch/secret" | cut -d' ' -f1)"
assert_line "the secret's owner" "$out/store" '^/run/unseald/credentials/db-password 400 unseald:unseald$'

# unseald(8) promises 500 secrets, and a reload holds them twice.
assert_line "open files" "$out/limits" '^Max open files  *2048 '

assert_equal "systemd-analyze verify" "$(cat "$out/verify-status"): $(cat "$out/verify")" '0: '
for page in $(sed -n 's/^Documentation=//p' "$units"/*.* | tr ' ' '\n' | sed -nE 's/^man:([^(]*)\((.)\)$/man\2\/\1.\2/p' | sort -u); do
    [ -e "$install_root/usr/share/man/$page" ] || die "a unit names $page in Documentation=, which is missing"
done
say "systemd-analyze verify finds nothing in $(wc -l <"$layer/usr/lib/machine/units") units"

say "the process"
assert_line "seccomp" "$out/process" '^Seccomp:\s+2$'
assert_line "no new privileges" "$out/process" '^NoNewPrivs:\s+1$'
# Only CAP_IPC_LOCK, number 14, which the container needs.
assert_line "capabilities" "$out/process" '^CapEff:\s+0000000000004000$'
assert_line "core dumps" "$out/limits" '^Max core file size +0 +0 '
assert_equal "threads" "$(cat "$out/threads")" 1

say "nothing that can be written can be executed, and /run only where it must be"
# writable FILE: prints the mount points that the mountinfo has as writable; a mount hides those before it at the same place. /run/host is
# the container's.
writable() { awk '$5 !~ "^/run/host" { options[$5] = $6 } END { for (at in options) if (options[at] ~ /^rw/) print at, options[at] }' "$1" | sort; }
for unit in itself unseald unseald-attest unseald-documents unseald-forget unseald-kms unseald-late unseald-report unseald-volume unseald-volume-label; do
    [ -s "$out/probe-$unit" ] || die "the sandbox of $unit was not seen"
    assert_equal "what $unit can write and execute" "$(writable "$out/probe-$unit" | grep -v noexec)" ''
    assert_equal "what $unit can write" \
        "$(writable "$out/probe-$unit" | grep -Ev '^(/proc|/dev|/dev/[a-z]*|/tmp|/var/tmp|/run/unseald|/run/unseald/credentials|/run/unseald-labels|/run(/private)?/unseald-report) ')" ''
done
writable "$out/open-unseald" | grep -q '^/run ' || die "the control: /run is not writable without ReadOnlyPaths="
of() { awk -v name="$2:" '$1 == name { print $2 }' "$out/$1"; }
say "memory: at most $(of process VmHWM) KiB, idle $(of process VmRSS) KiB, of which private and dirty $(of smaps Private_Dirty) KiB, locked $(of smaps Locked) KiB"
say "context switches in ${UNSEALD_TEST_IDLE:-20} s: $(cat "$out/switches")"
assert_equal "wake-ups when idle" "$(cat "$out/switches")" 0
