import json

from aws_cdk.cx_api import CloudAssembly, CloudFormationStackArtifact

from tests.infra.synthesized import FORWARDED, Stack, Synthesize


def artifact(assembly: CloudAssembly) -> CloudFormationStackArtifact:
    """The forwarder, as the CLI sees it."""
    return assembly.get_stack_by_name(f"ImdsEnforcerForwarder-{FORWARDED}")


def test_a_forwarder_may_put_events_on_the_home_bus_and_no_more(forwarder: Stack) -> None:
    """Its role has a generated name, so that the roles of several regions do not clash."""
    assert forwarder.of_type("AWS::IAM::Role") == {
        "Role": {
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}},
                    }
                ],
            },
            "Policies": [
                {
                    "PolicyName": "forward",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Sid": "SendHome",
                                "Effect": "Allow",
                                "Action": "events:PutEvents",
                                "Resource": "arn:${AWS::Partition}:events:eu-central-1:${AWS::AccountId}"
                                ":event-bus/imds-enforcer",
                            }
                        ],
                    },
                }
            ],
        }
    }


def test_its_region_needs_no_bootstrap(assembly: CloudAssembly, forwarder: Stack) -> None:
    """No asset, no parameter that checks the bootstrap, and a template small enough to be sent inline."""
    assert {*forwarder.template} <= {"Description", "Resources"}
    assert len(json.dumps(forwarder.template)) < 51_200
    assert artifact(assembly).assets == []
    assert artifact(assembly).stack_template_asset_object_url is None


def test_the_roles_of_the_home_regions_bootstrap_deploy_it(assembly: CloudAssembly) -> None:
    """Roles are global; only their names contain the region."""
    role = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/cdk-hnb659fds-%s-role-${AWS::AccountId}-eu-central-1"
    assert artifact(assembly).assume_role_arn == role % "deploy"
    assert artifact(assembly).cloud_formation_execution_role_arn == role % "cfn-exec"


def test_it_comes_after_the_bus_it_sends_to(assembly: CloudAssembly) -> None:
    """The home stack is deployed first, and removed last."""
    assert [dependency.id for dependency in artifact(assembly).dependencies] == ["ImdsEnforcer"]


def test_every_region_but_home_has_one(synthesize: Synthesize) -> None:
    """Each stack in its own region, named after it."""
    assembly = synthesize(regions=["us-east-1", "eu-central-1", "ap-south-1"])
    assert {stack.stack_name: stack.environment.region for stack in assembly.stacks} == {
        "ImdsEnforcer": "eu-central-1",
        "ImdsEnforcerForwarder-ap-south-1": "ap-south-1",
        "ImdsEnforcerForwarder-us-east-1": "us-east-1",
    }
