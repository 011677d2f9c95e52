#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Exit statuses and output of unsealctl measure. tests/boot/measure.sh shows that firmware measures the same.
. "$(dirname "$0")/lib.sh"

unsealctl=$build/daemon/unsealctl
vectors=$top/tests/vectors/efi
uki=$vectors/uki-x86-64.efi
secure=(--PK="$vectors/PK.esl" --KEK="$vectors/KEK.esl" --db="$vectors/db.esl" --dbx="$vectors/dbx.esl")

# measure STATUS ARGUMENT...: leaves the output in $scratch/out and $scratch/err
measure() {
    local want=$1 saw=0
    shift
    "$unsealctl" measure "$@" >"$scratch/out" 2>"$scratch/err" || saw=$?
    [ "$saw" = "$want" ] || die "unsealctl measure $*: saw exit status $saw, wanted $want: $(cat "$scratch/out" "$scratch/err")"
}

# make_disk FILE.sectors: makes a raw disk, $scratch/disk
make_disk() {
    python3 - "$1" "$scratch/disk" <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb") as disk:
    disk.truncate(struct.unpack_from("<I", data)[0] * 512)
    for i in range(4, len(data), 516):
        disk.seek(struct.unpack_from("<I", data, i)[0] * 512)
        disk.write(data[i + 4 : i + 516])
PY
}

say "usage"
measure 0 --help
[ "$(wc -l <"$scratch/out")" -le 24 ] || die "--help does not fit a screen"
measure 2
measure 2 --conquer "$uki"
measure 2 --disk="$uki" "$uki"
measure 2 --db="$vectors/db.esl" "$uki"
images=()
for _ in {1..17}; do images+=("$uki"); done
measure 2 "${images[@]}"

say "standard boot"
measure 0 "$uki"
assert_equal "as AWS's tool has it" "$(jq -c '[keys, (.Measurements | keys)]' "$scratch/out")" \
    '[["Measurements"],["HashAlgorithm","PCR12","PCR4","PCR7"]]'
assert_equal "the algorithm" "$(jq -r .Measurements.HashAlgorithm "$scratch/out")" 'SHA384'
assert_equal "PCR4" "$(jq -r .Measurements.PCR4 "$scratch/out")" \
    6509207596d8be7b83bfe226dc543d27f91a3bdb54ba7f357cffd58002275ecee09b397633110309ee908905acbc7d65
assert_line "the rule is said" "$scratch/err" 'systemd-stub 252, below 258, without Secure Boot'
measure 13 "$vectors/uki-arm64.efi"
assert_line "a stub of unknown version" "$scratch/err" 'no .sdmagic section, its program does not name its version, and it is not of Amazon Linux 2023'
measure 0 "$vectors/uki-arm64-debian12.efi"
assert_line "the version is in the program" "$scratch/err" 'arm64, systemd-stub 252, below 258, without Secure Boot'
measure 0 "$vectors/uki-arm64-al2023.efi"
assert_line "what is assumed is said" "$scratch/err" 'arm64, systemd-stub 252 \(assumed'
measure 0 "$vectors/kernel-x86-64.efi" "$uki"
assert_line "what may be missing is said" "$scratch/err" 'kernel-x86-64.efi: PCR12 will not be zeros if'
measure 0 "$uki" "$vectors/kernel-x86-64.efi"
assert_line "what is missing is said" "$scratch/err" 'kernel-x86-64.efi: PCR4 will differ if this image starts another'

say "Secure Boot"
measure 0 "${secure[@]}" --json "$vectors/uki-signed-db2.efi"
assert_equal "what each image is" "$(jq -c '[.SecureBoot, (.Images[] | .Machine, .StubVersion, .KernelMeasured, .Authority)]' "$scratch/out")" \
    '[true,"x86-64",252,false,"CN=measure db2"]'
measure 14 "${secure[@]}" "$uki"
measure 14 "${secure[@]}" --db="$vectors/KEK.esl" "$vectors/uki-signed-db1.efi"

say "a file of measurements, and the verb that reads it"
measure 0 --output="$scratch/pcrs.json" "$uki"
[ ! -s "$scratch/out" ] || die "it printed, too"
"$unsealctl" verify --root="$top/conf/nitro-root/aws-nitro-root-g1.pem" --at=document --measurements="$scratch/pcrs.json" \
    "$top/tests/vectors/attestation/nitrotpm-document.cbor" >"$scratch/out" 2>&1 || status=$?
assert_equal "verify reads it, and finds other PCRs" "${status:-0}" 18
measure 1 --output="$scratch/none/pcrs.json" "$uki"

say "disks"
make_disk "$top/tests/vectors/disk/fat32.sectors"
measure 0 --disk="$scratch/disk"
cp "$scratch/out" "$scratch/disk.json"
assert_line "where it lay" "$scratch/err" "disk: partition 1: EFI/BOOT/BOOTX64.EFI: x86-64"
measure 0 "$vectors/kernel-x86-64.efi"
cmp "$scratch/out" "$scratch/disk.json"
make_disk "$top/tests/vectors/disk/both.sectors"
measure 12 --disk="$scratch/disk"
measure 12 --disk="$uki"
measure 1 --disk="$scratch/none"
measure 1 --disk="$scratch"

say "wrong files: the message names each file and the offset"
measure 1 "$scratch/none"
measure 10 "$vectors/db.esl"
assert_line "image" "$scratch/err" 'db.esl: At offset 0:'
assert_line "what it is" "$scratch/err" 'Expected an EFI image, such as'
measure 12 --disk="$uki"
assert_line "an image as a disk" "$scratch/err" 'Give it without --disk='
gzip -c "$uki" >"$scratch/uki.gz"
measure 10 "$scratch/uki.gz"
assert_line "a compressed image" "$scratch/err" 'At offset 0: .* It is compressed'
mkfifo "$scratch/pipe"
cat "$uki" >"$scratch/pipe" &
measure 0 "$scratch/pipe"
wait $!
measure 1 --disk="$scratch/pipe" 3<>"$scratch/pipe"
assert_line "a pipe as a disk" "$scratch/err" 'a disk is read in pieces'
head -c 5000 "$uki" >"$scratch/short.efi"
measure 10 "$uki" "$scratch/short.efi"
assert_line "section" "$scratch/err" 'short.efi: At offset 0x1e8: section 4'
for variable in PK KEK db dbx; do
    measure 11 --PK="$vectors/PK.esl" --$variable="$uki" "$uki"
    assert_line "variable" "$scratch/err" "uki-x86-64.efi: At offset 0x10:"
done
sed 's/stub 252/stub 251/' "$uki" >"$scratch/old.efi"
measure 13 "$scratch/old.efi"
