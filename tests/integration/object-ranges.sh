#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Large objects in parts: from S3 with and without versions and from an HTTPS server, by ranges wherever the parts can be kept of one
# object, and by one stream elsewhere. What breaks off goes on where it was; what is not what was asked for is never taken.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
platform_start
program=$build/tests/integration/object/fetch-object
object=$scratch/object got=$scratch/got

head -c 67109000 /dev/urandom >"$object"
put() {
    platform object put models weights "$1" >/dev/null
    platform file put weights "$1" >/dev/null
}
put "$object"
s3=s3://models/weights https=https://downloads.example.com/weights

# fetch STATUS ARGUMENT...: leaves the object in $got, what is said in $scratch/said, the figures in $figures
principal=(platform exec --as customer --)
fetch() {
    local wanted=$1 saw=0
    shift
    rm -f "$got"
    figures=$("${principal[@]}" "$program" "$@" "$region" "$PLATFORM_CA_FILE" "$got" 2>"$scratch/said") || saw=$?
    [ "$saw" = "$wanted" ] || die "$*: exit status $saw, wanted $wanted: $(cat "$scratch/said")"
}
# brings WHAT ranges|stream ARGUMENT...: the whole object comes, in this way
brings() {
    local what=$1 way=$2
    shift 2
    fetch 0 "$@"
    cmp "$got" "$object" || die "$what: other bytes"
    [[ $figures == "$(stat -c %s "$object") $way "* ]] || die "$what: wanted $way, saw $figures"
    say "  $what: $figures"
}
ranges() { platform log | jq -s "map(select(.requestParameters.range)) | .[$1:]"; }

say "what keeps the parts of one object"
before=$(platform log | jq -s 'map(select(.requestParameters.range)) | length')
brings "S3 with versions" ranges "$s3"
ranges "$before" | jq -e '(length >= 9) and (.[1:] | all(.requestParameters.version != null))' >/dev/null || die "the version is not asked for: $(ranges "$before")"
brings "S3 with versions, in order" ranges --in-order "$s3"
platform fault set s3 GetObject identity unversioned
brings "S3 without versions" ranges "$s3"
platform fault set s3 GetObject identity suspended
brings "S3 with suspended versions" ranges "$s3"
platform fault set s3 GetObject identity none
brings "S3 without an identity" stream "$s3"
platform fault clear
brings "HTTPS with a strong ETag" ranges "$https"
platform fault set files GET identity weak
brings "HTTPS with a weak ETag" stream "$https"
platform fault set files GET identity none
brings "HTTPS without an ETag" stream "$https"
platform fault clear
platform fault set files GET range whole
brings "HTTPS without ranges" stream "$https"
platform fault clear

say "connections that break off, answers that are wrong"
# again WHAT WORDS FAULT...: the first request goes well, the next ones meet the fault; it is said and got over
again() {
    local what=$1 words=$2
    shift 2
    platform fault set s3 GetObject "$@" --after 1 --times 3
    brings "$what" ranges "$s3"
    assert_line "$what" "$scratch/said" "^again: .*$words"
    platform fault clear
}
again "connections reset in the middle" 'reset by peer|unexpected eof|bytes remaining' cut 1500000
again "connections closed in the middle" 'bytes remaining' truncated
again "the whole in place of a range" 'whole object in place of a range' range whole
again "other bytes" 'sent the bytes .* in place of' range other
again "less than announced" 'contradicts' range short
again "more than announced" 'contradicts' range long
again "no Content-Range" 'without a Content-Range' range unnamed
again "several ranges" 'several ranges' range multipart
again "503 SlowDown" 'throttles requests' throttle
again "expired credentials" 'does not accept the credentials' expired-credentials
again "a wrong clock" 'clock of this machine' clock 3600

say "an object that is replaced in the middle"
platform fault set s3 GetObject replaced --after 2 --times 1
brings "with versions the old one still comes" ranges "$s3"
put "$object"
# stale WHAT SERVICE OPERATION SOURCE WORDS FAULT...
stale() {
    local what=$1 service=$2 operation=$3 source=$4 words=$5
    shift 5
    platform fault set "$service" "$operation" "$@" --after 1 --times 1
    fetch 75 "$source"
    assert_line "$what" "$scratch/said" "$words"
    say "  $what: $(tail -n 1 "$scratch/said")"
    platform fault clear
    put "$object"
}
stale "with a strong ETag nothing of two objects is mixed" files GET "$https" 'Somebody has replaced the object since its first bytes came' replaced
stale "another total" s3 GetObject "$s3" 'another length than when the first bytes came' range total
stale "deleted" files GET "$https" 'Somebody has deleted the object' http 404

say "a role that may read the object, but not its versions"
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "s3:GetObject", Resource: "arn:aws:s3:::models/weights"}]}' >"$scratch/policy.json"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/policy.json"
imds=http://$PLATFORM_IMDS_ADDRESS/latest
token=$(platform exec -- curl -sSX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 600' "$imds/api/token")
platform exec -- curl -sS -H "X-aws-ec2-metadata-token: $token" "$imds/meta-data/iam/security-credentials/$PLATFORM_INSTANCE_ROLE" >"$scratch/credentials"
principal=(platform exec --as instance -- env "AWS_ACCESS_KEY_ID=$(jq -r .AccessKeyId "$scratch/credentials")"
    "AWS_SECRET_ACCESS_KEY=$(jq -r .SecretAccessKey "$scratch/credentials")" "AWS_SESSION_TOKEN=$(jq -r .Token "$scratch/credentials")")
brings "its ETag keeps the ranges of one object" ranges "$s3"
