"""Tests of what is deployed.

jsii starts Node.js as soon as the CDK is imported; ours comes from a wheel, and only this PATH has it.
"""

import os

from infra.deploy import tool_environment

os.environ["PATH"] = tool_environment()["PATH"]
