#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AWS's own tools and models check the files for a customer: cfn-lint checks the CloudFormation template; the AWS CLI's
# parameter validation, and moto's EC2, check the launch template.
. "$(dirname "$0")/lib.sh"
install_aws
install_from_pypi cfn-lint cfn-lint
install_from_pypi moto 'moto[server,ec2,ebs]'
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=unused
customer=$top/kiwi/customer

"$cache/cfn-lint/bin/cfn-lint" --regions eu-north-1 --include-checks I -- "$customer/appliance.yaml"
echo "cfn-lint has nothing to say of appliance.yaml"

# The template must exclude the T family as nitrotpm-types does. On EC2 a pattern that admits t3 would show only after an hour.
pattern=$("$cache/cfn-lint/bin/python" - "$customer/appliance.yaml" <<'END'
import re, sys
text = open(sys.argv[1]).read()
print(re.search(r'InstanceType:.*?AllowedPattern: "(.*?)"\n', text, re.S)[1].replace("\\\\", "\\"))
END
)
for type in m7i.large trn1.2xlarge c7g.metal u-6tb1.56xlarge; do
    [[ $type =~ $pattern ]] || fail "the template refuses $type"
done
for type in t2.micro t3.large t3a.small t4g.nano; do
    [[ ! $type =~ $pattern ]] || fail "the template takes $type, which has no attestation"
done

mkfifo "$work/port"
"$cache/moto/bin/python" "${BASH_SOURCE%/*}/ec2-server.py" >"$work/port" 2>"$work/moto.log" &
server=$!
at_exit end_process "$server"
read -r port <"$work/port" || fail "moto did not start: $(cat "$work/moto.log")"
export AWS_ENDPOINT_URL=http://127.0.0.1:$port
"$aws" ec2 create-launch-template --region eu-north-1 --launch-template-name appliance \
    --launch-template-data "file://$customer/launch-template.json" --query LaunchTemplate.LaunchTemplateId --output text
data=$("$aws" ec2 describe-launch-template-versions --region eu-north-1 --launch-template-name appliance --versions 1 \
    --query 'LaunchTemplateVersions[0].LaunchTemplateData' --output json)
jq -e '.MetadataOptions | .HttpTokens == "required" and .HttpPutResponseHopLimit == 1' <<<"$data" >/dev/null ||
    fail "the launch template does not require IMDSv2: $data"
jq '.MetadataOption = {}' "$customer/launch-template.json" >"$work/wrong.json"
"$aws" ec2 create-launch-template --region eu-north-1 --launch-template-name wrong \
    --launch-template-data "file://$work/wrong.json" 2>"$work/error" && fail "the CLI takes an unknown parameter"
grep 'Unknown parameter' "$work/error"
