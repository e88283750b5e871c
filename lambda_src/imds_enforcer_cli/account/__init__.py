"""The account: how it is reached, its regions, parameters and instances, and policy files."""
