#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kiwi/check-ways-in finds each way into an image. The test opens one way after the other in a small root tree in which all are
# closed. The tool also says which ways are allowed and why.
. "$(dirname "$0")/lib.sh"

check=$top/kiwi/check-ways-in
closed=$scratch/closed tree=$scratch/tree uki=$scratch/uki.efi
good_words=$(sed -n 's/.*kernelcmdline="\([^"]*\)".*/\1/p' "$top/kiwi/appliance.kiwi")' root=overlay:MAPPER=verityroot'

# A root tree with little more than the files of the appliance that close the ways.
mkdir -p "$closed"/{etc/systemd/system/systemd-networkd.service.requires,usr/bin,usr/sbin,usr/lib/systemd/system,usr/lib/udev}
cp -a "$top/kiwi/root/." "$closed/"
ln -s usr/bin usr/sbin usr/lib "$closed/"
: >"$closed/etc/machine-id"
echo 'root:x:0:0::/root:/usr/sbin/nologin' >"$closed/etc/passwd"
echo 'root:!*:1:0:99999:7:::' >"$closed/etc/shadow"
ln -s /usr/lib/systemd/system/appliance-firewall.service "$closed/etc/systemd/system/systemd-networkd.service.requires/"
touch "$closed"/usr/lib/systemd/systemd-{resolved,timesyncd}
printf '[Service]\nExecStart=/sbin/agetty -\nStandardInput=tty\n' >"$closed/usr/lib/systemd/system/getty@.service"
ln -s /dev/null "$closed/etc/systemd/system/getty@.service"
printf '[Unit]\nAfter=local-fs.target\n' >"$closed/usr/lib/systemd/system/unseald.service"
printf '[Unit]\nSuccessAction=reboot-force\n' >"$closed/usr/lib/systemd/system/systemd-reboot.service"
printf '[Unit]\nFailureAction=reboot-force\nFailureAction=none\n' >"$closed/usr/lib/systemd/system/job.service"

mkdir -p "$closed/etc/udev/rules.d"
printf '%s\n' '# RUN+="/bin/sh"' 'ENV{A}=="b", RUN{builtin}+="kmod load a"' 'RUN+="/sbin/dmsetup udevcomplete"' \
    >"$closed/usr/lib/udev/rules.d/95-dm-notify.rules"
echo 'PROGRAM="/bin/sh"' >"$closed/usr/lib/udev/rules.d/71-seat.rules"
ln -s /dev/null "$closed/etc/udev/rules.d/71-seat.rules"

# make_uki WORDS [FILE IN THE INITRD[=CONTENT]...]: the parts of a unified kernel image that the check reads
make_uki() {
    local words=$1
    shift
    /usr/bin/python3 - "$uki" "$words" "$top/kiwi/root/usr/lib/appliance/verity-root.sh" "$@" <<'PYTHON'
import struct, sys
def entry(name, data=b""):
    name = name.encode() + b"\0"
    head = b"070701" + b"".join(b"%08x" % field for field in (1, 0o100755, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
files = ["usr/bin/true", "etc/veritytab=verityroot UUID=1 UUID=1 " + 64 * "a" + " hash-offset=4096,hash-block-size=4096,", "etc/cmdline.d/0.conf=rd.driver.pre=nvme",
    "usr/lib/dracut/modules.txt=bash\nsystemd-initrd\nkiwi-verity\n",
    "var/lib/dracut/hooks/initqueue/settled/71-kiwi-veritytab-setup.sh=" + open(sys.argv[3]).read(), *sys.argv[4:]]
initrd = b"".join(entry(name, content.encode() or b"x" * 5) for name, _, content in (file.partition("=") for file in files))
initrd += entry("TRAILER!!!")
parts = {b".cmdline": sys.argv[2].encode() + b"\0", b".initrd": initrd + bytes(64)}
out = bytearray(b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(parts), 0, 0, 0, 0, 0))
start = len(out) + 40 * len(parts)
for name, data in parts.items():
    out += name.ljust(8, b"\0") + struct.pack("<IIIIIIHHI", len(data), 0, len(data), start, 0, 0, 0, 0, 0)
    start += len(data)
open(sys.argv[1], "wb").write(out + b"".join(parts.values()))
PYTHON
}

status=0
run_check() {
    status=0
    "$check" "$@" >"$scratch/out" 2>&1 || status=$?
}

make_uki "$good_words"
run_check --uki="$uki" "$closed"
assert_equal "status of a tree in which all is closed: $(grep OPEN "$scratch/out" || cat "$scratch/out")" "$status" 0
assert_no_line "a closed tree" "$scratch/out" '^(OPEN|unseen)'
assert_equal "what is allowed in a closed tree" "$(sed -nE 's/^allowed ([^:]*:[^:]*):.*/\1/p' "$scratch/out")" 'hardware 95-dm-notify.rules:dmsetup'

ways=0
# plant WAY SUBJECT COMMAND...: runs the command in the tree and asserts that the check reports this way and subject
plant() {
    local way=$1 subject=$2
    shift 2
    rm -rf "$tree"
    cp -a "$closed" "$tree"
    make_uki "$good_words"
    (cd "$tree" && eval "$*")
    run_check --uki="$uki" "$tree"
    assert_equal "status with $way $subject planted ($(cat "$scratch/out"))" "$status" 1
    grep -Fq "OPEN    $way $subject" "$scratch/out" || die "$way $subject was planted, and not found: $(grep OPEN "$scratch/out")"
    ways=$((ways + 1))
}
program() { # PATH
    mkdir -p "$(dirname "$1")" && install -m 755 /dev/null "$1"
}
unit() { # NAME LINE...
    printf '%s\n' "${@:2}" >"usr/lib/systemd/system/$1"
}

plant ssh /usr/sbin/sshd 'program usr/sbin/sshd'
plant ssh ssh.socket 'unit ssh.socket "[Socket]" ListenStream=22'
plant agents /usr/bin/amazon-ssm-agent 'program usr/bin/amazon-ssm-agent'
plant agents /usr/bin/eic_run_authorized_keys 'program usr/bin/eic_run_authorized_keys'
plant agents /usr/libexec/amazon-ecs-init 'program usr/libexec/amazon-ecs-init'
plant cloud-init /usr/bin/cloud-init 'program usr/bin/cloud-init'
plant cloud-init /usr/bin/ignition 'program usr/bin/ignition'
plant cloud-init cloud-final.service 'unit cloud-final.service "[Service]"'
plant cloud-init /etc/cloud 'mkdir etc/cloud'
plant user-data /usr/bin/start 'echo "curl http://169.254.169.254/latest/user-data | sh" >usr/bin/start'
plant terminal /usr/sbin/agetty 'program usr/sbin/agetty'
plant terminal getty@.service 'rm etc/systemd/system/getty@.service'
plant terminal getty@tty1.service 'cp usr/lib/systemd/system/getty@.service etc/systemd/system/getty@tty1.service'
plant terminal serial-getty@.service 'unit serial-getty@.service "[Service]"'
plant terminal menu.service 'unit menu.service "[Service]" TTYPath=/dev/ttyS0'
plant terminal menu.service 'unit menu.service "[Service]" "  StandardInput = tty"'
plant terminal menu.service 'unit menu.service "[Service]" && mkdir -p etc/systemd/system/menu.service.d &&
    printf "[Service]\nStandardInput=tty-force\n" >etc/systemd/system/menu.service.d/x.conf'
plant terminal menu@.service 'unit menu@.service "[Service]" && mkdir usr/lib/systemd/system/service.d &&
    printf "[Service]\nStandardInput=file:/dev/ttyS0\n" >usr/lib/systemd/system/service.d/x.conf'
plant terminal menu.service 'unit menu.service "[Service]" "ExecStart=/bin/sh -c \"sh </dev/ttyS0\""'
plant terminal systemd-ask-password-console.path 'unit systemd-ask-password-console.path "[Path]"'
plant terminal menu.socket 'unit menu.socket "[Socket]" ListenSpecial=/dev/ttyS0 && unit menu.service "[Service]" StandardInput=socket'
plant terminal a-b-menu.service 'unit a-b-menu.service "[Service]" && mkdir usr/lib/systemd/system/a-.service.d &&
    printf "[Service]\nStandardInput=tty\n" >usr/lib/systemd/system/a-.service.d/x.conf'
plant terminal a-menu@.service 'unit a-menu@.service "[Service]" && mkdir usr/lib/systemd/system/a-@.service.d &&
    printf "[Service]\nStandardInput=tty\n" >usr/lib/systemd/system/a-@.service.d/x.conf'
for directory in control attached; do
    plant terminal menu.service "mkdir etc/systemd/system.$directory && printf '[Service]\nStandardInput=tty\n' >etc/systemd/system.$directory/menu.service"
done
plant terminal /usr/bin/login 'program usr/bin/login'
plant emergency emergency.service 'unit emergency.service "[Service]"'
plant emergency rescue.target 'unit rescue.target "[Unit]"'
plant emergency debug-shell.service 'unit debug-shell.service "[Service]"'
plant emergency /usr/sbin/sulogin 'program usr/sbin/sulogin'
plant emergency CrashShell= 'echo CrashShell=yes >usr/lib/systemd/system.conf.d/zz.conf'
plant sysrq kernel.sysrq=176 'echo kernel.sysrq=176 >usr/lib/sysctl.d/99-z.conf'
plant sysrq kernel.sysrq=1 'mkdir -p etc/sysctl.d && echo "kernel/sysrq = 1" >etc/sysctl.d/99-appliance.conf'
for setting in kernel.panic kernel.panic_on_oops kernel.panic_on_warn kernel.panic_on_io_nmi kernel.panic_on_unrecovered_nmi \
    kernel.unknown_nmi_panic kernel.panic_on_rcu_stall kernel.softlockup_panic kernel.hardlockup_panic kernel.hung_task_panic \
    vm.panic_on_oom; do
    plant reset "$setting=5" "echo $setting=5 >usr/lib/sysctl.d/99-z.conf"
    plant reset "$setting=None" "sed -i '/$setting = /d' usr/lib/sysctl.d/99-appliance.conf"
done
for setting in CrashReboot=yes RuntimeWatchdogSec=30 RebootWatchdogSec=10min KExecWatchdogSec=5min CtrlAltDelBurstAction=reboot-force; do
    plant reset "${setting%%=*}=" "echo $setting >usr/lib/systemd/system.conf.d/zz.conf"
    plant reset "${setting%%=*}=" "sed -i '/^${setting%%=*}=/d' usr/lib/systemd/system.conf.d/appliance.conf"
done
for action in FailureAction=reboot-immediate SuccessAction=poweroff-force StartLimitAction=reboot-force JobTimeoutAction=halt-immediate; do
    plant reset "job.service:$action" "unit job.service '[Unit]' '$action'"
done
plant reset systemd-reboot.service:SuccessAction=reboot-immediate 'unit systemd-reboot.service "[Unit]" SuccessAction=reboot-immediate'
plant reset job.timer:FailureAction=reboot-force 'unit job.timer "[Unit]" FailureAction=none && mkdir usr/lib/systemd/system/timer.d &&
    printf "[Unit]\nFailureAction=reboot-force\n" >usr/lib/systemd/system/timer.d/x.conf'
plant reset /usr/lib/modules/6.1/kernel/drivers/watchdog \
    'mkdir -p usr/lib/modules/6.1/kernel/drivers/watchdog && touch usr/lib/modules/6.1/kernel/drivers/watchdog/softdog.ko'
plant reset /usr/sbin/watchdog 'program usr/sbin/watchdog'
plant setting /proc/sys/kernel/sysrq 'mkdir usr/lib/tmpfiles.d && echo "w /proc/sys/kernel/sysrq - - - - 1" >usr/lib/tmpfiles.d/x.conf'
plant setting /sys/module/kgdboc/parameters/kgdboc \
    'mkdir -p etc/tmpfiles.d && echo "  w+! /sys/module/kgdboc/parameters/kgdboc - - - - ttyS0" >etc/tmpfiles.d/x.conf'
for type in f+ F f!+; do
    plant setting /proc/sys/kernel/panic "mkdir -p etc/tmpfiles.d && echo '$type /proc/sys/kernel/panic - - - - 5' >etc/tmpfiles.d/x.conf"
done
for key in Requires After; do
    plant reset "unseald.service:$key=" "unit unseald.service '[Unit]' && sed -i /^$key=/d usr/lib/systemd/system/unseald.service.d/appliance.conf"
done
plant sleep hibernate.target 'unit hibernate.target "[Unit]"'
plant sleep hibinit-agent.service 'unit hibinit-agent.service "[Service]"'
plant swap fstab:/dev/vdb 'echo "/dev/vdb none swap sw 0 0" >etc/fstab'
plant swap dev-vdb.swap 'unit dev-vdb.swap "[Swap]" What=/dev/vdb'
plant disk fstab:/data 'echo "UUID=1234 /data xfs defaults 0 0" >etc/fstab'
plant disk data.mount 'unit data.mount "[Mount]" What=/dev/vdb Where=/data'
plant disk fstab:/data 'echo "/dev/vdb /data ext4 ro 0 0" >etc/fstab'
plant disk fstab:/data 'echo "server:/data /data nfs ro 0 0" >etc/fstab'
plant disk data.mount 'unit data.mount "[Mount]" "What = /dev/vdb" Where=/data'
plant disk data.mount 'unit data.mount "[Mount]" What=share Where=/data Type=virtiofs'
plant disk /usr/libexec/udisksd 'program usr/libexec/udisksd'
plant disk systemd-repart.service 'unit systemd-repart.service "[Service]"'
plant disk crypttab:data 'printf "# data\n\n data /dev/vdb /etc/key\n" >etc/crypttab'
plant disk integritytab:data 'echo "data /dev/vdb - integrity-algorithm=crc32c" >etc/integritytab'
plant account password:root 'echo "root:\$y\$j9T\$a\$b:1:0:99999:7:::" >etc/shadow'
plant account password:root 'echo "root::1:0:99999:7:::" >etc/shadow'
plant account password:eve 'echo "eve::1000:1000::/:/usr/sbin/nologin" >>etc/passwd'
plant account uid0:toor 'echo "toor:x:0:0::/root:/usr/sbin/nologin" >>etc/passwd'
plant account shell:root 'echo "root:x:0:0::/root:/bin/bash" >etc/passwd'
plant account shell:eve 'echo "eve:x:1000:1000::/:" >>etc/passwd'
plant key /root/.ssh/authorized_keys 'mkdir -p root/.ssh && echo ssh-ed25519 >root/.ssh/authorized_keys'
plant key /home/eve/.rhosts 'mkdir -p home/eve && touch home/eve/.rhosts'
plant privilege /usr/bin/mount 'program usr/bin/mount && chmod u+s usr/bin/mount'
plant privilege /usr/bin/write 'program usr/bin/write && chmod g+s usr/bin/write'
plant privilege /usr/bin/run 'program usr/bin/run && chmod o+w usr/bin/run'
plant become /usr/bin/sudo 'program usr/bin/sudo'
plant become /usr/bin/su 'program usr/bin/su'
plant become /etc/sudoers.d 'mkdir etc/sudoers.d'
plant become /usr/lib/polkit-1/polkitd 'program usr/lib/polkit-1/polkitd'
plant credential /etc/credstore/passwd.hashed-password.root 'mkdir etc/credstore && touch etc/credstore/passwd.hashed-password.root'
plant credential tool.service 'unit tool.service "[Service]" "ImportCredential=tool.*"'
plant credential tool.service 'unit tool.service "[Service]" && mkdir usr/lib/systemd/system/tool.service.d &&
    printf "[Service]\nImportCredential = tool.*\n" >usr/lib/systemd/system/tool.service.d/x.conf'
plant kexec /usr/sbin/kexec 'program usr/sbin/kexec'
plant kexec kexec.target 'unit kexec.target "[Unit]"'
plant kexec kernel.kexec_load_disabled=0 'echo kernel.kexec_load_disabled=0 >usr/lib/sysctl.d/99-z.conf'
plant core 'kernel.core_pattern=|/usr/lib/systemd/systemd-coredump' \
    'echo "kernel.core_pattern=|/usr/lib/systemd/systemd-coredump" >usr/lib/sysctl.d/99-z.conf'
plant core fs.suid_dumpable=2 'echo fs.suid_dumpable=2 >usr/lib/sysctl.d/99-z.conf'
plant core systemd-coredump.socket 'unit systemd-coredump.socket "[Socket]"'
plant memory kernel.yama.ptrace_scope=0 'echo kernel.yama.ptrace_scope=0 >usr/lib/sysctl.d/99-z.conf'
plant listener web.socket 'unit web.socket "[Socket]" ListenStream=8080'
plant listener web.socket 'unit web.socket "[Socket]" "ListenStream = 8080"'
plant listener web.socket 'unit web.socket "[Socket]" ListenStream=/run/web && mkdir -p etc/systemd/system/web.socket.d &&
    printf "[Socket]\nListenStream=8080\n" >etc/systemd/system/web.socket.d/x.conf'
plant listener back.socket 'unit back.socket "[Socket]" ListenStream=vsock::22'
plant listener resolved:LLMNR= 'rm usr/lib/systemd/resolved.conf.d/appliance.conf'
plant listener /usr/bin/nc 'program usr/bin/nc'
plant listener /usr/sbin/dhclient 'program usr/sbin/dhclient'
plant firewall 'add rule inet appliance input tcp dport 22 accept' \
    'echo "add rule inet appliance input tcp dport 22 accept" >usr/lib/appliance/firewall.d/x.nft'
plant firewall /usr/lib/appliance/firewall.nft 'sed -i "s/policy drop/policy accept/" usr/lib/appliance/firewall.nft'
plant firewall appliance-firewall.service 'rm -r etc/systemd/system/systemd-networkd.service.requires'
plant firewall /usr/lib/appliance/firewall.nft 'sed -i "s/iif lo accept/accept/" usr/lib/appliance/firewall.nft'
plant firewall nftables.service 'unit nftables.service "[Service]"'
plant firewall appliance-firewall.service:ExecStart= 'mkdir etc/systemd/system/appliance-firewall.service.d &&
    printf "[Service]\nExecStart=\nExecStart=/bin/true\n" >etc/systemd/system/appliance-firewall.service.d/x.conf'
plant firewall appliance-firewall.service:ExecStart= 'mkdir usr/lib/systemd/system/appliance-.service.d &&
    printf "[Service]\nExecStartPost=/usr/sbin/nft flush ruleset\n" >usr/lib/systemd/system/appliance-.service.d/x.conf'
plant firewall appliance-firewall.service:ExecStart= 'mkdir etc/systemd/system/appliance-firewall.service.d &&
    printf "[Unit]\nConditionPathExists=/nowhere\n" >etc/systemd/system/appliance-firewall.service.d/x.conf'
plant generator /usr/lib/systemd/system-generators/systemd-run-generator 'program usr/lib/systemd/system-generators/systemd-run-generator'
plant generator /etc/systemd/system-generators/menu 'program etc/systemd/system-generators/menu'
plant update apt-daily.timer 'unit apt-daily.timer "[Timer]"'
plant hardware udev_log=debug 'mkdir -p etc/udev && echo udev_log=debug >etc/udev/udev.conf'
rule() { # FILE LINE...
    mkdir -p "$(dirname "$1")" && printf '%s\n' "${@:2}" >"$1"
}
plant hardware 9.rules:sh 'rule etc/udev/rules.d/9.rules "RUN+=\"/bin/sh -c true\""'
plant hardware 51-ec2.rules:ec2nvme-nsid 'rule usr/lib/udev/rules.d/51-ec2.rules "# RUN" "KERNEL==\"nvme*\", PROGRAM=\"/usr/sbin/ec2nvme-nsid %k\""'
plant hardware 9.rules:id 'rule usr/lib/udev/rules.d/9.rules "KERNEL==\"sd*\", \\" "  IMPORT{program}=\"id --export\""'
plant hardware 9.rules:sh 'rule usr/local/lib/udev/rules.d/9.rules "RUN{program}:=\"/bin/sh\""'
plant hardware 55-dm.rules:sh 'rule usr/lib/udev/rules.d/55-dm.rules "ENV{A}==\"b\", RUN+=\"/bin/sh\""'
plant hardware 55-dm.rules:sh 'rule usr/lib/udev/rules.d/55-dm.rules "PROGRAM==\"/sbin/dmsetup\", RUN+=\"/bin/sh\""'
plant hardware 55-dm.rules:sh 'rule usr/lib/udev/rules.d/55-dm.rules "ENV{A}==\"#\", RUN+=\"/bin/sh\""'
plant hardware 'policy-routes.rules:policy-routes@$name.service' \
    'rule usr/lib/udev/rules.d/policy-routes.rules "SUBSYSTEM==\"net\", TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"policy-routes@\$name.service\""'
plant hardware 9.rules:kernel/sysrq=1 'rule usr/lib/udev/rules.d/9.rules "SYSCTL{kernel/sysrq}=\"1\""'
plant hardware /usr/lib/udev/rules.d/10-appliance.rules 'rm usr/lib/udev/rules.d/10-appliance.rules'
plant hardware /etc/udev/rules.d/10-appliance.rules 'mkdir -p etc/udev/rules.d && ln -s /dev/null etc/udev/rules.d/10-appliance.rules'
plant time /usr/sbin/ntpd 'program usr/sbin/ntpd'
plant time timesyncd:NTP=192.0.2.1 'printf "[Time]\n NTP = 169.254.169.123 192.0.2.1\n" >usr/lib/systemd/timesyncd.conf.d/z.conf'
plant time timesyncd:NTP=time.example 'mkdir -p etc/systemd && printf "[Time]\nNTP=time.example\n" >etc/systemd/timesyncd.conf'
plant time timesyncd:FallbackNTP=time.example 'printf "[Time]\nFallbackNTP=time.example\n" >usr/lib/systemd/timesyncd.conf.d/z.conf'
# An empty FallbackNTP= leaves the distribution's servers in place (systemd 252: "Added new fallback server 0.debian.pool.ntp.org").
plant time timesyncd:FallbackNTP= 'printf "[Time]\nFallbackNTP=\n" >usr/lib/systemd/timesyncd.conf.d/z.conf'
plant time timesyncd:NTP= 'printf "[Time]\nNTP=\n" >usr/lib/systemd/timesyncd.conf.d/z.conf'
plant time timesyncd:FallbackNTP= 'rm usr/lib/systemd/timesyncd.conf.d/appliance.conf'
plant time timesyncd:FallbackNTP= 'mkdir -p etc/systemd/timesyncd.conf.d && ln -s /dev/null etc/systemd/timesyncd.conf.d/appliance.conf'
plant time 80-appliance.network:DHCPv4:UseNTP= 'sed -i 0,/UseNTP/s/UseNTP=no/UseNTP=yes/ usr/lib/systemd/network/80-appliance.network'
plant time 80-appliance.network:DHCPv6:UseNTP= 'sed -i "/^.DHCPv6/,/^$/{/UseNTP/d}" usr/lib/systemd/network/80-appliance.network'
plant time 80-appliance.network:NTP=192.0.2.1 'mkdir -p etc/systemd/network/80-appliance.network.d &&
    printf "[Network]\nNTP=192.0.2.1\n" >etc/systemd/network/80-appliance.network.d/x.conf'
plant time 70-other.network:DHCPv4:UseNTP= 'mkdir -p etc/systemd/network && printf "[Network]\nDHCP=ipv4\n" >etc/systemd/network/70-other.network'
plant time 70-other.network:DHCPv6:UseNTP= 'mkdir -p etc/systemd/network && printf "[Network]\nAddress=10.0.0.5/24\n" >etc/systemd/network/70-other.network'
plant time 'chrony:pool 2.pool.example' 'program usr/sbin/chronyd && echo "pool 2.pool.example iburst" >>etc/chrony.conf'
plant time 'chrony:server 192.0.2.1' 'program usr/sbin/chronyd && echo " server 192.0.2.1" >>etc/chrony.conf'
plant time 'chrony:pool 2.pool.example' 'program usr/sbin/chronyd && echo "Pool 2.pool.example" >>etc/chrony.conf'
plant time chrony:initstepslew 'program usr/sbin/chronyd && echo "initstepslew 30 time.example" >>etc/chrony.conf'
plant time chrony:sourcedir 'program usr/sbin/chronyd && echo "sourcedir /run/chrony-dhcp" >>etc/chrony.conf'
plant time chrony:port 'program usr/sbin/chronyd && sed -i /^port/d etc/chrony.conf'
plant time chrony:cmdport 'program usr/sbin/chronyd && rm etc/chrony.conf'
plant extension systemd-sysext.service 'unit systemd-sysext.service "[Service]"'
plant identity /etc/machine-id 'echo 0123456789abcdef0123456789abcdef >etc/machine-id'
plant schedule /usr/sbin/crond 'program usr/sbin/crond'
for word in init=/bin/sh rd.break systemd.debug_shell=1 systemd.unit=rescue.target single systemd.set_credential=a:b kgdboc=ttyS0 \
    sysrq_always_enabled rd.neednet=1 ip=dhcp systemd.run=/bin/sh crashkernel=256M rd.root.overlay.write=/dev/vdb \
    rootfallback=/dev/vdb mount.usr=/dev/vdb efivar_ssdt=x BASH_ENV=x anything; do
    plant command-line "$word" "make_uki '$good_words $word'"
done
# The last line decides.
for word in rd.shell=1 lockdown=none root=/dev/vdb module.sig_enforce=0 efi=debug; do
    plant command-line '' "make_uki '$good_words $word'"
done
for word in $good_words; do
    case $word in
    console=* | loglevel=* | systemd.show_status=* | sysctl.kernel.core_pattern=* | efi_pstore.*) ;;
    noresume | nohibernate) plant sleep "$word" "make_uki '${good_words/ $word/}'" ;;
    *) plant command-line '' "make_uki '${good_words/$word/}'" ;;
    esac
done
plant initrd /usr/sbin/sshd "make_uki '$good_words' usr/sbin/sshd"
plant initrd /usr/lib/systemd/systemd-sysext "make_uki '$good_words' usr/lib/systemd/systemd-sysext"
plant initrd module:network "make_uki '$good_words' 'usr/lib/dracut/modules.txt=network'"
plant initrd rd.break "make_uki '$good_words' 'etc/cmdline.d/x.conf=rd.break'"
plant initrd /etc/veritytab "make_uki '$good_words' 'etc/veritytab=verityroot UUID=1 UUID=1'"
hash=$(printf 'a%.0s' {1..64})
for options in '' ignore-corruption hash-offset=0 hash-offset=4100 hash-offset=4096,data-blocks=1 hash-offset=4096,hash-block-size=512; do
    plant initrd /etc/veritytab "make_uki '$good_words' 'etc/veritytab=verityroot UUID=1 UUID=1 $hash $options'"
done
plant initrd /etc/veritytab "make_uki '$good_words' 'etc/veritytab=verityroot UUID=1 UUID=1 $hash hash-offset=4096
other UUID=1 UUID=1 $hash hash-offset=4096'"
plant initrd kiwi-veritytab-setup.sh "make_uki '$good_words' \
    var/lib/dracut/hooks/initqueue/settled/71-kiwi-veritytab-setup.sh='veritysetup open'"
plant initrd kiwi-veritytab-setup.sh "make_uki '$good_words' usr/lib/dracut/hooks/pre-mount/1-kiwi-veritytab-setup.sh=true"
plant initrd /usr/lib/systemd/systemd-veritysetup "make_uki '$good_words' usr/lib/systemd/systemd-veritysetup"
say "$ways ways planted, and found"

# The check prints each allowed way and the reason. It fails on an allowed way without a reason, and on one that is no way in.
rm -rf "$tree" && cp -a "$closed" "$tree" && make_uki "$good_words"
printf '[Socket]\nListenStream=8080\n' >"$tree/usr/lib/systemd/system/web.socket"
echo 'listener web.* The product is a web service.' >"$scratch/allowed"
run_check --allowed="$scratch/allowed" --uki="$uki" "$tree"
assert_equal "status of an allowed way" "$status" 0
assert_line "the reason" "$scratch/out" '^allowed listener web.socket: The product is a web service\.$'
echo 'listener other.socket No.' >"$scratch/allowed"
run_check --allowed="$scratch/allowed" --uki="$uki" "$tree"
assert_equal "status where another is allowed" "$status" 1
printf '%s\n' "add rule inet appliance input tcp dport 8080 accept" >"$tree/usr/lib/appliance/firewall.d/web.nft"
printf '%s\n' "listener web.* The product is a web service." "firewall 'add rule * tcp dport 8080 accept' Its port." >"$scratch/allowed"
run_check --allowed="$scratch/allowed" --uki="$uki" "$tree"
assert_equal "status of a subject with blanks" "$status" 0
run_check --allowed="$scratch/missing" --uki="$uki" "$tree"
assert_equal "status of a file that is missing" "$status" 2
for line in 'listener web.socket' 'lisener web.socket Mistyped.'; do
    echo "$line" >"$scratch/allowed"
    run_check --allowed="$scratch/allowed" --uki="$uki" "$tree"
    assert_equal "status of '$line'" "$status" 2
done
run_check "$closed"
assert_line "without a unified kernel image" "$scratch/out" '^unseen +command-line'
run_check --uki=/bin/true "$closed"
assert_equal "status of what is no image" "$status" 2

# kiwi/build takes no image that has a way in, and none that cannot be checked. Its own function runs here; KIWI and the package do not.
eval "$(sed -n '/^make_image() {$/,/^}$/p' "$top/kiwi/build")"
run_kiwi() { install -D -m 644 /dev/null "$1/image/a.raw" && touch "$1/image/appliance.efi" "$1/image/a.packages"; }
unpack_package() { install -D -m 755 /bin/true "$2/usr/bin/unsealctl"; }
# shellcheck disable=SC2034 # make_image uses them
kiwi=$scratch/kiwi description=$scratch/description tool='' checked=yes allowed=()
mkdir "$kiwi" "$description"
install -m 755 /bin/true "$kiwi/check-drivers"
for ends in 0 1 2; do
    printf '#!/bin/sh\n%s\nexit %s\n' "$([ $ends != 1 ] || echo 'echo "OPEN    ssh /usr/sbin/sshd: a program"')" $ends >"$kiwi/check-ways-in"
    chmod 755 "$kiwi/check-ways-in"
    mkdir "$scratch/image-$ends"
    set +e
    (set -e && make_image "$scratch/image-$ends") >"$scratch/out" 2>&1
    status=$?
    set -e
    if [ $ends = 0 ]; then expected=0; else expected=1; fi
    assert_equal "status of make_image where the check ends with $ends" "$status" $expected
    [ -e "$scratch/image-$ends/.checked" ] && seen=0 || seen=1
    assert_equal "whether the image counts as checked where the check ends with $ends" "$seen" $expected
done
