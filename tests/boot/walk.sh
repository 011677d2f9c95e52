#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Walks through kiwi/example/README.md as a vendor, from the first line to the last, in a clone of this tree. It runs the commands
# that are indented on the page. The AWS CLI talks to the local platform's KMS, and to moto in place of EC2 and CloudFormation. The
# instance is a virtual machine with UEFI firmware and the image that the walk built. Each "replace" below exchanges words of a
# command, and prints the exchange. The test fails where the page does not have those words, or has commands that do not run here.
#
# Each walk makes a key of its own, as a vendor does. So it always builds the image, and removes it at the end.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/../integration/pypi.sh"
. "$(dirname "$0")/lib.sh"
consoles=$build/test-logs/boot/walk
tree=$scratch/unseald page=$scratch/unseald/kiwi/example/README.md

image=
remove_image() {
    [ -n "$image" ] || return 0
    rm -rf "$image" "$image".{lock,log}
    [ -e "$cache/kiwi/debian" ] || rm -f "$cache/kiwi/debian"
}
at_exit remove_image

# The page

# Each block of commands becomes a file STEP-BLOCK. Blocks before the first step belong to step 0.
blocks=$scratch/blocks
walked=(0-1 1-1 2-1 2-2 2-3 2-4 3-1 4-1 5-1 6-1 6-2 7-1 8-1 8-2 8-3 9-1 9-2)
extract_blocks() {
    mkdir "$blocks"
    awk -v directory="$blocks" '
        /^## / { step = $2 + 0; block = 0 }
        /^    / {
            if (!inside)
                block++
            inside = 1
            print substr($0, 5) >(directory "/" step + 0 "-" block)
            next
        }
        { inside = 0 }' "$page"
    printf '%s\n' "${walked[@]}" | diff - <(cd "$blocks" && printf '%s\n' *) >"$scratch/differ" ||
        die "the page has other blocks of commands (>) than the test runs (<): $(cat "$scratch/differ")"
}

# replace FROM TO: exchanges words of the next block
replacements=()
replace() { replacements+=("$1" "$2"); }

# The vendor's steps share their variables, as in one shell. The customer's steps do not have them.
variables=$scratch/variables
limit=1800
run_block() { # STEP-BLOCK WORD...: runs WORD... bash BLOCK; the output is in $scratch/said
    local name=$1 text from i
    shift
    text=$(<"$blocks/$name")
    for ((i = 0; i < ${#replacements[@]}; i += 2)); do
        from=${replacements[i]}
        [[ $text == *"$from"* ]] || die "block $name of the page does not have '$from', which is replaced here:
$text"
        text=${text//"$from"/"${replacements[i + 1]}"}
        say "  instead of '$from': '${replacements[i + 1]}'"
    done
    replacements=()
    say "  | ${text//$'\n'/$'\n  | '}"
    cat >"$scratch/block" <<END
set -euo pipefail
[ ! -e '$variables' ] || . '$variables'
$text
for set in \$(compgen -v | grep -x '[a-z][a-z_]*'); do declare -p "\$set"; done >'$variables'
END
    (cd "$directory" && "$@" timeout -k 5 "$limit" bash "$scratch/block") >"$scratch/said" 2>&1 </dev/null ||
        die "block $name of the page ended with status $?:
$(tail -n 40 "$scratch/said")"
    tail -n 15 "$scratch/said" | sed 's/^/  > /'
    touch "$scratch/ran/$name"
}
variable() { bash -c '. "$1" && printf "%s" "${!2}"' bash "$variables" "$1"; }

as_vendor() { platform exec --as vendor -- "$@"; }
as_customer() { platform exec --as customer -- "$@"; }
# Runs a step that needs no AWS account without one.
without_account() {
    env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY -u AWS_SESSION_TOKEN -u AWS_PROFILE AWS_CONFIG_FILE=/dev/null \
        AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true "$@"
}
at_moto() {
    without_account AWS_ENDPOINT_URL="$moto" AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=unused \
        AWS_DEFAULT_REGION=$region AWS_PAGER= "$@"
}

table=()
step() { # NUMBER
    title=$(sed -n "s/^## $1\. /$1 /p" "$page")
    [ "$1" != 0 ] || title='0 Build'
    [ -n "$title" ] || die "the page has no step $1"
    say "== $title"
    begun=$SECONDS
}
shown() { # WHAT
    table+=("$(printf '%-22s %4d s  %s' "$title" "$((SECONDS - begun))" "$1")")
}

# Checks that are not on the page

decrypt_as() { # PRINCIPAL: decrypts the sealed secret without attestation
    base64 -d "$tree/proof-key.sealed" >"$scratch/ciphertext"
    platform exec --as "$1" -- aws kms decrypt --key-id "$key" --ciphertext-blob "fileb://$scratch/ciphertext" \
        --encryption-context '{"unseald:secret": "proof-key"}' --query Plaintext --output text 2>"$scratch/error" | base64 -d
}
denied_to() { # PRINCIPAL
    ! decrypt_as "$1" >/dev/null || die "after step 5 the key still decrypts for the $1's administrator"
    assert_line "why the $1's administrator has nothing" "$scratch/error" 'AccessDeniedException'
}

# Makes what an EC2 account has already: a network, and a snapshot, which coldsnap would upload.
start_moto() {
    local port volume
    mkfifo "$scratch/port"
    "$cache/moto-cloudformation/bin/python" "$top/tests/integration/foreign/ec2-server.py" >"$scratch/port" 2>"$scratch/moto.log" &
    at_exit end_process $!
    read -r port <"$scratch/port" || die "moto did not start: $(cat "$scratch/moto.log")"
    moto=http://127.0.0.1:$port
    volume=$(at_moto aws ec2 create-volume --availability-zone "${region}a" --size 1 --query VolumeId --output text)
    snapshot=$(at_moto aws ec2 create-snapshot --volume-id "$volume" --query SnapshotId --output text)
    vpc=$(at_moto aws ec2 describe-vpcs --query 'Vpcs[0].VpcId' --output text)
    subnet=$(at_moto aws ec2 describe-subnets --query 'Subnets[0].SubnetId' --output text)
}

boot_setup
for install in install_aws "install_from_pypi moto-cloudformation moto[server,ec2,ebs,cloudformation]"; do
    ($install) || die "the walk needs packages from PyPI, which cannot be installed"
done
export PATH=$cache/aws-cli/bin:$PATH UNSEALD_CACHE=$cache
platform_start --firmware
platform machine-tap create

# Copies the tree with its uncommitted changes. The page's commands run in the copy.
git clone --quiet "$top" "$tree"
git -C "$top" diff HEAD --binary | git -C "$tree" apply --allow-empty
git -C "$top" ls-files -z --others --exclude-standard | tar -C "$top" --null --files-from=- -c | tar -C "$tree" -x
git -C "$tree" ls-files -z --others --exclude-standard | sort -z >"$scratch/files-before"
extract_blocks
mkdir "$scratch/ran" "$scratch/customer"
directory=$tree

step 0
run_block 0-1 without_account
[ -x "$tree/build/daemon/unsealctl" ] || die "built, but build/daemon/unsealctl is not there"
shown "built in a clone"

step 1
# The platform's vendor has one administrator.
replace "arn:aws:iam::111111111111:role/key-admin" "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin"
run_block 1-1 as_vendor
key=$(variable key)
assert_match "the key" "$key" "^arn:aws:kms:$region:$PLATFORM_VENDOR_ACCOUNT:key/"
shown "$key"

step 2
# AWS's certificates need no option, the platform's do.
replace 'unsealctl seal ' "unsealctl seal --trusted-certificates=$PLATFORM_CA_FILE "
run_block 2-1 as_vendor
# The platform's S3 has no operations but GetObject.
puts() {
    local name
    for name in proof-key.sealed proof-key.sealed.sig; do
        replace "aws s3api put-object --bucket \"\$bucket\" --key $name --body " "$tree/tests/platform/platform object put \"\$bucket\" $name "
    done
}
replace 'aws s3api create-bucket ' 'echo aws s3api create-bucket '
replace 'aws s3api put-bucket-policy ' 'echo aws s3api put-bucket-policy '
puts
run_block 2-2 as_vendor
sed -n '/--policy /,$ { s/.*--policy //; p }' "$scratch/said" | jq -ne 'input | .Statement[0].Action == "s3:GetObject"' >/dev/null ||
    die "the bucket's policy is no JSON"
run_block 2-3 as_vendor
replace 'volume create ' "volume create --trusted-certificates=$PLATFORM_CA_FILE "
# The machine's NVMe disk is not one of EBS, so it has no name of an attachment.
replace '$a Where=' 's|^Device=sdf$|Device=/dev/nvme0n1|; $a Where='
run_block 2-4 as_vendor
for line in Device=/dev/nvme0n1 Where=/srv/weights; do
    assert_line "the volume's file" "$tree/appliance/root/usr/lib/unseald/volumes.d/weights.volume" "^$line\$"
done
added=$tree/appliance/root/usr/lib/unseald
say "  added for the local platform, whose authority is not the world's: its certificate, and TrustedCertificates="
cp "$PLATFORM_CA_FILE" "$added/platform.pem"
printf '[Unseald]\nTrustedCertificates=/usr/lib/unseald/platform.pem\n' >"$added/unseald.conf.d/platform.conf"
secret=$(head -n 1 "$tree/proof-key")
assert_match "the secret" "$secret" '^[0-9a-f]{64}$'
assert_equal "the secret's mode" "$(stat -c %a "$tree/proof-key")" 600
assert_absent "the secret, in the application" "$secret" "$tree/appliance"
assert_equal "what the vendor's administrator decrypts before step 5" "$(decrypt_as vendor)" "$secret"
bucket=$(variable bucket)
shown "sealed, signed and in S3; opens for the vendor's administrator, until step 5"

step 3
replace '--profile al2023' '--profile debian'
run_block 3-1 without_account
image=$(grep -x "$cache/kiwi/image-debian-[0-9a-f]*" "$scratch/said") || die "kiwi/build does not say where the image is"
out=$tree/out
for file in appliance.raw pcr_measurements.json key-policy.json; do
    grep -qF "\`$file\`" "$page" && [ -s "$out/$file" ] || die "out/ has no $file, or the page does not say so"
done
assert_absent "the secret, in the image" "$secret" "$out"
shown "$(du -h --apparent-size "$out/appliance.raw" | cut -f 1) of image, PCR4 $(jq -r .Measurements.PCR4 "$out/pcr_measurements.json" | cut -c 1-16)…"

step 4
run_block 4-1 without_account
for quote in '0 open' '0 errors, 0 warnings, 0 notes'; do
    grep -qF "\`$quote\`" "$page" || die "the page does not say '$quote' any more"
    grep -qxF "$quote" "$scratch/said" || die "step 4 does not end with '$quote'"
done
for port in 8080 8642; do assert_line "port $port" "$out/ways-in.txt" "^allowed firewall .*dport $port accept: ."; done
# The walk leaves files only where the page says so.
git -C "$tree" ls-files -z --others --exclude-standard --directory | sort -z | comm -z -13 "$scratch/files-before" - |
    tr '\0' '\n' >"$scratch/files-new"
assert_equal "what is new in the tree" "$(xargs <"$scratch/files-new")" \
    "appliance/ model/ out/ proof-key proof-key.sealed proof-key.sealed.sig vendor.key weights.img"
shown "no way in is open, nothing found in the policy"

step 5
run_block 5-1 as_vendor
assert_equal "the key's policy" "$(as_vendor aws kms get-key-policy --key-id "$key" --policy-name default --query Policy --output text |
    jq -cS .)" "$(jq -cS . "$out/key-policy.json")"
denied_to vendor
denied_to customer
shown "denied to both administrators"

step 6
start_moto
replace 'kiwi/register ' 'kiwi/register --dry-run '
run_block 6-1 at_moto
assert_line "the default type of the template" "$scratch/said" $'^m7i\tx86_64\t[0-9]+$'
assert_line "the upload" "$scratch/said" '^coldsnap --region eu-north-1 upload .* out/appliance\.raw$'
assert_line "PCR4 in the AMI's tags" "$scratch/said" "^aws ec2 register-image .*unseald:PCR4.*$(jq -r .Measurements.PCR4 "$out/pcr_measurements.json")"
for call in wait describe-images register-image modify-image-attribute; do assert_line "$call" "$scratch/said" "^aws ec2 $call "; done
# The upload itself needs the real EBS.
replace 'out/appliance.raw' "--snapshot $snapshot"
run_block 6-1 at_moto
ami=$(grep -oE -m 1 'ami-[0-9a-f]+' "$scratch/said") || die "no AMI"
assert_equal "who may launch it" "$(at_moto aws ec2 describe-image-attribute --image-id "$ami" --attribute launchPermission \
    --query 'LaunchPermissions[].UserId' --output text)" "$PLATFORM_CUSTOMER_ACCOUNT"
replace 'coldsnap --region eu-north-1 upload --wait weights.img' "echo $snapshot"
run_block 6-2 at_moto
model=$(variable model)
assert_equal "who may make a volume of the model" "$(at_moto aws ec2 describe-snapshot-attribute --snapshot-id "$model" \
    --attribute createVolumePermission --query 'CreateVolumePermissions[].UserId' --output text)" "$PLATFORM_CUSTOMER_ACCOUNT"
shown "dry, and by moto from a snapshot: $ami"

step 7
grep -qF '`Reached target unsealed.target`' "$page" || die "the page does not say what the console has"
mv "$variables" "$scratch/variables.vendor"
replace 'ImageId=ami-…' "ImageId=$ami"
replace 'KeyArn=…' "KeyArn=$key"
replace 'SecretsBucket=…' "SecretsBucket=$bucket"
replace 'ModelSnapshot=snap-…' "ModelSnapshot=$model"
replace 'SubnetId=…' "SubnetId=$subnet"
replace 'VpcId=…' "VpcId=$vpc"
run_block 7-1 at_moto
assert_equal "the instance" "$(at_moto aws ec2 describe-instances --output text \
    --query 'Reservations[].Instances[].[ImageId,InstanceType,SubnetId]' | xargs)" "$ami m7i.large $subnet"
assert_equal "the ports that are open to clients" "$(at_moto aws ec2 describe-security-groups --output json \
    --query 'SecurityGroups[?Description==`Clients of the appliance`].IpPermissions[].FromPort' | jq -c 'flatten | sort')" '[8080,8642]'
assert_equal "the volume of the model" "$(at_moto aws ec2 describe-launch-template-versions --versions '$Latest' --output text \
    --launch-template-id "$(at_moto aws ec2 describe-launch-templates --query 'LaunchTemplates[0].LaunchTemplateId' --output text)" \
    --query 'LaunchTemplateVersions[].LaunchTemplateData.BlockDeviceMappings[].[DeviceName,Ebs.SnapshotId]')" "/dev/sdf	$model"
grep -q '^  Address:' "$tree/kiwi/customer/appliance.yaml" || die "the stack has no output Address"
machine_new "$out/appliance.raw"
start() {
    machine_start -drive if=none,id=weights,format=raw,readonly=on,file="$tree/weights.img" -device nvme,drive=weights,serial=model
}
start
machine_wait 'Reached target .*unsealed\.target' || die "the instance does not get there: $(tail -n 60 "$console")"
shown "a stack of moto's; the instance boots, and is unsealed after $((SECONDS - started)) s"

step 8
cp "$scratch/variables.vendor" "$variables"
limit=120
replace ADDRESS "$(machine_address)"
run_block 8-1 as_customer
mapfile -t proofs < <(grep -x '[0-9a-f]\{64\}' "$scratch/said")
assert_equal "proofs" "${#proofs[@]}" 2
assert_equal "the proof" "${proofs[0]}" "${proofs[1]}"
for n in 4 7 12; do
    assert_equal "PCR$n that KMS saw" "$(jq -r --arg name "attestationDocumentNitroTPMPCR$n" \
        'select(.eventName == "Decrypt") | .additionalEventData.recipient[$name] // empty' "$PLATFORM_TRAIL" | sort -u)" \
        "$(jq -r ".Measurements.PCR$n" "$out/pcr_measurements.json")"
done
replace ADDRESS "$(machine_address)"
run_block 8-2 as_vendor
assert_equal "the model, by the application and by the vendor" "$(grep -oE '^[0-9a-f]{64}' "$scratch/said" | uniq -c | xargs)" \
    "2 $(sha256sum <"$tree/model/weights" | cut -d ' ' -f 1)"
# The customer has the files that the vendor sent, and unsealctl. The platform's root stands for AWS's.
rm "$variables"
directory=$scratch/customer
export PATH=$tree/build/daemon:$PATH
cp "$out/pcr_measurements.json" "$directory/"
replace ADDRESS "$(machine_address)"
replace 'unsealctl verify ' "unsealctl verify --root=$PLATFORM_NITRO_ROOT "
run_block 8-3 as_customer
# By measurements of another image: refused.
jq '.Measurements.PCR4 |= (.[1:] + "0")' "$out/pcr_measurements.json" >"$scratch/other.json"
status=0
as_customer unsealctl verify --root="$PLATFORM_NITRO_ROOT" --url="http://$(machine_address):8642" --measurements="$scratch/other.json" \
    >"$scratch/said" 2>&1 || status=$?
assert_equal "exit status of verify by another image's measurements" "$status" 18
assert_absent "the secret" "$secret" "$consoles" "$machine" "$PLATFORM_TRAIL" "$directory"
shown "the application has the secret and the model, and the customer verified the image"

step 9
directory=$tree
rm -f "$variables"
mv "$scratch/variables.vendor" "$variables"
replace 'unsealctl seal ' "unsealctl seal --trusted-certificates=$PLATFORM_CA_FILE "
puts
run_block 9-1 as_vendor
old=$secret secret=$(head -n 1 "$tree/proof-key")
[ "$secret" != "$old" ] || die "step 9 makes no new secret"
run_block 9-2 at_moto
machine_kill
start
machine_wait 'Reached target .*unsealed\.target' || die "the instance does not get there again: $(tail -n 60 "$console")"
replace ADDRESS "$(machine_address)"
run_block 8-1 as_customer
mapfile -t proofs < <(grep -x '[0-9a-f]\{64\}' "$scratch/said")
assert_equal "the proof by the new secret" "${proofs[0]}" "${proofs[1]}"
[ "${proofs[0]}" != "$(printf abc | openssl dgst -sha256 -hmac "$old" | sed 's/.* //')" ] || die "the application has the old secret"
assert_absent "the new secret" "$secret" "$consoles" "$machine" "$PLATFORM_TRAIL"
shown "after a reboot the application has the new secret"

assert_equal "the blocks that were run" "$(cd "$scratch/ran" && echo *)" "${walked[*]}"
printf '%s\n' '' "${table[@]}" "$(printf '%-22s %4d s' all "$SECONDS")" |
    tee ${UNSEALD_TEST_RESULTS:+"$UNSEALD_TEST_RESULTS/walk.txt"}
