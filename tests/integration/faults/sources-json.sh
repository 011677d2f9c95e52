#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults of the sources whose answer is JSON with the ciphertext in it: Parameter Store, Secrets Manager.
. "$(dirname "$0")/sources-rows.sh"

table_begin 'Parameter Store, Secrets Manager'
platform parameter put db "$scratch/sealed" >/dev/null
platform secret put db "$scratch/sealed" >/dev/null

# rows_of_json SERVICE OPERATION: rows for a source with the ciphertext in JSON. A body without JSON may come from a middlebox.
rows_of_json() {
    for fault in garbage empty; do
        row recovers 2 'not JSON' -- "$@" $fault --times 1
        row 'ends 53' many 'not JSON' -- "$@" $fault
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
