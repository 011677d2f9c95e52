#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl doctor on a machine where all is well, and then with one fault after the other. The findings are printed. There is no
# service manager; doctor-machine.sh covers units, socket and owners.
. "$(dirname "$0")/direct.sh"
direct_start
platform extend 4 'some image' >/dev/null
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
said=$scratch/said

# The swap belongs to the host. Other programs there may turn it on or off.
swap_headings=$'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n'
printf %s "$swap_headings" >"$scratch/swaps"
mount --bind "$scratch/swaps" /proc/swaps

# right [LINE...]: removes all faults; LINE: a setting
right() {
    platform fault clear
    configure "$@"
    rm -f "$config"/secrets.d/*
    declare_secret db-password "$key" "$scratch/sealed"
}

doctor() {
    local status=0
    platform exec --as instance -- "${wrapper[@]}" "$build/daemon/unsealctl" doctor --vendor-configuration="$config" \
        --configuration=/nonexistent --store="$store" --status="$status_file" "$@" >"$said" 2>&1 || status=$?
    echo "$status" >"$scratch/status"
}

# check LABEL STATUS REGEX...: runs doctor, prints what it says, and finds a line for each regex
options=()
check() {
    local label=$1 status=$2 regex
    shift 2
    doctor "${options[@]}"
    say "== $label: exit status $(cat "$scratch/status")"
    grep -Ev '^(ok|note) ' "$said" || true
    assert_equal "$label: exit status" "$(cat "$scratch/status")" "$status"
    for regex; do assert_line "$label" "$said" "$regex"; done
    assert_no_line "$label: something was left out" "$said" '^[^:]*: *$'
}

# The requests that really decrypted. doctor must not add to them.
decrypted() { platform log | jq -r 'select(.eventName == "Decrypt" and .errorCode == null and .platformFault == null) | .requestID'; }

platform pcrs | sed 's/^/  /' >"$scratch/pcrs"
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
before=$(tpm_contents)

# Only the check of the service is skipped, because there is no service manager.
right "ExpectedMeasurements=$scratch/measurements"
check 'all is well' 4 '^ok configuration secrets.d: 1 secret' '^ok tpm: ' '^ok tpm-lockout: ' '^ok tpm-leftovers: ' '^ok nitrotpm: ' \
    '^ok imds: .*IMDSv2' '^ok clock IMDS: ' "^ok clock kms.$region" '^ok instance i-.*m7i.large' '^ok role billing-instance: ' \
    '^ok pcrs PCR4: As expected' '^ok pcrs PCR7: ' '^ok pcrs PCR12: ' "^ok dns kms.$region.*198.51.100.10" "^ok tls kms.$region.*Trusted until" \
    '^ok source db-password: ' '^ok key db-password: KMS would decrypt' '^ok key-policy db-password: Without a document KMS denies' \
    '^ok store ' '^skipped service ' '^0 failure\(s\), 0 warning\(s\), 1 skipped'
cat "$said"
assert_equal 'lines that are not good' "$(grep -Evc '^(ok|note) ' "$said")" 2

# A library makes the end of the program last, and meanwhile a connection succeeds. The exit status must not change.
cc -shared -fPIC -o "$scratch/linger.so" -x c - <<'END'
#include <unistd.h>

__attribute__((destructor)) static void linger(void) {
        sleep(5);
}
END
right 'Proxy=http://127.0.0.1:3129'
platform exec --as instance -- /usr/bin/python3 -c '
import socket, time
server = socket.create_server(("127.0.0.1", 3129))
server.settimeout(120)  # on a busy machine the time is up before doctor has come this far
print("ready", flush=True)
connection, _ = server.accept()
connection.recv(1000)
time.sleep(3.5)
connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")' >"$scratch/proxy" &
proxy=$!
at_exit end_process "$proxy"
until [ -s "$scratch/proxy" ]; do sleep 0.1; done
wrapper=(env LD_PRELOAD="$scratch/linger.so" "${wrapper[@]}")
options=(--timeout=2)
check 'a proxy that is slow' 4 '^skipped tls .*There was no time left'
wrapper=("${wrapper[@]:2}") options=()
wait "$proxy" || true
assert_equal 'what is in the TPM' "$(tpm_contents)" "$before"

# The configuration.
right
sed -i 's/^KeyId=.*/KeyId=alias\/billing/' "$config/secrets.d/db-password.secret"
check 'a wrong KeyId=' 78 '^failure configuration .*db-password.secret:3: KeyId=' '^ok nitrotpm' '^ok role '
right RsaKeyBits=1024
check 'a wrong setting' 78 '^failure configuration unseald.conf: .*RsaKeyBits'

# The TPM.
right "TpmDevice=device:$scratch/tpm0"
check 'no TPM' 20 "^failure tpm-device $scratch/tpm0: There is no TPM" '^skipped pcrs' '^skipped key db-password' '^ok key-policy db-password'
mkdir "$scratch/plain"
swtpm_setup --tpm2 --tpmstate "$scratch/plain" --pcr-banks sha384 --config /dev/null >/dev/null
swtpm socket --tpm2 --tpmstate "dir=$scratch/plain" --server "type=unixio,path=$scratch/plain/tpm" \
    --ctrl "type=unixio,path=$scratch/plain/tpm.ctrl" --flags not-need-init,startup-clear 2>/dev/null &
plain=$!
at_exit end_process "$plain"
right "TpmDevice=swtpm:path=$scratch/plain/tpm"
check 'a TPM that is no NitroTPM' 21 '^ok tpm: ' '^failure nitrotpm: .*not a NitroTPM'
end_process "$plain"
right
platform fault set tpm NSM_Request code 0x143
check 'a TPM without the attestation command' 21 '^failure nitrotpm: .*does not know the attestation command.* T family'

# Another program sends wrong authorizations and so locks the TPM.
tpm=(-T "$PLATFORM_TCTI")
tpm2_dictionarylockout "${tpm[@]}" --setup-parameters --max-tries=1 --recovery-time=1000 --lockout-recovery-time=1000
tpm2_nvdefine "${tpm[@]}" -s 8 -p right -a 'authread|authwrite' 0x01500000 >/dev/null
tpm2_nvread "${tpm[@]}" -P wrong -s 8 0x01500000 >/dev/null 2>&1 || true
right
check 'a TPM that is locked' 20 '^failure tpm-lockout: The TPM is locked after 1 wrong' '^failure nitrotpm: '
tpm2_dictionarylockout "${tpm[@]}" --clear-lockout
tpm2_nvundefine "${tpm[@]}" 0x01500000
for index in 0x01000000 0x01000001; do
    tpm2_nvdefine "${tpm[@]}" -s 8192 -g sha512 -p somebody -a 'authread|authwrite' "$index" >/dev/null
done
for ek in 0x81000001 0x81000002; do
    tpm2_createek "${tpm[@]}" -G rsa -c "$ek" >/dev/null
done
check "another client's leftovers" 3 '^warning tpm-leftovers: .* 2 NV index.*: 0x01000000, 0x01000001\.' \
    '^warning tpm-leftovers: .* 2 persistent endorsement key.*: 0x81000001, 0x81000002\.'
for index in 0x01000000 0x01000001; do tpm2_nvundefine "${tpm[@]}" "$index"; done
for ek in 0x81000001 0x81000002; do tpm2_evictcontrol "${tpm[@]}" -C o -c "$ek" >/dev/null; done
assert_equal 'what is in the TPM' "$(tpm_contents)" "$before"

# IMDS, and the data from it.
right
platform fault set imds '*' drop
check 'no IMDS' 40 '^failure imds: IMDS cannot be reached.*HttpPutResponseHopLimit' '^skipped role: ' '^ok nitrotpm' '^skipped key-policy db-password: There are no credentials'
right ExpectedMeasurements=user-data:
platform fault set imds '*' drop
check 'no IMDS for the expected measurements' 40 '^skipped pcrs user-data: The expected measurements cannot be read: IMDS does not answer'
right
platform fault set imds '*' http 403
check 'IMDS turned off' 40 '^failure imds: It is turned off'
right
platform role none
check 'no role' 41 '^failure role: The instance has no role' '^ok instance'
platform role "$PLATFORM_INSTANCE_ROLE"
right
platform fault set imds credentials expired-credentials
check 'expired credentials' 41 '^failure role billing-instance: Its credentials have expired'
right
platform instance-type t3.large
check 'an instance of the T family' 21 '^failure instance .*type t3.large do not attest'
platform instance-type m7i.large

# The clock.
wrapper=(env "LD_PRELOAD=$scratch/clock.so" "ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0")
right
make_clock 86400
check 'a clock that is a day fast' 52 '^failure clock IMDS: This machine is 1d ahead of it' '^failure clock kms.*1d ahead' '^ok key db-password'
# The time of an answer has whole seconds, and a second may end while the answer is on its way: 149 of them are seen now and then.
make_clock -150
check 'a clock that is two and a half minutes slow' 3 '^warning clock IMDS: This machine is 2min [0-9]+s behind' '^ok key db-password'
wrapper=()

# The network path to KMS.
right 'KmsEndpoint=https://kms.example.invalid'
check 'no address' 50 '^failure dns kms.example.invalid: ' '^skipped tls kms.example.invalid' '^skipped key db-password: KMS cannot be reached'
right "KmsEndpoint=https://kms.$region.amazonaws.com:444"
check 'nobody there' 50 "^ok dns kms.$region" "^failure tls kms.$region.*(NAT gateway|VPC endpoint)"
right TrustedCertificates=
check 'a certificate of another authority' 51 '^failure tls .*not trusted'
right
platform fault set kms connect tls-expired
check 'a certificate that has expired' 52 '^failure tls .*certificate has expired'

# The key and its policy.
open_policy=$(jq -nc --arg admin "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin" --arg role "$PLATFORM_INSTANCE_ROLE_ARN" \
    '{Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: [$admin, $role]}, Action: "kms:*", Resource: "*"}]}')
right
kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$open_policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
check "a key's policy that gates nothing" 66 '^ok key db-password' '^failure key-policy db-password: .*without any document'
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
other=$(vendor_create_key)
vendor_put_policy "$other" "$(pcr 4)" "$(pcr 12)"
declare_secret db-password "$other" "$scratch/sealed"
check 'another key' 62 '^failure key db-password: .*another key'
kms DisableKey "{\"KeyId\": \"$other\"}" >/dev/null
vendor_seal "$key" db-password "$scratch/sealed" <"$secret"
check 'a key that is disabled' 61 '^failure key db-password: The key cannot be used'
right
declare_secret db-password "$key" "$scratch/none"
check 'no ciphertext' 30 '^failure source db-password: .*No such file' '^skipped key db-password: There is no ciphertext' \
    '^ok key-policy db-password: '
kms PutKeyPolicy "$(jq -nc --arg key "$key" --arg policy "$open_policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
check 'no ciphertext, and a policy that gates nothing' 30 '^skipped key db-password: There is no ciphertext' '^failure key-policy db-password: .*without any document'
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
right
platform fault set kms DryRun drop
# The checks before those that ask KMS take longer on a busy machine.
for seconds in 4 12 24 48; do
    options=("--timeout=${seconds}s")
    status=0
    (check 'a KMS that does not answer, and --timeout=' 4 '^skipped key db-password: .*--timeout=' '^skipped key-policy .*--timeout=' '^ok store') \
        >"$scratch/checked" 2>&1 || status=$?
    [ "$status" != 0 ] || break
done
cat "$scratch/checked"
assert_equal 'a KMS that does not answer, and --timeout=' "$status" 0
options=()
right
platform fault set kms DryRun throttle
check 'a KMS that throttles' 53 '^failure key db-password: KMS throttles' '^skipped key-policy'

# BindAccount= adds the account of the instance to the context.
right
kms Encrypt "$(jq -nc --arg key "$key" --arg text "$(base64 -w0 <"$secret")" --arg account "$PLATFORM_CUSTOMER_ACCOUNT" \
    '{KeyId: $key, Plaintext: $text, EncryptionContext: {"unseald:secret": "db-password", "unseald:account": $account}}')" |
    jq -r .CiphertextBlob >"$scratch/bound"
declare_secret db-password "$key" "$scratch/bound" BindAccount=yes
check 'a secret that is bound to the account' 4 '^ok key db-password' '^ok key-policy db-password'

# The policy is for another image.
right
platform extend 4 'another image' >/dev/null
options=(--measurements="$scratch/measurements")
check 'another image' 60 '^failure pcrs PCR4: DIFFERS from .*measured [0-9a-f]{96}, expected [0-9a-f]{96}' '^ok pcrs PCR12' '^failure key db-password: KMS denies' '^ok key-policy'
options=()
right "ExpectedMeasurements=$scratch/measurements"
check 'another image than the advice is for' 60 '^warning pcrs PCR4: DIFFERS from ' '^failure key db-password: KMS denies'
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
check 'another image, and a policy that takes it' 3 '^warning pcrs PCR4: DIFFERS from ' '^ok key db-password'

# KMS denies a machine with a driver, under the policy that unsealctl makes of the measurements. So doctor does not accept it, either.
measure() { jq -n --arg pcr4 "$(pcr 4)" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4}}'; }
reboot() { platform tpm-reset && platform extend 4 "$1" >/dev/null; }
make_policy() {
    "$build/daemon/unsealctl" policy --admin="arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin" \
        --principal="$PLATFORM_INSTANCE_ROLE_ARN" --measurements="$scratch/new" "$@" >"$scratch/policy" &&
        kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}
reboot 'the new image'
measure >"$scratch/new"
make_policy
right
options=(--measurements="$scratch/new")
check 'the image' 4 '^ok pcrs PCR2: As expected' '^ok pcrs PCR13: As expected' '^ok key db-password'
options=(--measurements="$scratch/measurements" --measurements="$scratch/new")
check 'the image, as the second of two' 4 '^ok pcrs PCR4: As expected by .*/new ' '^ok key db-password'
options=(--measurements="$scratch/new" --measurements="$scratch/measurements")
check 'the image, as the first of two' 4 '^ok pcrs PCR4: As expected by .*/new '
options=(--measurements="$scratch/measurements")
check 'the image, where only another is expected' 60 '^failure pcrs PCR4: DIFFERS from ' '^ok key db-password'
options=(--measurements="$scratch/none")
check 'measurements that are not there' 1 '/none: No such file'
for pcr in 2 13; do
    [ "$pcr" = 2 ] && allowed=--allow-drivers || allowed=--no-pcr13
    platform extend "$pcr" 'from outside' >/dev/null
    options=(--measurements="$scratch/new")
    check "PCR$pcr extended" 60 '^ok pcrs PCR4: As expected' "^failure pcrs PCR$pcr: DIFFERS from .*measured [0-9a-f]{96}, expected [0-9a-f]{96}" '^failure key db-password: KMS denies'
    make_policy "$allowed"
    options+=("$allowed")
    check "PCR$pcr extended, which $allowed allows" 4 "^note pcrs PCR$pcr: .*Any value is accepted" '^ok key db-password'
    reboot 'the new image'
    make_policy
done
options=()
reboot 'another image'
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"

# The store.
mount -t tmpfs -o mode=0711 tmpfs "$store"
right
check 'a tmpfs over the store' 11 "^failure store $store: .*noswap.*over it"
umount "$store"
mount -t ramfs -o mode=0711 ramfs "$store"
check 'a second ramfs over the store' 3 "^warning store $store: .*2 file systems"
umount "$store"
chmod 0777 "$store"
check 'a store that all may write to' 11 "^failure store $store: Other users than its owner may write"
chmod 0711 "$store"

printf '%s/dev/nvme1n1p2 partition\t1048572\t0\t-2\n' "$swap_headings" >"$scratch/swaps"
check 'swap on a disk' 3 '^warning swap /dev/nvme1n1p2: Swap is in use'
printf %s "$swap_headings" >"$scratch/swaps"

# The report of the last unsealing.
right
unseald_start
unseald_finish
check 'after a good unsealing' 4 '^note status'
right
platform fault set kms Decrypt error AccessDeniedException
unseald_start
unseald_finish
platform fault clear
check 'after a failed one' 60 '^ok key db-password' '^failure status: failed: ' '^failure status db-password: failed: for the reason above'
echo '{' >"$status_file"
doctor
assert_line 'a malformed status file' "$said" "^skipped status $status_file: It is not a status file of unseald\."
rm -f "$status_file"

# Without privileges.
chmod 0400 "$scratch/sealed"
wrapper=(setpriv --reuid=65534 --regid=65534 --clear-groups)
chmod 0711 "$scratch"
chmod -R a+rX "$config"
check 'as nobody' 4 '^skipped source db-password: needs root'
wrapper=()

# What is found before and after is said also where the unit files are too long.
right
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/system/service.d
head -c 200000 /dev/zero | tr '\0' '#' >/run/systemd/system/service.d/long.conf
for i in {1..90}; do printf '[Service]\n' >"/run/systemd/system/long-$i.service"; done
check 'unit files that are too long' 4 '^ok key db-password: KMS would decrypt' '^skipped consumers: .*more than 16 MiB' '^skipped service '
umount /run/systemd

# JSON.
right
doctor --json
jq -e '.failures == 0 and .warnings == 0 and .skipped == 1 and (.findings | length > 15) and
    all(.findings[]; .check and .verdict and .text)' "$said" >/dev/null || die "JSON: $(cat "$said")"
platform role none
doctor --json
assert_equal 'the failure in JSON' "$(jq -r '[.findings[] | select(.verdict == "failure")][0] | "\(.check) \(.failure)"' "$said")" 'role role'
platform role "$PLATFORM_INSTANCE_ROLE"
doctor --frobnicate
assert_equal 'a wrong option' "$(cat "$scratch/status")" 2

[ -n "$(platform log | jq -r 'select(.eventName == "Decrypt") | .requestID')" ] || die 'KMS was never asked'
assert_equal 'what was decrypted by doctor' "$(decrypted | wc -l)" 1
assert_equal 'what is in the TPM' "$(tpm_contents)" "$before"
