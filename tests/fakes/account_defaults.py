"""EC2's account defaults in memory, as the enforcer meets them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imds_enforcer.aws.account_defaults import DefaultsApi
from imds_enforcer.model import AwsError, HttpTokens
from imds_enforcer.model.region_defaults import RegionDefaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imds_enforcer.model import Failure
    from tests.fakes.clock import FakeClock

UNSET = RegionDefaults()
"""A region without any preference."""


class FakeDefaults(DefaultsApi):
    """The defaults of one region.

    While `read_failure` or `set_failure` is set, reads or changes fail with it. A change shows after `visible_after`
    seconds; an `ignored` one never shows; an `unanswered` one is made, but its answer is lost. `sent` has the
    attributes and values of each call; `before_set` runs before a change is made, `after_set` after it. The `judge`
    sees each change, with the defaults that were shown last and those wanted.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._fake_clock = clock
        self.current = self._before = UNSET
        self._changed_at = float("-inf")
        self.managed: str | None = None
        self.read_failure: Failure | None = None
        self.set_failure: Failure | None = None
        self.unanswered: Failure | None = None
        self.ignored = False
        self.visible_after = self.read_seconds = 0.0
        self.before_set: Callable[[], None] | None = None
        self.after_set: Callable[[], None] | None = None
        self.judge: Callable[[RegionDefaults, RegionDefaults], None] | None = None
        self.shown = UNSET
        self.calls: list[str] = []
        self.sent: list[dict[str, Any]] = []

    def put(self, **defaults: Any) -> None:
        """Change defaults as someone else would, visible at once."""
        self.current = self._before = replace(self.current, **defaults)

    def read(self) -> RegionDefaults:
        """The defaults as EC2 shows them."""
        self.calls.append("GetInstanceMetadataDefaults")
        now = self._fake_clock.monotonic()
        if self.read_failure:
            raise AwsError(self.read_failure)
        shown = self.current if now >= self._changed_at + self.visible_after else self._before
        self._fake_clock.advance(self.read_seconds)
        self.shown = replace(shown, managed=self.managed, observed_at=now)
        return self.shown

    def set(self, wanted: RegionDefaults, named: Iterable[str]) -> None:
        """Accept a change. `HttpTokensEnforced` never comes alone."""
        self.calls.append("ModifyInstanceMetadataDefaults")
        if self.judge:
            self.judge(self.shown, wanted)
        if self.before_set:
            self.before_set()
        if self.set_failure:
            raise AwsError(self.set_failure)
        sent = {name: getattr(wanted, name) for name in named}
        assert sent, "a call that sets nothing"
        assert sent.get("http_tokens_enforced") != "enabled" or sent.get("http_tokens") is HttpTokens.REQUIRED
        self.sent.append(sent)
        if not self.ignored:
            self._before, self.current = self.current, replace(self.current, **sent)
            self._changed_at = self._fake_clock.monotonic()
        if self.after_set:
            self.after_set()
        if self.unanswered:
            raise AwsError(self.unanswered)
