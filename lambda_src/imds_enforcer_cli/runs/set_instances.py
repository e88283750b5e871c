"""Sets options of single instances for an operator, the enforcer's way: look, decide, send, read back."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import assert_never

from imds_enforcer.aws.dynamodb import NoTable
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.decision.decision import Decision, Verdict, decide
from imds_enforcer.enforcement.context import RegionContext
from imds_enforcer.enforcement.remediation import Remediation
from imds_enforcer.model import (
    AwsError,
    Change,
    Failure,
    HttpTokens,
    Instance,
    Kind,
    Outcome,
    PlannedChange,
    Result,
    Switch,
    Trigger,
)
from imds_enforcer.model.result import failed, result_of
from imds_enforcer.policy import Mode, Policy, PolicyVersions
from imds_enforcer.runs.run import Run
from imds_enforcer_cli.account.connection import Connection

_VERIFY_SECONDS = 60.0
_LEAST_SECONDS = 60.0
_CHANGES_A_SECOND = 2.5
"""Half of what EC2 allows: the enforcer may change instances in the same region at the same time."""

_CONTAINER_HOPS = 2
"""The lowest hop limit at which containers, one network hop further away, get a token (EC2 User Guide, "Use the
Instance Metadata Service")."""


class SetInstances:
    """Sets instances to the options that an operator wants, unless they are exempt or held.

    `policy` is None if no policy is in force. `by` is the operator's ARN for the ledger; None if there is no ledger.
    `ledger_failures` say, by region, why the ledger lacks part of the changes. `refused` is the failure if AWS did not
    accept the credentials, which ended the changes.
    """

    def __init__(
        self,
        reached: Connection,
        http_tokens: HttpTokens,
        hop_limit: int | None,
        policy: Policy | None,
        *,
        by: str | None,
    ) -> None:
        self._clients = reached.clients
        self._clock = reached.clock
        self._deployed = reached.deployed
        self._policy = policy
        self._by = by
        self.ledger_failures: dict[str, Failure] = {}
        # Send only the options that the operator named: do not raise a container host's hop limit as well.
        self._wanted = Policy(
            http_tokens=http_tokens,
            http_put_response_hop_limit=hop_limit,
            container_hop_limit=None,
            exemptions=policy.exemptions if policy else (),
        )
        self._rules = policy or self._wanted
        self._seen: dict[str, Instance] = {}
        self.refused: Failure | None = None

    def carry_out(self, instances: Iterable[Instance], *, rehearse: bool = False) -> dict[str, Result]:
        """One result for each instance, by id; one failure does not stop the others. A rehearsal changes nothing."""
        by_region: dict[str, list[Instance]] = defaultdict(list)
        for instance in instances:
            by_region[instance.region].append(instance)
        run = self._run(max(map(len, by_region.values())))
        work = self._rehearsed if rehearse else self._carried_out
        with ThreadPoolExecutor(len(by_region), thread_name_prefix="region") as pool:
            results = list(pool.map(lambda item: list(work(run, *item)), by_region.items()))
        self.refused = run.cancellation.refused
        return {result.instance_id: result for each in results for result in each}

    def changes_any(self, instances: Iterable[Instance]) -> bool:
        """True if at least one instance differs from what is wanted, and nothing that EC2 shows forbids the change."""
        return any(isinstance(examined, PlannedChange) for examined in self._examined(instances))

    def _run(self, changes: int) -> Run:
        ledger_table = self._clients.ledger_table if self._by else LedgerTable(NoTable(), self._clock)
        return Run(
            run_id=str(uuid.uuid4()),
            clients=self._clients,
            clock=self._clock,
            ledger=ledger_table.entries,
            seconds=_LEAST_SECONDS + changes / _CHANGES_A_SECOND,
            verify_timeout=_VERIFY_SECONDS,
            by=self._by,
            versions=self._policy.versions if self._policy else PolicyVersions(),
            source=self._clients.policies if self._policy else None,
        )

    def _carried_out(self, run: Run, region: str, instances: Sequence[Instance]) -> Iterator[Result]:
        context = run.order(region, Trigger.COMMAND, heeds_holds=True)
        remediation = Remediation(context, self._examined)
        yield from remediation.results((instance.instance_id, None) for instance in instances)
        if context.ledger_failure:
            self.ledger_failures[region] = context.ledger_failure

    def _rehearsed(self, run: Run, region: str, instances: Sequence[Instance]) -> Iterator[Result]:
        """Rehearse from observations made a moment ago: without a write, they need not be fresh."""
        context = run.order(region, Trigger.COMMAND, heeds_holds=True)
        plans: list[PlannedChange] = []
        for examined in self._examined(instances):
            if isinstance(examined, Result):
                yield examined
            else:
                plans.append(examined)
        assert context.hold_check is not None, "the run heeds holds"
        # If holds cannot be read, review returns nothing and the region is cancelled.
        for each in context.hold_check.review(plans) or plans:
            yield each if isinstance(each, Result) else _rehearsal(context, each)

    def _examined(self, instances: Iterable[Instance]) -> Iterator[PlannedChange | Result]:
        for instance in instances:
            self._seen[instance.instance_id] = instance
            decision = decide(instance, self._wanted, self._clock.now())
            if decision.change and instance.options:
                wanted = decision.change.applied_to(instance.options)
                yield PlannedChange(instance, decision.change, wanted, decision.reason)
            else:
                yield _unchanged(instance, decision)

    def is_done(self, result: Result) -> bool:
        """True if the instance has the wanted options, or will have them after its next start."""
        waits = result.outcome is Outcome.PENDING and self._seen[result.instance_id].state.at_rest
        return waits or result.outcome in {Outcome.REMEDIATED, Outcome.COMPLIANT, Outcome.WOULD_REMEDIATE}

    def against_policy(self, instance: Instance) -> str | None:
        """Why the enforcer would undo what the operator sets; None if it would not.

        Differences from the policy in other options do not count.
        """
        if not (self._deployed and self._rules.mode is Mode.ENFORCE and self._rules.regions.covers(instance.region)):
            return None
        then = self._afterwards(instance)
        if then is None or then.options is None:
            return None
        decision = decide(then, self._rules, self._clock.now())
        if decision.change is None:
            return None
        back, set_to = decision.change.applied_to(then.options), then.options
        tokens = back.http_tokens is not set_to.http_tokens
        hops = back.http_put_response_hop_limit != set_to.http_put_response_hop_limit
        return decision.reason if tokens or (hops and self._wanted.http_put_response_hop_limit is not None) else None

    def hops_too_few(self, instance: Instance) -> int | None:
        """The hop limit after the change, if it is too low for the instance's containers to get a token; else None."""
        then = self._afterwards(instance)
        if then is None or then.options is None or then.options.http_tokens is HttpTokens.OPTIONAL:
            return None
        hops = then.options.http_put_response_hop_limit
        return hops if hops < _CONTAINER_HOPS and self._rules.is_container_host(instance) else None

    def _afterwards(self, instance: Instance) -> Instance | None:
        """The instance as it will be once set; None if it cannot be set."""
        if instance.options is None or instance.options.http_endpoint is Switch.DISABLED:
            return None
        wanted = self._wanted
        change = Change(http_tokens=wanted.http_tokens, http_put_response_hop_limit=wanted.http_put_response_hop_limit)
        return replace(instance, options=change.applied_to(instance.options))


def _unchanged(instance: Instance, decision: Decision) -> Result:
    outcome, reason = Outcome.SKIPPED, decision.reason
    match decision.verdict:
        case Verdict.COMPLIANT:
            outcome, reason = Outcome.COMPLIANT, "it already has these options; nothing was sent"
        case Verdict.EXEMPT:
            outcome = Outcome.EXEMPT
        case Verdict.IMDS_OFF:
            reason = "its metadata service is off, and any change would turn it on"
        case Verdict.ENDED | Verdict.MANAGED | Verdict.NOT_REACHED | Verdict.IN_GRACE:
            pass
        case Verdict.UNREADABLE:
            return failed(instance, Failure("UnreadableOptions", reason, Kind.FINAL))
        case Verdict.REMEDIATE:
            raise AssertionError("a decision to remediate without a change")
        case _:
            assert_never(decision.verdict)
    return result_of(instance, outcome, reason, after=instance.options)


def _rehearsal(context: RegionContext, plan: PlannedChange) -> Result:
    if why := context.cancellation.cancelled:
        return result_of(plan.instance, Outcome.DEFERRED, f"{why}; {plan.reason}")
    try:
        context.ec2.rehearse(plan.instance_id, plan.change)
    except AwsError as error:
        context.cancellation.heed(error.failure)
        return failed(plan.instance, error.failure)
    return result_of(plan.instance, Outcome.WOULD_REMEDIATE, plan.reason, after=plan.wanted)
