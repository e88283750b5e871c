"""The CDK app: one home stack, and a forwarder for each of the other regions in the context.

The stack that outlives them (`infra.state`) is not part of the app, so no argument of `cdk deploy` can reach it.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

from aws_cdk import App, Environment, Validations
from aws_cdk import aws_lambda as lambda_
from cdk_nag import AwsSolutionsChecks

from infra import account_rules, package
from infra.account_rules import ContextError
from infra.context import Context
from infra.forwarder import ForwarderStack
from infra.home import HomeStack

KEYS = ("regions", "schedule", "notification_email", "floor", "account_defaults", *account_rules.KEYS)


def build(
    *, home_region: str, account: str | None, context: Mapping[str, Any] | None = None, outdir: str | None = None
) -> App:
    """Build every stack; without an account, their templates fit any account.

    Args:
        home_region: where the home stack goes.
        account: the account that the stacks go to, if known.
        context: replaces what the CLI reads from `cdk.json` and `-c`, if the CLI does not run this.
        outdir: where to write the templates, if the CLI does not run this.
    """
    app = App(
        context=context,
        outdir=outdir,
        analytics_reporting=False,
        # It takes as long as the rest of the synthesis, and in the tests cfn-lint checks the same.
        builtin_cloud_formation_validation=False,
    )
    checked = checked_context(app, home_region=home_region)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    home = HomeStack(
        app,
        "ImdsEnforcer",
        context=checked,
        code=lambda_.Code.from_asset(str(package.build()), exclude=package.excluded()),
        env=Environment(account=account, region=home_region),
    )
    for region in checked.regions:
        forwarder = ForwarderStack(
            app,
            f"ImdsEnforcerForwarder-{region}",
            home_region=home_region,
            rules=checked.rules,
            env=Environment(account=account, region=region),
        )
        forwarder.add_stack_dependency(home)
    return app


def checked_context(app: App, *, home_region: str, **instead: object) -> Context:
    """The app's validated context; values in `instead` replace the app's own.

    Raises:
        ContextError: naming the invalid value.
    """
    values = {key: app.node.try_get_context(key) for key in KEYS}
    checked = Context.parse({**values, **instead}, home_region=home_region)
    # The CDK does not parse values given with -c: it would ignore a boundary given as text, and use an empty name.
    app.node.set_context(account_rules.BOUNDARY, checked.rules.boundary)
    app.node.set_context(account_rules.QUALIFIER, checked.rules.qualifier)
    return checked


if __name__ == "__main__":
    try:
        # The CLI passes the account of its credentials, if it has any, and the region.
        build(home_region=os.environ["CDK_DEFAULT_REGION"], account=os.environ.get("CDK_DEFAULT_ACCOUNT")).synth()
    except ContextError as error:
        sys.exit(str(error))
