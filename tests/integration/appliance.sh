#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# KIWI takes the description of the appliance, in all profiles and for both architectures: schema and rules, without network. The
# KIWI that kiwi/build uses is kept in $UNSEALD_CACHE.
. "$(dirname "$0")/lib.sh"

version=$(sed -n 's/^kiwi_version=//p' "$top/kiwi/builder/debian")
kiwi=${UNSEALD_CACHE:-$top/.cache}/kiwi-$version
if [ ! -x "$kiwi/bin/kiwi-ng" ]; then
    say "installing KIWI $version"
    rm -rf "$kiwi"
    /usr/bin/python3 -m venv "$kiwi"
    "$kiwi/bin/pip" -q install "kiwi==$version"
fi
for profile in al2023 debian debian13; do
    for architecture in x86_64 aarch64; do
        "$kiwi/bin/kiwi-ng" --profile "$profile" --target-arch "$architecture" image info --description "$top/kiwi" >"$scratch/info" 2>&1 ||
            die "KIWI refuses the profile $profile for $architecture: $(tail -n 20 "$scratch/info")"
        assert_line "the profile" "$scratch/info" "Selected profiles: $profile$"
    done
done

# KIWI refuses a wrong description, so the success above means something.
mkdir "$scratch/description"
sed 's/overlayroot_write_partition="false"/overlayroot_write_partitions="false"/' "$top/kiwi/appliance.kiwi" \
    >"$scratch/description/appliance.kiwi"
! "$kiwi/bin/kiwi-ng" --profile debian image info --description "$scratch/description" >"$scratch/info" 2>&1 ||
    die "KIWI takes an attribute that there is not"
say "KIWI $version takes al2023, debian and debian13"

# What cannot be built is refused before anything is installed.
refused() { # TEXT OPTIONS...
    local text=$1
    shift
    status=0
    "$top/kiwi/build" "$@" >"$scratch/out" 2>&1 || status=$?
    assert_equal "the status of $*" "$status" 2
    assert_line "kiwi/build $*" "$scratch/out" "$text"
}
refused "there is no architecture 'riscv64'; use amd64 or arm64" --architecture=riscv64
[ "$(uname -m)" != x86_64 ] || refused 'the profile al2023 for arm64 cannot be built on amd64; build it on arm64' --profile=al2023 --architecture=arm64
