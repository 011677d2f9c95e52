#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# KIWI runs this at the end, with the file of the disk and the device of its root. It leaves one file on the EFI system
# partition, in the place where firmware looks first: the unified kernel image. There is no boot loader, no menu and no entry that
# somebody could edit.
set -euo pipefail
esp=$(findmnt -n -o TARGET "$2" | head -n 1)/boot/efi
uki=$esp/EFI/Linux/kiwi.efi
[ -f "$uki" ] || { echo "edit_boot_install.sh: KIWI made no unified kernel image in $esp" >&2 && exit 1; }
# objcopy writes the time of the build into the header, after the PE signature, the machine and the number of sections. PCR4 covers
# these four bytes, so they get a fixed time. The checksum becomes zero: firmware does not check it and PCR4 does not cover it, but it
# would make two builds differ.
header=$(od -A n -t u4 -j 60 -N 4 "$uki" | tr -d ' ')
# The machine that the image is for need not be the one that builds it.
case $(od -A n -t x2 -j $((header + 4)) -N 2 "$uki" | tr -d ' ') in
8664) name=BOOTX64.EFI ;;
aa64) name=BOOTAA64.EFI ;;
*) echo "edit_boot_install.sh: $uki is neither for x86-64 nor for arm64" >&2 && exit 1 ;;
esac
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
