# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Runs a program in a kernel of its own: user-mode Linux, a process without rights on the machine. Many test machines lack dm-verity and
# disks. Source it after lib.sh, from a script without platform.
# shellcheck disable=SC2154 # lib.sh sets the variables.

# uml_prepare MODULE...: makes the kernel's first program. It gives the programs of uml_boot the machine's /usr, an empty /etc, a /dev
# with the disks, and the modules.
uml_prepare() {
    local modules
    modules=$(echo /usr/lib/uml/modules/*)
    mkdir -p "$scratch/lib/modules"
    cp -a "$modules" "$scratch/lib/modules/"
    depmod -b "$scratch" "${modules##*/}"
    cat >"$scratch/init" <<END
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DM_DISABLE_UDEV=1
exec 2>&1
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /etc && mount -t tmpfs tmpfs /dev
for module in $*; do modprobe -d "$scratch" "\$module"; done
for device in /sys/block/ubd*; do mknod "/dev/\${device##*/}" b \$(tr : ' ' <"\$device/dev"); done
mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && mknod /dev/random c 1 8 && mkdir /dev/mapper
mknod /dev/mapper/control c \$(awk '\$2 == "device-mapper" { print 10, \$1 }' /proc/misc)
. "$scratch/program"
echo RESULT end
halt -f
END
    chmod +x "$scratch/init"
}

# uml_boot WHAT DISK [WORD]: boots with a read-only disk, /dev/ubda. Standard input is the program; $1 in it is WORD. What the kernel
# and the program print is then in $scratch/said.
uml_boot() {
    cat >"$scratch/program"
    # The shell would report the SIGABRT with which a kernel that panics ends.
    { timeout 300 linux.uml ubd0r="$2" rootfstype=hostfs rootflags=/ ro root=none mem=256M quiet panic=0 init="$scratch/init" \
        con=null con0=null,fd:1 -- "${3:-}" </dev/null 2>&1 || true; } 2>/dev/null | tr -d '\r' >"$scratch/said"
    grep -a '^RESULT\|panic -' "$scratch/said" | sed "s|^|$1: |"
}
