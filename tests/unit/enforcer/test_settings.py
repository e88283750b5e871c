from __future__ import annotations

from dataclasses import asdict

import pytest

from imds_enforcer.settings import Settings, SettingsError

ENVIRONMENT = {
    "HTTP_TOKENS_PARAMETER": "/a/http-tokens",
    "POLICY_PARAMETER": "/a/policy",
    "EVENT_QUEUE_URL": "https://queue",
    "NOTIFICATION_TOPIC_ARN": "arn:topic",
    "LEDGER_TABLE": "ledger",
    "HTTP_TOKENS_FLOOR": "required",
    "ACCOUNT_DEFAULTS": "true",
    "BATCH_DEADLINE_SECONDS": "61",
    "SWEEP_DEADLINE_SECONDS": "721.5",
    "GONE_AFTER_SECONDS": "0",
    "VERIFY_TIMEOUT_SECONDS": "21",
}
OPTIONAL = ("HTTP_TOKENS_FLOOR", "ACCOUNT_DEFAULTS")
TEXTS = [name for name in ENVIRONMENT if not name.endswith("_SECONDS") and name not in OPTIONAL]
SECONDS = [name for name in ENVIRONMENT if name.endswith("_SECONDS")]


def test_every_setting_comes_from_the_variable_of_its_name() -> None:
    """Other variables do not matter."""
    settings = Settings.from_environment(ENVIRONMENT | {"PATH": "/bin"})
    assert asdict(settings) == {
        "http_tokens_parameter": "/a/http-tokens",
        "policy_parameter": "/a/policy",
        "event_queue_url": "https://queue",
        "notification_topic_arn": "arn:topic",
        "ledger_table": "ledger",
        "http_tokens_floor": "required",
        "account_defaults": "true",
        "batch_deadline_seconds": 61.0,
        "sweep_deadline_seconds": 721.5,
        "gone_after_seconds": 0.0,
        "verify_timeout_seconds": 21.0,
    }


def test_times_have_defaults() -> None:
    """They are those of the design; an empty variable counts as missing."""
    settings = Settings.from_environment({name: ENVIRONMENT[name] for name in TEXTS} | {"GONE_AFTER_SECONDS": ""})
    assert settings.batch_deadline_seconds == 60
    assert settings.sweep_deadline_seconds == 720
    assert settings.gone_after_seconds == 600
    assert settings.verify_timeout_seconds == 20


@pytest.mark.parametrize("variables", [{}, {"HTTP_TOKENS_FLOOR": ""}])
def test_without_a_floor_the_policy_alone_decides(variables: dict[str, str]) -> None:
    """This is the default."""
    settings = Settings.from_environment({name: ENVIRONMENT[name] for name in TEXTS} | variables)
    assert settings.http_tokens_floor == "optional"


@pytest.mark.parametrize("floor", ["Required", "none", "v2"])
def test_an_invalid_floor_is_shown_with_the_allowed_values(floor: str) -> None:
    """It must not count as a lower one."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(ENVIRONMENT | {"HTTP_TOKENS_FLOOR": floor})
    assert str(refused.value) == (
        f"the environment variable HTTP_TOKENS_FLOOR is '{floor}'; allowed: optional, required"
    )


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_variable_is_named(name: str, *, empty: bool) -> None:
    """The function does not start without it."""
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(SettingsError, match=f"^the environment variable {name} is missing$"):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            {"VERIFY_TIMEOUT_SECONDS": "61"},
            "VERIFY_TIMEOUT_SECONDS is 61; allowed: less than BATCH_DEADLINE_SECONDS, which is 61",
        ),
        (
            {"VERIFY_TIMEOUT_SECONDS": "90.5"},
            "VERIFY_TIMEOUT_SECONDS is 90.5; allowed: less than BATCH_DEADLINE_SECONDS, which is 61",
        ),
        (
            {"VERIFY_TIMEOUT_SECONDS": "60", "BATCH_DEADLINE_SECONDS": ""},
            "VERIFY_TIMEOUT_SECONDS is 60; allowed: less than BATCH_DEADLINE_SECONDS, which is 60",
        ),
        (
            {"VERIFY_TIMEOUT_SECONDS": "", "BATCH_DEADLINE_SECONDS": "15"},
            "VERIFY_TIMEOUT_SECONDS is 20; allowed: less than BATCH_DEADLINE_SECONDS, which is 15",
        ),
    ],
)
def test_a_batch_must_have_time_to_change_and_to_verify(times: dict[str, str], message: str) -> None:
    """Otherwise every instance of every batch would be deferred; defaults count too."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(ENVIRONMENT | times)
    assert str(refused.value) == f"the environment variable {message}"


def test_one_second_to_write_is_enough() -> None:
    """The time to verify must only be less than the time of the batch."""
    assert Settings.from_environment(ENVIRONMENT | {"VERIFY_TIMEOUT_SECONDS": "60"}).verify_timeout_seconds == 60


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1 minute"])
def test_an_invalid_time_is_shown_with_its_variable(name: str, text: str) -> None:
    """And with what is allowed."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(ENVIRONMENT | {name: text})
    assert str(refused.value) == f"the environment variable {name} is '{text}'; allowed: a number of seconds"
