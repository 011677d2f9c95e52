#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a large message leaves in the memory of the machine, also in pages that nobody has any more: nothing, if it failed, and nothing, once
# unseald --forget has removed its file. What the keys of a volume of either kind leave, once the volume is closed: nothing. A kernel of its own (user-mode
# Linux) decrypts the messages and opens the volumes, and this script searches all of that kernel's memory from outside.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"
body=$build/tests/bench/message-body

token() { od -An -vtx1 -N16 /dev/urandom | tr -d ' \n'; }
mib=4
for what in failed forgotten there copied; do
    token >"$scratch/token-$what"
    "$body" make "$scratch/$what" "$mib" "$(cat "$scratch/token-$what")"
done
# The tag of the last frame is another: all frames before it have been decrypted then.
size=$(stat -c %s "$scratch/failed")
change_byte "$scratch/failed" $((size - 1))
rm "$scratch/copied"

mkdir "$scratch/tree" && echo 'a file' >"$scratch/tree/file"
volume_key=$("$top/tests/integration/volume_image.py" "$scratch/tree" weights "$scratch/image" "$scratch/key")
head -c 32 /dev/urandom >"$scratch/state"
# Prints the keys of a read-write volume (volume/state-keys.h): those of the sectors, or that of the label.
state_keys() { # SALT PURPOSE:SIZE...
    python3 - "$scratch/state" "$@" <<'END'
import hmac, sys

salt = bytes.fromhex(sys.argv[2])
extracted = hmac.digest(salt, open(sys.argv[1], "rb").read(), "sha256")
print(extracted.hex())
for purpose, size in (word.split(":") for word in sys.argv[3:]):
    key = block = b""
    for i in range(1, int(size) // 32 + 1):
        block = hmac.digest(extracted, block + b"unseald volume v1 " + purpose.encode() + b"\0state" + bytes([i]), "sha256")
        key += block
    print(*(key[at : at + 32].hex() for at in range(0, len(key), 32)))
END
}

uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-crypt dm-verity dm-integrity erofs
cat >"$scratch/program" <<END
# Waits while the script outside searches. What comes afterwards may use the freed pages again.
look() { echo "RESULT look \$1"; until [ -e "$scratch/looked-\$1" ]; do sleep 0.1; done; }
mkdir /mnt/store /mnt/copy && mount -t ramfs -o mode=0711 ramfs /mnt/store && mount -t ramfs ramfs /mnt/copy
"$body" open "$scratch/failed" /mnt/store failed; echo "RESULT failed \$? \$(ls -A /mnt/store)"
look failed
"$body" open "$scratch/forgotten" /mnt/store forgotten; echo "RESULT forgotten \$? \$(ls -A /mnt/store)"
"$build/daemon/unseald" --forget --store=/mnt/store --status=/mnt/status.json; echo "RESULT forget \$? \$(ls -A /mnt/store)"
look forgotten
# The first control: a plaintext in the same kind of memory that is removed without being wiped.
yes "$(cat "$scratch/token-copied")" | head -c ${mib}M >/mnt/copy/copied && rm /mnt/copy/copied
look copied
"$body" open "$scratch/there" /mnt/store there; echo "RESULT there \$? \$(ls -A /mnt/store)"
look there
# A volume. Its key is here in base64 only, but for who opens it.
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /run/keys && cp "$scratch/key" /run/keys/weights
printf '[Volume]\nDevice=/dev/ubda\n' >/etc/unseald/volumes.d/weights.volume
CREDENTIALS_DIRECTORY=/run/keys "$install_root/usr/lib/unseald/unseald-volume" attach weights; echo "RESULT attach \$?"
look open
"$install_root/usr/lib/unseald/unseald-volume" detach weights; echo "RESULT detach \$?"
look closed
# A read-write one, which is formatted first. Its data key stays in a file, as what the service manager gives does.
truncate -s 17M /run/disk && losetup /dev/loop0 /run/disk && cp "$scratch/state" /run/keys/state
printf '[Volume]\nDevice=/dev/loop0\nMode=state\nInitialize=blank\n' >/etc/unseald/volumes.d/state.volume
look data-key
CREDENTIALS_DIRECTORY=/run/keys "$install_root/usr/lib/unseald/unseald-volume" attach state; echo "RESULT attach state \$?"
echo "RESULT salt \$(od -An -vtx1 -j176 -N32 /run/disk | tr -d ' \n')"
look data-key-used
look label
look tags
look sectors
"$install_root/usr/lib/unseald/unseald-volume" detach state; echo "RESULT detach state \$?"
look state-closed
END
linux.uml ubd0r="$scratch/image" rootfstype=hostfs rootflags=/ ro root=none mem=192M quiet panic=0 init="$scratch/init" con=null con0=null,fd:1 \
    </dev/null >"$scratch/said" 2>&1 &
uml=$!
at_exit end_process "$uml"
# Prints how often the tokens are in the memory of the kernel.
count_in_memory() { # HEX...
    python3 - "$uml" "$@" <<'END'
import sys
tokens, found = [bytes.fromhex(text) for text in sys.argv[2:]], 0
with open(f"/proc/{sys.argv[1]}/maps") as maps, open(f"/proc/{sys.argv[1]}/mem", "rb", buffering=0) as memory:
    for line in maps:
        place, access = line.split()[:2]
        begin, end = (int(part, 16) for part in place.split("-"))
        if access.startswith("rw"):
            try:
                memory.seek(begin)
                content = memory.read(end - begin)
                found += sum(content.count(token) for token in tokens)
            except OSError:
                pass
print(found)
END
}
tokens_of() { # WHAT. The two halves of the key of XTS are keys of their own.
    case $1 in
    data-key | data-key-used) xxd -p -c 64 "$scratch/state" ;;
    label) state_keys "$(printf %064d 0)" label:32 ;;
    tags) state_keys "$(sed -n 's/\r//; s/^RESULT salt //p' "$scratch/said")" integrity:32 ;;
    sectors | state-closed) state_keys "$(sed -n 's/\r//; s/^RESULT salt //p' "$scratch/said")" encryption:64 integrity:32 ;;
    open | closed) echo "${volume_key:0:64} ${volume_key:64}" ;;
    *) xxd -p -c 64 "$scratch/token-$1" ;;
    esac
}
declare -A found
for what in failed forgotten copied there open closed data-key data-key-used label tags sectors state-closed; do
    until grep -aq "^RESULT look $what" "$scratch/said"; do
        kill -0 "$uml" 2>/dev/null || die "the kernel has ended: $(cat "$scratch/said")"
        sleep 0.1
    done
    # shellcheck disable=SC2046 # one word a token
    found[$what]=$(count_in_memory $(tokens_of "$what"))
    # The kernel wipes a key that it was told to forget a moment later.
    for ((i = 0; i < 300; i++)); do
        [[ $what = *closed ]] && [ "${found[$what]}" -gt 0 ] || break
        sleep 0.2
        # shellcheck disable=SC2046
        found[$what]=$(count_in_memory $(tokens_of "$what"))
    done
    say "$what: found ${found[$what]} times"
    touch "$scratch/looked-$what"
done
sed -i 's/\r$//' "$scratch/said"
assert_line "the message that fails" "$scratch/said" '^RESULT failed 1 $'
assert_line "a message" "$scratch/said" '^RESULT forgotten 0 forgotten$'
assert_line "unseald --forget" "$scratch/said" '^RESULT forget 0 $'
assert_line "another message" "$scratch/said" '^RESULT there 0 there$'
assert_equal "a message that failed" "${found[failed]}" 0
assert_equal "a message that was forgotten" "${found[forgotten]}" 0
assert_line "unseald-volume attach" "$scratch/said" '^RESULT attach 0$'
assert_line "unseald-volume detach" "$scratch/said" '^RESULT detach 0$'
[ "${found[open]}" -gt 0 ] || die "the key of the open volume is not found"
assert_equal "the key of the closed volume" "${found[closed]}" 0
assert_line "unseald-volume attach, read-write" "$scratch/said" '^RESULT attach state 0$'
assert_line "unseald-volume detach, read-write" "$scratch/said" '^RESULT detach state 0$'
[ "${found[data-key]}" -gt 0 ] && [ "${found[data-key-used]}" -le "${found[data-key]}" ] ||
    die "the data key is there ${found[data-key]} times before it is used, and ${found[data-key-used]} times afterwards"
assert_equal "the key of the label" "${found[label]}" 0
# The kernel's HMAC keeps two states of the hash, and not the key.
assert_equal "the key of the tags" "${found[tags]}" 0
[ "${found[sectors]}" -gt 0 ] || die "the keys of the sectors of the open volume are not found"
assert_equal "the keys of the sectors of the closed volume" "${found[state-closed]}" 0
# The controls: the plaintext is found where it was, if nobody wiped it, and where it is.
[ "${found[copied]}" -gt 1000 ] || die "what was removed without being wiped is not found"
[ "${found[there]}" -ge $((mib * 32768)) ] || die "the plaintext that is in the store is not found"
