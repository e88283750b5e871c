"""The EC2 calls that read and change the versions of one launch template."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from imds_enforcer.model import AwsError, Clock, Deadline, Failure, Kind
from imds_enforcer_cli.launches import described
from imds_enforcer_cli.launches.inventory import Version
from imds_enforcer_cli.launches.pages import asked, listed

_SHOWN_WITHIN_SECONDS = 20.0
_PAUSE_SECONDS = 0.25
_NOT_SHOWN = Failure("NotShown", "EC2 does not show the change that it accepted", Kind.UNAVAILABLE)

Warnings = frozenset[tuple[str, str]]
"""The code and the text of each warning."""

Versions = Mapping[str, Version]
"""The versions by number."""


class TemplateCalls:
    """Reads and changes the versions of one launch template. Every method raises `AwsError`."""

    def __init__(self, ec2: Any, template_id: str, clock: Clock) -> None:
        self._ec2 = ec2
        self._id = template_id
        self._clock = clock

    def since(self, number: str) -> Versions:
        """The version with this number and those created after it; deleted ones are left out."""
        ask = self._ec2.describe_launch_template_versions
        found = listed(ask, "LaunchTemplateVersions", LaunchTemplateId=self._id, MinVersion=number)
        return {each.template.version: each for each in map(described.version, found)}

    def create(self, request: Mapping[str, Any]) -> tuple[str, Warnings]:
        """Create a version; return its number and EC2's warnings.

        EC2 creates a version even if it finds faults in it.
        """
        answer = asked(self._ec2.create_launch_template_version, **request)
        errors = answer.get("Warning", {}).get("Errors", ())
        warnings = frozenset((each.get("Code", ""), each.get("Message", "")) for each in errors)
        return str(answer["LaunchTemplateVersion"]["VersionNumber"]), warnings

    def set_default(self, number: str) -> None:
        """Make this version the default, and wait until EC2 shows that."""
        asked(self._ec2.modify_launch_template, LaunchTemplateId=self._id, DefaultVersion=number)
        self._until_shown(lambda: (found := self.since(number).get(number)) is not None and found.is_default)

    def shown(self, source: str, number: str) -> Versions:
        """Wait until EC2 shows the version with this number; return the versions from the source on."""
        seen: Versions = {}

        def is_there() -> bool:
            nonlocal seen
            seen = self.since(source)
            return number in seen

        self._until_shown(is_there)
        return seen

    def delete(self, numbers: Iterable[str]) -> None:
        """Delete versions, and wait until EC2 no longer shows them; one that is already gone is no failure."""
        wanted = sorted(numbers, key=int)
        if not wanted:
            return
        answer = asked(self._ec2.delete_launch_template_versions, LaunchTemplateId=self._id, Versions=wanted)
        for each in answer.get("UnsuccessfullyDeletedLaunchTemplateVersions", ()):
            error = each.get("ResponseError", {})
            if error.get("Code") != "launchTemplateVersionDoesNotExist":
                raise AwsError(Failure(error.get("Code", "Unknown"), error.get("Message", ""), Kind.FINAL))
        self._until_shown(lambda: not self.since(wanted[0]).keys() & set(wanted))

    def _until_shown(self, is_so: Callable[[], bool]) -> None:
        deadline = Deadline.after(self._clock, _SHOWN_WITHIN_SECONDS)
        while not is_so():
            if deadline.passed:
                raise AwsError(_NOT_SHOWN)
            self._clock.sleep(_PAUSE_SECONDS)
