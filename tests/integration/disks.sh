#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The appliance's udev does not look at what is on a disk. The test attaches disks in a kernel of its own, with the machine's udev and
# its rules. The control is udev without the appliance's rule: it reads each of these disks.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

# Superblocks that libblkid recognizes, by their magic numbers (and, of a partition table, mkfs's and sfdisk's own).
disk=$scratch/disk.raw
plain() { rm -f "$disk" && truncate -s 8M "$disk"; }
btrfs() { # the superblock is at 64 KiB: magic, sizes of sectors and nodes, one device
    plain
    /usr/bin/python3 - "$disk" <<'END'
import struct, sys
block = bytearray(4096)
block[32:48] = b"\x11" * 16
block[48:72] = struct.pack("<QQ8s", 65536, 1, b"_BHRfS_M")
block[112:144] = struct.pack("<QQQQ", 8 << 20, 4096, 6, 1)
block[144:164] = struct.pack("<IIIII", 4096, 16384, 16384, 4096, 97)
with open(sys.argv[1], "r+b") as file:
    file.seek(65536)
    file.write(block)
END
}
luks() { plain && cryptsetup --batch-mode luksFormat --type luks1 --pbkdf-force-iterations 1000 "$disk" --key-file /proc/version; }
partitions() { plain && echo 'label: gpt' | sfdisk -q "$disk"; }

uml_prepare loop
# look DISK WORD: attaches the disk to a machine with udev, with the rule (appliance) or without (control)
look() {
    "$1"
    uml_boot "$1, $2" "$disk" "$2" <<END
mkdir -p /etc/udev/rules.d
[ \$1 != appliance ] || cp "$top/kiwi/root/usr/lib/udev/rules.d/10-appliance.rules" /etc/udev/rules.d/
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add /sys/block/ubda
udevadm settle
udevadm info --query=property /sys/block/ubda | grep -E '^(DEVNAME|ID_FS_|ID_PART_TABLE|ID_BTRFS)' | sed 's/^/RESULT /'
END
    assert_line "$1, $2: udev has seen the disk" "$scratch/said" '^RESULT DEVNAME=/dev/ubda$'
    assert_line "$1, $2" "$scratch/said" '^RESULT end'
}
for kind in btrfs:ID_FS_TYPE=btrfs luks:ID_FS_TYPE=crypto_LUKS partitions:ID_PART_TABLE_TYPE=gpt; do
    look "${kind%%:*}" control
    assert_line "control: udev reads the disk" "$scratch/said" "^RESULT ${kind#*:}$"
    look "${kind%%:*}" appliance
    assert_no_line "udev reads the disk" "$scratch/said" '^RESULT ID_'
done
