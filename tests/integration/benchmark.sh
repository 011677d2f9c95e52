#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One round of the benchmark, whose times make nothing fail: each of its parts runs to its end, and measures what it says.
. "$(dirname "$0")/lib.sh"

UNSEALD_TEST_BUILD=$build "$top/tests/bench/run" --rounds 1 --no-aws-cli --no-sdks --mib 4 --large 8 \
    --only cold,network,many,verbs,objects,messages,volume >"$scratch/out" 2>"$scratch/err" ||
    die "the benchmark ended with $?: $(tail -n 5 "$scratch/err")"
for part in 'One secret, from the start' 'One secret, from a usable network' '1, 10 and 100 secrets' 'Memory, MiB' 'unsealctl and scripts' 'An object in parts' \
    'A message of 4 MiB from S3' 'Peak memory beside' 'A bundle beside one' 'READY=1 of a small secret' \
    'Sealing 4 MiB' 'A volume of 4 MiB' 'Reading a volume of 16 MiB'; do
    grep -A3 "^$part" "$scratch/out" | grep -Eq '[0-9]+\.[0-9]' || die "no figure of '$part': $(cat "$scratch/out")"
done
