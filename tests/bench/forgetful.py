"""Records that are never kept: what the enforcer costs without its safeguards."""

from collections.abc import Iterable
from datetime import datetime

from imds_enforcer.ledger import Contest, Entry, Standing


class Forgetful:
    """In place of the table: takes everything, keeps nothing, asks nobody; see `imds_enforcer.records.Records`."""

    def unreadable(self) -> set[tuple[str, str]]:
        """Nothing was read."""
        return set()

    def write(self, entries: Iterable[Entry]) -> None:
        """Forget them."""

    def entries_of(self, instance_id: str, since: datetime | None = None) -> list[Entry]:  # noqa: ARG002  # as there
        """None."""
        return []

    def open_intents(self) -> list[Entry]:
        """None."""
        return []

    def standing(self) -> Standing:
        """Nothing is held, now or later: one answer is enough."""
        return Standing(read_at=float("inf"))

    def contest(self, contest: Contest) -> None:
        """Forget it."""
