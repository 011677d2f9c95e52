#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kiwi/check-drivers finds each driver that an image lacks. The test takes one after the other out of a small root tree, its initrd, or
# the list of what is built in.
. "$(dirname "$0")/lib.sh"

check=$top/kiwi/check-drivers
version=6.1.0-57-cloud-amd64
modules=$scratch/root/usr/lib/modules/$version early=$scratch/initrd/usr/lib/modules/$version/kernel uki=$scratch/uki.efi

# make_image modules|built-in [MISSING]: an image that has all drivers as modules, or built in, except one
make_image() {
    local name place
    rm -rf "$scratch/root" "$scratch/initrd"
    mkdir -p "$modules/kernel" "$early"
    : >"$modules/modules.builtin"
    while read -r name place _; do
        [ "$name" != "${2:-}" ] || continue
        if [ "$1" = built-in ]; then
            echo "kernel/drivers/${name//_/-}.ko" >>"$modules/modules.builtin"
        else
            touch "$modules/kernel/${name//_/-}.ko.xz"
            [ "$place" != initrd ] || touch "$early/${name//_/-}.ko"
        fi
    done < <(grep -v '^#' "$top/kiwi/drivers")
    # Another module, as every initrd has one.
    touch "$modules/kernel/virtio_blk.ko" "$early/virtio_blk.ko"
}
run_check() {
    (cd "$scratch/initrd" && find . | cpio --quiet -o -H newc) | zstd -q >"$scratch/initrd.zst"
    /usr/bin/python3 - "$uki" "$scratch/initrd.zst" <<'PYTHON'
import struct, sys
data = open(sys.argv[2], "rb").read()
head = bytearray(b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 0, 0))
head += b".initrd\0" + struct.pack("<IIIIIIHHI", len(data), 0, len(data), len(head) + 40, 0, 0, 0, 0, 0)
open(sys.argv[1], "wb").write(head + data)
PYTHON
    status=0
    "$check" --uki="$uki" "$scratch/root" >"$scratch/out" 2>&1 || status=$?
}

mapfile -t drivers < <(awk '!/^#/ { print $1 }' "$top/kiwi/drivers")
[ ${#drivers[@]} -ge 10 ] || die "kiwi/drivers lists only ${#drivers[@]} drivers"
make_image modules
run_check
assert_equal "status where all are modules: $(cat "$scratch/out")" "$status" 0
assert_line 'all modules' "$scratch/out" '^initrd +nvme: '
make_image built-in
run_check
assert_equal "status where all are built in: $(cat "$scratch/out")" "$status" 0
assert_line 'all built in' "$scratch/out" '^built-in nvme: '

for name in "${drivers[@]}"; do
    make_image modules "$name"
    run_check
    assert_equal "status without $name: $(cat "$scratch/out")" "$status" 1
    assert_line "without $name" "$scratch/out" "^MISSING +$name: "
    assert_line "without $name" "$scratch/out" '^1 missing$'
done

# A module that the root has and the initrd lacks.
make_image modules
rm "$early/ena.ko"
run_check
assert_equal "status without ena in the initrd" "$status" 1
assert_line 'without ena in the initrd' "$scratch/out" '^MISSING +ena: the initrd has no such module'

# The root and the initrd are of two kernels, or there are two kernels.
make_image modules
mv "$modules" "$modules-new"
run_check
assert_equal "status with the modules of another kernel in the root" "$status" 2
assert_line 'with the modules of another kernel' "$scratch/out" 'the initrd has modules of'
mkdir -p "$modules/kernel"
run_check
assert_equal "status with two kernels" "$status" 2
say "each of ${#drivers[@]} drivers was missed when it was not there"
