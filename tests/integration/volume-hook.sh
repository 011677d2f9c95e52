#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OnOpen=: a unit compares the counter of a read-write volume with one that is kept elsewhere, and refuses a disk that somebody has put back.
# The unit is the example, under the service manager in a kernel of its own (user-mode Linux); a program plays the AWS CLI, with a file for
# Parameter Store. The control is the same disk without OnOpen=, and a unit that compares only after the opening.
# The last case shows what OnOpen= does not find.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

lib=$install_root/usr/lib
mkdir "$scratch/units" "$scratch/bin"
sed "s|=/usr/lib/unseald/|=$lib/unseald/|; s|^InaccessiblePaths=.*||" "$lib/systemd/system/unseald-volume@.service" >"$scratch/units/unseald-volume@.service"
unit() { # NAME LINE...
    printf '%s\n' '[Unit]' DefaultDependencies=no "${@:2}" >"$scratch/units/$1"
}
unit unsealed.target Wants=credentials.socket After=credentials.socket
unit credentials.socket '[Socket]' ListenStream=/run/unseald/credentials.sock Accept=yes
unit credentials@.service '[Service]' StandardOutput=socket 'ExecStart=/bin/echo a-key-of-32-bytes-or-more-is-enough-here'
unit application.service Wants=mnt-state.mount After=mnt-state.mount AssertPathIsMountPoint=/mnt/state \
    '[Service]' Type=oneshot "ExecStart=/bin/sh -c 'echo one more >>/mnt/state/openings'"
sed "s|=/usr/lib/billing/volume-anchor|=$top/units/examples/volume-anchor|" "$top/units/examples/volume-anchor@.service" >"$scratch/units/volume-anchor@.service"
mkdir "$scratch/units/volume-anchor@.service.d"
printf '%s\n' '[Unit]' DefaultDependencies=no '[Service]' "Environment=PATH=$scratch/bin:/usr/bin:/bin" >"$scratch/units/volume-anchor@.service.d/50-test.conf"
# Parameter Store. What /run/fault names fails: "put" before the value is changed, and "put-after" when it is.
cat >"$scratch/bin/aws" <<'END'
#!/bin/bash
echo "$2 $UNSEALD_VOLUME_COUNTER $UNSEALD_VOLUME_STEP" >>/run/asked
# The role of the instance is one that the owner of the account chooses.
[ -s "$AWS_SHARED_CREDENTIALS_FILE" ] && [ "$AWS_EC2_METADATA_DISABLED" = true ] || exit 1
fault=$(cat /run/fault 2>/dev/null)
case $2 in
get-parameter) [ "$fault" != get ] && cat /run/anchor ;;
put-parameter) [ "$fault" != put ] && echo "$6" >/run/anchor && [ "$fault" != put-after ] ;;
esac
END
chmod +x "$scratch/bin/aws"
unit test.target 'Wants=systemd-udevd.service systemd-journald.service unsealed.target end.service'
unit end.service '[Service]' Type=oneshot StandardOutput=tty TTYPath=/dev/console "ExecStart=/bin/bash $scratch/end"

echo "unsealctl=$install_root/usr/bin/unsealctl" >"$scratch/end"
cat >>"$scratch/end" <<'END'
export SYSTEMD_PAGER= SYSTEMD_COLORS=0
volume=unseald-volume@state.service
say() { printf 'RESULT %s\n' "$*"; }
# The counter of the label that counts: the greater one of the two copies.
counter() { for copy in 16 524304; do od -An -tu8 --endian=big -j $copy -N 8 /etc/state-disk; done | sort -n | tail -n 1 | tr -d ' '; }
say_what() { # WHAT
    say "$1: $(systemctl show -P ExecMainStatus $volume), $(findmnt -no FSTYPE /mnt/state || echo not mounted)," \
        "openings $(cat /mnt/state/openings 2>/dev/null | wc -l), mappings $(dmsetup ls | grep -c unseald)," \
        "label $(counter), anchor $(cat /run/anchor), asked $(tr '\n' ';' </run/asked)"
}
begin() {
    : >/run/asked
    systemctl reset-failed $volume mnt-state.mount application.service 2>/dev/null
}
# opens WHAT: the device of the open volume starts the mount, and then the application finds it
opens() {
    begin
    systemctl start $volume
    until findmnt /mnt/state >/dev/null || ! systemctl is-active -q $volume; do sleep 0.1; done
    systemctl start application.service
    say_what "$1"
}
# refused WHAT: the application alone starts what it needs
refused() {
    begin
    systemctl start application.service 2>/dev/null
    say_what "$1"
}
close() { systemctl stop mnt-state.mount $volume; }
hook() { # [UNIT]: sets OnOpen=
    if [ "$1" ]; then echo "OnOpen=$1"; fi >/run/hook
    (sed /^OnOpen/d /etc/unseald/volumes.d/state.volume; cat /run/hook) >/run/volume && cp /run/volume /etc/unseald/volumes.d/state.volume
    systemctl daemon-reload
}
echo 0 >/run/anchor
cp /usr/bin/systemctl /run/systemctl
# Only the service sets this variable.
printf '%s\n' '#!/bin/sh' '[ -z "$SYSTEMD_IGNORE_CHROOT" ] || exit 1' 'exec /run/systemctl "$@"' >/run/deaf
chmod +x /run/deaf
opens new; close
cp /etc/state-disk /run/last-week
opens second; : >/run/asked
systemctl restart $volume 2>/dev/null
say taken over: "$(systemctl show -P ActiveState $volume) $(cat /run/asked)"
close; opens third
say environment of the open volume: "$(tr '\n' ' ' </run/unseald-volume/state.env)"
close

# The disk of last week, again and again: the counter on it does not grow.
cp /etc/state-disk /run/today; cat /run/last-week >/etc/state-disk
refused "last week"; refused "last week again"
say application: "$(systemctl show -P ActiveState application.service) $(systemctl show -P AssertResult application.service)"
cmp /run/last-week /etc/state-disk && say last week: not a byte was written
journalctl --sync
say journal: "$(journalctl -o cat --output-fields=MESSAGE MESSAGE_ID=a0a5e1c3b4f14d3c8f7f0d0e6b1c5a61 UNSEALD_VOLUME=state | tail -n 1)"
say journal of the unit: "$(journalctl -o cat -u volume-anchor@state.service | grep 'The counter of' | tail -n 1)"
say status: "$("$unsealctl" status --json | jq -c '.volumes[0] | [.state, .counter, (.text | test("refuses it"))]')"
# Control: without the unit it opens.
hook
opens "last week, without OnOpen="; close
hook volume-anchor@state.service
# Control: a unit that only comes after the opening lets the counter grow until it is great enough.
cat /run/last-week >/etc/state-disk
hook
for i in 1 2 3; do systemctl start $volume; . /run/unseald-volume/state.env; [ "$UNSEALD_VOLUME_COUNTER" -gt "$(cat /run/anchor)" ] && say control: accepted at attempt $i; systemctl stop mnt-state.mount $volume; done
hook volume-anchor@state.service
# A blank disk in place of the state.
truncate -s 0 /etc/state-disk; truncate -s 32M /etc/state-disk
refused blank
cat /run/today >/etc/state-disk
opens today; close

# The server is away, or its answer is lost: the next opening goes on.
echo get >/run/fault; refused "no answer"
echo put >/run/fault; refused "not raised"
rm /run/fault; opens "after not raised"; close
echo put-after >/run/fault; refused "answer lost"
rm /run/fault; opens "after answer lost"; close
mv /run/anchor /run/kept; refused "no anchor"
echo 99999999999999999999 >/run/anchor; refused "too large"; mv /run/kept /run/anchor

# The manager does not answer a question of the service, as during a reexecution. The next start asks again, so the status is not 78.
mount --bind /run/deaf /usr/bin/systemctl; refused "no answer of the manager"; umount -l /usr/bin/systemctl

# Units that could refuse nothing.
hook missing.service; refused missing
ln -s /dev/null /etc/systemd/system/masked.service; hook masked.service; refused masked
hook simple.service; refused simple
hook skipped.service; refused skipped
hook remains.service; opens remains; close; opens "remains again"; close

# What OnOpen= does not find: the content of last week behind the label of today. Control: no content behind it.
hook volume-anchor@state.service
cp /etc/state-disk /run/today
dd if=/dev/zero of=/etc/state-disk bs=1M seek=1 count=31 conv=notrunc status=none
refused "no content"
dd if=/run/last-week of=/etc/state-disk bs=1M skip=1 seek=1 conv=notrunc status=none
opens "content of last week"; close
systemctl poweroff -f -f
END
unit simple.service '[Service]' Type=exec ExecStart=/bin/false
unit skipped.service ConditionPathExists=/nowhere '[Service]' Type=oneshot ExecStart=/bin/false
# It stays active, and must run anew nevertheless.
unit remains.service StartLimitIntervalSec=0 '[Service]' Type=oneshot RemainAfterExit=yes EnvironmentFile=/run/unseald-volume/state.env \
    "ExecStart=/bin/sh -c 'echo \$UNSEALD_VOLUME_STEP \$UNSEALD_VOLUME_COUNTER >>/run/asked'"

uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-integrity
uml_boot hook "$scratch/units/test.target" <<END
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /var
mkdir -p /var/log /etc/systemd/system /etc/systemd/system-generators /etc/unseald/volumes.d /etc/unseald/secrets.d
echo root:x:0:0::/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
for generator in /lib/systemd/system-generators/*; do ln -s /dev/null /etc/systemd/system-generators/\${generator##*/}; done
cp $lib/systemd/system-generators/unseald-generator /etc/systemd/system-generators/
cp -r $scratch/units/. /etc/systemd/system/
# Each attempt is one.
mkdir -p /etc/systemd/system/unseald-volume@state.service.d '/etc/systemd/system/dev-mapper-unseald\\x2dstate.device.d'
printf '[Service]\nRestart=no\n' >/etc/systemd/system/unseald-volume@state.service.d/99-test.conf
printf '[Unit]\nJobRunningTimeoutSec=1s\n' >'/etc/systemd/system/dev-mapper-unseald\\x2dstate.device.d/99-test.conf'
truncate -s 32M /etc/state-disk
losetup /dev/loop0 /etc/state-disk
printf '[Volume]\nMode=state\nInitialize=blank\nDevice=/dev/loop0\nKey=weights\nWhere=/mnt/state\nOnOpen=volume-anchor@state.service\n' >/etc/unseald/volumes.d/state.volume
printf '[Secret]\nSource=/dev/null\nKeyId=unused\n' >/etc/unseald/secrets.d/weights.secret
mount --make-rshared /
exec </dev/console
exec /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=no
END
said=$scratch/said
good() { # WHAT LABEL OPENINGS: mounted, compared and raised
    assert_line "$1" "$said" "^RESULT $1: 0, ext4, openings $3, mappings 3, label $2, anchor $2, asked get-parameter $2 compare;get-parameter $2 raise;put-parameter $2 raise;\$"
}
bad() { # WHAT STATUS LABEL ANCHOR ASKED: not opened
    assert_line "$1" "$said" "^RESULT $1: $2, not mounted, openings 0, mappings 0, label $3, anchor $4, asked $5\$"
}
good new 2 1
good second 3 2
assert_line "a volume in use" "$said" '^RESULT taken over: active $'
good third 4 3
assert_line "its environment" "$said" '^RESULT environment of the open volume: UNSEALD_VOLUME_COUNTER=4 UNSEALD_VOLUME_DEVICE=/dev/loop0 $'
bad 'last week' 30 2 4 'get-parameter 3 compare;'
bad 'last week again' 30 2 4 'get-parameter 3 compare;'
assert_line "the application" "$said" '^RESULT application: inactive no$'
assert_line "the device" "$said" '^RESULT last week: not a byte was written$'
assert_line "the journal" "$said" '^RESULT journal: The volume state is not opened, because volume-anchor@state\.service \(OnOpen=, step compare\) refuses it: the counter of its label is to become 3\. '
assert_line "the journal of the unit" "$said" '^RESULT journal of the unit: The counter of the volume would be 3, and was 4 before\. The disk /dev/loop0 '
assert_line "unsealctl status" "$said" '^RESULT status: \["failed",null,true\]$'
assert_line "the control" "$said" '^RESULT last week, without OnOpen=: 0, ext4, openings 2, mappings 3, label 3, anchor 4, asked $'
assert_line "the control that compares too late" "$said" '^RESULT control: accepted at attempt 3$'
bad blank 30 0 4 'get-parameter 2 compare;'
good today 5 4
bad 'no answer' 30 5 5 'get-parameter 6 compare;'
bad 'not raised' 30 6 5 'get-parameter 6 compare;get-parameter 6 raise;put-parameter 6 raise;'
good 'after not raised' 7 5
bad 'answer lost' 30 8 8 'get-parameter 8 compare;get-parameter 8 raise;put-parameter 8 raise;'
good 'after answer lost' 9 6
bad 'no anchor' 30 9 '' 'get-parameter 10 compare;'
bad 'too large' 30 9 99999999999999999999 'get-parameter 10 compare;'
bad 'no answer of the manager' 1 9 9 ''
for what in missing masked simple skipped; do bad "$what" 78 9 9 ''; done
assert_line "a unit that stays active" "$said" '^RESULT remains: 0, ext4, openings 7, mappings 3, label 10, anchor 9, asked compare 10;raise 10;$'
assert_line "and the next opening" "$said" '^RESULT remains again: 0, ext4, openings 8, mappings 3, label 11, anchor 9, asked compare 11;raise 11;$'
bad 'no content' 30 11 9 ''
good 'content of last week' 12 2
