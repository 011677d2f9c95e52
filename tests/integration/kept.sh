#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Published secrets survive a restart and SIGKILL, because the service manager keeps their descriptors. The next process asks
# neither the TPM nor KMS for them. It unseals a secret again only if its declaration has changed. Here manager.py keeps the
# descriptors; machine.sh shows the same under systemd.
. "$(dirname "$0")/direct.sh"
direct_start
configure
names=(api-token db-password)
for name in "${names[@]}"; do
    printf 'the %s' "$name" | vendor_seal "$key" "$name" "$scratch/sealed-$name"
    declare_secret "$name" "$key" "$scratch/sealed-$name"
done
tpm_before=$(tpm_contents)

manager_start
contents() { (cd "$store" && stat -c '%n %a %U %i' -- * && sha256sum -- *); }

# assert_started WHAT DECRYPTIONS: everything is published, after so many requests to KMS since the last call
asked=0
assert_started() {
    assert_equal "$1" "$answer" ready
    assert_equal "$1: requests to KMS" "$(($(requests Decrypt) - asked))" "$2"
    asked=$(requests Decrypt)
    assert_equal "$1: the store" "$(names_in "$store")" "${names[*]}"
    for name in "${names[@]}"; do
        assert_equal "$1: $name" "$(cat "$store/$name")" "the $name"
    done
    assert_equal "$1: what is in the TPM" "$(tpm_contents)" "$tpm_before"
}

manager start
assert_started 'the first start' 2
manager list
assert_equal 'what is kept' "$answer" 'kept-1 kept-1-api-token kept-1-db-password'
first=$(contents)

say 'restarted, killed'
for how in stop kill kill stop; do
    manager "$how"
    assert_equal "$how: the files" "$(contents)" "$first"
    manager start
    assert_started "a start after $how" 0
    assert_equal "after $how: the very same files" "$(contents)" "$first"
    assert_line "after $how" "$said" '^2 secret\(s\) were kept over the restart'
    assert_no_line "after $how" "$said" '^(TPM|key pair|attestation document|connection).*: done'
done

say 'killed when all is kept and nothing published, and when it is ready'
for at in BARRIER=1 READY=1; do
    manager stop
    manager drop .
    rm -f "$store"/*
    manager start-kill "$at"
    assert_equal "killed at $at" "$answer" 'killed 9'
    asked=$(requests Decrypt)
    manager start
    assert_started "a start after a kill at $at" 0
done

say 'not as it was'
manager stop
manager spoil api-token
manager start
assert_started 'with other content' 1
assert_line 'with other content' "$said" '^Dropped the kept secret api-token: its file has other content'
manager kill
manager drop 'db-password'
manager start
assert_started 'with one descriptor lost' 1
assert_line 'with one descriptor lost' "$said" '^Dropped the kept secret db-password: the service manager has not kept it'
manager stop
manager spoil 'kept-[0-9]+$'
manager start
assert_started 'with a broken manifest' 2
assert_line 'with a broken manifest' "$said" '^Dropped all kept secrets'
manager list
assert_match 'what is kept in the end' "$answer" '^kept-([0-9]+) kept-\1-api-token kept-\1-db-password$'

say 'declared otherwise'
manager stop
declare_secret api-token "$key" "$scratch/sealed-api-token" 'EncryptionContext='
printf '%s\n' '[Deliver]' 'User=games' 'Group=games' 'Mode=0440' >>"$config/secrets.d/api-token.secret"
cp "$scratch/sealed-db-password" "$scratch/sealed-elsewhere"
declare_secret db-password "$key" "$scratch/sealed-elsewhere"
manager start
assert_started 'with another source' 1
assert_line 'with another source' "$said" '^Dropped the kept secret db-password: its declaration has changed'
assert_equal 'with another owner' "$(stat -c '%a %U %G' "$store/api-token")" '440 games games'
manager stop
printf 'the license' | vendor_seal "$key" license "$scratch/sealed-license"
declare_secret license "$key" "$scratch/sealed-license"
names=(api-token db-password license)
manager start
assert_started 'with one more' 1
manager stop
rm "$config/secrets.d/db-password.secret"
names=(api-token license)
manager start
assert_started 'with one less' 0
manager stop
manager start
assert_started 'that again' 0
assert_no_line 'that again' "$said" '^Dropped'

say 'somebody has been at the store'
manager stop
rm "$store/license"
manager start
assert_started 'with a file removed' 0

say 'forgotten'
manager stop
"$build/daemon/unseald" --forget --store="$store" --status="$status_file"
assert_equal 'the store' "$(ls -A "$store")" ''
assert_equal 'the status' "$(jq -r .state "$status_file")" stopped
manager_end
