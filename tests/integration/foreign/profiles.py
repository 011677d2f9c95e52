# SPDX-License-Identifier: Apache-2.0
"""Compares which credentials unsealctl and the AWS CLI use, with the same files and environment.

usage: profiles.py UNSEALCTL PLATFORM KEY DIRECTORY, with the CLI's own Python. The botocore of the CLI says which credentials the
CLI uses. The platform's trail has the access key ID of unsealctl's request. The platform knows none of the keys.
"""
import json
import os
import subprocess
import sys

unsealctl, platform, key, directory = sys.argv[1:]
trail = os.environ["PLATFORM_TRAIL"]


def pair(name):
    return f"aws_access_key_id = {name}\naws_secret_access_key = secret\n"


# Label, credentials file, config file, environment, --profile.
cases = [
    ("default in the credentials file", "[default]\n" + pair("CRED"), "", {}, None),
    ("default in the config file", "", "[default]\n" + pair("CONF"), {}, None),
    ("the credentials file before the config file", "[default]\n" + pair("CRED"), "[default]\n" + pair("CONF"), {}, None),
    ("[profile default]", "", "[profile default]\n" + pair("CONF"), {}, None),
    ("AWS_PROFILE", "[default]\n" + pair("CRED") + "[p]\n" + pair("P"), "", {"AWS_PROFILE": "p"}, None),
    ("--profile", "[default]\n" + pair("CRED") + "[p]\n" + pair("P"), "", {}, "p"),
    ("--profile before AWS_PROFILE", "[q]\n" + pair("Q") + "[p]\n" + pair("P"), "", {"AWS_PROFILE": "q"}, "p"),
    ("[p] in the config file is no profile", "", "[p]\n" + pair("CONF"), {"AWS_PROFILE": "p"}, None),
    ("[profile p] in the credentials file is none", "[profile p]\n" + pair("CRED"), "", {}, "p"),
    ("a profile with quotes", "", '[profile "a b"]\n' + pair("CONF"), {}, "a b"),
    ("a profile in both files", "[p]\n" + pair("CRED"), "[profile p]\n" + pair("CONF"), {}, "p"),
    ("a profile with a Region here, keys there", "[p]\n" + pair("CRED"), "[profile p]\nregion = eu-west-1\n", {}, "p"),
    ("environment before AWS_PROFILE", "[p]\n" + pair("P"), "",
     {"AWS_PROFILE": "p", "AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s"}, None),
    ("--profile before the environment", "[p]\n" + pair("P"), "",
     {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s"}, "p"),
    ("an empty AWS_ACCESS_KEY_ID", "[default]\n" + pair("CRED"), "", {"AWS_ACCESS_KEY_ID": ""}, None),
    ("half an environment", "[default]\n" + pair("CRED"), "", {"AWS_ACCESS_KEY_ID": "ENV"}, None),
    ("half a profile", "[default]\naws_access_key_id = CRED\n", "[default]\n" + pair("CONF"), {}, None),
    ("the other half of a profile", "[default]\naws_secret_access_key = x\n", "[default]\n" + pair("CONF"), {}, None),
    ("colons, capitals, comments", "# c\n[default]\nAWS_ACCESS_KEY_ID: CRED\n; c\n\naws_secret_access_key : s\n", "", {}, None),
    ("settings below a setting", "[default]\ns3 =\n  aws_access_key_id = NESTED\n  x = y\n" + pair("CRED"), "", {}, None),
    ("Windows' line ends", ("[default]\n" + pair("CRED")).replace("\n", "\r\n"), "", {}, None),
    ("indented settings", "[default]\n  " + pair("CRED").replace("\n", "\n  ") + "\n", "", {}, None),
    ("text behind a section", "[default] x\n" + pair("CRED"), "", {}, None),
    ("a line that is none", "[default]\nnonsense\n" + pair("CRED"), "", {}, None),
    ("a setting before any section", pair("CRED"), "", {}, None),
    ("a section twice", "[default]\n" + pair("CRED") + "[default]\n" + pair("AGAIN"), "", {}, None),
    ("a setting twice", "[default]\n" + pair("CRED") + "aws_access_key_id = AGAIN\n", "", {}, None),
    ("the access key before a process", "[default]\n" + pair("CRED"), "[default]\ncredential_process = /bin/false\n", {}, None),
    ("a process before the config file's key", "", "[default]\ncredential_process = /bin/false\n" + pair("CONF"), {}, None),
    ("a role before the access key", "[default]\n" + pair("CRED"), "[default]\nrole_arn = x\nsource_profile = none\n", {}, None),
    ("SSO before the access key", "[default]\n" + pair("CRED"), "[default]\nsso_account_id = 1\n", {}, None),
    ("no such profile", "[default]\n" + pair("CRED"), "", {}, "p"),
    ("no files", None, None, {}, None),
]

ask_cli = """
import sys
from awscli.botocore.session import Session
try:
    found = Session(profile=sys.argv[1] if len(sys.argv) > 1 else None).get_credentials()
    print(found.access_key if found else "none")
except Exception as error:
    print("none", error)
"""


def environment(credentials, config, variables):
    result = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    for name, variable, text in (("credentials", "AWS_SHARED_CREDENTIALS_FILE", credentials),
                                 ("config", "AWS_CONFIG_FILE", config)):
        result[variable] = os.path.join(directory, name)
        if os.path.exists(result[variable]):
            os.unlink(result[variable])
        if text is not None:
            with open(result[variable], "w", newline="") as file:
                file.write(text)
    return {**result, "AWS_EC2_METADATA_DISABLED": "true", "HOME": directory, **variables}


def by_unsealctl(variables, profile):
    """Returns the access key ID of the request, or "none" if there was no request."""
    with open(trail) as file:
        before = len(file.readlines())
    settings = [f"{name}={value}" for name, value in variables.items() if name.startswith("AWS_") or name == "HOME"]
    result = subprocess.run(
        [platform, "exec", "--as", "instance", "--", "env", *settings, unsealctl, "seal", f"--key={key}", "--name=x",
         f"--trusted-certificates={os.environ['PLATFORM_CA_FILE']}", *([f"--profile={profile}"] if profile else [])],
        input=b"x", capture_output=True)
    with open(trail) as file:
        events = [json.loads(line) for line in file.readlines()[before:]]
    assert result.returncode != 0, "an unknown key sealed"
    return events[-1]["userIdentity"]["accessKeyId"] if events else "none", result.stderr.decode()


wrong = 0
for what, credentials, config, variables, profile in cases:
    variables = environment(credentials, config, variables)
    cli = subprocess.run([sys.executable, "-c", ask_cli, *([profile] if profile else [])], env=variables,
                         capture_output=True, text=True, check=True).stdout.split()[0]
    own, said = by_unsealctl(variables, profile)
    print(f"{'same' if own == cli else 'DIFFERENT'}: {what}: {cli}")
    if own != cli:
        print(f"  unsealctl: {own}, {said}")
        wrong += 1
print(f"{len(cases)} cases, {wrong} different")
sys.exit(wrong != 0)
