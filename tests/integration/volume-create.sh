#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl volume. The kernel opens what create makes, by the commands that show prints, and encrypts to the same bytes; verify finds
# each change; each mistake has its exit status; and whoever ends create at any moment finds nothing in the clear on the disk.
. "$(dirname "$0")/direct.sh"
. "$(dirname "$0")/uml.sh"
direct_start
configure
unsealctl=$build/daemon/unsealctl
work=$scratch/work
canary=canary-$RANDOM$RANDOM$RANDOM$RANDOM
mkdir -p "$work" "$scratch/tree/weights"
echo "$canary" >"$scratch/tree/canary"
head -c 3000001 < <(yes "$canary") >"$scratch/tree/weights/model"
chmod 600 "$scratch/tree/canary"

# create [OPTION...]: makes a volume of the tree, or of $input
input=$scratch/tree
create() {
    platform exec --as vendor -- "${wrapper[@]}" "$unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" \
        --name=weights --key="$key" "$@" "$input"
}
verify() { "$unsealctl" volume verify --key-file="$scratch/key.json" "$@"; }

# ends STATUS TEXT WHAT COMMAND...: the command ends with STATUS and prints TEXT
ends() {
    local want=$1 text=$2 what=$3 saw=0
    shift 3
    "$@" >"$scratch/said" 2>&1 </dev/null || saw=$?
    [ "$saw" = "$want" ] || die "$what: saw exit status $saw, wanted $want: $(cat "$scratch/said")"
    assert_line "$what" "$scratch/said" "$text"
    say "  $what: status $want, $(head -n 1 "$scratch/said" | cut -c 1-150)"
}

say "== a volume of a directory"
create -o "$work/weights.img" >"$scratch/printed" 2>"$scratch/err"
assert_equal "messages" "$(grep -v "This machine has swap on a disk" "$scratch/err")" ""
assert_equal "what is written" "$(names_in "$work")" "weights.img weights.sealed"
assert_absent "the image is encrypted" "$canary" "$work"
sed -n '/^# weights.volume/,/^$/p' "$scratch/printed" >"$scratch/weights.volume"
sed -n '/^# weights.secret/,$p' "$scratch/printed" >"$config/secrets.d/weights.secret"
assert_line "NAME.volume" "$scratch/weights.volume" '^Key=weights$'
assert_line "NAME.secret" "$config/secrets.d/weights.secret" '^# A path in the image\..*--sealed= wrote'
assert_line "NAME.secret" "$config/secrets.d/weights.secret" '^Units=unseald-volume@weights.service$'
sed -i "s|^Source=.*|Source=file:$work/weights.sealed|" "$config/secrets.d/weights.secret"
instance() { platform exec --as instance -- "$unsealctl" "$@" --vendor-configuration="$config" --configuration=/nonexistent; }
instance unseal weights --reveal >"$scratch/key.json"
assert_equal "the key's size" "$(jq -r .key "$scratch/key.json" | base64 -d | wc -c)" 64
assert_no_line "the key is in no message" "$scratch/printed" "$(jq -r .key "$scratch/key.json" | tr -d '+=')"
ends 0 'all 7[0-9][0-9] blocks of the volume weights are right' "verify by a declared secret" instance volume verify --secret=weights "$work/weights.img"
ends 0 'are right' "verify by a *.secret file" instance volume verify --secret="$config/secrets.d/weights.secret" "$work/weights.img"
instance volume show --secret=weights >"$scratch/shown"
assert_no_line "show does not show the key" "$scratch/shown" "$(jq -r .key "$scratch/key.json" | cut -c 1-40 | tr -d '+')"

# The key may have come in a message, too.
platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=weights --format=message \
    -o "$scratch/message.sealed" "$scratch/key.json"
printf '%s\n' '[Secret]' "Source=file:$scratch/message.sealed" "KeyId=$key" Format=message >"$scratch/weights.secret"
ends 0 'are right' "verify by a key in a message" instance volume verify --secret="$scratch/weights.secret" "$work/weights.img"
# Or as a member of a bundle.
jq -n --rawfile key "$scratch/key.json" '{weights: $key, other: "x"}' >"$scratch/bundle.json"
platform exec --as vendor -- "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --key="$key" --name=app --bundle="$scratch/bundle.json" \
    -o "$scratch/app.sealed"
printf '%s\n' '[Secret]' "Source=file:$scratch/app.sealed" "KeyId=$key" Format=bundle '[Member weights]' '[Member other]' >"$scratch/app.secret"
ends 0 'are right' "verify by a member of a bundle" instance volume verify --secret="$scratch/app.secret" --member=weights "$work/weights.img"
ends 62 'The key of the volume is malformed' "verify by another member" instance volume verify --secret="$scratch/app.secret" --member=other "$work/weights.img"
ends 2 'Give --member=NAME' "verify by a bundle" instance volume verify --secret="$scratch/app.secret" "$work/weights.img"
ends 2 'is for --secret=' "a member of a file" "$unsealctl" volume verify --key-file="$scratch/key.json" --member=weights "$work/weights.img"
rm "$scratch/weights.secret"

say "== the same bytes as mkfs.erofs, veritysetup and another program's XTS"
# clear IMAGE KEY: decrypts an image with the library of Python
clear() {
    python3 - "$1" "$2" <<'END'
import base64, json, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
image, key = open(sys.argv[1], "rb").read(), base64.b64decode(json.load(open(sys.argv[2]))["key"])
for n in range(0, len(image), 4096):
    xts = Cipher(algorithms.AES(key), modes.XTS((n // 512).to_bytes(16, "little"))).decryptor()
    sys.stdout.buffer.write(xts.update(image[n : n + 4096]) + xts.finalize())
END
}
blocks=$(jq .data_blocks "$scratch/key.json")
clear "$work/weights.img" "$scratch/key.json" >"$scratch/clear"
mkfs.erofs --quiet --all-root -T0 -U00000000-0000-0000-0000-000000000000 -x-1 "$scratch/erofs" "$scratch/tree"
cmp -n $((blocks * 4096)) "$scratch/erofs" "$scratch/clear"
tail -c +$((blocks * 4096 + 1)) "$scratch/clear" >"$scratch/hashes"
veritysetup format --no-superblock --hash=sha256 --data-block-size=4096 --hash-block-size=4096 --salt="$(jq -r .salt "$scratch/key.json")" \
    "$scratch/erofs" "$scratch/hashes-by-veritysetup" >"$scratch/format"
cmp "$scratch/hashes" "$scratch/hashes-by-veritysetup"
assert_line "the root hash" "$scratch/format" "^Root hash:\s*$(jq -r .root_hash "$scratch/key.json")$"

say "== a second run: another key, the same file system"
mkdir "$scratch/tree2" "$work/second"
cp -r "$scratch/tree/weights" "$scratch/tree2/" && cp -p "$scratch/tree/canary" "$scratch/tree2/"
input=$scratch/tree2 create -o "$work/second/weights.img" >/dev/null
mv "$config/secrets.d/weights.secret" "$scratch/first.secret"
sed "s|$work|$work/second|" "$scratch/first.secret" >"$config/secrets.d/weights.secret"
instance unseal weights --reveal >"$scratch/second.json"
cmp -s "$scratch/key.json" "$scratch/second.json" && die "the same key twice"
assert_equal "blocks in common" "$(comm -12 <(xxd -c 16 -p "$work/weights.img" | sort -u) <(xxd -c 16 -p "$work/second/weights.img" | sort -u) | wc -l)" 0
clear "$work/second/weights.img" "$scratch/second.json" >"$scratch/clear2"
cmp -n $((blocks * 4096)) "$scratch/clear2" "$scratch/erofs"
ends 3 'which the root hash is of' "another volume's image" verify "$work/second/weights.img"

say "== the kernel opens it by the commands that show prints"
sed -n '/^unsealctl unseal/,$p' "$scratch/shown" |
    sed "s|unsealctl unseal --reveal weights|cat $scratch/key.json|; s|DEVICE|/dev/ubda|" >"$scratch/commands"
assert_line "the commands" "$scratch/commands" '^mount -o ro /dev/mapper/weights /mnt$'
(cd "$scratch/tree" && sha256sum canary weights/model) >"$scratch/sums"
# EBS makes a volume of whole GiB.
cp "$work/weights.img" "$scratch/disk" && truncate -s +1M "$scratch/disk"
uml_prepare cbc aes_generic ecb xts sha256_generic loop dm-mod dm-crypt dm-verity erofs
uml_boot "the volume" "$scratch/disk" <<END
. "$scratch/commands" && echo RESULT mounted
cd /mnt && sha256sum -c "$scratch/sums" && echo RESULT right
stat -c 'RESULT owner %u mode %a' /mnt/canary
# dm-crypt makes of the same clear bytes the same image.
truncate -s $(stat -c %s "$scratch/clear") /run/image && mknod /dev/loop0 b 7 0 && losetup /dev/loop0 /run/image
jq -r .key "$scratch/key.json" | base64 -d | cryptsetup open --type plain --cipher aes-xts-plain64 --hash plain --key-size 512 \
    --sector-size 4096 --key-file - /dev/loop0 made && cat "$scratch/clear" >/dev/mapper/made && cryptsetup close made
sync && cmp /run/image "$work/weights.img" && echo RESULT same
# unseald-volume opens what was made here.
cd / && umount /mnt && dmsetup remove_all
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /run/keys && cp "$scratch/key.json" /run/keys/weights
printf '[Volume]\nDevice=/dev/ubda\n' >/etc/unseald/volumes.d/weights.volume
CREDENTIALS_DIRECTORY=/run/keys "$install_root/usr/lib/unseald/unseald-volume" attach weights
mount -t erofs -o ro /dev/mapper/unseald-weights /mnt && cd /mnt && sha256sum -c "$scratch/sums" && echo RESULT opened
END
for line in mounted right same 'owner 0 mode 600' opened; do
    assert_line "the kernel" "$scratch/said" "^RESULT $line\$"
done

say "== verify names the first wrong block"
size=$(stat -c %s "$work/weights.img")
changed() { # BLOCK WHAT
    cp "$work/weights.img" "$scratch/changed"
    printf '\xff\x00\xff' | dd of="$scratch/changed" bs=1 seek=$(($1 * 4096 + 4093)) conv=notrunc status=none
    ends 3 "Block $1 of the image is wrong.*$2" "block $1, $2" verify "$scratch/changed"
}
changed 0 'in the file system'
changed $((blocks - 1)) 'in the file system'
changed "$blocks" 'which the root hash is of'
changed $((blocks + 1)) 'in the lowest level of the hash tree'
changed $((size / 4096 - 1)) 'in the lowest level of the hash tree'
head -c $((size - 1)) "$work/weights.img" >"$scratch/changed"
ends 4 "has $((size - 1)) bytes, and the volume weights has $size" "an image that is cut" verify "$scratch/changed"
ends 0 'are right' "an image that is longer" verify "$scratch/disk"
assert_line "what follows" "$scratch/said" '^1048576 bytes follow'
jq -c '.hash_start = 0' "$scratch/key.json" >"$scratch/wrong.json"
ends 62 'wrong "hash_start"' "a key that contradicts itself" "$unsealctl" volume verify --key-file="$scratch/wrong.json" "$work/weights.img"
ends 2 'Give one of them' "no key" "$unsealctl" volume verify "$work/weights.img"

say "== a file with a file system"
rm "$scratch/weights.volume"
input=$scratch/erofs create --write-files="$scratch" -o "$scratch/of-file.img"
assert_line "NAME.volume" "$scratch/weights.volume" '^Device=sdf$'
assert_line "NAME.secret" "$scratch/weights.secret" "^KeyId=$key$"
rm "$scratch/weights.sealed" "$scratch/weights.secret"
{ printf hsqs && head -c 5000 /dev/zero; } >"$scratch/squashfs"
openssl genpkey -algorithm ed25519 -out "$scratch/vendor.key"
input=$scratch/squashfs create --sign="$scratch/vendor.key" --secret-version=3 -o "$scratch/squashfs.img" >"$scratch/printed"
assert_line "the kind" "$scratch/printed" '^FileSystem=squashfs$'
assert_line "the signature" "$scratch/printed" '^MinVersion=3$'
[ -s "$scratch/weights.sealed.sig" ] || die "no signature"

say "== a place for the clear file system, and progress on a terminal"
mkdir "$scratch/large" && truncate -s 20M "$scratch/large/zeros"
rm "$scratch/weights.sealed" "$scratch/weights.sealed.sig"
input=$scratch/large
printf -v command '%q ' platform exec --as vendor -- "$unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --name=weights \
    --key="$key" --temporary="$scratch" -o "$scratch/large.img" "$input"
PATH=$top/tests/platform:$PATH script -qec "$command" /dev/null >"$scratch/typescript" </dev/null
assert_line "progress" "$scratch/typescript" '(16|17|18|19|20) of 20 MiB encrypted'
ends 1 'Cannot make a file without a name in .*--temporary=' "no such directory" create --force --temporary="$scratch/nowhere" -o "$scratch/large.img"
input=$scratch/tree
rm "$scratch/weights.sealed"

say "== mistakes, and nothing is left"
ends 3 'weights.img exists.*--force' "the image exists" create -o "$work/weights.img"
ends 3 'weights.sealed exists' "the sealed key exists" create -o "$work/other.img"
before=$(sha256sum <"$work/weights.img")
ends 60 'the key.s policy|not authorized' "who may not seal" platform exec --as customer -- "$unsealctl" volume create \
    --trusted-certificates="$PLATFORM_CA_FILE" --name=weights --key="$key" --force -o "$work/weights.img" "$input"
assert_equal "the old image stays" "$(sha256sum <"$work/weights.img")" "$before"
input=$work/weights.img ends 2 'is what the volume is to be made of' "the image as its own input" create --force -o "$work/weights.img"
input=$scratch/key.json ends 4 'is not a file system of EROFS or squashfs' "a file that is none" create -o "$scratch/x.img"
ends 4 'mkfs.erofs is not installed' "no mkfs.erofs" platform exec --as vendor -- env PATH=/nonexistent "$unsealctl" volume create \
    --trusted-certificates="$PLATFORM_CA_FILE" --name=weights --key="$key" -o "$scratch/x.img" "$input"
mkdir "$scratch/huge" && truncate -s 15T "$scratch/huge/hole"
input=$scratch/huge ends 5 'MiB of memory, and .* MiB are free.*--temporary' "too little memory" create -o "$scratch/x.img"
# Another run is done first. mkfs.erofs stands for it: it is the last thing that happens before the sealed key is written.
mkdir "$scratch/bin" "$scratch/other"
cat >"$scratch/bin/mkfs.erofs" <<END
#!/bin/sh
echo 'of another run' >"$scratch/other/weights.sealed" && echo 'of another run' >"$scratch/other/weights.img"
exec $(command -v mkfs.erofs) "\$@"
END
chmod +x "$scratch/bin/mkfs.erofs"
PATH=$scratch/bin:$PATH ends 3 'weights.img exists' "another run was done first" create -o "$scratch/other/weights.img"
assert_equal "the other run's files" "$(names_in "$scratch/other") $(sort -u "$scratch/other/"*)" 'weights.img weights.sealed of another run'
# strace refuses O_TMPFILE as FAT does: the image has a name from the first, and replaces nothing either.
mkdir "$scratch/fat"
on_fat() {
    PATH=${1:-$PATH} platform exec --as vendor -- strace -qq -o "$scratch/strace" -P "$scratch/fat/." -e trace=openat -e inject=openat:error=EOPNOTSUPP \
        "$unsealctl" volume create --trusted-certificates="$PLATFORM_CA_FILE" --name=weights --key="$key" -o "$scratch/fat/weights.img" "$input"
}
cat >"$scratch/bin/mkfs.erofs" <<END
#!/bin/sh
echo 'of another run' >"$scratch/fat/weights.img"
exec $(command -v mkfs.erofs) "\$@"
END
ends 3 'weights.img exists' "another run was done first, without O_TMPFILE" on_fat "$scratch/bin:$PATH"
assert_line "O_TMPFILE" "$scratch/strace" 'O_TMPFILE.*INJECTED'
assert_equal "the other run's file" "$(names_in "$scratch/fat") $(cat "$scratch/fat/weights.img")" 'weights.img of another run'
rm "$scratch/fat/weights.img"
on_fat >/dev/null
assert_equal "what is written without O_TMPFILE" "$(names_in "$scratch/fat")" 'weights.img weights.sealed'
ends 1 'Cannot write .*No such file' "a directory that is not there" create -o "$scratch/nowhere/x.img"
ends 2 'needs --key=, --name= and --output=' "no output" create
assert_equal "what is written" "$(names_in "$work")" "second weights.img weights.sealed"
create --force -o "$work/weights.img" >/dev/null
[ "$(sha256sum <"$work/weights.img")" != "$before" ] || die "--force has replaced nothing"
