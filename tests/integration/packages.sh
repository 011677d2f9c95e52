#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian package is installed into a fresh Debian, upgraded and purged. The RPM has the same files. A minimal system with the
# package's dependencies is made once and kept in $UNSEALD_CACHE.
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
for program in /usr/lib/unseald/unseald /usr/lib/unseald/unseald-attest unsealctl; do
    assert_match "$program --version" "$(inside "$program" --version | head -n 1)" "$version"
done
for unit in unseald.service unseald.socket unseald-attest.socket; do
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

# The RPM has the same programs, units and pages. Nothing of it runs here.
dpkg-deb -x "$deb" "$scratch/deb-tree"
contents() { grep -vE '^/usr/(share/(doc|licenses)/unseald[^/]*|lib/\.build-id)(/|$)' | sed 's/\.gz$//' | LC_ALL=C sort; }
(cd "$scratch/deb-tree" && find . \( -type f -o -path ./usr/lib/unseald/secrets.d -o -path './etc/unseald*' \) -printf '/%P\n') |
    contents >"$scratch/deb-files"
rpm -qlp "$rpm" 2>/dev/null | grep -vxF /usr/lib/unseald | contents >"$scratch/rpm-files"
assert_equal "what the packages differ in" "$(diff "$scratch/deb-files" "$scratch/rpm-files" || true)" ''
assert_match "what the RPM requires" "$(rpm -qp --requires "$rpm" 2>/dev/null | tr '\n' ' ')" 'systemd >= 252.*tpm2-tss'
say "the RPM: $(wc -l <"$scratch/rpm-files") files, as the deb has them"
