#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The time source of the appliance of kiwi/, with its settings, systemd-networkd and systemd-timesyncd in a throw-away machine. A server at
# EC2's address does not answer the first two requests. It is asked again within the time that kiwi/README says, and its answer is taken.
# The server that DHCP names is not asked. The machine may not set the clock, which is that of this host. It takes three minutes.
. "$(dirname "$0")/lib.sh"
platform_start
layer_new
root=$top/kiwi/root/usr/lib/systemd
install -D -m 644 -t "$layer/usr/lib/systemd/network" "$root/network/80-appliance.network"
install -D -m 644 -t "$layer/usr/lib/systemd/timesyncd.conf.d" "$root/timesyncd.conf.d/appliance.conf"
# systemd-timesyncd starts neither in a container nor without the right to set the clock.
mkdir "$layer/usr/lib/systemd/system/systemd-timesyncd.service.d"
printf '%s\n' '[Unit]' ConditionVirtualization= ConditionCapability= '[Service]' AmbientCapabilities= CapabilityBoundingSet= \
    Environment=SYSTEMD_LOG_LEVEL=debug >"$layer/usr/lib/systemd/system/systemd-timesyncd.service.d/test.conf"
cat >"$layer/usr/lib/systemd/system/machine.target" <<'END'
[Unit]
Requires=basic.target
Wants=systemd-networkd.service systemd-timesyncd.service report.service
After=basic.target
END
cat >"$layer/usr/lib/machine/extra" <<'END'
#!/bin/sh
contacted() { journalctl -q -u systemd-timesyncd -o cat | grep '^Contacted time server' >/out/contacted; }
looks=0
until contacted; do
    [ $((looks += 1)) -lt 2000 ] || { echo 'no time server has answered' >/out/never && break; }
    sleep 0.2
done
cat /run/systemd/netif/leases/* >/out/leases
bash -c 'echo control >/dev/udp/198.51.100.123/123' # the other server can be reached
journalctl --sync
journalctl -q -u systemd-timesyncd -u systemd-networkd -o short-monotonic --no-hostname >/out/journal-time
END
chmod +x "$layer/usr/lib/machine/extra"

# Notes when it is asked, and answers from the third request on. The monotonic clock is that of the machine's journal, too.
cat >"$scratch/ntp.py" <<'END'
import socket, struct, sys, time

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 123))
print("listening", flush=True)
asked = 0
while True:
    request, client = server.recvfrom(1000)
    asked += 1
    print(f"asked {time.monotonic():.3f}", flush=True)
    if asked > 2:
        # RFC 5905, figure 8: version 4, mode 4 (server), stratum 1.
        now = struct.pack(">II", int(time.time()) + 2208988800, 0)
        server.sendto(struct.pack(">BBbbII4s", 0x24, 1, 4, -20, 0, 0, b"TEST") + now + request[40:48] + now + now, client)
END
for address in 169.254.169.123 198.51.100.123; do ip -n "$PLATFORM_NETNS" address add "$address/32" dev lo; done
serve() { # ADDRESS FILE
    ip netns exec "$PLATFORM_NETNS" /usr/bin/python3 "$scratch/ntp.py" "$1" >"$2" 2>&1 &
    at_exit end_process $!
    until grep -qs listening "$2"; do
        kill -0 $! || die "no time server: $(cat "$2")"
        sleep 0.05
    done
}
serve 169.254.169.123 "$scratch/asked"
serve 198.51.100.123 "$scratch/other"
platform machine-netns create
ip netns exec "$PLATFORM_NETNS" dnsmasq --conf-file=/dev/null --pid-file="$scratch/dnsmasq.pid" --user=root --interface=machine --bind-interfaces \
    --except-interface=lo --port=0 --keep-in-foreground --dhcp-range=10.0.0.50,10.0.0.99,1h --dhcp-leasefile="$scratch/leases" \
    --dhcp-option-force=option:ntp-server,198.51.100.123 --log-facility="$scratch/dnsmasq" &
at_exit end_process $!

out=$scratch/out
MACHINE_NETNS=$PLATFORM_MACHINE_NETNS machine_boot "$out" --capability=CAP_NET_ADMIN
sed -n 's/^asked //p' "$scratch/asked" >"$scratch/times"
say "requests, in seconds after the first one: $(awk 'NR == 1 { first = $1 } { printf "%.1f ", $1 - first }' "$scratch/times")"
assert_line "the answer is taken" "$out/contacted" '^Contacted time server 169\.254\.169\.123'
assert_equal "requests" "$(wc -l <"$scratch/times")" 3
# With the default of PollIntervalMaxSec=, the second pause would have 138 s.
awk 'NR > 1 && $1 - last > 120 { late = 1 } { last = $1 } END { exit late }' "$scratch/times" || die "a pause between two requests is too long"
assert_line "the control: DHCP has named another server" "$out/leases" '^NTP=198\.51\.100\.123$'
for ((i = 0; i < 200; i++)); do
    ! grep -q asked "$scratch/other" || break
    sleep 0.05
done
assert_equal "what that server saw, which the control has asked once" "$(sed 's/ .*//' "$scratch/other" | xargs)" 'listening asked'
