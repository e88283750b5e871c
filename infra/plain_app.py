"""The CDK app of `make template`: home and forwarder as plain CloudFormation, which deploys without the CDK.

    python -m infra.plain_app FOLDER

The stacks are those of `infra.app`: their templates differ only in the location of the function's code. They fit every
account, region and partition.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aws_cdk import App, BootstraplessSynthesizer

from infra.account_rules import ContextError
from infra.app import checked_context
from infra.forwarder import ForwarderStack
from infra.home import HomeStack


def write(folder: Path, context: Mapping[str, Any] | None = None) -> None:
    """Write both templates into the folder; without a context, use the one that the CDK CLI passes to its apps."""
    with tempfile.TemporaryDirectory() as assembly:
        app = App(
            context=context,
            outdir=assembly,
            default_stack_synthesizer=BootstraplessSynthesizer(),
            analytics_reporting=False,
            builtin_cloud_formation_validation=False,
        )
        # One template serves every region that gets a forwarder, so the context's regions do not matter.
        checked = checked_context(app, home_region="", regions=[])
        HomeStack(app, "ImdsEnforcer", context=checked)
        ForwarderStack(app, "ImdsEnforcerForwarder", rules=checked.rules)
        for stack in app.synth().stacks:
            # In lines, for a diff; not indented, as CloudFormation's API accepts at most 51,200 bytes.
            text = json.dumps(stack.template, indent=0)
            (folder / f"{stack.stack_name}.template.json").write_text(text, "utf-8")


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]))
    except ContextError as error:
        sys.exit(str(error))
