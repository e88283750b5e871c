"""A policy in a file, for an account without the two parameters, or to be used instead of them.

The file has the fields of the parameter `/imds-enforcer/policy` and one more, `http_tokens`, with the value of the
parameter `/imds-enforcer/http-tokens`: `{"http_tokens": "required", "container_hop_limit": 2}`.
"""

import codecs
import json
from pathlib import Path

from imds_enforcer.model import HttpTokens
from imds_enforcer.model.wording import shown
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy, without_duplicates
from imds_enforcer_cli.console.errors import CommandError

_TOKENS = "http_tokens"
_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_ALLOWED = "allowed: JSON in UTF-8, or in UTF-16 with a byte order mark"


def read_policy_file(path: Path) -> Policy:
    """The policy in a file; its versions are 0.

    Raises:
        CommandError: naming the file, and what is wrong with it or why it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None
    text = policy_text(content, str(path))
    try:
        return _parsed(text)
    except PolicyInvalidError as error:
        raise CommandError(f"{path}: {'; also '.join(error.problems)}") from None


def policy_text(content: bytes, name: str) -> str:
    """The text of a policy file: UTF-8, or UTF-16 with a byte order mark, as PowerShell's `>` writes it.

    Raises:
        CommandError: naming the file, if it has another encoding.
    """
    encoding = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{name} is not {encoding.upper()} text: {error.reason} at byte {error.start}; {_ALLOWED}"
        ) from None
    if "\0" in text:
        raise CommandError(f"{name} has a zero byte, like UTF-16 without a byte order mark or UTF-32; {_ALLOWED}")
    return text.removeprefix("\N{BYTE ORDER MARK}")


def _parsed(text: str) -> Policy:
    allowed = f'allowed: a JSON object with "{_TOKENS}" and the fields of a policy'
    try:
        fields = json.loads(text, object_pairs_hook=without_duplicates)
    except PolicyInvalidError:
        raise
    except (ValueError, RecursionError) as error:  # a number with thousands of digits raises a plain ValueError
        raise PolicyInvalidError(f"it is not JSON: {error}; {allowed}") from None
    if not isinstance(fields, dict):
        raise PolicyInvalidError(f"it is {shown(fields)}; {allowed}")
    tokens = fields.pop(_TOKENS, None)
    found: list[str] = []
    if tokens not in tuple(HttpTokens):
        # The parser would name the parameter, but the file calls it by its field.
        is_what = "is missing" if tokens is None else f"is {shown(tokens)}"
        found, tokens = [f"{_TOKENS} {is_what}; allowed: required or optional"], HttpTokens.REQUIRED
    try:
        policy = parse_policy(tokens, json.dumps(fields, ensure_ascii=False), PolicyVersions())
    except PolicyInvalidError as error:
        raise PolicyInvalidError(*found, *error.problems) from None
    if found:
        raise PolicyInvalidError(*found)
    return policy
