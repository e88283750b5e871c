"""Account defaults in sweeps and batches: what the enforcer asks for, corrects and reports."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.aws.ledger_items import lease_item
from imds_enforcer.ledger.lease import Lease
from imds_enforcer.model import Failure, HttpTokens, Outcome, Trigger
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer.policy import AccountDefaults, Mode, RegionSelection
from imds_enforcer.runs.account_defaults import NOT_DEPLOYED
from tests.fakes import example_events as events
from tests.fakes.clients import a_run
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    SETTINGS,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    a_policy,
    an_exemption,
    an_id,
    an_instance,
)
from tests.fakes.runs import App, Batch, Documents, Sweep

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

READ, SET = "GetInstanceMetadataDefaults", "ModifyInstanceMetadataDefaults"
POLICY = a_policy(account_defaults=AccountDefaults())
KEPT = RegionDefaults(http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2)
KEEPING = replace(SETTINGS, account_defaults="true")


def outcomes(of: Sweep | Batch) -> dict[str, Outcome]:
    """The outcome of each region's defaults."""
    return {name: part.defaults.outcome for name, part in of.report.regions.items() if part.defaults}


def keep(clients: FakeClients, **fields: Any) -> None:
    """Let the policy name account defaults."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"account_defaults": {}} | fields))


def sent(clients: FakeClients) -> list[str]:
    """The regions in which defaults were set."""
    return [name for name, fake in clients.defaults.items() for _ in fake.sent]


def test_every_covered_region_follows(clients: FakeClients) -> None:
    """One look at a region is enough if all is as wanted."""
    clients.defaults[AWAY].current = KEPT
    assert outcomes(Sweep(clients, POLICY)) == {HOME: Outcome.REMEDIATED, AWAY: Outcome.COMPLIANT}
    assert clients.defaults[AWAY].calls == [READ]
    assert clients.defaults[HOME].current == KEPT


@pytest.mark.parametrize("policy", [a_policy(), replace(POLICY, regions=RegionSelection(include=("ap-south-1",)))])
def test_without_account_defaults_in_the_policy_no_region_is_asked(clients: FakeClients, policy: Any) -> None:
    """EC2 gets no request about defaults at all."""
    assert outcomes(Sweep(clients, policy)) == {}
    assert [fake.calls for fake in clients.defaults.values()] == [[], []]


def test_removing_account_defaults_from_the_policy_reverts_nothing(clients: FakeClients) -> None:
    """Reverting is for a person to order."""
    Sweep(clients, POLICY)
    Sweep(clients, a_policy(HttpTokens.OPTIONAL))
    assert clients.defaults[HOME].current == KEPT


def test_defaults_that_fail_stop_no_instance_and_the_reverse(clients: FakeClients, home: FakeEc2) -> None:
    """Defaults and instances each have their own outcome."""
    clients.defaults[HOME].set_failure = UNAUTHORIZED
    clients.fakes[AWAY].find_errors = {1: UNAUTHORIZED}
    home.launch(an_instance(1))
    swept = Sweep(clients, POLICY)
    assert outcomes(swept) == {HOME: Outcome.FAILED, AWAY: Outcome.REMEDIATED}
    assert swept.logged == {an_id(1): Outcome.REMEDIATED}
    assert swept.report.regions[AWAY].failure == UNAUTHORIZED


@pytest.mark.parametrize(("failure", "tried_again"), [(THROTTLED, True), (SERVER_FAULT, False), (UNAUTHORIZED, False)])
def test_only_throttling_is_left_to_the_next_sweep(
    clients: FakeClients,
    failure: Failure,
    tried_again: bool,  # noqa: FBT001  # an example
) -> None:
    """A change that EC2 never answers must raise the alarm at some point. The result has EC2's code."""
    clients.defaults[HOME].set_failure = failure
    result = Sweep(clients, POLICY).report.regions[HOME].defaults
    assert result
    assert (result.outcome, result.failure) == (Outcome.DEFERRED if tried_again else Outcome.FAILED, failure)
    assert result.reason == f"{failure}{'; the next sweep tries again' if tried_again else ''}"


def test_a_region_that_the_organization_denies_causes_no_digest(clients: FakeClients, away: FakeEc2) -> None:
    """The denial is the same every day. If only the defaults are denied, a digest names them."""
    keep(clients)
    clients.defaults[HOME].current = KEPT
    clients.defaults[AWAY].read_failure = DENIED_BY_SCP
    away.find_errors[1] = DENIED_BY_SCP
    app = App(clients, settings=KEEPING)
    app.invoke({"inventory": True})
    assert clients.topic.mails == []
    app.invoke({"inventory": True})
    [(_, text)] = clients.topic.mails
    assert f"The account defaults in {AWAY} are SKIPPED: denied by the organization ({DENIED_BY_SCP})" in text


def test_a_contradiction_leaves_all_regions_alone_and_is_one_finding(clients: FakeClients, home: FakeEc2) -> None:
    """Instances are enforced all the same."""
    home.launch(an_instance(1))
    exempt = an_exemption(instance_id="i-none")
    policy = a_policy(account_defaults=AccountDefaults(enforce_tokens=True), exemptions=(exempt,))
    swept = Sweep(clients, policy)
    assert outcomes(swept) == {}
    assert swept.logged == {an_id(1): Outcome.REMEDIATED}
    [finding] = swept.report.warnings
    assert finding == (
        "The policy contradicts itself, so the account defaults are left alone: with account_defaults.enforce_tokens "
        "EC2 refuses the launches that this exemption allows: (instance_id i-none) legacy SDK."
    )
    # While tokens are optional, nothing is enforced, and earlier enforcement may be undone.
    assert Sweep(clients, replace(policy, http_tokens=HttpTokens.OPTIONAL)).report.warnings == ()


def test_audit_mode_writes_nothing(clients: FakeClients) -> None:
    """A sweep writes nothing, and an event causes no write."""
    audit = replace(POLICY, mode=Mode.AUDIT)
    assert set(outcomes(Sweep(clients, audit)).values()) == {Outcome.WOULD_REMEDIATE}
    assert outcomes(Batch(clients, a_message(events.defaults_change()), policy=audit)) == {
        HOME: Outcome.WOULD_REMEDIATE
    }
    assert (sent(clients), clients.table.writes) == ([], 0)


def test_drift_is_corrected_at_once_in_its_region(clients: FakeClients, home: FakeEc2) -> None:
    """It is corrected with the instances of the same batch, and once for several events."""
    home.launch(an_instance(1))
    messages = [a_message(events.defaults_change(), f"m-{number}") for number in range(2)]
    batch = Batch(clients, *messages, a_message(events.running(an_id(1)), "m-9"), policy=POLICY)
    assert outcomes(batch) == {HOME: Outcome.REMEDIATED}
    assert (batch.outcomes, batch.again) == ({an_id(1): Outcome.REMEDIATED}, [])
    assert (sent(clients), clients.defaults[AWAY].calls) == ([HOME], [])
    assert [entry.trigger for entry in clients.ledger_table.defaults.of(HOME)] == [Trigger.DRIFT]


@pytest.mark.parametrize("policy", [a_policy(), replace(POLICY, regions=RegionSelection(exclude=(HOME,)))])
def test_drift_is_ignored_without_account_defaults_in_the_policy(clients: FakeClients, policy: Any) -> None:
    """Its message is acknowledged."""
    batch = Batch(clients, a_message(events.defaults_change()), policy=policy)
    assert (outcomes(batch), batch.again, clients.defaults[HOME].calls) == ({}, [], [])


@pytest.mark.parametrize(
    ("failure", "receives", "again", "outcome"),
    [
        (THROTTLED, 1, True, Outcome.DEFERRED),
        (THROTTLED, 12, True, Outcome.FAILED),
        (UNAUTHORIZED, 1, False, Outcome.FAILED),
    ],
)
def test_an_event_comes_back_if_a_retry_may_help(
    clients: FakeClients,
    failure: Failure,
    receives: int,
    again: bool,  # noqa: FBT001  # an example
    outcome: Outcome,
) -> None:
    """The messages of instances do not come back with it."""
    clients.defaults[HOME].set_failure = failure
    drift = a_message(events.defaults_change(), "m-1", receives)
    other = a_message(events.running(an_id(1)), "m-2")
    clients.ec2(HOME).launch(an_instance(1))
    batch = Batch(clients, drift, other, policy=POLICY)
    assert (outcomes(batch), batch.again) == ({HOME: outcome}, ["m-1"] if again else [])


def test_a_function_without_permission_says_once_how_to_deploy_it(
    clients: FakeClients, home: FakeEc2, app: App
) -> None:
    """Instances are enforced all the same, and no region is asked for its defaults."""
    keep(clients)
    home.launch(an_instance(1))
    report = app.invoke({})
    assert (report["warnings"], report["outcomes"]) == ([NOT_DEPLOYED], {"REMEDIATED": 1})
    assert app.batch(a_message(events.defaults_change())) == []
    assert [fake.calls for fake in clients.defaults.values()] == [[], []]
    keep(clients, account_defaults=None)
    assert app.invoke({})["warnings"] == []


def test_report_log_and_metrics_show_the_outcome(
    clients: FakeClients, log_lines: Documents, metrics: Documents
) -> None:
    """A region's defaults add one to its outcome; the count of instances leaves them out."""
    keep(clients)
    report = App(clients, settings=KEEPING).invoke({})
    assert report["regions"][HOME]["defaults"]["outcome"] == "REMEDIATED"
    assert (report["outcomes"], report["instances"]) == ({}, 0)
    lines = [line for line in log_lines() if line.get("kind") == "defaults"]
    assert [(line["region"], line["outcome"], line["trigger"]) for line in lines] == [
        (region, "REMEDIATED", "manual") for region in sorted((HOME, AWAY), key=lambda name: name != lines[0]["region"])
    ]
    assert lines[0]["before"]["HttpTokens"] == "no-preference"
    assert [each["REMEDIATED"] for each in metrics() if "REMEDIATED" in each and "Region" not in each] == [[2.0]]


def test_unchanged_outcomes_are_logged_once_a_day(clients: FakeClients, log_lines: Documents) -> None:
    """The daily inventory logs them."""
    for fake in clients.defaults.values():
        fake.current = KEPT
    keep(clients)
    app = App(clients, settings=KEEPING)
    app.invoke({})
    assert [line for line in log_lines() if line.get("kind") == "defaults"] == []
    app.invoke({"inventory": True})
    assert len([line for line in log_lines() if line.get("kind") == "defaults"]) == 2


def test_the_daily_digest_names_defaults_that_differ(clients: FakeClients) -> None:
    """It also names defaults that a declarative policy sets to other values."""
    clients.defaults[HOME].managed = "a declarative policy manages the region's defaults: Ask Ann."
    clients.defaults[AWAY].set_failure = UNAUTHORIZED
    keep(clients)
    App(clients, settings=KEEPING).invoke({"inventory": True})
    [(_, text)] = clients.topic.mails
    differs = "HttpTokens is no-preference, not required, HttpPutResponseHopLimit is no-preference, not 2"
    why = f"a declarative policy manages the region's defaults: Ask Ann.; {differs}"
    assert f"The account defaults in {HOME} are SKIPPED: {why}" in text.splitlines()
    assert f"The account defaults in {AWAY} are FAILED: {UNAUTHORIZED}" in text.splitlines()
    assert clients.defaults[HOME].sent == []


def test_the_toggle_reverts_enforced_tokens_before_it_loosens_instances(clients: FakeClients, home: FakeEc2) -> None:
    """Otherwise EC2 would refuse to loosen the instances."""
    keep(clients, account_defaults={"enforce_tokens": True})
    home.launch(an_instance(1))
    app = App(clients, settings=KEEPING)
    app.invoke({})
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.clock.advance(60)
    home.calls.clear()
    clients.defaults[HOME].before_set = lambda: home.calls.append("defaults")
    assert app.invoke({})["outcomes"] == {"REMEDIATED": 1}
    assert home.calls.index("defaults") < home.calls.index("ModifyInstanceMetadataOptions")
    assert clients.defaults[HOME].current == RegionDefaults()


def test_a_ledger_out_of_reach_is_reported(clients: FakeClients) -> None:
    """It is reported in the same way as for instances."""
    clients.table.write_failure = THROTTLED
    swept = Sweep(clients, POLICY)
    assert set(outcomes(swept).values()) == {Outcome.DEFERRED}
    assert {part.ledger_failure for part in swept.report.regions.values()} == {THROTTLED}
    batch = Batch(clients, a_message(events.defaults_change()), policy=POLICY)
    assert (batch.again, batch.report.regions[HOME].ledger_failure) == (["m-1"], THROTTLED)


def test_an_inventory_beside_another_sweep_changes_nothing(clients: FakeClients) -> None:
    """The inventory only counts, and names the run that holds the lease."""
    keep(clients)
    versions = clients.policies.in_force(fresh=True)
    lease = Lease(run_id="other", versions=versions, expires_at=clients.clock.now() + timedelta(minutes=10))
    clients.table.put([lease_item(lease)])
    report = App(clients, settings=KEEPING).invoke({"inventory": True})
    assert report["regions"][HOME]["defaults"]["outcome"] == "DEFERRED"
    assert "the run other is sweeping" in report["regions"][HOME]["defaults"]["reason"]
    assert sent(clients) == []


def left_open(clients: FakeClients, *, sent: bool) -> None:
    """Kill a process before or after it sends the change of the home region's defaults; its time is then over."""

    def die() -> None:
        raise KeyboardInterrupt

    home = clients.defaults[HOME]
    home.before_set, home.after_set = (None, die) if sent else (die, None)
    keeper = a_run(clients, POLICY).for_defaults(HOME, Trigger.SCHEDULE)
    assert keeper
    with pytest.raises(KeyboardInterrupt):
        keeper.enforce()
    home.before_set = home.after_set = None
    clients.clock.advance(timedelta(minutes=20).total_seconds())


@pytest.mark.parametrize(
    ("sent", "outcomes"), [(True, [Outcome.REMEDIATED]), (False, [Outcome.DEFERRED, Outcome.REMEDIATED])]
)
def test_the_next_sweep_completes_the_entry_of_a_killed_process(
    clients: FakeClients,
    sent: bool,  # noqa: FBT001  # an example
    outcomes: list[Outcome],
) -> None:
    """One index has the open entries of instances and of defaults, so looking for them takes one request."""
    keep(clients)
    left_open(clients, sent=sent)
    app = App(clients, settings=KEEPING)
    app.invoke({})
    assert [entry.outcome for entry in clients.ledger_table.defaults.of(HOME)] == outcomes
    clients.table.requests.clear()
    app.invoke({})
    assert [each for each in clients.table.requests if each.startswith(("Query defaults", "Scan"))] == ["Scan open"]


def test_a_change_that_was_never_sent_is_not_undone(clients: FakeClients) -> None:
    """What a person sets by hand afterwards stays when tokens become optional."""
    left_open(clients, sent=False)
    keep(clients, regions={"include": [HOME]})
    app = App(clients, settings=KEEPING)
    clients.defaults[HOME].set_failure = UNAUTHORIZED
    app.invoke({})
    clients.defaults[HOME].set_failure = None
    clients.defaults[HOME].put(http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2)
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    app.invoke({})
    assert clients.defaults[HOME].current == KEPT


def test_a_later_run_shows_what_a_killed_one_did(clients: FakeClients) -> None:
    """The later run's entry says how it found the region: as the killed run left it."""
    left_open(clients, sent=False)
    Sweep(clients, POLICY)
    clients.clock.advance(60)
    Sweep(clients, replace(POLICY, http_tokens=HttpTokens.OPTIONAL))
    outcomes = [entry.outcome for entry in clients.ledger_table.defaults.of(HOME)]
    assert outcomes == [Outcome.DEFERRED, Outcome.REMEDIATED, Outcome.REMEDIATED]
