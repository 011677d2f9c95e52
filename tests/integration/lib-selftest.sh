#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The assertions of lib.sh fail when what they search does not exist or is empty, and the exit stack runs whatever ends a
# script. Every other test relies on both. This test needs neither a build nor a platform.
. "$(dirname "$0")/lib.sh"
lib=$(dirname "$0")/lib.sh
checks=0

# in_script TEXT: runs it as a script of its own that has sourced lib.sh. Sets $status and $said.
in_script() {
    printf '. %q\n%s\n' "$lib" "$1" >"$scratch/script"
    status=0
    said=$(bash "$scratch/script" 2>&1) || status=$?
    checks=$((checks + 1))
}
passes() { # TEXT
    in_script "$1"
    assert_equal "the exit status of '$1', which says '$said'" "$status" 0
}
fails() { # REGEX TEXT
    in_script "$2"
    assert_equal "the exit status of '$2', which says '$said'" "$status" 1
    assert_match "what '$2' says" "$said" "$1"
}

tree=$scratch/tree
mkdir -p "$tree/full/below" "$tree/empty" "$tree/hollow"
printf 'one\ntwo\n' >"$tree/full/below/file"
: >"$tree/hollow/file"
mkfifo "$tree/fifo"
ln -s nowhere "$tree/dangling"

passes "assert_absent name three $tree/full"
passes "assert_absent name three $tree/full/below/file $tree/hollow/file"
fails 'found in .*/below/file' "assert_absent name two $tree/full"
fails 'found in .*/below/file' "assert_absent name two $tree/hollow/file $tree/full/below/file"
fails 'does not exist' "assert_absent name three $tree/nothing"
fails 'does not exist' "assert_absent name three $tree/full $tree/nothing"
fails 'does not exist' "assert_absent name three $tree/dangling"
fails 'does not exist' "assert_absent name three $tree/fifo"
fails 'contains no file' "assert_absent name three $tree/empty"
fails 'contains no file' "assert_absent name three $tree/hollow"
fails 'no path' "assert_absent name three"
fails 'string .* empty' "assert_absent name '' $tree/full"
# A glob that matches nothing stays as it is, and names no file.
fails 'does not exist' "assert_absent name three $tree/none*"

passes "assert_no_line name $tree/full/below/file three"
passes "assert_no_line name $tree/hollow/file three"
fails 'a line of .* matches' "assert_no_line name $tree/full/below/file '^tw'"
fails 'does not exist' "assert_no_line name $tree/nothing three"
fails 'does not exist' "assert_no_line name $tree/full three"
fails 'cannot search' "assert_no_line name $tree/full/below/file '('"

passes "assert_line name $tree/full/below/file '^two'"
fails 'no line of' "assert_line name $tree/full/below/file three"
fails 'no line of' "assert_line name $tree/nothing three"
fails "saw 'a', wanted 'b'" 'assert_equal name a b'
fails "wanted a match" 'assert_match name a ^b'

# The stack: in reverse order, at success, at a failure, at a signal; each command, even where one fails.
stack='at_exit echo first
at_exit echo "second  argument"
'
wanted=$'second  argument\nfirst'
passes "$stack"
assert_equal "the stack of a script that succeeds" "$said" "$wanted"
fails failed "$stack die failed"
assert_equal "the stack of a script that dies" "$said" $'FAILED: failed\n'"$wanted"
fails '' "$stack false"
assert_equal "the stack of a script whose command fails" "$said" "$wanted"
in_script "$stack kill -TERM \$\$; sleep 5"
assert_equal "the stack of a script that is terminated" "$status: $said" "130: $wanted"
fails 'clean-up: false' "at_exit echo first; at_exit false"
assert_match "the stack of a script whose clean-up fails" "$said" first
in_script 'at_exit false; exit 77'
assert_equal "the exit status of a script that skips and whose clean-up fails" "$status" 77
passes 'at_exit test -d "$scratch"; echo "$scratch"'
[ ! -e "$said" ] || die "$said is left"

# A process that the script started ends with it; the PID of one that has ended is not signalled.
passes 'sleep 100 & at_exit end_process $!; echo $!'
! kill -0 "$said" 2>/dev/null || die "process $said is left"
passes '(trap "" TERM; sleep 100) & end_process $! KILL; ! kill -0 $! 2>/dev/null'
passes 'end_process 1; end_process $$; end_group 1; end_group $$'
# So does what it has started in turn. It has no file of the script open: in_script would wait for it.
in_script "timeout 60 sh -c 'echo \$\$ >$scratch/group; exec sleep 60' >/dev/null 2>&1 &
at_exit end_group \$!
until [ -s $scratch/group ]; do sleep 0.1; done
kill -TERM \$\$; sleep 5"
assert_equal "a script that is terminated while a group runs" "$status" 130
# Killed, it may still wait for whoever reaps it here.
assert_match "the process $(cat "$scratch/group")" "$(ps -o stat= -p "$(cat "$scratch/group")")" '^(Z|$)'

# And so does what a background job has started. The job runs its own stack, and not that of the script.
in_script "$stack
{ own_exit_stack; at_exit echo job; timeout 60 sh -c 'echo \$\$ >$scratch/job; exec sleep 60' >/dev/null 2>&1 & at_exit end_process \$!; wait; } &
at_exit end_process \$!
until [ -s $scratch/job ]; do sleep 0.1; done
die failed"
assert_equal "the stack of a script with a background job" "$said" $'FAILED: failed\njob\n'"$wanted"
assert_match "the process $(cat "$scratch/job") of the job" "$(ps -o stat= -p "$(cat "$scratch/job")")" '^(Z|$)'

say "$checks checks"
