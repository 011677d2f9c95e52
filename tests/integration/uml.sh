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
# Not by awk, which is a link into /etc, and /etc is empty.
mknod /dev/mapper/control c \$(sed -n 's/^ *\([0-9]*\) device-mapper\$/10 \1/p' /proc/misc)
. "$scratch/program"
echo RESULT end
halt -f
END
    chmod +x "$scratch/init"
}

# uml_boot WHAT DISK [WORD]: boots with a read-only disk, /dev/ubda, and $UML_MEMORY of memory (512M), for $UML_SECONDS (800) at most. With
# $UML_TAP it has a network card, eth0, which is that tap device of the network namespace $UML_NETNS.
# Many programs keep images of disks in /run, which has half of the memory. The place of an image that was removed is free only when the
# kernel has let go of its loop device.
# Standard input is the program; $1 in it is WORD. What the kernel and the program print is then in $scratch/said.
uml_boot() {
    local uml status=0
    local -a inside=() network=()
    if [ "${UML_TAP:-}" ]; then inside=(ip netns exec "$UML_NETNS") network=("eth0=tuntap,$UML_TAP"); fi
    [ "$BASHPID" = $$ ] || own_exit_stack
    cat >"$scratch/program"
    # In the background, because the shell runs its traps only between the commands in the foreground: a script that a signal ends takes the
    # kernel with it. timeout passes the signal on, and kills a kernel that stays.
    "${inside[@]}" timeout -k 2 "${UML_SECONDS:-800}" linux.uml "${network[@]}" ubd0r="$2" rootfstype=hostfs rootflags=/ ro root=none mem="${UML_MEMORY:-512M}" quiet panic=0 init="$scratch/init" \
        con=null con0=null,fd:1 -- "${3:-}" </dev/null >"$scratch/console" 2>&1 &
    uml=$!
    at_exit end_process "$uml"
    # The shell would report the SIGABRT with which a kernel that panics ends.
    { wait "$uml" || status=$?; } 2>/dev/null
    tr -d '\r' <"$scratch/console" >"$scratch/said"
    [ "$status" != 124 ] || die "$1: the kernel was ended, since it has not ended in time: $(tail -n 30 "$scratch/said")"
    sed -n "/^RESULT\|panic -/s|^|$1: |p" "$scratch/said"
}
