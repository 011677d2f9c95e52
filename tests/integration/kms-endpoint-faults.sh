#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unseald-kms while KMS and the TPM fail: what the program gets, and that it never gets a plaintext of an untrustworthy answer, or
# what KMS says about the role's credentials. A new key pair while requests are under way, limits of a unit, and the hosts that
# Fips=, DualStack= and Proxy= name, and no others.
. "$(dirname "$0")/lib.sh"
platform_start
platform extend 4 'some image' >/dev/null
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
app=$(vendor_create_key)
jq -nc --arg pcr4 "$(pcr 4)" --arg pcr12 "$(pcr 12)" '{Measurements: {HashAlgorithm: "SHA384", PCR4: $pcr4, PCR12: $pcr12}}' >"$scratch/measurements"
"$build/daemon/unsealctl" policy --application --admin="$admin" --sealer="$admin" --principal="$PLATFORM_INSTANCE_ROLE_ARN" \
    --measurements="$scratch/measurements" >"$scratch/policy"
kms PutKeyPolicy "$(jq -nc --arg key "$app" --rawfile policy "$scratch/policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
jq -nc '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "kms:*", Resource: "*"}]}' >"$scratch/role"
platform role policy "${PLATFORM_INSTANCE_ROLE_ARN:13:12}" "$PLATFORM_INSTANCE_ROLE" "$scratch/role" >/dev/null
canary=canary-$(od -An -N12 -tx1 /dev/urandom | tr -d ' ')
sealed=$(kms Encrypt "$(jq -nc --arg key "$app" --arg text "$(printf %s "$canary" | base64 -w0)" '{KeyId: $key, Plaintext: $text}')" | jq -r .CiphertextBlob)

# Control groups as systemd makes them for units of these names.
unit=app-$$.service more=(edge-$$@1.service edge-$$@2.service) groups=/sys/fs/cgroup
[ ! -d $groups/unified ] || groups=$groups/unified
mkdir -p "$groups/unsealdtest-$$.slice"
at_exit remove_cgroup "$groups/unsealdtest-$$.slice"
for name in "$unit" "${more[@]}"; do mkdir "$groups/unsealdtest-$$.slice/$name"; done
mkdir "$scratch/config"
# configure [LINE...]: writes unseald.conf with these lines in [Kms] and, before a line "--", in [Unseald]
configure() {
    local lines=()
    while [ "${1---}" != -- ]; do lines+=("$1") && shift; done
    printf '%s\n' '[Unseald]' "TrustedCertificates=$PLATFORM_CA_FILE" "TpmDevice=$PLATFORM_TCTI" "${lines[@]}" \
        '[Kms]' "Keys=$app" "Units=$unit edge-$$@*.service" "${@:2}" >"$scratch/config/unseald.conf"
}
configure

# start [OPTION...]: starts the service anew, without a key pair, document and credentials. Its hosts are in $service_hosts; its environment
# is in $service_environment.
service='' service_hosts=$PLATFORM_HOSTS service_environment=()
start() {
    [ -z "$service" ] || end_process "$service"
    : >"$scratch/service"
    # shellcheck disable=SC2016 # The inner shell expands.
    "$top/tests/platform/platform" exec --as instance -- sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$service_hosts" \
        systemd-socket-activate -l 127.0.0.1:8643 "${service_environment[@]/#/--setenv=}" "$build/daemon/unseald-kms" \
        --vendor-configuration="$scratch/config" --configuration=/nonexistent "$@" >"$scratch/service" 2>&1 &
    service=$!
    while ! grep -q '^Listening on' "$scratch/service"; do
        kill -0 "$service" || die "the service does not listen: $(cat "$scratch/service")"
        sleep 0.05
    done
}
end() { [ -z "$service" ] || end_process "$service"; }
at_exit end
# ask: sends a Decrypt; sets $status, and $answer to the file with the answer
answer=$scratch/answer
ask() {
    # shellcheck disable=SC2016 # The inner shell expands.
    status=$(platform exec --as instance -- bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$groups/unsealdtest-$$.slice/$unit" \
        curl -sS --max-time 60 -o "$answer" -w '%{http_code}' -H 'Content-Type: application/x-amz-json-1.1' -H 'X-Amz-Target: TrentService.Decrypt' \
        --data-binary "$(jq -nc --arg key "$app" --arg blob "$sealed" '{KeyId: $key, CiphertextBlob: $blob}')" http://127.0.0.1:8643/)
}
opens() {
    ask
    [ "$status" = 200 ] || die "$1: $status $(cat "$answer"): $(tail -n 3 "$scratch/service")"
    assert_equal "$1" "$(jq -r '.Plaintext | @base64d' "$answer")" "$canary"
}
# gets WHAT STATUS TYPE REGEX: the program gets this error, and no plaintext
gets() {
    ask
    assert_equal "$1: status and type" "$status $(jq -r .__type "$answer")" "$2 $3"
    assert_match "$1" "$(jq -r '.message // .Message' "$answer")" "$4"
    assert_absent "$1: plaintext" "$canary" "$answer"
    assert_absent "$1: plaintext in base64" "$(printf %s "$canary" | base64 -w0)" "$answer"
}
fault() { platform fault set "$@" >/dev/null; }
clear_faults() { platform fault clear >/dev/null; }

start
opens "the control: nothing fails"

say "answers that are not to be trusted"
for row in 'plaintext|contains a plaintext' 'wrong-keyid|not in Keys=' 'tampered-cms content|does not open' 'tampered-cms recipient|another key pair' \
    'garbage|not a JSON object' 'empty|not a JSON object'; do
    # shellcheck disable=SC2086 # a fault and its argument
    fault kms Decrypt ${row%|*}
    gets "${row%|*}" 500 KMSInternalException "${row#*|}"
    clear_faults
done
opens "after them"

say "KMS's own errors are passed on"
fault kms Decrypt throttle
gets "throttled" 400 ThrottlingException .
clear_faults
fault kms Decrypt error DisabledException 'The key is disabled.'
gets "a disabled key" 400 DisabledException '^The key is disabled\.$'
clear_faults

say "what KMS says about the credentials is not for the program"
fault kms Decrypt error InvalidSignatureException 'The canonical request: x-amz-security-token:the-token'
gets "a wrong signature" 500 KMSInternalException "signature"
assert_no_line "the token in the answer" "$answer" 'the-token'
assert_no_line "the token in the journal" "$scratch/service" 'the-token'
clear_faults
fault kms Decrypt error SomeException 'The canonical request: x-amz-security-token:the-token'
gets "the control: another error has KMS's text" 400 SomeException 'the-token'
clear_faults

say "what a second attempt mends"
fault kms Decrypt expired-credentials --times 1
opens "expired credentials"
fault kms Decrypt error ValidationException 'The attestation document is too old.' --times 1
opens "a document that KMS refuses"
clear_faults
fault '*' '*' clock 3600
opens "a clock that is wrong by an hour"
clear_faults

say "no answer"
fault kms Decrypt reset
gets "KMS resets the connection" 503 DependencyTimeoutException '^unseald-kms: kms\.'
clear_faults
fault kms Decrypt http 503
ask
assert_equal "a load balancer's page" "$status" 503
clear_faults

say "before there is a document"
fault tpm NSM_Request code 257
start
gets "a TPM that fails" 500 KMSInternalException .
clear_faults
opens "as soon as it works again"
assert_absent "plaintext in the journal" "$canary" "$scratch/service"

# clients CASE...: runs cases of kms-endpoint.py, which enter the units of $more
clients() {
    jq -n --arg key "$app" --arg sealed "$sealed" --arg plaintext "$canary" --arg log "$scratch/service" --arg clock "$scratch/clock" \
        --arg platform "$top/tests/platform/platform" --argjson server "$(cat "$PLATFORM_STATE/server.pid")" '{key: $key, sealed: $sealed,
            plaintext: $plaintext, log: $log, clock: $clock, platform: $platform, platform_server: $server, units: $ARGS.positional}' \
        --args "${more[@]}" >"$scratch/facts"
    platform exec --as instance -- "$top/tests/integration/kms-endpoint.py" "$scratch/facts" "$@" >"$scratch/clients" 2>&1 || true
    cat "$scratch/clients"
    for name; do assert_line "clients" "$scratch/clients" "^$name: ok\$"; done
}

say "a key pair that is replaced while requests are under way"
# sd-event and unseald-kms see a clock that the test puts forward. libcurl sees the kernel's, so no request runs into its time-out.
cc -shared -fPIC -o "$scratch/clock.so" -x c - -ldl <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>

static const volatile int64_t *forward;

__attribute__((constructor)) static void begin(void) {
        int fd = open(getenv("TEST_CLOCK"), O_RDONLY | O_CLOEXEC);

        forward = mmap(NULL, sizeof(*forward), PROT_READ, MAP_SHARED, fd, 0);
        if (forward == MAP_FAILED)
                abort();
}

int clock_gettime(clockid_t clock, struct timespec *ret) {
        int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
        int r = real(clock, ret);
        Dl_info caller;

        if (clock == CLOCK_MONOTONIC && forward && dladdr(__builtin_return_address(0), &caller) && !strstr(caller.dli_fname, "libcurl"))
                ret->tv_sec += *forward;
        return r;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
        int (*real)(int, int, const struct itimerspec *, struct itimerspec *) = dlsym(RTLD_NEXT, "timerfd_settime");
        struct itimerspec kernels = *new;

        if (kernels.it_value.tv_sec > *forward)
                kernels.it_value.tv_sec -= *forward;
        return real(fd, flags, &kernels, old);
}
END
head -c 8 /dev/zero >"$scratch/clock"
configure -- RenewKeyPair=1min
service_environment=("LD_PRELOAD=$scratch/clock.so" "TEST_CLOCK=$scratch/clock")
start --idle=30d
clients renewal
service_environment=()

say "limits of one unit, while another one is served"
configure -- RequestsPerSecond=100000
start
clients all_under_way
configure -- RequestsPerSecond=1
start
clients limit_of_unit
configure

say "Fips=: the FIPS endpoint is asked, and no other"
# hide NAME...: the service cannot reach these hosts: there is no route to their address
service_hosts=$scratch/hosts
hide() {
    local name
    cp "$PLATFORM_HOSTS" "$service_hosts"
    for name; do
        sed -i -E "s/ ${name//./\\.}( |\$)/\1/" "$service_hosts"
        echo "198.51.100.99 $name" >>"$service_hosts"
    done
}
plain=kms.$region.amazonaws.com fips=kms-fips.$region.amazonaws.com dual=kms.$region.api.aws both=kms-fips.$region.api.aws
# asks_only NAME HIDDEN... -- LINE...: with these lines the service works while the other hosts are hidden, and fails while this one is
asks_only() {
    local name=$1 others=()
    shift
    while [ "$1" != -- ]; do others+=("$1") && shift; done
    shift
    configure "$@"
    hide "${others[@]}"
    start
    opens "$name"
    hide "$name"
    start
    gets "without $name" 503 DependencyTimeoutException "^unseald-kms: $name:"
}
asks_only "$plain" "$fips" "$dual" "$both" -- Fips=no
asks_only "$fips" "$plain" "$dual" "$both" -- Fips=yes
asks_only "$both" "$plain" "$fips" "$dual" -- Fips=yes DualStack=yes

say "Proxy=: the proxy is asked, and nothing else"
cat >"$scratch/proxy.py" <<'END'
"""A proxy for CONNECT. It prints its port, and for each request what it asks for and whether TLS asks for the same host."""
import socket, threading

def pump(source, sink):
    try:
        while data := source.read1(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(client):
    file = client.makefile("rb")
    method, target, _ = file.readline().decode().split()
    while file.readline().strip():
        pass
    if method != "CONNECT":
        return print(method, target, flush=True)
    host, port = target.rsplit(":", 1)
    server = socket.create_connection((host, int(port)))
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    # The first record of TLS (RFC 8446, 5.1) has the name (RFC 6066, 3).
    record = file.read(5)
    record += file.read(int.from_bytes(record[3:], "big"))
    print(method, target, "TLS for it" if host.encode() in record else "TLS for another host", flush=True)
    server.sendall(record)
    threading.Thread(target=pump, args=(server.makefile("rb"), client), daemon=True).start()
    pump(file, server)

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
END
"$top/tests/platform/platform" exec --as instance -- /usr/bin/python3 "$scratch/proxy.py" >"$scratch/proxy" &
proxy=$!
at_exit end_process "$proxy"
until [ -s "$scratch/proxy" ]; do
    kill -0 "$proxy" || die "the proxy does not start"
    sleep 0.05
done
port=$(head -n 1 "$scratch/proxy")
hide "$plain" "$fips" "$dual" "$both"
configure Fips=yes
start
gets "the control: no proxy, and no way to KMS" 503 DependencyTimeoutException "^unseald-kms: $fips:"
configure Fips=yes "Proxy=http://127.0.0.1:$port"
start
opens "through the proxy"
assert_equal "what the proxy was asked for" "$(tail -n +2 "$scratch/proxy" | sort -u)" "CONNECT $fips:443 TLS for it"
decrypts() { platform log | jq -c 'select(.eventName == "Decrypt")' | wc -l; }
before=$(decrypts)
end_process "$proxy"
service_hosts=$PLATFORM_HOSTS
start
gets "a proxy that is down" 503 DependencyTimeoutException 'Check Proxy='
assert_equal "requests that went round the proxy" "$(($(decrypts) - before))" 0
configure
start
opens "the control: the way round it is open"
[ "$(decrypts)" -gt "$before" ] || die "the log of KMS lacks the request of the control"

say "keys in two Regions: each request goes to the endpoint of its own key"
far_region=$PLATFORM_OTHER_REGION
near=$(kms CreateKey '{"MultiRegion": true}' | jq -r .KeyMetadata.Arn)
kms PutKeyPolicy "$(jq -nc --arg key "$near" --rawfile policy "$scratch/policy" '{KeyId: $key, PolicyName: "default", Policy: $policy}')" >/dev/null
kms ReplicateKey "$(jq -nc --arg key "$near" --arg to "$far_region" --rawfile policy "$scratch/policy" '{KeyId: $key, ReplicaRegion: $to, Policy: $policy}')" >/dev/null
far=${near/$region/$far_region}
sealed=$(kms Encrypt "$(jq -nc --arg key "$near" --arg text "$(printf %s "$canary" | base64 -w0)" '{KeyId: $key, Plaintext: $text}')" | jq -r .CiphertextBlob)
sed -i "s|^Keys=.*|Keys=$near $far|" "$scratch/config/unseald.conf"
start
regions() { platform log | jq -r 'select(.eventName == "Decrypt") | .awsRegion' | tail -n "$1" | tr '\n' ' '; }
for app in "$near" "$far" "$near"; do
    opens "with $app"
    assert_equal "the key of the answer" "$(jq -r .KeyId "$answer")" "$app"
done
assert_equal "the Regions that were asked" "$(regions 3)" "$region $far_region $region "
