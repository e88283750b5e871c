"""The caller of a call: as CloudTrail records it, and as calls are counted."""

import contextvars
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ministack import app
from ministack.core import iam_evaluator, lambda_runtime, router
from ministack.core.responses import get_account_id
from ministack.services import iam, sts

ROOT = "root"


@dataclass(frozen=True)
class Caller:
    """A principal.

    Attributes:
        name: `root`, `user/NAME` or `role/NAME`.
        user_identity: CloudTrail's record of it.
    """

    name: str
    user_identity: Mapping[str, Any]


_current: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def current() -> Caller:
    """The principal of the current call; root if AWS itself acts for the account."""
    return _current.get(Caller(ROOT, {"type": "Root", "arn": root_arn()}))


def answer_to(caller: Caller) -> None:
    """Make this principal the current call's, in this context."""
    _current.set(caller)


def root_arn() -> str:
    """The ARN of the account's root."""
    return f"arn:aws:iam::{get_account_id()}:root"


def caller_of(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> Caller:
    """The principal whose access key signed a request; an unknown key counts as the account's root."""
    account = str(get_account_id())
    key = str(router.extract_access_key_id(headers, query))
    record = {"accountId": account, "accessKeyId": key}
    session = sts._sessions.get(key)
    if session and ":assumed-role/" in session["Arn"]:
        return _assumed_role(session, record)
    if owner := iam._access_keys.get(key):
        user = iam._users.get(owner["UserName"], {})
        name = str(owner["UserName"])
        arn = user.get("Arn") or f"arn:aws:iam::{account}:user/{name}"
        identity = {"type": "IAMUser", "principalId": user.get("UserId", name), "arn": arn, "userName": name}
        return Caller(f"user/{name}", {**identity, **record})
    return Caller(ROOT, {"type": "Root", "principalId": account, "arn": root_arn(), **record})


def _assumed_role(session: Mapping[str, Any], record: Mapping[str, str]) -> Caller:
    name = session["Arn"].split("/")[1]
    role = iam._roles.get(name, {})
    issuer = {
        "type": "Role",
        "principalId": role.get("RoleId", name),
        "arn": role.get("Arn") or f"arn:aws:iam::{record['accountId']}:role/{name}",
        "accountId": record["accountId"],
        "userName": name,
    }
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.get("IssuedAt", time.time())))
    identity = {
        "type": "AssumedRole",
        "principalId": f"{issuer['principalId']}:{session['Arn'].rsplit('/', 1)[-1]}",
        "arn": session["Arn"],
        **record,
        "sessionContext": {
            "sessionIssuer": issuer,
            "webIdFederationData": {},
            "attributes": {"creationDate": created, "mfaAuthenticated": "false"},
        },
    }
    return Caller(f"role/{name}", identity)


def function_credentials(config: Mapping[str, Any]) -> dict[str, str]:
    """A session of the function's own role.

    ministack gives a function its role only while IAM is enforced, and the account's root keys
    otherwise. Here it always has its role, so that its calls differ from other callers' and
    IAM can be switched on under a running function.
    """
    account = config["FunctionArn"].split(":")[4]
    role = config["Role"].rsplit("/", 1)[-1]
    name = config["FunctionName"][:64]
    digest = hashlib.sha256(f"{config['FunctionArn']}:{config['Role']}".encode()).hexdigest()
    credentials = {
        "AWS_ACCESS_KEY_ID": f"ASIA{digest[:16].upper()}",
        "AWS_SECRET_ACCESS_KEY": digest[16:56],
        "AWS_SESSION_TOKEN": digest,
    }
    session = {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
        "UserId": f"{iam._roles.get_scoped(account, None, role, {}).get('RoleId', role)}:{name}",
        "SecretAccessKey": credentials["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": credentials["AWS_SESSION_TOKEN"],
    }
    sts.register_session(credentials["AWS_ACCESS_KEY_ID"], session)
    return credentials


def account_of_user_keys(original: Callable[[str], None]) -> Callable[[str], None]:
    """Set a request's account; an IAM user's key selects the user's account.

    ministack looks it up only while IAM is enforced.
    """

    def set_account(key: str) -> None:
        original(iam_evaluator.find_iam_access_key_account(key) or key)

    return set_account


def install() -> None:
    """Give every function its role's credentials, and every user its account."""
    lambda_runtime.execution_credentials = function_credentials
    app.set_request_account_id = account_of_user_keys(app.set_request_account_id)
