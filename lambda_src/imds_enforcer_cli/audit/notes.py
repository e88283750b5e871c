"""Finds patterns in the policy that match no instance of the fleet that was read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple

from imds_enforcer.model import Instance
from imds_enforcer.model.wording import shown
from imds_enforcer.policy import Exemption, Match, Policy


@dataclass(slots=True)
class Seen:
    """What a region's instances show about the policy's patterns.

    `fitted` are the exemptions that match at least one instance; `tags` are the instances' tags whose keys the policy
    names, in any spelling.
    """

    fitted: set[Exemption] = field(default_factory=set)
    tags: set[tuple[str, str]] = field(default_factory=set)

    def add(self, instances: Sequence[Instance], policy: Policy) -> None:
        """Add a page of instances."""
        wanted = {_folded(each.match.tag_key or "") for each in _named_tags(policy, policy.exemptions)}
        keys = {key for each in instances for key in each.tags}
        named = {key for key in keys if any(fnmatchcase(_folded(key), pattern) for pattern in wanted)}
        for instance in instances:
            self.tags.update(tag for tag in instance.tags.items() if tag[0] in named)
            unseen = (each for each in policy.exemptions if each not in self.fitted)
            self.fitted.update([each for each in unseen if each.match.fits(instance)])


@dataclass(frozen=True, slots=True)
class Unread:
    """What was not read: `regions` that failed; `others` is True if more regions were not asked for."""

    regions: Sequence[str]
    others: bool

    def may_have(self, exemption: Exemption) -> bool:
        """True if the exemption may match an instance there."""
        pattern = exemption.match.region
        return self.others or any(pattern is None or fnmatchcase(region, pattern) for region in self.regions)


class _NamedTag(NamedTuple):
    """A tag that the policy names, and the part of the policy that names it."""

    named_by: str
    match: Match


def notes(policy: Policy, now: datetime, seen: Sequence[Seen], unread: Unread) -> list[str]:
    """Note each exemption in force that matches no instance, and each tag that instances spell differently.

    An exemption gets no note if it may match an instance that was not read.
    """
    in_force = [each for each in policy.exemptions if not each.expired(now)]
    fitted = {exemption for each in seen for exemption in each.fitted}
    tags = sorted({tag for each in seen for tag in each.tags})
    idle = [each for each in in_force if each not in fitted and not unread.may_have(each)]
    return [
        *(f"no instance matches the exemption {each.named()}" for each in idle),
        *(note for each in _named_tags(policy, in_force) for note in _otherwise_spelt(each, tags)),
    ]


def _named_tags(policy: Policy, exemptions: Iterable[Exemption]) -> Iterator[_NamedTag]:
    for each in policy.container_host_tags:
        yield _NamedTag("container_host_tags", each)
    for exemption in exemptions:
        named_by = f"the exemption {exemption.named()}"
        if exemption.match.tag_key is not None:
            yield _NamedTag(named_by, exemption.match)
        yield from (_NamedTag(named_by, each) for each in exemption.match.tags)


def _otherwise_spelt(named: _NamedTag, tags: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A note if instances have the tag in another spelling only: in another case, or with other spaces around it."""
    key, value = named.match.tag_key or "", named.match.tag_value
    same_key = [each for each in tags if fnmatchcase(each[0], key)]
    if any(fnmatchcase(each, value) for _, each in same_key):
        return
    alike = [each for each in tags if fnmatchcase(_folded(each[0]), _folded(key))]
    what, wanted, found = "the tag key", key, [each for each, _ in alike]
    if same_key:
        what, wanted = "the tag", f"{key}={value}"
        found = [f"{key}={text}" for key, text in alike if fnmatchcase(_folded(text), _folded(value))]
    if found:
        yield f"{named.named_by}: {what} is {shown(wanted)}, instances have {shown(found[0])}; case and spaces matter"


def _folded(text: str) -> str:
    return text.strip().casefold()
