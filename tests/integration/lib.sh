# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For the integration tests and the demo: a platform, a vendor that uses curl, throw-away machines. A script sources this
# file first. The file creates $scratch, a directory that is removed when the script ends.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${UNSEALD_TEST_BUILD:-$top/build}
install_root=$build/install
scratch=$(mktemp -d /tmp/unseald-test.XXXXXX)
platform_state=$scratch/platform
region=eu-north-1

say() { printf '%s\n' "$*"; }
die() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# store_type: prints the file system that unseald-generator chooses for the store on this kernel
store_type() {
    if unshare --mount mount -t tmpfs -o noswap tmpfs /mnt 2>/dev/null; then echo tmpfs; else echo ramfs; fi
}

# store_is_huge: whether it then also chooses huge pages
store_is_huge() { unshare --mount mount -t tmpfs -o noswap,huge=within_size tmpfs /mnt 2>/dev/null; }

# The exit stack. at_exit COMMAND [ARGUMENT...] adds a command that runs when the script ends, whatever ends it. The commands
# run in reverse order. A command that fails makes a passed test fail, so a command must tolerate that there is nothing left
# to clean up. Only this stack may set the EXIT trap: a second trap would replace the first one.
exit_stack=()
at_exit() {
    local command
    printf -v command '%q ' "$@"
    exit_stack+=("$command")
}
run_exit_stack() {
    local status=$? i
    trap - EXIT
    set +e
    for ((i = ${#exit_stack[@]} - 1; i >= 0; i--)); do
        eval "${exit_stack[i]}" || {
            printf 'FAILED: clean-up: %s\n' "${exit_stack[i]}" >&2
            [ "$status" != 0 ] || status=1
        }
    done
    exit "$status"
}
trap run_exit_stack EXIT
trap 'exit 130' INT TERM
# own_exit_stack: gives a background job a stack of its own. Bash gives it no traps, so that without this a job that end_process ends leaves
# behind what it has started.
own_exit_stack() {
    exit_stack=()
    trap run_exit_stack EXIT
    trap 'exit 130' INT TERM
}

# keep_status FILE: keeps a copy of a status file. At its end the script compares all copies with unseald-status.json(5).
keep_status() {
    [ -s "$1" ] || return 0
    mkdir -p "$scratch/statuses"
    cp "$1" "$scratch/statuses/$((++statuses)).json"
}
statuses=0
check_statuses() { [ "$statuses" = 0 ] || "$top/tests/check-status" "$scratch"/statuses/*.json; }

# end_process PID [SIGNAL]: ends a background job of this shell and waits for it. A PID that is no longer a job is left
# alone, since another process may have it by now.
end_process() {
    local pid=$1 signal=${2:-TERM} i
    jobs -rp | grep -qx "$pid" || return 0
    kill -s "$signal" "$pid" 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -s KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# end_group PID: kills a background job of this shell that leads a process group, as timeout(1) does, with all that it started
end_group() {
    jobs -rp | grep -qx "$1" || return 0
    kill -s KILL -- "-$1" 2>/dev/null || true
    end_process "$1" KILL
}

remove_scratch() { [ -n "${keep_platform:-}" ] || rm -rf "$scratch"; }
at_exit remove_scratch
at_exit check_statuses

# assert_equal WHAT SEEN WANTED
assert_equal() { [ "$2" = "$3" ] || die "$1: saw '$2', wanted '$3'"; }
# assert_match WHAT SEEN REGEX
assert_match() { [[ $2 =~ $3 ]] || die "$1: saw '$2', wanted a match of '$3'"; }
# assert_line WHAT FILE REGEX: the file exists and a line of it matches.
assert_line() {
    grep -Eq -- "$3" "$2" || die "$1: no line of $2 matches '$3':
$(tail -n 30 "$2")"
}
# assert_no_line WHAT FILE REGEX: the file exists and no line of it matches.
assert_no_line() {
    local status=0
    [ -f "$2" ] || die "$1: $2 does not exist, so the test cannot tell whether a line of it matches '$3'"
    grep -Eq -- "$3" "$2" || status=$?
    [ "$status" != 0 ] || die "$1: a line of $2 matches '$3':
$(grep -m 5 -E -- "$3" "$2")"
    [ "$status" = 1 ] || die "$1: grep cannot search $2 for '$3' (exit status $status)"
}

# assert_absent WHAT STRING PATH...: every path exists, a directory contains at least one file that is not empty, and the
# string is in no file below the paths.
assert_absent() {
    local what=$1 string=$2 path found errors
    shift 2
    [ -n "$string" ] || die "$what: the string to search for is empty"
    [ $# -gt 0 ] || die "$what: there is no path to search"
    for path; do
        if [ -d "$path" ]; then
            [ -n "$(find "$path" -type f -size +0 -print -quit)" ] || die "$what: $path contains no file to search"
        else
            [ -f "$path" ] || die "$what: $path does not exist, so the test cannot tell what is in it"
        fi
    done
    found=$({ grep -rlaF --devices=skip -- "$string" "$@" || [ $? = 1 ]; } 2>"$scratch/.grep") || true
    [ -z "$found" ] || die "$what: found in $found"
    # A program that still runs may remove a file in the meantime.
    errors=$(grep -v 'No such file or directory$' "$scratch/.grep" || true)
    [ -z "$errors" ] || die "$what: grep cannot search everything: $errors"
}

# change_byte FILE OFFSET: changes one bit of this byte. A constant that is written there is, once in 256 runs, the byte that is there already.
change_byte() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf '%b' "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# names_in DIRECTORY: the names of its entries on one line, sorted; empty if it has none or does not exist
names_in() {
    local names
    mapfile -t names < <(ls -A "$1" 2>/dev/null)
    echo "${names[*]}"
}

platform() { "$top/tests/platform/platform" "$@"; }
platform_end() {
    [ -n "${keep_platform:-}" ] || [ ! -d "$platform_state" ] || platform stop --state "$platform_state" >/dev/null 2>&1
}

platform_start() {
    at_exit platform_end
    platform start --build "$build" --state "$platform_state" --region "$region" "$@" >"$scratch/platform.env" ||
        die "the platform did not start"
    # shellcheck disable=SC1091 # platform writes it
    . "$scratch/platform.env"
    export PLATFORM_STATE
}

# kms OPERATION JSON: calls KMS as the vendor's administrator. curl signs the request, so no code of unseald takes part.
kms() {
    platform exec -- curl -sS --fail-with-body --aws-sigv4 "aws:amz:$region:kms" \
        --user "$PLATFORM_VENDOR_ACCESS_KEY_ID:$PLATFORM_VENDOR_SECRET_ACCESS_KEY" \
        -H 'Content-Type: application/x-amz-json-1.1' -H "X-Amz-Target: TrentService.$1" \
        --cacert "$PLATFORM_CA_FILE" --data-binary "$2" "$PLATFORM_KMS_ENDPOINT/"
}

# Creates a key in the vendor's account and prints its ARN.
vendor_create_key() { kms CreateKey '{}' | jq -r .KeyMetadata.Arn; }

# pcr INDEX: prints the value of a PCR of the platform's TPM in lower-case hex
pcr() { platform pcrs | sed -n "s/^ *$1 *: 0x//p" | tr A-F a-f; }

# vendor_put_policy KEY PCR4 PCR12: puts a policy with an administrator, under which only the role may decrypt, and only with
# both PCRs, whatever identity policies say. It has one Deny for each PCR, which also denies a request without a document.
vendor_put_policy() {
    local policy
    policy=$(jq -nc --arg admin "arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin" \
        --arg role "$PLATFORM_INSTANCE_ROLE_ARN" --arg pcr4 "$2" --arg pcr12 "$3" '
        def must(n; v): {Sid: "DenyOtherPCR\(n)", Effect: "Deny", Principal: {AWS: $role}, Resource: "*",
            Action: ["kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*", "kms:CreateGrant"],
            Condition: {StringNotEqualsIgnoreCase: {"kms:RecipientAttestation:NitroTPMPCR\(n)": v}}};
        {Version: "2012-10-17", Statement: [
            {Sid: "Administrator", Effect: "Allow", Principal: {AWS: $admin}, Action: "kms:*", Resource: "*"},
            {Sid: "Appliance", Effect: "Allow", Principal: {AWS: $role}, Action: "kms:Decrypt", Resource: "*",
             Condition: {StringEqualsIgnoreCase: {"kms:RecipientAttestation:NitroTPMPCR4": $pcr4,
                                                  "kms:RecipientAttestation:NitroTPMPCR12": $pcr12}}},
            must(4; $pcr4), must(12; $pcr12)]}')
    kms PutKeyPolicy "$(jq -nc --arg key "$1" --arg policy "$policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
}

# vendor_seal KEY NAME FILE [ACCOUNT] < plaintext: seals it, with ACCOUNT for this customer only
vendor_seal() {
    kms Encrypt "$(jq -nc --arg key "$1" --arg name "$2" --arg account "${4:-}" --arg text "$(base64 -w0)" \
        '{KeyId: $key, Plaintext: $text,
          EncryptionContext: ({"unseald:secret": $name} + if $account == "" then {} else {"unseald:account": $account} end)}')" | jq -r .CiphertextBlob >"$3"
}

# Images differ in a layer over /usr. layer_secret NAME KEY SEALED [LINE...]: declares a secret there, with lines of [Secret]
layer=$scratch/layer
layer_new() {
    rm -rf "$layer"
    mkdir -p "$layer"/usr/lib/unseald/secrets.d "$layer"/usr/lib/systemd/system "$layer"/usr/share/sealed
    cp "$PLATFORM_CA_FILE" "$layer/usr/lib/unseald/ca.pem"
    {
        echo '[Unseald]'
        echo 'TrustedCertificates=/usr/lib/unseald/ca.pem'
        echo 'TpmDevice=swtpm:path=/platform/tpm.sock'
        printf '%s\n' "$@"
    } >"$layer/usr/lib/unseald/unseald.conf"
    cp "$top"/tests/integration/machine/*.{service,target} "$layer/usr/lib/systemd/system/"
    install -D -m 755 "$top/tests/integration/machine/report" "$layer/usr/lib/machine/report"
    cp "$top/tests/integration/machine/units" "$layer/usr/lib/machine/units"
    echo "${MACHINE_LIMIT:-60}" >"$layer/usr/lib/machine/limit"
}
layer_secret() {
    local name=$1 key=$2 sealed=$3
    shift 3
    cp "$sealed" "$layer/usr/share/sealed/$name"
    printf '%s\n' '[Secret]' "Source=file:/usr/share/sealed/$name" "KeyId=$key" "$@" \
        >"$layer/usr/lib/unseald/secrets.d/$name.secret"
}

# new_cgroup: creates a cgroup, and sets $cgroup to its path. "systemd-nspawn --keep-unit" runs a machine below the cgroup of the caller, so
# without one of their own two machines beside each other share /system.slice/unseald.service: the service manager that stops the unit
# removes the cgroup in which the other one starts its process.
new_cgroup() {
    local root
    root=$(findmnt -nr -t cgroup2 -o TARGET | head -n 1)
    [ -n "$root" ] || die "cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    cgroup=$root$(sed -n 's/^0:://p' /proc/self/cgroup)/unseald-test-$$-$RANDOM
    mkdir "$cgroup"
    at_exit remove_cgroup "$cgroup"
}
# remove_cgroup PATH: removes it with all below it, once the processes of the machine have ended
remove_cgroup() {
    local i
    for ((i = 0; i < 100; i++)); do
        [ -e "$1" ] || return 0
        find "$1" -depth -type d -exec rmdir {} \; 2>/dev/null
        sleep 0.05
    done
    echo "$1 has processes: $(find "$1" -name cgroup.procs -exec cat {} +)" >&2
    return 1
}

# Boots a machine from this host's /usr, the installation and the layer. It writes its report to $1/ and powers off. Further
# arguments go to systemd-nspawn. Fails only if the machine does not power off in time.
machine_boot() {
    local out=$1 netns cgroup
    shift
    mkdir -p "$out"
    netns=${MACHINE_NETNS:-$PLATFORM_NETNS}
    new_cgroup
    echo "$BASHPID" >"$cgroup/cgroup.procs" && SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec \
        timeout -k 5 "${MACHINE_TIMEOUT:-600}" systemd-nspawn --quiet --register=no \
        --keep-unit --directory=/ --volatile=yes --boot --console=read-only \
        --machine="unseald-$$-$RANDOM" --network-namespace-path="/run/netns/$netns" \
        --overlay-ro="/usr:$install_root/usr:$layer/usr:/usr" \
        --capability=CAP_IPC_LOCK --bind="$out:/out" --bind="$PLATFORM_TPM_SOCKET:/platform/tpm.sock" \
        --bind="$PLATFORM_TPM_CONTROL:/platform/tpm.sock.ctrl" --bind-ro="$PLATFORM_HOSTS:/etc/hosts" "$@" \
        systemd.unit=machine.target systemd.firstboot=no systemd.show_status=no \
        >"$out/console" 2>"$out/nspawn" </dev/null &
    machine_pid=$!
    at_exit end_group "$machine_pid"
    wait "$machine_pid" || die "the machine ended with status $?: $(tail -n 20 "$out/console" "$out/nspawn")"
    [ -e "$out/done" ] || die "the machine wrote no report: $(tail -n 40 "$out/console")"
    [ ! -e "$out/never" ] || die "in the machine: $(cat "$out/never")
$(tail -n 30 "$out/journal-plain")"
    keep_status "$out/status.json"
}
# machine_show OUT UNIT PROPERTY: prints a property of a unit, from the report
machine_show() { sed -n "s/^$3=//p" "$1/show-$2"; }

# assert_socket_service OUT UNIT REGEX: what holds for each service that a socket starts, from the files of the machine's script: the unit
# is disabled, runs only while clients ask, and as the user and groups that match.
assert_socket_service() {
    local out=$1 unit=$2 exposure
    assert_equal "$unit: enabled" "$(cat "$out/enabled")" disabled
    assert_equal "$unit: before" "$(cat "$out/state-before")" 'inactive inactive '
    assert_equal "$unit: listening" "$(cat "$out/state-listening")" 'active inactive '
    assert_equal "$unit: asked" "$(cat "$out/state-asked")" 'active active '
    assert_equal "$unit: some time later" "$(cat "$out/state-idle")" 'active inactive '
    assert_equal "$unit: failed units" "$(cat "$out/failed")" ''
    assert_line "$unit: user and groups" "$out/process" "$3"
    exposure=$(sed -nE "s/.*exposure level for $unit: ([0-9.]+).*/\1/p" "$out/security")
    say "exposure of $unit: $exposure"
    awk -v seen="$exposure" 'BEGIN { exit !(seen != "" && seen < 2.0) }' || die "exposure of $unit: saw $exposure, wanted less than 2.0"
}
