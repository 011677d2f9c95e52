#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kiwi/build from its first line to its last: with and without Secure Boot, in each profile of Debian, and for arm64. What builds, checks
# and signs is played: this is about which package, which image and which options kiwi/build gives to whom. The boot tests build the image.
. "$(dirname "$0")/lib.sh"

tree=$scratch/tree
mkdir -p "$tree/kiwi"/{builder,packaging,root} "$tree/daemon" "$scratch/keys"
cp "$top/kiwi/build" "$top/kiwi/appliance.kiwi" "$tree/kiwi/"
cp "$top/kiwi/packaging/source" "$tree/kiwi/packaging/"
echo "version: '1'," | tee "$tree"/{LICENSE,NEWS.md,README.md,meson.build,meson_options.txt,daemon/file} >"$tree/kiwi/root/file"
mkdir "$tree"/{conf,man,units}
touch "$tree"/{conf,man,units}/file "$tree/kiwi"/{config.sh,edit_boot_install.sh,ways-in.allowed,drivers}
for name in db.pem PK.esl KEK.esl db.esl uefi-data; do echo "$name" >"$scratch/keys/$name"; done

cat >"$tree/kiwi/packaging/build-deb" <<'END'
#!/bin/bash
case ${2:-} in
arm64) echo arm64 ;;
*) echo "${3:-this machine}" ;;
esac >"$1/release"
END
# A tool says of which release it is, and what it was asked.
cat >"$tree/kiwi/builder/debian" <<'END'
install_debs() { :; }
prepare_packages() { echo "$(<"$package/release")" >"$description/packages/release"; }
builder_id() { echo 1; }
run_kiwi() {
    mkdir -p "$1/image/build/image-root"
    cp "$1/description/packages/release" "$1/image/appliance.raw"
    echo "unified kernel image" >"$1/image/appliance.efi"
    echo packages >"$1/image/list.packages"
}
unpack_package() { # PACKAGE DIRECTORY
    [ -f "$1/release" ] || { echo "there is no package in $1" >&2 && return 1; }
    mkdir -p "$2/usr/bin"
    printf '#!/bin/bash\necho "$*" >&2\nfor word; do [[ $word != --output=* ]] || to=${word#*=}; done\necho "%s: $*" >"${to:-/dev/stdout}"\n' \
        "$(<"$1/release")" >"$2/usr/bin/unsealctl"
    chmod +x "$2/usr/bin/unsealctl"
}
sfdisk() { echo '{"partitiontable": {"partitions": [{"type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "start": 2048}]}}'; }
mdir() { echo '::EFI/BOOT/BOOTX64.EFI'; }
mcopy() { :; }
END
for name in check-drivers check-ways-in; do printf '#!/bin/sh\necho checked\n' >"$tree/kiwi/$name"; done
printf '#!/bin/sh\n(cat "$3" && echo signed) >"$4"\n' >"$tree/kiwi/secure-boot"
chmod +x "$tree/kiwi"/{build,packaging/build-deb,check-drivers,check-ways-in,secure-boot}
git -C "$tree" init -q
git -C "$tree" add -A
git -C "$tree" -c user.name=test -c user.email=test@example.com commit -q -m 'a tree'

# build OPTION...: sets $image
build() {
    image=$(UNSEALD_CACHE=$scratch/cache "$tree/kiwi/build" "$@" 2>"$scratch/said") ||
        die "kiwi/build $*: $(cat "$scratch/said" "$scratch"/cache/kiwi/*.log)"
}
for profile in debian debian13; do
    release='this machine'
    [ $profile = debian ] || release=trixie
    build --profile=$profile
    assert_equal "$profile: the package in the image" "$(cat "$image/appliance.raw")" "$release"
    assert_line "$profile: who measures" "$image/pcr_measurements.json" '^this machine: measure --output=.*/appliance\.efi$'
    [ ! -e "$image/key-policy.json" ] || die "$profile: there is a policy, and nobody is named in it"
    unsigned=$image

    build --profile=$profile --secure-boot="$scratch/keys" --principal=somebody
    [ "$image" != "$unsigned" ] || die "$profile: the signed image is the unsigned one"
    assert_equal "$profile: the signed kernel image" "$(tail -n 1 "$image/appliance.efi")" signed
    assert_line "$profile: who measures what is signed" "$image/pcr_measurements.json" \
        '^this machine: measure --PK=.*/PK\.esl --KEK=.*/KEK\.esl --db=.*/db\.esl --output=.*/appliance\.efi$'
    assert_line "$profile: who writes the policy" "$image/key-policy.json" \
        "^this machine: policy --measurements=$image/pcr_measurements\.json --secure-boot --principal=somebody$"
done
if [ "$(uname -m)" = x86_64 ]; then
    build --architecture=arm64
    assert_equal "arm64: the package in the image" "$(cat "$image/appliance.raw")" arm64
    assert_line "arm64: who measures" "$image/pcr_measurements.json" '^this machine: measure --output=.*/appliance\.efi$'
fi
"$tree/kiwi/build" --help >"$scratch/help"
assert_line "the beginning of the help" <(head -n 1 "$scratch/help") '^Builds the appliance'
assert_line "the end of the help" <(tail -n 1 "$scratch/help") '^same directory is used again\.$'
say "kiwi/build gives each program what it needs, in both profiles of Debian and for arm64"
