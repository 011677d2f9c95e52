#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A build with -Dtool-only=true is unsealctl for the machines of vendors and customers. It has no tpm2-tss, no daemon and no
# unit, and the verbs that need no TPM work.
. "$(dirname "$0")/lib.sh"
unset NOTIFY_SOCKET JOURNAL_STREAM INVOCATION_ID

meson setup "$scratch/build" "$top" --prefix=/usr --sysconfdir=/etc -Dtool-only=true -Dman=enabled >"$scratch/log" 2>&1 &&
    ninja -C "$scratch/build" >>"$scratch/log" 2>&1 || die "the build failed: $(tail -n 20 "$scratch/log")"
DESTDIR=$scratch/install meson install -C "$scratch/build" --no-rebuild --quiet >>"$scratch/log" 2>&1
unsealctl=$scratch/install/usr/bin/unsealctl

# expect STATUS ARGUMENT...: leaves the output in $scratch/out and $scratch/err
expect() {
    local want=$1 saw=0
    shift
    "$unsealctl" "$@" >"$scratch/out" 2>"$scratch/err" || saw=$?
    [ "$saw" = "$want" ] || die "unsealctl $*: saw exit status $saw, wanted $want: $(cat "$scratch/out" "$scratch/err")"
}

say "what is installed"
(cd "$scratch/install" && find . -type f -printf '/%P\n' | LC_ALL=C sort) >"$scratch/files"
diff "$scratch/files" - <<'END' || die "other files than these are installed"
/usr/bin/unsealctl
/usr/lib/unseald/aws-nitro-root-g1.pem
/usr/share/bash-completion/completions/unsealctl
/usr/share/fish/vendor_completions.d/unsealctl.fish
/usr/share/man/man1/unsealctl.1
/usr/share/zsh/site-functions/_unsealctl
END

say "no tpm2-tss, neither in the program nor in its sources"
ldd "$unsealctl" >"$scratch/libraries"
assert_line "ldd works" "$scratch/libraries" 'libcrypto\.so'
assert_no_line "libraries" "$scratch/libraries" 'tss2'
ninja -C "$scratch/build" -t deps >"$scratch/headers"
assert_line "ninja knows the headers" "$scratch/headers" 'daemon/tpm/tpm\.h'
assert_no_line "headers" "$scratch/headers" 'tss2'

say "verify, measure, policy"
document=$top/tests/vectors/attestation/nitrotpm-document.cbor
expect 19 verify --at=document --json "$document"
assert_equal "the document" "$(jq -r .accepted "$scratch/out")" true
expect 0 measure "$top/tests/vectors/efi/uki-x86-64.efi" --output="$scratch/measurements.json"
assert_match "PCR4" "$(jq -r .Measurements.PCR4 "$scratch/measurements.json")" '^[0-9a-f]{96}$'
admin=arn:aws:iam::111111111111:role/KeyAdmin
expect 0 policy --measurements="$scratch/measurements.json" --account=222222222222 --admin="$admin" --sealer="$admin"
cp "$scratch/out" "$scratch/policy.json"
assert_line "the policy has PCR4" "$scratch/policy.json" "$(jq -r .Measurements.PCR4 "$scratch/measurements.json")"
expect 0 policy lint --measurements="$scratch/measurements.json" --admin="$admin" "$scratch/policy.json"
expect 0 check --vendor-configuration=/nonexistent --configuration=/nonexistent

say "verbs that need a TPM say that this build has none"
expect 20 attest --timeout=1
assert_line "attest" "$scratch/err" 'built without support for TPMs'
{ printf '\1\2\2\0' && head -c 196 /dev/urandom; } >"$scratch/sealed" # as a ciphertext of KMS begins
expect 20 unseal --key=arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab --vendor-configuration=/nonexistent \
    --configuration=/nonexistent "$scratch/sealed"
assert_line "unseal" "$scratch/err" 'built without support for TPMs'
