#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# curl, openssl and tpm2-tools meet every fault of the platform's table as the table describes it. A fault that is set for one
# time takes effect once.
. "$(dirname "$0")/lib.sh"
start_platform
export TPM2TOOLS_TCTI=$PLATFORM_TCTI

new_recipient recipient
attest "$work/recipient.der" "$work/document"

kms() { # OPERATION JSON [CURL OPTIONS...]
    local operation=$1 body=$2
    shift 2
    vendor curl --silent --show-error --output "$work/body" --dump-header "$work/header" --write-out '%{http_code} %{size_download}' \
        --max-time 5 --aws-sigv4 "aws:amz:$PLATFORM_REGION:kms" \
        --user "$PLATFORM_VENDOR_ACCESS_KEY_ID:$PLATFORM_VENDOR_SECRET_ACCESS_KEY" \
        --header 'Content-Type: application/x-amz-json-1.1' --header "X-Amz-Target: TrentService.$operation" \
        --data-binary "$body" "$@" "$PLATFORM_KMS_ENDPOINT/" 2>"$work/error"
}

key=$(kms CreateKey '{}' >/dev/null && jq -r .KeyMetadata.Arn "$work/body")
kms Encrypt "{\"KeyId\": \"$key\", \"Plaintext\": \"$(printf 'Hello World' | base64)\"}" >/dev/null
jq -c --arg document "$(base64 -w0 "$work/document")" '{CiphertextBlob,
    Recipient: {KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256", AttestationDocument: $document}}' "$work/body" >"$work/decrypt.json"

imds() { # PATH [CURL OPTIONS...]
    local path=$1
    shift
    instance curl --silent --show-error --output "$work/body" --dump-header "$work/header" --write-out '%{http_code} %{size_download}' \
        --max-time 5 --header "X-aws-ec2-metadata-token: $token" "$@" "http://169.254.169.254/latest/$path" 2>"$work/error"
}
token=$(instance curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 600' http://169.254.169.254/latest/api/token)
credentials=meta-data/iam/security-credentials/$PLATFORM_INSTANCE_ROLE

for carrier in 'object put sealed-secrets db' 'parameter put db' 'secret put db' 'file put db'; do
    # shellcheck disable=SC2086
    "$platform" $carrier "$work/decrypt.json" >/dev/null
done
carrier() { # SERVICE URL [CURL OPTIONS...]
    local service=$1 url=$2
    shift 2
    customer curl --silent --show-error --output "$work/body" --dump-header "$work/header" --write-out '%{http_code} %{size_download}' \
        --max-time 5 --aws-sigv4 "aws:amz:$PLATFORM_REGION:$service" \
        --user "$PLATFORM_CUSTOMER_ACCESS_KEY_ID:$PLATFORM_CUSTOMER_SECRET_ACCESS_KEY" "$@" "$url" 2>"$work/error"
}
domain=$PLATFORM_REGION.amazonaws.com json='Content-Type: application/x-amz-json-1.1'
empty=$(sha256sum </dev/null | cut -d' ' -f1)

ask() { # SERVICE [CURL OPTIONS...]
    local service=$1
    shift
    case $service in
    kms) kms Decrypt "@$work/decrypt.json" "$@" ;;
    imds) imds "$credentials" "$@" ;;
    s3) carrier s3 "https://sealed-secrets.s3.$domain/db" -H "x-amz-content-sha256: $empty" "$@" ;;
    ssm) carrier ssm "https://ssm.$domain/" -H "$json" -H 'X-Amz-Target: AmazonSSM.GetParameter' -d '{"Name": "db"}' "$@" ;;
    secretsmanager)
        carrier secretsmanager "https://secretsmanager.$domain/" -H "$json" \
            -H 'X-Amz-Target: secretsmanager.GetSecretValue' -d '{"SecretId": "db"}' "$@"
        ;;
    files) carrier files https://downloads.example.com/db "$@" ;;
    tpm) tpm2_pcrread sha384:4 >"$work/body" 2>"$work/error" ;;
    esac
}

good() { # SERVICE
    case $1 in
    # openssl goes on with a random key where the encrypted one does not open, and one in 256 of those leaves a padding that looks
    # right (CMS_decrypt(3), CMS_DEBUG_DECRYPT). So the plaintext decides, not the exit status.
    kms)
        jq -r .CiphertextForRecipient "$work/body" | base64 -d >"$work/cms"
        openssl cms -decrypt -inform DER -in "$work/cms" -inkey "$work/recipient.pem" -out "$work/opened" 2>/dev/null &&
            [[ $(tr -d '\0' <"$work/opened") == "Hello World" ]]
        ;;
    imds) jq -re 'select(.Code == "Success") | .Token | length' "$work/body" ;;
    s3 | files) cmp "$work/body" "$work/decrypt.json" ;;
    ssm) jq -j .Parameter.Value "$work/body" | cmp - "$work/decrypt.json" ;;
    secretsmanager) jq -j .SecretString "$work/body" | cmp - "$work/decrypt.json" ;;
    tpm) grep '4 : 0x' "$work/body" ;;
    esac
}

expect_exit() { # STATUS SERVICE [CURL OPTIONS...]
    local wanted=$1 status=0
    shift
    ask "$@" >/dev/null || status=$?
    [[ $status == "$wanted" ]] || fail "exit status $status, not $wanted: $(cat "$work/error")"
}
expect_reply() { # STATUS SERVICE JQ-CONDITION
    local reply
    reply=$(ask "$2") || fail "no reply: $(cat "$work/error")"
    [[ $reply == "$1 "* ]] || fail "$reply, not $1: $(cat "$work/body")"
    jq -e "$3" "$work/body" >/dev/null || fail "not $3: $(cat "$work/body")"
}
expect_size() { # STATUS SERVICE SIZE
    local reply
    reply=$(ask "$2")
    [[ $reply == "$1 $3" ]] || fail "$reply, not $1 $3"
}
expect_slow() { # SERVICE
    local begun=$EPOCHREALTIME
    ask "$1" >/dev/null
    (((${EPOCHREALTIME/./} - ${begun/./}) >= 300000)) || fail "no delay"
    good "$1" >/dev/null || fail "the reply is wrong, not late"
}
expect_date() { # SERVICE
    local seen
    ask "$1" >/dev/null
    seen=$(date -d "$(sed -n 's/^Date: //Ip' "$work/header" | tr -d '\r')" +%s)
    ((seen - $(date +%s) > 3500)) || fail "Date is $(sed -n 's/^Date: //Ip' "$work/header")"
}

check() { # SERVICE FAULT
    case $1-$2 in
    *-delay) expect_slow "$1" ;;
    *-drop) expect_exit 28 "$1" --max-time 1 ;;
    *-reset) expect_exit 56 "$1" ;;
    *-http) [[ $(ask "$1") == 503\ * ]] || fail "no 503" ;;
    *-cut) expect_exit 56 "$1" ;;
    *-slow) ask "$1" >/dev/null && good "$1" >/dev/null || fail "the reply is wrong, not slow" ;;
    *-identity) [[ $(ask "$1") == 200\ * ]] && ! grep -qiE '^(etag|x-amz-version-id):' "$work/header" || fail "the object has an identity" ;;
    *-range) [[ $(ask "$1" --range 0-9) == "200 $(stat -c %s "$work/decrypt.json")" ]] || fail "that is no whole object" ;;
    s3-replaced | files-replaced)
        ask "$1" >/dev/null
        ! good "$1" 2>/dev/null || fail "the object is the same"
        "$platform" object put sealed-secrets db "$work/decrypt.json" >/dev/null
        "$platform" file put db "$work/decrypt.json" >/dev/null
        ;;
    *-truncated) expect_exit 18 "$1" ;;
    *-garbage) expect_size 200 "$1" 1500 && ! jq . "$work/body" >/dev/null 2>&1 || fail "that is JSON" ;;
    *-empty) expect_size 200 "$1" 0 ;;
    *-oversized) expect_size 200 "$1" 8388608 ;;
    kms-error) expect_reply 500 kms '.__type == "KMSInternalException"' ;;
    kms-throttle) expect_reply 400 kms '.__type == "ThrottlingException"' ;;
    kms-wrong-keyid) expect_reply 200 kms "(.KeyId | test(\"^arn:.*:key/\")) and .KeyId != \"$key\"" ;;
    kms-tampered-cms) expect_reply 200 kms '.CiphertextForRecipient' && ! good kms || fail "it opens" ;;
    kms-plaintext) expect_reply 200 kms '(.Plaintext | @base64d) == "Hello World" and .CiphertextForRecipient' ;;
    kms-expired-credentials) expect_reply 400 kms '.__type == "ExpiredTokenException"' ;;
    kms-clock) expect_reply 400 kms '.__type == "InvalidSignatureException" and (.message | test("^Signature expired"))' ;;
    *-tls-*) expect_exit 60 "$1" ;;
    s3-error) [[ $(ask s3) == 500\ * ]] && grep -q '<Code>KMSInternalException</Code>' "$work/body" || fail "$(cat "$work/body")" ;;
    s3-throttle) [[ $(ask s3) == 503\ * ]] && grep -q '<Code>SlowDown</Code>' "$work/body" || fail "$(cat "$work/body")" ;;
    s3-expired-credentials) [[ $(ask s3) == 400\ * ]] && grep -q '<Code>ExpiredToken</Code>' "$work/body" || fail "$(cat "$work/body")" ;;
    s3-clock) [[ $(ask s3) == 403\ * ]] && grep -q '<Code>RequestTimeTooSkewed</Code>' "$work/body" || fail "$(cat "$work/body")" ;;
    files-clock) expect_date files ;;
    ssm-error | secretsmanager-error) expect_reply 500 "$1" '.__type == "KMSInternalException"' ;;
    ssm-throttle | secretsmanager-throttle) expect_reply 400 "$1" '.__type == "ThrottlingException"' ;;
    ssm-expired-credentials | secretsmanager-expired-credentials) expect_reply 400 "$1" '.__type == "ExpiredTokenException"' ;;
    ssm-clock | secretsmanager-clock) expect_reply 400 "$1" '.__type == "InvalidSignatureException" and (.message | test("^Signature expired"))' ;;
    imds-error) expect_reply 200 imds '.Code == "KMSInternalException" and (has("Token") | not)' ;;
    imds-expired-credentials) expect_reply 200 imds '(.Expiration | fromdate) < now' ;;
    imds-clock) expect_date imds ;;
    # tpm2-tss sends the command five times by itself.
    tpm-busy) ask tpm && good tpm >/dev/null || fail "not tried again" ;;
    tpm-code) ! ask tpm || fail "no error" ;;
    tpm-clock)
        attest "$work/recipient.der" "$work/fast"
        ! $python "$top/tests/platform/check-document.py" "$PLATFORM_NITRO_ROOT" "$work/fast" >"$work/output" 2>&1 ||
            fail "the document is of now"
        ;;
    *) fail "no check of the fault $2 of $1" ;;
    esac
}

n=0
while IFS=$'\t' read -r service fault what argument; do
    "$platform" fault set "$service" '*' "$fault" ${argument:+"$argument"} --times 1
    if [[ $fault == clock ]]; then
        # Each request uses one of them.
        "$platform" fault set "$service" '*' "$fault" "$argument"
        check "$service" "$fault"
        "$platform" fault clear
    else
        check "$service" "$fault"
    fi
    [[ $("$platform" fault list | cut -f5) =~ ^1?$ ]] || fail "$service $fault was not taken once: $("$platform" fault list)"
    "$platform" fault clear
    ask "$service" >/dev/null && good "$service" >/dev/null || fail "$service $fault lasted longer than one time"
    echo "$service $fault: $what"
    n=$((n + 1))
done < <("$platform" fault names)
((n > 80)) || fail "only $n faults"

for tampering in key structure recipient; do
    "$platform" fault set kms Decrypt tampered-cms "$tampering" --times 1
    ask kms >/dev/null
    ! good kms >/dev/null || fail "tampered-cms $tampering opens"
done
