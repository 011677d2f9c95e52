#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares the prediction of `unsealctl measure` with what firmware measures. Boots unified kernel images in QEMU with OVMF and
# swtpm; their initrd prints the PCRs. It takes some minutes (a dozen emulated boots of 10 to 40 s). tests/run runs it with --all.
#
# usage: tests/boot/measure.sh [--arm64 TREE] [STUB...]
#   TREE  a directory into which dpkg -x unpacked Debian's arm64 packages linux-image-cloud-arm64, busybox-static and
#         systemd-boot-efi. Boots that kernel, too. Its stub has no .sdmagic section
#   STUB  more systemd-stubs (linuxx64.efi.stub of other versions) to boot the kernel with
#
# Installs the Debian packages that it needs. $UNSEALD_CACHE/measure keeps images, keys and the PCRs of each boot by the hash of
# the inputs. Another run with the same kernel, stubs, firmware and script compares again without booting. UNSEALD_TEST_BUILD is the
# build directory, by default build/.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${UNSEALD_TEST_BUILD:-$top/build}
cache=${UNSEALD_CACHE:-$top/.cache}/measure
unsealctl=$build/daemon/unsealctl
arm64=
if [ "${1:-}" = --arm64 ]; then
    arm64=$(realpath "${2:?--arm64 wants a directory}")
    shift 2
fi
stubs=(/usr/lib/systemd/boot/efi/linuxx64.efi.stub)
for stub in "$@"; do stubs+=("$(realpath "$stub")"); done
loader=/usr/lib/systemd/boot/efi/systemd-bootx64.efi
firmware=/usr/share/OVMF
owner=6a1f1d2c-3b4e-4c5d-8e6f-708192a3b4c5
export SOURCE_DATE_EPOCH=1750000000 MTOOLS_SKIP_CHECK=1

packages=(
    qemu-system-x86 ovmf swtpm swtpm-tools systemd-boot-efi binutils mtools dosfstools fdisk sbsigntool efitools openssl
    linux-image-cloud-amd64 busybox-static cpio jq
)
[ -z "$arm64" ] || packages+=(qemu-system-arm qemu-efi-aarch64 binutils-aarch64-linux-gnu)
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
[ -x "$unsealctl" ] || { echo "measure.sh: $unsealctl is missing: build first" >&2 && exit 2; }
# shellcheck disable=SC2012 # The names are the distribution's.
kernel=$(ls -t /boot/vmlinuz-*-cloud-amd64 | head -n 1)

inputs=$(sha256sum "$0" "$kernel" "${stubs[@]}" "$loader" "$firmware"/OVMF_{CODE_4M.secboot,VARS_4M}.fd /bin/busybox \
    ${arm64:+"$arm64"/boot/vmlinuz-* "$arm64"/usr/lib/systemd/boot/efi/linuxaa64.efi.stub} |
    cut -c -64 | sha256sum | cut -c -16)
work=$cache/$inputs
mkdir -p "$work"
cd "$work"

# make_initrd NAME [FILE...]: makes an initrd that loads the modules among the files, enrolls the Secure Boot variables among them,
# prints the PCRs on the console, and powers off.
make_initrd() {
    local name=$1 file
    shift
    [ -f "$name" ] && return
    rm -rf root && mkdir -p root/{bin,dev,proc,sys,files}
    cp "${busybox:-/bin/busybox}" root/bin/
    for file in "$@"; do cp "$file" root/files/; done
    cat >root/init <<'INIT'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
exec >/dev/console 2>&1
for module in efivarfs tpm_tis_core tpm_tis; do
    [ ! -f /files/$module.ko ] || busybox insmod /files/$module.ko
done
if [ -f /files/PK.variable ]; then
    busybox mount -t efivarfs efivars /sys/firmware/efi/efivars
    for name in db-d719b2cb-3d3a-4596-a3bc-dad00e67656f dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f \
        KEK-8be4df61-93ca-11d2-aa0d-00e098032b8c PK-8be4df61-93ca-11d2-aa0d-00e098032b8c; do
        busybox dd bs=1M if="/files/${name%%-*}.variable" of="/sys/firmware/efi/efivars/$name" &&
            echo "ENROLLED ${name%%-*}"
    done
fi
cd /sys/class/tpm/tpm0/pcr-sha384
for pcr in 4 7 12; do echo "PCR$pcr $(busybox cat $pcr)"; done
echo "PCRS END"
busybox poweroff -f
INIT
    chmod 755 root/init
    (cd root && find . | LC_ALL=C sort | cpio --quiet -o -H newc) | gzip -9n >"$name.new"
    mv "$name.new" "$name"
}

# make_uki NAME STUB COMMAND-LINE [INITRD]
make_uki() {
    local base end vma=0 arguments=() name file
    [ -f "$1.efi" ] && return
    printf '%s' "$3" >"$1.cmdline"
    printf 'NAME="measure %s"\n' "$1" >"$1.osrel"
    base=$((16#$("${cross:-}objdump" -p "$2" | awk '$1 == "ImageBase" { print $2 }')))
    while read -r name file end; do
        [ $((16#$file + 16#$end)) -le "$vma" ] || vma=$((16#$file + 16#$end))
    done < <("${cross:-}objdump" -h "$2" | awk '$1 ~ /^[0-9]+$/ { print $2, $3, $4 }')
    [ "$vma" -ge "$base" ] || vma=$((vma + base))
    for name in osrel cmdline initrd linux; do
        case $name in
        initrd) file=${4:-initrd} ;;
        linux) file=$kernel ;;
        *) file=$1.$name ;;
        esac
        vma=$(((vma + 65535) / 65536 * 65536))
        arguments+=(--add-section ".$name=$file" --change-section-vma ".$name=$vma")
        vma=$((vma + $(stat -c %s "$file")))
    done
    "${cross:-}objcopy" "${arguments[@]}" "$2" "$1.new"
    mv "$1.new" "$1.efi"
}

# make_disk NAME FAT-BITS MEGABYTES [FILE PATH]...: a raw disk with an EFI system partition
make_disk() {
    local disk=$1.disk bits=$2 size=$3 directory
    [ -f "$disk" ] && return
    shift 3
    rm -f esp && truncate -s "${size}M" esp
    mkfs.vfat -F "$bits" -n ESP esp >/dev/null
    while [ $# -gt 0 ]; do
        directory=
        while read -r -d / part; do
            directory=$directory/$part
            mmd -i esp "::$directory" 2>/dev/null || true
        done <<<"$2"
        mcopy -i esp "$1" "::$2"
        shift 2
    done
    rm -f disk.new && truncate -s "$((size + 2))M" disk.new
    printf 'label: gpt\nstart=2048, size=%sM, type=U\n' "$size" | sfdisk -q disk.new
    dd if=esp of=disk.new bs=1M seek=1 conv=notrunc status=none
    mv disk.new "$disk"
}

make_key() { # NAME
    [ -f "$1.esl" ] && return
    openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 3650 -subj "/CN=measure $1" -keyout "$1.key" -out "$1.pem" 2>/dev/null
    cert-to-efi-sig-list -g "$owner" "$1.pem" "$1.esl"
}

sign() { # KEY FILE OUT
    [ -f "$3" ] || { sbsign --key "$1.key" --cert "$1.pem" --output "$3.new" "$2" >/dev/null 2>&1 && mv "$3.new" "$3"; }
}

# boot DISK VARIABLES CONSOLE-LOG: boots the machine and waits until it ends
boot() {
    local state pid=
    state=$(mktemp -d /tmp/measure.XXXXXX)
    mkdir "$state/tpm"
    swtpm_setup --tpm2 --tpmstate "$state/tpm" --pcr-banks sha384 --config /dev/null >"$state/log" 2>&1 || {
        cat "$state/log" >&2
        return 1
    }
    swtpm socket --tpm2 --tpmstate dir="$state/tpm" --ctrl type=unixio,path="$state/ctrl" --terminate &
    pid=$!
    while [ ! -S "$state/ctrl" ]; do sleep 0.05; done
    # shellcheck disable=SC2054 # The commas are QEMU's.
    local machine=(
        qemu-system-x86_64 -machine q35,smm=on -cpu max -device tpm-crb,tpmdev=tpm0
        -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1
        -drive if=pflash,unit=0,format=raw,readonly=on,file="$firmware/OVMF_CODE_4M.secboot.fd"
    )
    # shellcheck disable=SC2054
    [ -z "${cross:-}" ] || machine=(
        qemu-system-aarch64 -machine virt -cpu cortex-a57 -device tpm-tis-device,tpmdev=tpm0
        -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd
    )
    nice -n 15 timeout 300 "${machine[@]}" -accel tcg,thread=multi -smp 2 -m 768 \
        -display none -nodefaults -no-user-config -no-reboot -nic none -serial file:"$3" \
        -drive if=pflash,unit=1,format=raw,file="$2" \
        -drive if=none,id=d0,format=raw,readonly=on,file="$1" -device virtio-blk-pci,drive=d0,bootindex=0 \
        -chardev socket,id=tpm,path="$state/ctrl" -tpmdev emulator,id=tpm0,chardev=tpm ||
        echo "QEMU ended with status $?"
    kill "$pid" 2>/dev/null || true
    wait "$pid" || true
    rm -rf "$state"
}

# Enrolls keys of our own, which the firmware's setup mode permits.
enroll() {
    local name
    [ -f secure.fd ] && return
    for name in PK KEK db1 db2; do make_key "$name"; done
    cat db1.esl db2.esl >db.esl
    hash-to-efi-sig-list "${stubs[0]}" dbx.esl >/dev/null
    for name in PK:PK KEK:PK db:KEK dbx:KEK; do
        set -- "${name%:*}" "${name#*:}"
        sign-efi-sig-list -g "$owner" -k "$2.key" -c "$2.pem" "$1" "$1.esl" "$1.auth" >/dev/null
        # The attributes: non-volatile, boot and runtime access, authenticated by time.
        { printf '\x27\0\0\0' && cat "$1.auth"; } >"$1.variable"
    done
    make_initrd enroll.initrd {PK,KEK,db,dbx}.variable "/lib/modules/${kernel#*vmlinuz-}/kernel/fs/efivarfs/efivarfs.ko"
    make_uki enroll "${stubs[0]}" "console=ttyS0 quiet panic=-1" enroll.initrd
    make_disk enroll 32 64 enroll.efi EFI/BOOT/BOOTX64.EFI
    cp "$firmware/OVMF_VARS_4M.fd" secure.new
    boot enroll.disk secure.new enroll.log
    [ "$(grep -c ENROLLED enroll.log)" = 4 ] || { tail -n 20 enroll.log && return 1; }
    mv secure.new secure.fd
}

# measured NAME VARIABLES: boots NAME.disk and writes its PCRs to NAME.pcrs, unless they are there already
measured() {
    local started=$SECONDS
    [ -f "$1.pcrs" ] && return
    cp "$2" vars.fd
    boot "$1.disk" vars.fd "$1.log"
    if ! grep -q 'PCRS END' "$1.log"; then
        tail -n 20 "$1.log"
        echo "FAIL  $1: the machine printed no PCRs"
        return 1
    fi
    tr -d '\r' <"$1.log" | awk '$1 ~ /^PCR[0-9]+$/ { print $1, tolower($2) }' >"$1.new"
    mv "$1.new" "$1.pcrs"
    echo "booted $1 in $((SECONDS - started)) s"
}

failed=0 passed=0
# check NAME VARIABLES ARGUMENT...: compares the prediction of `unsealctl measure ARGUMENT...` with the boot's PCRs
check() {
    local name=$1 variables=$2 predicted
    shift 2
    measured "$name" "$variables" || { failed=$((failed + 1)) && return; }
    predicted=$("$unsealctl" measure "$@" 2>/dev/null |
        jq -r '.Measurements | to_entries[] | select(.key | startswith("PCR")) | "\(.key) \(.value)"') || true
    if [ "$predicted" = "$(cat "$name.pcrs")" ]; then
        echo "pass  $name: unsealctl measure $*"
        passed=$((passed + 1))
    else
        printf 'FAIL  %s: unsealctl measure %s\npredicted:\n%s\nmeasured:\n%s\n' "$name" "$*" "$predicted" "$(cat "$name.pcrs")"
        failed=$((failed + 1))
    fi
}

make_initrd initrd
standard=$firmware/OVMF_VARS_4M.fd
secure=(--PK=PK.esl --KEK=KEK.esl --db=db.esl --dbx=dbx.esl)
enroll
i=0
for stub in "${stubs[@]}"; do
    uki=uki$i
    make_uki "$uki" "$stub" "console=ttyS0 quiet panic=-1 measure=$i"
    make_disk "$uki" 32 64 "$uki.efi" EFI/BOOT/BOOTX64.EFI
    check "$uki" "$standard" "$uki.efi"
    check "$uki" "$standard" --disk="$uki.disk"

    # A boot entry is needed: for images in EFI/Linux, systemd-boot 252 passes the command line, which goes into PCR12.
    printf 'title %s\nefi /EFI/measure/uki.efi\n' "$uki" >uki.conf
    make_disk "loader-$uki" 16 48 "$loader" EFI/BOOT/BOOTX64.EFI "$uki.efi" EFI/measure/uki.efi uki.conf loader/entries/uki.conf
    check "loader-$uki" "$standard" "$loader" "$uki.efi"

    sign db1 "$uki.efi" "signed-$uki.efi"
    make_disk "signed-$uki" 32 64 "signed-$uki.efi" EFI/BOOT/BOOTX64.EFI
    check "signed-$uki" secure.fd "${secure[@]}" "signed-$uki.efi"
    check "signed-$uki" secure.fd "${secure[@]}" --disk="signed-$uki.disk"
    i=$((i + 1))
done

# The same kernel with another command line, on FAT16, in a file with a long lower-case name.
make_uki other "${stubs[0]}" "console=ttyS0 quiet panic=-1 measure=other and.longer=yes"
make_disk other 16 48 other.efi EFI/BOOT/bootx64.efi
check other "$standard" other.efi
check other "$standard" --disk=other.disk

# With Secure Boot: two images signed by two certificates of db, and by the same one. Also a signed image without Secure Boot.
sign db2 "$loader" loader2.efi
sign db1 "$loader" loader1.efi
make_disk two-signers 32 64 loader2.efi EFI/BOOT/BOOTX64.EFI signed-uki0.efi EFI/measure/uki.efi uki.conf loader/entries/uki.conf
check two-signers secure.fd "${secure[@]}" loader2.efi signed-uki0.efi
make_disk one-signer 32 64 loader1.efi EFI/BOOT/BOOTX64.EFI signed-uki0.efi EFI/measure/uki.efi uki.conf loader/entries/uki.conf
check one-signer secure.fd "${secure[@]}" loader1.efi signed-uki0.efi
make_disk signed-standard 32 64 signed-uki0.efi EFI/BOOT/BOOTX64.EFI
check signed-standard "$standard" signed-uki0.efi

if [ -n "$arm64" ]; then
    cross=aarch64-linux-gnu- busybox=$arm64/bin/busybox kernel=$(echo "$arm64"/boot/vmlinuz-*)
    modules=("$arm64"/lib/modules/*/kernel/drivers/char/tpm/tpm_tis{,_core}.ko)
    make_initrd arm64.initrd "${modules[@]}"
    make_uki arm64 "$arm64/usr/lib/systemd/boot/efi/linuxaa64.efi.stub" "console=ttyAMA0 quiet panic=-1" arm64.initrd
    make_disk arm64 32 64 arm64.efi EFI/BOOT/BOOTAA64.EFI
    check arm64 /usr/share/AAVMF/AAVMF_VARS.fd arm64.efi
    check arm64 /usr/share/AAVMF/AAVMF_VARS.fd --disk=arm64.disk
fi

echo "$passed passed, $failed failed; images and logs: $work"
[ $failed = 0 ]
