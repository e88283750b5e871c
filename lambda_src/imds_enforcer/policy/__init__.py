"""What every instance must look like: the policy, and its two parameters read and checked."""

from imds_enforcer.policy.policy import Exemption, Match, Mode, Policy, PolicyVersions, RegionSelection
from imds_enforcer.policy.safeguards import Gate, Watch

__all__ = [
    "Exemption",
    "Gate",
    "Match",
    "Mode",
    "Policy",
    "PolicyVersions",
    "RegionSelection",
    "Watch",
]
