#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The account's owner leaves the image as it is, but chooses its user data, its metadata service and its environment. These are
# not measured, so unseald does not trust them.
. "$(dirname "$0")/direct.sh"
direct_start
table_begin 'by user data, metadata service, environment'
declare_secret db-password "$key" "$scratch/sealed"
kms_host=kms.$region.amazonaws.com

# User data. An attacker listens at the address that they name.
attacker_start kms 127.0.0.2:443
{
    printf '%s\n' '[Unseald]' KmsEndpoint=https://127.0.0.2 Proxy=http://127.0.0.2:443 TrustedCertificates=/tmp/attacker.pem
    printf '%s\n' '[Secret]' Source=https://127.0.0.2/ 'KeyId=arn:aws:kms:eu-north-1:222222222222:key/00000000-0000-0000-0000-000000000000'
} >"$scratch/user-data"
platform user-data "$scratch/user-data"
configure
attack - 'user data that look like unseald.conf' unharmed published
jq -n --rawfile sealed "$scratch/sealed" '{secrets: {"db-password": $sealed}, KeyId: "arn:aws:kms:eu-north-1:222222222222:key/0",
    EncryptionContext: {"unseald:secret": "license"}, KmsEndpoint: "https://127.0.0.2", Unseald: {KmsEndpoint: "https://127.0.0.2"}}' >"$scratch/user-data"
platform user-data "$scratch/user-data"
printf '%s\n' '[Secret]' Source=user-data:/secrets/db-password "KeyId=$key" >"$config/secrets.d/db-password.secret"
attack - 'user data that bring ciphertext, and settings beside it' unharmed published
expect 'connections to where user data point' "$(attacker_saw ^connected)" 0
attacker_stop
printf 'a license, no password' | vendor_seal "$key" license "$scratch/license"
jq -n --rawfile sealed "$scratch/license" '{secrets: {"db-password": $sealed}}' >"$scratch/user-data"
platform user-data "$scratch/user-data"
attack 2 "user data that bring another secret's ciphertext" 'ends 62' 'encryption context'
declare_secret db-password "$key" "$scratch/sealed"

platform extend 4 'an image of the owner' >/dev/null
jq -n --arg pcr4 "$(pcr 4)" --arg pcr12 "$(pcr 12)" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4, PCR12: $pcr12}}' >"$scratch/user-data"
platform user-data "$scratch/user-data"
configure ExpectedMeasurements=user-data:
attack 6 'user data that say that another image was expected' 'ends 60' 'denies access'
assert_line 'the lie is told' "$log" 'PCR4 .* is as expected'
platform tpm-reset >/dev/null
platform user-data none
configure

# The environment. systemd.setenv= on the kernel's command line, which PCR12 measures, would set it for all services.
make_authority attacker
make_certificate attacker front "$kms_host"
cp "$PLATFORM_HOSTS" "$scratch/hosts"
sed "s/^$PLATFORM_KMS_ADDRESS /127.0.0.2 /" "$scratch/hosts" >"$PLATFORM_HOSTS"
attacker_start kms 127.0.0.2:443 --certificate "$scratch/front.pem" --private-key "$scratch/front.key" --forge "$secret" --key-id "$key"
begun=$EPOCHREALTIME
wrapper=(env "SSL_CERT_FILE=$scratch/attacker.pem" "SSL_CERT_DIR=$scratch" "CURL_CA_BUNDLE=$scratch/attacker.pem")
saw=$(platform exec --as instance -- "${wrapper[@]}" curl -sS "https://$kms_host/ping" 2>&1) || true
row - "(curl takes the attacker for KMS by such variables)" "$saw" pong - . "$(seconds_since "$begun")"
: >"$attacker_log"
configure TrustedCertificates=
attack 3 "SSL_CERT_FILE= and its like, with the attacker's authority" 'ends 51' 'not trusted'
attacker_waits 2
expect 'what it got to see' "$(paste -sd, "$attacker_log")" 'connected,broken off: TLSV1_ALERT_UNKNOWN_CA'
attacker_stop
cat "$scratch/hosts" >"$PLATFORM_HOSTS"

configure
cc -shared -fPIC -o "$scratch/evil.so" -x c - <<END
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { (void) creat("$scratch/loaded", 0600); }
END
printf '%s\n' 'openssl_conf = start' '[start]' 'providers = providers' '[providers]' 'evil = evil' '[evil]' "module = $scratch/evil.so" \
    'activate = 1' >"$scratch/openssl.cnf"
steering=(env "OPENSSL_CONF=$scratch/openssl.cnf" "OPENSSL_MODULES=$scratch" "OPENSSL_ENGINES=$scratch" "SSLKEYLOGFILE=$scratch/keylog"
    http_proxy=http://127.0.0.3:3128 https_proxy=http://127.0.0.3:3128 HTTPS_PROXY=http://127.0.0.3:3128 ALL_PROXY=http://127.0.0.3:3128
    "TSS2_LOG=all+trace" "TSS2_LOGFILE=$scratch/tss" LOCALDOMAIN=example.invalid "RES_OPTIONS=ndots:15" "HOME=$scratch"
    "HOSTALIASES=$scratch/hosts")
attacker_start kms 127.0.0.3:3128 --connect
begun=$EPOCHREALTIME
platform exec --as instance -- "${steering[@]}" curl -sS "$PLATFORM_KMS_ENDPOINT/ping" >/dev/null 2>&1 || true
steered=$([ ! -e "$scratch/loaded" ] || echo 'a module')$([ "$(attacker_saw ^CONNECT)" = 0 ] || echo ', the proxy')
row - '(OPENSSL_CONF=, https_proxy= and others steer curl)' "$steered" 'a module, the proxy' - . "$(seconds_since "$begun")"
rm -f "$scratch/loaded" "$scratch/keylog"
: >"$attacker_log"
wrapper=("${steering[@]}")
attack 3 'an environment that steers OpenSSL, curl and the TSS' unharmed published
for file in loaded keylog tss; do expect "what was left by the environment: $file" "$([ ! -e "$scratch/$file" ] || echo there)" ''; done
expect 'connections to the proxy' "$(attacker_saw ^connected)" 0
attacker_stop
wrapper=()

# The owner runs a metadata service in the machine's own namespace. KMS is the platform's, one hop away.
platform machine-netns create
platform machine-netns up
ip -n "$PLATFORM_MACHINE_NETNS" address add "$PLATFORM_IMDS_ADDRESS/32" dev lo
attacker_netns=(--netns "$PLATFORM_MACHINE_NETNS")
unseald_netns=(--netns "$PLATFORM_MACHINE_NETNS")
credentials() { # FILE JQ-FILTER [ROLE]: writes the role's credentials, changed by the filter
    local imds=http://169.254.169.254/latest token
    token=$(platform exec --as instance -- curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' $imds/api/token)
    platform exec --as instance -- curl -sS -H "X-aws-ec2-metadata-token: $token" \
        "$imds/meta-data/iam/security-credentials/${3:-$PLATFORM_INSTANCE_ROLE}" | jq "$2" >"$scratch/$1"
}
imds() { attacker_start imds "$PLATFORM_IMDS_ADDRESS:80" "$@"; }
credentials right .
imds --credentials "$scratch/right"
attack - '(a metadata service of the owner, which tells the truth)' unharmed published
attacker_stop
platform role other-instance
credentials other . other-instance
platform role "$PLATFORM_INSTANCE_ROLE"
imds --credentials "$scratch/other"
attack - "another role's credentials under the right name" 'ends 60' 'assumed-role/other-instance'
attacker_stop
configure DeadlineSec=2s
credentials crlf '.Token += "\r\nX-Amz-Target: TrentService.ScheduleKeyDeletion"'
imds --credentials "$scratch/crlf"
attack - "a session token that ends the header and begins another" 'ends 40' 'malformed answer for the role.s credentials'
expect 'requests to KMS in that boot' "$(platform log | jq -r 'select(.eventName == "ScheduleKeyDeletion") | .eventName')" ''
attacker_stop
for role in '../../user-data' 'a\rb: c' "$(printf 'a%.0s' {1..2000})" '\x1b[2J'; do
    imds --credentials "$scratch/right" --role "$role"
    attack - "a role named ${role:0:20}$([ ${#role} -lt 21 ] || echo "… (${#role} characters)")" 'ends 40' 'malformed answer for the role.s name'
    attacker_stop
done
imds --trickle
attack - 'a byte a second, for ever' 'ends 40' 'timed out|no answer'
attacker_stop
credentials code '.Code = "Failed\u001b[2J"'
imds --credentials "$scratch/code"
attack - 'an error code that clears the screen' 'ends 41' 'EC2 has no credentials'
expect 'escapes in what is said' "$(grep -c $'\e' "$log" || true)" 0
attacker_stop

table_end
