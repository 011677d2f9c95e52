#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The credential socket under a real systemd: which unit gets which secret, which unit is refused and fails, and what happens to
# waiting units when unseald is killed, restarted, stopped or fails permanently. The steps run in the machine, in socket/steps.
# UNSEALD_TEST_KILLS= and UNSEALD_TEST_REQUESTS= are the numbers of kills and requests.
# usage: socket.sh [serving|failing|killed]...
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
key=$(vendor_create_key)
right=$(pcr 4) twelve=$(pcr 12)
vendor_put_policy "$key" "$right" "$twelve"
for name in db-password shared crew; do
    printf 'the %s' "$name" | vendor_seal "$key" "$name" "$scratch/$name"
done
hash_of() { printf 'the %s' "$1" | sha256sum | cut -d' ' -f1; }

# socket_layer STEPS
socket_layer() {
    layer_new
    layer_secret db-password "$key" "$scratch/db-password" '[Deliver]' 'Units=billing.service hooks.service' 'Store=no'
    layer_secret shared "$key" "$scratch/shared"
    layer_secret crew "$key" "$scratch/crew" '[Deliver]' 'Units=crew@*.service' 'Store=no'
    layer_secret absent "$key" "$scratch/shared" Optional=yes # sealed under another name
    install -m 755 "$top"/tests/integration/socket/{steps,got,ask.py} "$layer/usr/lib/machine/"
    printf '#!/bin/sh\nexec /usr/lib/machine/steps %s\n' "$1" >"$layer/usr/lib/machine/extra"
    chmod +x "$layer/usr/lib/machine/extra"
    # The unit has no dependency on unseald, so it asks before unseald starts.
    mkdir -p "$layer/usr/lib/systemd/system"/{sockets.target.wants,unseald.service.d,unseald.socket.d}
    ln -s ../unseald.socket "$layer/usr/lib/systemd/system/sockets.target.wants/unseald.socket"
    cat >"$layer/usr/lib/systemd/system/billing.service" <<END
[Service]
Type=oneshot
RemainAfterExit=yes
LoadCredential=db-password:/run/unseald/credentials.sock
ExecStart=/usr/lib/machine/report application
END
    sed 's/billing.service/one-1.service &/' "$top/tests/integration/machine/machine.target" >"$layer/usr/lib/systemd/system/machine.target"
    printf '%s\n' '[Service]' Type=oneshot RemainAfterExit=yes LoadCredential=shared:/run/unseald/credentials.sock \
        'ExecStartPre=/bin/mkdir -p /out/got' 'ExecStart=/usr/lib/machine/got %N shared' >"$layer/usr/lib/systemd/system/one-1.service"
    printf '%s\n' '[Socket]' Backlog=16 >"$layer/usr/lib/systemd/system/unseald.socket.d/short.conf"
}

# Carries out the machine's requests to change the platform.
serve_requests() { # OUT
    local request
    while sleep 0.1 && [ -d "$1" ]; do
        [ -e "$1/ask" ] || continue
        read -r -a request <"$1/ask"
        case ${request[0]} in
        allow) vendor_put_policy "$key" "$right" "$twelve" ;;
        *) platform "${request[@]}" ;;
        esac
        rm "$1/ask"
    done
}
socket_boot() { # OUT
    mkdir -p "$1"
    serve_requests "$1" &
    serving=$!
    at_exit end_process "$serving"
    machine_boot "$@"
    end_process "$serving"
    out=$1
}
assert_said() { assert_equal "$1" "$(sed -n "s/^$1: //p" "$out/said")" "$2"; }

test_serving() {
    socket_layer serving
    platform fault set imds '*' delay 300
    socket_boot "$scratch/serving"
    platform fault clear
    cat "$out/said"
    assert_equal "the application" "$(machine_show "$out" billing.service ActiveState)" active
    assert_equal "what it read" "$(cat "$out/application")" "$(hash_of db-password)"
    [ "$(cat "$out/billing-usec")" -lt "$(machine_show "$out" unseald.service ActiveEnterTimestampMonotonic)" ] ||
        die "the application was not there before the secret, so this has not shown that it waits"
    assert_no_line "what goes by the socket alone" "$out/store" db-password
    assert_said hooks 'success 0'
    assert_equal "a unit of five commands" "$(uniq -c "$out/got/hooks" | xargs)" "5 $(hash_of db-password)"
    for name in stranger unknown left; do
        assert_said "$name" 'exit-code 243'
        [ ! -e "$out/got/$name" ] || die "$name.service was started"
    done
    assert_said large 'success 0'
    for name in crew@1 'crew@a\x2db'; do
        assert_said "${name//\\/\\\\}" 'success 0'
        assert_equal "what $name got" "$(cat "$out/got/$name")" "$(hash_of crew)"
    done
    for name in crewx@1 crew-1 other@crew; do
        assert_said "$name" 'exit-code 243'
        [ ! -e "$out/got/$name" ] || die "$name.service was started"
        assert_line "a refusal" "$out/journal-steps" "Refused credential crew to $name.service, .*not in Units="
    done
    assert_said 'asked as the template' 'refused 1'
    assert_said 'asked as an instance, by games' 'refused 1'
    assert_said 'asked as an instance, by root' 'right 1'
    assert_line "a refusal" "$out/journal-steps" 'Refused credential db-password to stranger.service, .*not in Units='
    assert_line "a refusal" "$out/journal-steps" 'Refused credential no-such-secret to unknown.service, .*no secret of that name'
    assert_line "a refusal" "$out/journal-steps" 'Refused credential absent to left.service, .*could not be unsealed'
    assert_said forged 'PermissionError 1'
    assert_said 'forged, through an open door' 'refused 1'
    assert_said cryptsetup True
    assert_line "a refusal" "$out/journal-steps" 'Refused credential db-password to billing.service, asked for by user [1-9][0-9]*: only the service manager'
    assert_said beside 'success 0'
    assert_equal "units that were refused" "$(grep -c 'exit-code 243$' "$out/said")" 6
    assert_said many "$(for i in $(seq 100); do hash_of shared; done | sha256sum | cut -d' ' -f1) 100"
    for name in after-kill restart-1 restart-2 restart-3 one-104; do assert_said "$name" 'success 0'; done
    assert_said 'waiting over a kill' 'activating activating activating'
    assert_said 'after that' 'active active active'
    assert_said stopped inactive
    assert_said asked active
    assert_said 'stop the socket' active
    for file in "$out"/got/*; do
        case ${file##*/} in hooks) wanted=$(hash_of db-password) ;; crew@*) wanted=$(hash_of crew) ;; *) wanted=$(hash_of shared) ;; esac
        assert_equal "what ${file##*/} got" "$(sort -u "$file")" "$wanted"
    done
    for i in 110 111 112; do [ ! -e "$out/got/one-$i" ] || die "one-$i was started at shutdown, with $(cat "$out/got/one-$i")"; done
    cat "$out/security"
}

test_failing() {
    vendor_put_policy "$key" "$(printf '%096d' 0)" "$twelve"
    socket_layer failing
    socket_boot "$scratch/failing"
    cat "$out/said"
    assert_said 'at boot' 'failed failed failed'
    assert_said 'starts' 1
    assert_said one-2 'exit-code 243'
    assert_said 'starts after a late comer' 1
    assert_said mended 'active active'
    assert_said one-3 'success 0'
    assert_said 'wrong configuration' 'failed failed failed failed'
    assert_said 'how often it was read' 1
    assert_equal "who was started" "$(names_in "$out/got")" one-3
    vendor_put_policy "$key" "$right" "$twelve"
}

test_killed() {
    socket_layer killed
    echo "${UNSEALD_TEST_KILLS:-40}" >"$layer/usr/lib/machine/kills"
    echo "${UNSEALD_TEST_REQUESTS:-4000}" >"$layer/usr/lib/machine/soak"
    printf 'the shared' >"$layer/usr/share/wanted"
    rm "$layer/usr/lib/systemd/system/unseald.socket.d/short.conf"
    printf '%s\n' '[Service]' RestartSec=50ms >"$layer/usr/lib/systemd/system/unseald.service.d/quick.conf"
    MACHINE_TIMEOUT=$((600 + $(cat "$layer/usr/lib/machine/kills"))) socket_boot "$scratch/killed"
    say "under $(cat "$layer/usr/lib/machine/kills") kills:" "$(paste -sd, "$out/killed")"
    assert_no_line "a cut or wrong credential" "$out/killed" 'wrong|cut|refused'
    assert_line "right ones" "$out/killed" '^right [0-9]{3,}$'
    say "afterwards:" "$(cat "$out/soak-before" "$out/soak-after" | paste -sd,)"
    cat "$out/memory"
    assert_equal "the soak" "$(cat "$out/soak-before" "$out/soak-after" | cut -d' ' -f1 | uniq)" right
    rss() { sed -nE "$1s/.*RssAnon: ([0-9]+) kB.*/\1/p" "$out/memory"; }
    [ "$(rss 2)" -le $(($(rss 1) + 64)) ] || die "memory grew: $(cat "$out/memory")"
}

[ $# -gt 0 ] || set -- serving failing killed
for part; do
    say "$part"
    "test_$part"
done
for name in db-password shared crew; do
    assert_absent "the plaintext of $name" "the $name" "$scratch"/*/journal* "$scratch"/*/status.json "$scratch"/*/console "$platform_state"
done
