#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# boto3 and curl fetch objects in parts from the platform's S3 and file server: ranges, versions, ETags and If-Match are AWS's.
. "$(dirname "$0")/lib.sh"
install_aws
start_platform

head -c 5000000 /dev/urandom >"$work/first"
head -c 5000001 /dev/urandom >"$work/second"
: >"$work/empty"
version=$("$platform" object put models weights "$work/first")
"$platform" object put models empty "$work/empty" >/dev/null
"$platform" file put weights "$work/first" >/dev/null
cat >"$work/client.py" <<'END'
import hashlib, subprocess, sys
import boto3
from botocore.exceptions import ClientError

work, platform, version = sys.argv[1:]
s3 = boto3.client("s3")
first, second = open(f"{work}/first", "rb").read(), open(f"{work}/second", "rb").read()


def get(**arguments):
    return s3.get_object(Bucket="models", **{"Key": "weights", **arguments})


def part(wanted, content_range, **arguments):
    reply = get(**arguments)
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 206, reply
    assert reply["ContentRange"] == content_range, reply["ContentRange"]
    assert reply["ContentLength"] == len(wanted)
    assert reply["Body"].read() == wanted, arguments
    return reply


def refused(status, code, **arguments):
    try:
        get(**arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error.response
        assert error.response["Error"]["Code"] == code, error
        print("refused as it should be:", error)
        return error.response["Error"]
    raise AssertionError(f"{code} was due")


whole = get()
etag = whole["ETag"]
assert whole["ResponseMetadata"]["HTTPStatusCode"] == 200 and whole["Body"].read() == first
assert whole["AcceptRanges"] == "bytes" and "ContentRange" not in whole and whole["VersionId"] == version
assert etag == f'"{hashlib.md5(first).hexdigest()}"', etag

part(first[:100], "bytes 0-99/5000000", Range="bytes=0-99")
part(first[1:2], "bytes 1-1/5000000", Range="bytes=1-1")
part(first[4999000:], "bytes 4999000-4999999/5000000", Range="bytes=4999000-9999999")
part(first[4000000:], "bytes 4000000-4999999/5000000", Range="bytes=4000000-")
part(first[-7:], "bytes 4999993-4999999/5000000", Range="bytes=-7")
part(first, "bytes 0-4999999/5000000", Range="bytes=-9000000")
for several in ("bytes=0-1,5-6", "bytes=5-3", "pages=1-2"):
    reply = get(Range=several)
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200 and reply["Body"].read() == first, several
refusal = refused(416, "InvalidRange", Range="bytes=5000000-")
assert refusal["ActualObjectSize"] == "5000000", refusal
refused(416, "InvalidRange", Range="bytes=-0")
refused(416, "InvalidRange", Range="bytes=0-", Key="empty")

part(first[:10], "bytes 0-9/5000000", Range="bytes=0-9", IfMatch=etag)
get(IfMatch="*")
refused(412, "PreconditionFailed", IfMatch='"0123"')
refused(412, "PreconditionFailed", IfMatch=f"W/{etag}", Range="bytes=0-9")

# Another object takes the name: the version stays, the tag does not match any more.
subprocess.run([platform, "object", "put", "models", "weights", f"{work}/second"], check=True, capture_output=True)
part(first[10:20], "bytes 10-19/5000000", Range="bytes=10-19", VersionId=version)
part(first[10:20], "bytes 10-19/5000000", Range="bytes=10-19", VersionId=version, IfMatch=etag)
reply = part(second[10:20], "bytes 10-19/5000001", Range="bytes=10-19")
assert reply["VersionId"] != version
refused(412, "PreconditionFailed", Range="bytes=10-19", IfMatch=etag)

# boto3's own transfer fetches ranges over several connections.
s3.download_file("models", "weights", f"{work}/got", Config=boto3.s3.transfer.TransferConfig(multipart_threshold=1, multipart_chunksize=1000000))
assert open(f"{work}/got", "rb").read() == second
print("ranges, versions and tags: as S3's")
END
instance "$aws_python" "$work/client.py" "$work" "$platform" "$version" || fail "boto3"
ranges=$("$platform" log | jq -s 'map(select(.eventName == "GetObject" and (.requestParameters.range // "" | startswith("bytes=")))) | length')
((ranges > 15)) || fail "the log has only $ranges ranges"

file() { # STATUS [CURL OPTIONS...]
    local wanted=$1 saw
    shift
    saw=$(instance curl --silent --output "$work/got" --dump-header "$work/header" --write-out '%{http_code}' "$@" https://downloads.example.com/weights)
    [[ $saw == "$wanted" ]] || fail "$*: status $saw, wanted $wanted"
}
file 206 --range 1000-1999
cmp "$work/got" <(tail -c +1001 "$work/first" | head -c 1000) || fail "other bytes of the file"
grep -qi '^Content-Range: bytes 1000-1999/5000000' "$work/header" || fail "no Content-Range"
etag=$(sed -n 's/^ETag: //Ip' "$work/header" | tr -d '\r')
! grep -qi '^x-amz' "$work/header" || fail "the file server says what S3 says"
file 206 --range 0-9 -H "If-Match: $etag"
file 412 --range 0-9 -H 'If-Match: "other"'
file 416 --range 5000000-
file 200

# What the faults change.
"$platform" fault set files GET identity weak --times 1
file 206 --range 0-9
grep -qi '^ETag: W/"' "$work/header" || fail "the tag is not weak"
"$platform" fault set files GET range other --times 1
file 206 --range 0-9
grep -qi '^Content-Range: bytes 1-9/5000000' "$work/header" || fail "the range is the right one"
cmp "$work/got" <(tail -c +2 "$work/first" | head -c 9) || fail "not the bytes that are named"
"$platform" fault set files GET range total --times 1
file 206 --range 0-9
grep -qi '^Content-Range: bytes 0-9/5000001' "$work/header" || fail "the total is the right one"
"$platform" fault set files GET range short --times 1
file 206 --range 0-9
[[ $(stat -c %s "$work/got") == 9 ]] || fail "the part is not short"
"$platform" fault set files GET range long --times 1
file 206 --range 0-9
[[ $(stat -c %s "$work/got") == 11 ]] || fail "the part is not long"
"$platform" fault set files GET range unnamed --times 1
file 206 --range 0-9
! grep -qi '^Content-Range:' "$work/header" || fail "the part is named"
"$platform" fault set files GET range multipart --times 1
file 206 --range 0-9
grep -qi '^Content-Type: multipart/byteranges; boundary=' "$work/header" || fail "no parts"
"$platform" fault set files GET range encoded --times 1
file 206 --range 0-9
grep -qi '^Content-Encoding: gzip' "$work/header" || fail "not encoded"
"$platform" fault set files GET cut 100000 --times 1
status=0
instance curl --silent --output "$work/got" https://downloads.example.com/weights || status=$?
[[ $status == 56 ]] || fail "a reset: curl ended with $status"
(($(stat -c %s "$work/got") <= 100000)) || fail "the connection was reset too late"
"$platform" fault set files GET replaced --times 1
file 412 --range 0-9 -H "If-Match: $etag"
file 200
cmp "$work/got" <(perl -0pe '$_ = ~$_' "$work/first") || fail "another object than the fault names"
