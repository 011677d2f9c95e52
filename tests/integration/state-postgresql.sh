#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL on a read-write volume whose power is cut at random moments: no transaction whose COMMIT had returned is lost. In a kernel of
# its own (user-mode Linux).
#
# Ending that kernel is no power cut: what it had written without a flush would survive in the memory of the test machine. So dm-log-writes
# lies under the volume and records all writes and flushes, and "committed-N" between them, each time a COMMIT has returned. A cut is a
# place in this record. The disk then has what a flush had made durable before it, and of all later writes some, and some in part. The next
# start of the volume has this disk. A cut may hit the opening of the volume and the recovery of the database, too.
#
# The control is PostgreSQL with fsync=off, which must lose something.
# $UNSEALD_TEST_SEED chooses the moments; the test prints it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/uml.sh"

seed=${UNSEALD_TEST_SEED:-$(od -An -tu4 -N 4 /dev/urandom | tr -d ' ')}
say "the seed is $seed"
versions=(/usr/lib/postgresql/*/bin)
programs=${versions[-1]}
[ -x "$programs/initdb" ] || die "PostgreSQL is not installed; tests/setup does that"
head -c 32 /dev/urandom >"$scratch/key"
truncate -s 1M "$scratch/none"

# The database is made here, because that takes long in user-mode Linux. Neither program runs as root.
chmod 711 "$scratch"
install -d -o nobody -m 700 "$scratch/database"
as_nobody() { (cd / && setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"); }
as_nobody "$programs/initdb" --pgdata="$scratch/database" --username=postgres --auth=trust --data-checksums --wal-segsize=1 --locale=C \
    --encoding=UTF8 --no-sync >"$scratch/initdb" 2>&1 || die "initdb: $(cat "$scratch/initdb")"
cat >>"$scratch/database/postgresql.conf" <<'END'
listen_addresses = ''
unix_socket_directories = '/run/socket'
dynamic_shared_memory_type = mmap
shared_buffers = 4MB
max_connections = 8
autovacuum = off
max_wal_size = 4MB
min_wal_size = 2MB
wal_recycle = on
jit = off
log_min_messages = warning
END
as_nobody "$programs/postgres" --single -D "$scratch/database" -c fsync=off postgres >"$scratch/single" 2>&1 <<'END'
CREATE EXTENSION amcheck
CREATE TABLE entries (number bigint PRIMARY KEY, client int NOT NULL, content text NOT NULL)
CREATE TABLE totals (client int PRIMARY KEY, total bigint NOT NULL)
INSERT INTO totals VALUES (0, 0), (1, 0)
END
assert_no_line "the database" "$scratch/single" 'ERROR|FATAL|PANIC'
du -sm "$scratch/database" | sed 's/\t.*/ MiB are in the database/'

# Two clients; each commits COUNT transactions. A number is recorded once its COMMIT has returned.
cat >"$scratch/clients.py" <<'END'
import fcntl, os, struct, subprocess, sys, threading

psql, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
control = os.open("/dev/mapper/control", os.O_RDWR)


def record(text):
    """Sends "mark" to dm-log-writes: DM_TARGET_MSG of <linux/dm-ioctl.h>."""
    message = struct.pack("<Q", 0) + f"mark {text}".encode() + b"\0"
    size = 312 + len(message)
    header = struct.pack("<3IIIIiIIIQ", 4, 0, 0, size, 312, 0, 0, 0, 0, 0, 0) + b"power".ljust(128, b"\0") + bytes(129 + 7)
    fcntl.ioctl(control, 0xC138FD0E, bytearray(header + message))


def run(client, numbers):
    shell = subprocess.Popen([psql, "-h", "/run/socket", "-U", "postgres", "-d", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for number in numbers:
        if number % 16 == 0:
            shell.stdin.write("CHECKPOINT;\n")
        shell.stdin.write(f"BEGIN; UPDATE totals SET total = total + {number} WHERE client = {client}; "
                          f"INSERT INTO entries SELECT {number}, {client}, string_agg(md5(random()::text), '') FROM generate_series(1, 20); "
                          f"COMMIT;\nSELECT {number};\n")
        shell.stdin.flush()
        if shell.stdout.readline() != f"{number}\n":
            print(f"RESULT client {client} has no answer at {number}", flush=True)
            return
        record(f"committed-{number}")
    shell.stdin.close()
    print(f"RESULT client {client} ends with status {shell.wait()}", flush=True)


threads = [threading.Thread(target=run, args=(client, range(first + client, first + 2 * count, 2))) for client in (0, 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
record("end")
END

# cut.py RECORD DISK SEED WHERE: makes the disk of a power cut at a random place of the record of dm-log-writes
# (drivers/md/dm-log-writes.c): "anywhere"; "at work", after the first commit; or at the "end". Appends the numbers that were recorded before it to /run/committed. The disk is as before the record began.
cat >"$scratch/cut.py" <<'END'
import random, struct, sys

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
record, disk, chance = open(sys.argv[1], "rb"), open(sys.argv[2], "r+b"), random.Random(sys.argv[3])
magic, version, count, sector_size = struct.unpack("<QQQI", record.read(28))
assert (magic, version, sector_size) == (0x6A736677736872, 1, 512), "this is no record of dm-log-writes"
entries, at = [], sector_size
for _ in range(count):
    record.seek(at)
    header = record.read(sector_size)
    sector, sectors, flags, length = struct.unpack("<QQQQ", header[:32])
    text = header[32:32 + length].decode() if flags & MARK else ""
    data = 0 if flags & (MARK | DISCARD) else sectors
    entries.append((sector, data, flags, at + sector_size, text))
    at += sector_size * (1 + data)
end = next(i for i, entry in enumerate(entries) if entry[4] == "end")
first = next((i for i, entry in enumerate(entries) if entry[4]), end)
place = {"end": end, "anywhere": chance.randrange(1, end + 1), "at work": chance.randrange(min(first + 1, end), end + 1)}[sys.argv[4]]
durable = max((i for i, entry in enumerate(entries[:place]) if entry[2] & FLUSH), default=-1)
lost = torn = 0
# The write at the place itself is under way.
for i, (sector, sectors, flags, data, text) in enumerate(entries[:place + 1]):
    if not sectors:
        continue
    if i > durable and not (flags & FUA and i < place):
        whole = sectors
        sectors = chance.choice((0, sectors, chance.randrange(sectors)))
        lost, torn = lost + (sectors == 0), torn + (0 < sectors < whole)
    record.seek(data)
    disk.seek(sector * 512)
    disk.write(record.read(sectors * 512))
numbers = [entry[4].split("-")[1] for entry in entries[:place] if entry[4]]
with open("/run/committed", "a") as file:
    file.writelines(f"{number}\n" for number in numbers)
print(f"CUT at {place} of {end} entries: {len(numbers)} commits of {sum(e[4] != '' for e in entries[:end])} had returned, "
      f"{lost} writes are lost, and {torn} in part")
END

cat >"$scratch/program-cuts" <<END
volume=$install_root/usr/lib/unseald/unseald-volume
scratch=$scratch programs=$programs seed=$seed cuts=5
END
cat >>"$scratch/program-cuts" <<'CUTS'
mount -t devtmpfs dev /dev
mkdir -p /etc/unseald/volumes.d /mnt/at /run/keys /dev/shm
install -d -o 65534 -m 700 /run/socket
printf '%s\n' root:x:0:0::/:/bin/sh nobody:x:65534:65534::/:/bin/sh >/etc/passwd
cp "$scratch/key" /run/keys/state
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
ask() { "$programs/psql" -h /run/socket -U postgres -d postgres -qAtX "$@"; }
attach() { # DEVICE
    printf '%s\n' '[Volume]' "Device=$1" DeviceTimeoutSec=0 Mode=state Initialize=blank >/etc/unseald/volumes.d/state.volume
    CREDENTIALS_DIRECTORY=/run/keys $volume attach state >/run/attached 2>&1 && mount -t ext4 /dev/mapper/unseald-state /mnt/at ||
        { echo "RESULT the volume does not open"; cat /run/attached; return 1; }
}
detach() { umount /mnt/at && $volume detach state || echo "RESULT the volume does not close"; }
# PostgreSQL refuses to start beside an empty postmaster.pid, which a cut in the middle of a start may leave. Debian's pg_ctlcluster removes
# one that is left, too.
begin() { # OPTIONS
    rm -f /mnt/at/database/postmaster.pid
    as_nobody "$programs/pg_ctl" start -D /mnt/at/database -w -t 600 -l /run/server.log -o "$*" >/run/started 2>&1 ||
        { cat /run/started /run/server.log; return 1; }
}
# pg_ctl waits until postmaster.pid is gone, and the processes end after that.
finish() {
    as_nobody "$programs/pg_ctl" stop -D /mnt/at/database -w -t 600 -m "$1" >/dev/null || echo "RESULT the database does not end"
    while pgrep -U 65534 >/dev/null; do sleep 0.05; done
}
# Everything that was committed is there, in all its parts, and the indexes agree with the tables.
judge() {
    ask -c 'SELECT number FROM entries' >/run/found || { echo "the table cannot be read"; return; }
    sort /run/committed | uniq >/run/wanted
    sort /run/found | comm -23 /run/wanted - >/run/missing
    [ ! -s /run/missing ] || { echo "$(wc -l </run/missing) of $(wc -l </run/wanted) commits are lost"; return; }
    [ "$(ask -c 'SELECT count(*) FROM totals t WHERE total <> (SELECT coalesce(sum(number), 0) FROM entries e WHERE e.client = t.client)')" = 0 ] ||
        { echo "a transaction is there in part"; return; }
    [ -z "$(ask -c "SELECT verify_heapam('entries')" -c "SELECT verify_heapam('totals')" 2>&1)" ] &&
        [ -z "$(ask -c "SELECT bt_index_parent_check(c.oid, true) FROM pg_class c WHERE relname IN ('entries_pkey', 'totals_pkey')" 2>&1)" ] ||
        { echo "amcheck finds something"; return; }
    echo "nothing is lost"
}
# recorded NUMBER WHERE [OPTION]: opens the volume, judges the database, and has it store something, until the power is cut
recorded() {
    local said
    cp /run/disk /run/before
    truncate -s 0 /run/record; truncate -s 160M /run/record
    disk=$(losetup -f --show /run/disk) record=$(losetup -f --show /run/record)
    dmsetup create power --table "0 $(blockdev --getsz "$disk") log-writes $disk $record"
    attach /dev/mapper/power || return
    begin "${@:3}" || echo "RESULT the database does not start"
    said=$(judge)
    echo "RESULT start $1: $said"
    python3 "$scratch/clients.py" "$programs/psql" $((1000 * $1)) 24
    finish immediate; detach
    dmsetup remove power; losetup -d "$disk"; losetup -d "$record"
    mv /run/before /run/disk
    python3 "$scratch/cut.py" /run/record /run/disk "$seed-$1" "$2"
}

truncate -s 80M /run/disk
: >/run/committed
disk=$(losetup -f --show /run/disk)
attach "$disk"; cp -a "$scratch/database" /mnt/at/; detach; losetup -d "$disk"
for ((i = 1; i <= cuts; i++)); do recorded $i "$( ((i % 2)) && echo "at work" || echo anywhere)"; done

# What the last cut has left is judged whole, by the programs of PostgreSQL.
disk=$(losetup -f --show /run/disk)
attach "$disk" && begin
echo "RESULT the last start: $(judge)"
"$programs/pg_amcheck" -h /run/socket -U postgres -d postgres --heapallindexed >/run/said 2>&1; echo "RESULT pg_amcheck: $? $(head -n 3 /run/said)"
finish fast
as_nobody "$programs/pg_checksums" --check -D /mnt/at/database >/run/said 2>&1; echo "RESULT pg_checksums: $? $(sed -n 's/^Bad checksums: *//p' /run/said) bad"
detach; losetup -d "$disk"
echo "COMMITTED $(wc -l </run/committed)"

# The control. Its WAL may be torn, so that it does not even start.
recorded 9 end -c fsync=off
disk=$(losetup -f --show /run/disk)
attach "$disk"
if begin >/run/control 2>&1; then echo "CONTROL $(judge)"; finish immediate; else echo "CONTROL the database does not start"; fi
detach
CUTS

uml_prepare cbc aes_generic xts sha256_generic hmac authenc loop dm-mod dm-log-writes dm-crypt dm-integrity
UML_MEMORY=768M uml_boot postgresql "$scratch/none" <"$scratch/program-cuts"
said=$scratch/said
grep -aE '^(CUT|COMMITTED|CONTROL)' "$said" || true
cat >"$scratch/wanted" <<'END'
RESULT start 1: nothing is lost
RESULT start 2: nothing is lost
RESULT start 3: nothing is lost
RESULT start 4: nothing is lost
RESULT start 5: nothing is lost
RESULT the last start: nothing is lost
RESULT pg_amcheck: 0 
RESULT pg_checksums: 0 0 bad
RESULT start 9: nothing is lost
RESULT end
END
# Two clients do not end in the same order each time.
grep -a ^RESULT "$said" | grep -av 'client [01] ends with status 0' >"$scratch/seen" || true
assert_equal "what differs from what is wanted, of the seed $seed: $(grep -avE '^(RESULT|CUT)' "$said" | tail -n 20)" \
    "$(diff "$scratch/wanted" "$scratch/seen" || true)" ''
assert_equal "power cuts, with two clients that have committed all" "$(grep -ac '^CUT.* of 48 had returned' "$said")" 6
assert_equal "clients" "$(grep -ac 'client [01] ends with status 0' "$said")" 12
assert_match "commits before the cuts" "$(grep -a ^COMMITTED "$said")" '^COMMITTED ([3-9]|[0-9]{2,})$'
assert_match "the control, with fsync=off" "$(grep -a ^CONTROL "$said")" '^CONTROL ([0-9]+ of [0-9]+ commits are lost|the database does not start|the table cannot be read)$'
