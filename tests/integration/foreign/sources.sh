#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The AWS CLI and curl at the platform's sources of ciphertext: S3 in both its styles of address, Parameter Store, Secrets
# Manager and the file server. They return what was put there, and refuse what AWS would refuse.
. "$(dirname "$0")/lib.sh"
install_aws
start_platform

head -c 2000 /dev/urandom >"$work/binary"
base64 "$work/binary" >"$work/text"

get_object() { # OPTIONS...
    rm -f "$work/got"
    instance "$aws" s3api get-object "$@" "$work/got"
}

key='a b+c%41/ü&=?#'
version=$("$platform" object put sealed-secrets "$key" "$work/binary")
"$platform" object put sealed-secrets "$key" "$work/text" >/dev/null
"$platform" object put sealed.example.com db "$work/binary" >/dev/null
get_object --bucket sealed-secrets --key "$key" >/dev/null
cmp "$work/got" "$work/text" || fail "another object came"
[[ $(get_object --bucket sealed-secrets --key "$key" --version-id "$version" | jq -r .VersionId) == "$version" ]] || fail "another version"
cmp "$work/got" "$work/binary" || fail "another version's content came"
get_object --bucket sealed.example.com --key db >/dev/null
cmp "$work/got" "$work/binary" || fail "another object came by its path"
AWS_USE_DUALSTACK_ENDPOINT=true get_object --bucket sealed-secrets --key "$key" >/dev/null
AWS_USE_FIPS_ENDPOINT=true get_object --bucket sealed-secrets --key "$key" >/dev/null
expect_error NoSuchKey get_object --bucket sealed-secrets --key none
expect_error NoSuchVersion get_object --bucket sealed-secrets --key "$key" --version-id none
expect_error SignatureDoesNotMatch customer env AWS_SECRET_ACCESS_KEY=wrong "$aws" s3api get-object --bucket sealed-secrets --key "$key" "$work/got"
expect_error InvalidAccessKeyId customer env AWS_ACCESS_KEY_ID=AKIAAAAAAAAAAAAAAAAA "$aws" s3api get-object --bucket sealed-secrets --key "$key" "$work/got"
# If the request is signed for another Region, the CLI learns the right one from the refusal and tries again.
instance "$aws" --region eu-west-1 --endpoint-url "https://s3.$PLATFORM_REGION.amazonaws.com" \
    s3api get-object --bucket sealed-secrets --key "$key" "$work/got" >/dev/null
jq -se 'map(select(.errorCode == "AuthorizationHeaderMalformed")) | length == 1' "$PLATFORM_TRAIL" >/dev/null || fail "a signature for another Region was taken"

# curl 7.88 cannot sign percent-encoded paths, but computes a payload hash of its own.
"$platform" object put sealed-secrets plain "$work/binary" >/dev/null
object=https://sealed-secrets.s3.$PLATFORM_REGION.amazonaws.com/plain
curl_object() { # OPTIONS...
    customer curl --silent --output "$work/got" --write-out '%{http_code}' --aws-sigv4 "aws:amz:$PLATFORM_REGION:s3" \
        --user "$PLATFORM_CUSTOMER_ACCESS_KEY_ID:$PLATFORM_CUSTOMER_SECRET_ACCESS_KEY" "$@" "$object"
}
empty=$(sha256sum </dev/null | cut -d' ' -f1)
[[ $(curl_object -H "x-amz-content-sha256: $empty") == 200 ]] || fail "curl: $(cat "$work/got")"
cmp "$work/got" "$work/binary" || fail "another object came to curl"
[[ $(curl_object) == 400 ]] && grep -q 'Missing required header.*x-amz-content-sha256' "$work/got" || fail "without a hash: $(cat "$work/got")"
[[ $(customer curl --silent --output "$work/got" --write-out '%{http_code}' "$object") == 403 ]] || fail "unsigned: $(cat "$work/got")"

"$platform" parameter put /billing/db "$work/text" >/dev/null
"$platform" parameter put /billing/secure "$work/text" SecureString >/dev/null
parameter() { instance "$aws" ssm get-parameter --name "$@"; }
parameter /billing/db --query Parameter.Value --output text | diff -B - "$work/text" || fail "another parameter came"
[[ $(parameter /billing/db:1 --query Parameter.Type --output text) == String ]]
[[ $(parameter /billing/secure --query Parameter.Type --output text) == SecureString ]]
expect_error ParameterNotFound parameter /billing/none
expect_error ParameterVersionNotFound parameter /billing/db:2
expect_error AccessDeniedException vendor "$aws" ssm get-parameter --name /billing/db

"$platform" secret put billing/db "$work/text" >/dev/null
"$platform" secret put billing/raw "$work/binary" binary >/dev/null
value() { instance "$aws" secretsmanager get-secret-value --secret-id "$@" --output text; }
value billing/db --query SecretString | diff -B - "$work/text" || fail "another secret came"
value billing/raw --query SecretBinary | base64 -d | cmp - "$work/binary" || fail "another binary came"
value "$(value billing/raw --query ARN)" --query SecretBinary | base64 -d | cmp - "$work/binary" || fail "another binary came by its ARN"
expect_error ResourceNotFoundException value billing/none

# The role's identity policies decide.
jq -n '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: ["s3:GetObject", "ssm:GetParameter", "secretsmanager:GetSecretValue"],
    Resource: ["arn:aws:s3:::sealed-secrets/plain", "arn:aws:ssm:*:*:parameter/billing/*", "arn:aws:secretsmanager:*:*:secret:billing/db-??????"]}]}' >"$work/policy.json"
"$platform" role policy "$PLATFORM_CUSTOMER_ACCOUNT" "$PLATFORM_INSTANCE_ROLE" "$work/policy.json"
get_object --bucket sealed-secrets --key plain >/dev/null
parameter /billing/db >/dev/null
value billing/db >/dev/null
expect_error AccessDenied get_object --bucket sealed-secrets --key "$key"
expect_error AccessDenied get_object --bucket sealed-secrets --key plain --version-id none
expect_error AccessDeniedException parameter /other
expect_error AccessDeniedException value billing/raw

"$platform" file put 'dir/a%41' "$work/binary" >/dev/null
printf 'https://elsewhere.example.com/' >"$work/location"
"$platform" file put moved "$work/location" redirect >/dev/null
files=https://downloads.example.com
instance curl --silent --fail "$files/dir/a%2541" | cmp - "$work/binary" || fail "another file came"
[[ $(instance curl --silent --output /dev/null --write-out '%{http_code} %{redirect_url}' "$files/moved") == "302 https://elsewhere.example.com/" ]] || fail "no redirect"
[[ $(instance curl --silent --output /dev/null --write-out '%{http_code}' "$files/none") == 404 ]] || fail "something that is not there"

jq -se 'map(select(.eventSource == "s3.amazonaws.com" and .errorCode == null)) | length >= 6' "$PLATFORM_TRAIL" >/dev/null || fail "the trail"
! grep -qF -e "$(head -n 1 "$work/text")" -e "$PLATFORM_CUSTOMER_SECRET_ACCESS_KEY" "$PLATFORM_TRAIL" || fail "the trail has what was carried"
