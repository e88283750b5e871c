"""The enforcer's runs on the operator's machine: a sweep, and the options of some instances."""
