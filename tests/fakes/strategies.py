"""Random fleets, policies, faults and events. The values are few, so that what is drawn often coincides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st

from imds_enforcer.model import HttpTokens, Instance, InstanceState, OptionsState, Switch
from imds_enforcer.model import MetadataOptions as Options
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    EXPIRED,
    HOME,
    NOT_FOUND,
    NOT_HERE,
    OTHER_ACCOUNT,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    WRONG_STATE,
    an_id,
)
from tests.fakes.process import Letter
from tests.fakes.rules import CALLING_GROUP, Rules
from tests.fakes.world import REGIONS, SWEEPS, Weather, World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import SearchStrategy

FLEET = 8
"""The most instances: several in each region, and several of each kind."""


T = TypeVar("T")


def _seldom(odd: SearchStrategy[T], usual: SearchStrategy[T], odds: int = 6) -> SearchStrategy[T]:
    """The odd value once in `odds` draws: an example in which everything is odd shows nothing."""
    return st.integers(1, odds).flatmap(lambda number: odd if number == odds else usual)


TOKENS = st.sampled_from(HttpTokens)
SWITCHES = st.sampled_from(Switch)
HOP_LIMITS = st.sampled_from([1, 2, 64])
NUMBERS = st.integers(0, FLEET - 1)
STATES = st.sampled_from([*[InstanceState.RUNNING] * 6, *InstanceState])
GROUPS = [
    {AUTO_SCALING_GROUP_TAG: CALLING_GROUP},
    {AUTO_SCALING_GROUP_TAG: CALLING_GROUP, LAUNCH_TEMPLATE_TAG: "lt-1"},
    {AUTO_SCALING_GROUP_TAG: "web-2"},
]
TAGS = st.sampled_from(
    [
        *({}, {}, {"imds": "v1"}, {"imds": "v2"}, {"Name": "imds"}, {"imds": "v1", "Name": "imds"}, *GROUPS),
        *({"Patch Group": "linux"}, {"team/owner": "web"}),
    ]
)

OPTIONS = st.builds(
    Options,
    http_tokens=TOKENS,
    http_endpoint=st.sampled_from([*[Switch.ENABLED] * 7, Switch.DISABLED]),
    http_put_response_hop_limit=HOP_LIMITS,
    http_protocol_ipv6=SWITCHES,
    instance_metadata_tags=SWITCHES,
    state=st.sampled_from([*[OptionsState.APPLIED] * 5, OptionsState.PENDING]),
)
INSTANCES = st.builds(
    Instance,
    instance_id=st.just(""),
    region=st.just(HOME),
    state=STATES,
    options=_seldom(st.none(), OPTIONS, 12),
    observed_at=st.just(0.0),
    image_id=st.sampled_from(["", "ami-a", "ami-b"]),
    tags=TAGS,
    managed_by=st.sampled_from([*[None] * 9, "eks.amazonaws.com"]),
    attached_at=st.sampled_from([None, None, START - timedelta(minutes=50), START - timedelta(hours=2)]),
)
FLEETS = st.lists(INSTANCES, min_size=FLEET // 2, max_size=FLEET)

_TAG_PATTERNS = st.sampled_from([{"key": "imds"}, {"key": "imds", "value": "v1"}, {"key": "*", "value": "imd?"}])
_MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "instance_id": st.sampled_from([an_id(0), "i-*[12]", "*-0"]),
        "image_id": st.sampled_from(["ami-a", "ami-?", "x*"]),
        "auto_scaling_group": st.sampled_from(["web-1", "web-*", "*"]),
        "region": st.sampled_from([HOME, "us-*"]),
        "launch_template": st.sampled_from(["lt-1", "lt-*"]),
        "tag": _TAG_PATTERNS,
        "tags": st.lists(_TAG_PATTERNS, min_size=1, max_size=2),
    },
).filter(bool)
# The clock begins on the second of these days.
_DAYS = st.sampled_from(["2026-11-21", "2026-11-22", "2026-11-23"])
_EXEMPTIONS = st.one_of(
    st.fixed_dictionaries({"match": _MATCHES, "reason": st.just("because")}, optional={"expires": _DAYS}),
    st.fixed_dictionaries({"match": st.just({"region": "*"}), "reason": st.just("all"), "expires": _DAYS}),
)
_SELECTIONS = st.sampled_from(
    [{"include": [HOME]}, {"include": [AWAY, "ap-south-1"]}, {"exclude": [HOME]}, {"exclude": ["ap-south-1"]}]
)


_ACCOUNT_DEFAULTS = st.sampled_from(
    [None, {}, {"http_put_response_hop_limit": 1}, {"instance_metadata_tags": "enabled"}, {"enforce_tokens": True}]
)


def _policies(mode: SearchStrategy[str]) -> SearchStrategy[Rules]:
    fields = st.fixed_dictionaries(
        {"mode": mode},
        optional={
            "http_put_response_hop_limit": HOP_LIMITS | st.none(),
            "http_protocol_ipv6": SWITCHES | st.none(),
            "instance_metadata_tags": SWITCHES | st.none(),
            "regions": _seldom(_SELECTIONS, st.just({"exclude": ["ap-south-1"]}), 3),
            "exemptions": st.lists(_EXEMPTIONS, min_size=1, max_size=2),
            "rollout_percent": st.sampled_from([0, 40, 100, 100]),
            "legacy_calls": st.sampled_from([None, {}, {"by": "group"}]),
            "account_defaults": _ACCOUNT_DEFAULTS,
        },
    )
    return st.builds(Rules, tokens=TOKENS.map(str), text=fields.map(json.dumps))


ENFORCING = _policies(st.just("enforce"))
AUDITING = _policies(st.just("audit"))
INVALID = st.sampled_from(
    [
        Rules(text="", is_policy=False),
        Rules(text='{"mode": "off"}', is_policy=False),
        Rules(text='{"http_put_response_hop_limit": 0}', is_policy=False),
        Rules(text='{"ledger": "required"}', is_policy=False),
        Rules(text='{"watch": {"revert": false}}', is_policy=False),
        Rules(text='{"exemptions": [{"match": {}, "reason": "all"}]}', is_policy=False),
        Rules(
            text='{"exemptions": [{"match": {"region": "*"}, "reason": "r", "expires": "2026-02-30"}]}', is_policy=False
        ),
        Rules(tokens="none"),
    ]
)
POLICIES = _seldom(AUDITING | INVALID, ENFORCING, 5)

_SECONDS = st.sampled_from([0, 0, 0.3, 2, 4, 11])
_DELAYS = st.sampled_from([0, 0, 1, 5, 15, 30])
_CHANGE_FAULTS = st.sampled_from(
    [THROTTLED, THROTTLED, SERVER_FAULT, SERVER_FAULT, UNAUTHORIZED, WRONG_STATE, NOT_FOUND, EXPIRED, NOT_HERE]
)
_READ_FAULTS = st.sampled_from([THROTTLED, SERVER_FAULT, UNAUTHORIZED, DENIED_BY_SCP, EXPIRED, NOT_HERE])
_READ_ERRORS = _seldom(st.dictionaries(st.integers(1, 6), _READ_FAULTS, min_size=1, max_size=3), st.just({}), 3)
TABLES = ("", "reads", "writes", "reads and writes")
_NUMBERED = st.frozensets(NUMBERS, max_size=2)

WEATHERS = st.builds(
    Weather,
    visible_after=_DELAYS,
    applied_after=_DELAYS,
    read_seconds=_SECONDS,
    modify_seconds=_SECONDS,
    policy_seconds=st.sampled_from([0, 0, 0.5, 1.5, 7]),
    page_size=st.sampled_from([1, 2, 1000]),
    modify_errors=_seldom(
        st.dictionaries(NUMBERS, st.lists(_CHANGE_FAULTS, min_size=1, max_size=4), min_size=1, max_size=3),
        st.just({}),
        2,
    ),
    read_errors=_READ_ERRORS,
    find_errors=_READ_ERRORS,
    blind=st.sampled_from([*[False] * 19, True]),
    regions_error=st.sampled_from([*[None] * 9, THROTTLED, EXPIRED, DENIED_BY_SCP]),
    ignored=_seldom(_NUMBERED, st.just(frozenset()), 4),
    unanswered=_seldom(_NUMBERED, st.just(frozenset()), 3),
    cloudwatch_error=st.sampled_from([*[None] * 5, THROTTLED, EXPIRED]),
    table=st.sampled_from([*[""] * 9, *TABLES]),
    defaults_errors=_seldom(st.tuples(_READ_FAULTS | st.none(), _CHANGE_FAULTS | st.none()), st.just((None, None)), 4),
)

OTHER_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "http_tokens": TOKENS,
        "http_endpoint": SWITCHES,
        "http_put_response_hop_limit": HOP_LIMITS,
        "instance_metadata_tags": SWITCHES,
    },
)


@dataclass(frozen=True)
class Happening:
    """Something that happens to the world this many seconds from now."""

    seconds: float
    deed: Callable[..., object]
    arguments: tuple[Any, ...]

    def __call__(self, world: World) -> None:
        """Let it happen."""
        self.deed(world, *self.arguments)


def _running(number: int, receives: int, **fields: Any) -> Letter:
    region = REGIONS[number % 2]
    event = events.running(an_id(number), **({"region": region} | fields))
    return Letter(events.a_message(event, receives=receives), event["region"], (an_id(number),))


def _drift(number: int, receives: int) -> Letter:
    region = REGIONS[number % 2]
    return Letter(
        events.a_message(events.drift(an_id(number), region=region), receives=receives), region, (an_id(number),)
    )


def _launch(numbers: frozenset[int], place: int, receives: int) -> Letter:
    region, ids = REGIONS[place], tuple(an_id(number) for number in sorted(numbers) if number % 2 == place)
    event = events.launch(*ids, region=region)
    return Letter(events.a_message(event, receives=receives), region, ids, whole_region=not ids)


def _defaults_drift(region: str, receives: int) -> Letter:
    return Letter(events.a_message(events.defaults_change(region=region), receives=receives), region, of_defaults=True)


def _launch_without_ids(region: str, receives: int) -> Letter:
    event = events.launch_without_ids(region=region)
    return Letter(events.a_message(event, receives=receives), region, whole_region=True)


def _managed_launch(region: str, receives: int) -> Letter:
    """A launch by a service, of instances that are hidden from the account."""
    event = events.managed_launch(an_id(90), an_id(91), region=region)
    return Letter(events.a_message(event, receives=receives), region)


def _refused_launch(number: int, receives: int) -> Letter:
    """A refused launch; some are delivered twice."""
    event_id = f"e-{number}"
    event = events.refused_launch(event_id, region=REGIONS[number % 2])
    return Letter(events.a_message(event, receives=receives), refused_launch=event_id)


def _foreign(number: int, receives: int) -> Letter:
    """An event of an instance in another account, whose id may also exist here."""
    event = events.running(an_id(number), account=OTHER_ACCOUNT)
    return Letter(events.a_message(event, receives=receives), foreign=True)


def _poison(body: object) -> Letter:
    return Letter(events.a_message(body), understood=False)


RECEIVES = st.sampled_from([1, 1, 1, 2, 11, 12])
_ODD_FIELDS = st.sampled_from(
    [{"region": HOME}, {"region": AWAY}, {"region": "ap-south-1"}, {"time": "2026-11-22T11:00:00Z"}]
)
LETTERS = st.one_of(
    st.builds(_running, NUMBERS, RECEIVES),
    st.builds(_launch, st.frozensets(NUMBERS), st.integers(0, 1), RECEIVES),
    st.builds(_drift, NUMBERS, RECEIVES),
    st.builds(_launch_without_ids, st.sampled_from(REGIONS), RECEIVES),
    st.builds(_defaults_drift, st.sampled_from(REGIONS), RECEIVES),
    st.builds(_managed_launch, st.sampled_from(REGIONS), RECEIVES),
    st.builds(_refused_launch, NUMBERS, RECEIVES),
    st.builds(_foreign, NUMBERS, RECEIVES),
    st.builds(lambda number, receives, fields: _running(number, receives, **fields), NUMBERS, RECEIVES, _ODD_FIELDS),
    st.sampled_from(["", "{}", "[]", events.running("i-1"), events.running(account="0000")]).map(_poison),
)
"""Most events name an instance in its own region; some are odd."""


def _addressed(letters: Sequence[Letter]) -> tuple[Letter, ...]:
    """Give each message a name of its own."""
    return tuple(letter.named(f"m-{number}") for number, letter in enumerate(letters))


BATCHES = st.lists(LETTERS, min_size=2, max_size=8).map(_addressed)
MOMENTS = st.sampled_from([0.01, 0.2, 1, 1.9, 2.1, 3, 5, 9, 11, 15, 25, 45, 90])


def _happening(deed: Callable[..., object], *arguments: SearchStrategy[Any]) -> SearchStrategy[Happening]:
    return st.builds(Happening, MOMENTS, st.just(deed), st.tuples(*arguments))


DEFAULTS = st.fixed_dictionaries(
    {},
    optional={
        "http_tokens": st.none() | TOKENS,
        "http_put_response_hop_limit": st.none() | HOP_LIMITS,
        "http_tokens_enforced": st.none() | SWITCHES,
    },
)

HANDS = st.one_of(
    _happening(World.change, NUMBERS, st.just({"http_endpoint": Switch.DISABLED})),
    _happening(World.change, NUMBERS, OTHER_OPTIONS),
    _happening(World.bring, NUMBERS, STATES),
    _happening(World.tag, NUMBERS, TAGS),
    _happening(World.forget, NUMBERS),
    _happening(World.launch, INSTANCES),
    _happening(World.prefer, st.sampled_from(REGIONS), DEFAULTS),
)
"""Changes that other people make to instances."""

HOLDS = st.one_of(
    _happening(World.hold, NUMBERS), _happening(World.revert, NUMBERS), _happening(World.release, NUMBERS)
)
"""Holds that operators set and release."""

OUTAGES = st.one_of(
    _happening(World.cut_off), _happening(World.reconnect), _happening(World.lose_table, st.sampled_from(TABLES))
)
RUNS = st.one_of(_happening(World.sweep, st.sampled_from(SWEEPS)), _happening(World.deliver, BATCHES))
"""Invocations of another process of the enforcer in the middle of a run."""


def happenings(
    policies: SearchStrategy[Rules], toggles: SearchStrategy[str] = TOKENS
) -> SearchStrategy[list[Happening]]:
    """Anything that may happen, with policies and toggles of these kinds."""
    changes = _happening(World.put, policies) | _happening(World.turn, toggles.map(str))
    return st.lists(st.one_of(HANDS, HANDS, HOLDS, changes, OUTAGES, RUNS), max_size=5)
