# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For the integration tests and the demo: a platform, a vendor with curl, throw-away machines. Source it; it makes
# $scratch, a directory that goes when the script ends, and takes with it all that was started.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${UNSEALD_TEST_BUILD:-$top/build}
install_root=$top/build/install
scratch=$(mktemp -d /tmp/unseald-test.XXXXXX)
platform_state=$scratch/platform
region=eu-north-1

say() { printf '%s\n' "$*"; }
die() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# assert_equal WHAT SEEN WANTED
assert_equal() { [ "$2" = "$3" ] || die "$1: saw '$2', wanted '$3'"; }
# assert_match WHAT SEEN REGEX
assert_match() { [[ $2 =~ $3 ]] || die "$1: saw '$2', wanted a match of '$3'"; }
# assert_file WHAT FILE REGEX: a line of it matches
assert_line() { grep -Eq -- "$3" "$2" || die "$1: no line of $2 matches '$3':
$(tail -n 30 "$2")"; }
assert_no_line() { ! grep -Eq -- "$3" "$2" || die "$1: a line of $2 matches '$3':
$(grep -E -- "$3" "$2" | head -n 5)"; }

# assert_absent WHAT STRING PATH...: the string is in no file below the paths
assert_absent() {
    local what=$1 string=$2 found
    shift 2
    found=$(grep -rlaF --devices=skip -- "$string" "$@" 2>/dev/null || true)
    [ -z "$found" ] || die "$what: found in $found"
}

platform() { "$top/tests/platform/platform" "$@"; }

clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "${machine_pid:-}" ] && kill -0 "$machine_pid" 2>/dev/null; then
        kill -KILL "$machine_pid" 2>/dev/null || true
    fi
    if [ -d "$platform_state" ] && [ -z "${keep_platform:-}" ]; then
        platform stop --state "$platform_state" >/dev/null 2>&1 || status=1
    fi
    [ -n "${keep_platform:-}" ] || rm -rf "$scratch"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

platform_start() {
    platform start --build "$build" --state "$platform_state" --region "$region" "$@" >"$scratch/platform.env" ||
        die "the platform did not start"
    # shellcheck disable=SC1091
    . "$scratch/platform.env"
}
