# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034 # The scripts that source this file read $unseald_status, $answer and $said.
# For tests that run unseald on the platform without a service manager, which is far quicker than a machine. A script sources
# this file first. It continues in a mount namespace of its own, so the store is gone when the script ends.
[ -n "${UNSEALD_TEST_MOUNTS:-}" ] || UNSEALD_TEST_MOUNTS=1 exec unshare --mount --propagation private -- "$0" "$@"
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

config=$scratch/config
store=$scratch/store
status_file=$scratch/status.json
log=$scratch/log
secret=$scratch/secret
mkdir -p "$config/secrets.d" "$store"
mount -t ramfs -o mode=0711 ramfs "$store"
at_exit umount --lazy "$store"
unset NOTIFY_SOCKET JOURNAL_STREAM INVOCATION_ID
declare -a wrapper
eval "wrapper=(${UNSEALD_TEST_WRAPPER:-})"

# mount_own DIRECTORY: mounts an empty file system there, for this test alone, such as on /run/unseald for the control socket. The directory
# stays: rmdir would unmount what another test has mounted on it in its own namespace.
mount_own() {
    mkdir -p "$1"
    mount -t tmpfs tmpfs "$1"
    at_exit umount --lazy "$1"
}

# configure [LINE...]: writes unseald.conf with these lines
configure() {
    printf '%s\n' '[Unseald]' "TrustedCertificates=$PLATFORM_CA_FILE" "TpmDevice=$PLATFORM_TCTI" "$@" >"$config/unseald.conf"
}

# declare_secret NAME KEY SEALED [LINE...]: declares a secret, with these lines in [Secret]
declare_secret() {
    local name=$1 key=$2 sealed=$3
    shift 3
    printf '%s\n' '[Secret]' "Source=file:$sealed" "KeyId=$key" "$@" >"$config/secrets.d/$name.secret"
}

# declare_source SOURCE [LINE...]: declares db-password with this source, and no other secret
declare_source() {
    local source=$1
    shift
    rm -f "$config"/secrets.d/*
    printf '%s\n' '[Secret]' "Source=$source" "KeyId=$key" "$@" >"$config/secrets.d/db-password.secret"
}

# Starts a platform, creates a key for the PCRs of its TPM, and seals one secret, db-password, with it.
direct_start() {
    platform_start
    key=$(vendor_create_key)
    vendor_put_policy "$key" "$(pcr 4)" "$(pcr 12)"
    printf 'Hello World' >"$secret"
    vendor_seal "$key" db-password "$scratch/sealed" <"$secret"
}

# Prints the objects in the TPM that a program can leave behind.
tpm_contents() {
    local what
    for what in transient loaded-session saved-session nv-index persistent; do
        echo "$what: $(tpm2_getcap -T "$PLATFORM_TCTI" "handles-$what" | tr '\n' ' ')"
    done
}

# Starts unseald, in another network namespace if unseald_netns=(--netns NAME), and without messages for those who debug if
# unseald_verbosity=(). Its messages are read from file descriptor $unseald_fd.
unseald_netns=()
unseald_verbosity=(--debug)
unseald_start() {
    exec {unseald_fd}< <(exec "$top/tests/platform/platform" exec --as instance "${unseald_netns[@]}" -- \
        "${wrapper[@]}" "$build/daemon/unseald" "${unseald_verbosity[@]}" --vendor-configuration="$config" --configuration=/nonexistent \
        --store="$store" --status="$status_file" 2>&1)
    unseald_pid=$!
    started_at=$EPOCHREALTIME
}

# make_clock SECONDS: makes $scratch/clock.so, for LD_PRELOAD. It sets the clock of the C library ahead by that much.
make_clock() {
    cc -shared -fPIC -DOFFSET="$1" -o "$scratch/clock.so" -x c - -ldl <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *ret) {
        int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
        int r = real(clock, ret);

        if (clock == CLOCK_REALTIME)
                ret->tv_sec += OFFSET;
        return r;
}

time_t time(time_t *ret) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        if (ret)
                *ret = now.tv_sec;
        return now.tv_sec;
}
END
}

# seconds_since TIME: prints the seconds since TIME, a value of $EPOCHREALTIME
seconds_since() {
    local usec=$((${EPOCHREALTIME/./} - ${1/./}))
    printf '%d.%02d' $((usec / 1000000)) $((usec % 1000000 / 10000))
}

# Waits until unseald is ready or ends. If it is ready, calls on_ready and stops it. Waits for its end. Sets $log (all its
# messages), $unseald_status, $unseald_ready (not empty if it was ready) and $took, the seconds until the outcome.
on_ready() { :; }
unseald_finish() {
    local line status=0
    unseald_ready='' took=''
    : >"$log"
    while IFS= read -r -t "${UNSEALD_LIMIT:-60}" -u "$unseald_fd" line || ! status=$?; do
        printf '%s\n' "$line" >>"$log"
        if [ -z "$unseald_ready" ] && [[ $line == Ready:* ]]; then
            took=$(seconds_since "$started_at")
            unseald_ready=yes
            keep_status "$status_file"
            on_ready
            kill -TERM "$unseald_pid" || true # on_ready may have ended it
        fi
    done
    exec {unseald_fd}<&-
    if [ "$status" -gt 128 ]; then
        kill -KILL "$unseald_pid"
        die "unseald neither says anything nor ends: $(tail -n 20 "$log")"
    fi
    unseald_status=0
    wait "$unseald_pid" || unseald_status=$?
    keep_status "$status_file"
    took=${took:-$(seconds_since "$started_at")}
}

# For runs that last until DeadlineSec=. The steps before take longer on a slow machine, so no deadline suits every machine. Such
# a run begins with a short deadline. If its outcome is not the wanted one, it is repeated with a longer deadline. Two deadlines
# differ by no more than an HTTP request may take (15 s), because a deadline may have to come during a request.
# longer_deadline [LOG] puts the next deadline into unseald.conf. It fails if the last run did not end by its deadline, or if
# there is no longer deadline.
deadlines=(3 12 24 36 48 60 72 84 96 108 120)
longer_deadline() {
    local now next
    grep -q 'Not within DeadlineSec=' "${1:-$log}" || return 1
    now=$(sed -n 's/^DeadlineSec=\([0-9]*\)s$/\1/p' "$config/unseald.conf")
    for next in "${deadlines[@]}"; do
        [ "$next" -gt "${now:-1000}" ] || continue
        sed -i "s/^DeadlineSec=.*/DeadlineSec=${next}s/" "$config/unseald.conf"
        return 0
    done
    return 1
}
# longer_deadline_helps BEFORE WORDS: whether it may: not if two runs said the same but for numbers, unless an answer was
# still to come
longer_deadline_helps() { [[ ${1//[0-9.]/} != "${2//[0-9.]/}" || $2 == *'no answer yet'* ]]; }
# until_deadline REGEX: runs unseald until its log matches, with longer deadlines as long as that may help
until_deadline() {
    while unseald_start && unseald_finish && ! grep -Eq -- "$1" "$log"; do
        longer_deadline || die "no line of the log matches '$1' at any deadline: $(tail -n 5 "$log")"
    done
}

# role_kms OPERATION JSON: calls KMS with the role's credentials, by curl
role_kms() {
    local credentials=http://$PLATFORM_IMDS_ADDRESS/latest/meta-data/iam/security-credentials token
    token=$(platform exec -- curl -sSX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' "http://$PLATFORM_IMDS_ADDRESS/latest/api/token")
    platform exec -- curl -sS --fail -H "X-aws-ec2-metadata-token: $token" "$credentials/$PLATFORM_INSTANCE_ROLE" >"$scratch/credentials" ||
        die "IMDS gives no credentials: $(cat "$scratch/credentials")"
    platform exec -- curl -sS --fail-with-body --aws-sigv4 "aws:amz:$region:kms" \
        --user "$(jq -r '.AccessKeyId + ":" + .SecretAccessKey' "$scratch/credentials")" \
        -H "X-Amz-Security-Token: $(jq -r .Token "$scratch/credentials")" \
        -H 'Content-Type: application/x-amz-json-1.1' -H "X-Amz-Target: TrentService.$1" \
        --cacert "$PLATFORM_CA_FILE" --data-binary "$2" "$PLATFORM_KMS_ENDPOINT/"
}

# Runs unseald under a program that plays the service manager. manager_start [--listen PATH]; manager COMMAND (see manager.py): sets
# $answer, and $said to the messages of unseald meanwhile.
manager_start() {
    : >"$log"
    coproc manager { exec "$top/tests/platform/platform" exec --as instance -- "$top/tests/integration/manager.py" "$@" \
        "$build/daemon/unseald" --debug --vendor-configuration="$config" --configuration=/nonexistent --store="$store" \
        --status="$status_file" 2>"$log"; }
    said=$scratch/said
}
manager() {
    local before
    before=$(wc -l <"$log")
    printf '%q ' "$@" >&"${manager[1]}"
    printf '\n' >&"${manager[1]}"
    read -r -t 60 answer <&"${manager[0]}" || die "the manager does not answer to '$*': $(tail -n 20 "$log")"
    tail -n +"$((before + 1))" "$log" >"$said"
    keep_status "$status_file"
}
manager_end() {
    eval "exec ${manager[1]}>&-"
    # shellcheck disable=SC2154 # coproc sets it
    wait "$manager_PID"
}

# requests OPERATION: prints how many of these requests KMS has received
requests() { platform log | jq -r --arg name "$1" 'select(.eventName == $name) | .requestID' | wc -l; }
