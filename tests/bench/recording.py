"""The local AWS with a record of every call that reads or changes instances: `… -m tests.bench.recording FD FILE`.

It runs like `infra.local.server`, in the local AWS's own environment. It writes to FILE a line of JSON with its process
id, and then one for each call.
"""

import json
import os
import sys
from pathlib import Path
from typing import TextIO

from infra.local.server import gateway
from infra.local.server.__main__ import main as serve
from infra.local.server.calls import Answer, Call, Ledger

RECORDED = ("ec2:DescribeInstances", "ec2:ModifyInstanceMetadataOptions")


class Record(Ledger):
    """Counts calls, and records those about instances in the order of their answers."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def count(self, call: Call, answer: Answer) -> None:
        """Record a call that was answered."""
        super().count(call, answer)
        if call.action in RECORDED:
            ids = sorted({value for value in call.parameters.values() if value.startswith("i-")})
            line = {"action": call.action, "caller": call.caller.name, "error": answer.error, "ids": ids}
            self._file.write(json.dumps(line) + "\n")


def main() -> None:
    """Serve, with the record."""
    with Path(sys.argv[2]).open("w", encoding="utf-8", buffering=1) as file:
        file.write(json.dumps({"pid": os.getpid()}) + "\n")
        gateway.ledger = Record(file)
        serve()


if __name__ == "__main__":
    main()
