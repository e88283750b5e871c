"""What every instance must look like: the policy, and its two parameters read and checked."""

from imds_enforcer.policy.account_defaults import AccountDefaults
from imds_enforcer.policy.policy import REGION_LEFT_OUT, Exemption, Match, Mode, Policy, PolicyVersions, RegionSelection
from imds_enforcer.policy.safeguards import CountedBy, Gate, Watch

__all__ = [
    "REGION_LEFT_OUT",
    "AccountDefaults",
    "CountedBy",
    "Exemption",
    "Gate",
    "Match",
    "Mode",
    "Policy",
    "PolicyVersions",
    "RegionSelection",
    "Watch",
]
