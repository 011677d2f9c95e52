#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bundles (Format=bundle): a JSON object with one secret a member, kept as one descriptor. Each member has its own units, owner and
# mode, at the credential socket and in the store, also after restarts, kills and reloads. What is not as declared is refused, and no
# value reaches the journal.
. "$(dirname "$0")/direct.sh"
mount_own /run/unseald # the control and the credential socket
direct_start
configure
unsealctl=$build/daemon/unsealctl
sealed=$scratch/app.sealed
rm -f "$config"/secrets.d/*

# seal JSON: makes it the bundle that is sealed
seal() {
    printf '%s' "$1" >"$scratch/app.json"
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app \
        --format=message -o "$sealed" "$scratch/app.json"
}
# declare [LINE...]: declares the bundle with these lines behind [Secret]
declare_bundle() {
    declare_secret app "$key" "$sealed" Format=bundle
    printf '%s\n' "$@" >>"$config/secrets.d/app.secret"
}
hash_of() { printf %b "$1" | sha256sum | cut -d' ' -f1; }
# assert_answer WHAT UNIT CREDENTIAL VALUE|refused: what the credential socket gives the unit
assert_answer() {
    local want="right 1"
    [ "$4" != refused ] || want='refused 1'
    assert_equal "$1: $3 for $2" \
        "$(timeout 60 "$top/tests/integration/socket/ask.py" --requests 1 --unit "$2" --wanted "$(hash_of "$4")" "$3")" "$want"
}
contents() { (cd "$store" && stat -c '%n %a %U %G %i' -- * && sha256sum -- *); }
asked=0
# assert_asked WHAT N: KMS was asked so many times since the last call
assert_asked() {
    assert_equal "$1: requests to KMS" "$(($(requests Decrypt) - asked))" "$2"
    asked=$(requests Decrypt)
}

rights=('[Member db-password]' Units=billing.service '[Member tls.key]' Units=web.service User=games Group=games Mode=0440
    '[Member token]' Store=no '[Member license]' Optional=yes)
one='{"db-password": "hunter2-of-the-database", "tls.key": {"base64": "AAFUaGUga2V5AP8="}, "token": "t\u00f6ken\n", "spare": "hunter2-that-nobody-gets"}'
key_bytes='\x00\x01The key\x00\xff'
# assert_delivered WHAT: all is as the declaration says
assert_delivered() {
    assert_answer "$1" billing.service app.db-password hunter2-of-the-database
    assert_answer "$1" web.service app.tls.key "$key_bytes"
    assert_answer "$1" any.service app.token 't\xc3\xb6ken\n'
    assert_answer "$1" web.service app.db-password refused
    assert_answer "$1" billing.service app.tls.key refused
    assert_answer "$1" billing.service app.license refused
    assert_answer "$1" billing.service app.spare refused
    assert_answer "$1" billing.service app refused
    assert_equal "$1: the store" "$(ls -A "$store")" $'app.db-password\napp.tls.key'
    assert_equal "$1: the owners" "$(stat -c '%a %U %G' "$store"/*)" $'400 root root\n440 games games'
    assert_equal "$1: the password" "$(cat "$store/app.db-password")" hunter2-of-the-database
    assert_equal "$1: the key" "$(sha256sum <"$store/app.tls.key" | cut -d' ' -f1)" "$(hash_of "$key_bytes")"
}

say "each member has its own units, owner and mode"
seal "$one"
declare_bundle "${rights[@]}"
manager_start --listen /run/unseald/credentials.sock
manager start
assert_equal "the start" "$answer" ready
cp "$said" "$scratch/first"
assert_delivered "at first"
assert_asked "at first" 1
manager list
assert_equal "what is kept" "$answer" 'kept-1 kept-1-app'
assert_line "a member that is not declared" "$scratch/first" '^app: member "spare" of the bundle is not delivered, because it is not declared'
assert_line "an optional member" "$scratch/first" '^app: the bundle lacks the optional member license'
assert_line "the refusals" "$log" 'Refused credential app to billing.service, .*: it is a bundle'
assert_line "the refusals" "$log" 'Refused credential app.license to billing.service, .*: the bundle lacks this member, which is optional'
assert_line "the refusals" "$log" 'Refused credential app.tls.key to billing.service, .*: the unit is not in Units='

say "status, check and cat-config know the members"
assert_equal "members in status.json" "$(jq -c '[.secrets[0].members[] | [.name, .units, .missing]]' "$status_file")" \
    '[["app.db-password",["billing.service"],false],["app.license",[],true],["app.tls.key",["web.service"],false],["app.token",[],false]]'
"$unsealctl" status --file="$status_file" >"$scratch/out"
assert_line "status" "$scratch/out" '^  4 members$'
assert_line "status" "$scratch/out" '^  lacks app.license$'
"$unsealctl" cat-config --vendor-configuration="$config" --configuration=/nonexistent >"$scratch/out"
assert_line "cat-config" "$scratch/out" '^\[Member tls.key\]$'
mkdir -p "$scratch/again/secrets.d"
sed -n '/^# secrets.d/,$p' "$scratch/out" >"$scratch/again/secrets.d/app.secret"
declare_bundle '[Member empty]'
"$unsealctl" cat-config --vendor-configuration="$config" --configuration=/nonexistent >"$scratch/out"
assert_line "cat-config" "$scratch/out" '^\[Member empty\]$'
declare_bundle "${rights[@]}"
"$unsealctl" cat-config --vendor-configuration="$scratch/again" --configuration=/nonexistent | sed '1,/^# secrets.d/d; /^#/d' >"$scratch/out-again"
"$unsealctl" cat-config --vendor-configuration="$config" --configuration=/nonexistent | sed '1,/^# secrets.d/d; /^#/d' >"$scratch/out"
[ -s "$scratch/out" ] && diff "$scratch/out" "$scratch/out-again" || die "what cat-config prints means something else"
root=$scratch/root
mkdir -p "$root"/usr/{lib/unseald/secrets.d,lib/systemd/system,share} "$root/etc"
cp "$config/secrets.d/app.secret" "$root/usr/lib/unseald/secrets.d/"
sed -i "s|^Source=.*|Source=file:/usr/share/app.sealed|; s|^User=games|User=nobody-has-this|" "$root/usr/lib/unseald/secrets.d/app.secret"
cp "$sealed" "$root/usr/share/app.sealed"
echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd"
echo 'games:x:60:' >"$root/etc/group"
# unit NAME CREDENTIAL...
unit() {
    local name=$1
    shift
    { printf '%s\n' '[Service]' 'ExecStart=/bin/true' && printf 'LoadCredential=%s:/run/unseald/credentials.sock\n' "$@"; } \
        >"$root/usr/lib/systemd/system/$name.service"
}
unit billing app.db-password
unit web app.tls.key app.db-password app app.tls.kye
"$unsealctl" check --root="$root" >"$scratch/out" && die "check finds no mistake"
assert_line "check" "$scratch/out" 'app.secret:[0-9]+: User=: Expected a user of /etc/passwd, not "nobody-has-this"'
assert_line "check" "$scratch/out" 'web.service:4: .*app.db-password.*: Units= of the secret does not name this unit'
assert_line "check" "$scratch/out" 'web.service:5: .*Credential app .*: It is a bundle'
assert_line "check" "$scratch/out" 'web.service:6: .*No secret of this name is declared.* The nearest declared name is app.tls.key'
assert_no_line "check" "$scratch/out" '^Mistake: .*(billing.service:|web.service:3:)'
unit billing app.db-password
unit web app.tls.key
printf '%s\n' '[Member db-password]' Units=none.service >>"$root/usr/lib/unseald/secrets.d/app.secret"
"$unsealctl" check --root="$root" >"$scratch/out" && die "check finds no mistake"
assert_line "check" "$scratch/out" 'app.secret:[0-9]+: Units=: There is no unit "none.service"'

say "restarted, killed"
first=$(contents)
for how in stop kill kill stop; do
    manager "$how"
    assert_equal "$how: the files" "$(contents)" "$first"
    manager start
    assert_delivered "after $how"
    assert_equal "after $how: the very same files" "$(contents)" "$first"
    assert_asked "after $how" 0
done
for at in BARRIER=1 READY=1; do
    manager stop
    manager drop .
    rm -f "$store"/*
    manager start-kill "$at"
    assert_equal "killed at $at" "$answer" 'killed 9'
    asked=$(requests Decrypt)
    manager start
    assert_delivered "a start after a kill at $at"
    assert_asked "a start after a kill at $at" 0
done

say "somebody has been at the store"
manager stop
printf 'hunter2-of-an-attacker!' | tee "$store/app.db-password" >"$store/app.license"
ln -sf /etc/passwd "$store/app.tls.key"
manager start
assert_delivered "with other files"
assert_asked "with other files" 0
manager stop
manager spoil 'kept-[0-9]+-app'
manager start
assert_delivered "with a spoiled bundle"
assert_asked "with a spoiled bundle" 1

say "declared otherwise between a stop and a start"
manager stop
declare_bundle "${rights[@]/web.service/mail.service}"
manager start
assert_answer "another unit" mail.service app.tls.key "$key_bytes"
assert_answer "another unit" web.service app.tls.key refused
assert_asked "another unit" 1

say "reloaded"
reload() { # STATUS
    manager run "$unsealctl" reload
    assert_equal "the reload" "$answer" "exited $1"
}
declare_bundle "${rights[@]}" '[Member spare]' Units=spare.service
reload 0
assert_answer "a member added" spare.service app.spare hunter2-that-nobody-gets
assert_equal "a member added" "$(cat "$store/app.spare")" hunter2-that-nobody-gets
declare_bundle "${rights[@]}"
reload 0
assert_delivered "a member removed"
two=${one/hunter2-of/hunter2-the-second-of}
seal "$two"
reload 0
assert_answer "another value" billing.service app.db-password hunter2-the-second-of-the-database
assert_equal "another value" "$(cat "$store/app.db-password")" hunter2-the-second-of-the-database
seal '{"db-password": "hunter2-alone"}'
before=$(contents)
reload 62
assert_line "a reload that lacks a member" "$said" 'The bundle lacks the member "tls.key"'
assert_equal "after a reload that failed" "$(contents)" "$before"
assert_answer "after a reload that failed" billing.service app.db-password hunter2-the-second-of-the-database
assert_answer "after a reload that failed" web.service app.tls.key "$key_bytes"
seal "${one/\"spare\"/\"license\"}"
reload 0
assert_answer "an optional member that came" any.service app.license hunter2-that-nobody-gets
seal "$one"
reload 0
assert_delivered "and went"
manager stop
manager start
assert_delivered "after the last restart"
manager_end

say "sealed and unsealed by hand, as the page says"
seal_bundle() { # NAME ARGUMENT...
    platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name="$1" "${@:2}"
}
block() { awk -v first="$1" '$0 == "    " first { on = 1 } on && !/^    / { exit } on { print substr($0, 5) }' "$top/man/unseald.secret.5.rst"; }
block '{' >"$scratch/page.json"
assert_equal "the JSON of the page" "$(jq -r 'keys | join(" ")' "$scratch/page.json")" 'db-password tls.key'
seal_bundle app --bundle="$scratch/page.json" --print-secret-file -o "$sealed" >"$scratch/printed"
assert_equal "the sections" "$(grep -x -e '\[Member .*' -e 'Format=.*' "$scratch/printed" | paste -sd' ')" \
    'Format=bundle [Member db-password] [Member tls.key]'
for from in page printed; do
    [ "$from" = printed ] || block '# app.secret' >"$scratch/page"
    sed "s|^Source=.*|Source=file:$sealed|; s|^KeyId=.*|KeyId=$key|; s|^User=web|User=games|" "$scratch/$from" >"$config/secrets.d/app.secret"
    on_ready() { sha256sum "$store"/* | sed "s|$store/||" >"$scratch/seen"; }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$from: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    assert_equal "$from: what is delivered" "$(cat "$scratch/seen")" \
        "$(printf '%s  app.db-password\n%s  app.tls.key' "$(hash_of 'correct horse')" "$(base64 -d <<<MHcCAQEEIAABAgMEBQYH | sha256sum | cut -d' ' -f1)")"
done
on_ready() { :; }
unseal() { # STATUS ARGUMENT...: leaves the output in $scratch/out
    local want=$1 saw=0
    shift
    platform exec --as instance -- "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent "$@" \
        >"$scratch/out" 2>"$scratch/err" || saw=$?
    [ "$saw" = "$want" ] || die "unseal $*: saw exit status $saw, wanted $want: $(cat "$scratch/err")"
}
unseal 0 app
assert_line "the members" "$scratch/out" '^  db-password, 13 bytes$'
assert_line "the members" "$scratch/out" '^  tls.key, 15 bytes$'
assert_no_line "the members" "$scratch/out" 'correct'
unseal 0 app --member=db-password --reveal
assert_equal "one member" "$(cat "$scratch/out")" 'correct horse'
unseal 2 app --reveal
assert_line "a whole bundle" "$scratch/err" 'app is a bundle. Give --member=NAME'
unseal 2 app --member=db-passwrod --reveal
assert_line "another member" "$scratch/err" 'the declaration of app has no \[Member db-passwrod\]'
printf '%s\n' '[Member license]' Optional=yes >>"$config/secrets.d/app.secret"
unseal 62 app --member=license --reveal
assert_line "an optional member that is not there" "$scratch/err" 'The bundle lacks the member license'
assert_equal "an optional member that is not there" "$(cat "$scratch/out")" ''
# not_sealed TEXT JSON [ARGUMENT...]: seal refuses it, before KMS is asked
not_sealed() {
    local text=$1 before saw=0
    before=$(requests GenerateDataKey)
    printf '%s' "$2" >"$scratch/wrong.json"
    seal_bundle "${3:-app}" --bundle="$scratch/wrong.json" -o "$scratch/never" >"$scratch/out" 2>&1 || saw=$?
    assert_equal "$2: the exit status" "$saw" 1
    assert_line "$2" "$scratch/out" "$text"
    assert_no_line "$2" "$scratch/out" hunter2
    [ ! -e "$scratch/never" ] || die "$2 was sealed"
    assert_equal "$2: requests" "$(requests GenerateDataKey)" "$before"
}
not_sealed 'Member "port" of the bundle is a number' '{"password": "hunter2", "port": 5432}'
not_sealed 'Member "a" of the bundle is there twice' '{"a": "hunter2", "\u0061": "hunter2"}'
not_sealed 'malformed at byte 0' 'hunter2'
not_sealed 'The bundle has no members' '{}'
not_sealed 'Member "a b" of the bundle cannot be declared' '{"a b": "hunter2"}'
not_sealed 'Member "m{41}" of the bundle cannot be declared: .* has 65 characters' "{\"$(printf 'm%.0s' {1..41})\": \"hunter2\"}" a-name-of-23-characters
python3 -c 'print("{\"a\": \"" + 1048576 * "x" + "\"}")' >"$scratch/long.json"
seal_bundle app --bundle="$scratch/long.json" -o "$scratch/never" 2>"$scratch/out" && die "a bundle of more than 1 MiB was sealed"
assert_line "a long bundle" "$scratch/out" 'a bundle has at most 1048576 bytes'
seal_bundle app --bundle=- -o "$scratch/piped" <"$scratch/page.json"
assert_equal "a bundle from a pipe" "$("$unsealctl" cat-message --json "$scratch/piped" | jq -r .plaintext_size)" "$(stat -c %s "$scratch/page.json")"

say "what is no bundle is refused, by the name of the member and never by a value"
# refuses TEXT JSON [LINE...]: unseald ends with status 62 and this text
refuses() {
    local text=$1
    seal "$2"
    declare_bundle '[Member a]'
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] && [ "$unseald_status" = 62 ] || die "$2: ended with $unseald_status: $(tail -n 5 "$log")"
    assert_line "$2" "$log" "$text"
    assert_no_line "$2" "$log" hunter2
    assert_equal "$2: the store" "$(ls -A "$store")" ''
}
rm -rf "${store:?}"/*
refuses 'The bundle lacks the member "a"' '{"b": "hunter2"}'
refuses 'Member "a" of the bundle is a number' '{"b": "hunter2", "a": 5432}'
refuses 'Member "b" of the bundle is null' '{"a": "hunter2", "b": null}'
refuses 'Member "a" of the bundle is an array' '{"a": ["hunter2"]}'
refuses 'Member "a" of the bundle is an object' '{"a": {"text": "hunter2"}}'
refuses 'Member "a" of the bundle is there twice' '{"a": "hunter2", "a": "hunter2"}'
refuses 'Member "a" of the bundle is not base64' '{"a": {"base64": "hunter2"}}'
refuses 'Member "a" of the bundle is not a string of JSON' '{"a": "hunter2\ud800"}'
refuses 'Member "a" of the bundle is not a string of JSON' '{"a": "hunter2\u0000"}'
refuses 'The bundle is malformed at byte 0: expected an object of JSON. If .*, set Format=message and remove' 'hunter2'
refuses 'The bundle is malformed at byte 5: expected a colon' '{"a" "hunter2"}'

say "a thousand members"
rm -f "$config"/secrets.d/*
python3 - "$scratch/many.json" >"$scratch/sections" <<'PYTHON'
import json, sys
members = {"m%04d" % i: "value of %d" % i for i in range(1000)}
json.dump(members, open(sys.argv[1], "w"))
for name in members:
    print("[Member %s]\nUnits=%s.service\nUser=games" % (name, name))
PYTHON
seal "$(cat "$scratch/many.json")"
declare_secret app "$key" "$sealed" Format=bundle
cat "$scratch/sections" >>"$config/secrets.d/app.secret"
rm /run/unseald/credentials.sock
manager_start --listen /run/unseald/credentials.sock
for what in "a start" "a restart"; do
    manager start
    assert_equal "$what" "$answer" ready
    assert_equal "$what: the files" "$(find "$store" -type f | wc -l)" 1000
    assert_equal "$what: one file" "$(stat -c '%a %U' "$store/app.m0517") $(cat "$store/app.m0517")" '400 games value of 517'
    assert_answer "$what" m0999.service app.m0999 'value of 999'
    assert_answer "$what" m0999.service app.m0998 refused
    manager list
    assert_equal "$what: what is kept" "$answer" 'kept-1 kept-1-app'
    manager stop
done
manager_end
