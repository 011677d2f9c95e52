#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl verify --url=https://… --tls: the key of the connection must be the document's. Against the attested server itself, and against
# a machine in the middle that passes documents on and has a key of its own. The control shows that the attack works without --tls.
. "$(dirname "$0")/lib.sh"
platform_start
unsealctl=$build/daemon/unsealctl

cat >"$scratch/server.py" <<'END'
"""A web server. usage: server.py CERTIFICATE UNSEALCTL TCTI KEY | server.py CERTIFICATE --forward PORT
Makes documents with the public key of the file KEY, or "none", or passes requests on. Prints its port."""
import http.client, http.server, ssl, subprocess, sys

def attest(nonce):
    unsealctl, tcti, key = sys.argv[2:]
    with open(sys.argv[1] + ".nonce", "wb") as f:
        f.write(nonce)
    command = [unsealctl, "attest", "--device=" + tcti, "--nonce=" + f.name] + (["--public-key=" + key] if key != "none" else [])
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

def forward(path):
    connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[3]), context=ssl._create_unverified_context())
    connection.request("GET", path)
    return connection.getresponse().read()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = forward(self.path) if sys.argv[2] == "--forward" else attest(bytes.fromhex(self.path.partition("?nonce=")[2]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
END
inside() { ip netns exec "$PLATFORM_NETNS" "$@"; }
# serve CERTIFICATE ARGUMENT...: starts a server, and sets $port
serve() {
    local fd
    exec {fd}< <(exec ip netns exec "$PLATFORM_NETNS" /usr/bin/python3 "$scratch/server.py" "$@" 2>"$scratch/server.log")
    at_exit end_process "$!"
    read -r -t 60 -u "$fd" port || die "no server: $(cat "$scratch/server.log")"
}
# new_certificate NAME OPTION...: makes NAME.pem with key and certificate, and NAME.crt
new_certificate() {
    local name=$1
    shift
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$scratch/$name.pem" -out "$scratch/$name.crt" "$@" 2>/dev/null
    openssl pkey -in "$scratch/$name.pem" -pubout -outform DER -out "$scratch/$name.der"
    cat "$scratch/$name.crt" >>"$scratch/$name.pem"
}
# verify STATUS ARGUMENT...
verify() {
    local want=$1 saw=0
    shift
    inside "$unsealctl" verify --root="$PLATFORM_NITRO_ROOT" "$@" >"$scratch/out" 2>&1 || saw=$?
    [ "$saw" = "$want" ] || die "verify $*: saw exit status $saw, wanted $want: $(head -n 5 "$scratch/out"; tail -n 3 "$scratch/server.log")"
}

say "mistakes found before any request"
verify 2 --tls document
verify 2 --tls --url=http://127.0.0.1:1
assert_line "an address without TLS" "$scratch/out" '--tls needs an address with https://'
verify 2 --tls --url=https://127.0.0.1:1 --public-key="$PLATFORM_CA_FILE"
verify 50 --tls --url=https://127.0.0.1:1

say "the attested server, whose certificate is of another host and of no authority"
platform extend 4 "the image"
new_certificate own -subj /CN=another.host -days 1
serve "$scratch/own.pem" "$unsealctl" "$PLATFORM_TCTI" "$scratch/own.der"
own=https://127.0.0.1:$port
verify 0 --url="$own" --tls
assert_line "the key" "$scratch/out" '^  public-key +proved +the key of this TLS connection'
assert_line "the nonce" "$scratch/out" '^  nonce +proved'
verify 0 --url="$own" --tls --json
assert_equal "the key, in JSON" "$(jq -r '.checks["public-key"], .document.public_key' "$scratch/out")" \
    $'proved\n'"$(xxd -p -c 0 "$scratch/own.der")"
verify 0 --url="$own" --tls --nonce=hex:00112233445566778899aabbccddeeff
verify 51 --url="$own"
verify 18 --url="$own" --tls --measurements=<(jq -nc '{Measurements: {PCR4: ("12" * 48)}}')

say "a machine in the middle, which passes the documents of the attested server on"
new_certificate middle -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1
serve "$scratch/middle.pem" --forward "$port"
middle=https://127.0.0.1:$port
verify 17 --url="$middle" --tls
assert_line "why" "$scratch/out" '^Refused \(public-key\): The public key in the attestation document is not the key of the TLS connection'
assert_no_line "no word of a proof" "$scratch/out" '^  public-key +proved'
# The control: for a client that trusts the certificate of the machine in the middle, the document alone is right.
SSL_CERT_FILE=$scratch/middle.crt verify 0 --url="$middle"

say "an authentic document that says nothing about the connection"
serve "$scratch/middle.pem" "$unsealctl" "$PLATFORM_TCTI" none
verify 17 --url="https://127.0.0.1:$port" --tls
assert_line "what is missing" "$scratch/out" 'The attestation document has no public key, so it says nothing about the TLS connection\. Set PublicKey='
# Only this verb takes servers with any certificate, and only with --tls.
assert_equal "who skips the check of certificates" "$(cd "$top" && grep -rlF '.any_certificate =' daemon)" daemon/unsealctl/fetch-document.c
