#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares unseald's endpoints with AWS's endpoint rules, as botocore has them: each Region of each partition, for KMS, S3, Parameter
# Store and Secrets Manager, with and without FIPS and dual stack. The table goes to $UNSEALD_TEST_RESULTS. It needs no platform.
. "$(dirname "$0")/lib.sh"
install_aws
"$aws_python" "${BASH_SOURCE%/*}/endpoints.py" "$build/tests/integration/endpoints/print-endpoints" "$work/table" ||
    fail "the endpoints differ from AWS's rules"
cat "$work/table"
[[ ! ${UNSEALD_TEST_RESULTS:-} ]] || cp "$work/table" "$UNSEALD_TEST_RESULTS/endpoints.txt"
