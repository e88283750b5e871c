from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Mode, Policy
from imds_enforcer_cli.account.policy_file import policy_text, read_policy_file
from imds_enforcer_cli.console.errors import CommandError
from tests.fakes.examples import HUGE_NUMBER

if TYPE_CHECKING:
    from pathlib import Path


def refused(path: Path) -> str:
    """Why the file is refused: the error message without the file name at its beginning."""
    with pytest.raises(CommandError) as refusal:
        read_policy_file(path)
    message = refusal.value.format_message()
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_a_file_has_the_content_of_both_parameters(tmp_path: Path) -> None:
    """It has the toggle beside the fields of the document."""
    path = tmp_path / "policy.json"
    path.write_text('{"http_tokens": "optional", "mode": "audit", "http_put_response_hop_limit": 3}')
    wanted = Policy(http_tokens=HttpTokens.OPTIONAL, mode=Mode.AUDIT, http_put_response_hop_limit=3)
    assert read_policy_file(path) == wanted


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("{}", ": http_tokens is missing; allowed: required or optional"),
        ('{"http_tokens": "on"}', ': http_tokens is "on"; allowed: required or optional'),
        ('{"http_tokens": []}', ": http_tokens is []; allowed: required or optional"),
        ('{"http_tokens": 2}', ": http_tokens is 2; allowed: required or optional"),
        ('{"http_tokens": "required", "mode": "off"}', ': mode is "off"; allowed: enforce, audit'),
        ('{"http_tokens": "required", "mod": 1}', ': policy has the unknown field "mod"; allowed: mode, '),
        ('{"http_tokens": "required", "http_tokens": "optional"}', ': policy has "http_tokens" more than once;'),
        ('["required"]', ': it is ["required"]; allowed: a JSON object with "http_tokens" and the fields of a policy'),
        ("http_tokens: required", ": it is not JSON: Expecting value: line 1 column 1 (char 0); allowed: a JSON"),
        (HUGE_NUMBER, ": it is not JSON: Exceeds the limit"),
        ("[" * 100_000, ": it is not JSON: "),
    ],
)
def test_an_invalid_policy(tmp_path: Path, text: str, refusal: str) -> None:
    """The error names the field, its value and the values allowed."""
    path = tmp_path / "policy.json"
    path.write_text(text)
    assert refused(path).startswith(refusal)


def test_every_mistake_is_reported(tmp_path: Path) -> None:
    """All are in one error: no other command checks a file that has `http_tokens`."""
    path = tmp_path / "policy.json"
    path.write_text('{"mode": 1, "rollout_percent": 101, "container_hop_limit": 0, "launch_grace_seconds": 901}')
    assert [each.split(" is ")[0] for each in refused(path).removeprefix(": ").split("; also ")] == [
        "http_tokens",
        "mode",
        "container_hop_limit",
        "rollout_percent",
        "launch_grace_seconds",
    ]


def test_an_unreadable_file(tmp_path: Path) -> None:
    """The reason is the operating system's."""
    assert refused(tmp_path / "none.json") == " cannot be read: No such file or directory"
    assert refused(tmp_path) == " cannot be read: Is a directory"


TEXT = '{"http_tokens": "required", "exemptions": [{"match": {"instance_id": "i-1"}, "reason": "Größe → 计数"}]}'
MARKED = [
    codecs.BOM_UTF8 + TEXT.encode(),
    codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
]


@pytest.mark.parametrize("content", [TEXT.encode(), *MARKED])
def test_a_byte_order_mark(tmp_path: Path, content: bytes) -> None:
    """Editors on Windows and PowerShell's `>` write one."""
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    assert read_policy_file(path).exemptions[0].reason == "Größe → 计数"
    assert policy_text(content, "policy.json") == TEXT


ALLOWED = "; allowed: JSON in UTF-8, or in UTF-16 with a byte order mark"
ZERO_BYTE = " has a zero byte, like UTF-16 without a byte order mark or UTF-32"


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b'{"http_tokens": "\xff"}', " is not UTF-8 text: invalid start byte at byte 17"),
        (TEXT.encode("cp1252", "replace"), " is not UTF-8 text: invalid start byte at byte 90"),
        (TEXT.encode("utf-16-le"), " is not UTF-8 text: "),
        ('{"http_tokens": "required"}'.encode("utf-16-be"), ZERO_BYTE),
        (MARKED[1][:-1], " is not UTF-16-LE text: truncated data at byte 204"),
        (codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), ZERO_BYTE),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), " is not UTF-8 text: invalid start byte at byte 2"),
        (b"\x1f\x8b\x08\x00", " is not UTF-8 text: invalid start byte at byte 1"),
    ],
)
def test_content_that_is_not_text(tmp_path: Path, content: bytes, refusal: str) -> None:
    """The error says what is wrong and where; there is no traceback."""
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    message = refused(path)
    assert message.startswith(refusal)
    assert message.endswith(ALLOWED)
