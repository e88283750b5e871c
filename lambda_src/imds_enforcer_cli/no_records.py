"""The records of an account in which the enforcer is not deployed."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from imds_enforcer.ledger import Contest, Entry, Standing
from imds_enforcer.legacy_calls import Calls


class NoRecords:
    """In place of the table, as if it were empty: what is written is not kept; see `imds_enforcer.records.Records`."""

    def unreadable(self) -> set[tuple[str, str]]:
        """Nothing was read."""
        return set()

    def write(self, entries: Iterable[Entry]) -> None:
        """Keep nothing."""

    def entries_of(self, instance_id: str, since: datetime | None = None) -> list[Entry]:  # noqa: ARG002  # as there
        """None."""
        return []

    def entries_since(self, since: datetime) -> Iterable[Entry]:  # noqa: ARG002  # as there
        """None."""
        return []

    def open_intents(self) -> list[Entry]:
        """None."""
        return []

    def standing(self) -> Standing:
        """Nothing is held, now or later: one answer is enough."""
        return Standing(read_at=float("inf"))

    def contest(self, contest: Contest) -> None:
        """Keep nothing."""

    def noted_calls(self, topic: str, since: datetime) -> dict[str, Calls]:  # noqa: ARG002  # as there
        """None: CloudWatch is asked each time."""
        return {}

    def note_calls(self, topic: str, calls: Mapping[str, Calls], kept: timedelta) -> None:
        """Keep nothing."""
