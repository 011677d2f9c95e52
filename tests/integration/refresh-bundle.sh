#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A refresh of a signed bundle and of large messages: a member that has changed, a member that was added and the message are published
# together, with one request to KMS for each. Of a large message a refresh compares the header. Late secrets do not hold it up: one that has
# not changed stays the very same file, and of one that has changed the old message stays until the new one is whole.
# An interval has at least a minute, so this takes a little more than that.
. "$(dirname "$0")/direct.sh"
direct_start
configure Refresh=1min
rm -f "$config"/secrets.d/*
openssl genpkey -quiet -algorithm ed25519 -out "$scratch/vendor.key"
openssl pkey -in "$scratch/vendor.key" -pubout -out "$scratch/vendor.pub"
declare_secret app "$key" "$scratch/app.sealed" Format=bundle "SignedBy=$scratch/vendor.pub" \
    '[Member token]' '[Member license]' Optional=yes '[Member same]'
declare_secret big "$key" "$scratch/big.sealed" Format=message
for name in same next; do
    printf '%s\n' '[Secret]' "Source=s3://models/$name" "KeyId=$key" Format=message Late=yes >"$config/secrets.d/late-$name.secret"
done

seal() { # VERSION JSON: writes app.new, with its signature
    printf '%s' "$2" >"$scratch/app.json"
    platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app \
        --sign="$scratch/vendor.key" --secret-version="$1" -o "$scratch/app.new" --bundle="$scratch/app.json"
}
seal_big() { # BYTES: writes big.new, a message of them
    head -c "$1" /dev/urandom >"$scratch/big"
    platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=big \
        -o "$scratch/big.new" "$scratch/big"
}
# seal_late NAME FILE: makes a plaintext in the file, and FILE.sealed
seal_late() {
    head -c 5000000 /dev/urandom >"$2"
    platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name="late-$1" \
        -o "$2.sealed" "$2"
}
put_late() { platform object put models "$1" "$2.sealed" >/dev/null; } # NAME FILE
late() { "$build/daemon/unsealctl" status --file="$status_file" --wait --late "$@" >"$scratch/shown"; }
# What is in place when a refresh begins does not depend on how long sealing takes.
put() { mv "$scratch/app.new.sig" "$scratch/app.sealed.sig" && mv "$scratch/app.new" "$scratch/app.sealed" && mv "$scratch/big.new" "$scratch/big.sealed"; }
read_until() { # copies the messages of unseald into $log until one begins with these words
    local line
    while IFS= read -r -t 300 -u "$unseald_fd" line; do
        printf '%s\n' "$line" >>"$log"
        [[ $line != "$1"* ]] || return 0
    done
    die "unseald has not said \"$1\": $(tail -n 20 "$log")"
}
published() { (cd "$store" && grep . -- app.*); }
on_ready() {
    assert_equal "at first" "$(published)" $'app.same:canary-of-both\napp.token:canary-of-the-first'
    cmp "$store/big" "$scratch/big.first"
    late
    cmp "$store/late-same" "$scratch/late-same"
    cmp "$store/late-next" "$scratch/late-next"
    stat -c %i "$store/late-same" >"$scratch/inode"
    # A refresh finds all of it or nothing. S3 gives the beginnings of the two, which the refresh compares, and then only errors.
    kill -STOP "$unseald_pid"
    put
    put_late next "$scratch/late-new"
    platform fault set s3 GetObject throttle --after 2
    kill -CONT "$unseald_pid"
    read_until 'Reloaded: '
    late --timeout=0 || late_status=$?
    assert_equal "after the refresh: unsealctl status --wait --late" "${late_status:-0}" 4
    cmp "$store/late-next" "$scratch/late-next"
    assert_equal "after the refresh: the late secret that has not changed" "$(stat -c %i "$store/late-same")" "$(cat "$scratch/inode")"
    assert_equal "after the refresh" "$(published)" \
        $'app.license:canary-of-the-license\napp.same:canary-of-both\napp.token:canary-of-the-second'
    assert_equal "the version" "$(jq '.secrets[] | select(.name == "app").version' "$status_file")" 2
    cmp "$store/big" "$scratch/big"
    platform fault clear
    late
    cmp "$store/late-next" "$scratch/late-new"
    cmp "$store/late-same" "$scratch/late-same"
    assert_equal "in the end: the late secret that has not changed" "$(stat -c %i "$store/late-same")" "$(cat "$scratch/inode")"
}
for file in same next new; do seal_late "${file/new/next}" "$scratch/late-$file"; done
for name in same next; do put_late "$name" "$scratch/late-$name"; done
seal_big 3000000
seal 1 '{"token": "canary-of-the-first", "same": "canary-of-both"}'
put
mv "$scratch/big" "$scratch/big.first"
seal_big 3500000
seal 2 '{"token": "canary-of-the-second", "license": "canary-of-the-license", "same": "canary-of-both", "spare": "canary-of-none"}'
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || die "unseald ended with $unseald_status: $(tail -n 5 "$log")"
assert_equal "exit status" "$unseald_status" 0
assert_line "what the refresh found" "$log" '^(app|big): the ciphertext has changed; reloading'
assert_line "what the refresh found" "$log" '^late-next: the ciphertext has changed; reloading'
assert_no_line "what the refresh found" "$log" '^late-same: the ciphertext'
assert_line "a member that is not declared" "$log" '^app: member "spare" of the bundle is not delivered, because it is not declared'
assert_equal "requests to KMS: four, and three" "$(requests Decrypt)" 7
assert_no_line "a value in what unseald says" "$log" canary
