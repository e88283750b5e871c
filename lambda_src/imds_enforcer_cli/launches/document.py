"""The document of a listing, from which every output format is made."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from imds_enforcer_cli.launches.launcher import ordered
from imds_enforcer_cli.launches.listing import RegionLaunchers, said

Document = dict[str, Any]

ANSWERS = {True: "yes", None: "not known", False: "no"}
"""Whether the next launch allows IMDSv1, in words."""


def launches_document(at: datetime, regions: Sequence[RegionLaunchers]) -> Document:
    """All launchers as JSON, those of most concern first, and what could not be read."""
    found = ordered(each for region in regions for each in region.launchers)
    counts = Counter(ANSWERS[each.outlook.launches_imdsv1] for each in found)
    return {
        "at": at.isoformat(timespec="seconds"),
        "regions": [region.region for region in regions],
        "unread": said(each for region in regions for each in region.unread),
        "summary": {"launchers": len(found), "launch_imdsv1": {each: counts[each] for each in ANSWERS.values()}},
        "launchers": [each.as_json() for each in found],
    }
