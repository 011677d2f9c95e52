#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A read-write volume with the key in its label, over two boots with the units as installed: the service of the label, unseald, the service of
# the volume and the mount, under one service manager in a kernel of its own (user-mode Linux), with the platform's TPM, IMDS and KMS.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"
platform_start
platform extend 4 'the image' >/dev/null
platform machine-tap create
at_exit platform machine-tap delete
key=$(vendor_create_key)
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
"$build/daemon/unsealctl" policy --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" --measurements="$scratch/measurements" \
    --bind-account --generate-data-key=state-key --output="$scratch/policy.json"
kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null

# The kernel has a network of its own, and the TPM is a socket of this one: two ports lead to it.
cat >"$scratch/forward" <<'END'
import socket, sys, threading
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
def serve(port, path):
    server = socket.create_server(("10.0.1.1", port))
    while True:
        client, _ = server.accept()
        tpm = socket.socket(socket.AF_UNIX)
        tpm.connect(path)
        for pair in (client, tpm), (tpm, client):
            threading.Thread(target=copy, args=pair, daemon=True).start()
threading.Thread(target=serve, args=(2322, sys.argv[2]), daemon=True).start()
serve(2321, sys.argv[1])
END
ip netns exec "$PLATFORM_NETNS" /usr/bin/python3 "$scratch/forward" "$PLATFORM_TPM_SOCKET" "$PLATFORM_TPM_CONTROL" &
at_exit end_process $!

lib=$install_root/usr/lib
mkdir "$scratch/units"
for unit in unseald-volume@.service unseald-volume-label@.service unseald.service unseald-forget.service unseald.socket unsealed.target run-unseald-credentials.mount; do
    sed "s|=/usr/lib/unseald/|=$lib/unseald/|; s|=/usr/bin/unsealctl|=$install_root/usr/bin/unsealctl|; s|^InaccessiblePaths=.*||; /^OnFailure=/d; /^Wants=unseald-report/d" \
        "$lib/systemd/system/$unit" >"$scratch/units/$unit"
done
unit() { # NAME LINE...
    printf '%s\n' '[Unit]' DefaultDependencies=no "${@:2}" >"$scratch/units/$1"
}
unit application.service Wants=mnt-state.mount After=mnt-state.mount AssertPathIsMountPoint=/mnt/state \
    '[Service]' Type=oneshot "ExecStart=/bin/sh -c 'echo one more >>/mnt/state/boots'"
unit end.service 'Wants=application.service unsealed.target' 'After=application.service unsealed.target' '[Service]' Type=oneshot \
    StandardOutput=tty TTYPath=/dev/console "ExecStart=/bin/bash $scratch/end"
unit test.target 'Wants=systemd-udevd.service systemd-journald.service unseald.socket unseald.service end.service'
cat >"$scratch/end" <<'END'
export SYSTEMD_PAGER= SYSTEMD_COLORS=0
say() { printf 'RESULT %s\n' "$*"; }
say application: "$(wc -l </mnt/state/boots) $(findmnt -no FSTYPE /mnt/state)"
say units: "$(for unit in unseald-volume-label@state unseald unseald-volume@state; do systemctl show -P ActiveState "$unit.service"; done | tr '\n' ' ')"
say label: "$(stat -c '%s bytes' /run/unseald-labels/state), sealed $(stat -c '%s bytes' /run/unseald/sealed/state), $(cmp -s /run/unseald-labels/state /run/unseald/sealed/state && echo same)"
say counter: "$(sed -n s/UNSEALD_VOLUME_COUNTER=//p /run/unseald-volume/state.env)"
say store: "$(ls /run/unseald/credentials | grep -c state-key)"
journalctl --sync
journalctl -o cat -u 'unseald*' | tail -n 40
systemctl stop mnt-state.mount unseald-volume@state.service
cp /etc/state-disk /mnt/share/disk
systemctl poweroff -f -f
END
# The disk, which alone comes from one boot into the next.
mkdir "$scratch/share"
truncate -s 32M "$scratch/share/disk"

uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-integrity
cat >"$scratch/boot" <<END
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /var
ip link set lo up && ip address add 10.0.1.10/24 dev eth0 && ip link set eth0 up && ip route add default via 10.0.1.1
mkdir -p /var/log /etc/systemd/system /etc/systemd/system-generators /etc/unseald/volumes.d /etc/unseald/secrets.d
printf '%s\n' root:x:0:0::/root:/bin/sh unseald:x:990:990::/:/usr/sbin/nologin >/etc/passwd
printf '%s\n' root:x:0: unseald:x:990: >/etc/group
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
cp $PLATFORM_HOSTS /etc/hosts
for generator in /lib/systemd/system-generators/*; do ln -s /dev/null /etc/systemd/system-generators/\${generator##*/}; done
cp $lib/systemd/system-generators/unseald-generator /etc/systemd/system-generators/
cp -r $scratch/units/. /etc/systemd/system/
cp $PLATFORM_CA_FILE /etc/unseald/ca.pem
printf '%s\n' '[Unseald]' TrustedCertificates=/etc/unseald/ca.pem TpmDevice=swtpm:host=10.0.1.1,port=2321 VerifyPolicy=yes DeadlineSec=10min >/etc/unseald/unseald.conf
printf '%s\n' '[Volume]' Mode=state Initialize=blank Device=/dev/loop0 Key=state-key Where=/mnt/state >/etc/unseald/volumes.d/state.volume
printf '%s\n' '[Secret]' Generate=32 GenerateWhen=missing Source=volume:state KeyId=$key '[Deliver]' Units=unseald-volume@state.service Store=no >/etc/unseald/secrets.d/state-key.secret
mkdir /mnt/share && mount -t hostfs -o $scratch/share none /mnt/share
cp /mnt/share/disk /etc/state-disk
losetup /dev/loop0 /etc/state-disk
mount --make-rshared /
exec </dev/console
exec /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=no
END
for boot in 1 2; do
    say "boot $boot"
    UML_NETNS=$PLATFORM_NETNS UML_TAP=$PLATFORM_MACHINE_TAP uml_boot "boot $boot" "$scratch/measurements" <"$scratch/boot"
    said=$scratch/said-$boot
    cp "$scratch/said" "$said"
    assert_line "boot $boot: the application finds what the boots before have written" "$said" "^RESULT application: $boot ext4\$"
    assert_line "boot $boot: the units" "$said" '^RESULT units: active active active $'
    assert_line "boot $boot: the counter" "$said" "^RESULT counter: $((boot + 1))\$"
    assert_line "boot $boot: no file in the store" "$said" '^RESULT store: 0$'
    assert_equal "boot $boot: keys that KMS has made for a document" \
        "$(platform log | jq -s 'map(select(.eventName == "GenerateDataKey" and .errorCode == null and .additionalEventData != null)) | length')" 1
done
assert_line "the label of a new volume" "$scratch/said-1" '^RESULT label: 0 bytes, sealed [1-9][0-9]* bytes, $'
assert_line "the label of the second boot" "$scratch/said-2" '^RESULT label: [1-9][0-9]* bytes, sealed [1-9][0-9]* bytes, same$'
assert_line "the first boot" "$scratch/said-1" '^state-key: The volume state is new: its device is blank\. KMS makes its key\.'
assert_no_line "the second boot" "$scratch/said-2" 'KMS makes its key|is formatted'
