#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether the same inputs make the same image: the example is built here, and once more in another directory, at another time,
# with another umask, time zone and language, with nothing of the first but the pool of packages and the chroot that KIWI runs
# in, which are inputs. Compared are the unified kernel image, what it measures, and the whole disk.
. "$(dirname "$0")/../integration/lib.sh"
cache=${UNSEALD_CACHE:-$top/.cache}/kiwi
elsewhere=$scratch/another/place

here=$("$top/kiwi/build" --profile=debian --application="$top/kiwi/example")
mkdir -p "$elsewhere/source" "$elsewhere/cache/kiwi"
(cd "$top" && git ls-files -z --cached --others --exclude-standard | cpio --quiet -0 -pdm "$elsewhere/source")
cp -a "$top/.git" "$elsewhere/source/"
cp -al "$cache"/builder-*/ "$cache"/pool-*/ "$elsewhere/cache/kiwi/"
there=$(umask 027 && env UNSEALD_CACHE="$elsewhere/cache" TZ=Pacific/Auckland LANG=tr_TR.UTF-8 LC_ALL=C.UTF-8 \
    "$elsewhere/source/kiwi/build" --profile=debian --application="$elsewhere/source/kiwi/example")

# It was built, and not found.
[ "$here" != "$there" ] || die "the second build is the first"
assert_equal "the inputs' hash" "${there##*/}" "${here##*/}"
for file in appliance.efi pcr_measurements.json packages.txt appliance.raw; do
    cmp "$here/$file" "$there/$file" || die "$file differs"
    say "the same: $(sha256sum "$here/$file" | cut -c -64) $(stat -c %s "$here/$file") bytes, $file"
done
