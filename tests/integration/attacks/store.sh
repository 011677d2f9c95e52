#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rule 7 of unseald-threat-model(7), for the place where secrets lie: a disk in the place of the store, real swap beneath a tmpfs
# and beneath unseald's own memory, files planted in the store. Most of this needs root on the instance, so these rows try the
# vendor's mistakes rather than attacks.
. "$(dirname "$0")/direct.sh"
direct_start
table_begin 'on the store and on memory'
configure
# A value that occurs nowhere else, so that a search of a disk finds only copies of it.
od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$secret"
vendor_seal "$key" db-password "$scratch/sealed" <"$secret"
declare_secret db-password "$key" "$scratch/sealed"
mkdir "$scratch/disk"
# The script may end before it mounts the disk or uses the swap file, or after it has unmounted and released them.
release_disk_and_swap() {
    umount --lazy "$scratch/disk" 2>/dev/null
    swapoff "$scratch/swap" 2>/dev/null
    return 0
}
at_exit release_disk_and_swap

# on_disk FILE VALUE: prints how often the content of the file VALUE is on this disk, after Linux has written everything to it
on_disk() {
    sync -f "$1"
    dd if="$1" iflag=direct bs=1M status=none | grep -cobaF -- "$(<"$2")" || true
}

# A disk in the place of the store.
truncate -s 16M "$scratch/image"
mkfs.ext4 -q "$scratch/image"
if mount -o loop "$scratch/image" "$scratch/disk"; then
    chmod 0711 "$scratch/disk"
    mount --bind "$scratch/disk" "$store"
    attack 7 'a disk (ext4) is mounted over the store' 'ends 11' "$store" lost+found
    umount "$store"

    # Between unseald's check of the store and its first write.
    configure DeadlineSec=5min
    platform fault set kms Decrypt delay 13000 --times 1
    (
        until [ "$(platform fault list | cut -f5)" = 1 ]; do sleep 0.1; done # until KMS has the request
        mount --bind "$scratch/disk" "$store"
    ) &
    over=$!
    at_exit end_process "$over"
    on_ready() {
        wait "$over"
        ls -A "$store" >"$scratch/over"
        umount "$store"
        cp "$store/db-password" "$scratch/unsealed"
    }
    attack 7 '… between the look at it and the publishing' unharmed published
    expect 'what is on the disk over the store' "$(cat "$scratch/over")" 'lost+found'
    configure
    on_ready() { cp "$store/db-password" "$scratch/unsealed"; }
    cp "$secret" "$scratch/disk/control"
    sync "$scratch/disk/control"
    expect 'a secret that is put on this disk is found there' "$([ "$(on_disk "$scratch/image" "$secret")" -gt 0 ] && echo yes)" yes
    umount "$scratch/disk"
else
    say "SKIP: no loop device, so no disk is mounted over the store (it takes root outside of a container, and CONFIG_BLK_DEV_LOOP)"
fi

# Files planted in the store.
ln -s "$scratch/stolen" "$store/db-password"
attack 7 'a symbolic link to a disk under the name of the secret' unharmed published
expect 'where the link led to' "$([ ! -e "$scratch/stolen" ] || echo there)" ''
mkfifo "$store/db-password"
attack 7 'a pipe under the name of the secret, which somebody might read' unharmed published
mkdir "$store/db-password"
attack 7 'a directory under the name of the secret' 'ends 11' 'Is a directory' db-password
rmdir "$store/db-password"
: >"$store/db-password"
: >"$scratch/stolen"
mount --bind "$scratch/stolen" "$store/db-password"
attack 7 'a file on a disk is mounted over the file of the secret' 'ends 11' 'Device or resource busy' db-password
expect 'what is in that file' "$(cat "$scratch/stolen")" ''
umount "$store/db-password"
rm "$store/db-password"
memory=$store store=$scratch/link
ln -s "$memory" "$store"
attack 7 'the store is a symbolic link' 'ends 11' 'not a symbolic link'
store=$memory
chmod 0777 "$store"
attack 7 'a store that anybody may write to' 'ends 11' 'mode'
chmod 0711 "$store"

# Real swap. A tmpfs can be swapped; ramfs, a tmpfs with noswap, and locked memory cannot. The kernel writes pages to the swap area
# with the highest priority, which must be the one that is searched: also beside the machine's own, and another run of this test waits.
swap=$scratch/swap
exec 8</proc/swaps
flock --timeout 600 8 || die 'another run of this test has held /proc/swaps for ten minutes'
dd if=/dev/zero of="$swap" bs=1M count=32 status=none
chmod 0600 "$swap"
mkswap "$swap" >/dev/null 2>&1
pageout() { /usr/bin/python3 "$top/tests/integration/attacks/pageout.py" "$@"; }
# swapped LABEL WANTED FILE CONTROL: a row that tries to swap out a file. CONTROL is a file on a plain tmpfs. The kernel may pass over a
# page and writes in the background, so the attack goes on until the content of CONTROL is in swap. Only then does "no" mean anything.
swapped() {
    local begun=$EPOCHREALTIME saw=no attempts=0
    until pageout file "$3" "$4" && [ "$(on_disk "$swap" "$4")" -gt 0 ]; do
        [ $((++attempts)) -lt 300 ] || die "$1: the kernel swaps out no page of a plain tmpfs to $swap. Swap areas: $(</proc/swaps)"
        sleep 0.1
    done
    [ "$(on_disk "$swap" "$secret")" = 0 ] || saw=yes
    row 7 "$1" "in swap: $saw" "in swap: $2" - . "$(seconds_since "$begun")"
}
# huge_kilobytes FILE: prints how much of a file on a tmpfs is in huge pages. A whole huge page is mapped as one.
huge_kilobytes() {
    /usr/bin/python3 - "$1" <<'END'
import mmap, re, sys

with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at]
    maps = open("/proc/self/smaps").read()
    print(re.search(rf"{re.escape(sys.argv[1])}\n.*?ShmemPmdMapped: *([0-9]+) kB", maps, re.S)[1])
END
}
if swapon --priority=32767 "$swap"; then
    mkdir "$scratch/plain"
    mount -t tmpfs tmpfs "$scratch/plain"

    # pageable PID: prints how many of its mappings can be swapped. For locked memory the kernel returns EINVAL.
    pageable() {
        local mappings
        mapfile -t mappings < <(awk '$2 ~ /^rw/ && $6 !~ /^\[v/ { print $1 }' "/proc/$1/maps")
        pageout process "$1" "${mappings[@]}" >"$scratch/paged-out"
        echo $((${#mappings[@]} - $(grep -c 'Invalid argument' "$scratch/paged-out")))
    }
    sleep 60 &
    at_exit end_process $!
    expect "that a program's memory may be swapped" "$([ "$(pageable $!)" -gt 0 ] && echo yes)" yes
    end_process $!

    memory=$store store=$scratch/tmpfs
    mkdir "$store"
    mount -t tmpfs -o mode=0711 tmpfs "$store"
    attack 7 'the store is a tmpfs, and swap is on' 'ends 11' 'noswap'
    umount "$store"
    store=$memory
    on_ready() {
        cp "$store/db-password" "$scratch/unsealed"
        # A new value each time, since what was in swap stays there.
        od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$scratch/plain/control"
        swapped "with swap on: the secret in the store on $(findmnt -n -o FSTYPE "$store" | tail -n 1)" no "$store/db-password" \
            "$scratch/plain/control"
        expect "mappings of unseald's memory that may be swapped" "$(pageable "$unseald_pid")" 0
        expect "what of unseald's memory is in swap" "$(awk '/^VmSwap/ { print $2 }' "/proc/$unseald_pid/status")" 0
    }
    attack 7 "unseald's own memory, with swap on" unharmed published
    if mount -t tmpfs -o mode=0711,noswap tmpfs "$store"; then
        attack 7 '… and with a store on tmpfs with noswap' unharmed published
        umount "$store"
        # unseald-generator adds the option where the kernel has it. A small secret takes a small page there, a large one huge pages.
        if mount -t tmpfs -o mode=0711,noswap,huge=within_size tmpfs "$store"; then
            attack 7 '… and where large secrets take huge pages' unharmed published
            truncate -s 4M "$store/large"
            { yes "$(<"$secret")" || true; } | head -c 4M | dd of="$store/large" bs=1M iflag=fullblock conv=notrunc status=none
            expect "whether there is a large secret" "$(grep -cqF -- "$(<"$secret")" "$store/large" && stat -c %b "$store/large")" 8192
            # What the unseald before had as the control is in swap already.
            od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$scratch/plain/control"
            if [ "$(huge_kilobytes "$store/large")" -gt 0 ]; then
                swapped 'with swap on: a large secret in huge pages' no "$store/large" "$scratch/plain/control"
            else
                say 'SKIP: a large secret in huge pages: the kernel has given none'
            fi
            umount "$store"
        else
            say 'SKIP: no tmpfs with huge pages here'
        fi
    else
        say 'SKIP: no tmpfs with noswap here; it takes Linux 6.4'
    fi
    # This row is the last one, because the secret stays in swap.
    cp "$secret" "$scratch/plain/secret"
    swapped '(a plain tmpfs, which unseald refuses)' yes "$scratch/plain/secret" "$scratch/plain/secret"
    umount "$scratch/plain"
else
    say "SKIP: swap cannot be switched on here (it takes root outside of a container); test-store's pure functions decide the same"
fi

table_end
