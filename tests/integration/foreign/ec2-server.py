# SPDX-License-Identifier: Apache-2.0
"""Runs moto's EC2 and EBS direct APIs, and whatever else of moto is installed, on a free port of 127.0.0.1, and prints the port.

moto forgets most parameters of register-image. This server keeps those that describe-images must show afterwards and, like EC2,
copies them with the image. --forget=MEMBER leaves one of them out, so that a test sees whether the caller notices. moto does not
apply the launch template of a stack's instance, so this server does.
"""

import sys

from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

MEMBERS = {"TpmSupport": "tpm_support", "ImdsSupport": "imds_support", "EnaSupport": "ena_support", "BootMode": "boot_mode",
           "UefiData": "uefi"}
forgotten = {argument.partition("=")[2] for argument in sys.argv[1:]}
register, copy, describe = EC2Response.register_image, EC2Response.copy_image, EC2Response.describe_image_attribute
launch = Instance.create_from_cloudformation_json


def register_image(self):
    result = register(self)
    image = self.ec2_backend.amis[result.result["ImageId"]]
    image.boot_mode = image.uefi = None
    for member, attribute in MEMBERS.items():
        value = self._get_param(member)
        if value is not None and member not in forgotten:
            setattr(image, attribute, value)
    return result


def copy_image(self):
    result = copy(self)
    image = self.ec2_backend.amis[result.result["ImageId"]]
    source = ec2_backends[self.current_account][self._get_param("SourceRegion")].amis[self._get_param("SourceImageId")]
    for attribute in MEMBERS.values():
        setattr(image, attribute, getattr(source, attribute, None))
    return result


def describe_image_attribute(self):
    """moto's reply has uefiData, which its own model of the reply leaves out."""
    result = describe(self)
    if "uefiData" in result.result:
        result.result["UefiData"] = result.result.pop("uefiData")
    return result


def launch_of_stack(_, resource_name, cloudformation_json, account_id, region_name, **kwargs):
    properties = cloudformation_json["Properties"]
    if "LaunchTemplate" in properties:
        template = ec2_backends[account_id][region_name].launch_templates[properties["LaunchTemplate"]["LaunchTemplateId"]]
        data = template.get_version(properties["LaunchTemplate"]["Version"]).data
        properties = {**data, **properties, "SubnetId": data["NetworkInterfaces"][0]["SubnetId"]}
        del properties["IamInstanceProfile"]  # moto requires its name
    return launch(resource_name, {**cloudformation_json, "Properties": properties}, account_id, region_name, **kwargs)


EC2Response.register_image, EC2Response.copy_image = register_image, copy_image
EC2Response.describe_image_attribute = describe_image_attribute
Instance.create_from_cloudformation_json = classmethod(launch_of_stack)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
