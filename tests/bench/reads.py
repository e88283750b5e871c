"""The purposes of a batch's reads: a look before the first change, or a read-back."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.bench.measurement import DESCRIBE, MODIFY


def reads_of(calls: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """DescribeInstances requests for named instances, by the state of their batch at the time of the answer.

    A batch consists of the instances that one request names for the first time. `first_looks` counts every request
    before the first change of an instance of the batch. `read_backs` counts those after it: they confirm changes, and
    renew observations older than 10 s before a change.
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
