#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unsealctl seal. unseald unseals the result, only under that name and context. Each source of credentials works, each mistake
# has its message, and the plaintext is only in the one request.
. "$(dirname "$0")/direct.sh"
direct_start
configure
unsealctl=$build/daemon/unsealctl
admin=arn:aws:iam::$PLATFORM_VENDOR_ACCOUNT:user/admin
sealed=$scratch/db.sealed
kms CreateAlias "$(jq -nc --arg key "$key" '{AliasName: "alias/billing", TargetKeyId: $key}')"
canary=canary-$RANDOM$RANDOM$RANDOM$RANDOM
printf '%s' "$canary" >"$secret"

# as PRINCIPAL [VARIABLE=VALUE...] -- OPTION...: runs unsealctl seal with the credentials of this principal
as() {
    local principal=$1 variables=()
    shift
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    platform exec --as "$principal" -- env "${variables[@]}" "$unsealctl" seal \
        --trusted-certificates="$PLATFORM_CA_FILE" --name=db-password "${@:2}"
}
seal() { as vendor -- --key="$key" "$@"; }

# ends STATUS TEXT WHAT COMMAND...: the command ends with STATUS and prints TEXT. Leaves standard error in $scratch/err.
ends() {
    local want=$1 text=$2 what=$3 saw=0
    shift 3
    "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || saw=$?
    [ "$saw" = "$want" ] || die "$what: saw exit status $saw, wanted $want: $(cat "$scratch/err")"
    assert_line "$what" "$scratch/err" "$text"
    say "  $what: status $want, $(head -n 1 "$scratch/err" | cut -c 1-150)"
}
requests() { jq -s 'length' "$PLATFORM_TRAIL"; }

# unseals WHAT [LINE...]: unseald publishes the plaintext of $sealed
unseals() {
    local what=$1
    shift
    rm -f "$scratch/seen"
    declare_secret db-password "$key" "$sealed" "$@"
    on_ready() { cp "$store/db-password" "$scratch/seen"; }
    unseald_start
    unseald_finish
    [ -n "$unseald_ready" ] || die "$what: unseald ended with $unseald_status: $(tail -n 5 "$log")"
    cmp "$scratch/seen" "$secret" || die "$what: another plaintext"
    say "  $what: unsealed"
}
# does_not_unseal WHAT [LINE...]: unseald refuses $sealed
does_not_unseal() {
    local what=$1
    shift
    declare_secret db-password "$key" "$sealed" "$@"
    unseald_start
    unseald_finish
    [ -z "$unseald_ready" ] && [ "$unseald_status" = 62 ] || die "$what: ended with $unseald_status, wanted 62"
    say "  $what: status 62"
}

say "== unseald unseals the result"
seal -o "$sealed" "$secret"
unseals "a file, base64"
seal <"$secret" >"$sealed"
unseals "standard input to standard output"
seal --raw --output="$sealed" - < <(cat "$secret")
[ "$(head -c 1 "$sealed" | xxd -p)" = 01 ] || die "--raw: no raw ciphertext"
unseals "raw"
as vendor -- --key=alias/billing -o "$sealed" <(cat "$secret")
unseals "an alias, and a pipe"
as vendor -- --key="arn:aws:kms:$region:$PLATFORM_VENDOR_ACCOUNT:alias/billing" -o "$sealed" "$secret"
unseals "an alias' ARN"
as vendor -- --key="${key##*/}" --region="$region" -o "$sealed" "$secret"
unseals "a key's ID"
seal --fips --dual-stack -o "$sealed" "$secret"
unseals "by the dual-stack FIPS endpoint"
seal --endpoint="$PLATFORM_KMS_ENDPOINT" -o "$sealed" "$secret"
unseals "by an endpoint given"
head -c 4096 /dev/urandom >"$scratch/random" && cp "$scratch/random" "$secret"
seal -o "$sealed" "$secret"
unseals "4096 random bytes"
printf '%s' "$canary" >"$secret"
# The usual limit of a user, 64 KiB of locked memory, is enough for the pages of the plaintext.
platform exec --as vendor -- prlimit --memlock=65536:65536 setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock \
    "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --name=db-password --key="$key" -o "$sealed" "$secret"
unseals "by who may lock little memory"
ends 1 'memory cannot be locked' "a limit of no locked memory" platform exec --as vendor -- prlimit --memlock=0:0 \
    setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock "$unsealctl" seal --name=db-password --key="$key" "$secret"

say "== sealed twice"
seal -o "$scratch/once" "$secret" 2>"$scratch/err"
[ ! -s "$scratch/err" ] || die "a warning without a reason: $(cat "$scratch/err")"
ends 0 'once begins as a ciphertext of KMS does.*seal the original' "base64" seal -o "$scratch/twice" "$scratch/once"
base64 -d "$scratch/once" >"$scratch/bytes"
ends 0 'bytes begins as a ciphertext of KMS does' "bytes" seal -o "$scratch/twice" "$scratch/bytes"

say "== a newline at the end, and a name with .secret"
printf 'hunter2\n' >"$scratch/line"
ends 0 'line is one line, and the newline at its end is sealed, too.*printf %s' "a line" seal -o "$scratch/of-line" "$scratch/line"
printf 'two\nlines\n' >"$scratch/lines"
seal -o "$scratch/of-lines" "$scratch/lines" 2>"$scratch/err"
[ ! -s "$scratch/err" ] || die "a warning of two lines: $(cat "$scratch/err")"
ends 0 'opens only with a file db-password.secret.secret.*--name=db-password\.$' "a name with .secret" \
    as vendor -- --name=db-password.secret --key="$key" -o "$scratch/of-name" "$secret"

say "== context"
seal --context=stage=prod --context='team=accounts payable' -o "$sealed" "$secret"
does_not_unseal "a context that unseald does not know of"
unseals "the same context" EncryptionContext=stage=prod 'EncryptionContext="team=accounts payable"'
as vendor -- --name=another --key="$key" -o "$sealed" "$secret"
does_not_unseal "the name of another secret"

say "== --print-secret-file with values that need quotes"
as vendor -- --key=alias/billing -o "$sealed" --print-secret-file --context='a=it is "quoted"' --context="b='" \
    --context="c=\\" --context="d= e" --context=f= --context=g==h "$secret" >"$config/secrets.d/db-password.secret"
assert_line "the ARN in it" "$config/secrets.d/db-password.secret" "^KeyId=$key\$"
assert_line "why it does not have the path of --output=" "$config/secrets.d/db-password.secret" '^# A path in the image.*--output='
sed -i "s|^Source=.*|Source=file:$sealed|" "$config/secrets.d/db-password.secret"
on_ready() { cp "$store/db-password" "$scratch/seen"; }
unseald_start
unseald_finish
[ -n "$unseald_ready" ] && cmp "$scratch/seen" "$secret" || die "the printed declaration: $(tail -n 5 "$log")"
assert_no_line "a declaration without warnings" "$log" 'secrets.d/.*: '

say "== --account, and BindAccount="
as vendor -- --key="$key" --account="$PLATFORM_CUSTOMER_ACCOUNT" --print-secret-file -o "$sealed" "$secret" >"$scratch/declaration"
assert_line "what is declared" "$scratch/declaration" '^BindAccount=yes$'
does_not_unseal "without BindAccount="
unseals "with BindAccount=yes" BindAccount=yes
seal --account="$PLATFORM_VENDOR_ACCOUNT" -o "$sealed" "$secret"
does_not_unseal "bound to another account" BindAccount=yes

say "== --json"
seal --json --context=stage=prod -o "$sealed" "$secret" >"$scratch/out"
assert_equal "what JSON says" "$(jq -c 'del(.CiphertextBlob)' "$scratch/out")" \
    "$(jq -nc --arg key "$key" '{KeyId: $key, EncryptionContext: {"unseald:secret": "db-password", stage: "prod"}}')"
assert_equal "the ciphertext in it" "$(jq -r .CiphertextBlob "$scratch/out")" "$(cat "$sealed")"

say "== refused before anything is sent"
before=$(requests)
head -c 4097 /dev/zero >"$scratch/long"
touch "$scratch/empty"
ends 1 'at most 4096 bytes.*Leave --format=kms out' "4097 bytes" seal --format=kms "$scratch/long"
ends 1 'at most 4096 bytes' "an endless input" seal --format=kms /dev/zero
ends 2 'kms or message' "another format" seal --format=bundle "$secret"
ends 1 'is empty' "nothing" seal "$scratch/empty"
ends 1 'is empty' "an empty standard input" seal
ends 1 'Cannot read .*/none: No such file' "no such file" seal "$scratch/none"
ends 1 'Cannot read .*: Is a directory' "a directory" seal "$scratch"
ends 2 'is a terminal' "a terminal" script -qec "exec 2>$scratch/err; $unsealctl seal --key=$key --name=x" /dev/null
ends 2 'needs --key= and --name=' "no key" as vendor -- "$secret"
ends 2 '1 to 64 letters' "an invalid name" as vendor -- --key="$key" --name=a/b "$secret"
ends 2 'is no ARN of a KMS key' "an ARN of something else" as vendor -- --key=arn:aws:s3:::bucket "$secret"
ends 2 'contradicts the ARN of the key' "two Regions" seal --region=eu-west-1 "$secret"
ends 2 'is not a Region' "an invalid Region" as vendor -- --key=alias/billing --region=evil.example.com/ "$secret"
ends 2 'Region of the key is not known' "no Region" as vendor AWS_REGION= AWS_DEFAULT_REGION= -- --key=alias/billing "$secret"
ends 2 'partition of AWS that this version does not know' "a secret Region" as vendor -- --key=alias/x --region=us-isoz-east-1 "$secret"
ends 2 'Expected https://HOST' "an endpoint without TLS" seal --endpoint=http://kms.example.com "$secret"
ends 2 '12 digits' "an invalid account" seal --account=123 "$secret"
ends 2 'KEY=VALUE' "a context without value" seal --context=stage "$secret"
ends 2 '--name= and --account= do that' "a reserved context" seal --context=unseald:secret=another "$secret"
ends 2 'have the same key' "a context twice" seal --context=a=1 --context=a=2 "$secret"
ends 2 'control character' "a line end in a context" seal --context=$'a=1\n[Deliver]' "$secret"
ends 2 'not UTF-8' "a context that is not text" seal --context=$'a=\xff' "$secret"
ends 2 'http://HOST:PORT' "a proxy of another kind" seal --proxy=socks5://127.0.0.1:1080 "$secret"
ends 2 'both kinds of quotes' "quotes that cannot be written" seal --print-secret-file -o "$sealed" --context="a='\" " "$secret"
ends 2 'Give --output=' "--print-secret-file alone" seal --print-secret-file "$secret"
ends 2 'Give --output=' "--print-secret-file behind the ciphertext" seal --print-secret-file --output=- "$secret"
cp "$secret" "$scratch/only"
ln -s only "$scratch/link"
ends 2 'is the file of the secret' "the secret's own file as output" seal -o "$scratch/only" "$scratch/only"
ends 2 'is the file of the secret' "a link to it" seal -o "$scratch/link" "$scratch/only"
saw=0
# shellcheck disable=SC2094 # This is the mistake.
seal -o "$scratch/only" <"$scratch/only" 2>"$scratch/err" || saw=$?
assert_equal "status if standard input is the output" "$saw" 2
cmp "$secret" "$scratch/only" || die "seal has replaced the secret"
rm "$scratch/only"
ends 2 'never the secret itself' "two files" seal "$secret" "$secret"
assert_equal "requests that came of it" "$(requests)" "$before"

say "== refused by KMS"
cp "$sealed" "$scratch/sealed-before"
ends 60 'AccessDenied|denies access.*with these credentials' "a principal that may not encrypt" as customer -- --key="$key" -o "$sealed" "$secret"
ends 60 "must name the caller as a sealer. .*unsealctl policy --sealer=arn:aws:iam::$PLATFORM_CUSTOMER_ACCOUNT:user/[a-z]*\"" "a principal that is no sealer" as customer -- --key="$key" "$secret"
head -c 5000 /dev/urandom >"$scratch/long"
ends 60 "unsealctl policy --sealer=arn:aws:iam::$PLATFORM_CUSTOMER_ACCOUNT:user/[a-z]*\"" "no sealer of a message" as customer -- --key="$key" "$scratch/long"
platform fault set kms Encrypt error AccessDeniedException 'User: arn:aws:iam::1:user/x$(reboot) is not authorized'
ends 60 'unsealctl policy --sealer=ARN' "a principal that KMS does not name" as customer -- --key="$key" "$secret"
platform fault clear
ends 60 'Give its ARN in --key=' "a principal that may not look it up" as customer -- --key="arn:aws:kms:$region:$PLATFORM_VENDOR_ACCOUNT:alias/billing" "$secret"
ends 61 'does not know the key' "no such alias" as vendor -- --key=alias/none "$secret"
ends 61 'give --key=alias/billing\.$' "an alias without alias/" as vendor -- --key=billing --region="$region" "$secret"
no_key=${key%/*}/00000000-0000-0000-0000-000000000000
ends 61 'does not know the key' "no such key" as vendor -- --key="$no_key" -o "$sealed" "$secret"
kms DisableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')"
ends 61 'cannot be used' "a disabled key" seal -o "$sealed" "$secret"
kms EnableKey "$(jq -nc --arg key "$key" '{KeyId: $key}')"
ends 50 'ap-south-1' "another Region, which the platform does not have" as vendor -- --key="${key/$region/ap-south-1}" "$secret"
# with_bundle FILE OPTION...: runs unsealctl seal with this AWS_CA_BUNDLE
with_bundle() {
    platform exec --as vendor -- env AWS_CA_BUNDLE="$1" "$unsealctl" seal --key="$key" --name=db-password "${@:2}" "$secret"
}
ends 51 'is not trusted.* Check --trusted-certificates= or AWS_CA_BUNDLE, ' "the system's roots" with_bundle ''
ends 78 'AWS_CA_BUNDLE: Cannot load .* from .*/none.pem: No such file.*give --trusted-certificates=' "a bundle that is not there" \
    with_bundle "$scratch/none.pem"
with_bundle "$PLATFORM_CA_FILE" >"$scratch/bundled" || die "AWS_CA_BUNDLE is not used"
with_bundle "$scratch/none.pem" --trusted-certificates="$PLATFORM_CA_FILE" >"$scratch/bundled" ||
    die "AWS_CA_BUNDLE is used in place of --trusted-certificates="
platform fault set kms Encrypt wrong-keyid
ends 65 'KMS used the key' "an answer of another key" seal -o "$sealed" "$secret"
platform fault clear
platform fault set kms Encrypt throttle
ends 53 'throttles' "throttling without end" seal -o "$sealed" "$secret"
platform fault clear
cmp "$sealed" "$scratch/sealed-before" || die "a failure touched the existing output"
ends 1 'Cannot write' "an output in a missing directory" seal -o "$scratch/none/sealed" "$secret"
for fault in 'throttle' 'http 503' 'reset' 'clock 3600'; do
    # shellcheck disable=SC2086
    platform fault set kms Encrypt $fault --times 2
    seal -o "$sealed" "$secret" || die "no second attempt after $fault"
    platform fault clear
    say "  sealed after two times $fault"
done

say "== credentials"
ini() { printf '%s\n' "$@"; }
vendor_keys=("aws_access_key_id = $PLATFORM_VENDOR_ACCESS_KEY_ID" "aws_secret_access_key = $PLATFORM_VENDOR_SECRET_ACCESS_KEY")
customer_keys=("aws_access_key_id = $PLATFORM_CUSTOMER_ACCESS_KEY_ID" "aws_secret_access_key = $PLATFORM_CUSTOMER_SECRET_ACCESS_KEY")
mkdir -p "$scratch/home/.aws"
ini '[default]' "${customer_keys[@]}" '[release]' "${vendor_keys[@]}" '[half]' aws_access_key_id=A >"$scratch/home/.aws/credentials"
ini '[default]' "region = $region" '[profile release]' "region = $region" '[profile role]' role_arn=arn:aws:iam::1:role/x \
    source_profile=default '[profile empty]' 's3 =' '  region = x' >"$scratch/home/.aws/config"
# no_environment [VARIABLE=VALUE...] -- OPTION...: runs unsealctl seal with credentials only from files and IMDS
no_environment() {
    as instance -u AWS_CONFIG_FILE -u AWS_SHARED_CREDENTIALS_FILE -u AWS_REGION -u AWS_DEFAULT_REGION \
        HOME="$scratch/home" "$@"
}
principal() { jq -rs 'map(select(.eventName == "Encrypt")) | last | .userIdentity.arn' "$PLATFORM_TRAIL"; }
sealed_by() { # ARN WHAT COMMAND...
    "${@:3}" >"$sealed" || die "$2: not sealed"
    assert_match "who sealed ($2)" "$(principal)" "$1"
    say "  $2: sealed by $(principal)"
}
sealed_by "$admin" "--profile" no_environment -- --profile=release --key=alias/billing "$secret"
sealed_by "$admin" "AWS_PROFILE" no_environment AWS_PROFILE=release -- --key=alias/billing "$secret"
sealed_by "$admin" "keys in the environment before AWS_PROFILE" no_environment AWS_PROFILE=default \
    AWS_ACCESS_KEY_ID="$PLATFORM_VENDOR_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$PLATFORM_VENDOR_SECRET_ACCESS_KEY" -- --key="$key" "$secret"
sealed_by "$admin" "--profile before keys in the environment" as customer AWS_SHARED_CREDENTIALS_FILE="$scratch/home/.aws/credentials" \
    -- --profile=release --key="$key" "$secret"
ends 60 "user/admin" "the default profile, of another account" no_environment -- --key="$key" "$secret"
ends 41 'gets its credentials by role_arn.*export-credentials --profile role' "a role" no_environment -- --profile=role --key="$key" "$secret"
ends 41 'no profile none' "a missing profile" no_environment -- --profile=none --key="$key" "$secret"
ends 41 'no aws_secret_access_key' "half a key" no_environment -- --profile=half --key="$key" "$secret"
ends 41 'AWS_SECRET_ACCESS_KEY is not' "half a key in the environment" as instance AWS_ACCESS_KEY_ID=A -- --key="$key" "$secret"
ends 41 'AWS_WEB_IDENTITY_TOKEN_FILE' "a web identity" as instance AWS_WEB_IDENTITY_TOKEN_FILE=/x -- --key="$key" "$secret"
ends 41 'secret access key does not belong' "a wrong secret key" as vendor AWS_SECRET_ACCESS_KEY=wrong -- --key="$key" "$secret"
ends 41 'do.* not accept the credentials' "a key that was deleted" as vendor AWS_ACCESS_KEY_ID=AKIAAAAAAAAAAAAAAAAA -- --key="$key" "$secret"
platform fault set kms Encrypt expired-credentials
ends 41 'credentials have expired' "an expired session" seal "$secret"
platform fault clear
ends 41 'There are no AWS credentials' "none at all" as instance AWS_EC2_METADATA_DISABLED=true -- --key="$key" "$secret"
platform role none
ends 41 'nor from IMDS: The instance has no role' "no role" as instance -- --key="$key" "$secret"
platform role "$PLATFORM_INSTANCE_ROLE"
ends 60 "assumed-role/$PLATFORM_INSTANCE_ROLE" "the instance's role, which may only decrypt" as instance -- --key="$key" "$secret"
assert_line "a session is named as its role" "$scratch/err" "unsealctl policy --sealer=$PLATFORM_INSTANCE_ROLE_ARN\""
ini nonsense >"$scratch/home/.aws/config"
ends 78 '/.aws/config:1: ' "a file with a wrong line" no_environment -- --key="$key" "$secret"

say "== the plaintext is nowhere else"
if command -v strace >/dev/null; then
    platform exec --as vendor -- strace -f -s 100000 -e trace=openat,write,writev,pwrite64,sendto,sendmsg,execve,rename -o "$scratch/strace" \
        "$unsealctl" seal --trusted-certificates="$PLATFORM_CA_FILE" --name=db-password --key="$key" --print-secret-file -o "$sealed" "$secret" >"$scratch/out"
    assert_line "the trace" "$scratch/strace" 'rename\("[^"]*\.unseald-'
    assert_no_line "the plaintext in a system call" "$scratch/strace" "$canary|$(printf '%s' "$canary" | base64 -w0)"
else
    say "SKIP: strace is not there (tests/setup installs it)"
fi
base64=$(base64 -w0 "$secret")
rm -f "$secret" "$scratch/seen"
assert_absent "the plaintext" "$canary" "$scratch"
assert_absent "the plaintext in base64" "$base64" "$scratch"
assert_absent "a secret key" "$PLATFORM_VENDOR_SECRET_ACCESS_KEY" "$scratch"/{out,err,log,strace} "$PLATFORM_TRAIL"
