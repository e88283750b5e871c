"""EC2 in memory, as the enforcer meets it: eventually consistent, slow, and now and then in error."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imds_enforcer.aws.boto import batched
from imds_enforcer.aws.ec2 import PAGE_SIZE, Ec2Region
from imds_enforcer.limits.pacing import CHANGES, RequestBucket
from imds_enforcer.model import AwsError, Failure, Instance, InstanceState, OptionsState, Switch
from tests.fakes.examples import HOME, NO_IPV6, NOT_FOUND, SERVER_FAULT, WRONG_STATE, a_failure
from tests.fakes.filter_evaluator import fits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from imds_enforcer.decision.drift_filters import Filters
    from imds_enforcer.model import Change, Clock, Deadline
    from tests.fakes.clock import FakeClock

_TAG_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]+")


@dataclass(slots=True)
class _Record:
    """An instance as it is, and as it was before the last change; readers see one of the two."""

    instance: Instance
    before: Instance
    changed_at: float = float("-inf")


class FakeEc2(Ec2Region):
    """The instances of one region.

    A change shows after `visible_after` seconds and is applied after `applied_after`; a call takes `read_seconds` or
    `modify_seconds`. `modify_errors` has the coming errors by instance, `read_errors` by call and `find_errors` by
    page, both counted from 1. EC2 accepts the changes of `ignored` instances and forgets them; it accepts the next
    change of an `unanswered` one and its answer is lost. Instances in `xen` cannot have IPv6, and no instance can have
    an option in `unsupported`; `refusals` are the changes refused for that, or for a tag's key. `shown` has the newest
    observation of each instance that the enforcer can know; it has not observed those in `unseen` since it changed
    them. `sent` has every change that was requested, with the age of that observation in seconds. The `judge` sees each
    change when it is sent; `on_refusal` is called for each refusal.
    """

    def __init__(self, clock: FakeClock, name: str = HOME, regions: tuple[str, ...] = (HOME,)) -> None:
        self.name = name
        self._clock: Clock = clock
        self._fake_clock = clock
        self._regions = regions
        self.changes = RequestBucket(CHANGES, clock)
        self._records: dict[str, _Record] = {}
        self._lock = threading.RLock()
        self.visible_after = self.applied_after = 0.0
        self.read_seconds = self.modify_seconds = self.prepare_seconds = 0.0
        self.page_size = PAGE_SIZE
        self.managed_visible = False  # the account's setting; unless it is on, filters find no managed instance
        self.modify_errors: dict[str, list[Failure]] = defaultdict(list)
        self.read_errors: dict[int, Failure] = {}
        self.find_errors: dict[int, Failure] = {}
        self.regions_error: Failure | None = None
        self.enforced: str | None = None
        self.defaults_error: Failure | None = None
        self.ignored: set[str] = set()
        self.unanswered: set[str] = set()
        self.xen: set[str] = set()
        self.unsupported: set[str] = set()
        self.judge: Callable[[FakeEc2, str, Change], None] | None = None
        self.on_refusal: Callable[[str, Change], None] | None = None
        self.forget_calls()

    def forget_calls(self) -> None:
        """Reset the counts, as for a process that has called and seen nothing."""
        self.sent: list[tuple[str, float]] = []
        self.shown: dict[str, Instance] = {}
        self.unseen: set[str] = set()
        self.reads: list[list[str]] = []
        self.finds: list[Filters] = []
        self.pages = 0
        self.modified: list[tuple[str, Change]] = []
        self.rehearsed: list[tuple[str, Change]] = []
        self.refusals: list[tuple[str, Change]] = []
        self.calls: list[str] = []

    def in_another_process(self) -> FakeEc2:
        """The same instances and errors, for another process."""
        twin = copy(self)
        twin.changes = RequestBucket(CHANGES, self._fake_clock)
        twin.forget_calls()
        return twin

    # What others do to the fleet.

    def launch(self, *instances: Instance) -> list[Instance]:
        """Add instances; returns them as observed at this moment."""
        for instance in instances:
            placed = replace(instance, region=self.name)
            self._records[instance.instance_id] = _Record(placed, placed)
        return self._shown([self._observed(instance.instance_id) for instance in instances])

    def set_options(self, instance_id: str, **options: Any) -> None:
        """Change options as someone else would, visible to every reader at once."""
        instance = self._records[instance_id].instance
        assert instance.options is not None
        changed = replace(instance, options=replace(instance.options, **options))
        self._records[instance_id] = _Record(changed, changed)

    def make_unreadable(self, instance_id: str) -> None:
        """From now on, show metadata options of the instance that the enforcer does not recognize."""
        changed = replace(self._records[instance_id].instance, options=None)
        self._records[instance_id] = _Record(changed, changed)

    def set_state(self, instance_id: str, state: InstanceState) -> None:
        """Bring an instance to another state."""
        record = self._records[instance_id]
        record.instance, record.before = replace(record.instance, state=state), replace(record.before, state=state)

    def set_tags(self, instance_id: str, **tags: str) -> None:
        """Add tags to an instance."""
        record = self._records[instance_id]
        tags = {**record.instance.tags, **tags}
        record.instance, record.before = replace(record.instance, tags=tags), replace(record.before, tags=tags)

    def remove_tag(self, instance_id: str, key: str) -> None:
        """Take a tag from an instance."""
        record = self._records[instance_id]
        tags = {name: value for name, value in record.instance.tags.items() if name != key}
        record.instance, record.before = replace(record.instance, tags=tags), replace(record.before, tags=tags)

    def forget(self, instance_id: str) -> None:
        """Stop listing an instance."""
        del self._records[instance_id]

    @property
    def instance_ids(self) -> list[str]:
        """The ids of all instances."""
        return list(self._records)

    def actual(self, instance_id: str) -> Instance:
        """The instance as it really is, even where readers see an older state."""
        return self._records[instance_id].instance

    # What the enforcer calls.

    def find(self, filters: Filters, until: Deadline | None = None) -> Iterator[list[Instance]]:  # noqa: ARG002
        """Instances that fit, page by page; one empty page if none does. Filters do not find hidden instances."""
        self.finds.append(filters)
        ids = [instance.instance_id for instance in self._listed(self._records, filters)]
        for page in list(batched(ids, self.page_size)) or [[]]:
            self.calls.append("DescribeInstances")
            found = self._listed(page, filters)
            self._fake_clock.advance(self.read_seconds)
            self.pages += 1
            if self.pages in self.find_errors:
                raise AwsError(self.find_errors[self.pages])
            yield self._shown(found)

    def read(self, instance_ids: Iterable[str]) -> dict[str, Instance]:
        """Those of these instances that EC2 lists."""
        asked = list(instance_ids)
        self.reads.append(asked)
        assert len(self.reads) < 1_000, "the reads do not end"
        self.calls.append("DescribeInstances")
        found = {instance_id: self._observed(instance_id) for instance_id in asked if instance_id in self._records}
        self._fake_clock.advance(self.read_seconds)
        if len(self.reads) in self.read_errors:
            raise AwsError(self.read_errors[len(self.reads)])
        self._shown(found.values())
        return found

    def prepare_to_modify(self) -> None:
        """Take the time that making a client takes."""
        self._fake_clock.advance(self.prepare_seconds)

    def modify(self, instance_id: str, change: Change) -> dict[str, Any]:
        """Accept a change and switch the endpoint on with it, as EC2 does."""
        with self._lock:
            self.calls.append("ModifyInstanceMetadataOptions")
            if self.judge:
                self.judge(self, instance_id, change)
            self.sent.append((instance_id, self._clock.monotonic() - self.shown[instance_id].observed_at))
            self._fake_clock.advance(self.modify_seconds)
            if self.modify_errors[instance_id]:
                raise AwsError(self.modify_errors[instance_id].pop(0))
            if instance_id not in self._records:
                raise AwsError(NOT_FOUND)
            if self._records[instance_id].instance.state.ended:
                raise AwsError(WRONG_STATE)
            if refusal := self._refusal(self._records[instance_id].instance, change):
                self.refusals.append((instance_id, change))
                if self.on_refusal:
                    self.on_refusal(instance_id, change)
                raise AwsError(refusal)
            self.modified.append((instance_id, change))
            self.unseen.add(instance_id)
            before = self._records[instance_id].instance
            assert before.options is not None, "changed without an observation"
            options = replace(change.applied_to(before.options), http_endpoint=Switch.ENABLED)
            if instance_id not in self.ignored:
                now = self._clock.monotonic()
                self._records[instance_id] = _Record(replace(before, options=options), before, now)
            if instance_id in self.unanswered:
                self.unanswered.remove(instance_id)
                raise AwsError(SERVER_FAULT)
            answered = replace(options, state=OptionsState.PENDING).as_log()
            return {"InstanceId": instance_id, "InstanceMetadataOptions": answered}

    def _refusal(self, instance: Instance, change: Change) -> Failure | None:
        """EC2's words for why the instance cannot have an option of the change; None if it can."""
        unfit = [key for key in instance.tags if not _TAG_KEY.fullmatch(key)]
        if change.http_protocol_ipv6 is Switch.ENABLED and instance.instance_id in self.xen:
            return NO_IPV6
        if change.instance_metadata_tags is Switch.ENABLED and unfit:
            return a_failure("InvalidParameterValue", f"'{unfit[0]}' is not a valid tag key.")
        named = {"HttpProtocolIpv6": change.http_protocol_ipv6, "InstanceMetadataTags": change.instance_metadata_tags}
        missing = [option for option, value in named.items() if value and option in self.unsupported]
        return a_failure("UnsupportedOperation", f"{missing[0]} is not supported in this region.") if missing else None

    def rehearse(self, instance_id: str, change: Change) -> None:
        """Say whether EC2 would accept the change."""
        self.calls.append("ModifyInstanceMetadataOptions (DryRun)")
        self.rehearsed.append((instance_id, change))
        if self.modify_errors[instance_id]:
            raise AwsError(self.modify_errors[instance_id].pop(0))

    def enabled_regions(self) -> tuple[str, ...]:
        """The account's regions."""
        self.calls.append("DescribeRegions")
        if self.regions_error:
            raise AwsError(self.regions_error)
        return self._regions

    def tokens_enforced(self) -> str | None:
        """The reason why tokens cannot become optional; None if they can."""
        self.calls.append("GetInstanceMetadataDefaults")
        if self.defaults_error:
            raise AwsError(self.defaults_error)
        return self.enforced

    @property
    def modified_ids(self) -> list[str]:
        """The instances for which EC2 accepted a change, in order of their ids."""
        return sorted(instance_id for instance_id, _ in self.modified)

    @property
    def sent_ids(self) -> list[str]:
        """The instance of each requested change, in order of time."""
        return [instance_id for instance_id, _ in self.sent]

    def _shown(self, instances: Collection[Instance]) -> list[Instance]:
        self.shown |= {instance.instance_id: instance for instance in instances}
        self.unseen.difference_update(instance.instance_id for instance in instances)
        return list(instances)

    def _listed(self, instance_ids: Iterable[str], filters: Filters) -> list[Instance]:
        """The instances that fit at this moment."""
        observed = [self._observed(instance_id) for instance_id in instance_ids if instance_id in self._records]
        shown = [instance for instance in observed if self._shows(instance, filters)]
        return [instance for instance in shown if not instance.state.ended and fits(instance, filters)]

    def _shows(self, instance: Instance, filters: Filters) -> bool:
        return not filters or instance.managed_by is None or self.managed_visible

    def _observed(self, instance_id: str) -> Instance:
        record, now = self._records[instance_id], self._clock.monotonic()
        if now < record.changed_at + self.visible_after:
            return replace(record.before, observed_at=now)
        instance = record.instance
        if instance.options is None:
            return replace(instance, observed_at=now)
        changed = record.changed_at > float("-inf")
        waits = changed and (instance.state.at_rest or now < record.changed_at + self.applied_after)
        state = OptionsState.PENDING if waits else instance.options.state
        return replace(instance, options=replace(instance.options, state=state), observed_at=now)
