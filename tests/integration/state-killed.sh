#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A read-write volume whose first format, or whose opening, is killed at a call, or whose kernel refuses that call. What is refused says so
# and leaves no mapping. The next start has a volume, with what was stored there, and its counter. In a kernel of its own (user-mode Linux).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

head -c 32 /dev/urandom >"$scratch/key"
truncate -s 1M "$scratch/none"
cat >"$scratch/program-cases" <<END
volume=$install_root/usr/lib/unseald/unseald-volume
scratch=$scratch
END
cat >>"$scratch/program-cases" <<'CASES'
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /mnt/at /run/keys
cp "$scratch/key" /run/keys/state
mappings() { dmsetup info -c --noheadings -o name 2>/dev/null | grep -c unseald; }
attach() { CREDENTIALS_DIRECTORY=/run/keys "$@" $volume attach state; }
look() {
    mount -t ext4 /dev/mapper/unseald-state /mnt/at 2>/dev/null || { echo "no file system"; return; }
    cat /mnt/at/said 2>/dev/null || echo "empty"
    umount /mnt/at
}
new_disk() { truncate -s 0 /run/disk; truncate -s 17M /run/disk; }
new_disk
device=$(losetup -f --show /run/disk)
printf '%s\n' '[Volume]' "Device=$device" DeviceTimeoutSec=0 Mode=state Initialize=blank >/etc/unseald/volumes.d/state.volume
attach >/run/said 2>&1
mount -t ext4 /dev/mapper/unseald-state /mnt/at && echo hello >/mnt/at/said && umount /mnt/at
$volume detach state && cp /run/disk /run/good
# try WHAT CALL HOW: at the first such call, the second, … until there is no more
try() {
    local number status left
    for ((number = 1; ; number++)); do
        if [ "$1" = format ]; then new_disk; else cat /run/good >/run/disk; fi
        rm -rf /run/unseald-volume
        attach strace -qq -o /run/trace -e "trace=$2" -e "inject=$2:$3:when=$number" >/run/said 2>&1; status=$? left=$(mappings)
        grep -q 'INJECTED\|SIGKILL' /run/trace || break
        echo "TRIED $1 $2 $3 $number: status $status, mappings $left: $(tail -n 1 /run/said)"
        attach >/run/next 2>&1; status=$?
        echo "NEXT $1: status $status, $(look), $(cat /run/unseald-volume/state.env 2>&1)"
        $volume detach state
    done
    echo "TIMES $1 $2 $3: $((number - 1))"
    $volume detach state
}
for what in format open; do
    for call in fdatasync add_key keyctl symlink rename; do
        try $what $call signal=KILL
        try $what $call error=EIO
    done
    try $what pread64 signal=KILL
done
CASES
uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-integrity
uml_boot state "$scratch/none" <"$scratch/program-cases"
said=$scratch/said
assert_line "the kernel" "$said" '^RESULT end$'
grep -aE '^(TRIED|NEXT|TIMES)' "$said"
# The last label is written after all else is durable; the loader reads with pread64, too.
for times in 'format fdatasync signal=KILL: 5' 'format fdatasync error=EIO: 5' 'format add_key signal=KILL: 2' 'open keyctl error=EIO: 1' \
    'open fdatasync signal=KILL: 1' 'open symlink signal=KILL: 1' 'open rename error=EIO: 1' 'open pread64 signal=KILL: [3-9]'; do
    assert_line "how often" "$said" "^TIMES $times$"
done
assert_equal "what was killed, and has another status" "$(grep -a '^TRIED.*=KILL' "$said" | grep -v 'status 137' || true)" ''
assert_equal "what was refused, and has another end" "$(grep -a '^TRIED.*=EIO' "$said" | grep -vE 'status (1|30), mappings 0: The .*Input/output error' |
    grep -v 'writing its tags failed' || true)" ''
assert_equal "a next start that has no volume" "$(grep -a '^NEXT' "$said" |
    grep -vE '^NEXT (format: status 0, empty|open: status 0, hello), UNSEALD_VOLUME_COUNTER=[2-4]$' || true)" ''
