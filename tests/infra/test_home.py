"""The order in which the home stack is created."""

import json
import re

from tests.infra.synthesized import Stack

ACTING = {"AWS::Events::Rule", "AWS::Scheduler::Schedule"}


def needs(home: Stack) -> dict[str, set[str]]:
    """All resources that are created before each resource, by logical id."""
    resources = home.template["Resources"]
    pattern = re.compile(r'"(?:Ref|Fn::GetAtt)": (?:"(\w+)"|\["(\w+)")')
    direct = {
        name: {found for pair in pattern.findall(json.dumps(resource)) for found in pair if found in resources}
        | {*resource.get("DependsOn", [])}
        for name, resource in resources.items()
    }

    def all_of(name: str) -> set[str]:
        return direct[name].union(*map(all_of, direct[name]))

    return {name: all_of(name) for name in resources}


def test_rules_and_schedules_come_after_everything_else(home: Stack) -> None:
    """They start the enforcer's work: a stack that rolls back before them has changed no instance."""
    resources = home.template["Resources"]
    others = {name for name, resource in resources.items() if resource["Type"] not in ACTING}
    before = needs(home)
    acting = resources.keys() - others
    assert len(acting) == 11
    for name in acting:
        assert before[name] >= others, f"{name} does not wait for {others - before[name]}"


def test_the_sweeps_schedule_comes_last(home: Stack) -> None:
    """It starts a sweep at once."""
    resources = home.template["Resources"]
    (sweep,) = (
        name for name, each in resources.items() if each.get("Properties", {}).get("Name") == "imds-enforcer-sweep"
    )
    assert needs(home)[sweep] == resources.keys() - {sweep}
