#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots the appliance that kiwi/build made, in a virtual machine with UEFI firmware that measures, a NitroTPM, and the platform's
# network. The first scenario boots it unchanged; in the others the machine's owner attacks it. Nobody logs in: the scenarios look
# at the console, at the platform's log of requests, and from outside at the service that the image offers.
#
# usage: tests/boot/appliance.sh [--all] [SCENARIO...]     runs these scenarios; by default the quick ones, with --all all
#        tests/boot/appliance.sh --list [--all]            prints their names
#        tests/boot/appliance.sh --image[=PROFILE]         makes the image of Debian 12, or of the profile, and the volumes; boots nothing
#        tests/boot/appliance.sh --image=state             makes the image of the scenario "state"; boots nothing
#
# The scenarios arm64-… do the same with the image for arm64, which is built under emulation in half an hour or more, or by
# --image=arm64.
#
# An emulated boot takes one to two minutes. $UNSEALD_CACHE keeps the image by the hash of its inputs. Several instances of this
# script may run at once. Consoles are kept in test-logs/boot/SCENARIO of the build directory. The table goes to
# $UNSEALD_TEST_RESULTS.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/lib.sh"

cache=${UNSEALD_CACHE:-$top/.cache}/boot
application=$cache/application
unsealctl=$build/daemon/unsealctl
model=$build/tests/bench/model

quick=(
    healthy command-line root-read root-layout initrd credential load-options firmware-variable firmware-driver secure-boot
    no-network clock tpm-held volume memory-after-panic memory-after-reboot
)
# The longest ones, two whose subject integration/late-network.sh and integration/faults/kms.sh show without a boot, and those that need
# another image.
slow=(
    memory-after-power-button memory-after-reset late-network throttling reboot power-cut secure-boot-old-variables
    state debian13 debian13-command-line
    arm64-healthy arm64-command-line arm64-credential arm64-firmware-variable
)
chosen=("${quick[@]}") wanted=() list='' image_only=''
while [ $# -gt 0 ]; do
    case $1 in
    --all) chosen+=("${slow[@]}") ;;
    --list) list=yes ;;
    --image) image_only=debian ;;
    --image=*) image_only=${1#*=} ;;
    -*) echo "appliance.sh: unknown option $1" >&2 && exit 2 ;;
    *) [[ " ${quick[*]} ${slow[*]} " == *" $1 "* ]] || { echo "appliance.sh: unknown scenario $1; --list prints their names" >&2 && exit 2; }
        wanted+=("$1") ;;
    esac
    shift
done
[ ${#wanted[@]} -gt 0 ] || wanted=("${chosen[@]}")
[ -z "$list" ] || { printf '%s\n' "${wanted[@]}" && exit; }

mkdir -p "$cache"
# The first instance makes the files that all share. The lock is released before the platform starts, because the platform's
# processes would inherit it.
lock() { exec {lock}>"$cache/lock" && flock "$lock"; }
unlock() { exec {lock}>&-; }
lock
boot_setup
# The planted secret, and the seed of the platform. The image names the authority and the key that come from the seed.
[ -s "$cache/seed" ] || head -c 32 /dev/urandom >"$cache/seed"
[ -s "$cache/secret" ] || printf 'boot-canary-%s' "$(head -c 24 /dev/urandom | xxd -p -c 64)" >"$cache/secret"
secret=$(<"$cache/secret")
unlock

platform_start --seed "$cache/seed" --firmware
platform machine-tap create
key=$(vendor_create_key)
bucket='sealed-secrets'

# A vendor's part of the appliance: the example's service, the declaration of its secret, whose ciphertext is signed and lies in S3, and
# the trusted authority; and the report of this test.
make_application() {
    local new=$cache/application.new secrets
    secrets=$new/root/usr/lib/unseald/secrets.d
    rm -rf "$new"
    cp -r "$top/kiwi/example" "$new"
    cp -r "$top/tests/boot/application/." "$new/root/"
    cp "$top"/tests/boot/{where,model}.c "$new/"
    cat >>"$new/build" <<'END'
for program in where model; do
    cc -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -o "$1/usr/lib/boot-test/$program" "$(dirname "$0")/$program.c"
done
END
    install -d "$secrets" "$new/root/usr/lib/unseald/unseald.conf.d"
    [ -s "$cache/authority.pem" ] || cp "$PLATFORM_CA_FILE" "$cache/authority.pem"
    cp "$cache/authority.pem" "$new/root/usr/lib/unseald/authority.pem"
    [ -s "$cache/vendor.key" ] || openssl genpkey -quiet -algorithm ED25519 -out "$cache/vendor.key"
    openssl pkey -in "$cache/vendor.key" -pubout -out "$new/root/usr/lib/unseald/vendor.pub"
    printf '%s\n' '[Unseald]' TrustedCertificates=/usr/lib/unseald/authority.pem LockPcr=8 ExpectedMeasurements=user-data: \
        >"$new/root/usr/lib/unseald/unseald.conf.d/boot.conf"
    printf '%s\n' '[Secret]' "Source=s3://$bucket/proof-key.sealed" "KeyId=$key" SignedBy=/usr/lib/unseald/vendor.pub MinVersion=1 \
        >"$secrets/proof-key.secret"
    install -D -m 644 "$cache/volume/weights.sealed" "$new/root/usr/share/boot-test/weights.sealed"
    printf '%s\n' '[Secret]' Source=file:/usr/share/boot-test/weights.sealed "KeyId=$key" '[Deliver]' Store=no \
        Units=unseald-volume@weights.service >"$secrets/weights.secret"
    head -c 65536 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null >"$new/root/usr/lib/boot-test/unread"
    # Another instance may be reading the old directory.
    diff -r "$new" "$application" >/dev/null 2>&1 || { rm -rf "$application" && mv "$new" "$application"; }
    rm -rf "$new"
}

# Two volumes of 256 MiB: the image has the key of "weights". The other is another customer's, of the same size.
make_volumes() {
    local name
    rm -rf "$cache/volume.new" && mkdir -p "$cache/volume.new/tree"
    "$model" make "$cache/volume.new/tree/model.safetensors" 256
    for name in impostor weights; do
        platform exec --as vendor -- "$unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=weights \
            --sealed="$cache/volume.new/$name.sealed" --output="$cache/volume.new/$name.img" "$cache/volume.new/tree" >/dev/null
    done
    rm -r "$cache/volume.new/tree"
    mv "$cache/volume.new" "$cache/volume"
}

lock
[ -d "$cache/volume" ] || make_volumes
make_application
[ -s "$cache/sealed.sig" ] || platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" \
    --name=proof-key --sign="$cache/vendor.key" --secret-version=1 --output="$cache/sealed" "$cache/secret"
platform object put "$bucket" proof-key.sealed "$cache/sealed"
platform object put "$bucket" proof-key.sealed.sig "$cache/sealed.sig"
unlock

put_policy() { # ARGUMENTS of unsealctl policy...
    "$unsealctl" policy --principal="${principal:-$PLATFORM_INSTANCE_ROLE_ARN}" --lock-pcr=8 \
        --admin="arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin" "$@" >"$scratch/policy.json"
    kms PutKeyPolicy "$(jq -nc --arg key "$key" --rawfile policy "$scratch/policy.json" \
        '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}

# Builds the image of a profile, unless it is there, and lets the key and the user data name it. Scenarios whose names do not begin with
# another one boot the image of Debian 12.
image='' image_profile=''
use_image() { # PROFILE, or arm64: Debian 12 for arm64 [APPLICATION]
    local profile=$1 architecture=amd64
    [ "$1" != arm64 ] || profile=debian architecture=arm64
    lock
    [ "$architecture" = amd64 ] || boot_setup qemu-system-arm qemu-efi-aarch64
    built=$("$top/kiwi/build" --profile="$profile" --architecture="$architecture" --application="${2:-$application}")
    unlock
    machine_architecture "$architecture"
    image=$built/appliance.raw image_profile=$1${2:-}
    measurements=$built/pcr_measurements.json
    platform user-data "$measurements" >/dev/null
    put_policy --measurements="$measurements"
}

# Prints the requests for Decrypt since begin(), as lines of JSON.
requests() { jq -c 'select(.eventName == "Decrypt")' "$PLATFORM_TRAIL" | tail -n "+$((asked + 1))"; }
asked=0
begin() { asked=$(jq -c 'select(.eventName == "Decrypt")' "$PLATFORM_TRAIL" | wc -l); }

measured() { # PCR: prints the value that KMS saw in a document of this boot
    requests | jq -r --arg name "attestationDocumentNitroTPMPCR$1" \
        '.additionalEventData.recipient[$name] // empty' | sed -n 1p
}

# Prints the IDs of all requests, as a regex. doctor's trial request in the report has one, too.
request_ids() { requests | jq -r .requestID | paste -sd '|'; }

differs() { # PCR: it was measured, and is not as predicted
    assert_match "PCR$1" "$(measured "$1")" '^[0-9a-f]{96}$'
    [ "$(measured "$1")" != "$(jq -r ".Measurements.PCR$1" "$measurements")" ] || die "PCR$1 is as predicted, but KMS denied"
}

# Checks that the service has the secret, by an HMAC over a challenge.
prove() {
    local challenge=boot$RANDOM$RANDOM
    assert_equal "the service's proof" "$(ip netns exec "$PLATFORM_NETNS" curl -sS --max-time 20 \
        "http://$(machine_address):8080/proof?challenge=$challenge")" \
        "$(printf %s "$challenge" | openssl dgst -sha256 -hmac "$secret" | sed 's/.* //')"
}

# Checks that the secret is in no file that the machine can write, and not on the console. A planted file shows that the search works.
search() {
    cp "$cache/secret" "$machine/control"
    assert_equal "files with the secret" "$(grep -rlaF --devices=skip -- "$secret" "$machine" "$platform_state" "$consoles" | xargs)" \
        "$machine/control"
    rm "$machine/control"
}

# Checks that all copies of the secret in the guest's memory have an owner: the store, the unit's credential, or the service. (The
# owner of the hypervisor can read them there. This shows that no other copies stay behind.)
search_memory() {
    machine_memory "$scratch/memory"
    "$top/tests/boot/memory.py" "$scratch/memory" "$console" "$cache/secret" \
        /run/unseald/credentials/proof-key /run/credentials/proof.service/proof-key process:proof \
        >"$scratch/copies" 2>"$scratch/copies.error" ||
        die "the secret in the machine's memory: $(cat "$scratch/copies" "$scratch/copies.error")"
    rm -f "$scratch/memory"
    cat "$scratch/copies"
    copies=$(wc -l <"$scratch/copies")
}

reported() {
    machine_wait '^REPORT end' || die "$1: no report: $(tail -n 40 "$console")"
    assert_equal "$1: unseald" "$(report_of unseald)" 'active 0'
    assert_equal "$1: the service" "$(report_of proof)" active
}

delivered() {
    reported "$1"
    prove
}

# Checks that the machine booted, asked KMS, and was denied.
denied() {
    machine_wait '^REPORT end' || die "$1: no report: $(tail -n 40 "$console")"
    assert_equal "$1: unseald" "$(report_of unseald)" 'failed 60'
    [ "$(report_of proof)" != active ] || die "$1: the service runs"
    [ -n "$(requests)" ] || die "$1: KMS was not asked"
    [ -z "$(requests | jq -r 'select(.errorCode == null)')" ] || die "$1: KMS answered: $(requests)"
}

# Writes unseald's last report on the console, in its lines joined, to $scratch/joined. journald gives each line the process before it, and
# that of systemd 257 also colours.
# The timer's process may write two reports: of the wait, and of the failure that came meanwhile, without an examination.
last_report() {
    [ -e "$console" ] || return 1 # QEMU has not made it yet
    tr -d '\r' <"$console" | sed -E 's/\x1b\[[0-9;:]*m//g' | sed -nE 's/^.*unsealctl\[([0-9]+)\]: /\1 /p' |
        awk -v end="$scratch/end" '{ process = $1; sub(/^[0-9]+ /, "") }
            /^unseald (has FAILED|waits)/ || !count[process] { count[process]++; text[process] = "" }
            { text[process] = text[process] $0 "\n" }
            END { printf "%s", text[process]
                print (count[process] > 1 ? "reboot the machine" : "(An examination of this machine finds|Nothing could be examined)") >end }' \
            >"$consoles/report.$boots"
    tr -s '\n ' ' ' <"$consoles/report.$boots" >"$scratch/joined"
}

# explains SCENARIO REGEX...: waits until the last report of unseald on the console has each regex, and its end. The report must not name
# a command: nobody can log in to run it.
explains() {
    local label=$1 regex end=$((SECONDS + ${MACHINE_TIMEOUT:-600}))
    shift
    for regex in "$@" ''; do
        until last_report && grep -Eq -- "${regex:-$(cat "$scratch/end")}" "$scratch/joined"; do
            [ "$SECONDS" -lt "$end" ] && machine_runs ||
                die "$label: no report on the console has '${regex:-an end}': $(cat "$consoles/report.$boots"; tail -n 20 "$console")"
            sleep 1
        done
    done
    cp "$consoles/report.$boots" "$consoles/report.${label// /-}"
    [ "$(wc -l <"$consoles/report.$boots")" -le 60 ] || die "$label: the report has more than 60 lines"
    assert_no_line "$label: the report" "$scratch/joined" 'journal|systemctl|resolvectl|fuser|unsealctl (status|doctor|reload|report)|/etc/resolv|UNSEALD_|user-data::'
    assert_equal "$label: lines that are there twice" "$(grep -vE '^ *$|^ +(measured|expected) ' "$consoles/report.$boots" | sort | uniq -d)" ''
}

table=() prefix=''
result() { # SCENARIO WHAT
    table+=("$(printf '%-14s %4d s  %s' "$prefix$1" "$((SECONDS - started))" "$2")")
    say "${table[-1]}"
    [ -z "${UNSEALD_TEST_RESULTS:-}" ] || echo "${table[-1]}" >>"$UNSEALD_TEST_RESULTS/boot.txt"
    machine_kill
    search
}

# Checks that of all TCP ports, over IPv4 and IPv6, only the application's answers.
look_from_outside() {
    local address
    for address in "$(machine_address)" "$(report_of address6)%$PLATFORM_MACHINE_TAP"; do
        assert_equal "the ports that answer at $address" \
            "$(ip netns exec "$PLATFORM_NETNS" /usr/bin/python3 "$top/tests/boot/ports.py" "$address" | xargs)" 8080
    done
}

uki_of() { mcopy -n -i "$(esp_of "$1")" "::EFI/BOOT/$boot_file" "$2"; }
put_uki() { mcopy -o -i "$(esp_of "$1")" "$2" "::EFI/BOOT/$boot_file"; }

# healthy NAME RELEASE STORE: boots the image unchanged. It must be of this release of Debian, and have its store on this file system.
healthy() {
    local n share
    machine_new "$image" && begin && machine_start
    delivered "$1"
    assert_equal "the release of Debian" "$(report_of release)" "$2"
    assert_match "the store" "$(report_of store)" "$3"
    for n in 4 7 12; do
        assert_equal "PCR$n" "$(measured "$n")" "$(jq -r ".Measurements.PCR$n" "$measurements")"
    done
    assert_equal "failed units" "$(report_of failed)" ''
    assert_equal "kernel.panic" "$(report_of panic)" 0
    assert_equal "what udev knows of the content of disks" "$(report_of disks)" ''
    # The PCR is locked: the same request, by root of the same machine, is denied.
    assert_equal "the status of a second request by root" "$(report_of again)" 67
    grep -a '^CHAIN\|^STATUS\|^Startup' "$console" | tr -d '\r'
    share=$(sed -nE 's/^CHAIN .*unseald\.service @.* \+([0-9a-z. ]+).*/\1/p' <(tr -d '\r' <"$console"))
    assert_match "unseald's share of the critical chain" "$share" '[0-9]s'
    look_from_outside
    search_memory
    result "$1" "delivered, by $(report_of kernel); up $(report_of uptime) s, of which unseald $share (user space: $(sed -nE 's/^Startup.*\+ (.*) \(userspace\).*/\1/p' "$console")), PCRs as predicted, root asks again: denied, one port open, $copies copies in memory, all explained; the disk has $(($(stat -c %s "$image") >> 20)) MiB, $(($(du -k "$image" | cut -f1) >> 10)) of them used, its unified kernel image $(($(stat -c %s "$built/appliance.efi") >> 20))"
}
scenario_healthy() { healthy healthy 12 '^ramfs '; }
scenario_debian13() { healthy debian13 13 '^tmpfs .*\bnoswap\b'; }

command_line() { # NAME
    machine_new "$image" && begin
    uki_of "$machine/disk.raw" "$scratch/uki"
    [ "$(grep -aoF 'panic=5' "$scratch/uki" | wc -l)" = 1 ] || die "panic=5 is not once in the image"
    sed -i 's/panic=5/panic=6/' "$scratch/uki"
    put_uki "$machine/disk.raw" "$scratch/uki" && machine_start
    denied "$1"
    differs 4
    explains "$1" 'unseald has FAILED for good' "access-denied \(AccessDeniedException\), request ($(request_ids)) " \
        "PCR4 .*measured $(measured 4) expected $(jq -r .Measurements.PCR4 "$measurements")"
    result "$1" "boots, denied: PCR4 differs"
}
scenario_command-line() { command_line command-line; }
scenario_debian13-command-line() { command_line debian13-command-line; }

# add_to_initrd DISK DIRECTORY: adds the files to the initrd of the disk's unified kernel image, which it also leaves in $scratch/uki.new.
add_to_initrd() {
    local address
    uki_of "$1" "$scratch/uki"
    objcopy --dump-section .initrd="$scratch/initrd" "$scratch/uki" "$scratch/uki.same"
    # The kernel reads another archive behind the first, at a multiple of four bytes.
    truncate -s %4 "$scratch/initrd"
    (cd "$2" && find . | cpio --quiet -o -H newc) >>"$scratch/initrd"
    # objcopy removes and adds the section, because an updated section keeps its old size in memory.
    address=$(objdump -h "$scratch/uki" | awk '$2 == ".initrd" { print "0x" $4 }')
    objcopy --remove-section .initrd "$scratch/uki" "$scratch/uki.less"
    objcopy --add-section .initrd="$scratch/initrd" --set-section-flags .initrd=data,readonly --change-section-vma .initrd="$address" \
        "$scratch/uki.less" "$scratch/uki.new"
    put_uki "$1" "$scratch/uki.new"
}

# Adds a command to the initrd. It runs as root before the root file system is mounted.
scenario_initrd() {
    machine_new "$image" && begin
    mkdir -p "$scratch/more/usr/lib/dracut/hooks/pre-pivot"
    echo 'echo REPORT backdoor >/dev/ttyS0' >"$scratch/more/usr/lib/dracut/hooks/pre-pivot/99-backdoor.sh"
    add_to_initrd "$machine/disk.raw" "$scratch/more" && machine_start
    denied initrd
    assert_line "initrd: the console" "$console" '^REPORT backdoor'
    differs 4
    result initrd "boots, and runs what was put in; denied: PCR4 differs"
}

# Prints the offset of the root file system: the largest partition but the ESP.
root_start() {
    sfdisk --json "$1" | jq -r '[.partitiontable.partitions[] | select(.type != "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")] | max_by(.size).start * 512'
}

scenario_root-read() {
    machine_new "$image" && begin
    # EROFS has its super block at 1 KiB. No boot works without it.
    change_byte "$machine/disk.raw" $(($(root_start "$machine/disk.raw") + 1024 + 4)) && machine_start
    machine_wait '^REPORT end|end Kernel panic' || die "root-read: neither a report nor a panic: $(tail -n 40 "$console")"
    assert_no_line "root-read: it boots" "$console" '^REPORT end'
    assert_line "root-read: the console" "$console" 'panic|verity|corrupt'
    [ -z "$(requests)" ] || die "root-read: KMS was asked"
    result root-read "does not boot, nothing asked: $(grep -aoiE 'kernel panic[^\r]*|.*verity.*corrupt[^\r]*' "$console" | head -n 1 | cut -c1-80)"
}

# Shortens the root and lays its hash tree out anew, so that the root hash stays the same. integration/verity.sh shows that this
# works where the parameters come from the superblock.
scenario_root-layout() {
    machine_new "$image" && begin
    say "root-layout: blocks kept, of: $("$top/tests/boot/shorten-root.py" "$machine/disk.raw" "$(root_start "$machine/disk.raw")")"
    machine_start
    machine_wait '^REPORT end|end Kernel panic' || die "root-layout: neither a report nor a panic: $(tail -n 40 "$console")"
    assert_no_line "root-layout: it boots" "$console" '^REPORT end'
    assert_line "root-layout: the console" "$console" 'panic|verity|corrupt'
    [ -z "$(requests)" ] || die "root-layout: KMS was asked"
    result root-layout "does not boot, nothing asked: $(grep -aoiE 'kernel panic[^\r]*|.*verity.*corrupt[^\r]*' "$console" | head -n 1 | cut -c1-80)"
}

# Prints the number of copies of the secret in all of the machine's memory. Whoever boots next could read them.
count_copies() {
    machine_memory "$scratch/memory"
    ! "$top/tests/boot/memory.py" "$scratch/memory" "$console" "$cache/secret" >"$scratch/copies" 2>"$scratch/copies.error" ||
        die "memory.py accepts copies without an owner"
    grep -q 'no copy\|copies have no owner' "$scratch/copies.error" || die "memory.py: $(cat "$scratch/copies.error")"
    rm -f "$scratch/memory"
    wc -l <"$scratch/copies"
}

# Waits until the machine has ended or been reset. With MACHINE_END=pause, QEMU then stops it and keeps its memory as it is.
ended() { # WHAT
    local end=$((SECONDS + ${MACHINE_TIMEOUT:-600}))
    until [ "$(machine_monitor query-status | jq -r .status)" = shutdown ]; do
        [ "$SECONDS" -lt "$end" ] || die "$1: the machine does not end: $(tail -n 20 "$console")"
        sleep 1
    done
}

# Changes a bit of a file that nothing reads before the secret is delivered.
flip_unread() {
    local start offset
    # The file does not compress, so its bytes stand on the disk as they are.
    start=$(root_start "$machine/disk.raw")
    offset=$(LC_ALL=C grep -aobF -- "$(head -c 24 "$application/root/usr/lib/boot-test/unread" | tr -d '\0\n')" \
        <(tail -c "+$((start + 1))" "$machine/disk.raw") | head -n 1 | cut -d: -f1) || true
    [ -n "$offset" ] || die "the file that nothing reads at boot is not found on the disk"
    change_byte "$machine/disk.raw" $((start + offset + 30000))
}

# A panic, which the owner of the disk causes by one changed bit, does not reset the machine. It stands still. The control sets
# kernel.panic=5 as the command line has it: the image itself resets the machine, and its memory has the secret.
scenario_memory-after-panic() {
    machine_new "$image" && begin && flip_unread && machine_start
    machine_wait '^REPORT reading' || die "memory-after-panic: no report: $(tail -n 40 "$console")"
    assert_equal "memory-after-panic: unseald" "$(report_of unseald)" 'active 0'
    assert_equal "memory-after-panic: the service" "$(report_of proof)" active
    # The kernel prints this line, and not the one before a reset, when it has given up.
    machine_wait 'end Kernel panic|Rebooting in' || die "memory-after-panic: the machine goes on: $(tail -n 20 "$console")"
    assert_no_line "memory-after-panic: the console" "$console" 'Rebooting in'
    # The console's lines end with a carriage return.
    [ -z "$(tr -d '\r' <"$console" | grep -ax 'REPORT read' || true)" ] || die "memory-after-panic: another byte was read"
    assert_equal "memory-after-panic: the machine" "$(machine_monitor query-status | jq -r .status)" running
    copies=$(count_copies)
    result memory-after-panic "delivers, since the block is not read before; panics when it is, and stands still ($copies copies): $(grep -aoiE 'kernel panic[^\r]*' "$console" | head -n 1 | cut -c1-60)"

    machine_new "$image" && begin && flip_unread && MACHINE_END=pause machine_start -smbios type=1,family=panic-resets
    machine_wait 'Rebooting in 5 seconds' || die "memory-after-panic, control: no reset: $(tail -n 40 "$console")"
    ended "memory-after-panic, control"
    copies=$(count_copies)
    [ "$copies" -gt 0 ] || die "memory-after-panic, control: no copy is in memory: $(cat "$scratch/copies.error")"
    result memory-after-panic "control with kernel.panic=5: the image resets the machine, with $copies copies in memory"
}

# An orderly reboot leaves nothing. The control resets the machine at once, as an action like reboot-immediate of a unit does.
scenario_memory-after-reboot() {
    local how
    for how in reboots resets-at-once; do
        machine_new "$image" && begin && MACHINE_END=pause machine_start -smbios "type=1,family=$how"
        reported "memory-after-reboot, $how"
        ended "memory-after-reboot, $how"
        copies=$(count_copies)
        if [ $how = reboots ]; then
            assert_equal "memory-after-reboot: copies ($(cat "$scratch/copies"))" "$copies" 0
            result memory-after-reboot "no copy in memory after an orderly reboot, before the firmware runs"
        else
            [ "$copies" -gt 0 ] || die "memory-after-reboot, control: no copy is in memory: $(cat "$scratch/copies.error")"
            result memory-after-reboot "control, a reset at once: $copies copies in memory"
        fi
    done
}

# The power button, by which EC2 stops and reboots a machine. The control is the same machine's memory before.
scenario_memory-after-power-button() {
    local before
    machine_new "$image" && begin && machine_start
    delivered memory-after-power-button
    before=$(count_copies)
    [ "$before" -gt 0 ] || die "memory-after-power-button: no copy is in memory before"
    machine_power_off 300 || die "memory-after-power-button: it does not go down: $(tail -n 20 "$console")"
    copies=$(count_copies)
    assert_equal "memory-after-power-button: copies ($(cat "$scratch/copies"))" "$copies" 0
    result memory-after-power-button "no copy in memory after the power button, $before before"
}

# The owner resets the machine from outside, and has the firmware start another program. The image has no part in this. The scenario
# shows what the hypervisor and the firmware leave.
scenario_memory-after-reset() {
    local at_once request
    machine_new "$image" && begin
    truncate -s 66M "$machine/owner.raw"
    printf 'label: gpt\nstart=2048, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n' | sfdisk -q "$machine/owner.raw"
    mformat -i "$machine/owner.raw@@1M" -F -T 131072 ::
    "$top/tests/boot/firmware.py" program "$scratch/owner.efi" application 'REPORT owner'
    mcopy -i "$machine/owner.raw@@1M" "$scratch/owner.efi" ::owner.efi
    "$top/tests/boot/firmware.py" variables "$scratch/variables.json" "Boot0001=$machine/disk.raw:\\EFI\\BOOT\\BOOTX64.EFI" \
        "Boot0002=$machine/owner.raw:\\owner.efi" BootOrder=2,1 BootNext=1
    firmware_variables --set-json "$scratch/variables.json" --output "$machine/variables.fd"
    MACHINE_ORDER=firmware MACHINE_REBOOT=reset machine_start -drive if=none,id=owner,format=raw,file="$machine/owner.raw" \
        -device virtio-blk-pci,drive=owner
    delivered memory-after-reset
    machine_monitor stop >/dev/null && machine_monitor system_reset >/dev/null
    at_once=$(count_copies)
    [ "$at_once" -gt 0 ] || die "memory-after-reset: no copy is in memory, although nothing has run: the search does not work"
    machine_monitor cont >/dev/null
    machine_wait '^REPORT owner' || die "memory-after-reset: the owner's program does not run: $(tail -n 20 "$console")"
    copies=$(count_copies)
    request=$(memory_overwrite_request)
    result memory-after-reset "reset from outside: $at_once copies before the firmware runs, $copies when the owner's program does; MemoryOverwriteRequestControl=$request"
}

# Prints the value of the variable by which the kernel asks the firmware to clear memory at the next start (TCG PC Client Platform Reset
# Attack Mitigation Specification): 01 is a request. The kernel sets it before it takes over from the firmware, if the firmware has it.
# It is read from the firmware's store, since the running image has no access (efi=noruntime).
memory_overwrite_request() {
    firmware_tools
    "$firmware_tools/bin/virt-fw-vars" --loglevel error --input "$machine/variables.fd" \
        --output-json "$scratch/store.json" >/dev/null
    jq -r '[.variables[] | select(.name == "MemoryOverwriteRequestControl").data] | if . == [] then "absent" else .[0] end' "$scratch/store.json"
}

scenario_credential() {
    local esp
    machine_new "$image" && begin
    esp=$(esp_of "$machine/disk.raw")
    printf smuggled >"$scratch/smuggled.cred"
    mmd -i "$esp" "::EFI/BOOT/$boot_file.extra.d" 2>/dev/null || true
    mcopy -i "$esp" "$scratch/smuggled.cred" "::EFI/BOOT/$boot_file.extra.d/smuggled.cred"
    machine_start
    denied credential
    assert_match "PCR12" "$(measured 12)" '[1-9a-f]'
    result credential "boots, denied: PCR12 is not zeros"
}

# Adds options for the image to the firmware's boot entry, where nothing on the disk shows them. They replace the command line, so
# they repeat it and add to it.
scenario_load-options() {
    machine_new "$image" && begin
    uki_of "$machine/disk.raw" "$scratch/uki"
    objcopy --dump-section .cmdline="$scratch/cmdline" "$scratch/uki" "$scratch/uki.same"
    firmware_variables --append-boot-filepath '\EFI\BOOT\BOOTX64.EFI' --output-json "$scratch/variables.json"
    /usr/bin/python3 - "$scratch/variables.json" "$scratch/cmdline" <<'END'
import json, sys
store = json.load(open(sys.argv[1]))
options = open(sys.argv[2]).read().rstrip("\0\n ") + " rd.shell=1 systemd.debug-shell=1"
for variable in store["variables"]:
    if variable["name"].startswith("Boot0"):
        variable["data"] += options.encode("utf-16-le").hex() + "0000"
json.dump(store, open(sys.argv[1], "w"))
END
    firmware_variables --set-json "$scratch/variables.json" --output "$machine/variables.fd"
    machine_start
    denied load-options
    assert_line "load-options: the kernel's command line" "$console" '^REPORT command-line .* systemd.debug-shell=1'
    assert_match "PCR12" "$(measured 12)" '[1-9a-f]'
    result load-options "boots, denied: PCR12 is not zeros"
}

# Sets a firmware variable that systemd reads as a part of the kernel's command line. No pinned PCR covers it, so the image must
# ignore it.
scenario_firmware-variable() {
    machine_new "$image" && begin
    /usr/bin/python3 - "$scratch/variables.json" <<'END'
import json, sys
words = "systemd.unit=kernel-command-line.target systemd.run_success_action=none " \
    "systemd.run=\"/bin/sh -c 'systemctl start systemd-networkd.service unseald.service; " \
    "echo REPORT opened >/dev/console; sha256sum </run/unseald/credentials/proof-key >/dev/console'\""
json.dump({"version": 2, "variables": [{"name": "SystemdOptions", "guid": "8cf2644b-4b0b-428f-9387-6d876050dc67", "attr": 7,
    "data": (words.encode("utf-16-le") + bytes(2)).hex()}]}, open(sys.argv[1], "w"))
END
    firmware_variables --set-json "$scratch/variables.json" --output "$machine/variables.fd"
    machine_start
    machine_wait '^REPORT (end|opened)' || die "firmware-variable: no report: $(tail -n 40 "$console")"
    assert_no_line "firmware-variable: the console" "$console" '^REPORT opened'
    delivered firmware-variable
    result firmware-variable "delivered, and the command in it was not run"
}

# Lets the firmware load a driver from the disk before the image, by variables of the firmware. The driver prints a line on the
# console. It leaves no trace in the PCRs of the image.
scenario_firmware-driver() {
    local esp
    machine_new "$image" && begin
    esp=$(esp_of "$machine/disk.raw")
    "$top/tests/boot/firmware.py" program "$scratch/driver.efi" driver 'REPORT driver'
    "$top/tests/boot/firmware.py" variables "$scratch/variables.json" "Driver0000=$machine/disk.raw:\\EFI\\driver.efi" DriverOrder=0
    mcopy -i "$esp" "$scratch/driver.efi" ::EFI/driver.efi
    firmware_variables --set-json "$scratch/variables.json" --output "$machine/variables.fd"
    machine_start -smbios type=1,family=examines
    denied firmware-driver
    assert_line "firmware-driver: the console" "$console" '^REPORT driver'
    assert_equal "PCR4" "$(measured 4)" "$(jq -r .Measurements.PCR4 "$measurements")"
    explains firmware-driver 'unseald has FAILED for good' "access-denied \(AccessDeniedException\), request ($(request_ids)) " \
        "PCR2 .*$(measured 2).*firmware loaded drivers that are not its own"
    # The root file system is an overlay of memory over the verified one, so a process of root can write the key of SignedBy=.
    tr -d '\r' <"$console" >"$scratch/console"
    assert_line "firmware-driver: doctor" "$scratch/console" \
        '^DOCTOR ok signature proof-key: Version 1, signed by the key .* root can replace the key, until the next boot'
    assert_line "firmware-driver: doctor, with another key" "$scratch/console" \
        '^DOCTOR-AGAIN warning signature proof-key: .* was written in this boot: it is not the one of the image'
    result firmware-driver "the driver runs and PCR4 is as predicted; denied: PCR2 differs"
}

# The image, signed, and the keys. All instances share them.
make_signed() {
    keys=$cache/secure-boot
    lock
    [ -e "$keys/uefi-data" ] || { rm -rf "$keys" && secure_boot create --name='boot test' "$keys"; }
    signed=$("$top/kiwi/build" --profile=debian --application="$application" --secure-boot="$keys")
    unlock
}

# One start of the firmware, with a new key db and a dbx. It refuses the image, which is not signed, a program that the old key has signed,
# and one that the new key has signed and dbx revokes. The last one, signed by the new key, shows that the firmware starts programs. They
# are small, because an emulated firmware takes long to read and hash an image.
secure_boot_refuses() {
    local rolled=$scratch/rolled esp number name
    cp -a "$keys" "$rolled"
    secure_boot roll --name='boot test, new' "$rolled"
    for name in old revoked good; do "$top/tests/boot/firmware.py" program "$scratch/$name" application "REPORT $name"; done
    secure_boot revoke "$rolled" "$scratch/revoked"
    secure_boot sign "$keys" "$scratch/old" "$scratch/old.efi"
    for name in revoked good; do secure_boot sign "$rolled" "$scratch/$name" "$scratch/$name.efi"; done
    enroll "$rolled" "$scratch/rolled.fd"

    machine_new "$image" "$scratch/rolled.fd" && begin
    esp=$(esp_of "$machine/disk.raw")
    mcopy -i "$esp" "$scratch/old.efi" "$scratch/revoked.efi" "$scratch/good.efi" ::EFI/
    "$top/tests/boot/firmware.py" variables "$scratch/variables.json" "Boot0001=$machine/disk.raw:\\EFI\\BOOT\\BOOTX64.EFI" \
        "Boot0002=$machine/disk.raw:\\EFI\\old.efi" "Boot0003=$machine/disk.raw:\\EFI\\revoked.efi" \
        "Boot0004=$machine/disk.raw:\\EFI\\good.efi" BootOrder=1,2,3,4
    jq -s '{version: 2, variables: (.[0].variables + .[1].variables)}' "$scratch/uefi-data.json" "$scratch/variables.json" \
        >"$scratch/all.json"
    firmware_variables --set-json "$scratch/all.json" --output "$machine/variables.fd"
    MACHINE_ORDER=firmware machine_start
    machine_wait '^REPORT|Linux version|No bootable option' || die "secure-boot: the firmware says nothing: $(tail -n 20 "$console")"
    assert_line "secure-boot: what the new key has signed" "$console" '^REPORT good'
    for number in 1 2 3; do
        assert_line "secure-boot: entry $number" "$console" "failed to (load|start) Boot000$number .*(Access Denied|Security Violation)"
    done
    assert_no_line "secure-boot: what is refused" "$console" 'REPORT (old|revoked)|Linux version|EFI stub'
    [ -z "$(requests)" ] || die "secure-boot: KMS was asked by what is refused"
    result secure-boot "the firmware starts a signed program, and not the image unsigned, the old key's program, or what dbx revokes"
}

# With the vendor's keys the firmware starts what is signed, and measures the keys into PCR7.
scenario_secure-boot() {
    local keys signed n
    make_signed
    secure_boot_refuses

    enroll "$keys" "$scratch/signed.fd"
    machine_new "$signed/appliance.raw" "$scratch/signed.fd" && begin
    put_policy --secure-boot --measurements="$signed/pcr_measurements.json"
    machine_start
    delivered secure-boot
    for n in 4 7 12; do
        assert_equal "PCR$n" "$(measured "$n")" "$(jq -r ".Measurements.PCR$n" "$signed/pcr_measurements.json")"
    done
    # No private key is on the disk.
    for n in PK KEK db; do
        sed -n 5p "$keys/$n.key" >"$scratch/part"
        cat "$keys/$n.key" >>"$machine/keys"
        assert_equal "files with a part of $n.key" "$(grep -rlaFf "$scratch/part" "$machine" | xargs)" "$machine/keys"
        rm "$machine/keys"
    done
    result secure-boot "signed: delivered, by a policy that names PCR7 as predicted; up $(report_of uptime) s"
    put_policy --measurements="$measurements"
}

# An AMI of before brings the variables of before, so its firmware starts a revoked image. The policy is what revokes: it names the PCR7 of
# the new variables alone.
scenario_secure-boot-old-variables() {
    local keys signed revoked=$scratch/revoked-keys
    make_signed
    cp -a "$keys" "$revoked"
    "$top/tests/boot/firmware.py" program "$scratch/another.efi" application 'REPORT another'
    secure_boot revoke "$revoked" "$scratch/another.efi"
    "$unsealctl" measure --PK="$revoked/PK.esl" --KEK="$revoked/KEK.esl" --db="$revoked/db.esl" --dbx="$revoked/dbx.esl" \
        --output="$scratch/revoked.json" "$signed/appliance.efi"
    enroll "$keys" "$scratch/signed.fd"
    machine_new "$signed/appliance.raw" "$scratch/signed.fd" && begin
    put_policy --secure-boot --measurements="$scratch/revoked.json"
    machine_start
    denied secure-boot-old-variables
    assert_equal "PCR4" "$(measured 4)" "$(jq -r .Measurements.PCR4 "$scratch/revoked.json")"
    assert_equal "PCR7" "$(measured 7)" "$(jq -r .Measurements.PCR7 "$signed/pcr_measurements.json")"
    [ "$(measured 7)" != "$(jq -r .Measurements.PCR7 "$scratch/revoked.json")" ] || die "PCR7 does not show the revocation"
    result secure-boot-old-variables "boots with the variables of before; denied: PCR7 differs"
    put_policy --measurements="$measurements"
}

scenario_late-network() {
    machine_new "$image" && begin
    platform machine-tap down
    machine_start
    machine_wait 'Starting .*unseald\.service' || die "late-network: unseald is not started: $(tail -n 40 "$console")"
    sleep 10
    [ -z "$(requests)" ] || die "late-network: KMS was asked through a cable that is not there"
    platform machine-tap up
    delivered late-network
    result late-network "delivered, with the cable plugged in 10 s after unseald was started; up $(report_of uptime) s"
}

# Two mistakes of one set-up, one after the other: no network, and then a role that the key's policy does not name.
scenario_no-network() {
    machine_new "$image" && begin
    principal=arn:aws:iam::222222222222:role/somebody-else put_policy --measurements="$measurements"
    platform machine-tap down
    machine_start -smbios type=1,family=explain-imds
    explains no-network 'unseald waits for .* since' 'failure imds' 'does the instance have an address, a route'
    [ -z "$(requests)" ] || die "no-network: KMS was asked through a cable that is not there"
    platform machine-tap up
    explains 'another role' 'unseald has FAILED for good'
    [ -n "$(requests)" ] || die "no-network: KMS was not asked"
    explains 'another role' "access-denied \(AccessDeniedException\), request ($(request_ids)) " \
        "role $PLATFORM_INSTANCE_ROLE" 'does not allow the role that asked'
    [ -z "$(requests | jq -r 'select(.errorCode == null)')" ] || die "no-network: KMS answered: $(requests)"
    put_policy --measurements="$measurements"
    result no-network "the console says what is missing; with the cable plugged in, it says which role was denied"
}

# The hardware clock is years slow. The service manager moves it to the time of its own build. No certificate is valid yet.
scenario_clock() {
    machine_new "$image" && begin && machine_start -rtc base=2001-01-01T00:00:00 -smbios type=1,family=explain-clock
    explains clock 'unseald waits for .* since' 'failure clock' 'behind' 'Is a time service enabled in the image'
    [ -z "$(requests)" ] || die "clock: KMS was asked"
    result clock "the console says how far off the clock is"
}

scenario_throttling() {
    machine_new "$image" && begin
    platform fault set kms Decrypt throttle --times 4
    machine_start
    delivered throttling
    assert_equal "throttled requests" "$(requests | jq -r 'select(.errorCode == "ThrottlingException") | 1' | wc -l)" 4
    result throttling "delivered after 4 throttled requests; up $(report_of uptime) s"
}

# Another program has the TPM open when unseald needs it.
scenario_tpm-held() {
    machine_new "$image" && begin && machine_start -smbios type=1,family=explain-tpm
    delivered tpm-held
    assert_line "tpm-held: the console" "$console" 'Another program has the TPM'
    explains tpm-held 'unseald waits for the TPM since' 'failure tpm:'
    assert_equal "tpm-held: failed units" "$(report_of failed)" ''
    tr -d '\r' <"$console" | awk '/^REPORT held/ { held = 1 } /Another program has the TPM/ { if (held) seen = 1 }
        /^REPORT released/ { released = seen } END { exit !released }' || die "tpm-held: unseald did not wait for the holder"
    result tpm-held "delivered once the other program let go of the TPM; up $(report_of uptime) s"
}

# A model of 256 MiB on an NVMe disk: a process without rights maps it, and checks every tensor. Another customer's volume of the same size
# does not open with its key.
scenario_volume() {
    local name
    mkdir "$scratch/small"
    "$model" make "$scratch/small/model" 16
    change_byte "$scratch/small/model" 9000000
    ! "$model" check "$scratch/small/model" >"$scratch/small/said" || die "volume: the check passes a model with a changed byte"
    assert_line "volume: the check of a changed model" "$scratch/small/said" '^15 of 16 tensors right'
    machine_new "$image" && begin
    options=()
    for name in weights impostor; do
        options+=(-drive "if=none,id=$name,format=raw,readonly=on,file=$cache/volume/$name.img"
            -device "nvme,drive=$name,serial=vol0123456789abcdef$((${#options[@]} / 4))")
    done
    machine_start "${options[@]}"
    delivered volume
    assert_equal "volume: the service of weights" "$(report_of service-of-weights)" 'active 0'
    assert_match "volume: the mount of weights" "$(report_of mount-of-weights)" '^active erofs ro,nosuid,nodev,'
    assert_equal "volume: the model in weights" "$(report_of model-in-weights)" 'active 16 of 16 tensors right, 268435456 bytes'
    assert_equal "volume: tensors" "$(grep -ac '^REPORT tensor [0-9]* right, 16777216 bytes' "$console")" 16
    assert_match "volume: the volume of another key" "$(report_of impostor)" \
        '^30 The device /dev/nvme1n1 does not hold the volume impostor: its first block does not match the root hash'
    assert_equal "volume: the mappings" "$(report_of mappings)" 'unseald-weights unseald_crypt-weights'
    assert_equal "volume: the key, as root, who can read the service's credentials" "$(report_of key-of-service)" 1
    assert_match "volume: the key, as another unit" "$(report_of key-of-stranger)" '^[1-9][0-9]* 243$'
    assert_equal "volume: bytes of the key, as nobody" "$(report_of key-of-nobody)" 0
    assert_equal "volume: the key in the journal" "$(report_of key-in-journal)" 0
    assert_no_line "volume: programs that udev runs" "$console" 'unseald-volume report .* failed'
    assert_equal "volume: what an NVMe controller that is not of EBS is" "$(report_of selected)" \
        '30 No EBS volume is attached that Device=sdf selects. Attached are: /dev/nvme0n1 (not of EBS), /dev/nvme1n1 (not of EBS). Attach the volume, or correct Device=.'
    assert_equal "volume: what udev knows of the content of disks" "$(report_of disks)" ''
    result volume "every tensor of 256 MiB right, on $(report_of nvme), read in $(report_of read-in) s; another customer's volume does not open; up $(report_of uptime) s"
}

# Builds the image of the scenario "state": the application with a read-write volume, and with a service that writes records to it.
use_state_image() {
    lock
    rm -rf "$cache/state-application.new"
    cp -r "$application" "$cache/state-application.new"
    cp -r "$top/tests/boot/state/." "$cache/state-application.new/root/"
    printf '%s\n' '[Secret]' Generate=32 GenerateWhen=missing Source=volume:state "KeyId=$key" '[Deliver]' Units=unseald-volume@state.service \
        Store=no >"$cache/state-application.new/root/usr/lib/unseald/secrets.d/state-key.secret"
    rm -rf "$cache/state-application" && mv "$cache/state-application.new" "$cache/state-application"
    unlock
    use_image debian "$cache/state-application"
}

# Makes the image that follows: the same, but for Initialize=never. The root has another hash, which is in the initrd, so PCR4 differs.
make_next_image() { # DISK MEASUREMENTS
    local hash old
    cp --sparse=always "$image" "$1"
    hash=$("$top/tests/boot/change-root.py" "$1" "$(root_start "$1")" $'Mode=state\nInitialize=blank' $'Mode=state\nInitialize=never')
    uki_of "$1" "$scratch/uki"
    objcopy --dump-section .initrd="$scratch/initrd" "$scratch/uki" "$scratch/uki.same"
    mkdir -p "$scratch/next/etc"
    zstd -dcq "$scratch/initrd" | cpio --quiet -i --to-stdout etc/veritytab >"$scratch/veritytab"
    old=$(grep -oE '\b[0-9a-f]{64}\b' "$scratch/veritytab") || die "the initrd has no root hash"
    sed "s/$old/$hash/" "$scratch/veritytab" >"$scratch/next/etc/veritytab"
    add_to_initrd "$1" "$scratch/next"
    "$unsealctl" measure --output="$2" "$scratch/uki.new"
    [ "$(jq -r .Measurements.PCR4 "$2")" != "$(jq -r .Measurements.PCR4 "$measurements")" ] || die "the next image has the same PCR4"
}

# Prints how often KMS has made a key.
keys_made() { jq -c 'select(.eventName == "GenerateDataKey" and .errorCode == null and .requestParameters.dryRun != true)' "$PLATFORM_TRAIL" | wc -l; }

# state_boot WHAT DISK: boots the disk with the volume's device. All records must be there that were durable before, $records of them. The
# counter of openings must be the one after $older. Cuts the power while records are written.
state_boot() {
    local found counter
    machine_new "$2" && begin
    machine_start -drive if=none,id=state,format=raw,file="$scratch/state.raw" -device virtio-blk-pci,drive=state
    machine_wait '^REPORT found .* counter [0-9]+' || die "state, $1: the application does not start: $(tail -n 40 "$console")"
    read -r found _ counter <<<"$(report_of found)"
    [ "$found" -ge "$records" ] || die "state, $1: $records records were durable, and $found are there"
    [ -z "$older" ] || assert_equal "state, $1: the counter" "$counter" $((older + 1))
    older=$counter
    machine_wait "^REPORT durable ($(seq -s '|' $((found + 20)) $((found + 40))))\b" || die "state, $1: no records are written: $(tail -n 20 "$console")"
    machine_kill
    # The cut may have torn the last line.
    records=$(head -n -1 "$console" | tr -d '\r' | sed -n 's/^REPORT durable //p' | tail -n 1)
    result state "$1: $found records found, opening $counter; $records are durable as the power is cut"
}

# A read-write volume over three boots: the first formats it, the second has the same image, the third the image that follows. The power is
# cut each time while the application writes. Then the policy names the new image alone.
scenario_state() {
    local next=$scratch/next.raw new=$scratch/next.json made records=0 older=''
    use_state_image
    make_next_image "$next" "$new"
    truncate -s 64M "$scratch/state.raw"

    put_policy --generate-data-key=state-key --measurements="$measurements"
    made=$(keys_made)
    state_boot 'new volume' "$image"
    assert_equal "state: keys that KMS has made" $(($(keys_made) - made)) 1
    state_boot 'same image' "$image"
    put_policy --generate-data-key=state-key --measurements="$measurements" --measurements="$new"
    platform user-data "$new" >/dev/null
    state_boot 'next image' "$next"
    assert_equal "PCR4" "$(measured 4)" "$(jq -r .Measurements.PCR4 "$new")"

    put_policy --generate-data-key=state-key --measurements="$new"
    cp --sparse=always "$scratch/state.raw" "$scratch/state.before"
    machine_new "$image" && begin
    machine_start -drive if=none,id=state,format=raw,file="$scratch/state.raw" -device virtio-blk-pci,drive=state
    denied state
    assert_equal "PCR4" "$(measured 4)" "$(jq -r .Measurements.PCR4 "$measurements")"
    assert_no_line "state: the application of the old image" "$console" '^REPORT (found|durable)'
    cmp "$scratch/state.raw" "$scratch/state.before" || die "state: the old image has written to the volume"
    result state "old image, when the policy names the next one alone: denied"

    truncate -s 64M "$scratch/blank.raw"
    machine_new "$next" && begin
    machine_start -drive if=none,id=state,format=raw,file="$scratch/blank.raw" -device virtio-blk-pci,drive=state
    machine_wait 'it is blank, and Initialize=never' || die "state: the console says nothing of the blank device: $(tail -n 40 "$console")"
    # Without a label, unseald waits and has no key made.
    machine_wait 'The label of the volume has not been read yet' || die "state: unseald does not wait for the label: $(tail -n 40 "$console")"
    assert_no_line "state: the application, with a blank device" "$console" '^REPORT (found|durable)'
    assert_equal "state: bytes on the blank device" "$(tr -d '\0' <"$scratch/blank.raw" | wc -c)" 0
    result state "blank device, next image: refused, and nothing was written"
    assert_equal "state: keys that KMS has made in all" $(($(keys_made) - made)) 1
}

# Resets the machine. Memory keeps its content over a reset, until the kernel clears all free memory (init_on_free=1). Then presses
# the power button.
scenario_reboot() {
    machine_new "$image" && begin
    MACHINE_REBOOT=reset machine_start
    delivered reboot
    cp "$console" "$console.first"
    : >"$console"
    begin && machine_monitor system_reset >/dev/null
    delivered "reboot, the second time"
    # No copy from before the reset is left.
    search_memory
    machine_power_off 300 || die "reboot: it does not go down at the power button: $(tail -n 20 "$console")"
    begin && machine_kill && machine_start
    delivered "reboot, the third time"
    result reboot "delivered three times by one machine: after a reset, and after an end by the power button"
}

scenario_power-cut() {
    local i moment
    machine_new "$image" && begin
    for i in 1 2 3 4 5; do
        machine_start
        moment=$((5 + RANDOM % 110))
        ! machine_wait '^REPORT end' "$moment" || moment='at the end'
        machine_kill
        say "cut after $moment s: $(tr -d '\r' <"$console" | sed 's/\x1b\[[0-9;=]*[a-zA-Z]//g' | grep -a . | tail -n 1 | cut -c1-100)"
        search
    done
    machine_start
    delivered power-cut
    result power-cut "delivered after the power was cut five times"
}

# The same for arm64. Only these: what they do not show does not depend on the architecture, or needs a boot for each of its parts.
on_arm64() { MACHINE_TIMEOUT=${MACHINE_TIMEOUT:-1800} prefix=arm64- "scenario_$1"; }
scenario_arm64-healthy() { on_arm64 healthy; }
scenario_arm64-command-line() { on_arm64 command-line; }
scenario_arm64-credential() { on_arm64 credential; }
scenario_arm64-firmware-variable() { on_arm64 firmware-variable; }

# Bash ignores set -e inside a command that && follows.
if [ -n "$image_only" ]; then
    if [ "$image_only" = state ]; then use_state_image; else use_image "$image_only"; fi
    say "$built"
    exit
fi
for scenario in "${wanted[@]}"; do
    consoles=$build/test-logs/boot/$scenario boots=0
    rm -rf "$consoles"
    say "$scenario: console in $consoles"
    profile=debian
    [[ $scenario != debian13* ]] || profile=debian13
    [[ $scenario != arm64-* ]] || profile=arm64
    [ "$scenario" = state ] || [ "$image_profile" = "$profile" ] || use_image "$profile"
    "scenario_$scenario"
done
[ ${#table[@]} -le 1 ] || printf '%s\n' '' "${table[@]}"
