#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages are installed into a fresh Debian, upgraded and purged. The RPMs have the same files. A minimal system with the
# packages' dependencies is made once and kept in $UNSEALD_CACHE.
. "$(dirname "$0")/lib.sh"

cache=${UNSEALD_CACHE:-$top/.cache}/packages
deb=$("$top/kiwi/packaging/build-deb" "$scratch/deb")
rpm=$("$top/kiwi/packaging/build-rpm" "$scratch/rpm")
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" "$top/meson.build")

# A minimal system, with the dependencies that the package declares, and with man.
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
depends=$(dpkg-deb -f "$deb" Depends | sed 's/ ([^)]*)//g; s/ *| *[^,]*//g; s/, */,/g')
base=$cache/$(echo "$suite $depends" | sha256sum | cut -c -16).tar
if [ ! -f "$base" ]; then
    say "making $base: a minute"
    command -v mmdebstrap >/dev/null || apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends mmdebstrap >/dev/null
    mkdir -p "$cache"
    mmdebstrap --quiet --format=tar --mode=root --variant=minbase --include="$depends,man-db,udev" "$suite" "$base.new" >"$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" && die "mmdebstrap failed"; }
    mv "$base.new" "$base"
fi
root=$scratch/root
mkdir "$root" && tar -C "$root" -xf "$base"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
# listing: every file of the system, without the records of dpkg and of the journal catalog
listing() {
    (cd "$root" && find . -xdev -regextype egrep ! -regex '\./(run|var/(log|cache|lib/(dpkg|systemd)))/.*' ! -name '*-' \
        ! -name .pwd.lock -printf '%p %y %m %u:%g %l\n' && cat etc/passwd etc/group) | LC_ALL=C sort
}

listing >"$scratch/before"
cp "$deb" "$root/unseald.deb"
inside dpkg -i unseald.deb >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" && die "dpkg -i failed"; }
rm "$root/unseald.deb"

assert_match "the user" "$(inside getent passwd unseald)" '^unseald:.*:/:/usr/sbin/nologin$'
for program in /usr/lib/unseald/unseald /usr/lib/unseald/unseald-attest /usr/lib/unseald/unseald-kms /usr/lib/unseald/unseald-volume unsealctl; do
    assert_match "$program --version" "$(inside "$program" --version | head -n 1)" "$version"
done
for unit in unseald.service unseald.socket unseald-attest.socket unseald-documents.socket unseald-kms.socket; do
    assert_equal "$unit" "$(inside systemctl is-enabled "$unit" || true)" disabled
done
inside systemd-analyze verify --man=no unseald.service >"$scratch/verify" 2>&1 || die "systemd-analyze verify: $(cat "$scratch/verify")"
inside journalctl --list-catalog >"$scratch/catalog"
first=$(sed -n 's/^-- \([0-9a-f]*\)$/\1/p' "$top/conf/unseald.catalog" | head -n 1)
assert_line "the catalog's index" "$scratch/catalog" "^$first "
for page in "$top"/man/*.rst; do
    name=$(basename "$page" .rst)
    inside man -w "${name##*.}" "${name%.*}" >/dev/null || die "there is no man page $name"
done
assert_line "the TPM's group" "$root/usr/lib/udev/rules.d/72-unseald-tpm.rules" 'GROUP="unseald"'

# An upgrade keeps the service enabled. A purge leaves nothing behind.
inside systemctl --quiet enable unseald.service
cp "$deb" "$root/unseald.deb"
inside dpkg -i unseald.deb >"$scratch/log" 2>&1
rm "$root/unseald.deb"
assert_equal "after an upgrade" "$(inside systemctl is-enabled unseald.service)" enabled
inside dpkg --purge unseald >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" && die "dpkg --purge failed"; }
listing >"$scratch/after"
difference=$(diff "$scratch/before" "$scratch/after" || true)
assert_equal "what a purge leaves behind" "$difference" ''
say "the deb: installed, upgraded, purged"

# The tool alone: it verifies without any other file, has no service, and gives way to the package that has everything.
tool=$scratch/deb/unsealctl_${deb##*/unseald_}
dpkg-deb -f "$tool" Depends | tr ',' '\n' >"$scratch/depends"
assert_line "what unsealctl depends on" "$scratch/depends" 'libcurl'
assert_no_line "what unsealctl depends on" "$scratch/depends" 'tss2|^ *systemd( |$)'
cp "$tool" "$root/unsealctl.deb"
cp "$top/tests/vectors/attestation/nitrotpm-document.cbor" "$root/"
inside dpkg -i unsealctl.deb >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" && die "dpkg -i unsealctl.deb failed"; }
inside ldd /usr/bin/unsealctl >"$scratch/libraries"
assert_line "ldd works" "$scratch/libraries" 'libcrypto\.so'
assert_no_line "libraries" "$scratch/libraries" 'tss2'
inside mv /usr/lib/unseald/aws-nitro-root-g1.pem /away
status=0
inside unsealctl verify --at=@1786642608 --max-age=5min /nitrotpm-document.cbor >"$scratch/verdict" 2>&1 || status=$?
assert_equal "verify" "$status: $(head -n 1 "$scratch/verdict")" '0: Accepted.'
inside mv /away /usr/lib/unseald/aws-nitro-root-g1.pem
cp "$deb" "$root/unseald.deb"
inside dpkg -i unseald.deb >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" && die "dpkg -i unseald.deb in place of unsealctl failed"; }
assert_match "the tool of the whole package" "$(inside ldd /usr/bin/unsealctl)" 'tss2'
inside dpkg --purge unseald unsealctl >"$scratch/log" 2>&1
rm "$root"/*.deb "$root/nitrotpm-document.cbor"
listing >"$scratch/after"
assert_equal "what a purge leaves behind" "$(diff "$scratch/before" "$scratch/after" || true)" ''
say "unsealctl alone: installed, replaced by unseald, purged"

# rpmbuild found what it needs. Nothing of that is certain unless it refuses what is too old.
mkdir "$scratch/old" && printf '#!/bin/sh\necho 0.61.5\n' >"$scratch/old/meson" && chmod +x "$scratch/old/meson"
status=0
PATH=$scratch/old:$PATH "$top/kiwi/packaging/build-rpm" "$scratch/none" >"$scratch/log" 2>&1 || status=$?
assert_equal "build-rpm with a meson that is too old" "$status" 1
assert_line "build-rpm with a meson that is too old" "$scratch/log" '^[[:space:]]*meson >= 0\.62 is needed by unseald-'

# The RPMs are installed beside a stub that provides what they require, and no more. Their scripts do not run here.
tool_rpm=${rpm%/*}/unsealctl-${rpm##*/unseald-}
# stub NAME EXPRESSION: the root with a stub, whose provisions EXPRESSION of sed edits
stub() {
    {
        printf '%s\n' 'Name: stub' 'Version: 1' 'Release: 1' 'Summary: Stub' 'License: None' 'BuildArch: noarch'
        rpm -qp --requires "$rpm" "$tool_rpm" 2>/dev/null | grep -v '^rpmlib(' | sort -u | sed "s/>=/=/; s/^/Provides: /; $2"
        printf '%s\n' '%description' '%files'
    } >"$scratch/$1.spec"
    rpmbuild --quiet -bb --define "_topdir $scratch/$1-build" "$scratch/$1.spec" >"$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" && die "rpmbuild failed"; }
    in_root "$1" -i "$scratch/$1-build"/RPMS/noarch/*.rpm || die "rpm -i of the stub: $(cat "$scratch/log")"
}
in_root() {
    mkdir -p "$scratch/$1"
    rpm --root "$scratch/$1" --dbpath /var/lib/rpm --noscripts "${@:2}" >"$scratch/log" 2>&1
}
refuses() {
    if in_root "$1" -i "$2"; then die "rpm installs ${2##*/} in $1"; fi
    assert_line "rpm -i ${2##*/} in $1" "$scratch/log" "$3"
}
stub without-tss '/ tpm2-tss /d'
refuses without-tss "$rpm" '^[[:space:]]*tpm2-tss >= 3\.2 is needed by unseald-'
stub old-systemd 's/systemd = 252\.4/systemd = 252.3/'
refuses old-systemd "$rpm" '^[[:space:]]*systemd >= 252\.4 is needed by unseald-'
stub stubbed ''
in_root stubbed -i "$rpm" || die "rpm -i: $(cat "$scratch/log")"
in_root stubbed -V unseald || die "rpm -V: $(cat "$scratch/log")"
refuses stubbed "$tool_rpm" '^[[:space:]]*unsealctl conflicts with \(installed\) unseald-'
in_root stubbed -e unseald || die "rpm -e: $(cat "$scratch/log")"
in_root stubbed -i "$tool_rpm" || die "rpm -i: $(cat "$scratch/log")"
in_root stubbed -e unsealctl || die "rpm -e: $(cat "$scratch/log")"
# Debian's rpm puts %doc beside the directory of the examples, Amazon Linux's puts it there. So only there does the package own it.
assert_equal "what rpm -e leaves behind" "$(cd "$scratch/stubbed" &&
    find . \( ! -type d -o -name '*unseal*' \) ! -path './var/lib/rpm/*' ! -path ./usr/share/doc/unseald)" ''

# The RPMs have the same programs, units and pages as the debs.
dpkg-deb -x "$deb" "$scratch/deb-tree"
dpkg-deb -x "$tool" "$scratch/tool-tree"
contents() { grep -vE '^/usr/(share/(doc|licenses)/unseal[^/]*|lib/\.build-id)(/|$)' | sed 's/\.gz$//' | LC_ALL=C sort; }
(cd "$scratch/deb-tree" && find . \( -type f -o -path ./usr/lib/unseald/secrets.d -o -path ./usr/lib/unseald/volumes.d -o -path './etc/unseald*' \) -printf '/%P\n') |
    contents >"$scratch/deb-files"
rpm -qlp "$rpm" 2>/dev/null | grep -vxF /usr/lib/unseald | contents >"$scratch/rpm-files"
assert_equal "what the packages of unsealctl differ in" "$(diff <(cd "$scratch/tool-tree" && find . -type f -printf '/%P\n' | contents) \
    <(rpm -qlp "$tool_rpm" 2>/dev/null | grep -vxF /usr/lib/unseald | contents) || true)" ''
assert_equal "what the packages differ in" "$(diff "$scratch/deb-files" "$scratch/rpm-files" || true)" ''
assert_match "what the RPM requires" "$(rpm -qp --requires "$rpm" 2>/dev/null | tr '\n' ' ')" 'systemd >= 252\.4 .*tpm2-tss'
assert_match "what the deb depends on" "$(dpkg-deb -f "$deb" Depends)" 'systemd \(>= 252\.4\)'

# Amazon Linux has the macros of the scripts. Here each prints its name and its units.
spec() {
    rpmspec --parse --define "source_version $version" --define 'systemd_post() echo post %*' --define 'systemd_preun() echo preun %*' \
        --define 'systemd_postun() echo postun %*' "$top/kiwi/packaging/unseald.spec" 2>"$scratch/spec-error" || die "rpmspec: $(cat "$scratch/spec-error")"
}
spec >"$scratch/spec"
units() { sed -n "s/^echo $1 //p" "$scratch/spec" | tr ' ' '\n' | LC_ALL=C sort; }
grep -l '^\[Install\]' "$top"/units/*.* | xargs -n 1 basename -s .in | LC_ALL=C sort >"$scratch/installable"
[ -s "$scratch/installable" ] || die "no unit has [Install]"
for script in post postun; do assert_equal "the units of %$script" "$(units $script)" "$(cat "$scratch/installable")"; done
assert_equal "the units of %preun" "$(units preun | grep -vxF unseald-report.timer)" "$(cat "$scratch/installable")"
# What meson asks for is what rpmbuild asks for.
asked() { sed -nE "s/.*dependency\('($1)', version: '>=([0-9.]+)'.*/\1 \2/p" "$top/meson.build"; }
asked 'libsystemd|libcrypto|libssl|libcurl|json-c' | while read -r library least; do
    assert_line "what is needed to build the RPM" "$scratch/spec" "^BuildRequires: +pkgconfig\($library\) >= ${least%.0}(\.0)?\$"
done
assert_equal "libraries that meson asks for" "$(asked 'libsystemd|libcrypto|libssl|libcurl|json-c' | wc -l)" 5

# Each name of a package of Amazon Linux 2023 is in the list of those that were looked up.
sed -nE 's/^([a-z0-9][^ []*)$/\1/p' "$top/kiwi/packaging/al2023-names" | LC_ALL=C sort >"$scratch/looked-up"
{
    sed -n '/^fedora_build=(/,/^)/p' "$top/tests/setup" | sed '1d;$d' | tr ' ' '\n'
    sed -nE 's/.*dnf -q -y install (.*)$/\1/p' "$top/kiwi/packaging/build-rpm" | tr ' ' '\n'
    sed -nE 's/^(Build)?Requires: +([^ (]+)( .*)?$/\2/p' "$scratch/spec"
    sed -n '/<packages .*profiles="al2023"/,/<\/packages>/p' "$top/kiwi/appliance.kiwi" |
        sed -nE 's/.*<(package|ignore) name="([^"]*)".*/\2/p' | grep -vx unseald
} | sed '/^$/d' | LC_ALL=C sort -u >"$scratch/named"
[ "$(wc -l <"$scratch/named")" -ge 40 ] || die "only $(wc -l <"$scratch/named") names of packages were found"
assert_equal "names that nobody has looked up in Amazon Linux 2023" "$(comm -23 "$scratch/named" "$scratch/looked-up")" ''
assert_equal "names in al2023-names that nothing uses" "$(comm -13 "$scratch/named" "$scratch/looked-up")" ''
say "the RPM: $(wc -l <"$scratch/rpm-files") files, as the deb has them"
