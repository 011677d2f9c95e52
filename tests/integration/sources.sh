#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every kind of Source=, end to end. If the ciphertext is missing or wrong, unseald believes nothing that came from there, and its
# message says what to do.
. "$(dirname "$0")/direct.sh"
direct_start
configure
base64 -d "$scratch/sealed" >"$scratch/raw"
printf 'Something else' | vendor_seal "$key" another "$scratch/another"

# comes WHAT: unseald becomes ready and publishes the secret
comes() {
    rm -f "$scratch/seen"
    on_ready() {
        cp "$store/db-password" "$scratch/seen"
        cp "$status_file" "$scratch/status"
    }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$1: unseald ended with $unseald_status: $(cat "$log")"
    assert_equal "$1: the secret" "$(cat "$scratch/seen")" "$(cat "$secret")"
    say "$1: there after $took s"
}

# refused STATUS REGEX WHAT: unseald ends with this status and a message that matches, and has published nothing
refused() {
    unseald_start
    unseald_finish
    while [ "$unseald_status" != "$1" ] && longer_deadline; do
        unseald_start
        unseald_finish
    done
    [ -z "$unseald_ready" ] || die "$3: unseald is ready"
    assert_equal "$3: exit status" "$unseald_status" "$1"
    assert_line "$3: what is said" "$log" "$2"
    [ -z "$(ls -A "$store")" ] || die "$3: the store has $(ls -A "$store")"
    say "$3: status $1, $(grep -Eo -m 1 -- "$2" "$log" | head -n 1)"
}

say "== user data"
platform user-data "$scratch/sealed"
declare_source user-data:
comes "user data, base64"
platform user-data "$scratch/raw"
comes "user data, raw"
jq -n --rawfile sealed "$scratch/sealed" --rawfile another "$scratch/another" '{secrets: {"a/b": $sealed, another: $another}, n: 1}' >"$scratch/user-data"
platform user-data "$scratch/user-data"
declare_source user-data:/secrets/a~1b
comes "user data, by a pointer"
platform fault set imds user-data http 503 --times 2
comes "user data, after two times 503"
assert_equal "requests for user data" "$(platform log | jq -s 'map(select(.eventName == "user-data" and .httpStatus == 503)) | length')" 2
refuse_pointer() { declare_source "user-data:$1" && refused 30 'user data has no string at this' "user data, $2"; }
refuse_pointer /secrets/none "a pointer to nothing"
refuse_pointer /n "a pointer to a number"
# The owner of the account can change user data. The ciphertext of another secret does not open in the place of this one.
declare_source user-data:/secrets/another
refused 62 'InvalidCiphertextException' "user data with another secret's ciphertext"
printf '#!/bin/sh\nrm -rf /\n' >"$scratch/script"
platform user-data "$scratch/script"
refused 30 'user data is not JSON' "user data that is a script"
printf '[Secret]\nSource=file:/etc/shadow\n' >"$scratch/configuration"
platform user-data "$scratch/configuration"
declare_source user-data:
refused 30 'text, but not base64' "user data that would be configuration"
platform user-data none
refused 30 'This instance has no user data' "no user data"
declare_source user-data: Optional=yes
on_ready() { :; }
unseald_start
unseald_finish
assert_line "an optional secret without user data" "$log" 'The optional secret .* stays sealed: This instance has no user data'
[ -n "$unseald_ready" ] || die "an optional secret that is not there: $(cat "$log")"

say "== several secrets from one's user data: one request"
platform user-data "$scratch/user-data"
declare_source user-data:/secrets/a~1b
printf '%s\n' '[Secret]' Source=user-data:/secrets/another "KeyId=$key" >"$config/secrets.d/another.secret"
before=$(platform log | jq -s 'map(select(.eventName == "user-data")) | length')
comes "two secrets"
assert_equal "requests for user data" "$(platform log | jq -s 'map(select(.eventName == "user-data")) | length')" $((before + 1))

say "== https"
url=https://downloads.example.com
platform file put db.sealed "$scratch/sealed" >/dev/null
declare_source "$url/db.sealed"
comes "https, base64"
platform file put 'a%b/raw' "$scratch/raw" >/dev/null
declare_source "$url/a%25b/raw?token=s3cr3t"
comes "https, raw"
assert_no_line "the query of a URL" "$log" s3cr3t
assert_no_line "the query of a URL in status.json" "$scratch/status" s3cr3t
assert_line "the source in status.json" "$scratch/status" "\"source\": ?\"$url/a%25b/raw\""
declare_source "$url/db.sealed"
platform fault set files GET http 503 --times 2
comes "https, after two times 503"
platform fault set files GET truncated --times 1
comes "https, after half a file"
platform fault set files GET reset --times 1
comes "https, after a reset"
printf 'https://downloads.example.com/db.sealed' >"$scratch/location"
platform file put moved "$scratch/location" redirect >/dev/null
declare_source "$url/moved"
before=$(platform log | jq -s 'map(select(.eventSource == "files")) | length')
refused 30 'HTTP status 302, and unseald does not follow redirects' "https, a redirect"
assert_equal "requests after a redirect" "$(platform log | jq -s 'map(select(.eventSource == "files")) | length')" $((before + 1))
declare_source "$url/none"
refused 30 'HTTP status 404' "https, not there"
head -c 100000 /dev/zero | tr '\0' A >"$scratch/huge"
platform file put huge "$scratch/huge" >/dev/null
declare_source "$url/huge"
refused 30 'longer than a sealed secret can be' "https, a huge body"
platform fault set files GET oversized
refused 30 'longer than a sealed secret can be' "https, 8 MiB"
platform fault clear
{ printf '\1\2\2\0' && head -c 8996 /dev/urandom; } >"$scratch/long" # random bytes may begin like UTF-16
platform file put long "$scratch/long" >/dev/null
declare_source "$url/long"
refused 30 'longer than 6144 bytes' "https, too much ciphertext"
declare_source "$url/db.sealed" SizeMax=50
refused 30 'longer than 50 bytes' "https, more than SizeMax="
printf '<html>Sign in</html>' >"$scratch/page"
platform file put page "$scratch/page" >/dev/null
declare_source "$url/page"
refused 30 'text, but not base64' "https, a captive portal's page"
declare_source "$url/db.sealed"
for certificate in untrusted wrong-name; do
    platform fault set files connect tls-$certificate
    refused 51 'certificate is not one of|is not trusted' "https, tls-$certificate"
    platform fault clear
done
configure DeadlineSec=3s
platform fault set files connect tls-expired
refused 52 'not valid at the time' "https, tls-expired"
platform fault clear
platform fault set files GET http 500
refused 53 'HTTP status 500' "https, an outage without end"
platform fault clear
configure
declare_source "http://downloads.example.com/db.sealed"
refused 78 'Source=: Expected file:/absolute/path' "http"

say "== S3"
object='a b+c%41/ü&=?#'
first=$(platform object put sealed-secrets "$object" "$scratch/sealed")
declare_source "s3://sealed-secrets/$object"
comes "S3, a key with everything in it"
platform object put sealed-secrets "$object" "$scratch/another" >/dev/null
declare_source "s3://sealed-secrets/$object?versionId=$first"
comes "S3, a version"
declare_source "s3://sealed-secrets/$object"
refused 62 'InvalidCiphertextException' "S3, the object exchanged by its owner"
platform object put sealed.secrets.example.com db "$scratch/raw" >/dev/null
declare_source s3://sealed.secrets.example.com/db
comes "S3, a bucket with dots"
platform object put sealed-secrets /a//../b "$scratch/sealed" >/dev/null
declare_source s3://sealed-secrets//a//../b
comes "S3, a key like a path"
configure DualStack=yes "KmsEndpoint=$PLATFORM_KMS_ENDPOINT"
refused 78 'KmsEndpoint=' "DualStack= beside KmsEndpoint="
configure DualStack=yes Fips=yes
comes "S3, dual-stack FIPS"
configure

platform object put sealed-secrets db "$scratch/sealed" >/dev/null
declare_source s3://sealed-secrets/db
platform fault set s3 GetObject throttle --times 2
comes "S3, after SlowDown"
platform fault set s3 GetObject expired-credentials --times 1
comes "S3, after ExpiredToken"
platform fault set s3 GetObject clock 3600
comes "S3, an hour ahead"
platform fault clear
platform fault set s3 connect tls-untrusted
refused 51 'is not trusted' "S3, tls-untrusted"
platform fault clear
declare_source s3://sealed-secrets/none
refused 30 'NoSuchKey.*object does not exist' "S3, NoSuchKey"
assert_line "the request's ID" "$log" NoSuchKey
declare_source "s3://sealed-secrets/db?versionId=none"
refused 30 'NoSuchVersion.*version of the object does not exist' "S3, NoSuchVersion"
declare_source s3://sealed-secrets/db SourceRegion=eu-west-1
configure DeadlineSec=3s
refused 50 'ealed-secrets.s3.eu-west-1.amazonaws.com' "S3, another Region, which is not here"
configure

say "== Parameter Store"
platform parameter put /billing/db "$scratch/sealed" >/dev/null
declare_source ssm:/billing/db
comes "a parameter"
platform parameter put /billing/db "$scratch/another" >/dev/null
declare_source ssm:/billing/db:1
comes "a parameter's version"
declare_source "ssm:arn:aws:ssm:$PLATFORM_REGION:$PLATFORM_CUSTOMER_ACCOUNT:parameter/billing/api"
platform parameter put /billing/api "$scratch/sealed" >/dev/null
comes "a parameter by its ARN"
for fault in throttle 'error InternalServerError' expired-credentials 'http 503' garbage; do
    # shellcheck disable=SC2086
    platform fault set ssm GetParameter $fault --times 1
    comes "a parameter, after $fault"
done
platform parameter put /billing/secure "$scratch/sealed" SecureString >/dev/null
declare_source ssm:/billing/secure
refused 30 'is a SecureString. Parameter Store decrypts' "a SecureString"
declare_source ssm:/billing/none
refused 30 'ParameterNotFound.*parameter does not exist' "a parameter that is not there"

say "== Secrets Manager"
platform secret put billing/db "$scratch/sealed" >/dev/null
declare_source secretsmanager:billing/db
comes "a SecretString"
platform secret put billing/raw "$scratch/raw" binary >/dev/null
declare_source secretsmanager:billing/raw
comes "a SecretBinary"
declare_source "secretsmanager:arn:aws:secretsmanager:$PLATFORM_REGION:$PLATFORM_CUSTOMER_ACCOUNT:secret:billing/raw-AbCdEf"
comes "a secret by its ARN"
for fault in throttle 'error InternalServiceError' expired-credentials empty; do
    # shellcheck disable=SC2086
    platform fault set secretsmanager GetSecretValue $fault --times 1
    comes "a secret, after $fault"
done
printf 'hunter2' >"$scratch/plain"
platform secret put billing/plain "$scratch/plain" >/dev/null
declare_source secretsmanager:billing/plain
refused 30 'text, but not base64\. Put there what "unsealctl seal" has written' "a plaintext by mistake"
assert_no_line "a plaintext by mistake" "$log" hunter2
jq -n --rawfile db "$scratch/sealed" '{db: $db, port: 5432, plain: "hunter2", deep: {db: $db}}' >"$scratch/members"
platform secret put billing/members "$scratch/members" >/dev/null
declare_source 'secretsmanager:billing/members#db'
comes "a member of a JSON secret"
for mistake in 'none:has no member' 'port:is no string' 'deep:is no string' 'plain:text, but not base64'; do
    declare_source "secretsmanager:billing/members#${mistake%%:*}"
    refused 30 "secretsmanager:billing/members#.*${mistake#*:}" "the member ${mistake%%:*}"
    assert_no_line "another member" "$log" 'hunter2|5432'
done
declare_source 'secretsmanager:billing/raw#db'
refused 30 'The secret is binary' "a member of a binary secret"
declare_source secretsmanager:billing/none
refused 30 'ResourceNotFoundException.*secret does not exist' "a secret that is not there"

say "== a credential of the service manager"
mkdir "$scratch/credentials"
cp "$scratch/raw" "$scratch/credentials/db.sealed"
declare_source credential:db.sealed
export CREDENTIALS_DIRECTORY=$scratch/credentials
comes "a credential"
declare_source credential:none
refused 30 'credential:none: The sealed secret cannot be read: No such file' "a credential that is not there"
unset CREDENTIALS_DIRECTORY
refused 30 'LoadCredential=' "no credentials at all"

say "== many at once"
# More secrets than connections, all from one server.
rm -f "$config"/secrets.d/*
for i in $(seq 40); do
    printf 'secret %s' "$i" | vendor_seal "$key" "many-$i" "$scratch/many"
    platform object put sealed-secrets "many/$i" "$scratch/many" >/dev/null
    printf '%s\n' '[Secret]' "Source=s3://sealed-secrets/many/$i" "KeyId=$key" >"$config/secrets.d/many-$i.secret"
done
on_ready() { cat "$store"/* | wc -c >"$scratch/seen"; }
platform fault set s3 GetObject throttle --times 10
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || die "forty secrets: $(tail -n 20 "$log")"
assert_equal "bytes of forty secrets" "$(cat "$scratch/seen")" $((9 * 8 + 31 * 9))
say "forty secrets from S3, ten requests throttled: ready after $took s"

say "== a role that may not"
rm -f "$config"/secrets.d/*
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "kms:Decrypt", Resource: "*"}]}' >"$scratch/policy"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/policy"
declare_source s3://sealed-secrets/db
refused 30 'AccessDenied.*needs s3:GetObject' "S3, AccessDenied"
declare_source ssm:/billing/api
refused 30 'AccessDeniedException.*needs ssm:GetParameter' "Parameter Store, AccessDenied"
declare_source secretsmanager:billing/db
refused 30 'AccessDeniedException.*needs secretsmanager:GetSecretValue' "Secrets Manager, AccessDenied"
declare_source s3://sealed-secrets/db Optional=yes
declare_secret another "$key" "$scratch/another"
on_ready() { :; }
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || die "an optional secret that the role may not fetch: $(cat "$log")"
assert_line "an optional secret that the role may not fetch" "$log" 'The optional secret db-password stays sealed: s3://sealed-secrets/db: .*AccessDenied'
