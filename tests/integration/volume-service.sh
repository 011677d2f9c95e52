#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A volume from its file to the application: generator, service with its sandbox, udev and mount, under the service manager in a kernel of
# its own (user-mode Linux). One bit of a file's data is wrong, so the journal must name the volume. A second volume has no device: its
# application must not start. A third one is read-write, and new, and so is a fourth one, whose label keeps the ciphertext of its key. A socket
# unit that sends the key to anybody plays unseald, together with a service that waits for the label.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

mkdir -p "$scratch/tree"
echo 'a file' >"$scratch/tree/whole"
head -c 300K /dev/urandom >"$scratch/tree/broken"
"$top/tests/integration/volume_image.py" "$scratch/tree" weights "$scratch/image" "$scratch/key" >/dev/null
wrong=$(($(jq .data_blocks "$scratch/key") / 2))
/usr/bin/python3 - "$scratch/image" $((wrong * 4096)) <<'END_PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 1]))
END_PYTHON

# The units as installed, but with the paths of this build.
lib=$install_root/usr/lib
mkdir "$scratch/units"
sed "s|=/usr/lib/unseald/|=$lib/unseald/|; s|^InaccessiblePaths=.*||" "$lib/systemd/system/unseald-volume@.service" >"$scratch/units/unseald-volume@.service"
sed "s|\"/usr/lib/unseald/|\"$lib/unseald/|" "$lib/udev/rules.d/11-unseald-volume.rules" >"$scratch/11-unseald-volume.rules"
unit() { # NAME LINE...
    printf '%s\n' '[Unit]' DefaultDependencies=no "${@:2}" >"$scratch/units/$1"
}
sed "s|=/usr/lib/unseald/|=$lib/unseald/|; s|^InaccessiblePaths=.*||" "$lib/systemd/system/unseald-volume-label@.service" >"$scratch/units/unseald-volume-label@.service"
unit unsealed.target 'Wants=credentials.socket unseald.service' 'After=credentials.socket unseald.service'
unit unseald.service '[Service]' Type=oneshot RemainAfterExit=yes "ExecStart=/bin/bash $scratch/play"
cat >"$scratch/play" <<'END'
until [ -e /run/unseald-labels/kept ]; do sleep 0.1; done
stat -c 'RESULT label: %s bytes, mode %a' /run/unseald-labels/kept >/run/label
mkdir -p /run/unseald/sealed && echo ciphertext >/run/unseald/sealed/kept
END
unit credentials.socket '[Socket]' ListenStream=/run/unseald/credentials.sock Accept=yes
unit credentials@.service '[Service]' StandardOutput=socket "ExecStart=/bin/cat $scratch/key"
# A read-write volume takes any 32 bytes or more for its key, the text of the other's, too.
for volume in weights absent; do
    unit "$volume.service" "Wants=mnt-$volume.mount" "After=mnt-$volume.mount" "AssertPathIsMountPoint=/mnt/$volume" \
        '[Service]' Type=oneshot "ExecStart=/bin/sh -c 'cat /mnt/$volume/whole >/run/$volume'"
done
unit state.service Wants=mnt-state.mount After=mnt-state.mount AssertPathIsMountPoint=/mnt/state \
    '[Service]' Type=oneshot EnvironmentFile=/run/unseald-volume/state.env \
    "ExecStart=/bin/sh -c 'echo \$UNSEALD_VOLUME_COUNTER >>/mnt/state/openings'"
unit end.service 'After=weights.service absent.service state.service mnt-kept.mount' 'Wants=weights.service absent.service state.service mnt-kept.mount' '[Service]' Type=oneshot \
    StandardOutput=tty TTYPath=/dev/console "ExecStart=/bin/bash $scratch/end"
unit test.target 'Wants=systemd-udevd.service systemd-journald.service unsealed.target end.service'

echo "unsealctl=$install_root/usr/bin/unsealctl" >"$scratch/end"
cat >>"$scratch/end" <<'END'
export SYSTEMD_PAGER= SYSTEMD_COLORS=0
say() { printf 'RESULT %s\n' "$*"; }
say application: "$(cat /run/weights 2>&1)"
say other application: "$(systemctl show -P ActiveState absent.service) $(systemctl show -P AssertResult absent.service)" \
    "$([ -e /run/absent ] && echo ran)"
say mount: "$(findmnt -no FSTYPE,OPTIONS /mnt/weights | tr -s ' ')"
say node: "$(readlink -f /dev/mapper/unseald-weights)" "$(udevadm info -q property /dev/mapper/unseald-weights | grep -E '^ID_FS' | wc -l)"
say other service: "$(systemctl show -P ExecMainStatus unseald-volume@absent.service)"
cat /mnt/weights/broken >/dev/null 2>/run/error
say broken: "$(grep -o 'Input/output error' /run/error)"
udevadm settle
journalctl --sync
say journal: "$(journalctl -o cat --output-fields=MESSAGE MESSAGE_ID=a0a5e1c3b4f14d3c8f7f0d0e6b1c5a62 UNSEALD_VOLUME=weights | head -n 1)"
say opened: "$(journalctl -o cat MESSAGE_ID=a0a5e1c3b4f14d3c8f7f0d0e6b1c5a60 UNSEALD_VOLUME=weights | wc -l)"
say failed: "$(journalctl -o cat MESSAGE_ID=a0a5e1c3b4f14d3c8f7f0d0e6b1c5a61 UNSEALD_VOLUME=absent | head -n 1)"
say whole: "$(cat /mnt/weights/whole)"
systemctl restart unseald-volume@weights.service
say restarted: "$(systemctl show -P ActiveState unseald-volume@weights.service) $(findmnt -no SOURCE /mnt/weights)"
systemctl stop mnt-weights.mount
systemctl stop unseald-volume@weights.service
say stopped: "$(systemctl show -P ActiveState unseald-volume@weights.service), mappings: $(dmsetup ls | grep -c unseald.*weights)"
# The device that comes back starts the mount by itself.
systemctl start unseald-volume@weights.service
until findmnt /mnt/weights >/dev/null; do sleep 0.1; done
say again: "$(cat /mnt/weights/whole)"
say state: "$(cat /mnt/state/openings)" "$(findmnt -no FSTYPE,OPTIONS /mnt/state | tr -s ' ')"
say its node: "$(udevadm info -q property /dev/mapper/unseald-state | grep -c '^ID_FS')" "$(systemctl show -P StatusText unseald-volume@state.service)"
status() { "$unsealctl" status --json | jq -c '.volumes[]? | select(.name == "'"$1"'") | del(.text)'; }
say status: "$(status state) $("$unsealctl" status | grep '^state ' | tr -s ' ')"
say volumes of it: "$("$unsealctl" status --json | jq -c '[.volumes[].name]')"
say its devices: "$(for name in unseald unseald_tags unseald_part; do systemctl show -P ActiveState "dev-mapper-$name\\x2dstate.device"; done | tr '\n' ' ')"
systemctl stop unseald-volume@state.service
say in use: "$(systemctl show -P ActiveState unseald-volume@state.service)" "$(grep -c /mnt/state /proc/mounts)"
say status in use: "$("$unsealctl" status --json | jq -r '.volumes[] | select(.name == "state") | .state, .text' | tr '\n' ' ')"
systemctl start unseald-volume@state.service
say taken over: "$(systemctl show -P ActiveState unseald-volume@state.service)" "$(tr '\n' ' ' </run/unseald-volume/state.env)"
systemctl stop mnt-state.mount
systemctl stop unseald-volume@state.service
say status closed: "$(status state)"
say closed: "$(systemctl show -P ActiveState unseald-volume@state.service), mappings: $(dmsetup ls | grep -c unseald.*state)"
systemctl start state.service
say next: "$(tr '\n' ' ' </mnt/state/openings)"
# The store is a tmpfs only where the kernel's tmpfs has noswap.
mkdir /run/probe
say noswap: "$(mount -t tmpfs -o noswap tmpfs /run/probe 2>/dev/null && echo yes)" \
    "$([ -e /run/systemd/generator/run-unseald-credentials.mount.d/50-tmpfs.conf ] && echo tmpfs)"
cat /run/label
systemctl restart unseald-volume-label@kept.service
say label again: "$(systemctl show -P ActiveState unseald-volume-label@kept.service) $(cat /run/unseald-labels/kept)"
say what starts it: "$(systemctl show -P WantedBy unseald-volume-label@kept.service), $(systemctl list-units --all --plain --no-legend 'unseald-volume-label@*' | wc -l)"
say kept: "$(findmnt -no FSTYPE /mnt/kept)"
systemctl poweroff -f -f

END

uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-verity dm-integrity erofs
uml_boot service "$scratch/image" <<END
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /var
mkdir -p /var/log /etc/systemd/system /etc/systemd/system-generators /etc/unseald/volumes.d /etc/udev/rules.d
echo root:x:0:0::/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
for generator in /lib/systemd/system-generators/*; do ln -s /dev/null /etc/systemd/system-generators/\${generator##*/}; done
cp $lib/systemd/system-generators/unseald-generator /etc/systemd/system-generators/
cp $scratch/11-unseald-volume.rules /etc/udev/rules.d/
cp -r $scratch/units/. /etc/systemd/system/
mkdir -p '/etc/systemd/system/dev-mapper-unseald\\x2dabsent.device.d'
printf '[Unit]\nJobRunningTimeoutSec=1s\n' >'/etc/systemd/system/dev-mapper-unseald\\x2dabsent.device.d/99-test.conf'
printf '[Volume]\nDevice=/dev/ubda\nWhere=/mnt/weights\nOptions=noexec\n' >/etc/unseald/volumes.d/weights.volume
printf '[Volume]\nDevice=sdf\nKey=weights\nWhere=/mnt/absent\nDeviceTimeoutSec=0\n' >/etc/unseald/volumes.d/absent.volume
# A second attempt would hide the status of the first one.
mkdir -p /etc/systemd/system/unseald-volume@absent.service.d
printf '[Service]\nRestart=no\n' >/etc/systemd/system/unseald-volume@absent.service.d/99-test.conf
truncate -s 32M /etc/state-disk
losetup /dev/loop0 /etc/state-disk
printf '[Volume]\nMode=state\nInitialize=blank\nDevice=/dev/loop0\nKey=weights\nWhere=/mnt/state\n' >/etc/unseald/volumes.d/state.volume
truncate -s 32M /etc/kept-disk
losetup /dev/loop1 /etc/kept-disk
mkdir -p /etc/unseald/secrets.d
printf '[Volume]\nMode=state\nInitialize=blank\nDevice=/dev/loop1\nKey=kept-key\nWhere=/mnt/kept\n' >/etc/unseald/volumes.d/kept.volume
printf '[Secret]\nGenerate=32\nGenerateWhen=missing\nSource=volume:kept\nKeyId=unused\n' >/etc/unseald/secrets.d/kept-key.secret
# In what looks like a container the service manager leaves the root private, and credentials do not reach the units.
mount --make-rshared /
exec </dev/console
exec /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=no
END
said=$scratch/said
assert_line "the application" "$said" '^RESULT application: a file$'
assert_line "the application without its volume" "$said" '^RESULT other application: inactive no $'
assert_line "the service without a device" "$said" '^RESULT other service: 30$'
assert_line "its entry" "$said" '^RESULT failed: No EBS volume is attached that Device=sdf selects\.'
assert_line "the store" "$said" '^RESULT noswap: (yes tmpfs| )$'
assert_line "the mount" "$said" '^RESULT mount: erofs ro,nosuid,nodev,noexec,'
assert_line "the node, and what udev has read of it" "$said" '^RESULT node: /dev/dm-[0-9] 0$'
assert_line "the broken file" "$said" '^RESULT broken: Input/output error$'
assert_line "the entry of the broken file" "$said" \
    "^RESULT journal: A block of the volume weights is not what its key demands.* It is block $wrong of the data\\."
assert_line "the other file" "$said" '^RESULT whole: a file$'
assert_line "the entry of the open volume" "$said" '^RESULT opened: 1$'
assert_line "a restart" "$said" '^RESULT restarted: active /dev/mapper/unseald-weights$'
assert_line "a stop" "$said" '^RESULT stopped: inactive, mappings: 0$'
assert_line "the mount comes back with the device" "$said" '^RESULT again: a file$'
assert_line "the new volume" "$said" '^RESULT state: 2 ext4 rw,nosuid,nodev,'
assert_line "what udev has read of it" "$said" '^RESULT its node: 0 Open\. The counter of the label is 2\.$'
assert_line "its one device" "$said" '^RESULT its devices: active inactive inactive $'
assert_line "a stop in use" "$said" '^RESULT in use: failed 1$'
assert_line "its status says why" "$said" '^RESULT status in use: failed The volume state stays open, because it is in use: '
assert_line "a start after it" "$said" '^RESULT taken over: active UNSEALD_VOLUME_COUNTER=2 UNSEALD_VOLUME_DEVICE=/dev/loop0 $'
assert_line "its status" "$said" '^RESULT status: \{"name":"state","state":"open","counter":2,"device":"/dev/loop0"\} state open 2 /dev/loop0$'
assert_line "no status of a read-only volume" "$said" '^RESULT volumes of it: \["kept","state"\]$'
assert_line "its status when it is closed" "$said" '^RESULT status closed: \{"name":"state","state":"closed"\}$'
assert_line "a stop of the volume" "$said" '^RESULT closed: inactive, mappings: 0$'
assert_line "the next opening" "$said" '^RESULT next: 2 3 $'
assert_line "the label of the fourth volume" "$said" '^RESULT label: 0 bytes, mode 644$'
assert_line "its label afterwards" "$said" '^RESULT label again: active ciphertext$'
assert_line "what starts the label's service" "$said" '^RESULT what starts it: unseald.service, 1$'
assert_line "the fourth volume" "$said" '^RESULT kept: ext4$'
