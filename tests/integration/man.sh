#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every man page renders without a warning, at widths that people use.
. "$(dirname "$0")/lib.sh"
pages=0
for page in "$build"/man/*.[1-9]; do
    for width in 60 80 120; do
        warnings=$(MANWIDTH=$width man --warnings -l "$page" 2>&1 >/dev/null)
        assert_equal "$(basename "$page") at $width columns" "$warnings" ''
    done
    pages=$((pages + 1))
done
assert_equal "pages" "$pages" "$(ls "$top"/man/*.rst | wc -l)"
say "$pages pages"
