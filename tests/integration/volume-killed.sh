#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# "unsealctl volume create" is killed at each of its steps, on a disk of its own that writes everything at once. The disk is then searched,
# block by block: what is removed is still there. Nothing in the clear is found, nor half of a file. With --temporary= on the same disk
# the same search finds it: this is the control.
. "$(dirname "$0")/direct.sh"
direct_start
canary=canary-$RANDOM$RANDOM$RANDOM$RANDOM
mkdir -p "$scratch/tree" "$scratch/mnt"
echo "$canary" >"$scratch/tree/canary"
head -c 3000000 < <(yes "$canary") >"$scratch/tree/model"

truncate -s 32M "$scratch/disk"
mkfs.ext4 -q -O ^has_journal "$scratch/disk"
losetup --find >/dev/null 2>&1 || {
    echo "this machine has no loop devices"
    exit 77
}
mount -o loop,sync "$scratch/disk" "$scratch/mnt"
at_exit umount --lazy "$scratch/mnt"

# killed WHAT SYSCALL NUMBER WANTED [OPTION...]: kills the process that makes this call for the NUMBERth time. WANTED: what may be on the
# disk then.
killed() {
    local what=$1 syscall=$2 number=$3 wanted=$4 status=0 left
    shift 4
    find "$scratch/mnt" -mindepth 1 -delete
    platform exec --as vendor -- strace -f -qq -o "$scratch/trace" -e "trace=$syscall" -e "inject=$syscall:signal=KILL:when=$number" \
        "$build/daemon/unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --name=weights --key="$key" \
        -o "$scratch/mnt/weights.img" "$@" "$scratch/tree" >"$scratch/out" 2>&1 || status=$?
    [ "$status" != 0 ] || die "$what: it was not killed"
    assert_line "$what" "$scratch/trace" 'killed by SIGKILL'
    left=$(names_in "$scratch/mnt")
    assert_match "$what: what is left" "$left" "^($wanted)\$"
    sync --file-system "$scratch/mnt"
    found=no
    ! grep -qaF -- "$canary" "$scratch/disk" || found=yes
    say "  $what: status $status, left: '$left', in the clear: $found"
}
clean() {
    killed "$@"
    assert_equal "$1: the canary on the disk" "$found" no
}

say "== mkfs.erofs is killed"
clean "its first block" pwrite64 1 ''
say "== unsealctl is killed"
clean "mkfs.erofs works" wait4 1 ''
clean "the file system is made" fallocate 1 ''
clean "the image is complete" fsync 1 '.unseald-[A-Za-z0-9]*'
clean "before the sealed key has a name" rename 1 '.unseald-[A-Za-z0-9]*'
clean "before the image is on the disk" fsync 2 'weights.sealed'
clean "before the image has a name" linkat 1 'weights.sealed'

say "== a thread is killed while it encrypts"
# The calls of mkfs.erofs come before, so strace follows no child.
find "$scratch/mnt" -mindepth 1 -delete
status=0
platform exec --as vendor -- strace -qq -o "$scratch/trace" -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when=2 \
    "$build/daemon/unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --name=weights --key="$key" \
    -o "$scratch/mnt/weights.img" "$scratch/tree" >"$scratch/out" 2>&1 || status=$?
assert_line "the image" "$scratch/trace" 'killed by SIGKILL'
assert_equal "what is left" "$(names_in "$scratch/mnt")" ''
assert_absent "the canary" "$canary" "$scratch/disk"

say "== control: with --temporary= on the disk"
killed "the image is complete" fsync 1 '.unseald-[A-Za-z0-9]*' --temporary="$scratch/mnt"
assert_equal "control: the canary on the disk" "$found" yes

say "== the disk is full"
find "$scratch/mnt" -mindepth 1 -delete
head -c 32M /dev/zero >"$scratch/mnt/other" 2>/dev/null || true
status=0
platform exec --as vendor -- "$build/daemon/unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --name=weights --key="$key" \
    -o "$scratch/mnt/weights.img" "$scratch/tree" >"$scratch/out" 2>&1 || status=$?
assert_equal "the exit status" "$status" 1
assert_line "the message" "$scratch/out" 'Cannot write .*weights.img: No space left on device'
assert_equal "what is left" "$(names_in "$scratch/mnt")" other
