#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# KIWI runs this in the image's root when all packages and the overlay are there. What it closes, check-ways-in looks for.
set -euo pipefail
# Of a script that fails KIWI shows what it said there.
exec >&2

# Services: few are on, and what could open a terminal, a shell or the disk cannot be turned on. Links to /dev/null in /etc,
# which even a unit of the same name in /usr does not undo.
mask=(
    autovt@.service console-getty.service container-getty@.service debug-shell.service getty-static.service getty@.service
    serial-getty@.service getty.target
    emergency.service emergency.target rescue.service rescue.target ctrl-alt-del.target kexec.target systemd-kexec.service
    hibernate.target hybrid-sleep.target sleep.target suspend.target suspend-then-hibernate.target
    systemd-firstboot.service systemd-growfs@.service systemd-makefs@.service systemd-mkswap@.service systemd-pstore.service
    systemd-remount-fs.service systemd-sysext.service systemd-confext.service systemd-boot-update.service
    systemd-coredump.socket systemd-repart.service systemd-bless-boot.service systemd-boot-system-token.service
    systemd-ask-password-console.path systemd-ask-password-console.service systemd-ask-password-wall.path
    systemd-ask-password-wall.service
    nftables.service iptables.service ip6tables.service
    proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount systemd-binfmt.service
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    dnf-makecache.timer
)
for unit in "${mask[@]}"; do ln -sfn /dev/null "/etc/systemd/system/$unit"; done
# Of the programs that make units at boot only those stay that read files of the image. The others take the command line's word,
# firmware's or a disk's for what is to be run: a command, a shell, a partition.
mkdir -p /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
    case ${generator##*/} in
    systemd-fstab-generator | systemd-cryptsetup-generator | systemd-integritysetup-generator | systemd-veritysetup-generator) ;;
    systemd-rc-local-generator | systemd-sysv-generator) ;;
    *) ln -sfn /dev/null "/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done
rm -rf /etc/systemd/system/getty.target.wants /etc/systemd/system/timers.target.wants
systemctl --quiet set-default multi-user.target
systemctl --quiet enable unseald.service appliance-firewall.service systemd-networkd.service systemd-resolved.service
systemctl --quiet disable systemd-networkd-wait-online.service
# It listens, should somebody turn it on: only where the application says so.
[ -e /usr/lib/appliance/enable.d/unseald-attest.socket ] || ln -sfn /dev/null /etc/systemd/system/unseald-attest.socket

# The application: its units, and what it does itself.
for unit in /usr/lib/appliance/enable.d/*; do
    [ ! -f "$unit" ] || systemctl --quiet enable "${unit##*/}"
done
if [ -f /usr/lib/appliance/config.sh ]; then
    bash /usr/lib/appliance/config.sh
    rm /usr/lib/appliance/config.sh
fi

# KIWI's parts of the initrd want those for networks and encrypted roots, which are left out of it, and would be left out too.
for module in /usr/lib/dracut/modules.d/*kiwi*/module-setup.sh; do
    sed -i -E '/^depends\(\)/,/^}/s/\<(network|crypt)\>//g' "$module"
done

# A mistake in unseald's configuration stops the build here.
unsealctl check

# Nobody logs in: every password is locked, and the programs that would ask for one are gone, as are those that make one user
# another.
cut -d: -f1 /etc/passwd | while read -r user; do usermod --lock --shell /usr/sbin/nologin "$user"; done
rm -f /usr/{,s}bin/{su,sudo,sudoedit,runuser,pkexec,login,passwd,chsh,chfn,chage,expiry,gpasswd,newgrp,sg} \
    /usr/{,s}bin/{agetty,getty,sulogin,vlock,kexec,kdump,makedumpfile} /usr/lib/systemd/systemd-sulogin-shell
rm -rf /root/.ssh /etc/ssh /etc/sudoers /etc/sudoers.d

# No file raises whoever runs it.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# Nobody is here to read; what a package's licence wants to stay, stays.
rm -rf /usr/share/{man,info,locale,doc-base,bug,lintian}
find /usr/share/doc -type f ! -name copyright ! -name 'LICEN[CS]E*' -delete

# What a build leaves behind that has nothing to do with the image, and would make each a different one.
find /var/cache -mindepth 1 -maxdepth 1 ! -name kiwi -exec rm -rf {} +
rm -rf /var/log/* /var/lib/apt/lists/* /tmp/* /var/tmp/* /etc/machine-id /var/lib/dbus/machine-id \
    /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/*- /var/lib/dpkg/*-old /etc/.pwd.lock
: >/etc/machine-id
echo localhost >/etc/hostname
# Its day of the last change is the day of the build.
sed -i -E 's/^([^:]*:[^:]*):[0-9]*:/\1:1:/' /etc/shadow
