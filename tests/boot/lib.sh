# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Functions for the boot tests: virtual machines with UEFI firmware and a NitroTPM, on a platform of their own. Source it after
# tests/integration/lib.sh. All files of a machine are in $scratch/machine.
# shellcheck disable=SC2154,SC2034 # tests/integration/lib.sh sets the variables, the scenarios read them.
machine=$scratch/machine
firmware=/usr/share/OVMF
boot_packages=(
    qemu-system-x86 ovmf dnsmasq-base mtools fdisk binutils cpio xxd sbsigntool efitools openssl python3 python3-venv
)

boot_setup() { # PACKAGE...
    local missing=() package
    for package in "${boot_packages[@]}" "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || {
        say "installing ${missing[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
            "${missing[@]}" >/dev/null
    }
}

# machine_architecture amd64|arm64: chooses the machines that follow: $emulator is QEMU with what depends on the architecture,
# $firmware_store the variables of a firmware that has never booted, $to_edit the same for virt-fw-vars, $boot_file what that firmware starts.
machine_architecture() {
    case $1 in
    amd64)
        firmware_store=$firmware/OVMF_VARS_4M.fd boot_file=BOOTX64.EFI
        to_edit=(--input "$firmware_store")
        # The CPU model is one on which the kernel avoids string instructions, because the emulator executes them byte by byte.
        # shellcheck disable=SC2054 # The commas are QEMU's.
        emulator=(
            qemu-system-x86_64 -machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1
            -cpu max,-erms,vendor=GenuineIntel,family=15,model=6 -device tpm-crb,tpmdev=tpm0
            -drive if=pflash,unit=0,format=raw,readonly=on,file="$firmware/OVMF_CODE_4M.secboot.fd"
        )
        ;;
    arm64)
        firmware_store=/usr/share/AAVMF/AAVMF_VARS.fd boot_file=BOOTAA64.EFI
        # The firmware makes its store in that file, which is all zeros, when it starts. The one with keys is complete, so the keys are
        # taken out of it.
        to_edit=(--input /usr/share/AAVMF/AAVMF_VARS.ms.fd --delete PK --delete KEK --delete db --delete dbx --delete SecureBootEnable)
        # The CPU is that of Graviton2. QEMU has no CRB device for this machine.
        # shellcheck disable=SC2054 # The commas are QEMU's.
        emulator=(
            qemu-system-aarch64 -machine virt -cpu neoverse-n1 -device tpm-tis-device,tpmdev=tpm0
            -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd
        )
        ;;
    esac
}
machine_architecture amd64

# Makes a machine. It may write to its disk, a copy of the image. Its firmware has never booted.
machine_new() { # IMAGE [VARIABLES]
    rm -rf "$machine"
    mkdir -p "$machine"
    cp --sparse=always "$1" "$machine/disk.raw"
    cp "${2:-$firmware_store}" "$machine/variables.fd"
}

# Starts the machine. The console of its Nth boot is kept in $consoles/console.N. MACHINE_REBOOT=reset lets it reset, otherwise a reset
# ends it. MACHINE_END=pause keeps its memory at the end. MACHINE_ORDER=firmware takes the boot order of the firmware's variables.
consoles=$build/test-logs/boot
boots=0
machine_start() { # QEMU'S OPTIONS...
    local order=,bootindex=0
    [ "${MACHINE_ORDER:-}" != firmware ] || order=
    boots=$((boots + 1))
    mkdir -p "$consoles"
    console=$consoles/console.$boots
    rm -f "$console"
    platform tpm-start --firmware
    started=$SECONDS
    # A network card's ROM would be a driver in PCR2.
    ip netns exec "$PLATFORM_NETNS" nice -n "${MACHINE_NICE:-0}" "${emulator[@]}" \
        -accel tcg,thread=multi -smp 2 -m 1024 -display none -nodefaults -no-user-config \
        -drive if=pflash,unit=1,format=raw,file="$machine/variables.fd" \
        -drive if=none,id=disk,format=raw,file="$machine/disk.raw" -device "virtio-blk-pci,drive=disk$order" \
        -chardev socket,id=tpm,path="$PLATFORM_TPM_CONTROL" -tpmdev emulator,id=tpm0,chardev=tpm \
        -global virtio-net-pci.romfile= -nic tap,ifname="$PLATFORM_MACHINE_TAP",script=no,downscript=no,model=virtio-net-pci,mac=52:54:00:00:00:01 \
        -device virtio-rng-pci -chardev file,id=console,path="$console",append=on -serial chardev:console \
        -qmp unix:"$machine/monitor",server=on,wait=off -action "reboot=${MACHINE_REBOOT:-shutdown},shutdown=${MACHINE_END:-poweroff}" "$@" \
        >"$machine/qemu.$boots" 2>&1 &
    machine_pid=$!
    at_exit end_process "$machine_pid" KILL
}

machine_runs() { [ -n "$machine_pid" ] && kill -0 "$machine_pid" 2>/dev/null; }

# Waits until a line of the console matches. Fails when the machine ends or the time is up before.
machine_wait() { # REGEX [SECONDS]
    local end=$((SECONDS + ${2:-${MACHINE_TIMEOUT:-600}}))
    while ! grep -aEq -- "$1" "$console" 2>/dev/null; do
        machine_runs || { sleep 0.2 && grep -aEq -- "$1" "$console" && return; } || return 1
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.25
    done
}

machine_monitor() { /usr/bin/python3 "$top/tests/boot/qmp.py" "$machine/monitor" "$@"; }

# Presses the power button, as EC2 does to stop a machine, and waits until the machine has shut down. QEMU keeps its memory.
machine_power_off() { # [SECONDS]
    local end=$((SECONDS + ${1:-${MACHINE_TIMEOUT:-600}}))
    machine_monitor set-action '{"shutdown": "pause"}' >/dev/null
    machine_monitor system_powerdown >/dev/null
    until [ "$(machine_monitor query-status | jq -r .status)" = shutdown ]; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 1
    done
}

# Writes all of the machine's memory to a file.
machine_memory() { # FILE
    machine_monitor dump-guest-memory "{\"paging\": false, \"protocol\": \"file:$1\"}" >/dev/null
}

# Cuts the power.
machine_kill() {
    machine_runs || return 0
    kill -KILL "$machine_pid"
    wait "$machine_pid" 2>/dev/null || true
    machine_pid=
}

# report_of FIELD: prints a field of the machine's report.
report_of() { tr -d '\r' <"$console" | sed -n "s/^REPORT $1 \{0,1\}//p" | tail -n 1; }

# Prints the machine's address. Each boot is a new DHCP client, so it is the newest lease.
machine_address() { sort -n "$platform_state/dnsmasq.leases" | awk 'END { print $3 }'; }

# Installs programs for variables of the firmware from PyPI, and sets $firmware_tools: virt-fw-vars and uefivars.
firmware_tools() {
    local lock
    firmware_tools=${UNSEALD_CACHE:-$top/.cache}/firmware-tools
    mkdir -p "${firmware_tools%/*}"
    # Scenarios that run side by side share it.
    exec {lock}>"$firmware_tools.lock"
    flock "$lock"
    [ -e "$firmware_tools/complete" ] || {
        rm -rf "$firmware_tools"
        python3 -m venv "$firmware_tools" &&
            "$firmware_tools/bin/pip" install --quiet --disable-pip-version-check virt-firmware uefivars &&
            touch "$firmware_tools/complete"
    } >&2 || die "virt-firmware and uefivars cannot be installed from PyPI"
    exec {lock}>&-
}

# firmware_variables ARGUMENTS...: makes a store of firmware variables with virt-fw-vars.
firmware_variables() {
    firmware_tools
    "$firmware_tools/bin/virt-fw-vars" --loglevel error "${to_edit[@]}" "$@" >/dev/null
}

# secure_boot ARGUMENTS...: calls kiwi/secure-boot.
secure_boot() {
    firmware_tools
    PATH=$PATH:$firmware_tools/bin "$top/kiwi/secure-boot" "$@"
}

# enroll DIRECTORY FILE: makes a store of firmware variables of what kiwi/secure-boot has written for EC2.
enroll() {
    firmware_tools
    "$firmware_tools/bin/virt-fw-vars" --loglevel error --input "$1/uefi-data" --output-json "$scratch/uefi-data.json" >/dev/null
    firmware_variables --set-json "$scratch/uefi-data.json" --output "$2"
}

# esp_of DISK: prints the name by which mtools finds the EFI system partition of the disk.
esp_of() {
    local start
    start=$(sfdisk --json "$1" | jq -r '[.partitiontable.partitions[] | select(.type == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")][0].start')
    [ "$start" != null ] || die "$1 has no EFI system partition"
    echo "$1@@$((start * 512))"
}
