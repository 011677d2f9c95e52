#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rules 7 and 8 of unseald-threat-model(7), on machines with a real systemd. The attacks come from programs on the instance, and
# from what a machine receives at its start: files in /run, system credentials, an environment.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/table.sh"
platform_start
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
table_begin 'on a machine'
MACHINE_LIMIT=60
printf 'Hello World' >"$scratch/secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$scratch/secret"
layer_new
layer_secret db-password "$key" "$scratch/sealed"
vendor_seal "$key" token "$scratch/token" <"$scratch/secret"
layer_secret token "$key" "$scratch/token" '[Deliver]' Units=asks.service Store=no
mkdir -p "$layer/usr/lib/systemd/system/sockets.target.wants"
ln -s ../unseald.socket "$layer/usr/lib/systemd/system/sockets.target.wants/"
for unit in asks thief; do
    printf '%s\n' '[Service]' Type=oneshot LoadCredential=token:/run/unseald/credentials.sock \
        "ExecStart=/bin/cp -r \${CREDENTIALS_DIRECTORY} /out/$unit" >"$layer/usr/lib/systemd/system/$unit.service"
done
install -m 755 "$top/tests/integration/attacks/insider" "$layer/usr/lib/machine/"

# An attacker wrote into /run before the boot.
cat >"$layer/usr/lib/systemd/system/plant.service" <<'END'
[Unit]
DefaultDependencies=no
After=run-unseald-credentials.mount
Before=unseald.service
[Service]
Type=oneshot
ExecStart=/usr/lib/machine/plant
END
cat >"$layer/usr/lib/machine/plant" <<'END'
#!/bin/sh
mkdir -p /run/unseald/unseald.conf.d /run/unseald/secrets.d
for file in /run/unseald/unseald.conf /run/unseald/unseald.conf.d/90-evil.conf; do
    printf '%s\n' '[Unseald]' KmsEndpoint=https://127.0.0.9 TrustedCertificates=/run/attacker.pem DeadlineSec=1s >$file
done
printf '%s\n' '[Secret]' Source=file:/run/attacker.sealed KeyId=arn:aws:kms:eu-north-1:222222222222:key/0 >/run/unseald/secrets.d/db-password.secret
cp /run/unseald/secrets.d/db-password.secret /run/unseald/secrets.d/evil.secret
printf planted >/run/unseald/credentials/db-password
END
sed -i 's/^Wants=.*/& plant.service/' "$layer/usr/lib/systemd/system/machine.target"

# Prints one line for each row: rule, attack, what happened. $unseald is the PID of unseald.
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
unseald=$(systemctl show -P MainPID unseald.service)
as() { # USER VERB ARGUMENT...
    user=$1 && shift
    systemd-run --quiet --wait --pipe -p "User=$user" /usr/lib/machine/insider "$@" 2>&1
}
row() { printf '%s\t%s\t%s\n' "$@" >>/out/rows; }
systemd-run --quiet --unit=sleeper -p User=games sleep 60
as games attach "$(systemctl show -P MainPID sleeper.service)" >/out/control
for user in unseald games; do
    row 7 "the user $user reads unseald's memory (/proc/PID/mem)" "$(as $user memory $unseald)"
    row 7 "the user $user attaches to unseald (ptrace)" "$(as $user attach $unseald)"
    row 7 "the user $user reads unseald's environment" "$(as $user read /proc/$unseald/environ)"
    row 8 "the user $user reads the secret in the store" "$(as $user read /run/unseald/credentials/db-password)"
done
row 8 "the user games lists the store" "$(as games list /run/unseald/credentials)"
row 8 "the user games writes into the store" "$(as games write /run/unseald/credentials/license)"
row 8 "the user games replaces the secret in the store" "$(as games write /run/unseald/credentials/db-password)"
row 8 "the user games reads the application's credential" "$(as games read /run/credentials/billing.service/db-password)"
for user in unseald games; do
    row 8 "the user $user asks the credential socket in the name of asks.service" "$(as $user ask asks.service token)"
done
row 8 "root asks it in the name of a unit that is not in Units=" "$(as root ask thief.service token)"
as root ask asks.service token >/out/control-root
systemctl start asks.service
systemctl start thief.service
systemctl show -P ExecMainStatus thief.service >/out/thief-status
journalctl --sync
journalctl -q -u unseald --grep thief.service -o cat >/out/thief-words
sed -n 's/^SSL_CERT_FILE=//p' /proc/1/environ >/out/environment
systemctl show-environment >>/out/environment
END
chmod +x "$layer"/usr/lib/machine/{extra,plant}

# boot OUT ARGUMENT...: boots with these arguments of systemd-nspawn, then of systemd
boot() {
    begun=$EPOCHREALTIME
    machine_boot "$@"
    took=$((${EPOCHREALTIME/./} - ${begun/./}))
    took=$((took / 1000000)).$((took % 1000000 / 100000))
}
handed=(--set-credential=unseald.conf:evil --set-credential=db-password:handed --set-credential=secrets.d:evil
    systemd.setenv=SSL_CERT_FILE=/run/attacker.pem systemd.setenv=https_proxy=http://127.0.0.9 systemd.setenv=OPENSSL_CONF=/run/attacker.cnf)
boot "$scratch/out" "${handed[@]}"
out=$scratch/out
saw=$(machine_show "$out" unseald.service ActiveState)
words=$(grep -E -o 'db-password: published.*' "$out/journal-plain" || tail -n 1 "$out/journal-plain")
row - 'configuration in /run/unseald, also under the name of the secret' "$saw" active "$words" published "$took"
expect 'what the application read' "$(cat "$out/application")" "$(sha256sum <"$scratch/secret" | cut -d' ' -f1)"
assert_line 'the environment was set, so that this shows something' "$out/environment" '^SSL_CERT_FILE=/run/attacker.pem'
row - 'system credentials named after configuration and secret' "$saw" active "$words" published "$took"
row - 'systemd.setenv= on the command line: SSL_CERT_FILE, proxy, OPENSSL_CONF' "$saw" active "$words" published "$took"
[ "$(cat "$out/control")" = 'done' ] ||
    say "SKIP: a user cannot attach to a program of their own here either ($(cat "$out/control"); kernel.yama.ptrace_scope?)"
while IFS=$'\t' read -r rule label saw; do
    case $saw in done*) happened=$saw ;; *) happened=refused ;; esac
    row "$rule" "$label" "$happened" refused "$saw" 'Permission denied|not permitted|No such file|refused with' -
done <"$out/rows"
expect 'rows of the machine' "$(wc -l <"$out/rows")" 15
expect 'what root gets in the name of a unit that is' "$(cat "$out/control-root")" 'done: 11 bytes'
row 8 'a unit asks the credential socket for the secret of another' "$(cat "$out/thief-status")" 243 "$(tail -n 1 "$out/thief-words")" 'thief.service' -
expect 'what that unit got' "$(ls "$out/thief" 2>/dev/null)" ''
expect 'what the unit that may have it got' "$(cat "$out/asks/token")" "$(<"$scratch/secret")"

# If unsealing fails, nothing else takes the place of the secret.
platform extend 4 'an image of the owner' >/dev/null
for path in '' :/run/unseald/credentials/db-password :/run/unseald/credentials.sock; do
    name=$(basename "${path:-:relative}" | tr -d :)
    for fallback in '' fallback; do
        printf '%s\n' '[Service]' Type=oneshot "LoadCredential=db-password$path" ${fallback:+SetCredential=db-password:set} \
            "ExecStart=/bin/sh -c 'cat %d/db-password >/out/got'" >"$layer/usr/lib/systemd/system/from-$name${fallback:+-or-$fallback}.service"
    done
done
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
for unit in /usr/lib/systemd/system/from-*.service; do
    rm -f /out/got
    systemctl start "${unit##*/}"
    echo "$(basename "$unit" .service): $(systemctl show -P ExecMainStatus "${unit##*/}") $(cat /out/got)"
done >/out/sealed 2>/dev/null
END
boot "$scratch/out2" "${handed[@]}"
row 8 'a file in the store, and a system credential, in the place of a secret that is not unsealed' \
    "$(machine_show "$scratch/out2" billing.service ExecMainStatus)" 243 "unseald: $(machine_show "$scratch/out2" unseald.service ExecMainStatus)" 60 "$took"
expect 'what the application read' "$([ ! -e "$scratch/out2/application" ] || cat "$scratch/out2/application")" ''
# The control: with these lines of a unit, something else does take its place, as unseald(8) says.
expect 'units that name another source, too' "$(paste -sd';' "$scratch/out2/sealed")" \
    'from-credentials.sock-or-fallback: 0 set;from-credentials.sock: 243 ;from-db-password-or-fallback: 0 set;from-db-password: 243 ;from-relative-or-fallback: 0 handed;from-relative: 0 handed'
table_end
