#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What unseald does when that fails whose answer is JSON with the ciphertext in it: Parameter Store, Secrets Manager.
. "$(dirname "$0")/sources-rows.sh"

table_begin 'Parameter Store, Secrets Manager'
platform parameter put db "$scratch/sealed" >/dev/null
platform secret put db "$scratch/sealed" >/dev/null

# rows_of_json SERVICE OPERATION: where it is a string in the body. No JSON may be a middlebox' answer.
rows_of_json() {
    for fault in garbage empty; do
        row recovers 2 'no JSON' -- "$@" $fault --times 1
        row 'ends 53' many 'no JSON' -- "$@" $fault
    done
}

declare_source ssm:db
rows_on_the_way ssm GetParameter
rows_of_aws ssm GetParameter
rows_of_json ssm GetParameter

declare_source secretsmanager:db
rows_on_the_way secretsmanager GetSecretValue
rows_of_aws secretsmanager GetSecretValue
rows_of_json secretsmanager GetSecretValue

table_end ssm secretsmanager
