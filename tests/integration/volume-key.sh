#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A read-write volume whose key KMS makes (Source=volume:): its ciphertext lies in the label of the volume. unseald runs on the platform, and
# unseald-volume in a kernel of its own (user-mode Linux) beside it; what the units would pass to each other is copied between them.
# Nothing that is wrong with label, key or KMS leads to a new key on a device that is not blank.
. "$(dirname "$0")/direct.sh"
. "$(dirname "$0")/uml.sh"
mount_own /run/unseald        # the control socket
mount_own /run/unseald-labels # what unseald-volume-label@.service has read
direct_start
platform extend 4 'the image' >/dev/null
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
jq -n --arg pcr4 "$(pcr 4)" --arg pcr7 "$(pcr 7)" --arg pcr12 "$(pcr 12)" \
    '{Measurements: {HashAlgorithm: "SHA384 { ... }", PCR4: $pcr4, PCR7: $pcr7, PCR12: $pcr12}}' >"$scratch/measurements"
put_policy() { # [OPTION...]
    "$build/daemon/unsealctl" policy --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" \
        --measurements="$scratch/measurements" "$@" --output="$scratch/policy.json"
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}
put_policy --generate-data-key=state-key
configure VerifyPolicy=yes
rm -f "$config"/secrets.d/*
printf '%s\n' '[Secret]' Generate=32 GenerateWhen=missing Source=volume:state "KeyId=$key" >"$config/secrets.d/state-key.secret"

# The guest runs one script after the other that appears in a directory of this machine.
share=$scratch/share
mkdir "$share"
truncate -s 1M "$scratch/none"
uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-integrity
cat >"$scratch/guest" <<END
volume=$install_root/usr/lib/unseald/unseald-volume
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /etc/unseald/secrets.d /mnt/at /mnt/share /run/keys /run/unseald/sealed
mount -t hostfs -o "$share" none /mnt/share
cd /mnt/share
printf '%s\n' '[Secret]' Generate=32 GenerateWhen=missing Source=volume:state KeyId=$key >/etc/unseald/secrets.d/state-key.secret
END
cat >>"$scratch/guest" <<'GUEST'
size=$((17 * 1024 * 1024))
# disk NAME [IMAGE]: a block device, blank or a copy of another, as $disk
disk() {
    if [ $# = 2 ]; then cp "/run/$2" "/run/$1"; else truncate -s "$size" "/run/$1"; fi
    disk=$(losetup -f --show "/run/$1")
}
declare_volume() { printf '%s\n' '[Volume]' "Device=$disk" DeviceTimeoutSec=0 Mode=state Key=state-key "$@" >/etc/unseald/volumes.d/state.volume; }
# A boot: only the disks are left, and what the label service has read.
label() {
    rm -rf /run/unseald-labels /run/unseald/sealed/* label
    $volume label state
    echo "label $?"
    [ ! -e /run/unseald-labels/state ] || cp /run/unseald-labels/state label
}
attach() {
    cp key /run/keys/state-key
    rm -f /run/unseald/sealed/state
    [ ! -e sealed ] || cp sealed /run/unseald/sealed/state
    CREDENTIALS_DIRECTORY=/run/keys "$@" $volume attach state
    echo "attach $?"
}
look() { mount -t ext4 /dev/mapper/unseald-state /mnt/at && cat /mnt/at/said; umount /mnt/at; }
keep() { mount -t ext4 /dev/mapper/unseald-state /mnt/at && echo hello >/mnt/at/said; umount /mnt/at; }
for ((n = 1; ; n++)); do
    until [ -e run.$n ]; do sleep 0.1; done
    [ -s run.$n ] || break
    . ./run.$n >out 2>&1 </dev/null
    mv out done.$n
done
GUEST
uml_boot key "$scratch/none" <"$scratch/guest" >/dev/null &
kernel=$!
at_exit end_process "$kernel"
turn=0
# guest SCRIPT: runs it there; what it prints is in $scratch/seen
guest() {
    turn=$((turn + 1))
    printf '%s\n' "$1" >"$scratch/run"
    mv "$scratch/run" "$share/run.$turn"
    until [ -e "$share/done.$turn" ]; do
        kill -0 "$kernel" 2>/dev/null || die "the guest has ended: $(tail -n 20 "$scratch/console")"
        sleep 0.1
    done
    cp "$share/done.$turn" "$scratch/seen"
}
# boot WHAT STATUS SCRIPT: the guest reads the label with SCRIPT, and unseald goes on with it. Its status must be the wanted one. Then key and
# ciphertext are there for the guest.
boot() {
    rm -rf /run/unseald-labels/state "$scratch/sealed" "$share"/{key,sealed}
    guest "$3"
    [ ! -e "$share/label" ] || cp "$share/label" /run/unseald-labels/state
    unseald "$1" "$2"
}
unseald() {
    on_ready() { cp "$store/state-key" "$share/key" && cp "$scratch/sealed/state" "$share/sealed"; }
    unseald_start
    unseald_finish
    assert_equal "$1: exit status of unseald" "$unseald_status" "$2"
}
same() { cmp "$2" "$3" || die "$1"; }
keys=0
made() { # WHAT NUMBER: so many keys KMS has made since the last call
    local now
    now=$(platform log | jq -s 'map(select(.eventName == "GenerateDataKey" and .errorCode == null)) | length')
    assert_equal "$1: keys that KMS has made" $((now - keys)) "$2"
    keys=$now
}

say '== the first boot, and the second one'
boot 'first boot' 0 'disk d; declare_volume Initialize=blank; label'
assert_line 'the label of a blank device' "$scratch/seen" '^label 0$'
assert_equal 'bytes of the label' "$(stat -c %s "$share/label")" 0
made 'first boot' 1
assert_line 'first boot' "$log" '^state-key: The volume state is new: its device is blank\. KMS makes its key\.$'
assert_equal 'what KMS was asked' "$(platform log | jq -sr 'map(select(.eventName == "GenerateDataKey" or .eventName == "Decrypt") | [.eventName, .requestParameters.encryptionContext["unseald:volume"], .requestParameters.encryptionContext["unseald:account"], .requestParameters.dryRun, (.additionalEventData != null)] | tostring) | .[]')" \
    "[\"GenerateDataKey\",\"state\",\"$PLATFORM_CUSTOMER_ACCOUNT\",null,true]
[\"Decrypt\",\"state\",\"$PLATFORM_CUSTOMER_ACCOUNT\",null,true]
[\"Decrypt\",\"state\",\"$PLATFORM_CUSTOMER_ACCOUNT\",true,false]
[\"GenerateDataKey\",\"state\",\"$PLATFORM_CUSTOMER_ACCOUNT\",true,false]"
cp "$share/key" "$scratch/key" && cp "$share/sealed" "$scratch/sealed-first"
assert_equal 'bytes of the key' "$(stat -c %s "$scratch/key")" 32
guest 'rm sealed; attach; echo "written $(tr -d "\0" </run/d | wc -c)"'
assert_line 'without the ciphertext' "$scratch/seen" 'ciphertext of the key of the volume state cannot be read from .*Without it the next boot could not open the volume'
assert_line 'without the ciphertext' "$scratch/seen" '^attach 1$'
assert_line 'without the ciphertext' "$scratch/seen" '^written 0$'
cp "$scratch/sealed-first" "$share/sealed"
guest 'attach; keep; $volume detach state'
assert_line 'first boot' "$scratch/seen" '^attach 0$'
# A start of unseald in the same boot has the label of before, and must not make another key.
rm -f "$share/key"
unseald 'once more in this boot' 0
made 'once more in this boot' 0
same 'another key in one boot' "$share/key" "$scratch/key"
boot 'second boot' 0 'declare_volume; label'
same 'the label has another ciphertext' "$share/label" "$scratch/sealed-first"
same 'the second boot has another key' "$share/key" "$scratch/key"
made 'second boot' 0
guest 'attach; look; cat /run/unseald-volume/state.env; $volume detach state; cp /run/d /run/good'
assert_line 'second boot' "$scratch/seen" '^hello$'
assert_line 'second boot' "$scratch/seen" '^UNSEALD_VOLUME_COUNTER=3$'
same 'the ciphertext of the second boot' "$share/sealed" "$scratch/sealed-first"

say '== what is no volume of this application: no label for unseald, and nothing written'
cat >"$share/bad" <<'END'
flip() { printf "\x$(printf %x $(($(od -An -tu1 -j "$1" -N 1 /run/bad) ^ 1)))" | dd of=/run/bad bs=1 seek="$1" conv=notrunc status=none; }
put() { dd of=/run/bad bs=1 seek="$1" conv=notrunc status=none; }
# What needs no key: the digest that tells a whole label from a torn one.
digest() {
    local copy
    for copy in 0 524288; do tail -c +$((copy + 1)) /run/bad | head -c 4032 | sha256sum | cut -c 1-64 | xxd -r -p | put $((copy + 4032)); done
}
# replace FILE: puts another ciphertext into both copies
replace() {
    local copy
    for copy in 0 524288; do
        printf %08x "$(stat -c %s "$1")" | xxd -r -p | put $((copy + 28))
        head -c 2048 /dev/zero | put $((copy + 512))
        put $((copy + 512)) <"$1"
    done
    digest
}
rename() { for copy in 0 524288; do printf '%s\0' "$1" | put $((copy + 32)); done; digest; }
new() { rm -f /run/bad; disk bad; }
END
# refused WHAT TEXT SCRIPT [LINE]: the label service refuses the disk that SCRIPT makes
refused() {
    guest ". ./bad; $3; sha256sum /run/bad >sum; declare_volume ${4:-Initialize=blank}; label; sha256sum --quiet -c sum && echo unchanged; losetup -d \$disk"
    assert_line "$1" "$scratch/seen" '^label 30$'
    assert_line "$1" "$scratch/seen" "$2"
    assert_line "$1" "$scratch/seen" '^unchanged$'
    [ ! -e "$share/label" ] || die "$1: there is a label"
    say "  $1: refused"
}
refused 'a blank device with never' 'it is blank, and Initialize=never' new Initialize=never
refused 'both copies changed' 'it has no valid label, and is not blank' 'disk bad good; flip 100; flip $((524288 + 100))'
refused 'other content' 'it has no valid label, and is not blank' 'new; echo x | put 8192'
refused 'content at the end' 'its first MiB is zeros, but not its last one' 'new; echo x | put $((size - 2))'
refused "another volume's label" 'its label is of another volume' 'disk bad good; rename other'
refused 'a label without ciphertext' 'its label has no ciphertext' 'disk bad good; : >empty; replace empty'
configure VerifyPolicy=yes DeadlineSec=3s
rm -f /run/unseald-labels/state "$scratch/sealed/state"
until_deadline 'volume:state: The label of the volume has not been read yet: there is no /run/unseald-labels/state\. See unseald-volume-label@state\.service'
assert_equal 'without a label' "$unseald_status" 53
made 'without a label' 0
configure VerifyPolicy=yes

say '== ciphertexts that KMS does not open for this volume, in labels that look right'
# seal KEY JSON [BYTES]: KMS seals a key that the attacker knows, with this encryption context
seal() {
    kms Encrypt "$(jq -nc --arg key "$1" --argjson context "$2" --arg text "$(head -c "${3:-32}" /dev/zero | base64 -w0)" \
        '{KeyId: $key, Plaintext: $text, EncryptionContext: $context}')" | jq -er .CiphertextBlob | base64 -d >"$share/other"
}
context() { # SECRET VOLUME ACCOUNT
    jq -nc --arg secret "$1" --arg volume "$2" --arg account "$3" '{"unseald:secret": $secret, "unseald:volume": $volume, "unseald:account": $account}'
}
own=$PLATFORM_CUSTOMER_ACCOUNT
elsewhere=$(vendor_create_key)
# closed WHAT STATUS TEXT: unseald reads a copy of the volume with the ciphertext of seal()
closed() {
    boot "$1" "$2" '. ./bad; disk bad good; replace other; declare_volume Initialize=blank; label; losetup -d $disk'
    assert_line "$1" "$scratch/seen" '^label 0$'
    same "$1: the label" "$share/label" "$share/other"
    [ "$2" = 0 ] || assert_line "$1" "$log" "$3"
    [ "$2" = 0 ] || [ ! -e "$scratch/sealed/state" ] || die "$1: there is a ciphertext for unseald-volume"
    made "$1" 0
    say "  $1: $2"
}
refusal='The label of the volume state has a ciphertext that does not open: it is of another volume, account, secret or key.*Nothing is written to the device'
seal "$key" "$(context state-key state 999988887777)"
closed "another customer's" 62 "$refusal.*InvalidCiphertextException|$refusal"
seal "$key" "$(context state-key other "$own")"
closed "that of another volume" 62 "$refusal"
seal "$key" "$(context db-password state "$own")"
closed "that of another secret" 62 "$refusal"
seal "$elsewhere" "$(context state-key state "$own")"
closed "under another key" 62 "$refusal"
{ printf '\200' && head -c 183 /dev/urandom; } >"$share/other" # 01 80 and 02 05 begin a message
closed 'random bytes' 62 "$refusal"
seal "$key" "$(context state-key state "$own")" 33
closed 'a key of another length' 62 'The label of the volume state has a key of 33 bytes, and Generate= says 32\. .*Nothing is written to the device'
# The control, which needs a right that the policy gives only to the sealer: KMS opens it, and the MAC of the label is still not that of the key.
seal "$key" "$(context state-key state "$own")"
closed 'a key that the sealer knows' 0
guest '. ./bad; disk bad good; replace other; sha256sum /run/bad >sum; declare_volume Initialize=blank; attach; sha256sum --quiet -c sum && echo unchanged; losetup -d $disk'
assert_line 'a key that the sealer knows' "$scratch/seen" 'it has no label that the key of the volume has made'
assert_line 'a key that the sealer knows' "$scratch/seen" '^unchanged$'
platform fault set kms Decrypt error AccessDeniedException
boot 'KMS denies the new key' 60 '. ./bad; new; declare_volume Initialize=blank; label'
platform fault clear
[ ! -e "$scratch/sealed/state" ] || die "a key that KMS does not decrypt was handed on"

say '== a policy that lets the role have a key made without a document: its label would be right'
jq --arg role "$PLATFORM_INSTANCE_ROLE_ARN" '.Statement |= map(select(.Effect == "Allow" or (.Action | tostring | contains("GenerateDataKey") | not))) +
    [{Sid: "Open", Effect: "Allow", Principal: {AWS: $role}, Action: "kms:GenerateDataKey", Resource: "*"}]' "$scratch/policy.json" >"$scratch/open.json"
kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/open.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
boot 'an open policy' 66 '. ./bad; disk bad good; declare_volume; label; losetup -d $disk'
assert_line 'an open policy' "$log" 'KMS would make data keys with the encryption context of this secret without an attestation document'
put_policy --generate-data-key=state-key

say '== the first format, killed at each step'
cp "$scratch/key" "$share/key"
cp "$scratch/sealed-first" "$share/sealed"
guest '. ./bad
for ((number = 1; number < 20; number++)); do
    new; declare_volume Initialize=blank
    attach strace -qq -o /run/trace -e trace=fdatasync -e inject=fdatasync:signal=KILL:when=$number >/dev/null 2>&1
    grep -q SIGKILL /run/trace || { $volume detach state; losetup -d $disk; break; }
    for name in unseald-state unseald_crypt-state unseald_tags-state unseald_part-state; do dmsetup remove --retry $name 2>/dev/null; done
    label | sed "s/^/killed $number: /"; echo "killed $number: label of $(stat -c %s label), $(cmp label sealed >/dev/null && echo paired)"
    attach | sed "s/^/killed $number: /"; $volume detach state
    label >/dev/null; cmp label sealed && echo "killed $number: paired in the end"
    losetup -d $disk
done 2>/dev/null
echo "kills $((number - 1))"'
assert_line 'kills' "$scratch/seen" '^kills [5-9]$'
kills=$(sed -n 's/^kills //p' "$scratch/seen")
assert_equal 'labels and openings after a kill' "$(grep -cE '^killed [0-9]: (label|attach) 0$' "$scratch/seen")" $((2 * kills))
assert_equal 'labels that are neither blank nor paired' "$(grep -E 'label of' "$scratch/seen" | grep -vE 'label of (0, |[1-9][0-9]*, paired)$' || true)" ''
assert_equal 'labels that are paired in the end' "$(grep -c 'paired in the end' "$scratch/seen")" "$kills"
[ "$(grep -c 'label of 0' "$scratch/seen")" -lt "$kills" ] || die "no label was written before the last kill"

say '== the volume of the first boot is as it was'
boot 'third boot' 0 'disk last good; declare_volume; label'
same 'the third boot has another key' "$share/key" "$scratch/key"
guest 'attach; look; $volume detach state'
assert_line 'third boot' "$scratch/seen" '^hello$'
made 'third boot' 1 # that which KMS then did not decrypt
: >"$share/run.$((turn + 1))"
wait "$kernel" || true

say '== doctor: this volume opens, and a new one could not begin'
mkdir -p "$config/volumes.d"
volume() { printf '%s\n' '[Volume]' Device=/dev/none Mode=state Key=state-key "Initialize=$1" >"$config/volumes.d/state.volume"; }
doctor_says() { # WHAT VERDICTS
    platform exec --as instance -- "$build/daemon/unsealctl" doctor --json --vendor-configuration="$config" --configuration=/nonexistent \
        --store="$store" --status="$status_file" >"$scratch/doctor" || true
    assert_equal "$1" "$(jq -r '[.findings[] | select(.subject == "state-key" and (.check | IN("key", "new-key", "key-policy"))) | .check + " " + .verdict] | join(", ")' "$scratch/doctor")" "$2"
}
volume blank
doctor_says 'a policy that allows both' 'key ok, key-policy ok, new-key ok'
put_policy
doctor_says 'a policy without GenerateDataKey' 'key ok, key-policy ok, new-key warning'
volume never
doctor_says 'nothing new may begin' 'key ok, key-policy ok'
volume blank
kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/open.json" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
doctor_says 'a policy that needs no document' 'key ok, key-policy ok, new-key ok, key-policy failure'
put_policy
: >/run/unseald-labels/state
doctor_says 'a new volume' 'key failure, key-policy ok'

! grep -aqF "$(xxd -p -c 64 "$scratch/key")" "$scratch/console" "$log" "$PLATFORM_TRAIL" || die "the key is in a log"
