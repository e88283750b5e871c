"""The nouns: an instance and its options, a change, a result, a failure, a clock."""

from imds_enforcer.model.change import AcceptedChange, Change, PlannedChange, Refusal
from imds_enforcer.model.clock import Clock, Deadline, SystemClock
from imds_enforcer.model.failures import AwsError, Failure, Kind
from imds_enforcer.model.instance import (
    HttpTokens,
    Instance,
    InstanceState,
    LaunchTemplate,
    MetadataOptions,
    OptionsState,
    Source,
    Switch,
)
from imds_enforcer.model.result import Outcome, Result, Trigger

__all__ = [
    "AcceptedChange",
    "AwsError",
    "Change",
    "Clock",
    "Deadline",
    "Failure",
    "HttpTokens",
    "Instance",
    "InstanceState",
    "Kind",
    "LaunchTemplate",
    "MetadataOptions",
    "OptionsState",
    "Outcome",
    "PlannedChange",
    "Refusal",
    "Result",
    "Source",
    "Switch",
    "SystemClock",
    "Trigger",
]
