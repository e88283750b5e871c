"""What a batch's reads were for: a first look, a second one before anything was changed, or a read-back."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.bench.measurement import DESCRIBE, MODIFY


def reads_of(calls: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """DescribeInstances requests for named instances, by what had happened to their batch when they were answered.

    A batch is what one request named for the first time. `first_looks` came before the first change of any
    instance of the batch, however often it was looked at; `read_backs` came after it: they confirm changes, and
    read again what was observed more than 10 s before its own change.
    """
    batch_of: dict[str, int] = {}
    changing: set[int] = set()
    looks = read_backs = 0
    for number, call in enumerate(calls):
        ids = call["ids"]
        if call["action"] == MODIFY:
            changing.update(batch_of[each] for each in ids if each in batch_of)
        elif call["action"] == DESCRIBE and ids:
            new = [each for each in ids if each not in batch_of]
            batch_of.update(dict.fromkeys(new, number))
            if all(batch_of[each] in changing for each in ids):
                read_backs += 1
            else:
                looks += 1
    return {"first_looks": looks, "read_backs": read_backs}
