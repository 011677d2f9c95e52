#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A refresh of a signed bundle: a member that has changed and a member that was added are published together, with one request to KMS.
# An interval has at least a minute, so this takes a little more than that.
. "$(dirname "$0")/direct.sh"
direct_start
configure Refresh=1min
rm -f "$config"/secrets.d/*
openssl genpkey -quiet -algorithm ed25519 -out "$scratch/vendor.key"
openssl pkey -in "$scratch/vendor.key" -pubout -out "$scratch/vendor.pub"
declare_secret app "$key" "$scratch/app.sealed" Format=bundle "SignedBy=$scratch/vendor.pub" \
    '[Member token]' '[Member license]' Optional=yes '[Member same]'

seal() { # VERSION JSON
    printf '%s' "$2" >"$scratch/app.json"
    platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app \
        --sign="$scratch/vendor.key" --secret-version="$1" -o "$scratch/app.sealed" --bundle="$scratch/app.json"
}
read_until() { # copies the messages of unseald into $log until one begins with these words
    local line
    while IFS= read -r -t 300 -u "$unseald_fd" line; do
        printf '%s\n' "$line" >>"$log"
        [[ $line != "$1"* ]] || return 0
    done
    die "unseald has not said \"$1\": $(tail -n 20 "$log")"
}
published() { (cd "$store" && grep . -- *); }
on_ready() {
    assert_equal "at first" "$(published)" $'app.same:canary-of-both\napp.token:canary-of-the-first'
    seal 2 '{"token": "canary-of-the-second", "license": "canary-of-the-license", "same": "canary-of-both", "spare": "canary-of-none"}'
    read_until 'Reloaded: '
    assert_equal "after the refresh" "$(published)" \
        $'app.license:canary-of-the-license\napp.same:canary-of-both\napp.token:canary-of-the-second'
    assert_equal "the version" "$(jq '.secrets[0].version' "$status_file")" 2
}
seal 1 '{"token": "canary-of-the-first", "same": "canary-of-both"}'
unseald_start
unseald_finish
[ -n "$unseald_ready" ] || die "unseald ended with $unseald_status: $(tail -n 5 "$log")"
assert_equal "exit status" "$unseald_status" 0
assert_line "what the refresh found" "$log" '^app: the ciphertext has changed; reloading'
assert_line "a member that is not declared" "$log" '^app: member "spare" of the bundle is not delivered, because it is not declared'
assert_equal "requests to KMS" "$(requests Decrypt)" 2
assert_no_line "a value in what unseald says" "$log" canary
