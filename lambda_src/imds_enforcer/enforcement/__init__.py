"""The loop that makes the instances of one region follow the policy.

Enforcer      decides about each instance that was read, and keeps those that are to be changed.
  Gate        holds back an instance that still calls IMDSv1.
  Preflight   asks EC2 by a dry run whether the changes are allowed at all.
Remediation   changes the rest in rounds, until each has an outcome or the time is up:
  HoldCheck     leaves out what an operator holds, and what someone else keeps changing back.
  LedgerWriter  writes down what is about to be changed. No intent, no change.
  send          sends each change once, by an observation that is at most ten seconds old.
  read back     reads the options from EC2 again: only what EC2 shows counts as done.
  retry         sends again what failed for the moment, or was accepted and does not show.
  LedgerWriter  writes down the outcome.
"""
