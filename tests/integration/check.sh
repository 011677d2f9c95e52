#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl check lists every mistake of a system in a directory in one run, each with file and line, and prints nothing for
# a system without mistakes. The examples of the man pages are such a system.
. "$(dirname "$0")/lib.sh"
root=$scratch/root
key=arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=root -out "$scratch/ca.pem" 2>/dev/null

# put FILE LINE...: writes a file of the system
put() {
    mkdir -p "$(dirname "$root$1")"
    printf '%s\n' "${@:2}" >"$root$1"
}
# secret NAME LINE...: declares a secret. Source= is its second line, KeyId= its third, and LINE... follow.
secret() {
    [ -e "$root/usr/share/app/$1" ] || put "/usr/share/app/$1" AQID
    put "/etc/unseald/secrets.d/$1.secret" '[Secret]' "Source=file:/usr/share/app/$1" "KeyId=$key" "${@:2}"
}
# unit NAME LINE...: writes a unit file with these lines in [Service], which is ordered as unseald(8) says
unit() { put "/usr/lib/systemd/system/$1" '[Service]' "${@:2}" '[Unit]' Wants=unsealed.target After=unsealed.target; }
# check [OPTION...]: sets $status, and writes the output to $scratch/said
check() {
    status=0
    "$build/daemon/unsealctl" check --root="$root" "$@" >"$scratch/said" 2>&1 || status=$?
}
# said KIND START REGEX: exactly one line of the output names that file, line and key, and it matches
said() {
    local lines
    lines=$(grep -cF -- "$1: $2" "$scratch/said" || true)
    assert_equal "lines of '$1: $2'" "$lines" "${3:+1}"
    assert_line "$1: $2" "$scratch/said" "$3"
    expected=$((expected + 1))
}
good() {
    rm -rf "$root"
    mkdir -p "$root/etc"
    printf 'root:x:0:0::/root:/bin/sh\napp:x:998:998::/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\napp:x:998:\n' >"$root/etc/group"
    mkdir -p "$root/usr/share/app"
    cp "$scratch/ca.pem" "$root/usr/share/app/ca.pem"
    put /etc/unseald/unseald.conf '[Unseald]' TrustedCertificates=/usr/share/app/ca.pem
    secret good '[Deliver]' 'Units=app.service worker@7.service' User=app Group=app Mode=0440
    unit app.service LoadCredential=good:/run/unseald/credentials.sock
    unit worker@.service LoadCredential=password:/run/unseald/credentials/good
}

say "a system with FIFOs and devices in place of files: nothing waits, and nothing is opened"
good
fifos=(/etc/passwd /etc/group /etc/unseald/unseald.conf.d/50.conf /etc/unseald/secrets.d/fifo.secret /usr/share/app/good
    /usr/share/app/ca.pem /usr/lib/systemd/system/app.service /usr/lib/systemd/system/app.service.d/50.conf
    /etc/systemd/system/fifo.service)
for fifo in "${fifos[@]}"; do
    rm -f "$root$fifo"
    mkdir -p "$(dirname "$root$fifo")"
    mkfifo "$root$fifo"
done
check_within_time() {
    status=0
    timeout --kill-after=5 120 "$build/daemon/unsealctl" check --root="$root" >"$scratch/said" 2>&1 || status=$?
    [ "$status" != 124 ] && [ "$status" != 137 ] || die "unsealctl check waits for a file of the system: $1"
}
check_within_time 'all of them FIFOs'
rm "$root/etc/unseald/unseald.conf.d/50.conf" "$root/etc/unseald/secrets.d/fifo.secret"
check_within_time 'all but the configuration'
assert_equal "exit status" "$status" 78
assert_line "the user" "$scratch/said" 'User=: Expected a user of /etc/passwd, not "app"'
assert_line "the group" "$scratch/said" 'Group=: Expected a group of /etc/group, not "app"'
assert_line "the certificates" "$scratch/said" 'it is not a regular file'
assert_line "the ciphertext" "$scratch/said" 'app/good: The sealed secret cannot be read'
# The control: with files in their places there are no such mistakes.
for fifo in "${fifos[@]}"; do rm -f "$root$fifo"; done
good
check_within_time 'no FIFO'
assert_equal "exit status and output" "$status $(<"$scratch/said")" '0 '

say "a system without mistakes: no output"
good
# Units that the service manager does not use: one hidden by a file in /etc, one masked, an alias. And a link in the system.
unit hidden.service LoadCredential=none:/run/unseald/credentials.sock
put /etc/systemd/system/hidden.service '[Service]'
unit masked.service LoadCredential=none:/run/unseald/credentials.sock
ln -s /dev/null "$root/etc/systemd/system/masked.service"
ln -s /usr/lib/systemd/system/app.service "$root/etc/systemd/system/alias.service"
ln -s /usr/share/app/good "$root/usr/share/app/link"
sed -i 's|app/good$|app/link|' "$root/etc/unseald/secrets.d/good.secret"
check
assert_equal "exit status and output" "$status $(<"$scratch/said")" '0 '

say "all mistakes are listed in one run"
expected=0
d=/etc/unseald/secrets.d
put /etc/unseald/unseald.conf '[Unseald]' RsaKeyBits=1024 'no assignment' TrustedCertificates=/usr/share/app/none.pem \
    LockPCR=8 DeadlineSec=never DualStack=maybe
secret alias-key '[Deliver]' Store=maybe
sed -i '3s/.*/KeyId=alias\/vendor/' "$root$d/alias-key.secret"
secret bad-source
sed -i '2s/.*/Source=ftp:somewhere/' "$root$d/bad-source.secret"
put "$d/empty.secret" '[Secret]'
secret keys "KeyId=${key/key\/*/key\/11111111-2222-3333-4444-555555555555}"
secret replicas 'KeyId=' "KeyId=${key/key\/*/key\/mrk-1234abcd12ab34cd56ef1234567890ab}" \
    "KeyId=${key/:eu-*/:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab}"
secret presigned
sed -i '2s|=.*|=https://bucket.s3.eu-north-1.amazonaws.com/db?X-Amz-Expires=604800\&X-Amz-Signature=0123canary|' "$root$d/presigned.secret"
secret lost
rm "$root/usr/share/app/lost"
secret long SizeMax=8
head -c 9 /dev/zero >"$root/usr/share/app/long"
secret optional Optional=yes
rm "$root/usr/share/app/optional"
secret sea
sed -i '3s/eu-north-1/cn-north-1/' "$root$d/sea.secret"
secret typo
sed -i '3s/eu-north-1/eu-nroth-1/' "$root$d/typo.secret"
secret text
echo 'not base64!' >"$root/usr/share/app/text"
secret twice
sed -i '2s/twice/link/' "$root$d/twice.secret"
secret unseen
put /tmp/unseen AQID
sed -i '2s/.*/Source=file:\/tmp\/unseen/' "$root$d/unseen.secret"
long=$(printf 'x%.0s' {1..64}) far=$(printf 'far-away-%.0s' 1 2).service
unit "$far" "LoadCredential=$long:/run/unseald/credentials.sock"
secret "$long" '[Deliver]' "Units=$far"
secret nobody '[Deliver]' 'Units=gone.service app.service' Units=gone@1.service Units=masked.service Units=srv.mount User=nobody-there Group=nobody-there
secret direct '[Deliver]' Store=no Units=worker@7.service
mkdir -p "$root$d/good.secret.d"
put "$d/good.secret.d/10-mode.conf" '[Deliver]' Mode=0777
unit wrong.service \
    LoadCredential=undeclared:/run/unseald/credentials.sock \
    LoadCredential=direct:/run/unseald/credentials.sock \
    LoadCredential=kept:/run/unseald/credentials/direct \
    LoadCredential=nowhere:/run/unseald/nowhere \
    LoadCredential=kept:/run/unseald/credentials/good
unit fallback.service LoadCredential=sea:/run/unseald/credentials.sock SetCredential=sea:0000
put /usr/lib/systemd/system/early.service '[Service]' LoadCredential=good:/run/unseald/credentials/good
put /usr/lib/systemd/system/typo.service '[Service]' LoadCredential=good:/run/unseald/credentials/good \
    '[Unit]' Wants=unsealed.target After=unseald.target
unit relative.service LoadCredential=good
unit environment.service LoadCredential=good:/run/unseald/credentials/good EnvironmentFile=%d/good
put /usr/lib/systemd/system/required.service '[Service]' LoadCredential=good:/run/unseald/credentials/good \
    '[Unit]' After=unsealed.target Requires=unsealed.target
unit simple.service LoadCredential=good:/run/unseald/credentials/good Type=simple ExecStart=/bin/true
touch "$root$d/old.conf" "$root$d/old.secret~"
check
cat "$scratch/said"
assert_equal "exit status" "$status" 78
m=Mistake w=Warning
said $m /etc/unseald/unseald.conf:2: 'RsaKeyBits=: Expected 2048, 3072 or 4096, not "1024"'
said $m /etc/unseald/unseald.conf:3: 'Expected Key=value'
said $m /etc/unseald/unseald.conf:4: 'TrustedCertificates=: Expected .* Cannot load .*/none.pem: No such file'
said $w /etc/unseald/unseald.conf:5: 'LockPCR=: Unknown key'
said $m /etc/unseald/unseald.conf:6: 'DeadlineSec=: Expected a time'
said $m /etc/unseald/unseald.conf:7: 'DualStack=: Expected yes or no'
said $m $d/alias-key.secret:3: 'KeyId=: Expected the ARN of a key, not the alias "alias/vendor"'
said $m $d/alias-key.secret:5: 'Store=: Expected yes or no'
said $m $d/bad-source.secret:2: 'Source=: Expected file:/'
said $m "$d/empty.secret: Source=" 'is missing'
said $m "$d/empty.secret: KeyId=" 'is missing'
said $w $d/keys.secret:4: 'KeyId=: arn:.*:key/11111111-2222-3333-4444-555555555555 is no replica of the first key'
said $w $d/presigned.secret:2: 'Source=: The URL is signed for a limited time, at most seven days'
assert_no_line "what signs the URL" "$scratch/said" 0123canary
said $m $d/lost.secret:2: 'Source=: file:/usr/share/app/lost: .* cannot be read: No such file'
said $m $d/long.secret:2: 'Source=: file:/usr/share/app/long: .*8 bytes'
said $w $d/optional.secret:2: 'Source=: .*cannot be read'
said $m $d/sea.secret:3: 'KeyId=: Expected a Region of the partition "aws", not "cn-north-1"'
said $w $d/typo.secret:3: 'KeyId=: .*"eu-nroth-1"'
said $m $d/text.secret:2: "Source=: file:/usr/share/app/text: The sealed secret is text, but not base64"
said $m $d/twice.secret:2: 'Source=: Expected another source than '
said $m $d/unseen.secret:2: 'Source=: .*does not see /tmp/'
said $m "$d/$long.secret:5:" 'Units=: Expected no more than 83 bytes'
said $m "/usr/lib/systemd/system/$far:2:" 'LoadCredential=: Expected no more than 83 bytes'
said $m $d/nobody.secret:5: 'Units=: There is no unit "gone.service"'
said $m $d/nobody.secret:6: 'Units=: There is no unit "gone@1.service"'
said $m $d/nobody.secret:7: 'Units=: There is no unit "masked.service"'
said $w $d/nobody.secret:8: 'Units=: There is no unit "srv.mount"'
said $m $d/nobody.secret:9: 'User=: Expected a user of /etc/passwd, not "nobody-there"'
said $m $d/nobody.secret:10: 'Group=: Expected a group of /etc/group, not "nobody-there"'
said $m $d/good.secret.d/10-mode.conf:2: 'Mode=: Expected 0400 or 0440'
s=/usr/lib/systemd/system
said $m $s/wrong.service:2: 'Credential undeclared .* No secret of this name is declared'
said $m $s/wrong.service:3: 'Credential direct .* Add it to Units='
said $m $s/wrong.service:4: 'Credential kept .*Store=no'
said $m $s/wrong.service:5: 'Credential nowhere .* puts nothing at this path'
said $m $s/wrong.service:6: 'Expected one line for credential kept'
said $m $s/fallback.service:2: 'Credential sea .*SetCredential='
said $m $s/early.service:2: 'The unit is not ordered after unsealed.target'
said $m $s/typo.service:5: 'There is no unit "unseald.target", .*Expected unsealed.target'
said $m $s/relative.service:2: 'Credential good: Its source is not an absolute path'
said $m $s/environment.service:3: 'The service manager reads this file before'
said $w $s/required.service:5: 'A unit whose requirement has failed once'
said Advice $s/simple.service:3: 'With Type=simple'
said $w "$d/old.conf: unseald passes" 'does not end in ".secret"'
said $w "$d/old.secret~: unseald passes" 'ends in "~"'
assert_equal "lines in all" "$(grep -c '' "$scratch/said")" "$expected"
say "$expected lines, one for each"
check --json
assert_equal "exit status with --json" "$status" 78
python3 - "$scratch/said" "$expected" <<'END' || die "the JSON is not what the text says"
import json, sys
report = json.load(open(sys.argv[1]))
findings = report["findings"]
assert len(findings) == int(sys.argv[2]) == report["mistakes"] + report["warnings"] + report["advice"], len(findings)
for finding in findings:
    assert {"id", "severity", "file", "text", "cure"} <= finding.keys() <= {
        "id", "severity", "file", "line", "unit", "secret", "text", "cure"}, finding
    assert finding["severity"] in ("mistake", "warning", "advice"), finding
by = {(finding["file"].rpartition("/")[2], finding.get("line")): finding for finding in findings}
typo = by["typo.service", 5]
assert (typo["id"], typo["severity"], typo["unit"]) == ("unit-unknown", "mistake", "typo.service"), typo
assert by["relative.service", 2]["secret"] == "good" and by["relative.service", 2]["id"] == "credential-relative"
assert by["simple.service", 3]["severity"] == "advice"
assert by["unseald.conf", 5]["id"] == "setting-doubtful" and by["unseald.conf", 2]["id"] == "setting-invalid"
assert by["10-mode.conf", 2]["secret"] == "good"
END
status=0
"$build/daemon/unsealctl" cat-config --json >"$scratch/said" 2>&1 || status=$?
assert_equal "exit status of cat-config --json" "$status" 2

say "files beside the right places, numbers of nobody, and secrets that nobody takes"
good
put /etc/unseald/api.secret '[Secret]'
put /etc/unseald/unseal.conf '[Unseald]'
put /etc/unseald/unseald.conf.d/10-lock '[Unseald]'
put /etc/unseald/secrets.d/goood.secret.d/10.conf '[Secret]'
put /etc/unseald/secrets.d/good.secret.d/10.conf.bak '[Secret]'
unit numeric.service LoadCredential=good:/run/unseald/credentials/good User=998
unit nobody.service LoadCredential=good:/run/unseald/credentials/good User=4711
unit root.service LoadCredential=good:/run/unseald/credentials/good User=0
unit other.service User=4711
unit typo.service LoadCredential=goood
unit path.service LoadCredential=good:/run/unsealed/credentials.sock
check
expected=0
cat "$scratch/said"
said $w "/etc/unseald/api.secret: unseald passes" 'secrets.d/'
said $w "/etc/unseald/unseal.conf: unseald passes" 'only unseald.conf'
said $w "/etc/unseald/unseald.conf.d/10-lock: unseald passes" 'NAME.conf'
said $w "$d/goood.secret.d: unseald passes" 'no file declares a secret goood. The nearest declared name is good'
said $w "$d/good.secret.d/10.conf.bak: unseald passes" 'NAME.conf'
said $w $s/nobody.service:3: 'No user of /etc/passwd has the number 4711\. .*217/USER'
said $w $s/typo.service:2: 'nearest declared secret is good\. .*LoadCredential=good:/run/unseald/credentials.sock'
said $m $s/path.service:2: 'puts nothing at this path'
assert_equal "lines in all" "$(grep -c '' "$scratch/said")" "$expected"

say "a message of 2 GiB: its header is judged, and the rest is not read"
good
secret big 'Format=message' 'SizeMax=2G'
put /etc/unseald/unseald.conf '[Unseald]' StoreSizeMax=4G
cp "$top/tests/vectors/message/written/js-raw-0578-f4096-p100-c0.msg" "$root/usr/share/app/big"
truncate -s 2G "$root/usr/share/app/big"
python3 - "$build/daemon/unsealctl" check --root="$root" >"$scratch/said" 2>&1 <<'PYTHON' || die "$(cat "$scratch/said")"
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
sys.exit(f"exit status {status}, {peak} KiB" if status != 78 or peak > 1048576 else 0)
PYTHON
assert_line "its header" "$scratch/said" '^Mistake: .*/big.secret:2: .*lacks the pair unseald:secret=big'
sed -i 's/SizeMax=2G/SizeMax=512M/' "$root/etc/unseald/secrets.d/big.secret"
check
assert_line "a message above SizeMax=" "$scratch/said" '^Mistake: .*/big.secret:2: .*is longer than [0-9]* bytes \(SizeMax=\)'

say "nothing is declared"
rm -rf "$root"
mkdir -p "$root/etc"
check
assert_equal "exit status" "$status" 0
assert_line "what is said" "$scratch/said" '^Warning: /etc/unseald/secrets.d: No secret is declared, .*unseald.secret\(5\)'

say "warnings alone are no failure"
good
printf 'LockPCR=8\n' >>"$root/etc/unseald/unseald.conf"
check
assert_equal "exit status and output" "$status $(<"$scratch/said")" \
    '0 Warning: /etc/unseald/unseald.conf:3: LockPCR=: Unknown key in section [Unseald]; unseald ignores the line. Did you mean LockPcr=? Check the spelling in unseald.conf(5).'

# install_unseald: puts the units of unseald and a boot into the system
install_unseald() {
    mkdir -p "$root/usr/lib/systemd/system"/{multi-user,sockets}.target.wants
    cp "$install_root"/usr/lib/systemd/system/{unseald.service,unseald.socket,unsealed.target} "$root/usr/lib/systemd/system/"
    put /usr/lib/systemd/system/multi-user.target '[Unit]' Requires=basic.target After=basic.target
    put /usr/lib/systemd/system/basic.target '[Unit]' 'Wants=sockets.target' 'After=sysinit.target sockets.target' Requires=sysinit.target
    put /usr/lib/systemd/system/sysinit.target '[Unit]' Description=x
    put /usr/lib/systemd/system/sockets.target '[Unit]' Description=x
    ln -sf multi-user.target "$root/usr/lib/systemd/system/default.target"
    for unit; do ln -sf "../$unit" "$root/usr/lib/systemd/system/${enabled[$unit]}.wants/${instance[$unit]-$unit}"; done
}
declare -A enabled=([unseald.service]=multi-user.target [app.service]=multi-user.target [worker@.service]=multi-user.target
    [unseald.socket]=sockets.target) instance=([worker@.service]=worker@7.service)

say "a whole system: what is enabled, and what is not"
good
install_unseald unseald.service unseald.socket app.service worker@.service
check
assert_equal "exit status and output" "$status $(<"$scratch/said")" '0 '
good
install_unseald app.service worker@.service
check
assert_equal "exit status without unseald.service enabled" "$status" 0
assert_line "the service" "$scratch/said" '^Warning: /usr/lib/systemd/system/unseald.service: The service is not enabled'
good
install_unseald unseald.service worker@.service
check
assert_equal "exit status without app.service enabled" "$status" 0
assert_equal "findings" "$(cut -d: -f1,2 "$scratch/said")" 'Warning: /usr/lib/systemd/system/app.service'
good
install_unseald
check
assert_equal "exit status without anything enabled" "$status" 78
assert_line "the service" "$scratch/said" '^Mistake: /usr/lib/systemd/system/unseald.service: The service is not enabled'
good
install_unseald unseald.service unseald.socket app.service worker@.service
mkdir -p "$root/etc/systemd/system"
ln -s /dev/null "$root/etc/systemd/system/unseald.service"
check
assert_equal "exit status with a masked service" "$status" 78
assert_line "the service" "$scratch/said" '^Mistake: unseald.service: The unit is masked'

say "a secret that no unit takes"
good
secret spare
secret lonely '[Deliver]' Store=no
check
assert_equal "findings where there is no boot" "$status $(<"$scratch/said")" '0 '
install_unseald unseald.service unseald.socket app.service worker@.service
check
assert_equal "exit status" "$status" 0
assert_line "in the store" "$scratch/said" '^Advice: /etc/unseald/secrets.d/spare.secret: No unit takes the secret, unless'
assert_line "at the socket alone" "$scratch/said" '^Warning: /etc/unseald/secrets.d/lonely.secret: No unit takes the secret, and Store=no'
assert_equal "lines" "$(grep -c '' "$scratch/said")" 2

say "a pattern in Units= needs its template"
good
sed -i 's/worker@7.service/worker@*.service none@*.service/' "$root/etc/unseald/secrets.d/good.secret"
check
assert_equal "exit status" "$status" 78
assert_equal "findings" "$(<"$scratch/said")" \
    'Mistake: /etc/unseald/secrets.d/good.secret:5: Units=: There is no unit "none@*.service". Expected a unit with a unit file, or an instance of a template with one.'

say "links do not lead out of the system"
good
echo AQID >"$scratch/outside"
ln -sfn "$scratch/outside" "$root/usr/share/app/good"
check
assert_equal "exit status" "$status" 78
assert_line "the source" "$scratch/said" 'good.secret:2: Source=: .*cannot be read: No such file'

say "units without end, and a directory of a name without a type"
good
mkdir -p "$root/etc/systemd/system/app.wants"
ln -s app.service "$root/etc/systemd/system/app.wants/app.service"
check
assert_equal "exit status and output" "$status $(<"$scratch/said")" '0 '
put /usr/lib/systemd/system/endless@.service '[Unit]' 'Wants=endless@%i0.service endless@%i1.service'
check
assert_equal "exit status" "$status" 78
assert_line "the units" "$scratch/said" '^Mistake: default.target: The units have more than 8192 names'

say "the configuration may be elsewhere in the system"
good
mv "$root/etc/unseald" "$root/elsewhere"
echo Nothing=1 >>"$root/elsewhere/unseald.conf"
check --configuration=/elsewhere
assert_equal "exit status" "$status" 0
assert_line "the path" "$scratch/said" '^Warning: /elsewhere/unseald.conf:3: '

if setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user true 2>/dev/null; then
    say "a user who is not root"
    good
    chmod -R a+rX "$scratch"
    status=0
    setpriv --reuid=65534 --regid=65534 --clear-groups "$build/daemon/unsealctl" check --root="$root" >"$scratch/said" 2>&1 || status=$?
    assert_equal "exit status and output" "$status $(<"$scratch/said")" '0 '
else
    say "SKIP: without user namespaces only root can use --root= (sysctl kernel.unprivileged_userns_clone=1)"
fi

check --root="$scratch/none"
assert_equal "exit status without the directory" "$status" 1

# page PAGE: writes the page's example files into the system. Each has a comment with its path on top.
page() {
    local path='' line
    while IFS= read -r line; do
        case $line in
        '    # /'*) path=$root${line#    # } && mkdir -p "${path%/*}" && : >"$path" ;;
        '    '*) [ -z "$path" ] || printf '%s\n' "${line#    }" >>"$path" ;;
        '') ;;
        *) path='' ;;
        esac
    done <"$top/man/$1.rst"
}
say "the old options of unseald execute unsealctl, with the other options and its exit status"
mkdir "$scratch/bin"
cp "$build/daemon/unsealctl" "$scratch/bin/"
# On a machine, unsealctl is not in the directory of unseald.
mkdir "$scratch/lib"
cp "$build/daemon/unseald" "$scratch/lib/"
unseald=$scratch/lib/unseald
# old ARGUMENT...: like check, by the old options of unseald, which finds unsealctl at its place
old() {
    status=0
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --mount sh -c 'mount --bind "$1" /usr/bin && shift && exec "$@"' sh "$scratch/bin" "$unseald" "$@" \
        >"$scratch/said" 2>"$scratch/notice" || status=$?
}
good
printf 'LockPCR=8\n' >>"$root/etc/unseald/unseald.conf"
mv "$root/etc/unseald" "$root/elsewhere"
old --check --root="$root" --configuration=/elsewhere
assert_equal "exit status and output" "$status $(<"$scratch/said")" \
    '0 Warning: /elsewhere/unseald.conf:3: LockPCR=: Unknown key in section [Unseald]; unseald ignores the line. Did you mean LockPcr=? Check the spelling in unseald.conf(5).'
assert_line "the notice" "$scratch/notice" '^unseald: .*"unsealctl check"'
rm "$root/usr/share/app/good"
old --root="$root" --check --configuration=/elsewhere
assert_equal "exit status with a mistake" "$status" 78
old --print-configuration --vendor-configuration=/nonexistent --configuration="$root/elsewhere"
assert_equal "exit status" "$status" 0
assert_line "the configuration" "$scratch/said" '^TrustedCertificates=/usr/share/app/ca.pem$'
assert_line "the notice" "$scratch/notice" '^unseald: .*"unsealctl cat-config"'
old --root="$root"
assert_equal "exit status of --root= alone" "$status" 2
rm "$scratch/bin/unsealctl"
unseald=$build/daemon/unseald
old --check --root="$root"
assert_equal "exit status in a build directory" "$status" 78
unseald=$scratch/lib/unseald
old --check --root="$root"
assert_equal "exit status without unsealctl" "$status" 1
assert_line "the message" "$scratch/notice" 'Cannot execute /usr/bin/unsealctl: No such file or directory'

say "the examples of the man pages are right"
good
rm -r "$root/etc/unseald" "$root/usr/lib/systemd"
put /usr/share/unseald/db-password.sealed AQID
mkdir -p "$root/usr/share/billing"
printf 'model:x:997:997::/:/bin/false\n' >>"$root/etc/passwd"
cp "$scratch/ca.pem" "$root/usr/share/billing/amazon-root-ca.pem"
for name in unseald.8 unseald.conf.5 unseald.secret.5; do page "$name"; done
(cd "$root" && find etc/unseald etc/systemd -type f | sort) >"$scratch/files"
diff "$scratch/files" - <<END || die "other files than these are in the man pages"
etc/systemd/system/billing.service
etc/systemd/system/model.service
etc/unseald/secrets.d/db-password.secret
etc/unseald/secrets.d/weights.secret
etc/unseald/unseald.conf
etc/unseald/unseald.conf.d/store.conf
END
check
assert_equal "exit status and output" "$status $(<"$scratch/said")" '0 '
