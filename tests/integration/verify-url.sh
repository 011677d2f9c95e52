#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl verify --url= against every kind of service at that address: the real one, one that replays a document, one that
# lies, and one that is no attestation service. Then machines whose measurements differ from those expected.
. "$(dirname "$0")/lib.sh"
platform_start
unsealctl=$build/daemon/unsealctl
port=8642

cat >"$scratch/server.py" <<'END'
"""Answers by the first part of the path, which says how to lie."""
import http.server, os, ssl, subprocess, sys

port, certificate, unsealctl, tcti, kept = sys.argv[1:]

def attest(nonce):
    with open(kept + ".nonce", "wb") as f:
        f.write(nonce)
    return subprocess.run([unsealctl, "attest", "--device=" + tcti, "--nonce=" + f.name], stdout=subprocess.PIPE, check=True).stdout

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        way, _, query = self.path[1:].partition("/attestation?nonce=")
        status, headers, body = 200, {}, b""
        if way == "honest":
            body = attest(bytes.fromhex(query))
        elif way == "replay":
            if not os.path.exists(kept):
                with open(kept, "wb") as f:
                    f.write(attest(bytes.fromhex(query)))
            with open(kept, "rb") as f:
                body = f.read()
        elif way == "other":
            body = attest(b"another nonce of some length")
        elif way == "redirect":
            status, headers = 302, {"Location": f"http://127.0.0.1:{port}/honest/attestation?nonce={query}"}
        elif way == "huge":
            body = b"x" * 100000
        elif way == "text":
            body = b"Hello World\n"
        elif way.removesuffix("/attestation").isdigit():
            status = int(way.removesuffix("/attestation"))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
END

# In the platform's network namespace, where nothing else uses this port.
inside() { ip netns exec "$PLATFORM_NETNS" "$@"; }
server_pid=
serve() { # CERTIFICATE
    exec {server_fd}< <(exec ip netns exec "$PLATFORM_NETNS" /usr/bin/python3 "$scratch/server.py" "$port" "$1" "$unsealctl" \
        "$PLATFORM_TCTI" "$scratch/kept" 2>"$scratch/server.log")
    server_pid=$!
    read -r -t 20 -u "$server_fd" _ || die "no server: $(cat "$scratch/server.log")"
}
stop_serving() {
    kill "$server_pid" && wait "$server_pid" || true
    exec {server_fd}<&-
    server_pid=
}
# verify STATUS URL ARGUMENT...
verify() {
    local want=$1 url=$2 saw=0
    shift 2
    inside "$unsealctl" verify --root="$PLATFORM_NITRO_ROOT" --url="$url" "$@" >"$scratch/out" 2>&1 || saw=$?
    [ "$saw" = "$want" ] || die "verify $url $*: saw exit status $saw, wanted $want: $(head -n 3 "$scratch/out")"
}
http=http://127.0.0.1:$port

say "mistakes found before any request"
for url in 127.0.0.1 ftp://127.0.0.1 http:// http:///path "$http/?a=b" "$http/#a" http://user@host "http://a b" ''; do
    verify 2 "$url"
done
verify 2 "$http" document
verify 2 "$http" --at=document
verify 2 "$http" --nonce=hex:0011
verify 50 "$http"

say "an honest service"
platform extend 4 "the image"
serve ''
verify 0 "$http/honest"
assert_line "the nonce" "$scratch/out" '^  nonce +proved'
assert_line "the age" "$scratch/out" '^  age +proved'
verify 0 "$http/honest/"
verify 0 "$http/honest" --nonce=hex:00112233445566778899aabbccddeeff --max-age=1min
verify 0 "$http/honest" --json
first=$(jq -r .document.nonce "$scratch/out")
verify 0 "$http/honest" --json
[ "$first" != "$(jq -r .document.nonce "$scratch/out")" ] || die "the same nonce twice"
assert_match "the nonce" "$first" '^[0-9a-f]{64}$'
expected=$(jq '{Measurements: {PCR4: .document.pcrs["4"]}}' "$scratch/out")
printf '%s' "$expected" >"$scratch/good.json"
jq '.Measurements.PCR4 |= "1" + (if startswith("1") then "0" else .[1:2] end) + .[2:]' "$scratch/good.json" >"$scratch/bad.json"
verify 0 "$http/honest" --measurements="$scratch/good.json"
verify 18 "$http/honest" --measurements="$scratch/bad.json"
verify 17 "$http/honest" --public-key="$PLATFORM_CA_FILE"
inside "$unsealctl" verify --root="$PLATFORM_CA_FILE" --url="$http/honest" >"$scratch/out" 2>&1 && die "another root accepted" || saw=$?
assert_equal "another root" "$saw" 13

jq '.Measurements | {Measurements: {PCR12: "\("0" * 96)"}}' "$scratch/good.json" >"$scratch/no-image.json"
verify 1 "$http/honest" --measurements="$scratch/no-image.json"
assert_line "measurements of no image" "$scratch/out" 'no-image.json: The measurements have no PCR4'

say "several measurements are alternatives, in any order"
verify 0 "$http/honest" --measurements="$scratch/good.json" --measurements="$scratch/bad.json"
assert_line "the file that matches" "$scratch/out" '^  measurements +proved +all as expected by .*/good.json$'
verify 0 "$http/honest" --measurements="$scratch/bad.json" --measurements="$scratch/good.json"
verify 18 "$http/honest" --measurements="$scratch/bad.json" --measurements="$scratch/bad.json"
many=()
for ((i = 0; i < 17; i++)); do many+=(--measurements="$scratch/good.json"); done
verify 2 "$http/honest" "${many[@]}"

# differs PCR OPTION: KMS denies this boot by the policy that unsealctl makes of good.json, so verify refuses it; with the
# option the policy takes it, and so does verify.
differs() {
    verify 18 "$http/honest" --json --measurements="$scratch/good.json"
    assert_equal "the PCR that differs" "$(jq -c .differing_pcrs "$scratch/out")" "[$1]"
    verify 18 "$http/honest" --measurements="$scratch/bad.json" --measurements="$scratch/good.json"
    verify 0 "$http/honest" --measurements="$scratch/good.json" "$2"
    jq --arg value "$(pcr "$1")" ".Measurements.PCR$1 = \$value" "$scratch/good.json" >"$scratch/measured.json"
    verify 0 "$http/honest" --measurements="$scratch/measured.json"
    platform tpm-reset
    platform extend 4 "the image"
    verify 18 "$http/honest" --measurements="$scratch/measured.json"
    verify 0 "$http/honest" --measurements="$scratch/good.json"
}
say "firmware that has loaded a driver"
platform extend 2 driver
verify 0 "$http/honest"
assert_line "PCR2" "$scratch/out" '^  PCR2 differs from that of firmware without'
differs 2 --allow-drivers

say "a system extension from outside the image"
platform extend 13 extension
differs 13 --no-pcr13

say "a kernel command line from outside the image"
platform extend 12 "init=/bin/sh"
verify 18 "$http/honest" --measurements="$scratch/good.json" --allow-drivers --no-pcr13
platform tpm-reset
platform extend 4 "the image"

say "servers that are no honest service"
verify 0 "$http/replay"
verify 16 "$http/replay"
verify 16 "$http/other"
platform fault set tpm NSM_Request clock -600
verify 15 "$http/honest"
verify 0 "$http/honest" --max-age=20min
platform fault clear
verify 10 "$http/text"
verify 65 "$http/huge"
verify 65 "$http/redirect"
verify 65 "$http/404"
assert_line "what to check" "$scratch/out" '/404 did not answer with a document.*HTTP status 404\. Check that it is the address'
for end in '' /; do
    verify 65 "$http/404/attestation$end"
    assert_line "an address with the path" "$scratch/out" "HTTP status 404\. The path /attestation is appended .* Give --url=$http/404\.\$"
done
verify 53 "$http/429"
verify 53 "$http/503"
verify 50 "https://127.0.0.1:$port/honest"
assert_line "https:// for a service without TLS" "$scratch/out" 'Its answer is not TLS\. Check the port, and whether http:// is meant'
stop_serving

say "TLS is checked against the system's certificates"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$scratch/tls.pem" -out "$scratch/cert.pem" \
    -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null
cat "$scratch/cert.pem" >>"$scratch/tls.pem"
serve "$scratch/tls.pem"
verify 51 "https://127.0.0.1:$port/honest"
assert_line "what to set" "$scratch/out" "Check the system's certificates or SSL_CERT_FILE, "
SSL_CERT_FILE=$scratch/cert.pem verify 0 "https://127.0.0.1:$port/honest"
stop_serving
