#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# KIWI runs this in the image's root when all packages and the overlay are there. It closes ways in; check-ways-in checks that they
# are closed.
set -euo pipefail
# If a script fails, KIWI shows only its standard error.
exec >&2

# Few services are enabled. Units that could open a terminal, a shell or the disk are masked by links to /dev/null in /etc. A unit
# of the same name in /usr does not override such a link.
mask=(
    autovt@.service console-getty.service container-getty@.service debug-shell.service getty-static.service getty@.service
    serial-getty@.service getty.target
    emergency.service emergency.target rescue.service rescue.target ctrl-alt-del.target kexec.target systemd-kexec.service
    soft-reboot.target systemd-soft-reboot.service storage-target-mode.target systemd-storagetm.service systemd-battery-check.service
    hibernate.target hybrid-sleep.target sleep.target suspend.target suspend-then-hibernate.target
    systemd-firstboot.service systemd-growfs@.service systemd-growfs-root.service systemd-makefs@.service systemd-mkswap@.service systemd-pstore.service
    systemd-remount-fs.service systemd-sysext.service systemd-confext.service systemd-boot-update.service
    systemd-coredump.socket systemd-repart.service systemd-bless-boot.service systemd-boot-system-token.service
    systemd-ask-password-console.path systemd-ask-password-console.service systemd-ask-password-wall.path
    systemd-ask-password-wall.service
    nftables.service iptables.service ip6tables.service
    systemd-udev-load-credentials.service
    proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount systemd-binfmt.service
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    dnf-makecache.timer
)
for unit in "${mask[@]}"; do ln -sfn /dev/null "/etc/systemd/system/$unit"; done
# systemd.import_credentials=no keeps credentials from outside away from all units. From version 256 on, many of systemd's own units ask for
# some. No unit of the system takes one.
find /usr/lib/systemd/system -type f -exec sed -i '/^ImportCredential=/d' {} +
# Only those generators stay that read files of the image. The others make units from the command line, from firmware variables or
# from a disk: units that run a command or a shell, or mount a partition.
mkdir -p /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
    case ${generator##*/} in
    systemd-fstab-generator | systemd-cryptsetup-generator | systemd-integritysetup-generator | systemd-veritysetup-generator) ;;
    systemd-rc-local-generator | systemd-sysv-generator | unseald-generator) ;;
    *) ln -sfn /dev/null "/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done
rm -rf /etc/systemd/system/getty.target.wants /etc/systemd/system/timers.target.wants
systemctl --quiet set-default multi-user.target
systemctl --quiet enable unseald.service appliance-firewall.service systemd-networkd.service systemd-resolved.service
systemctl --quiet disable systemd-networkd-wait-online.service
# One of them sets the clock. Their settings name the hypervisor's time source and no other.
for service in systemd-timesyncd.service chronyd.service; do
    [ ! -e "/usr/lib/systemd/system/$service" ] || systemctl --quiet enable "$service"
done
[ -e /usr/lib/systemd/system/chronyd.service ] || rm /etc/chrony.conf
# systemd's own networks are for containers, virtual machines and tunnels. Some take the time from DHCP, one gives out addresses.
rm -f /usr/lib/systemd/network/*-{container,vm,wifi,6rd,ethernet,namespace,auto}-*.network \
    /usr/lib/systemd/network/*-{ethernet,6rd-tunnel}.network
# They listen on a port, so they are masked unless the application enables them.
for socket in unseald-attest.socket unseald-documents.socket unseald-kms.socket; do
    [ -e "/usr/lib/appliance/enable.d/$socket" ] || ln -sfn /dev/null "/etc/systemd/system/$socket"
done

# The application's units, then its own script.
for unit in /usr/lib/appliance/enable.d/*; do
    [ ! -f "$unit" ] || systemctl --quiet enable "${unit##*/}"
done
if [ -f /usr/lib/appliance/config.sh ]; then
    bash /usr/lib/appliance/config.sh
    rm /usr/lib/appliance/config.sh
fi

# udev runs no program for devices that the appliance does not need. 10-appliance.rules says more of disks.
mkdir -p /etc/udev/rules.d
for rules in 56-dm-parts 60-cdrom_id 60-fido-id 60-kpartx 60-persistent-storage-tape 60-persistent-v4l 64-btrfs 68-del-part-nodes \
    70-memory 71-seat 73-special-net-names 75-probe_mtd 85-hwclock \
    90-iocost; do
    ln -sfn /dev/null "/etc/udev/rules.d/$rules.rules"
done

# A watchdog resets the machine, and memory keeps the secrets.
find /usr/lib/modules -path '*/drivers/watchdog/*' -delete
for kernel in /usr/lib/modules/*; do depmod "${kernel##*/}"; done

# KIWI's dracut modules depend on the modules for networks and encrypted roots. Our initrd leaves those out, and dracut would then
# leave out KIWI's modules too. So this removes the dependencies.
for module in /usr/lib/dracut/modules.d/*kiwi*/module-setup.sh; do
    sed -i -E '/^depends\(\)/,/^}/s/\<(network|crypt)\>//g' "$module"
done

# verity-root.sh says why it takes the place of KIWI's program. A version of KIWI without that program stops the build here.
for program in /usr/lib/dracut/modules.d/*kiwi-verity/kiwi-veritytab-setup.sh; do
    [ -f "$program" ] || { echo "config.sh: KIWI's kiwi-veritytab-setup.sh is not there to be replaced" && exit 1; }
    cp /usr/lib/appliance/verity-root.sh "$program"
done

# A mistake in unseald's configuration stops the build here.
unsealctl check

# A new read-write volume gets its file system from these. Without this check they would be missing at the first boot. check-drivers
# checks what volumes need of the kernel.
if unsealctl cat-config | grep '^Mode=state$' >/dev/null; then
    for program in mkfs.ext4 /usr/lib/systemd/systemd-makefs; do
        command -v "$program" >/dev/null ||
            { echo "config.sh: the image has no $program, which a new read-write volume gets its file system from" && exit 1; }
    done
fi

# Nobody logs in. Every password is locked. The programs that ask for a password, or that let a user become another user, are removed.
cut -d: -f1 /etc/passwd | while read -r user; do usermod --lock --shell /usr/sbin/nologin "$user"; done
rm -f /usr/{,s}bin/{su,sudo,sudoedit,run0,runuser,pkexec,login,passwd,chsh,chfn,chage,expiry,gpasswd,newgrp,sg} \
    /usr/{,s}bin/{agetty,getty,sulogin,vlock,kexec,kdump,makedumpfile} /usr/lib/systemd/systemd-sulogin-shell
rm -rf /root/.ssh /etc/ssh /etc/sudoers /etc/sudoers.d

# No program runs with the rights of its owner or group.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# Nobody reads manuals here. Copyright and licence files stay, because the licences require it.
rm -rf /usr/share/{man,info,locale,doc-base,bug,lintian}
find /usr/share/doc -type f ! -name copyright ! -name 'LICEN[CS]E*' -delete

# Leftovers of the build, which would make every image differ.
find /var/cache -mindepth 1 -maxdepth 1 ! -name kiwi -exec rm -rf {} +
rm -rf /var/log/* /var/lib/apt/lists/* /tmp/* /var/tmp/* /etc/machine-id /var/lib/dbus/machine-id \
    /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/*- /var/lib/dpkg/*-old /etc/.pwd.lock
: >/etc/machine-id
echo localhost >/etc/hostname
# The day of the last password change would be the day of the build.
sed -i -E 's/^([^:]*:[^:]*):[0-9]*:/\1:1:/' /etc/shadow
