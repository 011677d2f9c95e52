#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The package is removed and installed again on a running machine, without a reboot, by the maintainer scripts of the Debian package.
# No secret is left in between, and afterwards a unit gets its credential at the socket.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
layer_new
printf 'the db-password' | vendor_seal "$key" db-password "$scratch/db-password"
layer_secret db-password "$key" "$scratch/db-password"
for script in prerm postrm postinst; do
    install -m 755 "$top/kiwi/packaging/debian/unseald.$script" "$layer/usr/lib/machine/$script"
done
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/bash
exec >/out/extra 2>&1
set -x
# /usr is read-only here. The package's files that systemd reads are put in place of it.
cp -a /usr/lib/systemd/system /run/system
mount --bind /run/system /usr/lib/systemd/system
cd /usr/lib/systemd/system
mkdir -p /run/package && cp -a unseald* unsealed.target run-unseald-credentials.mount /run/package/
ask() { # NAME: a unit that loads the secret at the socket
    systemd-run -q --wait --pipe -p TimeoutStartSec=20 -p LoadCredential=db-password:/run/unseald/credentials.sock \
        sh -c 'sha256sum <$CREDENTIALS_DIRECTORY/db-password' >"/out/asked-$1" 2>&1
    echo "exit status $?" >>"/out/asked-$1"
}
ask before
/usr/lib/machine/prerm remove; echo "prerm $?" >/out/scripts
(cd /run/package && ls -A) | xargs rm
/usr/lib/machine/postrm remove; echo "postrm $?" >>/out/scripts
systemctl list-units --all --no-legend --plain 'unseal*' run-unseald-credentials.mount >/out/units-removed
ls -A /run/unseald >/out/files-removed 2>&1
ask removed
# The same for a package that was installed and never enabled: systemd knows none of its units.
/usr/lib/machine/postrm remove; echo "postrm $?" >/out/scripts-idle
cp -a /run/package/* .
/usr/lib/machine/postinst configure; echo "postinst $?" >>/out/scripts
systemctl enable --now unseald.socket unseald.service
ask again
systemctl list-units --failed --no-legend --plain 'unseal*' >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
hash=$(printf 'the db-password' | sha256sum | cut -d ' ' -f 1)

assert_line "before" "$out/asked-before" "^$hash "
assert_equal "the maintainer scripts" "$(tr '\n' ' ' <"$out/scripts")" 'prerm 0 postrm 0 postinst 0 '
assert_equal "a removal where nothing runs" "$(cat "$out/scripts-idle")" 'postrm 0'
assert_no_line "a unit or a mount that is left" "$out/units-removed" '^\S+ +\S+ +(active|failed)'
assert_equal "what is left of /run/unseald" "$(cat "$out/files-removed")" "ls: cannot access '/run/unseald': No such file or directory"
assert_line "a unit without the package fails" "$out/asked-removed" '^exit status [1-9]'
assert_no_line "no secret without the package" "$out/asked-removed" "$hash"
assert_line "after the second installation" "$out/asked-again" "^$hash "
assert_equal "failed units" "$(cat "$out/failed")" ''
