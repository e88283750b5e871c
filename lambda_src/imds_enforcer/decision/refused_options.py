"""The options beyond tokens and hop limit that EC2 refuses, and the change that remains without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.model import Failure, Outcome, PlannedChange, Refusal, Result
from imds_enforcer.model.result import result_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imds_enforcer.model import Change

_CODES = frozenset({"UnsupportedOperation", "InvalidParameterValue", "InvalidParameterCombination"})
"""EC2's codes for an option that an instance cannot have; a missing permission, the caller's problem, has others."""

_NAMED_BY = {"HttpProtocolIpv6": ("httpprotocolipv6",), "InstanceMetadataTags": ("instancemetadatatags", "tag key")}
"""Words in EC2's messages that show which option they are about."""


def refusals(change: Change, failure: Failure) -> tuple[Refusal, ...]:
    """The options that EC2 most likely refused; empty if the failure has another cause.

    EC2 refuses a change as a whole. If the change has several options, the refused one is the option that EC2's message
    names. If the message names none or several, all count as refused.
    """
    if failure.code not in _CODES:
        return ()
    possible = tuple(Refusal(option, value, failure) for option, value in change.extras.items())
    message = failure.message.lower()
    named = tuple(each for each in possible if any(words in message for words in _NAMED_BY[each.option]))
    return named if len(named) == 1 else possible


def without_refused(plan: PlannedChange, refused: Iterable[Refusal]) -> PlannedChange | Result:
    """The plan without the options that EC2 refused, or the instance's result if no change remains.

    Once EC2 has refused an option to this run, the change is sent with tokens and hop limit only: with another option
    it could fail again, and IMDSv1 would stay. The next run tries the options that EC2 did not refuse.
    """
    extras = plan.change.extras
    relevant = tuple(each for each in refused if extras.get(each.option) is each.value)
    if not relevant:
        return plan
    options = {each.option for each in relevant}
    left_out = {} if all(each.noted for each in relevant) else {o: v for o, v in extras.items() if o not in options}
    waiting = [
        f"{option}={value}, sent in the same request, waits for the next run" for option, value in left_out.items()
    ]
    reason = "; ".join([plan.reason, *words(relevant), *waiting])
    assert plan.instance.options is not None, "a change was planned without known options"
    change = plan.change.without([*options, *left_out])
    wanted, known = change.applied_to(plan.instance.options), (*plan.refused, *relevant)
    if wanted == plan.instance.options:
        skipped = result_of(plan.instance, Outcome.SKIPPED, reason, after=wanted, failure=relevant[0].failure)
        return replace(skipped, refused=known)
    return replace(plan, change=change, wanted=wanted, reason=reason, refused=known)


def lacking(plan: PlannedChange, result: Result) -> tuple[Refusal, ...]:
    """The options that an instance lacks after the rest of its change; an instance that is gone or off lacks none."""
    return plan.refused if result.outcome in {Outcome.REMEDIATED, Outcome.PENDING} else ()


def made_after_all(plan: PlannedChange, result: Result) -> bool:
    """True if a later look shows that EC2 made a change that it had left unanswered."""
    as_planned = bool(result.refused and result.after and result.after.agree_with(plan.wanted))
    return bool(plan.unanswered) and (result.outcome is Outcome.COMPLIANT or as_planned)


def words(refused: Iterable[Refusal]) -> list[str]:
    """EC2's refusals in words, each once for all the options that it concerns."""
    options: dict[Failure, list[str]] = {}
    for each in refused:
        options.setdefault(each.failure, []).append(f"{each.option}={each.value}")
    return [f"EC2 refused {' and '.join(named)} ({failure})" for failure, named in options.items()]
