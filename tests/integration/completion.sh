#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bash, zsh and fish complete every verb and option that unsealctl's source has, and values that are files, secrets or profiles. The
# completions read --help, so each --help must list all options and fit a screen.
. "$(dirname "$0")/lib.sh"

unsealctl=$build/daemon/unsealctl
. "$top/kiwi/packaging/source"
install_debs completion zsh fish
bin=$scratch/bin
mkdir -p "$bin" "$scratch/home/.aws" "$scratch/files/directory"
ln -s "$unsealctl" "$bin/unsealctl"
PATH=$bin:$PATH
export HOME=$scratch/home
unset AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE
cd "$scratch/files"
touch document document.2 'a b'

# Outside of a completion, compopt fails.
compopt() { :; }
# shellcheck source=conf/unsealctl.bash-completion
. "$top/conf/unsealctl.bash-completion"

# completed WORD...: prints what completes the last word. "=" is a word of its own, as in readline.
completed() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _unsealctl
    printf '%s\n' "${COMPREPLY[@]}" | sort
}
# completes WANTED WORD...: asserts it
completes() {
    local want=$1
    shift
    assert_equal "what completes $*" "$(completed "$@" | tr '\n' ' ' | sed 's/ $//')" "$want"
}

mapfile -t verbs < <(sed -nE 's/^ +\{ "([a-z-]+)", "[^"]*", "[^"]*", verb_.*/\1/p' "$top/daemon/unsealctl/unsealctl.c" | sort)
[ "${#verbs[@]}" -ge 6 ] || die "no verbs found in the source"
completes "--help --version ${verbs[*]}" unsealctl ''
completes verify unsealctl ver

# fits WHAT < HELP: asserts that a help text fits a screen
fits() {
    cat >"$scratch/help"
    [ "$(wc -l <"$scratch/help")" -le 24 ] && [ "$(wc -L <"$scratch/help")" -le 80 ] ||
        die "$1 has $(wc -l <"$scratch/help") lines, up to $(wc -L <"$scratch/help") wide, but a screen has 24 by 80"
}
# sources VERB: the files that have its options
sources() {
    find "$top/daemon/unsealctl" -name "$1.c"
    # These two share their options.
    case $1 in report) echo "$top/daemon/unsealctl/console-report.c" ;; esac
    case $1 in check | cat-config) echo "$top/daemon/unsealctl/check/check-options.c" ;; esac
}
unsealctl --help | fits "--help"
for verb in "${verbs[@]}" 'policy audit' 'policy test' 'volume create' 'volume show' 'volume verify'; do
    read -ra words <<<"$verb"
    unsealctl "${words[@]}" --help | fits "$verb --help"
    completed unsealctl "${words[@]}" - >"$scratch/completed"
    options=0
    while read -r option argument; do
        # Only check has it of the two verbs that share their options.
        [ "$verb $option" != 'cat-config json' ] || continue
        [ "$argument" != required ] || option+='='
        grep -qxF -- "--$option" "$scratch/completed" || die "$verb: --$option is not completed: $(tr '\n' ' ' <"$scratch/completed")"
        options=$((options + 1))
    done < <(sources "${verb/ /-}" | xargs -d '\n' sed -nE 's/.*\{ "([A-Za-z0-9-]+)", (no|required|optional)_argument.*/\1 \2/p' | sort -u)
    [ "$options" -ge 1 ] || die "no options found in the source of $verb"
    assert_equal "long options of $verb that it does not have" "$(grep -c '^--' "$scratch/completed")" "$options"
    say "$verb: $options options"
done

say "values and arguments"
completes 'document document.2' unsealctl verify 'do'
completes 'a b directory document document.2' unsealctl seal --key = x ''
completes 'a b directory document document.2' unsealctl seal --output = ''
completes 'document document.2' unsealctl seal --output = doc
completes 'document document.2' unsealctl attest -o doc
completes 'document document.2' unsealctl measure --db document
completes 'document document.2' unsealctl measure --disk = document
completes 'a b directory document document.2' unsealctl policy --json ''
completes 'lint' unsealctl policy l
completes 'audit' unsealctl policy au
completes '--principal= --profile= --proxy=' unsealctl policy audit --pr
completes 'document document.2' unsealctl policy audit --measurements = doc
completes '' unsealctl policy audit --key = ''
completes '--principal=' unsealctl policy lint --pr
completes 'document document.2' unsealctl policy --output = doc
completes 'document document.2' unsealctl policy -o doc
completes 'document document.2' unsealctl policy lint 'do'
completes 'document document.2' unsealctl seal --trusted-certificates = doc
completes '' unsealctl status ''
completes '' unsealctl seal --region = ''
completes '' unsealctl seal --key ''
completes '--print-secret-file --profile= --proxy=' unsealctl seal --pr
completes '' unsealctl conquer -
completes '' unsealctl --version ''
printf '[default]\n[release]\nregion=x\n' >"$HOME/.aws/credentials"
printf '[profile dev]\n' >"$HOME/.aws/config"
completes 'default dev release' unsealctl seal --profile = ''
# declaring COMMAND...: runs it where one secret is declared
declaring() {
    # shellcheck disable=SC2016
    unshare --mount bash -c 'mount -t tmpfs tmpfs /etc && mkdir -p /etc/unseald/secrets.d &&
        touch /etc/unseald/secrets.d/db-password.secret && exec "$@"' bash "$@"
}
# shellcheck disable=SC2016
declared=$(declaring bash -c 'compopt() { :; }
    . "$1"
    for COMP_LINE in "unsealctl seal --name = d" "unsealctl unseal db" "unsealctl status --wait = d"; do
        read -r -a COMP_WORDS <<<"$COMP_LINE"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
        _unsealctl
        echo "${COMPREPLY[@]}"
    done' bash "$top/conf/unsealctl.bash-completion")
assert_equal "names of secrets" "$declared" $'db-password\ndb-password\ndb-password'

say "in an interactive shell"
rm "$bin/unsealctl"
# shellcheck disable=SC2016
printf '#!/bin/sh\ncase $* in *--help) exec %q "$@" ;; esac\necho "called with <$*>"\n' "$unsealctl" >"$bin/unsealctl"
chmod +x "$bin/unsealctl"
printf '. %q\nunsealctl ver\t--max\t5min --ro\tdocument.\t docu\t.2\nexit\n' "$top/conf/unsealctl.bash-completion" |
    script -qec 'bash --norc --noprofile -i' /dev/null >"$scratch/typed" 2>&1
assert_line "what was typed" "$scratch/typed" 'called with <verify --max-age=5min --root=document.2 document.2>'

say "zsh"
mkdir "$scratch/zsh"
printf 'fpath=(%q $fpath)\nautoload -Uz compinit && compinit -u -D\nPS1=\n' "$install_root/usr/share/zsh/site-functions" >"$scratch/zsh/.zshrc"
printf '%s\n' $'unsealctl veri\t--max\t5min --ro\tdocument.\tdocument\t.2' $'unsealctl attest -o document.\t--no\t/x' \
    $'unsealctl poli\tli\tdocument.\t' $'unsealctl policy audit --rec\tx' $'unsealctl seal --profile=de\tv --profile=re\t--print\t' exit |
    TERM=dumb ZDOTDIR=$scratch/zsh script -qec 'zsh -o no_global_rcs -i' /dev/null >"$scratch/typed" 2>&1
assert_equal "what zsh completed" "$(tr -d '\r' <"$scratch/typed" | grep -ao 'called with .*')" \
    'called with <verify --max-age=5min --root=document.2 document.2>
called with <attest -o document.2 --nonce=/x>
called with <policy lint document.2>
called with <policy audit --recovery-principal=x>
called with <seal --profile=dev --profile=release --print-secret-file>'

printf '%s\n' $'unsealctl status --wait=d\t' $'unsealctl seal --name=d\t' exit |
    TERM=dumb ZDOTDIR=$scratch/zsh declaring script -qec 'zsh -o no_global_rcs -i' /dev/null >"$scratch/typed" 2>&1
assert_equal "names of secrets in zsh" "$(tr -d '\r' <"$scratch/typed" | grep -ao 'called with .*')" \
    'called with <status --wait=db-password>
called with <seal --name=db-password>'

say "fish"
fish_completes() { # WANTED LINE
    assert_equal "what completes $2" "$(fish --no-config -c "source '$top/conf/unsealctl.fish'; complete -C '$2'" | cut -f 1 | tr '\n' ' ' |
        sed 's/ $//')" "$1"
}
fish_completes "${verbs[*]} --help --version" 'unsealctl '
for verb in "${verbs[@]}"; do
    fish --no-config -c "source '$top/conf/unsealctl.fish'; complete -C 'unsealctl $verb --'" | cut -f 1 | LC_ALL=C sort >"$scratch/fish"
    completed unsealctl "$verb" -- | LC_ALL=C sort >"$scratch/bash"
    assert_equal "options of $verb" "$(diff "$scratch/bash" "$scratch/fish" || true)" ''
done
fish_completes 'document document.2' 'unsealctl verify do'
fish_completes '--output=document --output=document.2' 'unsealctl seal --output=doc'
fish_completes 'document document.2' 'unsealctl attest -o doc'
fish_completes lint 'unsealctl policy l'
fish_completes '--principal= --profile= --proxy=' 'unsealctl policy audit --pr'
fish_completes '' 'unsealctl seal --key '
fish_completes '' 'unsealctl status '
fish_completes '--profile=release' 'unsealctl seal --profile=re'
assert_equal "names of secrets in fish" "$(declaring fish --no-config -c "source '$top/conf/unsealctl.fish'
    complete -C 'unsealctl status --wait=d'; complete -C 'unsealctl seal --name=d'" | cut -f 1)" $'--wait=db-password\n--name=db-password'

for file in bash-completion/completions/unsealctl fish/vendor_completions.d/unsealctl.fish zsh/site-functions/_unsealctl; do
    [ -f "$install_root/usr/share/$file" ] || die "$file is not installed"
done
