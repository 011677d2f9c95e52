#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every manual page renders without a warning at common widths.
. "$(dirname "$0")/lib.sh"
pages=0
for page in "$build"/man/*.[1-9]; do
    for width in 60 80 120; do
        warnings=$(MANWIDTH=$width man --warnings -l "$page" 2>&1 >/dev/null)
        assert_equal "$(basename "$page") at $width columns" "$warnings" ''
    done
    pages=$((pages + 1))
done
assert_equal "pages" "$pages" "$(find "$top/man" -name '*.rst' | wc -l)"
# Every test and every scenario that the threat model names exists.
named=0
while read -r test; do
    [ -x "$top/tests/integration/$test" ] || die "unseald-threat-model(7) names $test, which is no test"
    named=$((named + 1))
done < <(grep -oE '[a-z/-]+\.sh' "$top/man/unseald-threat-model.7.rst" | sort -u)
[ "$named" -gt 0 ] || die "unseald-threat-model(7) names no test"
scenarios=$("$top/tests/boot/appliance.sh" --list --all)
named=0
while read -r scenario; do
    grep -qx -- "$scenario" <<<"$scenarios" || die "unseald-threat-model(7) names $scenario, which is no scenario of the boot tests"
    named=$((named + 1))
done < <(grep -oE '\*memory-[a-z-]+\*' "$top/man/unseald-threat-model.7.rst" | tr -d '*' | sort -u)
[ "$named" -gt 0 ] || die "unseald-threat-model(7) names no scenario"
say "$pages pages"

# The keys in the code, in the manual page and in the example file are the same.
keys_of() { sed -nE 's/^ +\{ ("[A-Za-z]+", )?"([A-Z][A-Za-z0-9]*)", set_.*/\2/p' "$top/daemon/config/$1.c" | sort; }
documented() { sed -nE 's/^(\*[A-Z][A-Za-z0-9]*=\*(, )?)+$/&/p' "$top/man/$1.5.rst" | grep -oE '[A-Z][A-Za-z0-9]*' | sort; }
examples() { sed -nE 's/^#?([A-Z][A-Za-z0-9]*)=.*/\1/p' "$top/conf/$1" | sort; }
for page in 'settings unseald.conf unseald.conf' 'declaration unseald.secret db-password.secret' 'volumes unseald.volume weights.volume'; do
    read -r code manual example <<<"$page"
    keys=$(keys_of "$code" | xargs)
    [[ $keys == *' '* ]] || die "no keys found in $code.c"
    assert_equal "keys in $manual(5)" "$(documented "$manual" | xargs)" "$keys"
    assert_equal "keys in conf/$example" "$(examples "$example" | xargs)" "$keys"
    say "$manual: $keys"
done
