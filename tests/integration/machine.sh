#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A machine with a real systemd as PID 1. It has several secrets; one of them is optional and cannot be unsealed. The test shows
# which unit gets which secret, what is left after a stop of unseald, and what a restart does.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"

layer_new 'ExpectedMeasurements=user-data:'
for name in db-password api-token license; do
    printf 'the %s' "$name" | vendor_seal "$key" "$name" "$scratch/$name"
done
layer_secret db-password "$key" "$scratch/db-password"
layer_secret api-token "$key" "$scratch/api-token" '[Deliver]' 'User=games' 'Group=games' 'Mode=0440'
# This one is sealed under another name, so it must not open. It is optional, so it must not stop the boot.
layer_secret swapped "$key" "$scratch/license" 'Optional=yes'

# After the report, inside the machine: a restart keeps the secrets, a stop forgets them.
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
systemctl restart unseald.service && ls /run/unseald/credentials >/out/after-restart
systemctl stop unseald-forget.service
{ ls -A /run/unseald/credentials/ 2>/dev/null; sed -n 's/^ *"state"://p' /run/unseald/status.json; } >/out/after-stop
systemctl --failed --no-legend --plain >/out/failed
END
chmod +x "$layer/usr/lib/machine/extra"
machine_boot "$scratch/out"
out=$scratch/out

assert_equal "unseald" "$(machine_show "$out" unseald.service ActiveState)" active
assert_equal "unsealed.target" "$(machine_show "$out" unsealed.target ActiveState)" active
assert_equal "the application" "$(machine_show "$out" billing.service ActiveState)" active
assert_equal "what the application read" "$(cat "$out/application")" "$(printf 'the db-password' | sha256sum | cut -d' ' -f1)"
assert_match "the file system of its credential" "$(cat "$out/application-filesystem")" '^(ramfs|tmpfs)$'
assert_line "the store" "$out/store" "^$(store_type) .*nosuid.*nodev.*noexec"
[ "$(store_type)" = ramfs ] || assert_line "the store" "$out/store" '^tmpfs .*noswap'
! store_is_huge || assert_line "the pages of the store" "$out/store" '^tmpfs .*huge=within_size'
assert_line "the store's owner" "$out/store" '^/run/unseald/credentials 711 unseald:unseald$'
assert_line "a secret of root's" "$out/store" '^/run/unseald/credentials/db-password 400 root:root$'
assert_line "a secret with an owner" "$out/store" '^/run/unseald/credentials/api-token 440 games:games$'
assert_line "the hash of a secret with an owner" "$out/store-hashes" "$(printf 'the api-token' | sha256sum | cut -d' ' -f1)"
assert_no_line "the swapped secret" "$out/store" 'swapped'
assert_line "the swapped secret in the journal" "$out/journal-unseald" 'The optional secret swapped stays sealed'
assert_line "the swapped secret in status.json" "$out/status.json" 'InvalidCiphertextException'

# A unit without a credential reads only the secret that its user owns.
assert_line "another unit's credentials directory" "$out/other" '^credentials directory: none$'
assert_line "another unit at db-password" "$out/other" "db-password.*Permission denied"
assert_line "another unit at the application's credentials" "$out/other" '/run/credentials/billing.service.*(Permission denied|No such file)'
assert_no_line "another unit" "$out/other" 'the db-password'

# Structured fields, as a program reads them.
jq -r 'select(.UNSEALD_SECRET == "db-password" and .UNSEALD_STATE == "published") | [.MESSAGE_ID, .UNSEALD_DURATION_USEC, .UNSEALD_KMS_REQUEST_ID] | @tsv' \
    "$out/journal.json" >"$scratch/fields"
assert_match "the entry's fields" "$(cat "$scratch/fields")" '^[0-9a-f]{32}	[0-9]+	[0-9a-f-]{36}$'
request=$(cut -f3 "$scratch/fields")
assert_equal "the same request in KMS's log" "$(platform log | jq -r --arg id "$request" 'select(.requestID == $id) | .eventName')" Decrypt
assert_line "the catalog's words" "$out/journal-unseald" '^(░░|--) Subject: Secret db-password is published'

assert_line "the store after a restart" "$out/after-restart" '^db-password$'
assert_equal "the store and the status after a stop" "$(tr -d '", ' <"$out/after-stop")" stopped
assert_equal "failed units" "$(cat "$out/failed")" ""

for name in db-password api-token license; do
    assert_absent "the plaintext of $name" "the $name" "$out/journal" "$out/journal.json" "$out/status.json" "$out/console" "$platform_state"
done
sed -nE 's/^\[ *([0-9.]+)\] unseald\[[0-9]+\]: //p' "$out/journal-unseald" | awk 'NR <= 20'
