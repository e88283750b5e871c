"""The loop that makes the instances of one region follow the policy.

Enforcer        decides about each instance that was read, and keeps those that have to change.
  LegacyCallGate  holds back an instance that still calls IMDSv1.
  preflight       skips what EC2 is known to refuse: tokens that the account's defaults enforce.
  Refusals        leaves out the options that EC2 refused to an instance before.
Remediation     changes the rest in rounds, until each has an outcome or the time is up:
  look            renews observations that are too old to act on, and reads back accepted changes.
  HoldCheck       leaves out instances that a person holds, or that someone else keeps changing back.
  LedgerWriter    writes the intent of each change. No intent, no change.
  Attempts        sends each change once, on an observation that is at most ten seconds old.
  LedgerWriter    writes the outcome. Only what EC2 shows counts as done.

DefaultsEnforcer does the same for the region's account defaults, in one call.
"""
