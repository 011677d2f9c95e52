#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The examples of unseald-consumers(7) for units and programs, taken out of the page and run in a machine under systemd. Each program
# gets the secret as the page says. What the page calls impossible is tried, too. tests/containers has the containers.
. "$(dirname "$0")/lib.sh"
page=$top/man/unseald-consumers.7.rst

# example NAME: prints the example with this comment on top
example() {
    awk -v wanted="    # $1" '$0 == wanted { on = 1; next } on && /^[^ ]/ { exit } on' "$page" | sed 's/^    //'
}
hash_of() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }

platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
layer_new
for name in db-password api-token; do printf 'the %s' "$name" | vendor_seal "$key" "$name" "$scratch/$name"; done
printf 'PASSWORD=the environment\nOTHER=1\n' | vendor_seal "$key" app-env "$scratch/app-env"
layer_secret db-password "$key" "$scratch/db-password"
layer_secret app-env "$key" "$scratch/app-env"
example api-token.secret >"$scratch/deliver"
mapfile -t deliver <"$scratch/deliver"
[ "${#deliver[@]}" -ge 3 ] || die "the page has no api-token.secret"
layer_secret api-token "$key" "$scratch/api-token" "${deliver[@]}"

# The units of the page, and two that the page calls impossible.
units=$layer/usr/lib/systemd/system
for unit in piped.service worker@.service numeric.service several.service legacy.service; do
    example "/etc/systemd/system/$unit" >"$units/$unit"
    [ -s "$units/$unit" ] || die "the page has no $unit"
done
sed 's|/run/unseald/credentials/app-env|%d/app-env|; /^EnvironmentFile/i LoadCredential=app-env:/run/unseald/credentials/app-env' \
    "$units/legacy.service" >"$units/impossible.service"
sed 's/^Type=exec/&\nDynamicUser=yes/; s|^EnvironmentFile.*||; s|/usr/bin/legacy|/usr/bin/numeric --password-file=/run/unseald/credentials/db-password|' \
    "$units/legacy.service" >"$units/dynamic.service"
# 5 is a user of Debian, and 4711 is none.
sed 's/^User=.*/User=4711/' "$units/numeric.service" >"$units/missing.service"
sed -i 's/^User=.*/User=5/' "$units/numeric.service"
cat "$units/worker@.service" >"$units/workers@.service"
for language in python node go; do
    printf '%s\n' '[Service]' Type=exec LoadCredential=db-password:/run/unseald/credentials.sock \
        "ExecStart=/usr/lib/machine/$language" >"$units/$language.service"
    example "$language" >"$scratch/$language"
    [ -s "$scratch/$language" ] || die "the page has no program in $language"
done

# The programs record the hash of what they read, never the value.
mkdir -p "$layer/usr/bin" "$layer/usr/lib/machine"
cat >"$layer/usr/lib/machine/consumer" <<'END'
#!/bin/sh
case $1 in
--*-file=*) cat "${1#*=}" ;;
*) if [ "${PASSWORD+set}" ]; then printf %s "$PASSWORD"; else cat; fi ;;
esac >/tmp/read.$$ || exit 1
sha256sum </tmp/read.$$ | cut -d' ' -f1 >"/out/got/$(sed -n 's|^0::.*/||p' /proc/self/cgroup)"
END
chmod +x "$layer/usr/lib/machine/consumer"
for program in piped worker numeric several legacy; do cp "$layer/usr/lib/machine/consumer" "$layer/usr/bin/$program"; done
{
    echo '#!/usr/bin/python3'
    cat "$scratch/python"
    echo 'import hashlib'
    printf '%s\n' 'open("/out/got/python.service", "w").write(hashlib.sha256(password).hexdigest() + "\n")'
} >"$layer/usr/lib/machine/python"
{
    echo "#!$(command -v node)"
    cat "$scratch/node"
    printf '%s\n' 'fs.writeFileSync("/out/got/node.service", require("crypto").createHash("sha256").update(password).digest("hex") + "\n");'
} >"$layer/usr/lib/machine/node"
languages='python'
if command -v node >/dev/null && [[ $(command -v node) == /usr/bin/* ]]; then languages+=' node'; else say "SKIP: no /usr/bin/node"; fi
if command -v go >/dev/null; then
    mkdir "$scratch/gosource"
    {
        printf 'package main\n\nimport (\n"crypto/sha256"\n"fmt"\n"os"\n"path/filepath"\n)\n\nfunc main() {\n'
        cat "$scratch/go"
        printf 'if err != nil {\npanic(err)\n}\nos.WriteFile("/out/got/go.service", []byte(fmt.Sprintf("%%x\\n", sha256.Sum256(password))), 0644)\n}\n'
    } >"$scratch/gosource/main.go"
    (cd "$scratch/gosource" && GOCACHE=$scratch/gocache GOFLAGS=-mod=mod CGO_ENABLED=0 go build -o "$layer/usr/lib/machine/go" main.go)
    languages+=' go'
else
    say "SKIP: no go"
fi
chmod +x "$layer/usr/lib/machine/"*

say "unsealctl check finds nothing in the examples, and the impossible ones"
mkdir -p "$scratch/root/etc" "$scratch/root/usr"
cp -a "$layer/usr/." "$scratch/root/usr/"
cp /etc/passwd /etc/group "$scratch/root/etc/"
rm "$scratch/root/usr/lib/systemd/system/"{impossible,dynamic,workers@,missing,other,billing,report}.service
"$build/daemon/unsealctl" check --root="$scratch/root" >"$scratch/checked" || die "$(cat "$scratch/checked")"
assert_equal "what check says" "$(grep -v '^Advice' "$scratch/checked" || true)" ''
cp "$layer/usr/lib/systemd/system/"{impossible,dynamic,workers@}.service "$scratch/root/usr/lib/systemd/system/"
"$build/daemon/unsealctl" check --root="$scratch/root" --json >"$scratch/checked" || true
assert_equal "what check finds" "$(jq -r '.findings[] | select(.severity == "mistake") | "\(.unit) \(.id)"' "$scratch/checked" | sort | xargs)" \
    'dynamic.service dynamic-user impossible.service environment-file workers@.service credential-refused'

started="piped worker@1 worker@eu-2 numeric several legacy $languages"
cat >"$layer/usr/lib/machine/extra" <<END
#!/bin/sh
mkdir -p -m 777 /out/got && chmod 777 /out/got
for unit in $started impossible dynamic missing workers@1; do
    systemctl start --wait \$unit.service
    echo "\$unit \$(systemctl show -P Result \$unit.service) \$(systemctl show -P ExecMainStatus \$unit.service)" >>/out/results
done
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out
cat "$out/results"
for unit in $started; do
    case $unit in
    worker@*) wanted='the api-token' ;;
    legacy) wanted='the environment' ;;
    *) wanted='the db-password' ;;
    esac
    assert_line "$unit" "$out/results" "^$unit success 0$"
    assert_equal "what $unit read" "$(cat "$out/got/$unit.service")" "$(hash_of "$wanted")"
done
assert_line "EnvironmentFile=%d" "$out/results" '^impossible resources '
assert_line "a dynamic user in the store" "$out/results" '^dynamic exit-code 1$'
assert_line "a number of no user" "$out/results" '^missing exit-code 217$'
assert_line "an instance of another template" "$out/results" '^workers@1 exit-code 243$'
for unit in impossible dynamic missing workers@1; do [ ! -e "$out/got/$unit.service" ] || die "$unit.service got a secret"; done
for name in db-password api-token environment; do
    assert_absent "the plaintext of $name" "the $name" "$out/journal" "$out/journal.json" "$out/status.json" "$out/console"
done
