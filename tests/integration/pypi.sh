# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Installs programs of PyPI, npm, Maven and Go, each in a directory of its own in the cache. Source it with $top set.
cache=${UNSEALD_CACHE:-$top/.cache}

# install_once NAME SOURCE COMMAND [ARGUMENT...]: calls the command with the new directory $cache/NAME and the arguments, once for these
# arguments. If it fails, its messages are shown and the test is skipped: SOURCE cannot be reached.
install_once() {
    local directory=$cache/$1 lock
    mkdir -p "$cache"
    exec {lock}>"$directory.lock"
    flock "$lock"
    if [[ $(cat "$directory/complete" 2>/dev/null) != "${*:2}" ]]; then
        rm -rf "$directory"
        if ! { mkdir "$directory" && ("$3" "$directory" "${@:4}") && echo "${*:2}" >"$directory/complete"; } >"$directory.log" 2>&1; then
            cat "$directory.log" >&2
            echo "skipped: $1 cannot be had from $2"
            exit 77
        fi
    fi
    flock --unlock "$lock"
}

# installer_needs PROGRAM...: skips the test if one of them is not installed
installer_needs() {
    local program
    for program; do
        command -v "$program" >/dev/null || { echo "skipped: $program is not installed" && exit 77; }
    done
}

install_from_pypi() { # NAME PACKAGE...
    install_once "$1" PyPI pypi_packages "${@:2}"
}
pypi_packages() { python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"; }

# Debian's awscli knows neither Recipient nor DryRun, so the newest version comes from PyPI.
install_aws() {
    local directory=$cache/aws-cli
    install_from_pypi aws-cli awscli boto3
    aws=$directory/bin/aws
    # shellcheck disable=SC2034 # read by scripts that source this file
    aws_python=$directory/bin/python3
    echo "with $("$aws" --version)"
}

install_from_npm() { # NAME PACKAGE...
    installer_needs npm
    install_once "$1" npm npm_packages "${@:2}"
}
npm_packages() { npm install --no-audit --no-fund --prefix "$1" "${@:2}"; }

# Puts the jars, with all that they need, into the directory.
install_from_maven() { # NAME GROUP:ARTIFACT:VERSION...
    installer_needs mvn javac keytool
    install_once "$1" Maven maven_jars "${@:2}"
}
maven_jars() {
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>test</groupId><artifactId>test</artifactId><version>1</version><dependencies>'
        printf '%s\n' "${@:2}" | sed -E 's|(.*):(.*):(.*)|<dependency><groupId>\1</groupId><artifactId>\2</artifactId><version>\3</version></dependency>|'
        echo '</dependencies></project>'
    } >"$1/pom.xml"
    mvn --quiet --batch-mode --file "$1/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1"
}

# Builds a Go program of one file with these modules: $cache/NAME/program.
build_go_program() { # NAME FILE MODULE@VERSION...
    installer_needs go
    install_once "$1" 'the Go module proxy' go_program "$(sha256sum <"$2")" "$(realpath "$2")" "${@:3}"
}
go_program() { # DIRECTORY HASH FILE MODULE@VERSION...
    cp "$3" "$1/main.go" && cd "$1" && go mod init test && go get "${@:4}" && go build -o program .
}
