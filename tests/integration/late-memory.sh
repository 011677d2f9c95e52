#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rule 5 of unseald-threat-model(7), with a late secret: searches the memory of unseald and all that is kept for it. While the message is
# still to come, the data key and the role's credentials are there, and the key pair is nowhere. Once the message is published, neither is
# there. The same search finds each of them while it is needed: without that, its result would prove nothing.
. "$(dirname "$0")/direct.sh"
direct_start
head -c 3000007 /dev/urandom >"$secret"
platform exec --as vendor -- "$build/daemon/unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=model \
    -o "$scratch/message" "$secret"
platform object put models message "$scratch/message" >/dev/null
configure DeadlineSec=15min # a search takes minutes on a busy machine
printf '%s\n' '[Secret]' Source=s3://models/message "KeyId=$key" Format=message Late=yes >"$config/secrets.d/model.secret"
unsealctl=$build/daemon/unsealctl

# look WHAT: searches. $scratch/WHAT has a line for each value that is found, with the place.
cat >"$scratch/look" <<'END'
#!/usr/bin/python3
"""usage: look TESTS-DIRECTORY STORE SCRATCH"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from canary import Needles, find_key, memory, numbers, pieces, read  # noqa: E402

store, scratch = sys.argv[2:]
programs = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if f"--store={store}".encode() in read(f"/proc/{pid}/cmdline").split(b"\0"):
            programs[os.path.basename(os.readlink(f"/proc/{pid}/exe"))] = pid
    except OSError:
        pass  # the process has ended
(manager,) = [pid for name, pid in programs.items() if name.startswith("python")]
snapshot = list(memory(programs["unseald"]))

needles = Needles()
for name in ("data-key", "credentials"):
    if os.path.exists(f"{scratch}/{name}"):
        needles.add(name, pieces(read(f"{scratch}/{name}")))
plaintext = read(f"{scratch}/secret")
for at in range(4096, len(plaintext) - 16, 65536):
    needles.add("plaintext", {plaintext[at : at + 16]})
pair = f"{scratch}/key-pair"
if not os.path.exists(pair):
    found = find_key([part for part in snapshot if not part[0].startswith("/") and any(part[1])])
    if found:
        with open(pair, "w") as file:
            print(*found, file=file)
if os.path.exists(pair):
    needles.add("key-pair", numbers(*map(int, read(pair).split())))

# The store is memory, too. What is mapped of it counts as the store's.
inside = [data for name, data in snapshot if not name.startswith(store)]
kept = []
for fd in os.listdir(f"/proc/{manager}/fd"):
    path = f"/proc/{manager}/fd/{fd}"
    if os.readlink(path).startswith(store):
        kept.append(read(path))
for place, all_of_it in (("memory", inside), ("kept", kept)):
    for name in sorted(set().union(*map(needles.found_in, all_of_it))):
        print(name, "in", place)
print("searched", sum(map(len, inside)), "bytes of unseald and", len(kept), "kept files", file=sys.stderr)
END
look() { python3 "$scratch/look" "$top/tests/integration" "$store" "$scratch" | sort | paste -sd , >"$scratch/found-$1" && cat "$scratch/found-$1"; }
found() { assert_equal "$1" "$(cat "$scratch/found-$1")" "$2"; }

# The values: the data key by KMS as the vendor, and the role's credentials by IMDS
"$unsealctl" cat-message --json "$scratch/message" >"$scratch/header"
python3 - "$scratch/message" >"$scratch/wrapped" <<'END'
import base64, struct, sys
data, at = open(sys.argv[1], "rb").read(65536), 35
def sized():
    global at
    (size,) = struct.unpack_from(">H", data, at)
    at += 2 + size
    return data[at - size : at]
sized()
at += 2
sized(), sized()
print(base64.b64encode(sized()).decode(), end="")
END
kms Decrypt "$(jq -c --rawfile blob "$scratch/wrapped" '{CiphertextBlob: $blob, EncryptionContext: .encryption_context}' "$scratch/header")" |
    jq -r .Plaintext | base64 -d >"$scratch/data-key"
assert_equal 'bytes of the data key' "$(stat -c %s "$scratch/data-key")" 32
imds() { platform exec --as instance -- curl -sS --fail "$@"; }
token=$(imds -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600' http://169.254.169.254/latest/api/token)
imds -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/iam/security-credentials/$PLATFORM_INSTANCE_ROLE" |
    jq -j .SecretAccessKey >"$scratch/credentials"

manager_start
platform fault set kms Decrypt throttle
printf 'start\n' >&"${manager[1]}"
until grep -q 'KMS throttles requests' "$log"; do
    kill -0 "$manager_PID" 2>/dev/null || die "unseald has not asked KMS: $(tail -n 20 "$log")"
    sleep 0.1
done
say "KMS gives no answer yet: $(look asking)"
found asking 'credentials in memory,key-pair in memory'
platform fault clear
platform fault set s3 GetObject throttle --after 1
read -r -t 300 answer <&"${manager[0]}" || die "unseald is not ready: $(tail -n 20 "$log")"
assert_equal 'unseald' "$answer" ready
say "the message is still to come: $(look held)"
found held 'credentials in memory,data-key in kept,data-key in memory'
platform fault clear
manager run sh -c "exec $unsealctl status --file=$status_file --wait --late >$scratch/shown"
assert_equal 'the end of the wait' "$answer" 'exited 0'
cmp "$store/model" "$secret"
say "the message is published: $(look published)"
found published 'plaintext in kept'
manager stop
manager_end
