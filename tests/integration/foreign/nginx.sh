#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The example of unseald-documents(8): an unmodified nginx with a key that is made at boot, and the attestation service behind it. unsealctl
# verify --tls accepts the connection to it, and refuses it once the web server has another key than the document.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/integration/pypi.sh
. "$top/tests/integration/pypi.sh"

# Debian's nginx is unpacked and not installed: its package would start it, here as well.
nginx_packages() { # DIRECTORY
    cd "$1" && apt-get -o APT::Sandbox::User=root -qq download nginx nginx-common && for package in *.deb; do dpkg-deb -x "$package" . || return; done
}
install_once nginx "Debian's archive" nginx_packages
directory=$cache/nginx
if ldd "$directory/usr/sbin/nginx" | grep -q "not found"; then
    echo "skipped: a library of Debian's nginx is not installed"
    exit 77
fi
echo "with $("$directory/usr/sbin/nginx" -v 2>&1)"

platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
printf 'the db-password' | vendor_seal "$key" db-password "$scratch/db-password"
examples=$install_root/usr/share/doc/unseald/examples
mapfile -t lines < <(grep -v '^#' "$examples/web-key-unseald.conf" | grep .)
layer_new "${lines[@]}"
layer_secret db-password "$key" "$scratch/db-password"
cp "$PLATFORM_NITRO_ROOT" "$layer/usr/lib/machine/root.pem"
cp "$examples/web-key.service" "$directory/lib/systemd/system/nginx.service" "$layer/usr/lib/systemd/system/"
install -D "$directory/usr/sbin/nginx" "$layer/usr/sbin/nginx"
cp -r "$directory/etc/nginx" "$layer/usr/lib/machine/nginx"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$layer/usr/lib/machine/other-key.pem" \
    -out "$layer/usr/lib/machine/other-cert.pem" -subj /CN=attested 2>/dev/null
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
exec >/out/extra 2>&1
set -x
# As Debian's package has it, with the example beside it.
cp -r /usr/lib/machine/nginx /etc/nginx
mkdir -p /var/log/nginx /var/lib/nginx /etc/nginx/conf.d
rm -f /etc/nginx/sites-enabled/*
# The local platform has port 443 here.
sed 's/listen 443 /listen 8443 /' /usr/share/doc/unseald/examples/web-key-nginx.conf >/etc/nginx/conf.d/web-key-nginx.conf
grep -q '^www-data:' /etc/passwd || { echo 'www-data:x:33:33::/:/usr/sbin/nologin' >>/etc/passwd; echo 'www-data:x:33:' >>/etc/group; }
chgrp unseald /platform/tpm.sock /platform/tpm.sock.ctrl
chmod 0660 /platform/tpm.sock /platform/tpm.sock.ctrl
systemctl enable web-key.service
systemctl start unseald-attest.socket nginx.service
systemctl is-active nginx.service web-key.service >/out/active
journalctl --sync
journalctl -q -u web-key.service -u nginx.service -o cat >/out/journal-web
stat -c '%a %U' /run/web-key/key.pem >/out/key-mode
verify() {
    out=/out/verify-$1
    shift
    unsealctl verify --root=/usr/lib/machine/root.pem --url=https://127.0.0.1:8443 "$@" >"$out" 2>&1
    echo "exit status $?" >>"$out"
}
verify own --tls
verify certificates
# The document has the first key, and the web server another one.
cp /usr/lib/machine/other-key.pem /etc/nginx/other-key.pem
cp /usr/lib/machine/other-cert.pem /etc/nginx/other-cert.pem
sed -i 's#/run/web-key/cert.pem#/etc/nginx/other-cert.pem#; s#/run/web-key/key.pem#/etc/nginx/other-key.pem#' /etc/nginx/conf.d/web-key-nginx.conf
systemctl restart nginx.service
verify other --tls
curl -sk https://127.0.0.1:8443/ >/out/served
systemctl stop nginx.service unseald-attest.socket unseald-attest.service
systemctl --failed --no-legend --plain >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
[ "$(cat "$out/active")" = $'active\nactive' ] || die "nginx and its key: $(cat "$out/active" "$out/journal-web")"
assert_equal "the private key" "$(cat "$out/key-mode")" '600 root'
assert_line "verify --tls" "$out/verify-own" '^exit status 0$'
assert_line "the key of the connection" "$out/verify-own" '^  public-key +proved +the key of this TLS connection'
assert_line "without --tls the certificate is checked" "$out/verify-certificates" '^exit status 51$'
assert_line "another key" "$out/verify-other" '^exit status 17$'
assert_equal "the control: nginx serves with the other key" "$(cat "$out/served")" 'Hello World'
assert_equal "failed units" "$(cat "$out/failed")" ''
