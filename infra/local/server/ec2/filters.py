"""The filters and pages of EC2's listings."""

import base64
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from infra.local.server.ec2.protocol import listed
from infra.local.server.errors import AwsError

FILTER_VALUES = 200


def asked(p: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The filters of a request: name and values of each."""
    named = itertools.takewhile(lambda number: f"Filter.{number}.Name" in p, itertools.count(1))
    total = 0
    for number in named:
        values = listed(p, f"Filter.{number}.Value")
        total += len(values)
        if total > FILTER_VALUES:
            raise AwsError(
                "FilterLimitExceeded",
                f"The maximum number of filter values specified on a single call is {FILTER_VALUES}",
            )
        yield p[f"Filter.{number}.Name"], values


def is_on_tags(name: str) -> bool:
    """Whether a filter is on tags, which every listing of tagged resources has."""
    return name == "tag-key" or name.startswith("tag:")


def fit_tags(name: str, tags: Iterable[Mapping[str, str]], values: list[str]) -> bool:
    """Whether a resource's tags fit the filter `tag-key` or `tag:KEY`."""
    if name == "tag-key":
        return any(matches(each["Key"], values) for each in tags)
    key = name.removeprefix("tag:")
    return any(each["Key"] == key and matches(each["Value"], values) for each in tags)


def invalid(name: str) -> AwsError:
    """EC2's error for an unknown filter."""
    return AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")


def matches(value: str, patterns: list[str]) -> bool:
    """Whether a value fits one of the patterns, which may have wildcards."""
    return value in patterns or any(_pattern(each).fullmatch(value) for each in patterns if set(each) & {*"*?"})


def page(found: Sequence[dict[str, Any]], p: Mapping[str, str], sizes: range) -> tuple[list[dict[str, Any]], str]:
    """The requested page, by default of the largest size, and the token of the next page, or ""."""
    size = p.get("MaxResults", str(sizes[-1]))
    if not size.isdigit() or int(size) not in sizes:
        raise AwsError("InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid.")
    begin = int(base64.urlsafe_b64decode(p["NextToken"])) if p.get("NextToken") else 0
    end = begin + int(size)
    return list(found[begin:end]), token(end) if end < len(found) else ""


def token(position: int) -> str:
    """The token of the page that begins there."""
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def _pattern(wildcards: str) -> re.Pattern[str]:
    return re.compile(re.escape(wildcards).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
