"""What an organization's own guardrails have to say, for a policy: built from the policy alone, without AWS."""
