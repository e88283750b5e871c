"""A policy in a file, for an account in which the two parameters are not there, or are not to be used.

The file is the document of the parameter `/imds-enforcer/policy` with one field more, `http_tokens`, which is
what the parameter `/imds-enforcer/http-tokens` holds: `{"http_tokens": "required", "container_hop_limit": 2}`.
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
        CommandError: naming the file and what in it is wrong, or why it cannot be read.
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
    """The text in a file with a policy: UTF-8, or what its byte order mark says, as PowerShell's `>` writes UTF-16.

    Raises:
        CommandError: with the name of the file, if it is something else.
    """
    encoding = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{name} is no text in {encoding.upper()}: {error.reason} at byte {error.start}; {_ALLOWED}"
        ) from None
    if "\0" in text:
        raise CommandError(f"{name} has a zero byte, as UTF-16 without a byte order mark and UTF-32 do; {_ALLOWED}")
    return text.removeprefix("\N{BYTE ORDER MARK}")


def _parsed(text: str) -> Policy:
    allowed = f'allowed: a JSON object with "{_TOKENS}" and the fields of a policy'
    try:
        fields = json.loads(text, object_pairs_hook=without_duplicates)
    except PolicyInvalidError:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits raises no JSONDecodeError
        raise PolicyInvalidError(f"it is not JSON: {error}; {allowed}") from None
    if not isinstance(fields, dict):
        raise PolicyInvalidError(f"it is {shown(fields)}; {allowed}")
    tokens = fields.pop(_TOKENS, None)
    found: list[str] = []
    if tokens not in tuple(HttpTokens):
        # The parser would name the parameter, and no field of a file is called so.
        is_what = "is missing" if tokens is None else f"is {shown(tokens)}"
        found, tokens = [f"{_TOKENS} {is_what}; allowed: required or optional"], HttpTokens.REQUIRED
    try:
        policy = parse_policy(tokens, json.dumps(fields, ensure_ascii=False), PolicyVersions())
    except PolicyInvalidError as error:
        raise PolicyInvalidError(*found, *error.problems) from None
    if found:
        raise PolicyInvalidError(*found)
    return policy
