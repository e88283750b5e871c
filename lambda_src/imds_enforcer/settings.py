"""The function's settings, from its environment."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


_CHOICES = {"http_tokens_floor": ("optional", "required"), "account_defaults": ("false", "true")}


class SettingsError(ValueError):
    """A setting is missing or invalid. The message names the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every field is the environment variable of the same name in upper case; times are in seconds.

    `batch_deadline_seconds` bounds a batch of events, its verification included. `sweep_deadline_seconds` is when a
    sweep stops writing. `verify_timeout_seconds` is how long a change may be pending before it is reported as pending.
    If EC2 does not know an instance `gone_after_seconds` after its event, the instance counts as gone.
    `http_tokens_floor` is the weakest `HttpTokens` that IAM lets the function set: with `required` it sets no other.
    `account_defaults` says whether IAM lets it set the regions' account defaults: `true` or `false`.
    """

    http_tokens_parameter: str
    policy_parameter: str
    event_queue_url: str
    notification_topic_arn: str
    ledger_table: str
    http_tokens_floor: str = "optional"
    account_defaults: str = "false"
    batch_deadline_seconds: float = 60
    sweep_deadline_seconds: float = 720
    gone_after_seconds: float = 600
    verify_timeout_seconds: float = 20

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: naming the variable that is missing or has a value that is not allowed.
        """
        values: dict[str, str | float] = {}
        for setting in fields(cls):
            variable = setting.name.upper()
            text = environment.get(variable)
            if text:
                values[setting.name] = _seconds(variable, text) if variable.endswith("_SECONDS") else text
            elif setting.default is MISSING:
                raise SettingsError(f"the environment variable {variable} is missing")
        settings = cls(**values)  # type: ignore[arg-type]  # the loop gave each field its type
        for name, allowed in _CHOICES.items():
            if (value := getattr(settings, name)) not in allowed:
                raise SettingsError(
                    f"the environment variable {name.upper()} is {value!r}; allowed: {', '.join(allowed)}"
                )
        if settings.verify_timeout_seconds >= settings.batch_deadline_seconds:
            raise SettingsError(
                f"the environment variable VERIFY_TIMEOUT_SECONDS is {settings.verify_timeout_seconds:g}; allowed: "
                f"less than BATCH_DEADLINE_SECONDS, which is {settings.batch_deadline_seconds:g}"
            )
        return settings


def _seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise SettingsError(f"the environment variable {variable} is {text!r}; allowed: a number of seconds")
    return seconds
