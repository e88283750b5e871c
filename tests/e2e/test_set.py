"""A person's own change with the command, beside the deployed enforcer."""

import json

from infra.local import operator
from tests.e2e.stage import HOME, Stage


def test_a_hold_blocks_set_and_without_a_hold_the_policy_corrects_the_change(stage: Stage) -> None:
    """The same rules apply to the enforcer and the command, and the ledger has the command's changes too."""
    stage.warm_up()
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for_outcome(instance, "REMEDIATED")
    optional = ("set", "--version-2-state", "optional", "--instance-id", instance)
    operator.answer(stage.aws, "hold", instance, "--reason", "vendor agent")
    held = operator.run(stage.aws, *optional)
    assert (held.returncode, held.stdout) == (1, "")
    assert "vendor agent" in held.stderr
    assert f"`imds-enforcer release {instance}` ends the hold" in held.stderr
    operator.answer(stage.aws, "release", instance)
    with stage.unseen():
        # The event would arrive before the command has read its change back.
        loosened = operator.run(stage.aws, *optional)
    assert loosened.returncode == 0
    assert json.loads(loosened.stdout)["InstanceMetadataOptions"]["HttpTokens"] == "optional"
    assert "the enforcer changes it back" in loosened.stderr
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}
    verified = operator.run(stage.aws, "verify", instance)
    assert verified.returncode == 0, verified.stdout
    changes = operator.answer(stage.aws, "history", instance)
    assert [each["trigger"] for each in changes[1:]] == ["command", "manual"]
    assert [each["by"] is None for each in changes] == [True, False, True]
