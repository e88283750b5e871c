"""One invocation: read the policy, do the work under it, and report."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from imds_enforcer.aws.parameter_store import CACHE_SECONDS
from imds_enforcer.ledger.lease import Lease, Turn
from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import AwsError, HttpTokens, Kind, Trigger
from imds_enforcer.model.wording import CREDENTIALS_REFUSED
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer.reporting import mails, telemetry
from imds_enforcer.runs.batch import check_regions, enforce_batch, parse_batch
from imds_enforcer.runs.events import ForeignEventError, SweepRequest, parse_invocation
from imds_enforcer.runs.refused_launches import remember
from imds_enforcer.runs.retry import retry_delay
from imds_enforcer.runs.run import ANSWER_RESERVE_SECONDS, PolicyRun
from imds_enforcer.runs.sweep import intents_left_behind
from imds_enforcer.runs.turn import sweep_in_turn, turn
from imds_enforcer.runs.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from imds_enforcer.aws.parameter_store import PolicyStore
    from imds_enforcer.aws.services import Clients
    from imds_enforcer.limits.region_limits import RegionLimits
    from imds_enforcer.model import Clock
    from imds_enforcer.policy import Policy
    from imds_enforcer.reporting.report import RunReport
    from imds_enforcer.runs.batch import ParsedBatch
    from imds_enforcer.runs.events import QueuedMessage
    from imds_enforcer.settings import Settings

OLDER_RUNS_SECONDS = CACHE_SECONDS + 1.0
"""For how many seconds after a policy change a change under the older policy may still reach EC2.

A run may follow a policy that it read `CACHE_SECONDS` ago, and its call to EC2 takes a moment. If a call takes longer,
the next sweep corrects the instance.
"""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What Lambda says about an invocation; `seconds_left` returns how long it has until Lambda stops it."""

    run_id: str
    account: str
    seconds_left: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Application:
    """The enforcer with everything it needs from outside."""

    settings: Settings
    clients: Clients
    clock: Clock

    def invoke(self, event: object, invocation: Invocation) -> dict[str, Any]:
        """Do what the event asks for, and answer with a sweep's report or the messages that must come back.

        An event of another account is ignored; its answer is empty.

        Raises:
            MalformedEventError: if the function was invoked with something it does not handle.
            AwsError: if a sweep could not begin because it could not read the policy or the list of regions.
        """
        telemetry.begin(run_id=invocation.run_id, account=invocation.account)
        try:
            request = parse_invocation(event, invocation.account)
        except ForeignEventError as error:
            telemetry.foreign_events({error.account: 1})
            return {}
        try:
            if isinstance(request, SweepRequest):
                return self._sweep(request, invocation)
            return self._batch(request, invocation)
        finally:
            telemetry.table_unreadable(self.clients.ledger_table.unreadable())

    def _sweep(self, request: SweepRequest, invocation: Invocation) -> dict[str, Any]:
        changed = request.trigger is Trigger.POLICY_CHANGE
        started = self.clock.monotonic()
        # Asked at the same time: a sweep that changes nothing waits for little else.
        with ThreadPoolExecutor(2, thread_name_prefix="beside") as pool:
            listed = pool.submit(self.clients.learn_regions)
            intents = pool.submit(intents_left_behind, self.clients, self.clock)
            try:
                policy = _read(self.clients.policies)
            except PolicyInvalidError as error:
                telemetry.policy_invalid(error)
                if changed:
                    mails.send(self.clients, mails.policy_invalid(error))
                return {"run_id": invocation.run_id, "trigger": request.trigger, "policy_invalid": str(error)}
        watcher = Watcher(self.clients, self.clock)
        ends_at = self.clock.now() + timedelta(seconds=invocation.seconds_left())
        lease = Lease(run_id=invocation.run_id, versions=policy.versions, expires_at=ends_at)
        run = self._run(policy, invocation, self.settings.sweep_deadline_seconds)
        with turn(self.clients.ledger_table.leases, lease, run) as mine:
            try:
                if mine.holder and not request.inventory:
                    telemetry.already_running(mine.holder)
                    return {"run_id": invocation.run_id, "trigger": request.trigger, "already_running": mine.holder}
                listed.result()
                limits = limits_of(policy, self.clients.regions(policy.regions))
                with ThreadPoolExecutor(1, thread_name_prefix="watch") as pool:
                    # It is about earlier changes, so it need not wait for this sweep.
                    looks = not (request.inventory or run.cancellation.refused)
                    watched = pool.submit(watcher.look, policy.watch if looks else None)
                    report = sweep_in_turn(run, request, limits, intents.result(), mine)
            except AwsError as error:
                run.cancellation.heed(error.failure)
                raise
            finally:
                # After the sweep, which must not wait for a mail.
                if changed and not run.cancellation.refused:
                    mails.send(self.clients, mails.policy_changed(policy))
            if (changed or mine.policy_is_new) and not run.cancellation.refused:
                self._second_look(run, started, invocation, limits)
        if run.cancellation.refused:
            return report.as_json()
        if request.inventory:
            self._report_inventory(report)
        if policy.watch:
            watcher.follow_up(watched.result(), policy.watch)
        return report.as_json()

    def _report_inventory(self, report: RunReport) -> None:
        telemetry.inventory_taken(report)
        if report.needs_attention:
            mails.send(self.clients, mails.needs_attention(report))

    def _second_look(
        self, first: PolicyRun, started: float, invocation: Invocation, limits: Mapping[str, RegionLimits]
    ) -> None:
        """Sweep again once no run under an older policy can still change anything.

        An older run may have changed an instance after the first sweep looked at it. If the policy has changed again,
        the sweeps of that change look instead. If AWS does not accept the credentials, the first run ends too.
        """
        self.clock.sleep(max(0.0, started + OLDER_RUNS_SECONDS - self.clock.monotonic()))
        try:
            versions = self.clients.policies.in_force(fresh=True)
        except AwsError as error:
            first.cancellation.heed(error.failure)
            telemetry.call_failed("the second sweep was skipped: Parameter Store is out of reach", error)
            return
        if versions == first.versions:
            run = self._run(first.policy, invocation, self.settings.sweep_deadline_seconds)
            report = sweep_in_turn(run, SweepRequest(Trigger.SECOND_LOOK), limits, (), Turn())
            if report.credentials_refused:
                first.cancellation.heed(report.credentials_refused)

    def _batch(self, messages: Sequence[QueuedMessage], invocation: Invocation) -> dict[str, Any]:
        batch = parse_batch(messages, invocation.account)
        again: dict[QueuedMessage, int] = {}
        refused = False
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="beside") as pool:
                pool.submit(self.clients.prepare_for_changes)
                policy = _read(self.clients.policies)
            again = self._enforce(batch, policy, invocation)
        except PolicyInvalidError as error:
            # The messages are acknowledged: the sweep that starts when the policy is fixed does what is missed now.
            telemetry.policy_invalid(error)
        except AwsError as error:
            refused = error.failure.kind is Kind.CREDENTIALS
            what = CREDENTIALS_REFUSED if refused else "Parameter Store is out of reach: nothing was changed"
            telemetry.call_failed(f"{what}; the batch comes back", error)
            again = _usual_delays([*(delivery.message for delivery in batch.deliveries), *batch.unchecked])
        # Once AWS refuses the credentials, nothing more is sent at all.
        again |= _usual_delays(batch.refused_launches if refused else remember(self.clients, batch.refused_launches))
        telemetry.foreign_events(batch.foreign)
        telemetry.events_out_of_reach(batch.out_of_reach)
        for message, problem in batch.malformed.items():
            telemetry.message_refused(message.message_id, problem)
        for message, problem in batch.unchecked.items():
            telemetry.message_postponed(message.message_id, problem)
        return self._answer(batch.malformed, again, delayed=not refused)

    def _enforce(self, batch: ParsedBatch, policy: Policy, invocation: Invocation) -> dict[QueuedMessage, int]:
        """Enforce what the batch names; returns the messages that must come back, with their delays in seconds.

        Raises:
            AwsError: if AWS did not accept the credentials; the report says what was done, the whole batch comes back.
        """
        check_regions(batch, self.clients, policy.regions)
        unchecked = _usual_delays(batch.unchecked)
        if not batch.deliveries:
            return unchecked
        settings = self.settings
        run = self._run(policy, invocation, settings.batch_deadline_seconds - settings.verify_timeout_seconds)
        report, again = enforce_batch(run, batch.deliveries, settings.gone_after_seconds)
        telemetry.run_finished(report)
        if report.credentials_refused:
            raise AwsError(report.credentials_refused)
        return unchecked | again

    def _run(self, policy: Policy, invocation: Invocation, seconds: float) -> PolicyRun:
        return PolicyRun(
            run_id=invocation.run_id,
            policy=policy,
            source=self.clients.policies,
            clients=self.clients,
            clock=self.clock,
            ledger=self.clients.ledger_table.entries,
            seconds=min(seconds, self._seconds_to_write(invocation)),
            verify_timeout=self.settings.verify_timeout_seconds,
            log=telemetry.log_result,
            shuffle=random.shuffle,
            floor=HttpTokens(self.settings.http_tokens_floor),
            keeps_defaults=self.settings.account_defaults == "true",
            log_defaults=telemetry.log_defaults,
        )

    def _seconds_to_write(self, invocation: Invocation) -> float:
        """For how many seconds changes may begin, so that each can still be read back and reported."""
        return invocation.seconds_left() - self.settings.verify_timeout_seconds - ANSWER_RESERVE_SECONDS

    def _answer(
        self, malformed: Iterable[QueuedMessage], again: Mapping[QueuedMessage, int], *, delayed: bool
    ) -> dict[str, Any]:
        """Answer with the messages that must come back: malformed ones at once, the others after their delay.

        Unless `delayed`, all come back after the queue's visibility time-out.
        """
        delays = {**dict.fromkeys(malformed, 0), **again}
        if delays and delayed:
            try:
                self.clients.queue.deliver_again({each.receipt_handle: delay for each, delay in delays.items()})
            except AwsError as error:
                telemetry.call_failed("messages come back only after the queue's visibility time-out", error)
        return {"batchItemFailures": [{"itemIdentifier": message.message_id} for message in delays]}


def _read(store: PolicyStore) -> Policy:
    try:
        return store.read()
    finally:
        telemetry.under_policy(store.versions)


def _usual_delays(messages: Iterable[QueuedMessage]) -> dict[QueuedMessage, int]:
    return {message: retry_delay(message.receives) for message in messages}
