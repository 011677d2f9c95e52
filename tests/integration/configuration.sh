#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A wrong configuration: unseald exits with status 78, names file and line, and touches neither TPM nor network.
. "$(dirname "$0")/direct.sh"
direct_start
on_ready() { cmp "$store/db-password" "$secret"; }

# Writes a correct configuration. Each case spoils one thing in it. unseald.conf and db-password.secret have three lines.
right() {
    rm -rf "$config"
    mkdir -p "$config/secrets.d"
    configure
    declare_secret db-password "$key" "$scratch/sealed"
}

# fails REGEX: unseald refuses the configuration with this one line
cases=0
fails() {
    rm -f "$status_file"
    unseald_start
    unseald_finish
    assert_equal "exit status ($(tail -n 1 "$log"))" "$unseald_status" 78
    assert_line "the reason" "$log" "$1"
    assert_equal "lines of it, where one will do" "$(grep -c '' "$log")" 1
    assert_equal "the store" "$(ls -A "$store")" ''
    assert_equal "status.json" "$(jq -r '.state + " " + .failure' "$status_file")" 'failed configuration'
    cases=$((cases + 1))
    say "$(<"$log")"
    right
}

# bad_setting 'LINE[\nLINE...]' REGEX: adds lines to unseald.conf, from line 4
bad_setting() {
    printf '%b\n' "$1" >>"$config/unseald.conf"
    fails "unseald.conf:4: $2"
}
# bad_secret LINE REGEX: adds line 4 to db-password.secret
bad_secret() {
    printf '%b\n' "$1" >>"$config/secrets.d/db-password.secret"
    fails "db-password.secret:4: $2"
}
# bad_delivery LINE REGEX: adds line 5 to db-password.secret, in its section [Deliver]
bad_delivery() {
    printf '[Deliver]\n%s\n' "$1" >>"$config/secrets.d/db-password.secret"
    fails "db-password.secret:5: $2"
}

# From now on the platform counts every request.
right
platform fault set '*' '*' delay 1
seen=$(wc -l <"$PLATFORM_TRAIL")

bad_setting 'KmsEndpoint=http://kms.example.com' 'KmsEndpoint=: Expected https://'
bad_setting 'KmsEndpoint=https://kms.example.com/path' 'KmsEndpoint=: Expected https://'
bad_setting 'KmsEndpoint=https://user@kms.example.com' 'KmsEndpoint=: Expected https://'
bad_setting 'KmsEndpoint=https://kms.example.com\nFips=yes' 'KmsEndpoint=: Expected nothing'
bad_setting 'Proxy=proxy.example.com:3128' 'Proxy=: Expected http://HOST:PORT'
bad_setting 'Proxy=https://proxy.example.com:3128' 'Proxy=: Expected http://HOST:PORT'
bad_setting 'Fips=perhaps' 'Fips=: Expected'
bad_setting 'DualStack=2' 'DualStack=: Expected'
bad_setting 'RsaKeyBits=1024' 'RsaKeyBits=: Expected 2048, 3072 or 4096, not "1024"'
bad_setting 'DeadlineSec=0' 'DeadlineSec=: Expected a time'
bad_setting 'DeadlineSec=-5' 'DeadlineSec=: Expected a time'
bad_setting 'DeadlineSec=soon' 'DeadlineSec=: Expected a time'
bad_setting 'DeadlineSec=99999999999999999999s' 'DeadlineSec=: Expected a time'
bad_setting 'TpmDevice=/dev/tpmrm0' 'TpmDevice=: .*resource manager'
bad_setting 'TpmDevice=device:/dev/tpmrm0' 'TpmDevice=: .*resource manager'
bad_setting 'TpmDevice=!' 'TpmDevice=: Expected a TCTI name'
bad_setting 'TrustedCertificates=certificates.pem' 'TrustedCertificates=: Expected an absolute path'
bad_setting 'TrustedCertificates=/etc/../ca.pem' 'TrustedCertificates=: Expected an absolute path'
bad_setting 'ExpectedMeasurements=https://example.com' 'ExpectedMeasurements=: Expected'
bad_setting 'ExpectedMeasurements=user-data:pcrs' 'ExpectedMeasurements=: Expected a JSON pointer'
bad_setting 'LockPcr=12' 'LockPcr=: Expected 8, 13, 14 or 15'
bad_setting 'VerifyPolicy=sometimes' 'VerifyPolicy=: Expected no, warn or yes'

# Wrong syntax.
bad_setting 'no assignment' ''
bad_setting '[Unseald' ''
bad_setting '=value' ''
bad_setting 'Fips=\x01' ''
bad_setting 'Fips=\xff' ''
sed -i 1d "$config/unseald.conf"
fails 'unseald.conf:1: '
rm "$config/unseald.conf"
mkdir "$config/unseald.conf"
fails 'unseald.conf: cannot be read: .*directory'
head -c 270000 /dev/zero | tr '\0' '#' >"$config/unseald.conf"
fails 'unseald.conf: cannot be read: .*256 KiB'
mkdir "$config/unseald.conf.d"
printf '[Unseald]\n\nRsaKeyBits=2\n' >"$config/unseald.conf.d/10-key.conf"
fails 'unseald.conf.d/10-key.conf:3: RsaKeyBits=: '
configure "TrustedCertificates=$scratch/none"
fails "Cannot load trusted certificates from $scratch/none: No such file or directory\\."
echo nothing >"$scratch/nothing.pem"
configure "TrustedCertificates=$scratch/nothing.pem"
fails "Cannot load trusted certificates from $scratch/nothing.pem: no certificate or crl found\\."
openssl x509 -in "$PLATFORM_CA_FILE" -outform DER -out "$scratch/nothing.pem"
configure "TrustedCertificates=$scratch/nothing.pem"
fails "Cannot load trusted certificates from $scratch/nothing.pem: it is DER, and not PEM\\. Convert it with \"openssl x509 -inform DER\"\\."

# Declarations.
bad_secret 'Source=db-password.sealed' 'Source=: Expected file:/'
bad_secret 'Source=file:db-password.sealed' 'Source=: Expected an absolute path'
bad_secret 'Source=file:/usr/share/../secret' 'Source=: Expected an absolute path'
bad_secret 'Source=http://example.com/secret' 'Source=: Expected file:/'
bad_secret 'Source=https://user@example.com/secret' 'Source=: Expected https://HOST'
bad_secret 'Source=s3://Bucket/key' 'Source=: Expected s3://BUCKET/KEY'
bad_secret 'Source=user-data:secret' 'Source=: Expected nothing or a JSON pointer'
bad_secret 'SourceRegion=eu.north' 'SourceRegion=: Expected a Region'
bad_secret 'SizeMax=6145' 'SizeMax=: Expected a number of bytes'
bad_secret 'KeyId=alias/vendor' 'KeyId=: .*alias'
bad_secret 'KeyId=11111111-2222-3333-4444-555555555555' 'KeyId=: Expected the ARN of a key'
bad_secret 'KeyId=arn:aws:s3:::bucket/key' 'KeyId=: Expected the ARN of a key'
bad_secret 'KeyId=arn:aws-mars:kms:olympus-1:111111111111:key/1' 'KeyId=: Expected a partition .* not "aws-mars"'
bad_secret 'EncryptionContext=customer' 'EncryptionContext=: Expected KEY=VALUE'
bad_secret 'EncryptionContext=unseald:secret=api-token' 'EncryptionContext=: Expected a key that does not begin with "unseald:"'
bad_secret 'EncryptionContext=unseald:account=222222222222' 'EncryptionContext=: '
bad_secret 'Optional=maybe' 'Optional=: '
bad_secret 'BindAccount=sure' 'BindAccount=: Expected yes or no'
bad_delivery 'Units=billing' 'Units=: Expected units'
bad_delivery 'Store=perhaps' 'Store=: Expected yes or no'
bad_delivery 'User=0' 'User=: Expected the name of a user'
bad_delivery 'Group=all the others' 'Group=: Expected the name of a group'
bad_delivery 'Mode=0444' 'Mode=: Expected 0400 or 0440'
bad_delivery 'Mode=4755' 'Mode=: Expected 0400 or 0440'
printf '[Deliver]\nUser=nobody-there\n' >>"$config/secrets.d/db-password.secret"
fails 'db-password.secret: User=nobody-there: there is no such user'
printf '[Secret]\nKeyId=%s\n' "$key" >"$config/secrets.d/db-password.secret"
fails 'db-password.secret: Source= is missing'
printf '[Secret]\nSource=file:%s\n' "$scratch/sealed" >"$config/secrets.d/db-password.secret"
fails 'db-password.secret: KeyId= is missing'
cp "$config/secrets.d/db-password.secret" "$config/secrets.d/db password.secret"
fails 'db password.secret: Expected a file name'
mkdir "$config/secrets.d/db-password.secret.d"
printf '[Secret]\nOptional=maybe\n' >"$config/secrets.d/db-password.secret.d/10-optional.conf"
fails 'db-password.secret.d/10-optional.conf:2: Optional=: '
# One wrong secret of two is enough.
declare_secret zebra "$key" "$scratch/sealed" 'Optional=maybe'
fails 'zebra.secret:4: Optional=: '

# KMS, IMDS and the TPM must have seen nothing of all these starts.
asked() { platform fault list | awk -F'\t' '{ n += $5 } END { print n }'; }
assert_equal "lines in the platform's log" "$(wc -l <"$PLATFORM_TRAIL")" "$seen"
assert_equal "how often anything was asked" "$(asked)" 0
say "$cases cases, and no request left unseald"

say "unknown keys and sections are warnings"
right
printf '%s\n' 'LockPCR=8' '[Unsealed]' 'Fips=yes' >>"$config/unseald.conf"
printf '%s\n' 'Key=1' '[Delivery]' 'Mode=0440' >>"$config/secrets.d/db-password.secret"
unseald_start
unseald_finish
assert_equal "exit status, was it ready" "$unseald_status $unseald_ready" '0 yes'
assert_line "key" "$log" 'unseald.conf:4: LockPCR=: Unknown key'
assert_line "section" "$log" 'unseald.conf:6: .*Unknown section \[Unsealed\]'
assert_line "key of a secret" "$log" 'db-password.secret:4: Key=: Unknown key'
assert_line "section of a secret" "$log" 'db-password.secret:6: .*Unknown section \[Delivery\]'
# The control: a correct configuration makes the platform count requests.
[ "$(wc -l <"$PLATFORM_TRAIL")" -gt "$seen" ] && [ "$(asked)" -gt 20 ] || die "the platform does not count"

say "a process that root starts by hand leaves the live service's files alone"
cat >"$scratch/by-hand" <<'END'
mount -t tmpfs tmpfs /run
mkdir -p /run/unseald/credentials
echo live | tee /run/unseald/credentials/db-password >/run/unseald/status.json
status=0
"$@" || status=$?
cat /run/unseald/status.json /run/unseald/credentials/db-password
exit $status
END
# by_hand [OPTION...]: sets $status, and writes the output to $scratch/said and $scratch/message
by_hand() {
    status=0
    unshare --mount sh "$scratch/by-hand" "$build/daemon/unseald" --vendor-configuration="$config" --configuration=/nonexistent "$@" \
        >"$scratch/said" 2>"$scratch/message" || status=$?
}
right
printf 'RsaKeyBits=7\n' >>"$config/unseald.conf"
for option in --debug --store="$store" --status="$scratch/own.json"; do
    by_hand "$option"
    assert_equal "$option: exit status, and the live files" "$status $(tr '\n' ' ' <"$scratch/said")" '2 live live '
    assert_line "$option: what to do" "$scratch/message" 'systemctl start unseald.service'
    assert_no_line "$option: a place of the caller's own is not called the service's" "$scratch/message" "$scratch/own|$store"
done
by_hand --store="$store" --status="$scratch/own.json"
assert_equal "with paths of its own: exit status, and the live files" "$status $(tr '\n' ' ' <"$scratch/said")" '78 live live '
assert_equal "its own status" "$(jq -r .failure "$scratch/own.json")" configuration
NOTIFY_SOCKET=$scratch/none by_hand
assert_equal "started by a service manager: exit status" "$status" 78
assert_line "started by a service manager: its status" "$scratch/said" '"configuration"'
right

say "cat-config prints what is in force, each line with its file, and unseald can read it back"
vendor=$scratch/vendor local=$scratch/local
mkdir -p "$vendor/secrets.d" "$vendor/unseald.conf.d" "$local/unseald.conf.d" "$local/secrets.d/db.secret.d"
printf '[Unseald]\nFips=yes\nDeadlineSec=1min\n' >"$vendor/unseald.conf"
printf '[Unseald]\n# Slow.\nDeadlineSec=5min\nLockPCR=8\n' >"$local/unseald.conf.d/10-slow.conf"
printf '[Unseald]\nFips=no\n' >"$vendor/unseald.conf.d/20-masked.conf"
ln -s /dev/null "$local/unseald.conf.d/20-masked.conf"
printf '[Secret]\nSource=file:/a\nKeyId=%s\nEncryptionContext=a=1\n[Deliver]\nUnits=a.service\n' "$key" >"$vendor/secrets.d/db.secret"
printf '[Secret]\nEncryptionContext=\nEncryptionContext=b=2\nEncryptionContext=c=3\n[Deliver]\nUnits=b.service \\\n c.service\n' \
    >"$local/secrets.d/db.secret.d/10-more.conf"
ln -s /dev/null "$local/secrets.d/gone.secret"
printf '[Secret]\nSource=file:/gone\n' >"$vendor/secrets.d/gone.secret"
# print VENDOR LOCAL
print() { "$build/daemon/unsealctl" cat-config --vendor-configuration="$1" --configuration="$2" 2>/dev/null; }
print "$vendor" "$local" | sed "s|$scratch/||" >"$scratch/printed"
diff "$scratch/printed" - <<END || die "cat-config printed something else"
# unseald.conf
[Unseald]
# vendor/unseald.conf:2
Fips=yes
# local/unseald.conf.d/10-slow.conf:3
DeadlineSec=5min

# secrets.d/db.secret
[Secret]
# vendor/secrets.d/db.secret:2
Source=file:/a
# vendor/secrets.d/db.secret:3
KeyId=$key
# local/secrets.d/db.secret.d/10-more.conf:3
EncryptionContext=b=2
# local/secrets.d/db.secret.d/10-more.conf:4
EncryptionContext=c=3

[Deliver]
# vendor/secrets.d/db.secret:6
Units=a.service
# local/secrets.d/db.secret.d/10-more.conf:6
Units=b.service  c.service

END
mkdir -p "$scratch/again/secrets.d"
sed -n '/^# unseald.conf$/,/^# secrets/p' "$scratch/printed" >"$scratch/again/unseald.conf"
sed -n '/^# secrets.d.db.secret$/,$p' "$scratch/printed" >"$scratch/again/secrets.d/db.secret"
diff <(grep -v '^#' "$scratch/printed") <(print "$scratch/again" /nonexistent | grep -v '^#') || die "the output, read back, gives another configuration"
printf '[Unseald]\nFips=maybe\n' >"$local/unseald.conf.d/30-wrong.conf"
status=0
print "$vendor" "$local" >"$scratch/printed" || status=$?
assert_equal "exit status with a mistake, and the output" "$status $(cat "$scratch/printed")" '78 '
