#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that the same inputs make the same image. Builds the example here, and again in another directory, at another time, with
# another umask, time zone and language. The second build has only the inputs of the first: the pool of packages and the chroot of
# KIWI. Compares the unified kernel image, its measurements, and the whole disk.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/lib.sh"
cache=${UNSEALD_CACHE:-$top/.cache}/kiwi
elsewhere=$scratch/another/place

# The example with a placeholder for the sealed secret, which nobody opens here.
make_application() { # DIRECTORY
    cp -r "$top/kiwi/example" "$1"
    mkdir -p "$1/root/usr/share/unseald" "$1/root/usr/lib/unseald/secrets.d"
    head -c 200 /dev/zero | base64 -w 0 >"$1/root/usr/share/unseald/proof-key.sealed"
    printf '%s\n' '[Secret]' 'Source=file:/usr/share/unseald/proof-key.sealed' \
        'KeyId=arn:aws:kms:eu-north-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab' '[Deliver]' 'Units=proof.service' \
        >"$1/root/usr/lib/unseald/secrets.d/proof-key.secret"
}

make_application "$scratch/application"
here=$("$top/kiwi/build" --profile=debian --application="$scratch/application")
mkdir -p "$elsewhere/source" "$elsewhere/cache/kiwi"
(cd "$top" && git ls-files -z --cached --others --exclude-standard | cpio --quiet -0 -pdm "$elsewhere/source")
cp -a "$top/.git" "$elsewhere/source/"
cp -al "$cache"/builder-*/ "$cache"/pool-*/ "$elsewhere/cache/kiwi/"
make_application "$elsewhere/application"
there=$(umask 027 && env UNSEALD_CACHE="$elsewhere/cache" TZ=Pacific/Auckland LANG=tr_TR.UTF-8 LC_ALL=C.UTF-8 \
    "$elsewhere/source/kiwi/build" --profile=debian --application="$elsewhere/application")

# With Secure Boot only the signature is new.
secure_boot create "$scratch/keys"
signed_here=$("$top/kiwi/build" --profile=debian --application="$scratch/application" --secure-boot="$scratch/keys")
signed_there=$(umask 027 && env UNSEALD_CACHE="$elsewhere/cache" TZ=Pacific/Auckland LANG=tr_TR.UTF-8 LC_ALL=C.UTF-8 \
    "$elsewhere/source/kiwi/build" --profile=debian --application="$elsewhere/application" --secure-boot="$scratch/keys")
[ "$signed_here" != "$signed_there" ] || die "the second build returned the signed image of the first"
! cmp -s "$signed_here/appliance.efi" "$here/appliance.efi" || die "the image is not signed"

# The second build did not find the first one's result.
[ "$here" != "$there" ] || die "the second build returned the image of the first"
assert_equal "the inputs' hash" "${there##*/}" "${here##*/}"
compare() { # HERE THERE
    local file
    for file in appliance.efi pcr_measurements.json packages.txt appliance.raw; do
        cmp "$1/$file" "$2/$file" || die "$file differs"
        say "the same: $(sha256sum "$1/$file" | cut -c -64) $(stat -c %s "$1/$file") bytes, $file"
    done
}
compare "$here" "$there"
compare "$signed_here" "$signed_there"
