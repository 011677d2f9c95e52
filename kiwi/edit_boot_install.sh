#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# KIWI runs this at the end, with the disk's file and the device of its root. It leaves one file on the EFI system partition,
# where firmware looks first: the unified kernel image. No boot loader, no menu, no entry to edit.
set -euo pipefail
esp=$(findmnt -n -o TARGET "$2" | head -n 1)/boot/efi
uki=$esp/EFI/Linux/kiwi.efi
[ -f "$uki" ] || { echo "edit_boot_install.sh: KIWI left no unified kernel image in $esp" >&2 && exit 1; }
case $(uname -m) in
x86_64) name=BOOTX64.EFI ;;
aarch64) name=BOOTAA64.EFI ;;
*) echo "edit_boot_install.sh: no name is known for the image of $(uname -m)" >&2 && exit 1 ;;
esac

# objcopy stamps the time of the build into the header, which PCR4 covers: the four bytes after the PE signature, the machine
# and the number of sections. The check sum, which nobody looks at and PCR4 does not cover, goes too.
header=$(od -A n -t u4 -j 60 -N 4 "$uki" | tr -d ' ')
patch() { dd of="$uki" bs=1 seek=$((header + $1)) conv=notrunc status=none; }
stamp=$(printf '%08x' "${SOURCE_DATE_EPOCH:-0}")
# shellcheck disable=SC2059 # printf itself turns the escapes into bytes.
printf "\\x${stamp:6:2}\\x${stamp:4:2}\\x${stamp:2:2}\\x${stamp:0:2}" | patch 8
printf '\0\0\0\0' | patch 88

mv "$uki" "$esp/$name"
find "$esp" -mindepth 1 -maxdepth 1 ! -name "$name" -exec rm -rf {} +
mkdir -p "$esp/EFI/BOOT"
mv "$esp/$name" "$esp/EFI/BOOT/$name"
find "$esp" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
cp "$esp/EFI/BOOT/$name" "$(dirname "$1")/appliance.efi"
