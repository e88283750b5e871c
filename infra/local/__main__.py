"""`make local`: a local AWS in the foreground, with the stacks deployed, until Ctrl-C.

python -m infra.local [arguments for cdk deploy …]
"""

import signal
import sys

from infra.local.client import LocalAws
from infra.local.deployment import deploy
from infra.local.process import ROOT


def main(cdk_args: list[str]) -> None:
    """Start, deploy, say how to use it, and wait."""
    # A plain `kill` ends it as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalAws() as aws:
            print(f"A local AWS is running at {aws.endpoint_url}. Deploying …", flush=True)
            deploy(aws, *cdk_args)
            print(usage(aws), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("\nStopped. The local AWS left nothing behind.")


def usage(aws: LocalAws) -> str:
    """How to point the AWS CLI to the local AWS, and what to try first."""
    pointing = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    environment = aws.environment()
    exports = "\n".join(f"    export {name}={environment[name]}" for name in pointing)
    outputs = "\n".join(f"    {name} = {value}" for name, value in aws.stack_outputs("ImdsEnforcer").items())
    return f"""
The stack ImdsEnforcer is deployed:

{outputs}

In another terminal, in {ROOT}:

{exports}

    aws ec2 run-instances --image-id ami-0abcdef1234567890 --metadata-options HttpTokens=optional
    aws ec2 describe-instances --query 'Reservations[].Instances[].[InstanceId,MetadataOptions]'
    aws ssm put-parameter --name /imds-enforcer/http-tokens --value optional --overwrite

    curl -s {aws.endpoint_url}/_local/knobs    # delays, limits and switches
    curl -s {aws.endpoint_url}/_local/calls    # API calls so far

Ctrl-C stops it.
"""


if __name__ == "__main__":
    main(sys.argv[1:])
