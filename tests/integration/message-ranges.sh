#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Large messages from S3 and from an HTTPS server: unseald fetches them by ranges over several connections where something keeps the
# ranges of one object, and by one stream elsewhere. Connections that break off go on where they were; wrong answers are never taken;
# of a message that does not come whole nothing is left. object-ranges.sh has the fetch alone.
. "$(dirname "$0")/direct.sh"
direct_start
unsealctl=$build/daemon/unsealctl
message=$scratch/db.message
s3=s3://models/message https=https://downloads.example.com/message

put() { # FILE
    platform object put models message "$1" >/dev/null
    platform file put message "$1" >/dev/null
}
# delivers WHAT SOURCE: unseald publishes the plaintext of the message
delivers() {
    rm -f "$scratch/seen"
    configure StoreSizeMax=80M DeadlineSec=5min
    declare_source "$2" Format=message
    on_ready() { cmp "$store/db-password" "$secret" && stat -c %a "$store/db-password" >"$scratch/seen"; }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$1: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    assert_equal "$1: the mode" "$(cat "$scratch/seen")" 400
    say "  $1: delivered after $took s"
}
# refuses STATUS WHAT TEXT SOURCE
refuses() {
    configure StoreSizeMax=80M DeadlineSec=5min
    declare_source "$4" Format=message
    on_ready() { :; }
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] && [ "$unseald_status" = "$1" ] || die "$2: ended with $unseald_status: $(tail -n 5 "$log")"
    assert_line "$2" "$log" "$3"
    assert_equal "$2: the store" "$(ls -A "$store")" ''
    say "  $2: status $1"
}
ranges() { platform log | jq -s 'map(select(.requestParameters.range and .errorCode == null)) | length'; }
# by ranges|stream WHAT SOURCE: it is delivered in this way
by() {
    local before
    before=$(ranges)
    delivers "$2" "$3"
    if [ "$1" = ranges ]; then
        [ $(($(ranges) - before)) -ge 8 ] || die "$2: $(($(ranges) - before)) ranges"
    else
        [ $(($(ranges) - before)) -le 1 ] || die "$2: $(($(ranges) - before)) ranges"
    fi
}

say "what keeps 64 MiB of one object"
head -c 67108864 /dev/urandom >"$secret"
platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=db-password -o "$message" "$secret"
put "$message"
platform log | jq -s length >"$scratch/before"
by ranges "S3 with versions" "$s3"
# No byte is asked for twice, also not what came with the header.
asked=$(platform log | jq -s --argjson before "$(cat "$scratch/before")" \
    '[.[$before:][].requestParameters.range // empty | ltrimstr("bytes=") | split("-") | map(tonumber) | .[1] - .[0] + 1] | add')
assert_equal "bytes that were asked for" "$asked" "$(stat -c %s "$message")"
say "unsealctl doctor, and unsealctl unseal that shows no plaintext, read the header alone"
for source in "$s3" "$https" "file:$message"; do
    before=$(ranges)
    declare_source "$source" Format=message
    platform exec --as instance -- "$unsealctl" doctor --vendor-configuration="$config" --configuration=/nonexistent --store="$store" \
        --status="$status_file" >"$scratch/said" 2>&1 || true
    assert_line "doctor, $source" "$scratch/said" "^ok +source db-password: $(stat -c %s "$message") bytes from .*Only the header of the message was read"
    assert_line "doctor, $source" "$scratch/said" '^ok +key db-password: KMS would decrypt'
    platform exec --as instance -- "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent db-password >"$scratch/said"
    assert_line "unseal, $source" "$scratch/said" '^db-password: KMS decrypts its data key, and the header is authentic; request [0-9a-f-]{36}[.]$'
    assert_line "unseal, $source" "$scratch/said" "^The message has $(stat -c %s "$message") bytes, which were not read"
    [ "${source%%:*}" = file ] || assert_equal "doctor and unseal, $source: requests" $(($(ranges) - before)) 2
done
# The last byte of the header's tag is another, behind a frame length of 1 MiB and a commitment of 32 bytes.
offset=$(($(grep -obUaP -m1 '\x02\x00\x10\x00\x00' "$message" | head -n 1 | cut -d: -f1) + 5 + 32 + 15))
cp "$message" "$scratch/changed"
change_byte "$scratch/changed" "$offset"
declare_source "file:$scratch/changed" Format=message
status=0
platform exec --as instance -- "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent db-password >"$scratch/said" 2>&1 || status=$?
assert_equal "unseal of a changed header" "$status" 62
declare_source "file:$message" Format=message
platform exec --as instance -- "$unsealctl" unseal --vendor-configuration="$config" --configuration=/nonexistent --reveal db-password | cmp - "$secret"
platform fault set s3 GetObject identity unversioned
by ranges "S3 with an ETag" "$s3"
platform fault clear
by ranges "HTTPS with a strong ETag" "$https"
platform fault set files GET identity weak
by stream "HTTPS with a weak ETag" "$https"
platform fault clear
platform fault set files GET range whole
by stream "HTTPS without ranges" "$https"
platform fault clear

say "what goes wrong in the middle"
# again WHAT WORDS FAULT...: the first request goes well, the next three meet the fault
again() {
    local what=$1 words=$2
    shift 2
    platform fault set s3 GetObject "$@" --after 1 --times 3
    delivers "$what" "$s3"
    assert_line "$what" "$log" "A part of the message is asked for again: .*$words"
    platform fault clear
}
again "connections reset" 'reset by peer|unexpected eof|bytes remaining' cut 1500000
again "the whole object in place of a range" 'whole object in place of a range' range whole
again "other bytes" 'sent the bytes .* in place of' range other
again "one byte less" 'contradicts' range short
again "no Content-Range" 'without a Content-Range' range unnamed
again "several ranges" 'several ranges' range multipart
again "503 SlowDown" 'throttles requests' throttle
again "expired credentials" 'does not accept the credentials' expired-credentials

say "an object that is replaced in the middle"
platform fault set s3 GetObject replaced --after 2 --times 1
delivers "with versions the old one still comes" "$s3"
platform fault clear
put "$message"
platform fault set files GET http 412 --after 1 --times 1
delivers "with an ETag the fetch begins anew" "$https"
assert_line "begun anew" "$log" 'Somebody has replaced the object since its first bytes came'
platform fault clear
platform fault set files GET replaced --after 1 --times 1
refuses 30 "by something else" 'does not begin like a message' "$https"
platform fault clear

say "an optional message whose connections all break off"
# optional WHAT FILES: unseald is ready before the deadline, with these files in the store
optional() {
    configure StoreSizeMax=80M DeadlineSec=5min
    declare_source "$s3" Format=message Optional=yes
    declare_secret small "$key" "$scratch/small"
    on_ready() { ls "$store" >"$scratch/seen"; }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$1: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    [ "${took%.*}" -lt 300 ] || die "$1: unseald waited for DeadlineSec=: $(tail -n 5 "$log")"
    assert_equal "$1: the store" "$(cat "$scratch/seen")" "$2"
    say "  $1: ready after $took s"
}
vendor_seal "$key" small "$scratch/small" <<<small
platform fault set s3 GetObject cut 1500000 --after 1 --times 3
optional "three break off" $'db-password\nsmall'
platform fault clear
platform fault set s3 GetObject reset --after 1
unseald_verbosity=()
optional "all break off" small
unseald_verbosity=(--debug)
told=$(grep -c 'A part of the message is asked for again: ' "$log")
[ "$told" -ge 1 ] && [ "$told" -le $((${took%.*} / 5 + 1)) ] || die "$told notices in $took s: $(tail -n 5 "$log")"
assert_line "all break off" "$log" 'The optional secret db-password stays sealed: '
platform fault clear

say "messages that are wrong"
cp "$message" "$scratch/changed"
change_byte "$scratch/changed" 60000000
put "$scratch/changed"
refuses 62 "one byte is another" 'db-password: ' "$s3"
head -c 60000000 "$message" >"$scratch/changed"
put "$scratch/changed"
refuses 62 "the end is missing" 'db-password: ' "$s3"
base64 "$message" >"$scratch/changed"
put "$scratch/changed"
refuses 30 "in base64" 'does not begin like a message.*not in base64' "$https"

say "a role that may read the object, but not its versions"
put "$message"
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "s3:GetObject", Resource: "arn:aws:s3:::models/message"},
    {Effect: "Allow", Action: "kms:Decrypt", Resource: "*"}]}' >"$scratch/policy.json"
platform role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$scratch/policy.json"
by ranges "its ETag keeps the ranges of one object" "$s3"
