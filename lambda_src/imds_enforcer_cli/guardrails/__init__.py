"""Builds an organization's guardrails that match a policy, from the policy alone and without AWS."""
