#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs kiwi/register and kiwi/nitrotpm-types against moto's EC2, an independent implementation. The AWS CLI checks every
# parameter against EC2's own model. coldsnap uploads, if it is installed.
. "$(dirname "$0")/lib.sh"
install_aws
install_from_pypi moto 'moto[server,ec2,ebs]'
export PATH=${aws%/*}:$PATH AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=unused
register=$top/kiwi/register types=$top/kiwi/nitrotpm-types

server=
start_server() { # ARGUMENTS...
    local port
    [[ ! $server ]] || end_process "$server"
    rm -f "$work/port"
    mkfifo "$work/port"
    "$cache/moto/bin/python" "${BASH_SOURCE%/*}/ec2-server.py" "$@" >"$work/port" 2>"$work/moto.log" &
    server=$!
    at_exit end_process "$server"
    read -r port <"$work/port" || fail "moto did not start: $(cat "$work/moto.log")"
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port
}

refused() { # STATUS WORDS COMMAND...
    local status=0
    "${@:3}" >"$work/output" 2>"$work/error" || status=$?
    [[ $status == "$1" ]] || fail "exit status $status, $1 was due: ${*:3}: $(cat "$work/error")"
    [[ $(cat "$work/error") == *"$2"* ]] || fail "\"$2\" was due, not: $(cat "$work/error")"
    echo "refused as it should be: $(grep -F -m 1 -e "$2" "$work/error" | cut -c1-200)"
}

image=$work/appliance.raw
truncate -s 8M "$image"
printf 'label: gpt\n' | sfdisk --quiet "$image"
zeros=$(printf '0%.0s' {1..96})
# Of an image without Secure Boot, and of one with it.
"$build/daemon/unsealctl" measure --output="$work/measurements.json" "$top/tests/vectors/efi/uki-x86-64.efi"
jq --arg pcr "${zeros%?}1" '.Measurements.PCR7 = $pcr' "$work/measurements.json" >"$work/secure.json"
printf 'AMZNUEFI and variables' | base64 >"$work/uefi-data"

# Mistakes of the user, which must show before any call.
export AWS_ENDPOINT_URL=http://127.0.0.1:9
refused 2 'needs a Region' "$register" --name app --region Stockholm "$image"
refused 2 '--name=' "$register" --region eu-north-1 --name 'a?' "$image"
refused 2 '12 digits' "$register" --region eu-north-1 --name app --share 1234 "$image"
refused 2 'is the Region that' "$register" --region eu-north-1 --name app --copy-to eu-north-1 "$image"
refused 2 '--workers=' "$register" --region eu-north-1 --name app --workers 0 "$image"
refused 2 'not understood' "$register" --region eu-north-1 --name app --public "$image"
refused 1 'not a raw disk image' "$register" --region eu-north-1 --name app "$top/README.md"
refused 1 'unsealctl measure' "$register" --region eu-north-1 --name app --measurements "$top/README.md" --snapshot snap-0123456789abcdef0

refused 1 'not variables' "$register" --region eu-north-1 --name app --uefi-data "$image" "$image"
refused 1 'is one with Secure Boot' "$register" --region eu-north-1 --name app --measurements "$work/secure.json" --snapshot snap-0123456789abcdef0
# A copy that loses the variables would not be noticed.
refused 1 'is one with Secure Boot' "$register" --region eu-north-1 --ami ami-0123456789abcdef0 --name app --copy-to eu-west-1 \
    --measurements "$work/secure.json"
refused 1 'is one without Secure Boot' "$register" --region eu-north-1 --name app --measurements "$work/measurements.json" \
    --uefi-data "$work/uefi-data" --snapshot snap-0123456789abcdef0

# An old coldsnap leaves out blocks of zeros. The appliance would not boot from an encrypted volume.
mkdir -p "$work/old"
printf '#!/bin/sh\necho "Usage: coldsnap upload <path> [--wait]"\n' >"$work/old/coldsnap"
chmod +x "$work/old/coldsnap"
PATH=$work/old:$PATH refused 1 'Install coldsnap 0.8.0' "$register" --region eu-north-1 --name app "$image"

"$register" --region eu-north-1 --name app --dry-run --measurements "$work/measurements.json" --copy-to eu-west-1 \
    --share 222233334444 "$image" >"$work/calls"
cat "$work/calls"
[[ $(grep -c '^coldsnap --region eu-north-1 upload ' "$work/calls") == 1 && $(grep -c '^aws ec2 ' "$work/calls") == 8 ]] ||
    fail "these are not the calls of one registration, one copy and two shares"
! grep -q -- --omit-zero-blocks "$work/calls" || fail "blocks of zeros are left out of the upload"
if command -v coldsnap >/dev/null; then
    start_server
    upload=("$image")
else
    echo "SKIP: coldsnap is not installed, so the upload is not tried (cargo install --locked coldsnap)"
    start_server
    volume=$(aws ec2 create-volume --region eu-north-1 --availability-zone eu-north-1a --size 1 --query VolumeId --output text)
    upload=(--snapshot "$(aws ec2 create-snapshot --region eu-north-1 --volume-id "$volume" --query SnapshotId --output text)")
fi
"$register" --region eu-north-1 --name app --measurements "$work/measurements.json" --copy-to eu-west-1 --copy-to us-east-2 \
    --share 222233334444 --share 333344445555 "${upload[@]}" | tee "$work/result.json"
jq -e '.Images | keys == ["eu-north-1", "eu-west-1", "us-east-2"]' "$work/result.json" >/dev/null || fail "not in three Regions"
jq -r '.Images | to_entries[] | "\(.key) \(.value)"' "$work/result.json" | while read -r region ami; do
    aws ec2 describe-images --region "$region" --image-ids "$ami" --query 'Images[0]' --output json >"$work/image.json"
    jq -e '.BootMode == "uefi" and .TpmSupport == "v2.0" and .ImdsSupport == "v2.0" and .EnaSupport' "$work/image.json" >/dev/null ||
        fail "the AMI in $region: $(cat "$work/image.json")"
    shared=$(aws ec2 describe-image-attribute --region "$region" --image-id "$ami" --attribute launchPermission \
        --query 'LaunchPermissions[].UserId' --output text | xargs -n 1 | sort | xargs)
    [[ $shared == '222233334444 333344445555' ]] || fail "in $region it is shared with: $shared"
done
ami=$(jq -r '.Images."eu-north-1"' "$work/result.json")
"$register" --region eu-north-1 --ami "$ami" --share 444455556666 | jq -e --arg ami "$ami" '.Images."eu-north-1" == $ami' >/dev/null

# The variables of Secure Boot stay with the AMI and its copies, or the script says that they are lost.
"$register" --region eu-north-1 --name secure --measurements "$work/secure.json" --uefi-data "$work/uefi-data" --copy-to eu-west-1 \
    --snapshot snap-0123456789abcdef0 >"$work/secure-result.json"
for region in eu-north-1 eu-west-1; do
    aws ec2 describe-image-attribute --region $region --image-id "$(jq -r --arg region $region '.Images[$region]' "$work/secure-result.json")" \
        --attribute uefiData --query UefiData.Value --output text | cmp - "$work/uefi-data" || fail "other variables in $region"
done
start_server --forget=UefiData
refused 1 'has lost its Secure Boot variables' "$register" --region eu-north-1 --name app --uefi-data "$work/uefi-data" \
    --snapshot snap-0123456789abcdef0

# The image is registered without what attestation needs. The script must not report success.
for member in TpmSupport BootMode ImdsSupport EnaSupport; do
    start_server --forget=$member
    refused 1 'does not boot as it must for attestation' "$register" --region eu-north-1 --name app --snapshot snap-0123456789abcdef0
done
end_process "$server"
refused 1 'Continue with --snapshot=snap-0123456789abcdef0' env AWS_MAX_ATTEMPTS=1 "$register" --region eu-north-1 --name app \
    --snapshot snap-0123456789abcdef0

start_server
"$types" eu-north-1 >"$work/families"
awk -F '\t' '$1 ~ /^t[0-9]/ && $4 !~ /unusable/ || $1 !~ /^t[0-9]/ && NF != 3 { exit 1 }' "$work/families" ||
    fail "the T family is to be marked, and no other: $(cat "$work/families")"
[[ $(awk -F '\t' '$1 == "m7g" { print $2, $3 }' "$work/families") == 'arm64 '* ]] || fail "m7g is missing: $(cat "$work/families")"
[[ $("$types" eu-north-1 c7i t3 | awk -F '\t' '{ sub(/\..*/, "", $1); print $1, NF }' | sort -u | xargs) == 'c7i 2 t3 3' ]] ||
    fail "the types: $("$types" eu-north-1 c7i t3)"
refused 1 'No type of a1' "$types" eu-north-1 a1
refused 2 'A Region' "$types" nowhere
