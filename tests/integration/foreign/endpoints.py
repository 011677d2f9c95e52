# SPDX-License-Identifier: Apache-2.0
"""Compares the endpoints of unseald with those of botocore, which has AWS's rules.

usage: endpoints.py PRINT-ENDPOINTS TABLE. TABLE gets one line for each partition and kind of endpoint.
"""
import itertools
import subprocess
import sys
from urllib.parse import urlsplit

from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import create_loader

program, table = sys.argv[1:]

# The sources of unseald, botocore's name of the service, and the parameters of its rules. S3's certificates cover no dot in a bucket.
services = [
    ("kms", "kms", {}),
    ("s3://bucket/key", "s3", {"Bucket": "bucket"}),
    ("s3://a.bucket/key", "s3", {"Bucket": "a.bucket"}),
    ("ssm:name", "ssm", {}),
    ("secretsmanager:name", "secretsmanager", {}),
]
kinds = {"ordinary": (0, 0), "FIPS": (1, 0), "dual stack": (0, 1), "FIPS and dual stack": (1, 1)}
known = {"aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"}
# What the rules do not have. unsealctl check says so. The daemon takes the name that such an endpoint would have.
absent = {("aws-cn", "s3", 1, 0), ("aws-cn", "s3", 1, 1)}

loader = create_loader()
partitions = loader.load_data("partitions")
providers = {name: EndpointProvider(loader.load_service_model(name, "endpoint-rule-set-1"), partitions) for name in
             ("kms", "s3", "ssm", "secretsmanager")}


def wanted(region, name, parameters, fips, dual_stack):
    try:
        endpoint = providers[name].resolve_endpoint(Region=region, UseFIPS=bool(fips), UseDualStack=bool(dual_stack), **parameters)
    except EndpointProviderError:
        return None
    return endpoint.url.rstrip("/")


def without_key(url, source):
    """The URL of unseald's request has the key of the object behind that of the bucket."""
    return url.removesuffix("/key" if source.startswith("s3:") else "/").rstrip("/")


regions = [(partition["id"], region) for partition in partitions["partitions"] for region in partition["regions"]
           if not region.endswith("-global")]
assert {partition for partition, _ in regions} >= known, "botocore lacks a partition that unseald has"
questions = [(*where, *service, *kind) for where, service, kind in itertools.product(regions, services, kinds.values())
             if where[0] in known]
lines = "".join(f"{partition} {region} {source} {fips} {dual_stack}\n"
                for partition, region, source, _, _, fips, dual_stack in questions)
answers = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
assert len(answers) == len(questions), f"{len(answers)} answers to {len(questions)} questions"

wrong, hosts, met = 0, {}, set()
for (partition, region, source, name, parameters, fips, dual_stack), answer in zip(questions, answers):
    own, url = answer.split(" ")
    rule = wanted(region, name, parameters, fips, dual_stack)
    if rule is None:
        met.add((partition, name, fips, dual_stack))
    elif without_key(url, source) != rule:
        print(f"{region} {source} FIPS {fips} dual stack {dual_stack}: unseald has {url}, the rules have {rule}")
        wrong += 1
    if own != partition:
        print(f"{region} is in {partition}, not in {own}")
        wrong += 1
    if "a.bucket" not in source:
        host = urlsplit(rule).hostname.removeprefix("bucket.").replace(region, "REGION") if rule else "-"
        hosts.setdefault((partition, fips, dual_stack), {}).setdefault(name, set()).add(host)
if met != absent:
    print(f"the rules have no endpoint for {sorted(met)}; expected {sorted(absent)}")
    wrong += 1
new = {partition for partition, _ in regions} - known
if new:
    print(f"SKIP: partitions that unseald does not know: {', '.join(sorted(new))}")

names = {values: name for name, values in kinds.items()}
with open(table, "w", encoding="utf-8") as file:
    for (partition, *kind), row in hosts.items():
        print(f"{partition}\t{names[tuple(kind)]}\t" +
              "\t".join("/".join(sorted(row[name])) for name in providers), file=file)
print(f"{len(questions)} endpoints of {len({region for _, region in regions})} Regions compared, {wrong} differences")
sys.exit(wrong > 0)
