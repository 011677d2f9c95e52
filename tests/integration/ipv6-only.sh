#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A subnet with IPv6 alone: the machine has no IPv4 address but that of lo. IMDS answers at [fd00:ec2::254], and KMS and the sources of
# secrets by their dual-stack names. Without DualStack=yes unseald waits and names the reason, and doctor does, too.
. "$(dirname "$0")/direct.sh"
mount_own /run/unseald
platform_start --ipv6
platform extend 4 'the image'
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
platform machine-netns create
platform machine-netns up-ipv6
netns=(--ipv6 --netns "$PLATFORM_MACHINE_NETNS")
in_machine() { platform exec --as instance "${netns[@]}" -- "$@"; }
unseald_netns=("${netns[@]}")
secret_arn=arn:aws:secretsmanager:$region:$PLATFORM_CUSTOMER_ACCOUNT:secret:app/token-AbCdEf

say "== the machine has no IPv4"
assert_equal "IPv4 addresses" "$(in_machine ip -4 -brief address show scope global)" ''
assert_equal "IPv4 routes" "$(in_machine ip -4 route show)" ''
curl_status() { in_machine curl -sS -o /dev/null "$1" >/dev/null 2>&1 || echo $?; }
assert_equal "curl to IMDS over IPv4 (7: it cannot connect)" "$(curl_status http://169.254.169.254/latest/)" 7
assert_equal "curl to KMS's ordinary name" "$(curl_status "https://kms.$region.amazonaws.com/ping")" 7
assert_equal "curl to KMS's dual-stack name" "$(curl_status "https://kms.$region.api.aws/ping")" ''

say "== each kind of Source="
# sealed NAME: seals a secret of this name, whose text is the name
sealed() { printf 'the text of %s' "$1" | vendor_seal "$key" "$1" "$scratch/$1.sealed"; }
# from NAME SOURCE [LINE...]: declares a secret that comes from there
from() {
    local name=$1 source=$2
    shift 2
    printf '%s\n' '[Secret]' "Source=$source" "KeyId=$key" "$@" >"$config/secrets.d/$name.secret"
}
for name in file user-data s3 ssm secretsmanager; do sealed "$name"; done
from file "file:$scratch/file.sealed"
platform user-data "$scratch/user-data.sealed"
from user-data user-data:
platform object put sealed-secrets s3.sealed "$scratch/s3.sealed" >/dev/null
from s3 s3://sealed-secrets/s3.sealed
platform parameter put /app/token "$scratch/ssm.sealed" >/dev/null
from ssm ssm:/app/token
platform secret put app/token "$scratch/secretsmanager.sealed" >/dev/null
from secretsmanager "secretsmanager:$secret_arn"
configure DualStack=yes
on_ready() { (cd "$store" && tail -n +1 -- *) >"$scratch/seen"; }
unseald_start
unseald_finish
assert_equal "ready ($(tail -n 1 "$log"))" "$unseald_ready" yes
for name in file user-data s3 ssm secretsmanager; do assert_line "what is published" "$scratch/seen" "^the text of $name"; done
# The services saw the machine's IPv6 address, and no other.
platform log | jq -r 'select(.eventName | IN("Decrypt", "GetObject", "GetParameter", "GetSecretValue", "token")) | .eventName + " " + (.sourceIPAddress // "-")' |
    sort -u >"$scratch/asked"
cat "$scratch/asked"
for event in Decrypt GetObject GetParameter GetSecretValue; do
    assert_equal "where $event came from" "$(sed -n "s/^$event //p" "$scratch/asked")" 2001:db8:0:2::10
done

say "== doctor"
doctor() {
    local status=0
    in_machine "${wrapper[@]}" "$build/daemon/unsealctl" doctor --vendor-configuration="$config" --configuration=/nonexistent \
        --store="$store" --status="$status_file" >"$scratch/doctor" 2>&1 || status=$?
    grep -Ev '^(ok|note) ' "$scratch/doctor" || true
    assert_equal "doctor's exit status" "$status" "$1"
}
doctor 4
assert_line doctor "$scratch/doctor" '^ok imds: Answers' "^ok dns kms.$region.api.aws: 2001:db8:0:1::10" "^ok tls kms.$region.api.aws: Trusted" \
    '^ok source s3: ' '^ok source ssm: ' '^ok source secretsmanager: ' '^ok key file: KMS would decrypt'

say "== the controls"
rm "$config"/secrets.d/*
from file "file:$scratch/file.sealed"
on_ready() { :; }
configure DeadlineSec=3s
until_deadline "at connection to KMS: kms\.$region\.amazonaws\.com.*no route to its address.*set DualStack=yes"
assert_equal "exit status without DualStack=yes" "$unseald_status" 50
[ -z "$(ls -A "$store")" ] || die "without DualStack=yes the store has $(ls -A "$store")"
doctor 50
assert_line doctor "$scratch/doctor" "^failure dns kms.$region.amazonaws.com: This machine has no route to 198.51.100.10" 'set DualStack=yes'

# IMDS without HttpProtocolIpv6: nothing answers at its IPv6 address. The answer of a router would be the same.
ip -n "$PLATFORM_MACHINE_NETNS" route add unreachable fd00:ec2::254/128
configure DualStack=yes DeadlineSec=3s
until_deadline 'IMDS cannot be reached: .*In a subnet with IPv6 alone, also check that HttpProtocolIpv6 is enabled'
assert_equal "exit status without IMDS over IPv6" "$unseald_status" 40
doctor 40
assert_line doctor "$scratch/doctor" '^failure imds: .*--http-protocol-ipv6 enabled'
ip -n "$PLATFORM_MACHINE_NETNS" route del unreachable fd00:ec2::254/128
unseald_start
unseald_finish
assert_equal "ready again ($(tail -n 1 "$log"))" "$unseald_ready" yes
