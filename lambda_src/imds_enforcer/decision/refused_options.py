"""What EC2 refuses of a change beyond tokens and hop limit, and what is left of the change then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.model import Failure, Outcome, PlannedChange, Refusal, Result
from imds_enforcer.model.result import result_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imds_enforcer.model import Change

_CODES = frozenset({"UnsupportedOperation", "InvalidParameterValue", "InvalidParameterCombination"})
"""How EC2 refuses what an instance cannot have. A missing permission is no such code: that is about the caller."""

_NAMED_BY = {"HttpProtocolIpv6": ("httpprotocolipv6",), "InstanceMetadataTags": ("instancemetadatatags", "tag key")}
"""Words by which EC2's messages tell which option they are about."""


def refusals(change: Change, failure: Failure) -> tuple[Refusal, ...]:
    """The options that EC2 has refused, most likely: it refuses a change as a whole. None if that is not what failed.

    Of several options the one that EC2's message names; all of them if it names none, or more than one.
    """
    if failure.code not in _CODES:
        return ()
    possible = tuple(Refusal(option, value, failure) for option, value in change.extras.items())
    message = failure.message.lower()
    named = tuple(each for each in possible if any(words in message for words in _NAMED_BY[each.option]))
    return named if len(named) == 1 else possible


def without_refused(plan: PlannedChange, refused: Iterable[Refusal]) -> PlannedChange | Result:
    """What is left of a plan without the options that EC2 refused: tokens and hop limit, or the result if nothing is.

    After a refusal to this run no option goes along that EC2 may refuse too: an attempt more could fail, and IMDSv1
    would stay. The next run tries again those that EC2 did not mean.
    """
    extras = plan.change.extras
    relevant = tuple(each for each in refused if extras.get(each.option) is each.value)
    if not relevant:
        return plan
    options = {each.option for each in relevant}
    left_out = {} if all(each.noted for each in relevant) else {o: v for o, v in extras.items() if o not in options}
    waiting = [f"{option}={value}, sent with it, is left to the next run" for option, value in left_out.items()]
    reason = "; ".join([plan.reason, *words(relevant), *waiting])
    assert plan.instance.options is not None, "planned without knowing what is there"
    change = plan.change.without([*options, *left_out])
    wanted, known = change.applied_to(plan.instance.options), (*plan.refused, *relevant)
    if wanted == plan.instance.options:
        skipped = result_of(plan.instance, Outcome.SKIPPED, reason, after=wanted, failure=relevant[0].failure)
        return replace(skipped, refused=known)
    return replace(plan, change=change, wanted=wanted, reason=reason, refused=known)


def lacking(plan: PlannedChange, result: Result) -> tuple[Refusal, ...]:
    """The options that an instance lacks after the rest of its change was made; one that is gone or off lacks none."""
    return plan.refused if result.outcome in {Outcome.REMEDIATED, Outcome.PENDING} else ()


def made_after_all(plan: PlannedChange, result: Result) -> bool:
    """True if the result of a look shows that EC2 made a change which it had left unanswered."""
    as_planned = bool(result.refused and result.after and result.after.agree_with(plan.wanted))
    return bool(plan.unanswered) and (result.outcome is Outcome.COMPLIANT or as_planned)


def words(refused: Iterable[Refusal]) -> list[str]:
    """EC2's words, once for all options that they were said of."""
    options: dict[Failure, list[str]] = {}
    for each in refused:
        options.setdefault(each.failure, []).append(f"{each.option}={each.value}")
    return [f"EC2 refused {' and '.join(named)} ({failure})" for failure, named in options.items()]
