# SPDX-License-Identifier: Apache-2.0
"""What the clients of the services for units have in common. usage of a program with cases: PROGRAM FACTS CASE...

FACTS is a JSON file of the test script. Each case prints "CASE: ok", or what it saw. The exit status is 1 if a case saw something else
than it wanted.
"""

import glob
import json
import os
import sys

FACTS = json.load(open(sys.argv[1], encoding="utf-8"))


def enter(group):
    """Moves this process into a control group."""
    with open(f"/sys/fs/cgroup/{group}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def enter_unit(unit):
    (group,) = glob.glob(f"/sys/fs/cgroup/**/{unit}", recursive=True)
    enter(os.path.relpath(group, "/sys/fs/cgroup"))


def run(program):
    """Runs the cases of the arguments. program: the globals of the program."""
    failed = False
    for name in sys.argv[2:]:
        try:
            program["case_" + name]()
            print(f"{name}: ok", flush=True)
        except Exception as e:  # pylint: disable=broad-except
            failed = True
            print(f"{name}: {type(e).__name__}: {e}", flush=True)
    sys.exit(failed)
